-- report_compliance: what became of the entries and of the reports: compliance, and quality of the data.
--
-- The reports are read once: an aggregate gathers those of each patient, and the entries are made of the
-- schedules without a look into any table.  entry_compliance is the definition, for one patient at a time;
-- test/t/073_report_compliance.pl compares the two.

CREATE FUNCTION clinical.report_entries_add(state internal, version_id bigint, captured_at timestamptz, received_at timestamptz,
    local_day date, status text, first_day date, end_day date) RETURNS internal
    LANGUAGE C IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_report_entries_add';
COMMENT ON FUNCTION clinical.report_entries_add(internal, bigint, timestamptz, timestamptz, date, text, date, date) IS
'For the aggregate report_entries. SQLSTATE: 22023 an argument missing; 54000 too many reports of a patient.';
CREATE FUNCTION clinical.report_entries_combine(state internal, other internal) RETURNS internal
    LANGUAGE C IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_report_entries_combine';
COMMENT ON FUNCTION clinical.report_entries_combine(internal, internal) IS
'For the aggregate report_entries. SQLSTATE: 54000 too many reports of a patient.';
CREATE FUNCTION clinical.report_entries_image(state internal) RETURNS bytea
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_report_entries_image';
COMMENT ON FUNCTION clinical.report_entries_image(internal) IS
'For the aggregate report_entries. SQLSTATE: none of its own.';
CREATE FUNCTION clinical.report_entries_state(image bytea, state internal) RETURNS internal
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_report_entries_state';
COMMENT ON FUNCTION clinical.report_entries_state(bytea, internal) IS
'For the aggregate report_entries. SQLSTATE: 22P03 not an image of reports.';
CREATE AGGREGATE clinical.report_entries(version_id bigint, captured_at timestamptz, received_at timestamptz, local_day date,
    status text, first_day date, end_day date) (
    SFUNC = clinical.report_entries_add, STYPE = internal, SSPACE = 2048,
    FINALFUNC = clinical.report_entries_image, COMBINEFUNC = clinical.report_entries_combine,
    SERIALFUNC = clinical.report_entries_image, DESERIALFUNC = clinical.report_entries_state, PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.report_entries(bigint, timestamptz, timestamptz, date, text, date, date) IS
'The reports of a patient, in a form for report_entry_count: when each accepted one was captured, of which version, and in which time it came; and how many were received on the days of the period, by UTC. For the extension itself. SQLSTATE: 22023 an argument missing; 54000 too many reports of a patient.';

CREATE FUNCTION clinical.report_lags_add(state internal, lags bytea) RETURNS internal
    LANGUAGE C IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_report_lags_add';
COMMENT ON FUNCTION clinical.report_lags_add(internal, bytea) IS
'For the aggregate report_lags. SQLSTATE: 22P03 not an image of lags.';
CREATE FUNCTION clinical.report_lags_result(state internal) RETURNS bytea
    LANGUAGE C IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_report_lags_result';
COMMENT ON FUNCTION clinical.report_lags_result(internal) IS
'For the aggregate report_lags. SQLSTATE: none of its own.';
CREATE AGGREGATE clinical.report_lags(lags bytea) (
    SFUNC = clinical.report_lags_add, STYPE = internal, SSPACE = 4096,
    FINALFUNC = clinical.report_lags_result, PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.report_lags(bytea) IS
'How often each number of seconds occurs that reports took to come; of lags of report_entry_count, or of its own results; NULL if there are none. For the extension itself. SQLSTATE: 22P03 not an image of lags.';
CREATE FUNCTION clinical.report_lag_quantiles(lags bytea) RETURNS bigint[]
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_report_lag_quantiles';
COMMENT ON FUNCTION clinical.report_lag_quantiles(bytea) IS
'Of a result of report_lags: how many reports there were, twice the median of their seconds and twice the 95th percentile, as quantile_sas has them. For the extension itself. SQLSTATE: 22023 not a result of report_lags; 22P03 not an image of lags.';

CREATE FUNCTION clinical.report_entry_plan(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE (behind integer, instruments jsonb)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT (SELECT coalesce(max(coalesce((s.schedule ->> 'grace_minutes')::integer, 0) / 1440 + 2 +
                       coalesce((SELECT max(coalesce((v.value ->> 'before')::integer, 0)) + max(coalesce((v.value ->> 'after')::integer, 0))
                                   FROM jsonb_array_elements(s.schedule -> 'visits') v), 0)), 0)
              FROM clinical.entry_schedule s WHERE s.project_id = report_entry_plan.project_id),
           coalesce(jsonb_agg(jsonb_build_object(
               'instrument', u.instrument,
               'versions', (SELECT coalesce(jsonb_agg(v.id ORDER BY v.id), '[]') FROM clinical.instrument_version v WHERE v.instrument = u.instrument),
               'schedules', (SELECT coalesce(jsonb_agg(jsonb_build_object('from', s.effective_from, 'schedule', s.schedule) ORDER BY s.effective_from, s.id), '[]')
                               FROM clinical.entry_schedule s WHERE s.project_id = u.project_id AND s.instrument = u.instrument),
               'uses', (SELECT coalesce(jsonb_agg(jsonb_build_object('from', v.effective_from, 'used', v.version_id IS NOT NULL) ORDER BY v.effective_from, v.id), '[]')
                          FROM clinical.project_instrument_version v WHERE v.project_id = u.project_id AND v.instrument = u.instrument))
               ORDER BY u.instrument), '[]')
      FROM clinical.project_instrument u WHERE u.project_id = report_entry_plan.project_id
$$;
COMMENT ON FUNCTION clinical.report_entry_plan(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Facts for report_patient_compliance: what a project expects of its patients, one row: the instruments, their versions, schedules and uses, and how many days behind a period the entries begin that may be on in it. They are facts of their own so that the planner knows which reports are read. For the extension itself. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.report_entry_count(plan jsonb, first_day date, end_day date, cut_off timestamptz, enrolled_on date, ended_on date,
    event_nos integer[], event_days date[], event_zones text[], told_nos integer[], told_from timestamptz[], told_zones text[],
    excuses tstzrange[], reports bytea, OUT instrument text, OUT expected integer, OUT completed integer, OUT late integer,
    OUT missed integer, OUT excused integer, OUT longest_missed integer, OUT run_first date[], OUT run_last date[],
    OUT run_entries integer[], OUT accepted bigint, OUT withdrawn bigint, OUT reports_made bigint, OUT delayed bigint, OUT lags bytea)
    RETURNS SETOF record
    LANGUAGE C STABLE PARALLEL SAFE ROWS 2
    AS 'MODULE_PATHNAME', 'clinical_report_entry_count';
COMMENT ON FUNCTION clinical.report_entry_count(jsonb, date, date, timestamptz, date, date, integer[], date[], text[], integer[], timestamptz[], text[], tstzrange[], bytea) IS
'What became of the entries of a patient on the days of [first_day, end_day), for each instrument and (instrument NULL) for all: of those whose window and grace were closed by cut_off, how many were excused and how many expected, these being completed, late or missed as entry_compliance has it; the most missed in a row, with none made between them, and the runs of three and more (their first and last day, and how many). With all: of the reports, how many were received in the period, by UTC, and accepted or withdrawn; how many accepted ones are of its days, how many of these came more than 24 hours after they were captured, and the seconds that each took. plan: of report_entry_plan; events and zones of the patient, in any order; reports: of report_entries. For the extension itself. SQLSTATE: 22023 an argument missing or malformed, or more than ten years on study; 22008 period is out of range; 22P03 not an image of reports.';

CREATE FUNCTION clinical.report_patient_compliance(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, fact text, center_id bigint, center text, instrument text, patient_id text, patients bigint, expected bigint,
        completed bigint, late bigint, missed bigint, excused bigint, percents numeric, patients_80 bigint, longest_missed integer,
        run_first date, run_last date, accepted bigint, withdrawn bigint, reports bigint, delayed bigint, median numeric, p95 numeric, observations bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH report AS (
        SELECT s.patient_id, clinical.report_entries(s.version_id, s.captured_at, s.received_at, s.local_day, s.status, first_day, end_day) AS reports,
               sum(s.observations) FILTER (WHERE s.status = 'accepted' AND s.local_day >= first_day AND s.local_day < end_day) AS observations
          FROM clinical.submission s
          JOIN clinical.patient p ON p.id = s.patient_id
         WHERE s.project_id = report_patient_compliance.project_id AND p.project_id = report_patient_compliance.project_id
           AND p.center_id = ANY (centers)
           -- none was captured more than a quarter of an hour after it was received
           AND s.received_at >= timezone('UTC', (first_day - (facts #>> '{0,behind}')::integer - 3)::timestamp) AND s.received_at <= cut_off
           AND s.captured_at < timezone('UTC', (end_day + 2 * (facts #>> '{0,behind}')::integer + 4)::timestamp)
         GROUP BY s.patient_id),
    stay AS (
        SELECT e.patient_id, min(e.effective_on) FILTER (WHERE e.status = 'enrolled') AS enrolled_on,
               min(e.effective_on) FILTER (WHERE e.status NOT IN ('screened', 'enrolled')) AS ended_on,
               array_agg(e.event_no) AS numbers, array_agg(e.effective_on) AS days, array_agg(c.time_zone) AS zones
          FROM clinical.enrollment_event e
          JOIN clinical.center c ON c.id = e.center_id
          JOIN clinical.patient p ON p.id = e.patient_id
         WHERE p.project_id = report_patient_compliance.project_id AND p.center_id = ANY (centers)
         GROUP BY e.patient_id),
    told AS (
        SELECT z.patient_id, array_agg(z.event_no) AS numbers, array_agg(z.effective_from) AS moments, array_agg(z.time_zone) AS zones
          FROM clinical.patient_time_zone z
          JOIN clinical.patient p ON p.id = z.patient_id
         WHERE p.project_id = report_patient_compliance.project_id AND p.center_id = ANY (centers)
         GROUP BY z.patient_id),
    excuse AS (
        SELECT x.patient_id, array_agg(x.period) AS periods
          FROM clinical.entry_excuse x
          JOIN clinical.patient p ON p.id = x.patient_id
         WHERE p.project_id = report_patient_compliance.project_id AND p.center_id = ANY (centers)
         GROUP BY x.patient_id),
    counted AS MATERIALIZED (
        SELECT r."by", r.center_id, r.center, r.patient_id, n.*, e.observations
          FROM clinical.report_patient(report_patient_compliance.project_id, centers, split) r
          JOIN stay s ON s.patient_id = r.patient_id
          LEFT JOIN told t ON t.patient_id = r.patient_id
          LEFT JOIN excuse x ON x.patient_id = r.patient_id
          LEFT JOIN report e ON e.patient_id = r.patient_id
         CROSS JOIN LATERAL clinical.report_entry_count(facts -> 0, first_day, end_day, cut_off, s.enrolled_on, s.ended_on,
                   s.numbers, s.days, s.zones, t.numbers, t.moments, t.zones, x.periods, e.reports) n),
    lag AS MATERIALIZED (
        SELECT c."by", c.center_id, c.center, clinical.report_lags(c.lags) AS lags
          FROM counted c
         WHERE c.instrument IS NULL
         GROUP BY c."by", c.center_id, c.center)
    SELECT f.*
      FROM (SELECT c."by", CASE WHEN c.instrument IS NULL THEN 'all' ELSE 'instrument' END AS fact, c.center_id, c.center, c.instrument,
                   NULL::text AS patient_id, count(*) FILTER (WHERE c.expected > 0) AS patients, sum(c.expected) AS expected,
                   sum(c.completed) AS completed, sum(c.late) AS late, sum(c.missed) AS missed, sum(c.excused) AS excused,
                   sum(100::numeric * c.completed / nullif(c.expected, 0)) AS percents,
                   count(*) FILTER (WHERE c.expected > 0 AND 100 * c.completed >= 80 * c.expected) AS patients_80,
                   max(c.longest_missed) AS longest_missed, NULL::date AS run_first, NULL::date AS run_last,
                   sum(c.accepted)::bigint AS accepted, sum(c.withdrawn)::bigint AS withdrawn,
                   sum(c.reports_made)::bigint AS reports, sum(c.delayed)::bigint AS delayed, NULL::numeric AS median, NULL::numeric AS p95,
                   CASE WHEN c.instrument IS NULL THEN sum(c.observations)::bigint END AS observations
              FROM counted c
             GROUP BY c."by", c.center_id, c.center, c.instrument
            UNION ALL
            SELECT c."by", 'run', c.center_id, c.center, c.instrument, c.patient_id, NULL, NULL, NULL, NULL, u.entries, NULL, NULL, NULL, u.entries,
                   u.first, u.last, NULL, NULL, NULL, NULL, NULL, NULL, NULL
              FROM counted c
             CROSS JOIN LATERAL unnest(c.run_first, c.run_last, c.run_entries) AS u (first, last, entries)
             WHERE c.run_first IS NOT NULL
            UNION ALL
            SELECT g."by", 'transfer', g.center_id, g.center, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
                   g.quantiles[1], NULL, trim_scale(g.quantiles[2] / 2::numeric), trim_scale(g.quantiles[3] / 2::numeric), NULL
              FROM (SELECT '{}'::jsonb AS "by", l.center_id, l.center, clinical.report_lag_quantiles(clinical.report_lags(l.lags)) AS quantiles
                      FROM lag l
                     GROUP BY GROUPING SETS ((), (l.center_id, l.center))
                    UNION ALL
                    SELECT l."by", l.center_id, l.center, clinical.report_lag_quantiles(clinical.report_lags(l.lags))
                      FROM lag l
                     WHERE cardinality(split) > 0
                     GROUP BY GROUPING SETS ((l."by"), (l."by", l.center_id, l.center))) g
             WHERE g.quantiles IS NOT NULL) f
     ORDER BY f.fact, f."by", f.center, f.center_id, f.instrument COLLATE "C", f.patient_id COLLATE "C", f.run_first, f.run_last
$$;
COMMENT ON FUNCTION clinical.report_patient_compliance(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Facts for several tables of a report, from report_entry_plan. Rows of fact all are sums over the patients of a center and of one combination of labels: entries of all instruments, as report_entry_count has them; patients of whom entries were expected, the sum of their percentages (100 completed / expected), how many had 80 and more, the most that one missed in a row; and reports. Of fact instrument: the same for each instrument, without reports. Of fact run: three and more entries that a patient missed in a row. Of fact transfer: how many reports, and in how many seconds they came, median and 95th percentile; the whole and each combination of labels, center NULL all. For the extension itself. SQLSTATE: 22023 a patient was on study for more than ten years of the period; 22008 period is out of range.';

CREATE FUNCTION clinical.report_compliance(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, center text, instrument text, patients bigint, expected bigint, completed bigint, late bigint, missed bigint,
        excused bigint, percent numeric, mean_percent numeric, patients_80 bigint, percent_80 numeric, longest_missed integer)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN g.whole THEN '{}' ELSE g."by" END, g.center, g.instrument, g.patients, g.expected, g.completed, g.late, g.missed, g.excused,
           100 * g.completed / nullif(g.expected, 0), g.percents / nullif(g.patients, 0),
           g.patients_80, 100 * g.patients_80 / nullif(g.patients, 0), g.longest_missed
      FROM (SELECT f."by", f.center_id, f.center, f.instrument, grouping(f."by") = 1 AS whole, sum(f.patients) AS patients,
                   sum(f.expected) AS expected, sum(f.completed) AS completed, sum(f.late) AS late, sum(f.missed) AS missed,
                   sum(f.excused) AS excused, sum(f.percents) AS percents, sum(f.patients_80) AS patients_80,
                   max(f.longest_missed) AS longest_missed
              FROM jsonb_to_recordset(facts) AS f ("by" jsonb, fact text, center_id bigint, center text, instrument text, patients bigint,
                   expected bigint, completed bigint, late bigint, missed bigint, excused bigint, percents numeric, patients_80 bigint,
                   longest_missed integer)
             WHERE f.fact IN ('all', 'instrument')
             GROUP BY GROUPING SETS ((f.instrument), (f.instrument, f.center_id, f.center), ("by", f.instrument), ("by", f.instrument, f.center_id, f.center))
            HAVING grouping(f."by") = 1 OR cardinality(split) > 0) g
     ORDER BY NOT g.whole, g."by", g.center, g.center_id, g.instrument COLLATE "C"
$$;
COMMENT ON FUNCTION clinical.report_compliance(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table of a report, from report_patient_compliance. Entries are counted that are of a day of the period (in the patient''s calendar) and whose window and grace were closed by the cut-off. expected: those of which the patient is not excused = completed (a report in the window) + late (in the grace after it) + missed, as entry_compliance has it. percent: 100 completed / expected; mean_percent: its mean over patients of whom entries were expected, patients; patients_80: how many of them had 80 and more; longest_missed: the most that one missed in a row, with none made between them (excused ones do not count). instrument NULL: all. For the extension itself. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.report_transfer(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, center text, n bigint, median numeric, p95 numeric)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT f."by", f.center, f.reports, f.median, f.p95
      FROM jsonb_to_recordset(facts) AS f ("by" jsonb, fact text, center_id bigint, center text, reports bigint, median numeric, p95 numeric)
     WHERE f.fact = 'transfer'
     ORDER BY f."by", f.center, f.center_id
$$;
COMMENT ON FUNCTION clinical.report_transfer(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table of a report, from report_patient_compliance: how long accepted reports whose day (in the patient''s calendar) is in the period took from captured_at to received_at, each in whole seconds, half of one rounded away from zero; median and 95th percentile as quantile_sas has them. For the extension itself. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.report_balance(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, center text, received bigint, accepted bigint, duplicate bigint, conflict bigint, quarantined bigint, withdrawn bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH report AS (
        SELECT f."by", f.center_id, f.center, f.accepted, f.withdrawn, 0::bigint AS duplicate, 0::bigint AS conflict, 0::bigint AS quarantined
          FROM jsonb_to_recordset(facts) AS f ("by" jsonb, fact text, center_id bigint, center text, accepted bigint, withdrawn bigint)
         WHERE f.fact = 'all'
        UNION ALL
        SELECT r."by", r.center_id, r.center, 0, 0, count(*) FILTER (WHERE a.outcome = 'duplicate'), count(*) FILTER (WHERE a.outcome = 'conflict'),
               count(*) FILTER (WHERE a.outcome = 'quarantined')
          FROM clinical.set_aside a
          JOIN clinical.report_patient(report_balance.project_id, centers, split) r ON r.patient_id = a.patient_id
         WHERE a.project_id = report_balance.project_id AND a.requeued_at IS NULL AND a.received_at <= cut_off
           AND a.received_at >= timezone('UTC', first_day::timestamp) AND a.received_at < timezone('UTC', end_day::timestamp)
         GROUP BY r."by", r.center_id, r.center)
    SELECT CASE WHEN g.whole THEN '{}' ELSE g."by" END, g.center, g.accepted + g.duplicate + g.conflict + g.quarantined + g.withdrawn,
           g.accepted, g.duplicate, g.conflict, g.quarantined, g.withdrawn
      FROM (SELECT r."by", r.center_id, r.center, grouping(r."by") = 1 AS whole, sum(r.accepted)::bigint AS accepted,
                   sum(r.duplicate)::bigint AS duplicate, sum(r.conflict)::bigint AS conflict, sum(r.quarantined)::bigint AS quarantined,
                   sum(r.withdrawn)::bigint AS withdrawn
              FROM report r
             GROUP BY GROUPING SETS ((), (r.center_id, r.center), (r."by"), (r."by", r.center_id, r.center))
            HAVING count(*) > 0 AND (grouping(r."by") = 1 OR cardinality(split) > 0)) g
     ORDER BY NOT g.whole, g."by", g.center, g.center_id
$$;
COMMENT ON FUNCTION clinical.report_balance(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table of a report, from report_patient_compliance: what became of the reports that were received on the days of the period by UTC, as intake_balance counts them, of the patients of the report: received = accepted + duplicate + conflict + quarantined + withdrawn. Reports that are staged or of a patient that is not known belong to no project. For the extension itself. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.report_checks(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, reason text, item text, "check" text, reports bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH aside AS MATERIALIZED (
        SELECT r."by", a.reason_code, a.detail, row_number() OVER () AS number
          FROM clinical.set_aside a
          JOIN clinical.report_patient(report_checks.project_id, centers, split) r ON r.patient_id = a.patient_id
         WHERE a.project_id = report_checks.project_id AND a.outcome = 'quarantined' AND a.received_at <= cut_off
           AND a.received_at >= timezone('UTC', first_day::timestamp) AND a.received_at < timezone('UTC', end_day::timestamp)),
    failure AS (
        SELECT a."by", a.number, a.reason_code AS reason, NULL::text AS item, NULL::text AS "check" FROM aside a
        UNION
        SELECT a."by", a.number, f.value ->> 'reason_code', f.value ->> 'item', f.value ->> 'check_id'
          FROM aside a
         CROSS JOIN LATERAL jsonb_array_elements(CASE WHEN jsonb_typeof(a.detail -> 'findings') = 'array' THEN a.detail -> 'findings' ELSE '[]' END) f
         WHERE f.value ->> 'soft_hard' = 'Hard' AND coalesce(f.value ->> 'item', f.value ->> 'check_id') IS NOT NULL)
    SELECT CASE WHEN g.whole THEN '{}' ELSE g."by" END, g.reason, g.item, g."check", g.reports
      FROM (SELECT f."by", f.reason, f.item, f."check", grouping(f."by") = 1 AS whole, count(*) AS reports
              FROM failure f
             GROUP BY GROUPING SETS ((f.reason, f.item, f."check"), (f."by", f.reason, f.item, f."check"))
            HAVING grouping(f."by") = 1 OR cardinality(split) > 0) g
     ORDER BY NOT g.whole, g."by", g.reason COLLATE "C", g.item COLLATE "C", g."check" COLLATE "C"
$$;
COMMENT ON FUNCTION clinical.report_checks(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table of a report: how many reports that were received on the days of the period (by UTC) failed, by the reason for which they were put into quarantine (item and check NULL), and with which hard findings, by item and check; also those that were requeued since. A report counts once a row. For the extension itself. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.report_requeued(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, reason text, reports bigint, requeued bigint, percent numeric)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN g.whole THEN '{}' ELSE g."by" END, g.reason_code, g.reports, g.requeued, 100::numeric * g.requeued / g.reports
      FROM (SELECT r."by", a.reason_code, grouping(r."by") = 1 AS whole, grouping(a.reason_code) AS every, count(*) AS reports,
                   count(*) FILTER (WHERE a.requeued_at <= cut_off) AS requeued
              FROM clinical.set_aside a
              JOIN clinical.report_patient(report_requeued.project_id, centers, split) r ON r.patient_id = a.patient_id
             WHERE a.project_id = report_requeued.project_id AND a.outcome = 'quarantined' AND a.received_at <= cut_off
               AND a.received_at >= timezone('UTC', first_day::timestamp) AND a.received_at < timezone('UTC', end_day::timestamp)
             GROUP BY GROUPING SETS ((), (a.reason_code), (r."by"), (r."by", a.reason_code))
            HAVING count(*) > 0 AND (grouping(r."by") = 1 OR cardinality(split) > 0)) g
     ORDER BY NOT g.whole, g."by", g.reason_code COLLATE "C", g.every
$$;
COMMENT ON FUNCTION clinical.report_requeued(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table of a report: of the reports that were received on the days of the period (by UTC) and put into quarantine, how many were put back among the staged ones by the cut-off, by reason (NULL: all). For the extension itself. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.report_late(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, center text, made bigint, late bigint, percent numeric, reports bigint, delayed bigint, percent_delayed numeric)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN g.whole THEN '{}' ELSE g."by" END, g.center, g.made, g.late, 100 * g.late / nullif(g.made, 0),
           g.reports, g.delayed, 100 * g.delayed / nullif(g.reports, 0)
      FROM (SELECT f."by", f.center_id, f.center, grouping(f."by") = 1 AS whole, sum(f.completed + f.late) AS made, sum(f.late) AS late,
                   sum(f.reports) AS reports, sum(f.delayed) AS delayed
              FROM jsonb_to_recordset(facts) AS f ("by" jsonb, fact text, center_id bigint, center text, completed bigint, late bigint,
                   reports bigint, delayed bigint)
             WHERE f.fact = 'all'
             GROUP BY GROUPING SETS ((), (f.center_id, f.center), (f."by"), (f."by", f.center_id, f.center))
            HAVING count(*) > 0 AND (grouping(f."by") = 1 OR cardinality(split) > 0)) g
     ORDER BY NOT g.whole, g."by", g.center, g.center_id
$$;
COMMENT ON FUNCTION clinical.report_late(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table of a report, from report_patient_compliance: of the entries that were made (completed or late) how many were late; and of the accepted reports of the days of the period how many came more than 24 hours after they were captured, delayed. For the extension itself. SQLSTATE: none of its own.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
