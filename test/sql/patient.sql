-- patient: records, dated facts, search
SET datestyle = ISO;
SELECT (clinical.create_center('North', 'PT-N', 'Europe/Oslo')).id AS north \gset
SELECT (clinical.create_center('South', 'PT-S', 'Europe/Rome')).id AS south \gset
SELECT (clinical.create_center('Elsewhere', 'PT-E')).id AS elsewhere \gset
SELECT (clinical.create_project_with_centers('Patients', ARRAY[:north, :south], 'PT')).id AS project \gset
SELECT (clinical.create_project_with_centers('Other patients', ARRAY[:north], 'PT-2')).id AS project2 \gset

-- enroll_patient
SELECT id, project_id = :project AS project, center_id = :north AS center, status, status_on, name, birth_date,
       birth_year, age, sex, race, ethnicity, time_zone, record, record_version
  FROM clinical.enroll_patient('P001', 'Ada Example', '1950-02-03', 'PT', :north, '{"arm": "A", "visits": [1, 2]}', 'F',
                               'Europe/Paris', effective_on => '2026-02-01');
SELECT id, status, status_on, birth_year, sex, race, ethnicity
  FROM clinical.enroll_patient(id => 'P002', name => NULL, birth_date => NULL, project_code => 'PT', center_id => :north, status => 'screened',
                               effective_on => '2026-02-01', birth_year => 1944, race => 'ASIAN', ethnicity => 'NOT HISPANIC OR LATINO');
SELECT id, age, record FROM clinical.enroll_patient('P003', NULL, NULL, 'PT', :south, effective_on => '2026-02-02', age => 63);
-- without a day: today, in the center's calendar
SELECT status_on = (now() AT TIME ZONE 'Europe/Oslo')::date AS today FROM clinical.enroll_patient('P004', NULL, NULL, 'PT', :north);

-- what the statement itself has just created is seen
SELECT (clinical.enroll_patient('P000', NULL, NULL, (clinical.create_project_with_centers('Just now', ARRAY[(clinical.create_center('Just now')).id], 'PT-0')).code,
       (SELECT max(id) + 1 FROM clinical.center))).status_on IS NOT NULL AS enrolled;

-- ids are compared exactly
SELECT count(*) FROM (VALUES (' P001'), ('P001 '), ('p001'), (E'P001\u0301'), (U&'\FF30001'), ('Р001'), ('P0O1')) AS v (id),
       clinical.enroll_patient(v.id, 'Look-alike', NULL, 'PT', :north, effective_on => '2026-02-01');
SELECT name FROM clinical.get_patient('P001');
SELECT name FROM clinical.get_patient(' P001');
SELECT length(id), octet_length(id) FROM clinical.get_patient(E'P001\u0301');
SELECT test.try($$SELECT clinical.get_patient('p002')$$);
SELECT test.try($$SELECT clinical.get_patient('P002 ')$$);
SELECT test.try($$SELECT clinical.get_patient('')$$);
SELECT test.try($$SELECT clinical.get_patient(NULL)$$);
SELECT test.try(format($$SELECT clinical.get_patient(%L)$$, repeat('P', 1000000)));
SELECT test.try($$SELECT clinical.patient_json('P999')$$);
SELECT test.try($$SELECT clinical.patient_json('')$$);
SELECT test.try($$SELECT clinical.patient_json(NULL)$$);

-- documents
SELECT clinical.patient_json('P001');
SELECT clinical.patient_json('P002');
SELECT clinical.patient_json('P003');
SET datestyle = 'SQL, DMY';
SELECT clinical.patient_json('P001') ->> 'birthDate' AS iso;
SET datestyle = ISO;
SELECT clinical.patient_json(id) = jsonb_build_object('id', id, 'name', name, 'birthDate', coalesce(birth_date::text, birth_year::text),
       'projectID', 'PT', 'record', record) AS same, count(*)
  FROM clinical.patient WHERE project_id = :project GROUP BY 1;

-- put together by hand, byte for byte as the server would
BEGIN;
SELECT count(*) FROM generate_series(0, 40) g,
       clinical.enroll_patient(repeat('x', g + 1), nullif(repeat('ä', g), ''), CASE g % 3 WHEN 0 THEN date '1950-02-03' END, 'PT', :north,
           CASE g % 8 WHEN 0 THEN NULL WHEN 1 THEN '{}' ELSE jsonb_build_object(repeat('k', g), g, 'a', jsonb_build_array(g, NULL, repeat('v', g), jsonb_build_object('n', g / 7.0)), 't', repeat('long', g * 200)) END,
           birth_year => CASE g % 3 WHEN 1 THEN 1944 END);
SELECT count(*) AS documents, count(*) FILTER (WHERE d::text = s::text AND d = s AND pg_column_size(d) = pg_column_size(s) AND jsonb_hash(d) = jsonb_hash(s)
       AND d -> 'record' = p.record AND d ->> 'projectID' = 'PT' AND d #> '{record,a,3,n}' IS NOT DISTINCT FROM p.record #> '{a,3,n}' AND jsonb_strip_nulls(d) = jsonb_strip_nulls(s)) AS same
  FROM clinical.patient p, clinical.patient_json(p.id) d,
       jsonb_build_object('id', id, 'name', name, 'birthDate', coalesce(birth_date::text, birth_year::text), 'projectID', 'PT', 'record', record) s
 WHERE id ~ '^x+$';
ROLLBACK;

-- what enroll_patient refuses: one argument at a time
CREATE FUNCTION test.enroll(args text) RETURNS text LANGUAGE sql AS $$
    SELECT test.try('SELECT (clinical.enroll_patient(' || $1 || ')).id')
$$;
SELECT a AS arguments, test.enroll(replace(replace(replace(a, 'north', :'north'), 'south', :'south'), 'elsewhere', :'elsewhere')) AS answer FROM unnest(ARRAY[
    $$NULL, NULL, NULL, 'PT', north$$,
    $$'', NULL, NULL, 'PT', north$$,
    $$repeat('x', 256), NULL, NULL, 'PT', north$$,
    $$'P001', NULL, NULL, 'PT', north$$,
    $$'P001', 'Ada Example', '1950-02-03', 'PT', north, '{"arm": "A", "visits": [1, 2]}', 'F', 'Europe/Paris', effective_on => '2026-02-01'$$,
    $$'X', '', NULL, 'PT', north$$,
    $$'X', repeat('n', 1001), NULL, 'PT', north$$,
    $$'X', NULL, 'infinity', 'PT', north$$,
    $$'X', NULL, '2026-02-02', 'PT', north, effective_on => '2026-02-01'$$,
    $$'X', NULL, '1850-02-02', 'PT', north$$,
    $$'X', NULL, '0044-03-15 BC', 'PT', north$$,
    $$'X', NULL, '1950-01-01', 'PT', north, birth_year => 1950$$,
    $$'X', NULL, '1950-01-01', 'PT', north, age => 76$$,
    $$'X', NULL, NULL, 'PT', north, birth_year => 1950, age => 76$$,
    $$'X', NULL, NULL, 'PT', north, birth_year => 50$$,
    $$'X', NULL, NULL, 'PT', north, birth_year => 3000$$,
    $$'X', NULL, NULL, 'PT', north, age => -1$$,
    $$'X', NULL, NULL, 'PT', north, age => 151$$,
    $$'X', NULL, NULL, NULL, north$$,
    $$'X', NULL, NULL, '', north$$,
    $$'X', NULL, NULL, 'NOPE', north$$,
    $$'X', NULL, NULL, 'PT', NULL$$,
    $$'X', NULL, NULL, 'PT', 9000000000$$,
    $$'X', NULL, NULL, 'PT', elsewhere$$,
    $$'X', NULL, NULL, 'PT-2', south$$,
    $$'X', NULL, NULL, 'PT', north, '[]'$$,
    $$'X', NULL, NULL, 'PT', north, '"x"'$$,
    $$'X', NULL, NULL, 'PT', north, 'null'$$,
    $$'X', NULL, NULL, 'PT', north, sex => 'female'$$,
    $$'X', NULL, NULL, 'PT', north, sex => ''$$,
    $$'X', NULL, NULL, 'PT', north, race => ''$$,
    $$'X', NULL, NULL, 'PT', north, ethnicity => repeat('e', 1001)$$,
    $$'X', NULL, NULL, 'PT', north, time_zone => 'Mars/Phobos'$$,
    $$'X', NULL, NULL, 'PT', north, time_zone => ''$$,
    $$'X', NULL, NULL, 'PT', north, status => NULL$$,
    $$'X', NULL, NULL, 'PT', north, status => 'alive'$$,
    $$'X', NULL, NULL, 'PT', north, status => 'completed'$$,
    $$'X', NULL, NULL, 'PT', north, effective_on => 'infinity'$$,
    $$'X', NULL, NULL, 'PT', north, effective_on => current_date + 2$$]) AS a;

-- only active centers of active projects enroll
SELECT (clinical.set_center_status(:south, 'suspended', 'audit')).status;
SELECT test.enroll(format($$'X', NULL, NULL, 'PT', %s$$, :south)) ~ '^55000 center is not active' AS refused;
SELECT test.try(format($$SELECT clinical.transfer_patient('P001', %s, '2026-03-01', 'moved')$$, :south)) ~ '^55000 center is not active' AS refused;
SELECT (clinical.set_center_status(:south, 'active')).status;
SELECT (clinical.set_project_status('PT', 'suspended', 'safety')).status;
SELECT test.enroll(format($$'X', NULL, NULL, 'PT', %s$$, :south)) ~ '^55000 project is not active' AS refused;
SELECT test.try($$SELECT clinical.set_patient_status('P002', 'enrolled', '2026-02-03')$$) ~ '^55000 project is not active' AS refused;
-- but those on study may end
SELECT status FROM clinical.set_patient_status('P002', 'screen_failed', '2026-02-03');
SELECT (clinical.set_project_status('PT', 'active')).status;

-- merge patches: the examples of RFC 7396, appendix A
SELECT target, patch, clinical.merge_patch(target::jsonb, patch::jsonb) AS result,
       clinical.merge_patch(target::jsonb, patch::jsonb) = result::jsonb AS as_published
  FROM (VALUES ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'), ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
               ('{"a":"b"}', '{"a":null}', '{}'), ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
               ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'), ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
               ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
               ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'), ('["a","b"]', '["c","d"]', '["c","d"]'),
               ('{"a":"b"}', '["c"]', '["c"]'), ('{"a":"foo"}', 'null', 'null'), ('{"a":"foo"}', '"bar"', '"bar"'),
               ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'), ('[1,2]', '{"a":"b","c":null}', '{"a":"b"}'),
               ('{}', '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}')) AS v (target, patch, result);
-- what differs: exactly, by path
SELECT clinical.record_changes(o::jsonb, n::jsonb)
  FROM (VALUES ('{"a":1,"b":{"c":2,"d":[1,{"x":1}]}}', '{"a":1,"b":{"c":3,"d":[1,{"x":2}],"e":null}}'),
               ('{"a":1.0}', '{"a":1.00}'), ('{"a":"1"}', '{"a":1}'), ('{"a":true}', '{"a":false}'), ('{"a":null}', '{}'),
               ('{"a":null}', '{"a":null}'), ('{"a":{}}', '{"a":[]}'), ('{"a":{"b":{"c":1}}}', '{"a":{"b":{}}}'), ('{}', '{}'),
               ('[1]', '[1, 2]'), ('1', '"1"'), ('1', '1.0'), ('{"x":[1.10]}', '{"x":[1.1]}')) AS v (o, n);
-- to any depth that jsonb has; beyond the stack an error, not a crash
SELECT length(clinical.merge_patch((repeat('{"a":', 3000) || '1' || repeat('}', 3000))::jsonb,
                                   (repeat('{"a":', 3000) || '2' || repeat('}', 3000))::jsonb)::text);
SELECT jsonb_array_length(clinical.record_changes((repeat('{"a":', 3000) || '1' || repeat('}', 3000))::jsonb,
                          (repeat('{"a":', 3000) || '2' || repeat('}', 3000))::jsonb) -> 0 -> 'path');

-- amend_record
SELECT clinical.amend_record('P001', '{"arm": "B", "visits": null, "dose": {"mg": 1.50}}', 'randomised', 1);
SELECT test.try($$SELECT clinical.amend_record('P001', '{"arm": "C"}', 'late', 1)$$);
SELECT clinical.amend_record('P001', '{"arm": "B"}', 'nothing new', 2) AS still;
SELECT clinical.amend_record('P001', '{"dose": {"mg": 1.5}}', 'precision') AS scale_is_a_change;
SELECT clinical.amend_record('P001', '{"dose": {"unit": "mg"}}', NULL) AS no_reason;
BEGIN;
SET LOCAL clinical.reason = 'whole visit';
SET LOCAL clinical.actor = 'nurse.joy';
SELECT clinical.amend_record('P001', '{"dose": {"unit": "mg"}}', NULL);
UPDATE clinical.patient SET record = record - 'arm' WHERE id = 'P001';
COMMIT;
SELECT version, record, changes, reason, recorded_by = session_user AS by_me, actor, recorded_at <= clock_timestamp() AS dated
  FROM clinical.record_version WHERE patient_id = 'P001' ORDER BY version;
SELECT record_version, record FROM clinical.get_patient('P001');
SELECT a, test.try('SELECT clinical.amend_record(' || a || ')') FROM unnest(ARRAY[
    $$NULL, '{}', 'r'$$, $$'', '{}', 'r'$$, $$'P999', '{}', 'r'$$, $$'P001', NULL, 'r'$$, $$'P001', '[]', 'r'$$,
    $$'P001', 'null', 'r'$$, $$'P001', '{"a": 1}', ''$$, $$'P001', '{"a": 1}', E' \n'$$]) AS a;
SELECT test.try($$UPDATE clinical.patient SET record = '{}' WHERE id = 'P001'$$);
SELECT test.try($$UPDATE clinical.patient SET record = NULL WHERE id = 'P001'$$);
SELECT test.try($$UPDATE clinical.patient SET record_version = 7 WHERE id = 'P001'$$);

-- states: every way, tried
CREATE FUNCTION test.way(from_state text, to_state text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    way text;
    answer text;
    center bigint := (SELECT c.id FROM clinical.center c WHERE site_id = 'PT-N');
    patient text := concat('W-', from_state, '-', to_state);
    path text[] := CASE from_state WHEN 'screened' THEN '{}' WHEN 'enrolled' THEN '{}' WHEN 'screen_failed' THEN '{screen_failed}'
                   ELSE ARRAY['enrolled', from_state] END;
BEGIN
    PERFORM clinical.enroll_patient(patient, NULL, NULL, 'PT', center, effective_on => '2026-02-01',
                                    status => CASE from_state WHEN 'enrolled' THEN 'enrolled' ELSE 'screened' END);
    FOREACH way IN ARRAY path || to_state LOOP
        answer := test.try(format('SELECT (clinical.set_patient_status(%L, %L, %L, %L)).status', patient, way, '2026-02-01', 'because'));
    END LOOP;
    RETURN answer;
END
$$;
SELECT f AS from_state, t AS to_state, test.way(f, t)
  FROM unnest('{screened,screen_failed,enrolled,completed,withdrawn,lost_to_follow_up,died}'::text[]) f,
       unnest('{screened,screen_failed,enrolled,completed,withdrawn,lost_to_follow_up,died}'::text[]) t;

-- status events and their days
SELECT a, test.try('SELECT (clinical.set_patient_status(' || a || ')).status') FROM unnest(ARRAY[
    $$NULL, 'completed', '2026-03-01'$$, $$'', 'completed', '2026-03-01'$$, $$'P999', 'completed', '2026-03-01'$$,
    $$'P001', NULL, '2026-03-01'$$, $$'P001', 'alive', '2026-03-01'$$, $$'P001', 'completed', NULL$$,
    $$'P001', 'completed', '2026-01-31'$$, $$'P001', 'completed', current_date + 2$$, $$'P001', 'completed', '-infinity'$$,
    $$'P001', 'withdrawn', '2026-03-01'$$, $$'P001', 'withdrawn', '2026-03-01', ' '$$]) AS a;
SELECT center_id = :south AS moved, status, status_on FROM clinical.transfer_patient('P001', :south, '2026-02-10', 'moved house');
SELECT status, status_on, center_id = :south AS there FROM clinical.set_patient_status('P001', 'withdrawn', '2026-03-01', 'consent withdrawn');
SELECT a, test.try('SELECT (clinical.transfer_patient(' || replace(replace(replace(a, 'north', :'north'), 'south', :'south'), 'elsewhere', :'elsewhere') || ')).status') FROM unnest(ARRAY[
    $$NULL, north, '2026-03-01', 'r'$$, $$'P999', north, '2026-03-01', 'r'$$, $$'P003', NULL, '2026-03-01', 'r'$$,
    $$'P003', north, NULL, 'r'$$, $$'P003', north, '2026-03-01', NULL$$, $$'P003', north, '2026-01-01', 'r'$$,
    $$'P003', elsewhere, '2026-03-01', 'r'$$, $$'P003', 9000000000, '2026-03-01', 'r'$$,
    $$'P003', south, '2026-03-01', 'r'$$, $$'P001', north, '2026-03-02', 'r'$$, $$'P002', north, '2026-03-02', 'r'$$]) AS a;
SELECT event_no, status, effective_on, CASE center_id WHEN :north THEN 'north' WHEN :south THEN 'south' END AS center, reason,
       recorded_by = session_user AS by_me, actor
  FROM clinical.enrollment_event WHERE patient_id = 'P001' ORDER BY event_no;
-- what is dated is not changed directly, and what happened is not changed at all
SELECT u, test.try('UPDATE clinical.patient SET ' || u || ' WHERE id = ''P003''') FROM unnest(ARRAY[
    'id = ''P3''', 'project_id = project_id + 1', 'status = ''died''', 'status_on = ''2026-02-03''', 'center_id = center_id - 1',
    'time_zone = ''UTC''', 'created_at = NULL', 'sex = ''X''', 'birth_date = ''1950-01-01''', 'name = ''''']) AS u;
SELECT test.try($$DELETE FROM clinical.patient WHERE id = 'P003'$$) ~ '^23503' AS refused;
SELECT t, test.try(format('UPDATE clinical.%I SET recorded_by = ''me''', t)) ~ '^55000 rows of' AS no_update,
       test.try(format('DELETE FROM clinical.%I', t)) ~ '^55000 rows of' AS no_delete,
       test.try(format('TRUNCATE clinical.%I', t)) ~ '^55000 .*is audited' AS no_truncate
  FROM unnest('{record_version,enrollment_event,patient_time_zone}'::text[]) t;
SELECT test.try($$INSERT INTO clinical.record_version (patient_id, version, record, changes) VALUES ('P003', 2, '{}', '[]')$$);

-- time zones, dated
SELECT time_zone FROM clinical.set_patient_time_zone('P001', 'America/Los_Angeles', '2026-06-01 12:00+00');
SELECT time_zone FROM clinical.set_patient_time_zone('P001', 'Asia/Tokyo', '2026-05-01 00:00+00');
SELECT time_zone FROM clinical.set_patient_time_zone('P001', 'America/Denver', '2026-06-01 12:00+00');
SELECT at, clinical.time_zone_at('P001', at) FROM unnest('{1999-01-01,2026-04-30 23:59:59+00,2026-05-01 00:00+00,2026-06-01 11:59+00,2026-06-01 12:00+00,infinity}'::timestamptz[]) at;
-- without one of his own: that of the center he was at
SELECT center_id = :north AS moved FROM clinical.transfer_patient('P003', :north, '2026-03-01', 'moved house');
SELECT at, clinical.time_zone_at('P003', at) FROM unnest('{1999-01-01,2026-02-28 22:59+00,2026-02-28 23:00+00,infinity}'::timestamptz[]) at;
SELECT a, test.try('SELECT clinical.set_patient_time_zone(' || a || ')') FROM unnest(ARRAY[
    $$NULL, 'UTC', '2026-03-01'$$, $$'', 'UTC', '2026-03-01'$$, $$'P999', 'UTC', '2026-03-01'$$, $$'P001', NULL, '2026-03-01'$$,
    $$'P001', 'Foo5', '2026-03-01'$$, $$'P001', 'UTC', NULL$$, $$'P001', 'UTC', 'infinity'$$]) AS a;
SELECT test.try($$SELECT clinical.time_zone_at('P999', now())$$);
SELECT test.try($$SELECT clinical.time_zone_at(NULL, now())$$);
SELECT test.try($$SELECT clinical.time_zone_at('P001', NULL)$$);

-- COPY keeps the rules, and takes a history
COPY clinical.center (id, name, time_zone) FROM stdin;
7001	Copied	Europe/Lisbon
\.
COPY clinical.project (id, name, code) FROM stdin;
7001	Copied patients	PT-C
\.
COPY clinical.project_center (project_id, center_id) FROM stdin;
7001	7001
\.
COPY clinical.patient (id, project_id, center_id, status, status_on, birth_year, time_zone, record, record_version) FROM stdin;
C1	7001	7001	screened	2026-01-10	1941	\N	{"g": 1}	99
C2	7001	7001	screened	2026-01-10	1942	Europe/Rome	{"g": 2}	99
C3	7001	7001	screened	2026-01-10	1943	\N	{"g": 3}	99
C4	7001	7001	screened	2026-01-10	1944	Europe/Rome	{"g": 4}	99
C5	7001	7001	screened	2026-01-10	1945	\N	{"g": 5}	99
\.
SELECT p.id, p.record_version, count(DISTINCT e.event_no) AS events, count(DISTINCT v.version) AS versions, count(DISTINCT z.event_no) AS zones
  FROM clinical.patient p JOIN clinical.enrollment_event e ON e.patient_id = p.id JOIN clinical.record_version v ON v.patient_id = p.id
  LEFT JOIN clinical.patient_time_zone z ON z.patient_id = p.id WHERE p.id ~ '^C\d' GROUP BY p.id ORDER BY p.id;
COPY clinical.enrollment_event (patient_id, status, effective_on, reason) FROM stdin;
C1	enrolled	2026-01-20	\N
C2	screen_failed	2026-01-20	\N
C1	withdrawn	2026-02-20	adverse event
C3	enrolled	2026-01-21	\N
C3	died	2026-04-01	\N
\.
SELECT id, status, status_on FROM clinical.patient WHERE id ~ '^C\d' ORDER BY id;
COPY clinical.enrollment_event (patient_id, status, effective_on, reason, event_no, recorded_at, recorded_by, actor) FROM stdin;
C4	enrolled	2026-01-20		17	1999-01-01	nobody	nobody
\.
SELECT event_no, reason, recorded_at > now() - interval '1 hour' AS now, recorded_by = session_user AS by_me, actor
  FROM clinical.enrollment_event WHERE patient_id = 'C4';
-- one bad line and nothing is stored
COPY clinical.enrollment_event (patient_id, status, effective_on, reason) FROM stdin;
C4	completed	2026-02-20	\N
C5	completed	2026-02-20	\N
\.
SELECT id, status FROM clinical.patient WHERE id IN ('C4', 'C5') ORDER BY id;
COPY clinical.enrollment_event (patient_id, status, effective_on) FROM stdin;
C1	withdrawn	2026-02-20
\.
COPY clinical.enrollment_event (patient_id, status, effective_on, center_id) FROM stdin;
C5	enrolled	2026-02-20	9000000000
\.
COPY clinical.enrollment_event (status, effective_on) FROM stdin;
completed	2026-02-20
\.
SELECT test.try($$WITH p AS (INSERT INTO clinical.patient (id, project_id, center_id, status, status_on) VALUES ('CTE', 7001, 7001, 'screened', '2026-01-10') RETURNING id)
    INSERT INTO clinical.enrollment_event (patient_id, status, effective_on) SELECT id, 'enrolled', '2026-01-11' FROM p$$);
COPY clinical.patient_time_zone (patient_id, effective_from, time_zone) FROM stdin;
C1	2026-01-25 00:00+00	Asia/Tokyo
C1	2026-01-15 00:00+00	Asia/Seoul
\.
SELECT time_zone FROM clinical.get_patient('C1');
-- a center that takes no part, and one that is not active
SELECT test.try(format($$INSERT INTO clinical.patient (id, project_id, center_id, status, status_on) VALUES ('E1', %s, %s, 'screened', '2026-01-10')$$, :project, :elsewhere)) ~ '^23503' AS refused;
SELECT (clinical.set_center_status(:south, 'suspended')).status;
SELECT test.try(format($$INSERT INTO clinical.patient (id, project_id, center_id, status, status_on) VALUES ('E1', %s, %s, 'screened', '2026-01-10')$$, :project, :south)) ~ '^55000 center is not active' AS refused;
SELECT (clinical.set_center_status(:south, 'active')).status;
-- MERGE, ON CONFLICT
BEGIN;
SET LOCAL clinical.reason = 'import';
INSERT INTO clinical.patient AS p (id, project_id, center_id, status, status_on, record)
SELECT 'C' || g, 7001, 7001, 'screened', '2026-01-10', '{"upsert": true}' FROM generate_series(5, 6) g
    ON CONFLICT (id) DO UPDATE SET record = p.record || excluded.record;
MERGE INTO clinical.patient p USING (VALUES ('C6'), ('C7')) AS s (id) ON p.id = s.id
 WHEN MATCHED THEN UPDATE SET record = p.record || '{"merge": 1}'
 WHEN NOT MATCHED THEN INSERT (id, project_id, center_id, status, status_on) VALUES (s.id, 7001, 7001, 'enrolled', '2026-01-10');
COMMIT;
SELECT patient_id, version, record, changes, reason FROM clinical.record_version WHERE patient_id IN ('C5', 'C6', 'C7') ORDER BY 1, 2;

-- a reason that is gone before the version is written
SELECT test.try($$UPDATE clinical.patient SET record = '{"a": 1}' WHERE id = 'C7' RETURNING set_config('clinical.reason', '', false) $$);
BEGIN;
SET LOCAL clinical.reason = 'here and gone';
UPDATE clinical.patient SET record = '{"a": 1}' WHERE id = 'C7' RETURNING set_config('clinical.reason', '', true) IS NOT NULL AS cleared;
ROLLBACK;
-- triggers of others meet the rules, although they run below ours
CREATE FUNCTION test.follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id = 'C5' THEN
        PERFORM clinical.set_patient_time_zone(NEW.id, 'Europe/Madrid', '2026-02-20 00:00+00');
    ELSE
        UPDATE clinical.patient SET status = 'died' WHERE id = 'C6';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER follow AFTER UPDATE OF status ON clinical.patient FOR EACH ROW EXECUTE FUNCTION test.follow();
SELECT status FROM clinical.set_patient_status('C5', 'enrolled', '2026-02-20');
SELECT time_zone FROM clinical.get_patient('C5');
SELECT test.try($$SELECT clinical.set_patient_status('C4', 'completed', '2026-02-20')$$);
DROP TRIGGER follow ON clinical.patient;
-- a birth date is checked against the day of entry, and when it is told only
SELECT id FROM clinical.enroll_patient('OLD', NULL, NULL, 'PT-C', 7001, birth_year => 1875, effective_on => '2025-06-01');
SELECT status FROM clinical.set_patient_status('OLD', 'completed', '2026-01-01');
SELECT test.try($$UPDATE clinical.patient SET birth_year = NULL, birth_date = '2025-12-31' WHERE id = 'OLD'$$);
SELECT test.try($$SELECT clinical.enroll_patient('X', NULL, NULL, 'PT-C', 7001, effective_on => '0026-01-10')$$);
-- a column that is dropped or added beside ours does no harm
BEGIN;
ALTER TABLE clinical.patient DROP COLUMN ethnicity, ADD COLUMN p text DEFAULT 'p', ADD COLUMN c text DEFAULT 'c';
SELECT id, record, p FROM clinical.find_patients('PT-C', record_contains => '{"merge": 1}');
SELECT id, record FROM clinical.find_patients('PT-C', page_size => 1);
SELECT id, record, p FROM clinical.get_patient('C6');
ROLLBACK;

-- find_patients: pages in the order of bytes
SELECT id FROM clinical.find_patients(page_size => 5);
SELECT id FROM clinical.find_patients('PT-C', after_id => 'C3', page_size => 3);
SELECT id FROM clinical.find_patients(center_id => :south);
SELECT id FROM clinical.find_patients(record_contains => '{"merge": 1}');
SELECT id FROM clinical.find_patients('PT-C', 7001, '{"upsert": true}', 'C5');
SELECT id FROM clinical.find_patients(record_contains => '{"dose": {"unit": "mg"}}');
SELECT count(*) FROM clinical.find_patients('PT-2');
SELECT count(*) = (SELECT least(count(*), 100) FROM clinical.patient) AS all_of_them FROM clinical.find_patients(record_contains => '{}');
SELECT count(*) FROM clinical.find_patients(record_contains => '[]');
SELECT count(*) FROM clinical.find_patients(after_id => 'zzzz');
SELECT a, test.try('SELECT count(*) FROM clinical.find_patients(' || a || ')') FROM unnest(ARRAY[
    $$'NOPE'$$, $$''$$, $$center_id => 9000000000$$, $$page_size => 0$$, $$page_size => 1001$$, $$page_size => -1$$, $$page_size => NULL$$]) AS a;
-- every combination of conditions gives what plain SQL gives, page after page, also where so many match
-- that walking along the ids is enough, or so few that it is not
INSERT INTO clinical.patient (id, project_id, center_id, status, status_on, record)
SELECT 'M' || lpad(g::text, 3, '0'), 7001, 7001, 'screened', '2026-01-10', jsonb_build_object('half', g % 2, 'late', g > 290) FROM generate_series(1, 300) g;
CREATE FUNCTION test.pages(p text, c bigint, r jsonb, page int) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    result text[] := '{}';
    ids text[];
BEGIN
    LOOP
        ids := ARRAY(SELECT f.id FROM clinical.find_patients(p, c, r, result[cardinality(result)], page) f);
        result := result || ids;
        EXIT WHEN cardinality(ids) < page;
    END LOOP;
    RETURN result;
END
$$;
SELECT count(*) AS combinations, count(*) FILTER (WHERE test.pages(p, c, r, s) = ARRAY(
           SELECT t.id FROM clinical.patient t JOIN clinical.project j ON j.id = t.project_id
            WHERE (p IS NULL OR j.code = p) AND (c IS NULL OR t.center_id = c) AND (r IS NULL OR t.record @> r)
            ORDER BY t.id COLLATE "C")) AS right
  FROM unnest(ARRAY[NULL, 'PT', 'PT-2', 'PT-C']) p, unnest(ARRAY[NULL, :north, :south, 7001]) c,
       unnest(ARRAY[NULL, '{}', '{"g": 3}', '{"upsert": true}', '{"none": 0}', '{"half": 1}', '{"late": true}']::jsonb[]) r, unnest(ARRAY[1, 7, 1000]) s;
-- in one session, a search path of the caller's own changes nothing
SET search_path = test;
SELECT id FROM clinical.find_patients(record_contains => '{"merge": 1}');
SELECT name FROM clinical.get_patient('P001');
RESET search_path;

-- a center with patients stays in the project
SELECT test.try(format($$SELECT clinical.remove_center('PT', %s, 'no more')$$, :north)) ~ '^23503' AS refused;

-- the invariants hold, and each is seen broken
SELECT * FROM clinical.check();
BEGIN;
SET LOCAL clinical.restore = on;
SET LOCAL clinical.reason = 'to be found';
UPDATE clinical.patient SET status = 'died' WHERE id = 'C1';
UPDATE clinical.patient SET status_on = '2026-02-21' WHERE id = 'C2';
UPDATE clinical.patient SET record = '{"g": 3.0}' WHERE id = 'C3';
UPDATE clinical.patient SET time_zone = 'Asia/Seoul' WHERE id = 'C4';
UPDATE clinical.patient SET time_zone = 'Asia/Seoul' WHERE id = 'C5';
DELETE FROM clinical.enrollment_event WHERE patient_id = 'P001' AND event_no = 2;
SELECT * FROM clinical.check() ORDER BY 2;
ROLLBACK;
SELECT count(*) FROM clinical.check();

-- messages and details show no values of a row: a canary in each of them
SELECT bool_or(m ~ 'Canary') AS leaked, count(*) AS tries FROM (
    SELECT test.try(format($$INSERT INTO clinical.patient (id, project_id, center_id, status, status_on, name, record, %s) VALUES ('K', %s, %s, 'enrolled', '2026-01-01', 'Canary', '{"c": "Canary"}', %s)$$,
           c, :project, :north, v)) AS m
      FROM (VALUES ('sex', '''Canary'''), ('birth_year', '1'), ('age', '999'), ('birth_date', '''3000-01-01'''),
                   ('time_zone', '''Canary'''), ('race', ''''''), ('ethnicity', '''''')) AS v (c, v)
    UNION ALL
    SELECT test.try(format('UPDATE clinical.patient SET name = ''Canary'', %s = NULL WHERE id = ''P001''', c))
      FROM unnest('{id,project_id,center_id,status,status_on,record,record_version,created_at}'::text[]) c) t;
DROP FUNCTION test.pages, test.way, test.enroll;
