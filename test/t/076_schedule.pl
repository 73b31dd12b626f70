# Schedules with pg_cron: it calls as the role that scheduled, once is once, whoever ends a job, and it has no patient's
# data.  What is due when is test/sql/schedule.sql's.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $lib = `$ENV{PG_CONFIG} --pkglibdir`;
chomp $lib;
plan skip_all => 'pg_cron is not installed' unless -e "$lib/pg_cron.so";

my $node = PostgreSQL::Test::Cluster->new('schedule');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'clinical, pg_cron'
cron.database_name = 'main'
cron.use_background_workers = on
max_worker_processes = 30
timezone = 'UTC'
log_line_prefix = '%m [%p] '
});
$node->start;
$node->safe_psql('postgres', qq{CREATE DATABASE $_}) for qw(main other);
for my $database (qw(main other))
{
	$node->safe_psql($database, q{
CREATE EXTENSION clinical;
SELECT clinical.create_center('Center', 'S-1', 'Europe/Zurich');
SELECT clinical.create_project_with_centers('Project', '{1}', 'P-1', 'Europe/Zurich');
SELECT clinical.create_project_with_centers('Another', '{1}', 'P-2', 'Asia/Tokyo');
SELECT clinical.enroll_patient('CANARY-ID', 'CANARY NAME', '1950-01-01', 'P-1', 1, '{"arm": "CANARY ARM"}', effective_on => '2026-01-10');
});
}
$node->safe_psql('main', q{
CREATE ROLE jane LOGIN; CREATE ROLE kim LOGIN; CREATE ROLE boss LOGIN; CREATE ROLE gone LOGIN;
GRANT clinical_statistician TO jane, kim, gone;
GRANT clinical_admin TO boss});
$node->safe_psql($_, q{SELECT clinical.grant_center(r, 1) FROM unnest('{jane,kim,gone}'::name[]) r}) for qw(main other);

# What a statement of a login prints, errors and all.
sub prints
{
	my ($database, $login, $sql) = @_;
	my ($status, $out, $error) = $node->psql($database, $sql, on_error_stop => 0, extra_params => [ '-U', $login, '-v', 'VERBOSITY=verbose' ]);
	$error =~ s/^psql:<stdin>:\d+: //mg;
	$error =~ s/^LOCATION: .*\n?//mg;
	return join "\n", grep { $_ ne '' } $out, $error;
}
# What run_schedule says, as a login at a moment.
sub run_at
{
	my ($login, $job, $at) = @_;
	return $node->safe_psql('main', "SET ROLE $login; SELECT clinical.run_schedule($job, '$at')");
}
sub value_of { return $node->safe_psql('main', $_[0]) }

# As whom reports were asked for.
sub requested_by
{
	my ($job, $login) = @_;
	is(value_of("SELECT role_name FROM clinical.report_job WHERE requested_by = role_name AND id = (SELECT report_id FROM clinical.report_schedule WHERE id = $job)"), $login, "as $login, who scheduled it");
	return;
}
# --- where pg_cron is not, or may not be used
like(prints('main', 'jane', q{SELECT clinical.schedule_report('P-1', 'quarterly')}), qr/^ERROR:  55000: pg_cron is not in this database\nHINT:  Run, as a superuser: CREATE EXTENSION pg_cron\.$/m,
	'without the extension');
$node->safe_psql('main', 'CREATE EXTENSION pg_cron');
like(prints('main', 'jane', q{SELECT clinical.schedule_report('P-1', 'quarterly')}),
	qr/^ERROR:  42501: permission denied for schema cron\nHINT:  Run, as a superuser: GRANT USAGE ON SCHEMA cron TO jane\.$/m, 'without the right to its schema');
is(value_of('SELECT count(*) FROM clinical.report_schedule'), 0, 'nothing is scheduled then');
$node->safe_psql('main', 'GRANT USAGE ON SCHEMA cron TO jane, kim, gone');
like(prints('main', 'jane', q{SELECT clinical.schedule_report('P-1', '0 99 * * *')}), qr/^ERROR:  22023: invalid schedule: 0 99 \* \* \*$/m, 'an expression that pg_cron does not understand');

# --- what pg_cron calls each minute: it calls while the rest is tested
my $each = prints('main', 'jane', q{SELECT clinical.schedule_report('P-1', '* * * * *', '{"period": "month", "by": ["arm"]}')});
my $ended = prints('main', 'kim', q{SELECT clinical.schedule_report('P-1', '* * * * *')});
like(prints('main', 'boss', "SELECT clinical.unschedule_report($ended)"), qr/^$ended\nNOTICE:  00000: pg_cron forgets the job when it next calls it$/m, 'an administrator ends a job of somebody else');
my $left = prints('main', 'gone', q{SELECT clinical.schedule_report('P-1', '* * * * *')});
my $hint = prints('other', 'jane', q{SELECT clinical.schedule_report('P-1', '* * * * *', '{"by": ["o''brien"]}')});
like($hint, qr/^ERROR:  55000: pg_cron is in database "main"\n/m, 'in another database');
my ($statement) = $hint =~ /^HINT:  Run there, as a superuser: (SELECT .*); the job is known here from its first run\.$/m;
like($statement, qr/^SELECT cron\.schedule_in_database\('clinical job 1 of other', '\* \* \* \* \*', '/, 'the hint has the statement');
is(prints('other', 'jane', 'SELECT count(*) FROM clinical.scheduled_job'), 0, 'nothing is scheduled there yet');
$node->safe_psql('main', $statement);
my $since = time;

# --- quarterly: what pg_cron has, and who sees it
my $quarterly = prints('main', 'jane', q{SELECT clinical.schedule_report('P-1', 'quarterly')});
is(prints('main', 'jane', q{SELECT clinical.schedule_report('P-1', 'quarterly')}), $quarterly, 'the same again is the same job');
is(value_of("SELECT schedule, command, database, username, active FROM cron.job WHERE jobname = 'clinical job $quarterly'"),
	"$quarterly * * * *|SELECT clinical.run_schedule($quarterly)|main|jane|t", 'pg_cron calls each hour, as the role');
prints('main', 'jane', "SELECT cron.unschedule('clinical job $quarterly')");
is(prints('main', 'jane', q{SELECT clinical.schedule_report('P-1', 'quarterly')}), $quarterly, 'what pg_cron has lost');
is(value_of("SELECT count(*) FROM cron.job WHERE jobname = 'clinical job $quarterly'"), 1, 'it is told anew');
is(prints('main', 'kim', 'SELECT count(*) FROM clinical.scheduled_job'), 0, 'others do not see it');
like(prints('main', 'kim', "SELECT clinical.run_schedule($quarterly)"), qr/^ERROR:  P0002: job not found/m, 'nor run it');
like(prints('main', 'kim', "SELECT clinical.unschedule_report($quarterly)"), qr/^ERROR:  P0002: job not found/m, 'nor end it');
like(prints('main', 'postgres', "SELECT clinical.run_schedule($quarterly)"), qr/^ERROR:  P0002: job not found/m, 'nor does a superuser run it with rights of his own');
is(prints('main', 'boss', "SELECT job_id, role, problem FROM clinical.scheduled_job WHERE job_id IN ($each, $left, $quarterly) ORDER BY 1"),
	"$each|jane|\n$left|gone|\n$quarterly|jane|", 'an administrator sees all');

# --- once is once, also if two call at the same time
is(run_at('jane', $quarterly, '2101-04-01 00:00+00'), 'done', 'a quarter is over');
is(run_at('jane', $quarterly, '2101-04-01 00:00+00'), 'not due', 'it is done once');
for my $end ([ 'COMMIT', 'not due' ], [ 'ROLLBACK', 'done' ])
{
	my ($how, $then) = @$end;
	my $at = $how eq 'COMMIT' ? '2101-07-01 03:00+00' : '2101-10-01 03:00+00';
	my ($first, $second) = map { session($node, 'main') } 1, 2;
	answers($first, 'SET ROLE jane; BEGIN');
	is(answers($first, "SELECT clinical.run_schedule($quarterly, '$at')"), 'done', "two at once, $how: the first one");
	answers($second, 'SET ROLE jane');
	ask($second, "SELECT clinical.run_schedule($quarterly, '$at')");
	ok(wait_until($node, 'main', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'run_schedule'}), 'the second waits for it');
	answers($first, $how);
	is(answers($second), $then, "and then: $then");
	end_session($_) for $first, $second;
}

# --- rights that are gone
my $kims = prints('main', 'kim', q{SELECT clinical.schedule_report('P-2', 'monthly')});
$node->safe_psql('main', q{SELECT clinical.revoke_center('kim', 1)});
is(run_at('kim', $kims, '2101-01-01 00:00+00'), 'failed: P0002', 'who sees the project no longer gets no report');
is(prints('main', 'boss', "SELECT failure, failed_at, problem, last_period FROM clinical.scheduled_job WHERE job_id = $kims"), 'P0002|2101-01-01 00:00:00+00|the role sees no such project|', 'which the job says');
$node->safe_psql('main', q{SELECT clinical.grant_center('kim', 1)});
is(run_at('kim', $kims, '2101-01-02 00:00+00'), 'done', 'given back, it is done');
is(prints('main', 'boss', "SELECT failure, problem, last_period FROM clinical.scheduled_job WHERE job_id = $kims"), '||[2100-12-01,2101-01-01)', 'and all is well');
$node->safe_psql('main', 'REVOKE clinical_statistician FROM kim');
is(prints('main', 'boss', "SELECT problem FROM clinical.scheduled_job WHERE job_id = $kims"), 'the role lacks a right', 'a role that may do nothing');
$node->safe_psql('main', 'GRANT clinical_statistician TO kim');

# --- retention
$node->safe_psql('main', 'ALTER ROLE boss LOGIN; GRANT USAGE ON SCHEMA cron TO boss');
my $retention = prints('main', 'boss', q{SELECT clinical.schedule_retention('monthly', '1 year')});
is(value_of("SELECT schedule, command, username FROM cron.job WHERE jobname = 'clinical job $retention'"), $retention % 60 . " * * * *|SELECT clinical.run_schedule($retention)|boss", 'retention');
is(run_at('boss', $retention, '2101-01-01 02:00+00'), 'done', 'is done');
like(prints('main', 'jane', q{SELECT clinical.schedule_retention('monthly', '1 year')}), qr/^ERROR:  42501: permission denied for function/m, 'by administrators alone');
prints('main', 'boss', "SELECT clinical.unschedule_report($retention)");

# --- pg_cron has called
ok(wait_until($node, 'main', qq{SELECT count(*) = 1 FROM cron.job_run_details d JOIN cron.job j USING (jobid) WHERE j.jobname = 'clinical job $each' AND d.status = 'succeeded' LIMIT 1}), 'pg_cron calls');
is(value_of("SELECT last_run_at IS NOT NULL, last_period = daterange((date_trunc('month', timezone('Europe/Zurich', last_run_at)) - interval '1 month')::date, date_trunc('month', timezone('Europe/Zurich', last_run_at))::date),"
	. " report_id IS NOT NULL, failure IS NULL FROM clinical.report_schedule WHERE id = $each"), 't|t|t|t', 'and the report of the last full month is asked for');
requested_by($each, 'jane');
ok(wait_until($node, 'main', "SELECT count(*) = 0 FROM cron.job WHERE jobname = 'clinical job $ended'"), 'it forgets the job that an administrator ended');
is(value_of("SELECT count(*) FROM clinical.report_schedule WHERE id = $ended AND last_run_at IS NULL AND status = 'ended'"), 1, 'which has done nothing');
ok(wait_until($node, 'other', q{SELECT count(*) = 1 FROM clinical.scheduled_job WHERE last_run_at IS NOT NULL AND report_id IS NOT NULL AND failure IS NULL}), 'the job of the other database is known there, and done');
is(prints('other', 'jane', q{SELECT job_id, project, schedule, options, role, problem FROM clinical.scheduled_job}), q(1|P-1|* * * * *|{"by": ["o'brien"]}|jane|), 'as it was meant');
is(prints('other', 'jane', q{SELECT clinical.schedule_report('P-1', '* * * * *', '{"by": ["o''brien"]}')}), 1, 'scheduled again, it is that one');
my $told = prints('other', 'jane', 'SELECT clinical.unschedule_report(1)');
my ($forget) = $told =~ /^1\nNOTICE:  00000: pg_cron is in database "main", and calls the job on without effect\nHINT:  Run there, as a superuser: (SELECT .*)\.$/m;
isnt($forget, undef, 'ended there, there is a statement for pg_cron');
$node->safe_psql('main', $forget);
is(value_of(q{SELECT count(*) FROM cron.job WHERE database = 'other'}), 0, 'which makes it forget');

# --- ending
is(prints('main', 'jane', "SELECT clinical.unschedule_report($each)"), $each, 'who scheduled it ends it');
is(value_of("SELECT count(*) FROM cron.job WHERE jobname = 'clinical job $each'"), 0, 'and pg_cron forgets it at once');
# a role that is gone keeps pg_cron 1.4 from running anything
is(prints('main', 'boss', 'SELECT count(*) FROM clinical.health() WHERE problem ~ \'jobs\''), 0, 'nothing is the matter with jobs');
$node->safe_psql('main', q{DELETE FROM clinical.membership WHERE role = 'gone'::regrole; DROP OWNED BY gone});
$node->safe_psql('other', q{DELETE FROM clinical.membership WHERE role = 'gone'::regrole; DROP OWNED BY gone; DROP ROLE gone});
is(prints('main', 'boss', "SELECT problem FROM clinical.scheduled_job WHERE job_id = $left"), 'the role was dropped, renamed or not restored', 'a job of a role that is gone');
like(prints('main', 'boss', 'SELECT problem, remedy FROM clinical.health() WHERE problem ~ \'jobs\''),
	qr/^jobs are scheduled of roles that were dropped or renamed: $left; pg_cron may run no jobs of anybody\|End them by unschedule_report as a superuser, /, 'is seen to');
like(prints('main', 'boss', "SELECT clinical.unschedule_report($left)"), qr/^$left\nNOTICE:  00000: pg_cron still has the job, .*\nHINT:  Run, as a superuser: DELETE FROM cron\.job WHERE username = 'gone'\.$/m, 'an administrator ends it, and is told what is left');
$node->safe_psql('main', q{DELETE FROM cron.job WHERE username = 'gone'});
is(prints('main', 'boss', 'SELECT count(*) FROM clinical.health() WHERE problem ~ \'jobs\''), 0, 'all is well with jobs');

$node->safe_psql('main', q{SELECT clinical.set_project_status('P-1', s, 'over') FROM unnest('{suspended,closed}'::text[]) s});
is(run_at('jane', $quarterly, '2102-01-01 03:00+00'), 'ended', 'a project that is closed has no more reports');
is(value_of("SELECT count(*) FROM cron.job WHERE jobname = 'clinical job $quarterly'"), 0, 'and pg_cron forgets it');

# --- no patient's data
is(value_of(q{SELECT count(*) FROM cron.job j WHERE j::text ~ 'CANARY'}) . value_of(q{SELECT count(*) FROM cron.job_run_details d WHERE d::text ~ 'CANARY'}), '00', 'pg_cron has no patient\'s data');
cmp_ok(value_of(q{SELECT count(*) FROM cron.job_run_details WHERE status = 'succeeded'}), '>=', 2, 'of what it has');
unlike(slurp_file($node->logfile), qr/CANARY/, 'nor has the log');
is(value_of('SELECT count(*) FROM clinical.check()'), 0, 'all is sound');
$node->stop;

done_testing();
