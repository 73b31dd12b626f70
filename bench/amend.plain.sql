\set id random(10000001, 10000000 + :rows)
\set height random(145, 199)
UPDATE bench.patient SET record = record || jsonb_build_object('height_now', :height::int),
       record_version = record_version + 1
 WHERE id = :id RETURNING record_version;
