-- report_plain_item.sql: the tables of items, codes and corrections of a report, split by arm, by functions of PostgreSQL
-- alone; a row each, as the name of the table and an object.  psql variables: project, first_day, end_day, cut_off.
--
-- Whoever writes this by hand knows that scores and pressures have few distinct values: one pass over the observations
-- counts them, and all figures, of months and of the whole period, with and without the split, are made of these counts.
-- Distinct patients take a second pass, over coded values.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE TEMP TABLE labelled ON COMMIT DROP AS
    SELECT p.id AS patient_id, p.record ->> 'arm' AS arm,
           EXISTS (SELECT FROM clinical.enrollment_event e
                    WHERE e.patient_id = p.id AND e.status = 'enrolled' AND e.effective_on < :'end_day' AND e.recorded_at <= :'cut_off') AS enrolled
      FROM clinical.patient p JOIN clinical.project j ON j.id = p.project_id
     WHERE j.code = :'project';
CREATE TEMP TABLE label ON COMMIT DROP AS
    SELECT DISTINCT ON (i.item) i.item, i.label, i.code_list
      FROM clinical.instrument_item i
      JOIN clinical.project_instrument_version v ON v.version_id = i.version_id
      JOIN clinical.project j ON j.id = v.project_id
     WHERE j.code = :'project' AND i.item IS NOT NULL ORDER BY i.item, i.version_id DESC;
CREATE TEMP TABLE counted ON COMMIT DROP AS
    SELECT p.record ->> 'arm' AS arm, o.item, o.unit, o.local_day, CASE WHEN o.absent IS NULL THEN o.value END AS value, o.version > 1 AS corrected, o.flagged,
           count(*) AS count
      FROM clinical.observation o
      JOIN clinical.patient p ON p.id = o.patient_id
     WHERE p.project_id = (SELECT j.id FROM clinical.project j WHERE j.code = :'project')
       AND o.local_day >= :'first_day' AND o.local_day < :'end_day' AND o.recorded_at <= :'cut_off'
       AND NOT EXISTS (SELECT FROM clinical.observation n
                        WHERE n.patient_id = o.patient_id AND n.id = o.id AND n.version > 1 AND n.version > o.version AND n.recorded_at <= :'cut_off')
       AND NOT EXISTS (SELECT FROM clinical.submission s WHERE s.patient_id = o.patient_id AND s.id = o.submission_id AND s.status <> 'accepted')
     GROUP BY 1, 2, 3, 4, 5, 6, 7;
CREATE TEMP TABLE coded ON COMMIT DROP AS
    SELECT o.patient_id, o.item, o.value_code AS code, count(*) AS count
      FROM clinical.observation o
      JOIN clinical.patient p ON p.id = o.patient_id
     WHERE p.project_id = (SELECT j.id FROM clinical.project j WHERE j.code = :'project') AND o.value_code IS NOT NULL AND o.absent IS NULL
       AND o.local_day >= :'first_day' AND o.local_day < :'end_day' AND o.recorded_at <= :'cut_off'
       AND NOT EXISTS (SELECT FROM clinical.observation n
                        WHERE n.patient_id = o.patient_id AND n.id = o.id AND n.version > 1 AND n.version > o.version AND n.recorded_at <= :'cut_off')
       AND NOT EXISTS (SELECT FROM clinical.submission s WHERE s.patient_id = o.patient_id AND s.id = o.submission_id AND s.status <> 'accepted')
     GROUP BY 1, 2, 3;
ANALYZE counted, coded, labelled;

-- items
WITH
home AS (
    SELECT item, CASE WHEN NOT bool_or(value IS NOT NULL AND unit IS NULL) THEN min(unit COLLATE "C") FILTER (WHERE value IS NOT NULL) END AS unit
      FROM counted GROUP BY item HAVING bool_or(value IS NOT NULL)),
monthly AS (
    SELECT c.arm, c.item, coalesce(c.unit, h.unit) AS unit, to_char(c.local_day, 'YYYY-MM') AS month, c.value, sum(c.count) AS count
      FROM counted c JOIN home h ON h.item = c.item GROUP BY 1, 2, 3, 4, 5),
valued AS (
    SELECT GROUPING(arm) AS whole, arm, item, unit, month, value, sum(count) AS count
      FROM monthly
     GROUP BY GROUPING SETS ((item, unit, value), (item, unit, month, value), (arm, item, unit, value), (arm, item, unit, month, value))),
placed AS (
    SELECT *, sum(count) OVER (PARTITION BY whole, arm, item, unit, month ORDER BY value) AS until,
           sum(count) FILTER (WHERE value IS NOT NULL) OVER (PARTITION BY whole, arm, item, unit, month) AS n
      FROM valued),
described AS (
    SELECT whole, arm, item, unit, month, coalesce(n, 0) AS n, coalesce(sum(count) FILTER (WHERE value IS NULL), 0) AS missing,
           sum(value * count) AS s, sum(value * value * count) AS s2, min(value) AS min, max(value) AS max, coalesce(max(scale(value)), 0) AS decimals,
           min(value) FILTER (WHERE until >= n * 0.25) AS q1a, min(value) FILTER (WHERE until > n * 0.25) AS q1b,
           min(value) FILTER (WHERE until >= n * 0.50) AS q2a, min(value) FILTER (WHERE until > n * 0.50) AS q2b,
           min(value) FILTER (WHERE until >= n * 0.75) AS q3a, min(value) FILTER (WHERE until > n * 0.75) AS q3b
      FROM placed GROUP BY whole, arm, item, unit, month, n),
varied AS (SELECT *, (n * s2 - s * s) / nullif(n * (n - 1), 0) AS v FROM described)
SELECT 'items' AS name, jsonb_build_object('by', CASE whole WHEN 1 THEN '{}' ELSE jsonb_build_object('arm', arm) END, 'item', v.item, 'label', l.label, 'unit', unit, 'month', month,
           'n', n, 'missing', missing, 'mean', s / n, 'sd', round(sqrt(v), scale(v)), 'min', min, 'max', max, 'decimals', decimals,
           'q1', (q1a + q1b) / 2, 'median', (q2a + q2b) / 2, 'q3', (q3a + q3b) / 2) AS row
  FROM varied v LEFT JOIN label l ON l.item = v.item
UNION ALL
-- corrections
SELECT 'corrections', jsonb_build_object('by', CASE GROUPING(arm) WHEN 1 THEN '{}' ELSE jsonb_build_object('arm', arm) END, 'item', c.item,
           'label', CASE GROUPING(c.item) WHEN 0 THEN min(l.label) END, 'values', sum(count), 'corrected', coalesce(sum(count) FILTER (WHERE corrected), 0),
           'per_100', 100 * coalesce(sum(count) FILTER (WHERE corrected), 0) / sum(count), 'flagged', coalesce(sum(count) FILTER (WHERE flagged), 0))
  FROM counted c LEFT JOIN label l ON l.item = c.item
 GROUP BY GROUPING SETS ((), (c.item), (arm), (arm, c.item));

-- codes
WITH
tallied AS (
    SELECT GROUPING(p.arm) AS whole, p.arm, c.item, c.code, count(*) AS patients, sum(c.count) AS occurrences
      FROM coded c JOIN labelled p ON p.patient_id = c.patient_id
     GROUP BY GROUPING SETS ((c.item, c.code), (p.arm, c.item, c.code))),
answered AS (
    SELECT GROUPING(p.arm) AS whole, p.arm, c.item, count(*) AS answered
      FROM (SELECT DISTINCT patient_id, item FROM coded) c JOIN labelled p ON p.patient_id = c.patient_id
     GROUP BY GROUPING SETS ((c.item), (p.arm, c.item))),
enrolled AS (SELECT GROUPING(arm) AS whole, arm, count(*) FILTER (WHERE enrolled) AS enrolled FROM labelled GROUP BY GROUPING SETS ((), (arm)))
SELECT 'codes' AS name, jsonb_build_object('by', CASE t.whole WHEN 1 THEN '{}' ELSE jsonb_build_object('arm', t.arm) END, 'item', t.item, 'label', l.label, 'code', t.code,
           'code_label', (SELECT k ->> 'label' FROM jsonb_array_elements(l.code_list) k WHERE k ->> 'code' = t.code),
           'patients', t.patients, 'percent', 100 * t.patients::numeric / a.answered, 'occurrences', t.occurrences, 'answered', a.answered,
           'enrolled', e.enrolled, 'percent_enrolled', 100 * t.patients::numeric / nullif(e.enrolled, 0)) AS row
  FROM tallied t
  JOIN answered a ON a.whole = t.whole AND a.arm IS NOT DISTINCT FROM t.arm AND a.item = t.item
  JOIN enrolled e ON e.whole = t.whole AND e.arm IS NOT DISTINCT FROM t.arm
  LEFT JOIN label l ON l.item = t.item;
COMMIT;
