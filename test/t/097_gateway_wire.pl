# clinical-gateway and requests that are not what they should be, byte by byte: what can be read in two ways is refused,
# what is malformed is answered or cut off, a header of an answer stays one header, and nothing of it harms who comes next.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Gateway;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'clinical-gateway was not built: its libraries are not here' unless -x $PROGRAM;

my $node = gateway_node('wire');
my $gateway = start_gateway($node, header_timeout => 3, body_timeout => 3, idle_timeout => 3);
my %long = (exp => int(time) + 7200);
my ($nurse, $phone) = map { 'Authorization: Bearer ' . token($_, %long) } qw(nurse phone);
my $number = 0;

# A request of these lines.
sub lines { return join "\r\n", @_ }
# The head of a submission, with these lines, and its body.
sub post { my ($body, @lines) = @_; return lines('POST /api/epro/submit HTTP/1.1', 'Host: x', $phone, @lines, '', $body) }
sub get { my ($path, @lines) = @_; return lines("GET $path HTTP/1.1", 'Host: x', $nurse, 'Connection: close', @lines, '', '') }
sub new_id { return sprintf '00000000-0000-4000-8000-%012x', ++$number }
sub report { return sprintf '{"patientId": "near", "reportData": {"n": 1}, "submissionId": "%s"}', $_[0] // new_id() }
sub chunk { my ($text, $more) = @_; return sprintf "%x%s\r\n%s\r\n", length $text, $more // '', $text }
# The statuses of all answers that come.  What libmicrohttpd itself refuses it may say twice, as 0.9.75 does.
sub statuses { my ($text) = @_; return join ' ', ($text =~ s,\A(HTTP/1\.1 4\d\d (?:[^\r]+\r\n)+\r\n)\1,$1,r) =~ m,HTTP/1\.[01] (\d{3}) (?!Continue),g }
# How many reports are there.
sub stored { return $node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT id FROM clinical.submission UNION SELECT submission_id FROM clinical.staged_report) s') }

# --- bodies ------------------------------------------------------------------------------------------
my $next = get('/api/v1/patient/near');
my $body = report();
my $length = length $body;
my $small = 'Content-Length: 3';
my ($chunked, $close, $end) = ('Transfer-Encoding: chunked', 'Connection: close', "0\r\n\r\n");
my @bodies = (
	[ 'a length', 202, sub { post($_[0], "Content-Length: $length", $close) } ],
	[ 'chunks, with extensions and a trailer', 202, sub { post(chunk(substr($_[0], 0, 5), ';a=b;c="d"') . chunk(substr $_[0], 5) . "0;x\r\nX-Trailer: y\r\n\r\n", $chunked, $close) } ],
	[ 'chunks of one byte', 202, sub { post(join('', map { chunk($_) } split //, $_[0]) . $end, $chunked, $close) } ],
	[ 'a trailer that is a header of another kind', 202, sub { post(chunk($_[0]) . "0\r\nContent-Length: 3\r\n\r\n", $chunked, $close) } ],
	[ 'no chunk', 400, sub { post($end, $chunked, $close) } ],
	[ 'no length', 400, sub { post('', $close) } ],
	# what is refused here ends the connection: what follows is no request
	[ 'a length and chunks', 400, sub { post(chunk($_[0]) . "$end$next", "Content-Length: $length", $chunked) } ],
	[ 'chunks and a length', 400, sub { post(chunk($_[0]) . "$end$next", $chunked, $small) } ],
	[ 'two lengths', 400, sub { post("$_[0]$next", "Content-Length: $length", $small) } ],
	[ 'two lengths, the other way round', 400, sub { post("$_[0]$next", $small, "Content-Length: $length") } ],
	[ 'one length twice', 400, sub { post("$_[0]$next", "Content-Length: $length", "content-length: $length") } ],
	[ 'two encodings', 400, sub { post(chunk($_[0]) . "$end$next", $chunked, 'Transfer-Encoding: identity') } ],
	[ 'an encoding that is none', 501, sub { post(chunk($_[0]) . "$end$next", 'Transfer-Encoding: xchunked') } ],
	[ 'an encoding around another', 501, sub { post(chunk($_[0]) . "$end$next", 'Transfer-Encoding: gzip, chunked') } ],
	[ 'chunks of HTTP/1.0', 400, sub { post(chunk($_[0]) . "$end$next", $chunked) =~ s,HTTP/1\.1,HTTP/1.0,r } ]);
for my $case (@bodies)
{
	my ($name, $status, $text) = @$case;
	my $before = stored();
	is(statuses(raw($gateway, $text->(report()), 10)), $status, "body: $name");
	is(stored() - $before, $status == 202 ? 1 : 0, "body: $name: how many reports are new");
}
for my $bad ('-1', '+3', '3, 3', '0x3', '3 3', '', '18446744073709551616', '99999999999999999999999')
{
	unlike(statuses(raw($gateway, post("$body$next", "Content-Length: $bad"), 10)), qr/2\d\d/, "body: the length $bad");
}
for my $bad ('zz', '-5', '0x5', 'ffffffffffffffff', 'fffffffffffffffffffff', '5', '', ' ')
{
	unlike(statuses(raw($gateway, post("$bad\r\n$body\r\n0\r\n\r\n$next", 'Transfer-Encoding: chunked'), 10)), qr/2\d\d/, "body: a chunk of $bad");
}
is(statuses(raw($gateway, get('/api/v1/patient/near', $small) . 'abc', 10)), 200, 'body: of a GET, it is passed over');
is(statuses(raw($gateway, get('/api/v1/patient/near', $small) =~ s/Connection: close\r\n//r . "abc$next", 10)), '200 200', 'body: and the next request begins after it');
my $before = stored();
is(statuses(raw($gateway, post('', 'Content-Length: 100000000', 'Expect: 100-continue'), 10)), 413, 'Expect: it is too large');
my $answer = raw($gateway, post(report(), "Content-Length: $length", 'Expect: 100-continue', 'Connection: close'), 10);
like($answer, qr,\AHTTP/1\.1 100 Continue\r\n\r\nHTTP/1\.1 202 ,, 'Expect: it is expected');
unlike(raw($gateway, post('', "Content-Length: $length", 'Expect: 100-continue') =~ s/Authorization: .*\r\n//r, 10), qr/ 100 Continue/, 'Expect: not from nobody');
is(stored() - $before, 1, 'Expect: and stored');

# --- headers ------------------------------------------------------------------------------------------
my $path = '/api/v1/patient/near';
for my $case ([ 'Authorization', $nurse, $phone ], [ 'Authorization, once more', $phone, $nurse ], [ 'the same Authorization', $nurse, $nurse ], [ 'Host', $nurse, 'Host: y' ])
{
	my ($name, @lines) = @$case;
	$answer = raw($gateway, lines("GET $path HTTP/1.1", 'Host: x', 'Connection: close', @lines, '', ''), 10);
	is(statuses($answer), 400, "headers: two: $name");
	like($answer, qr/a header is there more than once/, "headers: two: $name: it is told");
}
$before = stored();
is(statuses(raw($gateway, post(report(), "Content-Length: $length", map({ 'Idempotency-Key: ' . new_id() } 1, 2), 'Connection: close'), 10)), 400, 'headers: two Idempotency-Key');
is(stored() - $before, 0, 'headers: none of which is taken');
is(statuses(raw($gateway, lines("GET $path HTTP/1.1", $nurse, '', ''), 10)) =~ /^400/, 1, 'headers: no Host');
is(statuses(raw($gateway, get($path, map { "X-$_: y" } 1 .. 100), 10)), 200, 'headers: many');
is(statuses(raw($gateway, get($path, map { "X-$_: y" } 1 .. 5000), 10)), 431, 'headers: very many');
is(statuses(raw($gateway, get($path, map { 'X: ' . 'y' x 300 } 1 .. 5000), 10)), 431, 'headers: very many, and large');
is(statuses(raw($gateway, get($path, 'no colon'), 10)), 400, 'headers: a line that is none');
unlike(statuses(raw($gateway, lines("GET $path HTTP/1.1", 'Host: x', 'Connection: close', 'Authorization : ' . substr($nurse, 15), '', ''), 10)), qr/2\d\d/, 'headers: a space before the colon');
# what another program takes for the length of the body, or for an id, is not passed over: the body would be a request
for my $bad ("Content-Length:\r\n %d", "Content-Length:\r\n\t%d", 'Content-Length : %d', "Content-Length\t: %d")
{
	is(statuses(raw($gateway, post(get($path), sprintf $bad, length get($path)), 10)), 400, 'headers: ' . $bad =~ s/\s/~/gr);
}
is(statuses(raw($gateway, post(chunk(get($path)) . "0\r\n\r\n", $_), 10)), 400, 'headers: ' . s/\s/~/gr) for "Transfer-Encoding:\r\n chunked", 'Transfer-Encoding : chunked';
for my $line ("Idempotency-Key:\r\n %s", "Idempotency-Key: %s\r\n more", 'Idempotency-Key : %s', "X Y: %s")
{
	$before = stored();
	is(statuses(raw($gateway, post(report(), sprintf($line, new_id()), "Content-Length: $length", 'Connection: close'), 10)), 400, 'headers: ' . $line =~ s/\s/~/gr);
	is(stored() - $before, 0, 'headers: nothing is stored');
}
for my $bad ("\xff", "\xed\xa0\x80", "\xc0\xaf", "\xf4\x90\x80\x80")
{
	my $name = unpack 'H*', $bad;
	like(raw($gateway, post('{"patientId": "near", "reportData": {}}', 'Content-Length: 39', "Idempotency-Key: $bad", 'Connection: close'), 10),
		qr,\AHTTP/1\.1 400 .*"the request is no text in UTF-8",s, "headers: Idempotency-Key of $name");
	is(statuses(raw($gateway, post(report(), "Content-Length: $length", "traceparent: $_", 'Connection: close'), 10)), 202, "headers: traceparent with $name is none")
	  for $bad, '00-' . 'a' x 32 . '-' . 'b' x (18 - length $bad) . "$bad-1";
}
like(raw($gateway, get('/api/v1/reports/x', "Accept: \xff"), 10), qr,\AHTTP/1\.1 400 ,, 'headers: Accept');
is(statuses(raw($gateway, get($path) =~ s/Bearer /Bearer \xff/r, 10)), 401, 'headers: Authorization');

# --- URIs -----------------------------------------------------------------------------------------------
my @parameters = ('/api/v1/patient/%s', '/api/v1/projects/%s', '/api/epro/patients/%s/submissions/x', '/api/epro/patients/near/submissions/%s', '/api/v1/reports/%s',
	map({ "/api/v1/patients?$_=%s" } qw(project center contains after limit)), map({ "/api/v1/alerts?$_=%s" } qw(project limit)),
	map({ "/api/v1/projects/S%%2F1/report?$_" } 'from=%s&to=2026-04-01', 'from=2026-01-01&to=%s', 'from=2026-01-01&to=2026-04-01&options=%s'));
for my $parameter (@parameters)
{
	# no text, a part of a character, a surrogate, too long a form of /, of a null character, beyond Unicode
	my @bad = grep { statuses(raw($gateway, get(sprintf $parameter, $_), 10)) ne '400' } '%ff', 'a%C3', '%ED%A0%80', '%c0%af', '%C0%80', '%F4%90%80%80', "\xff", '%00', 'a%00b', '%0', '%', '%g0';
	is("@bad", '', "URI: bad text in $parameter");
}
for my $prefix ('http://x', 'http://x:80', 'HTTPS://else.example', 'http://user@[::1]:8080')
{
	is(statuses(raw($gateway, get("$prefix$path"), 10)), 200, "URI: in absolute form, $prefix");
	is(statuses(raw($gateway, get("$prefix/none"), 10)), 404, "URI: no path, $prefix");
}
is(statuses(raw($gateway, get('http://x/api/v1/patients?limit=1'), 10)), 200, 'URI: in absolute form, with parameters');
is(statuses(raw($gateway, get($_), 10)), 400, "URI: $_") for 'http://x', 'http://', 'http:/api/v1/patient/near', 'ftp://x/api/v1/patient/near', 'api/v1/patient/near', '*', 'http://x?limit=1';
is(statuses(raw($gateway, get($_), 10)), 404, "URI: $_ is no such path") for '/api/v1/patient/../patient/near', '/./api/v1/patient/near', '/api/v1/patient/near#x/y', '/api/v1/patient/near;x', 'http://x//api/v1/patient/near';
is(statuses(raw($gateway, get('/api/v1/patient/%2525'), 10)), 404, 'URI: decoded once');
unlike(statuses(raw($gateway, $_, 10)), qr/2\d\d/, 'no request: ' . unpack 'H*', $_)
	for "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" . 'x' x 100, "GET $path x HTTP/1.1\r\nHost: x\r\n$nurse\r\n\r\n", "GET $path\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET\r\n\r\n", "\r\n\r\n\r\n\r\n", "\0" x 1000, "GET $path HTTP/9.9\r\nHost: x\r\n$nurse\r\n\r\n", ' ' x 1000 . "\r\n\r\n";

# --- headers of an answer that a function gives ---------------------------------------------------------
$node->safe_psql('postgres', q{
CREATE OR REPLACE FUNCTION clinical.http_get_project(code text) RETURNS clinical.http_response LANGUAGE sql STABLE AS $$
SELECT ROW(201, pg_catalog.jsonb_build_object('Location', code, 'X-Kept', 'yes', E'X-Name\r\nSet-Cookie', 'a', E'X-Other\nSet-Cookie: a', 'b', 'X', E'\x01', ': ', 'c', '', 'd', 'X-Long', pg_catalog.repeat('l', 20000)), '{}'::pg_catalog.jsonb, NULL)::clinical.http_response $$});
for my $code ("x\r\nSet-Cookie: a=b", "x\nSet-Cookie: a=b", "x\rSet-Cookie: a=b", "x\r\n\r\n<html>", "x\n\nHTTP/1.1 200 OK", "\nSet-Cookie: a=b")
{
	my $encoded = $code =~ s/([^a-zA-Z])/sprintf '%%%02X', ord $1/ger;
	$answer = raw($gateway, get("/api/v1/projects/$encoded"), 10);
	my ($head, $rest) = split /\r\n\r\n/, $answer, 2;
	like($head, qr,\AHTTP/1\.1 201 ,, "answer: $encoded");
	is_deeply([ grep { !/^(HTTP\/1\.1 201 Created|Connection: close|Date: .*|Cache-Control: no-store|X-Content-Type-Options: nosniff|Content-Type: application\/json|Content-Length: 2|Location: x?(Set-Cookie: a=b|<html>|HTTP\/1\.1 200 OK)|X-Kept: yes|X: .*|X-NameSet-Cookie: a|X-OtherSet-Cookie: a: b)$/ } split /\r\n/, $head ], [], "answer: $encoded: no header that is not");
	like($head, qr/^X-Kept: yes\r?$/m, "answer: $encoded: the others are there");
	is($rest, '{}', "answer: $encoded: nor a body");
}

is(ask($gateway, 'GET', $path, as => 'nurse')->{status}, 200, 'after all that, it serves');
unlike(gateway_log($gateway), qr/near|eyJ|Set-Cookie/, 'and has said nothing of it');
is(scalar(grep { $_->{status} == 0 } log_lines($gateway)), 0, 'each that is logged has a status');
is(stop_gateway($gateway), 0, 'it ends well');

done_testing();
