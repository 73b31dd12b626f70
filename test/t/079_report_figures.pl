# Published figures: the CDISC pilot study, loaded by the demo's scripts and submitted as reports, gives in the
# rows of reports split by arm what its publishers print, to the last printed digit; and the quantiles and
# the figures of each quarter that R and Python computed from the same files.
#
# Analysis sets, derived values and flags come as the data set gives them, as items of questionnaires or keys
# of the patient's record.  Groups of age, of the disease's duration and of BMI are not in these files: they are
# made here of the values.  What the rows of a report cannot express is counted and named at the end.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $data = ($ENV{CLINICAL_SHARED} // '') . '/data';
my $source = "$data/cdiscpilot01";
plan skip_all => 'no real data: CLINICAL_SHARED does not name a folder that has them'
  unless $ENV{CLINICAL_SHARED} && -r "$source/subjects.csv" && -r "$data/reference.csv";

my $node = PostgreSQL::Test::Cluster->new('report_figures');
$node->init;
$node->append_conf('postgresql.conf', join "\n", "shared_preload_libraries = 'clinical'", 'max_worker_processes = 12', 'clinical.max_workers = 3', 'fsync = off', '');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION clinical; CREATE SCHEMA csv; CREATE SCHEMA fig');

# --- the study ----------------------------------------------------------------------------------

my @psql = ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $node->connstr('postgres'));
my $demo = `pwd` =~ s/\n//r . '/demo';
my ($linked, $csv) = map { my $dir = $node->basedir . "/$_"; mkdir $dir or die "cannot make $dir: $!"; $dir } qw(source csv);

# answers to questionnaires stay out: of all these the figures need two totals
symlink "$source/$_", "$linked/$_" or die "cannot link $_: $!" for qw(subjects.csv vital_signs.csv);
$node->command_ok([ @psql, '-v', "source=$linked", '-v', "target=$csv", '-f', "$demo/cdiscpilot01.sql" ], 'converted');

# A report is taken from the day of enrolment on until the patient left.  Here there are visits before and after
# these days: patients are enrolled on their first day, and leave when their reports have come.
$node->command_ok([ @psql, '-f', "$demo/layout.sql", '-v', "dir=$csv", '-f', "$demo/import.sql",
	'-c', q{CREATE TABLE fig.ending AS SELECT * FROM study.event WHERE status <> 'enrolled'},
	'-c', q{DELETE FROM study.event WHERE status <> 'enrolled'},
	'-c', q{UPDATE study.event e SET effective_on = p.status_on FROM study.patient p WHERE p.id = e.patient_id}, '-f', "$demo/load.sql" ], 'loaded');

# Loads a CSV file, all columns as text; of the rows that a pattern fits, if there is one.
sub load
{
	my ($name, $file, $pattern) = @_;
	my ($header) = slurp_file($file) =~ /^([^\r\n]*)/;
	my $columns = join ', ', map { qq("$_" text) } map { lc } split /,/, $header;
	my $from = $pattern ? "PROGRAM 'grep -E \"^USUBJID|$pattern\" $file'" : "'$file'";
	$node->command_ok([ @psql, '-c', "CREATE TABLE csv.$name ($columns)", '-c', "\\copy csv.$name FROM $from WITH (FORMAT csv, HEADER)" ], $name);
}
load($_, "$source/$_.csv") for qw(subjects vital_signs adverse_events adam_adas_total adam_cibic oracle_vs_quantiles oracle_quarterly);
load('totals', "$source/questionnaires.csv", ',(ACTOT|NPTOT),');
load('reference', "$data/reference.csv");

# --- questionnaires and reports -----------------------------------------------------------------

$node->safe_psql('postgres', <<'SQL');
ANALYZE;
CREATE VIEW fig.subject AS
    SELECT s.*, CASE WHEN age::integer < 65 THEN '<65 yrs' WHEN age::integer <= 80 THEN '65-80 yrs' ELSE '>80 yrs' END AS agegr,
           CASE WHEN durdis::numeric < 12 THEN '<12 months' ELSE '>=12 months' END AS durgr,
           CASE WHEN bmibl::numeric < 25 THEN '<25' WHEN bmibl::numeric < 30 THEN '25-<30' WHEN bmibl <> '' THEN '>=30' END AS bmigr
      FROM csv.subjects s WHERE arm <> 'Screen Failure';
CREATE VIEW fig.pressure AS
    SELECT v.* FROM csv.vital_signs v JOIN fig.subject USING (usubjid) WHERE vstestcd IN ('SYSBP', 'DIABP', 'PULSE');
-- The last record of each test and position, done or not.
CREATE VIEW fig.last_pressure AS
    SELECT DISTINCT ON (usubjid, vstestcd, vstptnum) * FROM fig.pressure WHERE visitnum IN ('5', '7', '8', '9', '10', '11', '12', '13')
     ORDER BY usubjid, vstestcd, vstptnum, visitnum::numeric DESC;
CREATE VIEW fig.event AS
    SELECT a.*, CASE WHEN length(aestdtc) >= 10 THEN 'day' ELSE 'partial' END AS aeonset, CASE WHEN aetrtem = 'Y' THEN aebodsys END AS tebodsys,
           left(CASE WHEN length(aestdtc) >= 10 THEN aestdtc ELSE aedtc END, 10)::date AS day
      FROM csv.adverse_events a JOIN fig.subject USING (usubjid);
-- A number as an answer; none: not asked.
CREATE FUNCTION fig.number(text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT to_jsonb(nullif($1, '')::numeric) $$;

CREATE TABLE fig.report (number integer GENERATED ALWAYS AS IDENTITY, patient_id text, instrument text, at timestamp, data jsonb);
INSERT INTO fig.report (patient_id, instrument, at, data)
-- analysis sets, and what was found at the beginning; of the day of the first dose
SELECT usubjid, 'population', rfstdtc::date + time '12:00', jsonb_strip_nulls(jsonb_build_object(
           'ITTFL', ittfl, 'SAFFL', saffl, 'EFFFL', efffl, 'COMP24FL', comp24fl, 'DCREASCD', dcreascd, 'AGEGR', agegr, 'DURGR', durgr, 'BMIGR', bmigr,
           'MMSETOT', fig.number(mmsetot), 'DURDIS', fig.number(durdis), 'EDUCLVL', fig.number(educlvl),
           'HEIGHTBL', fig.number(heightbl), 'WEIGHTBL', fig.number(weightbl), 'BMIBL', fig.number(bmibl)))
  FROM fig.subject
UNION ALL
SELECT usubjid, 'disposition', left(dispdtc, 10)::date + time '12:00', jsonb_build_object('DISPOSITION', disposition) FROM fig.subject
UNION ALL
-- a visit: pressure and pulse, at each time point; there can be two visits on a day
SELECT usubjid, 'vital_signs', day + time '12:00' + visitnum::numeric * interval '1 minute', jsonb_build_object('reading', jsonb_agg(reading ORDER BY reading ->> 'TIMEPOINT'))
  FROM (SELECT usubjid, visitnum, vsdtc::date AS day,
               jsonb_build_object('TIMEPOINT', vstptnum, 'POINT', visitnum || '/' || vstptnum)
               || jsonb_object_agg(vstestcd, CASE WHEN vsstat = 'NOT DONE' THEN '{"absent": "not-performed"}' ELSE fig.number(vsstresn) END)
               || coalesce(jsonb_object_agg('HIGH', CASE WHEN vsstresn::numeric > 140 THEN 'Y' ELSE 'N' END)
                           FILTER (WHERE vstestcd = 'SYSBP' AND vstptnum = '815' AND vsstresn <> ''), '{}') AS reading
          FROM fig.pressure GROUP BY usubjid, visitnum, vstptnum, vsdtc) r
 GROUP BY usubjid, visitnum, day
UNION ALL
-- the analysis's baseline and end of treatment, each by the flag of the record
SELECT usubjid, 'vital_signs_analysis', max(day) + time '12:00', jsonb_build_object('record', jsonb_agg(record ORDER BY record ->> 'POINT'))
  FROM (SELECT usubjid, max(vsdtc)::date AS day, jsonb_build_object('POINT', point || '/' || vstptnum)
               || jsonb_object_agg('A' || vstestcd, CASE WHEN vsstat = 'NOT DONE' THEN '{"absent": "not-performed"}' ELSE fig.number(vsstresn) END) AS record
          FROM (SELECT 'Baseline' AS point, p.* FROM fig.pressure p WHERE vsblfl = 'Y' UNION ALL SELECT 'End of Trt.', l.* FROM fig.last_pressure l) d
         GROUP BY usubjid, point, vstptnum) r
 GROUP BY usubjid
UNION ALL
-- OBS: of the window, without what was carried forward
SELECT usubjid, 'adas', max(adt)::date + time '12:00', jsonb_build_object('record', jsonb_agg(jsonb_strip_nulls(jsonb_build_object('POINT', avisit,
           'AVAL', fig.number(aval), 'BASE', fig.number(base), 'CHG', fig.number(chg), 'AVAL_OBS', CASE WHEN dtype IS NULL THEN fig.number(aval) END,
           'BASE_OBS', CASE WHEN dtype IS NULL THEN fig.number(base) END, 'CHG_OBS', CASE WHEN dtype IS NULL THEN fig.number(chg) END)) ORDER BY avisitn::integer))
  FROM csv.adam_adas_total WHERE anl01fl = 'Y' GROUP BY usubjid
UNION ALL
SELECT usubjid, 'cibic', max(adt)::date + time '12:00', jsonb_build_object('record', jsonb_agg(jsonb_build_object('POINT', avisit, 'CIBIC', aval) ORDER BY avisitn::integer))
  FROM csv.adam_cibic WHERE anl01fl = 'Y' GROUP BY usubjid
UNION ALL
SELECT usubjid, 'totals', max(qsdtc)::date + time '12:00', jsonb_build_object('POINT', 'Baseline') || jsonb_object_agg(qstestcd, fig.number(qsstresn))
  FROM csv.totals WHERE qsblfl = 'Y' GROUP BY usubjid
UNION ALL
-- what began before the first day on study is history
SELECT e.usubjid, 'adverse_event', day + time '12:00', jsonb_strip_nulls(jsonb_build_object('AEDECOD', aedecod, 'AEBODSYS', aebodsys, 'TEBODSYS', tebodsys,
           'AETRTEM', nullif(aetrtem, ''), 'AESER', aeser, 'AEONSET', aeonset))
  FROM fig.event e JOIN fig.subject s USING (usubjid) WHERE day >= dmdtc::date;

-- The items are those of the reports; codes are those that occur.
CREATE TABLE fig.answer AS
    SELECT r.instrument, g.key AS "group", a.key AS item, a.value
      FROM fig.report r, jsonb_each(r.data) g, jsonb_array_elements(CASE jsonb_typeof(g.value) WHEN 'array' THEN g.value END) e, jsonb_each(e) a
    UNION ALL
    SELECT r.instrument, NULL, a.key, a.value FROM fig.report r, jsonb_each(r.data) a WHERE jsonb_typeof(a.value) <> 'array';
CREATE TABLE fig.item AS
    SELECT instrument, "group", jsonb_agg(jsonb_strip_nulls(jsonb_build_object('code', item, 'type', CASE WHEN codes IS NULL THEN 'decimal' ELSE 'coded' END, 'code_list', codes,
               'unit', CASE WHEN item ~ 'BP$' THEN 'mm[Hg]' WHEN item ~ 'PULSE$' THEN '/min' WHEN item = 'WEIGHTBL' THEN 'kg' WHEN item = 'HEIGHTBL' THEN 'cm' END)) ORDER BY item) AS items
      FROM (SELECT instrument, "group", item, jsonb_agg(DISTINCT jsonb_build_object('code', value)) FILTER (WHERE jsonb_typeof(value) = 'string') AS codes
              FROM fig.answer GROUP BY 1, 2, 3) i GROUP BY 1, 2;
SELECT clinical.create_instrument(jsonb_build_object('code', instrument, 'version', '1', 'items',
           CASE WHEN "group" IS NULL THEN items ELSE jsonb_build_array(jsonb_build_object('code', "group", 'type', 'group', 'repeats', true, 'items', items)) END))
  FROM fig.item;
SELECT clinical.use_instrument('CDISCPILOT01', instrument, false, '1', '2012-01-01') FROM fig.item;

CREATE TABLE fig.outcome (outcome text);
DO $$ BEGIN FOR i IN 0 .. (SELECT max(number) FROM fig.report) / 500 LOOP
    INSERT INTO fig.outcome SELECT outcome FROM clinical.submit_reports((
        SELECT jsonb_agg(jsonb_build_object('patient_id', patient_id, 'submission_id', md5('figures ' || number)::uuid, 'captured_at', at AT TIME ZONE 'UTC',
                   'time_zone', 'UTC', 'instrument', instrument, 'originator', 'import', 'report_data', data)) FROM fig.report WHERE number / 500 = i));
    COMMIT;
END LOOP; END $$;
SQL
is($node->safe_psql('postgres', q{SELECT DISTINCT outcome FROM fig.outcome}), 'queued', 'all reports are taken');
drained($node, 'postgres', 'the study', 120);
is($node->safe_psql('postgres', q{SELECT 'set aside', s.reason_code, count(*) FROM clinical.set_aside s GROUP BY 2
UNION ALL SELECT 'not stored', NULL, n FROM (SELECT (SELECT count(*) FROM fig.report) - (SELECT count(*) FROM clinical.submission) AS n) x WHERE n <> 0}), '', 'all reports are accepted');
$node->safe_psql('postgres', q{
INSERT INTO clinical.enrollment_event (patient_id, status, effective_on, reason) SELECT patient_id, status, effective_on, reason FROM fig.ending ORDER BY effective_on, patient_id;
ANALYZE});

# --- reports, as rows ---------------------------------------------------------------------------

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE fig.figure (report text, table_name text, row_label text, statistic text, value numeric, PRIMARY KEY (report, table_name, row_label, statistic));
CREATE PROCEDURE fig.make(report text, period daterange, options jsonb) LANGUAGE sql AS $$
    INSERT INTO fig.figure SELECT report, r.table_name, r.row_label, r.statistic, r.value
      FROM clinical.report_rows(clinical.generate_report('CDISCPILOT01', period, options)) r WHERE r.value IS NOT NULL AND r.row_label !~ '\d{4}-\d{2}$'
$$;
CALL fig.make('arm', '[2012-01-01,2016-01-01)', '{"by": ["arm"], "sections": ["status", "demographics", "items"], "item_by": {"item": "POINT"},
    "above": {"DCREASCD": "COMP24FL", "AEBODSYS": "AETRTEM", "AEDECOD": "TEBODSYS"}}');
CALL fig.make('efficacy', '[2012-01-01,2016-01-01)', '{"by": ["arm", "flags.efficacy"], "sections": ["items"], "item_by": {"item": "POINT"}, "above": {"CIBIC": "POINT"}}');
CALL fig.make('arm and center', '[2012-01-01,2016-01-01)', '{"by": ["arm", "center"], "sections": ["items"]}');
CALL fig.make('center', '[2012-01-01,2016-01-01)', '{"by": ["center"], "sections": ["items"]}');
CALL fig.make('arm and race', '[2012-01-01,2016-01-01)', '{"by": ["arm", "race"], "sections": ["demographics"]}');
CALL fig.make('race', '[2012-01-01,2016-01-01)', '{"by": ["race"], "sections": ["demographics"]}');
DO $$ DECLARE q record; BEGIN
    FOR q IN SELECT quarter, make_date(left(quarter, 4)::integer, right(quarter, 1)::integer * 3 - 2, 1) AS day FROM csv.oracle_quarterly GROUP BY 1 LOOP
        CALL fig.make(q.quarter, daterange(q.day, (q.day + interval '3 months')::date),
                      '{"by": ["center"], "sections": ["items"], "item_by": {"item": "TIMEPOINT"}, "above": {"AETRTEM": "AEONSET", "AESER": "AETRTEM"}}');
    END LOOP;
END $$;
ANALYZE fig.figure;

-- --- which row of which report a figure is ---------------------------------------------------

-- A value in a row's label, and a label of parts that are there.
CREATE FUNCTION fig.word(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT CASE WHEN $1 ~ '[,="]' THEN to_json($1)::text ELSE $1 END $$;
CREATE FUNCTION fig.label(VARIADIC text[]) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(nullif(array_to_string($1, ', '), ''), 'total') $$;

-- What must come out: digits after the point, or none to be compared as it is; each is the sum (or what is said in
-- several rows) of the rows that it is mapped to, and a count without a row is 0.
CREATE TABLE fig.expected (number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, source text, line text, arm text, stat text, value numeric, digits integer);
INSERT INTO fig.expected (source, line, arm, stat, value, digits)
SELECT "table", "row", nullif(arm, 'Total'), stat, CASE match WHEN 'NO' THEN recomputed ELSE published END::numeric, scale(CASE match WHEN 'NO' THEN recomputed ELSE published END::numeric)
  FROM csv.reference WHERE dataset = 'cdiscpilot01';
INSERT INTO fig.expected (source, line, arm, stat, value, digits)
SELECT 'oracle_vs_quantiles.csv', concat_ws('/', vstestcd, visitnum, vstptnum), nullif(arm, 'Total'), s.key, s.value::numeric, CASE WHEN s.key IN ('mean', 'sd') THEN 10 END
  FROM csv.oracle_vs_quantiles q, jsonb_each_text(to_jsonb(q)) s WHERE s.key ~ '^(n|mean|sd|min|q1|median|q3|max|p\d+)$';
INSERT INTO fig.expected (source, line, arm, stat, value, digits)
SELECT 'oracle_quarterly.csv', quarter, nullif(site, 'ALL'), s.key, nullif(s.value, '')::numeric, CASE WHEN s.key ~ '(mean|sd)$' THEN 10 END
  FROM csv.oracle_quarterly q, jsonb_each_text(to_jsonb(q)) s WHERE s.key NOT IN ('quarter', 'site');

CREATE TABLE fig.map (number integer, report text, table_name text, row_label text, statistic text);
-- analysis sets and disposition; by site
INSERT INTO fig.map SELECT e.number, 'arm', 'codes', fig.label('arm = ' || arm, 'item ' || m.item, 'code ' || m.code), 'patients'
  FROM fig.expected e JOIN (VALUES ('Intent-To-Treat (ITT)', 'ITTFL', 'Y'), ('Safety', 'SAFFL', 'Y'), ('Efficacy', 'EFFFL', 'Y'), ('Complete Week 24', 'COMP24FL', 'Y'),
        ('Completed Week 24', 'COMP24FL', 'Y'), ('Early Termination (prior to Week 24)', 'COMP24FL', 'N')) m (line, item, code) USING (line)
 WHERE source IN ('14-1.01', '14-1.02');
INSERT INTO fig.map SELECT number, 'arm', 'patients', fig.label('arm = ' || arm, 'status completed'), 'patients' FROM fig.expected WHERE source = '14-1.01' AND line = 'Complete Study';
INSERT INTO fig.map SELECT e.number, 'arm', 'codes_within', fig.label('arm = ' || arm, 'item_above COMP24FL, code_above N, item DCREASCD', 'code ' || m.code), 'patients'
  FROM fig.expected e JOIN (VALUES ('Adverse Event', 'Adverse Event'), ('Death', 'Death'), ('Lack of Efficacy[2]', 'Lack of Efficacy'), ('Lost to Follow-up', 'Lost to Follow-up'),
        ('Subject decided to withdraw', 'Withdrew Consent'), ('Physician decided to withdraw subject', 'Physician Decision'), ('Protocol criteria not met', 'I/E Not Met'),
        ('Protocol violation', 'Protocol Violation'), ('Sponsor decision', 'Sponsor Decision')) m (line, code) USING (line)
 WHERE source = '14-1.02';
INSERT INTO fig.map SELECT number, CASE WHEN line = 'TOTAL' THEN 'arm' WHEN arm IS NULL THEN 'center' ELSE 'arm and center' END, 'codes',
       fig.label('arm = ' || arm, 'center = ' || substring(line FROM '^site (\d+)$'), CASE stat WHEN 'ITT' THEN 'item ITTFL' WHEN 'Eff' THEN 'item EFFFL' WHEN 'Com' THEN 'item COMP24FL' END, 'code Y'), 'patients'
  FROM fig.expected WHERE source = '14-1.03';
-- who they are; of two publications
INSERT INTO fig.map SELECT number, 'arm', 'ages', fig.label('arm = ' || arm), stat FROM fig.expected WHERE source ~ '14-2.01$' AND line IN ('Age (y)', 'AGE');
INSERT INTO fig.map SELECT e.number, 'arm', 'items', fig.label('arm = ' || arm, 'item ' || item, 'unit ' || unit), stat
  FROM fig.expected e JOIN (VALUES ('MMSE', 'MMSETOT', NULL), ('Duration of disease', 'DURDIS', NULL), ('Years of education', 'EDUCLVL', NULL), ('Baseline weight(kg)', 'WEIGHTBL', 'kg'),
        ('Baseline height(cm)', 'HEIGHTBL', 'cm'), ('Baseline BMI', 'BMIBL', NULL)) m (line, item, unit) ON e.line IN (m.line, m.item)
 WHERE source ~ '14-2.01$';
INSERT INTO fig.map SELECT e.number, 'arm', 'codes', fig.label('arm = ' || arm, 'item ' || item, 'code ' || fig.word(substr(e.line, length(m.line) + 1))), 'patients'
  FROM fig.expected e JOIN (VALUES ('Age (y) ', 'AGEGR'), ('Duration of disease ', 'DURGR'), ('Baseline BMI ', 'BMIGR')) m (line, item) ON starts_with(e.line, m.line)
 WHERE source = '14-2.01';
INSERT INTO fig.map SELECT e.number, 'arm', table_name, fig.label('arm = ' || arm, label), statistic
  FROM fig.expected e JOIN (VALUES ('Sex', 'sexes', 'sex F', 'total'), ('Sex Male', 'sexes', 'sex M', 'patients'), ('Sex Female', 'sexes', 'sex F', 'patients'),
        ('Race (Origin)', 'races', 'race WHITE', 'total'), ('Race (Origin) Hispanic', 'ethnicities', 'ethnicity HISPANIC OR LATINO', 'patients'),
        ('RACE WHITE', 'races', 'race WHITE', 'patients'), ('RACE BLACK OR AFRICAN AMERICAN', 'races', 'race BLACK OR AFRICAN AMERICAN', 'patients'),
        ('RACE AMERICAN INDIAN OR ALASKA NATIVE', 'races', 'race AMERICAN INDIAN OR ALASKA NATIVE', 'patients')) m (line, table_name, label, statistic) USING (line)
 WHERE source ~ '14-2.01$';
-- Hispanics are of no other origin
INSERT INTO fig.map SELECT e.number, CASE WHEN arm IS NULL THEN 'race' ELSE 'arm and race' END, 'ethnicities', fig.label('arm = ' || arm, 'race = ' || race, 'ethnicity NOT HISPANIC OR LATINO'), 'patients'
  FROM fig.expected e JOIN (VALUES ('Caucasian', 'WHITE'), ('African Descent', 'BLACK OR AFRICAN AMERICAN'), ('Other', 'AMERICAN INDIAN OR ALASKA NATIVE'), ('Other', 'ASIAN')) m (line, race)
       ON e.line = 'Race (Origin) ' || m.line
 WHERE source = '14-2.01';
-- efficacy
INSERT INTO fig.map SELECT number, 'efficacy', 'items_by', fig.label('arm = ' || arm, 'flags.efficacy = true', 'item ' || CASE x[3] WHEN ' baseline' THEN 'BASE' WHEN ' change' THEN 'CHG' ELSE 'AVAL' END
           || CASE x[2] WHEN ' (Windowed)' THEN '_OBS' ELSE '' END, 'code ' || x[1]), stat
  FROM fig.expected, regexp_match(line, '^(Baseline|Week \d+)( \(Windowed\)| LOCF)?( baseline| change)?$') x WHERE source = '14-3.10';
INSERT INTO fig.map SELECT number, 'efficacy', 'items_by', fig.label('arm = ' || arm, 'flags.efficacy = true', CASE line WHEN 'Baseline ACTOT' THEN 'item ACTOT' WHEN 'NPI-X baseline' THEN 'item NPTOT' END, 'code Baseline'), stat
  FROM fig.expected WHERE source IN ('14-3.10 via questionnaires.csv', '14-3.12');
INSERT INTO fig.map SELECT number, 'efficacy', 'codes_within', fig.label('arm = ' || arm, 'flags.efficacy = true', 'item_above POINT', 'code_above ' || x[1], 'item CIBIC', 'code ' || code), 'patients'
  FROM fig.expected, regexp_match(line, '^CIBIC\+ (Week \d+) (.*)$') x, LATERAL (SELECT array_position(ARRAY['Marked improvement', 'Moderate improvement', 'Minimal improvement', 'No Change', 'Minimal worsening',
           'Moderate worsening', 'Marked worsening'], x[2])) c (code)
 WHERE source = '14-3.13' AND (x[2] = 'n' OR code IS NOT NULL);
-- adverse events under treatment
INSERT INTO fig.map SELECT number, 'arm', CASE WHEN line ~ '^(SOC|PT) ' THEN 'codes_within' ELSE 'codes' END,
       CASE WHEN line ~ '^SOC ' THEN fig.label('arm = ' || arm, 'item_above AETRTEM, code_above Y, item AEBODSYS', 'code ' || fig.word(substr(line, 5)))
            WHEN line ~ '^PT ' THEN fig.label('arm = ' || arm, 'item_above TEBODSYS', 'code_above ' || fig.word((SELECT DISTINCT aebodsys FROM csv.adverse_events a WHERE a.aedecod = substr(line, 4))),
                                              'item AEDECOD', 'code ' || fig.word(substr(line, 4)))
            WHEN line = 'ANY BODY SYSTEM' THEN fig.label('arm = ' || arm, 'item AETRTEM, code Y') END, CASE stat WHEN 'subjects' THEN 'patients' WHEN 'events' THEN 'occurrences' END
  FROM fig.expected WHERE source = '14-5.01';
-- pressure and pulse
CREATE FUNCTION fig.sign(test text, unit_of text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT fig.label('item ' || test, 'unit ' || CASE WHEN unit_of = 'PULSE' THEN '/min' ELSE 'mm[Hg]' END) $$;
INSERT INTO fig.map SELECT number, 'arm', 'items_by', fig.label('arm = ' || arm, CASE x[3] WHEN 'Week 24' THEN fig.sign(x[1], x[1]) ELSE fig.sign('A' || x[1], x[1]) END,
           'code ' || CASE x[3] WHEN 'Week 24' THEN '12' ELSE x[3] END || '/' || x[2]), stat
  FROM fig.expected, regexp_match(line, '^(\w+) tpt (\d+) (.*)$') x WHERE source = '14-7.01';
INSERT INTO fig.map SELECT number, 'arm', 'items_by', fig.label('arm = ' || arm, fig.sign(split_part(line, '/', 1), split_part(line, '/', 1)), 'code ' || substring(line FROM '/(.*)$')), stat
  FROM fig.expected WHERE source = 'oracle_vs_quantiles.csv' AND stat !~ '^p\d';
-- quarters; of who ended there is a row for each disposition, and each code's row has the patients with the item
INSERT INTO fig.map SELECT number, line, table_name, fig.label('center = ' || arm, label), statistic
  FROM fig.expected e JOIN (VALUES ('first_dose', 'codes', 'item ITTFL, code Y', 'patients'), ('te_ae', 'codes_within', 'item_above AEONSET, code_above day, item AETRTEM, code Y', 'occurrences'),
        ('te_sae', 'codes_within', 'item_above AETRTEM, code_above Y, item AESER, code Y', 'occurrences'), ('sbp_supine_subjects', 'codes', 'item HIGH, code Y', 'answered'),
        ('sbp_supine_subjects', 'codes', 'item HIGH, code N', 'answered'), ('sbp_supine_gt140', 'codes', 'item HIGH, code Y', 'occurrences')) m (stat, table_name, label, statistic) USING (stat)
 WHERE source = 'oracle_quarterly.csv';
INSERT INTO fig.map SELECT number, line, 'items_by', fig.label('center = ' || arm, 'item SYSBP, unit mm[Hg], code 815'), substr(stat, 12) FROM fig.expected WHERE source = 'oracle_quarterly.csv' AND stat ~ '^sbp_supine_(n|mean|sd|median)$';
INSERT INTO fig.map SELECT number, line, 'codes', fig.label('center = ' || arm, 'item DISPOSITION', 'code ' || d.disposition), 'patients'
  FROM fig.expected JOIN (SELECT DISTINCT disposition FROM fig.subject) d ON stat = 'ended' OR stat = 'ended_early' AND d.disposition <> 'COMPLETED' WHERE source = 'oracle_quarterly.csv';

ANALYZE fig.map;
ANALYZE fig.expected;
CREATE TABLE fig.compared AS
    SELECT e.*, m.row_label AS row, CASE WHEN e.stat IN ('mean', 'sd', 'median', 'min', 'max', 'q1', 'q3') OR e.stat ~ '^sbp_supine_(mean|sd|median)$' THEN m.found ELSE coalesce(m.found, 0) END AS found, m.found IS NOT NULL AS has_row
      FROM fig.expected e
      JOIN (SELECT m.number, min(m.report || ': ' || m.table_name || ': ' || m.row_label) AS row_label, CASE WHEN min(m.statistic) = 'answered' THEN max(f.value) ELSE sum(f.value) END AS found
              FROM fig.map m LEFT JOIN fig.figure f USING (report, table_name, row_label, statistic) GROUP BY 1) m USING (number);
SQL

# --- compared -----------------------------------------------------------------------------------

# Each publication's figures: which differ, and how many were compared.
sub compare
{
	my ($source) = @_;
	my $quoted = $source =~ s/'/''/gr;
	my $differences = $node->safe_psql('postgres', qq{
SELECT line, arm, stat, value, found, row FROM fig.compared WHERE source = '$quoted' AND value IS DISTINCT FROM CASE WHEN digits IS NULL THEN found ELSE round(found, digits) END ORDER BY number LIMIT 20});
	my ($compared, $rows) = split /\|/, $node->safe_psql('postgres', "SELECT count(*), count(*) FILTER (WHERE has_row) FROM fig.compared WHERE source = '$quoted'");
	is($differences, '', "$source: $compared figures, " . ($compared - $rows) . ' of them 0 without a row');
	return;
}
compare($_) for split /\n/, $node->safe_psql('postgres', 'SELECT source FROM fig.expected GROUP BY 1 ORDER BY min(number)');

# What the publication has otherwise, as its note explains: compared with what the files give.
is($node->safe_psql('postgres', q{SELECT "table", "row", stat, count(*) FROM csv.reference WHERE dataset = 'cdiscpilot01' AND match = 'NO' GROUP BY 1, 2, 3 ORDER BY "table", "row" COLLATE "C", stat}),
	"14-2.01|Baseline BMI <25|n|2\n14-2.01|Baseline height(cm)|median|1\n14-2.01|Baseline weight(kg)|median|1\n14-2.01|Duration of disease|mean|1\n"
	  . "14-2.01|Duration of disease|median|2\n14-7.01|PULSE tpt 817 Baseline|mean|1", 'figures that are published otherwise');

# What the rows of a report cannot express: quantiles that they do not have, which the same function gives here,
# of the view for statisticians.
is($node->safe_psql('postgres', q{SELECT source, stat, count(*) FROM fig.expected e WHERE NOT EXISTS (SELECT FROM fig.map m WHERE m.number = e.number) GROUP BY 1, 2 ORDER BY 1, 2}),
	join("\n", map { "oracle_vs_quantiles.csv|p$_|432" } qw(1 10 5 90 95 99)), 'figures that the rows of a report do not have');
$node->safe_psql('postgres', q{
CREATE TABLE fig.value AS SELECT * FROM clinical.analysis_observation WHERE instrument = 'vital_signs' AND item IN ('SYSBP', 'DIABP', 'PULSE', 'POINT');
ANALYZE fig.value;
CREATE TABLE fig.quantile AS
    SELECT v.item || '/' || p.value_code AS line, s.arm, clinical.quantile_sas(v.value, '{0.01,0.05,0.1,0.9,0.95,0.99}'::numeric[]) AS q
      FROM fig.value v JOIN fig.value p ON p.item = 'POINT' AND (p.subject, p.captured_at, p.repeat_key) = (v.subject, v.captured_at, v.repeat_key)
      JOIN fig.subject s ON s.usubjid = v.subject WHERE v.value IS NOT NULL GROUP BY GROUPING SETS ((1, 2), (1))});
is($node->safe_psql('postgres', q{
SELECT e.line, e.arm, e.stat, e.value, q.found FROM fig.expected e
  LEFT JOIN (SELECT line, arm, 'p' || stat AS stat, found FROM fig.quantile, unnest('{1,5,10,90,95,99}'::integer[], q) u(stat, found)) q
       ON q.line = e.line AND q.arm IS NOT DISTINCT FROM e.arm AND q.stat = e.stat
 WHERE e.source = 'oracle_vs_quantiles.csv' AND e.stat ~ '^p\d' AND e.value IS DISTINCT FROM q.found ORDER BY e.number LIMIT 20}), '', 'oracle_vs_quantiles.csv: 2592 quantiles, of analysis_observation');

$node->stop;
done_testing();
