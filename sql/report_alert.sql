-- report_alert: the alerts of a project's patients, indicators that compare its centers, and listings.
--
-- When an alert was opened, first acknowledged and first closed stands in its row and never changes; when
-- it was retracted or merged, in its last event.  So what it was at any moment follows.

CREATE FUNCTION clinical.report_alert(project_id bigint, centers bigint[], end_day date, cut_off timestamptz, time_zone text,
    split text[])
    RETURNS TABLE (patient_id text, alert_id uuid, center_id bigint, center text, "by" jsonb, rule_id bigint, severity text,
                   opened_at timestamptz, acknowledged_at timestamptz, closed_at timestamptz, not_closed boolean, status text, events integer)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT a.patient_id, a.id, p.center_id, p.center, p."by", a.rule_id, a.severity, a.opened_at,
           CASE WHEN a.acknowledged_at < clinical.report_until(end_day, cut_off, report_alert.time_zone) THEN a.acknowledged_at END,
           CASE WHEN a.closed_at < clinical.report_until(end_day, cut_off, report_alert.time_zone) THEN a.closed_at END,
           (a.closed_at < clinical.report_until(end_day, cut_off, report_alert.time_zone)) IS NOT TRUE, a.status, a.events
      FROM clinical.report_patient(project_id, centers, split) p
      JOIN clinical.alert a ON a.patient_id = p.patient_id
     WHERE a.project_id = report_alert.project_id AND a.opened_at < clinical.report_until(end_day, cut_off, report_alert.time_zone)
$$;
COMMENT ON FUNCTION clinical.report_alert(bigint, bigint[], date, timestamptz, text, text[]) IS
'The alerts of a project''s patients at some of its centers that were opened before end_day and by cut_off, with acknowledged_at and closed_at as they were then; status and events as they are now. For the extension itself. SQLSTATE: 22023 unknown time zone.';

CREATE FUNCTION clinical.report_alert_state(project_id bigint, centers bigint[], end_day date, cut_off timestamptz, time_zone text,
    split text[])
    RETURNS TABLE (patient_id text, alert_id uuid, center_id bigint, center text, "by" jsonb, rule_id bigint, severity text,
                   opened_at timestamptz, acknowledged_at timestamptz, closed_at timestamptz, gone_at timestamptz, gone text, is_open boolean)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT a.patient_id, a.alert_id, a.center_id, a.center, a."by", a.rule_id, a.severity, a.opened_at, a.acknowledged_at, a.closed_at,
           g.recorded_at, g.kind, a.not_closed AND g.kind IS NULL
      FROM clinical.report_alert(project_id, centers, end_day, cut_off, time_zone, split) a
      -- LIMIT: only the events that are needed are looked up
      LEFT JOIN LATERAL (SELECT e.recorded_at, e.kind
                           FROM clinical.alert_event e
                          WHERE a.status IN ('retracted', 'merged') AND e.patient_id = a.patient_id AND e.alert_id = a.alert_id
                            AND e.event_no = a.events AND e.kind = a.status
                            AND e.recorded_at < clinical.report_until(end_day, cut_off, report_alert_state.time_zone)
                          LIMIT 1) g ON true
$$;
COMMENT ON FUNCTION clinical.report_alert_state(bigint, bigint[], date, timestamptz, text, text[]) IS
'What report_alert gives, and what had become of the alerts before end_day and by cut_off: gone_at, when they were retracted or merged (gone); is_open, neither that nor closed. For the extension itself. SQLSTATE: 22023 unknown time zone.';

-- --- alerts -----------------------------------------------------------------------------------

-- Rules that were there and have raised nothing have rows too, and so have centers: rows of zeros stand for them.
CREATE FUNCTION clinical.report_alerts(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, rule text, severity text, center text, opened bigint, acknowledged bigint, closed bigint,
                   retracted bigint, merged bigint, open_at_end bigint, unacknowledged bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH counted AS (
        SELECT s."by", s.rule_id, s.severity, s.center_id,
               count(*) FILTER (WHERE s.opened_at >= clinical.report_moment(first_day, report_alerts.time_zone)) AS opened,
               count(*) FILTER (WHERE s.acknowledged_at >= clinical.report_moment(first_day, report_alerts.time_zone)) AS acknowledged,
               count(*) FILTER (WHERE s.closed_at >= clinical.report_moment(first_day, report_alerts.time_zone)) AS closed,
               count(*) FILTER (WHERE s.gone = 'retracted' AND s.gone_at >= clinical.report_moment(first_day, report_alerts.time_zone))
                   AS retracted,
               count(*) FILTER (WHERE s.gone = 'merged' AND s.gone_at >= clinical.report_moment(first_day, report_alerts.time_zone))
                   AS merged,
               count(*) FILTER (WHERE s.is_open) AS open_at_end,
               count(*) FILTER (WHERE s.is_open AND s.acknowledged_at IS NULL) AS unacknowledged
          FROM clinical.report_alert_state(project_id, centers, end_day, cut_off, report_alerts.time_zone, split) s
         GROUP BY s."by", s.rule_id, s.severity, s.center_id),
    line AS (
        SELECT CASE WHEN grouping(a."by") = 1 THEN '{}' ELSE a."by" END AS "by", a.rule_id, a.severity, a.center_id,
               sum(a.opened)::bigint AS opened, sum(a.acknowledged)::bigint AS acknowledged, sum(a.closed)::bigint AS closed,
               sum(a.retracted)::bigint AS retracted, sum(a.merged)::bigint AS merged, sum(a.open_at_end)::bigint AS open_at_end,
               sum(a.unacknowledged)::bigint AS unacknowledged
          FROM (SELECT c."by", c.rule_id, c.severity, c.center_id, c.opened, c.acknowledged, c.closed, c.retracted, c.merged,
                       c.open_at_end, c.unacknowledged
                  FROM counted c
                UNION ALL
                (SELECT DISTINCT ON (v.rule_id) NULL::jsonb, v.rule_id, v.severity, NULL, 0, 0, 0, 0, 0, 0, 0
                   FROM clinical.monitor_rule m
                   JOIN clinical.monitor_rule_version v ON v.rule_id = m.id
                  WHERE (m.project_id = report_alerts.project_id OR m.project_id IS NULL)
                    AND v.recorded_at < clinical.report_until(end_day, cut_off, report_alerts.time_zone)
                  ORDER BY v.rule_id, v.version DESC)
                UNION ALL
                SELECT NULL, NULL, NULL, c.id, 0, 0, 0, 0, 0, 0, 0 FROM unnest(centers) AS c(id)
                -- so that there is a whole
                UNION ALL SELECT NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0) a
         GROUP BY GROUPING SETS ((a."by", a.rule_id, a.severity, a.center_id), (a."by", a.rule_id, a.severity), (a."by", a.severity),
                                 (a."by", a.center_id), (a."by"), (a.rule_id, a.severity, a.center_id), (a.rule_id, a.severity),
                                 (a.severity), (a.center_id), ())
        -- NULL without being all of it: a row of zeros
        HAVING (grouping(a."by") = 1 OR (cardinality(split) > 0 AND a."by" IS NOT NULL))
           AND (grouping(a.rule_id) = 1 OR a.rule_id IS NOT NULL) AND (grouping(a.severity) = 1 OR a.severity IS NOT NULL)
           AND (grouping(a.center_id) = 1 OR a.center_id IS NOT NULL))
    SELECT l."by", r.code, l.severity, coalesce(n.site_id, n.id::text), l.opened, l.acknowledged, l.closed, l.retracted, l.merged, l.open_at_end, l.unacknowledged
      FROM line l
      LEFT JOIN clinical.monitor_rule r ON r.id = l.rule_id
      LEFT JOIN clinical.center n ON n.id = l.center_id
     ORDER BY l."by" <> '{}', l."by"::text COLLATE "C", r.code COLLATE "C" NULLS LAST, l.severity COLLATE "C" NULLS LAST,
              coalesce(n.site_id, n.id::text) COLLATE "C" NULLS LAST
$$;
COMMENT ON FUNCTION clinical.report_alerts(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table "alerts" of a report, by rule, severity and center (NULL: all): opened, acknowledged, closed, retracted and merged in the period, an alert that is closed at once counts as acknowledged too; open_at_end: neither closed, retracted nor merged at the end of the period, whenever opened, and of these unacknowledged. Rules that were there have a row, also without alerts, with the severity of their version then. Arguments as of all tables (src/report.h). For the extension itself. SQLSTATE: 22023 unknown time zone.';

CREATE FUNCTION clinical.report_alert_times(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, rule text, severity text, measure text, alerts bigint, n bigint, median numeric, p90 numeric,
                   max numeric, censored bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH measured AS (
        SELECT s."by", s.rule_id, s.severity, s.gone IS NULL AS stays,
               extract(epoch FROM s.opened_at - b.received_at) AS detection,
               extract(epoch FROM s.acknowledged_at - s.opened_at) AS acknowledging,
               extract(epoch FROM s.closed_at - s.opened_at) AS closing
          FROM clinical.report_alert_state(project_id, centers, end_day, cut_off, report_alert_times.time_zone, split) s
          LEFT JOIN clinical.alert_event e
            ON e.patient_id = s.patient_id AND e.alert_id = s.alert_id AND e.event_no = 1 AND e.cause = 'report'
          LEFT JOIN clinical.submission b ON b.patient_id = e.patient_id AND b.id = e.submission_id
         WHERE s.opened_at >= clinical.report_moment(first_day, report_alert_times.time_zone)),
    described AS (
        SELECT '{}'::jsonb AS "by", a.rule_id, a.severity, count(*) AS alerts,
               count(*) FILTER (WHERE a.acknowledging IS NULL AND a.stays) AS unacknowledged,
               count(*) FILTER (WHERE a.closing IS NULL AND a.stays) AS unclosed,
               count(a.detection) AS detection, clinical.quantile_sas(a.detection, ARRAY[0.5, 0.9]) AS detection_quantiles,
               max(a.detection) AS detection_max,
               count(a.acknowledging) AS acknowledging, clinical.quantile_sas(a.acknowledging, ARRAY[0.5, 0.9]) AS acknowledging_quantiles,
               max(a.acknowledging) AS acknowledging_max,
               count(a.closing) AS closing, clinical.quantile_sas(a.closing, ARRAY[0.5, 0.9]) AS closing_quantiles,
               max(a.closing) AS closing_max
          FROM measured a
         GROUP BY GROUPING SETS ((a.rule_id, a.severity), (a.severity), ())
        UNION ALL
        SELECT a."by", a.rule_id, a.severity, count(*),
               count(*) FILTER (WHERE a.acknowledging IS NULL AND a.stays), count(*) FILTER (WHERE a.closing IS NULL AND a.stays),
               count(a.detection), clinical.quantile_sas(a.detection, ARRAY[0.5, 0.9]), max(a.detection),
               count(a.acknowledging), clinical.quantile_sas(a.acknowledging, ARRAY[0.5, 0.9]), max(a.acknowledging),
               count(a.closing), clinical.quantile_sas(a.closing, ARRAY[0.5, 0.9]), max(a.closing)
          FROM measured a
         WHERE cardinality(split) > 0
         GROUP BY GROUPING SETS ((a."by", a.rule_id, a.severity), (a."by", a.severity), (a."by")))
    SELECT d."by", r.code, d.severity, m.measure, d.alerts, m.n, m.quantiles[1], m.quantiles[2], m.max, m.censored
      FROM described d
     CROSS JOIN LATERAL (VALUES (1, 'detection', d.detection, d.detection_quantiles, d.detection_max, 0::bigint),
                                (2, 'acknowledging', d.acknowledging, d.acknowledging_quantiles, d.acknowledging_max, d.unacknowledged),
                                (3, 'closing', d.closing, d.closing_quantiles, d.closing_max, d.unclosed))
           AS m(no, measure, n, quantiles, max, censored)
      LEFT JOIN clinical.monitor_rule r ON r.id = d.rule_id
     ORDER BY d."by" <> '{}', d."by"::text COLLATE "C", r.code COLLATE "C" NULLS LAST, d.severity COLLATE "C" NULLS LAST, m.no
$$;
COMMENT ON FUNCTION clinical.report_alert_times(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table "alert_times" of a report: times of the alerts that were opened in the period, by rule and severity (NULL: all), in seconds. measure: detection, from the receipt of the report that caused it until it was opened (alerts with another cause, such as a window that closed or a correction, have none); acknowledging and closing, from its opening. alerts: how many were opened; n: how many have the time; censored: how many may still have it, neither acknowledged or closed nor retracted or merged by the end of the period. The quantiles are SAS''s (quantile_sas) of the n. Arguments as of all tables (src/report.h). For the extension itself. SQLSTATE: 22023 unknown time zone.';

CREATE FUNCTION clinical.report_alerts_by_month(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, month text, severity text, opened bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH counted AS (
        SELECT CASE WHEN grouping(a."by") = 1 THEN '{}' ELSE a."by" END AS "by", coalesce(a.month, '') AS month,
               coalesce(a.severity, '') AS severity, count(*) AS opened
          FROM (SELECT s."by", s.severity, to_char(s.opened_at AT TIME ZONE time_zone, 'YYYY-MM') AS month
                  FROM clinical.report_alert(project_id, centers, end_day, cut_off, time_zone, split) s
                 WHERE s.opened_at >= clinical.report_moment(first_day, time_zone)) a
         GROUP BY GROUPING SETS ((a."by", a.month, a.severity), (a."by", a.month), (a."by", a.severity), (a."by"),
                                 (a.month, a.severity), (a.month), (a.severity), ())
        HAVING grouping(a."by") = 1 OR cardinality(split) > 0)
    SELECT g."by", nullif(m.month, ''), nullif(s.severity, ''), coalesce(c.opened, 0)
      FROM (SELECT '{}'::jsonb AS "by" UNION SELECT o."by" FROM counted o) g
     CROSS JOIN (SELECT to_char(x, 'YYYY-MM') AS month
                   FROM generate_series(date_trunc('month', first_day::timestamp), end_day::timestamp - interval '1 day',
                                        interval '1 month') AS x
                 UNION ALL SELECT '') m
     CROSS JOIN unnest(ARRAY['info', 'warning', 'serious', 'critical', '']) WITH ORDINALITY AS s(severity, n)
      LEFT JOIN counted c ON c."by" = g."by" AND c.month = m.month AND c.severity = s.severity
     ORDER BY g."by" <> '{}', g."by"::text COLLATE "C", nullif(m.month, '') COLLATE "C" NULLS LAST, s.n
$$;
COMMENT ON FUNCTION clinical.report_alerts_by_month(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table "alerts_by_month" of a report: how many alerts were opened, by month of the period and severity (NULL: all), zeros too. Arguments as of all tables (src/report.h). For the extension itself. SQLSTATE: 22023 unknown time zone.';

-- --- indicators -------------------------------------------------------------------------------

-- With d = X sum(N) - sum(X) N of a center, the square of its score is that of d / sqrt(N) over its mean: mu, and
-- so whether it is a rate or a proportion, cancels out.  The quotients have 40 decimals and the square 20, so that
-- a score of 2 is 2.
CREATE FUNCTION clinical.report_indicators(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, indicator text, center text, numerator numeric, denominator numeric, value numeric, mean numeric,
                   score numeric, flag integer)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH patients AS (
        SELECT d.center_id, count(*) AS enrolled, count(*) FILTER (WHERE d.status = 'withdrawn' AND d.ended_on >= first_day) AS withdrawn,
               sum(greatest(0, least(end_day, (cut_off AT TIME ZONE report_indicators.time_zone)::date + 1, d.ended_on + 1)
                               - greatest(first_day, d.enrolled_on))) AS days
          FROM clinical.report_disposition(project_id, centers, end_day, cut_off, '{}') d
         WHERE d.enrolled_on IS NOT NULL
         GROUP BY d.center_id),
    alerts AS (
        SELECT s.center_id, count(*) AS opened,
               count(*) FILTER (WHERE s.acknowledged_at <= s.opened_at + interval '72 hours') AS acknowledged
          FROM clinical.report_alert(project_id, centers, end_day, cut_off, report_indicators.time_zone, '{}') s
         WHERE s.opened_at >= clinical.report_moment(first_day, report_indicators.time_zone)
         GROUP BY s.center_id),
    entries AS (
        SELECT f.center_id, sum(f.expected) AS expected, sum(f.completed) + sum(f.late) AS made, sum(f.late) AS late, sum(f.missed) AS missed,
               sum(f.accepted) + sum(f.withdrawn) AS stored, sum(f.observations) AS observations
          FROM jsonb_to_recordset(coalesce(facts, '[]')) AS f(fact text, center_id bigint, expected bigint, completed bigint, late bigint,
                                                             missed bigint, accepted bigint, withdrawn bigint, observations bigint)
         WHERE f.fact = 'all'
         GROUP BY f.center_id),
    -- as the balance of reports counts them
    aside AS (
        SELECT p.center_id, count(*) AS reports, count(*) FILTER (WHERE q.outcome = 'quarantined') AS quarantined
          FROM clinical.report_patient(project_id, centers, '{}') p
          JOIN clinical.set_aside q ON q.patient_id = p.patient_id
         WHERE q.project_id = report_indicators.project_id AND q.requeued_at IS NULL AND q.received_at <= cut_off
           AND q.received_at >= timezone('UTC', first_day::timestamp) AND q.received_at < timezone('UTC', end_day::timestamp)
         GROUP BY p.center_id),
    -- a value that was corrected has one second version
    corrected AS (
        SELECT p.center_id, count(*) AS observations
          FROM clinical.report_patient(project_id, centers, '{}') p
          JOIN clinical.observation o ON o.patient_id = p.patient_id
          JOIN clinical.submission b ON b.patient_id = o.patient_id AND b.id = o.submission_id
         WHERE o.version = 2 AND o.local_day >= first_day AND o.local_day < end_day AND o.recorded_at <= cut_off AND b.status = 'accepted'
         GROUP BY p.center_id),
    measured AS (
        SELECT i.no, i.indicator, coalesce(c.site_id, c.id::text) AS center, coalesce(i.x, 0)::numeric AS x, coalesce(i.n, 0)::numeric AS n
          FROM clinical.center c
          LEFT JOIN clinical.project_center pc ON pc.center_id = c.id AND pc.project_id = report_indicators.project_id
          LEFT JOIN patients p ON p.center_id = c.id
          LEFT JOIN alerts a ON a.center_id = c.id
          LEFT JOIN entries e ON e.center_id = c.id
          LEFT JOIN aside q ON q.center_id = c.id
          LEFT JOIN corrected o ON o.center_id = c.id
         CROSS JOIN LATERAL (VALUES
               (1, 'alerts', a.opened::numeric, p.days::numeric),
               (2, 'corrections', o.observations, e.observations),
               (3, 'enrolled', p.enrolled, clinical.report_target(pc.planned_enrolment, pc.enrolment_from, pc.enrolment_to, end_day)),
               (4, 'withdrawals', p.withdrawn, p.days),
               (5, 'missed', e.missed, e.expected),
               (6, 'late', e.late, e.made),
               (7, 'quarantined', q.quarantined, coalesce(e.stored, 0) + coalesce(q.reports, 0)),
               (8, 'acknowledged_72h', a.acknowledged, a.opened)) AS i(no, indicator, x, n)
         WHERE c.id = ANY (centers)),
    summed AS (
        SELECT m.no, m.indicator, m.center, m.x, m.n, sum(m.x) FILTER (WHERE m.n > 0) OVER w AS all_x,
               nullif(sum(m.n) OVER w, 0) AS all_n, count(*) FILTER (WHERE m.n > 0) OVER w AS compared
          FROM measured m
        WINDOW w AS (PARTITION BY m.no)),
    deviating AS (
        SELECT s.no, s.indicator, s.center, s.x, s.n, s.all_x, s.all_n, s.compared, sign(s.x * s.all_n - s.all_x * s.n) AS side,
               round((s.x * s.all_n - s.all_x * s.n) ^ 2, 40) / nullif(s.n, 0) AS square
          FROM summed s),
    scored AS (
        SELECT d.no, d.indicator, d.center, d.x, d.n, d.all_x, d.all_n,
               CASE WHEN d.n >= 10
                    THEN coalesce(d.side * sqrt(round(d.compared * d.square / nullif(sum(d.square) OVER (PARTITION BY d.no), 0), 20)), 0)
               END AS score
          FROM deviating d)
    SELECT '{}'::jsonb, s.indicator, s.center, s.x, s.n, 100 * s.x / nullif(s.n, 0), 100 * s.all_x / s.all_n, s.score,
           CASE WHEN s.score >= 3 THEN 2 WHEN s.score >= 2 THEN 1 WHEN s.score >= -2 THEN 0 WHEN s.score >= -3 THEN -1
                WHEN s.score < -3 THEN -2 END
      FROM (SELECT x.no, x.indicator, x.center, x.x, x.n, x.all_x, x.all_n, x.score FROM scored x
            UNION ALL
            SELECT DISTINCT x.no, x.indicator, NULL, coalesce(x.all_x, 0), coalesce(x.all_n, 0), x.all_x, x.all_n, NULL::numeric FROM scored x) s
     ORDER BY s.no, s.center COLLATE "C" NULLS LAST
$$;
COMMENT ON FUNCTION clinical.report_indicators(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table "indicators" of a report: each center compared with all. Rates: alerts, opened, a patient-day (days of the period, up to the cut-off, on which a patient was on study, first and last included); corrections, values of the period that were corrected, of all; enrolled, since the beginning, of those planned until the end of the period; withdrawals, a patient-day. Proportions: missed, of expected entries; late, of those made, late or in time; quarantined, of reports received; acknowledged_72h, alerts acknowledged within 72 hours, of those opened in the period. value: numerator per 100 of denominator; mean: the same of all centers together that have a denominator. score: how far a center is from the mean, in standard deviations for its denominator, divided by the root of the mean square of these over all centers (overdispersion); 0 if there is none; NULL below a denominator of 10. flag: -2 below -3, -1 from -3, 0 from -2, 1 from 2, 2 from 3. center NULL: all. Arguments as of all tables (src/report.h); facts: those of report_patient_compliance. For the extension itself. SQLSTATE: 22023 unknown time zone.';

-- --- listings ---------------------------------------------------------------------------------

-- Subjects by their ids and no more.  The last row, of all subjects, says how many rows there are, since no more than
-- 10000 are listed.

CREATE FUNCTION clinical.report_withdrawals(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, subject text, center text, day date, reason text, total bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH found AS (
        SELECT d.patient_id, d.center, d.ended_on, d.reason
          FROM clinical.report_disposition(project_id, centers, end_day, cut_off, '{}') d
         WHERE d.status = 'withdrawn' AND d.ended_on >= first_day)
    SELECT '{}'::jsonb, l.patient_id, l.center, l.ended_on, l.reason, l.total
      FROM ((SELECT f.patient_id, f.center, f.ended_on, f.reason, NULL::bigint AS total
               FROM found f ORDER BY f.ended_on, f.patient_id COLLATE "C" LIMIT 10000)
            UNION ALL
            SELECT NULL, NULL, NULL, NULL, count(*) FROM found) l
     ORDER BY l.ended_on NULLS LAST, l.patient_id COLLATE "C" NULLS LAST
$$;
COMMENT ON FUNCTION clinical.report_withdrawals(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table "withdrawals" of a report: patients who withdrew in the period, by day, the first 10000; the last row (subject NULL) has the number of all. Arguments as of all tables (src/report.h). For the extension itself. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.report_open_alerts(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, subject text, alert text, center text, rule text, severity text, onset date, opened timestamp,
                   acknowledged timestamp, total bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH found AS (
        SELECT s.patient_id, s.alert_id, s.center, s.rule_id, s.severity, s.opened_at, s.acknowledged_at,
               CASE s.severity WHEN 'critical' THEN 1 WHEN 'serious' THEN 2 WHEN 'warning' THEN 3 ELSE 4 END AS no
          FROM clinical.report_alert_state(project_id, centers, end_day, cut_off, report_open_alerts.time_zone, '{}') s
         WHERE s.is_open)
    SELECT '{}'::jsonb, l.patient_id, l.alert_id::text, l.center, r.code, l.severity,
           (SELECT e.onset FROM clinical.alert_event e
             WHERE e.patient_id = l.patient_id AND e.alert_id = l.alert_id
               AND (e.event_no = 1 OR e.recorded_at < clinical.report_until(end_day, cut_off, report_open_alerts.time_zone))
             ORDER BY e.event_no DESC LIMIT 1),
           l.opened_at AT TIME ZONE report_open_alerts.time_zone, l.acknowledged_at AT TIME ZONE report_open_alerts.time_zone, l.total
      FROM ((SELECT f.no, f.patient_id, f.alert_id, f.center, f.rule_id, f.severity, f.opened_at, f.acknowledged_at, NULL::bigint AS total
               FROM found f ORDER BY f.no, f.opened_at, f.patient_id COLLATE "C", f.alert_id LIMIT 10000)
            UNION ALL
            SELECT 5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, count(*) FROM found) l
      LEFT JOIN clinical.monitor_rule r ON r.id = l.rule_id
     ORDER BY l.no, l.opened_at, l.patient_id COLLATE "C", l.alert_id
$$;
COMMENT ON FUNCTION clinical.report_open_alerts(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table "open_alerts" of a report: alerts that were neither closed, retracted nor merged at the end of the period, the worst and then the oldest first, the first 10000; onset: the first day of what they are about, as it was seen then; opened, acknowledged: in the project''s time zone. The last row (subject NULL) has the number of all. Arguments as of all tables (src/report.h). For the extension itself. SQLSTATE: 22023 unknown time zone.';

CREATE FUNCTION clinical.report_missed_runs(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, subject text, instrument text, from_day date, to_day date, center text, missed bigint, total bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH found AS (
        SELECT f.patient_id, f.instrument, f.run_first AS from_day, f.run_last AS to_day, f.center, f.missed
          FROM jsonb_to_recordset(coalesce(facts, '[]')) AS f(fact text, patient_id text, center text, instrument text, run_first date,
                                                             run_last date, missed bigint)
         WHERE f.fact = 'run')
    SELECT '{}'::jsonb, l.patient_id, l.instrument, l.from_day, l.to_day, l.center, l.missed, l.total
      FROM ((SELECT f.patient_id, f.instrument, f.from_day, f.to_day, f.center, f.missed, NULL::bigint AS total
               FROM found f ORDER BY f.missed DESC, f.patient_id COLLATE "C", f.instrument COLLATE "C", f.from_day LIMIT 10000)
            UNION ALL
            SELECT NULL, NULL, NULL, NULL, NULL, NULL, count(*) FROM found) l
     ORDER BY l.missed DESC NULLS LAST, l.patient_id COLLATE "C" NULLS LAST, l.instrument COLLATE "C", l.from_day
$$;
COMMENT ON FUNCTION clinical.report_missed_runs(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table "missed_runs" of a report: three and more entries of an instrument missed in a row, the longest first, the first 10000; from_day, to_day: of the first and the last of them. The last row (subject NULL) has the number of all. Arguments as of all tables (src/report.h); facts: those of report_patient_compliance. For the extension itself. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.report_quarantined(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz,
    time_zone text, split text[], facts jsonb)
    RETURNS TABLE ("by" jsonb, subject text, submission text, center text, reason text, instrument text, received timestamp, total bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH found AS (
        SELECT q.patient_id, q.submission_id, p.center, q.reason_code, q.instrument, q.received_at, q.arrival
          FROM clinical.report_patient(project_id, centers, '{}') p
          JOIN clinical.set_aside q ON q.patient_id = p.patient_id
         WHERE q.outcome = 'quarantined' AND q.processed_at < clinical.report_until(end_day, cut_off, report_quarantined.time_zone)
           AND coalesce(q.requeued_at >= clinical.report_until(end_day, cut_off, report_quarantined.time_zone), true))
    SELECT '{}'::jsonb, l.patient_id, l.submission_id::text, l.center, l.reason_code, l.instrument, l.received_at AT TIME ZONE report_quarantined.time_zone, l.total
      FROM ((SELECT f.patient_id, f.submission_id, f.center, f.reason_code, f.instrument, f.received_at, f.arrival, NULL::bigint AS total
               FROM found f ORDER BY f.received_at, f.patient_id COLLATE "C", f.submission_id, f.arrival LIMIT 10000)
            UNION ALL
            SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, count(*) FROM found) l
     ORDER BY l.received_at NULLS LAST, l.patient_id COLLATE "C" NULLS LAST, l.submission_id, l.arrival
$$;
COMMENT ON FUNCTION clinical.report_quarantined(bigint, bigint[], date, date, timestamptz, text, text[], jsonb) IS
'Table "quarantined" of a report: reports of its patients that were in quarantine at the end of the period, the oldest first, the first 10000; received: in the project''s time zone. The last row (subject NULL) has the number of all. Arguments as of all tables (src/report.h). For the extension itself. SQLSTATE: 22023 unknown time zone.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
