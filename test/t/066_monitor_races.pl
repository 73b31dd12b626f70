# Moments of monitoring that a test cannot hit by chance: it is held there.  Needs a build with FAULTS (make test-faults).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use Monitor;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = monitor_node('monitor_races');
if ($node->safe_psql('postgres', q{LOAD 'clinical'; SELECT count(*) FROM pg_settings WHERE name = 'clinical.fault'}) == 0)
{
	$node->stop;
	plan skip_all => 'not built with FAULTS: make test-faults';
}
$node->safe_psql('postgres', q{SELECT clinical.enroll_patient('R' || g, NULL, NULL, 'MON', 1, effective_on => '2025-01-10') FROM generate_series(1, 4) g});
sub report { $node->safe_psql('postgres', qq{SELECT clinical.submit_report('$_[0]', '{"systolic": 150}', captured_at => '2025-02-01 12:00')}) }

# A rule is there, and its evaluation begins, before sessions are told of it: what they store by the rules of before is evaluated.
my ($holder, $maker) = map { session($node, 'postgres') } 1 .. 2;
report('R1');
drained($node, 'postgres', 'workers know that there is no rule');
answers($holder, 'SELECT pg_advisory_lock(1)');
ask($maker, q{BEGIN;
SELECT clinical.create_rule('{"code": "HELD", "project": "MON", "kind": "threshold", "severity": "warning", "items": [{"item": "systolic", "range": "[90,140]"}]}');
SET LOCAL clinical.fault = 'alerts_end:hold';
COMMIT});
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 1, 20), 'somebody has made a rule, and is about to say so');
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.monitor_rule}), 1, 'others see it');
report('R2');
drained($node, 'postgres', 'a report before the evaluation');
ok(!wait_until($node, 'postgres', q{SELECT status FROM clinical.rule_evaluation}, 'done', 3), 'the evaluation waits');
report('R3');
drained($node, 'postgres', 'and one after it would have begun');
answers($holder, 'SELECT pg_advisory_unlock(1)');
answers($maker);
ok(evaluated($node, 'postgres'), 'now it is evaluated');
report('R4');
drained($node, 'postgres', 'and one by the rule');
is($node->safe_psql('postgres', q{SELECT string_agg(patient_id, ' ' ORDER BY patient_id) FROM clinical.alert}), 'R1 R2 R3 R4', 'no reading is without its alert');
end_session($_) for $holder, $maker;
sound($node, 'postgres', 'at the end', 1);

done_testing();
