\set id random(40000001, 40005000)
SELECT * FROM clinical.get_patient(:id);
