# A place in the queue is never lost and never given out twice: however the server stops, however often the
# worker ends, and however a transaction that has submitted ends.  What was acknowledged is durable, whatever
# synchronous_commit says.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $capacity = 1000;
my $node = intake_node('shutdown', "clinical.queue_capacity = $capacity", 'clinical.batch_size = 5', "wal_writer_delay = '10s'", "wal_writer_flush_after = '1GB'",
	"autovacuum = off");

# Exactly so many reports fit into the queue: one more is told that the system is busy.  They are numbers from $from on.
sub room_for
{
	my ($places, $from, $name) = @_;
	my $expected = join ', ', $places ? "queued $places" : (), 'busy 3';
	return is(submit_many($node, 'postgres', $from, $from + $places + 2), $expected, "$name: room for $places");
}
my $end = 0;	# the last number that was accepted
sub fill { my ($places, $name) = @_; room_for($places, $end + 1, $name); $end += $places }

# Each kind of stop, with a full queue and a worker in the middle of it.
slow_down($node, 'postgres', 0.03);
for my $mode (qw(immediate fast smart))
{
	switch_workers($node, 'off');
	fill($capacity - waiting($node, 'postgres'), "before a stop, $mode");
	switch_workers($node, 'on');
	kick_workers($node, 'postgres');
	wait_until($node, 'postgres', "SELECT count(*) < $capacity FROM clinical.staged_report");
	stop_then_start($node, $mode);
	is($node->safe_psql('postgres', 'SELECT sum(received) FROM clinical.intake_balance'), $end, "$mode: all reports are there");
	my $waiting = waiting($node, 'postgres');
	cmp_ok($waiting, '<', $capacity, "$mode: it had begun");
	cmp_ok($waiting, '>', 0, "$mode: and had not ended");
	fill($capacity - $waiting, "after a stop, $mode");
}

# The worker is killed while the queue is full, and the server crashes with it.
switch_workers($node, 'on');
kick_workers($node, 'postgres');
my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
wait_until($node, 'postgres', "SELECT count(*) < $capacity FROM clinical.staged_report");
my $log = -s $node->logfile;
kill 'KILL', (worker_pids($node, 'postgres'))[0] // die 'there is no worker';
for (1 .. 500) { last if log_count($node, 'database system is ready to accept connections', $log); select undef, undef, undef, 0.02; }
wait_until($node, 'postgres', 'SELECT true') or die 'the server is not back';
switch_workers($node, 'off');
fill($capacity - waiting($node, 'postgres'), 'after a crash of the worker');

speed_up($node, 'postgres');

# The worker ends a hundred times while it works.
switch_workers($node, 'on');
kick_workers($node, 'postgres');
$node->safe_psql('postgres', qq{CREATE TABLE public.ended (n int);
CREATE PROCEDURE public.end_workers(first int, times int) LANGUAGE plpgsql AS \$\$
DECLARE
    n int := first;
    ends int := 0;
    ended int;
    deadline timestamptz := clock_timestamp() + interval '5 minutes';
BEGIN
    LOOP
        WHILE (SELECT count(*) FROM clinical.staged_report) < 50 LOOP	-- always something to do
            PERFORM clinical.submit_report('I' || 1 + s.k % 400, jsonb_build_object('n', s.k), ('00000000-0000-4000-8000-' || lpad(to_hex(s.k), 12, '0'))::uuid, '2026-02-01 10:00+00')
               FROM (SELECT n + g AS k FROM generate_series(0, 99) g) s;
            n := n + 100;
            COMMIT;
        END LOOP;
        SELECT count(*) INTO ended FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE $Intake::WORKERS AND xact_start IS NOT NULL OFFSET 0) t;
        ends := ends + ended;
        IF ended > 0 THEN
            PERFORM pg_sleep(0.01), clinical.start_workers();
        ELSE
            PERFORM pg_sleep(0.001);	-- the worker needs the processor, too
        END IF;
        COMMIT;
        EXIT WHEN ends >= times OR clock_timestamp() > deadline;
    END LOOP;
    INSERT INTO public.ended VALUES (ends), (n - 1);
END \$\$});
$node->safe_psql('postgres', "CALL public.end_workers($end + 1, 100)");
my ($ends, $last) = split /\n/, $node->safe_psql('postgres', 'SELECT n FROM public.ended ORDER BY n');
cmp_ok($ends, '>=', 100, 'the worker was ended a hundred times in the middle of a batch');
$end = $last;
kick_workers($node, 'postgres');
drained($node, 'postgres', 'the worker was ended');
exactly_once($node, 'postgres', 1, $end, 'after stops and ends');
sound($node, 'postgres', 'after stops and ends');
switch_workers($node, 'off');
fill($capacity, 'after stops and ends');
is($node->safe_psql('postgres', 'SELECT clinical.process_reports()'), $capacity, 'processed in the foreground');

# An acknowledgement is durable.  The other way to commit is there to show that this test can fail.
$node->safe_psql('postgres', 'CREATE TABLE public.plain (n int)');
my $flushed = 'SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()';
for my $try (1 .. 3)
{
	$end++;
	is($node->safe_psql('postgres', "SET synchronous_commit = off; INSERT INTO public.plain VALUES ($try); $flushed"), 'f', 'with synchronous_commit = off a commit is not written');
	is($node->safe_psql('postgres', 'SET synchronous_commit = off; SELECT outcome FROM ' . submit($end) . "; $flushed"), "queued\nt", 'but a report is');
}
$node->safe_psql('postgres', 'SET synchronous_commit = off; INSERT INTO public.plain VALUES (4)');
$node->stop('immediate');
$node->start;
is(waiting($node, 'postgres'), 3, 'and is there after a crash');
is($node->safe_psql('postgres', 'SELECT clinical.process_reports()'), 3, 'all three');

# Transactions that submit and end in all ways but a commit.
my $failing = join "\n", map { my $submit = 'SELECT outcome FROM ' . submit($_) . ';'; (
	"BEGIN; $submit ROLLBACK;",
	"BEGIN; SAVEPOINT s; $submit ROLLBACK TO s; COMMIT;",
	"BEGIN; SAVEPOINT s; $submit SAVEPOINT t; $submit RELEASE t; $submit ROLLBACK TO s; RELEASE s; COMMIT;",
	"BEGIN; SAVEPOINT s; $submit RELEASE s; SAVEPOINT s; $submit ROLLBACK TO s; ROLLBACK TO s; ROLLBACK;",
	"BEGIN; $submit SELECT 1 / 0; COMMIT;",
	"SELECT 1 / (random() * 0)::int FROM " . submit($_) . ' r WHERE r.success;',
	"DO \$\$ BEGIN BEGIN PERFORM " . submit($_) . "; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END; END \$\$;",
	"DO \$\$ BEGIN BEGIN PERFORM " . submit($_) . "; BEGIN PERFORM " . submit($_) . "; EXCEPTION WHEN OTHERS THEN NULL; END; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END; END \$\$;",
	"BEGIN; $submit PREPARE TRANSACTION 'p';",
	"BEGIN; SAVEPOINT s; $submit RELEASE s; PREPARE TRANSACTION 'p';",
	"DO \$\$ BEGIN PERFORM " . submit($_) . "; ROLLBACK; END \$\$;",
	"SET statement_timeout = '1ms'; SELECT outcome, pg_sleep(5) FROM " . submit($_) . '; RESET statement_timeout;') } map { $end + $_ } 1 .. 1;
my ($status, $out, $error) = $node->psql('postgres', "\\set VERBOSITY sqlstate\n" . $failing x 84, on_error_stop => 0);
is(() = $error =~ /ERROR:  0A000/g, 168, 'a transaction that has submitted cannot be prepared');
is(() = $error =~ /ERROR:  22012/g, 168, 'errors are errors');
is(() = $error =~ /ERROR:  57014/g, 84, 'what is cancelled is cancelled');
is(() = $error =~ /ERROR/g, 420, 'and no other errors');
is(() = $out =~ /queued/g, 84 * 10, 'each had its place');
is(waiting($node, 'postgres'), 0, 'and none remains');
fill($capacity, 'after 1,008 transactions that failed');
is($node->safe_psql('postgres', 'SELECT clinical.process_reports()'), $capacity, 'all processed');

# Those that commit only part of it.
$node->safe_psql('postgres', join "\n", map { my ($a, $b, $c) = map { 'SELECT ' . submit($_) . ';' } $end + 2 * $_ - 1, $end + 2 * $_, $end + 9999; 
	$_ % 2 ? "BEGIN; $a SAVEPOINT s; $c ROLLBACK TO s; $b COMMIT;" : "BEGIN; SAVEPOINT s; SAVEPOINT t; $a RELEASE t; $b RELEASE s; SAVEPOINT s; $c ROLLBACK TO s; COMMIT;" } 1 .. 200);
$end += 400;
is(waiting($node, 'postgres'), 400, 'what was not rolled back waits');
fill($capacity - 400, 'after parts were rolled back');
is($node->safe_psql('postgres', 'SELECT clinical.process_reports()'), $capacity, 'all processed');

# Sessions that are ended in the middle of a transaction.
my $fatal = 'BEGIN; SELECT outcome FROM ' . submit($end + 1) . '; SELECT pg_terminate_backend(pg_backend_pid());';
my $file = PostgreSQL::Test::Utils::tempdir() . '/fatal.sql';
PostgreSQL::Test::Utils::append_to_file($file, $fatal);
$log = -s $node->logfile;
my $connstr = $node->connstr('postgres');
my @loops = map { IPC::Run::start([ 'sh', '-c', 'for i in $(seq 250); do psql -X -q -d "$1" -f "$2"; done', 'sh', $connstr, $file ], '>', \my $o, '2>&1') } 1 .. 4;
eval { $_->finish } for @loops;
is(log_count($node, 'FATAL:  57P01: terminating|FATAL:  terminating connection due to administrator command', $log), 1000, 'a thousand sessions were ended');
my $idle = session($node, 'postgres');
answers($idle, "SET idle_in_transaction_session_timeout = '10ms'; BEGIN; SELECT outcome FROM " . submit($end + 1));
wait_until($node, 'postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'}) or die 'still there';
end_session($idle);
is(waiting($node, 'postgres'), 0, 'nothing remains of them');
fill($capacity, 'after a thousand FATAL ends');
switch_workers($node, 'on');
drained($node, 'postgres', 'at the end');
exactly_once($node, 'postgres', 1, $end, 'at the end');
sound($node, 'postgres', 'at the end', 1);
is(log_count($node, 'PANIC|TRAP|terminated by signal (?!9)'), 0, 'no crash of our own');

done_testing();
