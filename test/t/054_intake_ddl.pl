# Nobody's DDL is blocked by reports that come in and are processed, and no report suffers from it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{CLINICAL_SEED} // int(time) % 1000000;
note "CLINICAL_SEED=$seed";
my $node = intake_node('ddl', 'clinical.batch_size = 10', 'max_worker_processes = 20');
# A command succeeds, and soon.  Where clients are at work, whose transactions lock table after table, a command that
# locks them all may be the one that the server ends (deadlock): it is given again, as one would.
sub soon
{
	my ($database, $command) = @_;
	my $start = time;
	my ($status, $out, $error);
	do { ($status, $out, $error) = $node->psql($database, "\\set ON_ERROR_STOP\n$command") }
	  while ($status != 0 && $command =~ /DROP EXTENSION/ && $error =~ /deadlock detected/ && time - $start < 10);
	ok($status == 0 && time - $start < 10, "$command: soon") or diag(time - $start, " s: $error");
}
# A database with a queue in it that is being processed, slowly.
sub busy_database
{
	my ($database, $reports) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	make_study($node, $database);
	slow_down($node, $database, 0.01);
	is(submit_many($node, $database, 1, $reports), "queued $reports", "$database has a queue");
	wait_until($node, $database, 'SELECT count(*) > 0 FROM clinical.submission') or die "nothing happens in $database";
}
sub in_the_middle
{
	my ($database, $name) = @_;
	my ($staged, $stored) = split /\|/, $node->safe_psql($database, 'SELECT (SELECT count(*) FROM clinical.staged_report), (SELECT count(*) FROM clinical.submission)');
	return ok($staged > 0 && $stored > 0, "$name: in the middle ($staged wait, $stored are processed)");
}

# A copy has the queue, and processes its own.
busy_database('a', 600);
soon('postgres', 'CREATE DATABASE b TEMPLATE a');
soon('postgres', 'CREATE DATABASE c TEMPLATE a STRATEGY file_copy');
in_the_middle($_, $_) for qw(a b c);
speed_up($node, $_) for qw(a b c);
for my $database (qw(a b c))
{
	drained($node, $database, $database);
	exactly_once($node, $database, 1, 600, $database);
	sound($node, $database, $database);
}
# Each counts for itself.
switch_workers($node, 'off');
set_up($node, 'clinical.queue_capacity' => 20);
is(submit_many($node, $_, 1001, 1022), 'queued 20, busy 2', "$_: room for 20") for qw(a b c);
is($node->safe_psql('b', 'SELECT clinical.process_reports()'), 20, 'b: processed');
is(submit_many($node, 'a', 1031, 1031), 'busy 1', 'a: no room');
is(submit_many($node, 'b', 1031, 1031), 'queued 1', 'b: room again');
# A copy of a full queue is full, a database of a name that was there before is not.
soon('postgres', 'CREATE DATABASE d TEMPLATE c');
is(submit_many($node, 'd', 1031, 1031), 'busy 1', 'd: a full copy');
soon('postgres', 'DROP DATABASE d');
$node->safe_psql('postgres', 'CREATE DATABASE d');
make_study($node, 'd');
is(submit_many($node, 'd', 1, 21), 'queued 20, busy 1', 'd: a new one');
set_up($node, 'clinical.queue_capacity' => 10000);
switch_workers($node, 'on');

# The database goes in the middle.
busy_database('e', 600);
in_the_middle('e', 'e');
soon('postgres', 'DROP DATABASE e');
busy_database('e', 600);
my $folder = PostgreSQL::Test::Utils::tempdir();
my $clients = start_clients($node, 'e', $folder, $seed, 1, 4);
wait_until($node, 'e', 'SELECT count(*) > 620 FROM (SELECT FROM clinical.submission UNION ALL SELECT FROM clinical.staged_report) a');
soon('postgres', 'DROP DATABASE e WITH (FORCE)');
stop_clients($folder, $clients);
busy_database('e', 100);
soon('postgres', 'ALTER DATABASE e RENAME TO f');
speed_up($node, 'f');
drained($node, 'f', 'renamed');
exactly_once($node, 'f', 1, 100, 'renamed');
for (1 .. 3)
{
	soon('postgres', 'CREATE DATABASE g TEMPLATE f');
	submit_many($node, 'g', 1001, 1100);
	soon('postgres', 'DROP DATABASE g');
}

# The extension is changed, and goes, while clients submit and workers process.
$folder = PostgreSQL::Test::Utils::tempdir();
$clients = start_clients($node, 'f', $folder, $seed, 1, 4);
my $some = 'SELECT count(*) > %d FROM clinical.submission';
wait_until($node, 'f', sprintf($some, 150)) or die 'the clients do nothing';
my $stored = $node->safe_psql('f', 'SELECT count(*) FROM clinical.submission');
soon('f', $_) for ('CREATE FUNCTION clinical.added() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$; ALTER EXTENSION clinical ADD FUNCTION clinical.added()',
	'ALTER EXTENSION clinical DROP FUNCTION clinical.added(); DROP FUNCTION clinical.added()', 'ALTER EXTENSION clinical UPDATE',
	'BEGIN; ALTER EXTENSION clinical DROP FUNCTION clinical.merge_patch(jsonb, jsonb); ROLLBACK',
	'ALTER TABLE clinical.submission ADD COLUMN extra int', 'ALTER TABLE clinical.submission DROP COLUMN extra', 'CREATE INDEX extra ON clinical.observation (local_day)', 'DROP INDEX clinical.extra',
	'VACUUM (FULL) clinical.submission', 'VACUUM (FULL) clinical.staged_report', 'REINDEX TABLE clinical.submission', 'BEGIN; DROP EXTENSION clinical CASCADE; ROLLBACK');
ok(wait_until($node, 'f', sprintf($some, $stored + 100)), 'and reports come in and are processed');
stop_clients($folder, $clients);
drained($node, 'f', 'after changes');
is($node->safe_psql('f', q{SELECT outcome, reason_code, count(*) FROM clinical.set_aside WHERE outcome <> 'duplicate' GROUP BY 1, 2}), '', 'nothing is in quarantine for it');
sound($node, 'f', 'after changes');

$clients = start_clients($node, 'f', $folder, $seed, 1, 4);
wait_until($node, 'f', sprintf($some, $stored + 200)) or die 'the clients do nothing';
soon('f', 'DROP EXTENSION clinical CASCADE');
select undef, undef, undef, 0.5;
ok(wait_until($node, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE $Intake::WORKERS AND datname = 'f'", 0, 10), 'no worker is there for nothing');
select undef, undef, undef, 1;
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE $Intake::WORKERS AND datname = 'f'"), 0, 'nor comes again');
$node->safe_psql('f', 'DROP SCHEMA IF EXISTS clinical CASCADE');
stop_clients($folder, $clients);
make_study($node, 'f');
switch_workers($node, 'off');
set_up($node, 'clinical.queue_capacity' => 20);
is(submit_many($node, 'f', 1, 22), 'queued 20, busy 2', 'created anew, it has room');
switch_workers($node, 'on');
drained($node, 'f', 'created anew');
exactly_once($node, 'f', 1, 20, 'created anew');
is(log_count($node, 'PANIC|TRAP|terminated by signal', 0), 0, 'no crash');

done_testing();
