-- reports.sql: makes of the study in schema study the reports that demo/intake.sh sends, and says what
-- is to become of each.  What is expected follows from the study and the seed alone, not from what the
-- extension does.
--
--   psql -X -v ON_ERROR_STOP=1 -v originator=subject -f demo/reports.sql
--
--   -v seed=20260301         another number: other reports are repeated, spoiled, sent in the burst
--   -v originator=import     subject, site, device or import
--
-- After demo/load.sql, as a superuser.  Makes schema demo:
--   instrument   the questionnaires of the study: what is asked, in what range
--   report       what is sent, in waves; answer, state and reason are what is expected
--   answer       what the clients were answered
--   backlog      how many reports waited, and how many workers there were

\if :{?seed}
\else
    \set seed 20260301
\endif
\if :{?originator}
\else
    \set originator import
\endif

BEGIN;
SET LOCAL client_min_messages = warning;
CREATE SCHEMA demo;
SELECT code AS project FROM study.project \gset

CREATE TABLE demo.instrument (code text COLLATE "C" PRIMARY KEY, version text NOT NULL, definition jsonb NOT NULL);
INSERT INTO demo.instrument
SELECT code, definition ->> 'version', definition FROM clinical.shipped_instruments() WHERE code = 'vital-signs';

-- What the shipped vital sign diary asks.
CREATE TEMP TABLE sign ON COMMIT DROP AS
SELECT i ->> 'code' AS item, i ->> 'unit' AS unit, coalesce((i -> 'required')::boolean, false) AS required,
       (i ->> 'decimals')::integer AS decimals, coalesce(i -> 'checks', '[]') AS checks
  FROM demo.instrument, jsonb_array_elements(definition -> 'items') i;

-- One row a reading or answer, with the report that it is in: a patient's readings, or answers to an
-- instrument, of one moment and visit; what is there twice goes into a second report (copy).  With a
-- pressure the readings are vital signs, as far as the diary asks for them in that unit.
CREATE TEMP TABLE given ON COMMIT DROP AS
WITH reading AS (
    SELECT r.*, row_number() OVER (PARTITION BY patient_id, captured_at, time_zone, visit, item ORDER BY value, unit) AS copy
      FROM study.reading r)
SELECT 'reading' AS source, r.patient_id, r.captured_at, r.time_zone, r.visit, r.copy,
       CASE WHEN s.item IS NOT NULL AND (r.unit = s.unit OR r.value IS NULL)
                 AND bool_or(r.item IN ('8480-6', '8462-4')) OVER (PARTITION BY r.patient_id, r.captured_at, r.time_zone, r.visit, r.copy)
            THEN 'vital-signs' ELSE 'other-measurements' END AS instrument,
       r.item, r.value::text AS value, r.unit
  FROM reading r
  LEFT JOIN sign s ON s.item = r.item
UNION ALL
SELECT 'answer', patient_id, captured_at, time_zone, visit,
       row_number() OVER (PARTITION BY patient_id, captured_at, time_zone, visit, instrument, item ORDER BY value),
       CASE WHEN instrument IN ('vital-signs', 'other-measurements') THEN instrument || ', questions'
            ELSE coalesce(instrument, 'questions') END, item, value, NULL
  FROM study.answer;

-- What the study's own questionnaires ask, as far as its answers tell.
CREATE TEMP TABLE item ON COMMIT DROP AS
SELECT instrument, item, min(unit) AS unit,
       CASE WHEN count(DISTINCT unit) > 1 THEN 'quantity'
            WHEN bool_and(value ~ '^-?\d{1,9}$') AND bool_and(source = 'answer') THEN 'integer'
            WHEN bool_and(value ~ '^-?\d{1,20}(\.\d{1,20})?$') THEN 'decimal'
            WHEN count(DISTINCT value) <= 50 AND bool_and(value ~ '^\S(.*\S)?$' AND length(value) <= 100) THEN 'coded'
            ELSE 'text' END AS type,
       array_agg(DISTINCT value) FILTER (WHERE value IS NOT NULL) AS answers
  FROM given
 WHERE instrument <> 'vital-signs'
 GROUP BY instrument, item;

-- What is left to the extension to add up: the totals of the pilot study's questionnaires, of all items
-- unless it says of which.
CREATE TEMP TABLE total ON COMMIT DROP AS
SELECT t.instrument, t.code, array_agg(i.item ORDER BY i.item) AS items
  FROM (VALUES ('MMSE', 'MMSE total', '%'), ('HACHINSKI', 'HACHINSKI total', '%'),
               ('ADAS-COG', 'ADAS-COG(11) total', 'ACITM(01|02|04|05|06|07|08|11|12|13|14)')) t (instrument, code, items)
  JOIN item i ON i.instrument = t.instrument AND i.item SIMILAR TO t.items
 GROUP BY t.instrument, t.code
HAVING bool_and(i.type IN ('integer', 'decimal'));

-- No instrument asks for what the study never has, so the range is that of its answers.
INSERT INTO demo.instrument
SELECT instrument, 'study', jsonb_strip_nulls(jsonb_build_object(
           'code', instrument, 'version', 'study', 'title', instrument || ', as the study has it',
           'items', jsonb_agg(jsonb_build_object(
               'code', item, 'type', type, 'unit', CASE WHEN type = 'decimal' THEN unit END,
               'code_list', CASE WHEN type = 'coded' THEN
                   (SELECT jsonb_agg(jsonb_build_object('code', a) ORDER BY a) FROM unnest(answers) a) END,
               'checks', CASE WHEN type IN ('integer', 'decimal') THEN
                   (SELECT jsonb_build_array(
                               jsonb_build_object('id', 'low', 'comparator', 'GE', 'soft_hard', 'Hard', 'values', jsonb_build_array(min(a::numeric))),
                               jsonb_build_object('id', 'high', 'comparator', 'LE', 'soft_hard', 'Hard', 'values', jsonb_build_array(max(a::numeric))))
                      FROM unnest(answers) a) END) ORDER BY item),
           'scores', (SELECT jsonb_agg(jsonb_build_object('code', t.code, 'method', 'sum', 'items', to_jsonb(t.items)))
                        FROM total t WHERE t.instrument = item.instrument)))
  FROM item
 GROUP BY instrument;

SELECT count(v.instrument) AS instruments FROM demo.instrument i, LATERAL clinical.create_instrument(i.definition) v \gset
-- not once more where the project uses it already
SELECT count(u.instrument) AS used
  FROM demo.instrument i, LATERAL clinical.use_instrument(:'project', i.code, version => i.version) u
 WHERE NOT EXISTS (SELECT FROM clinical.project_instrument_version p
                     JOIN clinical.instrument_version v ON v.id = p.version_id
                    WHERE (v.instrument, v.version, p.effective_from) = (i.code, i.version, '-infinity')) \gset

-- Whether the vital signs are what the diary takes: values out of a hard range, or more exact than
-- it has them, are said before what is missing.
CREATE TEMP VIEW fault AS
SELECT g.patient_id, g.captured_at, g.time_zone, g.visit, g.copy,
       CASE WHEN bool_or(scale(trim_scale(g.value::numeric)) > s.decimals OR EXISTS (
                SELECT FROM jsonb_array_elements(s.checks) c
                 WHERE c ->> 'soft_hard' = 'Hard'
                   AND CASE c ->> 'comparator' WHEN 'GE' THEN g.value::numeric < (c #>> '{values,0}')::numeric
                                               WHEN 'LE' THEN g.value::numeric > (c #>> '{values,0}')::numeric END))
            THEN 'out_of_range'
            WHEN count(*) FILTER (WHERE s.required) < (SELECT count(*) FROM sign WHERE required) THEN 'missing_item' END AS reason
  FROM given g
  JOIN sign s USING (item)
 WHERE g.instrument = 'vital-signs'
 GROUP BY g.patient_id, g.captured_at, g.time_zone, g.visit, g.copy;

-- The days on which a patient may report: from enrolment to the day of leaving.
CREATE TEMP VIEW on_study AS
SELECT p.id AS patient_id,
       least(min(p.status_on) FILTER (WHERE p.status = 'enrolled'), min(e.effective_on) FILTER (WHERE e.status = 'enrolled')) AS first_day,
       min(e.effective_on) FILTER (WHERE e.status NOT IN ('screened', 'enrolled')) AS last_day
  FROM study.patient p
  LEFT JOIN study.event e ON e.patient_id = p.id
 GROUP BY p.id;

-- The study's reports in an order that the seed decides, each with the reason that it is not accepted for.
CREATE TEMP TABLE base ON COMMIT DROP AS
SELECT b.*, row_number() OVER (ORDER BY hash) AS n,
       CASE WHEN b.captured_at > now() + interval '15 minutes' THEN 'captured_in_future'
            WHEN day < s.first_day THEN 'captured_before_enrolment'
            WHEN s.first_day IS NULL OR day > s.last_day THEN 'patient_not_on_study'
            WHEN b.no_unit THEN 'bad_unit'
            ELSE f.reason END AS reason
  FROM (SELECT g.patient_id, g.captured_at, g.time_zone, g.visit, g.copy, g.instrument,
               (g.captured_at AT TIME ZONE g.time_zone)::date AS day,
               md5(concat_ws('|', :'seed', g.patient_id, extract(epoch FROM g.captured_at), g.time_zone, g.instrument, g.visit, g.copy)) AS hash,
               jsonb_object_agg(g.item,
                   CASE WHEN g.value IS NULL AND g.source = 'reading' THEN jsonb '{"absent": "not-performed"}'
                        WHEN g.value IS NULL THEN jsonb '{"absent": "asked-unknown"}'
                        WHEN i.type = 'quantity' THEN jsonb_build_object('value', g.value::numeric, 'unit', g.unit)
                        WHEN g.source = 'reading' OR i.type IN ('integer', 'decimal') THEN to_jsonb(g.value::numeric)
                        ELSE to_jsonb(g.value) END) AS data,
               count(*) AS items,
               bool_or(i.type = 'quantity' AND g.unit IS NULL AND g.value IS NOT NULL) AS no_unit,
               CASE WHEN count(g.value) FILTER (WHERE g.item = ANY (t.items)) = cardinality(t.items)
                    THEN sum(CASE WHEN g.item = ANY (t.items) THEN g.value::numeric END) END AS score,
               min(g.item) FILTER (WHERE g.value IS NOT NULL AND (i.type IN ('integer', 'decimal') OR i.type IS NULL)) AS number_item,
               min(g.item) FILTER (WHERE i.type = 'coded') AS code_item
          FROM given g
          LEFT JOIN total t ON t.instrument = g.instrument
          LEFT JOIN item i ON (i.instrument, i.item) = (g.instrument, g.item)
         GROUP BY g.patient_id, g.captured_at, g.time_zone, g.visit, g.copy, g.instrument, t.items) b
  LEFT JOIN on_study s USING (patient_id)
  LEFT JOIN fault f ON b.instrument = 'vital-signs' AND (f.patient_id, f.captured_at, f.time_zone, f.copy) = (b.patient_id, b.captured_at, b.time_zone, b.copy)
                   AND f.visit IS NOT DISTINCT FROM b.visit;
CREATE INDEX ON base (instrument, n);
ANALYZE base;

-- kind: report, repeat (the same again), conflict (another report under the same id), bad, stranger
-- answer: what submit_report says; state: what becomes of it, NULL: it is not stored; items, score: the
-- observations that it makes.
CREATE UNLOGGED TABLE demo.report (
    no            bigint PRIMARY KEY,
    wave          text NOT NULL,
    kind          text NOT NULL,
    patient_id    text COLLATE "C" NOT NULL,
    submission_id uuid NOT NULL,
    captured_at   timestamptz NOT NULL,
    instrument    text COLLATE "C" NOT NULL,
    time_zone     text NOT NULL,
    originator    text NOT NULL,
    report_data   jsonb NOT NULL,
    answer        text NOT NULL,
    state         text,
    reason        text,
    items         bigint NOT NULL,
    score         numeric
);
CREATE UNLOGGED TABLE demo.answer (no bigint NOT NULL, wave text NOT NULL, outcome text NOT NULL, at timestamptz NOT NULL);
CREATE UNLOGGED TABLE demo.backlog (wave text NOT NULL, at timestamptz NOT NULL, staged bigint NOT NULL, workers bigint NOT NULL);

-- Of the study's reports each tenth is sent twice while no worker runs, a third of these with other
-- content; each sixth in the burst; the others while workers run, and of those some again afterwards.
CREATE TEMP VIEW sent AS
SELECT b.*, CASE WHEN n % 10 = 0 THEN 'twice' WHEN n % 6 = 1 THEN 'burst' ELSE 'live' END AS wave,
       n % 20 = 2 AND n % 6 <> 1 AS late, n % 3 = 0 AS differs,
       coalesce((SELECT o.data FROM base o WHERE o.instrument = b.instrument AND o.n > b.n AND o.data <> b.data ORDER BY o.n LIMIT 1),
                b.data || '{"demo": 1}') AS other
  FROM base b;

-- Reports of the study's patients with something wrong: one for 40 good ones, in turn of each kind that
-- the report can have.
CREATE TEMP VIEW bad AS
SELECT b.*, kinds[1 + m / 40 % cardinality(kinds)] AS kind
  FROM (SELECT base.*, row_number() OVER (ORDER BY n) AS m,
               CASE WHEN instrument = 'vital-signs' THEN '{missing_item}'::text[] ELSE '{}' END ||
               CASE WHEN number_item IS NOT NULL THEN '{out_of_range,wrong_type,bad_unit}'::text[] ELSE '{}' END ||
               CASE WHEN code_item IS NOT NULL THEN '{not_in_code_list}'::text[] ELSE '{}' END ||
               '{unknown_item,unknown_instrument,captured_in_future,disagrees}' AS kinds
          FROM base WHERE reason IS NULL) b
 WHERE m % 40 = 0;

INSERT INTO demo.report
SELECT row_number() OVER (ORDER BY array_position('{live,twice,again,late,burst}', wave), md5(id::text || kind)),
       wave, kind, patient_id, id, captured_at, instrument, time_zone, :'originator', data, answer,
       CASE WHEN state IS NOT NULL THEN state WHEN answer = 'already_received' THEN NULL WHEN reason IS NULL THEN 'accepted' ELSE 'quarantined' END,
       CASE WHEN state IS NULL AND answer = 'queued' THEN reason END,
       CASE WHEN state IS NULL AND answer = 'queued' AND reason IS NULL THEN items ELSE 0 END,
       CASE WHEN state IS NULL AND answer = 'queued' AND reason IS NULL THEN score END
  FROM (SELECT wave, 'report' AS kind, patient_id, hash::uuid AS id, captured_at, instrument, time_zone, data,
               'queued' AS answer, NULL AS state, reason, items, score
          FROM sent
        UNION ALL  -- the first still waits
        SELECT 'again', CASE WHEN differs THEN 'conflict' ELSE 'repeat' END, patient_id, hash::uuid, captured_at, instrument, time_zone,
               CASE WHEN differs THEN other ELSE data END, 'queued', CASE WHEN differs THEN 'conflict' ELSE 'duplicate' END, NULL, 0, NULL
          FROM sent WHERE wave = 'twice'
        UNION ALL  -- the first has been processed
        SELECT 'late', CASE WHEN differs THEN 'conflict' ELSE 'repeat' END, patient_id, hash::uuid, captured_at, instrument, time_zone,
               CASE WHEN differs THEN other ELSE data END, CASE WHEN differs THEN 'conflict' ELSE 'already_received' END,
               CASE WHEN differs THEN 'conflict' END, NULL, 0, NULL
          FROM sent WHERE late
        UNION ALL
        SELECT 'live', 'bad', patient_id, md5('bad' || hash)::uuid,
               CASE kind WHEN 'captured_in_future' THEN captured_at + interval '100 years' ELSE captured_at END,
               CASE kind WHEN 'unknown_instrument' THEN 'no such instrument' ELSE instrument END, time_zone,
               CASE kind
               WHEN 'missing_item' THEN data - '8462-4'
               WHEN 'out_of_range' THEN data || jsonb_build_object(number_item, 1000000)
               WHEN 'wrong_type' THEN data || jsonb_build_object(number_item, 'rather high')
               WHEN 'bad_unit' THEN data || jsonb_build_object(number_item, jsonb '{"value": 1, "unit": "furlong"}')
               WHEN 'not_in_code_list' THEN data || jsonb_build_object(code_item, 'I do not know')
               WHEN 'unknown_item' THEN data || '{"no such item": 1}'
               WHEN 'disagrees' THEN '{"resourceType": "QuestionnaireResponse", "status": "completed", "subject": {"reference": "Patient/somebody else"}}'
               ELSE data END,
               'queued', NULL, kind, 0, NULL
          FROM bad
        UNION ALL
        SELECT 'live', 'stranger', 'stranger-' || n, md5('stranger' || hash)::uuid, captured_at, instrument, time_zone, data,
               'queued', NULL, 'unknown_patient', 0, NULL
          FROM base WHERE n % 100 = 50) r;
CREATE INDEX ON demo.report (wave, no);
DROP VIEW bad, sent, on_study, fault;

-- The login of the clients may submit and nothing else.
CREATE ROLE demo_client LOGIN;
GRANT clinical_intake TO demo_client;
GRANT USAGE ON SCHEMA demo TO demo_client;
GRANT SELECT ON demo.report TO demo_client;
GRANT SELECT, INSERT ON demo.answer TO demo_client;
COMMIT;
ANALYZE demo.report;
