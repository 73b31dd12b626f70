# clinical-gateway: tokens whose keys are in a JWK Set, which key a token has, and what happens when the set changes.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Gateway;
use Digest::SHA qw(hmac_sha256);
use JSON::PP ();
use MIME::Base64 qw(encode_base64url);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'clinical-gateway was not built: its libraries are not here' unless -x $PROGRAM;
plan skip_all => 'no openssl' if system('openssl version >/dev/null 2>&1') != 0;

my $node = gateway_node('gateway_jwks');
my $dir = PostgreSQL::Test::Utils::tempdir();
my $set = "$dir/set.json";
my $path = '/api/v1/patient/near';
my %good = (role => 'nurse', aud => 'study', exp => time + 3600);

# A file with these bytes, put in its place at once.
sub put
{
	my ($file, $bytes) = @_;
	open my $out, '>:raw', "$file.new" or die $!;
	print $out $bytes;
	close $out;
	rename "$file.new", $file or die $!;
	return $file;
}

# A set of keys, as text.
sub set_of { return JSON::PP->new->canonical->encode({ keys => [@_] }) }

# A pair of keys that openssl makes, or a secret: a JWK of the public one, and a file or bytes to sign with.
my $made = 0;
sub new_key
{
	my ($algorithm, $kid, %more) = @_;
	my $file = "$dir/key" . $made++;
	my %jwk = (defined $kid ? (kid => $kid) : (), %more);
	my $secret = join '', map { chr int rand 256 } 1 .. 40;
	return { jwk => { %jwk, kty => 'oct', k => encode_base64url($secret) }, secret => $secret } if $algorithm eq 'HS256';
	my $size = delete $jwk{bits} // 2048;
	my $curve = delete $jwk{curve} // 'P-256';
	my $make = $algorithm eq 'RS256' ? "RSA -pkeyopt rsa_keygen_bits:$size" : "EC -pkeyopt ec_paramgen_curve:$curve";
	system("openssl genpkey -algorithm $make -out $file 2>/dev/null && openssl pkey -in $file -pubout -out $file.pem") == 0 or die;
	if ($algorithm eq 'RS256')
	{
		my ($modulus) = `openssl rsa -in $file -noout -modulus` =~ /=([0-9A-F]+)/ or die;
		%jwk = (%jwk, kty => 'RSA', n => encode_base64url(pack 'H*', $modulus), e => 'AQAB');
	}
	else
	{
		my $point = substr `openssl pkey -in $file -pubout -outform DER`, $curve eq 'P-256' ? -64 : -96;
		my $half = length($point) / 2;
		%jwk = (%jwk, kty => 'EC', crv => $curve, x => encode_base64url(substr $point, 0, $half), y => encode_base64url(substr $point, $half));
	}
	return { jwk => \%jwk, file => $file, pem => "$file.pem" };
}

# A token that a key signs; its header as text.
sub token_of
{
	my ($key, $header, %claims) = @_;
	my $text = join '.', map { encode_base64url($_) } $header, JSON::PP::encode_json({ %good, %claims });
	return "$text." . encode_base64url(hmac_sha256($text, $key->{secret})) if defined $key->{secret};
	my $sha = $header =~ /512"/ ? 'sha512' : 'sha256';
	put("$dir/text", $text);
	my $bytes = `openssl dgst -$sha -sign $key->{file} $dir/text`;
	if ($key->{jwk}{kty} eq 'EC')
	{
		# two numbers in DER, of 32 bytes each in a token
		my @numbers = $bytes =~ /\A\x30.\x02(.)(.*)\z/s ? do { my $n = ord $1; (substr($2, 0, $n), substr($2, $n + 2)) } : ();
		$bytes = join '', map { substr(("\0" x 32) . $_, -32) } @numbers;
	}
	return "$text." . encode_base64url($bytes);
}

sub header { my ($algorithm, $kid) = @_; return JSON::PP->new->canonical->encode({ alg => $algorithm, typ => 'JWT', defined $kid ? (kid => $kid) : () }) }
sub status { my ($gateway, $token) = @_; return ask($gateway, 'GET', $path, headers => { Authorization => "Bearer $token" })->{status} }

# Has the file read again; what the log says of it.
sub reload
{
	my ($gateway) = @_;
	my $before = () = gateway_log($gateway) =~ /"event":"keys"/g;
	$gateway->{run}->signal('HUP');
	wait_for(sub { my $now = () = gateway_log($gateway) =~ /"event":"keys"/g; $now > $before }, 10);
	return (map { json($_)->{message} } grep { /"event":"keys"/ } split /\n/, gateway_log($gateway))[-1];
}

my %stranger = map { $_ => new_key($_, 'stranger') } qw(RS256 ES256 HS256);
for my $algorithm (qw(RS256 ES256 HS256))
{
	my ($one, $two, $three, $unnamed) = (new_key($algorithm, 'one'), new_key($algorithm, 'two', use => 'sig', alg => $algorithm, key_ops => [ 'sign', 'verify' ]), new_key($algorithm, 'three'), new_key($algorithm));
	# keys that are none for these tokens
	my %others = (use => new_key($algorithm, 'enc', use => 'enc'), alg => new_key($algorithm, 'alg', alg => $algorithm =~ s/256/512/r), operations => new_key($algorithm, 'ops', key_ops => ['encrypt']), kind => $stranger{ $algorithm eq 'RS256' ? 'ES256' : 'RS256' });
	my @rest = ((map { $_->{jwk} } values %others), { kty => 'OKP', crv => 'Ed25519', x => 'AA', kid => 'okp' }, { kty => 'EC', crv => 'P-384', kid => 'p384', x => 'AA', y => 'AA' });
	put($set, set_of($one->{jwk}, @rest, $two->{jwk}));
	my $gateway = start_gateway($node, jwt_algorithm => $algorithm, jwt_key_file => '', jwt_jwks_file => $set);
	cmp_ok($gateway->{port}, '>', 0, "$algorithm: it takes a set") or diag gateway_log($gateway);
	is(status($gateway, token_of($one, header($algorithm, 'one'))), 200, "$algorithm: the first key");
	is(status($gateway, token_of($two, header($algorithm, 'two'))), 200, "$algorithm: the second key");
	is(status($gateway, token_of($one, header($algorithm, 'one'), exp => 1)), 401, "$algorithm: an expired token");
	is(status($gateway, token_of($two, header($algorithm, 'one'))), 401, "$algorithm: the second, and it says that it is the first");
	is(status($gateway, token_of($stranger{$algorithm}, header($algorithm, 'one'))), 401, "$algorithm: a key that is not there, and it says that it is the first");
	is(status($gateway, token_of($one, header($algorithm, $_))), 401, "$algorithm: kid '$_'") for 'three', '', 'ONE', 'one ';
	is(status($gateway, token_of($one, header($algorithm, "one\0"))), 401, "$algorithm: a kid with a null character");
	is(status($gateway, token_of($one, header($algorithm))), 401, "$algorithm: no kid, and there are two keys");
	is(status($gateway, token_of($one, "{\"alg\":\"$algorithm\",$_}")), 401, "$algorithm: $_") for '"kid":1', '"kid":null', '"kid":["one"]', '"kid":"two","kid":"one"', '"kid":"one","crit":["x"],"x":1';
	is(status($gateway, token_of($one, "{\"alg\":\"$algorithm\",\"kid\":\"one\",\"x5c\":[\"" . ('x' x 1000) . '"]}')), 200, "$algorithm: what else is in the header is of no interest");
	is(status($gateway, token_of($others{$_}, header($algorithm, $others{$_}{jwk}{kid}))), 401, "$algorithm: a key for another $_") for qw(use alg operations);
	is(status($gateway, token_of($others{kind}, header($algorithm eq 'RS256' ? 'ES256' : 'RS256', 'stranger'))), 401, "$algorithm: a key of another kind, and its algorithm");
	is(status($gateway, token_of($one, header($_, 'one'))), 401, "$algorithm: alg $_") for 'none', $algorithm =~ s/256/512/r, lc $algorithm, '', 'HS384', $algorithm eq 'HS256' ? 'RS256' : 'HS256';
	my $token = token_of($one, header($algorithm, 'one'));
	is(status($gateway, $token =~ s/\./=./r), 401, "$algorithm: padding");
	is(status($gateway, $token =~ s/\.[^.]*\z/./r), 401, "$algorithm: no signature");
	is(status($gateway, substr $token, 0, $_), 401, "$algorithm: $_ characters of it") for 1, 10, 40;
	for my $wrong (map { defined $one->{pem} ? ($_, $_ =~ s/\n\z//r) : () } map { $_ ? slurp_file($_) : '' } $one->{pem})
	{
		is(status($gateway, token_of({ secret => $wrong }, header('HS256', 'one'))), 401, "$algorithm: the public key is no secret");
	}
	is(status($gateway, token_of({ secret => MIME::Base64::decode_base64url($one->{jwk}{n} // $one->{jwk}{x} // '') }, header('HS256', 'one'))), 401, "$algorithm: nor is a part of it");

	# the keys change
	put($set, set_of($two->{jwk}, $three->{jwk}));
	is(status($gateway, $token), 200, "$algorithm: a file that has changed is not read by itself");
	is(reload($gateway), 'jwt_jwks_file was read again: 2 keys', "$algorithm: at SIGHUP it is");
	is(status($gateway, $token), 401, "$algorithm: the first key is no more");
	is(status($gateway, token_of($_, header($algorithm, $_->{jwk}{kid}))), 200, "$algorithm: key $_->{jwk}{kid} is one") for $two, $three;
	put($set, '{');
	is(reload($gateway), 'jwt_jwks_file is no JWK Set: a JSON object with an array, keys; the keys stay those that they were', "$algorithm: a file that is broken is not taken");
	put($set, set_of($one->{jwk}, { %{ $three->{jwk} }, kid => 1 }));
	is(reload($gateway), 'jwt_jwks_file a kid must be a string; the keys stay those that they were', "$algorithm: nor is half a file");
	unlink $set;
	is(reload($gateway), 'jwt_jwks_file cannot be read, is empty or too large; the keys stay those that they were', "$algorithm: nor one that is not there");
	is(status($gateway, token_of($three, header($algorithm, 'three'))), 200, "$algorithm: the third key is still one");
	is(status($gateway, $token), 401, "$algorithm: and the first still none");

	# one key only
	put($set, set_of($one->{jwk}, @rest));
	is(reload($gateway), 'jwt_jwks_file was read again: 1 keys', "$algorithm: one key for these tokens");
	is(status($gateway, token_of($one, header($algorithm))), 200, "$algorithm: is that of a token without kid");
	is(status($gateway, token_of($two, header($algorithm))), 401, "$algorithm: if it signed it");
	is(status($gateway, token_of($one, header($algorithm, 'two'))), 401, "$algorithm: and not of one that names another");
	put($set, set_of($unnamed->{jwk}, @rest));
	reload($gateway);
	is(status($gateway, token_of($unnamed, header($algorithm))), 200, "$algorithm: a key without kid, too");
	is(status($gateway, token_of($unnamed, header($algorithm, 'one'))), 401, "$algorithm: which no kid names");
	put($set, set_of($unnamed->{jwk}, $one->{jwk}));
	reload($gateway);
	is(status($gateway, token_of($unnamed, header($algorithm))), 401, "$algorithm: with another key it has no tokens");
	is(status($gateway, token_of($one, header($algorithm, 'one'))), 200, "$algorithm: and that one has");
	unlike(gateway_log($gateway), qr/eyJ|near/, "$algorithm: no token is in the log");
	is(stop_gateway($gateway), 0, "$algorithm: it stops");
}

# How it ended, which it should do at once.
sub ended
{
	my ($gateway) = @_;
	$gateway->{run}->signal('TERM') if $gateway->{port} > 0;
	$gateway->{run}->finish;
	return $gateway->{run}->result;
}

# --- what is not in order: the gateway does not start --------------------------------------------------
my ($rsa, $ec, $oct) = map { new_key($_, 'a')->{jwk} } qw(RS256 ES256 HS256);
my $flipped = $ec->{y} =~ s/^(.)/$1 eq 'A' ? 'B' : 'A'/re;
my $no_set = qr/jwt_jwks_file is no JWK Set/;
my $no_key = qr/jwt_jwks_file has no key for jwt_algorithm/;
my $n = qr/jwt_jwks_file n or e of an RSA key is missing, too long or no base64url/;
my $no_good = qr/jwt_jwks_file a key is no good public key/;
my $x = qr/jwt_jwks_file x or y of an EC key is missing, or not 32 bytes in base64url/;
my @cases = (
	[ 'an empty file', '', qr/jwt_jwks_file cannot be read, is empty or too large/ ], [ 'a large file', set_of($rsa) . ' ' x 262144, qr/is empty or too large/ ],
	[ 'no JSON', 'x', $no_set ], [ 'JSON that goes on', set_of($rsa) . '}', $no_set ], [ 'an array', '[]', $no_set ], [ 'an object', '{}', $no_set ], [ 'keys that are none', '{"keys":{}}', $no_set ], [ 'a PEM', slurp_file("$dir/key0.pem"), $no_set ],
	[ 'keys twice', '{"keys":[],"keys":[]}', $no_set ], [ 'a null character', '{"keys":[],"a":"\u0000"}', $no_set ], [ 'deep JSON', '{"keys":' . '[' x 3000, $no_set ], [ 'no UTF-8', "{\"keys\":[],\"a\":\"\xff\"}", $no_set ],
	[ 'a key that is a number', '{"keys":[7]}', qr/a key is no object with a string, kty/ ], [ 'a key of no kind', '{"keys":[{}]}', qr/a key is no object/ ], [ 'a key of a strange kind', '{"keys":[{"kty":1}]}', qr/a key is no object/ ],
	[ 'no keys', '{"keys":[]}', $no_key ], [ 'keys of other kinds', set_of($ec, $oct), $no_key ], [ 'a key that is not for this', set_of({ %$rsa, use => 'enc' }), $no_key ], [ 'an odd use', set_of({ %$rsa, use => ['sig'] }), $no_key ],
	[ 'no n', set_of({ kty => 'RSA', e => 'AQAB' }), $n ], [ 'no e', set_of({ kty => 'RSA', n => $rsa->{n} }), $n ], [ 'n with padding', set_of({ %$rsa, n => "$rsa->{n}==" }), $n ], [ 'n in base64', set_of({ %$rsa, n => '+' . substr $rsa->{n}, 1 }), $n ], [ 'n of a single character', set_of({ %$rsa, n => 'A' }), $n ],
	[ 'n that is a number', set_of({ %$rsa, n => 7 }), $n ], [ 'n of many bytes', set_of({ %$rsa, n => 'A' x 1400 }), $n ], [ 'e with bits left over', set_of({ %$rsa, e => 'AR' }), $n ], [ 'e of many bytes', set_of({ %$rsa, e => 'AAAAAAAAAAAAAQAB' }), $n ],
	[ 'e that is even', set_of({ %$rsa, e => 'AQAA' }), $no_good ], [ 'e of zero', set_of({ %$rsa, e => 'AA' }), $no_good ], [ 'n of zero', set_of({ %$rsa, n => 'A' x 342 }), $no_good ],
	[ 'a short key', set_of(new_key('RS256', 'a', bits => 1024)->{jwk}), qr/must have 2048 bits at least/ ], [ 'a kid twice', set_of($rsa, $rsa), qr/two keys have the same kid/ ], [ 'a kid that is a number', set_of({ %$rsa, kid => 7 }), qr/a kid must be a string/ ],
	[ 'many keys', set_of(map { { %$rsa, kid => "k$_" } } 1 .. 65), qr/there are more than 64 keys/ ],
	[ 'no x', set_of({ kty => 'EC', crv => 'P-256', y => $ec->{y} }), $x, 'ES256' ], [ 'a short x', set_of({ %$ec, x => 'AAAA' }), $x, 'ES256' ], [ 'a long y', set_of({ %$ec, y => "$ec->{y}AAAA" }), $x, 'ES256' ], [ 'a point that is not on the curve', set_of({ %$ec, y => $flipped }), $no_good, 'ES256' ],
	[ 'the point at zero', set_of({ %$ec, x => 'A' x 43, y => 'A' x 43 }), $no_good, 'ES256' ], [ 'another curve', set_of(new_key('ES256', 'a', curve => 'P-384')->{jwk}), $no_key, 'ES256' ],
	[ 'no k', set_of({ kty => 'oct' }), qr/k of a secret is missing, too long or no base64url/, 'HS256' ], [ 'a long k', set_of({ kty => 'oct', k => 'A' x 6000 }), qr/k of a secret is missing, too long/, 'HS256' ], [ 'a short secret', set_of({ kty => 'oct', k => encode_base64url('x' x 31) }), qr/a secret must have 32 bytes/, 'HS256' ]);
for my $case (@cases)
{
	my ($name, $text, $why, $algorithm) = @$case;
	put($set, $text);
	my $gateway = start_gateway($node, jwt_algorithm => $algorithm // 'RS256', jwt_key_file => '', jwt_jwks_file => $set, unready => 1);
	is(ended($gateway), 1, "$name: it does not start");
	like(gateway_log($gateway), $why, "$name: and says why");
}
put($set, set_of($oct));
for my $case ([ 'a file that is not there', qr/jwt_jwks_file cannot be read/, jwt_key_file => '', jwt_jwks_file => "$dir/none" ], [ 'a directory', qr/jwt_jwks_file cannot be read/, jwt_key_file => '', jwt_jwks_file => $dir ],
	[ 'two files', qr/jwt_key_file and jwt_jwks_file are both set/, jwt_jwks_file => $set ], [ 'no audience', qr/jwt_audience is not set/, jwt_key_file => '', jwt_jwks_file => $set, jwt_audience => '' ],
	[ 'no algorithm that is one', qr/jwt_algorithm must be HS256, RS256 or ES256/, jwt_key_file => '', jwt_jwks_file => $set, jwt_algorithm => 'HS512' ])
{
	my ($name, $why, @settings) = @$case;
	my $gateway = start_gateway($node, @settings, unready => 1);
	is(ended($gateway), 1, "$name: it does not start");
	like(gateway_log($gateway), $why, "$name: and says why");
}

# --- a key in a file of its own is read again, too -------------------------------------------------------
my $file = put("$dir/secret", 'x' x 40 . "\n");
my $gateway = start_gateway($node, jwt_key_file => $file);
is(status($gateway, token_of({ secret => 'x' x 40 }, header('HS256', $_))), 200, 'one key: any kid, or none') for undef, 'one';
put($file, 'y' x 40);
is(reload($gateway), 'jwt_key_file was read again: 1 keys', 'it is read again');
is(status($gateway, token_of({ secret => $_ x 40 }, header('HS256'))), $_ eq 'y' ? 200 : 401, "the secret of $_") for qw(x y);
put($file, 'short');
is(reload($gateway), 'jwt_key_file the secret must have 32 bytes at least; the keys stay those that they were', 'a short one is not taken');
is(status($gateway, token_of({ secret => 'y' x 40 }, header('HS256'))), 200, 'and the key stays');
is(stop_gateway($gateway), 0, 'it stops');
$gateway = start_gateway($node, jwt_key_file => '', anonymous_role => 'nurse');
$gateway->{run}->signal('HUP');
is(ask($gateway, 'GET', $path)->{status}, 200, 'where there are no keys, SIGHUP does nothing') for 1 .. 3;
is(stop_gateway($gateway), 0, 'and it stops');

done_testing();
