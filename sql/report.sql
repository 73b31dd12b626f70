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

-- What there is to read, counted.
CREATE FUNCTION clinical.report_size(project_id bigint, centers bigint[])
    RETURNS TABLE (patients bigint, submissions bigint, observations bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT (SELECT count(*) FROM clinical.patient p
             WHERE p.project_id = report_size.project_id AND p.center_id = ANY (report_size.centers)),
           count(*), coalesce(sum(s.observations), 0)::bigint
      FROM clinical.submission s
     WHERE s.project_id = report_size.project_id
       AND EXISTS (SELECT FROM clinical.patient p WHERE p.id = s.patient_id AND p.center_id = ANY (report_size.centers))
$$;
COMMENT ON FUNCTION clinical.report_size(bigint, bigint[]) IS
'How many patients, reports and observations a report is about. For the extension itself. SQLSTATE: none of its own.';

-- facts: generated_by, all_centers, version, options, rows.
CREATE FUNCTION clinical.report_header(project_id bigint, centers bigint[], first_day date, end_day date, cut_off timestamptz, facts jsonb)
    RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT jsonb_build_object(
               'project', jsonb_build_object('code', p.code, 'name', p.name, 'status', p.status, 'time_zone', p.time_zone),
               'period', jsonb_build_array(first_day, end_day),
               'cutoff', cut_off,
               'snapshot', pg_current_snapshot()::text,
               'generated_by', facts -> 'generated_by',
               'generated_at', statement_timestamp(),
               'extension', jsonb_build_object('name', 'clinical', 'version', facts -> 'version'),
               'options', facts -> 'options',
               'rows', facts -> 'rows',
               'centers', (SELECT coalesce(jsonb_agg(coalesce(c.site_id, c.id::text) ORDER BY coalesce(c.site_id, c.id::text) COLLATE "C"), '[]')
                             FROM clinical.center c WHERE c.id = ANY (centers)),
               'all_centers', facts -> 'all_centers',
               'rules', (SELECT coalesce(jsonb_agg(jsonb_build_object('code', r.code, 'version', v.version, 'status', r.status) ORDER BY r.code), '[]')
                           FROM clinical.monitor_rule r
                           JOIN (SELECT n.rule_id, max(n.version) AS version FROM clinical.monitor_rule_version n
                                  WHERE n.recorded_at <= cut_off GROUP BY n.rule_id) v ON v.rule_id = r.id
                          WHERE r.project_id = p.id OR r.project_id IS NULL))
      FROM clinical.project p
     WHERE p.id = report_header.project_id
$$;
COMMENT ON FUNCTION clinical.report_header(bigint, bigint[], date, date, timestamptz, jsonb) IS
'The header of a report. For the extension itself. SQLSTATE: none of its own.';

-- --- in the caller's session ------------------------------------------------------------------

CREATE FUNCTION clinical.generate_report(project_code text, period daterange, options jsonb DEFAULT '{}') RETURNS jsonb
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_generate_report';
COMMENT ON FUNCTION clinical.generate_report(text, daterange, jsonb) IS
'The report of a project in a period: header, body (a key a section) and sha256 of the body''s text, as doc/report.md describes them. Of the patients of those of its centers that the caller may see. period: days in the project''s time zone, the last one not included. options: by, cutoff, sections, suppress_below. SQLSTATE: 22023 an argument missing, or an option unknown or malformed; 22007, 22008 cutoff is no time; P0002 project not found; 57014 cancelled.';

CREATE FUNCTION clinical.report_activity(OUT pid integer, OUT report_id uuid, OUT project_id bigint, OUT role oid, OUT phase text, OUT done bigint,
                                         OUT total bigint, OUT percent numeric, OUT started_at timestamptz, OUT estimated_end timestamptz)
    RETURNS SETOF record
    LANGUAGE C STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_report_activity';
COMMENT ON FUNCTION clinical.report_activity() IS
'The reports that are being made in this database: all for admins and auditors, for others those of roles whose rights they have. done, total: rows of submission and observation. SQLSTATE: none of its own.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
GRANT EXECUTE ON FUNCTION clinical.generate_report(text, daterange, jsonb)
    TO clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.report_activity()
    TO clinical_admin, clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
