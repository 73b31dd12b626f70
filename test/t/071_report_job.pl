# Reports that are asked for are made by further workers, as many at a time as may be; meanwhile patients' reports
# are processed. A job whose worker is lost is run again, three times at most; one that nobody wants is stopped.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use Report;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = intake_node('report_job', 'clinical.max_workers = 6', 'max_worker_processes = 20', "clinical.worker_idle_timeout = '2s'");
$node->safe_psql('postgres', q{
SELECT clinical.submit_report('I' || g, '{"n": 1}', captured_at => '2026-02-01 12:00') FROM generate_series(1, 20) g;
SELECT clinical.wait_until_drained()});
my $making = q{SELECT count(*) FROM pg_stat_activity WHERE query = 'making a report' AND state = 'active'};

# --- as many at a time as may be ---
my $holder = hold_reports($node);
my @ids = map { request($node) } 1 .. 4;
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM clinical.report_job WHERE status = 'running'}, 2), 'two are made at a time');
ok(wait_until($node, 'postgres', $making, 2), 'by two workers');
is(join(' ', map { status_of($node, $_) } @ids), 'running running queued queued', 'those that were asked for first');
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.report_job j JOIN clinical.stat_worker w ON w.pid = j.worker WHERE w.kind = 'further'}), 2, 'the first worker makes none');
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT worker), min(phase), min(done), count(started_at) FROM clinical.report_progress WHERE status = 'running'}),
	'2|2|counting|0|2', 'how far they are is told');
$node->safe_psql('postgres', q{SELECT clinical.submit_report('I' || g, '{"n": 2}', captured_at => '2026-02-02 12:00') FROM generate_series(1, 20) g});
is($node->safe_psql('postgres', q{SELECT clinical.wait_until_drained('30 s')}), 't', 'meanwhile patients\' reports are processed');
is($node->safe_psql('postgres', q{SELECT problem FROM clinical.health() WHERE problem ~ 'report'}), '', 'nothing is the matter');
my $listener = session($node, 'postgres');
answers($listener, 'LISTEN clinical_report');
answers($holder, 'ROLLBACK');
ok(job_becomes($node, $_, 'done'), 'and then they are made') for @ids;
my $told = answers($listener, 'SELECT 1');
like($told, qr/"clinical_report" with payload "$_"/, 'who listens is told') for @ids;
is($node->safe_psql('postgres', q{SELECT count(DISTINCT document -> 'body'), count(*) FROM clinical.report GROUP BY document #> '{header,rows,submissions}' ORDER BY 1, 2}),
	"1|2\n1|2", 'the two that began before these reports are the same, and the two that began afterwards');
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM clinical.stat_worker WHERE kind = 'further'}, 0), 'further workers end');

# --- cancelled ---
# What is cancelled in a transaction that is rolled back, or in a part of one, is not.
$holder = hold_reports($node);
my $id = request($node);
ok(wait_until($node, 'postgres', $making, 1), 'one is made');
$node->safe_psql('postgres', "BEGIN; SELECT clinical.cancel_report('$id'); ROLLBACK;
BEGIN; SAVEPOINT a; SAVEPOINT b; SELECT clinical.cancel_report('$id'); RELEASE b; ROLLBACK TO a; COMMIT");
is(job($node, $id, 'status, attempts, cancelled_at'), 'running|1|', 'a cancellation that is rolled back does nothing');
is($node->safe_psql('postgres', $making), 1, 'it is still made');
$node->safe_psql('postgres', "BEGIN; SAVEPOINT a; SELECT clinical.cancel_report('$id'); RELEASE a; COMMIT");
ok(wait_until($node, 'postgres', $making, 0), 'one that is committed stops it');
is(job($node, $id, 'status, attempts, cancelled_by = session_user, cancelled_at = ended_at, worker, detail'), 'cancelled|1|t|t||', 'and by whom and when is told');
is($node->safe_psql('postgres', "SELECT clinical.cancel_report('$id')"), 'cancelled', 'cancelled again, that is answered');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_locks l JOIN clinical.stat_worker w USING (pid) WHERE l.relation IS NOT NULL}), 0, 'no lock is left');

# The worker goes on with the next one; what was to cancel the first does not meet it.
my ($first, $second) = (request($node), request($node));
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM clinical.report_job WHERE status = 'running'}, 2), 'two are made');
$node->safe_psql('postgres', "SELECT pg_cancel_backend(worker) FROM clinical.report_job WHERE id = '$first'");
ok(job_becomes($node, $first, 'cancelled'), 'one is cancelled by pg_cancel_backend');
is(job($node, $first, 'cancelled_by, cancelled_at = ended_at, worker, detail'), '|t||57014', 'and it is not known by whom');
is(status_of($node, $second), 'running', 'the other one is not');
# Who is about to cancel a report that is ready in the meantime is waited for.
my $canceller = session($node, 'postgres');
answers($canceller, "BEGIN; SELECT clinical.cancel_report('$second')");
answers($holder, 'ROLLBACK');
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE query = 'making a report' AND wait_event_type = 'Lock'}, 1), 'it is ready, and waits');
answers($canceller, 'COMMIT');
ok(wait_until($node, 'postgres', $making, 0), 'and is thrown away');
is($node->safe_psql('postgres', "SELECT status, (SELECT count(*) FROM clinical.report r WHERE r.id = j.id) FROM clinical.report_job j WHERE id = '$second'"), 'cancelled|0', 'nothing of it is left');
is($node->safe_psql('postgres', "SELECT clinical.cancel_report('$ids[0]')"), 'done', 'what is done is not cancelled');

# --- lost ---
$holder = hold_reports($node);
$id = request($node);
for my $attempt (1 .. 3)
{
	ok(wait_until($node, 'postgres', "SELECT status = 'running' AND attempts = $attempt FROM clinical.report_job WHERE id = '$id'"), "attempt $attempt");
	$node->safe_psql('postgres', "SELECT pg_terminate_backend(worker) FROM clinical.report_job WHERE id = '$id'");
}
ok(job_becomes($node, $id, 'failed'), 'after the third it has failed');
is(job($node, $id, 'attempts, detail, worker'), '3|57P02|', 'and why is told');
answers($holder, 'ROLLBACK');
is($node->safe_psql('postgres', q{SELECT invariant, object FROM clinical.check()}), '', 'all is sound');
$holder = hold_reports($node);

# a worker that is killed takes the server with it, as does a postmaster; a fast shutdown
$id = request($node);
ok(wait_until($node, 'postgres', $making, 1), 'one is made');
my $log = -s $node->logfile;
kill 'KILL', job($node, $id, 'worker');
ok(wait_until($node, 'postgres', "SELECT attempts = 2 FROM clinical.report_job WHERE id = '$id'"), 'its worker is killed: it is run again');
ok(job_becomes($node, $id, 'done'), 'and done');
$holder = hold_reports($node);
$id = request($node);
ok(wait_until($node, 'postgres', $making, 1), 'one is made');
kill_postmaster($node);
start_again($node);
ok(job_becomes($node, $id, 'done'), 'the server crashes: it is run again, and done');
is(job($node, $id, 'attempts'), 2, 'at the second attempt');
$holder = hold_reports($node);
$id = request($node);
ok(wait_until($node, 'postgres', $making, 1), 'one is made');
$node->stop('fast');
$node->start;
ok(job_becomes($node, $id, 'done'), 'the server is shut down: it is run again, and done');
is($node->safe_psql('postgres', q{SELECT invariant, object FROM clinical.check()}), '', 'all is sound');

# --- too few workers ---
set_up($node, 'clinical.max_workers' => 1);
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM clinical.stat_worker WHERE kind = 'further'}, 0), 'no further workers');
$id = request($node);
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM clinical.health() WHERE problem ~ 'no background worker makes them' AND remedy ~ 'max_workers'}, 1), 'reports wait, and health() says why');
is(status_of($node, $id), 'queued', 'none is made');
set_up($node, 'clinical.max_workers' => 3);
ok(job_becomes($node, $id, 'done'), 'with more workers it is made');
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM clinical.health() WHERE problem ~ 'no background worker makes them'}, 0), 'and nothing is the matter');

# stop_workers does not wait for a report; dropping the extension does not either once they are stopped
$holder = hold_reports($node);
$id = request($node);
ok(wait_until($node, 'postgres', $making, 1), 'one is made');
$node->safe_psql('postgres', 'SELECT clinical.stop_workers()');
is(job($node, $id, 'status, attempts'), 'running|1', 'stop_workers ends its worker');
answers($holder, 'ROLLBACK');
$node->safe_psql('postgres', 'SELECT clinical.start_workers()');
ok(job_becomes($node, $id, 'done'), 'started again, they make it');
is(job($node, $id, 'attempts'), 2, 'from the beginning');
end_session($_) for $listener, $canceller, $holder;
done_testing();
