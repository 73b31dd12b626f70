-- intake_untriggered.sql: switches off what checks, guards and records reports in this database,
-- so that a superuser can store them by hand.  bench.guards keeps what was on, to switch it on again.
ALTER EVENT TRIGGER clinical_ddl DISABLE;
CREATE TABLE bench.guards AS
    SELECT tgrelid::regclass::text AS relation, tgname AS name FROM pg_trigger
     WHERE tgrelid IN ('clinical.submission'::regclass, 'clinical.observation'::regclass, 'clinical.audit_record'::regclass) AND tgenabled = 'A';
SELECT format('ALTER TABLE %s DISABLE TRIGGER %I', relation, name) FROM bench.guards \gexec
-- foreign keys, and what else is not ALWAYS
ALTER DATABASE :"database" SET session_replication_role = replica;
