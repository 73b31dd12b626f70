# A dump that is taken while reports come in and are processed has every report that was acknowledged before
# it began, in exactly one place, and so has every snapshot, however old.  Restored, the queue goes on.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = intake_node('dump', 'clinical.batch_size = 10', 'clinical.queue_capacity = 20000');
my $folder = PostgreSQL::Test::Utils::tempdir();
my $number = q{('x' || right(id::text, 8))::bit(32)::int};	# report_id's
# In one snapshot: how many reports, how many different ones, and which is the last.
my $places = "SELECT count(*), count(DISTINCT n), max(n) FROM (SELECT $number AS n FROM (SELECT submission_id AS id FROM clinical.staged_report
 UNION ALL SELECT id FROM clinical.submission UNION ALL SELECT submission_id FROM clinical.set_aside) a) b";

# The queue fills, and nothing is processed yet: the oldest snapshot.
switch_workers($node, 'off');
is(submit_many($node, 'postgres', 1, 1500), 'queued 1500', 'a queue');
my $old = session($node, 'postgres');
is(answers($old, "BEGIN ISOLATION LEVEL REPEATABLE READ; $places"), '1500|1500|1500', 'a snapshot');

# It is processed, so slowly that it takes minutes, and more comes in.
slow_down($node, 'postgres', 0.1);
switch_workers($node, 'on');
my $submitter = session($node, 'postgres');
answers($submitter, "SET clinical.actor = 'submitter'");
ask($submitter, q{DO $$ BEGIN FOR i IN 1501 .. 3000 LOOP
    PERFORM clinical.submit_report('I' || 1 + i % 400, jsonb_build_object('n', i), ('00000000-0000-4000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, '2026-02-01 10:00+00');
    COMMIT; PERFORM pg_sleep(0.001);
END LOOP; END $$});

# Something has been processed before anything is looked at, or dumped.
ok($node->poll_query_until('postgres', 'SELECT count(*) > 0 FROM clinical.submission'), 'the workers have begun');

# Snapshots taken meanwhile: each report that was committed is there once, in the order in which they came.
my $reader = session($node, 'postgres');
my ($wrong, $moments, $between) = ('', 0, 0);
my $last = 0;
my $look = sub {
	my $seen = answers($reader, "BEGIN ISOLATION LEVEL REPEATABLE READ; $places; SELECT count(*) FROM clinical.staged_report; COMMIT");
	my ($reports, $different, $highest, $staged) = $seen =~ /^(\d+)\|(\d+)\|(\d+)\n(\d+)$/ or die $seen;
	$wrong .= "$seen\n" unless $reports == $different && $reports == $highest && $highest >= $last;
	$last = $highest;
	$moments++;
	$between++ if $staged > 0 && $staged < $reports;
};
$look->() for 1 .. 10;

# Dumps taken meanwhile.
my %dump = (plain => [ '-f', "$folder/plain.sql" ], directory => [ '-Fd', '-j2', '-f', "$folder/directory" ]);
my %acknowledged;
for my $format (qw(plain directory))
{
	$acknowledged{$format} = $node->safe_psql('postgres', "SELECT max($number) FROM (SELECT submission_id AS id FROM clinical.staged_report UNION ALL SELECT id FROM clinical.submission) a");
	my $dump = IPC::Run::start([ 'pg_dump', '-d', $node->connstr('postgres'), @{ $dump{$format} } ], '2>', \my $error);
	while ($dump->pumpable) { $look->(); $dump->pump_nb; }
	ok($dump->finish, "dump, $format") or diag $error;
	is($error // '', '', "dump, $format: nothing to say");
}
for (1 .. 200)
{
	last if $last == 3000;
	$look->();
}
is($wrong, '', "in each of $moments snapshots each report is in one place");
cmp_ok($between, '>', 10, "$between of them while reports were processed");
is(answers($submitter), '', 'all were submitted');
speed_up($node, 'postgres');
drained($node, 'postgres', 'the source');
is(answers($old, $places), '1500|1500|1500', 'in the oldest snapshot all reports are there, though all are processed');
is(answers($old, 'SELECT sum(received), sum(staged), sum(accepted) FROM clinical.intake_balance'), '1500|1500|0', 'and wait');
end_session($_) for $old, $reader, $submitter;
exactly_once($node, 'postgres', 1, 3000, 'the source');
sound($node, 'postgres', 'the source');

# What is restored has its queue, and goes on.
my %restore = (plain => sub { [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $_[0], '-f', "$folder/plain.sql" ] },
	directory => sub { [ 'pg_restore', '-e', '-j2', '-d', $_[0], "$folder/directory" ] });
sub restore
{
	my ($format, $database) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0");
	local $ENV{PGOPTIONS} = '-c clinical.restore=on' . ($format eq 'directory' ? ' -c session_replication_role=replica' : '');
	$node->command_ok($restore{$format}->($node->connstr($database)), "restore, $database");
	speed_up($node, $database);
}
for my $format (qw(plain directory))
{
	switch_workers($node, 'off');
	restore($format, "copy_$format");
	my ($reports, $different, $highest) = split /\|/, $node->safe_psql("copy_$format", $places);
	is("$reports $different", "$highest $highest", "$format: each report up to the last is in one place");
	cmp_ok($highest, '>=', $acknowledged{$format}, "$format: and all that were acknowledged");
	my ($staged, $stored) = split /\|/, $node->safe_psql("copy_$format", 'SELECT (SELECT count(*) FROM clinical.staged_report), (SELECT count(*) FROM clinical.submission)');
	ok($staged > 0 && $stored > 0, "$format: it was in the middle ($staged wait, $stored are processed)");
	sound($node, "copy_$format", $format);
	set_up($node, 'clinical.queue_capacity' => $staged + 7);
	is(submit_many($node, "copy_$format", $highest + 1, $highest + 9), 'queued 7, busy 2', "$format: the queue has its bound");
	set_up($node, 'clinical.queue_capacity' => 20000);
	switch_workers($node, 'on');
	drained($node, "copy_$format", $format);
	exactly_once($node, "copy_$format", 1, $highest + 7, $format);
	sound($node, "copy_$format", "$format, at the end");
}

# The same where workers run all the time.  They must not process a report before its patient is there, nor
# leave the queue alone because nobody submits.
restore('plain', 'busy_copy');
my ($reports) = split /\|/, $node->safe_psql('busy_copy', $places);
drained($node, 'busy_copy', 'restored while workers run', 30);
is($node->safe_psql('busy_copy', 'SELECT count(*) FROM clinical.submission'), $reports, 'restored while workers run: all are accepted');
sound($node, 'busy_copy', 'restored while workers run');
# The queue has its bound though its reports did not come in by submit_report, and were not there when somebody looked first.
restore('plain', 'busy_too');
switch_workers($node, 'off');
set_up($node, 'clinical.queue_capacity' => 7 + waiting($node, 'busy_too'));
is(submit_many($node, 'busy_too', 5001, 5009), 'queued 7, busy 2', 'restored while workers run: the queue has its bound');
is($node->safe_psql('busy_too', 'SELECT clinical.process_reports() >= 7'), 't', 'restored while workers run: processed');
set_up($node, 'clinical.queue_capacity' => 7);
is(submit_many($node, 'busy_too', 5011, 5019), 'queued 7, busy 2', 'restored while workers run: and when it is empty');

done_testing();
