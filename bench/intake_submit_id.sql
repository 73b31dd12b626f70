\set n random(10000001, 10000000 + :patients)
SELECT clinical.submit_report(:n, :report, gen_random_uuid());
