# Whatever a report has in it, its sender gets an answer or an error of his own (no XX000), and what was taken
# in ends as accepted or in quarantine with a reason that says what is wrong, never as "failed".
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use Intake;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = intake_node('values');
switch_workers($node, 'off');
$node->safe_psql('postgres', q{
SELECT clinical.enroll_patient('Z' || g, NULL, NULL, 'IN', 1, effective_on => '2010-01-01') FROM generate_series(1, 3) g;
SELECT clinical.use_instrument('IN', 'diary', true, '1', '0001-01-01');
SELECT clinical.set_patient_time_zone('Z2', 'Asia/Tokyo', '2025-06-01 00:00+00')});
my $deep = $node->psql('postgres', "SET max_stack_depth = '6MB'") == 0 ? "SET max_stack_depth = '6MB';" : '';
note 'the system gives no stack of 6 MB' unless $deep;

# Submits, processes, and says what became of it: the SQLSTATE, "accepted", or the reason of quarantine.
my $number = 0;
sub becomes
{
	my ($data, $captured, $zone, $patient) = @_;
	my $id = report_id(++$number);
	$captured = $captured ? "'$captured'" : "'2025-02-01 10:00+00'";
	$zone = $zone ? "'$zone'" : 'NULL';
	$patient //= 'Z1';
	my $state = sqlstate($node, 'postgres', "$deep SELECT outcome FROM clinical.submit_report('$patient', $data, '$id', $captured, time_zone => $zone)");
	return $state if $state ne '00000';
	$state = sqlstate($node, 'postgres', 'SELECT clinical.process_reports()');
	return "processing: $state" if $state ne '00000';
	return $node->safe_psql('postgres', "SELECT coalesce(reason_code || coalesce(' ' || (detail ->> 'sqlstate'), ''), status) FROM clinical.submission_status('$patient', '$id')");
}

# The answers.
my $anything = qr/^(accepted|wrong_type|out_of_range|too_large|too_deep|unknown_item)$/;
for my $case (
	[ 'empty object', q('{}'), 'missing_item' ], [ 'no object', q('[1]'), '22023' ], [ 'null', q('null'), '22023' ], [ 'a number', q('1'), '22023' ],
	[ 'SQL NULL', 'NULL', '22023' ], [ 'answer null', q('{"n": null}'), qr/^(missing_item|wrong_type)$/ ],
	[ '10,000 levels of objects', q((repeat('{"n":', 10000) || '1' || repeat('}', 10000))::jsonb), qr/^(too_deep|wrong_type|54001)$/ ],
	[ '10,000 levels below another', q(('{"n": 1, "note": ' || repeat('[', 10000) || repeat(']', 10000) || '}')::jsonb), qr/^(too_deep|wrong_type|54001)$/ ],
	[ '3,000 levels', q((repeat('{"n":', 3000) || '1' || repeat('}', 3000))::jsonb), qr/^(too_deep|wrong_type)$/ ],
	[ 'a text of 900 kB', q(jsonb_build_object('n', 1, 'note', repeat('long ', 180000))), qr/^(accepted|too_large)$/ ],
	[ 'a text of 900 kB that does not compress', q(jsonb_build_object('n', 1, 'note', (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 28125) g))), qr/^(accepted|too_large)$/ ],
	[ 'as much as fits', q(jsonb_build_object('n', 1, 'note', repeat('x', 1048500))), qr/^(accepted|too_large)$/ ],
	[ 'a little too much', q(jsonb_build_object('n', 1, 'note', repeat('x', 1048576))), '54000' ],
	[ 'much too much', q(jsonb_build_object('n', 1, 'note', repeat('x', 9000000))), '54000' ],
	[ 'NaN as text', q('{"n": "NaN"}'), 'wrong_type' ], [ 'NaN', q('{"n": NaN}'), '22P02' ], [ 'Infinity', q('{"n": 1, "d": Infinity}'), '22P02' ],
	[ 'NaN of numeric', q(jsonb_build_object('n', 'NaN'::numeric)), qr/^(wrong_type|22P02|22023)$/ ],
	[ '1e308', q('{"n": 1, "d": 1e308}'), $anything ], [ '1e308 for an integer', q('{"n": 1e308}'), $anything ], [ '1e400', q('{"n": 1, "d": 1e400}'), $anything ],
	[ '1e131071', q('{"n": 1, "d": 1e131071}'), $anything ], [ '1e131072', q('{"n": 1, "d": 1e131072}'), '22003' ], [ '1e999999999', q('{"n": 1, "d": 1e999999999}'), '22003' ],
	[ '1e-1000', q('{"n": 1, "d": 1e-1000}'), $anything ], [ '1e-16383', q('{"n": 1, "d": 1e-16383}'), $anything ], [ 'minus nothing', q('{"n": -0, "d": -0.000}'), 'accepted' ],
	[ '100,000 digits', q(('{"n": 1, "d": ' || repeat('9', 100000) || '}')::jsonb), $anything ], [ '100,000 digits of an integer', q(('{"n": ' || repeat('9', 100000) || '}')::jsonb), $anything ],
	[ '15,000 decimals', q(('{"n": 1, "d": 0.' || repeat('9', 15000) || '}')::jsonb), $anything ], [ 'half a number', q('{"n": 1.5}'), 'wrong_type' ], [ 'a number in a text', q('{"n": "1"}'), 'wrong_type' ],
	[ '10,000 keys', q((SELECT jsonb_object_agg('k' || g, g) || '{"n": 1}' FROM generate_series(1, 10000) g)), 'unknown_item' ],
	[ 'keys twice', q('{"n": 1, "n": 2}'), 'accepted' ], [ 'no name', q('{"n": 1, "": 2}'), 'unknown_item' ], [ 'a name of 900 kB', q(jsonb_build_object('n', 1, repeat('k', 900000), 2)), 'unknown_item' ],
	[ 'unicode', q(E'{"n": 1, "note": "\\\\u00e9 \\\\ud83d\\\\ude00 \\u202e e\\u0301 \\U0010FFFF \\uFEFF"}'), 'accepted' ], [ 'names in unicode', q('{"n": 1, "ñ😀": 2}'), 'unknown_item' ],
	[ 'NUL', q('{"n": 1, "note": "\u0000"}'), '22P05' ], [ 'half a surrogate', q('{"n": 1, "note": "\ud83d"}'), '22P02' ], [ 'control characters', q('{"n": 1, "note": "\u0001\u001f\u007f"}'), 'accepted' ],
	[ 'no JSON', q('{"n": 1'), '22P02' ], [ 'no UTF-8', q(E'{"note": "\xff"}'), '22021' ],
	[ '20,000 repeats', q((SELECT jsonb_build_object('n', jsonb_agg(g)) FROM generate_series(1, 20000) g)), qr/^(wrong_type|too_large|out_of_range)$/ ],
	[ 'FHIR of nothing', q('{"resourceType": "QuestionnaireResponse"}'), qr/^(missing_item|wrong_type|disagrees)$/ ], [ 'another resource', q('{"resourceType": "Patient"}'), qr/^(missing_item|wrong_type|unknown_item|disagrees)$/ ],
	[ 'FHIR, deep', q(('{"resourceType": "QuestionnaireResponse", "status": "completed", "item": ' || repeat('[{"linkId": "n", "item": ', 2500) || '[]' || repeat('}]', 2500) || '}')::jsonb), qr/^(too_deep|unknown_item|wrong_type|missing_item)$/ ])
{
	my ($name, $data, $expected) = @$case;
	ref $expected ? like(becomes($data), $expected, $name) : is(becomes($data), $expected, $name);
}

# The moments: on which day of the patient's life they are, whatever the clocks do.
for my $case (
	[ 'before midnight, winter', '2025-03-29 22:59:59+00', undef, 'Z1', '2025-03-29' ], [ 'midnight', '2025-03-29 23:00+00', undef, 'Z1', '2025-03-30' ],
	[ 'before the hour that there is not', '2025-03-30 00:59:59+00', undef, 'Z1', '2025-03-30' ], [ 'after it', '2025-03-30 01:00+00', undef, 'Z1', '2025-03-30' ],
	[ 'midnight, summer', '2025-03-30 22:00+00', undef, 'Z1', '2025-03-31' ], [ 'the hour that comes twice', '2025-10-26 00:30+00', undef, 'Z1', '2025-10-26' ],
	[ 'again', '2025-10-26 01:30+00', undef, 'Z1', '2025-10-26' ], [ 'the end of 25 hours', '2025-10-26 22:59:59+00', undef, 'Z1', '2025-10-26' ], [ 'the next', '2025-10-26 23:00+00', undef, 'Z1', '2025-10-27' ],
	[ 'a zone that skips a day, before', '2011-12-30 09:59:59+00', 'Pacific/Apia', 'Z1', '2011-12-29' ], [ 'after', '2011-12-30 10:00+00', 'Pacific/Apia', 'Z1', '2011-12-31' ],
	[ 'furthest east', '2025-01-01 10:00+00', 'Pacific/Kiritimati', 'Z1', '2025-01-02' ], [ 'furthest west', '2025-01-01 11:59+00', 'Etc/GMT+12', 'Z1', '2024-12-31' ],
	[ 'half an hour of summer', '2025-10-04 15:30+00', 'Australia/Lord_Howe', 'Z1', '2025-10-05' ], [ 'before the patient moved', '2025-05-31 20:00+00', undef, 'Z2', '2025-05-31' ],
	[ 'after', '2025-06-01 20:00+00', undef, 'Z2', '2025-06-02' ], [ 'the device knows better', '2025-06-01 20:00+00', 'Europe/Amsterdam', 'Z2', '2025-06-01' ],
	[ 'a leap day', '2024-02-29 22:59+00', undef, 'Z1', '2024-02-29' ], [ 'the first day', '2010-01-01 00:00+01', undef, 'Z1', '2010-01-01' ])
{
	my ($name, $captured, $zone, $patient, $day) = @$case;
	is(becomes(q('{"n": 1}'), $captured, $zone, $patient), 'accepted', "$name: accepted");
	is($node->safe_psql('postgres', "SELECT local_day, captured_at = '$captured' FROM clinical.submission WHERE id = '" . report_id($number) . "'"), "$day|t", "$name: on $day");
}
for my $case (
	[ 'the day before the first', '2009-12-31 23:59:59+01', 'captured_before_enrolment' ], [ 'year 1', '0001-01-01 00:00+00', 'captured_before_enrolment' ],
	[ 'year 1 BC', '0001-12-31 23:00+00 BC', 'captured_before_enrolment' ], [ 'year 4713 BC', '4713-01-01 00:00+00 BC', 'captured_before_enrolment' ],
	[ 'the first moment', '4714-11-24 00:00+00 BC', 'captured_before_enrolment' ], [ 'year 9999', '9999-12-31 23:59:59+00', 'captured_in_future' ], [ 'year 10000', '10000-01-01 00:00+00', 'captured_in_future' ],
	[ 'the last moment', '294276-12-31 23:59:59.999999+00', 'captured_in_future' ], [ 'infinity', 'infinity', '22023' ], [ 'minus infinity', '-infinity', '22023' ], [ 'no day', '2025-02-30', '22008' ])
{
	for my $zone (undef, 'Pacific/Kiritimati', 'Etc/GMT+12')
	{
		my ($name, $captured, $expected) = @$case;
		$expected = qr/^(accepted|captured_before_enrolment)$/ if $name eq 'the day before the first' && $zone;
		# where the zone's clock shows a moment that there is not, it may be refused at once
		$expected = qr/^($expected|22008)$/ if !ref $expected && $name =~ /^the (first|last) moment/;
		$name .= ' in ' . ($zone // 'the own zone');
		ref $expected ? like(becomes(q('{"n": 1}'), $captured, $zone), $expected, $name) : is(becomes(q('{"n": 1}'), $captured, $zone), $expected, $name);
	}
}
is(becomes(q('{"n": 1}'), undef, 'Mars/Phobos'), '22023', 'no such zone');

# The worker does the same with its smaller stack, and goes on.
switch_workers($node, 'on');
my $deepest = $deep ? 10000 : 3000;
$node->safe_psql('postgres', "$deep SELECT outcome FROM clinical.submit_report('Z3', (repeat('{\"n\":', $deepest) || '1' || repeat('}', $deepest))::jsonb, '" . report_id(++$number) . "')");
is(outcome($node, 'postgres', "clinical.submit_report('Z3', '{\"n\": 1}', '" . report_id(++$number) . "', '2025-02-01 10:00+00')"), 'queued', 'a neighbour');
drained($node, 'postgres', 'with a worker', 20);
is($node->safe_psql('postgres', "SELECT status FROM clinical.submission_status('Z3', '" . report_id($number) . "')"), 'accepted', 'the neighbour is accepted');
is($node->safe_psql('postgres', q{SELECT reason_code, detail, count(*) FROM clinical.set_aside WHERE reason_code = 'failed' GROUP BY 1, 2}), '', 'nothing "failed"');
is($node->safe_psql('postgres', q{SELECT outcome, count(*) FROM clinical.set_aside WHERE outcome <> 'quarantined' GROUP BY 1}), '', 'nothing was taken for another');
cmp_ok($node->safe_psql('postgres', q{SELECT coalesce(max(length(detail::text)), 0) FROM clinical.set_aside}), '<', 1000000, 'no detail is longer than what it is about');
sound($node, 'postgres', 'at the end', 1);
is(log_count($node, 'PANIC|TRAP|terminated by signal|ERROR:?  ?XX|ERROR XX'), 0, 'no error of ours');

done_testing();
