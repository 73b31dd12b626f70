# The configuration of nginx that doc/http.md shows, in front of the gateway: what the documents say of it holds.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Gateway;
use IntakeSession;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($nginx) = grep { -x } map { "$_/nginx" } split(/:/, $ENV{PATH}), '/usr/sbin';
plan skip_all => 'no nginx here' unless defined $nginx && -x '/usr/bin/openssl' && -x '/usr/bin/curl';

my $node = gateway_node('gateway_nginx');
my $gateway = start_gateway($node);
my $dir = $node->basedir;
my $port = PostgreSQL::Test::Cluster::get_free_port();
run_log([ 'openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost',
		'-keyout', "$dir/study.key", '-out', "$dir/study.pem" ], '2>', \my $ignored) or die 'no certificate';

# The configuration as it is shown, but for the paths and ports.
my ($shown) = slurp_file('doc/http.md') =~ /^```nginx\n(.*?)^```/ms;
is($shown =~ s,/etc/ssl/,$dir/,g, 2, 'the files of the certificate');
is($shown =~ s/127\.0\.0\.1:8080/127.0.0.1:$gateway->{port}/, 1, 'where the gateway is');
is($shown =~ s,/var/log/nginx/,$dir/,, 1, 'where its errors go');
is($shown =~ s/listen 443/listen 127.0.0.1:$port/, 1, 'where nginx is');
append_to_file("$dir/nginx.conf", "daemon off; pid $dir/nginx.pid; error_log $dir/nginx.log;\nevents {}\nhttp {\n"
	  . join('', map { "${_}_temp_path $dir/$_;\n" } qw(client_body proxy fastcgi uwsgi scgi)) . "$shown}\n");
my $proxy = IPC::Run::start([ $nginx, '-p', $dir, '-c', "$dir/nginx.conf", '-e', "$dir/nginx.log" ], '<', \'', '>', \my $out, '2>', \my $err);

# Asks by way of nginx, as a role; the status, and what came.
sub through
{
	my ($role, $path, @more) = @_;
	my ($body, $error) = ('', '');
	IPC::Run::run([ 'curl', '-s', '--cacert', "$dir/study.pem", '-w', '\n%{http_code}', '-H', 'Authorization: Bearer ' . ($role eq 'none' ? 'none' : token($role)), @more, "https://localhost:$port$path" ],
		'>', \$body, '2>', \$error);
	return $body =~ /\A(.*)\n(\d+)\z/s ? ($2, $1) : (0, $body . $error);
}
ok(wait_for(sub { (through('nurse', '/healthz'))[0] == 404 }), 'nginx is there, and keeps /healthz to the house') or diag slurp_file("$dir/nginx.log");
is((through('nurse', '/metrics'))[0], 404, 'and /metrics');
my ($status, $body) = through('nurse', '/api/v1/patient/a%2Fb%20c%25%C3%A9%2B');
is($status, 200, 'an id that is percent-encoded arrives as it is');
like($body, qr{"id": "a/b c%\xc3\xa9\+"}, 'and is that of the patient');
is((through('none', '/api/v1/patient/near'))[0], 401, 'the token is the gateway\'s to judge');
($status, $body) = through('phone', '/api/epro/submit', '-d', '{"patientId": "near", "reportData": {"n": 4}}');
is($status, 202, 'a report is taken');
append_to_file("$dir/large", 'x' x (5 * 1024 * 1024));
is((through('phone', '/api/epro/submit', '--data-binary', "\@$dir/large"))[0], 413, 'one that is too large is not');

# who goes away
my $holder = session($node, 'postgres');
answers($holder, 'BEGIN; LOCK TABLE clinical.monitor_rule_version IN ACCESS EXCLUSIVE MODE');
my $client = IPC::Run::start([ 'curl', '-s', '--cacert', "$dir/study.pem", '-H', 'Authorization: Bearer ' . token('nurse'),
	"https://localhost:$port/api/v1/projects/S%2F1/report?from=2026-01-01&to=2026-07-01" ], '>', \my $nothing);
my $made = q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'gateway' AND state = 'active' AND query ~ 'http_make_report'};
ok(wait_for(sub { $node->safe_psql('postgres', $made) == 1 }), 'a report is made');
$client->kill_kill;
ok(wait_for(sub { $node->safe_psql('postgres', $made) == 0 }), 'and is not any more when the client has gone');
answers($holder, 'ROLLBACK');

# too many at a time: a second has 20, and 40 at once
my ($many, $errors) = ('', '');
IPC::Run::run([ 'curl', '-s', '--cacert', "$dir/study.pem", '-Z', '--parallel-max', '50', '-H', 'Authorization: Bearer ' . token('nurse'),
	'-o', '/dev/null', '-w', '%{http_code}\n', "https://localhost:$port/api/v1/patient/near?[1-400]" ], '>', \$many, '2>', \$errors);
my %seen;
$seen{$_}++ for split /\n/, $many;
is(join(' ', sort keys %seen), '400 429', 'most of very many are refused') or diag $many;

$proxy->signal('QUIT');
$proxy->finish;
is(stop_gateway($gateway), 0, 'the gateway ends');
unlike(slurp_file("$dir/nginx.log") . slurp_file("$dir/study.log"), qr{/patient/}, 'the logs tell of no patient');
ok(!-e "$dir/logs/access.log", 'nor is there another one');
done_testing();
