# Where there are no workers: no slots for them, a standby, switched off.  Reports are taken in where they may be, and
# processed as soon as there is somebody.  And settings, changed while it runs.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# PostgreSQL's launcher of logical replication and our own take both slots.
my $node = intake_node('scarce', 'max_worker_processes = 2', 'clinical.batch_size = 100');
is(submit_many($node, 'postgres', 1, 300), 'queued 300', 'without slots for workers reports are taken in');
is(scalar(worker_pids($node, 'postgres')), 0, 'and wait, as no worker is there');
ok(wait_until($node, 'postgres', 'SELECT state <> \'running\' FROM clinical.stat_worker'), 'stat_worker says so');
$node->safe_psql('postgres', 'SELECT pg_reload_conf()') for 1 .. 10;
my $hints = log_count($node, 'HINT:  .*max_worker_processes');
is($hints, 1, 'and the log, once, with a hint');
is($node->safe_psql('postgres', q{SELECT problem, remedy ~ 'Raise max_worker_processes, now 2,' FROM clinical.health() WHERE NOT ok AND problem ~ 'slot'}),
	'the server had no slot left for a background worker|t', 'and health(), with a remedy');
is($node->safe_psql('postgres', 'SELECT clinical.process_reports(100), clinical.process_reports()'), '100|200', 'process_reports does it');
exactly_once($node, 'postgres', 1, 300, 'without workers');
$node->append_conf('postgresql.conf', 'max_worker_processes = 12');
submit_many($node, 'postgres', 301, 400);
$node->restart;
drained($node, 'postgres', 'with slots');
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.health() WHERE problem ~ 'slot|launcher'}), 0, 'with slots: health() has nothing to say of them');
exactly_once($node, 'postgres', 1, 400, 'with slots');

# Settings by reload, with sessions that are there.
my $there = session($node, 'postgres');
answers($there, 'SELECT 1');
my $last = 400;
my $again = sub { $last++; return answers($there, 'SELECT outcome FROM ' . submit($last)) };
switch_workers($node, 'off');
is($again->(), 'queued', 'workers off: taken in');
set_up($node, 'clinical.queue_capacity' => 0);
is($again->(), 'busy', 'no capacity: busy');
set_up($node, 'clinical.queue_capacity' => 3);
is(join(' ', map { $again->() } 1 .. 4), 'queued queued busy busy', 'a capacity of 3, of which one is taken');
set_up($node, 'clinical.queue_capacity' => 2);
is($again->(), 'busy', 'less than wait: busy');
is(waiting($node, 'postgres'), 3, 'and what waits stays');
set_up($node, 'clinical.queue_capacity' => 100);
is($again->(), 'queued', 'and more: taken in');
my $note = q(jsonb_build_object('n', 1, 'note', repeat('x', 5000)));
my $large = sub { return sqlstate($node, 'postgres', 'SELECT ' . submit(900, data => $note, id => report_id(++$last, 7))) };
set_up($node, 'clinical.max_report_size' => '4kB');
is($large->(), '54000', 'too large');
set_up($node, 'clinical.max_report_size' => '1MB');
is($large->(), '00000', 'and not too large');
set_up($node, 'clinical.batch_size' => 1);
submit_many($node, 'postgres', 501, 530);
switch_workers($node, 'on');
drained($node, 'postgres', 'batches of one');
set_up($node, 'clinical.batch_size' => 100000);
slow_down($node, 'postgres', 0.02);
submit_many($node, 'postgres', 531, 620);
switch_workers($node, 'off');
my $left = waiting($node, 'postgres');
cmp_ok($left, '>', 0, "switched off in the middle: $left wait");
select undef, undef, undef, 0.5;
is(waiting($node, 'postgres'), $left, 'and go on waiting');
switch_workers($node, 'on');
speed_up($node, 'postgres');
drained($node, 'postgres', 'switched on');
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id) FROM clinical.submission'), '525|525', 'all are accepted');
is($node->safe_psql('postgres', 'SELECT count(*) FROM clinical.set_aside'), 0, 'once');
end_session($there);
sound($node, 'postgres', 'after all settings');

# A standby refuses, and has no workers; promoted, it goes on at once.
switch_workers($node, 'off');
set_up($node, 'clinical.queue_capacity' => 10000, 'clinical.batch_size' => 50);
is(submit_many($node, 'postgres', 1001, 1500), 'queued 500', 'a queue');
slow_down($node, 'postgres', 0.02);
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.auto.conf', $node->safe_psql('postgres', Intake::switch_query()) . ' = on');
$standby->start;
switch_workers($node, 'on');
wait_until($node, 'postgres', 'SELECT count(*) > 540 FROM clinical.submission') or die 'nothing happens';
for my $call (submit(1), 'clinical.process_reports()', q{clinical.requeue('I1', gen_random_uuid(), 'r')})
{
	is(sqlstate($standby, 'postgres', "SELECT $call"), '25006', "a standby refuses $call");
}
$node->wait_for_catchup($standby, 'replay');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'clinical%'}), 0, 'and has no workers');
is($standby->safe_psql('postgres', 'SELECT sum(received) FROM clinical.intake_balance'), 1025, 'and sees all, in the middle');
is($standby->safe_psql('postgres', "SELECT status FROM clinical.submission_status('I" . (1 + 1500 % 400) . "', '" . report_id(1500) . "')"), 'queued', 'what waits');
$node->stop('immediate');
my $start = time;
$standby->promote;
ok(wait_until($standby, 'postgres', 'SELECT NOT pg_is_in_recovery()'), 'promoted');
my $before = waiting($standby, 'postgres');
cmp_ok($before, '>', 0, "$before waited");
ok(wait_until($standby, 'postgres', "SELECT count(*) < $before FROM clinical.staged_report", 't', 5), 'within 5 s they are processed');
is(submit_many($standby, 'postgres', 1501, 1510), 'queued 10', 'more comes in');
speed_up($standby, 'postgres');
drained($standby, 'postgres', 'promoted');
is($standby->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id) FROM clinical.submission'), '1035|1035', 'nothing is lost, and nothing is there twice');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM clinical.set_aside'), 0, 'nor set aside');
sound($standby, 'postgres', 'promoted', 1);

done_testing();
