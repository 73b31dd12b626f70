# Questionnaires and answers of others: the FHIR examples of several publishers, and all answers of
# the CDISC pilot study to instruments made from its list of items.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $data = ($ENV{CLINICAL_SHARED} // '') . '/data';
my ($fhir, $study) = ("$data/exchange/fhir", "$data/cdiscpilot01");
plan skip_all => 'no real data: CLINICAL_SHARED does not name a folder that has them'
  unless $ENV{CLINICAL_SHARED} && -r "$study/questionnaires.csv" && -d $fhir;

my $node = PostgreSQL::Test::Cluster->new('instrument');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION clinical');

# FHIR's XML as its JSON, for the elements that the examples have: those that may be there more
# than once are arrays.
my %list = map { $_ => 1 } qw(extension item answer useContext coding subjectType code);
my %typed = (valueInteger => 'number', valueDecimal => 'number', required => 'bool', repeats => 'bool', valueBoolean => 'bool');

sub from_xml
{
	my ($text) = @_;
	$text =~ s/<\?.*?\?>|<!--.*?-->//gs;
	my ($root) = $text =~ /<(\w+) xmlns/;
	my @stack = ({ resourceType => $root });
	while ($text =~ m{<(/?)(\w+)((?:\s+[\w:]+="[^"]*")*)\s*(/?)>}g)
	{
		my ($end, $name, $attributes, $empty) = ($1, $2, $3, $4);
		next if $name eq $root;
		if ($end) { pop @stack; next; }
		my ($value) = $attributes =~ /\bvalue="([^"]*)"/;
		my ($url) = $attributes =~ /\burl="([^"]*)"/;
		if (defined $value)
		{
			$value =~ s/&quot;/"/g; $value =~ s/&lt;/</g; $value =~ s/&gt;/>/g; $value =~ s/&apos;/'/g; $value =~ s/&amp;/&/g;
			$value += 0 if ($typed{$name} // '') eq 'number';
			$value = $value eq 'true' ? JSON::PP::true : JSON::PP::false if ($typed{$name} // '') eq 'bool';
		}
		my $child = $value // (defined $url ? { url => $url } : {});
		# of a useContext the code is one Coding
		if ($list{$name} && !($name eq 'code' && exists $stack[-1]{valueCodeableConcept} || $name eq 'code' && $stack[-1]{in_context} || $name eq 'code' && $stack[-1]{in_coding}))
		{
			push @{ $stack[-1]{$name} }, $child;
		}
		else { $stack[-1]{$name} = $child; }
		if (!$empty)
		{
			$child->{in_context} = 1 if $name eq 'useContext';
			$child->{in_coding} = 1 if $name eq 'coding' || $name eq 'code';
			push @stack, $child;
		}
	}
	my $strip;
	$strip = sub {
		my ($node) = @_;
		if (ref $node eq 'HASH') { delete @{$node}{qw(in_context in_coding)}; $strip->($_) for values %$node; }
		elsif (ref $node eq 'ARRAY') { $strip->($_) for @$node; }
		return $node;
	};
	return JSON::PP->new->utf8->encode($strip->($stack[0]));
}

sub document
{
	my ($file) = @_;
	my $text = slurp_file("$fhir/$file");
	utf8::encode($text) if utf8::is_utf8($text);
	return $file =~ /\.xml$/ ? from_xml($text) : $text;
}

# Runs a statement with a document as its only parameter; its rows, or the error with its detail.
sub ask
{
	my ($sql, $document) = @_;
	my $tag = 'd' . ('x' x 20);
	my ($rc, $out, $err) = $node->psql('postgres', $sql =~ s/\$1/\$$tag\$$document\$$tag\$/gr);
	return $rc == 0 ? $out : join ' ', $err =~ /ERROR:  (.*)/, $err =~ /DETAIL:  (.*)/;
}

# Each questionnaire is imported, or refused by name.
my %questionnaires = (
	'questionnaire-example-phq9.json' => 'questionnaire-example-phq9|0.0.0|14',
	'questionnaire-example-dast.json' => 'questionnaire-example-dast|0.0.0|14',
	'questionnaire-example-sampler.json' => 'questionnaire-example-sampler|0.0.0|26',
	'lforms-hidden-item-questionnaire.R4.json' => 'calculatedExpression|1|8',
	'lforms-weightHeightQuestionnaire.json' => 'Weight & Height tracking panel|2.56|5',
	'sdc-Questionnaire-trivia-questionnaire.xml' => 'trivia-questionnaire|1|20',
	# two of its options have a text and no code, so that answers could not be told apart by code
	'lforms-questionnaire-calculatedExpression.json' => 'questionnaire cannot be imported The questionnaire has no id, url or name to be called by.');
for my $file (sort keys %questionnaires)
{
	my $answer = ask('SELECT instrument, version FROM clinical.import_questionnaire($1)', document($file));
	$answer .= '|' . $node->safe_psql('postgres', "SELECT count(*) FROM clinical.instrument_item WHERE instrument = '$1'") if $answer =~ /^(.*)\|/;
	is($answer, $questionnaires{$file}, "questionnaire $file");
}
is(ask(q{SELECT clinical.import_questionnaire($1, 'named')}, document('lforms-questionnaire-calculatedExpression.json')),
	'questionnaire cannot be imported Item "oneCoding": An answer option has no code, so that answers could not be told apart.', 'and by its item');

# Each export is imported as the same version again.
is($node->safe_psql('postgres', q{SELECT count(*), bool_and((SELECT o.id FROM clinical.import_questionnaire(clinical.questionnaire_fhir(v.instrument, v.version, r)) o) = v.id)
  FROM clinical.instrument_version v, unnest('{R4,R5}'::text[]) r}), '12|t', 'there and back');
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT item || '=' || (c ->> 'score'), ' ') FROM clinical.instrument_item i, jsonb_array_elements(i.code_list) c
  WHERE instrument = 'questionnaire-example-dast' AND item IN ('g1.q2', 'g1.q3')}), 'g1.q2=0 g1.q2=1 g1.q3=0 g1.q3=1', 'options keep their scores');

# Each response is judged by its questionnaire; those whose questionnaire is missing, by another.
my %responses = (
	'questionnaireresponse-example-phq9.json' => [ 'questionnaire-example-phq9', '10|' ],
	'questionnaireresponse-example-dast.json' => [ 'questionnaire-example-dast', '10|' ],
	'questionnaireresponse-example-sampler.json' => [ 'questionnaire-example-sampler', '12|' ],
	'lforms-hidden-item-questionnaire-response.R4.json' => [ 'calculatedExpression', '6|' ],
	'sdc-QuestionnaireResponse-trivia-response.xml' => [ 'trivia-questionnaire', '20|' ],
	# an adaptive one answers a questionnaire of its own, with other items, in another order
	'adaptive-questionnaireresponse-example-phq9.json' => [ 'questionnaire-example-phq9',
		'3|disagrees:questionnaire,missing_item:required,unknown_item:item' ],
	'questionnaireresponse-example-audit-c.json' => [ 'questionnaire-example-phq9', '0|disagrees:questionnaire,missing_item:required,unknown_item:item' ],
	'questionnaireresponse-example-housing.json' => [ 'questionnaire-example-phq9', '0|disagrees:questionnaire,missing_item:required,unknown_item:item' ],
	'lforms-questionnaire-response-allinone-cwe-userdata.json' => [ 'trivia-questionnaire', '0|unknown_item:item' ],
	'sdc-QuestionnaireResponse-Cardiology-MariaSantos.json' => [ 'trivia-questionnaire', '0|disagrees:questionnaire,unknown_item:item' ]);
for my $file (sort keys %responses)
{
	my ($instrument, $expected) = @{ $responses{$file} };
	is(ask(qq{SELECT count(*) FILTER (WHERE kind = 'observation'), string_agg(DISTINCT reason_code || ':' || check_id, ',' ORDER BY reason_code || ':' || check_id) FILTER (WHERE soft_hard = 'Hard')
  FROM clinical.validate_report('$instrument', \$1)}, document($file)), $expected, "response $file");
}
opendir(my $dir, $fhir) or die "cannot open $fhir: $!";
is_deeply([ sort grep { !exists $questionnaires{$_} && !exists $responses{$_} } grep { /\.(json|xml)$/ } readdir $dir ], [], 'that is all of them');

# The study: an instrument for each category, an item for each test, within the published bounds.
# Decimals where the study has them: totals that were imputed, and three answers.
$node->safe_psql('postgres', qq{
CREATE SCHEMA study;
CREATE TABLE study.item (qscatcd text, qscat text, qsscat text, qstestcd text, qstest text, n_rows int, min numeric, max numeric);
CREATE TABLE study.answer (usubjid text, qsseq int, qscatcd text, qstestcd text, qsorres text, qsstresn text, qsblfl text, qsdrvfl text, visitnum text, visit text, qsdtc text, qsdy int);
COPY study.item FROM '$study/questionnaire_items.csv' (FORMAT csv, HEADER);
COPY study.answer FROM '$study/questionnaires.csv' (FORMAT csv, HEADER);
} . q{
CREATE FUNCTION study.definition(category text, version text, decimals text[]) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('code', category, 'version', version, 'title', min(qscat), 'items', jsonb_agg(jsonb_build_object('code', qstestcd, 'label', qstest,
        'type', CASE WHEN qstestcd = ANY (decimals) THEN 'decimal' ELSE 'integer' END,
        'checks', jsonb_build_array(jsonb_build_object('id', 'min', 'comparator', 'GE', 'values', jsonb_build_array(min), 'soft_hard', 'Hard'),
                                    jsonb_build_object('id', 'max', 'comparator', 'LE', 'values', jsonb_build_array(max), 'soft_hard', 'Hard'))) ORDER BY qstestcd))
      FROM study.item WHERE qscatcd = category
$$;
SELECT clinical.create_instrument(study.definition(c, 'integers', '{}')), clinical.create_instrument(study.definition(c, 'exact', '{ACTOT,NPTOT,ACITM01,ACITM10}'))
  FROM (SELECT DISTINCT qscatcd FROM study.item) s (c);
-- the total is of 11 of the 14 items, and imputed in proportion to what the answered ones can add
SELECT clinical.create_instrument(study.definition('ADAS-COG', 'scored', '{ACTOT,ACITM01,ACITM10}') || '{"scores": [{"code": "total", "method": "prorated", "decimals": 10, "min_answered": 8,
    "items": ["ACITM01", "ACITM02", "ACITM04", "ACITM05", "ACITM06", "ACITM07", "ACITM08", "ACITM11", "ACITM12", "ACITM13", "ACITM14"], "maxima": [10, 5, 5, 5, 5, 8, 12, 5, 5, 5, 5]}]}');
CREATE TABLE study.report AS
    SELECT usubjid, qscatcd AS category, visitnum, qsdtc, jsonb_object_agg(qstestcd, CASE WHEN qsstresn = '' OR qsstresn IS NULL THEN 'null' ELSE qsstresn::jsonb END) AS data
      FROM study.answer GROUP BY 1, 2, 3, 4;
});

# A figure of the study.
sub figure
{
	my ($name, $expected, $sql) = @_;
	return is($node->safe_psql('postgres', $sql), $expected, $name);
}

figure('answers and reports', '121749|5071', 'SELECT (SELECT count(*) FROM study.answer), (SELECT count(*) FROM study.report)');
figure('all are valid', '5071|5071', q{SELECT count(*), count(*) FILTER (WHERE clinical.report_is_valid(category, data, 'exact')) FROM study.report});
figure('each answer is an observation, but the 25 that were not given', '121724|0', q{
SELECT count(*), count(*) FILTER (WHERE kind <> 'observation') FROM study.report, LATERAL clinical.validate_report(category, data, 'exact')});
figure('and exactly the one that was given', '0', q{
SELECT count(*) FROM study.answer a JOIN study.report r ON (r.usubjid, r.category, r.visitnum, r.qsdtc) = (a.usubjid, a.qscatcd, a.visitnum, a.qsdtc)
  JOIN LATERAL (SELECT * FROM clinical.validate_report(r.category, r.data, 'exact') v WHERE v.item = a.qstestcd) v ON true
 WHERE v.value::text IS DISTINCT FROM a.qsstresn AND a.qscatcd IN ('ADAS-COG', 'CIBIC')});
figure('28 are no integers', "ACITM01|2\nACITM10|1\nACTOT|23\nNPTOT|2", q{
SELECT item, count(*) FROM study.report, LATERAL clinical.validate_report(category, data, 'integers') WHERE reason_code = 'wrong_type' AND soft_hard = 'Hard' GROUP BY 1 ORDER BY 1});
figure('and nothing else is wrong', '28', q{SELECT count(*) FROM study.report, LATERAL clinical.validate_report(category, data, 'integers') WHERE kind = 'finding'});
figure('one beyond a bound is found', 'ACITM02|out_of_range|max', q{
SELECT item, reason_code, check_id FROM clinical.validate_report('ADAS-COG', '{"ACITM02": 6}', 'exact') WHERE kind = 'finding'});
# the study's own totals, where it computed one, against the score of the same answers
figure('totals as the study has them, 23 of them imputed', '818|818|23', q{
SELECT count(*), count(*) FILTER (WHERE round(v.value, 6) = round((r.data ->> 'ACTOT')::numeric, 6)), count(*) FILTER (WHERE v.value <> trunc(v.value))
  FROM study.report r, LATERAL clinical.validate_report(category, data, 'scored') v WHERE r.category = 'ADAS-COG' AND v.kind = 'score' AND v.value IS NOT NULL AND r.data -> 'ACTOT' <> 'null'});
figure('sound', '', 'SELECT * FROM clinical.check()');

done_testing();
