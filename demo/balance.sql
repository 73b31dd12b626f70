-- balance.sql: what became of the reports of demo/intake.sh against what was to become of them: what the
-- clients were answered, the balance of the intake, the reasons, each report by itself, and the
-- observations.  What is expected comes from the study (demo/reports.sql), and for the simulated one
-- (-v simulated=on) also from the counts written down below, which follow from the default seeds.  Ends
-- with an error, and psql with it, if anything differs.
--
--   psql -X -v ON_ERROR_STOP=1 -v simulated=on -v capacity=1024 -f demo/balance.sql

\if :{?simulated}
\else
    \set simulated off
\endif
SET client_min_messages = warning;
SELECT id AS project FROM clinical.project WHERE code = (SELECT code FROM study.project) \gset

CREATE TEMP TABLE figure (source text, what text, key text, number numeric);

-- What the clients were told: the last answer of each report, and how the burst began.
INSERT INTO figure
SELECT 'study', 'answers', wave || ': ' || answer, count(*) FROM demo.report GROUP BY wave, answer
UNION ALL
SELECT 'clinical', 'answers', wave || ': ' || outcome, count(*) FROM demo.answer WHERE outcome <> 'busy' GROUP BY wave, outcome
UNION ALL
SELECT 'study', 'burst: told at first', outcome, number
  FROM (SELECT count(*) AS reports FROM demo.report WHERE wave = 'burst') b,
       LATERAL (VALUES ('queued', least(reports, :capacity)), ('busy', greatest(reports - :capacity, 0))) e (outcome, number)
UNION ALL
SELECT 'clinical', 'burst: told at first', o.outcome, count(a.no)
  FROM (VALUES ('queued'), ('busy')) o (outcome)
  LEFT JOIN (SELECT DISTINCT ON (no) no, outcome FROM demo.answer WHERE wave = 'burst' ORDER BY no, at) a USING (outcome)
 GROUP BY o.outcome;

-- The balance, which is 0 where it has no row.
CREATE TEMP VIEW balance AS
SELECT CASE WHEN project_id = :project THEN 'of the study' WHEN project_id IS NULL THEN 'of nobody known' ELSE 'of others' END AS side, b.*
  FROM clinical.intake_balance b;
INSERT INTO figure
SELECT 'study', 'balance ' || s.side, e.key, e.number
  FROM (VALUES ('of the study'), ('of nobody known'), ('of others')) s (side)
  LEFT JOIN LATERAL (
       SELECT count(state) AS received, count(*) FILTER (WHERE state = 'accepted') AS accepted,
              count(*) FILTER (WHERE state = 'duplicate') AS duplicate, count(*) FILTER (WHERE state = 'conflict') AS conflict,
              count(*) FILTER (WHERE state = 'quarantined') AS quarantined
         FROM demo.report
        WHERE s.side = CASE WHEN reason = 'unknown_patient' THEN 'of nobody known' ELSE 'of the study' END) c ON true
 CROSS JOIN LATERAL (VALUES ('received', c.received), ('accepted', c.accepted), ('duplicate', c.duplicate), ('conflict', c.conflict),
              ('quarantined', c.quarantined), ('withdrawn', 0), ('staged', 0)) e (key, number)
UNION ALL
SELECT 'clinical', 'balance ' || s.side, e.key, coalesce(e.number, 0)
  FROM (VALUES ('of the study'), ('of nobody known'), ('of others')) s (side)
  LEFT JOIN (SELECT side, sum(received) AS received, sum(accepted) AS accepted, sum(duplicate) AS duplicate, sum(conflict) AS conflict,
                    sum(quarantined) AS quarantined, sum(withdrawn) AS withdrawn, sum(staged) AS staged
               FROM balance GROUP BY side) c USING (side)
 CROSS JOIN LATERAL (VALUES ('received', c.received), ('accepted', c.accepted), ('duplicate', c.duplicate), ('conflict', c.conflict),
              ('quarantined', c.quarantined), ('withdrawn', c.withdrawn), ('staged', c.staged)) e (key, number)
UNION ALL
SELECT 'study', 'quarantined', reason, count(*) FROM demo.report WHERE state = 'quarantined' GROUP BY reason
UNION ALL
SELECT 'clinical', 'quarantined', reason_code, sum(reports) FROM clinical.quarantine GROUP BY reason_code;

-- Each report by itself: what was to be accepted or quarantined is, as it was sent first.
CREATE TEMP VIEW astray AS
SELECT r.no, r.wave, r.kind, concat_ws(' ', r.state, r.reason) AS expected,
       concat_ws(' ', CASE WHEN s.id IS NOT NULL THEN s.status END, q.outcome, q.reason_code,
                 CASE WHEN coalesce(s.report_data, q.report_data) <> r.report_data OR coalesce(s.captured_at, q.captured_at) <> r.captured_at
                           OR coalesce(s.originator, q.originator) <> r.originator THEN 'with other content' END) AS found
  FROM demo.report r
  LEFT JOIN clinical.submission s ON (s.patient_id, s.id) = (r.patient_id, r.submission_id)
  LEFT JOIN clinical.set_aside q ON (q.patient_id, q.submission_id, q.outcome) = (r.patient_id, r.submission_id, 'quarantined')
 WHERE r.kind NOT IN ('repeat', 'conflict');
-- What is stored, against the study itself; a report that was expected in quarantine has no observations.
CREATE TEMP VIEW expected_observation AS
SELECT r.patient_id, r.submission_id, r.instrument, r.captured_at, i.key AS item,
       CASE jsonb_typeof(i.value) WHEN 'number' THEN i.value::text::numeric WHEN 'object' THEN (i.value ->> 'value')::numeric END AS value,
       CASE jsonb_typeof(i.value) WHEN 'string' THEN i.value #>> '{}' END AS word, i.value ->> 'absent' AS absent
  FROM demo.report r, jsonb_each(r.report_data) i
 WHERE r.state = 'accepted';
INSERT INTO figure
SELECT 'clinical', 'reports with another fate than expected', '', count(*) FROM astray WHERE expected <> found
UNION ALL
SELECT 'clinical', 'observations other than the study''s', '', count(*)
  FROM ((SELECT patient_id, submission_id, captured_at, item, value, word, absent FROM expected_observation)
        EXCEPT
        (SELECT patient_id, submission_id, captured_at, item, value, coalesce(value_text, value_code), absent FROM clinical.observation)) d
UNION ALL
SELECT 'study', 'observations', instrument, count(*) FROM expected_observation GROUP BY instrument
UNION ALL
SELECT 'clinical', 'observations', v.instrument, count(*)
  FROM clinical.observation o
  JOIN clinical.submission s ON (s.patient_id, s.id) = (o.patient_id, o.submission_id)
  JOIN clinical.instrument_version v ON v.id = s.version_id
 WHERE NOT o.is_score
 GROUP BY v.instrument
UNION ALL
SELECT 'study', 'scores', e.key, e.number
  FROM (SELECT count(score) AS number, sum(score) AS total FROM demo.report) s,
       LATERAL (VALUES ('', s.number), ('their sum', coalesce(s.total, 0))) e (key, number)
UNION ALL
SELECT 'clinical', 'scores', e.key, e.number
  FROM (SELECT count(*) AS number, sum(value) AS total FROM clinical.observation WHERE is_score) s,
       LATERAL (VALUES ('', s.number), ('their sum', coalesce(s.total, 0))) e (key, number)
UNION ALL
SELECT 'clinical', 'broken invariants', '', count(*) FROM clinical.check()
UNION ALL VALUES
    ('study', 'reports with another fate than expected', '', 0),
    ('study', 'observations other than the study''s', '', 0),
    ('study', 'broken invariants', '', 0);
-- That the reports have all of the study: each reading and each answer once.
INSERT INTO figure
SELECT 'study', 'readings and answers', '', (SELECT count(*) FROM study.reading) + (SELECT count(*) FROM study.answer)
UNION ALL
SELECT 'clinical', 'readings and answers', '', count(*)
  FROM demo.report r, jsonb_object_keys(r.report_data) WHERE r.kind = 'report';

\if :simulated
-- What the default seeds make.  Change these only with the simulator or demo/reports.sql.
INSERT INTO figure VALUES
    ('written', 'readings and answers', '', 131087),
    ('written', 'balance of the study', 'received', 50330),
    ('written', 'balance of the study', 'accepted', 44085),
    ('written', 'balance of the study', 'duplicate', 2939),
    ('written', 'balance of the study', 'conflict', 2204),
    ('written', 'balance of the study', 'quarantined', 1102),
    ('written', 'balance of nobody known', 'received', 441),
    ('written', 'balance of nobody known', 'quarantined', 441),
    ('written', 'quarantined', 'bad_unit', 125), ('written', 'quarantined', 'captured_in_future', 140),
    ('written', 'quarantined', 'disagrees', 136), ('written', 'quarantined', 'missing_item', 72),
    ('written', 'quarantined', 'not_in_code_list', 67), ('written', 'quarantined', 'out_of_range', 141),
    ('written', 'quarantined', 'unknown_instrument', 139), ('written', 'quarantined', 'unknown_item', 138),
    ('written', 'quarantined', 'unknown_patient', 441), ('written', 'quarantined', 'wrong_type', 144),
    ('written', 'answers', 'late: already_received', 1470), ('written', 'answers', 'late: conflict', 735),
    ('written', 'burst: told at first', 'queued', 1024), ('written', 'burst: told at first', 'busy', 6324);
\endif

CREATE TEMP VIEW compared AS
SELECT what, key, e.source AS expected_by, e.number AS expected, h.number AS found,
       e.number IS NOT DISTINCT FROM h.number AS same
  FROM (SELECT * FROM figure WHERE source <> 'clinical') e
  LEFT JOIN (SELECT * FROM figure WHERE source = 'clinical') h USING (what, key)
UNION ALL
SELECT what, key, 'study', NULL, number, false
  FROM figure h
 WHERE source = 'clinical'
   AND NOT EXISTS (SELECT FROM figure e WHERE e.source <> 'clinical' AND (e.what, e.key) = (h.what, h.key));

\set ECHO none
\pset footer off
\echo '--- The balance: as intake_balance has it, and as the seed demands it'
SELECT what AS balance, source AS by, max(number) FILTER (WHERE key = 'received') AS received,
       max(number) FILTER (WHERE key = 'accepted') AS accepted, max(number) FILTER (WHERE key = 'duplicate') AS duplicate,
       max(number) FILTER (WHERE key = 'conflict') AS conflict, max(number) FILTER (WHERE key = 'quarantined') AS quarantined,
       max(number) FILTER (WHERE key = 'withdrawn') AS withdrawn, max(number) FILTER (WHERE key = 'staged') AS staged
  FROM (SELECT substr(what, 9) AS what, CASE source WHEN 'clinical' THEN 'found' WHEN 'study' THEN 'demanded' ELSE source END AS source, key, number
          FROM figure WHERE what IN ('balance of the study', 'balance of nobody known') AND source <> 'written') b
 GROUP BY what, source ORDER BY what DESC, source;
\echo '--- What is in quarantine, and what to do about it'
SELECT reason_code, sum(reports) AS reports, next_step FROM clinical.quarantine GROUP BY reason_code, next_step ORDER BY reason_code;
\echo '--- All that was compared'
SELECT what, count(*) AS figures, count(*) FILTER (WHERE same) AS as_demanded, string_agg(DISTINCT expected_by, ', ') AS demanded_by
  FROM compared GROUP BY what ORDER BY what;
SELECT count(*) FILTER (WHERE NOT same) > 0 AS differs FROM compared \gset
\if :differs
    SELECT what, key, expected_by AS demanded_by, expected AS demanded, found FROM compared WHERE NOT same ORDER BY 1, 2, 3;
    SELECT * FROM astray WHERE expected <> found ORDER BY no LIMIT 20;
    DO $$ BEGIN RAISE EXCEPTION 'the balance is not the one that the seed demands'; END $$;
\endif
