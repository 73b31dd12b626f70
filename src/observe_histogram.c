/*-------------------------------------------------------------------------
 *
 * observe_histogram.c
 *		How long things take: how many times by buckets, each a sixteenth of an
 *		octave.
 *
 * A percentile is the middle of the bucket that it lies in: off by 1/32 at
 * most.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "funcapi.h"
#include "port/pg_bitutils.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "core.h"
#include "observe_entry.h"

PG_FUNCTION_INFO_V1(clinical_stat_times);

/* An octave has so many buckets, 2 to the power of so many */
#define PARTS_BITS 4
#define PARTS (1 << PARTS_BITS)

/* The bucket of a time: below 16 microseconds one for each. */
int
clinical_bucket(uint64 us)
{
	int			octave;

	if (us < PARTS)
		return (int) us;
	octave = pg_leftmost_one_pos64(us) - PARTS_BITS;
	return Min((octave + 1) * PARTS + (int) ((us >> octave) & (PARTS - 1)), CLINICAL_NBUCKETS - 1);
}

/* The shortest time of a bucket. */
uint64
clinical_bucket_begin(int bucket)
{
	int			octave = bucket / PARTS - 1;

	if (octave < 0)
		return (uint64) bucket;
	return (uint64) (PARTS + bucket % PARTS) << octave;
}

/* Raise a number, unless it is that high already. */
static void
raise_number(pg_atomic_uint64 *number, uint64 value)
{
	uint64		present = pg_atomic_read_u64(number);

	while (present < value && !pg_atomic_compare_exchange_u64(number, &present, value))
		;
}

/* Count so many times within a bucket for all.  Under the lock, shared. */
void
clinical_time_add(ClinicalTimeNumbers *times, int bucket, uint64 number, uint64 sum, uint64 max)
{
	pg_atomic_fetch_add_u64(&times->buckets[bucket], (int64) number);
	pg_atomic_fetch_add_u64(&times->sum, (int64) sum);
	raise_number(&times->max, max);
}

/* So many took so long (microseconds), when the transaction commits. */
void
clinical_measure(ClinicalHistogram histogram, uint64 us, uint32 number)
{
	clinical_count_times(histogram, clinical_bucket(us), number, us);
}

/* What was measured in this database; false if nothing is counted. */
bool
clinical_times_read(ClinicalHistogram histogram, ClinicalTimes *times)
{
	ClinicalEntry *entry = clinical_entry();
	ClinicalTimeNumbers *numbers;

	if (entry == NULL)
		return false;
	numbers = &entry->numbers.times[histogram];
	times->count = 0;
	LWLockAcquire(clinical_entries_lock, LW_SHARED);
	times->sum = pg_atomic_read_u64(&numbers->sum);
	times->max = pg_atomic_read_u64(&numbers->max);
	for (int i = 0; i < CLINICAL_NBUCKETS; i++)
	{
		times->buckets[i] = pg_atomic_read_u64(&numbers->buckets[i]);
		times->count += times->buckets[i];
	}
	LWLockRelease(clinical_entries_lock);
	return true;
}

/* The time (ms) that such a share of them did not exceed: the middle of its bucket. */
static double
percentile(const ClinicalTimes *times, double share)
{
	uint64		rank = (uint64) ceil(share * (double) times->count);
	uint64		seen = 0;
	int			bucket = 0;
	double		middle;

	while (bucket < CLINICAL_NBUCKETS - 1 && seen + times->buckets[bucket] < rank)
		seen += times->buckets[bucket++];
	middle = (double) (clinical_bucket_begin(bucket) + clinical_bucket_begin(bucket + 1) - 1) / 2;
	return Min(middle, (double) times->max) / 1000;
}

/* A row about one kind of time. */
static void
times_row(ReturnSetInfo *result, const char *name, ClinicalHistogram histogram, TimestampTz reset_at)
{
	ClinicalTimes times;
	Datum		values[8];
	bool		nulls[8] = {false};

	if (!clinical_times_read(histogram, &times))
		return;
	values[0] = CStringGetTextDatum(name);
	values[1] = Int64GetDatum((int64) times.count);
	values[2] = Float8GetDatum(times.count == 0 ? 0 : (double) times.sum / (double) times.count / 1000);
	values[3] = Float8GetDatum(percentile(&times, 0.5));
	values[4] = Float8GetDatum(percentile(&times, 0.95));
	values[5] = Float8GetDatum(percentile(&times, 0.99));
	values[6] = Float8GetDatum((double) times.max / 1000);
	values[7] = TimestampTzGetDatum(reset_at);
	for (int i = 2; i < 7; i++)
		nulls[i] = times.count == 0;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* SQL: how long reports wait, and how long processing them takes. */
Datum
clinical_stat_times(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ClinicalCounts counts;

	(void) clinical_require_entry();
	(void) clinical_counts_read(&counts);
	InitMaterializedSRF(fcinfo, 0);
	times_row(result, "waiting", CLINICAL_TIME_WAITING, counts.reset_at);
	times_row(result, "processing", CLINICAL_TIME_PROCESSING, counts.reset_at);
	return (Datum) 0;
}
