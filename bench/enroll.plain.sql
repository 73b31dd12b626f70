\set center random(1, 17)
\set template random(1, 1000)
INSERT INTO bench.patient (id, name, birth_date, project_id, center_id, record, status, status_on)
VALUES (nextval('bench.new_id')::text, 'Anna Bakker', '1961-05-04', 1, :center,
    (SELECT record FROM bench.template WHERE n = :template), 'enrolled', CURRENT_DATE) RETURNING id;
