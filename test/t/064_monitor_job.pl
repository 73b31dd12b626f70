# Evaluation of a new rule over what is there: it waits for nobody who has a patient for long, tells how far it
# is, goes on after a crash, and ends when it is cancelled.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use Monitor;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = monitor_node('monitor_job');
$node->safe_psql('postgres', q{
SELECT clinical.enroll_patient('J' || lpad(g::text, 3, '0'), NULL, NULL, 'MON', 1, effective_on => '2025-01-10') FROM generate_series(1, 300) g;
SELECT clinical.submit_reports(jsonb_agg(jsonb_build_object('patient_id', 'J' || lpad(g::text, 3, '0'), 'captured_at', timestamptz '2025-03-01 08:00+01' + d * interval '1 day',
    'report_data', '{"systolic": 150}'::jsonb))) FROM generate_series(1, 300) g, generate_series(1, 3) d;
SELECT clinical.wait_until_drained()});

# Somebody processes reports of the patient in the middle, and does not commit.
sub hold
{
	my $session = session($node, 'postgres');
	answers($session, q{BEGIN; SELECT clinical.submit_report('J150', '{"systolic": 120}', NULL, '2025-03-20 08:00+01'); SELECT clinical.process_reports()});
	return $session;
}
sub status { my ($code) = @_; return $node->safe_psql('postgres', "SELECT e.status FROM clinical.rule_evaluation e JOIN clinical.monitor_rule r ON r.id = e.rule_id WHERE r.code = '$code'") }
sub raised { my ($code) = @_; return $node->safe_psql('postgres', "SELECT count(*) FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE r.code = '$code'") }

my $holder = hold();
rule($node, 'postgres', 'HELD');
ok(wait_until($node, 'postgres', q{SELECT count(*) BETWEEN 1 AND 149 FROM clinical.alert}), 'those before are evaluated');
is(status('HELD'), 'running', 'it is not through');
$node->safe_psql('postgres', q{SELECT clinical.submit_report('J001', '{"systolic": 150}', NULL, '2025-03-05 08:00+01')});
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM clinical.submission WHERE patient_id = 'J001'}, 4), 'reports of others are processed meanwhile');
kill_postmaster($node);
start_again($node);
ok(evaluated($node, 'postgres'), 'after a crash it goes on, and is through');
is(status('HELD'), 'done', 'and says so');
is(raised('HELD'), 300, 'each patient has an alert');
is($node->safe_psql('postgres', q{SELECT patients, patients_done FROM clinical.rule_evaluation}), '300|300', 'all are counted once');

$holder = hold();
rule($node, 'postgres', 'CANCELLED');
ok(wait_until($node, 'postgres', q{SELECT count(*) > 0 FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE r.code = 'CANCELLED'}), 'it has begun');
$node->safe_psql('postgres', q{SELECT clinical.cancel_rule_evaluation('CANCELLED')});
is(status('CANCELLED'), 'cancelled', 'it is cancelled');
answers($holder, 'COMMIT');
end_session($holder);
rule($node, 'postgres', 'NEXT');
ok(evaluated($node, 'postgres'), 'the next one is evaluated');
cmp_ok(raised('CANCELLED'), '<', 150, 'the cancelled one went no further');
is(raised('NEXT'), 300, 'the next one did');

# Nor does it wait for who is about to cancel an evaluation, or to change the rule, before it has begun or later.
my $canceller = session($node, 'postgres');
switch_workers($node, 'off');
rule($node, 'postgres', 'KEPT');
answers($canceller, q{BEGIN; SELECT status FROM clinical.cancel_rule_evaluation('KEPT')});
switch_workers($node, 'on');
$node->safe_psql('postgres', q{SELECT clinical.submit_report('J002', '{"systolic": 120}', NULL, '2025-03-06 08:00+01')});
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM clinical.submission WHERE patient_id = 'J002'}, 4), 'reports are processed');
my $waiters = "SELECT count(*) FROM pg_stat_activity WHERE $Intake::WORKERS AND wait_event_type = 'Lock'";
ok(!wait_until($node, 'postgres', "$waiters AND wait_event = 'transactionid'", 1, 2), 'no worker waits');
is(status('KEPT'), 'queued', 'the evaluation does');
rule($node, 'postgres', 'OTHER');
ok(wait_until($node, 'postgres', q{SELECT e.status FROM clinical.rule_evaluation e JOIN clinical.monitor_rule r ON r.id = e.rule_id WHERE r.code = 'OTHER'}, 'done', 30), 'another rule is evaluated meanwhile');
$holder = hold();
answers($canceller, 'ROLLBACK');
ok(wait_until($node, 'postgres', q{SELECT e.status FROM clinical.rule_evaluation e JOIN clinical.monitor_rule r ON r.id = e.rule_id WHERE r.code = 'KEPT'}, 'running'), 'it begins');
answers($canceller, q{BEGIN; SELECT status FROM clinical.cancel_rule_evaluation('KEPT')});
answers($holder, 'ROLLBACK');
end_session($holder);
ok(wait_until($node, 'postgres', q{SELECT count(*) = 300 FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE r.code = 'KEPT'}), 'all patients are evaluated');
ok(!wait_until($node, 'postgres', "$waiters AND wait_event = 'transactionid'", 1, 2), 'and no worker waits to say so');
answers($canceller, 'ROLLBACK');
end_session($canceller);
ok(evaluated($node, 'postgres'), 'now one does');
is(status('KEPT'), 'done', 'it is through');

# A patient who takes long: others are not locked meanwhile.
$node->safe_psql('postgres', q{
CREATE FUNCTION public.slow_alert() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_catalog.pg_sleep(5); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE INSERT ON clinical.alert FOR EACH ROW WHEN (NEW.patient_id = 'J001') EXECUTE FUNCTION public.slow_alert();
ALTER TABLE clinical.alert ENABLE ALWAYS TRIGGER slow});
rule($node, 'postgres', 'SLOW');
ok(wait_until($node, 'postgres', qq{SELECT count(*) FROM pg_stat_activity JOIN pg_locks l USING (pid)
 WHERE $Intake::WORKERS AND wait_event = 'PgSleep' AND l.locktype = 'object' AND l.classid = 'pg_class'::regclass AND l.mode = 'ExclusiveLock'}, 1, 30), 'one lane is locked for one patient');
ok(evaluated($node, 'postgres'), 'all are evaluated');
$node->safe_psql('postgres', 'DROP TRIGGER slow ON clinical.alert');

# What somebody writes who has the patients for long is evaluated by the rule, whenever it was made.
$holder = hold();
rule($node, 'postgres', 'BETWEEN', days => 1);
answers($holder, q{SELECT clinical.submit_report('J150', '{"systolic": 60}', NULL, '2025-04-20 08:00+01'); SELECT clinical.process_reports(); COMMIT});
end_session($holder);
ok(evaluated($node, 'postgres'), 'evaluated');
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE r.code = 'BETWEEN' AND patient_id = 'J150'}), 2, 'both streaks are known');
sound($node, 'postgres', 'evaluation');

# Days with many readings: a further one costs few look-ups of reports; many are evidence.
$node->safe_psql('postgres', q{
SELECT clinical.submit_reports(jsonb_agg(jsonb_build_object('patient_id', 'J001', 'captured_at', timestamptz '2025-05-01 08:00+02' + d * interval '1 day' + m * interval '1 min',
    'report_data', '{"systolic": 150}'::jsonb))) FROM generate_series(0, 3) d, generate_series(1, 100) m;
SELECT clinical.wait_until_drained()});
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT cardinality(e.evidence)::text, ',') FROM clinical.alert_event e JOIN clinical.alert a ON a.id = e.alert_id AND a.patient_id = e.patient_id
  WHERE a.patient_id = 'J001' AND a.onset = '2025-05-01' AND e.kind = 'opened'}), 100, 'the last readings of many are evidence');
cmp_ok($node->safe_psql('postgres', q{
BEGIN;
SELECT FROM clinical.submit_report('J001', '{"systolic": 150}', NULL, '2025-05-04 18:00+02');
SELECT FROM clinical.process_reports();
SELECT pg_stat_get_xact_numscans('clinical.submission_pkey'::regclass);
COMMIT}), '<', 50, 'reports are not looked up for nothing');

# A back-test tells how far it is, until it ends or is cancelled.
my $reader = session($node, 'postgres');
my $blocker = session($node, 'postgres');
answers($blocker, 'BEGIN; LOCK TABLE clinical.observation IN ACCESS EXCLUSIVE MODE');
ask($reader, q{SELECT count(*) FROM clinical.rule_backtest(clinical.rule_json('HELD'), '(,)')});
ok(wait_until($node, 'postgres', q{SELECT string_agg(concat_ws(' ', phase, patients > 0, patients_done, readings, percent), ',') FROM clinical.backtest_progress}, 'reading t 0 0 0.0'), 'a back-test has begun');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity a JOIN clinical.backtest_progress p USING (pid) WHERE p.started_at <= now()}), 1, 'in a session that is known');
$node->safe_psql('postgres', 'SELECT pg_cancel_backend(pid) FROM clinical.backtest_progress');
answers($reader);
is($node->safe_psql('postgres', 'SELECT count(*) FROM clinical.backtest_progress'), 0, 'cancelled, it is gone');
like($reader->{error}, qr/57014/, 'and has failed');
ask($reader, q{SELECT count(*) FROM clinical.rule_backtest(clinical.rule_json('HELD'), '(,)')});
ok(wait_until($node, 'postgres', 'SELECT count(*) FROM clinical.backtest_progress', 1), 'the next one has begun');
$node->safe_psql('postgres', 'SELECT pg_terminate_backend(pid) FROM clinical.backtest_progress');
ok(wait_until($node, 'postgres', 'SELECT count(*) FROM clinical.backtest_progress', 0), 'of a session that ends nothing is left');
answers($blocker, 'COMMIT');
end_session($blocker);

done_testing();
