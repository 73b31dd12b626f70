/*-------------------------------------------------------------------------
 *
 * summary_fraction.c
 *		Fractions, as they are written, and the ranks they ask for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

#include "core.h"
#include "summary_state.h"

/* The digits of a fraction: those of a double are the fewest that tell it from all others. */
static SummaryDecimal *
fraction_decimal(Oid type, Datum fraction)
{
	SummaryEntry entry;
	int32		decimals = 0;
	int16		digits[16];
	int			ndigits;
	int			weight;

	if (type == FLOAT8OID)
		fraction = DirectFunctionCall3(numeric_in, CStringGetDatum(double_to_shortest_decimal(DatumGetFloat8(fraction))),
									   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	if (summary_numeric_entry(fraction, &entry, &decimals) != SUMMARY_NUMBER || entry.key < 0 ||
		entry.key > SUMMARY_KEY_ONE || (entry.key == SUMMARY_KEY_ONE && entry.tail != NULL))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("fraction must be between 0 and 1")));
	if (entry.tail != NULL)
		return (SummaryDecimal *) entry.tail;
	ndigits = summary_key_digits(entry.key, digits, &weight);
	return summary_decimal_make(CurrentMemoryContext, false, weight, ndigits, digits);
}

/* The fractions of an array, or the one. */
static int
take_elements(Oid type, Datum value, Oid *element, Datum **elements, bool **nulls)
{
	int			count;
	int16		length;
	bool		byval;
	char		align;

	*element = get_element_type(type);
	if (OidIsValid(*element))
	{
		get_typlenbyvalalign(*element, &length, &byval, &align);
		deconstruct_array(DatumGetArrayTypeP(value), *element, length, byval, align, elements, nulls, &count);
		return count;
	}
	*element = type;
	*elements = palloc_object(Datum);
	*nulls = palloc0_object(bool);
	**elements = value;
	return 1;
}

/* Refuses what is no fraction. */
void
summary_fractions_check(Oid type, Datum value, bool isnull)
{
	Oid			element;
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	clinical_require_arg(!isnull, "fraction is required");
	count = take_elements(type, value, &element, &elements, &nulls);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		clinical_require_arg(!nulls[i], "fraction is required");
		fraction_decimal(element, elements[i]);
	}
}

/* How many fractions there are. */
int
summary_fractions_count(const SummaryFractions *fractions)
{
	ArrayType  *array;

	if (!OidIsValid(get_element_type(fractions->type)))
		return 1;
	array = DatumGetArrayTypeP(fractions->value);
	return ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
}

/* The ranks that a fraction of n values (at least one) asks for. */
static SummaryQuantile
fraction_rank(Oid type, Datum fraction, int64 n)
{
	SummaryDecimal *decimal = fraction_decimal(type, fraction);
	SummaryQuantile quantile = {{0, 0}};
	bool		exact;
	int64		rank;

	if (decimal->ndigits == 0)
		quantile.ranks[0] = 1;
	else if (decimal->weight == 0)
		quantile.ranks[0] = n;
	else
	{
		rank = summary_rank(n, decimal->weight, decimal->ndigits, decimal->digits, &exact);
		quantile.ranks[0] = exact ? rank : rank + 1;
		quantile.ranks[1] = exact ? rank + 1 : 0;
	}
	pfree(decimal);
	return quantile;
}

/* The same, of a numeric. */
SummaryQuantile
summary_fraction_rank(Datum fraction, int64 n)
{
	return fraction_rank(NUMERICOID, fraction, n);
}

/* The ranks that fractions ask for. */
void
summary_fractions_ranks(const SummaryFractions *fractions, int64 n, SummaryQuantile *quantiles)
{
	Oid			element;
	Datum	   *elements;
	bool	   *nulls;
	int			count = take_elements(fractions->type, fractions->value, &element, &elements, &nulls);

	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		quantiles[i] = fraction_rank(element, elements[i], n);
	}
}
