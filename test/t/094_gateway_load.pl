# clinical-gateway under load: a thousand clients at once, pipelined requests, and a server that goes away and comes
# back while reports are submitted: each answer belongs to its request, and what was acknowledged is there once.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use GatewayLoad;
# before anything else: it may begin anew
my ($count, $may_open);
BEGIN
{
	$count = $ENV{CLINICAL_GATEWAY_TEST_CLIENTS} // 1000;
	$may_open = enough_files($count + 200);
}
use Gateway;
use Intake ();
use IntakeSession ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $each = 6;
my $max_waiting = int($count * 0.3);

plan skip_all => 'clinical-gateway was not built: its libraries are not here' unless -x $PROGRAM;
plan skip_all => "too few open files for $count clients: ulimit -Hn" unless $may_open;

my $node = gateway_node('load', 'wal_level = replica', 'max_wal_senders = 2');
my $patients = 200;
$node->safe_psql('postgres', "SELECT clinical.enroll_patient('p' || g, 'Name of p' || g, '1950-05-17', 'S/1', 1, effective_on => '2026-01-10') FROM generate_series(1, $patients) g");
my $gateway = start_gateway($node, max_waiting => $max_waiting, max_connections => $count + 100, request_timeout => 180, idle_timeout => 600, header_timeout => 600);
my ($nurse, $phone) = map { "Host: x\r\nAuthorization: Bearer " . token($_, exp => int(time) + 7200) . "\r\n" } qw(nurse phone);

sub get { my ($path) = @_; return "GET $path HTTP/1.1\r\n$nurse\r\n" }
sub id { my ($client, $number) = @_; return sprintf '%08x-0000-4000-8000-%012x', $client, $number }
sub submit
{
	my ($patient, $id, $n) = @_;
	my $body = qq({"patientId": "$patient", "reportData": {"n": $n}, "submissionId": "$id", "capturedAt": "2026-02-01T10:00:00Z"});
	return "POST /api/epro/submit HTTP/1.1\r\n${phone}Content-Length: " . length($body) . "\r\n\r\n$body";
}

# --- many clients ----------------------------------------------------------------------------------
# each asks for patients, for those who are not there, and submits; what it is told is about what it asked
my %told;
my @wrong;
my @clients = map { { number => $_, sent => 0 } } 1 .. $count;
sub next_of_many
{
	my ($client) = @_;
	return '' if time < ($client->{not_before} // 0);
	return undef if $client->{sent} == $each && !defined $client->{again};
	my $number = $client->{again} // ++$client->{sent};
	undef $client->{again};
	my $which = 1 + ($client->{number} * 7 + $number * 31) % $patients;
	@$client{qw(asks wants)} = $number % 3 == 0 ? (submit("p$which", id($client->{number}, $number), $number % 8), [ 202, 'submissionId', id($client->{number}, $number) ])
	  : $number % 3 == 1 ? (get("/api/v1/patient/p$which"), [ 200, 'id', "p$which" ]) : (get("/api/v1/projects/none-$client->{number}-$number"), [ 404, 'detail', 'project not found' ]);
	$client->{current} = $number;
	return $client->{asks};
}
sub answer_of_many
{
	my ($client, $answer) = @_;
	my ($status, $key, $value) = @{ $client->{wants} // [ 0, '', '' ] };
	undef $client->{wants};
	$told{ $answer->{status} }++;
	if ($answer->{status} == 503)
	{
		push @wrong, 'a 503 without Retry-After' unless ($answer->{headers}{'retry-after'} // '') =~ /^\d+$/;
		$client->{again} = $client->{current};
		$client->{not_before} = time + 0.5 + rand 1;
	}
	else
	{
		my $got = eval { json($answer->{content})->{$key} } // 'nothing';
		push @wrong, "client $client->{number}: $answer->{status} $got for $status $value" unless $answer->{status} == $status && $got eq $value;
	}
	return;
}
my $begun = time;
ok(run_clients($gateway->{port}, \@clients, 600, next => \&next_of_many, answered => \&answer_of_many, lost => sub { push @wrong, "client $_[0]{number}: lost its connection $_[1]" }), "$count clients have all their answers");
is_deeply([ @wrong[ 0 .. ($#wrong < 9 ? $#wrong : 9) ] ], [], 'each its own');
is_deeply([ @told{ 200, 202, 404 } ], [ map { $_ * $count } 2, 2, 2 ], 'and all of them');
is_deeply([ grep { !/^(200|202|404|503)$/ } keys %told ], [], 'with the status that belongs to it, or 503');
note sprintf '%.1f s; %s', time - $begun, join ', ', map { "$told{$_} times $_" } sort keys %told;
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM clinical.submission UNION ALL SELECT submission_id FROM clinical.staged_report) s}), join('|', (2 * $count) x 2), 'what was acknowledged is there, once');

# --- more than may wait -------------------------------------------------------------------------------
# while nothing can be answered, as many wait as may, and the others are told so at once
my $holder = IntakeSession::session($node, 'postgres');
IntakeSession::answers($holder, 'BEGIN; LOCK TABLE clinical.project IN ACCESS EXCLUSIVE MODE');
@clients = map { { number => $_ } } 1 .. $count;
%told = (); @wrong = ();
my $released = 0;
ok(run_clients($gateway->{port}, \@clients, 120,
	next => sub { return $_[0]{sent}++ ? undef : get('/api/v1/projects/S%2F1') },
	answered => sub { $told{ $_[1]{status} . ($released ? ' later' : '') }++ },
	lost => sub { push @wrong, "client $_[0]{number}: lost its connection" },
	turn => sub {
		return if $released || ($told{503} // 0) < $count - $max_waiting - 4;
		$released = 1;
		IntakeSession::answers($holder, 'ROLLBACK');
	}), 'all are answered');
is_deeply(\%told, { 503 => $count - $max_waiting - 4, '200 later' => $max_waiting + 4 }, 'who may wait waits, and who may not is told so');
is_deeply(\@wrong, [], 'nobody loses the connection');
IntakeSession::end_session($holder);

# --- pipelined requests --------------------------------------------------------------------------------
my @paths = map { $_ % 5 == 0 ? ('/healthz', 'ok') : $_ % 7 == 0 ? ("/api/v1/projects/none?$_", 'a parameter is unknown, or is there more than once') : ("/api/v1/patient/p$_", "p$_") } 1 .. 60;
my (@requests, @wanted);
while (my ($path, $wanted) = splice @paths, 0, 2) { push @requests, get($path); push @wanted, $wanted }
splice @requests, 30, 0, submit('p1', id(0, 1), 1), submit('p1', id(0, 2), 1);
splice @wanted, 30, 0, id(0, 1), id(0, 2);
sub pipelined
{
	my ($pieces, $name) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) or die;
	for my $piece (@$pieces) { syswrite $socket, $piece; select undef, undef, undef, 0.001 if @$pieces > 1 }
	my ($text, $end, @got) = ('', time + 30);
	while (@got < @wanted && time < $end)
	{
		my $bits = '';
		vec($bits, fileno $socket, 1) = 1;
		next unless select $bits, undef, undef, 0.1;
		sysread $socket, $text, 65536, length $text or last;
		while (my $answer = parse_answer(\$text)) { my $json = json($answer->{content}); push @got, $json->{detail} // $json->{submissionId} // $json->{id} // $json->{status} }
	}
	return is_deeply(\@got, \@wanted, "$name: all are answered in their order");
}
pipelined([ join '', @requests ], 'pipelined requests');
my $all = join '', @requests;
pipelined([ unpack '(a97)*', $all ], 'in pieces');
pipelined([ join('', @requests[ 0 .. 40 ]), join('', @requests[ 41 .. $#requests ]) ], 'in two parts');

# --- the server goes away under load ----------------------------------------------------------------------
# a ledger: who has a 202 has been promised that the report is kept; who has none sends it again
my %ledger;
my %event;
my $target = 1500;
my $clients = 40;
my $next_number = 0;
my ($outage, $stopped_at) = ('', 0);
my @stops = map { { at => $_->[0], how => $_->[1] } } [ 300, 'immediate' ], [ 700, 'kill9' ], [ 1100, 'fast' ];
sub unavailable { return ($event{503} // 0) + ($event{lost} // 0) }
# stops the server in the midst of the calls, and starts it when that has been told to clients
sub stop_and_start
{
	if ($outage eq '' && @stops && keys %ledger >= $stops[0]{at})
	{
		$outage = (shift @stops)->{how};
		$outage eq 'kill9' ? Intake::kill_postmaster($node) : $node->stop($outage);
		$stopped_at = unavailable();
	}
	elsif ($outage ne '' && unavailable() >= $stopped_at + 2 * $clients)
	{
		Intake::start_again($node);
		$outage = '';
	}
	return;
}
@clients = map { { number => $_ } } 1 .. $clients;
my @faults;
my $answered = sub {
	my ($client, $answer) = @_;
	$event{ $answer->{status} }++;
	if ($answer->{status} == 503)
	{
		push @faults, 'a 503 without Retry-After' unless ($answer->{headers}{'retry-after'} // '') =~ /^\d+$/;
		$client->{not_before} = time + 0.05;
		return;
	}
	my $told = eval { json($answer->{content})->{submissionId} } // 'nothing';
	push @faults, "$answer->{status} $told for $client->{id}" unless $answer->{status} =~ /^20[02]$/ && $told eq $client->{id};
	push @faults, "$told is acknowledged again" if $ledger{$told}++;
	push @faults, "$told is told to be a second one, but was sent once" if $answer->{status} == 200 && $client->{tries} < 2;
	undef $client->{id};
};
ok(run_clients($gateway->{port}, \@clients, 180,
	next => sub {
		my ($client) = @_;
		return '' if time < ($client->{not_before} // 0);
		if (!defined $client->{id})
		{
			return undef if $next_number >= $target;
			@$client{qw(id tries n)} = (id(0xabcdef, ++$next_number), 0, $next_number % 8);
		}
		$client->{tries}++;
		return submit('p' . (1 + hex(substr $client->{id}, -4) % $patients), $client->{id}, $client->{n});
	},
	answered => $answered, lost => sub { $event{lost}++; $_[0]{not_before} = time + 0.05 }, turn => \&stop_and_start), 'in the end, all reports are acknowledged');
is(scalar @stops, 0, 'the server went away three times');
is($outage, '', 'and came back');
is_deeply([ @faults[ 0 .. ($#faults < 9 ? $#faults : 9) ] ], [], 'no answer is wrong');
is(scalar keys %ledger, $target, 'each has its answer');
cmp_ok($event{503} // 0, '>=', $clients, 'those that came while it was away were told to come again');
note join ', ', map { "$event{$_} times $_" } sort keys %event;
ok(wait_for(sub { $node->safe_psql('postgres', 'SELECT count(*) FROM clinical.staged_report') eq '0' }, 120), 'what was taken is processed');
my @stored = split /\n/, $node->safe_psql('postgres', q{SELECT id FROM clinical.submission WHERE id::text LIKE '00abcdef-%'});
is(scalar @stored, $target, 'there are as many as were acknowledged');
is_deeply([ grep { !$ledger{$_} } @stored ], [], 'none that was not');
my %stored = map { $_ => 1 } @stored;
is_deeply([ grep { !$stored{$_} } keys %ledger ], [], 'and no acknowledged one is lost');
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT submission_id) FROM clinical.observation WHERE submission_id::text LIKE '00abcdef-%'}), "$target|$target", 'nor observed twice');
is($node->safe_psql('postgres', q{SELECT * FROM clinical.check()}), '', 'all is sound');

# --- a report that is stored, but whose answer is lost ----------------------------------------------------------
# commits wait for a standby that never comes; the server dies meanwhile
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
$node->reload;
my $watcher = IntakeSession::session($node, 'postgres');
my $waits = q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'};
my $committer = IntakeSession::session($node, 'postgres');
my $tables = 0;
ok(wait_for(sub {
	IntakeSession::ask($committer, 'CREATE TABLE table_' . ++$tables . ' ()');
	return wait_for(sub { $committer->{run}->pump_nb; $committer->{out} =~ /^done $tables$/m || IntakeSession::answers($watcher, $waits) > 0 }, 10) && IntakeSession::answers($watcher, $waits) > 0;
}), 'commits wait');
@clients = map { { number => $_ } } 1 .. 4;
my (@first, @last);
ok(run_clients($gateway->{port}, \@clients, 60,
	next => sub { my ($client) = @_; return @last == 4 ? undef : ($client->{status} // 503) != 503 ? '' : submit('p1', id(0xfedcba, $client->{number}), 3) },
	answered => sub {
		my ($client, $answer) = @_;
		push @{ $answer->{status} == 503 ? \@first : \@last }, $answer->{status};
		$client->{status} = $answer->{status};
	},
	lost => sub { push @first, 'lost' },
	turn => sub {
		return if !$watcher || IntakeSession::answers($watcher, "$waits AND usename = 'gateway'") ne '4';
		IntakeSession::end_session($watcher);
		undef $watcher;
		$node->stop('immediate');
		$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
		$node->start;
		Intake::wait_until($node, 'postgres', 'SELECT count(*) FROM clinical.staged_report', 0);
		IntakeSession::end_session($committer);
	}), 'reports are stored, but nobody is told');
cmp_ok(scalar(grep { $_ eq '503' } @first), '>=', 4, 'but that the server is not there');
is_deeply(\@last, [ (200) x 4 ], 'sent again, they were received already');
is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT id FROM clinical.submission UNION ALL SELECT submission_id FROM clinical.staged_report) s WHERE id::text LIKE '00fedcba-%'}), 4, 'and are there once');

is(ask($gateway, 'GET', '/api/v1/patient/p1', as => 'nurse')->{status}, 200, 'the gateway serves as before');
is(stop_gateway($gateway), 0, 'and ends well');

done_testing();
