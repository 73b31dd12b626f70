# What a superuser can do to the trail and behind its back: each kind of tampering is found by
# verify_audit with its place, or, where nothing inside can show it, against a digest kept outside; and
# by the verifier that needs no server, where it concerns the trail itself.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run ();

my $node = PostgreSQL::Test::Cluster->new('tamper');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'\nclinical.workers_enabled = off\nfsync = off");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE base');
$node->safe_psql('base', q{
CREATE EXTENSION clinical;
SELECT clinical.create_center('One', '1'), clinical.create_center('Two', '2');
SELECT clinical.create_project_with_centers('P', '{1, 2}', 'P');
SELECT clinical.create_instrument('{"code": "diary", "version": "1", "items": [{"code": "a", "type": "integer", "checks": [{"comparator": "LE", "values": [10], "soft_hard": "Hard"}]}]}');
SELECT clinical.create_rule('{"code": "over", "project": "P", "kind": "threshold", "severity": "critical", "items": [{"item": "a", "range": "[0,7]"}], "evaluate": false}')});
# three blocks, and some records that are not sealed
for my $round (1 .. 4)
{
	$node->safe_psql('base', qq{
SELECT clinical.enroll_patient('P$round', 'Name $round', NULL, 'P', 1, '{"dose": $round.50}', effective_on => '2026-01-10');
SELECT clinical.amend_record('P$round', '{"dose": 1.5}', 'precision');
SELECT clinical.set_patient_status('P$round', 'completed', '2026-02-01')});
	$node->safe_psql('base', q{SELECT clinical.redact('clinical.patient', '{"id": "P1"}', '{name}', 'r'); SELECT clinical.redact('clinical.patient', '{"id": "P1"}', '{record,dose}', 'r')}) if $round == 2;
	# reports, one with a correction
	$node->safe_psql('base', q{
SELECT clinical.use_instrument('P', 'diary', true);
SELECT clinical.submit_report('P1', jsonb_build_object('a', g), ('00000000-0000-0000-0000-00000000000' || g)::uuid, '2026-01-20 10:00+00'::timestamptz + g * interval '1 hour') FROM generate_series(1, 3) g;
SELECT clinical.process_reports();
SELECT clinical.correct_observation('P1', id, '7', 'misread') FROM clinical.observation WHERE value = 3}) if $round == 1;
	$node->safe_psql('base', 'SELECT clinical.seal_audit()') if $round < 4;
}
is($node->safe_psql('base', 'SELECT count(*), (SELECT count(*) FROM clinical.audit_record r WHERE xid >= max(b.to_xid)) > 3 FROM clinical.audit_block b'), '3|t', 'three blocks, and more');
my $digest = $node->safe_psql('base', 'SELECT clinical.audit_digest()');
my $early = $node->safe_psql('base', q{SELECT 'clinical-1:1:' || encode(hash, 'hex') FROM clinical.audit_block WHERE block_no = 1});

# What the two verifiers say of a database, the server with or without the digest.
sub verdicts
{
	my ($database, $with) = @_;
	my $inside = $node->safe_psql($database, 'SELECT fault, place FROM clinical.verify_audit(' . ($with ? "'$with'" : '') . ') LIMIT 8');
	my $export = $node->safe_psql($database, 'SELECT line FROM clinical.audit_export') . "\n";
	my $outside;
	IPC::Run::run([ $^X, 'bin/clinical-verify-audit', $with ? ('--digest', $with) : () ], '<', \$export, '>', \$outside, '2>&1');
	return ($inside, $outside);
}
my ($inside, $outside) = verdicts('base', $digest);
is($inside, '', 'untouched it is sound');
like($outside, qr/\A\d+ records, 3 blocks, [1-9]\d* unsealed, 0 faults\n\z/, 'to both');
($inside, $outside) = verdicts('base', $early);
is($inside . ($outside =~ /(\d+) faults/)[0], '0', 'against an earlier digest too');

# Switches all off that stands in the way, and on again.
my $open = 'ALTER EVENT TRIGGER clinical_ddl DISABLE; ALTER EVENT TRIGGER clinical_drop DISABLE;' .
  join '', map { "ALTER TABLE clinical.$_ DISABLE TRIGGER USER;" } qw(audit_record audit_block audit_generation patient center enrollment_event record_version instrument_version submission observation monitor_rule_version);
my $close = q{
DO $$DECLARE t record; BEGIN
    FOR t IN SELECT tgrelid::regclass AS rel, tgname FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid WHERE c.relnamespace = 'clinical'::regnamespace AND NOT tgisinternal LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', t.rel, t.tgname);
    END LOOP;
END$$;
ALTER EVENT TRIGGER clinical_ddl ENABLE ALWAYS; ALTER EVENT TRIGGER clinical_drop ENABLE ALWAYS};

# A place in the trail: the first, middle or last record of block 2.
sub record
{
	my ($which) = @_;
	my %at = (first => 0, middle => 'records / 2', last => 'records - 1');
	return "(generation, xid, id) = (SELECT o.generation, o.xid, o.id FROM clinical.audit_record o JOIN clinical.audit_block b ON b.block_no = 2 AND o.xid >= b.from_xid AND o.xid < b.to_xid ORDER BY o.xid, o.id "
	  . "OFFSET (SELECT $at{$which} FROM clinical.audit_block WHERE block_no = 2) LIMIT 1)";
}
my $leaf = q{sha256('\x00'::bytea)};
my @cases;
# [ what, SQL, what the server says, what the stand-alone verifier says (undef: nothing), digest ]
my %edit = (recorded_at => "recorded_at + interval '1 day'", login => "'mallory'", role => "'mallory'", authenticated => "'mallory'", actor => "'mallory'", client => "'10.0.0.1'",
	table_name => "'center'", operation => "'DELETE'", row_key => q{'{"id": "P9"}'}, patient_id => "'P9'", changes => q{'[]'}, reason => "'no reason'",
	salt => q{'\x00000000000000000000000000000000'}, leaf => $leaf);
push @cases, [ "a record's $_ edited", "UPDATE clinical.audit_record SET $_ = $edit{$_} WHERE " . record('middle'),
	qr/^record was altered\|record \(1, \d+, \d+\)$/m, qr/^record was altered: record/m ] for sort keys %edit;
push @cases, [ "the $_ record of a block deleted", 'DELETE FROM clinical.audit_record WHERE ' . record($_), qr/^records are missing\|block 2$/m, qr/^records are missing: block 2/m ] for qw(first middle last);
push @cases,
  [ 'a record inserted in a sealed place', "INSERT INTO clinical.audit_record SELECT generation, xid, id + 100000, recorded_at, login, role, authenticated, actor, client, table_name, operation, row_key, patient_id, changes, reason, salt, content_hash, leaf FROM clinical.audit_record WHERE " . record('middle'),
	qr/^records were inserted\|block 2$/m, qr/^records were inserted: block 2/m ],
  [ 'a record inserted before all', "INSERT INTO clinical.audit_record SELECT 0, xid, id, recorded_at, login, role, authenticated, actor, client, table_name, operation, row_key, patient_id, changes, reason, salt, content_hash, leaf FROM clinical.audit_record WHERE " . record('middle'),
	qr/^record was inserted\|record \(0, /m, qr/^record was inserted: record \(0/m ],
  [ 'the contents of two records exchanged', "UPDATE clinical.audit_record r SET changes = o.changes FROM clinical.audit_record o WHERE r.id <> o.id AND r.table_name = 'patient' AND o.table_name = 'patient' AND r.operation = 'INSERT' AND o.operation = 'INSERT' AND r.patient_id IN ('P1', 'P2') AND o.patient_id IN ('P1', 'P2')",
	qr/^record was altered\|record.*\n.*record was altered\|record/m, qr/^record was altered: record/m ],
  [ 'two records exchanged with their hashes', q{UPDATE clinical.audit_record SET id = id + 1000000 WHERE table_name = 'patient' AND operation = 'INSERT' AND patient_id IN ('P1', 'P2')},
	qr/^record was altered/m, qr/^record was altered/m ],
  [ 'a record edited together with its hash', 'UPDATE clinical.audit_record SET salt = NULL, content_hash = leaf WHERE ' . record('middle'), qr/^record was altered/m, qr/^record was altered/m ],
  [ 'content declared as redacted', "UPDATE clinical.audit_record SET changes = '[]', content_hash = clinical.audit_content_hash(salt, changes, reason), salt = NULL WHERE " . record('middle'),
	qr/^record was altered\|record/m, qr/^record was altered: .*no redaction says so/m ],
  [ 'another leaf, consistently', qq{UPDATE clinical.audit_record SET leaf = $leaf WHERE } . record('middle') . '; UPDATE clinical.audit_block SET root = sha256(root) WHERE block_no = 2', qr/^block was altered\|block 2\n.*^record was altered/ms, qr/block was altered/m ];
push @cases, [ "a block's $_->[0] edited", "UPDATE clinical.audit_block SET $_->[0] = $_->[1] WHERE block_no = 2", qr/^block was altered\|block 2$/m, qr/^block was altered: block 2/m ]
  for [ from_xid => "'3'" ], [ to_xid => "(to_xid::text::bigint + 1)::text::xid8" ], [ records => 'records + 1' ], [ root => 'hash' ], [ previous => 'hash' ], [ sealed_at => 'now()' ], [ hash => 'root' ], [ generation => '2' ];
push @cases,
  [ 'the first block deleted', 'DELETE FROM clinical.audit_block WHERE block_no = 1', qr/^block is missing\|block 1$/m, qr/^block is missing: block 1/m ],
  [ 'a middle block deleted', 'DELETE FROM clinical.audit_block WHERE block_no = 2', qr/^block is missing\|block 2$/m, qr/^block is missing: block 2/m ],
  [ 'the last block deleted', 'DELETE FROM clinical.audit_block WHERE block_no = 3', qr/^trail is cut off\|block 3$/m, qr/^trail is cut off: block 3/m, $digest ],
  [ 'the tail cut off, rows and all', q{DELETE FROM clinical.audit_record WHERE xid >= (SELECT from_xid FROM clinical.audit_block WHERE block_no = 3); DELETE FROM clinical.audit_block WHERE block_no = 3;
DELETE FROM clinical.record_version WHERE patient_id IN ('P3', 'P4'); DELETE FROM clinical.enrollment_event WHERE patient_id IN ('P3', 'P4'); DELETE FROM clinical.patient WHERE id IN ('P3', 'P4')},
	qr/^trail is cut off\|block 3$/m, qr/^trail is cut off: block 3/m, $digest, 'only' ],
  [ 'all sealed anew', q{DELETE FROM clinical.audit_block; DELETE FROM clinical.audit_record WHERE table_name = 'patient' AND false;} . "$close; SELECT clinical.seal_audit()", qr/^trail is (cut off|not the one of the digest)\|block/m, qr/^trail is (cut off|not the one of the digest)/m, $digest, 'only' ],
  [ 'a generation forged', q{UPDATE clinical.audit_record SET generation = 2 WHERE } . record('last'), qr/^record/m, qr/^record/m ];
push @cases, [ 'a redacted record edited', q{UPDATE clinical.audit_record SET reason = 'other' WHERE content_hash IS NOT NULL AND table_name = 'patient' AND operation = 'UPDATE' AND patient_id = 'P1'},
	qr/^record was altered\|record/m, qr/^record was altered: .*not what its redaction left/m ];
for my $wrong (q{recorded_at = 'infinity'}, q{recorded_at = '4000-01-01 BC'}, q{changes = '"x"'}, q{changes = '[1, {"column": 7}, {"column": "name", "path": 1, "new": 2}]'},
	q{changes = '[{"column": "record", "path": ["dose", "x", "0"], "new": 1}]'}, q{changes = '[{"column": "record", "path": [true, 1, null, {}], "new": 2}]'}, q{row_key = '[]'}, q{salt = ''}, q{leaf = ''}, q{operation = 'INSERT', changes = 'null'})
{
	push @cases, [ "a record mutilated: $wrong", "UPDATE clinical.audit_record SET $wrong WHERE " . record('middle'), qr/^record was altered\|record/m, undef ];
}
# behind the trail's back
my @behind = (
  [ 'a row updated with the triggers off', q{UPDATE clinical.patient SET name = 'Mallory' WHERE id = 'P2'}, qr/^row differs from the trail\|patient \{"id": "P2"\}$/m ],
  [ 'a value in a record with the triggers off', q{UPDATE clinical.patient SET record = '{"dose": 15}' WHERE id = 'P2'}, qr/^row differs from the trail\|patient \{"id": "P2"\}$/m ],
  [ 'a digit with the triggers off', q{UPDATE clinical.patient SET record = '{"dose": 1.50}' WHERE id = 'P2'}, qr/^row differs from the trail\|patient \{"id": "P2"\}$/m ],
  [ 'a row inserted with the triggers off', q{INSERT INTO clinical.center (name, status) VALUES ('Ghost', 'active')}, qr/^row differs from the trail\|center \{"id": 3\}$/m ],
  [ 'a row deleted with the triggers off', q{DELETE FROM clinical.enrollment_event WHERE patient_id = 'P2' AND event_no = 2}, qr/^row differs from the trail\|enrollment_event \{"event_no": 2, "patient_id": "P2"\}$/m ],
  [ 'a version edited with the triggers off', q{UPDATE clinical.record_version SET reason = 'x' WHERE patient_id = 'P2' AND version = 2}, qr/^row differs from the trail\|record_version \{"version": 2, "patient_id": "P2"\}$/m ],
  [ 'a range of a questionnaire widened', q{UPDATE clinical.instrument_version SET definition = jsonb_set(definition, '{items,0,checks,0,values}', '[1000]')},
	qr/^row differs from the trail\|instrument_version \{"id": 1\}$/m ],
  [ 'a rule made blind', q{UPDATE clinical.monitor_rule_version SET definition = jsonb_set(definition, '{items,0,range}', '"[0,1000]"')},
	qr/^row differs from the trail\|monitor_rule_version \{"id": 1\}$/m ],
  [ 'an observation altered', q{UPDATE clinical.observation SET value = 9 WHERE value = 1},
	qr/^row differs from the trail\|submission \{"id": "00000000-0000-0000-0000-000000000001", "patient_id": "P1"\}$/m ],
  [ 'the zeros of an observation altered', q{UPDATE clinical.observation SET value = 1.0 WHERE value = 1},
	qr/^row differs from the trail\|submission \{"id": "00000000-0000-0000-0000-000000000001", "patient_id": "P1"\}$/m ],
  [ 'two observations exchanged', q{UPDATE clinical.observation SET value = 3 - value WHERE value < 3},
	qr/^row differs from the trail\|submission \{"id": "0{8}-0{4}-0{4}-0{4}-0{11}1", "patient_id": "P1"\}\nrow differs from the trail\|submission \{"id": "0{8}-0{4}-0{4}-0{4}-0{11}2", "patient_id": "P1"\}$/m ],
  [ 'an observation deleted', q{DELETE FROM clinical.observation WHERE value = 1},
	qr/^row differs from the trail\|submission \{"id": "00000000-0000-0000-0000-000000000001", "patient_id": "P1"\}$/m ],
  [ 'an observation added', q{INSERT INTO clinical.observation SELECT patient_id, 'b', captured_at, id, version, submission_id, repeat_key, local_day, value, value_text, value_code, unit, absent, is_score, flagged, reason, recorded_at, recorded_by, actor FROM clinical.observation WHERE value = 1},
	qr/^row differs from the trail\|submission \{"id": "00000000-0000-0000-0000-000000000001", "patient_id": "P1"\}$/m ],
  [ 'an observation of no report', q{UPDATE clinical.observation SET submission_id = '00000000-0000-0000-0000-000000000009' WHERE value = 1},
	qr/^row differs from the trail\|submission \{"id": "00000000-0000-0000-0000-000000000009", "patient_id": "P1"\}$/m ],
  [ 'an observation altered together with its digest', q{UPDATE clinical.observation SET value = 9 WHERE value = 1;
UPDATE clinical.submission s SET observations_digest = (SELECT clinical.observation_digest(o.*) FROM clinical.observation o WHERE o.submission_id = s.id AND o.version = 1)},
	qr/^row differs from the trail\|submission \{"id": "00000000-0000-0000-0000-000000000001", "patient_id": "P1"\}$/m ],
  [ 'a correction altered', q{UPDATE clinical.observation SET value = 8 WHERE value = 7}, qr/^row differs from the trail\|observation \{.*"version": 2.*\}$/m ],
  [ 'a correction deleted', q{DELETE FROM clinical.observation WHERE version = 2}, qr/^row differs from the trail\|observation \{.*"version": 2.*\}$/m ],
  [ 'a correction added', q{INSERT INTO clinical.observation SELECT patient_id, item, captured_at, id, 2, submission_id, repeat_key, local_day, 5, value_text, value_code, unit, absent, is_score, flagged, reason, recorded_at, recorded_by, actor FROM clinical.observation WHERE value = 1},
	qr/^row differs from the trail\|observation \{.*"version": 2.*\}$/m ],
  [ 'a report with its observations deleted', q{DELETE FROM clinical.observation WHERE value = 1; DELETE FROM clinical.submission WHERE id = '00000000-0000-0000-0000-000000000001'},
	qr/^row differs from the trail\|submission \{"id": "00000000-0000-0000-0000-000000000001", "patient_id": "P1"\}$/m ],
  [ 'such a change, overwritten since', q{UPDATE clinical.center SET name = 'Ghost' WHERE id = 1; } . $close . q{; UPDATE clinical.center SET name = 'One again' WHERE id = 1}, qr/^row differs from the trail\|center \{"id": 1\}$/m ],
  [ 'a grant given to another', q{CREATE ROLE regress_one; CREATE ROLE regress_two; SELECT clinical.grant_center('regress_one', 1); ALTER TABLE clinical.membership DISABLE TRIGGER USER; UPDATE clinical.membership SET role = 'regress_two'},
	qr/^row differs from the trail\|membership 1$/m ],
  [ "a column's type changed", q{ALTER TABLE clinical.patient ALTER age TYPE bigint}, qr/^table was altered\|table patient$/m ],
  [ 'a column added', q{ALTER TABLE clinical.center ADD COLUMN x text}, qr/^table was altered\|table center$/m ],
  [ 'a row put in as if restored', $close . q{; SET clinical.restore = on; INSERT INTO clinical.center (name, time_zone, status) VALUES ('Ghost', 'UTC', 'active')}, qr/^row differs from the trail\|center \{"id": 3\}$/m ],
  [ 'a table taken from the extension', q{ALTER EXTENSION clinical DROP TABLE clinical.patient_time_zone; DROP TRIGGER audit ON clinical.patient_time_zone}, qr/^table was altered\|table patient_time_zone$/m ]);
# what is left off
my @left = (
  [ 'an audit trigger left off', q{ALTER TABLE clinical.patient DISABLE TRIGGER audit}, qr/^trigger is missing or off\|trigger audit on patient$/m ],
  [ 'the trigger for corrections left off', q{ALTER TABLE clinical.observation DISABLE TRIGGER audit_added}, qr/^trigger is missing or off\|trigger audit_added on observation$/m ],
  [ 'a guard dropped', q{DROP TRIGGER guard ON clinical.audit_block}, qr/^trigger is missing or off\|trigger guard on audit_block$/m ],
  [ 'row level security left off', q{ALTER TABLE clinical.patient NO FORCE ROW LEVEL SECURITY}, qr/^trigger is missing or off\|row level security of patient$/m ],
  [ 'an event trigger left off', q{SELECT 1}, qr/^trigger is missing or off\|event trigger clinical_ddl$/m ]);

my $number = 0;
sub try_case
{
	my ($what, $script, $expected_inside, $expected_outside, $with, $only) = @_;
	my $database = 'case_' . ++$number;
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE base");
	$node->safe_psql($database, $script);
	if ($only)
	{
		my ($quiet) = verdicts($database);
		is($quiet, '', "$what: without a digest nothing shows");
	}
	my ($said, $told) = verdicts($database, $with);
	like($said, $expected_inside, "$what: verify_audit");
	like($told, $expected_outside, "$what: clinical-verify-audit") if $expected_outside;
	like($told, qr/, 0 faults$/, "$what: the trail itself is whole") unless $expected_outside || $what =~ /mutilated/;
	$node->safe_psql('postgres', "DROP DATABASE $database");
}
try_case($_->[0], "$open $_->[1]; $close", @$_[ 2 .. $#$_ ]) for @cases;
try_case($_->[0], "$open $_->[1]; $close", $_->[2]) for @behind;
try_case($_->[0], "$open $close; ALTER EVENT TRIGGER clinical_ddl DISABLE; ALTER EVENT TRIGGER clinical_drop DISABLE; $_->[1]", $_->[2]) for @left;

# an old backup in the place of the present
$node->safe_psql('postgres', 'CREATE DATABASE backup TEMPLATE base');
$node->safe_psql('base', q{SELECT clinical.amend_record('P1', '{"dose": 2}', 'later'); SELECT clinical.seal_audit()});
my $later = $node->safe_psql('base', 'SELECT clinical.audit_digest()');
($inside, $outside) = verdicts('backup');
is($inside, '', 'an old backup is sound in itself');
($inside, $outside) = verdicts('backup', $later);
like($inside, qr/^trail is cut off\|block 4$/m, 'and found against a later digest');
like($outside, qr/^trail is cut off: block 4/m, 'by both');
isnt($later, $digest, 'digests differ');

done_testing();
