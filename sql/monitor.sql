-- monitor: rules that watch what is observed, and the alerts that they raise.

-- --- rules ------------------------------------------------------------------------------------

CREATE TABLE clinical.monitor_rule (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code        text COLLATE "C" NOT NULL UNIQUE,
    project_id  bigint REFERENCES clinical.project (id),
    status      text NOT NULL,
    recorded_at timestamptz NOT NULL,
    recorded_by name NOT NULL,
    actor       text
);
COMMENT ON TABLE clinical.monitor_rule IS 'Monitoring rules; what they say is in their versions.';
COMMENT ON COLUMN clinical.monitor_rule.project_id IS 'NULL: it is for all projects.';
COMMENT ON COLUMN clinical.monitor_rule.status IS 'active -> retired.';

CREATE TABLE clinical.monitor_rule_version (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule_id     bigint NOT NULL REFERENCES clinical.monitor_rule (id),
    version     integer NOT NULL,
    kind        text NOT NULL,
    severity    text NOT NULL,
    definition  jsonb NOT NULL,
    counts_from timestamptz,
    reason      text,
    recorded_at timestamptz NOT NULL,
    recorded_by name NOT NULL,
    actor       text,
    UNIQUE (rule_id, version)
);
COMMENT ON TABLE clinical.monitor_rule_version IS 'What a rule says: one row a version, never changed; the last one is in force.';
COMMENT ON COLUMN clinical.monitor_rule_version.definition IS 'As it was given (doc/monitor.md).';
COMMENT ON COLUMN clinical.monitor_rule_version.counts_from IS 'Readings captured earlier do not count; NULL: all do.';

CREATE TABLE clinical.rule_evaluation (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule_id       bigint NOT NULL REFERENCES clinical.monitor_rule (id),
    version       integer NOT NULL,
    status        text NOT NULL,
    patients      bigint,
    patients_done bigint NOT NULL DEFAULT 0,
    last_patient  text COLLATE "C",
    requested_at  timestamptz NOT NULL,
    requested_by  name NOT NULL,
    started_at    timestamptz,
    ended_at      timestamptz,
    detail        text
);
COMMENT ON TABLE clinical.rule_evaluation IS 'Evaluations of new versions of rules over what was observed before; a worker does them.';
COMMENT ON COLUMN clinical.rule_evaluation.status IS 'queued -> running -> done, failed or cancelled.';
COMMENT ON COLUMN clinical.rule_evaluation.patients IS 'So many are to be looked at; NULL: not counted yet.';
COMMENT ON COLUMN clinical.rule_evaluation.last_patient IS 'It goes on after this one.';
COMMENT ON COLUMN clinical.rule_evaluation.detail IS 'Why it failed: the SQLSTATE.';

-- --- alerts -----------------------------------------------------------------------------------

CREATE TABLE clinical.alert (
    patient_id       text COLLATE "C" NOT NULL REFERENCES clinical.patient (id),
    id               uuid NOT NULL,
    project_id       bigint NOT NULL REFERENCES clinical.project (id),
    rule_id          bigint NOT NULL REFERENCES clinical.monitor_rule (id),
    rule_version     integer NOT NULL,
    status           text NOT NULL,
    severity         text NOT NULL,
    grade            integer,
    onset            date NOT NULL,
    trigger_day      date NOT NULL,
    last_day         date NOT NULL,
    out_days         integer NOT NULL,
    watch_until      date NOT NULL,
    supported        boolean NOT NULL,
    basis_changed    boolean NOT NULL,
    cleared_day      date,
    condition_cleared_at timestamptz,
    opened_at        timestamptz NOT NULL,
    acknowledged_at  timestamptz,
    acknowledged_by  name,
    closed_at        timestamptz,
    closed_by        name,
    close_reason     text,
    escalation_level integer NOT NULL,
    escalate_at      timestamptz,
    follows          uuid,
    merged_into      uuid,
    events           integer NOT NULL,
    PRIMARY KEY (patient_id, id),
    -- several onsets may move in one transaction, one to where another was; alerts of two versions of a rule
    -- may grow to have the same
    CONSTRAINT alert_onset EXCLUDE USING btree (patient_id WITH OPERATOR(pg_catalog.=), rule_id WITH OPERATOR(pg_catalog.=),
                                                rule_version WITH OPERATOR(pg_catalog.=), onset WITH OPERATOR(pg_catalog.=))
        WHERE (supported) DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX alert_watch_idx ON clinical.alert (patient_id, watch_until);
CREATE INDEX alert_escalate_idx ON clinical.alert (escalate_at) WHERE escalate_at IS NOT NULL;
CREATE INDEX alert_project_idx ON clinical.alert (project_id, opened_at);
-- what somebody has to look at: see alert_worklist
CREATE INDEX alert_worklist_idx ON clinical.alert (project_id, opened_at) WHERE status OPERATOR(pg_catalog.=) 'open' OR basis_changed;
COMMENT ON TABLE clinical.alert IS 'What rules have raised: one row a streak. Written by the server alone; nothing is deleted.';
COMMENT ON COLUMN clinical.alert.rule_version IS 'The version that raised it, and by which it is kept up to date.';
COMMENT ON COLUMN clinical.alert.status IS 'open -> acknowledged -> closed; open -> closed, retracted; open or acknowledged -> merged.';
COMMENT ON COLUMN clinical.alert.grade IS 'Of a graded rule: the worst grade of its days.';
COMMENT ON COLUMN clinical.alert.onset IS 'The first day of the streak in the patient''s calendar; trigger_day is the one on which the rule fired, last_day the last one that is out of range, out_days their number.';
COMMENT ON COLUMN clinical.alert.watch_until IS 'Readings of later days do not touch it; infinity: any may.';
COMMENT ON COLUMN clinical.alert.supported IS 'False: the data no longer support it.';
COMMENT ON COLUMN clinical.alert.basis_changed IS 'The data have changed since somebody handled it.';
COMMENT ON COLUMN clinical.alert.condition_cleared_at IS 'When the data were seen to be back in range, by the readings of cleared_day.';
COMMENT ON COLUMN clinical.alert.escalate_at IS 'When the next level is reached if nobody acknowledges it.';
COMMENT ON COLUMN clinical.alert.follows IS 'An earlier alert: one with this onset that was retracted, or one that this is a recurrence of (cooldown_days).';

CREATE TABLE clinical.alert_event (
    patient_id   text COLLATE "C" NOT NULL,
    alert_id     uuid NOT NULL,
    event_no     integer NOT NULL,
    kind         text NOT NULL,
    status_from  text,
    status_to    text NOT NULL,
    rule_version integer NOT NULL,
    onset        date NOT NULL,
    trigger_day  date NOT NULL,
    last_day     date NOT NULL,
    out_days     integer NOT NULL,
    grade        integer,
    level        integer,
    other        uuid,
    evidence     uuid[],
    cause        text NOT NULL,
    submission_id uuid,
    reason       text,
    trace_parent text,
    recorded_at  timestamptz NOT NULL,
    recorded_by  name NOT NULL,
    actor        text,
    PRIMARY KEY (patient_id, alert_id, event_no),
    FOREIGN KEY (patient_id, alert_id) REFERENCES clinical.alert (patient_id, id)
);
COMMENT ON TABLE clinical.alert_event IS 'Everything that happened to an alert, in order; never changed.';
COMMENT ON COLUMN clinical.alert_event.kind IS 'opened, moved, raised (its grade), cleared, recurred (what had cleared is back), acknowledged, closed, escalated, retracted, merged, basis_changed.';
COMMENT ON COLUMN clinical.alert_event.other IS 'Of merged: the alert that it is part of now. Of basis_changed: the alert that is part of it now.';
COMMENT ON COLUMN clinical.alert_event.evidence IS 'The readings of its days: ids of observation, at most 100 (the last).';
COMMENT ON COLUMN clinical.alert_event.cause IS 'report, correction, withdrawal, excuse, rule (evaluated over what was there), window (of an entry that closed), user, time.';

SELECT pg_catalog.pg_extension_config_dump('clinical.monitor_rule', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.monitor_rule_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.monitor_rule_version', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.monitor_rule_version_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.rule_evaluation', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.rule_evaluation_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.alert', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.alert_event', '');

CREATE TABLE clinical.entry_watch (
    patient_id text COLLATE "C" PRIMARY KEY REFERENCES clinical.patient (id),
    due_at     timestamptz NOT NULL
);
CREATE INDEX entry_watch_idx ON clinical.entry_watch (due_at);
COMMENT ON TABLE clinical.entry_watch IS 'When a worker next looks at a patient for missing entries: the next window closes, or a day is over. Written by the server.';
SELECT pg_catalog.pg_extension_config_dump('clinical.entry_watch', '');

-- --- functions of rules -----------------------------------------------------------------------

CREATE VIEW clinical.rule_evaluation_progress WITH (security_invoker = true) AS
    SELECT r.code, e.version, e.status, e.patients, e.patients_done,
           CASE WHEN e.status OPERATOR(pg_catalog.=) 'done' THEN 100.0
                WHEN e.patients OPERATOR(pg_catalog.>) 0
                THEN pg_catalog.round(100.0 OPERATOR(pg_catalog.*) e.patients_done::numeric OPERATOR(pg_catalog./) e.patients::numeric, 1)
           END AS percent,
           e.started_at, e.ended_at
      FROM clinical.rule_evaluation e
      JOIN clinical.monitor_rule r ON r.id OPERATOR(pg_catalog.=) e.rule_id;
COMMENT ON VIEW clinical.rule_evaluation_progress IS 'How far the evaluations of new versions of rules are: patients done, of how many, and percent.';

CREATE FUNCTION clinical.monitor_rule_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_monitor_rule_check';
COMMENT ON FUNCTION clinical.monitor_rule_check() IS
'Trigger: nobody but the server makes rules and retires them, and nothing else in them changes. SQLSTATE: 55000.';

CREATE FUNCTION clinical.rule_evaluation_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_rule_evaluation_check';
COMMENT ON FUNCTION clinical.rule_evaluation_check() IS
'Trigger: nobody but the server asks for evaluations of rules and does them; ways between their states. SQLSTATE: 55000.';

CREATE FUNCTION clinical.monitor_rule_changed() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_monitor_rule_changed';
COMMENT ON FUNCTION clinical.monitor_rule_changed() IS
'Trigger: tells all sessions to read the rules anew.';

CREATE TRIGGER monitor_rule_check BEFORE INSERT OR UPDATE OR DELETE ON clinical.monitor_rule
    FOR EACH ROW EXECUTE FUNCTION clinical.monitor_rule_check();
CREATE TRIGGER monitor_rule_changed AFTER INSERT OR UPDATE OR DELETE ON clinical.monitor_rule
    FOR EACH ROW EXECUTE FUNCTION clinical.monitor_rule_changed();
CREATE TRIGGER history_rows BEFORE INSERT OR UPDATE OR DELETE ON clinical.monitor_rule_version
    FOR EACH ROW EXECUTE FUNCTION clinical.history_guard();
CREATE TRIGGER monitor_rule_changed AFTER INSERT OR UPDATE OR DELETE ON clinical.monitor_rule_version
    FOR EACH ROW EXECUTE FUNCTION clinical.monitor_rule_changed();
CREATE TRIGGER rule_evaluation_check BEFORE INSERT OR UPDATE OR DELETE ON clinical.rule_evaluation
    FOR EACH ROW EXECUTE FUNCTION clinical.rule_evaluation_check();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.monitor_rule
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.monitor_rule
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.monitor_rule_version
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.monitor_rule_version
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.rule_evaluation
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.rule_evaluation
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.monitor_rule ENABLE ALWAYS TRIGGER monitor_rule_check, ENABLE ALWAYS TRIGGER monitor_rule_changed,
    ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;
ALTER TABLE clinical.monitor_rule_version ENABLE ALWAYS TRIGGER history_rows, ENABLE ALWAYS TRIGGER monitor_rule_changed,
    ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;
ALTER TABLE clinical.rule_evaluation ENABLE ALWAYS TRIGGER rule_evaluation_check,
    ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;

CREATE FUNCTION clinical.create_rule(definition jsonb) RETURNS clinical.monitor_rule_version
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_create_rule';
COMMENT ON FUNCTION clinical.create_rule(jsonb) IS
'Makes a monitoring rule and returns its first version. definition: as doc/monitor.md describes it; with evaluate false readings captured before now do not count, otherwise a worker evaluates it over what was observed (rule_evaluation_progress). A rule whose project is absent or null is for all projects. SQLSTATE: 22023 definition missing or malformed, DETAIL names the item and the key; P0002 project not found; 42501 a rule for all projects, by who may not see every center; 23505 a rule with the code exists.';

CREATE FUNCTION clinical.change_rule(code text, definition jsonb, reason text) RETURNS clinical.monitor_rule_version
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_change_rule';
COMMENT ON FUNCTION clinical.change_rule(text, jsonb, text) IS
'Adds the next version of a rule, which is in force from now on, and returns it; an evaluation of an earlier version is cancelled. definition: as of create_rule, whole; code and project may be left out, but not differ; version, if given, must be the one in force. reason: why; NULL takes clinical.reason of the transaction. SQLSTATE: 22023 an argument missing, or definition malformed; P0002 rule not found; 42501 a rule for all projects, by who may not see every center; 55000 the rule is retired; 40001 it was changed meanwhile.';

CREATE FUNCTION clinical.retire_rule(code text, reason text) RETURNS clinical.monitor_rule_version
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_retire_rule';
COMMENT ON FUNCTION clinical.retire_rule(text, text) IS
'A rule raises no alerts any more; those that it raised are kept up to date. Returns its last version. reason: why; NULL takes clinical.reason of the transaction. SQLSTATE: 22023 an argument missing; P0002 rule not found; 42501 a rule for all projects, by who may not see every center; 55000 it is retired already.';

CREATE FUNCTION clinical.rule_json(code text) RETURNS jsonb
    LANGUAGE C STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_rule_json';
COMMENT ON FUNCTION clinical.rule_json(text) IS
'The definition of the last version of a rule, with version and status (active or retired); change_rule takes it, with what is to change. SQLSTATE: 22023 rule code is required; P0002 rule not found.';

CREATE FUNCTION clinical.cancel_rule_evaluation(code text) RETURNS clinical.rule_evaluation
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_cancel_rule_evaluation';
COMMENT ON FUNCTION clinical.cancel_rule_evaluation(text) IS
'The evaluation of the last version of a rule over what was observed before goes no further than the patients that it is at; returns its row. Alerts that it raised stay. SQLSTATE: 22023 rule code is required; P0002 rule not found; 42501 a rule for all projects, by who may not see every center; 55000 none is queued or running.';

-- --- functions of alerts ----------------------------------------------------------------------

CREATE FUNCTION clinical.acknowledge_alert(patient_id text, alert_id uuid, comment text DEFAULT NULL) RETURNS clinical.alert
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_acknowledge_alert';
COMMENT ON FUNCTION clinical.acknowledge_alert(text, uuid, text) IS
'Somebody has seen an open alert and cares for it: it is not escalated any further. Of an alert that was acknowledged or closed, and whose data have changed since (basis_changed), it says that somebody has looked at the change, and leaves its status. comment: what there is to say, if anything. Returns the alert as it is then. SQLSTATE: 22023 an argument missing or empty; P0002 alert not found; 55000 it is acknowledged already, closed, retracted or merged; 40001 its data changed again while this waited and it had been handled before, or somebody else changed it, in a transaction that is not READ COMMITTED.';

CREATE FUNCTION clinical.close_alert(patient_id text, alert_id uuid, reason text) RETURNS clinical.alert
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_close_alert';
COMMENT ON FUNCTION clinical.close_alert(text, uuid, text) IS
'Nothing is left to be done about an alert that is open or acknowledged; closed while it is open, it is acknowledged too. That its data had changed (basis_changed) counts as looked at. reason: why; NULL takes clinical.reason of the transaction. Returns the alert as it is then. SQLSTATE: 22023 an argument missing or empty; P0002 alert not found; 55000 it is closed already, retracted or merged; 40001 somebody else changed it, in a transaction that is not READ COMMITTED.';

-- The bounds of captured_at, and the items, are made in subqueries of their own, so that under
-- row level security too the readings are found by their index.
CREATE VIEW clinical.alert_worklist WITH (security_invoker = true) AS
    SELECT j.code AS project, p.center_id, c.site_id, a.patient_id, a.id AS alert_id, r.code AS rule, a.severity, a.grade, a.status,
           a.basis_changed, a.escalation_level, a.onset, a.trigger_day, a.last_day, a.out_days, a.opened_at,
           CASE WHEN a.status OPERATOR(pg_catalog.=) 'open' THEN COALESCE(
               (SELECT pg_catalog.min(e.recorded_at) FROM clinical.alert_event e
                 WHERE e.patient_id OPERATOR(pg_catalog.=) a.patient_id AND e.alert_id OPERATOR(pg_catalog.=) a.id
                   AND e.kind OPERATOR(pg_catalog.=) 'escalated'),
               CASE WHEN a.escalate_at OPERATOR(pg_catalog.<=) pg_catalog.now() THEN a.escalate_at END) END AS overdue_since,
           g.readings
      FROM clinical.alert a
      JOIN clinical.patient p ON p.id OPERATOR(pg_catalog.=) a.patient_id
      JOIN clinical.center c ON c.id OPERATOR(pg_catalog.=) p.center_id
      JOIN clinical.project j ON j.id OPERATOR(pg_catalog.=) a.project_id
      JOIN clinical.monitor_rule r ON r.id OPERATOR(pg_catalog.=) a.rule_id
      JOIN clinical.monitor_rule_version v ON v.rule_id OPERATOR(pg_catalog.=) a.rule_id AND v.version OPERATOR(pg_catalog.=) a.rule_version
      LEFT JOIN LATERAL (
          SELECT e.evidence,
                 pg_catalog.timezone('UTC', (e.onset OPERATOR(pg_catalog.-) 2)::pg_catalog.timestamp) AS captured_from,
                 pg_catalog.timezone('UTC', (e.last_day OPERATOR(pg_catalog.+) 3)::pg_catalog.timestamp) AS captured_until
            FROM clinical.alert_event e
           WHERE e.patient_id OPERATOR(pg_catalog.=) a.patient_id AND e.alert_id OPERATOR(pg_catalog.=) a.id AND e.evidence IS NOT NULL
           ORDER BY e.event_no DESC LIMIT 1) e ON true
      LEFT JOIN LATERAL (
          SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('item', o.item, 'day', o.local_day, 'captured_at', o.captured_at,
                                      'value', o.value, 'unit', o.unit) ORDER BY o.captured_at, o.item, o.id) AS readings
            FROM (SELECT DISTINCT pg_catalog.jsonb_path_query(v.definition, '$.items[*].item') OPERATOR(pg_catalog.#>>) '{}' AS item) i
            JOIN clinical.observation o ON o.patient_id OPERATOR(pg_catalog.=) a.patient_id AND o.item OPERATOR(pg_catalog.=) i.item
             AND o.captured_at OPERATOR(pg_catalog.>=) e.captured_from AND o.captured_at OPERATOR(pg_catalog.<) e.captured_until
             AND o.id OPERATOR(pg_catalog.=) ANY (e.evidence)
           WHERE NOT EXISTS (SELECT FROM clinical.observation n
                              WHERE n.patient_id OPERATOR(pg_catalog.=) o.patient_id AND n.item OPERATOR(pg_catalog.=) o.item
                                AND n.captured_at OPERATOR(pg_catalog.=) o.captured_at AND n.id OPERATOR(pg_catalog.=) o.id
                                AND n.version OPERATOR(pg_catalog.>) o.version)) g ON true
     WHERE a.status OPERATOR(pg_catalog.=) 'open' OR a.basis_changed
     ORDER BY CASE a.severity WHEN 'critical' THEN 1 WHEN 'serious' THEN 2 WHEN 'warning' THEN 3 ELSE 4 END,
              a.escalation_level DESC, a.opened_at, a.patient_id, a.id;
COMMENT ON VIEW clinical.alert_worklist IS 'What somebody has to look at now, the most urgent first: open alerts, and handled ones whose data have changed since. By severity, then escalation, then age.';
COMMENT ON COLUMN clinical.alert_worklist.overdue_since IS 'When nobody had acknowledged it in time; NULL: it is not overdue, or has been acknowledged.';
COMMENT ON COLUMN clinical.alert_worklist.readings IS 'The readings that caused it, as they are now: an array of item, day, captured_at, value and unit, by captured_at, the last 100.';

CREATE FUNCTION clinical.alert_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_alert_check';
COMMENT ON FUNCTION clinical.alert_check() IS
'Trigger: nobody but the server writes alerts, and nothing is deleted. SQLSTATE: 55000.';

CREATE TRIGGER alert_check BEFORE INSERT OR UPDATE OR DELETE ON clinical.alert
    FOR EACH ROW EXECUTE FUNCTION clinical.alert_check();
CREATE TRIGGER history_rows BEFORE INSERT OR UPDATE OR DELETE ON clinical.alert_event
    FOR EACH ROW EXECUTE FUNCTION clinical.history_guard();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.alert
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('digest', 'patient_id');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.alert
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.alert_event
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('digest', 'patient_id');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.alert_event
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.alert ENABLE ALWAYS TRIGGER alert_check, ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;
ALTER TABLE clinical.alert_event ENABLE ALWAYS TRIGGER history_rows, ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;

-- Who sees a patient sees the patient's alerts.
ALTER TABLE clinical.alert ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.alert_event ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON clinical.alert TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.alert_event TO clinical_owner USING (true);
CREATE POLICY member ON clinical.alert FOR SELECT
    USING (EXISTS (SELECT FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) alert.patient_id));
CREATE POLICY member ON clinical.alert_event FOR SELECT
    USING (EXISTS (SELECT FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) alert_event.patient_id));


-- --- evaluation -------------------------------------------------------------------------------

-- What a report made is evaluated by the batch that stores it; what is changed later, by the transaction that does.
CREATE FUNCTION clinical.monitor_changed() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_monitor_changed';
COMMENT ON FUNCTION clinical.monitor_changed() IS
'Trigger: a corrected or redacted observation, or a withdrawn report, waits for the evaluation of all that its transaction changes.';
CREATE FUNCTION clinical.monitor_corrected() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_monitor_corrected';
COMMENT ON FUNCTION clinical.monitor_corrected() IS
'Trigger, at commit: alerts that a corrected or redacted observation touches become what its value now says. SQLSTATE: 40001, 40P01 as others evaluate the patient.';
CREATE FUNCTION clinical.monitor_withdrawn() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_monitor_withdrawn';
COMMENT ON FUNCTION clinical.monitor_withdrawn() IS
'Trigger, at commit: alerts that a withdrawn report touches become what is left says. SQLSTATE: 40001, 40P01 as others evaluate the patient.';

CREATE TRIGGER monitor_added BEFORE INSERT ON clinical.observation
    FOR EACH ROW WHEN (NEW.version OPERATOR(pg_catalog.>) 1) EXECUTE FUNCTION clinical.monitor_changed();
CREATE TRIGGER monitor_changed BEFORE UPDATE ON clinical.observation
    FOR EACH ROW EXECUTE FUNCTION clinical.monitor_changed();
CREATE TRIGGER monitor_changed BEFORE UPDATE OF status ON clinical.submission
    FOR EACH ROW EXECUTE FUNCTION clinical.monitor_changed();
CREATE CONSTRAINT TRIGGER monitor_corrected AFTER INSERT ON clinical.observation DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.version OPERATOR(pg_catalog.>) 1) EXECUTE FUNCTION clinical.monitor_corrected();
CREATE CONSTRAINT TRIGGER monitor_redacted AFTER UPDATE ON clinical.observation DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION clinical.monitor_corrected();
CREATE CONSTRAINT TRIGGER monitor_withdrawn AFTER UPDATE OF status ON clinical.submission DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION clinical.monitor_withdrawn();
ALTER TABLE clinical.observation ENABLE ALWAYS TRIGGER monitor_added, ENABLE ALWAYS TRIGGER monitor_changed,
    ENABLE ALWAYS TRIGGER monitor_corrected, ENABLE ALWAYS TRIGGER monitor_redacted;
ALTER TABLE clinical.submission ENABLE ALWAYS TRIGGER monitor_changed, ENABLE ALWAYS TRIGGER monitor_withdrawn;

CREATE FUNCTION clinical.monitor_excused() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_monitor_excused';
COMMENT ON FUNCTION clinical.monitor_excused() IS
'Trigger, at commit: alerts of missing entries become what the patient''s excuses now say. SQLSTATE: 40001, 40P01 as others evaluate the patient.';
CREATE CONSTRAINT TRIGGER monitor_excused AFTER INSERT OR DELETE ON clinical.entry_excuse DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION clinical.monitor_excused();
ALTER TABLE clinical.entry_excuse ENABLE ALWAYS TRIGGER monitor_excused;
ALTER TABLE clinical.entry_watch ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON clinical.entry_watch TO clinical_owner USING (true);
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.entry_watch
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('digest', 'patient_id');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.entry_watch
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.entry_watch ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;

CREATE FUNCTION clinical.rule_backtest(definition jsonb, period daterange)
    RETURNS TABLE (patient_id text, onset date, trigger_day date, last_day date, out_days integer, grade integer)
    LANGUAGE C STABLE PARALLEL UNSAFE ROWS 1000
    AS 'MODULE_PATHNAME', 'clinical_rule_backtest';
COMMENT ON FUNCTION clinical.rule_backtest(jsonb, daterange) IS
'The streaks for which a version of a rule, a draft or that of rule_json, would have raised alerts on days of the period, by all readings that the caller may see, of the rule''s project if it names one; nothing is stored. grade: of graded rules, the worst. evaluate does not matter. SQLSTATE: 22023 an argument missing, or definition malformed; P0002 project not found; 0A000 a rule of missing entries.';

CREATE VIEW clinical.backtest_progress WITH (security_invoker = true) AS
    SELECT p.pid, CASE p.phase WHEN 0 THEN 'reading' ELSE 'evaluating' END AS phase, p.started_at, p.number_1 AS patients, p.number_2 AS patients_done,
           p.number_3 AS readings,
           CASE WHEN p.number_1 OPERATOR(pg_catalog.>) 0
                THEN pg_catalog.round(100.0 OPERATOR(pg_catalog.*) p.number_2::numeric OPERATOR(pg_catalog./) p.number_1::numeric, 1) END AS percent
      FROM clinical.progress() p
     WHERE p.activity OPERATOR(pg_catalog.=) 1;
COMMENT ON VIEW clinical.backtest_progress IS 'The back-tests that are going on: first readings are read and put in order, then patient after patient is evaluated.';
COMMENT ON COLUMN clinical.backtest_progress.patients IS 'All that the caller sees; not every one has readings.';
COMMENT ON COLUMN clinical.backtest_progress.readings IS 'Versions of readings that were looked at so far.';


-- --- access -----------------------------------------------------------------------------------

-- A rule says nothing about patients: those of a project are for all who see the project,
-- the others for all who see any center.
ALTER TABLE clinical.monitor_rule ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.monitor_rule_version ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.rule_evaluation ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON clinical.monitor_rule TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.monitor_rule_version TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.rule_evaluation TO clinical_owner USING (true);
CREATE POLICY admin ON clinical.monitor_rule FOR SELECT TO clinical_admin USING (true);
CREATE POLICY member ON clinical.monitor_rule FOR SELECT
    USING (CASE WHEN project_id IS NULL THEN clinical.sees(NULL, NULL)
                ELSE EXISTS (SELECT FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) monitor_rule.project_id) END);
CREATE POLICY member ON clinical.monitor_rule_version FOR SELECT
    USING (EXISTS (SELECT FROM clinical.monitor_rule r WHERE r.id OPERATOR(pg_catalog.=) monitor_rule_version.rule_id));
CREATE POLICY member ON clinical.rule_evaluation FOR SELECT
    USING (EXISTS (SELECT FROM clinical.monitor_rule r WHERE r.id OPERATOR(pg_catalog.=) rule_evaluation.rule_id));

REVOKE ALL ON ALL TABLES IN SCHEMA clinical FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
GRANT SELECT ON clinical.monitor_rule, clinical.monitor_rule_version, clinical.rule_evaluation, clinical.rule_evaluation_progress
    TO clinical_admin, clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT EXECUTE ON FUNCTION
    clinical.create_rule(jsonb),
    clinical.change_rule(text, jsonb, text),
    clinical.retire_rule(text, text),
    clinical.cancel_rule_evaluation(text)
    TO clinical_admin, clinical_data_manager;
GRANT EXECUTE ON FUNCTION clinical.rule_json(text)
    TO clinical_admin, clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.progress() TO clinical_admin, clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT SELECT ON clinical.backtest_progress TO clinical_admin, clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.rule_backtest(jsonb, daterange)
    TO clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT SELECT ON clinical.alert, clinical.alert_event, clinical.alert_worklist
    TO clinical_investigator, clinical_monitor, clinical_data_manager, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.acknowledge_alert(text, uuid, text), clinical.close_alert(text, uuid, text)
    TO clinical_monitor, clinical_investigator;
