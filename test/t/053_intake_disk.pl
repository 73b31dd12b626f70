# A full disk loses nothing, and is no fault of a report: whatever fails for it is tried again, without end,
# and accepted once there is room.  The disk is a small one of its own, which takes a namespace of users
# (unshare); without, the test is skipped.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $disk = PostgreSQL::Test::Utils::tempdir() . '/disk';
my $programs = PostgreSQL::Test::Utils::tempdir();
mkdir $disk;
# First as root of the namespace, who may mount; then as who he was, or the server would refuse to run.
my ($user, $group) = ($<, (split / /, $()[0]);
my $unshare = "unshare -rm sh -c 'mount -t tmpfs -o size=40m,mode=0700 tmpfs \"\$0\" && exec unshare -U --map-user=$user --map-group=$group \"\$@\"' '$disk'";
plan skip_all => 'no file system can be mounted here' if system("$unshare true >/dev/null 2>&1") != 0;
my ($pg_ctl) = grep { -x } map { "$_/pg_ctl" } split /:/, $ENV{PATH};
PostgreSQL::Test::Utils::append_to_file("$programs/pg_ctl", "#!/bin/sh\ncase \"\$*\" in *start) exec $unshare '$pg_ctl' \"\$@\" ;; esac\nexec '$pg_ctl' \"\$@\"\n");
chmod 0755, "$programs/pg_ctl";
$ENV{PATH} = "$programs:$ENV{PATH}";

my $node = intake_node('disk', 'clinical.batch_size = 20', 'autovacuum = off');	# it would invalidate what who connects reads, and cannot write
set_up($node, 'clinical.retry_delay_max' => '200ms') if has_setting($node, 'clinical.retry_delay_max');
$node->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '$disk'");
$node->safe_psql('postgres', 'CREATE DATABASE small TABLESPACE small');
make_study($node, 'small');
switch_workers($node, 'off');

sub fill_disk { $node->safe_psql('postgres', "COPY (SELECT 1) TO PROGRAM 'dd if=/dev/zero of=$disk/filler bs=8k status=none 2>/dev/null || true'") }
sub free_disk { $node->safe_psql('postgres', "COPY (SELECT 1) TO PROGRAM 'rm -f $disk/filler'") }
my $log;
sub failures { return log_count($node, '53100|No space left on device', $log) }

# Submits reports of about 2 kB; what was acknowledged, and with which SQLSTATEs others were refused.
my $last = 0;
my @acknowledged;
sub try_many
{
	my ($count) = @_;
	my $script = "\\set VERBOSITY sqlstate\n" . join "\n", map { my $n = ++$last;
		"SELECT (r).outcome, $n FROM (SELECT " . submit($n, data => qq(jsonb_build_object('n', $n, 'note', (SELECT string_agg(md5(g::text || $n), '') FROM generate_series(1, 60) g)))) . ' AS r OFFSET 0) s;' } 1 .. $count;
	my ($status, $out, $error) = $node->psql('small', $script, on_error_stop => 0);
	push @acknowledged, $out =~ /^queued\|(\d+)$/mg;
	my %states = map { $_ => 1 } $error =~ /ERROR: +(\w{5})/g;
	return join ' ', sort keys %states;
}

# Full while reports are submitted.
is(try_many(300), '', 'with room, all are taken in');
fill_disk();
is(try_many(600), '53100', 'without, they are refused for it');
cmp_ok(@acknowledged, '>=', 300, scalar(@acknowledged) . ' were acknowledged');
cmp_ok(@acknowledged, '<', 900, 'and others not');
is(waiting($node, 'small'), scalar(@acknowledged), 'those that were wait, and no others');

# Full while they are processed: again and again.
$log = -s $node->logfile;
switch_workers($node, 'on');
my $enough = 0;
for (1 .. 300)
{
	last if $enough = failures() > 8;
	eval { kick_workers($node, 'small') };
	select undef, undef, undef, 0.05;
}
ok($enough, 'processing them fails for it, more often than a poisonous report would be tried');
is($node->safe_psql('small', 'SELECT count(*) FROM clinical.set_aside'), 0, 'nothing is in quarantine');
is($node->safe_psql('small', 'SELECT sum(received) FROM clinical.intake_balance'), scalar(@acknowledged), 'nothing is lost');
try_many(20);
is($node->safe_psql('small', 'SELECT sum(received) FROM clinical.intake_balance'), scalar(@acknowledged), 'nor is what is submitted meanwhile');

# Room, by and by: it fills again in the middle.
for (1 .. 3)
{
	free_disk();
	kick_workers($node, 'small');
	select undef, undef, undef, 0.2;
	fill_disk();
	try_many(20);
}
free_disk();
kick_workers($node, 'small');
drained($node, 'small', 'with room');
is($node->safe_psql('small', q{SELECT string_agg((report_data ->> 'n'), ' ' ORDER BY (report_data ->> 'n')::int) FROM clinical.submission}), join(' ', sort { $a <=> $b } @acknowledged),
	'what was acknowledged is accepted, and nothing else');
is($node->safe_psql('small', 'SELECT count(*) FROM clinical.observation'), 2 * @acknowledged, 'once');
is($node->safe_psql('small', 'SELECT count(*) FROM clinical.set_aside'), 0, 'nothing was set aside');
sound($node, 'small', 'at the end', 1);
switch_workers($node, 'off');
set_up($node, 'clinical.queue_capacity' => 50);
is(submit_many($node, 'small', 10001, 10052), 'queued 50, busy 2', 'no place in the queue is lost');
is(log_count($node, 'PANIC|TRAP|terminated by signal'), 0, 'no crash');

done_testing();
