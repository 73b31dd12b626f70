-- alert: what becomes of alerts, by reports, corrections and people
SET datestyle = ISO;
SET timezone = 'UTC';
SET intervalstyle = postgres;
\pset null '-'
SELECT pg_catalog.count(*) FROM (SELECT clinical.stop_workers()) s;

SELECT id AS center FROM clinical.create_center('Alert', 'AL-1') \gset
SELECT id AS other_center FROM clinical.create_center('Alert elsewhere', 'AL-2') \gset
SELECT code FROM clinical.create_project_with_centers('Alert', ARRAY[:center, :other_center], 'ALERT');
SELECT count(clinical.enroll_patient('al-' || g, NULL, NULL, 'ALERT', :center, effective_on => '2026-01-01')) FROM generate_series(1, 9) g;
SELECT id FROM clinical.enroll_patient('al-x', NULL, NULL, 'ALERT', :other_center, effective_on => '2026-01-01');
SELECT version FROM clinical.create_instrument('{"code": "al", "version": "1", "items": [{"code": "bp", "type": "decimal", "unit": "mm[Hg]"}, {"code": "temp", "type": "decimal"}]}');
SELECT instrument FROM clinical.use_instrument('ALERT', 'al', true);
SELECT version FROM clinical.create_rule('{"code": "AL3", "project": "ALERT", "kind": "streak", "items": [{"item": "bp", "range": "[90,140]"}], "days": 3,
    "severity": "serious", "escalate_after": ["1 hour", "2 hours"]}');
SELECT version FROM clinical.create_rule('{"code": "ALGRADE", "project": "ALERT", "kind": "graded", "items": [{"item": "temp"}], "grades": ["[36,38]", "[35,39]", "[34,40]"],
    "severity": "critical"}');

-- readings of one patient, one a day at noon, and what they have led to
CREATE FUNCTION test.bp(patient text, first_day date, VARIADIC readings numeric[]) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(clinical.submit_report(patient, jsonb_build_object('bp', v), captured_at => first_day + interval '12 hours' + (n - 1) * interval '1 day'))
      FROM unnest(readings) WITH ORDINALITY u (v, n) WHERE v IS NOT NULL;
    SELECT clinical.process_reports()
$$;
CREATE FUNCTION test.correct_bp(patient text, day date, corrected numeric) RETURNS int LANGUAGE sql AS $$
    SELECT (clinical.correct_observation(patient, id, corrected::text, 'misread')).version FROM clinical.observation
     WHERE patient_id = patient AND item = 'bp' AND local_day = day AND version = 1
$$;
CREATE VIEW test.alerts AS
    SELECT a.patient_id, rank() OVER (PARTITION BY a.patient_id ORDER BY a.opened_at, a.id) AS n, r.code AS rule, a.status, a.grade, a.onset, a.trigger_day AS trigger, a.last_day AS last,
           a.out_days AS days, a.watch_until, a.supported, a.basis_changed, a.cleared_day AS cleared, a.condition_cleared_at IS NOT NULL AS noticed, a.events,
           a.escalate_at - a.opened_at AS escalates, (SELECT count(*) FROM clinical.alert o WHERE o.patient_id = a.patient_id AND o.opened_at <= f.opened_at) AS follows,
           (SELECT count(*) FROM clinical.alert o WHERE o.patient_id = a.patient_id AND o.opened_at <= i.opened_at) AS merged_into
      FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id
      LEFT JOIN clinical.alert f ON f.patient_id = a.patient_id AND f.id = a.follows
      LEFT JOIN clinical.alert i ON i.patient_id = a.patient_id AND i.id = a.merged_into;
CREATE VIEW test.events AS
    SELECT e.patient_id, (SELECT count(*) FROM clinical.alert o WHERE o.patient_id = a.patient_id AND (o.opened_at, o.id) <= (a.opened_at, a.id)) AS n, e.event_no AS event, e.kind,
           e.status_from AS was, e.status_to AS is, e.onset, e.last_day AS last, e.out_days AS days, e.grade,
           (SELECT string_agg(o.local_day || '=' || o.value, ' ' ORDER BY u.n) FROM unnest(e.evidence) WITH ORDINALITY u (id, n)
              JOIN clinical.observation o ON o.id = u.id AND o.patient_id = e.patient_id AND o.version = 1) AS evidence,
           e.cause, e.submission_id IS NOT NULL AS of_report, e.reason, e.recorded_by = session_user AS by_us
      FROM clinical.alert_event e JOIN clinical.alert a ON a.patient_id = e.patient_id AND a.id = e.alert_id;

-- opened, grown, cleared; a late reading moves it
SELECT test.bp('al-1', '2026-02-02', 150, 151, 152);
SELECT * FROM test.alerts WHERE patient_id = 'al-1';
SELECT test.bp('al-1', '2026-02-05', 153);
SELECT test.bp('al-1', '2026-02-06', 120, 121);
SELECT test.bp('al-1', '2026-02-01', 149);
SELECT * FROM test.alerts WHERE patient_id = 'al-1';
SELECT * FROM test.events WHERE patient_id = 'al-1' ORDER BY n, event;

-- what had cleared is back: the days after were misread
SELECT test.correct_bp('al-1', '2026-02-06', 160);
SELECT test.correct_bp('al-1', '2026-02-07', 161);
SELECT * FROM test.alerts WHERE patient_id = 'al-1';
SELECT * FROM test.events WHERE patient_id = 'al-1' AND event > 3 ORDER BY n, event;

-- corrected away: an open one is retracted, and another follows it
SELECT test.bp('al-2', '2026-02-02', 150, 151, 152);
SELECT test.correct_bp('al-2', '2026-02-03', 130);
SELECT test.correct_bp('al-2', '2026-02-03', 155);
SELECT * FROM test.alerts WHERE patient_id = 'al-2';
SELECT * FROM test.events WHERE patient_id = 'al-2' ORDER BY n, event;

-- acknowledged: it waits for people
CREATE FUNCTION test.acknowledge(patient text, says text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT test.try(format('SELECT concat_ws('' | '', status, basis_changed, acknowledged_by = session_user, closed_by = session_user, close_reason) FROM clinical.acknowledge_alert(%L, %L, %L)', patient, id, says))
      FROM clinical.alert WHERE patient_id = patient ORDER BY opened_at DESC LIMIT 1
$$;
CREATE FUNCTION test.close(patient text, why text) RETURNS text LANGUAGE sql AS $$
    SELECT test.try(format('SELECT concat_ws('' | '', status, basis_changed, acknowledged_by = session_user, closed_by = session_user, close_reason) FROM clinical.close_alert(%L, %L, %L)', patient, id, why))
      FROM clinical.alert WHERE patient_id = patient ORDER BY opened_at DESC LIMIT 1
$$;
SELECT test.acknowledge('al-2', 'called the patient'), test.acknowledge('al-2');
SELECT test.correct_bp('al-2', '2026-02-03', 130);
SELECT * FROM test.alerts WHERE patient_id = 'al-2' AND n = 2;
SELECT status, basis_changed, overdue_since, readings FROM clinical.alert_worklist WHERE patient_id = 'al-2';
SELECT test.acknowledge('al-2', 'looked at it'), test.acknowledge('al-2');
SELECT test.correct_bp('al-2', '2026-02-03', 156);
SELECT * FROM test.alerts WHERE patient_id = 'al-2' AND n = 2;
SELECT test.close('al-2', NULL), test.close('al-2', ''), test.close('al-2', 'moved away'), test.close('al-2', 'twice'), test.acknowledge('al-2');
-- closed, it is not opened again
SELECT test.correct_bp('al-2', '2026-02-03', 131);
SELECT test.correct_bp('al-2', '2026-02-03', 157);
SELECT * FROM test.alerts WHERE patient_id = 'al-2' AND n = 2;
SELECT test.acknowledge('al-2', 'looked again');
SELECT * FROM test.events WHERE patient_id = 'al-2' AND n = 2 ORDER BY event;
SELECT count(*) FROM clinical.alert_worklist WHERE patient_id = 'al-2';
-- growth is no change of what it is based on, another onset is
SELECT test.bp('al-2', '2026-02-05', 153);
SELECT * FROM test.alerts WHERE patient_id = 'al-2' AND n = 2;
SELECT test.bp('al-2', '2026-02-01', 153);
SELECT * FROM test.alerts WHERE patient_id = 'al-2' AND n = 2;

-- other ways; what is retracted is nobody's to handle
SELECT a.status, test.try(format('SELECT clinical.acknowledge_alert(%L, %L)', patient_id, id)), test.try(format('SELECT clinical.close_alert(%L, %L, %L)', patient_id, id, 'r'))
  FROM clinical.alert a WHERE patient_id = 'al-2' AND status = 'retracted';
SELECT test.try($$SELECT clinical.acknowledge_alert(NULL, NULL)$$), test.try($$SELECT clinical.acknowledge_alert('al-1', NULL)$$),
       test.try($$SELECT clinical.acknowledge_alert('al-1', '00000000-0000-0000-0000-000000000000')$$), test.try($$SELECT clinical.close_alert('', '00000000-0000-0000-0000-000000000000', 'r')$$),
       test.try($$SELECT clinical.close_alert('nobody', '00000000-0000-0000-0000-000000000000', 'r')$$);
BEGIN;
SET LOCAL clinical.reason = 'from the transaction';
SELECT test.close('al-1', NULL);
SELECT status_from, status_to, reason FROM clinical.alert_event WHERE patient_id = 'al-1' ORDER BY event_no DESC LIMIT 1;
SELECT reason, count(*) FROM clinical.audit_record WHERE patient_id = 'al-1' AND table_name ~ '^alert' AND reason IS NOT NULL GROUP BY 1;
ROLLBACK;
SELECT test.close('al-1', 'without acknowledging it');
SELECT acknowledged_at = closed_at AS both, escalate_at FROM clinical.alert WHERE patient_id = 'al-1';

-- a late reading joins two streaks: the older alert survives, here the one of the later days, and begins where the other began
SELECT test.bp('al-3', '2026-02-05', 150, 150, 150);
SELECT test.bp('al-3', '2026-02-01', 150, 150, 150);
SELECT test.bp('al-3', '2026-02-04', 150);
SELECT * FROM test.alerts WHERE patient_id = 'al-3';
SELECT n, event, kind, was, "is", onset, last, days, cause FROM test.events WHERE patient_id = 'al-3' ORDER BY n, event;
-- a correction in the middle splits it again: what holds the trigger day keeps the alert
SELECT test.correct_bp('al-3', '2026-02-04', 120);
SELECT * FROM test.alerts WHERE patient_id = 'al-3';
-- the younger was closed: it stays, and waits for people
SELECT test.bp('al-4', '2026-02-01', 150, 150, 150);
SELECT test.bp('al-4', '2026-02-05', 150, 150, 150);
SELECT test.close('al-4', 'r');
SELECT test.bp('al-4', '2026-02-04', 150);
SELECT * FROM test.alerts WHERE patient_id = 'al-4';
SELECT test.acknowledge('al-4', 'looked');
-- the younger was acknowledged
SELECT test.bp('al-5', '2026-02-01', 150, 150, 150);
SELECT test.bp('al-5', '2026-02-05', 150, 150, 150);
SELECT test.acknowledge('al-5');
SELECT test.bp('al-5', '2026-02-04', 150);
SELECT * FROM test.alerts WHERE patient_id = 'al-5';
SELECT n, event, kind, was, "is" FROM test.events WHERE patient_id = 'al-5' ORDER BY n, event;

-- grades: it rises with the worst day, also for who has acknowledged it
CREATE FUNCTION test.temp(patient text, at timestamptz, reading numeric) RETURNS bigint LANGUAGE sql AS $$
    SELECT clinical.submit_report(patient, jsonb_build_object('temp', reading), captured_at => at);
    SELECT clinical.process_reports()
$$;
SELECT test.temp('al-6', '2026-02-01 12:00', 38.5), test.temp('al-6', '2026-02-02 12:00', 38.7);
SELECT test.acknowledge('al-6');
SELECT test.temp('al-6', '2026-02-03 12:00', 39.5);
SELECT test.temp('al-6', '2026-02-03 13:00', 40.5);
SELECT * FROM test.alerts WHERE patient_id = 'al-6';
SELECT n, event, kind, was, "is", last, grade, evidence FROM test.events WHERE patient_id = 'al-6' ORDER BY n, event;

-- the last hundred readings are its evidence, however long it is; while it grows nothing is told
SELECT test.bp('al-7', '2026-02-02', VARIADIC array_fill(150::numeric, ARRAY[130]));
SELECT test.bp('al-7', '2026-02-01', 150);
SELECT onset, last, days, events FROM test.alerts WHERE patient_id = 'al-7';
SELECT e.event_no, e.kind, cardinality(e.evidence) AS evidence, min(o.local_day), max(o.local_day) FROM clinical.alert_event e, unnest(e.evidence) u JOIN clinical.observation o ON o.patient_id = 'al-7' AND o.id = u
 WHERE e.patient_id = 'al-7' GROUP BY 1, 2, 3 ORDER BY 1;

-- a recurrence within the days of cooldown follows the one that was closed
SELECT version FROM clinical.create_rule('{"code": "ALCOOL", "project": "ALERT", "kind": "threshold", "items": [{"item": "temp", "range": "[36,38]"}], "severity": "info", "cooldown_days": 10}');
SELECT test.temp('al-8', now() - interval '48 hours', 37.5 + 3), test.temp('al-8', now() - interval '24 hours', 37);
SELECT test.close('al-8', 'r');
SELECT (clinical.close_alert(patient_id, id, 'r')).status FROM clinical.alert WHERE patient_id = 'al-8' AND status = 'open';
SELECT test.temp('al-8', now(), 37.5 + 3);
SELECT r.code, a.status, f.status AS follows, f.rule_id = a.rule_id AS same_rule FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id
  LEFT JOIN clinical.alert f ON f.patient_id = a.patient_id AND f.id = a.follows WHERE a.patient_id = 'al-8' ORDER BY a.opened_at, r.code;

-- the worklist: the most urgent first
SELECT test.bp('al-x', '2026-02-01', 150, 160, 170);
SELECT project, site_id, patient_id, rule, severity, grade, status, basis_changed, escalation_level, onset, trigger_day, last_day, out_days, overdue_since, jsonb_array_length(readings) AS readings
  FROM clinical.alert_worklist WHERE project = 'ALERT' AND patient_id <> 'al-8';
SELECT jsonb_pretty(readings) FROM clinical.alert_worklist WHERE patient_id = 'al-x';
SELECT test.correct_bp('al-x', '2026-02-02', 165);
SELECT readings #> '{1,value}' AS value FROM clinical.alert_worklist WHERE patient_id = 'al-x';

-- who may: monitors and investigators, of patients that they see
CREATE ROLE regress_alert_monitor LOGIN;
CREATE ROLE regress_alert_manager LOGIN;
GRANT clinical_monitor TO regress_alert_monitor;
GRANT clinical_data_manager TO regress_alert_manager;
SELECT count(clinical.grant_center(r, :other_center)) FROM unnest('{regress_alert_monitor,regress_alert_manager}'::name[]) r;
GRANT USAGE ON SCHEMA test TO regress_alert_monitor, regress_alert_manager;
SELECT patient_id AS patient, id AS alert FROM clinical.alert WHERE patient_id = 'al-x' \gset
SELECT patient_id AS hidden_patient, id AS hidden FROM clinical.alert WHERE patient_id = 'al-7' \gset
SET ROLE regress_alert_manager;
SELECT count(*) AS alerts, (SELECT count(*) FROM clinical.alert_event) AS events, (SELECT count(*) FROM clinical.alert_worklist) AS worklist FROM clinical.alert;
SELECT test.try(format('SELECT clinical.acknowledge_alert(%L, %L)', :'patient', :'alert'));
SET ROLE regress_alert_monitor;
SELECT patient_id, rule, jsonb_array_length(readings) AS readings FROM clinical.alert_worklist;
SELECT test.try(format('SELECT clinical.acknowledge_alert(%L, %L)', :'hidden_patient', :'hidden')), test.try(format('SELECT clinical.close_alert(%L, %L, %L)', :'hidden_patient', :'hidden', 'r'));
SELECT status, acknowledged_by = session_user AS by_login FROM clinical.acknowledge_alert(:'patient', :'alert', 'seen by Eve');
SELECT test.try('UPDATE clinical.alert SET status = ''closed''');
RESET ROLE;
SELECT kind, reason, recorded_by = session_user AS by_login FROM clinical.alert_event WHERE patient_id = 'al-x' AND kind = 'acknowledged';

-- nobody else writes them, whoever has the right
SELECT w, test.try(w) FROM unnest(ARRAY['UPDATE clinical.alert SET status = ''closed''', 'DELETE FROM clinical.alert', 'INSERT INTO clinical.alert SELECT * FROM clinical.alert', 'TRUNCATE clinical.alert, clinical.alert_event',
    'UPDATE clinical.alert_event SET kind = ''x''', 'DELETE FROM clinical.alert_event', 'INSERT INTO clinical.alert_event SELECT * FROM clinical.alert_event', 'TRUNCATE clinical.alert_event']) w;

-- what somebody said of a person can be destroyed
SELECT operation, jsonb_array_length(changes #> '{0,records}') AS records
  FROM clinical.redact('clinical.alert_event', jsonb_build_object('patient_id', 'al-x', 'alert_id', :'alert', 'event_no', 2), '{reason}', 'a name');
SELECT reason FROM clinical.alert_event WHERE patient_id = 'al-x' AND event_no = 2;
SELECT fault, place, detail FROM clinical.verify_audit();
SELECT table_name, operation, count(*) > 0 AS told FROM clinical.patient_history('al-2') WHERE table_name ~ '^alert' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT invariant, object FROM clinical.check();

-- each invariant is seen broken
CREATE FUNCTION test.broken(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    PERFORM set_config('clinical.restore', 'on', true);
    EXECUTE statement;
    PERFORM set_config('clinical.restore', 'off', true);
    SELECT INTO found string_agg(DISTINCT invariant, '; ' ORDER BY invariant) FROM clinical.check();
    RAISE EXCEPTION USING MESSAGE = coalesce(found, 'nothing'), ERRCODE = 'ZZZZZ';
EXCEPTION WHEN SQLSTATE 'ZZZZZ' THEN
    RETURN SQLERRM;
END
$$;
SELECT b, test.broken(replace(b, 'of al-x', 'WHERE patient_id = ''al-x''')) FROM unnest(ARRAY[
    'DELETE FROM clinical.alert_event of al-x AND event_no = 1', 'UPDATE clinical.alert_event SET status_to = ''open'' of al-x', 'UPDATE clinical.alert SET events = 7 of al-x',
    'UPDATE clinical.alert SET rule_version = 7 of al-x', 'UPDATE clinical.alert SET merged_into = id of al-x', 'UPDATE clinical.alert SET trigger_day = ''2025-01-01'' of al-x',
    'UPDATE clinical.alert SET acknowledged_at = NULL of al-x', 'UPDATE clinical.alert SET escalate_at = now() of al-x', 'UPDATE clinical.alert SET closed_at = now() of al-x',
    'UPDATE clinical.alert SET supported = false WHERE patient_id = ''al-7''', 'UPDATE clinical.alert SET watch_until = ''infinity'' WHERE status = ''merged''',
    'INSERT INTO clinical.alert SELECT (jsonb_populate_record(a, jsonb_build_object(''id'', gen_random_uuid(), ''onset'', a.last_day))).* FROM clinical.alert a of al-x']) b;
SELECT count(clinical.revoke_center(r, :other_center)) FROM unnest('{regress_alert_monitor,regress_alert_manager}'::name[]) r;
REVOKE USAGE ON SCHEMA test FROM regress_alert_monitor, regress_alert_manager;
DROP ROLE regress_alert_manager, regress_alert_monitor;
