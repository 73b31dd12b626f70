-- observation: corrections and withdrawals of what was accepted
SET datestyle = ISO;
SET timezone = 'UTC';
\pset null '-'
SELECT pg_catalog.count(*) FROM (SELECT clinical.stop_workers()) s;

SELECT id AS center FROM clinical.create_center('Observation', 'OB-1') \gset
SELECT code FROM clinical.create_project_with_centers('Observation', ARRAY[:center], 'OBSERVATION');
SELECT id FROM clinical.enroll_patient('ob-1', NULL, NULL, 'OBSERVATION', :center, effective_on => '2026-01-10');
SELECT version FROM clinical.create_instrument('{"code": "ob", "version": "1", "items": [
    {"code": "n", "type": "integer", "unit": "/min", "checks": [{"comparator": "GE", "values": [0], "soft_hard": "Hard"}]}, {"code": "d", "type": "decimal"},
    {"code": "b", "type": "boolean"}, {"code": "c", "type": "coded", "code_list": [{"code": "A", "score": 2}, {"code": "B"}]}, {"code": "t", "type": "text"},
    {"code": "day", "type": "date"}, {"code": "g", "type": "group", "repeats": true, "items": [{"code": "x", "type": "integer"}]}],
    "scores": [{"code": "s", "method": "sum", "items": ["n", "d"]}]}');
SELECT instrument FROM clinical.use_instrument('OBSERVATION', 'ob', true);
SELECT outcome FROM clinical.submit_report('ob-1', '{"n": 60, "d": 1.50, "b": true, "c": "A", "t": "x", "day": "2026-01-31", "g": [{"x": 1}, {"x": 2}]}',
    '00000000-0000-0000-0000-00000000b001', '2026-02-01 10:00+00');
SELECT clinical.process_reports();
SELECT item, repeat_key, value, value_text, value_code, unit, is_score, version FROM clinical.observation WHERE patient_id = 'ob-1' ORDER BY item, repeat_key;

CREATE FUNCTION test.correct(what text, corrected text, why text DEFAULT 'misread', repeat text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT test.try(format('SELECT concat_ws('' | '', version, repeat_key, value, value_text, value_code, unit, absent, reason, recorded_by = session_user) FROM clinical.correct_observation(%L, %L, %L, %L)', patient_id, id, corrected, why))
      FROM clinical.observation WHERE patient_id = 'ob-1' AND item = what AND repeat_key IS NOT DISTINCT FROM repeat AND version = 1
$$;
SELECT v.item, v.value, test.correct(v.item, v.value) FROM (VALUES ('n', '61'), ('n', '-1'), ('n', '61.5'), ('n', 'NaN'), ('n', '1e3'), ('n', ''), ('n', NULL), ('d', '2.25'), ('d', '.5'), ('d', '1..2'), ('d', '--1'),
    ('b', 'false'), ('b', 'no'), ('c', 'B'), ('c', 'C'), ('t', 'y'), ('day', '2026-01-30'), ('day', '2026-02-30'), ('s', '63.25'), ('s', 'x')) v (item, value);
SELECT test.correct('n', '62', NULL), test.correct('n', '62', ''), test.correct('x', '7', repeat => '2');
SET clinical.reason = 'from the transaction';
SELECT test.correct('n', '62', NULL);
RESET clinical.reason;
SELECT test.try($$SELECT clinical.correct_observation('ob-1', '00000000-0000-0000-0000-000000000000', '1', 'r')$$), test.try($$SELECT clinical.correct_observation(NULL, NULL, '1', 'r')$$),
       test.try($$SELECT clinical.correct_observation('ob-1', NULL, '1', 'r')$$);
SELECT item, repeat_key, version, value, value_text, value_code FROM clinical.current_observation WHERE patient_id = 'ob-1' ORDER BY item, repeat_key;
SELECT count(*) AS all_versions FROM clinical.observation WHERE patient_id = 'ob-1';

-- nobody else writes them
SELECT w, test.try(w) FROM unnest(ARRAY['UPDATE clinical.observation SET value = 1', 'DELETE FROM clinical.observation', 'INSERT INTO clinical.observation SELECT * FROM clinical.observation', 'TRUNCATE clinical.observation',
    'UPDATE clinical.submission SET status = ''withdrawn''', 'DELETE FROM clinical.submission', 'INSERT INTO clinical.submission SELECT * FROM clinical.submission']) w;

-- withdrawn, it stays
SELECT test.try($$SELECT clinical.withdraw_submission('ob-1', '00000000-0000-0000-0000-00000000b001', NULL)$$), test.try($$SELECT clinical.withdraw_submission('ob-1', '00000000-0000-0000-0000-00000000b002', 'r')$$),
       test.try($$SELECT clinical.withdraw_submission(NULL, NULL, 'r')$$), test.try($$SELECT clinical.withdraw_submission('ob-1', NULL, 'r')$$);
SELECT status, reason FROM clinical.withdraw_submission('ob-1', '00000000-0000-0000-0000-00000000b001', 'another patient''s');
SELECT test.try($$SELECT clinical.withdraw_submission('ob-1', '00000000-0000-0000-0000-00000000b001', 'twice')$$);
SELECT test.correct('n', '63');
SELECT count(*) FROM clinical.current_observation WHERE patient_id = 'ob-1';
SELECT outcome FROM clinical.submit_report('ob-1', '{"n": 60, "d": 1.50, "b": true, "c": "A", "t": "x", "day": "2026-01-31", "g": [{"x": 1}, {"x": 2}]}',
    '00000000-0000-0000-0000-00000000b001', '2026-02-01 10:00+00');
SELECT status FROM clinical.submission_status('ob-1', '00000000-0000-0000-0000-00000000b001');
SELECT withdrawn FROM clinical.intake_balance WHERE project_id = (SELECT id FROM clinical.project WHERE code = 'OBSERVATION');
SELECT DISTINCT table_name, operation, count(*) FROM clinical.patient_history('ob-1') GROUP BY 1, 2 ORDER BY 1, 2;
SELECT invariant, object FROM clinical.check();

-- what a report made is covered by the one audit record of the report; corrections are recorded value by value
SELECT table_name, operation, count(*), bool_and(changes @> '[{"column": "*"}]') AS by_digest FROM clinical.audit_record
 WHERE patient_id = 'ob-1' AND table_name IN ('submission', 'observation') GROUP BY 1, 2 ORDER BY 1, 2;
SELECT item, old_value, new_value FROM clinical.patient_history('ob-1')
 WHERE table_name = 'observation' AND row_key ->> 'item' = 'n' AND row_key ->> 'version' = '2' AND item NOT IN ('id', 'recorded_at', 'recorded_by') ORDER BY 1;
SELECT observations, observations_digest = (SELECT clinical.observation_digest(o.* ORDER BY random()) FROM clinical.observation o WHERE o.submission_id = s.id AND o.version = 1) AS digest
  FROM clinical.submission s WHERE patient_id = 'ob-1';
SELECT clinical.observation_digest(o.*) = sha256('') AS of_none, test.try('SELECT clinical.observation_digest(NULL)') FROM clinical.observation o WHERE false;
-- a report without any
SELECT outcome FROM clinical.submit_report('ob-1', '{}', '00000000-0000-0000-0000-00000000b003', '2026-02-03 10:00+00');
SELECT clinical.process_reports();
SELECT observations, observations_digest = sha256('') AS of_none FROM clinical.submission WHERE id = '00000000-0000-0000-0000-00000000b003';

-- redaction: in the report, and in all versions of an observation with what the records of corrections say of it
SELECT outcome FROM clinical.submit_report('ob-1', '{"n": 60, "c": "A", "t": "call Eve"}', '00000000-0000-0000-0000-00000000b004', '2026-02-04 10:00+00');
SELECT clinical.process_reports();
SELECT c.version FROM clinical.observation o, LATERAL clinical.correct_observation('ob-1', o.id, 'call Eve Smith', 'spelled out') c WHERE o.submission_id = '00000000-0000-0000-0000-00000000b004' AND o.item = 't';
SELECT c.version FROM clinical.observation o, LATERAL clinical.correct_observation('ob-1', o.id, 'call her', 'no name') c WHERE o.submission_id = '00000000-0000-0000-0000-00000000b004' AND o.item = 't' AND o.version = 1;
SELECT count(*) AS told FROM clinical.audit_record WHERE changes::text ~ 'Eve';
SELECT row_key AS text_key FROM clinical.observation o, LATERAL clinical.audit_row_of(o.*) WHERE submission_id = '00000000-0000-0000-0000-00000000b004' AND item = 't' AND version = 1 \gset
SELECT operation, jsonb_array_length(changes #> '{0,records}') AS records, changes #- '{0,records}' AS changes FROM clinical.redact('clinical.observation', :'text_key', '{value_text}', 'a name');
SELECT version, value_text FROM clinical.observation WHERE submission_id = '00000000-0000-0000-0000-00000000b004' AND item = 't' ORDER BY version;
SELECT row_key AS code_key FROM clinical.observation o, LATERAL clinical.audit_row_of(o.*) WHERE submission_id = '00000000-0000-0000-0000-00000000b004' AND item = 'c' \gset
SELECT operation FROM clinical.redact('clinical.observation', :'code_key', '{value_code}', 'mistyped');
SELECT operation FROM clinical.redact('clinical.observation', :'code_key', '{value}', 'mistyped');
SELECT digest AS before FROM clinical.submission WHERE id = '00000000-0000-0000-0000-00000000b004' \gset
SELECT operation, jsonb_array_length(changes #> '{0,records}') AS records FROM clinical.redact('clinical.submission', '{"patient_id": "ob-1", "id": "00000000-0000-0000-0000-00000000b004"}', '{report_data,t}', 'a name');
SELECT report_data, digest <> :'before' AS not_to_be_guessed FROM clinical.submission WHERE id = '00000000-0000-0000-0000-00000000b004';
SELECT count(*) AS told FROM clinical.audit_record WHERE changes::text ~ 'Eve';
-- in a report that was set aside, and put back since
SELECT outcome FROM clinical.submit_report('ob-1', '{"n": "x", "t": "call Eve"}', '00000000-0000-0000-0000-00000000b005', '2026-02-05 10:00+00');
SELECT clinical.process_reports();
SELECT clinical.requeue('ob-1', '00000000-0000-0000-0000-00000000b005', 'mended', '{"report_data": {"n": 61, "t": "call her"}}');
SELECT clinical.process_reports();
SELECT r.operation, jsonb_array_length(r.changes #> '{0,records}') AS records, q.requeued_at IS NOT NULL AS requeued
  FROM clinical.set_aside q, LATERAL clinical.audit_row_of(q.*) k, LATERAL clinical.redact('clinical.set_aside', k.row_key, '{report_data,t}', 'a name') r
 WHERE q.submission_id = '00000000-0000-0000-0000-00000000b005';
SELECT report_data FROM clinical.set_aside WHERE submission_id = '00000000-0000-0000-0000-00000000b005';
-- withdrawn before, and after
SELECT operation, jsonb_array_length(changes #> '{0,records}') AS records FROM clinical.redact('clinical.submission', '{"patient_id": "ob-1", "id": "00000000-0000-0000-0000-00000000b001"}', '{report_data,t}', 'r');
SELECT status FROM clinical.withdraw_submission('ob-1', '00000000-0000-0000-0000-00000000b004', 'r');
SELECT p AS path, test.try(format('SELECT clinical.redact(%L, %L, %L, %L)', t, CASE t WHEN 'clinical.submission' THEN '{"patient_id": "ob-1", "id": "00000000-0000-0000-0000-00000000b004"}' ELSE :'text_key' END, p, 'r'))
  FROM (VALUES ('clinical.submission', '{digest}'), ('clinical.submission', '{observations_digest}'), ('clinical.submission', '{observations}'), ('clinical.submission', '{report_data}'),
               ('clinical.observation', '{version}'), ('clinical.observation', '{submission_id}'), ('clinical.observation', '{local_day}')) v (t, p);
SELECT fault, place, detail FROM clinical.verify_audit();
SELECT invariant, object FROM clinical.check();

-- what was altered behind the trail's back is found, and a redaction does not cover it up
BEGIN;
SET LOCAL clinical.restore = on;
UPDATE clinical.observation SET value = 61 WHERE submission_id = '00000000-0000-0000-0000-00000000b004' AND item = 'n';
RESET clinical.restore;
SELECT test.try(format('SELECT clinical.redact(%L, %L, %L, %L)', 'clinical.observation', :'text_key', '{actor}', 'r'));
SELECT fault, place, detail FROM clinical.verify_audit();
ROLLBACK;
BEGIN;
SET LOCAL clinical.restore = on;
INSERT INTO clinical.observation SELECT patient_id, 'extra', captured_at, gen_random_uuid(), 1, submission_id, repeat_key, local_day, 1, NULL, NULL, NULL, NULL, false, false, NULL, recorded_at, recorded_by, NULL
  FROM clinical.observation WHERE submission_id = '00000000-0000-0000-0000-00000000b004' AND item = 'n';
INSERT INTO clinical.observation SELECT patient_id, item, captured_at, gen_random_uuid(), 1, '00000000-0000-0000-0000-00000000b009', repeat_key, local_day, 1, NULL, NULL, NULL, NULL, false, false, NULL, recorded_at, recorded_by, NULL
  FROM clinical.observation WHERE submission_id = '00000000-0000-0000-0000-00000000b004' AND item = 'n';
DELETE FROM clinical.observation WHERE submission_id = '00000000-0000-0000-0000-00000000b001' AND item = 'n' AND version = 1;
UPDATE clinical.submission SET device_id = 'x' WHERE id = '00000000-0000-0000-0000-00000000b003';
RESET clinical.restore;
SELECT fault, place, detail FROM clinical.verify_audit();
SELECT invariant, count(*) FROM clinical.check() GROUP BY 1 ORDER BY 1;
ROLLBACK;
SELECT fault, place, detail FROM clinical.verify_audit();

-- compliance: what became of expected entries
SELECT version FROM clinical.create_instrument('{"code": "ob-daily", "version": "1", "items": [{"code": "n", "type": "integer"}]}');
SELECT version FROM clinical.create_instrument('{"code": "ob-daily", "version": "2", "items": [{"code": "n", "type": "integer"}]}');
SELECT version FROM clinical.create_instrument('{"code": "ob-visit", "version": "1", "items": [{"code": "n", "type": "integer"}]}');
SELECT instrument FROM clinical.use_instrument('OBSERVATION', 'ob-daily', version => '1', effective_from => '2026-01-01');
SELECT instrument FROM clinical.use_instrument('OBSERVATION', 'ob-daily', version => '2', effective_from => '2026-03-04');
SELECT instrument FROM clinical.use_instrument('OBSERVATION', 'ob-visit');
SELECT schedule FROM clinical.schedule_entries('OBSERVATION', 'ob-daily', '{"kind": "daily", "from": "18:00", "to": "17:00", "grace_minutes": 120}');
SELECT schedule FROM clinical.schedule_entries('OBSERVATION', 'ob-visit', '{"kind": "visits", "visits": [{"code": "V1", "day": 1}, {"code": "V2", "day": 5, "before": 2, "after": 2}, {"code": "V3", "day": 8, "before": 2, "after": 9}]}');
SELECT id FROM clinical.enroll_patient('ob-c', NULL, NULL, 'OBSERVATION', :center, effective_on => '2026-03-01');
SELECT id FROM clinical.enroll_patient('ob-d', NULL, NULL, 'OBSERVATION', :center, effective_on => '2026-03-01');
SELECT period FROM clinical.excuse_entries('ob-c', '[2026-03-06 20:00+00,2026-03-06 21:00+00)', 'in hospital');
-- the daily window is from 18:00 to 17:00, then 2 hours of grace, of which one is in the next window
CREATE FUNCTION test.answer(patient text, instrument text, number int, captured timestamptz) RETURNS text LANGUAGE sql AS $$
    SELECT outcome FROM clinical.submit_report(patient, '{"n": 1}', ('00000000-0000-0000-0000-00000000c' || lpad(number::text, 3, '0'))::uuid, captured, instrument)
$$;
SELECT string_agg(DISTINCT test.answer('ob-c', v.instrument, v.number, v.captured), ' ') FROM (VALUES
    ('ob-daily', 1, '2026-03-01 18:00+00'::timestamptz),    -- the first moment of day 1
    ('ob-daily', 2, '2026-03-01 17:59:59+00'),              -- before any
    ('ob-daily', 3, '2026-03-02 17:30+00'),                 -- day 1 is completed: of no use
    ('ob-daily', 4, '2026-03-03 17:00+00'),                 -- the end of day 2 is not in it: late
    ('ob-daily', 5, '2026-03-04 18:30+00'),                 -- in the grace of day 3, and the window of day 4: day 3 is missed
    ('ob-daily', 6, '2026-03-05 18:00+00'), ('ob-daily', 7, '2026-03-05 19:00+00'),   -- two for day 5
    ('ob-daily', 8, '2026-03-06 18:30+00'),                 -- excused, and yet made
    ('ob-daily', 9, '2026-03-07 18:30+00'),                 -- to be withdrawn
    ('ob-visit', 10, '2026-03-01 12:00+00'), ('ob-visit', 11, '2026-03-07 12:00+00')  -- the second in V2 and V3: the one that began last
    ) v (instrument, number, captured);
SELECT string_agg(DISTINCT test.answer('ob-d', 'ob-daily', 20, '2026-03-02 19:00+00'), ' ');
SELECT clinical.process_reports();
SELECT status FROM clinical.withdraw_submission('ob-c', '00000000-0000-0000-0000-00000000c009', 'r');
SELECT instrument, day, visit, status, right(submission_id::text, 2) AS report, captured_at, received_at IS NOT NULL AS received
  FROM clinical.entry_compliance('ob-c', '[2026-03-01,2026-03-10)');
-- a part of it says the same, also where the report for its last day is one of the next
SELECT day, status FROM clinical.entry_compliance('ob-c', '[2026-03-03,2026-03-04)') WHERE instrument = 'ob-daily';
SELECT count(*) FROM (SELECT e.* FROM clinical.entry_compliance('ob-c', '[2026-03-01,2026-03-20)') e
                      EXCEPT SELECT f.* FROM generate_series(0, 18) g, clinical.entry_compliance('ob-c', daterange('2026-03-01'::date + g, '2026-03-02'::date + g)) f) s;
-- and all columns of the entry are those of expected_entries
SELECT count(*) FROM (SELECT e.instrument, e.day, e.visit, e.entry_window, e.closes_at, e.time_zone FROM clinical.entry_compliance('ob-c', '[2026-03-01,2026-03-20)') e
                      EXCEPT SELECT x.instrument, x.day, x.visit, x.entry_window, x.closes_at, x.time_zone FROM clinical.expected_entries('ob-c', '[2026-03-01,2026-03-20)') x) s;
-- as it was known when nothing had been received, and what is to come
SELECT status, count(*) FROM clinical.entry_compliance('ob-c', '[2026-03-01,2026-03-10)', '2026-03-05 00:00+00') GROUP BY 1 ORDER BY 1;
SELECT status, count(*) FROM clinical.entry_compliance('ob-c', '[2098-03-01,2098-03-03)') GROUP BY 1 ORDER BY 1;
SELECT day, status FROM clinical.entry_compliance('ob-d', '[2026-03-01,2026-03-04)') WHERE instrument = 'ob-daily';
SELECT count(*) FROM clinical.entry_compliance('ob-1', '[2025-03-01,2025-03-04)');
SELECT count(*) FROM clinical.entry_compliance('ob-c', '[2026-03-01,2036-03-09)');
SELECT count(*) FROM clinical.entry_compliance('ob-c', 'empty');
SELECT p, test.try(format('SELECT clinical.entry_compliance(%L, %L)', p, d)) FROM (VALUES ('nobody', '[2026-03-01,2026-03-04)'), ('', '[2026-03-01,2026-03-04)'), (NULL, '[2026-03-01,2026-03-04)'),
    ('ob-c', NULL), ('ob-c', '[2026-03-01,)'), ('ob-c', '(,2026-03-01)'), ('ob-c', '[2026-03-01,infinity)'), ('ob-c', '[2026-03-01,2099-01-01)')) v (p, d);
SELECT clinical.start_workers() IS NOT NULL AS started;
