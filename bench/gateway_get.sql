\set n random(1, 10000)
BEGIN;
SET LOCAL ROLE nurse;
SELECT r.status, (SELECT pg_catalog.string_agg(pg_catalog.translate(pg_catalog.concat(h.key, ': ', h.value), E'\r\n', ''), E'\n') FROM pg_catalog.jsonb_each_text(r.headers) h), COALESCE(r.content, r.body::pg_catalog.text) FROM clinical.http_get_patient('P' || :n) r;
COMMIT;
