/*-------------------------------------------------------------------------
 *
 * report_suppress.c
 *		No figures of few persons: what options.suppress_below does.
 *
 * A row of a table that is split (by is not empty) keeps its labels and loses its
 * figures if its group has fewer patients than the limit, or if it counts fewer
 * persons, but some.  What counts persons is told by the name of the column; in a
 * table without such a column every count is taken for one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "report.h"

/* The names of columns that count persons, or values, of which a person has at least one */
static const char *const person_columns[] = {"n", "patients", "enrolled", "total", "answered", "denominator"};

/* Is the column one that counts persons by its name? */
static bool
is_named(const ClinicalReportColumn *column)
{
	for (int i = 0; i < (int) lengthof(person_columns); i++)
	{
		if (column->kind == CLINICAL_REPORT_COUNT && strcmp(column->name, person_columns[i]) == 0)
			return true;
	}
	return false;
}

/* Does the table have such a column? */
static bool
has_named(const ClinicalReportTable *table)
{
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (is_named(&table->columns[i]))
			return true;
	}
	return false;
}

/* Is a value a count above 0 and below the limit? */
static bool
is_few(const JsonbValue *value, int limit)
{
	Datum		number;

	if (value == NULL || value->type != jbvNumeric)
		return false;
	number = NumericGetDatum(value->val.numeric);
	return DatumGetBool(DirectFunctionCall2(numeric_gt, number, NumericGetDatum(int64_to_numeric(0)))) &&
		DatumGetBool(DirectFunctionCall2(numeric_lt, number, NumericGetDatum(int64_to_numeric(limit))));
}

/* Is the label of a row one of the groups? */
static bool
is_of_group(const JsonbValue *by, const JsonbValue *groups, int ngroups)
{
	for (int i = 0; i < ngroups; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (clinical_json_same(by, &groups[i]))
			return true;
	}
	return false;
}

/* Does a row count too few persons? */
static bool
counts_few(const ClinicalReportTable *table, const JsonbValue *row, int limit)
{
	bool		named = has_named(table);
	JsonbValue	buffer;

	for (int i = 0; i < table->ncolumns; i++)
	{
		const ClinicalReportColumn *column = &table->columns[i];

		if (column->kind == CLINICAL_REPORT_COUNT && (!named || is_named(column)) &&
			is_few(clinical_json_get(row, column->name, &buffer), limit))
			return true;
	}
	return false;
}

/* Is a row of the split that tells of too few persons? */
static bool
tells_of_few(const ClinicalReportTable *table, const JsonbValue *row, int limit, const JsonbValue *groups, int ngroups)
{
	JsonbValue	buffer;
	JsonbValue *by = clinical_json_get(row, "by", &buffer);

	if (by == NULL || clinical_json_object(by) == NULL || JsonContainerSize(clinical_json_object(by)) == 0)
		return false;
	return is_of_group(by, groups, ngroups) || counts_few(table, row, limit);
}

/* Is what a column holds a figure? */
static bool
is_figure(const ClinicalReportTable *table, const JsonbValue *key)
{
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (clinical_json_is(key, table->columns[i].name))
			return table->columns[i].kind >= CLINICAL_REPORT_COUNT;
	}
	return false;
}

/* Put a row without its figures. */
static void
put_suppressed(JsonbParseState **state, const ClinicalReportTable *table, const JsonbValue *row)
{
	JsonbIterator *iterator = JsonbIteratorInit(clinical_json_object(row));
	JsonbValue	key;
	JsonbValue	value;

	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	while (clinical_json_next(&iterator, &key, &value))
	{
		if (is_figure(table, &key))
			value.type = jbvNull;
		pushJsonbValue(state, WJB_KEY, &key);
		pushJsonbValue(state, WJB_VALUE, &value);
	}
	clinical_json_put_bool(state, "suppressed", true);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/*
 * The rows, those that tell of fewer persons than the limit without their figures;
 * few: the groups that have fewer, an array of labels.
 */
Jsonb *
clinical_report_suppress(const ClinicalReportTable *table, Jsonb *rows, int limit, Jsonb *few)
{
	JsonbParseState *state = NULL;
	JsonbValue	array;
	JsonbValue *elements;
	JsonbValue	labels;
	JsonbValue *groups;
	int			count;
	int			ngroups;

	clinical_json_value(rows, &array);
	count = clinical_shape_elements(&array, &elements);
	clinical_json_value(few, &labels);
	ngroups = clinical_shape_elements(&labels, &groups);
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (tells_of_few(table, &elements[i], limit, groups, ngroups))
			put_suppressed(&state, table, &elements[i]);
		else
			pushJsonbValue(&state, WJB_ELEM, &elements[i]);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}
