\set n random(10000001, 10000000 + :patients)
INSERT INTO bench.queue_pgmq (vt, message) VALUES (clock_timestamp(), ('{"patient_id": "' || :n || '", "submission_id": "' || gen_random_uuid() || '", "captured_at": "' || clock_timestamp() || '", "report_data": ' || :report || '}')::jsonb) RETURNING msg_id;
