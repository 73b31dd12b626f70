-- worker: what SQL sees of the background workers, in a server that has the library preloaded.
-- Their life is in test/t/011_worker.pl and after.
CREATE FUNCTION test.worker_becomes(wanted text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 1000 LOOP
        IF (SELECT state FROM clinical.stat_worker WHERE kind = 'first') = wanted THEN RETURN 'yes'; END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN (SELECT state FROM clinical.stat_worker WHERE kind = 'first');
END
$$;

-- the role that workers run as
SELECT rolsuper, rolbypassrls, rolcreatedb, rolcreaterole, rolreplication, rolcanlogin, rolconnlimit
  FROM pg_roles WHERE rolname = 'clinical_worker';
SELECT has_schema_privilege('clinical_worker', 'clinical', 'USAGE') AS usage, has_schema_privilege('clinical_worker', 'clinical', 'CREATE') AS "create";

-- CREATE EXTENSION brought a worker
SELECT test.worker_becomes('running');
SELECT s.database = current_database() AS here, s.kind, s.started_at <= now() AS started, s.failures, s.last_error,
       a.backend_type, a.usename, a.application_name, a.xact_start
  FROM clinical.stat_worker s JOIN pg_stat_activity a USING (pid);

-- stopped and started, whatever becomes of the transaction
BEGIN;
SELECT clinical.stop_workers();
ROLLBACK;
SELECT state, kind, pid, started_at, failures, last_error FROM clinical.stat_worker;
SELECT activity, since, lane, lanes, batch, done, reports, failed, restarts >= 0 AS restarts FROM clinical.stat_worker;
SELECT restarts FROM clinical.stat_worker \gset
SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'clinical worker' AND datname = current_database();
SELECT clinical.stop_workers();
SELECT clinical.start_workers();
SELECT test.worker_becomes('running');
SELECT since BETWEEN started_at AND clock_timestamp() AS since, lane, lanes, batch, done >= 0 AS done, reports, failed, restarts - :restarts AS restarts
  FROM clinical.stat_worker;
SELECT clinical.start_workers();

-- who may
CREATE ROLE regress_clinical_joe;
GRANT USAGE ON SCHEMA clinical TO regress_clinical_joe;
GRANT USAGE ON SCHEMA test TO regress_clinical_joe;
SET ROLE regress_clinical_joe;
SELECT test.try('SELECT clinical.stop_workers()');
SELECT test.try('SELECT clinical.start_workers()');
SELECT test.try('SELECT clinical.worker_states()');
SELECT test.try('SELECT state FROM clinical.stat_worker');
RESET ROLE;
GRANT EXECUTE ON FUNCTION clinical.stop_workers(), clinical.start_workers(), clinical.worker_states() TO regress_clinical_joe;
GRANT SELECT ON clinical.stat_worker TO regress_clinical_joe;
SET ROLE regress_clinical_joe;
SELECT clinical.stop_workers(), clinical.start_workers(), count(*) FROM clinical.stat_worker GROUP BY 1, 2;
RESET ROLE;
SELECT test.worker_becomes('running');
DROP OWNED BY regress_clinical_joe;
DROP ROLE regress_clinical_joe;
