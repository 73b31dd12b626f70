# Commands that need a database without sessions have it so at once, though a worker runs there;
# afterwards a worker runs where one should.  (Defect 1: DROP DATABASE hangs or fails.)
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('ddl');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'\nmax_worker_processes = 20\nmax_prepared_transactions = 2");
$node->start;
my $tablespace = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$tablespace'");

my $workers = q{SELECT coalesce(string_agg(datname, ' ' ORDER BY datname), '') FROM pg_stat_activity WHERE backend_type = 'clinical worker'};
sub workers_are
{
	my ($expected, $name) = @_;
	my $start = time;
	my $came = $node->poll_query_until('postgres', $workers, $expected);
	ok($came && time - $start < 5, "$name: workers in ($expected)") or diag(time - $start, ' s: ', $node->safe_psql('postgres', $workers));
}
# A command of a user succeeds, and at once: PostgreSQL would wait for 5 s and fail.
sub at_once
{
	my ($command, $user) = @_;
	my $start = time;
	my ($status, $out, $error) = $node->psql('postgres', $command, $user ? (extra_params => [ '-U', $user ]) : ());
	ok($status == 0 && time - $start < 3, "$command: at once") or diag(time - $start, " s: $error");
}
# A command fails, with this message; the workers stay the same processes.
sub refused
{
	my ($command, $message, $user) = @_;
	my $pids = q{SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity WHERE backend_type = 'clinical worker'};
	my $before = $node->safe_psql('postgres', $pids);
	my ($status, $out, $error) = $node->psql('postgres', $command, $user ? (extra_params => [ '-U', $user ]) : ());
	like($error, $message, "$command: refused");
	is($node->safe_psql('postgres', $pids), $before, 'and the workers go on');
}
sub database { $node->safe_psql('postgres', "CREATE DATABASE $_[0]"); $node->safe_psql($_[0], 'CREATE EXTENSION clinical') }

database($_) for qw(a b c);
workers_are('a b c', 'to begin with');

at_once('DROP DATABASE a');
workers_are('b c', 'DROP DATABASE');
at_once('DROP DATABASE b WITH (FORCE)');
workers_are('c', 'DROP DATABASE FORCE');
at_once('ALTER DATABASE c RENAME TO d');
workers_are('d', 'RENAME');
at_once('ALTER DATABASE d SET TABLESPACE elsewhere');
workers_are('d', 'SET TABLESPACE');
at_once('CREATE DATABASE e TEMPLATE d');
workers_are('d e', 'CREATE DATABASE TEMPLATE');
at_once('CREATE DATABASE f TEMPLATE d STRATEGY file_copy');
workers_are('d e f', 'another way to copy');
# the session's own database is copied
my $start = time;
$node->safe_psql('d', 'CREATE DATABASE g TEMPLATE d');
cmp_ok(time - $start, '<', 3, 'a copy of the own database');
workers_are('d e f g', 'a copy of the own database');
at_once('BEGIN; ALTER DATABASE f RENAME TO x; ALTER DATABASE x RENAME TO y; ROLLBACK');
workers_are('d e f g', 'RENAME rolled back');
at_once('BEGIN; ALTER DATABASE f RENAME TO x; ALTER DATABASE g RENAME TO y; COMMIT');
workers_are('d e x y', 'two at a time');
at_once(q{BEGIN; ALTER DATABASE x RENAME TO f; PREPARE TRANSACTION 'r'});
at_once(q{COMMIT PREPARED 'r'});
at_once('ALTER DATABASE y RENAME TO g');
workers_are('d e f g', 'RENAME prepared');
at_once('DROP DATABASE IF EXISTS nowhere');

# who may not disturbs nobody
$node->safe_psql('postgres', 'CREATE ROLE regress_joe LOGIN CREATEDB; CREATE ROLE regress_jim LOGIN');
refused('DROP DATABASE e', qr/must be owner of database e/, 'regress_joe');
refused('DROP DATABASE e WITH (FORCE)', qr/must be owner of database e/, 'regress_joe');
refused('ALTER DATABASE e RENAME TO x', qr/must be owner of database e/, 'regress_joe');
refused('ALTER DATABASE e SET TABLESPACE elsewhere', qr/must be owner of database e/, 'regress_joe');
refused('CREATE DATABASE x TEMPLATE e', qr/permission denied to copy database "e"/, 'regress_joe');
refused('CREATE DATABASE x TEMPLATE e', qr/permission denied to create database/, 'regress_jim');
# who may does, also without being superuser
$node->safe_psql('postgres', 'ALTER DATABASE e OWNER TO regress_joe; ALTER DATABASE f OWNER TO regress_jim');
refused('ALTER DATABASE f RENAME TO x', qr/permission denied to rename database/, 'regress_jim');
at_once('ALTER DATABASE e RENAME TO h', 'regress_joe');
at_once('CREATE DATABASE i TEMPLATE h', 'regress_joe');
workers_are('d f g h i', 'by owners');
at_once('DROP DATABASE i', 'regress_joe');
at_once('DROP DATABASE f', 'regress_jim');
workers_are('d g h', 'dropped by owners');

# a command that fails leaves things as they were
my ($in, $out) = ("SELECT 'here';\n", '');
my $session = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-d', $node->connstr('d') ], '<', \$in, '>', \$out, '2>', \my $error);
$session->pump until $out =~ /here/;
my ($status, $printed, $complaint) = $node->psql('postgres', 'DROP DATABASE d');
like($complaint, qr/database "d" is being accessed by other users/, 'DROP DATABASE with another session there');
workers_are('d g h', 'failed');
# ended in the middle
my $pid = $node->safe_psql('d', 'SELECT pid FROM clinical.stat_worker');
my $drop = IPC::Run::start([ 'psql', '-X', '-c', 'DROP DATABASE d', '-d', $node->connstr('postgres') ], '>', \my $drop_out, '2>', \my $drop_error);
$node->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'clinical worker' AND datname = 'd')});
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'DROP DATABASE d'});
$drop->finish;
like($drop_error, qr/terminating connection/, 'DROP DATABASE terminated');
workers_are('d g h', 'terminated');
$in .= "\\q\n";
$session->finish;

# refused by PostgreSQL for other reasons
for my $command ('BEGIN; DROP DATABASE g', 'CREATE DATABASE h TEMPLATE g', 'ALTER DATABASE g RENAME TO h', 'ALTER DATABASE g SET TABLESPACE nowhere', 'DROP DATABASE postgres')
{
	isnt($node->psql('postgres', $command), 0, "$command fails");
	workers_are('d g h', $command);
}

# stopped, it stays so
is($node->safe_psql('g', 'SELECT clinical.stop_workers()'), 't', 'stop_workers');
at_once('ALTER DATABASE g RENAME TO f');
at_once('CREATE DATABASE g TEMPLATE f');
workers_are('d g h', 'the copy is not stopped');
at_once('DROP DATABASE f');

# databases that nobody may connect to, and templates
$node->safe_psql('postgres', 'ALTER DATABASE g ALLOW_CONNECTIONS false; ALTER DATABASE h IS_TEMPLATE true');
workers_are('d', 'no connections, a template');
at_once('CREATE DATABASE i TEMPLATE h', 'regress_jim') if $node->safe_psql('postgres', 'ALTER ROLE regress_jim CREATEDB; SELECT true');
workers_are('d i', 'a copy of the template');
at_once('DROP DATABASE g');
$node->safe_psql('postgres', 'ALTER DATABASE h IS_TEMPLATE false');
workers_are('d h i', 'no template any more');

# many at a time, while workers come and go
$node->safe_psql('postgres', "CREATE DATABASE m$_ TEMPLATE d") for 1 .. 5;
my $again = q{SELECT count(*) = 5 FROM pg_stat_activity WHERE backend_type = 'clinical worker' AND datname ~ '^m'};
ok($node->poll_query_until('postgres', $again), 'five more');
my @drops = map { IPC::Run::start([ 'psql', '-X', '-c', "DROP DATABASE m$_", '-d', $node->connstr('postgres') ], '>', \my $o, '2>&1') } 1 .. 5;
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'clinical worker' AND datname ~ '^m'; SELECT pg_reload_conf()});
is(scalar(grep { $_->finish } @drops), 5, 'five dropped at a time');
workers_are('d h i', 'five dropped');

# while the worker is about to come (defects 2 and 3: a start that is not finished)
$start = time;
$node->safe_psql('postgres', $_) for ('CREATE DATABASE n TEMPLATE d', 'DROP DATABASE n') x 15;
cmp_ok(time - $start, '<', 30, 'created and dropped at once, many times');
$node->safe_psql('d', 'SELECT clinical.start_workers(), clinical.stop_workers()') for 1 .. 15;
is($node->safe_psql('d', 'SELECT state, pid FROM clinical.stat_worker'), 'stopped|', 'stopped while it starts');
$node->safe_psql('d', 'SELECT clinical.start_workers()');
workers_are('d h i', 'after all that');

my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC|TRAP|server process/, 'no crash');
is(scalar(() = $log =~ /FATAL:  (?!terminating )/g), 0, 'and no worker came where it should not') or diag($log =~ /(.*FATAL: .*)/g);
# slots of dropped databases are free for others
is($node->safe_psql('i', 'SELECT count(*) FROM clinical.stat_worker'), 1, 'slots');

done_testing();
