COPY clinical.patient (id, project_id, center_id, status, status_on, name, birth_date, sex, record) FROM :'file';
