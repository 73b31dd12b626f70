/*-------------------------------------------------------------------------
 *
 * report_rows.c
 *		A report as rows: one for each figure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "report_render.h"

PG_FUNCTION_INFO_V1(clinical_report_rows);
PG_FUNCTION_INFO_V1(clinical_report_rows_stored);

enum
{
	ROW_SECTION, ROW_TABLE, ROW_LABEL, ROW_COLUMN, ROW_STATISTIC, ROW_VALUE, ROW_TEXT, ROW_DENOMINATOR, ROW_NCOLUMNS
};

/* Would a value be taken for something else than itself in a label? */
static bool
needs_quotes(const char *value)
{
	size_t		length = strlen(value);

	if (length == 0 || value[0] == ' ' || value[length - 1] == ' ' || strcmp(value, "null") == 0)
		return true;
	for (const char *c = value; *c != '\0'; c++)
	{
		CHECK_FOR_INTERRUPTS();
		if ((unsigned char) *c < ' ' || strchr(",=\"", *c) != NULL)
			return true;
	}
	return false;
}

/* Add a name or value to a label, as a JSON string where it must be. */
static void
add_word(StringInfo label, const char *word)
{
	if (needs_quotes(word))
		escape_json(label, word);
	else
		appendStringInfoString(label, word);
}

/* Add the part that a row is about: "arm = Placebo". */
static void
add_part(StringInfo label, const ClinicalShownRow *row)
{
	JsonbIterator *iterator = JsonbIteratorInit(row->by.val.binary.data);
	JsonbValue	key;
	JsonbValue	value;

	while (clinical_json_next(&iterator, &key, &value))
	{
		char	   *words = clinical_scalar_text(&value);

		CHECK_FOR_INTERRUPTS();
		appendStringInfoString(label, label->len > 0 ? ", " : "");
		add_word(label, clinical_scalar_text(&key));
		appendStringInfoString(label, " = ");
		if (words == NULL)
			appendStringInfoString(label, "null");
		else
			add_word(label, words);
	}
}

/* Is a month written as months are, so that it needs no name before it? */
static bool
is_plain_month(const ClinicalShownColumn *column, const char *words)
{
	size_t		year = strspn(words, "0123456789");

	return column->kind == CLINICAL_REPORT_MONTH && year >= 4 && words[year] == '-' &&
		strspn(words + year + 1, "0123456789") == 2 && words[year + 3] == '\0';
}

/* What a row is about: "arm = Placebo, center 701, 2026-07". */
static char *
row_label(const ClinicalShownRow *row)
{
	StringInfoData label;

	initStringInfo(&label);
	add_part(&label, row);
	for (int i = 0; i < row->table->ncolumns; i++)
	{
		const ClinicalShownColumn *column = &row->table->columns[i];
		char	   *words = column->is_key ? clinical_scalar_text(&row->cells[i]) : NULL;

		if (words == NULL)
			continue;
		appendStringInfoString(&label, label.len > 0 ? ", " : "");
		if (!is_plain_month(column, words))
		{
			add_word(&label, column->name);
			appendStringInfoChar(&label, ' ');
		}
		add_word(&label, words);
	}
	return label.len > 0 ? label.data : pstrdup("total");
}

/* Set a number, unless it is null or withheld. */
static void
set_number(const ClinicalShownRow *row, int column, Datum *value, bool *isnull)
{
	*isnull = row->cells[column].type != jbvNumeric || clinical_figure_withheld(row, column);
	*value = *isnull ? (Datum) 0 : NumericGetDatum(row->cells[column].val.numeric);
}

/* Put out the figures of a row. */
static void
put_row(ReturnSetInfo *result, const ClinicalShownRow *row)
{
	const ClinicalShownTable *table = row->table;
	Datum		values[ROW_NCOLUMNS] = {0};
	bool		nulls[ROW_NCOLUMNS] = {false};

	values[ROW_SECTION] = CStringGetTextDatum(table->section);
	values[ROW_TABLE] = CStringGetTextDatum(table->name);
	values[ROW_LABEL] = PointerGetDatum(cstring_to_text(row_label(row)));
	for (int i = 0; i < table->ncolumns; i++)
	{
		const ClinicalShownColumn *column = &table->columns[i];

		if (column->is_key)
			continue;
		values[ROW_COLUMN] = CStringGetTextDatum(column->label);
		values[ROW_STATISTIC] = CStringGetTextDatum(column->name);
		set_number(row, i, &values[ROW_VALUE], &nulls[ROW_VALUE]);
		values[ROW_TEXT] = CStringGetTextDatum(clinical_figure_text(row, i));
		nulls[ROW_DENOMINATOR] = true;
		if (column->of >= 0)
			set_number(row, column->of, &values[ROW_DENOMINATOR], &nulls[ROW_DENOMINATOR]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* Put out the figures of a table. */
static void
put_table(ReturnSetInfo *result, const ClinicalShownTable *table, MemoryContext context)
{
	ClinicalShownRow row;

	clinical_shown_begin(table, &row);
	while (clinical_shown_next(&row))
	{
		MemoryContext old_context = MemoryContextSwitchTo(context);

		put_row(result, &row);
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(context);
	}
}

/* Give the rows of a document. */
static void
give_rows(FunctionCallInfo fcinfo, Jsonb *document)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "clinical report rows",
												  ALLOCSET_DEFAULT_SIZES);
	ClinicalShownDocument shown;

	InitMaterializedSRF(fcinfo, 0);
	clinical_shown_read(document, &shown);
	for (int i = 0; i < shown.nsections; i++)
	{
		for (int j = 0; j < shown.sections[i].ntables; j++)
			put_table((ReturnSetInfo *) fcinfo->resultinfo, &shown.sections[i].tables[j], context);
	}
	MemoryContextDelete(context);
}

/* report_rows(document) */
Datum
clinical_report_rows(PG_FUNCTION_ARGS)
{
	give_rows(fcinfo, PG_GETARG_JSONB_P(0));
	return (Datum) 0;
}

/* report_rows(report_id) */
Datum
clinical_report_rows_stored(PG_FUNCTION_ARGS)
{
	clinical_require_arg(!PG_ARGISNULL(0), "report id is required");
	give_rows(fcinfo, clinical_shown_stored(PG_GETARG_DATUM(0)));
	return (Datum) 0;
}
