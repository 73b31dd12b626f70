# doc/analysis.R makes the report's table of items from clinical.analysis_observation, as a statistician would.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'R is not installed' if system('Rscript --version >/dev/null 2>&1') != 0;

my $node = PostgreSQL::Test::Cluster->new('analysis');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'\nfsync = off");
$node->start;
# numbers with few and with many distinct values, exact halves, negative ones; items that are asked and not answered,
# in two units, coded, true or false, texts; scores; corrections, and reports that are withdrawn
$node->safe_psql('postgres', q{
CREATE EXTENSION clinical;
SELECT clinical.create_center('Center', 'S-1', 'Europe/Zurich'), clinical.create_center('Hidden', 'S-2', 'Europe/Zurich');
SELECT clinical.create_project_with_centers('Project', '{1, 2}', 'P-1', 'Europe/Zurich'), clinical.create_project_with_centers('Another', '{1}', 'P-2');
SELECT clinical.create_instrument('{"code": "diary", "version": "1", "items": [
    {"code": "pressure", "type": "integer", "unit": "mm[Hg]"}, {"code": "change", "type": "decimal"}, {"code": "half", "type": "decimal"},
    {"code": "fever", "type": "boolean"}, {"code": "note", "type": "text"}]}');
SELECT clinical.use_instrument(p, 'diary', true) FROM unnest('{P-1,P-2}'::text[]) p;
SELECT clinical.enroll_patient('P' || g, NULL, NULL, CASE WHEN g = 30 THEN 'P-2' ELSE 'P-1' END, CASE WHEN g = 29 THEN 2 ELSE 1 END, effective_on => '2026-01-01') FROM generate_series(1, 30) g;
SELECT setseed(0.5);
SELECT count(*) FROM (SELECT outcome FROM generate_series(1, 30) g, generate_series('2026-01-05 12:00+00'::timestamptz, '2026-04-20', '2 days') t,
    LATERAL clinical.submit_report('P' || g, jsonb_build_object(
        'pressure', CASE WHEN (g + extract(day FROM t)) % 11 = 0 THEN '{"absent": "asked-declined"}' ELSE to_jsonb(90 + (g * 7 + extract(doy FROM t)::int * 13) % 61) END,
        'change', ((random() - 0.5) * 20)::numeric(6, 3), 'half', ((g + extract(doy FROM t)::int) % 7) * 0.5,
        'fever', (g + extract(doy FROM t)::int) % 5 = 0, 'note', 'text'), captured_at => t) s WHERE g < 31) s;
SELECT clinical.submit_report('P1', '{"pressure": {"absent": "unknown"}, "half": {"absent": "unknown"}}', captured_at => '2026-02-01 13:00+00');
SELECT clinical.wait_until_drained();
});
ok(wait_until($node, 'postgres', 'SELECT count(*) = 1591 FROM clinical.submission'), 'the reports are in') or diag $node->safe_psql('postgres', 'SELECT count(*) FROM clinical.submission');
$node->safe_psql('postgres', q{
SELECT count(clinical.correct_observation(patient_id, id, '250', 'wrong cuff')) FROM (SELECT * FROM clinical.observation WHERE item = 'pressure' ORDER BY patient_id, captured_at LIMIT 5) o;
SELECT count(clinical.withdraw_submission(patient_id, id, 'of somebody else')) FROM (SELECT * FROM clinical.submission WHERE patient_id = 'P3' ORDER BY captured_at LIMIT 5) s;
CREATE ROLE statistician LOGIN;
GRANT clinical_statistician TO statistician;
SELECT clinical.grant_center('statistician', 1)});

my $scratch = PostgreSQL::Test::Utils::tempdir();
# The command that the script itself names, for this period, as a statistician.
my $script = slurp_file('doc/analysis.R');
my ($export) = $script =~ /^#   psql -c "(\\copy .*)"$/m;
$export =~ s/'values\.csv'/'$scratch\/values.csv'/;
my ($first_day, $end_day) = $export =~ /local_day >= '(\S+)' AND local_day < '(\S+)'/;
$node->command_ok([ 'psql', '-X', '-U', 'statistician', '-d', $node->connstr('postgres'), '-c', $export ], 'the values are exported');

# What a script makes of them: by item, unit and month.
sub items
{
	my ($text) = @_;
	append_to_file("$scratch/script.R", $text);
	command_ok([ 'Rscript', "$scratch/script.R", "$scratch/values.csv", "$scratch/items.csv" ], 'R');
	my ($head, @lines) = split /\n/, slurp_file("$scratch/items.csv");
	unlink "$scratch/script.R", "$scratch/items.csv";
	s/"//g for $head, @lines;
	my @columns = split /,/, $head;
	my %items;
	for my $line (@lines)
	{
		my %row;
		@row{@columns} = split /,/, $line, -1;
		$items{ join '/', @row{qw(item unit month)} } = \%row;
	}
	return \%items;
}

# The report's table, by the same.
my %table;
for my $line (split /\n/, $node->safe_psql('postgres', qq{
SELECT concat_ws('/', r ->> 'item', coalesce(r ->> 'unit', ''), coalesce(r ->> 'month', '')), k, coalesce(r ->> k, 'NA')
  FROM clinical.generate_report('P-1', '[$first_day,$end_day)', '{"sections": ["items"]}') d,
       jsonb_path_query(d, '\$.body.items.tables[*] ? (\@.name == "items").rows[*]') r,
       unnest('{n,missing,mean,sd,median,q1,q3,min,max}'::text[]) k}, extra_params => [ '-U', 'statistician' ]))
{
	my ($key, $column, $value) = split /\|/, $line;
	$table{$key}{$column} = $value;
}

# What differs: doubles have 15 digits.
sub differences
{
	my ($items) = @_;
	my @wrong = map { "$_ is on one side only" } grep { !$table{$_} || !$items->{$_} } sort keys %{ { %table, %$items } };
	for my $key (grep { $items->{$_} } sort keys %table)
	{
		for my $column (sort keys %{ $table{$key} })
		{
			my ($ours, $theirs) = ($table{$key}{$column}, $items->{$key}{$column});
			next if $ours eq $theirs || ($ours ne 'NA' && $theirs ne 'NA' && abs($ours - $theirs) <= 1e-12 * (1 + abs $ours));
			push @wrong, "$key $column: report $ours, R $theirs";
		}
	}
	return @wrong;
}
cmp_ok(scalar(keys %table), '>=', 16, scalar(keys %table) . ' rows to compare');
ok($table{'pressure/mm[Hg]/2026-02'} && $table{'half//'}, 'of months, and of the whole period');
cmp_ok($table{'pressure/mm[Hg]/'}{missing}, '>', 50, 'with values that are missing') or diag explain $table{'pressure/mm[Hg]/'};
is(join("\n", differences(items($script))), '', 'R has the same');
# and is seen to differ if it does not
cmp_ok(scalar(differences(items($script =~ s/type = 2/type = 7/r))), '>', 0, 'with other quantiles it has not');
cmp_ok(scalar(differences(items($script =~ s/sd\(value\)/sqrt(mean((value - mean(value))^2))/r))), '>', 0, 'nor with another deviation');
$node->stop;

done_testing();
