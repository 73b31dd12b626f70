-- instrument: definitions, their use, the validator, FHIR, schedules
SET datestyle = ISO;
SET intervalstyle = postgres;
\pset null '-'

-- what comes with the extension
SELECT v.instrument, v.version, v.definition = s.definition AS as_given, v.recorded_by = session_user AS by_me
  FROM clinical.shipped_instruments() s, LATERAL clinical.create_instrument(s.definition) v ORDER BY 1;
-- again: the same
SELECT count(*) AS versions, (SELECT count(*) FROM clinical.instrument_version) AS stored
  FROM clinical.shipped_instruments() s, LATERAL clinical.create_instrument(s.definition) v;
SELECT test.try($$SELECT clinical.create_instrument(jsonb_set(definition, '{title}', '"Other"')) FROM clinical.shipped_instruments() WHERE code = 'pain'$$);
SELECT item, parent, label, type, unit, required, repeats, codes #>> '{0,code}' AS loinc, jsonb_array_length(checks) AS checks
  FROM clinical.instrument_item WHERE instrument = 'vital-signs' ORDER BY position;

-- two definitions that mean the same are one
SELECT (clinical.create_instrument('{"code": "same", "version": "1", "items": [{"code": "a", "type": "integer"}]}')).version;
SELECT (clinical.create_instrument('{"code": "same", "version": "1", "title": null, "scores": [], "fhir": {},
    "items": [{"code": "a", "type": "integer", "required": false, "repeats": false, "checks": [], "enable_behavior": "all", "codes": []}]}')).definition;

-- each rule of a definition: items and scores are put into a sound one
CREATE FUNCTION test.define(items text, more text DEFAULT '') RETURNS text LANGUAGE sql AS $$
    SELECT test.try(format('SELECT (clinical.create_instrument(%L)).definition', '{"code": "trial", "version": "' || md5(items || more) || '", "items": [' || items || ']' || more || '}'))
$$;
SELECT d, test.try(format('SELECT clinical.create_instrument(%L)', d)) FROM unnest(ARRAY[
    NULL, '1', '[]', '{}', '{"code": ""}', '{"code": 1}', '{"code": "x", "version": "1"}', '{"code": "x", "items": []}',
    '{"code": "x", "version": "1", "items": []}', '{"code": "x", "version": "1", "items": {}}', '{"code": "x", "version": "1", "items": [1]}',
    '{"code": "x", "version": "1", "items": [{"code": "a", "type": "integer"}], "itmes": []}',
    '{"code": " x", "version": "1", "items": [{"code": "a", "type": "integer"}]}',
    '{"code": "x", "version": "1\u0007", "items": [{"code": "a", "type": "integer"}]}',
    '{"code": "x", "version": "1", "codes": [{"system": "http://loinc.org"}], "items": [{"code": "a", "type": "integer"}]}']) d;
SELECT i, test.define(i) FROM unnest(ARRAY[
    '{"code": "a"}', '{"type": "text"}', '{"code": "a", "type": "number"}', '{"code": "a", "type": "text", "required": 1}',
    '{"code": "a", "type": "text", "max_length": -1}', '{"code": "a", "type": "text", "max_length": 1.5}', '{"code": "a", "type": "text", "max_length": 1e99}',
    '{"code": "a", "type": "text"}, {"code": "a", "type": "text"}', '{"code": "resourceType", "type": "text"}',
    '{"code": "a", "type": "text", "unit": "kg"}', '{"code": "a", "type": "display", "required": true}', '{"code": "a", "type": "group"}',
    '{"code": "a", "type": "group", "checks": [], "items": [{"code": "b", "type": "text"}]}',
    '{"code": "a", "type": "integer", "decimals": 2}', '{"code": "a", "type": "text", "partial": true}', '{"code": "a", "type": "text", "open": true}',
    '{"code": "a", "type": "text", "max_repeats": 2}', '{"code": "a", "type": "text", "repeats": true, "min_repeats": 3, "max_repeats": 2}',
    '{"code": "a", "type": "text", "repeats": true, "max_repeats": 0}',
    '{"code": "a", "type": "coded"}', '{"code": "a", "type": "coded", "code_list": []}', '{"code": "a", "type": "coded", "open": true}',
    '{"code": "a", "type": "coded", "code_list": [{"label": "x"}]}', '{"code": "a", "type": "coded", "code_list": [{"code": "x"}, {"code": "x", "system": "y"}]}',
    '{"code": "a", "type": "coded", "code_type": "float", "code_list": [{"code": "x"}]}',
    '{"code": "a", "type": "decimal", "units": ["kg"]}', '{"code": "a", "type": "decimal", "unit": "mmol/L", "units": ["mg/dL"]}',
    '{"code": "a", "type": "decimal", "unit": "mmol/L", "units": [{"unit": "mg/dL", "factor": 0}]}', '{"code": "a", "type": "decimal", "unit": "kg", "units": ["kg"]}',
    '{"code": "a", "type": "decimal", "unit": "kg", "units": ["g", {"unit": "g", "factor": 0.001}]}',
    '{"code": "a", "type": "coded", "code_type": "integer", "code_list": [{"code": "-5"}, {"code": "0"}]}', '{"code": "a", "type": "coded", "code_type": "integer", "code_list": [{"code": "01"}]}', '{"code": "a", "type": "coded", "code_type": "integer", "code_list": [{"code": "-0"}]}',
    '{"code": "a", "type": "coded", "code_type": "date", "code_list": [{"code": "2020-02"}, {"code": "2021-02-30"}]}', '{"code": "a", "type": "coded", "code_type": "time", "code_list": [{"code": "12:30"}, {"code": "25:00"}]}',
    '{"code": "a", "type": "coded", "code_type": "string", "code_list": [{"code": "x", "label": "X"}]}',
    '{"code": "a", "type": "text", "enable_behavior": "any"}', '{"code": "a", "type": "coded", "open": true, "code_type": "string"}',
    '{"code": "a", "type": "text", "fhir": {"prefix": "1.", "readOnly": null, "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/designNote"}]}}', '{"code": "a", "type": "text", "fhir": {"linkId": "b"}}',
    '{"code": "a", "type": "text", "fhir": {"extension": []}}', '{"code": "a", "type": "text", "fhir": {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/regex"}]}}',
    '{"code": "a", "type": "text", "fhir": {"required": true}}', '{"code": "a", "type": "display", "fhir": {"required": true}}', '{"code": "a", "type": "text", "fhir": {"code": [{"code": "x"}]}}', '{"code": "a", "type": "text", "fhir": {"code": [{"display": "x"}]}}',
    '{"code": "a", "type": "coded", "code_list": [{"code": "x", "fhir": {"coding": {"version": "1"}}}], "fhir": {"answerValueSet": "#v"}}', '{"code": "a", "type": "coded", "code_list": [{"code": "x", "fhir": {"other": {}}}]}']) i;
SELECT m, test.define('{"code": "a", "type": "coded", "code_list": [{"code": "x"}], "fhir": {"answerValueSet": "#v"}}', m) FROM unnest(ARRAY[', "fhir": {"contained": [{"resourceType": "ValueSet", "id": "v"}]}', ', "fhir": {"contained": [{"resourceType": "ValueSet", "id": "w"}]}', ', "fhir": {"contained": []}',
    ', "fhir": {"contained": [{"resourceType": "Patient", "id": "v"}]}', ', "fhir": {"status": "draft", "contained": [{"resourceType": "ValueSet", "id": "v"}]}', ', "fhir": {"status": "active"}', ', "fhir": {"item": []}']) m;
-- what one item may have, and how many may depend on each other
SELECT n, test.try(format('SELECT (clinical.create_instrument(%L)).version', jsonb_build_object('code', 'chain', 'version', n::text, 'items', (SELECT jsonb_agg(jsonb_build_object('code', 'i' || i, 'type', 'integer')
    || CASE WHEN i < n THEN jsonb_build_object('enable_when', jsonb_build_array(jsonb_build_object('item', 'i' || i + 1, 'operator', '=', 'answer', 1))) ELSE '{}' END) FROM generate_series(1, n) i)))) FROM unnest('{100,101}'::int[]) n;
SELECT n, test.try(format('SELECT (clinical.create_instrument(%L)).version', jsonb_build_object('code', 'checks', 'version', n::text, 'items', jsonb_build_array(jsonb_build_object('code', 'a', 'type', 'integer', 'checks',
    (SELECT jsonb_agg('{"comparator": "GE", "values": [1], "soft_hard": "Soft"}'::jsonb) FROM generate_series(1, n))))))) FROM unnest('{1000,1001}'::int[]) n;
SELECT c, test.define('{"code": "a", "type": "integer", "checks": [' || c || ']}') FROM unnest(ARRAY[
    '{}', '{"comparator": "GE", "values": [1]}', '{"comparator": "ge", "values": [1], "soft_hard": "Hard"}', '{"comparator": "GE", "values": [1], "soft_hard": "hard"}',
    '{"comparator": "GE", "values": [], "soft_hard": "Hard"}', '{"comparator": "GE", "values": [1, 2], "soft_hard": "Hard"}', '{"comparator": "GE", "values": ["1"], "soft_hard": "Hard"}',
    '{"comparator": "GE", "values": [1.5], "soft_hard": "Hard"}', '{"comparator": "GE", "values": [1e31], "soft_hard": "Hard"}',
    '{"comparator": "GE", "values": [1], "soft_hard": "Hard", "id": "x"}, {"comparator": "LE", "values": [1], "soft_hard": "Hard", "id": "x"}']) c;
SELECT test.define('{"code": "a", "type": "text", "checks": [{"comparator": "GE", "values": ["x"], "soft_hard": "Hard"}]}');
SELECT test.define('{"code": "a", "type": "quantity", "checks": [{"comparator": "GE", "values": [1], "soft_hard": "Hard"}]}');
SELECT w, test.define('{"code": "a", "type": "coded", "code_list": [{"code": "x"}]}, {"code": "g", "type": "group", "repeats": true, "items": [{"code": "b", "type": "integer"}]}, {"code": "d", "type": "display"}, {"code": "c", "type": "text", "enable_when": [' || w || ']}') FROM unnest(ARRAY[
    '{"item": "z", "operator": "=", "answer": 1}', '{"item": "g", "operator": "=", "answer": 1}', '{"item": "d", "operator": "exists", "answer": true}',
    '{"item": "a", "operator": "==", "answer": "x"}', '{"item": "a", "operator": "<", "answer": "x"}', '{"item": "a", "operator": "=", "answer": "y"}',
    '{"item": "a", "operator": "exists", "answer": "x"}', '{"item": "b", "operator": "=", "answer": 1}', '{"item": "c", "operator": "exists", "answer": true}', '{"item": "a", "operator": "="}']) w;
SELECT test.define('{"code": "a", "type": "integer", "enable_when": [{"item": "b", "operator": ">", "answer": 1}]},
                    {"code": "g", "type": "group", "enable_when": [{"item": "a", "operator": ">", "answer": 1}], "items": [{"code": "b", "type": "integer"}]}') AS circle;
SELECT s, test.define('{"code": "a", "type": "integer"}, {"code": "t", "type": "text"}, {"code": "c", "type": "coded", "code_list": [{"code": "x"}]}, {"code": "r", "type": "integer", "repeats": true}', ', "scores": [' || s || ']') FROM unnest(ARRAY[
    '{}', '{"code": "s", "method": "sum", "items": []}', '{"code": "s", "method": "product", "items": ["a"]}', '{"code": "a", "method": "sum", "items": ["a"]}',
    '{"code": "s", "method": "sum", "items": ["t"]}', '{"code": "s", "method": "sum", "items": ["c"]}', '{"code": "s", "method": "sum", "items": ["r"]}',
    '{"code": "s", "method": "sum", "items": ["z"]}', '{"code": "s", "method": "sum", "items": ["a", "a"]}', '{"code": "s", "method": "sum", "items": ["a"], "min_answered": 2}',
    '{"code": "s", "method": "sum", "items": ["a"], "min_answered": 0}', '{"code": "s", "method": "sum", "items": ["a"], "decimals": 31}',
    '{"code": "s", "method": "sum", "items": ["a"], "maxima": [1]}', '{"code": "s", "method": "prorated", "items": ["a"], "maxima": [1, 2]}', '{"code": "s", "method": "prorated", "items": ["a"], "maxima": [0]}',
    '{"code": "s", "method": "sum", "items": ["a"]}, {"code": "s", "method": "mean", "items": ["a"]}']) s;
-- too deep, too many
CREATE FUNCTION test.nest(depth int) RETURNS text LANGUAGE sql AS $$
    SELECT test.try(format('SELECT (clinical.create_instrument(%L)).version', '{"code": "deep", "version": "' || depth || '", "items": [' ||
        string_agg('{"code": "g' || i || '", "type": "group", "items": [', '') || '{"code": "a", "type": "integer"}' || repeat(']}', depth) || ']}'))
      FROM generate_series(1, depth) i
$$;
SELECT n, test.nest(n) FROM unnest('{19,20,3000}'::int[]) n;
SELECT n, test.try(format('SELECT (clinical.create_instrument(%L)).version', jsonb_build_object('code', 'many', 'version', n::text,
    'items', (SELECT jsonb_agg(jsonb_build_object('code', 'i' || i, 'type', 'integer')) FROM generate_series(1, n) i)))) FROM unnest('{10000,10001}'::int[]) n;

-- versions never change; the row is of its definition
SELECT test.try($$UPDATE clinical.instrument_version SET version = '2' WHERE instrument = 'pain'$$);
SELECT test.try($$UPDATE clinical.instrument SET code = 'x' WHERE code = 'pain'$$);
SELECT test.try($$INSERT INTO clinical.instrument_version (instrument, version, definition) SELECT 'adherence', '1b', definition FROM clinical.shipped_instruments() WHERE code = 'pain'$$);
SELECT test.try($$INSERT INTO clinical.instrument_version (instrument, version, definition) VALUES ('pain', '2', '{"code": "pain", "version": "2"}')$$);
SELECT test.try($$SELECT clinical.instrument_json('pain', '2')$$);
SELECT test.try($$SELECT clinical.instrument_json('no-such')$$);
SELECT test.try($$SELECT clinical.instrument_json(NULL)$$);
SELECT clinical.instrument_json('same');

-- the validator: a form with an item of each type
SELECT instrument, version FROM clinical.create_instrument('{
 "code": "all", "version": "1", "title": "An item of each type", "url": "http://example.org/Questionnaire/all",
 "items": [
  {"code": "int", "type": "integer", "label": "Whole", "unit": "{score}", "checks": [
    {"id": "lo", "comparator": "GE", "values": [0], "soft_hard": "Hard", "message": "below 0"},
    {"id": "hi", "comparator": "LE", "values": [10], "soft_hard": "Hard"},
    {"id": "odd", "comparator": "NOTIN", "values": [7, 9], "soft_hard": "Soft", "message": "seldom"}]},
  {"code": "dec", "type": "decimal", "decimals": 2, "unit": "kg", "units": ["g", {"unit": "{stone}", "factor": 6.35}], "checks": [
    {"id": "max", "comparator": "LT", "values": [500], "soft_hard": "Hard"}, {"id": "round", "comparator": "NE", "values": [100], "soft_hard": "Soft"}]},
  {"code": "qty", "type": "quantity"},
  {"code": "qty2", "type": "quantity", "unit": "mm[Hg]", "units": ["kPa"], "checks": [{"comparator": "GT", "values": [60], "soft_hard": "Hard"}]},
  {"code": "txt", "type": "text", "max_length": 5, "checks": [{"comparator": "NE", "values": ["none"], "soft_hard": "Soft"}]},
  {"code": "uri", "type": "uri"},
  {"code": "flag", "type": "boolean", "checks": [{"comparator": "EQ", "values": [true], "soft_hard": "Soft", "id": "yes"}]},
  {"code": "day", "type": "date", "partial": true, "checks": [{"comparator": "GE", "values": ["2012-02-15"], "soft_hard": "Hard", "id": "from"},
                                                             {"comparator": "LT", "values": ["2020-01-01"], "soft_hard": "Hard", "id": "to"},
                                                             {"comparator": "NE", "values": ["2015-05-05"], "soft_hard": "Hard", "id": "not"}]},
  {"code": "moment", "type": "dateTime", "checks": [{"comparator": "LE", "values": ["2026-01-01T00:00:00Z"], "soft_hard": "Hard", "id": "until"}]},
  {"code": "clock", "type": "time"},
  {"code": "pick", "type": "coded", "code_list": [{"code": "0", "label": "none", "score": 0}, {"code": "1", "label": "some", "score": 1.5, "system": "urn:s"}, {"code": "x", "label": "unknown"}]},
  {"code": "free", "type": "coded", "open": true, "max_length": 10, "code_list": [{"code": "a"}]},
  {"code": "many", "type": "integer", "repeats": true, "min_repeats": 2, "max_repeats": 3},
  {"code": "head", "type": "display", "label": "Meals"},
  {"code": "meals", "type": "group", "repeats": true, "items": [
    {"code": "food", "type": "text", "required": true},
    {"code": "sides", "type": "group", "items": [{"code": "drink", "type": "text"}]},
    {"code": "parts", "type": "group", "repeats": true, "items": [{"code": "grams", "type": "decimal", "unit": "g"}]}]},
  {"code": "pill", "type": "coded", "repeats": true, "code_list": [{"code": "A"}, {"code": "B"}], "items": [
    {"code": "dose", "type": "decimal", "unit": "mg", "required": true}]}],
 "scores": [{"code": "total", "method": "sum", "items": ["int", "pick", "flag"], "min_answered": 1}]}');
CREATE FUNCTION test.judge(report jsonb, instrument text DEFAULT 'all') RETURNS TABLE (verdict text) LANGUAGE sql AS $$
    SELECT CASE kind WHEN 'finding' THEN concat_ws(' ', soft_hard, reason_code, check_id, path::text, '(' || message || ')')
                ELSE concat_ws(' ', CASE kind WHEN 'score' THEN 'score' END, item || CASE WHEN repeat_key <> '' THEN '[' || repeat_key || ']' ELSE '' END, '=',
                               value::text, '"' || value_text || '"', 'code ' || value_code, unit, 'absent: ' || absent, '(' || soft_hard || ')') END
      FROM clinical.validate_report(instrument, report)
     WHERE kind <> 'score' OR value IS NOT NULL OR instrument <> 'all'
$$;
CREATE FUNCTION test.judge_each(reports text[], instrument text DEFAULT 'all') RETURNS TABLE (report text, verdict text) LANGUAGE sql AS $$
    SELECT r, (SELECT string_agg(j, E'\n') FROM test.judge(r::jsonb, instrument) j) FROM unnest(reports) r
$$;
SELECT * FROM test.judge('{"int": 3, "dec": 70.25, "qty": {"value": 11, "unit": "m/s"}, "qty2": {"value": 120, "unit": "mm[Hg]"}, "txt": "hello", "uri": "http://example.org/",
    "flag": true, "day": "2012-02-29", "moment": "2025-03-30T02:30:00.123456+02:00", "clock": "12:59", "pick": "1", "free": "else",
    "many": [1, 2], "meals": [{"food": "rice", "drink": "tea", "parts": [{"grams": 100}, {"grams": 20.5}]}, {"food": "soup", "sides": {"drink": "water"}}],
    "pill": [{"value": "A", "items": {"dose": 5}}, {"value": "B", "items": {"dose": {"value": 2.5, "unit": "mg"}}}]}');
-- numbers
SELECT * FROM test.judge_each('{"{\"int\": -1}","{\"int\": 11}","{\"int\": 7}","{\"int\": 3.0}","{\"int\": 3.5}","{\"int\": \"3\"}","{\"int\": true}","{\"int\": null}","{\"int\": [3]}","{\"int\": {\"value\": 3}}",
    "{\"int\": {\"value\": 3, \"unit\": \"{score}\"}}","{\"int\": {\"value\": 3, \"unit\": \"kg\"}}","{\"int\": {}}","{\"int\": {\"value\": 3, \"note\": 1}}","{\"int\": 1e29}","{\"int\": 1e131071}","{\"int\": 1e-16383}","{\"int\": \"NaN\"}","{\"int\": -0}",
    "{\"dec\": 70.254}","{\"dec\": 70.2500}","{\"dec\": 499.99}","{\"dec\": 500}","{\"dec\": 100}","{\"dec\": {\"value\": 70250, \"unit\": \"g\"}}","{\"dec\": {\"value\": 10, \"unit\": \"{stone}\"}}","{\"dec\": {\"value\": 10, \"unit\": \"[lb_av]\"}}",
    "{\"dec\": {\"value\": 600000, \"unit\": \"g\"}}","{\"qty\": 1}","{\"qty\": {\"value\": 1, \"unit\": \"two words\"}}","{\"qty2\": {\"value\": 8, \"unit\": \"kPa\"}}","{\"qty2\": {\"value\": 7.9, \"unit\": \"kPa\"}}","{\"qty2\": {\"value\": 100}}"}');
-- texts, dates, codes
SELECT * FROM test.judge_each('{"{\"txt\": \"\"}","{\"txt\": \"sixsix\"}","{\"txt\": \"äöüßé\"}","{\"txt\": \"none\"}","{\"txt\": 5}","{\"uri\": 1}","{\"flag\": 1}","{\"flag\": false}",
    "{\"day\": \"2012\"}","{\"day\": \"2012-02\"}","{\"day\": \"2012-01\"}","{\"day\": \"2012-02-14\"}","{\"day\": \"2012-02-15\"}","{\"day\": \"2019-12-31\"}","{\"day\": \"2020\"}","{\"day\": \"2015-05-05\"}","{\"day\": \"2015-05\"}",
    "{\"day\": \"2013-02-29\"}","{\"day\": \"2013-13-01\"}","{\"day\": \"0000-01-01\"}","{\"day\": \"12-02-29\"}","{\"day\": \"yesterday\"}","{\"day\": \"infinity\"}","{\"day\": \"99999-01-01\"}","{\"day\": \"2013-02-28T00:00:00Z\"}","{\"day\": 20130228}",
    "{\"moment\": \"2025-03-30\"}","{\"moment\": \"2025-03-30T02:30:00\"}","{\"moment\": \"2025-03-30T24:00:00Z\"}","{\"moment\": \"2025-03-30T23:59:60Z\"}","{\"moment\": \"2025-03-30T02:30Z\"}","{\"moment\": \"2025-03-30T02:30:00+14:01\"}",
    "{\"moment\": \"2025-03-30T02:30:00 Mars/Phobos\"}","{\"moment\": \"2026-01-01T00:59:00+01:00\"}","{\"moment\": \"2026-01-01T00:59:00-01:00\"}","{\"clock\": \"24:00\"}","{\"clock\": \"23:59:59.5\"}","{\"clock\": \"1:00\"}",
    "{\"pick\": 1}","{\"pick\": 1.0}","{\"pick\": 2}","{\"pick\": \"x\"}","{\"pick\": \"some\"}","{\"pick\": {\"text\": \"other\"}}","{\"pick\": false}","{\"free\": \"a\"}","{\"free\": {\"text\": \"a\"}}","{\"free\": \"longer than ten\"}","{\"free\": 1}"}');
-- absent values and repeats
SELECT * FROM test.judge_each('{"{\"int\": {\"absent\": \"asked-declined\"}}","{\"int\": {\"absent\": \"asked-declined\", \"value\": 1}}","{\"int\": {\"absent\": \"\"}}","{\"many\": 1}","{\"many\": []}","{\"many\": [1,2,3,4]}","{\"many\": [1,\"x\",3]}","{\"many\": [1,{\"absent\": \"unknown\"}]}",
    "{\"meals\": {\"food\": \"rice\"}}","{\"meals\": [{}]}","{\"meals\": [1]}","{\"meals\": [{\"food\": \"rice\", \"meals\": []}]}","{\"meals\": [{\"food\": \"rice\", \"int\": 1}]}","{\"food\": \"rice\"}","{\"meals\": [{\"food\": \"a\", \"drink\": \"b\", \"sides\": {\"drink\": \"c\"}}]}",
    "{\"meals\": [{\"food\": \"a\"}, {\"food\": \"b\", \"parts\": [{\"grams\": 1}, {\"grams\": \"x\"}]}]}","{\"pill\": [\"A\", {\"value\": \"C\", \"items\": {\"dose\": 1}}]}","{\"pill\": {\"value\": \"A\", \"items\": {\"dose\": 1, \"int\": 2}}}","{\"dose\": 1}","{\"head\": \"x\"}",
    "{\"nobody knows\": 1, \"unknown-1\": {\"deep\": [1]}}"}');
SELECT test.try($$SELECT clinical.validate_report('all', '[]')$$);
SELECT test.try($$SELECT clinical.validate_report('all', '1')$$);
SELECT test.try($$SELECT clinical.validate_report('all', NULL)$$);
SELECT test.try($$SELECT clinical.validate_report(NULL, '{}')$$);
SELECT test.try($$SELECT clinical.validate_report('no-such', '{}')$$);
SELECT test.try($$SELECT clinical.validate_report('all', '{}', '2')$$);
SELECT clinical.report_is_valid('all', '{}') AS empty, clinical.report_is_valid('all', '{"int": 7}') AS soft, clinical.report_is_valid('all', '{"int": 11}') AS hard;
-- no value is shown, and no key that may be one
SELECT count(*) AS findings, count(*) FILTER (WHERE v::text ~ 'canary|Müller') AS shown
  FROM clinical.validate_report('all', '{"canary 1": 1, "Müller": {"canary": "canary"}, "int": "canary", "txt": "canary canary", "day": "canary", "free": "canary canary", "pick": "canary", "qty": {"value": 1, "unit": "canary canary"}, "uri": {"canary": 1}}') v;
-- many findings end
SELECT count(*), bool_and(soft_hard = 'Hard'), count(*) FILTER (WHERE reason_code = 'too_large')
  FROM clinical.validate_report('all', (SELECT jsonb_object_agg('k' || i, i) FROM generate_series(1, 5000) i));
SELECT verdict FROM test.judge(('{"txt": ' || repeat('[', 5000) || repeat(']', 5000) || ', "meals": ' || repeat('[{"meals": ', 1500) || '1' || repeat('}]', 1500) || '}')::jsonb);
SELECT * FROM test.judge_each(ARRAY['{"int": 1, "int": 2}', '{"int": 2, "int": "x"}']);
-- ten thousand levels: jsonb itself may refuse, and says so; a megabyte
SELECT d, test.try(format('SELECT string_agg(v, %L) FROM test.judge(%L) v', '; ', replace(d, '...', repeat('[', 10000) || repeat(']', 10000)))) ~ '^(Hard (wrong_type|unknown_item) |54001)' AS answered
  FROM unnest(ARRAY['{"int": ...}', '{"zz": ...}', '{"meals": ...}', '{"resourceType": "QuestionnaireResponse", "status": "completed", "item": [{"linkId": "int", "answer": ...}]}']) d;
SELECT octet_length(value_text) FROM clinical.validate_report('all', jsonb_build_object('uri', repeat('x', 1048576))) WHERE kind = 'observation';
SELECT * FROM test.judge(jsonb_build_object('txt', repeat('x', 1048576), 'free', repeat('x', 1048576), 'day', repeat('1', 1048576), 'int', repeat('9', 100000)::numeric, 'qty', jsonb_build_object('value', 1, 'unit', repeat('x', 1048576)), repeat('k', 1048576), 1));
SELECT count(*) FROM clinical.validate_report('all', jsonb_build_object('many', (SELECT jsonb_agg(i) FROM generate_series(1, 100000) i)));

-- what is not shown is not missing
SELECT instrument FROM clinical.create_instrument('{"code": "conditions", "version": "1", "items": [
    {"code": "n", "type": "integer"}, {"code": "c", "type": "coded", "repeats": true, "code_list": [{"code": "a"}, {"code": "b"}]}, {"code": "d", "type": "date"},
    {"code": "n>1", "type": "text", "required": true, "enable_when": [{"item": "n", "operator": ">", "answer": 1}]},
    {"code": "n<=1", "type": "text", "required": true, "enable_when": [{"item": "n", "operator": "<=", "answer": 1}]},
    {"code": "c=a", "type": "text", "required": true, "enable_when": [{"item": "c", "operator": "=", "answer": "a"}]},
    {"code": "c!=a", "type": "text", "required": true, "enable_when": [{"item": "c", "operator": "!=", "answer": "a"}]},
    {"code": "d?", "type": "text", "required": true, "enable_when": [{"item": "d", "operator": "exists", "answer": true}]},
    {"code": "no d", "type": "text", "required": true, "enable_when": [{"item": "d", "operator": "exists", "answer": false}]},
    {"code": "d>=", "type": "text", "required": true, "enable_when": [{"item": "d", "operator": ">=", "answer": "2020-01-01"}]},
    {"code": "both", "type": "group", "required": true, "enable_when": [{"item": "n", "operator": "<", "answer": 9}, {"item": "d", "operator": "exists", "answer": true}], "items": [{"code": "in both", "type": "text"}]},
    {"code": "any", "type": "text", "required": true, "enable_behavior": "any", "enable_when": [{"item": "n", "operator": "=", "answer": 5}, {"item": "n>1", "operator": "exists", "answer": true}]},
    {"code": "h", "type": "text", "required": true, "hidden": true}]}');
SELECT r.report, (SELECT string_agg(CASE WHEN reason_code = 'missing_item' THEN 'missing ' || item WHEN reason_code IS NOT NULL THEN concat_ws(' ', soft_hard, reason_code, path) END, E'\n') FROM clinical.validate_report('conditions', r.report)) AS findings
  FROM (VALUES ('{}'::jsonb), ('{"n": 1}'), ('{"n": 2}'), ('{"n": 2, "n>1": "x"}'), ('{"n": 5, "c": ["a", "b"]}'), ('{"c": "b"}'), ('{"d": "2020-01-01"}'), ('{"d": "2019-12-31", "n": 8}'),
               ('{"d": "x", "n": "x"}'), ('{"d": {"absent": "unknown"}, "no d": "x", "c!=a": "y"}'), ('{"n>1": "x", "c!=a": "x", "no d": "x", "in both": "x", "h": "x"}')) r (report);
-- in each repeat by itself
SELECT instrument FROM clinical.create_instrument('{"code": "repeated", "version": "1", "items": [{"code": "all", "type": "boolean"}, {"code": "g", "type": "group", "repeats": true, "items": [
    {"code": "smokes", "type": "boolean"}, {"code": "packs", "type": "integer", "required": true, "enable_when": [{"item": "smokes", "operator": "=", "answer": true}]},
    {"code": "why", "type": "text", "required": true, "enable_when": [{"item": "all", "operator": "=", "answer": true}]}]}]}');
SELECT * FROM test.judge('{"all": false, "g": [{"smokes": true}, {"smokes": false}, {"smokes": true, "packs": 1}, {"smokes": false, "packs": 1}]}', 'repeated');
SELECT * FROM test.judge('{"all": true, "g": [{"smokes": false}, {"why": "x"}]}', 'repeated');

-- scores
SELECT instrument FROM clinical.create_instrument('{"code": "scores", "version": "1", "items": [
    {"code": "a", "type": "integer"}, {"code": "b", "type": "decimal"}, {"code": "c", "type": "coded", "code_list": [{"code": "lo", "score": 1}, {"code": "hi", "score": 4}, {"code": "na"}]}, {"code": "d", "type": "boolean"},
    {"code": "e", "type": "integer", "enable_when": [{"item": "d", "operator": "=", "answer": true}], "checks": [{"comparator": "LE", "values": [10], "soft_hard": "Hard"}]}],
  "scores": [{"code": "sum", "method": "sum", "items": ["a", "b", "c", "e"]}, {"code": "sum3", "method": "sum", "items": ["a", "b", "c", "e"], "min_answered": 3},
             {"code": "mean", "method": "mean", "items": ["a", "b", "c"], "min_answered": 2, "decimals": 2, "unit": "{score}"},
             {"code": "prorated", "method": "prorated", "items": ["a", "b", "c", "e"], "min_answered": 2, "decimals": 1},
             {"code": "weighted", "method": "prorated", "items": ["a", "b", "c", "e"], "maxima": [10, 5, 4, 10], "min_answered": 2, "decimals": 1},
             {"code": "flags", "method": "mean", "items": ["a", "d"]}]}');
SELECT r.report, (SELECT string_agg(concat(item, '=', coalesce(value::text, 'missing')), ' ' ORDER BY ordinality) FROM clinical.validate_report('scores', r.report) WITH ORDINALITY WHERE kind = 'score') AS scores
  FROM (VALUES ('{"a": 1, "b": 2.5, "c": "hi", "d": true, "e": 10}'::jsonb), ('{"a": 1, "b": 2.5, "c": "hi", "d": false}'), ('{"a": 1, "b": 2.5, "c": "hi"}'), ('{"a": 1, "b": 2.5}'), ('{"a": 1, "b": 2.5, "c": "na", "d": true, "e": 2}'),
               ('{"a": 2, "b": 3, "c": "lo", "d": true}'), ('{"a": 2, "d": true, "e": 11}'), ('{"a": {"absent": "unknown"}, "b": 1}'), ('{"a": 1, "b": 0.1, "c": "lo", "d": false, "e": 5}'), ('{}')) r (report);
-- exact: halves, and what double precision cannot hold
SELECT value FROM clinical.validate_report('scores', '{"a": 9007199254740993, "b": 0.1, "c": "lo", "d": false}') WHERE item = 'sum';
SELECT value FROM clinical.validate_report('scores', '{"a": 1, "b": 0.015, "c": "na"}') WHERE item = 'mean';

-- FHIR: responses
SELECT kind, item, repeat_key, value, value_text, value_code, unit, absent FROM clinical.validate_report('all', '{"resourceType": "QuestionnaireResponse", "status": "completed", "questionnaire": "http://example.org/Questionnaire/all|1",
  "authored": "2026-01-01T10:00:00Z", "subject": {"reference": "Patient/1"}, "item": [
  {"linkId": "int", "text": "Whole", "answer": [{"valueInteger": 3}]}, {"linkId": "dec", "answer": [{"valueQuantity": {"value": 70250, "system": "http://unitsofmeasure.org", "code": "g", "unit": "gram"}}]},
  {"linkId": "qty", "answer": [{"valueQuantity": {"value": 11, "unit": "m/s"}}]}, {"linkId": "txt", "answer": [{"valueString": "hello"}]}, {"linkId": "uri", "answer": [{"valueUri": "urn:x"}]},
  {"linkId": "flag", "answer": [{"valueBoolean": false}]}, {"linkId": "day", "answer": [{"valueDate": "2012-02"}]}, {"linkId": "moment", "answer": [{"valueDateTime": "2025-03-30T00:30:00Z"}]}, {"linkId": "clock", "answer": [{"valueTime": "12:59:00"}]},
  {"linkId": "pick", "answer": [{"valueCoding": {"system": "urn:s", "code": "1", "display": "some"}}]}, {"linkId": "free", "answer": [{"valueString": "else"}]}, {"linkId": "many", "answer": [{"valueInteger": 1}, {"_valueInteger": {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "asked-unknown"}]}}]},
  {"linkId": "head"}, {"linkId": "qty2", "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "not-performed"}]},
  {"linkId": "meals", "item": [{"linkId": "food", "answer": [{"valueString": "rice"}]}, {"linkId": "sides", "item": [{"linkId": "drink", "answer": [{"valueString": "tea"}]}]}, {"linkId": "parts", "item": [{"linkId": "grams", "answer": [{"valueDecimal": 100}]}]}]},
  {"linkId": "meals", "item": [{"linkId": "food", "answer": [{"valueString": "soup"}]}]},
  {"linkId": "pill", "answer": [{"valueCoding": {"code": "A"}, "item": [{"linkId": "dose", "answer": [{"valueDecimal": 5}]}]}, {"valueCoding": {"code": "B"}, "item": [{"linkId": "dose", "answer": [{"valueQuantity": {"value": 2.5, "code": "mg"}}]}]}]}]}');
CREATE FUNCTION test.respond(items text, more text DEFAULT '"status": "completed"') RETURNS TABLE (verdict text) LANGUAGE sql AS $$
    SELECT * FROM test.judge(('{"resourceType": "QuestionnaireResponse", ' || more || ', "item": [' || items || ']}')::jsonb)
$$;
SELECT i AS items, (SELECT string_agg(r, E'\n') FROM test.respond(i) r) AS verdict FROM unnest(ARRAY[
    '', '1', '{}', '{"linkId": 1}', '{"linkId": "zzz"}', '{"linkId": "int"}', '{"linkId": "int", "answer": []}', '{"linkId": "int", "answer": {}}', '{"linkId": "int", "answer": [1]}', '{"linkId": "int", "answer": [{}]}',
    '{"linkId": "int", "answer": [{"valueString": "3"}]}', '{"linkId": "int", "answer": [{"valueDecimal": 3}]}', '{"linkId": "int", "answer": [{"valueInteger": 3, "valueString": "3"}]}', '{"linkId": "int", "answer": [{"valueInteger": 3}, {"valueInteger": 4}]}',
    '{"linkId": "int", "answer": [{"valueInteger": 3}]}, {"linkId": "int", "answer": [{"valueInteger": 4}]}', '{"linkId": "int", "answer": [{"valueWhatever": 3}]}', '{"linkId": "txt", "answer": [{"valueAttachment": {}}]}',
    '{"linkId": "pick", "answer": [{"valueCoding": {"system": "urn:other", "code": "1"}}]}', '{"linkId": "pick", "answer": [{"valueCoding": {"system": "urn:other", "code": "0"}}]}', '{"linkId": "pick", "answer": [{"valueCoding": {"display": "some"}}]}', '{"linkId": "free", "answer": [{"valueCoding": {"code": "zz"}}]}',
    '{"linkId": "dec", "answer": [{"valueQuantity": {"value": 1, "system": "http://other", "code": "kg"}}]}', '{"linkId": "dec", "answer": [{"valueQuantity": {"value": 1, "comparator": "<", "code": "kg"}}]}', '{"linkId": "dec", "answer": [{"valueQuantity": {"value": 1, "unit": "pounds"}}]}', '{"linkId": "dec", "answer": [{"valueQuantity": {"unit": "kg"}}]}', '{"linkId": "dec", "answer": [{"valueDecimal": 1}]}',
    '{"linkId": "meals", "answer": [{"valueString": "x"}]}', '{"linkId": "food", "answer": [{"valueString": "x"}]}', '{"linkId": "meals", "item": [{"linkId": "drink", "answer": [{"valueString": "x"}]}, {"linkId": "int", "answer": [{"valueInteger": 3}]}]}', '{"linkId": "meals", "item": {}}',
    '{"linkId": "pill", "item": [{"linkId": "dose", "answer": [{"valueDecimal": 5}]}]}', '{"linkId": "int", "modifierExtension": [], "answer": [{"valueInteger": 3}]}', '{"linkId": "int", "answer": [{"valueInteger": 3, "modifierExtension": [{}]}]}', '{"linkId": "head", "answer": [{"valueString": "x"}]}']) i;
SELECT m AS header, (SELECT string_agg(r, E'\n') FROM test.respond('{"linkId": "int", "answer": [{"valueInteger": 3}]}', m) r) AS verdict FROM unnest(ARRAY[
    '"status": "amended"', '"status": "in-progress"', '"status": "entered-in-error"', '"status": null', '"status": "completed", "modifierExtension": []', '"status": "completed", "implicitRules": "x"',
    '"status": "completed", "questionnaire": "http://example.org/Questionnaire/all"', '"status": "completed", "questionnaire": "http://example.org/Questionnaire/all|2"', '"status": "completed", "questionnaire": "http://example.org/Questionnaire/other"',
    '"status": "completed", "questionnaire": {"reference": "http://example.org/Questionnaire/all"}', '"status": "completed", "questionnaire": {"reference": "Questionnaire/all"}', '"status": "completed", "questionnaire": 1', '"status": "completed", "questionnaire": {}']) m;
-- below a question that has no answer itself
SELECT instrument FROM clinical.create_instrument('{"code": "below", "version": "1", "items": [{"code": "q", "type": "boolean", "items": [{"code": "a", "type": "text", "required": true}, {"code": "b", "type": "text"}]}]}');
SELECT r, (SELECT string_agg(j, '; ') FROM test.judge(r::jsonb, 'below') j) FROM unnest(ARRAY['{"b": "x"}', '{"q": true, "b": "x"}', '{"q": {"value": true, "items": {"a": "x"}}}',
    '{"resourceType": "QuestionnaireResponse", "status": "completed", "item": [{"linkId": "q", "answer": [{"item": [{"linkId": "b", "answer": [{"valueString": "x"}]}]}]}]}',
    '{"resourceType": "QuestionnaireResponse", "status": "completed", "item": [{"linkId": "q", "item": [{"linkId": "b", "answer": [{"valueString": "x"}]}]}]}',
    '{"resourceType": "QuestionnaireResponse", "status": "completed", "item": [{"linkId": "q", "answer": [{"valueBoolean": true, "item": [{"linkId": "b", "answer": [{"valueString": "x"}]}]}]}]}']) r;
SELECT * FROM test.judge('{"resourceType": "Patient"}');
SELECT * FROM test.judge('{"resourceType": "QuestionnaireResponse", "status": "completed", "questionnaire": "Questionnaire/scores", "item": 1}', 'scores');

-- FHIR: questionnaires, there and back
CREATE FUNCTION test.there_and_back(code text, version text, release text) RETURNS boolean LANGUAGE sql AS $$
    SELECT v.id = (SELECT o.id FROM clinical.instrument_version o WHERE o.instrument = code AND o.version = $2)
      FROM clinical.import_questionnaire(clinical.questionnaire_fhir(code, $2, release)) v
$$;
SELECT bool_and(test.there_and_back(instrument, version, release)) AS all_same, count(*) AS tried
  FROM clinical.instrument_version v, unnest('{R4,R5}'::text[]) release WHERE instrument <> 'many';
SELECT jsonb_pretty(clinical.questionnaire_fhir('adherence'));
SELECT (clinical.questionnaire_fhir('adherence', release => 'R5') #> '{item,1}') - 'answerOption'::text AS r5;
SELECT clinical.questionnaire_fhir('vital-signs') #> '{item,0}' AS blood_pressure;
SELECT test.try($$SELECT clinical.questionnaire_fhir('adherence', release => 'STU3')$$);
SELECT test.try($$SELECT clinical.questionnaire_fhir('no-such')$$);
-- imports
CREATE FUNCTION test.import(item text, more text DEFAULT '') RETURNS text LANGUAGE sql AS $$
    SELECT test.try(format('SELECT (clinical.import_questionnaire(%L)).definition -> ''items''', '{"resourceType": "Questionnaire", "id": "q", "status": "draft", "version": "' || md5(item || more) || '", "item": [' || item || ']' || more || '}'))
$$;
SELECT i AS item, test.import(i) FROM unnest(ARRAY[
    '{"linkId": "1", "type": "string", "text": "x", "prefix": "1.", "required": true, "maxLength": 5, "readOnly": false}', '{"linkId": "1", "type": "text", "repeats": true}', '{"linkId": "1", "type": "date"}', '{"linkId": "1", "type": "url"}',
    '{"linkId": "1", "type": "attachment"}', '{"linkId": "1", "type": "reference"}', '{"linkId": "1", "type": "question"}', '{"linkId": "1"}', '{"type": "string"}', '{"linkId": "1", "type": "string", "whatever": 1}', '{"linkId": "1", "type": "string", "modifierExtension": []}',
    '{"linkId": "1", "type": "display", "required": true, "text": "Hello"}',
    '{"linkId": "1", "type": "decimal", "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/minValue", "valueDecimal": 1.5}, {"url": "http://hl7.org/fhir/StructureDefinition/maxValue", "valueDecimal": 9}, {"url": "http://hl7.org/fhir/StructureDefinition/maxDecimalPlaces", "valueInteger": 1}, {"url": "http://hl7.org/fhir/StructureDefinition/questionnaire-unit", "valueCoding": {"system": "http://unitsofmeasure.org", "code": "kg"}}]}',
    '{"linkId": "1", "type": "quantity", "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/questionnaire-unitOption", "valueCoding": {"code": "kg"}}, {"url": "http://hl7.org/fhir/StructureDefinition/questionnaire-unitOption", "valueCoding": {"code": "[lb_av]"}}, {"url": "http://hl7.org/fhir/StructureDefinition/minValue", "valueQuantity": {"value": 1, "code": "kg"}}]}',
    '{"linkId": "1", "type": "quantity", "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/questionnaire-unitOption", "valueCoding": {"code": "kg"}}, {"url": "http://hl7.org/fhir/StructureDefinition/minValue", "valueQuantity": {"value": 1, "code": "g"}}]}',
    '{"linkId": "1", "type": "quantity", "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/questionnaire-unitOption", "valueCoding": {"code": "kg"}}, {"url": "http://hl7.org/fhir/StructureDefinition/questionnaire-unitOption", "valueCoding": {"code": "furlong"}}]}',
    '{"linkId": "1", "type": "string", "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/regex", "valueString": "^x$"}]}', '{"linkId": "1", "type": "string", "extension": [{"valueString": "x"}]}', '{"linkId": "1", "type": "string", "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/designNote", "valueMarkdown": "x"}]}',
    '{"linkId": "1", "type": "string", "extension": [{"url": "http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-enableWhenExpression", "valueExpression": {}}]}',
    '{"linkId": "1", "type": "decimal", "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/questionnaire-unit", "valueCoding": {"system": "http://unitsofmeasure.org", "code": "kg", "display": "Kilogramm"}}]}',
    '{"linkId": "1", "type": "decimal", "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/questionnaire-unit", "valueCoding": {"system": "http://other", "code": "kg"}}]}', '{"linkId": "1", "type": "decimal", "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/minValue", "valueDecimal": 1, "extension": []}]}',
    '{"linkId": "1", "type": "string", "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/questionnaire-hidden", "valueBoolean": true}]}', '{"linkId": "1", "type": "string", "repeats": true, "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/questionnaire-maxOccurs", "valueInteger": 3}]}',
    '{"linkId": "1", "type": "string", "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/questionnaire-maxOccurs", "valueInteger": 3}]}',
    '{"linkId": "1", "type": "choice", "answerOption": [{"valueCoding": {"system": "s", "code": "a", "display": "A", "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/ordinalValue", "valueDecimal": 1}]}, "initialSelected": true}, {"valueCoding": {"code": "b", "version": "2"}}]}',
    '{"linkId": "1", "type": "open-choice", "answerOption": [{"valueString": "x"}, {"valueString": "y"}]}', '{"linkId": "1", "type": "choice", "option": [{"valueInteger": 1}, {"valueInteger": 2, "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/questionnaire-ordinalValue", "valueDecimal": 5}]}]}',
    '{"linkId": "1", "type": "choice", "answerOption": [{"valueString": "x"}, {"valueInteger": 2}]}', '{"linkId": "1", "type": "choice", "answerOption": [{"valueReference": {}}]}', '{"linkId": "1", "type": "choice", "answerOption": [{"valueCoding": {"display": "Yes"}}]}', '{"linkId": "1", "type": "choice"}', '{"linkId": "1", "type": "open-choice"}',
    '{"linkId": "1", "type": "coding", "answerConstraint": "optionsOrString", "answerOption": [{"valueCoding": {"code": "a"}}]}', '{"linkId": "1", "type": "coding", "answerConstraint": "optionsOrType", "answerOption": [{"valueCoding": {"code": "a"}}]}', '{"linkId": "1", "type": "integer", "answerOption": [{"valueInteger": 1}]}',
    '{"linkId": "1", "type": "choice", "answerValueSet": "http://example.org/vs"}', '{"linkId": "1", "type": "choice", "options": {"reference": "#none"}}',
    '{"linkId": "1", "type": "group", "item": [{"linkId": "1.1", "type": "boolean"}, {"linkId": "1.2", "type": "string", "enableWhen": [{"question": "1.1", "operator": "=", "answerBoolean": true}]}]}',
    '{"linkId": "1", "type": "boolean"}, {"linkId": "2", "type": "string", "enableWhen": [{"question": "1", "answerBoolean": true}, {"question": "1", "hasAnswer": false}]}', '{"linkId": "1", "type": "boolean"}, {"linkId": "2", "type": "string", "enableWhen": [{"question": "1", "operator": "=", "answerBoolean": true}, {"question": "1", "operator": "exists", "answerBoolean": false}]}',
    '{"linkId": "1", "type": "quantity", "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/questionnaire-unitOption", "valueCoding": {"code": "kg"}}]}, {"linkId": "2", "type": "string", "enableWhen": [{"question": "1", "operator": ">", "answerQuantity": {"value": 5, "code": "kg"}}]}',
    '{"linkId": "1", "type": "quantity", "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/questionnaire-unitOption", "valueCoding": {"code": "kg"}}]}, {"linkId": "2", "type": "string", "enableWhen": [{"question": "1", "operator": ">", "answerQuantity": {"value": 5, "code": "g"}}]}',
    '{"linkId": "1", "type": "choice", "option": [{"valueInteger": 1}, {"valueInteger": 2}]}, {"linkId": "2", "type": "string", "enableWhen": [{"question": "1", "operator": "=", "answerInteger": 2}]}',
    '{"linkId": "1", "type": "choice", "option": [{"valueInteger": 1}, {"valueInteger": 2}]}, {"linkId": "2", "type": "string", "enableWhen": [{"question": "1", "operator": "=", "answerInteger": 3}]}',
    '{"linkId": "1", "type": "boolean"}, {"linkId": "2", "type": "string", "enableWhen": [{"question": "1", "operator": "=", "answerReference": {}}]}']) i;
SELECT m AS more, test.import('{"linkId": "1", "type": "choice", "answerValueSet": "#v"}', m) FROM unnest(ARRAY[
    ', "contained": [{"resourceType": "ValueSet", "id": "v", "expansion": {"contains": [{"system": "s", "code": "a", "display": "A"}]}}]', ', "contained": [{"resourceType": "ValueSet", "id": "v", "compose": {"include": [{"system": "s", "concept": [{"code": "a", "display": "A"}]}, {"system": "t", "concept": [{"code": "b"}]}]}}]',
    ', "contained": [{"resourceType": "ValueSet", "id": "v", "expansion": {"total": 2, "contains": [{"system": "s", "code": "a"}]}}]',
    ', "contained": [{"resourceType": "ValueSet", "id": "v", "compose": {"include": [{"system": "s"}]}}]', ', "contained": [{"resourceType": "ValueSet", "id": "v", "compose": {"include": [{"system": "s", "concept": [{"code": "a"}]}], "exclude": [{}]}}]', ', "contained": [{"resourceType": "Patient", "id": "v"}]',
    ', "implicitRules": "x"', ', "modifierExtension": []', ', "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/questionnaire-constraint"}]']) m;
SELECT test.try($$SELECT clinical.import_questionnaire(NULL)$$);
SELECT test.try($$SELECT clinical.import_questionnaire('[]')$$);
SELECT test.try($$SELECT clinical.import_questionnaire('{"resourceType": "Patient"}')$$);
SELECT test.try($$SELECT clinical.import_questionnaire('{"resourceType": "Questionnaire", "item": [{"linkId": "1", "type": "string"}]}')$$);
SELECT instrument, version FROM clinical.import_questionnaire('{"resourceType": "Questionnaire", "item": [{"linkId": "1", "type": "string"}]}', 'named', '7');
SELECT instrument, version FROM clinical.import_questionnaire('{"resourceType": "Questionnaire", "url": "http://example.org/fhir/Questionnaire/by-url", "item": [{"linkId": "1", "type": "string"}]}');
SELECT bool_and(test.there_and_back(instrument, version, release)) AS all_same, count(*) AS tried
  FROM clinical.instrument_version v, unnest('{R4,R5}'::text[]) release WHERE instrument IN ('q', 'named', 'by-url');

-- which project uses which
SELECT clinical.create_center('Instrument Amsterdam', 'INS-1', 'Europe/Amsterdam') AS c \gset
SELECT id AS center FROM clinical.center WHERE site_id = 'INS-1' \gset
SELECT id AS project FROM clinical.create_project_with_centers('Instruments', ARRAY[:center], 'INSTRUMENTS', 'Europe/Amsterdam') \gset
SELECT test.try($$SELECT clinical.instrument_in_force('INSTRUMENTS', 'pain')$$);
SELECT test.try($$SELECT clinical.instrument_in_force('INSTRUMENTS')$$);
SELECT test.try($$SELECT clinical.instrument_in_force('NO-SUCH')$$);
SELECT instrument, is_default FROM clinical.use_instrument('INSTRUMENTS', 'vital-signs', true);
SELECT instrument, is_default FROM clinical.use_instrument('INSTRUMENTS', 'pain', is_default => true);
SELECT instrument, is_default FROM clinical.project_instrument WHERE project_id = :project ORDER BY 1;
SELECT count(*) FROM clinical.create_instrument(jsonb_set((SELECT definition FROM clinical.shipped_instruments() WHERE code = 'pain'), '{version}', '"2"'));
SELECT instrument FROM clinical.use_instrument('INSTRUMENTS', 'pain', true, '2', '2026-03-01');
SELECT d AS on_day, instrument, version FROM unnest('{2020-01-01,2026-02-28,2026-03-01}'::date[]) d, LATERAL clinical.instrument_in_force('INSTRUMENTS', on_day => d);
SELECT instrument FROM clinical.drop_instrument('INSTRUMENTS', 'pain', '2026-06-01');
SELECT test.try($$SELECT clinical.instrument_in_force('INSTRUMENTS', 'pain', '2026-06-01')$$);
SELECT version FROM clinical.instrument_in_force('INSTRUMENTS', 'pain', '2026-05-31');
SELECT test.try($$SELECT clinical.drop_instrument('INSTRUMENTS', 'adherence')$$);
SELECT test.try($$SELECT clinical.drop_instrument('INSTRUMENTS', 'pain', '2026-06-01')$$);
SELECT test.try($$SELECT clinical.drop_instrument('INSTRUMENTS', 'pain', '2026-07-01')$$);
-- planned for later, and dropped before
SELECT instrument, is_default FROM clinical.use_instrument('INSTRUMENTS', 'pain', version => '1', effective_from => '2027-03-01');
SELECT instrument FROM clinical.drop_instrument('INSTRUMENTS', 'pain', '2027-01-01');
SELECT test.try($$SELECT clinical.instrument_in_force('INSTRUMENTS', 'pain', '2027-04-01')$$);
SELECT array_agg(effective_from || ' ' || coalesce(version_id::text, 'none') ~ 'none' ORDER BY id) FROM clinical.project_instrument_version WHERE instrument = 'pain' AND project_id = :project AND effective_from >= '2026-06-01';
-- an item that is another one in another instrument of the project
BEGIN;
SELECT v.instrument, u.project_id IS NOT NULL AS used
  FROM clinical.create_instrument('{"code": "homonym", "version": "1", "items": [{"code": "8310-5", "type": "group", "items": [{"code": "72514-3", "label": "x", "type": "text"}]}]}') v,
       LATERAL clinical.use_instrument('INSTRUMENTS', v.instrument) u;
SELECT v.instrument, u.project_id IS NOT NULL AS used
  FROM clinical.create_instrument('{"code": "heading", "version": "1", "items": [{"code": "72514-3", "type": "group", "items": [{"code": "own", "type": "text"}]}]}') v,
       LATERAL clinical.use_instrument('INSTRUMENTS', v.instrument) u;
ROLLBACK;
SELECT test.try($$SELECT clinical.use_instrument('INSTRUMENTS', 'no-such')$$);
SELECT test.try($$SELECT clinical.use_instrument('INSTRUMENTS', 'pain', false, '3')$$);
SELECT test.try($$SELECT clinical.use_instrument('NO-SUCH', 'pain')$$);
SELECT test.try($$SELECT clinical.use_instrument('INSTRUMENTS', 'pain', false, '1', 'infinity')$$);
SELECT test.try($$DELETE FROM clinical.instrument_version WHERE instrument = 'pain'$$) ~ '^23503' AS used_stays;
SELECT test.try($$UPDATE clinical.project_instrument_version SET version_id = NULL$$);
SELECT test.try($$DELETE FROM clinical.project_instrument_version$$);
-- a version that is deleted, and made anew under its name, is compiled anew
SELECT instrument FROM clinical.create_instrument('{"code": "passing", "version": "1", "items": [{"code": "a", "type": "integer"}]}');
SELECT clinical.report_is_valid('passing', '{"a": 1}');
DELETE FROM clinical.instrument_version WHERE instrument = 'passing';
SELECT instrument FROM clinical.create_instrument('{"code": "passing", "version": "1", "items": [{"code": "a", "type": "text"}]}');
SELECT clinical.report_is_valid('passing', '{"a": 1}');
BEGIN;
SET LOCAL clinical.restore = on;
UPDATE clinical.instrument_version SET definition = jsonb_set(definition, '{items,0,type}', '"integer"') WHERE instrument = 'passing';
SELECT clinical.report_is_valid('passing', '{"a": 1}');
ROLLBACK;
SELECT clinical.report_is_valid('passing', '{"a": 1}');

-- a definition is compiled once a session and version
SELECT instrument FROM clinical.create_instrument((SELECT jsonb_build_object('code', 'thousand', 'version', '1', 'items', jsonb_agg(jsonb_build_object('code', 'i' || i, 'type', 'integer'))) FROM generate_series(1, 1000) i));
SET client_min_messages = debug1;
SELECT clinical.report_is_valid('thousand', '{"i1": 1}');
SELECT count(*) FROM clinical.validate_report('thousand', '{"i1000": 1}');
SELECT bool_and(clinical.report_is_valid('thousand', jsonb_build_object('i' || i, i))) FROM generate_series(1, 1000) i;
RESET client_min_messages;

-- schedules
CREATE FUNCTION test.plan(schedule text) RETURNS text LANGUAGE sql AS $$
    SELECT test.try(format('SELECT (clinical.schedule_entries(%L, %L, %L, %L)).schedule', 'INSTRUMENTS', 'vital-signs', schedule, '2100-01-01'))
$$;
BEGIN;
SELECT s, test.plan(s) FROM unnest(ARRAY['1', '{}', '{"kind": "hourly"}', '{"kind": "daily", "every": 0}', '{"kind": "daily", "days": ["mon"]}', '{"kind": "daily", "from": "18"}', '{"kind": "daily", "from": "24:00"}', '{"kind": "daily", "to": "24:00"}',
    '{"kind": "daily", "grace_minutes": 99999}', '{"kind": "weekly"}', '{"kind": "weekly", "days": []}', '{"kind": "weekly", "days": ["monday"]}', '{"kind": "weekly", "days": ["mon", "mon"]}', '{"kind": "visits"}', '{"kind": "visits", "visits": []}', '{"kind": "visits", "visits": [{"code": "V1"}]}',
    '{"kind": "visits", "visits": [{"code": "V1", "day": 0}]}', '{"kind": "visits", "every": 2, "visits": [{"code": "V1", "day": 1}]}', '{"kind": "visits", "visits": [{"code": "V1", "day": 1}, {"code": "V1", "day": 2}]}', '{"kind": "visits", "visits": [{"code": "V1", "day": 1, "before": 2000}]}', '{"kind": "daily", "visits": []}']) s;
ROLLBACK;
SELECT test.try($$SELECT clinical.schedule_entries('INSTRUMENTS', 'adherence', '{"kind": "daily"}')$$);
SELECT test.try($$SELECT clinical.schedule_entries('NO-SUCH', 'pain', '{"kind": "daily"}')$$);
SELECT test.try($$SELECT clinical.schedule_entries('INSTRUMENTS', 'pain', '{"kind": "daily"}', '-infinity')$$);
SELECT instrument, effective_from FROM clinical.schedule_entries('INSTRUMENTS', 'vital-signs', '{"kind": "daily", "from": "18:00", "to": "23:59", "grace_minutes": 120}');

SET timezone = 'UTC';
SELECT id FROM clinical.enroll_patient('INS-P1', NULL, NULL, 'INSTRUMENTS', :center, effective_on => '2025-03-28');
-- the end of winter time in Amsterdam
SELECT instrument, day, entry_window, closes_at, time_zone, status FROM clinical.expected_entries('INS-P1', '[2025-03-20,2025-04-01)');
-- every other day, by the week, by visits
SELECT instrument FROM clinical.schedule_entries('INSTRUMENTS', 'vital-signs', '{"kind": "daily", "every": 3, "from": "22:00", "to": "02:00"}', '2025-04-10');
SELECT day, entry_window FROM clinical.expected_entries('INS-P1', '[2025-04-08,2025-04-20)');
SELECT instrument FROM clinical.schedule_entries('INSTRUMENTS', 'vital-signs', '{"kind": "weekly", "days": ["mon", "thu"], "every": 2}', '2025-05-01');
SELECT day, to_char(day, 'Dy') AS weekday, entry_window FROM clinical.expected_entries('INS-P1', '[2025-05-01,2025-06-01)');
SELECT instrument FROM clinical.schedule_entries('INSTRUMENTS', 'vital-signs', '{"kind": "visits", "from": "08:00", "to": "20:00", "visits": [{"code": "W10", "day": 71, "before": 3, "after": 3}, {"code": "W12", "day": 85}]}', '2025-06-01');
SELECT day, visit, entry_window, closes_at FROM clinical.expected_entries('INS-P1', '[2025-06-01,2025-07-01)');
SELECT instrument FROM clinical.schedule_entries('INSTRUMENTS', 'vital-signs', NULL, '2025-07-01');
SELECT count(*) FROM clinical.expected_entries('INS-P1', '[2025-07-01,2025-08-01)');
SELECT instrument FROM clinical.schedule_entries('INSTRUMENTS', 'vital-signs', '{"kind": "daily", "from": "18:00", "to": "24:00"}', '2025-08-01');
-- two instruments
SELECT instrument FROM clinical.schedule_entries('INSTRUMENTS', 'pain', '{"kind": "daily", "from": "08:00", "to": "10:00"}', '2025-08-01');
SELECT instrument, day, entry_window FROM clinical.expected_entries('INS-P1', '[2025-08-01,2025-08-03)');
-- a flight to Los Angeles and back: the evening of the 2nd comes once, the patient's own
SELECT time_zone FROM clinical.set_patient_time_zone('INS-P1', 'America/Los_Angeles', '2025-09-02 17:00+02');
SELECT time_zone FROM clinical.set_patient_time_zone('INS-P1', 'Europe/Amsterdam', '2025-09-05 15:00-07');
SELECT day, entry_window, time_zone FROM clinical.expected_entries('INS-P1', '[2025-09-01,2025-09-08)') WHERE instrument = 'vital-signs';
-- over the date line, eastwards a day comes twice, westwards one is lost
SELECT time_zone FROM clinical.set_patient_time_zone('INS-P1', 'Pacific/Auckland', '2025-10-01 00:00+02');
SELECT time_zone FROM clinical.set_patient_time_zone('INS-P1', 'Pacific/Honolulu', '2025-10-05 23:00+13');
SELECT time_zone FROM clinical.set_patient_time_zone('INS-P1', 'Pacific/Auckland', '2025-10-08 17:00-10');
SELECT day, entry_window, time_zone FROM clinical.expected_entries('INS-P1', '[2025-10-03,2025-10-12)') WHERE instrument = 'vital-signs';
-- excused, and not
SELECT patient_id, period, reason FROM clinical.excuse_entries('INS-P1', '[2025-10-10 00:00+13,2025-10-11 00:00+13)', 'in hospital');
SELECT patient_id, period, reason FROM clinical.excuse_entries('INS-P1', '[2025-10-10 00:00+13,2025-10-11 00:00+13)', 'told again');
SELECT instrument, day, status FROM clinical.expected_entries('INS-P1', '[2025-10-09,2025-10-12)');
SELECT test.try($$SELECT clinical.excuse_entries('INS-P1', 'empty', 'x')$$);
SELECT test.try($$SELECT clinical.excuse_entries('INS-P1', NULL, 'x')$$);
SELECT test.try($$SELECT clinical.excuse_entries('INS-P1', '[2025-01-01,2025-01-02)', NULL)$$);
SELECT test.try($$SELECT clinical.excuse_entries('no-such', '[2025-01-01,2025-01-02)', 'x')$$);
SELECT test.try($$SELECT clinical.excuse_entries(NULL, '[2025-01-01,2025-01-02)', 'x')$$);
SELECT test.try($$UPDATE clinical.entry_excuse SET reason = 'x'$$);
SELECT test.try($$DELETE FROM clinical.entry_excuse WHERE patient_id = 'INS-P1'$$);
BEGIN;
SET LOCAL clinical.reason = 'was another patient';
DELETE FROM clinical.entry_excuse WHERE patient_id = 'INS-P1';
SELECT DISTINCT status FROM clinical.expected_entries('INS-P1', '[2025-10-09,2025-10-12)');
ROLLBACK;
-- until the day before the end; not while screened
SELECT status FROM clinical.set_patient_status('INS-P1', 'withdrawn', '2025-11-03', 'moved away');
SELECT instrument, min(day), max(day), count(*) FROM clinical.expected_entries('INS-P1', '[2025-10-25,2026-10-01)') GROUP BY 1 ORDER BY 1;
SELECT id FROM clinical.enroll_patient('INS-P2', NULL, NULL, 'INSTRUMENTS', :center, status => 'screened', effective_on => '2025-08-01');
SELECT count(*) FROM clinical.expected_entries('INS-P2', '[2025-08-01,2026-08-01)');
SELECT status FROM clinical.set_patient_status('INS-P2', 'enrolled', '2025-08-30');
SELECT instrument, min(day), max(day), count(*) FROM clinical.expected_entries('INS-P2', '[2025-08-01,2025-09-01)') GROUP BY 1 ORDER BY 1;
-- dropped: no entries of it any more
SELECT instrument FROM clinical.drop_instrument('INSTRUMENTS', 'vital-signs', '2025-08-31');
SELECT instrument, count(*) FROM clinical.expected_entries('INS-P2', '[2025-08-01,2025-09-02)') GROUP BY 1 ORDER BY 1;
SELECT test.try($$SELECT clinical.expected_entries('no-such', '[2025-08-01,2025-09-01)')$$);
SELECT test.try($$SELECT clinical.expected_entries('', '[2025-08-01,2025-09-01)')$$);
SELECT test.try($$SELECT clinical.expected_entries('INS-P2', NULL)$$);
SELECT test.try($$SELECT clinical.expected_entries('INS-P2', '[2025-08-01,)')$$);
SELECT test.try($$SELECT clinical.expected_entries('INS-P2', '[2025-08-01,infinity)')$$);
SELECT test.try($$SELECT clinical.expected_entries('INS-P2', '[2025-08-01,2099-01-01)')$$);
SELECT count(*) FROM clinical.expected_entries('INS-P2', 'empty');

SELECT * FROM clinical.check();
