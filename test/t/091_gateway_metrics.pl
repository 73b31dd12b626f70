# clinical-gateway: what it counts and gives to Prometheus, and the document that describes its routes.
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

plan skip_all => 'clinical-gateway was not built: its libraries are not here' unless -x $PROGRAM;

my $node = gateway_node('gateway_metrics');
$node->safe_psql('postgres', 'CREATE ROLE prometheus IN ROLE pg_monitor; GRANT prometheus TO gateway');

# The metrics of a gateway: the text, and series by their names with labels.
sub metrics
{
	my ($gateway, %options) = @_;
	my $r = ask($gateway, 'GET', '/metrics', %options);
	is($r->{status}, 200, 'metrics are given') or diag $r->{content};
	my %series;
	for my $line (grep { !/^#/ } split /\n/, $r->{content})
	{
		my ($name, $value) = $line =~ /^(\S+?(?:\{.*\})?) (\S+)$/ or die "no series: $line";
		fail("$name is there once") if exists $series{$name};
		$series{$name} = $value;
	}
	return ($r, %series);
}

# Whether its metrics have such a line.
sub gives { my ($gateway, $line) = @_; return ask($gateway, 'GET', '/metrics')->{content} =~ /^$line/m }

# Is it text that Prometheus takes?
sub is_exposition
{
	my ($r, $name) = @_;
	is($r->{headers}{'content-type'}, 'text/plain; version=0.0.4; charset=utf-8', "$name: the format is told");
	my %told;
	$told{$_}++ for $r->{content} =~ /^# ((?:HELP|TYPE) \w+)/mg;
	is_deeply([ grep { $told{$_} > 1 } sort keys %told ], [], "$name: each family is told of once");
	SKIP:
	{
		skip 'promtool is not here', 1 if system('command -v promtool >/dev/null') != 0;
		my ($text, $said) = ($r->{content}, '');
		ok(IPC::Run::run([ 'promtool', 'check', 'metrics' ], '<', \$text, '>&', \$said) && $said eq '', "$name: promtool has nothing to say") or diag $said;
	}
	return;
}

# --- metrics ---------------------------------------------------------------------------------------
my $gateway = start_gateway($node, metrics_role => 'prometheus', max_body => 100000);
my ($r, %before) = metrics($gateway);
is_exposition($r, 'at first');
like($r->{content}, qr/^# TYPE clinical_gateway_requests_total counter\n.*^# TYPE clinical_intake_received_total counter\n/ms, 'the gateway\'s own, and those of the extension after them');
is($before{clinical_gateway_extension_metrics_success}, 1, 'it says that they are there');
like(join(' ', grep { /build_info/ } keys %before), qr/^clinical_gateway_build_info\{version="0\.1",libmicrohttpd="[0-9.]+",libpq="\d+"\}$/, 'which build it is');
cmp_ok(abs($before{clinical_gateway_start_time_seconds} - time), '<', 300, 'when it was started');

ask($gateway, 'GET', '/api/v1/patient/near', as => 'nurse') for 1 .. 3;
ask($gateway, 'HEAD', '/api/v1/patient/near', as => 'nurse');
ask($gateway, 'GET', '/api/v1/patient/canary', as => 'nurse');
ask($gateway, 'GET', '/api/v1/patient/near');
ask($gateway, 'GET', '/api/v1/patient/near', as => 'phone');
ask($gateway, 'GET', "/canary/$_") for 1 .. 20;
ask($gateway, "CANARY$_", '/api/v1/patients') for 1 .. 20;
ask($gateway, 'PUT', '/api/v1/projects');
sub requests { my ($method, $route, $status) = @_; return qq(clinical_gateway_requests_total{method="$method",route="$route",status="$status"}) }
my %after;
($r, %after) = metrics($gateway);
is_exposition($r, 'afterwards');
my %counted = (requests(qw(GET /api/v1/patient/{id} 200)) => 3, requests(qw(HEAD /api/v1/patient/{id} 200)) => 1, requests(qw(GET /api/v1/patient/{id} 404)) => 1,
	requests(qw(GET /api/v1/patient/{id} 401)) => 1, requests(qw(GET /api/v1/patient/{id} 403)) => 1, requests(qw(GET none 404)) => 20, requests(qw(other none 405)) => 20,
	requests(qw(PUT none 405)) => 1);
is_deeply({ map { $_ => $after{$_} } grep { /requests_total.*(patient\/|none)/ } keys %after }, \%counted, 'requests are counted by method, route and status, and all that are none together');
is($after{ requests(qw(GET /metrics 200)) }, 1, 'those for metrics, too');
unlike($r->{content}, qr/canary|near/i, 'no id, no path, no word of a client');
my $took = 'clinical_gateway_request_duration_seconds';
my $route = 'method="GET",route="/api/v1/patient/{id}"';
sub bound { return $_[0] =~ /le="([\d.]+)/ ? $1 : 1e9 }
my @buckets = map { $after{$_} } sort { bound($a) <=> bound($b) } grep { /^\Q${took}_bucket{$route,/ } keys %after;
is(scalar @buckets, 17, 'a histogram of each route');
is_deeply(\@buckets, [ sort { $a <=> $b } @buckets ], 'that is cumulative');
is($after{"${took}_bucket{$route,le=\"+Inf\"}"}, 7, 'of all its requests');
is($after{"${took}_count{$route}"}, 7, 'which are as many');
cmp_ok($after{"${took}_sum{$route}"}, '>', 0, 'and took their time');
cmp_ok($after{"${took}_sum{$route}"}, '<', 60, 'in seconds');
is(scalar(grep { /^\Q$took\E_count/ } keys %after), scalar(() = slurp_file('src/gateway/route.c') =~ /^\t\{"[A-Z]+", "/mg), 'each route has one from the start');

# what the pool does: two calls, one that waits, and one too many
my $busy = start_gateway($node, pool_size => 2, max_waiting => 1, metrics_role => 'prometheus');
my $running = q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'gateway' AND state = 'active' AND wait_event_type = 'Lock'};
my $holder = IntakeSession::session($node, 'postgres');
my $lock = 'BEGIN; LOCK TABLE clinical.project IN ACCESS EXCLUSIVE MODE';
IntakeSession::answers($holder, $lock);
my $request = "GET /api/v1/projects/S%2F1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " . token('nurse') . "\r\n\r\n";
sub connect_to { my ($to, $text) = @_; my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $to->{port}) or die; print $socket $text; $socket->flush; return $socket }
my @sockets = map { connect_to($busy, $request) } 1 .. 3;
ok(wait_for(sub { $node->safe_psql('postgres', $running) eq '2' }, 10), 'the pool is full');
is(wait_for(sub { my $got = ask($busy, 'GET', '/api/v1/patient/near', as => 'nurse'); $got->{status} == 503 && $got->{status} }), 503, 'and so is its queue');
($r, %after) = metrics($busy);
is_exposition($r, 'when all is busy');
sub figures { my ($has, @names) = @_; return { map { $_ => $has->{"clinical_gateway_$_"} } @names } }
my @figures = ('pool_connections{state="busy"}', 'pool_connections{state="idle"}', 'pool_waiting_requests{queue="normal"}', 'pool_waiting_requests{queue="slow"}',
	'pool_rejected_total{reason="queue_full"}', 'pool_rejected_total{reason="no_connection"}', 'pool_cancelled_calls_total', 'requests_in_progress', 'extension_metrics_success');
is_deeply([ @{ figures(\%after, @figures) }{@figures} ], [ 2, 0, 1, 0, 1, 0, 0, 4, 0 ], 'connections, waiting requests, refused ones; and no metrics of the extension, for want of a connection');
ok(!exists $after{clinical_intake_received_total}, 'so there are none');
cmp_ok($after{clinical_gateway_client_connections}, '>=', 4, 'connections of clients');
cmp_ok($after{clinical_gateway_client_connections}, '<=', 8, 'which are those that are open');
select undef, undef, undef, 0.3;
$_->close for @sockets;
ok(wait_for(sub { $node->safe_psql('postgres', $running) eq '0' }, 10), 'the clients go');
IntakeSession::answers($holder, 'ROLLBACK');
ok(wait_for(sub { gives($busy, 'clinical_intake_received_total \d') }), 'and there is room for metrics again');
(undef, %after) = metrics($busy);
IntakeSession::answers($holder, $lock);
is_deeply([ @{ figures(\%after, @figures) }{@figures} ], [ 1, 1, 0, 0, 1, 0, 2, 1, 1 ], 'two calls were cancelled');
$route = 'method="GET",route="/api/v1/projects/{code}"';
is($after{"${took}_bucket{$route,le=\"0.25\"}"}, 0, 'none of the three was so short');
is($after{"${took}_count{$route}"}, 3, 'all are counted');
is($after{ requests(qw(GET /api/v1/projects/{code} 499)) }, 3, 'as those whose clients went');
is(stop_gateway($busy), 0, 'it stops');

# metrics wait for a connection for a short time only
my $single = start_gateway($node, pool_size => 1, request_timeout => 60, slow_timeout => 120, metrics_role => 'prometheus');
my $socket = connect_to($single, "GET /api/v1/projects/S%2F1/report?from=2026-01-01&to=2026-04-01 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " . token('nurse') . "\r\n\r\n");
ok(wait_for(sub { $node->safe_psql('postgres', $running) eq '1' }, 10), 'the only connection is taken');
my $begun = time;
($r, %after) = metrics($single, timeout => 100);
cmp_ok(time - $begun, '<', 40, 'metrics come soon');
is($after{clinical_gateway_extension_metrics_success}, 0, 'those of the extension are not waited for');
is($after{'clinical_gateway_pool_connections{state="busy"}'}, 1, 'and the gateway\'s own are there');
$socket->close;
IntakeSession::answers($holder, 'ROLLBACK');
IntakeSession::end_session($holder);
ok(wait_for(sub { gives($single, 'clinical_gateway_extension_metrics_success 1') }), 'later all are');
is_deeply([ map { $_->{message} } grep { $_->{event} eq 'metrics' } map { json($_) } split /\n/, gateway_log($single) ],
	[ 'the extension gives no metrics: status 504', 'the extension gives its metrics again' ], 'the log has that, once');
stop_gateway($single);

# who may read them
is(ask($gateway, 'GET', '/metrics', headers => { Authorization => 'Bearer x' })->{status}, 200, 'no token is looked at');
for my $header ('Forwarded', 'X-Forwarded-For', 'X-Real-IP', 'Via')
{
	my $got = ask($gateway, 'GET', '/metrics', headers => { $header => 'for=192.0.2.1' });
	is_deeply([ $got->{status}, $got->{json}{detail} ], [ 403, 'metrics are for clients on the gateway\'s machine' ], "a client behind a proxy ($header) is none of this machine");
}
is(ask($gateway, 'GET', '/metrics?x=1')->{status}, 400, 'there are no parameters');
is(ask($gateway, 'HEAD', '/metrics')->{status}, 200, 'HEAD');
my ($address) = grep { /^[\d.]+$/ && !/^127\./ } split ' ', `hostname -I 2>/dev/null`;
for my $case ([ 'loopback', 200, 403, 403 ], [ 'all', 200, 200, 200 ], [ 'off', 404, 404, 404 ])
{
	my ($setting, $here, $there, $proxied) = @$case;
	my $other = start_gateway($node, listen => '0.0.0.0:0', metrics => $setting);
	my $got = ask($other, 'GET', '/metrics');
	is($got->{status}, $here, "metrics=$setting: from 127.0.0.1");
	ok($got->{content} !~ /extension_metrics|clinical_intake/, "metrics=$setting: without a role for it nothing of the extension");
	is(ask($other, 'GET', '/metrics', headers => { Via => 'x' })->{status}, $proxied, "metrics=$setting: by a proxy");
	SKIP:
	{
		skip 'no address but that of loopback', 1 unless $address;
		is(HTTP::Tiny->new->get("http://$address:$other->{port}/metrics")->{status}, $there, "metrics=$setting: from elsewhere");
	}
	stop_gateway($other);
}
SKIP:
{
	my $other = start_gateway($node, listen => '[::1]:0');
	skip 'no IPv6', 1 if $other->{port} < 1;
	is(HTTP::Tiny->new->get("http://[::1]:$other->{port}/metrics")->{status}, 200, 'from ::1');
	stop_gateway($other);
}
for my $role ('nobody', 'stranger', 'none')
{
	my $other = start_gateway($node, metrics_role => $role);
	(undef, %after) = metrics($other);
	is($after{clinical_gateway_extension_metrics_success}, 0, "metrics_role=$role, which may not: only the gateway's own");
	stop_gateway($other);
}
my $wrong = start_gateway($node, metrics => 'perhaps', unready => 1);
$wrong->{run}->signal('TERM') if $wrong->{port} > 0;
$wrong->{run}->finish;
is($wrong->{run}->result, 2, 'it does not start');
like(${ $wrong->{errors} }, qr/metrics: must be loopback, all or off/, 'another setting is none');

# the server goes, and comes back
$node->stop('fast');
ok(wait_for(sub { ask($gateway, 'GET', '/readyz')->{status} == 503 }, 5), 'there is no server');
is(ask($gateway, 'GET', '/api/v1/patient/near', as => 'nurse')->{status}, 503, 'so patients are not');
metrics($gateway);
($r, %after) = metrics($gateway);
is_exposition($r, 'without a server');
is(scalar(() = gateway_log($gateway) =~ /the extension gives no metrics/g), 1, 'the log has it once');
is_deeply([ @after{ 'clinical_gateway_extension_metrics_success', 'clinical_gateway_pool_rejected_total{reason="no_connection"}', 'clinical_gateway_pool_connections{state="idle"}', 'clinical_gateway_pool_reconnects_total' } ],
	[ 0, 1, 0, 0 ], 'but the gateway\'s own metrics are');
is($after{'clinical_gateway_pool_connections{state="down"}'} + $after{'clinical_gateway_pool_connections{state="connecting"}'}, 4, 'which say that no connection is');
$node->start;
ok(wait_for(sub { gives($gateway, 'clinical_gateway_pool_reconnects_total 4') }), 'all connections were made again');
(undef, %after) = metrics($gateway);
is($after{clinical_gateway_extension_metrics_success}, 1, 'and the extension has its metrics');

# --- the document of all routes --------------------------------------------------------------------------
my $file = 'doc/openapi.json';
$r = ask($gateway, 'GET', '/openapi.json');
is_deeply([ $r->{status}, $r->{headers}{'content-type'} ], [ 200, 'application/json' ], 'the document is served');
ok($r->{content} eq slurp_file($file), 'byte for byte as it stands in doc');
is(ask($gateway, 'HEAD', '/openapi.json')->{headers}{'content-length'}, -s $file, 'HEAD');
my $document = $r->{json};
is($document->{info}{version}, (slurp_file('clinical.control') =~ /^default_version = '(.*)'/m)[0], 'its version is that of the extension');

# An object that a reference stands for.
sub resolved
{
	my ($object) = @_;
	my $path = $object->{'$ref'} // return $object;
	my $found = $document;
	$found = $found->{$_} for grep { $_ ne '#' } split m,/,, $path;
	return $found // die "nothing at $path";
}

# What a route takes, as the gateway's table has it, and as the document does.
my (%has, %says);
for (slurp_file('src/gateway/route.c') =~ /^\t(\{"[A-Z]+", "\/.*\})/mg)
{
	my ($method, $path, $arguments) = /^\{"([A-Z]+)", "([^"]+)", \w+, [^{]*\{([^}]*)\}(?:, \w+)?\}$/ or die "no route: $_";
	my @variables = map { "path $_" } $path =~ /\{(\w+)\}/g;
	my @takes = map { m,^/(\d),  ? $variables[$1] : /^\?(.*)/ ? "query $1" : $_ eq 'body' ? 'body' : $_ eq 'Accept' ? 'Accept' : "header $_" } $arguments =~ /"([^"]+)"/g;
	$has{"$method $path"} = join ', ', sort @takes;
}
for my $path (sort keys %{ $document->{paths} })
{
	for my $method (sort keys %{ $document->{paths}{$path} })
	{
		my $operation = $document->{paths}{$path}{$method};
		my @takes = map { my $p = resolved($_); "$p->{in} $p->{name}" } @{ $operation->{parameters} // [] };
		push @takes, 'body' if $operation->{requestBody};
		push @takes, 'Accept' if keys %{ $operation->{responses}{200}{content} // {} } > 1;
		$says{ uc($method) . " $path" } = join ', ', sort @takes;
	}
}
# this route has no row until the gateway has server-sent events
is_deeply(\%says, \%has, 'each route is in it, with its method and parameters, and no other');
for my $operation (map { values %$_ } values %{ $document->{paths} })
{
	is_deeply($operation->{security} // 'a token', $operation->{tags}[0] eq 'gateway' ? [] : 'a token', "$operation->{operationId}: who needs a token");
}

# Answers, each of which the document must describe.
my @answers;
sub answered
{
	my ($template, $method, $path, %options) = @_;
	my $got = ask($gateway, $method, $path, %options);
	push @answers, { method => lc $method, path => $template, status => "$got->{status}", type => ($got->{headers}{'content-type'} // '') =~ s/;.*//r, headers => $got->{headers}, content => $got->{content} };
	return $got;
}
my $id = '00000000-0000-4000-8000-000000000001';
my $report = { patientId => 'near', reportData => { n => 9 }, submissionId => $id, capturedAt => '2026-02-01T10:00:00Z' };
answered('/api/v1/patient/{id}', 'GET', '/api/v1/patient/near', as => 'nurse');
answered('/api/v1/patient/{id}', 'GET', '/api/v1/patient/none', as => 'nurse');
answered('/api/v1/patient/{id}', 'GET', '/api/v1/patient/', as => 'nurse');
answered('/api/v1/patient/{id}', 'GET', '/api/v1/patient/near', as => 'phone');
answered('/api/v1/patient/{id}', 'GET', '/api/v1/patient/near');
answered('/api/v1/patient/{id}', 'GET', '/api/v1/patient/near', as => 'nurse', content => 'x' x 100001);
answered('/api/v1/patients', 'GET', "/api/v1/patients?$_", as => 'nurse') for 'limit=1', 'after=z', 'limit=0', 'x=1';
answered('/api/v1/projects', 'POST', '/api/v1/projects', as => 'boss', content => $_) for { name => 'New', centerIds => [ 1, 2 ], code => 'N/1' }, { name => 'Other', centerIds => [1], code => 'N/1' }, { name => 'Lost', centerIds => [99] }, 'x' x 100001;
answered('/api/v1/projects/{code}', 'GET', "/api/v1/projects/$_", as => 'boss') for 'N%2F1', 'none';
answered('/api/epro/submit', 'POST', '/api/epro/submit', as => 'phone', content => $_) for $report, $report, { %$report, reportData => { n => 1 } }, [ $report, { %$report, submissionId => '00000000-0000-4000-8000-000000000002' } ], [ $report, 7 ], [], '{';
answered('/api/epro/patients/{patient}/submissions/{id}', 'GET', "/api/epro/patients/near/submissions/$_", as => 'nurse') for $id, '00000000-0000-4000-8000-000000000009', 'x';
ok(wait_for(sub { ask($gateway, 'GET', "/api/epro/patients/near/submissions/$id", as => 'nurse')->{json}{status} eq 'accepted' }), 'a report is processed');
answered('/api/epro/patients/{patient}/submissions/{id}', 'GET', "/api/epro/patients/near/submissions/$id", as => 'nurse');
$r = answered('/api/v1/alerts', 'GET', '/api/v1/alerts?project=S%2F1', as => 'nurse');
is(scalar @{ $r->{json}{alerts} }, 1, 'there is an alert');
answered('/api/v1/patients/{patient}/alerts/{id}/acknowledge', 'POST', "/api/v1/patients/near/alerts/$r->{json}{alerts}[0]{alertId}/acknowledge", as => 'nurse') for 1 .. 2;
$r = answered('/api/v1/projects/{code}/reports', 'POST', '/api/v1/projects/S%2F1/reports', as => 'nurse', content => { from => '2026-01-01', to => '2026-04-01', options => { sections => ['status'] } });
my $location = $r->{headers}{location};
wait_for(sub { answered('/api/v1/reports/{id}', 'GET', $location, as => 'nurse')->{status} != 202 });
answered('/api/v1/reports/{id}', 'GET', $location, as => 'nurse', headers => { Accept => 'text/html' });
answered('/api/v1/reports/{id}', 'DELETE', $location, as => 'nurse');
$node->safe_psql('postgres', 'SELECT clinical.stop_workers()');
$r = answered('/api/v1/projects/{code}/reports', 'POST', '/api/v1/projects/S%2F1/reports', as => 'nurse', content => { from => '2026-01-01', to => '2026-04-01' });
answered('/api/v1/reports/{id}', $_, $r->{headers}{location}, as => 'nurse') for qw(GET DELETE GET);
answered('/api/v1/reports/{id}', 'GET', '/api/v1/reports/x', as => 'nurse');
answered('/api/v1/projects/{code}/report', 'GET', '/api/v1/projects/S%2F1/report?from=2026-01-01&to=2026-04-01', as => 'nurse', headers => { Accept => $_ }) for '*/*', 'text/html';
answered('/api/v1/projects/{code}/report', 'GET', '/api/v1/projects/S%2F1/report', as => 'nurse');
answered($_, 'GET', $_) for qw(/healthz /readyz /metrics /openapi.json);
answered('/metrics', 'GET', '/metrics', headers => { Via => 'x' });
answered('/healthz', 'GET', '/healthz?x=1');
stop_gateway($gateway);
# A stream does not end; this is what the gateway hands on, from an hour ago.
push @answers, { method => 'get', path => '/api/v1/alerts/stream', status => 200, type => 'text/event-stream', headers => {},
	content => $node->safe_psql('postgres', q{SELECT (clinical.http_stream_alerts('S/1', concat_ws('-', m - 3600000000, m, 3, 3, 0))).content FROM (SELECT (extract(epoch FROM now()) * 1000000)::bigint AS m) x}) };
like($answers[-1]{content}, qr/"event": "acknowledged"/, 'a stream has events');

my %seen = map { uc("$_->{method}") . " $_->{path}" => 1 } grep { $_->{status} < 300 } @answers;
is_deeply([ grep { !$seen{$_} } sort keys %has ], [], 'each route was seen to succeed') or diag explain [ map { "$_->{method} $_->{path} $_->{status}" } @answers ];

# Each answer against its schema, which here must know every key.
my $checker = <<'EOF';
import json, re, sys
import jsonschema

document = json.load(open(sys.argv[1]))

def resolve(node):
    while '$ref' in node:
        target = document
        for part in node['$ref'].split('/')[1:]:
            target = target[part]
        node = target
    return node

def close(node):
    if isinstance(node, dict):
        if '$ref' in node:
            resolve(node)
        if isinstance(node.get('properties'), dict):
            node.setdefault('additionalProperties', False)
        for value in node.values():
            close(value)
    elif isinstance(node, list):
        for value in node:
            close(value)

def check(where, schema, text):
    schema = dict(schema, components=document['components'])
    checker = jsonschema.FormatChecker()
    for error in jsonschema.Draft202012Validator(schema, format_checker=checker).iter_errors(json.loads(text)):
        print(where, error.message[:300])

close(document)
for name, schema in document['components']['schemas'].items():
    jsonschema.Draft202012Validator.check_schema(schema)
for line in open(sys.argv[2]):
    answer = json.loads(line)
    answer['status'] = str(answer['status'])
    where = '%(method)s %(path)s: %(status)s %(type)s' % answer
    responses = document['paths'][answer['path']][answer['method']]['responses']
    if answer['status'] not in responses and 'default' not in responses:
        print(where, 'is not described')
        continue
    response = resolve(responses.get(answer['status'], responses.get('default')))
    for name, header in response.get('headers', {}).items():
        if resolve(header).get('required') and name.lower() not in answer['headers']:
            print(where, 'has no', name)
    for name in ('location', 'retry-after', 'www-authenticate'):
        if name in answer['headers'] and name not in [n.lower() for n in response.get('headers', {})]:
            print(where, 'has a header that is not described:', name)
    if answer['type'] not in response['content']:
        print(where, 'is of a type that is not described')
        continue
    content = response['content'][answer['type']]
    if 'json' in answer['type']:
        check(where, content['schema'], answer['content'])
    elif 'x-events' in content:
        for event, data in re.findall(r'^event: (.*)\ndata: (.*)$', answer['content'], re.M):
            check(where + ' ' + event, content['x-events'][event], data)
EOF
my $list = 0;
sub checked
{
	my @list = @_;
	my $lines = $node->basedir . '/answers' . $list++;
	append_to_file($lines, join '', map { JSON::PP->new->latin1->canonical->encode($_) . "\n" } @list);
	my ($out, $err) = run_command([ '/usr/bin/python3', '-c', $checker, $file, $lines ]);
	return "$out$err";
}
SKIP:
{
	skip 'no python3 with jsonschema', 1 if system('/usr/bin/python3 -c "import jsonschema" 2>/dev/null') != 0;
	is(checked(@answers), '', scalar(@answers) . ' answers are as the document has them');
	my ($good) = grep { $_->{path} eq '/api/v1/patient/{id}' && $_->{status} == 200 } @answers;
	my ($stream) = grep { $_->{path} =~ /stream/ } @answers;
	my %wrong = ('an event without a key' => { %$stream, content => $stream->{content} =~ s/"eventNo": \d+, //r }, 'a key that is not described' => { %$good, content => $good->{content} =~ s/\{/{"x": 1, /r }, 'a key that is missing' => { %$good, content => $good->{content} =~ s/"birthDate": "[^"]*", //r },
		'a value of another type' => { %$good, content => $good->{content} =~ s/"near"/7/r }, 'another type of content' => { %$good, type => 'text/plain' }, 'a status without its header' => { %$good, status => 503, type => 'application/problem+json', content => '{"type": "a", "title": "b", "status": 503, "detail": "c"}' });
	isnt(checked($wrong{$_}), '', "it would be seen: $_") for sort keys %wrong;
}

# A validator of OpenAPI documents, from the registry, if that can be reached.
SKIP:
{
	my $scratch = PostgreSQL::Test::Utils::tempdir();
	skip 'no node, or npm cannot install @seriousme/openapi-schema-validator', 2
		if system('node --version >/dev/null 2>&1') != 0
		|| system("cd '$scratch' && HOME='$scratch' timeout 120 npm install --prefix . --no-save --no-audit --no-fund --fetch-retries 0 \@seriousme/openapi-schema-validator\@2 >npm.log 2>&1") != 0;
	my @validate = ('node', "$scratch/node_modules/\@seriousme/openapi-schema-validator/bin/validate-api-cli.js");
	my $said = '';
	ok(IPC::Run::run([ @validate, $file ], '>&', \$said), 'a validator of OpenAPI documents takes it') or diag $said;
	append_to_file("$scratch/broken.json", slurp_file($file) =~ s/"responses": \{/"response": {/r);
	ok(!IPC::Run::run([ @validate, "$scratch/broken.json" ], '>&', \$said), 'and would not take every one');
}

done_testing();
