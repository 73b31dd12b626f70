# A standby answers what only reads and refuses what writes; promoted, it goes on.  A logical
# subscriber that restores what it is told has the same rows.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 'logical');
$primary->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'");
$primary->start;
$primary->safe_psql('postgres', q{
CREATE EXTENSION clinical;
SELECT clinical.create_center('One');
SELECT clinical.create_project_with_centers('Project', '{1}', 'P');
SELECT clinical.enroll_patient('P001', 'Ada', NULL, 'P', 1, '{"a": 1}', effective_on => '2026-01-10');
SELECT clinical.create_instrument('{"code": "diary", "version": "1", "items": [{"code": "a", "type": "integer"}]}');
SELECT clinical.use_instrument('P', 'diary', true);
SELECT clinical.create_rule('{"code": "R", "project": "P", "kind": "threshold", "severity": "info", "items": [{"item": "a", "range": "[0,1]"}], "evaluate": false}');
SELECT clinical.schedule_entries('P', 'diary', '{"kind": "daily"}');
SELECT clinical.create_rule('{"code": "TWO", "project": "P", "kind": "streak", "days": 2, "severity": "serious", "items": [{"item": "a", "range": "[0,5]"}], "escalate_after": ["30 days"]}');
SELECT count(clinical.submit_report('P001', '{"a": 6}', captured_at => d + interval '12 hours')) FROM generate_series('2026-02-01'::timestamptz, '2026-02-02', '1 day') d;
SELECT clinical.wait_until_drained(interval '30 seconds');
});
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->safe_psql('postgres', q{SELECT clinical.amend_record('P001', '{"a": 2}', 'test')});
$primary->wait_for_catchup($standby, 'replay');

is($standby->safe_psql('postgres', q{
SELECT record FROM clinical.get_patient('P001');
SELECT clinical.patient_json('P001') ->> 'projectID';
SELECT id FROM clinical.find_patients('P', record_contains => '{"a": 2}');
SELECT clinical.project_json('P') ->> 'code';
SELECT clinical.time_zone_at('P001', '2026-02-01');
SELECT clinical.report_is_valid('diary', '{"a": 1}'), clinical.report_is_valid('diary', '{"a": 1.5}');
SELECT count(*) FROM clinical.expected_entries('P001', '[2026-02-01,2026-02-08)');
SELECT clinical.rule_json('R') ->> 'status';
SELECT onset, out_days, status FROM clinical.alert JOIN clinical.alert_event USING (patient_id, onset, out_days);
SELECT rule, jsonb_array_length(readings) FROM clinical.alert_worklist;
SELECT onset, trigger_day FROM clinical.rule_backtest(clinical.rule_json('TWO') || '{"days": 1}', '[2026-02-01,2026-03-01)');
SELECT document #>> '{header,rows,patients}', (SELECT count(*) FROM jsonb_object_keys(document -> 'body')) FROM clinical.generate_report('P', '[2026-01-01,2026-04-01)') document;
SELECT count(*) FROM clinical.check();
SELECT count(*) > 0 FROM clinical.health();
SELECT jsonb_array_length(clinical.projects_json())}), "{\"a\": 2}\nP\nP001\nP\nUTC\nt|f\n7\nactive\n2026-02-01|2|open\nTWO|2\n2026-02-01|2026-02-01\n1|9\n0\nt\n1", 'a standby reads');
for my $call ("create_center('Two')", "create_project_with_centers('Q', '{1}')", "add_center('P', 1)", "remove_center('P', 1, 'r')",
	"plan_enrolment('P', 1, 1, '2026-01-01', '2026-01-02')", "set_center_status(1, 'suspended')", "set_project_status('P', 'suspended')",
	"enroll_patient('P002', NULL, NULL, 'P', 1)", "amend_record('P001', '{}', 'r')", "set_patient_status('P001', 'completed', '2026-02-01')",
	"create_instrument('{\"code\": \"x\", \"version\": \"1\", \"items\": [{\"code\": \"a\", \"type\": \"text\"}]}')", "use_instrument('P', 'diary')", "schedule_entries('P', 'diary', NULL)",
	"create_rule('{\"code\": \"r\", \"kind\": \"threshold\", \"severity\": \"info\", \"items\": [{\"item\": \"a\", \"range\": \"[0,1]\"}]}')", "retire_rule('R', 'r')", "cancel_rule_evaluation('R')",
	"change_rule('R', clinical.rule_json('R'), 'r')", "acknowledge_alert('P001', (SELECT id FROM clinical.alert))", "close_alert('P001', (SELECT id FROM clinical.alert), 'r')",
	"request_report('P', '[2026-01-01,2026-04-01)')", "cancel_report('00000000-0000-7000-8000-000000000000')", "purge_reports('1 day')",
	"correct_observation('P001', (SELECT id FROM clinical.observation LIMIT 1), '1', 'r')",
	"excuse_entries('P001', '[2026-02-01,)', 'r')", "transfer_patient('P001', 1, '2026-02-01', 'r')", "set_patient_time_zone('P001', 'UTC', now())")
{
	my ($status, $out, $error) = $standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT clinical.$call");
	like($error, qr/ERROR:  25006: /, "a standby refuses $call");
}

# What is granted and revoked on the primary counts in the running sessions of a standby.
$primary->safe_psql('postgres', 'CREATE ROLE regress_site LOGIN; GRANT clinical_monitor TO regress_site');
$primary->wait_for_catchup($standby, 'replay');
my $session = $standby->background_psql('postgres', extra_params => [ '-U', 'regress_site' ]);
for my $case ([ 'grant_center', 1 ], [ 'revoke_center', 0 ])
{
	$primary->safe_psql('postgres', "SELECT clinical.$case->[0]('regress_site', 1)");
	$primary->wait_for_catchup($standby, 'replay');
	is($session->query_safe('SELECT count(*) FROM clinical.patient'), $case->[1], "$case->[0] counts on a standby");
}
$session->quit;

# A subscriber applies as its subscription's owner, so that one has clinical.restore on; from 16 on that
# must be asked for, as the tables' owner would be refused under row level security.  Otherwise the
# subscriber's triggers, which no session_replication_role switches off, would write histories of
# their own and refuse those that come (55000).  Sequences are not replicated.
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init;
$subscriber->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'");
$subscriber->start;
$subscriber->safe_psql('postgres', q{
CREATE EXTENSION clinical;
CREATE ROLE regress_apply SUPERUSER LOGIN;
ALTER ROLE regress_apply SET clinical.restore = on});
$primary->safe_psql('postgres', 'CREATE PUBLICATION trial FOR ALL TABLES');
my $as_owner = $subscriber->pg_version >= 16 ? ', run_as_owner = true' : '';
my $connection = $primary->connstr . ' dbname=postgres';
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION trial CONNECTION '$connection' PUBLICATION trial WITH (enabled = false$as_owner);
ALTER SUBSCRIPTION trial OWNER TO regress_apply; ALTER SUBSCRIPTION trial ENABLE");
$subscriber->wait_for_subscription_sync($primary, 'trial');
$primary->safe_psql('postgres', q{SELECT clinical.amend_record('P001', '{"a": 3}', 'live'); SELECT clinical.excuse_entries('P001', '[2026-01-20,2026-01-21)', 'r');
SELECT count(clinical.acknowledge_alert(patient_id, id, 'seen')) FROM clinical.alert;
SELECT clinical.submit_report('P001', '{"a": 7}', captured_at => '2026-02-03 12:00'); SELECT clinical.wait_until_drained(interval '30 seconds');
SELECT clinical.request_report('P', '[2026-01-01,2026-04-01)');
SELECT clinical.set_patient_status('P001', 'completed', '2026-02-10')});
$primary->poll_query_until('postgres', q{SELECT status = 'done' FROM clinical.report_job}) or die 'the report is not made';
$primary->wait_for_catchup('trial');
for my $table (qw(center center_event project project_event project_center patient enrollment_event record_version patient_time_zone
	instrument instrument_version project_instrument project_instrument_version entry_schedule entry_excuse monitor_rule monitor_rule_version rule_evaluation submission observation alert alert_event report_job report))
{
	my $rows = "SELECT t::text FROM clinical.$table t ORDER BY 1";
	is($subscriber->safe_psql('postgres', $rows), $primary->safe_psql('postgres', $rows), "the subscriber has the same $table");
}
is($subscriber->safe_psql('postgres', 'SELECT * FROM clinical.check()'), '', 'and is sound');
$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION trial');

$primary->wait_for_catchup($standby, 'replay');
$primary->stop('immediate');
$standby->promote;
is($standby->safe_psql('postgres', q{
SELECT outcome FROM clinical.submit_report('P001', '{"a": 8}', captured_at => '2026-02-04 12:00'); SELECT clinical.wait_until_drained(interval '60 seconds');
SELECT status, out_days, escalation_level FROM clinical.alert;
SELECT (clinical.close_alert(patient_id, id, 'done')).status FROM clinical.alert;
SELECT clinical.amend_record('P001', '{"b": 1}', 'after promotion');
SELECT (clinical.create_center('Two')).id > 1;
SELECT id FROM clinical.enroll_patient('P002', NULL, NULL, 'P', 1, effective_on => '2026-01-10');
SELECT count(*) FROM clinical.check()}), "queued\nt\nacknowledged|4|0\nclosed\n4\nt\nP002\n0", 'promoted, it goes on');

done_testing();
