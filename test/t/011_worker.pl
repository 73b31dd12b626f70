# The life of background workers: they come with the extension and go with it, are started again
# whatever ends them, and run as nobody special.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('worker');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'\nrestart_after_crash = on\nclinical.worker_restart_delay = 100ms");
$node->start;

my $workers = q{SELECT coalesce(string_agg(datname, ' ' ORDER BY datname), '') FROM pg_stat_activity WHERE backend_type = 'clinical worker'};
# Which databases have a worker; within 5 s.
sub workers_are
{
	my ($expected, $name) = @_;
	my $start = time;
	my $came = $node->poll_query_until('postgres', $workers, $expected);
	ok($came && time - $start < 5, "$name: workers in ($expected)") or diag(time - $start, ' s: ', $node->safe_psql('postgres', $workers));
}
# A query gives t; within 5 s.
sub soon
{
	my ($database, $query, $name) = @_;
	my $start = time;
	ok($node->poll_query_until($database, $query) && time - $start < 5, $name) or diag(time - $start, ' s');
}
sub pid_in
{
	my ($database) = @_;
	return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'clinical worker' AND datname = '$database'");
}
sub launcher { return $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'clinical launcher'}) }
sub log_count { my ($pattern, $offset) = @_; return scalar(() = substr(slurp_file($node->logfile), $offset // 0) =~ /$pattern/g) }

# they come with the extension
workers_are('', 'no extension');
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(a b c);
$node->safe_psql($_, 'CREATE EXTENSION clinical') for qw(a b);
workers_are('a b', 'after CREATE EXTENSION');
# defect 5 (worker as superuser)
is($node->safe_psql('postgres', q{SELECT DISTINCT rolname, rolsuper, application_name, xact_start IS NULL, backend_xmin IS NULL
 FROM pg_stat_activity JOIN pg_roles r ON r.oid = usesysid WHERE backend_type = 'clinical worker'}), 'clinical_worker|f|clinical worker|t|t', 'as an unprivileged role, with no transaction open');
soon('a', q{SELECT state = 'running' FROM clinical.stat_worker}, 'stat_worker says so');
is($node->safe_psql('a', 'SELECT database, failures, last_error, pid FROM clinical.stat_worker'), 'a|0||' . pid_in('a'), 'and shows the database of the session');
my ($status, $out, $error) = $node->psql('postgres', '', connstr => $node->connstr('a') . ' user=clinical_worker');
like($error, qr/too many connections for role "clinical_worker"/, 'nobody else connects as that role');
is(launcher() =~ /^\d+$/, 1, 'one launcher');

# rolled back, nothing comes; prepared and committed, it does, though no callback runs then
$node->safe_psql('c', 'BEGIN; CREATE EXTENSION clinical; ROLLBACK');
workers_are('a b', 'CREATE EXTENSION rolled back');
$node->append_conf('postgresql.conf', 'max_prepared_transactions = 2');
$node->restart;
workers_are('a b', 'after a restart');
$node->safe_psql('c', q{BEGIN; CREATE EXTENSION clinical; PREPARE TRANSACTION 'e'});
$node->safe_psql('c', q{COMMIT PREPARED 'e'});
workers_are('a b c', 'COMMIT PREPARED');

# where there is no extension, commands that have nothing to do with it start no worker to look
$node->safe_psql('postgres', q{CREATE SCHEMA nudge; DROP SCHEMA nudge; BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'e'});
$node->safe_psql('postgres', q{COMMIT PREPARED 'e'; DROP TABLE t});
is($node->safe_psql('postgres', $workers), 'a b c', 'nobody looks again');

# defect 7 (DROP EXTENSION under a running worker)
my $start = time;
$node->safe_psql('c', 'DROP EXTENSION clinical; DROP SCHEMA clinical');
cmp_ok(time - $start, '<', 2, 'DROP EXTENSION does not wait');
workers_are('a b', 'DROP EXTENSION');
$node->safe_psql('c', 'CREATE EXTENSION clinical');
workers_are('a b c', 'and CREATE EXTENSION');
$node->safe_psql('c', 'DROP SCHEMA clinical CASCADE');
workers_are('a b', 'DROP SCHEMA CASCADE');
$node->safe_psql('c', 'CREATE EXTENSION clinical; DROP EXTENSION clinical; DROP SCHEMA clinical; CREATE EXTENSION clinical');
workers_are('a b c', 'to and fro');
# a transaction that drops the extension and takes its time
my ($in, $printed) = ('', '');
my $session = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-d', $node->connstr('c') ], '<', \$in, '>', \$printed, '2>', \my $complaint);
$in = "BEGIN; DROP EXTENSION clinical; SELECT 'dropped';\n";
$session->pump until $printed =~ /dropped/;
kill 'TERM', pid_in('c');
soon('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'c' AND backend_type = 'clinical worker' AND wait_event_type = 'Lock' AND backend_xmin IS NULL},
	'the next worker waits for it and holds back no vacuum');
$in .= "ROLLBACK; SELECT 'rolled back';\n";
$session->pump until $printed =~ /rolled back/;
$session->finish;
soon('c', q{SELECT state = 'running' FROM clinical.stat_worker}, 'rolled back, it goes on');

# whatever ends them
my $old = pid_in('a');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($old)");
is($node->safe_psql('a', 'SELECT clinical.start_workers(), pid, state FROM clinical.stat_worker'), "f|$old|running", 'pg_cancel_backend does no harm');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($old)");
soon('a', "SELECT pid <> $old AND state = 'running' FROM clinical.stat_worker WHERE pid IS NOT NULL", 'back after pg_terminate_backend');
# defects 9 and 10 (state left by a dead launcher, two workers in one place)
my ($launcher, $before) = (launcher(), join ' ', map { pid_in($_) } qw(a b c));
$node->safe_psql('postgres', "SELECT pg_cancel_backend($launcher)");
$node->safe_psql('postgres', "SELECT pg_terminate_backend($launcher)");
soon('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'clinical launcher' AND pid <> $launcher", 'the launcher comes back');
$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
$node->safe_psql('postgres', 'CREATE ROLE regress_nudge; DROP ROLE regress_nudge');
is(join(' ', map { pid_in($_) } qw(a b c)), $before, 'and takes over the workers that are there');
$old = pid_in('b');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($old)");
soon('b', "SELECT pid <> $old AND state = 'running' FROM clinical.stat_worker WHERE pid IS NOT NULL", 'of which it starts again those that end');
# defect 3 (pointers of dead processes): the whole cluster begins anew
for my $victim (sub { pid_in('a') }, \&launcher)
{
	$old = pid_in('b');
	kill 'KILL', $victim->();
	# not by poll_query_until, which dies of a psql that cannot connect before it has read its input
	my $up = 0;
	for (1 .. 200) { last if $up = eval { $node->psql('b', 'SELECT 1') == 0 && pid_in('b') ne $old }; select undef, undef, undef, 0.05; }
	ok($up, 'the server is back after kill -9');
	workers_are('a b c', 'and so are they');
}

# defect 6 (restarts in a loop): what fails is tried ever more seldom, and mended by a reload
my $end = -s $node->logfile;
$node->safe_psql('postgres', 'REVOKE CONNECT ON DATABASE c FROM PUBLIC');
$node->safe_psql('postgres', q{ALTER SYSTEM SET clinical.worker_restart_delay = '5min'; SELECT pg_reload_conf()});
soon('c', q{SELECT setting = '300000' FROM pg_settings WHERE name = 'clinical.worker_restart_delay'}, 'reloaded');
$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . pid_in('c') . ')');
soon('c', q{SELECT state = 'failed' AND failures = 2 AND last_error = '42501' FROM clinical.stat_worker}, 'a worker that may not connect failed');
is(log_count('permission denied for database "c"', $end), 1, 'with one line in the log');
$node->safe_psql('postgres', 'GRANT CONNECT ON DATABASE c TO PUBLIC');
is($node->safe_psql('c', 'SELECT clinical.start_workers()'), 't', 'start_workers() does not wait');
workers_are('a b c', 'mended');
is($node->safe_psql('c', 'SELECT failures, last_error FROM clinical.stat_worker'), '0|', 'and what went wrong is forgotten');
$node->safe_psql('postgres', q{ALTER SYSTEM RESET clinical.worker_restart_delay; SELECT pg_reload_conf()});

# the extension is of another version: the worker stays, and does nothing
my $version = $node->safe_psql('a', q{SELECT extversion FROM pg_extension WHERE extname = 'clinical'});
$old = pid_in('c');
$node->safe_psql('c', q{UPDATE pg_extension SET extversion = '0.0' WHERE extname = 'clinical'; CREATE SCHEMA nudge; DROP SCHEMA nudge});
is($node->safe_psql('c', 'SELECT pid FROM clinical.stat_worker'), $old, 'of another version: the worker stays');
$node->safe_psql('c', qq{UPDATE pg_extension SET extversion = '$version' WHERE extname = 'clinical'; CREATE SCHEMA nudge; DROP SCHEMA nudge});
is($node->safe_psql('c', 'SELECT pid FROM clinical.stat_worker'), $old, 'and of the right one again');

# settings and functions
$node->safe_psql('postgres', q{ALTER SYSTEM SET clinical.workers_enabled = off; SELECT pg_reload_conf()});
workers_are('', 'clinical.workers_enabled = off');
is($node->safe_psql('a', 'SELECT state FROM clinical.stat_worker'), 'stopped', 'stopped');
$node->safe_psql('postgres', q{ALTER SYSTEM RESET clinical.workers_enabled; SELECT pg_reload_conf()});
workers_are('a b c', 'and on');
is($node->safe_psql('b', 'SELECT clinical.stop_workers()'), 't', 'stop_workers');
workers_are('a c', 'stopped in one');
$node->safe_psql('postgres', 'SELECT pg_reload_conf(); SELECT pg_terminate_backend(' . launcher() . ')');
soon('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'clinical launcher'}, 'a new launcher');
workers_are('a c', 'also with a new launcher');
is($node->safe_psql('b', 'SELECT clinical.start_workers()'), 't', 'start_workers');
workers_are('a b c', 'started');

# defect 5 again: the role gets rights that it must not have
for my $right (qw(SUPERUSER BYPASSRLS))
{
	$end = -s $node->logfile;
	$node->safe_psql('postgres', "ALTER ROLE clinical_worker $right");
	workers_are('', "role with $right");
	is($node->safe_psql('a', 'SELECT state FROM clinical.stat_worker'), 'refused', 'refused');
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()') for 1 .. 5;
	$node->safe_psql('postgres', 'CREATE ROLE regress_nudge; DROP ROLE regress_nudge');
	is(log_count('clinical starts no workers while role', $end), 1, 'with one line in the log');
	$node->safe_psql('postgres', "ALTER ROLE clinical_worker NO$right");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	workers_are('a b c', 'mended');
}

is(log_count('PANIC|TRAP|server process .* was terminated by signal (?!9)'), 0, 'no crash of our own');

done_testing();
