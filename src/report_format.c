/*-------------------------------------------------------------------------
 *
 * report_format.c
 *		Figures of a report as they are printed.
 *
 * Documents have them unrounded; here alone is rounded, half away from zero, in
 * decimal.  Text says the same in rows and on the page.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "report_render.h"

/* The units of a duration, from its seconds on: two that tell most */
typedef struct Unit
{
	int64		limit;			/* from so many seconds on the next one tells more */
	int64		seconds;
	const char *large;
	int64		part;
	const char *small;
} Unit;

static const Unit units[] = {
	{3600, 60, "min", 1, "s"},
	{86400, 3600, "h", 60, "min"},
	{PG_INT64_MAX, 86400, "d", 3600, "h"}
};

/* What stands for a figure that there is not. */
const char *
clinical_figure_none(void)
{
	return GetDatabaseEncoding() == PG_UTF8 ? "\342\200\223" : "-";
}

/* With so many decimals a number is printed. */
int
clinical_figure_decimals(const ClinicalShownRow *row, int column)
{
	switch (row->table->columns[column].kind)
	{
		case CLINICAL_REPORT_PERCENT:
			return 1;
		case CLINICAL_REPORT_VALUE:
			return row->decimals;
		case CLINICAL_REPORT_MEAN:
			return row->decimals + 1;
		case CLINICAL_REPORT_SD:
			return row->decimals + 2;
		case CLINICAL_REPORT_RATE:
		case CLINICAL_REPORT_SCORE:
			return 2;
		case CLINICAL_REPORT_LABEL:
		case CLINICAL_REPORT_TEXT:
		case CLINICAL_REPORT_DATE:
		case CLINICAL_REPORT_MONTH:
		case CLINICAL_REPORT_TIME:
		case CLINICAL_REPORT_COUNT:
		case CLINICAL_REPORT_SECONDS:
		case CLINICAL_REPORT_FLAG:
			break;
	}
	return 0;
}

/* A number rounded to so many decimals. */
static Numeric
rounded(Numeric number, int decimals)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_round, NumericGetDatum(number), Int32GetDatum(decimals)));
}

/* A number as text. */
static char *
number_text(Numeric number)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
}

/* The rounded quotient of a number, if it is small enough for a duration. */
static bool
whole(Numeric number, int64 divisor, int64 *result)
{
	Datum		quotient = DirectFunctionCall2(numeric_div, NumericGetDatum(number),
											   NumericGetDatum(int64_to_numeric(divisor)));
	Datum		limit = NumericGetDatum(int64_to_numeric(INT64CONST(1000000000000)));

	if (DatumGetBool(DirectFunctionCall2(numeric_gt, quotient, limit)))
		return false;
	*result = DatumGetInt64(DirectFunctionCall1(numeric_int8, quotient));
	return true;
}

/* Seconds, not negative, in units that people read. */
static char *
duration(Numeric seconds)
{
	Numeric		tenths = rounded(seconds, 1);
	int64		count;

	if (DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(tenths),
										 NumericGetDatum(int64_to_numeric(60)))))
		return psprintf("%s s", number_text(tenths));
	for (int i = 0; i < (int) lengthof(units) && whole(seconds, units[i].part, &count); i++)
	{
		const Unit *unit = &units[i];

		count *= unit->part;
		if (count < unit->limit)
			return psprintf(INT64_FORMAT " %s %02d %s", count / unit->seconds, unit->large,
							(int) (count % unit->seconds / unit->part), unit->small);
	}
	return psprintf("%s s", number_text(rounded(seconds, 0)));
}

/* Seconds as text. */
static char *
seconds_text(Numeric seconds)
{
	Datum		zero = NumericGetDatum(int64_to_numeric(0));

	if (DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(rounded(seconds, 1)), zero)))
		return psprintf("-%s", duration(DatumGetNumeric(DirectFunctionCall1(numeric_abs, NumericGetDatum(seconds)))));
	return duration(seconds);
}

/* A string, number or truth value as text; of null NULL. */
char *
clinical_scalar_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return number_text(value->val.numeric);
		case jbvBool:
			return pstrdup(value->val.boolean ? "yes" : "no");
		case jbvNull:
		case jbvArray:
		case jbvObject:
		case jbvBinary:
		case jbvDatetime:
			break;
	}
	return NULL;
}

/* A moment without what no reader looks for: 2026-07-01 12:00:05 UTC. */
char *
clinical_time_text(char *moment)
{
	char	   *mark = strchr(moment, 'T');
	char	   *point = strchr(moment, '.');
	char	   *zone;

	if (mark != NULL)
		*mark = ' ';
	if (point != NULL)
		memmove(point, point + 1 + strspn(point + 1, "0123456789"), strlen(point + 1 + strspn(point + 1, "0123456789")) + 1);
	zone = moment + strcspn(moment, "+Z");
	if (strcmp(zone, "+00:00") == 0 || strcmp(zone, "+00") == 0 || strcmp(zone, "Z") == 0)
		return psprintf("%.*s UTC", (int) (zone - moment), moment);
	return moment;
}

/* A flag: a level with its sign, or what it is. */
static char *
flag_text(const JsonbValue *value)
{
	Datum		zero = NumericGetDatum(int64_to_numeric(0));

	if (value->type == jbvNumeric &&
		DatumGetBool(DirectFunctionCall2(numeric_gt, NumericGetDatum(value->val.numeric), zero)))
		return psprintf("+%s", number_text(value->val.numeric));
	return clinical_scalar_text(value);
}

/* A value, not null, as its kind is printed. */
static char *
value_text(const ClinicalShownRow *row, int column)
{
	const JsonbValue *value = &row->cells[column];

	switch (row->table->columns[column].kind)
	{
		case CLINICAL_REPORT_COUNT:
		case CLINICAL_REPORT_PERCENT:
		case CLINICAL_REPORT_VALUE:
		case CLINICAL_REPORT_MEAN:
		case CLINICAL_REPORT_SD:
		case CLINICAL_REPORT_RATE:
		case CLINICAL_REPORT_SCORE:
			return number_text(rounded(value->val.numeric, clinical_figure_decimals(row, column)));
		case CLINICAL_REPORT_SECONDS:
			return seconds_text(value->val.numeric);
		case CLINICAL_REPORT_TIME:
			return clinical_time_text(clinical_scalar_text(value));
		case CLINICAL_REPORT_FLAG:
			return flag_text(value);
		case CLINICAL_REPORT_LABEL:
		case CLINICAL_REPORT_TEXT:
		case CLINICAL_REPORT_DATE:
		case CLINICAL_REPORT_MONTH:
			break;
	}
	return clinical_scalar_text(value);
}

/* Was a standard deviation asked of one value? */
static bool
is_not_estimable(const ClinicalShownRow *row, int column)
{
	const JsonbValue *n;

	if (row->table->columns[column].kind != CLINICAL_REPORT_SD || row->table->n_column < 0)
		return false;
	n = &row->cells[row->table->n_column];
	return n->type == jbvNumeric &&
		DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(n->val.numeric),
										 NumericGetDatum(int64_to_numeric(1))));
}

/* Is the column's figure not shown, as it is of too few patients? */
bool
clinical_figure_withheld(const ClinicalShownRow *row, int column)
{
	const ClinicalShownColumn *shown = &row->table->columns[column];

	return row->suppressed && !shown->is_key && shown->kind != CLINICAL_REPORT_TEXT;
}

/* What is printed in the column of a row. */
char *
clinical_figure_text(const ClinicalShownRow *row, int column)
{
	if (clinical_figure_withheld(row, column))
		return pstrdup("suppressed");
	if (row->cells[column].type != jbvNull)
		return value_text(row, column);
	if (is_not_estimable(row, column))
		return pstrdup("NE");
	return pstrdup(clinical_figure_none());
}
