-- http: the routes of the HTTP face.  A function is a route: it takes the parts of the request as
-- texts, calls public functions with the caller's own rights, and gives status, headers and body.
-- An error that is the caller's becomes an answer, by one table (http_error); all others stay errors.

CREATE TYPE clinical.http_response AS (status integer, headers jsonb, body jsonb, content text);
COMMENT ON TYPE clinical.http_response IS 'An answer: status; headers, an object, NULL: those that every answer has; body: JSON; content: text in place of a body, such as a page. Content-Type is application/json where headers do not say otherwise.';

-- --- answers that are no success -----------------------------------------------------------------

CREATE FUNCTION clinical.http_problem(status integer, detail text, code text DEFAULT NULL, more jsonb DEFAULT NULL)
    RETURNS clinical.http_response
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT ROW(status, '{"Content-Type": "application/problem+json"}'::pg_catalog.jsonb,
               pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('type', 'about:blank', 'title',
                   CASE status WHEN 400 THEN 'Bad Request' WHEN 403 THEN 'Forbidden' WHEN 404 THEN 'Not Found' WHEN 409 THEN 'Conflict'
                               WHEN 410 THEN 'Gone' WHEN 413 THEN 'Content Too Large' WHEN 422 THEN 'Unprocessable Content' END,
                   'status', status, 'detail', detail, 'code', code))
               OPERATOR(pg_catalog.||) COALESCE(more, '{}'::pg_catalog.jsonb), NULL)::clinical.http_response
$$;
COMMENT ON FUNCTION clinical.http_problem(integer, text, text, jsonb) IS
'A problem as RFC 9457 has it: detail, for people; code: the SQLSTATE; more: further members. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.http_error(state text, message text, of_constraint text DEFAULT NULL) RETURNS clinical.http_response
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CASE
        WHEN state = 'P0002' THEN
            RETURN clinical.http_problem(404, message, state);
        WHEN state = '22023' THEN
            RETURN clinical.http_problem(400, message, state);
        WHEN state IN ('22P02', '22P05') THEN
            RETURN clinical.http_problem(400, 'malformed JSON', state);
        WHEN state = '54001' THEN
            RETURN clinical.http_problem(400, 'JSON is nested too deeply', state);
        WHEN state LIKE '22%' THEN
            RETURN clinical.http_problem(400, 'a value of the request is malformed or out of range', state);
        WHEN state = '42501' THEN
            RETURN clinical.http_problem(403, 'not allowed', state);
        WHEN state = '54000' THEN
            RETURN clinical.http_problem(413, message, state);
        WHEN state = '55000' THEN
            RETURN clinical.http_problem(409, message, state);
        -- what PostgreSQL itself says of a constraint may have values in it
        WHEN state = '23505' THEN
            RETURN clinical.http_problem(409, CASE WHEN of_constraint <> '' THEN 'it exists already' ELSE message END, state);
        WHEN state LIKE '23%' THEN
            RETURN clinical.http_problem(422, CASE WHEN of_constraint <> '' OR state <> '23503' THEN 'it does not fit what is stored' ELSE message END, state);
        ELSE
            RETURN NULL;
    END CASE;
END
$$;
COMMENT ON FUNCTION clinical.http_error(text, text, text) IS
'The answer to an error that is the caller''s, by its SQLSTATE and message, as doc/http.md lists them; of_constraint: the name of a constraint of a table, if one was broken. NULL: it is none of the caller''s, and stays an error. SQLSTATE: none of its own.';

-- --- parts of requests ---------------------------------------------------------------------------

CREATE FUNCTION clinical.http_number(value text, name text) RETURNS bigint
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF value !~ '^-?[0-9]{1,18}$' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = concat(name, ' must be a whole number');
    END IF;
    RETURN value::bigint;
END
$$;
COMMENT ON FUNCTION clinical.http_number(text, text) IS
'A whole number that a request has under that name; NULL: none. SQLSTATE: 22023 it is none.';

CREATE FUNCTION clinical.http_day(value text, name text) RETURNS date
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF value ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' THEN
        RETURN make_date(substr(value, 1, 4)::integer, substr(value, 6, 2)::integer, substr(value, 9, 2)::integer);
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
        MESSAGE = CASE WHEN value <> '' THEN concat(name, ' must be a day, YYYY-MM-DD') ELSE concat(name, ' is required') END;
END
$$;
COMMENT ON FUNCTION clinical.http_day(text, text) IS
'A day that a request must have under that name. SQLSTATE: 22023 it is missing, or none; 22008 there is no such day.';

CREATE FUNCTION clinical.http_uuid(value text, name text) RETURNS uuid
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF value ~* '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' THEN
        RETURN value::uuid;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
        MESSAGE = CASE WHEN value <> '' THEN concat(name, ' must be a UUID') ELSE concat(name, ' is required') END;
END
$$;
COMMENT ON FUNCTION clinical.http_uuid(text, text) IS
'A UUID that a request must have under that name. SQLSTATE: 22023 it is missing, or none.';

CREATE FUNCTION clinical.http_object(body text, keys text[]) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    object jsonb := body;
BEGIN
    IF jsonb_typeof(object) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'the body must be a JSON object';
    END IF;
    IF object - keys <> '{}' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('the body has an unknown key, "%s"', (SELECT left(min(k), 100) FROM jsonb_object_keys(object - keys) k));
    END IF;
    RETURN object;
END
$$;
COMMENT ON FUNCTION clinical.http_object(text, text[]) IS
'The body of a request: an object with some of these keys, and no others. SQLSTATE: 22023 it is none; 22P02, 22P05, 54001 it is no JSON.';

CREATE FUNCTION clinical.http_text(object jsonb, key text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF jsonb_typeof(object -> key) NOT IN ('string', 'null') THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = concat(key, ' must be a string');
    END IF;
    RETURN object ->> key;
END
$$;
COMMENT ON FUNCTION clinical.http_text(jsonb, text) IS
'The string under a key of an object; NULL: there is none. SQLSTATE: 22023 it is something else.';

CREATE FUNCTION clinical.http_quality(accept text, kinds text[]) RETURNS numeric
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    weight text;
BEGIN
    -- the most specific kind that is named decides
    FOR i IN 1 .. cardinality(kinds) LOOP
        SELECT coalesce(substring(w.one FROM ';q=([01]([.][0-9]{0,3})?)(?![0-9.])'), '1') INTO weight
          FROM regexp_split_to_table(lower(translate(accept, E' \t', '')), ',') w (one)
         WHERE split_part(w.one, ';', 1) = kinds[i] LIMIT 1;
        IF FOUND THEN
            RETURN weight::numeric;
        END IF;
    END LOOP;
    RETURN 0;
END
$$;
COMMENT ON FUNCTION clinical.http_quality(text, text[]) IS
'How much a header Accept wants a kind of content, from 0 to 1: the names of the kind, the most specific one first. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.http_wants_page(accept text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT COALESCE(accept OPERATOR(pg_catalog.~~*) '%text/%' AND clinical.http_quality(accept, '{text/html,text/*,*/*}')
                    OPERATOR(pg_catalog.>) clinical.http_quality(accept, '{application/json,application/*,*/*}'), false)
$$;
COMMENT ON FUNCTION clinical.http_wants_page(text) IS
'Whether a header Accept wants a page rather than JSON. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.http_segment(value text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT pg_catalog.string_agg(CASE WHEN c.one OPERATOR(pg_catalog.~) '^[A-Za-z0-9._~-]$' THEN c.one
               ELSE pg_catalog.upper(pg_catalog.regexp_replace(pg_catalog.encode(pg_catalog.convert_to(c.one, 'UTF8'), 'hex'), '(..)', '%\1', 'g')) END,
               '' ORDER BY c.place)
      FROM pg_catalog.regexp_split_to_table(value, '') WITH ORDINALITY c (one, place)
$$;
COMMENT ON FUNCTION clinical.http_segment(text) IS
'A text as a segment of a path: percent-encoded (RFC 3986). SQLSTATE: none of its own.';

CREATE FUNCTION clinical.http_page(page text) RETURNS clinical.http_response
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT ROW(200, '{"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": "default-src ''none''; style-src ''unsafe-inline''; frame-ancestors ''none''"}'::pg_catalog.jsonb,
               NULL, page)::clinical.http_response
$$;
COMMENT ON FUNCTION clinical.http_page(text) IS
'The answer that is a page, which loads nothing and runs nothing. SQLSTATE: none of its own.';

-- --- patients and projects -----------------------------------------------------------------------

CREATE FUNCTION clinical.http_get_patient(patient_id text) RETURNS clinical.http_response
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    answer clinical.http_response;
BEGIN
    RETURN ROW(200, NULL, clinical.patient_json(patient_id), NULL)::clinical.http_response;
EXCEPTION WHEN OTHERS THEN
    answer := clinical.http_error(SQLSTATE, SQLERRM);
    IF answer.status IS NULL THEN
        RAISE;
    END IF;
    RETURN answer;
END
$$;
COMMENT ON FUNCTION clinical.http_get_patient(text) IS
'GET /api/v1/patient/{patient_id}: 200 with the document of patient_json; 400, 403, 404. SQLSTATE: those that doc/http.md does not map.';

CREATE FUNCTION clinical.http_find_patients(project text, center text, contains text, after text, page_size text) RETURNS clinical.http_response
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    size bigint;
    patients jsonb;
    answer clinical.http_response;
BEGIN
    size := coalesce(clinical.http_number(page_size, 'limit'), 100);
    IF size NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'limit must be from 1 to 1000';
    END IF;
    SELECT jsonb_agg(clinical.patient_json(p.id) || jsonb_build_object('centerID', p.center_id, 'status', p.status) ORDER BY p.id COLLATE "C")
      INTO patients
      FROM clinical.find_patients(project, clinical.http_number(center, 'center'), contains::jsonb, after, size::integer) p;
    RETURN ROW(200, NULL, jsonb_build_object('patients', coalesce(patients, '[]'),
                                             'next', CASE WHEN jsonb_array_length(patients) = size THEN patients -> -1 -> 'id' END), NULL)::clinical.http_response;
EXCEPTION WHEN OTHERS THEN
    answer := clinical.http_error(SQLSTATE, SQLERRM);
    IF answer.status IS NULL THEN
        RAISE;
    END IF;
    RETURN answer;
END
$$;
COMMENT ON FUNCTION clinical.http_find_patients(text, text, text, text, text) IS
'GET /api/v1/patients?project=&center=&contains=&after=&limit=: 200 with patients, as find_patients finds them, and next, to be sent as after, or null where there are no more; 400, 403, 404. page_size: limit, NULL: 100. SQLSTATE: those that doc/http.md does not map.';

CREATE FUNCTION clinical.http_create_project(body text) RETURNS clinical.http_response
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    request jsonb;
    centers bigint[];
    code text;
    missing jsonb;
    broken text;
    answer clinical.http_response;
BEGIN
    request := clinical.http_object(body, '{name,centerIds,code,timeZone,status}');
    IF jsonb_typeof(request -> 'centerIds') NOT IN ('array', 'null')
       OR EXISTS (SELECT FROM jsonb_path_query(request, '$.centerIds[*]') c WHERE jsonb_typeof(c) <> 'number') THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'centerIds must be an array of whole numbers';
    END IF;
    centers := ARRAY(SELECT clinical.http_number(c #>> '{}', 'a center id') FROM jsonb_path_query(request, '$.centerIds[*]') c);
    SELECT p.code INTO code
      FROM clinical.create_project_with_centers(clinical.http_text(request, 'name'), centers, clinical.http_text(request, 'code'),
                                                clinical.http_text(request, 'timeZone'), coalesce(clinical.http_text(request, 'status'), 'active')) p;
    RETURN ROW(201, jsonb_build_object('Location', concat('/api/v1/projects/', clinical.http_segment(code))),
               clinical.project_json(code), NULL)::clinical.http_response;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
    answer := clinical.http_error(SQLSTATE, SQLERRM, broken);
    IF answer.status IS NULL THEN
        RAISE;
    END IF;
    IF SQLSTATE = '23503' AND broken = '' THEN
        SELECT jsonb_agg(u.id ORDER BY u.id) INTO missing
          FROM unnest(centers) u (id) WHERE NOT EXISTS (SELECT FROM clinical.center c WHERE c.id = u.id);
        answer.body := answer.body || jsonb_build_object('missingCenters', coalesce(missing, '[]'));
    END IF;
    RETURN answer;
END
$$;
COMMENT ON FUNCTION clinical.http_create_project(text) IS
'POST /api/v1/projects: body: an object of name, centerIds and, if wanted, code, timeZone, status, as create_project_with_centers takes them; 201 with the document of project_json, and its Location; 400, 403; 409 the code is another project''s; 422 with missingCenters. SQLSTATE: those that doc/http.md does not map.';

CREATE FUNCTION clinical.http_get_project(code text) RETURNS clinical.http_response
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    answer clinical.http_response;
BEGIN
    RETURN ROW(200, NULL, clinical.project_json(code), NULL)::clinical.http_response;
EXCEPTION WHEN OTHERS THEN
    answer := clinical.http_error(SQLSTATE, SQLERRM);
    IF answer.status IS NULL THEN
        RAISE;
    END IF;
    RETURN answer;
END
$$;
COMMENT ON FUNCTION clinical.http_get_project(text) IS
'GET /api/v1/projects/{code}: 200 with the document of project_json; 400, 403, 404. SQLSTATE: those that doc/http.md does not map.';

-- --- patients' reports ---------------------------------------------------------------------------

-- What the client says of who acts for whom is not believed: that is the session's.
CREATE FUNCTION clinical.http_report_fault(report jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    texts CONSTANT text[] := '{patientId,submissionId,capturedAt,instrument,timeZone,originator,deviceId}';
    unknown jsonb;
    key text;
BEGIN
    IF jsonb_typeof(report) IS DISTINCT FROM 'object' THEN
        RETURN 'a report must be an object';
    END IF;
    unknown := report - texts - 'reportData';
    IF unknown <> '{}' THEN
        RETURN format('a report has an unknown key, "%s"', (SELECT left(min(k), 100) FROM jsonb_object_keys(unknown) k));
    END IF;
    FOREACH key IN ARRAY texts LOOP
        IF jsonb_typeof(report -> key) NOT IN ('string', 'null') THEN
            RETURN concat(key, ' must be a string');
        END IF;
    END LOOP;
    IF report ->> 'submissionId' !~* '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' THEN
        RETURN 'submissionId must be a UUID';
    END IF;
    IF report ->> 'capturedAt' !~* '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})$' THEN
        RETURN 'capturedAt must be a time of ISO 8601 with its offset from UTC';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION clinical.http_report_fault(jsonb) IS
'What is wrong with how a report is sent; NULL: nothing. SQLSTATE: none of its own.';

-- A traceparent that is none is as if there were none (W3C Trace Context, 3.2.2.1).
CREATE FUNCTION clinical.http_trace_parent(value text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN value OPERATOR(pg_catalog.~) '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'
                 AND value OPERATOR(pg_catalog.!~) '^00-0{32}-' AND value OPERATOR(pg_catalog.!~) '^00-[0-9a-f]{32}-0{16}-' THEN value END
$$;
COMMENT ON FUNCTION clinical.http_trace_parent(text) IS
'A header traceparent, or NULL if it is none. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.http_submit_status(outcome text) RETURNS integer
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT CASE outcome WHEN 'queued' THEN 202 WHEN 'already_received' THEN 200 WHEN 'conflict' THEN 409 WHEN 'busy' THEN 503 ELSE 400 END
$$;
COMMENT ON FUNCTION clinical.http_submit_status(text) IS
'The status that an outcome of submit_report is answered with. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.http_submit_batch(reports jsonb, trace_parent text) RETURNS clinical.http_response
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    answers jsonb;
    taken boolean;
    busy boolean;
BEGIN
    WITH element AS MATERIALIZED (
        SELECT e.report, e.place, clinical.http_report_fault(e.report) AS fault FROM jsonb_array_elements(reports) WITH ORDINALITY e (report, place)),
    sent AS MATERIALIZED (
        SELECT row_number() OVER (ORDER BY e.place) AS turn, e.place, jsonb_strip_nulls(jsonb_build_object(
                   'patient_id', e.report -> 'patientId', 'submission_id', e.report -> 'submissionId', 'captured_at', e.report -> 'capturedAt',
                   'instrument', e.report -> 'instrument', 'time_zone', e.report -> 'timeZone', 'originator', e.report -> 'originator',
                   'device_id', e.report -> 'deviceId', 'trace_parent', trace_parent))
               || CASE WHEN e.report ? 'reportData' THEN jsonb_build_object('report_data', e.report -> 'reportData') ELSE '{}' END AS report
          FROM element e WHERE e.fault IS NULL),
    answered AS MATERIALIZED (
        SELECT a.* FROM clinical.submit_reports((SELECT coalesce(jsonb_agg(s.report ORDER BY s.turn), '[]') FROM sent s))
               WITH ORDINALITY a (success, message, submission_id, outcome, turn)),
    told AS (
        SELECT e.place, coalesce(a.success, false) AS success, coalesce(e.fault, a.message) AS message, a.submission_id,
               coalesce(a.outcome, 'invalid') AS outcome
          FROM element e LEFT JOIN sent s USING (place) LEFT JOIN answered a USING (turn))
    SELECT coalesce(jsonb_agg(jsonb_build_object('status', clinical.http_submit_status(t.outcome), 'success', t.success, 'message', t.message,
                                                 'submissionId', t.submission_id) ORDER BY t.place), '[]'),
           coalesce(bool_and(t.success), true), coalesce(bool_and(t.outcome = 'busy'), false)
      INTO answers, taken, busy
      FROM told t;
    RETURN ROW(CASE WHEN taken THEN 202 WHEN busy THEN 503 ELSE 207 END,
               CASE WHEN busy THEN '{"Retry-After": "5"}'::jsonb END, answers, NULL)::clinical.http_response;
END
$$;
COMMENT ON FUNCTION clinical.http_submit_batch(jsonb, text) IS
'What http_submit does with an array. SQLSTATE: those of submit_reports.';

CREATE FUNCTION clinical.http_submit(body text, idempotency_key text DEFAULT NULL, trace_parent text DEFAULT NULL) RETURNS clinical.http_response
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    request jsonb;
    fault text;
    key uuid;
    id uuid;
    parent text := clinical.http_trace_parent(trace_parent);
    response clinical.submit_response;
    answer clinical.http_response;
BEGIN
    request := body;
    IF idempotency_key IS NOT NULL THEN
        key := clinical.http_uuid(btrim(idempotency_key, '"'), 'Idempotency-Key');
    END IF;
    IF jsonb_typeof(request) = 'array' THEN
        IF key IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'Idempotency-Key is for one report: give each of them its submissionId';
        END IF;
        RETURN clinical.http_submit_batch(request, parent);
    END IF;
    fault := clinical.http_report_fault(request);
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = fault;
    END IF;
    id := request ->> 'submissionId';
    IF id <> key THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'Idempotency-Key and submissionId differ';
    END IF;
    response := clinical.submit_report(request ->> 'patientId', request -> 'reportData', coalesce(id, key), (request ->> 'capturedAt')::timestamptz,
                                       request ->> 'instrument', request ->> 'timeZone', coalesce(request ->> 'originator', 'subject'),
                                       request ->> 'deviceId', NULL, parent);
    answer.status := clinical.http_submit_status(response.outcome);
    answer.body := jsonb_build_object('success', response.success, 'message', response.message);
    IF response.outcome = 'busy' THEN
        answer.headers := '{"Retry-After": "5"}';
    ELSE
        answer.body := answer.body || jsonb_build_object('submissionId', response.submission_id);
    END IF;
    RETURN answer;
EXCEPTION
    WHEN object_not_in_prerequisite_state THEN
        RAISE;
    WHEN OTHERS THEN
        answer := clinical.http_error(SQLSTATE, SQLERRM);
        IF answer.status IS NULL THEN
            RAISE;
        END IF;
        RETURN answer;
END
$$;
COMMENT ON FUNCTION clinical.http_submit(text, text, text) IS
'POST /api/epro/submit: body: an object of patientId, reportData and, if wanted, submissionId, capturedAt (with its offset from UTC), instrument, timeZone, originator, deviceId, as submit_report takes them; 202 with success, message and submissionId; 200 it was received already; 409 the id is another report''s; 503 with Retry-After, the queue is full; 400, 403, 413. An array of them is answered by an array of these, each with its status: 202 if all were taken, 503 if the queue is full for all of them, else 207. idempotency_key: the header Idempotency-Key, a submissionId; trace_parent: the header traceparent. SQLSTATE: those that doc/http.md does not map; 55000 clinical is not in shared_preload_libraries.';

CREATE FUNCTION clinical.http_get_submission(patient_id text, submission_id text) RETURNS clinical.http_response
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    id uuid;
    answer clinical.http_response;
BEGIN
    id := clinical.http_uuid(submission_id, 'submission id');
    SELECT 200, NULL::jsonb, jsonb_build_object('patientId', patient_id, 'submissionId', id, 'status', s.status, 'reasonCode', s.reason_code,
                                                'detail', s.detail, 'receivedAt', s.received_at, 'processedAt', s.processed_at), NULL::text
      INTO answer
      FROM clinical.submission_status(patient_id, id) s;
    -- All callers of a gateway have its login, by which submission_status knows who submitted a report: who
    -- reads patients has to see this one, or all.
    -- (PostgreSQL checks rights on all of an expression's tables, so there are two.)
    IF has_table_privilege('clinical.patient', 'SELECT') AND NOT pg_has_role('clinical_auditor', 'USAGE') THEN
        IF NOT EXISTS (SELECT FROM clinical.patient p WHERE p.id = patient_id)
           AND NOT EXISTS (SELECT FROM clinical.membership m WHERE m.center_id IS NULL AND m.project_id IS NULL AND pg_has_role(m.role, 'USAGE')) THEN
            RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = 'submission not found';
        END IF;
    END IF;
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    answer := clinical.http_error(SQLSTATE, SQLERRM);
    IF answer.status IS NULL THEN
        RAISE;
    END IF;
    RETURN answer;
END
$$;
COMMENT ON FUNCTION clinical.http_get_submission(text, text) IS
'GET /api/epro/patients/{patient_id}/submissions/{submission_id}: 200 with what submission_status says, for who sees the patient, and for who submits reports and reads no patients; 400, 403, 404. SQLSTATE: those that doc/http.md does not map.';

-- --- reports of projects -------------------------------------------------------------------------

CREATE FUNCTION clinical.http_request_report(project_code text, body text) RETURNS clinical.http_response
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    request jsonb;
    id uuid;
    answer clinical.http_response;
BEGIN
    request := clinical.http_object(body, '{from,to,options}');
    id := clinical.request_report(project_code,
                                  daterange(clinical.http_day(clinical.http_text(request, 'from'), 'from'), clinical.http_day(clinical.http_text(request, 'to'), 'to')),
                                  coalesce(request -> 'options', '{}'));
    RETURN ROW(202, jsonb_build_object('Location', concat('/api/v1/reports/', id)), jsonb_build_object('id', id, 'status', 'queued'), NULL)::clinical.http_response;
EXCEPTION
    WHEN object_not_in_prerequisite_state THEN
        RAISE;
    WHEN OTHERS THEN
        answer := clinical.http_error(SQLSTATE, SQLERRM);
        IF answer.status IS NULL THEN
            RAISE;
        END IF;
        RETURN answer;
END
$$;
COMMENT ON FUNCTION clinical.http_request_report(text, text) IS
'POST /api/v1/projects/{project_code}/reports: body: an object of from and to (days, that one not included) and, if wanted, options, as request_report takes them; 202 with the id of the report, and its Location; 400, 403, 404. SQLSTATE: those that doc/http.md does not map; 55000 clinical is not in shared_preload_libraries.';

CREATE FUNCTION clinical.http_get_report(report_id text, accept text DEFAULT NULL) RETURNS clinical.http_response
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted uuid;
    status text;
    progress jsonb;
    document jsonb;
    answer clinical.http_response;
BEGIN
    wanted := clinical.http_uuid(report_id, 'report id');
    SELECT r.document INTO document FROM clinical.report r WHERE r.id = wanted;
    IF FOUND THEN
        IF clinical.http_wants_page(accept) THEN
            RETURN clinical.http_page(clinical.report_html(document));
        END IF;
        RETURN ROW(200, NULL, document, NULL)::clinical.http_response;
    END IF;
    SELECT p.status, jsonb_build_object('id', p.report_id, 'project', p.project, 'from', lower(p.period), 'to', upper(p.period), 'status', p.status,
                                        'phase', p.phase, 'done', p.done, 'total', p.total, 'percent', p.percent, 'requestedAt', p.requested_at,
                                        'startedAt', p.started_at, 'estimatedEnd', p.estimated_end, 'endedAt', p.ended_at)
      INTO status, progress
      FROM clinical.report_progress p WHERE p.report_id = wanted;
    CASE
        -- done, and still no document: its centers are not all among those that the caller sees
        WHEN status IS NULL OR status = 'done' THEN
            RETURN clinical.http_problem(404, 'report not found', 'P0002');
        WHEN status IN ('failed', 'cancelled') THEN
            RETURN clinical.http_problem(410, CASE status WHEN 'failed' THEN 'the report could not be made' ELSE 'the report was cancelled' END, NULL, jsonb_build_object('report', progress));
        ELSE
            RETURN ROW(202, '{"Retry-After": "1"}', progress, NULL)::clinical.http_response;
    END CASE;
EXCEPTION WHEN OTHERS THEN
    answer := clinical.http_error(SQLSTATE, SQLERRM);
    IF answer.status IS NULL THEN
        RAISE;
    END IF;
    RETURN answer;
END
$$;
COMMENT ON FUNCTION clinical.http_get_report(text, text) IS
'GET /api/v1/reports/{report_id}: 202 with how far it is; 200 with the document or, if the header Accept wants that rather, the page; 410 it failed or was cancelled; 400, 403, 404. SQLSTATE: those that doc/http.md does not map.';

CREATE FUNCTION clinical.http_cancel_report(report_id text) RETURNS clinical.http_response
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    id uuid;
    answer clinical.http_response;
BEGIN
    id := clinical.http_uuid(report_id, 'report id');
    RETURN ROW(200, NULL, jsonb_build_object('id', id, 'status', clinical.cancel_report(id)), NULL)::clinical.http_response;
EXCEPTION
    WHEN object_not_in_prerequisite_state THEN
        RAISE;
    WHEN OTHERS THEN
        answer := clinical.http_error(SQLSTATE, SQLERRM);
        IF answer.status IS NULL THEN
            RAISE;
        END IF;
        RETURN answer;
END
$$;
COMMENT ON FUNCTION clinical.http_cancel_report(text) IS
'DELETE /api/v1/reports/{report_id}: 200 with its status, cancelled, or done or failed if it had ended; 400, 403, 404. SQLSTATE: those that doc/http.md does not map; 55000 clinical is not in shared_preload_libraries.';

CREATE FUNCTION clinical.http_make_report(project_code text, from_day text, to_day text, options text DEFAULT NULL, accept text DEFAULT NULL)
    RETURNS clinical.http_response
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    document jsonb;
    answer clinical.http_response;
BEGIN
    document := clinical.generate_report(project_code, daterange(clinical.http_day(from_day, 'from'), clinical.http_day(to_day, 'to')),
                                         coalesce(options::jsonb, '{}'));
    IF clinical.http_wants_page(accept) THEN
        RETURN clinical.http_page(clinical.report_html(document));
    END IF;
    RETURN ROW(200, NULL, document, NULL)::clinical.http_response;
EXCEPTION WHEN OTHERS THEN
    answer := clinical.http_error(SQLSTATE, SQLERRM);
    IF answer.status IS NULL THEN
        RAISE;
    END IF;
    RETURN answer;
END
$$;
COMMENT ON FUNCTION clinical.http_make_report(text, text, text, text, text) IS
'GET /api/v1/projects/{project_code}/report?from=&to=&options=: 200 with the document of generate_report, made at once, or the page, if the header Accept wants that rather; from, to: days, that one not included; options: JSON; 400, 403, 404, 413. SQLSTATE: those that doc/http.md does not map; 57014 it was cancelled.';

-- --- alerts --------------------------------------------------------------------------------------

CREATE FUNCTION clinical.http_alert(alert clinical.alert_worklist) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT pg_catalog.jsonb_build_object('project', alert.project, 'centerID', alert.center_id, 'siteID', alert.site_id, 'patientId', alert.patient_id,
        'alertId', alert.alert_id, 'rule', alert.rule, 'severity', alert.severity, 'grade', alert.grade, 'status', alert.status,
        'basisChanged', alert.basis_changed, 'escalationLevel', alert.escalation_level, 'onset', alert.onset, 'triggerDay', alert.trigger_day,
        'lastDay', alert.last_day, 'outDays', alert.out_days, 'openedAt', alert.opened_at, 'overdueSince', alert.overdue_since, 'readings', alert.readings)
$$;
COMMENT ON FUNCTION clinical.http_alert(clinical.alert_worklist) IS
'An alert as the routes give it. SQLSTATE: none of its own.';

CREATE FUNCTION clinical.http_list_alerts(project text, page_size text) RETURNS clinical.http_response
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    size bigint;
    alerts jsonb;
    answer clinical.http_response;
BEGIN
    size := coalesce(clinical.http_number(page_size, 'limit'), 100);
    IF size NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'limit must be from 1 to 1000';
    END IF;
    SELECT jsonb_agg(clinical.http_alert(w.alert) ORDER BY w.place)
      INTO alerts
      FROM (SELECT a.alert, row_number() OVER () AS place FROM (
                SELECT l AS alert FROM clinical.alert_worklist l
                 WHERE http_list_alerts.project IS NULL OR l.project = http_list_alerts.project LIMIT size + 1) a) w;
    RETURN ROW(200, NULL, jsonb_build_object('alerts', coalesce(alerts - size::integer, '[]'),
                                             'more', coalesce(jsonb_array_length(alerts) > size, false)), NULL)::clinical.http_response;
EXCEPTION WHEN OTHERS THEN
    answer := clinical.http_error(SQLSTATE, SQLERRM);
    IF answer.status IS NULL THEN
        RAISE;
    END IF;
    RETURN answer;
END
$$;
COMMENT ON FUNCTION clinical.http_list_alerts(text, text) IS
'GET /api/v1/alerts?project=&limit=: 200 with alerts, those of alert_worklist in its order, the most urgent first, and more: whether there are more than limit; 400, 403. page_size: limit, NULL: 100. SQLSTATE: those that doc/http.md does not map.';

-- What has happened since is found by the moment at which it was recorded, which is earlier than that of its commit.
CREATE INDEX alert_event_time_idx ON clinical.alert_event (recorded_at);

CREATE FUNCTION clinical.http_stream_alerts(project text, last_event_id text) RETURNS clinical.http_response
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    most constant integer := 500;
    second constant bigint := 1000000;
    -- what is told is what this snapshot sees and an earlier one did not
    snapshot constant pg_snapshot := pg_current_snapshot();
    oldest constant bigint := pg_snapshot_xmin(snapshot)::text::bigint;
    upcoming constant bigint := pg_snapshot_xmax(snapshot)::text::bigint;
    moment constant bigint := extract(epoch FROM now()) * second;
    -- where it goes on: [1] nothing recorded earlier is still to come; [2], [3] a moment, and the transactions
    -- that had begun by then: when all of these are over, [1] becomes that moment; [4] transactions before this one
    -- are told of; [5] something before [1] may come after all, until those are over
    was bigint[];
    since bigint := moment - CASE WHEN oldest = upcoming THEN 10 ELSE 86400 END * second;
    mark bigint := moment;
    mark_xid bigint := upcoming;
    unsure bigint := 0;
    lost boolean := last_event_id <> '';
    events clinical.alert_event[];
    content text;
    answer clinical.http_response;
BEGIN
    IF last_event_id ~ '^[0-9]{1,18}(-[0-9]{1,18}){3}-[01]$' THEN
        was := string_to_array(last_event_id, '-')::bigint[];
        -- neither long ago, nor of another server
        lost := was[1] NOT BETWEEN moment - 7 * 86400 * second AND moment OR was[2] > moment + 60 * second OR was[3] > upcoming OR was[4] NOT BETWEEN upcoming - (1 << 30) AND oldest;
    END IF;
    IF NOT lost AND was IS NOT NULL THEN
        SELECT array_agg(e.event ORDER BY e.place)
          INTO events
          FROM (SELECT v AS event, row_number() OVER () AS place
                  FROM (SELECT e.*
                          FROM clinical.alert_event e
                         WHERE e.recorded_at >= 'epoch'::timestamptz + was[1] * interval '1 microsecond'
                           AND ((e.xmin::text::bigint - was[4]) & 4294967295) < 2147483648
                           AND (http_stream_alerts.project IS NULL
                                OR EXISTS (SELECT FROM clinical.alert a JOIN clinical.project j ON j.id = a.project_id
                                            WHERE a.patient_id = e.patient_id AND a.id = e.alert_id AND j.code = http_stream_alerts.project))
                         ORDER BY e.recorded_at, e.patient_id, e.alert_id, e.event_no LIMIT most + 1) v) e;
        lost := cardinality(events) > most OR (was[5] = 1 AND oldest >= was[3]);
        -- so many while an old transaction goes on would be told again each time
        IF cardinality(events) > most AND oldest < upcoming THEN
            since := moment - second;
            unsure := 1;
        ELSIF oldest >= was[3] THEN
            since := CASE WHEN oldest = upcoming THEN moment ELSE was[2] END - 10 * second;
        ELSE
            since := was[1];
            mark := was[2];
            mark_xid := was[3];
            unsure := was[5];
        END IF;
    END IF;
    IF lost THEN
        content := E'event: resync\ndata: {}\n\n';
    ELSE
        SELECT string_agg(format(E': %s %s\nevent: alert\ndata: %s\n\n', e.alert_id, e.event_no,
                                 clinical.http_alert(coalesce(w.alert, ROW(j.code, p.center_id, c.site_id, a.patient_id, a.id, r.code, a.severity, a.grade,
                                     a.status, a.basis_changed, a.escalation_level, a.onset, a.trigger_day, a.last_day, a.out_days, a.opened_at, NULL, NULL)::clinical.alert_worklist))
                                 || jsonb_build_object('event', e.kind, 'eventNo', e.event_no, 'recordedAt', e.recorded_at)), '' ORDER BY e.ordinality)
          INTO content
          FROM unnest(events) WITH ORDINALITY e
          JOIN clinical.alert a ON a.patient_id = e.patient_id AND a.id = e.alert_id
          JOIN clinical.patient p ON p.id = a.patient_id
          JOIN clinical.center c ON c.id = p.center_id
          JOIN clinical.project j ON j.id = a.project_id
          JOIN clinical.monitor_rule r ON r.id = a.rule_id
          -- the worklist is read by the alert, not as a whole
          LEFT JOIN LATERAL (SELECT l AS alert FROM clinical.alert_worklist l WHERE l.patient_id = e.patient_id AND l.alert_id = e.alert_id OFFSET 0) w ON true;
    END IF;
    RETURN ROW(200, '{"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}', NULL,
               concat(content, 'id: ', concat_ws('-', since, mark, mark_xid, oldest, unsure), E'\n\n'))::clinical.http_response;
EXCEPTION WHEN OTHERS THEN
    answer := clinical.http_error(SQLSTATE, SQLERRM);
    IF answer.status IS NULL THEN
        RAISE;
    END IF;
    RETURN answer;
END
$$;
COMMENT ON FUNCTION clinical.http_stream_alerts(text, text) IS
'GET /api/v1/alerts/stream?project=: 200 with what happened to alerts since last_event_id, the header Last-Event-ID, as server-sent events: an event alert for each, with the alert as it is now and event, eventNo, recordedAt; or an event resync: that is too much, or cannot be told; then an id, from which to go on. No last_event_id, or an empty one: from now on. What one id has told may be told again, and nothing is left out. 400, 403. SQLSTATE: those that doc/http.md does not map.';

CREATE FUNCTION clinical.http_acknowledge_alert(patient_id text, alert_id text, body text DEFAULT NULL) RETURNS clinical.http_response
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    request jsonb := '{}';
    alert clinical.alert;
    person text;
    answer clinical.http_response;
BEGIN
    IF body <> '' THEN
        request := clinical.http_object(body, '{comment}');
    END IF;
    alert := clinical.acknowledge_alert(patient_id, clinical.http_uuid(alert_id, 'alert id'), clinical.http_text(request, 'comment'));
    -- the user, where the role that logged in is the gateway's
    person := coalesce((SELECT e.actor FROM clinical.alert_event e
                         WHERE e.patient_id = alert.patient_id AND e.alert_id = alert.id AND e.kind IN ('acknowledged', 'closed')
                         ORDER BY e.event_no LIMIT 1), alert.acknowledged_by);
    RETURN ROW(200, NULL, jsonb_build_object('patientId', alert.patient_id, 'alertId', alert.id, 'status', alert.status,
                                             'basisChanged', alert.basis_changed, 'acknowledgedAt', alert.acknowledged_at,
                                             'acknowledgedBy', person), NULL)::clinical.http_response;
EXCEPTION WHEN OTHERS THEN
    answer := clinical.http_error(SQLSTATE, SQLERRM);
    IF answer.status IS NULL THEN
        RAISE;
    END IF;
    RETURN answer;
END
$$;
COMMENT ON FUNCTION clinical.http_acknowledge_alert(text, text, text) IS
'POST /api/v1/patients/{patient_id}/alerts/{alert_id}/acknowledge: body: an object of comment, or nothing; 200 with the alert''s status; 400, 403, 404; 409 it is in no state to be acknowledged. SQLSTATE: those that doc/http.md does not map.';

-- --- metrics -------------------------------------------------------------------------------------

CREATE FUNCTION clinical.http_metrics() RETURNS clinical.http_response
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
AS $$
    SELECT ROW(200, '{"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}'::pg_catalog.jsonb, NULL, clinical.metrics_text())::clinical.http_response
$$;
COMMENT ON FUNCTION clinical.http_metrics() IS
'GET /metrics, of which the gateway itself gives the first part: 200 with what metrics_text gives. SQLSTATE: 55000 clinical is not in shared_preload_libraries; 53400 there are more databases than clinical.max_databases.';

-- --- access --------------------------------------------------------------------------------------

-- A route is for those who may call what it calls.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    clinical.http_problem(integer, text, text, jsonb),
    clinical.http_error(text, text, text),
    clinical.http_number(text, text),
    clinical.http_day(text, text),
    clinical.http_uuid(text, text),
    clinical.http_object(text, text[]),
    clinical.http_text(jsonb, text),
    clinical.http_quality(text, text[]),
    clinical.http_wants_page(text),
    clinical.http_segment(text),
    clinical.http_page(text),
    clinical.http_report_fault(jsonb),
    clinical.http_trace_parent(text),
    clinical.http_submit_status(text)
    TO clinical_admin, clinical_intake, clinical_investigator, clinical_monitor, clinical_data_manager,
       clinical_statistician, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.http_get_patient(text), clinical.http_find_patients(text, text, text, text, text)
    TO clinical_investigator, clinical_monitor, clinical_data_manager, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.http_create_project(text) TO clinical_admin;
GRANT EXECUTE ON FUNCTION clinical.http_get_project(text)
    TO clinical_admin, clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.http_submit(text, text, text), clinical.http_submit_batch(jsonb, text)
    TO clinical_intake, clinical_investigator, clinical_data_manager;
GRANT EXECUTE ON FUNCTION clinical.http_get_submission(text, text)
    TO clinical_intake, clinical_investigator, clinical_monitor, clinical_data_manager, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.http_request_report(text, text), clinical.http_make_report(text, text, text, text, text),
    clinical.http_get_report(text, text)
    TO clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.http_cancel_report(text)
    TO clinical_admin, clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.http_list_alerts(text, text), clinical.http_stream_alerts(text, text), clinical.http_alert(clinical.alert_worklist)
    TO clinical_investigator, clinical_monitor, clinical_data_manager, clinical_auditor;
GRANT EXECUTE ON FUNCTION clinical.http_acknowledge_alert(text, text, text) TO clinical_monitor, clinical_investigator;
GRANT EXECUTE ON FUNCTION clinical.http_metrics() TO clinical_admin, clinical_auditor, pg_monitor;
