# Rules at their limits, and readings at those of time, of numbers and of their number: each gives the alerts that
# its definition says, and nothing fails.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use Monitor;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = monitor_node('monitor_limits');
my $long = 'x' x 255;
$node->safe_psql('postgres', qq{
SELECT clinical.create_instrument('{"code": "more", "version": "1", "items": [{"code": "many", "type": "decimal", "repeats": true}, {"code": "n", "type": "decimal"}, {"code": "pulse", "type": "integer"}]}');
SELECT clinical.use_instrument('MON', 'more');
SELECT count(clinical.enroll_patient(p, NULL, NULL, 'MON', 1, effective_on => '1900-01-01'))
  FROM unnest(ARRAY['$long', repeat('y', 253) || E'\\u00e9', 'past', 'line', 'many', 'years', 'numbers', 'rules', 'change']) p});

sub report
{
	my ($patient, $data, $at, %more) = @_;
	my $zone = $more{zone} ? "'$more{zone}'" : 'NULL';
	return $node->safe_psql('postgres', "SELECT outcome FROM clinical.submit_report('$patient', '$data', captured_at => '$at', time_zone => $zone, instrument => '" . ($more{instrument} // 'bp') . "')");
}
sub value_of { return $node->safe_psql('postgres', $_[0]) }
sub raises { my ($patient, $rule, $expected, $name) = @_; return is(alerts($node, 'postgres', $patient, $rule), $expected, $name) }

# --- rules with the largest numbers, and one above
my %longest = (days => 3650, gap => 366, cooldown_days => 3650);
rule($node, 'postgres', 'LONG', %longest);
rule($node, 'postgres', 'ALL-W', kind => '"k_of_w"', days => undef, k => 366, w => 366);
rule($node, 'postgres', 'ONE-W', kind => '"k_of_w"', days => undef, k => 1, w => 366, clear => '{"days": 3650, "items": [{"item": "systolic", "range": "[100,101]"}]}');
rule($node, 'postgres', 'ONE', days => 1);
rule($node, 'postgres', 'SIXTEEN', days => 1, items => '[' . join(', ', map { my $item = $_ == 16 ? 'systolic' : "none$_"; qq({"item": "$item", "range": "[90,140]"}) } 1 .. 16) . ']');
rule($node, 'postgres', 'r' x 255, days => 1);
rule($node, 'postgres', 'CHANGE', kind => '"baseline_change"', %longest, days => 2, percent => '"[-5,5]"', baseline => '"first"', items => '[{"item": "systolic"}]');
rule($node, 'postgres', 'MEDIAN', days => 1, aggregate => '"median"', min_readings => 500, items => '[{"item": "many", "range": "[90,391]"}]');
rule($node, 'postgres', 'MANY', days => 1, items => '[{"item": "many", "range": "[90,140]"}]');
rule($node, 'postgres', 'LATE', days => 1, aggregate => '"last"', day_start => '"23:59"', items => '[{"item": "many", "range": "[90,140]"}]');
rule($node, 'postgres', 'TINY', days => 1, items => '[{"item": "n", "range": "[0.' . '0' x 29 . '1,' . '9' x 30 . ']"}]');
rule($node, 'postgres', 'SUM', days => 1, aggregate => '"mean"', items => '[{"item": "n", "range": "(,' . '9' x 30 . ')"}]');
for my $bad ([ days => 3651 ], [ gap => 367 ], [ cooldown_days => 3651 ], [ min_readings => 1001 ], [ days => 0 ], [ gap => -1 ], [ code => '"' . 's' x 256 . '"' ],
	[ items => '[' . join(', ', map { qq({"item": "i$_", "range": "[0,1]"}) } 1 .. 17) . ']' ], [ items => '[{"item": "n", "range": "[0,' . '9' x 31 . ']"}]' ])
{
	my ($key, $value) = @$bad;
	my %keys = (code => '"BAD"', kind => '"streak"', severity => '"info"', days => 1, items => '[{"item": "n", "range": "[0,1]"}]', $key => $value);
	is(sqlstate($node, 'postgres', "SELECT clinical.create_rule('{" . join(', ', map { qq("$_": $keys{$_}) } sort keys %keys) . "}')"), '22023', "$key above or below what it may be");
}

# --- ten years without a break
$node->safe_psql('postgres', q{SELECT count(clinical.submit_report('years', '{"systolic": 200}', captured_at => '2015-01-01 12:00+00'::timestamptz + n * interval '1 day', instrument => 'bp')) FROM generate_series(1, 3700) n});
drained($node, 'postgres', 'ten years', 120);
raises('years', 'LONG', '2015-01-02 -> 2024-12-29 (3700)', 'ten years in a row');
raises('years', $_->[0], "2015-01-02 -> $_->[1] (3700)", "ten years: $_->[0]") for [ 'ALL-W', '2016-01-02' ], [ 'ONE-W', '2015-01-02' ], [ 'SIXTEEN', '2015-01-02' ], [ 'r' x 255, '2015-01-02' ];
$node->safe_psql('postgres', q{SELECT clinical.correct_observation(patient_id, id, '120', 'r') FROM clinical.observation WHERE patient_id = 'years' AND local_day = '2020-01-02'});
raises('years', 'LONG', '', 'a day in the middle is corrected: no row is long enough');
raises('years', 'ALL-W', '2015-01-02 -> 2016-01-02 (1826), 2020-01-03 -> 2021-01-02 (1873)', 'two streaks of a year and more');
raises('years', 'ONE-W', '2015-01-02 -> 2015-01-02 (3699)', 'and one that is not cleared');

# --- ends of time, and the date line
report('past', '{"systolic": 200}', $_) for '1900-01-01 00:00+00', '4713-12-01 12:00 BC', '4000-01-01 BC', '290000-01-01', '294276-12-31 23:59+00', '9999-12-31';
is(sqlstate($node, 'postgres', "SELECT clinical.submit_report('past', '{}', captured_at => '$_', instrument => 'bp')"), '22023', "captured at $_") for 'infinity', '-infinity';
report('line', '{"systolic": 200}', "2026-02-01 $_->[0]+00", zone => $_->[1]) for [ '10:30', 'Pacific/Kiritimati' ], [ '11:00', 'Etc/GMT+12' ], [ '11:30', 'Pacific/Niue' ];
report($long, '{"systolic": 200}', '2026-02-01 12:00+00');
$node->safe_psql('postgres', q{SELECT clinical.submit_report(repeat('y', 253) || E'\u00e9', '{"systolic": 200}', captured_at => '2026-02-01 12:00+00', instrument => 'bp')});
drained($node, 'postgres', 'ends of time');
raises('past', 'ONE', '1900-01-01 -> 1900-01-01 (1)', 'the first day that may be');
is(value_of(q{SELECT string_agg(DISTINCT reason_code, ' ' ORDER BY reason_code) || ' ' || count(*) FROM clinical.set_aside WHERE patient_id = 'past'}), 'captured_before_enrolment captured_in_future 5', 'earlier and later ones are in quarantine');
raises('line', 'ONE', '2026-01-31 -> 2026-01-31 (3)', 'an hour that has three days');
raises('line', 'ONE-W', '2026-01-31 -> 2026-01-31 (3)', 'the same in a window');
raises($long, 'ONE', '2026-02-01 -> 2026-02-01 (1)', 'a patient with the longest id');
rule($node, 'postgres', 'AFTER', days => 1);
ok(evaluated($node, 'postgres'), 'rules are evaluated over it');
is(value_of(q{SELECT string_agg(DISTINCT status, ' ') FROM clinical.rule_evaluation}), 'done', 'all of them');
is(value_of(q{SELECT count(*) FROM ((SELECT patient_id, onset, last_day FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE r.code = 'ONE' AND supported)
  EXCEPT (SELECT patient_id, onset, last_day FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE r.code = 'AFTER' AND supported)) d}), 0, 'with the same result');
is(value_of(q{SELECT count(*) = (SELECT count(*) FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE r.code = 'ONE' AND supported) FROM clinical.rule_backtest(clinical.rule_json('ONE'), '(,)')}), 't', 'a back-test over all time');
is(value_of(q{SELECT count(*) FROM clinical.rule_backtest(clinical.rule_json('ONE'), 'empty')}), 0, 'and over none');

# --- many readings of one item at one moment
$node->safe_psql('postgres', q{SELECT clinical.submit_report('many', jsonb_build_object('many', (SELECT jsonb_agg(141 + g) FROM generate_series(1, 500) g)), captured_at => '2026-02-01 12:00+00', instrument => 'more')});
drained($node, 'postgres', 'many');
raises('many', 'MANY', '2026-02-01 -> 2026-02-01 (1)', '500 at once');
raises('many', 'MEDIAN', '2026-02-01 -> 2026-02-01 (1)', 'their median, 391.5, is out of range');
raises('many', 'LATE', '2026-01-31 -> 2026-01-31 (1)', 'where the day ends at a minute to midnight');
is(value_of(q{SELECT DISTINCT cardinality(evidence) FROM clinical.alert_event WHERE patient_id = 'many'}), 100, 'evidence is bounded');
$node->safe_psql('postgres', q{SELECT clinical.correct_observation(patient_id, id, '100', 'r') FROM clinical.observation WHERE patient_id = 'many' AND value IN (600, 641)});
raises('many', 'MEDIAN', '', 'two corrected: 389.5');
raises('many', 'MANY', '2026-02-01 -> 2026-02-01 (1)', 'the others are still out');

# --- numbers
my @numbers = ('0', '1e100', '-1e100', '1e-100', '9' x 30, '0.' . '0' x 29 . '1', '1e30');
report('numbers', qq({"n": $numbers[$_]}), '2026-02-' . sprintf('%02d', 1 + 2 * $_) . ' 12:00+00', instrument => 'more') for 0 .. $#numbers;
drained($node, 'postgres', 'numbers');
is(value_of(q{SELECT string_agg(extract(day FROM captured_at)::text, ' ' ORDER BY captured_at) FROM clinical.set_aside WHERE patient_id = 'numbers' AND outcome = 'quarantined'}), '3 5 7', 'numbers that are too large or too fine are in quarantine');
is(value_of(q{SELECT string_agg(extract(day FROM onset)::text, ' ' ORDER BY onset) FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE patient_id = 'numbers' AND r.code = 'TINY'}), '1 13', 'numbers are compared exactly');
is(value_of(q{SELECT string_agg(extract(day FROM onset)::text, ' ' ORDER BY onset) FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE patient_id = 'numbers' AND r.code = 'SUM'}), '9 13', 'and so are their means');
# the baseline is 0: there is no change of it
report('change', qq({"systolic": $_->[1]}), "2026-02-0$_->[0] 12:00+00") for [ 1, 0 ], [ 2, 100 ], [ 3, 200 ];
drained($node, 'postgres', 'a baseline of 0');
raises('change', 'CHANGE', '', 'of a baseline of 0 there is no change in percent');
$node->safe_psql('postgres', q{SELECT clinical.correct_observation(patient_id, id, '99', 'r') FROM clinical.observation WHERE patient_id = 'change' AND value = 0});
raises('change', 'CHANGE', '', 'of 99 there is, on one day');
$node->safe_psql('postgres', q{SELECT clinical.correct_observation(patient_id, id, '1', 'r') FROM clinical.observation WHERE patient_id = 'change' AND value = 99});
raises('change', 'CHANGE', '2026-02-02 -> 2026-02-03 (2)', 'of 1 there is on two');

# --- 200 rules for one patient
$node->safe_psql('postgres', q{SELECT count(clinical.create_rule(jsonb_build_object('code', 'R' || g, 'project', 'MON', 'kind', 'streak', 'days', 3, 'severity', 'info', 'items', '[{"item": "weight", "range": "[50,90]"}]'::jsonb)))
  FROM generate_series(1, 200) g});
report('rules', '{"weight": 100}', "2026-02-0$_ 12:00+00") for 1 .. 7;
drained($node, 'postgres', '200 rules');
is(value_of(q{SELECT count(*), min(onset), max(onset), min(out_days) FROM clinical.alert WHERE patient_id = 'rules'}), '200|2026-02-01|2026-02-01|7', 'each raises its alert');
$node->safe_psql('postgres', q{SELECT clinical.correct_observation(patient_id, id, '60', 'r') FROM clinical.observation WHERE patient_id = 'rules' AND local_day = '2026-02-04'});
is(value_of(q{SELECT onset, count(*) FROM clinical.alert WHERE patient_id = 'rules' GROUP BY 1 ORDER BY 1}), "2026-02-01|200\n2026-02-05|200", 'a correction splits each');
ok(evaluated($node, 'postgres'), 'they are evaluated over what there is');
is(value_of(q{SELECT count(*) FROM clinical.alert WHERE patient_id = 'rules'}), 400, 'which changes nothing');
$node->safe_psql('postgres', q{SELECT clinical.withdraw_submission(patient_id, id, 'r') FROM clinical.submission WHERE patient_id = 'rules'});
is(value_of(q{SELECT status, count(*) FROM clinical.alert WHERE patient_id = 'rules' GROUP BY 1}), 'retracted|400', 'all reports withdrawn: all alerts retracted');

# --- NULL, to whatever asks for something
for my $call ('create_rule(NULL)', q{change_rule(NULL, '{}', 'r')}, q{change_rule('ONE', NULL, 'r')}, q{change_rule('ONE', clinical.rule_json('ONE'), NULL)}, q{retire_rule(NULL, 'r')}, q{retire_rule('ONE', NULL)},
	'rule_json(NULL)', 'cancel_rule_evaluation(NULL)', q{rule_backtest(NULL, '(,)')}, q{rule_backtest(clinical.rule_json('ONE'), NULL)}, q{acknowledge_alert(NULL, gen_random_uuid())}, q{acknowledge_alert('past', NULL)},
	q{close_alert(NULL, gen_random_uuid(), 'r')}, q{close_alert('past', NULL, 'r')},
	q{create_rule('[]')}, q{create_rule('null')}, q{create_rule('1')}, q{create_rule('{}')}, q{rule_backtest('{}', '(,)')})
{
	is(sqlstate($node, 'postgres', "SELECT * FROM clinical.$call"), '22023', "$call is refused");
}
is(value_of(q{SELECT status FROM clinical.acknowledge_alert('past', (SELECT id FROM clinical.alert WHERE patient_id = 'past' LIMIT 1), NULL)}), 'acknowledged', 'without a comment an alert can be acknowledged');
is(sqlstate($node, 'postgres', q{SELECT clinical.close_alert('past', (SELECT id FROM clinical.alert WHERE patient_id = 'past' AND status = 'acknowledged'), NULL)}), '22023', 'but not closed without a reason');
sound($node, 'postgres', 'at the limits', 1);
is(log_count($node, qr/PANIC|TRAP|terminated by signal/), 0, 'nothing crashed');
is(value_of(q{SELECT string_agg(state, ' ') FROM clinical.stat_worker WHERE database = 'postgres' AND kind = 'first'}), 'running', 'nor failed');

done_testing();
