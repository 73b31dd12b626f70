# Reports that are cancelled at any moment, in every way there is, stop soon and leave nothing. How soon is for
# bench/report_cancel to say: here a machine may be busy, and the bound is wide.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use Report;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $seed = $ENV{CLINICAL_SEED} // time;
srand($seed);
note "CLINICAL_SEED=$seed";

my $node = intake_node('report_cancel', "client_connection_check_interval = '100ms'", 'max_worker_processes = 20', 'fsync = off', "work_mem = '64kB'",
	'min_parallel_table_scan_size = 0', 'parallel_setup_cost = 0');
# 40,000 readings of 400 patients, as a restore would put them there
$node->safe_psql('postgres', q{
SELECT clinical.stop_workers();
SET clinical.restore = on;
CREATE TABLE filling AS SELECT 'I' || p AS patient_id, gen_random_uuid() AS id, timestamptz '2026-01-20 12:00+00' + d * interval '6 hours' AS at FROM generate_series(1, 400) p, generate_series(1, 100) d;
INSERT INTO clinical.submission (patient_id, id, project_id, version_id, status, captured_at, local_day, time_zone, received_at, processed_at, originator, login, digest,
    observations, observations_digest, report_data)
  SELECT patient_id, id, 1, (SELECT id FROM clinical.instrument_version WHERE instrument = 'diary'), 'accepted', at, (at AT TIME ZONE 'UTC')::date, 'UTC', at, at, 'subject', 'x', '', 1, '', '{}' FROM filling;
INSERT INTO clinical.observation (patient_id, item, captured_at, id, version, submission_id, local_day, value, is_score, flagged, recorded_at, recorded_by)
  SELECT patient_id, 'n', at, gen_random_uuid(), 1, id, (at AT TIME ZONE 'UTC')::date, hashtext(id::text) % 1000, false, false, at, 'x' FROM filling;
RESET clinical.restore;
VACUUM ANALYZE;
SELECT clinical.start_workers()});
is($node->safe_psql('postgres', 'SELECT count(*) FROM clinical.observation'), 40000, 'there is something to read');

my $sql = q{clinical.generate_report('IN', '[2026-01-01,2026-07-01)', '{"cutoff": "2026-10-01 00:00Z", "by": ["center"]}')};
my $began = time;
my $whole = $node->safe_psql('postgres', "SELECT $sql ->> 'sha256'");
my $duration = time - $began;
note "a report takes $duration s";

# Waits until that is so, at most that long; how long it was.
sub until_none
{
	my ($what, $query) = @_;
	my $begin = time;
	my $none = wait_until($node, 'postgres', $query, 0, 20);
	return $none ? time - $begin : undef;
}

# What may be left of a process, or of all: work, temporary files, locks.
my $work = q{SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'active' AND (query ~ 'generate_report' OR query = 'making a report')};
my $left = q{SELECT (SELECT count(*) FROM pg_ls_tmpdir()) + (SELECT count(*) FROM pg_locks l WHERE pid <> pg_backend_pid() AND relation = 'clinical.observation'::regclass)
  + (SELECT count(*) FROM clinical.report_progress WHERE status = 'running')};
my %ways = (
	pg_cancel_backend => sub {
		my ($moment) = @_;
		my $session = session($node, 'postgres');
		my $pid = answers($session, 'SELECT pg_backend_pid()');
		ask($session, "SELECT length(${sql}::text)");
		sleep $moment;
		$session->{run}->pump_nb;
		$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
		answers($session);
		like($session->{error}, qr/^(?:ERROR:  57014: canceling statement due to user request.*)?$/s, 'and the client is told');
		end_session($session);
	},
	statement_timeout => sub {
		my ($moment) = @_;
		my ($status, $out, $error) = $node->psql('postgres', sprintf "\\set VERBOSITY verbose\nSET statement_timeout = %d;\nSELECT length(${sql}::text)", 1 + 1000 * $moment);
		like($error, qr/^(?:.*ERROR:  57014: canceling statement due to statement timeout.*)?$/s, 'and the client is told');
	},
	cancel_report => sub {
		my ($moment) = @_;
		my $id = request($node, '{"cutoff": "2026-10-01 00:00Z", "by": ["center"]}');
		wait_until($node, 'postgres', "SELECT status <> 'queued' FROM clinical.report_job WHERE id = '$id'");
		sleep $moment;
		my $status = $node->safe_psql('postgres', "SELECT clinical.cancel_report('$id')");
		like($status, qr/^(?:cancelled|done)$/, 'it is cancelled, or was done');
		is(job($node, $id, 'status'), $status, 'and the row says so');
	},
	killed_client => sub {
		my ($moment) = @_;
		my $session = session($node, 'postgres');
		answers($session, "SET application_name = 'mortal'");
		ask($session, "SELECT length(${sql}::text)");
		sleep $moment;
		$session->{run}->pump_nb;
		$session->{run}->kill_kill;
		ok(defined until_none('client', q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mortal'}), 'its process ends');
	});
for my $round (1 .. 5)
{
	for my $way (sort keys %ways)
	{
		my $moment = rand $duration;
		note sprintf '%s after %.3f s', $way, $moment;
		$ways{$way}->($moment);
		my $took = until_none($way, $work);
		ok(defined $took, "$way: nobody makes it any more");
		is($node->safe_psql('postgres', $left), 0, "$way: nothing is left");
	}
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.report_job j WHERE (status = 'done') <> EXISTS (SELECT FROM clinical.report r WHERE r.id = j.id)}), 0, 'no partial report');
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.report_job WHERE status = 'cancelled' AND (cancelled_by IS DISTINCT FROM session_user OR cancelled_at IS NULL)}), 0, 'jobs say who cancelled them, and when');
is($node->safe_psql('postgres', "SELECT $sql ->> 'sha256'"), $whole, 'and one that is not cancelled is as before');

# The same snapshot, in another session and as a job.
my $session = session($node, 'postgres');
my $snapshot = answers($session, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_export_snapshot()');
$node->safe_psql('postgres', q{SELECT clinical.submit_report('I1', '{"n": 7}', captured_at => '2026-02-01 12:00+00'); SELECT clinical.wait_until_drained()});
my $here = answers($session, "SELECT $sql ->> 'sha256'");
is($node->safe_psql('postgres', "BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '$snapshot'; SET max_parallel_workers_per_gather = $_; SELECT $sql ->> 'sha256'; COMMIT"), $here,
	"the same snapshot gives the same report, with $_ parallel workers") for 0, 2;
end_session($session);
my $id = request($node, '{"cutoff": "2026-10-01 00:00Z", "by": ["center"]}');
ok(job_becomes($node, $id, 'done'), 'a job is done');
is($node->safe_psql('postgres', "SELECT document ->> 'sha256' FROM clinical.report WHERE id = '$id'"), $node->safe_psql('postgres', "SELECT $sql ->> 'sha256'"), 'and gives what a session gives');
# an exact count of what is read
is($node->safe_psql('postgres', "SELECT $sql #>> '{header,rows,observations}'"), $node->safe_psql('postgres', 'SELECT count(*) FROM clinical.observation'), 'observations are counted');
done_testing();
