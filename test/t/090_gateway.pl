# clinical-gateway: every route, and what it answers to those who may not, to what is malformed, too large
# or too slow, to clients that go away, and while the server is not there.
use strict;
use warnings;
use utf8;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Gateway;
use IntakeSession ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

plan skip_all => 'clinical-gateway was not built: its libraries are not here' unless -x $PROGRAM;

my $node = gateway_node('gateway');
my $gateway = start_gateway($node, max_body => 100000, header_timeout => 2, body_timeout => 2, request_timeout => 3, slow_timeout => 60);
cmp_ok($gateway->{port}, '>', 0, 'it listens') or diag ${ $gateway->{errors} }, gateway_log($gateway);

my $problem = 'application/problem+json';
sub is_problem
{
	my ($r, $status, $detail, $name) = @_;
	is($r->{status}, $status, "$name: $status");
	is($r->{headers}{'content-type'}, $problem, "$name: it is a problem");
	is($r->{json}{detail}, $detail, "$name: $detail");
	is($r->{json}{status}, $status, "$name: which has the status, too");
	return;
}

# --- every route ---------------------------------------------------------------------------------
my $r = ask($gateway, 'GET', '/api/v1/patient/near', as => 'nurse');
is($r->{status}, 200, 'a patient');
is_deeply($r->{json}, { id => 'near', name => 'Name of near', birthDate => '1950-05-17', projectID => 'S/1', record => { arm => 'A' } }, 'has id, name, birthDate, projectID, record');
is($r->{headers}{'content-type'}, 'application/json', 'as JSON');
is($r->{headers}{'cache-control'}, 'no-store', 'which nobody is to keep');
is_problem(ask($gateway, 'GET', '/api/v1/patient/', as => 'nurse'), 400, 'patient id is required', 'no id');
is_problem(ask($gateway, 'GET', '/api/v1/patient/none', as => 'nurse'), 404, 'patient not found', 'no such patient');
is_deeply([ @{ ask($gateway, 'GET', '/api/v1/patient/far', as => 'nurse') }{qw(status content)} ], [ @{ ask($gateway, 'GET', '/api/v1/patient/none', as => 'nurse') }{qw(status content)} ],
	'one that the caller may not see answers like none');
is_problem(ask($gateway, 'GET', '/api/v1/patient/near', as => $_), 403, 'not allowed', "patient, as $_") for qw(phone nobody stranger postgres gateway);
is_problem(ask($gateway, 'GET', '/api/v1/patient/near', as => 'none'), 403, 'the token names no role', 'patient, as none');
$r = ask($gateway, 'GET', '/api/v1/patient/a%2Fb%20c%25%C3%A9+', as => 'nurse');
is($r->{json}{id}, 'a/b c%é+', 'an id is percent-decoded, once, and a plus is a plus');
is(ask($gateway, 'HEAD', '/api/v1/patient/near', as => 'nurse')->{headers}{'content-length'}, length(ask($gateway, 'GET', '/api/v1/patient/near', as => 'nurse')->{content}), 'HEAD');

$r = ask($gateway, 'GET', '/api/v1/patients?project=S%2F1&limit=1', as => 'nurse');
is_deeply([ $r->{status}, $r->{json}{next}, map { $_->{id} } @{ $r->{json}{patients} } ], [ 200, 'a/b c%é+', 'a/b c%é+' ], 'a page of patients');
$r = ask($gateway, 'GET', '/api/v1/patients?after=a%2Fb+c%25%C3%A9%2B&contains=%7B%22arm%22%3A%22A%22%7D&center=1', as => 'nurse');
is_deeply([ $r->{status}, $r->{json}{next}, map { $_->{id} } @{ $r->{json}{patients} } ], [ 200, undef, 'near' ], 'the next one, in which a plus is a space');
is_problem(ask($gateway, 'GET', '/api/v1/patients?limit=x', as => 'nurse'), 400, 'limit must be a whole number', 'limit');
is_problem(ask($gateway, 'GET', "/api/v1/patients?$_", as => 'nurse'), 400, 'a parameter is unknown, or is there more than once', $_) for 'limits=1', 'limit=1&limit=2', 'x';

$r = ask($gateway, 'POST', '/api/v1/projects', as => 'boss', content => { name => 'New', centerIds => [ 1, 2 ], code => 'N/1' });
is_deeply([ $r->{status}, $r->{headers}{location}, $r->{json}{code} ], [ 201, '/api/v1/projects/N%2F1', 'N/1' ], 'a project is created');
is(ask($gateway, 'GET', $r->{headers}{location}, as => 'boss')->{json}{name}, 'New', 'and is where it says');
is_problem(ask($gateway, 'GET', '/api/v1/projects/none', as => 'boss'), 404, 'project not found', 'no such project');
is_problem(ask($gateway, 'POST', '/api/v1/projects', as => 'boss', content => { name => 'Other', centerIds => [1], code => 'N/1' }), 409, 'project already exists with different content', 'the code is taken');
$r = ask($gateway, 'POST', '/api/v1/projects', as => 'boss', content => { name => 'Lost', centerIds => [ 1, 98, 99 ] });
is_problem($r, 422, 'some centers not found', 'missing centers');
is_deeply($r->{json}{missingCenters}, [ 98, 99 ], 'are named');
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.project WHERE name = 'Lost'}), 0, 'and there is no project');
is_problem(ask($gateway, 'POST', '/api/v1/projects', as => 'nurse', content => { name => 'x', centerIds => [1] }), 403, 'not allowed', 'a project, as nurse');
is_problem(ask($gateway, 'POST', '/api/v1/projects', as => 'boss', content => $_), 400, 'malformed JSON', "body $_") for '', '{', "{\"name\": \"\\u0000\"}";

my $id = '00000000-0000-4000-8000-000000000001';
my $report = { patientId => 'near', reportData => { n => 9 }, submissionId => $id, capturedAt => '2026-02-01T10:00:00Z' };
my $parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
$r = ask($gateway, 'POST', '/api/epro/submit', as => 'phone', content => $report, headers => { traceparent => $parent });
is($r->{status}, 202, 'a report is submitted');
is_deeply($r->{json}, { success => JSON::PP::true, message => 'Report received and queued for processing.', submissionId => $id }, 'and is told');
ok(wait_for(sub { ask($gateway, 'GET', "/api/epro/patients/near/submissions/$id", as => 'nurse')->{json}{status} eq 'accepted' }), 'it is accepted');
is($node->safe_psql('postgres', "SELECT actor, trace_parent FROM clinical.submission WHERE id = '$id'"), "user of phone|$parent", 'with who sent it, and its trace');
is(ask($gateway, 'POST', '/api/epro/submit', as => 'phone', content => $report)->{status}, 200, 'sent again');
is_deeply(ask($gateway, 'POST', '/api/epro/submit', as => 'phone', content => { %$report, reportData => { n => 1 } })->{status}, 409, 'with other content');
is_problem(ask($gateway, 'GET', '/api/epro/patients/near/submissions/00000000-0000-4000-8000-000000000009', as => 'nurse'), 404, 'submission not found', 'no such submission');
$r = ask($gateway, 'POST', '/api/epro/submit', as => 'phone', content => { patientId => 'near', reportData => { n => 1 } }, headers => { 'Idempotency-Key' => '"00000000-0000-4000-8000-000000000002"' });
is_deeply([ $r->{status}, $r->{json}{submissionId} ], [ 202, '00000000-0000-4000-8000-000000000002' ], 'Idempotency-Key');
is(ask($gateway, 'POST', '/api/epro/submit', as => 'phone', content => { patientId => 'far', reportData => { n => 1 }, submissionId => $id })->{status}, 202, 'a report of a patient elsewhere');
is_problem(ask($gateway, 'GET', "/api/epro/patients/far/submissions/$id", as => 'nurse'), 404, 'submission not found', 'is none of the nurse\'s, though the gateway\'s login sent it');
is(ask($gateway, 'GET', "/api/epro/patients/far/submissions/$id", as => 'phone')->{status}, 200, 'and is of who sends reports');
is_problem(ask($gateway, 'POST', '/api/epro/submit', as => 'phone', content => { reportData => {} }), 400, 'patient id is required', 'a report of nobody');
is_problem(ask($gateway, 'POST', '/api/epro/submit', as => 'phone', content => { %$report, actor => 'me' }), 400, 'a report has an unknown key, "actor"', 'a report that says who sends it');
is_problem(ask($gateway, 'POST', '/api/epro/submit', as => 'boss', content => $report), 403, 'not allowed', 'a report, as boss');
$r = ask($gateway, 'POST', '/api/epro/submit', as => 'phone', content => [ { patientId => 'near', reportData => { n => 1 } }, 7 ]);
is_deeply([ $r->{status}, map { $_->{status} } @{ $r->{json} } ], [ 207, 202, 400 ], 'many reports');

$r = ask($gateway, 'GET', '/api/v1/alerts?project=S%2F1', as => 'nurse');
is_deeply([ $r->{status}, $r->{json}{more}, map { $_->{patientId} } @{ $r->{json}{alerts} } ], [ 200, JSON::PP::false, 'near' ], 'alerts');
my $alert = "/api/v1/patients/near/alerts/$r->{json}{alerts}[0]{alertId}/acknowledge";
$r = ask($gateway, 'POST', $alert, as => 'nurse', content => { comment => 'called' });
is_deeply([ @{ $r->{json} }{qw(status acknowledgedBy)} ], [ 'acknowledged', 'user of nurse' ], 'an alert is acknowledged, by a user');
is(ask($gateway, 'POST', $alert, as => 'nurse')->{status}, 409, 'and once only');
is($node->safe_psql('postgres', q{SELECT actor, login, role FROM clinical.audit_record WHERE table_name = 'alert' ORDER BY id DESC LIMIT 1}), 'user of nurse|gateway|nurse', 'the trail has who it was');

$r = ask($gateway, 'POST', '/api/v1/projects/S%2F1/reports', as => 'nurse', content => { from => '2026-01-01', to => '2026-04-01', options => { sections => ['status'] } });
is($r->{status}, 202, 'a report is requested');
my $location = $r->{headers}{location};
is($location, "/api/v1/reports/$r->{json}{id}", 'and its place told');
$r = wait_for(sub { my $got = ask($gateway, 'GET', $location, as => 'nurse'); $got->{status} != 202 && $got });
is_deeply([ $r->{status}, $r->{json}{header}{period} ], [ 200, [ '2026-01-01', '2026-04-01' ] ], 'where the document is');
$r = ask($gateway, 'GET', $location, as => 'nurse', headers => { Accept => 'text/html' });
is($r->{headers}{'content-type'}, 'text/html; charset=utf-8', 'or the page');
like($r->{content}, qr/^<!DOCTYPE html>/i, 'which is one');
like($r->{headers}{'content-security-policy'}, qr/default-src 'none'/, 'that may load nothing');
is(ask($gateway, 'DELETE', $location, as => 'nurse')->{json}{status}, 'done', 'it is too late to cancel it');
$r = ask($gateway, 'GET', '/api/v1/projects/S%2F1/report?from=2026-01-01&to=2026-04-01&options=%7B%22sections%22%3A%5B%22status%22%5D%7D', as => 'nurse');
is_deeply([ $r->{status}, $r->{json}{header}{period} ], [ 200, [ '2026-01-01', '2026-04-01' ] ], 'a report at once');
is_problem(ask($gateway, 'GET', '/api/v1/projects/S%2F1/report?from=2026-01-01', as => 'nurse'), 400, 'to is required', 'a report without an end');

is(ask($gateway, 'GET', "/$_")->{json}{status}, 'ok', $_) for qw(healthz readyz);

# --- what is malformed -----------------------------------------------------------------------------
is_problem(ask($gateway, 'GET', $_, as => 'nurse'), 404, 'there is no such path', $_) for '/', '/api/v1/patient', '/api/v1/patient/near/', '/api/v1/patient/near/x', '//api/v1/patient/near', '/api/v1%2Fpatient/near', '/API/v1/patient/near';
for my $case ([ 'POST', '/api/v1/patient/near', 'GET, HEAD' ], [ 'PUT', '/api/v1/projects', 'POST' ], [ 'POST', "$location", 'GET, HEAD, DELETE' ], [ 'PATCH', '/api/epro/submit', 'POST' ], [ 'DELETE', '/healthz', 'GET, HEAD' ])
{
	my ($method, $path, $allow) = @$case;
	$r = ask($gateway, $method, $path, as => 'nurse');
	is_problem($r, 405, 'the path does not have this method', "$method $path");
	is($r->{headers}{allow}, $allow, "$method $path: $allow");
}
is_problem(ask($gateway, 'GET', "/api/v1/patient/$_", as => 'nurse'), 400, 'the URI is malformed', "id $_") for '%', '%4', '%zz', 'a%00b', '%0';
is_problem(ask($gateway, 'GET', '/api/v1/patient/' . join('/', 1 .. 20), as => 'nurse'), 400, 'the URI is malformed', 'many segments');
is_problem(ask($gateway, 'GET', "/api/v1/patient/$_", as => 'nurse'), 400, 'the request is no text in UTF-8', "id $_") for '%ff', '%C3', '%ED%A0%80', 'a%C0%80';
is_problem(ask($gateway, 'POST', '/api/epro/submit', as => 'phone', content => $_), 400, 'the request is no text in UTF-8', 'a body that is none') for "{\"patientId\": \"\xff\"}", "{\"patientId\": \"a\0b\"}";
is(ask($gateway, 'GET', '/api/v1/patient/' . ($_ x 300), as => 'nurse')->{status}, 404, "long id of $_") for qw(a %27 %22 %0d%0a);
is_problem(ask($gateway, 'GET', '/api/v1/projects/x%0d%0aSet-Cookie:%20a', as => 'nurse'), 404, 'project not found', 'a header in a path');
unlike(raw($gateway, "GET /api/v1/projects/x%0d%0aSet-Cookie:%20a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " . token('nurse') . "\r\n\r\n"), qr/^Set-Cookie/m, 'is none in the answer');
$r = ask($gateway, 'POST', '/api/v1/projects', as => 'boss', content => { name => 'Injected', centerIds => [1], code => "x\r\nSet-Cookie: a=b" });
is_deeply([ $r->{status}, $r->{headers}{location}, $r->{headers}{'set-cookie'} ], [ 201, '/api/v1/projects/x%0D%0ASet-Cookie%3A%20a%3Db', undef ], 'nor is one in a code');

# --- what is too large, or too slow ------------------------------------------------------------------
is_problem(ask($gateway, 'POST', '/api/epro/submit', as => 'phone', content => 'x' x 100001), 413, 'the body is too large', 'a large body');
is(ask($gateway, 'POST', '/api/epro/submit', as => 'phone', content => ' ' x 99990 . 'x')->{json}{detail}, 'malformed JSON', 'one that is as large as may be is read');
my @pieces = ('x' x 50000) x 3;
is_problem(ask($gateway, 'POST', '/api/epro/submit', as => 'phone', content => sub { shift @pieces }), 413, 'the body is too large', 'a large body in chunks');
@pieces = ('{"patientId": "near", ', '"reportData": {"n": 2}}');
is(ask($gateway, 'POST', '/api/epro/submit', as => 'phone', content => sub { shift @pieces })->{status}, 202, 'a body in chunks');
like(raw($gateway, "GET /healthz HTTP/1.1\r\nHost: x\r\nX: " . ('x' x 40000) . "\r\n\r\n"), qr,^HTTP/1\.1 431 ,, 'large headers');
like(raw($gateway, 'GET /healthz?' . ('x' x 40000) . " HTTP/1.1\r\nHost: x\r\n\r\n"), qr,^HTTP/1\.1 414 ,, 'a large URI');
my $begun = time;
like(raw($gateway, "GET /healthz HTTP/1.1\r\nHost:"), qr,^HTTP/1\.1 408 ,, 'headers that do not come');
like(raw($gateway, "POST /api/epro/submit HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nAuthorization: Bearer " . token('phone') . "\r\n\r\n{"), qr,^HTTP/1\.1 408 ,, 'a body that does not come');
cmp_ok(time - $begun, '<', 15, 'are waited for no longer than is set');

# --- who is calling ----------------------------------------------------------------------------------
my $path = '/api/v1/patient/near';
my $far = int(time) + 600;
my %good = (role => 'nurse', aud => 'study', exp => $far);
sub with_token { my ($token) = @_; return ask($gateway, 'GET', $path, headers => { Authorization => "Bearer $token" }) }
is(with_token(hs256($_))->{status}, 200, 'a token is taken') for {%good}, { %good, aud => [ 'x', 'study' ] }, { %good, nbf => int(time) - 5 }, { %good, exp => int(time) - 5 };
$r = ask($gateway, 'GET', $path);
is_problem($r, 401, 'a token is required', 'no token');
is($r->{headers}{'www-authenticate'}, 'Bearer', 'no token: what is wanted');
my ($head, $claims, $signature) = split /\./, hs256({%good});
my %bad = (
	expired => hs256({ %good, exp => int(time) - 100 }), 'not yet valid' => hs256({ %good, nbf => int(time) + 100 }), 'for others' => hs256({ %good, aud => 'other' }),
	'for nobody' => hs256({ role => 'nurse', exp => $far }), 'without an end' => hs256({ role => 'nurse', aud => 'study' }), 'with an end that is no number' => hs256({ %good, exp => 'never' }),
	'for a null character' => hs256({ %good, aud => "study\0" }), 'with a null character in its role' => hs256({ %good, role => "nurse\0" }), 'with another key' => hs256({%good}, 'x' x 40), 'with an empty key' => hs256({%good}, ''),
	'without an algorithm' => hs256({%good}, undef, { typ => 'JWT' }), 'of no algorithm' => join('.', MIME::Base64::encode_base64url('{"alg":"none","typ":"JWT"}'), $claims, ''),
	'of no algorithm, in capitals' => join('.', MIME::Base64::encode_base64url('{"alg":"NONE","typ":"JWT"}'), $claims, ''), 'of HS384' => hs256({%good}, undef, { alg => 'HS384', typ => 'JWT' }),
	'without its signature' => "$head.$claims.", 'cut off' => "$head.$claims", 'of one part' => $head, 'that is empty' => '', 'that is garbage' => 'x.y.z', 'with other claims' => join('.', $head, MIME::Base64::encode_base64url('{"role":"boss","aud":"study","exp":9999999999}'), $signature));
for my $name (sort keys %bad)
{
	$r = with_token($bad{$name});
	is_deeply([ $r->{status}, $r->{headers}{'www-authenticate'}, $r->{headers}{'content-type'} ], [ 401, 'Bearer error="invalid_token"', $problem ], "a token $name");
}
is(ask($gateway, 'GET', $path, headers => { Authorization => 'Basic eDp5' })->{status}, 401, 'another way to say who one is');
is_problem(with_token(hs256($_)), 403, 'the token names no role', 'a token without a role') for { aud => 'study', exp => $far }, { %good, role => ['nurse'] }, { %good, role => '' }, { %good, role => 'x' x 64 };
is_problem(with_token(hs256({ %good, role => $_ })), 403, 'not allowed', "as $_") for 'nurse; DROP TABLE x', '"nurse"', "nurse'", 'clinical_owner', 'clinical_worker', 'pg_read_all_data', 'Nurse';
is($node->safe_psql('postgres', 'SELECT count(*) FROM clinical.patient'), 3, 'nothing was dropped');
stop_gateway($gateway);

my ($private, $public) = map { $node->basedir . "/$_.pem" } qw(private public);
for my $kind ([ 'RS256', 'genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048' ], [ 'ES256', 'genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256' ])
{
	my ($algorithm, $make) = @$kind;
	SKIP:
	{
		skip 'no openssl', 1 if system("openssl $make -out $private 2>/dev/null && openssl pkey -in $private -pubout -out $public 2>/dev/null") != 0;
		my $signed = sub {
			my $text = join '.', map { MIME::Base64::encode_base64url($_) } qq({"alg":"$algorithm","typ":"JWT"}), JSON::PP::encode_json($_[0]);
			append_to_file($node->basedir . '/text', '');
			open my $out, '>', $node->basedir . '/text' or die; print $out $text; close $out;
			my $bytes = `openssl dgst -sha256 -sign $private $node->{_basedir}/text`;
			if ($algorithm eq 'ES256')
			{
				# two numbers in DER, of 32 bytes each in a token
				my @numbers = $bytes =~ /\A\x30.\x02(.)(.*)\z/s ? do { my $n = ord $1; (substr($2, 0, $n), substr($2, $n + 2)) } : ();
				$bytes = join '', map { substr(("\0" x 32) . $_, -32) } @numbers;
			}
			return "$text." . MIME::Base64::encode_base64url($bytes);
		};
		my $other = start_gateway($node, jwt_algorithm => $algorithm, jwt_key_file => $public);
		my $status = sub { return ask($other, 'GET', $path, headers => { Authorization => "Bearer $_[0]" })->{status} };
		is($status->($signed->({%good})), 200, "$algorithm: a token is taken");
		is($status->($signed->({ %good, exp => 1 })), 401, "$algorithm: an expired one is not");
		is($status->(hs256({%good}, slurp_file($public))), 401, "$algorithm: the public key is no secret of HS256");
		is($status->(hs256({%good})), 401, "$algorithm: nor is any");
		is($status->(join('.', MIME::Base64::encode_base64url('{"alg":"none"}'), $claims, '')), 401, "$algorithm: none is none");
		is(stop_gateway($other), 0, "$algorithm: it stops");
	}
}

# --- clients that go away, and what takes long ---------------------------------------------------------
$gateway = start_gateway($node, pool_size => 2, slow_size => 1, max_waiting => 2, request_timeout => 2);
my $running = q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'gateway' AND state = 'active'};
my $holder = IntakeSession::session($node, 'postgres');
my $lock = 'BEGIN; LOCK TABLE clinical.project IN ACCESS EXCLUSIVE MODE';
IntakeSession::answers($holder, $lock);
my $request = "GET /api/v1/projects/S%2F1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " . token('nurse') . "\r\n\r\n";
my $watcher = IntakeSession::session($node, 'postgres');
for my $way ('close', 'half-close', 'reset')
{
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) or die;
	print $socket $request;
	$socket->flush;
	ok(wait_for(sub { $node->safe_psql('postgres', $running) eq '1' }, 10), "$way: the call waits");
	$socket->sockopt(Socket::SO_LINGER(), pack('ii', 1, 0)) if $way eq 'reset';
	my $gone = time;
	$way eq 'half-close' ? $socket->shutdown(1) : $socket->close;
	ok(wait_for(sub { IntakeSession::answers($watcher, $running) eq '0' }, 1), "$way: the client goes, and the call with it");
	note sprintf '%s: seen %.0f ms later', $way, (time - $gone) * 1000;
}
is_problem(ask($gateway, 'GET', '/api/v1/projects/S%2F1', as => 'nurse'), 504, 'the server takes too long', 'what takes longer than it may');
ok(wait_for(sub { $node->safe_psql('postgres', $running) eq '0' }, 2), 'is cancelled');
# two run, two wait, the fifth is one too many
my @sockets = map { my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) or die; print $s $request; $s->flush; $s } 1 .. 4;
ok(wait_for(sub { $node->safe_psql('postgres', $running) eq '2' }, 10), 'the pool is full');
$r = wait_for(sub { my $got = ask($gateway, 'GET', '/api/v1/patient/near', as => 'nurse'); $got->{status} == 503 && $got }, 1);
is_problem($r, 503, 'too many requests are waiting', 'the queue is full');
is($r->{headers}{'retry-after'}, 1, 'come again');
is(ask($gateway, 'GET', '/healthz')->{status}, 200, 'the gateway itself lives');
$_->close for @sockets;
IntakeSession::answers($holder, 'ROLLBACK');
IntakeSession::end_session($holder);
is(ask($gateway, 'GET', '/api/v1/projects/S%2F1', as => 'nurse')->{status}, 200, 'and all goes on');
is(ask($gateway, 'GET', '/api/v1/patient/near', as => 'nurse')->{status}, 200, "once more ($_)") for 1 .. 5;

IntakeSession::end_session($watcher);

# --- the server goes, and comes back -------------------------------------------------------------------
$node->stop('fast');
ok(wait_for(sub { ask($gateway, 'GET', '/readyz')->{status} == 503 }, 5), 'without a server it is not ready');
is_problem(ask($gateway, 'GET', $path, as => 'nurse'), 503, 'the server could not be reached', 'and says so');
$node->start;
ok(wait_for(sub { ask($gateway, 'GET', '/readyz')->{status} == 200 }, 20), 'with one it is again');
is(ask($gateway, 'GET', $path, as => 'nurse')->{status}, 200, 'and serves');

# --- the log ---------------------------------------------------------------------------------------------
my @lines = log_lines($gateway);
cmp_ok(scalar @lines, '>', 10, 'requests are logged');
is_deeply([ grep { $_->{route} !~ m,^(/api/v1/(projects/\{code\}|patient/\{id\})|/healthz|/readyz|none)$, } @lines ], [], 'by their routes');
unlike(gateway_log($gateway), qr/near|eyJ|S%2F1|Bearer/, 'and no id, no token is in the log');
unlike(slurp_file($node->logfile), qr/eyJ/, 'no token is in the server\'s');
is_deeply([ sort { $a <=> $b } keys %{ { map { $_->{status} => 1 } @lines } } ], [ 200, 499, 503, 504 ], 'with the status, 499 for clients that went');

# --- it stops -----------------------------------------------------------------------------------------------
$holder = IntakeSession::session($node, 'postgres');
IntakeSession::answers($holder, $lock);
my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) or die;
print $socket $request;
$socket->flush;
ok(wait_for(sub { $node->safe_psql('postgres', $running) eq '1' }, 10), 'a call waits');
$gateway->{run}->signal('TERM');
ok(wait_for(sub { gateway_log($gateway) =~ /1 requests are to be answered/ }, 5), 'the gateway is told to stop');
is(IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}), undef, 'it takes no more connections');
IntakeSession::answers($holder, 'ROLLBACK');
IntakeSession::end_session($holder);
my $answer = do { local $/; <$socket> };
like($answer, qr,^HTTP/1\.1 200 .*Connection: close.*"code",s, 'but answers what it had');
ok($gateway->{run}->finish, 'and ends well');

# --- settings ------------------------------------------------------------------------------------------------
my $key = $node->basedir . '/key';
append_to_file($key, 'short');
for my $case ([ 'a secret that is short', qr/32 bytes/, jwt_key_file => $key ], [ 'no audience', qr/jwt_audience/, jwt_audience => '' ], [ 'an algorithm that is none', qr/must be HS256/, jwt_algorithm => 'none' ],
	[ 'no key, and nobody without one', qr/nobody could do anything/, jwt_key_file => '' ], [ 'a key that is none', qr/PEM/, jwt_algorithm => 'RS256' ], [ 'a port that is none', qr/cannot listen/, listen => '127.0.0.1' ])
{
	my ($name, $why, @settings) = @$case;
	my $other = start_gateway($node, @settings);
	like(gateway_log($other), $why, "$name: it does not start");
	eval { $other->{run}->finish };
}
my $anonymous = start_gateway($node, jwt_key_file => '', anonymous_role => 'nurse');
is(ask($anonymous, 'GET', $path)->{status}, 200, 'without a token as the anonymous role');
is(ask($anonymous, 'GET', $path, as => 'boss')->{status}, 401, 'a token is not taken where there is no key');
stop_gateway($anonymous);
my $mapped = start_gateway($node, role_claim => 'realm.role', role_map => 'Site Nurse=nurse,admin=boss', prepare => 0);
is(ask($mapped, 'GET', $path, headers => { Authorization => 'Bearer ' . hs256({ %good, realm => { role => 'Site Nurse' } }) })->{status}, 200, 'a role by its claim and map, without prepared statements');
is(ask($mapped, 'GET', $path, headers => { Authorization => 'Bearer ' . hs256({ %good, realm => { role => $_ } }) })->{status}, 403, "not $_") for 'nurse', 'Site', '', 'Site Nurse=nurse';
stop_gateway($mapped);
my $superuser = start_gateway($node, database => $node->connstr('postgres'), unready => 1);
ok(wait_for(sub { gateway_log($superuser) =~ /must not be a superuser/ }, 5), 'it does not serve as a superuser');
is(ask($superuser, 'GET', $path, as => 'nurse')->{status}, 503, 'but says that it cannot');
stop_gateway($superuser);

done_testing();
