-- observe_metrics: what is measured, as Prometheus reads it; that programs can read it, see test/t/084_observe_prometheus.pl
\pset format unaligned
\pset tuples_only on

-- every series has a family with HELP and TYPE, and the other way round
CREATE TABLE test.metric_line AS SELECT line FROM unnest(string_to_array(clinical.metrics_text(), E'\n')) line WHERE line <> '';
SELECT count(*) FROM test.metric_line WHERE line !~ '^(# HELP clinical_\w+ \S.*\.|# TYPE clinical_\w+ (counter|gauge|histogram)|clinical_\w+(\{\w+="([^"\\]|\\.)*"(,\w+="([^"\\]|\\.)*")*\})? [0-9.e+-]+)$';
SELECT string_agg(name, ' ' ORDER BY name) FROM (
    SELECT substring(line FROM '^# TYPE (\w+)') AS name FROM test.metric_line WHERE line ~ '^# TYPE'
    EXCEPT SELECT regexp_replace(metric, '_seconds_(bucket|sum|count)$', '_seconds') FROM clinical.metric_samples()) missing;
SELECT count(*) FROM clinical.metric_samples() s
 WHERE NOT EXISTS (SELECT FROM test.metric_line l WHERE l.line = '# TYPE ' || s.metric || ' counter' OR l.line = '# TYPE ' || s.metric || ' gauge'
                      OR l.line = '# TYPE ' || regexp_replace(s.metric, '_(bucket|sum|count)$', '') || ' histogram');
-- counters end with _total, nothing else does
SELECT line FROM test.metric_line WHERE line ~ '^# TYPE' AND (line ~ ' counter$') <> (line ~ '_total counter$') OR line ~ '_total (gauge|histogram)$';
-- no label but these, and no series twice
SELECT string_agg(DISTINCT key, ' ' ORDER BY key) FROM clinical.metric_samples() s, jsonb_object_keys(s.labels) key;
SELECT count(*) FROM (SELECT FROM clinical.metric_samples() GROUP BY metric, labels HAVING count(*) > 1) twice;
-- those that tests before this one have made
SELECT metric, labels, value > 0 FROM clinical.metric_samples()
 WHERE labels @> '{"project": "OBSERVED"}' AND metric IN ('clinical_reports_processed_total', 'clinical_alerts_opened_total') AND labels ->> 'outcome' IS DISTINCT FROM 'conflict'
 ORDER BY metric, labels;
-- a code with all that must be escaped
SELECT count(*) FROM clinical.create_project_with_centers('Escaped', ARRAY[(SELECT min(id) FROM clinical.center WHERE status = 'active')], E'E\\"\n1');

-- the histogram: its bounds are powers of two, it adds up, and no bucket is less than the one before
SELECT m.measure, array_length(h.le, 1), h.le[1], h.le[26], h.count = s.reports, abs(h.sum - s.reports * s.mean_ms / 1000) < 0.001,
       (SELECT bool_and(c <= n) FROM (SELECT c, lead(c, 1, h.count) OVER (ORDER BY i) AS n FROM unnest(h.counts) WITH ORDINALITY u (c, i)) x)
  FROM unnest('{waiting,processing}'::text[]) m (measure), LATERAL clinical.metric_histogram(m.measure) h, clinical.stat_processing s WHERE s.measure = m.measure;
\set VERBOSITY sqlstate
SELECT clinical.metric_histogram('other');

-- who watches the server, and nobody else
CREATE ROLE test_watcher IN ROLE pg_monitor;
CREATE ROLE test_nobody;
SET ROLE test_watcher;
SELECT count(*) > 30 FROM clinical.metric_samples();
SELECT clinical.metrics_text() LIKE '# HELP clinical_intake_received_total %';
SELECT count(*) FROM clinical.patient;
SET ROLE test_nobody;
SELECT clinical.metrics_text();
RESET ROLE;
DROP ROLE test_watcher, test_nobody;
