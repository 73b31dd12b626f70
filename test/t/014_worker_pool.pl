# Further workers of a database: they come when there is work for them, as many as may be, and go
# with whatever ends the first one; what fails frees its place.  Their work is that of the job in
# src/worker_fault.c: needs a build with FAULTS (make test-faults).
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $node = PostgreSQL::Test::Cluster->new('pool');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'clinical'
restart_after_crash = on
max_worker_processes = 30
clinical.max_workers = 4
clinical.worker_idle_timeout = '1min'
clinical.worker_restart_delay = '200ms'});
$node->start;
if ($node->safe_psql('postgres', q{LOAD 'clinical'; SELECT count(*) FROM pg_settings WHERE name = 'clinical.fault'}) == 0)
{
	$node->stop;
	plan skip_all => 'not built with FAULTS: make test-faults';
}
my $tablespace = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$tablespace'");

my $kinds = q{SELECT coalesce(string_agg(w, ' ' ORDER BY w), '') FROM (
 SELECT datname || CASE backend_type WHEN 'clinical worker' THEN ' 1' ELSE ' + ' || count(*) END AS w
   FROM pg_stat_activity WHERE backend_type IN ('clinical worker', 'clinical further worker') GROUP BY datname, backend_type) s};
# Which databases have how many workers: "a + 3 a 1" are the first of a and three further ones; soon.
sub workers_are
{
	my ($expected, $name) = @_;
	my $start = time;
	my $came = $node->poll_query_until('postgres', $kinds, $expected);
	ok($came && time - $start < 20, "$name: ($expected)") or diag(time - $start, ' s: ', $node->safe_psql('postgres', $kinds));
}
sub soon
{
	my ($database, $query, $name) = @_;
	my $start = time;
	ok($node->poll_query_until($database, $query) && time - $start < 20, $name) or diag(time - $start, ' s: ', $node->safe_psql($database, 'SELECT * FROM clinical.stat_worker'));
}
# The pids of workers of one kind in a database, in order.
sub pids
{
	my ($database, $kind) = @_;
	return $node->safe_psql('postgres', "SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity WHERE backend_type = '$kind' AND datname = '$database'");
}
sub further { return pids($_[0], 'clinical further worker') }
sub first { return pids($_[0], 'clinical worker') }
sub set { my ($settings) = @_; $node->safe_psql('postgres', "ALTER SYSTEM $_") for split /;\s*/, $settings; $node->safe_psql('postgres', 'SELECT pg_reload_conf()') }
# How many further workers the job wants; from then on it says so again and again.
sub wish { my ($database, $wish) = @_; $node->safe_psql($database, "UPDATE test.wish SET n = $wish") }
sub items { my ($database, $count, $pause) = @_; $node->safe_psql($database, "UPDATE test.wish SET pause = $pause; INSERT INTO test.item SELECT max + g FROM (SELECT coalesce(max(id), 0) FROM test.item) m(max), generate_series(1, $count) g") }
sub at_once
{
	my ($database, $command, $seconds) = @_;
	my $start = time;
	my ($status, $out, $error) = $node->psql($database, $command);
	ok($status == 0 && time - $start < ($seconds // 3), "$command: at once") or diag(time - $start, " s: $error");
}
sub log_count { my ($pattern, $offset) = @_; return scalar(() = substr(slurp_file($node->logfile), $offset // 0) =~ /$pattern/g) }
# How often a process went to sleep by itself.
sub switches { my ($pid) = @_; return slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m ? $1 : die }

# A database whose job takes one item a transaction, and in the first worker looks for more every 50 ms.
sub database
{
	my ($name) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->safe_psql($name, q{
CREATE EXTENSION clinical;
BEGIN;
CREATE SCHEMA test;
GRANT USAGE ON SCHEMA test TO clinical_worker;
CREATE TABLE test.wish (n int, pause float, broken boolean);
INSERT INTO test.wish VALUES (0, 0, false);
CREATE TABLE test.item (id int PRIMARY KEY, done_by int, times int DEFAULT 0);
GRANT SELECT ON test.wish TO clinical_worker;
GRANT SELECT, UPDATE ON test.item TO clinical_worker;
CREATE FUNCTION test.pool_wish(further boolean) RETURNS int LANGUAGE sql AS
'SELECT CASE WHEN further AND NOT EXISTS (SELECT FROM test.item WHERE done_by IS NULL) THEN 0 ELSE n END FROM test.wish';
CREATE FUNCTION test.pool_run(further boolean) RETURNS int LANGUAGE plpgsql AS $$
DECLARE mine int;
BEGIN
    IF further AND (SELECT broken FROM test.wish) THEN RAISE EXCEPTION 'broken' USING ERRCODE = 'XX001'; END IF;
    SELECT id INTO mine FROM test.item WHERE done_by IS NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN RETURN CASE WHEN further THEN -1 ELSE 50 END; END IF;
    PERFORM pg_sleep((SELECT pause FROM test.wish));
    UPDATE test.item SET done_by = pg_backend_pid(), times = times + 1 WHERE id = mine;
    RETURN 0;
END $$;
COMMIT;
SELECT clinical.stop_workers(), clinical.start_workers()});
}
my $all_done = q{SELECT count(*) = 0 FROM test.item WHERE done_by IS NULL};

# they come when they are wanted, and share the work
database('a');
workers_are('a 1', 'nothing is wanted');
my $first = first('a');
items('a', 60, 0.05);
wish('a', 3);
workers_are('a + 3 a 1', 'three are wanted');
is($node->safe_psql('a', q{SELECT DISTINCT rolname, rolsuper, application_name FROM pg_stat_activity JOIN pg_roles r ON r.oid = usesysid WHERE backend_type = 'clinical further worker'}),
	'clinical_worker|f|clinical further worker', 'as the unprivileged role');
soon('a', q{SELECT string_agg(database || ' ' || kind || ' ' || state || ' ' || failures, ', ' ORDER BY kind) = 'a first running 0, a further running 0, a further running 0, a further running 0'
 AND count(pid) = 4 AND count(started_at) = 4 AND count(last_error) = 0 FROM clinical.stat_worker}, 'stat_worker has a row for each');
soon('a', $all_done, 'the work is done');
is($node->safe_psql('a', 'SELECT count(DISTINCT done_by), max(times) FROM test.item'), '4|1', 'by all of them, once');
is(first('a'), $first, 'the first is the same process');

# waiting, they are woken
wish('a', 0);
my $further = further('a');
items('a', 30, 0.05);
wish('a', 2);
soon('a', $all_done, 'more work');
is(further('a'), $further, 'by those who waited');
wish('a', 0);
# what waits does not run
SKIP:
{
	skip 'no /proc', 1 unless -e '/proc/self/status';
	my ($one) = split / /, $further;
	sleep 0.5;
	my $before = switches($one);
	sleep 3;
	cmp_ok(switches($one) - $before, '<=', 2, 'they sleep');
}
# they end when they had nothing to do for long
set(q{SET clinical.worker_idle_timeout = '500ms'});
workers_are('a 1', 'idle');
is($node->safe_psql('a', 'SELECT kind, failures FROM clinical.stat_worker'), 'first|0', 'which is no failure');
wish('a', 2);
workers_are('a + 2 a 1', 'wanted again');
set(q{RESET clinical.worker_idle_timeout});

# clinical.max_workers
set(q{SET clinical.max_workers = 2});
workers_are('a + 1 a 1', 'fewer may run');
set(q{SET clinical.max_workers = 1});
workers_are('a 1', 'one may run');
is(first('a'), $first, 'the first is the same process');
set(q{RESET clinical.max_workers});
workers_are('a + 2 a 1', 'more may run');
wish('a', 60);
workers_are('a + 3 a 1', 'more are wanted than may run');
SKIP:
{
	skip 'no /proc', 1 unless -e '/proc/self/status';
	my $launcher = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'clinical launcher'});
	sleep 0.5;
	my $before = switches($launcher);
	sleep 3;
	cmp_ok(switches($launcher) - $before, '<', 20, 'the launcher is not asked for what cannot be');
}
is($node->safe_psql('a', 'SELECT count(*) FROM clinical.stat_worker WHERE last_error IS NULL AND failures = 0'), 4, 'no trouble');

# other databases have their first worker in any case; the further ones are shared out
database($_) for qw(b c);
workers_are('a + 1 a 1 b 1 c 1', 'each database has its first');
set(q{SET clinical.max_workers = 3});
workers_are('a 1 b 1 c 1', 'none but these');
wish($_, 60) for qw(b c);
sleep 0.3;
set(q{SET clinical.max_workers = 9});
workers_are('a + 2 a 1 b + 2 b 1 c + 2 c 1', 'whoever came first makes way');
is($node->safe_psql($_, 'SELECT sum(failures) FROM clinical.stat_worker'), 0, 'which is no failure') for qw(a b c);
items('a', 200, 0.05);
wish($_, 0) for qw(b c);
workers_are('a + 6 a 1 b 1 c 1', 'those who have nothing to do make way for those who have');
wish('a', 3);
set(q{SET clinical.max_workers = 6});
workers_are('a + 3 a 1 b 1 c 1', 'surplus ones end');
soon('a', $all_done, 'the work is done');
is($node->safe_psql('a', 'SELECT max(times) FROM test.item'), 1, 'each once');

# stop_workers
at_once('a', 'SELECT clinical.stop_workers()');
is($node->safe_psql('postgres', $kinds), 'b 1 c 1', 'when it returns, all are gone');
is($node->safe_psql('a', 'SELECT kind, state, pid FROM clinical.stat_worker'), 'first|stopped|', 'stopped');
at_once('a', 'SELECT clinical.start_workers()');
workers_are('a + 3 a 1 b 1 c 1', 'started');
# in the middle of their work
items('a', 100, 60);
soon('postgres', q{SELECT count(*) = 4 FROM pg_stat_activity WHERE datname = 'a' AND wait_event = 'PgSleep'}, 'all are busy');
at_once('a', 'SELECT clinical.stop_workers()');
is($node->safe_psql('a', 'SELECT clinical.stop_workers(), count(*) FROM test.item WHERE done_by IS NULL'), 'f|100', 'their work is undone');
$node->safe_psql('a', 'DELETE FROM test.item; SELECT clinical.start_workers()');
workers_are('a + 3 a 1 b 1 c 1', 'started again');
# to and fro
$node->safe_psql('a', 'SELECT clinical.stop_workers(), clinical.start_workers(), pg_sleep(random() * 0.1)') for 1 .. 20;
workers_are('a + 3 a 1 b 1 c 1', 'to and fro');

# commands on databases, while they are there and while they come
at_once('postgres', 'CREATE DATABASE d TEMPLATE a');
at_once('postgres', 'DROP DATABASE d');
at_once('postgres', 'ALTER DATABASE a RENAME TO x');
workers_are('b 1 c 1 x + 3 x 1', 'RENAME');
at_once('postgres', 'ALTER DATABASE x SET TABLESPACE elsewhere');
workers_are('b 1 c 1 x + 3 x 1', 'SET TABLESPACE');
at_once('postgres', 'BEGIN; ALTER DATABASE x RENAME TO a; COMMIT');
workers_are('a + 3 a 1 b 1 c 1', 'and back');
for (1 .. 10)
{
	at_once('postgres', 'CREATE DATABASE d TEMPLATE a');
	sleep(rand 0.15);
	at_once('postgres', 'DROP DATABASE d' . ($_ % 2 ? ' WITH (FORCE)' : ''));
}
workers_are('a + 3 a 1 b 1 c 1', 'copied and dropped');
items('a', 100, 60);
soon('postgres', q{SELECT count(*) = 4 FROM pg_stat_activity WHERE datname = 'a' AND wait_event = 'PgSleep'}, 'all are busy');
at_once('postgres', 'CREATE DATABASE d TEMPLATE a');
at_once('postgres', 'DROP DATABASE d');
$node->safe_psql('a', 'SELECT clinical.stop_workers(); DELETE FROM test.item; SELECT clinical.start_workers()');
workers_are('a + 3 a 1 b 1 c 1', 'and all come again');

# DROP EXTENSION
at_once('a', 'DROP EXTENSION clinical; DROP SCHEMA clinical');
workers_are('b 1 c 1', 'DROP EXTENSION');
at_once('a', 'CREATE EXTENSION clinical');
workers_are('a + 3 a 1 b 1 c 1', 'CREATE EXTENSION');
at_once('a', 'DROP EXTENSION clinical; DROP SCHEMA clinical; CREATE EXTENSION clinical');
workers_are('a + 3 a 1 b 1 c 1', 'both');
is($node->safe_psql('a', q{SELECT sum(failures) FROM clinical.stat_worker}), 0, 'no failure');

# settings and role
set(q{SET clinical.workers_enabled = off});
workers_are('', 'workers_enabled = off');
set(q{RESET clinical.workers_enabled});
workers_are('a + 3 a 1 b 1 c 1', 'and on');
$node->safe_psql('postgres', 'ALTER ROLE clinical_worker SUPERUSER');
workers_are('', 'role with SUPERUSER');
$node->safe_psql('postgres', 'ALTER ROLE clinical_worker NOSUPERUSER');
workers_are('a + 3 a 1 b 1 c 1', 'mended');

# the launcher ends
$further = further('a');
my $launchers = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'clinical launcher'};
for (1 .. 2)
{
	my $launcher = $node->safe_psql('postgres', $launchers);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($launcher)");
	soon('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'clinical launcher' AND pid <> $launcher", 'a new launcher');
	set(q{RESET clinical.worker_idle_timeout});
}
sleep 0.5;
is(further('a'), $further, 'takes over those that are there');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($_)") for split / /, $further;
workers_are('a + 3 a 1 b 1 c 1', 'and starts others');
# while some are about to start
$node->safe_psql('a', 'SELECT clinical.stop_workers(), clinical.start_workers()');
for (1 .. 5)
{
	$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type ~ '^clinical (launcher|further)'");
	sleep(rand 0.5);
}
$node->safe_psql('a', 'SELECT clinical.start_workers()');
workers_are('a + 3 a 1 b 1 c 1', 'whatever was under way');

# what fails frees its place, and is not tried in a loop
$first = first('a');
$node->safe_psql('a', 'SELECT clinical.stop_workers(), clinical.start_workers()');
workers_are('a + 3 a 1 b 1 c 1', 'to begin with');
$first = first('a');
set(q{SET clinical.worker_restart_delay = '5min'});
my $end = -s $node->logfile;
$node->safe_psql('a', 'UPDATE test.wish SET broken = true');
workers_are('a 1 b 1 c 1', 'all fail');
soon('a', q{SELECT state = 'failed' AND failures BETWEEN 1 AND 2 AND last_error = 'XX001' AND pid IS NULL AND started_at IS NULL FROM clinical.stat_worker WHERE kind = 'further'}, 'stat_worker shows it');
soon('a', q{SELECT failures = 2 FROM clinical.stat_worker WHERE kind = 'further'}, 'after a second the next try fails, too');
sleep 2;
cmp_ok(log_count('ERROR:  broken', $end), '<=', 8, 'and no more for now');
is(first('a'), $first, 'the first goes on');
$node->safe_psql('a', 'UPDATE test.wish SET broken = false; SELECT clinical.start_workers()');
workers_are('a + 3 a 1 b 1 c 1', 'start_workers() does not wait');
is($node->safe_psql('a', q{SELECT count(*) FROM clinical.stat_worker WHERE state = 'failed'}), 0, 'and forgets');
my ($victim) = split / /, further('a');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($victim)");
soon('a', q{SELECT count(*) = 1 FROM clinical.stat_worker WHERE kind = 'further' AND state = 'failed' AND failures = 1}, 'terminated: a failure');
workers_are('a + 3 a 1 b 1 c 1', 'and another comes after a second');
set(q{RESET clinical.worker_restart_delay});
wish('a', 0);
set(q{SET clinical.worker_idle_timeout = '500ms'});
workers_are('a 1 b 1 c 1', 'idle');
is($node->safe_psql('a', q{SELECT count(*) FROM clinical.stat_worker}), 1, 'a good end makes it forgotten');
set(q{RESET clinical.worker_idle_timeout});

# before they attached, and just after
for my $point (qw(further_start further_attached))
{
	for my $action (qw(error exit))
	{
		set("SET clinical.fault = '$point:$action'");
		wish('a', 3);
		soon('a', q{SELECT max(failures) >= 3 FROM clinical.stat_worker WHERE kind = 'further'}, "$point: $action");
		set(q{RESET clinical.fault});
		$node->safe_psql('a', 'SELECT clinical.start_workers()');
		workers_are('a + 3 a 1 b 1 c 1', "$point: $action leaves no place behind");
		$node->safe_psql('a', q{SELECT clinical.stop_workers(); UPDATE test.wish SET n = 0; SELECT clinical.start_workers()});
		workers_are('a 1 b 1 c 1', 'none is wanted');
	}
}
# one that never comes
set(q{SET clinical.fault = 'further_start:wait'; SET clinical.max_workers = 4});
wish('a', 1);
soon('a', q{SELECT state = 'starting' AND pid IS NULL FROM clinical.stat_worker WHERE kind = 'further'}, 'it hangs before it began');
set(q{RESET clinical.fault});
ok($node->poll_query_until('a', q{SELECT count(*) = 1 FROM clinical.stat_worker WHERE kind = 'further' AND state = 'failed'}), 'and counts as failed');
workers_are('a + 1 a 1 b 1 c 1', 'another comes');
set(q{RESET clinical.max_workers});

# the server crashes
wish('a', 3);
set(q{SET clinical.max_workers = 6});
workers_are('a + 3 a 1 b 1 c 1', 'before the crash');
($victim) = split / /, further('a');
kill 'KILL', $victim;
my $up = 0;
for (1 .. 200) { last if $up = eval { $node->psql('a', 'SELECT 1') == 0 && further('a') !~ /\b$victim\b/ }; sleep 0.05; }
ok($up, 'the server is back after kill -9');
workers_are('a + 3 a 1 b 1 c 1', 'and so are they');

# no slots of the server's: further workers make room for first ones
$end = -s $node->logfile;
$node->append_conf('postgresql.conf', "max_worker_processes = 7\nclinical.worker_restart_delay = '100ms'");
set(q{SET clinical.max_workers = 60});
wish('a', 60);
$node->restart;
workers_are('a + 2 a 1 b 1 c 1', 'as many as there are slots');
is(log_count('no slot left for a background worker', $end), 1, 'one line in the log');
is(log_count('HINT:  Raise max_worker_processes: .*clinical.max_workers, now 60', $end), 1, 'with a hint');
$first = first('a');
$node->safe_psql('postgres', 'CREATE DATABASE d; CREATE DATABASE e');
$node->safe_psql('d', 'CREATE EXTENSION clinical');
workers_are('a + 1 a 1 b 1 c 1 d 1', 'a database that comes has its first');
$node->safe_psql('e', 'CREATE EXTENSION clinical');
workers_are('a 1 b 1 c 1 d 1 e 1', 'another one, too');
sleep 2;
workers_are('a 1 b 1 c 1 d 1 e 1', 'and keeps it');
is(first('a'), $first, 'other first workers go on');
at_once('postgres', 'DROP DATABASE d');
workers_are('a + 1 a 1 b 1 c 1 e 1', 'a slot comes free');
is(log_count('no slot left for a background worker', $end), 1, 'still one line in the log');

is(log_count('PANIC|TRAP|server process .* was terminated by signal (?!9)'), 0, 'no crash of our own');

done_testing();
