-- audit: what the trail has in it, who is in it, and what cannot be done to it
SET datestyle = ISO;
CREATE VIEW test.last_record AS
    SELECT login = SESSION_USER AS login, role, authenticated = SESSION_USER AS authenticated, actor, table_name, operation, row_key, patient_id, changes, reason
      FROM clinical.audit_record WHERE (generation, id) = (SELECT generation, max(id) FROM clinical.audit_record GROUP BY 1 ORDER BY 1 DESC LIMIT 1);
SELECT max(id) AS start FROM clinical.audit_record \gset

-- values as they were and are: columns, jsonb by path, NULL and back, the scale of numbers
SELECT id AS c FROM clinical.create_center('Audit', 'AUD', 'Europe/Zurich') \gset
SELECT id AS p FROM clinical.create_project_with_centers('Audit', ARRAY[:c], 'AUD') \gset
SELECT id FROM clinical.enroll_patient('AUD1', 'Ada', NULL, 'AUD', :c, '{"dose": 1.50, "arm": "A", "n": null, "list": [1, {"a": 1}], "deep": {"x": {"y": 1}}}', effective_on => '2026-01-10');
SELECT table_name, operation, patient_id, login = SESSION_USER AS login, role = CURRENT_USER AS role, reason
  FROM clinical.audit_record WHERE id > :start AND operation ~ '^(INSERT|UPDATE|DELETE)$' ORDER BY id;
SELECT jsonb_path_query(changes, '$[*] ? (@.column == "record" || @.column == "name" || @.column == "status_on")')
  FROM clinical.audit_record WHERE table_name = 'patient' AND id > :start;
SELECT clinical.amend_record('AUD1', '{"dose": 1.5, "arm": null, "n": 1, "list": [], "deep": {"x": {"y": {"z": true}}}, "": {"": 0}}', 'by path');
SELECT jsonb_path_query(changes, '$[*]') FROM clinical.audit_record WHERE table_name = 'patient' AND operation = 'UPDATE' AND id > :start;
SET clinical.reason = 'NULL and back';
UPDATE clinical.patient SET name = NULL, birth_date = '1950-02-03' WHERE id = 'AUD1';
SELECT operation, row_key, patient_id, changes, reason FROM test.last_record;
UPDATE clinical.patient SET name = 'Ada', birth_date = NULL WHERE id = 'AUD1';
SELECT changes FROM test.last_record;
-- what changes nothing is not recorded
SELECT max(id) AS before FROM clinical.audit_record \gset
UPDATE clinical.patient SET name = 'Ada', record = record WHERE id = 'AUD1';
SELECT count(*) FROM clinical.audit_record WHERE id > :before;
-- nothing depends on the session's settings
SET datestyle = 'SQL, DMY';
SET timezone = 'Asia/Tokyo';
SET intervalstyle = 'sql_standard';
UPDATE clinical.patient SET birth_date = '03/02/1950' WHERE id = 'AUD1';
SELECT changes FROM test.last_record;
SELECT changes -> 0 ->> 'new' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*\+00:00$' AS utc
  FROM (SELECT jsonb_path_query_array(changes, '$[*] ? (@.column == "created_at")') AS changes FROM clinical.audit_record WHERE table_name = 'patient' AND row_key = '{"id": "AUD1"}' AND operation = 'INSERT') c;
RESET datestyle; RESET timezone; RESET intervalstyle;
SET datestyle = ISO;
-- large values, stored out of line: changed, and left alone
UPDATE clinical.patient SET record = jsonb_build_object('big', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) i)) WHERE id = 'AUD1';
SELECT length(changes #>> '{0,new}') FROM (SELECT jsonb_path_query_array(changes, '$[*] ? (@.path[0] == "big")') AS changes FROM test.last_record WHERE table_name = 'patient'
        UNION ALL SELECT jsonb_path_query_array(changes, '$[*] ? (@.path[0] == "big")') FROM clinical.audit_record WHERE row_key = '{"id": "AUD1"}' ORDER BY 1 DESC LIMIT 1) c;
UPDATE clinical.patient SET sex = 'F' WHERE id = 'AUD1';
SELECT changes FROM test.last_record;
-- reasons: for changes of what was entered about patients, from the setting or the argument
RESET clinical.reason;
SELECT test.try($$UPDATE clinical.patient SET name = 'X' WHERE id = 'AUD1'$$);
SET clinical.reason = ' ';
SELECT test.try($$UPDATE clinical.patient SET name = 'X' WHERE id = 'AUD1'$$);
RESET clinical.reason;
SELECT name FROM clinical.set_center_status(:c, 'suspended');
SELECT reason FROM test.last_record;
SELECT name FROM clinical.set_center_status(:c, 'active', 'an argument');
SELECT table_name, reason FROM test.last_record;
-- MERGE, ON CONFLICT, COPY, cascades of statements
MERGE INTO clinical.center c USING (VALUES ('AUD', 'Merged'), ('AUD2', 'New')) v (site, name) ON c.site_id = v.site
 WHEN MATCHED THEN UPDATE SET name = v.name WHEN NOT MATCHED THEN INSERT (name, site_id) VALUES (v.name, v.site);
INSERT INTO clinical.center (name, site_id) VALUES ('Conflict', 'AUD2') ON CONFLICT (site_id) DO UPDATE SET name = excluded.name;
INSERT INTO clinical.center (name, site_id) VALUES ('Conflict', 'AUD2') ON CONFLICT (site_id) DO NOTHING;
COPY clinical.center (name, site_id) FROM stdin;
Copied	AUD3
\.
DELETE FROM clinical.center WHERE site_id = 'AUD3';
SELECT operation, jsonb_path_query_array(changes, '$[*] ? (@.column == "name")') FROM clinical.audit_record
 WHERE table_name = 'center' AND id > :before ORDER BY id;
-- savepoints and rollback: the change and its record go together
SELECT max(id) AS before FROM clinical.audit_record \gset
BEGIN;
UPDATE clinical.center SET name = 'kept' WHERE site_id = 'AUD2';
SAVEPOINT a;
UPDATE clinical.center SET name = 'undone' WHERE site_id = 'AUD2';
ROLLBACK TO a;
UPDATE clinical.center SET country = 'CH' WHERE site_id = 'AUD2';
COMMIT;
BEGIN;
UPDATE clinical.center SET name = 'undone' WHERE site_id = 'AUD2';
ROLLBACK;
SELECT changes FROM clinical.audit_record WHERE id > :before ORDER BY id;
SELECT count(DISTINCT xid) AS transactions FROM clinical.audit_record WHERE id > :before;
-- who: SET ROLE, SECURITY DEFINER, the application's user, SET SESSION AUTHORIZATION
CREATE ROLE regress_audit_admin;
CREATE ROLE regress_audit_app;
GRANT clinical_admin TO regress_audit_admin, regress_audit_app;
CREATE FUNCTION test.rename_center(site text, new_name text) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'UPDATE clinical.center SET name = new_name WHERE site_id = site';
ALTER FUNCTION test.rename_center(text, text) OWNER TO regress_audit_app;
GRANT EXECUTE ON FUNCTION test.rename_center(text, text) TO regress_audit_admin;
SET ROLE regress_audit_admin;
SET clinical.actor = 'Dr Ann';
UPDATE clinical.center SET name = 'by role' WHERE site_id = 'AUD2';
RESET ROLE;
SELECT login, role, authenticated, actor FROM test.last_record;
SET ROLE regress_audit_admin;
SELECT test.rename_center('AUD2', 'by definer');
RESET ROLE;
SELECT login, role, authenticated, actor FROM test.last_record;
RESET clinical.actor;
SELECT SESSION_USER AS me \gset
SET SESSION AUTHORIZATION regress_audit_admin;
UPDATE clinical.center SET name = 'by session' WHERE site_id = 'AUD2';
RESET SESSION AUTHORIZATION;
SELECT r.login, r.role, r.authenticated = SESSION_USER AS authenticated, actor FROM clinical.audit_record r ORDER BY generation DESC, id DESC LIMIT 1;
-- written by the server for somebody: it is still somebody
SET ROLE regress_audit_admin;
SELECT status FROM clinical.set_center_status(:c, 'suspended');
RESET ROLE;
SELECT table_name, role FROM test.last_record;
SELECT status FROM clinical.set_center_status(:c, 'active');

-- nobody writes the trail, and nobody switches it off
SELECT t, test.try('INSERT INTO clinical.' || t || ' SELECT * FROM clinical.' || t || ' LIMIT 1') ~ '^55000 .* written by the server alone' OR t <> 'audit_record' AS no_insert,
       test.try('TRUNCATE clinical.' || t) ~ '^55000 .* written by the server alone' AS no_truncate
  FROM unnest('{audit_record,audit_block,audit_generation,audit_restore}'::text[]) t;
SELECT test.try('UPDATE clinical.audit_record SET reason = NULL'), test.try('DELETE FROM clinical.audit_record');
SET ROLE clinical_owner;
SELECT test.try('UPDATE clinical.audit_record SET reason = NULL') ~ '^55000' AS owner_neither;
RESET ROLE;
SET session_replication_role = replica;
SELECT test.try('UPDATE clinical.audit_record SET reason = NULL') ~ '^55000' AS nor_replica;
UPDATE clinical.center SET name = 'as replica' WHERE site_id = 'AUD2';
RESET session_replication_role;
SELECT changes FROM test.last_record;
SET clinical.restore = on;
SELECT test.try('UPDATE clinical.audit_record SET reason = NULL') ~ '^55000' AS nor_restore;
UPDATE clinical.center SET name = 'as restore' WHERE site_id = 'AUD2';
RESET clinical.restore;
SELECT changes FROM test.last_record;
SELECT c, split_part(test.try(c), E'\n', 1) || coalesce(E'\n' || substring(split_part(test.try(c), E'\n', 2) FROM 'Missing.*'), '') AS answer FROM unnest(ARRAY[
    'ALTER TABLE clinical.patient DISABLE TRIGGER audit', 'ALTER TABLE clinical.patient DISABLE TRIGGER ALL', 'ALTER TABLE clinical.patient ENABLE TRIGGER audit',
    'ALTER TABLE clinical.patient ENABLE REPLICA TRIGGER audit', 'DROP TRIGGER audit ON clinical.patient', 'ALTER TRIGGER audit ON clinical.patient RENAME TO x',
    'DROP TRIGGER audit_truncate ON clinical.center', 'ALTER TABLE clinical.audit_record DISABLE TRIGGER guard', 'DROP TRIGGER guard_truncate ON clinical.audit_block',
    'ALTER TABLE clinical.patient NO FORCE ROW LEVEL SECURITY', 'ALTER TABLE clinical.audit_record DISABLE ROW LEVEL SECURITY',
    'DROP TABLE clinical.audit_block', 'DROP FUNCTION clinical.audit_row() CASCADE', 'DROP EVENT TRIGGER clinical_ddl']) c;
-- other commands about the tables are recorded
BEGIN;
SELECT max(id) AS before FROM clinical.audit_record \gset
ALTER TABLE clinical.center ADD COLUMN note text, ADD COLUMN upper_name text GENERATED ALWAYS AS (upper(name)) STORED;
CREATE INDEX center_note_idx ON clinical.center (note);
GRANT SELECT ON clinical.center TO regress_audit_app;
GRANT SELECT ON ALL TABLES IN SCHEMA clinical TO regress_audit_app;
REVOKE ALL ON FUNCTION clinical.health() FROM regress_audit_app;
GRANT SELECT ON test.last_record TO regress_audit_app;
SET search_path = clinical;
GRANT EXECUTE ON FUNCTION audit_digest() TO regress_audit_app;
GRANT EXECUTE ON FUNCTION pg_catalog.now() TO regress_audit_app;
RESET search_path;
CREATE POLICY extra ON clinical.center FOR SELECT TO regress_audit_app USING (true);
DROP POLICY extra ON clinical.center;
CREATE TABLE test.not_ours (id int);
DROP TABLE test.not_ours;
CREATE TABLE test."not ours on clinical.center" (id int);
CREATE POLICY "p on clinical.center" ON test."not ours on clinical.center";
DROP TABLE test."not ours on clinical.center";
DROP INDEX clinical.center_note_idx;
SELECT operation, row_key, changes FROM clinical.audit_record WHERE id > :before AND operation = 'DDL' ORDER BY id;
SELECT table_name, changes - ARRAY['id', 'time_zone', 'activated_at', 'created_at'] AS changes FROM clinical.audit_record WHERE id > :before AND operation = 'COLUMNS';
-- a generated column
UPDATE clinical.center SET name = 'generated', note = 'n' WHERE site_id = 'AUD2';
SELECT changes FROM test.last_record;
ROLLBACK;

-- sealing, digests, verification
SELECT test.try('SELECT clinical.verify_audit(''nonsense'')'), test.try('SELECT clinical.verify_audit(''clinical-1:1:00'')');
-- (what there is to seal depends on other sessions, so how much was sealed is not shown)
DO $$BEGIN PERFORM clinical.seal_audit(); END$$;
SELECT count(*) > 0 AS blocks, sum(records) > 100 AS sealed FROM clinical.audit_block;
SELECT clinical.audit_digest() ~ '^clinical-1:\d+:[0-9a-f]{64}$' AS format, clinical.audit_digest() AS digest \gset
\echo :format
SELECT * FROM clinical.verify_audit(:'digest');
SELECT fault, regexp_replace(place, '\d+', 'N') AS place FROM clinical.verify_audit(regexp_replace(:'digest', ':\d+:', ':999999:'));
SELECT fault, regexp_replace(place, '\d+', 'N') AS place FROM clinical.verify_audit(overlay(:'digest' placing CASE right(:'digest', 1) WHEN '0' THEN '1' ELSE '0' END FROM length(:'digest')));
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT test.try('SELECT clinical.seal_audit()');
ROLLBACK;

-- a patient's history, for those who see the patient
SELECT table_name, operation, item, old_value, left(new_value, 60) AS new_value, reason FROM clinical.patient_history('AUD1')
 WHERE item !~ '_(id|at|by)$';
SELECT test.try('SELECT clinical.patient_history(NULL)'), test.try('SELECT clinical.patient_history(''nobody'')');
GRANT clinical_monitor TO regress_audit_app;
SET ROLE regress_audit_app;
SELECT test.try('SELECT clinical.patient_history(''AUD1'')'), (SELECT count(*) FROM clinical.audit_record) AS records;
RESET ROLE;
SELECT count(*) FROM clinical.grant_center('regress_audit_app', :c);
SET ROLE regress_audit_app;
SELECT count(*) > 20 AS history, (SELECT string_agg(DISTINCT patient_id, ' ') FROM clinical.audit_record) AS of_patients FROM clinical.patient_history('AUD1');
SELECT test.try('SELECT clinical.verify_audit()'), test.try('SELECT clinical.redact(''clinical.patient'', ''{"id": "AUD1"}'', ''{name}'', ''r'')');
RESET ROLE;

-- redaction: from the row, from what was derived, from the trail; the chain stays
SELECT clinical.amend_record('AUD1', '{"big": null, "note": "call Mrs Smith", "tree": {"smith": {"a": 1}}}', 'a name by mistake');
SELECT clinical.amend_record('AUD1', '{"tree": {"smith": {"a": 2, "b": 1}}}', 'below it');
SELECT clinical.amend_record('AUD1', '{"other": 1}', 'beside it');
DO $$BEGIN PERFORM clinical.seal_audit(); END$$;
SELECT clinical.audit_digest() AS digest \gset
SELECT operation, patient_id, changes - 'x' IS NOT NULL AS changes, jsonb_array_length(changes #> '{0,records}') AS records, reason
  FROM clinical.redact('clinical.patient', '{"id": "AUD1"}', '{record,note}', 'a name');
SELECT jsonb_array_length(changes #> '{0,records}') AS records FROM clinical.redact('clinical.patient', '{"id": "AUD1"}', '{record,tree,smith}', 'a name');
SELECT jsonb_array_length(changes #> '{0,records}') AS records FROM clinical.redact('clinical.patient', '{"id": "AUD1"}', '{name}', 'a name');
SELECT jsonb_array_length(changes #> '{0,records}') AS records FROM clinical.redact('clinical.patient', '{"id": "AUD1"}', '{birth_date}', 'too exact');
SELECT jsonb_array_length(changes #> '{0,records}') AS records FROM clinical.redact('clinical.center', format('{"id": %s}', :c)::jsonb, '{name}', 'a person''s');
SELECT jsonb_array_length(changes #> '{0,records}') AS records FROM clinical.redact('clinical.audit_record',
       (SELECT jsonb_build_object('generation', generation, 'xid', xid::text, 'id', id) FROM clinical.audit_record WHERE reason = 'a name by mistake' AND table_name = 'patient'), '{reason}', 'a name');
SELECT reason, salt IS NULL AS no_salt, content_hash IS NOT NULL AS hash FROM clinical.audit_record WHERE reason = '[redacted]';
-- what was an array, or a plain value, where now the path goes on is left alone
SELECT clinical.amend_record('AUD1', '{"list": {"x": "Smith"}, "arm": {"x": "Smith"}}', 'objects now');
SELECT jsonb_array_length(changes #> '{0,records}') AS records FROM clinical.redact('clinical.patient', '{"id": "AUD1"}', '{record,list,x}', 'a name');
SELECT jsonb_array_length(changes #> '{0,records}') AS records FROM clinical.redact('clinical.patient', '{"id": "AUD1"}', '{record,arm,x}', 'a name');
SELECT jsonb_path_query(changes, '$[*] ? (@.path[0] == "list" || @.path[0] == "arm")') FROM clinical.audit_record WHERE table_name = 'patient' AND reason = 'objects now';
SELECT name, birth_date, record FROM clinical.patient WHERE id = 'AUD1';
SELECT version, record - ARRAY['list', 'deep', 'dose', '', 'n', 'arm', 'big'] AS record FROM clinical.record_version WHERE patient_id = 'AUD1' ORDER BY version;
SELECT count(*) FROM clinical.audit_record r WHERE r::text ~ 'Smith|"a": 2';
SELECT * FROM clinical.verify_audit(:'digest');
SELECT * FROM clinical.check();
SELECT r, test.try('SELECT clinical.redact(' || r || ')') FROM unnest(ARRAY[
    'NULL, ''{}'', ''{name}'', ''r''', '''pg_catalog.pg_class'', ''{}'', ''{name}'', ''r''', '''clinical.audit_record'', ''{}'', ''{reason}'', ''r''', '''clinical.audit_record'', ''{"generation": 1, "xid": "3", "id": 1}'', ''{reason}'', ''r''', '''clinical.audit_block'', ''{"block_no": 1}'', ''{root}'', ''r''',
    '''clinical.patient'', NULL, ''{name}'', ''r''', '''clinical.patient'', ''{"id": "AUD1"}'', NULL, ''r''', '''clinical.patient'', ''{"id": "AUD1"}'', ''{name}'', NULL',
    '''clinical.patient'', ''{"id": "nobody"}'', ''{name}'', ''r''', '''clinical.patient'', ''{"id": "AUD1", "x": 1}'', ''{name}'', ''r''',
    -- the row would be found, but not its records
    '''clinical.patient'', ''{"id": 1}'', ''{name}'', ''r''', '''clinical.center'', ''{"id": "1"}'', ''{name}'', ''r''', '''clinical.patient'', ''{"id": null}'', ''{name}'', ''r''',
    '''clinical.patient'', ''{"id": "AUD1"}'', ''{id}'', ''r''', '''clinical.patient'', ''{"id": "AUD1"}'', ''{record}'', ''r''',
    '''clinical.patient'', ''{"id": "AUD1"}'', ''{status_on}'', ''r''', '''clinical.patient'', ''{"id": "AUD1"}'', ''{no_such}'', ''r''']) r;
-- what the server goes by cannot be destroyed
SELECT t || '.' || c AS redactable FROM (VALUES ('center', format('{"id": %s}', :c)), ('project', format('{"id": %s}', :p)), ('patient', '{"id": "AUD1"}'),
        ('enrollment_event', '{"patient_id": "AUD1", "event_no": 1}'), ('record_version', '{"patient_id": "AUD1", "version": 1}'),
        ('project_center', format('{"project_id": %s, "center_id": %s}', :p, :c)),
        ('project_event', (SELECT format('{"id": %s}', id) FROM clinical.project_event WHERE center_id = :c)),
        ('center_event', (SELECT format('{"id": %s}', min(id)) FROM clinical.center_event WHERE center_id = :c))) t (t, key),
    LATERAL (SELECT attname AS c, attnum FROM pg_attribute WHERE attrelid = format('clinical.%I', t)::regclass AND attnum > 0 AND NOT attisdropped) a
 WHERE test.try(format('SELECT clinical.redact(%L, %L, ARRAY[%L], %L)', 'clinical.' || t, key, c, 'r')) !~ '^22023 path' ORDER BY t, attnum;
-- and what was destroyed does not stand in the way of later changes
SELECT name, birth_date, sex, race FROM clinical.patient WHERE id = 'AUD1';
SELECT clinical.amend_record('AUD1', '{"after": 1}', 'goes on');
SELECT id FROM clinical.set_patient_status('AUD1', 'completed', '2026-02-01');
SELECT name, country FROM clinical.set_center_status(:c, 'suspended');
SELECT * FROM clinical.verify_audit();
SELECT * FROM clinical.check();

-- a data manager's own types do not run as the owner
CREATE ROLE regress_audit_dm;
GRANT clinical_data_manager TO regress_audit_dm;
SELECT count(*) FROM clinical.grant_center('regress_audit_dm', :c);
GRANT CREATE, TEMPORARY ON DATABASE :DBNAME TO regress_audit_dm;
SET ROLE regress_audit_dm;
CREATE FUNCTION pg_temp.trap(pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN IF CURRENT_USER <> ''regress_audit_dm'' THEN RAISE WARNING ''runs as %'', CURRENT_USER; END IF; RETURN true; END';
CREATE DOMAIN pg_temp.jsonb AS pg_catalog.jsonb CHECK (pg_temp.trap(VALUE::pg_catalog.text));
CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (pg_temp.trap(VALUE));
CREATE DOMAIN pg_temp.record_type AS pg_catalog.text;
SELECT operation FROM clinical.redact('clinical.patient', '{"id": "AUD1"}', '{race}', 'r');
SELECT operation FROM clinical.redact('clinical.patient', '{"id": "AUD1"}', '{record,other}', 'r');
DROP DOMAIN pg_temp.jsonb, pg_temp.text, pg_temp.record_type;
DROP FUNCTION pg_temp.trap(pg_catalog.text);
RESET ROLE;
REVOKE CREATE, TEMPORARY ON DATABASE :DBNAME FROM regress_audit_dm;
DELETE FROM clinical.membership WHERE role = 'regress_audit_dm'::regrole;
DROP ROLE regress_audit_dm;
-- indexes and columns that the trail cannot have
SELECT test.try('CREATE INDEX audit_record_key_idx ON clinical.audit_record ((row_key ->> ''id''))'),
       test.try('CREATE INDEX audit_record_redact_idx ON clinical.audit_record (id) WHERE operation = ''REDACT'''),
       test.try('ALTER TABLE clinical.audit_record ADD COLUMN note pg_catalog.text'), test.try('ALTER EXTENSION clinical DROP TABLE clinical.membership');
SELECT operation, row_key, changes FROM clinical.audit_record WHERE operation = 'DDL' AND row_key = '{"object": "clinical"}';

DELETE FROM clinical.membership WHERE role = 'regress_audit_app'::regrole;
DROP FUNCTION test.rename_center(text, text);
DROP VIEW test.last_record;
DROP ROLE regress_audit_admin, regress_audit_app;
