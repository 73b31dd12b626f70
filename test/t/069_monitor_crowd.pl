# Many at once: reports come, are corrected and withdrawn, people handle alerts, the rule is changed again and again
# and evaluated.  In every snapshot the alerts are those of a window query over the readings that hold; nobody
# fails but by what may happen; and nothing is told twice.  CLINICAL_CROWD_SECONDS says how long (6).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use Monitor;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{CLINICAL_CROWD_SECONDS} // 6;
my $node = monitor_node('monitor_crowd', 'clinical.batch_size = 20');
my $patients = 10;
$node->safe_psql('postgres', qq{SELECT clinical.enroll_patient('C' || g, NULL, NULL, 'MON', 1, time_zone => 'UTC', effective_on => '2026-01-10') FROM generate_series(1, $patients) g});
rule($node, 'postgres', 'CROWD', escalate_after => '["1 second", "2 seconds"]');
ok(evaluated($node, 'postgres'), 'there is a rule');
# Alerts of two versions of a rule may grow to be of one streak, so versions count once.
$node->safe_psql('postgres', q{
CREATE VIEW public.streak AS
 WITH day AS (SELECT patient_id, local_day AS d, bool_or(NOT value <@ numrange '[90,140]') AS is_out FROM clinical.current_observation WHERE item = 'systolic' GROUP BY 1, 2),
      run AS (SELECT patient_id, d, d - (row_number() OVER (PARTITION BY patient_id ORDER BY d))::int AS g FROM day WHERE is_out)
 SELECT patient_id, min(d) AS onset, max(d) AS last_day, count(*)::int AS out_days FROM run GROUP BY patient_id, g HAVING count(*) >= 3;
CREATE VIEW public.live AS SELECT patient_id, rule_version, onset, last_day, out_days FROM clinical.alert WHERE supported AND status IN ('open', 'acknowledged', 'closed');
CREATE VIEW public.wrong AS
 SELECT 'missing' AS what, s.* FROM (SELECT * FROM public.streak EXCEPT SELECT patient_id, onset, last_day, out_days FROM public.live) s
 UNION ALL SELECT 'unfounded', a.* FROM (SELECT patient_id, onset, last_day, out_days FROM public.live EXCEPT SELECT * FROM public.streak) a
 UNION ALL SELECT 'twice', patient_id, onset, max(last_day), count(*)::int FROM public.live GROUP BY patient_id, rule_version, onset HAVING count(*) > 1;
CREATE TABLE public.seen (wrong text, snapshots int);
CREATE FUNCTION public.patient() RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT 'C' || (1 + floor(random() * 10))::int $$});
# what there is before
$node->safe_psql('postgres', qq{SELECT count(clinical.submit_report('C' || p, jsonb_build_object('systolic', CASE WHEN random() < 0.65 THEN 150 ELSE 120 END), captured_at => '2026-02-01 12:00+00'::timestamptz + d * interval '1 day'))
  FROM generate_series(1, $patients) p, generate_series(0, 19) d});

# What each of them does, so many times a second, in so many sessions.  55000 and P0002: somebody else was first.
my %scripts = (
	submit => [ 2, 60, q{SELECT outcome FROM clinical.submit_report(public.patient(), jsonb_build_object('systolic', CASE WHEN random() < 0.65 THEN 150 ELSE 120 END), captured_at => '2026-02-01 12:00+00'::timestamptz + floor(random() * 20) * interval '1 day');} ],
	correct => [ 2, 30, q{DO $$ BEGIN PERFORM clinical.correct_observation(patient_id, id, CASE WHEN random() < 0.6 THEN '150' ELSE '120' END, 'r')
  FROM (SELECT * FROM clinical.current_observation WHERE patient_id = public.patient() ORDER BY random() LIMIT 1) o; EXCEPTION WHEN SQLSTATE '55000' OR no_data_found THEN NULL; END $$;} ],
	withdraw => [ 1, 5, q{DO $$ BEGIN PERFORM clinical.withdraw_submission(patient_id, id, 'r') FROM (SELECT * FROM clinical.submission WHERE patient_id = public.patient() AND status = 'accepted' ORDER BY random() LIMIT 1) o;
EXCEPTION WHEN SQLSTATE '55000' OR no_data_found THEN NULL; END $$;} ],
	handle => [ 2, 15, qq{BEGIN;\n} . q{DO $$ BEGIN PERFORM CASE WHEN random() < 0.7 OR status = 'closed' THEN (clinical.acknowledge_alert(patient_id, id, 'r')).status ELSE (clinical.close_alert(patient_id, id, 'r')).status END
  FROM (SELECT * FROM clinical.alert WHERE patient_id = public.patient() AND (status = 'open' OR basis_changed) ORDER BY random() LIMIT 1) o; EXCEPTION WHEN SQLSTATE '55000' OR no_data_found THEN NULL; END $$;} . qq{\n\\sleep 20 ms\nCOMMIT;} ],
	change => [ 1, 3, q{SELECT version FROM clinical.change_rule('CROWD', clinical.rule_json('CROWD') - 'version', 'r');} ],
	look => [ 1, 10, q{INSERT INTO public.seen SELECT (SELECT string_agg(w::text, ' ') FROM public.wrong w), 1;} ]);
my %running;
for my $name (sort keys %scripts)
{
	my ($clients, $rate, $sql) = @{ $scripts{$name} };
	my $file = $node->basedir . "/$name.sql";
	append_to_file($file, "$sql\n");
	my $out = '';
	$running{$name} = { out => \$out };
	$running{$name}{run} = IPC::Run::start([ 'pgbench', '-n', '-c', $clients, '-R', $rate, '-T', $seconds, '-f', $file, '-d', $node->connstr('postgres') ], '>', \$out, '2>&1');
}
for my $name (sort keys %running)
{
	$running{$name}{run}->finish;
	my $out = ${ $running{$name}{out} };
	unlike($out, qr/ERROR|aborted/, "$name: nothing fails") or diag $out;
	like($out, qr/actually processed: [1-9]/, "$name: it was done");
}
drained($node, 'postgres', 'a crowd');
ok(evaluated($node, 'postgres'), 'all versions are evaluated');
is($node->safe_psql('postgres', 'SELECT wrong FROM public.seen WHERE wrong IS NOT NULL LIMIT 3'), '', 'in every snapshot the alerts were right');
is($node->safe_psql('postgres', 'SELECT * FROM public.wrong'), '', 'and they are at the end');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM clinical.alert'), '>', $patients, 'there were alerts');
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.set_aside}), 0, 'no report was set aside');
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.rule_evaluation WHERE status NOT IN ('done', 'cancelled')}), 0, 'no evaluation failed');
is($node->safe_psql('postgres', q{SELECT alert_id, level FROM clinical.alert_event WHERE kind = 'escalated' GROUP BY 1, 2 HAVING count(*) > 1}), '', 'each level was told once');
sound($node, 'postgres', 'a crowd', 1);
is(log_count($node, qr/PANIC|TRAP|terminated by signal|deadlock detected/), 0, 'no crash, no deadlock');
done_testing();
