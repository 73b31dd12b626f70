\set id random(40000001, 40005000)
SELECT * FROM clinical.enrollment_event WHERE patient_id = :id;
