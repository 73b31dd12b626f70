# What the tests of the intake's reliability share: a server with a small study, sessions, and
# what must be true at every moment.
package Intake;
use strict;
use warnings;
use Exporter 'import';
use IntakeLoad;
use IntakeSession;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

our @EXPORT = (@IntakeLoad::EXPORT, @IntakeSession::EXPORT, qw(intake_node make_study has_setting set_up switch_workers worker_pids kick_workers
  report_id submit submit_many outcome sqlstate waiting wait_until drained sound exactly_once slow_down speed_up kill_postmaster start_again stop_then_start log_count));

# The names that one setting has had, and what its processes call themselves.
our $WORKERS = "backend_type LIKE 'clinical worker%'";
our @SWITCH = qw(clinical.workers_enabled clinical.workers);

# A server with the extension and a study in database postgres; more lines for its configuration.
sub intake_node
{
	my ($name, @conf) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(allows_streaming => 1);
	$node->append_conf('postgresql.conf', join "\n", "shared_preload_libraries = 'clinical'", 'restart_after_crash = on', 'max_connections = 40',
		'autovacuum_naptime = 5s', "clinical.worker_restart_delay = '100ms'", 'max_prepared_transactions = 5', @conf);
	$node->start;
	make_study($node, 'postgres');
	return $node;
}

# A study of patients I1 to I400, who report a number and a note.
sub make_study
{
	my ($node, $database) = @_;
	$node->safe_psql($database, q{
CREATE EXTENSION clinical;
SELECT clinical.create_center('Intake', '1', 'Europe/Amsterdam');
SELECT clinical.create_project_with_centers('Intake', '{1}', 'IN');
SELECT clinical.enroll_patient('I' || g, NULL, NULL, 'IN', 1, effective_on => '2026-01-10') FROM generate_series(1, 400) g;
SELECT clinical.create_instrument('{"code": "diary", "version": "1", "items": [
    {"code": "n", "type": "integer", "required": true}, {"code": "note", "type": "text"}, {"code": "d", "type": "decimal"}]}');
SELECT clinical.use_instrument('IN', 'diary', true)});
}

# Waits until a query gives what is expected (t); true if it did.  Minds no server that is not there:
# poll_query_until dies of a psql that cannot connect before it has read its input.
sub wait_until
{
	my ($node, $database, $query, $expected, $seconds) = @_;
	my $end = time + ($seconds // 60);
	do
	{
		my $got = eval { my ($status, $out) = $node->psql($database, $query); $status == 0 ? $out : undef };
		return 1 if defined $got && $got eq ($expected // 't');
		select undef, undef, undef, 0.02;
	} while (time < $end);
	return 0;
}

# Changes settings by a reload, and waits until a new session has them: those that start now.
sub set_up
{
	my ($node, %settings) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET $_ = '$settings{$_}'") for sort keys %settings;
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	for my $name (sort keys %settings)
	{
		wait_until($node, 'postgres', "SELECT current_setting('$name') = '$settings{$name}'") or die "$name does not become $settings{$name}";
	}
}

# Is there such a setting?
sub has_setting { my ($node, $name) = @_; return $node->safe_psql('postgres', "SELECT count(*) FROM pg_settings WHERE name = '$name'") }

# Which of its names the switch has.
sub switch_query
{
	my $names = join ', ', map { "'$_'" } @SWITCH;
	return "SELECT name FROM pg_settings WHERE name IN ($names) ORDER BY length(name) DESC LIMIT 1";
}

# Switches the workers of all databases "on" or "off", and waits until those that run are gone.
sub switch_workers
{
	my ($node, $state) = @_;
	my $name = $node->safe_psql('postgres', switch_query());
	set_up($node, $name => $state);
	my $query = "SELECT count(*) FROM pg_stat_activity WHERE $WORKERS";
	wait_until($node, 'postgres', $query, 0) or die 'workers do not end' if $state eq 'off';
	# one that fails at once is seldom seen
	wait_until($node, 'postgres', "SELECT ($query) > 0", 't', 10) if $state eq 'on';
}

# The processes that work for a database.
sub worker_pids
{
	my ($node, $database) = @_;
	my ($status, $out) = $node->psql('postgres', "SELECT pid FROM pg_stat_activity WHERE $WORKERS AND datname = '$database'");
	return split /\n/, $out // '';
}

# A worker that failed waits for a while before it comes again: not here.
sub kick_workers
{
	my ($node, $database) = @_;
	$node->safe_psql($database, 'SELECT clinical.start_workers()');
}

# The submission id of a number.
sub report_id { return sprintf '%08x-0000-4000-8000-%012x', $_[1] // 0, $_[0] }

# The call that submits the report of that number.
sub submit
{
	my ($number, %more) = @_;
	my $patient = $more{patient} // 'I' . (1 + $number % 400);
	my $data = $more{data} // qq('{"n": $number}');
	my $captured = $more{captured_at} // "'2026-02-01 10:00+00'";
	my $id = $more{id} // report_id($number);
	return "clinical.submit_report('$patient', $data, '$id', $captured)";
}

# Submits the reports of these numbers in one transaction each, in one session; the answers, counted:
# "queued 5, busy 2".
sub submit_many
{
	my ($node, $database, $from, $to) = @_;
	return $node->safe_psql($database, qq{\\o /dev/null
CREATE TEMP TABLE answer (outcome text);
\\o
DO \$\$ BEGIN FOR i IN $from .. $to LOOP
    INSERT INTO answer SELECT outcome FROM clinical.submit_report('I' || 1 + i % 400, jsonb_build_object('n', i),
        ('00000000-0000-4000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, '2026-02-01 10:00+00');
    COMMIT;
END LOOP; END \$\$;
SELECT string_agg(outcome || ' ' || n, ', ' ORDER BY outcome DESC) FROM (SELECT outcome, count(*) AS n FROM answer GROUP BY 1) a});
}

# How many reports wait.
sub waiting { my ($node, $database) = @_; return $node->safe_psql($database, 'SELECT count(*) FROM clinical.staged_report') }

# Waits until none does.
sub drained
{
	my ($node, $database, $name, $seconds) = @_;
	return ok(wait_until($node, $database, 'SELECT count(*) FROM clinical.staged_report', 0, $seconds // 60), "$name: all is processed");
}

# What must be true at every moment.
my $sound = q{
SELECT c.* FROM clinical.check() c;
SELECT 'balance', b FROM clinical.intake_balance b WHERE received <> accepted + duplicate + conflict + quarantined + withdrawn + staged};
sub sound
{
	my ($node, $database, $name, $audit) = @_;
	$node->safe_psql($database, 'ANALYZE');
	return is($node->safe_psql($database, $sound . ($audit ? '; SELECT fault, place FROM clinical.verify_audit()' : '')), '', "$name: all is sound");
}

# The reports of these numbers are accepted, each once with its one observation, and no other report is there.
sub exactly_once
{
	my ($node, $database, $from, $to, $name) = @_;
	my $expected = $to - $from + 1;
	return is($node->safe_psql($database, qq{
SELECT count(*), count(DISTINCT s.id), count(*) FILTER (WHERE o.n = 1 AND o.value = (s.report_data ->> 'n')::numeric AND s.status = 'accepted'),
       count(*) FILTER (WHERE s.id = ('00000000-0000-4000-8000-' || lpad(to_hex((s.report_data ->> 'n')::int), 12, '0'))::uuid
                          AND (s.report_data ->> 'n')::int BETWEEN $from AND $to)
  FROM clinical.submission s
  LEFT JOIN (SELECT patient_id, submission_id, count(*) AS n, min(value) AS value FROM clinical.observation GROUP BY 1, 2) o
    ON o.patient_id = s.patient_id AND o.submission_id = s.id;
SELECT count(*) FROM clinical.set_aside WHERE outcome = 'quarantined'}), "$expected|$expected|$expected|$expected\n0", "$name: each is accepted once");
}

# kill -9 of the postmaster; it is gone afterwards, its children are about to notice.
sub kill_postmaster
{
	my ($node) = @_;
	my $pid = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	$node->kill9;
	select undef, undef, undef, 0.01 while kill 0, $pid;
}

# Starts a server whose last postmaster may have left processes that are about to end.
sub start_again
{
	my ($node) = @_;
	for (1 .. 100)
	{
		return if $node->start(fail_ok => 1);
		select undef, undef, undef, 0.1;
	}
	die 'the server does not start';
}

# Stops a server and starts it without workers, so that nothing happens behind the test's back.
sub stop_then_start
{
	my ($node, $mode) = @_;
	my ($name) = split /\n/, $node->safe_psql('postgres', switch_query());
	$node->stop($mode);
	$node->append_conf('postgresql.auto.conf', "$name = off");
	start_again($node);
}

# Makes the processing of each report take some time; and no longer.  The trigger stays: who has read the
# table and goes on with his transaction would be waited for.
sub slow_down
{
	my ($node, $database, $seconds) = @_;
	$node->safe_psql($database, qq{CREATE OR REPLACE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN PERFORM pg_catalog.pg_sleep($seconds); RETURN NEW; END \$\$});
	$node->safe_psql($database, q{CREATE TRIGGER slow BEFORE INSERT ON clinical.submission FOR EACH ROW EXECUTE FUNCTION public.slow();
ALTER TABLE clinical.submission ENABLE ALWAYS TRIGGER slow}) if $node->safe_psql($database, q{SELECT count(*) FROM pg_trigger WHERE tgname = 'slow'}) eq '0';
}
sub speed_up
{
	my ($node, $database) = @_;
	$node->safe_psql($database, 'CREATE OR REPLACE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$');
}

# What a report's submission is told.
sub outcome { my ($node, $database, $call) = @_; return $node->safe_psql($database, "SELECT outcome FROM $call") }

# The SQLSTATE of a command; 00000 if it succeeds.
sub sqlstate
{
	my ($node, $database, $sql) = @_;
	my ($status, $out, $error) = $node->psql($database, "\\set VERBOSITY sqlstate\n$sql", on_error_stop => 0);
	return $error =~ /(?:ERROR|FATAL): +(\w{5})/ ? $1 : $error =~ /server closed|terminating/ ? 'lost' : '00000';
}

# How often something stands in the server's log.
sub log_count { my ($node, $pattern, $offset) = @_; return scalar(() = slurp_file($node->logfile, $offset // 0) =~ /$pattern/g) }

1;
