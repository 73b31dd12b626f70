# Monitoring while things go wrong: the server crashes in the middle of a drain or of an evaluation, the worker
# is killed, an evaluation is cancelled, rules change under a running worker, a database is dumped and restored.
# Afterwards the alerts are those of a window query, once each.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use Monitor;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{CLINICAL_SEED} // int(rand 1000000);
note "CLINICAL_SEED=$seed";
my $node = monitor_node('monitor_faults', 'clinical.batch_size = 20', 'max_connections = 40');
my $patients = 120;

sub value_of { return $node->safe_psql('postgres', $_[0]) }
# Makes each alert take some time to be opened.
sub slow_alerts
{
	my ($seconds) = @_;
	$node->safe_psql('postgres', qq{CREATE OR REPLACE FUNCTION public.slow_alert() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN PERFORM pg_catalog.pg_sleep($seconds); RETURN NEW; END \$\$});
	$node->safe_psql('postgres', q{CREATE TRIGGER slow BEFORE INSERT ON clinical.alert FOR EACH ROW EXECUTE FUNCTION public.slow_alert();
ALTER TABLE clinical.alert ENABLE ALWAYS TRIGGER slow}) if value_of(q{SELECT count(*) FROM pg_trigger WHERE tgname = 'slow' AND tgrelid = 'clinical.alert'::regclass}) eq '0';
}
# Alerts are those of the window query, each was opened once, and all else is sound.
sub right
{
	my ($name, $database) = @_;
	$database //= 'postgres';
	is(differences($node, $database), '', "$name: the alerts are those of the window query");
	is($node->safe_psql($database, q{SELECT alert_id FROM clinical.alert_event WHERE kind = 'opened' GROUP BY 1 HAVING count(*) > 1}), '', "$name: none was opened twice");
	sound($node, $database, $name, 1);
}

# --- histories: ten days of each patient, in random order
$node->safe_psql('postgres', streaks_sql());
# only of the rules that are watched here
$node->safe_psql('postgres', q{CREATE OR REPLACE VIEW test.alert AS
SELECT r.code AS rule, a.patient_id AS patient, a.onset, a.trigger_day, a.last_day, a.out_days FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id
 WHERE a.supported AND a.status IN ('open', 'acknowledged', 'closed') AND r.code IN (SELECT rule FROM test.watch)});
$node->safe_psql('postgres', qq{
SELECT clinical.enroll_patient('F' || g, NULL, NULL, 'MON', 1, effective_on => '2026-01-10') FROM generate_series(1, $patients) g;
INSERT INTO test.watch VALUES ('THREE', 'systolic', '[90,140]', 3, 'any', 0, '0', 1), ('TWO', 'systolic', '[90,140]', 2, 'any', 1, '0', 1);
SELECT setseed(($seed % 1000) / 1000.0);
INSERT INTO test.reading SELECT 'F' || p, 'systolic', CASE WHEN random() < 0.7 THEN 150 ELSE 120 END, '2026-02-01 08:00+00'::timestamptz + d * interval '1 day' + random() * interval '2 hours',
       'Europe/Amsterdam', gen_random_uuid() FROM generate_series(1, $patients) p, generate_series(1, 10) d WHERE random() < 0.9});
rule($node, 'postgres', 'THREE');
rule($node, 'postgres', 'TWO', days => 2, gap => 1);
ok(evaluated($node, 'postgres'), 'there are rules');
my $reports = value_of('SELECT count(*) FROM test.reading');
slow_down($node, 'postgres', 0.002);
$node->safe_psql('postgres', q{SELECT clinical.submit_report(patient, jsonb_build_object('systolic', value), submission, at) FROM test.reading ORDER BY random()});

# --- crashes in the middle of a drain
my $between = 0;
for my $fault ('an immediate stop', 'kill -9 of the worker', 'kill -9 of the postmaster')
{
	my $done = value_of('SELECT count(*) FROM clinical.submission');
	my $goal = $done + 150;
	wait_until($node, 'postgres', "SELECT count(*) >= $goal FROM clinical.submission");
	if ($fault =~ /stop/) { $node->stop('immediate'); start_again($node) }
	elsif ($fault =~ /worker/) { kill 'KILL', (worker_pids($node, 'postgres'))[0] }
	else { kill_postmaster($node); start_again($node) }
	wait_until($node, 'postgres', 'SELECT true') or die 'the server does not come back';
	my ($waiting, $wrong);
	# in one snapshot: as many alerts as streaks of what is stored
	my $look = q{BEGIN ISOLATION LEVEL REPEATABLE READ; CREATE TEMP TABLE there AS SELECT id FROM clinical.submission;
SELECT 'waiting', count(*) FROM clinical.staged_report; SAVEPOINT s; UPDATE test.reading SET valid = submission IN (SELECT id FROM there);
SELECT 'wrong', s.* FROM (SELECT * FROM test.streak EXCEPT ALL SELECT * FROM test.alert) s; SELECT 'wrong', a.* FROM (SELECT * FROM test.alert EXCEPT ALL SELECT * FROM test.streak) a; ROLLBACK};
	for (1 .. 100)
	{
		my ($status, $out) = $node->psql('postgres', $look);
		($wrong, $waiting) = ($out, $out =~ /^waiting\|(\d+)$/m);
		last if $status == 0 && defined $waiting;
		select undef, undef, undef, 0.05;
	}
	ok(defined $waiting && $wrong !~ /wrong/, "after $fault what is stored has its alerts") or diag $wrong;
	$between++ if $waiting && $waiting < $reports;
	kick_workers($node, 'postgres');
}
cmp_ok($between, '>', 0, 'in the middle of a drain');
drained($node, 'postgres', 'after three crashes');
is(value_of(q{SELECT count(*) FROM clinical.submission WHERE status = 'accepted'}), $reports, 'each report is accepted');
cmp_ok(value_of('SELECT count(*) FROM test.streak'), '>', $patients, 'there are streaks');
right('after three crashes');
speed_up($node, 'postgres');

# --- an evaluation that is interrupted goes on where it was
slow_alerts(0.02);
my $n = 0;
for my $fault ('kill -9 of the worker', 'an immediate stop', 'the end of the worker')
{
	my $code = 'EVAL' . ++$n;
	$node->safe_psql('postgres', "INSERT INTO test.watch VALUES ('$code', 'systolic', '[90,140]', 2, 'any', 0, '0', 1)");
	rule($node, 'postgres', $code, days => 2);
	my $progress = "FROM clinical.rule_evaluation_progress WHERE code = '$code'";
	ok(wait_until($node, 'postgres', "SELECT status = 'running' AND patients_done > 0 AND patients_done < patients $progress"), "$code is being evaluated");
	my ($worker) = worker_pids($node, 'postgres');
	if ($fault =~ /kill/) { kill 'KILL', $worker }
	elsif ($fault =~ /stop/) { $node->stop('immediate'); start_again($node) }
	else { value_of("SELECT pg_terminate_backend($worker)") }
	wait_until($node, 'postgres', "SELECT count(*) = 1 $progress") or die 'the server does not come back';
	my $far = value_of("SELECT patients_done $progress");
	cmp_ok($far, '>', 0, "$code: after $fault it is known how far it was ($far)");
	kick_workers($node, 'postgres');
	ok(evaluated($node, 'postgres'), "$code: it goes on");
	is(value_of("SELECT status, patients, patients_done, percent $progress"), "done|$patients|$patients|100.0", "$code: and ends");
	right("$code: $fault");
}

# --- cancelled, it goes no further
rule($node, 'postgres', 'CANCEL', days => 2);
ok(wait_until($node, 'postgres', q{SELECT count(*) > 5 FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE r.code = 'CANCEL'}), 'another one is being evaluated');
is(value_of(q{SELECT status FROM clinical.cancel_rule_evaluation('CANCEL')}), 'cancelled', 'it is cancelled');
is(sqlstate($node, 'postgres', q{SELECT clinical.cancel_rule_evaluation('CANCEL')}), '55000', 'once');
my $raised = q{SELECT count(*) FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE r.code = 'CANCEL'};
select undef, undef, undef, 1;
my $there = value_of($raised);
select undef, undef, undef, 0.5;
my $later = value_of($raised);
is($later, $there, 'what it has raised stays, and nothing is added');
# the patients that it was at, which took about 20 ms
is(value_of(q{SELECT max(a.opened_at) < (SELECT max(ended_at) FROM clinical.rule_evaluation WHERE status = 'cancelled') + interval '500 ms' FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE r.code = 'CANCEL'}), 't',
	'from that moment on');
cmp_ok($later, '<', value_of(q{SELECT count(*) FROM test.streak WHERE rule = 'EVAL1'}), 'that is not all');
is(value_of(q{SELECT status, ended_at - started_at < interval '30 seconds' FROM clinical.rule_evaluation_progress WHERE code = 'CANCEL'}), 'cancelled|t', 'so it says');
slow_alerts(0);
# changed, it is evaluated by the version in force alone, and nobody is told twice
$node->safe_psql('postgres', q{INSERT INTO test.watch VALUES ('CANCEL', 'systolic', '[90,140]', 2, 'any', 0, '0', 1);
SELECT clinical.change_rule('CANCEL', clinical.rule_json('CANCEL') || '{"severity": "critical"}', 'more urgent')});
ok(evaluated($node, 'postgres'), 'changed, it is evaluated again');
right('the rest by the new version');
is(value_of(q{SELECT rule_version, count(*) FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE r.code = 'CANCEL' GROUP BY 1 ORDER BY 1 LIMIT 1}), "1|$later", 'each keeps the version that raised it');

# --- rules change under a worker that runs, and under a session that processes
my $other = session($node, 'postgres');
my ($pid) = worker_pids($node, 'postgres');
my $day = 0;
sub single
{
	my ($patient, $value, $how) = @_;
	$day++;
	my $sql = "SELECT outcome FROM clinical.submit_report('$patient', '{\"weight\": $value}', captured_at => '2026-03-01 12:00+00'::timestamptz + $day * interval '2 days')";
	if ($how eq 'worker') { $node->safe_psql('postgres', $sql); $node->safe_psql('postgres', 'SELECT clinical.wait_until_drained()') }
	else { answers($other, "$sql; SELECT clinical.process_reports()") }
	return value_of("SELECT string_agg(r.code || a.rule_version, ' ' ORDER BY r.code) FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE a.patient_id = '$patient' AND a.onset = '2026-03-01'::date + $day * 2");
}
for my $how ('worker', 'session')
{
	switch_workers($node, 'off') if $how eq 'session';
	my $code = uc substr $how, 0, 1;
	my $item = '[{"item": "weight", "range": "[50,90]"}]';
	is(single('F1', 40, $how), '', "$how: no rule");
	rule($node, 'postgres', $code, kind => '"threshold"', days => undef, items => $item);
	is(single('F1', 40, $how), "${code}1", "$how: a new rule counts");
	$node->safe_psql('postgres', qq{SELECT clinical.change_rule('$code', clinical.rule_json('$code') || '{"items": [{"item": "weight", "range": "[30,60]"}]}', 'other range')});
	is(single('F1', 40, $how), '', "$how: changed, it sees what it says now");
	is(single('F1', 70, $how), "${code}2", "$how: and raises by that");
	$node->safe_psql('postgres', qq{BEGIN; SELECT clinical.retire_rule('$code', 'r'); ROLLBACK});
	is(single('F1', 70, $how), "${code}2", "$how: what was rolled back does not count");
	$node->safe_psql('postgres', qq{SELECT clinical.retire_rule('$code', 'r')});
	is(single('F1', 70, $how), '', "$how: retired, it raises nothing");
	is((worker_pids($node, 'postgres'))[0], $pid, 'by the same worker') if $how eq 'worker';
}
is(answers($other, q{BEGIN; SELECT version FROM clinical.create_rule('{"code": "OWN", "kind": "threshold", "severity": "info", "items": [{"item": "weight", "range": "[50,90]"}], "project": "MON"}');
SELECT outcome FROM clinical.submit_report('F2', '{"weight": 40}', captured_at => '2026-04-01 12:00+00'); SELECT clinical.process_reports();
SELECT count(*) FROM clinical.alert WHERE patient_id = 'F2' AND onset = '2026-04-01'; ROLLBACK;
SELECT outcome FROM clinical.submit_report('F2', '{"weight": 40}', captured_at => '2026-04-01 12:00+00'); SELECT clinical.process_reports();
SELECT count(*) FROM clinical.alert WHERE patient_id = 'F2' AND onset = '2026-04-01'}), "1\nqueued\n1\n1\nqueued\n1\n0", 'a rule of the own transaction counts in it, and not when that was rolled back');
end_session($other);

# --- listeners hear at the commit, and of nothing that was rolled back
my $listener = session($node, 'postgres');
my $processor = session($node, 'postgres');
answers($listener, 'LISTEN clinical_alert');
rule($node, 'postgres', 'HEARD', kind => '"threshold"', days => undef, severity => '"critical"', items => '[{"item": "weight", "range": "[50,90]"}]');
$node->safe_psql('postgres', q{SELECT clinical.submit_report('F3', '{"weight": 40}', captured_at => '2026-04-01 12:00+00')});
for my $end (qw(ROLLBACK COMMIT))
{
	is(answers($processor, q{BEGIN; SELECT clinical.process_reports(); SELECT count(*) FROM clinical.alert WHERE patient_id = 'F3' AND onset = '2026-04-01'}), "1\n1", 'a report is processed, and has raised an alert');
	unlike(answers($listener, 'SELECT 1'), qr/clinical_alert/, 'nobody hears of it yet');
	answers($processor, $end);
	my $heard = answers($listener, 'SELECT 1');
	$end eq 'COMMIT' ? like($heard, qr/"rule": "HEARD", "severity": "critical", "event": "opened"\}/, 'at the commit') : unlike($heard, qr/clinical_alert/, 'nor when it is rolled back');
	unlike($heard, qr/F3|weight|40/, 'nothing of the patient') if $end eq 'COMMIT' && $heard =~ s/"alert": "[^"]*"|PID \d+//g;
}
end_session($_) for $listener, $processor;

# --- dumped with an evaluation that waits, and restored: the same rows, and it goes on
rule($node, 'postgres', 'WAITS', days => 2, items => '[{"item": "systolic", "range": "[100,140]"}]');
$node->safe_psql('postgres', q{INSERT INTO test.watch VALUES ('WAITS', 'systolic', '[100,140]', 2, 'any', 0, '0', 1);
SELECT count(clinical.acknowledge_alert(patient_id, id, 'seen')) FROM (SELECT * FROM clinical.alert WHERE status = 'open' ORDER BY id LIMIT 40) a;
SELECT count(clinical.close_alert(patient_id, id, 'done')) FROM (SELECT * FROM clinical.alert WHERE status IN ('open', 'acknowledged') ORDER BY id LIMIT 20) a});
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE template0');
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'dump');
{
	local $ENV{PGOPTIONS} = '-c clinical.restore=on';
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'), '-f', $dump ], 'restore');
}
for my $table (qw(monitor_rule monitor_rule_version rule_evaluation alert alert_event))
{
	my $rows = "SELECT md5(string_agg(t::text, E'\\n' ORDER BY t::text)), count(*) > 0 FROM clinical.$table t";
	is($node->safe_psql('copy', $rows), value_of($rows), "restored: $table");
}
is($node->safe_psql('copy', 'SELECT string_agg(status, $$ $$ ORDER BY id DESC) LIKE $$queued %$$ FROM clinical.rule_evaluation'), 't', 'restored: an evaluation waits');
switch_workers($node, 'on');
ok(evaluated($node, 'copy'), 'restored: it is done');
right('restored', 'copy');
# a report of the next day: what was in a row is so still
$node->safe_psql('copy', q{INSERT INTO test.reading SELECT DISTINCT ON (patient) patient, 'systolic', 160, at + interval '1 day', zone, gen_random_uuid() FROM test.reading ORDER BY patient, at DESC});
my $before = $node->safe_psql('copy', 'SELECT count(*) FROM clinical.alert');
$node->safe_psql('copy', q{SELECT count(clinical.submit_report(r.patient, jsonb_build_object('systolic', r.value), r.submission, r.at)) FROM test.reading r WHERE value = 160});
drained($node, 'copy', 'restored');
right('restored, with another day', 'copy');
is($node->safe_psql('copy', q{SELECT count(*) > 20 FROM clinical.alert a JOIN test.streak s ON s.patient = a.patient_id AND s.onset = a.onset WHERE a.opened_at < (SELECT max(started_at) FROM clinical.rule_evaluation) AND a.last_day > date '2026-02-11'}), 't',
	'restored: alerts that were there have grown');
is($node->safe_psql('copy', q{SELECT count(*) FROM clinical.alert WHERE status = 'closed'}), 20, 'restored: what was closed is');

# --- the extension is dropped and made again, in a session that has its rules in mind
switch_workers($node, 'off');
$node->safe_psql('postgres', 'CREATE DATABASE again');
my $session = session($node, 'again');
for my $time (1, 2)
{
	my $range = $time == 1 ? '[50,90]' : '[50,100]';
	is(answers($session, qq{SET client_min_messages = warning; CREATE EXTENSION clinical;
\\o /dev/null
SELECT clinical.create_center('A', '1'), clinical.create_project_with_centers('A', '{1}', 'A');
SELECT clinical.create_instrument('{"code": "i", "version": "1", "items": [{"code": "w", "type": "decimal"}]}');
SELECT clinical.use_instrument('A', 'i', true);
SELECT clinical.enroll_patient('A1', NULL, NULL, 'A', 1, effective_on => '2026-01-10');
SELECT clinical.create_rule('{"code": "R", "kind": "threshold", "severity": "info", "items": [{"item": "w", "range": "$range"}]}');
SELECT clinical.submit_report('A1', '{"w": 95}', captured_at => '2026-02-01 12:00+00'), clinical.submit_report('A1', '{"w": 105}', captured_at => '2026-02-03 12:00+00');
\\o
SELECT clinical.process_reports();
SELECT string_agg(onset::text, ' ' ORDER BY onset) FROM clinical.alert;
DROP EXTENSION clinical; DROP SCHEMA clinical}), $time == 1 ? "2\n2026-02-01 2026-02-03" : "2\n2026-02-03", "made $time times it works");
}
end_session($session);
is(log_count($node, qr/PANIC|TRAP|terminated by signal (?!9)/), 0, 'nothing crashed by itself');

done_testing();
