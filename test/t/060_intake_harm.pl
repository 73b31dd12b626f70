# What is no fault of a report does it no harm, nor to its neighbours: waits for locks, crashes while it is put off,
# triggers that somebody has deferred.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = intake_node('harm', 'clinical.batch_size = 100', "clinical.report_timeout = '1s'", "clinical.retry_delay_max = '200ms'",
	'clinical.max_attempts = 100');
my $last = 0;
# The next reports, committed one by one; their numbers are up to $last.
sub more { my ($count) = @_; $last += $count; return submit_many($node, 'postgres', $last - $count + 1, $last) }
sub quarantined { return $node->safe_psql('postgres', q{SELECT coalesce(string_agg(patient_id || ' ' || reason_code || coalesce(' ' || (detail ->> 'sqlstate'), ''), ', ' ORDER BY patient_id), '')
  FROM clinical.set_aside WHERE outcome = 'quarantined' AND requeued_at IS NULL}) }

# A table is locked for longer than a report may take: the wait is not the reports'.
my $holder = session($node, 'postgres');
for my $mode ('ACCESS EXCLUSIVE', 'SHARE')
{
	answers($holder, "BEGIN; LOCK TABLE clinical.observation IN $mode MODE");
	more(20);
	ok(wait_until($node, 'postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE $Intake::WORKERS AND wait_event_type = 'Lock'", 't', 20), "$mode: a worker waits");
	select undef, undef, undef, 2.5;
	is($node->safe_psql('postgres', "SELECT count(*) FROM clinical.staged_report"), 20, "$mode: for longer than a report may take");
	answers($holder, 'COMMIT');
	drained($node, 'postgres', $mode, 30);
	is(quarantined(), '', "$mode: nothing is in quarantine");
}
exactly_once($node, 'postgres', 1, $last, 'locks');

# A trigger that somebody has deferred does not like one report: that one alone is set aside.
$node->safe_psql('postgres', q{CREATE FUNCTION public.dislike() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.value = 71 THEN RAISE EXCEPTION USING ERRCODE = '22012'; END IF;
    RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER dislike AFTER INSERT ON clinical.observation DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.dislike();
ALTER TABLE clinical.observation ENABLE ALWAYS TRIGGER dislike});
switch_workers($node, 'off');
more(60);	# 41 to 100, processed together
switch_workers($node, 'on');
drained($node, 'postgres', 'a deferred trigger', 30);
is(quarantined(), 'I72 failed 22012', 'a deferred trigger: one report is in quarantine');
is($node->safe_psql('postgres', 'SELECT count(*) FROM clinical.submission'), $last - 1, 'a deferred trigger: its neighbours are accepted');
$node->safe_psql('postgres', q{DROP TRIGGER dislike ON clinical.observation;
SELECT clinical.requeue(patient_id, submission_id, 'mended') FROM clinical.set_aside WHERE outcome = 'quarantined'});
drained($node, 'postgres', 'a deferred trigger, gone');

# After a crash reports are processed alone.  One that is put off then has not crashed the server, however often it does.
$node->safe_psql('postgres', q{CREATE TABLE public.off (n int);
CREATE FUNCTION public.busy() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$ BEGIN
    IF NEW.patient_id = 'I302' AND pg_catalog.to_regclass('public.off') IS NOT NULL THEN RAISE lock_not_available; END IF;
    RETURN NEW; END $$;
CREATE TRIGGER busy BEFORE INSERT ON clinical.submission FOR EACH ROW EXECUTE FUNCTION public.busy();
ALTER TABLE clinical.submission ENABLE ALWAYS TRIGGER busy});
$node->safe_psql('postgres', 'SELECT ' . submit(++$last, patient => 'I302'));
my $attempts = 'SELECT coalesce(max(attempts), 0) FROM clinical.staged_report';
for my $time (1 .. 4)
{
	my $so_far = eval { $node->safe_psql('postgres', $attempts) } // 0;
	my $log = -s $node->logfile;
	my $victim = session($node, 'postgres');
	kill 'KILL', answers($victim, 'SELECT pg_backend_pid()');
	for (1 .. 500) { last if log_count($node, 'database system is ready to accept connections', $log); select undef, undef, undef, 0.02; }
	wait_until($node, 'postgres', 'SELECT true') or die 'the server is not back';
	# tried alone, and more than once
	ok(wait_until($node, 'postgres', "SELECT ($attempts) > $so_far + 1", 't', 60), "put off at crash $time: it is tried again");
	is($node->safe_psql('postgres', 'SELECT suspects > 0 FROM clinical.stat_intake'), 't', "put off at crash $time: and is a suspect until it is through");
}
is(quarantined(), '', 'put off: it has not crashed the server');
$node->safe_psql('postgres', 'DROP TABLE public.off');
drained($node, 'postgres', 'put off', 30);
ok(wait_until($node, 'postgres', 'SELECT suspects FROM clinical.stat_intake', 0), 'put off: there are no suspects any more');

# Lanes are busy after a crash: suspects stay suspects until they are processed.
switch_workers($node, 'off');
more(30);
$node->stop('immediate');
$node->start;
$holder = session($node, 'postgres');
is(answers($holder, 'BEGIN; SELECT clinical.process_reports()'), 30, 'busy lanes: somebody processes what waits');
switch_workers($node, 'on');
select undef, undef, undef, 3;
is($node->safe_psql('postgres', 'SELECT waiting, suspects > 0, batches <= 1 FROM clinical.stat_intake'), '30|t|t', 'busy lanes: all wait, and are suspects');
answers($holder, 'ROLLBACK');
end_session($holder);
drained($node, 'postgres', 'busy lanes', 30);
cmp_ok($node->safe_psql('postgres', 'SELECT batches FROM clinical.stat_intake'), '>=', 30, 'busy lanes: and each was processed alone');

is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id) FROM clinical.submission'), "$last|$last", 'at the end: each is accepted once');
sound($node, 'postgres', 'at the end', 1);

done_testing();
