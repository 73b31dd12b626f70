\set n random(10000001, 10000000 + :patients)
INSERT INTO bench.queue_hand (patient_id, submission_id, captured_at, report_data) VALUES (:n, gen_random_uuid(), clock_timestamp(), :report);
