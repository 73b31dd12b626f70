-- report_item: statistics of items, coded items, corrections.
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT count(*) FROM (SELECT clinical.stop_workers()) s;
SELECT count(clinical.create_center('Center ' || n, 'RI' || n, 'UTC')) FROM generate_series(1, 2) n;
SELECT code FROM clinical.create_project_with_centers('Report of items', (SELECT array_agg(id ORDER BY id) FROM clinical.center WHERE site_id LIKE 'RI_'), 'RI', 'UTC');
SELECT version FROM clinical.create_instrument('{"code": "ri-form", "version": "1", "items": [
    {"code": "ri_pain", "label": "Pain, 0 to 10", "type": "integer", "checks": [{"id": "much", "comparator": "LE", "values": [8], "soft_hard": "Soft"}]},
    {"code": "ri_weight", "label": "Weight", "type": "quantity", "unit": "kg"},
    {"code": "ri_woken", "label": "Woken?", "type": "boolean"},
    {"code": "ri_note", "label": "Anything else?", "type": "text"},
    {"code": "ri_visit", "label": "Visit", "type": "coded", "code_list": [{"code": "V1", "label": "Week 1"}, {"code": "V2", "label": "Week 2"}]},
    {"code": "ri_event", "type": "group", "repeats": true, "items": [
        {"code": "ri_term", "label": "Term", "type": "coded", "code_list": [{"code": "nausea", "label": "Nausea"}, {"code": "vomiting"}, {"code": "headache", "label": "Headache"}]},
        {"code": "ri_class", "label": "Body system", "type": "coded", "code_list": [{"code": "GI", "label": "Gastrointestinal"}, {"code": "NERV", "label": "Nervous"}]}]}],
    "scores": [{"code": "ri_score", "label": "Twice asked", "method": "sum", "items": ["ri_pain"]}]}');
SELECT instrument FROM clinical.use_instrument('RI', 'ri-form', true);
SELECT id FROM clinical.enroll_patient('RI-1', NULL, NULL, 'RI', (SELECT id FROM clinical.center WHERE site_id = 'RI1'), '{"arm": "A"}', effective_on => '2025-06-01');
SELECT id FROM clinical.enroll_patient('RI-2', NULL, NULL, 'RI', (SELECT id FROM clinical.center WHERE site_id = 'RI2'), '{"arm": "B"}', effective_on => '2025-06-01');
SELECT id FROM clinical.enroll_patient('RI-3', NULL, NULL, 'RI', (SELECT id FROM clinical.center WHERE site_id = 'RI2'), '{"arm": "B"}', effective_on => '2025-06-01');

CREATE FUNCTION pg_temp.rows(section text, name text, options jsonb DEFAULT '{}') RETURNS SETOF jsonb LANGUAGE sql AS $$
    SELECT r.value
      FROM clinical.generate_report('RI', '[2025-07-01,2025-10-01)', options || jsonb_build_object('sections', jsonb_build_array(section))) d,
           jsonb_array_elements(d -> 'body' -> section -> 'tables') t, jsonb_array_elements(t -> 'rows') WITH ORDINALITY r
     WHERE t ->> 'name' = rows.name ORDER BY r.ordinality
$$;
-- nothing yet
SELECT pg_temp.rows('items', t) FROM unnest('{items,codes}'::text[]) t;
SELECT pg_temp.rows('quality', 'corrections');

SELECT outcome, count(*) FROM clinical.submit_reports('[
    {"patient_id": "RI-1", "captured_at": "2025-06-30T12:00:00Z", "submission_id": "00000000-0000-4000-8000-000000000001", "report_data": {"ri_pain": 10}},
    {"patient_id": "RI-1", "captured_at": "2025-07-01T12:00:00Z", "submission_id": "00000000-0000-4000-8000-000000000002", "report_data": {"ri_pain": 3, "ri_weight": {"value": 70, "unit": "kg"}, "ri_woken": true, "ri_visit": "V1",
        "ri_event": [{"ri_term": "nausea", "ri_class": "GI"}, {"ri_term": "headache", "ri_class": "NERV"}, {"ri_term": "nausea", "ri_class": "GI"}]}},
    {"patient_id": "RI-1", "captured_at": "2025-08-01T12:00:00Z", "submission_id": "00000000-0000-4000-8000-000000000003", "report_data": {"ri_pain": 9, "ri_weight": {"value": 70.50, "unit": "kg"}, "ri_woken": false, "ri_visit": "V2"}},
    {"patient_id": "RI-2", "captured_at": "2025-07-02T12:00:00Z", "submission_id": "00000000-0000-4000-8000-000000000004", "report_data": {"ri_pain": 4, "ri_weight": {"absent": "asked-declined"}, "ri_note": "none", "ri_visit": "V1",
        "ri_event": [{"ri_term": "vomiting", "ri_class": "GI"}]}},
    {"patient_id": "RI-2", "captured_at": "2025-09-30T23:59:59Z", "submission_id": "00000000-0000-4000-8000-000000000005", "report_data": {"ri_pain": 6}},
    {"patient_id": "RI-2", "captured_at": "2025-10-01T00:00:00Z", "submission_id": "00000000-0000-4000-8000-000000000006", "report_data": {"ri_pain": 10}},
    {"patient_id": "RI-3", "captured_at": "2025-07-03T12:00:00Z", "submission_id": "00000000-0000-4000-8000-000000000007", "report_data": {"ri_pain": 10}}]') GROUP BY 1;
SELECT clinical.process_reports() AS processed;
SELECT status FROM clinical.withdraw_submission('RI-3', '00000000-0000-4000-8000-000000000007', 'wrong patient');
SELECT c.version, c.value FROM clinical.observation o, clinical.correct_observation('RI-2', o.id, '5', 'typing error') c
 WHERE o.patient_id = 'RI-2' AND o.item = 'ri_pain' AND o.local_day = '2025-07-02';

-- === items: of the period, by the days of the patients; what was withdrawn is not there, what was corrected once ===
SELECT pg_temp.rows('items', 'items') - 'label';
SELECT DISTINCT r ->> 'item' AS item, r ->> 'label' AS label FROM pg_temp.rows('items', 'items') r ORDER BY 1;
SELECT r ->> 'by' AS by, r ->> 'n' AS n, r ->> 'mean' AS mean, r ->> 'sd' AS sd FROM pg_temp.rows('items', 'items', '{"by": ["arm"]}') r WHERE r ->> 'item' = 'ri_pain' AND r ->> 'month' IS NULL;
-- who has no such key
SELECT r ->> 'by' AS by, r ->> 'n' AS n FROM pg_temp.rows('items', 'items', '{"by": ["nobody.has"]}') r WHERE r ->> 'item' = 'ri_pain' AND r ->> 'month' IS NULL;
-- before the correction was told
SELECT r ->> 'n' AS n, r ->> 'mean' AS mean
  FROM (SELECT min(recorded_at) AS at FROM clinical.observation WHERE patient_id LIKE 'RI-_' AND version = 2) c,
       pg_temp.rows('items', 'items', jsonb_build_object('cutoff', c.at - interval '1 microsecond')) r WHERE r ->> 'item' = 'ri_pain' AND r ->> 'month' IS NULL;

-- === codes ===
SELECT pg_temp.rows('items', 'codes');
SELECT r ->> 'by' AS by, r ->> 'code' AS code, r ->> 'patients' AS patients, r ->> 'enrolled' AS enrolled, r ->> 'percent_enrolled' AS percent
  FROM pg_temp.rows('items', 'codes', '{"by": ["arm"]}') r WHERE r ->> 'item' = 'ri_class';

-- === corrections ===
SELECT pg_temp.rows('quality', 'corrections') - 'label';
SELECT r ->> 'by' AS by, r ->> 'values' AS values, r ->> 'corrected' AS corrected, r ->> 'flagged' AS flagged
  FROM pg_temp.rows('quality', 'corrections', '{"by": ["center"]}') r WHERE r ->> 'item' IS NULL OR r ->> 'item' = 'ri_pain';

-- === by the code of another item; within those of one ===
SELECT pg_temp.rows('items', 'items_by', '{"item_by": {"item": "ri_visit"}}') - 'label';
SELECT count(*) FROM pg_temp.rows('items', 'items_by', '{"item_by": {"item": "ri_visit"}, "by": ["arm"]}');
SELECT count(*) FROM pg_temp.rows('items', 'items_by', '{"item_by": {"item": "unknown"}}');
SELECT pg_temp.rows('items', 'codes_within', '{"above": {"ri_term": "ri_class"}}') - 'label';
SELECT r ->> 'by' AS by, r ->> 'code_above' AS above, r ->> 'code' AS code, r ->> 'patients' AS patients, r ->> 'occurrences' AS occurrences
  FROM pg_temp.rows('items', 'codes_within', '{"above": {"ri_term": "ri_class"}, "by": ["arm"]}') r WHERE r ->> 'by' <> '{}';
SELECT string_agg(t ->> 'name', ' ') FROM clinical.generate_report('RI', '[2025-07-01,2025-10-01)', '{"sections": ["items"]}') d, jsonb_array_elements(d #> '{body,items,tables}') t;

-- equal values may have different decimals: the most count, whichever comes first
SELECT outcome FROM clinical.submit_reports('[
    {"patient_id": "RI-3", "captured_at": "2025-09-01T12:00:00Z", "submission_id": "00000000-0000-4000-8000-000000000008", "report_data": {"ri_weight": {"value": 70.0, "unit": "kg"}, "ri_visit": "V1"}},
    {"patient_id": "RI-3", "captured_at": "2025-09-02T12:00:00Z", "submission_id": "00000000-0000-4000-8000-000000000009", "report_data": {"ri_weight": {"value": 70.000, "unit": "kg"}, "ri_visit": "V1"}}]');
SELECT clinical.process_reports();
SELECT r ->> 'n' AS n, r ->> 'decimals' AS decimals, r ->> 'max' AS max FROM pg_temp.rows('items', 'items_by', '{"item_by": {"item": "ri_visit"}}') r
 WHERE r ->> 'item' = 'ri_weight' AND r ->> 'code' = 'V1';

-- === errors ===
DO $$
DECLARE
    options jsonb;
    detail text;
BEGIN
    FOREACH options IN ARRAY ARRAY['{"above": []}', '{"above": {"a": 1}}', '{"above": {"a": ""}}', '{"item_by": "ri_visit"}', '{"item_by": {}}', '{"item_by": {"item": ""}}',
        '{"item_by": {"item": "x", "more": 1}}', jsonb_build_object('above', (SELECT jsonb_object_agg('i' || g, 'j') FROM generate_series(1, 17) g))]::jsonb[] LOOP
        BEGIN
            PERFORM clinical.generate_report('RI', '[2025-07-01,2025-10-01)', options);
            RAISE EXCEPTION '% was taken', options;
        EXCEPTION WHEN invalid_parameter_value THEN
            GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
            RAISE WARNING '%: %', sqlerrm, detail;
        END;
    END LOOP;
END
$$;
-- by what is another one for each of many patients
BEGIN;
SELECT count(clinical.enroll_patient('RI-' || n, NULL, NULL, 'RI', (SELECT id FROM clinical.center WHERE site_id = 'RI1'), jsonb_build_object('number', n))) FROM generate_series(4, 1002) n;
SELECT jsonb_array_length(clinical.generate_report('RI', '[2025-07-01,2025-10-01)', '{"by": ["number"], "sections": ["status"]}') #> '{body,status,tables}') AS tables;
SELECT id FROM clinical.enroll_patient('RI-1003', NULL, NULL, 'RI', (SELECT id FROM clinical.center WHERE site_id = 'RI1'), '{"number": 1003}');
SELECT clinical.generate_report('RI', '[2025-07-01,2025-10-01)', '{"by": ["number"], "sections": ["status"]}');
ROLLBACK;
SELECT clinical.report_tally(NULL, 'RI-1', 'a', gen_random_uuid(), 1, gen_random_uuid(), current_date, 1, NULL, NULL, NULL, false, now());
SET ROLE clinical_statistician;
SELECT clinical.report_tally('\x', 'RI-1', 'a', gen_random_uuid(), 1, gen_random_uuid(), current_date, 1, NULL, NULL, NULL, false, now());
RESET ROLE;
