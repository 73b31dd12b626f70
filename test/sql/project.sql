-- project: centers, projects, and which takes part in which
SET datestyle = ISO;

-- create_center
SELECT name, site_id, time_zone, country, status, activated_at IS NOT NULL AS activated
  FROM clinical.create_center('Amsterdam', '101', 'Europe/Amsterdam', 'NLD');
SELECT name, site_id, time_zone, country, status, activated_at IS NOT NULL AS activated
  FROM clinical.create_center(name => 'Boston', site_id => '102', time_zone => 'America/New_York', country => 'US', status => 'planned');
SELECT name, site_id, time_zone, country, status FROM clinical.create_center('Curitiba');
-- two without a code are two
SELECT count(DISTINCT id) FROM (SELECT (clinical.create_center('Curitiba')).id FROM generate_series(1, 2)) c;
DELETE FROM clinical.center WHERE name = 'Curitiba' AND id > (SELECT min(id) FROM clinical.center WHERE name = 'Curitiba');
-- again: the same center
SELECT (clinical.create_center('Amsterdam', '101', 'Europe/Amsterdam', 'NLD')).id = (SELECT id FROM clinical.center WHERE site_id = '101') AS same;
SELECT test.try($$SELECT clinical.create_center('Amsterdam', '101', 'Europe/Amsterdam')$$);
SELECT test.try($$SELECT clinical.create_center('Rotterdam', '101', 'Europe/Amsterdam', 'NLD')$$);
SELECT test.try($$SELECT clinical.create_center(NULL)$$);
SELECT test.try($$SELECT clinical.create_center('')$$);
SELECT test.try($$SELECT clinical.create_center('X', '')$$);
SELECT test.try($$SELECT clinical.create_center('X', repeat('s', 256))$$);
SELECT test.try($$SELECT clinical.create_center('X', status => 'open')$$);
SELECT test.try($$SELECT clinical.create_center('X', status => 'closed')$$);
SELECT test.try($$SELECT clinical.create_center('X', status => NULL)$$);
SELECT c, test.try(format('SELECT clinical.create_center(%L, country => %L)', 'X', c))
  FROM unnest('{nl,N,NLDX,N1,""}'::text[]) c;
-- time zones: names as the server spells them, no POSIX rules, no abbreviations
SELECT z, test.try(format('SELECT (clinical.create_center(%L, time_zone => %L)).time_zone', 'Z', z))
  FROM unnest('{UTC,Etc/GMT+5,America/Port-au-Prince,Africa/Porto-Novo,Foo5,EST5EDT,CET,localtime,Factory,posix/Europe/Rome,<+03>-3,America/Foo5,europe/amsterdam,Mars/Phobos,right/UTC,../UTC,"",1,CEST}'::text[]) z;
SELECT test.try(format('SELECT clinical.create_center(%L, time_zone => %L)', 'Z', repeat('z', 100000)));
DELETE FROM clinical.center WHERE name = 'Z';

-- create_project_with_centers
SELECT array_agg(id ORDER BY id) AS centers FROM clinical.center \gset
SELECT code ~ '^PJ-\d+$' AND code = 'PJ-' || id AS code_from_id, name, time_zone, status
  FROM clinical.create_project_with_centers('Pressure', :'centers');
SELECT code, name, time_zone, status
  FROM clinical.create_project_with_centers(name => 'Diary', center_ids => :'centers', code => 'DIARY-1', time_zone => 'Europe/Vienna', status => 'planned');
SELECT count(*) FROM clinical.project_center JOIN clinical.project ON project_id = id WHERE code = 'DIARY-1';
-- a code that the server would have given next is taken: the one after
SELECT 'PJ-' || (last_value + 2) AS next FROM clinical.project_id_seq \gset
SELECT (clinical.create_project_with_centers('Squatter', :'centers', :'next')).code = :'next' AS taken;
SELECT code = 'PJ-' || id AS code_from_id, code <> :'next' AS not_taken FROM clinical.create_project_with_centers('Next', :'centers');
-- again: the same project, whatever the order of the centers
SELECT (clinical.create_project_with_centers('Diary', ARRAY(SELECT unnest(:'centers'::bigint[]) ORDER BY 1 DESC), 'DIARY-1', 'Europe/Vienna')).id
       = (SELECT id FROM clinical.project WHERE code = 'DIARY-1') AS same;
SELECT test.try(format($$SELECT clinical.create_project_with_centers('Other', %L, 'DIARY-1', 'Europe/Vienna')$$, :'centers'));
SELECT test.try(format($$SELECT clinical.create_project_with_centers('Diary', %L, 'DIARY-1')$$, :'centers'));
SELECT test.try(format($$SELECT clinical.create_project_with_centers('Diary', %L, 'DIARY-1', 'Europe/Vienna')$$, (:'centers'::bigint[])[:2]));
-- codes are exact
SELECT (clinical.create_project_with_centers('Diary', :'centers', 'diary-1', 'Europe/Vienna')).code;
SELECT count(*) AS projects FROM clinical.project \gset
SELECT test.try($$SELECT clinical.create_project_with_centers('X', '{9000000001, 9000000000}')$$);
SELECT test.try(format($$SELECT clinical.create_project_with_centers('X', %L::bigint[] || 9000000000)$$, :'centers'));
SELECT test.try($$SELECT clinical.create_project_with_centers('X', ARRAY(SELECT 9000000000 + g FROM generate_series(1, 30) g))$$);
SELECT test.try($$SELECT clinical.create_project_with_centers('X', ARRAY[-1, 0, 9223372036854775807])$$);
SELECT test.try($$SELECT clinical.create_project_with_centers(NULL, '{1}')$$);
SELECT test.try($$SELECT clinical.create_project_with_centers('', '{1}')$$);
SELECT test.try($$SELECT clinical.create_project_with_centers('X', NULL)$$);
SELECT test.try($$SELECT clinical.create_project_with_centers('X', '{}')$$);
SELECT test.try($$SELECT clinical.create_project_with_centers('X', '{1, NULL}')$$);
SELECT test.try($$SELECT clinical.create_project_with_centers('X', '{{1, 2}}')$$);
SELECT test.try($$SELECT clinical.create_project_with_centers('X', '{3, 1, 2, 3}')$$);
SELECT test.try($$SELECT clinical.create_project_with_centers('X', '{1}', '')$$);
SELECT test.try(format($$SELECT clinical.create_project_with_centers('X', %L, time_zone => 'Nowhere')$$, :'centers'));
SELECT test.try(format($$SELECT clinical.create_project_with_centers('X', %L, status => 'suspended')$$, :'centers'));
SELECT test.try(format($$SELECT clinical.create_project_with_centers('X', %L, status => NULL)$$, :'centers'));
-- of all those nothing is left
SELECT count(*) - :projects AS more_projects FROM clinical.project;
-- an array that does not begin at 1
SELECT (clinical.create_project_with_centers('Shifted', ('[5:5]={' || (:'centers'::bigint[])[1] || '}')::bigint[], 'SHIFT')).code;

-- centers come and go
SELECT (:'centers'::bigint[])[1] AS c1, (:'centers'::bigint[])[2] AS c2 \gset
SELECT center_id = :c2 AS added FROM clinical.add_center('SHIFT', :c2);
SELECT center_id = :c2 AS there_already FROM clinical.add_center('SHIFT', :c2);
SELECT test.try($$SELECT clinical.add_center('SHIFT', 9000000000)$$);
SELECT test.try($$SELECT clinical.add_center('NOPE', 1)$$);
SELECT test.try($$SELECT clinical.add_center(NULL, 1)$$);
SELECT test.try($$SELECT clinical.add_center('SHIFT', NULL)$$);
SELECT planned_enrolment, enrolment_from, enrolment_to FROM clinical.plan_enrolment('SHIFT', :c2, 20, '2026-01-01', '2026-06-30');
SELECT a, test.try('SELECT clinical.plan_enrolment(' || a || ')') FROM unnest(ARRAY[
    format('''SHIFT'', %s, -1, ''2026-01-01'', ''2026-06-30''', :c2),
    format('''SHIFT'', %s, 1, ''2026-06-30'', ''2026-01-01''', :c2),
    format('''SHIFT'', %s, 1, ''-infinity'', ''2026-01-01''', :c2),
    format('''SHIFT'', %s, NULL, ''2026-01-01'', ''2026-06-30''', :c2),
    format('''SHIFT'', %s, 1, NULL, ''2026-06-30''', :c2),
    '''SHIFT'', NULL, 1, ''2026-01-01'', ''2026-06-30''',
    '''SHIFT'', 9000000000, 1, ''2026-01-01'', ''2026-06-30''',
    ''''', 1, 1, ''2026-01-01'', ''2026-06-30''']) AS a;
SELECT test.try(format($$SELECT clinical.remove_center('SHIFT', %s, NULL)$$, :c2));
SELECT test.try(format($$SELECT clinical.remove_center('SHIFT', %s, '  ')$$, :c2));
SELECT center_id = :c2 AS removed, planned_enrolment FROM clinical.remove_center('SHIFT', :c2, 'closed before it began');
SELECT test.try(format($$SELECT clinical.remove_center('SHIFT', %s, 'again')$$, 9000000000));
-- the transaction's reason serves too, and is not changed by a function's own
BEGIN;
SET LOCAL clinical.reason = 'protocol amendment 2';
SET LOCAL clinical.actor = 'dr.who';
SELECT count(*) FROM clinical.add_center('SHIFT', :c2);
SELECT count(*) FROM clinical.remove_center('SHIFT', :c2, 'my own reason');
SHOW clinical.reason;
SELECT count(*) FROM clinical.add_center('SHIFT', :c2);
DELETE FROM clinical.project_center pc USING clinical.project p WHERE p.id = pc.project_id AND p.code = 'SHIFT' AND pc.center_id = :c2;
COMMIT;
SELECT test.try(format('DELETE FROM clinical.project_center WHERE center_id = %s', :c2));
SELECT event, e.status, e.center_id = :c2 AS second, reason, recorded_by = session_user AS by_me, actor
  FROM clinical.project_event e JOIN clinical.project p ON p.id = project_id WHERE code = 'SHIFT' ORDER BY e.id;
SELECT test.try(format('UPDATE clinical.project_center SET center_id = %s WHERE center_id = %s', :c2, :c1));
SELECT test.try('UPDATE clinical.center SET id = DEFAULT');
SELECT test.try('UPDATE clinical.project SET id = DEFAULT');

-- states: every way, tried
CREATE TABLE test.state (state text);
INSERT INTO test.state VALUES ('planned'), ('active'), ('suspended'), ('closed');
CREATE FUNCTION test.way(kind text, from_state text, to_state text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    path text[] := CASE from_state WHEN 'planned' THEN '{}' WHEN 'active' THEN '{active}'
                   WHEN 'suspended' THEN '{active,suspended}' ELSE '{active,suspended,closed}' END;
    way text;
    answer text;
BEGIN
    INSERT INTO clinical.center (name, site_id, status) VALUES ('way', 'WAY', 'planned');
    INSERT INTO clinical.project (name, code, status) VALUES ('way', 'WAY', 'planned');
    FOREACH way IN ARRAY path || to_state LOOP
        answer := test.try(CASE kind
            WHEN 'center' THEN format('SELECT (clinical.set_center_status(%s, %L)).status', (SELECT id FROM clinical.center WHERE site_id = 'WAY'), way)
            ELSE format('SELECT (clinical.set_project_status(%L, %L)).status', 'WAY', way) END);
    END LOOP;
    DELETE FROM clinical.center WHERE site_id = 'WAY';
    DELETE FROM clinical.project WHERE code = 'WAY';
    RETURN answer;
END
$$;
SELECT f.state AS from_state, t.state AS to_state, test.way('center', f.state, t.state) AS center,
       test.way('project', f.state, t.state) AS project
  FROM test.state f, test.state t ORDER BY 1, 2;
SELECT test.try('SELECT clinical.set_center_status(9000000000, ''active'')');
SELECT test.try('SELECT clinical.set_center_status(NULL, ''active'')');
SELECT test.try(format('SELECT clinical.set_center_status(%s, NULL)', :c1));
SELECT test.try(format('SELECT clinical.set_center_status(%s, ''open'')', :c1));
SELECT test.try('SELECT clinical.set_project_status(''NOPE'', ''active'')');
SELECT test.try('SELECT clinical.set_project_status('''', ''active'')');
SELECT test.try('SELECT clinical.set_project_status(''SHIFT'', '''')');
-- with its reason; activation is dated once
SELECT id AS boston FROM clinical.center WHERE site_id = '102' \gset
SELECT status FROM clinical.set_center_status(:boston, 'active');
SELECT activated_at AS first FROM clinical.center WHERE id = :boston \gset
SELECT status FROM clinical.set_center_status(:boston, 'suspended', 'no investigator');
SELECT status, activated_at = :'first' AS kept FROM clinical.set_center_status(:boston, 'active');
SELECT status, reason FROM clinical.center_event WHERE center_id = :boston ORDER BY id;
SELECT status FROM clinical.set_project_status('DIARY-1', 'active', 'first patient expected');
SELECT e.status, reason FROM clinical.project_event e JOIN clinical.project p ON p.id = project_id
 WHERE code = 'DIARY-1' AND event = 'status' ORDER BY e.id;
-- histories are the server's
SELECT test.try('INSERT INTO clinical.center_event (center_id, status) VALUES (1, ''closed'')');
SELECT test.try('UPDATE clinical.center_event SET reason = NULL');
SELECT test.try('DELETE FROM clinical.project_event');
SELECT test.try('TRUNCATE clinical.project_event');

-- COPY keeps the rules
COPY clinical.center (name, time_zone) FROM stdin;
Nowhere	Nowhere
\.
COPY clinical.project (name, status) FROM stdin;
Backwards	closed
\.
COPY clinical.project (name, time_zone) FROM stdin;
Copied	Asia/Tokyo
\.
SELECT code = 'PJ-' || id AS code_from_id, status FROM clinical.project WHERE name = 'Copied';
SELECT e.event, e.status FROM clinical.project_event e JOIN clinical.project p ON p.id = project_id WHERE name = 'Copied';

-- documents
SELECT jsonb_pretty(clinical.project_json('DIARY-1') #- '{id}' #- '{centers,0,id}' #- '{centers,1,id}' #- '{centers,2,id}');
SELECT jsonb_agg(c -> 'id' ORDER BY c -> 'id') = to_jsonb(:'centers'::bigint[]) AS ids FROM jsonb_array_elements(clinical.project_json('DIARY-1') -> 'centers') c;
SELECT clinical.project_json(code) -> 'centers' AS no_centers FROM clinical.project WHERE name = 'Copied';
SELECT test.try('SELECT clinical.project_json(''diary-2'')');
SELECT test.try('SELECT clinical.project_json('''')');
SELECT test.try('SELECT clinical.project_json(NULL)');
SELECT jsonb_array_length(clinical.projects_json()) = (SELECT count(*) FROM clinical.project) AS all_there,
       clinical.projects_json() @> jsonb_build_array(clinical.project_json('DIARY-1')) AS same_documents;
-- a date is ISO 8601 whatever the session's style
SET datestyle = 'German';
SELECT clinical.plan_enrolment('DIARY-1', :c1, 5, '2026-01-02', '2026-01-31') IS NOT NULL AS planned;
SELECT clinical.project_json('DIARY-1') -> 'centers' -> 0 ->> 'enrolmentFrom' AS iso;
SET datestyle = ISO;

-- the reason of a savepoint that is rolled back is gone with it
BEGIN;
SAVEPOINT s;
SET LOCAL clinical.reason = 'rolled back';
ROLLBACK TO s;
SELECT test.try(format('SELECT clinical.remove_center(''DIARY-1'', %s, NULL)', :c1));
COMMIT;
-- of a function that fails, too
SELECT test.try(format('SELECT clinical.remove_center(''DIARY-1'', %s, %L)', 9000000000, 'fails'));
SHOW clinical.reason;
-- the invariants hold, and each is seen broken
SELECT count(*) FROM clinical.check();
BEGIN;
SET LOCAL clinical.restore = on;
UPDATE clinical.center SET status = 'closed' WHERE id = :c1;
UPDATE clinical.project SET status = 'planned' WHERE code = 'SHIFT';
DELETE FROM clinical.project_center WHERE center_id = :c1 AND project_id = (SELECT id FROM clinical.project WHERE code = 'SHIFT');
SELECT invariant, detail FROM clinical.check() ORDER BY 1;
ROLLBACK;
DROP FUNCTION test.way;
DROP TABLE test.state;
