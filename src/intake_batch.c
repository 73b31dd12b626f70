/*-------------------------------------------------------------------------
 *
 * intake_batch.c
 *		Which reports are processed together: lanes are locked, and reports of
 *		theirs found.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/xact.h"
#include "port/pg_bitutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "intake.h"
#include "worker.h"

/* The highest lane that process_reports has locked in this transaction; -1: none */
static int	highest_lane = -1;
/* Lanes that had more reports than their share of a worker's last batch */
static uint64 resting = 0;

/* Begin a batch of about so many reports, in the current memory context. */
static ClinicalBatch *
begin_batch(int limit, bool marked_only)
{
	ClinicalBatch *batch = palloc0_object(ClinicalBatch);

	batch->limit = limit;
	batch->lane_limit = limit;
	batch->marked_only = marked_only;
	batch->room = limit;
	batch->reports = palloc_array(ClinicalStaged *, limit);
	return batch;
}

/* Callback: the transaction ends, and holds no lanes any more. */
static void
transaction_ends(XactEvent event, void *arg)
{
	highest_lane = -1;
}

/*
 * Lock all lanes in which reports wait.  It waits for who holds them, but only in
 * order: two that waited for a lower lane than they hold could wait for each other.
 */
static void
lock_all_lanes(ClinicalBacklog *backlog, ClinicalBatch *batch)
{
	uint64		lanes = clinical_intake_waiting_lanes(backlog);

	for (int lane = 0; lane < CLINICAL_LANES; lane++)
	{
		bool		waits = lane > highest_lane;

		if ((lanes & (UINT64CONST(1) << lane)) == 0 || !clinical_stage_lock(CLINICAL_LOCK_LANE + lane, !waits))
			continue;
		batch->lanes |= UINT64CONST(1) << lane;
		highest_lane = Max(highest_lane, lane);
	}
}

/*
 * Lock a worker's share of the lanes in which reports wait, beginning with
 * another one each time.  A lane that had more than its share has a rest, or
 * those behind it would wait for all that stand before them.
 */
static void
lock_some_lanes(ClinicalBacklog *backlog, ClinicalBatch *batch)
{
	static int	begin = 0;
	uint64		lanes = clinical_intake_waiting_lanes(backlog);
	int			share;
	int			locked = 0;

	if ((lanes & ~resting) != 0)
		lanes &= ~resting;
	share = pg_popcount64(lanes);
	share = (share + clinical_workers_running() - 1) / clinical_workers_running();
	begin = (begin + 17) % CLINICAL_LANES;
	for (int i = 0; i < CLINICAL_LANES && locked < share; i++)
	{
		int			lane = (begin + i) % CLINICAL_LANES;

		if ((lanes & (UINT64CONST(1) << lane)) == 0 || !clinical_stage_lock(CLINICAL_LOCK_LANE + lane, true))
			continue;
		batch->lanes |= UINT64CONST(1) << lane;
		locked++;
	}
	batch->lane_limit = Max(1, 2 * batch->limit / Max(locked, 1));
}

/* Note which lanes had more than their share. */
static void
note_resting(const ClinicalBatch *batch)
{
	resting = 0;
	for (int lane = 0; lane < CLINICAL_LANES; lane++)
	{
		if (batch->taken[lane] >= batch->lane_limit)
			resting |= UINT64CONST(1) << lane;
	}
}

/*
 * Find reports of the batch's lanes, the segments in the order in which they
 * took reports in: of two with one id, the first one is to be processed first.
 */
static void
find_in_segments(ClinicalBacklog *backlog, ClinicalBatch *batch)
{
	int			order[CLINICAL_SEGMENTS];

	clinical_segments_order(backlog, order);
	for (int i = 0; i < CLINICAL_SEGMENTS && batch->count < batch->limit; i++)
		clinical_stage_find(backlog, batch, order[i]);
}

/* How many of its reports a batch may have: one in any case. */
static int
count_within(const ClinicalBatch *batch)
{
	uint64		bytes = 0;
	int			count = 0;

	while (count < Min(batch->count, batch->limit) && (count == 0 || bytes < CLINICAL_BATCH_BYTES))
		bytes += toast_raw_datum_size(batch->reports[count++]->values[CLINICAL_STAGED_REPORT_DATA]);
	return count;
}

/* Of a batch that may not be larger than its limits, leave the last reports. */
static void
cut_off(ClinicalBatch *batch)
{
	int			count;

	if (batch->count <= batch->limit && batch->bytes <= CLINICAL_BATCH_BYTES)
		return;
	qsort(batch->reports, batch->count, sizeof(ClinicalStaged *), clinical_staged_received);
	count = count_within(batch);
	for (int i = count; i < batch->count; i++)
		clinical_intake_leave_lane(batch->reports[i]->table, batch->reports[i]->lane,
								   ItemPointerGetBlockNumber(&batch->reports[i]->tid));
	batch->count = count;
}

/* What waits in these lanes was not where the hints say: let the next search look everywhere. */
static void
doubt_hints(uint64 lanes)
{
	for (int lane = 0; lane < CLINICAL_LANES; lane++)
	{
		for (int table = 0; table < CLINICAL_SEGMENTS && (lanes & (UINT64CONST(1) << lane)) != 0; table++)
			clinical_intake_leave_lane(table, lane, 0);
	}
}

/* Is a report that was put off due? */
bool
clinical_batch_is_due(ClinicalBacklog *backlog)
{
	return (TimestampTz) pg_atomic_read_u64(&backlog->retry_due) <= GetCurrentTimestamp();
}

/*
 * Lock lanes, and find reports of theirs that were not tried yet.  What waited
 * may be gone by the time that a lane is locked, and that is no fault of hints:
 * a search without them reads all that an old snapshot keeps in the segments.
 */
static void
find_new(ClinicalBacklog *backlog, ClinicalBatch *batch, bool wait)
{
	uint64		waiting;

	if (wait)
		lock_all_lanes(backlog, batch);
	else
		lock_some_lanes(backlog, batch);
	waiting = clinical_intake_waiting_lanes(backlog) & batch->lanes;
	if (waiting == 0)
		return;
	find_in_segments(backlog, batch);
	if (wait || batch->limit == 1 || batch->bytes > CLINICAL_BATCH_BYTES)
		cut_off(batch);
	if (batch->count == 0)
		doubt_hints(waiting);
	if (!wait)
		note_resting(batch);
}

/*
 * Find about so many reports, and lock their lanes: those that are due again, or
 * else others.  It waits for lanes that somebody holds (in the foreground), or
 * takes what is free.  Marked ones only: those alone that were marked.
 */
ClinicalBatch *
clinical_batch_find(ClinicalBacklog *backlog, int limit, bool wait, bool marked_only)
{
	ClinicalBatch *batch = begin_batch(limit, marked_only);

	/* the tables may be others than in the last transaction, and are not known in the first */
	(void) clinical_intake_backlog();
	if (clinical_batch_is_due(backlog))
	{
		clinical_intake_begin_due(backlog);
		PushActiveSnapshot(GetTransactionSnapshot());
		clinical_stage_find_due(backlog, batch);
		PopActiveSnapshot();
	}
	if (batch->count == 0 && !marked_only)
		find_new(backlog, batch, wait);
	return batch;
}

/* Listen to ends of transactions, once a session. */
void
clinical_batch_init(void)
{
	RegisterXactCallback(transaction_ends, NULL);
}
