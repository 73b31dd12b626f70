SELECT * FROM clinical.find_patients(record_contains => '{"flags": {"rare_variant": true}}');
