# What the sources promise: exported names, SQL that names its schema, one place for version
# differences, functions that are explained and can be seen at once.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;

# symbols of the library, as built beside the sources
SKIP:
{
	skip 'no nm, or no library built here', 1 unless -e 'clinical.so' && `nm --version 2>/dev/null`;
	my @strange = grep { !/^(clinical_\w+|pg_finfo_clinical_\w+|_PG_init|Pg_magic_func|_init|_fini)$/ }
	  map { (split)[-1] } split /\n/, `nm -D --defined-only clinical.so`;
	is("@strange", '', 'the library exports names of ours only');
}

my %function_lines;
for my $file (sort glob('src/*.[ch]'), glob('src/gateway/*.[ch]'))
{
	my $text = slurp_file($file);
	my @lines = split /\n/, $text, -1;
	cmp_ok(@lines, '<=', 700, "$file is short enough");
	unlike($text, qr/PG_VERSION_NUM/, "$file: no version differences") unless $file eq 'src/compat.h';

	# each function has a comment above it and at most 80 lines
	my ($start, $name);
	for my $i (0 .. $#lines)
	{
		if ($lines[$i] eq '{' && $lines[ $i - 1 ] =~ /\)$/)
		{
			my $above = $i - 1;
			$above-- until $lines[$above] =~ /^\w+\(/ || $above < 2;
			($name) = $lines[$above] =~ /^(\w+)\(/ or next;
			$start = $i;
			$above-- until $lines[$above] =~ m,^(\s\*/|/\*.*\*/|)$, || $above < 2;
			like($lines[$above], qr,\*/$,, "$file: $name is explained");
		}
		elsif ($lines[$i] eq '}' && defined $start)
		{
			$function_lines{"$file: $name"} = $i - $start - 1;
			undef $start;
		}
	}

	# what is put out as text looks like SQL, so its files have none
	if ($file =~ m,^src/report_(?:format|rows|html\w*|chart\w*|style)\.c$,)
	{
		unlike($text, qr/SPI_|ClinicalPlan|clinical_(?:owner_|server_)?(?:execute|fetch)/, "$file: runs no SQL");
		next;
	}

	# nor has most of the gateway
	next if $file =~ m,^src/gateway/, && $file !~ m,/(?:call|route)\.c$,;

	# SQL, which is no operator alone: what follows these words is a name with its schema, a subquery, a transition table,
	# or what a WITH defines, which hides tables of that name
	my $sql = join ' ', map { s/\\"/"/gr } grep { !/^[<>=!\/]+$/ } $text =~ /"((?:[^"\\]|\\.)*)"/g;
	$sql =~ s/\bFOR (NO KEY )?UPDATE\b|\bDO UPDATE\b//g;
	my %with = map { $_ => 1 } $sql =~ /\b(\w+) AS \(\s*(?:SELECT|INSERT|UPDATE|DELETE)\b/g;
	my @bare = grep { !$with{$_} && !/^(clinical|pg_catalog|cron)\.|^(created_rows|changed_rows|redacting|the|its|from|DELETE|LATERAL|ROWS)\b|^\(/ }
	  $sql =~ /\b(?:FROM|JOIN|INTO|UPDATE)\s+([\w.(]+)/g;
	is("@bare", '', "$file: SQL names the schema of its tables");
	# what stands before a parenthesis is a name with its schema, a word of the language, or an alias
	# of one letter; a type after :: has its schema too
	my @callable = grep { !/\.|^(COALESCE|EXISTS|ARRAY|ANY|ALL|VALUES|OPERATOR|CONFLICT|ON|IN|FROM|AND|OR|NOT|WHERE|SELECT|THEN|ELSE|WHEN|BY|AS|JOIN|RETURNING|DISTINCT|LATERAL|ROW|FILTER|seal_audit|audit_digest|record|submit_reports?|process_reports)$|^\w$/ }
	  $sql =~ /(?<!["\w.])([a-z_A-Z][\w.]*) ?\(/g;
	is("@callable", '', "$file: and of its functions");
	my @types = grep { !/^(clinical|pg_catalog)\./ } $sql =~ /::\s*([\w.]+)/g;
	is("@types", '', "$file: and of the types it casts to");
	(my $compared = $sql) =~ s/(?:\bSET|,)\s+\w+ =//g;
	my @operators = grep { $_ ne '*' } $compared =~ /\s([=<>~@|+*\/-]+)\s/g;
	is("@operators", '', "$file: and of its operators");
	unlike($sql, qr/IS (NOT )?DISTINCT FROM|\bNULLIF\(|\bIN \(|\bUSING \(|\bBETWEEN\b/, "$file: and uses none without saying so");
}
cmp_ok(scalar(keys %function_lines), '>', 50, 'functions were seen');
is(join(', ', grep { $function_lines{$_} > 80 } sort keys %function_lines), '', 'no function over 80 lines');

done_testing();
