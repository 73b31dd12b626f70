# Many clients of clinical-gateway at once, each with a connection that it keeps: one loop over their sockets.
package GatewayLoad;
use strict;
use warnings;
use Errno qw(EAGAIN EINPROGRESS EINTR);
use Exporter 'import';
use IO::Socket::INET;
use Socket qw(SOCK_STREAM SOCK_NONBLOCK PF_INET pack_sockaddr_in inet_aton SOL_SOCKET SO_ERROR);
use Time::HiRes qw(time);

our @EXPORT = qw(enough_files run_clients parse_answer);

# Sees to it that the process may open that many files: if it may have them, but does not, the test begins anew.
# False: it may not.
sub enough_files
{
	my ($wanted) = @_;
	my ($soft, $hard) = map { $_ eq 'unlimited' ? 1e9 : $_ } split ' ', `sh -c 'echo \$(ulimit -Sn) \$(ulimit -Hn)'`;
	return 1 if $soft >= $wanted;
	return 0 if $hard < $wanted;
	exec 'sh', '-c', 'n=$1; shift; ulimit -Sn $n; exec "$@"', 'sh', $wanted, $^X, $0, @ARGV;
}

# The first answer of a text, taken out of it; undef: not all of it is there.
sub parse_answer
{
	my ($text) = @_;
	my $end = index $$text, "\r\n\r\n";
	return undef if $end < 0;
	my ($line, @lines) = split /\r\n/, substr $$text, 0, $end;
	my %answer = (line => $line, headers => { map { /^([^:]+): *(.*)$/ ? (lc $1, $2) : ('', $_) } @lines });
	($answer{status}) = $line =~ m,^HTTP/1\.1 (\d{3}) , or die "this is no answer: $line";
	my $length = $answer{headers}{'content-length'} // 0;
	return undef if length $$text < $end + 4 + $length;
	$answer{content} = substr $$text, $end + 4, $length;
	substr $$text, 0, $end + 4 + $length, '';
	return \%answer;
}

# Begins to connect.
sub connect_client
{
	my ($client, $port) = @_;
	socket my $socket, PF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0 or die "no socket: $!";
	connect $socket, pack_sockaddr_in($port, inet_aton('127.0.0.1')) or $! == EINPROGRESS or die "no connection: $!";
	@$client{qw(socket fd in out)} = ($socket, fileno $socket, '', '');
	return;
}

# What a client is about to send next; it ends if that is nothing.
sub go_on
{
	my ($client, $next) = @_;
	return if length $client->{out} || $client->{asked};
	my $text = $next->($client);
	if (!defined $text)
	{
		close $client->{socket};
		$client->{done} = 1;
		return;
	}
	# '' is: not now
	$client->{out} = $text;
	$client->{asked} = length $text ? 1 : 0;
	return;
}

# What has come for a client: answers, or the end of its connection, after which it connects again.
sub take_in
{
	my ($client, $port, $answered, $lost) = @_;
	my $got = sysread $client->{socket}, $client->{in}, 65536, length $client->{in};
	return if !defined $got && ($! == EAGAIN || $! == EINTR);
	if ($got)
	{
		while (my $answer = parse_answer(\$client->{in}))
		{
			$client->{asked} = 0;
			$answered->($client, $answer);
		}
		return;
	}
	$client->{asked} = 0;
	$lost->($client, length $client->{in} ? 'in an answer' : 'between answers');
	close $client->{socket};
	connect_client($client, $port);
	return;
}

# Runs clients until all have ended or the time is over; true if all have.
#   next     -> what a client sends now; '': nothing now; undef: it has ended
#   answered -> takes an answer
#   lost     -> takes the loss of a connection
#   turn     -> is called each time round
sub run_clients
{
	my ($port, $clients, $seconds, %calls) = @_;
	my $end = time + $seconds;
	my %by_fd;
	for my $client (@$clients)
	{
		connect_client($client, $port) unless $client->{socket};
		$client->{done} = 0;
	}
	while (time < $end)
	{
		my ($in, $out, $live) = ('', '', 0);
		$calls{turn}->() if $calls{turn};
		for my $client (@$clients)
		{
			next if $client->{done};
			go_on($client, $calls{next});
			next if $client->{done};
			$live++;
			vec($in, $client->{fd}, 1) = 1;
			vec($out, $client->{fd}, 1) = 1 if length $client->{out};
		}
		return 1 if $live == 0;
		next unless select($in, $out, undef, 0.02) > 0;
		for my $client (@$clients)
		{
			next if $client->{done};
			if (vec($out, $client->{fd}, 1))
			{
				my $sent = syswrite $client->{socket}, $client->{out};
				substr $client->{out}, 0, $sent, '' if $sent;
			}
			take_in($client, $port, $calls{answered}, $calls{lost}) if vec($in, $client->{fd}, 1);
		}
	}
	return 0;
}

1;
