-- intake_pgq.sql: PgQ, with a tick every 10 ms at most, by hand instead of pgqd.
CREATE EXTENSION pgq;
SELECT pgq.create_queue('reports');
SELECT pgq.register_consumer('reports', 'store');
SELECT pgq.set_queue_config('reports', 'ticker_max_count', '1000'), pgq.set_queue_config('reports', 'ticker_max_lag', '20 milliseconds'),
       pgq.set_queue_config('reports', 'ticker_idle_period', '100 milliseconds');

CREATE PROCEDURE bench.tick_pgq() LANGUAGE plpgsql AS $$
BEGIN
    LOOP
        EXIT WHEN bench.is_stopped();
        PERFORM pgq.ticker('reports');
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;

CREATE PROCEDURE bench.consume_pgq() LANGUAGE plpgsql AS $$
DECLARE
    batch bigint;
    taken record;
    stop boolean := false;
BEGIN
    LOOP
        batch := pgq.next_batch('reports', 'store');
        IF batch IS NOT NULL THEN
            SELECT INTO taken count(*) AS n, array_agg(ev_extra1) AS p, array_agg(ev_extra2::uuid) AS s, array_agg(ev_time) AS c, array_agg(ev_data::jsonb) AS d
              FROM pgq.get_batch_events(batch);
            IF taken.n > 0 THEN
                PERFORM bench.store(taken.p, taken.s, taken.c, taken.c, taken.d);
            END IF;
            PERFORM pgq.finish_batch(batch);
            COMMIT;
        ELSE
            COMMIT;
            EXIT WHEN stop;
            stop := bench.is_stopped();
            IF stop THEN
                -- one tick for what came after the last one; its batch has all that is left
                PERFORM pgq.force_tick('reports');
                PERFORM pgq.ticker('reports');
                COMMIT;
            ELSE
                PERFORM pg_sleep(0.002);
            END IF;
        END IF;
    END LOOP;
END
$$;
