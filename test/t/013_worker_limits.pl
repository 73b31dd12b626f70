# Background workers where things are scarce: no slots, a standby, thousands of wake-ups.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

sub log_count { my ($node, $pattern) = @_; return scalar(() = slurp_file($node->logfile) =~ /$pattern/g) }
my $running = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'clinical worker'};

# defect 6: out of the server's slots for workers.  The logical replication launcher takes one.
my $node = PostgreSQL::Test::Cluster->new('limits');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'\nmax_worker_processes = 4\nclinical.worker_restart_delay = 10ms");
$node->start;
$node->safe_psql('template1', 'CREATE EXTENSION clinical');
$node->safe_psql('postgres', "CREATE DATABASE d$_") for 1 .. 4;
ok($node->poll_query_until('postgres', $running, 2), 'as many workers as there are slots');
$node->safe_psql('postgres', "SELECT pg_reload_conf()") for 1 .. 20;
ok($node->poll_query_until('postgres', q{SELECT count(*) >= 2 FROM pg_stat_activity WHERE backend_type = 'clinical worker'}), 'and no fewer');
is(log_count($node, 'no slot left for a background worker'), 1, 'one line in the log');
is(log_count($node, 'HINT:  Raise max_worker_processes'), 1, 'with a hint');
is(log_count($node, 'too many background workers'), 0, 'and none of the server');
my @with = split /\n/, $node->safe_psql('postgres', q{SELECT datname FROM pg_stat_activity WHERE backend_type = 'clinical worker'});
$node->safe_psql('postgres', "DROP DATABASE $_") for @with;
ok($node->poll_query_until('postgres', $running, 2), 'as slots come free, the others get their workers');
$node->append_conf('postgresql.conf', 'max_worker_processes = 20');
$node->restart;
$node->safe_psql('postgres', "CREATE DATABASE e$_") for 1 .. 4;
ok($node->poll_query_until('postgres', $running, 6), 'with enough slots, all run');

# more databases than clinical.max_databases
$node->append_conf('postgresql.conf', 'clinical.max_databases = 3');
$node->restart;
ok($node->poll_query_until('postgres', q{SELECT count(*) BETWEEN 2 AND 3 FROM pg_stat_activity WHERE backend_type = 'clinical worker'}), 'too few of our slots');
$node->safe_psql('postgres', "SELECT pg_reload_conf()") for 1 .. 5;
is(log_count($node, 'more databases than clinical can look after'), 1, 'one line in the log');
my ($without) = split /\n/, $node->safe_psql('postgres', q{SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'
 AND datname NOT IN (SELECT datname FROM pg_stat_activity WHERE backend_type = 'clinical worker') ORDER BY 1 DESC});
is($node->safe_psql($without, 'SELECT count(*) FROM clinical.stat_worker'), 0, 'a database without slot has no row');
my ($status, $out, $error) = $node->psql($without, "\\set VERBOSITY verbose\nSELECT clinical.stop_workers()");
like($error, qr/ERROR:  53400: background workers do not look after this database/, 'and cannot stop its worker');
is($node->safe_psql($without, 'SELECT clinical.start_workers()'), 'f', 'nor start it');
# a slot of ours is free again once its database is gone
my ($with) = split /\n/, $node->safe_psql('postgres', q{SELECT datname FROM pg_stat_activity WHERE backend_type = 'clinical worker' AND datname !~ '^e'});
$node->safe_psql('postgres', "DROP DATABASE $with");
ok($node->poll_query_until('postgres', $running, 2), 'a slot that came free serves another database');
$node->safe_psql('postgres', "DROP DATABASE $without");
$node->append_conf('postgresql.conf', 'clinical.max_databases = 64');
$node->restart;
ok($node->poll_query_until('postgres', $running, 4), 'with enough, all run');

# defect 4: the memory of launcher and worker does not grow
sub memory
{
	my ($pid) = @_;
	return slurp_file("/proc/$pid/statm") =~ /^\d+ (\d+) (\d+)/ ? ($1 - $2) * 4 : die;
}
SKIP:
{
	skip 'no /proc', 2 unless -e '/proc/self/statm';
	my ($launcher, $worker) = split /\n/, $node->safe_psql('postgres', q{
SELECT pid FROM pg_stat_activity WHERE backend_type = 'clinical launcher' OR (backend_type = 'clinical worker' AND datname = 'e1') ORDER BY backend_type});
	# each round wakes both with each of its transactions, and makes them read their settings
	my $rounds = q{DO $$ BEGIN FOR i IN 1 .. 1500 LOOP
PERFORM pg_reload_conf(); CREATE SCHEMA nudge; DROP SCHEMA nudge; COMMIT; PERFORM pg_sleep(0.0005); END LOOP; END $$};
	$node->safe_psql('e1', $rounds);
	my @before = (memory($launcher), memory($worker));
	$node->safe_psql('e1', $rounds) for 1 .. 2;
	$node->safe_psql('e2', 'SELECT clinical.stop_workers(), clinical.start_workers()') for 1 .. 20;
	my @after = (memory($launcher), memory($worker));
	cmp_ok($after[0] - $before[0], '<', 300, "launcher, after thousands of passes: $before[0] kB, then $after[0] kB");
	cmp_ok($after[1] - $before[1], '<', 300, "worker: $before[1] kB, then $after[1] kB");
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid IN ($launcher, $worker)"), 2, 'they are the same processes');
}

# a standby has no workers; promoted, it has
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay');
is($standby->safe_psql('e1', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ '^clinical'}), 0, 'a standby has neither launcher nor workers');
is($standby->safe_psql('e1', q{SELECT count(*) FROM clinical.stat_worker}), 0, 'and says so');
for my $function (qw(stop_workers start_workers))
{
	($status, $out, $error) = $standby->psql('e1', "\\set VERBOSITY verbose\nSELECT clinical.$function()");
	like($error, qr/ERROR:  25006: cannot execute clinical\.$function\(\) during recovery/, "$function on a standby");
}
my $start = time;
$standby->promote;
ok($standby->poll_query_until('postgres', $running, 4), 'promoted, it has workers');
cmp_ok(time - $start, '<', 5, 'within 5 s');
is(log_count($standby, 'FATAL:  (?!the database system|terminating walreceiver)|PANIC|TRAP'), 0, 'and no trouble');

# without shared_preload_libraries
$standby->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$standby->restart;
for my $call (qw(stop_workers start_workers worker_states))
{
	($status, $out, $error) = $standby->psql('e1', "\\set VERBOSITY verbose\nSELECT clinical.$call()");
	like($error, qr/ERROR:  55000: clinical must be loaded via shared_preload_libraries/, "$call without the library preloaded");
}
is($standby->psql('postgres', 'DROP DATABASE e1'), 0, 'and databases are dropped as ever');

done_testing();
