/*-------------------------------------------------------------------------
 *
 * audit_compare.c
 *		Whether the tables are what the trail says, and are still watched.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "audit_block.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(clinical_audit_row_of);

ClinicalPlan *clinical_audit_comparison = NULL;

/* An argument of a table's audit trigger: the way it writes, the patient's column, that of the version; or NULL. */
const char *
clinical_audit_argument(Relation relation, int argno)
{
	TriggerDesc *triggers = relation->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		if (strcmp(triggers->triggers[i].tgname, "audit") == 0 && triggers->triggers[i].tgnargs > argno)
			return triggers->triggers[i].tgargs[argno];
	}
	return NULL;
}

/* The column that says which rows are not in the trail by themselves; empty: there is none. */
void
clinical_audit_version_column(const char *table_name, NameData *column)
{
	Oid			relid = get_relname_relid(table_name, get_namespace_oid("clinical", false));
	Relation	relation;
	const char *argument;

	namestrcpy(column, "");
	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_RELATION)
		return;
	relation = table_open(relid, AccessShareLock);
	argument = clinical_audit_argument(relation, 2);
	if (argument != NULL)
		namestrcpy(column, argument);
	table_close(relation, AccessShareLock);
}

/* A row as the changes that would have created it. */
static Jsonb *
row_changes(Relation relation, const char *way, HeapTuple tuple)
{
	const ImageLayout *layout = clinical_image_layout(relation);

	return strcmp(way, "digest") == 0 ?
		clinical_image_digest(layout, RelationGetDescr(relation), NULL, tuple) :
		clinical_image_changes(layout, RelationGetDescr(relation), NULL, tuple);
}

/* Subtract one row from the sum of its table. */
static void
subtract_row(Verification *v, AuditSum *sum, Relation relation, const char *way, HeapTuple tuple)
{
	Jsonb	   *changes = row_changes(relation, way, tuple);
	Jsonb	   *key = clinical_image_key(clinical_image_layout(relation), RelationGetDescr(relation), tuple);

	if (changes != NULL)
		clinical_sum_changes(&v->keys, &v->bytes, sum, -1, RelationGetRelationName(relation),
							 JsonbToCString(NULL, &key->root, VARSIZE(key)), changes);
}

/* Is a row not in the trail by itself?  That of a version above 1, or of a table without them, is. */
static bool
covered_elsewhere(TupleTableSlot *slot, AttrNumber version)
{
	bool		isnull;
	Datum		value;

	if (version == InvalidAttrNumber)
		return false;
	value = slot_getattr(slot, version, &isnull);
	return !isnull && DatumGetInt32(value) == 1;
}

/* Subtract all rows of a table from its sum. */
static void
subtract_rows(Verification *v, TableSum *sum, Relation relation, const char *way)
{
	AttrNumber	version = get_attnum(RelationGetRelid(relation), NameStr(sum->version));
	TableScanDesc scan = table_beginscan(relation, GetActiveSnapshot(), 0, NULL);
	TupleTableSlot *slot = table_slot_create(relation, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext caller = MemoryContextSwitchTo(v->batch);
		bool		must_free;

		CHECK_FOR_INTERRUPTS();
		if (!covered_elsewhere(slot, version))
			subtract_row(v, &sum->sum, relation, way, ExecFetchSlotHeapTuple(slot, false, &must_free));
		MemoryContextSwitchTo(caller);
		MemoryContextReset(v->batch);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
}

/*
 * Find the rows that differ: replay the trail of each, and compare.  At most
 * 100 are named.
 */
static void
name_rows(Verification *v, Relation relation, const char *version)
{
	char	   *name = RelationGetRelationName(relation);
	bool		versions = version[0] != '\0';
	char	   *sql = psprintf(
							   "SELECT COALESCE(t.row_key, n.row_key)::pg_catalog.text,"
							   "       CASE WHEN t.image IS NULL OR t.image OPERATOR(pg_catalog.=) '{}' THEN 'the trail knows no such row'"
							   "            WHEN n.image IS NULL THEN 'the row is gone, which the trail does not know'"
							   "            WHEN t.image OPERATOR(pg_catalog.?) '' THEN 'a value was changed that the trail does not know of, and overwritten since'"
							   "            ELSE pg_catalog.concat('differs in: ', (SELECT pg_catalog.string_agg(c.key, ', ' ORDER BY c.key)"
							   "                 FROM (SELECT e.key FROM pg_catalog.jsonb_each(t.image OPERATOR(pg_catalog.||) n.image) e"
							   "                        WHERE COALESCE((t.image OPERATOR(pg_catalog.->) e.key)::pg_catalog.text, '')"
							   "                              OPERATOR(pg_catalog.<>) COALESCE((n.image OPERATOR(pg_catalog.->) e.key)::pg_catalog.text, '')) c))"
							   "       END"
							   "  FROM (SELECT r.row_key, clinical.audit_image(r.changes ORDER BY r.generation, r.xid, r.id) AS image"
							   "          FROM clinical.audit_record r WHERE r.table_name OPERATOR(pg_catalog.=) %s"
							   "           AND r.operation OPERATOR(pg_catalog.=) ANY (ARRAY['INSERT', 'UPDATE', 'DELETE'])"
							   "           AND %s GROUP BY r.row_key) t"
							   "  FULL JOIN (SELECT a.row_key, clinical.audit_apply('{}', a.changes) AS image"
							   "               FROM clinical.%s s, LATERAL clinical.audit_row_of(s.*) a WHERE %s) n"
							   "    ON n.row_key OPERATOR(pg_catalog.=) t.row_key"
							   " WHERE COALESCE(t.image, '{}')::pg_catalog.text OPERATOR(pg_catalog.<>) COALESCE(n.image, '{}')::pg_catalog.text"
							   " ORDER BY 1 LIMIT 100",
							   quote_literal_cstr(name),
							   versions ? psprintf("COALESCE(r.row_key OPERATOR(pg_catalog.->>) %s, '') OPERATOR(pg_catalog.<>) '1'",
												   quote_literal_cstr(version)) : "true",
							   quote_identifier(name),
							   versions ? psprintf("s.%s OPERATOR(pg_catalog.<>) 1", quote_identifier(version)) : "true");

	if (SPI_execute(sql, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not compare \"%s\" with its trail", name);
	for (uint64 i = 0; i < SPI_processed; i++)
		clinical_fault(v, "row differs from the trail",
					   psprintf("%s %s", name, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1)),
					   SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2));
	if (SPI_processed == 0)
		clinical_fault(v, "table differs from the trail", psprintf("table %s", name),
					   "values came or went that the trail does not know of");
}

/* Compare one table with what the trail says of it. */
static void
compare_table(Verification *v, Oid relid)
{
	Relation	relation = table_open(relid, AccessShareLock);
	const char *way = clinical_audit_argument(relation, 0);
	TableSum   *sum = clinical_table_sum(v, RelationGetRelationName(relation));

	if (way != NULL)
	{
		subtract_rows(v, sum, relation, way);
		if (!clinical_sum_is_zero(&sum->sum))
			name_rows(v, relation, NameStr(sum->version));
	}
	memset(&sum->sum, 0, sizeof(AuditSum));
	table_close(relation, AccessShareLock);
}

/* Compare all tables that are audited; the trail must not speak of others. */
void
clinical_compare_tables(Verification *v)
{
	static ClinicalPlan plan = {
		"SELECT c.oid FROM pg_catalog.pg_class c"
		" WHERE c.relnamespace OPERATOR(pg_catalog.=) 'clinical'::pg_catalog.regnamespace"
		"   AND c.relkind OPERATOR(pg_catalog.=) 'r' AND c.relhastriggers ORDER BY c.oid"
	};
	HASH_SEQ_STATUS status;
	TableSum   *sum;
	SPITupleTable *tables;
	uint64		count;

	clinical_execute(&plan, NULL, NULL, true);
	tables = SPI_tuptable;
	count = SPI_processed;
	for (uint64 i = 0; i < count; i++)
	{
		bool		isnull;

		compare_table(v, DatumGetObjectId(SPI_getbinval(tables->vals[i], tables->tupdesc, 1, &isnull)));
	}
	hash_seq_init(&status, v->sums);
	while ((sum = hash_seq_search(&status)) != NULL)
	{
		if (!clinical_sum_is_zero(&sum->sum))
			clinical_fault(v, "table is gone, or no longer audited", psprintf("table %s", NameStr(sum->table_name)), NULL);
	}
}

/* Report what a query finds: fault, place and detail. */
static void
report(Verification *v, ClinicalPlan *plan)
{
	clinical_execute(plan, NULL, NULL, true);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;

		clinical_fault(v, SPI_getvalue(tuple, desc, 1), SPI_getvalue(tuple, desc, 2), SPI_getvalue(tuple, desc, 3));
	}
}

/* Are the tables still what the trail last said of them, their triggers on, and their rows as other rows say? */
void
clinical_check_guards(Verification *v)
{
	static ClinicalPlan columns = {
		"SELECT 'table was altered', pg_catalog.concat('table ', c.table_name),"
		"       'its columns or their types are not those that the trail knows'"
		"  FROM (SELECT DISTINCT ON (r.table_name) r.table_name, r.changes FROM clinical.audit_record r"
		"         WHERE r.operation OPERATOR(pg_catalog.=) 'COLUMNS'"
		"         ORDER BY r.table_name, r.generation DESC, r.xid DESC, r.id DESC) c"
		"  LEFT JOIN clinical.audit_columns() a ON a.table_name OPERATOR(pg_catalog.=) c.table_name"
		" WHERE (a.columns OPERATOR(pg_catalog.=) c.changes) IS NOT TRUE"
	};
	static ClinicalPlan guards = {
		"SELECT 'trigger is missing or off', g.object, 'changes may have gone past the trail'"
		"  FROM clinical.audit_unguarded() g"
	};

	/* the role itself is not in the trail, since its name may change */
	static ClinicalPlan roles = {
		"SELECT 'row differs from the trail', pg_catalog.concat('membership ', m.id),"
		"       'its role is not called what it was when this was granted: renamed, or another'"
		"  FROM clinical.membership m JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) m.role"
		" WHERE r.rolname OPERATOR(pg_catalog.<>) m.role_name ORDER BY m.id"
	};

	report(v, &columns);
	report(v, &guards);
	report(v, &roles);
	if (clinical_audit_comparison != NULL)
		report(v, clinical_audit_comparison);
}

/* SQL: the key of a row, and the row as the changes that would have created it. */
Datum
clinical_audit_row_of(PG_FUNCTION_ARGS)
{
	HeapTupleHeader header = PG_GETARG_HEAPTUPLEHEADER(0);
	Oid			relid = get_typ_typrelid(HeapTupleHeaderGetTypeId(header));
	Relation	relation;
	const char *way;
	HeapTupleData tuple;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};
	Jsonb	   *changes;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	clinical_require_arg(OidIsValid(relid) && get_rel_namespace(relid) == get_namespace_oid("clinical", false),
						 "not a row of an audited table");
	relation = table_open(relid, AccessShareLock);
	way = clinical_audit_argument(relation, 0);
	clinical_require_arg(way != NULL, "not a row of an audited table");
	clinical_composite_tuple(header, &tuple);
	values[0] = JsonbPGetDatum(clinical_image_key(clinical_image_layout(relation), RelationGetDescr(relation), &tuple));
	changes = row_changes(relation, way, &tuple);
	nulls[1] = changes == NULL;
	values[1] = JsonbPGetDatum(changes);
	table_close(relation, AccessShareLock);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}
