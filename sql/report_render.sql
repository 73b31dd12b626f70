-- report_render: a report as rows and as a page.

CREATE FUNCTION clinical.report_rows(document jsonb)
    RETURNS TABLE (section text, table_name text, row_label text, column_label text, statistic text,
                   value numeric, text text, denominator numeric)
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 5000
    AS 'MODULE_PATHNAME', 'clinical_report_rows';
COMMENT ON FUNCTION clinical.report_rows(jsonb) IS
'A report as rows, one a figure, in the order of the page. document: as doc/report.schema.json describes it. row_label: what the row is about ("total": all of it); statistic: the name of the column; value: unrounded; text: as printed; denominator: of a percentage. SQLSTATE: 22023 report document is malformed, DETAIL says where.';

CREATE FUNCTION clinical.report_html(document jsonb) RETURNS text
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_report_html';
COMMENT ON FUNCTION clinical.report_html(jsonb) IS
'A report as one page of HTML that needs nothing else: no script, no other file. document: as doc/report.schema.json describes it. The page is in UTF-8 once it is with a client whose client_encoding is. SQLSTATE: 22023 report document is malformed, DETAIL says where; 54000 the page would be larger than 1 GB.';

CREATE FUNCTION clinical.report_rows(report_id uuid)
    RETURNS TABLE (section text, table_name text, row_label text, column_label text, statistic text,
                   value numeric, text text, denominator numeric)
    LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 5000
    AS 'MODULE_PATHNAME', 'clinical_report_rows_stored';
COMMENT ON FUNCTION clinical.report_rows(uuid) IS
'The rows of a report that a job has made (see report_rows(jsonb)), for who may read it. SQLSTATE: 22023 report id is required; P0002 report not found.';

CREATE FUNCTION clinical.report_html(report_id uuid) RETURNS text
    LANGUAGE C STABLE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'clinical_report_html_stored';
COMMENT ON FUNCTION clinical.report_html(uuid) IS
'The page of a report that a job has made (see report_html(jsonb)), for who may read it. SQLSTATE: 22023 report id is required; P0002 report not found; 54000 the page would be larger than 1 GB.';

REVOKE ALL ON FUNCTION clinical.report_rows(jsonb), clinical.report_html(jsonb), clinical.report_rows(uuid), clinical.report_html(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION clinical.report_rows(jsonb), clinical.report_html(jsonb), clinical.report_rows(uuid), clinical.report_html(uuid)
    TO clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
