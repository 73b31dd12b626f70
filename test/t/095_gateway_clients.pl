# clinical-gateway and programs that others wrote: curl, also over TLS, Node's fetch, wrk, and pgbouncer between it and
# the server.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Gateway;
use GatewayLoad;
use IntakeSession ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

plan skip_all => 'clinical-gateway was not built: its libraries are not here' unless -x $PROGRAM;

# where Debian has pgbouncer
$ENV{PATH} .= ':/usr/sbin';
my $node = gateway_node('clients');
my $dir = PostgreSQL::Test::Utils::tempdir();
my $gateway = start_gateway($node);
my %long = (exp => int(time) + 7200);
my $nurse = 'Authorization: Bearer ' . token('nurse', %long);
my $phone = 'Authorization: Bearer ' . token('phone', %long);
my $at = "http://127.0.0.1:$gateway->{port}";
my $running = q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'gateway' AND state = 'active'};
my $lock = 'BEGIN; LOCK TABLE clinical.project IN ACCESS EXCLUSIVE MODE';

sub have { return system("command -v $_[0] >/dev/null 2>&1") == 0 }
sub wait_running { my ($number, $seconds) = @_; return wait_for(sub { $node->safe_psql('postgres', $running) eq $number }, $seconds // 30) }
sub write_file { my ($name, $text) = @_; open my $out, '>', "$dir/$name" or die "$name: $!"; print $out $text; close $out; return "$dir/$name" }

# Runs a program; its exit status, output and errors.
sub run_program
{
	my (@command) = @_;
	my ($out, $errors) = ('', '');
	IPC::Run::run(\@command, '<', \'', '>', \$out, '2>', \$errors, IPC::Run::timeout(120));
	return ($? >> 8, $out, $errors);
}

# --- curl -----------------------------------------------------------------------------------------------
# The body and the status that curl has.
sub curl
{
	my ($code, $out, $errors) = run_program('curl', '-sS', '--max-time', 60, '-w', '\n%{http_code} %{num_connects}', @_);
	my ($body, $status, $connects) = $out =~ /\A(.*)\n(\d+) (\d+)\z/s;
	return { exit => $code, body => $body, status => $status, connects => $connects, errors => $errors, json => eval { json($body) } };
}
SKIP:
{
	skip 'no curl', 1 unless have('curl');
	my $r = curl('-H', $nurse, "$at/api/v1/patient/near");
	is_deeply([ @$r{qw(exit status)}, $r->{json}{id} ], [ 0, 200, 'near' ], 'curl: a patient');
	is(curl("$at/api/v1/patient/near")->{status}, 401, 'curl: no token');
	$r = curl('-H', $nurse, '-G', '--data-urlencode', 'after=a/b c%é+', '--data-urlencode', 'contains={"arm": "A"}', "$at/api/v1/patients");
	is_deeply([ $r->{status}, map { $_->{id} } @{ $r->{json}{patients} } ], [ 200, 'near' ], 'curl: parameters as it encodes them');
	my $id = '00000000-0000-4000-8000-00000000c001';
	my $report = qq({"patientId": "near", "reportData": {"n": 1}, "submissionId": "$id"});
	is_deeply([ @{ curl('-H', $phone, '-H', 'Content-Type: application/json', '-d', $report, "$at/api/epro/submit") }{qw(exit status)} ], [ 0, 202 ], 'curl: a report');
	$r = curl('-H', $phone, '-H', 'Content-Type: application/json', '-H', 'Transfer-Encoding: chunked', '-d', $report =~ s/c001/c002/r, "$at/api/epro/submit");
	is_deeply([ @$r{qw(exit status)}, $r->{json}{submissionId} ], [ 0, 202, $id =~ s/c001/c002/r ], 'curl: in chunks');
	my $large = write_file('large', '{"patientId": "near", "reportData": {"note": "' . ('x' x 3_000_000) . '"}}');
	$r = curl('-H', $phone, '-H', 'Expect: 100-continue', '-d', "\@$large", "$at/api/epro/submit");
	is_deeply([ @$r{qw(exit status)} ], [ 0, 413 ], 'curl: a large report, which it asks for leave to send, and which is too large for a report');
	is_deeply([ @{ curl('-H', $phone, '-H', 'Expect: 100-continue', '-d', '@' . write_file('larger', 'x' x 5_000_000), "$at/api/epro/submit") }{qw(exit status)} ], [ 0, 413 ], 'curl: and gets none');
	my (undef, $out) = run_program('curl', '-sS', '-H', $nurse, '-w', '%{http_code} %{num_connects} ', map { ('-o', '/dev/null', "$at$_") } '/api/v1/patient/near', '/api/v1/patient/none', '/none', '/healthz', '/api/v1/patient/near');
	is($out, '200 1 404 0 404 0 200 0 200 0 ', 'curl: all on one connection, whatever the answer');
	(undef, $out) = run_program('curl', '-sS', '-I', '-H', $nurse, "$at/api/v1/patient/near");
	like($out, qr,\AHTTP/1\.1 200 OK\r\n.*Content-Length: [1-9],s, 'curl: HEAD');
	is(curl('--http2', '-H', $nurse, "$at/api/v1/patient/near")->{status}, 200, 'curl: an offer of HTTP/2 is passed over');
	is(curl('--http1.0', '-H', $nurse, "$at/api/v1/patient/near")->{status}, 200, 'curl: HTTP/1.0');
	is(curl('--request-target', "http://else$_", '-H', $nurse, "$at/")->{status}, 200, "curl: as to a proxy, $_") for '/api/v1/patient/near', '/api/v1/patients?limit=1';
	is(curl('--path-as-is', '-H', $nurse, "$at/api/v1/patient/../patients")->{status}, 404, 'curl: dots lead nowhere');

	# one that is killed while it waits
	my $holder = IntakeSession::session($node, 'postgres');
	IntakeSession::answers($holder, $lock);
	my $waiting = IPC::Run::start([ 'curl', '-sS', '-H', $nurse, "$at/api/v1/projects/S%2F1/report?from=2026-01-01&to=2026-04-01" ], '<', \'', '>', \my $ignored, '2>', \my $errors);
	ok(wait_running(1), 'curl: a report is being made');
	$waiting->kill_kill;
	ok(wait_running(0), 'curl: until it goes away');
	IntakeSession::answers($holder, 'ROLLBACK');
	IntakeSession::end_session($holder);
}

# --- TLS --------------------------------------------------------------------------------------------------
my ($certificate, $key) = ("$dir/certificate.pem", "$dir/key.pem");
my $tls;
SKIP:
{
	skip 'no curl or openssl', 1 unless have('curl') && have('openssl');
	my ($code) = run_program('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', $key, '-out', $certificate, '-days', 2, '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1');
	is($code, 0, 'TLS: a certificate');
	$tls = start_gateway($node, tls_certificate => $certificate, tls_key => $key, unready => 1, header_timeout => 2);
	my $secure = "https://localhost:$tls->{port}";
	my $r = wait_for(sub { my $got = curl('--cacert', $certificate, '-H', $nurse, "$secure/api/v1/patient/near"); $got->{status} == 200 && $got }, 20) || {};
	is_deeply([ @$r{qw(exit status)}, $r->{json}{id} ], [ 0, 200, 'near' ], 'TLS: a patient');
	isnt(curl("$secure/healthz")->{exit}, 0, 'TLS: it is the certificate that counts');
	$r = curl('-H', $nurse, "http://localhost:$tls->{port}/api/v1/patient/near");
	is_deeply([ $r->{exit} != 0, $r->{status}, $r->{body} ], [ 1, '000', '' ], 'TLS: nothing is said without');
	for my $version ('1', '1_1', '1_2', '1_3')
	{
		my (undef, $out, $errors) = run_program('openssl', 's_client', '-connect', "localhost:$tls->{port}", "-tls$version", '-cipher', 'ALL:@SECLEVEL=0');
		my $new = $out =~ /^New, TLSv1\.[0-9], Cipher is [A-Z]/m ? 'yes' : 'no';
		is($new, $version =~ /^1_[23]/ ? 'yes' : 'no', "TLS: version $version");
	}
	unlike(raw($tls, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 10), qr/HTTP|ok/, 'TLS: bytes that are no handshake have no answer in the clear');
	is(raw($tls, '', 10), '', 'TLS: a client that says nothing is not waited for');
	$r = curl('--cacert', $certificate, '-H', $phone, '-d', '{"patientId": "near", "reportData": {"n": 2}}', "$secure/api/epro/submit");
	is_deeply([ @$r{qw(exit status)} ], [ 0, 202 ], 'TLS: a report');
	is(curl('--cacert', $certificate, '-H', $phone, '-d', "\@$dir/large", "$secure/api/epro/submit")->{status}, 413, 'TLS: a large one');

	my $holder = IntakeSession::session($node, 'postgres');
	IntakeSession::answers($holder, $lock);
	my $waiting = IPC::Run::start([ 'curl', '-sS', '--cacert', $certificate, '-H', $nurse, "$secure/api/v1/projects/S%2F1" ], '<', \'', '>', \my $ignored, '2>', \my $errors);
	ok(wait_running(1), 'TLS: a call waits');
	$waiting->kill_kill;
	ok(wait_running(0), 'TLS: until its client goes away');
	IntakeSession::answers($holder, 'ROLLBACK');
	IntakeSession::end_session($holder);
	my $other = start_gateway($node, tls_certificate => $certificate, tls_key => "$dir/large", unready => 1);
	like(gateway_log($other), qr/cannot listen on|certificate/, 'TLS: a key that is none is refused');
	eval { $other->{run}->finish };
}

# --- Node --------------------------------------------------------------------------------------------------
my $script = write_file('client.mjs', q{
// Node's fetch: node client.mjs ADDRESS TOKEN WHAT
import assert from 'node:assert';
const [address, token, what] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${token}` };
const get = (path, more) => fetch(address + path, { headers, ...more });
if (what === 'abort') {
    const controller = new AbortController();
    process.stdin.once('data', () => controller.abort());
    const asked = get('/api/v1/projects/S%2F1/report?from=2026-01-01&to=2026-04-01', { signal: controller.signal });
    await asked.then(r => console.log('answer', r.status), e => console.log(e.name));
    await new Promise(done => process.stdin.once('data', done));
    const next = await get('/api/v1/patient/near');
    console.log(next.status, (await next.json()).id);
    process.exit(0);
}
const ids = ['near', 'a/b c%\u00e9+'];
const one = async (i) => {
    const id = ids[i % 2];
    const answer = await get('/api/v1/patient/' + encodeURIComponent(id));
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('content-type'), 'application/json');
    assert.equal((await answer.json()).id, id);
};
for (let i = 0; i < 50; i++) await one(i);
await Promise.all(Array.from({ length: 64 }, (_, i) => one(i)));
const page = await get('/api/v1/patients?' + new URLSearchParams({ contains: '{"arm": "A"}', after: ids[1] }));
assert.deepEqual((await page.json()).patients.map(p => p.id), ['near']);
assert.equal((await get('/api/v1/patient/near', { method: 'DELETE' })).status, 405);
assert.equal((await get('/api/v1/patient/near', { method: 'HEAD' })).status, 200);
assert.equal((await fetch(address + '/api/v1/patient/near')).status, 401);
const html = await get('/api/v1/projects/S%2F1/report?from=2026-01-01&to=2026-04-01', { headers: { ...headers, Accept: 'text/html,*/*;q=0.8' } });
assert.match(await html.text(), /^<!DOCTYPE html>/i);
console.log('done');
});
my $node_program = have('node') && `node -e 'console.log(typeof fetch)' 2>/dev/null` =~ /function/;
sub node_client
{
	my ($address, $what) = @_;
	return run_program('env', "NODE_EXTRA_CA_CERTS=$certificate", 'NODE_NO_WARNINGS=1', 'node', $script, $address, token('nurse', %long), $what);
}
SKIP:
{
	skip 'no node with fetch', 1 unless $node_program;
	my ($code, $out, $errors) = node_client($at, 'all');
	is_deeply([ $code, $out ], [ 0, "done\n" ], "Node: fetch") or diag $errors;
	if ($tls)
	{
		($code, $out, $errors) = node_client("https://localhost:$tls->{port}", 'all');
		is_deeply([ $code, $out ], [ 0, "done\n" ], "Node: fetch over TLS") or diag $errors;
	}
	my $holder = IntakeSession::session($node, 'postgres');
	IntakeSession::answers($holder, $lock);
	my ($in, $said) = ('', '');
	my $client = IPC::Run::start([ 'node', $script, $at, token('nurse', %long), 'abort' ], '<', \$in, '>', \$said, '2>', \$errors, IPC::Run::timeout(60));
	ok(wait_for(sub { $client->pump_nb; $node->safe_psql('postgres', $running) eq '1' }), 'Node: a report is being made');
	$in = "abort\n";
	ok(wait_for(sub { $client->pump_nb; $node->safe_psql('postgres', $running) eq '0' }), 'Node: its AbortController ends the query');
	IntakeSession::answers($holder, 'ROLLBACK');
	IntakeSession::end_session($holder);
	$in = "go on\n";
	$client->finish;
	is($said, "AbortError\n200 near\n", 'Node: and all goes on');
}
is(stop_gateway($tls), 0, 'TLS: the gateway ends well') if $tls;

# --- wrk -----------------------------------------------------------------------------------------------------
SKIP:
{
	skip 'no wrk', 1 unless have('wrk');
	my $lua = write_file('submit.lua', q{
wrk.method = "POST"
local n = 0
function request()
    n = n + 1
    return wrk.format(nil, nil, nil, string.format('{"patientId": "near", "reportData": {"n": %d}, "submissionId": "%08x-0000-4000-8000-00000000d000"}', n % 8, n))
end
});
	for my $case ([ 'patients', '-H', $nurse, "$at/api/v1/patient/near" ], [ 'reports', '-s', $lua, '-H', $phone, "$at/api/epro/submit" ])
	{
		my ($name, @arguments) = @$case;
		my ($code, $out) = run_program('wrk', '-t', 1, '-c', 16, '-d', '2s', '--timeout', '30s', @arguments);
		is($code, 0, "wrk: $name");
		like($out, qr/\b[1-9]\d* requests in/, "wrk: $name are served");
		unlike($out, qr/Non-2xx or 3xx responses|Socket errors/, "wrk: without an error");
		note $out;
	}
}

is(stop_gateway($gateway), 0, 'the gateway ends well');

# --- pgbouncer -------------------------------------------------------------------------------------------------
# in transaction mode, with fewer connections than the gateway has; its own protocol of prepared statements came with 1.21
SKIP:
{
	skip 'no pgbouncer', 1 unless have('pgbouncer');
	my ($version) = `pgbouncer --version` =~ /PgBouncer (\d+\.\d+)/;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $users = write_file('users', qq("gateway" ""\n"postgres" ""\n));
	my $socket = PostgreSQL::Test::Utils::tempdir_short();
	my $settings = write_file('pgbouncer.ini', join "\n", '[databases]', 'postgres = host=' . $node->host . ' port=' . $node->port, '[pgbouncer]', "listen_port = $port", "unix_socket_dir = $socket",
		'listen_addr =', 'auth_type = trust', "auth_file = $users", 'pool_mode = transaction', 'default_pool_size = 3', 'max_client_conn = 100', "logfile = $dir/pgbouncer.log", $version >= 1.21 ? 'max_prepared_statements = 100' : '', '');
	my $bouncer = IPC::Run::start([ 'pgbouncer', $settings ], '<', \'', '>', \my $said, '2>', \my $errors);
	my $is_there = sub { return eval { IPC::Run::run([ 'psql', '-X', '-A', '-t', '-h', $socket, '-p', $port, '-U', 'gateway', '-d', 'postgres', '-c', 'SELECT 1' ], '>', \my $out, '2>', \my $none); $out eq "1\n" } };
	ok(wait_for($is_there, 20), "pgbouncer $version: it is there");
	my %database = (database => "host=$socket port=$port dbname=postgres user=gateway");
	for my $prepare (0, $version >= 1.21 ? 1 : ())
	{
		my $name = "pgbouncer, prepare = $prepare";
		my $through = start_gateway($node, %database, prepare => $prepare, pool_size => 8);
		is_deeply([ map { ask($through, 'GET', '/api/v1/patient/near', as => 'nurse')->{json}{id} } 1 .. 20 ], [ ('near') x 20 ], "$name: a patient");
		is(ask($through, 'GET', '/api/v1/patient/far', as => 'nurse')->{status}, 404, "$name: what the caller may not see");
		is(ask($through, 'GET', '/api/v1/patient/near', as => 'phone')->{status}, 403, "$name: who may not");
		my $id = sprintf '00000000-0000-4000-8000-00000000e%03d', $prepare;
		is(ask($through, 'POST', '/api/epro/submit', as => 'phone', content => { patientId => 'near', reportData => { n => 1 }, submissionId => $id })->{status}, 202, "$name: a report is submitted");
		ok(wait_for(sub { ask($through, 'GET', "/api/epro/patients/near/submissions/$id", as => 'nurse')->{json}{status} eq 'accepted' }), "$name: and accepted");
		is($node->safe_psql('postgres', "SELECT actor FROM clinical.submission WHERE id = '$id'"), 'user of phone', "$name: with who sent it");
		is(ask($through, 'POST', '/api/v1/projects', as => 'boss', content => { name => 'x', centerIds => [1], code => "B/$prepare" })->{status}, 201, "$name: a project");
		is(ask($through, 'GET', '/api/v1/alerts', as => 'nurse')->{status}, 200, "$name: alerts");
		is(ask($through, 'GET', '/api/v1/projects/S%2F1/report?from=2026-01-01&to=2026-04-01', as => 'nurse')->{status}, 200, "$name: a report at once");
		my $holder = IntakeSession::session($node, 'postgres');
		IntakeSession::answers($holder, $lock);
		my $asked = sub {
			my ($path) = @_;
			my $client = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $through->{port}) or die;
			print $client "GET $path HTTP/1.1\r\nHost: x\r\n$nurse\r\n\r\n";
			$client->flush;
			return $client;
		};
		my @clients = $asked->('/api/v1/projects/S%2F1/report?from=2026-01-01&to=2026-04-01');
		ok(wait_running(1), "$name: a report is being made");
		$_->close for @clients;
		ok(wait_running(0), "$name: until its client goes away");
		@clients = map { $asked->('/api/v1/projects/S%2F1') } 1 .. 8;
		ok(wait_running(3), "$name: as many calls run as pgbouncer lets, and others wait in it");
		$_->close for @clients;
		ok(wait_running(0), "$name: until their clients go away");
		IntakeSession::answers($holder, 'ROLLBACK');
		IntakeSession::end_session($holder);
		is_deeply([ map { ask($through, 'GET', '/api/v1/patient/near', as => $_)->{status} } (qw(nurse phone)) x 16 ], [ (200, 403) x 16 ], "$name: and all goes on, each with the rights of its own");
		is(stop_gateway($through), 0, "$name: it ends well");
	}
	# what is wrong with that is told to nobody as an error of theirs
	if ($version < 1.21)
	{
		my $through = start_gateway($node, %database, pool_size => 8, request_timeout => 5);
		my %told;
		my @clients = map { {} } 1 .. 8;
		run_clients($through->{port}, \@clients, 60,
			next => sub { return $_[0]{sent}++ < 50 ? "GET /api/v1/patient/near HTTP/1.1\r\nHost: x\r\n$nurse\r\n\r\n" : undef }, answered => sub { $told{ $_[1]{status} }++ }, lost => sub { $told{lost}++ });
		is_deeply([ grep { !/^(200|503)$/ } keys %told ], [], 'pgbouncer without prepared statements: calls fail for now, if they do');
		note join ', ', map { "$told{$_} times $_" } sort keys %told;
		stop_gateway($through);
	}
	my $superuser = start_gateway($node, database => "host=$socket port=$port dbname=postgres user=postgres", prepare => 0, unready => 1);
	ok(wait_for(sub { gateway_log($superuser) =~ /must not be a superuser/ }), 'pgbouncer: no superuser serves');
	is(ask($superuser, 'GET', '/api/v1/patient/near', as => 'nurse')->{status}, 503, 'pgbouncer: nor is it said that one could');
	stop_gateway($superuser);
	$bouncer->signal('INT');
	$bouncer->finish;
}
done_testing();
