SELECT * FROM clinical.patient WHERE center_id = 18;
