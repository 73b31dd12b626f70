-- intake: reports of patients are taken in at once, and checked and stored afterwards.

-- No index and no constraint that submitting would have to wait for: who was first
-- is decided when a report is processed.
CREATE TABLE clinical.staged_report (
    patient_id    text COLLATE "C" NOT NULL,
    submission_id uuid NOT NULL,
    captured_at   timestamptz,
    received_at   timestamptz NOT NULL,
    instrument    text COLLATE "C",
    time_zone     text COLLATE "C",
    originator    text COLLATE "C" NOT NULL,
    device_id     text COLLATE "C",
    login         text COLLATE "C" NOT NULL,
    actor         text COLLATE "C",
    trace_parent  text COLLATE "C",
    digest        bytea,
    report_data   jsonb NOT NULL,
    attempts      integer,
    crashes       integer,
    not_before    timestamptz,
    quota_project bigint
);
-- Reports of up to 8 kB stay in the row.
ALTER TABLE clinical.staged_report ALTER COLUMN report_data SET STORAGE MAIN;
COMMENT ON TABLE clinical.staged_report IS 'Reports that were received and are not yet processed; all rows are in its segments and in staged_report_retry. A row leaves it in the transaction that stores the report.';
COMMENT ON COLUMN clinical.staged_report.captured_at IS 'As it was given; NULL: not at all.';
COMMENT ON COLUMN clinical.staged_report.digest IS 'Of a report that was put back from quarantine; NULL: to be computed.';
COMMENT ON COLUMN clinical.staged_report.attempts IS 'So many times it failed in a way that may go well another time; NULL: never.';
COMMENT ON COLUMN clinical.staged_report.crashes IS 'So many times it was about to be processed alone, after a crash of the server; NULL: never.';
COMMENT ON COLUMN clinical.staged_report.not_before IS 'When it is tried again; NULL: it waits for the first time.';
COMMENT ON COLUMN clinical.staged_report.quota_project IS 'The patient''s project, if it had a share of the queue when the report came (project.queue_share).';

-- A ring of segments, of which one takes reports in, at its end. Those that were processed are emptied whole, by a
-- worker and not by autovacuum, which would look through rows again and again that an old snapshot may still see.
CREATE TABLE clinical.staged_report_0 () INHERITS (clinical.staged_report)
    WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off, toast_tuple_target = 8160);
CREATE TABLE clinical.staged_report_1 () INHERITS (clinical.staged_report)
    WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off, toast_tuple_target = 8160);
CREATE TABLE clinical.staged_report_2 () INHERITS (clinical.staged_report)
    WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off, toast_tuple_target = 8160);
CREATE TABLE clinical.staged_report_3 () INHERITS (clinical.staged_report)
    WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off, toast_tuple_target = 8160);
CREATE TABLE clinical.staged_report_retry () INHERITS (clinical.staged_report);
COMMENT ON TABLE clinical.staged_report_0 IS 'A segment of staged_report.';
COMMENT ON TABLE clinical.staged_report_1 IS 'A segment of staged_report.';
COMMENT ON TABLE clinical.staged_report_2 IS 'A segment of staged_report.';
COMMENT ON TABLE clinical.staged_report_3 IS 'A segment of staged_report.';
COMMENT ON TABLE clinical.staged_report_retry IS 'The part of staged_report that failed and is tried again, or is processed alone after a crash of the server: here it keeps no segment from being emptied.';

CREATE TABLE clinical.set_aside (
    patient_id     text COLLATE "C" NOT NULL,
    submission_id  uuid NOT NULL,
    arrival        uuid NOT NULL,
    outcome        text NOT NULL,
    project_id     bigint REFERENCES clinical.project (id),
    reason_code    text,
    detail         jsonb,
    captured_at    timestamptz NOT NULL,
    received_at    timestamptz NOT NULL,
    processed_at   timestamptz NOT NULL,
    instrument     text COLLATE "C",
    time_zone      text,
    originator     text NOT NULL,
    device_id      text COLLATE "C",
    login          text COLLATE "C" NOT NULL,
    actor          text COLLATE "C",
    trace_parent   text COLLATE "C",
    digest         bytea NOT NULL,
    report_data    jsonb,
    requeued_at    timestamptz,
    requeued_by    name,
    requeue_actor  text,
    requeue_reason text,
    patch          jsonb,
    PRIMARY KEY (patient_id, submission_id, arrival)
);
-- What no query compares needs no statistics.
ALTER TABLE clinical.set_aside
    ALTER COLUMN detail SET STATISTICS 0, ALTER COLUMN digest SET STATISTICS 0, ALTER COLUMN report_data SET STATISTICS 0,
    ALTER COLUMN patch SET STATISTICS 0, ALTER COLUMN arrival SET STATISTICS 1, ALTER COLUMN trace_parent SET STATISTICS 0;
CREATE INDEX set_aside_quarantine_idx ON clinical.set_aside (reason_code, received_at)
    WHERE outcome OPERATOR(pg_catalog.=) 'quarantined' AND requeued_at IS NULL;
COMMENT ON TABLE clinical.set_aside IS 'Reports that were received and not accepted: duplicates, conflicts, and those in quarantine. Written by the server alone.';
COMMENT ON COLUMN clinical.set_aside.arrival IS 'One arrival of the submission id; time ordered (UUIDv7).';
COMMENT ON COLUMN clinical.set_aside.outcome IS 'duplicate: the same report again; conflict: another report under an id that was used; quarantined: it cannot be accepted as it is.';
COMMENT ON COLUMN clinical.set_aside.project_id IS 'The patient''s project; NULL: there is no such patient.';
COMMENT ON COLUMN clinical.set_aside.reason_code IS 'Why it is in quarantine, by doc/intake.md.';
COMMENT ON COLUMN clinical.set_aside.detail IS 'What was found: items and checks, no values.';
COMMENT ON COLUMN clinical.set_aside.report_data IS 'As it came; of a duplicate NULL, since it is there already.';
COMMENT ON COLUMN clinical.set_aside.requeued_at IS 'When it was put back among the staged reports; patch is what was changed then, in a copy.';

SELECT pg_catalog.pg_extension_config_dump('clinical.staged_report', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.staged_report_0', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.staged_report_1', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.staged_report_2', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.staged_report_3', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.staged_report_retry', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.set_aside', '');

CREATE FUNCTION clinical.intake_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_intake_check';
COMMENT ON FUNCTION clinical.intake_check() IS
'Trigger: nobody but the server writes the table. SQLSTATE: 55000.';

CREATE TRIGGER intake_check BEFORE INSERT OR UPDATE OR DELETE ON clinical.set_aside
    FOR EACH ROW EXECUTE FUNCTION clinical.intake_check();
CREATE FUNCTION clinical.staged_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_staged_check';
COMMENT ON FUNCTION clinical.staged_check() IS
'Trigger: nobody but the server writes the table; what a restore has put there is counted. SQLSTATE: 55000.';

CREATE TRIGGER staged_check BEFORE INSERT OR UPDATE OR DELETE ON clinical.staged_report
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.staged_check();
CREATE TRIGGER staged_check BEFORE INSERT OR UPDATE OR DELETE ON clinical.staged_report_0
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.staged_check();
CREATE TRIGGER staged_check BEFORE INSERT OR UPDATE OR DELETE ON clinical.staged_report_1
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.staged_check();
CREATE TRIGGER staged_check BEFORE INSERT OR UPDATE OR DELETE ON clinical.staged_report_2
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.staged_check();
CREATE TRIGGER staged_check BEFORE INSERT OR UPDATE OR DELETE ON clinical.staged_report_3
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.staged_check();
CREATE TRIGGER staged_check BEFORE INSERT OR UPDATE OR DELETE ON clinical.staged_report_retry
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.staged_check();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.set_aside
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('digest', 'patient_id');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.set_aside
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.staged_report
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.staged_report_0
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.staged_report_1
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.staged_report_2
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.staged_report_3
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.staged_report_retry
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.set_aside ENABLE ALWAYS TRIGGER intake_check, ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;
ALTER TABLE ONLY clinical.staged_report ENABLE ALWAYS TRIGGER staged_check, ENABLE ALWAYS TRIGGER audit_truncate;
ALTER TABLE ONLY clinical.staged_report_0 ENABLE ALWAYS TRIGGER staged_check, ENABLE ALWAYS TRIGGER audit_truncate;
ALTER TABLE ONLY clinical.staged_report_1 ENABLE ALWAYS TRIGGER staged_check, ENABLE ALWAYS TRIGGER audit_truncate;
ALTER TABLE ONLY clinical.staged_report_2 ENABLE ALWAYS TRIGGER staged_check, ENABLE ALWAYS TRIGGER audit_truncate;
ALTER TABLE ONLY clinical.staged_report_3 ENABLE ALWAYS TRIGGER staged_check, ENABLE ALWAYS TRIGGER audit_truncate;
ALTER TABLE ONLY clinical.staged_report_retry ENABLE ALWAYS TRIGGER staged_check, ENABLE ALWAYS TRIGGER audit_truncate;

CREATE FUNCTION clinical.queue_share_changed() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_queue_share_changed';
COMMENT ON FUNCTION clinical.queue_share_changed() IS
'Trigger: a changed queue_share holds at once. SQLSTATE: 54000 more than 32 projects have one.';

CREATE TRIGGER queue_share_changed AFTER INSERT OR UPDATE OF queue_share OR DELETE ON clinical.project
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.queue_share_changed();
ALTER TABLE clinical.project ENABLE ALWAYS TRIGGER queue_share_changed;

CREATE TYPE clinical.submit_response AS (success boolean, message text, submission_id uuid, outcome text);
COMMENT ON TYPE clinical.submit_response IS 'What submit_report and submit_reports answer; outcome: queued, already_received, conflict or busy, and of submit_reports also invalid. submission_id is NULL where nothing was kept: busy, invalid.';

CREATE FUNCTION clinical.submit_report(patient_id text, report_data jsonb, submission_id uuid DEFAULT NULL,
    captured_at timestamptz DEFAULT NULL, instrument text DEFAULT NULL, time_zone text DEFAULT NULL,
    originator text DEFAULT 'subject', device_id text DEFAULT NULL, actor text DEFAULT NULL, trace_parent text DEFAULT NULL)
    RETURNS clinical.submit_response
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_submit_report';
COMMENT ON FUNCTION clinical.submit_report(text, jsonb, uuid, timestamptz, text, text, text, text, text, text) IS
'Takes in a report of a patient, which is checked and stored afterwards; from the commit of the transaction on it is durable. patient_id: up to 255 bytes, as are instrument, device_id and actor; report_data: an object of item code to answer, or a FHIR QuestionnaireResponse; submission_id: the client''s key, with which it may send the report again, NULL: a new UUIDv7; captured_at: when the patient filled it in, NULL: now; instrument: NULL takes the project''s default; time_zone: the device''s, NULL: the patient''s; originator: subject, site, device or import; device_id; actor: the application''s user behind a shared login, NULL takes clinical.actor; trace_parent: W3C Trace Context, NULL takes clinical.trace_parent, or that of a comment at the end of the client''s statement. Result: success, message for people, submission_id, outcome queued, already_received, conflict or busy (the queue is full, or the project''s share of it). SQLSTATE: 22023 an argument missing or malformed; 54000 report data is too large; 25006 a standby or a read-only transaction; 0A000 on PREPARE TRANSACTION afterwards; 55000 clinical is not in shared_preload_libraries; 53400 there are more databases than clinical.max_databases.';

CREATE FUNCTION clinical.submit_reports(reports jsonb) RETURNS SETOF clinical.submit_response
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_submit_reports';
COMMENT ON FUNCTION clinical.submit_reports(jsonb) IS
'Takes in many reports as submit_report does, in one call, and answers for each, in order. reports: an array of objects whose keys are names of arguments of submit_report; NULL is as if the key were not there, and a captured_at without an offset is of the session''s time zone. What submit_report refuses with an error is answered here with the outcome invalid and the message of that error, and does not harm the others. SQLSTATE: 22023 reports is not an array; 25006 a standby or a read-only transaction; 0A000 on PREPARE TRANSACTION afterwards; 55000 clinical is not in shared_preload_libraries; 53400 there are more databases than clinical.max_databases.';

CREATE FUNCTION clinical.process_reports(max_reports integer DEFAULT NULL) RETURNS bigint
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_process_reports';
COMMENT ON FUNCTION clinical.process_reports(integer) IS
'Processes staged reports in this transaction, as background workers do, and returns how many. It waits for workers that process reports of the same patients, and they leave these alone until the transaction ends. It empties no segments. After a crash of the server it leaves all to the workers, if there are any, until they have processed one by one what may be the cause. max_reports: at most so many; NULL: all that are there and due. SQLSTATE: 22023 max_reports is not positive; 25001 the transaction is not READ COMMITTED; 25006 a standby or a read-only transaction; 0A000 on PREPARE TRANSACTION afterwards; 55000 clinical is not in shared_preload_libraries; 53400 there are more databases than clinical.max_databases; classes 53, 57 and 58 as they come: nothing was processed then.';

CREATE FUNCTION clinical.wait_until_drained(timeout interval DEFAULT NULL) RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_wait_until_drained';
COMMENT ON FUNCTION clinical.wait_until_drained(interval) IS
'Waits until no committed report waits to be processed or to be tried again; false if that takes longer than timeout (NULL: as long as it takes, without workers for ever). Reports that open transactions, this one included, have submitted do not count. SQLSTATE: 25006 the server is a standby; 55000 clinical is not in shared_preload_libraries; 53400 there are more databases than clinical.max_databases.';

CREATE FUNCTION clinical.submission_status(patient_id text, submission_id uuid,
    OUT status text, OUT reason_code text, OUT detail jsonb, OUT received_at timestamptz, OUT processed_at timestamptz)
    RETURNS record
    LANGUAGE C STABLE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_submission_status';
COMMENT ON FUNCTION clinical.submission_status(text, uuid) IS
'What has become of a report: queued, accepted, withdrawn or quarantined, with the reason and times. For who submitted it and who sees the patient. A report that waits is looked for in all of the queue. SQLSTATE: 22023 an argument missing; P0002 submission not found.';

CREATE FUNCTION clinical.requeue(patient_id text, submission_id uuid, reason text, patch jsonb DEFAULT NULL) RETURNS text
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_requeue';
COMMENT ON FUNCTION clinical.requeue(text, uuid, text, jsonb) IS
'Puts a report that is in quarantine back among the staged ones, and returns its status, queued. patch: a JSON merge patch (RFC 7396) with keys of submit_report (patient_id, captured_at, instrument, time_zone, report_data, the latter merged into it), for a copy; the original stays as it came. It has a place also in a full queue. reason: why; NULL takes clinical.reason of the transaction. SQLSTATE: 22023 an argument missing or malformed; P0002 submission not found, or the patient in the patch; 54000 the patched report data are too large; 55000 it is not in quarantine, or clinical is not in shared_preload_libraries; 25006 a standby or a read-only transaction; 0A000 on PREPARE TRANSACTION afterwards; 53400 there are more databases than clinical.max_databases.';

CREATE FUNCTION clinical.intake_counts(OUT reset_at timestamptz, OUT backlog_at_reset bigint, OUT capacity bigint,
    OUT places_taken bigint, OUT waiting bigint, OUT put_off bigint, OUT suspects bigint, OUT oldest_staged_age interval,
    OUT staged_bytes bigint, OUT queued bigint, OUT kept bigint, OUT accepted bigint, OUT duplicate bigint, OUT conflict bigint,
    OUT quarantined bigint, OUT requeued bigint, OUT withdrawn bigint, OUT bytes bigint, OUT busy bigint, OUT already_received bigint,
    OUT processed bigint, OUT retried bigint, OUT batches bigint, OUT batches_failed bigint, OUT claim_us bigint, OUT batch_us bigint,
    OUT emptied bigint)
    RETURNS record
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_intake_counts';
COMMENT ON FUNCTION clinical.intake_counts() IS
'What is counted in shared memory about the intake of this database, see stat_intake. SQLSTATE: 55000 clinical is not in shared_preload_libraries; 53400 there are more databases than clinical.max_databases.';

CREATE VIEW clinical.stat_intake WITH (security_invoker = true) AS
    SELECT c.queued OPERATOR(pg_catalog.+) c.kept AS received, c.accepted, c.duplicate, c.conflict, c.quarantined, c.requeued, c.withdrawn,
           c.busy, c.already_received, c.waiting OPERATOR(pg_catalog.+) c.put_off AS backlog, c.backlog_at_reset, c.capacity,
           c.oldest_staged_age, c.bytes, c.staged_bytes, c.places_taken, c.waiting, c.put_off, c.suspects, c.queued, c.processed, c.retried,
           c.batches, c.batches_failed, c.claim_us, c.batch_us, c.emptied, c.reset_at
      FROM clinical.intake_counts() c;
COMMENT ON VIEW clinical.stat_intake IS 'The intake of this database, since reset_at: without a look at any table. Backlog_at_reset + received + requeued = accepted + duplicate + conflict + quarantined + backlog. On a standby all is NULL.';
COMMENT ON COLUMN clinical.stat_intake.received IS 'Reports that were stored: queued, or kept at once as a conflict; busy and already_received are answers that store nothing.';
COMMENT ON COLUMN clinical.stat_intake.quarantined IS 'Each time that a report was put into quarantine; requeued: each time that one was put back among the staged ones.';
COMMENT ON COLUMN clinical.stat_intake.accepted IS 'Reports that were accepted; withdrawn: so many of them were withdrawn.';
COMMENT ON COLUMN clinical.stat_intake.backlog IS 'Committed reports that are not processed: waiting + put_off.';
COMMENT ON COLUMN clinical.stat_intake.backlog_at_reset IS 'What it was at reset_at; rows that came to, or went from, the queue another way, as by a restore, are added when they are counted.';
COMMENT ON COLUMN clinical.stat_intake.capacity IS 'clinical.queue_capacity.';
COMMENT ON COLUMN clinical.stat_intake.oldest_staged_age IS 'How long the first of the reports waits that wait to be processed for the first time, or at most so long; NULL: none does.';
COMMENT ON COLUMN clinical.stat_intake.bytes IS 'Of the data of the reports received, as jsonb.';
COMMENT ON COLUMN clinical.stat_intake.staged_bytes IS 'The size of the queue''s tables on disk.';
COMMENT ON COLUMN clinical.stat_intake.places_taken IS 'Places of the queue that are taken: by reports that wait, those that were put off, and those of open transactions.';
COMMENT ON COLUMN clinical.stat_intake.waiting IS 'Committed reports that wait to be processed for the first time.';
COMMENT ON COLUMN clinical.stat_intake.put_off IS 'Reports that failed for a reason that may pass, and are tried again.';
COMMENT ON COLUMN clinical.stat_intake.suspects IS 'At most so many reports are still to be processed one by one, since the server crashed.';
COMMENT ON COLUMN clinical.stat_intake.queued IS 'Reports that were answered queued, and committed.';
COMMENT ON COLUMN clinical.stat_intake.processed IS 'Reports that left the queue, those put back from quarantine included, in so many batches.';
COMMENT ON COLUMN clinical.stat_intake.retried IS 'So many times a report failed for a reason that may pass, and was put off.';
COMMENT ON COLUMN clinical.stat_intake.batches_failed IS 'Batches that failed and were tried again by halves.';
COMMENT ON COLUMN clinical.stat_intake.claim_us IS 'Microseconds spent finding the reports of batches; batch_us: on the whole batches, without their commits.';
COMMENT ON COLUMN clinical.stat_intake.emptied IS 'Segments of the queue that were emptied.';
COMMENT ON COLUMN clinical.stat_intake.reset_at IS 'When counting began: by stat_reset, or when the server was started after a crash.';

CREATE VIEW clinical.quarantine WITH (security_invoker = true) AS
    SELECT q.project_id, q.reason_code, pg_catalog.count(*) AS reports, pg_catalog.min(q.received_at) AS oldest,
           CASE q.reason_code
               WHEN 'unknown_patient' THEN 'Enroll the patient and requeue, or requeue with the right patient_id.'
               WHEN 'patient_not_on_study' THEN 'Record the patient''s status with its day and requeue.'
               WHEN 'captured_before_enrolment' THEN 'Look at the day of enrolment and at captured_at; requeue with what is right.'
               WHEN 'captured_in_future' THEN 'The device''s clock is wrong: requeue with captured_at.'
               WHEN 'unknown_instrument' THEN 'Say that the project uses the instrument (use_instrument) and requeue.'
               WHEN 'timed_out' THEN 'Find out what took so long, and requeue.'
               WHEN 'crashed' THEN 'Look up in the server''s log how it crashed; mend the cause and requeue.'
               WHEN 'failed' THEN 'Look up the SQLSTATE in detail; mend the cause and requeue.'
               ELSE 'See detail; requeue with a patch of the answer.'
           END AS next_step
      FROM clinical.set_aside q
     WHERE q.outcome OPERATOR(pg_catalog.=) 'quarantined' AND q.requeued_at IS NULL
     GROUP BY q.project_id, q.reason_code;
COMMENT ON VIEW clinical.quarantine IS 'The reports in quarantine by project and reason, with what to do next; the reports themselves are in set_aside.';

CREATE VIEW clinical.intake_balance WITH (security_invoker = true) AS
    WITH report AS (
        SELECT NULL::bigint AS project_id, s.received_at, 'staged' AS state FROM clinical.staged_report s
        UNION ALL
        SELECT s.project_id, s.received_at, s.status FROM clinical.submission s
        UNION ALL
        SELECT a.project_id, a.received_at, a.outcome FROM clinical.set_aside a WHERE a.requeued_at IS NULL)
    SELECT r.project_id, pg_catalog.timezone('UTC', r.received_at)::pg_catalog.date AS day, pg_catalog.count(*) AS received,
           pg_catalog.count(*) FILTER (WHERE r.state OPERATOR(pg_catalog.=) 'accepted') AS accepted,
           pg_catalog.count(*) FILTER (WHERE r.state OPERATOR(pg_catalog.=) 'duplicate') AS duplicate,
           pg_catalog.count(*) FILTER (WHERE r.state OPERATOR(pg_catalog.=) 'conflict') AS conflict,
           pg_catalog.count(*) FILTER (WHERE r.state OPERATOR(pg_catalog.=) 'quarantined') AS quarantined,
           pg_catalog.count(*) FILTER (WHERE r.state OPERATOR(pg_catalog.=) 'withdrawn') AS withdrawn,
           pg_catalog.count(*) FILTER (WHERE r.state OPERATOR(pg_catalog.=) 'staged') AS staged
      FROM report r GROUP BY 1, 2;
COMMENT ON VIEW clinical.intake_balance IS 'What became of the reports that were received, by project (NULL: staged, or of a patient that is not known) and UTC day: received = accepted + duplicate + conflict + quarantined + withdrawn + staged, in every snapshot.';

-- Reports of patients that are not known, and staged ones, are for who is not limited to centers.
ALTER TABLE ONLY clinical.staged_report ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY clinical.staged_report_0 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY clinical.staged_report_1 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY clinical.staged_report_2 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY clinical.staged_report_3 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY clinical.staged_report_retry ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.set_aside ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON clinical.staged_report TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.staged_report_0 TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.staged_report_1 TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.staged_report_2 TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.staged_report_3 TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.staged_report_retry TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.set_aside TO clinical_owner USING (true);
CREATE POLICY admin ON clinical.staged_report FOR SELECT TO clinical_admin, clinical_auditor USING (true);
CREATE POLICY admin ON clinical.set_aside FOR SELECT TO clinical_admin, clinical_auditor USING (true);
CREATE POLICY everywhere ON clinical.staged_report FOR SELECT
    USING (EXISTS (SELECT FROM clinical.membership m WHERE m.center_id IS NULL AND m.project_id IS NULL
                      AND pg_catalog.pg_has_role(m.role, 'USAGE')));
CREATE POLICY everywhere ON clinical.set_aside FOR SELECT
    USING (EXISTS (SELECT FROM clinical.membership m WHERE m.center_id IS NULL AND m.project_id IS NULL
                      AND pg_catalog.pg_has_role(m.role, 'USAGE')));
CREATE POLICY member ON clinical.set_aside FOR SELECT
    USING (EXISTS (SELECT FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) set_aside.patient_id));

REVOKE ALL ON ALL TABLES IN SCHEMA clinical FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
GRANT SELECT ON clinical.staged_report, clinical.set_aside, clinical.quarantine, clinical.intake_balance
    TO clinical_data_manager, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.submit_report(text, jsonb, uuid, timestamptz, text, text, text, text, text, text)
    TO clinical_intake, clinical_investigator, clinical_data_manager;
GRANT EXECUTE ON FUNCTION clinical.submit_reports(jsonb) TO clinical_intake, clinical_investigator, clinical_data_manager;
GRANT EXECUTE ON FUNCTION clinical.submission_status(text, uuid)
    TO clinical_intake, clinical_investigator, clinical_monitor, clinical_data_manager, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.requeue(text, uuid, text, jsonb) TO clinical_data_manager;
GRANT EXECUTE ON FUNCTION clinical.intake_counts() TO clinical_admin, clinical_data_manager, clinical_auditor;
GRANT SELECT ON clinical.stat_intake TO clinical_admin, clinical_data_manager, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.process_reports(integer), clinical.wait_until_drained(interval) TO clinical_admin;
