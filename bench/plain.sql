-- plain.sql: a table of the same columns and indexes as clinical.patient, with the same
-- rows, but without foreign keys, checks, triggers and histories.

CREATE TABLE bench.patient (LIKE clinical.patient INCLUDING INDEXES);
-- what the extension fills in by a trigger
ALTER TABLE bench.patient ALTER record_version SET DEFAULT 1, ALTER created_at SET DEFAULT clock_timestamp();
INSERT INTO bench.patient SELECT * FROM clinical.patient;
VACUUM (FREEZE, ANALYZE) bench.patient;
CHECKPOINT;
