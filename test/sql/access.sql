-- access: roles, membership, and what a caller may see (the matrix of roles and
-- statements is in test/t)
SET datestyle = ISO;
CREATE ROLE regress_ann;
CREATE ROLE regress_bob;
CREATE ROLE regress_site;
CREATE ROLE regress_auditor;
CREATE ROLE regress_admin;
GRANT clinical_auditor TO regress_auditor;
GRANT clinical_admin TO regress_admin;

-- the roles that the extension made
SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, rolcanlogin, rolconnlimit
  FROM pg_roles WHERE rolname ~ '^clinical_' ORDER BY 1;

-- two centers that nobody else uses
SELECT id AS c1 FROM clinical.create_center('Access 1', 'ACC1') \gset
SELECT id AS c2 FROM clinical.create_center('Access 2', 'ACC2') \gset
SELECT id AS c3 FROM clinical.create_center('Access 3', 'ACC3') \gset
SELECT id AS p1 FROM clinical.create_project_with_centers('Access A', ARRAY[:c1, :c2], 'ACC-A') \gset
SELECT id AS p2 FROM clinical.create_project_with_centers('Access B', ARRAY[:c2, :c3], 'ACC-B') \gset
SELECT count(clinical.enroll_patient(i, 'name ' || i, '1950-01-01', p, c, '{"a": 1}', effective_on => '2026-01-10'))
  FROM (VALUES ('ACC-A1', 'ACC-A', :c1), ('ACC-A2', 'ACC-A', :c2), ('ACC-B2', 'ACC-B', :c2), ('ACC-B3', 'ACC-B', :c3)) v (i, p, c);
-- what the current user sees of them
CREATE FUNCTION test.seen() RETURNS TABLE (patients text, found text, centers text, projects text, events bigint) LANGUAGE sql AS $$
    SELECT (SELECT string_agg(id, ' ' ORDER BY id) FROM clinical.patient WHERE id ~ '^ACC'),
           (SELECT string_agg(id, ' ' ORDER BY id) FROM clinical.find_patients(after_id => 'ACC', page_size => 4)),
           (SELECT string_agg(site_id, ' ' ORDER BY id) FROM clinical.center WHERE site_id ~ '^ACC'),
           (SELECT string_agg(code, ' ' ORDER BY id) FROM clinical.project WHERE code ~ '^ACC'),
           (SELECT count(*) FROM clinical.enrollment_event WHERE patient_id ~ '^ACC')
$$;
GRANT USAGE ON SCHEMA test TO PUBLIC;

-- nobody, then a role without a center, then with one
SET ROLE regress_ann;
SELECT test.try('SELECT * FROM clinical.patient');
RESET ROLE;
GRANT clinical_intake TO regress_ann;
SET ROLE regress_ann;
SELECT role, roles, centers, problem FROM clinical.whoami();
SELECT test.try('SELECT * FROM clinical.patient');
RESET ROLE;
REVOKE clinical_intake FROM regress_ann;
GRANT clinical_monitor TO regress_ann;
SET ROLE regress_ann;
SELECT role, roles, centers, problem FROM clinical.whoami();
SELECT * FROM test.seen();
RESET ROLE;
SELECT role, center_id = :c1 AS center, project_id FROM clinical.grant_center('regress_ann', :c1);
SELECT count(*) FROM clinical.grant_center('regress_ann', :c1);
SET ROLE regress_ann;
SET clinical.actor = 'Dr Ann';
SELECT role, actor, roles, centers #- '{0,center}' AS centers, problem FROM clinical.whoami();
RESET clinical.actor;
SELECT * FROM test.seen();
-- one that it may not see answers like one that does not exist
SELECT test.try('SELECT clinical.get_patient(''ACC-B3'')') = test.try('SELECT clinical.get_patient(''nobody'')') AS same,
       test.try('SELECT clinical.patient_json(''ACC-B3'')') = test.try('SELECT clinical.patient_json(''nobody'')') AS same,
       test.try('SELECT clinical.time_zone_at(''ACC-B3'', now())') = test.try('SELECT clinical.time_zone_at(''nobody'', now())') AS same,
       test.try('SELECT clinical.project_json(''ACC-B'')') = test.try('SELECT clinical.project_json(''ACC-X'')') AS differs_by_code,
       test.try('SELECT count(*) FROM clinical.find_patients(record_contains => ''{"a": 1}'', after_id => ''ACC-A2'', page_size => 2)');
SELECT test.try('SELECT clinical.find_patients(''ACC-B'')'), split_part(test.try(format('SELECT clinical.find_patients(center_id => %s)', :c3)), E'\n', 1);
RESET ROLE;
-- in one project only; effective from the next statement, in an old snapshot and behind a kept plan too
SELECT count(*) FROM clinical.grant_center('regress_ann', :c2, 'ACC-B');
SET ROLE regress_ann;
SELECT * FROM test.seen();
RESET ROLE;
PREPARE mine AS SELECT string_agg(id, ' ' ORDER BY id) FROM clinical.patient WHERE id ~ '^ACC';
BEGIN ISOLATION LEVEL REPEATABLE READ;
EXECUTE mine;
SET LOCAL ROLE regress_ann;
EXECUTE mine;
RESET ROLE;
SELECT count(*) FROM clinical.revoke_center('regress_ann', :c1);
SET LOCAL ROLE regress_ann;
EXECUTE mine;
ROLLBACK;
SET ROLE regress_ann;
EXECUTE mine;
RESET ROLE;
SELECT count(*) FROM clinical.revoke_center('regress_ann', :c1);
SET ROLE regress_ann;
EXECUTE mine;
RESET ROLE;
SELECT test.try(format('SELECT clinical.revoke_center(''regress_ann'', %s)', :c1));
-- through a group, and by SET ROLE where the login inherits nothing
GRANT regress_site TO regress_ann;
SELECT count(*) FROM clinical.grant_center('regress_site', :c3);
SET ROLE regress_ann;
EXECUTE mine;
RESET ROLE;
REVOKE regress_site FROM regress_ann;
SET ROLE regress_ann;
EXECUTE mine;
RESET ROLE;
-- all centers, of a project and of all
SELECT center_id, project_id = :p1 AS project FROM clinical.grant_all_centers('regress_bob', 'ACC-A');
GRANT clinical_data_manager TO regress_bob;
SET ROLE regress_bob;
SELECT * FROM test.seen();
RESET ROLE;
SELECT center_id, project_id FROM clinical.grant_all_centers('regress_bob');
SELECT count(*) FROM clinical.revoke_all_centers('regress_bob', 'ACC-A');
SET ROLE regress_bob;
SELECT * FROM test.seen();
SELECT test.try($$SELECT clinical.amend_record('ACC-A1', '{"a": 2}', 'corrected')$$);
SELECT test.try($$SELECT clinical.set_patient_status('ACC-A1', 'completed', '2026-02-01')$$);
SELECT test.try($$SELECT clinical.grant_center('regress_bob', 1)$$);
SELECT test.try($$INSERT INTO clinical.membership (role) VALUES ('regress_bob')$$);
RESET ROLE;
-- auditors see all and write nothing; administrators see no patients
SET ROLE regress_auditor;
SELECT * FROM test.seen();
SELECT test.try($$SELECT clinical.amend_record('ACC-A1', '{"a": 3}', 'r')$$), test.try('DELETE FROM clinical.patient'),
       test.try('TRUNCATE clinical.patient');
SELECT problem FROM clinical.whoami();
SELECT count(*) FROM clinical.check();
SET ROLE regress_admin;
SELECT test.try('SELECT * FROM clinical.patient'), test.try('SELECT clinical.get_patient(''ACC-A1'')');
SELECT problem FROM clinical.whoami();
SELECT role, center_id = :c1 AS center FROM clinical.grant_center('regress_site', :c1);
SELECT test.try('SELECT clinical.check()');
RESET ROLE;
-- statisticians: no names, no days of birth
CREATE ROLE regress_stat;
GRANT clinical_statistician TO regress_stat;
SELECT count(*) FROM clinical.grant_all_centers('regress_stat');
SET ROLE regress_stat;
SELECT id, birth_year, record FROM clinical.patient WHERE id ~ '^ACC' ORDER BY id LIMIT 1;
SELECT test.try('SELECT name FROM clinical.patient'), test.try('SELECT birth_date FROM clinical.patient'), test.try('SELECT clinical.find_patients()');
RESET ROLE;
-- an investigator's own work, at both ends of a transfer
GRANT clinical_investigator TO regress_site;
SET ROLE regress_site;
SELECT id FROM clinical.enroll_patient('ACC-A9', NULL, NULL, 'ACC-A', :c1, effective_on => '2026-01-10');
SELECT split_part(test.try(format($$SELECT clinical.enroll_patient('ACC-A8', NULL, NULL, 'ACC-A', %s)$$, :c2)), E'\n', 1);
SELECT test.try(format($$INSERT INTO clinical.patient (id, project_id, center_id, status, status_on) VALUES ('ACC-A8', %s, %s, 'enrolled', '2026-01-10')$$, :p1, :c2));
SELECT split_part(test.try(format($$SELECT clinical.transfer_patient('ACC-A9', %s, '2026-02-01', 'moved')$$, :c2)), E'\n', 1);
SELECT test.try($$INSERT INTO clinical.enrollment_event (patient_id, status, effective_on) VALUES ('ACC-A2', 'completed', '2026-02-01')$$);
SELECT test.try($$INSERT INTO clinical.patient_time_zone (patient_id, time_zone, effective_from) VALUES ('ACC-A2', 'UTC', '2026-02-01')$$);
SELECT test.try($$UPDATE clinical.patient SET center_id = 1 WHERE id = 'ACC-A9'$$);
RESET ROLE;
SELECT count(*) FROM clinical.grant_center('regress_site', :c2);
SET ROLE regress_site;
SELECT center_id = :c2 AS moved FROM clinical.transfer_patient('ACC-A9', :c2, '2026-02-01', 'moved');
RESET ROLE;
-- membership itself
SELECT test.try('SELECT clinical.grant_center(NULL, 1)'), test.try('SELECT clinical.grant_center(''regress_ann'', NULL)'),
       test.try('SELECT clinical.grant_center(''regress_no_such'', 1)'), test.try('SELECT clinical.grant_center(''regress_ann'', 0)'),
       test.try('SELECT clinical.grant_center(''regress_ann'', 1, ''ACC-X'')'), test.try('SELECT clinical.grant_center(''regress_ann'', 1, '''')'),
       test.try('SELECT clinical.revoke_all_centers(''regress_ann'')');
SELECT test.try('UPDATE clinical.membership SET center_id = NULL'), test.try('INSERT INTO clinical.membership (role) VALUES (0)'),
       test.try('INSERT INTO clinical.membership (role) VALUES (NULL)');
INSERT INTO clinical.membership (role, center_id, recorded_by, actor) VALUES ('regress_ann', :c2, 'somebody', 'else');
SELECT recorded_by = SESSION_USER AS stamped, actor FROM clinical.membership WHERE role = 'regress_ann'::regrole AND center_id = :c2 AND project_id IS NULL;
-- a role that is dropped and made again inherits nothing; the old row is found
SELECT center_id = :c3 AS center FROM clinical.grant_center('regress_stat', :c3);
REVOKE clinical_statistician FROM regress_stat;
DROP ROLE regress_stat;
CREATE ROLE regress_stat;
GRANT clinical_statistician TO regress_stat;
SET ROLE regress_stat;
SELECT count(*) FROM clinical.patient;
RESET ROLE;
SELECT invariant, detail, count(*) FROM clinical.check() GROUP BY 1, 2;
DELETE FROM clinical.membership m WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = m.role);

DELETE FROM clinical.membership WHERE role::text ~ '^regress_';
SELECT count(*) FROM clinical.check();
DROP ROLE regress_ann, regress_bob, regress_site, regress_auditor, regress_admin, regress_stat;
