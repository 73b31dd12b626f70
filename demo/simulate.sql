-- simulate.sql: makes up a study of home blood pressure in the tables of layout.sql, which must be
-- empty.
--
--   psql -X -v ON_ERROR_STOP=1 -f demo/layout.sql -f demo/simulate.sql
--
--   -v seed=20260301   another number, another study
--   -v factor=1        300 patients times this, always at 17 centers (3334: 1,000,200 patients)
--   -v daily=on        off: no readings and no diary
--
-- The same variables give the same rows on every version and machine and by every plan: each value
-- is integer arithmetic over a hash of seed, purpose and patient (and day), so no row depends on
-- what was drawn for another, or when. random() and floating point would not give that.

\if :{?seed}
\else
    \set seed 20260301
\endif
\if :{?factor}
\else
    \set factor 1
\endif
\if :{?daily}
\else
    \set daily on
\endif

BEGIN;
SET LOCAL client_min_messages = warning;
CREATE SCHEMA sim;

-- Bodies that are expressions, for psql puts variables into those and not into quoted ones.
-- hashint8extended sees 32 bits of its first argument: enough for 512 days of 8 million patients.
CREATE FUNCTION sim.hash(n bigint, purpose integer) RETURNS bigint IMMUTABLE PARALLEL SAFE
    RETURN hashint8extended(n, :seed::bigint * 1000 + purpose);

-- One of 0 to choices - 1, all as likely.
CREATE FUNCTION sim.draw(n bigint, purpose integer, choices integer) RETURNS integer IMMUTABLE PARALLEL SAFE
    RETURN abs(sim.hash(n, purpose) % choices)::integer;

-- Bell-shaped around 0 with that standard deviation, at most 3.46 times it: four uniform numbers of
-- 16 bits added up, whose own standard deviation is 37837.
CREATE FUNCTION sim.bell_of(hash bigint, deviation integer) RETURNS integer IMMUTABLE PARALLEL SAFE
    RETURN (((hash & 65535) + (hash >> 16 & 65535) + (hash >> 32 & 65535) + (hash >> 48 & 65535) - 131070)
            * deviation / 37837)::integer;
CREATE FUNCTION sim.bell(n bigint, purpose integer, deviation integer) RETURNS integer IMMUTABLE PARALLEL SAFE
    RETURN sim.bell_of(sim.hash(n, purpose), deviation);

CREATE FUNCTION sim.pick(n bigint, purpose integer, list text[]) RETURNS text IMMUTABLE PARALLEL SAFE
    RETURN list[1 + sim.draw(n, purpose, cardinality(list))];

-- Visits to a center are on working days.
CREATE FUNCTION sim.workday(day date) RETURNS date IMMUTABLE PARALLEL SAFE
    RETURN day + CASE extract(isodow FROM day) WHEN 6 THEN 2 WHEN 7 THEN 1 ELSE 0 END;

-- share: patients of 300. opens, closes: days of the study on which the center may screen. coarse:
-- of 1000 readings, how many are written down as a multiple of 5. coded: knows patients by a code,
-- without name and day of birth. direct: registers patients when they enroll, not before.
CREATE TABLE sim.center AS
SELECT *, sum(share) OVER (ORDER BY site_id) - share AS first_slot
  FROM (VALUES
    ('101', 'Amsterdam', 'Europe/Amsterdam',    'NLD', 42, 40,  0, 178,   0, false, false),
    ('102', 'Boston',    'America/New_York',    'USA', 36, 40,  4, 178,   0, false, false),
    ('103', 'Berlin',    'Europe/Berlin',       'DEU', 31, 30,  7, 120,   0, true,  false),
    ('104', 'Chicago',   'America/Chicago',     'USA', 27, 30,  7, 120,   0, false, false),
    ('105', 'Madrid',    'Europe/Madrid',       'ESP', 24, 24, 11, 125,   0, false, false),
    ('106', 'London',    'Europe/London',       'GBR', 22, 20,  9, 120,   0, false, false),
    ('107', 'Munich',    'Europe/Berlin',       'DEU', 20, 20, 14, 120,   0, true,  false),
    ('108', 'Atlanta',   'America/New_York',    'USA', 18, 20, 14, 130, 750, false, false),
    ('109', 'Warsaw',    'Europe/Warsaw',       'POL', 16, 16, 18, 120,   0, false, false),
    ('110', 'Denver',    'America/Denver',      'USA', 14, 16, 21, 120,   0, false, false),
    ('111', 'Lyon',      'Europe/Paris',        'FRA', 12, 12, 21, 115, 600, false, false),
    ('112', 'Seattle',   'America/Los_Angeles', 'USA', 10, 12, 23, 120,   0, false, false),
    ('113', 'Vienna',    'Europe/Vienna',       'AUT',  9,  8, 25, 110,   0, false, false),
    ('114', 'Phoenix',   'America/Phoenix',     'USA',  7,  8, 28, 110,   0, false, false),
    ('115', 'Helsinki',  'Europe/Helsinki',     'FIN',  6,  6, 28, 100,   0, false, true),
    ('116', 'Toronto',   'America/Toronto',     'CAN',  4,  6, 35, 100,   0, false, true),
    ('117', 'Porto',     'Europe/Lisbon',       'PRT',  2,  4, 42,  90,   0, false, false))
    AS c (site_id, name, time_zone, country, share, planned, opens, closes, coarse, coded, direct);

-- Who comes to which center, and when. Slots are the places of 300 patients; those with a fate of
-- their own are named below, so that every seed has them.
CREATE TABLE sim.visitor AS
SELECT v.*, c.site_id, c.time_zone, c.country, c.coarse, c.coded, c.direct, no.in_center,
       c.site_id || '-' || lpad(no.in_center::text, greatest(4, length((300 * :factor)::text)), '0') AS id,
       sim.workday(date '2026-01-05' + c.opens + (((no.in_center - 1) * 1000 + sim.draw(v.n, 1, 1000))
           * (c.closes - c.opens) / (c.share * :factor * 1000))::integer) AS screened_on
  FROM (SELECT n, ((n - 1) * 83 % 300)::integer AS slot, ((n - 1) / 300)::integer AS block
          FROM generate_series(1, 300 * :factor::bigint) n) v
  JOIN sim.center c ON v.slot >= c.first_slot AND v.slot < c.first_slot + c.share
 CROSS JOIN LATERAL (SELECT (v.slot - c.first_slot) * :factor::bigint + v.block + 1) AS no (in_center);

-- What becomes of them. Slots 5 and 44 move to another time zone, 48 and 82 to another center,
-- and 120 dies; none of these fails screening or leaves for another reason.
CREATE TABLE sim.person AS
SELECT v.*, f.fails, e.enrolled_on, o.ended_as, o.ended_on,
       sim.pick(v.n, 10, '{A,B}') AS arm,
       sim.draw(v.n, 11, 1000) < 470 AS is_female,
       least(greatest(60 * 365 + sim.bell(v.n, 12, 11 * 365), 24 * 365), 86 * 365) + 15 AS days_old,
       -- compliance with the daily entries, of 1000; one in twenty is careless
       CASE WHEN sim.draw(v.n, 13, 100) < 5 THEN 450 + sim.draw(v.n, 14, 200)
            ELSE least(910 + sim.bell(v.n, 14, 45), 990) END AS compliance,
       CASE WHEN sim.draw(v.n, 15, 100) < 15 THEN 20 + sim.draw(v.n, 16, 60) END AS holiday,
       sim.draw(v.n, 17, 100) < 30 AS evenings
  FROM sim.visitor v
 CROSS JOIN LATERAL (SELECT v.slot IN (5, 44, 48, 82, 120), sim.draw(v.n, 2, 1000)) s (is_special, fate)
 CROSS JOIN LATERAL (SELECT NOT s.is_special AND NOT v.direct AND sim.draw(v.n, 3, 1000) < 80) f (fails)
 CROSS JOIN LATERAL (
    SELECT CASE WHEN v.direct THEN v.screened_on
                ELSE sim.workday(v.screened_on + 3 + sim.draw(v.n, 4, 12)) END) d (decided_on)
 CROSS JOIN LATERAL (
    SELECT CASE WHEN NOT f.fails AND d.decided_on <= date '2026-07-05' THEN d.decided_on END) e (enrolled_on)
 CROSS JOIN LATERAL (
    SELECT CASE WHEN f.fails THEN 'screen_failed'
                WHEN v.slot = 120 THEN 'died'
                WHEN s.is_special THEN 'completed'
                WHEN s.fate < 110 THEN 'withdrawn'
                WHEN s.fate < 145 THEN 'lost_to_follow_up'
                WHEN s.fate < 148 THEN 'died'
                ELSE 'completed' END) w (way)
 CROSS JOIN LATERAL (  -- those who leave do so rather early
    SELECT CASE w.way
           WHEN 'screen_failed' THEN d.decided_on
           WHEN 'completed' THEN sim.workday(e.enrolled_on + 112 + sim.draw(v.n, 5, 5))
           WHEN 'died' THEN e.enrolled_on + 30 + sim.draw(v.n, 5, 60)
           WHEN 'lost_to_follow_up' THEN sim.workday(e.enrolled_on + 35 + sim.draw(v.n, 5, 70))
           ELSE sim.workday(e.enrolled_on + 4 + least(sim.draw(v.n, 5, 104), sim.draw(v.n, 6, 104))) END) t (day)
 CROSS JOIN LATERAL (
    SELECT CASE WHEN t.day <= date '2026-07-05' THEN w.way END,
           CASE WHEN t.day <= date '2026-07-05' THEN t.day END) o (ended_as, ended_on);

INSERT INTO study.project VALUES
    ('HBP-2026', 'Home blood pressure in treated hypertension (simulated)', 'Europe/Amsterdam');

INSERT INTO study.center
SELECT site_id, name, time_zone, country, planned * :factor,
       date '2026-01-05' + opens, date '2026-01-05' + closes
  FROM sim.center
 ORDER BY site_id;

-- Names are made of two short lists and belong to nobody. The record takes about 1 kB.
INSERT INTO study.patient
SELECT p.id, p.site_id,
       CASE WHEN NOT p.coded THEN
           sim.pick(p.n, 20, '{Alex,Andrea,Ariel,Billie,Charlie,Chris,Dominique,Eden,Frankie,Jamie,Jo,Kim,Kyle,Lee,
                               Lou,Luca,Maxime,Morgan,Nico,Pat,Quinn,Rene,Robin,Sacha,Sam,Sidney,Terry,Toni,Val,Yael}') || ' ' ||
           sim.pick(p.n, 21, '{Alder,Amber,Ash,Basalt,Birch,Cedar,Clover,Cobalt,Copper,Elm,Fern,Finch,Flint,Garnet,
                               Hazel,Heron,Holly,Ivory,Jasper,Juniper,Lark,Linden,Maple,Marble,Myrtle,Oak,Opal,Pine,
                               Plover,Quartz,Reed,Robin,Rowan,Sage,Slate,Sorrel,Swift,Teal,Thorn,Willow}') END,
       CASE WHEN NOT p.coded THEN p.screened_on - p.days_old END,
       CASE WHEN p.coded THEN extract(year FROM p.screened_on - p.days_old)::integer END,
       NULL,
       CASE WHEN p.is_female THEN 'F' ELSE 'M' END,
       CASE WHEN p.country IN ('USA', 'CAN')
            THEN CASE WHEN r.race < 70 THEN 'WHITE' WHEN r.race < 90 THEN 'BLACK OR AFRICAN AMERICAN'
                      WHEN r.race < 97 THEN 'ASIAN' ELSE 'MULTIPLE' END
            ELSE CASE WHEN r.race < 88 THEN 'WHITE' WHEN r.race < 92 THEN 'BLACK OR AFRICAN AMERICAN'
                      WHEN r.race < 97 THEN 'ASIAN' ELSE 'UNKNOWN' END END,
       CASE WHEN p.country IN ('USA', 'CAN', 'ESP')
            THEN CASE WHEN r.ethnicity < 14 THEN 'HISPANIC OR LATINO' ELSE 'NOT HISPANIC OR LATINO' END
            ELSE CASE WHEN r.ethnicity < 12 THEN 'NOT REPORTED' ELSE 'NOT HISPANIC OR LATINO' END END,
       NULL,
       CASE WHEN p.direct THEN 'enrolled' ELSE 'screened' END,
       p.screened_on,
       jsonb_build_object(
           'consent', jsonb_build_object('on', p.screened_on, 'version', sim.pick(p.n, 30, '{1.0,1.1,1.1,1.1}'),
               'recontact', sim.draw(p.n, 31, 4) > 0, 'biobank', sim.draw(p.n, 32, 3) > 0),
           'history', h.history, 'medication', m.medication,
           'baseline', jsonb_build_object('height_cm', b.height, 'weight_kg', round(b.weight / 10.0, 1),
               'bmi', round(b.weight * 1000.0 / (b.height * b.height), 1),
               'waist_cm', 70 + b.weight / 40 + sim.draw(p.n, 35, 12),
               'office', jsonb_build_object('systolic', 138 + sim.bell(p.n, 36, 10), 'diastolic', 84 + sim.bell(p.n, 37, 7)),
               'labs', jsonb_build_object(
                   'sodium', 140 + sim.bell(p.n, 40, 2), 'potassium', round((42 + sim.bell(p.n, 41, 4)) / 10.0, 1),
                   'creatinine', 78 + sim.bell(p.n, 42, 14), 'egfr', 82 + sim.bell(p.n, 43, 13),
                   'hba1c', 38 + sim.bell(p.n, 44, 5), 'ldl', round((310 + sim.bell(p.n, 45, 80)) / 100.0, 2),
                   'hdl', round((140 + sim.bell(p.n, 46, 30)) / 100.0, 2))),
           'lifestyle', jsonb_build_object('smoking', sim.pick(p.n, 50, '{never,never,former,current}'),
               'alcohol_units_per_week', greatest(5 + sim.bell(p.n, 51, 5), 0),
               'exercise_days_per_week', sim.draw(p.n, 52, 6), 'salt', sim.pick(p.n, 53, '{low,usual,usual,high}')),
           'device', jsonb_build_object('cuff', sim.pick(p.n, 54, '{small,medium,medium,large}'),
               'arm', sim.pick(p.n, 55, '{left,left,left,right}'), 'serial', 'BP' || 100000 + sim.draw(p.n, 56, 900000)))
       || CASE WHEN p.enrolled_on IS NULL THEN jsonb '{}' ELSE jsonb_build_object('arm', p.arm, 'evenings', p.evenings) END
       || CASE WHEN p.n % 1000 = 170 THEN jsonb '{"flags": {"rare_variant": true}}' ELSE jsonb '{}' END
  FROM sim.person p
 CROSS JOIN LATERAL (SELECT sim.draw(p.n, 22, 100), sim.draw(p.n, 23, 100)) r (race, ethnicity)
 CROSS JOIN LATERAL (
    SELECT CASE WHEN p.is_female THEN 164 + sim.bell(p.n, 33, 6) ELSE 177 + sim.bell(p.n, 33, 7) END,
           (CASE WHEN p.is_female THEN 740 ELSE 870 END) + sim.bell(p.n, 34, 110)) b (height, weight)
 CROSS JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_object('code', code, 'term', term, 'ongoing', sim.draw(p.n, 100 + no, 4) > 0,
               'since', 2025 - sim.draw(p.n, 120 + no, greatest(p.days_old / 365 - 30, 2))) ORDER BY no)
      FROM (VALUES (1, 'I10', 'Essential hypertension', 1000), (2, 'E78.0', 'Hypercholesterolaemia', 380),
                   (3, 'E11', 'Type 2 diabetes', 180), (4, 'M17', 'Osteoarthritis of knee', 160),
                   (5, 'J45', 'Asthma', 90), (6, 'I48', 'Atrial fibrillation', 60),
                   (7, 'G43', 'Migraine', 110), (8, 'N18.3', 'Chronic kidney disease, stage 3', 50))
           AS term (no, code, term, per_mille)
     WHERE sim.draw(p.n, 140 + no, 1000) < per_mille) h (history)
 CROSS JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_object('atc', atc, 'name', name, 'dose_mg', step * (1 + sim.draw(p.n, 160 + no, 3)),
               'times_per_day', 1 + sim.draw(p.n, 180 + no, 5) / 4) ORDER BY no)
      FROM (VALUES (1, 'C08CA01', 'amlodipine', 5, 620), (2, 'C09AA05', 'ramipril', 5, 430),
                   (3, 'C03AA03', 'hydrochlorothiazide', 25, 350), (4, 'C10AA05', 'atorvastatin', 20, 340),
                   (5, 'A10BA02', 'metformin', 500, 160), (6, 'B01AC06', 'acetylsalicylic acid', 75, 140))
           AS drug (no, atc, name, step, per_mille)
     WHERE sim.draw(p.n, 200 + no, 1000) < per_mille OR no = 1 + p.n % 3) m (medication)
 ORDER BY p.id;

INSERT INTO study.event
SELECT p.id, e.status, e.effective_on, e.site_id, e.reason
  FROM sim.person p
 CROSS JOIN LATERAL (VALUES
    (1, 'enrolled', CASE WHEN NOT p.direct THEN p.enrolled_on END, NULL, NULL),
    (2, 'enrolled', CASE WHEN p.slot IN (48, 82) THEN sim.workday(p.enrolled_on + 45) END,
        CASE p.slot WHEN 48 THEN '108' WHEN 82 THEN '107' END, 'Moved house'),
    (3, p.ended_as, p.ended_on, NULL,
        CASE p.ended_as
        WHEN 'withdrawn' THEN sim.pick(p.n, 24, '{Withdrew consent,Withdrew consent,Withdrew consent,
            Adverse event: dizziness,Adverse event: ankle swelling,Adverse event: cough,Measuring is too burdensome,
            Measuring is too burdensome,Moved away,"Physician decision"}')
        WHEN 'screen_failed' THEN sim.pick(p.n, 24, '{Office pressure below the limit for entry,
            Office pressure below the limit for entry,eGFR below 30,Arm too wide for the cuffs,Does not wish to take part}')
        WHEN 'died' THEN sim.pick(p.n, 24, '{Myocardial infarction,Stroke,Accident}')
        END)) e (no, status, effective_on, site_id, reason)
 WHERE e.effective_on IS NOT NULL
 ORDER BY p.id, e.no;

\if :daily

-- The days on which patients are to measure. Pressures are in tenths of mmHg here. Most stay in
-- range; risers climb out of it for some weeks, until treatment is changed, and a few fall out.
-- Those who are lost had stopped some weeks before.
CREATE TABLE sim.watch AS
SELECT p.n, p.slot, p.id, p.time_zone, p.coarse, p.enrolled_on, p.compliance, p.evenings, p.arm,
       least(coalesce(p.ended_on - CASE p.ended_as WHEN 'lost_to_follow_up' THEN 14 + sim.draw(p.n, 60, 15) ELSE 1 END,
                      date '2026-07-05'), date '2026-07-05') AS last_day,
       p.enrolled_on + p.holiday AS holiday_from,
       s.level AS systolic, 760 + (s.level - 1240) * 3 / 10 + sim.bell(p.n, 62, 40) AS diastolic,
       720 + sim.bell(p.n, 63, 75) AS pulse,
       CASE WHEN t.kind < 50 THEN 1450 + sim.draw(p.n, 65, 170) - s.level + 40
            WHEN t.kind < 62 THEN 840 - s.level END AS change,
       p.enrolled_on + 8 + sim.draw(p.n, 66, 70) AS change_from,
       6 + sim.draw(p.n, 67, 30) AS change_days,
       385 + sim.draw(p.n, 68, 130) AS morning, 1230 + sim.draw(p.n, 69, 80) AS evening,
       1180 + sim.draw(p.n, 70, 120) AS diary,
       greatest(sim.bell(p.n, 71, 22), 0) AS pain, 35 + sim.bell(p.n, 72, 6) AS wellbeing
  FROM sim.person p
 CROSS JOIN LATERAL (SELECT 1240 + sim.bell(p.n, 61, 55) + (p.days_old / 365 - 60) * 12 / 10) s (level)
 CROSS JOIN LATERAL (SELECT sim.draw(p.n, 64, 1000)) t (kind)
 WHERE p.enrolled_on IS NOT NULL;

-- key is the patient and the day as one number, since the days since enrolment.
CREATE TABLE sim.day AS
SELECT w.*, d.day, d.key, d.since,
       CASE WHEN w.slot = 5 AND d.since >= 40 THEN 'America/New_York'
            WHEN w.slot = 44 AND d.since BETWEEN 30 AND 50 THEN 'Europe/London'
            ELSE w.time_zone END AS zone,
       -- of 1000: how likely an entry is; less on weekends and as time goes by
       CASE WHEN d.day >= w.holiday_from AND d.day < w.holiday_from + 7 THEN 0
            ELSE w.compliance - d.since / 2 - CASE WHEN extract(isodow FROM d.day) >= 6 THEN 40 ELSE 0 END END AS chance,
       -- the treatment's effect comes over six weeks; a change builds up over eight days
       w.systolic - least(d.since, 42) * CASE w.arm WHEN 'A' THEN 60 ELSE 25 END / 42 + x.change
           + sim.bell(d.key, 300, 48) AS day_systolic,
       w.diastolic - least(d.since, 42) * CASE w.arm WHEN 'A' THEN 30 ELSE 12 END / 42 + x.change * 4 / 10
           + sim.bell(d.key, 300, 48) * 4 / 10 + sim.bell(d.key, 301, 24) AS day_diastolic
  FROM sim.watch w
 CROSS JOIN LATERAL (
    SELECT since, w.enrolled_on + since, w.n * 512 + (w.enrolled_on + since - date '2026-01-05')
      FROM generate_series(0, w.last_day - w.enrolled_on) since) d (since, day, key)
 CROSS JOIN LATERAL (
    SELECT CASE WHEN w.change IS NOT NULL AND d.day BETWEEN w.change_from AND w.change_from + 8 + w.change_days
                THEN w.change * least(d.day - w.change_from, 8) / 8 ELSE 0 END) x (change);

-- Home readings: three items at a time. The evening's purposes are 50 further than the morning's.
INSERT INTO study.reading
SELECT d.id, t.captured_at, d.zone, i.item,
       CASE WHEN i.no < 3 AND sim.draw(d.key, 318 + e.part, 1000) < d.coarse THEN (i.value + 25) / 50 * 5
            ELSE (i.value + 5) / 10 END,
       i.unit, NULL
  FROM sim.day d
 CROSS JOIN (VALUES (0), (50)) e (part)
 CROSS JOIN LATERAL (
    SELECT (d.day + interval '1 minute' * (CASE e.part WHEN 0 THEN d.morning ELSE d.evening END + sim.bell(d.key, 310 + e.part, 18))
                  + interval '1 second' * sim.draw(d.key, 311 + e.part, 60)) AT TIME ZONE d.zone) t (captured_at)
 CROSS JOIN LATERAL (VALUES
    (1, '8480-6', d.day_systolic + sim.bell(d.key, 312 + e.part, 25) - e.part / 5, 'mm[Hg]'),
    (2, '8462-4', d.day_diastolic + sim.bell(d.key, 313 + e.part, 18) - e.part / 5, 'mm[Hg]'),
    (3, '8867-4', d.pulse + sim.bell(d.key, 314 + e.part, 45), '/min')) i (no, item, value, unit)
 WHERE sim.draw(d.key, 315, 1000) < d.chance
   AND (e.part = 0 OR d.evenings AND sim.draw(d.key, 316, 1000) < 850)
 ORDER BY d.id, t.captured_at, i.no;

-- Visits to the center every four weeks: weight, temperature.
INSERT INTO study.reading
SELECT w.id, t.captured_at, w.time_zone, i.item, i.value, i.unit,
       CASE v.week WHEN 0 THEN 'BASELINE' ELSE 'WEEK ' || v.week END
  FROM sim.watch w
  JOIN study.patient p ON p.id = w.id
 CROSS JOIN (VALUES (0), (4), (8), (12), (16)) v (week)
 CROSS JOIN LATERAL (SELECT w.n * 512 + v.week, sim.workday(w.enrolled_on + v.week * 7)) k (key, day)
 CROSS JOIN LATERAL (SELECT (k.day + interval '1 minute' * (540 + sim.draw(k.key, 401, 420))) AT TIME ZONE w.time_zone) t (captured_at)
 CROSS JOIN LATERAL (VALUES
    (1, '29463-7', (p.record #>> '{baseline,weight_kg}')::numeric + round(sim.bell(k.key, 402, 8) / 10.0, 1), 'kg'),
    (2, '8310-5', round((366 + sim.bell(k.key, 403, 3)) / 10.0, 1), 'Cel')) i (no, item, value, unit)
 WHERE k.day <= w.last_day
   AND (v.week = 0 OR sim.draw(k.key, 404, 1000) < 960)
   AND w.slot NOT IN (5, 44)  -- who is far away does not come
 ORDER BY w.id, t.captured_at, i.no;

-- The evening diary; now and then a question is passed over.
INSERT INTO study.answer
SELECT d.id, t.captured_at, d.zone, 'DIARY', i.item, i.value, NULL
  FROM sim.day d
 CROSS JOIN LATERAL (
    SELECT (d.day + interval '1 minute' * (d.diary + sim.bell(d.key, 320, 25))
                  + interval '1 second' * sim.draw(d.key, 321, 60)) AT TIME ZONE d.zone) t (captured_at)
 CROSS JOIN LATERAL (VALUES
    (1, 'pain', least(greatest((d.pain + sim.bell(d.key, 322, 8) + 5) / 10, 0), 10)::text),
    (2, 'medication_taken', CASE WHEN sim.draw(d.key, 323, 1000) < 700 + d.compliance * 28 / 100 THEN 'yes' ELSE 'no' END),
    (3, 'well_being', least(greatest((d.wellbeing + sim.bell(d.key, 324, 7) + 5) / 10, 1), 5)::text)) i (no, item, value)
 WHERE sim.draw(d.key, 325, 1000) < d.chance - 30
   AND sim.draw(d.key, 325 + i.no, 1000) >= 4
 ORDER BY d.id, t.captured_at, i.no;

\endif

DROP SCHEMA sim CASCADE;
COMMIT;
ANALYZE study.project, study.center, study.patient, study.event, study.reading, study.answer;
