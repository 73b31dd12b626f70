-- report_plain_status.sql: the tables of status, enrolment, demographics, alerts, indicators and listings of a report,
-- by SQL by hand with functions of PostgreSQL alone, without a split: a row a line, the table and the row as jsonb.
-- Variables: project (its id), first_day, end_day, cut_off, and facts (the rows of report_patient_compliance, a jsonb
-- array; none: []).  missed_runs only lists these facts, so it is not here.

\if :{?facts} \else \set facts '[]' \endif
SELECT j.time_zone AS zone, timezone(j.time_zone, :'first_day'::date::timestamp) AS begins,
       least(timezone(j.time_zone, :'end_day'::date::timestamp), :'cut_off'::timestamptz + interval '1 microsecond') AS until,
       timezone(j.time_zone, :'cut_off'::timestamptz)::date + 1 AS cut_day
  FROM clinical.project j WHERE j.id = :project \gset

-- what several tables need
BEGIN;
CREATE TEMP TABLE member ON COMMIT DROP AS
SELECT p.id, p.center_id, p.birth_date, p.birth_year, p.age, p.sex, p.race, p.ethnicity, e.enrolled_on, e.ended_on, e.reason,
       coalesce(e.ended, CASE WHEN e.enrolled_on IS NULL THEN 'screened' ELSE 'enrolled' END) AS status
  FROM clinical.patient p
  JOIN (SELECT patient_id, min(effective_on) FILTER (WHERE status = 'enrolled') AS enrolled_on,
               min(status) FILTER (WHERE status NOT IN ('screened', 'enrolled')) AS ended,
               min(reason) FILTER (WHERE status NOT IN ('screened', 'enrolled')) AS reason,
               min(effective_on) FILTER (WHERE status NOT IN ('screened', 'enrolled')) AS ended_on
          FROM clinical.enrollment_event
         WHERE effective_on < :'end_day' AND recorded_at <= :'cut_off'
         GROUP BY patient_id) e ON e.patient_id = p.id
 WHERE p.project_id = :project;
CREATE TEMP TABLE place ON COMMIT DROP AS
SELECT c.id, coalesce(c.site_id, c.id::text) AS center, l.planned_enrolment, l.enrolment_from, l.enrolment_to
  FROM clinical.project_center l JOIN clinical.center c ON c.id = l.center_id
 WHERE l.project_id = :project;
CREATE TEMP TABLE center_day ON COMMIT DROP AS
SELECT s.center_id, s.id, s.status, timezone(:'zone', s.since)::date AS from_day,
       coalesce(timezone(:'zone', lead(s.since) OVER (PARTITION BY s.center_id ORDER BY s.id))::date, 'infinity') AS until_day
  FROM (SELECT e.center_id, e.id, e.status,
               CASE WHEN e.status = 'active' AND row_number() OVER (PARTITION BY e.center_id, e.status ORDER BY e.id) = 1
                    THEN least(e.recorded_at, c.activated_at) ELSE e.recorded_at END AS since
          FROM clinical.center_event e
          JOIN clinical.center c ON c.id = e.center_id
          JOIN place p ON p.id = c.id
         WHERE e.recorded_at <= :'cut_off') s;
CREATE TEMP TABLE month ON COMMIT DROP AS
SELECT to_char(m, 'YYYY-MM') AS month, greatest(m::date, :'first_day') AS from_day, least((m + interval '1 month')::date, :'end_day') AS until_day
  FROM generate_series(date_trunc('month', :'first_day'::date::timestamp), :'end_day'::date::timestamp - interval '1 day', interval '1 month') m
UNION ALL SELECT NULL, :'first_day', :'end_day';
CREATE TEMP TABLE alarm ON COMMIT DROP AS
SELECT a.patient_id, a.id, p.center_id, a.rule_id, a.severity, a.opened_at, CASE WHEN a.acknowledged_at < :'until' THEN a.acknowledged_at END AS acknowledged_at,
       CASE WHEN a.closed_at < :'until' THEN a.closed_at END AS closed_at, g.kind AS gone, g.recorded_at AS gone_at
  FROM clinical.alert a
  JOIN clinical.patient p ON p.id = a.patient_id
  LEFT JOIN clinical.alert_event g ON g.patient_id = a.patient_id AND g.alert_id = a.id AND g.kind IN ('retracted', 'merged') AND g.recorded_at < :'until'
 WHERE a.project_id = :project AND a.opened_at < :'until';
ANALYZE member, alarm;

-- centers
SELECT 'centers', to_jsonb(t) FROM (
    SELECT s.status, count(l.id) AS centers
      FROM unnest('{planned,active,suspended,closed}'::text[]) WITH ORDINALITY s(status, n)
      LEFT JOIN (SELECT p.id, coalesce((SELECT d.status FROM center_day d WHERE d.center_id = p.id AND d.from_day < :'end_day' ORDER BY d.id DESC LIMIT 1),
                                       'planned') AS status FROM place p) l ON l.status = s.status
     GROUP BY GROUPING SETS ((s.n, s.status), ()) ORDER BY s.n) t;

-- patients
WITH counted AS (SELECT status, CASE WHEN status = 'withdrawn' THEN coalesce(reason, 'missing') END AS reason, count(*) AS patients FROM member GROUP BY 1, 2),
     total AS (SELECT count(*) AS screened, count(enrolled_on) AS enrolled FROM member)
SELECT 'patients', to_jsonb(t) FROM (
    SELECT x.status, x.reason, x.patients, 100.0 * x.patients / nullif(x.total, 0) AS percent, x.total
      FROM (SELECT s.n, s.status, NULL AS reason, coalesce(sum(c.patients), 0)::bigint AS patients, CASE WHEN s.n <= 4 THEN t.screened ELSE t.enrolled END AS total
              FROM total t CROSS JOIN (VALUES (1, 'screened', NULL::text[]), (2, 'screen_failed', '{screen_failed}'), (3, 'in_screening', '{screened}'),
                           (4, 'enrolled', '{enrolled,completed,withdrawn,lost_to_follow_up,died}'), (5, 'on_study', '{enrolled}'), (6, 'completed', '{completed}'),
                           (7, 'withdrawn', '{withdrawn}'), (8, 'lost_to_follow_up', '{lost_to_follow_up}'), (9, 'died', '{died}')) s(n, status, of)
              LEFT JOIN counted c ON s.of IS NULL OR c.status = ANY (s.of)
             GROUP BY s.n, s.status, t.screened, t.enrolled
            UNION ALL
            SELECT 7, c.status, c.reason, c.patients, t.enrolled FROM counted c CROSS JOIN total t WHERE c.status = 'withdrawn') x
     ORDER BY x.n, x.reason COLLATE "C" NULLS FIRST) t;

-- enrolment
WITH enrolled AS (
        SELECT p.id, p.center, m.month, count(*) FILTER (WHERE e.enrolled_on >= m.from_day) AS enrolled, count(e.enrolled_on) AS cumulative
          FROM place p CROSS JOIN month m LEFT JOIN member e ON e.center_id = p.id AND e.enrolled_on < m.until_day
         GROUP BY p.id, p.center, m.month),
     active AS (
        SELECT p.id, m.month, sum(greatest(0, least(d.until_day, m.until_day, :'cut_day') - greatest(d.from_day, m.from_day))) FILTER (WHERE d.status = 'active') AS days,
               min(p.planned_enrolment::numeric * greatest(0, least(m.until_day, p.enrolment_to + 1) - p.enrolment_from) / (p.enrolment_to + 1 - p.enrolment_from)) AS target
          FROM place p CROSS JOIN month m LEFT JOIN center_day d ON d.center_id = p.id
         GROUP BY p.id, m.month)
SELECT 'enrolment', to_jsonb(t) FROM (
    SELECT e.center, e.month, sum(e.enrolled)::bigint AS enrolled, sum(e.cumulative)::bigint AS cumulative, sum(a.target) AS target, coalesce(sum(a.days), 0) AS active_days,
           sum(e.enrolled) * 30.4375 / nullif(sum(a.days), 0) AS rate
      FROM enrolled e JOIN active a ON a.id = e.id AND a.month IS NOT DISTINCT FROM e.month
     GROUP BY GROUPING SETS ((e.id, e.center, e.month), (e.month))
     ORDER BY e.center COLLATE "C" NULLS LAST, e.month NULLS LAST) t;

-- ages: quantiles of SAS, from the values in order
WITH aged AS (
        SELECT m.center_id, coalesce(extract(year FROM age(m.enrolled_on::timestamp, m.birth_date::timestamp))::integer,
                                     extract(year FROM m.enrolled_on)::integer - m.birth_year, m.age)::numeric AS age
          FROM member m WHERE m.enrolled_on IS NOT NULL),
     described AS (
        SELECT a.center_id, count(a.age) AS n, count(*) - count(a.age) AS missing, avg(a.age) AS mean, stddev_samp(a.age) AS sd, min(a.age) AS min, max(a.age) AS max,
               array_agg(a.age ORDER BY a.age) FILTER (WHERE a.age IS NOT NULL) AS v
          FROM aged a GROUP BY GROUPING SETS ((a.center_id), ()))
SELECT 'ages', to_jsonb(t) FROM (
    SELECT p.center, coalesce(d.n, 0) AS n, coalesce(d.missing, 0) AS missing, d.mean, d.sd, (d.v[ceil(d.n * 0.5)::int] + d.v[floor(d.n * 0.5)::int + 1]) / 2 AS median,
           (d.v[ceil(d.n * 0.25)::int] + d.v[floor(d.n * 0.25)::int + 1]) / 2 AS q1, (d.v[ceil(d.n * 0.75)::int] + d.v[floor(d.n * 0.75)::int + 1]) / 2 AS q3, d.min, d.max, 0 AS decimals
      FROM (SELECT id, center FROM place UNION ALL SELECT NULL, NULL) p LEFT JOIN described d ON d.center_id IS NOT DISTINCT FROM p.id
     ORDER BY p.center COLLATE "C" NULLS LAST) t;

-- sexes, races, ethnicities
WITH told AS (
        SELECT m.center_id, k.name, coalesce(k.label, 'missing') AS label
          FROM member m CROSS JOIN LATERAL (VALUES ('sexes', m.sex), ('races', m.race), ('ethnicities', m.ethnicity)) k(name, label)
         WHERE m.enrolled_on IS NOT NULL),
     counted AS (SELECT t.name, t.center_id, t.label, count(*) AS patients FROM told t GROUP BY GROUPING SETS ((t.name, t.center_id, t.label), (t.name, t.label)))
SELECT t.name, jsonb_build_object('center', t.center, CASE t.name WHEN 'sexes' THEN 'sex' WHEN 'races' THEN 'race' ELSE 'ethnicity' END, t.label, 'patients', t.patients,
                                  'percent', 100.0 * t.patients / nullif(t.total, 0), 'total', t.total)
  FROM (SELECT l.name, p.center, l.label, coalesce(c.patients, 0) AS patients, coalesce(sum(c.patients) OVER (PARTITION BY l.name, p.id), 0)::bigint AS total
          FROM (SELECT id, center FROM place UNION ALL SELECT NULL, NULL) p
         CROSS JOIN (SELECT name, label FROM counted UNION SELECT n, 'missing' FROM unnest('{sexes,races,ethnicities}'::text[]) n) l
          LEFT JOIN counted c ON c.name = l.name AND c.label = l.label AND c.center_id IS NOT DISTINCT FROM p.id) t
 ORDER BY array_position('{sexes,races,ethnicities}', t.name), t.center COLLATE "C" NULLS LAST, t.label = 'missing', t.label COLLATE "C";

-- alerts
WITH counted AS (
        SELECT rule_id, severity, center_id, count(*) FILTER (WHERE opened_at >= :'begins') AS opened, count(*) FILTER (WHERE acknowledged_at >= :'begins') AS acknowledged,
               count(*) FILTER (WHERE closed_at >= :'begins') AS closed, count(*) FILTER (WHERE gone = 'retracted' AND gone_at >= :'begins') AS retracted,
               count(*) FILTER (WHERE gone = 'merged' AND gone_at >= :'begins') AS merged, count(*) FILTER (WHERE closed_at IS NULL AND gone IS NULL) AS open_at_end,
               count(*) FILTER (WHERE acknowledged_at IS NULL AND closed_at IS NULL AND gone IS NULL) AS unacknowledged
          FROM alarm GROUP BY 1, 2, 3),
     line AS (
        SELECT rule_id, severity, center_id, opened, acknowledged, closed, retracted, merged, open_at_end, unacknowledged FROM counted
        UNION ALL
        (SELECT DISTINCT ON (v.rule_id) v.rule_id, v.severity, NULL, 0, 0, 0, 0, 0, 0, 0 FROM clinical.monitor_rule r JOIN clinical.monitor_rule_version v ON v.rule_id = r.id
          WHERE (r.project_id = :project OR r.project_id IS NULL) AND v.recorded_at < :'until' ORDER BY v.rule_id, v.version DESC)
        UNION ALL SELECT NULL, NULL, id, 0, 0, 0, 0, 0, 0, 0 FROM place
        UNION ALL SELECT NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0)
SELECT 'alerts', to_jsonb(t) FROM (
    SELECT r.code AS rule, s.severity, p.center, s.opened, s.acknowledged, s.closed, s.retracted, s.merged, s.open_at_end, s.unacknowledged
      FROM (SELECT rule_id, severity, center_id, sum(opened) AS opened, sum(acknowledged) AS acknowledged, sum(closed) AS closed, sum(retracted) AS retracted, sum(merged) AS merged,
                   sum(open_at_end) AS open_at_end, sum(unacknowledged) AS unacknowledged
              FROM line GROUP BY GROUPING SETS ((rule_id, severity, center_id), (rule_id, severity), (severity), (center_id), ())
            HAVING grouping(rule_id) + (rule_id IS NOT NULL)::int > 0 AND grouping(severity) + (severity IS NOT NULL)::int > 0
               AND grouping(center_id) + (center_id IS NOT NULL)::int > 0) s
      LEFT JOIN clinical.monitor_rule r ON r.id = s.rule_id LEFT JOIN place p ON p.id = s.center_id
     ORDER BY r.code NULLS LAST, s.severity COLLATE "C" NULLS LAST, p.center COLLATE "C" NULLS LAST) t;

-- alert_times
WITH measured AS (
        SELECT a.rule_id, a.severity, a.gone, k.n, k.measure, k.seconds
          FROM alarm a
          LEFT JOIN clinical.alert_event e ON e.patient_id = a.patient_id AND e.alert_id = a.id AND e.event_no = 1 AND e.cause = 'report'
          LEFT JOIN clinical.submission s ON s.patient_id = e.patient_id AND s.id = e.submission_id
         CROSS JOIN LATERAL (VALUES (1, 'detection', extract(epoch FROM a.opened_at - s.received_at)), (2, 'acknowledging', extract(epoch FROM a.acknowledged_at - a.opened_at)),
                                    (3, 'closing', extract(epoch FROM a.closed_at - a.opened_at))) k(n, measure, seconds)
         WHERE a.opened_at >= :'begins'),
     described AS (
        SELECT m.rule_id, m.severity, m.n, count(*) AS alerts, count(m.seconds) AS known, array_agg(m.seconds ORDER BY m.seconds) FILTER (WHERE m.seconds IS NOT NULL) AS v,
               count(*) FILTER (WHERE m.seconds IS NULL AND m.gone IS NULL AND m.n > 1) AS censored
          FROM measured m GROUP BY GROUPING SETS ((m.rule_id, m.severity, m.n), (m.severity, m.n), (m.n)))
SELECT 'alert_times', to_jsonb(t) FROM (
    SELECT r.code AS rule, d.severity, k.measure, coalesce(d.alerts, 0) AS alerts, coalesce(d.known, 0) AS n,
           (d.v[ceil(d.known * 0.5)::int] + d.v[floor(d.known * 0.5)::int + 1]) / 2 AS median,
           (d.v[ceil(d.known * 0.9)::int] + d.v[floor(d.known * 0.9)::int + 1]) / 2 AS p90, d.v[d.known] AS max, coalesce(d.censored, 0) AS censored
      FROM (VALUES (1, 'detection'), (2, 'acknowledging'), (3, 'closing')) k(n, measure)
      LEFT JOIN described d ON d.n = k.n LEFT JOIN clinical.monitor_rule r ON r.id = d.rule_id
     ORDER BY r.code NULLS LAST, d.severity COLLATE "C" NULLS LAST, k.n) t;

-- alerts_by_month
WITH counted AS (
        SELECT to_char(timezone(:'zone', opened_at), 'YYYY-MM') AS month, severity, count(*) AS opened FROM alarm WHERE opened_at >= :'begins'
         GROUP BY GROUPING SETS ((1, 2), (1), (2), ()))
SELECT 'alerts_by_month', to_jsonb(t) FROM (
    SELECT m.month, s.severity, coalesce(c.opened, 0) AS opened
      FROM month m CROSS JOIN unnest('{info,warning,serious,critical,NULL}'::text[]) WITH ORDINALITY s(severity, n)
      LEFT JOIN counted c ON c.month IS NOT DISTINCT FROM m.month AND c.severity IS NOT DISTINCT FROM s.severity
     ORDER BY m.month NULLS LAST, s.n) t;

-- indicators
WITH person AS (
        SELECT center_id, count(*) AS enrolled, count(*) FILTER (WHERE status = 'withdrawn' AND ended_on >= :'first_day') AS withdrawn,
               sum(greatest(0, least(:'end_day'::date, :'cut_day'::date, ended_on + 1) - greatest(:'first_day'::date, enrolled_on))) AS days
          FROM member WHERE enrolled_on IS NOT NULL GROUP BY 1),
     alert AS (
        SELECT center_id, count(*) AS opened, count(*) FILTER (WHERE acknowledged_at <= opened_at + interval '72 hours') AS acknowledged FROM alarm WHERE opened_at >= :'begins' GROUP BY 1),
     entry AS (
        SELECT center_id, sum(expected) AS expected, sum(completed) + sum(late) AS made, sum(late) AS late, sum(missed) AS missed, sum(accepted) + sum(withdrawn) AS stored,
               sum(observations) AS observations
          FROM jsonb_to_recordset(:'facts') f(fact text, center_id bigint, expected bigint, completed bigint, late bigint, missed bigint, accepted bigint, withdrawn bigint, observations bigint)
         WHERE fact = 'all' GROUP BY 1),
     aside AS (
        SELECT p.center_id, count(*) AS reports, count(*) FILTER (WHERE q.outcome = 'quarantined') AS quarantined
          FROM clinical.set_aside q JOIN clinical.patient p ON p.id = q.patient_id
         WHERE q.project_id = :project AND q.requeued_at IS NULL AND q.received_at <= :'cut_off'
           AND q.received_at >= timezone('UTC', :'first_day'::date::timestamp) AND q.received_at < timezone('UTC', :'end_day'::date::timestamp)
         GROUP BY 1),
     corrected AS (
        SELECT p.center_id, count(*) AS observations
          FROM clinical.observation o JOIN clinical.patient p ON p.id = o.patient_id JOIN clinical.submission s ON s.patient_id = o.patient_id AND s.id = o.submission_id
         WHERE p.project_id = :project AND o.version = 2 AND o.local_day >= :'first_day' AND o.local_day < :'end_day' AND o.recorded_at <= :'cut_off' AND s.status = 'accepted'
         GROUP BY 1),
     measured AS (
        SELECT i.no, i.indicator, c.center, coalesce(i.x, 0)::numeric AS x, coalesce(i.n, 0)::numeric AS n
          FROM place c LEFT JOIN person p ON p.center_id = c.id LEFT JOIN alert a ON a.center_id = c.id LEFT JOIN entry e ON e.center_id = c.id
          LEFT JOIN aside q ON q.center_id = c.id LEFT JOIN corrected o ON o.center_id = c.id
         CROSS JOIN LATERAL (VALUES (1, 'alerts', a.opened::numeric, p.days::numeric), (2, 'corrections', o.observations, e.observations),
               (3, 'enrolled', p.enrolled, c.planned_enrolment::numeric * greatest(0, least(:'end_day'::date, c.enrolment_to + 1) - c.enrolment_from) / (c.enrolment_to + 1 - c.enrolment_from)),
               (4, 'withdrawals', p.withdrawn, p.days), (5, 'missed', e.missed, e.expected), (6, 'late', e.late, e.made),
               (7, 'quarantined', q.quarantined, coalesce(e.stored, 0) + coalesce(q.reports, 0)), (8, 'acknowledged_72h', a.acknowledged, a.opened)) i(no, indicator, x, n)),
     mean AS (SELECT no, sum(x) FILTER (WHERE n > 0) AS x, nullif(sum(n), 0) AS n FROM measured GROUP BY 1),
     z AS (
        SELECT m.*, a.x AS all_x, a.n AS all_n, m.x * a.n - a.x * m.n AS d, round((m.x * a.n - a.x * m.n) ^ 2, 40) / nullif(m.n, 0) AS square FROM measured m JOIN mean a ON a.no = m.no),
     score AS (
        SELECT z.*, CASE WHEN z.n >= 10 THEN coalesce(sign(z.d) * sqrt(round(count(z.square) OVER w * z.square / nullif(sum(z.square) OVER w, 0), 20)), 0) END AS score
          FROM z WINDOW w AS (PARTITION BY z.no))
SELECT 'indicators', to_jsonb(t) FROM (
    SELECT s.indicator, s.center, s.x AS numerator, s.n AS denominator, 100 * s.x / nullif(s.n, 0) AS value, 100 * s.all_x / s.all_n AS mean, s.score,
           width_bucket(s.score, '{-3,-2,2,3}'::numeric[]) - 2 AS flag
      FROM (SELECT no, indicator, center, x, n, all_x, all_n, score FROM score
            UNION ALL SELECT DISTINCT no, indicator, NULL, coalesce(all_x, 0), coalesce(all_n, 0), all_x, all_n, NULL::numeric FROM score) s
     ORDER BY s.no, s.center COLLATE "C" NULLS LAST) t;

-- withdrawals
SELECT 'withdrawals', to_jsonb(t) FROM (
    SELECT m.id AS subject, p.center, m.ended_on AS day, m.reason, NULL::bigint AS total FROM member m JOIN place p ON p.id = m.center_id
     WHERE m.status = 'withdrawn' AND m.ended_on >= :'first_day' ORDER BY m.ended_on, m.id LIMIT 10000) t
UNION ALL
SELECT 'withdrawals', jsonb_build_object('subject', NULL, 'center', NULL, 'day', NULL, 'reason', NULL, 'total', count(*)) FROM member WHERE status = 'withdrawn' AND ended_on >= :'first_day';

-- open_alerts
SELECT 'open_alerts', to_jsonb(t) FROM (
    SELECT a.patient_id AS subject, a.id AS alert, p.center, r.code AS rule, a.severity,
           (SELECT e.onset FROM clinical.alert_event e WHERE e.patient_id = a.patient_id AND e.alert_id = a.id AND (e.event_no = 1 OR e.recorded_at < :'until')
             ORDER BY e.event_no DESC LIMIT 1) AS onset,
           timezone(:'zone', a.opened_at) AS opened, timezone(:'zone', a.acknowledged_at) AS acknowledged, NULL::bigint AS total
      FROM (SELECT * FROM alarm WHERE closed_at IS NULL AND gone IS NULL
             ORDER BY array_position('{critical,serious,warning,info}', severity), opened_at, patient_id, id LIMIT 10000) a
      JOIN place p ON p.id = a.center_id JOIN clinical.monitor_rule r ON r.id = a.rule_id
     ORDER BY array_position('{critical,serious,warning,info}', a.severity), a.opened_at, a.patient_id, a.id) t
UNION ALL
SELECT 'open_alerts', jsonb_build_object('subject', NULL, 'alert', NULL, 'center', NULL, 'rule', NULL, 'severity', NULL, 'onset', NULL, 'opened', NULL, 'acknowledged', NULL,
                                         'total', count(*)) FROM alarm WHERE closed_at IS NULL AND gone IS NULL;

-- quarantined
WITH held AS (
    SELECT q.*, p.center_id FROM clinical.set_aside q JOIN clinical.patient p ON p.id = q.patient_id
     WHERE p.project_id = :project AND q.outcome = 'quarantined' AND q.processed_at < :'until' AND (q.requeued_at IS NULL OR q.requeued_at >= :'until'))
SELECT 'quarantined', to_jsonb(t) FROM (
    SELECT h.patient_id AS subject, h.submission_id AS submission, p.center, h.reason_code AS reason, h.instrument, timezone(:'zone', h.received_at) AS received, NULL::bigint AS total
      FROM held h JOIN place p ON p.id = h.center_id ORDER BY h.received_at, h.patient_id, h.submission_id, h.arrival LIMIT 10000) t
UNION ALL
SELECT 'quarantined', jsonb_build_object('subject', NULL, 'submission', NULL, 'center', NULL, 'reason', NULL, 'instrument', NULL, 'received', NULL, 'total', count(*)) FROM held;
COMMIT;
