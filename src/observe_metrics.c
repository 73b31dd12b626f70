/*-------------------------------------------------------------------------
 *
 * observe_metrics.c
 *		The times that reports took, as a histogram of Prometheus has them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "core.h"
#include "observe_entry.h"

PG_FUNCTION_INFO_V1(clinical_metric_histogram);

/* Bounds are powers of two, which are bounds of our buckets too: from 128 microseconds to an hour and more */
#define FIRST_BOUND 7
#define LAST_BOUND 32
#define NBOUNDS (LAST_BOUND - FIRST_BOUND + 1)

/* For each bound, in seconds, how many were below it. */
static void
count_below(const ClinicalTimes *times, Datum *bounds, Datum *counts)
{
	uint64		below = 0;
	int			bucket = 0;

	for (int i = 0; i < NBOUNDS; i++)
	{
		uint64		bound = UINT64CONST(1) << (FIRST_BOUND + i);

		while (bucket < CLINICAL_NBUCKETS && clinical_bucket_begin(bucket) < bound)
			below += times->buckets[bucket++];
		bounds[i] = Float8GetDatum((double) bound / 1000000);
		counts[i] = Int64GetDatum((int64) below);
	}
}

/* SQL: how long reports waited, or processing them took. */
Datum
clinical_metric_histogram(PG_FUNCTION_ARGS)
{
	char	   *measure = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		waiting = strcmp(measure, "waiting") == 0;
	ClinicalTimes times;
	Datum		bounds[NBOUNDS];
	Datum		counts[NBOUNDS];
	Datum		values[4];
	bool		nulls[4] = {false};
	TupleDesc	desc;

	if (!waiting && strcmp(measure, "processing") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("measure must be waiting or processing")));
	(void) clinical_require_entry();
	(void) clinical_times_read(waiting ? CLINICAL_TIME_WAITING : CLINICAL_TIME_PROCESSING, &times);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	count_below(&times, bounds, counts);
	values[0] = PointerGetDatum(construct_array(bounds, NBOUNDS, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[1] = PointerGetDatum(construct_array(counts, NBOUNDS, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[2] = Float8GetDatum((double) times.sum / 1000000);
	values[3] = Int64GetDatum((int64) times.count);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
