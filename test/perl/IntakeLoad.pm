# Clients that submit all the time, and what their ledgers say afterwards.
package IntakeLoad;
use strict;
use warnings;
use Exporter 'import';
use File::Basename;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(start_clients stop_clients ledgers);
my $folder_of_this = dirname(__FILE__);

# Clients that submit all the time, numbers $from to $to, with ledgers in a folder (intake_client.pl).
sub start_clients
{
	my ($node, $database, $folder, $seed, $from, $to) = @_;
	my %running;
	my $connstr = $node->connstr($database);
	for my $client ($from .. $to)
	{
		unlink "$folder/$client.stop";
		my $pid = fork // die;
		exec $^X, "$folder_of_this/intake_client.pl", $connstr, "$folder/$client", $client, $seed + $client or die unless $pid;
		$running{$client} = $pid;
	}
	return \%running;
}

# Waits until they have their last answers.
sub stop_clients
{
	my ($folder, $running) = @_;
	PostgreSQL::Test::Utils::append_to_file("$folder/$_.stop", '') for keys %$running;
	waitpid $_, 0 for values %$running;
}

# Brings what they know into table public.ledger of a database; how many reports are ok, failed, unknown.
sub ledgers
{
	my ($node, $database, $folder) = @_;
	my (%state, %content, %count);
	for my $file (grep { /\/\d+$/ } glob "$folder/*")
	{
		for (split /^/, slurp_file($file))
		{
			my ($id, $word) = /^(\S+) (\w+)\n$/ or next;	# the last line of who was killed may be half of one
			$word =~ /^\d+$/ ? ($content{$id} = $word) : ($state{$id} = $word);
		}
	}
	$count{ $state{$_} // 'unknown' }++ for keys %content;
	note join ', ', map { "$count{$_} $_" } sort keys %count;
	PostgreSQL::Test::Utils::append_to_file("$folder/all", join '', map { "$_\t$content{$_}\t" . ($state{$_} // 'unknown') . "\n" } sort keys %content);
	$node->safe_psql($database, qq{CREATE TABLE public.ledger (id uuid, content int, state text);
\\copy public.ledger FROM '$folder/all'
ANALYZE});
	my $there = q{FROM public.ledger l LEFT JOIN clinical.submission s ON s.patient_id = 'I' || 1 + l.content % 400 AND s.id = l.id AND s.status = 'accepted'};
	is($node->safe_psql($database, "SELECT l.* $there WHERE l.state = 'ok' AND s.id IS NULL"), '', 'what was acknowledged is accepted');
	is($node->safe_psql($database, "SELECT l.* $there WHERE l.state = 'failed' AND s.id IS NOT NULL"), '', 'what failed is not there');
	is($node->safe_psql($database, q{SELECT id FROM clinical.submission GROUP BY id HAVING count(*) > 1 UNION ALL
SELECT id FROM clinical.submission WHERE id NOT IN (SELECT id FROM public.ledger)}), '', 'nothing is there twice, and nothing that nobody sent');
	is($node->safe_psql($database, q{SELECT s.id FROM public.ledger l JOIN clinical.submission s USING (id) LEFT JOIN clinical.observation o ON o.patient_id = s.patient_id AND o.submission_id = s.id
 GROUP BY s.id, l.content HAVING count(o.id) <> 1 OR min(o.value) <> l.content}), '', 'each with what it said');
	is($node->safe_psql($database, q{SELECT outcome, reason_code, count(*) FROM clinical.set_aside WHERE outcome <> 'duplicate' GROUP BY 1, 2}), '', 'nothing is in quarantine');
	return \%count;
}

1;
