-- A report as reports are, of a study that there is not: for tests of what renders it.
CREATE SCHEMA IF NOT EXISTS test;
SET jit = off;

-- A number from 0 to below size that depends on a and b alone, and on no version of the server.
CREATE FUNCTION test.pick(a int, b int, size int) RETURNS int LANGUAGE sql IMMUTABLE
RETURN (a * 7919 + b * 104729 + a * b * 37) % 1009 % size;

-- Columns from lines of name, label, kind and of.
CREATE FUNCTION test.report_columns(lines text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', p[1], 'label', p[2], 'kind', p[3], 'of', p[4])) ORDER BY n)
      FROM regexp_split_to_table(lines, '; ') WITH ORDINALITY AS l(line, n), regexp_split_to_array(line, ', ') AS p
$$;

CREATE FUNCTION test.report_table(name text, title text, columns text, rows jsonb, note text DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object('name', name, 'title', title, 'note', note))
           || jsonb_build_object('columns', test.report_columns(columns), 'rows', coalesce(rows, '[]'))
$$;

CREATE FUNCTION test.report_section(title text, VARIADIC tables jsonb[]) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object('title', title, 'tables', to_jsonb(tables))
$$;

CREATE FUNCTION test.report_status() RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT test.report_section('Status',
        test.report_table('centers', 'Centers by status', 'status, Status, label; centers, Centers, count',
            '[{"by": {}, "status": "active", "centers": 11}, {"by": {}, "status": "suspended", "centers": 1}, {"by": {}, "status": "closed", "centers": 0},
              {"by": {}, "status": null, "centers": 12}]'),
        test.report_table('patients', 'Patients by status',
            'status, Status, label; reason, Reason, label; patients, Patients, count; screened, Screened, count; percent, %, percent, screened',
            '[{"by": {}, "status": "screened", "reason": null, "patients": 306, "screened": 306, "percent": 100},
              {"by": {}, "status": "enrolled", "reason": null, "patients": 254, "screened": 306, "percent": 83.00653594771242},
              {"by": {}, "status": "withdrawn", "reason": null, "patients": 31, "screened": 306, "percent": 10.130718954248366},
              {"by": {}, "status": "withdrawn", "reason": "adverse event", "patients": 17, "screened": 306, "percent": 5.555555555555555},
              {"by": {}, "status": "withdrawn", "reason": "withdrew consent", "patients": 14, "screened": 306, "percent": 4.57516339869281},
              {"by": {"arm": "Placebo"}, "status": "enrolled", "reason": null, "patients": 86, "screened": 86, "percent": 100},
              {"by": {"arm": "Verum 54 mg"}, "status": "enrolled", "reason": null, "patients": 84, "screened": 84, "percent": 100},
              {"by": {"arm": null}, "status": "screened", "reason": null, "patients": 52, "screened": 52, "percent": 100}]',
            'Patients screened by the end of the period.'))
$$;

CREATE FUNCTION test.report_enrolment(centers int) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    WITH month AS (SELECT m, to_char(date '2026-01-01' + m * interval '1 month', 'YYYY-MM') AS month FROM generate_series(0, 8) m),
         c AS (SELECT c, (701 + c)::text AS center FROM generate_series(0, centers - 1) c),
         x AS (SELECT center, month, m, test.pick(c, m, 5) AS enrolled, (m + 1) * 2.6 AS target FROM month, c),
         y AS MATERIALIZED (SELECT center, month, m, enrolled, sum(enrolled) OVER (PARTITION BY center ORDER BY m) AS cumulative, target FROM x),
         z AS (SELECT center, month, sum(enrolled) AS enrolled,
                      sum(cumulative) AS cumulative, sum(target) AS target,
                      sum(enrolled)::numeric / count(*) AS rate, grouping(center) AS gc, grouping(month) AS gm
                 FROM y GROUP BY GROUPING SETS ((center, month), (month), (center), ()))
    SELECT test.report_section('Enrolment', test.report_table('enrolment', 'Enrolment by center and month',
        'center, Center, label; month, Month, month; enrolled, Enrolled, count; cumulative, Cumulative, count; target, Plan, rate; rate, Per active month, rate',
        (SELECT jsonb_agg(jsonb_build_object('by', '{}'::jsonb, 'center', center, 'month', month, 'enrolled', enrolled,
                                             'cumulative', CASE WHEN gm = 0 THEN cumulative ELSE (SELECT sum(enrolled) FROM y WHERE z.center IS NULL OR y.center = z.center) END,
                                             'target', CASE WHEN gm = 0 THEN target ELSE (SELECT sum(target) FROM y WHERE m = 8 AND (z.center IS NULL OR y.center = z.center)) END,
                                             'rate', rate) ORDER BY gc DESC, center, gm DESC, month) FROM z),
        'Plan: linear by days between the first and the last day of enrolment.'))
$$;

CREATE FUNCTION test.report_demographics() RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT test.report_section('Demographics',
        test.report_table('ages', 'Age at enrolment, years',
            'center, Center, label; n, n, count; missing, Missing, count; mean, Mean, mean; sd, SD, sd; median, Median, mean; q1, Q1, mean; q3, Q3, mean; min, Min, value; max, Max, value',
            '[{"by": {}, "decimals": 0, "center": null, "n": 254, "missing": 0, "mean": 75.0866141732283465, "sd": 8.2463, "median": 77, "q1": 70, "q3": 81, "min": 51, "max": 89},
              {"by": {}, "decimals": 0, "center": "701", "n": 41, "missing": 0, "mean": 75.25, "sd": 7.625, "median": 76.5, "q1": 71, "q3": 81, "min": 56, "max": 86},
              {"by": {}, "decimals": 0, "center": "702", "n": 1, "missing": 2, "mean": 75, "sd": null, "median": 75, "q1": 75, "q3": 75, "min": 75, "max": 75},
              {"by": {}, "decimals": 0, "center": "703", "n": 0, "missing": 1, "mean": null, "sd": null, "median": null, "q1": null, "q3": null, "min": null, "max": null},
              {"by": {}, "suppressed": true, "center": "704", "n": null, "missing": null, "mean": null, "sd": null, "median": null, "q1": null, "q3": null, "min": null, "max": null},
              {"by": {"arm": "Placebo"}, "decimals": 0, "center": null, "n": 86, "missing": 0, "mean": 75.2093023255813953, "sd": 8.5901671271, "median": 76, "q1": 69, "q3": 82, "min": 52, "max": 89},
              {"by": {"arm": "Verum 54 mg"}, "decimals": 0, "center": null, "n": 84, "missing": 0, "mean": 75.6666666666666667, "sd": 8.2860505995, "median": 77.5, "q1": 71, "q3": 82, "min": 51, "max": 88}]',
            'Patients enrolled by the end of the period.'),
        test.report_table('sexes', 'Sex', 'center, Center, label; sex, Sex, label; patients, Patients, count; percent, %, percent, total; total, Total, count',
            '[{"by": {}, "center": null, "sex": "F", "patients": 143, "percent": 56.2992125984251969, "total": 254},
              {"by": {}, "center": null, "sex": "M", "patients": 111, "percent": 43.7007874015748031, "total": 254},
              {"by": {}, "center": "701", "sex": "F", "patients": 0, "percent": 0, "total": 41},
              {"by": {}, "center": "701", "sex": "M", "patients": 41, "percent": 100, "total": 41}]'))
$$;

CREATE FUNCTION test.report_items() RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    WITH item AS (SELECT * FROM (VALUES (1, '8480-6', 'Systolic blood pressure', 'mm[Hg]', 0, 136, 9), (2, '8462-4', 'Diastolic blood pressure', 'mm[Hg]', 0, 77, 6),
                                        (3, '8867-4', 'Heart rate', '/min', 0, 72, 8), (4, '29463-7', 'Body weight', 'kg', 1, 68, 7),
                                        (5, 'adas.total', 'ADAS-Cog, total score', NULL, 0, 24, 6)) AS v(i, item, label, unit, decimals, middle, spread)),
         month AS (SELECT m, to_char(date '2026-07-01' + m * interval '1 month', 'YYYY-MM') AS month FROM generate_series(0, 2) m UNION ALL SELECT 9, NULL)
    SELECT test.report_section('Item statistics',
        test.report_table('items', 'Items by month',
            'item, Item, label; label, Label, text; unit, Unit, text; month, Month, month; n, n, count; missing, Missing, count; mean, Mean, mean; sd, SD, sd; median, Median, mean; q1, Q1, mean; q3, Q3, mean; min, Min, value; max, Max, value',
            (SELECT jsonb_agg(jsonb_build_object('by', '{}'::jsonb, 'decimals', decimals, 'item', item, 'label', label, 'unit', unit, 'month', month,
                        'n', 200 + test.pick(i, m, 60), 'missing', test.pick(i, m, 7), 'mean', middle + test.pick(i, m, 30) / 17.0, 'sd', spread + test.pick(i, m, 100) / 37.0,
                        'median', middle + test.pick(i, m, 4), 'q1', middle - spread + test.pick(i, m, 5) / 2.0, 'q3', middle + spread + test.pick(m, i, 5) / 2.0,
                        'min', middle - 3 * spread + CASE WHEN decimals = 1 THEN 0.5 ELSE 0 END, 'max', middle + 4 * spread) ORDER BY i, m) FROM item, month)),
        test.report_table('codes', 'Coded items',
            'item, Item, label; label, Label, text; code, Code, label; code_label, Meaning, text; patients, Patients, count; percent, %, percent, answered; answered, Patients with the item, count; occurrences, Occurrences, count',
            '[{"by": {}, "item": "soc", "label": "Body system", "code": "10017947", "code_label": "Gastrointestinal disorders", "patients": 17, "percent": 19.7674418604651163, "answered": 86, "occurrences": 26},
              {"by": {}, "item": "soc", "label": "Body system", "code": "10018065", "code_label": "General disorders and administration site conditions", "patients": 21, "percent": 24.4186046511627907, "answered": 86, "occurrences": 48},
              {"by": {}, "item": "term", "label": "Term", "code": "10012735", "code_label": "Diarrhoea", "patients": 9, "percent": 10.4651162790697674, "answered": 86, "occurrences": 9}]',
            'Patients with at least one.'))
$$;

CREATE FUNCTION test.report_compliance(centers int) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    WITH x AS (SELECT c, (701 + c)::text AS center, 900 + test.pick(c, 3, 500) AS expected FROM generate_series(0, centers - 1) c),
         y AS (SELECT c, center, expected, expected * (60 + test.pick(c, 1, 38)) / 100 AS completed, 8 + test.pick(c, 2, 30) AS patients FROM x),
         z AS (SELECT center, sum(expected) AS expected, sum(completed) AS completed, sum(patients) AS patients, sum(patients * 3 / 4) AS good FROM y GROUP BY ROLLUP (center))
    SELECT test.report_section('ePRO compliance',
        test.report_table('compliance', 'Compliance by center',
            'center, Center, label; instrument, Questionnaire, label; patients, Patients, count; expected, Expected, count; completed, Completed, count; late, Late, count; missed, Missed, count; excused, Excused, count; percent, %, percent, expected; mean_percent, Mean of patients, percent; patients_80, Patients at 80 % and above, count; percent_80, %, percent, patients; longest_missed, Longest run missed, count',
            (SELECT jsonb_agg(jsonb_build_object('by', '{}'::jsonb, 'center', center, 'instrument', NULL, 'patients', patients, 'expected', expected, 'completed', completed, 'late', 3,
                        'missed', expected - completed - 3, 'excused', 0, 'percent', 100.0 * completed / expected, 'mean_percent', 100.0 * completed / expected - 0.4,
                        'patients_80', good, 'percent_80', 100.0 * good / patients, 'longest_missed', 4) ORDER BY center NULLS FIRST) FROM z),
            'Expected: entries whose window and grace have closed, less excused ones.'),
        test.report_table('transfer', 'From captured to received', 'center, Center, label; n, n, count; median, Median, seconds; p95, P95, seconds',
            '[{"by": {}, "center": null, "n": 11207, "median": 3.25, "p95": 7512.5}, {"by": {}, "center": "701", "n": 1320, "median": 59.96, "p95": 93784},
              {"by": {}, "center": "702", "n": 0, "median": null, "p95": null}]'))
$$;

CREATE FUNCTION test.report_quality() RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT test.report_section('Data quality',
        test.report_table('balance', 'Reports received and what became of them',
            'received, Received, count; accepted, Accepted, count; duplicate, Duplicate, count; conflict, Conflict, count; quarantined, Quarantined, count; withdrawn, Withdrawn, count',
            '[{"by": {}, "received": 11312, "accepted": 11207, "duplicate": 88, "conflict": 1, "quarantined": 14, "withdrawn": 2}]'),
        test.report_table('checks', 'Quarantined reports by reason', 'reason, Reason, label; reports, Reports, count',
            '[{"by": {}, "reason": null, "reports": 14}, {"by": {}, "reason": "out_of_range", "reports": 9}, {"by": {}, "reason": "unknown_item", "reports": 5}]'),
        test.report_table('corrections', 'Corrections', 'item, Item, label; values, Values, count; corrected, Corrected, count; per_100, Per 100 values, rate',
            '[{"by": {}, "item": null, "values": 45211, "corrected": 12, "per_100": 0.0265422}, {"by": {}, "item": "8480-6", "values": 11207, "corrected": 7, "per_100": 0.0624609}]'))
$$;

CREATE FUNCTION test.report_alerts() RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    WITH month AS (SELECT m, to_char(date '2026-07-01' + m * interval '1 month', 'YYYY-MM') AS month FROM generate_series(0, 2) m),
         severity AS (SELECT * FROM unnest('{info,warning,serious,critical}'::text[]) WITH ORDINALITY AS s(severity, s))
    SELECT test.report_section('Alerts',
        test.report_table('alerts', 'Alerts by rule', 'rule, Rule, label; severity, Severity, label; center, Center, label; opened, Opened, count; acknowledged, Acknowledged, count; closed, Closed, count; retracted, Retracted, count; merged, Merged, count; open_at_end, Open at the end, count',
            '[{"by": {}, "rule": null, "severity": null, "center": null, "opened": 60, "acknowledged": 58, "closed": 49, "retracted": 2, "merged": 0, "open_at_end": 9},
              {"by": {}, "rule": "BP3", "severity": "serious", "center": null, "opened": 12, "acknowledged": 12, "closed": 10, "retracted": 0, "merged": 0, "open_at_end": 2},
              {"by": {}, "rule": "BP3", "severity": "serious", "center": "701", "opened": 7, "acknowledged": 7, "closed": 6, "retracted": 0, "merged": 0, "open_at_end": 1}]'),
        test.report_table('alert_times', 'Times of alerts', 'rule, Rule, label; severity, Severity, label; measure, Measure, label; n, n, count; median, Median, seconds; p90, P90, seconds; max, Max, seconds; censored, Still open, count',
            '[{"by": {}, "rule": "BP3", "severity": "serious", "measure": "detection", "n": 12, "median": 0.4, "p90": 61.5, "max": 3599.7, "censored": 0},
              {"by": {}, "rule": "BP3", "severity": "serious", "measure": "to close", "n": 10, "median": 7500, "p90": 86399, "max": 1209600, "censored": 2}]'),
        test.report_table('alerts_by_month', 'Alerts by month', 'month, Month, month; severity, Severity, label; opened, Opened, count',
            (SELECT jsonb_agg(jsonb_build_object('by', '{}'::jsonb, 'month', month, 'severity', severity, 'opened', test.pick(m, s::int, 13)) ORDER BY m, s) FROM month, severity)))
$$;

CREATE FUNCTION test.report_indicators(centers int) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    WITH x AS (SELECT indicator, (701 + c)::text AS center, i, c, (test.pick(c, i::int, 97) - 48) / CASE WHEN test.pick(c, i::int, 11) = 0 THEN 13.0 ELSE 30.0 END AS score
                 FROM unnest('{Alerts,Corrections,Enrolled,Withdrawals,Missed entries,Late entries}'::text[]) WITH ORDINALITY AS u(indicator, i), generate_series(0, centers - 1) c)
    SELECT test.report_section('Key risk indicators', test.report_table('indicators', 'Indicators by center',
        'indicator, Indicator, label; center, Center, label; numerator, Numerator, count; denominator, Denominator, count; value, Value, rate; mean, Mean of all, rate; score, Score, score; flag, Flag, flag',
        (SELECT jsonb_agg(jsonb_build_object('by', '{}'::jsonb, 'indicator', indicator, 'center', center, 'numerator', test.pick(c, 1, 30), 'denominator', 8 + test.pick(c, 2, 90),
                    'value', test.pick(c, 1, 30) / (8.0 + test.pick(c, 2, 90)), 'mean', 0.2317, 'score', CASE WHEN test.pick(c, 2, 90) > 2 THEN score END,
                    'flag', CASE WHEN test.pick(c, 2, 90) <= 2 THEN NULL WHEN score < -3 THEN -2 WHEN score < -2 THEN -1 WHEN score < 2 THEN 0 WHEN score < 3 THEN 1 ELSE 2 END) ORDER BY i, center) FROM x),
        'No score: a denominator below 10.'))
$$;

CREATE FUNCTION test.report_listings(listed int) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT test.report_section('Listings',
        test.report_table('withdrawals', 'Withdrawals', 'center, Center, label; patient, Patient, label; day, Day, date; reason, Reason, text',
            (SELECT jsonb_agg(jsonb_build_object('by', '{}'::jsonb, 'center', (701 + n % 12)::text, 'patient', format('01-%s-%s', 701 + n % 12, 1000 + n), 'day', date '2026-07-01' + test.pick(n, 1, 90),
                        'reason', CASE n % 3 WHEN 0 THEN 'Adverse event' WHEN 1 THEN 'Withdrew consent' END) ORDER BY n) FROM generate_series(1, listed) n)),
        test.report_table('open_alerts', 'Alerts open at the end', 'patient, Patient, label; rule, Rule, label; opened_at, Opened, time; overdue, Overdue, flag',
            '[{"by": {}, "patient": "01-701-1015", "rule": "BP3", "opened_at": "2026-09-29T06:13:07.25+00:00", "overdue": true},
              {"by": {}, "patient": "01-704-1266", "rule": "BP3", "opened_at": "2026-09-30T21:40:00+02:00", "overdue": false}]'),
        test.report_table('missed_runs', 'Three and more entries missed in a row', 'patient, Patient, label; instrument, Questionnaire, label; first_day, From, date; entries, Entries, count', '[]'))
$$;

CREATE FUNCTION test.report_document(centers int DEFAULT 12, listed int DEFAULT 5) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    WITH b AS (SELECT jsonb_build_object('status', test.report_status(), 'enrolment', test.report_enrolment(centers), 'demographics', test.report_demographics(), 'items', test.report_items(),
                   'compliance', test.report_compliance(centers), 'quality', test.report_quality(), 'alerts', test.report_alerts(), 'indicators', test.report_indicators(centers),
                   'listings', test.report_listings(listed)) AS body)
    SELECT jsonb_build_object('header', '{"project": {"code": "XTR-2", "name": "Home blood pressure in mild cognitive impairment", "status": "active", "time_zone": "Europe/Oslo"},
               "period": ["2026-07-01", "2026-10-01"], "cutoff": "2026-10-05T22:00:00+00:00", "snapshot": "8812:8812:", "extension": {"name": "clinical", "version": "0.1"},
               "options": {"by": ["arm"], "suppress_below": 5}, "centers": ["701", "702", "703", "704", "705", "706", "707", "708", "709", "710", "711", "712"], "all_centers": true,
               "rules": [{"code": "BP3", "version": 2, "status": "active"}], "generated_by": "statistics",
               "generated_at": "2026-10-06T04:12:31.52+00:00", "rows": {"submission": 11312, "observation": 56035}}'::jsonb,
               'body', body, 'sha256', encode(sha256(convert_to(body::text, 'UTF8')), 'hex')) FROM b
$$;
