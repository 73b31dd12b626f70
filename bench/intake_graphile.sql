\set n random(10000001, 10000000 + :patients)
SELECT FROM graphile_worker.add_job('store', ('{"patient_id": "' || :n || '", "submission_id": "' || gen_random_uuid() || '", "captured_at": "' || clock_timestamp() || '", "report_data": ' || :report || '}')::json);
