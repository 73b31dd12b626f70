# Differential test: random histories, delivered in random order by several sessions, processed in random
# batches by several workers, with corrections, withdrawals, duplicates and crashes in between: at each
# rest the alerts are those of a window query over the readings that hold.
#
#   CLINICAL_SEED=...       replays a run, as far as processes keep step
#   CLINICAL_HISTORIES=...  so many patients (200)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use List::Util qw(shuffle min);
use Monitor;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{CLINICAL_SEED} // int(rand(2**31));
my $histories = $ENV{CLINICAL_HISTORIES} // 200;
my $phases = 6;
srand($seed);
note("CLINICAL_SEED=$seed");

my $node = monitor_node('monitor_oracle', 'clinical.max_workers = 4', 'max_worker_processes = 16');
$node->safe_psql('postgres', streaks_sql());

# One of a list.
sub one { return $_[ int rand @_ ] }

# Does it happen, with that probability?
sub chance { return rand() < $_[0] }

# A rule, for the module and for the query.
sub watch
{
	my ($code, $days, %more) = @_;
	my %items = (systolic => '[90,140]', $more{two} ? (diastolic => '(50,90)') : ());
	my $items = join ', ', map { qq({"item": "$_", "range": "$items{$_}"}) } sort keys %items;
	my ($aggregate, $gap, $start, $least) = ($more{aggregate} // 'any', $more{gap} // 0, $more{day_start} // '00:00', $more{min_readings} // 1);
	$node->safe_psql('postgres', join "\n", map { "INSERT INTO test.watch VALUES ('$code', '$_', '$items{$_}', $days, '$aggregate', $gap, '$start', $least);" } keys %items);
	rule($node, 'postgres', $code, items => "[$items]", days => $days, aggregate => qq("$aggregate"), gap => $gap,
		day_start => qq("$start"), min_readings => $least, severity => qq("info"));
}
sub watch_first
{
	watch('any', 3);
	watch('long', 5);
	watch('one', 1, aggregate => 'median');
	watch('gap', 3, gap => 1);
	watch('start', 3, day_start => '04:00');
	watch('two', 3, two => 1);
	watch('mean', 3, aggregate => 'mean', gap => 2);
	watch('last', 2, aggregate => 'last');
}
sub watch_later
{
	watch('all', 2, aggregate => 'all');
	watch('median', 3, aggregate => 'median', day_start => '03:30', gap => 1);
	watch('min', 2, aggregate => 'min', two => 1);
	watch('max', 3, aggregate => 'max', min_readings => 2, gap => 3);
	watch('late last', 2, aggregate => 'last', day_start => '05:00', min_readings => 2);
	watch('many', 2, aggregate => 'mean', min_readings => 2, two => 1, gap => 1);
}

# A report: moments lie around the days on which clocks change, values at the bounds and around them.
my @zones = qw(Europe/Amsterdam America/Los_Angeles Asia/Tokyo Pacific/Auckland America/New_York Asia/Kathmandu);
my $number = 0;
sub report
{
	my ($patient, $day, $zone, $bad) = @_;
	my $hour = chance(0.4) ? one('00:10', '01:30', '02:30', '03:30', '03:59', '04:00', '23:50') : sprintf '%02d:%02d', int rand 24, int rand 60;
	my %values;
	my @out = (141, 140.5, 180, 89.9, 60);
	$values{systolic} = $bad ? one(@out, 140) : one(90, 120, 140, 130, chance(0.1) ? @out : 120) if chance(0.9);
	$values{diastolic} = $bad ? one(95, 90, 50, 45) : one(50.1, 70, 89.9, chance(0.1) ? 90 : 80) if chance(0.5) || !%values;
	return { patient => $patient, id => report_id(++$number, int rand 2**32), at => "$day $hour", zone => $zone, values => \%values };
}

# The history of a patient: bad times and good ones, missing days, several readings a day, travel.
sub history
{
	my ($patient) = @_;
	my $zone = one(@zones);
	my $begin = one('2025-03-18', '2025-10-14', '2025-10-25', '2025-03-01', '2025-09-20');
	my $bad = chance(0.5);
	my @reports;
	for my $offset (0 .. 12 + int rand 25)
	{
		$zone = one(@zones) if chance(0.05);
		$bad = !$bad if chance(0.25);
		next if chance(0.15);
		push @reports, report($patient, "(date '$begin' + $offset)", $zone, $bad) for 1 .. (chance(0.6) ? 1 : 2 + int rand 3);
	}
	return @reports;
}

# SQL that submits reports, in calls of several, and tells the query about them.
sub submit_sql
{
	my (@reports) = @_;
	my $sql = '';
	while (my @call = splice @reports, 0, 1 + int rand 40)
	{
		my $rows = join ', ', map {
			my $report = $_;
			my $data = '{' . join(', ', map { qq("$_": $report->{values}{$_}) } keys %{ $report->{values} }) . '}';
			my ($day, $hour) = $report->{at} =~ /^(.*) (\S+)$/;
			"('$report->{patient}', '$report->{id}', ($day + time '$hour') AT TIME ZONE '$report->{zone}', '$report->{zone}', '$data')"
		} @call;
		$sql .= qq{
DO \$\$ BEGIN
CREATE TEMP TABLE these ON COMMIT DROP AS SELECT * FROM (VALUES $rows) v (patient, id, at, zone, data);
INSERT INTO test.reading SELECT DISTINCT t.patient, d.key, d.value::numeric, t.at, t.zone, t.id::uuid FROM these t, jsonb_each_text(t.data::jsonb) d
 ORDER BY 6, 2 ON CONFLICT DO NOTHING;
PERFORM clinical.submit_reports((SELECT jsonb_agg(jsonb_build_object('patient_id', patient, 'submission_id', id, 'captured_at', at, 'time_zone', zone, 'report_data', data::jsonb)) FROM these));
END \$\$;
};
	}
	return $sql;
}

# SQL that corrects a value of a report, or withdraws it.
sub change_sql
{
	my ($report) = @_;
	my $where = "o.patient_id = '$report->{patient}' AND o.submission_id = '$report->{id}'";
	if (chance(0.3))
	{
		$report->{withdrawn} = 1;
		return "BEGIN; SELECT FROM clinical.withdraw_submission('$report->{patient}', '$report->{id}', 'test');
UPDATE test.reading SET valid = false WHERE submission = '$report->{id}'; COMMIT;\n";
	}
	my $item = one(keys %{ $report->{values} });
	my $value = one(140, 141, 90, 95, 120, 45, 50, 200);
	return "BEGIN; SELECT FROM clinical.observation o, clinical.correct_observation(o.patient_id, o.id, '$value', 'test') WHERE $where AND o.item = '$item' AND o.version = 1;
UPDATE test.reading SET value = $value WHERE submission = '$report->{id}' AND item = '$item'; COMMIT;\n";
}

# SQL by which somebody handles some alerts. One that is retracted or closed in the meantime cannot be.
my $handle = q{DO $$
DECLARE
    a record;
BEGIN
    FOR a IN SELECT patient_id, id, status = 'open' AND hashtext(id::text) % 5 = 0 AS new FROM clinical.alert
              WHERE status = 'open' AND hashtext(id::text) % 5 = 0 OR status IN ('open', 'acknowledged') AND hashtext(id::text) % 7 = 0
    LOOP
        BEGIN
            IF a.new THEN
                PERFORM clinical.acknowledge_alert(a.patient_id, a.id);
            ELSE
                PERFORM clinical.close_alert(a.patient_id, a.id, 'test');
            END IF;
        EXCEPTION WHEN SQLSTATE '55000' THEN
            IF (SELECT status = 'open' OR status = 'acknowledged' AND NOT a.new FROM clinical.alert WHERE id = a.id) THEN
                RAISE;
            END IF;
        END;
    END LOOP;
END $$;
};

# One with another may be a deadlock, as of two who change two patients: nobody does so here.
sub run_sessions
{
	my ($crash, @sql) = @_;
	my @sessions = map { my $s = session($node, 'postgres', '-v', 'ON_ERROR_STOP=1'); ask($s, $_); $s } @sql;
	my @answers = map { answers($_) } @sessions;
	is(scalar(grep { !defined || /ERROR/ } @answers), 0, 'all sessions got through') or diag(map { $_->{error} } @sessions);
	return map { end_session($_) } @sessions unless $crash;
	kill_postmaster($node);
	start_again($node);
}

# The alerts are those that must be.
sub as_they_must_be
{
	my ($phase) = @_;
	kick_workers($node, 'postgres');
	drained($node, 'postgres', $phase, 120);
	ok(evaluated($node, 'postgres'), "$phase: all rules are evaluated");
	is($node->safe_psql('postgres', q{SELECT patient_id, detail FROM clinical.set_aside WHERE outcome = 'quarantined'}), '', "$phase: no report failed");
	my $differences = differences($node, 'postgres');
	is($differences, '', "$phase: alerts are as they must be (CLINICAL_SEED=$seed)");
}

my @reports;
for my $i (1 .. $histories)
{
	$node->safe_psql('postgres', "SELECT clinical.enroll_patient('H$i', NULL, NULL, 'MON', 1, effective_on => '2025-01-10')");
	push @reports, history("H$i");
}
note(scalar(@reports) . ' reports');
watch_first();
my @waiting = shuffle(@reports);
my @there;
my $share = 1 + int(@waiting / $phases);
for my $phase (1 .. $phases)
{
	my @now = splice @waiting, 0, $share;
	# what is sent again, in this phase or since an earlier one
	my @sent = shuffle(@now, grep({ chance(0.1) } @now), grep({ chance(0.02) && !$_->{withdrawn} } @there));
	my @changed = grep { chance(0.05) && !$_->{withdrawn} } @there;
	my @sql;
	set_up($node, 'clinical.batch_size' => one(1, 7, 50, 1000));
	while (my @part = splice @sent, 0, 1 + int($share / 3)) { push @sql, submit_sql(@part) }
	push @sql, join('', map { change_sql($_) } @changed) . $handle if @changed;
	watch_later() if $phase == 3;
	run_sessions($phase == 2 || $phase == 5, @sql);
	as_they_must_be("phase $phase");
	push @there, @now;
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT status FROM clinical.submission EXCEPT VALUES ('accepted'), ('withdrawn')) s}), 0, 'all reports are accepted');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM test.streak'), '>', $histories, 'there is something to be found');

# What a back-test of each rule finds is the same.
is($node->safe_psql('postgres', q{
SELECT count(*) FROM (
    SELECT r.code, b.patient_id, b.onset, b.trigger_day, b.last_day, b.out_days FROM clinical.monitor_rule r, clinical.rule_backtest(clinical.rule_json(r.code), '(,)') b
    EXCEPT SELECT * FROM test.streak) d}), 0, 'back-tests find nothing else');
is($node->safe_psql('postgres', q{
SELECT count(*) FROM (
    SELECT * FROM test.streak
    EXCEPT SELECT r.code, b.patient_id, b.onset, b.trigger_day, b.last_day, b.out_days FROM clinical.monitor_rule r, clinical.rule_backtest(clinical.rule_json(r.code), '(,)') b) d}), 0, 'and all of it');
sound($node, 'postgres', 'at the end', 1);

done_testing();
