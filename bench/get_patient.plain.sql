\set id random(10000001, 10000000 + :rows)
SELECT * FROM clinical.patient WHERE id = :id;
