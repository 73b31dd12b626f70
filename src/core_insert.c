/*-------------------------------------------------------------------------
 *
 * core_insert.c
 *		Storing rows of our tables below the executor.
 *
 * Rows and index entries, and nothing else: no trigger, no constraint, no right.
 * Who calls this has looked at what those would look at, and knows that the table
 * has plain indexes only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heaptoast.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/rel.h"

#include "core.h"

/* So many rows are stored by one call */
#define CHUNK 256

/* Store tuples one by one. */
static void
insert_singly(Relation relation, CatalogIndexState indexes, HeapTuple *tuples, int count)
{
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		CatalogTupleInsertWithInfo(relation, tuples[i], indexes);
	}
}

/* Store tuples by one call, none of which is stored out of line: the index entries would point nowhere. */
static void
insert_together(Relation relation, CatalogIndexState indexes, TupleDesc desc, TupleTableSlot **slots,
				HeapTuple *tuples, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (slots[i] == NULL)
			slots[i] = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
		ExecStoreHeapTuple(tuples[i], slots[i], false);
	}
	CatalogTuplesMultiInsertWithInfo(relation, slots, count, indexes);
	for (int i = 0; i < count; i++)
		ExecClearTuple(slots[i]);
}

/* May one of the tuples be stored out of line? */
static bool
any_is_large(HeapTuple *tuples, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (tuples[i]->t_len > TOAST_TUPLE_THRESHOLD || HeapTupleHasExternal(tuples[i]))
			return true;
	}
	return false;
}

/* Store rows. */
void
clinical_insert_tuples(Relation relation, CatalogIndexState indexes, HeapTuple *tuples, int count)
{
	TupleTableSlot *slots[CHUNK] = {NULL};
	/* one that is not counted: for many slots, that takes a while */
	TupleDesc	desc = count > 1 ? CreateTupleDescCopy(RelationGetDescr(relation)) : NULL;

	for (int from = 0; from < count; from += CHUNK)
	{
		int			some = Min(CHUNK, count - from);

		CHECK_FOR_INTERRUPTS();
		if (some == 1 || any_is_large(tuples + from, some))
			insert_singly(relation, indexes, tuples + from, some);
		else
			insert_together(relation, indexes, desc, slots, tuples + from, some);
	}
	for (int i = 0; i < CHUNK && slots[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	if (desc != NULL)
		FreeTupleDesc(desc);
}
