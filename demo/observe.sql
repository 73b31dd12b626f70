-- observe.sql: what was counted while the study came in.  After demo/report.sql, as a superuser.

\echo What came in, and what became of it:
SELECT received, accepted, duplicate, conflict, quarantined, busy, backlog, capacity FROM clinical.stat_intake;
\echo How long reports waited, and how long processing them took:
SELECT measure, reports, round(p50_ms::numeric, 2) AS p50_ms, round(p95_ms::numeric, 2) AS p95_ms, round(p99_ms::numeric, 2) AS p99_ms, round(max_ms::numeric, 2) AS max_ms
  FROM clinical.stat_processing;
\echo The same for Prometheus, in part; all of it is in :file
\pset tuples_only on
\pset format unaligned
SELECT line FROM regexp_split_to_table(clinical.metrics_text(), '\n') line WHERE line ~ 'clinical_(reports_processed|alerts_opened)_total';
\o :file
SELECT clinical.metrics_text();
\o
