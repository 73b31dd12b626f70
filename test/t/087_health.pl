# What health() says is wrong is wrong, and nothing else: each problem is made, is told with a remedy to an
# administrator who sees no patient, and is gone when it is mended.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $canary = 'CANARY7f3a';
my $node = intake_node('health', 'fsync = on', 'clinical.max_workers = 2', "clinical.audit_seal_interval = '100ms'", 'clinical.max_databases = 8');
$node->safe_psql('postgres', qq{
CREATE ROLE boss LOGIN; GRANT clinical_admin TO boss; GRANT USAGE ON SCHEMA clinical TO boss;
SELECT clinical.enroll_patient('$canary', NULL, NULL, 'IN', 1, effective_on => '2026-01-10')});
my $all = '';

# What an administrator is told.
sub problems
{
	my ($database) = @_;
	my $rows = $node->safe_psql($database // 'postgres', 'SET ROLE boss; SELECT ok, problem, remedy FROM clinical.health()');
	$all .= $rows;
	return $rows;
}

# Is told this alone, within a while; and then, with nothing, all is well.
sub told
{
	my ($pattern, $name) = @_;
	my ($rows, $end) = ('', time + 60);
	while (time < $end)
	{
		$rows = problems();
		last if $rows =~ /\Af\|$pattern\.\z/;
		select undef, undef, undef, 0.1;
	}
	return like($rows, qr/\Af\|$pattern\.\z/, $name);
}
sub well
{
	my ($name) = @_;
	return ok(wait_until($node, 'postgres', 'SELECT ok FROM clinical.health()', 't', 30), "$name: all is well") || diag(problems());
}

# Reports or records that came earlier than they did.
sub age
{
	my ($table, $column) = @_;
	my $off = $table eq 'audit_record' ? 'ALTER EVENT TRIGGER clinical_ddl DISABLE; ALTER TABLE clinical.audit_record DISABLE TRIGGER USER;' : '';
	my $on = $table eq 'audit_record' ? '; ALTER TABLE clinical.audit_record ENABLE TRIGGER USER; ALTER EVENT TRIGGER clinical_ddl ENABLE' : '';
	$node->safe_psql('postgres', "BEGIN; SET LOCAL clinical.restore = on; $off UPDATE clinical.$table SET $column = $column - interval '11 min'$on; COMMIT");
}
sub patient_report { my ($value) = @_; return "SELECT outcome FROM clinical.submit_report('$canary', '{\"n\": $value}')" }

well('at first');
is(problems(), 't||', 'which is one row');

# --- the queue ---
# an open transaction holds the patient's lane
my $holder = session($node, 'postgres');
answers($holder, 'BEGIN');
answers($holder, patient_report(1));
is(answers($holder, 'SELECT clinical.process_reports()'), 1, 'a session holds the patient\'s lane');
set_up($node, 'clinical.queue_capacity' => 10);
$node->safe_psql('postgres', patient_report($_)) for 1 .. 6;
well('seven places of ten');
$node->safe_psql('postgres', patient_report(7));
told(qr/the queue of reports is nearly full: 8 of 10 places are taken\|.*raise clinical.max_workers, now 2, .*/, 'eight of ten');
$node->safe_psql('postgres', patient_report($_)) for 8 .. 9;
is($node->safe_psql('postgres', patient_report(10)), 'busy', 'full');
told(qr/the queue of reports is full, and further ones are answered "busy": 10 of 10 places are taken\|.*/, 'which is told');
set_up($node, 'clinical.queue_capacity' => 1000);
well('with more places');
answers($holder, 'COMMIT');
drained($node, 'postgres', 'the lane is free');
well('processed');
# when the server starts, what waits is counted, and since when
end_session($holder);
switch_workers($node, 'off');
$node->safe_psql('postgres', patient_report($_)) for 1 .. 2;
age('staged_report', 'received_at');
$node->restart;
$holder = session($node, 'postgres');
answers($holder, 'BEGIN');
is(answers($holder, 'SELECT clinical.process_reports(1)'), 1, 'a session holds the lane again');
switch_workers($node, 'on');
told(qr/a report has waited for 11 minutes, though background workers run\|See in stat_worker .*pg_blocking_pids tells/, 'a report waits for long');
answers($holder, 'COMMIT');
drained($node, 'postgres', 'the lane is free');
well('processed');
end_session($holder);

# --- no workers ---
$node->safe_psql('postgres', 'SELECT clinical.stop_workers()');
well('stopped, and nothing waits');
$node->safe_psql('postgres', patient_report(11));
told(qr/reports wait, and no background worker runs: clinical\.stop_workers\(\) was called\|Call clinical.start_workers\(\)/, 'stopped');
$node->safe_psql('postgres', 'SELECT clinical.start_workers()');
well('started');
switch_workers($node, 'off');
well('switched off, and nothing waits');
$node->safe_psql('postgres', patient_report(12));
told(qr/reports wait, and no background worker runs: clinical.workers_enabled is off\|Set clinical.workers_enabled to on and .*/, 'switched off');
$node->restart;
told(qr/reports wait, and no background worker runs: clinical.workers_enabled is off\|.*/, 'after a start, when nobody has counted yet');
switch_workers($node, 'on');
well('switched on');
$node->safe_psql('postgres', 'ALTER ROLE clinical_worker SUPERUSER');
told(qr/no background worker runs: role "clinical_worker" is a superuser or bypasses row level security\|Run ALTER ROLE clinical_worker NOSUPERUSER NOBYPASSRLS/, 'a role that may do too much');
$node->safe_psql('postgres', 'ALTER ROLE clinical_worker NOSUPERUSER');
well('which it may not any more');
$node->safe_psql('postgres', 'REVOKE CONNECT ON DATABASE postgres FROM PUBLIC; GRANT CONNECT ON DATABASE postgres TO boss; ' . patient_report(13));
set_up($node, 'clinical.worker_restart_delay' => '5min');
kill 'TERM', worker_pids($node, 'postgres');
told(qr/(?:reports wait, and )?no background worker runs: the last one failed with SQLSTATE 42501\|Mend what .*clinical.start_workers\(\)/, 'that cannot connect');
$node->safe_psql('postgres', 'GRANT CONNECT ON DATABASE postgres TO PUBLIC; SELECT clinical.start_workers()');
drained($node, 'postgres', 'that can');
well('it runs');
$node->safe_psql('postgres', 'ALTER ROLE clinical_worker RENAME TO another');
told(qr/no background worker runs: role "clinical_worker" is not there, or .*\|Run CREATE ROLE clinical_worker .*/, 'a role that is not there');
$node->safe_psql('postgres', 'ALTER ROLE another RENAME TO clinical_worker');
well('that is there');

# --- reports that fail ---
my $fails = sub {
	my ($state) = @_;
	$node->safe_psql('postgres', qq{CREATE OR REPLACE FUNCTION public.fails() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '$state'; END \$\$;
CREATE OR REPLACE TRIGGER fails BEFORE INSERT ON clinical.submission FOR EACH ROW EXECUTE FUNCTION public.fails();
ALTER TABLE clinical.submission ENABLE ALWAYS TRIGGER fails});
};
$fails->('22012');
$node->safe_psql('postgres', patient_report(14));
told(qr/reports of the last 24 hours are in quarantine since processing them went wrong: failed 1\|Find the SQLSTATE in set_aside.detail.*/, 'a report that failed');
$node->safe_psql('postgres', 'DROP TRIGGER fails ON clinical.submission');
$node->safe_psql('postgres', q{SELECT clinical.requeue(patient_id, submission_id, 'mended') FROM clinical.set_aside WHERE outcome = 'quarantined'});
well('put back');
$node->safe_psql('postgres', q{SELECT clinical.submit_report('nobody', '{}'); SELECT clinical.wait_until_drained()});
is($node->safe_psql('postgres', q{SELECT reason_code FROM clinical.quarantine}), 'unknown_patient', 'a report in quarantine by its own fault');
well('is no fault of the server');
$fails->('53100');
$node->safe_psql('postgres', patient_report(15));
ok(wait_until($node, 'postgres', 'SELECT count(*) FROM clinical.staged_report_retry', 1), 'one is put off');
well('which may pass');
age('staged_report_retry', 'received_at');
told(qr/reports are put off for 1\d minutes, since processing them fails\|Find the SQLSTATE by .*/, 'again and again');
$node->safe_psql('postgres', q{DROP TRIGGER fails ON clinical.submission; BEGIN; SET LOCAL clinical.restore = on; UPDATE clinical.staged_report_retry SET not_before = now(); COMMIT});
$node->safe_psql('postgres', 'SELECT clinical.process_reports()');
drained($node, 'postgres', 'mended');
well('no more');

# --- the seal ---
my $record = q{SET clinical.reason = 'to be sealed'; SELECT clinical.set_project_status('IN', 'active') WHERE false; SELECT clinical.create_center('More')};
my $sealed = 'SELECT NOT EXISTS (SELECT FROM clinical.audit_record r WHERE r.xid >= (SELECT max(to_xid) FROM clinical.audit_block))';
$holder = session($node, 'postgres');
like(answers($holder, 'BEGIN; SELECT pg_current_xact_id()'), qr/^\d+$/, 'a transaction is open');
$node->safe_psql('postgres', $record);
well('a record waits for its seal, not for long');
age('audit_record', 'recorded_at');
told(qr/records of the audit trail have waited for their seal for 11 minutes, since a transaction is open\|End the oldest transaction .*/, 'for long, since a transaction is open');
answers($holder, 'COMMIT');
ok(wait_until($node, 'postgres', $sealed), 'which it no longer is');
well('sealed');
switch_workers($node, 'off');
$node->safe_psql('postgres', $record);
age('audit_record', 'recorded_at');
told(qr/records of the audit trail have waited for their seal for 1\d minutes\|See in stat_worker .*clinical.seal_audit\(\)/, 'for long, since nobody seals');
set_up($node, 'clinical.audit_seal_interval' => '1h');
well('which is meant to be so');
set_up($node, 'clinical.audit_seal_interval' => '100ms');
$node->safe_psql('postgres', 'SELECT count(*) FROM clinical.seal_audit()');
well('sealed by hand');
switch_workers($node, 'on');

# --- more databases than are looked after ---
end_session($holder);
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION clinical');
$node->append_conf('postgresql.conf', 'clinical.max_databases = 1');
$node->restart;
ok(wait_until($node, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'clinical worker'}, 1), 'one database has a worker');
my @of = map { problems($_) =~ /no background worker runs: all slots for databases are taken\|Raise clinical.max_databases, now 1,/ ? 1 : 0 } qw(postgres other);
is("@of" =~ tr/1//, 1, 'and the other one is told why it has none');

unlike($all, qr/$canary/, 'nobody is told of a patient');
done_testing();
