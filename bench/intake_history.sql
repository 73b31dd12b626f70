\set n random(10000001, 10000000 + :patients)
SELECT count(*) FROM clinical.patient_history(:n::text);
