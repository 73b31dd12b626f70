\set id random(10000001, 10000000 + :rows)
UPDATE clinical.patient SET sex = CASE sex WHEN 'F' THEN 'M' ELSE 'F' END WHERE id = :id::text;
