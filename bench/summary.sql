-- summary.sql: what bench/summary runs on.

CREATE EXTENSION clinical;
CREATE SCHEMA bench;

-- So many values: up to 1,000 different ones, and all different; numeric and double precision.
CREATE PROCEDURE bench.fill_values(rows bigint) LANGUAGE plpgsql AS $$
BEGIN
    CREATE UNLOGGED TABLE bench.value AS
        SELECT (n * 7919 % 1000 / 10.0)::numeric(6, 1) AS few, (n * 4294967291 % 1000000000000 / 10000.0)::numeric(14, 4) AS different,
               (n * 7919 % 1000)::double precision / 10 AS few_double, sin(n) * 1000 AS different_double
          FROM generate_series(1, rows) n;
    COMMIT;
END
$$;

-- The same figures by the server's functions: the quartiles are others, see doc/summary.md.
CREATE FUNCTION bench.builtin(column_name text) RETURNS text LANGUAGE sql AS $$
    SELECT format('SELECT count(%1$I), count(*) - count(%1$I), avg(%1$I), stddev_samp(%1$I), min(%1$I), max(%1$I), percentile_cont(ARRAY[0.25, 0.5, 0.75]) WITHIN GROUP (ORDER BY %1$I) FROM bench.value', column_name)
$$;

-- True if count, mean, minimum and maximum are those of the server, and the mean and deviation of numeric its digits.
CREATE PROCEDURE bench.compare_figures() LANGUAGE plpgsql AS $$
DECLARE
    same boolean;
BEGIN
    SELECT (d).n = n AND (d).mean::text = mean::text AND (d).sd::text = sd::text AND (d).min = least AND (d).max = greatest
       AND (e).mean::text = mean2::text AND (e).sd::text = sd2::text AND (e).min = least2 AND (e).max = greatest2
      INTO same
      FROM (SELECT clinical.describe(few) AS d, clinical.describe(different) AS e, count(*) AS n, avg(few) AS mean, stddev_samp(few) AS sd, min(few) AS least, max(few) AS greatest,
                   avg(different) AS mean2, stddev_samp(different) AS sd2, min(different) AS least2, max(different) AS greatest2 FROM bench.value) s;
    IF same IS NOT TRUE THEN
        RAISE EXCEPTION 'the figures differ';
    END IF;
END
$$;
