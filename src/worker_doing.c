/*-------------------------------------------------------------------------
 *
 * worker_doing.c
 *		What each worker does now, and has done, for stat_worker.
 *
 * It stands in the worker's slot or place, which the worker alone writes while it
 * is there.  Who reads it may see a job with the reports of the one before: each
 * number is right, at its moment.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "worker_slot.h"

/* Begin with nothing, in new shared memory. */
void
clinical_doing_initialize(ClinicalDoing *doing)
{
	pg_atomic_init_u32(&doing->job, 0);
	pg_atomic_init_u32(&doing->batch, 0);
	pg_atomic_init_u64(&doing->lanes, 0);
	pg_atomic_init_u64(&doing->since, 0);
	pg_atomic_init_u64(&doing->done, 0);
	pg_atomic_init_u64(&doing->reports, 0);
	pg_atomic_init_u64(&doing->failed, 0);
}

/* A process begins, and has done nothing yet. */
void
clinical_doing_reset(ClinicalDoing *doing)
{
	pg_atomic_write_u32(&doing->job, 0);
	pg_atomic_write_u32(&doing->batch, 0);
	pg_atomic_write_u64(&doing->lanes, 0);
	pg_atomic_write_u64(&doing->since, (uint64) GetCurrentTimestamp());
	pg_atomic_write_u64(&doing->done, 0);
	pg_atomic_write_u64(&doing->reports, 0);
	pg_atomic_write_u64(&doing->failed, 0);
}

/* In a worker: what it does. */
static ClinicalDoing *
own_doing(void)
{
	return clinical_worker_place != NULL ? &clinical_worker_place->doing : &clinical_worker_slot->doing;
}

/* The worker begins a job. */
void
clinical_doing_begin(int job)
{
	ClinicalDoing *doing = own_doing();

	pg_atomic_write_u64(&doing->since, (uint64) GetCurrentTimestamp());
	pg_atomic_write_u32(&doing->job, (uint32) job + 1);
}

/* It has ended; did it change anything?  If there is nothing more to do, that is so since then. */
void
clinical_doing_end(bool changed, TimestampTz idle_since)
{
	ClinicalDoing *doing = own_doing();

	pg_atomic_write_u32(&doing->job, 0);
	pg_atomic_write_u64(&doing->since, (uint64) idle_since);
	if (changed)
		pg_atomic_fetch_add_u64(&doing->done, 1);
}

/* Its transaction has ended: it has no reports in hand any more, and they are processed or not. */
void
clinical_doing_settle(bool committed)
{
	ClinicalDoing *doing = own_doing();

	if (committed)
		pg_atomic_fetch_add_u64(&doing->reports, pg_atomic_read_u32(&doing->batch));
	pg_atomic_write_u32(&doing->batch, 0);
	pg_atomic_write_u64(&doing->lanes, 0);
}

/* In a worker: it has so many reports of these lanes in hand, until its transaction ends. */
void
clinical_worker_works_on(uint64 lanes, uint32 reports)
{
	if (!clinical_in_worker())
		return;
	pg_atomic_write_u64(&own_doing()->lanes, lanes);
	pg_atomic_write_u32(&own_doing()->batch, reports);
}

/* In a worker: a batch failed, or something else that it was to do, and it goes on. */
void
clinical_worker_failed(void)
{
	if (clinical_in_worker())
		pg_atomic_fetch_add_u64(&own_doing()->failed, 1);
}
