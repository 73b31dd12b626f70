# What is measured comes to Prometheus, as the programs of Debian read it: promtool, the exporter and Prometheus itself.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use HTTP::Tiny;
use Intake;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

for my $program (qw(promtool prometheus prometheus-postgres-exporter))
{
	plan skip_all => "$program is not here" if system("command -v $program >/dev/null") != 0;
}
my $scratch = PostgreSQL::Test::Utils::tempdir();
my @running;
my $told = '';
END { my $status = $?; $_->kill_kill for @running; $? = $status }

my $node = PostgreSQL::Test::Cluster->new('prometheus');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'\nclinical.queue_capacity = 40");
$node->start;
$node->safe_psql('postgres', q{
CREATE EXTENSION clinical;
SELECT clinical.create_center('Center', 'S-1', 'UTC');
SELECT clinical.create_project_with_centers('Project', '{1}', 'P-1', 'UTC'), clinical.create_project_with_centers('Quote', '{1}', 'P"\2', 'UTC'),
       clinical.create_project_with_centers('Named as what is no project', '{1}', '(unknown)', 'UTC'), clinical.create_project_with_centers('And so', '{1}', '((unknown)', 'UTC');
SELECT clinical.create_instrument('{"code": "diary", "version": "1", "items": [{"code": "n", "type": "integer"}]}');
SELECT clinical.use_instrument(p, 'diary', true) FROM unnest('{P-1,"P\"\\\\2",(unknown),((unknown)}'::text[]) p;
SELECT clinical.enroll_patient('CANARY1', 'CANARYNAME', '1950-01-01', 'P-1', 1, effective_on => '2026-01-10'),
       clinical.enroll_patient('CANARY2', 'CANARYNAME', '1950-01-01', 'P"\2', 1, effective_on => '2026-01-10'),
       clinical.enroll_patient('CANARY3', 'CANARYNAME', '1950-01-01', '(unknown)', 1, effective_on => '2026-01-10'),
       clinical.enroll_patient('CANARY4', 'CANARYNAME', '1950-01-01', '((unknown)', 1, effective_on => '2026-01-10');
SELECT clinical.create_rule('{"code": "HIGH", "project": "P-1", "kind": "threshold", "severity": "serious", "items": [{"item": "n", "range": "[0,10]"}]}');
CREATE ROLE metrics LOGIN IN ROLE pg_monitor});

# Sends reports of a patient with these numbers, and has them processed.
sub report
{
	my ($patient, @numbers) = @_;
	$node->safe_psql('postgres', join ';', map { qq{SELECT clinical.submit_report('$patient', '{"n": $_}', captured_at => '2026-02-01 10:00+00'::timestamptz + $_ * interval '1 day')} } @numbers);
	drained($node, 'postgres', "reports of $patient");
}
report('CANARY1', 1 .. 12);
report('CANARY2', 3, 2.5);
report('CANARY9', 1);
report('CANARY3', 1 .. 3);
report('CANARY4', 1 .. 4);
# of a trace
$node->safe_psql('postgres', q{SELECT outcome FROM clinical.submit_report('CANARY9', '{"n": 2}', trace_parent => '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01')});
drained($node, 'postgres', 'a report of a trace');
$node->safe_psql('postgres', q{SELECT clinical.generate_report('P-1', '[2026-01-01,2026-04-01)', '{"sections": ["status"]}')});

# metrics_text(), as a role that may do nothing else.
sub metrics_text { return $node->safe_psql('postgres', 'SELECT clinical.metrics_text()', extra_params => [ '-U', 'metrics' ]) . "\n" }
my $text = metrics_text();
is(scalar(IPC::Run::run([ 'promtool', 'check', 'metrics' ], '<', \$text, '>&', \$told)), 1, 'promtool check metrics') or diag $told;
is($told, '', 'and it has nothing to say');
unlike($text, qr/CANARY/, 'no patient');
like($text, qr/^clinical_reports_processed_total\{outcome="accepted",project="P-1"\} 12$/m, 'counted by project') or diag $text;
like($text, qr/^clinical_reports_processed_total\{outcome="quarantined",project="P\\"\\\\2"\} 1$/m, 'a code with a quotation mark and a backslash');
like($text, qr/^clinical_reports_processed_total\{outcome="$_->[0]",project="$_->[1]"\} $_->[2]$/m, "$_->[1] is not taken for another") for [ 'quarantined', '\(unknown\)', 2 ], [ 'accepted', '\(unknown\)', 0 ], [ 'accepted', '\(\(unknown\)', 3 ], [ 'accepted', '\(\(\(unknown\)', 4 ];
my @names = map { /^(clinical_\S+(?:\{.*\})?) \S+$/ ? $1 : () } split /\n/, $text;
my %times;
$times{$_}++ for @names;
is(join(' ', grep { $times{$_} > 1 } sort keys %times), '', 'no series comes twice');
like($text, qr/^clinical_spans_waiting 3\n.*^clinical_spans_recorded_total 3\n.*^clinical_spans_lost_total 0$/ms, 'spans');
like($text, qr/^clinical_alerts_opened_total\{project="P-1",severity="serious"\} 1$/m, 'alerts');
like($text, qr/^clinical_project_reports_total\{outcome="done",project="P-1"\} 1$/m, 'reports');
my ($code) = $node->psql('postgres', 'SELECT count(*) FROM clinical.patient', extra_params => [ '-U', 'metrics' ]);
isnt($code, 0, 'that role may not see patients');

# The series of a text: name and labels to value.
sub series_of
{
	my %series;
	for (grep { /^clinical_/ } split /\n/, $_[0])
	{
		my ($name, $labels, $value) = /^(\w+)(?:\{(.*)\})? (\S+)$/ or die "no series: $_";
		my @labels = grep { !/^server=/ } ($labels // '') =~ /(\w+="(?:[^"\\]|\\.)*")/g;
		# a bound is a number, however it is written
		s/^le="([0-9.e+-]+)"$/'le="' . ($1 + 0) . '"'/e for @labels;
		$series{ join ',', $name, sort @labels } = $value + 0;
	}
	return \%series;
}
# Those that do not change while nobody does anything
sub steady { my ($series) = @_; return { map { $_ => $series->{$_} } grep { !/unsealed|health|batches/ } keys %$series } }

my $http = HTTP::Tiny->new(timeout => 20);
# Starts a program; waits until its address answers.
sub start
{
	my ($name, $address, @command) = @_;
	push @running, IPC::Run::start(\@command, '<', \undef, '>', "$scratch/$name.log", '2>&1');
	for (1 .. 600)
	{
		return if $http->get($address)->{success};
		select undef, undef, undef, 0.1;
	}
	die "$name does not answer: " . slurp_file("$scratch/$name.log");
}
my $exporter = '127.0.0.1:' . PostgreSQL::Test::Cluster::get_free_port();
{
	local $ENV{DATA_SOURCE_NAME} = 'user=metrics dbname=postgres host=' . $node->host . ' port=' . $node->port;
	start('exporter', "http://$exporter/", 'prometheus-postgres-exporter', "--web.listen-address=$exporter", '--extend.query-path=doc/observe/queries.yaml',
		'--disable-default-metrics', '--disable-settings-metrics');
}
my $exported = $http->get("http://$exporter/metrics")->{content};
is_deeply(steady(series_of($exported)), steady(series_of(metrics_text())), 'the exporter gives the same series') or diag $exported, slurp_file("$scratch/exporter.log");
like($exported, qr/^pg_exporter_last_scrape_error\S* 0$/m, 'without an error');

# Prometheus itself
my $prometheus = '127.0.0.1:' . PostgreSQL::Test::Cluster::get_free_port();
my $rules = "$FindBin::RealBin/../../doc/observe/rules.yml";
append_to_file("$scratch/prometheus.yml", "global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}\nrule_files: ['$rules']\nscrape_configs: [{job_name: clinical, static_configs: [{targets: ['$exporter']}]}]\n");
start('prometheus', "http://$prometheus/-/ready", 'prometheus', "--config.file=$scratch/prometheus.yml", "--storage.tsdb.path=$scratch/tsdb", "--web.listen-address=$prometheus");

# What Prometheus answers to an expression, as JSON.
sub query
{
	my ($expression) = @_;
	my $answer = decode_json($http->post_form("http://$prometheus/api/v1/query", { query => $expression })->{content});
	return $answer->{status} eq 'success' ? $answer->{data}{result} : undef;
}
# The value of the only series of an expression, when it is that, or the last one.
sub value_becomes
{
	my ($expression, $wanted) = @_;
	my $value;
	for (1 .. 200)
	{
		my $result = query($expression);
		$value = @{ $result // [] } == 1 ? $result->[0]{value}[1] : 'none';
		last if $value eq $wanted;
		select undef, undef, undef, 0.1;
	}
	return $value;
}
my $accepted = 'clinical_reports_processed_total{project="P-1",outcome="accepted"}';
is(value_becomes($accepted, 12), 12, 'Prometheus has them');
report('CANARY1', 1 .. 3);
is(value_becomes($accepted, 15), 15, 'and what comes later');
is(value_becomes('clinical_report_waiting_seconds_count', 26), 26, 'a histogram');
is(value_becomes('clinical_report_waiting_seconds_bucket{le="+Inf"}', 26), 26, 'and its buckets');

# The queue fills up, and the alert of it is pending.
$node->safe_psql('postgres', q{SELECT clinical.stop_workers()});
$node->safe_psql('postgres', q{SELECT count(clinical.submit_report('CANARY1', '{"n": 1}')) FROM generate_series(1, 45)});
is(value_becomes('clinical_queue_taken_reports', 40), 40, 'the queue is full');
is(value_becomes('clinical_intake_refused_total{answer="busy"}', 5), 5, 'and the others were sent away');
is(value_becomes('count(ALERTS{alertname=~"ClinicalQueueNearlyFull|ClinicalNoWorker", alertstate="pending"})', 2), 2, 'two alerts are pending');

# All rules and the whole dashboard can be evaluated, and name no series that is not there.
my %named = map { /^(\w+)/; $1 => 1 } keys %{ series_of($exported) };
my @rules = map { @{ $_->{rules} } } @{ decode_json($http->get("http://$prometheus/api/v1/rules")->{content})->{data}{groups} };
is(scalar(@rules), 10, 'ten rules');
is($_->{health}, 'ok', "rule $_->{name}") for @rules;
my $dashboard = decode_json(slurp_file('doc/observe/dashboard.json'));
my @expressions = map { map { $_->{expr} } @{ $_->{targets} // [] } } @{ $dashboard->{panels} };
cmp_ok(scalar(@expressions), '>', 20, 'a dashboard');
for my $expression (@expressions)
{
	(my $asked = $expression) =~ s/\$instance/.*/g;
	ok(defined query($asked), "the dashboard's $expression");
}
is(join(' ', grep { !$named{$_} } map { /(clinical_\w+)/g } @expressions, map { $_->{query} } @rules), '', 'no name that is not there');

# When the rules fire
my $unit = "$scratch/rules_test.yml";
append_to_file($unit, "rule_files: ['$rules']\nevaluation_interval: 1m\ntests:\n");
# A rule with series, the minute, and how many alerts it gives then
sub fires
{
	my ($name, $minute, $number, %series) = @_;
	append_to_file($unit, "- interval: 1m\n  input_series:\n" . join('', map { "  - {series: '$_', values: '$series{$_}'}\n" } sort keys %series)
		. "  promql_expr_test:\n  - {expr: 'count(ALERTS{alertname=\"$name\", alertstate=\"firing\"}) or vector(0)', eval_time: ${minute}m, exp_samples: [{labels: '{}', value: $number}]}\n");
	return;
}
fires('ClinicalBacklogGrows', 40, 1, 'clinical_queue_reports{instance="a",state="waiting"}' => '0+100x60');
fires('ClinicalBacklogGrows', 40, 0, 'clinical_queue_reports{instance="a",state="waiting"}' => '9000-100x60');
fires('ClinicalQueueNearlyFull', 10, 1, 'clinical_queue_taken_reports{instance="a"}' => '90x20', 'clinical_queue_capacity_reports{instance="a"}' => '100x20');
fires('ClinicalQueueNearlyFull', 10, 0, 'clinical_queue_taken_reports{instance="a"}' => '70x20', 'clinical_queue_capacity_reports{instance="a"}' => '100x20');
fires('ClinicalReportsRefused', 20, 1, 'clinical_intake_refused_total{answer="busy"}' => '0+1x30');
fires('ClinicalReportsRefused', 20, 0, 'clinical_intake_refused_total{answer="already_received"}' => '0+1x30');
fires('ClinicalOldestReportWaits', 10, 1, 'clinical_queue_oldest_seconds' => '400x20');
fires('ClinicalOldestReportWaits', 10, 0, 'clinical_queue_oldest_seconds' => '200x20');
fires('ClinicalQuarantineRate', 50, 1, 'clinical_reports_processed_total{project="P",outcome="quarantined"}' => '0+10x60', 'clinical_reports_processed_total{project="P",outcome="accepted"}' => '0+90x60');
fires('ClinicalQuarantineRate', 50, 0, 'clinical_reports_processed_total{project="P",outcome="quarantined"}' => '0+1x60', 'clinical_reports_processed_total{project="P",outcome="accepted"}' => '0+90x60');
fires('ClinicalQuarantineRate', 30, 0, 'clinical_reports_processed_total{project="(unknown)",outcome="quarantined"}' => '0x5 2x60');
fires('ClinicalNoWorker', 5, 1, 'clinical_workers_running' => '0x20');
fires('ClinicalNoWorker', 5, 0, 'clinical_workers_running' => '1x20');
fires('ClinicalWorkerRestarts', 15, 1, 'clinical_worker_restarts_total' => '0+1x20');
fires('ClinicalWorkerRestarts', 15, 0, 'clinical_worker_restarts_total' => '0x10 1x10');
fires('ClinicalSealLag', 10, 1, 'clinical_audit_unsealed_seconds' => '1000x20');
fires('ClinicalSealLag', 10, 0, 'clinical_audit_unsealed_seconds' => '10x20');
fires('ClinicalHealth', 10, 1, 'clinical_health_problems' => '1x20');
fires('ClinicalHealth', 10, 0, 'clinical_health_problems' => '0x20');
fires('ClinicalMetricsMissing', 10, 1, 'clinical_other' => '1x20');
fires('ClinicalMetricsMissing', 10, 0, 'clinical_queue_capacity_reports' => '1x20');
ok(IPC::Run::run([ 'promtool', 'check', 'rules', $rules ], '>&', \$told), 'promtool check rules') or diag $told;
ok(IPC::Run::run([ 'promtool', 'test', 'rules', $unit ], '>&', \$told), 'promtool test rules') or diag $told;

done_testing();
