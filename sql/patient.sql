-- patient: patients, their eCRF record with its versions, their dated status,
-- center and time zone, and the search.

-- No CHECK and no DEFAULT here: patient_check has the rules and fills in what is
-- not given.  The server would show the whole row of a patient in the error of a
-- CHECK; and it copies them all at each call of a function that returns the row
-- (measured: 8,100 of 131,000 instructions of get_patient).
CREATE TABLE clinical.patient (
    id             text COLLATE "C" PRIMARY KEY,
    project_id     bigint NOT NULL,
    center_id      bigint NOT NULL,
    status         text NOT NULL,
    status_on      date NOT NULL,
    name           text,
    birth_date     date,
    birth_year     integer,
    age            integer,
    sex            text,
    race           text,
    ethnicity      text,
    time_zone      text,
    record         jsonb NOT NULL,
    record_version integer NOT NULL,
    created_at     timestamptz NOT NULL,
    CONSTRAINT patient_project_center_fkey
        FOREIGN KEY (project_id, center_id) REFERENCES clinical.project_center (project_id, center_id)
);
CREATE INDEX patient_project_id_idx ON clinical.patient (project_id, id);
CREATE INDEX patient_center_id_idx ON clinical.patient (center_id, id);
-- jsonb_path_ops: find_patients asks by containment only, and this class is
-- smaller and reads fewer entries.  fastupdate off: a search never has to read
-- a list of entries that wait for vacuum.
CREATE INDEX patient_record_idx ON clinical.patient USING gin (record pg_catalog.jsonb_path_ops) WITH (fastupdate = off);
COMMENT ON TABLE clinical.patient IS 'A person in a trial, as of now; what led there is in enrollment_event, record_version and patient_time_zone.';
COMMENT ON COLUMN clinical.patient.id IS 'The subject identifier, compared byte by byte (ODM SubjectKey, SDTM USUBJID).';
COMMENT ON COLUMN clinical.patient.status IS 'screened -> screen_failed, or enrolled -> completed, withdrawn, lost_to_follow_up, died; changed by a row in enrollment_event.';
COMMENT ON COLUMN clinical.patient.status_on IS 'The day from which the status holds.';
COMMENT ON COLUMN clinical.patient.birth_year IS 'Where a study gives no day of birth.';
COMMENT ON COLUMN clinical.patient.age IS 'Years, on the day the patient entered; where a study gives neither day nor year of birth (SDTM AGE).';
COMMENT ON COLUMN clinical.patient.sex IS 'CDISC C66731: F, M, U, INTERSEX.';
COMMENT ON COLUMN clinical.patient.race IS 'As the study codes it (SDTM RACE).';
COMMENT ON COLUMN clinical.patient.ethnicity IS 'As the study codes it (SDTM ETHNIC).';
COMMENT ON COLUMN clinical.patient.time_zone IS 'The zone with the latest effective_from in patient_time_zone; NULL: the center''s. time_zone_at gives the one in force at a moment.';
COMMENT ON COLUMN clinical.patient.record IS 'The eCRF record, an object of any shape; empty if not given.';
COMMENT ON COLUMN clinical.patient.record_version IS 'Counts the changes of record from 1; kept by the server.';

CREATE TABLE clinical.enrollment_event (
    patient_id   text COLLATE "C" NOT NULL REFERENCES clinical.patient (id),
    event_no     integer NOT NULL,
    status       text NOT NULL,
    effective_on date NOT NULL,
    center_id    bigint NOT NULL REFERENCES clinical.center (id),
    reason       text,
    recorded_at  timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    recorded_by  name NOT NULL DEFAULT SESSION_USER,
    actor        text DEFAULT NULLIF(pg_catalog.current_setting('clinical.actor', true), ''),
    PRIMARY KEY (patient_id, event_no)
);
COMMENT ON TABLE clinical.enrollment_event IS 'The dated statuses and centers of a patient (SDTM DS). The first row is written with the patient; a further one moves the patient to another status or, with the same status, to another center. Never changed.';
COMMENT ON COLUMN clinical.enrollment_event.event_no IS 'Counts the patient''s events from 1; given by the server.';
COMMENT ON COLUMN clinical.enrollment_event.effective_on IS 'The day of the event; recorded_at is when the server was told.';
COMMENT ON COLUMN clinical.enrollment_event.center_id IS 'The patient''s center from that day; NULL on insert: as before.';

CREATE TABLE clinical.record_version (
    patient_id   text COLLATE "C" NOT NULL REFERENCES clinical.patient (id),
    version      integer NOT NULL,
    record       jsonb NOT NULL,
    changes      jsonb NOT NULL,
    reason       text,
    recorded_at  timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    recorded_by  name NOT NULL DEFAULT SESSION_USER,
    actor        text DEFAULT NULLIF(pg_catalog.current_setting('clinical.actor', true), ''),
    PRIMARY KEY (patient_id, version)
);
COMMENT ON TABLE clinical.record_version IS 'Every version of a patient''s record: who, when, why, what changed. Written by the server, never changed.';
COMMENT ON COLUMN clinical.record_version.record IS 'The whole record as of this version.';
COMMENT ON COLUMN clinical.record_version.changes IS 'What changed since the version before, as record_changes gives it; empty for the first.';

CREATE TABLE clinical.patient_time_zone (
    patient_id     text COLLATE "C" NOT NULL REFERENCES clinical.patient (id),
    event_no       integer NOT NULL,
    effective_from timestamptz NOT NULL,
    time_zone      text NOT NULL,
    recorded_at    timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    recorded_by    name NOT NULL DEFAULT SESSION_USER,
    actor          text DEFAULT NULLIF(pg_catalog.current_setting('clinical.actor', true), ''),
    PRIMARY KEY (patient_id, event_no)
);
COMMENT ON TABLE clinical.patient_time_zone IS 'The time zones that a patient lives in, dated; patients without a row live in their center''s. In force at a moment is the row with the latest effective_from not after it; of two with the same, the one told last. Never changed.';

SELECT pg_catalog.pg_extension_config_dump('clinical.patient', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.enrollment_event', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.record_version', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.patient_time_zone', '');

CREATE FUNCTION clinical.patient_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_patient_check';
COMMENT ON FUNCTION clinical.patient_check() IS
'Trigger: the rules of a patient''s row. A changed record needs clinical.reason and becomes the next version; status, center and time zone change by rows in enrollment_event and patient_time_zone. SQLSTATE: 22023, 55000.';

CREATE FUNCTION clinical.patient_created() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_patient_created';
COMMENT ON FUNCTION clinical.patient_created() IS
'Trigger: project and center of new patients must be active; writes their first rows in enrollment_event, record_version and patient_time_zone. It acts with the rights of the owner, so that nobody needs the right to write there. SQLSTATE: 23503, 55000.';

CREATE FUNCTION clinical.record_changed() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_record_changed';
COMMENT ON FUNCTION clinical.record_changed() IS
'Trigger: writes record_version. It acts with the rights of the owner, so that nobody needs the right to write there.';

CREATE FUNCTION clinical.enrollment_event_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_enrollment_event_check';
COMMENT ON FUNCTION clinical.enrollment_event_check() IS
'Trigger: the ways between the states of a patient, their days, and transfers. Who may not see the patient learns nothing. SQLSTATE: 22023, 23503, 55000, P0002.';

CREATE FUNCTION clinical.enrollment_event_apply() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_enrollment_event_apply';
COMMENT ON FUNCTION clinical.enrollment_event_apply() IS
'Trigger: puts the new status and center into the patient''s row. It acts with the rights of the owner, since nobody changes them there directly.';

CREATE FUNCTION clinical.patient_time_zone_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_patient_time_zone_check';
COMMENT ON FUNCTION clinical.patient_time_zone_check() IS
'Trigger: the rules of patient_time_zone. Who may not see the patient learns nothing. SQLSTATE: 22023, P0002.';

CREATE FUNCTION clinical.patient_time_zone_apply() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_patient_time_zone_apply';
COMMENT ON FUNCTION clinical.patient_time_zone_apply() IS
'Trigger: puts the newest time zone into the patient''s row. It acts with the rights of the owner, since nobody changes it there directly.';

CREATE TRIGGER patient_check BEFORE INSERT OR UPDATE ON clinical.patient
    FOR EACH ROW EXECUTE FUNCTION clinical.patient_check();
CREATE TRIGGER patient_created AFTER INSERT ON clinical.patient
    REFERENCING NEW TABLE AS created_rows
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.patient_created();
CREATE TRIGGER record_changed AFTER UPDATE ON clinical.patient
    FOR EACH ROW WHEN (OLD.record_version IS DISTINCT FROM NEW.record_version)
    EXECUTE FUNCTION clinical.record_changed();
CREATE TRIGGER enrollment_event_check BEFORE INSERT ON clinical.enrollment_event
    FOR EACH ROW EXECUTE FUNCTION clinical.enrollment_event_check();
CREATE TRIGGER enrollment_event_apply AFTER INSERT ON clinical.enrollment_event
    FOR EACH ROW WHEN (NEW.event_no > 1) EXECUTE FUNCTION clinical.enrollment_event_apply();
CREATE TRIGGER patient_time_zone_check BEFORE INSERT ON clinical.patient_time_zone
    FOR EACH ROW EXECUTE FUNCTION clinical.patient_time_zone_check();
CREATE TRIGGER patient_time_zone_apply AFTER INSERT ON clinical.patient_time_zone
    FOR EACH ROW EXECUTE FUNCTION clinical.patient_time_zone_apply();
CREATE TRIGGER history_rows BEFORE UPDATE OR DELETE ON clinical.enrollment_event
    FOR EACH ROW EXECUTE FUNCTION clinical.history_guard();
CREATE TRIGGER history_rows BEFORE INSERT OR UPDATE OR DELETE ON clinical.record_version
    FOR EACH ROW EXECUTE FUNCTION clinical.history_guard();
CREATE TRIGGER history_rows BEFORE UPDATE OR DELETE ON clinical.patient_time_zone
    FOR EACH ROW EXECUTE FUNCTION clinical.history_guard();

-- ALWAYS: session_replication_role must not switch them off.
ALTER TABLE clinical.patient ENABLE ALWAYS TRIGGER patient_check;
ALTER TABLE clinical.patient ENABLE ALWAYS TRIGGER patient_created;
ALTER TABLE clinical.patient ENABLE ALWAYS TRIGGER record_changed;
ALTER TABLE clinical.enrollment_event ENABLE ALWAYS TRIGGER enrollment_event_check;
ALTER TABLE clinical.enrollment_event ENABLE ALWAYS TRIGGER enrollment_event_apply;
ALTER TABLE clinical.enrollment_event ENABLE ALWAYS TRIGGER history_rows;
ALTER TABLE clinical.record_version ENABLE ALWAYS TRIGGER history_rows;
ALTER TABLE clinical.patient_time_zone ENABLE ALWAYS TRIGGER patient_time_zone_check;
ALTER TABLE clinical.patient_time_zone ENABLE ALWAYS TRIGGER patient_time_zone_apply;
ALTER TABLE clinical.patient_time_zone ENABLE ALWAYS TRIGGER history_rows;

CREATE FUNCTION clinical.enroll_patient(id text, name text, birth_date date, project_code text, center_id bigint,
    record jsonb DEFAULT '{}', sex text DEFAULT NULL, time_zone text DEFAULT NULL, status text DEFAULT 'enrolled',
    effective_on date DEFAULT NULL, birth_year integer DEFAULT NULL, race text DEFAULT NULL,
    ethnicity text DEFAULT NULL, age integer DEFAULT NULL) RETURNS clinical.patient
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_enroll_patient';
COMMENT ON FUNCTION clinical.enroll_patient(text, text, date, text, bigint, jsonb, text, text, text, date, integer, text, text, integer) IS
'Enters a patient into a project at a center that takes part in it, and returns the row. id: at most 255 bytes, compared exactly; name, birth_date: NULL where identity is kept elsewhere; of birth_date, birth_year and age (years) at most one; record: the eCRF, an object; sex: F, M, U, INTERSEX (CDISC C66731); time_zone: IANA name, NULL: the center''s; status: screened or enrolled; effective_on: the day of it, also in the past, NULL: today in the center''s time zone. SQLSTATE: 22023 an argument missing or malformed; P0002 project not found; 23503 center does not take part in the project; 23505 patient already exists; 55000 project or center is not active.';

CREATE FUNCTION clinical.get_patient(id text) RETURNS clinical.patient
    LANGUAGE C STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_get_patient';
COMMENT ON FUNCTION clinical.get_patient(text) IS
'The row of one patient, by the exact id. SQLSTATE: 22023 patient id is required; P0002 patient not found.';

CREATE FUNCTION clinical.patient_json(id text) RETURNS jsonb
    LANGUAGE C STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_patient_json';
COMMENT ON FUNCTION clinical.patient_json(text) IS
'One patient as a document for an application: id, name, birthDate (ISO 8601 date, or year, or null), projectID (the project''s code), record. SQLSTATE: 22023 patient id is required; P0002 patient not found; 54000 larger than jsonb can be.';

CREATE FUNCTION clinical.find_patients(project_code text DEFAULT NULL, center_id bigint DEFAULT NULL,
    record_contains jsonb DEFAULT NULL, after_id text DEFAULT NULL, page_size integer DEFAULT 100)
    RETURNS SETOF clinical.patient
    LANGUAGE C STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_find_patients';
COMMENT ON FUNCTION clinical.find_patients(text, bigint, jsonb, text, integer) IS
'Patients in the order of their ids (by bytes), one page: those of the project and of the center, whose record contains record_contains (as jsonb @> does), with an id after after_id; NULL: no such condition. page_size: 1 to 1000 rows, NULL: 100. The next page is asked for with the last id as after_id. SQLSTATE: 22023 empty project code, or page size out of bounds; P0002 project or center not found.';

CREATE FUNCTION clinical.amend_record(id text, patch jsonb, reason text, expected_version integer DEFAULT NULL)
    RETURNS integer
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_amend_record';
COMMENT ON FUNCTION clinical.amend_record(text, jsonb, text, integer) IS
'Applies a JSON merge patch (RFC 7396), an object, to a patient''s record, and returns the new version; a patch that changes nothing makes no version and returns the current one. reason: why; NULL takes clinical.reason of the transaction. expected_version: the version that was read, NULL: not checked. SQLSTATE: 22023 an argument missing or malformed; P0002 patient not found; 40001 record was changed meanwhile.';

CREATE FUNCTION clinical.set_patient_status(id text, status text, effective_on date, reason text DEFAULT NULL)
    RETURNS clinical.patient
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_set_patient_status';
COMMENT ON FUNCTION clinical.set_patient_status(text, text, date, text) IS
'Moves a patient to another status from a day on, and returns the row: screened -> screen_failed, or enrolled -> completed, withdrawn (needs a reason), lost_to_follow_up, died. effective_on: not before the patient''s last event and not in the future. reason: NULL takes clinical.reason of the transaction. SQLSTATE: 22023 an argument missing or malformed; P0002 patient not found; 55000 no such way, or project or center is not active (enrolling).';

CREATE FUNCTION clinical.transfer_patient(id text, center_id bigint, effective_on date, reason text)
    RETURNS clinical.patient
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_transfer_patient';
COMMENT ON FUNCTION clinical.transfer_patient(text, bigint, date, text) IS
'Moves a screened or enrolled patient to another active center of the project from a day on, and returns the row. effective_on: not before the patient''s last event and not in the future. reason: why; NULL takes clinical.reason of the transaction. SQLSTATE: 22023 an argument missing or malformed; P0002 patient not found; 23503 center does not take part in the project; 55000 the patient has left the study or is at the center already, or project or center is not active.';

CREATE FUNCTION clinical.set_patient_time_zone(id text, time_zone text, effective_from timestamptz)
    RETURNS clinical.patient
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_set_patient_time_zone';
COMMENT ON FUNCTION clinical.set_patient_time_zone(text, text, timestamptz) IS
'Says in which time zone (IANA name) a patient lives from a moment on, past or future, and returns the row. SQLSTATE: 22023 an argument missing, or unknown time zone; P0002 patient not found.';

CREATE FUNCTION clinical.time_zone_at(patient_id text, at timestamptz) RETURNS text
    LANGUAGE C STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_time_zone_at';
COMMENT ON FUNCTION clinical.time_zone_at(text, timestamptz) IS
'The time zone in which a patient lives at a moment: the one of patient_time_zone in force, else that of the center the patient was at. SQLSTATE: 22023 an argument missing; P0002 patient not found.';

CREATE FUNCTION clinical.patient_history(id text, OUT recorded_at timestamptz, OUT login text, OUT role text, OUT actor text,
    OUT table_name text, OUT operation text, OUT row_key jsonb, OUT item text, OUT old_value text, OUT new_value text,
    OUT reason text, OUT xid xid8, OUT record_id bigint) RETURNS SETOF record
    LANGUAGE C STABLE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_patient_history';
COMMENT ON FUNCTION clinical.patient_history(text) IS
'Everything that ever happened to a patient, in order: a row for each value entered, changed or removed, with who, when and why; item is the column and, in a record, the keys that lead to the value. recorded_at is the clock, the order is the trail''s. SQLSTATE: 22023 patient id is required; P0002 patient not found.';

CREATE FUNCTION clinical.merge_patch(target jsonb, patch jsonb) RETURNS jsonb
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_merge_patch';
COMMENT ON FUNCTION clinical.merge_patch(jsonb, jsonb) IS
'Applies a JSON merge patch as RFC 7396 defines it. SQLSTATE: 54001 nested too deeply.';

CREATE FUNCTION clinical.record_changes(old_record jsonb, new_record jsonb) RETURNS jsonb
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_record_changes';
COMMENT ON FUNCTION clinical.record_changes(jsonb, jsonb) IS
'What differs between two records: an array, by path, of objects with path (array of keys), old (absent: added) and new (absent: removed). Objects are compared key by key, all other values whole and exactly (1.0 is not 1.00). SQLSTATE: 54001 nested too deeply.';

-- All that becomes of these rows is recorded; changes of a patient give a reason.
-- A version has in it what the record of the patient's row has already.
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.patient
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('reason', 'id');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.patient
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.patient ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.enrollment_event
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values', 'patient_id');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.enrollment_event
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.enrollment_event ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.record_version
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('digest', 'patient_id');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.record_version
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.record_version ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.patient_time_zone
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values', 'patient_id');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.patient_time_zone
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.patient_time_zone ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;

ALTER TABLE clinical.patient ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.enrollment_event ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.record_version ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.patient_time_zone ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON clinical.patient TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.enrollment_event TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.record_version TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.patient_time_zone TO clinical_owner USING (true);
-- What is told of a patient is seen, and may be added, by those who see the
-- patient where it is now.
CREATE POLICY member ON clinical.patient USING (clinical.sees(project_id, center_id));
CREATE POLICY member ON clinical.audit_record FOR SELECT
    USING (EXISTS (SELECT FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) audit_record.patient_id));
CREATE POLICY member ON clinical.enrollment_event
    USING (EXISTS (SELECT FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) enrollment_event.patient_id));
CREATE POLICY member ON clinical.record_version FOR SELECT
    USING (EXISTS (SELECT FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) record_version.patient_id));
CREATE POLICY member ON clinical.patient_time_zone
    USING (EXISTS (SELECT FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) patient_time_zone.patient_id));

REVOKE ALL ON ALL TABLES IN SCHEMA clinical FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
GRANT SELECT ON clinical.patient, clinical.enrollment_event, clinical.record_version, clinical.patient_time_zone
    TO clinical_investigator, clinical_monitor, clinical_data_manager, clinical_auditor;
GRANT SELECT ON clinical.audit_record TO clinical_investigator, clinical_monitor, clinical_data_manager;
-- no name, no day of birth, no free text
GRANT SELECT (id, project_id, center_id, status, status_on, birth_year, age, sex, race, ethnicity, time_zone, record,
              record_version, created_at) ON clinical.patient TO clinical_statistician;
GRANT SELECT (patient_id, event_no, status, effective_on, center_id, recorded_at) ON clinical.enrollment_event
    TO clinical_statistician;
GRANT SELECT (patient_id, event_no, effective_from, time_zone, recorded_at) ON clinical.patient_time_zone
    TO clinical_statistician;
GRANT INSERT ON clinical.patient TO clinical_investigator;
GRANT INSERT (patient_id, status, effective_on, center_id, reason) ON clinical.enrollment_event TO clinical_investigator;
GRANT INSERT (patient_id, effective_from, time_zone) ON clinical.patient_time_zone TO clinical_investigator;
GRANT UPDATE (name, birth_date, birth_year, age, sex, race, ethnicity, record) ON clinical.patient
    TO clinical_investigator, clinical_data_manager;
GRANT EXECUTE ON FUNCTION
    clinical.enroll_patient(text, text, date, text, bigint, jsonb, text, text, text, date, integer, text, text, integer),
    clinical.set_patient_status(text, text, date, text),
    clinical.transfer_patient(text, bigint, date, text),
    clinical.set_patient_time_zone(text, text, timestamptz)
    TO clinical_investigator;
GRANT EXECUTE ON FUNCTION clinical.amend_record(text, jsonb, text, integer)
    TO clinical_investigator, clinical_data_manager;
GRANT EXECUTE ON FUNCTION
    clinical.get_patient(text),
    clinical.patient_json(text),
    clinical.patient_history(text),
    clinical.find_patients(text, bigint, jsonb, text, integer)
    TO clinical_investigator, clinical_monitor, clinical_data_manager, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.time_zone_at(text, timestamptz)
    TO clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.merge_patch(jsonb, jsonb), clinical.record_changes(jsonb, jsonb)
    TO clinical_admin, clinical_intake, clinical_investigator, clinical_monitor, clinical_data_manager,
       clinical_statistician, clinical_auditor;
