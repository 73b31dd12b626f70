-- report: what becomes of a project in a period: its figures, as a document, for people and as rows.

-- The patients that a report is about, with the labels it is split by.  Called by the extension
-- itself alone, as are all functions report_...: which centers the requester sees was decided before.
CREATE FUNCTION clinical.report_patient(project_id bigint, centers bigint[], split text[])
    RETURNS TABLE (patient_id text, center_id bigint, center text, "by" jsonb)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT p.id, p.center_id, coalesce(c.site_id, c.id::text),
           CASE WHEN cardinality(split) = 0 THEN '{}'::jsonb
                ELSE (SELECT jsonb_object_agg(k.key, CASE k.key WHEN 'center' THEN coalesce(c.site_id, c.id::text)
                                                                WHEN 'sex' THEN p.sex WHEN 'race' THEN p.race
                                                                ELSE p.record #>> string_to_array(k.key, '.') END)
                        FROM unnest(split) AS k(key)) END
      FROM clinical.patient p
      -- each has one; said so, those who do not ask for it are spared the join
      LEFT JOIN clinical.center c ON c.id = p.center_id
     WHERE p.project_id = report_patient.project_id AND p.center_id = ANY (centers)
$$;
COMMENT ON FUNCTION clinical.report_patient(bigint, bigint[], text[]) IS
'The patients of a project at some of its centers, with their labels of split. For the extension itself. SQLSTATE: none of its own.';

-- What there is to read, counted.
CREATE FUNCTION clinical.report_size(project_id bigint, centers bigint[])
    RETURNS TABLE (patients bigint, submissions bigint, observations bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT (SELECT count(*) FROM clinical.patient p
             WHERE p.project_id = report_size.project_id AND p.center_id = ANY (report_size.centers)),
           count(*), coalesce(sum(s.observations), 0)::bigint
      FROM clinical.submission s
     WHERE s.project_id = report_size.project_id
       AND EXISTS (SELECT FROM clinical.patient p WHERE p.id = s.patient_id AND p.center_id = ANY (report_size.centers))
$$;
COMMENT ON FUNCTION clinical.report_size(bigint, bigint[]) IS
'How many patients, reports and observations a report is about. For the extension itself. SQLSTATE: none of its own.';

-- facts: generated_by, all_centers, version, options, rows.
CREATE FUNCTION clinical.report_header(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz, facts jsonb)
    RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT jsonb_build_object(
               'project', jsonb_build_object('code', p.code, 'name', p.name, 'status', p.status, 'time_zone', p.time_zone),
               'period', jsonb_build_array(first_day, end_day),
               'cutoff', cut_off,
               'snapshot', pg_current_snapshot()::text,
               'generated_by', facts -> 'generated_by',
               'generated_at', statement_timestamp(),
               'extension', jsonb_build_object('name', 'clinical', 'version', facts -> 'version'),
               'options', facts -> 'options',
               'rows', facts -> 'rows',
               'centers', (SELECT coalesce(jsonb_agg(coalesce(c.site_id, c.id::text) ORDER BY coalesce(c.site_id, c.id::text) COLLATE "C"), '[]')
                             FROM clinical.center c WHERE c.id = ANY (centers)),
               'all_centers', facts -> 'all_centers',
               'rules', (SELECT coalesce(jsonb_agg(jsonb_build_object('code', r.code, 'version', v.version, 'status', r.status) ORDER BY r.code), '[]')
                           FROM clinical.monitor_rule r
                           JOIN (SELECT n.rule_id, max(n.version) AS version FROM clinical.monitor_rule_version n
                                  WHERE n.recorded_at <= cut_off GROUP BY n.rule_id) v ON v.rule_id = r.id
                          WHERE r.project_id = p.id OR r.project_id IS NULL))
      FROM clinical.project p
     WHERE p.id = report_header.project_id
$$;
COMMENT ON FUNCTION clinical.report_header(bigint, bigint[], date, date, timestamptz, jsonb) IS
'The header of a report. For the extension itself. SQLSTATE: none of its own.';

-- --- in the caller's session ------------------------------------------------------------------

CREATE FUNCTION clinical.generate_report(project_code text, period daterange, options jsonb DEFAULT '{}') RETURNS jsonb
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_generate_report';
COMMENT ON FUNCTION clinical.generate_report(text, daterange, jsonb) IS
'The report of a project in a period: header, body (a key a section) and sha256 of the body''s text, as doc/report.md describes them. Of the patients of those of its centers that the caller may see. period: days in the project''s time zone, the last one not included. options: by, cutoff, sections, suppress_below. SQLSTATE: 22023 an argument missing, or an option unknown or malformed; 22007, 22008 cutoff is no time; P0002 project not found; 54000 split into more than 1000 groups of patients, or too many figures; 57014 cancelled.';

CREATE FUNCTION clinical.report_activity(OUT pid integer, OUT report_id uuid, OUT project_id bigint, OUT role oid, OUT phase text, OUT done bigint,
                                         OUT total bigint, OUT percent numeric, OUT started_at timestamptz, OUT estimated_end timestamptz)
    RETURNS SETOF record
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'clinical_report_activity';
COMMENT ON FUNCTION clinical.report_activity() IS
'The reports that are being made in this database: by jobs that the caller sees, and by sessions of roles whose rights it has (admins and auditors: all). done, total: rows of submission and observation. SQLSTATE: none of its own.';

-- --- jobs -------------------------------------------------------------------------------------

CREATE TABLE clinical.report_job (
    id           uuid PRIMARY KEY,
    project_id   bigint NOT NULL REFERENCES clinical.project (id),
    period       daterange NOT NULL,
    options      jsonb NOT NULL,
    centers      bigint[] NOT NULL,
    status       text NOT NULL,
    role         regrole NOT NULL,
    role_name    name NOT NULL,
    requested_at timestamptz NOT NULL,
    requested_by name NOT NULL,
    actor        text,
    attempts     integer NOT NULL,
    worker       integer,
    started_at   timestamptz,
    ended_at     timestamptz,
    cancelled_at timestamptz,
    cancelled_by name,
    detail       text,
    trace_parent text
);
CREATE INDEX report_job_project_idx ON clinical.report_job (project_id, requested_at);
CREATE INDEX report_job_open_idx ON clinical.report_job (requested_at, id)
    WHERE status OPERATOR(pg_catalog.=) 'queued' OR status OPERATOR(pg_catalog.=) 'running';
COMMENT ON TABLE clinical.report_job IS 'Reports that were asked for, to be made in the background. Written by the server alone.';
COMMENT ON COLUMN clinical.report_job.options IS 'All of them, in one form.';
COMMENT ON COLUMN clinical.report_job.centers IS 'Those that the role saw when it asked. The report is of those that it sees when it is made.';
COMMENT ON COLUMN clinical.report_job.status IS 'queued -> running -> done, failed, cancelled; queued -> cancelled. Running -> queued: its worker was lost.';
COMMENT ON COLUMN clinical.report_job.role IS 'With whose rights it is made; role_name is what the role was called then: one that is called otherwise has none.';
COMMENT ON COLUMN clinical.report_job.attempts IS 'How many times it was begun, at most 3.';
COMMENT ON COLUMN clinical.report_job.worker IS 'The process that makes it.';
COMMENT ON COLUMN clinical.report_job.cancelled_by IS 'NULL: by pg_cancel_backend, of which nobody knows who it was.';
COMMENT ON COLUMN clinical.report_job.trace_parent IS 'W3C Trace Context of the call.';
COMMENT ON COLUMN clinical.report_job.detail IS 'Why it failed: the SQLSTATE. 42501, 42704, P0002: the role may no longer have the report, is gone, sees no center of the project; 57P02: its worker was lost each time.';

CREATE TABLE clinical.report (
    id           uuid PRIMARY KEY REFERENCES clinical.report_job (id),
    project_id   bigint NOT NULL REFERENCES clinical.project (id),
    centers      bigint[] NOT NULL,
    document     jsonb NOT NULL,
    generated_at timestamptz NOT NULL
);
CREATE INDEX report_project_idx ON clinical.report (project_id, generated_at);
COMMENT ON TABLE clinical.report IS 'Reports that were made in the background; never changed. Who could have made one, of the same centers, may read it.';
COMMENT ON COLUMN clinical.report.id IS 'That of its job.';
COMMENT ON COLUMN clinical.report.centers IS 'The centers whose patients it is about.';
COMMENT ON COLUMN clinical.report.document IS 'As generate_report gives it.';
SELECT pg_catalog.pg_extension_config_dump('clinical.report_job', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.report', '');

CREATE FUNCTION clinical.report_job_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_report_job_check';
COMMENT ON FUNCTION clinical.report_job_check() IS
'Trigger: nobody but the server asks for reports and makes them; ways between their states. SQLSTATE: 55000.';
CREATE FUNCTION clinical.report_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_report_check';
COMMENT ON FUNCTION clinical.report_check() IS
'Trigger: nobody but the server stores reports and deletes them, and nobody changes one. SQLSTATE: 55000.';
CREATE TRIGGER report_job_check BEFORE INSERT OR UPDATE OR DELETE ON clinical.report_job
    FOR EACH ROW EXECUTE FUNCTION clinical.report_job_check();
CREATE TRIGGER report_check BEFORE INSERT OR UPDATE OR DELETE ON clinical.report
    FOR EACH ROW EXECUTE FUNCTION clinical.report_check();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.report_job
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.report_job
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.report
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('digest');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.report
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.report_job ENABLE ALWAYS TRIGGER report_job_check, ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;
ALTER TABLE clinical.report ENABLE ALWAYS TRIGGER report_check, ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;

CREATE FUNCTION clinical.request_report(project_code text, period daterange, options jsonb DEFAULT '{}') RETURNS uuid
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_request_report';
COMMENT ON FUNCTION clinical.request_report(text, daterange, jsonb) IS
'Asks for the report that generate_report would give, to be made by a background worker with the rights that the caller has then; returns the id of its row in report_job and, once it is done, in report. NOTIFY clinical_report tells the id when it has ended. options: as of generate_report; share_job: the same report that is queued or being made already, of the same centers, will do. SQLSTATE: 22023 an argument missing, or an option unknown or malformed; 22007, 22008 cutoff is no time; P0002 project not found; 55000 if the library was not preloaded; 25006 on a standby.';

CREATE FUNCTION clinical.cancel_report(report_id uuid) RETURNS text
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_cancel_report';
COMMENT ON FUNCTION clinical.cancel_report(uuid) IS
'A report that was asked for is not wanted any more; whoever makes it stops when the transaction commits. Returns its status: cancelled, or done or failed if it had ended. For who asked for it, and admins. SQLSTATE: 22023 report id is required; P0002 report not found; 42501 somebody else asked for it; 55000 if the library was not preloaded; 25006 on a standby.';

CREATE FUNCTION clinical.purge_reports(keep interval) RETURNS bigint
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_purge_reports';
COMMENT ON FUNCTION clinical.purge_reports(interval) IS
'Deletes the reports, and their jobs, that ended longer ago than that; returns how many. The audit trail keeps who asked for them, and their hashes. SQLSTATE: 22023 interval missing or negative; 25006 on a standby.';

CREATE FUNCTION clinical.report_lost(id uuid, attempts integer) RETURNS boolean
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_report_lost';
COMMENT ON FUNCTION clinical.report_lost(uuid, integer) IS
'Whether a job is seen to be run in that attempt, now, and nobody runs it; for check(). SQLSTATE: none of its own.';

CREATE VIEW clinical.report_progress WITH (security_invoker = true) AS
    SELECT j.id AS report_id, p.code AS project, j.period, j.status, a.phase, a.done, a.total,
           CASE j.status WHEN 'done' THEN 100.0 ELSE a.percent END AS percent,
           j.requested_at, j.started_at, a.estimated_end, j.ended_at, j.worker, j.role_name AS requested_by
      FROM clinical.report_job j
      JOIN clinical.project p ON p.id OPERATOR(pg_catalog.=) j.project_id
      LEFT JOIN clinical.report_activity() a ON a.report_id OPERATOR(pg_catalog.=) j.id AND j.status OPERATOR(pg_catalog.=) 'running'
    UNION ALL
    SELECT NULL, p.code, NULL, 'running', a.phase, a.done, a.total, a.percent, NULL, a.started_at, a.estimated_end, NULL, a.pid,
           pg_catalog.pg_get_userbyid(a.role)
      FROM clinical.report_activity() a
      JOIN clinical.project p ON p.id OPERATOR(pg_catalog.=) a.project_id
     WHERE a.report_id IS NULL;
COMMENT ON VIEW clinical.report_progress IS 'How far reports are: those that were asked for, and (report_id NULL) those that sessions are making.';
COMMENT ON COLUMN clinical.report_progress.done IS 'Rows of submission and observation that were read, of total; NULL: they are being counted.';
COMMENT ON COLUMN clinical.report_progress.percent IS 'Of the work, by what its phases take by experience; estimated_end goes by it.';

ALTER TABLE clinical.report_job ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.report ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON clinical.report_job TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.report TO clinical_owner USING (true);
CREATE POLICY admin ON clinical.report_job FOR SELECT TO clinical_admin USING (true);
-- A restored job whose role is called otherwise is nobody's.
CREATE POLICY own ON clinical.report_job FOR SELECT
    USING (pg_catalog.pg_has_role(role, 'USAGE') AND role_name OPERATOR(pg_catalog.=) pg_catalog.pg_get_userbyid(role));
-- Who sees all of these centers in the project could have made it, or one like it.
CREATE POLICY member ON clinical.report_job FOR SELECT
    USING (EXISTS (SELECT FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) report_job.project_id)
           AND NOT EXISTS (SELECT FROM pg_catalog.unnest(report_job.centers) c (id) WHERE NOT clinical.sees(report_job.project_id, c.id)));
CREATE POLICY member ON clinical.report FOR SELECT
    USING (EXISTS (SELECT FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) report.project_id)
           AND NOT EXISTS (SELECT FROM pg_catalog.unnest(report.centers) c (id) WHERE NOT clinical.sees(report.project_id, c.id)));

REVOKE ALL ON ALL TABLES IN SCHEMA clinical FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
GRANT EXECUTE ON FUNCTION clinical.generate_report(text, daterange, jsonb), clinical.request_report(text, daterange, jsonb)
    TO clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.cancel_report(uuid), clinical.report_activity()
    TO clinical_admin, clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.purge_reports(interval) TO clinical_admin;
GRANT EXECUTE ON FUNCTION clinical.report_lost(uuid, integer) TO clinical_auditor;
GRANT SELECT ON clinical.report TO clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT SELECT ON clinical.report_job, clinical.report_progress
    TO clinical_admin, clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
