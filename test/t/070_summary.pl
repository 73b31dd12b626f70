# Exact statistics: the kernel without a server, against R, against real data, beyond what memory holds,
# cancelled.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# ---------------------------------------------------------------------------------------------
# The kernel outside of the server: chance values against what anybody would write.
my $cc = $ENV{CC} || 'cc';
my $cases = $ENV{CLINICAL_SUMMARY_CASES} || 200000;
my $seed = $ENV{CLINICAL_SUMMARY_SEED} || time % 1000000;
SKIP:
{
	skip "no C compiler $cc", 1 if system("$cc --version >/dev/null 2>&1") != 0;
	my $program = PostgreSQL::Test::Utils::tempdir() . '/summary_test';
	my @sources = (map({ "src/summary_$_.c" } qw(key table list run decimal binary walk)), 'test/summary/summary_test.c');
	is(system($cc, qw(-O2 -Wall -Wextra -Werror -I src -o), $program, @sources, '-lm'), 0, 'the kernel builds without the server') or last SKIP;
	my $output = `'$program' $cases $seed 2>&1`;
	is($?, 0, "it came to the end ($cases $seed)");
	for my $line (split /\n/, $output)
	{
		$line =~ /^(not )?ok - (.*)/ ? ok(!$1, $2) : note($line);
	}
	is(scalar(() = $output =~ /^(not )?ok/mg), 8, 'with all properties');
}

my $node = PostgreSQL::Test::Cluster->new('summary');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'\nmax_worker_processes = 16\nmax_parallel_workers = 8\njit = off\nlog_temp_files = 0");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION clinical');
my @psql = ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'));

# Loads a CSV file, all columns as text.
sub load
{
	my ($table, $file) = @_;
	open my $handle, '<', $file or die "cannot open $file: $!";
	my $header = <$handle> =~ s/\r?\n//r;
	close $handle;
	my $columns = join ', ', map { qq("$_" text) } split /,/, $header;
	$node->command_ok([ @psql, '-c', qq(CREATE TABLE $table ($columns)), '-c', qq(\\copy $table FROM '$file' WITH (FORMAT csv, HEADER)) ], "loaded $table");
	return;
}

# ---------------------------------------------------------------------------------------------
# R: random vectors, of which quantile(type = 2), mean and sd are asked.  Doubles must be equal to the
# last bit; numerics have exact halves, which doubles of up to three decimals do not always.
SKIP:
{
	skip 'no R', 9 if system('Rscript --version >/dev/null 2>&1') != 0;
	my $dir = PostgreSQL::Test::Utils::tempdir();
	srand $seed;
	my @rows;
	for my $vector (1 .. 3000)
	{
		my $n = 1 + int rand(rand(4) < 1 ? 400 : 30);
		my $decimals = int rand 4;
		my $different = 1 + int rand(rand(2) < 1 ? 12 : 100000);
		push @rows, map { sprintf "%d,%.*f", $vector, $decimals, (int(rand $different) - $different / 4) / 10**$decimals } 1 .. $n;
	}
	append_to_file("$dir/vectors.csv", join("\n", 'vector,x', @rows) . "\n");
	append_to_file("$dir/quantiles.R", <<'R');
a <- commandArgs(TRUE)
v <- read.csv(a[1])
p <- c(0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.25, 0.29, 0.3, 0.333, 0.5, 0.57, 0.7, 0.75, 0.9, 0.95, 0.99, 0.999, 1)
for (x in split(v$x, v$vector)) cat(paste(c(sprintf("%.17g", quantile(x, p, type = 2, names = FALSE)), sprintf("%.17g", mean(x)), sprintf("%.17g", sd(x))), collapse = ","), "\n", file = a[2], append = TRUE)
R
	system('Rscript', '--vanilla', "$dir/quantiles.R", "$dir/vectors.csv", "$dir/quantiles.csv") == 0 or die 'R failed';
	$node->command_ok([ @psql, '-c', 'CREATE TABLE vector (vector int, x numeric)', '-c', "\\copy vector FROM '$dir/vectors.csv' WITH (FORMAT csv, HEADER)",
			'-c', 'CREATE TABLE by_r (line text, vector int GENERATED ALWAYS AS IDENTITY)', '-c', "\\copy by_r (line) FROM '$dir/quantiles.csv' WITH (DELIMITER '|')" ], 'R came to the end');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM by_r'), 3000, 'with all vectors');
	my $p = 'ARRAY[0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.25, 0.29, 0.3, 0.333, 0.5, 0.57, 0.7, 0.75, 0.9, 0.95, 0.99, 0.999, 1]';
	$node->safe_psql('postgres', qq{
CREATE TABLE ours AS SELECT vector, clinical.quantile_sas(x, $p) AS q, clinical.quantile_sas(x::double precision, ($p)::double precision[]) AS qd,
       clinical.describe(x) AS d, clinical.describe(x::double precision) AS dd, avg(x) AS mean, stddev_samp(x) AS sd FROM vector GROUP BY vector;
CREATE TABLE theirs AS SELECT vector, string_to_array(trim(replace(line, 'NA', 'NULL')), ',', 'NULL')::double precision[] AS f FROM by_r});
	# R multiplies n and p in binary, and allows for an error of 4 epsilon: where that gives another rank it is R that is wrong
	$node->safe_psql('postgres', qq{
CREATE TABLE pair AS SELECT vector, p, u.a AS q, u.b AS qd, u.r AS f, (floor(n * p::double precision + fuzz) = floor(n * p)) AND ((abs(n * p::double precision - floor(n * p::double precision + fuzz)) < fuzz) = (n * p = floor(n * p))) AS right_rank
  FROM (SELECT vector, count(*) AS n FROM vector GROUP BY vector) v JOIN ours USING (vector) JOIN theirs USING (vector), unnest($p, q, qd, f[1:19]) u (p, a, b, r), (SELECT 4 * 2.220446049250313e-16 AS fuzz) z});
	my ($wrong, $pairs) = split /\|/, $node->safe_psql('postgres', 'SELECT count(*) FILTER (WHERE NOT right_rank), count(*) FROM pair');
	cmp_ok($wrong, '<', $pairs / 100, "of $pairs quantiles all but $wrong can be compared");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pair WHERE right_rank AND qd IS DISTINCT FROM f'), 0, 'quantiles of doubles are R\'s, to the last bit');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pair WHERE right_rank AND abs(q - f::numeric) > 1e-9'), 0, 'and those of numerics');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pair WHERE abs(q - qd::numeric) > 1e-9'), 0, 'which have the same ranks');
	my $size = '(1 + greatest(abs((dd).min), abs((dd).max)))';
	is($node->safe_psql('postgres', qq{SELECT count(*) FROM ours JOIN theirs USING (vector)
 WHERE abs((dd).mean - f[20]) > 1e-14 * $size OR abs((dd).sd - f[21]) > 1e-11 * $size OR ((dd).sd IS NULL) <> (f[21] IS NULL) OR (dd).min <> f[1] OR (dd).max <> f[19]
    OR ARRAY[(dd).q1, (dd).median, (dd).q3] <> ARRAY[qd[7], qd[11], qd[14]] OR ARRAY[(d).min, (d).q1, (d).median, (d).q3, (d).max] <> ARRAY[q[1], q[7], q[11], q[14], q[19]]}), 0, 'describe: R\'s mean and sd, the same quartiles');
	is($node->safe_psql('postgres', qq{SELECT count(*) FROM ours WHERE (d).mean::text IS DISTINCT FROM mean::text OR (d).sd::text IS DISTINCT FROM sd::text
    OR abs((dd).mean - mean::double precision) > 1e-15 * $size OR abs((dd).sd - sd::double precision) > 1e-11 * $size}), 0, 'and the server\'s, of numeric to the last digit');
	# exact halves
	is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT vector, array_agg(x ORDER BY x) AS a, count(*) AS n FROM vector GROUP BY vector) v JOIN ours USING (vector)
 WHERE (d).median IS DISTINCT FROM CASE n % 2 WHEN 1 THEN a[n / 2 + 1] ELSE (a[n / 2] + a[n / 2 + 1]) * 0.5 END}), 0, 'medians are exact halves');
}

# ---------------------------------------------------------------------------------------------
# Real data, from the files.
my $source = ($ENV{CLINICAL_SHARED} // '') . '/data';
SKIP:
{
	skip 'no real data: CLINICAL_SHARED does not name a folder that has them', 3
	  unless $ENV{CLINICAL_SHARED} && -r "$source/oracle_daily_quantiles.csv";
	load('vital_sign', "$source/cdiscpilot01/vital_signs.csv");
	load('subject', "$source/cdiscpilot01/subjects.csv");
	load('oracle', "$source/cdiscpilot01/oracle_vs_quantiles.csv");
	load('daily', "$source/oracle_daily_quantiles.csv");
	load('diary', "$source/headache_diary/diary.csv");
	load('pressure', "$source/home_bp/readings.csv");
	load('glucose', "$source/cgm_hall2018/readings.csv");
	load('beep', "$source/mood_n1/beeps.csv");
	# one row a cell of the published table: arm, or all together
	$node->safe_psql('postgres', q{
CREATE TABLE cell AS SELECT "VSTESTCD", "VSTPTNUM", "VISITNUM", coalesce("ARM", 'Total') AS "ARM", clinical.describe("VSSTRESN"::numeric) AS d,
       clinical.quantile_sas("VSSTRESN"::numeric, ARRAY[0.01, 0.05, 0.1, 0.9, 0.95, 0.99]) AS q, clinical.describe("VSSTRESN"::double precision) AS dd,
       clinical.quantile_sas("VSSTRESN"::double precision, ARRAY[0.01, 0.05, 0.1, 0.9, 0.95, 0.99]) AS qd
  FROM vital_sign JOIN subject USING ("USUBJID") WHERE "ARM" <> 'Screen Failure' AND "VSTPTNUM" <> ''
 GROUP BY GROUPING SETS (("VSTESTCD", "VSTPTNUM", "VISITNUM", "ARM"), ("VSTESTCD", "VSTPTNUM", "VISITNUM"))});
	is($node->safe_psql('postgres', q{
SELECT count(*), count(*) FILTER (WHERE (d).n = o.n::int AND round((d).mean, 10) = o.mean::numeric AND round((d).sd, 10) = o.sd::numeric AND (d).min = o.min::numeric AND (d).max = o.max::numeric
   AND ARRAY[(d).q1, (d).median, (d).q3] = ARRAY[o.q1, median, o.q3]::numeric[] AND q = ARRAY[p1, p5, p10, p90, p95, p99]::numeric[]
   AND (dd).n = (d).n AND ARRAY[(dd).min, (dd).q1, (dd).median, (dd).q3, (dd).max]::numeric[] = ARRAY[(d).min, (d).q1, (d).median, (d).q3, (d).max] AND qd = q::double precision[]
   AND (dd).mean = (d).mean::double precision AND abs((dd).sd - (d).sd::double precision) < 1e-13 * (dd).sd)
  FROM oracle o JOIN cell USING ("VSTESTCD", "VSTPTNUM", "VISITNUM", "ARM")}), '432|432', 'vital signs of the pilot study: SAS\'s quantiles in all cells');
	is($node->safe_psql('postgres', q{
WITH value AS (
    SELECT 'headache_diary' AS dataset, 'airq' AS variable, 'all' AS "group", NULLIF(airq, '')::numeric AS x FROM diary
    UNION ALL SELECT 'home_bp', v.variable, 'all', NULLIF(v.x, '')::numeric FROM pressure, LATERAL (VALUES ('sbp_mmhg', sbp_mmhg), ('dbp_mmhg', dbp_mmhg), ('pulse_bpm', pulse_bpm)) v (variable, x)
    UNION ALL SELECT 'cgm_hall2018', 'glucose_mgdl', g, NULLIF(glucose_mgdl, '')::numeric FROM glucose, unnest(ARRAY['all', patient_id]) g
    UNION ALL SELECT 'mood_n1', v.variable, 'phase ' || phase, NULLIF(v.x, '')::numeric FROM beep, LATERAL (VALUES ('phy_tired', phy_tired), ('mood_down', mood_down), ('mood_relaxed', mood_relaxed)) v (variable, x)),
figures AS (SELECT dataset, variable, "group", clinical.describe(x) AS d, clinical.quantile_sas(x, ARRAY[0.05, 0.95]) AS q FROM value GROUP BY 1, 2, 3)
SELECT count(*), count(*) FILTER (WHERE (d).n = o.n::int AND round((d).mean, 10) = o.mean::numeric AND round((d).sd, 10) = o.sd::numeric
    AND ARRAY[(d).min, (d).q1, (d).median, (d).q3, (d).max] = ARRAY[o.min, o.q1, o.median, o.q3, o.max]::numeric[] AND q = ARRAY[p5, p95]::numeric[])
  FROM daily o JOIN figures USING (dataset, variable, "group")}), '39|39', 'daily variables: all cells');
	is($node->safe_psql('postgres', q{
SELECT count(*) FILTER (WHERE (d).q1 = q1_type7::numeric), count(*) FILTER (WHERE (d).q3 = q3_type7::numeric) FROM oracle o JOIN cell USING ("VSTESTCD", "VSTPTNUM", "VISITNUM", "ARM")}),
		'315|309', 'which are not percentile_cont\'s in 117 and 123 of 432');
}

# ---------------------------------------------------------------------------------------------
# Beyond memory: 300,000 values of each kind, through several levels of files.
$node->safe_psql('postgres', q{
CREATE TABLE big AS SELECT g AS id, ('x' || md5(g::text))::bit(44)::bigint / 10000.0 AS x, (('x' || md5(g::text))::bit(31)::integer - 1e9)::double precision / 1e6 AS d, g % 1000 * 1e-30 AS tiny
  FROM generate_series(1, 300000) g;
ALTER TABLE big SET (parallel_workers = 2);
VACUUM ANALYZE big});
my $tmpdir = "SELECT count(*) FROM pg_ls_tmpdir()";
my $statement = 'SELECT clinical.describe(x), clinical.describe(d), clinical.describe(tiny), clinical.quantile_sas(x, ARRAY[0.1, 0.9]) FROM big';
my $serial = 'SET max_parallel_workers_per_gather = 0;';
my $expected = $node->safe_psql('postgres', "$serial SET work_mem = '1GB'; $statement");
my $log = -s $node->logfile;
is($node->safe_psql('postgres', "$serial SET work_mem = '64kB'; $statement"), $expected, 'little memory: the same figures');
my $files = () = slurp_file($node->logfile, $log) =~ /temporary file:/g;
cmp_ok($files, '>=', 4, "by way of $files temporary files");
is($node->safe_psql('postgres', $tmpdir), 0, 'of which none is left');
is($node->safe_psql('postgres', "SET work_mem = '$_'; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; $statement"), $expected, "in parallel with $_: the same figures") for '64kB', '4MB', '1GB';
is($node->safe_psql('postgres', "$serial SET work_mem = '64kB'; SELECT count(*) FROM (SELECT id % 3, clinical.describe(x) AS r FROM big GROUP BY 1 HAVING (clinical.describe(d)).n > 90000) s"), 3, 'groups');
is($node->safe_psql('postgres', "$serial SELECT (clinical.describe(x)).mean = avg(x) AND (clinical.describe(x)).sd = stddev_samp(x) AND (clinical.describe(x)).median = (SELECT (a[1] + a[2]) * 0.5 FROM (SELECT array_agg(x) AS a FROM (SELECT x FROM big ORDER BY x OFFSET 149999 LIMIT 2) m) s) FROM big"), 't', 'and those of the server');
my ($status, $out, $error) = $node->psql('postgres', "$serial SET work_mem = '64kB'; SELECT count(r) FROM (SELECT clinical.describe(x) OVER () AS r FROM big) s; \\echo :SQLSTATE");
like($error, qr/too many distinct values for a window function/, 'a window function has no files');

# what a worker sends has a limit: 14,000 different numbers of 100,000 digits each are more
$node->safe_psql('postgres', q{CREATE TABLE long AS SELECT g AS id FROM generate_series(1, 14000) g; ALTER TABLE long SET (parallel_workers = 2); ANALYZE long});
my $long = q{SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off; SET work_mem = '64kB';};
($status, $out, $error) = $node->psql('postgres', "$long \\set VERBOSITY verbose\nSELECT clinical.quantile_sas(repeat('7', 100000)::numeric + id, 0.5) IS NULL FROM long");
like($error, qr/54000: too many distinct values for a parallel query.*HINT:  Set max_parallel_workers_per_gather to 0/s, 'nor may workers send more than they can');
is($node->safe_psql('postgres', $tmpdir), 0, 'and leave nothing');
is($node->safe_psql('postgres', "SET work_mem = '1MB'; $serial SELECT n, length(min::text), right(max::text, 5) FROM (SELECT (clinical.describe(repeat('7', 3000)::numeric + id)).* FROM long WHERE id <= 1000) s"), '1000|3000|78777', 'which one process can');

# ---------------------------------------------------------------------------------------------
# Cancelled anywhere, it is gone at once, with its files.
my @late;
my $cancelled = 0;
my $full = time;
$node->safe_psql('postgres', "$serial SET work_mem = '1MB'; $statement");
$full = time - $full;
for my $try (1 .. 9)
{
	my $parallel = $try % 3 == 0;
	my $memory = (qw(64kB 1MB 1GB))[ $try % 3 ];
	my $setting = $parallel ? 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;' : $serial;
	my ($o, $e) = ('', '');
	my $client = IPC::Run::start([ @psql, '-v', 'VERBOSITY=verbose', '-c', "SET application_name = 'summary'; $setting SET work_mem = '$memory'", '-c', $statement ], '>', \$o, '2>', \$e);
	usleep(1000000 * $full * $try / 11);
	my $pid = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'summary' AND backend_type = 'client backend' AND state = 'active'});
	my $ms = $pid eq '' ? '' : $node->safe_psql('postgres', qq{
DO \$\$ DECLARE began timestamptz := clock_timestamp(); BEGIN
    PERFORM pg_cancel_backend($pid);
    WHILE EXISTS (SELECT FROM pg_stat_get_activity($pid) WHERE state = 'active') LOOP PERFORM pg_sleep(0.001); PERFORM pg_stat_clear_snapshot(); END LOOP;
    PERFORM set_config('test.ms', (1000 * extract(epoch FROM clock_timestamp() - began))::numeric(10, 1)::text, false);
END \$\$; SELECT current_setting('test.ms')});
	$client->finish;
	next unless $e =~ /57014/;
	$cancelled++;
	push @late, $ms;
	is($node->safe_psql('postgres', $tmpdir), 0, 'no file is left');
}
cmp_ok($cancelled, '>=', 3, "$cancelled were cancelled");
@late = sort { $a <=> $b } @late;
note("milliseconds until they were gone: @late");
cmp_ok($late[ $#late / 2 ] // 0, '<', 1000, 'and were gone soon');
is($node->safe_psql('postgres', "$serial SET work_mem = '1MB'; $statement"), $expected, 'the same figures afterwards');

done_testing();
