# A poisonous report is set aside with its reason, and its neighbours are accepted meanwhile: one that raises an
# error (failed), one that runs for ever (timed_out), one that kills who processes it (crashed).  What may go well
# another time is tried again, seldom, and not set aside before clinical.max_attempts.
#
# What a report does is up to a trigger: by its patient.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = intake_node('poison', 'clinical.batch_size = 100');
for my $setting ([ 'clinical.report_timeout', '10000' ], [ 'clinical.max_attempts', '5' ], [ 'clinical.retry_delay_max', undef ])
{
	my ($name, $default) = @$setting;
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_settings WHERE name = '$name'" . (defined $default ? " AND boot_val = '$default'" : '')), 1, "$name is there");
}
if (!Test::More->builder->is_passing)
{
	done_testing();
	exit;	# without them it would go on for ever
}
set_up($node, 'clinical.report_timeout' => '1s', 'clinical.retry_delay_max' => '1s', 'clinical.max_attempts' => '4');
$node->safe_psql('postgres', q{
CREATE SEQUENCE public.attempts MINVALUE 0;
CREATE SEQUENCE public.last_xid;
-- The number of the transaction that tries: whoever tries by halves does so in one.
CREATE FUNCTION public.attempt() RETURNS bigint LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    IF pg_catalog.pg_current_xact_id()::text::bigint <> (SELECT last_value FROM public.last_xid) THEN
        PERFORM pg_catalog.setval('public.last_xid', pg_catalog.pg_current_xact_id()::text::bigint);
        PERFORM pg_catalog.setval('public.attempts', (SELECT last_value + 1 FROM public.attempts));
    END IF;
    RETURN (SELECT last_value FROM public.attempts);
END $$;
CREATE FUNCTION public.poison() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    IF pg_catalog.to_regclass('public.off') IS NOT NULL THEN
        RETURN NEW;
    ELSIF NEW.patient_id = 'I1' THEN
        RAISE division_by_zero;
    ELSIF NEW.patient_id = 'I2' THEN
        PERFORM pg_catalog.pg_sleep(3600);
    ELSIF NEW.patient_id = 'I3' THEN
        EXECUTE pg_catalog.format('COPY (SELECT 1) TO PROGRAM ''kill -9 %s''', pg_catalog.pg_backend_pid());
        PERFORM pg_catalog.pg_sleep(3600);
    ELSIF NEW.patient_id = 'I4' AND public.attempt() <= 3 THEN
        RAISE serialization_failure;
    ELSIF NEW.patient_id = 'I5' AND public.attempt() <= 3 THEN
        RAISE deadlock_detected;
    ELSIF NEW.patient_id = 'I8' AND public.attempt() <= 7 THEN
        RAISE disk_full;
    ELSIF NEW.patient_id = 'I9' AND public.attempt() <= 7 THEN
        RAISE cannot_connect_now;
    ELSIF NEW.patient_id = 'I6' AND public.attempt() > 0 THEN
        RAISE serialization_failure;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER poison BEFORE INSERT ON clinical.submission FOR EACH ROW EXECUTE FUNCTION public.poison();
ALTER TABLE clinical.submission ENABLE ALWAYS TRIGGER poison});

# A poisonous report of a patient among a hundred others: what becomes of it, and that the others are accepted
# within some seconds.
my $last = 0;
sub poison
{
	my ($patient, $seconds, $name) = @_;
	switch_workers($node, 'off');
	my @calls = map { $last++; submit($last, patient => 'I' . (11 + $_ % 30)) } 1 .. 100;
	my ($first, $end) = ($last - 99, $last);
	splice @calls, 50, 0, submit(++$last, patient => $patient);
	my $id = report_id($last);
	$node->safe_psql('postgres', 'BEGIN; SELECT ' . join(', ', @calls) . '; COMMIT');
	switch_workers($node, 'on');
	my $start = time;
	my $others = q{SELECT count(*) FROM clinical.submission WHERE ('x' || right(id::text, 8))::bit(32)::int BETWEEN } . "$first AND $end";
	ok(wait_until($node, 'postgres', $others, 100, $seconds), "$name: its neighbours are accepted") or diag eval { $node->safe_psql('postgres', $others) } // 'no server';
	note sprintf '%s: after %.1f s', $name, time - $start;
	return $id;
}
# What becomes of a report within some seconds.
sub ends_as
{
	my ($patient, $id, $expected, $seconds, $name) = @_;
	my $status = "SELECT coalesce(reason_code || coalesce(' ' || (detail ->> 'sqlstate'), ''), status) FROM clinical.submission_status('$patient', '$id')";
	return ok(wait_until($node, 'postgres', $status, $expected, $seconds), "$name: it ends as \"$expected\"") || (diag(eval { $node->safe_psql('postgres', $status) } // 'no server') && 0);
}
# Where a test failed the poison is still there: the next begins without.
sub clear_poison
{
	return if wait_until($node, 'postgres', 'SELECT count(*) FROM clinical.staged_report', 0, 1);
	$node->safe_psql('postgres', 'CREATE TABLE public.off (n int)');	# the trigger's function goes another way
	wait_until($node, 'postgres', "SELECT count(pg_terminate_backend(pid)) = 0 FROM pg_stat_activity WHERE $Intake::WORKERS AND wait_event = 'PgSleep'");
	eval { kick_workers($node, 'postgres') };
	wait_until($node, 'postgres', 'SELECT count(*) FROM clinical.staged_report', 0, 10) or die 'the poison stays';
	$node->safe_psql('postgres', 'DROP TABLE public.off');
}

my $id = poison('I1', 15, 'an error');
ends_as('I1', $id, 'failed 22012', 15, 'an error');
clear_poison();

# The neighbours wait for the timeout at most; generously.
$id = poison('I2', 15, 'for ever');
ends_as('I2', $id, 'timed_out', 30, 'for ever');
is(waiting($node, 'postgres'), 0, 'for ever: nothing waits');
clear_poison();

# May go well another time: three times it does not.
for my $patient (qw(I4 I5))
{
	$node->safe_psql('postgres', 'ALTER SEQUENCE public.attempts RESTART WITH 0');
	$id = poison($patient, 15, "$patient, well the fourth time");
	ends_as($patient, $id, 'accepted', 30, "$patient, well the fourth time");
	is($node->safe_psql('postgres', 'SELECT last_value FROM public.attempts'), 4, "$patient: it was tried four times");
	clear_poison();
}
# What has nothing to do with the report is no attempt, however often it fails.
for my $patient (qw(I8 I9))
{
	$node->safe_psql('postgres', 'ALTER SEQUENCE public.attempts RESTART WITH 0');
	$id = poison($patient, 60, "$patient, well the eighth time");
	ends_as($patient, $id, 'accepted', 60, "$patient, well the eighth time");
	is($node->safe_psql('postgres', 'SELECT last_value FROM public.attempts'), 8, "$patient: it was tried eight times");
	clear_poison();
}
$node->safe_psql('postgres', 'ALTER SEQUENCE public.attempts RESTART WITH 0');
$id = poison('I6', 15, 'never well');
ends_as('I6', $id, 'failed 40001', 60, 'never well');
my $attempts = $node->safe_psql('postgres', 'SELECT last_value FROM public.attempts');
cmp_ok($attempts, '>=', 4, "never well: not before clinical.max_attempts ($attempts)");
cmp_ok($attempts, '<', 25, 'never well: nor much later');
clear_poison();

# The server ends with who is killed, and comes back: a bounded number of times.
my $log = -s $node->logfile;
$id = poison('I3', 60, 'a crash');
ends_as('I3', $id, 'crashed', 60, 'a crash');
my $crashes = log_count($node, 'was terminated by signal 9', $log);
cmp_ok($crashes, '<=', 12, "a crash: the server crashed $crashes times");
$log = -s $node->logfile;
$id = poison('I7', 15, 'after the crashes');
ends_as('I7', $id, 'accepted', 15, 'after the crashes');
is(log_count($node, 'was terminated by signal', $log), 0, 'and no more');
clear_poison();

drained($node, 'postgres', 'at the end', 10);
is($node->safe_psql('postgres', q{SELECT patient_id, reason_code FROM clinical.set_aside WHERE outcome = 'quarantined' ORDER BY 1}),
	"I1|failed\nI2|timed_out\nI3|crashed\nI6|failed", 'only what was poisonous is in quarantine');
# With the poison gone, what was set aside goes back.
$node->safe_psql('postgres', q{ALTER TABLE clinical.submission DISABLE TRIGGER poison;
SELECT clinical.requeue(patient_id, submission_id, 'mended') FROM clinical.set_aside WHERE outcome = 'quarantined' AND requeued_at IS NULL});
drained($node, 'postgres', 'requeued', 15);
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.set_aside WHERE requeued_at IS NULL}), 0, 'requeued: and accepted');
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id) FROM clinical.submission'), "$last|$last", 'each report once');
sound($node, 'postgres', 'at the end', 1);

done_testing();
