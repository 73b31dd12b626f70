-- report_plain_compliance.sql: the tables of compliance, transfer and balance of a report, split by arm, by functions of
-- PostgreSQL alone; rows as the report has them ('*': all).
--
-- As somebody would write it who knows the study: instruments are answered daily, in windows that with their grace are
-- no longer than a day; nobody travels, moves to another center or is excused, and schedules never change.  A report is
-- then of the day that the clock at the center shows, put back by the time at which windows begin.
CREATE TEMP TABLE plain_patient AS
SELECT p.id, c.site_id AS center, c.time_zone, p.record ->> 'arm' AS arm, e.enrolled_on, e.ended_on
  FROM clinical.patient p
  JOIN clinical.project j ON j.id = p.project_id AND j.code = :'project'
  JOIN clinical.center c ON c.id = p.center_id
  JOIN (SELECT patient_id, min(effective_on) FILTER (WHERE status = 'enrolled') AS enrolled_on,
               min(effective_on) FILTER (WHERE status NOT IN ('screened', 'enrolled')) AS ended_on
          FROM clinical.enrollment_event GROUP BY 1) e ON e.patient_id = p.id;
CREATE TEMP TABLE plain_schedule AS
SELECT s.instrument, (s.schedule ->> 'from')::interval AS from_time, (s.schedule ->> 'to')::interval AS to_time,
       coalesce((s.schedule ->> 'grace_minutes')::integer, 0) * interval '1 minute' AS grace, s.effective_from
  FROM clinical.entry_schedule s
  JOIN clinical.project j ON j.id = s.project_id AND j.code = :'project';
ANALYZE plain_patient;
ANALYZE plain_schedule;

-- one pass over the reports, and one over the entries
CREATE TEMP TABLE plain_patient_count AS
WITH report AS (
    SELECT s.patient_id, v.instrument, (timezone(p.time_zone, s.captured_at) - h.from_time)::date AS day,
           bool_or(s.captured_at < timezone(p.time_zone, (timezone(p.time_zone, s.captured_at) - h.from_time)::date + h.to_time)) AS in_time
      FROM clinical.submission s
      JOIN plain_patient p ON p.id = s.patient_id
      JOIN clinical.instrument_version v ON v.id = s.version_id
      JOIN plain_schedule h ON h.instrument = v.instrument
     WHERE s.status = 'accepted' AND s.received_at <= :'cut_off'
       AND s.captured_at >= date :'first_day' - 1 AND s.captured_at < date :'end_day' + 3
       AND s.captured_at < timezone(p.time_zone, (timezone(p.time_zone, s.captured_at) - h.from_time)::date + h.to_time) + h.grace
     GROUP BY 1, 2, 3),
entry AS (
    SELECT p.id, h.instrument, d.day::date AS day, r.in_time
      FROM plain_patient p
     CROSS JOIN plain_schedule h
     CROSS JOIN LATERAL generate_series(greatest(date :'first_day', p.enrolled_on, h.effective_from)::timestamp,
                                        least(date :'end_day', p.ended_on) - interval '1 day', interval '1 day') AS d (day)
      LEFT JOIN report r ON r.patient_id = p.id AND r.instrument = h.instrument AND r.day = d.day::date
     WHERE timezone(p.time_zone, d.day + h.to_time) + h.grace <= :'cut_off'),
numbered AS (
    -- the missed ones in a row have the same difference
    SELECT e.*, row_number() OVER (PARTITION BY e.id, e.instrument ORDER BY e.day) -
           row_number() OVER (PARTITION BY e.id, e.instrument, e.in_time IS NULL ORDER BY e.day) AS run
      FROM entry e),
run AS (
    SELECT n.id, n.instrument, n.in_time IS NULL AS missed, count(*) AS entries, count(*) FILTER (WHERE n.in_time) AS completed,
           count(*) FILTER (WHERE NOT n.in_time) AS late
      FROM numbered n GROUP BY n.id, n.instrument, n.in_time IS NULL, n.run)
SELECT r.id, r.instrument, sum(r.entries)::bigint AS expected, sum(r.completed)::bigint AS completed, sum(r.late)::bigint AS late,
       coalesce(sum(r.entries) FILTER (WHERE r.missed), 0)::bigint AS missed, coalesce(max(r.entries) FILTER (WHERE r.missed), 0) AS longest_missed
  FROM run r GROUP BY GROUPING SETS ((r.id), (r.id, r.instrument));

SELECT 'compliance' AS table, CASE WHEN grouping(p.arm) = 0 THEN p.arm ELSE '*' END AS arm, CASE WHEN grouping(p.center) = 0 THEN p.center ELSE '*' END AS center,
       coalesce(n.instrument, '*') AS instrument, count(*) AS patients, sum(n.expected) AS expected, sum(n.completed) AS completed, sum(n.late) AS late,
       sum(n.missed) AS missed, 100 * sum(n.completed) / sum(n.expected) AS percent, avg(100::numeric * n.completed / n.expected) AS mean_percent,
       count(*) FILTER (WHERE 100 * n.completed >= 80 * n.expected) AS patients_80,
       100::numeric * count(*) FILTER (WHERE 100 * n.completed >= 80 * n.expected) / count(*) AS percent_80, max(n.longest_missed) AS longest_missed
  FROM plain_patient_count n
  JOIN plain_patient p ON p.id = n.id
 GROUP BY GROUPING SETS ((n.instrument), (n.instrument, p.center), (n.instrument, p.arm), (n.instrument, p.arm, p.center))
 ORDER BY 1, 2, 3, 4;

CREATE TEMP TABLE plain_lag AS
SELECT p.arm, p.center, round(extract(epoch FROM s.received_at - s.captured_at)) AS seconds, count(*) AS count
  FROM clinical.submission s
  JOIN plain_patient p ON p.id = s.patient_id
 WHERE s.status = 'accepted' AND s.received_at <= :'cut_off' AND s.local_day >= :'first_day' AND s.local_day < :'end_day'
 GROUP BY 1, 2, 3;
WITH lag AS (
    SELECT CASE WHEN grouping(l.arm) = 0 THEN l.arm ELSE '*' END AS arm, CASE WHEN grouping(l.center) = 0 THEN l.center ELSE '*' END AS center,
           l.seconds, sum(l.count) AS count
      FROM plain_lag l GROUP BY GROUPING SETS ((l.seconds), (l.seconds, l.center), (l.seconds, l.arm), (l.seconds, l.arm, l.center))),
placed AS (
    SELECT l.*, sum(l.count) OVER (PARTITION BY l.arm, l.center ORDER BY l.seconds) AS last, sum(l.count) OVER (PARTITION BY l.arm, l.center) AS n FROM lag l)
SELECT 'transfer' AS table, p.arm, p.center, max(p.n) AS n,
       trim_scale((min(p.seconds) FILTER (WHERE p.last >= ceil(p.n * 0.5)) + min(p.seconds) FILTER (WHERE p.last >= floor(p.n * 0.5) + 1)) / 2) AS median,
       trim_scale((min(p.seconds) FILTER (WHERE p.last >= ceil(p.n * 0.95)) + min(p.seconds) FILTER (WHERE p.last >= floor(p.n * 0.95) + 1)) / 2) AS p95
  FROM placed p GROUP BY p.arm, p.center ORDER BY 1, 2, 3;

WITH report AS (
    SELECT p.arm, p.center, s.status AS state, count(*) AS count
      FROM clinical.submission s JOIN plain_patient p ON p.id = s.patient_id
     WHERE s.received_at >= timezone('UTC', timestamp :'first_day') AND s.received_at < timezone('UTC', timestamp :'end_day') AND s.received_at <= :'cut_off'
     GROUP BY 1, 2, 3
    UNION ALL
    SELECT p.arm, p.center, a.outcome, count(*)
      FROM clinical.set_aside a JOIN plain_patient p ON p.id = a.patient_id
     WHERE a.received_at >= timezone('UTC', timestamp :'first_day') AND a.received_at < timezone('UTC', timestamp :'end_day') AND a.received_at <= :'cut_off'
       AND a.requeued_at IS NULL
     GROUP BY 1, 2, 3)
SELECT 'balance' AS table, CASE WHEN grouping(r.arm) = 0 THEN r.arm ELSE '*' END AS arm, CASE WHEN grouping(r.center) = 0 THEN r.center ELSE '*' END AS center,
       sum(r.count) AS received, coalesce(sum(r.count) FILTER (WHERE r.state = 'accepted'), 0) AS accepted, coalesce(sum(r.count) FILTER (WHERE r.state = 'duplicate'), 0) AS duplicate,
       coalesce(sum(r.count) FILTER (WHERE r.state = 'conflict'), 0) AS conflict, coalesce(sum(r.count) FILTER (WHERE r.state = 'quarantined'), 0) AS quarantined,
       coalesce(sum(r.count) FILTER (WHERE r.state = 'withdrawn'), 0) AS withdrawn
  FROM report r GROUP BY GROUPING SETS ((), (r.center), (r.arm), (r.arm, r.center)) ORDER BY 1, 2, 3;
DROP TABLE plain_lag, plain_patient_count, plain_schedule, plain_patient;
