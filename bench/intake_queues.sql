-- intake_queues.sql: other ways of working, in plain SQL: queues, and who consumes them.
-- They are told to stop and then go on until nothing is left.

CREATE TABLE bench.control (stop boolean NOT NULL);
INSERT INTO bench.control VALUES (false);
CREATE FUNCTION bench.is_stopped() RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT stop FROM bench.control';

-- By hand: DELETE ... SKIP LOCKED, stored in the same transaction.
CREATE TABLE bench.queue_hand (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, patient_id text NOT NULL, submission_id uuid NOT NULL,
                               captured_at timestamptz NOT NULL, report_data jsonb NOT NULL);
CREATE PROCEDURE bench.consume_hand(batch integer) LANGUAGE plpgsql AS $$
DECLARE
    taken record;
    stop boolean;
BEGIN
    LOOP
        stop := bench.is_stopped();
        COMMIT;
        WITH gone AS (
            DELETE FROM bench.queue_hand WHERE id = ANY (ARRAY(
                SELECT q.id FROM bench.queue_hand q ORDER BY q.id LIMIT batch FOR UPDATE SKIP LOCKED)) RETURNING *)
        SELECT INTO taken count(*) AS n, array_agg(patient_id) AS p, array_agg(submission_id) AS s, array_agg(captured_at) AS c, array_agg(report_data) AS d FROM gone;
        IF taken.n > 0 THEN
            PERFORM bench.store(taken.p, taken.s, taken.c, taken.c, taken.d);
            COMMIT;
        ELSE
            COMMIT;
            EXIT WHEN stop;
            PERFORM pg_sleep(0.002);
        END IF;
    END LOOP;
END
$$;

-- As pgmq does: send; read sets a time until which nobody else sees the message; delete.
CREATE TABLE bench.queue_pgmq (msg_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, read_ct integer NOT NULL DEFAULT 0,
                               enqueued_at timestamptz NOT NULL DEFAULT now(), vt timestamptz NOT NULL, message jsonb, headers jsonb);
CREATE INDEX ON bench.queue_pgmq (vt);
CREATE PROCEDURE bench.consume_pgmq(batch integer) LANGUAGE plpgsql AS $$
DECLARE
    taken record;
    stop boolean;
BEGIN
    LOOP
        stop := bench.is_stopped();
        COMMIT;
        WITH cte AS (
            SELECT q.msg_id FROM bench.queue_pgmq q WHERE q.vt <= clock_timestamp() ORDER BY q.msg_id LIMIT batch FOR UPDATE SKIP LOCKED),
        message AS (
            UPDATE bench.queue_pgmq m SET vt = clock_timestamp() + interval '60 s', read_ct = m.read_ct + 1
              FROM cte WHERE m.msg_id = cte.msg_id RETURNING m.msg_id, m.message)
        SELECT INTO taken count(*) AS n, array_agg(msg_id) AS ids, array_agg(message ->> 'patient_id') AS p, array_agg((message ->> 'submission_id')::uuid) AS s,
               array_agg((message ->> 'captured_at')::timestamptz) AS c, array_agg(message -> 'report_data') AS d FROM message;
        COMMIT;
        IF taken.n > 0 THEN
            PERFORM bench.store(taken.p, taken.s, taken.c, taken.c, taken.d);
            DELETE FROM bench.queue_pgmq WHERE msg_id = ANY (taken.ids);
            COMMIT;
        ELSE
            EXIT WHEN stop;
            PERFORM pg_sleep(0.002);
        END IF;
    END LOOP;
END
$$;

-- The queues are vacuumed often.
ALTER TABLE bench.queue_hand SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE bench.queue_pgmq SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0);

-- LISTEN/NOTIFY, for the latency (intake_latency.c).
CREATE TABLE bench.queue_listen (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, patient_id text NOT NULL, submission_id uuid NOT NULL,
                                 captured_at timestamptz NOT NULL, report_data jsonb NOT NULL);
CREATE FUNCTION bench.submit_listen(p text, d jsonb, s uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bench.queue_listen (patient_id, submission_id, captured_at, report_data) VALUES (p, s, clock_timestamp(), d);
    NOTIFY bench;
END
$$;
CREATE FUNCTION bench.drain_listen() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    taken record;
BEGIN
    WITH gone AS (DELETE FROM bench.queue_listen RETURNING *)
    SELECT INTO taken count(*) AS n, array_agg(patient_id) AS p, array_agg(submission_id) AS s, array_agg(captured_at) AS c, array_agg(report_data) AS d FROM gone;
    IF taken.n > 0 THEN
        PERFORM bench.store(taken.p, taken.s, taken.c, taken.c, taken.d);
    END IF;
    RETURN taken.n;
END
$$;
