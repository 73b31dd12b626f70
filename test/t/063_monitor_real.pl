# Real data: each published rule over its data set, submitted report by report in shuffled order, gives the
# published streaks.  Half of the rules are there before the data, half are made afterwards.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use Monitor;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = ($ENV{CLINICAL_SHARED} // '') . '/data';
plan skip_all => 'no real data: CLINICAL_SHARED does not name a folder that has them'
  unless $ENV{CLINICAL_SHARED} && -r "$source/streaks.csv";

my $node = monitor_node('monitor_real', 'clinical.max_workers = 3', 'shared_buffers = 256MB');
my @psql = ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'));

# Loads a CSV file, all columns as text.
sub load
{
	my ($name, $file) = @_;
	open my $handle, '<', $file or die "cannot open $file: $!";
	my $header = <$handle> =~ s/\r?\n//r;
	close $handle;
	my $columns = join ', ', map { qq("$_" text) } split /,/, $header;
	$node->command_ok([ @psql, '-c', qq(CREATE TABLE csv."$name" ($columns)), '-c', qq(\\copy csv."$name" FROM '$file' WITH (FORMAT csv, HEADER)) ], $name);
}

$node->safe_psql('postgres', 'CREATE SCHEMA csv');
load('rules', "$source/rules.csv");
load('streaks', "$source/streaks.csv");
load($_, "$source/$_") for split /\n/, $node->safe_psql('postgres', 'SELECT DISTINCT file FROM csv.rules ORDER BY 1');

# One report a row of a file, with the values of it that rules are about; a day alone is its noon.
$node->safe_psql('postgres', q{
CREATE TABLE csv.report (project text, patient text, at timestamp, zone text, data jsonb, number int GENERATED ALWAYS AS IDENTITY);
INSERT INTO csv.report SELECT 'HD', patient_id, entry_date::date + time '12:00', 'Europe/Amsterdam', jsonb_build_object('headache', headache::numeric)
  FROM csv."headache_diary/diary.csv" WHERE headache <> '';
INSERT INTO csv.report SELECT 'BP', patient_id, measured_at_local::timestamp, 'America/Chicago',
       jsonb_strip_nulls(jsonb_build_object('sbp_mmhg', NULLIF(sbp_mmhg, '')::numeric, 'dbp_mmhg', NULLIF(dbp_mmhg, '')::numeric)) FROM csv."home_bp/readings.csv";
INSERT INTO csv.report SELECT 'CG', patient_id, measured_at_local::timestamp, 'America/Bogota', jsonb_build_object('glucose_mgdl', glucose_mgdl::numeric)
  FROM csv."cgm_hall2018/readings.csv" WHERE glucose_mgdl <> '';
INSERT INTO csv.report SELECT 'MN', '1', date::date + time '12:00', 'Europe/Amsterdam', d FROM csv."mood_n1/beeps.csv",
       jsonb_strip_nulls(jsonb_build_object('mood_down', NULLIF(mood_down, '')::numeric, 'phy_tired', NULLIF(phy_tired, '')::numeric, 'mood_relaxed', NULLIF(mood_relaxed, '')::numeric)) d WHERE d <> '{}';
INSERT INTO csv.report SELECT 'CP', "USUBJID", "VSDTC"::date + time '12:00', 'America/New_York', jsonb_build_object('VSSTRESN', "VSSTRESN"::numeric)
  FROM csv."cdiscpilot01/vital_signs.csv" WHERE "VSTESTCD" = 'SYSBP' AND "VSSTRESN" <> '';
SELECT clinical.create_project_with_centers(p, '{1}', p) FROM (SELECT DISTINCT project AS p FROM csv.report) s;
SELECT clinical.enroll_patient(project || '-' || patient, NULL, NULL, project, 1, effective_on => '1990-01-01') FROM (SELECT DISTINCT project, patient FROM csv.report) s;
SELECT clinical.create_instrument('{"code": "real", "version": "1", "items": [{"code": "headache", "type": "decimal"}, {"code": "sbp_mmhg", "type": "decimal"},
    {"code": "dbp_mmhg", "type": "decimal"}, {"code": "glucose_mgdl", "type": "decimal"}, {"code": "mood_down", "type": "decimal"},
    {"code": "phy_tired", "type": "decimal"}, {"code": "mood_relaxed", "type": "decimal"}, {"code": "VSSTRESN", "type": "decimal"}]}');
SELECT clinical.use_instrument(p, 'real', true) FROM (SELECT DISTINCT project AS p FROM csv.report) s});

# Makes the rules of which the number is odd (1) or even (0).
sub make_rules
{
	my ($odd) = @_;
	my $definition = q{jsonb_build_object('code', rule, 'project', CASE split_part(file, '/', 1) WHEN 'headache_diary' THEN 'HD' WHEN 'home_bp' THEN 'BP'
        WHEN 'cgm_hall2018' THEN 'CG' WHEN 'mood_n1' THEN 'MN' ELSE 'CP' END,
    'kind', 'streak', 'severity', 'info', 'days', n::int, 'aggregate', agg, 'gap', maxgap::int, 'min_readings', minper::int,
    'day_start', to_char(daystart_min::int * interval '1 minute', 'HH24:MI'),
    'items', jsonb_build_array(jsonb_build_object('item', value_col, 'range', CASE WHEN low IS NULL THEN '(' ELSE '[' || low END || ',' || CASE WHEN high IS NULL THEN ')' ELSE high || ']' END)))};
	$node->safe_psql('postgres', "SELECT clinical.create_rule($definition) FROM (SELECT *, row_number() OVER () AS number FROM csv.rules) r WHERE number % 2 = $odd");
	ok(evaluated($node, 'postgres'), 'rules are evaluated');
}

make_rules(1);
$node->safe_psql('postgres', q{
CREATE TABLE csv.call AS SELECT row_number() OVER (ORDER BY md5(number::text)) / 250 AS call,
       jsonb_build_object('patient_id', project || '-' || patient, 'submission_id', md5(number::text)::uuid, 'captured_at', at AT TIME ZONE zone, 'time_zone', zone, 'report_data', data) AS report
  FROM csv.report;
CREATE TABLE csv.answer (outcome text);
DO $$ BEGIN FOR i IN 0 .. (SELECT max(call) FROM csv.call) LOOP
    INSERT INTO csv.answer SELECT outcome FROM clinical.submit_reports((SELECT jsonb_agg(report ORDER BY report -> 'submission_id') FROM csv.call WHERE call = i));
    COMMIT;
END LOOP; END $$});
is($node->safe_psql('postgres', q{SELECT count(*) FILTER (WHERE outcome <> 'queued') FROM csv.answer}), 0, 'all reports are taken');
drained($node, 'postgres', 'real data', 300);
is($node->safe_psql('postgres', q{SELECT count(*) = (SELECT count(*) FROM csv.report) FROM clinical.submission}), 't', 'all reports are stored');
make_rules(0);

my $published = 'SELECT rule, patient_id, onset::date, trigger_day::date, last_day::date, length::int FROM csv.streaks';
my $raised = q{SELECT r.code, substr(a.patient_id, 4), a.onset, a.trigger_day, a.last_day, a.out_days
  FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE a.supported};
my $tested = q{SELECT r.code, substr(b.patient_id, 4), b.onset, b.trigger_day, b.last_day, b.out_days
  FROM clinical.monitor_rule r, clinical.rule_backtest(clinical.rule_json(r.code), '(,)') b
  JOIN clinical.patient p ON p.id = b.patient_id WHERE p.project_id = r.project_id};
for (['alerts', $raised], ['back-tests', $tested])
{
	my ($name, $query) = @$_;
	is($node->safe_psql('postgres', "SELECT count(*) FROM ($query) q"), $node->safe_psql('postgres', 'SELECT count(*) FROM csv.streaks'), "$name: as many as published");
	is($node->safe_psql('postgres', "SELECT count(*) FROM ($published EXCEPT ALL $query) q"), 0, "$name: all published ones");
	is($node->safe_psql('postgres', "SELECT count(*) FROM ($query EXCEPT ALL $published) q"), 0, "$name: no others");
}
sound($node, 'postgres', 'real data');

done_testing();
