-- audit: who did what, when and why; and the means to prove it.

-- The trail.  No DEFAULT, no CHECK: rows are made by the server, below the
-- executor.  The primary key is the order of the trail: a restored database
-- counts its transactions anew, so generations come first.
CREATE TABLE clinical.audit_record (
    generation    integer NOT NULL,
    xid           xid8 NOT NULL,
    id            bigint NOT NULL,
    recorded_at   timestamptz NOT NULL,
    login         text NOT NULL,
    role          text NOT NULL,
    authenticated text NOT NULL,
    actor         text,
    client        text,
    table_name    text NOT NULL,
    operation     text NOT NULL,
    row_key       jsonb NOT NULL,
    patient_id    text COLLATE "C",
    changes       jsonb NOT NULL,
    reason        text,
    salt          bytea,
    content_hash  bytea,
    leaf          bytea NOT NULL,
    PRIMARY KEY (generation, xid, id)
);
-- What no query compares needs no statistics: the table is analyzed often while it grows.
ALTER TABLE clinical.audit_record
    ALTER COLUMN row_key SET STATISTICS 1, ALTER COLUMN changes SET STATISTICS 0, ALTER COLUMN salt SET STATISTICS 0,
    ALTER COLUMN content_hash SET STATISTICS 0, ALTER COLUMN leaf SET STATISTICS 0, ALTER COLUMN id SET STATISTICS 1,
    ALTER COLUMN recorded_at SET STATISTICS 10, ALTER COLUMN xid SET STATISTICS 10;
CREATE INDEX audit_record_patient_id_idx ON clinical.audit_record (patient_id);
-- Numbers order the records of a transaction, so a session may take several at once.
CREATE SEQUENCE clinical.audit_record_id_seq CACHE 20 OWNED BY clinical.audit_record.id;
COMMENT ON TABLE clinical.audit_record IS 'The audit trail: what became of each row, who did it, when and why. Written by the server in the transaction of the change, and never changed, but for values that redact destroys.';
COMMENT ON COLUMN clinical.audit_record.generation IS 'Counts the places in which the trail was written: another server, or another database after a restore, begins the next.';
COMMENT ON COLUMN clinical.audit_record.xid IS 'The transaction, in the numbers of its generation.';
COMMENT ON COLUMN clinical.audit_record.recorded_at IS 'The clock at that moment; the order of the trail is that of its key, never the clock''s.';
COMMENT ON COLUMN clinical.audit_record.login IS 'The session''s user.';
COMMENT ON COLUMN clinical.audit_record.role IS 'The current user: after SET ROLE, or the owner of a SECURITY DEFINER function.';
COMMENT ON COLUMN clinical.audit_record.authenticated IS 'Who logged in, whatever SET SESSION AUTHORIZATION said later.';
COMMENT ON COLUMN clinical.audit_record.actor IS 'The application''s user (clinical.actor), if it said one.';
COMMENT ON COLUMN clinical.audit_record.client IS 'The client''s address; NULL: a local socket or a background worker.';
COMMENT ON COLUMN clinical.audit_record.operation IS 'INSERT, UPDATE or DELETE of a row; DDL: a command about the tables; COLUMNS: a table''s columns from here on; REDACT: values destroyed; RESTORE: rows put back; BEGIN: of a generation.';
COMMENT ON COLUMN clinical.audit_record.changes IS 'An array of objects: column, path (in a jsonb column), old and new; before, in a row that is a further version of another: what that has. Column * stands for the row, with its SHA-256.';
COMMENT ON COLUMN clinical.audit_record.salt IS 'Random bytes that keep what a redaction destroyed from being guessed by its hash.';
COMMENT ON COLUMN clinical.audit_record.content_hash IS 'Of changes and reason as they were before a redaction; NULL: nothing was redacted.';
COMMENT ON COLUMN clinical.audit_record.leaf IS 'SHA-256 of the record.';

CREATE TABLE clinical.audit_block (
    block_no   bigint PRIMARY KEY,
    generation integer NOT NULL,
    from_xid   xid8 NOT NULL,
    to_xid     xid8 NOT NULL,
    records    bigint NOT NULL,
    root       bytea NOT NULL,
    previous   bytea NOT NULL,
    sealed_at  timestamptz NOT NULL,
    hash       bytea NOT NULL
);
COMMENT ON TABLE clinical.audit_block IS 'The seals of the trail: a block covers the records of a generation whose transactions are from from_xid to before to_xid, by the root of a Merkle tree over their leaves, and the block before, by its hash.';

CREATE TABLE clinical.audit_generation (
    generation        integer PRIMARY KEY,
    system_identifier bigint NOT NULL,
    database          oid NOT NULL,
    began_at          timestamptz NOT NULL,
    digest            text
);
COMMENT ON TABLE clinical.audit_generation IS 'Where each generation of the trail was, or is, written. digest: audit_digest() of the trail as it was found.';

CREATE TABLE clinical.audit_restore (
    id          uuid PRIMARY KEY,
    restored_at timestamptz NOT NULL,
    login       text NOT NULL,
    role        text NOT NULL,
    actor       text,
    digest      text
);
COMMENT ON TABLE clinical.audit_restore IS 'Word of restores that is not in the trail yet: it goes there when the trail is next written.';

SELECT pg_catalog.pg_extension_config_dump('clinical.audit_record', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.audit_record_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.audit_block', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.audit_generation', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.audit_restore', '');

CREATE FUNCTION clinical.audit_row() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_audit_row';
COMMENT ON FUNCTION clinical.audit_row() IS
'Trigger, AFTER each row: writes the audit record. Arguments: values (old and new), reason (the same, and changes and deletions must give a reason) or digest (the row''s hash, for rows that are only added); the column that holds the patient''s id, if any; and, where rows of version 1 are covered by the record of another row, the column of the version. SQLSTATE: 22023.';

CREATE FUNCTION clinical.audit_truncate() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_audit_truncate';
COMMENT ON FUNCTION clinical.audit_truncate() IS
'Trigger: refuses TRUNCATE of an audited table. SQLSTATE: 55000.';

CREATE FUNCTION clinical.audit_guard() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_audit_guard';
COMMENT ON FUNCTION clinical.audit_guard() IS
'Trigger: nobody writes the trail, its owner included. SQLSTATE: 55000.';

CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON clinical.audit_record
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_guard();
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON clinical.audit_record
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_guard();
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON clinical.audit_block
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_guard();
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON clinical.audit_block
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_guard();
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON clinical.audit_generation
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_guard();
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON clinical.audit_generation
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_guard();
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON clinical.audit_restore
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_guard();
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON clinical.audit_restore
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_guard();
ALTER TABLE clinical.audit_record ENABLE ALWAYS TRIGGER guard, ENABLE ALWAYS TRIGGER guard_truncate;
ALTER TABLE clinical.audit_block ENABLE ALWAYS TRIGGER guard, ENABLE ALWAYS TRIGGER guard_truncate;
ALTER TABLE clinical.audit_generation ENABLE ALWAYS TRIGGER guard, ENABLE ALWAYS TRIGGER guard_truncate;
ALTER TABLE clinical.audit_restore ENABLE ALWAYS TRIGGER guard, ENABLE ALWAYS TRIGGER guard_truncate;

CREATE FUNCTION clinical.audit_columns(OUT table_name text, OUT columns jsonb) RETURNS SETOF record
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_audit_columns';
COMMENT ON FUNCTION clinical.audit_columns() IS
'The audited tables, with their columns and the types of these. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.seal_audit() RETURNS clinical.audit_block
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_seal_audit';
COMMENT ON FUNCTION clinical.seal_audit() IS
'Seals the records of all transactions that are over, as the background worker does by itself, and returns the last block made; NULL: there is nothing to seal. Writers do not wait for it. SQLSTATE: 25001 not in a READ COMMITTED transaction; 25006 on a standby.';

CREATE FUNCTION clinical.audit_digest() RETURNS text
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_audit_digest';
COMMENT ON FUNCTION clinical.audit_digest() IS
'The number and the hash of the last block: what all records sealed so far can be verified against, if it is kept outside of the server. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.audit_head() RETURNS text
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_audit_head';
COMMENT ON FUNCTION clinical.audit_head() IS
'The same for the extension''s own use, NULL where nothing is sealed. SQLSTATE: none of its own.';

-- Functions in PL/pgSQL pin the search path: the types of their variables are looked
-- up when they run, and pg_temp could have a domain of that name.
CREATE FUNCTION clinical.audit_apply(image jsonb, changes jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    change jsonb;
    place text[];
    step text;
BEGIN
    FOR change IN SELECT e.value FROM pg_catalog.jsonb_array_elements(changes) e LOOP
        place := ARRAY[COALESCE(change OPERATOR(pg_catalog.->>) 'column', '')];
        FOR step IN SELECT e.value FROM pg_catalog.jsonb_array_elements_text(change OPERATOR(pg_catalog.->) 'path') e LOOP
            place := place OPERATOR(pg_catalog.||) step;
        END LOOP;
        -- what was there before is what the change found, or somebody else was here
        IF COALESCE((image OPERATOR(pg_catalog.#>) place)::pg_catalog.text, 'null')
           OPERATOR(pg_catalog.<>) COALESCE((change OPERATOR(pg_catalog.->) 'old')::pg_catalog.text, 'null')
        THEN
            image := image OPERATOR(pg_catalog.||) '{"": true}';
        END IF;
        IF change OPERATOR(pg_catalog.?) 'new' AND (change OPERATOR(pg_catalog.?) 'path'
               OR pg_catalog.jsonb_typeof(change OPERATOR(pg_catalog.->) 'new') OPERATOR(pg_catalog.<>) 'null')
        THEN
            image := pg_catalog.jsonb_set(image, place, change OPERATOR(pg_catalog.->) 'new');
        ELSE
            image := image OPERATOR(pg_catalog.#-) place;
        END IF;
    END LOOP;
    RETURN image;
EXCEPTION WHEN data_exception OR null_value_not_allowed THEN
    -- a record that somebody has mutilated
    RETURN image OPERATOR(pg_catalog.||) '{"": true}';
END
$$;
COMMENT ON FUNCTION clinical.audit_apply(jsonb, jsonb) IS
'What the changes of an audit record make of a row''s image: an object with the values of its columns, without NULLs. A change that does not find what it says it found, or that is none, leaves the key "". SQLSTATE: none of its own.';

CREATE AGGREGATE clinical.audit_image(changes jsonb) (
    SFUNC = clinical.audit_apply, STYPE = jsonb, INITCOND = '{}', PARALLEL = UNSAFE);
COMMENT ON AGGREGATE clinical.audit_image(jsonb) IS
'A row as it was after the changes of these audit records, to be given in the order of generation, xid and id: an object with the values of its columns, without NULLs; empty if it was deleted. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.audit_row_of(row_value record, OUT row_key jsonb, OUT changes jsonb) RETURNS record
    LANGUAGE C STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_audit_row_of';
COMMENT ON FUNCTION clinical.audit_row_of(record) IS
'The key of a row of an audited table, and the row as the changes of an audit record that would have created it. SQLSTATE: 22023 not a row of an audited table.';

CREATE FUNCTION clinical.audit_unguarded(OUT object text) RETURNS SETOF text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT pg_catalog.concat('trigger ', w.name, ' on ', c.relname)
      FROM pg_catalog.pg_class c
     CROSS JOIN LATERAL (VALUES
               (CASE WHEN c.relname ~ '^audit_' THEN 'guard' ELSE 'audit' END), ('audit_added'),
               (CASE WHEN c.relname ~ '^audit_' THEN 'guard_truncate' ELSE 'audit_truncate' END)) w (name)
      LEFT JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid AND t.tgname = w.name
     WHERE c.relnamespace = 'clinical'::pg_catalog.regnamespace AND c.relkind = 'r' AND (t.tgenabled = 'A') IS NOT TRUE
       -- what is staged enters the trail when it is stored
       AND (c.relname !~ '^staged_' OR w.name <> 'audit')
       -- where the first trigger is not for rows that are added, another is
       AND (w.name <> 'audit_added' OR EXISTS (SELECT FROM pg_catalog.pg_trigger f
                                                WHERE f.tgrelid = c.oid AND f.tgname = 'audit' AND (f.tgtype::integer & 4) = 0))
    UNION ALL
    SELECT pg_catalog.concat('event trigger ', w.name)
      FROM (VALUES ('clinical_ddl'), ('clinical_drop')) w (name)
      LEFT JOIN pg_catalog.pg_event_trigger t ON t.evtname = w.name
     WHERE (t.evtenabled = 'A') IS NOT TRUE
    UNION ALL
    SELECT pg_catalog.concat('row level security of ', c.relname)
      FROM pg_catalog.pg_class c
     WHERE c.relnamespace = 'clinical'::pg_catalog.regnamespace AND c.relkind = 'r' AND NOT (c.relrowsecurity AND c.relforcerowsecurity);
END;
COMMENT ON FUNCTION clinical.audit_unguarded() IS
'The triggers that write and guard the trail and are missing or not ENABLE ALWAYS, and the tables without forced row level security. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.audit_ddl() RETURNS event_trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_audit_ddl';
COMMENT ON FUNCTION clinical.audit_ddl() IS
'Event trigger: commands about the extension''s objects are recorded; one that would switch off a trigger that writes or guards the trail, or row level security, is refused. SQLSTATE: 55000.';
CREATE EVENT TRIGGER clinical_ddl ON ddl_command_end EXECUTE FUNCTION clinical.audit_ddl();
CREATE EVENT TRIGGER clinical_drop ON sql_drop EXECUTE FUNCTION clinical.audit_ddl();
ALTER EVENT TRIGGER clinical_ddl ENABLE ALWAYS;
ALTER EVENT TRIGGER clinical_drop ENABLE ALWAYS;

CREATE FUNCTION clinical.audit_key_condition(table_name text, row_key jsonb) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    -- NULL unless the key has exactly the columns of the primary key, as the trail
    -- writes them: by another spelling the row would be found, but not its records
    SELECT CASE WHEN pg_catalog.count(*) = (SELECT pg_catalog.count(*) FROM pg_catalog.jsonb_object_keys(row_key))
                 AND pg_catalog.bool_and((pg_catalog.jsonb_typeof(row_key -> a.attname::pg_catalog.text)
                         = CASE WHEN a.atttypid IN ('bigint'::pg_catalog.regtype, 'integer'::pg_catalog.regtype)
                                THEN 'number' ELSE 'string' END) IS TRUE)
                THEN pg_catalog.string_agg(pg_catalog.format('t.%I OPERATOR(pg_catalog.=) %L::%s', a.attname,
                         row_key ->> a.attname::pg_catalog.text, pg_catalog.format_type(a.atttypid, NULL)), ' AND ') END
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND i.indisprimary
      JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
     WHERE c.relnamespace = 'clinical'::pg_catalog.regnamespace AND c.relname = table_name;
END;
COMMENT ON FUNCTION clinical.audit_key_condition(text, jsonb) IS
'The condition of a row''s key as the trail has it, for the extension''s own use; NULL: it is not the key of such a row. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.audit_content_hash(salt bytea, changes jsonb, reason text) RETURNS bytea
    LANGUAGE C IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_audit_content_hash_sql';
COMMENT ON FUNCTION clinical.audit_content_hash(bytea, jsonb, text) IS
'What is kept of an audit record''s content when it is destroyed, for the extension''s own use. SQLSTATE: 22023.';

CREATE FUNCTION clinical.audit_redact_changes(changes jsonb, path text[], marker jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    result jsonb := '[]';
    change jsonb;
    place text[];
    side text;
BEGIN
    FOR change IN SELECT e.value FROM pg_catalog.jsonb_array_elements(changes) e LOOP
        IF change OPERATOR(pg_catalog.->>) 'column' OPERATOR(pg_catalog.=) path[1] THEN
            place := path[1:1] OPERATOR(pg_catalog.||)
                     ARRAY(SELECT e.value FROM pg_catalog.jsonb_array_elements_text(change OPERATOR(pg_catalog.->) 'path') e);
            FOREACH side IN ARRAY ARRAY['old', 'before', 'new'] LOOP
                IF place OPERATOR(pg_catalog.=) path[1:pg_catalog.cardinality(place)] THEN
                    -- the value is that of the change, or within it
                    IF place OPERATOR(pg_catalog.=) path THEN
                        IF pg_catalog.jsonb_typeof(change OPERATOR(pg_catalog.->) side) OPERATOR(pg_catalog.<>) 'null' THEN
                            change := pg_catalog.jsonb_set(change, ARRAY[side], marker, false);
                        END IF;
                    ELSIF (change OPERATOR(pg_catalog.#>) (ARRAY[side] OPERATOR(pg_catalog.||)
                              path[pg_catalog.cardinality(place) OPERATOR(pg_catalog.+) 1:])) IS NOT NULL THEN
                        -- (jsonb_set fails where the path would lead through an array)
                        change := pg_catalog.jsonb_set(change, ARRAY[side] OPERATOR(pg_catalog.||)
                                      path[pg_catalog.cardinality(place) OPERATOR(pg_catalog.+) 1:], marker, false);
                    END IF;
                ELSIF path OPERATOR(pg_catalog.=) place[1:pg_catalog.cardinality(path)] THEN
                    -- the change is within the value, of which nothing is left
                    change := change OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object(
                                  'path', pg_catalog.to_jsonb(path[2:]), 'old', marker, 'new', marker);
                    EXIT;
                END IF;
            END LOOP;
        END IF;
        result := result OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_array(change);
    END LOOP;
    RETURN result;
END
$$;
COMMENT ON FUNCTION clinical.audit_redact_changes(jsonb, text[], jsonb) IS
'The changes of an audit record with the marker in the place of the value at a path (column, then keys), for the extension''s own use. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.audit_retell(table_name text, row_key jsonb, path text[], marker jsonb, patient_id text) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    present jsonb;
    retold jsonb;
BEGIN
    -- a row whose hash alone is in the trail has another now; what it was before nobody can tell any more
    EXECUTE pg_catalog.format('SELECT a.changes OPERATOR(pg_catalog.#>) ''{0,new}'' FROM clinical.%I AS t, LATERAL clinical.audit_row_of(t.*) a WHERE %s',
                              table_name, clinical.audit_key_condition(table_name, row_key)) INTO present;
    WITH redacting AS (
        SELECT r.generation, r.xid, r.id, r.changes AS before,
               CASE WHEN r.changes OPERATOR(pg_catalog.@>) '[{"column": "*"}]'
                    THEN pg_catalog.jsonb_set(pg_catalog.jsonb_set(r.changes, '{0,old}', present, false), '{0,new}', present, false)
                    ELSE clinical.audit_redact_changes(r.changes, path, marker) END AS after
          FROM clinical.audit_record r
         WHERE (r.patient_id OPERATOR(pg_catalog.=) audit_retell.patient_id OR audit_retell.patient_id IS NULL)
           AND r.table_name OPERATOR(pg_catalog.=) audit_retell.table_name
           AND r.row_key OPERATOR(pg_catalog.=) audit_retell.row_key
           AND r.operation OPERATOR(pg_catalog.=) ANY (ARRAY['INSERT', 'UPDATE', 'DELETE'])
    ), done AS (
        UPDATE clinical.audit_record AS r
           SET changes = d.after, salt = NULL,
               content_hash = COALESCE(r.content_hash, clinical.audit_content_hash(r.salt, d.before, r.reason))
          FROM redacting d
         WHERE r.generation OPERATOR(pg_catalog.=) d.generation AND r.xid OPERATOR(pg_catalog.=) d.xid
           AND r.id OPERATOR(pg_catalog.=) d.id AND d.after::pg_catalog.text OPERATOR(pg_catalog.<>) d.before::pg_catalog.text
        RETURNING r.generation, r.xid, r.id
    )
    SELECT INTO retold COALESCE(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(
               d.generation, d.xid::pg_catalog.text, d.id) ORDER BY d.generation, d.xid, d.id), '[]') FROM done d;
    RETURN retold;
END
$$;
COMMENT ON FUNCTION clinical.audit_retell(text, jsonb, text[], jsonb, text) IS
'Puts the marker into the records of a row, or the hash that the row has now, for redact: the keys of the records that it changed. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.audit_knows(table_name text, row_key jsonb, patient_id text) RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    present text;
BEGIN
    EXECUTE pg_catalog.format('SELECT a.changes OPERATOR(pg_catalog.#>>) ''{0,new}'' FROM clinical.%I AS t, LATERAL clinical.audit_row_of(t.*) a WHERE %s',
                              table_name, clinical.audit_key_condition(table_name, row_key)) INTO present;
    RETURN COALESCE((SELECT r.changes OPERATOR(pg_catalog.#>>) '{0,new}' FROM clinical.audit_record r
                      WHERE (r.patient_id OPERATOR(pg_catalog.=) audit_knows.patient_id OR audit_knows.patient_id IS NULL)
                        AND r.table_name OPERATOR(pg_catalog.=) audit_knows.table_name
                        AND r.row_key OPERATOR(pg_catalog.=) audit_knows.row_key
                        AND r.operation OPERATOR(pg_catalog.=) ANY (ARRAY['INSERT', 'UPDATE', 'DELETE'])
                      ORDER BY r.generation DESC, r.xid DESC, r.id DESC LIMIT 1) OPERATOR(pg_catalog.=) present, false);
END
$$;
COMMENT ON FUNCTION clinical.audit_knows(text, jsonb, text) IS
'Is a row whose hash alone is in the trail what the trail says?  For redact. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.audit_redact_row(table_name text, row_key jsonb, path text[], patient_id text) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    condition text := clinical.audit_key_condition(table_name, row_key);
    attribute record;
    marker jsonb := '"[redacted]"';
    redacted jsonb;
BEGIN
    IF table_name OPERATOR(pg_catalog.=) 'audit_record' AND path OPERATOR(pg_catalog.=) ARRAY['reason'] THEN
        EXECUTE pg_catalog.format('WITH done AS (UPDATE clinical.audit_record AS t SET reason = ''[redacted]'', salt = NULL,'
            ' content_hash = COALESCE(t.content_hash, clinical.audit_content_hash(t.salt, t.changes, t.reason))'
            ' WHERE t.reason IS NOT NULL AND %s RETURNING t.generation, t.xid, t.id)'
            ' SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(d.generation, d.xid::pg_catalog.text, d.id)), ''[]'') FROM done d',
            condition) INTO redacted;
        RETURN redacted;
    END IF;
    SELECT INTO attribute a.attname, a.attnotnull, pg_catalog.format_type(a.atttypid, NULL) AS type
      FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) a.attrelid
     WHERE c.relnamespace OPERATOR(pg_catalog.=) 'clinical'::pg_catalog.regnamespace
       AND c.relname OPERATOR(pg_catalog.=) table_name::pg_catalog.name AND table_name OPERATOR(pg_catalog.<>) 'audit_record'
       AND a.attname OPERATOR(pg_catalog.=) path[1]::pg_catalog.name AND a.attnum OPERATOR(pg_catalog.>) 0;
    -- what the server goes by says nothing of a person, and who may redact may not change it
    IF attribute.attname IS NULL OR row_key OPERATOR(pg_catalog.?) path[1]
       OR path[1] OPERATOR(pg_catalog.~) '_id$' OR path[1] OPERATOR(pg_catalog.=) ANY (ARRAY['status', 'event', 'code', 'time_zone', 'country'])
       OR (attribute.type OPERATOR(pg_catalog.=) 'jsonb') OPERATOR(pg_catalog.<>) (pg_catalog.cardinality(path) OPERATOR(pg_catalog.>) 1)
       OR (attribute.attnotnull AND attribute.type OPERATOR(pg_catalog.<>) ALL (ARRAY['jsonb', 'text'])) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'path leads to nothing that can be redacted',
            HINT = 'It begins with a column that is neither in the key nor a status, code, country, time zone or id; in a jsonb column it goes on with keys.';
    END IF;
    -- sex has no value but those of its list
    IF attribute.type OPERATOR(pg_catalog.<>) ALL (ARRAY['jsonb', 'text']) OR path[1] OPERATOR(pg_catalog.=) 'sex' THEN
        marker := 'null';
    END IF;

    IF attribute.type OPERATOR(pg_catalog.=) 'jsonb' THEN
        EXECUTE pg_catalog.format('UPDATE clinical.%I AS t SET %I = pg_catalog.jsonb_set(t.%2$I, $1, $2, false)'
                                  ' WHERE %s AND (t.%2$I OPERATOR(pg_catalog.#>) $1) IS NOT NULL',
                                  table_name, path[1], condition) USING path[2:], marker;
    ELSE
        EXECUTE pg_catalog.format('UPDATE clinical.%I AS t SET %I = ($1 OPERATOR(pg_catalog.#>>) ''{}'')::%s WHERE %s AND t.%2$I IS NOT NULL',
                                  table_name, path[1], attribute.type, condition) USING marker;
    END IF;

    -- the digest of a report would let its values be guessed
    IF path[1] OPERATOR(pg_catalog.=) 'report_data' THEN
        EXECUTE pg_catalog.format('UPDATE clinical.%I AS t SET digest = pg_catalog.sha256(pg_catalog.uuid_send(pg_catalog.gen_random_uuid())) WHERE %s',
                                  table_name, condition);
    END IF;
    RETURN clinical.audit_retell(table_name, row_key, path, marker, patient_id);
END
$$;
COMMENT ON FUNCTION clinical.audit_redact_row(text, jsonb, text[], text) IS
'Destroys a value in a row and in the records of the row, for redact: the keys of those records. SQLSTATE: 22023.';

CREATE FUNCTION clinical.redact(table_name regclass, key jsonb, path text[], reason text) RETURNS clinical.audit_record
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_redact';
COMMENT ON FUNCTION clinical.redact(regclass, jsonb, text[], text) IS
'Destroys a value that should never have been entered: in a row of an audited table, in what was derived from it, and in all records of it in the trail, which still verifies. Text becomes "[redacted]", sex and other columns NULL. key: the primary key by column; path: the column and, in a jsonb column, the keys that lead to the value; reason: why, NULL takes clinical.reason. The reasons that were given for changes stay: of a record of audit_record the path {reason} destroys it. Of rows that are about no patient only members of clinical_admin may destroy values. Returns the record of the redaction, which names the records that were changed. SQLSTATE: 22023 an argument missing or malformed; P0002 row not found; 42501; 55000 the row is not what the trail says.';

CREATE VIEW clinical.audit_export WITH (security_invoker = true) AS
    SELECT e.line FROM (
        SELECT r.generation, r.xid, 0 AS kind, r.id, pg_catalog.jsonb_build_object('kind', 'record',
               'generation', r.generation::pg_catalog.text, 'xid', r.xid::pg_catalog.text, 'id', r.id::pg_catalog.text,
               'recorded_at', pg_catalog.to_char(r.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               'login', r.login, 'role', r.role, 'authenticated', r.authenticated, 'actor', r.actor, 'client', r.client,
               'table_name', r.table_name, 'operation', r.operation, 'row_key', r.row_key::pg_catalog.text,
               'patient_id', r.patient_id, 'changes', r.changes::pg_catalog.text, 'reason', r.reason,
               'salt', pg_catalog.encode(r.salt, 'hex'), 'content_hash', pg_catalog.encode(r.content_hash, 'hex'),
               'leaf', pg_catalog.encode(r.leaf, 'hex'))::pg_catalog.text AS line
          FROM clinical.audit_record r
        UNION ALL
        -- a block stands before its records
        SELECT b.generation, b.from_xid, -1, b.block_no, pg_catalog.jsonb_build_object('kind', 'block',
               'block_no', b.block_no::pg_catalog.text, 'generation', b.generation::pg_catalog.text,
               'from_xid', b.from_xid::pg_catalog.text, 'to_xid', b.to_xid::pg_catalog.text,
               'records', b.records::pg_catalog.text, 'root', pg_catalog.encode(b.root, 'hex'),
               'previous', pg_catalog.encode(b.previous, 'hex'),
               'sealed_at', pg_catalog.to_char(b.sealed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               'hash', pg_catalog.encode(b.hash, 'hex'))::pg_catalog.text
          FROM clinical.audit_block b) e
     ORDER BY e.generation, e.xid, e.kind, e.id;
COMMENT ON VIEW clinical.audit_export IS 'The trail and its seals in order, a line of JSON each: what bin/clinical-verify-audit reads.';

CREATE FUNCTION clinical.verify_audit(digest text DEFAULT NULL, OUT fault text, OUT place text, OUT detail text)
    RETURNS SETOF record
    LANGUAGE C STABLE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_verify_audit';
COMMENT ON FUNCTION clinical.verify_audit(text) IS
'Recomputes all of the trail and compares all audited tables with it: a row for each fault, with its place; no rows: sound. digest: what audit_digest() gave before and was kept elsewhere; without it a trail that was cut off, or made anew as a whole, looks sound. Reads whole tables. SQLSTATE: 22023 malformed digest.';

-- membership is audited like every table that comes after
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.membership
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.membership
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.membership ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;

-- Auditors read all; the policy for those who see a patient comes with patients.
ALTER TABLE clinical.audit_record ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.audit_block ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.audit_generation ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.audit_restore ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON clinical.audit_record TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.audit_block TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.audit_generation TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.audit_restore TO clinical_owner USING (true);
CREATE POLICY auditor ON clinical.audit_record FOR SELECT TO clinical_auditor USING (true);
CREATE POLICY auditor ON clinical.audit_block FOR SELECT TO clinical_auditor USING (true);
CREATE POLICY auditor ON clinical.audit_generation FOR SELECT TO clinical_auditor USING (true);
CREATE POLICY auditor ON clinical.audit_restore FOR SELECT TO clinical_auditor USING (true);

REVOKE ALL ON ALL TABLES IN SCHEMA clinical FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA clinical FROM PUBLIC;
GRANT SELECT ON clinical.audit_record, clinical.audit_block, clinical.audit_generation, clinical.audit_restore,
    clinical.audit_export
    TO clinical_auditor;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
GRANT EXECUTE ON FUNCTION clinical.verify_audit(text), clinical.audit_apply(jsonb, jsonb), clinical.audit_image(jsonb),
    clinical.audit_row_of(record), clinical.audit_columns(), clinical.audit_unguarded() TO clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.seal_audit() TO clinical_auditor, clinical_admin, clinical_worker;
GRANT EXECUTE ON FUNCTION clinical.audit_digest() TO clinical_admin, clinical_investigator, clinical_monitor,
    clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.redact(regclass, jsonb, text[], text) TO clinical_data_manager, clinical_admin;
