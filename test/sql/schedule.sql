-- schedule: jobs that pg_cron runs, here without one (test/t/076_schedule.pl has it)
SET datestyle = ISO;
SET timezone = 'UTC';
SELECT count(*) FROM clinical.create_center('Schedule', 'SCH-1', 'Europe/Zurich');
SELECT count(*) FROM clinical.create_project_with_centers('Schedule', ARRAY(SELECT id FROM clinical.center WHERE site_id = 'SCH-1'), 'SCH', 'Europe/Zurich');
CREATE ROLE regress_clinical_jane LOGIN;
CREATE ROLE regress_clinical_jill LOGIN;
CREATE ROLE regress_clinical_group;
GRANT clinical_statistician TO regress_clinical_jane, regress_clinical_jill, regress_clinical_group;
GRANT USAGE ON SCHEMA test TO regress_clinical_jane, regress_clinical_jill, regress_clinical_group;
SELECT count(clinical.grant_center('regress_clinical_jane', id)), count(clinical.grant_center('regress_clinical_group', id)) FROM clinical.center WHERE site_id = 'SCH-1';

-- === what is due when ===
-- local 02:00 on the first day after the period
SELECT z AS time_zone, d.* FROM unnest('{UTC,Europe/Zurich,Asia/Kolkata,Pacific/Kiritimati,America/Los_Angeles}'::text[]) z,
       LATERAL clinical.schedule_due('quarter', z, '2026-04-10') d;
SELECT d.* FROM clinical.schedule_due('month', 'UTC', '2026-03-01 01:59:59.999999+00') d;
SELECT d.* FROM clinical.schedule_due('month', 'UTC', '2026-03-01 02:00+00') d;
SELECT d.* FROM clinical.schedule_due('quarter', 'UTC', '2026-01-01 01:59+00') d;
-- each moment of a year: what is due is so since its moment, until the next one's, and nothing is left out
SELECT z AS time_zone, u AS unit, count(DISTINCT d.end_day) AS periods,
       bool_and(d.due_at <= t AND t < d.next_due_at) AS in_force,
       bool_and((d.due_at AT TIME ZONE z)::time = '02:00' AND (d.due_at AT TIME ZONE z)::date = d.end_day) AS at_two,
       bool_and(d.first_day = d.end_day - CASE u WHEN 'month' THEN interval '1 month' ELSE interval '3 months' END) AS full
  FROM unnest('{UTC,Europe/Zurich,America/New_York,Asia/Kolkata,Australia/Lord_Howe,Pacific/Apia}'::text[]) z, unnest('{quarter,month}'::text[]) u,
       generate_series('2026-01-01'::timestamptz, '2026-12-31', '30 min') t, LATERAL clinical.schedule_due(u, z, t) d
 GROUP BY 1, 2 ORDER BY 1, 2;
-- clocks that are changed at that very moment: where there is no 02:00 it is 03:00, and where there are two it is the second
SELECT t, d.end_day, d.due_at FROM generate_series('2001-04-01 06:59+00'::timestamptz, '2001-04-01 07:01+00', '1 min') t,
       LATERAL clinical.schedule_due('quarter', 'America/New_York', t) d;
SELECT t, d.end_day, d.due_at FROM generate_series('2017-09-30 15:59+00'::timestamptz, '2017-09-30 16:01+00', '1 min') t,
       LATERAL clinical.schedule_due('quarter', 'Australia/Sydney', t) d;
SELECT t, d.end_day, d.due_at FROM generate_series('2018-03-31 15:00+00'::timestamptz, '2018-03-31 16:30+00', '30 min') t,
       LATERAL clinical.schedule_due('quarter', 'Australia/Sydney', t) d;
SELECT test.try($$SELECT clinical.schedule_due('fortnight', 'UTC', '2026-04-10')$$), test.try($$SELECT clinical.schedule_due('month', 'Nowhere', '2026-04-10')$$);

-- === scheduling ===
SET ROLE regress_clinical_jane;
SELECT test.try(format('SELECT clinical.schedule_report(%s)', arguments)) AS answer, arguments
  FROM unnest(ARRAY[$$NULL, 'monthly'$$, $$'', 'monthly'$$, $$'none', 'monthly'$$, $$'SCH', NULL$$, $$'SCH', ''$$, $$'SCH', 'yearly'$$,
    $$'SCH', '0 5 * *'$$, $$'SCH', '0 5 * * * *'$$, $$'SCH', 'monthly', NULL$$, $$'SCH', 'monthly', '[]'$$, $$'SCH', 'monthly', '{"cutoff": "2026-01-01"}'$$,
    $$'SCH', 'monthly', '{"unknown": 1}'$$, $$'SCH', 'monthly', '{"by": "arm"}'$$, $$'SCH', 'monthly', '{"period": "month"}'$$,
    $$'SCH', '0 5 * * *', '{"period": "week"}'$$, $$'SCH', '0 5 * * *', '{"period": 3}'$$,
    $$'SCH', 'quarterly'$$, $$'SCH', 'monthly', '{"by": ["arm"]}'$$, $$'SCH', ' 0  5 10 1,4,7,10 *', '{"period": "month"}'$$]) arguments;
SELECT test.try($$SELECT clinical.schedule_retention('monthly', '1 year')$$);
RESET ROLE;
SELECT test.try(format('SELECT clinical.schedule_retention(%s)', arguments)) AS answer, arguments
  FROM unnest(ARRAY[$$NULL, '1 year'$$, $$'monthly', NULL$$, $$'monthly', '0 s'$$, $$'monthly', '-1 year'$$, $$'sometimes', '1 year'$$, $$'monthly', '1 year'$$]) arguments;
-- who sees no center sees no project
SET ROLE regress_clinical_jill;
SELECT test.try($$SELECT clinical.schedule_report('SCH', 'quarterly')$$);
-- who may not log in
SET ROLE regress_clinical_group;
SELECT test.try($$SELECT clinical.schedule_report('SCH', 'quarterly')$$);
RESET ROLE;
SELECT test.try('SELECT clinical.unschedule_report(NULL)'), test.try('SELECT clinical.unschedule_report(1)'), test.try('SELECT clinical.run_schedule(NULL)'), test.try('SELECT clinical.run_schedule(1)');

-- somebody's schema of that name is not taken for the extension
CREATE SCHEMA cron;
CREATE FUNCTION cron.schedule(text, text, text) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'TRAPPED'; END $$;
GRANT USAGE ON SCHEMA cron TO regress_clinical_jane;
SET ROLE regress_clinical_jane;
SELECT test.try($$SELECT clinical.schedule_report('SCH', 'quarterly')$$);
RESET ROLE;
DROP SCHEMA cron CASCADE;

-- pg_cron in another database: the statement for there
CREATE FUNCTION test.elsewhere(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    h text;
BEGIN
    EXECUTE call;
    RETURN 'no error';
EXCEPTION WHEN object_not_in_prerequisite_state THEN
    GET STACKED DIAGNOSTICS h = PG_EXCEPTION_HINT;
    RETURN regexp_replace(regexp_replace(replace(concat(SQLERRM, ': ', h), current_database(), '(database)'), '(job |elsewhere\()\d+', '\1(n)', 'g'), '''\d+ \* ', '''(n) * ', 'g');
END
$$;
GRANT EXECUTE ON FUNCTION test.elsewhere TO regress_clinical_jane;
SET ROLE regress_clinical_jane;
BEGIN;
SET LOCAL cron.database_name = 'elsewhere';
SELECT test.elsewhere($$SELECT clinical.schedule_report('SCH', 'quarterly', '{"by": ["it''s"]}')$$);
SELECT test.elsewhere($$SELECT clinical.schedule_report('SCH', '0 5 10 * *', '{"period": "month"}')$$);
COMMIT;
RESET ROLE;
BEGIN;
SET LOCAL cron.database_name = 'elsewhere';
SELECT test.elsewhere($$SELECT clinical.schedule_retention('monthly', '2 years')$$);
SELECT set_config('cron.database_name', current_database(), true) IS NULL;
SELECT test.elsewhere($$SELECT clinical.schedule_retention('monthly', '2 years')$$);
COMMIT;

-- === running ===
-- numbers that were given out above are made known by their first run, others not
SELECT last_value AS a, last_value - 1 AS b, last_value - 2 AS c, last_value - 3 AS d FROM clinical.report_schedule_id_seq \gset
SET ROLE regress_clinical_jane;
SELECT test.try(format('SELECT clinical.run_schedule_elsewhere(%s)', arguments)) AS answer
  FROM unnest(ARRAY[$$NULL, '{}'$$, $$1, NULL$$, $$0, '{}'$$, $$-1, '{}'$$, $$1000000, '{"project": "SCH", "schedule": "monthly"}'$$, $$1, '[]'$$, $$1, '{}'$$,
    $$1, '{"schedule": "monthly"}'$$, $$1, '{"schedule": "monthly", "project": "SCH", "keep": "1 year"}'$$, $$1, '{"schedule": "never", "project": "SCH"}'$$,
    $$1, '{"schedule": "monthly", "project": "none"}'$$, $$1, '{"schedule": "monthly", "keep": "so long"}'$$, $$1, '{"schedule": "monthly", "project": "SCH", "options": {"cutoff": 1}}'$$]) arguments;
SELECT clinical.run_schedule_elsewhere(:a, '{"project": "SCH", "schedule": "quarterly", "options": {"by": ["arm"]}}');
SELECT clinical.run_schedule_elsewhere(:a, '{"project": "SCH", "schedule": "quarterly", "options": {"by": ["arm"]}}');
SELECT count(*), min(kind), min(role_name), min(status) FROM clinical.report_schedule;
-- which says nothing new of what is known
BEGIN;
SET LOCAL cron.database_name = 'elsewhere';
SELECT clinical.schedule_report('SCH', 'quarterly', '{"by": ["arm"]}') = :a AS same;
COMMIT;
-- nor is it another's to run, or to see
RESET ROLE;
SELECT test.try(format('SELECT clinical.run_schedule(%s)', :a)) ~ '^P0002 job not found' AS hidden;
SET ROLE regress_clinical_jill;
SELECT count(*) FROM clinical.scheduled_job;
SELECT test.try(format('SELECT clinical.unschedule_report(%s)', :a)) ~ '^P0002 job not found' AS hidden;
SELECT test.try(format('SELECT clinical.run_schedule(%s)', :a)) ~ '^P0002 job not found' AS hidden;
RESET ROLE;
SET ROLE clinical_auditor;
SELECT count(*) FROM clinical.scheduled_job;
SELECT test.try(format('SELECT clinical.unschedule_report(%s)', :a));
RESET ROLE;
-- another moment is for superusers' sessions
SET SESSION AUTHORIZATION regress_clinical_jane;
SELECT test.try(format('SELECT clinical.run_schedule(%s, %L)', :a, '2101-01-01'));
RESET SESSION AUTHORIZATION;

-- a stand-in that tells
BEGIN;
ALTER EVENT TRIGGER clinical_ddl DISABLE;
CREATE OR REPLACE FUNCTION clinical.request_report(project_code text, period daterange, options jsonb DEFAULT '{}') RETURNS uuid LANGUAGE plpgsql AS $$
BEGIN
    IF options ? 'by' AND options #>> '{by,0}' = 'fail' THEN
        RAISE EXCEPTION USING ERRCODE = 'ZZZZZ', MESSAGE = 'made to fail';
    ELSIF options #>> '{by,0}' = 'cancel' THEN
        RAISE query_canceled;
    END IF;
    RAISE NOTICE '% % % as %, in a session of %', project_code, period, options, current_user, CASE session_user WHEN current_user THEN 'its own' ELSE 'another' END;
    RETURN '7e000000-0000-0000-0000-000000000000';
END
$$;
SET ROLE regress_clinical_jane;
SELECT clinical.run_schedule(:a, '2101-01-01 00:59:59+00');
SELECT clinical.run_schedule(:a, '2101-01-01 00:59:59+00');
SELECT clinical.run_schedule(:a, '2101-01-01 01:00:00+00');
SELECT clinical.run_schedule(:a, '2101-01-01 02:00:00+00');
SELECT clinical.run_schedule(:a, '2100-12-31 00:00:00+00');
-- the server was down for days
SELECT clinical.run_schedule(:a, '2101-04-20 12:00:00+00');
SELECT clinical.run_schedule(:a, '2101-06-30 22:30:00+00');
SELECT project, schedule, unit, options, role, next_due_at > now() AS due_later, last_run_at, last_period, report_id, failure, failed_at, problem FROM clinical.scheduled_job WHERE job_id = :a;
-- a project that moves does not have its report twice
RESET ROLE;
UPDATE clinical.project SET time_zone = 'America/New_York' WHERE code = 'SCH';
SET ROLE regress_clinical_jane;
SELECT clinical.run_schedule(:a, '2101-04-20 13:00:00+00');
SELECT clinical.run_schedule(:a, '2101-07-01 05:30:00+00');
SELECT clinical.run_schedule(:a, '2101-07-01 06:00:00+00');
-- an expression: each time, but not twice in a minute
SELECT clinical.run_schedule_elsewhere(:b, '{"project": "SCH", "schedule": "0 5 10 * *", "options": {"period": "month", "by": ["sex"]}}');
SELECT clinical.run_schedule(:b, '2101-01-10 05:00:01+00');
SELECT clinical.run_schedule(:b, '2101-01-10 05:00:59+00');
SELECT clinical.run_schedule(:b, '2101-01-10 05:01:00+00');
-- what fails is noted, and tried again each time; for the same reason it is noted once
SELECT clinical.run_schedule_elsewhere(:c, '{"project": "SCH", "schedule": "monthly", "options": {"by": ["fail"]}}');
SELECT clinical.run_schedule(:c, '2101-01-01 07:00:00+00');
SELECT clinical.run_schedule(:c, '2101-01-01 08:00:00+00');
SELECT last_run_at, last_period, report_id, failure, failed_at, problem FROM clinical.scheduled_job WHERE job_id = :c;
RESET ROLE;
SELECT operation, c ->> 'column' AS changed, c ->> 'new' AS new, a.role FROM clinical.audit_record a, jsonb_array_elements(changes) c
 WHERE table_name = 'report_schedule' AND row_key = jsonb_build_object('id', :c) AND operation = 'UPDATE' ORDER BY a.id, 2;
CREATE OR REPLACE FUNCTION clinical.request_report(project_code text, period daterange, options jsonb DEFAULT '{}') RETURNS uuid LANGUAGE sql AS $$
    SELECT '7e000000-0000-0000-0000-000000000001'::uuid $$;
SET ROLE regress_clinical_jane;
SELECT clinical.run_schedule(:c, '2101-01-03 08:00:00+00');
SELECT last_run_at, last_period, report_id, failure, failed_at, problem FROM clinical.scheduled_job WHERE job_id = :c;
-- the right to it is gone
RESET ROLE;
REVOKE EXECUTE ON FUNCTION clinical.request_report FROM clinical_statistician;
SET ROLE regress_clinical_jane;
SELECT clinical.run_schedule(:c, '2101-02-01 08:00:00+00');
SELECT last_run_at, last_period, report_id, failure, failed_at, problem FROM clinical.scheduled_job WHERE job_id = :c;
-- what is cancelled is not noted, and done by the next call
RESET ROLE;
GRANT EXECUTE ON FUNCTION clinical.request_report TO clinical_statistician;
CREATE OR REPLACE FUNCTION clinical.request_report(project_code text, period daterange, options jsonb DEFAULT '{}') RETURNS uuid LANGUAGE plpgsql AS $$
    BEGIN RAISE query_canceled; END $$;
SET ROLE regress_clinical_jane;
\set VERBOSITY sqlstate
SAVEPOINT cancelled;
SELECT clinical.run_schedule(:a, '2101-11-01 08:00:00+00');
ROLLBACK TO cancelled;
\set VERBOSITY default
SELECT last_run_at, failure FROM clinical.scheduled_job WHERE job_id = :a;
-- retention
RESET ROLE;
CREATE OR REPLACE FUNCTION clinical.purge_reports(keep interval) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'keep % as %', keep, current_user; RETURN 0; END $$;
GRANT clinical_admin TO regress_clinical_jill;
SET ROLE regress_clinical_jill;
SELECT clinical.run_schedule_elsewhere(:d, '{"schedule": "monthly", "keep": "2 years"}');
SELECT clinical.run_schedule(:d, '2101-01-01 01:59+00'), clinical.run_schedule(:d, '2101-01-01 02:00+00'), clinical.run_schedule(:d, '2101-01-01 03:00+00');
SELECT kind, project, schedule, keep, role, last_run_at, last_period, failure FROM clinical.scheduled_job WHERE job_id = :d;
ROLLBACK;

-- === ending ===
SET ROLE regress_clinical_jane;
BEGIN;
SET LOCAL cron.database_name = 'elsewhere';
SELECT clinical.unschedule_report(:a) = :a AS ended;
SELECT test.try(format('SELECT clinical.unschedule_report(%s)', :a));
SELECT count(*) FROM clinical.scheduled_job;
SELECT status, ended_by = SESSION_USER AS by_us, end_reason FROM clinical.report_schedule;
-- it is called on, without effect; and does not come back
SELECT clinical.run_schedule_elsewhere(:a, '{"project": "SCH", "schedule": "quarterly", "options": {"by": ["arm"]}}');
ROLLBACK;
-- by an administrator, who is not the one who scheduled it
RESET ROLE;
BEGIN;
SET LOCAL ROLE clinical_admin;
SELECT clinical.unschedule_report(:a) = :a AS ended;
ROLLBACK;
-- a project that is closed has no more reports
BEGIN;
SELECT count(clinical.set_project_status('SCH', 'suspended', 'over')), count(clinical.set_project_status('SCH', 'closed', 'over'));
SET LOCAL ROLE regress_clinical_jane;
SELECT problem FROM clinical.scheduled_job;
SELECT test.try($$SELECT clinical.schedule_report('SCH', 'quarterly')$$);
SELECT clinical.run_schedule(:a), clinical.run_schedule(:a);
SELECT status, end_reason FROM clinical.report_schedule;
ROLLBACK;
-- a role that may not log in any more, has another name, or is gone
BEGIN;
ALTER ROLE regress_clinical_jane NOLOGIN;
SELECT problem FROM clinical.scheduled_job;
ALTER ROLE regress_clinical_jane LOGIN;
SELECT problem FROM clinical.scheduled_job;
ALTER ROLE regress_clinical_jane RENAME TO regress_clinical_june;
SELECT problem FROM clinical.scheduled_job;
SELECT invariant, replace(object, :'a', '(n)') AS object, detail FROM clinical.check() WHERE invariant ~ '^job';
ROLLBACK;

-- nobody writes jobs
SELECT test.try($$INSERT INTO clinical.report_schedule (kind, project_id, schedule, unit, options, role, role_name, status, recorded_at, recorded_by) SELECT 'report', 1, 'monthly', 'month', '{}', 'postgres', 'postgres', 'active', now(), 'x'$$),
       test.try($$UPDATE clinical.report_schedule SET schedule = 'monthly'$$), test.try($$DELETE FROM clinical.report_schedule$$);
SELECT split_part(test.try($$TRUNCATE clinical.report_schedule$$), E'\n', 1);
-- what the tests after this need no more
SET ROLE regress_clinical_jane;
SET client_min_messages = warning;
SELECT clinical.unschedule_report(:a) = :a AS ended;
RESET ROLE;
