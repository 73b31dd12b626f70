\set n random(10000001, 10000000 + :patients)
SELECT pgq.insert_event('reports', 'report', :report, :n, gen_random_uuid()::text, NULL, NULL);
