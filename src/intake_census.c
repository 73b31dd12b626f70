/*-------------------------------------------------------------------------
 *
 * intake_census.c
 *		Counting what waits in the tables: the first time, and when rows came
 *		another way.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "intake.h"
#include "observe.h"
#include "worker.h"

/* What was found in the tables */
typedef struct Census
{
	uint64		count;
	uint32		rows[CLINICAL_STAGES];
	TimestampTz first[CLINICAL_STAGES]; /* received_at; DT_NOBEGIN: no row */
	uint32		waiting[CLINICAL_LANES];
	TimestampTz oldest[CLINICAL_LANES]; /* if any waits */
	BlockNumber low[CLINICAL_STAGES][CLINICAL_LANES];
	uint64		quota_project[CLINICAL_MAX_QUOTAS];
	uint32		quota_count[CLINICAL_MAX_QUOTAS];
} Census;

/* Count a row of a project that has a share of the queue. */
static void
count_quota(Census *census, int64 project_id)
{
	for (int i = 0; i < CLINICAL_MAX_QUOTAS && project_id != 0; i++)
	{
		if (census->quota_project[i] == 0)
			census->quota_project[i] = (uint64) project_id;
		if (census->quota_project[i] != (uint64) project_id)
			continue;
		census->quota_count[i]++;
		return;
	}
}

/* Count the committed rows of a table. */
static void
count_table(int table, Oid relid, Census *census)
{
	Relation	relation = table_open(relid, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan_strat(relation, snapshot, 0, NULL, true, false);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	TimestampTz now = GetCurrentTimestamp();

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		int			lane = clinical_stage_lane(slot);
		BlockNumber block = ItemPointerGetBlockNumber(&slot->tts_tid);
		bool		isnull;
		TimestampTz received_at = DatumGetTimestampTz(slot_getattr(slot, CLINICAL_STAGED_RECEIVED_AT + 1, &isnull));

		CHECK_FOR_INTERRUPTS();
		census->count++;
		census->rows[table]++;
		if (census->first[table] == DT_NOBEGIN || received_at < census->first[table])
			census->first[table] = received_at;
		if (table != CLINICAL_RETRIED)
		{
			TimestampTz since = clinical_stage_since(slot);

			census->waiting[lane]++;
			census->oldest[lane] = Min(census->oldest[lane], since == 0 ? now : since);
		}
		census->low[table][lane] = Min(census->low[table][lane], block);
		count_quota(census, clinical_stage_quota_project(slot));
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(relation, AccessShareLock);
}

/* Count the committed rows of all tables. */
static Census *
count_tables(void)
{
	Census	   *census = palloc0_object(Census);

	memset(census->low, 0xff, sizeof(census->low));
	StaticAssertStmt(InvalidBlockNumber == 0xFFFFFFFF, "no block must be all ones");
	for (int table = 0; table < CLINICAL_STAGES; table++)
		census->first[table] = DT_NOBEGIN;
	for (int lane = 0; lane < CLINICAL_LANES; lane++)
		census->oldest[lane] = DT_NOEND;
	for (int table = 0; table < CLINICAL_STAGES; table++)
		count_table(table, clinical_stage_table(table), census);
	return census;
}

/* Take over what was counted: the hints first. */
static void
adopt_census(ClinicalBacklog *backlog, const Census *census)
{
	for (int table = 0; table < CLINICAL_STAGES; table++)
	{
		pg_atomic_write_u32(&backlog->rows[table], census->rows[table]);
		for (int lane = 0; lane < CLINICAL_LANES; lane++)
			pg_atomic_write_u32(&backlog->low[table][lane], census->low[table][lane]);
	}
	for (int lane = 0; lane < CLINICAL_LANES; lane++)
	{
		pg_atomic_write_u64(&backlog->oldest[lane], (uint64) census->oldest[lane]);
		pg_atomic_write_u32(&backlog->waiting[lane], census->waiting[lane]);
	}
	for (int i = 0; i < CLINICAL_MAX_QUOTAS; i++)
	{
		pg_atomic_write_u64(&backlog->quota_project[i], census->quota_project[i]);
		pg_atomic_write_u32(&backlog->quota_count[i], census->quota_count[i]);
	}
	pg_atomic_write_u64(&backlog->retry_due, census->rows[CLINICAL_RETRIED] > 0 ? (uint64) DT_NOBEGIN : (uint64) DT_NOEND);
	pg_atomic_write_u64(&backlog->count, census->count);
	clinical_counts_of(clinical_stage_parent(), (int64) census->count);
	for (int i = 0; i < (int) lengthof(backlog->full); i++)
		clinical_intake_tell_room(backlog, i);
}

/* The first count of a database, since the server has started or the extension was made. */
static void
count_first(ClinicalBacklog *backlog, Oid relid)
{
	const Census *census = count_tables();
	int			last = 0;

	for (int table = 0; table < CLINICAL_SEGMENTS; table++)
	{
		uint32		turn = 0;

		/* by their first reports, empty ones first */
		for (int other = 0; other < CLINICAL_SEGMENTS; other++)
			turn += census->first[other] < census->first[table] ||
				(census->first[other] == census->first[table] && other < table);
		pg_atomic_write_u32(&backlog->turn[table], turn);
		if (turn == CLINICAL_SEGMENTS - 1)
			last = table;
		pg_atomic_write_u32(&backlog->last_xid[table], XidFromFullTransactionId(ReadNextFullTransactionId()));
	}
	pg_atomic_write_u32(&backlog->current, last);
	pg_atomic_write_u32(&backlog->careful, 0);
	if (census->count > 0 && clinical_server_crashed())
		pg_atomic_write_u32(&backlog->careful, clinical_intake_suspects());
	clinical_intake_begin_full(backlog);
	adopt_census(backlog, census);
	pg_atomic_write_u64(&backlog->counted_at, (uint64) GetCurrentTimestamp());
	/* what this transaction has put into tables that are dropped since is not to be counted */
	pg_atomic_write_u32(&backlog->recount, clinical_intake_any_pending());
	pg_write_barrier();
	pg_atomic_write_u32(&backlog->counted, relid);
}

/* The counts of this database, made before any report is put in or taken out. */
ClinicalBacklog *
clinical_intake_backlog(void)
{
	ClinicalBacklog *backlog = clinical_backlog();
	Oid			relid = clinical_stage_parent();

	clinical_require_preload();
	PreventCommandDuringRecovery("clinical.submit_report()");
	/* places are given back after the commit, when it can no longer be asked for */
	clinical_event_know_database();
	if (backlog == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("there are more databases than clinical.max_databases"),
				 errhint("Raise clinical.max_databases and restart the server.")));
	if (likely(pg_atomic_read_u32(&backlog->counted) == relid))
		return backlog;
	clinical_stage_lock(CLINICAL_LOCK_COUNT, false);
	if (pg_atomic_read_u32(&backlog->counted) != relid)
		count_first(backlog, relid);
	clinical_stage_unlock(CLINICAL_LOCK_COUNT);
	return backlog;
}

/*
 * Count again, for rows that came another way, as by a restore.  The locks keep
 * out everybody who has put in or taken out rows and not committed; false if they
 * are not free at once: another time will do.  They are held to the end of the
 * transaction.
 */
bool
clinical_intake_recount(void)
{
	ClinicalBacklog *backlog = clinical_intake_backlog();

	Assert(!clinical_intake_any_pending());
	for (int table = 0; table < CLINICAL_STAGES; table++)
	{
		if (!ConditionalLockRelationOid(clinical_stage_table(table), ShareLock))
			return false;
	}
	adopt_census(backlog, count_tables());
	return true;
}
