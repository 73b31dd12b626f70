-- clinical: what concerns all modules, at the end.

GRANT EXECUTE ON FUNCTION clinical.require_preload()
    TO clinical_admin, clinical_intake, clinical_investigator, clinical_monitor, clinical_data_manager,
       clinical_statistician, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.health() TO clinical_admin, clinical_auditor, pg_monitor;
-- who does not see all would be shown faults that are none
GRANT EXECUTE ON FUNCTION clinical.check() TO clinical_auditor;

-- The objects belong to a role that nobody is.  The schema does not: a dump
-- makes it before the extension has made the roles.
GRANT CREATE ON SCHEMA clinical TO clinical_owner;
DO LANGUAGE plpgsql $$
DECLARE
    object record;
BEGIN
    FOR object IN
        SELECT CASE WHEN d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
                    THEN pg_catalog.concat('ROUTINE ', d.objid::pg_catalog.regprocedure)
                    ELSE pg_catalog.concat(CASE c.relkind WHEN 'v' THEN 'VIEW ' ELSE 'TABLE ' END, c.oid::pg_catalog.regclass)
               END AS name
          FROM pg_catalog.pg_depend d
          JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid
          LEFT JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.objid
                AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
         WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
           AND d.deptype OPERATOR(pg_catalog.=) 'e'
           AND e.extname OPERATOR(pg_catalog.=) 'clinical'
           AND (d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
                OR c.relkind OPERATOR(pg_catalog.=) 'r' OR c.relkind OPERATOR(pg_catalog.=) 'v')
    LOOP
        EXECUTE pg_catalog.concat('ALTER ', object.name, ' OWNER TO clinical_owner');
    END LOOP;
END
$$;
REVOKE CREATE ON SCHEMA clinical FROM clinical_owner;
