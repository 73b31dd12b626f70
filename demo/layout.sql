-- layout.sql: a study to load, as tables; doc/study.md describes each column.
-- The CSV files of a directory have these names and columns, in this order.
-- Nothing is checked here: the extension's own rules do that when load.sql runs.

CREATE SCHEMA study;

CREATE UNLOGGED TABLE study.project (
    code      text,
    name      text,
    time_zone text
);

CREATE UNLOGGED TABLE study.center (
    site_id           text COLLATE "C",
    name              text,
    time_zone         text,
    country           text,
    planned_enrolment integer,
    enrolment_from    date,
    enrolment_to      date
);

CREATE UNLOGGED TABLE study.patient (
    id         text COLLATE "C",
    site_id    text COLLATE "C",
    name       text,
    birth_date date,
    birth_year integer,
    age        integer,
    sex        text,
    race       text,
    ethnicity  text,
    time_zone  text,
    status     text,
    status_on  date,
    record     jsonb
);

CREATE UNLOGGED TABLE study.event (
    patient_id   text COLLATE "C",
    status       text,
    effective_on date,
    site_id      text COLLATE "C",
    reason       text
);

CREATE UNLOGGED TABLE study.reading (
    patient_id  text COLLATE "C",
    captured_at timestamptz,
    time_zone   text,
    item        text COLLATE "C",
    value       numeric,
    unit        text COLLATE "C",
    visit       text
);

CREATE UNLOGGED TABLE study.answer (
    patient_id  text COLLATE "C",
    captured_at timestamptz,
    time_zone   text,
    instrument  text COLLATE "C",
    item        text COLLATE "C",
    value       text,
    visit       text
);

-- Whose home pressure stays out of range three days running or longer. A day is out if any reading
-- of it is; it is the day of the calendar where the patient was; a day without readings ends a run.
CREATE VIEW study.streak AS
    WITH watched (item, range) AS (
        VALUES ('8480-6', numrange '[90,140]'), ('8462-4', numrange '[50,90]')),
    day_state AS (
        SELECT r.patient_id, (r.captured_at AT TIME ZONE r.time_zone)::date AS day,
               bool_or(NOT r.value <@ w.range) AS is_out
          FROM study.reading r
          JOIN watched w ON w.item = r.item
         GROUP BY r.patient_id, day),
    before AS (
        SELECT *, lag(day) OVER w AS previous_day, lag(is_out) OVER w AS previous_out
          FROM day_state WINDOW w AS (PARTITION BY patient_id ORDER BY day)),
    island AS (  -- starts at an out day after an in day, or after a gap
        SELECT *, sum(CASE WHEN is_out AND coalesce(previous_out, false) AND day - previous_day = 1
                           THEN 0 ELSE 1 END) OVER (PARTITION BY patient_id ORDER BY day) AS number
          FROM before)
    SELECT patient_id, min(day) AS onset, max(day) AS last_day, min(day) + 2 AS trigger_day,
           count(*)::integer AS out_days
      FROM island
     WHERE is_out
     GROUP BY patient_id, number
    HAVING count(*) >= 3;
