# The SQL in README.md and doc/ does what is shown below it.
#
# A block of ```sql is run, and a block without a language that follows it must be what psql
# prints.  Each file has a database and a session of its own.  With CLINICAL_DOC_UPDATE=DIR the
# files are written to DIR with the output as it is.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('doc');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'\nmax_worker_processes = 40");
$node->start;
# who runs the tests must not show
$node->psql('postgres', 'CREATE ROLE postgres SUPERUSER LOGIN');

# The output of each block of SQL, run one after the other in one session of psql.
sub run_blocks
{
	my ($database, @blocks) = @_;
	my $mark = "-- end of block\n";
	my $input = join('', map { "$_\\echo '-- end of block'\n" } @blocks);
	my $output = '';
	IPC::Run::run(
		[ 'psql', '-X', '-q', '-U', 'postgres', '-d', $node->connstr($database) ],
		'<', \$input, '>', \$output, '2>&1');
	return split(/^\Q$mark\E/m, $output, -1);
}

# Trailing white space and empty lines at the end do not show in a document.
sub visible
{
	my ($text) = @_;
	$text =~ s/[ \t]+$//mg;
	$text =~ s/\n+\z/\n/;
	return $text eq "\n" ? '' : $text;
}

for my $file ('README.md', sort glob('doc/*.md'))
{
	my $text = slurp_file($file);
	my @blocks = $text =~ /^```sql\n(.*?)^```$/msg;
	next unless @blocks;

	my $database = lc($file) =~ s/\W+/_/gr;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, 'CREATE EXTENSION clinical') unless $text =~ /^CREATE EXTENSION/m;
	my @outputs = run_blocks($database, @blocks);
	is(@outputs, @blocks + 1, "$file: psql came to the end");

	my $number = 0;
	$text =~ s{^(```sql\n.*?^```\n)(\n```\n(.*?)^```\n)?}{
		my ($block, $shown, $output) = ($1, $3, visible($outputs[$number++]));
		is(visible($shown // ''), $output, "$file: block $number") if defined $shown || $output =~ /ERROR/;
		$block . (defined $shown ? "\n```\n$output```\n" : '');
	}mseg;
	append_to_file("$ENV{CLINICAL_DOC_UPDATE}/" . ($file =~ s,.*/,,r), $text) if $ENV{CLINICAL_DOC_UPDATE};
}

done_testing();
