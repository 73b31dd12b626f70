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
my $any_worker = q{backend_type ~ '^clinical (further )?worker'};
my $last = 0;
my $more = 0;	# reports with other numbers
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
	ok(wait_until($node, 'postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE $any_worker AND wait_event_type = 'Lock'", 't', 20), "$mode: a worker waits");
	select undef, undef, undef, 2.5;
	is($node->safe_psql('postgres', "SELECT count(*) FROM clinical.staged_report"), 20, "$mode: for longer than a report may take");
	answers($holder, 'COMMIT');
	drained($node, 'postgres', $mode, 30);
	is(quarantined(), '', "$mode: nothing is in quarantine");
}
exactly_once($node, 'postgres', 1, $last, 'locks');

# Nor is it the end of the time that a report has.
$node->safe_psql('postgres', q{CREATE TABLE public.held (n int);
CREATE FUNCTION public.for_ever() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$ BEGIN
    IF NEW.patient_id = 'I301' THEN LOCK TABLE public.held; PERFORM pg_catalog.pg_sleep(3600); END IF;
    RETURN NEW; END $$;
GRANT ALL ON public.held TO clinical_owner;
CREATE TRIGGER for_ever BEFORE INSERT ON clinical.submission FOR EACH ROW EXECUTE FUNCTION public.for_ever();
ALTER TABLE clinical.submission ENABLE ALWAYS TRIGGER for_ever});
answers($holder, 'BEGIN; LOCK TABLE public.held');
$node->safe_psql('postgres', 'SELECT ' . submit(900, patient => 'I301'));
ok(wait_until($node, 'postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE $any_worker AND wait_event_type = 'Lock'", 't', 20), 'a lock, then for ever: a worker waits');
select undef, undef, undef, 1.5;
answers($holder, 'COMMIT');
ok(wait_until($node, 'postgres', 'SELECT count(*) FROM clinical.staged_report', 0, 20), 'a lock, then for ever: it ends');
is(quarantined(), 'I301 timed_out', 'a lock, then for ever: it took too long');
$node->psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE $any_worker AND wait_event = 'PgSleep'");
wait_until($node, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", 0) or die;
$node->safe_psql('postgres', q{DROP TRIGGER for_ever ON clinical.submission;
SELECT clinical.requeue(patient_id, submission_id, 'mended') FROM clinical.set_aside WHERE outcome = 'quarantined' AND requeued_at IS NULL});
drained($node, 'postgres', 'a lock, then for ever');
$more++;

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
is($node->safe_psql('postgres', 'SELECT count(*) FROM clinical.submission'), $last + $more - 1, 'a deferred trigger: its neighbours are accepted');
$node->safe_psql('postgres', q{DROP TRIGGER dislike ON clinical.observation;
SELECT clinical.requeue(patient_id, submission_id, 'mended') FROM clinical.set_aside WHERE outcome = 'quarantined' AND requeued_at IS NULL});
drained($node, 'postgres', 'a deferred trigger, gone');

# What is missing is missing for all reports, and the server's fault; what is broken is the report's.
$node->safe_psql('postgres', q{CREATE TABLE public.off (n int);
CREATE FUNCTION public.missing() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$ BEGIN
    IF pg_catalog.to_regclass('public.off') IS NULL THEN RETURN NEW; END IF;
    IF NEW.patient_id = 'I311' THEN RAISE undefined_table; END IF;
    IF NEW.patient_id = 'I312' THEN RAISE insufficient_privilege; END IF;
    IF NEW.patient_id = 'I313' THEN RAISE undefined_column; END IF;
    IF NEW.patient_id = 'I314' THEN RAISE internal_error; END IF;
    IF NEW.patient_id = 'I315' AND NEW.report_data ->> 'n' = '1' THEN RAISE object_in_use; END IF;
    RETURN NEW; END $$;
CREATE TRIGGER missing BEFORE INSERT ON clinical.submission FOR EACH ROW EXECUTE FUNCTION public.missing();
ALTER TABLE clinical.submission ENABLE ALWAYS TRIGGER missing});
$node->safe_psql('postgres', 'SELECT ' . join ', ', map { submit(910 + $_, patient => "I31$_") } 1 .. 4);
my $retried = $node->safe_psql('postgres', 'SELECT retried FROM clinical.stat_intake');
ok(wait_until($node, 'postgres', "SELECT retried > $retried + 12 FROM clinical.stat_intake", 't', 30), 'what is missing: tried again and again');
is($node->safe_psql('postgres', q{SELECT string_agg(patient_id || ' ' || attempts, ', ' ORDER BY patient_id) FROM clinical.staged_report}), 'I311 0, I312 0, I313 0', 'what is missing: those are kept, and no attempt is used');
is(quarantined(), 'I314 failed XX000', 'what is broken is set aside');

# Of two with one id the first counts, also where it is put off.
$node->safe_psql('postgres', 'SELECT ' . submit(915, patient => 'I315', data => q('{"n": 1}')));
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM clinical.staged_report_retry WHERE patient_id = 'I315' AND attempts > 0}, 1, 20), 'one id: the first is put off');
$node->safe_psql('postgres', 'SELECT ' . join ', ', map { submit(915, patient => 'I315', data => qq('{"n": $_}')) } 2, 1);
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM clinical.staged_report_retry WHERE patient_id = 'I315' AND coalesce(attempts, 0) = 0}, 2, 20), 'one id: so are those after it');
ok(wait_until($node, 'postgres', q{SELECT max(attempts) > 4 FROM clinical.staged_report_retry WHERE patient_id = 'I315'}, 't', 20), 'one id: as long as it takes');
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.submission WHERE patient_id = 'I315' AND id = '} . report_id(915) . q{'}), 0, 'one id: none is accepted meanwhile');
$node->safe_psql('postgres', 'DROP TABLE public.off');
drained($node, 'postgres', 'what was missing is there', 30);
is($node->safe_psql('postgres', q{SELECT report_data FROM clinical.submission WHERE id = '} . report_id(915) . q{';
SELECT string_agg(outcome, ' ' ORDER BY outcome) FROM clinical.set_aside WHERE patient_id = 'I315'}), qq({"n": 1}\nconflict duplicate), 'one id: the first counts');
$node->safe_psql('postgres', q{DROP TRIGGER missing ON clinical.submission; SELECT clinical.requeue(patient_id, submission_id, 'mended') FROM clinical.set_aside WHERE outcome = 'quarantined' AND requeued_at IS NULL});
drained($node, 'postgres', 'requeued', 30);
$more += 5;

# After a crash reports are processed alone.  One that is put off then has not crashed the server, however often it does.
$node->safe_psql('postgres', q{CREATE TABLE public.off (n int);
CREATE FUNCTION public.busy() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$ BEGIN
    IF NEW.patient_id = 'I302' AND pg_catalog.to_regclass('public.off') IS NOT NULL THEN RAISE object_in_use; END IF;
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
is($node->safe_psql('postgres', q{SET statement_timeout = '10s'; SELECT clinical.process_reports()}), 0, 'busy lanes: others leave them to the worker');
answers($holder, 'ROLLBACK');
end_session($holder);
drained($node, 'postgres', 'busy lanes', 30);
cmp_ok($node->safe_psql('postgres', 'SELECT batches FROM clinical.stat_intake'), '>=', 30, 'busy lanes: and each was processed alone');

# Without workers another segment takes reports in where one is large, so that it can be emptied.
switch_workers($node, 'off');
my $sizes = q{SELECT count(*) FILTER (WHERE pg_relation_size(inhrelid) > 1000000), count(*) FILTER (WHERE pg_relation_size(inhrelid) > 25000000)
  FROM pg_inherits WHERE inhparent = 'clinical.staged_report'::regclass AND inhrelid <> 'clinical.staged_report_retry'::regclass};
my $segments = join ', ', map { "clinical.staged_report_$_" } 0 .. 3;
$node->safe_psql('postgres', "VACUUM $segments");
for my $time (1, 2)
{
	is($node->safe_psql('postgres', qq{SELECT count(*) FILTER (WHERE r.outcome = 'queued') FROM generate_series(1, 2200) g,
  clinical.submit_report('I' || 1 + g % 400, jsonb_build_object('n', g, 'note', repeat('x', 7500)), NULL, '2026-02-01 10:00+00') r;
SELECT clinical.process_reports()}), "2200\n2200", "without workers: large reports, $time");
}
is($node->safe_psql('postgres', $sizes), '2|0', 'without workers: they went to two segments');
$node->safe_psql('postgres', "VACUUM $segments");
is($node->safe_psql('postgres', $sizes), '0|0', 'without workers: which can be emptied');
$more += 4400;

is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id) FROM clinical.submission'), join('|', ($last + $more) x 2), 'at the end: each is accepted once');
sound($node, 'postgres', 'at the end', 1);

done_testing();
