/*-------------------------------------------------------------------------
 *
 * core_find.c
 *		Rows of our tables by an index, below the executor.
 *
 * For look-ups that are made for each report: nothing is planned, so no plan can
 * be wrong, and nothing is set up but the scan.  Who calls this sees all rows, and
 * has seen to it that the caller may have the answer.  What is open stays in the
 * memory context of its own, whatever context rows are looked for in.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "core.h"

/* Open a table, unless that was done; of its indexes the named one, or (NULL) its primary key's. */
static void
open_finder(ClinicalFinder *finder)
{
	Oid			schema;
	Oid			index;

	if (finder->relation != NULL)
		return;
	schema = get_namespace_oid("clinical", false);
	finder->relation = table_open(get_relname_relid(finder->table, schema), AccessShareLock);
	index = finder->index == NULL ? clinical_primary_key(finder->relation) : get_relname_relid(finder->index, schema);
	if (!OidIsValid(index))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("an index of \"%s\" is missing", finder->table)));
	finder->opened = index_open(index, AccessShareLock);
	finder->slot = table_slot_create(finder->relation, NULL);
	memset(finder->known, 0, sizeof(finder->known));
	finder->scan = clinical_index_beginscan(finder->relation, finder->opened, GetActiveSnapshot(), finder->nkeys);
}

/* What compares a column of a type with a key. */
typedef struct Comparison
{
	Oid			type;
	RegProcedure procedures[BTMaxStrategyNumber];	/* by strategy; 0: nobody needs it */
} Comparison;

static const Comparison comparisons[] = {
	{TEXTOID, {[BTEqualStrategyNumber - 1] = F_TEXTEQ}},
	{UUIDOID, {[BTEqualStrategyNumber - 1] = F_UUID_EQ}},
	{INT8OID, {[BTEqualStrategyNumber - 1] = F_INT8EQ}},
	{DATEOID, {F_DATE_LT, F_DATE_LE, F_DATE_EQ, F_DATE_GE, F_DATE_GT}},
	{TIMESTAMPTZOID, {F_TIMESTAMPTZ_LT, F_TIMESTAMPTZ_LE, F_TIMESTAMPTZ_EQ, F_TIMESTAMPTZ_GE, F_TIMESTAMPTZ_GT}},
};

/* The function for a type and a strategy. */
static RegProcedure
find_procedure(Oid type, StrategyNumber strategy)
{
	for (int i = 0; i < (int) lengthof(comparisons); i++)
	{
		RegProcedure procedure = comparisons[i].procedures[strategy - 1];

		if (comparisons[i].type == type && RegProcedureIsValid(procedure))
			return procedure;
	}
	elog(ERROR, "unexpected key of type %u and strategy %d", type, strategy);
}

/* Set a key: its column must be equal to the value, or stand to it as the strategy says. */
static void
set_key(ClinicalFinder *finder, int key, Datum value)
{
	StrategyNumber strategy = finder->strategies[key] == 0 ? BTEqualStrategyNumber : finder->strategies[key];
	AttrNumber	column = finder->columns[key] == 0 ? (AttrNumber) (key + 1) : finder->columns[key];
	Oid			collation = finder->types[key] == TEXTOID ? C_COLLATION_OID : InvalidOid;

	ScanKeyEntryInitialize(&finder->keys[key], 0, column, strategy, InvalidOid, collation,
						   find_procedure(finder->types[key], strategy), value);
}

/* Begin to look for the rows with these keys, which must live as long as that takes. */
void
clinical_find(ClinicalFinder *finder, const Datum *values)
{
	MemoryContext caller;

	if (finder->context == NULL)
		finder->context = CurrentMemoryContext;
	caller = MemoryContextSwitchTo(finder->context);
	open_finder(finder);
	for (int i = 0; i < finder->nkeys; i++)
		set_key(finder, i, values[i]);
	index_rescan(finder->scan, finder->keys, finder->nkeys, NULL, 0);
	MemoryContextSwitchTo(caller);
}

/* The next row, by the order of the index or (backward) against it; false if there is none. */
bool
clinical_find_next(ClinicalFinder *finder, bool backward)
{
	MemoryContext caller = MemoryContextSwitchTo(finder->context);
	bool		found = index_getnext_slot(finder->scan, backward ? BackwardScanDirection : ForwardScanDirection, finder->slot);

	MemoryContextSwitchTo(caller);
	return found;
}

/* The first row with these keys, or false. */
bool
clinical_find_first(ClinicalFinder *finder, const Datum *values)
{
	clinical_find(finder, values);
	return clinical_find_next(finder, false);
}

/* The number of a column.  Callers ask by the same constants again and again, so that is kept of a few. */
static int
column_number(ClinicalFinder *finder, const char *name)
{
	int			number;
	int			i;

	for (i = 0; i < CLINICAL_MAX_KNOWN && finder->known[i].name != NULL; i++)
	{
		if (finder->known[i].name == name)
			return finder->known[i].number;
	}
	number = SPI_fnumber(finder->slot->tts_tupleDescriptor, name);
	if (number <= 0)
		elog(ERROR, "no column \"%s\" in \"%s\"", name, finder->table);
	if (i < CLINICAL_MAX_KNOWN)
	{
		finder->known[i].name = name;
		finder->known[i].number = number;
	}
	return number;
}

/* A column of the row, by its name, a constant; 0 if it is NULL.  Good until the next row. */
Datum
clinical_find_column(ClinicalFinder *finder, const char *name)
{
	bool		isnull;
	Datum		value = slot_getattr(finder->slot, column_number(finder, name), &isnull);

	return isnull ? (Datum) 0 : value;
}

/* Close what was opened; an error closes it by itself. */
void
clinical_find_close(ClinicalFinder *finder)
{
	if (finder->relation == NULL)
		return;
	index_endscan(finder->scan);
	ExecDropSingleTupleTableSlot(finder->slot);
	index_close(finder->opened, NoLock);
	table_close(finder->relation, NoLock);
	finder->relation = NULL;
}

/* Is a text, as of a column, that one? */
bool
clinical_text_is(Datum value, const char *string)
{
	text	   *found = DatumGetTextPP(value);

	return VARSIZE_ANY_EXHDR(found) == strlen(string) && memcmp(VARDATA_ANY(found), string, strlen(string)) == 0;
}

/* Are two texts, or byteas, the same? */
bool
clinical_same_bytes(Datum left, Datum right)
{
	bytea	   *a = DatumGetByteaPP(left);
	bytea	   *b = DatumGetByteaPP(right);

	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}
