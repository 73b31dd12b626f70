-- report_render: reports as rows and as pages, made of documents that are no report's.
\getenv source PG_ABS_SRCDIR
\set file :source /report_document.sql
SET client_min_messages = warning;
\set ECHO none
\i :file
\set ECHO all
RESET client_min_messages;

-- A document with one table, of columns and rows.
CREATE FUNCTION test.report_of(columns text, rows jsonb, section text DEFAULT 'status') RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object('header', '{}'::jsonb, 'body', jsonb_build_object(section, test.report_section('Section', test.report_table('t', 'Table', columns, rows))))
$$;
-- What is printed of a value.
CREATE FUNCTION test.printed(kind text, value jsonb, decimals int DEFAULT NULL) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT r.text FROM clinical.report_rows(test.report_of(format('x, X, %s', kind),
        jsonb_build_array(jsonb_build_object('by', '{}'::jsonb, 'x', value, 'decimals', decimals)))) r
$$;

-- rounding: half away from zero, in decimal, decimals by the kind and the data
SELECT kind, value, decimals, test.printed(kind, value::jsonb, decimals)
  FROM (VALUES ('count', '0', NULL), ('count', '254', NULL), ('percent', '0', NULL), ('percent', '0.05', NULL), ('percent', '99.95', NULL), ('percent', '12.349999999999999999', NULL),
               ('value', '5', 0), ('value', '5.50', 2), ('value', '-0.5', 0), ('value', '0.5', NULL), ('value', '-0.04', 1),
               ('mean', '75.25', 0), ('mean', '2.05', 0), ('mean', '-2.05', 0), ('mean', '1.005', 1), ('mean', '2.675', 2), ('mean', '77', 0),
               ('sd', '8.245', 0), ('sd', '8.24499999', 0), ('sd', '0', 1), ('rate', '0.005', NULL), ('rate', '1e20', NULL), ('score', '-2.005', NULL), ('score', '1.995', NULL)) AS v(kind, value, decimals);
-- durations
SELECT seconds, test.printed('seconds', to_jsonb(seconds))
  FROM unnest('{0,0.04,0.05,9.96,59.94,59.95,60,119.5,3570,3599.4,3599.5,7500,86369,86370,93784,31536000,-0.04,-75,1e15,1e40}'::numeric[]) AS u(seconds);
-- all else
SELECT kind, value, test.printed(kind, value)
  FROM (VALUES ('label', '"a"'::jsonb), ('text', '"a"'), ('text', '7.50'), ('text', 'true'), ('text', 'null'), ('date', '"2026-07-01"'), ('month', '"2026-07"'), ('time', '"2026-07-01T06:13:07.25+00:00"'),
               ('time', '"2026-07-01T06:13:07Z"'), ('time', '"2026-07-01T06:13:07.5+02:00"'), ('time', '"soon"'), ('time', '""'), ('time', '"."'), ('flag', '2'), ('flag', '0'), ('flag', '-1'), ('flag', 'true'), ('flag', 'false'),
               ('flag', '"high"'), ('flag', 'null'), ('count', 'null'), ('percent', 'null'), ('sd', 'null'), ('seconds', 'null')) AS v(kind, value);
-- a standard deviation of one value, of none, and where nothing says of how many
SELECT r.row_label, r.statistic, r.value, r.text
  FROM clinical.report_rows(test.report_of('g, G, label; n, N, count; sd, SD, sd',
      '[{"by": {}, "g": "one", "n": 1, "sd": null}, {"by": {}, "g": "none", "n": 0, "sd": null}, {"by": {}, "g": "null", "n": null, "sd": null}, {"by": {}, "g": "two", "n": 2, "sd": 0}]')) r;

-- what a row is about
SELECT r.row_label FROM clinical.report_rows(test.report_of('center, Center, label; month, Month, month; n, N, count', '[
    {"by": {}, "center": null, "month": null}, {"by": {}, "center": "701", "month": "2026-07"}, {"by": {}, "center": "701", "month": null}, {"by": {}, "center": null, "month": "2026-07"},
    {"by": {"arm": "Placebo"}, "center": "701", "month": "2026-07"}, {"by": {"arm": "Placebo", "sex": "F"}, "center": null, "month": null}, {"by": {"arm": null}, "center": null, "month": null},
    {"by": {"arm": "null"}, "center": "null", "month": null}, {"by": {"arm": ""}, "center": "", "month": ""}, {"by": {"arm": "Placebo, center 701"}, "center": "701, 2026-07", "month": "center 701"},
    {"by": {"a = b": "c = d"}, "center": "\"", "month": " 2026-07"}, {"by": {}, "center": 7.0, "month": "20260-12"}, {"by": {}, "center": true, "month": "2026-7"}, {"by": {}, "center": "a\nb", "month": null}]')) r;
-- no two rows of the sample have the same label
SELECT count(*) AS figures, count(*) - count(DISTINCT (section, table_name, row_label, statistic)) AS doubles FROM clinical.report_rows(test.report_document());
-- in the order of the page
SELECT section, table_name, count(*) AS figures FROM (SELECT *, row_number() OVER () AS n FROM clinical.report_rows(test.report_document())) r GROUP BY 1, 2 ORDER BY min(n);
-- values are unrounded and denominators are told
SELECT r.row_label, r.column_label, r.statistic, r.value, r.text, r.denominator FROM clinical.report_rows(test.report_document()) r WHERE r.table_name IN ('ages', 'sexes', 'transfer', 'withdrawals', 'open_alerts');

-- what is suppressed is not told, whatever the row says
CREATE TABLE test.suppressed AS
    SELECT test.report_of('g, G, label; what, What, text; n, N, count; sd, SD, sd; percent, %, percent, n; day, Day, date; flag, Flag, flag',
        '[{"by": {}, "g": "x", "what": "words", "n": 424242, "sd": null, "percent": 42.4242, "day": "4242-04-24", "flag": 42, "suppressed": true},
          {"by": {}, "g": "y", "what": "words", "n": 7, "sd": 1, "percent": 5, "day": "2026-07-01", "flag": 1, "suppressed": false}]') AS document;
SELECT r.row_label, r.statistic, r.value, r.text, r.denominator FROM test.suppressed, clinical.report_rows(document) r;
SELECT clinical.report_html(document) ~ '4242' AS told FROM test.suppressed;

-- documents that are none
SELECT what, replace(test.try(format('SELECT count(*) FROM clinical.report_rows(document => %L)', document)), E'\n', '') AS rows,
       test.try(format('SELECT count(*) FROM clinical.report_rows(document => %L)', document)) = regexp_replace(test.try(format('SELECT clinical.report_html(document => %L)', document)), '^<.*', '0') AS page_says_the_same
  FROM (SELECT 'x, X, count' AS c, test.report_of('x, X, count', '[]') AS sound) s, LATERAL (VALUES
    ('not an object', '[]'::jsonb), ('a scalar', '1'), ('empty', '{}'), ('no header', '{"body": {}}'), ('body', '{"header": {}, "body": []}'), ('another key', '{"header": {}, "body": {}, "x": 1}'),
    ('another section', '{"header": {}, "body": {"x": {"title": "X", "tables": []}}}'), ('section', '{"header": {}, "body": {"status": 1}}'), ('no tables', '{"header": {}, "body": {"status": {"title": "X"}}}'),
    ('table', '{"header": {}, "body": {"status": {"title": "X", "tables": [1]}}}'), ('no columns', jsonb_set(sound, '{body,status,tables,0,columns}', '[]')),
    ('column', jsonb_set(sound, '{body,status,tables,0,columns}', '["x"]')), ('kind', test.report_of('x, X, number', '[]')), ('key of column', jsonb_set(sound, '{body,status,tables,0,columns,0,x}', '1')),
    ('twice', test.report_of('x, X, count; x, X, count', '[]')), ('decimals as a column', test.report_of('decimals, X, count', '[]')), ('of nothing', test.report_of('x, X, percent, y', '[]')),
    ('of a text', test.report_of('y, Y, text; x, X, percent, y', '[]')), ('row', test.report_of(c, '[1]')), ('no by', test.report_of(c, '[{"x": 1}]')), ('by', test.report_of(c, '[{"by": "arm", "x": 1}]')),
    ('another key of a row', test.report_of(c, '[{"by": {}, "x": 1}, {"by": {}, "y": 1}]')), ('not a number', test.report_of(c, '[{"by": {}, "x": "1"}]')), ('a container', test.report_of('x, X, text', '[{"by": {}, "x": []}]')),
    ('a day that is a number', test.report_of('x, X, date', '[{"by": {}, "x": 1}]')), ('decimals', test.report_of(c, '[{"by": {}, "x": 1, "decimals": -1}]')), ('more decimals', test.report_of(c, '[{"by": {}, "x": 1, "decimals": 1e10}]')),
    ('decimals of text', test.report_of(c, '[{"by": {}, "x": 1, "decimals": "1"}]')), ('suppressed', test.report_of(c, '[{"by": {}, "x": 1, "suppressed": 1}]')),
    ('sound', sound), ('nothing', '{"header": {}, "body": {}}'), ('a value that is absent', test.report_of(c, '[{"by": {}}]'))) AS v(what, document);
SELECT clinical.report_html(NULL::jsonb) IS NULL AS html, (SELECT count(*) FROM clinical.report_rows(NULL::jsonb)) AS rows;

-- the page: the same bytes each time, well-formed XML, and the same text as the rows
SELECT count(DISTINCT md5(clinical.report_html(test.report_document()))) AS pages FROM generate_series(1, 5);
CREATE TABLE test.page AS
    SELECT n, document, replace(clinical.report_html(document), '<!DOCTYPE html>', '')::xml AS page
      FROM (VALUES (1, test.report_document()), (2, test.report_document(60, 300)), (3, '{"header": {}, "body": {}}')) AS v(n, document);
SELECT n, cardinality(xpath('//table', page)) AS tables, cardinality(xpath('//svg[@role="img"]', page)) AS pictures, cardinality(xpath('//svg[not(title) or not(desc)]', page)) AS silent,
       cardinality(xpath('//td', page)) AS cells, cardinality(xpath('//tbody/tr[not(th)][count(td) > 6]', page)) AS rows_without_head, (xpath('string(/html/@lang)', page))[1] AS language
  FROM test.page ORDER BY n;
SELECT n, count(*) AS figures, count(*) FILTER (WHERE cell = words) AS same
  FROM test.page, LATERAL (SELECT r.text AS words, row_number() OVER () AS i FROM clinical.report_rows(document) r) AS f
  LEFT JOIN LATERAL (SELECT (xpath('string(.)', x))[1]::text AS cell, i FROM unnest(xpath('//td[not(@colspan)]', page)) WITH ORDINALITY AS u(x, i)) AS c USING (i)
 GROUP BY n ORDER BY n;

-- a report that a job has made, for who may read it
SELECT test.try('SELECT clinical.report_html(NULL::uuid)') AS html, test.try('SELECT clinical.report_rows(NULL::uuid)') AS rows;
BEGIN;
SET LOCAL clinical.restore = on;
INSERT INTO clinical.project (id, code, name, time_zone) OVERRIDING SYSTEM VALUE VALUES (9301, 'RR', 'Rendered', 'UTC');
INSERT INTO clinical.center (id, name, site_id, time_zone, status, activated_at) OVERRIDING SYSTEM VALUE VALUES (9301, 'One', 'RR-1', 'UTC', 'active', '2026-01-01');
INSERT INTO clinical.project_center (project_id, center_id) VALUES (9301, 9301);
INSERT INTO clinical.report_job (id, project_id, period, options, centers, status, role, role_name, requested_at, requested_by, attempts)
VALUES ('00000000-0000-7000-8000-000000000001', 9301, '[2026-07-01,2026-10-01)', '{}', '{9301}', 'done', current_user::regrole, current_user, '2026-10-06', current_user, 1);
INSERT INTO clinical.report (id, project_id, centers, document, generated_at)
VALUES ('00000000-0000-7000-8000-000000000001', 9301, '{9301}', test.report_document(), '2026-10-06');
SET LOCAL clinical.restore = off;
CREATE ROLE regress_clinical_reader;
GRANT clinical_statistician TO regress_clinical_reader;
SELECT clinical.report_html(report_id => r.id) = clinical.report_html(r.document) AS same_page, (SELECT count(*) FROM clinical.report_rows(report_id => r.id)) AS rows FROM clinical.report r WHERE r.id = '00000000-0000-7000-8000-000000000001';
SET LOCAL ROLE regress_clinical_reader;
SAVEPOINT unseen;
SELECT clinical.report_html(report_id => '00000000-0000-7000-8000-000000000001');
ROLLBACK TO unseen;
SELECT * FROM clinical.report_rows(report_id => '00000000-0000-7000-8000-000000000001');
ROLLBACK TO unseen;
RESET ROLE;
SELECT (clinical.grant_center('regress_clinical_reader', 9301)).center_id;
SET LOCAL ROLE regress_clinical_reader;
SELECT clinical.report_html(report_id => '00000000-0000-7000-8000-000000000001') ~ '^<!DOCTYPE html>' AS page, (SELECT count(*) FROM clinical.report_rows(report_id => '00000000-0000-7000-8000-000000000001')) AS rows;
ROLLBACK;
