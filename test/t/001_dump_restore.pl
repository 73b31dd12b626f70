# What pg_dump writes is restored row by row, in every format, and goes on from there; a restore
# that forgets clinical.restore is stopped with a hint that names it.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('dump');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE source');
$node->safe_psql('source', q{
CREATE ROLE regress_planner LOGIN;
CREATE EXTENSION clinical;
SELECT clinical.create_center('Zürich', '701', 'Europe/Zurich', 'CHE');
SELECT clinical.create_center(E'tab\there "and" \\ there', '702', 'America/New_York');
SELECT clinical.create_center('never used', status => 'planned');
SELECT clinical.create_project_with_centers('Study', '{1, 2}', 'S-1', 'Europe/Zurich');
SELECT clinical.create_project_with_centers('Other', '{2}');
SELECT clinical.plan_enrolment('S-1', 1, 20, '2026-01-01', '2026-06-30');
SELECT clinical.enroll_patient('P' || g, CASE WHEN g % 2 = 0 THEN 'Name ü ' || g END, NULL, 'S-1', 1 + g % 2,
       jsonb_build_object('g', g, 'dose', 1.50, 'text', (SELECT string_agg(md5(g || ' ' || i), '') FROM generate_series(1, g * 5) i)), status => 'screened',
       time_zone => CASE WHEN g % 3 = 0 THEN 'Asia/Tokyo' END, effective_on => '2026-01-10', birth_year => 1950)
  FROM generate_series(1, 60) g;
SELECT clinical.enroll_patient(' P1', 'look-alike', '1950-01-01', 'S-1', 1, effective_on => '2026-01-10');
SET clinical.actor = 'app.user';
SELECT clinical.amend_record('P7', '{"dose": 1.5}', 'precision'), clinical.amend_record('P7', '{"text": null}', E'two\nlines');
SELECT clinical.set_patient_status('P' || g, 'enrolled', '2026-01-20') FROM generate_series(1, 30) g;
SELECT clinical.transfer_patient('P7', 1, '2026-02-01', 'moved'), clinical.set_patient_status('P7', 'withdrawn', '2026-03-01', 'consent withdrawn');
SELECT clinical.set_patient_time_zone('P8', 'Asia/Seoul', '2026-02-01 00:00+00'), clinical.set_patient_time_zone('P8', 'UTC', '2026-01-01 00:00+00');
SELECT clinical.remove_center('PJ-2', 2, 'wrong one');
SELECT clinical.create_instrument('{"code": "diary", "version": "1", "title": "Tägliches", "items": [{"code": "a", "type": "integer", "unit": "{score}", "checks": [{"comparator": "LE", "values": [10], "soft_hard": "Hard"}]}]}');
SELECT clinical.create_instrument('{"code": "diary", "version": "2", "items": [{"code": "a", "type": "decimal"}]}');
SELECT clinical.create_instrument(definition) FROM clinical.shipped_instruments();
SELECT clinical.use_instrument('S-1', 'diary', true, '1'), clinical.use_instrument('S-1', 'diary', true, '2', '2026-06-01'), clinical.drop_instrument('S-1', 'diary', '2027-01-01');
SELECT clinical.schedule_entries('S-1', 'diary', '{"kind": "daily", "from": "18:00", "to": "23:59"}');
SELECT clinical.excuse_entries('P8', '[2026-02-10 00:00+00,)', 'in hospital');
SELECT clinical.create_rule('{"code": "over", "project": "S-1", "kind": "streak", "days": 3, "items": [{"item": "a", "range": "[0,7]"}], "severity": "serious", "evaluate": false}');
SELECT clinical.create_rule('{"code": "all", "kind": "threshold", "items": [{"item": "a", "range": "[0,9.50]"}], "severity": "info", "evaluate": false}');
SELECT clinical.change_rule('over', clinical.rule_json('over') || '{"days": 2, "evaluate": false}', E'earlier\n'), clinical.retire_rule('all', 'no use');
SELECT clinical.create_rule('{"code": "ten", "project": "S-1", "kind": "threshold", "items": [{"item": "a", "range": "[0,9.50]"}], "severity": "info"}');
SELECT clinical.submit_report('P1', '{"a": 10.25}', captured_at => '2026-07-01 12:00+00'), clinical.submit_report('P2', '{"a": 11}', captured_at => '2026-07-01 12:00+00');
SELECT clinical.wait_until_drained();
SELECT clinical.acknowledge_alert(patient_id, id, 'seen') FROM clinical.alert WHERE patient_id = 'P1';
SELECT clinical.set_center_status(2, 'suspended', 'audit'), clinical.set_center_status(2, 'closed', 'left');
SELECT clinical.set_project_status('S-1', 'suspended', 'interim analysis');
CREATE ROLE regress_kept;
CREATE ROLE regress_gone;
SELECT clinical.grant_center('regress_kept', 1), clinical.grant_center('regress_gone', 2);
DROP ROLE regress_gone;
-- two jobs that pg_cron in another database has
GRANT clinical_statistician, clinical_admin TO regress_planner;
SELECT clinical.grant_center('regress_planner', 1);
SELECT nextval('clinical.report_schedule_id_seq') FROM generate_series(1, 3);
SET ROLE regress_planner;
SELECT clinical.run_schedule_elsewhere(3, '{"project": "S-1", "schedule": "quarterly", "options": {"by": ["dose"]}}'), clinical.run_schedule_elsewhere(2, '{"schedule": "monthly", "keep": "2 years"}');
RESET ROLE;
SELECT clinical.seal_audit();
SELECT clinical.amend_record('P9', '{"not": "sealed yet"}', 'later');
});
$node->poll_query_until('source', q{SELECT count(*) = 0 FROM clinical.rule_evaluation WHERE status IN ('queued', 'running')}) or die 'a rule is not evaluated';
$node->safe_psql('source', q{SELECT clinical.request_report('S-1', '[2026-01-01,2026-07-01)', '{"by": ["center"]}')});
$node->poll_query_until('source', q{SELECT status = 'done' FROM clinical.report_job}) or die 'a report is not made';
# no worker seals anything between one dump and the next
$node->safe_psql('source', 'SELECT clinical.stop_workers()');
my $digest = $node->safe_psql('source', 'SELECT clinical.audit_digest()');
is($node->safe_psql('source', "SELECT * FROM clinical.verify_audit('$digest')"), '', 'the trail is sound');

is($node->safe_psql('source', q{
SELECT pg_table_size(c.reltoastrelid) > 8192 FROM pg_class c WHERE c.oid IN ('clinical.patient'::regclass, 'clinical.record_version'::regclass)}),
	"t\nt", 'long records are stored out of line');
my @tables = split /\n/, $node->safe_psql('source', q{
SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'clinical'::regnamespace AND relkind = 'r' AND relname <> 'audit_restore' ORDER BY 1});
cmp_ok(@tables, '>=', 9, 'there are tables to compare');

# Of each table and sequence the rows, as a number and a digest of all columns.
sub content
{
	my ($database) = @_;
	my $rows = join ";\n", map {
		"SELECT '$_', count(*), md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\")) FROM $_ t"
	} @tables;
	return $node->safe_psql($database, $rows . q{;
SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'clinical' ORDER BY 1});
}

my $source = content('source');
like($source, qr/^clinical\.patient\|61\|/m, 'there are rows to compare');
like($node->safe_psql('source', 'SELECT * FROM clinical.check()'), qr/^membership is of [^\n]*\|2\|role regress_gone was dropped[^\n]*$/,
	'the source is sound, but for a role that was dropped');

my $backup = $node->basedir . '/dump';
mkdir $backup;
my @from = ('-d', $node->connstr('source'));
$node->command_ok([ 'pg_dump', @from, '-f', "$backup/plain.sql" ], 'dump, plain');
$node->command_ok([ 'pg_dump', @from, '-Fc', '-f', "$backup/custom" ], 'dump, custom');
$node->command_ok([ 'pg_dump', @from, '-Fd', '-j2', '-f', "$backup/directory" ], 'dump, directory, parallel');

my %restore = (
	plain => sub { [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $_[0], '-f', "$backup/plain.sql" ] },
	custom => sub { [ 'pg_restore', '-e', '-d', $_[0], "$backup/custom" ] },
	directory => sub { [ 'pg_restore', '-e', '-j2', '-d', $_[0], "$backup/directory" ] });

for my $format (sort keys %restore)
{
	$node->safe_psql('postgres', "CREATE DATABASE copy_$format TEMPLATE template0");
	{
		local $ENV{PGOPTIONS} = '-c clinical.restore=on';
		# a parallel restore knows no order between the tables of an extension
		$ENV{PGOPTIONS} .= ' -c session_replication_role=replica' if $format eq 'directory';
		$node->command_ok($restore{$format}->($node->connstr("copy_$format")), "restore, $format");
	}
	(my $expected = $source) =~ s/^clinical\.membership\|.*/clinical.membership/m;
	(my $restored = content("copy_$format")) =~ s/^clinical\.membership\|.*/clinical.membership/m;
	is($restored, $expected, "restore, $format: all rows are the same");
	is($node->safe_psql("copy_$format", 'SELECT role, role_name, center_id FROM clinical.membership ORDER BY 1'),
		"-|regress_gone|2\nregress_planner|regress_planner|1\nregress_kept|regress_kept|1", "restore, $format: the center of a role that is gone is nobody's");
	is($node->safe_psql("copy_$format", "SELECT * FROM clinical.verify_audit('$digest')"), '', "restore, $format: the trail is sound");
	is($node->safe_psql("copy_$format", q{
SELECT login, role, digest IS NOT DISTINCT FROM clinical.audit_digest() AS late, count(*) > 0 FROM clinical.audit_restore GROUP BY 1, 2, 3 ORDER BY 3 LIMIT 1}) =~ /^(\w+)\|\1\|/,
		1, "restore, $format: word is left of it");
	is($node->safe_psql("copy_$format", q{
SELECT clinical.report_is_valid('diary', '{"a": 10}', '1'), clinical.report_is_valid('diary', '{"a": 11}', '1'), clinical.report_is_valid('diary', '{"a": 10.5}');
SELECT version FROM clinical.instrument_in_force('S-1', on_day => '2026-07-01');
SELECT status, count(*) FROM clinical.expected_entries('P8', '[2026-02-01,2026-03-01)') GROUP BY 1 ORDER BY 1;
SELECT clinical.rule_json('over') -> 'days', clinical.rule_json('all') -> 'status', (clinical.change_rule('over', clinical.rule_json('over') || '{"evaluate": false}', 'r')).id;
SELECT status, (clinical.close_alert(patient_id, id, 'r')).status FROM clinical.alert ORDER BY patient_id;
SELECT kind, count(*) FROM clinical.alert_event GROUP BY 1 ORDER BY 1;
SELECT (clinical.create_instrument('{"code": "diary", "version": "3", "items": [{"code": "a", "type": "decimal"}]}')).id}),
		"t|f|t\n2\nexcused|19\nexpected|9\n2|\"retired\"|5\nacknowledged|closed\nopen|closed\nacknowledged|1\nclosed|2\nopened|2\n6", "restore, $format: questionnaires, schedules, excuses, rules and alerts too");
	is($node->safe_psql("copy_$format", q{SET ROLE regress_planner;
SELECT job_id, kind, project, schedule, options, keep, role, problem FROM clinical.scheduled_job ORDER BY 1;
SELECT clinical.run_schedule(3);
SELECT clinical.unschedule_report(2);
RESET ROLE;
SELECT nextval('clinical.report_schedule_id_seq')}),
		qq(2|retention||monthly|{}|2 years|regress_planner|\n3|report|S-1|quarterly|{"by": ["dose"]}||regress_planner|\nnot due\n2\n4), "restore, $format: and jobs");
	is($node->safe_psql("copy_$format", q{
SELECT id FROM clinical.create_center('New', '703');
SELECT code FROM clinical.create_project_with_centers('New', '{4}');
SELECT id FROM clinical.enroll_patient('New', NULL, NULL, 'PJ-3', 4, effective_on => '2026-01-10');
SELECT clinical.amend_record('P7', '{"after": "restore"}', 'goes on');
SELECT status FROM clinical.set_patient_status('P8', 'completed', '2026-05-01');
SELECT count(*) FROM clinical.check()}), "4\nPJ-3\nNew\n4\ncompleted\n1", "restore, $format: and it goes on");
	is($node->safe_psql("copy_$format", qq{
SELECT clinical.seal_audit() IS NOT NULL;
SELECT clinical.seal_audit() IS NULL;
SELECT * FROM clinical.verify_audit('$digest');
SELECT generation, min(operation) FROM clinical.audit_record WHERE operation IN ('BEGIN') GROUP BY 1 ORDER BY 1;
SELECT generation, count(*) > 0 FROM clinical.audit_record WHERE operation = 'RESTORE' GROUP BY 1;
SELECT count(*) FROM clinical.audit_restore;
SELECT count(DISTINCT generation) FROM clinical.audit_block;
SELECT id, count(*) FROM clinical.audit_record GROUP BY 1 HAVING count(*) > 1}), "t\nt\n1|BEGIN\n2|BEGIN\n2|t\n0\n2",
		"restore, $format: the trail goes on in its next generation, and tells of the restore");

	$node->safe_psql('postgres', "CREATE DATABASE forgot_$format TEMPLATE template0");
	my ($out, $error);
	my $done = IPC::Run::run($restore{$format}->($node->connstr("forgot_$format")), '>', \$out, '2>', \$error);
	ok(!$done, "forgotten setting, $format: the restore stops");
	like($error, qr/HINT: .*PGOPTIONS='-c clinical.restore=on'/, "forgotten setting, $format: the hint names it");
}

done_testing();
