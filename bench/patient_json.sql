\set id random(10000001, 10000000 + :rows)
SELECT clinical.patient_json(:id);
