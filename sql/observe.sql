-- observe: what runs, for those who watch it: counted in shared memory, no table is read for it.

CREATE FUNCTION clinical.stat_times(OUT measure text, OUT reports bigint, OUT mean_ms double precision, OUT p50_ms double precision,
    OUT p95_ms double precision, OUT p99_ms double precision, OUT max_ms double precision, OUT reset_at timestamptz)
    RETURNS SETOF record
    LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'clinical_stat_times';
COMMENT ON FUNCTION clinical.stat_times() IS
'How long reports waited and how long processing them took, see stat_processing. SQLSTATE: 55000 clinical is not in shared_preload_libraries; 53400 there are more databases than clinical.max_databases.';

CREATE FUNCTION clinical.stat_projects(OUT kind text, OUT project text,
    OUT accepted bigint, OUT duplicate bigint, OUT conflict bigint, OUT quarantined bigint, OUT requeued bigint, OUT withdrawn bigint,
    OUT opened_info bigint, OUT opened_warning bigint, OUT opened_serious bigint, OUT opened_critical bigint,
    OUT acknowledged bigint, OUT closed bigint, OUT retracted bigint, OUT escalated bigint,
    OUT done bigint, OUT failed bigint, OUT cancelled_request bigint, OUT cancelled_time_limit bigint, OUT cancelled_client_gone bigint,
    OUT ended bigint, OUT done_ms bigint, OUT reset_at timestamptz)
    RETURNS SETOF record
    LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'clinical_stat_projects';
COMMENT ON FUNCTION clinical.stat_projects() IS
'What is counted of the projects that the caller may see, see stat_intake_project, stat_alert and stat_report. Members of pg_monitor see all. SQLSTATE: 55000 clinical is not in shared_preload_libraries; 53400 there are more databases than clinical.max_databases.';

CREATE FUNCTION clinical.stat_reset() RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_stat_reset';
COMMENT ON FUNCTION clinical.stat_reset() IS
'Sets what is counted of this database back to zero, at once, whatever becomes of the transaction. SQLSTATE: 55000 clinical is not in shared_preload_libraries; 53400 there are more databases than clinical.max_databases.';

CREATE VIEW clinical.stat_processing WITH (security_invoker = true) AS
    SELECT t.measure, t.reports, t.mean_ms, t.p50_ms, t.p95_ms, t.p99_ms, t.max_ms, t.reset_at FROM clinical.stat_times() t;
COMMENT ON VIEW clinical.stat_processing IS 'How long reports took in this database since reset_at, in milliseconds: a row for waiting, from when they were received to when their batch began, and one for processing, their part of the batch. What was put back from quarantine counts for processing alone. NULL: there was none.';
COMMENT ON COLUMN clinical.stat_processing.p50_ms IS 'So long or less took half of them; p95_ms, p99_ms: 95 and 99 percent. Off by 1/32 at most.';

CREATE VIEW clinical.stat_intake_project WITH (security_invoker = true) AS
    SELECT c.kind, c.project, c.accepted, c.duplicate, c.conflict, c.quarantined, c.requeued, c.withdrawn, c.reset_at
      FROM clinical.stat_projects() c;
COMMENT ON VIEW clinical.stat_intake_project IS 'What became of reports since reset_at, by project: those that the reader may see and of which anything is counted.';
COMMENT ON COLUMN clinical.stat_intake_project.kind IS 'project: one by its code; unknown: the patients are not known; other: all projects beyond the first 128 that were counted, and those that are no more. The latter two are for who sees all.';
COMMENT ON COLUMN clinical.stat_intake_project.quarantined IS 'Each time that a report was put into quarantine; requeued: each time that one was put back.';
COMMENT ON COLUMN clinical.stat_intake_project.accepted IS 'Reports that were accepted; withdrawn: so many of them were withdrawn.';

CREATE VIEW clinical.stat_alert WITH (security_invoker = true) AS
    SELECT c.kind, c.project, c.opened_info, c.opened_warning, c.opened_serious, c.opened_critical, c.acknowledged, c.closed,
           c.retracted, c.escalated, c.reset_at
      FROM clinical.stat_projects() c;
COMMENT ON VIEW clinical.stat_alert IS 'What happened to alerts since reset_at, by project as stat_intake_project: as many events as alert_event has of each kind; those opened by severity.';

CREATE VIEW clinical.stat_report WITH (security_invoker = true) AS
    SELECT c.kind, c.project, c.done, c.failed, c.cancelled_request, c.cancelled_time_limit, c.cancelled_client_gone, c.ended,
           CASE WHEN c.done OPERATOR(pg_catalog.>) 0
                THEN c.done_ms::pg_catalog.float8 OPERATOR(pg_catalog./) c.done::pg_catalog.float8 OPERATOR(pg_catalog./) 1000::pg_catalog.float8
           END AS mean_seconds,
           c.reset_at
      FROM clinical.stat_projects() c;
COMMENT ON VIEW clinical.stat_report IS 'Project reports since reset_at, by project as stat_intake_project: made by generate_report or by a job, and how the others ended.';
COMMENT ON COLUMN clinical.stat_report.cancelled_request IS 'By pg_cancel_backend or cancel_report.';
COMMENT ON COLUMN clinical.stat_report.cancelled_time_limit IS 'By statement_timeout or another limit of time.';
COMMENT ON COLUMN clinical.stat_report.cancelled_client_gone IS 'The connection was lost, as client_connection_check_interval finds.';
COMMENT ON COLUMN clinical.stat_report.ended IS 'The session or the server was ended.';
COMMENT ON COLUMN clinical.stat_report.mean_seconds IS 'That those took that were done; NULL: there was none.';

REVOKE ALL ON FUNCTION clinical.stat_times(), clinical.stat_projects(), clinical.stat_reset() FROM PUBLIC;
REVOKE ALL ON clinical.stat_processing, clinical.stat_intake_project, clinical.stat_alert, clinical.stat_report FROM PUBLIC;
-- pg_monitor is PostgreSQL's role for those who watch servers
GRANT USAGE ON SCHEMA clinical TO pg_monitor;
GRANT EXECUTE ON FUNCTION clinical.intake_counts(), clinical.worker_states() TO pg_monitor;
GRANT SELECT ON clinical.stat_intake, clinical.stat_worker TO pg_monitor;
GRANT EXECUTE ON FUNCTION clinical.stat_times(), clinical.stat_projects()
    TO clinical_admin, clinical_data_manager, clinical_auditor, pg_monitor;
GRANT SELECT ON clinical.stat_processing, clinical.stat_intake_project, clinical.stat_alert, clinical.stat_report
    TO clinical_admin, clinical_data_manager, clinical_auditor, pg_monitor;
GRANT EXECUTE ON FUNCTION clinical.stat_reset() TO clinical_admin;

-- What an extension of this name that was here before has counted is not ours.  Without shared_preload_libraries
-- there is nothing to set back.
DO LANGUAGE plpgsql $$
BEGIN
    PERFORM clinical.stat_reset();
EXCEPTION
    WHEN object_not_in_prerequisite_state OR configuration_limit_exceeded THEN NULL;
END
$$;
