# Whatever a caller passes, each function gives a value or an error of the caller's, never one of
# ours (XX000), and the server stays up; what takes long can be cancelled and leaves nothing.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('limits');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'");
$node->start;
$node->safe_psql('postgres', q{
CREATE EXTENSION clinical;
SELECT clinical.create_center('Center ' || g) FROM generate_series(1, 3) g;
SELECT clinical.create_project_with_centers('Project', '{1, 2}', 'P');
SELECT clinical.enroll_patient('P1', 'Ada', '1950-01-01', 'P', 1, '{"a": 1}', effective_on => '2026-01-10');
SELECT clinical.create_instrument('{"code": "I", "version": "1", "items": [{"code": "a", "type": "integer"}]}');
SELECT clinical.use_instrument('P', 'I', true);
SELECT clinical.create_rule('{"code": "A", "project": "P", "kind": "threshold", "severity": "info", "items": [{"item": "a", "range": "[2,9]"}]}');
SELECT clinical.submit_report('P1', '{"a": 1}', '00000000-0000-0000-0000-00000000000a', '2026-02-01 00:00+00');
SELECT clinical.submit_report('P1', '{"a": "x"}', '00000000-0000-0000-0000-00000000000b', '2026-02-01 00:00+00');
SELECT clinical.process_reports();
SELECT clinical.schedule_entries('P', 'I', '{"kind": "daily"}');
SELECT clinical.stop_workers();
SELECT clinical.create_rule('{"code": "R", "project": "P", "kind": "graded", "severity": "info", "items": [{"item": "a"}], "grades": ["[0,1]", "[0,2]"]}');
CREATE ROLE regress_member;
SELECT clinical.grant_all_centers('regress_member'), clinical.grant_center('regress_member', 1);

CREATE TABLE extreme (type regtype, value text);
INSERT INTO extreme VALUES
    ('text', 'NULL'), ('text', ''''''), ('text', '''P'''), ('text', '''P1'''), ('text', '''R'''), ('text', 'repeat(''x'', 1000000)'), ('text', '''a''''b\c"d{}%s$1'''),
    ('text', 'E''\n\t'''), ('text', '''active'''), ('text', '''enrolled'''), ('text', '''UTC'''), ('text', '''2'''), ('text', 'chr(1114111)'),
    ('text', '''No/Where'''), ('text', '''../../../etc/passwd'''), ('text', '''America/new_york'''), ('text', '''Europe/Amsterdam'''),
    ('name', 'NULL'), ('name', ''''''), ('name', '''postgres'''), ('name', 'repeat(''x'', 100)'),
    ('regclass', 'NULL'), ('regclass', '0'), ('regclass', '''pg_catalog.pg_class'''), ('regclass', '''clinical.center'''), ('regclass', '''clinical.audit_record'''),
    ('text[]', 'NULL'), ('text[]', '''{}'''), ('text[]', '''{name}'''), ('text[]', '''{record}'''), ('text[]', '''{id}'''), ('text[]', '''{record,NULL}'''), ('text[]', '''{{record,a}}'''), ('text[]', '''{xmin}'''),
    ('uuid', 'NULL'), ('uuid', '''00000000-0000-0000-0000-000000000000'''), ('uuid', '''00000000-0000-0000-0000-00000000000a'''),
    ('bytea', 'NULL'), ('bytea', '''\x'''),
    ('oid', 'NULL'), ('oid', '0'), ('oid', '4294967295'),
    ('bigint', 'NULL'), ('bigint', '1'), ('bigint', '0'), ('bigint', '-9223372036854775808'), ('bigint', '9223372036854775807'),
    ('integer', 'NULL'), ('integer', '1'), ('integer', '0'), ('integer', '-2147483648'), ('integer', '2147483647'),
    ('date', 'NULL'), ('date', '''2026-02-01'''), ('date', '''-infinity'''), ('date', '''infinity'''), ('date', '''4713-01-01 BC'''), ('date', '''5874897-12-31'''), ('date', '''2024-02-29'''),
    ('daterange', 'NULL'), ('daterange', '''empty'''), ('daterange', '''(,)'''), ('daterange', '''[2026-02-01,2026-02-02)'''), ('daterange', '''[-infinity,infinity]'''),
    ('daterange', '''[4713-01-01 BC,4713-01-05 BC)'''), ('daterange', '''[5874897-12-30,5874897-12-31)'''), ('daterange', '''[0001-01-01,9999-01-01)'''),
    ('interval', 'NULL'), ('interval', '''0'''), ('interval', '''-178000000 years'''), ('interval', '''178000000 years'''),
    ('tstzrange', 'NULL'), ('tstzrange', '''empty'''), ('tstzrange', '''(,)'''), ('tstzrange', '''[-infinity,infinity]'''), ('boolean', 'NULL'), ('boolean', 'false'),
    ('timestamptz', 'NULL'), ('timestamptz', '''2026-02-01'''), ('timestamptz', '''-infinity'''), ('timestamptz', '''infinity'''),
    ('timestamptz', '''4713-01-01 00:00+00 BC'''), ('timestamptz', '''294276-12-31 23:59+00'''),
    ('bigint[]', 'NULL'), ('bigint[]', '''{}'''), ('bigint[]', '''{1,2}'''), ('bigint[]', '''{{1},{2}}'''), ('bigint[]', '''[-5:-4]={1,2}'''),
    ('bigint[]', '''{NULL}'''), ('bigint[]', 'array_fill(1, ARRAY[100000])'), ('bigint[]', 'ARRAY(SELECT generate_series(1, 100000))'),
    ('jsonb', 'NULL'), ('jsonb', '''{}'''), ('jsonb', '''[]'''), ('jsonb', '''null'''), ('jsonb', '''1e1000'''), ('jsonb', '''{"": {"": [[]]}}'''),
    ('jsonb', '''"\u00e9"'''), ('jsonb', '(repeat(''{"a":'', 4000) || ''1'' || repeat(''}'', 4000))::jsonb'),
    ('jsonb', 'jsonb_build_object(''k'', repeat(''long'', 1000000))'), ('jsonb', '(SELECT jsonb_object_agg(g, g) FROM generate_series(1, 20000) g)');

-- The SQLSTATEs of calls that differ from a plain one, which succeeds, in one argument (each extreme
-- value) or in two (some pairs of them, the same each time).  All is undone.
CREATE FUNCTION fuzz(function regprocedure, plain text[]) RETURNS TABLE (changed int, state text, calls bigint, example text) LANGUAGE plpgsql AS $$
DECLARE
    types regtype[] := ARRAY(SELECT t::regtype FROM unnest((SELECT proargtypes::oid[] FROM pg_proc WHERE oid = function)) WITH ORDINALITY u (t, i) ORDER BY i);
    one record;
BEGIN
    CREATE TEMP TABLE call AS
    WITH single AS (SELECT i, format('(%s)::%s', value, type) AS v FROM generate_subscripts(types, 1) i JOIN extreme ON type = types[i])
    SELECT 0 AS changed, plain AS args, NULL::text AS state
    UNION ALL SELECT 1, plain[:i - 1] || v || plain[i + 1:], NULL FROM single
    UNION ALL (SELECT 2, plain[:a.i - 1] || a.v || plain[a.i + 1:b.i - 1] || b.v || plain[b.i + 1:], NULL
                 FROM single a JOIN single b ON b.i > a.i ORDER BY md5(a.i || a.v || b.i || b.v) LIMIT 300);
    FOR one IN SELECT c.ctid, c.* FROM call c LOOP
        BEGIN
            EXECUTE format('SELECT count(*) FROM %s(%s)', function::regproc, array_to_string(one.args, ', '));
            RAISE EXCEPTION USING ERRCODE = 'ZZZZZ';
        EXCEPTION WHEN OTHERS THEN
            UPDATE call SET state = CASE SQLSTATE WHEN 'ZZZZZ' THEN '00000' ELSE SQLSTATE || ' ' || left(SQLERRM, 200) END WHERE ctid = one.ctid;
        END;
    END LOOP;
    RETURN QUERY SELECT c.changed, c.state, count(*), min(left(c.args::text, 200)) FROM call c GROUP BY 1, 2 ORDER BY 1, 2;
    DROP TABLE call;
END
$$;
});

# A call of each function that succeeds; function and argument types, as PostgreSQL prints them.
my %plain = (
	'acknowledge_alert(text,uuid,text)' => q{'P1', (SELECT id FROM clinical.alert), 'c'},
	'rule_backtest(jsonb,daterange)' => q{'{"code":"x","kind":"threshold","severity":"info","items":[{"item":"a","range":"[2,9]"}]}', '[2026-01-01,2027-01-01)'},
	'close_alert(text,uuid,text)' => q{'P1', (SELECT id FROM clinical.alert), 'r'},
	'add_center(text,bigint)' => q{'P', 3},
	'amend_record(text,jsonb,text,integer)' => q{'P1', '{"b": 1}', 'r', 1},
	'audit_apply(jsonb,jsonb)' => q{'{}', '[{"column":"a","new":1}]'},
	'audit_content_hash(bytea,jsonb,text)' => q{'\x000102030405060708090a0b0c0d0e0f', '[]', 'r'},
	'audit_key_condition(text,jsonb)' => q{'patient', '{"id": "P1"}'},
	'audit_redact_changes(jsonb,text[],jsonb)' => q{'[{"column":"record","path":[],"new":{"a":1}}]', '{record,a}', '"x"'},
	'audit_knows(text,jsonb,text)' => undef,
	'audit_redact_row(text,jsonb,text[],text)' => undef,
	'audit_retell(text,jsonb,text[],jsonb,text)' => undef,
	'observation_digest_add(internal,clinical.observation)' => undef,
	'observation_digest_result(internal)' => undef,
	(map { $_ => undef } 'describe_add(internal,"any")', 'describe_add(internal,"any",bigint)', 'quantile_add(internal,"any","any")', 'quantile_add(internal,"any",bigint,"any")', 'summary_combine(internal,internal)', 'summary_pack(internal)', 'summary_unpack(bytea,internal)', 'describe_numeric(internal)', 'describe_double(internal)', 'quantile_numeric(internal)', 'quantile_double(internal)', 'quantiles_numeric(internal)', 'quantiles_double(internal)'),
	(map { $_ => undef } 'report_entries_add(internal,bigint,timestamp with time zone,timestamp with time zone,date,text,date,date)', 'report_entries_combine(internal,internal)', 'report_entries_image(internal)', 'report_entries_state(bytea,internal)', 'report_lags_add(internal,bytea)', 'report_lags_result(internal)'),
	'report_lag_quantiles(bytea)' => q{'\x6305000000000000000100000000000000'},
	'report_entry_count(jsonb,date,date,timestamp with time zone,date,date,integer[],date[],text[],integer[],timestamp with time zone[],text[],tstzrange[],bytea)' =>
	  q{'{"behind":2,"instruments":[{"instrument":"I","versions":[1],"schedules":[{"from":"-infinity","schedule":{"kind":"daily","to":"12:00"}}],"uses":[{"from":"2026-01-01","used":true}]}]}', '2026-01-01', '2026-04-01', '2026-04-01 00:00+00', '2026-01-10', '2026-03-01', '{1}', '{2026-01-10}', '{UTC}', '{1}', '{2026-02-01 00:00+00}', '{Asia/Tokyo}', '{"[2026-02-01,2026-02-03)"}', '\x000000000000000000000000000000000000000000000000'},
	(map { ("report_$_(bigint,bigint[],date,date,timestamp with time zone,text,text[],jsonb)" => q{1, '{1}', '2026-01-01', '2026-04-01', '2026-04-01 00:00+00', 'UTC', '{sex}', '[{"behind":2,"instruments":[]}]'}) }
		qw(entry_plan patient_compliance compliance transfer balance checks requeued late)),
	'audit_row_of(record)' => undef,
	'cancel_rule_evaluation(text)' => q{'R'},
	'change_rule(text,jsonb,text)' => q{'R', '{"kind":"threshold","severity":"info","items":[{"item":"a","range":"[0,1]"}]}', 'r'},
	'create_rule(jsonb)' => q{'{"code":"new","kind":"threshold","severity":"info","items":[{"item":"a","range":"[0,1]"}]}'},
	'retire_rule(text,text)' => q{'R', 'r'},
	'rule_json(text)' => q{'R'},
	'create_center(text,text,text,text,text)' => q{'New', 'N', 'UTC', 'NOR', 'planned'},
	'create_instrument(jsonb)' => q{'{"code":"new","version":"1","items":[{"code":"a","type":"integer"}]}'},
	'drop_instrument(text,text,date)' => q{'P', 'I', '2026-02-01'},
	'excuse_entries(text,tstzrange,text)' => q{'P1', '[2026-02-01 00:00+00,2026-02-02 00:00+00)', 'r'},
	'entry_compliance(text,daterange,timestamp with time zone)' => q{'P1', '[2026-02-01,2026-03-01)', '2026-03-01 00:00+00'},
	'expected_entries(text,daterange)' => q{'P1', '[2026-02-01,2026-03-01)'},
	'import_questionnaire(jsonb,text,text)' => q{'{"resourceType":"Questionnaire","item":[{"linkId":"1","type":"string"}]}', 'new', '1'},
	'instrument_in_force(text,text,date)' => q{'P', 'I', '2026-02-01'},
	'instrument_json(text,text)' => q{'I', '1'},
	'questionnaire_fhir(text,text,text)' => q{'I', '1', 'R5'},
	'report_is_valid(text,jsonb,text)' => q{'I', '{"a":1}', '1'},
	'schedule_entries(text,text,jsonb,date)' => q{'P', 'I', '{"kind":"daily"}', '2026-02-01'},
	'use_instrument(text,text,boolean,text,date)' => q{'P', 'I', true, '1', '2026-02-01'},
	'validate_report(text,jsonb,text)' => q{'I', '{"a":1}', '1'},
	'create_project_with_centers(text,bigint[],text,text,text)' => q{'New', '{1,2}', 'N', 'UTC', 'active'},
	'enroll_patient(text,text,date,text,bigint,jsonb,text,text,text,date,integer,text,text,integer)' =>
	  q{'P2', 'Bob', '1950-01-01', 'P', 1, '{}', 'M', 'UTC', 'enrolled', '2026-01-10', NULL, 'race', 'ethnic', NULL},
	'find_patients(text,bigint,jsonb,text,integer)' => q{'P', 1, '{"a": 1}', '', 10},
	'get_patient(text)' => q{'P1'},
	'grant_all_centers(name,text)' => q{'regress_member', 'P'},
	'grant_center(name,bigint,text)' => q{'regress_member', 1, 'P'},
	'merge_patch(jsonb,jsonb)' => q{'{}', '{}'},
	'patient_json(text)' => q{'P1'},
	'plan_enrolment(text,bigint,integer,date,date)' => q{'P', 1, 10, '2026-01-01', '2026-02-01'},
	'project_json(text)' => q{'P'},
	'record_changes(jsonb,jsonb)' => q{'{}', '{"a": 1}'},
	'patient_history(text)' => q{'P1'},
	'redact(regclass,jsonb,text[],text)' => q{'clinical.patient', '{"id": "P1"}', '{record,a}', 'r'},
	'remove_center(text,bigint,text)' => q{'P', 2, 'r'},
	'revoke_all_centers(name,text)' => q{'regress_member', NULL},
	'revoke_center(name,bigint,text)' => q{'regress_member', 1, NULL},
	'role_sees(oid,bigint,bigint)' => q{10, 1, 1},
	'sees(bigint,bigint)' => q{1, 1},
	'set_center_status(bigint,text,text)' => q{1, 'suspended', 'r'},
	'set_patient_status(text,text,date,text)' => q{'P1', 'completed', '2026-02-01', 'r'},
	'set_patient_time_zone(text,text,timestamp with time zone)' => q{'P1', 'Asia/Tokyo', '2026-02-01 00:00+00'},
	'set_project_status(text,text,text)' => q{'P', 'suspended', 'r'},
	'submit_report(text,jsonb,uuid,timestamp with time zone,text,text,text,text,text,text)' => q{'P1', '{"a": 1}', '00000000-0000-0000-0000-000000000001', '2026-02-01 00:00+00', NULL, NULL, 'subject', NULL, NULL, NULL},
	'submission_status(text,uuid)' => q{'P1', '00000000-0000-0000-0000-00000000000a'},
	'submit_reports(jsonb)' => q{'[{"patient_id":"P1","report_data":{"a":1}}]'},
	'process_reports(integer)' => q{NULL},
	'take_spans(integer)' => q{10}, 'metric_histogram(text)' => q{'waiting'},
	'wait_until_drained(interval)' => q{'0 s'},
	'requeue(text,uuid,text,jsonb)' => q{'P1', '00000000-0000-0000-0000-00000000000b', 'r', '{}'},
	'withdraw_submission(text,uuid,text)' => q{'P1', '00000000-0000-0000-0000-00000000000a', 'r'},
	'correct_observation(text,uuid,text,text)' => q{'P1', (SELECT id FROM clinical.observation), '2', 'r'},
	'time_zone_at(text,timestamp with time zone)' => q{'P1', '2026-02-01 00:00+00'},
	'verify_audit(text)' => q{NULL},
	'generate_report(text,daterange,jsonb)' => q{'P', '[2026-01-01,2026-04-01)', '{"sections":["status"]}'},
	'request_report(text,daterange,jsonb)' => q{'P', '[2026-01-01,2026-04-01)', '{"sections":["status"]}'},
	'cancel_report(uuid)' => q{(SELECT clinical.request_report('P','[2026-01-01,2026-04-01)'))},
	'purge_reports(interval)' => q{'1 year'},
	(map { $_ => q{'{"header":{},"body":{}}'::jsonb} } 'report_html(jsonb)', 'report_rows(jsonb)'),
	'http_problem(integer,text,text,jsonb)' => q{404, 'patient not found', 'P0002', NULL},
	'http_error(text,text,text)' => q{'22023', 'patient id is required', NULL},
	'http_number(text,text)' => q{'7', 'center'},
	'http_day(text,text)' => q{'2026-02-01', 'from'},
	'http_uuid(text,text)' => q{'00000000-0000-0000-0000-00000000000a', 'report id'},
	'http_object(text,text[])' => q{'{"a":1}', '{a}'},
	'http_text(jsonb,text)' => q{'{"a":"b"}', 'a'},
	'http_quality(text,text[])' => q{'text/html', '{text/html}'},
	(map { $_ => q{'text/html'} } 'http_wants_page(text)', 'http_segment(text)', 'http_page(text)', 'http_trace_parent(text)', 'http_submit_status(text)'),
	'http_report_fault(jsonb)' => q{'{"patientId":"P1"}'},
	'http_get_patient(text)' => q{'P1'},
	'http_find_patients(text,text,text,text,text)' => q{'P', '1', '{}', '', '10'},
	'http_create_project(text)' => q{'{"name":"N","centerIds":[1]}'},
	'http_get_project(text)' => q{'P'},
	'http_submit(text,text,text)' => q{'{"patientId":"P1","reportData":{"a":1}}', '00000000-0000-0000-0000-000000000001', NULL},
	'http_submit_batch(jsonb,text)' => q{'[{"patientId":"P1","reportData":{"a":1}}]', NULL},
	'http_get_submission(text,text)' => q{'P1', '00000000-0000-0000-0000-00000000000a'},
	'http_request_report(text,text)' => q{'P', '{"from":"2026-01-01","to":"2026-04-01"}'},
	'http_make_report(text,text,text,text,text)' => q{'P', '2026-01-01', '2026-04-01', '{"sections":["status"]}', 'text/html'},
	'http_get_report(text,text)' => q{'00000000-0000-0000-0000-00000000000a', NULL},
	'http_cancel_report(text)' => q{'00000000-0000-0000-0000-00000000000a'},
	'http_list_alerts(text,text)' => q{'P', '10'},
	'http_alert(clinical.alert_worklist)' => undef,
	'http_stream_alerts(text,text)' => q{'P', (SELECT concat_ws('-',(extract(epoch FROM now())*1000000)::bigint-3600000000,(extract(epoch FROM now())*1000000)::bigint,3,3,0))},
	'http_acknowledge_alert(text,text,text)' => q{'P1', (SELECT id FROM clinical.alert)::text, '{"comment":"c"}'},
	# they want a report that is stored, pg_cron, or what only the extension calls them with
	(map { $_ => undef } 'report_html(uuid)', 'report_rows(uuid)', 'report_lost(uuid,integer)', 'run_schedule(bigint,timestamp with time zone)', 'run_schedule_elsewhere(bigint,jsonb)',
		'schedule_due(text,text,timestamp with time zone)', 'schedule_entry(bigint)', 'schedule_report(text,text,jsonb)', 'schedule_retention(text,interval)', 'unschedule_report(bigint)',
		'report_tally_add(internal,bytea,text,text,uuid,integer,uuid,date,numeric,text,text,text,boolean,timestamp with time zone)', 'report_tally_combine(internal,internal)',
		'report_tally_group(bytea,text,uuid,integer,uuid,date,timestamp with time zone)', 'report_tally_image(internal)', 'report_tally_read(bytea,internal)'),
	'transfer_patient(text,bigint,date,text)' => q{'P1', 2, '2026-02-01', 'r'});

my @functions = split /\n/, $node->safe_psql('postgres', q{
SELECT substr(oid::regprocedure::text, length('clinical.') + 1) FROM pg_proc
 WHERE pronamespace = 'clinical'::regnamespace AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype) AND prokind = 'f' AND pronargs > 0 ORDER BY 1});
# the tables of reports, which nobody may call, are tried by reports
my %table = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', q{
SELECT substr(oid::regprocedure::text, length('clinical.') + 1) FROM pg_proc
 WHERE pronamespace = 'clinical'::regnamespace AND proname LIKE 'report\_%' AND proname NOT LIKE 'report\_tally%' AND obj_description(oid, 'pg_proc') LIKE '%For the extension itself%'});
@functions = grep { exists $plain{$_} || !$table{$_} } @functions;
is("@functions", join(' ', sort keys %plain), 'all functions with arguments are tried');
my $before = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
my $calls = 0;
for my $function (@functions)
{
	next unless defined $plain{$function};	# takes what only the extension calls it with
	my $plain = join ', ', map { "\$_\$$_\$_\$" } split /,\s+/, $plain{$function};
	my ($status, $out, $error) = $node->psql('postgres', "SELECT * FROM fuzz('clinical.$function', ARRAY[$plain])");
	is($error, '', "$function: all calls were made");
	like($out, qr/^0\|00000\|1\|/, "$function: the plain call succeeds");
	# class 42 is what our own SQL would raise if it were wrong; but a role may not exist
	unlike($out, qr/^\d\|(XX|42(?!704 role))/m, "$function: no error of ours") or diag $out;
	$calls += $_ for $out =~ /^\d\|.*?\|(\d+)\|\{/mg;
}
cmp_ok($calls, '>', 3000, "$calls calls were made");
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $before, 'the server stayed up');
is($node->safe_psql('postgres', 'SELECT count(*) FROM clinical.check()'), 0, 'and is sound');

# a large record, many versions of it
is($node->safe_psql('postgres', q{
SELECT clinical.amend_record('P1', jsonb_build_object('big', (SELECT jsonb_object_agg(g, md5(g::text)) FROM generate_series(1, 125000) g)), 'large');
SELECT clinical.amend_record('P1', '{"big": {"77": null}}', 'smaller');
SELECT changes #> '{0,path}' FROM clinical.record_version WHERE version = 3;
SELECT pg_catalog.length((clinical.get_patient('P1')).record::text) > 5000000;
SELECT clinical.patient_json('P1') #>> '{record,big,99999}' = md5('99999');
SELECT count(*) FROM clinical.check()}), "2\n3\n[\"big\", \"77\"]\nt\nt\n0", 'a record of 5 MB');

# deep documents: a value, or where the stack ends an error of the caller's
my $deep = q{(SELECT (repeat('{"a":', 10000) || '1' || repeat('}', 10000))::jsonb)};
my $deeper = q{(SELECT (repeat('{"a":', 10000) || '{"b": 2}' || repeat('}', 10000))::jsonb)};
my ($status, $out, $error);
my $high = $node->psql('postgres', "SET max_stack_depth = '6MB'") == 0 ? "SET max_stack_depth = '6MB';" : '';
if ($high)
{
	is($node->safe_psql('postgres', qq{$high
SELECT clinical.merge_patch($deep, $deep) = $deep;
SELECT jsonb_array_length(clinical.record_changes($deep, $deeper) #> '{0,path}');
SELECT id FROM clinical.enroll_patient('D1', NULL, NULL, 'P', 1, $deep, effective_on => '2026-01-10');
SELECT clinical.amend_record('D1', $deeper, 'deeper');
SELECT clinical.patient_json('D1') -> 'record' = $deeper;
SELECT id FROM clinical.find_patients(record_contains => $deeper);
SELECT count(*) FROM clinical.check()}), "t\n10000\nD1\n2\nt\nD1\n0", 'records of 10,000 levels');
}
else
{
	note 'the system gives no stack of 6 MB';
	$node->safe_psql('postgres', qq{SELECT clinical.enroll_patient('D1', NULL, NULL, 'P', 1, '{"a": {"a": 1}}', effective_on => '2026-01-10')});
}
for my $call ("clinical.merge_patch(j, j)", "clinical.record_changes(j, k)", "clinical.enroll_patient('D2', NULL, NULL, 'P', 1, j)",
	"clinical.amend_record('P1', j, 'deep')", "clinical.amend_record('D1', k, 'deep')", "clinical.patient_json('D1')", "clinical.find_patients(record_contains => j)")
{
	($status, $out, $error) = $node->psql('postgres', qq{\\set VERBOSITY verbose
CREATE TEMP TABLE deep AS SELECT (repeat('{"a":', 3000) || '1' || repeat('}', 3000))::jsonb AS j, (repeat('{"a":', 3000) || '2' || repeat('}', 3000))::jsonb AS k;
BEGIN;
SET LOCAL max_stack_depth = '100kB';
SELECT count(r) FROM (SELECT $call AS r FROM deep OFFSET 0) c;
ROLLBACK;
SELECT 'alive'}, on_error_stop => 0);
	like($out, qr/alive/, "$call: a deep document does no harm");
	like("$out\n$error", qr/ERROR:  54001: |\A\d+\nalive\n*\z/, "$call: it is a value or 54001");
	like($error, qr/54001/, "$call: it is 54001") if $call =~ /merge_patch|record_changes|amend_record/;
}
is($node->safe_psql('postgres', qq{$high SELECT count(*) FROM clinical.check(); SELECT clinical.amend_record('P1', '{"after": 1}', 'goes on') > 1}), "0\nt", 'and goes on');

# cancelled, nothing is left
$node->safe_psql('postgres', q{INSERT INTO clinical.center (name) SELECT 'many' FROM generate_series(1, 100000)});
my $projects = $node->safe_psql('postgres', q{
SELECT (SELECT count(*) FROM clinical.project), (SELECT count(*) FROM clinical.project_center), (SELECT count(*) FROM clinical.project_event), 0});
($status, $out, $error) = $node->psql('postgres', q{\set VERBOSITY verbose
SET statement_timeout = '200ms';
SELECT clinical.create_project_with_centers('Many', ARRAY(SELECT id FROM clinical.center), 'MANY')});
like($error, qr/ERROR:  57014/, 'a project of 100,000 centers was cancelled');
is($node->safe_psql('postgres', qq{$high
SELECT (SELECT count(*) FROM clinical.project), (SELECT count(*) FROM clinical.project_center), (SELECT count(*) FROM clinical.project_event),
       (SELECT count(*) FROM clinical.check())}), $projects, 'and left nothing');

done_testing();
