-- project: centers, projects, which center takes part in which project, and
-- what became of them.

CREATE TABLE clinical.center (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL CHECK (name <> ''),
    site_id      text COLLATE "C" UNIQUE CHECK (site_id <> ''),
    time_zone    text NOT NULL DEFAULT 'UTC',
    country      text CHECK (country ~ '^[A-Z]{2,3}$'),
    status       text NOT NULL DEFAULT 'active' CHECK (status IN ('planned', 'active', 'suspended', 'closed')),
    activated_at timestamptz,
    created_at   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE clinical.center IS 'A place where a trial is conducted (site; ODM Location).';
COMMENT ON COLUMN clinical.center.site_id IS 'The center''s code in the trials, unique (SDTM SITEID).';
COMMENT ON COLUMN clinical.center.time_zone IS 'IANA name; the calendar of the center, and of its patients where they have none of their own.';
COMMENT ON COLUMN clinical.center.country IS 'ISO 3166-1, two or three capital letters.';
COMMENT ON COLUMN clinical.center.status IS 'planned -> active <-> suspended -> closed.';
COMMENT ON COLUMN clinical.center.activated_at IS 'When the center first became active (site activation); set by the server if not given.';

CREATE TABLE clinical.project (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code       text COLLATE "C" NOT NULL UNIQUE CHECK (code <> ''),
    name       text NOT NULL CHECK (name <> ''),
    time_zone  text NOT NULL DEFAULT 'UTC',
    status     text NOT NULL DEFAULT 'active' CHECK (status IN ('planned', 'active', 'suspended', 'closed')),
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    queue_share numeric CHECK (queue_share > 0 AND queue_share <= 1)
);
COMMENT ON TABLE clinical.project IS 'A trial (ODM Study, FHIR ResearchStudy).';
COMMENT ON COLUMN clinical.project.code IS 'The trial''s code (ODM StudyOID); PJ-<id> if none was given.';
COMMENT ON COLUMN clinical.project.time_zone IS 'IANA name; the calendar of the project''s reports.';
COMMENT ON COLUMN clinical.project.queue_share IS 'So much of the queue may the project''s reports take, from 0 to 1; further ones are answered "busy". NULL: all of it.';
COMMENT ON COLUMN clinical.project.status IS 'planned -> active <-> suspended -> closed.';

CREATE TABLE clinical.project_center (
    project_id        bigint NOT NULL REFERENCES clinical.project (id),
    center_id         bigint NOT NULL REFERENCES clinical.center (id),
    planned_enrolment integer CHECK (planned_enrolment >= 0),
    enrolment_from    date,
    enrolment_to      date,
    added_at          timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (project_id, center_id),
    CHECK (enrolment_from <= enrolment_to)
);
CREATE INDEX project_center_center_id_idx ON clinical.project_center (center_id);
COMMENT ON TABLE clinical.project_center IS 'Which centers take part in which project, and how many patients each is to enroll.';
COMMENT ON COLUMN clinical.project_center.planned_enrolment IS 'Patients that the center is to enroll from enrolment_from to enrolment_to, both days included.';

-- The two histories have no foreign keys: they outlive what they speak of.

CREATE TABLE clinical.center_event (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    center_id   bigint NOT NULL,
    status      text NOT NULL,
    reason      text,
    recorded_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    recorded_by name NOT NULL DEFAULT SESSION_USER,
    actor       text DEFAULT NULLIF(pg_catalog.current_setting('clinical.actor', true), '')
);
CREATE INDEX center_event_center_id_idx ON clinical.center_event (center_id, id);
COMMENT ON TABLE clinical.center_event IS 'Each status that a center has had, from its creation, written by the server and never changed.';

CREATE TABLE clinical.project_event (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id  bigint NOT NULL,
    event       text NOT NULL CHECK (event IN ('status', 'center_added', 'center_removed')),
    status      text,
    center_id   bigint,
    reason      text,
    recorded_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    recorded_by name NOT NULL DEFAULT SESSION_USER,
    actor       text DEFAULT NULLIF(pg_catalog.current_setting('clinical.actor', true), '')
);
CREATE INDEX project_event_project_id_idx ON clinical.project_event (project_id, id);
COMMENT ON TABLE clinical.project_event IS 'Each status that a project has had, from its creation, and each center added to it or removed from it later; written by the server and never changed.';

SELECT pg_catalog.pg_extension_config_dump('clinical.center', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.center_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.project', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.project_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.project_center', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.center_event', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.center_event_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.project_event', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.project_event_id_seq', '');

-- The rules hold for whoever writes, by function, INSERT or COPY, so they are
-- triggers.  Their error messages name columns and keys, never the row.

CREATE FUNCTION clinical.history_guard() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_history_guard';
COMMENT ON FUNCTION clinical.history_guard() IS
'Trigger: rows of a history are written by the server alone and never changed. SQLSTATE: 55000.';

CREATE FUNCTION clinical.center_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_center_check';
COMMENT ON FUNCTION clinical.center_check() IS
'Trigger: name, time zone and ways between the states of a center. SQLSTATE: 22023, 55000.';

CREATE FUNCTION clinical.project_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_project_check';
COMMENT ON FUNCTION clinical.project_check() IS
'Trigger: code, name, time zone and ways between the states of a project. SQLSTATE: 22023, 55000.';

CREATE FUNCTION clinical.project_center_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_project_center_check';
COMMENT ON FUNCTION clinical.project_center_check() IS
'Trigger: a row of project_center keeps its project and its center; days and number of its plan. SQLSTATE: 22023, 55000.';

CREATE FUNCTION clinical.center_history() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_center_history';
COMMENT ON FUNCTION clinical.center_history() IS
'Trigger: writes center_event. It acts with the rights of the owner, so that nobody needs the right to write there.';

CREATE FUNCTION clinical.project_history() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_project_history';
COMMENT ON FUNCTION clinical.project_history() IS
'Trigger: writes project_event for a project. It acts with the rights of the owner, so that nobody needs the right to write there.';

CREATE FUNCTION clinical.project_center_history() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_project_center_history';
COMMENT ON FUNCTION clinical.project_center_history() IS
'Trigger: writes project_event for centers added and removed; removal needs clinical.reason. It acts with the rights of the owner, so that nobody needs the right to write there. SQLSTATE: 22023.';

CREATE TRIGGER center_check BEFORE INSERT OR UPDATE ON clinical.center
    FOR EACH ROW EXECUTE FUNCTION clinical.center_check();
CREATE TRIGGER center_created AFTER INSERT ON clinical.center
    FOR EACH ROW EXECUTE FUNCTION clinical.center_history();
CREATE TRIGGER center_changed AFTER UPDATE ON clinical.center
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION clinical.center_history();
CREATE TRIGGER project_check BEFORE INSERT OR UPDATE ON clinical.project
    FOR EACH ROW EXECUTE FUNCTION clinical.project_check();
CREATE TRIGGER project_created AFTER INSERT ON clinical.project
    FOR EACH ROW EXECUTE FUNCTION clinical.project_history();
CREATE TRIGGER project_changed AFTER UPDATE ON clinical.project
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION clinical.project_history();
CREATE TRIGGER project_center_check BEFORE INSERT OR UPDATE ON clinical.project_center
    FOR EACH ROW EXECUTE FUNCTION clinical.project_center_check();
CREATE TRIGGER project_center_added AFTER INSERT ON clinical.project_center
    REFERENCING NEW TABLE AS changed_rows
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.project_center_history();
CREATE TRIGGER project_center_removed AFTER DELETE ON clinical.project_center
    REFERENCING OLD TABLE AS changed_rows
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.project_center_history();
CREATE TRIGGER history_rows BEFORE INSERT OR UPDATE OR DELETE ON clinical.center_event
    FOR EACH ROW EXECUTE FUNCTION clinical.history_guard();
CREATE TRIGGER history_rows BEFORE INSERT OR UPDATE OR DELETE ON clinical.project_event
    FOR EACH ROW EXECUTE FUNCTION clinical.history_guard();

-- ALWAYS: session_replication_role must not switch them off.
ALTER TABLE clinical.center ENABLE ALWAYS TRIGGER center_check;
ALTER TABLE clinical.center ENABLE ALWAYS TRIGGER center_created;
ALTER TABLE clinical.center ENABLE ALWAYS TRIGGER center_changed;
ALTER TABLE clinical.project ENABLE ALWAYS TRIGGER project_check;
ALTER TABLE clinical.project ENABLE ALWAYS TRIGGER project_created;
ALTER TABLE clinical.project ENABLE ALWAYS TRIGGER project_changed;
ALTER TABLE clinical.project_center ENABLE ALWAYS TRIGGER project_center_check;
ALTER TABLE clinical.project_center ENABLE ALWAYS TRIGGER project_center_added;
ALTER TABLE clinical.project_center ENABLE ALWAYS TRIGGER project_center_removed;
ALTER TABLE clinical.center_event ENABLE ALWAYS TRIGGER history_rows;
ALTER TABLE clinical.project_event ENABLE ALWAYS TRIGGER history_rows;

CREATE FUNCTION clinical.create_center(name text, site_id text DEFAULT NULL, time_zone text DEFAULT NULL,
    country text DEFAULT NULL, status text DEFAULT 'active') RETURNS clinical.center
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_create_center';
COMMENT ON FUNCTION clinical.create_center(text, text, text, text, text) IS
'Creates a center and returns its row. name: what it is called; site_id: its code, unique (SDTM SITEID); time_zone: IANA name, NULL: UTC; country: ISO 3166-1, two or three capital letters; status: planned or active. The same site_id with the same name, time zone and country again returns the center that exists. SQLSTATE: 22023 name missing or empty, unknown time zone, malformed country or status; 23505 site_id exists with different content.';

CREATE FUNCTION clinical.create_project_with_centers(name text, center_ids bigint[], code text DEFAULT NULL,
    time_zone text DEFAULT NULL, status text DEFAULT 'active') RETURNS clinical.project
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_create_project_with_centers';
COMMENT ON FUNCTION clinical.create_project_with_centers(text, bigint[], text, text, text) IS
'Creates a project with its centers, all or nothing, and returns its row. name: its title; center_ids: the ids of its centers, in any order, each once; code: its code, NULL: PJ-<id>; time_zone: IANA name, NULL: UTC; status: planned or active. The same code, name, time zone and centers again returns the project that exists, whatever its status. SQLSTATE: 22023 name missing or empty, center_ids NULL, empty, of several dimensions, with a NULL or with an id twice, unknown time zone or status; 23503 some centers not found (DETAIL lists the first 20 of their ids); 23505 the code exists with different content.';

CREATE FUNCTION clinical.add_center(project_code text, center_id bigint) RETURNS clinical.project_center
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_add_center';
COMMENT ON FUNCTION clinical.add_center(text, bigint) IS
'Adds a center to a project and returns its row of project_center, also if the center takes part already. SQLSTATE: 22023 an argument missing; P0002 project or center not found; 40001 the list of centers was changed meanwhile.';

CREATE FUNCTION clinical.remove_center(project_code text, center_id bigint, reason text) RETURNS clinical.project_center
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_remove_center';
COMMENT ON FUNCTION clinical.remove_center(text, bigint, text) IS
'Removes a center that has no patients in the project, and returns its last row of project_center. reason: why; NULL takes clinical.reason of the transaction. SQLSTATE: 22023 an argument missing; P0002 project not found, or center does not take part in it; 23503 the center has patients in the project.';

CREATE FUNCTION clinical.plan_enrolment(project_code text, center_id bigint, planned integer, from_day date, to_day date)
    RETURNS clinical.project_center
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_plan_enrolment';
COMMENT ON FUNCTION clinical.plan_enrolment(text, bigint, integer, date, date) IS
'Sets how many patients a center is to enroll in a project from one day to another, both included, and returns its row of project_center. SQLSTATE: 22023 an argument missing, negative, infinite, or the days in the wrong order; P0002 project not found, or center does not take part in it.';

CREATE FUNCTION clinical.set_center_status(center_id bigint, status text, reason text DEFAULT NULL) RETURNS clinical.center
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_set_center_status';
COMMENT ON FUNCTION clinical.set_center_status(bigint, text, text) IS
'Moves a center to another status and returns its row: planned -> active <-> suspended -> closed. reason is kept in center_event; NULL takes clinical.reason of the transaction. SQLSTATE: 22023 an argument missing or unknown status; P0002 center not found; 55000 no such way.';

CREATE FUNCTION clinical.set_project_status(project_code text, status text, reason text DEFAULT NULL) RETURNS clinical.project
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_set_project_status';
COMMENT ON FUNCTION clinical.set_project_status(text, text, text) IS
'Moves a project to another status and returns its row: planned -> active <-> suspended -> closed. reason is kept in project_event; NULL takes clinical.reason of the transaction. SQLSTATE: 22023 an argument missing or unknown status; P0002 project not found; 55000 no such way.';

CREATE FUNCTION clinical.project_json(project_code text) RETURNS jsonb
    LANGUAGE C STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_project_json';
COMMENT ON FUNCTION clinical.project_json(text) IS
'A project with its centers as one document for an application: id, code, name, timeZone, status, centers (by id: id, siteID, name, country, timeZone, status, plannedEnrolment, enrolmentFrom, enrolmentTo). SQLSTATE: 22023 project code is required; P0002 project not found.';

CREATE FUNCTION clinical.projects_json() RETURNS jsonb
    LANGUAGE C STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_projects_json';
COMMENT ON FUNCTION clinical.projects_json() IS
'All projects with their centers as one array of the documents that project_json gives, by code; an empty array if there are none. SQLSTATE: none of its own.';

-- All that becomes of these rows is recorded.
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.center
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.center
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.center ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.project
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.project
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.project ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.project_center
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.project_center
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.project_center ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.center_event
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.center_event
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.center_event ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.project_event
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.project_event
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.project_event ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;

-- Who may see which center: membership holds centers and projects.

ALTER TABLE clinical.membership
    ADD FOREIGN KEY (center_id) REFERENCES clinical.center (id),
    ADD FOREIGN KEY (project_id) REFERENCES clinical.project (id);
CREATE INDEX membership_center_id_idx ON clinical.membership (center_id);
CREATE INDEX membership_project_id_idx ON clinical.membership (project_id);

CREATE FUNCTION clinical.grant_center(role_name name, center_id bigint, project_code text DEFAULT NULL)
    RETURNS clinical.membership
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_grant_center';
COMMENT ON FUNCTION clinical.grant_center(name, bigint, text) IS
'Lets a role, and the roles that have its rights, see a center, in one project or (NULL) in all, and returns the row of membership, also if it was there. Counts from the next statement of every session. What the role may do there is what the roles of clinical that it has been granted may do. SQLSTATE: 22023 role or center id missing; 42704 no such role; P0002 center or project not found; 40001 membership was changed meanwhile.';

CREATE FUNCTION clinical.revoke_center(role_name name, center_id bigint, project_code text DEFAULT NULL)
    RETURNS clinical.membership
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_revoke_center';
COMMENT ON FUNCTION clinical.revoke_center(name, bigint, text) IS
'Takes back what grant_center granted with the same arguments, and returns the row as it was. Counts from the next statement of every session. SQLSTATE: 22023 role or center id missing; 42704 no such role; P0002 center, project or membership not found.';

CREATE FUNCTION clinical.grant_all_centers(role_name name, project_code text DEFAULT NULL)
    RETURNS clinical.membership
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_grant_all_centers';
COMMENT ON FUNCTION clinical.grant_all_centers(name, text) IS
'Lets a role see every center that there is or will be, in one project or (NULL) in all, and returns the row of membership. SQLSTATE: 22023 role missing; 42704 no such role; P0002 project not found; 40001 membership was changed meanwhile.';

CREATE FUNCTION clinical.revoke_all_centers(role_name name, project_code text DEFAULT NULL)
    RETURNS clinical.membership
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_revoke_all_centers';
COMMENT ON FUNCTION clinical.revoke_all_centers(name, text) IS
'Takes back what grant_all_centers granted with the same arguments, and returns the row as it was; centers granted one by one stay. SQLSTATE: 22023 role missing; 42704 no such role; P0002 project or membership not found.';

CREATE FUNCTION clinical.whoami(OUT login name, OUT role name, OUT actor text, OUT roles name[], OUT centers jsonb, OUT problem text)
    RETURNS record
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_whoami';
COMMENT ON FUNCTION clinical.whoami() IS
'Who calls: the session''s user, the role in force, the application''s user, the roles of clinical whose rights the role has, the centers granted to it (center, siteID, project, null: every, and through which role), and why it sees no patients, if so. SQLSTATE: none of its own.';

ALTER TABLE clinical.center ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.project ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.project_center ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.center_event ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.project_event ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON clinical.center TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.project TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.project_center TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.center_event TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.project_event TO clinical_owner USING (true);
CREATE POLICY admin ON clinical.center TO clinical_admin USING (true);
CREATE POLICY admin ON clinical.project TO clinical_admin USING (true);
CREATE POLICY admin ON clinical.project_center TO clinical_admin USING (true);
CREATE POLICY admin ON clinical.center_event FOR SELECT TO clinical_admin USING (true);
CREATE POLICY admin ON clinical.project_event FOR SELECT TO clinical_admin USING (true);
-- A center is seen by those who see it, alone or in a project; a project by
-- those who see one of its centers.
CREATE POLICY member ON clinical.project_center FOR SELECT USING (clinical.sees(project_id, center_id));
CREATE POLICY member ON clinical.center FOR SELECT USING (clinical.sees(NULL, id)
    OR EXISTS (SELECT FROM clinical.project_center pc WHERE pc.center_id OPERATOR(pg_catalog.=) center.id));
CREATE POLICY member ON clinical.project FOR SELECT USING (clinical.sees(id, NULL)
    OR EXISTS (SELECT FROM clinical.project_center pc WHERE pc.project_id OPERATOR(pg_catalog.=) project.id));
CREATE POLICY member ON clinical.center_event FOR SELECT
    USING (EXISTS (SELECT FROM clinical.center c WHERE c.id OPERATOR(pg_catalog.=) center_event.center_id));
-- also what is told of a center is for those who see the center
CREATE POLICY member ON clinical.project_event FOR SELECT
    USING (EXISTS (SELECT FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) project_event.project_id)
           AND (center_id IS NULL
                OR EXISTS (SELECT FROM clinical.center c WHERE c.id OPERATOR(pg_catalog.=) project_event.center_id)));

REVOKE ALL ON ALL TABLES IN SCHEMA clinical FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA clinical FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
GRANT SELECT ON clinical.center, clinical.project, clinical.project_center, clinical.center_event, clinical.project_event
    TO clinical_admin, clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT INSERT, UPDATE, DELETE ON clinical.center, clinical.project, clinical.project_center TO clinical_admin;
GRANT EXECUTE ON FUNCTION
    clinical.create_center(text, text, text, text, text),
    clinical.create_project_with_centers(text, bigint[], text, text, text),
    clinical.add_center(text, bigint),
    clinical.remove_center(text, bigint, text),
    clinical.plan_enrolment(text, bigint, integer, date, date),
    clinical.set_center_status(bigint, text, text),
    clinical.set_project_status(text, text, text),
    clinical.grant_center(name, bigint, text),
    clinical.revoke_center(name, bigint, text),
    clinical.grant_all_centers(name, text),
    clinical.revoke_all_centers(name, text)
    TO clinical_admin;
GRANT EXECUTE ON FUNCTION clinical.project_json(text), clinical.projects_json()
    TO clinical_admin, clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.whoami()
    TO clinical_admin, clinical_intake, clinical_investigator, clinical_monitor, clinical_data_manager,
       clinical_statistician, clinical_auditor;
