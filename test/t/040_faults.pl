# At each point of the code where a fault has consequences: an error, a cancel and a crash.  Afterwards
# nothing is left of what was under way, all is sound, and the same works without the fault.
# Needs a build with FAULTS (make test-faults).
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('faults');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'clinical'
restart_after_crash = on
clinical.workers_enabled = off
clinical.worker_restart_delay = '1s'
clinical.audit_seal_interval = '100ms'});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION clinical');
my ($with) = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'clinical.fault'});
if (!$with)
{
	$node->stop;
	plan skip_all => 'not built with FAULTS: make test-faults';
}
$node->safe_psql('postgres', q{
SELECT clinical.create_center('One', '1'), clinical.create_center('Two', '2');
SELECT clinical.create_project_with_centers('P', '{1, 2}', 'P');
SELECT clinical.enroll_patient('P' || g, 'Name', NULL, 'P', 1, '{"a": 1}', effective_on => '2026-01-10') FROM generate_series(1, 50) g;
SELECT clinical.create_instrument('{"code": "used", "version": "1", "items": [{"code": "a", "type": "integer"}]}');
SELECT clinical.use_instrument('P', 'used', true)});

# Waits until a query gives t.  Unlike poll_query_until it minds no psql that cannot connect, of which that dies.
sub soon
{
	my ($query) = @_;
	for (1 .. 1200)
	{
		my $got = eval { my ($status, $out) = $node->psql('postgres', $query); $status == 0 ? $out : undef };
		return 1 if defined $got && $got eq 't';
		select undef, undef, undef, 0.05;
	}
	return 0;
}

# Is a pattern in the log, from a place on, within a minute?
sub logged
{
	my ($pattern, $from) = @_;
	for (1 .. 1200)
	{
		return 1 if slurp_file($node->logfile, $from) =~ $pattern;
		select undef, undef, undef, 0.05;
	}
	return 0;
}

# Runs a statement that meets a fault; what psql was told.  A wait is ended by the timeout, which nothing else has:
# on a busy machine it takes its time until the point is reached.  After a crash it waits until the server is back:
# the client notices before the postmaster does, and who connects at once meets the crash.
sub meet
{
	my ($database, $fault, $sql) = @_;
	my $log = -s $node->logfile;
	my $timeout = $fault =~ /:wait/ ? '700ms' : 0;
	my ($status, $out, $error) = $node->psql($database, "\\set VERBOSITY sqlstate\nSET statement_timeout = '$timeout'; SET clinical.fault = '$fault';\n$sql", on_error_stop => 0);
	if ($fault =~ /:crash/)
	{
		logged(qr/terminated by signal 6.*database system is ready to accept connections/s, $log) or diag 'the server did not crash';
		soon('SELECT true') or die 'the server is not back';
	}
	return $error;
}

# What reaches each point; # is another number each time.
my %reach = (
	owner_acts => q{SELECT count(clinical.set_patient_status('P#', 'completed', '2026-02-01'))},
	patient_created => q{SELECT count(clinical.enroll_patient('X#', NULL, NULL, 'P', 1, effective_on => '2026-01-10'))},
	event_apply => q{SELECT count(clinical.transfer_patient('P#', 2, '2026-02-01', 'r'))},
	project_created => q{SELECT count(clinical.create_project_with_centers('#', '{1, 2}', '#'))},
	audit_write => q{SELECT clinical.amend_record('P#', '{"a": 2}', 'r')},
	audit_written => q{SELECT clinical.amend_record('P#', '{"a": 2}', 'r')},
	redact_destroyed => q{SELECT count(clinical.redact('clinical.patient', '{"id": "P#"}', '{name}', 'r'))},
	seal_block => q{SELECT count(clinical.seal_audit())},
	seal_stored => q{SELECT count(clinical.seal_audit())},
	instrument_created => q{SELECT count(clinical.create_instrument('{"code": "i#", "version": "1", "items": [{"code": "a", "type": "integer"}]}'))},
	instrument_default => q{SELECT count(clinical.use_instrument('P', 'used', true, effective_from => '2027-01-01'))},
	rule_version_added => q{SELECT count(clinical.create_rule('{"code": "r#", "kind": "threshold", "severity": "info", "items": [{"item": "a", "range": "[0,1]"}]}'))},
	instrument_compiled => q{SELECT clinical.report_is_valid('used', '{"a": 1}')});
# in the workers, where a trail begins its next generation, and where reports are processed, whose errors
# are no errors of the caller
my %elsewhere = map { $_ => 1 } qw(stage_put stage_find drain_marked drain_taken drain_judged drain_stored drain_observed drain_monitored rule_compiled rule_evaluated alerts_end worker_begun worker_commit worker_committed seal_done audit_generation report_claimed report_computed event_written
  further_start further_attached);
my %points = map { $_ => 1 } map { slurp_file($_) =~ /CLINICAL_FAULT\("(\w+)"\)/g } glob 'src/*.c';
is(join(' ', sort keys %points), join(' ', sort keys %reach, keys %elsewhere), 'every point is known');

my $number = 0;
my $hits = 0;

# All that is stored, but sequences and the clock.
sub stored
{
	return $node->safe_psql('postgres', join ';', map { "SELECT '$_', count(*), md5(string_agg(t::text, '' ORDER BY t::text COLLATE \"C\")) FROM clinical.$_ t" }
		  split /\n/, $node->safe_psql('postgres', q{SELECT relname FROM pg_class WHERE relnamespace = 'clinical'::regnamespace AND relkind = 'r' ORDER BY 1}));
}

sub sound
{
	my ($name) = @_;
	return is($node->safe_psql('postgres', 'SELECT invariant, object FROM clinical.check(); SELECT fault, place FROM clinical.verify_audit()'), '', "$name: all is sound");
}

for my $point (sort keys %reach)
{
	# something to seal
	$node->safe_psql('postgres', q{SELECT clinical.amend_record('P49', jsonb_build_object('n', clock_timestamp()), 'r')});
	for my $action (qw(error wait crash))
	{
		my $n = ++$number;
		my $sql = $reach{$point} =~ s/#/$n/gr;
		my $before = stored();
		my $error = meet('postgres', "$point:$action", $sql);
		my %expected = (error => qr/ERROR:  09000/, wait => qr/ERROR:  57014/, crash => qr/server closed the connection unexpectedly/);
		$hits++ if like($error, $expected{$action}, "$point: $action");
		is(stored(), $before, "$point: $action leaves nothing");
	}
	# in a savepoint, and the session goes on as who it was
	my $n = ++$number;
	my $sql = $reach{$point} =~ s/#/$n/gr;
	is($node->safe_psql('postgres', qq{
DO \$\$ BEGIN PERFORM set_config('clinical.fault', '$point:error', true); EXECUTE \$q\$$sql\$q\$; EXCEPTION WHEN triggered_action_exception THEN NULL; END \$\$;
SELECT current_user = session_user;
$sql}) =~ /^t\n[1-9t]/ ? 1 : 0, 1, "$point: caught, the same works in the same session");
}
sound('after all');

# Processing reports: an error stops the batch and not its reports, which are tried one by one; what
# is cancelled or crashes has done nothing.
my $accepted = 0;
my $balance = 'SELECT sum(accepted), sum(quarantined), sum(staged) FROM clinical.intake_balance';
for my $point (qw(drain_judged drain_stored drain_observed drain_monitored))
{
	$node->safe_psql('postgres', q{SELECT count(clinical.submit_report('P40', '{"a": 1}')) FROM generate_series(1, 3)});
	for my $action (qw(wait crash))
	{
		my $before = stored();
		my $error = meet('postgres', "$point:$action", q{SELECT clinical.process_reports()});
		$hits++ if like($error, { wait => qr/ERROR:  57014/, crash => qr/server closed/ }->{$action}, "$point: $action");
		is(stored(), $before, "$point: $action leaves nothing");
	}
	is($node->safe_psql('postgres', "SET clinical.fault = '$point:error'; SELECT clinical.process_reports(); $balance"), sprintf("3\n%d|0|0", $accepted += 3), "$point: error");
	$hits++;
}
# Before the batch is in a savepoint, an error is the caller's; nothing was done, no place is lost.
for my $point (qw(stage_put stage_find drain_taken))
{
	my $call = $point eq 'stage_put' ? q{SELECT outcome FROM clinical.submit_report('P41', '{"a": 1}')} : 'SELECT clinical.process_reports()';
	$node->safe_psql('postgres', q{SELECT count(clinical.submit_report('P40', '{"a": 1}')) FROM generate_series(1, 3)});
	for my $action (qw(error wait crash))
	{
		my $before = stored();
		my $error = meet('postgres', "$point:$action", $call);
		$hits++ if like($error, { error => qr/ERROR:  09000/, wait => qr/ERROR:  57014/, crash => qr/server closed/ }->{$action}, "$point: $action");
		is(stored(), $before, "$point: $action leaves nothing");
		is($node->safe_psql('postgres', 'SELECT places_taken, waiting FROM clinical.stat_intake'), '3|3', "$point: $action takes no place");
	}
	is($node->safe_psql('postgres', "SELECT clinical.process_reports(); $balance"), sprintf("3\n%d|0|0", $accepted += 3), "$point: it goes on");
}
sound('after processing');

# After the commit nothing may fail: a line of the log that cannot be written is lost, and nothing else; nor does
# the session mind.
my $lines = -s $node->logfile;
my $lost = q{SET clinical.fault = 'event_written:error'; SELECT clinical.process_reports(); SET clinical.fault = ''};
my $whole = 'SET statement_timeout = 100; SELECT pg_sleep(600)';
$node->safe_psql('postgres', q{SELECT clinical.submit_report('nobody', '{"a": 1}')});
my ($status, $told, $error) = $node->psql('postgres', "$lost; SELECT count(*) FROM clinical.quarantine; $whole");
is($told, "1\n1", 'a report in quarantine, whose line cannot be written');
like($error, qr/^psql:[^\n]*canceling statement due to statement timeout\s*\z/, 'which is all, and the session can be cancelled');
# the queue is full, and has room again
$node->safe_psql('postgres', q{ALTER SYSTEM SET clinical.queue_capacity = 1});
$node->safe_psql('postgres', q{SELECT pg_reload_conf()});
soon(q{SELECT current_setting('clinical.queue_capacity') = '1'});
my $two = q{SELECT string_agg((clinical.submit_report('P40', '{"a": 1}')).outcome, ' ') FROM generate_series(1, 2)};
is($node->safe_psql('postgres', $two), 'queued busy', 'a queue that is full');
($status, $told, $error) = $node->psql('postgres', "$lost; $whole");
is($told, 1, 'has room again, which cannot be told');
like($error, qr/^psql:[^\n]*canceling statement due to statement timeout\s*\z/, 'which is all');
is($node->safe_psql('postgres', "$two; SELECT clinical.process_reports()"), "queued busy\n1", 'and full, and has room again');
my $rest = slurp_file($node->logfile, $lines);
is(join(' ', $rest =~ /(CLINICAL-\w+|PANIC)/g), 'CLINICAL-I03 CLINICAL-I03 CLINICAL-I04', 'what could be written is told');
$node->safe_psql('postgres', q{ALTER SYSTEM RESET clinical.queue_capacity});
$node->safe_psql('postgres', q{SELECT pg_reload_conf()});
sound('after lines that could not be written');

# The first record of a trail that goes on elsewhere.
$node->safe_psql('postgres', 'CREATE DATABASE other TEMPLATE postgres');
for my $action (qw(error wait crash))
{
	my $error = meet('other', "audit_generation:$action", q{SELECT clinical.amend_record('P40', '{"a": 3}', 'r')});
	$hits++ if like($error, { error => qr/ERROR:  09000/, wait => qr/ERROR:  57014/, crash => qr/server closed/ }->{$action}, "audit_generation: $action");
	is($node->safe_psql('other', 'SELECT count(*) FROM clinical.audit_generation'), 1, "audit_generation: $action leaves nothing");
}
is($node->safe_psql('other', q{SELECT clinical.amend_record('P40', '{"a": 3}', 'r'); SELECT count(*) FROM clinical.audit_generation; SELECT fault FROM clinical.verify_audit()}), "2\n2", 'and it begins');

# The worker: whatever happens to it, it comes again and seals; "wait" is ended by a signal.
$node->safe_psql('postgres', 'DROP DATABASE other');
$node->safe_psql('postgres', 'ALTER SYSTEM SET clinical.workers_enabled = on');
for my $point (qw(worker_begun worker_commit worker_committed seal_done))
{
	for my $action (qw(error wait exit crash))
	{
		$node->safe_psql('postgres', 'SELECT clinical.stop_workers()');
		$node->safe_psql('postgres', "ALTER SYSTEM SET clinical.fault = '$point:$action:2'");
		$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
		my $log = -s $node->logfile;
		$node->safe_psql('postgres', q{SELECT clinical.start_workers(); SELECT clinical.amend_record('P' || 1 + floor(random() * 48)::int, jsonb_build_object('n', random()), 'work')
  FROM (SELECT 1) s WHERE true; SELECT pg_sleep(0.3)}) if $action ne 'crash';
		eval { $node->psql('postgres', q{SELECT clinical.start_workers(); SELECT pg_sleep(1)}) } if $action eq 'crash';
		if ($action eq 'wait')
		{
			$hits++ if ok(soon(q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type LIKE 'clinical worker%' AND wait_event_type = 'Extension' AND state = 'active'}), "$point: wait");
			$node->psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'clinical worker%'});
		}
		else
		{
			my %said = (error => qr/fault at "$point"/, exit => qr/clinical worker.*exited with exit code 1/, crash => qr/clinical worker.*terminated by signal 6/);
			$hits++ if ok(logged($said{$action}, $log), "$point: $action");
		}
		# where the fault stays asked for, a worker that crashes crashes again
		my $reset = 0;
		for (1 .. 600)
		{
			last if $reset = eval { $node->psql('postgres', 'ALTER SYSTEM RESET clinical.fault') == 0 };
			select(undef, undef, undef, 0.1);
		}
		ok($reset, "$point: $action: the server is there again");
		soon('SELECT pg_reload_conf()');
		soon(q{SELECT current_setting('clinical.fault') = ''});
		soon(q{SELECT clinical.start_workers() IS NOT NULL});
		ok(soon(q{SELECT NOT EXISTS (SELECT FROM clinical.audit_record r WHERE r.xid >= (SELECT max(to_xid) FROM clinical.audit_block)) AND state = 'running' FROM clinical.stat_worker WHERE kind = 'first'}),
			"$point: $action: the worker comes again and seals what is left");
	}
}
sound('after the worker\'s');

# A report that is asked for: an error is its end, and of its worker's crashes it survives two.
for my $point (qw(report_claimed report_computed))
{
	for my $action (qw(error crash))
	{
		$node->safe_psql('postgres', "ALTER SYSTEM SET clinical.fault = '$point:$action:1'");
		$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
		soon(q{SELECT current_setting('clinical.fault') <> ''});
		my $log = -s $node->logfile;
		my $id = $node->safe_psql('postgres', q{SELECT clinical.request_report('P', '[2026-01-01,2026-02-01)')});
		$hits++ if ok($action eq 'error' ? soon("SELECT status = 'failed' AND detail = '09000' FROM clinical.report_job WHERE id = '$id'") : logged(qr/terminated by signal 6/, $log), "$point: $action");
		my $reset = 0;
		for (1 .. 600)
		{
			last if $reset = eval { $node->psql('postgres', 'ALTER SYSTEM RESET clinical.fault') == 0 };
			select(undef, undef, undef, 0.1);
		}
		soon('SELECT pg_reload_conf()');
		ok(soon("SELECT status IN ('done', 'failed') AND (status = 'done') = EXISTS (SELECT FROM clinical.report r WHERE r.id = j.id) AND (status = 'done' OR detail IN ('09000', '57P02')) FROM clinical.report_job j WHERE id = '$id'"),
			"$point: $action: it ends");
	}
}
sound('after reports');
my $all = 3 * keys(%reach) + 3 + 12 + 9 + 16 + 4;
is($hits, $all, "$hits/$all faults were hit");

done_testing();
