/*-------------------------------------------------------------------------
 *
 * observation_insert.c
 *		Storing reports and observations below the executor.
 *
 * The server alone writes these tables, and what their triggers and foreign keys
 * would look at was looked at already: rows, index entries and the record of the
 * audit trail are all that is left to do.  The executor takes twice as long
 * for that (doc/performance.md).  Where somebody has added a trigger, a column or
 * an index of another kind, it is the executor's all the same.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "nodes/execnodes.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "audit.h"
#include "observation.h"

/* So many rows are made before they are stored */
#define CHUNK 256
#define MAX_COLUMNS 32

/* Is a trigger one of those that have nothing to do for rows that a report made? */
static bool
is_ours(const Trigger *trigger, const char *const *triggers)
{
	if (trigger->tgisinternal)
		return true;			/* of a foreign key */
	for (; *triggers != NULL; triggers++)
	{
		if (strcmp(trigger->tgname, *triggers) == 0)
			return true;
	}
	return false;
}

/* Leave out the index that is for corrections, or for withdrawn reports, alone: a look at its predicate, for each row, tells no more. */
static void
leave_out(CatalogIndexState indexes, const char *name)
{
	for (int i = 0; i < indexes->ri_NumIndices; i++)
	{
		Relation	index = indexes->ri_IndexRelationDescs[i];
		int			behind = indexes->ri_NumIndices - i - 1;

		if (indexes->ri_IndexRelationInfo[i]->ii_Predicate == NIL || strcmp(RelationGetRelationName(index), name) != 0)
			continue;
		index_close(index, RowExclusiveLock);
		memmove(&indexes->ri_IndexRelationDescs[i], &indexes->ri_IndexRelationDescs[i + 1], sizeof(Relation) * behind);
		memmove(&indexes->ri_IndexRelationInfo[i], &indexes->ri_IndexRelationInfo[i + 1], sizeof(IndexInfo *) * behind);
		indexes->ri_NumIndices--;
		return;
	}
}

/* Has nobody added anything to the table that has to be asked about its rows? */
static bool
is_as_made(Relation relation, CatalogIndexState indexes, const ClinicalTarget *target)
{
	TriggerDesc *triggers = relation->trigdesc;

	Assert(target->nattributes <= MAX_COLUMNS);
	if (RelationGetNumberOfAttributes(relation) != target->nattributes || relation->rd_rules != NULL)
		return false;
	if (relation->rd_att->constr != NULL && relation->rd_att->constr->num_check > 0)
		return false;
	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		if (!is_ours(&triggers->triggers[i], target->triggers))
			return false;
	}
	for (int i = 0; i < indexes->ri_NumIndices; i++)
	{
		const IndexInfo *index = indexes->ri_IndexRelationInfo[i];

		if (index->ii_Expressions != NIL || index->ii_Predicate != NIL || index->ii_ExclusionOps != NULL)
			return false;
	}
	return true;
}

/* Find the number of each of the target's columns, the constant one last; false if one is not there. */
static bool
find_columns(Relation relation, const ClinicalTarget *target, int *numbers)
{
	for (int i = 0; i <= target->ncolumns; i++)
	{
		const char *name = i == target->ncolumns ? target->constant : target->columns[i];

		numbers[i] = name == NULL ? 0 : SPI_fnumber(RelationGetDescr(relation), name) - 1;
		if (numbers[i] < 0)
			return false;
	}
	return true;
}

/* Make the tuple of a row; columns that are not among the target's are NULL. */
static HeapTuple
form_tuple(Relation relation, const ClinicalTarget *target, const ClinicalRows *rows, int row, const int *numbers)
{
	Datum		values[MAX_COLUMNS];
	bool		nulls[MAX_COLUMNS];

	memset(nulls, true, sizeof(nulls));
	for (int i = 0; i < rows->ncolumns; i++)
	{
		values[numbers[i]] = rows->values[i][row];
		nulls[numbers[i]] = rows->nulls[i][row];
	}
	if (target->constant != NULL)
	{
		values[numbers[rows->ncolumns]] = target->value;
		nulls[numbers[rows->ncolumns]] = false;
	}
	return heap_form_tuple(RelationGetDescr(relation), values, nulls);
}

/* Store the rows. */
static void
insert(Relation relation, CatalogIndexState indexes, const ClinicalTarget *target, const ClinicalRows *rows,
	   const int *numbers)
{
	HeapTuple	tuples[CHUNK];

	for (int from = 0; from < rows->nrows; from += CHUNK)
	{
		int			count = Min(CHUNK, rows->nrows - from);

		for (int i = 0; i < count; i++)
			tuples[i] = form_tuple(relation, target, rows, from + i, numbers);
		clinical_insert_tuples(relation, indexes, tuples, count);
		if (target->audited)
			clinical_audit_inserted(relation, tuples, count);
		for (int i = 0; i < count; i++)
			heap_freetuple(tuples[i]);
	}
}

/* Store rows below the executor; false, and nothing stored, if it has to do that. */
bool
clinical_insert_below(const ClinicalTarget *target, const ClinicalRows *rows)
{
	Relation	relation = table_open(get_relname_relid(target->table, get_namespace_oid("clinical", false)), RowExclusiveLock);
	CatalogIndexState indexes = CatalogOpenIndexes(relation);
	int			numbers[CLINICAL_MAX_ARGS + 1];
	bool		can;

	Assert(target->ncolumns == rows->ncolumns);
	leave_out(indexes, target->without);
	can = is_as_made(relation, indexes, target) && find_columns(relation, target, numbers);
	if (can)
		insert(relation, indexes, target, rows, numbers);
	CatalogCloseIndexes(indexes);
	table_close(relation, NoLock);
	if (can)
		CommandCounterIncrement();
	return can;
}
