-- report_status: a project's centers and patients, its enrolment, and who the patients are.
--
-- What was the case at the end of a period is made from the dated events, never from the present row, so
-- that a report of a past quarter stays right.  Two times limit what counts: the end of the period, and
-- the cut-off, by which the server must have been told.

-- --- what these tables, and those of alerts, are made of --------------------------------------

-- Of functions that are immutable, so that the planner knows the moment.  Where midnight comes twice, it is the
-- first: PostgreSQL takes the second.
CREATE FUNCTION clinical.report_moment(day date, time_zone text) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN timezone(time_zone, timezone('UTC', timezone('UTC', timezone(time_zone, day::timestamp)) - interval '1 hour'))::date >= day
                THEN timezone('UTC', timezone('UTC', timezone(time_zone, day::timestamp)) - interval '1 hour')
                ELSE timezone(time_zone, day::timestamp) END
$$;
COMMENT ON FUNCTION clinical.report_moment(date, text) IS
'The moment at which a day begins in a time zone. For the extension itself. SQLSTATE: 22023 unknown time zone.';

CREATE FUNCTION clinical.report_until(end_day date, cut_off timestamptz, time_zone text) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT least(clinical.report_moment(end_day, time_zone), timezone('UTC', timezone('UTC', cut_off) + interval '1 microsecond'))
$$;
COMMENT ON FUNCTION clinical.report_until(date, timestamptz, text) IS
'The moment before which something must have happened to be in a report: the end of its period, or just after its cut-off if that is earlier. For the extension itself. SQLSTATE: 22023 unknown time zone.';

CREATE FUNCTION clinical.report_age(birth_date date, birth_year integer, age integer, on_day date) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT coalesce(extract(year FROM age(on_day::timestamp, birth_date::timestamp))::integer,
                    extract(year FROM on_day)::integer - birth_year, age)
$$;
COMMENT ON FUNCTION clinical.report_age(date, integer, integer, date) IS
'Age in whole years on a day: from the day of birth; else the difference of the years; else the age that was given. NULL: nothing was given. For the extension itself. SQLSTATE: none of its own.';

-- A patient leaves a study once, so there is one last status, whatever the order of the events.
CREATE FUNCTION clinical.report_disposition(project_id bigint, centers bigint[], end_day date, cut_off timestamptz, split text[])
    RETURNS TABLE (patient_id text, center_id bigint, center text, "by" jsonb, status text, reason text,
                   enrolled_on date, ended_on date, age integer, sex text, race text, ethnicity text)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT p.patient_id, p.center_id, p.center, p."by",
           coalesce(d.ended, CASE WHEN d.enrolled_on IS NULL THEN 'screened' ELSE 'enrolled' END), d.reason, d.enrolled_on, d.ended_on,
           clinical.report_age(d.birth_date, d.birth_year, d.age, d.enrolled_on), d.sex, d.race, d.ethnicity
      FROM clinical.report_patient(project_id, centers, split) p
      JOIN (SELECT q.id, q.birth_date, q.birth_year, q.age, q.sex, q.race, q.ethnicity,
                   min(e.effective_on) FILTER (WHERE e.status = 'enrolled') AS enrolled_on,
                   min(e.status) FILTER (WHERE e.status NOT IN ('screened', 'enrolled')) AS ended,
                   min(e.reason) FILTER (WHERE e.status NOT IN ('screened', 'enrolled')) AS reason,
                   min(e.effective_on) FILTER (WHERE e.status NOT IN ('screened', 'enrolled')) AS ended_on
              FROM clinical.patient q
              JOIN clinical.enrollment_event e ON e.patient_id = q.id
             WHERE q.project_id = report_disposition.project_id AND q.center_id = ANY (centers)
               AND e.effective_on < end_day AND e.recorded_at <= cut_off
             GROUP BY q.id) d ON d.id = p.patient_id
$$;
COMMENT ON FUNCTION clinical.report_disposition(bigint, bigint[], date, timestamptz, text[]) IS
'The patients of a project at some of its centers who had entered before end_day, as far as told by cut_off: the center of now, the labels of split, the status then, with its reason and day (ended_on) if they had left, the day of enrolment, the age on that day, and who they are. For the extension itself. SQLSTATE: none of its own.';

-- Days are the project's.  A center that was active when it was entered here may have been so for long
-- (activated_at).
CREATE FUNCTION clinical.report_center_status(centers bigint[], cut_off timestamptz, time_zone text)
    RETURNS TABLE (center_id bigint, event_id bigint, status text, from_day date, until_day date)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT s.center_id, s.id, s.status, (s.since AT TIME ZONE time_zone)::date,
           coalesce((lead(s.since) OVER (PARTITION BY s.center_id ORDER BY s.id) AT TIME ZONE time_zone)::date, 'infinity')
      FROM (SELECT e.center_id, e.id, e.status,
                   CASE WHEN e.status = 'active' AND row_number() OVER (PARTITION BY e.center_id, e.status ORDER BY e.id) = 1
                        THEN least(e.recorded_at, c.activated_at) ELSE e.recorded_at END AS since
              FROM clinical.center_event e
              JOIN clinical.center c ON c.id = e.center_id
             WHERE e.center_id = ANY (centers) AND e.recorded_at <= cut_off) s
$$;
COMMENT ON FUNCTION clinical.report_center_status(bigint[], timestamptz, text) IS
'The statuses that centers have had, as far as told by cut_off, in the order of event_id, each from from_day on and before until_day, days of time_zone; the first time that a center was active begins with activated_at, if that is earlier. For the extension itself. SQLSTATE: 22023 unknown time zone.';

CREATE FUNCTION clinical.report_target(planned integer, from_day date, to_day date, until_day date) RETURNS numeric
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT planned::numeric * greatest(0, least(until_day, to_day + 1) - from_day) / (to_day + 1 - from_day)
$$;
COMMENT ON FUNCTION clinical.report_target(integer, date, date, date) IS
'How many of the planned patients, spread evenly over the days from from_day to to_day, were to be enrolled before until_day. NULL: there is no plan. For the extension itself. SQLSTATE: none of its own.';

-- Every group that a table of patients has rows for: each center and all of them (center_id 0), and with
-- a split each combination of labels that occurs.
CREATE FUNCTION clinical.report_group(project_id bigint, centers bigint[], end_day date, cut_off timestamptz, split text[])
    RETURNS TABLE ("by" jsonb, center_id bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT '{}'::jsonb, c.id FROM unnest(centers || 0::bigint) AS c(id)
    UNION ALL
    SELECT d."by", coalesce(d.center_id, 0)
      FROM clinical.report_disposition(project_id, centers, end_day, cut_off, split) d
     WHERE d.enrolled_on IS NOT NULL AND cardinality(split) > 0
     GROUP BY GROUPING SETS ((d."by", d.center_id), (d."by"))
$$;
COMMENT ON FUNCTION clinical.report_group(bigint, bigint[], date, timestamptz, text[]) IS
'The groups of patients that tables of enrolled patients have rows for; center_id 0: all centers. For the extension itself. SQLSTATE: none of its own.';

-- --- status -----------------------------------------------------------------------------------

CREATE FUNCTION clinical.report_centers(project_id bigint, center_ids bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, status text, centers bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT '{}'::jsonb, s.status, count(c.id)
      FROM unnest(ARRAY['planned', 'active', 'suspended', 'closed']) WITH ORDINALITY AS s(status, n)
      LEFT JOIN (SELECT u.id, coalesce(h.status, 'planned') AS status
                   FROM unnest(center_ids) AS u(id)
                   LEFT JOIN (SELECT DISTINCT ON (x.center_id) x.center_id, x.status
                                FROM clinical.report_center_status(center_ids, cut_off, time_zone) x
                               WHERE x.from_day < end_day
                               ORDER BY x.center_id, x.event_id DESC) h ON h.center_id = u.id) c ON c.status = s.status
     GROUP BY GROUPING SETS ((s.n, s.status), ())
     ORDER BY s.n
$$;
COMMENT ON FUNCTION clinical.report_centers(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table "centers" of a report: the project''s centers by their status at the end of the period, by what was told by the cut-off; status NULL: all. Centers that were not known then are planned. Arguments as of all tables (src/report.h). For the extension itself. SQLSTATE: 22023 unknown time zone.';

CREATE FUNCTION clinical.report_patients(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, status text, reason text, patients bigint, percent numeric, total bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH counted AS (
        SELECT CASE WHEN grouping(d."by") = 1 THEN '{}' ELSE d."by" END AS "by", d.status, d.reason, count(*) AS patients
          FROM (SELECT x."by", x.status, CASE WHEN x.status = 'withdrawn' THEN coalesce(x.reason, 'missing') END AS reason
                  FROM clinical.report_disposition(project_id, centers, end_day, cut_off, split) x) d
         GROUP BY GROUPING SETS ((d."by", d.status, d.reason), (d.status, d.reason))
        HAVING grouping(d."by") = 1 OR cardinality(split) > 0),
    population AS (
        SELECT c."by", sum(c.patients)::bigint AS screened,
               coalesce(sum(c.patients) FILTER (WHERE c.status NOT IN ('screened', 'screen_failed')), 0)::bigint AS enrolled
          FROM (SELECT '{}'::jsonb AS "by", 'screened' AS status, 0 AS patients
                UNION ALL SELECT o."by", o.status, o.patients FROM counted o) c
         GROUP BY c."by"),
    line AS (
        SELECT g."by", s.n, s.status, NULL AS reason, coalesce(sum(c.patients), 0)::bigint AS patients,
               CASE WHEN s.n <= 4 THEN g.screened ELSE g.enrolled END AS total
          FROM population g
         CROSS JOIN unnest(ARRAY['screened', 'screen_failed', 'in_screening', 'enrolled', 'on_study', 'completed', 'withdrawn',
                                 'lost_to_follow_up', 'died']) WITH ORDINALITY AS s(status, n)
          LEFT JOIN counted c ON c."by" = g."by"
               AND CASE s.status WHEN 'screened' THEN true
                                 WHEN 'in_screening' THEN c.status = 'screened'
                                 WHEN 'enrolled' THEN c.status NOT IN ('screened', 'screen_failed')
                                 WHEN 'on_study' THEN c.status = 'enrolled'
                                 ELSE c.status = s.status END
         GROUP BY g."by", g.screened, g.enrolled, s.n, s.status
        UNION ALL
        SELECT g."by", 7, c.status, c.reason, c.patients, g.enrolled
          FROM population g
          JOIN counted c ON c."by" = g."by"
         WHERE c.status = 'withdrawn')
    SELECT l."by", l.status, l.reason, l.patients, 100.0 * l.patients / nullif(l.total, 0), l.total
      FROM line l
     ORDER BY l."by" <> '{}', l."by"::text COLLATE "C", l.n, l.reason COLLATE "C" NULLS FIRST
$$;
COMMENT ON FUNCTION clinical.report_patients(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table "patients" of a report: patients by what they were at the end of the period, by what was told by the cut-off. screened: all who entered, those too who were enrolled at once; screen_failed, in_screening, enrolled: of these (together they are all); on_study, completed, withdrawn, lost_to_follow_up, died: of the enrolled (together they are all). reason: why they were withdrawn, "missing" where none is known; NULL: all of the line. total: the denominator of percent, which is the screened up to enrolled, and the enrolled from on_study on. Arguments as of all tables (src/report.h). For the extension itself. SQLSTATE: none of its own.';

-- --- enrolment --------------------------------------------------------------------------------

-- Patients are counted into months first (those before the period are one more), so that what follows has few rows.
CREATE FUNCTION clinical.report_enrolment(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, center text, month text, enrolled bigint, cumulative bigint, target numeric, active_days bigint,
                   rate numeric)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH month AS (
        SELECT m::date AS starts, to_char(m, 'YYYY-MM') AS month, greatest(m::date, first_day) AS from_day,
               least((m + interval '1 month')::date, end_day) AS until_day
          FROM generate_series(date_trunc('month', first_day::timestamp), end_day::timestamp - interval '1 day', interval '1 month') AS m),
    counted AS (
        SELECT CASE WHEN grouping(d."by") = 1 THEN '{}' ELSE d."by" END AS "by", coalesce(d.center_id, 0) AS center_id, d.starts,
               count(*) AS patients
          FROM (SELECT x."by", x.center_id,
                       CASE WHEN x.enrolled_on < first_day THEN '-infinity'
                            ELSE date_trunc('month', x.enrolled_on::timestamp)::date END AS starts
                  FROM clinical.report_disposition(project_id, centers, end_day, cut_off, split) x
                 WHERE x.enrolled_on IS NOT NULL) d
         GROUP BY GROUPING SETS ((d."by", d.center_id, d.starts), (d."by", d.starts), (d.center_id, d.starts), (d.starts))
        HAVING grouping(d."by") = 1 OR cardinality(split) > 0),
    cell AS (
        SELECT g."by", g.center_id, b.month, coalesce(c.patients, 0) AS patients,
               coalesce(sum(c.patients) OVER (PARTITION BY g."by", g.center_id ORDER BY b.starts), 0) AS cumulative
          FROM clinical.report_group(project_id, centers, end_day, cut_off, split) g
         CROSS JOIN (SELECT '-infinity'::date AS starts, NULL AS month UNION ALL SELECT m.starts, m.month FROM month m) b
          LEFT JOIN counted c ON c."by" = g."by" AND c.center_id = g.center_id AND c.starts = b.starts),
    line AS (
        SELECT c."by", c.center_id, c.month, c.patients AS enrolled, c.cumulative
          FROM cell c
         WHERE c.month IS NOT NULL
        UNION ALL
        SELECT c."by", c.center_id, NULL, coalesce(sum(c.patients) FILTER (WHERE c.month IS NOT NULL), 0), sum(c.patients)
          FROM cell c
         GROUP BY c."by", c.center_id),
    -- what centers were to do, and when they could
    span AS (
        SELECT m.month, m.from_day, m.until_day FROM month m
        UNION ALL
        SELECT NULL, first_day, end_day),
    active AS (
        SELECT h.center_id, s.month, sum(greatest(0, least(h.until_day, s.until_day, (cut_off AT TIME ZONE time_zone)::date + 1)
                                                     - greatest(h.from_day, s.from_day))) AS days
          FROM clinical.report_center_status(centers, cut_off, time_zone) h
         CROSS JOIN span s
         WHERE h.status = 'active'
         GROUP BY h.center_id, s.month),
    plan AS (
        SELECT coalesce(pc.center_id, 0) AS center_id, s.month, coalesce(sum(a.days), 0)::bigint AS active_days,
               sum(clinical.report_target(pc.planned_enrolment, pc.enrolment_from, pc.enrolment_to, s.until_day)) AS target
          FROM clinical.project_center pc
         CROSS JOIN span s
          LEFT JOIN active a ON a.center_id = pc.center_id AND coalesce(a.month, '') = coalesce(s.month, '')
         WHERE pc.project_id = report_enrolment.project_id AND pc.center_id = ANY (centers)
         GROUP BY GROUPING SETS ((pc.center_id, s.month), (s.month)))
    SELECT l."by", coalesce(c.site_id, c.id::text), l.month, l.enrolled::bigint, l.cumulative::bigint,
           CASE WHEN l."by" = '{}' THEN p.target END, coalesce(p.active_days, 0), l.enrolled * 30.4375 / nullif(p.active_days, 0)
      FROM line l
      LEFT JOIN plan p ON p.center_id = l.center_id AND coalesce(p.month, '') = coalesce(l.month, '')
      LEFT JOIN clinical.center c ON c.id = l.center_id
     ORDER BY l."by" <> '{}', l."by"::text COLLATE "C", coalesce(c.site_id, c.id::text) COLLATE "C" NULLS LAST,
              l.month COLLATE "C" NULLS LAST
$$;
COMMENT ON FUNCTION clinical.report_enrolment(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table "enrolment" of a report: by center (NULL: all) and month of the period (NULL: all of it), zeros too: enrolled, patients by their day of enrolment; cumulative, those since the beginning of the project; target, how many were planned until the end of the month, if each center''s plan is spread evenly over the days of its enrolment (NULL: no plan, and for part of the patients); active_days, days on which the center was active in the month, in the period and up to the cut-off, over all centers their sum; rate, enrolled a month of 30.4375 active days (NULL: none). A patient counts for the center of now. Arguments as of all tables (src/report.h). For the extension itself. SQLSTATE: 22023 unknown time zone.';

-- --- demographics -----------------------------------------------------------------------------

CREATE FUNCTION clinical.report_ages(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, center text, n bigint, missing bigint, mean numeric, sd numeric, median numeric, q1 numeric,
                   q3 numeric, min numeric, max numeric, decimals integer)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT g."by", coalesce(c.site_id, c.id::text), coalesce((s.d).n, 0), coalesce((s.d).missing, 0), (s.d).mean, (s.d).sd, (s.d).median,
           (s.d).q1, (s.d).q3, (s.d).min, (s.d).max, 0
      FROM clinical.report_group(project_id, centers, end_day, cut_off, split) g
      LEFT JOIN (SELECT CASE WHEN grouping(d."by") = 1 THEN '{}' ELSE d."by" END AS "by", coalesce(d.center_id, 0) AS center_id,
                        clinical.describe(d.age) AS d
                   FROM clinical.report_disposition(project_id, centers, end_day, cut_off, split) d
                  WHERE d.enrolled_on IS NOT NULL
                  GROUP BY GROUPING SETS ((d."by", d.center_id), (d."by"), (d.center_id), ())
                 HAVING grouping(d."by") = 1 OR cardinality(split) > 0) s ON s."by" = g."by" AND s.center_id = g.center_id
      LEFT JOIN clinical.center c ON c.id = g.center_id
     ORDER BY g."by" <> '{}', g."by"::text COLLATE "C", coalesce(c.site_id, c.id::text) COLLATE "C" NULLS LAST
$$;
COMMENT ON FUNCTION clinical.report_ages(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table "ages" of a report: age in years on the day of enrolment (report_age) of patients who were enrolled by the end of the period and the cut-off, by center (NULL: all). Arguments as of all tables (src/report.h). For the extension itself. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.report_characteristic(project_id bigint, centers bigint[], end_day date, cut_off timestamptz, split text[], what text)
    RETURNS TABLE ("by" jsonb, center text, label text, patients bigint, percent numeric, total bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH counted AS (
        SELECT CASE WHEN grouping(d."by") = 1 THEN '{}' ELSE d."by" END AS "by", coalesce(d.center_id, 0) AS center_id, d.label,
               count(*) AS patients
          FROM (SELECT x."by", x.center_id,
                       coalesce(CASE what WHEN 'sex' THEN x.sex WHEN 'race' THEN x.race ELSE x.ethnicity END, 'missing') AS label
                  FROM clinical.report_disposition(project_id, centers, end_day, cut_off, split) x
                 WHERE x.enrolled_on IS NOT NULL) d
         GROUP BY GROUPING SETS ((d."by", d.center_id, d.label), (d."by", d.label), (d.center_id, d.label), (d.label))
        HAVING grouping(d."by") = 1 OR cardinality(split) > 0),
    cell AS (
        SELECT g."by", coalesce(c.site_id, c.id::text) AS center, l.label, coalesce(n.patients, 0) AS patients,
               coalesce(sum(n.patients) OVER (PARTITION BY g."by", g.center_id), 0)::bigint AS total
          FROM clinical.report_group(project_id, centers, end_day, cut_off, split) g
         CROSS JOIN (SELECT o.label FROM counted o UNION SELECT 'missing') l
          LEFT JOIN counted n ON n."by" = g."by" AND n.center_id = g.center_id AND n.label = l.label
          LEFT JOIN clinical.center c ON c.id = g.center_id)
    SELECT c."by", c.center, c.label, c.patients, 100.0 * c.patients / nullif(c.total, 0), c.total
      FROM cell c
     ORDER BY c."by" <> '{}', c."by"::text COLLATE "C", c.center COLLATE "C" NULLS LAST, c.label = 'missing', c.label COLLATE "C"
$$;
COMMENT ON FUNCTION clinical.report_characteristic(bigint, bigint[], date, timestamptz, text[], text) IS
'What the tables "sexes", "races" and "ethnicities" of a report have in common: patients who were enrolled by the end of the period and the cut-off, by center (NULL: all) and what they are by their sex, race or ethnicity (what); each value that occurs has a row for each center, and "missing" has one. total: the denominator of percent, all of them, missing ones too. For the extension itself. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.report_sexes(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, center text, sex text, patients bigint, percent numeric, total bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT c."by", c.center, c.label, c.patients, c.percent, c.total
      FROM clinical.report_characteristic(project_id, centers, end_day, cut_off, split, 'sex') c
$$;
COMMENT ON FUNCTION clinical.report_sexes(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table "sexes" of a report, see report_characteristic. Arguments as of all tables (src/report.h). For the extension itself. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.report_races(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, center text, race text, patients bigint, percent numeric, total bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT c."by", c.center, c.label, c.patients, c.percent, c.total
      FROM clinical.report_characteristic(project_id, centers, end_day, cut_off, split, 'race') c
$$;
COMMENT ON FUNCTION clinical.report_races(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table "races" of a report, see report_characteristic. Arguments as of all tables (src/report.h). For the extension itself. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.report_ethnicities(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, center text, ethnicity text, patients bigint, percent numeric, total bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT c."by", c.center, c.label, c.patients, c.percent, c.total
      FROM clinical.report_characteristic(project_id, centers, end_day, cut_off, split, 'ethnicity') c
$$;
COMMENT ON FUNCTION clinical.report_ethnicities(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table "ethnicities" of a report, see report_characteristic. Arguments as of all tables (src/report.h). For the extension itself. SQLSTATE: none of its own.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
