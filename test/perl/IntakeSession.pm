# Sessions that go on while the test does other things.
package IntakeSession;
use strict;
use warnings;
use Exporter 'import';
use IPC::Run ();

our @EXPORT = qw(session ask answers end_session);

# One of them: a psql.
sub session
{
	my ($node, $database, @arguments) = @_;
	my %session = (in => '', out => '', error => '', number => 0);
	$session{run} = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-v', 'VERBOSITY=verbose', '-d', $node->connstr($database), @arguments ],
		'<', \$session{in}, '>', \$session{out}, '2>', \$session{error}, IPC::Run::timeout(180));
	return \%session;
}

# Gives a session something to do, and does not wait.
sub ask
{
	my ($session, $sql) = @_;
	$session->{number}++;
	$session->{in} .= "$sql\n;\n\\echo done $session->{number}\n";
	$session->{run}->pump_nb;
}

# Its answer: waits for it.  With SQL, gives it that to do first.  undef: the session is lost.
sub answers
{
	my ($session, $sql) = @_;
	ask($session, $sql) if defined $sql;
	my $mark = "done $session->{number}\n";
	my $there = eval { $session->{run}->pump while index($session->{out}, $mark) < 0; 1 };
	return undef unless $there || index($session->{out}, $mark) >= 0;
	my $out = substr $session->{out}, 0, index($session->{out}, $mark);
	$session->{out} = '';
	$out =~ s/^done \d+\n//mg;
	chomp $out;
	return $out;
}
sub end_session { my ($session) = @_; $session->{in} .= "\\q\n"; eval { $session->{run}->finish }; }

1;
