-- http: what each route answers, and with what status; which errors become answers, and which do not.
SET datestyle = ISO;
SET timezone = 'UTC';
\pset null '-'
\pset format unaligned
SELECT pg_catalog.count(*) FROM (SELECT clinical.stop_workers()) s;

SELECT id AS center FROM clinical.create_center('Http', 'HTTP-1', 'Europe/Amsterdam') \gset
SELECT id AS other FROM clinical.create_center('Http, other', 'HTTP-2') \gset
SELECT count(clinical.create_instrument('{"code": "http-diary", "version": "1", "items": [{"code": "http_n", "type": "integer"}]}'));

CREATE ROLE regress_http_admin;
CREATE ROLE regress_http_phone;
CREATE ROLE regress_http_nurse;
CREATE ROLE regress_http_far;
CREATE ROLE regress_http_none;
GRANT clinical_admin TO regress_http_admin;
GRANT clinical_intake TO regress_http_phone;
GRANT clinical_investigator TO regress_http_nurse, regress_http_far;
SELECT count(clinical.grant_center('regress_http_nurse', :center)), count(clinical.grant_center('regress_http_far', :other));

-- What a call of a route answers as a role: status, headers, body or content; or the SQLSTATE of its error.
CREATE FUNCTION test.http(role_name text, call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r clinical.http_response;
BEGIN
    PERFORM set_config('role', role_name, true);
    EXECUTE 'SELECT r.* FROM clinical.' || call || ' r' INTO r;
    PERFORM set_config('role', 'none', true);
    -- numbers are what other tests have left
    RETURN regexp_replace(concat_ws(' ', r.status, r.headers, r.body, r.content), '"(id|centerID)": \d+', '"\1": N', 'g');
EXCEPTION WHEN OTHERS THEN
    RETURN concat('error ', SQLSTATE);
END
$$;
GRANT USAGE ON SCHEMA test TO PUBLIC;

-- === the table of errors ===
SELECT state, e.status, e.body ->> 'detail' AS detail, e.body - '{detail,code,status}'::text[] AS rest, e.headers
  FROM unnest('{P0002,22023,22P02,22P05,22008,22021,54001,42501,54000,55000,23505,23503,23514,40001,40P01,53300,57014,57P01,58030,XX000,25006,0A000,55P03,42P01}'::text[])
       WITH ORDINALITY s (state, place), clinical.http_error(state, 'the message') e ORDER BY place;
SELECT state, e.status, e.body FROM unnest('{23505,23503,23502}'::text[]) state, clinical.http_error(state, 'Key (name)=(Ada) exists', 'a_constraint') e;

-- === projects ===
SELECT test.http('regress_http_admin', format('http_create_project(%L)', body)) AS answer, left(body, 100) AS body
  FROM unnest(ARRAY[
    format('{"name": "Http", "centerIds": [%s, %s], "code": "HT/TP é", "timeZone": "Europe/Zurich"}', :center, :other),
    format('{"name": "Http", "centerIds": [%s, %s], "code": "HT/TP é", "timeZone": "Europe/Zurich"}', :center, :other),
    format('{"name": "Else", "centerIds": [%s], "code": "HT/TP é"}', :center),
    format('{"name": "Lost", "centerIds": [99998, %s, 99999], "code": "LOST"}', :center),
    '{"name": "Http", "centerIds": []}', '{"name": "Http"}', '{"centerIds": [1]}', '{"name": "", "centerIds": [1]}', '{"name": 7, "centerIds": [1]}',
    '{"name": "Http", "centerIds": 1}', '{"name": "Http", "centerIds": ["1"]}', '{"name": "Http", "centerIds": [1.5]}', '{"name": "Http", "centerIds": [1e30]}',
    '{"name": "Http", "centerIds": [[1]]}', '{"name": "Http", "centerIds": null}', '{"name": "Http", "centreIds": [1]}', '{"name": "Http", "centerIds": [1], "timeZone": "Nowhere"}',
    '{"name": "Http", "centerIds": [1], "status": "lost"}', '[]', 'null', '7', '{', '', '{"name": "\u0000"}', repeat('[', 10000), NULL]) WITH ORDINALITY b (body, place)
 ORDER BY place;
SELECT count(*) FROM clinical.project WHERE name = 'Lost';
SELECT test.http(role, 'http_get_project(''HT/TP é'')') AS answer, role FROM unnest('{regress_http_nurse,regress_http_phone,regress_http_none}'::text[]) role;
SELECT test.http('regress_http_nurse', format('http_get_project(%L)', code)) AS answer, code FROM unnest(ARRAY['', 'none', NULL]) code;
SELECT test.http('regress_http_nurse', $$http_create_project('{"name": "x", "centerIds": [1]}')$$);

-- === patients ===
SELECT count(clinical.use_instrument('HT/TP é', 'http-diary', true)),
       count(clinical.create_rule('{"code": "HTTP-R", "project": "HT/TP é", "kind": "threshold", "severity": "serious", "items": [{"item": "http_n", "range": "[0,8]"}]}'));
SELECT count(clinical.enroll_patient('http-' || g, 'Name ' || g, CASE WHEN g < 3 THEN date '1950-01-01' + g END, 'HT/TP é', CASE WHEN g < 5 THEN :center ELSE :other END,
                                     jsonb_build_object('arm', g % 2), effective_on => '2026-01-10')) FROM generate_series(1, 6) g;
SELECT test.http(role, format('http_get_patient(%L)', id)) AS answer, role, id
  FROM unnest('{regress_http_nurse,regress_http_far,regress_http_phone,regress_http_none}'::text[]) role, unnest(ARRAY['http-1', 'http-5', 'none', '', NULL]) id
 WHERE role <> 'regress_http_none' OR id = 'http-1';
SELECT test.http('regress_http_nurse', format('http_find_patients(%s)', args)) AS answer, args
  FROM unnest(ARRAY[$$'HT/TP é', NULL, NULL, NULL, NULL$$, $$'HT/TP é', NULL, NULL, NULL, '2'$$, $$'HT/TP é', NULL, NULL, 'http-2', '2'$$, $$'HT/TP é', NULL, NULL, 'http-4', '2'$$,
    $$NULL, NULL, '{"arm": 1}', NULL, NULL$$, $$NULL, '99999', NULL, NULL, NULL$$, $$NULL, 'x', NULL, NULL, NULL$$, $$NULL, '1e3', NULL, NULL, NULL$$, $$'none', NULL, NULL, NULL, NULL$$, $$'', NULL, NULL, NULL, NULL$$,
    $$NULL, NULL, '{', NULL, NULL$$, $$NULL, NULL, NULL, NULL, '0'$$, $$NULL, NULL, NULL, NULL, '1001'$$, $$NULL, NULL, NULL, NULL, '99999999999999999999'$$, $$NULL, NULL, NULL, NULL, ''$$]) args;
SELECT test.http('regress_http_phone', 'http_find_patients(NULL, NULL, NULL, NULL, NULL)');

-- === reports of patients ===
CREATE FUNCTION test.http_id(n int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT overlay('00000000-0000-4000-8000-000000000000' PLACING lpad(n::text, 4, '0') FROM 33) $$;
SELECT test.http('regress_http_phone', format('http_submit(%L)', body)) AS answer, body
  FROM unnest(ARRAY[
    format('{"patientId": "http-1", "reportData": {"http_n": 3}, "submissionId": "%s", "capturedAt": "2026-02-01T10:00:00+01:00", "instrument": "http-diary"}', test.http_id(1)),
    format('{"patientId": "http-1", "reportData": {"http_n": 9}, "submissionId": "%s", "capturedAt": "2026-02-02t10:00Z", "timeZone": "Asia/Tokyo", "originator": "site", "deviceId": "d"}', test.http_id(2)),
    format('{"patientId": "nobody", "reportData": {}, "submissionId": "%s"}', test.http_id(3)),
    '{"reportData": {}}', '{"patientId": "", "reportData": {}}', '{"patientId": 7, "reportData": {}}', '{"patientId": "http-1"}', '{"patientId": "http-1", "reportData": null}', '{"patientId": "http-1", "reportData": []}',
    '{"patientId": "http-1", "reportData": {}, "submissionId": "7"}', '{"patientId": "http-1", "reportData": {}, "submissionId": 7}',
    '{"patientId": "http-1", "reportData": {}, "capturedAt": "2026-02-01T10:00:00"}', '{"patientId": "http-1", "reportData": {}, "capturedAt": "yesterday"}', '{"patientId": "http-1", "reportData": {}, "capturedAt": "2026-02-30T10:00:00Z"}',
    '{"patientId": "http-1", "reportData": {}, "timeZone": "Nowhere"}', '{"patientId": "http-1", "reportData": {}, "originator": "me"}', '{"patientId": "http-1", "reportData": {}, "actor": "somebody else"}',
    '{"patientId": "http-1", "reportData": {}, "patient_id": "http-2"}', '"http-1"', '7', 'null', 'x', '{"patientId": "http-1", "reportData": {"http_n": 1}', '', NULL]) WITH ORDINALITY b (body, place) ORDER BY place;
SELECT (body ->> 'success') AS success, status, substr(body ->> 'submissionId', 15, 1) AS version FROM clinical.http_submit('{"patientId": "http-2", "reportData": {"http_n": 1}}');
-- too large
SELECT status, body FROM clinical.http_submit(format('{"patientId": "http-1", "reportData": {"http_n": 1, "note": "%s"}}', (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 40000) g)));
-- the header
SELECT test.http('regress_http_phone', format('http_submit(%L, %L)', body, key)) AS answer, key
  FROM (VALUES ('{"patientId": "http-3", "reportData": {"http_n": 1}}', test.http_id(11)), ('{"patientId": "http-3", "reportData": {"http_n": 1}}', '"' || test.http_id(12) || '"'),
               ('{"patientId": "http-3", "reportData": {"http_n": 1}}', 'key'), ('{"patientId": "http-3", "reportData": {"http_n": 1}}', ''),
               (format('{"patientId": "http-3", "reportData": {"http_n": 1}, "submissionId": "%s"}', test.http_id(13)), test.http_id(13)),
               (format('{"patientId": "http-3", "reportData": {"http_n": 1}, "submissionId": "%s"}', test.http_id(13)), test.http_id(14)), ('[]', test.http_id(15))) v (body, key);
-- what became of them
SELECT test.http('regress_http_phone', format('http_get_submission(%L, %L)', p, i)) ~ '^200 .*"status": "queued"' AS queued FROM (VALUES ('http-1', test.http_id(1))) v (p, i);
SELECT clinical.process_reports() > 0;
SELECT status, body - '{receivedAt,processedAt}'::text[] AS body, (body ->> 'processedAt')::timestamptz >= (body ->> 'receivedAt')::timestamptz AS in_order
  FROM clinical.http_get_submission('http-1', test.http_id(1));
SELECT status, body - '{receivedAt,processedAt,detail}'::text[] AS body FROM clinical.http_get_submission('nobody', test.http_id(3));
SELECT test.http(role, format('http_get_submission(%L, %L)', p, i)) AS answer, role, p, i
  FROM (VALUES ('regress_http_far', 'http-1', test.http_id(1)), ('regress_http_nurse', 'http-1', test.http_id(77)), ('regress_http_nurse', 'http-1', 'x'), ('regress_http_nurse', '', test.http_id(1)),
               ('regress_http_nurse', 'http-1', NULL), ('regress_http_admin', 'http-1', test.http_id(1))) v (role, p, i);
SELECT captured_at, time_zone, originator, device_id, trace_parent FROM clinical.submission WHERE patient_id = 'http-1' ORDER BY captured_at;
-- again, and with other content
SELECT test.http('regress_http_phone', format('http_submit(%L)', format('{"patientId": "http-1", "reportData": {"http_n": %s}, "submissionId": "%s", "capturedAt": "2026-02-01T10:00:00+01:00", "instrument": "http-diary"}', n, test.http_id(1))))
  FROM generate_series(3, 4) n;
-- a traceparent that is none is none
SELECT clinical.http_trace_parent(t), t FROM unnest(ARRAY['00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', '00-00000000000000000000000000000000-b7ad6b7169203331-01',
  '00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01', '01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', 'x', '', NULL]) t;
SELECT status FROM clinical.http_submit(format('{"patientId": "http-4", "reportData": {"http_n": 1}, "submissionId": "%s"}', test.http_id(21)), NULL, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
SELECT status FROM clinical.http_submit(format('[{"patientId": "http-4", "reportData": {"http_n": 1}, "submissionId": "%s"}]', test.http_id(22)), NULL, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
SELECT submission_id, trace_parent IS NOT NULL AS traced FROM clinical.staged_report WHERE patient_id = 'http-4' ORDER BY 1;

-- many
SELECT status, headers, jsonb_array_length(body) AS answers, jsonb_pretty(body) AS body FROM clinical.http_submit(format('[
  {"patientId": "http-4", "reportData": {"http_n": 1}, "submissionId": "%s", "capturedAt": "2026-02-03T10:00:00Z"},
  {"patientId": "http-4", "reportData": {"http_n": 2}, "actor": "me"}, 7, {"patientId": ""},
  {"patientId": "http-1", "reportData": {"http_n": 3}, "submissionId": "%s", "capturedAt": "2026-02-01T10:00:00+01:00", "instrument": "http-diary"},
  {"patientId": "http-1", "reportData": {"http_n": 7}, "submissionId": "%s"},
  {"patientId": "http-4", "reportData": {"http_n": 1}, "capturedAt": "2026-02-30T10:00:00Z"}, {"patientId": "http-4", "reportData": {"http_n": 1}, "capturedAt": "2026-02-20 10:00"}]', test.http_id(31), test.http_id(1), test.http_id(1)));
SELECT status, headers, body FROM clinical.http_submit('[]');
SELECT status, headers, body #- '{0,submissionId}' AS body FROM clinical.http_submit('[{"patientId": "http-4", "reportData": {"http_n": 1}}]');
-- a full queue
ALTER SYSTEM SET clinical.queue_capacity = 0;
SELECT pg_reload_conf();
-- a session takes over settings between commands
\set ECHO none
\o /dev/null
SELECT format('SELECT pg_sleep(0.02) WHERE (current_setting(''clinical.queue_capacity'') = ''0'') <> %L', true) FROM generate_series(1, 500) \gexec
\o
\set ECHO all
SELECT status, headers, body FROM clinical.http_submit('{"patientId": "http-4", "reportData": {"http_n": 1}}');
SELECT status, headers, body FROM clinical.http_submit('[{"patientId": "http-4", "reportData": {"http_n": 1}}, {"patientId": "http-4", "reportData": {"http_n": 1}}]');
SELECT status, headers FROM clinical.http_submit('[{"patientId": "http-4", "reportData": {"http_n": 1}}, 7]');
ALTER SYSTEM RESET clinical.queue_capacity;
SELECT pg_reload_conf();
\set ECHO none
\o /dev/null
SELECT format('SELECT pg_sleep(0.02) WHERE (current_setting(''clinical.queue_capacity'') = ''0'') <> %L', false) FROM generate_series(1, 500) \gexec
\o
\set ECHO all

-- === alerts ===
SELECT clinical.process_reports() > 0;
SELECT id AS alert FROM clinical.alert WHERE patient_id = 'http-1' \gset
CREATE FUNCTION test.without_clock(body jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT (body #- '{alerts,0,openedAt}'::text[] #- '{alerts,0,alertId}'::text[] #- '{alerts,0,centerID}'::text[])
           - '{alertId,acknowledgedAt}'::text[]
$$;
SELECT status, jsonb_pretty(test.without_clock(body)) AS body FROM clinical.http_list_alerts('HT/TP é', NULL);
SELECT role, test.http(role, $$http_list_alerts('HT/TP é', '1')$$) ~ '^200 .*"alertId"' AS sees_it FROM unnest('{regress_http_nurse,regress_http_far}'::text[]) role;
SELECT test.http(role, format('http_list_alerts(%s)', args)), role, args FROM (VALUES ('regress_http_phone', 'NULL, NULL'), ('regress_http_nurse', $$'none', NULL$$), ('regress_http_nurse', $$NULL, '0'$$), ('regress_http_nurse', $$NULL, 'x'$$)) v (role, args);
SELECT test.http(role, format('http_acknowledge_alert(%s)', args)), role
  FROM (VALUES ('regress_http_far', format('%L, %L', 'http-1', :'alert')), ('regress_http_admin', format('%L, %L', 'http-1', :'alert')), ('regress_http_nurse', format('%L, %L', 'http-1', 'x')),
               ('regress_http_nurse', format('%L, %L', 'http-2', :'alert')), ('regress_http_nurse', format('%L, %L, %L', 'http-1', :'alert', '{"comment": 7}')),
               ('regress_http_nurse', format('%L, %L, %L', 'http-1', :'alert', '{"reason": "x"}')), ('regress_http_nurse', format('%L, %L, %L', 'http-1', :'alert', 'x'))) v (role, args);
SET ROLE regress_http_nurse;
SELECT status, test.without_clock(body) AS body, body ? 'acknowledgedAt' AS acknowledged FROM clinical.http_acknowledge_alert('http-1', :'alert', '{"comment": "called"}');
RESET ROLE;
SELECT test.http('regress_http_nurse', format('http_acknowledge_alert(%L, %L, %L)', 'http-1', :'alert', ''));
SELECT kind, reason FROM clinical.alert_event WHERE patient_id = 'http-1' AND alert_id = :'alert' AND kind = 'acknowledged';

-- === what happens to alerts, as events ===
SELECT concat_ws('-', m - 3600000000, m, 3, 3, 0) AS hour, format('%s-%s-%s-%s-0', m, m, x, x) AS now
  FROM (SELECT (extract(epoch FROM now()) * 1000000)::bigint AS m, pg_snapshot_xmin(pg_current_snapshot())::text AS x) v \gset
CREATE FUNCTION test.without_clock(content text) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace(regexp_replace(regexp_replace(regexp_replace(content, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'ID', 'g'),
                          'id: \d+-\d+-\d+-\d+-0\n', E'id: NOW\n'), '"(recordedAt|openedAt)": "[^"]+"', '"\1": T', 'g'), '"centerID": \d+', '"centerID": N', 'g')
$$;
SET ROLE regress_http_nurse;
SELECT status, headers, test.without_clock(content) FROM clinical.http_stream_alerts('HT/TP é', :'hour');
SELECT status, headers, test.without_clock(content) FROM clinical.http_stream_alerts('HT/TP é', :'now');
SELECT status, headers, test.without_clock(content) FROM clinical.http_stream_alerts('none', :'hour');
-- none, and such as cannot be gone on from: the last one says that something may have been missed
SELECT left(last, 1) AS last, s.content ~ '^event: resync\ndata: {}\n\nid: [-0-9]+-0\n\n$' AS resync, s.content ~ '^id: [-0-9]+-0\n\n$' AS nothing
  FROM unnest(ARRAY[NULL, '', 'x', :'now' || '0', '1-1-1-1-0', '-', repeat('9', 1000), regexp_replace(:'now', '^\d+', '9' || repeat('0', 15)), regexp_replace(:'now', '0$', '1')])
       WITH ORDINALITY l (last, place), clinical.http_stream_alerts('HT/TP é', last) s ORDER BY place;
-- the alert of an event has the keys of the list
SELECT k FROM clinical.http_stream_alerts('HT/TP é', :'hour') s, jsonb_object_keys(substring(s.content FROM 'data: (.*?)\n\n')::jsonb) k
EXCEPT SELECT k FROM jsonb_object_keys(clinical.http_alert(NULL)) k ORDER BY 1;
RESET ROLE;
SET ROLE regress_http_far;
SELECT status, headers, test.without_clock(content) FROM clinical.http_stream_alerts(NULL, :'hour');
RESET ROLE;
SELECT test.http(role, 'http_stream_alerts(NULL, NULL)'), role FROM unnest('{regress_http_phone,regress_http_admin,regress_http_none}'::text[]) role;

-- === reports of projects ===
SELECT test.http(role, format('http_make_report(%s)', args)) AS answer, role, args
  FROM (VALUES ('regress_http_phone', $$'HT/TP é', '2026-01-01', '2026-04-01'$$), ('regress_http_nurse', $$'none', '2026-01-01', '2026-04-01'$$), ('regress_http_nurse', $$'HT/TP é', NULL, '2026-04-01'$$),
               ('regress_http_nurse', $$'HT/TP é', '2026-01-01', ''$$), ('regress_http_nurse', $$'HT/TP é', '2026-01-01', '2026-02-30'$$), ('regress_http_nurse', $$'HT/TP é', 'today', '2026-02-30'$$),
               ('regress_http_nurse', $$'HT/TP é', '2026-04-01', '2026-01-01'$$), ('regress_http_nurse', $$'HT/TP é', '2026-01-01', '2026-04-01', '{"x": 1}'$$), ('regress_http_nurse', $$'HT/TP é', '2026-01-01', '2026-04-01', '{'$$)) v (role, args);
SELECT status, headers, body #> '{header,period}' AS period, content IS NULL AS json FROM clinical.http_make_report('HT/TP é', '2026-01-01', '2026-04-01', '{"sections": ["status"]}');
SELECT status, headers, body IS NULL AS page, substr(content, 1, 15) AS begins FROM clinical.http_make_report('HT/TP é', '2026-01-01', '2026-04-01', '{"sections": ["status"]}', 'text/html');
SELECT accept, clinical.http_wants_page(accept)
  FROM unnest(ARRAY['text/html', 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', '*/*', 'application/json', 'application/json, text/html', 'TEXT/HTML; q=0.9, application/json;q=0.5',
    'text/html;q=0', 'text/*', 'text/html;q=0.1, */*', 'text/plain', '', NULL, 'text/html;q=x', 'text/html;level=1;q=0.3']) a (accept);

SELECT test.http(role, format('http_request_report(%s)', args)) AS answer, role, args
  FROM (VALUES ('regress_http_phone', $$'HT/TP é', '{}'$$), ('regress_http_nurse', $$'none', '{"from": "2026-01-01", "to": "2026-04-01"}'$$), ('regress_http_nurse', $$'HT/TP é', '{"from": "2026-01-01"}'$$),
               ('regress_http_nurse', $$'HT/TP é', '{"from": 2026, "to": "2026-04-01"}'$$), ('regress_http_nurse', $$'HT/TP é', '{"from": "2026-01-01", "to": "2026-04-01", "x": 1}'$$),
               ('regress_http_nurse', $$'HT/TP é', '{"from": "2026-01-01", "to": "2026-04-01", "options": {"x": 1}}'$$), ('regress_http_nurse', $$'HT/TP é', 'x'$$)) v (role, args);
SELECT body ->> 'id' AS report FROM clinical.http_request_report('HT/TP é', '{"from": "2026-01-01", "to": "2026-04-01", "options": {"sections": ["status"]}}') \gset
SELECT body ->> 'id' AS dropped, status, headers ->> 'Location' = '/api/v1/reports/' || (body ->> 'id') AS located, body ->> 'status' AS is FROM clinical.http_request_report('HT/TP é', '{"from": "2026-01-01", "to": "2026-04-01"}') \gset dropped_
SELECT :'dropped_status' AS status, :'dropped_located' AS located, :'dropped_is' AS is;
SELECT status, headers, body - '{id,requestedAt}'::text[] AS body FROM clinical.http_get_report(:'report');
SELECT test.http('regress_http_far', format('http_cancel_report(%L)', :'dropped_dropped')) AS other, test.http('regress_http_phone', format('http_cancel_report(%L)', :'dropped_dropped')) AS no_right;
SELECT status, body ->> 'status' AS is FROM clinical.http_cancel_report(:'dropped_dropped');
SELECT status, body ->> 'detail' AS detail, body #> '{report,status}' AS is FROM clinical.http_get_report(:'dropped_dropped');
SELECT test.http('regress_http_nurse', format('%s(%L)', f, id)) AS answer, f, id
  FROM unnest('{http_get_report,http_cancel_report}'::text[]) f, unnest(ARRAY['00000000-0000-7000-8000-000000000000', 'x', '', NULL]) id;
SELECT count(*) FROM (SELECT clinical.start_workers()) s;
CALL test.wait_reports();
SELECT count(*) FROM (SELECT clinical.stop_workers()) s;
SELECT status, headers, body #> '{header,period}' AS period FROM clinical.http_get_report(:'report', 'application/json');
SELECT status, headers ->> 'Content-Type' AS type, body IS NULL AS page, substr(content, 1, 15) AS begins FROM clinical.http_get_report(:'report', 'text/html,*/*;q=0.5');
SELECT test.http('regress_http_far', format('http_get_report(%L)', :'report')) AS of_other_centers;

-- === metrics: for who may read them ===
CREATE ROLE regress_http_watch IN ROLE pg_monitor;
SET ROLE regress_http_watch;
SELECT status, headers, body IS NULL AS text, content LIKE '# HELP clinical_intake_received_total %' AS metrics FROM clinical.http_metrics();
RESET ROLE;
SELECT test.http(role, 'http_metrics()') AS answer, role FROM unnest('{regress_http_nurse,regress_http_phone,regress_http_none}'::text[]) role;
SELECT role FROM unnest('{regress_http_admin}'::text[]) role WHERE test.http(role, 'http_metrics()') LIKE '200 %';
DROP ROLE regress_http_watch;

-- === what is none of the caller's stays an error ===
SELECT p.proname FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
 WHERE pronamespace = 'clinical'::regnamespace AND lanname = 'plpgsql' AND prosrc ~ 'WHEN OTHERS' AND prosrc !~ 'answer.status IS NULL THEN\s+RAISE;';
BEGIN READ ONLY;
SELECT test.http('regress_http_phone', $$http_submit('{"patientId": "http-1", "reportData": {}}')$$) AS submit,
       test.http('regress_http_admin', $$http_create_project('{"name": "x", "centerIds": [1]}')$$) AS project,
       test.http('regress_http_nurse', $$http_request_report('HT/TP é', '{"from": "2026-01-01", "to": "2026-04-01"}')$$) AS report;
ROLLBACK;

-- leave nothing behind
SELECT count(clinical.revoke_center('regress_http_nurse', :center)), count(clinical.revoke_center('regress_http_far', :other));
DROP ROLE regress_http_admin, regress_http_phone, regress_http_nurse, regress_http_far, regress_http_none;
SELECT count(*) FROM (SELECT clinical.start_workers()) s;
