/*-------------------------------------------------------------------------
 *
 * intake_count.c
 *		How many reports wait in this database, and where: in shared memory,
 *		so that the queue is bounded, and drained, without a lock of all.
 *
 * A place is reserved when a report is put in, and given back when the
 * transaction or savepoint aborts; who processes reports gives their places back
 * when that commits.  So the count is never below the number of committed rows.
 *
 * For each lane (a share of the patients) and table there is the lowest block
 * with rows that wait.  A commit lowers it after its rows are visible; who
 * drains a lane takes it away before looking, and puts back what an abort leaves
 * there.  So no committed row stands before it, and dead rows, however long
 * somebody's snapshot keeps them, are not looked at again.
 *
 * All this begins with a count of the tables and is lost with the server's
 * memory.  Nothing that must be right depends on it but the bound.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "intake.h"
#include "observe.h"
#include "worker.h"

/* Blocks by table and lane; those whose lane is not in the mask are not set */
typedef struct Blocks
{
	uint64		lanes[CLINICAL_STAGES];
	BlockNumber block[CLINICAL_STAGES][CLINICAL_LANES];
} Blocks;

/* What a level of the transaction has reserved, put in and taken out */
typedef struct Pending
{
	int			nest_level;
	int64		reserved;		/* places */
	int64		taken;			/* reports */
	uint64		lanes;			/* that have changed */
	int32		lane_change[CLINICAL_LANES];
	int32		rows_in[CLINICAL_STAGES];
	int32		rows_out[CLINICAL_STAGES];
	bool		recount;
	bool		any_quota;
	int32		quota_in[CLINICAL_MAX_QUOTAS];	/* reserved */
	int32		quota_out[CLINICAL_MAX_QUOTAS]; /* of reports taken out */
	int64		queued;			/* reports put in by submit_report */
	int64		bytes;			/* of their data */
	TimestampTz since;			/* the first of all that were put in waits */
	TimestampTz *last_taken;	/* by lane, since when it waited; NULL: none */
	TimestampTz due;			/* of a retry that this puts in */
	TimestampTz due_again;		/* of one that it takes out */
	Blocks		after;			/* published at commit */
	Blocks		before;			/* published at abort */
	struct Pending *below;
} Pending;

static Pending *pending = NULL;

/* The entry of the current level. */
static Pending *
pending_here(void)
{
	int			level = GetCurrentTransactionNestLevel();
	Pending    *entry = pending;

	if (entry != NULL && entry->nest_level == level)
		return entry;
	entry = MemoryContextAllocZero(TopTransactionContext, sizeof(Pending));
	entry->nest_level = level;
	entry->due = entry->due_again = entry->since = DT_NOEND;
	entry->below = pending;
	pending = entry;
	return entry;
}

/* Lower a number, unless it is that low already. */
static void
lower_u32(pg_atomic_uint32 *number, uint32 value)
{
	uint32		present = pg_atomic_read_u32(number);

	while (present > value && !pg_atomic_compare_exchange_u32(number, &present, value))
		;
}

/* Set a block, unless a lower one is. */
static void
set_block(Blocks *blocks, int table, int lane, BlockNumber block)
{
	uint64		bit = UINT64CONST(1) << lane;

	if ((blocks->lanes[table] & bit) != 0)
		block = Min(block, blocks->block[table][lane]);
	blocks->lanes[table] |= bit;
	blocks->block[table][lane] = block;
}

/* The first lane of a mask, which loses it. */
static int
next_lane(uint64 *mask)
{
	int			lane = pg_rightmost_one_pos64(*mask);

	*mask &= *mask - 1;
	return lane;
}

/* Add the blocks of a level to those of another. */
static void
merge_blocks(Blocks *into, const Blocks *blocks)
{
	for (int table = 0; table < CLINICAL_STAGES; table++)
	{
		for (uint64 mask = blocks->lanes[table]; mask != 0;)
		{
			int			lane = next_lane(&mask);

			set_block(into, table, lane, blocks->block[table][lane]);
		}
	}
}

/* Let those who drain look from these blocks on. */
static void
publish_blocks(ClinicalBacklog *backlog, const Blocks *blocks)
{
	for (int table = 0; table < CLINICAL_STAGES; table++)
	{
		for (uint64 mask = blocks->lanes[table]; mask != 0;)
		{
			int			lane = next_lane(&mask);

			lower_u32(&backlog->low[table][lane], blocks->block[table][lane]);
		}
	}
}

/* Give places back; never more than there are, should rows have come another way. */
static void
give_back(ClinicalBacklog *backlog, int64 places)
{
	uint64		count = pg_atomic_read_u64(&backlog->count);

	while (places != 0 &&
		   !pg_atomic_compare_exchange_u64(&backlog->count, &count, count - Min(count, (uint64) places)))
		;
}

/* Change what projects that have a share have taken. */
static void
give_back_quotas(ClinicalBacklog *backlog, const int32 *numbers)
{
	for (int i = 0; i < CLINICAL_MAX_QUOTAS; i++)
	{
		if (numbers[i] == 0)
			continue;
		pg_atomic_fetch_sub_u32(&backlog->quota_count[i], numbers[i]);
		clinical_intake_tell_room(backlog, i);
	}
}

/* What a level did comes to nothing. */
static void
level_aborts(ClinicalBacklog *backlog, const Pending *entry)
{
	for (int table = 0; table < CLINICAL_STAGES; table++)
	{
		if (entry->rows_in[table] != 0)
			pg_atomic_fetch_sub_u32(&backlog->rows[table], entry->rows_in[table]);
	}
	publish_blocks(backlog, &entry->before);
	(void) clinical_lower_moment(&backlog->retry_due, entry->due_again);
	give_back(backlog, entry->reserved);
	clinical_intake_tell_room(backlog, CLINICAL_WHOLE_QUEUE);
	if (entry->any_quota)
		give_back_quotas(backlog, entry->quota_in);
}

/*
 * Say since when the first report of a lane waits, before its number changes: who
 * puts one into a lane where none waits knows it; and what was taken came before
 * what is left.
 */
static void
tell_oldest(ClinicalBacklog *backlog, const Pending *entry, int lane)
{
	if (entry->last_taken != NULL && entry->last_taken[lane] != 0)
		pg_atomic_write_u64(&backlog->oldest[lane], (uint64) entry->last_taken[lane]);
	else if (entry->lane_change[lane] > 0 && (int32) pg_atomic_read_u32(&backlog->waiting[lane]) <= 0)
		pg_atomic_write_u64(&backlog->oldest[lane], (uint64) entry->since);
}

/* Let others see how many reports wait in a lane now. */
static void
publish_lane(ClinicalBacklog *backlog, const Pending *entry, int lane)
{
	uint32		before;

	tell_oldest(backlog, entry, lane);
	before = pg_atomic_fetch_add_u32(&backlog->waiting[lane], entry->lane_change[lane]);
	/* the last one was taken in between */
	if (entry->lane_change[lane] > 0 && (int32) before <= 0)
		pg_atomic_write_u64(&backlog->oldest[lane], (uint64) entry->since);
}

/* Count what was put in and taken out. */
static void
count_reports(const Pending *entry)
{
	if (entry->queued != 0)
	{
		clinical_count_now(CLINICAL_COUNT_QUEUED, 0, (uint64) entry->queued);
		clinical_count_now(CLINICAL_COUNT_BYTES, 0, (uint64) entry->bytes);
	}
	if (entry->taken > 0)
		clinical_count_now(CLINICAL_COUNT_PROCESSED, 0, (uint64) entry->taken);
}

/* What the transaction did is there for all: first where, then how many. */
static void
all_commits(ClinicalBacklog *backlog, const Pending *entry)
{
	publish_blocks(backlog, &entry->after);
	(void) clinical_lower_moment(&backlog->retry_due, entry->due);
	if (entry->recount)
		pg_atomic_write_u32(&backlog->recount, 1);
	count_reports(entry);
	pg_write_barrier();
	for (uint64 mask = entry->lanes; mask != 0;)
		publish_lane(backlog, entry, next_lane(&mask));
	for (int table = 0; table < CLINICAL_STAGES; table++)
	{
		if (entry->rows_out[table] != 0)
			pg_atomic_fetch_sub_u32(&backlog->rows[table], entry->rows_out[table]);
	}
	give_back(backlog, entry->taken);
	clinical_intake_tell_room(backlog, CLINICAL_WHOLE_QUEUE);
	if (entry->any_quota)
		give_back_quotas(backlog, entry->quota_out);
}

/* Make what a savepoint did part of what its parent does. */
static void
merge_into(Pending *into, const Pending *entry)
{
	into->reserved += entry->reserved;
	into->taken += entry->taken;
	into->queued += entry->queued;
	into->bytes += entry->bytes;
	into->since = Min(into->since, entry->since);
	if (into->last_taken == NULL)
		into->last_taken = entry->last_taken;
	for (int lane = 0; lane < CLINICAL_LANES && entry->last_taken != NULL; lane++)
		into->last_taken[lane] = Max(into->last_taken[lane], entry->last_taken[lane]);
	into->lanes |= entry->lanes;
	for (uint64 mask = entry->lanes; mask != 0;)
	{
		int			lane = next_lane(&mask);

		into->lane_change[lane] += entry->lane_change[lane];
	}
	for (int table = 0; table < CLINICAL_STAGES; table++)
	{
		into->rows_in[table] += entry->rows_in[table];
		into->rows_out[table] += entry->rows_out[table];
	}
	into->recount |= entry->recount;
	into->any_quota |= entry->any_quota;
	for (int i = 0; i < CLINICAL_MAX_QUOTAS; i++)
	{
		into->quota_in[i] += entry->quota_in[i];
		into->quota_out[i] += entry->quota_out[i];
	}
	into->due = Min(into->due, entry->due);
	into->due_again = Min(into->due_again, entry->due_again);
	merge_blocks(&into->after, &entry->after);
	merge_blocks(&into->before, &entry->before);
}

/* Callback: a savepoint's reservations become its parent's, or are given back. */
static void
savepoint_ends(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();
	Pending    *entry = pending;

	if ((event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB) ||
		entry == NULL || entry->nest_level < level)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		if (clinical_backlog() != NULL)
			level_aborts(clinical_backlog(), entry);
		pending = entry->below;
		pfree(entry);
	}
	else if (entry->below != NULL && entry->below->nest_level == level - 1)
	{
		merge_into(entry->below, entry);
		pending = entry->below;
		pfree(entry);
	}
	else
		entry->nest_level = level - 1;
}

/* Somebody has changed rows below us, as a restore does: they are counted again after the commit. */
void
clinical_intake_rows_changed(void)
{
	pending_here()->recount = true;
	clinical_wake_worker();
}

/* Callback: the same for the transaction. */
static void
transaction_ends(XactEvent event, void *arg)
{
	if (pending == NULL)
		return;
	if (clinical_backlog() == NULL)
	{
		/* rows were restored where the library was not preloaded */
		if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
			pending = NULL;
		return;
	}
	if (event == XACT_EVENT_PRE_PREPARE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot prepare a transaction that has submitted or processed reports")));
	if (event == XACT_EVENT_COMMIT)
		all_commits(clinical_backlog(), pending);
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PARALLEL_ABORT)
	{
		for (Pending *entry = pending; entry != NULL; entry = entry->below)
			level_aborts(clinical_backlog(), entry);
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PARALLEL_ABORT)
		pending = NULL;
}

/* Register the callbacks, once a session. */
void
clinical_intake_count_init(void)
{
	RegisterXactCallback(transaction_ends, NULL);
	RegisterSubXactCallback(savepoint_ends, NULL);
}

/* Has this transaction put in, or taken out, anything? */
bool
clinical_intake_any_pending(void)
{
	return pending != NULL;
}

/* Are so many places taken that there is none left? */
bool
clinical_intake_is_full(const ClinicalBacklog *backlog, int64 capacity)
{
	return pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &backlog->count)) >= (uint64) capacity;
}

/* Reserve a place; false if all are taken. */
bool
clinical_intake_reserve(ClinicalBacklog *backlog, int64 capacity)
{
	Pending    *entry = pending_here();
	uint64		count = pg_atomic_read_u64(&backlog->count);

	do
	{
		if (count >= (uint64) capacity)
		{
			clinical_intake_tell_full(backlog, CLINICAL_WHOLE_QUEUE, 0, capacity);
			return false;
		}
	} while (!pg_atomic_compare_exchange_u64(&backlog->count, &count, count + 1));
	entry->reserved++;
	return true;
}

/* Reserve a place within the quota of a project; false if it has taken as many. */
bool
clinical_intake_reserve_quota(ClinicalBacklog *backlog, int64 project_id, int64 quota)
{
	Pending    *entry = pending_here();
	int			slot;
	uint32		count;

	for (;;)
	{
		slot = clinical_quota_slot(backlog, project_id);
		if (slot < 0)
			return false;
		count = pg_atomic_read_u32(&backlog->quota_count[slot]);
		do
		{
			if ((int32) count >= quota)
			{
				clinical_intake_tell_full(backlog, slot, project_id, quota);
				return false;
			}
		} while (!pg_atomic_compare_exchange_u32(&backlog->quota_count[slot], &count, count + 1));
		/* while it counted nothing it may have become another project's */
		if (pg_atomic_read_u64(&backlog->quota_project[slot]) == (uint64) project_id)
			break;
		pg_atomic_fetch_sub_u32(&backlog->quota_count[slot], 1);
	}
	entry->any_quota = true;
	entry->quota_in[slot]++;
	return true;
}

/* A report of a project that has a share leaves the queue, or (-1) does not after all. */
void
clinical_intake_leave_quota(ClinicalBacklog *backlog, int64 project_id, int change)
{
	Pending    *entry = pending_here();
	int			slot = clinical_quota_slot(backlog, project_id);

	if (slot < 0)
		return;
	entry->any_quota = true;
	entry->quota_out[slot] += change;
}

/* Give back the place that was just reserved. */
void
clinical_intake_unreserve(ClinicalBacklog *backlog)
{
	pending_here()->reserved--;
	give_back(backlog, 1);
}

/* A report will be put into a table; before it is, or an abort in between would count wrong. */
void
clinical_intake_puts(ClinicalBacklog *backlog, int table)
{
	pending_here()->rows_in[table]++;
	pg_atomic_fetch_add_u32(&backlog->rows[table], 1);
}

/* A report was put there, in this block.  bytes: of the data of one that is new. */
void
clinical_intake_has_put(int table, int lane, BlockNumber block, TimestampTz since, bool submitted, int64 bytes)
{
	Pending    *entry = pending_here();

	set_block(&entry->after, table, lane, block);
	entry->queued += submitted;
	entry->bytes += bytes;
	entry->since = Min(entry->since, since);
	entry->lanes |= UINT64CONST(1) << lane;
	entry->lane_change[lane]++;
}

/* A report was put among those that are tried again at some time. */
void
clinical_intake_has_put_off(TimestampTz due)
{
	Pending    *entry = pending_here();

	/* it keeps its place */
	entry->taken--;
	entry->due = Min(entry->due, due);
}

/*
 * Who looks for reports that are due takes the moment away before looking, tells
 * afterwards when the next one is due, and if this aborts it is now.
 */
void
clinical_intake_begin_due(ClinicalBacklog *backlog)
{
	pending_here()->due_again = DT_NOBEGIN;
	pg_atomic_write_u64(&backlog->retry_due, (uint64) DT_NOEND);
	pg_memory_barrier();
}

/* The moment at which the next report is due. */
void
clinical_intake_put_off_until(ClinicalBacklog *backlog, TimestampTz due)
{
	(void) clinical_lower_moment(&backlog->retry_due, due);
}

/* Note that a report was taken out of a lane, and since when it waited. */
static void
note_taken(Pending *entry, int lane, TimestampTz since)
{
	if (entry->last_taken == NULL)
		entry->last_taken = MemoryContextAllocZero(TopTransactionContext, CLINICAL_LANES * sizeof(TimestampTz));
	entry->last_taken[lane] = Max(entry->last_taken[lane], since);
}

/*
 * A report that waited since then was taken out of a table; should it be put off,
 * that takes this back.
 */
void
clinical_intake_took(int table, int lane, TimestampTz since)
{
	Pending    *entry = pending_here();

	entry->rows_out[table]++;
	entry->taken++;
	if (table == CLINICAL_RETRIED)
		return;
	entry->lanes |= UINT64CONST(1) << lane;
	entry->lane_change[lane]--;
	note_taken(entry, lane, since);
}

/*
 * From which block on are reports of a lane to be looked for?  InvalidBlockNumber:
 * there are none.  Under the lane's lock, and before the snapshot that looks is
 * taken.
 */
BlockNumber
clinical_intake_begin_lane(ClinicalBacklog *backlog, int table, int lane)
{
	BlockNumber low = pg_atomic_exchange_u32(&backlog->low[table][lane], InvalidBlockNumber);
	Pending    *here = pending_here();
	uint64		bit = UINT64CONST(1) << lane;

	if (low != InvalidBlockNumber)
		set_block(&here->before, table, lane, low);
	for (const Pending *entry = pending; entry != NULL; entry = entry->below)
	{
		if ((entry->after.lanes[table] & bit) != 0)
			low = Min(low, entry->after.block[table][lane]);
	}
	/* where the search ends will be set again */
	here->after.lanes[table] &= ~bit;
	return low;
}

/* Reports of the lane are left from this block on. */
void
clinical_intake_leave_lane(int table, int lane, BlockNumber block)
{
	set_block(&pending_here()->after, table, lane, block);
}

/* How many committed reports wait, but for those that were put off. */
int64
clinical_intake_waiting(ClinicalBacklog *backlog)
{
	int64		sum = 0;

	for (int lane = 0; lane < CLINICAL_LANES; lane++)
		sum += Max((int32) pg_atomic_read_u32(&backlog->waiting[lane]), 0);
	return sum;
}

/* The lanes in which reports wait, for all this transaction knows: its own count too. */
uint64
clinical_intake_waiting_lanes(ClinicalBacklog *backlog)
{
	int32		own[CLINICAL_LANES] = {0};
	uint64		lanes = 0;

	for (const Pending *entry = pending; entry != NULL; entry = entry->below)
	{
		for (uint64 mask = entry->lanes; mask != 0;)
		{
			int			lane = next_lane(&mask);

			own[lane] += entry->lane_change[lane];
		}
	}
	for (int lane = 0; lane < CLINICAL_LANES; lane++)
	{
		if ((int32) pg_atomic_read_u32(&backlog->waiting[lane]) + own[lane] > 0)
			lanes |= UINT64CONST(1) << lane;
	}
	return lanes;
}

/* How many reports this transaction itself has put in and not taken out. */
int64
clinical_intake_own(void)
{
	int64		own = 0;

	for (const Pending *entry = pending; entry != NULL; entry = entry->below)
	{
		for (uint64 mask = entry->lanes; mask != 0;)
			own += entry->lane_change[next_lane(&mask)];
	}
	return Max(own, 0);
}

/* How many it has put off. */
int
clinical_intake_own_put_off(void)
{
	int			own = 0;

	for (const Pending *entry = pending; entry != NULL; entry = entry->below)
		own += entry->rows_in[CLINICAL_RETRIED] - entry->rows_out[CLINICAL_RETRIED];
	return Max(own, 0);
}

/* Since when the first of those reports waits; DT_NOEND: there is none. */
TimestampTz
clinical_intake_oldest(ClinicalBacklog *backlog)
{
	TimestampTz oldest = DT_NOEND;

	for (int lane = 0; lane < CLINICAL_LANES; lane++)
	{
		if ((int32) pg_atomic_read_u32(&backlog->waiting[lane]) > 0)
			oldest = Min(oldest, (TimestampTz) pg_atomic_read_u64(&backlog->oldest[lane]));
	}
	return oldest;
}
