-- load.sql: puts the study in schema study into the extension, all of it or nothing. Readings and
-- answers stay where they are: only what they say about time zones is loaded.
--
--   psql -X -v ON_ERROR_STOP=1 -f demo/load.sql

BEGIN;

-- What joins below would leave out without a word.
DO $$
DECLARE
    found text;
BEGIN
    IF (SELECT count(*) FROM study.project) <> 1 THEN
        RAISE EXCEPTION 'a study has exactly one row in project, not %', (SELECT count(*) FROM study.project);
    END IF;
    SELECT string_agg(DISTINCT quote_nullable(site_id), ', ') INTO found
      FROM (SELECT site_id FROM study.patient
            UNION ALL SELECT site_id FROM study.event WHERE site_id IS NOT NULL) s
     WHERE NOT EXISTS (SELECT FROM study.center c WHERE c.site_id = s.site_id);
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'site_id in patient or event that center does not have: %', found;
    END IF;
    SELECT string_agg(format('%s (%s rows)', source, count), ', ') INTO found
      FROM (SELECT source, count(*)
              FROM (SELECT 'event' AS source, patient_id FROM study.event
                    UNION ALL SELECT 'reading', patient_id FROM study.reading
                    UNION ALL SELECT 'answer', patient_id FROM study.answer) r
             WHERE NOT EXISTS (SELECT FROM study.patient p WHERE p.id = r.patient_id)
             GROUP BY source) s;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'patient_id that patient does not have, in: %', found;
    END IF;
    IF EXISTS (SELECT FROM study.reading WHERE num_nulls(captured_at, time_zone, item) > 0)
       OR EXISTS (SELECT FROM study.answer WHERE num_nulls(captured_at, time_zone, item) > 0) THEN
        RAISE EXCEPTION 'captured_at, time_zone or item is missing in reading or answer';
    END IF;
END
$$;

SELECT count(*) AS centers
  FROM (SELECT * FROM study.center ORDER BY site_id) c,
       LATERAL clinical.create_center(c.name, c.site_id, c.time_zone, c.country) created;

SELECT created.code AS project
  FROM study.project p,
       LATERAL clinical.create_project_with_centers(p.name,
           (SELECT array_agg(c.id ORDER BY c.id)
              FROM clinical.center c JOIN study.center USING (site_id)), p.code, p.time_zone) created \gset

SELECT count(*) AS plans
  FROM study.center s
  JOIN clinical.center c USING (site_id),
       LATERAL clinical.plan_enrolment(:'project', c.id, s.planned_enrolment, s.enrolment_from, s.enrolment_to) plan
 WHERE s.planned_enrolment IS NOT NULL;

-- The extension hears of the centers now; they have been active since their enrolment began.
WITH activated AS (
    UPDATE clinical.center c SET activated_at = b.began AT TIME ZONE c.time_zone
      FROM (SELECT s.site_id, least(s.enrolment_from, min(e.effective_on) FILTER (WHERE e.status = 'enrolled')) AS began
              FROM study.center s
              LEFT JOIN study.patient p USING (site_id)
              LEFT JOIN study.event e ON e.patient_id = p.id
             GROUP BY s.site_id, s.enrolment_from) b
     WHERE b.site_id = c.site_id AND b.began IS NOT NULL
    RETURNING c.id)
SELECT count(*) AS activated FROM activated;

INSERT INTO clinical.patient (id, project_id, center_id, status, status_on, name, birth_date, birth_year, age,
                              sex, race, ethnicity, time_zone, record)
SELECT s.id, p.id, c.id, s.status, s.status_on, s.name, s.birth_date, s.birth_year, s.age,
       s.sex, s.race, s.ethnicity, s.time_zone, coalesce(s.record, '{}')
  FROM study.patient s
  JOIN clinical.center c USING (site_id)
  JOIN clinical.project p ON p.code = :'project'
 ORDER BY s.id;

-- Each event follows the patient's last, so they come in the order of their days; on one day
-- enrolment comes before a transfer, and leaving the study last.
INSERT INTO clinical.enrollment_event (patient_id, status, effective_on, center_id, reason)
SELECT s.patient_id, s.status, s.effective_on, c.id, s.reason
  FROM study.event s
  LEFT JOIN clinical.center c USING (site_id)
 ORDER BY s.effective_on, s.status NOT IN ('screened', 'enrolled'), s.site_id IS NOT NULL, s.patient_id;

-- Where patients were, as their entries say it: a row where the zone is another than before, or
-- for the first entry another than that of the center.  Who was transferred to a center in another
-- zone gets one with the first entry, as the center's zone alone would then decide.
INSERT INTO clinical.patient_time_zone (patient_id, effective_from, time_zone)
SELECT e.patient_id, e.captured_at, e.time_zone
  FROM (SELECT patient_id, captured_at, time_zone,
               lag(time_zone) OVER (PARTITION BY patient_id ORDER BY captured_at, time_zone) AS previous
          FROM (SELECT patient_id, captured_at, time_zone FROM study.reading
                UNION ALL SELECT patient_id, captured_at, time_zone FROM study.answer) entry) e
  JOIN study.patient p ON p.id = e.patient_id
  JOIN study.center c USING (site_id)
 WHERE e.time_zone IS DISTINCT FROM e.previous
   AND (e.previous IS NOT NULL
        OR e.time_zone <> coalesce(p.time_zone, c.time_zone, 'UTC')
        OR EXISTS (SELECT FROM study.event t JOIN study.center tc ON tc.site_id = t.site_id
                    WHERE t.patient_id = e.patient_id AND tc.time_zone IS DISTINCT FROM c.time_zone))
 ORDER BY e.captured_at, e.patient_id;

COMMIT;
VACUUM ANALYZE clinical.center, clinical.project, clinical.project_center, clinical.patient,
    clinical.enrollment_event, clinical.record_version, clinical.patient_time_zone;
