-- Validates all reports, each observation a row.
SET enable_memoize = off;
SET max_parallel_workers_per_gather = 0;
SELECT count(*) FROM bench.report WHERE data IS NOT NULL;
\timing on
SELECT sum(n) FROM bench.report, LATERAL (SELECT count(value) AS n FROM clinical.validate_report('vital-signs', data)) x;
