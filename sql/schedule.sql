-- schedule: reports and retention at their times, started by pg_cron.

-- --- jobs -------------------------------------------------------------------------------------

CREATE TABLE clinical.report_schedule (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('report', 'retention')),
    project_id  bigint REFERENCES clinical.project (id),
    schedule    text NOT NULL,
    unit        text NOT NULL CHECK (unit IN ('quarter', 'month')),
    options     jsonb NOT NULL,
    keep        interval,
    role        regrole NOT NULL,
    role_name   name NOT NULL,
    status      text NOT NULL,
    done_until  date,
    last_run_at timestamptz,
    last_period daterange,
    report_id   uuid,
    failure     text,
    failed_at   timestamptz,
    ended_at    timestamptz,
    ended_by    name,
    end_reason  text,
    recorded_at timestamptz NOT NULL,
    recorded_by name NOT NULL,
    actor       text,
    CHECK ((kind = 'report') = (project_id IS NOT NULL) AND (kind = 'retention') = (keep IS NOT NULL))
);
CREATE INDEX report_schedule_project_id_idx ON clinical.report_schedule (project_id);
-- a role schedules the same thing once
CREATE UNIQUE INDEX report_schedule_same_idx ON clinical.report_schedule
        (role, kind, project_id, schedule, pg_catalog.md5(options::text), keep) NULLS NOT DISTINCT
    WHERE status OPERATOR(pg_catalog.=) 'active' AND role::oid OPERATOR(pg_catalog.<>) 0::oid;
COMMENT ON TABLE clinical.report_schedule IS 'What is to be done at its times, as the role that scheduled it, and how it went last. Written by the server; nothing is deleted.';
COMMENT ON COLUMN clinical.report_schedule.schedule IS 'quarterly, monthly, or a cron expression (GMT).';
COMMENT ON COLUMN clinical.report_schedule.unit IS 'The report is of the last full one.';
COMMENT ON COLUMN clinical.report_schedule.keep IS 'Of retention: reports are kept for so long.';
COMMENT ON COLUMN clinical.report_schedule.role_name IS 'What the role was called when this was scheduled, which is the name that pg_cron has. A restored row whose role is called otherwise is nobody''s.';
COMMENT ON COLUMN clinical.report_schedule.status IS 'active -> ended.';
COMMENT ON COLUMN clinical.report_schedule.done_until IS 'Of quarterly and monthly: what became due with this day or an earlier one is done, or was due before it was scheduled.';
COMMENT ON COLUMN clinical.report_schedule.last_run_at IS 'When something was last done, or first failed for this reason.';
COMMENT ON COLUMN clinical.report_schedule.report_id IS 'The report that the last run asked for.';
COMMENT ON COLUMN clinical.report_schedule.failure IS 'SQLSTATE of the last run; NULL: it went well. failed_at: since when.';
COMMENT ON COLUMN clinical.report_schedule.end_reason IS 'unscheduled, or project closed.';
SELECT pg_catalog.pg_extension_config_dump('clinical.report_schedule', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.report_schedule_id_seq', '');

CREATE FUNCTION clinical.report_schedule_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_report_schedule_check';
COMMENT ON FUNCTION clinical.report_schedule_check() IS
'Trigger: nobody but the server schedules, and what was scheduled does not change. SQLSTATE: 55000.';

CREATE TRIGGER report_schedule_check BEFORE INSERT OR UPDATE OR DELETE ON clinical.report_schedule
    FOR EACH ROW EXECUTE FUNCTION clinical.report_schedule_check();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.report_schedule
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.report_schedule
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.report_schedule ENABLE ALWAYS TRIGGER report_schedule_check, ENABLE ALWAYS TRIGGER audit,
    ENABLE ALWAYS TRIGGER audit_truncate;

-- --- times ------------------------------------------------------------------------------------

-- By moments and not by the clock on the wall: where 02:00 is left out or comes twice, there is
-- one moment all the same, and what is due stays due.
CREATE FUNCTION clinical.schedule_due(unit text, time_zone text, at timestamptz,
    OUT first_day date, OUT end_day date, OUT due_at timestamptz, OUT next_due_at timestamptz) RETURNS record
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT (e.end_day - u.step)::date, e.end_day, pg_catalog.timezone(time_zone, e.end_day + interval '2 hours'),
           pg_catalog.timezone(time_zone, e.end_day + u.step + interval '2 hours')
      FROM (SELECT CASE unit WHEN 'quarter' THEN interval '3 months' ELSE interval '1 month' END AS step,
                   pg_catalog.date_trunc(unit, pg_catalog.timezone(time_zone, at)) AS began) u
     CROSS JOIN LATERAL (
           SELECT CASE WHEN pg_catalog.timezone(time_zone, u.began + interval '2 hours') <= at THEN u.began::date
                       ELSE (u.began - u.step)::date END AS end_day) e;
END;
COMMENT ON FUNCTION clinical.schedule_due(text, text, timestamptz) IS
'The last full quarter or month whose report is due at a moment, [first_day, end_day), since when: local time passed 02:00 on the first day after it; and when the next one is. SQLSTATE: 22023 no such unit or time zone.';

-- Each hour, at a minute of its own: an hour in which the server was down, or a change of the
-- clocks, costs an hour at most.
CREATE FUNCTION clinical.schedule_entry(job_id bigint, OUT name text, OUT expression text, OUT command text,
    OUT statement text, OUT end_statement text, OUT forget_statement text, OUT role_name text) RETURNS record
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT e.name, e.expression, pg_catalog.format('SELECT clinical.run_schedule(%s)', s.id),
           pg_catalog.format('SELECT cron.schedule_in_database(%L, %L, %L, %L, %L)', e.name_elsewhere, e.expression,
               pg_catalog.format('SELECT clinical.run_schedule_elsewhere(%s, %L)', s.id,
                   pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('project', p.code, 'schedule', s.schedule,
                       'options', CASE s.kind WHEN 'report' THEN s.options END, 'keep', s.keep))),
               pg_catalog.current_database(), s.role_name),
           pg_catalog.format('SELECT cron.unschedule(jobid) FROM cron.job WHERE jobname = %L AND username = %L', e.name_elsewhere::name, s.role_name),
           pg_catalog.format('DELETE FROM cron.job WHERE username = %L', s.role_name), s.role_name::text
      FROM clinical.report_schedule s
      LEFT JOIN clinical.project p ON p.id = s.project_id
     CROSS JOIN LATERAL (
           SELECT pg_catalog.concat('clinical job ', s.id) AS name,
                  pg_catalog.concat('clinical job ', s.id, ' of ', pg_catalog.current_database()) AS name_elsewhere,
                  CASE WHEN s.schedule IN ('quarterly', 'monthly') THEN pg_catalog.concat(s.id % 60, ' * * * *')
                       ELSE s.schedule END AS expression) e
     WHERE s.id = job_id;
END;
COMMENT ON FUNCTION clinical.schedule_entry(bigint) IS
'What pg_cron is told of a job: name, cron expression and command; and, if it is in another database, the statements that tell it there, and make it forget; that for a role that is gone; and the role. For the extension itself. SQLSTATE: none of its own.';

-- --- functions --------------------------------------------------------------------------------

CREATE FUNCTION clinical.schedule_report(project_code text, schedule text, options jsonb DEFAULT '{}') RETURNS bigint
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_schedule_report';
COMMENT ON FUNCTION clinical.schedule_report(text, text, jsonb) IS
'Has the report of a project''s last full quarter or month made each time, by request_report, as the current role; gives the job''s number, of what is scheduled already the one that it has. schedule: quarterly or monthly (once, when local time of the project has passed 02:00 on the first day after it), or a cron expression of five fields in GMT (each time it says). options: those of request_report but for cutoff, and period (quarter, which is the default, or month) with a cron expression. SQLSTATE: 22023 an argument missing or malformed; P0002 project not found; 55000 the project is closed, the role may not log in, or pg_cron is missing or in another database (the hint says what to do); 42501 no right to use pg_cron.';

CREATE FUNCTION clinical.schedule_retention(schedule text, keep interval) RETURNS bigint
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_schedule_retention';
COMMENT ON FUNCTION clinical.schedule_retention(text, interval) IS
'Has old reports removed each time, by purge_reports(keep), as the current role; gives the job''s number. schedule: as of schedule_report, in UTC. SQLSTATE: 22023 an argument missing or malformed; 55000 the role may not log in, or pg_cron is missing or in another database (the hint says what to do); 42501 no right to use pg_cron.';

CREATE FUNCTION clinical.unschedule_report(job_id bigint) RETURNS bigint
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_unschedule_report';
COMMENT ON FUNCTION clinical.unschedule_report(bigint) IS
'Ends a job of schedule_report or schedule_retention, and removes it from pg_cron; gives its number. By the role that scheduled it, who has its rights, or an administrator: then what pg_cron has goes when it next runs. SQLSTATE: 22023 job id is required; P0002 job not found; 42501 it is another''s; 55000 it has ended.';

CREATE FUNCTION clinical.run_schedule(job_id bigint, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_run_schedule';
COMMENT ON FUNCTION clinical.run_schedule(bigint, timestamptz) IS
'What pg_cron calls, as the role that scheduled the job: does what is due and was not done yet, and says what became of it: done, not due, ended, or failed with an SQLSTATE, which scheduled_job shows and which is tried again at the next call. at: another moment than now, in sessions of superusers (for tests). SQLSTATE: 22023 job id is required; P0002 job not found, or another role''s; 42501 at is not for the caller.';

CREATE FUNCTION clinical.run_schedule_elsewhere(job_id bigint, job jsonb) RETURNS text
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_run_schedule_elsewhere';
COMMENT ON FUNCTION clinical.run_schedule_elsewhere(bigint, jsonb) IS
'The same as run_schedule, for a pg_cron in another database, which has the job (project, schedule, options; or schedule, keep) from the hint of schedule_report or schedule_retention: the first call makes it known here. SQLSTATE: as of these and of run_schedule; 22023 job malformed, or its number was not given out.';

CREATE VIEW clinical.scheduled_job WITH (security_invoker = true) AS
    SELECT s.id AS job_id, s.kind, p.code AS project, s.schedule, s.unit, s.options, s.keep, s.role_name AS role,
           CASE WHEN s.schedule OPERATOR(pg_catalog.=) ANY (ARRAY['quarterly', 'monthly']) THEN d.next_due_at END AS next_due_at,
           s.last_run_at, s.last_period, s.report_id, s.failure, s.failed_at,
           CASE WHEN pg_catalog.pg_get_userbyid(s.role) OPERATOR(pg_catalog.<>) s.role_name THEN 'the role was dropped, renamed or not restored'
                WHEN NOT r.rolcanlogin THEN 'the role may not log in'
                WHEN p.status OPERATOR(pg_catalog.=) 'closed' THEN 'the project is closed'
                WHEN s.failure OPERATOR(pg_catalog.=) '42501'
                  OR NOT (pg_catalog.has_schema_privilege(s.role::oid, 'clinical', 'USAGE') AND pg_catalog.has_function_privilege(s.role::oid,
                          'clinical.run_schedule(bigint,timestamptz)'::pg_catalog.regprocedure, 'EXECUTE')) THEN 'the role lacks a right'
                WHEN s.failure OPERATOR(pg_catalog.=) 'P0002' THEN 'the role sees no such project'
                WHEN s.failure IS NOT NULL THEN 'the last run failed' END AS problem,
           s.recorded_at
      FROM clinical.report_schedule s
      LEFT JOIN clinical.project p ON p.id OPERATOR(pg_catalog.=) s.project_id
      LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) s.role
      LEFT JOIN LATERAL clinical.schedule_due(s.unit, CASE s.kind WHEN 'report' THEN p.time_zone ELSE 'UTC' END, pg_catalog.now()) d ON true
     WHERE s.status OPERATOR(pg_catalog.=) 'active';
COMMENT ON VIEW clinical.scheduled_job IS 'What is scheduled, when it is due next, how it went last, and why it will not go well, if that is known. Roles see what they scheduled, administrators and auditors all.';

-- --- rights -----------------------------------------------------------------------------------

ALTER TABLE clinical.report_schedule ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON clinical.report_schedule TO clinical_owner USING (true);
CREATE POLICY admin ON clinical.report_schedule FOR SELECT TO clinical_admin USING (true);
CREATE POLICY auditor ON clinical.report_schedule FOR SELECT TO clinical_auditor USING (true);
CREATE POLICY own ON clinical.report_schedule FOR SELECT USING (pg_catalog.pg_has_role(role, 'USAGE'));

REVOKE ALL ON ALL TABLES IN SCHEMA clinical FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA clinical FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
GRANT SELECT ON clinical.report_schedule, clinical.scheduled_job
    TO clinical_admin, clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.schedule_due(text, text, timestamptz), clinical.unschedule_report(bigint),
    clinical.run_schedule(bigint, timestamptz), clinical.run_schedule_elsewhere(bigint, jsonb)
    TO clinical_admin, clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.schedule_report(text, text, jsonb)
    TO clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.schedule_retention(text, interval) TO clinical_admin;
