-- access.sql: two logins with the same rights, at one more center of 5,000 patients whose ids follow
-- each other; row level security applies to the first of them alone.
SELECT count(clinical.add_center('BENCH', 18));
INSERT INTO clinical.patient (id, project_id, center_id, status, status_on, name, birth_date, sex, record)
SELECT id, project_id, 18, status, status_on, name, birth_date, sex, record FROM bench.patients(30000001, 5000);
CREATE ROLE bench_site LOGIN;
CREATE ROLE bench_free LOGIN BYPASSRLS;
GRANT clinical_investigator TO bench_site, bench_free;
SELECT clinical.grant_center('bench_site', 18), clinical.grant_center('bench_free', 18);
VACUUM (FREEZE, ANALYZE) clinical.patient, clinical.record_version, clinical.enrollment_event;
