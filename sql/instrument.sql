-- instrument: questionnaires and their versions, which project uses them, and
-- when patients are to answer.

CREATE TABLE clinical.instrument (
    code       text COLLATE "C" PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE clinical.instrument IS 'A questionnaire or form (ODM ItemGroupDef of type Form, FHIR Questionnaire); what it asks is in its versions. Instruments are the server''s, not a project''s.';

CREATE TABLE clinical.instrument_version (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instrument  text COLLATE "C" NOT NULL REFERENCES clinical.instrument (code),
    version     text COLLATE "C" NOT NULL,
    definition  jsonb NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    recorded_by name NOT NULL DEFAULT SESSION_USER,
    actor       text,
    UNIQUE (instrument, version),
    UNIQUE (instrument, id)
);
COMMENT ON TABLE clinical.instrument_version IS 'A version of an instrument. It never changes; one that nothing refers to can be deleted.';
COMMENT ON COLUMN clinical.instrument_version.definition IS 'As doc/instrument.schema.json describes it, without what says no more than its absence.';

CREATE TABLE clinical.project_instrument (
    project_id bigint NOT NULL REFERENCES clinical.project (id),
    instrument text COLLATE "C" NOT NULL REFERENCES clinical.instrument (code),
    is_default boolean NOT NULL DEFAULT false,
    PRIMARY KEY (project_id, instrument)
);
CREATE UNIQUE INDEX project_instrument_default_idx ON clinical.project_instrument (project_id) WHERE is_default;
COMMENT ON TABLE clinical.project_instrument IS 'Which instruments a project uses.';
COMMENT ON COLUMN clinical.project_instrument.is_default IS 'Reports that name no instrument are of this one; at most one of a project.';

CREATE TABLE clinical.project_instrument_version (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id     bigint NOT NULL,
    instrument     text COLLATE "C" NOT NULL,
    effective_from date NOT NULL,
    version_id     bigint,
    recorded_at    timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    recorded_by    name NOT NULL DEFAULT SESSION_USER,
    actor          text,
    FOREIGN KEY (project_id, instrument) REFERENCES clinical.project_instrument (project_id, instrument),
    FOREIGN KEY (instrument, version_id) REFERENCES clinical.instrument_version (instrument, id)
);
CREATE INDEX project_instrument_version_idx ON clinical.project_instrument_version (project_id, instrument, effective_from, id);
COMMENT ON TABLE clinical.project_instrument_version IS 'From which day on a project uses which version of an instrument. In force on a day is the row with the latest effective_from not after it; of two with the same, the one told last. Never changed.';
COMMENT ON COLUMN clinical.project_instrument_version.effective_from IS 'A day in the calendar of the patient who answers; -infinity: ever since.';
COMMENT ON COLUMN clinical.project_instrument_version.version_id IS 'NULL: the project uses the instrument no longer.';

CREATE TABLE clinical.entry_schedule (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id     bigint NOT NULL,
    instrument     text COLLATE "C" NOT NULL,
    effective_from date NOT NULL,
    schedule       jsonb,
    recorded_at    timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    recorded_by    name NOT NULL DEFAULT SESSION_USER,
    actor          text,
    FOREIGN KEY (project_id, instrument) REFERENCES clinical.project_instrument (project_id, instrument)
);
CREATE INDEX entry_schedule_idx ON clinical.entry_schedule (project_id, instrument, effective_from, id);
COMMENT ON TABLE clinical.entry_schedule IS 'When the patients of a project are to answer an instrument, from a day on. In force on a day is the row with the latest effective_from not after it; of two with the same, the one told last. Never changed.';
COMMENT ON COLUMN clinical.entry_schedule.schedule IS 'As doc/instrument.md describes it; NULL: no entries are expected any more.';

CREATE TABLE clinical.entry_excuse (
    patient_id  text COLLATE "C" NOT NULL REFERENCES clinical.patient (id),
    period      tstzrange NOT NULL,
    reason      text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    recorded_by name NOT NULL DEFAULT SESSION_USER,
    actor       text,
    PRIMARY KEY (patient_id, period)
);
COMMENT ON TABLE clinical.entry_excuse IS 'Periods in which a patient cannot be expected to make entries (in hospital, device broken). An excuse that was a mistake is deleted, with clinical.reason.';

SELECT pg_catalog.pg_extension_config_dump('clinical.instrument', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.instrument_version', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.instrument_version_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.project_instrument', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.project_instrument_version', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.project_instrument_version_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.entry_schedule', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.entry_schedule_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('clinical.entry_excuse', '');

CREATE VIEW clinical.instrument_item WITH (security_invoker = true) AS
    WITH RECURSIVE item AS (
        SELECT v.id AS version_id, v.instrument, v.version, NULL::text AS parent, ARRAY[i.ordinality] AS place, i.value AS item
          FROM clinical.instrument_version v, LATERAL pg_catalog.jsonb_array_elements(v.definition OPERATOR(pg_catalog.->) 'items') WITH ORDINALITY i
        UNION ALL
        SELECT p.version_id, p.instrument, p.version, p.item OPERATOR(pg_catalog.->>) 'code',
               pg_catalog.array_append(p.place, i.ordinality), i.value
          FROM item p, LATERAL pg_catalog.jsonb_array_elements(p.item OPERATOR(pg_catalog.->) 'items') WITH ORDINALITY i)
    SELECT version_id, instrument, version,
           pg_catalog.row_number() OVER (PARTITION BY version_id ORDER BY place)::integer AS position,
           item OPERATOR(pg_catalog.->>) 'code' AS item, parent, item OPERATOR(pg_catalog.->>) 'label' AS label,
           item OPERATOR(pg_catalog.->>) 'type' AS type, item OPERATOR(pg_catalog.->>) 'unit' AS unit,
           COALESCE((item OPERATOR(pg_catalog.->) 'required')::boolean, false) AS required,
           COALESCE((item OPERATOR(pg_catalog.->) 'repeats')::boolean, false) AS repeats,
           item OPERATOR(pg_catalog.->) 'codes' AS codes, item OPERATOR(pg_catalog.->) 'code_list' AS code_list,
           item OPERATOR(pg_catalog.->) 'checks' AS checks
      FROM item;
COMMENT ON VIEW clinical.instrument_item IS 'The items of all versions of all instruments (ODM ItemDef), one row each, in the order of the form.';

CREATE FUNCTION clinical.instrument_version_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_instrument_version_check';
COMMENT ON FUNCTION clinical.instrument_version_check() IS
'Trigger: a version has a sound definition and never changes. SQLSTATE: 22023, 55000.';

CREATE FUNCTION clinical.instrument_version_changed() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_instrument_version_changed';
COMMENT ON FUNCTION clinical.instrument_version_changed() IS
'Trigger: tells all sessions to compile definitions again.';

CREATE FUNCTION clinical.project_instrument_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_project_instrument_check';
COMMENT ON FUNCTION clinical.project_instrument_check() IS
'Trigger: says who told that a project uses a version, and when.';

CREATE FUNCTION clinical.entry_schedule_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_entry_schedule_check';
COMMENT ON FUNCTION clinical.entry_schedule_check() IS
'Trigger: a schedule is sound, and says who made it when. SQLSTATE: 22023.';

CREATE FUNCTION clinical.entry_excuse_check() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'clinical_entry_excuse_check';
COMMENT ON FUNCTION clinical.entry_excuse_check() IS
'Trigger: an excuse has a period and a reason, and says who gave it when. SQLSTATE: 22023.';

CREATE TRIGGER instrument_version_check BEFORE INSERT OR UPDATE ON clinical.instrument_version
    FOR EACH ROW EXECUTE FUNCTION clinical.instrument_version_check();
CREATE TRIGGER instrument_version_changed AFTER UPDATE OR DELETE ON clinical.instrument_version
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.instrument_version_changed();
CREATE TRIGGER project_instrument_check BEFORE INSERT ON clinical.project_instrument_version
    FOR EACH ROW EXECUTE FUNCTION clinical.project_instrument_check();
CREATE TRIGGER history_rows BEFORE UPDATE OR DELETE ON clinical.project_instrument_version
    FOR EACH ROW EXECUTE FUNCTION clinical.history_guard();
CREATE TRIGGER entry_schedule_check BEFORE INSERT ON clinical.entry_schedule
    FOR EACH ROW EXECUTE FUNCTION clinical.entry_schedule_check();
CREATE TRIGGER history_rows BEFORE UPDATE OR DELETE ON clinical.entry_schedule
    FOR EACH ROW EXECUTE FUNCTION clinical.history_guard();
CREATE TRIGGER entry_excuse_check BEFORE INSERT ON clinical.entry_excuse
    FOR EACH ROW EXECUTE FUNCTION clinical.entry_excuse_check();
CREATE TRIGGER history_rows BEFORE UPDATE ON clinical.entry_excuse
    FOR EACH ROW EXECUTE FUNCTION clinical.history_guard();
CREATE TRIGGER history_rows BEFORE UPDATE ON clinical.instrument
    FOR EACH ROW EXECUTE FUNCTION clinical.history_guard();
ALTER TABLE clinical.instrument ENABLE ALWAYS TRIGGER history_rows;
ALTER TABLE clinical.instrument_version ENABLE ALWAYS TRIGGER instrument_version_check, ENABLE ALWAYS TRIGGER instrument_version_changed;
ALTER TABLE clinical.project_instrument_version ENABLE ALWAYS TRIGGER project_instrument_check, ENABLE ALWAYS TRIGGER history_rows;
ALTER TABLE clinical.entry_schedule ENABLE ALWAYS TRIGGER entry_schedule_check, ENABLE ALWAYS TRIGGER history_rows;
ALTER TABLE clinical.entry_excuse ENABLE ALWAYS TRIGGER entry_excuse_check, ENABLE ALWAYS TRIGGER history_rows;

CREATE FUNCTION clinical.create_instrument(definition jsonb) RETURNS clinical.instrument_version
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_create_instrument';
COMMENT ON FUNCTION clinical.create_instrument(jsonb) IS
'Creates a version of an instrument, or returns the one that was created so before. definition: as doc/instrument.schema.json describes it; a version never changes. SQLSTATE: 22023 definition missing or malformed, DETAIL names the item and the key; 23505 instrument version already exists with different content.';

CREATE FUNCTION clinical.instrument_json(code text, version text DEFAULT NULL) RETURNS jsonb
    LANGUAGE C STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_instrument_json';
COMMENT ON FUNCTION clinical.instrument_json(text, text) IS
'The definition of a version of an instrument; version NULL: of the one that was created last. SQLSTATE: 22023 instrument is required; P0002 instrument not found.';

CREATE FUNCTION clinical.import_questionnaire(fhir jsonb, code text DEFAULT NULL, version text DEFAULT NULL)
    RETURNS clinical.instrument_version
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_import_questionnaire';
COMMENT ON FUNCTION clinical.import_questionnaire(jsonb, text, text) IS
'Creates a version of an instrument from a FHIR Questionnaire (R4, R5; STU3 as far as it differs little; https://hl7.org/fhir/questionnaire.html), or returns the one that was created so before. code: NULL takes the id, else the end of the url, else the name; version: NULL takes the version, else 1. SQLSTATE: 22023 questionnaire cannot be imported, DETAIL names the item and what cannot be represented; 22P02, 22P05 an extension of ours (urn:clinical:...) has no sound JSON; 54001 nested too deeply; 23505 instrument version already exists with different content.';

CREATE FUNCTION clinical.questionnaire_fhir(code text, version text DEFAULT NULL, release text DEFAULT 'R4') RETURNS jsonb
    LANGUAGE C STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_questionnaire_fhir';
COMMENT ON FUNCTION clinical.questionnaire_fhir(text, text, text) IS
'A version of an instrument as a FHIR Questionnaire; version NULL: the one that was created last; release: R4 or R5. What FHIR has no element for is in extensions (urn:clinical:...), so that importing it gives the same definition. SQLSTATE: 22023 instrument is required, or unknown release; P0002 instrument not found.';

CREATE FUNCTION clinical.use_instrument(project_code text, instrument text, is_default boolean DEFAULT NULL,
    version text DEFAULT NULL, effective_from date DEFAULT NULL) RETURNS clinical.project_instrument
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_use_instrument';
COMMENT ON FUNCTION clinical.use_instrument(text, text, boolean, text, date) IS
'A project uses a version of an instrument from a day on, in place of an earlier one. is_default: whether it is the one of reports that name none, NULL: as before, at first false; version: NULL takes the one that was created last; effective_from: the day in the patient''s calendar, NULL: ever since, or today if the project uses the instrument already. A warning tells of an item that is another one in another instrument of the project. SQLSTATE: 22023 an argument missing or malformed; P0002 project or instrument not found.';

CREATE FUNCTION clinical.drop_instrument(project_code text, instrument text, effective_from date DEFAULT NULL)
    RETURNS clinical.project_instrument
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_drop_instrument';
COMMENT ON FUNCTION clinical.drop_instrument(text, text, date) IS
'A project uses an instrument no longer from a day on (NULL: today in the project''s time zone), whatever was planned for later days. What was reported stays. SQLSTATE: 22023 an argument missing or malformed; P0002 project not found, or it does not use the instrument on that day or later.';

CREATE FUNCTION clinical.instrument_in_force(project_code text, instrument text DEFAULT NULL, on_day date DEFAULT NULL)
    RETURNS clinical.instrument_version
    LANGUAGE C STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_instrument_in_force';
COMMENT ON FUNCTION clinical.instrument_in_force(text, text, date) IS
'The version of an instrument that a project uses on a day. instrument: NULL takes the project''s default; on_day: in the patient''s calendar, NULL takes today in the project''s. SQLSTATE: 22023 project code is required; P0002 project not found, or it uses none.';

CREATE FUNCTION clinical.schedule_entries(project_code text, instrument text, schedule jsonb, effective_from date DEFAULT NULL)
    RETURNS clinical.entry_schedule
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_schedule_entries';
COMMENT ON FUNCTION clinical.schedule_entries(text, text, jsonb, date) IS
'Says when the patients of a project are to answer an instrument. schedule: kind daily, weekly or visits, with every, days, visits, from, to and grace_minutes (see doc/instrument.md); NULL: not any more; effective_from: from which day on, NULL: ever since, or today if there is a schedule already. SQLSTATE: 22023 schedule is malformed, DETAIL names the key; P0002 project not found, or it does not use the instrument.';

CREATE FUNCTION clinical.excuse_entries(patient_id text, period tstzrange, reason text) RETURNS clinical.entry_excuse
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_excuse_entries';
COMMENT ON FUNCTION clinical.excuse_entries(text, tstzrange, text) IS
'Excuses a patient from the entries whose window overlaps the period, and returns the row; a period that is excused already stays as it is. reason: why; NULL takes clinical.reason of the transaction. SQLSTATE: 22023 an argument missing or empty; P0002 patient not found.';

-- The window is found by the zone in which the patient is when it begins: the day
-- that a traveller jumps over has none, and of a day that comes twice the first
-- one counts.
CREATE FUNCTION clinical.expected_entries(patient_id text, period daterange, OUT instrument text, OUT day date, OUT visit text,
    OUT entry_window tstzrange, OUT closes_at timestamptz, OUT time_zone text, OUT status text) RETURNS SETOF record
    LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    project bigint;
    enrolled_on date;
    ended_on date;
    from_day date;
    to_day date;
BEGIN
    IF patient_id IS NULL OR patient_id = '' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'patient id is required';
    END IF;
    IF period IS NULL OR pg_catalog.lower_inf(period) OR pg_catalog.upper_inf(period)
       OR NOT pg_catalog.isfinite(pg_catalog.lower(period)) OR NOT pg_catalog.isfinite(pg_catalog.upper(period)) THEN
        RAISE invalid_parameter_value USING MESSAGE = 'period must have a first and a last day';
    END IF;
    SELECT p.project_id INTO project FROM clinical.patient p WHERE p.id = expected_entries.patient_id;
    IF NOT FOUND THEN
        RAISE no_data_found USING MESSAGE = 'patient not found';
    END IF;
    SELECT min(e.effective_on) FILTER (WHERE e.status = 'enrolled'),
           min(e.effective_on) FILTER (WHERE e.status NOT IN ('screened', 'enrolled'))
      INTO enrolled_on, ended_on
      FROM clinical.enrollment_event e WHERE e.patient_id = expected_entries.patient_id;
    from_day := greatest(pg_catalog.lower(period), enrolled_on);
    to_day := least(pg_catalog.upper(period), ended_on) - 1;
    IF enrolled_on IS NULL OR pg_catalog.isempty(period) OR to_day < from_day THEN
        RETURN;
    END IF;
    IF to_day - from_day > 3660 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'period must not be longer than ten years';
    END IF;
    RETURN QUERY
    -- the zone of a center that the caller does not see is told by time_zone_at
    WITH zone AS MATERIALIZED (
        SELECT z.time_zone FROM clinical.patient_time_zone z WHERE z.patient_id = expected_entries.patient_id
        UNION
        SELECT clinical.time_zone_at(e.patient_id, timezone('UTC', e.effective_on + hours * interval '6 hours'))
          FROM clinical.enrollment_event e, generate_series(-4, 8) AS hours WHERE e.patient_id = expected_entries.patient_id),
    plan AS (
        SELECT u.instrument, d.day::date AS day, s.schedule, s.schedule ->> 'kind' AS kind,
               coalesce((s.schedule ->> 'every')::integer, 1) AS every
          FROM clinical.project_instrument u
         CROSS JOIN generate_series(from_day::timestamp, to_day::timestamp, interval '1 day') AS d (day)
         CROSS JOIN LATERAL (SELECT s.schedule FROM clinical.entry_schedule s
                              WHERE s.project_id = u.project_id AND s.instrument = u.instrument AND s.effective_from <= d.day::date
                              ORDER BY s.effective_from DESC, s.id DESC LIMIT 1) s
         CROSS JOIN LATERAL (SELECT v.version_id FROM clinical.project_instrument_version v
                              WHERE v.project_id = u.project_id AND v.instrument = u.instrument AND v.effective_from <= d.day::date
                              ORDER BY v.effective_from DESC, v.id DESC LIMIT 1) v
         WHERE u.project_id = project AND s.schedule IS NOT NULL AND v.version_id IS NOT NULL),
    entry AS (
        SELECT p.instrument, p.day, NULL::text AS visit, p.schedule, p.day AS first_day, p.day AS last_day
          FROM plan p
         WHERE p.kind = 'daily' AND (p.day - enrolled_on) % p.every = 0
        UNION ALL
        SELECT p.instrument, p.day, NULL, p.schedule, p.day, p.day
          FROM plan p
         WHERE p.kind = 'weekly'
           AND p.schedule -> 'days' ? lower(to_char(p.day, 'Dy'))
           AND (date_trunc('week', p.day::timestamp)::date - date_trunc('week', enrolled_on::timestamp)::date) / 7 % p.every = 0
        UNION ALL
        SELECT p.instrument, p.day, v.value ->> 'code', p.schedule,
               p.day - coalesce((v.value ->> 'before')::integer, 0), p.day + coalesce((v.value ->> 'after')::integer, 0)
          FROM plan p, LATERAL jsonb_array_elements(p.schedule -> 'visits') v
         WHERE p.kind = 'visits' AND p.day = enrolled_on + (v.value ->> 'day')::integer - 1),
    span AS (
        SELECT e.*, z.time_zone,
               -- the first of two, where the clock is put back: by an hour, or half of one
               least(b.last, CASE WHEN timezone(z.time_zone, b.last - interval '1 hour') = b.local THEN b.last - interval '1 hour' END,
                     CASE WHEN timezone(z.time_zone, b.last - interval '30 minutes') = b.local THEN b.last - interval '30 minutes' END) AS begins,
               timezone(z.time_zone, e.last_day + coalesce((e.schedule ->> 'to')::time, '24:00')
                   + CASE WHEN coalesce((e.schedule ->> 'to')::time, '24:00') <= coalesce((e.schedule ->> 'from')::time, '00:00')
                          THEN interval '1 day' ELSE interval '0' END) AS ends
          FROM entry e CROSS JOIN zone z
         CROSS JOIN LATERAL (SELECT e.first_day + coalesce((e.schedule ->> 'from')::time, '00:00') AS local,
                                    timezone(z.time_zone, e.first_day + coalesce((e.schedule ->> 'from')::time, '00:00')) AS last) b),
    chosen AS (
        SELECT DISTINCT ON (s.instrument, s.day, s.visit) s.*
          FROM span s
         -- half of the time goes into asking, so who never moved is not asked about
         WHERE ((SELECT count(*) FROM zone) = 1
                OR clinical.time_zone_at(expected_entries.patient_id, s.begins) = s.time_zone)
           AND s.begins < s.ends   -- not so if the clock was put forward over the window
         ORDER BY s.instrument, s.day, s.visit, s.begins)
    SELECT c.instrument, c.day, c.visit, tstzrange(c.begins, c.ends),
           c.ends + coalesce((c.schedule ->> 'grace_minutes')::integer, 0) * interval '1 minute',
           c.time_zone,
           CASE WHEN EXISTS (SELECT FROM clinical.entry_excuse x
                              WHERE x.patient_id = expected_entries.patient_id
                                AND x.period && tstzrange(c.begins, c.ends))
                THEN 'excused' ELSE 'expected' END
      FROM chosen c
     ORDER BY c.begins, c.instrument, c.visit;
END
$$;
COMMENT ON FUNCTION clinical.expected_entries(text, daterange) IS
'The entries that a patient is to make on the days of a period, by the schedules of the project, from the day of enrolment to the day before the end: instrument, day in the patient''s calendar, visit (of a schedule by visits), the window, when it closes at last (its end and the grace), the zone it is in, and status: expected or excused. period: at most ten years of days on study. SQLSTATE: 22023 an argument missing or without end; P0002 patient not found.';

CREATE FUNCTION clinical.validate_report(instrument text, report_data jsonb, version text DEFAULT NULL, OUT kind text,
    OUT item text, OUT repeat_key text, OUT value numeric, OUT value_text text, OUT value_code text, OUT unit text,
    OUT absent text, OUT soft_hard text, OUT reason_code text, OUT check_id text, OUT path text[], OUT message text)
    RETURNS SETOF record
    LANGUAGE C STABLE PARALLEL SAFE ROWS 10
    AS 'MODULE_PATHNAME', 'clinical_validate_report';
COMMENT ON FUNCTION clinical.validate_report(text, jsonb, text) IS
'What a report would become, and what is wrong with it; stores nothing. report_data: an object of item code to answer, or a FHIR QuestionnaireResponse; version: NULL takes the one that was created last. A row of kind observation is a value that would be stored, in the item''s unit, with soft_hard Soft if a soft check marks it; of kind score a derived score, NULL if too much is missing; of kind finding what is wrong: Hard keeps the report out, Soft does not; path leads to it, and no value is shown. SQLSTATE: 22023 an argument missing, or not an object; P0002 instrument not found.';

CREATE FUNCTION clinical.report_is_valid(instrument text, report_data jsonb, version text DEFAULT NULL) RETURNS boolean
    LANGUAGE C STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_report_is_valid';
COMMENT ON FUNCTION clinical.report_is_valid(text, jsonb, text) IS
'Whether validate_report has no hard finding for the same arguments. SQLSTATE: 22023 an argument missing, or not an object; P0002 instrument not found.';

-- Definitions to begin with: nobody's licence restricts them.  They are no rows,
-- so that a dump holds only what was created.
CREATE FUNCTION clinical.shipped_instruments(OUT code text, OUT title text, OUT definition jsonb) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT ROWS 3
AS $sql$
    SELECT d.value OPERATOR(pg_catalog.->>) 'code', d.value OPERATOR(pg_catalog.->>) 'title', d.value
      FROM pg_catalog.jsonb_array_elements($json$[
{"code": "vital-signs", "version": "1", "title": "Vital sign diary",
 "items": [
  {"code": "8480-6", "label": "Systolic blood pressure", "type": "decimal", "unit": "mm[Hg]", "units": ["kPa"],
   "decimals": 1, "required": true, "codes": [{"system": "http://loinc.org", "code": "8480-6", "display": "Systolic blood pressure"}],
   "checks": [{"id": "low", "comparator": "GE", "values": [40], "soft_hard": "Hard", "message": "below 40 mm[Hg]"},
              {"id": "high", "comparator": "LE", "values": [300], "soft_hard": "Hard", "message": "above 300 mm[Hg]"},
              {"id": "unusually-low", "comparator": "GE", "values": [70], "soft_hard": "Soft", "message": "below 70 mm[Hg]"},
              {"id": "unusually-high", "comparator": "LE", "values": [220], "soft_hard": "Soft", "message": "above 220 mm[Hg]"}]},
  {"code": "8462-4", "label": "Diastolic blood pressure", "type": "decimal", "unit": "mm[Hg]", "units": ["kPa"],
   "decimals": 1, "required": true, "codes": [{"system": "http://loinc.org", "code": "8462-4", "display": "Diastolic blood pressure"}],
   "checks": [{"id": "low", "comparator": "GE", "values": [20], "soft_hard": "Hard", "message": "below 20 mm[Hg]"},
              {"id": "high", "comparator": "LE", "values": [200], "soft_hard": "Hard", "message": "above 200 mm[Hg]"},
              {"id": "unusually-low", "comparator": "GE", "values": [40], "soft_hard": "Soft", "message": "below 40 mm[Hg]"},
              {"id": "unusually-high", "comparator": "LE", "values": [130], "soft_hard": "Soft", "message": "above 130 mm[Hg]"}]},
  {"code": "8867-4", "label": "Heart rate", "type": "decimal", "unit": "/min", "units": ["{beats}/min"],
   "decimals": 1, "codes": [{"system": "http://loinc.org", "code": "8867-4", "display": "Heart rate"}],
   "checks": [{"id": "low", "comparator": "GE", "values": [20], "soft_hard": "Hard", "message": "below 20 /min"},
              {"id": "high", "comparator": "LE", "values": [300], "soft_hard": "Hard", "message": "above 300 /min"},
              {"id": "unusually-low", "comparator": "GE", "values": [40], "soft_hard": "Soft", "message": "below 40 /min"},
              {"id": "unusually-high", "comparator": "LE", "values": [180], "soft_hard": "Soft", "message": "above 180 /min"}]},
  {"code": "8310-5", "label": "Body temperature", "type": "decimal", "unit": "Cel", "units": ["[degF]"],
   "decimals": 2, "codes": [{"system": "http://loinc.org", "code": "8310-5", "display": "Body temperature"}],
   "checks": [{"id": "low", "comparator": "GE", "values": [30], "soft_hard": "Hard", "message": "below 30 Cel"},
              {"id": "high", "comparator": "LE", "values": [45], "soft_hard": "Hard", "message": "above 45 Cel"},
              {"id": "unusually-low", "comparator": "GE", "values": [35], "soft_hard": "Soft", "message": "below 35 Cel"},
              {"id": "unusually-high", "comparator": "LE", "values": [40.5], "soft_hard": "Soft", "message": "above 40.5 Cel"}]},
  {"code": "59408-5", "label": "Oxygen saturation by pulse oximetry", "type": "decimal", "unit": "%",
   "decimals": 1, "codes": [{"system": "http://loinc.org", "code": "59408-5", "display": "Oxygen saturation in Arterial blood by Pulse oximetry"}],
   "checks": [{"id": "low", "comparator": "GE", "values": [50], "soft_hard": "Hard", "message": "below 50 %"},
              {"id": "high", "comparator": "LE", "values": [100], "soft_hard": "Hard", "message": "above 100 %"},
              {"id": "unusually-low", "comparator": "GE", "values": [88], "soft_hard": "Soft", "message": "below 88 %"}]},
  {"code": "9279-1", "label": "Respiratory rate", "type": "decimal", "unit": "/min", "units": ["{breaths}/min"],
   "decimals": 1, "codes": [{"system": "http://loinc.org", "code": "9279-1", "display": "Respiratory rate"}],
   "checks": [{"id": "low", "comparator": "GE", "values": [4], "soft_hard": "Hard", "message": "below 4 /min"},
              {"id": "high", "comparator": "LE", "values": [80], "soft_hard": "Hard", "message": "above 80 /min"},
              {"id": "unusually-low", "comparator": "GE", "values": [8], "soft_hard": "Soft", "message": "below 8 /min"},
              {"id": "unusually-high", "comparator": "LE", "values": [40], "soft_hard": "Soft", "message": "above 40 /min"}]},
  {"code": "29463-7", "label": "Body weight", "type": "decimal", "unit": "kg", "units": ["[lb_av]", "g"],
   "codes": [{"system": "http://loinc.org", "code": "29463-7", "display": "Body weight"}],
   "checks": [{"id": "low", "comparator": "GE", "values": [1], "soft_hard": "Hard", "message": "below 1 kg"},
              {"id": "high", "comparator": "LE", "values": [500], "soft_hard": "Hard", "message": "above 500 kg"},
              {"id": "unusually-low", "comparator": "GE", "values": [30], "soft_hard": "Soft", "message": "below 30 kg"},
              {"id": "unusually-high", "comparator": "LE", "values": [250], "soft_hard": "Soft", "message": "above 250 kg"}]}]},
{"code": "pain", "version": "1", "title": "Pain, 0 to 10",
 "items": [
  {"code": "72514-3", "label": "How strong is your pain, from 0 (none) to 10 (the strongest you can imagine)?", "type": "integer",
   "unit": "{score}", "required": true,
   "codes": [{"system": "http://loinc.org", "code": "72514-3", "display": "Pain severity - 0-10 verbal numeric rating [Score] - Reported"}],
   "checks": [{"id": "low", "comparator": "GE", "values": [0], "soft_hard": "Hard"},
              {"id": "high", "comparator": "LE", "values": [10], "soft_hard": "Hard"}]}]},
{"code": "adherence", "version": "1", "title": "Adherence",
 "items": [
  {"code": "taken", "label": "Did you take your study medication today as prescribed?", "type": "boolean", "required": true},
  {"code": "reason", "label": "Why not?", "type": "coded", "required": true, "open": true, "max_length": 500,
   "code_list": [{"code": "forgotten", "label": "I forgot it"},
                 {"code": "unwell", "label": "It made me feel unwell"},
                 {"code": "well", "label": "I felt well without it"},
                 {"code": "not-at-hand", "label": "I did not have it with me"}],
   "enable_when": [{"item": "taken", "operator": "=", "answer": false}]}]}
]$json$::pg_catalog.jsonb) d
$sql$;
COMMENT ON FUNCTION clinical.shipped_instruments() IS
'Definitions that come with the extension, for create_instrument: a vital sign diary with LOINC codes (https://loinc.org, under its licence) and plausible ranges, pain from 0 to 10, and adherence. SQLSTATE: none of its own.';

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.instrument
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.instrument
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.instrument ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.instrument_version
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.instrument_version
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.instrument_version ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.project_instrument
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.project_instrument
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.project_instrument ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.project_instrument_version
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.project_instrument_version
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.project_instrument_version ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.entry_schedule
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('values');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.entry_schedule
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.entry_schedule ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON clinical.entry_excuse
    FOR EACH ROW EXECUTE FUNCTION clinical.audit_row('reason', 'patient_id');
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON clinical.entry_excuse
    FOR EACH STATEMENT EXECUTE FUNCTION clinical.audit_truncate();
ALTER TABLE clinical.entry_excuse ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_truncate;

-- Instruments are for all who see any center; what a project uses, for those who
-- see the project; excuses, for those who see the patient.
ALTER TABLE clinical.instrument ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.instrument_version ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.project_instrument ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.project_instrument_version ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.entry_schedule ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE clinical.entry_excuse ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON clinical.instrument TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.instrument_version TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.project_instrument TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.project_instrument_version TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.entry_schedule TO clinical_owner USING (true);
CREATE POLICY owner ON clinical.entry_excuse TO clinical_owner USING (true);
CREATE POLICY admin ON clinical.instrument TO clinical_admin USING (true);
CREATE POLICY admin ON clinical.instrument_version TO clinical_admin USING (true);
CREATE POLICY admin ON clinical.project_instrument TO clinical_admin USING (true);
CREATE POLICY admin ON clinical.project_instrument_version TO clinical_admin USING (true);
CREATE POLICY admin ON clinical.entry_schedule TO clinical_admin USING (true);
CREATE POLICY member ON clinical.instrument FOR SELECT USING (clinical.sees(NULL, NULL));
CREATE POLICY member ON clinical.instrument_version FOR SELECT USING (clinical.sees(NULL, NULL));
CREATE POLICY member ON clinical.project_instrument FOR SELECT
    USING (EXISTS (SELECT FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) project_instrument.project_id));
CREATE POLICY member ON clinical.project_instrument_version FOR SELECT
    USING (EXISTS (SELECT FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) project_instrument_version.project_id));
CREATE POLICY member ON clinical.entry_schedule FOR SELECT
    USING (EXISTS (SELECT FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) entry_schedule.project_id));
CREATE POLICY member ON clinical.entry_excuse
    USING (EXISTS (SELECT FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) entry_excuse.patient_id));

REVOKE ALL ON ALL TABLES IN SCHEMA clinical FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
GRANT SELECT ON clinical.instrument, clinical.instrument_version, clinical.instrument_item, clinical.project_instrument,
    clinical.project_instrument_version, clinical.entry_schedule
    TO clinical_admin, clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT SELECT ON clinical.entry_excuse TO clinical_investigator, clinical_monitor, clinical_data_manager, clinical_auditor;
-- no free text
GRANT SELECT (patient_id, period, recorded_at) ON clinical.entry_excuse TO clinical_statistician;
GRANT INSERT (code), DELETE ON clinical.instrument TO clinical_admin;
GRANT INSERT (instrument, version, definition), DELETE ON clinical.instrument_version TO clinical_admin;
GRANT INSERT, UPDATE (is_default) ON clinical.project_instrument TO clinical_admin;
GRANT INSERT (project_id, instrument, effective_from, version_id) ON clinical.project_instrument_version TO clinical_admin;
GRANT INSERT (project_id, instrument, effective_from, schedule) ON clinical.entry_schedule TO clinical_admin;
GRANT INSERT (patient_id, period, reason), DELETE ON clinical.entry_excuse TO clinical_investigator, clinical_data_manager;
GRANT EXECUTE ON FUNCTION
    clinical.create_instrument(jsonb),
    clinical.import_questionnaire(jsonb, text, text),
    clinical.use_instrument(text, text, boolean, text, date),
    clinical.drop_instrument(text, text, date),
    clinical.schedule_entries(text, text, jsonb, date)
    TO clinical_admin;
GRANT EXECUTE ON FUNCTION clinical.excuse_entries(text, tstzrange, text) TO clinical_investigator, clinical_data_manager;
GRANT EXECUTE ON FUNCTION clinical.expected_entries(text, daterange)
    TO clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT EXECUTE ON FUNCTION
    clinical.instrument_json(text, text),
    clinical.questionnaire_fhir(text, text, text),
    clinical.instrument_in_force(text, text, date),
    clinical.shipped_instruments(),
    clinical.validate_report(text, jsonb, text),
    clinical.report_is_valid(text, jsonb, text)
    TO clinical_admin, clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
