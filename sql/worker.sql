
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
                                       OUT started_at timestamp with time zone, OUT failures integer, OUT last_error text)
    RETURNS SETOF record
    LANGUAGE C STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_worker_states';
COMMENT ON FUNCTION clinical.worker_states() IS
'How it is with the background workers of this database; no row if the launcher has not seen the database. SQLSTATE: 55000 if the library was not preloaded.';

CREATE VIEW clinical.stat_worker WITH (security_invoker = true) AS
    SELECT s.database, s.state, s.kind, s.pid, s.started_at, s.failures, s.last_error FROM clinical.worker_states() s;
COMMENT ON VIEW clinical.stat_worker IS
'The background workers of this database: a row for the first one, be it there or not (kind first), one for each further one (kind further), and one for further ones that failed, until one has ended well. State (unknown, starting, running, absent, refused, stopped, failed), process and start, failures in a row, and the SQLSTATE of the last one if it is known.';

REVOKE ALL ON FUNCTION clinical.stop_workers(), clinical.start_workers(), clinical.worker_states() FROM PUBLIC;
REVOKE ALL ON clinical.stat_worker FROM PUBLIC;
GRANT EXECUTE ON FUNCTION clinical.stop_workers(), clinical.start_workers() TO clinical_admin;
GRANT EXECUTE ON FUNCTION clinical.worker_states() TO clinical_admin, clinical_auditor;
GRANT SELECT ON clinical.stat_worker TO clinical_admin, clinical_auditor;
