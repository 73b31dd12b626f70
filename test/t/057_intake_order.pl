# Order, visibility and locks of the queue: what commits late is not passed over, and nobody waits for anybody.
#
# The known pitfalls of queues in PostgreSQL, and the test that shows each:
#
#   commit order is not id order                here: late commits
#   a straggler that began before a segment ended  here: late commits, one row at a time; 050
#   waiting for an exclusive lock queues all    here: locks
#   truncating is not MVCC-safe                 052: snapshots
#   a held snapshot: catalogs and queue grow    here: a held snapshot
#   subtransactions                             051, test/sql/intake.sql
#   prepared transactions                       051, test/sql/intake.sql
#   abort, FATAL, kill                          051, 050
#   synchronous_commit = off                    051, 050
#   standby and promotion                       058, 013
#   a full disk                                 053
#   DROP DATABASE, DROP EXTENSION, templates    054, 011, 012; pg_upgrade: test/upgrade.sh
#   a worker that waits in a transaction        here: idle workers; 011
#   row level security, rights of the worker    020, 011, 012
#   parallel mode                               here: parallel mode
#   one hot patient                             here: one patient
#   wraparound                                  here: freezing
#   the id's uniqueness lives in the results    here: one id from many; test/sql/intake.sql
#   readers, writers, submitters, dumps held    here: locks; 052
#   plans that change                           here: a held snapshot, statistics of an empty queue
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = intake_node('order', 'clinical.batch_size = 50');
my $last = 0;
sub more { my ($count) = @_; $last += $count; return submit_many($node, 'postgres', $last - $count + 1, $last) }
sub accepted { my ($number) = @_; return $node->safe_psql('postgres', "SELECT count(*) FROM clinical.submission WHERE id = '" . report_id($number) . "'") }

# Late commits: some begin before others that commit and are processed, and end after them.
my @late = map { session($node, 'postgres') } 1 .. 4;
my @open;
for my $session (@late)
{
	push @open, ++$last;
	is(answers($session, 'BEGIN; SELECT outcome FROM ' . submit($last)), 'queued', 'a transaction that stays open');
	more(50);
}
for my $session (@late)	# one more in each, among what is processed by now
{
	push @open, ++$last;
	answers($session, 'SAVEPOINT s; SELECT outcome FROM ' . submit($last));
	more(50);
	wait_until($node, 'postgres', 'SELECT count(*) FROM clinical.staged_report', 0);
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM clinical.submission'), $last - 8, 'all others are processed meanwhile');
for my $i (reverse 0 .. $#late)
{
	answers($late[$i], 'COMMIT');
	ok(wait_until($node, 'postgres', 'SELECT count(*) FROM clinical.submission', $last - 2 * $i, 20), 'committed late, it is processed, without anybody else');
}
end_session($_) for @late;
exactly_once($node, 'postgres', 1, $last, 'late commits');

# One row at a time, in transactions that overlap: the straggler's moment comes in all places.
my @loops = map { my $from = $last + 1; $last += 200; my $s = session($node, 'postgres');
	ask($s, qq{DO \$\$ BEGIN FOR i IN $from .. $last LOOP
    PERFORM clinical.submit_report('I' || 1 + i % 400, jsonb_build_object('n', i), ('00000000-0000-4000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, '2026-02-01 10:00+00');
    PERFORM pg_sleep(random() * 0.006); COMMIT; END LOOP; END \$\$}); $s } 1 .. 8;
answers($_) for @loops;
end_session($_) for @loops;
drained($node, 'postgres', 'overlapping transactions', 20);
exactly_once($node, 'postgres', 1, $last, 'overlapping transactions');

# Locks: whatever others hold, who submits does not wait.
my $holder = session($node, 'postgres');
my $tables = $node->safe_psql('postgres', q{SELECT string_agg(oid::regclass::text, ', ') FROM pg_class
 WHERE oid = 'clinical.staged_report'::regclass OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'clinical.staged_report'::regclass)});
sub at_once
{
	my ($name) = @_;
	my $from = $last + 1;
	my ($status, $out, $error) = $node->psql('postgres', "SET lock_timeout = '2s'; SET statement_timeout = '10s';\n" . join "\n", map { 'SELECT outcome FROM ' . submit($_) . ';' } $from .. $from + 19);
	$last += 20;
	return is($out, join("\n", ('queued') x 20), "$name: nobody waits") || diag $error;
}
for my $case ([ 'a reader', "LOCK TABLE $tables IN ACCESS SHARE MODE; SELECT count(*) FROM clinical.staged_report" ],
	[ 'a dump', "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; LOCK TABLE $tables, clinical.submission, clinical.observation, clinical.set_aside IN ACCESS SHARE MODE; SELECT 1" ],
	[ 'a submitter', 'SELECT outcome FROM ' . submit(++$last) ], [ 'a writer elsewhere', 'CREATE TABLE public.elsewhere (n int)' ], [ 'a vacuum', "LOCK TABLE $tables IN SHARE UPDATE EXCLUSIVE MODE" ])
{
	my ($name, $sql) = @$case;
	answers($holder, "BEGIN; $sql");
	for (1 .. 3)
	{
		at_once($name);
		ok(wait_until($node, 'postgres', 'SELECT count(*) FROM clinical.staged_report', 0, 20), "$name: nor does the worker");
	}
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_locks WHERE NOT granted'), 0, "$name: and no lock is waited for");
	answers($holder, 'COMMIT');
}
$node->safe_psql('postgres', "VACUUM $tables");
at_once('after a vacuum');
drained($node, 'postgres', 'locks');
exactly_once($node, 'postgres', 1, $last, 'locks');

# A held snapshot: catalogs do not grow, nor does what a claim reads (the shared buffers of a look into the queue).
answers($holder, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM clinical.submission');
my $catalogs = q{SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND relname <> 'pg_statistic'};
more(100);
drained($node, 'postgres', 'a held snapshot');
$node->safe_psql('postgres', "ANALYZE");	# the planner knows an empty queue
my $size = $node->safe_psql('postgres', $catalogs);
for (1 .. 20)
{
	more(100);
	wait_until($node, 'postgres', 'SELECT count(*) FROM clinical.staged_report', 0) or die 'not processed';
}
cmp_ok($node->safe_psql('postgres', $catalogs) - $size, '<', 200000, 'a held snapshot: the catalogs grow by less than 200 kB');
is(answers($holder, 'SELECT count(*) FROM clinical.submission') . '', answers($holder, 'SELECT count(*) FROM clinical.submission; COMMIT'), 'and it sees what it saw');
end_session($holder);
more(1000);
drained($node, 'postgres', 'with statistics of an empty queue');
exactly_once($node, 'postgres', 1, $last, 'a held snapshot');

# Idle workers hold no transaction, no snapshot and no lock on a table.
ok(wait_until($node, 'postgres', "SELECT count(*) > 0 AND bool_and(xact_start IS NULL AND backend_xmin IS NULL AND backend_xid IS NULL) FROM pg_stat_activity WHERE $Intake::WORKERS"), 'idle workers have no transaction');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE relation IS NOT NULL AND pid IN (SELECT pid FROM pg_stat_activity WHERE $Intake::WORKERS)"), 0, 'and no lock');

# Parallel mode: what submits or processes never runs in a parallel worker.
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT proparallel::text, '') FROM pg_proc WHERE pronamespace = 'clinical'::regnamespace AND proname IN ('submit_report', 'submit_reports', 'process_reports', 'requeue')}),
	'u', 'parallel mode: unsafe');
my $forced = $node->pg_version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';
$last += 100;
is($node->safe_psql('postgres', "SET $forced = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SELECT count(*) FROM clinical.submission s WHERE s.patient_id = 'none'; BEGIN; SELECT count(*) FROM clinical.observation; "
	  . join(' ', map { 'SELECT outcome FROM ' . submit($_) . ';' } $last - 99 .. $last - 50) . " SELECT count(*) FROM clinical.submission WHERE patient_id = 'none'; COMMIT; "
	  . "SELECT count(*) FROM generate_series($last - 49, $last) i, clinical.submit_report('I' || 1 + i % 400, jsonb_build_object('n', i), ('00000000-0000-4000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, '2026-02-01 10:00+00') r WHERE r.success")
	  =~ /^0\n\d+\n(queued\n){50}0\n50$/ ? 'all' : 'not all', 'all', 'parallel mode: all are taken in');
drained($node, 'postgres', 'parallel mode');
exactly_once($node, 'postgres', 1, $last, 'parallel mode');

# One patient has many reports, others few.
switch_workers($node, 'off');
my $hot = q{SELECT count(r) FROM generate_series(1, 2000) g, clinical.submit_report('I39', jsonb_build_object('n', g), ('00000007-0000-4000-8000-' || lpad(to_hex(g), 12, '0'))::uuid, '2026-02-01 10:00+00'::timestamptz + g * interval '1 s') r};
is($node->safe_psql('postgres', $hot), 2000, 'one patient sends many');
more(40);
switch_workers($node, 'on');
drained($node, 'postgres', 'one patient');
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT value) FROM clinical.observation WHERE patient_id = 'I39' AND submission_id::text LIKE '00000007%'}), '2000|2000', 'one patient: all are there once');
is(accepted($last), 1, 'one patient: and those of others');

# Who waits for lanes, and finds them emptied, does not make the next one read what an old snapshot keeps.
switch_workers($node, 'off');
my $keeper = session($node, 'postgres');
answers($keeper, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM clinical.submission');
more(4000);
is($node->safe_psql('postgres', 'SELECT clinical.process_reports()'), 4000, 'emptied lanes: what a snapshot keeps');
more(10);
my ($fast, $slow) = map { session($node, 'postgres') } 1 .. 2;
is(answers($fast, 'BEGIN; SELECT clinical.process_reports()'), 10, 'emptied lanes: one takes all');
ask($slow, 'SELECT clinical.process_reports()');
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM pg_locks WHERE NOT granted}, 1), 'emptied lanes: another waits for it');
answers($fast, 'COMMIT');
is(answers($slow), 0, 'emptied lanes: and finds nothing');
end_session($_) for $fast, $slow;
$last += 390;	# the next are of the same patients
more(10);
my $blocks = q{SELECT sum(heap_blks_read + heap_blks_hit) FROM pg_statio_user_tables WHERE relname LIKE 'staged_report_%'};
my $before = $node->safe_psql('postgres', $blocks);
is($node->safe_psql('postgres', 'SELECT clinical.process_reports(); SELECT pg_stat_force_next_flush()') =~ s/\s+$//r, 10, 'emptied lanes: the next ones are processed');
cmp_ok($node->safe_psql('postgres', $blocks) - $before, '<', 50, 'emptied lanes: and found where they are');
answers($keeper, 'COMMIT');
end_session($keeper);
switch_workers($node, 'on');

# Freezing: an empty queue is as young as a new table, without an end of submitting.
$node->safe_psql('postgres', 'SELECT pg_current_xact_id()') for 1 .. 3;
my $freezing = session($node, 'postgres');
$last += 200;
ask($freezing, join ' ', map { 'SELECT ' . submit($_) . ';' } $last - 199 .. $last);
$node->safe_psql('postgres', "VACUUM (FREEZE) $_") for split /, /, $tables;
answers($freezing);
end_session($freezing);
drained($node, 'postgres', 'freezing');
$node->safe_psql('postgres', "VACUUM (FREEZE) $_") for split /, /, $tables;
is($node->safe_psql('postgres', q{SELECT bool_and(age(relfrozenxid) < 50) FROM pg_class WHERE relkind = 'r' AND (oid = 'clinical.staged_report'::regclass OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'clinical.staged_report'::regclass))}),
	't', 'freezing: the queue is young');
is(accepted($_), 1, 'freezing: and has lost nothing') for $last - 199, $last;

# One id from many at the same time: one is accepted, the others are the same again.
@loops = map { my $s = session($node, 'postgres'); ask($s, qq{DO \$\$ BEGIN FOR i IN 1 .. 50 LOOP
    PERFORM clinical.submit_report('I1', jsonb_build_object('n', i), ('00000009-0000-4000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, '2026-02-01 10:00+00'); COMMIT;
END LOOP; END \$\$}); $s } 1 .. 6;
answers($_) for @loops;
end_session($_) for @loops;
drained($node, 'postgres', 'one id from many');
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT id) FROM clinical.submission WHERE id::text LIKE '00000009%'}), '50|50', 'one id from many: each is accepted once');
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.set_aside WHERE outcome <> 'duplicate'}), 0, 'one id from many: the others are duplicates');
sound($node, 'postgres', 'at the end', 1);

done_testing();
