-- intake_triggered.sql: switches on again what intake_untriggered.sql switched off.
SELECT format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', relation, name) FROM bench.guards \gexec
ALTER EVENT TRIGGER clinical_ddl ENABLE ALWAYS;
ALTER DATABASE :"database" RESET session_replication_role;
