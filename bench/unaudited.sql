-- unaudited.sql: run in a copy of the database, switches its trail off.
ALTER EVENT TRIGGER clinical_ddl DISABLE;
ALTER TABLE clinical.patient DISABLE TRIGGER audit;
ALTER TABLE clinical.record_version DISABLE TRIGGER audit;
