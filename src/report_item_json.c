/*-------------------------------------------------------------------------
 *
 * report_item_json.c
 *		What the tables of items have in common: getting what queries give, and
 *		putting it into rows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "report_item.h"

/* A name of the image as a string. */
char *
clinical_item_string(const TallyImage *image, Size names, uint32 number)
{
	const TallyName *name = &tally_at(image, names, const TallyName)[number];

	return pnstrdup(tally_at(image, image->bytes + name->offset, char), name->length);
}

/* A column of SPI's row, copied to the current memory context. */
Datum
clinical_item_get_value(uint64 row, int column, bool by_value, bool *isnull)
{
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);

	return *isnull ? (Datum) 0 : datumCopy(value, by_value, by_value ? (int) sizeof(Datum) : -1);
}

/* A text likewise; NULL: null. */
char *
clinical_item_get_string(uint64 row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* A number (bigint or integer), 0 for null. */
int64
clinical_item_get_number(uint64 row, int column)
{
	bool		isnull;
	Datum		value = clinical_item_get_value(row, column, true, &isnull);

	if (isnull)
		return 0;
	return SPI_gettypeid(SPI_tuptable->tupdesc, column) == INT4OID ? DatumGetInt32(value) : DatumGetInt64(value);
}

/* The figures of a description, in so many columns from this one on. */
void
clinical_item_get_figures(uint64 row, int column, ClinicalDescription *description)
{
	for (int i = 0; i < CLINICAL_NFIGURES; i++)
		description->figures[i] = clinical_item_get_value(row, column + i, false, &description->nulls[i]);
}

/* The number of a group + 1; all: the row is of all. */
uint32
clinical_item_get_group(uint64 row, int column, bool all)
{
	return all ? 0 : (uint32) clinical_item_get_number(row, column) + 1;
}

/* Put a number; NULL: null. */
static void
put_number(JsonbParseState **state, const char *name, Numeric number)
{
	JsonbValue	value = {.type = jbvNull};

	if (number != NULL)
	{
		value.type = jbvNumeric;
		value.val.numeric = number;
	}
	clinical_json_put(state, name, &value);
}

/* Put a count. */
void
clinical_item_put_count(JsonbParseState **state, const char *name, uint64 count)
{
	put_number(state, name, int64_to_numeric((int64) count));
}

/* Put 100 times a part of a whole; null if that is 0. */
void
clinical_item_put_ratio(JsonbParseState **state, const char *name, uint64 part, uint64 whole)
{
	put_number(state, name, whole == 0 ? NULL :
			   DatumGetNumeric(DirectFunctionCall2(numeric_div, NumericGetDatum(int64_to_numeric((int64) part * 100)),
												   NumericGetDatum(int64_to_numeric((int64) whole)))));
}

/* Put a string, or null. */
void
clinical_item_put_string(JsonbParseState **state, const char *name, const char *string)
{
	JsonbValue	value = {.type = jbvNull};

	if (string != NULL)
		clinical_json_put_text(state, name, string);
	else
		clinical_json_put(state, name, &value);
}

/* Begin a row: of a group (by: 0 all, else the group + 1) and an item. */
void
clinical_item_put_row(JsonbParseState **state, const ItemScope *scope, uint32 by, const char *item, const ItemLabel *label)
{
	JsonbValue	labels;

	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	if (by == 0)
		clinical_json_value(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"))), &labels);
	else
		clinical_json_value(scope->groups[by - 1], &labels);
	clinical_json_put(state, "by", &labels);
	clinical_item_put_string(state, "item", item);
	clinical_item_put_string(state, "label", label == NULL ? NULL : label->label);
}

/* Put a description of so many rows, of which some may have no number. */
void
clinical_item_put_figures(JsonbParseState **state, uint64 rows, const ClinicalDescription *description)
{
	/* in the order of ClinicalFigure */
	static const char *const names[CLINICAL_NFIGURES] = {"mean", "sd", "min", "q1", "median", "q3", "max"};

	clinical_item_put_count(state, "n", (uint64) description->n);
	clinical_item_put_count(state, "missing", rows - (uint64) description->n);
	for (int i = 0; i < CLINICAL_NFIGURES; i++)
		put_number(state, names[i], description->nulls[i] ? NULL : DatumGetNumeric(description->figures[i]));
	clinical_item_put_count(state, "decimals", (uint64) description->decimals);
}

/* How many patients were enrolled, of a group or (0) of all. */
static uint64
enrolled_in(const ItemScope *scope, uint32 by)
{
	uint64		enrolled = 0;

	for (uint32 i = 0; i < scope->ngroups; i++)
	{
		if (by == 0 || by == i + 1)
			enrolled += scope->enrolled[i];
	}
	return enrolled;
}

/* Put how many patients have a code, of those who have the item. */
void
clinical_item_put_patients(JsonbParseState **state, const ItemScope *scope, uint32 by, uint64 patients, uint64 answered,
						   uint64 occurrences)
{
	uint64		enrolled = enrolled_in(scope, by);

	clinical_item_put_count(state, "patients", patients);
	clinical_item_put_ratio(state, "percent", patients, answered);
	clinical_item_put_count(state, "occurrences", occurrences);
	clinical_item_put_count(state, "answered", answered);
	clinical_item_put_count(state, "enrolled", enrolled);
	clinical_item_put_ratio(state, "percent_enrolled", patients, enrolled);
}
