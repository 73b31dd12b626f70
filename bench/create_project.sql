SELECT id FROM clinical.create_project_with_centers('Project', (SELECT ids FROM bench.center_list));
