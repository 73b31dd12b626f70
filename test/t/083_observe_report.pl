# How reports end is counted by cause and told in the log, once each: made by a session or by a job, ended by an
# error or with the session, before the first row or later.  Nothing depends on time: reports wait for a lock.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use Report;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $canary = 'CANARY7f3a';
my $node = intake_node('observe_report', "client_connection_check_interval = '50ms'", 'clinical.max_workers = 6', 'max_worker_processes = 20',
	'min_parallel_table_scan_size = 0', 'parallel_setup_cost = 0', 'parallel_tuple_cost = 0');
# the project's code is quoted in the log
$node->safe_psql('postgres', qq{
SELECT clinical.create_project_with_centers('Other', '{1}', 'O "1"');
CREATE ROLE asker LOGIN; GRANT clinical_statistician TO asker; GRANT USAGE ON SCHEMA clinical TO asker;
SELECT clinical.enroll_patient('$canary', NULL, NULL, 'IN', 1, effective_on => '2026-01-10', record => '{"name": "$canary"}');
SELECT clinical.submit_report('$canary', '{"n": 1, "note": "$canary"}', captured_at => '2026-02-01 12:00');
SELECT clinical.submit_report('I' || g, '{"n": 1}', captured_at => '2026-02-01 12:00') FROM generate_series(1, 400) g;
SELECT clinical.wait_until_drained()});
$node->safe_psql('postgres', 'INSERT INTO clinical.membership (role) VALUES (\'asker\'::regrole)');

my $version = $node->safe_psql('postgres', 'SHOW server_version_num');
my $report = q{clinical.generate_report('IN', '[2026-01-01,2026-07-01)', '{"cutoff": "2026-10-01 00:00Z"}')};
my @columns = qw(done failed cancelled_request cancelled_time_limit cancelled_client_gone ended);
my $counts = 'SELECT ' . join(', ', map { "coalesce($_, 0)" } @columns) . q{ FROM (VALUES ('IN')) p (code) LEFT JOIN clinical.stat_report r ON r.project = p.code};
my %counted = map { $_ => 0 } @columns;
my $offset = -s $node->logfile;

# One more has ended so, and nothing else; what the log has to say of it.  A session that ends does that after
# it is gone from the views.
sub ended
{
	my ($name, $column, @facts) = @_;
	$counted{$column}++;
	my $expected = join '|', map { $counted{$_} } @columns;
	ok(wait_until($node, 'postgres', $counts, $expected, 20), "$name: counted") or diag("is: ", $node->safe_psql('postgres', $counts), " expected: $expected");
	my $code = $column eq 'done' ? undef : $column eq 'failed' ? 'CLINICAL-R02 report failed' : 'CLINICAL-R01 report cancelled';
	my $log = substr slurp_file($node->logfile), $offset;
	$offset += length $log;
	my @lines = $log =~ /LOG:  (CLINICAL-R\d\d .*)/g;
	is_deeply(\@lines, defined $code ? [$code] : [], "$name: one line, or none if it is done");
	return unless defined $code;
	my ($detail) = $log =~ /LOG:  CLINICAL-R\d\d [^\n]*\n[^\n]*DETAIL:  ([^\n]*)/;
	like($detail // '', qr/(?:^| )$_(?: |$)/, "$name: $_") for @facts, 'database=postgres';
	return;
}

# A session that makes a report, and waits for the lock.
sub begin_report
{
	my ($session, $sql) = @_;
	my $pid = answers($session, 'SELECT pg_backend_pid()');
	ask($session, $sql // "SELECT length(${report}::text)");
	wait_until($node, 'postgres', "SELECT count(*) FROM pg_locks WHERE pid = $pid AND NOT granted", 1, 30) or die 'it does not wait';
	return $pid;
}

# Keeps reports from going on when they come to a table that they read late.
sub hold_late
{
	my $session = session($node, 'postgres');
	answers($session, 'BEGIN; LOCK TABLE clinical.alert IN ACCESS EXCLUSIVE MODE');
	return $session;
}

# --- in a session ---
$node->safe_psql('postgres', "SELECT $report");
ended('done', 'done');

my $holder = hold_reports($node);
my $session = session($node, 'postgres');
my $pid = begin_report($session);
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
answers($session);
like($session->{error}, qr/^ERROR:  57014: canceling statement due to user request\n/, 'the client is told what it was told before');
ended('pg_cancel_backend', 'cancelled_request', 'cause=cancel_request', 'project=IN', 'way=direct', 'role=\w+', 'seconds=\d+\.\d{3}', 'phase=counting', 'percent=[\d.]+');
$session->{error} = '';

my ($status, $out, $error) = $node->psql('postgres', "SET statement_timeout = '100ms'; SELECT $report");
like($error, qr/canceling statement due to statement timeout/, 'a time limit');
ended('statement_timeout', 'cancelled_time_limit', 'cause=time_limit', 'way=direct');

($status, $out, $error) = $node->psql('postgres', "SET lock_timeout = '100ms'; SELECT $report");
like($error, qr/canceling statement due to lock timeout/, 'a lock that it does not get');
ended('lock_timeout', 'failed', 'sqlstate=55P03', 'project=IN', 'way=direct', 'phase=counting');

# of another project
($status, $out, $error) = $node->psql('postgres', q{SET lock_timeout = '100ms'; SELECT clinical.generate_report('O "1"', '[2026-01-01,2026-07-01)')});
my $text = substr slurp_file($node->logfile), $offset;
like($text, qr/CLINICAL-R02 report failed\n[^\n]*project="O \\"1\\""/, 'a code with a blank is quoted');
$offset += length $text;
is($node->safe_psql('postgres', q{SELECT failed FROM clinical.stat_report WHERE project = 'O "1"'}), 1, 'and counted for itself');

SKIP:
{
	skip 'transaction_timeout came with PostgreSQL 17', 4 if $version < 170000;
	($status, $out, $error) = $node->psql('postgres', "SET transaction_timeout = '100ms'; SELECT $report");
	like($error, qr/terminating connection due to transaction timeout/, 'a time limit that ends the session');
	ended('transaction_timeout', 'cancelled_time_limit', 'cause=time_limit', 'way=direct', 'phase=counting');
}

# whose error somebody catches
$node->safe_psql('postgres', qq{DO \$\$ BEGIN SET LOCAL statement_timeout = '5min'; PERFORM pg_catalog.set_config('lock_timeout', '100ms', true);
BEGIN PERFORM $report; EXCEPTION WHEN lock_not_available THEN NULL; END; END \$\$});
ended('caught in a block', 'failed', 'sqlstate=55P03');

# that a cursor stands on
$pid = begin_report($session, "BEGIN; DECLARE c CURSOR FOR SELECT length(${report}::text) FROM generate_series(1, 2); FETCH c");
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
answers($session);
ended('in a cursor', 'cancelled_request', 'cause=cancel_request');
answers($session, 'ROLLBACK');

# sessions that end
$pid = begin_report($session);
$session->{run}->kill_kill;
ended('client gone', 'cancelled_client_gone', 'cause=client_gone', 'project=IN', 'way=direct', 'phase=counting');
$session = session($node, 'postgres');
$pid = begin_report($session);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ended('pg_terminate_backend', 'ended', 'cause=ended', 'project=IN', 'way=direct', 'phase=counting');
end_session($session);
end_session($holder);

# in a later phase, with parallel workers; and of a trace
$holder = hold_late();
$session = session($node, 'postgres');
answers($session, 'SET max_parallel_workers_per_gather = 2');
$pid = begin_report($session);
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
answers($session);
ended('a later phase', 'cancelled_request', 'cause=cancel_request', 'phase=(?!counting)\w+', 'percent=\d+\.\d');
end_session($holder);
$holder = hold_reports($node);
answers($session, q{SET clinical.trace_parent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'});
$pid = begin_report($session);
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
answers($session);
ended('of a trace', 'cancelled_request', 'trace_id=4bf92f3577b34da6a3ce929d0e0e4736');
# what is not a report of any project does not count
$session->{error} = '';
answers($session, "SELECT clinical.generate_report('nonesuch', '[2026-01-01,2026-07-01)'); SELECT clinical.generate_report('IN', 'empty')");
like($session->{error}, qr/ERROR:  P0002.*ERROR:  22023/s, 'wrong arguments are errors');

# there are so many lines of a code in a minute; the server begins anew with that, and goes on with what it has counted
end_session($_) for $session, $holder;
$node->restart;
$offset = -s $node->logfile;
is($node->safe_psql('postgres', $counts), join('|', map { $counted{$_} } @columns), 'what was counted is there after a restart');
$holder = hold_reports($node);
$session = session($node, 'postgres');

# --- a job ---
# that waits
set_up($node, 'clinical.max_report_workers' => 0);
my $id = request($node);
$node->safe_psql('postgres', "BEGIN; SELECT clinical.cancel_report('$id'); ROLLBACK");
$node->safe_psql('postgres', "SELECT clinical.cancel_report('$id')");
ended('cancel_report while it waits', 'cancelled_request', 'cause=cancel_request', 'project=IN', 'way=job', "report_id=$id");
set_up($node, 'clinical.max_report_workers' => 2);

# that is made
my $running = sub { my ($job, $attempt) = @_; return wait_until($node, 'postgres', "SELECT count(*) FROM pg_locks l JOIN clinical.report_job j ON j.worker = l.pid WHERE NOT l.granted AND j.attempts = $attempt AND j.id = '$job'", 1) };
$id = request($node, undef, 'asker');
ok($running->($id, 1), 'it is made');
$node->safe_psql('postgres', "SELECT clinical.cancel_report('$id')");
ended('cancel_report', 'cancelled_request', 'cause=cancel_request', 'project=IN', 'way=job', "report_id=$id", 'role=asker', 'phase=counting');
$id = request($node);
ok($running->($id, 1), 'another one is made');
$node->safe_psql('postgres', "SELECT pg_cancel_backend(worker) FROM clinical.report_job WHERE id = '$id'");
ended('pg_cancel_backend of a job', 'cancelled_request', 'cause=cancel_request', 'way=job', "report_id=$id");
ok(job_becomes($node, $id, 'cancelled'), 'and its row says so');

# a worker that is ended: the job is made again, and was lost for good the third time
$id = request($node);
for my $attempt (1 .. 3)
{
	ok($running->($id, $attempt), "attempt $attempt");
	$node->safe_psql('postgres', "SELECT pg_terminate_backend(worker) FROM clinical.report_job WHERE id = '$id'");
	if ($attempt < 3)
	{
		ended("pg_terminate_backend of attempt $attempt", 'ended', 'cause=ended', 'way=job', "report_id=$id");
		next;
	}
	$counted{ended}++;
	ok(job_becomes($node, $id, 'failed'), 'and then it has failed');
	my $log = substr slurp_file($node->logfile), $offset;
	like($log, qr/CLINICAL-R01 report cancelled\n[^\n]*cause=ended[^\n]*report_id=$id.*CLINICAL-R02 report failed\n[^\n]*sqlstate=57P02[^\n]*way=job report_id=$id/s, 'which is told, too');
	$offset += length $log;
	$counted{failed}++;
	ok(wait_until($node, 'postgres', $counts, join('|', map { $counted{$_} } @columns)), 'and counted');
}

# that may not be made, and that was ready when it was cancelled
set_up($node, 'clinical.max_report_workers' => 0);
$id = request($node, undef, 'asker');
$node->safe_psql('postgres', 'REVOKE clinical_statistician FROM asker');
set_up($node, 'clinical.max_report_workers' => 2);
ended('no right any more', 'failed', 'sqlstate=42501', 'way=job', "report_id=$id", 'role=asker');
ok(job_becomes($node, $id, 'failed'), 'and its row says so');
$id = request($node);
ok($running->($id, 1), 'one more');
answers($session, "BEGIN; SELECT clinical.cancel_report('$id')");
answers($holder, 'ROLLBACK');
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE query = 'making a report' AND wait_event_type = 'Lock' AND wait_event <> 'relation'}, 1), 'it is ready, and waits');
answers($session, 'COMMIT');
ended('cancelled when it was ready', 'cancelled_request', 'cause=cancel_request', 'way=job', "report_id=$id");
$id = request($node);
ok(job_becomes($node, $id, 'done'), 'one is done');
ended('a job that is done', 'done');
is($node->safe_psql('postgres', q{SELECT status, count(*) FROM clinical.report_job GROUP BY 1 ORDER BY 1}), "cancelled|4\ndone|1\nfailed|2", 'as the jobs say');

# --- the server is shut down ---
$holder = hold_reports($node);
begin_report($session);
$id = request($node);
ok($running->($id, 1), 'a job is made');
$node->stop('fast');
$node->start;
$counted{ended}++;
$counted{done}++;
ok(job_becomes($node, $id, 'done'), 'it is made after the start');
my $rest = substr slurp_file($node->logfile), $offset;
is(scalar(() = $rest =~ /CLINICAL-R01 report cancelled/g), 2, 'both are told');
like($rest, qr/cause=ended[^\n]*way=direct/, 'that of the session');
like($rest, qr/cause=ended[^\n]*way=job report_id=$id/, 'and that of the job');
$counted{ended}++;
ok(wait_until($node, 'postgres', $counts, join('|', map { $counted{$_} } @columns)), 'and counted: a shutdown loses no number') or diag($node->safe_psql('postgres', $counts), ' ', join '|', map { $counted{$_} } @columns);

unlike(join('', map { "$_\n" } slurp_file($node->logfile) =~ /^(.*CLINICAL-R.*\n.*)$/mg), qr/$canary|\bI\d+\b/, 'no line tells of a patient');
done_testing();
