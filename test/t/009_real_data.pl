# The CDISC pilot study, converted and loaded by the demo's scripts, gives the figures that its
# publishers print.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = ($ENV{CLINICAL_SHARED} // '') . '/data/cdiscpilot01';
plan skip_all => 'no real data: CLINICAL_SHARED does not name a folder that has them'
  unless $ENV{CLINICAL_SHARED} && -r "$source/subjects.csv";

my $node = PostgreSQL::Test::Cluster->new('real');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'");
$node->start;
my $csv = $node->basedir . '/csv';
mkdir $csv or die "cannot make $csv: $!";
my @psql = ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $node->connstr('postgres'));
my $demo = `pwd` =~ s/\n//r . '/demo';
$node->safe_psql('postgres', 'CREATE EXTENSION clinical');
$node->command_ok([ @psql, '-v', "source=$source", '-v', "target=$csv", '-f', "$demo/cdiscpilot01.sql" ], 'converted');
$node->command_ok([ @psql, '-f', "$demo/layout.sql" ], 'layout');
$node->command_ok([ @psql, '-v', "dir=$csv", '-f', "$demo/import.sql" ], 'imported');
$node->command_ok([ @psql, '-f', "$demo/load.sql" ], 'loaded');
$node->command_ok([ @psql, '-v', 'simulated=off', '-f', "$demo/check.sql" ], 'as the files say');

# A figure of the loaded study.
sub figure
{
	my ($name, $expected, $sql) = @_;
	return is($node->safe_psql('postgres', $sql), $expected, $name);
}

# by center: screened, screen failures, randomised, as sites.csv has it
my ($header, @sites) = split /\r?\n/, slurp_file("$source/sites.csv");
my $sites = join "\n", map { my @f = split /,/; join '|', @f[ 0, 2, 3, 4 ] } @sites;
figure('patients by center', $sites, q{
SELECT site_id, count(*), count(*) FILTER (WHERE p.status = 'screen_failed'),
       count(*) FILTER (WHERE EXISTS (SELECT FROM clinical.enrollment_event e WHERE e.patient_id = p.id AND e.status = 'enrolled'))
  FROM clinical.patient p JOIN clinical.center c ON c.id = p.center_id GROUP BY 1 ORDER BY 1});
figure('disposition (14-1.02, end of study)', "completed|110\ndied|3\nlost_to_follow_up|2\nscreen_failed|52\nwithdrawn|139",
	'SELECT status, count(*) FROM clinical.patient GROUP BY 1 ORDER BY 1');
figure('withdrawn by reason (subjects.csv: DISPTERM)', "ADVERSE EVENT|92\nLACK OF EFFICACY|4\nPROTOCOL|6\nSPONSOR DECISION|7\n|30", q{
SELECT g, count(*) FROM clinical.enrollment_event,
       coalesce(substring(reason FROM '^(ADVERSE EVENT|LACK OF EFFICACY|PROTOCOL|SPONSOR DECISION)'), '') AS g WHERE status = 'withdrawn' GROUP BY 1 ORDER BY g = '', g});
figure('each patient begins once, 254 are enrolled', '306|306|254', q{
SELECT count(*), count(DISTINCT patient_id), (SELECT count(*) FROM clinical.enrollment_event WHERE status = 'enrolled') FROM clinical.enrollment_event WHERE event_no = 1});
figure('populations by arm (14-1.01)', "Placebo|86|79|60\nXanomeline High Dose|84|74|30\nXanomeline Low Dose|84|81|28", q{
SELECT record ->> 'arm', count(*), count(*) FILTER (WHERE record @> '{"flags": {"efficacy": true}}'),
       count(*) FILTER (WHERE record @> '{"flags": {"completed_week_24": true}}')
  FROM clinical.find_patients(record_contains => '{"flags": {"intention_to_treat": true}}', page_size => 1000) GROUP BY 1 ORDER BY 1});
figure('age (14-2.01)', '254|75.1|8.25|77|51|89', q{
SELECT count(age), round(avg(age), 1), round(stddev(age), 2), percentile_cont(0.5) WITHIN GROUP (ORDER BY age), min(age), max(age) FROM clinical.patient WHERE status <> 'screen_failed'});
figure('sex and ethnicity', "F|179\nM|127\n17", q{SELECT sex, count(*) FROM clinical.patient GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM clinical.patient WHERE ethnicity = 'HISPANIC OR LATINO'});
figure('education (14-2.01)', '254|12.8|3.38', q{
SELECT count(*), round(avg((record -> 'education_years')::numeric), 1), round(stddev((record -> 'education_years')::numeric), 2)
  FROM clinical.patient WHERE status <> 'screen_failed'});
figure('one patient', '{"id": "01-701-1015", "name": null, "birthDate": null, "projectID": "CDISCPILOT01"}|completed|2014-07-02|63',
	q{SELECT clinical.patient_json(id) - 'record', status, status_on, age FROM clinical.get_patient('01-701-1015')});
figure('vital signs, those that were done, and answers', '29643|29635|121749',
	'SELECT count(*), count(value), (SELECT count(*) FROM study.answer) FROM study.reading');
figure('sound', '', 'SELECT * FROM clinical.check()');

done_testing();
