# What the tests of clinical-gateway share: a study with roles, the program, tokens, and clients.
package Gateway;
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256);
use Exporter 'import';
use HTTP::Tiny;
use IO::Socket::INET;
use IPC::Run ();
use JSON::PP ();
use MIME::Base64 qw(encode_base64url);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

our @EXPORT = qw($PROGRAM $SECRET gateway_node start_gateway stop_gateway gateway_log log_lines token hs256 ask raw wait_for json);

# Where the build has it, or another build of it, and the secret of its tokens.
our $PROGRAM = $ENV{CLINICAL_GATEWAY} // 'src/gateway/clinical-gateway';
our $SECRET = 'a secret of the tests that has more than 32 bytes';

# What a build with sanitizers has to say is on the standard error of one of these.
my @started;
$ENV{ASAN_OPTIONS} //= 'detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1';
$ENV{UBSAN_OPTIONS} //= 'print_stacktrace=1';
END
{
	for my $said (grep { /Sanitizer|runtime error/ } map { ${ $_->{errors} } } @started)
	{
		diag $said;
		$? = 1;
	}
}

sub json { return JSON::PP->new->canonical->allow_nonref->decode($_[0]) }

# A server with a study, a role for each kind of caller, and the gateway's own.
sub gateway_node
{
	my ($name, @conf) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', join "\n", "shared_preload_libraries = 'clinical'", "log_min_duration_statement = -1", 'max_connections = 60', @conf);
	$node->start;
	$node->safe_psql('postgres', q{
CREATE EXTENSION clinical;
SELECT clinical.create_center('Near', 'N'), clinical.create_center('Far', 'F');
SELECT clinical.create_project_with_centers('Study', '{1, 2}', 'S/1');
SELECT clinical.create_instrument('{"code": "diary", "version": "1", "items": [{"code": "n", "type": "integer"}]}');
SELECT clinical.use_instrument('S/1', 'diary', true);
SELECT clinical.create_rule('{"code": "R", "project": "S/1", "kind": "threshold", "severity": "serious", "items": [{"item": "n", "range": "[0,8]"}]}');
SELECT clinical.enroll_patient(id, 'Name of ' || id, '1950-05-17', 'S/1', center, '{"arm": "A"}', effective_on => '2026-01-10')
  FROM (VALUES ('near', 1), ('far', 2), ('a/b c%é+', 1)) v (id, center);
CREATE ROLE nurse; CREATE ROLE phone; CREATE ROLE boss; CREATE ROLE nobody; CREATE ROLE stranger;
GRANT clinical_investigator TO nurse; GRANT clinical_intake TO phone; GRANT clinical_admin TO boss;
CREATE ROLE gateway LOGIN NOINHERIT;
GRANT nurse, phone, boss, nobody TO gateway;
SELECT clinical.grant_center('nurse', 1)});
	return $node;
}

# Waits until a sub gives something true; what it gives.
sub wait_for
{
	my ($what, $seconds) = @_;
	my $end = time + ($seconds // 30);
	while (1)
	{
		my $got = $what->();
		return $got if $got || time > $end;
		select undef, undef, undef, 0.01;
	}
}

# Starts the program with settings; what is known of it.
sub start_gateway
{
	my ($node, %settings) = @_;
	my $log = $node->basedir . '/gateway_' . int(rand(1e9)) . '.log';
	my $key = "$log.key";
	append_to_file($key, "$SECRET\n");
	my $unready = delete $settings{unready};
	my %all = (listen => '127.0.0.1:0', database => $node->connstr('postgres') . ' user=gateway', jwt_algorithm => 'HS256', jwt_key_file => $key,
		jwt_audience => 'study', pool_size => 4, %settings);
	my $errors = '';
	my %gateway = (log => $log, errors => \$errors,
		run => IPC::Run::start([ $PROGRAM, map { "--$_=$all{$_}" } sort keys %all ], '<', \'', '>', $log, '2>', \$errors));
	push @started, \%gateway;
	# one that ends at once may have done so before it is looked at, which pump_nb takes for an error
	$gateway{port} = wait_for(sub { eval { $gateway{run}->pump_nb }; my $said = -e $log ? slurp_file($log) : ''; $said =~ /listening on port (\d+)/ ? $1 : $gateway{run}->pumpable ? 0 : -1 }, 10);
	return \%gateway if $gateway{port} < 1;
	$gateway{pid} = $gateway{run}{KIDS}[0]{PID};
	wait_for(sub { my $r = ask(\%gateway, 'GET', '/readyz'); $r->{status} == 200 }, 10) unless $unready;
	return \%gateway;
}

# Stops it; 0 if it ended well.
sub stop_gateway
{
	my ($gateway, $signal) = @_;
	$gateway->{run}->signal($signal // 'TERM');
	return $gateway->{run}->finish ? 0 : 1;
}

sub gateway_log { return slurp_file($_[0]{log}) }

# Lines of its log, decoded, about requests.
sub log_lines { my ($gateway) = @_; return grep { $_->{event} eq 'request' } map { json($_) } split /\n/, gateway_log($gateway) }

# A token of HS256.
sub hs256
{
	my ($claims, $secret, $header) = @_;
	my $text = join '.', map { encode_base64url(JSON::PP->new->canonical->encode($_)) } $header // { alg => 'HS256', typ => 'JWT' }, $claims;
	return "$text." . encode_base64url(hmac_sha256($text, $secret // $SECRET));
}

# The token of a role, with other claims.
sub token { my ($role, %claims) = @_; return hs256({ role => $role, aud => 'study', exp => int(time) + 600, sub => "user of $role", %claims }) }

# Sends a request; status, headers, content, and json if it is that.  as: a role; otherwise HTTP::Tiny's options.
sub ask
{
	my ($gateway, $method, $path, %options) = @_;
	my $role = delete $options{as};
	$options{headers}{Authorization} = 'Bearer ' . token($role) if defined $role;
	$options{content} = JSON::PP->new->utf8->encode($options{content}) if ref $options{content} && ref $options{content} ne 'CODE';
	my $timeout = delete $options{timeout} // 60;
	my $r = HTTP::Tiny->new(timeout => $timeout, keep_alive => 0)->request($method, "http://127.0.0.1:$gateway->{port}$path", \%options);
	$r->{json} = eval { JSON::PP->new->utf8->decode($r->{content}) } if ($r->{headers}{'content-type'} // '') =~ /json/;
	return $r;
}

# Sends bytes as they are; all that comes back until the connection is closed.
sub raw
{
	my ($gateway, $bytes, $seconds) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) or die "no connection: $!";
	print $socket $bytes;
	$socket->flush;
	my ($answer, $end) = ('', time + ($seconds // 20));
	while (time < $end)
	{
		my $bits = '';
		vec($bits, fileno $socket, 1) = 1;
		next unless select $bits, undef, undef, 0.1;
		my $got = sysread $socket, my $piece, 65536;
		last unless $got;
		$answer .= $piece;
	}
	return $answer;
}

1;
