# Alerts and time: who does not acknowledge one in time is told again, also after a restart, once a level and
# nothing twice; listeners hear of it; and reports do not wait for who has an alert open in a transaction.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use Monitor;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = monitor_node('alert', 'max_prepared_transactions = 5');
$node->safe_psql('postgres', q{SELECT clinical.enroll_patient('A' || g, NULL, NULL, 'MON', 1, effective_on => '2026-01-10') FROM generate_series(1, 400) g});
my %threshold = (kind => '"threshold"', days => undef, severity => '"critical"');
rule($node, 'postgres', 'SOON', %threshold, escalate_after => '["1 second", "2 seconds"]');
rule($node, 'postgres', 'LATE', %threshold, items => '[{"item": "diastolic", "range": "[50,90]"}]', escalate_after => '["12 seconds"]');
rule($node, 'postgres', 'ROW', items => '[{"item": "weight", "range": "[50,90]"}]');
evaluated($node, 'postgres');

# Submits a value of a patient for a day of February.
sub report
{
	my ($patient, $item, $value, $day) = @_;
	return $node->safe_psql('postgres', qq{SELECT outcome FROM clinical.submit_report('$patient', '{"$item": $value}', captured_at => '2026-02-$day 12:00')});
}
sub value_of { return $node->safe_psql('postgres', $_[0]) }

# --- escalation, and who hears of it
my $listener = session($node, 'postgres');
answers($listener, 'LISTEN clinical_alert');
report('A1', 'systolic', 150, '01');
ok(wait_until($node, 'postgres', q{SELECT escalation_level = 2 AND escalate_at IS NULL FROM clinical.alert WHERE patient_id = 'A1'}), 'an alert that nobody acknowledges reaches the last level');
is(value_of(q{SELECT string_agg(concat_ws(' ', event_no, kind, status_from, status_to, level, cause, recorded_by), ', ' ORDER BY event_no) FROM clinical.alert_event WHERE patient_id = 'A1'}),
	'1 opened open report clinical_worker, 2 escalated open open 1 time clinical_worker, 3 escalated open open 2 time clinical_worker', 'each level is an event');
is(value_of(q{SELECT bool_and(e.recorded_at >= a.opened_at + (e.event_no - 1) * interval '1 second') FROM clinical.alert a JOIN clinical.alert_event e ON e.alert_id = a.id WHERE a.patient_id = 'A1' AND e.kind = 'escalated'}),
	't', 'none before its time');
is(value_of(q{SELECT overdue_since = (SELECT recorded_at FROM clinical.alert_event WHERE patient_id = 'A1' AND event_no = 2) FROM clinical.alert_worklist WHERE patient_id = 'A1'}), 't', 'the worklist says since when it is overdue');
my $heard = answers($listener, 'SELECT 1');
my $id = value_of(q{SELECT id FROM clinical.alert WHERE patient_id = 'A1'});
is(join("\n", $heard =~ /"clinical_alert" with payload "(.*?)" received/g), join("\n", map { qq({"alert": "$id", "rule": "SOON", "severity": "critical", "event": "$_"}) } qw(opened escalated escalated)),
	'listeners hear of it, and nothing of the patient');

# --- somebody has an alert open in a transaction
my $somebody = session($node, 'postgres');
report("A$_", 'systolic', 150, '01') for 2 .. 4;
drained($node, 'postgres', 'reports are processed');
answers($somebody, "BEGIN; SELECT (clinical.acknowledge_alert(patient_id, id, 'seen')).status FROM clinical.alert WHERE patient_id IN ('A2', 'A3')");
ok(wait_until($node, 'postgres', q{SELECT escalation_level = 2 FROM clinical.alert WHERE patient_id = 'A4'}), 'others are escalated meanwhile');
is(value_of(q{SELECT string_agg(DISTINCT escalation_level::text, ' ') FROM clinical.alert WHERE patient_id IN ('A2', 'A3')}), '0', 'these are not');
answers($somebody, 'COMMIT');
report('A5', 'systolic', 150, '01');
ok(wait_until($node, 'postgres', q{SELECT escalation_level = 2 FROM clinical.alert WHERE patient_id = 'A5'}), 'time goes on');
is(value_of(q{SELECT string_agg(status || ' ' || escalation_level, ', ') FROM clinical.alert WHERE patient_id IN ('A2', 'A3')}), 'acknowledged 0, acknowledged 0', 'acknowledged, they stay as they are');
report('A6', 'systolic', 150, '01');
drained($node, 'postgres', 'reports are processed');
answers($somebody, "BEGIN; SELECT count(clinical.close_alert(patient_id, id, 'r')) FROM clinical.alert WHERE patient_id = 'A6'");
report('A7', 'systolic', 150, '01');
ok(wait_until($node, 'postgres', q{SELECT escalation_level = 2 FROM clinical.alert WHERE patient_id = 'A7'}), 'another one is due twice');
answers($somebody, 'ROLLBACK');
ok(wait_until($node, 'postgres', q{SELECT status = 'open' AND escalation_level = 2 AND events = 3 FROM clinical.alert WHERE patient_id = 'A6'}), 'not closed after all, it is escalated, level by level');

# --- many at once, which is more than a transaction takes
$node->safe_psql('postgres', q{SELECT count(clinical.submit_report('A' || g, '{"systolic": 30}', captured_at => '2026-02-01 12:00')) FROM generate_series(10, 359) g});
ok(wait_until($node, 'postgres', q{SELECT count(*) = 350 FROM clinical.alert WHERE out_days = 1 AND escalation_level = 2 AND patient_id IN (SELECT 'A' || g FROM generate_series(10, 359) g)}), '350 alerts are escalated');
is(value_of(q{SELECT DISTINCT string_agg(level::text, ' ' ORDER BY event_no) FROM clinical.alert_event WHERE kind = 'escalated' AND patient_id IN (SELECT 'A' || g FROM generate_series(10, 359) g) GROUP BY alert_id}), '1 2', 'each once a level');

# --- a restart loses no time: shut down, and crashed
for my $how (qw(fast immediate))
{
	my $patient = $how eq 'fast' ? 'A360' : 'A361';
	report($patient, 'systolic', 150, '01');
	ok(wait_until($node, 'postgres', "SELECT count(*) = 1 FROM clinical.alert WHERE patient_id = '$patient'"), 'an alert is opened');
	$node->stop($how);
	$node->start;
	ok(wait_until($node, 'postgres', "SELECT escalation_level = 2 AND events = 3 FROM clinical.alert WHERE patient_id = '$patient'"), "after the server was stopped ($how) it is escalated");
}
end_session($_) for $listener, $somebody;

# --- a nearer one than the worker sleeps for
report('A362', 'diastolic', 100, '01');
ok(wait_until($node, 'postgres', q{SELECT count(*) = 1 FROM clinical.alert WHERE patient_id = 'A362'}), 'one is due later');
report('A363', 'systolic', 150, '01');
ok(wait_until($node, 'postgres', q{SELECT escalation_level >= 1 FROM clinical.alert WHERE patient_id = 'A363'}), 'one that comes after it is escalated');
is(value_of(q{SELECT escalation_level FROM clinical.alert WHERE patient_id = 'A362' AND escalate_at > clock_timestamp() UNION ALL SELECT 0 LIMIT 1}), 0, 'before it, if there was time');
ok(wait_until($node, 'postgres', q{SELECT escalation_level = 1 FROM clinical.alert WHERE patient_id = 'A362'}), 'and then the other');

# --- reports do not wait for people, but for a little while
report('A370', 'weight', 40, $_) for '02', '03', '04';
ok(wait_until($node, 'postgres', q{SELECT count(*) = 1 FROM clinical.alert WHERE patient_id = 'A370'}), 'a row of three days');
set_up($node, 'clinical.max_attempts' => 1);
$somebody = session($node, 'postgres');
answers($somebody, "BEGIN; SELECT count(clinical.acknowledge_alert(patient_id, id)) FROM clinical.alert WHERE patient_id = 'A370'");
report('A370', 'weight', 40, '01');
ok(wait_until($node, 'postgres', q{SELECT put_off = 1 FROM clinical.stat_intake}), 'a late report of the patient is put off');
report('A371', 'weight', 40, '01');
ok(wait_until($node, 'postgres', q{SELECT count(*) = 1 FROM clinical.submission WHERE patient_id = 'A371'}), 'others are processed');
is(value_of(q{SELECT sum(attempts) FROM clinical.staged_report}), 0, 'it has used up no attempt');
is(value_of(q{SELECT count(*) FROM clinical.submission WHERE patient_id = 'A370'}), 3, 'it is not stored without what it does to the alert');
# a batch of many, some of which wait for the alert
switch_workers($node, 'off');
$node->safe_psql('postgres', q{SELECT count(clinical.submit_report('A' || CASE WHEN g % 10 = 0 THEN 370 ELSE 200 + g END, '{"weight": 40}', captured_at => timestamp '2026-02-05 08:00' + g * interval '1 minute'))
  FROM generate_series(1, 119) g});
switch_workers($node, 'on');
ok(wait_until($node, 'postgres', q{SELECT count(*) = 108 FROM clinical.observation WHERE item = 'weight' AND patient_id IN (SELECT 'A' || 200 + g FROM generate_series(1, 119) g)}, 't', 10),
	'the others of their batch do not wait for each of them');
is(value_of(q{SELECT count(*) FROM clinical.submission WHERE patient_id = 'A370'}), 3, 'they wait for the alert');
answers($somebody, 'COMMIT');
ok(wait_until($node, 'postgres', q{SELECT status = 'acknowledged' AND onset = '2026-02-01' AND basis_changed FROM clinical.alert WHERE patient_id = 'A370'}), 'once the alert is free, it is stored and moves its onset');
is(value_of(q{SELECT count(*) FROM clinical.set_aside}), 0, 'nothing is in quarantine');
end_session($somebody);

# --- transactions that are prepared: not with what holds up the patient's reports
my $correct = q{SELECT count(clinical.correct_observation(patient_id, id, '%s', 'r')) FROM clinical.observation WHERE patient_id = 'A371' AND version = 1};
report('A371', 'weight', 40, $_) for '02', '03';
ok(wait_until($node, 'postgres', q{SELECT count(*) = 1 FROM clinical.alert WHERE patient_id = 'A371'}), 'another row of three days');
like(($node->psql('postgres', "\\set VERBOSITY verbose\nBEGIN; " . sprintf($correct, 60) . "; PREPARE TRANSACTION 'away'"))[2], qr/ERROR:  0A000/, 'a correction cannot be prepared');
is(value_of(q{SELECT status FROM clinical.alert WHERE patient_id = 'A371'}), 'open', 'and changes no alert then');

is(value_of('SELECT count(*) FROM clinical.check()'), 0, 'sound');
is(value_of('SELECT count(*) FROM clinical.verify_audit()'), 0, 'and so is the trail');
is(log_count($node, qr/PANIC|TRAP|\d+ was terminated by signal/), 0, 'nothing crashed');
done_testing();
