-- report_item: statistics of items, and how often coded ones have which code.

CREATE FUNCTION clinical.report_tally_add(state internal, scope bytea, patient_id text, item text, id uuid, version integer, submission_id uuid, local_day date,
                                          value numeric, value_code text, unit text, absent text, flagged boolean, recorded_at timestamptz) RETURNS internal
    LANGUAGE C IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_report_tally_add';
COMMENT ON FUNCTION clinical.report_tally_add(internal, bytea, text, text, uuid, integer, uuid, date, numeric, text, text, text, boolean, timestamptz) IS
'For the aggregate report_tally. SQLSTATE: 54000 too many figures; 55000 it is not a report that calls it.';
CREATE FUNCTION clinical.report_tally_combine(state internal, other internal) RETURNS internal
    LANGUAGE C IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_report_tally_combine';
COMMENT ON FUNCTION clinical.report_tally_combine(internal, internal) IS 'For the aggregate report_tally. SQLSTATE: 54000 too many figures; 55000 it is not a report that calls it.';
CREATE FUNCTION clinical.report_tally_image(state internal) RETURNS bytea
    LANGUAGE C IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_report_tally_image';
COMMENT ON FUNCTION clinical.report_tally_image(internal) IS 'For the aggregate report_tally. SQLSTATE: none of its own.';
CREATE FUNCTION clinical.report_tally_read(image bytea, state internal) RETURNS internal
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_report_tally_read';
COMMENT ON FUNCTION clinical.report_tally_read(bytea, internal) IS 'For the aggregate report_tally. SQLSTATE: none of its own.';

CREATE AGGREGATE clinical.report_tally(scope bytea, patient_id text, item text, id uuid, version integer, submission_id uuid, local_day date,
                                       value numeric, value_code text, unit text, absent text, flagged boolean, recorded_at timestamptz) (
    SFUNC = clinical.report_tally_add, STYPE = internal, SSPACE = 1048576,
    FINALFUNC = clinical.report_tally_image,
    COMBINEFUNC = clinical.report_tally_combine, SERIALFUNC = clinical.report_tally_image, DESERIALFUNC = clinical.report_tally_read,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.report_tally(bytea, text, text, uuid, integer, uuid, date, numeric, text, text, text, boolean, timestamptz) IS
'Counts the values of observations, for reports alone, which make its first argument: whose observations of when count. SQLSTATE: 54000 too many figures; 55000 it is not a report that calls it.';


-- What C code asks, of which the planner makes one query each; the search path is pinned to pg_catalog then.

CREATE FUNCTION clinical.report_tally_group(scope bytea, patient_id text, id uuid, version integer, submission_id uuid, local_day date, recorded_at timestamptz) RETURNS integer
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
    AS 'MODULE_PATHNAME', 'clinical_report_tally_group';
COMMENT ON FUNCTION clinical.report_tally_group(bytea, text, uuid, integer, uuid, date, timestamptz) IS
'The number of the group of patients that an observation counts for; NULL: it does not count. For reports alone, which make its first argument. SQLSTATE: 55000 it is not a report that calls it.';

-- An expression and no join: how many rows it leaves cannot be estimated well enough for a choice between joins.
CREATE FUNCTION clinical.report_observation(many boolean, cut_off timestamptz) RETURNS SETOF clinical.observation
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT o.*
      FROM clinical.observation o
     WHERE NOT many
        OR NOT EXISTS (SELECT FROM clinical.observation n
                        WHERE n.patient_id = o.patient_id AND n.id = o.id AND n.version > o.version AND n.version > 1 AND n.recorded_at <= cut_off)
           AND NOT EXISTS (SELECT FROM clinical.submission s
                            WHERE s.patient_id = o.patient_id AND s.id = o.submission_id AND s.status <> 'accepted')
$$;
COMMENT ON FUNCTION clinical.report_observation(boolean, timestamptz) IS
'All observations; or (many) without those for which there is a later version by what was known at cut_off, and those of withdrawn reports, which are too many then for the argument of report_tally. For the extension itself. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.report_held(scope bytea, many boolean, cut_off timestamptz)
    RETURNS TABLE (group_no integer, patient_id text, submission_id uuid, repeat_key text, item text, unit text, local_day date, value numeric, value_code text, absent text)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT clinical.report_tally_group(scope, o.patient_id, o.id, o.version, o.submission_id, o.local_day, o.recorded_at),
           o.patient_id, o.submission_id, o.repeat_key, o.item, o.unit, o.local_day, o.value, o.value_code, o.absent
      FROM clinical.report_observation(many, cut_off) o
     WHERE clinical.report_tally_group(scope, o.patient_id, o.id, o.version, o.submission_id, o.local_day, o.recorded_at) IS NOT NULL
$$;
COMMENT ON FUNCTION clinical.report_held(bytea, boolean, timestamptz) IS
'The observations of a report that hold: of its patients and period, the last version of each by what was known at cut_off, without reports that were withdrawn. For the extension itself. SQLSTATE: 55000 it is not a report that calls it.';

CREATE FUNCTION clinical.report_item_patient(project_id bigint, centers bigint[], end_day date, cut_off timestamptz, split text[])
    RETURNS TABLE (patient_id text, "by" jsonb, enrolled boolean)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT p.patient_id, p."by",
           EXISTS (SELECT FROM clinical.enrollment_event e
                    WHERE e.patient_id = p.patient_id AND e.status = 'enrolled' AND e.effective_on < end_day AND e.recorded_at <= cut_off)
      FROM clinical.report_patient(project_id, centers, split) p
$$;
COMMENT ON FUNCTION clinical.report_item_patient(bigint, bigint[], date, timestamptz, text[]) IS
'The patients of a report, and whether they were enrolled by the end of its period. For the extension itself. SQLSTATE: none of its own.';

-- Of the newest of the versions of instruments that the project has used.
CREATE FUNCTION clinical.report_item_label(project_id bigint)
    RETURNS TABLE (item text, code text, label text, unit text, is_number boolean)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH RECURSIVE used AS (
        SELECT v.id, v.definition
          FROM clinical.instrument_version v
         WHERE v.id IN (SELECT u.version_id FROM clinical.project_instrument_version u WHERE u.project_id = report_item_label.project_id)),
    item AS (
        SELECT u.id, i.value AS item FROM used u, LATERAL jsonb_array_elements(u.definition -> 'items') i
        UNION ALL
        SELECT p.id, i.value FROM item p, LATERAL jsonb_array_elements(p.item -> 'items') i),
    named AS (
        SELECT i.id, i.item ->> 'code' AS item, NULL AS code, i.item ->> 'label' AS label, i.item ->> 'unit' AS unit,
               coalesce(i.item ->> 'type' IN ('integer', 'decimal', 'quantity', 'boolean'), false) AS is_number
          FROM item i
        UNION ALL
        SELECT u.id, s.value ->> 'code', NULL, s.value ->> 'label', s.value ->> 'unit', true
          FROM used u, LATERAL jsonb_array_elements(u.definition -> 'scores') s
        UNION ALL
        SELECT i.id, i.item ->> 'code', c.value ->> 'code', c.value ->> 'label', NULL, false
          FROM item i, LATERAL jsonb_array_elements(i.item -> 'code_list') c)
    SELECT DISTINCT ON (n.item COLLATE "C", n.code COLLATE "C") n.item, n.code, n.label, n.unit, n.is_number
      FROM named n
     WHERE n.item IS NOT NULL
     ORDER BY n.item COLLATE "C", n.code COLLATE "C" NULLS FIRST, n.id DESC, n.label COLLATE "C"
$$;
COMMENT ON FUNCTION clinical.report_item_label(bigint) IS
'What the items of a project, scores included, and (code is not null) their codes are called, in order. For the extension itself. SQLSTATE: none of its own.';

-- OFFSET 0: what is read in parallel is described by one process, which may write temporary files.
CREATE FUNCTION clinical.report_item_large(scope bytea, many boolean, cut_off timestamptz, items text[])
    RETURNS TABLE (sets integer, group_no integer, item text, unit text, month date, decimals integer, d clinical.description)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT GROUPING(r.group_no, r.month), r.group_no, r.item, r.unit, r.month, max(scale(r.value)), clinical.describe(r.value)
      FROM (SELECT o.group_no, o.item, o.unit, o.value, date_trunc('month', o.local_day::timestamp)::date AS month
              FROM clinical.report_held(scope, many, cut_off) o
             WHERE o.item = ANY (items) AND o.value IS NOT NULL AND o.absent IS NULL OFFSET 0) r
     GROUP BY GROUPING SETS ((r.item, r.unit), (r.item, r.unit, r.month), (r.item, r.unit, r.group_no), (r.item, r.unit, r.group_no, r.month))
$$;
COMMENT ON FUNCTION clinical.report_item_large(bytea, boolean, timestamptz, text[]) IS
'The statistics of items that have too many values to be counted. sets: 2 of all patients, 1 of the whole period. For the extension itself. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.report_item_large_code(scope bytea, many boolean, cut_off timestamptz, items text[])
    RETURNS TABLE (sets integer, group_no integer, item text, code text, patients bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT GROUPING(o.group_no, o.value_code), o.group_no, o.item, o.value_code, count(DISTINCT o.patient_id)
      FROM clinical.report_held(scope, many, cut_off) o
     WHERE o.item = ANY (items) AND o.value_code IS NOT NULL AND o.absent IS NULL
     GROUP BY GROUPING SETS ((o.item), (o.item, o.value_code), (o.item, o.group_no), (o.item, o.value_code, o.group_no))
$$;
COMMENT ON FUNCTION clinical.report_item_large_code(bytea, boolean, timestamptz, text[]) IS
'The patients of codes, where these are too many for memory. sets: 2 of all patients, 1 of any code. For the extension itself. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.report_item_within(scope bytea, many boolean, cut_off timestamptz, above jsonb)
    RETURNS TABLE (sets integer, group_no integer, item_above text, code_above text, item text, code text, patients bigint, occurrences bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH pair AS (SELECT e.key AS item, e.value AS item_above FROM jsonb_each_text(above) e),
    together AS (
        SELECT o.group_no, o.patient_id, q.item_above, q.item,
               array_agg(o.value_code) FILTER (WHERE o.item = q.item_above) AS codes_above, array_agg(o.value_code) FILTER (WHERE o.item = q.item) AS codes
          FROM clinical.report_held(scope, many, cut_off) o
          JOIN pair q ON o.item IN (q.item, q.item_above)
         WHERE o.value_code IS NOT NULL AND o.absent IS NULL
         GROUP BY o.group_no, o.patient_id, o.submission_id, o.repeat_key, q.item_above, q.item),
    pairs AS (
        SELECT t.group_no, t.patient_id, t.item_above, a.code AS code_above, t.item, c.code
          FROM together t CROSS JOIN LATERAL unnest(t.codes_above) a(code) CROSS JOIN LATERAL unnest(t.codes) c(code))
    SELECT GROUPING(w.group_no), w.group_no, w.item_above, w.code_above, w.item, w.code, count(DISTINCT w.patient_id), count(*)
      FROM pairs w
     GROUP BY GROUPING SETS ((w.item_above, w.item), (w.item_above, w.item, w.code_above), (w.item_above, w.item, w.code_above, w.code),
                             (w.item_above, w.item, w.group_no), (w.item_above, w.item, w.code_above, w.group_no), (w.item_above, w.item, w.code_above, w.code, w.group_no))
     ORDER BY 1 DESC, w.group_no, w.item_above COLLATE "C", w.item COLLATE "C", w.code_above COLLATE "C" NULLS FIRST, w.code COLLATE "C" NULLS FIRST
$$;
COMMENT ON FUNCTION clinical.report_item_within(bytea, boolean, timestamptz, jsonb) IS
'Codes of items within those of the item above, in the same report and repeat, for above: {item: item above}; NULL as a code: any. sets: 1 of all patients. For the extension itself. SQLSTATE: none of its own.';

-- Values are counted in parallel; what describes them reads what came out.  Rows that have neither a number nor a
-- unit are counted where numbers without a unit are, else with the item's unit (units), if there are any in it or
-- in no other, else with the first unit: as in src/report_item_rows.c.
CREATE FUNCTION clinical.report_item_by(scope bytea, many boolean, cut_off timestamptz, asked jsonb)
    RETURNS TABLE (sets integer, group_no integer, item text, unit text, code text, readings bigint, decimals integer, d clinical.description)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH visit AS MATERIALIZED (
        SELECT o.patient_id, o.submission_id, o.repeat_key, o.value_code AS code
          FROM clinical.report_held(scope, many, cut_off) o
         WHERE o.item = asked ->> 'item' AND o.value_code IS NOT NULL AND o.absent IS NULL),
    counted AS MATERIALIZED (
        SELECT o.group_no, o.item, o.unit, v.code, CASE WHEN o.absent IS NULL THEN o.value END AS value, count(*) AS count
          FROM clinical.report_held(scope, many, cut_off) o
          JOIN visit v ON v.patient_id = o.patient_id AND v.submission_id = o.submission_id AND (v.repeat_key IS NULL OR v.repeat_key = o.repeat_key)
         WHERE o.item <> asked ->> 'item'
         -- 3 and 3.0 are equal: the decimals must not depend on which of them comes first
         GROUP BY 1, 2, 3, 4, 5, CASE WHEN o.absent IS NULL THEN scale(o.value) END),
    home AS (
        SELECT c.item, CASE WHEN bool_or(c.value IS NOT NULL AND c.unit IS NULL) THEN NULL
                            WHEN bool_or(c.value IS NOT NULL AND c.unit = asked -> 'units' ->> c.item) OR NOT bool_or(c.value IS NOT NULL) THEN asked -> 'units' ->> c.item
                            ELSE min(c.unit COLLATE "C") FILTER (WHERE c.value IS NOT NULL) END AS unit
          FROM counted c GROUP BY c.item HAVING bool_or(c.value IS NOT NULL) OR asked -> 'units' ? c.item),
    placed AS (
        SELECT c.group_no, c.item, coalesce(c.unit, h.unit) AS unit, c.code, c.value, c.count
          FROM counted c JOIN home h ON h.item = c.item)
    SELECT GROUPING(p.group_no), p.group_no, p.item, p.unit, p.code, sum(p.count)::bigint, coalesce(max(scale(p.value)), 0), clinical.describe(p.value, p.count)
      FROM placed p
     GROUP BY GROUPING SETS ((p.item, p.unit, p.code), (p.group_no, p.item, p.unit, p.code))
     ORDER BY 1 DESC, p.group_no, p.item COLLATE "C", p.unit COLLATE "C" NULLS FIRST, p.code COLLATE "C"
$$;
COMMENT ON FUNCTION clinical.report_item_by(bytea, boolean, timestamptz, jsonb) IS
'The statistics of items by the code of another item of the same report. asked: {"item": the other one, "units": {item: its unit}, of items that are numbers}; sets: 1 of all patients. For the extension itself. SQLSTATE: none of its own.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
