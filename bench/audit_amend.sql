\set id random(10000001, 10000000 + :rows)
\set height random(145, 199)
SELECT clinical.amend_record(:id::text, jsonb_build_object('height_now', :height::int), 'measured again');
