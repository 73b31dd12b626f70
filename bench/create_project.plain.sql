BEGIN;
SELECT array_agg(u.id) AS missing FROM bench.center_list l, unnest(l.ids) u (id)
 WHERE NOT EXISTS (SELECT FROM clinical.center c WHERE c.id = u.id);
INSERT INTO clinical.project (name) VALUES ('Project') RETURNING id AS project_id \gset
INSERT INTO clinical.project_center (project_id, center_id)
SELECT :project_id, u.id FROM bench.center_list l, unnest(l.ids) u (id);
COMMIT;
