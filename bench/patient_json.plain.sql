\set id random(10000001, 10000000 + :rows)
SELECT p.id, p.name, p.birth_date, j.code, p.record
  FROM clinical.patient p JOIN clinical.project j ON j.id = p.project_id
 WHERE p.id = :id;
