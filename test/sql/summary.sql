-- summary: exact statistics

-- An example, with values of each type.
CREATE TABLE test.ten AS SELECT unnest('{1,2,4,7,11,16,22,29,37,46}'::numeric[]) AS x;
SELECT d.* FROM (SELECT clinical.describe(x) AS r FROM test.ten) s, LATERAL (SELECT (r).*) d;
SELECT d.* FROM (SELECT clinical.describe(x::double precision) AS r FROM test.ten) s, LATERAL (SELECT (r).*) d;
SELECT pg_typeof(clinical.describe(x::smallint)), pg_typeof(clinical.describe(x::integer)), pg_typeof(clinical.describe(x::bigint)),
       pg_typeof(clinical.describe(x)), pg_typeof(clinical.describe(x::real)), pg_typeof(clinical.describe(x::double precision)) FROM test.ten;
SELECT clinical.describe(x::smallint) = clinical.describe(x) AND clinical.describe(x::integer) = clinical.describe(x)
   AND clinical.describe(x::bigint) = clinical.describe(x) AS same FROM test.ten;
SELECT clinical.quantile_sas(x, 0.25) AS q25, clinical.quantile_sas(x, 0.5) AS q50, clinical.quantile_sas(x, 0.75) AS q75, clinical.quantile_sas(x, 0.9) AS q90,
       clinical.quantile_sas(x, ARRAY[0.25, 0.5, 0.75, 0.9]) AS together FROM test.ten;
SELECT clinical.quantile_sas(x::double precision, ARRAY[0.25, 0.5, 0.75, 0.9]) AS double_precision,
       clinical.quantile_sas(x::double precision, 0.1) AS d1, clinical.quantile_sas(x, 0.1::double precision) AS d2,
       clinical.quantile_sas(x, ARRAY[0.1, 0.5]::double precision[]) AS d3 FROM test.ten;
SELECT pg_typeof(clinical.quantile_sas(x::smallint, 0.5)) AS smallint, pg_typeof(clinical.quantile_sas(x::integer, 1)) AS integer,
       pg_typeof(clinical.quantile_sas(x::bigint, ARRAY[0.5])) AS bigint, pg_typeof(clinical.quantile_sas(x::real, 0.5)) AS real,
       pg_typeof(clinical.quantile_sas(x, 0.5::double precision)) AS numeric, pg_typeof(clinical.quantile_sas(x::double precision, 0.5)) AS double_precision FROM test.ten;
-- the exact product of n and the fraction: 10 x 0.1 is 1, 100 x 0.29 is 29, 1000 x 0.001 is 1
SELECT n, p, clinical.quantile_sas(g, p) AS of_numeric, clinical.quantile_sas(g::double precision, p::double precision) AS of_double
  FROM (VALUES (10, 0.1), (100, 0.29), (100, 0.57), (1000, 0.001), (10, 0.3), (10, 0.7), (10, 0.0999999999999999999999), (10, 0.10000000000000000000001)) v (n, p),
       LATERAL generate_series(1, n) g GROUP BY n, p ORDER BY n, p;
-- both ends, bounds and shapes of arrays
SELECT clinical.quantile_sas(x, 0) AS p0, clinical.quantile_sas(x, 1) AS p1, clinical.quantile_sas(x, 1.000) AS p1000, clinical.quantile_sas(x, 1e-30) AS little,
       clinical.quantile_sas(x, ARRAY[1, 0, 0.5, 0.5, 1]) AS in_any_order, clinical.quantile_sas(x, '{}'::numeric[]) AS none,
       clinical.quantile_sas(x, '[-1:0][2:3]={{0,0.5},{0.9,1}}'::numeric[]) AS shape FROM test.ten;

-- no value, one value, missing values
SELECT clinical.describe(x) AS none, clinical.quantile_sas(x, 0.5) AS quantile, clinical.quantile_sas(x, ARRAY[0.5]) AS quantiles,
       clinical.describe(x::double precision) AS double FROM test.ten WHERE false;
SELECT clinical.describe(NULL::numeric) AS missing, clinical.quantile_sas(NULL::numeric, 0.5) AS quantile, clinical.quantile_sas(NULL::numeric, ARRAY[0.5]) AS quantiles,
       clinical.describe(NULL::integer) AS of_integer, clinical.describe(NULL::double precision) AS double FROM test.ten;
SELECT clinical.describe(7.50) AS one, clinical.describe(7.50::double precision) AS one_double, clinical.quantile_sas(7.50, ARRAY[0, 0.3, 0.5, 1]) AS quantiles;
SELECT clinical.describe(nullif(x, 4)) AS with_missing, clinical.describe(nullif(x, 4)::double precision) AS double, clinical.quantile_sas(nullif(x, 4), 0.5) AS median FROM test.ten;

-- display scales: equal values are one; the figures have the greatest scale, one more where a mean of two needs it
SELECT clinical.describe(x), clinical.quantile_sas(x, 0.5), avg(x), stddev_samp(x) FROM unnest('{1, 1.0, 1.00, 2, 2.000, 3}'::numeric[]) x;
SELECT clinical.describe(x), clinical.quantile_sas(x, 0.5), avg(x), stddev_samp(x) FROM unnest('{0, -0.0, 0.00, 1, 2, 2}'::numeric[]) x;
SELECT clinical.quantile_sas(x, 0.5) FROM unnest('{1.5, 2.0, 2.5, 3.0}'::numeric[]) x;
SELECT clinical.quantile_sas(x, 0.5) FROM unnest('{1.5, 2.0, 3.0, 3.5}'::numeric[]) x;
SELECT clinical.quantile_sas(x, 0.5) FROM unnest('{-0.1, 0.1}'::numeric[]) x;
SELECT clinical.quantile_sas(x, 0.5) FROM unnest('{-0.1, -0.2}'::numeric[]) x;

-- What is no number: as avg, stddev_samp and the order of values have it.
CREATE TABLE test.special (id int, x numeric[]);
INSERT INTO test.special VALUES (1, '{1, NaN, 3}'), (2, '{1, Infinity, 3}'), (3, '{-Infinity, 1, 3}'), (4, '{-Infinity, 1, Infinity}'),
    (5, '{NaN}'), (6, '{Infinity}'), (7, '{-Infinity, Infinity}'), (8, '{NaN, NaN, Infinity, -Infinity, NULL}'), (9, '{Infinity, Infinity, 2, 1}'), (10, '{-Infinity, -Infinity, 1, 2}');
SELECT id, clinical.describe(v), clinical.quantile_sas(v, ARRAY[0, 0.25, 0.5, 0.75, 1]) FROM test.special, unnest(x) v GROUP BY id ORDER BY id;
SELECT id, clinical.describe(v::double precision), clinical.quantile_sas(v::double precision, ARRAY[0, 0.25, 0.5, 0.75, 1]) FROM test.special, unnest(x) v GROUP BY id ORDER BY id;
SELECT id, (r).mean::text = a::text AS mean, (r).sd::text IS NOT DISTINCT FROM s::text AS sd, (q).mean = b AS mean_double, (q).sd IS NOT DISTINCT FROM t AS sd_double
  FROM (SELECT id, clinical.describe(v) AS r, avg(v) AS a, stddev_samp(v) AS s, clinical.describe(v::double precision) AS q, avg(v::double precision) AS b, stddev_samp(v::double precision) AS t
          FROM test.special, unnest(x) v GROUP BY id) d ORDER BY id;
SELECT clinical.describe(x) FROM unnest('{0, -0}'::double precision[]) x;

-- numerics of all sizes: beyond 20 decimals, beyond 1.7e18, as large and small as they come
CREATE TABLE test.size (id int, x numeric);
INSERT INTO test.size
    SELECT 1, g + 1e-21 * g FROM generate_series(-5, 5) g
    UNION ALL SELECT 2, g * 123456789012345678901234567890.123456789012345678901234567890 FROM generate_series(-3, 4) g
    UNION ALL SELECT 3, v FROM unnest('{1699999999999999999, 1700000000000000000, 1700000000000000001, -1699999999999999999, -1700000000000000000, -1700000000000000001, 1699999999999999999.99999999999999999999, 1699999999999999999.999999999999999999999, -1699999999999999999.999999999999999999999}'::numeric[]) v
    UNION ALL SELECT 4, v FROM unnest('{1e-20, 1e-21, 2e-21, -1e-20, -1e-21, -2e-21, 0, 1e-1000, -1e-1000, 1}'::numeric[]) v
    UNION ALL SELECT 5, v FROM unnest(ARRAY[10::numeric ^ 1000, -(10::numeric ^ 1000), 10::numeric ^ 999 + 1, 0.1, 1e-30]) v
    UNION ALL SELECT 6, ('x' || md5(g::text))::bit(32)::bigint * 1e-16 * ('x' || md5(g || 'a'))::bit(32)::bigint::numeric ^ (g % 5) FROM generate_series(1, 500) g
    UNION ALL SELECT 7, 9999 * 10000::numeric ^ g FROM generate_series(-8, 8) g;
SELECT id, (r).n = count AS n, (r).mean::text = a::text AS mean, (r).sd::text = s::text AS sd, (r).min = least AS min, (r).max = greatest AS max,
       (r).median = (low + high) * 0.5 AS median, scale((r).min) = scale AS scale
  FROM (SELECT id, clinical.describe(x) AS r, count(*), avg(x) AS a, stddev_samp(x) AS s, min(x) AS least, max(x) AS greatest, max(scale(x)) AS scale,
               percentile_disc(0.5) WITHIN GROUP (ORDER BY x) AS low, (array_agg(x ORDER BY x))[count(*) / 2 + 1] AS high
          FROM test.size GROUP BY id) d ORDER BY id;
SELECT id, bool_and(q[k] = x) AS ranks FROM (SELECT id, x, row_number() OVER (PARTITION BY id ORDER BY x) AS k FROM test.size) s
  JOIN (SELECT id, clinical.quantile_sas(x, (SELECT array_agg((g - 0.5) / n.n ORDER BY g) FROM generate_series(1, n.n) g)) AS q
          FROM test.size JOIN (SELECT id, count(*) AS n FROM test.size GROUP BY id) n USING (id) GROUP BY id, n.n) q USING (id) GROUP BY id ORDER BY id;
SELECT clinical.describe(x) FROM unnest('{9223372036854775807, -9223372036854775808, 0}'::bigint[]) x;

-- doubles: the exact sum, rounded once, in whatever order
SELECT (clinical.describe(x)).mean, (clinical.describe(x ORDER BY x)).mean = (clinical.describe(x ORDER BY -x)).mean AS same, avg(x) <> 0.25 AS avg_is_wrong
  FROM unnest('{1e100, 1, -1e100, 1e-300}'::double precision[]) x;
SELECT (clinical.describe(x)).* FROM unnest('{1.7976931348623157e308, 1.7976931348623157e308, 1.7976931348623157e308}'::double precision[]) x;
SELECT (clinical.describe(x)).* FROM unnest('{5e-324, 5e-324, 0, 1e-323}'::double precision[]) x;
SELECT (clinical.describe(x)).sd, stddev_samp(x) AS wrong FROM unnest('{1000000000000001, 1000000000000002, 1000000000000003}'::double precision[]) x;
SELECT test.try($$SELECT clinical.describe(x) FROM unnest('{1.7976931348623157e308, -1.7976931348623157e308}'::double precision[]) x$$);

-- values that occur so many times
SELECT clinical.describe(x, f) AS counted, clinical.quantile_sas(x, f, 0.5) AS median, clinical.quantile_sas(x, f, ARRAY[0.25, 0.75]) AS quartiles
  FROM (VALUES (1.0, 3), (2.5, 1), (4, 0), (NULL, 7), (NULL, 0), (3, 2)) v (x, f);
SELECT clinical.describe(x) AS repeated FROM (VALUES (1.0, 3), (2.5, 1), (4, 0), (NULL, 7), (3, 2)) v (x, f), generate_series(1, f);
SELECT clinical.describe(x, f) AS a_lot, clinical.quantile_sas(x, f, 0.5) AS median FROM (VALUES (1, 4611686018427387903), (3, 4611686018427387904)) v (x, f);
SELECT test.try($$SELECT clinical.describe(x, f) FROM (VALUES (1, 9223372036854775807), (2, 1)) v (x, f)$$),
       test.try($$SELECT clinical.describe(x, f) FROM (VALUES (NULL::numeric, 9223372036854775807), (NULL, 1)) v (x, f)$$);

-- what is refused
SELECT call, test.try('SELECT clinical.' || call || ' FROM test.ten') FROM unnest(ARRAY['quantile_sas(x, NULL::numeric)', 'quantile_sas(x, -0.1)', 'quantile_sas(x, 1.000000000000000000000000000001)',
    'quantile_sas(x, 2)', 'quantile_sas(x, ''NaN''::numeric)', 'quantile_sas(x, ''Infinity''::numeric)', 'quantile_sas(x, -1e-30)', 'quantile_sas(x::double precision, ''NaN''::double precision)',
    'quantile_sas(x::double precision, ''-Infinity''::double precision)', 'quantile_sas(x::double precision, -5e-324)', 'quantile_sas(x::double precision, NULL::double precision)',
    'quantile_sas(x, NULL::numeric[])', 'quantile_sas(x, ARRAY[0.5, NULL])', 'quantile_sas(x, ARRAY[0.5, 1.5])', 'quantile_sas(x, x / 50)', 'quantile_sas(x, ARRAY[x / 50])',
    'quantile_sas(x::double precision, (x / 50)::double precision)', 'quantile_sas(x, CASE x WHEN 4 THEN NULL ELSE 0.5 END)', 'quantile_sas(NULL::numeric, 3)',
    'quantile_sas(x, 1, 7.0)', 'quantile_sas(x, NULL, 0.5)', 'quantile_sas(x, -1, 0.5)', 'describe(x, NULL)', 'describe(x, -1)', 'describe(NULL, -1)', 'describe(x::text)', 'describe(DISTINCT x) OVER ()']) call;
-- the same fraction from a column is one fraction
SELECT clinical.quantile_sas(x, p), clinical.quantile_sas(x, ARRAY[p]), clinical.quantile_sas(x::double precision, p::double precision)
  FROM (SELECT x, 0.25 * (x + 1) / (x + 1) AS p FROM test.ten) s;
PREPARE quantile (numeric) AS SELECT clinical.quantile_sas(x, $1) FROM test.ten;
SET plan_cache_mode = force_generic_plan;
EXECUTE quantile(0.25);
EXECUTE quantile(0.9);
RESET plan_cache_mode;

-- wherever an aggregate may stand
SELECT x % 3 AS g, clinical.describe(x) FROM test.ten GROUP BY GROUPING SETS ((x % 3), ()) ORDER BY 1;
SELECT x % 2 AS a, x % 3 AS b, clinical.quantile_sas(x, 0.5) FROM test.ten GROUP BY CUBE (x % 2, x % 3) ORDER BY 1, 2;
SELECT clinical.describe(DISTINCT x % 4) AS different, clinical.describe(x ORDER BY x DESC) = clinical.describe(x ORDER BY x) AS ordered,
       clinical.describe(x) FILTER (WHERE x > 10) AS filtered, clinical.describe(x) FILTER (WHERE x > 100) AS empty, clinical.quantile_sas(x, 0.5) FILTER (WHERE x > 100) AS none FROM test.ten;
SELECT x, clinical.quantile_sas(x, 0.5) OVER (ORDER BY x) AS growing, clinical.quantile_sas(x, 0.5) OVER (ORDER BY x ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS moving,
       (clinical.describe(x) OVER (ORDER BY x DESC)).n, (clinical.describe(x::integer) OVER ()).sd FROM test.ten ORDER BY x;
SELECT g, (SELECT clinical.quantile_sas(x * g, 0.5) FROM test.ten) FROM generate_series(1, 3) g;
SELECT g, q.* FROM generate_series(1, 2) g, LATERAL (SELECT clinical.describe(x + g) FROM test.ten) q;

-- In parallel, and beyond what memory holds: 100,000 values of each kind, of which the server's own
-- functions say the same.  Whether they are sorted by hand or by us does not show.
CREATE TABLE test.many AS
    SELECT g AS id, (g % 1000)::numeric(8, 1) / 10 AS few, ('x' || md5(g::text))::bit(40)::bigint / 1000.0 AS different,
           ('x' || md5(g::text))::bit(40)::bigint * 1e-25 AS small, ('x' || md5(g::text))::bit(62)::bigint AS whole,
           exp(('x' || md5(g::text))::bit(32)::integer / 3e8)::double precision AS d, CASE WHEN g % 10 > 0 THEN (g % 30000) / 7.0 END AS gaps
      FROM generate_series(1, 100000) g;
ALTER TABLE test.many SET (parallel_workers = 4);
ANALYZE test.many;
CREATE VIEW test.figures AS SELECT
    clinical.describe(few) AS few, clinical.describe(different) AS different, clinical.describe(small) AS small, clinical.describe(whole) AS whole,
    clinical.describe(d) AS d, clinical.describe(gaps) AS gaps, clinical.quantile_sas(different, ARRAY[0, 0.001, 0.5, 0.999, 1]) AS quantiles,
    clinical.quantile_sas(d, ARRAY[0, 0.001, 0.5, 0.999, 1]) AS quantiles_d, clinical.quantile_sas(few, 0.3) AS third, clinical.describe(few, id) AS counted FROM test.many;
SET max_parallel_workers_per_gather = 0;
SET work_mem = '1GB';
CREATE TABLE test.result AS SELECT 'in memory' AS how, f::text AS figures, f AS row FROM test.figures f;
SET work_mem = '64kB';
INSERT INTO test.result SELECT 'spilled', f::text, f FROM test.figures f;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 4;
EXPLAIN (COSTS OFF) CREATE TABLE test.spilled AS SELECT 'spilled, in parallel' AS how, f::text AS figures, f AS row FROM test.figures f;
CREATE TABLE test.spilled AS SELECT 'spilled, in parallel' AS how, f::text AS figures, f AS row FROM test.figures f;
SET work_mem = '256MB';
CREATE TABLE test.shared AS SELECT 'in memory, in parallel' AS how, f::text AS figures, f AS row FROM test.figures f;
SELECT how, r.figures = e.figures AS same FROM (TABLE test.result UNION ALL TABLE test.spilled UNION ALL TABLE test.shared) r, (SELECT figures FROM test.result WHERE how = 'in memory') e ORDER BY how;
SET max_parallel_workers_per_gather = 0;
SELECT column_name, (r).n = n AS n, (r).missing = 100000 - n AS missing, (r).mean::text = mean::text AS mean, (r).sd::text = sd::text AS sd, (r).min = least AS min, (r).max = greatest AS max
  FROM test.result, (SELECT count(few) AS n1, avg(few) AS m1, stddev_samp(few) AS s1, min(few) AS l1, max(few) AS g1, count(different) AS n2, avg(different) AS m2, stddev_samp(different) AS s2, min(different) AS l2, max(different) AS g2,
       count(small) AS n3, avg(small) AS m3, stddev_samp(small) AS s3, min(small) AS l3, max(small) AS g3, count(whole) AS n4, avg(whole) AS m4, stddev_samp(whole::numeric) AS s4, min(whole) AS l4, max(whole) AS g4,
       count(gaps) AS n5, avg(gaps) AS m5, stddev_samp(gaps) AS s5, min(gaps) AS l5, max(gaps) AS g5 FROM test.many) m,
       LATERAL (VALUES ('few', (row).few, n1, m1, s1, l1, g1), ('different', (row).different, n2, m2, s2, l2, g2), ('small', (row).small, n3, m3, s3, l3, g3),
                       ('whole', (row).whole, n4, m4, s4, l4, g4), ('gaps', (row).gaps, n5, m5, s5, l5, g5)) v (column_name, r, n, mean, sd, least, greatest)
 WHERE how = 'in memory' ORDER BY 1;
-- doubles: sums by way of numeric, which is exact; what the server's own functions give depends on the order
SELECT ((row).d).mean = mean::double precision AS mean, round(((row).d).sd::numeric, 9) = round(sd, 9) AS sd, ((row).d).median = (low + high) / 2 AS median
  FROM test.result, (SELECT avg(n) AS mean, stddev_samp(n) AS sd, percentile_disc(0.5) WITHIN GROUP (ORDER BY d) AS low, percentile_disc(0.5) WITHIN GROUP (ORDER BY d DESC) AS high
                       FROM (SELECT d, d::text::numeric AS n FROM test.many) s) m WHERE how = 'in memory';

-- workers that have no rows, and groups
SET max_parallel_workers_per_gather = 4;
ALTER TABLE test.ten SET (parallel_workers = 4);
SELECT set_config(name, 'on', false) IS NOT NULL AS forced FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SELECT clinical.describe(x) AS ten, clinical.describe(x::double precision) AS double, clinical.quantile_sas(x, ARRAY[0.5, 0.9]) AS quantiles FROM test.ten;
SELECT clinical.describe(x) AS one, clinical.quantile_sas(x, 0.5) AS quantile FROM test.ten WHERE x > 40;
SELECT clinical.describe(x) AS none, clinical.quantile_sas(x, 0.5) AS quantile FROM test.ten WHERE x > 100;
SELECT clinical.describe(nullif(x, x)) AS missing, clinical.quantile_sas(nullif(x, x), 0.5) AS quantile FROM test.ten;
SELECT clinical.describe(v) FROM test.special, unnest(x) v WHERE id > 7;
SELECT id % 4 AS g, clinical.describe(few) = clinical.describe(few ORDER BY few) AS same, clinical.describe(gaps) FROM test.many WHERE id <= 4000 GROUP BY 1 ORDER BY 1;
SELECT test.try('SELECT clinical.quantile_sas(x, x / 50) FROM test.ten');

-- limits: a window function has no file
SET max_parallel_workers_per_gather = 0;
SET work_mem = '64kB';
SELECT test.try('SELECT count(r) FROM (SELECT clinical.describe(different) OVER () AS r FROM test.many) s');
SELECT test.try('SELECT count(r) FROM (SELECT clinical.quantile_sas(d, 0.5) OVER () AS r FROM test.many) s');
SELECT test.try('SELECT r FROM (SELECT clinical.describe(few) OVER () AS r FROM test.many) s LIMIT 1');
-- an end before all was read leaves no file
SELECT test.try('SELECT clinical.describe(different / (id - 99999)) FROM test.many');
SELECT count(*) FROM pg_ls_tmpdir();
-- many groups that each take a file
SELECT count(*), bool_and((r).n = 25000) FROM (SELECT id % 4, clinical.describe(different) AS r FROM test.many GROUP BY 1) s;
RESET ALL;
