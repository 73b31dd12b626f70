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
SELECT clinical.start_workers() IS NOT NULL AS started;
