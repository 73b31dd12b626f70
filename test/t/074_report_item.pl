# Differential test: the statistics of items over random observations are those that queries give
# which follow their definition, however the server reads them and however little memory there is.
#
#   CLINICAL_SEED=...     replays a run
#   CLINICAL_STUDIES=...  so many studies (2)
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{CLINICAL_SEED} // int(rand(2**31));
my $studies = $ENV{CLINICAL_STUDIES} // 2;
srand($seed);
note("CLINICAL_SEED=$seed");

my $node = PostgreSQL::Test::Cluster->new('report_item');
$node->init;
$node->append_conf('postgresql.conf', join "\n", "shared_preload_libraries = 'clinical'", 'max_worker_processes = 12', 'fsync = off', '');
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION clinical;
CREATE SCHEMA test;
-- two versions: the labels are those of the second
SELECT clinical.create_instrument(format('{"code": "form", "version": "%s", "items": [
    {"code": "small", "label": "Small, of %1$s", "type": "integer"}, {"code": "scaled", "type": "decimal"}, {"code": "long", "type": "decimal"},
    {"code": "weight", "label": "Weight", "type": "quantity", "unit": "kg"}, {"code": "wide", "type": "decimal"}, {"code": "never", "type": "integer", "unit": "mm"},
    {"code": "free", "type": "text"},
    {"code": "group", "type": "group", "items": [
        {"code": "mood", "label": "Mood", "type": "coded", "code_list": [{"code": "good", "label": "Good, of %1$s", "score": 1}, {"code": "bad", "label": "Bad"}]},
        {"code": "term", "type": "coded", "code_list": [{"code": "c1"}]}, {"code": "class", "type": "coded", "code_list": [{"code": "k1", "label": "Class one"}]},
        {"code": "visit", "type": "coded", "code_list": [{"code": "week 2"}]}]}],
    "scores": [{"code": "sum", "label": "Sum", "method": "sum", "items": ["small"]}]}', v)::jsonb)
  FROM unnest('{1,2}'::text[]) v;
CREATE FUNCTION test.one(anyarray) RETURNS anyelement LANGUAGE sql VOLATILE AS 'SELECT $1[1 + floor(random() * cardinality($1))::integer]';
-- Patients of two projects at three centers; ids of reports and observations are the same for several patients.
CREATE PROCEDURE test.make_study(study text, patients integer) LANGUAGE plpgsql AS $$
DECLARE
    places bigint[];
    p text;
BEGIN
    FOREACH p IN ARRAY ARRAY[study, study || 'x'] LOOP
        SELECT array_agg((clinical.create_center('Center', p || n)).id) INTO places FROM generate_series(1, 3) n;
        PERFORM clinical.create_project_with_centers(p, places, p, 'UTC');
        PERFORM clinical.use_instrument(p, 'form', false, v, CASE v WHEN '1' THEN date '2025-01-01' ELSE '2025-08-01' END) FROM unnest('{1,2}'::text[]) v;
        PERFORM clinical.enroll_patient(p || '-' || n, NULL, NULL, p, test.one(places), CASE WHEN n % 7 = 0 THEN '{}' ELSE jsonb_build_object('arm', test.one('{A,B}'::text[])) END,
                    status => test.one('{screened,enrolled,enrolled}'::text[]), effective_on => test.one('{2025-05-01,2025-05-01,2025-09-30,2025-10-01}'::date[]))
           FROM generate_series(1, CASE p WHEN study THEN patients ELSE patients / 10 END) n;
    END LOOP;
    SET LOCAL clinical.restore = on;
    CREATE TEMP TABLE report ON COMMIT DROP AS
        SELECT q.id AS patient_id, q.project_id, md5('report ' || d)::uuid AS id, day::date + d % 3 * time '08:00' AS at, day::date
          FROM clinical.patient q JOIN clinical.project j ON j.id = q.project_id AND j.code IN (study, study || 'x'), generate_series(1, 25) d,
               LATERAL (SELECT date '2025-06-20' + (d * 4.4)::integer + floor(random() * 3)::integer AS day) x
         WHERE random() < 0.8;
    INSERT INTO clinical.submission (patient_id, id, project_id, version_id, status, captured_at, local_day, time_zone, received_at, processed_at, originator, login, digest, observations, observations_digest, report_data)
        SELECT r.patient_id, r.id, r.project_id, (SELECT min(v.id) FROM clinical.instrument_version v), CASE WHEN random() < 0.08 THEN 'withdrawn' ELSE 'accepted' END,
               r.at AT TIME ZONE 'UTC', r.day, 'UTC', r.at AT TIME ZONE 'UTC', r.at AT TIME ZONE 'UTC', 'subject', 'x', '\x00', 0, '\x00', '{}' FROM report r;
    INSERT INTO clinical.observation (patient_id, item, captured_at, id, version, submission_id, repeat_key, local_day, value, value_text, value_code, unit, absent, is_score, flagged, recorded_at, recorded_by)
        SELECT r.patient_id, i.item, r.at AT TIME ZONE 'UTC', md5(r.id || i.item || repeat)::uuid, version, r.id, CASE WHEN i.item IN ('term', 'class') THEN repeat::text END, r.day,
               CASE WHEN given THEN i.value + version - 1 END, CASE WHEN given THEN i.text END, CASE WHEN given THEN i.code END, CASE WHEN given THEN i.unit END,
               CASE WHEN NOT given THEN 'unknown' END, i.item = 'sum', random() < 0.1, (r.at AT TIME ZONE 'UTC') + (version - 1) * random() * interval '40 days', 'x'
          FROM report r
         CROSS JOIN generate_series(1, 2) repeat
         CROSS JOIN LATERAL (SELECT count(random()) AS none, random() AS a, random() AS b, random() AS c WHERE r.patient_id IS NOT NULL AND repeat > 0) chance
         CROSS JOIN LATERAL (VALUES
               ('small', floor(a * 11)::numeric, NULL, NULL, NULL), ('scaled', round((floor(a * 20) / 4)::numeric, test.one('{2,2,3,9}'::integer[])), NULL, NULL, NULL),
               ('long', round(floor(a * 30)::numeric * 123456789012.3456789, test.one('{7,8}'::integer[])), NULL, NULL, NULL),
               ('weight', round((60 + 30 * a)::numeric, 1), NULL, NULL, CASE WHEN b < 0.8 THEN 'kg' ELSE 'g' END),
               ('wide', round((a * 1000000)::numeric, 3), NULL, NULL, CASE WHEN b < 0.95 THEN 'm' END), ('never', NULL, NULL, NULL, NULL), ('free', NULL, 'text', NULL, NULL),
               ('mood', CASE WHEN a < 0.5 THEN 1 END, NULL, CASE WHEN a < 0.5 THEN 'good' WHEN a < 0.9 THEN 'bad' ELSE 'other' END, NULL),
               ('term', NULL, NULL, 'c' || floor(b * b * 2500), NULL), ('class', NULL, NULL, 'k' || floor(b * b * 2500)::integer % 7, NULL),
               ('visit', NULL, NULL, 'week ' || EXTRACT(week FROM r.day)::integer / 2 * 2, NULL), ('sum', floor(b * 100), NULL, NULL, NULL)) AS i (item, value, text, code, unit)
         CROSS JOIN LATERAL generate_series(1, 1 + (c < 0.1 AND i.item <> 'visit')::integer + (c < 0.03 AND i.item <> 'visit')::integer) version
         CROSS JOIN LATERAL (SELECT i.item IN ('term', 'class', 'visit') OR i.item <> 'never' AND NOT (b > 0.5 AND b < 0.55) AS given) g
         WHERE (repeat = 1 OR i.item IN ('term', 'class')) AND (i.item <> 'visit' OR r.day < '2025-09-20');
END
$$;

-- Patients with their labels, and the observations that hold.
CREATE FUNCTION test.label(centers bigint[], split text[], cut_off timestamptz) RETURNS TABLE (patient_id text, "by" jsonb, enrolled boolean) LANGUAGE sql STABLE AS $$
    SELECT p.id, coalesce((SELECT jsonb_object_agg(k, CASE k WHEN 'center' THEN c.site_id ELSE p.record ->> k END) FROM unnest(split) k), '{}'),
           EXISTS (SELECT FROM clinical.enrollment_event e WHERE e.patient_id = p.id AND e.status = 'enrolled' AND e.effective_on < '2025-10-01' AND e.recorded_at <= cut_off)
      FROM clinical.patient p JOIN clinical.center c ON c.id = p.center_id WHERE p.center_id = ANY (centers)
$$;
CREATE FUNCTION test.held(centers bigint[], split text[], cut_off timestamptz) RETURNS TABLE ("by" jsonb, patient_id text, submission_id uuid, repeat_key text, item text, unit text,
        month text, value numeric, value_code text, given boolean, flagged boolean, version integer) LANGUAGE sql STABLE AS $$
    SELECT l."by", o.patient_id, o.submission_id, o.repeat_key, o.item, o.unit, to_char(o.local_day, 'YYYY-MM'), CASE WHEN o.absent IS NULL THEN o.value END,
           CASE WHEN o.absent IS NULL THEN o.value_code END, o.absent IS NULL, o.flagged, o.version
      FROM test.label(centers, split, cut_off) l JOIN clinical.observation o ON o.patient_id = l.patient_id JOIN clinical.submission s ON s.patient_id = o.patient_id AND s.id = o.submission_id
     WHERE o.local_day >= '2025-07-01' AND o.local_day < '2025-10-01' AND s.status = 'accepted' AND o.recorded_at <= cut_off
       AND o.version = (SELECT max(n.version) FROM clinical.observation n WHERE n.patient_id = o.patient_id AND n.item = o.item AND n.captured_at = o.captured_at AND n.id = o.id AND n.recorded_at <= cut_off)
$$;
-- Of values in order: SAS's quantile.
CREATE FUNCTION test.quantile(v numeric[], p numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN n * p = trunc(n * p) THEN (v[(n * p)::integer] + v[(n * p)::integer + 1]) / 2 ELSE v[(trunc(n * p) + 1)::integer] END FROM (SELECT cardinality(v)::numeric AS n) c
$$;
-- What a table must have; of every row its text without the order of keys, and numbers without zeros at the end but for decimals.
CREATE FUNCTION test.items(centers bigint[], split text[], cut_off timestamptz) RETURNS TABLE (r jsonb) LANGUAGE sql STABLE AS $$
    WITH held AS MATERIALIZED (SELECT * FROM test.held(centers, split, cut_off)),
    home AS (SELECT h.item, CASE WHEN bool_or(h.value IS NOT NULL AND h.unit IS NULL) THEN NULL
                                 WHEN bool_or(h.value IS NOT NULL AND h.unit = d.unit) OR NOT bool_or(h.value IS NOT NULL) THEN min(d.unit)
                                 ELSE min(h.unit COLLATE "C") FILTER (WHERE h.value IS NOT NULL) END AS unit
               FROM held h LEFT JOIN (VALUES ('weight', 'kg'), ('never', 'mm')) d(item, unit) ON d.item = h.item
              GROUP BY 1 HAVING bool_or(h.value IS NOT NULL) OR h.item = 'never'),
    placed AS (SELECT h."by", h.item, coalesce(h.unit, m.unit) AS unit, h.month, h.value FROM held h JOIN home m ON m.item = h.item),
    described AS (
        SELECT CASE GROUPING(b) WHEN 0 THEN b ELSE '{}' END AS "by", item, unit, month, count(value) AS n, count(*) - count(value) AS missing, avg(value) AS mean, stddev_samp(value) AS sd,
               min(value) AS min, max(value) AS max, coalesce(max(scale(value)), 0) AS decimals, array_agg(value ORDER BY value) FILTER (WHERE value IS NOT NULL) AS v
          FROM (SELECT placed.*, CASE WHEN split <> '{}' THEN "by" END AS b FROM placed) p
         GROUP BY GROUPING SETS ((item, unit, month), (item, unit), (b, item, unit, month), (b, item, unit)) HAVING GROUPING(b) = 1 OR b IS NOT NULL)
    SELECT jsonb_build_object('by', "by", 'item', item, 'label', CASE item WHEN 'small' THEN 'Small, of 2' WHEN 'weight' THEN 'Weight' WHEN 'mood' THEN 'Mood' WHEN 'sum' THEN 'Sum' END,
               'unit', unit, 'month', month, 'n', n, 'missing', missing, 'mean', mean, 'sd', sd, 'min', min, 'max', max, 'decimals', decimals,
               'q1', test.quantile(v, 0.25), 'median', test.quantile(v, 0.5), 'q3', test.quantile(v, 0.75)) FROM described
$$;
CREATE FUNCTION test.codes(centers bigint[], split text[], cut_off timestamptz) RETURNS TABLE (r jsonb) LANGUAGE sql STABLE AS $$
    WITH held AS MATERIALIZED (SELECT h.*, x.b FROM test.held(centers, split, cut_off) h, LATERAL (SELECT '{}'::jsonb AS b UNION SELECT h."by") x WHERE h.value_code IS NOT NULL),
    answered AS (SELECT b, item, count(DISTINCT patient_id) AS answered FROM held GROUP BY 1, 2),
    enrolled AS (SELECT x.b, count(*) FILTER (WHERE enrolled) AS enrolled FROM test.label(centers, split, cut_off) l, LATERAL (SELECT '{}'::jsonb AS b UNION SELECT l."by") x GROUP BY 1)
    SELECT jsonb_build_object('by', h.b, 'item', h.item, 'label', CASE h.item WHEN 'mood' THEN 'Mood' END, 'code', h.value_code,
               'code_label', CASE h.value_code WHEN 'good' THEN 'Good, of 2' WHEN 'bad' THEN 'Bad' WHEN 'k1' THEN 'Class one' END,
               'patients', count(DISTINCT patient_id), 'percent', 100 * count(DISTINCT patient_id)::numeric / a.answered, 'occurrences', count(*), 'answered', a.answered,
               'enrolled', e.enrolled, 'percent_enrolled', 100 * count(DISTINCT patient_id)::numeric / nullif(e.enrolled, 0))
      FROM held h JOIN answered a ON a.b = h.b AND a.item = h.item JOIN enrolled e ON e.b = h.b GROUP BY h.b, h.item, h.value_code, a.answered, e.enrolled
$$;
CREATE FUNCTION test.corrections(centers bigint[], split text[], cut_off timestamptz) RETURNS TABLE (r jsonb) LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('by', x.b, 'item', h.item, 'label', CASE h.item WHEN 'small' THEN 'Small, of 2' WHEN 'weight' THEN 'Weight' WHEN 'mood' THEN 'Mood' WHEN 'sum' THEN 'Sum' END,
               'values', count(*), 'corrected', count(*) FILTER (WHERE version > 1), 'per_100', 100 * count(*) FILTER (WHERE version > 1) / count(*)::numeric, 'flagged', count(*) FILTER (WHERE flagged))
      FROM test.held(centers, split, cut_off) h, LATERAL (SELECT '{}'::jsonb AS b UNION SELECT h."by") x GROUP BY GROUPING SETS ((x.b, h.item), (x.b))
$$;
-- Rows of a table of a report.
CREATE FUNCTION test.found(document jsonb, name text) RETURNS SETOF jsonb LANGUAGE sql STABLE AS $$
    SELECT r FROM jsonb_each(document -> 'body') s, jsonb_array_elements(s.value -> 'tables') t, jsonb_array_elements(t -> 'rows') r WHERE t ->> 'name' = found.name
$$;
CREATE FUNCTION test.items_by(centers bigint[], split text[], cut_off timestamptz) RETURNS TABLE (r jsonb) LANGUAGE sql STABLE AS $$
    WITH held AS MATERIALIZED (SELECT * FROM test.held(centers, split, cut_off)),
    visited AS (SELECT h.*, v.value_code AS visit FROM held h JOIN held v ON v.item = 'visit' AND v.patient_id = h.patient_id AND v.submission_id = h.submission_id WHERE h.item <> 'visit'),
    home AS (SELECT h.item, CASE WHEN bool_or(h.value IS NOT NULL AND h.unit IS NULL) THEN NULL
                                 WHEN bool_or(h.value IS NOT NULL AND h.unit = d.unit) OR NOT bool_or(h.value IS NOT NULL) THEN min(d.unit)
                                 ELSE min(h.unit COLLATE "C") FILTER (WHERE h.value IS NOT NULL) END AS unit
               FROM visited h LEFT JOIN (VALUES ('weight', 'kg'), ('never', 'mm')) d(item, unit) ON d.item = h.item
              GROUP BY 1 HAVING bool_or(h.value IS NOT NULL) OR h.item = 'never'),
    described AS (
        SELECT x.b, h.item, coalesce(h.unit, m.unit) AS unit, h.visit, count(value) AS n, count(*) - count(value) AS missing, avg(value) AS mean, stddev_samp(value) AS sd,
               min(value) AS min, max(value) AS max, coalesce(max(scale(value)), 0) AS decimals, array_agg(value ORDER BY value) FILTER (WHERE value IS NOT NULL) AS v
          FROM visited h JOIN home m ON m.item = h.item, LATERAL (SELECT '{}'::jsonb AS b UNION SELECT h."by") x GROUP BY 1, 2, 3, 4)
    SELECT jsonb_build_object('by', b, 'item', item, 'label', CASE item WHEN 'small' THEN 'Small, of 2' WHEN 'weight' THEN 'Weight' WHEN 'mood' THEN 'Mood' WHEN 'sum' THEN 'Sum' END,
               'unit', unit, 'code', visit, 'code_label', NULL, 'n', n, 'missing', missing, 'mean', mean, 'sd', sd, 'min', min, 'max', max, 'decimals', decimals,
               'q1', test.quantile(v, 0.25), 'median', test.quantile(v, 0.5), 'q3', test.quantile(v, 0.75)) FROM described
$$;
CREATE FUNCTION test.codes_within(centers bigint[], split text[], cut_off timestamptz) RETURNS TABLE (r jsonb) LANGUAGE sql STABLE AS $$
    WITH held AS MATERIALIZED (SELECT h.*, x.b FROM test.held(centers, split, cut_off) h, LATERAL (SELECT '{}'::jsonb AS b UNION SELECT h."by") x WHERE h.item IN ('term', 'class') AND h.value_code IS NOT NULL),
    pair AS MATERIALIZED (SELECT t.b, t.patient_id, c.value_code AS above, t.value_code AS code
               FROM held t JOIN held c ON c.item = 'class' AND c.patient_id = t.patient_id AND c.submission_id = t.submission_id AND c.b = t.b AND c.repeat_key = t.repeat_key WHERE t.item = 'term'),
    answered AS (SELECT b, count(DISTINCT patient_id) AS answered FROM pair GROUP BY 1),
    enrolled AS (SELECT x.b, count(*) FILTER (WHERE enrolled) AS enrolled FROM test.label(centers, split, cut_off) l, LATERAL (SELECT '{}'::jsonb AS b UNION SELECT l."by") x GROUP BY 1)
    SELECT jsonb_build_object('by', p.b, 'item_above', 'class', 'code_above', p.above, 'code_above_label', CASE p.above WHEN 'k1' THEN 'Class one' END, 'item', 'term', 'label', NULL, 'code', p.code,
               'code_label', NULL, 'patients', count(DISTINCT patient_id), 'percent', 100 * count(DISTINCT patient_id)::numeric / a.answered, 'occurrences', count(*), 'answered', a.answered,
               'enrolled', e.enrolled, 'percent_enrolled', 100 * count(DISTINCT patient_id)::numeric / nullif(e.enrolled, 0))
      FROM pair p JOIN answered a ON a.b = p.b JOIN enrolled e ON e.b = p.b
     GROUP BY GROUPING SETS ((p.b, a.answered, e.enrolled), (p.b, a.answered, e.enrolled, p.above), (p.b, a.answered, e.enrolled, p.above, p.code))
$$;
GRANT USAGE ON SCHEMA test TO PUBLIC;
CREATE ROLE narrow LOGIN IN ROLE clinical_statistician;
SQL

my %settings = (
	serial => 'SET max_parallel_workers_per_gather = 0',
	parallel => 'SET parallel_setup_cost = 10; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET min_parallel_index_scan_size = 0; SET max_parallel_workers_per_gather = 3',
	'little memory' => 'SET clinical.report_memory = 64; SET max_parallel_workers_per_gather = 0',
	'very little memory, parallel' => 'SET clinical.report_memory = 4; SET parallel_setup_cost = 10; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET min_parallel_index_scan_size = 0; SET max_parallel_workers_per_gather = 2',
	'nested loops' => 'SET enable_hashjoin = off; SET enable_seqscan = off');

# The rows that differ between what a report has and what it must have.
sub differences
{
	my ($project, $centers, $split, $cut_off, $table) = @_;
	return $node->safe_psql('postgres', qq{
SELECT 'missing', r FROM (SELECT r FROM test.$table($centers, '{$split}', $cut_off) EXCEPT ALL SELECT test.found(d, '$table') FROM test.document) x UNION ALL
SELECT 'extra', r FROM (SELECT test.found(d, '$table') AS r FROM test.document EXCEPT ALL SELECT r FROM test.$table($centers, '{$split}', $cut_off)) x ORDER BY 2 LIMIT 6});
}

my $rows = 0;
for my $study (1 .. $studies)
{
	my $number = rand(2) - 1;
	$node->safe_psql('postgres', "SELECT setseed($number); CALL test.make_study('S$study', 40)");
	$node->safe_psql('postgres', $study % 2 ? 'VACUUM ANALYZE' : 'VACUUM ANALYZE clinical.patient');
	for my $case (["S$study", '', undef], ["S$study", 'arm', undef], ["S$study", 'arm,center', '2025-08-20'], ["S${study}x", 'center', undef], ["S$study", 'arm', '2025-09-02', 'narrow'])
	{
		my ($project, $split, $day, $role) = @$case;
		my $cut_off = "timestamptz '" . ($day // $node->safe_psql('postgres', 'SELECT now()')) . "'";
		my $centers = "(SELECT array_agg(c.id) FROM clinical.center c WHERE c.site_id ~ '^${project}[1-" . ($role ? 1 : 3) . "]\$')";
		$node->safe_psql('postgres', "SELECT clinical.grant_center('narrow', c.id) FROM clinical.center c WHERE c.site_id = '${project}1'") if $role;
		my $options = "'{\"cutoff\": ' || to_json($cut_off) || ', \"by\": ' || to_json('{$split}'::text[]) || ', \"sections\": [\"items\", \"quality\"], \"item_by\": {\"item\": \"visit\"}, \"above\": {\"term\": \"class\"}}'";
		my %bodies;
		for my $setting (sort keys %settings)
		{
			$bodies{$setting} = $node->safe_psql('postgres', "$settings{$setting}; " . ($role ? "SET SESSION AUTHORIZATION $role; " : '') .
				"SELECT clinical.generate_report('$project', '[2025-07-01,2025-10-01)', ($options)::jsonb)");
		}
		my ($sha) = $bodies{serial} =~ /"sha256": "(\w+)"/;
		for my $setting (grep { $_ ne 'serial' } sort keys %settings)
		{
			like($bodies{$setting}, qr/"sha256": "$sha"/, "study $study, $project by $split: the same, $setting");
		}
		my $quoted = $bodies{serial} =~ s/'/''/gr;
		$node->safe_psql('postgres', "DROP TABLE IF EXISTS test.document; CREATE TABLE test.document AS SELECT '$quoted'::jsonb AS d");
		is(differences($project, $centers, $split, $cut_off, $_), '', "study $study, $project by $split: $_ as defined") for qw(items codes corrections items_by codes_within);
		$rows += $node->safe_psql('postgres', "SELECT count(*) FROM test.document, test.found(d, 'items')");
	}
}
cmp_ok($rows, '>', 300 * $studies, 'rows were compared');
like($node->safe_psql('postgres', "$settings{parallel}; EXPLAIN SELECT clinical.report_tally('', o.patient_id, o.item, o.id, o.version, o.submission_id, o.local_day, o.value, o.value_code,
	o.unit, o.absent, o.flagged, o.recorded_at) FROM clinical.observation o"), qr/Partial Aggregate/, 'in parallel, too');

$node->stop;
done_testing();
