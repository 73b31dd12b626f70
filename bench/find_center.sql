\set after random(10000001, 10000000 + :rows)
\set center random(1, 17)
SELECT * FROM clinical.find_patients(center_id => :center, after_id => :after);
