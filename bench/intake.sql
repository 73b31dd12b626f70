-- intake.sql: what bench/intake runs on, after data.sql: a diary of six items, one report that the
-- extension has stored, and by its rows the tables and functions of who stores the same otherwise.

SELECT clinical.stop_workers();
SELECT version FROM clinical.create_instrument('{"code": "diary", "version": "1", "title": "Evening diary", "items": [
    {"code": "pain_worst", "type": "integer", "required": true, "checks": [
        {"id": "low", "comparator": "GE", "values": [0], "soft_hard": "Hard"},
        {"id": "high", "comparator": "LE", "values": [10], "soft_hard": "Hard"}]},
    {"code": "pain_average", "type": "integer", "required": true, "checks": [
        {"id": "low", "comparator": "GE", "values": [0], "soft_hard": "Hard"},
        {"id": "high", "comparator": "LE", "values": [10], "soft_hard": "Hard"}]},
    {"code": "sleep_hours", "type": "decimal", "unit": "h", "checks": [
        {"id": "low", "comparator": "GE", "values": [0], "soft_hard": "Hard"},
        {"id": "high", "comparator": "LE", "values": [24], "soft_hard": "Hard"}]},
    {"code": "temperature", "type": "decimal", "unit": "Cel", "checks": [
        {"id": "low", "comparator": "GE", "values": [30], "soft_hard": "Hard"},
        {"id": "fever", "comparator": "LE", "values": [38.5], "soft_hard": "Soft"}]},
    {"code": "tablets_taken", "type": "integer"},
    {"code": "comment", "type": "text", "max_length": 500}]}');
SELECT instrument FROM clinical.use_instrument('BENCH', 'diary', true);

-- A report of about 300 bytes.
CREATE FUNCTION bench.report(n bigint) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('pain_worst', bench.draw(n, 201, 11), 'pain_average', bench.draw(n, 202, 11),
        'sleep_hours', bench.draw(n, 203, 96) / 4.0, 'temperature', (360 + bench.draw(n, 204, 25)) / 10.0,
        'tablets_taken', bench.draw(n, 205, 5),
        'comment', 'Woke up ' || bench.draw(n, 206, 9) || ' times in the night, the left knee hurt when climbing the stairs. '
                   'Took the second tablet at ' || bench.draw(n, 207, 24) || ' hours, felt better after a while; no headache today.')
$$;

-- One report, as it waits and as it is stored.
SELECT outcome FROM clinical.submit_report('10000001', bench.report(1));
CREATE TABLE bench.staged_row AS SELECT * FROM clinical.staged_report;
BEGIN;
SELECT clinical.process_reports();
SELECT pg_current_xact_id() AS xid \gset
COMMIT;
CREATE TABLE bench.submission_row AS SELECT * FROM clinical.submission;
CREATE TABLE bench.observation_row AS SELECT * FROM clinical.observation;
CREATE TABLE bench.audit_row AS SELECT * FROM clinical.audit_record r WHERE r.xid = :'xid';
DO $$
BEGIN
    IF (SELECT count(*) FROM bench.staged_row) <> 1 OR (SELECT count(*) FROM bench.submission_row) <> 1
       OR (SELECT count(*) FROM bench.observation_row) <> 6 OR NOT EXISTS (SELECT FROM bench.audit_row) THEN
        RAISE EXCEPTION 'the first report was not stored as expected';
    END IF;
END
$$;

-- INSERT INTO target ... SELECT ... FROM source: columns that are not known are those of the row t.
CREATE FUNCTION bench.insert_statement(like_table regclass, target text, known jsonb, source text) RETURNS text
    LANGUAGE sql STABLE AS $$
    SELECT format('INSERT INTO %s (%s) SELECT %s FROM %s', target,
                  string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum),
                  string_agg(COALESCE(known ->> a.attname, 't.' || quote_ident(a.attname)), ', ' ORDER BY a.attnum), source)
      FROM pg_attribute a WHERE a.attrelid = like_table AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
$$;

-- The three statements that unpack and store the reports w of a source as rows of the same number
-- and widths as the extension's: the hashes in the audit records are copies, not computed.
CREATE FUNCTION bench.store_statements(schema text, source text) RETURNS text[] LANGUAGE sql STABLE AS $$
    SELECT ARRAY[
        bench.insert_statement('clinical.submission', schema || '.submission',
            '{"patient_id": "w.patient_id", "id": "w.submission_id", "captured_at": "w.captured_at", "local_day": "w.captured_at::date",
              "received_at": "w.received_at", "processed_at": "clock_timestamp()", "report_data": "w.report_data"}',
            source || ' CROSS JOIN bench.submission_row t'),
        bench.insert_statement('clinical.observation', schema || '.observation',
            '{"patient_id": "w.patient_id", "captured_at": "w.captured_at", "id": "gen_random_uuid()", "submission_id": "w.submission_id",
              "local_day": "w.captured_at::date", "recorded_at": "clock_timestamp()",
              "value": "CASE WHEN t.value IS NOT NULL THEN (w.report_data -> t.item)::numeric END",
              "value_text": "CASE WHEN t.value_text IS NOT NULL THEN w.report_data ->> t.item END"}',
            source || ' CROSS JOIN bench.observation_row t'),
        bench.insert_statement('clinical.audit_record', schema || '.audit_record',
            '{"xid": "pg_current_xact_id()", "id": "nextval(''bench.audit_id'')", "recorded_at": "clock_timestamp()", "patient_id": "w.patient_id"}',
            source || ' CROSS JOIN bench.audit_row t')]
$$;
CREATE SEQUENCE bench.audit_id START 1000000000 CACHE 1000;

-- The same tables, with the same indexes, but without triggers, foreign keys and policies.
CREATE TABLE bench.submission (LIKE clinical.submission INCLUDING INDEXES INCLUDING STORAGE);
CREATE TABLE bench.observation (LIKE clinical.observation INCLUDING INDEXES INCLUDING STORAGE);
CREATE TABLE bench.audit_record (LIKE clinical.audit_record INCLUDING INDEXES INCLUDING STORAGE);

-- bench.store: what everybody else stores reports with, from arrays, or from jsonb as it stands in a queue.
DO $$
DECLARE
    statement text;
    body text := '';
BEGIN
    FOREACH statement IN ARRAY bench.store_statements('bench', 'unnest(p, s, c, r, d) AS w (patient_id, submission_id, captured_at, received_at, report_data)') LOOP
        body := body || statement || E';\n';
    END LOOP;
    EXECUTE format('CREATE FUNCTION bench.store(p text[], s uuid[], c timestamptz[], r timestamptz[], d jsonb[]) RETURNS void LANGUAGE plpgsql AS %L',
                   E'BEGIN\n' || body || 'END');
END
$$;
CREATE FUNCTION bench.store(reports jsonb) RETURNS void LANGUAGE sql AS $$
    SELECT bench.store(array_agg(w.patient_id), array_agg(w.submission_id), array_agg(w.captured_at), array_agg(w.captured_at), array_agg(w.report_data))
      FROM jsonb_to_recordset(reports) AS w (patient_id text, submission_id uuid, captured_at timestamptz, report_data jsonb)
$$;

-- What waits: :rows patients, drawn at random, in no order.
CREATE TABLE bench.waiting (patient_id text NOT NULL, submission_id uuid NOT NULL, captured_at timestamptz NOT NULL,
                            received_at timestamptz NOT NULL, report_data jsonb NOT NULL);
CREATE TABLE bench.patients AS SELECT :rows::bigint AS patients;
CREATE PROCEDURE bench.fill_waiting(reports bigint) LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE bench.waiting;
    INSERT INTO bench.waiting
        SELECT (10000001 + floor(random() * p.patients))::bigint::text, gen_random_uuid(),
               clock_timestamp() - random() * interval '300 days', clock_timestamp(), bench.report(n)
          FROM bench.patients p, generate_series(1, reports) n;
    COMMIT;
END
$$;

-- Submits what waits.  It must all fit into the queue.
CREATE PROCEDURE bench.submit_waiting() LANGUAGE plpgsql AS $$
DECLARE
    refused bigint;
BEGIN
    SELECT count(*) INTO refused
      FROM (SELECT clinical.submit_report(w.patient_id, w.report_data, w.submission_id, w.captured_at) AS answer FROM bench.waiting w OFFSET 0) s
     WHERE (s.answer).outcome <> 'queued';
    IF refused > 0 THEN
        RAISE EXCEPTION '% reports were not taken', refused;
    END IF;
    COMMIT;
END
$$;

-- Stores what waits by hand; in the extension's tables only where their triggers are off.
CREATE PROCEDURE bench.store_waiting(schema text, sorted boolean) LANGUAGE plpgsql AS $$
DECLARE
    statement text;
BEGIN
    FOREACH statement IN ARRAY bench.store_statements(schema,
        CASE WHEN sorted THEN '(SELECT * FROM bench.waiting ORDER BY patient_id OFFSET 0) w' ELSE 'bench.waiting w' END) LOOP
        EXECUTE statement;
    END LOOP;
    COMMIT;
END
$$;

-- Waits until nothing is staged.
CREATE PROCEDURE bench.wait_drained() LANGUAGE plpgsql AS $$
BEGIN
    LOOP
        PERFORM FROM clinical.staged_report LIMIT 1;
        EXIT WHEN NOT FOUND;
        COMMIT;
        PERFORM pg_sleep(0.02);
    END LOOP;
END
$$;

-- The row that submitting makes, in a table with a primary key.
CREATE TABLE bench.plain_report (no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, LIKE bench.staged_row);
CREATE FUNCTION bench.plain_insert(known jsonb, tail text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT format('INSERT INTO bench.plain_report (%s) SELECT %s %s', string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum),
                  string_agg(COALESCE(known ->> a.attname,
                                      format('%L::%s', to_jsonb(t) ->> a.attname, format_type(a.atttypid, a.atttypmod))), ', ' ORDER BY a.attnum), tail)
      FROM pg_attribute a, bench.staged_row t WHERE a.attrelid = 'bench.staged_row'::regclass AND a.attnum > 0 AND NOT a.attisdropped
$$;
CREATE VIEW bench.plain_scripts AS
    SELECT bench.plain_insert('{"patient_id": ":n", "submission_id": "gen_random_uuid()", "captured_at": "clock_timestamp()",
                                "received_at": "clock_timestamp()", "report_data": ":report"}', '') AS one,
           bench.plain_insert('{"patient_id": "w.patient_id", "submission_id": "gen_random_uuid()", "captured_at": "clock_timestamp()",
                                "received_at": "clock_timestamp()", "report_data": "w.report_data"}',
                              'FROM jsonb_to_recordset(:reports) AS w (patient_id text, report_data jsonb)') AS many;

SELECT clinical.seal_audit();
SELECT clinical.start_workers();
VACUUM ANALYZE;
CHECKPOINT;
