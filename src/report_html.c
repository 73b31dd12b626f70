/*-------------------------------------------------------------------------
 *
 * report_html.c
 *		A report as one page of HTML, which needs nothing else.
 *
 * The page is also well-formed XML.  What comes from the document is put out by
 * clinical_html_text alone.  Characters of ours that are not ASCII are written
 * as references, as the database's encoding may not have them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#include "report_render.h"

PG_FUNCTION_INFO_V1(clinical_report_html);
PG_FUNCTION_INFO_V1(clinical_report_html_stored);

/* Characters between these change the direction of what follows, or are none at all */
typedef struct Range
{
	pg_wchar	first;
	pg_wchar	last;
} Range;

static const Range refused[] = {
	{0x7F, 0x9F}, {0x2028, 0x202E}, {0x2066, 0x2069}, {0xFFF9, 0xFFFB}, {0xFFFE, 0xFFFF}
};

/* A figure of the whole report that is shown at its top */
typedef struct Tile
{
	const char *section;
	const char *table;
	const char *column;
	const char *label;
	const char *more;			/* a column told beside it; NULL: none */
	const char *before;			/* words around that */
	const char *after;
} Tile;

static const Tile tiles[] = {
	{"enrolment", "enrolment", "cumulative", "Patients enrolled to date", "target", "", " planned to date"},
	{"enrolment", "enrolment", "enrolled", "Enrolled in the period", NULL, NULL, NULL},
	{"compliance", "compliance", "percent", "Compliance", "expected", "of ", " expected entries"},
	{"alerts", "alerts", "opened", "Alerts opened", "open_at_end", "", " open at the end"},
	{"quality", "balance", "received", "Reports received", "quarantined", "", " quarantined"}
};

/* Should a character not reach the page? */
static bool
is_refused(const unsigned char *words, int length)
{
	pg_wchar	character;

	if (length == 1)
		return (*words < ' ' && *words != '\t' && *words != '\n') || *words == 0x7F;
	if (GetDatabaseEncoding() != PG_UTF8)
		return false;
	character = utf8_to_unicode(words);
	for (int i = 0; i < (int) lengthof(refused); i++)
	{
		if (character >= refused[i].first && character <= refused[i].last)
			return true;
	}
	return false;
}

/* Put out text, as content of an element or of an attribute in double quotes. */
void
clinical_html_text(StringInfo out, const char *words, int length)
{
	const char *end = words + length;

	while (words < end)
	{
		int			bytes = Min(pg_mblen(words), (int) (end - words));

		CHECK_FOR_INTERRUPTS();
		switch (*words)
		{
			case '&':
				appendStringInfoString(out, "&amp;");
				break;
			case '<':
				appendStringInfoString(out, "&lt;");
				break;
			case '>':
				appendStringInfoString(out, "&gt;");
				break;
			case '"':
				appendStringInfoString(out, "&quot;");
				break;
			case '\'':
				appendStringInfoString(out, "&#39;");
				break;
			default:
				if (is_refused((const unsigned char *) words, bytes))
					appendStringInfoString(out, "&#65533;");
				else
					appendBinaryStringInfo(out, words, bytes);
		}
		words += bytes;
	}
}

/* The same for a C string. */
void
clinical_html_string(StringInfo out, const char *string)
{
	clinical_html_text(out, string, (int) strlen(string));
}

/* A member of the header, or of an object in it, as text; NULL: none. */
static char *
member_text(const JsonbValue *object, const char *name)
{
	JsonbValue	buffer;
	JsonbValue *value = clinical_json_get(object, name, &buffer);

	if (value == NULL)
		return NULL;
	if (value->type == jbvBinary)
		return JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
	return clinical_scalar_text(value);
}

/* A moment of the header. */
static char *
moment_text(const JsonbValue *header, const char *name)
{
	char	   *words = member_text(header, name);

	return words == NULL ? NULL : clinical_time_text(words);
}

/* The day before one that is written as days are; else what was written. */
static char *
day_before(char *day)
{
	int			year;
	int			month;
	int			number;
	char		rest;

	if (day == NULL || sscanf(day, "%4d-%2d-%2d%c", &year, &month, &number, &rest) != 3 ||
		month < 1 || month > 12 || number < 1 || number > 31)
		return day;
	j2date(date2j(year, month, number) - 1, &year, &month, &number);
	return psprintf("%04d-%02d-%02d", year, month, number);
}

/* The period: from its first day to its last one. */
static char *
period_text(const JsonbValue *header)
{
	JsonbValue	buffer;
	JsonbValue *period = clinical_json_get(header, "period", &buffer);
	JsonbValue *bounds;

	if (period == NULL || clinical_shape_elements(period, &bounds) != 2 ||
		bounds[0].type != jbvString || bounds[1].type != jbvString)
		return NULL;
	return psprintf("%s to %s", clinical_scalar_text(&bounds[0]), day_before(clinical_scalar_text(&bounds[1])));
}

/* A member of an object of the header as text; NULL: none. */
static char *
nested_text(const JsonbValue *header, const char *object_name, const char *name)
{
	JsonbValue	buffer;
	JsonbValue *object = clinical_json_get(header, object_name, &buffer);

	return object == NULL ? NULL : member_text(object, name);
}

/* Put out a fact of the title block, unless it is missing. */
static void
put_fact(StringInfo out, const char *what, const char *words, const char *class)
{
	if (words == NULL)
		return;
	appendStringInfo(out, "<div%s%s%s><dt>", class == NULL ? "" : " class=\"", class == NULL ? "" : class, class == NULL ? "" : "\"");
	clinical_html_string(out, what);
	appendStringInfoString(out, "</dt><dd>");
	clinical_html_string(out, words);
	appendStringInfoString(out, "</dd></div>\n");
}

/* Add a value: of an array its elements. */
static void
add_value(StringInfo words, const JsonbValue *value)
{
	JsonbValue *elements;
	int			count = clinical_shape_elements(value, &elements);

	if (elements == NULL)
	{
		if (value->type == jbvBinary)
			(void) JsonbToCString(words, value->val.binary.data, value->val.binary.len);
		else
			appendStringInfoString(words, clinical_scalar_text(value));
		return;
	}
	for (int i = 0; i < count; i++)
	{
		char	   *element = clinical_scalar_text(&elements[i]);

		CHECK_FOR_INTERRUPTS();
		appendStringInfo(words, "%s%s", i > 0 ? ", " : "", element == NULL ? "..." : element);
	}
}

/* Is a value nothing, or an array of nothing? */
static bool
is_nothing(const JsonbValue *value)
{
	return value->type == jbvNull ||
		(value->type == jbvBinary && JsonContainerSize(value->val.binary.data) == 0);
}

/* The members of an object that have a value: "submissions 12; observations 60"; NULL: none. */
static char *
list_text(const JsonbValue *header, const char *name)
{
	JsonbValue	buffer;
	JsonbValue *object = clinical_json_get(header, name, &buffer);
	JsonbIterator *iterator;
	JsonbValue	key;
	JsonbValue	value;
	StringInfoData words;

	if (clinical_json_object(object) == NULL)
		return NULL;
	initStringInfo(&words);
	iterator = JsonbIteratorInit(object->val.binary.data);
	while (clinical_json_next(&iterator, &key, &value))
	{
		CHECK_FOR_INTERRUPTS();
		if (is_nothing(&value))
			continue;
		appendStringInfo(&words, "%s%s ", words.len > 0 ? "; " : "", clinical_scalar_text(&key));
		add_value(&words, &value);
	}
	return words.len > 0 ? words.data : NULL;
}

/* The rules that were in force, with their versions; NULL: none. */
static char *
rules_text(const JsonbValue *header)
{
	JsonbValue	buffer;
	JsonbValue *rules = clinical_json_get(header, "rules", &buffer);
	JsonbValue *elements;
	int			count = rules == NULL ? 0 : clinical_shape_elements(rules, &elements);
	StringInfoData words;

	initStringInfo(&words);
	for (int i = 0; i < count; i++)
	{
		char	   *code = member_text(&elements[i], "code");
		char	   *version = member_text(&elements[i], "version");

		CHECK_FOR_INTERRUPTS();
		if (code != NULL && version != NULL)
			appendStringInfo(&words, "%s%s (version %s)", words.len > 0 ? ", " : "", code, version);
	}
	return words.len > 0 ? words.data : NULL;
}

/* The centers whose patients the report is about; NULL: that is not told. */
static char *
centers_text(const JsonbValue *header)
{
	JsonbValue	buffer;
	JsonbValue *centers = clinical_json_get(header, "centers", &buffer);
	JsonbValue *elements;
	char	   *all = member_text(header, "all_centers");
	StringInfoData words;
	int			count;

	if (centers == NULL)
		return NULL;
	count = clinical_shape_elements(centers, &elements);
	initStringInfo(&words);
	if (all != NULL)
		appendStringInfoString(&words, strcmp(all, "yes") == 0 ? "All of the project: " : "Not all of the project, but: ");
	for (int i = 0; i < count; i++)
	{
		char	   *center = clinical_scalar_text(&elements[i]);

		CHECK_FOR_INTERRUPTS();
		appendStringInfo(&words, "%s%s", i > 0 ? ", " : "", center == NULL ? "" : center);
	}
	return words.data;
}

/* Put out the facts of the title block. */
static void
put_facts(StringInfo out, const ClinicalShownDocument *document)
{
	const JsonbValue *header = &document->header;

	appendStringInfoString(out, "<dl class=\"facts\">\n");
	put_fact(out, "Project", nested_text(header, "project", "code"), NULL);
	put_fact(out, "Time zone of the period", nested_text(header, "project", "time_zone"), NULL);
	put_fact(out, "Data cut-off", moment_text(header, "cutoff"), NULL);
	put_fact(out, "Generated at", moment_text(header, "generated_at"), NULL);
	put_fact(out, "Generated by", member_text(header, "generated_by"), NULL);
	put_fact(out, "Extension", nested_text(header, "extension", "version"), NULL);
	put_fact(out, "Rows read", list_text(header, "rows"), NULL);
	put_fact(out, "Snapshot", member_text(header, "snapshot"), NULL);
	put_fact(out, "Centers", centers_text(header), "full");
	put_fact(out, "Options", list_text(header, "options"), "full");
	put_fact(out, "Monitoring rules", rules_text(header), "full");
	put_fact(out, "SHA-256 of the body", document->sha256, "full hash");
	appendStringInfoString(out, "</dl>\n");
}

/* Find a table's row of all; false if it has none. */
static bool
find_total(const ClinicalShownDocument *document, const Tile *tile, ClinicalShownRow *row)
{
	for (int i = 0; i < document->nsections; i++)
	{
		const ClinicalShownTable *table;

		if (strcmp(document->sections[i].name, tile->section) != 0)
			continue;
		table = clinical_shown_table(&document->sections[i], tile->table);
		if (table == NULL)
			return false;
		clinical_shown_begin(table, row);
		while (clinical_shown_next(row))
		{
			if (row->is_total)
				return true;
		}
	}
	return false;
}

/* Put out a figure of the whole report, if there is such. */
static void
put_tile(StringInfo out, const ClinicalShownDocument *document, const Tile *tile)
{
	ClinicalShownRow row;
	int			column;
	int			more;

	if (!find_total(document, tile, &row))
		return;
	column = clinical_shown_column(row.table, tile->column);
	more = tile->more == NULL ? -1 : clinical_shown_column(row.table, tile->more);
	if (column < 0 || row.cells[column].type == jbvNull)
		return;
	appendStringInfo(out, "<li><span class=\"figure\">");
	clinical_html_string(out, clinical_figure_text(&row, column));
	appendStringInfo(out, "%s</span> <span class=\"what\">%s</span>",
					 row.table->columns[column].kind == CLINICAL_REPORT_PERCENT && !row.suppressed ?
					 "<span class=\"unit\"> %</span>" : "", tile->label);
	if (more >= 0 && row.cells[more].type != jbvNull)
	{
		appendStringInfo(out, " <span class=\"more\">%s", tile->before);
		clinical_html_string(out, clinical_figure_text(&row, more));
		appendStringInfo(out, "%s</span>", tile->after);
	}
	appendStringInfoString(out, "</li>\n");
}

/* Put out the figures of the whole report. */
static void
put_tiles(StringInfo out, const ClinicalShownDocument *document)
{
	int			begin = out->len;
	int			length;

	appendStringInfoString(out, "<ul class=\"tiles\">\n");
	length = out->len;
	for (int i = 0; i < (int) lengthof(tiles); i++)
		put_tile(out, document, &tiles[i]);
	if (out->len > length)
		appendStringInfoString(out, "</ul>\n");
	else
	{
		out->len = begin;
		out->data[begin] = '\0';
	}
}

/* Put out the head of the page, and the title block. */
static void
put_title(StringInfo out, const ClinicalShownDocument *document)
{
	char	   *name = nested_text(&document->header, "project", "name");
	char	   *code = nested_text(&document->header, "project", "code");
	char	   *period = period_text(&document->header);
	char	   *title = name != NULL ? name : code != NULL ? code : pstrdup("Project");

	appendStringInfoString(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
						   "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>");
	clinical_html_string(out, psprintf("Report: %s%s%s", title, period == NULL ? "" : ", ", period == NULL ? "" : period));
	appendStringInfo(out, "</title>\n<style>\n%s</style>\n</head>\n<body>\n"
					 "<header>\n<p class=\"kind\">Project report</p>\n<h1>", clinical_report_style);
	clinical_html_string(out, title);
	appendStringInfoString(out, "</h1>\n");
	if (period != NULL)
	{
		appendStringInfoString(out, "<p class=\"period\">");
		clinical_html_string(out, period);
		appendStringInfoString(out, "</p>\n");
	}
	put_tiles(out, document);
	put_facts(out, document);
	appendStringInfoString(out, "</header>\n");
}

/* Put out the contents. */
static void
put_contents(StringInfo out, const ClinicalShownDocument *document)
{
	appendStringInfoString(out, "<nav aria-label=\"Contents\">\n<h2>Contents</h2>\n<ol>\n");
	for (int i = 0; i < document->nsections; i++)
	{
		const ClinicalShownSection *section = &document->sections[i];

		appendStringInfo(out, "<li><a href=\"#s%d\"><span class=\"no\">%d</span> ", i + 1, i + 1);
		clinical_html_string(out, section->title);
		appendStringInfoString(out, "</a>\n<ol>\n");
		for (int j = 0; j < section->ntables; j++)
		{
			appendStringInfo(out, "<li><a href=\"#t%d-%d\"><span class=\"no\">%d.%d</span> ", i + 1, j + 1, i + 1, j + 1);
			clinical_html_string(out, section->tables[j].title);
			appendStringInfoString(out, "</a></li>\n");
		}
		appendStringInfoString(out, section->ntables == 0 ? "<li>no tables</li>\n</ol>\n</li>\n" : "</ol>\n</li>\n");
	}
	appendStringInfoString(out, "</ol>\n</nav>\n");
}

/* Put out the sections. */
static void
put_sections(StringInfo out, const ClinicalShownDocument *document)
{
	ClinicalChart chart = {.out = out};

	appendStringInfoString(out, "<main>\n");
	for (int i = 0; i < document->nsections; i++)
	{
		const ClinicalShownSection *section = &document->sections[i];

		appendStringInfo(out, "<section id=\"s%d\" aria-labelledby=\"h%d\">\n<h2 id=\"h%d\"><span class=\"no\">%d</span> ",
						 i + 1, i + 1, i + 1, i + 1);
		clinical_html_string(out, section->title);
		appendStringInfoString(out, "</h2>\n");
		clinical_chart_sections(&chart, section);
		for (int j = 0; j < section->ntables; j++)
			clinical_html_table(out, &section->tables[j], i + 1, j + 1);
		appendStringInfoString(out, "</section>\n");
	}
	appendStringInfoString(out, "</main>\n");
}

/* Put out how figures are to be read. */
static void
put_footer(StringInfo out)
{
	appendStringInfoString(out, "<footer>\n<h2>How to read the figures</h2>\n<ul>\n"
						   "<li>All: the row is about all of it; (none): patients for whom none is recorded.</li>\n"
						   "<li>SD: standard deviation (n - 1); NE: not estimable, of one value; &#8211;: no figure.</li>\n"
						   "<li>Q1, median, Q3: quantiles as SAS has them by default (PCTLDEF=5; R: type 2).</li>\n"
						   "<li>Means, medians and quartiles have one decimal more than the data, standard deviations two more; "
						   "percentages have one. Figures are rounded here, half away from zero, and nowhere before.</li>\n"
						   "<li>suppressed: of fewer patients than the report may show.</li>\n"
						   "<li>Days and months are those of the patients' calendars; a period includes its last day.</li>\n"
						   "</ul>\n</footer>\n");
}

/* A document as a page. */
static text *
page(Jsonb *document)
{
	ClinicalShownDocument shown;
	StringInfoData out;

	initStringInfo(&out);
	clinical_shown_read(document, &shown);
	put_title(&out, &shown);
	put_contents(&out, &shown);
	put_sections(&out, &shown);
	put_footer(&out);
	appendStringInfoString(&out, "</body>\n</html>\n");
	return cstring_to_text_with_len(out.data, out.len);
}

/* report_html(document) */
Datum
clinical_report_html(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(page(PG_GETARG_JSONB_P(0)));
}

/* report_html(report_id) */
Datum
clinical_report_html_stored(PG_FUNCTION_ARGS)
{
	clinical_require_arg(!PG_ARGISNULL(0), "report id is required");
	PG_RETURN_TEXT_P(page(clinical_shown_stored(PG_GETARG_DATUM(0))));
}
