/*-------------------------------------------------------------------------
 *
 * intake_count.c
 *		How many reports wait in this database: counted in shared memory, so
 *		that the queue is bounded without a lock.
 *
 * A place is reserved when a report is put in, and given back when the
 * transaction or savepoint aborts; who processes reports gives their places back
 * when that commits.  So the count is never below the number of committed rows.
 * It begins with a count of the table, before the first place is given out, and
 * is lost with the server's memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "intake.h"
#include "worker.h"

/* What a level of the transaction has reserved and processed */
typedef struct Pending
{
	int			nest_level;
	int64		reserved;
	int64		drained;
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
	entry->below = pending;
	pending = entry;
	return entry;
}

/* Give places back; never more than there are, should rows have come another way. */
static void
give_back(int64 places)
{
	ClinicalBacklog *backlog = clinical_backlog();
	uint64		count;

	if (places == 0 || backlog == NULL)
		return;
	count = pg_atomic_read_u64(&backlog->count);
	while (!pg_atomic_compare_exchange_u64(&backlog->count, &count, count - Min(count, (uint64) places)))
		;
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
		give_back(entry->reserved);
		pending = entry->below;
	}
	else if (entry->below != NULL && entry->below->nest_level == level - 1)
	{
		entry->below->reserved += entry->reserved;
		entry->below->drained += entry->drained;
		pending = entry->below;
	}
	else
		entry->nest_level = level - 1;
}

/* Callback: the same for the transaction. */
static void
transaction_ends(XactEvent event, void *arg)
{
	if (pending == NULL)
		return;
	if (event == XACT_EVENT_PRE_PREPARE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot prepare a transaction that has submitted or processed reports")));
	if (event == XACT_EVENT_COMMIT)
		give_back(pending->drained);
	if (event == XACT_EVENT_ABORT)
	{
		for (Pending *entry = pending; entry != NULL; entry = entry->below)
			give_back(entry->reserved);
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		pending = NULL;
}

/* Register the callbacks, once a session. */
void
clinical_intake_count_init(void)
{
	RegisterXactCallback(transaction_ends, NULL);
	RegisterSubXactCallback(savepoint_ends, NULL);
}

/* The rows of a table that are committed by now. */
static uint64
count_rows(Oid relid)
{
	Relation	relation = table_open(relid, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(relation, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	uint64		count = 0;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		count++;
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(relation, AccessShareLock);
	return count;
}

/* See to it that the waiting reports are counted, before any is put in or taken out. */
void
clinical_intake_require_count(void)
{
	ClinicalBacklog *backlog = clinical_backlog();
	Oid			relid = get_relname_relid("staged_report", get_namespace_oid("clinical", false));

	clinical_require_preload();
	if (backlog == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("there are more databases than clinical.max_databases"),
				 errhint("Raise clinical.max_databases and restart the server.")));
	if (pg_atomic_read_u32(&backlog->counted) == relid)
		return;
	LockDatabaseObject(RelationRelationId, relid, 1, ExclusiveLock);
	if (pg_atomic_read_u32(&backlog->counted) != relid)
	{
		pg_atomic_write_u64(&backlog->count, count_rows(relid));
		pg_write_barrier();
		pg_atomic_write_u32(&backlog->counted, relid);
	}
	UnlockDatabaseObject(RelationRelationId, relid, 1, ExclusiveLock);
}

/* Reserve a place; false if all are taken. */
bool
clinical_intake_reserve(int64 capacity)
{
	ClinicalBacklog *backlog = clinical_backlog();
	Pending    *entry = pending_here();
	uint64		count = pg_atomic_read_u64(&backlog->count);

	do
	{
		if (count >= (uint64) capacity)
			return false;
	} while (!pg_atomic_compare_exchange_u64(&backlog->count, &count, count + 1));
	entry->reserved++;
	return true;
}

/* The same for what was accepted before: it has a place also in a full queue. */
void
clinical_intake_reserve_anyway(void)
{
	(void) clinical_intake_reserve(PG_INT64_MAX);
}

/* So many reports leave the queue when this commits. */
void
clinical_intake_drained(int64 reports)
{
	pending_here()->drained += reports;
}

/* Give back the place that was just reserved. */
void
clinical_intake_unreserve(void)
{
	pending_here()->reserved--;
	give_back(1);
}
