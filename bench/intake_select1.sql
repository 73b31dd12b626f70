\set n random(10000001, 10000000 + :patients)
SELECT 1;
