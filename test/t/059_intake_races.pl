# Moments of the intake that a test cannot hit by chance: it is held there.  Needs a build with FAULTS (make test-faults).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = intake_node('races', 'clinical.batch_size = 50');
if ($node->safe_psql('postgres', q{LOAD 'clinical'; SELECT count(*) FROM pg_settings WHERE name = 'clinical.fault'}) == 0)
{
	$node->stop;
	plan skip_all => 'not built with FAULTS: make test-faults';
}

# The hint where a lane's reports stand is taken away, and then it is looked there: what commits in between is not lost.
switch_workers($node, 'off');
my ($holder, $drain) = map { session($node, 'postgres') } 1 .. 2;
my $before = $node->safe_psql('postgres', 'SELECT outcome FROM ' . submit(1));
answers($holder, 'SELECT pg_advisory_lock(1)');
ask($drain, q{SET clinical.fault = 'stage_find:hold'; SELECT clinical.process_reports()});
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 1, 20), 'somebody is about to look');
$node->safe_psql('postgres', 'SELECT ' . submit(2, patient => 'I2'));
is($node->safe_psql('postgres', 'SELECT waiting FROM clinical.stat_intake'), 2, 'and another report of the patient commits');
answers($holder, 'SELECT pg_advisory_unlock(1)');
is(answers($drain), 1, 'the first is found');
is($node->safe_psql('postgres', 'SELECT clinical.process_reports()'), 1, 'and the second, by the next who looks');
end_session($_) for $holder, $drain;

# A report is marked, and what marked it ends before it was processed: nothing has happened to the report.
$node->safe_psql('postgres', 'SELECT ' . submit(3));
$node->stop('immediate');
$node->append_conf('postgresql.conf', "clinical.fault = 'drain_marked:error'");
$node->start;
my $log = -s $node->logfile;
switch_workers($node, 'on');
my $ended = 0;
for (1 .. 300)
{
	last if ($ended = log_count($node, 'fault at "drain_marked"', $log)) >= 4;
	eval { kick_workers($node, 'postgres') };
	select undef, undef, undef, 0.1;
}
cmp_ok($ended, '>=', 4, 'a worker ended four times between the mark and the report');
is($node->safe_psql('postgres', 'SELECT crashes FROM clinical.staged_report'), 1, 'which is marked once');
$node->append_conf('postgresql.conf', "clinical.fault = ''");
$node->reload;
wait_until($node, 'postgres', q{SELECT current_setting('clinical.fault') = ''}) or die;
kick_workers($node, 'postgres');
drained($node, 'postgres', 'without the fault', 30);
exactly_once($node, 'postgres', 1, 3, 'at the end');
sound($node, 'postgres', 'at the end', 1);

done_testing();
