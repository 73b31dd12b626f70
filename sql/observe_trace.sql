-- observe: spans of calls that belong to a trace, for whoever sends them to a collector.

CREATE FUNCTION clinical.take_spans(max_spans integer DEFAULT 1000) RETURNS jsonb
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'clinical_take_spans';
COMMENT ON FUNCTION clinical.take_spans(integer) IS
'Takes the oldest spans of this database, max_spans at most and never more than 10000, as a document of OTLP/JSON (ExportTraceServiceRequest), to be posted to a collector. Each is given once, unless the transaction is rolled back: then they are there again. None: {"resourceSpans": []}. SQLSTATE: 22023 max_spans is missing or not positive; 55000 if the library was not preloaded.';

CREATE FUNCTION clinical.span_counts(OUT capacity integer, OUT waiting bigint, OUT recorded bigint, OUT lost bigint)
    LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'clinical_span_counts';
COMMENT ON FUNCTION clinical.span_counts() IS
'How it is with the spans; for stat_span. SQLSTATE: 55000 if the library was not preloaded.';

CREATE VIEW clinical.stat_span WITH (security_invoker = true) AS
    SELECT s.capacity, s.waiting, s.recorded, s.lost FROM clinical.span_counts() s;
COMMENT ON VIEW clinical.stat_span IS
'The spans: how many are kept at most, in all databases together; how many of this database wait for take_spans(); and how many were recorded since the server started, in all databases, and lost because nobody took them in time.';

REVOKE ALL ON FUNCTION clinical.take_spans(integer), clinical.span_counts() FROM PUBLIC;
REVOKE ALL ON clinical.stat_span FROM PUBLIC;
GRANT USAGE ON SCHEMA clinical TO pg_monitor;
GRANT EXECUTE ON FUNCTION clinical.take_spans(integer), clinical.span_counts() TO clinical_admin, pg_monitor;
GRANT SELECT ON clinical.stat_span TO clinical_admin, pg_monitor;
