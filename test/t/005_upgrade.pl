# Each version that can be installed, brought up to date, has the same catalog as a fresh install.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('upgrade');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'");
$node->start;

# All that the catalogs say of the extension, without oids.
my $catalog = q{
WITH member AS (
    SELECT d.classid, d.objid, e.extconfig FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
     WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'clinical')
SELECT 'member', pg_describe_object(classid, objid, 0), coalesce(obj_description(objid, classid::regclass::name), '') FROM member
UNION ALL
SELECT 'function', pg_get_functiondef(p.oid), proacl::text || proowner::regrole::text FROM pg_proc p JOIN member m ON m.objid = p.oid AND p.prokind = 'f'
UNION ALL
SELECT 'table', c.oid::regclass::text, concat_ws(' ', relkind, relowner::regrole, relacl, reloptions, relrowsecurity, relforcerowsecurity, relreplident)
  FROM pg_class c JOIN member m ON m.objid = c.oid
UNION ALL
SELECT 'column', a.attrelid::regclass || '.' || attname,
       concat_ws(' ', attnum, format_type(atttypid, atttypmod), attnotnull, attidentity, attcollation::regcollation, attstorage,
                 pg_get_expr(adbin, adrelid), attacl, col_description(attrelid, attnum))
  FROM pg_attribute a JOIN member m ON m.objid = a.attrelid LEFT JOIN pg_attrdef d ON (adrelid, adnum) = (attrelid, attnum)
 WHERE attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'sequence', s.seqrelid::regclass::text, concat_ws(' ', format_type(seqtypid, NULL), seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle)
  FROM pg_sequence s JOIN member m ON m.objid = s.seqrelid
UNION ALL
SELECT 'constraint', conrelid::regclass || ' ' || conname, pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN member m ON m.objid = conrelid
UNION ALL
SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index i JOIN member m ON m.objid = indrelid
UNION ALL
SELECT 'trigger', tgrelid::regclass || ' ' || tgname, concat(tgenabled, ' ', pg_get_triggerdef(t.oid)) FROM pg_trigger t JOIN member m ON m.objid = tgrelid
 WHERE NOT tgisinternal
UNION ALL
SELECT 'policy', polrelid::regclass || ' ' || polname, concat_ws(' ', polcmd, polroles::regrole[], pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
  FROM pg_policy JOIN member m ON m.objid = polrelid
UNION ALL
SELECT 'view', v.oid::regclass::text, pg_get_viewdef(v.oid) FROM pg_class v JOIN member m ON m.objid = v.oid WHERE relkind = 'v'
UNION ALL
SELECT 'event trigger', evtname::text, concat_ws(' ', evtevent, evtenabled, evttags, evtfoid::regproc) FROM pg_event_trigger JOIN member m ON m.objid = pg_event_trigger.oid
UNION ALL
SELECT 'dumped', c.oid::regclass::text, '' FROM pg_class c WHERE c.oid IN (SELECT unnest(extconfig) FROM pg_extension WHERE extname = 'clinical')
UNION ALL
SELECT 'schema', nspname::text, nspacl::text || obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'clinical'
ORDER BY 1, 2, 3};

$node->safe_psql('postgres', 'CREATE DATABASE fresh');
$node->safe_psql('fresh', 'CREATE EXTENSION clinical');
my $fresh = $node->safe_psql('fresh', $catalog);
like($fresh, qr/^\Q$_\E\|/m, "the catalog has a $_") for qw(member function table column constraint index sequence trigger dumped schema);

# pg_available_extension_versions does not look where the tests install
my @versions = split /\n/, $node->safe_psql('fresh', q{
SELECT source FROM pg_extension_update_paths('clinical') UNION SELECT target FROM pg_extension_update_paths('clinical')
 UNION SELECT extversion FROM pg_extension WHERE extname = 'clinical' ORDER BY 1});
cmp_ok(@versions, '>', 0, "there are versions: @versions");
for my $version (@versions)
{
	my $database = 'from_' . ($version =~ s/\W/_/gr);
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, "CREATE EXTENSION clinical VERSION '$version'; ALTER EXTENSION clinical UPDATE");
	is($node->safe_psql($database, $catalog), $fresh, "$version, updated, is as a fresh install");
}

# a difference would be seen
for my $change ('COMMENT ON FUNCTION clinical.health() IS NULL', 'ALTER TABLE clinical.center ALTER name SET DEFAULT 1',
	'ALTER TABLE clinical.center DISABLE TRIGGER center_check', 'GRANT SELECT ON clinical.patient TO PUBLIC',
	'ALTER SEQUENCE clinical.center_id_seq CACHE 7', 'ALTER EXTENSION clinical DROP TABLE clinical.record_version', 'GRANT UPDATE (name) ON clinical.center TO PUBLIC',
	'ALTER TABLE clinical.center DROP CONSTRAINT center_name_check', 'DROP INDEX clinical.patient_record_idx')
{
	isnt($node->safe_psql('fresh', "BEGIN; $change; $catalog; ROLLBACK"), $fresh, "seen: $change");
}

done_testing();
