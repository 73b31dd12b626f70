# What is counted adds up with the tables, under load, whatever is rolled back; it is kept over a restart, begins
# anew after a crash, and never with what does not fit.  Databases and projects come and go.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = intake_node('counter', 'clinical.max_databases = 5');
my $file = $node->data_dir . '/pg_stat/clinical.stat';
sub value_of { my ($sql, $database) = @_; return $node->safe_psql($database // 'postgres', $sql) }
value_of(q{
SELECT clinical.create_project_with_centers('Second', '{1}', 'SECOND');
SELECT clinical.enroll_patient('J' || g, NULL, NULL, 'SECOND', 1, effective_on => '2026-01-10') FROM generate_series(1, 50) g;
SELECT clinical.use_instrument('SECOND', 'diary', true);
SELECT clinical.create_rule('{"code": "HIGH", "project": "IN", "kind": "threshold", "severity": "serious", "items": [{"item": "n", "range": "[0,900]"}], "escalate_after": ["1 second"]}');
SELECT clinical.create_rule('{"code": "ANY", "kind": "threshold", "severity": "info", "items": [{"item": "n", "range": "[0,950]"}]}')});

# What the tables say, and what was counted, by project.
my $tables = q{
SELECT coalesce(p.code, '-'), f.* FROM (
    SELECT project_id, count(*) FILTER (WHERE what = 'accepted'), count(*) FILTER (WHERE what = 'duplicate'), count(*) FILTER (WHERE what = 'conflict'),
           count(*) FILTER (WHERE what = 'quarantined'), count(*) FILTER (WHERE what = 'requeued'), count(*) FILTER (WHERE what = 'withdrawn'),
           count(*) FILTER (WHERE what = 'opened info'), count(*) FILTER (WHERE what = 'opened serious'), count(*) FILTER (WHERE what = 'acknowledged'),
           count(*) FILTER (WHERE what = 'closed'), count(*) FILTER (WHERE what = 'retracted'), count(*) FILTER (WHERE what = 'escalated')
      FROM (SELECT project_id, 'accepted' AS what FROM clinical.submission
            UNION ALL SELECT project_id, 'withdrawn' FROM clinical.submission WHERE status = 'withdrawn'
            UNION ALL SELECT project_id, outcome FROM clinical.set_aside
            UNION ALL SELECT project_id, 'requeued' FROM clinical.set_aside WHERE requeued_at IS NOT NULL
            UNION ALL SELECT a.project_id, concat_ws(' ', e.kind, CASE e.kind WHEN 'opened' THEN a.severity END)
              FROM clinical.alert_event e JOIN clinical.alert a ON (a.patient_id, a.id) = (e.patient_id, e.alert_id)) w GROUP BY 1) f
  LEFT JOIN clinical.project p ON p.id = f.project_id ORDER BY 1};
my $counted = q{
SELECT coalesce(i.project, '-'), (SELECT id FROM clinical.project p WHERE p.code = i.project), accepted, duplicate, conflict, quarantined, requeued, withdrawn,
       opened_info, opened_serious, acknowledged, closed, retracted, escalated
  FROM clinical.stat_intake_project i JOIN clinical.stat_alert a ON a.kind = i.kind AND a.project IS NOT DISTINCT FROM i.project ORDER BY 1};
my $adds_up = q{SELECT backlog_at_reset + received + requeued = accepted + duplicate + conflict + quarantined + backlog FROM clinical.stat_intake};
my $totals = q{SELECT (SELECT concat_ws(' ', accepted, duplicate, conflict, quarantined, requeued, withdrawn) FROM clinical.stat_intake)
  = (SELECT concat_ws(' ', coalesce(sum(accepted), 0), coalesce(sum(duplicate), 0), coalesce(sum(conflict), 0), coalesce(sum(quarantined), 0),
                      coalesce(sum(requeued), 0), coalesce(sum(withdrawn), 0)) FROM clinical.stat_intake_project)};

# Statements at random, of one session; some of them fail, and are rolled back.
sub workload
{
	my ($seed, $number) = @_;
	srand $seed;
	my $sql = "SET client_min_messages = error; SET clinical.reason = 'load';\n";
	for my $i (1 .. $number)
	{
		my @calls;
		for (0 .. int rand 4)
		{
			# few ids, so that they meet
			my $report = $seed * 1000 + int rand 200;
			my $patient = ('I', 'I', 'J')[ rand 3 ] . (1 + int rand 50);
			$patient = 'nobody' if rand() < 0.05;
			my $data = rand() < 0.1 ? '{"note": "x"}' : '{"n": ' . int(rand() < 0.7 ? $report % 1000 : rand 1000) . '}';
			my $call = 'SELECT ' . submit($report, patient => $patient, data => "'$data'");
			my $which = 'ORDER BY random() LIMIT 1';
			$call = "SELECT clinical.requeue(patient_id, submission_id, 'r', '{\"report_data\": {\"n\": 1}}') FROM clinical.set_aside WHERE outcome = 'quarantined' AND requeued_at IS NULL $which" if rand() < 0.1;
			$call = "SELECT clinical.withdraw_submission(patient_id, id, 'r') FROM clinical.submission WHERE status = 'accepted' $which" if rand() < 0.05;
			$call = "SELECT clinical.correct_observation(patient_id, id, '2', 'r') FROM clinical.current_observation WHERE value > 900 $which" if rand() < 0.05;
			$call = "SELECT clinical.acknowledge_alert(patient_id, id) FROM clinical.alert WHERE status = 'open' $which" if rand() < 0.05;
			$call = "SELECT clinical.close_alert(patient_id, id, 'r') FROM clinical.alert WHERE status IN ('open', 'acknowledged') $which" if rand() < 0.05;
			$call = 'SELECT clinical.process_reports(3)' if rand() < 0.05;
			push @calls, rand() < 0.3 ? "SAVEPOINT s; $call; " . (rand() < 0.5 ? 'ROLLBACK TO s' : 'RELEASE s') : $call;
		}
		$sql .= 'BEGIN; ' . join('; ', @calls) . '; ' . (rand() < 0.2 ? 'ROLLBACK' : rand() < 0.1 ? 'SELECT 1/0; COMMIT' : 'COMMIT') . ";\n";
	}
	return $sql;
}

# Lets sessions work side by side, until they are done.
sub run_workload
{
	my (@seeds) = @_;
	my @sessions = map { session($node, 'postgres') } @seeds;
	ask($sessions[$_], "\\o /dev/null\n" . workload($seeds[$_], 120) . "\\o\n") for 0 .. $#seeds;
	answers($_) for @sessions;
	end_session($_) for @sessions;
}

# --- load: workers process meanwhile; before they begin, a report comes twice
switch_workers($node, 'off');
value_of('SELECT ' . submit(40000)) for 1 .. 2;
switch_workers($node, 'on');
ok(wait_until($node, 'postgres', q{SELECT EXISTS (SELECT FROM clinical.alert_event WHERE kind = 'escalated')}), 'its alert is escalated');
run_workload(1 .. 4);
drained($node, 'postgres', 'load');
ok(wait_until($node, 'postgres', q{SELECT NOT EXISTS (SELECT FROM clinical.alert WHERE escalate_at IS NOT NULL)}), 'what is to be escalated is');
my $told = value_of($tables);
is(value_of($counted), $told, 'as many as the tables have, by project');
cmp_ok(scalar(() = $told =~ /^(?:-|IN|SECOND)\|/gm), '==', 3, 'of all projects, and unknown patients');
cmp_ok((split /\|/, (grep { /^IN\|/ } split /\n/, $told)[0])[$_], '>', 0, "there was some of column $_") for 2 .. 13;
is(value_of($adds_up), 't', 'and all adds up');
is(value_of($totals), 't', 'the database has what its projects have');
is(value_of(q{SELECT i.received = b.received AND i.accepted - i.withdrawn = b.accepted AND i.duplicate = b.duplicate AND i.conflict = b.conflict
  AND i.quarantined - i.requeued = b.quarantined AND i.withdrawn = b.withdrawn AND i.backlog = 0
  FROM clinical.stat_intake i, (SELECT sum(received) AS received, sum(accepted) AS accepted, sum(duplicate) AS duplicate, sum(conflict) AS conflict,
                                       sum(quarantined) AS quarantined, sum(withdrawn) AS withdrawn FROM clinical.intake_balance) b}), 't', 'as intake_balance says');
is(value_of(q{SELECT bool_and(t.p50_ms <= t.p95_ms AND t.p95_ms <= t.p99_ms AND t.p99_ms <= t.max_ms AND t.reports > 0), max(t.reports) = (SELECT processed FROM clinical.stat_intake) FROM clinical.stat_processing t}), 't|t', 'times are of all that was processed');

# --- set back again and again meanwhile
my @sessions = map { session($node, 'postgres') } 5 .. 7;
ask($sessions[ $_ - 5 ], "\\o /dev/null\n" . workload($_, 120) . "\\o\n") for 5 .. 7;
my $resets = session($node, 'postgres');
ask($resets, q{DO $$ BEGIN FOR i IN 1 .. 2000 LOOP PERFORM clinical.stat_reset(); COMMIT; PERFORM pg_sleep(0.0005); END LOOP; END $$});
my $negative = 0;
for (1 .. 50)
{
	$negative += value_of(q{SELECT count(*) FROM clinical.stat_intake i, clinical.stat_intake_project p, LATERAL jsonb_each_text(to_jsonb(i) - 'backlog_at_reset' || to_jsonb(p)) c WHERE c.value ~ '^-'});
}
answers($_) for @sessions, $resets;
end_session($_) for @sessions, $resets;
drained($node, 'postgres', 'set back');
is($negative, 0, 'no number is ever negative');
is(value_of($adds_up), 't', 'set back under load: it adds up');
is(value_of($totals), 't', 'set back under load: the database has what its projects have');

# --- a restart, with reports that wait
my $all = q{SELECT i.*, (SELECT jsonb_agg(p) FROM clinical.stat_projects() p), (SELECT jsonb_agg(t) FROM clinical.stat_processing t) FROM (SELECT to_jsonb(i) - 'oldest_staged_age' FROM clinical.stat_intake i) i};
run_workload(8);
drained($node, 'postgres', 'before a restart');
switch_workers($node, 'off');
value_of('SELECT ' . submit(50000)) for 1 .. 3;
my $before = value_of($all);
$node->stop;
ok(-s $file, 'a file keeps what was counted');
$node->start;
is(value_of($all), $before, 'after a restart all is as before');
ok(!-e $file, 'and the file is gone');
is(value_of($adds_up), 't', 'it adds up');
is(value_of(q{SELECT oldest_staged_age > interval '0' AND oldest_staged_age < interval '10 minutes' FROM clinical.stat_intake}), 't', 'how long the first waits is known again');

# --- a crash: all begins anew, with what waits
my $since = value_of('SELECT reset_at FROM clinical.stat_intake');
my $new = q{SELECT received, accepted, duplicate, quarantined, backlog, backlog_at_reset, (SELECT count(*) FROM clinical.stat_projects()), (SELECT sum(reports) FROM clinical.stat_processing) FROM clinical.stat_intake};
stop_then_start($node, 'immediate');
is(value_of($new), '0|0|0|0|3|3|0|0', 'stopped at once: nothing is counted but what waits');
is(value_of("SELECT reset_at > '$since' FROM clinical.stat_intake"), 't', 'and since when is told');
value_of('SELECT ' . submit(50010));
my $victim = session($node, 'postgres');
kill 'KILL', answers($victim, 'SELECT pg_backend_pid()');
end_session($victim);
ok(wait_until($node, 'postgres', $new, '0|0|0|0|4|4|0|0'), 'a backend was killed: the same');
switch_workers($node, 'on');
drained($node, 'postgres', 'after the crash');
is(value_of($adds_up), 't', 'it adds up from there');
is(value_of(q{SELECT backlog, oldest_staged_age IS NULL FROM clinical.stat_intake}), '0|t', 'nothing waits');

# --- files that do not fit
sub refused
{
	my ($name, $change) = @_;
	value_of('SELECT ' . submit(60000 + int rand 10000));
	drained($node, 'postgres', $name);
	cmp_ok(value_of('SELECT received FROM clinical.stat_intake'), '>', 0, "$name: something is counted");
	$node->stop;
	my $offset = -s $node->logfile;
	my $content = slurp_file($file);
	$change->($content);
	$node->start;
	is(value_of('SELECT received, accepted FROM clinical.stat_intake'), '0|0', "$name: counting begins anew");
	is(log_count($node, 'file "pg_stat/clinical.stat" does not fit and is ignored', $offset), 1, "$name: which is told");
	ok(!-e $file, "$name: the file is gone");
}
sub overwrite { my ($content) = @_; open my $f, '>:raw', $file or die; print $f $content; close $f }
refused('a flipped bit', sub { substr($_[0], length($_[0]) / 2, 1) ^= "\x01"; overwrite($_[0]) });
refused('cut off', sub { overwrite(substr $_[0], 0, -5) });
refused('more at its end', sub { overwrite("$_[0]x") });
refused('empty', sub { overwrite('') });
refused('the server ran without us', sub {
	$node->append_conf('postgresql.auto.conf', "shared_preload_libraries = ''");
	$node->start;
	value_of('CHECKPOINT; CREATE TABLE meanwhile (); DROP TABLE meanwhile');
	$node->stop;
	$node->append_conf('postgresql.auto.conf', "shared_preload_libraries = 'clinical'");
});

# --- the extension made anew
value_of('SELECT ' . submit(70000));
drained($node, 'postgres', 'before it is dropped');
value_of('DROP EXTENSION clinical CASCADE; CREATE EXTENSION clinical');
is(value_of(q{SELECT received, accepted, backlog, backlog_at_reset, (SELECT count(*) FROM clinical.stat_projects()), (SELECT sum(reports) FROM clinical.stat_processing) FROM clinical.stat_intake}), '0|0|0|0|0|0', 'made anew: nothing is counted');

# --- more databases than there are entries, and some that are gone
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(a b c);
make_study($node, $_) for qw(a b c);
for my $database (qw(a b c))
{
	value_of('SELECT ' . submit(1), $database);
	is(value_of('SELECT received FROM clinical.stat_intake', $database), 1, "database $database counts");
}
$node->safe_psql('postgres', "CREATE DATABASE $_"), $node->safe_psql($_, 'CREATE EXTENSION clinical') for qw(d e);
is(value_of('SELECT count(*) FROM clinical.stat_processing', 'd'), 2, 'there is an entry for one more');
is(sqlstate($node, 'e', 'SELECT * FROM clinical.stat_processing'), '53400', 'one too many says so');
is(sqlstate($node, 'e', 'SELECT clinical.stat_reset()'), '53400', 'as does what sets it back');
my $patient = session($node, 'e');
answers($patient, "SELECT clinical.stat_reset(); SELECT count(clinical.create_center('C' || g)) FROM generate_series(1, 3) g");
like($patient->{error}, qr/^ERROR:  53400: /, 'one too many in a session that goes on');
$node->safe_psql('postgres', 'DROP DATABASE a');
is(answers($patient, 'SELECT count(*) FROM clinical.stat_processing'), 2, 'until its next statement finds the entry of one that is gone');
end_session($patient);
is(value_of('SELECT count(*) FROM clinical.stat_processing', 'e'), 2, 'it takes the entry of one that is gone');
is(value_of('SELECT count(*) FROM clinical.stat_projects()', 'e'), 0, 'with nothing in it');
is(value_of('SELECT received FROM clinical.stat_intake', $_), 1, "the others are as they were: $_") for qw(b c);
$node->restart;
is(value_of('SELECT received FROM clinical.stat_intake', $_), 1, "also after a restart: $_") for qw(b c);

# --- more projects than are counted each for itself
value_of(q{
SELECT count(clinical.create_project_with_centers('P' || g, '{1}', 'P' || g)) FROM generate_series(1, 140) g;
SELECT count(clinical.enroll_patient('K' || g, NULL, NULL, 'P' || g, 1, effective_on => '2026-01-10')) FROM generate_series(1, 140) g;
SELECT count(clinical.use_instrument('P' || g, 'diary', true)) FROM generate_series(1, 140) g;
SELECT count(clinical.submit_report('K' || g, '{"n": 1}')) FROM generate_series(1, 140) g}, 'b');
drained($node, 'b', 'many projects');
my $kinds = q{SELECT kind, count(project), sum(accepted) FROM clinical.stat_intake_project GROUP BY 1 ORDER BY 1};
is(value_of($kinds, 'b'), "other|0|13\nproject|128|128", 'the first 128 are counted each for itself');
is(value_of($totals, 'b'), 't', 'none is missing');
$node->restart;
is(value_of($kinds, 'b'), "other|0|13\nproject|128|128", 'also after a restart');
value_of('SELECT clinical.stat_reset()', 'b');
value_of(q{SELECT count(clinical.submit_report('K140', '{"n": 2}'))}, 'b');
drained($node, 'b', 'set back');
is(value_of('SELECT project, accepted FROM clinical.stat_intake_project', 'b'), 'P140|1', 'set back, others have their turn');

# --- a standby counts what it does itself
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
is($standby->safe_psql('b', 'SELECT measure, reports FROM clinical.stat_processing; SELECT count(*) FROM clinical.stat_projects(); SELECT received FROM clinical.stat_intake; SELECT clinical.stat_reset()'), "waiting|0\nprocessing|0\n0\n\n", 'a standby has counted nothing');
is($standby->safe_psql('b', q{SELECT count(*) FROM clinical.metric_samples() WHERE metric ~ '^clinical_(intake|queue|batches|worker)'; SELECT count(*) FROM clinical.metric_samples() WHERE metric ~ '^clinical_(report|audit|health)'}) =~ s/\n[1-9]\d*\z/\nsome/r, "0\nsome", 'nor does it say that it lacks workers');
$standby->stop;
$standby->start;
is($standby->safe_psql('b', 'SELECT sum(reports) FROM clinical.stat_processing'), 0, 'and starts again');

# --- without the library preloaded
$node->append_conf('postgresql.auto.conf', "shared_preload_libraries = ''");
$node->restart;
is(sqlstate($node, 'b', "SELECT $_"), '55000', "without shared_preload_libraries: $_") for 'clinical.stat_times()', 'clinical.stat_projects()', 'clinical.stat_reset()';
value_of('CREATE DATABASE f');
value_of('CREATE EXTENSION clinical', 'f');
is(value_of(q{SELECT count(*) FROM pg_extension WHERE extname = 'clinical'}, 'f'), 1, 'the extension can be created');

is(log_count($node, 'PANIC|TRAP|could not (?:read|write) file "pg_stat/clinical'), 0, 'no trouble');
done_testing();
