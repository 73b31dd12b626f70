-- report_item: statistics of items, and how often coded ones have which code.

CREATE FUNCTION clinical.report_tally_add(state internal, scope bytea, patient_id text, item text, id uuid, version integer, submission_id uuid, local_day date,
                                          value numeric, value_code text, unit text, absent text, flagged boolean, recorded_at timestamptz) RETURNS internal
    LANGUAGE C IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_report_tally_add';
COMMENT ON FUNCTION clinical.report_tally_add(internal, bytea, text, text, uuid, integer, uuid, date, numeric, text, text, text, boolean, timestamptz) IS
'For the aggregate report_tally. SQLSTATE: 54000 too many figures; 55000 it is not a report that calls it.';
CREATE FUNCTION clinical.report_tally_combine(state internal, other internal) RETURNS internal
    LANGUAGE C IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_report_tally_combine';
COMMENT ON FUNCTION clinical.report_tally_combine(internal, internal) IS 'For the aggregate report_tally. SQLSTATE: 54000 too many figures; 55000 it is not a report that calls it.';
CREATE FUNCTION clinical.report_tally_image(state internal) RETURNS bytea
    LANGUAGE C IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_report_tally_image';
COMMENT ON FUNCTION clinical.report_tally_image(internal) IS 'For the aggregate report_tally. SQLSTATE: none of its own.';
CREATE FUNCTION clinical.report_tally_read(image bytea, state internal) RETURNS internal
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_report_tally_read';
COMMENT ON FUNCTION clinical.report_tally_read(bytea, internal) IS 'For the aggregate report_tally. SQLSTATE: none of its own.';

CREATE AGGREGATE clinical.report_tally(scope bytea, patient_id text, item text, id uuid, version integer, submission_id uuid, local_day date,
                                       value numeric, value_code text, unit text, absent text, flagged boolean, recorded_at timestamptz) (
    SFUNC = clinical.report_tally_add, STYPE = internal, SSPACE = 1048576,
    FINALFUNC = clinical.report_tally_image,
    COMBINEFUNC = clinical.report_tally_combine, SERIALFUNC = clinical.report_tally_image, DESERIALFUNC = clinical.report_tally_read,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.report_tally(bytea, text, text, uuid, integer, uuid, date, numeric, text, text, text, boolean, timestamptz) IS
'Counts the values of observations, for reports alone, which make its first argument: whose observations of when count. SQLSTATE: 54000 too many figures; 55000 it is not a report that calls it.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
