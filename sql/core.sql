\echo Use "CREATE EXTENSION clinical" to load this file. \quit

-- core: what every other module stands on.  Nothing here holds data.

-- A schema of this name that somebody made before could hold functions of his
-- own, which unqualified names would then find, or let him make some later: take
-- none but an empty one that belongs to a superuser, as a restored dump makes it.
DO LANGUAGE plpgsql $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace n
               JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
               WHERE n.nspname OPERATOR(pg_catalog.=) 'clinical'
                 AND (NOT r.rolsuper
                      OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace OPERATOR(pg_catalog.=) n.oid)
                      OR EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.pronamespace OPERATOR(pg_catalog.=) n.oid)
                      OR EXISTS (SELECT FROM pg_catalog.pg_operator o WHERE o.oprnamespace OPERATOR(pg_catalog.=) n.oid)
                      OR EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.typnamespace OPERATOR(pg_catalog.=) n.oid)))
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'schema "clinical" exists and is not an empty schema of a superuser',
            HINT = 'Drop the schema, or rename it, and create the extension again.';
    END IF;
END
$$;

REVOKE ALL ON SCHEMA clinical FROM PUBLIC;

COMMENT ON SCHEMA clinical IS 'Clinical research platform: projects, centers, patients, and who did what.';

CREATE FUNCTION clinical.require_preload() RETURNS void
    LANGUAGE C STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_require_preload_sql';
COMMENT ON FUNCTION clinical.require_preload() IS
'Returns if the library was loaded by shared_preload_libraries, which whatever uses background workers needs. SQLSTATE: 55000 if it was not.';

CREATE FUNCTION clinical.health(OUT ok boolean, OUT problem text, OUT remedy text) RETURNS SETOF record
    LANGUAGE C STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_health';
COMMENT ON FUNCTION clinical.health() IS
'Says what about this server or installation wants attention: one row a finding with ok false, the problem and its remedy; a single row with ok true if there is none. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.check(OUT invariant text, OUT object text, OUT detail text) RETURNS SETOF record
    LANGUAGE C STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_check';
COMMENT ON FUNCTION clinical.check() IS
'Tests what must always hold of the stored data: one row for each object that breaks an invariant, with the object''s key and what is wrong with it; no rows: sound. Reads whole tables. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.progress(OUT pid integer, OUT activity integer, OUT phase integer, OUT started_at timestamptz, OUT number_1 bigint,
                                  OUT number_2 bigint, OUT number_3 bigint) RETURNS SETOF record
    LANGUAGE C STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_progress';
COMMENT ON FUNCTION clinical.progress() IS
'How far the calls are that take long in this database; for the views that say what the numbers mean. SQLSTATE: none of its own.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
