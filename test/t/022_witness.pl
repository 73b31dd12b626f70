# Logical decoding as an independent witness: over a random workload by several sessions at once, the
# trail has exactly the changes that it saw, with the same values; and replaying the trail rebuilds the
# tables, as they are at the end and as they were on the way.  CLINICAL_SEED repeats a run.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{CLINICAL_SEED} // int(rand(1_000_000));
note "seed $seed (CLINICAL_SEED)";
srand($seed);
my $node = PostgreSQL::Test::Cluster->new('witness');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'\nwal_level = logical\nmax_prepared_transactions = 10\nclinical.audit_seal_interval = '100ms'\nfsync = off");
$node->start;
$node->safe_psql('postgres', q{
CREATE EXTENSION clinical;
SELECT clinical.create_center('Center ' || g, 'C' || g) FROM generate_series(1, 4) g;
SELECT clinical.create_project_with_centers('P', '{1, 2, 3, 4}', 'P');
SELECT clinical.enroll_patient('P' || g, 'Name ' || g, NULL, 'P', 1 + g % 4, '{"n": 0}', effective_on => '2026-01-10') FROM generate_series(1, 20) g;
CREATE ROLE regress_a; CREATE ROLE regress_b});
my @tables = split /\n/, $node->safe_psql('postgres', q{SELECT table_name FROM clinical.audit_columns() ORDER BY 1});
# so that the witness sees whole rows; the event trigger records that too
$node->safe_psql('postgres', join ';', map { "ALTER TABLE clinical.$_ REPLICA IDENTITY FULL" } @tables);
$node->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('witness', 'test_decoding')});
my $start = $node->safe_psql('postgres', 'SELECT max(id) FROM clinical.audit_record');

# Statements of all kinds; some fail, and leave nothing.
sub pick { return $_[ int rand @_ ]; }
my $made = 0;
sub statement
{
	my $p = 'P' . (1 + int rand 20);
	my $n = int rand 1000;
	return pick(
		"SELECT clinical.amend_record('$p', '{\"n\": $n, \"deep\": {\"k$n\": [$n, null, 1.50]}}', 'r$n')",
		"SELECT clinical.amend_record('$p', '{\"deep\": null}', 'r')",
		"UPDATE clinical.patient SET name = 'N$n', race = NULLIF('$n', '7') WHERE id = '$p'",
		"UPDATE clinical.patient SET name = name WHERE id = '$p'",
		"UPDATE clinical.patient SET record = jsonb_build_object('long', (SELECT string_agg(md5(g::text || '$n'), '') FROM generate_series(1, 200) g)) WHERE id = '$p'",
		"UPDATE clinical.patient SET sex = CASE WHEN sex = 'F' THEN 'M' ELSE 'F' END WHERE id < '$p'",
		"SELECT clinical.transfer_patient('$p', 1 + $n % 4, '2026-02-01', 'moved')",
		"SELECT clinical.set_patient_status('$p', 'completed', '2026-03-01')",
		"SELECT clinical.set_patient_time_zone('$p', 'Asia/Tokyo', '2026-02-01 00:00+00')",
		"SELECT clinical.enroll_patient('Q$$-" . ++$made . "', NULL, NULL, 'P', 1 + $n % 4, '{\"q\": $n}', effective_on => '2026-01-10')",
		"INSERT INTO clinical.center (name) VALUES ('New $n'), ('Newer $n')",
		"DELETE FROM clinical.center WHERE name ~ '^New' AND id % 3 = $n % 3 AND id > 4",
		"MERGE INTO clinical.center c USING (VALUES ('C1', 'M$n'), ('M$n', 'X')) v (s, n) ON c.site_id = v.s WHEN MATCHED THEN UPDATE SET name = v.n WHEN NOT MATCHED THEN INSERT (name, site_id) VALUES (v.n, v.s)",
		"INSERT INTO clinical.center (name, site_id) VALUES ('U$n', 'C2') ON CONFLICT (site_id) DO UPDATE SET name = excluded.name",
		"SELECT clinical.grant_center('regress_a', 1 + $n % 4), clinical.grant_all_centers('regress_b', 'P')",
		"DELETE FROM clinical.membership",
		"SELECT clinical.set_center_status(1 + $n % 4, CASE WHEN $n % 2 = 0 THEN 'suspended' ELSE 'active' END, 's')",
		"SELECT clinical.plan_enrolment('P', 1 + $n % 4, $n, '2026-01-01', '2026-06-30')");
}

# A transaction: plain, rolled back, with savepoints, or prepared.
sub transaction
{
	my $body = join ";\n", map { rand() < 0.3 ? ('SAVEPOINT s', statement(), pick('ROLLBACK TO s', 'RELEASE s')) : statement() } 1 .. 1 + int rand 4;
	my $name = "g$$-" . ++$made;
	return "BEGIN;\nSET LOCAL clinical.reason = 'workload';\n$body;\n" . pick('COMMIT', 'COMMIT', 'COMMIT', 'ROLLBACK', "PREPARE TRANSACTION '$name';\nCOMMIT PREPARED '$name'",
		"PREPARE TRANSACTION '$name';\nROLLBACK PREPARED '$name'") . ";\n";
}
my @sessions;
for my $session (1 .. 4)
{
	my $script = join '', map { transaction() } 1 .. 40;
	my ($out, $error) = ('', '');
	push @sessions, IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-v', 'ON_ERROR_STOP=0' ], '<', \$script, '>', \$out, '2>', \$error);
}
$_->finish for @sessions;
# COPY, and a statement of many rows
$node->safe_psql('postgres', "COPY clinical.center (name, site_id) FROM stdin;\nCopied\tCO1\nCopied\tCO2\n\\.\nSET clinical.reason = 'all'; UPDATE clinical.patient SET ethnicity = 'x' || id");
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), 0, 'no transaction is left prepared');
is($node->safe_psql('postgres', 'SELECT * FROM clinical.check()'), '', 'the data are sound');

# What the witness saw: transaction, table, operation, how often; an update that changes nothing is
# none.  Values are compared by the number of columns that differ.
$node->safe_psql('postgres', q{
-- the row before is shown without NULLs, and a long value that was left alone is not shown again
CREATE FUNCTION same_row(o text, n text) RETURNS boolean LANGUAGE sql AS $$
    SELECT CASE WHEN n ~ 'unchanged-toast-datum' THEN regexp_replace(o, ' record\[jsonb\]:''([^'']|'''')*''', '') ELSE o END
           = regexp_replace(n, ' \w+\[[^]]*\]:(null|unchanged-toast-datum)(?= |$)', '', 'g') $$;
CREATE TABLE seen AS SELECT row_number() OVER () AS n, xid, data FROM pg_logical_slot_get_changes('witness', NULL, NULL) WHERE data ~ '^table clinical\.';
CREATE TABLE witnessed AS
SELECT xid, (regexp_match(data, '^table clinical\.(\w+): (\w+):'))[1] AS tab, (regexp_match(data, '^table clinical\.(\w+): (\w+):'))[2] AS op, data FROM seen
 WHERE NOT (data ~ ': UPDATE: old-key: ' AND same_row((regexp_match(data, 'old-key: (.*) new-tuple: (.*)$'))[1], (regexp_match(data, 'old-key: (.*) new-tuple: (.*)$'))[2]));
DELETE FROM witnessed WHERE tab ~ '^audit_';
CREATE TABLE told AS SELECT (xid::text::bigint % 4294967296)::text::xid AS xid, table_name AS tab, operation AS op, row_key, changes FROM clinical.audit_record
 WHERE id > } . $start . q{ AND operation IN ('INSERT', 'UPDATE', 'DELETE')});
my $counts = $node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT tab), count(DISTINCT op) FROM witnessed');
like($counts, qr/^\d{3,}\|\d+\|3$/, "the witness saw changes, tables, operations: $counts");
is($node->safe_psql('postgres', q{
SELECT coalesce(w.xid, t.xid), coalesce(w.tab, t.tab), coalesce(w.op, t.op), w.n, t.n
  FROM (SELECT xid::text, tab, op, count(*) AS n FROM witnessed GROUP BY 1, 2, 3) w
  FULL JOIN (SELECT xid::text, tab, op, count(*) AS n FROM told GROUP BY 1, 2, 3) t USING (xid, tab, op) WHERE w.n IS DISTINCT FROM t.n}),
	'', 'the trail has exactly the changes that the witness saw, by transaction, table and operation');
# keys: each row that the witness saw changed is told of, and no other
is($node->safe_psql('postgres', q{
WITH w AS (SELECT xid::text, op, (regexp_match(data, CASE op WHEN 'UPDATE' THEN 'new-tuple: id\[text\]:''([^'']*)''' ELSE ' id\[text\]:''([^'']*)''' END))[1] AS id FROM witnessed WHERE tab = 'patient'),
     t AS (SELECT xid::text, op, row_key ->> 'id' AS id FROM told WHERE tab = 'patient')
(TABLE w EXCEPT ALL TABLE t) UNION ALL (TABLE t EXCEPT ALL TABLE w)}), '', 'of the same patients');
# values: the new name of each patient whose name the witness saw changed
is($node->safe_psql('postgres', q{
WITH w AS (SELECT xid::text, m[1] AS id, m[2] AS name FROM witnessed, regexp_match(data, 'new-tuple: id\[text\]:''([^'']*)''.* name\[text\]:''([^'']*)''') m,
                  regexp_match(data, 'old-key: .*? name\[text\]:''([^'']*)''.* new-tuple:') o WHERE tab = 'patient' AND op = 'UPDATE' AND m[2] <> o[1]),
     t AS (SELECT xid::text, row_key ->> 'id' AS id, c ->> 'new' AS name FROM told, jsonb_array_elements(changes) c WHERE tab = 'patient' AND op = 'UPDATE' AND c ->> 'column' = 'name')
(TABLE w EXCEPT ALL TABLE t) UNION ALL (TABLE t EXCEPT ALL TABLE w)}), '', 'with the same values');

# Replay: the tables as the trail has them, up to a record (of one session, so in the order of ids).
$node->safe_psql('postgres', q{
CREATE FUNCTION replayed(tab text, up_to bigint) RETURNS text LANGUAGE sql AS $$
    SELECT md5(coalesce(string_agg(row_key::text || ' ' || image::text, E'\n' ORDER BY row_key::text), ''))
      FROM (SELECT row_key, clinical.audit_image(changes ORDER BY generation, xid, id) AS image FROM clinical.audit_record
             WHERE table_name = tab AND id <= up_to AND operation IN ('INSERT', 'UPDATE', 'DELETE') GROUP BY row_key) r WHERE image <> '{}'
$$;
CREATE FUNCTION stored(tab text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text; BEGIN
    EXECUTE format('SELECT md5(coalesce(string_agg(a.row_key::text || '' '' || clinical.audit_apply(''{}'', a.changes)::text, E''\n'' ORDER BY a.row_key::text), '''')) FROM clinical.%I t, clinical.audit_row_of(t) a', tab) INTO result;
    RETURN result;
END $$;
CREATE TABLE moment (tab text, up_to bigint, digest text)});
my $tables = join ', ', map { "'$_'" } @tables;
my $differences = "SELECT t FROM unnest(ARRAY[$tables]) t WHERE replayed(t, 9223372036854775807) <> stored(t)";
is($node->safe_psql('postgres', $differences), '', 'the trail rebuilds all tables after the concurrent work');
isnt($node->safe_psql('postgres', "BEGIN; SET LOCAL clinical.restore = on; INSERT INTO clinical.center (name, time_zone, status) VALUES ('x', 'UTC', 'active'); $differences; ROLLBACK"), '', 'a difference would be seen');
my $remember = "INSERT INTO moment SELECT t, (SELECT max(id) FROM clinical.audit_record), stored(t) FROM unnest(ARRAY[$tables]) t;\n";
$node->psql('postgres', join('', map { transaction() . $remember } 1 .. 30), on_error_stop => 0);
cmp_ok($node->safe_psql('postgres', 'SELECT count(DISTINCT up_to) FROM moment'), '>', 2, 'moments were remembered');
is($node->safe_psql('postgres', 'SELECT tab, up_to FROM moment WHERE replayed(tab, up_to) <> digest'), '', 'and the trail rebuilds all tables as they were at each');

# sealed by the worker meanwhile
$node->poll_query_until('postgres', q{SELECT (SELECT max(xid) FROM clinical.audit_record WHERE table_name = 'patient') < (SELECT max(to_xid) FROM clinical.audit_block)}) or die;
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM clinical.audit_block'), '>', 1, 'the worker sealed meanwhile');
my $digest = $node->safe_psql('postgres', 'SELECT clinical.audit_digest()');
is($node->safe_psql('postgres', "SELECT * FROM clinical.verify_audit('$digest')"), '', 'the trail is sound');
my $export = $node->safe_psql('postgres', 'SELECT line FROM clinical.audit_export') . "\n";
my $told;
IPC::Run::run([ $^X, 'bin/clinical-verify-audit', '--digest', $digest ], '<', \$export, '>', \$told, '2>&1');
like($told, qr/, 0 faults$/, 'also to the verifier outside');
is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT id, lag(xid) OVER (ORDER BY generation, xid, id) AS before, xid FROM clinical.audit_record) r WHERE before > xid}), 0, 'and in order');

# an old transaction, open or prepared, keeps what comes after it from being sealed, and nobody from writing
$node->safe_psql('postgres', q{BEGIN; SELECT clinical.create_center('prepared'); PREPARE TRANSACTION 'old'});
$node->safe_psql('postgres', q{SET statement_timeout = '5s'; SELECT clinical.create_center('after'); DO $$BEGIN PERFORM clinical.seal_audit(); END$$});
my $open = q{SELECT count(*) FROM clinical.audit_record WHERE xid >= (SELECT max(to_xid) FROM clinical.audit_block) AND changes @> '[{"new": "after"}]'};
is($node->safe_psql('postgres', $open), 1, 'what follows a prepared transaction is written, and not sealed');
$node->safe_psql('postgres', q{COMMIT PREPARED 'old'});
$node->poll_query_until('postgres', $open, 0) or die;
is($node->safe_psql('postgres', "SELECT * FROM clinical.verify_audit('$digest')"), '', 'then it is sealed, by the worker, and sound');

# where a change came from
$node->append_conf('postgresql.conf', "listen_addresses = '127.0.0.1'");
$node->restart;
IPC::Run::run([ 'psql', '-XAtq', '-h', '127.0.0.1', '-p', $node->port, '-d', 'postgres', '-c', q{SELECT clinical.create_center('by network')} ], '>', \$told, '2>&1');
$node->safe_psql('postgres', q{SELECT clinical.create_center('by socket')});
is($node->safe_psql('postgres', q{SELECT client FROM clinical.audit_record WHERE changes @> '[{"new": "by network"}]' UNION ALL SELECT coalesce(client, 'socket') FROM clinical.audit_record WHERE changes @> '[{"new": "by socket"}]'}),
	"127.0.0.1\nsocket", 'the address of the client is told');

done_testing();
