-- monitor.sql: what bench/monitor runs on, after data.sql and intake.sql.

-- Ten rules over the diary's numbers, about one reading in eleven out of range.
CREATE PROCEDURE bench.make_rules() LANGUAGE plpgsql AS $$
DECLARE
    rule jsonb;
BEGIN
    FOR rule IN SELECT jsonb_build_object('project', 'BENCH', 'kind', 'streak', 'severity', 'warning') || r FROM unnest(ARRAY[
        '{"code": "R1", "days": 3, "items": [{"item": "pain_worst", "range": "[0,9]"}]}',
        '{"code": "R2", "days": 3, "gap": 1, "items": [{"item": "pain_worst", "range": "[0,9]"}]}',
        '{"code": "R3", "days": 3, "items": [{"item": "pain_average", "range": "[0,9]"}]}',
        '{"code": "R4", "days": 3, "aggregate": "mean", "items": [{"item": "pain_average", "range": "[0,9]"}]}',
        '{"code": "R5", "days": 3, "items": [{"item": "sleep_hours", "range": "[2,)"}]}',
        '{"code": "R6", "days": 3, "day_start": "04:00", "items": [{"item": "sleep_hours", "range": "[2,)"}]}',
        '{"code": "R7", "days": 3, "items": [{"item": "temperature", "range": "[36,38.2]"}]}',
        '{"code": "R8", "days": 3, "aggregate": "max", "items": [{"item": "temperature", "range": "[36,38.2]"}]}',
        '{"code": "R9", "days": 3, "items": [{"item": "pain_worst", "range": "[0,9]"}, {"item": "temperature", "range": "[36,38.3]"}]}',
        '{"code": "R10", "days": 3, "aggregate": "last", "items": [{"item": "tablets_taken", "range": "[0,4]"}]}']::jsonb[]) r
    LOOP
        PERFORM clinical.create_rule(rule);
    END LOOP;
    COMMIT;
    -- there is nothing yet that they are evaluated over
    PERFORM clinical.start_workers();
    WHILE EXISTS (SELECT FROM clinical.rule_evaluation WHERE status IN ('queued', 'running')) LOOP
        COMMIT;
        PERFORM pg_sleep(0.1);
    END LOOP;
    PERFORM clinical.stop_workers();
END
$$;

-- What waits: a diary a day of so many patients, day by day, as it comes; the last day is so many days ago.
CREATE PROCEDURE bench.fill_days(reports bigint, of_patients bigint, days_ago bigint) LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE bench.waiting;
    INSERT INTO bench.waiting
        SELECT (10000001 + n % of_patients)::text, gen_random_uuid(),
               date_trunc('hour', clock_timestamp()) - (1 + days_ago + (reports - 1 - n) / of_patients) * interval '1 day' + n % of_patients % 60 * interval '1 minute',
               clock_timestamp(), bench.report(n)
          FROM generate_series(0, reports - 1) n;
    COMMIT;
END
$$;

-- Two patients, with so many days behind them, and the same values.
CREATE PROCEDURE bench.enroll_pair(short_past bigint, long_past bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM clinical.enroll_patient(p, NULL, NULL, 'BENCH', 1, '{}', effective_on => '1980-01-01') FROM unnest(ARRAY['short', 'long']) p;
    PERFORM clinical.submit_report(p, bench.report(n), NULL, timestamptz '2015-06-01 12:00+00' - n * interval '1 day')
       FROM unnest(ARRAY['short', 'long']) p, generate_series(1, CASE p WHEN 'short' THEN short_past ELSE long_past END) n;
    COMMIT;
    PERFORM clinical.process_reports();
    COMMIT;
END
$$;

-- Microseconds that the next day's report of each takes to be processed, in turns.
CREATE TABLE bench.next_day (patient text, us double precision);
CREATE PROCEDURE bench.next_days(days bigint) LANGUAGE plpgsql AS $$
DECLARE
    p text;
    began timestamptz;
BEGIN
    -- as workers commit; who raises an alert waits for the disk all the same
    SET synchronous_commit = off;
    FOR n IN 1 .. days LOOP
        FOREACH p IN ARRAY CASE n % 2 WHEN 0 THEN ARRAY['short', 'long'] ELSE ARRAY['long', 'short'] END LOOP
            PERFORM clinical.submit_report(p, bench.report(1000000 + n), NULL, timestamptz '2015-06-01 12:00+00' + n * interval '1 day');
            COMMIT;
            began := clock_timestamp();
            PERFORM clinical.process_reports(1);
            COMMIT;
            INSERT INTO bench.next_day VALUES (p, 1000000 * extract(epoch FROM clock_timestamp() - began));
        END LOOP;
    END LOOP;
END
$$;

CREATE TABLE bench.reading (patient text, item text, value numeric, at timestamptz, zone text, id uuid, valid boolean);

-- The past of a back-test, stored by hand: ten readings a day of each patient.
CREATE PROCEDURE bench.fill_past(readings bigint, of_patients bigint) LANGUAGE plpgsql AS $$
DECLARE
    reports bigint := readings / 10;
    statement text;
BEGIN
    CREATE TABLE bench.past AS
        SELECT (10000001 + n % of_patients)::text AS patient_id, gen_random_uuid() AS submission_id,
               date_trunc('day', clock_timestamp()) - (1 + n / of_patients) * interval '1 day' + interval '12 hours' AS captured_at, n
          FROM generate_series(0, reports - 1) n;
    statement := bench.insert_statement('clinical.submission', 'clinical.submission',
        '{"patient_id": "w.patient_id", "id": "w.submission_id", "captured_at": "w.captured_at", "local_day": "w.captured_at::date",
          "received_at": "w.captured_at", "processed_at": "w.captured_at", "report_data": "''{}''", "observations": "10"}',
        'bench.past w CROSS JOIN bench.submission_row t');
    EXECUTE statement;
    statement := bench.insert_statement('clinical.observation', 'clinical.observation',
        '{"patient_id": "w.patient_id", "captured_at": "w.captured_at", "id": "gen_random_uuid()", "submission_id": "w.submission_id",
          "local_day": "w.captured_at::date", "recorded_at": "w.captured_at", "repeat_key": "k::text",
          "value": "60 + bench.draw(w.n * 10 + k, 301, 130)", "value_text": "NULL", "value_code": "NULL", "absent": "NULL"}',
        'bench.past w CROSS JOIN generate_series(1, 10) k CROSS JOIN (SELECT * FROM bench.observation_row WHERE item = ''sleep_hours'') t');
    EXECUTE statement;
    INSERT INTO bench.reading
        SELECT o.patient_id AS patient, o.item, o.value, o.captured_at AS at, s.time_zone AS zone, o.id, true AS valid
          FROM clinical.observation o JOIN clinical.submission s ON s.patient_id = o.patient_id AND s.id = o.submission_id
         WHERE o.item = 'sleep_hours' AND o.repeat_key IS NOT NULL;
END
$$;

-- The window query that defines streaks: days of one item out of a range, at least so many in a row.
CREATE FUNCTION bench.streaks(normal numrange, days integer) RETURNS TABLE (patient text, onset date, last_day date, trigger_day date, out_days integer)
    LANGUAGE sql STABLE AS $$
    WITH day_state AS (
        SELECT r.patient, (r.at AT TIME ZONE r.zone)::date AS day, bool_or(NOT r.value <@ normal) AS is_out
          FROM bench.reading r WHERE r.valid GROUP BY 1, 2),
    before AS (
        SELECT *, lag(day) OVER w AS previous_day, lag(is_out) OVER w AS previous_out
          FROM day_state WINDOW w AS (PARTITION BY day_state.patient ORDER BY day)),
    island AS (
        SELECT *, sum(CASE WHEN is_out AND coalesce(previous_out, false) AND day - previous_day <= 1 THEN 0 ELSE 1 END)
                  OVER (PARTITION BY before.patient ORDER BY day) AS number
          FROM before)
    SELECT island.patient, min(day), max(day), (array_agg(day ORDER BY day))[days], count(*)::integer
      FROM island WHERE is_out GROUP BY island.patient, number HAVING count(*) >= days ORDER BY 1, 2
$$;
