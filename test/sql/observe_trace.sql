-- observe: the trace that a call belongs to, and the spans that are kept of it
SET datestyle = ISO;
SET timezone = 'UTC';
\pset null '-'
SELECT pg_catalog.count(*) FROM (SELECT clinical.stop_workers()) s;
SELECT count(*) FROM clinical.create_center('Trace', 'TR-1', 'Europe/Amsterdam');
SELECT count(*) FROM clinical.create_project_with_centers('Trace', ARRAY(SELECT id FROM clinical.center WHERE site_id = 'TR-1'), 'TRACE');
SELECT count(clinical.enroll_patient('tr-' || g, NULL, NULL, 'TRACE', (SELECT id FROM clinical.center WHERE site_id = 'TR-1'), effective_on => '2026-01-10'))
  FROM generate_series(1, 9) g;
SELECT version FROM clinical.create_instrument('{"code": "trace", "version": "1", "items": [{"code": "n", "type": "integer", "required": true}]}');
SELECT instrument FROM clinical.use_instrument('TRACE', 'trace', true);
SELECT version FROM clinical.create_rule('{"code": "TR-HIGH", "project": "TRACE", "kind": "threshold", "items": [{"item": "n", "range": "[0,100]"}], "severity": "serious"}');

-- === which trace ===
-- that of a report submitted without one of its own
CREATE FUNCTION test.parent(trace_parent text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    id uuid;
    result text;
BEGIN
    SELECT submission_id INTO id FROM clinical.submit_report('tr-1', '{"n": 1}', captured_at => '2026-02-01 10:00Z', trace_parent => parent.trace_parent);
    SELECT s.trace_parent INTO result FROM clinical.staged_report s WHERE s.submission_id = id;
    RETURN result;
END
$$;
BEGIN;
SELECT test.parent() AS none;
-- the setting
SET LOCAL clinical.trace_parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00';
SELECT test.parent() AS setting;
SELECT test.parent() AS setting_before_comment /*traceparent='00-11111111111111111111111111111111-2222222222222222-00'*/;
SELECT test.parent('00-33333333333333333333333333333333-4444444444444444-00') AS argument_before_setting;
SET LOCAL clinical.trace_parent = '';
SELECT test.parent() AS set_to_nothing;
ROLLBACK;
SELECT current_setting('clinical.trace_parent') AS local;
SET clinical.trace_parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0';
SET clinical.trace_parent = '00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-00';
SET clinical.trace_parent = '00-00000000000000000000000000000000-b7ad6b7169203331-00';
SET clinical.trace_parent = '00-0af7651916cd43dd8448eb211c80319c-0000000000000000-00';
SET clinical.trace_parent = '01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00';
SET clinical.trace_parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00 ';
SELECT test.try($$SELECT test.parent('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331')$$) AS argument;

-- a comment at the end of the statement
BEGIN;
SELECT test.parent() AS comment /*traceparent='00-11111111111111111111111111111111-2222222222222222-00'*/;
SELECT test.parent() AS more_keys /*action='%2Fparam*d',controller='index',traceparent='00-11111111111111111111111111111111-2222222222222222-00',tracestate='congo%3Dt61rcWkgMzE%2Crojo%3D00f067aa0ba902b7'*/;
SELECT test.parent() AS encoded /*traceparent='00%2D11111111111111111111111111111111%2d2222222222222222-%300'*/;
SELECT test.parent() AS a_quote_in_another /*route='it\'s traceparent=',traceparent='00-11111111111111111111111111111111-2222222222222222-00'*/;
SELECT test.parent() AS blanks /*
    framework='x' ,
    traceparent='00-11111111111111111111111111111111-2222222222222222-00'
*/  ;
SELECT test.parent() AS two_statements\; SELECT test.parent() AS both /*traceparent='00-11111111111111111111111111111111-2222222222222222-00'*/ \; ;
SELECT test.parent() AS the_last_one /*traceparent='00-33333333333333333333333333333333-2222222222222222-00'*/ /*traceparent='00-11111111111111111111111111111111-2222222222222222-00'*/;
SELECT test.parent() AS after_a_literal, '/*' AS other /*traceparent='00-11111111111111111111111111111111-2222222222222222-00'*/;
-- all of several reports, but those that say otherwise
SELECT outcome FROM clinical.submit_reports('[{"patient_id": "tr-2", "report_data": {"n": 1}},
    {"patient_id": "tr-2", "report_data": {"n": 2}, "trace_parent": "00-55555555555555555555555555555555-6666666666666666-00"},
    {"patient_id": "tr-2", "report_data": {"n": 3}, "trace_parent": null},
    {"patient_id": "tr-2", "report_data": {"n": 4}, "trace_parent": "nonsense"}]')
 /*traceparent='00-11111111111111111111111111111111-2222222222222222-00'*/;
SELECT s.report_data, s.trace_parent FROM clinical.staged_report s WHERE s.patient_id = 'tr-2' ORDER BY 1;
ROLLBACK;

-- what is none: ignored
BEGIN;
SELECT test.parent() AS not_valid /*traceparent='00-1111111111111111111111111111111G-2222222222222222-00'*/;
SELECT test.parent() AS other_version /*traceparent='01-11111111111111111111111111111111-2222222222222222-00'*/;
SELECT test.parent() AS too_long /*traceparent='00-11111111111111111111111111111111-2222222222222222-000'*/;
SELECT test.parent() AS without_quotes /*traceparent=00-11111111111111111111111111111111-2222222222222222-00*/;
SELECT test.parent() AS quotes_doubled /*traceparent=''00-11111111111111111111111111111111-2222222222222222-00''*/;
SELECT test.parent() AS other_key /*xtraceparent='00-11111111111111111111111111111111-2222222222222222-00'*/;
SELECT test.parent() AS no_list /*traceparent='00-11111111111111111111111111111111-2222222222222222-00' and more*/;
SELECT test.parent() AS no_list_before /*see traceparent='00-11111111111111111111111111111111-2222222222222222-00'*/;
SELECT test.parent() AS ends_too_early /*traceparent='00-11111111111111111111111111111111-2222222222222222-00*/;
SELECT test.parent() AS ends_in_a_code /*traceparent='00-11111111111111111111111111111111-2222222222222222-0%3*/;
SELECT test.parent() AS a_zero /*traceparent='00-11111111111111111111111111111111-2222222222222222-00%00'*/;
SELECT test.parent() AS a_backslash /*traceparent='\*/;
SELECT test.parent() AS empty /**/;
SELECT test.parent() AS not_at_the_end /*traceparent='00-11111111111111111111111111111111-2222222222222222-00'*/ WHERE true;
SELECT /*traceparent='00-11111111111111111111111111111111-2222222222222222-00'*/ test.parent() AS in_the_middle;
SELECT test.parent() AS not_the_last /*traceparent='00-11111111111111111111111111111111-2222222222222222-00'*/ /* by hand */;
SELECT test.parent() AS in_a_literal, '/*traceparent=''00-11111111111111111111111111111111-2222222222222222-00''*/';
SELECT test.parent() AS in_dollars, $$/*traceparent='00-11111111111111111111111111111111-2222222222222222-00'*/$$;
SELECT test.parent() AS in_a_literal_before_another, $$/*traceparent='00-11111111111111111111111111111111-2222222222222222-00'$$ /* by hand */;
SELECT test.parent() AS inner, $$ /*traceparent='00-11111111111111111111111111111111-2222222222222222-00'$$ -- */
;
SELECT test.parent() AS nested /* /*traceparent='00-11111111111111111111111111111111-2222222222222222-00'*/ */;
SELECT test.parent() AS nested_last /* by hand /*traceparent='00-11111111111111111111111111111111-2222222222222222-00'*/*/;
ROLLBACK;
-- long statements, whose end is looked for once
SELECT repeat('x', 4000) AS long \gset
BEGIN;
SELECT test.parent() AS long_statement, test.parent() AS again, length(:'long') /*traceparent='00-11111111111111111111111111111111-2222222222222222-00'*/;
SELECT test.parent() AS without, length(:'long') /* by hand */;
SELECT test.parent() AS long_statement, length(:'long') /*traceparent='00-33333333333333333333333333333333-4444444444444444-00'*/;
ROLLBACK;

-- === spans ===
-- takes them: what they are, under what, and what they say, but for numbers that differ each time
CREATE FUNCTION test.spans(max_spans int DEFAULT 1000)
    RETURNS TABLE (name text, kind int, parent text, in_parent boolean, status jsonb, attributes text) LANGUAGE sql AS $$
    WITH taken AS MATERIALIZED (SELECT s.* FROM jsonb_path_query(clinical.take_spans(max_spans), '$.resourceSpans[*].scopeSpans[*].spans[*]') WITH ORDINALITY s (span, number))
    SELECT t.span ->> 'name', (t.span ->> 'kind')::int,
           coalesce(p.span ->> 'name', CASE t.span ->> 'parentSpanId' WHEN 'b7ad6b7169203331' THEN 'client' ELSE '?' END),
           CASE WHEN p.span IS NULL THEN NULL ELSE t.span ->> 'startTimeUnixNano' >= p.span ->> 'startTimeUnixNano' END
             AND t.span ->> 'startTimeUnixNano' <= t.span ->> 'endTimeUnixNano', t.span -> 'status',
           (SELECT string_agg(replace(a ->> 'key', 'clinical.', '') ||
                              CASE WHEN a ->> 'key' ~ '_id$' THEN '' ELSE '=' || coalesce(a #>> '{value,stringValue}', a #>> '{value,intValue}') END, ' ' ORDER BY o)
              FROM jsonb_array_elements(t.span -> 'attributes') WITH ORDINALITY e (a, o))
      FROM taken t LEFT JOIN taken p ON p.span -> 'spanId' = t.span -> 'parentSpanId' ORDER BY t.number
$$;
SELECT count(*) >= 0 AS taken FROM test.spans(10000);
SELECT clinical.take_spans();
SELECT capacity, waiting FROM clinical.stat_span;

-- one report, from its call to the alert
SET clinical.trace_parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
SELECT outcome FROM clinical.submit_report('tr-3', '{"n": 101}', '00000000-0000-4000-8000-000000000003', '2026-02-01 10:00Z');
SELECT outcome FROM clinical.submit_report('tr-3', '{"n": 101}', '00000000-0000-4000-8000-000000000003', '2026-02-01 10:00Z');
SELECT outcome FROM clinical.submit_report('tr-3', '{"n": 102}', '00000000-0000-4000-8000-000000000003', '2026-02-01 10:00Z');
SELECT outcome FROM clinical.submit_report('tr-3', '{"n": "x"}', '00000000-0000-4000-8000-000000000004', '2026-02-01 10:00Z');
SELECT outcome FROM clinical.submit_report('nobody', '{"n": 1}', '00000000-0000-4000-8000-000000000005', '2026-02-01 10:00Z');
SELECT clinical.process_reports();
BEGIN;
SELECT clinical.take_spans() AS taken \gset
ROLLBACK;
SELECT * FROM test.spans();
SELECT * FROM test.spans();
-- the document
SELECT jsonb_pretty(jsonb_set(:'taken'::jsonb, '{resourceSpans,0,scopeSpans,0,spans}', '[]') #- '{resourceSpans,0,resource,attributes,1}' #- '{resourceSpans,0,scopeSpans,0,scope,version}');
SELECT DISTINCT s ->> 'traceId' AS trace, s -> 'flags' AS flags, s ->> 'spanId' ~ '^[0-9a-f]{16}$' AS id, s ->> 'parentSpanId' ~ '^[0-9a-f]{16}$' AS parent,
       to_timestamp((s ->> 'startTimeUnixNano')::numeric / 1000000000) BETWEEN now() - interval '1 hour' AND clock_timestamp() AS began,
       jsonb_typeof(s -> 'startTimeUnixNano') AS type_of_time, jsonb_typeof(s -> 'kind') AS type_of_kind
  FROM jsonb_path_query(:'taken'::jsonb, '$.resourceSpans[*].scopeSpans[*].spans[*]') s;
SELECT count(*) AS spans, count(DISTINCT s -> 'spanId') AS ids FROM jsonb_path_query(:'taken'::jsonb, '$.resourceSpans[*].scopeSpans[*].spans[*]') s;
SELECT a #>> '{value,stringValue}' = (SELECT id::text FROM clinical.alert WHERE patient_id = 'tr-3') AS alert
  FROM jsonb_path_query(:'taken'::jsonb, '$.resourceSpans[*].scopeSpans[*].spans[*].attributes[*] ? (@.key == "clinical.alert_id")') a;
SELECT DISTINCT trace_parent FROM clinical.alert_event WHERE patient_id = 'tr-3';
SELECT outcome, reason_code, trace_parent FROM clinical.set_aside WHERE patient_id IN ('tr-3', 'nobody') ORDER BY 1, 2;

-- what is put back from quarantine belongs to its trace, whoever puts it back
RESET clinical.trace_parent;
SELECT clinical.requeue('tr-3', '00000000-0000-4000-8000-000000000004', 'mistyped', '{"report_data": {"n": 7}}');
SELECT clinical.process_reports();
SELECT name, attributes FROM test.spans();

-- savepoints, and what is rolled back
SET clinical.trace_parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
BEGIN;
SELECT outcome FROM clinical.submit_report('tr-4', '{"n": 1}', captured_at => '2026-02-01 10:00Z');
SELECT * FROM test.spans();
ROLLBACK;
SELECT * FROM test.spans();
BEGIN;
SELECT outcome AS kept FROM clinical.submit_report('tr-4', '{"n": 1}', '00000000-0000-4000-8000-000000000041', captured_at => '2026-02-01 10:00Z');
SAVEPOINT a;
SELECT outcome AS lost FROM clinical.submit_report('tr-4', '{"n": 2}', '00000000-0000-4000-8000-000000000042', captured_at => '2026-02-01 10:00Z');
SAVEPOINT b;
SELECT outcome AS lost FROM clinical.submit_report('tr-4', '{"n": 3}', '00000000-0000-4000-8000-000000000043', captured_at => '2026-02-01 10:00Z');
RELEASE b;
ROLLBACK TO a;
SAVEPOINT c;
SAVEPOINT d;
SELECT outcome AS kept FROM clinical.submit_report('tr-4', '{"n": 4}', '00000000-0000-4000-8000-000000000044', captured_at => '2026-02-01 10:00Z');
RELEASE d;
RELEASE c;
COMMIT;
CREATE FUNCTION test.about(document jsonb) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT right(a #>> '{value,stringValue}', 2) FROM jsonb_path_query(document, '$.resourceSpans[*].scopeSpans[*].spans[*].attributes[*] ? (@.key == "clinical.submission_id")') a
$$;
SELECT test.about(clinical.take_spans());
-- one of an array is malformed, and each is taken in for itself
SELECT outcome FROM clinical.submit_reports('[{"patient_id": "tr-4", "report_data": {"n": 5}}, {"patient_id": "tr-4"}, {"patient_id": "tr-4", "report_data": {"n": 6}}]');
SELECT name, parent, attributes FROM test.spans();
-- reports that fail together are tried by halves: each is told once
CREATE FUNCTION test.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.report_data = '{"n": 6}' THEN RAISE 'no'; END IF; RETURN NEW; END $$;
CREATE TRIGGER fail BEFORE INSERT ON clinical.submission FOR EACH ROW EXECUTE FUNCTION test.fail();
ALTER TABLE clinical.submission ENABLE ALWAYS TRIGGER fail;
SELECT clinical.process_reports();
DROP TRIGGER fail ON clinical.submission;
SELECT name, attributes, count(*) FROM test.spans() GROUP BY 1, 2 ORDER BY 1, 2;

-- a trace that is not sampled
SET clinical.trace_parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00';
SELECT outcome FROM clinical.submit_report('tr-5', '{"n": 101}', captured_at => '2026-02-01 10:00Z');
SELECT clinical.process_reports();
SELECT count(*) FROM clinical.alert_event WHERE patient_id = 'tr-5' AND trace_parent ~ '-00$';
SELECT * FROM test.spans();

-- === taking ===
SET clinical.trace_parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
SELECT count(s) FROM generate_series(1, 4) g, LATERAL clinical.submit_report('tr-6', '{"n": 1}', ('00000000-0000-4000-8000-00000000006' || g)::uuid, '2026-02-01 10:00Z') s;
BEGIN;
SELECT test.about(clinical.take_spans(1)) AS first;
SAVEPOINT a;
SELECT test.about(clinical.take_spans(2)) AS then;
SELECT waiting FROM clinical.stat_span;
ROLLBACK TO a;
SELECT waiting FROM clinical.stat_span;
SAVEPOINT b;
SELECT test.about(clinical.take_spans(1)) AS again;
RELEASE b;
ROLLBACK;
SELECT waiting FROM clinical.stat_span;
BEGIN;
SAVEPOINT a;
SELECT test.about(clinical.take_spans(1)) AS first;
RELEASE a;
COMMIT;
SELECT test.about(clinical.take_spans(1000000)) AS rest;
SELECT clinical.take_spans();
SELECT test.try('SELECT clinical.take_spans(0)'), test.try('SELECT clinical.take_spans(-1)'), test.try('SELECT clinical.take_spans(NULL)');

-- who may
CREATE ROLE regress_clinical_watch;
CREATE ROLE regress_clinical_operator;
CREATE ROLE regress_clinical_other;
GRANT pg_monitor TO regress_clinical_watch;
GRANT clinical_admin TO regress_clinical_operator;
GRANT clinical_investigator TO regress_clinical_other;
GRANT USAGE ON SCHEMA test TO regress_clinical_watch, regress_clinical_operator, regress_clinical_other;
SELECT clinical.process_reports();
SET ROLE regress_clinical_watch;
SELECT waiting FROM clinical.stat_span;
SELECT DISTINCT name, attributes FROM test.spans(2);
SET ROLE regress_clinical_operator;
SELECT count(*) FROM test.spans();
SET ROLE regress_clinical_other;
SELECT test.try('SELECT clinical.take_spans()'), test.try('SELECT * FROM clinical.stat_span');
RESET ROLE;

-- === project reports ===
SELECT clinical.generate_report('TRACE', '[2026-02-01,2026-03-01)', '{"sections": ["status", "alerts"]}') IS NOT NULL AS made;
SELECT name, kind, parent, in_parent, status, attributes FROM test.spans() WHERE name IN ('clinical.report', 'clinical.report.counting');
SELECT clinical.generate_report('TRACE', '[2026-02-01,2026-03-01)', '{"sections": ["status"]}') IS NOT NULL AS made;
SELECT count(*) > 2 AS phases, bool_and(parent = 'clinical.report' AND in_parent) AS parts FROM test.spans() WHERE name <> 'clinical.report';
BEGIN;
SELECT clinical.generate_report('TRACE', '[2026-02-01,2026-03-01)', '{"sections": ["status"]}') IS NOT NULL AS made;
ROLLBACK;
SELECT * FROM test.spans();
RESET clinical.trace_parent;
SELECT clinical.generate_report('TRACE', '[2026-02-01,2026-03-01)', '{"sections": ["status"]}') IS NOT NULL AS made;
SELECT * FROM test.spans();
-- a report that is asked for keeps the trace
SELECT clinical.request_report('TRACE', '[2026-02-01,2026-03-01)') IS NOT NULL AS asked /*traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'*/;
SELECT status, trace_parent FROM clinical.report_job WHERE project_id = (SELECT id FROM clinical.project WHERE code = 'TRACE');

-- nothing of the patient
SELECT :'taken' ~ 'tr-[0-9]|nobody|: *"?10[12]"? *[,}]' AS told;
-- roles of other tests are gone
SELECT * FROM clinical.check() WHERE invariant !~ 'membership';
REVOKE USAGE ON SCHEMA test FROM regress_clinical_watch, regress_clinical_operator, regress_clinical_other;
DROP ROLE regress_clinical_watch, regress_clinical_operator, regress_clinical_other;
