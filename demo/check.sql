-- check.sql: whether the extension holds what schema study says, row by row and in its counts, and
-- for the simulated study (-v simulated=on) whether the counts are those written down below, which
-- follow from the default seed.  Ends with an error, and psql with it, if anything differs.
--
--   psql -X -v ON_ERROR_STOP=1 -v simulated=on -f demo/check.sql

\if :{?simulated}
\else
    \set simulated off
\endif

-- Where the study's patients end up: the last status, and the last center.
CREATE TEMP VIEW outcome AS
WITH status AS (
    SELECT DISTINCT ON (patient_id) patient_id, status, effective_on
      FROM study.event
     WHERE site_id IS NULL
     ORDER BY patient_id, effective_on DESC, status NOT IN ('screened', 'enrolled') DESC),
center AS (
    SELECT DISTINCT ON (patient_id) patient_id, site_id
      FROM study.event
     WHERE site_id IS NOT NULL
     ORDER BY patient_id, effective_on DESC)
SELECT p.id, coalesce(c.site_id, p.site_id) AS site_id, coalesce(s.status, p.status) AS status,
       coalesce(s.effective_on, p.status_on) AS status_on
  FROM study.patient p
  LEFT JOIN status s ON s.patient_id = p.id
  LEFT JOIN center c ON c.patient_id = p.id;

-- The study's patients as the extension has them.
CREATE TEMP VIEW held AS
SELECT p.*, c.site_id
  FROM clinical.patient p
  JOIN clinical.center c ON c.id = p.center_id
 WHERE p.project_id = (SELECT id FROM clinical.project WHERE code = (SELECT code FROM study.project));

CREATE TEMP TABLE figure (source text, what text, key text, number bigint);

INSERT INTO figure
SELECT 'clinical', 'patients at center', site_id, count(*) FROM held GROUP BY site_id
UNION ALL SELECT 'clinical', 'patients with status', status, count(*) FROM held GROUP BY status
UNION ALL SELECT 'clinical', 'patients', '', count(*) FROM held
UNION ALL SELECT 'clinical', 'planned enrolment', c.site_id, pc.planned_enrolment
            FROM clinical.project_center pc JOIN clinical.center c ON c.id = pc.center_id
            JOIN clinical.project p ON p.id = pc.project_id AND p.code = (SELECT code FROM study.project)
UNION ALL SELECT 'clinical', 'events', e.status, count(*)
            FROM clinical.enrollment_event e JOIN held p ON p.id = e.patient_id GROUP BY e.status
UNION ALL SELECT 'clinical', 'versions of records', '', count(*)
            FROM clinical.record_version v JOIN held p ON p.id = v.patient_id
UNION ALL
SELECT 'study', 'patients at center', site_id, count(*) FROM outcome GROUP BY site_id
UNION ALL SELECT 'study', 'patients with status', status, count(*) FROM outcome GROUP BY status
UNION ALL SELECT 'study', 'patients', '', count(*) FROM study.patient
UNION ALL SELECT 'study', 'planned enrolment', site_id, planned_enrolment FROM study.center
UNION ALL SELECT 'study', 'events', status, count(*)
            FROM (SELECT status FROM study.patient UNION ALL SELECT status FROM study.event) e GROUP BY status
UNION ALL SELECT 'study', 'versions of records', '', count(*) FROM study.patient;

-- Rows that one side has and the other has not.
INSERT INTO figure
SELECT 'clinical', 'patients other than in the study', '', count(*)
  FROM ((SELECT id, site_id, status, status_on, name, birth_date, birth_year, age, sex, race, ethnicity, record FROM held)
        EXCEPT
        (SELECT id, o.site_id, o.status, o.status_on, name, birth_date, birth_year, age, sex, race, ethnicity,
                coalesce(record, '{}') FROM study.patient p JOIN outcome o USING (id))) d
UNION ALL
SELECT 'clinical', 'events of the study that are missing', '', count(*)
  FROM (SELECT patient_id, status, effective_on, reason FROM study.event
        EXCEPT SELECT patient_id, status, effective_on, reason FROM clinical.enrollment_event) d
UNION ALL
SELECT 'clinical', 'centers other than in the study', '', count(*)
  FROM (SELECT site_id, name, coalesce(time_zone, 'UTC'), country FROM study.center
        EXCEPT SELECT site_id, name, time_zone, country FROM clinical.center) d
UNION ALL
SELECT 'clinical', 'readings on another local day', '', count(*)
  FROM study.reading r
 WHERE (r.captured_at AT TIME ZONE clinical.time_zone_at(r.patient_id, r.captured_at))::date
       <> (r.captured_at AT TIME ZONE r.time_zone)::date
UNION ALL
SELECT 'clinical', 'broken invariants', '', count(*) FROM clinical.check()
UNION ALL VALUES
    ('study', 'patients other than in the study', '', 0),
    ('study', 'events of the study that are missing', '', 0),
    ('study', 'centers other than in the study', '', 0),
    ('study', 'readings on another local day', '', 0),
    ('study', 'broken invariants', '', 0);

\if :simulated
-- What the default seed makes.  Change these only with the simulator.
INSERT INTO figure VALUES
    ('written', 'patients', '', 300),
    ('written', 'patients at center', '101', 42), ('written', 'patients at center', '102', 35),
    ('written', 'patients at center', '103', 30), ('written', 'patients at center', '104', 27),
    ('written', 'patients at center', '105', 24), ('written', 'patients at center', '106', 22),
    ('written', 'patients at center', '107', 21), ('written', 'patients at center', '108', 19),
    ('written', 'patients at center', '109', 16), ('written', 'patients at center', '110', 14),
    ('written', 'patients at center', '111', 12), ('written', 'patients at center', '112', 10),
    ('written', 'patients at center', '113', 9),  ('written', 'patients at center', '114', 7),
    ('written', 'patients at center', '115', 6),  ('written', 'patients at center', '116', 4),
    ('written', 'patients at center', '117', 2),
    ('written', 'patients with status', 'screened', 3),
    ('written', 'patients with status', 'screen_failed', 22),
    ('written', 'patients with status', 'enrolled', 151),
    ('written', 'patients with status', 'completed', 88),
    ('written', 'patients with status', 'withdrawn', 26),
    ('written', 'patients with status', 'lost_to_follow_up', 9),
    ('written', 'patients with status', 'died', 1),
    ('written', 'centers', '', 17),
    ('written', 'patients planned', '', 312),
    ('written', 'dropouts', '', 36),
    ('written', 'transfers', '', 2),
    ('written', 'changes of time zone', '', 3),
    ('written', 'patients with the rare key', '', 1),
    ('written', 'patients without day of birth', '', 51),
    ('written', 'persons out of range three days running', '', 15),
    ('written', 'their runs of days', '', 31),
    ('written', 'readings', '', 74617),
    ('written', 'answers', '', 56470);
INSERT INTO figure
SELECT 'clinical', 'centers', '', count(DISTINCT site_id) FROM held
UNION ALL SELECT 'clinical', 'patients planned', '', sum(number) FROM figure
           WHERE source = 'clinical' AND what = 'planned enrolment'
UNION ALL SELECT 'clinical', 'dropouts', '', count(*) FROM held
           WHERE status IN ('withdrawn', 'lost_to_follow_up', 'died')
UNION ALL SELECT 'clinical', 'transfers', '', count(*)
            FROM (SELECT center_id <> lag(center_id) OVER (PARTITION BY patient_id ORDER BY event_no) AS moved
                    FROM clinical.enrollment_event) e WHERE moved
UNION ALL SELECT 'clinical', 'changes of time zone', '', count(*) FROM clinical.patient_time_zone
UNION ALL SELECT 'clinical', 'patients with the rare key', '', count(*)
            FROM clinical.find_patients('HBP-2026', record_contains => '{"flags": {"rare_variant": true}}')
UNION ALL SELECT 'clinical', 'patients without day of birth', '', count(*) FROM held
           WHERE birth_date IS NULL AND birth_year IS NOT NULL
UNION ALL SELECT 'clinical', 'persons out of range three days running', '', count(DISTINCT s.patient_id)
            FROM study.streak s JOIN held p ON p.id = s.patient_id
UNION ALL SELECT 'clinical', 'their runs of days', '', count(*) FROM study.streak s JOIN held p ON p.id = s.patient_id
UNION ALL SELECT 'clinical', 'readings', '', count(*) FROM study.reading r JOIN held p ON p.id = r.patient_id
UNION ALL SELECT 'clinical', 'answers', '', count(*) FROM study.answer a JOIN held p ON p.id = a.patient_id;
\endif

-- Each figure of the study, and each written down, against the extension's.
CREATE TEMP VIEW compared AS
SELECT what, key, e.source AS expected_by, e.number AS expected, h.number AS found,
       e.number IS NOT DISTINCT FROM h.number AS same
  FROM (SELECT * FROM figure WHERE source <> 'clinical') e
  LEFT JOIN (SELECT * FROM figure WHERE source = 'clinical') h USING (what, key)
UNION ALL  -- what the extension has and the study has not
SELECT what, key, 'study', NULL, number, false
  FROM figure h
 WHERE source = 'clinical'
   AND NOT EXISTS (SELECT FROM figure e WHERE e.source <> 'clinical' AND (e.what, e.key) = (h.what, h.key));

\set ECHO none
\pset footer off
SELECT what, count(*) AS figures, count(*) FILTER (WHERE same) AS as_expected,
       string_agg(DISTINCT expected_by, ', ') AS expected_by
  FROM compared GROUP BY what ORDER BY min(expected_by), what;
SELECT count(*) FILTER (WHERE NOT same) AS differences, count(*) FILTER (WHERE NOT same) > 0 AS differs FROM compared \gset
\if :differs
    SELECT what, key, expected_by, expected, found FROM compared WHERE NOT same ORDER BY 1, 2, 3;
    DO $$ BEGIN RAISE EXCEPTION 'the extension does not hold what is expected'; END $$;
\endif
