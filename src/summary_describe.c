/*-------------------------------------------------------------------------
 *
 * summary_describe.c
 *		Figures of values that were counted: n, mean, standard deviation, quantiles.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/float.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "compat.h"
#include "summary_state.h"

PG_FUNCTION_INFO_V1(clinical_describe_result);
PG_FUNCTION_INFO_V1(clinical_quantile_result);

/* What describe() tells of the order: min, the quartiles, max */
#define NQUANTILES (CLINICAL_MAX - CLINICAL_MIN + 1)

/* before the figures: n and the missing */
#define COUNT_COLUMNS 2
#define NCOLUMNS (COUNT_COLUMNS + CLINICAL_NFIGURES)

/* What stands at a rank among all values: which kind, and of numbers the rank among them. */
static SummarySpecial
rank_kind(const SummaryCounts *counts, int64 rank, int64 *among)
{
	int64		numbers = counts->n;

	for (int i = 0; i < SUMMARY_NSPECIALS; i++)
		numbers -= counts->specials[i];
	if (rank <= counts->specials[SUMMARY_MINUS_INFINITY])
		return SUMMARY_MINUS_INFINITY;
	*among = rank - counts->specials[SUMMARY_MINUS_INFINITY];
	if (*among <= numbers)
		return SUMMARY_NUMBER;
	return *among - numbers <= counts->specials[SUMMARY_INFINITY] ? SUMMARY_INFINITY : SUMMARY_NAN;
}

/* The picks of numbers, in the order of their ranks. */
static SummaryPick **
order_picks(SummaryPick *picks, size_t npicks, const SummarySpecial *kinds, size_t *nordered)
{
	SummaryEntry *order = palloc_array(SummaryEntry, npicks);
	SummaryPick **ordered = palloc_array(SummaryPick *, npicks);
	size_t		n = 0;

	for (size_t i = 0; i < npicks; i++)
	{
		if (kinds[i] != SUMMARY_NUMBER || picks[i].rank == 0)
			continue;
		/* which of two comes first if their ranks are one does not matter, but no two may be the same */
		order[n].key = (SummaryKey) picks[i].rank << 32 | (SummaryKey) i;
		order[n].count = (int64) i;
		order[n++].tail = NULL;
	}
	summary_sort(order, n, 0);
	for (size_t i = 0; i < n; i++)
		ordered[i] = &picks[order[i].count];
	*nordered = n;
	return ordered;
}

/* A value that was picked. */
static Datum
picked_value(const SummaryCounts *counts, SummarySpecial kind, const SummaryPick *pick)
{
	if (!counts->binary)
		return summary_entry_numeric(kind, &pick->entry, counts->decimals);
	switch (kind)
	{
		case SUMMARY_MINUS_INFINITY:
			return Float8GetDatum(-get_float8_infinity());
		case SUMMARY_INFINITY:
			return Float8GetDatum(get_float8_infinity());
		case SUMMARY_NAN:
			return Float8GetDatum(get_float8_nan());
		case SUMMARY_NUMBER:
			break;
	}
	return Float8GetDatum(summary_key_double(pick->entry.key));
}

/* A quantile of what was picked for it. */
static Datum
quantile_value(const SummaryCounts *counts, const SummarySpecial *kinds, const SummaryPick *picks)
{
	Datum		left = picked_value(counts, kinds[0], &picks[0]);
	Datum		right;

	if (picks[1].rank == 0)
		return left;
	right = picked_value(counts, kinds[1], &picks[1]);
	if (counts->binary)
		return Float8GetDatum(summary_middle(DatumGetFloat8(left), DatumGetFloat8(right)));
	return summary_numeric_middle(left, right, counts->decimals);
}

/* The mean and the standard deviation of doubles; false if there is no such. */
static bool
double_moments(const SummaryCounts *counts, SummarySums *sums, Datum *mean, Datum *sd)
{
	const int64 *specials = counts->specials;
	double		deviation = get_float8_nan();

	if (specials[SUMMARY_NAN] > 0 || (specials[SUMMARY_INFINITY] > 0 && specials[SUMMARY_MINUS_INFINITY] > 0))
		*mean = Float8GetDatum(get_float8_nan());
	else if (specials[SUMMARY_INFINITY] > 0)
		*mean = Float8GetDatum(get_float8_infinity());
	else if (specials[SUMMARY_MINUS_INFINITY] > 0)
		*mean = Float8GetDatum(-get_float8_infinity());
	else
		*mean = Float8GetDatum(summary_binary_mean(sums->binary_sum, sums->n));
	if (counts->n == 1)
		return false;
	if (sums->n == counts->n)
	{
		deviation = summary_binary_sd(sums->binary_sum, sums->binary_squares, sums->n);
		if (isinf(deviation))
			float_overflow_error();
	}
	*sd = Float8GetDatum(deviation);
	return true;
}

/*
 * The values of quantiles, and unless it is NULL the mean and the standard deviation,
 * of at least one value; merge gives the numbers.  Memory is the current context's.
 */
void
summary_figures(const SummaryCounts *counts, SummaryMerge *merge, const SummaryQuantile *quantiles,
				int nquantiles, Datum *values, Datum *moments, bool *no_sd)
{
	size_t		npicks = 2 * (size_t) nquantiles;
	SummaryPick *picks = palloc_array(SummaryPick, npicks);
	SummarySpecial *kinds = palloc_array(SummarySpecial, npicks);
	SummaryPick **ordered;
	size_t		nordered;
	SummarySums sums;

	for (size_t i = 0; i < npicks; i++)
	{
		picks[i].rank = quantiles[i / 2].ranks[i % 2];
		if (picks[i].rank != 0)
			kinds[i] = rank_kind(counts, picks[i].rank, &picks[i].rank);
	}
	ordered = order_picks(picks, npicks, kinds, &nordered);
	summary_sums_begin(&sums, CurrentMemoryContext, counts->binary);
	summary_walk(merge, moments == NULL ? NULL : &sums, ordered, nordered);
	for (int i = 0; i < nquantiles; i++)
	{
		CHECK_FOR_INTERRUPTS();
		values[i] = quantile_value(counts, &kinds[2 * i], &picks[2 * i]);
	}
	if (moments == NULL)
		return;
	if (counts->binary)
		*no_sd = !double_moments(counts, &sums, &moments[CLINICAL_MEAN], &moments[CLINICAL_SD]);
	else
		*no_sd = !summary_numeric_moments(counts, &sums, &moments[CLINICAL_MEAN], &moments[CLINICAL_SD]);
}

/* The ranks of the minimum, the quartiles and the maximum of n values. */
static void
quartile_ranks(int64 n, SummaryQuantile *quantiles)
{
	for (int i = 0; i < NQUANTILES; i++)
	{
		/* n may be near the end of what an int64 holds */
		int64		whole = n / 4 * i + n % 4 * i / 4;
		bool		exact = n % 4 * i % 4 == 0;

		quantiles[i].ranks[0] = i == 0 ? 1 : exact ? whole : whole + 1;
		quantiles[i].ranks[1] = exact && i > 0 && i < NQUANTILES - 1 ? whole + 1 : 0;
	}
}

/* SQL: the figures of describe(). */
Datum
clinical_describe_result(PG_FUNCTION_ARGS)
{
	SummaryState *state = PG_ARGISNULL(0) ? NULL : (SummaryState *) PG_GETARG_POINTER(0);
	TupleDesc	desc;
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS];

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "describe_result called in non-aggregate context");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memset(nulls, true, sizeof(nulls));
	values[0] = Int64GetDatum(state == NULL ? 0 : state->counts.n);
	values[1] = Int64GetDatum(state == NULL ? 0 : state->counts.missing);
	nulls[0] = nulls[1] = false;
	if (state != NULL && state->counts.n > 0)
	{
		SummaryQuantile quantiles[NQUANTILES];
		SummaryMerge merge;

		memset(nulls, false, sizeof(nulls));
		quartile_ranks(state->counts.n, quantiles);
		summary_state_merge(state, &merge);
		summary_figures(&state->counts, &merge, quantiles, NQUANTILES, values + COUNT_COLUMNS + CLINICAL_MIN,
						values + COUNT_COLUMNS, &nulls[COUNT_COLUMNS + CLINICAL_SD]);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* An array of quantiles, with the bounds of that of the fractions. */
static Datum
quantile_array(ArrayType *fractions, Datum *values, Oid element)
{
	int16		length;
	bool		byval;
	char		align;

	get_typlenbyvalalign(element, &length, &byval, &align);
	return PointerGetDatum(construct_md_array(values, NULL, ARR_NDIM(fractions), ARR_DIMS(fractions), ARR_LBOUND(fractions),
											  element, length, byval, align));
}

/* SQL: the quantile of quantile_sas(), or the quantiles. */
Datum
clinical_quantile_result(PG_FUNCTION_ARGS)
{
	SummaryState *state = PG_ARGISNULL(0) ? NULL : (SummaryState *) PG_GETARG_POINTER(0);
	SummaryQuantile *quantiles;
	SummaryMerge merge;
	Datum	   *values;
	int			count;

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "quantile_result called in non-aggregate context");
	if (state == NULL || state->counts.n == 0)
		PG_RETURN_NULL();
	count = summary_fractions_count(&state->fractions);
	quantiles = palloc_array(SummaryQuantile, count);
	values = palloc_array(Datum, count);
	summary_fractions_ranks(&state->fractions, state->counts.n, quantiles);
	summary_state_merge(state, &merge);
	summary_figures(&state->counts, &merge, quantiles, count, values, NULL, NULL);
	if (!OidIsValid(get_element_type(state->fractions.type)))
		PG_RETURN_DATUM(values[0]);
	PG_RETURN_DATUM(quantile_array(DatumGetArrayTypeP(state->fractions.value), values,
								   state->counts.binary ? FLOAT8OID : NUMERICOID));
}

/* Takes values that were counted elsewhere: entries in order, of which the number is returned. */
static size_t
take_counted(const Datum *values, const int64 *numbers, int64 nvalues, SummaryCounts *counts, SummaryEntry *entries)
{
	size_t		n = 0;

	for (int64 i = 0; i < nvalues; i++)
	{
		SummarySpecial special;

		CHECK_FOR_INTERRUPTS();
		if (numbers[i] < 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("frequency must not be negative")));
		if (numbers[i] == 0)
			continue;
		if (pg_add_s64_overflow(counts->n, numbers[i], &counts->n))
			ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
							errmsg("bigint out of range")));
		special = summary_numeric_entry(values[i], &entries[n], &counts->decimals);
		if (special != SUMMARY_NUMBER)
		{
			counts->specials[special] += numbers[i];
			continue;
		}
		entries[n].count = numbers[i];
		if (n > 0 && summary_compare(&entries[n - 1], &entries[n]) > 0)
			elog(ERROR, "values are not in ascending order");
		n++;
	}
	return n;
}

/* Describes values that were counted elsewhere (summary.h). */
void
clinical_describe_quantiles(const Datum *values, const int64 *counts, int64 nvalues,
							const Datum *fractions, int nfractions, ClinicalDescription *result, Datum *quantiles)
{
	SummaryCounts all = {0};
	SummaryEntry *entries = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(SummaryEntry) * (Size) (nvalues + 1));
	size_t		nentries = take_counted(values, counts, nvalues, &all, entries);
	SummaryQuantile *asked = palloc_array(SummaryQuantile, NQUANTILES + nfractions);
	Datum	   *found = palloc_array(Datum, NQUANTILES + nfractions);
	SummaryReader reader;
	SummaryReader *readers[1] = {&reader};
	SummaryMerge merge;

	result->n = all.n;
	result->decimals = all.decimals;
	memset(result->nulls, all.n == 0, sizeof(result->nulls));
	if (all.n > 0)
	{
		quartile_ranks(all.n, asked);
		for (int i = 0; i < nfractions; i++)
			asked[NQUANTILES + i] = summary_fraction_rank(fractions[i], all.n);
		summary_reader_begin_entries(&reader, entries, nentries);
		summary_merge_begin(&merge, CurrentMemoryContext, readers, 1);
		summary_figures(&all, &merge, asked, NQUANTILES + nfractions, found, result->figures, &result->nulls[CLINICAL_SD]);
		memcpy(&result->figures[CLINICAL_MIN], found, sizeof(Datum) * NQUANTILES);
		if (nfractions > 0)
			memcpy(quantiles, found + NQUANTILES, sizeof(Datum) * (Size) nfractions);
	}
	pfree(found);
	pfree(asked);
	pfree(entries);
}

/* The same without further quantiles. */
void
clinical_describe_counts(const Datum *values, const int64 *counts, int64 nvalues, ClinicalDescription *result)
{
	clinical_describe_quantiles(values, counts, nvalues, NULL, 0, result, NULL);
}
