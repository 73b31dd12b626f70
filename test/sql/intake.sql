-- intake: what submit_report answers, what becomes of reports, quarantine, the balance
SET datestyle = ISO;
SET timezone = 'UTC';
\pset null '-'
SELECT pg_catalog.count(*) FROM (SELECT clinical.stop_workers()) s;

SELECT id AS center FROM clinical.create_center('Intake', 'IN-1', 'Europe/Amsterdam') \gset
SELECT code FROM clinical.create_project_with_centers('Intake', ARRAY[:center], 'INTAKE');
SELECT id FROM clinical.project WHERE code = 'INTAKE' \gset project_
SELECT count(clinical.enroll_patient('in-' || g, NULL, NULL, 'INTAKE', :center, effective_on => '2026-01-10')) FROM generate_series(1, 20) g;
SELECT version FROM clinical.create_instrument('{"code": "bp", "version": "1", "items": [
    {"code": "sys", "type": "integer", "unit": "mm[Hg]", "required": true, "checks": [
        {"comparator": "LE", "values": [300], "soft_hard": "Hard"}, {"id": "high", "comparator": "LE", "values": [180], "soft_hard": "Soft"}]},
    {"code": "dia", "type": "integer", "unit": "mm[Hg]"},
    {"code": "well", "type": "boolean"},
    {"code": "pill", "type": "coded", "repeats": true, "code_list": [{"code": "A", "score": 2}, {"code": "B"}]},
    {"code": "note", "type": "text"}],
    "scores": [{"code": "sum", "method": "sum", "items": ["sys", "dia"], "min_answered": 2}]}');
SELECT instrument FROM clinical.use_instrument('INTAKE', 'bp', true);
CREATE FUNCTION test.uuid(n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT lpad(to_hex(n), 32, '0')::uuid $$;
-- the columns that do not depend on the clock
CREATE FUNCTION test.submit(n int, patient text, data jsonb, captured timestamptz DEFAULT '2026-02-01 10:00+00', instrument text DEFAULT NULL, zone text DEFAULT NULL)
    RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' | ', success, outcome, message, submission_id = test.uuid(n))
      FROM clinical.submit_report(patient, data, test.uuid(n), captured, instrument, zone)
$$;

-- the answers
SELECT test.submit(1, 'in-1', '{"sys": 120, "dia": 80}') AS first, test.submit(2, 'in-2', '{"sys": 120, "dia": 80}') AS other_patient;
SELECT test.submit(1, 'in-2', '{"sys": 121}') AS same_id_other_patient;
SELECT test.submit(1, 'in-1', '{"dia":   80, "sys": 120}') AS again_while_it_waits, test.submit(1, 'in-1', '{"sys": 125}') AS another_while_it_waits;
SELECT success, message, substr(submission_id::text, 15, 1) AS version, outcome FROM clinical.submit_report('in-3', '{"sys": 119}');
SELECT status FROM clinical.submission_status('in-1', test.uuid(1));
SELECT clinical.process_reports(2) AS limited, clinical.process_reports() AS rest, clinical.process_reports() AS none_left;
SELECT test.submit(1, 'in-1', '{"sys": 120, "dia": 80}') AS again, test.submit(1, 'in-1', '{"sys": 126}') AS another, test.submit(1, 'in-1', '{"sys": 126}') AS kept_once;
SELECT test.submit(1, 'in-1', '{"sys": 120, "dia": 80}', '2026-02-01 10:01+00') AS other_time;
SELECT outcome, reason_code, report_data, processed_at >= received_at AS later FROM clinical.set_aside WHERE submission_id = test.uuid(1) ORDER BY arrival;
SET clinical.actor = 'nurse@example.org';
SELECT outcome FROM clinical.submit_report('in-3', '{"sys": 118}', test.uuid(3), '2026-02-02 23:30+00', 'bp', 'America/New_York', 'site', 'dev-1',
    trace_parent => '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
RESET clinical.actor;
SELECT clinical.process_reports();
SELECT status, captured_at, local_day, time_zone, originator, device_id, login = session_user AS mine, actor, trace_parent, observations, report_data
  FROM clinical.submission WHERE id = test.uuid(3);

-- arguments
SELECT c AS call, test.try('SELECT clinical.submit_report(' || c || ')') FROM unnest(ARRAY[
    'NULL, ''{}''', ''''', ''{}''', '''x'', NULL', '''x'', ''[]''', '''x'', ''1''', '''x'', ''{}'', captured_at => ''infinity''',
    '''x'', ''{}'', time_zone => ''No/Where''', '''x'', ''{}'', originator => ''ghost''', '''x'', ''{}'', originator => NULL', '''x'', ''{}'', device_id => ''''',
    '''x'', ''{}'', instrument => repeat(''x'', 256)', 'repeat(''x'', 256), ''{}''', '''x'', ''{}'', trace_parent => ''x''',
    '''x'', ''{}'', trace_parent => ''00-00000000000000000000000000000000-b7ad6b7169203331-01''',
    '''x'', ''{}'', trace_parent => ''00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0G''',
    '''x'', jsonb_build_object(''k'', repeat(''long'', 300000))']) c;
SELECT test.try('SELECT clinical.process_reports(0)');
SELECT test.try('SELECT clinical.submission_status(NULL, NULL)'), test.try('SELECT clinical.submission_status(''in-1'', NULL)'),
       test.try('SELECT clinical.submission_status(''in-1'', test.uuid(77))');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT test.try('SELECT clinical.process_reports()');
ROLLBACK;
BEGIN READ ONLY;
SELECT test.try($$SELECT clinical.submit_report('in-1', '{}')$$);
ROLLBACK;

-- why a report cannot be accepted
SELECT test.submit(10, 'nobody', '{"sys": 120}') IS NULL, test.submit(11, 'in-4', '{"sys": 120}', '2026-01-09 22:59+00') IS NULL,
       test.submit(12, 'in-4', '{"sys": 120}', now() + interval '1 hour') IS NULL, test.submit(13, 'in-4', '{"sys": 120}', instrument => 'no-such') IS NULL,
       test.submit(14, 'in-4', '{"dia": 80}') IS NULL, test.submit(15, 'in-4', '{"sys": 301, "secret": 1}') IS NULL, test.submit(16, 'in-4', '{"sys": "120"}') IS NULL,
       test.submit(17, 'in-4', '{"sys": 120, "pill": ["A", "C"]}') IS NULL, test.submit(18, 'in-4', '{"sys": {"value": 120, "unit": "kg"}}') IS NULL,
       test.submit(19, 'in-4', '{"resourceType": "QuestionnaireResponse", "status": "completed", "subject": {"reference": "Patient/in-5"}, "item": [{"linkId": "sys", "answer": [{"valueInteger": 1}]}]}') IS NULL,
       test.submit(20, 'in-4', '{"resourceType": "QuestionnaireResponse", "status": "completed", "authored": "2026-03-01", "item": [{"linkId": "sys", "answer": [{"valueInteger": 1}]}]}') IS NULL,
       test.submit(21, 'in-4', (repeat('{"a":', 4000) || '1' || repeat('}', 4000))::jsonb) IS NULL;
SELECT id FROM clinical.set_patient_status('in-6', 'withdrawn', '2026-02-01', 'moved away');
SELECT test.submit(22, 'in-6', '{"sys": 120}', '2026-02-01 22:59+00') IS NULL AS last_day, test.submit(23, 'in-6', '{"sys": 120}', '2026-02-01 23:00+00') IS NULL AS day_after;
-- what can
SELECT test.submit(30, 'in-5', '{"sys": 181, "dia": 90, "well": true, "pill": ["A", {"absent": "unknown"}], "note": "slept badly"}') IS NULL,
       test.submit(31, 'in-5', '{"resourceType": "QuestionnaireResponse", "status": "completed", "authored": "2026-02-01T11:00:00+01:00", "subject": {"reference": "https://example.org/fhir/Patient/in-5"}, "item": [{"linkId": "sys", "answer": [{"valueInteger": 117}]}]}') IS NULL;
SELECT clinical.process_reports();
SELECT submission_id, project_id IS NOT NULL AS project, reason_code, detail FROM clinical.set_aside WHERE submission_id BETWEEN test.uuid(10) AND test.uuid(23) ORDER BY 1;
SELECT id, status, local_day, observations FROM clinical.submission WHERE id BETWEEN test.uuid(10) AND test.uuid(31) ORDER BY 1;
SELECT submission_id, item, repeat_key, value, value_text, value_code, unit, absent, is_score, flagged, version, local_day
  FROM clinical.observation WHERE patient_id = 'in-5' ORDER BY submission_id, item, repeat_key;
SELECT status, reason_code, detail FROM clinical.submission_status('in-4', test.uuid(14));
SELECT reason_code, reports, next_step FROM clinical.quarantine WHERE project_id = :project_id OR project_id IS NULL ORDER BY reason_code;
-- the same id again, after quarantine
SELECT test.submit(14, 'in-4', '{"dia": 80}') AS same, test.submit(14, 'in-4', '{"dia": 80, "sys": 120}') AS repaired;

-- back from quarantine
SELECT r AS call, test.try('SELECT clinical.requeue(' || r || ')') FROM unnest(ARRAY[
    'NULL, test.uuid(14), ''r''', '''in-4'', NULL, ''r''', '''in-4'', test.uuid(14), NULL', '''in-4'', test.uuid(99), ''r''', '''in-1'', test.uuid(1), ''r''',
    '''in-4'', test.uuid(14), ''r'', ''[]''', '''in-4'', test.uuid(14), ''r'', ''{"originator": "site"}''', '''in-4'', test.uuid(14), ''r'', ''{"patient_id": null}''',
    '''in-4'', test.uuid(14), ''r'', ''{"patient_id": 5}''', '''in-4'', test.uuid(14), ''r'', ''{"patient_id": "no-such"}''', '''in-4'', test.uuid(14), ''r'', ''{"captured_at": "yesterday"}''', '''in-4'', test.uuid(14), ''r'', ''{"time_zone": "x"}''']) r;
SELECT clinical.requeue('in-4', test.uuid(14), 'asked the patient', '{"report_data": {"sys": 122}}'), clinical.requeue('nobody', test.uuid(10), 'mistyped', '{"patient_id": "in-7"}'),
       clinical.requeue('in-4', test.uuid(12), 'clock was wrong', '{"captured_at": "2026-02-03T08:00:00+01:00"}'), clinical.requeue('in-4', test.uuid(16), 'just again');
SELECT test.try($$SELECT clinical.requeue('in-4', test.uuid(14), 'twice')$$);
SELECT clinical.process_reports();
SELECT patient_id, id, captured_at, report_data FROM clinical.submission WHERE id IN (test.uuid(10), test.uuid(12), test.uuid(14)) ORDER BY id;
SELECT submission_id, outcome, reason_code, report_data, requeued_at IS NOT NULL AS requeued, requeue_reason, patch FROM clinical.set_aside
 WHERE submission_id IN (test.uuid(10), test.uuid(12), test.uuid(14), test.uuid(16)) ORDER BY submission_id, arrival;

-- a report that cannot be stored is set aside alone; its neighbours are accepted
CREATE FUNCTION test.poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.patient_id = 'in-9' THEN RAISE division_by_zero; END IF; RETURN NEW; END $$;
CREATE TRIGGER poison BEFORE INSERT ON clinical.observation FOR EACH ROW EXECUTE FUNCTION test.poison();
ALTER TABLE clinical.observation ENABLE ALWAYS TRIGGER poison;
SELECT count(test.submit(40 + g, 'in-' || g, '{"sys": 120, "dia": 80}')) FROM generate_series(7, 11) g;
SELECT clinical.process_reports();
DROP TRIGGER poison ON clinical.observation;
SELECT patient_id, status FROM clinical.submission WHERE id BETWEEN test.uuid(47) AND test.uuid(51) ORDER BY 1;
SELECT patient_id, reason_code, detail FROM clinical.set_aside WHERE submission_id BETWEEN test.uuid(47) AND test.uuid(51) ORDER BY 1;
SELECT clinical.requeue('in-9', test.uuid(49), 'mended'), clinical.process_reports();
SELECT status FROM clinical.submission_status('in-9', test.uuid(49));

-- nobody writes these tables
SELECT w, test.try(w) FROM unnest(ARRAY['INSERT INTO clinical.set_aside SELECT * FROM clinical.set_aside', 'UPDATE clinical.set_aside SET outcome = ''duplicate''', 'DELETE FROM clinical.set_aside',
    'TRUNCATE clinical.set_aside', 'TRUNCATE clinical.staged_report', 'DELETE FROM clinical.staged_report', 'UPDATE clinical.staged_report_1 SET actor = ''x''',
    'INSERT INTO clinical.staged_report_0 SELECT * FROM clinical.staged_report']) w;

-- the balance, and a full queue
SELECT received, accepted, duplicate, conflict, quarantined, withdrawn, staged, received = accepted + duplicate + conflict + quarantined + withdrawn + staged AS balanced
  FROM clinical.intake_balance WHERE project_id = :project_id OR project_id IS NULL ORDER BY project_id;
ALTER SYSTEM SET clinical.queue_capacity = 3;
SELECT pg_reload_conf();
-- a session takes over settings between commands
\o /dev/null
SELECT format('SELECT pg_sleep(0.02) WHERE (current_setting(''clinical.queue_capacity'') = ''3'') <> %L', true) FROM generate_series(1, 500) \gexec
\o
SELECT g, test.submit(60 + g, 'in-12', '{"sys": 120}', '2026-02-01 10:00+00'::timestamptz + g * interval '1 minute') FROM generate_series(1, 5) g;
SELECT submission_id FROM clinical.submit_report('in-12', '{"sys": 120}');
-- a place is free again after a rollback, of a savepoint too
SELECT clinical.process_reports();
BEGIN;
SELECT test.submit(70, 'in-12', '{"sys": 1}') ~ 'queued' AS queued;
SAVEPOINT s;
SELECT test.submit(71, 'in-12', '{"sys": 2}') ~ 'queued' AS queued;
SAVEPOINT t;
SELECT test.submit(72, 'in-12', '{"sys": 3}') ~ 'queued' AS queued, test.submit(73, 'in-12', '{"sys": 3}') ~ 'busy' AS busy;
RELEASE t;
ROLLBACK TO s;
SELECT test.submit(74, 'in-12', '{"sys": 4}') ~ 'queued' AS queued, test.submit(75, 'in-12', '{"sys": 5}') ~ 'queued' AS queued, test.submit(76, 'in-12', '{"sys": 6}') ~ 'busy' AS busy;
ROLLBACK;
SELECT g, test.submit(80 + g, 'in-13', '{"sys": 120}', '2026-02-01 10:00+00'::timestamptz + g * interval '1 minute') ~ 'queued' AS queued FROM generate_series(1, 4) g;
BEGIN;
SELECT clinical.process_reports();
ROLLBACK;
SELECT test.submit(90, 'in-13', '{"sys": 120}') ~ 'busy' AS still_busy;
SELECT clinical.process_reports();
BEGIN;
SELECT test.submit(91, 'in-13', '{"sys": 120}') ~ 'queued' AS queued;
PREPARE TRANSACTION 'clinical_intake';
SELECT g, test.submit(92 + g, 'in-14', '{"sys": 120}', '2026-02-01 10:00+00'::timestamptz + g * interval '1 minute') ~ 'queued' AS queued FROM generate_series(1, 4) g;
ALTER SYSTEM RESET clinical.queue_capacity;
SELECT pg_reload_conf();
\o /dev/null
SELECT format('SELECT pg_sleep(0.02) WHERE (current_setting(''clinical.queue_capacity'') = ''3'') <> %L', false) FROM generate_series(1, 500) \gexec
\o

-- many at once: each is answered, and one that is malformed harms no other
SELECT outcome, message, submission_id IS NOT NULL AS id FROM clinical.submit_reports(jsonb_build_array(
    jsonb_build_object('patient_id', 'in-16', 'report_data', '{"sys": 120}'::jsonb, 'submission_id', test.uuid(110), 'captured_at', '2026-02-01T10:00:00Z', 'actor', NULL),
    jsonb_build_object('patient_id', 'in-16', 'report_data', '[]'::jsonb), jsonb_build_object('patient_id', ''), '5'::jsonb, jsonb_build_object('patient_id', 'x', 'data', 1),
    jsonb_build_object('patient_id', 'in-16', 'report_data', '{"sys": 121}'::jsonb, 'captured_at', 'yesteryear'), jsonb_build_object('patient_id', 5, 'report_data', '{}'::jsonb),
    jsonb_build_object('patient_id', 'in-16', 'report_data', '{"sys": 122}'::jsonb, 'submission_id', 'x'),
    jsonb_build_object('patient_id', 'in-16', 'report_data', '{"sys": 123}'::jsonb, 'submission_id', test.uuid(111), 'captured_at', '2026-02-01T10:00:00Z', 'time_zone', 'Asia/Tokyo', 'originator', 'device')));
SELECT outcome FROM clinical.submit_reports('[]');
SELECT c, test.try('SELECT clinical.submit_reports(' || c || ')') FROM unnest(ARRAY['NULL', '''{}''', '''5''']) c;
SELECT clinical.wait_until_drained('0 s') AS before, clinical.process_reports(), clinical.wait_until_drained('0 s') AS not_committed;
SELECT clinical.wait_until_drained('10 s') AS after;
SELECT id, time_zone, originator, login = session_user AS mine FROM clinical.submission WHERE id BETWEEN test.uuid(110) AND test.uuid(119) ORDER BY id;
SELECT outcome FROM clinical.submit_reports(jsonb_build_array(
    jsonb_build_object('patient_id', 'in-16', 'report_data', '{"sys": 120}'::jsonb, 'submission_id', test.uuid(110), 'captured_at', '2026-02-01T10:00:00Z'),
    jsonb_build_object('patient_id', 'in-16', 'report_data', '{"sys": 7}'::jsonb, 'submission_id', test.uuid(110), 'captured_at', '2026-02-01T10:00:00Z')));

-- what fails for a reason that may pass is put off, and tried again so many times
CREATE FUNCTION test.conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.patient_id = 'in-9' THEN RAISE serialization_failure; END IF; RETURN NEW; END $$;
CREATE TRIGGER conflict BEFORE INSERT ON clinical.submission FOR EACH ROW EXECUTE FUNCTION test.conflict();
ALTER TABLE clinical.submission ENABLE ALWAYS TRIGGER conflict;
SELECT count(test.submit(120 + g, 'in-' || g, '{"sys": 120}')) FROM generate_series(8, 10) g;
SELECT clinical.process_reports();
SELECT clinical.process_reports() AS not_yet;
SELECT patient_id, attempts, not_before > now() AS later, not_before < now() + interval '2 s' AS soon FROM clinical.staged_report;
SELECT put_off, waiting, places_taken FROM clinical.stat_intake;
SELECT status FROM clinical.submission_status('in-9', test.uuid(129));
SELECT pg_sleep(1.1);
SELECT clinical.process_reports();
SELECT patient_id, attempts, not_before > now() + interval '0.5 s' AS later_still FROM clinical.staged_report;
ALTER SYSTEM SET clinical.max_attempts = 3;
SELECT pg_reload_conf();
SELECT pg_sleep(2.1);
SELECT clinical.process_reports();
SELECT reason_code, detail FROM clinical.set_aside WHERE submission_id = test.uuid(129);
SELECT put_off, waiting, places_taken FROM clinical.stat_intake;
DROP TRIGGER conflict ON clinical.submission;
ALTER SYSTEM RESET clinical.max_attempts;
SELECT clinical.requeue('in-9', test.uuid(129), 'mended');
SELECT clinical.process_reports();

-- what takes too long is set aside, and its neighbours are not
CREATE FUNCTION test.endless() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.patient_id = 'in-9' THEN PERFORM pg_sleep(60); END IF; RETURN NEW; END $$;
CREATE TRIGGER endless BEFORE INSERT ON clinical.submission FOR EACH ROW EXECUTE FUNCTION test.endless();
ALTER TABLE clinical.submission ENABLE ALWAYS TRIGGER endless;
ALTER SYSTEM SET clinical.report_timeout = '200ms';
SELECT pg_reload_conf();
SELECT pg_sleep(0.2);
SELECT count(test.submit(130 + g, 'in-' || g, '{"sys": 120}')) FROM generate_series(8, 10) g;
SELECT clinical.process_reports();
DROP TRIGGER endless ON clinical.submission;
ALTER SYSTEM RESET clinical.report_timeout;
SELECT pg_reload_conf();
SELECT patient_id, status FROM clinical.submission WHERE id BETWEEN test.uuid(138) AND test.uuid(140) ORDER BY 1;
SELECT patient_id, project_id = :project_id AS project, reason_code, detail FROM clinical.set_aside WHERE submission_id BETWEEN test.uuid(138) AND test.uuid(140);
-- the caller's own cancel is no fault of the report
CREATE TRIGGER endless BEFORE INSERT ON clinical.submission FOR EACH ROW EXECUTE FUNCTION test.endless();
ALTER TABLE clinical.submission ENABLE ALWAYS TRIGGER endless;
SELECT test.submit(141, 'in-9', '{"sys": 120}') IS NULL AS answered;
SET statement_timeout = '100ms';
\set VERBOSITY terse
SELECT clinical.process_reports();
\set VERBOSITY default
RESET statement_timeout;
DROP TRIGGER endless ON clinical.submission;
SELECT status FROM clinical.submission_status('in-9', test.uuid(141));
SELECT clinical.process_reports();

-- a project that has a share of the queue takes no more than that
SELECT code FROM clinical.create_project_with_centers('Flood', ARRAY[:center], 'FLOOD');
SELECT count(clinical.enroll_patient('fl-' || g, NULL, NULL, 'FLOOD', :center, effective_on => '2026-01-10')) FROM generate_series(1, 3) g;
SELECT instrument FROM clinical.use_instrument('FLOOD', 'bp', true);
SET clinical.reason = 'shares';
SELECT left(test.try($$UPDATE clinical.project SET queue_share = 2 WHERE code = 'FLOOD'$$), 90);
UPDATE clinical.project SET queue_share = 0.000002 WHERE code = 'FLOOD';
SELECT g, outcome FROM generate_series(1, 4) g, LATERAL clinical.submit_report('fl-1', '{"sys": 120}', test.uuid(150 + g), '2026-02-01 10:00+00');
SELECT outcome FROM clinical.submit_report('in-1', '{"sys": 120}', test.uuid(155), '2026-02-01 10:00+00');
BEGIN;
SELECT clinical.process_reports();
SELECT outcome FROM clinical.submit_report('fl-2', '{"sys": 120}', test.uuid(156), '2026-02-01 10:00+00');
ROLLBACK;
SELECT outcome FROM clinical.submit_report('fl-2', '{"sys": 120}', test.uuid(157), '2026-02-01 10:00+00');
SELECT clinical.process_reports();
BEGIN;
SELECT g, outcome FROM generate_series(1, 4) g, LATERAL clinical.submit_report('fl-1', '{"sys": 120}', test.uuid(160 + g), '2026-02-01 10:00+00');
ROLLBACK;
SELECT g, outcome FROM generate_series(1, 4) g, LATERAL clinical.submit_report('fl-3', '{"sys": 120}', test.uuid(170 + g), '2026-02-01 10:00+00');
UPDATE clinical.project SET queue_share = NULL WHERE code = 'FLOOD';
SELECT outcome FROM clinical.submit_report('fl-3', '{"sys": 120}', test.uuid(180), '2026-02-01 10:00+00');
RESET clinical.reason;
SELECT clinical.process_reports();
SELECT waiting, put_off, places_taken, busy > 0 AS busy, already_received > 0 AS already, queued > 0 AS queued, processed > 0 AS processed, batches > 0 AS batches,
       batch_us >= claim_us AS timed FROM clinical.stat_intake;

-- in a parallel worker nothing is taken in, and no place is lost
CREATE FUNCTION test.sneak(patient text) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$ BEGIN RETURN (SELECT outcome FROM clinical.submit_report(patient, '{}')); END $$;
SELECT count(set_config(name, 'on', false)) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
\set VERBOSITY terse
SELECT test.sneak('in-1');
\set VERBOSITY default
SELECT count(set_config(name, 'off', false)) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SELECT places_taken, waiting FROM clinical.stat_intake;

-- a batch has no more than 16 MB of data, however few reports that are
SELECT batches AS batches_before FROM clinical.stat_intake \gset
SELECT count(clinical.submit_report('in-16', jsonb_build_object('sys', g, 'note', repeat('a', 1000000)))) FROM generate_series(101, 140) g;
SELECT clinical.process_reports();
SELECT batches - :batches_before AS batches, places_taken FROM clinical.stat_intake;

-- what a restore puts there is found, and what is lost that way leaves its place
SELECT test.submit(190, 'in-17', '{"sys": 120}') ~ 'queued' AS queued, test.submit(191, 'in-18', '{"sys": 120}') ~ 'queued' AS queued;
CREATE TEMP TABLE kept AS SELECT * FROM clinical.staged_report;
SET clinical.restore = on;
DELETE FROM clinical.staged_report;
INSERT INTO clinical.staged_report_2 SELECT (jsonb_populate_record(NULL::clinical.staged_report_2, to_jsonb(k) || jsonb_build_object('patient_id', 'in-19'))).* FROM kept k;
RESET clinical.restore;
SELECT waiting, places_taken FROM clinical.stat_intake;

-- the worker does it by itself
SELECT clinical.start_workers() IS NOT NULL AS started;
DO $$ BEGIN FOR i IN 1 .. 1000 LOOP EXIT WHEN NOT EXISTS (SELECT FROM clinical.staged_report); PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT status FROM clinical.submission_status('in-14', test.uuid(93));
SELECT patient_id, id, status FROM clinical.submission WHERE id IN (test.uuid(190), test.uuid(191)) ORDER BY 2;
SELECT outcome FROM clinical.submit_report('in-15', '{"sys": 120}', test.uuid(100), '2026-02-01 10:00+00');
DO $$ BEGIN FOR i IN 1 .. 1000 LOOP EXIT WHEN NOT EXISTS (SELECT FROM clinical.staged_report); PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT status FROM clinical.submission_status('in-15', test.uuid(100));
SELECT invariant, object FROM clinical.check();
SELECT fault, place FROM clinical.verify_audit();
