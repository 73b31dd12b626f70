# A report's document and page: what the JSON Schema says of the one, and what strangers' names can
# do to the other.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('report_html');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clinical'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION clinical');
$node->safe_psql('postgres', slurp_file('test/report_document.sql'));

my $dir = $node->basedir;
my $json = JSON::PP->new->canonical->allow_nonref->ascii;
my $sample = $json->decode($node->safe_psql('postgres', 'SELECT test.report_document()'));

# Puts a document, as JSON, into the table of documents; gives its number.
$node->safe_psql('postgres', 'CREATE TABLE document (id serial, document jsonb)');
sub store
{
	my ($document) = @_;
	my $text = $json->encode($document);
	return $node->safe_psql('postgres', "INSERT INTO document (document) VALUES (\$document\$$text\$document\$) RETURNING id");
}

# Python's answer to a program, of lines.
sub python
{
	my ($program, @arguments) = @_;
	my ($out, $err) = run_command([ '/usr/bin/python3', '-c', $program, @arguments ]);
	diag($err) if $err;
	return split /\n/, $out;
}

# The sample is valid, and what is generated; what the schema is there to refuse is not.
$node->safe_psql('postgres', q{SELECT clinical.create_center('One', 'S1', 'Europe/Oslo'); SELECT clinical.create_project_with_centers('Project', '{1}', 'P');
SELECT clinical.plan_enrolment('P', 1, 10, '2026-01-01', '2026-06-30'); SELECT clinical.enroll_patient('P1', 'Ada', '1950-01-01', 'P', 1, '{"arm": "A"}', 'F', effective_on => '2026-01-10')});
my $generated = $json->decode($node->safe_psql('postgres', q{SELECT clinical.generate_report('P', '[2026-01-01,2026-04-01)', '{"by": ["arm"]}')}));
cmp_ok(scalar(map { @{ $_->{tables} } } values %{ $generated->{body} }), '>', 15, 'a generated report has tables');
my @documents = ($sample, $generated);
sub broken
{
	my ($break) = @_;
	my $copy = $json->decode($json->encode($sample));
	$break->($copy);
	push @documents, $copy;
}
my $ages = sub { $_[0]->{body}{demographics}{tables}[0] };
broken(sub { delete $_[0]->{header} });
broken(sub { delete $_[0]->{sha256} });
broken(sub { $_[0]->{sha256} = 'none' });
broken(sub { $_[0]->{body}{more} = $_[0]->{body}{status} });
broken(sub { pop @{ $_[0]->{header}{period} } });
broken(sub { $_[0]->{header}{period}[1] = 'soon' });
broken(sub { $_[0]->{header}{cutoff} = '2026-10-01' });
broken(sub { $_[0]->{body}{status}{tables} = {} });
broken(sub { $ages->($_[0])->{name} = 'Age' });
broken(sub { $ages->($_[0])->{columns} = [] });
broken(sub { $ages->($_[0])->{columns}[1]{kind} = 'number' });
broken(sub { $ages->($_[0])->{columns}[1]{name} = 'by' });
broken(sub { delete $ages->($_[0])->{rows}[0]{by} });
broken(sub { $ages->($_[0])->{rows}[0]{by} = { arm => 1 } });
broken(sub { $ages->($_[0])->{rows}[0]{n} = [] });
broken(sub { $ages->($_[0])->{rows}[0]{decimals} = -1 });
append_to_file("$dir/documents", join('', map { $json->encode($_) . "\n" } @documents));
my @valid = python(<<'EOP', 'doc/report.schema.json', "$dir/documents");
import json, sys
import jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for line in open(sys.argv[2]):
    print("t" if validator.is_valid(json.loads(line)) else "f")
EOP
is(join(' ', @valid), join(' ', 't', 't', ('f') x 16), 'the schema takes both, and nothing that is broken');

# What the names of patients, centers, arms and all else may be.
my @names = (
	'</title><script>alert(1)</script>', '"><img src=x onerror=alert(1)>', q{' onload='alert(1)' x='}, '</style><style>*{display:none}</style>', '<!-- ', ' -->', ']]>', '<![CDATA[',
	'&lt;script&gt;&amp;amp;', '<svg/onload=alert(1)>', '</svg></desc></text><a href="javascript:alert(1)">', "a\tb\nc\rd", "\x01\x08\x0b\x1b\x1f\x7f\x85", "\x{202e}gnp.exe\x{2066}\x{2028}", "\x{fffe}\x{ffff}",
	"\x{1f600} \x{65e5}\x{672c}\x{8a9e} \x{200f}\x{5d0}", '%s%n%d', '\\', '{{7*7}}', 'x' x 5000, 'url(http://example.org/x)', '', ' ');

# Puts a name in the place of each string that is not of the document's own language.
sub rename_all
{
	my ($value, $key, $name) = @_;
	if (ref $value eq 'HASH')
	{
		my %new;
		for my $k (keys %$value)
		{
			my $new_key = $key eq 'by' || $key eq 'options' || $key eq 'rows' && !exists $value->{by} ? "$k$name" : $k;
			$new{$new_key} = rename_all($value->{$k}, $k, $name);
		}
		return \%new;
	}
	return [ map { rename_all($_, $key, $name) } @$value ] if ref $value eq 'ARRAY';
	return $value if !defined $value || $key =~ /^(name|kind|of|month)$/ && !ref $value && $value ne $sample->{header}{project}{name} || $json->encode($value) !~ /^"/;
	return $name eq '' && $key =~ /^(title|label|note|sha256)$/ ? $value : $name;
}
$sample->{header}{more} = 'more';
my @ids = (store($sample), store($generated), map { store(rename_all($sample, '', $_)) } @names);
for my $id (@ids)
{
	append_to_file("$dir/page$id", $node->safe_psql('postgres', "SELECT clinical.report_html(document) FROM document WHERE id = $id"));
}

# Each page has the elements and attributes of the first one, and no more; what was a name is text.
append_to_file("$dir/names", join('', map { $json->encode($_) . "\n" } @names));
my @faults = python(<<'EOP', "$dir/names", map { "$dir/page$_" } @ids);
import json, re, sys
import xml.etree.ElementTree as tree
from html.parser import HTMLParser

names = [json.loads(line) for line in open(sys.argv[1])]
ALLOWED = {"class", "id", "href", "lang", "charset", "name", "content", "scope", "role", "tabindex", "aria-labelledby", "aria-label", "colspan", "data-pad",
           "viewBox", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "d", "cx", "cy", "r"}

class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []
    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
    def handle_comment(self, data):
        self.tags.append("comment")
    def unknown_decl(self, data):
        self.tags.append("declaration")

def shown(name):
    return re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ufffe\uffff]", "\ufffd", name)

first = None
for number, path in enumerate(sys.argv[2:]):
    page = open(path, encoding="utf-8", newline="").read()
    root = tree.fromstring(page)
    elements = list(root.iter())
    parser = Tags()
    parser.feed(page)
    if parser.tags != [e.tag.lower() for e in elements]:
        print(number, "HTML and XML differ")
    if first is None:
        first = {e.tag for e in elements}
        style = root.find("head/style").text
        if re.search(r"(?i)https?:|url\(|@import|//|expression", page) or first & {"script", "link", "img", "iframe", "object", "use", "image", "base", "form"}:
            print(number, "is not self-contained")
    for e in elements:
        if e.tag not in first:
            print(number, "has an element", e.tag)
        if set(e.attrib) - ALLOWED:
            print(number, "has attributes", set(e.attrib) - ALLOWED)
        if not re.match("#[st][0-9-]+$", e.attrib.get("href", "#s1")):
            print(number, "has a reference", e.attrib["href"])
    ids = [e.attrib["id"] for e in elements if "id" in e.attrib]
    for e in elements:
        for name in e.attrib.get("aria-labelledby", "").split() + ([e.attrib["href"][1:]] if "href" in e.attrib else []):
            if ids.count(name) != 1:
                print(number, "refers to", name)
    if len(ids) != len(set(ids)):
        print(number, "has an id twice")
    if root.find("head/style").text != style or len(root.findall(".//style")) != 1:
        print(number, "has another style")
    if number > 1 and names[number - 2].strip():
        name = shown(names[number - 2])
        cells = ["".join(e.itertext()) for e in elements if e.tag in ("td", "th")]
        for what, found in (("title", root.find("head/title").text), ("h1", root.find("body/header/h1").text)):
            if name not in found:
                print(number, "does not show the name in", what)
        if cells.count(name) < 100:
            print(number, "shows the name in", cells.count(name), "cells")
print("done")
EOP
is(join("\n", @faults), 'done', 'names are shown as they are, and do nothing');

# In other encodings: characters of ours that these have not.
for my $encoding ('LATIN1', 'EUC_JP', 'SQL_ASCII')
{
	$node->safe_psql('postgres', "CREATE DATABASE other ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	$node->safe_psql('other', 'CREATE EXTENSION clinical');
	$node->safe_psql('other', slurp_file('test/report_document.sql'));
	is( $node->safe_psql('other', q{SELECT count(*), count(*) FILTER (WHERE r.text = '-') > 10 FROM clinical.report_rows(test.report_document()) r}),
		'1514|t', "rows in $encoding");
	like($node->safe_psql('other', q{SELECT clinical.report_html(test.report_document())}), qr/&#8211;: no figure/, "page in $encoding");
	$node->safe_psql('postgres', 'DROP DATABASE other');
}

# A large report gives up at once.
$node->safe_psql('postgres', q{
CREATE TABLE large AS
    SELECT jsonb_build_object('header', '{}'::jsonb, 'body', jsonb_build_object('status', test.report_section('Large',
               test.report_table('t', 'Large', 'g, G, label; n, N, count; mean, Mean, mean', jsonb_agg('{"by": {}, "g": "x", "n": 7, "mean": 1.23}'::jsonb))))) AS document
      FROM generate_series(1, 100000)});
for my $call ('clinical.report_html(document)', '(SELECT count(*) FROM clinical.report_rows(document))')
{
	my ($result, $out, $err) = $node->psql('postgres', "SET statement_timeout = '10ms'; SELECT pg_catalog.length(${call}::text) FROM large");
	like($err, qr/canceling statement due to statement timeout/, "$call can be stopped");
	$node->safe_psql('postgres', "SELECT pg_catalog.length(${call}::text) FROM large");
}

done_testing();
