/*-------------------------------------------------------------------------
 *
 * report_entry_lag.c
 *		How long reports took to come: the aggregate report_lags, and what follows.
 *
 * It counts how often each number of seconds occurs, so memory grows with the
 * different ones; quantiles are those of quantile_sas, in whole numbers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/memutils.h"

#include "core.h"
#include "report_entry.h"

PG_FUNCTION_INFO_V1(clinical_report_lags_add);
PG_FUNCTION_INFO_V1(clinical_report_lags_result);
PG_FUNCTION_INFO_V1(clinical_report_lag_quantiles);

/* How often a lag occurred */
typedef struct Lag
{
	int64		seconds;
	int64		count;
	char		status;			/* of the hash table */
} Lag;

#define SH_PREFIX lags
#define SH_ELEMENT_TYPE Lag
#define SH_KEY_TYPE int64
#define SH_KEY seconds
#define SH_HASH_KEY(table, key) hash_combine(murmurhash32((uint32) (key)), (uint32) ((uint64) (key) >> 32))
#define SH_EQUAL(table, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
/* the server itself is not compiled with this warning */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#include "lib/simplehash.h"
#pragma GCC diagnostic pop

/*
 * Lags come as a list of a patient, or as counts, of many: the first byte says which.
 * In a list each is one number of 8 bytes; in counts a number follows that says how
 * often it occurs.
 */
#define IMAGE_LIST 'l'
#define IMAGE_COUNTS 'c'

/* Begin an image in which so many numbers have room. */
bytea *
clinical_report_lags_image(bool counts, int64 numbers)
{
	Size		size = VARHDRSZ + 1 + numbers * sizeof(int64);
	bytea	   *image = palloc(size);

	SET_VARSIZE(image, size);
	*VARDATA(image) = counts ? IMAGE_COUNTS : IMAGE_LIST;
	return image;
}

/* Put a number in its place in an image. */
void
clinical_report_lags_put(bytea *image, int64 place, int64 number)
{
	memcpy(VARDATA(image) + 1 + place * sizeof(int64), &number, sizeof(int64));
}

/* How many lags an image has; malformed is an error. */
static int64
image_size(const bytea *image, bool *counts)
{
	Size		size = VARSIZE_ANY_EXHDR(image);
	Size		width;

	*counts = size > 0 && *VARDATA_ANY(image) == IMAGE_COUNTS;
	width = (*counts ? 2 : 1) * sizeof(int64);
	if (size == 0 || (!*counts && *VARDATA_ANY(image) != IMAGE_LIST) || (size - 1) % width != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("not an image of lags")));
	return (int64) ((size - 1) / width);
}

/* The lag at a place of an image. */
static Lag
image_lag(const bytea *image, int64 place, bool counts)
{
	int64		pair[2] = {0, 1};
	int			width = counts ? 2 : 1;

	memcpy(pair, VARDATA_ANY(image) + 1 + place * width * sizeof(int64), width * sizeof(int64));
	return (Lag) {.seconds = pair[0], .count = pair[1]};
}

/* SQL: the lags of one more patient, or of many. */
Datum
clinical_report_lags_add(PG_FUNCTION_ARGS)
{
	lags_hash  *state = PG_ARGISNULL(0) ? NULL : (lags_hash *) PG_GETARG_POINTER(0);
	MemoryContext group;
	const bytea *image;
	int64		size;
	bool		counts;

	if (!AggCheckCallContext(fcinfo, &group))
		elog(ERROR, "report_lags_add called in non-aggregate context");
	if (state == NULL)
		state = lags_create(group, 256, NULL);
	if (PG_ARGISNULL(1))
		PG_RETURN_POINTER(state);
	image = PG_GETARG_BYTEA_PP(1);
	size = image_size(image, &counts);
	for (int64 i = 0; i < size; i++)
	{
		Lag			added = image_lag(image, i, counts);
		bool		found;
		Lag		   *lag;

		CHECK_FOR_INTERRUPTS();
		lag = lags_insert(state, added.seconds, &found);
		lag->count = added.count + (found ? lag->count : 0);
	}
	PG_RETURN_POINTER(state);
}

/* By the seconds. */
static int
compare_lags(const void *left, const void *right)
{
	int64		a = ((const Lag *) left)->seconds;
	int64		b = ((const Lag *) right)->seconds;

	return (a > b) - (a < b);
}

/* SQL: the lags of an aggregate, in order, and how often each occurs. */
Datum
clinical_report_lags_result(PG_FUNCTION_ARGS)
{
	lags_hash  *state = PG_ARGISNULL(0) ? NULL : (lags_hash *) PG_GETARG_POINTER(0);
	lags_iterator iterator;
	bytea	   *image;
	Lag		   *lags;
	Lag		   *lag;
	int			count = 0;

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "report_lags_result called in non-aggregate context");
	if (state == NULL || state->members == 0)
		PG_RETURN_NULL();
	lags = MemoryContextAllocHuge(CurrentMemoryContext, state->members * sizeof(Lag));
	lags_start_iterate(state, &iterator);
	while ((lag = lags_iterate(state, &iterator)) != NULL)
		lags[count++] = *lag;
	qsort(lags, count, sizeof(Lag), compare_lags);
	image = clinical_report_lags_image(true, 2 * (int64) count);
	for (int i = 0; i < count; i++)
	{
		clinical_report_lags_put(image, 2 * i, lags[i].seconds);
		clinical_report_lags_put(image, 2 * i + 1, lags[i].count);
	}
	pfree(lags);
	PG_RETURN_BYTEA_P(image);
}

/* The lag with that number, from 1, in order. */
static int64
lag_number(const bytea *image, int64 number)
{
	Lag			lag = image_lag(image, 0, true);

	for (int64 i = 1; number > lag.count; i++)
	{
		number -= lag.count;
		lag = image_lag(image, i, true);
	}
	return lag.seconds;
}

/* Twice the quantile of numerator / denominator: with n p = j + g, x_j + x_j+1 where g is 0, else twice x_j+1. */
static int64
twice_quantile(const bytea *image, int64 count, int numerator, int denominator)
{
	int64		j = count * numerator / denominator;

	return lag_number(image, j + 1) +
		lag_number(image, count * numerator % denominator == 0 ? j : j + 1);
}

/* SQL: how many there are, twice their median, and twice what 95 in 100 do not exceed. */
Datum
clinical_report_lag_quantiles(PG_FUNCTION_ARGS)
{
	const bytea *image = PG_GETARG_BYTEA_PP(0);
	bool		counts;
	int64		size = image_size(image, &counts);
	Datum		values[3];
	int64		count = 0;

	clinical_require_arg(counts && size > 0, "counts are required");
	for (int64 i = 0; i < size; i++)
	{
		int64		occurs = image_lag(image, i, true).count;

		clinical_require_arg(occurs > 0 && occurs < PG_INT64_MAX / 32 - count, "counts are required");
		count += occurs;
	}
	values[0] = Int64GetDatum(count);
	values[1] = Int64GetDatum(twice_quantile(image, count, 1, 2));
	values[2] = Int64GetDatum(twice_quantile(image, count, 19, 20));
	PG_RETURN_ARRAYTYPE_P(construct_array(values, 3, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}
