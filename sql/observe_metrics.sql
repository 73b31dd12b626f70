-- observe_metrics: what is measured, as Prometheus reads it.

CREATE FUNCTION clinical.metric_histogram(measure text, OUT le double precision[], OUT counts bigint[], OUT sum double precision, OUT count bigint)
    RETURNS record
    LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'clinical_metric_histogram';
COMMENT ON FUNCTION clinical.metric_histogram(text) IS
'How long reports took in this database, as a histogram of Prometheus. measure: waiting, from when they were received to when their batch began, or processing, their part of the batch. Result: bounds in seconds, how many took at most so long, the sum in seconds, and the number. SQLSTATE: 22023 another measure; 55000 clinical is not in shared_preload_libraries; 53400 there are more databases than clinical.max_databases.';

-- Who may see no project may see these numbers: each is of a whole project at the least, and names its code alone.
CREATE FUNCTION clinical.metric_samples(OUT metric text, OUT labels jsonb, OUT value double precision) RETURNS SETOF record
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER ROWS 200
    SET search_path = pg_catalog, pg_temp
    AS $$
    WITH counted AS MATERIALIZED (
        -- a code that looks like a name of what is no project, in any number of parentheses, is given one more
        SELECT c.*, CASE WHEN c.kind <> 'project' THEN concat('(', c.kind, ')')
                         WHEN c.project ~ '^\(+(other|unknown)\)$' THEN concat('(', c.project)
                         ELSE c.project END AS label
          FROM clinical.stat_projects() c)
    SELECT s.metric, s.labels, s.value::double precision
      FROM clinical.stat_intake i,
           LATERAL (VALUES
               ('clinical_intake_received_total', '{}'::jsonb, i.received::numeric),
               ('clinical_intake_received_bytes_total', '{}', i.bytes),
               ('clinical_intake_refused_total', '{"answer": "busy"}', i.busy),
               ('clinical_intake_refused_total', '{"answer": "already_received"}', i.already_received),
               ('clinical_intake_retried_total', '{}', i.retried),
               ('clinical_queue_reports', '{"state": "waiting"}', i.waiting),
               ('clinical_queue_reports', '{"state": "put_off"}', i.put_off),
               ('clinical_queue_taken_reports', '{}', i.places_taken),
               ('clinical_queue_capacity_reports', '{}', i.capacity),
               ('clinical_queue_size_bytes', '{}', i.staged_bytes),
               ('clinical_queue_oldest_seconds', '{}', coalesce(extract(epoch FROM i.oldest_staged_age), 0)),
               ('clinical_batches_total', '{"outcome": "done"}', i.batches),
               ('clinical_batches_total', '{"outcome": "failed"}', i.batches_failed)) AS s (metric, labels, value)
     WHERE i.capacity IS NOT NULL
    UNION ALL
    SELECT s.metric, jsonb_build_object('project', p.label, s.label, s.word), s.number
      FROM counted p,
           LATERAL (VALUES ('clinical_reports_processed_total', 'outcome', 'accepted', p.accepted),
                           ('clinical_reports_processed_total', 'outcome', 'duplicate', p.duplicate),
                           ('clinical_reports_processed_total', 'outcome', 'conflict', p.conflict),
                           ('clinical_reports_processed_total', 'outcome', 'quarantined', p.quarantined),
                           ('clinical_reports_changed_total', 'change', 'requeued', p.requeued),
                           ('clinical_reports_changed_total', 'change', 'withdrawn', p.withdrawn)) AS s (metric, label, word, number)
    UNION ALL
    SELECT s.metric, s.labels, s.value
      FROM (VALUES ('waiting'), ('processing')) AS w (measure), LATERAL clinical.metric_histogram(w.measure) h,
           LATERAL (SELECT concat('clinical_report_', w.measure, '_seconds_bucket') AS metric,
                           jsonb_build_object('le', to_char(b.le, 'FM99999990.999999')) AS labels, b.number::double precision AS value
                      FROM ROWS FROM (unnest(h.le), unnest(h.counts)) AS b (le, number)
                    UNION ALL
                    SELECT concat('clinical_report_', w.measure, '_seconds_bucket'), '{"le": "+Inf"}', h.count
                    UNION ALL
                    SELECT concat('clinical_report_', w.measure, '_seconds_sum'), '{}', h.sum
                    UNION ALL
                    SELECT concat('clinical_report_', w.measure, '_seconds_count'), '{}', h.count) AS s
    UNION ALL
    SELECT s.metric, jsonb_build_object('project', a.label, s.label, s.word), s.number
      FROM counted a,
           LATERAL (VALUES ('clinical_alerts_opened_total', 'severity', 'info', a.opened_info),
                           ('clinical_alerts_opened_total', 'severity', 'warning', a.opened_warning),
                           ('clinical_alerts_opened_total', 'severity', 'serious', a.opened_serious),
                           ('clinical_alerts_opened_total', 'severity', 'critical', a.opened_critical),
                           ('clinical_alerts_changed_total', 'change', 'acknowledged', a.acknowledged),
                           ('clinical_alerts_changed_total', 'change', 'closed', a.closed),
                           ('clinical_alerts_changed_total', 'change', 'retracted', a.retracted),
                           ('clinical_alerts_changed_total', 'change', 'escalated', a.escalated)) AS s (metric, label, word, number)
    UNION ALL
    SELECT 'clinical_project_reports_total', jsonb_build_object('project', r.label, 'outcome', s.outcome), s.number
      FROM counted r,
           LATERAL (VALUES ('done', r.done), ('failed', r.failed), ('cancelled_request', r.cancelled_request),
                           ('cancelled_time_limit', r.cancelled_time_limit), ('cancelled_client_gone', r.cancelled_client_gone),
                           ('ended', r.ended)) AS s (outcome, number)
    UNION ALL
    SELECT s.metric, '{}', s.number
      FROM (SELECT count(*) FILTER (WHERE w.state = 'running') AS running,
                   max(w.restarts) AS restarts FROM clinical.stat_worker w) w,
           LATERAL (VALUES ('clinical_workers_running', w.running), ('clinical_worker_restarts_total', coalesce(w.restarts, 0))) AS s (metric, number)
     WHERE NOT pg_is_in_recovery()
    UNION ALL
    SELECT s.metric, '{}', s.number
      FROM clinical.stat_span p,
           LATERAL (VALUES ('clinical_spans_waiting', p.waiting), ('clinical_spans_recorded_total', p.recorded),
                           ('clinical_spans_lost_total', p.lost)) AS s (metric, number)
    UNION ALL
    SELECT 'clinical_audit_unsealed_seconds', '{}', coalesce(max(extract(epoch FROM clock_timestamp() - u.recorded_at)), 0)
      FROM (SELECT max(b.block_no) AS block_no FROM clinical.audit_block b) m
      LEFT JOIN clinical.audit_block b USING (block_no),
           LATERAL (SELECT r.recorded_at FROM clinical.audit_record r
                     WHERE (r.generation, r.xid) >= (coalesce(b.generation, 0), coalesce(b.to_xid, '0'))
                     ORDER BY r.generation, r.xid, r.id LIMIT 1) u
    UNION ALL
    SELECT 'clinical_health_problems', '{}', count(*) FROM clinical.health() h WHERE NOT h.ok
$$;
COMMENT ON FUNCTION clinical.metric_samples() IS
'All that is measured of this database, one row a series: the name in Prometheus, labels, value. Units are in the names; a label is a project''s code or one of few words, never a patient. From shared memory, and one look into an index of the audit trail. SECURITY DEFINER, since it counts projects that the caller may not see, and says no more of them than their codes. SQLSTATE: 55000 clinical is not in shared_preload_libraries; 53400 there are more databases than clinical.max_databases.';

CREATE FUNCTION clinical.metrics_text() RETURNS text
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    WITH family (position, name, type, help) AS (VALUES
        (1, 'clinical_intake_received_total', 'counter', 'Reports taken in.'),
        (2, 'clinical_intake_received_bytes_total', 'counter', 'Bytes of report data taken in.'),
        (3, 'clinical_intake_refused_total', 'counter', 'Submissions that stored nothing, by the answer.'),
        (4, 'clinical_intake_retried_total', 'counter', 'Reports that failed and were put off.'),
        (5, 'clinical_queue_reports', 'gauge', 'Reports that are to be processed: waiting for the first time, or put off.'),
        (6, 'clinical_queue_taken_reports', 'gauge', 'Places of the queue that are taken, by open transactions too.'),
        (7, 'clinical_queue_capacity_reports', 'gauge', 'Places of the queue.'),
        (8, 'clinical_queue_size_bytes', 'gauge', 'Size of the queue on disk.'),
        (9, 'clinical_queue_oldest_seconds', 'gauge', 'Age of the report that has waited for longest.'),
        (10, 'clinical_batches_total', 'counter', 'Batches of reports, by outcome.'),
        (11, 'clinical_reports_processed_total', 'counter', 'What became of reports, by project.'),
        (12, 'clinical_reports_changed_total', 'counter', 'Reports requeued from quarantine or withdrawn, by project.'),
        (13, 'clinical_report_waiting_seconds', 'histogram', 'Time that reports waited until they were processed.'),
        (14, 'clinical_report_processing_seconds', 'histogram', 'Time that processing a report took.'),
        (15, 'clinical_workers_running', 'gauge', 'Background workers of the database.'),
        (16, 'clinical_worker_restarts_total', 'counter', 'Times that the first worker was started again.'),
        (17, 'clinical_alerts_opened_total', 'counter', 'Alerts opened, by project and severity.'),
        (18, 'clinical_alerts_changed_total', 'counter', 'What became of alerts, by project.'),
        (19, 'clinical_project_reports_total', 'counter', 'Reports of projects, by how they ended.'),
        (20, 'clinical_spans_waiting', 'gauge', 'Spans of the database that wait to be taken.'),
        (21, 'clinical_spans_recorded_total', 'counter', 'Spans recorded in all databases of the server.'),
        (22, 'clinical_spans_lost_total', 'counter', 'Spans, of all databases, that nobody took in time.'),
        (23, 'clinical_audit_unsealed_seconds', 'gauge', 'Age of the oldest audit record that is not sealed.'),
        (24, 'clinical_health_problems', 'gauge', 'Findings of clinical.health().')),
    sample AS (
        SELECT regexp_replace(m.metric, '_seconds_(bucket|sum|count)$', '_seconds') AS name, m.position,
               concat(m.metric,
                      (SELECT concat('{', string_agg(concat(l.key, '="', replace(replace(replace(l.value, '\', '\\'), '"', '\"'), E'\n', '\n'), '"'), ','), '}')
                         FROM jsonb_each_text(m.labels) l HAVING count(*) > 0),
                      ' ', m.value) AS line
          FROM clinical.metric_samples() WITH ORDINALITY AS m (metric, labels, value, position)),
    series AS (SELECT s.name, string_agg(s.line, E'\n' ORDER BY s.position) AS lines FROM sample s GROUP BY s.name)
    SELECT concat(string_agg(concat('# HELP ', f.name, ' ', f.help, E'\n# TYPE ', f.name, ' ', f.type, E'\n', s.lines, E'\n'), '' ORDER BY f.position))
      FROM family f JOIN series s USING (name)
$$;
COMMENT ON FUNCTION clinical.metrics_text() IS
'All that is measured of this database, in the text format of Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/), version 0.0.4, with HELP and TYPE; see metric_samples(). SQLSTATE: as there.';

REVOKE ALL ON FUNCTION clinical.metric_samples(), clinical.metric_histogram(text), clinical.metrics_text() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION clinical.metric_samples(), clinical.metric_histogram(text), clinical.metrics_text() TO clinical_admin, clinical_auditor, pg_monitor;
