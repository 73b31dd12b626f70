-- report.sql: what reports are made of in the benchmarks, after data.sql and intake.sql.

-- Six readings a report, a report a day of each patient, the last one yesterday.
CREATE PROCEDURE bench.fill_reports(readings bigint, of_patients bigint) LANGUAGE plpgsql AS $$
BEGIN
    CREATE TABLE bench.past AS
        SELECT (10000001 + n % of_patients)::text AS patient_id, gen_random_uuid() AS submission_id,
               date_trunc('day', clock_timestamp()) - (1 + n / of_patients) * interval '1 day' + interval '12 hours' AS captured_at, n
          FROM generate_series(0, readings / 6 - 1) n;
    EXECUTE bench.insert_statement('clinical.submission', 'clinical.submission',
        '{"patient_id": "w.patient_id", "id": "w.submission_id", "captured_at": "w.captured_at", "local_day": "w.captured_at::date",
          "received_at": "w.captured_at + interval ''1 minute''", "processed_at": "w.captured_at + interval ''1 minute''", "observations": "6"}',
        'bench.past w CROSS JOIN bench.submission_row t');
    EXECUTE bench.insert_statement('clinical.observation', 'clinical.observation',
        '{"patient_id": "w.patient_id", "captured_at": "w.captured_at", "id": "gen_random_uuid()", "submission_id": "w.submission_id",
          "local_day": "w.captured_at::date", "recorded_at": "w.captured_at + interval ''1 minute''",
          "value": "CASE WHEN t.value IS NOT NULL THEN bench.draw(w.n, hashtext(t.item), 40) END"}',
        'bench.past w CROSS JOIN bench.observation_row t');
    DROP TABLE bench.past;
END
$$;
