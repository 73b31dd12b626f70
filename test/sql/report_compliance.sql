-- report_compliance: the tables of compliance and quality, of a study that is counted by hand; random ones are in
-- test/t/073_report_compliance.pl.  Nothing stays.
SET datestyle = ISO;
SET timezone = 'UTC';
BEGIN;
SELECT count(clinical.create_center('Compliance ' || n, 'RC-' || n, CASE n WHEN 2 THEN 'Europe/Amsterdam' ELSE 'UTC' END)) FROM generate_series(1, 3) n;
SELECT count(clinical.create_project_with_centers('Compliance', ARRAY(SELECT id FROM clinical.center WHERE site_id ~ '^RC-' ORDER BY id), 'RC'));
SELECT count(clinical.create_instrument(format('{"code": "rc-%s", "version": "1", "items": [{"code": "a", "type": "integer"}]}', i)::jsonb)) FROM unnest('{day,week}'::text[]) i;
SELECT count(clinical.use_instrument('RC', 'rc-' || i)) FROM unnest('{day,week}'::text[]) i;
-- from eight on there is an hour, and then half of one
SELECT count(clinical.schedule_entries('RC', 'rc-day', '{"kind": "daily", "from": "20:00", "to": "21:00", "grace_minutes": 30}'));
SELECT count(clinical.schedule_entries('RC', 'rc-week', '{"kind": "weekly", "days": ["mon"]}'));
-- the first week of February 2026, of which the second is a Monday; A, B and F at RC-1, C at RC-2, D and E at RC-3
SELECT count(clinical.enroll_patient('RC-' || p, NULL, NULL, 'RC', c.id, jsonb_build_object('arm', arm), effective_on => on_day::date, status => s))
  FROM (VALUES ('A', 1, 'new', '2026-01-01', 'enrolled'), ('B', 1, 'old', '2026-01-01', 'enrolled'), ('C', 2, 'old', '2026-02-03', 'enrolled'),
               ('D', 3, 'new', '2026-02-01', 'enrolled'), ('E', 3, 'new', '2026-01-20', 'screened'), ('F', 1, NULL, '2026-02-08', 'enrolled')) v (p, n, arm, on_day, s)
  JOIN clinical.center c ON c.site_id = 'RC-' || n;
SELECT count(clinical.set_patient_status('RC-D', 'withdrawn', '2026-02-05', 'moved away'));
SELECT count(clinical.excuse_entries('RC-C', '[2026-02-05 20:30+01,2026-02-06 20:00+01]', 'in hospital'));

CREATE FUNCTION pg_temp.report(patient text, instrument text, captured_at timestamptz, lag interval, status text = 'accepted') RETURNS integer LANGUAGE sql AS $$
    INSERT INTO clinical.submission (patient_id, id, project_id, version_id, status, captured_at, local_day, time_zone, received_at, processed_at, originator, login,
        digest, observations, observations_digest, report_data)
        SELECT 'RC-' || patient, gen_random_uuid(), p.project_id, v.id, report.status, report.captured_at, timezone(c.time_zone, report.captured_at)::date, c.time_zone,
               report.captured_at + lag, report.captured_at + lag, 'subject', 'app', '\x00', 0, '\x00', '{}'
          FROM clinical.patient p JOIN clinical.center c ON c.id = p.center_id, clinical.instrument_version v
         WHERE p.id = 'RC-' || patient AND v.instrument = 'rc-' || report.instrument
    RETURNING 1
$$;
CREATE FUNCTION pg_temp.aside(patient text, outcome text, reason text, detail jsonb, received_at timestamptz, requeued_at timestamptz) RETURNS integer LANGUAGE sql AS $$
    INSERT INTO clinical.set_aside (patient_id, submission_id, arrival, outcome, project_id, reason_code, detail, captured_at, received_at, processed_at, originator, login,
        digest, requeued_at, requeue_reason)
        SELECT 'RC-' || patient, gen_random_uuid(), gen_random_uuid(), outcome, (SELECT p.project_id FROM clinical.patient p WHERE p.id = 'RC-' || patient), reason, detail, aside.received_at,
               aside.received_at, aside.received_at, 'subject', 'app', '\x00', aside.requeued_at, CASE WHEN aside.requeued_at IS NOT NULL THEN 'r' END
    RETURNING 1
$$;
SET LOCAL clinical.restore = on;
-- A makes all entries, that of the third late, of which a second report is no further one; and one a day before the period
SELECT count(pg_temp.report('A', 'day', d + CASE WHEN d = '2026-02-03' THEN interval '21 hours' ELSE interval '20 hours' END, extract(day FROM d) * interval '1 second'))
  FROM generate_series(timestamptz '2026-01-31', '2026-02-07', '1 day') d;
SELECT pg_temp.report('A', 'day', '2026-02-03 21:20+00', '2 days'), pg_temp.report('A', 'week', '2026-02-02 00:00+00', '1.5 seconds');
-- B makes the first of the week, and is too late with the second; one is withdrawn, one of the last day is not received by the cut-off
SELECT pg_temp.report('B', 'day', '2026-02-01 20:59:59+00', '-1.5 seconds'), pg_temp.report('B', 'day', '2026-02-02 21:30+00', '1 second'),
       pg_temp.report('B', 'day', '2026-02-03 20:30+00', '1 minute', 'withdrawn'), pg_temp.report('B', 'day', '2026-02-07 20:30+00', '20 hours');
-- C is in Amsterdam, an hour before UTC
SELECT pg_temp.report('C', 'day', '2026-02-03 19:00+00', '0'), pg_temp.report('C', 'day', '2026-02-04 20:00+00', '25 hours'), pg_temp.report('C', 'day', '2026-02-07 20:29:59+00', '5 seconds');
SELECT count(pg_temp.aside(p, o, r, d::jsonb, t, q)) FROM (VALUES
    ('A', 'duplicate', NULL, NULL, timestamptz '2026-02-01 00:00+00', NULL::timestamptz), ('A', 'conflict', NULL, NULL, '2026-02-07 23:59:59+00', NULL), ('A', 'conflict', NULL, NULL, '2026-02-08 00:00+00', NULL),
    ('B', 'quarantined', 'out_of_range', '{"findings": [{"item": "a", "reason_code": "out_of_range", "check_id": "low", "soft_hard": "Hard", "path": ["a"]}, {"item": "a", "reason_code": "out_of_range", "check_id": "low", "soft_hard": "Hard", "path": ["a"]}, {"item": "b", "reason_code": "missing_item", "soft_hard": "Hard", "path": []}, {"item": "c", "reason_code": "out_of_range", "check_id": "odd", "soft_hard": "Soft", "path": []}]}', '2026-02-03 10:00+00', NULL),
    ('C', 'quarantined', 'out_of_range', '{"findings": [{"item": "a", "reason_code": "out_of_range", "check_id": "low", "soft_hard": "Hard", "path": ["a"]}]}', '2026-02-04 10:00+00', '2026-02-05 00:00+00'),
    ('C', 'quarantined', 'unknown_instrument', NULL, '2026-02-04 11:00+00', '2026-02-08 13:00+00'), ('nobody', 'quarantined', 'unknown_patient', NULL, '2026-02-04 12:00+00', NULL)) v (p, o, r, d, t, q);
SET LOCAL clinical.restore = off;


SELECT id AS rc FROM clinical.project WHERE code = 'RC' \gset
SELECT array_agg(id ORDER BY id) AS centers, (array_agg(id ORDER BY id))[2:2] AS second FROM clinical.center WHERE site_id ~ '^RC-' \gset
\set period '''::bigint[], ''2026-02-01'', ''2026-02-08'', ''2026-02-08 12:00+00'', ''UTC'''
\set all :rc ', ''' :centers :period
\set two :rc ', ''' :second :period
SELECT jsonb_agg(r) AS plan FROM clinical.report_entry_plan(:all, '{}', NULL) r \gset
SELECT jsonb_agg(r) AS facts FROM clinical.report_patient_compliance(:all, '{}', :'plan') r \gset
SELECT jsonb_agg(r) AS facts_by_arm FROM clinical.report_patient_compliance(:all, '{arm}', :'plan') r \gset
SELECT jsonb_agg(r) AS facts_of_second FROM clinical.report_patient_compliance(:two, '{}', :'plan') r \gset
SELECT f.center, f.instrument, f.patient_id, f.missed, f.run_first, f.run_last
  FROM jsonb_to_recordset(:'facts') f (fact text, center text, instrument text, patient_id text, missed bigint, run_first date, run_last date) WHERE f.fact = 'run';
SELECT r.* FROM clinical.report_compliance(:all, '{}', :'facts') r;
SELECT r.* FROM clinical.report_compliance(:all, '{arm}', :'facts_by_arm') r WHERE r.center IS NULL OR r.instrument IS NULL;
SELECT r.* FROM clinical.report_compliance(:two, '{}', :'facts_of_second') r WHERE r.instrument IS NULL;
SELECT r.* FROM clinical.report_transfer(:all, '{arm}', :'facts_by_arm') r;
SELECT r.* FROM clinical.report_balance(:all, '{}', :'facts') r;
SELECT r.* FROM clinical.report_balance(:all, '{arm}', :'facts_by_arm') r WHERE r.center IS NULL;
SELECT r.* FROM clinical.report_balance(:two, '{}', :'facts_of_second') r WHERE r.center IS NULL;
SELECT r.* FROM clinical.report_checks(:all, '{arm}', NULL) r;
SELECT r.* FROM clinical.report_checks(:two, '{}', NULL) r;
SELECT r.* FROM clinical.report_requeued(:all, '{}', NULL) r;
SELECT r.* FROM clinical.report_late(:all, '{}', :'facts') r;
-- a period without entries, and nobody
SELECT jsonb_agg(r) AS none FROM clinical.report_patient_compliance(:rc, :'centers', '2025-01-01', '2025-01-05', '2026-02-08 12:00+00', 'UTC', '{}', :'plan') r \gset
SELECT r.* FROM clinical.report_compliance(:all, '{}', :'none') r;
SELECT count(*) FROM clinical.report_patient_compliance(:rc, '{}', '2026-02-01', '2026-02-08', '2026-02-08 12:00+00', 'UTC', '{}', :'plan') r;

-- what is not right
CREATE FUNCTION pg_temp.count_of(plan text, first_day date = '2026-02-01', end_day date = '2026-02-08', enrolled date = '2026-01-01', days date[] = '{2026-01-01}', zones text[] = '{UTC}', reports bytea = NULL)
    RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT string_agg(format('%s %s %s', c.instrument, c.expected, c.missed), ', ') FROM clinical.report_entry_count(plan::jsonb, first_day, end_day, '2026-03-01', enrolled, NULL, '{1}', days, zones, NULL, NULL, NULL, NULL, reports) c);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
\set instrument '{"instrument": "i", "versions": [1], "uses": [{"from": "-infinity", "used": true}], "schedules": [{"from": "-infinity", "schedule": {"kind": "daily"}}]}'
\set good '{"behind": 2, "instruments": [' :instrument ']}'
SELECT pg_temp.count_of(:'good');
SELECT pg_temp.count_of(:'good', enrolled => '2026-02-05'), pg_temp.count_of(:'good', '2026-02-08', '2026-02-08'), pg_temp.count_of(:'good', '2026-02-09', '2026-02-08');
SELECT pg_temp.count_of(:'good', '-infinity'), pg_temp.count_of(:'good', '0001-01-01'), pg_temp.count_of(:'good', end_day => '20000-01-01'), pg_temp.count_of(:'good', '2000-01-01', enrolled => '2000-01-01');
SELECT pg_temp.count_of(NULL), pg_temp.count_of('{}'), pg_temp.count_of('[]'), pg_temp.count_of('{"behind": "x"}'), pg_temp.count_of('{"behind": -1}'), pg_temp.count_of(replace(:'good', '[1]', '["x"]')), pg_temp.count_of(replace(:'good', '"i"', '7'));
SELECT pg_temp.count_of(:'good', zones => '{Nowhere/None}'), pg_temp.count_of(:'good', zones => '{UTC,UTC}'), pg_temp.count_of(:'good', zones => '{NULL}'), pg_temp.count_of(:'good', days => '{infinity}'), pg_temp.count_of(:'good', enrolled => 'infinity');
SELECT pg_temp.count_of(:'good', reports => ''), pg_temp.count_of(:'good', reports => decode(repeat('00', 24), 'hex'));
SELECT pg_temp.count_of(:'good', reports => decode('0000000001000000' || repeat('00', 32), 'hex')), pg_temp.count_of(:'good', reports => decode('0000000002000000' || repeat('00', 32), 'hex'));
CREATE FUNCTION pg_temp.quantiles(lags text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN clinical.report_lag_quantiles(lags::bytea);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
SELECT pg_temp.quantiles(l) FROM unnest('{"","\\x63","\\x6c","\\x78","\\x6300","\\x6301000000000000000000000000000000","\\x6301000000000000000100000000000000"}'::text[]) l;
ROLLBACK;
