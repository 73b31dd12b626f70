# Objects in public and pg_temp that stand before pg_catalog in the path, each of which raises when
# called, are not called: neither by the install script nor by any function.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('hostile');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'");
$node->start;

# The functions and types that SQL of ours names.
my $text = join '', map { slurp_file($_) } glob('src/*.[ch]'), glob('sql/*.sql');
my %names = map { $_ => 1 } $text =~ /\bpg_catalog\.(\w+)/g;
$names{$_} = 1 for qw(now timezone lower length current_setting jsonb_typeof);
my $names = join ', ', map { "'$_'" } sort keys %names;

# For each operator and each of those functions: one of the same name and types.
my $traps = q{
CREATE FUNCTION SCHEMA.trap() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'TRAPPED'; END $$;
DO $do$
DECLARE
    o record;
BEGIN
    FOR o IN SELECT oprname, oprleft::regtype::text AS l, oprright::regtype::text AS r, oprresult::regtype::text AS result
               FROM pg_operator
              WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprkind = 'b'
                AND oprname IN ('=', '<>', '<', '<=', '>', '>=', '~', '||', '@>', '+', '-', '*', '->', '->>')
                AND oprleft::regtype::text IN ('text', 'bigint', 'integer', 'name', 'oid', 'date', 'jsonb', 'timestamp with time zone', 'boolean', '"char"')
                AND oprright::regtype::text IN ('text', 'bigint', 'integer', 'name', 'oid', 'date', 'jsonb', 'timestamp with time zone', 'boolean', '"char"')
    LOOP
        EXECUTE format('CREATE FUNCTION SCHEMA.op(%s, %s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION ''TRAPPED''; END $f$', o.l, o.r, o.result);
        EXECUTE format('CREATE OPERATOR SCHEMA.%s (FUNCTION = SCHEMA.op, LEFTARG = %s, RIGHTARG = %s)', o.oprname, o.l, o.r);
        EXECUTE format('ALTER FUNCTION SCHEMA.op(%s, %s) RENAME TO %I', o.l, o.r, 'op' || hashtext(o::text));
    END LOOP;
    FOR o IN SELECT p.oid, proname, pg_get_function_identity_arguments(p.oid) AS args, prorettype::regtype::text AS result, proretset
               FROM pg_proc p
              WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind IN ('f', 'a', 'w') AND proargmodes IS NULL
                AND proname IN (NAMES)
                AND prorettype::regtype::text !~ 'any|internal|cstring' AND pg_get_function_identity_arguments(p.oid) !~ '"any"|VARIADIC|ORDER BY|internal|cstring'
    LOOP
        EXECUTE format('CREATE FUNCTION SCHEMA.%I(%s) RETURNS %s %s LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION ''TRAPPED''; END $f$',
                       o.proname, o.args, CASE WHEN o.proretset THEN 'SETOF' ELSE '' END, o.result);
    END LOOP;
END
$do$;
CREATE TABLE SCHEMA.patient (id int);
CREATE TABLE SCHEMA.center (id int);
CREATE TABLE SCHEMA.project (id int);
CREATE TABLE SCHEMA.enrollment_event (id int);
CREATE TABLE SCHEMA.record_version (id int);
CREATE TABLE SCHEMA.pg_roles (id int);
CREATE TABLE SCHEMA.pg_extension (id int);
CREATE TABLE SCHEMA.pg_namespace (id int);
CREATE TABLE SCHEMA.created_rows (id int);
CREATE TABLE SCHEMA.changed_rows (id int);
CREATE DOMAIN SCHEMA.jsonb AS text CHECK (false);
CREATE DOMAIN SCHEMA.date AS int CHECK (false);
CREATE DOMAIN SCHEMA.text AS int CHECK (false);
};

# Every public function, where it succeeds and where it fails.
my $calls = q{
SELECT clinical.create_center('One', 'S1', 'Europe/Oslo', 'NOR');
SELECT clinical.create_center('One', 'S1', 'Europe/Oslo', 'NOR');
SELECT clinical.create_center('Two', 'S1', 'Europe/Oslo', 'NOR');
SELECT clinical.create_center('Two');
SELECT clinical.create_project_with_centers('Project', '{1, 7}');
SELECT clinical.create_project_with_centers('Project', '{1}', 'P');
SELECT clinical.create_project_with_centers('Project', '{1}', 'P');
SELECT clinical.create_project_with_centers('Other', '{1}', 'P');
SELECT clinical.add_center('P', (SELECT pg_catalog.max(c.id) FROM clinical.center c));
SELECT clinical.plan_enrolment('P', 1, 10, '2026-01-01', '2026-06-30');
SELECT clinical.set_center_status(1, 'suspended', 'r');
SELECT clinical.set_center_status(1, 'planned', 'r');
SELECT clinical.set_center_status(1, 'active');
SELECT clinical.set_project_status('P', 'suspended', 'r');
SELECT clinical.set_project_status('P', 'active', 'r');
SELECT clinical.project_json('P'), clinical.projects_json();
SELECT pg_catalog.length(clinical.report_html(document => '{"header": {}, "body": {"status": {"title": "S", "tables": [{"name": "t", "title": "T", "columns": [{"name": "n", "label": "n", "kind": "mean"}], "rows": [{"by": {"a": "b"}, "n": 1.5}]}]}}}'));
SELECT * FROM clinical.report_rows(document => '{"header": {}, "body": {"status": {"title": "S", "tables": [{"name": "t", "title": "T", "columns": [{"name": "n", "label": "n", "kind": "mean"}], "rows": [{"by": {"a": "b"}, "n": 1.5}]}]}}}');
SELECT clinical.report_html(report_id => '00000000-0000-7000-8000-000000000000');
SELECT * FROM clinical.report_rows(report_id => '00000000-0000-7000-8000-000000000000');
SELECT clinical.enroll_patient('P1', 'Ada', '1950-01-01', 'P', 1, '{"a": 1}', 'F', 'Europe/Rome', effective_on => '2026-01-10');
SELECT clinical.enroll_patient('P1', 'Ada', '1950-01-01', 'P', 1);
SELECT clinical.enroll_patient('P2', NULL, NULL, 'P', 1);
SELECT clinical.get_patient('P1'), clinical.patient_json('P1');
SELECT clinical.get_patient('nobody');
SELECT clinical.amend_record('P1', '{"a": 2, "b": {"c": 1}}', 'r', 1);
SELECT clinical.amend_record('P1', '{"a": 3}', 'r', 1);
SELECT clinical.transfer_patient('P1', (SELECT pg_catalog.max(c.id) FROM clinical.center c), '2026-02-01', 'r');
SELECT clinical.set_patient_status('P1', 'withdrawn', '2026-03-01', 'r');
SELECT clinical.set_patient_status('P1', 'enrolled', '2026-03-01', 'r');
SELECT clinical.set_patient_time_zone('P1', 'Asia/Tokyo', '2026-02-01');
SELECT clinical.time_zone_at('P1', '2026-03-01');
SELECT * FROM clinical.find_patients();
SELECT * FROM clinical.find_patients('P', 1, '{"a": 2}', 'A', 10);
SELECT * FROM clinical.find_patients(record_contains => '{"a": 2}');
SELECT v.instrument, v.version FROM clinical.shipped_instruments() s, LATERAL clinical.create_instrument(s.definition) v;
SELECT clinical.create_instrument('{"code": "pain", "version": "1", "items": [{"code": "a", "type": "integer"}]}');
SELECT clinical.create_instrument('{}');
SELECT v.instrument FROM clinical.import_questionnaire(clinical.questionnaire_fhir('vital-signs', '1', 'R5')) v;
SELECT clinical.import_questionnaire('{"resourceType": "Questionnaire"}');
SELECT clinical.instrument_json('adherence'), clinical.instrument_json('none');
SELECT clinical.use_instrument('P', 'vital-signs', true), clinical.use_instrument('P', 'pain'), clinical.drop_instrument('P', 'pain', '2026-06-01');
SELECT v.version FROM clinical.instrument_in_force('P') v;
SELECT v.version FROM clinical.instrument_in_force('P', 'pain', '2026-06-01') v;
SELECT * FROM clinical.validate_report('vital-signs', '{"8480-6": {"value": 16, "unit": "kPa"}, "8462-4": 900, "x": 1}');
SELECT clinical.report_is_valid('adherence', '{"taken": false, "reason": "forgotten"}');
SELECT i.item, i.type FROM clinical.instrument_item i;
SELECT s.schedule FROM clinical.schedule_entries('P', 'vital-signs', '{"kind": "daily", "every": 2, "from": "18:00", "to": "24:00"}') s;
SELECT s.schedule FROM clinical.schedule_entries('P', 'pain', '{"kind": "weekly", "days": ["mon", "fri"]}') s;
SELECT s.schedule FROM clinical.schedule_entries('P', 'pain', '{"kind": "visits", "visits": [{"code": "V1", "day": 8, "before": 1, "after": 1}]}', '2026-02-01') s;
SELECT clinical.schedule_entries('P', 'pain', '{"kind": "never"}');
SELECT e.period, e.reason FROM clinical.excuse_entries('P1', '[2026-01-12,2026-01-13)', 'r') e;
SELECT * FROM clinical.entry_compliance('P1', '[2026-01-01,2026-02-20)');
SELECT * FROM clinical.expected_entries('P1', '[2026-01-01,2026-02-20)');
SELECT * FROM clinical.expected_entries('nobody', '[2026-01-01,2026-02-20)');
SELECT r.version, r.kind FROM clinical.create_rule('{"code": "R", "project": "P", "kind": "streak", "days": 3, "items": [{"item": "8480-6", "range": "[90,140]"}], "severity": "info"}') r;
SELECT r.version, r.kind FROM clinical.create_rule('{"code": "R", "kind": "threshold", "items": [{"item": "8480-6", "range": "[90,140]"}], "severity": "info"}') r;
SELECT r.version, r.counts_from FROM clinical.change_rule('R', clinical.rule_json('R') OPERATOR(pg_catalog.||) '{"days": 2, "evaluate": false}'::pg_catalog.jsonb, 'r') r;
SELECT clinical.change_rule('R', '{}', 'r');
SELECT r.version FROM clinical.create_rule('{"code": "H", "project": "P", "kind": "threshold", "items": [{"item": "a", "range": "[0,5]"}], "severity": "info", "escalate_after": ["1 hour"], "cooldown_days": 7}') r;
BEGIN;
SELECT s.outcome FROM clinical.submit_report('P1', '{"a": 7}', captured_at => '2026-01-20 12:00+00', instrument => 'pain') s;
SELECT clinical.process_reports();
COMMIT;
SELECT s.rule, s.status, s.onset, s.readings FROM clinical.alert_worklist s;
SELECT (clinical.acknowledge_alert(a.patient_id, a.id, 'c')).status FROM clinical.alert a;
SELECT c.version FROM clinical.observation o, LATERAL clinical.correct_observation(o.patient_id, o.id, '3', 'r') c;
SELECT s.rule, s.status, s.basis_changed FROM clinical.alert_worklist s;
SELECT (clinical.acknowledge_alert(a.patient_id, a.id, 'c')).status FROM clinical.alert a;
SELECT (clinical.close_alert(a.patient_id, a.id, 'c')).status FROM clinical.alert a;
SELECT (clinical.close_alert(a.patient_id, a.id, 'c')).status FROM clinical.alert a;
SELECT e.event_no, e.kind, e.status_from, e.status_to, e.cause FROM clinical.alert_event e;
SELECT clinical.cancel_rule_evaluation('R');
SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.jsonb_object_keys(document OPERATOR(pg_catalog.->) 'body')), document OPERATOR(pg_catalog.#>) '{header,rows}'
  FROM clinical.generate_report((SELECT j.code FROM clinical.project j LIMIT 1), '[2026-01-01,2026-07-01)', '{"by": ["center", "sex"], "suppress_below": 2, "cutoff": "2026-06-01"}') document;
SELECT clinical.cancel_report(clinical.request_report((SELECT j.code FROM clinical.project j LIMIT 1), '[2026-01-01,2026-07-01)'));
SELECT r.version FROM clinical.retire_rule('R', 'r') r;
SELECT clinical.rule_json('R'), clinical.rule_json('none');
-- (how far a worker is meanwhile is another matter)
SELECT p.code, p.version, p.patients_done OPERATOR(pg_catalog.>=) 0 FROM clinical.rule_evaluation_progress p;
SELECT clinical.describe(v.x), clinical.quantile_sas(v.x, 0.5) FROM (VALUES (1), (2)) v (x);
SELECT clinical.merge_patch('{"a": 1}', '{"a": null}'), clinical.record_changes('{"a": 1}', '{"a": 2}');
SELECT clinical.remove_center('P', (SELECT pg_catalog.max(c.id) FROM clinical.center c), 'r');
SELECT * FROM clinical.schedule_due('quarter', 'Europe/Oslo', '2026-04-10');
SELECT clinical.schedule_report('P', 'quarterly', '{"by": ["arm"]}');
SELECT clinical.schedule_retention('monthly', '2 years');
SELECT clinical.run_schedule_elsewhere(1, '{"project": "P", "schedule": "quarterly", "options": {"by": ["arm"]}}');
SELECT clinical.run_schedule_elsewhere(2, '{"schedule": "monthly", "keep": "2 years"}'), clinical.run_schedule(1);
SELECT clinical.run_schedule(1, '2101-01-10 05:00+00'), clinical.run_schedule(2, '2101-01-10 05:00+00');
SELECT s.job_id, s.project, s.next_due_at IS NOT NULL, s.problem FROM clinical.scheduled_job s;
SELECT clinical.unschedule_report(1), clinical.unschedule_report(1);
SELECT clinical.http_get_patient('P1'), clinical.http_get_patient(''), clinical.http_get_patient('nobody'), clinical.http_get_project('P');
SELECT clinical.http_find_patients('P', NULL, '{}', '', '1'), clinical.http_find_patients('P', 'x', NULL, NULL, NULL), clinical.http_find_patients(NULL, NULL, '[', NULL, NULL);
SELECT (clinical.http_create_project('{"name": "Http", "centerIds": [1], "code": "H/1"}')).headers, clinical.http_create_project('{"name": "Http", "centerIds": [1, 99], "code": "H2"}');
SELECT clinical.http_create_project('{"name": "Other", "centerIds": [1], "code": "H/1"}'), clinical.http_create_project('[]'), clinical.http_create_project('{"x": 1}');
SELECT clinical.http_submit('{"patientId": "P1", "reportData": {"a": 7}, "capturedAt": "2026-01-21T12:00:00Z"}', '"00000000-0000-4000-8000-000000000001"', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
SELECT clinical.http_submit('[{"patientId": "P1", "reportData": {"a": 7}, "submissionId": "00000000-0000-4000-8000-000000000002"}, {"patientId": "P1", "actor": "me"}, 7]');
-- (nor whether one has processed it yet)
SELECT (clinical.http_get_submission('P1', '00000000-0000-4000-8000-000000000001')).body OPERATOR(pg_catalog.->>) 'status' IS NOT NULL, clinical.http_get_submission('P1', 'x');
SELECT (clinical.http_request_report('P', '{"from": "2026-01-01", "to": "2026-07-01"}')).status, clinical.http_request_report('P', '{"from": "1", "to": "2026-07-01"}');
SELECT clinical.http_get_report('00000000-0000-7000-8000-000000000000'), clinical.http_cancel_report('00000000-0000-7000-8000-000000000000');
SELECT (clinical.http_make_report('P', '2026-01-01', '2026-07-01', '{"sections": ["status"]}', 'text/html')).headers, (clinical.http_make_report('P', '2026-01-01', '2026-07-01')).status;
SELECT (clinical.http_metrics()).status;
SELECT (clinical.http_stream_alerts('P', pg_catalog.concat_ws('-', m OPERATOR(pg_catalog.-) 3600000000, m, 3, 3, 0))).content OPERATOR(pg_catalog.~) 'opened' FROM (SELECT (extract(epoch FROM pg_catalog.now()) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8 AS m) x;
SELECT (clinical.http_list_alerts(NULL, '1')).body OPERATOR(pg_catalog.->) 'more', (clinical.http_acknowledge_alert(a.patient_id, a.id::pg_catalog.text)).status FROM clinical.alert a;
SELECT * FROM clinical.check();
SELECT * FROM clinical.health();
SELECT clinical.stop_workers(), clinical.start_workers();
SELECT s.failures, s.last_error FROM clinical.stat_worker s;
SELECT s.accepted OPERATOR(pg_catalog.+) s.conflict OPERATOR(pg_catalog.>) 0 FROM clinical.stat_intake s;
SELECT s.project, s.accepted OPERATOR(pg_catalog.>) 0 FROM clinical.stat_intake_project s;
SELECT s.project, s.opened_info FROM clinical.stat_alert s;
SELECT s.project, s.failed FROM clinical.stat_report s;
SELECT s.measure, s.reports OPERATOR(pg_catalog.>) 0 FROM clinical.stat_processing s;
SELECT clinical.stat_reset();
};

# What that prints where there are no traps; the clock apart.
sub timeless
{
	my ($printed) = @_;
	$printed =~ s/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+\d\d/(time)/g;
	$printed =~ s/(cron.database_name to )'\w+'/$1(database)/g;
	$printed =~ s/^psql:<stdin>:\d+: //mg;
	$printed =~ s/^LINE \d+:.*\n.*\n//mg;
	return $printed;
}
$node->safe_psql('postgres', 'CREATE DATABASE plain TEMPLATE template0');
my ($done, $plain, $plain_error) = $node->psql('plain', "CREATE EXTENSION clinical;\n" . $calls, on_error_stop => 0);
cmp_ok(scalar(() = $plain_error =~ /ERROR:/g), '>=', 8, 'some of the calls fail');

for my $case ([ 'public', 'public, pg_catalog' ], [ 'pg_temp', 'pg_temp, public, pg_catalog' ])
{
	my ($schema, $path) = @$case;
	$node->safe_psql('postgres', "CREATE DATABASE hostile_$schema TEMPLATE template0");
	my $script = ($traps =~ s/SCHEMA/$schema/gr =~ s/NAMES/$names/r) . "SET search_path = $path;\n";
	my ($status, $out, $error) = $node->psql("hostile_$schema", $script, on_error_stop => 0);
	is($error, '', "$schema: the traps are laid");
	my $fresh = $schema eq 'public' ? "SET search_path = $path;\n" : $script;
	# the traps work, or the test could not fail; functions and operators are never looked for in pg_temp
	($status, $out, $error) = $node->psql("hostile_$schema", $fresh . q{
SELECT now();
SELECT 'a'::pg_catalog.text = 'a'::pg_catalog.text;
SELECT 'found instead' FROM (SELECT 1) x WHERE pg_catalog.to_regclass('patient')::pg_catalog.oid IS NOT NULL;}, on_error_stop => 0);
	is(scalar(() = $error =~ /TRAPPED/g), $schema eq 'public' ? 2 : 0, "$schema: functions and operators snap");
	like($out, qr/found instead/, "$schema: and tables are found");

	($status, $out, $error) = $node->psql("hostile_$schema", $fresh . "CREATE EXTENSION clinical;\n" . $calls, on_error_stop => 0);
	unlike($error, qr/TRAPPED/, "$schema: nothing of ours steps into them") or diag $error;
	is(timeless($out), timeless($plain), "$schema: all answers are what they are without");
	is(timeless($error), timeless($plain_error), "$schema: and all errors");
	is($node->safe_psql("hostile_$schema", q{SELECT count(*) FROM clinical.patient}), 2, "$schema: and it works");
	($status, $out, $error) = $node->psql("hostile_$schema", $fresh . $calls, on_error_stop => 0) if $schema eq 'public';
	unlike($error, qr/TRAPPED/, "$schema: nor in a new session");
}

is(scalar(() = slurp_file($node->logfile) =~ /ERROR:  TRAPPED/g), 2, 'nor does the server log know of other steps');

# a schema that was there before
$node->safe_psql('postgres', 'CREATE ROLE regress_mallory; CREATE ROLE regress_root SUPERUSER');
for my $case (
	[ 'owned by another', 'CREATE SCHEMA clinical AUTHORIZATION regress_mallory', 1 ],
	[ 'with a function', 'CREATE SCHEMA clinical; CREATE FUNCTION clinical.f() RETURNS int LANGUAGE sql AS $$SELECT 1$$', 1 ],
	[ 'with a table', 'CREATE SCHEMA clinical; CREATE TABLE clinical.t ()', 1 ],
	[ 'with a type', q{CREATE SCHEMA clinical; CREATE TYPE clinical.e AS ENUM ('a')}, 1 ],
	[ 'with an operator', 'CREATE SCHEMA clinical; CREATE OPERATOR clinical.= (FUNCTION = int4eq, LEFTARG = int, RIGHTARG = int)', 1 ],
	[ 'with a sequence', 'CREATE SCHEMA clinical; CREATE SEQUENCE clinical.s', 1 ],
	[ 'with a view', 'CREATE SCHEMA clinical; CREATE VIEW clinical.v AS SELECT 1', 1 ],
	[ 'empty, of another superuser', 'CREATE SCHEMA clinical AUTHORIZATION regress_root', 0 ],
	[ 'empty', 'CREATE SCHEMA clinical', 0 ])
{
	my ($name, $sql, $refused) = @$case;
	$node->safe_psql('postgres', 'DROP DATABASE IF EXISTS before');
	$node->safe_psql('postgres', 'CREATE DATABASE before TEMPLATE template0');
	$node->safe_psql('before', $sql);
	my ($status, $out, $error) = $node->psql('before', "\\set VERBOSITY verbose\nCREATE EXTENSION clinical");
	if ($refused) { like($error, qr/ERROR:  55000: schema "clinical" exists and is not an empty schema of a superuser/, "schema $name is refused"); }
	else { is($error, '', "schema $name is taken"); }
}

done_testing();
