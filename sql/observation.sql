-- observation: the reports that were accepted, and what was observed in them.

CREATE TABLE clinical.submission (
    patient_id   text COLLATE "C" NOT NULL REFERENCES clinical.patient (id),
    id           uuid NOT NULL,
    project_id   bigint NOT NULL REFERENCES clinical.project (id),
    version_id   bigint NOT NULL REFERENCES clinical.instrument_version (id),
    status       text NOT NULL,
    captured_at  timestamptz NOT NULL,
    local_day    date NOT NULL,
    time_zone    text NOT NULL,
    received_at  timestamptz NOT NULL,
    processed_at timestamptz NOT NULL,
    originator   text NOT NULL,
    device_id    text,
    login        text COLLATE "C" NOT NULL,
    actor        text,
    trace_parent text,
    digest       bytea NOT NULL,
    observations integer NOT NULL,
    observations_digest bytea NOT NULL,
    reason       text,
    report_data  jsonb NOT NULL,
    PRIMARY KEY (patient_id, id)
);
CREATE INDEX submission_project_idx ON clinical.submission (project_id, received_at);
-- What does not hold is found by this one and observation_corrected_idx; reports that are accepted are in neither.
CREATE INDEX submission_withdrawn_idx ON clinical.submission (project_id, patient_id, id) WHERE status OPERATOR(pg_catalog.<>) 'accepted';
-- What no query compares needs no statistics, and of an id their number is enough: these
-- tables are analyzed often while they grow, and pg_statistic grows with that.
ALTER TABLE clinical.submission
    ALTER COLUMN id SET STATISTICS 1, ALTER COLUMN digest SET STATISTICS 0, ALTER COLUMN observations_digest SET STATISTICS 0,
    ALTER COLUMN report_data SET STATISTICS 0, ALTER COLUMN trace_parent SET STATISTICS 0, ALTER COLUMN reason SET STATISTICS 0,
    ALTER COLUMN device_id SET STATISTICS 0, ALTER COLUMN processed_at SET STATISTICS 0;
COMMENT ON TABLE clinical.submission IS 'A report that was accepted, as it came. Written by the server alone; withdrawn, it stays.';
COMMENT ON COLUMN clinical.submission.id IS 'The client''s idempotency key, unique for the patient.';
COMMENT ON COLUMN clinical.submission.project_id IS 'The patient''s project.';
COMMENT ON COLUMN clinical.submission.version_id IS 'What it was checked against: the version of the instrument in force on local_day.';
COMMENT ON COLUMN clinical.submission.status IS 'accepted -> withdrawn.';
COMMENT ON COLUMN clinical.submission.captured_at IS 'When the patient filled it in, says the device.';
COMMENT ON COLUMN clinical.submission.local_day IS 'The day of captured_at in time_zone: the device''s zone, or the patient''s.';
COMMENT ON COLUMN clinical.submission.received_at IS 'When submit_report took it; processed_at is when it was stored here.';
COMMENT ON COLUMN clinical.submission.originator IS 'subject, site, device or import.';
COMMENT ON COLUMN clinical.submission.login IS 'Who submitted it: the login, and behind a shared one the application''s user (actor).';
COMMENT ON COLUMN clinical.submission.trace_parent IS 'W3C Trace Context of the call.';
COMMENT ON COLUMN clinical.submission.digest IS 'SHA-256 of what makes two reports with one id the same.';
COMMENT ON COLUMN clinical.submission.observations IS 'How many rows of observation it made.';
COMMENT ON COLUMN clinical.submission.observations_digest IS 'SHA-256 of these rows (observation_digest): so the audit record of the report covers them.';
COMMENT ON COLUMN clinical.submission.reason IS 'Why it was withdrawn.';

-- No foreign key to submission: the server alone writes both, in one transaction; check()
-- and verify_audit() find an observation without its report.
CREATE TABLE clinical.observation (
    patient_id    text COLLATE "C" NOT NULL,
    item          text COLLATE "C" NOT NULL,
    captured_at   timestamptz NOT NULL,
    id            uuid NOT NULL,
    version       integer NOT NULL,
    submission_id uuid NOT NULL,
    repeat_key    text COLLATE "C",
    local_day     date NOT NULL,
    value         numeric,
    value_text    text,
    value_code    text,
    unit          text,
    absent        text,
    is_score      boolean NOT NULL,
    flagged       boolean NOT NULL,
    reason        text,
    recorded_at   timestamptz NOT NULL,
    recorded_by   text COLLATE "C" NOT NULL,
    actor         text,
    PRIMARY KEY (patient_id, item, captured_at, id, version)
);
CREATE INDEX observation_corrected_idx ON clinical.observation (patient_id, id, version, local_day, recorded_at, submission_id) WHERE version OPERATOR(pg_catalog.>) 1;
ALTER TABLE clinical.observation
    ALTER COLUMN id SET STATISTICS 1, ALTER COLUMN submission_id SET STATISTICS 1, ALTER COLUMN value_text SET STATISTICS 0,
    ALTER COLUMN reason SET STATISTICS 0, ALTER COLUMN recorded_at SET STATISTICS 0, ALTER COLUMN actor SET STATISTICS 0;
COMMENT ON TABLE clinical.observation IS 'What was observed: one row an answer, and one a score; a correction is a row with the next version. Written by the server alone, never changed.';
COMMENT ON COLUMN clinical.observation.item IS 'The code of the item, or of the score, in the instrument (ODM ItemOID, SDTM --TESTCD).';
COMMENT ON COLUMN clinical.observation.version IS 'Counts the versions of the observation from 1; the last one holds.';
COMMENT ON COLUMN clinical.observation.repeat_key IS 'The numbers of the repeats that lead to it, joined by dots; NULL: nothing repeats.';
COMMENT ON COLUMN clinical.observation.value IS 'The number, in unit: of a code its score, of a boolean 1 or 0.';
COMMENT ON COLUMN clinical.observation.absent IS 'Why there is no value (FHIR data-absent-reason).';
COMMENT ON COLUMN clinical.observation.flagged IS 'A soft check found fault with it.';
COMMENT ON COLUMN clinical.observation.reason IS 'Why it was corrected.';

SELECT pg_catalog.pg_extension_config_dump('clinical.submission', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.observation', '');

CREATE VIEW clinical.current_observation WITH (security_invoker = true) AS
    SELECT o.*
      FROM clinical.observation o
      JOIN clinical.submission s ON s.patient_id OPERATOR(pg_catalog.=) o.patient_id AND s.id OPERATOR(pg_catalog.=) o.submission_id
     WHERE s.status OPERATOR(pg_catalog.=) 'accepted'
       AND NOT EXISTS (SELECT FROM clinical.observation n
                        WHERE n.patient_id OPERATOR(pg_catalog.=) o.patient_id AND n.item OPERATOR(pg_catalog.=) o.item
                          AND n.captured_at OPERATOR(pg_catalog.=) o.captured_at AND n.id OPERATOR(pg_catalog.=) o.id
                          AND n.version OPERATOR(pg_catalog.>) o.version);
COMMENT ON VIEW clinical.current_observation IS 'The observations that hold: the last version of each, without those of reports that were withdrawn.';

-- Columns that statisticians may read, and no other: a security_invoker view needs the rights to all of its columns.
CREATE VIEW clinical.analysis_observation WITH (security_invoker = true) AS
    SELECT j.code AS project, p.center_id, c.site_id, o.patient_id AS subject, o.local_day, o.captured_at, v.instrument, v.version AS instrument_version,
           o.item, o.repeat_key, o.value, o.value_code, o.unit, o.absent, o.is_score, o.flagged, o.id AS observation_id, o.version
      FROM clinical.observation o
      JOIN clinical.submission s ON s.patient_id OPERATOR(pg_catalog.=) o.patient_id AND s.id OPERATOR(pg_catalog.=) o.submission_id
      JOIN clinical.patient p ON p.id OPERATOR(pg_catalog.=) o.patient_id
      JOIN clinical.project j ON j.id OPERATOR(pg_catalog.=) s.project_id
      JOIN clinical.center c ON c.id OPERATOR(pg_catalog.=) p.center_id
      JOIN clinical.instrument_version v ON v.id OPERATOR(pg_catalog.=) s.version_id
     WHERE s.status OPERATOR(pg_catalog.=) 'accepted'
       AND NOT EXISTS (SELECT FROM clinical.observation n
                        WHERE n.patient_id OPERATOR(pg_catalog.=) o.patient_id AND n.item OPERATOR(pg_catalog.=) o.item
                          AND n.captured_at OPERATOR(pg_catalog.=) o.captured_at AND n.id OPERATOR(pg_catalog.=) o.id
                          AND n.version OPERATOR(pg_catalog.>) o.version);
COMMENT ON VIEW clinical.analysis_observation IS 'What current_observation has, for analysis: one row a value, by the code of the project and the present center, the subject by its id, no free text and no names.';

CREATE FUNCTION clinical.submission_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_submission_check';
COMMENT ON FUNCTION clinical.submission_check() IS
'Trigger: nobody but the server adds reports or withdraws them, and nothing else in them changes. SQLSTATE: 55000.';

CREATE TRIGGER submission_check BEFORE INSERT OR UPDATE OR DELETE ON clinical.submission
    FOR EACH ROW EXECUTE FUNCTION clinical.submission_check();
CREATE TRIGGER history_rows BEFORE INSERT OR UPDATE OR DELETE ON clinical.observation
    FOR EACH ROW EXECUTE FUNCTION clinical.history_guard();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.submission
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('digest', 'patient_id');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.submission
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
-- What a report made is covered by the audit record of the report (observations_digest);
-- a correction is recorded value by value.
CREATE TRIGGER audit AFTER UPDATE OR DELETE ON clinical.observation
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values', 'patient_id', 'version');
CREATE TRIGGER audit_added AFTER INSERT ON clinical.observation
    FOR EACH ROW WHEN (NEW.version OPERATOR(pg_catalog.>) 1) EXECUTE FUNCTION clinical.audit_row('values', 'patient_id', 'version');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.observation
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.submission ENABLE ALWAYS TRIGGER submission_check, ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;
ALTER TABLE clinical.observation ENABLE ALWAYS TRIGGER history_rows, ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_added, ENABLE ALWAYS TRIGGER audit_truncate;

CREATE FUNCTION clinical.observation_digest_add(state internal, row_value clinical.observation) RETURNS internal
    LANGUAGE C IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_observation_digest_add';
COMMENT ON FUNCTION clinical.observation_digest_add(internal, clinical.observation) IS
'For the aggregate observation_digest. SQLSTATE: 22023 row is required.';
CREATE FUNCTION clinical.observation_digest_result(state internal) RETURNS bytea
    LANGUAGE C IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_observation_digest_result';
COMMENT ON FUNCTION clinical.observation_digest_result(internal) IS
'For the aggregate observation_digest. SQLSTATE: none of its own.';
CREATE AGGREGATE clinical.observation_digest(row_value clinical.observation) (
    SFUNC = clinical.observation_digest_add, STYPE = internal, SSPACE = 4096,
    FINALFUNC = clinical.observation_digest_result, PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.observation_digest(clinical.observation) IS
'The SHA-256 of rows of observation of version 1, by the order of their ids whatever order they come in: of those of a report it is its observations_digest. SQLSTATE: 22023 row is required.';

CREATE FUNCTION clinical.withdraw_submission(patient_id text, submission_id uuid, reason text) RETURNS clinical.submission
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_withdraw_submission';
COMMENT ON FUNCTION clinical.withdraw_submission(text, uuid, text) IS
'An accepted report no longer holds; it stays, with its observations, and is not in current_observation. reason: why; NULL takes clinical.reason of the transaction. SQLSTATE: 22023 an argument missing or empty; P0002 submission not found; 55000 it is withdrawn already.';

CREATE FUNCTION clinical.correct_observation(patient_id text, observation_id uuid, value text, reason text) RETURNS clinical.observation
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_correct_observation';
COMMENT ON FUNCTION clinical.correct_observation(text, uuid, text, text) IS
'Adds the next version of an observation, and returns it. value: in the item''s unit and as reports give it (numbers, true or false, codes, dates, texts), checked against the version of the instrument that the report was checked against. Scores are not computed anew: they are corrected the same way. reason: why; NULL takes clinical.reason of the transaction. SQLSTATE: 22023 an argument missing or empty, or a value that the item cannot have; P0002 observation not found; 55000 its report was withdrawn.';

-- A report is counted for one entry: of those in whose window or grace it was captured, one
-- whose window it was, and of these the one that began last.  So entries behind the period
-- are looked at, too, as far as they may be on at the same time.
CREATE FUNCTION clinical.entry_compliance(patient_id text, period daterange, cut_off timestamptz DEFAULT NULL, OUT instrument text, OUT day date,
    OUT visit text, OUT entry_window tstzrange, OUT closes_at timestamptz, OUT time_zone text, OUT status text, OUT submission_id uuid,
    OUT captured_at timestamptz, OUT received_at timestamptz) RETURNS SETOF record
    LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    at timestamptz := coalesce(cut_off, now());
    behind integer;
    looked_at daterange := period;
BEGIN
    IF NOT (isempty(period) OR lower_inf(period) OR upper_inf(period)) AND isfinite(lower(period)) AND isfinite(upper(period)) THEN
        SELECT max(coalesce((s.schedule ->> 'grace_minutes')::integer, 0) / 1440 + 2 +
                   coalesce((SELECT max(coalesce((v.value ->> 'before')::integer, 0)) + max(coalesce((v.value ->> 'after')::integer, 0))
                               FROM jsonb_array_elements(s.schedule -> 'visits') v), 0))
          INTO behind
          FROM clinical.patient p
          JOIN clinical.entry_schedule s ON s.project_id = p.project_id
         WHERE p.id = entry_compliance.patient_id;
        -- no more than expected_entries takes
        looked_at := daterange(lower(period), greatest(upper(period), least(upper(period) + coalesce(behind, 0), lower(period) + 3660)));
    END IF;
    RETURN QUERY
    WITH entry AS MATERIALIZED (
        SELECT e.*, row_number() OVER () AS number, lower(e.entry_window) AS begins, upper(e.entry_window) AS ends
          FROM clinical.expected_entries(entry_compliance.patient_id, looked_at) e),
    -- the days on which an entry can be made, in UTC: by them reports are brought to their entries at once
    entry_day AS (
        SELECT e.number, e.instrument, e.begins, e.ends, e.closes_at, timezone('UTC', e.begins)::date + days AS utc_day
          FROM entry e CROSS JOIN LATERAL generate_series(0, timezone('UTC', e.closes_at)::date - timezone('UTC', e.begins)::date) AS days),
    report AS (
        SELECT v.instrument, s.id, s.captured_at, s.received_at, timezone('UTC', s.captured_at)::date AS utc_day
          FROM clinical.submission s
          JOIN clinical.instrument_version v ON v.id = s.version_id
         WHERE s.patient_id = entry_compliance.patient_id AND s.status = 'accepted' AND s.received_at <= at),
    counted AS (
        SELECT DISTINCT ON (r.id) d.number, r.id, r.captured_at, r.received_at, r.captured_at < d.ends AS in_time
          FROM report r
          JOIN entry_day d ON d.instrument = r.instrument AND d.utc_day = r.utc_day
         WHERE r.captured_at >= d.begins AND r.captured_at < d.closes_at
         ORDER BY r.id, r.captured_at < d.ends DESC, d.begins DESC, d.number DESC),
    made AS (
        SELECT DISTINCT ON (c.number) c.*
          FROM counted c
         ORDER BY c.number, c.in_time DESC, c.captured_at, c.received_at, c.id)
    SELECT e.instrument, e.day, e.visit, e.entry_window, e.closes_at, e.time_zone,
           CASE WHEN e.status = 'excused' THEN 'excused'
                WHEN m.in_time THEN 'completed'
                WHEN m.number IS NOT NULL THEN 'late'
                WHEN e.closes_at > at THEN 'pending'
                ELSE 'missed' END,
           m.id, m.captured_at, m.received_at
      FROM entry e LEFT JOIN made m ON m.number = e.number
     WHERE e.day <@ period
     ORDER BY e.number;
END
$$;
COMMENT ON FUNCTION clinical.entry_compliance(text, daterange, timestamptz) IS
'What became of the entries that expected_entries gives for a patient and a period: its columns, with status excused; or completed: the instrument was answered in the window, by captured_at of an accepted report; late: in the grace after it; missed: not at all, and it is closed; pending: not yet; and the report that was counted, the first one. A report counts for one entry. cut_off: as it was known then, by received_at; NULL: now. SQLSTATE: 22023 an argument missing, or a period without end; P0002 patient not found.';

-- Who sees a patient sees the patient's reports and observations; statisticians no free text.
ALTER TABLE clinical.submission ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.observation ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON clinical.submission TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.observation TO clinical_owner USING (true);
CREATE POLICY member ON clinical.submission FOR SELECT
    USING (EXISTS (SELECT FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) submission.patient_id));
CREATE POLICY member ON clinical.observation FOR SELECT
    USING (EXISTS (SELECT FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) observation.patient_id));

REVOKE ALL ON ALL TABLES IN SCHEMA clinical FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
GRANT SELECT ON clinical.submission, clinical.observation, clinical.current_observation, clinical.analysis_observation
    TO clinical_investigator, clinical_monitor, clinical_data_manager, clinical_auditor;
GRANT SELECT (patient_id, id, project_id, version_id, status, captured_at, local_day, time_zone, received_at, processed_at, originator, observations)
    ON clinical.submission TO clinical_statistician;
GRANT SELECT (patient_id, item, captured_at, id, version, submission_id, repeat_key, local_day, value, value_code, unit, absent, is_score, flagged, recorded_at)
    ON clinical.observation TO clinical_statistician;
GRANT SELECT ON clinical.analysis_observation TO clinical_statistician;
GRANT EXECUTE ON FUNCTION
    clinical.withdraw_submission(text, uuid, text),
    clinical.correct_observation(text, uuid, text, text)
    TO clinical_data_manager, clinical_investigator;
GRANT EXECUTE ON FUNCTION clinical.entry_compliance(text, daterange, timestamptz)
    TO clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.observation_digest(clinical.observation) TO clinical_auditor;
