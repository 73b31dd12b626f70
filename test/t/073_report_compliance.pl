# Differential test: the entries of random studies, counted for a report at once, are those that
# entry_compliance gives patient by patient, whatever way the server reads the reports.
#
#   CLINICAL_SEED=...     replays a run
#   CLINICAL_STUDIES=...  so many studies (7)
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{CLINICAL_SEED} // int(rand(2**31));
my $studies = $ENV{CLINICAL_STUDIES} // 7;
srand($seed);
note("CLINICAL_SEED=$seed");

my $node = PostgreSQL::Test::Cluster->new('report_compliance');
$node->init;
$node->append_conf('postgresql.conf', join "\n", "shared_preload_libraries = 'clinical'", 'max_worker_processes = 12', 'fsync = off', '');
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION clinical;
CREATE SCHEMA test;
SELECT clinical.create_instrument(format('{"code": "%s", "version": "%s", "items": [{"code": "a", "type": "integer"}]}', i, v)::jsonb)
  FROM unnest('{i1,i2,i3,i4}'::text[]) i, unnest('{1,2}'::text[]) v;

-- So much does the trouble of making the rows; what they are is chance, but for the days around which they lie.
CREATE FUNCTION test.one(anyarray) RETURNS anyelement LANGUAGE sql VOLATILE AS 'SELECT $1[1 + floor(random() * cardinality($1))::integer]';
CREATE FUNCTION test.times() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object('from', test.one('{NULL,00:00,01:30,01:45,02:30,18:00,23:30}'::text[]),
        'to', test.one('{NULL,24:00,23:59,02:30,03:00,06:00,18:00}'::text[]),
        'grace_minutes', test.one('{NULL,0,30,240,1440,4000}'::integer[])))
$$;
CREATE FUNCTION test.schedule(times jsonb) RETURNS jsonb LANGUAGE sql VOLATILE AS $$
    SELECT k || CASE WHEN random() < 0.5 THEN times ELSE test.times() END FROM (SELECT CASE WHEN r < 0.1 THEN NULL
        WHEN r < 0.5 THEN jsonb_build_object('kind', 'daily') || CASE WHEN random() < 0.4 THEN jsonb_build_object('every', test.one('{2,3,7}'::integer[])) ELSE '{}' END
        WHEN r < 0.75 THEN jsonb_build_object('kind', 'weekly', 'days', test.one(ARRAY['["mon"]', '["tue", "sat"]', '["sun", "mon", "fri"]']::jsonb[]))
            || CASE WHEN random() < 0.4 THEN '{"every": 2}' ELSE '{}' END::jsonb
        ELSE jsonb_build_object('kind', 'visits', 'visits', (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('code', 'V' || n, 'day', 1 + floor(random() * 60)::integer,
                'before', test.one('{NULL,0,3,7}'::integer[]), 'after', test.one('{NULL,0,1,10}'::integer[])))) FROM generate_series(1, 1 + floor(random() * 8)::integer) n))
        END AS k FROM (SELECT random() AS r OFFSET 0) c) d
$$;
-- One of the instruments is answered daily, from begins on; two of the centers are in that zone.
CREATE PROCEDURE test.make_study(code text, first_day date, patients integer, zone text, begins text) LANGUAGE plpgsql AS $$
DECLARE
    zones text[] := '{Europe/Amsterdam,America/Los_Angeles,Asia/Tokyo,Pacific/Auckland,America/New_York,Asia/Kathmandu,Australia/Lord_Howe,Pacific/Apia,UTC}';
    project bigint;
    places bigint[];
    who text;
    enrolled date;
    place bigint;
    times jsonb;
BEGIN
    SELECT array_agg((clinical.create_center('Center', code || n, CASE WHEN n > 2 THEN zone ELSE test.one(zones) END)).id) INTO places FROM generate_series(1, 4) n;
    project := (clinical.create_project_with_centers(code, places, code, 'Europe/Amsterdam')).id;
    PERFORM clinical.use_instrument(code, i, NULL, test.one('{1,2}'::text[])) FROM unnest('{i1,i2,i3}'::text[]) i;
    FOR i IN 1..3 LOOP
        times := test.times();
        PERFORM clinical.schedule_entries(code, 'i' || i, CASE i WHEN 2 THEN jsonb_build_object('kind', 'daily', 'from', begins, 'grace_minutes', 60) ELSE test.schedule(times) END);
        FOR j IN 1..floor(random() * 3)::integer LOOP
            PERFORM clinical.schedule_entries(code, 'i' || i, test.schedule(times), first_day + floor(random() * 40)::integer);
        END LOOP;
    END LOOP;
    IF random() < 0.3 THEN
        PERFORM clinical.drop_instrument(code, 'i1', first_day + 20);
        PERFORM clinical.use_instrument(code, 'i1', NULL, '2', first_day + 30);
    END IF;
    FOR i IN 1..patients LOOP
        who := code || '-' || i;
        enrolled := first_day - 25 + floor(random() * 50)::integer;
        place := test.one(places);
        PERFORM clinical.enroll_patient(who, NULL, NULL, code, place, jsonb_build_object('id', who), status => CASE WHEN random() < 0.2 THEN 'screened' ELSE 'enrolled' END,
            effective_on => enrolled - 2, time_zone => CASE WHEN random() < 0.2 THEN test.one(zones) END);
        PERFORM clinical.set_patient_status(who, 'enrolled', enrolled) FROM clinical.patient p WHERE p.id = who AND p.status = 'screened' AND random() < 0.9;
        WHILE random() < 0.25 LOOP
            PERFORM clinical.set_patient_time_zone(who, test.one(zones), timezone('UTC', (first_day - 5 + floor(random() * 40)::integer)::timestamp) + floor(random() * 96)::integer * interval '15 minutes');
        END LOOP;
        FOR j IN 0..floor(random() * 1.4)::integer + floor(random() * 1.3)::integer - 1 LOOP
            PERFORM clinical.transfer_patient(who, c, enrolled + 3 + j * test.one('{0,1,14}'::integer[]), 'moves')
               FROM unnest(places) c JOIN clinical.patient p ON p.id = who AND p.center_id <> c ORDER BY random() LIMIT 1;
        END LOOP;
        PERFORM clinical.set_patient_status(who, test.one('{completed,withdrawn,died}'::text[]), (SELECT max(e.effective_on) FROM clinical.enrollment_event e WHERE e.patient_id = who) + test.one('{0,5,25}'::integer[]), 'ends')
           FROM clinical.patient p WHERE p.id = who AND p.status = 'enrolled' AND random() < 0.3;
        -- until just when a window begins
        PERFORM clinical.excuse_entries(who, tstzrange(lower(e.entry_window) - interval '1 day', lower(e.entry_window), test.one('{[],[)}'::text[])), 'away')
           FROM (SELECT * FROM clinical.expected_entries(who, daterange(first_day, first_day + 30)) e ORDER BY random() LIMIT 1) e WHERE random() < 0.4;
        WHILE random() < 0.3 LOOP
            PERFORM clinical.excuse_entries(who, tstzrange(f, CASE WHEN random() < 0.1 THEN NULL ELSE f + (1 + floor(random() * 10 * 24)::integer) * interval '1 hour' END, test.one('{[],[)}'::text[])), 'away')
               FROM (SELECT CASE WHEN random() < 0.05 THEN NULL ELSE timezone('UTC', (first_day + floor(random() * 40)::integer)::timestamp) + floor(random() * 24)::integer * interval '1 hour' END AS f OFFSET 0) x;
        END LOOP;
    END LOOP;
END
$$;
-- Reports lie in the windows, at their bounds and around them, or anywhere.
CREATE PROCEDURE test.make_reports(code text, first_day date) LANGUAGE plpgsql AS $$
BEGIN
    SET LOCAL clinical.restore = on;
    INSERT INTO clinical.submission (patient_id, id, project_id, version_id, status, captured_at, local_day, time_zone, received_at, processed_at, originator, login,
            digest, observations, observations_digest, report_data)
        SELECT r.patient_id, gen_random_uuid(), r.project_id, test.one(ARRAY(SELECT v.id FROM clinical.instrument_version v WHERE v.instrument = r.instrument)),
               CASE WHEN random() < 0.1 THEN 'withdrawn' ELSE 'accepted' END, r.captured_at, timezone(r.zone, r.captured_at)::date, r.zone,
               r.captured_at + CASE WHEN random() < 0.1 THEN -interval '10 minutes' WHEN random() < 0.8 THEN random() * interval '100 seconds' ELSE random() * random() * interval '30 days' END,
               now(), 'subject', 'x', '\x00', 0, '\x00', '{}'
          FROM (SELECT e.patient_id, e.project_id, e.instrument, coalesce(e.time_zone, 'UTC') AS zone,
                       CASE CASE WHEN e.instrument = 'i2' AND random() < 0.4 THEN 0 ELSE floor(random() * 8) END WHEN 0 THEN lower(e.entry_window) WHEN 1 THEN upper(e.entry_window) WHEN 2 THEN e.closes_at
                            WHEN 3 THEN upper(e.entry_window) - interval '1 microsecond' WHEN 4 THEN e.closes_at - interval '1 microsecond'
                            WHEN 5 THEN lower(e.entry_window) - random() * interval '2 hours'
                            ELSE lower(e.entry_window) + random() * (e.closes_at - lower(e.entry_window)) END AS captured_at
                  FROM (SELECT p.id AS patient_id, p.project_id, x.*, random() * random() AS busy
                          FROM clinical.patient p
                          JOIN clinical.project j ON j.id = p.project_id AND j.code = make_reports.code
                         CROSS JOIN LATERAL (SELECT x.instrument, x.entry_window, x.closes_at, x.time_zone FROM clinical.expected_entries(p.id, daterange(first_day - 10, first_day + 80)) x
                                             UNION ALL
                                             SELECT i, tstzrange(g, g + interval '1 hour'), g + interval '2 hours', NULL
                                               FROM generate_series(timezone('UTC', first_day - interval '5 days'), timezone('UTC', first_day + interval '70 days'), interval '5 days 3 hours') g,
                                                    unnest('{i1,i2,i4}'::text[]) i) x
                         WHERE p.id !~ '7$') e
                 WHERE random() > e.busy OR random() < 0.2) r;
END
$$;

-- The patients as they are to come out, by entry_compliance.
CREATE FUNCTION test.entry(code text, first_day date, end_day date, cut_off timestamptz)
    RETURNS TABLE (patient_id text, center text, instrument text, day date, begins timestamptz, number bigint, status text) LANGUAGE sql AS $$
    SELECT p.id, c.site_id, e.instrument, e.day, lower(e.entry_window), e.number, e.status
      FROM clinical.patient p
      JOIN clinical.center c ON c.id = p.center_id
      JOIN clinical.project j ON j.id = p.project_id AND j.code = entry.code
     CROSS JOIN LATERAL clinical.entry_compliance(p.id, daterange(first_day, end_day), cut_off) WITH ORDINALITY
            AS e (instrument, day, visit, entry_window, closes_at, time_zone, status, submission_id, captured_at, received_at, number)
     WHERE e.closes_at <= cut_off
$$;
CREATE FUNCTION test.expected(code text, first_day date, end_day date, cut_off timestamptz)
    RETURNS TABLE (patient_id text, fact text, instrument text, expected bigint, completed bigint, late bigint, missed bigint, excused bigint, longest_missed bigint,
        run_first date, run_last date, accepted bigint, withdrawn bigint, reports bigint, delayed bigint, median numeric, p95 numeric) LANGUAGE sql AS $$
    WITH entry AS MATERIALIZED (SELECT * FROM test.entry(code, first_day, end_day, cut_off)),
    run AS (
        SELECT r.patient_id, r.instrument, count(*) AS entries, min(r.day) AS first, max(r.day) AS last, min(r.number) AS number
          FROM (SELECT e.*, count(*) FILTER (WHERE e.status IN ('completed', 'late')) OVER (PARTITION BY e.patient_id, e.instrument ORDER BY e.number) AS made
                  FROM entry e WHERE e.status <> 'excused') r
         WHERE r.status = 'missed'
         GROUP BY r.patient_id, r.instrument, r.made),
    report AS (
        SELECT s.patient_id, s.status, s.received_at, s.local_day, round(extract(epoch FROM s.received_at - s.captured_at)) AS lag
          FROM clinical.submission s JOIN clinical.project j ON j.id = s.project_id AND j.code = expected.code
         WHERE s.received_at <= cut_off),
    lag AS (
        SELECT r.patient_id, r.lag, row_number() OVER (PARTITION BY r.patient_id ORDER BY r.lag) AS number, count(*) OVER (PARTITION BY r.patient_id) AS n
          FROM report r WHERE r.status = 'accepted' AND r.local_day >= first_day AND r.local_day < end_day)
    SELECT p.id, CASE WHEN i.instrument IS NULL THEN 'all' ELSE 'instrument' END, i.instrument,
           i.expected, i.completed, i.late, i.missed, i.excused,
           (SELECT coalesce(max(r.entries), 0) FROM run r WHERE r.patient_id = p.id AND (i.instrument IS NULL OR r.instrument = i.instrument)), NULL::date, NULL::date,
           CASE WHEN i.instrument IS NULL THEN (SELECT count(*) FROM report r WHERE r.patient_id = p.id AND r.status = 'accepted' AND timezone('UTC', r.received_at)::date BETWEEN first_day AND end_day - 1) END,
           CASE WHEN i.instrument IS NULL THEN (SELECT count(*) FROM report r WHERE r.patient_id = p.id AND r.status = 'withdrawn' AND timezone('UTC', r.received_at)::date BETWEEN first_day AND end_day - 1) END,
           CASE WHEN i.instrument IS NULL THEN (SELECT count(*) FROM lag l WHERE l.patient_id = p.id) END,
           CASE WHEN i.instrument IS NULL THEN (SELECT count(*) FROM lag l WHERE l.patient_id = p.id AND l.lag > 86400) END, NULL::numeric, NULL::numeric
      FROM clinical.patient p
      JOIN clinical.project j ON j.id = p.project_id AND j.code = expected.code
     CROSS JOIN LATERAL (SELECT e.instrument, count(*) FILTER (WHERE e.status <> 'excused') AS expected, count(*) FILTER (WHERE e.status = 'completed') AS completed,
               count(*) FILTER (WHERE e.status = 'late') AS late, count(*) FILTER (WHERE e.status = 'missed') AS missed, count(*) FILTER (WHERE e.status = 'excused') AS excused
                FROM entry e WHERE e.patient_id = p.id GROUP BY ROLLUP (e.instrument)) i
    UNION ALL
    SELECT r.patient_id, 'run', r.instrument, NULL, NULL, NULL, r.entries, NULL, r.entries, r.first, r.last, NULL, NULL, NULL, NULL, NULL, NULL
      FROM run r WHERE r.entries >= 3
    UNION ALL
    SELECT l.patient_id, 'transfer', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, l.n, NULL,
           (SELECT trim_scale(avg(m.lag)) FROM lag m WHERE m.patient_id = l.patient_id AND m.number IN (ceil(l.n * 0.5), floor(l.n * 0.5) + 1)),
           (SELECT trim_scale(avg(m.lag)) FROM lag m WHERE m.patient_id = l.patient_id AND m.number IN (ceil(l.n * 0.95), floor(l.n * 0.95) + 1))
      FROM lag l WHERE l.number = 1
$$;

-- Split by patients, the facts are those of each.
CREATE FUNCTION test.facts(code text, first_day date, end_day date, cut_off timestamptz, split text[] = '{id}') RETURNS SETOF jsonb LANGUAGE plpgsql AS $$
DECLARE
    project bigint := (SELECT j.id FROM clinical.project j WHERE j.code = facts.code);
BEGIN
    RETURN QUERY EXECUTE 'SELECT to_jsonb(r) FROM clinical.report_patient_compliance($1, $2, $3, $4, $5, $6, $7, $8) r'
        USING project, ARRAY(SELECT x.center_id FROM clinical.project_center x WHERE x.project_id = project), first_day, end_day, cut_off, 'UTC', split,
              (SELECT jsonb_agg(r) FROM clinical.report_entry_plan(project, NULL, first_day, end_day, cut_off, 'UTC', split, NULL) r);
END
$$;
CREATE FUNCTION test.found(code text, first_day date, end_day date, cut_off timestamptz)
    RETURNS TABLE (patient_id text, fact text, instrument text, expected bigint, completed bigint, late bigint, missed bigint, excused bigint, longest_missed bigint,
        run_first date, run_last date, accepted bigint, withdrawn bigint, reports bigint, delayed bigint, median numeric, p95 numeric) LANGUAGE sql AS $$
    SELECT f."by" ->> 'id', f.fact, f.instrument, f.expected, f.completed, f.late, f.missed, f.excused, f.longest_missed,
           f.run_first, f.run_last, f.accepted, f.withdrawn, f.reports, f.delayed, f.median, f.p95
      FROM test.facts(code, first_day, end_day, cut_off) j,
           jsonb_to_record(j) AS f ("by" jsonb, fact text, center_id bigint, instrument text, patient_id text, expected bigint, completed bigint, late bigint, missed bigint, excused bigint, longest_missed bigint,
                run_first date, run_last date, accepted bigint, withdrawn bigint, reports bigint, delayed bigint, median numeric, p95 numeric)
     WHERE f.fact <> 'transfer' OR (f."by" <> '{}' AND f.center_id IS NULL)
$$;
SQL

my %settings = (
	serial => 'SET max_parallel_workers_per_gather = 0',
	'parallel' => "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET min_parallel_index_scan_size = 0; SET max_parallel_workers_per_gather = 3",
	'little memory' => "SET work_mem = '64kB'; SET enable_sort = off",
	sorted => 'SET enable_hashagg = off');

# Days around which clocks change, or a day is left out; where, and a time that comes twice, or not at all
my @around = ([qw(2025-03-30 Europe/Amsterdam 02:30)], [qw(2025-10-26 Europe/Amsterdam 02:30)], [qw(2025-03-09 America/Los_Angeles 02:30)],
	[qw(2025-11-02 America/New_York 01:30)], [qw(2026-04-05 Australia/Lord_Howe 01:45)], [qw(2011-12-30 Pacific/Apia 08:00)], [qw(2024-02-29 UTC 00:00)]);
my $compared = 0;
for my $study (1 .. $studies)
{
	my $code = "S$study-";
	my ($day, $zone, $begins) = @{ $around[ $study % @around ] };
	my $number = rand(2) - 1;
	my ($before, $length) = (int rand 40, 1 + int rand 60);
	my $arguments = "'$code', date '$day' - $before, date '$day' - $before + $length";
	my $first = "date '$day' - $before";
	$node->safe_psql('postgres', "SELECT setseed($number); CALL test.make_study('$code', $first, 25, '$zone', '$begins'); CALL test.make_reports('$code', $first); ANALYZE");
	for my $cut_off ("timestamptz '$day' + interval '100 days'", "timestamptz '$day' + interval '" . int(rand 500) . " hours'")
	{
		my $differences = $node->safe_psql('postgres', qq{
CREATE TEMP TABLE expected AS SELECT * FROM test.expected($arguments, $cut_off);
CREATE TEMP TABLE found AS SELECT * FROM test.found($arguments, $cut_off);
SELECT 'expected', * FROM (SELECT * FROM expected EXCEPT ALL SELECT * FROM found) d UNION ALL
SELECT 'found', * FROM (SELECT * FROM found EXCEPT ALL SELECT * FROM expected) d ORDER BY 2, 3, 4});
		is($differences, '', "study $study: as entry_compliance has it") or diag("$arguments, $cut_off");
		$compared += $node->safe_psql('postgres', "SELECT count(*) FROM test.found($arguments, $cut_off) f WHERE f.fact = 'instrument' AND f.expected > 0");
	}
	my $cut_off = "timestamptz '$day' + interval '50 days'";
	my %results = map { $_ => $node->safe_psql('postgres', "$settings{$_}; SELECT * FROM test.facts($arguments, $cut_off, '{sex,id}')") } keys %settings;
	is($results{$_}, $results{serial}, "study $study: the same, $_") for grep { $_ ne 'serial' } sort keys %settings;
}
cmp_ok($compared, '>', 10 * $studies, 'entries were compared');

$node->stop;
done_testing();
