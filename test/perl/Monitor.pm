# What the tests of monitoring share: a study with readings, rules, and what must come out.
package Monitor;
use strict;
use warnings;
use Exporter 'import';
use Intake;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(monitor_node make_monitored rule evaluated alerts streaks_sql differences);

# A server with a study in database postgres; more lines for its configuration.
sub monitor_node
{
	my ($name, @conf) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', join "\n", "shared_preload_libraries = 'clinical'", 'restart_after_crash = on', 'max_connections = 40',
		"clinical.worker_restart_delay = '100ms'", @conf);
	$node->start;
	make_monitored($node, 'postgres');
	return $node;
}

# A study whose patients report a systolic and a diastolic pressure, at most 300, and a weight.
sub make_monitored
{
	my ($node, $database) = @_;
	my $pressure = q("type": "decimal", "checks": [{"comparator": "LE", "values": [300], "soft_hard": "Hard"}]);
	$node->safe_psql($database, qq{
CREATE EXTENSION clinical;
SELECT clinical.create_center('Monitoring', '1', 'Europe/Amsterdam');
SELECT clinical.create_project_with_centers('Monitoring', '{1}', 'MON');
SELECT clinical.create_instrument('{"code": "bp", "version": "1", "items": [
    {"code": "systolic", $pressure}, {"code": "diastolic", $pressure}, {"code": "weight", "type": "decimal"}]}');
SELECT clinical.use_instrument('MON', 'bp', true)});
}

# Makes a rule: its code, and the keys that differ from those of the founding case.
sub rule
{
	my ($node, $database, $code, %more) = @_;
	my %keys = (code => qq("$code"), project => '"MON"', kind => '"streak"', severity => '"warning"', days => 3,
		items => '[{"item": "systolic", "range": "[90,140]"}]', %more);
	my $definition = '{' . join(', ', map { qq("$_": $keys{$_}) } grep { defined $keys{$_} } sort keys %keys) . '}';
	$node->safe_psql($database, "SELECT clinical.create_rule('$definition')");
	return $definition;
}

# Waits until no evaluation of a rule is queued or running.
sub evaluated
{
	my ($node, $database) = @_;
	return wait_until($node, $database, q{SELECT count(*) FROM clinical.rule_evaluation WHERE status IN ('queued', 'running')}, 0);
}

# The live alerts of a patient and a rule: onset -> trigger day (days).
sub alerts
{
	my ($node, $database, $patient, $rule) = @_;
	return $node->safe_psql($database, qq{
SELECT string_agg(format('%s -> %s (%s)', onset, trigger_day, out_days), ', ' ORDER BY onset)
  FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id
 WHERE a.patient_id = '$patient' AND r.code = '$rule' AND a.supported AND a.status IN ('open', 'acknowledged', 'closed')});
}

# What a streak is, by a window query over the readings of table test.reading, for each rule of table
# test.watch, in which a rule has a row for each item.
sub streaks_sql
{
	return q{
CREATE SCHEMA test;
CREATE TABLE test.reading (
    patient text, item text, value numeric, at timestamptz, zone text, submission uuid, valid boolean DEFAULT true,
    PRIMARY KEY (submission, item));
CREATE TABLE test.watch (
    rule text, item text, range numrange, days int, aggregate text, gap int, day_start interval, min_readings int);
CREATE VIEW test.streak AS
WITH item_day AS (      -- is an item out of range on a day?
    SELECT w.rule, r.patient, ((r.at AT TIME ZONE r.zone) - w.day_start)::date AS day, w.days, w.gap,
           CASE w.aggregate
                WHEN 'any' THEN bool_or(NOT r.value <@ w.range)
                WHEN 'all' THEN bool_and(NOT r.value <@ w.range)
                WHEN 'mean' THEN NOT avg(r.value) <@ w.range
                WHEN 'min' THEN NOT min(r.value) <@ w.range
                WHEN 'max' THEN NOT max(r.value) <@ w.range
                WHEN 'median' THEN NOT ((array_agg(r.value ORDER BY r.value))[(count(*) + 1) / 2]
                                      + (array_agg(r.value ORDER BY r.value))[(count(*) + 2) / 2]) / 2 <@ w.range
                WHEN 'last' THEN (array_agg(NOT r.value <@ w.range ORDER BY r.at DESC, r.submission DESC))[1]
           END AS is_out
      FROM test.watch w JOIN test.reading r ON r.item = w.item AND r.valid
     GROUP BY 1, 2, 3, w.item, w.range, w.days, w.gap, w.aggregate, w.min_readings
    HAVING count(*) >= w.min_readings),
day AS (                -- a day is out of range if any item is
    SELECT rule, patient, day, days, gap, bool_or(is_out) AS is_out FROM item_day GROUP BY 1, 2, 3, 4, 5),
neighbour AS (
    SELECT *, lag(day) OVER w AS previous, lag(is_out) OVER w AS previous_out
      FROM day WINDOW w AS (PARTITION BY rule, patient ORDER BY day)),
numbered AS (           -- a run begins after a day in range, or too long a gap
    SELECT *, count(*) FILTER (WHERE NOT (is_out AND COALESCE(previous_out, false) AND day - previous <= gap + 1))
              OVER (PARTITION BY rule, patient ORDER BY day) AS run
      FROM neighbour)
SELECT rule, patient, min(day) AS onset, (array_agg(day ORDER BY day))[days] AS trigger_day, max(day) AS last_day,
       count(*)::int AS out_days
  FROM numbered WHERE is_out GROUP BY rule, patient, run, days HAVING count(*) >= days;
CREATE VIEW test.alert AS
SELECT r.code AS rule, a.patient_id AS patient, a.onset, a.trigger_day, a.last_day, a.out_days
  FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id
 WHERE a.supported AND a.status IN ('open', 'acknowledged', 'closed')};
}

# What differs between the alerts that there are and those that there should be.
sub differences
{
	my ($node, $database) = @_;
	return $node->safe_psql($database, q{
(SELECT 'missing', s.* FROM (SELECT * FROM test.streak EXCEPT ALL SELECT * FROM test.alert) s
 UNION ALL SELECT 'unfounded', a.* FROM (SELECT * FROM test.alert EXCEPT ALL SELECT * FROM test.streak) a) ORDER BY 2, 3, 4 LIMIT 20});
}

1;
