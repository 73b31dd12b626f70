-- The catalog lint: what every object of the extension must satisfy.  It fails
-- for any later object that breaks a rule.

-- Functions that take NULL arguments, on purpose: they say what is missing.
CREATE TABLE test.not_strict (name text);
INSERT INTO test.not_strict VALUES
    ('schedule_report'), ('schedule_retention'), ('unschedule_report'), ('run_schedule'), ('run_schedule_elsewhere'),
    ('create_center'), ('create_project_with_centers'), ('add_center'), ('remove_center'), ('plan_enrolment'),
    ('set_center_status'), ('set_project_status'), ('project_json'), ('enroll_patient'), ('get_patient'),
    ('patient_json'), ('find_patients'), ('amend_record'), ('set_patient_status'), ('transfer_patient'),
    ('set_patient_time_zone'), ('time_zone_at'), ('grant_center'), ('revoke_center'), ('grant_all_centers'), ('revoke_all_centers'),
    ('sees'), ('role_sees'), ('verify_audit'), ('redact'), ('audit_content_hash'), ('patient_history'),
    ('create_instrument'), ('instrument_json'), ('import_questionnaire'), ('questionnaire_fhir'), ('use_instrument'), ('drop_instrument'),
    ('instrument_in_force'), ('schedule_entries'), ('excuse_entries'), ('validate_report'), ('report_is_valid'),
    ('submit_report'), ('submit_reports'), ('wait_until_drained'), ('process_reports'), ('submission_status'), ('requeue'), ('withdraw_submission'), ('correct_observation'),
    ('observation_digest_add'), ('observation_digest_result'),
    ('create_rule'), ('change_rule'), ('retire_rule'), ('rule_json'), ('cancel_rule_evaluation'), ('acknowledge_alert'), ('close_alert'), ('rule_backtest'),
    ('describe_add'), ('quantile_add'), ('summary_combine'), ('describe_numeric'), ('describe_double'), ('quantile_numeric'), ('quantile_double'), ('quantiles_numeric'), ('quantiles_double'),
    ('report_entries_add'), ('report_entries_combine'), ('report_entry_count'), ('report_lags_add'), ('report_lags_result'),
    ('report_rows'), ('report_html'),
    ('report_tally_add'), ('report_tally_combine'), ('report_tally_image'),
    ('generate_report'), ('request_report'), ('cancel_report'), ('purge_reports'), ('take_spans');
-- The trail itself, which nothing else records.
CREATE TABLE test.trail (name text);
INSERT INTO test.trail VALUES ('audit_record'), ('audit_block'), ('audit_generation'), ('audit_restore');
-- What has not been processed: neither audited nor indexed.
CREATE TABLE test.staged (name text);
INSERT INTO test.staged VALUES ('staged_report'), ('staged_report_0'), ('staged_report_1'), ('staged_report_2'), ('staged_report_3'), ('staged_report_retry');
-- Whose first versions the audit record of another row covers.
CREATE TABLE test.covered (name text);
INSERT INTO test.covered VALUES ('observation');
-- What tells of the running server and of no patient: PostgreSQL's pg_monitor may see it.
CREATE TABLE test.watched (object text);
INSERT INTO test.watched VALUES
    ('clinical'), ('clinical.intake_counts()'), ('clinical.stat_intake'), ('clinical.worker_states()'), ('clinical.stat_worker'),
    ('clinical.stat_times()'), ('clinical.stat_processing'), ('clinical.stat_projects()'), ('clinical.stat_intake_project'),
    ('clinical.stat_alert'), ('clinical.stat_report'), ('clinical.take_spans(integer)'), ('clinical.span_counts()'),
    ('clinical.stat_span'), ('clinical.health()'), ('clinical.metric_histogram(text)'), ('clinical.metric_samples()'), ('clinical.metrics_text()'),
    ('clinical.http_metrics()');
-- Functions that anybody may call.
CREATE TABLE test.public_function (name text);

-- All that belongs to the extension, or stands in its schema beside it.
CREATE VIEW test.member AS
    SELECT 'pg_class'::regclass AS class, oid FROM pg_class WHERE relnamespace = 'clinical'::regnamespace
    UNION SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = 'clinical'::regnamespace
    UNION SELECT d.classid, d.objid FROM pg_depend d
           WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
             AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'clinical');

CREATE FUNCTION test.lint() RETURNS TABLE (rule text, object text) LANGUAGE sql AS $$
    WITH extension AS (SELECT * FROM pg_extension WHERE extname = 'clinical'),
         f AS (SELECT p.*, p.oid::regprocedure::text AS signature, p.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype) AS is_trigger
                 FROM pg_proc p JOIN test.member m ON m.oid = p.oid AND m.class = 'pg_proc'::regclass),
         r AS (SELECT c.*, c.oid::regclass::text AS title
                 FROM pg_class c JOIN test.member m ON m.oid = c.oid AND m.class = 'pg_class'::regclass)
    SELECT 'belongs to the extension', pg_describe_object(class, m.oid, 0) FROM test.member m
     WHERE class <> 'pg_type'::regclass
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE (d.classid, d.objid, d.deptype) = (m.class, m.oid, 'e'))
       AND NOT EXISTS (SELECT FROM r WHERE r.oid = m.oid AND r.relkind IN ('i', 'I', 'c'))
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE (d.classid, d.objid, d.deptype) = (m.class, m.oid, 'i'))
    UNION ALL
    SELECT 'no privilege for PUBLIC', pg_describe_object('pg_proc'::regclass, f.oid, 0)
      FROM f, aclexplode(coalesce(proacl, acldefault('f', proowner))) a
     WHERE a.grantee = 0 AND f.proname NOT IN (SELECT name FROM test.public_function)
    UNION ALL
    SELECT 'no privilege for PUBLIC', title FROM r, aclexplode(relacl) a WHERE a.grantee = 0
    UNION ALL
    SELECT 'no privilege for PUBLIC', nspname::text FROM pg_namespace, aclexplode(nspacl) a
     WHERE nspname = 'clinical' AND a.grantee = 0
    UNION ALL
    SELECT DISTINCT 'nothing but SELECT, INSERT, UPDATE, DELETE is granted', title || ' to ' || a.grantee::regrole
      FROM r, aclexplode(relacl) a WHERE a.privilege_type NOT IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE') AND a.grantee <> relowner
    UNION ALL
    -- columns too; (a PUBLIC that has it is told of above)
    SELECT DISTINCT 'privileges go to the roles of clinical, without grant option', object || ' to ' || grantee::regrole
      FROM (SELECT title AS object, a.* FROM r, aclexplode(relacl) a WHERE a.grantee <> relowner
            UNION ALL
            SELECT r.title || '.' || attname, a.* FROM r JOIN pg_attribute ON attrelid = r.oid, aclexplode(attacl) a
            UNION ALL
            SELECT signature, a.* FROM f, aclexplode(proacl) a WHERE a.grantee <> proowner
            UNION ALL
            SELECT nspname, a.* FROM pg_namespace, aclexplode(nspacl) a WHERE nspname = 'clinical' AND a.grantee <> nspowner) g
     WHERE grantee <> 0 AND (is_grantable OR grantee::regrole::text !~ '^clinical_')
       AND NOT (grantee = 'pg_monitor'::regrole AND NOT is_grantable AND object IN (SELECT w.object FROM test.watched w))
    UNION ALL
    SELECT 'nobody may write the trail', title || ' ' || a.privilege_type || ' to ' || a.grantee::regrole
      FROM r, LATERAL (SELECT * FROM aclexplode(relacl)
                       UNION ALL SELECT x.* FROM pg_attribute, aclexplode(attacl) x WHERE attrelid = r.oid) a
     WHERE r.relname IN (SELECT name FROM test.trail) AND a.privilege_type <> 'SELECT' AND a.grantee <> relowner
    UNION ALL
    SELECT 'trigger function is for nobody to call', signature || ' to ' || a.grantee::regrole
      FROM f, aclexplode(proacl) a WHERE is_trigger AND a.grantee <> proowner
    UNION ALL
    SELECT 'has a comment', pg_describe_object('pg_proc'::regclass, f.oid, 0) FROM f
     WHERE obj_description(f.oid, 'pg_proc') IS NULL
    UNION ALL
    SELECT 'comment gives SQLSTATE', signature FROM f
     WHERE NOT is_trigger AND obj_description(f.oid, 'pg_proc') !~ 'SQLSTATE: '
    UNION ALL
    SELECT 'has a comment', title FROM r WHERE relkind IN ('r', 'p', 'v', 'm') AND obj_description(r.oid, 'pg_class') IS NULL
    UNION ALL
    SELECT 'SECURITY DEFINER pins search_path', signature FROM f
     WHERE prosecdef AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(proconfig, '{}'))
    UNION ALL
    SELECT 'PL/pgSQL pins search_path', signature FROM f JOIN pg_language l ON l.oid = prolang
     WHERE lanname = 'plpgsql' AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(proconfig, '{}'))
    UNION ALL
    SELECT 'SECURITY DEFINER is justified in its comment', signature FROM f
     WHERE prosecdef AND obj_description(f.oid, 'pg_proc') !~ 'SECURITY DEFINER'
    UNION ALL
    SELECT 'not LEAKPROOF', signature FROM f WHERE proleakproof
    UNION ALL
    SELECT 'C function is STRICT or on the list', signature FROM f JOIN pg_language l ON l.oid = prolang
     WHERE lanname = 'c' AND NOT is_trigger AND NOT proisstrict AND proname NOT IN (SELECT name FROM test.not_strict)
    UNION ALL
    SELECT 'C symbol starts with clinical_', signature FROM f JOIN pg_language l ON l.oid = prolang
     WHERE lanname = 'c' AND prosrc !~ '^clinical_'
    UNION ALL
    SELECT 'volatile function is not PARALLEL SAFE', signature FROM f WHERE provolatile = 'v' AND proparallel = 's'
    UNION ALL
    SELECT 'trigger is ENABLE ALWAYS', r.title || ' ' || tgname FROM pg_trigger t JOIN r ON r.oid = tgrelid
     WHERE NOT tgisinternal AND tgenabled <> 'A'
    UNION ALL
    SELECT 'event trigger is ENABLE ALWAYS', evtname::text FROM pg_event_trigger
     WHERE evtfoid IN (SELECT oid FROM f) AND evtenabled <> 'A'
    UNION ALL
    SELECT 'registered for pg_dump', title FROM r, extension
     WHERE relkind IN ('r', 'p', 'S') AND NOT r.oid = ANY (coalesce(extconfig, '{}'))
    UNION ALL
    SELECT 'is audited', title FROM r
     WHERE relkind IN ('r', 'p') AND r.relname NOT IN (SELECT name FROM test.trail UNION SELECT name FROM test.staged UNION SELECT name FROM test.covered)
       AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = r.oid AND t.tgname = 'audit' AND t.tgfoid = 'clinical.audit_row'::regproc
                          AND t.tgtype = 1 + 4 + 8 + 16 AND t.tgqual IS NULL AND t.tgattr = '')
    UNION ALL
    SELECT 'is audited', title FROM r
     WHERE r.relname IN (SELECT name FROM test.covered)
       AND 2 <> (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = r.oid AND t.tgfoid = 'clinical.audit_row'::regproc AND t.tgattr = ''
                    AND (t.tgname = 'audit' AND t.tgtype = 1 + 8 + 16 AND t.tgqual IS NULL
                         OR t.tgname = 'audit_added' AND t.tgtype = 1 + 4 AND pg_get_triggerdef(t.oid) ~ 'WHEN \(\(new\.version > 1\)\)'))
    UNION ALL
    SELECT 'trail is guarded', title FROM r
     WHERE r.relname IN (SELECT name FROM test.trail)
       AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = r.oid AND t.tgfoid = 'clinical.audit_guard'::regproc
                          AND t.tgtype = 1 + 2 + 4 + 8 + 16 AND t.tgqual IS NULL AND t.tgattr = '')
    UNION ALL
    SELECT 'cannot be truncated', title FROM r
     WHERE relkind IN ('r', 'p')
       AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = r.oid AND t.tgtype = 2 + 32
                          AND t.tgfoid IN ('clinical.audit_truncate'::regproc, 'clinical.audit_guard'::regproc))
    UNION ALL
    SELECT 'row level security is forced', title FROM r
     WHERE relkind IN ('r', 'p') AND NOT (relrowsecurity AND relforcerowsecurity)
    UNION ALL
    SELECT 'owner sees all', title FROM r
     WHERE relkind IN ('r', 'p') AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = r.oid AND p.polroles = ARRAY['clinical_owner'::regrole::oid]
                                                    AND pg_get_expr(p.polqual, r.oid) = 'true' AND p.polcmd = '*')
    UNION ALL
    -- a policy that says no more than a role is for the roles that see all; ANDed ones are not looked for
    SELECT 'who sees all is owner, administrator or auditor', polname || ' on ' || title
      FROM pg_policy p JOIN r ON r.oid = p.polrelid
     WHERE 'true' IN (pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
       AND NOT polroles <@ ARRAY['clinical_owner'::regrole, 'clinical_admin'::regrole, 'clinical_auditor'::regrole]::oid[]
    UNION ALL
    SELECT 'trail''s policy is for SELECT', polname || ' on ' || title
      FROM pg_policy p JOIN r ON r.oid = p.polrelid
     WHERE r.relname IN (SELECT name FROM test.trail) AND polcmd <> 'r' AND polroles <> ARRAY['clinical_owner'::regrole::oid]
    UNION ALL
    SELECT 'belongs to clinical_owner', title FROM r WHERE relowner <> 'clinical_owner'::regrole AND relkind IN ('r', 'p', 'v', 'm', 'S')
    UNION ALL
    SELECT 'belongs to clinical_owner', signature FROM f WHERE proowner <> 'clinical_owner'::regrole
    UNION ALL
    SELECT 'view is security_invoker', title FROM r
     WHERE relkind IN ('v', 'm') AND NOT 'security_invoker=true' = ANY (coalesce(reloptions, '{}'))
    UNION ALL
    SELECT 'table has a primary key', title FROM r
     WHERE relkind IN ('r', 'p') AND r.relname NOT IN (SELECT name FROM test.staged)
       AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = r.oid AND i.indisprimary)
    UNION ALL
    SELECT 'patient_id leads every unique index', i.indexrelid::regclass::text
      FROM r JOIN pg_index i ON i.indrelid = r.oid AND i.indisunique
      JOIN pg_attribute a ON a.attrelid = r.oid AND a.attname = 'patient_id' AND NOT a.attisdropped
     WHERE i.indkey[0] <> a.attnum AND r.relname NOT IN (SELECT name FROM test.trail)
    UNION ALL
    SELECT 'patient ids compare by bytes', r.title || '.' || a.attname FROM r
      JOIN pg_attribute a ON a.attrelid = r.oid AND (a.attname = 'patient_id' OR (a.attname = 'id' AND r.relname = 'patient'))
      LEFT JOIN pg_collation c ON c.oid = a.attcollation
     WHERE r.relkind IN ('r', 'p') AND c.collname IS DISTINCT FROM 'C'
     ORDER BY 1, 2
$$;

SELECT * FROM test.lint();

-- each rule is seen broken
BEGIN;
ALTER EVENT TRIGGER clinical_ddl DISABLE;
ALTER EVENT TRIGGER clinical_drop DISABLE;
SET client_min_messages = warning;
CREATE FUNCTION clinical.stranger() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
COMMENT ON FUNCTION clinical.stranger() IS 'No such clause.';
CREATE FUNCTION clinical.bad_definer() RETURNS int LANGUAGE sql VOLATILE PARALLEL SAFE LEAKPROOF SECURITY DEFINER
    SET search_path = public AS 'SELECT 1';
CREATE FUNCTION clinical.bad_c(int) RETURNS int LANGUAGE internal AS 'int4abs';
UPDATE pg_proc SET prolang = (SELECT oid FROM pg_language WHERE lanname = 'c') WHERE proname = 'bad_c';
CREATE TABLE clinical.bad_table (id bigint GENERATED ALWAYS AS IDENTITY, patient_id text, UNIQUE (id, patient_id));
CREATE VIEW clinical.bad_view AS SELECT 1 AS one;
DROP TRIGGER audit ON clinical.center;
DROP TRIGGER audit_truncate ON clinical.center;
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON clinical.center FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values');
CREATE TRIGGER bad_trigger BEFORE DELETE ON clinical.center FOR EACH ROW EXECUTE FUNCTION clinical.history_guard();
CREATE FUNCTION clinical.bad_event_trigger() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER bad_event_trigger ON sql_drop EXECUTE FUNCTION clinical.bad_event_trigger();
GRANT SELECT ON clinical.patient TO PUBLIC;
CREATE ROLE regress_clinical_joe;
GRANT ALL ON clinical.center TO regress_clinical_joe;
GRANT SELECT (name) ON clinical.project TO regress_clinical_joe;
GRANT SELECT ON clinical.project TO pg_monitor;
GRANT SELECT ON clinical.stat_intake TO pg_monitor WITH GRANT OPTION;
GRANT EXECUTE ON FUNCTION clinical.health() TO clinical_admin WITH GRANT OPTION;
GRANT INSERT ON clinical.audit_block TO clinical_auditor;
GRANT UPDATE (reason) ON clinical.audit_record TO clinical_data_manager;
GRANT EXECUTE ON FUNCTION clinical.audit_guard() TO clinical_auditor;
CREATE POLICY bad_policy ON clinical.audit_record TO clinical_monitor USING (true);
DROP TRIGGER guard ON clinical.audit_generation;
GRANT USAGE ON SCHEMA clinical TO PUBLIC;
ALTER EXTENSION clinical ADD TABLE clinical.bad_table;
ALTER TABLE clinical.center NO FORCE ROW LEVEL SECURITY;
ALTER POLICY owner ON clinical.project USING (id > 0);
SELECT * FROM test.lint();
ROLLBACK;

-- trigger functions do nothing on tables that are not theirs, nor at another moment than theirs
CREATE TABLE test.foreign_table (id bigint, status text);
CREATE FUNCTION test.misuse(function regprocedure, moment text, level text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER misuse %s INSERT ON test.foreign_table FOR EACH %s EXECUTE FUNCTION %s', moment, level, function);
    RAISE EXCEPTION USING MESSAGE = test.try('INSERT INTO test.foreign_table VALUES (7001, ''active'')'), ERRCODE = 'ZZZZZ';
EXCEPTION WHEN SQLSTATE 'ZZZZZ' THEN
    RETURN SQLERRM;
END
$$;
SELECT test.misuse(f.oid, m, l) AS answer, count(*) AS functions_and_moments
  FROM pg_proc f, unnest('{BEFORE,AFTER}'::text[]) m, unnest('{ROW,STATEMENT}'::text[]) l
 WHERE pronamespace = 'clinical'::regnamespace AND prorettype = 'trigger'::regtype GROUP BY 1;
-- the right table, but not as a statement's trigger
BEGIN;
CREATE TRIGGER zz_misuse AFTER INSERT ON clinical.center FOR EACH STATEMENT EXECUTE FUNCTION clinical.center_history();
SELECT test.try('SELECT clinical.create_center(''misuse'')');
ROLLBACK;

-- what there is: a change here is a change of the public face
\pset format unaligned
SELECT p.proname || '(' || pg_get_function_arguments(p.oid) || ')' AS function, pg_get_function_result(p.oid) AS returns,
       provolatile AS volatility, proparallel AS parallel
  FROM pg_proc p WHERE pronamespace = 'clinical'::regnamespace AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype) ORDER BY 1;
SELECT c.relname AS "table", string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) AS columns
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE relnamespace = 'clinical'::regnamespace AND relkind IN ('r', 'v') GROUP BY 1 ORDER BY 1;
