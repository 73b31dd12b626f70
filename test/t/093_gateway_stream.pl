# clinical-gateway: streams of alerts.  Who gets which event, and that none is lost: to clients that come back, over a
# restart of the server, a lost listener, transactions that commit late; and what ends a stream.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Gateway;
use IntakeSession ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Socket qw(AF_INET SOCK_STREAM SOL_SOCKET SO_RCVBUF inet_aton sockaddr_in);
use Test::More;
use Time::HiRes qw(time);

plan skip_all => 'clinical-gateway was not built: its libraries are not here' unless -x $PROGRAM;

my $node = gateway_node('stream', "track_functions = 'pl'");
$node->safe_psql('postgres', q{
SELECT clinical.create_project_with_centers('Other', '{1}', 'S/2');
SELECT clinical.use_instrument('S/2', 'diary', true);
SELECT clinical.create_rule('{"code": "R2", "project": "S/2", "kind": "threshold", "severity": "info", "items": [{"item": "n", "range": "[0,8]"}]}');
SELECT clinical.enroll_patient('other', 'Name of other', '1950-05-17', 'S/2', 1, effective_on => '2026-01-10');
CREATE ROLE doctor; GRANT clinical_investigator TO doctor; GRANT doctor TO gateway;
SELECT clinical.grant_center('doctor', 2)});

# --- a client of streams ---------------------------------------------------------------------------

# Opens one.  as: role; query; last: Last-Event-ID; claims: of the token; room: bytes that it takes without being read;
# names: of events are counted, and nothing else is looked at.
sub stream
{
	my ($gateway, %options) = @_;
	socket my $socket, AF_INET, SOCK_STREAM, 0 or die;
	setsockopt $socket, SOL_SOCKET, SO_RCVBUF, $options{room} if $options{room};
	connect $socket, sockaddr_in($gateway->{port}, inet_aton('127.0.0.1')) or die "no connection: $!";
	bless $socket, 'IO::Socket::INET';
	my $last = defined $options{last} ? "Last-Event-ID: $options{last}\r\n" : '';
	my $token = token($options{as} // 'nurse', %{ $options{claims} // {} });
	print $socket 'GET /api/v1/alerts/stream' . ($options{query} // '') . " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $token\r\n$last\r\n";
	$socket->flush;
	$socket->blocking(0);
	return { socket => $socket, raw => '', text => '', events => [], id => undef, names => $options{names} && {} };
}

# Takes what has come, if anything: head, text, events, id, and whether it has ended.
sub take
{
	my ($s) = @_;
	while (1)
	{
		my $got = sysread $s->{socket}, my $piece, 65536;
		$s->{closed} = 1 if defined $got ? $got == 0 : !$!{EAGAIN};
		last unless $got;
		$s->{raw} .= $piece;
	}
	$s->{head} = $1 if !defined $s->{head} && $s->{raw} =~ s/\A(.*?\r\n)\r\n//s;
	while (defined $s->{head} && !$s->{ended} && $s->{raw} =~ /\A([0-9a-fA-F]+)\r\n/ && length $s->{raw} >= length($1) + 4 + hex $1)
	{
		$s->{ended} = 1 if hex $1 == 0;
		$s->{text} .= substr $s->{raw}, length($1) + 2, hex $1;
		substr $s->{raw}, 0, length($1) + 4 + hex $1, '';
	}
	if ($s->{names} && $s->{text} =~ s/\A(.*\n\n)//s)
	{
		my $text = $1;
		$s->{names}{$1}++ while $text =~ /^: ([0-9a-f]{8}-\S+ \d+)$/mg;
		$s->{id} = $1 while $text =~ /^id: (.*)$/mg;
	}
	while ($s->{text} =~ s/\A(.*?)\n\n//s)
	{
		my %event = map { /^(\w*): ?(.*)/ ? ($1 eq '' ? 'comment' : $1, $2) : () } split /\n/, $1;
		$s->{id} = $event{id} if defined $event{id};
		$s->{retry} = $event{retry} if defined $event{retry};
		$s->{alive}++ if ($event{comment} // '') eq 'keep-alive';
		push @{ $s->{events} }, { %event, json => JSON::PP->new->utf8->decode($event{data}) } if defined $event{data};
	}
	return $s;
}

# A stream that has begun.
sub open_stream
{
	my $s = stream(@_);
	wait_for(sub { take($s); $s->{closed} || defined $s->{id} }, 20);
	return $s;
}

# What events say, in short: patient or id, event and status.
sub said { return join ' ', map { $_->{event} eq 'alert' ? "$_->{json}{patientId}:$_->{json}{event}:$_->{json}{status}" : $_->{event} } @{ $_[0]{events} } }

# Waits until a stream has said that, all in all; what it has said.
sub says { my ($s, $what, $seconds) = @_; wait_for(sub { said(take($s)) eq $what }, $seconds // 20); return said($s) }

# Waits until a stream is over.
sub over { my ($s, $seconds) = @_; return wait_for(sub { take($s); $s->{ended} || $s->{closed} }, $seconds // 20) }
sub close_stream { $_->{socket}->close for @_; return }

my $day = 0;
# A report out of range, by way of a worker: an alert of each patient, or what it opens is on another day.
sub raise
{
	my (@patients) = @_;
	# every other day is in range, or is missing: an alert each
	my $at = sprintf '2026-%02d-%02d 12:00+00', 2 + int($day / 14), 1 + 2 * ($day % 14);
	$day++;
	$node->safe_psql('postgres', "SELECT clinical.submit_report('$_', '{\"n\": 9}', captured_at => '$at')") for @patients;
	return;
}
sub alerts { return $node->safe_psql('postgres', 'SELECT count(*) FROM clinical.alert') }
# Calls by gateways that were stopped.
sub calls { return $node->safe_psql('postgres', q{SELECT calls FROM pg_stat_user_functions WHERE funcname = 'http_stream_alerts'}) }
sub ended { my ($gateway) = @_; return join ' ', map { $_->{ended} } grep { defined $_->{ended} } log_lines($gateway) }

# Signs of life are so far apart that nothing below comes by one.
my $gateway = start_gateway($node, stream_keepalive => 3600, stop_timeout => 20, listen_database => $node->connstr('postgres') . ' user=gateway application_name=ears');
cmp_ok($gateway->{port}, '>', 0, 'it listens') or diag ${ $gateway->{errors} }, gateway_log($gateway);
my $path = '/api/v1/alerts/stream';

# --- who may ---------------------------------------------------------------------------------------
is(ask($gateway, 'GET', $path)->{status}, 401, 'no token');
for my $role (qw(phone boss nobody stranger postgres))
{
	my ($r, $list) = map { ask($gateway, 'GET', $_, as => $role) } $path, '/api/v1/alerts';
	is_deeply([ @$r{qw(status content)} ], [ @$list{qw(status content)} ], "$role is answered as by the list");
	is($r->{status}, 403, "which is 403, for $role");
}
is(ask($gateway, 'GET', "$path?$_", as => 'nurse')->{status}, 400, "$_: malformed") for 'x=1', 'project=a&project=b', 'project=%ff', 'limit=1';
my $r = ask($gateway, 'POST', $path, as => 'nurse', content => '');
is_deeply([ $r->{status}, $r->{headers}{allow} ], [ 405, 'GET, HEAD' ], 'POST');
$r = ask($gateway, 'HEAD', $path, as => 'nurse');
is_deeply([ $r->{status}, $r->{headers}{'content-type'}, $r->{headers}{'content-length'} ], [ 200, 'text/event-stream', undef ], 'HEAD');
is(ask($gateway, 'HEAD', $path, as => 'phone')->{status}, 403, 'HEAD, as phone');

# --- who gets what ---------------------------------------------------------------------------------
my $nurse = open_stream($gateway);
like($nurse->{head}, qr{^HTTP/1\.1 200 .*^Content-Type: text/event-stream\r$}ms, 'a stream begins');
like($nurse->{head}, qr/^Cache-Control: no-store\r$/m, 'which nobody keeps');
cmp_ok($nurse->{retry}, '>=', 1000, 'with the time after which to come back');
my $again = open_stream($gateway);
my $study = open_stream($gateway, query => '?project=S%2F1');
my $other = open_stream($gateway, query => '?project=S%2F2');
my $nothing = open_stream($gateway, query => '?project=none');
my $doctor = open_stream($gateway, as => 'doctor');
ok(wait_for(sub { $node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ears' AND query = 'LISTEN clinical_alert' AND state = 'idle'}) eq '1' }, 10),
	'listening has a connection of its own, as set');

my $begun = time;
is(ask($gateway, 'POST', '/api/epro/submit', as => 'phone', content => { patientId => 'near', reportData => { n => 9 }, capturedAt => '2026-01-20T10:00:00Z' })->{status}, 202, 'a report');
is(says($nurse, 'near:opened:open'), 'near:opened:open', 'an alert arrives');
note sprintf '%.0f ms after the report was sent', (time - $begun) * 1000;
is(says($_, 'near:opened:open'), 'near:opened:open', 'and at another of the role') for $again, $study;
my %event = %{ $nurse->{events}[0]{json} };
my $alert = ask($gateway, 'GET', '/api/v1/alerts', as => 'nurse')->{json}{alerts}[0];
is($event{eventNo}, 1, 'it has the number of the event');
like($event{recordedAt}, qr/^20\d\d-\d\d-\d\dT/, 'and its time');
delete @event{qw(event eventNo recordedAt)};
is_deeply(\%event, $alert, 'and is else what the list has');
raise('other');
is(says($_->[0], $_->[1]), $_->[1], 'of the other project, by the filter')
  for [ $nurse, 'near:opened:open other:opened:open' ], [ $other, 'other:opened:open' ];
raise('far');
is(says($doctor, 'far:opened:open'), 'far:opened:open', 'one of another center is for who sees that: the first that he hears of');
raise('near');
is(says($nurse, 'near:opened:open other:opened:open near:opened:open'), 'near:opened:open other:opened:open near:opened:open', 'and not for who does not');
is(says($study, 'near:opened:open near:opened:open'), 'near:opened:open near:opened:open', 'nor for the one with the filter');
is(said(take($nothing)), '', 'a project that is none has none');
is(take($doctor)->{text} . $doctor->{raw}, '', 'who may not see an alert gets not a byte');
is(said(take($doctor)), 'far:opened:open', 'and no event');

# --- what people do about alerts ----------------------------------------------------------------------
my $before = said($nurse);
is(ask($gateway, 'POST', "/api/v1/patients/near/alerts/$alert->{alertId}/acknowledge", as => 'nurse', content => { comment => 'called' })->{status}, 200, 'an alert is acknowledged');
is(says($nurse, "$before near:acknowledged:acknowledged"), "$before near:acknowledged:acknowledged", 'which arrives as well');
is($nurse->{events}[-1]{json}{alertId}, $alert->{alertId}, 'of that alert');
$node->safe_psql('postgres', "SELECT clinical.close_alert('near', '$alert->{alertId}', 'done')");
is(says($nurse, "$before near:acknowledged:acknowledged near:closed:closed"), "$before near:acknowledged:acknowledged near:closed:closed", 'so does what is done past the gateway');
ok(exists $nurse->{events}[-1]{json}{readings} && $nurse->{events}[-1]{json}{rule} eq 'R', 'with the same keys');

# --- those who come back ------------------------------------------------------------------------------
close_stream($study, $other, $nothing, $again, $doctor);
my $id = $nurse->{id};
close_stream($nurse);
raise('near', 'far', 'other');
ok(wait_for(sub { alerts() == 7 }), 'there are alerts while nobody is there');
my $back = open_stream($gateway, last => $id);
is(says($back, 'near:opened:open other:opened:open'), 'near:opened:open other:opened:open', 'who comes back is told what happened meanwhile');
my $back_id = $back->{id};
isnt($back_id, $id, 'and has another place from which to go on');
is(said(open_stream($gateway, last => $back_id)), '', 'from where there is nothing more');
is(said(open_stream($gateway, last => $id, query => '?project=S%2F2')), 'other:opened:open', 'with the filter');
is(said(open_stream($gateway, last => $id, as => 'doctor')), 'far:opened:open', 'and the place is one for every role');
is(said(open_stream($gateway, last => '')), '', 'an empty one is none');
is(said(open_stream($gateway, last => $_)), 'resync', "one that is none ($_)")
  for 'x', '1', "$id-1", "'", $id =~ s/^\d+/1/r, $id =~ s/^(\d+-)\d+/${1}99999999999999999/r, $id =~ s/^(\d+-\d+-)\d+/${1}9999999/r, $id =~ s/-\d+-0$/-9999999-0/r;
like(stream($gateway, last => "\xff") && open_stream($gateway, last => "\xff")->{head}, qr{^HTTP/1\.1 400 }, 'one that is no text');

# --- transactions that commit late --------------------------------------------------------------------------
my $late = IntakeSession::session($node, 'postgres');
my $some = $node->safe_psql('postgres', q{SELECT patient_id || ''',''' || id FROM clinical.alert WHERE status = 'open' AND patient_id = 'near' LIMIT 1});
IntakeSession::answers($late, "BEGIN; SELECT clinical.acknowledge_alert('$some')");
raise('near');
is(says($back, 'near:opened:open other:opened:open near:opened:open'), 'near:opened:open other:opened:open near:opened:open', 'while a transaction is going on others are told of');
raise('other');
$before = 'near:opened:open other:opened:open near:opened:open other:opened:open';
is(says($back, $before), $before, 'once each');
my $meanwhile = open_stream($gateway, last => $back_id);
is(says($meanwhile, 'near:opened:open other:opened:open'), 'near:opened:open other:opened:open', 'and to who comes back');
my $from = $meanwhile->{id};
close_stream($meanwhile);
IntakeSession::answers($late, 'COMMIT');
IntakeSession::end_session($late);
raise('near');
is(says($back, "$before near:acknowledged:acknowledged near:opened:open"), "$before near:acknowledged:acknowledged near:opened:open", 'what commits last is told last');
is(said(open_stream($gateway, last => $from)), 'near:acknowledged:acknowledged near:opened:open other:opened:open near:opened:open', 'also to who comes back, to whom others may be told again');

# --- the server, and the listener, go and come back --------------------------------------------------------------
my $ears = q{FROM pg_stat_activity WHERE application_name = 'ears'};
my $pid = $node->safe_psql('postgres', "SELECT pid $ears");
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid, 10000) $ears");
raise('near');
$before = said($back) . ' near:opened:open';
is(says($back, $before), $before, 'the listener is lost, and no event is');
isnt($node->safe_psql('postgres', "SELECT pid $ears"), $pid, 'there is another one');
raise('near');
is(says($back, "$before near:opened:open"), "$before near:opened:open", 'that hears');
$node->stop('fast');
is(take($back)->{ended}, undef, 'the server goes, the stream stays');
$node->start;
raise('near');
$before = said($back) . ' near:opened:open';
is(says($back, $before, 60), $before, 'and goes on when it is back');
close_stream($back);

# --- it stops --------------------------------------------------------------------------------------------------------
my $last = open_stream($gateway);
my $idle = open_stream($gateway, as => 'doctor');
$begun = time;
is(stop_gateway($gateway), 0, 'the gateway stops');
cmp_ok(time - $begun, '<', 5, 'at once');
ok(over($_, 5) && $_->{ended}, 'a stream ends well') for $last, $idle;

# --- signs of life, rights, ends of tokens -----------------------------------------------------------------------------
my $quick = start_gateway($node, stream_keepalive => 1, jwt_leeway => 0, max_streams => 3, idle_timeout => 2,
	listen_database => $node->connstr('none') . ' user=gateway');
$nurse = open_stream($quick);
ok(wait_for(sub { (take($nurse)->{alive} // 0) > 3 }, 20), 'a stream without events shows that it lives, for longer than connections may be idle');
isnt($nurse->{id}, undef, 'and where it is');
$node->safe_psql('postgres', q{SELECT clinical.close_alert(patient_id, id, 'done') FROM clinical.alert WHERE patient_id = 'near' AND status = 'open' ORDER BY id LIMIT 1});
is(says($nurse, 'near:closed:closed'), 'near:closed:closed', 'with it comes what nobody has listened to');
my $expires = int(time) + 3;
my $brief = open_stream($quick, claims => { exp => $expires });
ok(!take($brief)->{ended}, 'a token that ends soon');
ok(over($brief, 10) && $brief->{ended}, 'ends the stream');
cmp_ok(time, '>=', $expires, 'not before');
$doctor = open_stream($quick, as => 'doctor');
my $third = open_stream($quick, as => 'doctor');
$r = ask($quick, 'GET', $path, as => 'nurse');
is_deeply([ $r->{status}, $r->{json}{detail}, $r->{headers}{'retry-after'} ], [ 503, 'there are too many streams', 1 ], 'there may be so many streams');
is(ask($quick, 'GET', '/api/v1/alerts', as => 'nurse')->{status}, 200, 'which is no matter to others');
$third->{socket}->shutdown(1);
ok(over($third) && $third->{ended}, 'who sends no more has gone');
$third = wait_for(sub { my $s = open_stream($quick, as => 'doctor'); $s->{head} =~ /^HTTP\S+ 200/ && $s }, 10);
ok($third, 'and makes room');
$node->safe_psql('postgres', 'REVOKE doctor FROM gateway');
ok(over($_, 10) && $_->{ended}, 'a right that is lost ends the stream') for $doctor, $third;
$node->safe_psql('postgres', 'GRANT doctor TO gateway');
ok(!take($nurse)->{ended}, 'of that role alone');
close_stream($nurse);
ok(wait_for(sub { ended($quick) eq 'token client rights rights client' }, 10), 'the log has why they ended') or diag ended($quick);
my @streams = grep { defined $_->{ended} } log_lines($quick);
is_deeply([ map { $_->{status} } @streams ], [ (200) x 5 ], 'with their status');
cmp_ok($streams[-1]{sent}, '>', 100, 'and what was sent');
unlike(gateway_log($quick), qr/near|eyJ|S%2F1|Bearer|user of|1950/, 'and no id, no token is in the log');
stop_gateway($quick);

# --- many, and slow ones -------------------------------------------------------------------------------------------------
$node->safe_psql('postgres', q{SELECT clinical.enroll_patient('many' || g, 'Name', '1950-05-17', 'S/1', 1, effective_on => '2026-01-10') FROM generate_series(1, 700) g});
# So many reports at once, each of which opens an alert.
sub burst
{
	my ($first, $last, $capture) = @_;
	$node->safe_psql('postgres', qq{SELECT count(*) FROM clinical.submit_reports((SELECT jsonb_agg(jsonb_build_object('patient_id', 'many' || g, 'report_data', '{"n": 9}'::jsonb, 'captured_at', '$capture'))
		FROM generate_series($first, $last) g))});
	return;
}
sub processed { return wait_for(sub { $node->safe_psql('postgres', q{SELECT count(*) FROM clinical.staged_report}) eq '0' }, 60) }
my $calls = calls();
my $crowded = start_gateway($node, pool_size => 2, stream_keepalive => 3600);
my @crowd = map { stream($crowded, names => 1) } 1 .. 200;
ok(wait_for(sub { !grep { !defined take($_)->{id} } @crowd }, 30), '200 streams');
burst(1, 300, '2026-02-01T10:00:00Z');
my ($asked, $slowest) = (0, 0);
my $all = wait_for(sub {
	my $since = time;
	$asked++ if ask($crowded, 'GET', '/api/v1/patient/near', as => 'nurse')->{status} == 200;
	$slowest = time - $since if time - $since > $slowest;
	return !grep { keys %{ take($_)->{names} } < 300 } @crowd;
}, 60);
ok($all, '300 alerts arrive at each of 200 streams');
is_deeply([ grep { keys %{ $_->{names} } != 300 || grep { $_ != 1 } values %{ $_->{names} } } @crowd ], [], 'once');
cmp_ok($asked, '>', 0, 'while requests are answered');
cmp_ok($slowest, '<', 5, 'soon');
close_stream(@crowd);
is(stop_gateway($crowded), 0, 'it stops');
# each stream's own, and looks
my $looks = wait_for(sub { my $n = calls() - $calls; $n >= 201 && $n }) - 200;
cmp_ok($looks, '>', 1, 'looks were made');
cmp_ok($looks, '<', 150, 'each for all of them, and for many alerts');
note sprintf '%d looks, %d requests, the slowest %.0f ms', $looks, $asked, $slowest * 1000;

my $narrow = start_gateway($node, stream_keepalive => 3600, stream_buffer => 1024);
my $reader = open_stream($narrow, names => 1);
my $deaf = stream($narrow, room => 1024);
for my $round (1 .. 20)
{
	last if ended($narrow) ne '';
	burst(1, 300, sprintf '2026-03-%02dT10:00:00Z', 1 + $round * 2);
	processed();
	take($reader);
}
ok(wait_for(sub { take($reader); ended($narrow) eq 'slow' }, 10), 'a client that does not read is sent away') or diag ended($narrow);
ok(over($deaf) && !$deaf->{ended}, 'and its connection closed');
ok(!$reader->{ended} && !$reader->{closed}, 'and no other');

# more at once than are told one by one
my $few = open_stream($narrow);
$id = $few->{id};
my $old = IntakeSession::session($node, 'postgres');
IntakeSession::answers($old, 'BEGIN; SELECT pg_current_xact_id()');
burst(1, 700, '2026-09-01T10:00:00Z');
ok(processed(), 'there are many alerts');
# what a look gives, from there: without a stream, nothing else comes in between
sub after { my ($last) = @_; my ($what, $next) = $node->safe_psql('postgres', "SELECT content FROM clinical.http_stream_alerts(NULL, '$last')") =~ /\A(.*?)id: (\S+)\s*\z/s; return ($what, $next) }
my ($what, $next) = after($id);
is($what, "event: resync\ndata: {}\n\n", 'who was away for too many is told to read the list');
like($next, qr/-1\z/, 'from a place before which something may come after all');
IntakeSession::answers($old, 'COMMIT');
IntakeSession::end_session($old);
($what, $next) = after($next);
is($what, "event: resync\ndata: {}\n\n", 'and again when what was going on then is over');
like($next, qr/-0\z/, 'and no more');
like(said(open_stream($narrow, last => $id)), qr/^resync\b/, 'and so is a client');
is(stop_gateway($narrow), 0, 'it stops');

# --- without a server ------------------------------------------------------------------------------------------------------
$node->stop('fast');
my $lonely = start_gateway($node, unready => 1);
$r = ask($lonely, 'GET', $path, as => 'nurse');
is_deeply([ $r->{status}, $r->{json}{detail} ], [ 503, 'the server could not be reached' ], 'without a server there is no stream');
is(stop_gateway($lonely), 0, 'and it stops');

done_testing();
