\set after random(40000001, 40004900)
SELECT * FROM clinical.find_patients(center_id => 18, after_id => :after);
