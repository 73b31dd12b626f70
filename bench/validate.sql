-- Validates all reports: types, ranges, required items, units.
SET enable_memoize = off;
SET max_parallel_workers_per_gather = 0;
SELECT count(*) FROM bench.report WHERE data IS NOT NULL;
\timing on
SELECT count(*) FROM bench.report WHERE clinical.report_is_valid('vital-signs', data);
