-- monitor.sql: a rule over the pressures of the study, the alerts that it raises, and what becomes of
-- them.  After demo/intake.sh, as a superuser.  Ends with an error if the alerts are not those that a
-- window query over the same readings gives.

-- Waits until the rule has been evaluated over what the study has stored.
CREATE PROCEDURE demo.wait_for_rule(which text) LANGUAGE plpgsql AS $$
DECLARE
    began timestamptz := clock_timestamp();
BEGIN
    WHILE EXISTS (SELECT FROM clinical.rule_evaluation_progress p WHERE p.code = which AND p.status IN ('queued', 'running')) LOOP
        IF clock_timestamp() > began + interval '3 minutes' THEN
            RAISE EXCEPTION 'the rule is not evaluated';
        END IF;
        COMMIT;
        PERFORM pg_sleep(0.05);
    END LOOP;
END
$$;
-- Whose pressure stayed out of range, by a window query over what is stored.
CREATE VIEW demo.streak AS
    WITH watched (item, range) AS (
        VALUES ('8480-6', numrange '[90,140]'), ('8462-4', numrange '[50,90]')),
    day_state AS (
        SELECT o.patient_id, o.local_day AS day, bool_or(NOT o.value <@ w.range) AS is_out
          FROM clinical.current_observation o
          JOIN watched w ON w.item = o.item
         WHERE o.value IS NOT NULL
         GROUP BY o.patient_id, day),
    before AS (
        SELECT *, lag(day) OVER w AS previous_day, lag(is_out) OVER w AS previous_out
          FROM day_state WINDOW w AS (PARTITION BY patient_id ORDER BY day)),
    island AS (
        SELECT *, sum(CASE WHEN is_out AND coalesce(previous_out, false) AND day - previous_day = 1
                           THEN 0 ELSE 1 END) OVER (PARTITION BY patient_id ORDER BY day) AS number
          FROM before)
    SELECT patient_id, min(day) AS onset, min(day) + 2 AS trigger_day, max(day) AS last_day, count(*)::integer AS out_days
      FROM island
     WHERE is_out
     GROUP BY patient_id, number
    HAVING count(*) >= 3;
-- One of the pressures of the patient below, some days ago in the evening.
CREATE FUNCTION demo.press(days_ago integer, systolic integer) RETURNS text LANGUAGE sql AS $$
    SELECT (clinical.submit_report('DEMO-1', jsonb_build_object('8480-6', systolic, '8462-4', 80, '8867-4', 71), NULL,
                                   date_trunc('day', now()) - days_ago * interval '1 day' + interval '19 hours', 'vital-signs')).outcome
$$;

SELECT code AS project FROM study.project \gset
SELECT c.id AS center FROM clinical.project_center pc JOIN clinical.project j ON j.id = pc.project_id JOIN clinical.center c ON c.id = pc.center_id
 WHERE j.code = :'project' AND c.status = 'active' ORDER BY c.site_id LIMIT 1 \gset

\pset footer off
\set ECHO queries
\echo
\echo '--- A rule: systolic or diastolic pressure out of range on three days in a row'
SELECT version, kind, severity FROM clinical.create_rule(jsonb_build_object(
    'code', 'BP3', 'project', :'project', 'kind', 'streak', 'days', 3, 'severity', 'serious',
    'items', '[{"item": "8480-6", "range": "[90,140]"}, {"item": "8462-4", "range": "[50,90]"}]'::jsonb,
    'escalate_after', '["24 hours", "72 hours"]'::jsonb));
CALL demo.wait_for_rule('BP3');
\echo '--- It has been evaluated over all that was stored'
SELECT code, status, patients, patients_done, percent, (ended_at - started_at)::interval(2) AS took FROM clinical.rule_evaluation_progress;
SELECT count(*) AS alerts, count(DISTINCT patient_id) AS patients, max(out_days) AS longest FROM clinical.alert;
SELECT count(*) AS differences_from_a_window_query
  FROM (SELECT patient_id, onset, trigger_day, last_day, out_days FROM clinical.alert WHERE supported) a
  FULL JOIN demo.streak s USING (patient_id, onset, trigger_day, last_day, out_days)
 WHERE a.patient_id IS NULL OR s.patient_id IS NULL;

\echo '--- A patient reports pressures out of range on three days in a row'
SELECT id, status FROM clinical.enroll_patient('DEMO-1', 'A. Demo', '1960-01-01', :'project', :center, effective_on => current_date - 30);
LISTEN clinical_alert;
SELECT demo.press(5, 151), demo.press(4, 148), demo.press(3, 155);
SELECT clinical.wait_until_drained();
SELECT status, severity, onset, trigger_day, last_day, out_days FROM clinical.alert WHERE patient_id = 'DEMO-1';
\echo '--- A report of the day before comes late: the alert is the same one, and begins earlier'
SELECT demo.press(6, 149);
SELECT clinical.wait_until_drained();
SELECT status, severity, onset, trigger_day, last_day, out_days FROM clinical.alert WHERE patient_id = 'DEMO-1';
\echo '--- One of the values was a slip of the pen, and is corrected: there never were three days in a row'
SELECT item, version, value, reason
  FROM (SELECT o.id FROM clinical.observation o WHERE o.patient_id = 'DEMO-1' AND o.item = '8480-6' AND o.value = 148) o,
       LATERAL clinical.correct_observation('DEMO-1', o.id, '128', 'read from the device, not from memory');
SELECT event_no, kind, status_from, status_to, onset, trigger_day, last_day, out_days, cause, cardinality(evidence) AS readings
  FROM clinical.alert_event WHERE patient_id = 'DEMO-1' ORDER BY event_no;

\echo '--- The monitor of a center looks at its work, and acknowledges the first alert'
SELECT p.center_id AS watched FROM clinical.alert a JOIN clinical.patient p ON p.id = a.patient_id
 WHERE a.status = 'open' GROUP BY p.center_id ORDER BY count(*) DESC, p.center_id LIMIT 1 \gset
CREATE ROLE demo_monitor;
GRANT clinical_monitor TO demo_monitor;
SELECT role, center_id FROM clinical.grant_center('demo_monitor', :watched);
SET ROLE demo_monitor;
SELECT patient_id, rule, severity, status, onset, last_day, out_days, jsonb_array_length(readings) AS readings, readings -> 0 AS the_first
  FROM clinical.alert_worklist LIMIT 5;
SELECT patient_id AS somebody, alert_id AS first FROM clinical.alert_worklist LIMIT 1 \gset
SELECT status, acknowledged_by, escalate_at FROM clinical.acknowledge_alert(:'somebody', :'first', 'called the patient');
RESET ROLE;
\set ECHO none

SELECT count(*) > 0 AS differs
  FROM (SELECT patient_id, onset, trigger_day, last_day, out_days FROM clinical.alert WHERE supported) a
  FULL JOIN demo.streak s USING (patient_id, onset, trigger_day, last_day, out_days)
 WHERE a.patient_id IS NULL OR s.patient_id IS NULL \gset
SELECT string_agg(status || ' ' || out_days, ', ') IS DISTINCT FROM 'retracted 4' AS astray
  FROM clinical.alert WHERE patient_id = 'DEMO-1' \gset
SELECT count(*) > 0 AS broken FROM clinical.check() \gset
\if :differs
    DO $$ BEGIN RAISE EXCEPTION 'the alerts are not those of the window query'; END $$;
\elif :astray
    DO $$ BEGIN RAISE EXCEPTION 'the alert of DEMO-1 is not as told'; END $$;
\elif :broken
    DO $$ BEGIN RAISE EXCEPTION 'an invariant is broken'; END $$;
\endif
