/*-------------------------------------------------------------------------
 *
 * worker_census.c
 *		What the launcher asks the shared catalogs, and the slots that follow
 *		from it.
 *
 * The launcher is connected to no database: it sees what shared catalogs have in
 * their fixed columns, and nothing that may be stored out of line.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "worker_slot.h"

/* pg_database.datconnlimit of a database whose removal was interrupted */
#define INVALID_DATABASE (-2)

static bool full_told = false;

/*
 * Look at the role that workers run as.  In the catalog itself: a cached row may
 * be out of date, since who changed it wakes the launcher before it tells caches.
 */
static void
take_role(ClinicalCensus *census)
{
	Relation	relation = table_open(AuthIdRelationId, AccessShareLock);
	TableScanDesc scan = table_beginscan_catalog(relation, 0, NULL);
	HeapTuple	tuple;

	census->role = InvalidOid;
	census->role_unsafe = false;
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_authid role = (Form_pg_authid) GETSTRUCT(tuple);

		if (strcmp(NameStr(role->rolname), CLINICAL_WORKER_ROLE) == 0)
		{
			census->role = role->oid;
			census->role_unsafe = role->rolsuper || role->rolbypassrls;
		}
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
}

/* Look at the databases; the lists are made in the given context. */
static void
take_databases(ClinicalCensus *census, MemoryContext context)
{
	Relation	relation = table_open(DatabaseRelationId, AccessShareLock);
	TableScanDesc scan = table_beginscan_catalog(relation, 0, NULL);
	HeapTuple	tuple;

	census->known = NIL;
	census->served = NIL;
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old = MemoryContextSwitchTo(context);

		census->known = lappend_oid(census->known, database->oid);
		if (database->datallowconn && !database->datistemplate &&
			database->datconnlimit != INVALID_DATABASE)
			census->served = lappend_oid(census->served, database->oid);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
}

/* Ask the catalogs, in a transaction. */
void
clinical_take_census(ClinicalCensus *census)
{
	MemoryContext context = CurrentMemoryContext;

	LWLockAcquire(clinical_workers_lock, LW_SHARED);
	census->generation = clinical_workers->generation;
	census->dropped = clinical_workers->dropped;
	LWLockRelease(clinical_workers_lock);

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	take_role(census);
	take_databases(census, context);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* Give up the slots of databases that are no more.  Under the lock. */
static void
give_up_slots(const ClinicalCensus *census)
{
	for (int i = 0; i < clinical_workers->nslots; i++)
	{
		ClinicalSlot *slot = &clinical_workers->slots[i];

		if (OidIsValid(slot->database) && slot->holds == 0 && clinical_slot_is_empty(slot) &&
			(int32) (slot->generation - census->generation) <= 0 &&
			!list_member_oid(census->known, slot->database))
			clinical_slot_free(slot);
	}
}

/* Give each database a slot.  Under the lock.  True if there are too few. */
static bool
make_slots(const ClinicalCensus *census)
{
	ListCell   *cell;

	foreach(cell, census->served)
	{
		if (clinical_slot_make(lfirst_oid(cell)) == NULL)
			return true;
	}
	return false;
}

/* Bring the slots in line with the catalogs; false if those have changed meanwhile. */
bool
clinical_align_slots(const ClinicalCensus *census)
{
	bool		current;
	bool		full = false;

	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	current = clinical_workers->dropped == census->dropped;
	if (current)
	{
		give_up_slots(census);
		full = make_slots(census);
	}
	LWLockRelease(clinical_workers_lock);

	if (full && !full_told)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("there are more databases than clinical can look after"),
				 errhint("Raise clinical.max_databases, now %d, and restart the server.",
						 clinical_max_databases)));
	full_told = full;
	return current;
}
