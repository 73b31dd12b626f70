-- report_status: a study made by hand, and the tables of a report about its centers, patients and alerts.
-- All moments lie before any that other tests have written, and the rows are put there as a restore does.
-- The period is [2026-04-15, 2026-07-01) in New York, four hours behind UTC.
SET datestyle = ISO;
SET timezone = 'Asia/Tokyo';
BEGIN;
SET LOCAL clinical.restore = on;
INSERT INTO clinical.project (id, code, name, time_zone) OVERRIDING SYSTEM VALUE VALUES
    (9101, 'RS', 'Study', 'America/New_York'), (9102, 'RS-OTHER', 'Other study', 'UTC'), (9103, 'RS-EMPTY', 'Empty', 'UTC'), (9104, 'RS-MANY', 'Many', 'UTC');
INSERT INTO clinical.center (id, name, site_id, time_zone, status, activated_at) OVERRIDING SYSTEM VALUE VALUES
    (9101, 'One', 'RS-1', 'UTC', 'active', '2026-02-10 12:00+00'),
    (9102, 'Two', 'RS-2', 'UTC', 'closed', '2026-04-25 11:59:59+00'),
    (9103, 'Three', NULL, 'UTC', 'planned', NULL),
    (9104, 'Four', 'RS-4', 'UTC', 'active', '2026-01-01 00:00+00');
INSERT INTO clinical.center (id, name, site_id) OVERRIDING SYSTEM VALUE SELECT 9200 + n, 'Many', 'M' || n FROM generate_series(11, 22) n;
-- One was suspended from 10 to 20 May; Two was suspended on 16 June and closed on the 20th
INSERT INTO clinical.center_event (id, center_id, status, recorded_at) OVERRIDING SYSTEM VALUE VALUES
    (910001, 9101, 'planned', '2026-02-01 12:00+00'), (910002, 9101, 'active', '2026-04-01 12:00+00'),
    (910003, 9101, 'suspended', '2026-05-11 03:00+00'), (910004, 9101, 'active', '2026-05-21 04:00+00'),
    (910005, 9102, 'active', '2026-04-25 12:00+00'), (910006, 9102, 'suspended', '2026-06-16 12:00+00'), (910007, 9102, 'closed', '2026-06-20 12:00+00'),
    (910008, 9103, 'planned', '2026-03-01 12:00+00'), (910009, 9104, 'active', '2026-01-01 00:00+00');
INSERT INTO clinical.project_center (project_id, center_id, planned_enrolment, enrolment_from, enrolment_to) VALUES
    (9101, 9101, 10, '2026-03-01', '2026-06-08'), (9101, 9102, 30, '2026-05-01', '2026-05-30'), (9101, 9103, NULL, NULL, NULL), (9101, 9104, 7, '2026-01-01', '2026-01-07'),
    (9102, 9101, 100, '2026-01-01', '2026-12-31'), (9103, 9103, NULL, NULL, NULL);
INSERT INTO clinical.project_center (project_id, center_id, planned_enrolment, enrolment_from, enrolment_to)
SELECT 9104, 9200 + n, 20, '2026-06-01', '2026-06-30' FROM generate_series(11, 22) n;
INSERT INTO clinical.patient (id, project_id, center_id, status, status_on, name, birth_date, birth_year, age, sex, race, ethnicity, record, record_version, created_at)
SELECT v.*, 1, '2026-01-01' FROM (VALUES
    ('a1', 9101, 9101, 'enrolled', '2026-04-20'::date, 'Ada Secret', '1950-04-20'::date, NULL, NULL, 'F', 'ASIAN', 'HISPANIC', '{"arm": "A"}'::jsonb),
    ('a2', 9101, 9101, 'enrolled', '2026-06-15', 'Ben Secret', '1950-06-16', NULL, NULL, 'M', 'WHITE', NULL, '{"arm": "B"}'),
    ('a3', 9101, 9101, 'withdrawn', '2026-05-10', NULL, NULL, 1960, NULL, NULL, 'WHITE', NULL, '{"arm": "A"}'),
    ('a4', 9101, 9101, 'completed', '2026-06-30', NULL, NULL, NULL, 50, 'F', NULL, NULL, '{}'),
    ('a5', 9101, 9101, 'screen_failed', '2026-05-20', NULL, NULL, NULL, 99, 'M', 'BLACK', NULL, '{"arm": "A"}'),
    ('a6', 9101, 9101, 'screened', '2026-06-20', NULL, NULL, NULL, 99, 'M', 'BLACK', NULL, '{"arm": "A"}'),
    ('a7', 9101, 9101, 'withdrawn', '2026-06-01', NULL, '1966-04-02', NULL, NULL, 'M', 'WHITE', 'HISPANIC', '{"arm": "B"}'),
    ('b1', 9101, 9102, 'enrolled', '2026-04-16', NULL, NULL, NULL, NULL, 'M', 'WHITE', NULL, '{"arm": "B"}'),
    ('b2', 9101, 9102, 'withdrawn', '2026-07-01', NULL, '2000-02-29', NULL, NULL, 'F', 'WHITE', NULL, '{"arm": "B"}'),
    ('b3', 9101, 9102, 'died', '2026-06-30', NULL, NULL, NULL, 40, 'F', 'WHITE', NULL, '{"arm": "A"}'),
    ('b4', 9101, 9102, 'enrolled', '2026-07-01', NULL, NULL, NULL, 99, 'U', 'BLACK', NULL, '{"arm": "C"}'),
    ('d1', 9101, 9104, 'withdrawn', '2026-05-05', NULL, NULL, NULL, 20, 'INTERSEX', 'OTHER', NULL, '{"arm": "D"}'),
    ('o1', 9102, 9101, 'withdrawn', '2026-05-10', NULL, NULL, NULL, 30, 'F', 'ASIAN', NULL, '{"arm": "A"}')) v;
-- b1 was at One until June; that a7 withdrew was told in August, and of b3 nothing before 10 July
INSERT INTO clinical.enrollment_event (patient_id, event_no, status, effective_on, center_id, reason, recorded_at)
SELECT p, n, s, d::date, c, r, coalesce(t, d)::timestamp AT TIME ZONE 'UTC' FROM (VALUES
    ('a1', 1, 'enrolled', '2026-04-20', 9101, NULL, NULL), ('a2', 1, 'enrolled', '2026-06-15', 9101, NULL, NULL),
    ('a3', 1, 'enrolled', '2026-03-01', 9101, NULL, NULL), ('a3', 2, 'withdrawn', '2026-05-10', 9101, 'moved away', NULL),
    ('a4', 1, 'screened', '2026-04-30', 9101, NULL, NULL), ('a4', 2, 'enrolled', '2026-05-01', 9101, NULL, NULL), ('a4', 3, 'completed', '2026-06-30', 9101, NULL, NULL),
    ('a5', 1, 'screened', '2026-05-02', 9101, NULL, NULL), ('a5', 2, 'screen_failed', '2026-05-20', 9101, 'not eligible', NULL),
    ('a6', 1, 'screened', '2026-06-20', 9101, NULL, NULL), ('a6', 2, 'enrolled', '2026-07-02', 9101, NULL, NULL),
    ('a7', 1, 'enrolled', '2026-04-01', 9101, NULL, NULL), ('a7', 2, 'withdrawn', '2026-06-01', 9101, 'consent', '2026-08-01'),
    ('b1', 1, 'enrolled', '2026-04-16', 9101, NULL, NULL), ('b1', 2, 'enrolled', '2026-06-01', 9102, 'nearer home', NULL),
    ('b2', 1, 'enrolled', '2026-05-31', 9102, NULL, NULL), ('b2', 2, 'withdrawn', '2026-07-01', 9102, 'other', NULL),
    ('b3', 1, 'enrolled', '2026-06-30', 9102, NULL, '2026-07-10'), ('b3', 2, 'died', '2026-06-30', 9102, NULL, '2026-07-10'),
    ('b4', 1, 'enrolled', '2026-07-01', 9102, NULL, NULL),
    ('d1', 1, 'enrolled', '2026-05-01', 9104, NULL, NULL), ('d1', 2, 'withdrawn', '2026-05-05', 9104, 'hidden', NULL),
    ('o1', 1, 'enrolled', '2026-05-01', 9101, NULL, NULL), ('o1', 2, 'withdrawn', '2026-05-10', 9101, 'elsewhere', NULL)) v (p, n, s, d, c, r, t);
-- and 24 patients at M11, 19 at M12 to M15
INSERT INTO clinical.patient (id, project_id, center_id, status, status_on, record, record_version, created_at)
SELECT 'm' || c || '-' || n, 9104, 9200 + c, 'enrolled', '2026-06-02', '{}', 1, '2026-06-02' FROM generate_series(11, 15) c, generate_series(1, CASE c WHEN 11 THEN 24 ELSE 19 END) n;
INSERT INTO clinical.enrollment_event (patient_id, event_no, status, effective_on, center_id, recorded_at)
SELECT id, 1, 'enrolled', '2026-06-02', center_id, '2026-06-02 00:00+00' FROM clinical.patient WHERE project_id = 9104;

-- the rules: LATER comes after the period, and NONE raises nothing
INSERT INTO clinical.monitor_rule (id, code, project_id, status, recorded_at, recorded_by) OVERRIDING SYSTEM VALUE VALUES
    (9101, 'RS-BP', 9101, 'active', '2026-03-01', 'r'), (9102, 'RS-NONE', 9101, 'active', '2026-03-01', 'r'), (9103, 'RS-ALL', NULL, 'active', '2026-03-01', 'r'),
    (9104, 'RS-LATER', 9101, 'active', '2026-08-01', 'r'), (9105, 'RS-THEIRS', 9102, 'active', '2026-03-01', 'r');
INSERT INTO clinical.monitor_rule_version (rule_id, version, kind, severity, definition, recorded_at, recorded_by) VALUES
    (9101, 1, 'streak', 'warning', '{}', '2026-03-01', 'r'), (9102, 1, 'streak', 'info', '{}', '2026-03-01', 'r'), (9102, 2, 'streak', 'serious', '{}', '2026-04-01', 'r'),
    (9102, 3, 'streak', 'critical', '{}', '2026-08-01', 'r'), (9103, 1, 'streak', 'critical', '{}', '2026-03-01', 'r'), (9104, 1, 'streak', 'info', '{}', '2026-08-01', 'r'),
    (9105, 1, 'streak', 'warning', '{}', '2026-03-01', 'r');
-- 2 and 9 wait, until 2 was acknowledged and 9 retracted after the period, as 3 was closed; 4 was retracted and 5 merged; 6 was closed at once, one second before the end; 7 and 10
-- were opened outside of it, and 8 and 11 are not of these patients
CREATE TEMP TABLE made AS
SELECT n, ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid AS id, p, r, v.s, o::timestamptz AS o, a::timestamptz AS a, c::timestamptz AS c, g, gt::timestamptz AS gt,
       cause, recd::timestamptz AS recd
  FROM (VALUES
    (1, 'a1', 9101, 'warning', '2026-04-20 12:00:10+00', '2026-04-20 13:00:10+00', '2026-04-22 12:00:10+00', NULL, NULL, 'report', '2026-04-20 12:00:00+00'),
    (2, 'a1', 9101, 'warning', '2026-05-01 10:00+00', '2026-07-03 00:00+00', NULL, NULL, NULL, 'window', NULL),
    (3, 'a2', 9103, 'critical', '2026-06-20 00:00:30+00', '2026-06-24 00:00:30+00', '2026-07-02 00:00+00', NULL, NULL, 'report', '2026-06-20 00:00:00+00'),
    (4, 'b1', 9101, 'warning', '2026-05-10 10:00:20+00', NULL, NULL, 'retracted', '2026-05-11 10:00+00', 'report', '2026-05-10 10:00:00+00'),
    (5, 'b1', 9101, 'warning', '2026-04-01 10:00+00', '2026-04-16 10:00+00', NULL, 'merged', '2026-05-02 10:00+00', 'report', '2026-04-01 09:00+00'),
    (6, 'b2', 9101, 'warning', '2026-07-01 03:59:59+00', '2026-07-01 03:59:59.5+00', '2026-07-01 03:59:59.5+00', NULL, NULL, 'report', '2026-07-01 03:59:19+00'),
    (7, 'b2', 9101, 'warning', '2026-07-01 04:00:00+00', NULL, NULL, NULL, NULL, 'report', '2026-07-01 03:00+00'),
    (8, 'o1', 9105, 'warning', '2026-05-01 10:00+00', NULL, NULL, NULL, NULL, 'report', '2026-05-01 09:00+00'),
    (9, 'a3', 9101, 'warning', '2026-04-15 04:00:00+00', NULL, NULL, 'retracted', '2026-07-15 00:00+00', 'correction', '2026-04-15 03:00+00'),
    (10, 'a3', 9101, 'warning', '2026-04-15 03:59:59+00', '2026-04-20 00:00+00', '2026-04-20 00:00+00', NULL, NULL, 'report', '2026-04-15 03:00+00'),
    (11, 'd1', 9101, 'warning', '2026-05-01 10:00+00', NULL, NULL, NULL, NULL, 'report', '2026-05-01 09:00+00')) v (n, p, r, s, o, a, c, g, gt, cause, recd);
INSERT INTO clinical.alert (patient_id, id, project_id, rule_id, rule_version, status, severity, onset, trigger_day, last_day, out_days, watch_until, supported, basis_changed,
                            opened_at, acknowledged_at, closed_at, escalation_level, events)
SELECT p, id, CASE p WHEN 'o1' THEN 9102 ELSE 9101 END, r, 1, coalesce(g, CASE WHEN c IS NOT NULL THEN 'closed' WHEN a IS NOT NULL THEN 'acknowledged' ELSE 'open' END), s,
       o::date + 1, o::date + 1, o::date + 1, 1, 'infinity', g IS NULL, false, o, a, c, 0, CASE WHEN g IS NULL THEN 1 ELSE 2 END
  FROM made;
INSERT INTO clinical.alert_event (patient_id, alert_id, event_no, kind, status_to, rule_version, onset, trigger_day, last_day, out_days, cause, submission_id, recorded_at, recorded_by)
SELECT p, id, 1, 'opened', 'open', 1, o::date, o::date, o::date, 1, cause, id, o, 'r' FROM made
UNION ALL
SELECT p, id, 2, g, g, 1, o::date + 1, o::date + 1, o::date + 1, 1, 'report', NULL, gt, 'r' FROM made WHERE g IS NOT NULL;
INSERT INTO clinical.instrument (code) VALUES ('rs');
INSERT INTO clinical.instrument_version (id, instrument, version, definition) OVERRIDING SYSTEM VALUE VALUES (9101, 'rs', '1', '{}');
INSERT INTO clinical.submission (patient_id, id, project_id, version_id, status, captured_at, local_day, time_zone, received_at, processed_at, originator, login, digest,
                                 observations, observations_digest, report_data)
SELECT p, id, CASE p WHEN 'o1' THEN 9102 ELSE 9101 END, 9101, 'accepted', recd, recd::date, 'UTC', recd, recd, 'subject', 'l', '', 0, '', '{"secret": 1}' FROM made WHERE recd IS NOT NULL;
-- two values of a1 were corrected, one of them twice; in the withdrawn report of a2, out of the period, and after the cut-off it does not count
UPDATE clinical.submission SET status = 'withdrawn' WHERE patient_id = 'a2';
INSERT INTO clinical.observation (patient_id, item, captured_at, id, version, submission_id, local_day, value, is_score, flagged, recorded_at, recorded_by)
SELECT m.p, 'i', m.recd, ('00000000-0000-7000-a000-' || lpad(v.n::text, 12, '0'))::uuid, version, m.id, v.d::date, 1, false, false, v.r::timestamptz, 'r'
  FROM (VALUES (1, 1, '2026-04-20', 2, '2026-04-21'), (2, 1, '2026-04-20', 2, '2026-05-21'), (3, 3, '2026-06-20', 1, '2026-06-20'), (4, 1, '2026-07-01', 1, '2026-07-01'),
               (5, 6, '2026-06-30', 2, '2026-10-01')) v (n, of, d, x, r)
  JOIN made m ON m.n = of, generate_series(1, CASE v.n WHEN 2 THEN 3 ELSE 2 END) version;
-- of these 1, 3, 7 and 10 were in quarantine at the end
INSERT INTO clinical.set_aside (patient_id, submission_id, arrival, outcome, project_id, reason_code, captured_at, received_at, processed_at, instrument, originator, login, digest,
                                report_data, requeued_at)
SELECT p, id, id, o, j, CASE o WHEN 'quarantined' THEN 'out_of_range' END, t, t, t + interval '1 second', 'rs', 'subject', 'l', '', '{"secret": 1}', q::timestamptz
  FROM (VALUES (1, 'a1', 'quarantined', 9101, '2026-04-01 12:00+00', NULL), (2, 'a1', 'quarantined', 9101, '2026-05-01 12:00+00', '2026-06-01 12:00+00'),
               (3, 'b1', 'quarantined', 9101, '2026-05-02 12:00+00', '2026-07-01 12:00+00'), (4, 'b1', 'duplicate', 9101, '2026-05-03 12:00+00', NULL),
               (5, 'o1', 'quarantined', 9102, '2026-05-04 12:00+00', NULL), (6, 'd1', 'quarantined', 9101, '2026-05-05 12:00+00', NULL),
               (7, 'b2', 'quarantined', NULL, '2026-05-06 12:00+00', NULL), (8, 'b2', 'quarantined', 9101, '2026-07-01 05:00+00', NULL),
               (9, 'stranger', 'quarantined', NULL, '2026-05-07 12:00+00', NULL), (10, 'a2', 'quarantined', 9101, '2026-05-20 12:00+00', NULL)) v (n, p, o, j, at, q),
       LATERAL (SELECT ('00000000-0000-7000-9000-' || lpad(n::text, 12, '0'))::uuid AS id, at::timestamptz AS t) x;
SET LOCAL clinical.restore = off;

-- the functions as the extension calls them
SET search_path = pg_catalog, pg_temp;
\set centers 'ARRAY[9101, 9102, 9103]::bigint[]'
\set period '''2026-04-15''::date, ''2026-07-01''::date'
\set study 9101, :centers, :period, '''2026-09-01 00:00+00''::timestamptz, ''America/New_York'''
\set whole :study, '''{}''::text[], NULL'
\set by_arm :study, '''{arm}''::text[], NULL'
\set soon 9101, :centers, :period, '''2026-07-05 00:00+00''::timestamptz, ''America/New_York'', ''{}''::text[], NULL'
\set empty 9103, 'ARRAY[9103]::bigint[]', :period, '''2026-09-01 00:00+00''::timestamptz, ''UTC'', ''{}''::text[], NULL'

-- === centers ===
SELECT r.* FROM clinical.report_centers(:whole) r;
-- in May; and before it was told that One is active
SELECT r.status, r.centers FROM clinical.report_centers(9101, :centers, '2026-05-01', '2026-05-15', '2026-09-01', 'America/New_York', '{}', NULL) r WHERE r.centers > 0;
SELECT r.status, r.centers FROM clinical.report_centers(9101, :centers, '2026-03-01', '2026-04-01', '2026-09-01', 'America/New_York', '{}', NULL) r WHERE r.centers > 0;
SELECT r.status, r.centers FROM clinical.report_centers(9101, :centers, '2026-03-01', '2026-04-01', '2026-03-20', 'America/New_York', '{}', NULL) r WHERE r.centers > 0;
SELECT r.status, r.centers FROM clinical.report_centers(9101, '{}', :period, '2026-09-01', 'America/New_York', '{}', NULL) r;

-- === patients ===
SELECT r.* FROM clinical.report_patients(:whole) r;
SELECT r.status, r.reason, r.patients, r.total FROM clinical.report_patients(:soon) r WHERE r.patients > 0;
SELECT r.* FROM clinical.report_patients(:by_arm) r WHERE r.patients > 0;
SELECT r.* FROM clinical.report_patients(:empty) r;
-- who sees one center, and none
SELECT r.status, r.patients FROM clinical.report_patients(9101, '{9104}', :period, '2026-09-01', 'UTC', '{}', NULL) r WHERE r.patients > 0;
SELECT sum(r.patients) FROM clinical.report_patients(9101, '{}', :period, '2026-09-01', 'UTC', '{}', NULL) r;

-- === enrolment ===
SELECT r.* FROM clinical.report_enrolment(:whole) r;
SELECT r.center, r.month, r.enrolled, r.cumulative FROM clinical.report_enrolment(:soon) r WHERE r.month = '2026-06';
SELECT r.* FROM clinical.report_enrolment(:by_arm) r WHERE r."by" <> '{}' AND r.center IS NULL OR r."by" = '{"arm": "A"}';
SELECT r.* FROM clinical.report_enrolment(:empty) r;
-- a year before anything, and days without a plan's end
SELECT r.center, r.month, r.enrolled, r.cumulative, r.target, r.active_days FROM clinical.report_enrolment(9101, :centers, '2026-01-10', '2026-02-20', '2026-09-01', 'UTC', '{}', NULL) r;
-- a month is not over at the cut-off
SELECT r.center, r.month, r.active_days FROM clinical.report_enrolment(9101, '{9104}', '2026-04-01', '2026-07-01', '2026-05-10 12:00+00', 'UTC', '{}', NULL) r;

-- === demographics ===
SELECT r.* FROM clinical.report_ages(:whole) r;
SELECT r."by", r.center, r.n, r.missing, r.mean FROM clinical.report_ages(:by_arm) r WHERE r."by" <> '{}';
SELECT r.* FROM clinical.report_ages(:empty) r;
SELECT r.* FROM clinical.report_sexes(:whole) r;
SELECT r."by", r.center, r.sex, r.patients, r.total FROM clinical.report_sexes(:by_arm) r WHERE r."by" <> '{}' AND r.center IS NULL;
SELECT r.* FROM clinical.report_races(:soon) r WHERE r.center IS NULL;
SELECT r.* FROM clinical.report_ethnicities(:whole) r WHERE r.center IS NULL;
SELECT r.* FROM clinical.report_sexes(:empty) r;
-- birthdays
SELECT b.birth, d.day, clinical.report_age(b.birth, NULL, NULL, d.day) AS age, clinical.report_age(NULL, extract(year FROM b.birth)::integer, NULL, d.day) AS by_year
  FROM unnest('{2000-02-29,2000-03-01,1950-12-31}'::date[]) b(birth), unnest('{2026-02-28,2026-03-01,2028-02-29,2026-12-31}'::date[]) d(day);

-- === alerts ===
SELECT r.* FROM clinical.report_alerts(:whole) r;
SELECT r.* FROM clinical.report_alerts(:by_arm) r WHERE r."by" <> '{}' AND r.center IS NULL AND r.rule IS NULL AND r.severity IS NULL;
SELECT r.* FROM clinical.report_alerts(:empty) r;
-- by the end of April nothing of it had ended
SELECT r.opened, r.acknowledged, r.closed, r.retracted, r.merged, r.open_at_end, r.unacknowledged
  FROM clinical.report_alerts(9101, :centers, '2026-04-15', '2026-05-02', '2026-09-01', 'America/New_York', '{}', NULL) r WHERE r.rule IS NULL AND r.severity IS NULL AND r.center IS NULL;
SELECT r.opened, r.acknowledged, r.closed, r.retracted, r.merged, r.open_at_end, r.unacknowledged
  FROM clinical.report_alerts(9101, :centers, :period, '2026-05-10 12:00+00', 'America/New_York', '{}', NULL) r WHERE r.rule IS NULL AND r.severity IS NULL AND r.center IS NULL;
SELECT r.* FROM clinical.report_alert_times(:whole) r;
SELECT r."by", r.severity, r.measure, r.alerts, r.n, r.median, r.censored FROM clinical.report_alert_times(:by_arm) r WHERE r."by" <> '{}' AND r.rule IS NULL;
SELECT r.measure, r.n, r.median, r.censored FROM clinical.report_alert_times(:empty) r;
SELECT r.* FROM clinical.report_alerts_by_month(:whole) r;
SELECT r."by", sum(r.opened) FROM clinical.report_alerts_by_month(:by_arm) r WHERE r.month IS NOT NULL AND r.severity IS NOT NULL GROUP BY 1 ORDER BY 1;

-- === indicators ===
SELECT r.* FROM clinical.report_indicators(:study, '{arm}', '[
    {"fact": "all", "center_id": 9101, "by": {"arm": "A"}, "expected": 100, "completed": 60, "late": 6, "missed": 34, "accepted": 14, "withdrawn": 1, "observations": 700},
    {"fact": "all", "center_id": 9101, "by": {"arm": "B"}, "expected": 50, "completed": 40, "late": 0, "missed": 10, "accepted": 3, "withdrawn": 0, "observations": 400},
    {"fact": "all", "center_id": 9102, "by": {"arm": "B"}, "expected": 50, "completed": 45, "late": 3, "missed": 2, "accepted": 36, "withdrawn": 0, "observations": 900},
    {"fact": "instrument", "center_id": 9101, "expected": 1000, "missed": 1000}, {"fact": "run", "center_id": 9101, "patient_id": "a1", "missed": 5},
    {"fact": "all", "center_id": 9999, "expected": 1000, "missed": 1000}]') r;
SELECT r.* FROM clinical.report_indicators(:empty) r WHERE r.indicator IN ('alerts', 'missed');
-- one center that deviates from k - 1 equal ones has the score sqrt(k - 1): flags change at 2 and 3, and below -2 and -3
CREATE FUNCTION pg_temp.scores(centers bigint, first bigint, others bigint, n bigint)
    RETURNS TABLE (center text, value numeric, mean numeric, score numeric, flag integer) LANGUAGE sql AS $$
    SELECT r.center, r.value, r.mean, r.score, r.flag
      FROM (SELECT array_agg(9200 + g) AS ids,
                   jsonb_agg(jsonb_build_object('fact', 'all', 'center_id', 9200 + g, 'missed', CASE g WHEN 11 THEN first ELSE others END, 'expected', n)) AS facts
              FROM generate_series(11, 10 + centers) g) f,
           clinical.report_indicators(9104, f.ids, '2026-04-01', '2026-07-01', '2026-09-01', 'UTC', '{}', f.facts) r
     WHERE r.indicator = 'missed' AND (r.center IN ('M11', 'M12') OR r.center IS NULL)
$$;
SELECT k, first, s.* FROM (VALUES (5, 14, 9), (5, 13, 8), (10, 19, 9), (11, 19, 9), (5, 6, 11), (10, 2, 12), (12, 1, 13), (5, 10, 10), (5, 0, 0), (5, 100, 100)) v (k, first, others),
       pg_temp.scores(k, first, others, 100) s;
-- exactly, whatever the denominator
SELECT n, s.score, s.flag FROM unnest('{21,97,1000003}'::int[]) n, pg_temp.scores(5, 14, 9, n) s WHERE s.center = 'M11';
-- of a rate the mean may be 1: five centers enrolled 100 of 100
SELECT r.center, r.numerator, r.denominator, r.score, r.flag FROM clinical.report_indicators(9104, '{9211,9212,9213,9214,9215}', '2026-04-01', '2026-07-01', '2026-09-01', 'UTC', '{}', NULL) r
 WHERE r.indicator = 'enrolled';
-- below ten there is no score, but a part in the mean
SELECT n, s.* FROM unnest('{9,10}'::int[]) n, pg_temp.scores(3, 4, 1, n) s;

-- === listings ===
SELECT r.* FROM clinical.report_withdrawals(:whole) r;
SELECT r.* FROM clinical.report_withdrawals(:soon) r;
SELECT r.* FROM clinical.report_open_alerts(:whole) r;
SELECT to_jsonb(r) FROM clinical.report_open_alerts(:whole) r LIMIT 1;
SELECT r.* FROM clinical.report_quarantined(:whole) r;
SELECT r.* FROM clinical.report_missed_runs(:study, '{}', '[{"fact": "run", "patient_id": "a2", "center": "RS-1", "instrument": "rs", "run_first": "2026-05-01", "run_last": "2026-05-03", "missed": 3},
    {"fact": "all", "center": "RS-1", "missed": 7}, {"fact": "run", "patient_id": "b1", "center": "RS-2", "instrument": "rs", "run_first": "2026-05-01", "run_last": "2026-05-12", "missed": 12}]') r;
SELECT r.total FROM clinical.report_withdrawals(:empty) r UNION ALL SELECT r.total FROM clinical.report_open_alerts(:empty) r
UNION ALL SELECT r.total FROM clinical.report_quarantined(:empty) r UNION ALL SELECT r.total FROM clinical.report_missed_runs(:empty) r;
-- nothing of names, days of birth and answers is in any row
SELECT count(*) FROM (
    SELECT to_jsonb(r) AS j FROM clinical.report_ages(:whole) r UNION ALL SELECT to_jsonb(r) FROM clinical.report_withdrawals(:whole) r
    UNION ALL SELECT to_jsonb(r) FROM clinical.report_open_alerts(:whole) r UNION ALL SELECT to_jsonb(r) FROM clinical.report_quarantined(:whole) r
    UNION ALL SELECT to_jsonb(r) FROM clinical.report_patients(:whole) r) x WHERE x.j::text ~* 'secret|1950|1966';
-- no more than 10000, and how many there are
SET LOCAL clinical.restore = on;
INSERT INTO clinical.set_aside (patient_id, submission_id, arrival, outcome, project_id, reason_code, captured_at, received_at, processed_at, originator, login, digest)
SELECT 'a1', md5(n::text)::uuid, md5(n::text)::uuid, 'quarantined', 9101, 'x', t, t, t, 'subject', 'l', '' FROM generate_series(1, 10000) n, LATERAL (SELECT '2026-05-10'::timestamptz + n * interval '1 second' AS t) x;
SELECT count(*), max(r.total) FROM clinical.report_quarantined(:whole) r;

-- where midnight comes twice, the day begins with the first
SELECT d.day, clinical.report_moment(d.day, 'America/Havana') AT TIME ZONE 'UTC' AS begins FROM unnest('{2024-11-02,2024-11-03,2024-11-04,2024-03-10}'::date[]) d(day);
SELECT clinical.report_moment('2018-11-04', 'America/Sao_Paulo') AT TIME ZONE 'UTC' AS no_midnight;

-- planned as one query each, functions of SQL opened up
CREATE FUNCTION pg_temp.opaque(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || statement LOOP
        IF line ~ 'Function Scan on (clinical\.)?report|(report_\w+)\(' THEN
            RETURN NEXT line;
        END IF;
    END LOOP;
END
$$;
SELECT f.oid::regproc, o.* FROM pg_proc f, pg_temp.opaque(format('SELECT to_jsonb(r) FROM %s(9101, %L::bigint[], %L::date, %L::date, %L::timestamptz, %L, %L::text[], NULL) r',
       f.oid::regproc, '{9101}', '2026-04-15', '2026-07-01', '2026-09-01', 'UTC', '{arm}')) o
 WHERE f.pronamespace = 'clinical'::regnamespace AND f.proargnames[8] = 'facts' AND f.proname IN ('report_centers', 'report_patients', 'report_enrolment', 'report_ages', 'report_sexes',
       'report_races', 'report_ethnicities', 'report_alerts', 'report_alert_times', 'report_alerts_by_month', 'report_indicators', 'report_withdrawals', 'report_open_alerts',
       'report_missed_runs', 'report_quarantined');
-- for the extension itself
SELECT count(*) FILTER (WHERE has_function_privilege('clinical_investigator', f.oid, 'EXECUTE')) AS callable FROM pg_proc f
 WHERE f.pronamespace = 'clinical'::regnamespace AND f.proname ~ '^report_' AND f.proargnames[1] = 'project_id';
ROLLBACK;
RESET search_path;
