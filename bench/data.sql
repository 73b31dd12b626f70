-- data.sql: what the benchmarks run on; the same for the same number of :rows.
-- Patients are numbered from 10000001 on, so that pgbench can draw an id as a number.
-- flags.rare_variant has exactly every thousandth patient, flags.recontact every second.

CREATE EXTENSION clinical;
CREATE SCHEMA bench;

-- 17 centers that enroll, and the 10,000 of create_project
INSERT INTO clinical.center (name, site_id, time_zone, country)
SELECT 'Center ' || n, 'S' || n, (ARRAY['UTC', 'Europe/Amsterdam', 'America/New_York', 'Asia/Tokyo'])[n % 4 + 1],
       (ARRAY['GB', 'NL', 'US', 'JP'])[n % 4 + 1]
  FROM generate_series(1, 10017) n;
SELECT id AS project_id FROM clinical.create_project_with_centers('Benchmark',
    (SELECT array_agg(id) FROM clinical.center WHERE id <= 17), 'BENCH') \gset
-- EXTERNAL: not compressed, so that both ways of using the list read it at the same cost.
CREATE TABLE bench.center_list (ids bigint[]);
ALTER TABLE bench.center_list ALTER ids SET STORAGE EXTERNAL;
INSERT INTO bench.center_list SELECT array_agg(id ORDER BY id) FROM clinical.center WHERE id > 17;

-- A number from 0 to choices - 1 that depends on nothing but n and the purpose.
CREATE FUNCTION bench.draw(n bigint, purpose bigint, choices bigint) RETURNS integer
    LANGUAGE sql IMMUTABLE AS $$ SELECT (abs(hashint8extended(n, purpose) % choices))::integer $$;

-- A visit: the day and what was measured.
CREATE FUNCTION bench.visit(n bigint, no integer) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('visit', no, 'on', date '2020-01-01' + bench.draw(n, 1, 1500) + 28 * no,
        'systolic', 95 + bench.draw(n, 10 + no, 80), 'diastolic', 55 + bench.draw(n, 20 + no, 50),
        'pulse', 50 + bench.draw(n, 30 + no, 60), 'weight', (450 + bench.draw(n, 40 + no, 700)) / 10.0,
        'labs', jsonb_build_object('hb', (90 + bench.draw(n, 50 + no, 90)) / 10.0,
            'creatinine', 45 + bench.draw(n, 60 + no, 90), 'alt', 8 + bench.draw(n, 70 + no, 70)))
$$;

-- A record of about 1 kB.
CREATE FUNCTION bench.record(n bigint) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'demographics', jsonb_build_object('height', 145 + bench.draw(n, 2, 55),
            'smoker', (ARRAY['never', 'former', 'current'])[bench.draw(n, 3, 3) + 1],
            'education', (ARRAY['primary', 'secondary', 'tertiary'])[bench.draw(n, 4, 3) + 1]),
        'flags', jsonb_build_object('recontact', n % 2 = 0) ||
            CASE WHEN n % 1000 = 0 THEN '{"rare_variant": true}' ELSE '{}' END::jsonb,
        'diagnoses', jsonb_build_array(
            jsonb_build_object('code', 'C' || bench.draw(n, 5, 97), 'stage', 1 + bench.draw(n, 6, 4)),
            jsonb_build_object('code', 'I' || bench.draw(n, 7, 99), 'stage', NULL)),
        'medications', jsonb_build_array(
            jsonb_build_object('atc', 'L01X' || bench.draw(n, 8, 60), 'dose_mg', 25 * (1 + bench.draw(n, 9, 8))),
            jsonb_build_object('atc', 'C09A' || bench.draw(n, 90, 20), 'dose_mg', 5 * (1 + bench.draw(n, 91, 4)))),
        'visits', jsonb_build_array(bench.visit(n, 1), bench.visit(n, 2), bench.visit(n, 3)))
$$;

-- So many patients, from the one numbered first (from 1) on.
CREATE FUNCTION bench.patients(first bigint, count bigint)
    RETURNS TABLE (id text, project_id bigint, center_id bigint, status text, status_on date, name text,
                   birth_date date, sex text, record jsonb)
    LANGUAGE sql STABLE AS $$
    SELECT (10000000 + n)::text, p.id, 1 + bench.draw(n, 100, 17), 'enrolled',
           date '2020-01-01' + bench.draw(n, 1, 1500),
           (ARRAY['Anna', 'Ben', 'Chloe', 'David', 'Emma', 'Femi', 'Grace', 'Hiro'])[bench.draw(n, 101, 8) + 1] || ' ' ||
           (ARRAY['Adams', 'Bakker', 'Cohen', 'Diaz', 'Evans', 'Fischer', 'Garcia', 'Hansen'])[bench.draw(n, 102, 8) + 1],
           date '1930-01-01' + bench.draw(n, 103, 25000), (ARRAY['F', 'M'])[bench.draw(n, 104, 2) + 1], bench.record(n)
      FROM generate_series(first, first + count - 1) n, clinical.project p
     WHERE p.code = 'BENCH'
$$;

INSERT INTO clinical.patient (id, project_id, center_id, status, status_on, name, birth_date, sex, record)
SELECT * FROM bench.patients(1, :rows);
VACUUM (FREEZE, ANALYZE) clinical.patient, clinical.record_version, clinical.enrollment_event;

-- For the writing benchmarks: records to enter, and numbers for new patients.
CREATE TABLE bench.template AS SELECT n::integer AS n, bench.record(n) AS record FROM generate_series(1, 1000) n;
ALTER TABLE bench.template ADD PRIMARY KEY (n);
CREATE SEQUENCE bench.new_id START 50000001 CACHE 100;
VACUUM ANALYZE;
CHECKPOINT;
