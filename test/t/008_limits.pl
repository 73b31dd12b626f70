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

CREATE TABLE extreme (type regtype, value text);
INSERT INTO extreme VALUES
    ('text', 'NULL'), ('text', ''''''), ('text', '''P'''), ('text', '''P1'''), ('text', 'repeat(''x'', 1000000)'), ('text', '''a''''b\c"d{}%s$1'''),
    ('text', 'E''\n\t'''), ('text', '''active'''), ('text', '''enrolled'''), ('text', '''UTC'''), ('text', '''2'''), ('text', 'chr(1114111)'),
    ('bigint', 'NULL'), ('bigint', '1'), ('bigint', '0'), ('bigint', '-9223372036854775808'), ('bigint', '9223372036854775807'),
    ('integer', 'NULL'), ('integer', '1'), ('integer', '0'), ('integer', '-2147483648'), ('integer', '2147483647'),
    ('date', 'NULL'), ('date', '''2026-02-01'''), ('date', '''-infinity'''), ('date', '''infinity'''), ('date', '''4713-01-01 BC'''), ('date', '''5874897-12-31'''), ('date', '''2024-02-29'''),
    ('timestamptz', 'NULL'), ('timestamptz', '''2026-02-01'''), ('timestamptz', '''-infinity'''), ('timestamptz', '''infinity'''),
    ('timestamptz', '''4713-01-01 00:00+00 BC'''), ('timestamptz', '''294276-12-31 23:59+00'''),
    ('bigint[]', 'NULL'), ('bigint[]', '''{}'''), ('bigint[]', '''{1,2}'''), ('bigint[]', '''{{1},{2}}'''), ('bigint[]', '''[-5:-4]={1,2}'''),
    ('bigint[]', '''{NULL}'''), ('bigint[]', 'array_fill(1, ARRAY[100000])'), ('bigint[]', 'ARRAY(SELECT generate_series(1, 100000))'),
    ('jsonb', 'NULL'), ('jsonb', '''{}'''), ('jsonb', '''[]'''), ('jsonb', '''null'''), ('jsonb', '''1e1000'''), ('jsonb', '''{"": {"": [[]]}}'''),
    ('jsonb', '''"\u00e9"'''), ('jsonb', '(repeat(''{"a":'', 4000) || ''1'' || repeat(''}'', 4000))::jsonb'),
    ('jsonb', 'jsonb_build_object(''k'', repeat(''long'', 1000000))'), ('jsonb', '(SELECT jsonb_object_agg(g, g) FROM generate_series(1, 20000) g)');

-- SQLSTATEs of every call in which one or two arguments are extreme and the others are plain
CREATE FUNCTION fuzz(function regprocedure) RETURNS TABLE (state text, calls bigint) LANGUAGE plpgsql AS $$
DECLARE
    types regtype[] := (SELECT proargtypes FROM pg_proc WHERE oid = function);
    plain text[] := ARRAY(SELECT (SELECT value FROM extreme e WHERE e.type = t AND value <> 'NULL' ORDER BY value = '''P1''' DESC, random() LIMIT 1) FROM unnest(types) t);
    args text[];
    states text[] := '{}';
    one record;
BEGIN
    FOR one IN SELECT a.i AS i, e.value AS v, b.i AS j, f.value AS w
                 FROM generate_subscripts(types::oid[], 1) a (i) JOIN extreme e ON e.type = types[a.i]
                 LEFT JOIN LATERAL (SELECT i, value FROM generate_subscripts(types::oid[], 1) i, extreme x WHERE x.type = types[i] AND i <> a.i ORDER BY random() LIMIT 3) f ON true
                 LEFT JOIN LATERAL (SELECT f.i) b (i) ON true LOOP
        args := plain;
        args[one.i + (1 - array_lower(types::oid[], 1))] := one.v;
        IF one.j IS NOT NULL THEN
            args[one.j + (1 - array_lower(types::oid[], 1))] := one.w;
        END IF;
        BEGIN
            EXECUTE format('SELECT count(*) FROM %s(%s)', function::regproc, array_to_string(args, ', '));
            states := states || '00000'::text;
            RAISE EXCEPTION USING ERRCODE = 'ZZZZZ';  -- undo it
        EXCEPTION
            WHEN SQLSTATE 'ZZZZZ' THEN NULL;
            WHEN OTHERS THEN
                states := states || SQLSTATE::text;
                IF SQLSTATE = 'XX000' THEN RAISE WARNING 'XX000 % %: %', function, left(args::text, 300), SQLERRM; END IF;
        END;
    END LOOP;
    RETURN QUERY SELECT s, count(*) FROM unnest(states) s GROUP BY 1 ORDER BY 1;
END
$$;
SELECT setseed(0.42);
});

my @functions = split /\n/, $node->safe_psql('postgres', q{
SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'clinical'::regnamespace AND prorettype <> 'trigger'::regtype AND pronargs > 0 ORDER BY 1});
my $before = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
my $calls = 0;
for my $function (@functions)
{
	my ($status, $out, $error) = $node->psql('postgres', "SELECT setseed(0.42); SELECT string_agg(state || ' x' || calls, ', '), sum(calls) FROM fuzz('$function')");
	unlike($error, qr/XX000|PANIC|terminat|crash/, "$function") or diag $error;
	$calls += $1 if $out =~ /\|(\d+)$/;
}
cmp_ok($calls, '>', 1000, "$calls calls were made");
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $before, 'the server stayed up');
is($node->safe_psql('postgres', 'SELECT count(*) FROM clinical.check()'), 0, 'and is sound');

# a large record, many versions of it
is($node->safe_psql('postgres', q{
SELECT clinical.amend_record('P1', jsonb_build_object('big', (SELECT jsonb_object_agg(g, md5(g::text)) FROM generate_series(1, 100000) g)), 'large');
SELECT clinical.amend_record('P1', '{"big": {"77": null}}', 'smaller');
SELECT changes #> '{0,path}' FROM clinical.record_version WHERE version = 3;
SELECT clinical.patient_json('P1') #>> '{record,big,99999}' = md5('99999');
SELECT count(*) FROM clinical.check()}), "2\n3\n[\"big\", \"77\"]\nt\n0", 'a record of megabytes');

# deeper than the stack: an error of its own
$node->append_conf('postgresql.conf', 'max_stack_depth = 200kB');
$node->reload;
my ($status, $out, $error) = $node->psql('postgres', q{\set VERBOSITY verbose
SELECT length(clinical.merge_patch(j, j)::text) FROM (SELECT (repeat('{"a":', 600) || '1' || repeat('}', 600))::jsonb) d (j);
SELECT 'alive'}, on_error_stop => 0);
like($out, qr/alive/, 'a deep document does no harm');
like("$out$error", qr/54001|^\d+$/m, 'it is a value or 54001');

# cancelled, nothing is left
$node->safe_psql('postgres', q{INSERT INTO clinical.center (name) SELECT 'many' FROM generate_series(1, 100000)});
($status, $out, $error) = $node->psql('postgres', q{\set VERBOSITY verbose
SET statement_timeout = '200ms';
SELECT clinical.create_project_with_centers('Many', ARRAY(SELECT id FROM clinical.center), 'MANY')});
like($error, qr/ERROR:  57014/, 'a project of 100,000 centers was cancelled');
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.project WHERE code = 'MANY'}), 0, 'and left nothing');

done_testing();
