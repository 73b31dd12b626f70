/*-------------------------------------------------------------------------
 *
 * intake_empty.c
 *		The ring of segments: another one takes over when the current one is
 *		large, and those that were processed are emptied.
 *
 * A segment of which all rows are deleted is emptied by the server's VACUUM,
 * which cuts it off in place: no row of a catalog changes its place, no new file
 * is made, and a full disk is no obstacle.  It is tried only where nobody's
 * snapshot sees the deleted rows any more and nobody holds the table (a dump
 * does, for long): until then the rows are in nobody's way.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/vacuum.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/rel.h"

#include "intake.h"
#include "worker.h"

/* A segment of so many blocks (16 MB) is large: some 40,000 reports */
#define LARGE_SEGMENT 2048
/* One of so many is not worth to be emptied while it takes reports in */
#define SMALL_SEGMENT 128

/* The size of a segment, with what is stored out of line. */
static BlockNumber
segment_blocks(int table)
{
	Relation	relation = table_open(clinical_stage_table(table), AccessShareLock);
	BlockNumber nblocks = RelationGetNumberOfBlocks(relation);

	if (OidIsValid(relation->rd_rel->reltoastrelid))
	{
		Relation	toast = table_open(relation->rd_rel->reltoastrelid, AccessShareLock);

		nblocks += RelationGetNumberOfBlocks(toast);
		table_close(toast, AccessShareLock);
	}
	table_close(relation, AccessShareLock);
	return nblocks;
}

/* The size of all tables in which reports wait. */
int64
clinical_segments_bytes(void)
{
	int64		nblocks = 0;

	for (int table = 0; table < CLINICAL_STAGES; table++)
		nblocks += segment_blocks(table);
	return nblocks * BLCKSZ;
}

/*
 * Let an empty segment take over from the current one where that is large, or
 * idle and not small, and there is an empty one; nobody else may do so meanwhile.
 */
static void
turn(ClinicalBacklog *backlog, const BlockNumber *nblocks, bool idle)
{
	uint32		current = pg_atomic_read_u32(&backlog->current);

	if (nblocks[current] <= LARGE_SEGMENT &&
		(!idle || nblocks[current] <= SMALL_SEGMENT || pg_atomic_read_u32(&backlog->rows[current]) != 0))
		return;
	for (uint32 i = 1; i < CLINICAL_SEGMENTS; i++)
	{
		uint32		next = (current + i) % CLINICAL_SEGMENTS;

		if (nblocks[next] == 0)
		{
			pg_atomic_write_u32(&backlog->turn[next], pg_atomic_read_u32(&backlog->turn[current]) + 1);
			pg_write_barrier();
			pg_atomic_write_u32(&backlog->current, next);
			return;
		}
	}
}

/* The segments in the order in which they took reports in. */
void
clinical_segments_order(ClinicalBacklog *backlog, int *order)
{
	for (int i = 0; i < CLINICAL_SEGMENTS; i++)
	{
		uint32		turn = pg_atomic_read_u32(&backlog->turn[i]);
		int			at = i;

		for (; at > 0 && (int32) (pg_atomic_read_u32(&backlog->turn[order[at - 1]]) - turn) > 0; at--)
			order[at] = order[at - 1];
		order[at] = i;
	}
}

/*
 * In the foreground, where no worker does it: turn to another segment where the
 * current one is large.  What was processed can then be emptied by a VACUUM.
 */
void
clinical_segments_turn_large(ClinicalBacklog *backlog)
{
	BlockNumber nblocks[CLINICAL_SEGMENTS];

	if (!clinical_stage_lock(CLINICAL_LOCK_TURN, true))
		return;
	for (int table = 0; table < CLINICAL_SEGMENTS; table++)
		nblocks[table] = segment_blocks(table);
	turn(backlog, nblocks, false);
	clinical_stage_unlock(CLINICAL_LOCK_TURN);
}

/* Can all rows of a segment be removed, and the segment be cut off, at once? */
static bool
can_be_emptied(ClinicalBacklog *backlog, int table)
{
	Oid			relid = clinical_stage_table(table);
	Relation	relation;
	TransactionId oldest;

	if (pg_atomic_read_u32(&backlog->rows[table]) != 0)
		return false;
	relation = table_open(relid, AccessShareLock);
	oldest = GetOldestNonRemovableTransactionId(relation);
	table_close(relation, AccessShareLock);
	return TransactionIdPrecedes(pg_atomic_read_u32(&backlog->last_xid[table]), oldest) &&
		ConditionalLockRelationOid(relid, AccessExclusiveLock);
}

/*
 * Turn to another segment where the current one is large, or idle and not small;
 * the tables that can be emptied, as a list in the given context.  True if
 * nothing else is to be emptied.  In a transaction.
 */
bool
clinical_segments_turn(ClinicalBacklog *backlog, bool idle, MemoryContext context, List **result)
{
	BlockNumber nblocks[CLINICAL_SEGMENTS];
	int			current;
	bool		all = true;

	for (int table = 0; table < CLINICAL_SEGMENTS; table++)
		nblocks[table] = segment_blocks(table);
	if (clinical_stage_lock(CLINICAL_LOCK_TURN, true))
		turn(backlog, nblocks, idle);
	current = (int) pg_atomic_read_u32(&backlog->current);
	for (int table = 0; table < CLINICAL_SEGMENTS; table++)
	{
		MemoryContext old;

		if (table == current || nblocks[table] == 0)
			continue;
		if (!can_be_emptied(backlog, table))
		{
			all = false;
			continue;
		}
		old = MemoryContextSwitchTo(context);
		*result = lappend_oid(*result, clinical_stage_table(table));
		MemoryContextSwitchTo(old);
	}
	return all;
}

/*
 * Empty a segment, as its owner; outside of a transaction.  VACUUM makes its own.
 * An error ends the worker.
 */
void
clinical_segment_empty(Oid relid)
{
	MemoryContext context = CurrentMemoryContext;
	VacuumParams params;
	ClinicalUser saved;
	List	   *relations;

	memset(&params, 0, sizeof(params));
	params.options = CLINICAL_VACUUM_OPTIONS;
	params.index_cleanup = VACOPTVALUE_AUTO;
	params.truncate = VACOPTVALUE_ENABLED;
	params.log_min_duration = -1;
	params.nworkers = -1;
	relations = list_make1(makeVacuumRelation(NULL, relid, NIL));

	StartTransactionCommand();
	GetUserIdAndSecContext(&saved.id, &saved.context);
	SetUserIdAndSecContext(get_role_oid("clinical_owner", false), 0);
	clinical_vacuum(relations, &params, context);
	SetUserIdAndSecContext(saved.id, saved.context);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}
