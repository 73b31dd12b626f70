-- report.sql: what bench/report runs on, after data.sql: a project of a quarter, :patients patients at
-- 20 centers with an arm each, who answer a diary of six items a day for 92 days; the third quarter of 2025.

SELECT clinical.stop_workers();
INSERT INTO clinical.center (name, site_id, time_zone, country)
SELECT 'Clinic ' || n, (700 + n)::text, (ARRAY['UTC', 'Europe/Amsterdam', 'America/New_York', 'Asia/Tokyo'])[n % 4 + 1], (ARRAY['GB', 'NL', 'US', 'JP'])[n % 4 + 1]
  FROM generate_series(1, 20) n;
CREATE TABLE bench.site AS SELECT id, row_number() OVER (ORDER BY id) - 1 AS number FROM clinical.center WHERE name LIKE 'Clinic %';
SELECT id AS project FROM clinical.create_project_with_centers('Quarter', (SELECT array_agg(id) FROM bench.site), 'QUARTER', 'Europe/Amsterdam') \gset
SELECT count(clinical.plan_enrolment('QUARTER', id, :patients / 18, '2025-04-01', '2025-12-31')) FROM bench.site;
SELECT version FROM clinical.create_instrument('{"code": "evening", "version": "1", "title": "Evening diary", "items": [
    {"code": "pain_worst", "label": "Worst pain, 0 to 10", "type": "integer"},
    {"code": "pain_average", "label": "Pain on average, 0 to 10", "type": "integer"},
    {"code": "sleep_hours", "label": "Hours of sleep", "type": "decimal", "unit": "h"},
    {"code": "temperature", "label": "Temperature", "type": "decimal", "unit": "Cel"},
    {"code": "tablets_taken", "label": "Tablets taken", "type": "integer"},
    {"code": "mood", "label": "Mood", "type": "coded", "code_list": [{"code": "bad", "label": "Bad"}, {"code": "poor", "label": "Poor"},
        {"code": "fair", "label": "Fair"}, {"code": "good", "label": "Good"}, {"code": "best", "label": "Very good"}]},
    {"code": "comment", "label": "Anything else?", "type": "text", "max_length": 500}]}');
SELECT id AS instrument FROM clinical.instrument_version WHERE instrument = 'evening' \gset
SELECT instrument FROM clinical.use_instrument('QUARTER', 'evening', true);
SELECT instrument FROM clinical.schedule_entries('QUARTER', 'evening', '{"kind": "daily", "from": "18:00", "to": "23:59", "grace_minutes": 720}', '2025-01-01');

-- Three quarters enrolled before the quarter, the others in its first month; one in twenty did not pass the screening.
INSERT INTO clinical.patient (id, project_id, center_id, status, status_on, name, birth_date, sex, race, ethnicity, record)
SELECT (20000000 + n)::text, :project, s.id, CASE bench.draw(n, 500, 20) WHEN 0 THEN 'screened' ELSE 'enrolled' END,
       CASE bench.draw(n, 501, 4) WHEN 0 THEN date '2025-07-01' + bench.draw(n, 502, 31) ELSE date '2025-04-01' + bench.draw(n, 502, 91) END,
       'Patient ' || n, date '1930-01-01' + bench.draw(n, 503, 25000), (ARRAY['F', 'M'])[bench.draw(n, 504, 2) + 1],
       (ARRAY['White', 'White', 'White', 'Black', 'Asian'])[bench.draw(n, 505, 5) + 1], (ARRAY['Hispanic', 'Not Hispanic'])[bench.draw(n, 506, 2) + 1],
       jsonb_build_object('arm', (ARRAY['Placebo', 'Low dose', 'High dose'])[bench.draw(n, 507, 3) + 1])
  FROM generate_series(1, :patients) n JOIN bench.site s ON s.number = bench.draw(n, 508, 20);
INSERT INTO clinical.enrollment_event (patient_id, status, effective_on, reason)
SELECT (20000000 + n)::text, 'screen_failed', p.status_on + 3, 'Inclusion criteria not met'
  FROM generate_series(1, :patients) n JOIN clinical.patient p ON p.id = (20000000 + n)::text WHERE p.status = 'screened';
INSERT INTO clinical.enrollment_event (patient_id, status, effective_on, reason)
SELECT (20000000 + n)::text, 'withdrawn', date '2025-08-05' + bench.draw(n, 510, 50), (ARRAY['Adverse event', 'Moved away', 'Lack of efficacy'])[bench.draw(n, 511, 3) + 1]
  FROM generate_series(1, :patients) n JOIN clinical.patient p ON p.id = (20000000 + n)::text WHERE p.status = 'enrolled' AND bench.draw(n, 509, 12) = 0;

SELECT current_database() AS database \gset
\ir intake_untriggered.sql
\c
SET synchronous_commit = off;

-- A report a day of who is on study, but for one in fifteen, in the evening of the patient's center; some come late, or are withdrawn.
CREATE TABLE bench.diary AS
SELECT p.id AS patient_id, gen_random_uuid() AS id, d.day::date AS day, r.n,
       (d.day + interval '18 hours' + bench.draw(r.n, 520, 350) * interval '1 minute' + CASE bench.draw(r.n, 521, 40) WHEN 0 THEN interval '8 hours' ELSE interval '0' END)
           AT TIME ZONE c.time_zone AS captured_at,
       CASE bench.draw(r.n, 522, 20) WHEN 0 THEN interval '2 days' ELSE bench.draw(r.n, 523, 600) * interval '1 second' END AS lag,
       c.time_zone, bench.draw(r.n, 524, 400) = 0 AS withdrawn
  FROM generate_series(timestamp '2025-07-01', timestamp '2025-09-30', interval '1 day') d(day)
  JOIN clinical.patient p ON p.project_id = :project AND p.status <> 'screen_failed'
  JOIN clinical.center c ON c.id = p.center_id
  JOIN (SELECT patient_id, min(effective_on) AS enrolled FROM clinical.enrollment_event GROUP BY 1) e ON e.patient_id = p.id AND d.day > e.enrolled,
       LATERAL (SELECT (d.day::date - date '2025-07-01')::bigint * 100000000 + p.id::bigint AS n) r
 WHERE (p.status = 'enrolled' OR d.day < p.status_on) AND bench.draw(r.n, 525, 15) <> 0
 ORDER BY d.day, bench.draw(r.n, 526, 1000000);
INSERT INTO clinical.submission (patient_id, id, project_id, version_id, status, captured_at, local_day, time_zone, received_at, processed_at, originator,
                                 login, digest, observations, observations_digest, reason, report_data)
SELECT w.patient_id, w.id, :project, :instrument, CASE WHEN w.withdrawn THEN 'withdrawn' ELSE 'accepted' END, w.captured_at,
       (w.captured_at AT TIME ZONE w.time_zone)::date, w.time_zone, w.captured_at + w.lag, w.captured_at + w.lag + interval '1 second', 'subject',
       'app', sha256(''), 6, sha256(''), CASE WHEN w.withdrawn THEN 'Entered by the wrong person' END,
       jsonb_build_object('pain_worst', bench.draw(w.n, 530, 11), 'pain_average', bench.draw(w.n, 531, 11), 'sleep_hours', bench.draw(w.n, 532, 48) / 4.0,
                          'temperature', (360 + bench.draw(w.n, 533, 25)) / 10.0, 'tablets_taken', bench.draw(w.n, 534, 5), 'mood', 'good')
  FROM bench.diary w;
INSERT INTO clinical.observation (patient_id, item, captured_at, id, version, submission_id, local_day, value, value_text, value_code, unit, absent, is_score,
                                  flagged, recorded_at, recorded_by)
SELECT w.patient_id, i.item, w.captured_at, gen_random_uuid(), 1, w.id, (w.captured_at AT TIME ZONE w.time_zone)::date, i.value, i.text, i.code, i.unit, i.absent,
       false, i.flagged, w.captured_at + w.lag + interval '1 second', 'app'
  FROM bench.diary w, LATERAL (VALUES
           ('pain_worst', bench.draw(w.n, 530, 11)::numeric, NULL, NULL, NULL, NULL, false),
           ('pain_average', bench.draw(w.n, 531, 11), NULL, NULL, NULL, NULL, false),
           ('sleep_hours', CASE WHEN bench.draw(w.n, 540, 50) <> 0 THEN round(bench.draw(w.n, 532, 48) / 4.0, 2) END, NULL, NULL,
            CASE WHEN bench.draw(w.n, 540, 50) <> 0 THEN 'h' END, CASE bench.draw(w.n, 540, 50) WHEN 0 THEN 'asked-declined' END, false),
           ('temperature', round((360 + bench.draw(w.n, 533, 25)) / 10.0, 1), NULL, NULL, 'Cel', NULL, bench.draw(w.n, 533, 25) > 22),
           ('tablets_taken', bench.draw(w.n, 534, 5), NULL, NULL, NULL, NULL, false),
           ('mood', NULL, NULL, (ARRAY['bad', 'poor', 'fair', 'good', 'best'])[bench.draw(w.n, 535, 5) + 1], NULL, NULL, false),
           ('comment', NULL, 'Slept badly, better in the afternoon', NULL, NULL, NULL, false)) AS i (item, value, text, code, unit, absent, flagged)
 WHERE i.item <> 'comment' OR bench.draw(w.n, 541, 10) = 0;
-- Corrections: of one value in two hundred, a week later.
INSERT INTO clinical.observation (patient_id, item, captured_at, id, version, submission_id, repeat_key, local_day, value, value_text, value_code, unit, absent,
                                  is_score, flagged, reason, recorded_at, recorded_by)
SELECT o.patient_id, o.item, o.captured_at, o.id, 2, o.submission_id, o.repeat_key, o.local_day, o.value + 1, o.value_text,
       CASE WHEN o.value_code IS NOT NULL THEN 'best' END, o.unit, o.absent, o.is_score, o.flagged, 'Typing error', o.recorded_at + interval '7 days', 'data manager'
  FROM clinical.observation o WHERE o.item NOT IN ('comment') AND bench.draw(hashtext(o.id::text), 542, 200) = 0;

\ir intake_triggered.sql
\c

-- Alerts of two rules: one patient in four had some.
SELECT version FROM clinical.create_rule('{"code": "PAIN", "project": "QUARTER", "kind": "streak", "days": 3, "severity": "warning", "evaluate": false,
    "items": [{"item": "pain_worst", "range": "[0,8]"}]}');
SELECT version FROM clinical.create_rule('{"code": "FEVER", "project": "QUARTER", "kind": "threshold", "severity": "serious", "evaluate": false,
    "items": [{"item": "temperature", "range": "[36,38.2]"}]}');
SET clinical.restore = on;
SET session_replication_role = replica;
-- One report in a hundred came twice, one in three hundred is in quarantine.
INSERT INTO clinical.set_aside (patient_id, submission_id, arrival, outcome, project_id, reason_code, captured_at, received_at, processed_at, originator, login, digest, report_data)
SELECT w.patient_id, CASE k WHEN 1 THEN w.id ELSE gen_random_uuid() END, gen_random_uuid(), CASE k WHEN 1 THEN 'duplicate' ELSE 'quarantined' END, :project,
       CASE k WHEN 2 THEN (ARRAY['out_of_range', 'missing_item', 'unknown_item'])[bench.draw(w.n, 551, 3) + 1] END, w.captured_at, w.captured_at + w.lag + interval '1 minute',
       w.captured_at + w.lag + interval '1 minute', 'subject', 'app', sha256(''), '{}'
  FROM bench.diary w, generate_series(1, 2) k WHERE bench.draw(w.n, 550 + k, 200 * k - 100) = 0;
INSERT INTO clinical.entry_excuse (patient_id, period, reason, recorded_at, recorded_by)
SELECT p.id, tstzrange(t, t + interval '4 days'), 'In hospital', t, 'site'
  FROM clinical.patient p, LATERAL (SELECT timestamptz '2025-07-01 12:00+00' + bench.draw(p.id::bigint, 560, 80) * interval '1 day' AS t) x
 WHERE p.project_id = :project AND bench.draw(p.id::bigint, 561, 30) = 0;
CREATE TABLE bench.raised AS
SELECT p.id AS patient_id, gen_random_uuid() AS id, r.id AS rule_id, v.severity, a.day, a.at,
       CASE bench.draw(p.id::bigint, 570 + a.k, 10) WHEN 0 THEN 'open' WHEN 1 THEN 'retracted' WHEN 2 THEN 'acknowledged' ELSE 'closed' END AS status,
       (1 + bench.draw(p.id::bigint, 580 + a.k, 6000)) * interval '1 minute' AS until_acknowledged
  FROM clinical.patient p
  JOIN clinical.monitor_rule r ON r.project_id = :project
  JOIN clinical.monitor_rule_version v ON v.rule_id = r.id,
       LATERAL (SELECT k + r.id * 10 AS k, date '2025-07-02' + bench.draw(p.id::bigint, 590 + k, 80) AS day,
                       timestamptz '2025-07-02 20:00+00' + bench.draw(p.id::bigint, 590 + k, 80) * interval '1 day' AS at FROM generate_series(1, 2) k) a
 WHERE p.project_id = :project AND p.status <> 'screen_failed' AND bench.draw(p.id::bigint, 600 + a.k, 8) = 0 AND a.day > p.status_on;
INSERT INTO clinical.alert (patient_id, id, project_id, rule_id, rule_version, status, severity, onset, trigger_day, last_day, out_days, watch_until, supported,
                            basis_changed, opened_at, acknowledged_at, acknowledged_by, closed_at, closed_by, close_reason, escalation_level, events)
SELECT w.patient_id, w.id, :project, w.rule_id, 1, w.status, w.severity, w.day - 2, w.day, w.day, 3, w.day + 1, w.status <> 'retracted', false, w.at,
       CASE WHEN w.status IN ('acknowledged', 'closed') THEN w.at + w.until_acknowledged END, CASE WHEN w.status IN ('acknowledged', 'closed') THEN 'site' END,
       CASE w.status WHEN 'closed' THEN w.at + 2 * w.until_acknowledged END, CASE w.status WHEN 'closed' THEN 'site' END,
       CASE w.status WHEN 'closed' THEN 'Looked after' END, 0, CASE w.status WHEN 'open' THEN 1 WHEN 'closed' THEN 3 ELSE 2 END
  FROM bench.raised w;
INSERT INTO clinical.alert_event (patient_id, alert_id, event_no, kind, status_from, status_to, rule_version, onset, trigger_day, last_day, out_days, cause, recorded_at, recorded_by)
SELECT w.patient_id, w.id, e.no, e.kind, e.status_from, e.status_to, 1, w.day - 2, w.day, w.day, 3, e.cause, w.at + e.after, 'site'
  FROM bench.raised w, LATERAL (
       SELECT 1 AS no, 'opened' AS kind, NULL AS status_from, 'open' AS status_to, 'report' AS cause, interval '0' AS after
       UNION ALL SELECT 2, CASE w.status WHEN 'retracted' THEN 'retracted' ELSE 'acknowledged' END, 'open',
                        CASE w.status WHEN 'retracted' THEN 'retracted' ELSE 'acknowledged' END, 'user', w.until_acknowledged WHERE w.status <> 'open'
       UNION ALL SELECT 3, 'closed', 'acknowledged', 'closed', 'user', 2 * w.until_acknowledged WHERE w.status = 'closed') e;
RESET clinical.restore;
RESET session_replication_role;
DROP TABLE bench.diary;
VACUUM (FREEZE, ANALYZE);
CHECKPOINT;
