# Who may do what with which rows: each kind of statement on each table, by logins of each role and
# kind of membership, and each function, compared with a model that is not made from the policies.
# Then what a matrix has no room for: views, kept plans, functions, cursors, leaks, other sessions.
#
# Out of scope: what EXPLAIN ANALYZE, times and planner estimates tell of the number of hidden rows.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('access');
$node->init;
# no worker seals what the model has not sealed
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'\nclinical.workers_enabled = off\nmax_prepared_transactions = 5\nfsync = off");
$node->start;

# ---------------------------------------------------------------------------------------------
# The model.  S, I, U, D: select, insert, update, delete; in small letters: of some columns.
my @forms = qw(instrument instrument_version project_instrument project_instrument_version entry_schedule);
my @rules = qw(monitor_rule monitor_rule_version rule_evaluation);
my @alerts = qw(alert alert_event);
my @reports = qw(report_job report);
my %may = (
	admin => { map({ $_ => 'SIUD' } qw(center project project_center)), center_event => 'S', project_event => 'S', membership => 'SiD',
		instrument => 'SiD', instrument_version => 'SiD', project_instrument => 'SIu', project_instrument_version => 'Si', entry_schedule => 'Si', map({ $_ => 'S' } @rules), report_job => 'S' },
	intake => {},
	investigator => { submission => 'S', observation => 'S', patient => 'SIu', enrollment_event => 'Si', patient_time_zone => 'Si', record_version => 'S', audit_record => 'S', entry_excuse => 'SiD',
		map { $_ => 'S' } qw(center project project_center center_event project_event membership), @forms, @rules, @alerts, @reports },
	monitor => { map { $_ => 'S' } qw(submission observation patient enrollment_event patient_time_zone record_version audit_record
		center project project_center center_event project_event membership entry_excuse), @forms, @rules, @alerts, @reports },
	data_manager => { patient => 'Su', entry_excuse => 'SiD', map { $_ => 'S' } qw(submission observation staged_report set_aside enrollment_event patient_time_zone record_version audit_record
		center project project_center center_event project_event membership), @forms, @rules, @alerts, @reports },
	statistician => { submission => 's', observation => 's', patient => 's', enrollment_event => 's', patient_time_zone => 's', entry_excuse => 's',
		map { $_ => 'S' } qw(center project project_center center_event project_event membership), @forms, @rules, @reports },
	auditor => { map { $_ => 'S' } qw(submission observation staged_report set_aside patient enrollment_event patient_time_zone record_version
		audit_record audit_block audit_generation audit_restore
		center project project_center center_event project_event membership entry_excuse), @forms, @rules, @alerts, @reports });
my @roles = sort keys %may;
$may{$_}{report_schedule} = 'S' for grep { $_ ne 'intake' } @roles;
# Who may read the views; nobody may write them.
my %views = (audit_export => ['auditor'], stat_worker => [ 'admin', 'auditor' ], stat_span => ['admin'], (map { $_ => [ 'admin', 'data_manager', 'auditor' ] } qw(stat_intake stat_processing stat_intake_project stat_alert stat_report)),
	(map { $_ => [ 'data_manager', 'auditor' ] } qw(quarantine intake_balance)), (map { $_ => [qw(investigator monitor data_manager auditor)] } qw(current_observation alert_worklist)),
	analysis_observation => [qw(investigator monitor data_manager auditor statistician)], (map { $_ => [qw(admin investigator monitor data_manager auditor statistician)] } qw(instrument_item rule_evaluation_progress backtest_progress report_progress)));
$views{scheduled_job} = [ grep { $_ ne 'intake' } @roles ];

# Centers of projects.  Project 7004 has none, center 9005 is in none, and 9004 has no patients.
my %centers_of = (7001 => [ 9001, 9002 ], 7002 => [ 9002, 9003 ], 7003 => [ 9003, 9004 ], 7004 => []);
my @links = map { my $p = $_; map { [ $p, $_ ] } @{ $centers_of{$p} } } sort keys %centers_of;
# Patients: project and center; pt-moved was at 9001 before.
my %patients = ('pt-moved' => [ 7001, 9002 ]);
for my $link (@links)
{
	next if $link->[1] == 9004;
	$patients{"pt-$link->[0]-$link->[1]-$_"} = $link for qw(a b);
}

# Logins: roles of clinical, and grants (center and project, undef: every).  all: no policy limits
# them; any: no privilege does.  holds: whose rights they have beside their own.
my %scopes = (site => [ [ 9001, undef ] ], one => [ [ 9002, 7002 ] ], none => [], all => [ [ undef, undef ] ], project => [ [ undef, 7001 ] ]);
my %logins;
for my $role (@roles)
{
	$logins{"r_${role}_$_"} = { roles => [$role], grants => $scopes{$_} } for keys %scopes;
}
$logins{r_two} = { roles => [ 'data_manager', 'investigator' ], grants => $scopes{site} };
$logins{r_admin_site2} = { roles => [ 'admin', 'monitor' ], grants => $scopes{site} };
$logins{r_admin_manager} = { roles => [ 'admin', 'data_manager' ], grants => [] };
$logins{r_nobody} = { roles => [], grants => $scopes{site} };
$logins{r_spare} = { roles => [], grants => [ [ 9002, undef ] ] };
$logins{r_group_inv} = { roles => ['investigator'], grants => $scopes{site} };
$logins{r_group_mon} = { roles => ['monitor'], grants => $scopes{one} };
$logins{r_member} = { roles => ['investigator'], grants => $scopes{site}, own => [], holds => ['r_group_inv'] };
$logins{r_noinherit} = { roles => [], grants => [] };
$logins{r_bypass} = { roles => ['investigator'], grants => $scopes{site}, all => 1 };
$logins{r_super} = { roles => [], grants => [], all => 1, any => 1 };
$logins{clinical_owner} = { roles => [], grants => [], all => 1, any => 1, owner => 1 };
$logins{clinical_worker} = { roles => ['worker'], grants => [] };
$logins{$_}{name} = $_ for keys %logins;

sub is_any { my ($login, @of) = @_; return scalar grep { my $r = $_; grep { $_ eq $r } @of } @{ $login->{roles} }; }

# May a login do that at all?  A small letter is satisfied by the capital one.
sub may
{
	my ($login, $table, $letters) = @_;
	return 1 if $login->{any};
	my $has = join '', map { $may{$_}{$table} // '' } @{ $login->{roles} };
	for my $letter (split //, $letters)
	{
		return 0 unless $letter =~ /[a-z]/ ? $has =~ /$letter/i : $has =~ /$letter/;
	}
	return 1;
}

sub sees
{
	my ($login, $project, $center) = @_;
	return 1 if $login->{all} || is_any($login, 'auditor');
	return scalar grep { (!defined $_->[0] || $_->[0] == $center) && (!defined $_->[1] || $_->[1] == $project) } @{ $login->{grants} };
}

# Is the login limited to no center?
sub sees_all
{
	my ($login) = @_;
	return $login->{all} || is_any($login, 'auditor', 'admin') || grep { !defined $_->[0] && !defined $_->[1] } @{ $login->{grants} };
}

sub sees_center
{
	my ($login, $center) = @_;
	return 1 if $login->{all} || is_any($login, 'auditor', 'admin');
	for my $grant (@{ $login->{grants} })
	{
		return 1 if !defined $grant->[0] && !defined $grant->[1];
		return 1 if defined $grant->[0] && $grant->[0] == $center;
		return 1 if !defined $grant->[0] && grep { $_ == $center } @{ $centers_of{ $grant->[1] } };
	}
	return 0;
}

sub sees_project
{
	my ($login, $project) = @_;
	return 1 if $login->{all} || is_any($login, 'auditor', 'admin');
	for my $grant (@{ $login->{grants} })
	{
		return 1 if defined $grant->[1] && $grant->[1] == $project;
		next if defined $grant->[1];
		return 1 if !defined $grant->[0];
		return 1 if grep { $_ == $grant->[0] } @{ $centers_of{$project} };
	}
	return 0;
}

# The rows of each table: their keys, and who sees them.
my %rows;
# instruments are read by all who see any center; INS-C is used by no project, INS-D has no version
my $sees_some = sub { $_[0]{all} || is_any($_[0], 'auditor', 'admin') || @{ $_[0]{grants} } };
$rows{instrument}{"INS-$_"} = $sees_some for qw(A B C D);
$rows{instrument_version}{"INS-$_/1"} = $sees_some for qw(A B C);
my %used = (7001 => 'INS-A', 7002 => 'INS-B');
for my $project (7001 .. 7003)
{
	my $seen = sub { sees_project($_[0], $project) };
	my $instrument = $used{$project} // 'INS-B';
	$rows{project_instrument}{"$project/$instrument"} = $seen;
	next unless $used{$project};
	$rows{project_instrument_version}{"$project/$instrument/" . ($project - 7000)} = $seen;
	$rows{entry_schedule}{"$project/$instrument"} = $seen;
}
# rules: of a project, and (the second) of all
for my $rule ([ 1, 'RULE-7001', sub { sees_project($_[0], 7001) } ], [ 2, 'RULE-ALL', $sees_some ], [ 3, 'RULE-7003', sub { sees_project($_[0], 7003) } ])
{
	my ($id, $code, $seen) = @$rule;
	$rows{monitor_rule}{$code} = $rows{monitor_rule_version}{"$id/1"} = $rows{rule_evaluation}{"$id/1"} = $seen;
}
# Reports: who sees all their centers, and the jobs for who asked and administrators too.  Their project, centers and who asked.
my %made = ('00000000-0000-7000-8000-000000000001' => [ 7001, [ 9001, 9002 ], 'r_statistician_site' ], '00000000-0000-7000-8000-000000000002' => [ 7002, [9002], 'r_spare' ]);
for my $id (sort keys %made)
{
	my ($p, $centers, $role) = @{ $made{$id} };
	my $could = sub { my ($login) = @_; return sees_project($login, $p) && !grep { !sees($login, $p, $_) } @$centers };
	$rows{report}{$id} = $could;
	$rows{report_job}{$id} = sub { $could->($_[0]) || is_any($_[0], 'admin') || $_[0]{name} eq $role || grep { $_ eq $role } @{ $_[0]{holds} // [] } };
}
for my $center (9001 .. 9005)
{
	$rows{center}{$center} = sub { sees_center($_[0], $center) };
	$rows{center_event}{"$center/active"} = $rows{center}{$center};
}
for my $project (sort keys %centers_of)
{
	$rows{project}{$project} = sub { sees_project($_[0], $project) };
	$rows{project_event}{"$project/status/-"} = $rows{project}{$project};
}
for my $link (@links)
{
	my ($p, $c) = @$link;
	$rows{project_center}{"$p/$c"} = sub { is_any($_[0], 'admin') || sees($_[0], $p, $c) };
	$rows{project_event}{"$p/center_added/$c"} = sub { sees_project($_[0], $p) && sees_center($_[0], $c) };
}
for my $id (keys %patients)
{
	my $seen = sub { sees($_[0], @{ $patients{$id} }) };
	$rows{patient}{$id} = $seen;
	$rows{enrollment_event}{"$id/1"} = $seen;
	$rows{record_version}{"$id/1"} = $seen;
	$rows{patient_time_zone}{"$id/1"} = $seen;
	$rows{entry_excuse}{"$id/2026"} = $seen;
	next unless $patients{$id}[0] < 7003;
	$rows{submission}{$id} = $seen;
	$rows{observation}{"$id/a"} = $seen;
	$rows{alert}{$id} = $rows{alert_event}{"$id/1"} = $seen;
	$rows{set_aside}{$id} = sub { sees_all($_[0]) || $seen->($_[0]) };
}
$rows{staged_report}{waiting} = $rows{set_aside}{nobody} = \&sees_all;
# The tables below staged_report are their owner's alone, who reads goes through the one above; a row in each.
my @segments = map { "staged_report_$_" } 0 .. 3, 'retry';
$rows{staged_report}{$_} = \&sees_all, $rows{$_}{$_} = sub { $_[0]{any} } for @segments;
$rows{enrollment_event}{'pt-moved/2'} = $rows{record_version}{'pt-moved/2'} = $rows{patient_time_zone}{'pt-moved/2'} = $rows{patient}{'pt-moved'};
for my $name (keys %logins)
{
	for my $grant (@{ $logins{$name}{own} // $logins{$name}{grants} })
	{
		$rows{membership}{ join '/', $name, map { $_ // '-' } @$grant } = sub {
			my ($login) = @_;
			return $login->{all} || is_any($login, 'admin', 'auditor') || $login->{name} eq $name || grep { $_ eq $name } @{ $login->{holds} // [] };
		};
	}
}

# A job of r_monitor_site, which others do not see.
$rows{report_schedule}{r_monitor_site} = $rows{membership}{'r_monitor_site/9001/-'};

sub visible
{
	my ($login, $table) = @_;
	return grep { $rows{$table}{$_}->($login) } sort keys %{ $rows{$table} };
}

# ---------------------------------------------------------------------------------------------
# The fixture.
sub grants_sql
{
	my ($name) = @_;
	my $login = $logins{$name};
	return join '', map { sprintf "INSERT INTO clinical.membership (role, center_id, project_id) VALUES ('%s', %s, %s);\n", $name, map { $_ // 'NULL' } @$_ }
	  @{ $login->{own} // $login->{grants} };
}
my $fixture = "CREATE EXTENSION clinical;\nCREATE SCHEMA test;\nCREATE SCHEMA scratch;\nGRANT CREATE, USAGE ON SCHEMA scratch TO PUBLIC;\nGRANT USAGE ON SCHEMA test TO PUBLIC;\n";
for my $name (sort grep { !/^clinical_/ } keys %logins)
{
	my $login = $logins{$name};
	$fixture .= "CREATE ROLE $name LOGIN" . ($name eq 'r_super' ? ' SUPERUSER' : $name eq 'r_bypass' ? ' BYPASSRLS' : $name eq 'r_noinherit' ? ' NOINHERIT' : '') . ";\n";
	$fixture .= "GRANT clinical_$_ TO $name;\n" for $name eq 'r_member' ? () : @{ $login->{roles} };
}
$fixture .= "CREATE ROLE r_middle; GRANT r_group_inv TO r_middle; GRANT r_middle TO r_member; GRANT r_group_inv, r_group_mon TO r_noinherit;\n";
$fixture .= "INSERT INTO clinical.center (id, name, site_id) OVERRIDING SYSTEM VALUE VALUES ($_, 'CENTER-$_', 'SITE-$_');\n" for 9001 .. 9005;
$fixture .= "INSERT INTO clinical.project (id, name, code) OVERRIDING SYSTEM VALUE VALUES ($_, 'TITLE-$_', 'PROJ-$_');\n" for sort keys %centers_of;
$fixture .= "INSERT INTO clinical.project_center (project_id, center_id) VALUES ($_->[0], $_->[1]);\n" for @links;
for my $id (sort keys %patients)
{
	my ($p, $c) = $id eq 'pt-moved' ? (7001, 9001) : @{ $patients{$id} };
	# a number at 9001 only, so that a cast of it fails elsewhere
	my $number = $c == 9001 ? 1 : qq{"no number $id"};
	$fixture .= qq{SELECT clinical.enroll_patient('$id', 'NAME $id', '1950-01-01', 'PROJ-$p', $c, '{"tag": "REC $id", "n": $number}', time_zone => 'Asia/Seoul', effective_on => '2026-01-10');\n};
}
$fixture .= q{
CREATE FUNCTION test.definition(code text, version text) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('code', code, 'version', version, 'items', '[{"code": "a", "type": "integer"}]'::jsonb)
$$;
SELECT clinical.create_instrument(test.definition('INS-A', '1'));
SELECT clinical.create_instrument(test.definition('INS-B', '1'));
SELECT clinical.create_instrument(test.definition('INS-C', '1'));
INSERT INTO clinical.instrument (code) VALUES ('INS-D');
SELECT clinical.use_instrument('PROJ-7001', 'INS-A', true);
SELECT clinical.use_instrument('PROJ-7002', 'INS-B', true);
INSERT INTO clinical.project_instrument VALUES (7003, 'INS-B', true);
SELECT clinical.schedule_entries('PROJ-7001', 'INS-A', '{"kind": "daily"}');
SELECT clinical.create_rule(jsonb_build_object('code', code, 'project', project, 'kind', 'threshold', 'severity', 'info', 'items', jsonb_build_array(jsonb_build_object('item', item, 'range', '[2,9]'))))
  FROM (VALUES ('RULE-7001', 'PROJ-7001', 'x'), ('RULE-ALL', NULL, 'a'), ('RULE-7003', 'PROJ-7003', 'x')) v (code, project, item);
SELECT clinical.schedule_entries('PROJ-7002', 'INS-B', '{"kind": "weekly", "days": ["mon"]}');
SELECT clinical.excuse_entries(id, '[2026-06-01,2026-06-02)', 'REASON ' || id) FROM clinical.patient ORDER BY id;
SET SESSION AUTHORIZATION r_super;
SELECT clinical.submit_report(id, '{"a": 1}', '00000000-0000-0000-0000-000000000001', '2026-01-20') FROM clinical.patient WHERE project_id < 7003 ORDER BY id;
SELECT clinical.submit_report(id, '{"a": "x"}', '00000000-0000-0000-0000-000000000002', '2026-01-20') FROM clinical.patient WHERE project_id < 7003 ORDER BY id;
SELECT clinical.submit_report('nobody', '{"a": 1}', '00000000-0000-0000-0000-000000000002', '2026-01-20');
SELECT clinical.process_reports();
SELECT clinical.submit_report('waiting', '{"a": 1}', '00000000-0000-0000-0000-000000000003', '2026-01-20');
RESET SESSION AUTHORIZATION;
SELECT clinical.transfer_patient('pt-moved', 9002, '2026-02-01', 'REASON pt-moved');
SELECT clinical.amend_record('pt-moved', '{"moved": "REC pt-moved"}', 'REASON pt-moved');
SELECT clinical.set_patient_time_zone('pt-moved', 'Asia/Tokyo', '2026-02-01');
};
# what a worker would store, and the trail knows
$fixture .= join "\n", 'ALTER EVENT TRIGGER clinical_ddl DISABLE;', (map { "ALTER TABLE clinical.$_ DISABLE TRIGGER ${_}_check;" } @reports), (map {
	my ($p, $c, $role) = @{ $made{$_} };
	my $centers = join ',', @$c;
	qq{INSERT INTO clinical.report_job (id, project_id, period, options, centers, status, role, role_name, requested_at, requested_by, attempts, ended_at)
  VALUES ('$_', $p, '[2026-01-01,2026-02-01)', '{}', '{$centers}', 'done', '$role', '$role', now(), 'x', 1, now());
INSERT INTO clinical.report (id, project_id, centers, document, generated_at) VALUES ('$_', $p, '{$centers}', '{"header": {"project": {"code": "PROJ-$p"}, "generated_by": "report $_"}, "body": {}}', now());} } sort keys %made),
	(map { "ALTER TABLE clinical.$_ ENABLE ALWAYS TRIGGER ${_}_check;" } @reports), "ALTER EVENT TRIGGER clinical_ddl ENABLE ALWAYS;\n";
my $segments = join "\n", map { "INSERT INTO clinical.$_ (patient_id, submission_id, received_at, originator, login, report_data) VALUES ('$_', gen_random_uuid(), now(), 'subject', 'x', '{}');" } @segments;
$fixture .= join '', map { grants_sql($_) } sort keys %logins;
$fixture .= q{SELECT nextval('clinical.report_schedule_id_seq'); SET SESSION AUTHORIZATION r_monitor_site;
SELECT clinical.run_schedule_elsewhere(1, '{"project": "PROJ-7001", "schedule": "quarterly"}'); RESET SESSION AUTHORIZATION;
};
# what there is is sealed, and a restore has left word of itself
$node->safe_psql('postgres', "SET client_min_messages = warning; BEGIN;\n$fixture COMMIT; SELECT count(clinical.seal_audit());" . q{
SET clinical.restore = on;
INSERT INTO clinical.audit_restore (id, restored_at, login, role) VALUES ('7e000000-0000-0000-0000-000000000000', now(), 'x', 'x');
} . $segments);

my $taking = $node->safe_psql('postgres', q{SELECT relname FROM clinical.staged_report s JOIN pg_class c ON c.oid = s.tableoid WHERE patient_id = 'waiting'});
$rows{$taking}{waiting} = $rows{$taking}{$taking};

# The trail: records of patients are for those who see the patient where it is now, all others for
# auditors.  What the trail has in it is others' to test; here it counts whom each record is about.
my @told = map { [ split /\|/, $_, -1 ] } split /\n/, $node->safe_psql('postgres', 'SELECT id, patient_id, table_name, operation FROM clinical.audit_record ORDER BY id');
my %told_of;
for my $record (@told)
{
	my ($id, $patient, $t, $operation) = @$record;
	$told_of{$patient} .= " $t $operation";
	$rows{audit_record}{$id} = $patient eq '' ? sub { $_[0]{all} || is_any($_[0], 'auditor') } : $rows{patient}{$patient};
}
$rows{$_->[0]}{ $_->[1] } = sub { $_[0]{all} || is_any($_[0], 'auditor') }
  for [ 'audit_block', 1 ], [ 'audit_generation', 1 ], [ 'audit_restore', '7e000000-0000-0000-0000-000000000000' ];
$rows{audit_record}{ $_->[0] } = $rows{audit_block}{1} for grep { $_->[1] eq 'nobody' } @told;
my $entering = join '', map { " $_ INSERT" } qw(patient enrollment_event record_version patient_time_zone entry_excuse);
my $reporting = join '', map { " $_ INSERT" } qw(submission set_aside alert alert_event);
for my $id (sort keys %patients)
{
	my $moving = $id eq 'pt-moved' ? join('', map { " $_ INSERT patient UPDATE" } qw(enrollment_event record_version patient_time_zone)) : '';
	is(join(' ', sort split / /, $told_of{$id}), join(' ', sort split / /, $entering . $moving . ($patients{$id}[0] < 7003 ? $reporting : '')), "the trail tells of $id");
}
like($told_of{''}, qr/ $_ /, "and of $_") for qw(center project project_center membership), @forms, @rules;

# What each table's statements are made of: the key, what an update sets, which row a deletion
# is about, the referenced columns, and what becomes of writing where there is the privilege (write: whatever the rows).
my %tables = (
	center => { key => 'id::text', set => "name = 'x'", victim => 9005, columns => 'id', types => 'bigint' },
	project => { key => 'id::text', set => "name = 'x'", victim => 7004, columns => 'id', types => 'bigint' },
	project_center => { key => "project_id || '/' || center_id", set => 'planned_enrolment = 7', victim => '7003/9004',
		columns => 'project_id, center_id', types => 'bigint, bigint' },
	center_event => { key => "center_id || '/' || status", set => "reason = 'x'", victim => '9001/active', columns => 'id', types => 'bigint',
		update => '55000', delete => '55000' },
	project_event => { key => "project_id || '/' || event || '/' || coalesce(center_id::text, '-')", set => "reason = 'x'", victim => '7001/status/-',
		columns => 'id', types => 'bigint', update => '55000', delete => '55000' },
	patient => { key => 'id', set => "name = 'x'", victim => 'pt-7001-9001-a', columns => 'id', types => 'text', delete => '23503' },
	enrollment_event => { key => "patient_id || '/' || event_no", set => "reason = 'x'", victim => 'pt-moved/2', columns => 'patient_id, event_no',
		types => 'text, integer', update => '55000', delete => '55000' },
	record_version => { key => "patient_id || '/' || version", set => "reason = 'x'", victim => 'pt-moved/2', columns => 'patient_id, version',
		types => 'text, integer', update => '55000', delete => '55000' },
	patient_time_zone => { key => "patient_id || '/' || event_no", set => "time_zone = 'UTC'", victim => 'pt-moved/2', columns => 'patient_id, event_no',
		types => 'text, integer', update => '55000', delete => '55000' },
	membership => { key => "role::text || '/' || coalesce(center_id::text, '-') || '/' || coalesce(project_id::text, '-')", set => "actor = 'x'",
		victim => 'r_spare/9002/-', columns => 'id', types => 'bigint', update => '55000' },
	instrument => { key => 'code', set => "code = 'x'", victim => 'INS-D', columns => 'code', types => 'text', update => '55000' },
	instrument_version => { key => "instrument || '/' || version", set => "version = 'x'", victim => 'INS-C/1', columns => 'id', types => 'bigint', update => '55000' },
	project_instrument => { key => "project_id || '/' || instrument", set => 'is_default = false', victim => '7003/INS-B', columns => 'project_id, instrument',
		types => 'bigint, text' },
	project_instrument_version => { key => "project_id || '/' || instrument || '/' || version_id", set => 'version_id = NULL', victim => '7001/INS-A/1', columns => 'id',
		types => 'bigint', update => '55000', delete => '55000' },
	entry_schedule => { key => "project_id || '/' || instrument", set => 'schedule = NULL', victim => '7001/INS-A', columns => 'id', types => 'bigint',
		update => '55000', delete => '55000' },
	entry_excuse => { key => "patient_id || '/' || extract(year FROM lower(period))", set => "reason = 'x'", victim => 'pt-moved/2026', columns => 'patient_id, period',
		types => 'text, tstzrange', update => '55000' },
	monitor_rule => { key => 'code', set => "status = 'retired'", victim => 'RULE-ALL', columns => 'id', types => 'bigint', update => '55000', delete => '55000' },
	monitor_rule_version => { key => "rule_id || '/' || version", set => "reason = 'x'", victim => '2/1', columns => 'id', types => 'bigint', update => '55000', delete => '55000' },
	rule_evaluation => { key => "rule_id || '/' || version", set => "status = 'done'", victim => '2/1', columns => 'id', types => 'bigint', update => '55000', delete => '55000' },
	alert => { key => 'patient_id', set => "severity = 'x'", victim => 'pt-moved', columns => 'patient_id, id', types => 'text, uuid', update => '55000', delete => '55000' },
	alert_event => { key => "patient_id || '/' || event_no", set => "reason = 'x'", victim => 'pt-moved/1', columns => 'patient_id, alert_id, event_no',
		types => 'text, uuid, integer', update => '55000', delete => '55000' },
	report_job => { key => 'id::text', set => "status = 'failed'", victim => '00000000-0000-7000-8000-000000000002', columns => 'id', types => 'uuid', update => '55000', delete => '55000' },
	report => { key => 'id::text', set => "document = '{}'", victim => '00000000-0000-7000-8000-000000000002', columns => 'id', types => 'uuid', update => '55000', delete => '55000' },
	submission => { key => 'patient_id', set => "actor = 'x'", victim => 'pt-moved', columns => 'patient_id, id', types => 'text, uuid',
		update => '55000', delete => '55000' },
	observation => { key => "patient_id || '/' || item", set => "unit = 'x'", victim => 'pt-moved/a', columns => 'patient_id, item, captured_at, id, version',
		types => 'text, text, timestamptz, uuid, integer', update => '55000', delete => '55000' },
	set_aside => { key => 'patient_id', set => "actor = 'x'", victim => 'pt-moved', columns => 'patient_id, submission_id, arrival', types => 'text, uuid, uuid',
		update => '55000', delete => '55000' },
	staged_report => { key => 'patient_id', set => "actor = 'x'", victim => 'waiting', columns => 'patient_id', types => 'text', write => '55000' },
	(map { $_ => { key => 'patient_id', set => "actor = 'x'", victim => $_, columns => 'patient_id', types => 'text', write => '55000' } } @segments),
	report_schedule => { key => 'role_name::text', set => "failure = 'x'", victim => 'r_monitor_site', columns => 'id', types => 'bigint', update => '55000', delete => '55000' },
	audit_record => { key => 'id::text', set => "reason = 'x'", victim => 1, columns => 'generation, xid, id', types => 'integer, xid8, bigint',
		update => '55000', delete => '55000' },
	audit_block => { key => 'block_no::text', set => "root = ''", victim => 1, columns => 'block_no', types => 'bigint', update => '55000', delete => '55000' },
	audit_generation => { key => 'generation::text', set => "digest = 'x'", victim => 1, columns => 'generation', types => 'integer',
		update => '55000', delete => '55000' },
	audit_restore => { key => 'id::text', set => "login = 'x'", victim => '7e000000-0000-0000-0000-000000000000', columns => 'id', types => 'uuid',
		update => '55000', delete => '55000' });

# ---------------------------------------------------------------------------------------------
# The cells: a statement, the privileges that it takes, and what becomes of it then (SQLSTATE, keys
# returned, keys changed).  once: does not depend on rows, so that one login of each role will do.
my @cells;

sub cell
{
	my ($table, $verb, $sql, $need, $then, $once) = @_;
	push @cells, { table => $table, verb => $verb, sql => $sql, need => $need, then => $then, once => $once ? 1 : 0 };
	return;
}

sub fine { my ($seen, @changed) = @_; return [ '00000', join(' ', sort @$seen), join(' ', sort @changed) ]; }
sub fails { my ($state) = @_; return [ $state, '', '' ]; }

for my $t (sort keys %tables)
{
	my %d = %{ $tables{$t} };
	my $from = "clinical.$t";
	my $unlimited = sub { $_[0]{any} ? fine([]) : fails('42501') };
	my $updated = sub {
		my ($returns) = @_;
		return sub {
			my @keys = visible($_[0], $t);
			return fails($d{write}) if $d{write};
			return @keys && $d{update} ? fails($d{update}) : fine($returns ? \@keys : [], @keys);
		};
	};
	my $deleted = sub {
		my ($returns) = @_;
		return sub {
			my @keys = grep { $_ eq $d{victim} } visible($_[0], $t);
			return fails($d{write}) if $d{write};
			return @keys && $d{delete} ? fails($d{delete}) : fine($returns ? \@keys : [], @keys);
		};
	};
	cell($t, 'select', "SELECT $d{key} FROM $from", 's', sub { fine([ visible($_[0], $t) ]) });
	cell($t, 'select *', "SELECT $d{key} FROM (SELECT * FROM $from OFFSET 0) s", 'S', sub { fine([ visible($_[0], $t) ]) });
	cell($t, 'whole row', "SELECT split_part(t::text, ',', 1000) || $d{key} FROM $from t", 'S', sub { fine([ visible($_[0], $t) ]) });
	cell($t, 'tablesample', "SELECT $d{key} FROM $from TABLESAMPLE SYSTEM (100)", 's', sub { fine([ visible($_[0], $t) ]) });
	cell($t, "for $_", "SELECT $d{key} FROM $from FOR $_", 'su', sub { fine([ visible($_[0], $t) ]) }) for qw(UPDATE SHARE);
	cell($t, 'row_security off', "SELECT k FROM (SELECT set_config('row_security', 'off', true)) o, LATERAL test.keys_of_caller('$t') k", 's',
		sub { $_[0]{all} && !$_[0]{owner} ? fine([ visible($_[0], $t) ]) : fails('42501') });
	cell($t, 'update', "UPDATE $from SET $d{set}", 'u', $updated->(0));
	cell($t, 'update returning', "UPDATE $from SET $d{set} RETURNING $d{key}", 'su', $updated->(1));
	cell($t, 'delete', "DELETE FROM $from WHERE $d{key} = '$d{victim}'", 'sD', $deleted->(0));
	cell($t, 'delete returning', "DELETE FROM $from WHERE $d{key} = '$d{victim}' RETURNING $d{key}", 'sD', $deleted->(1));
	my $all = join ', ', map { "('$_')" } sort keys %{ $rows{$t} };
	my $merge = "MERGE INTO $from AS t USING (VALUES $all) s (k) ON s.k = " . $d{key} =~ s/\b((?:project_|center_|patient_|version_)?id|event_no|version|status|event|role|block_no|generation|instrument|code|period)\b(?!::text \|\| '\/' \|\| role)/t.$1/gr;
	cell($t, 'merge update', "$merge WHEN MATCHED THEN UPDATE SET $d{set}", 'su', $updated->(0));
	cell($t, 'merge delete', "$merge AND s.k = '$d{victim}' WHEN MATCHED THEN DELETE", 'sD', $deleted->(0));
	cell($t, 'truncate', "TRUNCATE $from", '', sub {
		return !$_[0]{any} ? fails('42501') :
		  $t =~ /^(?:center|project|project_center|patient|instrument|instrument_version|project_instrument|monitor_rule|alert|report_job)$/ ? fails('0A000') : fails('55000');
	}, 1);
	cell($t, 'lock access share', "LOCK TABLE $from IN ACCESS SHARE MODE", 'S', sub { fine([]) }, 1);
	cell($t, 'lock row exclusive', "LOCK TABLE $from IN ROW EXCLUSIVE MODE", '',
		sub { (grep { may($_[0], $t, $_) } qw(I U D)) ? fine([]) : fails('42501') }, 1);
	cell($t, 'lock access exclusive', "LOCK TABLE $from IN ACCESS EXCLUSIVE MODE", '',
		sub { (grep { may($_[0], $t, $_) } qw(U D)) ? fine([]) : fails('42501') }, 1);
	my @types = split /, /, $d{types};
	my @names = ('a' .. 'e')[ 0 .. $#types ];
	cell($t, 'references', 'CREATE TABLE scratch.r (' . join(', ', map { "$names[$_] $types[$_]" } 0 .. $#types) .
		', FOREIGN KEY (' . join(', ', @names) . ") REFERENCES $from ($d{columns}))", '', $unlimited, 1) if $t !~ /^staged_report/;	# which has no key
	cell($t, 'trigger', "CREATE TRIGGER x BEFORE INSERT ON $from FOR EACH ROW EXECUTE FUNCTION scratch.nothing()", '', $unlimited, 1);
	cell($t, 'rule', "CREATE RULE x AS ON UPDATE TO $from DO ALSO NOTHING", '', $unlimited, 1);
	cell($t, 'policy', "CREATE POLICY x ON $from USING (true)", '', $unlimited, 1);
	# the trail has its own columns only
	cell($t, 'alter', "ALTER TABLE $from ADD COLUMN x integer", '', $t eq 'audit_record' ? sub { fails($_[0]{any} ? '0A000' : '42501') } : $unlimited, 1);
	# whoever may alter it may not switch off what limits, records and guards it
	cell($t, $_, "ALTER TABLE $from $_", '', sub { fails($_[0]{any} ? '55000' : '42501') }, 1)
	  for 'DISABLE ROW LEVEL SECURITY', 'NO FORCE ROW LEVEL SECURITY', 'DISABLE TRIGGER ' . ($t =~ /^audit_/ ? 'guard' : $t =~ /^staged_report/ ? 'audit_truncate' : 'audit');
	# the owner may not create anything in the schema
	cell($t, 'index', "CREATE INDEX ON $from ($d{columns})", '', sub { $_[0]{any} && !$_[0]{owner} ? fine([]) : fails('42501') }, 1);
	cell($t, 'drop', "DROP TABLE $from", '', sub { $_[0]{any} ? fails('2BP01') : fails('42501') }, 1);
}

# Insertions.
my $patient = q{INSERT INTO clinical.patient (id, project_id, center_id, status, status_on, name) VALUES ('%s', %d, %d, 'enrolled', '2026-01-10', 'x') %s};
my ($own, $other) = ('pt-7001-9001-a', 'pt-7002-9003-a');
for my $link (@links)
{
	my ($p, $c) = @$link;
	my $inserted = sub { my ($returns) = @_; return sub { sees($_[0], $p, $c) ? fine($returns ? ['new'] : [], 'new') : fails('42501') } };
	my @new = ('new', $p, $c);
	cell('patient', "insert at $p/$c", sprintf($patient, @new, ''), 'i', $inserted->(0));
	cell('patient', "insert returning at $p/$c", sprintf($patient, @new, 'RETURNING id'), 'is', $inserted->(1));
	cell('patient', "insert on conflict at $p/$c", sprintf($patient, @new, 'ON CONFLICT (id) DO NOTHING'), 'is', $inserted->(0));
	cell('patient', "merge insert at $p/$c", "MERGE INTO clinical.patient t USING (VALUES ('new')) s (k) ON t.id = s.k WHEN NOT MATCHED THEN" .
		" INSERT (id, project_id, center_id, status, status_on) VALUES (s.k, $p, $c, 'enrolled', '2026-01-10')", 'is', $inserted->(0));
	for my $taken ($own, $other)
	{
		# an id that is taken says so, wherever it is: that is the limit
		cell('patient', "insert $taken at $p/$c", sprintf($patient, $taken, $p, $c, ''), 'i', sub { fails(sees($_[0], $p, $c) ? '23505' : '42501') });
		cell('patient', "do nothing on $taken at $p/$c", sprintf($patient, $taken, $p, $c, 'ON CONFLICT (id) DO NOTHING'), 'is',
			sub { sees($_[0], $p, $c) ? fine([]) : fails('42501') });
		cell('patient', "do update on $taken at $p/$c", sprintf($patient, $taken, $p, $c, q{ON CONFLICT (id) DO UPDATE SET name = 'y' RETURNING id}), 'isu',
			sub { sees($_[0], $p, $c) && sees($_[0], @{ $patients{$taken} }) ? fine([$taken], $taken) : fails('42501') });
	}
}
for my $id (sort keys %patients, 'pt-nowhere')
{
	my $told = sub { my ($n, $returns) = @_; return sub { $patients{$id} && sees($_[0], @{ $patients{$id} }) ? fine($returns ? ["$id/$n"] : [], "$id/$n") : fails('P0002') } };
	my $n = $id eq 'pt-moved' ? 3 : 2;
	my $event = "INSERT INTO clinical.enrollment_event (patient_id, status, effective_on) VALUES ('$id', 'completed', '2026-03-01')";
	my $zone = "INSERT INTO clinical.patient_time_zone (patient_id, time_zone, effective_from) VALUES ('$id', 'Asia/Tokyo', '2026-02-01')";
	cell('enrollment_event', "insert of $id", $event, 'i', $told->($n, 0));
	cell('enrollment_event', "insert returning of $id", "$event RETURNING patient_id || '/' || event_no", 'is', $told->($n, 1));
	cell('enrollment_event', "insert on conflict of $id", "$event ON CONFLICT DO NOTHING", 'i', $told->($n, 0));
	cell('patient_time_zone', "insert of $id", $zone, 'i', $told->($n, 0));
	cell('patient_time_zone', "insert on conflict of $id", "$zone ON CONFLICT DO NOTHING", 'i', $told->($n, 0));
	my $excuse = "INSERT INTO clinical.entry_excuse (patient_id, period, reason) VALUES ('$id', '[2027-06-01,2027-06-02)', 'x')";
	my $excused = sub { my ($returns) = @_; return sub { $patients{$id} && sees($_[0], @{ $patients{$id} }) ? fine($returns ? ["$id/2027"] : [], "$id/2027") :
		fails(!$patients{$id} && $_[0]{all} ? '23503' : '42501') } };
	cell('entry_excuse', "insert of $id", $excuse, 'i', $excused->(0));
	cell('entry_excuse', "insert returning of $id", "$excuse RETURNING patient_id || '/' || extract(year FROM lower(period))", 'is', $excused->(1));
	cell('entry_excuse', "insert on conflict of $id", "$excuse ON CONFLICT DO NOTHING", 'i', $excused->(0));
}
cell('entry_excuse', 'insert, stamped', "INSERT INTO clinical.entry_excuse (patient_id, period, reason, actor) VALUES ('$own', '[2027-06-01,2027-06-02)', 'x', 'x')", 'I', sub { fine([], "$own/2027") });
cell('instrument', 'insert, stamped', "INSERT INTO clinical.instrument (code, created_at) VALUES ('new', '2026-01-01')", 'I', sub { fine([], 'new') });
cell('instrument_version', 'insert, stamped', "INSERT INTO clinical.instrument_version (instrument, version, definition, actor) SELECT 'INS-A', '2', test.definition('INS-A', '2'), 'x'", 'I',
	sub { fine([], 'INS-A/2') });
cell('project_instrument_version', 'insert, stamped', "INSERT INTO clinical.project_instrument_version (project_id, instrument, effective_from, version_id, actor) VALUES (7003, 'INS-B', '2026-01-01', 2, 'x')", 'I',
	sub { fine([], '7003/INS-B/2') });
cell('entry_schedule', 'insert, stamped', "INSERT INTO clinical.entry_schedule (project_id, instrument, effective_from, actor) VALUES (7003, 'INS-B', '2026-01-01', 'x')", 'I',
	sub { fine([], '7003/INS-B') });
cell('project_instrument_version', 'insert', "INSERT INTO clinical.project_instrument_version (project_id, instrument, effective_from, version_id) VALUES (7003, 'INS-B', '2026-01-01', 2)",
	'i', sub { fine([], '7003/INS-B/2') });
cell('project_instrument_version', 'insert, another\'s version', "INSERT INTO clinical.project_instrument_version (project_id, instrument, effective_from, version_id) VALUES (7003, 'INS-B', '2026-01-01', 1)",
	'i', sub { fails('23503') });
cell('entry_schedule', 'insert', "INSERT INTO clinical.entry_schedule (project_id, instrument, effective_from, schedule) VALUES (7003, 'INS-B', '2026-01-01', '{\"kind\": \"daily\"}')",
	'i', sub { fine([], '7003/INS-B') });
cell('entry_schedule', 'insert, malformed', "INSERT INTO clinical.entry_schedule (project_id, instrument, effective_from, schedule) VALUES (7003, 'INS-B', '2026-01-01', '{}')",
	'i', sub { fails('22023') });
cell('enrollment_event', 'insert, stamped', "INSERT INTO clinical.enrollment_event (patient_id, status, effective_on, recorded_by) VALUES ('$own', 'completed', '2026-03-01', 'x')",
	'I', sub { fine([], "$own/2") });
cell('patient_time_zone', 'insert, stamped', "INSERT INTO clinical.patient_time_zone (patient_id, time_zone, effective_from, actor) VALUES ('$own', 'Asia/Tokyo', '2026-02-01', 'x')",
	'I', sub { fine([], "$own/2") });
cell('membership', 'insert, stamped', "INSERT INTO clinical.membership (role, center_id, recorded_by) VALUES ('r_spare', 9003, 'x')", 'I', sub { fine([], 'r_spare/9003/-') });
cell('patient', 'update center', 'UPDATE clinical.patient SET center_id = 9001', 'U', sub { fails('55000') });
cell('record_version', 'insert', "INSERT INTO clinical.record_version (patient_id, version, record, changes) VALUES ('$own', 2, '{}', '[]')", 'I', sub { fails('55000') });
cell('center_event', 'insert', "INSERT INTO clinical.center_event (center_id, status) VALUES (9001, 'x')", 'I', sub { fails('55000') });
cell($_, 'insert', "INSERT INTO clinical.$_ SELECT (r).* FROM (SELECT NULL::clinical.$_ AS r) s", 'I', sub { fails('55000') })
  for qw(audit_record audit_block audit_generation audit_restore staged_report), @segments, @alerts, @reports;
cell('monitor_rule', 'insert', "INSERT INTO clinical.monitor_rule (code, status, recorded_at, recorded_by) VALUES ('x', 'active', now(), 'x')", 'I', sub { fails('55000') });
cell('report_schedule', 'insert', "INSERT INTO clinical.report_schedule (kind, project_id, schedule, unit, options, role, role_name, status, recorded_at, recorded_by)" .
	" VALUES ('report', 7001, 'monthly', 'month', '{}', 'r_spare', 'r_spare', 'active', now(), 'x')", 'I', sub { fails('55000') });
cell('monitor_rule_version', 'insert', "INSERT INTO clinical.monitor_rule_version (rule_id, version, kind, severity, definition, recorded_at, recorded_by) VALUES (1, 2, 'x', 'x', '{}', now(), 'x')",
	'I', sub { fails('55000') });
cell('rule_evaluation', 'insert', "INSERT INTO clinical.rule_evaluation (rule_id, version, status, requested_at, requested_by) VALUES (1, 1, 'queued', now(), 'x')", 'I', sub { fails('55000') });
cell('project_event', 'insert', "INSERT INTO clinical.project_event (project_id, event) VALUES (7001, 'status')", 'I', sub { fails('55000') });
for my $new (
	[ 'center', 9100, q{(id, name, site_id) OVERRIDING SYSTEM VALUE VALUES (%d, 'x', '%s')}, [ 9100, 'new' ], [ 9100, 'SITE-9001' ], 'site_id', 9001 ],
	[ 'project', 7100, q{(id, name, code) OVERRIDING SYSTEM VALUE VALUES (%d, 'x', '%s')}, [ 7100, 'new' ], [ 7100, 'PROJ-7001' ], 'code', 7001 ],
	[ 'project_center', '7004/9005', '(project_id, center_id) VALUES (%d, %d)', [ 7004, 9005 ], [ 7001, 9001 ], 'project_id, center_id', '7001/9001' ],
	[ 'instrument', 'new', q{(code) VALUES ('%s')}, ['new'], ['INS-A'], 'code', undef ],
	[ 'instrument_version', 'INS-A/2', q{(instrument, version, definition) SELECT a, b, test.definition(a, b) FROM (VALUES ('%s', '%s')) v (a, b)}, [ 'INS-A', '2' ], [ 'INS-A', '1' ],
		'instrument, version', undef ],
	[ 'project_instrument', '7004/INS-A', q{(project_id, instrument) VALUES (%d, '%s')}, [ 7004, 'INS-A' ], [ 7001, 'INS-A' ], 'project_id, instrument', '7001/INS-A' ],
	[ 'membership', 'r_spare/9003/-', q{(role, center_id) VALUES ('%s', %d)}, [ 'r_spare', 9003 ], [ 'r_spare', 9002 ], 'role, center_id, project_id', undef ])
{
	my ($t, $key, $values, $fresh, $taken, $arbiter, $taken_key) = @$new;
	my $insert = "INSERT INTO clinical.$t $values";
	cell($t, 'insert', sprintf($insert, @$fresh), 'i', sub { fine([], $key) });
	cell($t, 'insert returning', sprintf("$insert RETURNING $tables{$t}{key}", @$fresh), 'is', sub { fine([$key], $key) });
	cell($t, 'insert taken', sprintf($insert, @$taken), 'i', sub { fails('23505') });
	cell($t, 'do nothing', sprintf("$insert ON CONFLICT ($arbiter) DO NOTHING", @$taken), 'is', sub { fine([]) });
	cell($t, 'do update', sprintf("$insert ON CONFLICT ($arbiter) DO UPDATE SET $tables{$t}{set}", @$taken), 'isu',
		sub { defined $taken_key ? fine([], $taken_key) : fails('55000') });
}

# ---------------------------------------------------------------------------------------------
# The helper that runs a statement as a role and undoes it.
$fixture = q{
CREATE FUNCTION scratch.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE test.cell (id int PRIMARY KEY, tbl text, once boolean, sql text);
CREATE TABLE test.login (name text PRIMARY KEY, every boolean);
CREATE TABLE test.base (tbl text PRIMARY KEY, rows jsonb);
};
for my $t (sort keys %tables)
{
	$fixture .= "CREATE FUNCTION test.rows_of_$t() RETURNS jsonb LANGUAGE sql AS \$\$ SELECT jsonb_object_agg($tables{$t}{key}, md5(t::text)) FROM clinical.$t t \$\$;\n";
	$fixture .= "INSERT INTO test.base SELECT '$t', test.rows_of_$t();\n";
}
$fixture .= q{
CREATE FUNCTION test.keys_of_caller(tbl text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE (SELECT format('SELECT %s FROM clinical.%I', expr, tbl) FROM (VALUES KEYS) v (t, expr) WHERE t = tbl);
END
$$;
-- What a statement does when the role runs it: SQLSTATE, keys that it returns, keys of the table's
-- rows that are different afterwards, and its error in full.  It is undone.
CREATE FUNCTION test.outcome(login text, tbl text, statement text, OUT state text, OUT seen text, OUT changed text, OUT error text) LANGUAGE plpgsql AS $$
DECLARE
    key text;
    keys text[] := '{}';
    after jsonb;
    d text;
    h text;
    c text;
BEGIN
    PERFORM set_config('role', login, true);
    IF statement ~ '^SELECT|RETURNING' THEN
        FOR key IN EXECUTE statement LOOP
            keys := keys || coalesce(key, 'NULL');
        END LOOP;
    ELSE
        EXECUTE statement;
    END IF;
    PERFORM set_config('role', 'none', true), set_config('row_security', 'on', true);
    seen := coalesce((SELECT string_agg(k, ' ' ORDER BY k COLLATE "C") FROM unnest(keys) k), '');
    IF tbl IS NOT NULL AND statement !~ '^(SELECT|LOCK|DROP|CREATE|ALTER)' THEN
        EXECUTE format('SELECT test.rows_of_%s()', tbl) INTO after;
        changed := (SELECT string_agg(coalesce(a.key, b.key), ' ' ORDER BY coalesce(a.key, b.key) COLLATE "C")
                      FROM jsonb_each_text((SELECT rows FROM test.base o WHERE o.tbl = outcome.tbl)) b
                      FULL JOIN jsonb_each_text(coalesce(after, '{}')) a USING (key) WHERE a.value IS DISTINCT FROM b.value);
    END IF;
    changed := coalesce(changed, '');
    RAISE EXCEPTION USING ERRCODE = 'ZZZZZ';
EXCEPTION WHEN OTHERS THEN
    IF SQLSTATE = 'ZZZZZ' THEN
        state := '00000';
        error := '';
        RETURN;
    END IF;
    GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT, c = PG_EXCEPTION_CONTEXT;
    state := SQLSTATE;
    seen := '';
    changed := '';
    error := concat_ws(' | ', SQLERRM, d, h, regexp_replace(c, 'PL/pgSQL function test\..*', ''));
END
$$;
};
my $keys = join ', ', map { "('$_', \$k\$$tables{$_}{key}\$k\$)" } sort keys %tables;
$fixture =~ s/VALUES KEYS/VALUES $keys/;
# one login of each role sees all that there is
$fixture .= sprintf "INSERT INTO test.login VALUES ('%s', %s);\n", $_, /^r_(?:\w+_(?:site|one|none|project))$/ ? 'false' : 'true' for sort keys %logins;
for my $i (0 .. $#cells)
{
	$fixture .= sprintf "INSERT INTO test.cell VALUES (%d, '%s', %s, \$cell\$%s\$cell\$);\n", $i, $cells[$i]{table}, $cells[$i]{once} ? 'true' : 'false', $cells[$i]{sql};
}
$node->safe_psql('postgres', "SET client_min_messages = warning; BEGIN;\n$fixture COMMIT; ANALYZE");

# ---------------------------------------------------------------------------------------------
# The matrix.
is($node->safe_psql('postgres', q{SELECT relname FROM pg_class WHERE relnamespace = 'clinical'::regnamespace AND relkind NOT IN ('i', 'S', 'I') ORDER BY 1}),
	join("\n", sort(keys %tables, keys %views, qw(submit_response http_response description double_description entry_watch))), 'the model knows all tables and views');
# what is the server's alone: nobody else has any right to it
is($node->safe_psql('postgres', q{SELECT relrowsecurity, relforcerowsecurity, (SELECT string_agg(polname, ',') FROM pg_policy WHERE polrelid = c.oid),
	(SELECT count(*) FROM pg_roles r WHERE r.rolname LIKE 'clinical%' AND r.rolname <> 'clinical_owner' AND (has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES') OR has_table_privilege(r.oid, c.oid, 'DELETE, TRUNCATE, TRIGGER')))
  FROM pg_class c WHERE c.oid = 'clinical.entry_watch'::regclass}), 't|t|owner|0', 'entry_watch is nobody\'s');
is($node->safe_psql('postgres', qq{SELECT string_agg(key, ' ' ORDER BY key COLLATE "C") FROM test.base, jsonb_each_text(rows) WHERE tbl = '$_'}),
	join(' ', sort keys %{ $rows{$_} }), "the model knows all rows of $_") for sort keys %tables;

sub expected
{
	my ($login, $cell) = @_;
	return fails('42501') unless $login->{any} || @{ $login->{roles} };
	return fails('42501') unless may($login, $cell->{table}, $cell->{need});
	return $cell->{then}->($login);
}

# Run cells: [ condition on l (login) and c (cell), statements before ], each run undone; for each,
# what is not as the model says.
my $count = 0;

sub mismatches
{
	my (@runs) = @_;
	my $script = "SET client_min_messages = error;\nBEGIN;\nSET LOCAL clinical.reason = 'test';\n\\pset fieldsep '\\t'\n";
	for my $i (0 .. $#runs)
	{
		my ($where, $before) = @{ $runs[$i] };
		$before //= '';
		$script .= qq{SAVEPOINT run;
$before;
SELECT $i, l.name, c.id, o.state, o.seen, o.changed, replace(o.error, E'\\n', ' ')
  FROM test.login l JOIN test.cell c ON l.every OR NOT c.once, LATERAL test.outcome(l.name, c.tbl, c.sql) o WHERE $where;
ROLLBACK TO run;
};
	}
	my @wrong = map { {} } @runs;
	for my $line (split /\n/, $node->safe_psql('postgres', "$script ROLLBACK"))
	{
		my ($run, $name, $id, $state, $seen, $changed, $error) = split /\t/, $line, -1;
		my $cell = $cells[$id];
		my $expect = join ', ', @{ expected($logins{$name}, $cell) };
		my $got = join ', ', $state, $seen, $changed;
		$count++;
		push @{ $wrong[$run]{$name} }, "$cell->{table} $cell->{verb}: expected $expect; got $got $error" if $got ne $expect;
	}
	return @wrong;
}

my ($wrong) = mismatches(['true']);
is(join("\n", @{ $wrong->{$_} // [] }), '', "$_ does what it may, with the rows that it may see") for sort keys %logins;
cmp_ok($count, '>', 15000, "$count statements were tried");

# A test that cannot fail is none: each policy gone or open, row level security off, each privilege
# more or less is noticed.
my @breaks = map { [ split /\t/, $_ ] } split /\n/, $node->safe_psql('postgres', q{
\pset fieldsep '\t'
SELECT relname, 'every', format('DROP POLICY %I ON clinical.%I', polname, relname)
  FROM pg_policy JOIN pg_class c ON c.oid = polrelid WHERE relnamespace = 'clinical'::regnamespace
UNION ALL
SELECT relname, 'every', format('ALTER POLICY %I ON clinical.%I USING (true)', polname, relname)
  FROM pg_policy JOIN pg_class c ON c.oid = polrelid WHERE relnamespace = 'clinical'::regnamespace AND pg_get_expr(polqual, polrelid) <> 'true'
UNION ALL
SELECT relname, 'every', format('ALTER TABLE clinical.%I %s ROW LEVEL SECURITY', relname, way)
  FROM pg_class, unnest('{DISABLE,NO FORCE}'::text[]) way WHERE relnamespace = 'clinical'::regnamespace AND relkind = 'r'
UNION ALL
SELECT relname, 'r_' || r || '_all',
       CASE WHEN has_table_privilege('clinical_' || r, c.oid, p) THEN format('REVOKE %s ON clinical.%I FROM clinical_%s', p, relname, r)
            ELSE format('GRANT %s ON clinical.%I TO clinical_%s', p, relname, r) END
  FROM pg_class c, unnest('{admin,intake,investigator,monitor,data_manager,statistician,auditor}'::text[]) r,
       unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p
 WHERE relnamespace = 'clinical'::regnamespace AND relkind = 'r'
   AND (relname !~ '^staged_report' OR p <> 'REFERENCES')
ORDER BY 3});
@breaks = grep { $_->[0] ne 'entry_watch' } @breaks;
# what the event triggers do about it is not what is to be noticed
my $untold = join '', map { "ALTER EVENT TRIGGER clinical_$_ DISABLE; " } qw(ddl drop);
my @noticed = mismatches(map { [ "c.sql !~ '^ALTER TABLE .* (DISABLE|NO FORCE)' AND c.tbl = '$_->[0]' AND " . ($_->[1] eq 'every' ? q{l.name ~ '^(r_\w+_(site|all|none)|clinical_owner|r_spare)$'} : "l.name = '$_->[1]'"), "$untold$_->[2]" ] } @breaks);
cmp_ok(scalar @breaks, '>', 400, scalar(@breaks) . ' ways to break it were tried');
# These change nothing: who sees all centers, projects and patients sees all of their rows by the
# other policy too.
my $same = join "\n", map { "DROP POLICY $_" } 'admin ON clinical.center_event', 'admin ON clinical.project_event',
  'owner ON clinical.enrollment_event', 'owner ON clinical.patient_time_zone';
is(join("\n", map { $breaks[$_][2] } grep { !%{ $noticed[$_] } } 0 .. $#breaks), $same, 'and each is noticed');

# ---------------------------------------------------------------------------------------------
# COPY, which a function cannot run.  Under row level security COPY FROM is refused.
my %column = (report_job => 'status', report => 'document', monitor_rule => 'code', monitor_rule_version => 'rule_id', rule_evaluation => 'rule_id', audit_record => 'reason', audit_block => 'root', audit_generation => 'digest', audit_restore => 'login', center => 'name', project => 'name', membership => 'role', patient => 'id', center_event => 'center_id', project_event => 'project_id',
	project_center => 'project_id', instrument => 'code', instrument_version => 'instrument', (map { $_ => 'instrument' } qw(project_instrument project_instrument_version entry_schedule)),
	map { $_ => 'patient_id' } qw(enrollment_event record_version patient_time_zone entry_excuse submission observation staged_report set_aside), @segments, @alerts);
my %columns = (report_job => 'id', report => 'id', monitor_rule => 'code', monitor_rule_version => 'rule_id, version', rule_evaluation => 'rule_id, version', audit_record => 'id', audit_block => 'block_no', audit_generation => 'generation', audit_restore => 'id', center => 'id', project => 'id', membership => 'role, center_id, project_id', patient => 'id', center_event => 'center_id, status',
	project_event => 'project_id, event, center_id', project_center => 'project_id, center_id', enrollment_event => 'patient_id, event_no',
	record_version => 'patient_id, version', patient_time_zone => 'patient_id, event_no', instrument => 'code', instrument_version => 'instrument, version',
	project_instrument => 'project_id, instrument', project_instrument_version => 'project_id, instrument, version_id', entry_schedule => 'project_id, instrument', entry_excuse => 'patient_id',
	observation => 'patient_id, item', alert_event => 'patient_id, event_no', map { $_ => 'patient_id' } qw(submission staged_report set_aside alert), @segments);
($column{report_schedule}, $columns{report_schedule}) = ('schedule', 'role_name');
my ($script, $copied, %copy) = ("\\set VERBOSITY sqlstate\n", '');
for my $name (sort keys %logins)
{
	$script .= "SET ROLE $name;\n";
	$script .= "\\echo #$name $_ to\nCOPY clinical.$_ ($columns{$_}) TO STDOUT (DELIMITER '/', NULL '-');\n\\echo #$name $_ from\n\\copy clinical.$_ ($column{$_}) FROM /dev/null\n" for sort keys %tables;
	$script .= "RESET ROLE;\n";
}
IPC::Run::run([ 'psql', '-X', '-q', '-d', $node->connstr('postgres') ], '<', \$script, '>', \$copied, '2>&1');
while ($copied =~ /^#(\S+) (\S+) (to|from)\n(.*?)(?=^#|\z)/msg)
{
	my ($name, $t, $way, $out) = ($1, $2, $3, $4);
	my $login = $logins{$name};
	my $usage = $login->{any} || @{ $login->{roles} };
	my $expect = !$usage || !may($login, $t, $way eq 'to' ? 's' : 'i') ? 'ERROR:  42501' :
	  # of a table with others below it COPY gives its own rows
	  $way eq 'to' ? ($t eq 'staged_report' ? '' : join(' ', visible($login, $t))) :
	  !$login->{all} || $login->{owner} ? 'ERROR:  0A000' : $tables{$t}{write} ? "ERROR:  $tables{$t}{write}" : '';
	$out = join ' ', sort split /\n/, $out;
	$expect =~ s,/2026\b,,g if $t eq 'entry_excuse';
	$copy{$name}++;
	$copy{wrong} .= "$name $t $way: expected $expect; got $out\n" if $out ne $expect;
}
is($copy{wrong}, undef, 'COPY gives what may be seen, and takes nothing under row level security');
is($copy{$_}, 2 * keys %tables, "$_ tried it with all tables") for 'r_super', 'r_monitor_site';

# ---------------------------------------------------------------------------------------------
# Functions: who may call them, and that no answer tells of what the caller cannot see.
my $readers = 'investigator monitor data_manager auditor';
my $members = "admin $readers statistician";
my $everybody = "$members intake";
my %functions = (
	(map { $_ => 'admin' } 'add_center(text,bigint)', 'create_center(text,text,text,text,text)', 'create_project_with_centers(text,bigint[],text,text,text)',
		'grant_all_centers(name,text)', 'grant_center(name,bigint,text)', 'plan_enrolment(text,bigint,integer,date,date)', 'remove_center(text,bigint,text)',
		'revoke_all_centers(name,text)', 'revoke_center(name,bigint,text)', 'set_center_status(bigint,text,text)', 'set_project_status(text,text,text)',
		'create_instrument(jsonb)', 'import_questionnaire(jsonb,text,text)', 'use_instrument(text,text,boolean,text,date)', 'drop_instrument(text,text,date)',
		'schedule_entries(text,text,jsonb,date)'),
	'excuse_entries(text,tstzrange,text)' => 'investigator data_manager', 'expected_entries(text,daterange)' => "$readers statistician",
	'entry_compliance(text,daterange,timestamp with time zone)' => "$readers statistician",
	(map { $_ => $members } 'instrument_json(text,text)', 'questionnaire_fhir(text,text,text)', 'instrument_in_force(text,text,date)', 'shipped_instruments()',
		'validate_report(text,jsonb,text)', 'report_is_valid(text,jsonb,text)'),
	(map { $_ => 'admin data_manager' } 'create_rule(jsonb)', 'change_rule(text,jsonb,text)', 'retire_rule(text,text)', 'cancel_rule_evaluation(text)'),
	'rule_json(text)' => $members, 'progress()' => $members, 'rule_backtest(jsonb,daterange)' => "$readers statistician",
	(map { $_ => "$readers statistician" } 'generate_report(text,daterange,jsonb)', 'request_report(text,daterange,jsonb)',
		'report_rows(jsonb)', 'report_html(jsonb)', 'report_rows(uuid)', 'report_html(uuid)'),
	(map { $_ => $members } 'cancel_report(uuid)', 'report_activity()'), 'purge_reports(interval)' => 'admin',
	'report_lost(uuid,integer)' => 'auditor',
	(map { $_ => 'investigator monitor' } 'acknowledge_alert(text,uuid,text)', 'close_alert(text,uuid,text)'),
	(map { $_ => 'investigator' } 'enroll_patient(text,text,date,text,bigint,jsonb,text,text,text,date,integer,text,text,integer)',
		'set_patient_status(text,text,date,text)', 'set_patient_time_zone(text,text,timestamp with time zone)', 'transfer_patient(text,bigint,date,text)'),
	'amend_record(text,jsonb,text,integer)' => 'investigator data_manager',
	(map { $_ => $readers } 'find_patients(text,bigint,jsonb,text,integer)', 'get_patient(text)', 'patient_json(text)'),
	'time_zone_at(text,timestamp with time zone)' => "$readers statistician",
	(map { $_ => $members } 'project_json(text)', 'projects_json()', 'sees(bigint,bigint)'),
	(map { $_ => $everybody } 'merge_patch(jsonb,jsonb)', 'record_changes(jsonb,jsonb)', 'require_preload()', 'whoami()'),
	'patient_history(text)' => $readers, 'audit_digest()' => $members, 'seal_audit()' => 'admin auditor worker',
	'redact(regclass,jsonb,text[],text)' => 'data_manager admin',
	(map { $_ => 'auditor' } 'verify_audit(text)', 'audit_apply(jsonb,jsonb)', 'audit_image(jsonb)', 'audit_row_of(record)', 'audit_columns()', 'audit_unguarded()', 'observation_digest(clinical.observation)'),
	(map { $_ => 'admin' } 'stop_workers()', 'start_workers()', 'take_spans(integer)', 'span_counts()'), (map { $_ => 'admin auditor' } 'worker_states()', 'metric_samples()', 'metric_histogram(text)', 'metrics_text()', 'http_metrics()'),
	(map { $_ => '' } 'audit_key_condition(text,jsonb)', 'audit_content_hash(bytea,jsonb,text)', 'audit_redact_changes(jsonb,text[],jsonb)',
		'audit_redact_row(text,jsonb,text[],text)', 'audit_knows(text,jsonb,text)', 'audit_retell(text,jsonb,text[],jsonb,text)',
		'observation_digest_add(internal,clinical.observation)', 'observation_digest_result(internal)',
		'describe_add(internal,any)', 'describe_add(internal,any,bigint)', 'quantile_add(internal,any,any)', 'quantile_add(internal,any,bigint,any)', 'summary_combine(internal,internal)', 'summary_pack(internal)', 'summary_unpack(bytea,internal)', 'describe_numeric(internal)', 'describe_double(internal)', 'quantile_numeric(internal)', 'quantile_double(internal)', 'quantiles_numeric(internal)', 'quantiles_double(internal)'),
	# statistics: those of whatever the caller may see
	(map { $_ => $members } 'describe(numeric)', 'describe(smallint)', 'describe(integer)', 'describe(bigint)', 'describe(double precision)', 'describe(numeric,bigint)', 'quantile_sas(numeric,numeric)', 'quantile_sas(numeric,numeric[])', 'quantile_sas(smallint,numeric)', 'quantile_sas(smallint,numeric[])', 'quantile_sas(integer,numeric)', 'quantile_sas(integer,numeric[])', 'quantile_sas(bigint,numeric)', 'quantile_sas(bigint,numeric[])', 'quantile_sas(numeric,double precision)', 'quantile_sas(numeric,double precision[])', 'quantile_sas(double precision,double precision)', 'quantile_sas(double precision,double precision[])', 'quantile_sas(numeric,bigint,numeric)', 'quantile_sas(numeric,bigint,numeric[])'),
	'submit_report(text,jsonb,uuid,timestamp with time zone,text,text,text,text,text,text)' => 'intake investigator data_manager',
	'submit_reports(jsonb)' => 'intake investigator data_manager', (map { $_ => 'admin data_manager auditor' } 'intake_counts()', 'stat_times()', 'stat_projects()'), 'stat_reset()' => 'admin',
	'submission_status(text,uuid)' => "intake $readers", (map { $_ => 'admin' } 'process_reports(integer)', 'wait_until_drained(interval)'), 'requeue(text,uuid,text,jsonb)' => 'data_manager',
	(map { $_ => 'investigator data_manager' } 'withdraw_submission(text,uuid,text)', 'correct_observation(text,uuid,text,text)'),
	'schedule_report(text,text,jsonb)' => "$readers statistician", 'schedule_retention(text,interval)' => 'admin', 'schedule_entry(bigint)' => '',
	(map { $_ => $members } 'unschedule_report(bigint)', 'run_schedule(bigint,timestamp with time zone)', 'run_schedule_elsewhere(bigint,jsonb)', 'schedule_due(text,text,timestamp with time zone)'),
	# routes: who may call what they call
	(map { ("http_$_") => $everybody } 'problem(integer,text,text,jsonb)', 'error(text,text,text)', 'number(text,text)', 'day(text,text)', 'uuid(text,text)', 'object(text,text[])', 'text(jsonb,text)',
		'quality(text,text[])', 'wants_page(text)', 'segment(text)', 'page(text)', 'report_fault(jsonb)', 'trace_parent(text)', 'submit_status(text)'),
	(map { ("http_$_") => $readers } 'get_patient(text)', 'find_patients(text,text,text,text,text)', 'list_alerts(text,text)', 'stream_alerts(text,text)', 'alert(clinical.alert_worklist)'),
	'http_create_project(text)' => 'admin', 'http_get_project(text)' => $members, 'http_get_submission(text,text)' => "intake $readers",
	(map { ("http_$_") => 'intake investigator data_manager' } 'submit(text,text,text)', 'submit_batch(jsonb,text)'),
	(map { ("http_$_") => "$readers statistician" } 'request_report(text,text)', 'make_report(text,text,text,text,text)', 'get_report(text,text)'),
	'http_cancel_report(text)' => $members, 'http_acknowledge_alert(text,text,text)' => 'investigator monitor',
	'health()' => 'admin auditor', 'check()' => 'auditor', 'role_sees(oid,bigint,bigint)' => '',
	(map { $_ . '()' => '' } qw(audit_ddl audit_guard audit_head audit_row audit_truncate center_check center_history enrollment_event_apply enrollment_event_check entry_excuse_check entry_schedule_check history_guard
		submission_check alert_check intake_check staged_check monitor_changed monitor_corrected monitor_withdrawn monitor_excused monitor_rule_check monitor_rule_changed rule_evaluation_check queue_share_changed instrument_version_changed instrument_version_check project_instrument_check membership_changed membership_check
		patient_check patient_created patient_time_zone_apply patient_time_zone_check project_center_check project_center_history project_check project_history record_changed)));
# What the tables of reports are made of is for the extension alone.
$functions{$_} //= '' for split /\n/, $node->safe_psql('postgres', q{SELECT substr(replace(oid::regprocedure::text, '"', ''), 10) FROM pg_proc
 WHERE pronamespace = 'clinical'::regnamespace AND (proname LIKE 'report\_%' OR obj_description(oid, 'pg_proc') LIKE '%For the extension itself%')});
is(join("\n", sort split /\n/, $node->safe_psql('postgres', q{SELECT substr(replace(oid::regprocedure::text, '"', ''), 10) FROM pg_proc WHERE pronamespace = 'clinical'::regnamespace})),
	join("\n", sort keys %functions), 'the model knows all functions');

sub may_call
{
	my ($login, $function) = @_;
	return 1 if $login->{any};
	return scalar grep { my $role = $_; grep { $_ eq $role } split / /, $functions{$function} } @{ $login->{roles} };
}

sub executable
{
	my ($before) = @_;
	return $node->safe_psql('postgres', "SET client_min_messages = error; BEGIN; $before;" . q{
SELECT l.name, substr(replace(p.oid::regprocedure::text, '"', ''), 10) FROM test.login l, pg_proc p
 WHERE pronamespace = 'clinical'::regnamespace AND has_function_privilege(l.name, p.oid, 'EXECUTE') ORDER BY 1, 2; ROLLBACK});
}
my @executable = sort map { my $l = $_; map { "$l|$_" } grep { may_call($logins{$l}, $_) } keys %functions } keys %logins;
is(join("\n", sort split /\n/, executable('')), join("\n", @executable), 'who may call which function');
isnt(join("\n", sort split /\n/, executable("GRANT EXECUTE ON FUNCTION $_")), join("\n", @executable), "and it is noticed: $_")
  for 'clinical.check() TO clinical_monitor', 'clinical.role_sees(oid, bigint, bigint) TO clinical_auditor', 'clinical.get_patient(text) TO PUBLIC',
	'clinical.audit_redact_row(text, jsonb, text[], text) TO clinical_data_manager', 'clinical.seal_audit() TO clinical_monitor';

# Calls about each patient (P), center (C) and project (J, by code), there or not; of what they give
# for those the caller sees there is the SQLSTATE.
my @calls = (
	[ 'get_patient(text)', q{get_patient('P')}, '00000' ],
	[ 'patient_json(text)', q{patient_json('P')}, '00000' ],
	[ 'time_zone_at(text,timestamp with time zone)', q{time_zone_at('P', '2026-02-15')}, '00000' ],
	[ 'amend_record(text,jsonb,text,integer)', q{amend_record('P', '{"b": 1}', 'r')}, '00000' ],
	[ 'amend_record(text,jsonb,text,integer)', q{amend_record('P', '{"b": 1}', 'r', 77)}, '40001' ],
	[ 'set_patient_status(text,text,date,text)', q{set_patient_status('P', 'completed', '2026-03-01')}, '00000' ],
	[ 'set_patient_status(text,text,date,text)', q{set_patient_status('P', 'screened', '2026-03-01')}, '55000' ],
	[ 'set_patient_time_zone(text,text,timestamp with time zone)', q{set_patient_time_zone('P', 'UTC', '2026-03-01')}, '00000' ],
	[ 'transfer_patient(text,bigint,date,text)', q{transfer_patient('P', C, '2026-03-01', 'r')} ],
	[ 'enroll_patient(text,text,date,text,bigint,jsonb,text,text,text,date,integer,text,text,integer)', q{enroll_patient('new', NULL, NULL, 'J', C)} ],
	[ 'enroll_patient(text,text,date,text,bigint,jsonb,text,text,text,date,integer,text,text,integer)', q{enroll_patient('new', NULL, NULL, 'J', 9001)} ],
	[ 'find_patients(text,bigint,jsonb,text,integer)', q{find_patients('J')}, '00000' ],
	[ 'find_patients(text,bigint,jsonb,text,integer)', q{find_patients('J', C)}, '00000' ],
	[ 'find_patients(text,bigint,jsonb,text,integer)', q{find_patients(center_id => C, record_contains => '{"n": 1}')}, '00000' ],
	[ 'find_patients(text,bigint,jsonb,text,integer)', q{find_patients(after_id => 'P', page_size => 2)} ],
	[ 'find_patients(text,bigint,jsonb,text,integer)', q{find_patients(record_contains => '{"tag": "REC P"}')} ],
	[ 'find_patients(text,bigint,jsonb,text,integer)', q{find_patients(record_contains => '{}')}, '00000' ],
	[ 'project_json(text)', q{project_json('J')}, '00000' ],
	[ 'projects_json()', q{projects_json()}, '00000' ],
	[ 'whoami()', q{whoami()}, '00000' ],
	[ 'health()', q{health()}, '00000' ],
	[ 'check()', q{check()}, '00000' ],
	[ 'add_center(text,bigint)', q{add_center('J', C)} ],
	[ 'remove_center(text,bigint,text)', q{remove_center('J', C, 'r')} ],
	[ 'plan_enrolment(text,bigint,integer,date,date)', q{plan_enrolment('J', C, 1, '2026-01-01', '2026-02-01')} ],
	[ 'set_center_status(bigint,text,text)', q{set_center_status(C, 'suspended', 'r')}, '00000' ],
	[ 'set_project_status(text,text,text)', q{set_project_status('J', 'suspended', 'r')}, '00000' ],
	[ 'grant_center(name,bigint,text)', q{grant_center('r_spare', C, 'J')}, '00000' ],
	[ 'grant_all_centers(name,text)', q{grant_all_centers('r_spare', 'J')}, '00000' ],
	[ 'revoke_center(name,bigint,text)', q{revoke_center('r_spare', C)} ],
	[ 'revoke_all_centers(name,text)', q{revoke_all_centers('r_spare', 'J')} ],
	[ 'create_center(text,text,text,text,text)', q{create_center('x', 'SITE-C')}, '23505' ],
	[ 'create_project_with_centers(text,bigint[],text,text,text)', q{create_project_with_centers('x', '{C}', 'J')} ],
	[ 'sees(bigint,bigint)', q{sees(7001, C)}, '00000' ],
	[ 'patient_history(text)', q{patient_history('P')}, '00000' ],
	[ 'entry_compliance(text,daterange,timestamp with time zone)', q{entry_compliance('P', '[2026-02-01,2026-07-01)')}, '00000' ],
	[ 'expected_entries(text,daterange)', q{expected_entries('P', '[2026-02-01,2026-07-01)')}, '00000' ],
	[ 'excuse_entries(text,tstzrange,text)', q{excuse_entries('P', '[2026-05-01,2026-05-02)', 'r')}, '00000' ],
	[ 'excuse_entries(text,tstzrange,text)', q{excuse_entries('P', '[2026-06-01,2026-06-02)', 'r')}, '00000' ],
	[ 'use_instrument(text,text,boolean,text,date)', q{use_instrument('J', 'INS-A')}, '00000' ],
	[ 'use_instrument(text,text,boolean,text,date)', q{use_instrument('J', 'INS-D')}, 'P0002' ],
	[ 'drop_instrument(text,text,date)', q{drop_instrument('J', 'INS-A')} ],
	[ 'schedule_entries(text,text,jsonb,date)', q{schedule_entries('J', 'INS-B', '{"kind": "daily"}')} ],
	[ 'instrument_in_force(text,text,date)', q{instrument_in_force('J')} ],
	[ 'instrument_in_force(text,text,date)', q{instrument_in_force('J', 'INS-A')} ],
	[ 'instrument_json(text,text)', q{instrument_json('INS-C')} ],
	[ 'questionnaire_fhir(text,text,text)', q{questionnaire_fhir('INS-C')} ],
	[ 'submit_report(text,jsonb,uuid,timestamp with time zone,text,text,text,text,text,text)', q{submit_report('P', '{"a": 1}', '00000000-0000-0000-0000-000000000009')}, '00000' ],
	[ 'submission_status(text,uuid)', q{submission_status('P', '00000000-0000-0000-0000-000000000001')} ],
	[ 'submission_status(text,uuid)', q{submission_status('P', '00000000-0000-0000-0000-000000000002')} ],
	[ 'submit_reports(jsonb)', q{submit_reports('[{"patient_id": "P", "report_data": {"a": 1}, "submission_id": "00000000-0000-0000-0000-000000000009"}]')}, '00000' ],
	[ 'submit_reports(jsonb)', q{submit_reports('[{"patient_id": "P", "report_data": [], "submission_id": "00000000-0000-0000-0000-000000000009"}]')}, '00000' ],
	[ 'process_reports(integer)', q{process_reports(1)}, '00000' ],
	[ 'wait_until_drained(interval)', q{wait_until_drained('0 s')}, '00000' ], [ 'metric_histogram(text)', q{metric_histogram('waiting')}, '00000' ], (map { [ $_, $_, '00000' ] } 'metric_samples()', 'metrics_text()', 'http_metrics()', 'intake_counts()', 'stat_times()', 'stat_projects()', 'stat_reset()'),
	[ 'requeue(text,uuid,text,jsonb)', q{requeue('P', '00000000-0000-0000-0000-000000000002', 'r')} ],
	[ 'withdraw_submission(text,uuid,text)', q{withdraw_submission('P', '00000000-0000-0000-0000-000000000001', 'r')} ],
	[ 'correct_observation(text,uuid,text,text)', q{correct_observation('P', (SELECT id FROM test.observed WHERE patient_id = 'P'), '2', 'r')} ],
	[ 'rule_backtest(jsonb,daterange)', q{rule_backtest('{"code": "x", "kind": "threshold", "severity": "info", "items": [{"item": "a", "range": "[2,9]"}]}', '[2026-01-01,2027-01-01)')}, '00000' ],
	[ 'acknowledge_alert(text,uuid,text)', q{acknowledge_alert('P', (SELECT id FROM test.alerted WHERE patient_id = 'P'))} ],
	[ 'close_alert(text,uuid,text)', q{close_alert('P', (SELECT id FROM test.alerted WHERE patient_id = 'P'), 'r')} ],
	[ 'generate_report(text,daterange,jsonb)', q{generate_report('J', '[2026-01-01,2026-07-01)', '{"by": ["center"]}')} ],
	[ 'request_report(text,daterange,jsonb)', q{request_report('J', '[2026-01-01,2026-07-01)')} ],
	[ 'purge_reports(interval)', q{purge_reports('0')}, '00000' ], [ 'report_activity()', 'report_activity()', '00000' ],
	(map { [ 'cancel_report(uuid)', "cancel_report('$_')" ] } sort keys %made),
	(map { ([ 'report_html(uuid)', "report_html(report_id => '$_')" ], [ 'report_rows(uuid)', "report_rows(report_id => '$_')" ]) } sort keys %made),
	[ 'report_html(jsonb)', q{report_html(document => '{"header": {}, "body": {}}')}, '00000' ], [ 'report_rows(jsonb)', q{report_rows(document => '{}')}, '22023' ],
	[ 'create_rule(jsonb)', q{create_rule(('{"code": "new", "kind": "threshold", "severity": "info", "items": [{"item": "a", "range": "[0,1]"}], "project": "' || 'J' || '"}')::jsonb)}, '00000' ],
	[ 'create_rule(jsonb)', q{create_rule('{"code": "new", "kind": "threshold", "severity": "info", "items": [{"item": "a", "range": "[0,1]"}]}')} ],
	(map { my $rule = $_; map { [ $_->[0], $_->[1] =~ s/RULE/$rule/gr ] }
			[ 'change_rule(text,jsonb,text)', q{change_rule('RULE', '{"kind": "threshold", "severity": "info", "items": [{"item": "a", "range": "[0,1]"}]}', 'r')} ],
			[ 'retire_rule(text,text)', q{retire_rule('RULE', 'r')} ], [ 'cancel_rule_evaluation(text)', q{cancel_rule_evaluation('RULE')} ], [ 'rule_json(text)', q{rule_json('RULE')} ] }
		'RULE-ALL', 'RULE-7001', 'RULE-7003'),
	[ 'schedule_report(text,text,jsonb)', q{schedule_report('J', 'quarterly')}, '55000' ], [ 'schedule_retention(text,interval)', q{schedule_retention('monthly', '1 year')}, '55000' ],
	[ 'unschedule_report(bigint)', 'unschedule_report(1)' ], [ 'run_schedule(bigint,timestamp with time zone)', 'run_schedule(1)' ],
	[ 'run_schedule_elsewhere(bigint,jsonb)', q{run_schedule_elsewhere(1, '{"project": "PROJ-7001", "schedule": "quarterly"}')} ],
	[ 'schedule_due(text,text,timestamp with time zone)', q{schedule_due('month', 'UTC', '2026-04-01')}, '00000' ],
	[ 'http_get_patient(text)', q{http_get_patient('P')}, '00000' ],
	[ 'http_find_patients(text,text,text,text,text)', q{http_find_patients('J', 'C', NULL, NULL, NULL)}, '00000' ],
	[ 'http_create_project(text)', q{http_create_project('{"name": "x", "centerIds": [C]}')}, '00000' ],
	[ 'http_get_project(text)', q{http_get_project('J')}, '00000' ],
	[ 'http_submit(text,text,text)', q{http_submit('{"patientId": "P", "reportData": {"a": 1}, "submissionId": "00000000-0000-0000-0000-000000000009"}')}, '00000' ],
	[ 'http_submit(text,text,text)', q{http_submit('[{"patientId": "P", "reportData": {"a": 1}, "submissionId": "00000000-0000-0000-0000-000000000009"}]')}, '00000' ],
	[ 'http_get_submission(text,text)', q{http_get_submission('P', '00000000-0000-0000-0000-000000000001')}, '00000' ],
	[ 'http_request_report(text,text)', q{http_request_report('J', '{"from": "2026-01-01", "to": "2026-07-01"}')}, '00000' ],
	[ 'http_make_report(text,text,text,text,text)', q{http_make_report('J', '2026-01-01', '2026-07-01', '{"sections": ["status"]}')}, '00000' ],
	(map { ([ 'http_get_report(text,text)', "http_get_report('$_')", '00000' ], [ 'http_cancel_report(text)', "http_cancel_report('$_')", '00000' ]) } sort keys %made),
	[ 'http_list_alerts(text,text)', q{http_list_alerts('J', NULL)}, '00000' ],
	# what has happened in the last hour; without the id to go on from, which is another one each time
	[ 'http_stream_alerts(text,text)', q{http_stream_alerts('J', (SELECT concat_ws('-', m - 3600000000, m, 3, 3, 0) FROM (SELECT (extract(epoch FROM now()) * 1000000)::bigint AS m) x)) g, LATERAL (SELECT substring(g.content FROM '^(.*)id: ')) }, '00000' ],
	[ 'http_acknowledge_alert(text,text,text)', q{http_acknowledge_alert('P', (SELECT id::text FROM test.alerted WHERE patient_id = 'P'))}, '00000' ],
	[ 'shipped_instruments()', q{shipped_instruments()}, '00000' ],
	[ 'validate_report(text,jsonb,text)', q{validate_report('INS-A', '{"a": 1}')} ],
	[ 'report_is_valid(text,jsonb,text)', q{report_is_valid('INS-A', '{"a": 1}')} ],
	[ 'create_instrument(jsonb)', q{create_instrument(test.definition('INS-A', '3'))}, '00000' ],
	[ 'import_questionnaire(jsonb,text,text)', q{import_questionnaire('{"resourceType": "Questionnaire", "id": "x", "item": [{"linkId": "1", "type": "string"}]}')}, '00000' ],
	(map { [ 'redact(regclass,jsonb,text[],text)', "redact($_->[0], 'r')", @$_ > 1 ? $_->[1] : '00000' ] }
		[ q{'clinical.patient', '{"id": "P"}', '{name}'} ], [ q{'clinical.patient', '{"id": "P"}', '{record,tag}'} ], [ q{'clinical.patient', '{"id": "P"}', '{no_such}'}, '22023' ],
		[ q{'clinical.enrollment_event', '{"patient_id": "P", "event_no": 1}', '{reason}'} ], [ q{'clinical.enrollment_event', '{"patient_id": "P", "event_no": 9}', '{reason}'}, 'P0002' ],
		[ q{'clinical.record_version', '{"patient_id": "P", "version": 1}', '{record,tag}'} ], [ q{'clinical.patient_time_zone', '{"patient_id": "P", "event_no": 1}', '{actor}'} ],
		[ q{'clinical.instrument', '{"code": "INS-C"}', '{created_at}'}, undef ],
		[ q{'clinical.center', '{"id": C}', '{name}'}, undef ], [ q{'clinical.project_center', '{"project_id": 7001, "center_id": C}', '{planned_enrolment}'}, undef ],
		[ q{'clinical.audit_record', '{"generation": 1, "xid": "3", "id": C}', '{reason}'}, undef ], [ q{'pg_catalog.pg_authid', '{"oid": C}', '{rolpassword}'}, '22023' ]),
	(map { [ $_, $_, '00000' ] } 'audit_digest()', 'seal_audit()', 'audit_columns()', 'audit_unguarded()', 'worker_states()', 'progress()', 'stop_workers()', 'start_workers()'),
	[ 'verify_audit(text)', 'verify_audit()', '00000' ], [ 'audit_head()', 'audit_head()' ],
	[ 'audit_redact_row(text,jsonb,text[],text)', q{audit_redact_row('patient', '{"id": "P"}', '{name}', 'P')} ],
	[ 'audit_key_condition(text,jsonb)', q{audit_key_condition('patient', '{"id": "P"}')} ]);
my @variants;
for my $call (@calls)
{
	my ($function, $text, $state) = @$call;
	for my $id ($text =~ /\bP\b/ ? (sort(keys %patients), 'pt-nowhere') : '')
	{
		for my $center ($text =~ /\bC\b/ ? (9001 .. 9005, 9999) : '')
		{
			for my $project ($text =~ /'J'/ ? (sort(keys %centers_of), 7999) : '')
			{
				my $sql = $text =~ s/\bP\b/$id/r =~ s/\bC\b/$center/r =~ s/'J'/'PROJ-$project'/r;
				push @variants, { function => $function, text => $text, sql => $sql, state => $state, patient => $id, center => $center, project => $project };
			}
		}
	}
}
my @callers = grep { /_(site|one|none|project)$|^r_(two|admin_site2|member|nobody)$|worker/ } sort keys %logins;
$node->safe_psql('postgres', q{CREATE TABLE test.observed AS SELECT p AS patient_id, coalesce(o.id, gen_random_uuid()) AS id
  FROM (SELECT id FROM clinical.patient UNION ALL VALUES ('pt-nowhere')) q (p) LEFT JOIN clinical.observation o ON o.patient_id = p; GRANT SELECT ON test.observed TO PUBLIC;
CREATE TABLE test.alerted AS SELECT p AS patient_id, coalesce(a.id, gen_random_uuid()) AS id
  FROM (SELECT id FROM clinical.patient UNION ALL VALUES ('pt-nowhere')) q (p) LEFT JOIN clinical.alert a ON a.patient_id = p; GRANT SELECT ON test.alerted TO PUBLIC});
$node->safe_psql('postgres', "SET client_min_messages = error; CREATE TABLE test.call (id int PRIMARY KEY, sql text);\n" .
	join '', map { "INSERT INTO test.call VALUES ($_, \$call\$SELECT f::text FROM clinical.$variants[$_]{sql} f\$call\$);\n" } 0 .. $#variants);

# What the calls of all callers give: those that they may not make, or about what they cannot see, are
# compared with each other; all others must not name what they cannot see.
my %variant = map { my $v = $variants[$_]; (join('|', @$v{qw(text patient center project)}) => $_) } 0 .. $#variants;

sub wrong_answers
{
	my ($before, @callers) = @_;
	my (%answer, @wrong);
	for my $line (split /\n/, $node->safe_psql('postgres', qq{SET client_min_messages = error;\nBEGIN;\n$before;
\\pset fieldsep '\\t'
SELECT l.name, c.id, o.state, replace(o.seen, E'\\n', ' '), replace(o.error, E'\\n', ' ') FROM test.login l, test.call c, LATERAL test.outcome(l.name, NULL, c.sql) o
 WHERE l.name IN (} . join(', ', map { "'$_'" } @callers) . ");\nROLLBACK"))
	{
		my ($name, $id, @rest) = split /\t/, $line, -1;
		$answer{$name}{$id} = \@rest;
	}
	for my $name (@callers)
	{
		my $login = $logins{$name};
		my %hidden_patient = map { $_ => !sees($login, @{ $patients{$_} // [ -1, -1 ] }) } keys %patients;
		for my $i (0 .. $#variants)
		{
			my $v = $variants[$i];
			my ($state, $seen, $error) = @{ $answer{$name}{$i} };
			my $told = "$name $v->{sql}: $state $seen $error";
			if (!may_call($login, $v->{function}))
			{
				push @wrong, "$told: permitted" if $state ne '42501' || $error !~ /^permission denied for (?:function|schema) \w+/;
				next;
			}
			my $patient_there = $v->{patient} eq '' || ($patients{ $v->{patient} } && !$hidden_patient{ $v->{patient} });
			my $center_there = $v->{center} eq '' || ($v->{center} != 9999 && sees_center($login, $v->{center}));
			my $project_there = $v->{project} eq '' || ($v->{project} != 7999 && sees_project($login, $v->{project}));
			my $expected = $v->{state};
			# administrators redact what is about no patient, and nothing else
			$expected = '42501' if $v->{function} =~ /^redact/ && $v->{patient} ne '' && !is_any($login, 'data_manager');
			push @wrong, "$told: expected $expected" if defined $expected && $patient_there && $center_there && $project_there && $state ne $expected;

			# what does not exist for the caller answers like what does not exist
			my $same = $variant{ join '|', $v->{text}, $patient_there ? $v->{patient} : 'pt-nowhere', $center_there ? $v->{center} : 9999,
				$project_there ? $v->{project} : 7999 };
			if ($same != $i)
			{
				my ($mine, $nowhere) = map {
					my ($w, $a) = ($variants[$_], join ' ', @{ $answer{$name}{$_} });
					$a =~ s/\b\Q$w->{center}\E\b/?/g if $w->{center} ne '' && !$center_there;
					$a =~ s/\b\Q$w->{project}\E\b/?/g if $w->{project} ne '' && !$project_there;
					$a
				} $i, $same;
				# where pages begin is no question about a patient
				push @wrong, "$told: differs from $nowhere" if $mine ne $nowhere && $v->{text} !~ /after_id/;
			}
			# nothing is named that the caller cannot see and has not named
			for my $hidden ((grep { $hidden_patient{$_} } keys %patients), (map { "(?:CENTER|SITE)-$_" } grep { !sees_center($login, $_) } 9001 .. 9005),
				(map { "(?:PROJ|TITLE)-$_" } grep { !sees_project($login, $_) } keys %centers_of))
			{
				push @wrong, "$told: names $hidden" if "$seen $error" =~ /\b$hidden(?![\w-])/ && $v->{sql} !~ /\b$hidden(?![\w-])/;
			}
		}
	}
	return @wrong;
}
my @wrong = wrong_answers('', @callers);
is(join("\n", @wrong[ 0 .. ($#wrong < 20 ? $#wrong : 20) ]), '', scalar(@variants) . ' calls by ' . scalar(@callers) . ' logins tell nothing that the caller cannot see');
isnt(scalar(wrong_answers($_, qw(r_monitor_site r_statistician_site))), 0, "and it is noticed: $_")
  for 'ALTER POLICY member ON clinical.patient USING (true)', 'ALTER POLICY member ON clinical.center USING (true)', 'ALTER POLICY member ON clinical.project USING (true)',
	'GRANT EXECUTE ON FUNCTION clinical.get_patient(text) TO clinical_statistician', 'DROP POLICY member ON clinical.patient',
	'GRANT EXECUTE ON FUNCTION clinical.redact(regclass, jsonb, text[], text) TO clinical_monitor', 'REVOKE EXECUTE ON FUNCTION clinical.patient_history(text) FROM clinical_monitor';
isnt(scalar(wrong_answers($_, 'r_data_manager_site')), 0, "and it is noticed: $_")
  for map { "ALTER POLICY member ON clinical.$_ USING (true)" } qw(enrollment_event record_version patient_time_zone project_center);

# ---------------------------------------------------------------------------------------------
# What a matrix has no room for.  These are the patients that two logins see.
my ($site, $one) = ('pt-7001-9001-a pt-7001-9001-b', 'pt-7002-9002-a pt-7002-9002-b');
my $all = join ' ', sort keys %patients;
my $mine = q{SELECT string_agg(id, ' ' ORDER BY id) FROM clinical.patient};

# What a script prints: values, and the SQLSTATE of errors.
sub prints
{
	my ($sql, @options) = @_;
	my $output = '';
	my $input = "\\set VERBOSITY sqlstate\nSET client_min_messages = warning;\n$sql";
	IPC::Run::run([ 'psql', '-X', '-q', '-A', '-t', '-d', $node->connstr('postgres'), @options ], '<', \$input, '>', \$output, '2>&1');
	return $output =~ s/\n\z//r;
}

# Views: of a view that is not security_invoker the rights are its owner's, the centers the caller's;
# but of the view of one whom no policy limits all rows are shown.
is(prints(qq{
CREATE VIEW scratch.invoker WITH (security_invoker) AS SELECT * FROM clinical.patient;
CREATE VIEW scratch.of_other AS SELECT * FROM clinical.patient;
CREATE VIEW scratch.of_super AS SELECT * FROM clinical.patient;
ALTER VIEW scratch.of_other OWNER TO r_monitor_one;
GRANT SELECT ON scratch.invoker, scratch.of_other, scratch.of_super TO PUBLIC;
SET ROLE r_monitor_site;
} . join(';', map { $mine =~ s/clinical.patient/scratch.$_/r } qw(invoker of_other of_super)) . qq{;
SET ROLE r_nobody;
} . join(';', map { $mine =~ s/clinical.patient/scratch.$_/r } qw(invoker of_other of_super))), "$site\n$site\n$all\nERROR:  42501\nERROR:  42501\n$all", 'views');

is(prints(q{
CREATE VIEW scratch.of_admin AS SELECT * FROM clinical.center;
ALTER VIEW scratch.of_admin OWNER TO r_admin_none;
GRANT SELECT ON scratch.of_admin TO PUBLIC;
SET ROLE r_monitor_site;
SELECT count(*) FROM clinical.center;
SELECT count(*) FROM scratch.of_admin}), "1\n5", "an administrator's view of centers");

# The views of the extension give what their reader could select itself.
sub rights_on_views
{
	my ($before) = @_;
	return $node->safe_psql('postgres', "SET client_min_messages = error; BEGIN; $before;" . q{
SELECT l.name, c.relname, string_agg(p, ' ') FROM test.login l, pg_class c, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p
 WHERE relnamespace = 'clinical'::regnamespace AND relkind = 'v' AND l.name !~ '^(r_super|clinical_owner)$' AND has_table_privilege(l.name, c.oid, p)
 GROUP BY l.name, c.relname ORDER BY l.name COLLATE "C", c.relname COLLATE "C"; ROLLBACK});
}
my $rights = join "\n", map { my $l = $_; map { "$l|$_|SELECT" } grep { is_any($logins{$l}, @{ $views{$_} }) } sort keys %views } grep { !$logins{$_}{any} } sort keys %logins;
is(rights_on_views(''), $rights, 'who may read which view');
isnt(rights_on_views($_), $rights, "and it is noticed: $_") for 'GRANT SELECT ON clinical.stat_intake TO clinical_monitor', 'GRANT UPDATE ON clinical.quarantine TO clinical_data_manager';
my @shown = qw(r_data_manager_all r_data_manager_one r_data_manager_none r_auditor_none r_monitor_one r_statistician_one r_intake_all r_nobody);
my %seen_by = (r_data_manager_all => [ 9, 9, 10, 9, 25 ], r_data_manager_one => [ 2, 2, 2, 2, 4 ], r_data_manager_none => [ 0, 0, '', '', '' ], r_auditor_none => [ 9, 9, 10, 9, 25 ],
	r_monitor_one => [ 2, 2 ], r_statistician_one => [ undef, 2 ]);
is(prints("SET ROLE $_; SELECT count(id) FROM clinical.current_observation; SELECT count(*) FROM clinical.analysis_observation; SELECT sum(reports) FROM clinical.quarantine; SELECT sum(accepted) FROM clinical.intake_balance; SELECT sum(received) FROM clinical.intake_balance"),
	join("\n", map { $_ // 'ERROR:  42501' } @{ $seen_by{$_} // [] }[ 0 .. 4 ]), "what $_ sees of observations, quarantine and balance") for @shown;
my $lines = q{SELECT string_agg(DISTINCT coalesce(line::jsonb ->> 'patient_id', line::jsonb ->> 'kind'), ' ' ORDER BY coalesce(line::jsonb ->> 'patient_id', line::jsonb ->> 'kind')) FROM clinical.audit_export};
my @readers = qw(r_admin_all r_intake_all r_investigator_all r_monitor_all r_data_manager_all r_statistician_all r_auditor_none clinical_worker r_nobody);
my $exported = join ' ', sort 'block', 'record', 'nobody', keys %patients;
is(prints(join ';', map { "SET ROLE $_; $lines" } @readers), join("\n", map { $_ eq 'r_auditor_none' ? $exported : 'ERROR:  42501' } @readers), 'the export is for auditors');
is(prints(q{SELECT count(*) = (SELECT count(*) FROM clinical.audit_record) + (SELECT count(*) FROM clinical.audit_block) FROM clinical.audit_export; SET ROLE r_auditor_none;
SELECT count(*) = (SELECT count(*) FROM clinical.audit_record) + (SELECT count(*) FROM clinical.audit_block) FROM clinical.audit_export}), "t\nt", 'and is of all that there is');
my @granted = qw(r_monitor_site r_monitor_none r_investigator_one r_statistician_all);
my $granting = 'GRANT SELECT ON clinical.audit_export TO clinical_monitor, clinical_investigator, clinical_statistician';
my $limited = sub { my ($before) = @_; return prints("BEGIN; $before; " . join ' ', map { "SAVEPOINT a; SET LOCAL ROLE $_; $lines; ROLLBACK TO a; " } @granted) };
is($limited->($granting), join("\n", ('ERROR:  42501') x 4), 'who was granted the view alone gets nothing of it');
my $each = join "\n", $site, '', $one, 'ERROR:  42501';
is($limited->("$granting; GRANT SELECT ON clinical.audit_block TO clinical_monitor, clinical_investigator"), $each, 'with the tables below it, the records of the patients seen, and no seals');
isnt($limited->("$granting; GRANT SELECT ON clinical.audit_block TO clinical_monitor, clinical_investigator; $_"), $each, "and it is noticed: $_")
  for 'ALTER VIEW clinical.audit_export SET (security_invoker = false)', 'ALTER POLICY member ON clinical.audit_record USING (true)', 'CREATE POLICY x ON clinical.audit_block USING (true)';
my $intake = 'SELECT count(places_taken) FROM clinical.stat_intake';
is(prints(join ';', map { "SET ROLE $_; $intake" } @readers), join("\n", map { /admin|auditor|data_manager/ ? 1 : 'ERROR:  42501' } @readers), 'the state of the intake is shown to administrators, data managers and auditors');
is(prints("GRANT SELECT ON clinical.stat_intake TO r_monitor_site; SET ROLE r_monitor_site; $intake; RESET ROLE; REVOKE ALL ON clinical.stat_intake FROM r_monitor_site"), 'ERROR:  42501', 'and to nobody by the view alone');
my $digests = q{SELECT count(*) FROM (SELECT o.patient_id, o.submission_id, clinical.observation_digest(o) AS digest FROM clinical.observation o GROUP BY 1, 2) o
  JOIN clinical.submission s ON s.patient_id = o.patient_id AND s.id = o.submission_id AND s.observations_digest = o.digest};
is(prints(join ';', map { "SET ROLE $_; $digests" } @readers), join("\n", map { /auditor/ ? 9 : 'ERROR:  42501' } @readers), 'auditors compute the digests of observations');
my $workers = 'SELECT count(*) FROM clinical.stat_worker';
is(prints(join ';', map { "SET ROLE $_; $workers" } @readers), join("\n", map { /admin|auditor/ ? prints($workers) : 'ERROR:  42501' } @readers), 'the worker is shown to administrators and auditors');
is(prints("GRANT SELECT ON clinical.stat_worker TO r_monitor_site; SET ROLE r_monitor_site; $workers; RESET ROLE; REVOKE ALL ON clinical.stat_worker FROM r_monitor_site"), 'ERROR:  42501', 'and to nobody by the view alone');

# The records of a patient go with the patient, those that were written before too.
my $told = q{SELECT count(*) > 0, count(DISTINCT patient_id) FROM clinical.audit_record WHERE patient_id = 'pt-7001-9001-a'};
is(prints(qq{BEGIN; SET LOCAL ROLE r_spare; $told; ROLLBACK;
BEGIN; SET LOCAL ROLE r_monitor_site; $told; RESET ROLE;
SET LOCAL ROLE r_investigator_all; SELECT count(clinical.transfer_patient('pt-7001-9001-a', 9002, '2026-03-01', 'r')); RESET ROLE;
SET LOCAL ROLE r_monitor_site; $told; SELECT clinical.patient_history('pt-7001-9001-a'); ROLLBACK;
BEGIN; GRANT clinical_monitor TO r_spare; SET LOCAL ROLE r_spare; $told; RESET ROLE;
SET LOCAL ROLE r_investigator_all; SELECT count(clinical.transfer_patient('pt-7001-9001-a', 9002, '2026-03-01', 'r')); RESET ROLE;
SET LOCAL ROLE r_spare; $told; SELECT count(*) > 20 FROM clinical.patient_history('pt-7001-9001-a'); ROLLBACK}),
	"ERROR:  42501\nt|1\n1\nf|0\nERROR:  P0002\nf|0\n1\nt|1\nt", 'after a transfer the trail is read at the new center');

# A redaction tells of itself, not of what it destroyed; nobody waits for, or is told of, a hidden row.
is(prints(q{BEGIN; SET LOCAL ROLE r_data_manager_site;
SELECT count(*) FROM clinical.redact('clinical.patient', '{"id": "pt-7001-9001-a"}', '{name}', 'r') r WHERE r::text ~ 'NAME';
SELECT name FROM clinical.patient WHERE id = 'pt-7001-9001-a';
RESET ROLE;
SELECT count(*) FROM clinical.audit_record r WHERE r::text ~ 'NAME pt-7001-9001-a';
SELECT fault, place FROM clinical.verify_audit();
ROLLBACK}), "0\n[redacted]\n0", 'a redaction destroys the value and does not show it');
my $locking = $node->background_psql('postgres');
$locking->query_safe(q{BEGIN; SELECT count(*) FROM (SELECT FROM clinical.patient FOR UPDATE) s; SELECT count(*) FROM (SELECT FROM clinical.center FOR UPDATE) s});
is(prints(join ';', 'SET lock_timeout = 2000; SET ROLE r_data_manager_site', map { "SELECT clinical.redact('clinical.$_', 'r')" }
	  q{patient', '{"id": "pt-7002-9003-a"}', '{name}}, q{patient', '{"id": "pt-nowhere"}', '{name}}, q{center', '{"id": 9003}', '{name}}, q{patient', '{"id": "pt-7001-9001-a"}', '{name}}),
	join("\n", ('ERROR:  P0002') x 2, 'ERROR:  42501', 'ERROR:  55P03'), 'and does not wait for a row that is hidden');
$locking->quit;

# Kept plans and functions follow the role in force; a SECURITY DEFINER function sees what its owner sees.
is(prints(qq{
CREATE FUNCTION scratch.kept() RETURNS text LANGUAGE plpgsql AS \$\$ BEGIN RETURN ($mine); END \$\$;
CREATE FUNCTION scratch.definer() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS \$\$ BEGIN RETURN ($mine); END \$\$;
ALTER FUNCTION scratch.definer() OWNER TO r_monitor_one;
SET plan_cache_mode = force_generic_plan;
PREPARE mine AS $mine;
PREPARE got (text) AS SELECT (clinical.get_patient(\$1)).id;
} . join '', map { qq{SET ROLE $_;
EXECUTE mine;
SELECT scratch.kept();
SELECT scratch.definer();
EXECUTE got ('pt-7001-9001-a');
SELECT string_agg(id, ' ') FROM clinical.find_patients();
} } qw(r_monitor_all r_monitor_site r_monitor_none r_auditor_none r_monitor_one)),
	join("\n", $all, $all, $one, 'pt-7001-9001-a', $all, $site, $site, $one, 'pt-7001-9001-a', $site, '', '', $one, 'ERROR:  P0002', '',
		$all, $all, $one, 'pt-7001-9001-a', $all, $one, $one, $one, 'ERROR:  P0002', $one), 'kept plans, and functions');

# Leaks: a function that tells what it is called with is not called with hidden rows.
$node->safe_psql('postgres', q{
CREATE FUNCTION scratch.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'LEAK %', $1; RETURN true; END $$;
CREATE FUNCTION scratch.leak(text, text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'LEAK %', $1; RETURN true; END $$;
CREATE OPERATOR scratch.### (FUNCTION = scratch.leak, LEFTARG = text, RIGHTARG = text, RESTRICT = eqsel);
CREATE OPERATOR scratch.<## (FUNCTION = scratch.leak, LEFTARG = text, RIGHTARG = text, RESTRICT = scalarltsel);
GRANT USAGE ON SCHEMA scratch TO PUBLIC});
my $patients = "SELECT count(*) FROM clinical.patient p";
my @leaks = (
	"$patients WHERE scratch.leak(p.id)", "$patients WHERE scratch.leak(p.name) AND p.center_id IS NOT NULL", "$patients WHERE p.name OPERATOR(scratch.###) 'x'",
	"$patients WHERE p.name OPERATOR(scratch.<##) 'x'", "EXPLAIN $patients WHERE p.name OPERATOR(scratch.<##) 'x'", "EXPLAIN $patients WHERE p.id OPERATOR(scratch.###) 'x'",
	"$patients WHERE (p.record ->> 'n')::int > 0", "$patients WHERE p.id >= 'pt-7' AND scratch.leak(p.record::text)", "$patients TABLESAMPLE SYSTEM (100) WHERE scratch.leak(p.id)",
	"$patients JOIN clinical.enrollment_event e ON scratch.leak(e.patient_id) AND scratch.leak(p.id)", "$patients LEFT JOIN clinical.record_version v ON scratch.leak(v.record::text)",
	'SELECT (SELECT count(*) FROM clinical.patient p WHERE scratch.leak(p.id || o.code)) FROM clinical.project o WHERE scratch.leak(o.name)',
	'SELECT p.id FROM clinical.patient p ORDER BY scratch.leak(p.id) LIMIT 1', 'SELECT count(*) FROM clinical.patient p GROUP BY scratch.leak(p.id)',
	'SELECT count(*) FILTER (WHERE scratch.leak(p.id)) FROM clinical.patient p', 'SELECT DISTINCT scratch.leak(p.id) FROM clinical.patient p',
	'SELECT p.id FROM clinical.patient p WHERE scratch.leak(p.id) FOR UPDATE', 'SELECT count(*) FROM clinical.patient_time_zone z WHERE scratch.leak(z.patient_id)',
	'SELECT count(*) FROM clinical.center c WHERE scratch.leak(c.name)', 'SELECT count(*) FROM clinical.project_event c WHERE scratch.leak(c.center_id::text)',
	'SELECT count(*) FROM clinical.project_center c WHERE scratch.leak(c.center_id::text)', 'SELECT count(*) FROM clinical.center_event c WHERE scratch.leak(c.center_id::text)',
	'SELECT count(*) FROM clinical.audit_record r WHERE scratch.leak(r.patient_id)', 'SELECT count(*) FROM clinical.audit_record r WHERE scratch.leak(r.row_key::text)',
	"SELECT count(*) FROM clinical.audit_record r WHERE r.patient_id >= 'pt-7' AND scratch.leak(r.changes::text)", q{SELECT count(*) FROM clinical.audit_record r WHERE (r.row_key ->> 'id') OPERATOR(scratch.###) 'x'},
	"$patients LEFT JOIN clinical.audit_record r ON r.patient_id = p.id AND scratch.leak(r.changes::text)",
	q{SELECT clinical.patient_history(p.id) FROM clinical.patient p WHERE scratch.leak(p.id)},
	'SELECT count(*) FROM clinical.membership m WHERE scratch.leak(m.role::text)', q{UPDATE clinical.patient SET race = 'x' WHERE scratch.leak(id)},
	q{UPDATE clinical.patient SET race = 'x' RETURNING scratch.leak(id)}, q{UPDATE clinical.patient p SET race = 'x' FROM clinical.enrollment_event e WHERE scratch.leak(e.patient_id || p.id)},
	q{MERGE INTO clinical.patient t USING (VALUES (1)) s (k) ON scratch.leak(t.id) WHEN MATCHED AND scratch.leak(t.name) THEN UPDATE SET race = 'x'},
	q{MERGE INTO clinical.patient t USING clinical.record_version s ON t.id = s.patient_id AND scratch.leak(s.record::text) WHEN MATCHED THEN DO NOTHING},
	sprintf($patient, $other, 7001, 9001, q{ON CONFLICT (id) DO UPDATE SET race = 'y' WHERE scratch.leak(patient.name)}),
	'COPY (SELECT p.id FROM clinical.patient p WHERE scratch.leak(p.name)) TO STDOUT', q{SELECT count(*) FROM pg_stats s WHERE scratch.leak(s::text) AND schemaname = 'clinical'});
my $debug_parallel = $node->safe_psql('postgres', q{SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query') ORDER BY 1 LIMIT 1});
for my $settings ('', "SET enable_seqscan = off; SET enable_bitmapscan = off;", "SET $debug_parallel = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;")
{
	my ($told, $states) = ('', '');
	for my $statement (@leaks)
	{
		my $output = prints("SET client_min_messages = notice; SET clinical.reason = 'test'; SET ROLE r_investigator_site; $settings BEGIN; $statement; ROLLBACK");
		my $named = join ' ', grep { $output =~ /\b$_(?![\w-])/ && $statement !~ /\b$_(?![\w-])/ && !sees($logins{r_investigator_site}, @{ $patients{$_} }) } sort keys %patients;
		$named .= ' center' if $output =~ /\b(?:CENTER-)?900[345]\b/;
		$named .= ' role' if $output =~ /LEAK r_(?!investigator_site)/;
		$told .= "$statement: $named\n" if $named ne '';
		my ($state) = $output =~ /ERROR:  (\w+)/;
		$states .= "$statement: $state\n" if defined $state && $state ne ($statement =~ /ON CONFLICT/ ? '42501' : '');
	}
	is("$told$states", '', "nothing leaks ($settings)");
	is(prints("$settings SET ROLE r_monitor_site; $mine"), $site, "and the rows are right ($settings)");
}
is(prints("SET client_min_messages = notice; SELECT scratch.leak(id) FROM clinical.patient WHERE id = '$own'"), "NOTICE:  00000\nt", 'the function tells');
is(prints("SET client_min_messages = notice; \\set VERBOSITY default\nBEGIN; ALTER POLICY member ON clinical.patient USING (true); SET ROLE r_investigator_site; $patients WHERE scratch.leak(p.id)") =~ /LEAK pt-7002/, 1, 'and it is seen to, where a policy is open');

# Errors of constraints name no more than the caller has said.
for my $case ([ sprintf($patient, $other, 7001, 9001, ''), 'duplicate key value violates unique constraint "patient_pkey"' ],
	[ "SELECT clinical.enroll_patient('$other', NULL, NULL, 'PROJ-7001', 9001)", 'patient already exists' ])
{
	is($node->safe_psql('postgres', "SELECT state, split_part(error, 'SQL statement', 1) FROM test.outcome('r_investigator_site', 'patient', \$\$$case->[0]\$\$)") =~ s/[| ]+\z//r,
		"23505|$case->[1]", "an id that is taken at another center: $case->[1]");
}

# Sequences, and what else roles of the server may let one do.
is($node->safe_psql('postgres', q{
SELECT string_agg(DISTINCT o.state, ' ') FROM pg_class s, test.login l, LATERAL test.outcome(l.name, NULL, format('SELECT nextval(%L)::text', s.oid::regclass)) o
 WHERE relkind = 'S' AND relnamespace = 'clinical'::regnamespace AND l.name !~ 'super|owner'}), '42501', 'sequences');
is(prints(q{
CREATE ROLE r_reader LOGIN; GRANT pg_read_all_data TO r_reader;
SET ROLE r_reader;
SELECT * FROM clinical.patient;
SELECT * FROM clinical.center;
SELECT * FROM clinical.membership;
SELECT * FROM clinical.staged_report;
SELECT * FROM clinical.staged_report_0;
SELECT * FROM clinical.staged_report_retry;
SELECT clinical.get_patient('pt-moved')}), "ERROR:  42501\nERROR:  42501\nERROR:  42501", 'pg_read_all_data goes around no policy');

# A patient who came from a center that the caller does not see.
is(prints(q{
SELECT count(clinical.enroll_patient('pt-came', NULL, NULL, 'PROJ-7001', 9001, effective_on => '2026-01-10'));
SELECT count(clinical.transfer_patient('pt-came', 9002, '2026-02-01', 'moved'));
UPDATE clinical.center SET time_zone = 'Asia/Tokyo' WHERE id = 9001;
SET ROLE r_spare;
SELECT clinical.time_zone_at('pt-came', '2026-01-15');
RESET ROLE;
GRANT clinical_investigator TO r_spare;
SET ROLE r_spare;
SELECT clinical.time_zone_at('pt-came', '2026-01-15'), clinical.time_zone_at('pt-came', '2026-02-15');
SELECT time_zone, count(*) FROM clinical.expected_entries('pt-came', '[2026-01-10,2026-02-05)') GROUP BY 1 ORDER BY 1;
SELECT count(clinical.set_patient_status('pt-came', 'completed', '2026-02-10'));
RESET ROLE;
REVOKE clinical_investigator FROM r_spare}), "1\n1\nERROR:  42501\nAsia/Tokyo|UTC\nAsia/Tokyo|23\nUTC|3\n1", 'a patient who came from a hidden center');
$all = join ' ', sort 'pt-came', keys %patients;

# row_security off: an error for who is limited, and no harm for who is not.
is(prints(qq{SET row_security = off;
SELECT count(*) FROM clinical.find_patients();
SELECT id FROM clinical.enroll_patient('pt-off', NULL, NULL, 'PROJ-7001', 9001, effective_on => '2026-01-10');
SELECT status FROM clinical.set_patient_status('pt-off', 'died', '2026-01-10');
SELECT login = role FROM clinical.whoami();
SET ROLE r_monitor_site;
SELECT count(*) FROM clinical.find_patients();
SELECT clinical.get_patient('pt-7001-9001-a');
SELECT role FROM clinical.whoami()}), "12\npt-off\ndied\nt\nERROR:  42501\nERROR:  42501\nr_monitor_site", 'row_security off');
$site .= ' pt-off';
$all .= ' pt-off';

# Grants that are rolled back, to a savepoint and in a block with an exception.
is(prints(qq{BEGIN;
SET LOCAL ROLE r_monitor_none; $mine; RESET ROLE;
SAVEPOINT a;
SELECT center_id FROM clinical.grant_center('r_monitor_none', 9001);
SET LOCAL ROLE r_monitor_none; $mine; RESET ROLE;
SAVEPOINT b;
SELECT center_id FROM clinical.revoke_center('r_monitor_none', 9001);
SET LOCAL ROLE r_monitor_none; $mine; RESET ROLE;
ROLLBACK TO b;
SET LOCAL ROLE r_monitor_none; $mine; RESET ROLE;
ROLLBACK TO a;
SET LOCAL ROLE r_monitor_none; $mine; RESET ROLE;
DO \$\$ BEGIN PERFORM clinical.grant_all_centers('r_monitor_none'); PERFORM set_config('role', 'r_monitor_none', true); PERFORM count(*) FROM clinical.patient; RAISE 'undo'; EXCEPTION WHEN raise_exception THEN NULL; END \$\$;
SET LOCAL ROLE r_monitor_none; $mine; RESET ROLE;
SELECT center_id FROM clinical.grant_center('r_monitor_none', 9001);
SET LOCAL ROLE r_monitor_none; $mine;
ROLLBACK;
SET ROLE r_monitor_none; $mine}), "\n9001\n$site\n9001\n\n$site\n\n\n9001\n$site\n", 'grants that are rolled back');

# Cursors: what one WITH HOLD has read is kept; another asks for the role that fetches.
is(prints(qq{
SET ROLE r_monitor_all;
BEGIN;
DECLARE held CURSOR WITH HOLD FOR $mine;
COMMIT;
BEGIN;
DECLARE open CURSOR FOR SELECT id FROM clinical.patient ORDER BY id;
SET LOCAL ROLE r_monitor_none;
FETCH ALL FROM open;
COMMIT;
SET ROLE r_monitor_site;
FETCH ALL FROM held;
$mine}), "$all\n$site", 'cursors and SET ROLE');

# NOINHERIT: nothing until SET ROLE, and then what that role may; and no way to the owner.
is(prints(qq{$mine;
SELECT clinical.whoami();
SET ROLE r_group_inv; $mine;
SELECT role, login, roles FROM clinical.whoami();
SET ROLE r_group_mon; $mine;
SELECT clinical.amend_record('pt-7002-9002-a', '{"x": 1}', 'r');
SET ROLE clinical_investigator; $mine;
SET ROLE clinical_owner;
SET ROLE clinical_worker;
SET SESSION AUTHORIZATION r_super;
SET clinical.restore = on;
SET session_replication_role = replica}, '-U', 'r_noinherit'),
	"ERROR:  42501\nERROR:  42501\n$site\nr_group_inv|r_noinherit|{clinical_investigator}\n$one\nERROR:  42501\n" . ("\nERROR:  42501\nERROR:  42501\nERROR:  42501\nERROR:  42501\nERROR:  42501"),
	'a login that inherits nothing');

# ---------------------------------------------------------------------------------------------
# Another session grants and revokes: that counts from the next statement on.
sub admin { my ($sql) = @_; $node->safe_psql('postgres', "SET client_min_messages = warning; SET clinical.reason = 'test'; $sql"); return; }

# Run statements in a session of a login's own; a code reference runs in between.
sub session_is
{
	my ($name, $user, @steps) = @_;
	my $test = pop @steps;
	my $session = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', $user, '-v', 'VERBOSITY=sqlstate' ]);
	my @got;
	for my $step (@steps)
	{
		if (ref $step) { $step->(); next; }
		my $output = $session->query($step);
		push @got, $output ne '' || $session->{stderr} !~ /ERROR:  (\w+)/ ? $output : $1;
		$session->{stderr} = '';
	}
	$session->quit;
	is(join("\n", @got), join("\n", @$test), $name);
	return;
}
my ($revoke, $grant) = map { my $sql = "SELECT count(clinical.${_}_center('r_monitor_site', 9001))"; sub { admin($sql) } } qw(revoke grant);
my @session = ('BEGIN', "PREPARE mine AS $mine", 'EXECUTE mine', $revoke, 'EXECUTE mine', $mine, $grant, 'EXECUTE mine', 'COMMIT');
my @answers = ('', '', $site, '', '', $site, '');
session_is("revoked meanwhile, $_", 'r_monitor_site', "SET default_transaction_isolation = '$_'", @session, [ '', @answers ]) for 'read committed', 'repeatable read', 'serializable';
session_is('revoked meanwhile, kept plan', 'r_monitor_site', 'SET plan_cache_mode = force_generic_plan', @session, [ '', @answers ]);
session_is('revoked meanwhile, in functions', 'r_monitor_site', 'SELECT scratch.kept()', $revoke, 'SELECT scratch.kept()', "SELECT clinical.get_patient('$own')",
	"SELECT clinical.find_patients()", $grant, 'SELECT scratch.kept()', [ $site, '', 'P0002', '', $site ]);
session_is('cursors keep what their statement began with', 'r_monitor_site', 'BEGIN', "DECLARE open CURSOR FOR SELECT id FROM clinical.patient ORDER BY id",
	"DECLARE held CURSOR WITH HOLD FOR SELECT id FROM clinical.patient ORDER BY id", 'FETCH FROM open', $revoke, 'FETCH FROM open', $mine, 'COMMIT', 'FETCH FROM held', $mine, $grant,
	[ '', '', '', 'pt-7001-9001-a', 'pt-7001-9001-b', '', '', '', '' ]);
session_is('the role of clinical is revoked', 'r_monitor_site', $mine, sub { admin('REVOKE clinical_monitor FROM r_monitor_site') }, $mine,
	sub { admin('GRANT clinical_monitor TO r_monitor_site') }, $mine, [ $site, '42501', $site ]);
session_is("also in an open transaction: $_", 'r_monitor_site', 'BEGIN', "PREPARE call AS $_", 'EXECUTE call', 'EXECUTE call', sub { admin('REVOKE clinical_monitor FROM r_monitor_site') }, 'EXECUTE call', 'ROLLBACK',
	sub { admin('GRANT clinical_monitor TO r_monitor_site') }, 'EXECUTE call', [ '', '', 't', 't', '42501', '', 't' ])
  for "SELECT count(*) > 0 FROM clinical.patient", "SELECT (clinical.get_patient('$own')).id IS NOT NULL", 'SELECT count(*) > 0 FROM clinical.find_patients()',
	"SELECT clinical.patient_json('$own') IS NOT NULL", "SELECT clinical.time_zone_at('$own', now()) IS NOT NULL";
session_is('so is an auditor', 'r_auditor_none', "PREPARE mine AS $mine", 'EXECUTE mine', sub { admin('GRANT clinical_monitor TO r_auditor_none; REVOKE clinical_auditor FROM r_auditor_none') },
	'EXECUTE mine', $mine, sub { admin('REVOKE clinical_monitor FROM r_auditor_none; GRANT clinical_auditor TO r_auditor_none') }, $mine, [ '', $all, '', '', $all ]);
my $centers = 'SELECT count(*) FROM clinical.center';
session_is('and an administrator, behind kept plans', 'r_admin_site2', 'SET plan_cache_mode = force_generic_plan', "PREPARE centers AS $centers", 'EXECUTE centers', 'SELECT jsonb_array_length(clinical.projects_json())',
	sub { admin('REVOKE clinical_admin FROM r_admin_site2') }, 'EXECUTE centers', 'SELECT jsonb_array_length(clinical.projects_json())',
	sub { admin('GRANT clinical_admin TO r_admin_site2') }, 'EXECUTE centers', [ '', '', 5, 4, 1, 1, 5 ]);
session_is('a membership of a membership is revoked', 'r_member', $mine, sub { admin('REVOKE r_group_inv FROM r_middle') }, $mine,
	sub { admin('GRANT r_group_inv TO r_middle') }, $mine, [ $site, '42501', $site ]);
session_is('a group gets another center', 'r_member', $mine, sub { admin("SELECT count(clinical.grant_center('r_group_inv', 9002, 'PROJ-7002'))") }, $mine,
	sub { admin("SELECT count(clinical.revoke_center('r_group_inv', 9002, 'PROJ-7002'))") }, $mine, [ $site, join(' ', sort split(/ /, "$site $one")), $site ]);
session_is('BYPASSRLS comes and goes', 'r_monitor_site', "PREPARE mine AS $mine", 'EXECUTE mine', sub { admin('ALTER ROLE r_monitor_site BYPASSRLS') }, 'EXECUTE mine', $mine,
	"SELECT string_agg(id, ' ') FROM clinical.find_patients()", sub { admin('ALTER ROLE r_monitor_site NOBYPASSRLS') }, 'EXECUTE mine', $mine, "SELECT string_agg(id, ' ') FROM clinical.find_patients()",
	[ '', $site, $all, $all, $all, $site, $site, $site ]);
session_is('a grant that is prepared counts when it is committed', 'r_monitor_none', $mine,
	sub { admin("BEGIN; SELECT count(clinical.grant_center('r_monitor_none', 9001)); PREPARE TRANSACTION 'granted'") }, $mine, sub { admin(q{COMMIT PREPARED 'granted'}) }, $mine,
	sub { admin("SELECT count(clinical.revoke_center('r_monitor_none', 9001))") }, $mine, [ '', '', $site, '' ]);
session_is('rows of membership written and removed directly', 'r_monitor_none', $mine, sub { admin(q{INSERT INTO clinical.membership (role, center_id) VALUES ('r_monitor_none', 9001)}) }, $mine,
	sub { admin(q{DELETE FROM clinical.membership WHERE role = 'r_monitor_none'::regrole}) }, $mine, [ '', $site, '' ]);
session_is('a role that is renamed keeps its centers', 'r_monitor_site', $mine, sub { admin('ALTER ROLE r_monitor_site RENAME TO r_renamed') }, $mine,
	sub { admin('ALTER ROLE r_renamed RENAME TO r_monitor_site') }, $mine, [ $site, $site, $site ]);
session_is('a role that is dropped and made again has none', 'r_monitor_project', $mine,
	sub { admin('DROP ROLE r_monitor_project; CREATE ROLE r_monitor_project LOGIN; GRANT clinical_monitor TO r_monitor_project') }, $mine,
	[ join(' ', sort grep { /^pt-(7001|moved|came|off)/ } split / /, $all), '42501' ]);
is(prints("$mine;\nSELECT centers IS NULL, problem FROM clinical.whoami()", '-U', 'r_monitor_project'), "\nt|No center is granted to the role: see grant_center.", 'also in a new session');
is($node->safe_psql('postgres', 'SELECT invariant, detail FROM clinical.check()'), 
	'membership is of the role that it was granted to|role r_monitor_project was dropped, renamed or not restored: revoke this, and grant it to whom it belongs', 'and what is left over is found');
admin('DELETE FROM clinical.membership m WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = m.role)');
is($node->safe_psql('postgres', 'SELECT count(*) FROM clinical.check()'), 0, 'all is sound');

# ---------------------------------------------------------------------------------------------
# pg_dump: refused under row level security, also where all rows would be seen.
$node->safe_psql('postgres', 'CREATE ROLE r_backup LOGIN BYPASSRLS; GRANT pg_read_all_data TO r_backup');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$node->command_fails_like([ 'pg_dump', '-U', $_->[0], '-f', $dump, '-d', $node->connstr('postgres'), '-t', 'clinical.*', '-e', 'clinical' ], $_->[1], "pg_dump as $_->[0]")
  for [ 'r_auditor_all', qr/permission denied|row-level security|may lack SELECT privilege/ ], [ 'r_monitor_site', qr/permission denied|row-level security|may lack SELECT privilege/ ], [ 'r_reader', qr/row-level security/ ];
for my $user ('r_super', 'r_backup')
{
	$node->command_ok([ 'pg_dump', '-U', $user, '-f', $dump, '-d', $node->connstr('postgres'), '-N', 'test' ], "pg_dump as $user");
	is(scalar(() = slurp_file($dump) =~ /^pt-\S+\t700/mg), 13, 'has all patients');
}

done_testing();
