# The cases by which the streak is defined, through submit_report and the workers.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use Monitor;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = monitor_node('monitor_cases');
rule($node, 'postgres', 'ANY');
rule($node, 'postgres', 'ALL', aggregate => '"all"');
rule($node, 'postgres', 'MEAN', aggregate => '"mean"');
rule($node, 'postgres', 'LAST', aggregate => '"last"');
rule($node, 'postgres', 'SKIP', gap => 1);
rule($node, 'postgres', 'FOUR', day_start => '"04:00"');
rule($node, 'postgres', 'TWO', items => '[{"item": "systolic", "range": "[90,140]"}, {"item": "diastolic", "range": "[50,90]"}]');
ok(evaluated($node, 'postgres'), 'evaluated, with nothing there');

my $number = 0;

# A patient, who has nothing yet.
sub patient
{
	my ($name) = @_;
	$node->safe_psql('postgres', "SELECT clinical.enroll_patient('$name', NULL, NULL, 'MON', 1, effective_on => '2025-01-10')");
	return $name;
}

# Submits reports, [moment, systolic, keys], one transaction each, and has them processed.
sub report
{
	my ($patient, @reports) = @_;
	my $sql = '';
	for my $report (@reports)
	{
		my ($at, $systolic, %more) = @$report;
		my @data = defined $systolic ? "systolic, $systolic" : ();
		push @data, map { "$_, $more{$_}" } grep { $more{$_} } qw(diastolic weight);
		my $data = join ', ', map { my ($key, $value) = split /, /; qq("$key": $value) } @data;
		my $zone = $more{zone} ? "'$more{zone}'" : 'NULL';
		my $id = report_id($more{number} // ++$number);
		$sql .= "SELECT outcome FROM clinical.submit_report('$patient', '{$data}', '$id', '$at', time_zone => $zone);\n";
	}
	$node->safe_psql('postgres', $sql);
	$node->safe_psql('postgres', 'SELECT clinical.wait_until_drained()');
}

# A reading at eight in the morning of a day in March.
sub on { my ($day, $systolic, @more) = @_; return [ sprintf('2025-03-%02d 08:00+01', $day), $systolic, @more ] }

# What a rule has raised.
sub raises
{
	my ($patient, $rule, $expected, $name) = @_;
	return is(alerts($node, 'postgres', $patient, $rule), $expected, "$patient: $name");
}

report(patient('V1'), map { on($_, 150) } 1 .. 3);
raises('V1', 'ANY', '2025-03-01 -> 2025-03-03 (3)', 'three days');
is($node->safe_psql('postgres', q{SELECT kind, status_to, cause, cardinality(evidence), submission_id = '} . report_id($number) . q{'
  FROM clinical.alert_event e JOIN clinical.alert a ON a.patient_id = e.patient_id AND a.id = e.alert_id
  JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE r.code = 'ANY' AND e.patient_id = 'V1'}),
	'opened|open|report|3|t', 'V1: an event tells of it');

report(patient('V2'), map { on($_, $_ == 3 ? 130 : 150) } 1 .. 6);
raises('V2', 'ANY', '2025-03-04 -> 2025-03-06 (3)', 'a day in range breaks it');

report(patient('V3'), map { on($_, 150) } 1, 2, 4);
raises('V3', 'ANY', '', 'a missing day breaks it');
raises('V3', 'SKIP', '2025-03-01 -> 2025-03-04 (3)', 'a missing day is skipped');

report(patient('V4'), on(1, 150), on(2, 150), [ '2025-03-02 20:00+01', 130 ], on(3, 150));
raises('V4', 'ANY', '2025-03-01 -> 2025-03-03 (3)', 'any reading');
raises('V4', $_, '', lc) for qw(ALL MEAN LAST);

report(patient('V5'), [ '2025-03-01 22:30+00', 150 ], [ '2025-03-01 23:30+00', 150 ], [ '2025-03-03 10:00+00', 150 ]);
raises('V5', 'ANY', '2025-03-01 -> 2025-03-03 (3)', 'days are local, not those of UTC');

report(patient('V6'), on(1, 150), on(3, 150));
raises('V6', 'ANY', '', 'two of three days');
report('V6', on(2, 150));
raises('V6', 'ANY', '2025-03-01 -> 2025-03-03 (3)', 'the day between is late');

report(patient('V7'), map { on($_, 150) } 1 .. 3);
raises('V7', 'ANY', '2025-03-01 -> 2025-03-03 (3)', 'before the correction');
$node->safe_psql('postgres', q{SELECT clinical.correct_observation(patient_id, id, '135', 'typing error') FROM clinical.observation WHERE patient_id = 'V7' AND local_day = '2025-03-02'});
raises('V7', 'ANY', '', 'corrected away');
is($node->safe_psql('postgres', q{SELECT a.status, e.kind, e.cause FROM clinical.alert a JOIN clinical.alert_event e ON e.patient_id = a.patient_id AND e.alert_id = a.id AND e.event_no = a.events
 JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE a.patient_id = 'V7' AND r.code = 'ANY'}), 'retracted|retracted|correction', 'V7: retracted');

report(patient('V8'), map { on($_, 150) } 1 .. 7);
raises('V8', 'ANY', '2025-03-01 -> 2025-03-03 (7)', 'one alert, however long it grows');
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE patient_id = 'V8' AND code = 'ANY'}), 1, 'V8: there was never another');

report(patient('V9'), [ '2025-06-01 08:00+02', 150 ], [ '2025-06-02 08:00+02', 150 ],
	map { [ $_, 150, zone => 'America/Los_Angeles' ] } '2025-06-02 21:00-07', '2025-06-03 08:00-07');
raises('V9', 'ANY', '2025-06-01 -> 2025-06-03 (3)', 'a traveller');

report(patient('V10'), map { [ $_, 150 ] } '2025-10-25 23:30+02', '2025-10-26 23:30+01', '2025-10-27 00:10+01');
raises('V10', 'ANY', '2025-10-25 -> 2025-10-27 (3)', 'over the end of summer time');

report(patient('V11'), on(1, 150), on(2, 150));
my $twice = $number;
report('V11', on(2, 150, number => $twice), on(3, 130));
raises('V11', 'ANY', '', 'the same submission twice is as once');
report('V11', on(4, 150), on(5, 150), on(6, 150), on(6, 150, number => $number + 3));
raises('V11', 'ANY', '2025-03-04 -> 2025-03-06 (3)', 'a day counts once');

report(patient('V12'), map { on($_, $_ == 2 ? 1500 : 150) } 1 .. 4);
raises('V12', 'ANY', '', 'what is in quarantine is not out of range');
raises('V12', 'SKIP', '2025-03-01 -> 2025-03-04 (3)', 'nor in range');
$node->safe_psql('postgres', q{SELECT clinical.requeue(patient_id, submission_id, 'a zero too many', '{"report_data": {"systolic": 150}}') FROM clinical.set_aside WHERE patient_id = 'V12'; SELECT clinical.wait_until_drained()});
raises('V12', 'ANY', '2025-03-01 -> 2025-03-03 (4)', 'put back with a patch');
raises('V12', 'SKIP', '2025-03-01 -> 2025-03-03 (4)', 'put back with a patch');

report(patient('V13'), on(1, 150), [ '2025-03-03 01:30+01', 150 ], [ '2025-03-03 20:00+01', 150 ]);
raises('V13', 'FOUR', '2025-03-01 -> 2025-03-03 (3)', 'days begin at four');
raises('V13', 'ANY', '', 'days begin at midnight');

report(patient('V14'), on(1, 150, diastolic => 80), on(2, 120, diastolic => 95), on(3, undef, diastolic => 99));
raises('V14', 'TWO', '2025-03-01 -> 2025-03-03 (3)', 'either of two items');
raises('V14', 'ANY', '', 'one of them');

# Withdrawn, a report takes its day with it.
report(patient('W1'), map { on($_, 150) } 1 .. 5);
$node->safe_psql('postgres', q{SELECT clinical.withdraw_submission(patient_id, id, 'of somebody else') FROM clinical.submission WHERE patient_id = 'W1' AND local_day = '2025-03-02'});
raises('W1', 'ANY', '2025-03-03 -> 2025-03-05 (3)', 'withdrawn: the onset is later');
raises('W1', 'SKIP', '2025-03-01 -> 2025-03-04 (4)', 'withdrawn: a missing day');

# A new rule sees what was there; one that begins afresh does not.
rule($node, 'postgres', 'LATER');
rule($node, 'postgres', 'FRESH', evaluate => 'false');
ok(evaluated($node, 'postgres'), 'evaluated');
is($node->safe_psql('postgres', q{SELECT status, patients, patients_done FROM clinical.rule_evaluation ORDER BY id DESC LIMIT 1}), 'done|15|15', 'it says how far it was');
for my $patient (map({"V$_"} 1 .. 14), 'W1')
{
	raises($patient, 'LATER', alerts($node, 'postgres', $patient, 'ANY'), 'a rule made later raises the same');
	raises($patient, 'FRESH', '', 'one that begins afresh raises nothing');
}

# What the version would have raised is what it has raised.
is($node->safe_psql('postgres', q{
SELECT count(*) FROM clinical.rule_backtest(clinical.rule_json('ANY'), '[2025-03-01,2025-12-31]') b
  FULL JOIN (SELECT a.* FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE r.code = 'ANY' AND supported AND a.status IN ('open', 'acknowledged', 'closed')) a
    ON (a.patient_id, a.onset, a.trigger_day, a.last_day, a.out_days) = (b.patient_id, b.onset, b.trigger_day, b.last_day, b.out_days)
 WHERE a.patient_id IS NULL OR b.patient_id IS NULL}), 0, 'back-test');
is($node->safe_psql('postgres', q{SELECT patient_id, onset FROM clinical.rule_backtest(clinical.rule_json('FOUR'), '[2025-03-02,2025-03-04)') WHERE patient_id = 'V13'}),
	'V13|2025-03-01', 'back-test where days begin at four');
# The change of a weight since enrolment, and since the first one.
my @weight = (kind => '"baseline_change"', items => '[{"item": "weight"}]');
rule($node, 'postgres', 'PERCENT', @weight, percent => '"[-5,5]"', days => 2);
rule($node, 'postgres', 'FIRST', @weight, absolute => '"[-3,3]"', baseline => '"first"', days => undef);
sub weigh { my ($day, $weight) = @_; return [ "$day 08:00+01", undef, weight => $weight ] }
report(patient('B1'), weigh('2025-01-10', 80), weigh('2025-03-01', 84), weigh('2025-03-02', 85), weigh('2025-03-03', 86));
raises('B1', 'PERCENT', '2025-03-02 -> 2025-03-03 (2)', 'more than 5 percent');
sub correct
{
	my ($patient, $day, $value) = @_;
	$node->safe_psql('postgres', qq{SELECT clinical.correct_observation(patient_id, id, '$value', 'test') FROM clinical.observation WHERE patient_id = '$patient' AND local_day = '$day' AND version = 1});
}
correct('B1', '2025-01-10', 84);
raises('B1', 'PERCENT', '', 'the baseline was another');
correct('B1', '2025-01-10', 79);
raises('B1', 'PERCENT', '2025-03-01 -> 2025-03-02 (3)', 'and another again');
$node->safe_psql('postgres', q{SELECT clinical.withdraw_submission(patient_id, id, 'test') FROM clinical.submission WHERE patient_id = 'B1' AND local_day = '2025-01-10'});
raises('B1', 'PERCENT', '', 'without baseline');
raises('B1', 'FIRST', '', 'the first is the next one then');
report(patient('B2'), weigh('2025-03-06', 72), weigh('2025-03-05', 70));
raises('B2', 'FIRST', '', 'little changes');
report('B2', weigh('2025-03-04', 66));
raises('B2', 'FIRST', '2025-03-05 -> 2025-03-05 (2)', 'a late report is the first one');
is($node->safe_psql('postgres', q{SELECT patient_id, onset, out_days FROM clinical.rule_backtest(clinical.rule_json('FIRST'), '(,)')}), 'B2|2025-03-05|2', 'B2: back-test');
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.rule_backtest(clinical.rule_json('PERCENT'), '(,)')}), 0, 'B1: back-test');

# Grades, k of w days, and what clears a condition.
rule($node, 'postgres', 'GRADE', kind => '"graded"', grades => '["[90,140]", "[80,160]", "[70,180]"]', items => '[{"item": "systolic"}]', days => 2);
rule($node, 'postgres', 'KOFW', kind => '"k_of_w"', k => 3, w => 5, days => undef);
rule($node, 'postgres', 'CLEAR', days => 2, clear => '{"items": [{"item": "systolic", "range": "[100,130]"}], "days": 2}');
ok(evaluated($node, 'postgres'), 'evaluated');
report(patient('G1'), on(1, 150), on(2, 150));
is($node->safe_psql('postgres', q{SELECT a.grade FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE patient_id = 'G1' AND code = 'GRADE'}), 1, 'G1: the first grade');
report('G1', on(3, 190));
is($node->safe_psql('postgres', q{SELECT a.grade, e.kind, e.grade FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id
  JOIN clinical.alert_event e ON e.patient_id = a.patient_id AND e.alert_id = a.id AND e.event_no = a.events WHERE a.patient_id = 'G1' AND code = 'GRADE'}), '3|raised|3', 'G1: the third');
is($node->safe_psql('postgres', q{SELECT grade FROM clinical.rule_backtest(clinical.rule_json('GRADE'), '(,)') WHERE patient_id = 'G1'}), 3, 'G1: back-test');
report(patient('K1'), map { on($_, $_ % 2 ? 150 : 120) } 1 .. 5);
raises('K1', 'KOFW', '2025-03-01 -> 2025-03-05 (3)', 'three of five days');
report(patient('C1'), on(1, 150), on(2, 150), on(3, 135), on(4, 150), on(5, 120));
raises('C1', 'CLEAR', '2025-03-01 -> 2025-03-02 (3)', 'one alert until it is cleared');
is($node->safe_psql('postgres', q{SELECT cleared_day FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE patient_id = 'C1' AND code = 'CLEAR'}), '', 'C1: not cleared by one day');
report('C1', on(6, 125), on(7, 150), on(8, 150));
raises('C1', 'CLEAR', '2025-03-01 -> 2025-03-02 (3), 2025-03-07 -> 2025-03-08 (2)', 'another one afterwards');
is($node->safe_psql('postgres', q{SELECT cleared_day FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE patient_id = 'C1' AND code = 'CLEAR' ORDER BY onset LIMIT 1}), '2025-03-06', 'C1: cleared');

# A changed rule raises nothing for a streak that has an alert of the version before; that one is kept up to date.
report(patient('X1'), map { on($_, 150) } 1 .. 3);
$node->safe_psql('postgres', q{SELECT clinical.change_rule('ANY', clinical.rule_json('ANY') || '{"days": 2}', 'earlier')});
ok(evaluated($node, 'postgres'), 'evaluated');
raises('X1', 'ANY', '2025-03-01 -> 2025-03-03 (3)', 'the alert of the version before');
report('X1', on(4, 150), on(8, 150), on(9, 150));
raises('X1', 'ANY', '2025-03-01 -> 2025-03-03 (4), 2025-03-08 -> 2025-03-09 (2)', 'it grows, and the new version raises another');
correct('X1', '2025-03-02', 120);
raises('X1', 'ANY', '2025-03-03 -> 2025-03-04 (2), 2025-03-08 -> 2025-03-09 (2)', 'retracted, it makes way for one of the new version');
$node->safe_psql('postgres', q{SELECT clinical.retire_rule('ANY', 'test')});
report('X1', on(10, 150), on(20, 150), on(21, 150));
raises('X1', 'ANY', '2025-03-03 -> 2025-03-04 (2), 2025-03-08 -> 2025-03-09 (3)', 'retired, a rule raises nothing, and its alerts are kept up to date');

# Entries that were expected each day of the last week, and are missing.
$node->safe_psql('postgres', q{
SELECT clinical.create_instrument('{"code": "diary", "version": "1", "items": [{"code": "note", "type": "text"}]}');
SELECT clinical.use_instrument('MON', 'diary');
SELECT clinical.schedule_entries('MON', 'diary', '{"kind": "daily", "from": "00:00", "to": "23:59"}', '2025-01-01');
SELECT clinical.enroll_patient('E1', NULL, NULL, 'MON', 1, effective_on => current_date - 6)});
sub entry { my ($days, $id) = @_; return qq{SELECT clinical.submit_report('E1', '{"note": "here"}', '$id', (current_date - $days + time '12:00') AT TIME ZONE 'Europe/Amsterdam', 'diary'); SELECT clinical.wait_until_drained();} }
$node->safe_psql('postgres', entry(4, report_id(900001)));
rule($node, 'postgres', 'ENTRIES', kind => '"missing_entries"', instrument => '"diary"', entries => 2, items => undef, days => undef);
ok(evaluated($node, 'postgres'), 'evaluated');
sub missing
{
	my ($expected, $name) = @_;
	return is($node->safe_psql('postgres', q{SELECT string_agg(format('%s to %s', current_date - onset, current_date - last_day), ', ' ORDER BY onset) FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id
  WHERE patient_id = 'E1' AND code = 'ENTRIES' AND supported}), $expected, "E1: $name");
}
missing('6 to 5, 3 to 1', 'entries are missing');
$node->safe_psql('postgres', entry(2, report_id(900002)));
missing('6 to 5', 'one comes late');
$node->safe_psql('postgres', q{SELECT clinical.withdraw_submission('E1', id, 'test') FROM clinical.submission WHERE patient_id = 'E1' AND local_day = current_date - 2});
missing('6 to 5, 3 to 1', 'and is withdrawn');
$node->safe_psql('postgres', q{SELECT clinical.excuse_entries('E1', tstzrange(now() - interval '40 days', (current_date - 4)::timestamp AT TIME ZONE 'Europe/Amsterdam'), 'ill')});
missing('3 to 1', 'some are excused');
$node->safe_psql('postgres', q{SELECT clinical.enroll_patient('E2', NULL, NULL, 'MON', 1, effective_on => current_date - 3)});
$node->restart;
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM clinical.alert WHERE patient_id = 'E2'}, 1), 'E2: who enrolls later is watched, too');
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.entry_watch WHERE patient_id IN ('E1', 'E2') AND due_at > now() AND due_at < now() + interval '25 hours'}), 2, 'and again when the next window closes');

sound($node, 'postgres', 'cases', 1);

# A patient whose alert somebody handles for long is left alone for a while, and others are looked at.
$node->safe_psql('postgres', q{SELECT clinical.stop_workers();
SELECT clinical.enroll_patient('E3', NULL, NULL, 'MON', 1, effective_on => current_date - 3)});
# what the workers find anew is that E1's alert has lost its streak
$node->safe_psql('postgres', q{SET clinical.restore = on;
INSERT INTO clinical.entry_excuse (patient_id, period, reason) VALUES ('E1', tstzrange(now() - interval '50 days', now()), 'ill');
UPDATE clinical.entry_watch SET due_at = '-infinity' WHERE patient_id = 'E1'});
my $handler = session($node, 'postgres');
answers($handler, q{BEGIN; SELECT count(*) FROM (SELECT FROM clinical.alert WHERE patient_id = 'E1' FOR UPDATE) a});
$node->safe_psql('postgres', 'SELECT clinical.start_workers()');
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM clinical.alert WHERE patient_id = 'E3'}, 1, 30), 'E3: is looked at, while an alert of E1 is locked');
ok(wait_until($node, 'postgres', q{SELECT due_at > now() AND due_at < now() + interval '61 seconds' FROM clinical.entry_watch WHERE patient_id = 'E1'}, 't', 30), 'E1: comes later');
missing('3 to 1', 'nothing has changed');
answers($handler, 'COMMIT');
end_session($handler);
$node->safe_psql('postgres', q{UPDATE clinical.entry_watch SET due_at = '-infinity' WHERE patient_id = 'E1';
SELECT clinical.stop_workers(); SELECT clinical.start_workers()});
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM clinical.alert WHERE patient_id = 'E1' AND supported}, 0, 30), 'E1: once it is free');

done_testing();
