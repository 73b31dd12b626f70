# stat_worker: what each worker does and has in hand, what it has done, and how often it was started.  What it does is
# held by a lock.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use Report;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = intake_node('stat_worker', 'clinical.max_workers = 2', "clinical.worker_idle_timeout = '1h'");
my $first = q{FROM clinical.stat_worker WHERE kind = 'first'};
my $restarts = $node->safe_psql('postgres', "SELECT restarts $first");
sub soon { my ($query, $name) = @_; return ok(wait_until($node, 'postgres', $query, 't', 30), $name) || diag($node->safe_psql('postgres', 'SELECT * FROM clinical.stat_worker')) }
my $idle = "SELECT activity IS NULL AND lane IS NULL AND lanes = 0 AND batch = 0 AND since BETWEEN started_at AND now() $first";

# Reports of these patients in one transaction.
sub send_reports
{
	my (@patients) = @_;
	return $node->safe_psql('postgres', 'BEGIN; ' . join('', map { qq{SELECT clinical.submit_report('I$_', '{"n": 1}', captured_at => '2026-02-01 12:00+00'::timestamptz + random() * interval '1 day');} } @patients) . ' COMMIT');
}

soon($idle, 'at rest');
is($node->safe_psql('postgres', "SELECT reports, failed $first"), '0|0', 'it has processed no reports');

# one patient's, and many patients'
my $holder = session($node, 'postgres');
answers($holder, 'BEGIN; LOCK TABLE clinical.submission IN ACCESS EXCLUSIVE MODE');
send_reports(7, 7, 7);
soon("SELECT activity = 'intake' AND lane BETWEEN 0 AND 63 AND lanes = 1 AND batch = 3 AND reports = 0 $first", 'reports of one patient');
soon(q{SELECT a.query = 'processing reports' AND a.wait_event_type = 'Lock' AND s.since <= a.state_change + interval '1 s'
 FROM clinical.stat_worker s JOIN pg_stat_activity a USING (pid) WHERE kind = 'first'}, 'pg_stat_activity says what it waits for');
answers($holder, 'COMMIT');
soon("SELECT reports = 3 AND done >= 1 $first", 'they are processed');
soon($idle, 'and it rests');
answers($holder, 'BEGIN; LOCK TABLE clinical.submission IN ACCESS EXCLUSIVE MODE');
send_reports(1 .. 50);
soon("SELECT activity = 'intake' AND lane IS NULL AND lanes > 10 AND batch = 50 AND reports = 3 $first", 'of many patients');
answers($holder, 'COMMIT');
soon("SELECT reports = 53 AND failed = 0 $first", 'and it counts on');

# a batch that fails, and is taken apart
$node->safe_psql('postgres', q{
CREATE FUNCTION public.fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.patient_id = 'I9' THEN RAISE EXCEPTION 'no' USING ERRCODE = '22012'; END IF; RETURN NEW; END $$;
CREATE TRIGGER fails BEFORE INSERT ON clinical.submission FOR EACH ROW EXECUTE FUNCTION public.fails();
ALTER TABLE clinical.submission ENABLE ALWAYS TRIGGER fails});
my $done = $node->safe_psql('postgres', "SELECT done $first");
send_reports(8, 9, 10);
soon("SELECT reports = 56 AND failed = 1 AND done > $done $first", 'a batch fails, and its reports go where they belong');
is($node->safe_psql('postgres', 'SELECT count(*) FROM clinical.submission'), 55, 'two of three were stored');

# project reports, by a further worker
answers($holder, 'BEGIN; LOCK TABLE clinical.monitor_rule_version IN ACCESS EXCLUSIVE MODE');
my $id = request($node);
soon(q{SELECT activity = 'reports' AND lanes = 0 AND batch = 0 AND restarts IS NULL AND since >= started_at FROM clinical.stat_worker WHERE kind = 'further'}, 'a further worker makes a report');
$node->safe_psql('postgres', q{SET lock_timeout = 0; SELECT pg_cancel_backend(pid) FROM clinical.stat_worker WHERE kind = 'further'});
ok(job_becomes($node, $id, 'cancelled'), 'which is cancelled');
soon(q{SELECT activity IS NULL AND failed = 0 AND done >= 1 FROM clinical.stat_worker WHERE kind = 'further'}, 'that is no failure');
answers($holder, 'COMMIT');

# started again
is($node->safe_psql('postgres', "SELECT restarts $first"), $restarts, 'all by the same process');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) $first");
soon("SELECT state = 'running' AND restarts = $restarts + 1 AND reports = 0 AND failed = 0 $first", 'another one begins with nothing');
$node->safe_psql('postgres', 'SELECT clinical.stop_workers()');
is($node->safe_psql('postgres', "SELECT num_nulls(activity, since, lane, lanes, batch, done, reports, failed), restarts - $restarts FROM clinical.stat_worker"), '8|1', 'where there is none, nothing is told but that');
$node->safe_psql('postgres', 'SELECT clinical.start_workers()');
soon("SELECT state = 'running' AND restarts = $restarts + 2 $first", 'and it counts on');
$node->restart;
soon("SELECT state = 'running' AND restarts = 0 $first", 'with the server it begins anew');
end_session($holder);
done_testing();
