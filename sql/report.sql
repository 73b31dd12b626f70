-- report: what becomes of a project in a period: its figures, as a document, for people and as rows.

-- The patients that a report is about, with the labels it is split by.  Called by the extension
-- itself alone, as are all functions report_...: which centers the requester sees was decided before.
CREATE FUNCTION clinical.report_patient(project_id bigint, centers bigint[], split text[])
    RETURNS TABLE (patient_id text, center_id bigint, center text, "by" jsonb)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT p.id, p.center_id, coalesce(c.site_id, c.id::text),
           CASE WHEN cardinality(split) = 0 THEN '{}'::jsonb
                ELSE (SELECT jsonb_object_agg(k.key, CASE k.key WHEN 'center' THEN coalesce(c.site_id, c.id::text)
                                                                WHEN 'sex' THEN p.sex WHEN 'race' THEN p.race
                                                                ELSE p.record #>> string_to_array(k.key, '.') END)
                        FROM unnest(split) AS k(key)) END
      FROM clinical.patient p
      JOIN clinical.center c ON c.id = p.center_id
     WHERE p.project_id = report_patient.project_id AND p.center_id = ANY (centers)
$$;
COMMENT ON FUNCTION clinical.report_patient(bigint, bigint[], text[]) IS
'The patients of a project at some of its centers, with their labels of split. For the extension itself. SQLSTATE: none of its own.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
