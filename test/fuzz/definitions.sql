-- What the fuzzer validates against and edits: the definitions that come with the extension, and one
-- with everything.
SELECT pg_catalog.array_agg(d) FROM (
    SELECT definition AS d FROM clinical.shipped_instruments()
    UNION ALL
    SELECT '{"code": "all", "version": "1", "title": "t", "url": "http://example.org/all", "codes": [{"code": "c", "system": "s"}], "fhir": {"id": "x", "name": "n"},
     "items": [
      {"code": "int", "type": "integer", "unit": "{score}", "required": true, "checks": [{"id": "minValue", "comparator": "GE", "values": [0], "soft_hard": "Hard"},
        {"id": "maxValue", "comparator": "LE", "values": [10], "soft_hard": "Hard"}, {"comparator": "NOTIN", "values": [7, 9], "soft_hard": "Soft", "message": "m"}]},
      {"code": "dec", "type": "decimal", "decimals": 2, "unit": "kg", "units": ["g", {"unit": "{x}", "factor": 6.35, "offset": 1}], "hidden": true},
      {"code": "qty", "type": "quantity"}, {"code": "qty2", "type": "quantity", "unit": "mm[Hg]", "units": ["kPa"], "checks": [{"comparator": "GT", "values": [60], "soft_hard": "Hard"}]},
      {"code": "txt", "type": "text", "max_length": 5, "multiline": true, "fhir": {"prefix": "1."}}, {"code": "uri", "type": "uri"}, {"code": "flag", "type": "boolean"},
      {"code": "day", "type": "date", "partial": true, "checks": [{"comparator": "GE", "values": ["2012-02-15"], "soft_hard": "Hard"}]}, {"code": "moment", "type": "dateTime"}, {"code": "clock", "type": "time"},
      {"code": "pick", "type": "coded", "code_list": [{"code": "0", "score": 0}, {"code": "1", "label": "L", "score": 1.5, "system": "urn:s", "fhir": {"coding": {"version": "2"}, "option": {"initialSelected": true}}}, {"code": "x"}]},
      {"code": "free", "type": "coded", "open": true, "code_type": "string", "code_list": [{"code": "a"}]}, {"code": "num", "type": "coded", "code_type": "integer", "code_list": [{"code": "1"}, {"code": "2", "score": 5}]},
      {"code": "many", "type": "integer", "repeats": true, "min_repeats": 2, "max_repeats": 3}, {"code": "head", "type": "display", "label": "Meals"},
      {"code": "meals", "type": "group", "required": true, "repeats": true, "items": [{"code": "food", "type": "text", "required": true}, {"code": "sides", "type": "group", "items": [{"code": "drink", "type": "text"}]},
        {"code": "parts", "type": "group", "repeats": true, "items": [{"code": "grams", "type": "decimal", "unit": "g", "enable_when": [{"item": "food", "operator": "exists", "answer": true}]}]}]},
      {"code": "pill", "type": "coded", "repeats": true, "code_list": [{"code": "A"}, {"code": "B"}], "items": [{"code": "dose", "type": "decimal", "unit": "mg", "required": true}]},
      {"code": "if1", "type": "text", "required": true, "enable_when": [{"item": "int", "operator": ">", "answer": 1}, {"item": "pick", "operator": "!=", "answer": "1"}], "enable_behavior": "any"},
      {"code": "if2", "type": "group", "enable_when": [{"item": "if1", "operator": "exists", "answer": false}, {"item": "day", "operator": "<=", "answer": "2020-01-01"}], "items": [{"code": "in2", "type": "integer"}]},
      {"code": "if3", "type": "text", "enable_when": [{"item": "qty2", "operator": ">=", "answer": 80}]}, {"code": "if4", "type": "text", "enable_when": [{"item": "free", "operator": "=", "answer": "other"}]}],
     "scores": [{"code": "total", "method": "sum", "items": ["int", "pick", "flag"], "min_answered": 1}, {"code": "p", "method": "prorated", "items": ["int", "in2"], "maxima": [10, 5], "decimals": 2}]}'::jsonb) s
