
-- worker: background workers, one in each database that has the extension, and further ones where there is work.

CREATE FUNCTION clinical.stop_workers() RETURNS boolean
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_stop_workers';
COMMENT ON FUNCTION clinical.stop_workers() IS
'Stops the background workers of this database, waits until they are gone, and lets none run until start_workers() or the next start of the server. At once, whatever becomes of the transaction. True if workers were allowed until now. SQLSTATE: 55000 if the library was not preloaded, or a worker did not end within 30 seconds; 53400 if there are more databases than clinical.max_databases; 25006 on a standby.';

CREATE FUNCTION clinical.start_workers() RETURNS boolean
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_start_workers';
COMMENT ON FUNCTION clinical.start_workers() IS
'Lets the background workers of this database run again after stop_workers(), or at once if one failed and they wait for that reason. At once, whatever becomes of the transaction. False if there was nothing to do. SQLSTATE: 55000 if the library was not preloaded; 25006 on a standby.';

CREATE FUNCTION clinical.worker_states(OUT database name, OUT state text, OUT kind text, OUT pid integer,
                                       OUT started_at timestamp with time zone, OUT failures integer, OUT last_error text,
                                       OUT activity text, OUT since timestamp with time zone, OUT lane integer, OUT lanes integer,
                                       OUT batch integer, OUT done bigint, OUT reports bigint, OUT failed bigint, OUT restarts integer)
    RETURNS SETOF record
    LANGUAGE C STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_worker_states';
COMMENT ON FUNCTION clinical.worker_states() IS
'How it is with the background workers of this database, see stat_worker; no row if the launcher has not seen the database. SQLSTATE: 55000 if the library was not preloaded.';

CREATE VIEW clinical.stat_worker WITH (security_invoker = true) AS
    SELECT s.database, s.state, s.kind, s.pid, s.started_at, s.failures, s.last_error, s.activity, s.since, s.lane, s.lanes, s.batch,
           s.done, s.reports, s.failed, s.restarts
      FROM clinical.worker_states() s;
COMMENT ON VIEW clinical.stat_worker IS
'The background workers of this database: a row for the first one, be it there or not (kind first), one for each further one (kind further), and one for further ones that failed, until one has ended well. State (unknown, starting, running, absent, refused, stopped, failed), process and start, failures in a row, and the SQLSTATE of the last one if it is known. What the process does and has done since it was started; NULL where there is none.';
COMMENT ON COLUMN clinical.stat_worker.activity IS 'The job that it does (intake, seal, reports, ...); NULL: it waits for work. What it does in that job says query in pg_stat_activity.';
COMMENT ON COLUMN clinical.stat_worker.since IS 'When it began the job; if it waits for work: when it last had some.';
COMMENT ON COLUMN clinical.stat_worker.lane IS 'The lane (0 to 63: a share of the patients) whose reports it has in hand, if it is a single one: then these patients have more than others.';
COMMENT ON COLUMN clinical.stat_worker.lanes IS 'How many lanes it has; no other worker processes reports of their patients until the batch is committed.';
COMMENT ON COLUMN clinical.stat_worker.batch IS 'The reports that it processes together now; 0: none.';
COMMENT ON COLUMN clinical.stat_worker.done IS 'How often it did a job and something came of it: batches of reports, and other jobs.';
COMMENT ON COLUMN clinical.stat_worker.reports IS 'The reports of its batches that were committed, those put off or put into quarantine included.';
COMMENT ON COLUMN clinical.stat_worker.failed IS 'Batches that failed and were tried again in parts, and project reports that failed. What ends the process counts in failures.';
COMMENT ON COLUMN clinical.stat_worker.restarts IS 'How often the first worker was started again since the server was started, for whatever reason; NULL: a further one.';

REVOKE ALL ON FUNCTION clinical.stop_workers(), clinical.start_workers(), clinical.worker_states() FROM PUBLIC;
REVOKE ALL ON clinical.stat_worker FROM PUBLIC;
GRANT EXECUTE ON FUNCTION clinical.stop_workers(), clinical.start_workers() TO clinical_admin;
GRANT EXECUTE ON FUNCTION clinical.worker_states() TO clinical_admin, clinical_auditor;
GRANT SELECT ON clinical.stat_worker TO clinical_admin, clinical_auditor;
