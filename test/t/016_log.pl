# Patient data stay out of the server log: tagged values go through every path that fails or logs, and
# none is found in the text, CSV or JSON logs; the clients get their whole messages.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run ();

my $canary = 'CANARY7f3a';
my $node = PostgreSQL::Test::Cluster->new('log');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'clinical, auto_explain'
logging_collector = on
log_destination = 'stderr,csvlog,jsonlog'
log_directory = 'log'
log_filename = 'server.log'
log_statement = 'all'
log_min_duration_statement = 0
log_min_error_statement = 'debug5'
log_min_messages = 'notice'
log_parameter_max_length = -1
log_parameter_max_length_on_error = -1
log_error_verbosity = verbose
log_lock_waits = on
log_temp_files = 0
auto_explain.log_min_duration = 0
auto_explain.log_analyze = on
debug_print_parse = on
deadlock_timeout = '100ms'
max_prepared_transactions = 5
restart_after_crash = on
work_mem = '64kB'
});
$node->start;
my $directory = $node->data_dir . '/log';

sub logs { return join '', map { slurp_file("$directory/$_") } grep { -e "$directory/$_" } 'server.log', 'server.csv', 'server.json'; }

# The collector of logs writes them a while after those who log have gone on.
sub logged
{
	my ($pattern, $name, $from) = @_;
	my $text;
	for (1 .. 600)
	{
		$text = defined $from ? substr(slurp_file("$directory/server.log"), $from) : logs();
		last if $text =~ $pattern;
		select undef, undef, undef, 0.1;
	}
	return like($text, $pattern, $name);
}

$node->safe_psql('postgres', q{
CREATE EXTENSION clinical;
SELECT clinical.create_center('Center', 'C1'), clinical.create_project_with_centers('P', '{1}', 'P');
CREATE TABLE own (id int PRIMARY KEY, t text UNIQUE, n int CHECK (n > 0), d date NOT NULL);
CREATE FUNCTION fails(t text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM (t || 'x')::int; END $$;
CREATE FUNCTION says(t text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'said %', t; RAISE WARNING 'warned %', t; RAISE NOTICE 'noticed %', t; END $$;
CREATE FUNCTION dynamic(t text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE format('SELECT 1/0, %L', t); END $$;
CREATE FUNCTION in_sql(t text) RETURNS int LANGUAGE sql AS 'SELECT t::int';
});
$node->poll_query_until('postgres', q{SELECT state = 'running' FROM clinical.stat_worker WHERE kind = 'first'}) or die;

# Statements that fail: what the client must be told, and the SQLSTATE that must be in the log.
my @cases = (
	[ "SELECT '$canary'::int", "invalid input syntax for type integer: \"$canary\"", '22P02' ],
	[ "SELECT '$canary'::date", "\"$canary\"", '22007' ],
	[ "SELECT '{\"a\": $canary'::jsonb", "Token \"$canary\" is invalid", '22P02' ],
	[ "SELECT '$canary'::jsonpath FROM no_table", 'no_table', '42P01' ],
	[ "SELECT jsonb_path_query('{}', '\$.$canary ? (')", 'jsonpath', '42601' ],
	[ "SELECT \"$canary\"", "column \"$canary\" does not exist", '42703' ],
	[ "SELECT $canary (", 'syntax error', '42601' ],
	[ "SELECT '$canary' FROM own WHERE 1/0 = 1", 'division by zero', '22012' ],
	[ "INSERT INTO own VALUES (1, '$canary', 1, '2026-01-01'), (2, '$canary', 1, '2026-01-01')", "Key (t)=($canary) already exists", '23505' ],
	[ "INSERT INTO own VALUES (1, '$canary', -1, '2026-01-01')", "Failing row contains (1, $canary, -1", '23514' ],
	[ "INSERT INTO own VALUES (1, '$canary', 1, NULL)", "Failing row contains (1, $canary", '23502' ],
	[ "INSERT INTO clinical.patient (id, project_id, center_id, status, status_on) VALUES ('$canary', 99, 99, 'enrolled', '2026-01-01')", 'is not present in table', '23503' ],
	[ "SELECT clinical.enroll_patient('P1', '$canary', 'tomorrow$canary', 'P', 1)", "tomorrow$canary", '22007' ],
	[ "SELECT clinical.enroll_patient('P1', '$canary', NULL, 'P', 1, status => '$canary')", 'unknown patient status', '22023' ],
	[ "SELECT clinical.get_patient('$canary')", 'patient not found', 'P0002' ],
	[ "SELECT clinical.find_patients('$canary')", "There is no project with the code \"$canary\"", 'P0002' ],
	[ "SELECT clinical.amend_record('P0', '[\"$canary\"]', 'r')", 'patch must be', '22023' ],
	[ "COPY own FROM stdin;\n$canary\tx\t1\t2026-01-01\n\\.", "COPY own, line 1, column id: \"$canary\"", '22P02' ],
	[ "COPY clinical.patient (id, project_id, center_id, status, status_on, record) FROM stdin;\n$canary\t1\t1\tenrolled\t2026-01-01\t[\"$canary\"]\n\\.", 'record must be a JSON object', '22023' ],
	[ "SELECT fails('$canary')", "\"${canary}x\"", '22P02' ],
	[ "SELECT dynamic('$canary')", "SELECT 1/0, '$canary'", '22012' ],
	[ "SELECT in_sql('$canary')", "\"$canary\"", '22P02' ],
	[ "DO \$\$BEGIN RAISE EXCEPTION 'raised $canary' USING DETAIL = '$canary', HINT = '$canary'; END\$\$", "raised $canary", 'P0001' ],
	[ "PREPARE p (text) AS SELECT \$1::int; EXECUTE p ('$canary')", "\"$canary\"", '22P02' ],
	[ "DECLARE c CURSOR WITH HOLD FOR SELECT ('$canary' || g)::int FROM generate_series(1, 2) g", "\"${canary}1\"", '22P02' ],
	[ "BEGIN; INSERT INTO own VALUES (5, '$canary', 1, '2026-01-01'); PREPARE TRANSACTION '$canary" . ('x' x 300) . "'", 'too long', '22023' ],
	[ "SELECT E'$canary\\xff\\xfe'", 'invalid byte sequence', '22021' ],
	[ "SET statement_timeout = '50ms'; SELECT pg_sleep(5), '$canary'", 'statement timeout', '57014' ],
	[ "SET default_transaction_read_only = on; INSERT INTO own VALUES (9, '$canary', 1, '2026-01-01')", 'read-only transaction', '25006' ],
	[ "SET ROLE pg_monitor; SELECT '$canary' FROM own", 'permission denied for table own', '42501' ],
	[ "SET clinical.no_such = '$canary'", 'invalid configuration parameter', '42602' ]);
my $i = 0;
for my $case (@cases)
{
	my ($sql, $told, $state) = @$case;
	my $before = -s "$directory/server.log";
	my ($status, $out, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql;", on_error_stop => 0);
	like($error, qr/\Q$told\E/, 'the client is told of ' . ($sql =~ s/\n.*//sr));
	logged(qr/\b$state\b/, "and the log has its SQLSTATE $state", $before);
}
# not failing, but talking
my ($status, $out, $error) = $node->psql('postgres', "SET client_min_messages = log; SELECT says('$canary'); SELECT '$canary' FROM generate_series(1, 50000) g ORDER BY md5(g::text) LIMIT 1");
like($error, qr/warned $canary.*noticed $canary/s, 'the client is told what a function says');
# parameters of the extended protocol
my $script = $node->basedir . '/bind.sql';
append_to_file($script, "SELECT :v::int;\n");
IPC::Run::run([ 'pgbench', '-n', '-M', 'extended', '-t', '1', '-D', "v='$canary'", '-f', $script, '-d', $node->connstr('postgres') ], '>', \$out, '2>', \$error);
like($error, qr/CONTEXT: .*\$1 = .*$canary/, 'a parameter was bound');
# a deadlock shows the other's statement
my @sessions = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 2;
$node->safe_psql('postgres', q{INSERT INTO own VALUES (11, 'a', 1, '2026-01-01'), (12, 'b', 1, '2026-01-01')});
$sessions[0]->query_safe("BEGIN; UPDATE own SET n = 2 WHERE id = 11;");
$sessions[1]->query_safe("BEGIN; UPDATE own SET n = 2 WHERE id = 12;");
$sessions[0]->{stdin} .= "UPDATE own SET n = 3 WHERE id = 12 AND t <> '$canary';\n\\echo waited\n";
$sessions[0]->{run}->pump_nb;
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND backend_type = 'client backend'}) or die;
$sessions[1]->{stdin} .= "UPDATE own SET n = 3 WHERE id = 11 AND t <> '$canary';\n\\echo waited\n";
$sessions[1]->{run}->pump_nb;
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND backend_type = 'client backend'}) or die;
$_->quit for @sessions;
logged(qr/deadlock detected/, 'there was a deadlock');
# a process that fails: the postmaster tells what it was running
my $victim = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $victim->query_safe('SELECT pg_backend_pid()');
$victim->{stdin} .= "SELECT pg_sleep(60), '$canary';\n";
$victim->{run}->pump_nb;
$node->poll_query_until('postgres', "SELECT query ~ '$canary' FROM pg_stat_activity WHERE pid = $pid") or die;
my $starts = () = logs() =~ /database system is ready to accept connections/g;
kill 'KILL', $pid;
logged(qr/was terminated by signal 9/, 'a process failed');
# only then does the server begin anew; not by poll_query_until, which dies of a psql that cannot connect
my $back = 0;
for (1 .. 600)
{
	$back = 1 if $starts < (() = logs() =~ /database system is ready to accept connections/g) && eval { $node->psql('postgres', 'SELECT true') == 0 };
	last if $back;
	select undef, undef, undef, 0.1;
}
ok($back, 'and the server is back');
eval { $victim->quit };
# a cancel request in the middle of a line that stands for another: what comes after it is kept out as before
{
	my $loop = "DO \$\$BEGIN LOOP RAISE WARNING 'around %', '$canary'; END LOOP; END\$\$;\n";
	my ($state, $said, $complaint) = $node->psql('postgres', "SET client_min_messages = error; SET statement_timeout = '30ms';\n" . $loop x 20 .
		"SET statement_timeout = 0; SET client_min_messages = warning; DO \$\$BEGIN RAISE WARNING 'after that %', '$canary'; END\$\$", on_error_stop => 0);
	is(() = $complaint =~ /statement timeout/g, 20, 'cancelled while it logs');
	like($complaint, qr/after that $canary/, 'and it goes on');
}
# a session that is ended
my $ended = $node->background_psql('postgres', on_error_stop => 0);
$pid = $ended->query_safe('SELECT pg_backend_pid()');
$ended->{stdin} .= "SELECT pg_sleep(60), '$canary';\n";
$ended->{run}->pump_nb;
$node->poll_query_until('postgres', "SELECT query ~ '$canary' FROM pg_stat_activity WHERE pid = $pid") or die;
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
eval { $ended->quit };

# monitoring: a patient whose id and readings are tagged has alerts, people comment on them, and things fail
my $reading = 739125173;
$node->safe_psql('postgres', qq{
SELECT clinical.create_instrument('{"code": "i", "version": "1", "items": [{"code": "a", "type": "integer"}]}');
SELECT clinical.use_instrument('P', 'i', true);
SELECT clinical.enroll_patient('$canary', NULL, NULL, 'P', 1, effective_on => '2026-01-10');
SELECT clinical.create_rule('{"code": "R", "project": "P", "kind": "threshold", "severity": "serious", "items": [{"item": "a", "range": "[0,10]"}], "escalate_after": ["1 second"], "evaluate": false}');
SELECT clinical.change_rule('R', clinical.rule_json('R') || '{"evaluate": true}', 'all count')});
my $listener = $node->background_psql('postgres', on_error_stop => 0);
$listener->query_safe('LISTEN clinical_alert');
$node->safe_psql('postgres', qq{SELECT clinical.submit_report('$canary', '{"a": $reading}', captured_at => '2026-02-01 12:00+00')});
$node->poll_query_until('postgres', q{SELECT escalation_level = 1 FROM clinical.alert}) or die 'no alert';
my $heard = $listener->query_safe('SELECT 1');
like($heard, qr/"event": "opened".*"event": "escalated"/s, 'listeners hear of an alert');
unlike($heard, qr/$canary|$reading/, 'and nothing of the patient');
$listener->quit;
($status, $out, $error) = $node->psql('postgres', qq{SELECT (clinical.acknowledge_alert('$canary', id, 'called $canary: $reading')).status FROM clinical.alert;
SELECT (clinical.close_alert('$canary', id, 'visited $canary')).status FROM clinical.alert;
SELECT clinical.close_alert('$canary', id, 'again $canary') FROM clinical.alert;
SELECT clinical.acknowledge_alert('$canary', '00000000-0000-0000-0000-000000000000', '$canary');
UPDATE clinical.alert SET close_reason = '$canary'; DELETE FROM clinical.alert_event WHERE patient_id = '$canary';
SELECT clinical.rule_backtest('{"code": "$canary", "$reading": 1}', '(,)');
SELECT clinical.correct_observation('$canary', id, '$reading', '$canary') FROM clinical.observation}, on_error_stop => 0);
is($out =~ s/\n\(.*//sr, "acknowledged\nclosed", 'somebody handles it');
is(() = $error =~ /ERROR/g, 5, 'and what is not possible fails');
$node->safe_psql('postgres', q{CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not for % by %', NEW.patient_id, NEW USING DETAIL = NEW.patient_id; END $$;
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON clinical.alert FOR EACH ROW EXECUTE FUNCTION refuse(); ALTER TABLE clinical.alert ENABLE ALWAYS TRIGGER refuse});
$node->safe_psql('postgres', q{SELECT clinical.create_rule('{"code": "S", "kind": "threshold", "severity": "info", "items": [{"item": "a", "range": "[0,20]"}]}')});
$node->poll_query_until('postgres', q{SELECT status = 'failed' AND detail = 'P0001' FROM clinical.rule_evaluation ORDER BY id DESC LIMIT 1}) or die 'it did not fail';
$node->safe_psql('postgres', qq{SELECT clinical.submit_report('$canary', '{"a": $reading}', captured_at => '2026-02-03 12:00+00')});
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM clinical.set_aside}) or die 'it was not set aside';
like($node->safe_psql('postgres', q{SELECT outcome || ' ' || reason_code FROM clinical.set_aside}), qr/^quarantined /, 'a report whose alert cannot be stored is in quarantine');
logged(qr/evaluation of a rule failed/, 'the log tells of an evaluation that fails');

# what comes last is written last
$node->safe_psql('postgres', q{DO $$ BEGIN RAISE LOG 'all is said' USING ERRCODE = '01007'; END $$});
logged(qr/01007/, 'the logs are complete', 0);
my $logs = logs();
unlike($logs, qr/$canary/, 'the tag is in none of the logs');
unlike($logs, qr/$reading/, 'nor is the reading');
diag join "\n", grep { /$canary/ } (split /\n/, $logs)[ 0 .. 100000 ] if $logs =~ /$canary/;
like($logs, qr/LOG:  22P02: ERROR 22P02: message kept out of the log/, 'a line stands for a message');
like($logs, qr/duplicate key value violates unique constraint "own_t_key"/, 'harmless messages stay');
like($logs, qr/FATAL.*terminating connection due to administrator command/, 'and FATAL is FATAL');
like($logs, qr/LOG.*duration: [\d.]+ ms\b/, 'how long statements took stays');
like(slurp_file("$directory/server.log"), qr/WARNING.*the server logs statements or parameters/, 'the launcher warns of the settings');
is(scalar(() = slurp_file("$directory/server.log") =~ /WARNING.*the server logs statements or parameters/g) <= 2, 1, 'once for each start');
ok(-s "$directory/server.csv" && -s "$directory/server.json", 'all three logs were written');

# others cannot see the query of a session either
$node->safe_psql('postgres', 'CREATE ROLE regress_reader LOGIN');
my $other = $node->background_psql('postgres', on_error_stop => 0);
$other->query_safe("SELECT '$canary'");
is($node->safe_psql('postgres', "SET ROLE regress_reader; SELECT count(*) FROM pg_stat_activity WHERE query ~ '$canary' AND pid <> pg_backend_pid()"), 0, 'nor can others see it in pg_stat_activity');
$other->quit;

# a database without the extension is left alone, once the launcher knows
$node->safe_psql('postgres', 'CREATE DATABASE other');
my $known = 0;
for (1 .. 100)
{
	$node->psql('other', "SELECT 'elsewhere'::int");
	last if $known = slurp_file("$directory/server.log") =~ /invalid input syntax for type integer: "elsewhere"/;
	select undef, undef, undef, 0.1;
}
ok($known, 'a database without the extension logs as ever');

# and this test can fail
$node->safe_psql('postgres', 'ALTER SYSTEM SET clinical.log_values = on; SELECT pg_reload_conf()');
$node->poll_query_until('postgres', q{SELECT current_setting('clinical.log_values') = 'on'}) or die;
$node->psql('postgres', "SELECT '${canary}shown'::int");
logged(qr/${canary}shown/, 'with clinical.log_values the tag is there');
like($node->safe_psql('postgres', 'SELECT problem FROM clinical.health()'), qr/clinical.log_values is on/, 'which health() tells');
($status, $out, $error) = $node->psql('postgres', 'CREATE ROLE regress_user; SET ROLE regress_user; SET clinical.log_values = on');
like($error, qr/permission denied to set parameter/, 'and only a superuser may set');

# without preload it works from the first call of a function of ours on
$node->safe_psql('postgres', 'ALTER SYSTEM RESET clinical.log_values');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
$node->psql('postgres', "SELECT clinical.merge_patch('{}', '{}');\nSELECT '${canary}loaded'::int;\n", on_error_stop => 0);
unlike(slurp_file("$directory/server.log") =~ s/.*merge_patch.*//r, qr/${canary}loaded/, 'without preload it begins with the first function of ours');

done_testing();
