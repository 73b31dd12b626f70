-- access: the roles, and who may see which center.

-- Roles belong to the whole server and outlive the extension: what is there is
-- taken as it is, but not with attributes or members that would let it go around
-- what follows.  The owner owns the objects, and nobody is to act as it; the
-- worker is what the background workers run as (LOGIN with no connection lets a
-- background worker in, before PostgreSQL 17, and nobody else).
DO LANGUAGE plpgsql $$
DECLARE
    name text;
    role record;
BEGIN
    FOREACH name IN ARRAY ARRAY['owner', 'admin', 'intake', 'investigator', 'monitor', 'data_manager',
                                'statistician', 'auditor', 'worker'] LOOP
        name := pg_catalog.concat('clinical_', name);
        SELECT INTO role r.* FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) name::pg_catalog.name;
        IF role.oid IS NULL THEN
            EXECUTE pg_catalog.format(
                CASE name WHEN 'clinical_worker' THEN 'CREATE ROLE %I LOGIN CONNECTION LIMIT 0' ELSE 'CREATE ROLE %I' END, name);
        ELSIF role.rolsuper OR role.rolbypassrls OR role.rolcreaterole OR role.rolcreatedb OR role.rolreplication
           OR role.rolcanlogin OPERATOR(pg_catalog.<>) (name OPERATOR(pg_catalog.=) 'clinical_worker')
           OR (name OPERATOR(pg_catalog.=) 'clinical_worker' AND role.rolconnlimit OPERATOR(pg_catalog.<>) 0)
        THEN
            RAISE EXCEPTION USING
                ERRCODE = 'object_not_in_prerequisite_state',
                MESSAGE = pg_catalog.format('role "%s" exists with other attributes', name),
                HINT = CASE name WHEN 'clinical_worker'
                       THEN 'It must be NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION LOGIN CONNECTION LIMIT 0.'
                       ELSE 'It must be NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION NOLOGIN.' END;
        ELSIF name OPERATOR(pg_catalog.=) ANY (ARRAY['clinical_owner', 'clinical_worker'])
          AND EXISTS (SELECT FROM pg_catalog.pg_auth_members m
                       WHERE m.roleid OPERATOR(pg_catalog.=) role.oid OR m.member OPERATOR(pg_catalog.=) role.oid)
        THEN
            RAISE EXCEPTION USING
                ERRCODE = 'object_not_in_prerequisite_state',
                MESSAGE = pg_catalog.format('role "%s" exists and has members, or is a member of another', name),
                HINT = 'Nobody may act as it: revoke those memberships.';
        END IF;
    END LOOP;
END
$$;

GRANT USAGE ON SCHEMA clinical TO clinical_owner, clinical_admin, clinical_intake, clinical_investigator,
    clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor, clinical_worker;

-- A role is held by its number: one that is dropped and made again inherits
-- nothing.  Its name at the time of the grant is kept beside it: a dump has only
-- the number of a role that is gone, which may be somebody else's elsewhere.
CREATE TABLE clinical.membership (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    role        regrole NOT NULL,
    role_name   name NOT NULL,
    center_id   bigint,
    project_id  bigint,
    recorded_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    recorded_by name NOT NULL DEFAULT SESSION_USER,
    actor       text,
    UNIQUE NULLS NOT DISTINCT (role, center_id, project_id)
);
COMMENT ON TABLE clinical.membership IS 'Which centers a role may see, in which project. Rows are added and removed, never changed.';
COMMENT ON COLUMN clinical.membership.role_name IS 'What the role was called when this was granted; set by the server. A restored row whose role is called otherwise is nobody''s.';
COMMENT ON COLUMN clinical.membership.center_id IS 'NULL: every center.';
COMMENT ON COLUMN clinical.membership.project_id IS 'NULL: in every project.';
SELECT pg_catalog.pg_extension_config_dump('clinical.membership', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.membership_id_seq', '');

CREATE FUNCTION clinical.membership_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_membership_check';
COMMENT ON FUNCTION clinical.membership_check() IS
'Trigger: a membership is of a role that exists, says who gave it when, and does not change. SQLSTATE: 22023, 55000.';

CREATE FUNCTION clinical.membership_changed() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_membership_changed';
COMMENT ON FUNCTION clinical.membership_changed() IS
'Trigger: tells all sessions to look their centers up again.';

CREATE TRIGGER membership_check BEFORE INSERT OR UPDATE ON clinical.membership
    FOR EACH ROW EXECUTE FUNCTION clinical.membership_check();
CREATE TRIGGER membership_changed AFTER INSERT OR UPDATE OR DELETE ON clinical.membership
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.membership_changed();
ALTER TABLE clinical.membership ENABLE ALWAYS TRIGGER membership_check;
ALTER TABLE clinical.membership ENABLE ALWAYS TRIGGER membership_changed;

CREATE FUNCTION clinical.sees(project_id bigint, center_id bigint) RETURNS boolean
    LANGUAGE C STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_sees';
COMMENT ON FUNCTION clinical.sees(bigint, bigint) IS
'Whether the current user may see what belongs to a center in a project; for policies. NULL: whether there is some project, or center, with which it may. True for auditors; otherwise as membership says, for the user and the roles whose rights it has, at the beginning of the statement. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.role_sees(role oid, project_id bigint, center_id bigint) RETURNS boolean
    LANGUAGE C STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_role_sees';
COMMENT ON FUNCTION clinical.role_sees(oid, bigint, bigint) IS
'The same for a role; for the extension''s own use. Superusers and roles with BYPASSRLS see everything. SQLSTATE: none of its own.';

-- Who acts for the extension itself sees all; that goes for every table.
ALTER TABLE clinical.membership ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON clinical.membership TO clinical_owner USING (true);
CREATE POLICY admin ON clinical.membership TO clinical_admin USING (true);
CREATE POLICY auditor ON clinical.membership FOR SELECT TO clinical_auditor USING (true);
CREATE POLICY own ON clinical.membership FOR SELECT USING (pg_catalog.pg_has_role(role, 'USAGE'));

REVOKE ALL ON ALL TABLES IN SCHEMA clinical FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
GRANT SELECT ON clinical.membership TO clinical_admin, clinical_investigator, clinical_monitor,
    clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT INSERT (role, center_id, project_id), DELETE ON clinical.membership TO clinical_admin;
GRANT EXECUTE ON FUNCTION clinical.sees(bigint, bigint) TO clinical_admin, clinical_investigator, clinical_monitor,
    clinical_data_manager, clinical_statistician, clinical_auditor;
