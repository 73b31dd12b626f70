# The clients of doc/clients do what doc/clients.md says: in Python and in Node, where there are.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $scratch = PostgreSQL::Test::Utils::tempdir();
my %clients;
$clients{Python} = [ '/usr/bin/python3', 'doc/clients/clinical_client.py' ] if system('/usr/bin/python3 -c "import psycopg" 2>/dev/null') == 0;
# the package comes from the registry, if that can be reached
if (system('node --version >/dev/null 2>&1') == 0
	&& system("cp doc/clients/clinical_client.mjs '$scratch' && cd '$scratch' && HOME='$scratch' timeout 120 npm install --prefix . --no-save --no-audit --no-fund --fetch-retries 0 pg\@8 >npm.log 2>&1") == 0)
{
	$clients{Node} = [ 'node', "$scratch/clinical_client.mjs" ];
}
plan skip_all => 'neither psycopg nor pg is here' unless %clients;

my $node = PostgreSQL::Test::Cluster->new('clients');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'\nclinical.queue_capacity = 10");
$node->start;
$node->safe_psql('postgres', q{
CREATE EXTENSION clinical;
SELECT clinical.create_center('Center', 'S-1', 'Europe/Zurich'), clinical.create_center('Other', 'S-2', 'Europe/Zurich');
SELECT clinical.create_project_with_centers('Project', '{1, 2}', 'P-1', 'Europe/Zurich');
SELECT clinical.create_instrument('{"code": "diary", "version": "1", "items": [{"code": "n", "type": "integer"}]}');
SELECT clinical.use_instrument('P-1', 'diary', true);
SELECT clinical.enroll_patient('P1', 'Ada ü', '1950-01-01', 'P-1', 1, '{"arm": "A"}', effective_on => '2026-01-10');
SELECT clinical.enroll_patient('P2', 'Bob', '1950-01-01', 'P-1', 2, effective_on => '2026-01-10');
CREATE ROLE app LOGIN;
GRANT clinical_investigator TO app;
SELECT clinical.grant_center('app', 1)});

# A client with a command; what it prints comes when it has ended.
sub start
{
	my ($language, @command) = @_;
	my %run = (out => '', error => '');
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres', PGUSER => 'app', PGCLIENTENCODING => 'UTF8', PYTHONIOENCODING => 'utf-8');
	$run{handle} = IPC::Run::start([ @{ $clients{$language} }, @command ], '<', \undef, '>', \$run{out}, '2>', \$run{error}, IPC::Run::timeout(120));
	return \%run;
}

sub ends
{
	my ($run) = @_;
	$run->{handle}->finish;
	diag $run->{error} if $run->{error} ne '';
	chomp $run->{out};
	return $run->{out};
}
sub prints { return ends(start(@_)) }
sub value_of { return $node->safe_psql('postgres', $_[0]) }
# The session of a client that makes a report
my $making = q{FROM pg_stat_activity WHERE application_name = 'clinical_client' AND query ~ 'generate_report' AND state = 'active'};

for my $language (sort keys %clients)
{
	# --- looking up
	my $patient = prints($language, 'look_up', 'P1');
	is(value_of(qq{SELECT p ->> 'id', p ->> 'birthDate', p -> 'record' ->> 'arm' FROM (SELECT \$j\$$patient\$j\$::jsonb AS p) p}), 'P1|1950-01-01|A', "$language: a patient");
	is(prints($language, 'look_up', $_), 'null', "$language: no patient, or none of ours: $_") for 'none', 'P2';

	# --- submitting
	my $id = report_id(1, $language eq 'Node' ? 2 : 1);
	my $report = $language eq 'Node' ? '{"n": 2}' : '{"n": 1}';
	like(prints($language, 'submit', 'P1', $report, $id), qr/"outcome": ?"queued"/, "$language: a report");
	like(prints($language, 'submit', 'P1', $report, $id), qr/"outcome": ?"already_received"/, "$language: the same again");
	ok(wait_until($node, 'postgres', 'SELECT clinical.wait_until_drained()'), "$language: it is processed");
	# the queue is full, until it is not
	value_of('SELECT clinical.stop_workers()');
	value_of(q{SELECT s.outcome FROM generate_series(1, 200) g, LATERAL clinical.submit_report('P1', jsonb_build_object('n', g), captured_at => now() - g * interval '1 minute') s WHERE s.outcome = 'none'});
	is(value_of(q{SELECT outcome FROM clinical.submit_report('P1', '{"n": 1}')}), 'busy', "$language: the queue is full");
	my $busy = value_of('SELECT busy FROM clinical.stat_intake');
	my $waiting = start($language, 'submit', 'P1', $report, report_id(2, $language eq 'Node' ? 2 : 1));
	ok(wait_until($node, 'postgres', "SELECT busy >= $busy + 2 FROM clinical.stat_intake"), "$language: the client is told so, and asks again");
	value_of('SELECT clinical.start_workers()');
	like(ends($waiting), qr/"outcome": ?"queued"/, "$language: then it is taken");
	# the server restarts
	$node->stop('fast');
	my $patiently = start($language, 'submit', 'P1', $report, report_id(3, $language eq 'Node' ? 2 : 1));
	select undef, undef, undef, 0.5;
	$node->start;
	like(ends($patiently), qr/"outcome": ?"queued"/, "$language: a server that restarts is waited for");

	# --- reports
	my $document = prints($language, 'report', 'P-1', '2026-01-01', '2026-04-01', 60);
	is(value_of(qq{SELECT d ? 'header', d ? 'body', d ? 'sha256' FROM (SELECT \$j\$$document\$j\$::jsonb AS d) d}), 't|t|t', "$language: a report");
	# one that takes long: it waits for a lock
	my $lock = session($node, 'postgres');
	answers($lock, 'BEGIN; LOCK TABLE clinical.patient IN ACCESS EXCLUSIVE MODE');
	is(prints($language, 'report', 'P-1', '2026-01-01', '2026-04-01', 0.3), 'null', "$language: its time is up");
	ok(wait_until($node, 'postgres', "SELECT count(*) = 0 $making"), "$language: the server has stopped");
	my $abandoned = start($language, 'abandon', 'P-1', '2026-01-01', '2026-04-01', 3);
	ok(wait_until($node, 'postgres', "SELECT count(*) = 1 $making"), "$language: another one is made");
	is(ends($abandoned), 'null', "$language: and is abandoned");
	ok(wait_until($node, 'postgres', "SELECT count(*) = 0 $making"), "$language: the server notices, while it waits");
	answers($lock, 'ROLLBACK');
	end_session($lock);
	is(value_of(q{SELECT count(*) FROM clinical.report_job}), 0, "$language: nothing is left");
}
SKIP:
{
	skip 'no node, or npm cannot install pg', 1 unless $clients{Node};
	skip 'no psycopg', 1 unless $clients{Python};
	is(value_of(q{SELECT count(DISTINCT id) FROM clinical.submission WHERE id::text ~ '^0000000[12]-0000-4000-8000-00000000000[123]$'}), value_of(q{SELECT 6}), 'each report counts once') if wait_until($node, 'postgres', 'SELECT clinical.wait_until_drained()');
}
$node->stop;

done_testing();
