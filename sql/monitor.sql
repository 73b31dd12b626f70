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
    -- several onsets may move in one transaction, one to where another was
    CONSTRAINT alert_onset EXCLUDE USING btree (patient_id WITH OPERATOR(pg_catalog.=), rule_id WITH OPERATOR(pg_catalog.=), onset WITH OPERATOR(pg_catalog.=))
        WHERE (status OPERATOR(pg_catalog.<>) 'retracted' AND status OPERATOR(pg_catalog.<>) 'merged') DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX alert_watch_idx ON clinical.alert (patient_id, watch_until);
CREATE INDEX alert_escalate_idx ON clinical.alert (escalate_at) WHERE escalate_at IS NOT NULL;
CREATE INDEX alert_project_idx ON clinical.alert (project_id, opened_at);
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
COMMENT ON COLUMN clinical.alert_event.other IS 'Of merged: the alert that it is part of now.';
COMMENT ON COLUMN clinical.alert_event.evidence IS 'The readings of its days: ids of observation, at most 100 (the last).';
COMMENT ON COLUMN clinical.alert_event.cause IS 'report, correction, withdrawal, rule (evaluated over what was there), window (of an entry that closed), user, time.';

SELECT pg_catalog.pg_extension_config_dump('clinical.monitor_rule', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.monitor_rule_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.monitor_rule_version', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.monitor_rule_version_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.rule_evaluation', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.rule_evaluation_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.alert', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.alert_event', '');

-- --- functions of rules -----------------------------------------------------------------------


-- --- functions of alerts ----------------------------------------------------------------------


-- --- evaluation -------------------------------------------------------------------------------


-- --- access -----------------------------------------------------------------------------------

