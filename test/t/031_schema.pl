# The JSON Schema in doc/ says of a definition what the server says.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('schema');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION clinical');

# Definitions: what comes with the extension, one with every key, and each key of it made wrong.
my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my $every = {
	code => 'every', version => '1', title => 'All keys', url => 'http://example.org/every', codes => [ { system => 's', code => 'c', display => 'd', version => '1' } ], fhir => { id => 'x' },
	items => [
		{ code => 'a', label => 'A', type => 'decimal', required => JSON::PP::true, unit => 'kg', units => [ 'g', { unit => 'x', factor => 2, offset => 1 } ], decimals => 2, hidden => JSON::PP::true,
			codes => [ { code => 'c' } ], fhir => {}, checks => [ { id => 'i', comparator => 'IN', values => [ 1, 2 ], soft_hard => 'Soft', message => 'm' } ] },
		{ code => 'b', type => 'coded', open => JSON::PP::true, max_length => 5, code_type => 'coding', code_list => [ { code => 'x', label => 'X', system => 's', score => 1, fhir => {} } ],
			repeats => JSON::PP::true, min_repeats => 1, max_repeats => 2, items => [ { code => 'd', type => 'date', partial => JSON::PP::true } ] },
		{ code => 'e', type => 'text', multiline => JSON::PP::true, enable_behavior => 'any', enable_when => [ { item => 'a', operator => '>', answer => 1 } ] },
		{ code => 'g', type => 'group', items => [ { code => 'f', type => 'boolean' } ] } ],
	scores => [ { code => 's', label => 'S', method => 'prorated', items => [ 'a', 'f' ], maxima => [ 3, 1 ], min_answered => 1, decimals => 1, unit => '1', codes => [ { code => 'c' } ] } ] };
my @definitions = split /\n/, $node->safe_psql('postgres', 'SELECT definition FROM clinical.shipped_instruments()');
push @definitions, $json->encode($every);

# Each place of a document, and the document with another value there, or without it.
sub variants
{
	my ($document) = @_;
	my @found;
	my $walk;
	$walk = sub {
		my ($at, $copy) = @_;
		my @keys = ref $at eq 'HASH' ? sort keys %$at : ref $at eq 'ARRAY' ? 0 .. $#$at : ();
		for my $key (@keys)
		{
			next if $key eq 'fhir';
			my $place = ref $at eq 'HASH' ? \$at->{$key} : \$at->[$key];
			my $old = $$place;
			for my $wrong ('', 'wrong', ' x', -1, 1.5, 1e7, JSON::PP::true, [], {}, [ {} ], { wrong => 1 })
			{
				$$place = $wrong;
				push @found, $json->encode($document);
			}
			$$place = $old;
			if (ref $at eq 'HASH')
			{
				delete $at->{$key};
				push @found, $json->encode($document);
				$at->{$key} = undef;
				push @found, $json->encode($document);
				$at->{$key} = $old;
				$at->{wrong} = 1;
				push @found, $json->encode($document);
				delete $at->{wrong};
			}
			$walk->($$place);
		}
	};
	$walk->($document);
	my %seen;
	return grep { !$seen{$_}++ } @found;
}
push @definitions, variants($every);
cmp_ok(scalar @definitions, '>', 1000, 'many definitions');

# What the server says of each.
my $file = $node->basedir . '/definitions';
append_to_file($file, join('', map { "$_\n" } @definitions));
$node->safe_psql('postgres', qq{
CREATE TABLE definition (id serial, line jsonb);
COPY definition (line) FROM '$file' (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02');
CREATE FUNCTION is_sound(definition jsonb) RETURNS boolean LANGUAGE plpgsql AS \$\$
BEGIN
    PERFORM clinical.create_instrument(definition);
    RAISE SQLSTATE 'ZZZZZ';
EXCEPTION WHEN SQLSTATE 'ZZZZZ' THEN RETURN true;
    WHEN invalid_parameter_value THEN RETURN false;
END
\$\$});
my @server = split /\n/, $node->safe_psql('postgres', 'SELECT is_sound(line) FROM definition ORDER BY id');

# And the schema.
my $checker = <<'EOF';
import json, sys
import jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for line in open(sys.argv[2]):
    print("t" if validator.is_valid(json.loads(line)) else "f")
EOF
my ($out, $err) = run_command([ '/usr/bin/python3', '-c', $checker, 'doc/instrument.schema.json', $file ]);
my @schema = split /\n/, $out;
is(scalar @schema, scalar @definitions, 'the schema is one') or diag($err);
is(join(' ', @schema[ 0 .. 3 ]), 't t t t', 'sound definitions are valid');

# The schema must take whatever the server takes; it cannot see what depends on two places.
my @stricter = grep { $server[$_] eq 't' && $schema[$_] eq 'f' } 0 .. $#definitions;
is_deeply([ map { $definitions[$_] } @stricter ], [], 'the schema refuses nothing that the server takes');
my @laxer = grep { $server[$_] eq 'f' && $schema[$_] eq 't' } 0 .. $#definitions;
cmp_ok(scalar @laxer, '<', @definitions / 8, 'and finds most of what the server refuses') or diag(join "\n", map { $definitions[$_] } @laxer[ 0 .. 9 ]);
cmp_ok(scalar(grep { $_ eq 'f' } @server), '>', 500, 'which is much');

done_testing();
