-- submit.sql: what the clients of demo/intake.sh do, and who watches them, as procedures that
-- commit each step.  After demo/reports.sql, as a superuser.

-- One of so many clients sends its share of a wave: each report in a transaction of its own, which also
-- notes the answer.  A patient one that is told "busy" sends the report again until it is taken; one
-- that is not goes on with the next.  What was taken is not sent again.
CREATE PROCEDURE demo.send(which text, client integer, clients integer, patient boolean)
    LANGUAGE plpgsql AS $$
DECLARE
    r demo.report;
    a clinical.submit_response;
BEGIN
    FOR r IN
        SELECT * FROM demo.report t
         WHERE t.wave = which AND t.no % clients = client
           AND NOT EXISTS (SELECT FROM demo.answer d WHERE d.no = t.no AND d.outcome <> 'busy')
         ORDER BY t.no
    LOOP
        LOOP
            a := clinical.submit_report(patient_id => r.patient_id, report_data => r.report_data, submission_id => r.submission_id,
                captured_at => r.captured_at, instrument => r.instrument, time_zone => r.time_zone, originator => r.originator,
                device_id => 'demo-' || client);
            INSERT INTO demo.answer VALUES (r.no, which, a.outcome, clock_timestamp());
            COMMIT;
            EXIT WHEN a.outcome <> 'busy' OR NOT patient;
            PERFORM pg_sleep(0.005);
        END LOOP;
    END LOOP;
END
$$;

-- Notes how many reports wait, every 50 ms until all of a wave were taken and none waits any more.
CREATE PROCEDURE demo.watch(which text, seconds integer DEFAULT 180)
    LANGUAGE plpgsql AS $$
DECLARE
    began     timestamptz := clock_timestamp();
    reports   bigint := (SELECT count(*) FROM demo.report WHERE wave = which);
    remaining bigint;
BEGIN
    LOOP
        INSERT INTO demo.backlog
        SELECT which, clock_timestamp(), (SELECT count(*) FROM clinical.staged_report),
               (SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'clinical%worker' AND datname = current_database())
        RETURNING staged INTO remaining;
        COMMIT;
        EXIT WHEN remaining = 0 AND (SELECT count(*) FROM demo.answer WHERE wave = which AND outcome <> 'busy') = reports;
        IF clock_timestamp() > began + seconds * interval '1 second' THEN
            RAISE EXCEPTION 'after % s % reports still wait', seconds, remaining;
        END IF;
        PERFORM pg_sleep(0.05);
    END LOOP;
END
$$;

-- How a wave went, in a line.
CREATE FUNCTION demo.course(which text) RETURNS text
    LANGUAGE sql STABLE AS $$
    SELECT format('%s reports taken in %s s, %s/s; all processed after %s s, %s/s; at most %s waited',
                  reports, round(taken, 1), round(reports / greatest(taken, 0.001)), round(done, 1),
                  round(reports / greatest(done, 0.001)), most)
      FROM (SELECT a.reports, extract(epoch FROM a.last - a.first) AS taken,
                   extract(epoch FROM greatest(b.last, a.last) - a.first) AS done, b.most
              FROM (SELECT count(*) AS reports, min(at) AS first, max(at) AS last FROM demo.answer WHERE wave = which AND outcome <> 'busy') a,
                   (SELECT min(at) FILTER (WHERE staged = 0 AND at > (SELECT max(at) FROM demo.backlog WHERE wave = which AND staged > 0)) AS last,
                           max(staged) AS most FROM demo.backlog WHERE wave = which) b) c
$$;

-- The backlog of a wave as bars, a moment a line, at most 20 of them: from the first one or, if it
-- grew at first, as it was noted.
CREATE FUNCTION demo.bars(which text) RETURNS TABLE (seconds numeric, workers bigint, waiting bigint, bar text)
    LANGUAGE sql STABLE AS $$
    SELECT round(extract(epoch FROM at - first), 2), workers, staged,
           repeat('#', ceil(staged * 50.0 / greatest(most, 1))::integer)
      FROM (SELECT b.*, min(at) OVER () AS first, max(staged) OVER () AS most,
                   row_number() OVER (ORDER BY at) AS number, count(*) OVER () AS samples
              FROM demo.backlog b WHERE wave = which) s
     WHERE (number - 1) % ((samples + 18) / 19) = 0 OR number = samples
     ORDER BY at
$$;

GRANT EXECUTE ON PROCEDURE demo.send(text, integer, integer, boolean) TO demo_client;
