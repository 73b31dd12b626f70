# Whatever is killed, and when: what was acknowledged is accepted, once, and what was not is not there.
#
# Eight clients submit all the time and keep ledgers outside of the database.  Meanwhile the postmaster, a
# backend, the worker or a client is killed, or the server stopped.  CLINICAL_KILL_CYCLES says how often (50;
# make soak: 1,000), CLINICAL_SEED repeats the order of things, not their moments.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $cycles = $ENV{CLINICAL_KILL_CYCLES} // 50;
my $seed = $ENV{CLINICAL_SEED} // int(time) % 1000000;
my $clients = 8;
my $capacity = 60;
note "CLINICAL_SEED=$seed CLINICAL_KILL_CYCLES=$cycles";
srand $seed;

my $node = intake_node('kill', "clinical.queue_capacity = $capacity", 'clinical.batch_size = 20', "clinical.audit_seal_interval = '1s'", "wal_writer_delay = '10s'");
my $folder = PostgreSQL::Test::Utils::tempdir();
my $running = start_clients($node, 'postgres', $folder, $seed, 1, $clients);

sub kill_client
{
	my $client = 1 + int rand $clients;
	kill 'KILL', $running->{$client};
	waitpid $running->{$client}, 0;
	$running->{$client} = start_clients($node, 'postgres', $folder, $seed, $client, $client)->{$client};
}
sub kill_session
{
	my ($which) = @_;
	my ($status, $pid) = $node->psql('postgres', "SELECT pid FROM pg_stat_activity WHERE $which AND pid <> pg_backend_pid() ORDER BY pid LIMIT 1 OFFSET " . int rand 3);
	return '' unless defined $pid && $pid =~ /^\d+$/;
	kill 'KILL', $pid;
	return 'one';
}
sub stop_server { my ($mode) = @_; $node->stop($mode); start_again($node) }

my @faults = (
	[ 'kill -9 of the postmaster', sub { kill_postmaster($node); start_again($node) } ],
	[ 'kill -9 of a backend', sub { kill_session("backend_type = 'client backend'") } ],
	[ 'kill -9 of the worker', sub { kill 'KILL', (worker_pids($node, 'postgres'))[0] // return } ],
	[ 'an immediate stop', sub { stop_server('immediate') } ],
	[ 'a fast stop', sub { stop_server('fast') } ],
	[ 'kill -9 of a client', \&kill_client ],
	[ 'kill -9 of the checkpointer', sub { kill_session("backend_type = 'checkpointer'") } ],
	[ 'the end of the worker', sub { $node->psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE $Intake::WORKERS") } ]);

for my $cycle (1 .. $cycles)
{
	my ($name, $fault) = @{ $faults[ $cycle <= @faults ? $cycle - 1 : int rand @faults ] };
	$name = "cycle $cycle, $name";
	select undef, undef, undef, 0.1 + rand 0.8;
	$fault->();
	wait_until($node, 'postgres', 'SELECT true') or die "$name: the server does not come back";
	my $ready = time;
	# in one snapshot: what is wrong, and how many wait
	my ($staged) = '';
	my $wrong = '';
	for (1 .. 100)	# who connects while the server ends, as after kill -9, tries again
	{
		my ($status, $out) = $node->psql('postgres', q{BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT 'wrong', c FROM clinical.check() c;
SELECT 'wrong', b FROM clinical.intake_balance b WHERE received <> accepted + duplicate + conflict + quarantined + withdrawn + staged;
SELECT 'wrong', s.patient_id, s.id FROM clinical.submission s LEFT JOIN clinical.observation o ON o.patient_id = s.patient_id AND o.submission_id = s.id
 GROUP BY 2, 3 HAVING count(o.id) <> 1;
SELECT 'staged', count(*) FROM clinical.staged_report; COMMIT});
		($wrong, $staged) = ($out, $out =~ /^staged\|(\d+)$/m);
		last if $status == 0 && defined $staged;
		select undef, undef, undef, 0.05;
	}
	ok(defined $staged && $wrong !~ /wrong/ && $staged <= $capacity, "$name: all is sound") or diag $wrong;
	ok(wait_until($node, 'postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE $Intake::WORKERS", 't', 5), "$name: a worker is there") or diag time - $ready;
}

# The clients get their last answers, and all is processed.
stop_clients($folder, $running);
kick_workers($node, 'postgres');
drained($node, 'postgres', 'at the end');

my %count = %{ ledgers($node, 'postgres', $folder) };
cmp_ok($count{ok} // 0, '>', 10 * $cycles, 'many were acknowledged');
cmp_ok($count{failed} // 0, '>', $cycles, 'and many rolled back');
sound($node, 'postgres', 'at the end', 1);
is(log_count($node, 'PANIC|TRAP|terminated by signal (?!9)'), 0, 'no crash of our own');

done_testing();
