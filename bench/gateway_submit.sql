\set n random(1, 10000)
\set second random(0, 2000000)
\set systolic random(90, 170)
\set diastolic random(50, 100)
BEGIN;
SET LOCAL ROLE phone;
SELECT r.status, (SELECT pg_catalog.string_agg(pg_catalog.translate(pg_catalog.concat(h.key, ': ', h.value), E'\r\n', ''), E'\n') FROM pg_catalog.jsonb_each_text(r.headers) h), COALESCE(r.content, r.body::pg_catalog.text) FROM clinical.http_submit(pg_catalog.format('{"patientId": "P%s", "capturedAt": %s, "instrument": "diary", "reportData": {"systolic": %s, "diastolic": %s, "pulse": 70, "pain": 4, "note": "slept badly, took a walk in the morning, and felt better after that; nothing else to report today"}}', :n::pg_catalog.int4, pg_catalog.to_jsonb(pg_catalog.to_timestamp(1769904000 + :second::pg_catalog.int4)), :systolic::pg_catalog.int4, :diastolic::pg_catalog.int4), NULL, NULL) r;
COMMIT;
