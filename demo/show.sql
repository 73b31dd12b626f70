-- show.sql: a look at the study that load.sql has put into the extension.

SELECT code AS project FROM study.project \gset
-- the patient with the most history
SELECT patient_id AS patient FROM clinical.enrollment_event GROUP BY patient_id ORDER BY count(*) DESC, patient_id LIMIT 1 \gset
-- something of the record to search for: what few have, or else the first plain value of the first record
SELECT coalesce(
    (SELECT '{"flags": {"rare_variant": true}}'::jsonb
      WHERE EXISTS (SELECT FROM clinical.find_patients(record_contains => '{"flags": {"rare_variant": true}}'))),
    (SELECT jsonb_build_object(key, value)
       FROM (SELECT record FROM clinical.patient ORDER BY id LIMIT 1) p, jsonb_each(record)
      WHERE jsonb_typeof(value) NOT IN ('object', 'array', 'null') ORDER BY key LIMIT 1),
    '{}') AS searched \gset

\pset footer off
\set ECHO queries
\echo
\echo '--- One patient, as an application gets it'
SELECT id, name, sex, status, status_on, center_id, time_zone, record_version FROM clinical.get_patient(:'patient');
SELECT jsonb_pretty(clinical.patient_json(:'patient'));
\echo '--- and how things came to be'
SELECT event_no, status, effective_on, center_id, reason
  FROM clinical.enrollment_event WHERE patient_id = :'patient' ORDER BY event_no;
\echo '--- The project with its centers, two of them shown'
SELECT jsonb_pretty(jsonb_set(p, '{centers}', jsonb_path_query_array(p, '$.centers[0 to 1]')))
  FROM clinical.project_json(:'project') p;
\echo '--- Patients whose record contains something'
SELECT id, center_id, status, status_on
  FROM clinical.find_patients(:'project', record_contains => :'searched', page_size => 5);
\echo '--- Centers: planned and real enrolment'
SELECT c.site_id, c.name, c.time_zone, pc.planned_enrolment AS planned, count(p.id) AS patients,
       count(p.id) FILTER (WHERE e.enrolled) AS enrolled,
       count(p.id) FILTER (WHERE p.status IN ('withdrawn', 'lost_to_follow_up', 'died')) AS dropouts
  FROM clinical.project_center pc
  JOIN clinical.project j ON j.id = pc.project_id AND j.code = :'project'
  JOIN clinical.center c ON c.id = pc.center_id
  LEFT JOIN clinical.patient p ON (p.project_id, p.center_id) = (pc.project_id, pc.center_id)
  LEFT JOIN LATERAL (SELECT true FROM clinical.enrollment_event e
                      WHERE e.patient_id = p.id AND e.status = 'enrolled' LIMIT 1) e (enrolled) ON true
 GROUP BY c.id, pc.planned_enrolment
 ORDER BY c.site_id;
\echo '--- Patients by status'
SELECT status, count(*), min(status_on) AS first, max(status_on) AS last
  FROM clinical.patient GROUP BY status ORDER BY count(*) DESC, status;
\echo '--- Home pressure out of [90,140] / [50,90] three days running or longer, the longest'
SELECT s.patient_id, p.status, s.onset, s.trigger_day, s.last_day, s.out_days
  FROM study.streak s
  JOIN clinical.patient p ON p.id = s.patient_id
 ORDER BY s.out_days DESC, s.patient_id
 LIMIT 10;
\echo '--- A questionnaire, from when on the study uses it, and when one patient was to answer'
SELECT v.instrument, v.version FROM clinical.shipped_instruments() s, LATERAL clinical.create_instrument(s.definition) v;
SELECT instrument, is_default FROM clinical.use_instrument(:'project', 'vital-signs', is_default => true);
SELECT schedule FROM clinical.schedule_entries(:'project', 'vital-signs', '{"kind": "daily", "from": "18:00", "to": "24:00"}');
SELECT patient_id AS enrolled, effective_on AS enrolled_on, effective_on + 3 AS some_days_later
  FROM clinical.enrollment_event WHERE status = 'enrolled' ORDER BY patient_id LIMIT 1 \gset
SELECT day, entry_window, time_zone, status FROM clinical.expected_entries(:'enrolled', daterange(:'enrolled_on', :'some_days_later'));
\echo '--- What a report would become, and what is wrong with it'
SELECT kind, item, value, unit, soft_hard, reason_code, check_id, path
  FROM clinical.validate_report('vital-signs', '{"8480-6": {"value": 16.5, "unit": "kPa"}, "8462-4": 950, "8867-4": 190}');
\echo '--- An investigator of one center sees its patients, and no others'
SELECT id AS center FROM clinical.center ORDER BY site_id LIMIT 1 \gset
CREATE ROLE demo_investigator;
GRANT clinical_investigator TO demo_investigator;
SELECT role, center_id FROM clinical.grant_center('demo_investigator', :center);
SET ROLE demo_investigator;
SELECT count(*) AS patients, count(DISTINCT center_id) AS centers FROM clinical.patient;
SELECT roles, problem FROM clinical.whoami();
RESET ROLE;
\echo '--- What ever happened to one patient: the end of the trail'
SELECT patient_id AS somebody FROM clinical.enrollment_event WHERE event_no > 1 ORDER BY patient_id LIMIT 1 \gset
SELECT recorded_at::timestamp(0), login, operation, item, old_value, new_value
  FROM clinical.patient_history(:'somebody') ORDER BY record_id DESC, item LIMIT 8;
\echo '--- The trail is sealed, and all tables are what it says (no rows: sound)'
SELECT block_no, records FROM clinical.seal_audit();
SELECT count(*) AS records, pg_size_pretty(pg_total_relation_size('clinical.audit_record')) AS size FROM clinical.audit_record;
SELECT * FROM clinical.verify_audit();
\set ECHO none
