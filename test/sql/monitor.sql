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
