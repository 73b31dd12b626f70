\set after random(10000001, 10000000 + :rows)
SELECT * FROM clinical.find_patients(record_contains => '{"flags": {"recontact": true}}', after_id => :after);
