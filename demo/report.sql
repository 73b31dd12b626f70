-- report.sql: the report of the study's quarter with the most readings, made by a worker while somebody
-- looks how far it is, as a page, as rows, and at once; one that nobody wants any more is cancelled.
-- After demo/monitor.sql, as a superuser; variable file: where the page goes.  Ends with an error if
-- the report made at once differs, or is not that of the study.

-- Waits until a report has ended.
CREATE OR REPLACE PROCEDURE demo.wait_for_report(which uuid) LANGUAGE plpgsql AS $$
DECLARE
    began timestamptz := clock_timestamp();
BEGIN
    WHILE EXISTS (SELECT FROM clinical.report_job j WHERE j.id = which AND j.status IN ('queued', 'running')) LOOP
        IF clock_timestamp() > began + interval '3 minutes' THEN
            RAISE EXCEPTION 'the report is not made';
        END IF;
        COMMIT;
        PERFORM pg_sleep(0.02);
    END LOOP;
END
$$;

SELECT p.code AS project, date_trunc('quarter', s.local_day)::date AS first_day,
       (date_trunc('quarter', s.local_day) + interval '3 months')::date AS end_day
  FROM clinical.submission s JOIN clinical.project p ON p.id = s.project_id
 GROUP BY 1, 2, 3 ORDER BY count(*) DESC LIMIT 1 \gset

-- Somebody who sees one center, and a statistician who sees all.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'demo_statistician') THEN
        CREATE ROLE demo_statistician LOGIN IN ROLE clinical_statistician;
    END IF;
END
$$;
INSERT INTO clinical.membership (role) SELECT 'demo_statistician' WHERE NOT EXISTS (SELECT FROM clinical.membership WHERE role = 'demo_statistician'::regrole);

SELECT count(*) > 0 AS has_cron FROM pg_extension WHERE extname = 'pg_cron' \gset
\if :has_cron
    GRANT USAGE ON SCHEMA cron TO demo_statistician;
\endif

\set ECHO queries
SET ROLE demo_statistician;
SELECT clinical.request_report(:'project', daterange(:'first_day', :'end_day'), '{"by": ["sex"]}') AS report_id \gset
SELECT status, phase, done, total, percent, worker IS NOT NULL AS has_worker FROM clinical.report_progress WHERE report_id = :'report_id';
RESET ROLE;
\set ECHO none
CALL demo.wait_for_report(:'report_id');
\set ECHO queries
SET ROLE demo_statistician;
SELECT status, percent, ended_at - started_at AS took FROM clinical.report_progress WHERE report_id = :'report_id';

-- As a page, for people.
\set ECHO none
\pset tuples_only on
\pset format unaligned
\o :file
SELECT clinical.report_html(:'report_id'::uuid);
\o
\pset format aligned
\pset tuples_only off
\echo '==> the page is in' :file
\echo
\set ECHO queries

-- As rows, for statisticians.
SELECT row_label, statistic, value, text FROM clinical.report_rows(:'report_id'::uuid)
 WHERE section = 'items' AND table_name = 'items' LIMIT 12;

-- The same at once, up to the same moment: the same figures, to the last digit.
SELECT at_once ->> 'sha256' = r.document ->> 'sha256' AS same
  FROM clinical.report r,
       clinical.generate_report(:'project', daterange(:'first_day', :'end_day'),
           jsonb_build_object('by', '["sex"]'::jsonb, 'cutoff', r.document #> '{header,cutoff}')) at_once
 WHERE r.id = :'report_id' \gset
\echo '    the same at once:' :same

-- Every quarter, by pg_cron.
\if :has_cron
    SELECT clinical.schedule_report(:'project', 'quarterly', '{"by": ["sex"]}') AS job_id \gset
    SELECT job_id, kind, schedule, role, next_due_at FROM clinical.scheduled_job;
    SELECT clinical.unschedule_report(:job_id);
\endif

-- One that nobody wants any more.
SELECT clinical.request_report(:'project', daterange(:'first_day', :'end_day')) AS unwanted \gset
SELECT clinical.cancel_report(:'unwanted');
RESET ROLE;
\set ECHO none
CALL demo.wait_for_report(:'unwanted');
SELECT set_config('demo.report_id', :'report_id', false), set_config('demo.same', :'same', false) \g /dev/null
DO $$
DECLARE
    reported bigint;
    stored bigint;
BEGIN
    IF current_setting('demo.same') IS DISTINCT FROM 't' THEN
        RAISE EXCEPTION 'the report made at once differs';
    END IF;
    -- as many readings as the database has of that time
    SELECT sum((i.value ->> 'n')::bigint + (i.value ->> 'missing')::bigint) INTO reported
      FROM clinical.report r, jsonb_array_elements(r.document #> '{body,items,tables}') t, jsonb_array_elements(t.value -> 'rows') i
     WHERE r.id = current_setting('demo.report_id')::uuid AND t.value ->> 'name' = 'items'
       AND i.value -> 'by' = '{}' AND i.value ->> 'month' IS NULL;
    SELECT count(*) INTO stored
      FROM clinical.current_observation o, clinical.report r
     WHERE r.id = current_setting('demo.report_id')::uuid AND o.local_day >= (r.document #>> '{header,period,0}')::date
       AND o.local_day < (r.document #>> '{header,period,1}')::date AND (o.value IS NOT NULL OR o.absent IS NOT NULL);
    IF reported IS DISTINCT FROM stored THEN
        RAISE EXCEPTION 'the report has % readings, and the database %', reported, stored;
    END IF;
END
$$;
