# Events of note are lines of the log with a code and facts, as JSON too, so many a minute, told when
# they are committed, and with nothing of a patient in them: all that patients are called, have and
# have said is tagged here.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use IntakeSession;
use IPC::Run ();
use JSON::PP qw(decode_json);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my ($canary, $reading) = ('CANARY7e1c', 739125173);
my $trace = '4bf92f3577b34da6a3ce929d0e0e4736';
my $parent = "00-$trace-00f067aa0ba902b7-01";

my $node = PostgreSQL::Test::Cluster->new('observe_log');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'clinical'
logging_collector = on
log_destination = 'stderr,csvlog,jsonlog'
log_directory = 'log'
log_filename = 'server.log'
log_statement = 'all'
log_error_verbosity = verbose
log_min_messages = 'notice'
clinical.max_attempts = 2
clinical.retry_delay_max = '100ms'
});
$node->start;
my $directory = $node->data_dir . '/log';

# The facts of an event: key=value, a value that has more than a word as in JSON.
sub facts
{
	my ($detail) = @_;
	my %facts;
	while ($detail =~ /\G([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ ]*)(?: |$)/gc)
	{
		my ($key, $value) = ($1, $2);
		$facts{$key} = $value =~ /^"/ ? JSON::PP->new->allow_nonref->decode($value) : $value;
	}
	return (pos($detail) // 0) == length $detail ? \%facts : undef;
}

# All events so far, oldest first: {code, words, facts, line}.
sub events
{
	my ($wanted) = @_;
	my @events;
	for my $text (split /(?<=\n)/, slurp_file("$directory/server.json"))
	{
		next unless $text =~ /"message":"CLINICAL-([A-Z]\d\d) ([^"]*)"/;
		my ($code, $words) = ($1, $2);
		# the last one may not be there to its end
		my $line = eval { decode_json($text) } or next;
		push @events, { code => $code, words => $words, facts => facts($line->{detail} // '') // {}, line => $line };
	}
	return grep { !defined $wanted || $_->{code} eq $wanted } @events;
}

# Waits for events of a code with these facts, a value or a pattern each; those that there are.
sub events_with
{
	my ($code, $number, %wanted) = @_;
	my @found;
	my $end = time + 60;
	do
	{
		@found = grep {
			my $facts = $_->{facts};
			!grep { my $is = $facts->{$_} // ''; ref $wanted{$_} ? $is !~ $wanted{$_} : $is ne $wanted{$_} } keys %wanted
		} events($code);
		return @found if @found >= $number;
		select undef, undef, undef, 0.05;
	} while (time < $end);
	return @found;
}

# How many events of a code there were: its lines, and those that were left out.
sub total
{
	my ($code) = @_;
	my $sum = 0;
	for my $event (events())
	{
		$sum += 1 + ($event->{facts}{left_out} // 0) if $event->{code} eq $code;
		$sum += $event->{facts}{left_out} if $event->{code} eq 'L01' && $event->{facts}{code} eq $code;
	}
	return $sum;
}

sub set_to
{
	my ($name, $value) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET $name = '$value'");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	$node->poll_query_until('postgres', "SELECT current_setting('$name') = '$value'") or die "$name does not become $value";
}

# Submits reports of a patient in one transaction; the answers.
sub submit
{
	my ($patient, $data, $number, %more) = @_;
	my $trace_parent = $more{trace} ? "'$more{trace}'" : 'NULL';
	my $before = $more{before} // '';
	my $after = $more{after} // '';
	return $node->safe_psql('postgres', "$before SELECT string_agg((clinical.submit_report('$patient', '$data', trace_parent => $trace_parent,
		captured_at => '2026-02-01 12:00+00'::timestamptz + g * interval '1 s')).outcome, ' ') FROM generate_series(1, $number) g; $after");
}
sub workers { my ($what) = @_; return $node->safe_psql('postgres', "SELECT clinical.${what}_workers()") }
sub drained { return $node->safe_psql('postgres', q{SELECT clinical.wait_until_drained('60 s')}) }

# a project whose code has to be quoted
my $project = 'BP "01"';
$node->safe_psql('postgres', qq{
CREATE EXTENSION clinical;
SELECT clinical.create_center('Center', 'C1'), clinical.create_project_with_centers('$canary', '{1}', '$project');
SELECT clinical.enroll_patient('$canary-' || g, '$canary', '1987-06-05', '$project', 1, '{"note": "$canary"}', effective_on => '2026-01-10')
  FROM generate_series(1, 9) g;
SELECT clinical.create_instrument('{"code": "i", "version": "1", "items": [{"code": "a", "type": "integer", "required": true}, {"code": "t", "type": "text"},
    {"code": "p", "type": "integer", "checks": [{"id": "scale", "comparator": "LE", "values": [10], "soft_hard": "Hard"}]}]}');
SELECT clinical.use_instrument('$project', 'i', true);
SELECT clinical.create_rule('{"code": "high a", "project": "BP \\"01\\"", "kind": "threshold", "severity": "serious", "items": [{"item": "a", "range": "[0,10]"}], "escalate_after": ["1 second"]}')});
$node->poll_query_until('postgres', q{SELECT state = 'running' FROM clinical.stat_worker WHERE kind = 'first'}) or die;
is($node->safe_psql('postgres', q{SELECT context || ' ' || boot_val FROM pg_settings WHERE name = 'clinical.log_events'}), 'superuser on', 'there is a switch');

# W01, and what a line is in JSON
my $datid = $node->safe_psql('postgres', q{SELECT oid FROM pg_database WHERE datname = 'postgres'});
my $pid = $node->safe_psql('postgres', q{SELECT pid FROM clinical.stat_worker WHERE kind = 'first'});
my ($started) = events_with('W01', 1, pid => $pid);
is_deeply($started->{facts}, { database => 'postgres', datid => $datid, kind => 'first', pid => $pid }, 'a worker has started');
is_deeply([ map { $started->{line}{$_} } qw(message backend_type application_name error_severity pid) ],
	[ 'CLINICAL-W01 worker started', 'clinical worker', 'clinical worker', 'LOG', $pid ], 'and JSON has it all as fields');
like(slurp_file("$directory/server.log"), qr/LOG:  (?:00000: )?CLINICAL-W01 worker started\n.*DETAIL:  database=postgres datid=$datid kind=first pid=$pid\n/, 'the text log too');
is(scalar(grep { $_->{facts}{datid} ne $datid } events('W01')), 0, 'workers that only look for the extension are no event');

# A01 and A02
is(submit("$canary-1", qq({"a": $reading, "t": "$canary"}), 1, trace => $parent), 'queued', 'a report');
my ($opened) = events_with('A01', 1);
my $alert = $node->safe_psql('postgres', 'SELECT id FROM clinical.alert');
is_deeply($opened->{facts}, { database => 'postgres', project => $project, rule => 'high a', kind => 'threshold', severity => 'serious', alert_id => $alert, trace_id => $trace }, 'opens an alert');
my ($escalated) = events_with('A02', 1);
is_deeply($escalated->{facts}, { database => 'postgres', project => $project, rule => 'high a', kind => 'threshold', severity => 'serious', level => 1, alert_id => $alert }, 'which is escalated');

# I02: why, and which
submit("$canary-nobody", '{"a": 1}', 1);
submit("$canary-2", qq({"a": 1, "p": $reading, "t": "$canary"}), 1, trace => $parent);
my ($unknown) = events_with('I02', 1, reason => 'unknown_patient');
my $id = $node->safe_psql('postgres', "SELECT submission_id FROM clinical.set_aside WHERE patient_id = '$canary-nobody'");
is_deeply($unknown->{facts}, { database => 'postgres', reason => 'unknown_patient', submission_id => $id }, 'a report of nobody is in quarantine');
my ($wrong) = events_with('I02', 1, project => $project);
my ($reason) = $node->safe_psql('postgres', "SELECT reason_code || ' ' || submission_id FROM clinical.set_aside WHERE patient_id = '$canary-2'");
is("$wrong->{facts}{reason} $wrong->{facts}{submission_id} $wrong->{facts}{trace_id}", "$reason $trace", 'and one with a wrong value, with its project and trace');

# I01 and I05: what a trigger does with reports
$node->safe_psql('postgres', qq{
CREATE FUNCTION public.poison() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS \$\$
BEGIN
    IF NEW.patient_id = '$canary-3' THEN
        RAISE division_by_zero USING MESSAGE = NEW.patient_id, DETAIL = NEW.report_data::text;
    ELSIF NEW.patient_id = '$canary-4' THEN
        RAISE serialization_failure USING MESSAGE = NEW.patient_id, DETAIL = NEW.report_data::text;
    END IF;
    RETURN NEW;
END \$\$;
CREATE TRIGGER poison BEFORE INSERT ON clinical.submission FOR EACH ROW EXECUTE FUNCTION public.poison();
ALTER TABLE clinical.submission ENABLE ALWAYS TRIGGER poison});
submit("$canary-4", qq({"a": 1, "t": "$canary"}), 1, trace => $parent);
drained();
is(scalar(events_with('I01', 1, sqlstate => '40001', reports => 1, action => 'put_off')), 1, 'a report that may go well another time');
my ($put_off) = events_with('I05', 1);
$id = $node->safe_psql('postgres', "SELECT submission_id FROM clinical.set_aside WHERE patient_id = '$canary-4'");
is_deeply($put_off->{facts}, { database => 'postgres', sqlstate => '40001', attempts => 1, submission_id => $id, trace_id => $trace }, 'is put off');
is(scalar(events_with('I01', 1, sqlstate => '40001', reports => 1, action => 'quarantine')), 1, 'and not for ever');
is(scalar(events_with('I02', 1, reason => 'failed', sqlstate => '40001', submission_id => $id, project => $project)), 1, 'it is in quarantine, with what went wrong');
workers('stop');
submit("$canary-3", qq({"a": 1, "t": "$canary"}), 1);
submit("$canary-5", '{"a": 1}', 4);
workers('start');
drained();
is(scalar(events_with('I01', 1, sqlstate => '22012', reports => 5, action => 'split')), 1, 'reports that fail together are split');
is(scalar(events_with('I02', 1, reason => 'failed', sqlstate => '22012')), 1, 'until it is known which one it was');
is($node->safe_psql('postgres', "SELECT count(*) FROM clinical.submission WHERE patient_id = '$canary-5'"), 4, 'the others are accepted');

# I03 and I04: once each time
workers('stop');
set_to('clinical.queue_capacity', 10);
is(submit("$canary-6", '{"a": 2}', 12), join(' ', ('queued') x 10, 'busy', 'busy'), 'a queue that is full');
is(submit("$canary-6", '{"a": 2}', 2), 'busy busy', 'and stays it');
is_deeply([ map { $_->{facts} } events_with('I03', 1) ], [ { database => 'postgres', capacity => 10, waiting => 10 } ], 'is told once');
is($node->safe_psql('postgres', 'SELECT clinical.process_reports(1)'), 1, 'one fewer');
is($node->safe_psql('postgres', 'SELECT clinical.process_reports(1)'), 1, 'is nine tenths, two fewer are less');
my ($room) = events_with('I04', 1);
is(join(' ', sort keys %{ $room->{facts} }), 'database full_ms waiting', 'there is room again');
is($room->{facts}{waiting}, 8, 'as soon as that is so');
is($node->safe_psql('postgres', 'SELECT clinical.process_reports()'), 8, 'and then');
cmp_ok($room->{facts}{full_ms}, '<', 600_000, 'and for how long there was none');
# a project's share
$node->safe_psql('postgres', "UPDATE clinical.project SET queue_share = 0.2");
is(submit("$canary-7", '{"a": 3}', 4), 'queued queued busy busy', 'a share of the queue that is taken');
is_deeply([ map { $_->{facts} } events_with('I03', 2) ]->[1], { database => 'postgres', project => $project, capacity => 2, waiting => 2 }, 'is told with the project');
workers('start');
($room) = events_with('I04', 1, project => $project);
is($room && $room->{facts}{database}, 'postgres', 'and that it is free again');
is(submit("$canary-7", '{"a": 4}', 2), 'queued queued', 'which it is');
drained();
# what a rollback gives back
set_to('clinical.queue_capacity', 1);
workers('stop');
submit("$canary-7", '{"a": 5}', 2, before => 'BEGIN;', after => 'ROLLBACK;');
is(scalar(events_with('I04', 3)), 3, 'also by a rollback');
is(scalar(events('I03')), 3, 'and each time once');
is(scalar(events('I04')), 3, 'both');
set_to('clinical.queue_capacity', 1000000);
$node->safe_psql('postgres', "UPDATE clinical.project SET queue_share = NULL");

# W02: why
$node->poll_query_until('postgres', q{SELECT state = 'stopped' FROM clinical.stat_worker}) or die;
is(scalar(grep { $_->{facts}{pid} == $pid } events_with('W02', 1, kind => 'first', reason => 'told_to_end', datid => $datid, database => 'postgres')), 1, 'a worker was told to end');
workers('start');
$node->poll_query_until('postgres', q{SELECT state = 'running' FROM clinical.stat_worker WHERE kind = 'first'}) or die;
$node->safe_psql('postgres', q{REVOKE CONNECT ON DATABASE postgres FROM PUBLIC});
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM clinical.stat_worker WHERE kind = 'first'});
my ($failed) = events_with('W02', 1, reason => 'error');
is_deeply([ map { $failed->{facts}{$_} } qw(datid kind sqlstate) ], [ $datid, 'first', '42501' ], 'one that may not connect says so');
$node->safe_psql('postgres', q{GRANT CONNECT ON DATABASE postgres TO PUBLIC});
workers('stop');

# a transaction that comes to nothing tells nothing; a savepoint neither
my $quarantined = total('I02');
$node->safe_psql('postgres', qq{
BEGIN;
SELECT clinical.submit_report('$canary-away', '{"a": 1}'), clinical.process_reports();
ROLLBACK;
BEGIN;
SELECT clinical.submit_report('$canary-there', '{"a": 2}', '00000000-0000-4000-8000-000000000002'), clinical.process_reports();
SAVEPOINT one;
SELECT clinical.submit_report('$canary-away', '{"a": 2}'), clinical.process_reports();
ROLLBACK TO one;
SAVEPOINT two;
SAVEPOINT three;
SELECT clinical.submit_report('$canary-there', '{"a": 3}', '00000000-0000-4000-8000-000000000003'), clinical.process_reports();
RELEASE two;
COMMIT});
is(scalar(events_with('I02', 1, submission_id => '00000000-0000-4000-8000-000000000003')), 1, 'what is committed is told');
is(scalar(events_with('I02', 1, submission_id => '00000000-0000-4000-8000-000000000002')), 1, 'all of it');
is(total('I02'), $quarantined + 2, 'what is rolled back is not');
# nor is anything where events are switched off
my $before = total('I02');
my ($status, $out, $error) = $node->psql('postgres', qq{
SET client_min_messages = debug1;
SELECT clinical.submit_report('$canary-away', '{"a": 4}'), clinical.process_reports();
SET clinical.log_events = off;
SELECT clinical.submit_report('$canary-away', '{"a": 5}'), clinical.process_reports();
SET clinical.log_events = on;
SELECT clinical.submit_report('$canary-away', '{"a": 6}', '00000000-0000-4000-8000-000000000006'), clinical.process_reports()});
is(scalar(events_with('I02', 1, submission_id => '00000000-0000-4000-8000-000000000006')), 1, 'again on');
is(total('I02'), $before + 2, 'and off in between');
unlike($error, qr/CLINICAL-/, 'clients get none of it');

# R02: reports that fail, since somebody has locked what they read; R01: jobs that are cancelled before they begin
my $holder = session($node, 'postgres');
answers($holder, 'BEGIN; LOCK TABLE clinical.monitor_rule_version IN ACCESS EXCLUSIVE MODE');
my $making = "clinical.generate_report('$project', '[2026-01-01,2026-07-01)')";
$node->safe_psql('postgres', qq{
DO \$\$ BEGIN
    PERFORM set_config('lock_timeout', '1ms', true);
    FOR i IN 1 .. 25 LOOP
        BEGIN
            PERFORM $making;
        EXCEPTION WHEN lock_not_available THEN NULL;
        END;
    END LOOP;
END \$\$});
end_session($holder);
$node->safe_psql('postgres', "SELECT clinical.cancel_report(clinical.request_report('$project', '[2026-01-01,2026-07-01)')); " x 25);
my ($gone) = events_with('R02', 1);
is_deeply([ map { $gone->{facts}{$_} } qw(database project sqlstate way phase) ], [ 'postgres', $project, '55P03', 'direct', 'counting' ], 'a report that failed');
($gone) = events_with('R01', 1);
is(join(' ', sort keys %{ $gone->{facts} }), 'cause database project report_id way', 'and one that was cancelled');
is_deeply([ @{ $gone->{facts} }{qw(database project cause way)} ], [ 'postgres', $project, 'cancel_request', 'job' ], 'whose, and how');
is($node->safe_psql('postgres', "SELECT failed || ' ' || cancelled_request FROM clinical.stat_report WHERE kind = 'project'"), '25 25', 'they are counted');

# many: ten lines a minute, and the others are counted
$before = total('I02');
submit("$canary-many", qq({"a": $reading, "t": "$canary"}), 500);
workers('start');
drained();
my $told = '';
my $all_told = join ' ', $before + 500, 25, 25;
for (1 .. 300)
{
	last if ($told = join ' ', map { total($_) } qw(I02 R01 R02)) eq $all_told;
	# a worker that is woken looks whether the minute is over
	submit("$canary-8", '{"a": 1}', 1);
	select undef, undef, undef, 0.5;
}
is($told, $all_told, '500 reports in quarantine, and 50 that were not made: lines and those left out add up');
# the first second of a minute may have the end of the one before
my %lines;
$lines{"$_->{code} " . substr($_->{line}{timestamp}, 0, 16)}++ for grep { $_->{line}{timestamp} !~ /^.{17}00/ } events();
is(join(', ', grep { $lines{$_} > 10 } sort keys %lines), '', 'with at most ten lines a minute');
my ($left_out) = events_with('L01', 1, code => 'I02');
is(join(' ', sort keys %{ $left_out->{facts} }), 'code left_out', 'a worker tells what was left out');

# the codes are those of the document, and each was seen
my %source = slurp_file('src/observe_log.c') =~ /\{"([A-Z]\d\d)", "([^"]+)"\}/g;
my ($section) = slurp_file('doc/observe.md') =~ /^## Log lines\n(.*?)(?=^## |\z)/ms;
my %documented = map { $_ => 1 } $section =~ /^\| `([A-Z]\d\d)` \|/mg;
is_deeply([ sort keys %documented ], [ sort keys %source ], 'the document lists the codes, and no others');
my %seen = map { $_->{code} => $_->{words} } events();
is_deeply([ sort keys %source ], [ sort keys %seen ], 'each of them was seen');
is_deeply([ grep { $seen{$_} ne $source{$_} } sort keys %seen ], [], 'in the same words');
is(scalar(grep { !%{ $_->{facts} } } events()), 0, 'all facts could be read');
my %reasons = map { $_ => 1 } slurp_file('src/worker_main.c') =~ /^end_reason\(int code\)\n(.*?)^\}/ms ? $1 =~ /"(\w+)"/g : ();
my ($why) = $section =~ /^### Why a worker ended\n(.*?)^### /ms;
is_deeply([ sort { $a cmp $b } map { /^\| `(\w+)` \|/ && $1 ne 'reason' ? $1 : () } split /\n/, $why ], [ sort keys %reasons ], 'so are the reasons why a worker ends');

# nothing of a patient, in none of the logs
my $logs = join '', map { slurp_file("$directory/server.$_") } qw(log csv json);
unlike($logs, qr/$canary|$reading|1987-06-05/, 'no tag is in the logs');
like($logs, qr/CLINICAL-A01/, 'which have the events');
unlike(join('', map { $_->{line}{statement} // '' } events()), qr/./, 'without the statement');

# the document's jq
SKIP:
{
	my @scripts = $section =~ /^```sh\n(jq .*?)^```$/msg;
	is(@scripts, 3, 'the document has three ways of reading them');
	skip 'no jq', 4 unless `jq --version 2>/dev/null`;
	my @printed;
	for my $script (@scripts)
	{
		my $command = $script =~ s{/var/log/postgresql/server\.json}{$directory/server.json}gr;
		my ($printed, $complaint);
		IPC::Run::run([ 'sh', '-c', $command ], '>', \$printed, '2>', \$complaint);
		diag $complaint if $complaint;
		push @printed, $printed;
	}
	my @all = events();
	is(scalar(split /\n/, $printed[0]), scalar(@all), 'jq finds the same events');
	is((split /\t/, (split /\n/, $printed[0])[0])[1], $all[0]{code}, 'the first one first');
	is_deeply([ map { my %event = %{ decode_json($_) }; [ @event{qw(code event facts)} ] } split /\n/, $printed[1] ],
		[ map { [ @$_{qw(code words facts)} ] } @all ], 'with the same facts');
	is_deeply({ map { split /\t/ } split /\n/, $printed[2] }, { map { $_ => total($_) } grep { $_ ne 'L01' } keys %seen }, 'and the same numbers');
}

# this test can fail: what is not of ours is kept out, and with it the tag
$node->safe_psql('postgres', 'ALTER SYSTEM SET clinical.log_values = on; SELECT pg_reload_conf()');
$node->poll_query_until('postgres', q{SELECT current_setting('clinical.log_values') = 'on'}) or die;
$node->psql('postgres', "SELECT '${canary}shown'::int");
for (1 .. 600) { last if slurp_file("$directory/server.json") =~ /${canary}shown/; select undef, undef, undef, 0.05; }
like(slurp_file("$directory/server.json"), qr/${canary}shown/, 'with clinical.log_values the tag is there');

$node->stop;
done_testing();
