/*-------------------------------------------------------------------------
 *
 * audit.c
 *		The triggers that write and guard the audit trail.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "audit.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(clinical_audit_row);
PG_FUNCTION_INFO_V1(clinical_audit_truncate);
PG_FUNCTION_INFO_V1(clinical_audit_guard);
PG_FUNCTION_INFO_V1(clinical_audit_columns);

/* Has this session left word of its restore? */
static bool restore_noted = false;

/* A note that an aborted transaction left is gone; one that is prepared may go. */
static void
forget_note(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_PRE_COMMIT)
		restore_noted = false;
}

/* The same for a savepoint. */
static void
forget_note_sub(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		restore_noted = false;
}

/*
 * Leave word, once a session, that rows are restored.  It goes into the trail
 * with the first record that is written afterwards: the trail itself may be
 * among what is restored, and the numbers of its records are not free yet.
 */
void
clinical_audit_note_restore(void)
{
	static bool listening = false;
	static ClinicalPlan plan = {
		"INSERT INTO clinical.audit_restore (id, restored_at, login, role, actor, digest)"
		" VALUES (pg_catalog.gen_random_uuid(), pg_catalog.clock_timestamp(), SESSION_USER, $1,"
		"         pg_catalog.current_setting('clinical.actor', true), clinical.audit_head())",
		1, {TEXTOID}
	};
	Datum		role;

	if (restore_noted)
		return;
	if (!listening)
	{
		RegisterXactCallback(forget_note, NULL);
		RegisterSubXactCallback(forget_note_sub, NULL);
		listening = true;
	}
	restore_noted = true;
	role = CStringGetTextDatum(GetUserNameFromId(clinical_caller(), false));
	SPI_connect();
	clinical_server_execute(&plan, &role, NULL);
	SPI_finish();
}

/* The operation of a row trigger, as the trail calls it. */
static const char *
operation_name(TriggerEvent event)
{
	if (TRIGGER_FIRED_BY_INSERT(event))
		return "INSERT";
	return TRIGGER_FIRED_BY_UPDATE(event) ? "UPDATE" : "DELETE";
}

/* The patient that a row is about, if the trigger says in which column that stands. */
static char *
row_patient(const ClinicalRow *row, HeapTuple tuple)
{
	Trigger    *trigger = row->trigger->tg_trigger;

	return trigger->tgnargs < 2 ? NULL : clinical_text_column(row, tuple, trigger->tgargs[1]);
}

/*
 * The version before of a row that was inserted, if the trigger says which
 * column counts versions; NULL: there is none.  The copy is the caller's.
 */
static HeapTuple
version_before(const ClinicalRow *row, Jsonb *row_key)
{
	static ClinicalPlan condition = {
		"SELECT clinical.audit_key_condition($1, pg_catalog.jsonb_set($2, ARRAY[$3],"
		"       pg_catalog.to_jsonb(($2 OPERATOR(pg_catalog.->>) $3)::pg_catalog.int4 OPERATOR(pg_catalog.-) 1)))",
		3, {TEXTOID, JSONBOID, TEXTOID}
	};
	Trigger    *trigger = row->trigger->tg_trigger;
	const char *table = quote_identifier(RelationGetRelationName(row->trigger->tg_relation));
	MemoryContext caller = CurrentMemoryContext;
	HeapTuple	before = NULL;
	ClinicalUser saved;
	Datum		values[3];
	Datum		where;

	if (trigger->tgnargs < 3 || row->old_tuple != NULL)
		return NULL;
	values[0] = CStringGetTextDatum(RelationGetRelationName(row->trigger->tg_relation));
	values[1] = JsonbPGetDatum(row_key);
	values[2] = CStringGetTextDatum(trigger->tgargs[2]);
	if (!clinical_owner_fetch(&condition, values, NULL, false, &where))
		return NULL;
	SPI_connect();
	clinical_owner_begin(&saved);
	if (SPI_execute(psprintf("SELECT t.* FROM clinical.%s t WHERE %s", table, TextDatumGetCString(where)), false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look the version before up");
	clinical_owner_end(&saved);
	if (SPI_processed > 0)
	{
		MemoryContext inner = MemoryContextSwitchTo(caller);

		before = heap_copytuple(SPI_tuptable->vals[0]);
		MemoryContextSwitchTo(inner);
	}
	SPI_finish();
	return before;
}

/*
 * Write a record of what became of a row.  The trigger's first argument is the
 * way: "values" as they were and are; "reason": the same, and changes must give
 * one; "digest" for rows that are only added.
 */
static void
audit_row(const ClinicalRow *row, const char *way)
{
	Relation	relation = row->trigger->tg_relation;
	const ImageLayout *layout = clinical_image_layout(relation);
	HeapTuple	tuple = row->old_tuple != NULL ? row->old_tuple : row->new_tuple;
	Jsonb	   *row_key = clinical_image_key(layout, row->desc, tuple);
	HeapTuple	before = version_before(row, row_key);
	Jsonb	   *changes;

	if (strcmp(way, "digest") == 0)
		changes = clinical_image_digest(layout, row->desc, row->old_tuple, row->new_tuple);
	else if (before != NULL)
		changes = clinical_image_version(layout, row->desc, before, row->new_tuple);
	else
		changes = clinical_image_changes(layout, row->desc, row->old_tuple, row->new_tuple);
	if (changes == NULL)
		return;
	if (strcmp(way, "reason") == 0 && row->old_tuple != NULL && !clinical_server_writes())
		clinical_require_reason();
	clinical_audit_write(RelationGetRelationName(relation), operation_name(row->trigger->tg_event),
						 row_key, row_patient(row, tuple), changes);
}

/* Memory for a record, emptied after each. */
static MemoryContext
record_context(void)
{
	static MemoryContext context = NULL;

	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "clinical audit record", ALLOCSET_DEFAULT_SIZES);
	return context;
}

/* Trigger: what becomes of each row is recorded. */
Datum
clinical_audit_row(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	ClinicalRow row;

	clinical_load_row(fcinfo, &row, NULL, 0);
	if (!TRIGGER_FIRED_AFTER(row.trigger->tg_event) || (row.old_tuple == NULL && row.new_tuple == NULL) ||
		row.trigger->tg_trigger->tgnargs < 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function was not called by the trigger that it is for")));
	if (clinical_redacting)
		return PointerGetDatum(NULL);
	if (clinical_restore && (row.old_tuple == NULL || IsLogicalWorker()))
	{
		clinical_audit_note_restore();
		return PointerGetDatum(NULL);
	}
	MemoryContextSwitchTo(record_context());
	audit_row(&row, row.trigger->tg_trigger->tgargs[0]);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(record_context());
	return PointerGetDatum(NULL);
}

/*
 * The same for rows that were inserted below the executor, into a table whose
 * rows are recorded by their digest; the patient is in the column patient_id.
 */
void
clinical_audit_inserted(Relation relation, HeapTuple *tuples, int count)
{
	const ImageLayout *layout = clinical_image_layout(relation);
	TupleDesc	desc = RelationGetDescr(relation);
	int			patient_column = SPI_fnumber(desc, "patient_id");
	MemoryContext caller;
	ClinicalTrail trail;
	HeapTuple  *records;

	if (clinical_restore)
	{
		clinical_audit_note_restore();
		return;
	}
	caller = MemoryContextSwitchTo(record_context());
	records = palloc_array(HeapTuple, count);
	clinical_trail_open(&trail);
	for (int i = 0; i < count; i++)
	{
		bool		isnull;
		Datum		patient = heap_getattr(tuples[i], patient_column, desc, &isnull);

		records[i] = clinical_trail_record(&trail, RelationGetRelationName(relation), "INSERT",
										   clinical_image_key(layout, desc, tuples[i]),
										   isnull ? NULL : TextDatumGetCString(patient),
										   clinical_image_digest(layout, desc, NULL, tuples[i]));
	}
	clinical_trail_store(&trail, records, count);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(record_context());
}

/* Trigger: a table that is audited is not emptied at a stroke. */
Datum
clinical_audit_truncate(PG_FUNCTION_ARGS)
{
	ClinicalRow row;

	clinical_load_row(fcinfo, &row, NULL, 0);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("\"%s\" cannot be truncated, since it is audited",
					RelationGetRelationName(row.trigger->tg_relation))));
}

/*
 * Trigger: nobody but the server writes the trail; a restore may put it back,
 * and a subscription that restores does what was done where it comes from.
 */
Datum
clinical_audit_guard(PG_FUNCTION_ARGS)
{
	ClinicalRow row;
	bool		is_insert;

	clinical_load_row(fcinfo, &row, NULL, 0);
	is_insert = row.old_tuple == NULL && row.new_tuple != NULL;
	if ((clinical_restore && (is_insert || (IsLogicalWorker() && row.old_tuple != NULL))) ||
		((row.old_tuple != NULL || is_insert) && clinical_server_writes()))
		PG_RETURN_POINTER(row.new_tuple != NULL ? row.new_tuple : row.old_tuple);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("\"%s\" is written by the server alone and never changed",
					RelationGetRelationName(row.trigger->tg_relation)),
			 errhint(CLINICAL_RESTORE_HINT)));
}

/* SQL: the tables that are audited, with their columns and the types of these. */
Datum
clinical_audit_columns(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"SELECT t.tgrelid FROM pg_catalog.pg_trigger t"
		" WHERE t.tgfoid OPERATOR(pg_catalog.=) 'clinical.audit_row'::pg_catalog.regproc"
		" ORDER BY t.tgrelid"
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	clinical_execute(&plan, NULL, NULL, true);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		relid = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		Relation	relation = table_open(DatumGetObjectId(relid), AccessShareLock);
		Datum		values[2];
		bool		nulls[2] = {false, false};

		values[0] = CStringGetTextDatum(RelationGetRelationName(relation));
		values[1] = JsonbPGetDatum(clinical_image_columns(clinical_image_layout(relation)));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		table_close(relation, AccessShareLock);
	}
	SPI_finish();
	return (Datum) 0;
}
