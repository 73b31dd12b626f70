-- gateway.sql: what bench/gateway asks for: 10,000 patients of a center, and the roles of those who ask.
CREATE EXTENSION IF NOT EXISTS clinical;
SELECT clinical.create_center('Bench', 'GW');
SELECT clinical.create_project_with_centers('Gateway', ARRAY[(SELECT id FROM clinical.center WHERE site_id = 'GW')], 'GW');
SELECT clinical.create_instrument('{"code": "diary", "version": "1", "items": [
    {"code": "systolic", "type": "integer"}, {"code": "diastolic", "type": "integer"}, {"code": "pulse", "type": "integer"},
    {"code": "pain", "type": "integer"}, {"code": "note", "type": "text"}]}');
SELECT clinical.use_instrument('GW', 'diary', true);
SELECT count(clinical.enroll_patient('P' || g, 'Name of ' || g, '1950-05-17', 'GW', (SELECT id FROM clinical.center WHERE site_id = 'GW'),
           jsonb_build_object('arm', 'A', 'device', jsonb_build_object('serial', 'BP' || g, 'cuff', 'medium'),
                              'history', jsonb_build_array(jsonb_build_object('code', 'I10', 'since', 2014))), effective_on => '2026-01-10'))
  FROM generate_series(1, 10000) g;
CREATE ROLE nurse;
CREATE ROLE phone;
CREATE ROLE gateway LOGIN NOINHERIT;
GRANT clinical_investigator TO nurse;
GRANT clinical_intake TO phone;
GRANT nurse, phone TO gateway;
SELECT clinical.grant_center('nurse', (SELECT id FROM clinical.center WHERE site_id = 'GW'));
-- what is staged here is thrown away
SELECT clinical.stop_workers();
VACUUM ANALYZE;
