# What was committed is there after a crash, whole, and what was not has left nothing.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('crash');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'\nfsync = on\nrestart_after_crash = on\nmax_prepared_transactions = 2");
$node->start;
$node->safe_psql('postgres', q{
CREATE EXTENSION clinical;
SELECT clinical.create_center('Center ' || g) FROM generate_series(1, 20) g;
SELECT clinical.create_project_with_centers('Committed', ARRAY(SELECT id FROM clinical.center), 'KEPT');
SELECT clinical.enroll_patient('K' || g, NULL, NULL, 'KEPT', 1 + g % 20, effective_on => '2026-01-10') FROM generate_series(1, 50) g;
});

my $counts = q{SELECT (SELECT count(*) FROM clinical.project), (SELECT count(*) FROM clinical.project_center), (SELECT count(*) FROM clinical.patient),
       (SELECT count(*) FROM clinical.enrollment_event), (SELECT count(*) FROM clinical.record_version), (SELECT count(*) FROM clinical.check())};
my $before = $node->safe_psql('postgres', $counts);
is($before, '1|20|50|50|50|0', 'committed');

# A session in the middle of a transaction; its pid.
my ($in, $out, $session);
sub open_transaction
{
	($in, $out) = ('', '');
	$session = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out, '2>', \my $error);
	$in .= q{BEGIN;
SELECT 'id ' || id FROM clinical.create_project_with_centers('Lost', ARRAY(SELECT id FROM clinical.center), 'LOST');
SELECT count(*) FROM generate_series(1, 30) g, clinical.enroll_patient('L' || g, NULL, NULL, 'LOST', 1 + g % 20, effective_on => '2026-01-10');
SELECT clinical.amend_record('K1', '{"lost": true}', 'lost');
SELECT 'pid ' || pg_backend_pid() || ' ready';
};
	$session->pump until $out =~ /pid (\d+) ready/;
	return $1;
}

my $pid = open_transaction();
kill 'KILL', $pid;
eval { $session->finish };
# not by poll_query_until, which dies of a psql that cannot connect before it has read its input
my $back;
for (1 .. 400) { last if $back = eval { $node->psql('postgres', 'SELECT true') == 0 }; select undef, undef, undef, 0.05; }
$back or die 'server did not come back';
is($node->safe_psql('postgres', $counts), $before, 'a backend was killed in the middle');

open_transaction();
$node->stop('immediate');
eval { $session->finish };
$node->start;
is($node->safe_psql('postgres', $counts), $before, 'the server was stopped in the middle');
is($node->safe_psql('postgres', q{SELECT code FROM clinical.create_project_with_centers('Found', '{1}', 'LOST')}), 'LOST', 'the code is free again');

# what is prepared outlives both
$node->safe_psql('postgres', q{
BEGIN;
SELECT clinical.enroll_patient('T1', NULL, NULL, 'KEPT', 1, effective_on => '2026-01-10');
SELECT clinical.amend_record('T1', '{"prepared": true}', 'in a prepared transaction');
PREPARE TRANSACTION 'trial'});
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.patient WHERE id = 'T1'}), 0, 'prepared: not yet');
is($node->safe_psql('postgres', q{COMMIT PREPARED 'trial';
SELECT record_version, record FROM clinical.get_patient('T1'); SELECT count(*) FROM clinical.check()}), "2|{\"prepared\": true}\n0", 'prepared: and then whole');

done_testing();
