# A trace goes from the client's span through the queue to the alert, and to a collector: by the example client,
# which posts to a receiver. Then project reports, what is sampled, what is lost, and what is nobody else's.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use JSON::PP qw(decode_json);
use Monitor;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'there is no node' if system('node --version >/dev/null 2>&1') != 0;

my $node = monitor_node('trace', 'max_worker_processes = 20', "client_connection_check_interval = '50ms'", "max_prepared_transactions = 2");
$node->safe_psql('postgres', q{
SELECT clinical.enroll_patient('CANARY-ID', 'Canary Name', '1951-02-03', 'MON', 1, '{"arm": "CANARY-ARM"}', effective_on => '2025-01-10');
SELECT clinical.enroll_patient('T' || g, NULL, NULL, 'MON', 1, effective_on => '2025-01-10') FROM generate_series(1, 40) g;
CREATE ROLE watch LOGIN;
GRANT pg_monitor TO watch});
rule($node, 'postgres', 'HIGH', kind => '"threshold"', days => undef);
# or it could be that which raises the alert
ok(evaluated($node, 'postgres'), 'the rule is evaluated over what is there');

# ---------------------------------------------------------------------------------------------
# The receiver: keeps what is posted, and answers; not while a file is there that says so.
my $scratch = PostgreSQL::Test::Utils::tempdir();
append_to_file("$scratch/receiver.mjs", q{
import { appendFileSync, existsSync } from 'node:fs';
import { createServer } from 'node:http';
const server = createServer((request, response) => {
	let body = '';
	request.on('data', (data) => body += data);
	request.on('end', () => {
		if (existsSync('refuse')) {
			response.writeHead(503).end();
			return;
		}
		appendFileSync('received', JSON.stringify({ path: request.url, type: request.headers['content-type'], body: JSON.parse(body) }) + '\n');
		response.writeHead(200, { 'Content-Type': 'application/json' }).end('{}');
	});
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
});
my ($port, $said) = ('', '');
my $receiver = IPC::Run::start([ 'sh', '-c', "cd '$scratch' && exec node receiver.mjs" ], '<', \undef, '>', \$port, '2>', \$said, IPC::Run::timeout(300));
$receiver->pump until $port =~ /\n/;
chomp $port;

# Runs the example client; its exit status. What is received meanwhile is the next to be looked at.
my @received;
sub send_spans
{
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres', PGUSER => 'watch');
	unlink "$scratch/received";
	my $status = system("node doc/observe/spans.mjs http://127.0.0.1:$port/v1/traces 2>>'$scratch/errors'") >> 8;
	@received = -e "$scratch/received" ? split /\n/, slurp_file("$scratch/received") : ();
	return $status;
}

# Spans of documents, in order of time; each with its attributes as a hash.
sub spans_of
{
	my @spans = map { @{ $_->{spans} } } map { @{ $_->{scopeSpans} } } map { @{ $_->{resourceSpans} } } @_;
	$_->{attributes} = { map { $_->{key} => $_->{value}{stringValue} // $_->{value}{intValue} } @{ $_->{attributes} } } for @spans;
	return sort { $a->{startTimeUnixNano} cmp $b->{startTimeUnixNano} || $a->{endTimeUnixNano} cmp $b->{endTimeUnixNano} } @spans;
}
sub received { return spans_of(map { decode_json($_)->{body} } @received) }
# Those that are taken here
sub taken { my ($max, $database) = @_; return spans_of(decode_json($node->safe_psql($database // 'postgres', 'SELECT clinical.take_spans(' . ($max // 1000) . ')'))) }
sub said { my ($span, $name) = @_; return $span->{attributes}{"clinical.$name"} // '' }
sub named { my ($name, @spans) = @_; return grep { $_->{name} eq $name } @spans }
sub names { return join ' ', map { $_->{name} =~ s/^clinical\.//r } @_ }
sub drain { return wait_until($node, 'postgres', 'SELECT clinical.wait_until_drained()') }

# A statement as a client sends it, comments included; in the background with a handle.
sub raw { my ($sql, @more) = @_; return [ 'psql', '-XqAt', '-d', $node->connstr('postgres'), @more, '-c', $sql ] }
my $spans = 0;
sub client_span { return sprintf '%016x', 0xc0ffee00 + ++$spans }

# ---------------------------------------------------------------------------------------------
# One trace
my $trace = '4bf92f3577b34da6a3ce929d0e0e4736';
my $client = client_span();
$node->command_ok(raw("SELECT outcome FROM clinical.submit_report('CANARY-ID', '{\"systolic\": 271}', captured_at => '2025-03-01 08:00Z')"
	  . " /*application='app',traceparent='00-$trace-$client-01'*/"), 'a client submits a report');
ok(drain(), 'it is processed');
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.alert}), 1, 'and has raised an alert');
append_to_file("$scratch/refuse", '');
isnt(send_spans(), 0, 'a collector that is busy gets nothing');
is(scalar @received, 0, 'indeed');
is($node->safe_psql('postgres', 'SELECT waiting FROM clinical.stat_span'), 4, 'the spans are there again');
unlink "$scratch/refuse";
is(send_spans(), 0, 'the client posts them');
is(scalar @received, 1, 'in one document');
is(join(' ', @{ decode_json($received[0]) }{qw(path type)}), '/v1/traces application/json', 'to the right place');
my @trace = received();
is(names(@trace), 'submit wait process alert', 'one trace goes from the call to the alert');
my ($submit, $wait, $process, $alert) = @trace;
is(join(' ', map { $_->{traceId} } @trace), join(' ', ($trace) x 4), 'of one id');
is($submit->{parentSpanId}, $client, 'the call is under the client\'s span');
is($wait->{parentSpanId}, $submit->{spanId}, 'waiting is under the call');
is($process->{parentSpanId}, $submit->{spanId}, 'processing is under the call');
is($alert->{parentSpanId}, $process->{spanId}, 'the alert is under the processing');
my %ids = map { $_->{spanId} => 1 } @trace;
is(scalar keys %ids, 4, 'each has an id of its own');
like($_, qr/^(?!0+$)[0-9a-f]{16}$/, 'which is one') for sort keys %ids;
is(join(' ', map { $_->{kind} } @trace), '2 1 5 1', 'kinds');
# times: microseconds, and as many digits for all
sub begin { return $_[0]{startTimeUnixNano} }
sub end { return $_[0]{endTimeUnixNano} }
is(scalar(grep { !/^1[0-9]{15}000$|^2[0-9]{15}000$/ } map { (begin($_), end($_)) } @trace), 0, 'times are nanoseconds, as texts');
is(scalar(grep { begin($_) gt end($_) } @trace), 0, 'nothing ends before it begins');
cmp_ok(begin($submit), 'le', begin($wait), 'waiting begins in the call');
cmp_ok(begin($wait), 'le', end($submit), 'before it has ended');
is(end($wait), begin($process), 'processing begins when waiting ends');
cmp_ok(begin($process), 'le', begin($alert), 'the alert is raised then');
cmp_ok(end($alert), 'le', end($process), 'and part of it');
cmp_ok(abs(begin($submit) / 1e9 - time), '<', 600, 'and all that was just now');
is(said($submit, 'outcome'), 'queued', 'what was answered');
is(join(' ', map { said($process, $_) } qw(outcome project batch_size)), 'accepted MON 1', 'what became of it');
is(join(' ', map { said($alert, $_) } qw(outcome rule severity project)), 'opened HIGH warning MON', 'and of the alert');
my $id = $node->safe_psql('postgres', q{SELECT id FROM clinical.submission});
is(join(' ', map { said($_, 'submission_id') } @trace), join(' ', ($id) x 4), 'all are of the report');
is(said($alert, 'alert_id'), $node->safe_psql('postgres', q{SELECT id FROM clinical.alert}), 'the alert says which');
is($node->safe_psql('postgres', q{SELECT DISTINCT trace_parent FROM (SELECT trace_parent FROM clinical.submission UNION ALL SELECT trace_parent FROM clinical.alert_event) t}),
	"00-$trace-$client-01", 'the trace is kept with the report, and the alert');
my %resource = map { $_->{key} => $_->{value}{stringValue} } @{ decode_json($received[0])->{body}{resourceSpans}[0]{resource}{attributes} };
is(join(' ', @resource{qw(service.name db.system.name db.namespace)}), 'clinical postgresql postgres', 'whose they are');
unlike($received[0], qr/CANARY|Canary|1951-|(?<![0-9a-f-])271(?![0-9a-f-])|systolic/, 'nothing of the patient is in it');
is(send_spans() . @received, '00', 'they are given once');

# Statements that do not end in such a comment, whatever it looks like; as they come, since psql may leave comments out
my $other = "traceparent='00-$trace-$client-01'";
my $call = "SELECT outcome FROM clinical.submit_report('T1', '{\"systolic\": 100}', captured_at => '2025-03-01 08:00Z')";
for my $sql ("$call WHERE \$\$ /*$other\$\$ <> '' -- */", "$call -- /*$other*/ at the end", "$call /*$other*/ -- and more", "$call WHERE \$\$/*$other*/\$\$ <> ''", "/*$other*/ $call",
	"$call /* $other,*/", "$call; /*$other*/ SELECT 1", sprintf("$call /*a='%s',$other*/", 'x' x 5000))
{
	$node->command_ok(raw($sql), 'a statement');
}
$node->command_ok(raw("$call -- /*$other*/"), 'a comment of the other kind is one, too');
is($node->safe_psql('postgres', q{SELECT string_agg(coalesce(trace_parent, '-'), ' ') FROM (SELECT trace_parent FROM clinical.staged_report WHERE patient_id = 'T1' UNION ALL SELECT trace_parent FROM clinical.submission WHERE patient_id = 'T1' ORDER BY 1) t}),
	"00-$trace-$client-01 - - - - - - - -", 'what is inside a literal, or not at the end, is none') if drain();
is(names(taken()), 'submit wait process', 'there are spans of that one');

# Several workers, many reports: each span has its parent
$node->safe_psql('postgres', q{SELECT clinical.stop_workers()});
for my $number (1 .. 30)
{
	$node->safe_psql('postgres', sprintf q{BEGIN; SET LOCAL clinical.trace_parent = '00-%032x-%016x-01';
SELECT clinical.submit_report('T%d', '{"systolic": %d}', captured_at => '2025-03-02 08:00Z'); COMMIT}, $number, 1000 + $number, $number, $number % 3 ? 100 : 200);
}
$node->safe_psql('postgres', q{SELECT clinical.start_workers()});
ok(drain(), 'many reports are processed');
ok(send_spans() == 0, 'and told');
my @many = received();
is(scalar(@many), 30 * 3 + 10, 'each has its spans');
my %of;
push @{ $of{ $_->{traceId} } }, $_ for @many;
my $faults = 0;
for my $number (1 .. 30)
{
	my @spans_here = @{ $of{ sprintf '%032x', $number } };
	my %by_name = map { $_->{name} => $_ } @spans_here;
	my ($s, $w, $p, $a) = @by_name{ map { "clinical.$_" } qw(submit wait process alert) };
	$faults++ if @spans_here != ($number % 3 ? 3 : 4) || $s->{parentSpanId} ne sprintf('%016x', 1000 + $number) || $w->{parentSpanId} ne $s->{spanId}
	  || $p->{parentSpanId} ne $s->{spanId} || ($a && $a->{parentSpanId} ne $p->{spanId}) || end($w) lt begin($s) || begin($p) lt end($w);
}
is($faults, 0, 'under the right parents, in every trace');

# ---------------------------------------------------------------------------------------------
# Project reports
my $report = q{SELECT length(clinical.generate_report('MON', '[2025-01-01,2025-07-01)')::text) > 0};
$client = client_span();
my $comment = "/*traceparent='00-$trace-$client-01'*/";
$node->command_ok(raw("$report $comment"), 'a report is made');
my @made = taken();
my ($whole) = named('clinical.report', @made);
is($whole->{parentSpanId}, $client, 'it is under the client\'s span');
is(said($whole, 'outcome') . keys %{ $whole->{status} }, 'done0', 'and done');
my @parts = grep { $_ != $whole } @made;
cmp_ok(scalar(@parts), '>', 20, 'it has phases');
is(scalar(grep { $_->{parentSpanId} ne $whole->{spanId} || begin($_) lt begin($whole) || end($_) gt end($whole) } @parts), 0, 'which are parts of it');
is(scalar(grep { begin($parts[$_]) ne end($parts[ $_ - 1 ]) } 1 .. $#parts), 0, 'one after the other');
is($parts[0]{name}, 'clinical.report.counting', 'the first one');
is(scalar(named('clinical.report.items', @parts)), 1, 'among them the items');
unlike(join('', map { %$_ } @made), qr/CANARY|Canary/, 'nothing of the patient is in it');

# asked for: it waits, and is made by another process
$client = client_span();
my $job = "SELECT clinical.request_report('MON', '[2025-01-01,2025-07-01)') /*traceparent='00-$trace-$client-01'*/";
my $run = sub { my ($sql) = @_; my ($out, $error) = run_command(raw($sql)); return $out };
$id = $run->($job);
ok(wait_until($node, 'postgres', "SELECT status FROM clinical.report_job WHERE id = '$id'", 'done'), 'a report that was asked for is made');
ok(wait_until($node, 'postgres', 'SELECT waiting > 20 FROM clinical.stat_span'), 'and told');
@made = taken();
($whole) = named('clinical.report', @made);
my ($waiting) = named('clinical.report.wait', @made);
is(join(' ', $whole->{parentSpanId}, map { said($whole, $_) } qw(outcome attempt report_id project)), "$client done 1 $id MON", 'it is under the client\'s span');
is(join(' ', $waiting->{parentSpanId}, begin($waiting)), join(' ', $whole->{spanId}, begin($whole)), 'it waited');
is(scalar(grep { begin($_) lt end($waiting) } grep { $_ != $whole && $_ != $waiting } @made), 0, 'and was made then');
is(scalar(named('clinical.report.storing', @made)), 1, 'and stored');

# that are not made: each way, at once, whatever becomes of the transaction
my $holder = session($node, 'postgres');
answers($holder, 'BEGIN; LOCK TABLE clinical.monitor_rule_version IN ACCESS EXCLUSIVE MODE');
my $making = q{SELECT count(*) FROM pg_stat_activity WHERE query ~ 'generate_report' AND state = 'active' AND wait_event_type = 'Lock'};
my $pids = $making =~ s/count\(\*\)/pid/r;
sub failed_is
{
	my ($outcome, $code, $name) = @_;
	ok(wait_until($node, 'postgres', 'SELECT waiting > 0 FROM clinical.stat_span'), "$name: it is told");
	my ($span) = named('clinical.report', my @all = taken());
	is(join(' ', said($span, 'outcome'), $span->{attributes}{'error.type'} // '-', $span->{status}{code} // '-', $span->{status}{message} // '-'), "$outcome $code 2 $outcome", "$name: as what it is");
	is(scalar(grep { $_ != $span && $_->{parentSpanId} eq $span->{spanId} } @all), scalar(@all) - 1, "$name: with its phases");
	cmp_ok(scalar(@all), '>', 1, "$name: so far");
}
my %ways = (
	'cancelled 57014 cancelled' => sub { $node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM ($pids) p") },
	'ended - ended' => sub { $node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM ($pids) p") },
	'ended - its client is gone' => sub { $_[0]->kill_kill },
);
for my $way (sort keys %ways)
{
	my ($outcome, $code, $name) = split / /, $way, 3;
	my $session = IPC::Run::start(raw("BEGIN; $report $comment"), '<', \undef, '>', \my $out, '2>', \my $error, IPC::Run::timeout(120));
	ok(wait_until($node, 'postgres', $making, 1), "$name: it is being made");
	$ways{$way}->($session);
	eval { $session->finish };
	failed_is($outcome, $code, $name);
}
is($node->psql('postgres', "SET clinical.trace_parent = '00-$trace-$client-01'; SET statement_timeout = 50; $report"), 3, 'its time is up');
failed_is('cancelled', '57014', 'time limit');
# caught, in a transaction that goes on
$node->safe_psql('postgres', qq{SET clinical.trace_parent = '00-$trace-$client-01'; SET statement_timeout = 50;
DO \$\$ BEGIN PERFORM clinical.generate_report('MON', '[2025-01-01,2025-07-01)'); EXCEPTION WHEN query_canceled THEN NULL; END \$\$});
failed_is('cancelled', '57014', 'caught');
# a job
$id = $run->($job);
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE query = 'making a report' AND wait_event_type = 'Lock'}, 1), 'a job is being made');
$node->safe_psql('postgres', "SELECT clinical.cancel_report('$id')");
failed_is('cancelled', '57014', 'job');
answers($holder, 'ROLLBACK');
end_session($holder);

# ---------------------------------------------------------------------------------------------
# What is sampled: by the flag, and by the last 14 digits of the trace, all of it or nothing
sub submit_traced
{
	my ($parent, $patient) = @_;
	return $node->safe_psql('postgres', "SELECT clinical.submit_report('" . ($patient // 'T2') . "', '{\"systolic\": 200}', captured_at => '2025-03-03 08:00Z', trace_parent => '$parent'); SELECT clinical.wait_until_drained()");
}
submit_traced("00-$trace-$client-00");
is(names(taken()), '', 'without the flag there is nothing');
submit_traced("00-$trace-$client-ff");
is(names(taken()), 'submit wait process', 'other flags do not matter');
set_up($node, 'clinical.trace_sample_rate' => '0.25');
# the workers have read it, too: those that start now
$node->safe_psql('postgres', 'SELECT clinical.stop_workers(), clinical.start_workers()');
submit_traced("00-ffffffffffffffffffbfffffffffffff-$client-01");
is(names(taken()), '', 'below three quarters: nothing');
submit_traced("00-000000000000000000c0000000000000-$client-01");
is(names(taken()), 'submit wait process', 'above: all');
set_up($node, 'clinical.trace_sample_rate' => '0');
$node->safe_psql('postgres', 'SELECT clinical.stop_workers(), clinical.start_workers()');
submit_traced("00-ffffffffffffffffffffffffffffffff-$client-01");
is(names(taken()), '', 'none');
set_up($node, 'clinical.trace_sample_rate' => '1');
$node->safe_psql('postgres', 'SELECT clinical.stop_workers(), clinical.start_workers()');

# Another database's are its own
$node->safe_psql('postgres', 'CREATE DATABASE other');
make_monitored($node, 'other');
$node->safe_psql('other', "SELECT clinical.enroll_patient('X', NULL, NULL, 'MON', 1, effective_on => '2025-01-10');
SELECT clinical.submit_report('X', '{\"systolic\": 200}', captured_at => '2025-03-03 08:00Z', trace_parent => '00-$trace-$client-01'); SELECT clinical.wait_until_drained()");
is(names(taken()), '', 'spans of another database are not given');
is($node->safe_psql('postgres', 'SELECT waiting FROM clinical.stat_span'), 0, 'nor counted');
is(names(taken(10, 'other')), 'submit wait process', 'but there');
$node->safe_psql('other', 'SELECT clinical.stop_workers()');

# Two that take at the same time share what there is; one that is killed gives it back
submit_traced("00-$trace-$client-01") for 1 .. 2;
my ($one, $two) = (session($node, 'postgres'), session($node, 'postgres'));
answers($_, 'BEGIN') for $one, $two;
my @first = spans_of(decode_json(answers($one, 'SELECT clinical.take_spans(4)')));
my @second = spans_of(decode_json(answers($two, 'SELECT clinical.take_spans(4)')));
is(@first . ' ' . @second, '4 2', 'two share what there is');
%ids = map { $_->{spanId} => 1 } @first, @second;
is(scalar keys %ids, 6, 'nothing is given twice');
$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . answers($one, 'SELECT pg_backend_pid()') . ')');
answers($two, 'COMMIT');
end_session($_) for $one, $two;
ok(wait_until($node, 'postgres', 'SELECT waiting FROM clinical.stat_span', 4), 'whose session has ended has not taken');
is(join(' ', sort map { $_->{spanId} } taken()), join(' ', sort map { $_->{spanId} } @first), 'and somebody else has');

# ---------------------------------------------------------------------------------------------
# A ring that is full: the oldest is lost, and nobody waits
$node->append_conf('postgresql.conf', 'clinical.span_buffer = 16');
$node->restart;
is($node->safe_psql('postgres', 'SELECT * FROM clinical.stat_span'), '16|0|0|0', 'after a restart there are none');
$node->safe_psql('postgres', 'SELECT clinical.stop_workers()');
for my $number (1 .. 20)
{
	$node->safe_psql('postgres', sprintf q{SELECT clinical.submit_report('T3', '{"systolic": 100}', '%s', trace_parent => '00-%032x-%016x-01')}, report_id($number), $number, $number);
}
is($node->safe_psql('postgres', 'SELECT * FROM clinical.stat_span'), '16|16|20|4', 'the oldest are lost');
is(join(' ', map { hex substr $_->{traceId}, -4 } taken(3)), '5 6 7', 'the oldest that are there come first');
is(join(' ', map { hex substr $_->{traceId}, -4 } taken()), join(' ', 8 .. 20), 'then the others');
is($node->safe_psql('postgres', 'SELECT * FROM clinical.stat_span'), '16|0|20|4', 'what was taken is not lost');
# more in one transaction than there are places
$node->safe_psql('postgres', q{SELECT clinical.process_reports()});
is($node->safe_psql('postgres', 'SELECT * FROM clinical.stat_span'), '16|16|60|28', 'those of a transaction that are too many are counted');
is(scalar(my @left = taken()), 16, 'and the others are there');
# what is taken, overwritten, and given back
$node->safe_psql('postgres', sprintf q{SELECT clinical.submit_report('T3', '{"systolic": 100}', '%s', trace_parent => '00-%032x-%016x-01')}, report_id(100 + $_), $_, $_) for 1 .. 2;
my $taker = session($node, 'postgres');
is(scalar(my @held = spans_of(decode_json(answers($taker, 'BEGIN; SELECT clinical.take_spans()')))), 2, 'two are taken');
$node->safe_psql('postgres', sprintf q{SELECT clinical.submit_report('T3', '{"systolic": 100}', '%s', trace_parent => '00-%032x-%016x-01')}, report_id(200 + $_), 30 + $_, $_) for 1 .. 15;
answers($taker, 'ROLLBACK');
is($node->safe_psql('postgres', 'SELECT * FROM clinical.stat_span'), '16|16|77|29', 'one of them, whose place is another\'s, is lost');
is(join(' ', map { hex substr $_->{traceId}, -4 } taken()), join(' ', 2, 31 .. 45), 'the other one is there');
end_session($taker);

# none at all
$node->append_conf('postgresql.conf', 'clinical.span_buffer = 0');
$node->restart;
submit_traced("00-$trace-$client-01");
is($node->safe_psql('postgres', 'SELECT clinical.take_spans(); SELECT * FROM clinical.stat_span'), "{\"resourceSpans\": []}\n0|0|0|0", 'without a ring there are none');
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.submission WHERE trace_parent IS NULL AND patient_id <> 'T1'}), 0, 'and the trace is kept with the report all the same');
is($node->safe_psql('postgres', 'SELECT * FROM clinical.check()'), '', 'all is sound');

$receiver->kill_kill;
$node->stop;
done_testing();
