/*-------------------------------------------------------------------------
 *
 * report_entry_lag.c
 *		How long reports took to come: the aggregate report_lags.
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

#include "compat.h"
#include "core.h"

PG_FUNCTION_INFO_V1(clinical_report_lags_add);
PG_FUNCTION_INFO_V1(clinical_report_lags_result);

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

typedef struct State
{
	lags_hash  *lags;
	int64		count;
} State;

/* SQL: the lags of one more patient, as report_entry_count gives them. */
Datum
clinical_report_lags_add(PG_FUNCTION_ARGS)
{
	State	   *state = PG_ARGISNULL(0) ? NULL : (State *) PG_GETARG_POINTER(0);
	MemoryContext group;
	const bytea *image;
	int			count;

	if (!AggCheckCallContext(fcinfo, &group))
		elog(ERROR, "report_lags_add called in non-aggregate context");
	if (state == NULL)
	{
		state = MemoryContextAllocZero(group, sizeof(State));
		state->lags = lags_create(group, 256, NULL);
	}
	if (PG_ARGISNULL(1))
		PG_RETURN_POINTER(state);
	image = PG_GETARG_BYTEA_PP(1);
	count = (int) (VARSIZE_ANY_EXHDR(image) / sizeof(int64));
	for (int i = 0; i < count; i++)
	{
		int64		seconds;
		bool		found;
		Lag		   *lag;

		CHECK_FOR_INTERRUPTS();
		memcpy(&seconds, VARDATA_ANY(image) + i * sizeof(int64), sizeof(int64));
		lag = lags_insert(state->lags, seconds, &found);
		lag->count = found ? lag->count + 1 : 1;
	}
	state->count += count;
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

/* The lag with that number, from 1, in order. */
static int64
lag_number(const Lag *lags, int64 number)
{
	while (number > lags->count)
		number -= (lags++)->count;
	return lags->seconds;
}

/* Twice the quantile of numerator / denominator: with n p = j + g, x_j + x_j+1 where g is 0, else twice x_j+1. */
static int64
twice_quantile(const Lag *lags, int64 count, int numerator, int denominator)
{
	int64		j = count * numerator / denominator;

	return lag_number(lags, j + 1) +
		lag_number(lags, count * numerator % denominator == 0 ? j : j + 1);
}

/* SQL: how many there were, twice their median, and twice what 95 in 100 do not exceed. */
Datum
clinical_report_lags_result(PG_FUNCTION_ARGS)
{
	State	   *state = PG_ARGISNULL(0) ? NULL : (State *) PG_GETARG_POINTER(0);
	Datum		values[3];
	lags_iterator iterator;
	Lag		   *lags;
	Lag		   *lag;
	int			count = 0;

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "report_lags_result called in non-aggregate context");
	if (state == NULL || state->count == 0)
		PG_RETURN_NULL();
	lags = MemoryContextAllocHuge(CurrentMemoryContext, state->lags->members * sizeof(Lag));
	lags_start_iterate(state->lags, &iterator);
	while ((lag = lags_iterate(state->lags, &iterator)) != NULL)
		lags[count++] = *lag;
	qsort(lags, count, sizeof(Lag), compare_lags);
	values[0] = Int64GetDatum(state->count);
	values[1] = Int64GetDatum(twice_quantile(lags, state->count, 1, 2));
	values[2] = Int64GetDatum(twice_quantile(lags, state->count, 19, 20));
	pfree(lags);
	PG_RETURN_ARRAYTYPE_P(construct_array(values, 3, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}
