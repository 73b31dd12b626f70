-- Takes all reports apart and casts each answer, checking nothing.
SET enable_memoize = off;
SET max_parallel_workers_per_gather = 0;
SELECT count(*) FROM bench.report WHERE data IS NOT NULL;
\timing on
SELECT sum(n) FROM bench.report, LATERAL (SELECT count(value::numeric) AS n FROM jsonb_each(data)) x;
