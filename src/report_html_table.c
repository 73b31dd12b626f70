/*-------------------------------------------------------------------------
 *
 * report_html_table.c
 *		A table of a report on the page, made of what its columns say.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "report_render.h"

/* Tables with more rows scroll on the screen */
#define LONG_TABLE 60

/* Labels up to that many bytes are not broken */
#define SHORT_LABEL 24

/* No more digits than that are kept free */
#define MAX_PAD 20

typedef struct Layout
{
	StringInfo	out;
	const ClinicalShownTable *table;
	int			section;
	int			number;
	int			nkeys;			/* by which the report is split */
	JsonbValue *keys;
	int		   *decimals;		/* of each column, at most */
	MemoryContext context;		/* of a row's texts */
	ClinicalShownRow before;	/* the row above: its labels alone */
} Layout;

/* The keys of the first row that is of a part. */
static void
find_keys(Layout *layout, const ClinicalShownRow *row)
{
	JsonbIterator *iterator;
	JsonbValue	value;
	int			room = (int) JsonContainerSize(row->by.val.binary.data);

	if (room <= layout->nkeys)
		return;
	layout->nkeys = 0;
	layout->keys = palloc_array(JsonbValue, room);
	iterator = JsonbIteratorInit(row->by.val.binary.data);
	while (clinical_json_next(&iterator, &layout->keys[layout->nkeys], &value))
	{
		CHECK_FOR_INTERRUPTS();
		layout->nkeys++;
		if (layout->nkeys == room)
			break;
	}
}

/* Read the table once to see how it must be laid out. */
static void
measure(Layout *layout)
{
	const ClinicalShownTable *table = layout->table;
	ClinicalShownRow row;

	layout->decimals = palloc0_array(int, table->ncolumns);
	clinical_shown_begin(table, &row);
	while (clinical_shown_next(&row))
	{
		if (!row.is_whole)
			find_keys(layout, &row);
		for (int i = 0; i < table->ncolumns; i++)
		{
			if (row.cells[i].type == jbvNumeric && !clinical_figure_withheld(&row, i))
				layout->decimals[i] = Max(layout->decimals[i], clinical_figure_decimals(&row, i));
		}
	}
}

/* Put out what a percentage is of, unless the label says it. */
static void
put_denominator(StringInfo out, const ClinicalShownTable *table, const ClinicalShownColumn *column)
{
	char	   *words = column->of < 0 ? NULL : table->columns[column->of].label;

	if (words == NULL || strstr(column->label, "of ") != NULL || pg_strcasecmp(words, "of") == 0)
		return;
	/* a label in the middle of words begins small, if it is no abbreviation */
	words = pstrdup(words);
	if (words[0] >= 'A' && words[0] <= 'Z' && words[1] >= 'a' && words[1] <= 'z')
		words[0] += 'a' - 'A';
	appendStringInfoString(out, " <span class=\"of\">of ");
	clinical_html_string(out, words);
	appendStringInfoString(out, "</span>");
}

/* How the head of a column looks. */
static const char *
head_class(const ClinicalShownColumn *column)
{
	if (column->is_number)
		return " class=\"n\"";
	return column->kind == CLINICAL_REPORT_FLAG ? " class=\"f\"" : "";
}

/* Put out the heads of the columns. */
static void
put_heads(Layout *layout)
{
	const ClinicalShownTable *table = layout->table;

	appendStringInfoString(layout->out, "<thead>\n<tr>");
	for (int i = 0; i < layout->nkeys; i++)
	{
		appendStringInfoString(layout->out, "<th scope=\"col\"><div class=\"h\">");
		clinical_html_text(layout->out, layout->keys[i].val.string.val, layout->keys[i].val.string.len);
		appendStringInfoString(layout->out, "</div></th>");
	}
	for (int i = 0; i < table->ncolumns; i++)
	{
		appendStringInfo(layout->out, "<th scope=\"col\"%s><div class=\"h\">", head_class(&table->columns[i]));
		clinical_html_string(layout->out, table->columns[i].label);
		put_denominator(layout->out, table, &table->columns[i]);
		appendStringInfoString(layout->out, "</div></th>");
	}
	appendStringInfoString(layout->out, "</tr>\n</thead>\n");
}

/* Put out a label of a row; null is all, or for a part what has none. */
static void
put_label(Layout *layout, const JsonbValue *value, const char *null, bool is_repeated)
{
	char	   *words = clinical_scalar_text(value);
	bool		is_short = words == NULL || strlen(words) <= SHORT_LABEL;

	appendStringInfo(layout->out, "<th scope=\"row\"%s>", is_repeated ? (is_short ? " class=\"rep d\"" : " class=\"rep\"") :
					 is_short ? " class=\"d\"" : "");
	clinical_html_string(layout->out, words == NULL ? null : words);
	appendStringInfoString(layout->out, "</th>");
}

/* Is a label what it is in the row above? */
static bool
is_same(const Layout *layout, const JsonbValue *value, const JsonbValue *above)
{
	return layout->before.number > 0 && clinical_json_same(value, above);
}

/* Put out the part that a row is about; is it that of the row above? */
static bool
put_part(Layout *layout, const ClinicalShownRow *row)
{
	bool		same = true;

	for (int i = 0; i < layout->nkeys; i++)
	{
		const JsonbValue *key = &layout->keys[i];
		JsonbValue	buffer = {.type = jbvNull};
		JsonbValue	above_buffer = {.type = jbvNull};
		JsonbValue *value = clinical_json_member(row->by.val.binary.data, key, &buffer);
		JsonbValue *above = layout->before.number == 0 ? NULL :
			clinical_json_member(layout->before.by.val.binary.data, key, &above_buffer);

		same = same && layout->before.number > 0 && (value == NULL) == (above == NULL) &&
			clinical_json_same(&buffer, &above_buffer);
		put_label(layout, &buffer, value == NULL ? "All" : "(none)", same);
	}
	return same;
}

/* How a figure looks. */
static const char *
figure_class(const ClinicalShownColumn *column, const char *words)
{
	if (column->is_number)
		return " class=\"n\"";
	if (column->kind == CLINICAL_REPORT_FLAG)
		return words[0] == '+' || words[0] == '-' || strcmp(words, "yes") == 0 ? " class=\"f on\"" : " class=\"f\"";
	return column->kind == CLINICAL_REPORT_TEXT ? "" : " class=\"d\"";
}

/* Put out a figure; what its decimals lack is kept free, so that points are below each other. */
static void
put_figure(Layout *layout, const ClinicalShownRow *row, int column)
{
	const ClinicalShownColumn *shown = &row->table->columns[column];
	char	   *words = clinical_figure_text(row, column);
	int			decimals = row->cells[column].type == jbvNumeric ? clinical_figure_decimals(row, column) : 0;
	int			pad = Min(layout->decimals[column] - decimals, MAX_PAD);

	appendStringInfo(layout->out, "<td%s", figure_class(shown, words));
	if (shown->is_number && pad > 0 && !clinical_figure_withheld(row, column))
		appendStringInfo(layout->out, " data-pad=\"%s%.*s\"", decimals == 0 ? "." : "", pad, "00000000000000000000");
	appendStringInfoChar(layout->out, '>');
	clinical_html_string(layout->out, words);
	appendStringInfoString(layout->out, "</td>");
}

/* Does a row begin another part than that of the row above? */
static bool
begins_group(const Layout *layout, const ClinicalShownRow *row)
{
	JsonbValue	buffer = {.type = jbvNull};
	JsonbValue	above = {.type = jbvNull};

	if (layout->before.number == 0 || layout->nkeys == 0)
		return false;
	(void) clinical_json_member(row->by.val.binary.data, &layout->keys[0], &buffer);
	(void) clinical_json_member(layout->before.by.val.binary.data, &layout->keys[0], &above);
	return !clinical_json_same(&buffer, &above) || row->is_whole != layout->before.is_whole;
}

/* Or another label in the columns before the last one? */
static bool
begins_part(const Layout *layout, const ClinicalShownRow *row)
{
	for (int i = 0; layout->before.number > 0 && i < row->table->nhead - 1; i++)
	{
		if (!clinical_json_same(&row->cells[i], &layout->before.cells[i]))
			return true;
	}
	return false;
}

/* How a row looks. */
static const char *
row_class(const Layout *layout, const ClinicalShownRow *row)
{
	if (row->is_total)
		return " class=\"total\"";
	if (begins_group(layout, row))
		return " class=\"group\"";
	return begins_part(layout, row) ? " class=\"sub\"" : "";
}

/* What null means in a column of labels: all of it; but a number may have no unit. */
static const char *
null_label(const ClinicalShownColumn *column)
{
	return strcmp(column->name, "unit") == 0 ? "" : "All";
}

/* Put out a row. */
static void
put_row(Layout *layout, const ClinicalShownRow *row)
{
	const ClinicalShownTable *table = row->table;
	bool		same;

	appendStringInfo(layout->out, "<tr%s>", row_class(layout, row));
	same = put_part(layout, row);
	for (int i = 0; i < table->ncolumns; i++)
	{
		bool		is_head = i < table->nhead - 1;

		same = same && is_head && is_same(layout, &row->cells[i], &layout->before.cells[i]);
		if (table->columns[i].is_key)
			put_label(layout, &row->cells[i], null_label(&table->columns[i]), same);
		else if (same && table->columns[i].kind == CLINICAL_REPORT_TEXT && row->cells[i].type != jbvNull)
		{
			appendStringInfoString(layout->out, "<td class=\"rep\">");
			clinical_html_string(layout->out, clinical_figure_text(row, i));
			appendStringInfoString(layout->out, "</td>");
		}
		else
			put_figure(layout, row, i);
	}
	appendStringInfoString(layout->out, "</tr>\n");
}

/* Put out all rows. */
static void
put_rows(Layout *layout)
{
	ClinicalShownRow row;

	layout->before.cells = palloc_array(JsonbValue, layout->table->ncolumns);
	clinical_shown_begin(layout->table, &row);
	while (clinical_shown_next(&row))
	{
		MemoryContext old_context = MemoryContextSwitchTo(layout->context);

		put_row(layout, &row);
		layout->before.number = row.number;
		layout->before.by = row.by;
		layout->before.is_whole = row.is_whole;
		memcpy(layout->before.cells, row.cells, sizeof(JsonbValue) * layout->table->ncolumns);
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(layout->context);
	}
}

/* Put out the table itself, in a frame that scrolls. */
static void
put_frame(Layout *layout)
{
	const ClinicalShownTable *table = layout->table;

	appendStringInfo(layout->out, "<div class=\"scroll%s\" role=\"region\" tabindex=\"0\" aria-labelledby=\"c%d-%d\">\n"
					 "<table%s>\n<caption id=\"c%d-%d\"><span class=\"no\">Table %d.%d</span> ",
					 table->nrows > LONG_TABLE ? " long" : "", layout->section, layout->number,
					 table->ncolumns + layout->nkeys > 10 ? " class=\"wide\"" : "",
					 layout->section, layout->number, layout->section, layout->number);
	clinical_html_string(layout->out, table->title);
	appendStringInfoString(layout->out, "</caption>\n");
	put_heads(layout);
	appendStringInfoString(layout->out, "<tbody>\n");
	if (table->nrows == 0)
		appendStringInfo(layout->out, "<tr><td class=\"empty\" colspan=\"%d\">None in this period.</td></tr>\n",
						 table->ncolumns + layout->nkeys);
	put_rows(layout);
	appendStringInfoString(layout->out, "</tbody>\n</table>\n</div>\n");
}

/* Put out a table with its note. */
void
clinical_html_table(StringInfo out, const ClinicalShownTable *table, int section, int number)
{
	Layout		layout = {.out = out, .table = table, .section = section, .number = number};

	layout.context = AllocSetContextCreate(CurrentMemoryContext, "clinical report table", ALLOCSET_DEFAULT_SIZES);
	measure(&layout);
	appendStringInfo(out, "<div class=\"table\" id=\"t%d-%d\">\n", section, number);
	put_frame(&layout);
	if (table->note != NULL)
	{
		appendStringInfoString(out, "<p class=\"note\">");
		clinical_html_string(out, table->note);
		appendStringInfoString(out, "</p>\n");
	}
	appendStringInfoString(out, "</div>\n");
	MemoryContextDelete(layout.context);
}
