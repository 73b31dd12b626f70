# Without shared_preload_libraries projects and patients work; what needs background workers says so.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('bare');
$node->init;
$node->start;
is($node->safe_psql('postgres', q{
CREATE EXTENSION clinical;
SELECT id FROM clinical.create_center('One');
SELECT code FROM clinical.create_project_with_centers('Project', '{1}');
SELECT id FROM clinical.enroll_patient('P001', 'Ada', NULL, 'PJ-1', 1, effective_on => '2026-01-10');
SELECT clinical.amend_record('P001', '{"a": 1}', 'test');
SELECT status FROM clinical.set_patient_status('P001', 'completed', '2026-02-01');
SELECT clinical.patient_json('P001');
SELECT id FROM clinical.find_patients('PJ-1', record_contains => '{"a": 1}');
SELECT clinical.project_json('PJ-1') ->> 'code';
SELECT count(*) FROM clinical.check();
}), join("\n", 1, 'PJ-1', 'P001', 2, 'completed',
		'{"id": "P001", "name": "Ada", "record": {"a": 1}, "birthDate": null, "projectID": "PJ-1"}', 'P001', 'PJ-1', 0),
	'projects and patients work');

my ($status, $out, $error) = $node->psql('postgres', '\set VERBOSITY verbose
SELECT clinical.require_preload()');
like($error, qr/ERROR:  55000: clinical must be loaded via shared_preload_libraries/, 'what needs workers raises 55000');
like($error, qr/HINT:  Add "clinical" to shared_preload_libraries and restart the server\./, 'with a hint');
for my $call ('clinical.take_spans()', '* FROM clinical.stat_span')
{
	($status, $out, $error) = $node->psql('postgres', "\\set VERBOSITY sqlstate\nSELECT $call");
	like($error, qr/ERROR:  55000/, "so does $call");
}
is($node->safe_psql('postgres', q{SELECT ok FROM clinical.health() WHERE problem ~ 'shared_preload_libraries'}), 'f', 'health says it');

# settings made before the first call of a session has loaded the library
is($node->safe_psql('postgres', q{
BEGIN;
SET LOCAL clinical.reason = 'told beforehand';
SET LOCAL clinical.actor = 'somebody';
SELECT clinical.amend_record('P001', '{"a": 2}', NULL);
COMMIT;
SELECT reason, actor FROM clinical.record_version WHERE version = 3}), "3\ntold beforehand|somebody", 'settings before the library is loaded');
{
	local $ENV{PGOPTIONS} = '-c clinical.restore=on';
	is($node->safe_psql('postgres', q{DELETE FROM clinical.record_version WHERE version = 3; SELECT count(*) FROM clinical.check()}),
		1, 'a superuser\'s clinical.restore counts, too, and check sees what it did');
}

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'");
$node->restart;
is($node->safe_psql('postgres', 'SELECT clinical.require_preload() IS NOT NULL'), 't', 'with it, nothing is raised');
is($node->safe_psql('postgres', q{SELECT count(*) FROM clinical.health() WHERE problem ~ 'shared_preload_libraries'}), 0, 'and health has nothing to say of it');

done_testing();
