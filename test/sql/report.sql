-- report: the document of a project, made in a session or in the background; options, rights, jobs.
-- What the tables say is in tests of their own.
SET datestyle = ISO;
SET timezone = 'UTC';
SELECT pg_catalog.count(*) FROM (SELECT clinical.stop_workers()) s;

SELECT count(clinical.create_center('Report ' || g, 'REP-' || g)) FROM generate_series(1, 3) g;
SELECT count(clinical.create_project_with_centers('Report "study"', ARRAY(SELECT id FROM clinical.center WHERE site_id IN ('REP-1', 'REP-2')), 'REP', 'Europe/Zurich'));
INSERT INTO clinical.project (name, code) VALUES ('Without centers', 'REP-0');
SELECT count(clinical.create_instrument('{"code": "report-diary", "version": "1", "items": [{"code": "rep_pain", "type": "integer"}, {"code": "rep_note", "type": "text"}]}'));
SELECT count(clinical.use_instrument('REP', 'report-diary', true));
SELECT count(clinical.create_rule('{"code": "REP-R", "project": "REP", "kind": "threshold", "severity": "info", "items": [{"item": "rep_pain", "range": "[0,8]"}], "evaluate": false}'));
SELECT count(clinical.enroll_patient('REP-' || g, 'Name ' || g, NULL, 'REP', (SELECT id FROM clinical.center WHERE site_id = 'REP-' || 1 + g % 2),
                                     jsonb_build_object('arm', CASE WHEN g < 7 THEN 'A' ELSE 'B' END, 'deep', jsonb_build_object('er', g % 3)), sex => CASE g % 2 WHEN 0 THEN 'F' ELSE 'M' END,
                                     effective_on => '2026-01-10', birth_year => 1950 + g))
  FROM generate_series(1, 8) g;
SELECT outcome, count(*) FROM generate_series(1, 8) p, generate_series(0, 9) d,
       LATERAL clinical.submit_report('REP-' || p, jsonb_build_object('rep_pain', p + d % 2), captured_at => timestamptz '2026-02-01 09:00+01' + d * interval '1 day') GROUP BY 1;
SELECT clinical.process_reports() > 0;

CREATE ROLE regress_rep_all;
CREATE ROLE regress_rep_one;
CREATE ROLE regress_rep_none;
CREATE ROLE regress_rep_intake;
CREATE ROLE regress_rep_admin;
GRANT clinical_statistician TO regress_rep_all, regress_rep_one, regress_rep_none;
GRANT clinical_intake TO regress_rep_intake;
GRANT clinical_admin TO regress_rep_admin;
SELECT count(clinical.grant_all_centers('regress_rep_all', 'REP'));
SELECT count(clinical.grant_center('regress_rep_one', (SELECT id FROM clinical.center WHERE site_id = 'REP-1'), 'REP'));

-- === the document ===
CREATE TABLE test.report AS
    SELECT clinical.generate_report('REP', '[2026-01-01,2026-04-01)', '{"cutoff": "2026-03-15T12:00:00+02:00", "by": ["arm", "deep.er"]}') AS document;
SELECT string_agg(k, ' ' ORDER BY k) FROM test.report, jsonb_object_keys(document) k;
SELECT jsonb_pretty(document -> 'header' #- '{snapshot}' #- '{generated_at}' #- '{generated_by}' #- '{rules}') FROM test.report;
SELECT (document #>> '{header,generated_at}')::timestamptz BETWEEN now() - interval '1 hour' AND now() + interval '1 minute' AS at,
       document #>> '{header,generated_by}' = current_user AS by_us, (document #>> '{header,snapshot}')::pg_snapshot IS NOT NULL AS snapshot,
       document #> '{header,rules}' @> '[{"code": "REP-R"}]' AS rule_of_later
  FROM test.report;
SELECT r FROM jsonb_array_elements(clinical.generate_report('REP', '[2026-01-01,2026-04-01)') #> '{header,rules}') r WHERE r ->> 'code' = 'REP-R';
SELECT string_agg(k, ' ' ORDER BY k) FROM test.report, jsonb_object_keys(document -> 'body') k;
SELECT count(*) FROM test.report, jsonb_each(document -> 'body') s WHERE s.value ->> 'title' IS NULL OR jsonb_typeof(s.value -> 'tables') <> 'array';
SELECT document ->> 'sha256' = encode(sha256(convert_to((document -> 'body')::text, 'UTF8')), 'hex') AS hash FROM test.report;

-- every table: its columns' names are the keys of its rows, and every row says of whom it is
CREATE VIEW test.report_table AS
    SELECT s.key AS section, t ->> 'name' AS name, t FROM test.report, jsonb_each(document -> 'body') s, jsonb_array_elements(s.value -> 'tables') t;
SELECT section, name, r FROM test.report_table, jsonb_array_elements(t -> 'rows') r
 WHERE (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(r) k WHERE k NOT IN ('by', 'decimals'))
       IS DISTINCT FROM (SELECT array_agg(c ->> 'name' ORDER BY c ->> 'name') FROM jsonb_array_elements(t -> 'columns') c)
    OR jsonb_typeof(r -> 'by') IS DISTINCT FROM 'object' OR (r -> 'by' <> '{}' AND NOT r -> 'by' ?& ARRAY['arm', 'deep.er']) LIMIT 5;
SELECT section, name, c FROM test.report_table, jsonb_array_elements(t -> 'columns') c
 WHERE c ->> 'kind' = 'percent' AND NOT EXISTS (SELECT FROM jsonb_array_elements(t -> 'columns') o WHERE o ->> 'name' = c ->> 'of');

-- the same again, whatever the session's settings are, in parallel and not
CREATE FUNCTION test.body() RETURNS text LANGUAGE sql AS $$
    SELECT clinical.generate_report('REP', '[2026-01-01,2026-04-01)', '{"cutoff": "2026-03-15T10:00:00Z", "by": ["arm", "deep.er"]}') ->> 'sha256'
$$;
SELECT count(DISTINCT test.body()) FROM generate_series(1, 3);
SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'; SET intervalstyle = 'iso_8601'; SET extra_float_digits = 0; SET search_path = 'test';
SELECT test.body() = (SELECT document ->> 'sha256' FROM test.report) AS whatever_the_settings;
SELECT (SELECT document #>> '{header,cutoff}' FROM test.report) = clinical.generate_report('REP', '[2026-01-01,2026-04-01)', '{"cutoff": "2026-03-15 19:00"}') #>> '{header,cutoff}' AS session_zone;
RESET timezone; RESET datestyle; RESET intervalstyle; RESET extra_float_digits; RESET search_path;
SET datestyle = ISO; SET timezone = 'UTC';
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2;
SELECT test.body() = (SELECT document ->> 'sha256' FROM test.report) AS in_parallel;
SET max_parallel_workers_per_gather = 0;
SELECT test.body() = (SELECT document ->> 'sha256' FROM test.report) AS serial;
RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size; RESET max_parallel_workers_per_gather;
BEGIN TRANSACTION READ ONLY ISOLATION LEVEL SERIALIZABLE;
SELECT test.body() = (SELECT document ->> 'sha256' FROM test.report) AS read_only;
COMMIT;

-- === options ===
CREATE FUNCTION test.report_options(options jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text; message text; detail text;
BEGIN
    RETURN clinical.generate_report('REP', '[2026-01-01,2026-04-01)', options) #> '{header,options}';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(' ', state, message, detail);
END
$$;
SELECT options, test.report_options(options::jsonb) FROM unnest(ARRAY[
    '{"sections": ["listings", "status"], "by": null, "cutoff": null, "suppress_below": 5, "share_job": false}',
    '{"sections": ["alerts", "alerts"], "suppress_below": 1000, "by": ["center", "sex", "race", "a.b"]}',
    '{"by": ["a", "b", "c", "d", "e"]}', '{"by": ["a", "a"]}', '{"by": [1]}', '{"by": [""]}', '{"by": "arm"}', '{"by": [null]}',
    '{"cutoff": "infinity"}', '{"cutoff": "2999-01-01"}', '{"cutoff": "soon"}', '{"cutoff": 1}', '{"cutoff": ""}',
    '{"sections": []}', '{"sections": ["status", "statuses"]}', '{"sections": "status"}', '{"sections": [1]}',
    '{"suppress_below": -1}', '{"suppress_below": 1001}', '{"suppress_below": 1.5}', '{"suppress_below": "5"}',
    '{"share_job": 1}', '{"cut_off": "2026-01-01"}', '[]', '1', 'null']) WITH ORDINALITY o (options, n) ORDER BY n;
SELECT test.report_options(jsonb_build_object('by', ARRAY[repeat('x', 257)]));
SELECT test.report_options(NULL) LIKE '{"by": []%' AS no_options;
SELECT string_agg(k, ' ' ORDER BY k) FROM jsonb_object_keys(clinical.generate_report('REP', '[2026-01-01,2026-04-01)', '{"sections": ["listings", "status"]}') -> 'body') k;

-- rows of a split that tell of fewer persons than that have no figures, and say so
CREATE VIEW test.suppressed AS
    SELECT t ->> 'name' AS name, r, r -> 'suppressed' = 'true' AS suppressed, (r -> 'by') <> '{}' AS split,
           (SELECT min((r ->> (c ->> 'name'))::numeric) FROM jsonb_array_elements(t -> 'columns') c
             WHERE c ->> 'kind' = 'count' AND c ->> 'name' IN ('n', 'patients') AND (r ->> (c ->> 'name'))::numeric > 0) AS persons,
           (SELECT count(*) FROM jsonb_array_elements(t -> 'columns') c
             WHERE c ->> 'kind' NOT IN ('label', 'text', 'date', 'month', 'time') AND r ->> (c ->> 'name') IS NOT NULL) AS figures
      FROM clinical.generate_report('REP', '[2026-01-01,2026-04-01)', '{"cutoff": "2026-03-15", "by": ["arm"], "suppress_below": 3}') d,
           jsonb_each(d -> 'body') s, jsonb_array_elements(s.value -> 'tables') t, jsonb_array_elements(t -> 'rows') r;
SELECT name, r FROM test.suppressed WHERE (split AND persons < 3) OR (suppressed AND (figures > 0 OR NOT split)) LIMIT 5;

-- === arguments and rights ===
SELECT clinical.generate_report(NULL, '[2026-01-01,2026-04-01)');
SELECT clinical.generate_report('', '[2026-01-01,2026-04-01)');
SELECT clinical.generate_report('REP', NULL);
SELECT clinical.generate_report('REP', 'empty');
SELECT clinical.generate_report('REP', '[2026-01-01,)');
SELECT clinical.generate_report('REP', '(,2026-01-01)');
SELECT clinical.generate_report('REP', '[2026-01-01,infinity)');
SELECT clinical.generate_report('REP', '[2000-01-01,2026-01-01)');
SELECT clinical.generate_report('no such', '[2026-01-01,2026-04-01)');
SELECT clinical.generate_report('REP', '[2026-01-01,2026-01-01]') #> '{header,period}';
SELECT clinical.generate_report('REP-0', '[2026-01-01,2026-04-01)') #> '{header,centers}';
CREATE FUNCTION test.scope() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    header jsonb;
BEGIN
    header := clinical.generate_report('REP', '[2026-01-01,2026-04-01)', '{"cutoff": "2026-03-15"}') -> 'header';
    RETURN concat_ws(' ', header ->> 'generated_by', header -> 'centers', header -> 'all_centers', header -> 'rows');
EXCEPTION WHEN OTHERS THEN
    RETURN concat_ws(' ', SQLSTATE, SQLERRM);
END
$$;
GRANT USAGE ON SCHEMA test TO PUBLIC;
SET ROLE regress_rep_all;
SELECT test.scope();
SET ROLE regress_rep_one;
SELECT test.scope();
SET ROLE regress_rep_none;
SELECT test.scope();
SET ROLE regress_rep_intake;
SELECT test.scope();
SET ROLE regress_rep_admin;
SELECT test.scope();
RESET ROLE;

-- === jobs ===
-- nobody makes them yet
SET ROLE regress_rep_all;
SELECT clinical.request_report('REP', '[2026-01-01,2026-04-01)', '{"cutoff": "2026-03-15T10:00:00Z", "by": ["arm", "deep.er"]}') AS whole \gset
SELECT clinical.request_report('REP', '[2026-01-01,2026-04-01)', '{"by": ["arm", "deep.er"], "cutoff": "2026-03-15T12:00:00+02:00", "share_job": true}') = :'whole' AS shared,
       clinical.request_report('REP', '[2026-01-01,2026-04-01)', '{"by": ["arm", "deep.er"], "share_job": true}') <> :'whole' AS another,
       clinical.request_report('REP', '[2026-01-01,2026-04-02)', '{"cutoff": "2026-03-15T10:00:00Z", "by": ["arm", "deep.er"], "share_job": true}') <> :'whole' AS another_period;
SET ROLE regress_rep_one;
SELECT clinical.request_report('REP', '[2026-01-01,2026-04-01)', '{"cutoff": "2026-03-15T10:00:00Z", "by": ["arm", "deep.er"], "share_job": true}') AS part \gset
SELECT :'part' <> :'whole' AS of_other_centers;
SELECT clinical.request_report('REP', '[2026-01-01,2026-04-01)', '{"sections": []}');
SELECT clinical.request_report('REP-0', '[2026-01-01,2026-04-01)');
SELECT clinical.cancel_report(:'whole');
SELECT clinical.cancel_report(NULL);
SELECT clinical.cancel_report('00000000-0000-7000-8000-000000000000');
SELECT count(*) FROM clinical.report_job;
SET ROLE regress_rep_all;
SELECT count(*) FROM clinical.report_job;
SELECT clinical.cancel_report(:'part');
SET ROLE regress_rep_none;
SELECT count(*) FROM clinical.report_job;
SELECT clinical.request_report('REP', '[2026-01-01,2026-04-01)');
SET ROLE regress_rep_intake;
SELECT clinical.request_report('REP', '[2026-01-01,2026-04-01)');
RESET ROLE;
SELECT status, attempts, role, role_name, options, cardinality(centers) FROM clinical.report_job WHERE id = :'whole';
SELECT count(clinical.cancel_report(id)) FROM clinical.report_job WHERE id NOT IN (:'whole', :'part');
SELECT status, count(*), count(ended_at), count(cancelled_at), count(*) FILTER (WHERE cancelled_by = session_user), count(worker) FROM clinical.report_job GROUP BY 1 ORDER BY 1;
SELECT clinical.cancel_report(id) FROM clinical.report_job WHERE status = 'cancelled';
-- a job whose requester loses what it may see, or is gone, fails
CREATE ROLE regress_rep_gone;
GRANT clinical_statistician TO regress_rep_gone;
SELECT count(clinical.grant_all_centers(r, 'REP')) FROM unnest('{regress_rep_none, regress_rep_gone}'::name[]) r;
SET ROLE regress_rep_gone;
SELECT clinical.request_report('REP', '[2026-01-01,2026-02-01)') AS gone \gset
SET ROLE regress_rep_none;
SELECT clinical.request_report('REP', '[2026-01-01,2026-02-01)') AS blind \gset
SELECT clinical.request_report('REP', '[2026-01-01,2026-02-02)') AS bare \gset
RESET ROLE;
SELECT count(clinical.revoke_all_centers('regress_rep_gone', 'REP'));
DROP ROLE regress_rep_gone;
SELECT count(clinical.revoke_all_centers('regress_rep_none', 'REP'));
SELECT status, phase, done, total, percent, worker FROM clinical.report_progress WHERE report_id = :'whole';

-- they are made
CREATE PROCEDURE test.wait_reports() LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN 1 .. 1200 LOOP
        COMMIT;
        EXIT WHEN NOT EXISTS (SELECT FROM clinical.report_job WHERE status IN ('queued', 'running'));
        PERFORM pg_sleep(0.05);
    END LOOP;
END
$$;
SELECT clinical.start_workers();
CALL test.wait_reports();
SELECT CASE id WHEN :'whole' THEN 'whole' WHEN :'part' THEN 'part' WHEN :'gone' THEN 'gone' WHEN :'blind' THEN 'blind' WHEN :'bare' THEN 'bare' END AS job,
       status, attempts, detail, worker, started_at <= ended_at AS ended FROM clinical.report_job WHERE status <> 'cancelled' ORDER BY requested_at;
SELECT j.role_name, r.document #>> '{header,generated_by}' AS by, cardinality(r.centers), r.document #> '{header,all_centers}' AS all,
       r.document -> 'sha256' = t.document -> 'sha256' AS as_in_the_session
  FROM clinical.report r JOIN clinical.report_job j USING (id), test.report t ORDER BY 1;
SELECT status, phase, percent, estimated_end, worker, requested_by FROM clinical.report_progress WHERE report_id = :'whole';
SELECT clinical.cancel_report(:'whole'), clinical.cancel_report(:'gone');

-- who could have made it may read it
SET ROLE regress_rep_all;
SELECT count(*), count(*) FILTER (WHERE id = :'whole') FROM clinical.report;
SET ROLE regress_rep_one;
SELECT count(*), count(*) FILTER (WHERE id = :'whole') FROM clinical.report;
SELECT status FROM clinical.report_progress ORDER BY requested_at;
SET ROLE regress_rep_intake;
SELECT count(*) FROM clinical.report;
SET ROLE regress_rep_admin;
SELECT count(*) FROM clinical.report;
SELECT count(*) > 4 FROM clinical.report_job;
SELECT clinical.cancel_report(:'part');
RESET ROLE;

-- rights that are gone when it is made
SELECT count(clinical.grant_all_centers('regress_rep_none', 'REP'));
SELECT count(*) FROM (SELECT clinical.stop_workers()) s;
SET ROLE regress_rep_none;
SELECT clinical.request_report('REP', '[2026-01-01,2026-02-03)') AS no_rights \gset
RESET ROLE;
REVOKE clinical_statistician FROM regress_rep_none;
SELECT clinical.start_workers();
CALL test.wait_reports();
SELECT status, detail FROM clinical.report_job WHERE id = :'no_rights';

-- nothing else writes there
INSERT INTO clinical.report_job SELECT * FROM clinical.report_job LIMIT 1;
UPDATE clinical.report_job SET status = 'queued';
DELETE FROM clinical.report_job;
UPDATE clinical.report SET document = '{}';
DELETE FROM clinical.report;
TRUNCATE clinical.report;
SELECT * FROM clinical.check() WHERE invariant ~ 'report';

-- === retention ===
SELECT clinical.purge_reports(NULL);
SELECT clinical.purge_reports('-1 day');
SELECT clinical.purge_reports('1 day');
SELECT clinical.request_report('REP', '[2026-01-01,2026-02-04)') IS NOT NULL FROM (SELECT clinical.stop_workers()) s;
SELECT clinical.purge_reports('0');
SELECT status, count(*), (SELECT count(*) FROM clinical.report) AS reports FROM clinical.report_job GROUP BY 1;
SELECT count(clinical.cancel_report(id)) FROM clinical.report_job;
SET ROLE regress_rep_all;
SELECT clinical.purge_reports('0');
RESET ROLE;
SELECT * FROM clinical.verify_audit();

-- leave nothing behind
SELECT count(clinical.revoke_all_centers(r, 'REP')) FROM unnest('{regress_rep_all, regress_rep_none}'::name[]) r;
SELECT count(clinical.revoke_center('regress_rep_one', (SELECT id FROM clinical.center WHERE site_id = 'REP-1'), 'REP'));
DROP ROLE regress_rep_all, regress_rep_one, regress_rep_none, regress_rep_intake, regress_rep_admin;
DROP VIEW test.suppressed, test.report_table;
DROP TABLE test.report;
SELECT clinical.start_workers();
