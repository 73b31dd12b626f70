-- observe: what is counted, and that it adds up with the tables
SET datestyle = ISO;
SET timezone = 'UTC';
\pset null '-'
SELECT count(*) FROM (SELECT clinical.stop_workers()) s;
SELECT clinical.process_reports() >= 0 AS nothing_waits;

SELECT id AS center FROM clinical.create_center('Observe', 'OBSERVE-1', 'UTC') \gset
SELECT code FROM clinical.create_project_with_centers('Observed', ARRAY[:center], 'OBSERVED');
SELECT code FROM clinical.create_project_with_centers('Watched', ARRAY[:center], 'WATCHED');
SELECT count(clinical.enroll_patient('see-' || g, NULL, NULL, 'OBSERVED', :center, effective_on => '2026-01-10')) FROM generate_series(1, 3) g;
SELECT count(clinical.enroll_patient('wa-' || g, NULL, NULL, 'WATCHED', :center, effective_on => '2026-01-10')) FROM generate_series(1, 3) g;
SELECT version FROM clinical.create_instrument('{"code": "watch", "version": "1", "items": [{"code": "n", "type": "integer", "required": true, "checks": [{"comparator": "LE", "values": [9], "soft_hard": "Hard"}]}]}');
SELECT instrument FROM unnest('{OBSERVED,WATCHED}'::text[]) p, LATERAL clinical.use_instrument(p, 'watch', true);
SELECT code, severity FROM unnest('{serious,critical}'::text[]) s, LATERAL clinical.create_rule(jsonb_build_object(
    'code', 'OB-' || s, 'project', 'OBSERVED', 'kind', 'threshold', 'severity', s, 'items', '[{"item": "n", "range": "[0,5]"}]'::jsonb)) r
  CROSS JOIN LATERAL (SELECT 'OB-' || s AS code) c;
CREATE FUNCTION test.ob(n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT lpad(to_hex(n), 32, 'b')::uuid $$;
CREATE FUNCTION test.send(n int, patient text, data jsonb) RETURNS text LANGUAGE sql AS $$
    SELECT outcome FROM clinical.submit_report(patient, data, test.ob(n), '2026-02-01 10:00+00')
$$;

-- what the tables say, by project
CREATE VIEW test.books AS
    SELECT coalesce(p.code, '-') AS project, f.accepted, f.duplicate, f.conflict, f.quarantined, f.requeued, f.withdrawn, f.opened, f.acknowledged, f.closed, f.retracted
      FROM (SELECT project_id, count(*) FILTER (WHERE what = 'accepted') AS accepted, count(*) FILTER (WHERE what = 'duplicate') AS duplicate,
                   count(*) FILTER (WHERE what = 'conflict') AS conflict, count(*) FILTER (WHERE what = 'quarantined') AS quarantined,
                   count(*) FILTER (WHERE what = 'requeued') AS requeued, count(*) FILTER (WHERE what = 'withdrawn') AS withdrawn,
                   count(*) FILTER (WHERE what = 'alert opened') AS opened, count(*) FILTER (WHERE what = 'alert acknowledged') AS acknowledged,
                   count(*) FILTER (WHERE what = 'alert closed') AS closed, count(*) FILTER (WHERE what = 'alert retracted') AS retracted
              FROM (SELECT project_id, 'accepted' AS what FROM clinical.submission
                    UNION ALL SELECT project_id, 'withdrawn' FROM clinical.submission WHERE status = 'withdrawn'
                    UNION ALL SELECT project_id, outcome FROM clinical.set_aside
                    UNION ALL SELECT project_id, 'requeued' FROM clinical.set_aside WHERE requeued_at IS NOT NULL
                    UNION ALL SELECT a.project_id, 'alert ' || e.kind FROM clinical.alert_event e JOIN clinical.alert a ON (a.patient_id, a.id) = (e.patient_id, e.alert_id)) w
             GROUP BY project_id) f
      LEFT JOIN clinical.project p ON p.id = f.project_id;
CREATE TABLE test.books_before AS TABLE test.books;
-- what has come since, less what was counted: no row where they agree
CREATE VIEW test.differences AS
    SELECT b.project, b.accepted - coalesce(o.accepted, 0) AS accepted, b.duplicate - coalesce(o.duplicate, 0) AS duplicate, b.conflict - coalesce(o.conflict, 0) AS conflict,
           b.quarantined - coalesce(o.quarantined, 0) AS quarantined, b.requeued - coalesce(o.requeued, 0) AS requeued, b.withdrawn - coalesce(o.withdrawn, 0) AS withdrawn,
           b.opened - coalesce(o.opened, 0) AS opened, b.acknowledged - coalesce(o.acknowledged, 0) AS acknowledged, b.closed - coalesce(o.closed, 0) AS closed,
           b.retracted - coalesce(o.retracted, 0) AS retracted
      FROM test.books b LEFT JOIN test.books_before o USING (project)
    EXCEPT
    SELECT coalesce(i.project, '-'), i.accepted, i.duplicate, i.conflict, i.quarantined, i.requeued, i.withdrawn,
           a.opened_info + a.opened_warning + a.opened_serious + a.opened_critical, a.acknowledged, a.closed, a.retracted
      FROM clinical.stat_intake_project i JOIN clinical.stat_alert a ON a.kind = i.kind AND a.project IS NOT DISTINCT FROM i.project
    EXCEPT
    SELECT project, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM test.books;
CREATE VIEW test.intake AS
    SELECT received, accepted, duplicate, conflict, quarantined, requeued, withdrawn, busy, already_received AS already, backlog, backlog_at_reset AS at_reset, processed,
           backlog_at_reset + received + requeued = accepted + duplicate + conflict + quarantined + backlog AS adds_up, (SELECT count(*) FROM test.differences) AS differences
      FROM clinical.stat_intake;

SELECT clinical.stat_reset();
SELECT * FROM test.intake;
SELECT kind, project FROM clinical.stat_intake_project;
SELECT measure, reports, mean_ms, p50_ms, p95_ms, p99_ms, max_ms, reset_at > now() - interval '1 hour' AS lately FROM clinical.stat_processing;

-- each outcome
SELECT test.send(1, 'see-1', '{"n": 1}') AS new, test.send(1, 'see-1', '{"n": 1}') AS twice, test.send(1, 'see-1', '{"n": 2}') AS other, test.send(2, 'wa-1', '{"n": 1}') AS new,
       test.send(3, 'wa-1', '{"n": 10}') AS wrong, test.send(4, 'see-nobody', '{"n": 1}') AS unknown;
SELECT * FROM test.intake;
SELECT bytes = 4 * (pg_column_size('{"n": 1}'::jsonb) - 4) + pg_column_size('{"n": 2}'::jsonb) - 4 + pg_column_size('{"n": 10}'::jsonb) - 4 AS bytes_exact, staged_bytes > 0 AS staged,
       oldest_staged_age BETWEEN interval '0' AND interval '1 hour' AS aged FROM clinical.stat_intake;
SELECT clinical.process_reports();
SELECT * FROM test.intake;
SELECT oldest_staged_age FROM clinical.stat_intake;
-- kept at once, and only once
SELECT test.send(1, 'see-1', '{"n": 1}') AS again, test.send(1, 'see-1', '{"n": 3}') AS other, test.send(1, 'see-1', '{"n": 3}') AS the_same;
SELECT * FROM test.intake;
SELECT kind, project, accepted, duplicate, conflict, quarantined, requeued, withdrawn FROM clinical.stat_intake_project;

-- what is rolled back, to a savepoint or at all, is not counted
BEGIN;
SELECT test.send(10, 'see-2', '{"n": 1}');
SAVEPOINT a;
SELECT test.send(11, 'see-2', '{"n": 1}'), test.send(1, 'see-1', '{"n": 4}') AS other;
SAVEPOINT b;
SELECT test.send(12, 'see-2', '{"n": 1}'), test.send(1, 'see-1', '{"n": 5}') AS other;
ROLLBACK TO b;
RELEASE a;
SAVEPOINT c;
SELECT test.send(13, 'see-2', '{"n": 1}'), test.send(1, 'see-1', '{"n": 6}') AS other;
ROLLBACK TO c;
COMMIT;
SELECT * FROM test.intake;
BEGIN;
SELECT test.send(14, 'see-2', '{"n": 1}');
SELECT clinical.process_reports();
SELECT * FROM test.intake;
ROLLBACK;
SELECT * FROM test.intake;
BEGIN;
SELECT test.send(15, 'see-2', '{"n": 1}');
PREPARE TRANSACTION 'observed';
-- an answer stands, whatever becomes of the transaction
BEGIN;
SELECT test.send(1, 'see-1', '{"n": 1}');
ROLLBACK;
SELECT * FROM test.intake;
SELECT clinical.process_reports();
SELECT * FROM test.intake;

-- put back from quarantine, and withdrawn
BEGIN;
SAVEPOINT a;
SELECT clinical.requeue('wa-1', test.ob(3), 'r');
ROLLBACK TO a;
SELECT clinical.requeue('wa-1', test.ob(3), 'r');
COMMIT;
SELECT * FROM test.intake;
SELECT oldest_staged_age < interval '10 minutes' AS waits_since_then FROM clinical.stat_intake;
SELECT clinical.process_reports();
SELECT clinical.requeue('wa-1', test.ob(3), 'r', '{"report_data": {"n": 9}}'), clinical.requeue('see-nobody', test.ob(4), 'r', '{"patient_id": "wa-2"}');
SELECT clinical.process_reports();
SELECT status FROM clinical.withdraw_submission('wa-1', test.ob(2), 'r');
BEGIN;
SELECT status FROM clinical.withdraw_submission('wa-2', test.ob(4), 'r');
ROLLBACK;
SELECT * FROM test.intake;
SELECT kind, project, accepted, duplicate, conflict, quarantined, requeued, withdrawn FROM clinical.stat_intake_project;
SELECT i.received = sum(b.received) AS received, i.accepted - i.withdrawn = sum(b.accepted) AS accepted, i.duplicate = sum(b.duplicate) AS duplicate, i.conflict = sum(b.conflict) AS conflict,
       i.quarantined - i.requeued = sum(b.quarantined) AS quarantined, i.withdrawn = sum(b.withdrawn) AS withdrawn
  FROM clinical.stat_intake i, (SELECT b.* FROM clinical.intake_balance b LEFT JOIN clinical.project p ON p.id = b.project_id WHERE p.code IN ('OBSERVED', 'WATCHED')) b
 GROUP BY i.received, i.accepted, i.withdrawn, i.duplicate, i.conflict, i.quarantined, i.requeued;

-- times: of what was processed; what was put back has waited for people
SELECT t.measure, t.reports - i.processed AS other_than_processed, t.mean_ms > 0 AS mean, t.p50_ms BETWEEN 0 AND t.p95_ms AS p50, t.p95_ms <= t.p99_ms AS p95, t.p99_ms <= t.max_ms AS p99
  FROM clinical.stat_processing t, clinical.stat_intake i;

-- a queue that is full
SET clinical.reason = 'shares';
UPDATE clinical.project SET queue_share = 0.000001 WHERE code = 'OBSERVED';
SELECT test.send(20, 'see-3', '{"n": 1}'), test.send(21, 'see-3', '{"n": 1}'), test.send(22, 'see-3', '{"n": 1}');
UPDATE clinical.project SET queue_share = NULL WHERE code = 'OBSERVED';
RESET clinical.reason;
SELECT * FROM test.intake;
SELECT outcome FROM clinical.submit_reports(format('[{"patient_id": "see-3", "report_data": {"n": 1}, "submission_id": "%s"}, {"patient_id": "see-3", "report_data": [], "submission_id": "%s"}]', test.ob(20), test.ob(24))::jsonb);
SELECT clinical.process_reports();
SELECT * FROM test.intake;

-- alerts
SELECT test.send(30, 'see-1', '{"n": 6}'), test.send(31, 'see-2', '{"n": 7}');
SELECT clinical.process_reports();
BEGIN;
SAVEPOINT a;
SELECT count(clinical.acknowledge_alert(patient_id, id)) FROM clinical.alert WHERE patient_id ~ '^see-';
ROLLBACK TO a;
SELECT count(clinical.acknowledge_alert(patient_id, id)) FROM clinical.alert WHERE patient_id = 'see-1';
COMMIT;
SELECT count(clinical.close_alert(patient_id, id, 'r')) FROM clinical.alert WHERE patient_id = 'see-1' AND severity = 'serious';
SELECT count(clinical.correct_observation(patient_id, id, '1', 'r')) FROM clinical.observation WHERE patient_id = 'see-2' AND submission_id = test.ob(31);
SELECT kind, project, opened_info, opened_warning, opened_serious, opened_critical, acknowledged, closed, retracted, escalated FROM clinical.stat_alert WHERE project = 'OBSERVED';
SELECT count(*) AS differences FROM test.differences;

-- who sees what
SET client_min_messages = warning;
CREATE ROLE regress_clinical_joe;
CREATE ROLE regress_clinical_watch;
RESET client_min_messages;
GRANT clinical_data_manager TO regress_clinical_joe;
GRANT pg_monitor TO regress_clinical_watch;
GRANT USAGE ON SCHEMA test TO regress_clinical_joe, regress_clinical_watch;
SELECT count(clinical.grant_all_centers('regress_clinical_joe', 'WATCHED'));
SET ROLE regress_clinical_joe;
SELECT kind, project FROM clinical.stat_intake_project;
SELECT kind, project FROM clinical.stat_alert;
SELECT kind, project FROM clinical.stat_projects();
SELECT count(received) FROM clinical.stat_intake;
SELECT count(*) FROM clinical.stat_processing;
SELECT test.try('SELECT clinical.stat_reset()');
RESET ROLE;
SELECT count(clinical.grant_all_centers('regress_clinical_joe'));
SET ROLE regress_clinical_joe;
SELECT kind, project FROM clinical.stat_intake_project;
SET ROLE regress_clinical_watch;
SELECT kind, project FROM clinical.stat_intake_project;
SELECT count(received), (SELECT count(*) FROM clinical.stat_processing), (SELECT count(*) > 0 FROM clinical.stat_alert), (SELECT count(*) > 0 FROM clinical.stat_report) FROM clinical.stat_intake;
SELECT test.try('SELECT clinical.stat_reset()'), test.try('SELECT count(*) FROM clinical.project');
RESET ROLE;
REVOKE pg_monitor FROM regress_clinical_watch;
SET ROLE regress_clinical_watch;
SELECT test.try('SELECT count(*) FROM clinical.stat_intake');
RESET ROLE;
SELECT count(clinical.revoke_all_centers('regress_clinical_joe', 'WATCHED')), count(clinical.revoke_all_centers('regress_clinical_joe'));
REVOKE USAGE ON SCHEMA test FROM regress_clinical_joe, regress_clinical_watch;
DROP ROLE regress_clinical_joe;
DROP ROLE regress_clinical_watch;

-- set back while reports wait: it adds up from there; and what a transaction did before counts after
SELECT test.send(40, 'see-1', '{"n": 1}'), test.send(41, 'wa-1', '{"n": 10}');
BEGIN;
SELECT test.send(42, 'wa-1', '{"n": 1}');
SELECT test.send(1, 'see-1', '{"n": 7}') AS other;
SELECT clinical.stat_reset();
COMMIT;
TRUNCATE test.books_before;
INSERT INTO test.books_before TABLE test.books;
UPDATE test.books_before SET conflict = conflict - 1 WHERE project = 'OBSERVED';
SELECT * FROM test.intake;
SELECT clinical.process_reports();
SELECT * FROM test.intake;
SELECT kind, project, accepted, duplicate, conflict, quarantined, requeued, withdrawn FROM clinical.stat_intake_project;

SELECT count(*) FROM clinical.check();
DROP VIEW test.intake, test.differences, test.books;
DROP TABLE test.books_before;
