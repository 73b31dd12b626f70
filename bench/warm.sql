-- warm.sql: reads table and indexes into shared buffers; by index, as a scan of a large table
-- would leave most of them out.

SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET max_parallel_workers_per_gather = 0;
SELECT count(record) FROM clinical.patient WHERE id > '';
