/*-------------------------------------------------------------------------
 *
 * intake_stage.c
 *		The tables in which reports wait: putting them in, finding them, and
 *		taking them out.
 *
 * There is a ring of segments, heaps without an index, one of which takes
 * reports in, at its end.  When it is large another one that is empty takes
 * over; what was processed is emptied whole (intake_empty.c).  Reports that
 * failed and are tried again at some time wait in a table of their own, so that
 * they keep no segment from being emptied.
 *
 * Rows are put in below the executor: nobody needs, or has, the right to write
 * there.  The lane of a report follows from its patient; who processes reports
 * holds the locks of their lanes until the transaction ends, so that no two
 * work on one patient.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "intake.h"
#include "worker.h"

/* Where a session last found the tables */
static Oid	parent = InvalidOid;
static Oid	tables[CLINICAL_STAGES];

static const char *const table_names[CLINICAL_STAGES] = {
	"staged_report_0", "staged_report_1", "staged_report_2", "staged_report_3", "staged_report_retry"
};

/* The table above all in which reports wait; it has no rows of its own. */
Oid
clinical_stage_parent(void)
{
	Oid			schema = get_namespace_oid("clinical", false);
	Oid			found = get_relname_relid("staged_report", schema);

	if (found == parent && OidIsValid(found))
		return parent;
	for (int i = 0; i < CLINICAL_STAGES; i++)
	{
		tables[i] = get_relname_relid(table_names[i], schema);
		if (!OidIsValid(tables[i]))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("table \"clinical.%s\" does not exist", table_names[i])));
	}
	parent = found;
	return parent;
}

/* One of the tables, after clinical_stage_parent. */
Oid
clinical_stage_table(int table)
{
	return tables[table];
}

/* The lane of a patient. */
int
clinical_patient_lane(Datum patient_id)
{
	text	   *id = DatumGetTextPP(patient_id);

	return (int) (hash_bytes((const unsigned char *) VARDATA_ANY(id), (int) VARSIZE_ANY_EXHDR(id)) % CLINICAL_LANES);
}

/* The lane of a row. */
int
clinical_stage_lane(TupleTableSlot *slot)
{
	bool		isnull;
	Datum		patient_id = slot_getattr(slot, CLINICAL_STAGED_PATIENT_ID + 1, &isnull);

	return isnull ? 0 : clinical_patient_lane(patient_id);
}

/* The project of a row that has a share of the queue, or 0. */
int64
clinical_stage_quota_project(TupleTableSlot *slot)
{
	bool		isnull;
	Datum		project_id = slot_getattr(slot, CLINICAL_STAGED_QUOTA_PROJECT + 1, &isnull);

	return isnull ? 0 : DatumGetInt64(project_id);
}

/* Lock something about the queue; false if only at once, and it is not free. */
bool
clinical_stage_lock(uint16 what, bool at_once)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, RelationRelationId, clinical_stage_parent(), what);
	return LockAcquire(&tag, ExclusiveLock, false, at_once) != LOCKACQUIRE_NOT_AVAIL;
}

/* The end of it. */
void
clinical_stage_unlock(uint16 what)
{
	UnlockDatabaseObject(RelationRelationId, clinical_stage_parent(), what, ExclusiveLock);
}

/* Since when a report waits; 0: it was put back from quarantine, at an unknown time. */
static TimestampTz
waits_since(const Datum *values, const bool *nulls)
{
	return nulls[CLINICAL_STAGED_DIGEST] ? DatumGetTimestampTz(values[CLINICAL_STAGED_RECEIVED_AT]) : 0;
}

/* The same of a row that was found. */
TimestampTz
clinical_stage_since(TupleTableSlot *slot)
{
	bool		isnull;
	bool		is_new;
	Datum		received_at = slot_getattr(slot, CLINICAL_STAGED_RECEIVED_AT + 1, &isnull);

	(void) slot_getattr(slot, CLINICAL_STAGED_DIGEST + 1, &is_new);
	return is_new ? DatumGetTimestampTz(received_at) : 0;
}

/* Tell that a row was put into a block. */
static void
has_put(int table, int lane, BlockNumber block, const Datum *values, const bool *nulls, bool submitted)
{
	TimestampTz since = waits_since(values, nulls);
	int64		bytes = 0;

	if (table == CLINICAL_RETRIED)
	{
		clinical_intake_has_put_off(DatumGetTimestampTz(values[CLINICAL_STAGED_NOT_BEFORE]));
		return;
	}
	if (submitted)
		bytes = (int64) toast_raw_datum_size(values[CLINICAL_STAGED_REPORT_DATA]) - VARHDRSZ;
	clinical_intake_has_put(table, lane, block, since == 0 ? GetCurrentTimestamp() : since, submitted, bytes);
}

/* Put a row into an open table, at its end. */
static void
put(ClinicalBacklog *backlog, int table, Relation relation, Datum *values, bool *nulls, bool submitted)
{
	int			lane = clinical_patient_lane(values[CLINICAL_STAGED_PATIENT_ID]);
	HeapTuple	tuple;

	if (RelationGetNumberOfAttributes(relation) != CLINICAL_STAGED_NCOLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" cannot have other columns than its own", RelationGetRelationName(relation))));
	tuple = heap_form_tuple(RelationGetDescr(relation), values, nulls);
	clinical_intake_puts(backlog, table);
	/* into the last block, not the one that this session used last: what was acknowledged first stands first */
	RelationSetTargetBlock(relation, InvalidBlockNumber);
	heap_insert(relation, tuple, GetCurrentCommandId(true), HEAP_INSERT_SKIP_FSM, NULL);
	CLINICAL_FAULT("stage_put");
	has_put(table, lane, ItemPointerGetBlockNumber(&tuple->t_self), values, nulls, submitted);
	heap_freetuple(tuple);
}

/*
 * Put a report among those that wait; false if there is no place for it, or its
 * project, if it has a share of the queue, has taken as many as its quota.  The
 * table is locked before the place is reserved: who holds a stronger lock knows
 * that nothing is in flight.
 */
bool
clinical_stage_put(ClinicalBacklog *backlog, int64 capacity, int64 quota, Datum *values, bool *nulls, bool submitted)
{
	int			table = (int) pg_atomic_read_u32(&backlog->current);
	Relation	relation = table_open(tables[table], RowExclusiveLock);
	bool		reserved = clinical_intake_reserve(backlog, capacity);

	if (reserved && !nulls[CLINICAL_STAGED_QUOTA_PROJECT] &&
		!clinical_intake_reserve_quota(backlog, DatumGetInt64(values[CLINICAL_STAGED_QUOTA_PROJECT]), quota))
	{
		clinical_intake_unreserve(backlog);
		reserved = false;
	}
	if (reserved)
		put(backlog, table, relation, values, nulls, submitted);
	table_close(relation, NoLock);
	return reserved;
}

/* Put a report that has a place already among those that are tried again. */
void
clinical_stage_put_off(ClinicalBacklog *backlog, Datum *values, bool *nulls)
{
	Relation	relation = table_open(tables[CLINICAL_RETRIED], RowExclusiveLock);

	put(backlog, CLINICAL_RETRIED, relation, values, nulls, false);
	if (!nulls[CLINICAL_STAGED_QUOTA_PROJECT])
		clinical_intake_leave_quota(backlog, DatumGetInt64(values[CLINICAL_STAGED_QUOTA_PROJECT]), -1);
	table_close(relation, NoLock);
}

/* The last transaction that deleted from a table, so far. */
static void
note_deleter(ClinicalBacklog *backlog, int table)
{
	TransactionId mine = GetCurrentTransactionId();
	uint32		last = pg_atomic_read_u32(&backlog->last_xid[table]);

	while (TransactionIdFollows(mine, last) &&
		   !pg_atomic_compare_exchange_u32(&backlog->last_xid[table], &last, mine))
		;
}

/*
 * Take a row out.  False if somebody else has: a superuser by hand, since the
 * lane is ours.
 */
static bool
take(ClinicalBacklog *backlog, int table, Relation relation, const ClinicalStaged *staged)
{
	TM_FailureData failure;
	ItemPointerData tid = staged->tid;

	note_deleter(backlog, table);
	return heap_delete(relation, &tid, GetCurrentCommandId(true), InvalidSnapshot, true, &failure, false) == TM_Ok;
}

/*
 * Take these reports out of their tables, and those from the list that are gone
 * already; how many are left.
 */
int
clinical_stage_take(ClinicalBacklog *backlog, ClinicalStaged **reports, int count)
{
	Relation	relations[CLINICAL_STAGES] = {NULL};
	int			left = 0;

	for (int i = 0; i < count; i++)
	{
		ClinicalStaged *staged = reports[i];
		int			table = staged->table;

		CHECK_FOR_INTERRUPTS();
		if (relations[table] == NULL)
			relations[table] = table_open(tables[table], RowExclusiveLock);
		if (!take(backlog, table, relations[table], staged))
			continue;
		clinical_intake_took(table, staged->lane, waits_since(staged->values, staged->nulls));
		if (!staged->nulls[CLINICAL_STAGED_QUOTA_PROJECT])
			clinical_intake_leave_quota(backlog, DatumGetInt64(staged->values[CLINICAL_STAGED_QUOTA_PROJECT]), 1);
		reports[left++] = staged;
	}
	for (int table = 0; table < CLINICAL_STAGES; table++)
	{
		if (relations[table] != NULL)
			table_close(relations[table], NoLock);
	}
	CommandCounterIncrement();
	return left;
}

/* Keep a row that was found, in the current memory context. */
static void
keep(ClinicalBatch *batch, int table, int lane, TupleTableSlot *slot)
{
	ClinicalStaged *staged = palloc0_object(ClinicalStaged);
	HeapTuple	tuple = ExecCopySlotHeapTuple(slot);

	staged->table = table;
	staged->lane = lane;
	staged->tid = slot->tts_tid;
	heap_deform_tuple(tuple, slot->tts_tupleDescriptor, staged->values, staged->nulls);
	if (batch->count == batch->room)
	{
		batch->room += 256;
		batch->reports = repalloc_array(batch->reports, ClinicalStaged *, batch->room);
	}
	batch->reports[batch->count++] = staged;
	batch->taken[lane]++;
	if (!staged->nulls[CLINICAL_STAGED_REPORT_DATA])
		batch->bytes += toast_raw_datum_size(staged->values[CLINICAL_STAGED_REPORT_DATA]);
}

/* What a scan of a table for some lanes has to know */
typedef struct Search
{
	ClinicalBacklog *backlog;
	ClinicalBatch *batch;
	int			table;
	BlockNumber begin[CLINICAL_LANES];	/* of each lane */
	BlockNumber last[CLINICAL_LANES];	/* where a row of it was kept */
	BlockNumber left[CLINICAL_LANES];	/* where the first row of it was left */
	BlockNumber first;			/* the lowest to begin with */
} Search;

/* Where each lane of the batch begins in a table; false if nowhere. */
static bool
begin_search(Search *search, ClinicalBacklog *backlog, ClinicalBatch *batch, int table)
{
	search->backlog = backlog;
	search->batch = batch;
	search->table = table;
	search->first = InvalidBlockNumber;
	for (int lane = 0; lane < CLINICAL_LANES; lane++)
	{
		search->begin[lane] = search->last[lane] = search->left[lane] = InvalidBlockNumber;
		if ((batch->lanes & (UINT64CONST(1) << lane)) == 0)
			continue;
		search->begin[lane] = clinical_intake_begin_lane(backlog, table, lane);
		search->first = Min(search->first, search->begin[lane]);
	}
	return search->first != InvalidBlockNumber;
}

/* Where the next search for each lane is to begin, if this one ended before the given block. */
static void
end_search(const Search *search, BlockNumber end)
{
	for (int lane = 0; lane < CLINICAL_LANES; lane++)
	{
		BlockNumber next = search->left[lane];

		if (search->begin[lane] == InvalidBlockNumber)
			continue;
		if (end != InvalidBlockNumber)
			next = Min(next, Max(search->begin[lane], end));
		if (next != InvalidBlockNumber)
			clinical_intake_leave_lane(search->table, lane, next);
	}
}

/* Is there no more to be looked for? */
static bool
is_enough(const ClinicalBatch *batch, int64 visited)
{
	return batch->count >= batch->limit || batch->bytes >= CLINICAL_BATCH_BYTES ||
		(batch->count > 0 && visited >= CLINICAL_MAX_VISITED * (int64) batch->limit);
}

/*
 * Keep a row, unless its lane has had its share already.  Within a block rows
 * may stand in any order: of a block, all of a lane's or none.
 */
static void
consider(Search *search, int lane, BlockNumber block, TupleTableSlot *slot)
{
	ClinicalBatch *batch = search->batch;

	if (search->left[lane] == InvalidBlockNumber &&
		(batch->taken[lane] < batch->lane_limit || search->last[lane] == block))
	{
		keep(batch, search->table, lane, slot);
		search->last[lane] = block;
	}
	else
		search->left[lane] = Min(search->left[lane], block);
}

/* Look through a table from the first block on; the block where enough was found. */
static BlockNumber
search_table(Search *search, Relation relation)
{
	ClinicalBatch *batch = search->batch;
	BlockNumber nblocks = RelationGetNumberOfBlocks(relation);
	BlockNumber previous = InvalidBlockNumber;
	BlockNumber end = InvalidBlockNumber;
	TableScanDesc scan;
	TupleTableSlot *slot;
	int64		visited = 0;

	batch->nblocks[search->table] = nblocks;
	if (search->first >= nblocks)
		return InvalidBlockNumber;
	scan = table_beginscan_strat(relation, GetActiveSnapshot(), 0, NULL, true, false);
	heap_setscanlimits(scan, search->first, nblocks - search->first);
	slot = table_slot_create(relation, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		int			lane = clinical_stage_lane(slot);
		BlockNumber block = ItemPointerGetBlockNumber(&slot->tts_tid);

		CHECK_FOR_INTERRUPTS();
		if (block != previous && is_enough(batch, visited))
		{
			end = block;
			break;
		}
		previous = block;
		visited++;
		if (search->begin[lane] != InvalidBlockNumber)
			consider(search, lane, block, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	return end;
}

/* Find reports of the batch's lanes, whose locks are held, in the order in which they came. */
void
clinical_stage_find(ClinicalBacklog *backlog, ClinicalBatch *batch, int table)
{
	Search		search;
	Relation	relation;

	relation = table_open(tables[table], RowExclusiveLock);
	if (begin_search(&search, backlog, batch, table))
	{
		CLINICAL_FAULT("stage_find");
		/* whose hint was taken away, and what the lanes' last holders did, must be seen */
		PushActiveSnapshot(GetTransactionSnapshot());
		end_search(&search, search_table(&search, relation));
		PopActiveSnapshot();
	}
	table_close(relation, NoLock);
}

/* Was a report marked, before it was processed alone? */
static bool
is_marked(TupleTableSlot *slot)
{
	bool		isnull;
	Datum		crashes = slot_getattr(slot, CLINICAL_STAGED_CRASHES + 1, &isnull);

	return !isnull && DatumGetInt32(crashes) > 0;
}

/*
 * Find reports that are to be tried again now, and lock their lanes; when the
 * next one is due is told to all.
 */
void
clinical_stage_find_due(ClinicalBacklog *backlog, ClinicalBatch *batch)
{
	Relation	relation = table_open(tables[CLINICAL_RETRIED], RowExclusiveLock);
	TableScanDesc scan = table_beginscan_strat(relation, GetActiveSnapshot(), 0, NULL, true, false);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = DT_NOEND;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		int			lane = clinical_stage_lane(slot);
		bool		isnull;
		TimestampTz due = DatumGetTimestampTz(slot_getattr(slot, CLINICAL_STAGED_NOT_BEFORE + 1, &isnull));

		CHECK_FOR_INTERRUPTS();
		if (batch->marked_only && !is_marked(slot))
			next = now;
		else if (!isnull && due > now)
			next = Min(next, due);
		else if (batch->count >= batch->limit || batch->bytes >= CLINICAL_BATCH_BYTES)
			next = now;
		else if ((batch->lanes & (UINT64CONST(1) << lane)) != 0 || clinical_stage_lock(CLINICAL_LOCK_LANE + lane, true))
		{
			batch->lanes |= UINT64CONST(1) << lane;
			keep(batch, CLINICAL_RETRIED, lane, slot);
		}
		else
			next = Min(next, TimestampTzPlusMilliseconds(now, CLINICAL_RETRY_BUSY));
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	table_close(relation, NoLock);
	clinical_intake_put_off_until(backlog, next);
}
