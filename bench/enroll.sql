\set center random(1, 17)
\set template random(1, 1000)
SELECT id FROM clinical.enroll_patient(nextval('bench.new_id')::text, 'Anna Bakker', '1961-05-04', 'BENCH', :center,
    (SELECT record FROM bench.template WHERE n = :template));
