# A client that submits reports under ids of its own and keeps a ledger of what it was told.
#
#   intake_client.pl CONNSTR LEDGER NUMBER SEED
#
# Its ledger has a line "ID CONTENT" before a report is sent and a line "ID ok" or "ID failed" after the
# answer; without one nobody knows.  It begins where its ledger ends, sends again what has no answer (most
# of it: some it gives up), and ends when there is a file LEDGER.stop, or when who started it is gone.
use strict;
use warnings;
use IO::Handle;
use IPC::Open2;
use Time::HiRes qw(time);

my ($connstr, $ledger, $client, $seed) = @ARGV;
my ($psql, $to, $from);
my %open;
my $last = 0;
my $parent = getppid;
$SIG{PIPE} = 'IGNORE';
srand $seed;
open STDERR, '>>', "$ledger.log" or die;

# What an earlier life of this client knew.
if (open my $old, '<', $ledger)
{
	while (<$old>)
	{
		my ($id, $word) = /^(\S+) (\w+)\n$/ or next;
		$last = $word if $word =~ /^\d+$/ && $word > $last;
		$word =~ /^\d+$/ ? ($open{$id} = $word) : delete $open{$id};
	}
}
open my $book, '>>', $ledger or die;
$book->autoflush;

sub connected
{
	return 1 if $psql;
	$psql = open2($from, $to, 'psql', '-X', '-q', '-A', '-t', '-d', $connstr);
	return 1;
}
sub lost
{
	close $to;
	close $from;
	waitpid $psql, 0;
	undef $psql;
	select undef, undef, undef, 0.05;
	return undef;
}

# The lines that psql prints for this, or undef if the connection is gone.
sub ask
{
	my ($sql) = @_;
	connected();
	print {$to} "$sql\n\\echo end\n" or return lost();
	$to->flush or return lost();
	my @lines;
	while (defined(my $line = <$from>))
	{
		chomp $line;
		return "@lines" if $line eq 'end';
		push @lines, $line;
	}
	return lost();
}

# Sends a report in one of the ways; the answer, if there is one, goes into the ledger.
sub send_report
{
	my ($id, $content) = @_;
	my $first = !exists $open{$id};
	my $patient = 1 + $content % 400;
	my $submit = qq(SELECT outcome FROM clinical.submit_report('I$patient', '{"n": $content}', '$id', '2026-02-01 10:00+00'::timestamptz + $content * interval '1 s'););
	my $roll = rand;
	my $commits = !$first || $roll >= 0.2;
	my $sql = !$commits && $roll < 0.1 ? "BEGIN; $submit ROLLBACK;"
	  : !$commits ? "BEGIN; SAVEPOINT s; $submit ROLLBACK TO s; COMMIT;"
	  : $roll < 0.4 ? "BEGIN; $submit COMMIT;\n\\echo committed :SQLSTATE"
	  : $roll < 0.5 ? "SET synchronous_commit = off; $submit\nRESET synchronous_commit;\n\\echo committed :SQLSTATE"
	  : "$submit\n\\echo committed :SQLSTATE";
	print {$book} "$id $content\n" if $first;
	$open{$id} = $content;
	my $answer = ask($sql) // return;
	if ($answer =~ /^(queued|already_received) committed 00000$/)
	{
		print {$book} "$id ok\n";
	}
	elsif ($first)	# rolled back, busy, or an error
	{
		print {$book} "$id failed\n";
		select undef, undef, undef, 0.01 if $answer =~ /busy/;
	}
	else
	{
		return;	# busy: who knows what became of the first time
	}
	delete $open{$id};
}

until (-e "$ledger.stop" || getppid != $parent)
{
	for my $id (sort keys %open)
	{
		rand() < 0.1 ? delete $open{$id} : send_report($id, $open{$id});
	}
	$last++;
	send_report(sprintf('%08x-0000-4000-8000-%012x', $client, $last), $last);
	select undef, undef, undef, rand 0.04;
}
