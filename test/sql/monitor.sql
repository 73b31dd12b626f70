-- monitor: rules, and the alerts that they raise
SET datestyle = ISO;
SELECT pg_catalog.count(*) FROM (SELECT clinical.stop_workers()) s;

-- === rules ===
SELECT count(*) FROM clinical.create_center('Monitor', 'MON-1');
SELECT count(*) FROM clinical.create_center('Monitor 2', 'MON-2');
SELECT count(*) FROM clinical.create_project_with_centers('Monitor', ARRAY(SELECT id FROM clinical.center WHERE site_id = 'MON-1'), 'MON');
SELECT count(*) FROM clinical.create_project_with_centers('Other', ARRAY(SELECT id FROM clinical.center WHERE site_id = 'MON-2'), 'MON-OTHER');

-- a rule, with all that a streak has
SELECT version, kind, severity, counts_from, reason, recorded_at <= now() + interval '1 minute' AS recorded, recorded_by = session_user AS by_us, actor, jsonb_pretty(definition)
  FROM clinical.create_rule('{"code": "BP3", "project": "MON", "kind": "streak",
    "items": [{"item": "8480-6", "range": "[90,140]"}, {"item": "8462-4", "range": "[50,90]"}],
    "days": 3, "aggregate": "any", "gap": 0, "day_start": "00:00", "min_readings": 1, "severity": "serious",
    "escalate_after": ["24 hours", "72 hours"],
    "clear": {"items": [{"item": "8480-6", "range": "[95,135]"}], "days": 2}, "cooldown_days": 0, "evaluate": true}');
SELECT code, project_id = (SELECT id FROM clinical.project WHERE code = 'MON') AS of_project, status FROM clinical.monitor_rule;
SELECT code, version, status, patients, patients_done, percent, started_at, ended_at FROM clinical.rule_evaluation_progress;
-- for all projects, from now on
SELECT version, kind, counts_from = now() AS from_now FROM clinical.create_rule('{"code": "ALL", "kind": "threshold", "items": [{"item": "8480-6", "range": "(,180]"}], "severity": "critical", "evaluate": false}');
SELECT count(*) FROM clinical.rule_evaluation_progress WHERE code = 'ALL';
SELECT jsonb_pretty(clinical.rule_json('ALL'));

-- each kind, without and with what it may have
CREATE FUNCTION test.rule(changes jsonb, kind text DEFAULT 'streak') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object('code', 'T', 'kind', kind, 'severity', 'info') ||
           CASE kind WHEN 'streak' THEN '{"items": [{"item": "a", "range": "[0,10]"}], "days": 3}'
                     WHEN 'threshold' THEN '{"items": [{"item": "a", "range": "[0,10]"}]}'
                     WHEN 'k_of_w' THEN '{"items": [{"item": "a", "range": "[0,10]"}], "k": 2, "w": 7}'
                     WHEN 'baseline_change' THEN '{"items": [{"item": "a"}], "percent": "[-5,5]"}'
                     WHEN 'missing_entries' THEN '{"instrument": "diary", "entries": 3}'
                     WHEN 'graded' THEN '{"items": [{"item": "a", "grades": ["[0,10]", "[-1,20)"]}]}'
                     ELSE '{}' END::jsonb || changes)
$$;
CREATE FUNCTION test.make(changes jsonb, kind text DEFAULT 'streak') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM clinical.create_rule(test.rule(changes, kind));
    RAISE EXCEPTION USING ERRCODE = 'ZZZZZ';
EXCEPTION WHEN SQLSTATE 'ZZZZZ' THEN
    RETURN 'ok';
WHEN OTHERS THEN
    RETURN test.try(format('SELECT clinical.create_rule(%L)', test.rule(changes, kind)));
END
$$;
SELECT k, test.make('{}', k) FROM unnest('{streak,threshold,k_of_w,baseline_change,missing_entries,graded,none}'::text[]) k;
\set all '{"escalate_after": ["PT1H", "1 day", "1.5 days"], "cooldown_days": 3650, "evaluate": false}'
\set day '{"aggregate": "median", "day_start": "23:59", "min_readings": 1000, "clear": {"items": [{"item": "a", "range": "(0,5]"}], "days": 3650}}'
\set gap '{"gap": 366}'
SELECT test.make(:'all'::jsonb || :'day' || :'gap' || '{"days": 3650}');
SELECT test.make(:'all'::jsonb || :'day' || :'gap', 'threshold');
SELECT test.make(:'all'::jsonb || :'day' || '{"k": 366, "w": 366}', 'k_of_w');
SELECT test.make(:'all'::jsonb || :'day' || :'gap' || '{"days": 2, "baseline": "first"}', 'baseline_change');
SELECT test.make(:'all'::jsonb || :'day' || :'gap' || '{"baseline": "last_before_enrolment", "percent": null, "absolute": "[-5,5]"}', 'baseline_change');
SELECT test.make(:'all', 'missing_entries');
SELECT test.make(:'all'::jsonb || :'day' || :'gap' || '{"days": 2, "items": [{"item": "a"}], "grades": ["[0,10]", "[0,12]", "(-5,)"]}', 'graded');
SELECT a, test.make(jsonb_build_object('aggregate', a)) FROM unnest('{any,all,mean,median,min,max,last,sum}'::text[]) a;
SELECT s, test.make(jsonb_build_object('severity', s)) FROM unnest('{info,warning,serious,critical,high}'::text[]) s;

-- what a kind does not have is refused
SELECT k, key, test.make(jsonb_build_object(key, value), k)
  FROM unnest('{streak,threshold,k_of_w,baseline_change,missing_entries,graded}'::text[]) WITH ORDINALITY u (k, n),
       jsonb_each('{"items": [], "days": 0, "k": 0, "w": 0, "absolute": "x", "percent": "x", "baseline": "x", "instrument": " ", "entries": 0,
                    "grades": [], "aggregate": "x", "gap": 400, "day_start": "x", "min_readings": 0, "clear": {}}')
 ORDER BY n, key;
-- what it must have
SELECT k, key, test.make(jsonb_build_object(key, NULL), k)
  FROM unnest('{streak,threshold,k_of_w,baseline_change,missing_entries,graded}'::text[]) WITH ORDINALITY u (k, n),
       unnest('{code,severity,items,days,k,w,percent,instrument,entries}'::text[]) key
 WHERE test.rule('{}', k) ? key ORDER BY n, key;
SELECT test.try($$SELECT clinical.create_rule(NULL)$$);
SELECT test.try($$SELECT clinical.create_rule('[]')$$);
SELECT test.try($$SELECT clinical.create_rule('1')$$);
SELECT test.try($$SELECT clinical.create_rule('{}')$$);

-- wrong values
SELECT c AS change, test.make(c) FROM unnest(ARRAY[
    '{"severty": "info"}', '{"code": ""}', '{"code": " x"}', '{"code": 1}', '{"project": "NONE"}', '{"project": ""}', '{"evaluate": 1}',
    '{"days": 0}', '{"days": 3651}', '{"days": 1.5}', '{"days": "3"}', '{"gap": 367}', '{"gap": -1}', '{"min_readings": 0}', '{"min_readings": 1001}',
    '{"cooldown_days": 3651}', '{"day_start": "24:00"}', '{"day_start": "4:00"}', '{"day_start": "04:00:00"}', '{"day_start": 4}']::jsonb[]) c;
SELECT c AS change, test.make(c, 'k_of_w') FROM unnest(ARRAY['{"k": 0}', '{"k": 8}', '{"w": 0}', '{"w": 367}']::jsonb[]) c;
SELECT c AS change, test.make(c, 'baseline_change') FROM unnest(ARRAY['{"absolute": "[-1,1]"}', '{"percent": "5"}', '{"items": [{"item": "a", "range": "[0,1]"}]}', '{"baseline": "mean"}']::jsonb[]) c;
SELECT c AS change, test.make(c, 'missing_entries') FROM unnest(ARRAY['{"entries": 0}', '{"entries": 3651}', '{"instrument": " "}', '{"clear": {"days": 2}}']::jsonb[]) c;
SELECT c AS change, test.make(c) FROM unnest(ARRAY[
    '{"items": []}', '{"items": {}}', '{"items": ["a"]}', '{"items": [{"range": "[0,1]"}]}', '{"items": [{"item": "a"}]}', '{"items": [{"item": "a", "range": "[0,1]", "unit": "kg"}]}',
    '{"items": [{"item": "a", "range": "[0,1]"}, {"item": "a", "range": "[0,2]"}]}', '{"items": [{"item": "a", "grades": ["[0,1]"]}]}',
    '{"items": [{"item": " a", "range": "[0,1]"}]}']::jsonb[]) c;
SELECT test.make(jsonb_build_object('items', (SELECT jsonb_agg(jsonb_build_object('item', 'i' || g, 'range', '[0,1]')) FROM generate_series(1, 16) g)));
SELECT test.make(jsonb_build_object('items', (SELECT jsonb_agg(jsonb_build_object('item', 'i' || g, 'range', '[0,1]')) FROM generate_series(1, 17) g)));
-- ranges, as numrange writes them
SELECT r, test.make(jsonb_build_object('items', jsonb_build_array(jsonb_build_object('item', 'a', 'range', r))))
  FROM unnest(ARRAY['[1,2]', '(1,2)', '[1,1]', ' [ -1.50 , +2.5 ) ', '[1,)', '(,1]', '[.5,1.]', '[1,1)', '(1,1]', '[2,1]', '(,)', 'empty', '', '[', '[1', '[1,', '[1,2', '1,2', '[1,2]]', '[1 2]', '[1,2,3]',
    '[a,b]', '[.,1]', '[-,1]', '[1e3,2e3]', '[NaN,1]', '[-infinity,1]', '["1","2"]', '[0,' || repeat('9', 31) || ']', '[0,' || repeat('9', 30) || ']', '[0.' || repeat('1', 31) || ',1]', repeat('[', 100000)]) r
 WHERE length(r) < 100;
-- grades
SELECT g, test.make(jsonb_build_object('items', '[{"item": "a"}]'::jsonb, 'grades', g::jsonb), 'graded')
  FROM unnest(ARRAY['["[0,1]"]', '[]', '["[0,1]", "[0,1]"]', '["[0,1]", "[0.5,3]"]', '["[0,1]", "[0,1)"]', '["(0,1)", "[0,1]", "(,1]"]', '[1]', '["x"]', '"[0,1]"',
    '["[0,1]", "[0,2]", "[0,3]", "[0,4]", "[0,5]", "[0,6]", "[0,7]", "[0,8]"]', '["[0,1]", "[0,2]", "[0,3]", "[0,4]", "[0,5]", "[0,6]", "[0,7]", "[0,8]", "[0,9]"]']) g;
SELECT i, test.make(jsonb_build_object('items', i::jsonb, 'grades', g), 'graded')
  FROM (VALUES ('[{"item": "a", "grades": ["[0,1]", "[0,2]"]}, {"item": "b", "grades": ["[0,1]", "[0,2]"]}]', NULL),
    ('[{"item": "a", "grades": ["[0,1]", "[0,2]"]}, {"item": "b", "grades": ["[0,1]"]}]', NULL),
    ('[{"item": "a", "grades": ["[0,1]"]}, {"item": "b"}]', NULL), ('[{"item": "a"}, {"item": "b"}]', '["[0,1]"]'), ('[{"item": "a", "grades": ["[0,1]"]}]', '["[0,1]"]'::jsonb),
    ('[{"item": "a", "range": "[0,1]"}]', '["[0,1]"]'), ('[{"item": "a", "grades": null}]', '["[0,1]"]')) v (i, g);
-- when it clears
SELECT c, test.make(jsonb_build_object('clear', c::jsonb))
  FROM unnest(ARRAY['{}', '[]', '{"days": 2}', '{"items": [{"item": "a", "range": "[0,10]"}]}', '{"days": 0}', '{"days": 3651}', '{"days": 2, "hours": 1}', '{"items": [{"item": "a"}]}', '{"items": [{"item": "b", "range": "[0,1]"}]}',
    '{"items": [{"item": "a", "range": "[0,11]"}]}', '{"items": [{"item": "a", "range": "[0,1]"}, {"item": "a", "range": "[0,1]"}]}', '{"items": [{"item": "a", "range": "x"}]}', '{"items": [1]}', '{"items": []}']) c;
SELECT c, test.make(jsonb_build_object('clear', c::jsonb), 'graded')
  FROM unnest(ARRAY['{"items": [{"item": "a", "range": "[0,10]"}]}', '{"items": [{"item": "a", "range": "[-1,10]"}]}']) c;
SELECT c, test.make(jsonb_build_object('clear', c::jsonb), 'baseline_change')
  FROM unnest(ARRAY['{"items": [{"item": "a", "range": "[-2,2]"}]}', '{"items": [{"item": "a", "range": "[-6,2]"}]}']) c;
-- escalation
SELECT e, test.make(jsonb_build_object('escalate_after', e::jsonb))
  FROM unnest(ARRAY['[]', '["1 hour"]', '["00:30"]', '["1 day", "24 hours"]', '["2 days", "1 day"]', '["0"]', '["-1 day"]', '["1 mon"]', '["1 year"]', '["soon"]', '[""]', '[60]', '"1 hour"', '["3650 days"]', '["3651 days"]', '["infinity"]',
    '["99999999999 days"]', '["2000000000 hours"]', '["1s","2s","3s","4s","5s","6s","7s","8s","9s","10s"]', '["1s","2s","3s","4s","5s","6s","7s","8s","9s","10s","11s"]']) e;
SELECT test.make(jsonb_build_object('escalate_after', ARRAY[repeat('1', 1000)]));
-- a code is one of all projects
SELECT test.try($$SELECT clinical.create_rule(test.rule('{"code": "BP3", "project": "MON-OTHER"}'))$$);
SELECT test.try($$SELECT clinical.create_rule('{"code": "BP3"}')$$);
SELECT count(*) FROM clinical.monitor_rule;

-- change_rule: the next version
SELECT version, kind, counts_from, reason, definition
  FROM clinical.change_rule('BP3', '{"kind": "streak", "items": [{"item": "8480-6", "range": "[90,140]"}], "days": 4, "severity": "warning"}', 'too many alerts');
-- an evaluation of what is no longer in force is not needed
SELECT code, version, status, started_at, ended_at IS NOT NULL AS ended FROM clinical.rule_evaluation_progress ORDER BY 1, 2;
-- from what it says now
SELECT version, definition FROM clinical.change_rule('BP3', clinical.rule_json('BP3') || '{"days": 5, "evaluate": false}', 'longer');
SELECT clinical.rule_json('BP3');
SELECT version, counts_from IS NULL AS counts_all FROM clinical.monitor_rule_version v JOIN clinical.monitor_rule r ON r.id = rule_id WHERE code = 'BP3' ORDER BY 1;
SELECT code, version, status FROM clinical.rule_evaluation_progress ORDER BY 1, 2;
SELECT test.try($$SELECT clinical.change_rule('BP3', clinical.rule_json('BP3') || '{"version": 2}', 'r')$$);
SELECT test.try($$SELECT clinical.change_rule('BP3', clinical.rule_json('BP3') || '{"code": "BP4"}', 'r')$$);
SELECT test.try($$SELECT clinical.change_rule('BP3', clinical.rule_json('BP3') || '{"code": null}', 'r')$$);
SELECT test.try($$SELECT clinical.change_rule('BP3', clinical.rule_json('BP3') || '{"project": "MON-OTHER"}', 'r')$$);
SELECT test.try($$SELECT clinical.change_rule('BP3', clinical.rule_json('BP3') || '{"project": null}', 'r')$$);
SELECT test.try($$SELECT clinical.change_rule('ALL', clinical.rule_json('ALL') || '{"project": "MON"}', 'r')$$);
SELECT test.try($$SELECT clinical.change_rule('BP3', clinical.rule_json('BP3') || '{"evaluate": "no"}', 'r')$$);
SELECT test.try($$SELECT clinical.change_rule('BP3', clinical.rule_json('BP3') || '{"days": 0}', 'r')$$);
SELECT test.try($$SELECT clinical.change_rule('BP3', '[]', 'r')$$);
SELECT test.try($$SELECT clinical.change_rule('BP3', '{}', 'r')$$);
SELECT test.try($$SELECT clinical.change_rule('BP3', NULL, 'r')$$);
SELECT test.try($$SELECT clinical.change_rule('BP3', clinical.rule_json('BP3'), NULL)$$);
SELECT test.try($$SELECT clinical.change_rule('BP3', clinical.rule_json('BP3'), ' ')$$);
SELECT test.try($$SELECT clinical.change_rule('NONE', '{}', 'r')$$);
SELECT test.try($$SELECT clinical.change_rule(NULL, '{}', 'r')$$);
SELECT test.try($$SELECT clinical.change_rule('', '{}', 'r')$$);
SELECT test.try($$SELECT clinical.rule_json('NONE')$$);
SELECT test.try($$SELECT clinical.rule_json(NULL)$$);
-- a project that is called otherwise now
BEGIN;
UPDATE clinical.project SET code = 'MON-NEW' WHERE code = 'MON';
SELECT clinical.rule_json('BP3') -> 'project' AS project, version FROM clinical.change_rule('BP3', clinical.rule_json('BP3'), 'r');
ROLLBACK;
-- the reason and the actor of the transaction
BEGIN;
SET LOCAL clinical.reason = 'of the transaction';
SET LOCAL clinical.actor = 'dm-7';
SELECT version, reason, actor FROM clinical.change_rule('BP3', clinical.rule_json('BP3') || '{"days": 2}', NULL);
SELECT reason, actor FROM clinical.create_rule(test.rule('{"project": "MON"}'));
ROLLBACK;

-- cancel_rule_evaluation
SELECT version FROM clinical.change_rule('BP3', clinical.rule_json('BP3'), 'over all that is there');
SELECT version, status, patients_done, ended_at IS NOT NULL AS ended, requested_by = session_user AS by_us FROM clinical.cancel_rule_evaluation('BP3');
SELECT test.try($$SELECT clinical.cancel_rule_evaluation('BP3')$$);
SELECT test.try($$SELECT clinical.cancel_rule_evaluation('ALL')$$);
SELECT test.try($$SELECT clinical.cancel_rule_evaluation('NONE')$$);
SELECT test.try($$SELECT clinical.cancel_rule_evaluation(NULL)$$);

-- retire_rule
SELECT version, kind FROM clinical.retire_rule('ALL', 'no use');
SELECT clinical.rule_json('ALL') ->> 'status' AS status;
SELECT test.try($$SELECT clinical.retire_rule('ALL', 'again')$$);
SELECT test.try($$SELECT clinical.change_rule('ALL', clinical.rule_json('ALL'), 'again')$$);
SELECT test.try($$SELECT clinical.retire_rule('BP3', NULL)$$);
SELECT test.try($$SELECT clinical.retire_rule('NONE', 'r')$$);
SELECT test.try($$SELECT clinical.retire_rule(NULL, 'r')$$);
-- a code is never free again
SELECT test.try($$SELECT clinical.create_rule(test.rule('{"code": "ALL"}'))$$);

-- written by the functions alone, whoever tries
SELECT test.try($$INSERT INTO clinical.monitor_rule (code, status, recorded_at, recorded_by) VALUES ('X', 'active', now(), 'x')$$);
SELECT test.try($$UPDATE clinical.monitor_rule SET status = 'active'$$);
SELECT test.try($$UPDATE clinical.monitor_rule SET code = 'X' WHERE code = 'BP3'$$);
SELECT test.try($$DELETE FROM clinical.monitor_rule$$);
SELECT test.try($$INSERT INTO clinical.monitor_rule_version (rule_id, version, kind, severity, definition, recorded_at, recorded_by) SELECT id, 9, 'streak', 'info', '{}', now(), 'x' FROM clinical.monitor_rule$$);
SELECT test.try($$UPDATE clinical.monitor_rule_version SET definition = '{}'$$);
SELECT test.try($$DELETE FROM clinical.monitor_rule_version$$);
SELECT test.try($$INSERT INTO clinical.rule_evaluation (rule_id, version, status, requested_at, requested_by) SELECT id, 1, 'queued', now(), 'x' FROM clinical.monitor_rule$$);
SELECT test.try($$UPDATE clinical.rule_evaluation SET status = 'done'$$);
SELECT test.try($$DELETE FROM clinical.rule_evaluation$$);
SELECT test.try($$TRUNCATE clinical.rule_evaluation$$);
-- and a restore puts back what was
BEGIN;
SET LOCAL clinical.restore = on;
UPDATE clinical.monitor_rule SET status = status;
DELETE FROM clinical.rule_evaluation;
ROLLBACK;
-- what check() finds
SELECT * FROM clinical.check() WHERE invariant ~ '^rule';
BEGIN;
SET LOCAL clinical.restore = on;
UPDATE clinical.monitor_rule_version SET severity = 'info' WHERE severity = 'critical';
DELETE FROM clinical.monitor_rule_version v USING clinical.monitor_rule r WHERE r.id = v.rule_id AND code = 'BP3' AND version = 2;
INSERT INTO clinical.monitor_rule (code, status, recorded_at, recorded_by) VALUES ('BARE', 'active', now(), 'x');
SELECT * FROM clinical.check() WHERE invariant ~ '^rule';
ROLLBACK;

-- the trail tells of all that
SELECT table_name, operation, changes ->> 0 IS NOT NULL AS has_changes, reason FROM clinical.audit_record WHERE table_name IN ('monitor_rule', 'monitor_rule_version') ORDER BY generation, xid, id;

-- who sees and makes which
CREATE ROLE regress_clinical_rules LOGIN;
CREATE ROLE regress_clinical_reads LOGIN;
GRANT clinical_data_manager TO regress_clinical_rules;
GRANT clinical_statistician TO regress_clinical_reads;
SELECT count(*) FROM clinical.create_rule(test.rule('{"code": "OTHER", "project": "MON-OTHER", "evaluate": false}'));
SELECT count(*) FROM clinical.create_rule(test.rule('{"code": "EVERY", "evaluate": false}'));
SELECT count(clinical.grant_center('regress_clinical_rules', (SELECT id FROM clinical.center WHERE site_id = 'MON-1')));
SELECT count(clinical.grant_all_centers('regress_clinical_reads'));
GRANT USAGE ON SCHEMA test TO regress_clinical_rules, regress_clinical_reads;
SET ROLE regress_clinical_rules;
SELECT code FROM clinical.monitor_rule ORDER BY 1;
SELECT count(*) FROM clinical.monitor_rule_version;
SELECT code, version FROM clinical.rule_evaluation_progress ORDER BY 1, 2;
SELECT clinical.rule_json('EVERY') ->> 'status' AS status;
SELECT version FROM clinical.create_rule(test.rule('{"code": "MINE", "project": "MON"}'));
SELECT version FROM clinical.change_rule('MINE', clinical.rule_json('MINE'), 'r');
SELECT version FROM clinical.cancel_rule_evaluation('MINE');
SELECT version FROM clinical.retire_rule('MINE', 'r');
SELECT test.try($$SELECT clinical.create_rule(test.rule('{"project": "MON-OTHER"}'))$$);
SELECT test.try($$SELECT clinical.create_rule(test.rule('{}'))$$);
SELECT test.try($$SELECT clinical.change_rule('EVERY', clinical.rule_json('EVERY'), 'r')$$);
SELECT test.try($$SELECT clinical.retire_rule('EVERY', 'r')$$);
SELECT test.try($$SELECT clinical.cancel_rule_evaluation('EVERY')$$);
SELECT test.try($$SELECT clinical.change_rule('OTHER', '{}', 'r')$$);
SELECT test.try($$SELECT clinical.retire_rule('OTHER', 'r')$$);
SELECT test.try($$SELECT clinical.cancel_rule_evaluation('OTHER')$$);
SELECT test.try($$SELECT clinical.rule_json('OTHER')$$);
RESET ROLE;
SELECT count(clinical.grant_all_centers('regress_clinical_rules'));
SET ROLE regress_clinical_rules;
SELECT version FROM clinical.change_rule('EVERY', clinical.rule_json('EVERY') || '{"evaluate": false}', 'r');
SELECT version FROM clinical.retire_rule('EVERY', 'r');
SET ROLE regress_clinical_reads;
SELECT code, status FROM clinical.monitor_rule ORDER BY 1;
SELECT test.try($$SELECT clinical.create_rule('{}')$$);
SELECT test.try($$SELECT clinical.retire_rule('OTHER', 'r')$$);
RESET ROLE;
REVOKE USAGE ON SCHEMA test FROM regress_clinical_rules, regress_clinical_reads;
SELECT count(clinical.revoke_all_centers(r)) FROM unnest('{regress_clinical_rules,regress_clinical_reads}'::name[]) r;
SELECT count(clinical.revoke_center('regress_clinical_rules', (SELECT id FROM clinical.center WHERE site_id = 'MON-1')));
DROP ROLE regress_clinical_rules, regress_clinical_reads;
-- what was made here raises no alerts further on
SELECT count(clinical.retire_rule(code, 'end of this part')) FROM clinical.monitor_rule WHERE status = 'active';

-- === alerts: what becomes of them, by reports, corrections and people ===
SET timezone = 'UTC';
SET intervalstyle = postgres;
\pset null '-'
SELECT id AS center FROM clinical.create_center('Alert', 'AL-1') \gset
SELECT id AS other_center FROM clinical.create_center('Alert elsewhere', 'AL-2') \gset
SELECT code FROM clinical.create_project_with_centers('Alert', ARRAY[:center, :other_center], 'ALERT');
SELECT count(clinical.enroll_patient('al-' || g, NULL, NULL, 'ALERT', :center, effective_on => '2026-01-01')) FROM generate_series(1, 9) g;
SELECT id FROM clinical.enroll_patient('al-x', NULL, NULL, 'ALERT', :other_center, effective_on => '2026-01-01');
SELECT version FROM clinical.create_instrument('{"code": "al", "version": "1", "items": [{"code": "bp", "type": "decimal", "unit": "mm[Hg]"}, {"code": "temp", "type": "decimal"}]}');
SELECT instrument FROM clinical.use_instrument('ALERT', 'al', true);
SELECT version FROM clinical.create_rule('{"code": "AL3", "project": "ALERT", "kind": "streak", "items": [{"item": "bp", "range": "[90,140]"}], "days": 3,
    "severity": "serious", "escalate_after": ["1 hour", "2 hours"]}');
SELECT version FROM clinical.create_rule('{"code": "ALGRADE", "project": "ALERT", "kind": "graded", "items": [{"item": "temp"}], "grades": ["[36,38]", "[35,39]", "[34,40]"],
    "severity": "critical"}');

-- readings of one patient, one a day at noon, and what they have led to
CREATE FUNCTION test.bp(patient text, first_day date, VARIADIC readings numeric[]) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(clinical.submit_report(patient, jsonb_build_object('bp', v), captured_at => first_day + interval '12 hours' + (n - 1) * interval '1 day'))
      FROM unnest(readings) WITH ORDINALITY u (v, n) WHERE v IS NOT NULL;
    SELECT clinical.process_reports()
$$;
CREATE FUNCTION test.correct_bp(patient text, day date, corrected numeric) RETURNS int LANGUAGE sql AS $$
    SELECT (clinical.correct_observation(patient, id, corrected::text, 'misread')).version FROM clinical.observation
     WHERE patient_id = patient AND item = 'bp' AND local_day = day AND version = 1
$$;
CREATE VIEW test.alerts AS
    SELECT a.patient_id, rank() OVER (PARTITION BY a.patient_id ORDER BY a.opened_at, a.id) AS n, r.code AS rule, a.status, a.grade, a.onset, a.trigger_day AS trigger, a.last_day AS last,
           a.out_days AS days, a.watch_until, a.supported, a.basis_changed, a.cleared_day AS cleared, a.condition_cleared_at IS NOT NULL AS noticed, a.events,
           a.escalate_at - a.opened_at AS escalates, (SELECT count(*) FROM clinical.alert o WHERE o.patient_id = a.patient_id AND o.opened_at <= f.opened_at) AS follows,
           (SELECT count(*) FROM clinical.alert o WHERE o.patient_id = a.patient_id AND o.opened_at <= i.opened_at) AS merged_into
      FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id
      LEFT JOIN clinical.alert f ON f.patient_id = a.patient_id AND f.id = a.follows
      LEFT JOIN clinical.alert i ON i.patient_id = a.patient_id AND i.id = a.merged_into;
CREATE VIEW test.events AS
    SELECT e.patient_id, (SELECT count(*) FROM clinical.alert o WHERE o.patient_id = a.patient_id AND (o.opened_at, o.id) <= (a.opened_at, a.id)) AS n, e.event_no AS event, e.kind,
           e.status_from AS was, e.status_to AS is, e.onset, e.last_day AS last, e.out_days AS days, e.grade,
           (SELECT string_agg(o.local_day || '=' || o.value, ' ' ORDER BY u.n) FROM unnest(e.evidence) WITH ORDINALITY u (id, n)
              JOIN clinical.observation o ON o.id = u.id AND o.patient_id = e.patient_id AND o.version = 1) AS evidence,
           e.cause, e.submission_id IS NOT NULL AS of_report, e.reason, e.recorded_by = session_user AS by_us
      FROM clinical.alert_event e JOIN clinical.alert a ON a.patient_id = e.patient_id AND a.id = e.alert_id;

-- opened, grown, cleared; a late reading moves it
SELECT test.bp('al-1', '2026-02-02', 150, 151, 152);
SELECT * FROM test.alerts WHERE patient_id = 'al-1';
SELECT test.bp('al-1', '2026-02-05', 153);
SELECT test.bp('al-1', '2026-02-06', 120, 121);
SELECT test.bp('al-1', '2026-02-01', 149);
SELECT * FROM test.alerts WHERE patient_id = 'al-1';
SELECT * FROM test.events WHERE patient_id = 'al-1' ORDER BY n, event;

-- what had cleared is back: the days after were misread
SELECT test.correct_bp('al-1', '2026-02-06', 160);
SELECT test.correct_bp('al-1', '2026-02-07', 161);
SELECT * FROM test.alerts WHERE patient_id = 'al-1';
SELECT * FROM test.events WHERE patient_id = 'al-1' AND event > 3 ORDER BY n, event;

-- corrected away: an open one is retracted, and another follows it
SELECT test.bp('al-2', '2026-02-02', 150, 151, 152);
SELECT test.correct_bp('al-2', '2026-02-03', 130);
SELECT test.correct_bp('al-2', '2026-02-03', 155);
SELECT * FROM test.alerts WHERE patient_id = 'al-2';
SELECT * FROM test.events WHERE patient_id = 'al-2' ORDER BY n, event;

-- acknowledged: it waits for people
CREATE FUNCTION test.acknowledge(patient text, says text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT test.try(format('SELECT concat_ws('' | '', status, basis_changed, acknowledged_by = session_user, closed_by = session_user, close_reason) FROM clinical.acknowledge_alert(%L, %L, %L)', patient, id, says))
      FROM clinical.alert WHERE patient_id = patient ORDER BY opened_at DESC LIMIT 1
$$;
CREATE FUNCTION test.close(patient text, why text) RETURNS text LANGUAGE sql AS $$
    SELECT test.try(format('SELECT concat_ws('' | '', status, basis_changed, acknowledged_by = session_user, closed_by = session_user, close_reason) FROM clinical.close_alert(%L, %L, %L)', patient, id, why))
      FROM clinical.alert WHERE patient_id = patient ORDER BY opened_at DESC LIMIT 1
$$;
SELECT test.acknowledge('al-2', 'called the patient'), test.acknowledge('al-2');
SELECT test.correct_bp('al-2', '2026-02-03', 130);
SELECT * FROM test.alerts WHERE patient_id = 'al-2' AND n = 2;
SELECT status, basis_changed, overdue_since, readings FROM clinical.alert_worklist WHERE patient_id = 'al-2';
SELECT test.acknowledge('al-2', 'looked at it'), test.acknowledge('al-2');
SELECT test.correct_bp('al-2', '2026-02-03', 156);
SELECT * FROM test.alerts WHERE patient_id = 'al-2' AND n = 2;
SELECT test.close('al-2', NULL), test.close('al-2', ''), test.close('al-2', 'moved away'), test.close('al-2', 'twice'), test.acknowledge('al-2');
-- closed, it is not opened again
SELECT test.correct_bp('al-2', '2026-02-03', 131);
SELECT test.correct_bp('al-2', '2026-02-03', 157);
SELECT * FROM test.alerts WHERE patient_id = 'al-2' AND n = 2;
SELECT test.acknowledge('al-2', 'looked again');
SELECT * FROM test.events WHERE patient_id = 'al-2' AND n = 2 ORDER BY event;
SELECT count(*) FROM clinical.alert_worklist WHERE patient_id = 'al-2';
-- growth is no change of what it is based on, another onset is
SELECT test.bp('al-2', '2026-02-05', 153);
SELECT * FROM test.alerts WHERE patient_id = 'al-2' AND n = 2;
SELECT test.bp('al-2', '2026-02-01', 153);
SELECT * FROM test.alerts WHERE patient_id = 'al-2' AND n = 2;

-- other ways; what is retracted is nobody's to handle
SELECT a.status, test.try(format('SELECT clinical.acknowledge_alert(%L, %L)', patient_id, id)), test.try(format('SELECT clinical.close_alert(%L, %L, %L)', patient_id, id, 'r'))
  FROM clinical.alert a WHERE patient_id = 'al-2' AND status = 'retracted';
SELECT test.try($$SELECT clinical.acknowledge_alert(NULL, NULL)$$), test.try($$SELECT clinical.acknowledge_alert('al-1', NULL)$$),
       test.try($$SELECT clinical.acknowledge_alert('al-1', '00000000-0000-0000-0000-000000000000')$$), test.try($$SELECT clinical.close_alert('', '00000000-0000-0000-0000-000000000000', 'r')$$),
       test.try($$SELECT clinical.close_alert('nobody', '00000000-0000-0000-0000-000000000000', 'r')$$);
BEGIN;
SET LOCAL clinical.reason = 'from the transaction';
SELECT test.close('al-1', NULL);
SELECT status_from, status_to, reason FROM clinical.alert_event WHERE patient_id = 'al-1' ORDER BY event_no DESC LIMIT 1;
SELECT reason, count(*) FROM clinical.audit_record WHERE patient_id = 'al-1' AND table_name ~ '^alert' AND reason IS NOT NULL GROUP BY 1;
ROLLBACK;
SELECT test.close('al-1', 'without acknowledging it');
SELECT acknowledged_at = closed_at AS both, escalate_at FROM clinical.alert WHERE patient_id = 'al-1';

-- a late reading joins two streaks: the older alert survives, here the one of the later days, and begins where the other began
SELECT test.bp('al-3', '2026-02-05', 150, 150, 150);
SELECT test.bp('al-3', '2026-02-01', 150, 150, 150);
SELECT test.bp('al-3', '2026-02-04', 150);
SELECT * FROM test.alerts WHERE patient_id = 'al-3';
SELECT n, event, kind, was, "is", onset, last, days, cause FROM test.events WHERE patient_id = 'al-3' ORDER BY n, event;
-- a correction in the middle splits it again: what holds the trigger day keeps the alert
SELECT test.correct_bp('al-3', '2026-02-04', 120);
SELECT * FROM test.alerts WHERE patient_id = 'al-3';
-- the younger was closed: it stays, and waits for people
SELECT test.bp('al-4', '2026-02-01', 150, 150, 150);
SELECT test.bp('al-4', '2026-02-05', 150, 150, 150);
SELECT test.close('al-4', 'r');
SELECT test.bp('al-4', '2026-02-04', 150);
SELECT * FROM test.alerts WHERE patient_id = 'al-4';
SELECT test.acknowledge('al-4', 'looked');
-- once they have looked, it is told of no further day
SELECT test.bp('al-4', '2026-02-08', 150);
SELECT test.bp('al-4', '2026-02-09', 150);
SELECT n, status, supported, basis_changed, days, watch_until, events FROM test.alerts WHERE patient_id = 'al-4';
-- the younger was acknowledged
SELECT test.bp('al-5', '2026-02-01', 150, 150, 150);
SELECT test.bp('al-5', '2026-02-05', 150, 150, 150);
SELECT test.acknowledge('al-5');
SELECT test.bp('al-5', '2026-02-04', 150);
SELECT * FROM test.alerts WHERE patient_id = 'al-5';
SELECT n, event, kind, was, "is" FROM test.events WHERE patient_id = 'al-5' ORDER BY n, event;

-- grades: it rises with the worst day, also for who has acknowledged it
CREATE FUNCTION test.temp(patient text, at timestamptz, reading numeric) RETURNS bigint LANGUAGE sql AS $$
    SELECT clinical.submit_report(patient, jsonb_build_object('temp', reading), captured_at => at);
    SELECT clinical.process_reports()
$$;
SELECT test.temp('al-6', '2026-02-01 12:00', 38.5), test.temp('al-6', '2026-02-02 12:00', 38.7);
SELECT test.acknowledge('al-6');
SELECT test.temp('al-6', '2026-02-03 12:00', 39.5);
SELECT test.temp('al-6', '2026-02-03 13:00', 40.5);
SELECT * FROM test.alerts WHERE patient_id = 'al-6';
SELECT n, event, kind, was, "is", last, grade, evidence FROM test.events WHERE patient_id = 'al-6' ORDER BY n, event;

-- the last hundred readings are its evidence, however long it is; while it grows nothing is told
SELECT test.bp('al-7', '2026-02-02', VARIADIC array_fill(150::numeric, ARRAY[130]));
SELECT test.bp('al-7', '2026-02-01', 150);
SELECT onset, last, days, events FROM test.alerts WHERE patient_id = 'al-7';
SELECT e.event_no, e.kind, cardinality(e.evidence) AS evidence, min(o.local_day), max(o.local_day) FROM clinical.alert_event e, unnest(e.evidence) u JOIN clinical.observation o ON o.patient_id = 'al-7' AND o.id = u
 WHERE e.patient_id = 'al-7' GROUP BY 1, 2, 3 ORDER BY 1;

-- a recurrence within the days of cooldown follows the one that was closed
SELECT version FROM clinical.create_rule('{"code": "ALCOOL", "project": "ALERT", "kind": "threshold", "items": [{"item": "temp", "range": "[36,38]"}], "severity": "info", "cooldown_days": 10}');
SELECT test.temp('al-8', now() - interval '48 hours', 37.5 + 3), test.temp('al-8', now() - interval '24 hours', 37);
SELECT test.close('al-8', 'r');
SELECT (clinical.close_alert(patient_id, id, 'r')).status FROM clinical.alert WHERE patient_id = 'al-8' AND status = 'open';
SELECT test.temp('al-8', now(), 37.5 + 3);
SELECT r.code, a.status, f.status AS follows, f.rule_id = a.rule_id AS same_rule FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id
  LEFT JOIN clinical.alert f ON f.patient_id = a.patient_id AND f.id = a.follows WHERE a.patient_id = 'al-8' ORDER BY a.opened_at, r.code;

-- the worklist: the most urgent first
SELECT test.bp('al-x', '2026-02-01', 150, 160, 170);
SELECT project, site_id, patient_id, rule, severity, grade, status, basis_changed, escalation_level, onset, trigger_day, last_day, out_days, overdue_since, jsonb_array_length(readings) AS readings
  FROM clinical.alert_worklist WHERE project = 'ALERT' AND patient_id <> 'al-8';
SELECT jsonb_pretty(readings) FROM clinical.alert_worklist WHERE patient_id = 'al-x';
SELECT test.correct_bp('al-x', '2026-02-02', 165);
SELECT readings #> '{1,value}' AS value FROM clinical.alert_worklist WHERE patient_id = 'al-x';

-- who may: monitors and investigators, of patients that they see
CREATE ROLE regress_alert_monitor LOGIN;
CREATE ROLE regress_alert_manager LOGIN;
GRANT clinical_monitor TO regress_alert_monitor;
GRANT clinical_data_manager TO regress_alert_manager;
SELECT count(clinical.grant_center(r, :other_center)) FROM unnest('{regress_alert_monitor,regress_alert_manager}'::name[]) r;
GRANT USAGE ON SCHEMA test TO regress_alert_monitor, regress_alert_manager;
SELECT patient_id AS patient, id AS alert FROM clinical.alert WHERE patient_id = 'al-x' \gset
SELECT patient_id AS hidden_patient, id AS hidden FROM clinical.alert WHERE patient_id = 'al-7' \gset
SET ROLE regress_alert_manager;
SELECT count(*) AS alerts, (SELECT count(*) FROM clinical.alert_event) AS events, (SELECT count(*) FROM clinical.alert_worklist) AS worklist FROM clinical.alert;
SELECT test.try(format('SELECT clinical.acknowledge_alert(%L, %L)', :'patient', :'alert'));
SET ROLE regress_alert_monitor;
SELECT patient_id, rule, jsonb_array_length(readings) AS readings FROM clinical.alert_worklist;
SELECT test.try(format('SELECT clinical.acknowledge_alert(%L, %L)', :'hidden_patient', :'hidden')), test.try(format('SELECT clinical.close_alert(%L, %L, %L)', :'hidden_patient', :'hidden', 'r'));
SELECT status, acknowledged_by = session_user AS by_login FROM clinical.acknowledge_alert(:'patient', :'alert', 'seen by Eve');
SELECT test.try('UPDATE clinical.alert SET status = ''closed''');
RESET ROLE;
SELECT kind, reason, recorded_by = session_user AS by_login FROM clinical.alert_event WHERE patient_id = 'al-x' AND kind = 'acknowledged';

-- an open alert that a closed one takes in is shown to somebody all the same
SELECT count(clinical.enroll_patient('al-' || g, NULL, NULL, 'ALERT', :center, effective_on => '2026-01-01')) FROM generate_series(10, 11) g;
SELECT test.bp('al-10', '2026-02-01', 150, 150, 150);
SELECT test.close('al-10', 'seen');
SELECT test.bp('al-10', '2026-02-05', 150, 150, 150);
SELECT test.bp('al-10', '2026-02-04', 150);
SELECT * FROM test.alerts WHERE patient_id = 'al-10';
SELECT n, event, kind, was, "is", onset, last, days, cause FROM test.events WHERE patient_id = 'al-10' ORDER BY n, event;
SELECT status, basis_changed, out_days FROM clinical.alert_worklist WHERE patient_id = 'al-10';
SELECT a.status, e.kind, o.status AS other FROM clinical.alert_event e JOIN clinical.alert a ON a.patient_id = e.patient_id AND a.id = e.alert_id
  JOIN clinical.alert o ON o.patient_id = e.patient_id AND o.id = e.other WHERE e.patient_id = 'al-10' ORDER BY a.status;

-- back-tests are of the rule's project, or of all
SELECT code FROM clinical.create_project_with_centers('Alert too', ARRAY[:other_center], 'ALERT2');
SELECT instrument FROM clinical.use_instrument('ALERT2', 'al', true);
SELECT id FROM clinical.enroll_patient('al-12', NULL, NULL, 'ALERT2', :other_center, effective_on => '2026-01-01');
SELECT test.bp('al-12', '2026-03-01', 150, 150, 150);
SELECT code, string_agg(concat_ws(' ', b.patient_id, onset, trigger_day, last_day, out_days, grade), ', ' ORDER BY b.patient_id)
  FROM unnest('{ALERT,ALERT2,null}'::text[]) code, clinical.rule_backtest(jsonb_build_object('code', 'X', 'project', code, 'kind', 'streak', 'severity', 'info',
       'items', '[{"item": "bp", "range": "[90,140]"}]'::jsonb, 'days', 3), '[2026-02-20,2026-04-01)') b GROUP BY 1 ORDER BY 1;
SELECT test.try($$SELECT * FROM clinical.rule_backtest('{"code": "X", "project": "NONE", "kind": "threshold", "severity": "info", "items": [{"item": "bp", "range": "[90,140]"}]}', '(,)')$$),
       test.try($$SELECT * FROM clinical.rule_backtest(NULL, '(,)')$$), test.try($$SELECT * FROM clinical.rule_backtest('{}', NULL)$$);

-- what a transaction changes is evaluated at once, whatever else it does: alerts are those of a back-test
SELECT code FROM clinical.create_project_with_centers('Alert at once', ARRAY[:other_center], 'ALERT3');
SELECT instrument FROM clinical.use_instrument('ALERT3', 'al', true);
SELECT count(clinical.enroll_patient('at-' || g, NULL, NULL, 'ALERT3', :other_center, effective_on => '2026-01-01')) FROM generate_series(1, 9) g;
SELECT version FROM clinical.create_rule('{"code": "ATONCE", "project": "ALERT3", "kind": "threshold", "items": [{"item": "bp", "range": "[50,90]"}], "severity": "info",
    "clear": {"items": [{"item": "bp", "range": "[60,80]"}], "days": 1}}');
CREATE VIEW test.raised AS SELECT patient_id, code, onset, trigger_day, last_day, out_days FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE a.supported AND a.status NOT IN ('retracted', 'merged');
CREATE FUNCTION test.missed(rule text) RETURNS TABLE (fault text, patient_id text, onset date, trigger_day date, last_day date, out_days int) LANGUAGE sql AS $$
    WITH b AS (SELECT b.patient_id, b.onset, b.trigger_day, b.last_day, b.out_days FROM clinical.rule_backtest(clinical.rule_json(rule), '(,)') b),
         a AS (SELECT a.patient_id, a.onset, a.trigger_day, a.last_day, a.out_days FROM test.raised a WHERE a.code = rule)
    SELECT 'missing', * FROM (TABLE b EXCEPT TABLE a) m UNION ALL SELECT 'wrong', * FROM (TABLE a EXCEPT TABLE b) w
$$;
CREATE FUNCTION test.days(patient text) RETURNS bigint LANGUAGE sql AS $$
    SELECT test.bp(patient, '2026-03-05', 100, 100, NULL, NULL, 85, NULL, 100, 85, 100, 85, 85)
$$;
SELECT count(test.days('at-' || g)) FROM generate_series(1, 5) g;
SELECT patient_id, onset, trigger_day, last_day, out_days FROM test.raised WHERE patient_id = 'at-1' ORDER BY onset;
BEGIN;
SELECT test.correct_bp('at-1', '2026-03-12', 70), test.correct_bp('at-1', '2026-03-14', 100), test.correct_bp('at-1', '2026-03-15', 70), test.correct_bp('at-1', '2026-03-09', 70);
COMMIT;
SELECT patient_id, onset, trigger_day, last_day, out_days FROM test.raised WHERE patient_id = 'at-1' ORDER BY onset;
-- savepoints: what was rolled back is no change
BEGIN;
SELECT test.correct_bp('at-2', '2026-03-12', 70), test.correct_bp('at-2', '2026-03-14', 100);
SAVEPOINT a;
SELECT test.correct_bp('at-2', '2026-03-05', 70);
ROLLBACK TO a;
SAVEPOINT b;
SELECT test.correct_bp('at-2', '2026-03-15', 70), test.correct_bp('at-2', '2026-03-09', 70);
RELEASE b;
-- before the commit, and not twice
SAVEPOINT c;
SET CONSTRAINTS ALL IMMEDIATE;
SELECT * FROM test.missed('ATONCE');
ROLLBACK TO c;
SELECT fault, patient_id, onset FROM test.missed('ATONCE') ORDER BY 1, 3;
SAVEPOINT d;
SET CONSTRAINTS ALL IMMEDIATE;
RELEASE d;
SELECT * FROM test.missed('ATONCE');
SELECT test.correct_bp('at-2', '2026-03-14', 71);
SELECT * FROM test.missed('ATONCE');
COMMIT;
-- reports that come in the same transaction
BEGIN;
SELECT test.correct_bp('at-3', '2026-03-06', 70), test.correct_bp('at-4', '2026-03-05', 70);
SELECT test.bp('at-3', '2026-03-20', 100);
SELECT * FROM test.missed('ATONCE') WHERE patient_id = 'at-3';
SELECT count(*) > 0 AS later FROM test.missed('ATONCE') WHERE patient_id = 'at-4';
SAVEPOINT a;
SELECT test.correct_bp('at-3', '2026-03-05', 70), test.bp('at-4', '2026-03-20', 100);
SELECT * FROM test.missed('ATONCE') WHERE patient_id = 'at-4';
ROLLBACK TO a;
SELECT count(*) > 0 AS later FROM test.missed('ATONCE') WHERE patient_id = 'at-4';
COMMIT;
SELECT * FROM test.missed('ATONCE');
SELECT patient_id, kind, cause FROM clinical.alert_event WHERE patient_id IN ('at-3', 'at-4') AND cause <> 'report' AND event_no > 1 ORDER BY patient_id, event_no, kind;
-- withdrawn and redacted, with corrections
BEGIN;
SELECT count(clinical.withdraw_submission(patient_id, id, 'r')) FROM clinical.submission WHERE patient_id = 'at-5' AND local_day IN ('2026-03-12', '2026-03-05', '2026-03-13');
SELECT test.correct_bp('at-5', '2026-03-15', 70);
SELECT count(clinical.redact('clinical.observation', jsonb_build_object('patient_id', patient_id, 'item', item, 'captured_at', captured_at, 'id', id, 'version', version), '{value}', 'r'))
  FROM clinical.observation WHERE patient_id = 'at-5' AND local_day IN ('2026-03-06', '2026-03-14');
COMMIT;
SELECT * FROM test.missed('ATONCE');
SELECT patient_id, onset, trigger_day, last_day, out_days FROM test.raised WHERE patient_id = 'at-5' ORDER BY onset;
-- versions: what one version lost the version in force takes up, and the other way round
CREATE FUNCTION test.versions(patient text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(concat_ws(' ', a.rule_version, a.status, a.onset, a.trigger_day, a.out_days), ', ' ORDER BY a.onset, a.rule_version) FROM clinical.alert a WHERE patient_id = patient
$$;
SELECT version FROM clinical.create_rule('{"code": "ATDAYS", "project": "ALERT3", "kind": "streak", "days": 3, "items": [{"item": "temp", "range": "[36,38]"}], "severity": "info"}');
CREATE FUNCTION test.temps(patient text, first_day date, VARIADIC readings numeric[]) RETURNS bigint LANGUAGE sql AS $$
    SELECT sum(test.temp(patient, first_day + interval '12 hours' + (n - 1) * interval '1 day', v)) FROM unnest(readings) WITH ORDINALITY u (v, n)
$$;
CREATE FUNCTION test.correct_temp(patient text, day date, corrected numeric) RETURNS int LANGUAGE sql AS $$
    SELECT (clinical.correct_observation(patient_id, id, corrected::text, 'misread')).version FROM clinical.observation
     WHERE patient_id = patient AND item = 'temp' AND local_day = day AND version = 1
$$;
SELECT count(test.temps('at-' || g, '2026-03-01', 39, 39, 39)) FROM generate_series(6, 7) g;
SELECT version FROM clinical.change_rule('ATDAYS', clinical.rule_json('ATDAYS') || '{"days": 2}', 'r');
SELECT test.correct_temp('at-6', '2026-03-03', 37);
SELECT test.versions('at-6');
-- a value in range may matter where another version's alert has held one back
SELECT version FROM clinical.change_rule('ATDAYS', clinical.rule_json('ATDAYS') || '{"days": 3, "gap": 2}', 'r');
SELECT test.temps('at-7', '2026-03-05', 39, 39, 39);
SELECT test.versions('at-7');
SELECT test.temp('at-7', '2026-03-04 12:00', 37);
SELECT test.versions('at-7');
-- the baseline may be older than the readings that count
SELECT test.temp('at-8', '2026-03-01 12:00', 50);
SELECT version FROM clinical.create_rule('{"code": "ATBASE", "project": "ALERT3", "kind": "baseline_change", "baseline": "first", "absolute": "[-10,10]", "items": [{"item": "temp"}],
    "severity": "info", "evaluate": false}');
SELECT test.temp('at-8', now(), 65);
CREATE FUNCTION test.base() RETURNS text LANGUAGE sql AS $$
    SELECT a.status FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id = a.rule_id WHERE patient_id = 'at-8' AND code = 'ATBASE' ORDER BY a.opened_at DESC LIMIT 1
$$;
SELECT test.base();
SELECT test.correct_temp('at-8', '2026-03-01', 60);
SELECT test.base();
SELECT test.correct_temp('at-8', '2026-03-01', 80);
SELECT test.base();
-- it holds the patient, so it cannot be prepared
BEGIN;
SELECT test.correct_bp('at-1', '2026-03-05', 84);
PREPARE TRANSACTION 'at';

-- alerts of two versions whose streaks become one: the older takes the other in, and they part again
SELECT count(clinical.enroll_patient('al-13', NULL, NULL, 'ALERT2', :other_center, effective_on => '2026-01-01'));
SELECT version FROM clinical.create_rule('{"code": "ALV", "project": "ALERT2", "kind": "streak", "items": [{"item": "bp", "range": "[90,140]"}], "days": 3, "severity": "info", "evaluate": false}');
SELECT counts_from IS NULL FROM clinical.change_rule('ALV', clinical.rule_json('ALV') || '{"evaluate": true}', 'all count');
SELECT test.bp('al-13', '2026-03-01', 150, 150, 150);
SELECT version FROM clinical.change_rule('ALV', clinical.rule_json('ALV'), 'the same');
SELECT test.bp('al-13', '2026-03-05', 150, 150, 150);
SELECT test.bp('al-13', '2026-03-04', 150);
SELECT n, rule, status, onset, last, days, supported, merged_into FROM test.alerts WHERE patient_id = 'al-13';
SELECT test.correct_bp('al-13', '2026-03-04', 120);
SELECT n, rule, status, onset, last, days, supported, merged_into FROM test.alerts WHERE patient_id = 'al-13';

-- nobody else writes them, whoever has the right
SELECT w, test.try(w) FROM unnest(ARRAY['UPDATE clinical.alert SET status = ''closed''', 'DELETE FROM clinical.alert', 'INSERT INTO clinical.alert SELECT * FROM clinical.alert', 'TRUNCATE clinical.alert, clinical.alert_event',
    'UPDATE clinical.alert_event SET kind = ''x''', 'DELETE FROM clinical.alert_event', 'INSERT INTO clinical.alert_event SELECT * FROM clinical.alert_event', 'TRUNCATE clinical.alert_event']) w;

-- what somebody said of a person can be destroyed
SELECT operation, jsonb_array_length(changes #> '{0,records}') AS records
  FROM clinical.redact('clinical.alert_event', jsonb_build_object('patient_id', 'al-x', 'alert_id', :'alert', 'event_no', 2), '{reason}', 'a name');
SELECT reason FROM clinical.alert_event WHERE patient_id = 'al-x' AND event_no = 2;
SELECT fault, place, detail FROM clinical.verify_audit();
SELECT table_name, operation, count(*) > 0 AS told FROM clinical.patient_history('al-2') WHERE table_name ~ '^alert' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT invariant, object FROM clinical.check();

-- each invariant is seen broken
CREATE FUNCTION test.broken(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    PERFORM set_config('clinical.restore', 'on', true);
    EXECUTE statement;
    PERFORM set_config('clinical.restore', 'off', true);
    SELECT INTO found string_agg(DISTINCT invariant, '; ' ORDER BY invariant) FROM clinical.check();
    RAISE EXCEPTION USING MESSAGE = coalesce(found, 'nothing'), ERRCODE = 'ZZZZZ';
EXCEPTION WHEN SQLSTATE 'ZZZZZ' THEN
    RETURN SQLERRM;
END
$$;
SELECT b, test.broken(replace(b, 'of al-x', 'WHERE patient_id = ''al-x''')) FROM unnest(ARRAY[
    'DELETE FROM clinical.alert_event of al-x AND event_no = 1', 'UPDATE clinical.alert_event SET status_to = ''open'' of al-x', 'UPDATE clinical.alert SET events = 7 of al-x',
    'UPDATE clinical.alert SET rule_version = 7 of al-x', 'UPDATE clinical.alert SET merged_into = id of al-x', 'UPDATE clinical.alert SET trigger_day = ''2025-01-01'' of al-x',
    'UPDATE clinical.alert SET acknowledged_at = NULL of al-x', 'UPDATE clinical.alert SET escalate_at = now() of al-x', 'UPDATE clinical.alert SET closed_at = now() of al-x',
    'UPDATE clinical.alert SET supported = false WHERE patient_id = ''al-7''', 'UPDATE clinical.alert SET watch_until = ''infinity'' WHERE status = ''merged''',
    'INSERT INTO clinical.alert SELECT (jsonb_populate_record(a, jsonb_build_object(''id'', gen_random_uuid(), ''onset'', a.last_day))).* FROM clinical.alert a of al-x']) b;
SELECT count(clinical.revoke_center(r, :other_center)) FROM unnest('{regress_alert_monitor,regress_alert_manager}'::name[]) r;
REVOKE USAGE ON SCHEMA test FROM regress_alert_monitor, regress_alert_manager;
DROP ROLE regress_alert_manager, regress_alert_monitor;
