# clinical-gateway and cancel requests that take long: between it and the server is a program that holds them back.
# And connections on which something is notified, as through a pgbouncer, or that are lost while others wait for them.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Gateway;
use IntakeSession ();
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'clinical-gateway was not built: its libraries are not here' unless -x $PROGRAM;

my $node = gateway_node('cancel');
my $dir = PostgreSQL::Test::Utils::tempdir();
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 20) or die "cannot listen: $!";

# Passes on what comes from either side, but for one cancel request while there is a file named hold; a file named held says so.
sub pass_on
{
	my $select = IO::Select->new($listener);
	my (%other, %begun, @held);
	while (1)
	{
		if (@held && !-e "$dir/hold")
		{
			syswrite $_->[0], $_->[1] for splice @held;
			unlink "$dir/held";
		}
		for my $from ($select->can_read(0.02))
		{
			if ($from == $listener)
			{
				my $client = $listener->accept or next;
				my $server = IO::Socket::UNIX->new($node->host . '/.s.PGSQL.' . $node->port);
				next unless $server;
				@other{ $client, $server } = ($server, $client);
				$begun{$server} = 1;
				$select->add($client, $server);
				next;
			}
			my $got = sysread $from, my $piece, 65536;
			my $to = $other{$from};
			if (!$got)
			{
				$select->remove($from, $to);
				delete @other{ $from, $to };
				$_->close for $from, $to;
			}
			elsif (!$begun{$from}++ && length $piece == 16 && unpack('x4 N', $piece) == 80877102 && !@held && -e "$dir/hold")
			{
				push @held, [ $to, $piece ];
				append_to_file("$dir/held", '');
			}
			else { syswrite $to, $piece }
		}
	}
}

my $proxy = fork // die "cannot fork: $!";
if ($proxy == 0)
{
	$SIG{TERM} = 'DEFAULT';
	pass_on();
}
END { my $status = $?; kill 'TERM', $proxy if $proxy; waitpid $proxy, 0 if $proxy; $? = $status }

my $database = 'dbname=postgres user=gateway host=127.0.0.1 sslmode=disable gssencmode=disable port=' . $listener->sockport;
my $gateway = start_gateway($node, pool_size => 4, slow_size => 1, database => $database);
my $running = q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'gateway' AND state = 'active'};
my $lock = 'BEGIN; LOCK TABLE clinical.project IN ACCESS EXCLUSIVE MODE';
my ($call, $slow) = map { "GET $_ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " . token('nurse') . "\r\n\r\n" } '/api/v1/projects/S%2F1', '/api/v1/projects/S%2F1/report?from=2026-01-01&to=2026-02-01';

sub running { my ($number) = @_; return wait_for(sub { $node->safe_psql('postgres', $running) eq $number }, 20) }
sub client { my ($request) = @_; my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) or die; print $s $request; $s->flush; return $s }
sub held { my ($is) = @_; return wait_for(sub { (-e "$dir/held" ? 1 : 0) == $is }, 20) }
sub metric { my ($series, $value) = @_; return wait_for(sub { ask($gateway, 'GET', '/metrics')->{content} =~ /^clinical_gateway_pool_\Q$series\E $value$/m }, 20) }

# --- one that takes long holds up no other -----------------------------------------------------------------
my $holder = IntakeSession::session($node, 'postgres');
IntakeSession::answers($holder, $lock);
my @clients = map { client($call) } 1, 2;
ok(running(2), 'two calls wait');
append_to_file("$dir/hold", '');
shift(@clients)->close;
ok(held(1), 'the client of one goes, and the cancel request is held back');
shift(@clients)->close;
ok(running(1), 'the client of the other goes, and its call is cancelled');
unlink "$dir/hold";
ok(held(0), 'the cancel request goes on');
ok(running(0), 'and so is the first call');

# --- the server closes a connection whose call is over, but for the cancel request ---------------------------
my $client = client($slow);
ok(running(1), 'a report is made');
append_to_file("$dir/hold", '');
$client->close;
ok(held(1), 'its client goes');
IntakeSession::answers($holder, 'ROLLBACK');
ok(running(0), 'it is made all the same');
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gateway'});
ok(metric('connections{state="down"}', 1), 'its connection is lost, and not made again before the cancel request has gone on');
unlink "$dir/hold";
ok(held(0), 'the cancel request goes on');
ok(metric('connections{state="idle"}', 4), 'all connections are there');
IntakeSession::answers($holder, $lock);
@clients = map { client($slow) } 1, 2;
ok(metric('waiting_requests{queue="slow"}', 1), 'of two reports, one waits for the other');
ok(running(1), 'which is the only one that is made');
$_->close for @clients;
ok(running(0), 'and is cancelled');
IntakeSession::answers($holder, 'ROLLBACK');
is(ask($gateway, 'GET', '/api/v1/projects/S%2F1', as => 'nurse')->{status}, 200, 'and all goes on');
is(stop_gateway($gateway), 0, 'it ends well');

# --- the gateway ends before a call does -----------------------------------------------------------------------
$gateway = start_gateway($node, stop_timeout => 0, database => $database);
IntakeSession::answers($holder, $lock);
$client = client($call);
ok(running(1), 'a call waits');
append_to_file("$dir/hold", '');
$gateway->{run}->signal('TERM');
ok(held(1), 'it is cancelled');
unlink "$dir/hold";
ok(running(0), 'and goes on for no longer than the gateway');
ok($gateway->{run}->finish, 'which ends well');
IntakeSession::answers($holder, 'ROLLBACK');
IntakeSession::end_session($holder);

# --- notifications that nobody has asked for --------------------------------------------------------------------
SKIP:
{
	skip 'no /proc', 1 unless -r "/proc/$$/status";
	skip 'of this build, memory tells nothing', 1 if $ENV{CLINICAL_GATEWAY};
	$node->safe_psql('postgres', q{CREATE OR REPLACE FUNCTION clinical.http_get_project(code text) RETURNS clinical.http_response LANGUAGE plpgsql
		AS $$ BEGIN LISTEN clinical_alert; RETURN ROW(200, NULL, '{}'::pg_catalog.jsonb, NULL)::clinical.http_response; END $$});
	$gateway = start_gateway($node, pool_size => 1);
	my $memory = sub { return slurp_file("/proc/$gateway->{pid}/status") =~ /^VmRSS:\s+(\d+) kB/m ? $1 : die };
	my $ask = sub { return ask($gateway, 'GET', '/api/v1/projects/S%2F1', as => 'nurse')->{status} };
	is($ask->(), 200, 'a connection of the pool hears of alerts');
	my $before = $memory->();
	for (1 .. 8)
	{
		$node->safe_psql('postgres', q{SELECT count(pg_notify('clinical_alert', repeat('x', 7000) || g)) FROM generate_series(1, 1000) g});
		$ask->();
	}
	is($ask->(), 200, 'and serves');
	cmp_ok($memory->() - $before, '<', 25000, 'what it hears, 56 MB, is not kept');
	is(stop_gateway($gateway), 0, 'it ends well');
}

# --- requests that wait while the server goes away ---------------------------------------------------------------
$gateway = start_gateway($node, pool_size => 1, request_timeout => 20, slow_timeout => 20);
$holder = IntakeSession::session($node, 'postgres');
IntakeSession::answers($holder, $lock =~ s/project/patient/r);
@clients = map { client($_ =~ s,projects/S%2F1(?= ),patient/near,r =~ s/Host: x/Host: x\r\nConnection: close/r) } $call, $call, $slow, $slow;
ok(running(1) && metric('waiting_requests{queue="normal"}', 1) && metric('waiting_requests{queue="slow"}', 2), 'one call is made, and others wait');
$node->stop('immediate');
is(join(' ', map { my $client = $_; my $answer = do { local $/; <$client> }; $answer =~ m,\AHTTP/1\.1 (\d+), } @clients), '503 503 503 503', 'each is told that the server is not there');
eval { IntakeSession::end_session($holder) };
is(stop_gateway($gateway), 0, 'it ends well');

done_testing;
