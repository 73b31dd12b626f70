-- core: installation, settings, health and check.  The first test: the others
-- find the extension and the helper test.try that it creates.
SET client_min_messages = warning;
CREATE EXTENSION clinical;
RESET client_min_messages;
SELECT extversion ~ '^\d+\.\d+$' AS version, n.nspname, NOT extrelocatable AS fixed
  FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'clinical';

CREATE SCHEMA test;
-- What a statement gives: its first value, or SQLSTATE and message with detail and hint.
CREATE FUNCTION test.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
    d text;
    h text;
BEGIN
    EXECUTE statement INTO result;
    RETURN coalesce(result, 'no value');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
    RETURN concat(SQLSTATE, ' ', SQLERRM, E'\n  ' || nullif(d, ''), E'\n  ' || nullif(h, ''));
END
$$;

-- settings
SELECT name, context, vartype, boot_val FROM pg_settings WHERE name LIKE 'clinical.%' ORDER BY 1;
SET clinical.no_such_setting = 1;
CREATE ROLE regress_clinical_nobody;
SET ROLE regress_clinical_nobody;
SET clinical.reason = 'anybody may give a reason';
SET clinical.restore = on;
SELECT clinical.health();
RESET ROLE;
RESET clinical.reason;

-- health: whether there are workers depends on the server that runs this
SELECT count(*) > 0 AS answers, bool_and(ok = (problem IS NULL) AND ok = (remedy IS NULL)) AS coherent,
       bool_or(problem ~ 'version') IS TRUE AS versions_differ
  FROM clinical.health();
BEGIN;
UPDATE pg_extension SET extversion = '0.0' WHERE extname = 'clinical';
SELECT ok, problem ~ 'the extension has version 0.0, the library ' AS found, remedy FROM clinical.health() WHERE problem ~ 'version';
ROLLBACK;

-- an empty database is sound
SELECT * FROM clinical.check();

-- trigger functions are not for calling
SELECT test.try('SELECT clinical.patient_check()');

DROP ROLE regress_clinical_nobody;
