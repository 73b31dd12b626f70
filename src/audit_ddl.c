/*-------------------------------------------------------------------------
 *
 * audit_ddl.c
 *		Commands about our tables: recorded, or refused where they would
 *		switch the trail off.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "audit.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(clinical_audit_ddl);

/* Is a script of our own extension running? */
static bool
in_own_script(void)
{
	return creating_extension && CurrentExtensionObject == get_extension_oid("clinical", true);
}

/* Is what a grant names in our schema, or the schema itself? */
static bool
names_ours(const GrantStmt *grant, Node *object)
{
	if (IsA(object, RangeVar))
	{
		Oid			relid = RangeVarGetRelid((RangeVar *) object, NoLock, true);

		return OidIsValid(relid) && get_rel_namespace(relid) == get_namespace_oid("clinical", true);
	}
	if (IsA(object, String))
		return (grant->objtype == OBJECT_SCHEMA || grant->targtype == ACL_TARGET_ALL_IN_SCHEMA) &&
			strcmp(strVal(object), "clinical") == 0;
	if (IsA(object, ObjectWithArgs))
	{
		Oid			function = LookupFuncWithArgs(grant->objtype, (ObjectWithArgs *) object, true);

		return OidIsValid(function) && get_func_namespace(function) == get_namespace_oid("clinical", true);
	}
	return false;
}

/* Does a command grant or revoke something in our schema? */
static bool
grants_ours(Node *command)
{
	ListCell   *cell;

	if (command == NULL || !IsA(command, GrantStmt))
		return false;
	foreach(cell, ((GrantStmt *) command)->objects)
	{
		if (names_ours((GrantStmt *) command, lfirst(cell)))
			return true;
	}
	return false;
}

/* Record that a command was about an object. */
static void
record_command(const char *command, const char *object)
{
	static ClinicalPlan plan = {
		"SELECT pg_catalog.jsonb_build_object('object', $2),"
		"       pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('column', '*', 'command', $1))",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {CStringGetTextDatum(command), CStringGetTextDatum(object)};
	Jsonb	   *key;
	Jsonb	   *changes;
	bool		isnull;

	SPI_connect();
	clinical_execute(&plan, values, NULL, true);
	key = DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	changes = DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	clinical_audit_write("*", "DDL", key, NULL, changes);
	SPI_finish();
}

/* Record the columns of the tables where they are no longer those that the trail knows. */
static void
record_columns(void)
{
	static ClinicalPlan plan = {
		"SELECT a.table_name, a.columns FROM clinical.audit_columns() a"
		" WHERE COALESCE((SELECT r.changes FROM clinical.audit_record r"
		"                  WHERE r.table_name OPERATOR(pg_catalog.=) a.table_name"
		"                    AND r.operation OPERATOR(pg_catalog.=) 'COLUMNS'"
		"                  ORDER BY r.generation DESC, r.xid DESC, r.id DESC LIMIT 1), '{}')"
		"       OPERATOR(pg_catalog.<>) a.columns"
	};
	JsonbParseState *state = NULL;
	Jsonb	   *no_key;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	no_key = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	SPI_connect();
	clinical_owner_execute(&plan, NULL, NULL, false);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		clinical_audit_write(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1), "COLUMNS", no_key, NULL,
							 DatumGetJsonbP(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull)));
	}
	SPI_finish();
}

/* Raise an error if something that writes or guards the trail is off. */
static void
require_guards(void)
{
	static ClinicalPlan plan = {
		"SELECT g.object FROM clinical.audit_unguarded() g WHERE g.object OPERATOR(pg_catalog.!~) '^event' LIMIT 1"
	};
	Datum		object;

	if (clinical_owner_fetch(&plan, NULL, NULL, false, &object))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the audit trail and access rules of \"clinical\" cannot be switched off"),
				 errdetail("Missing or off after this command: %s.", TextDatumGetCString(object)),
				 errhint("They end with DROP EXTENSION.")));
}

/* The objects of ours that a command was about, as rows of an identity. */
static void
record_objects(const char *command, ClinicalPlan *plan, bool *any)
{
	SPITupleTable *objects;
	uint64		count;

	SPI_connect();
	clinical_execute(plan, NULL, NULL, true);
	objects = SPI_tuptable;
	count = SPI_processed;
	/* what a restore does is not recorded: the trail is not all there yet */
	for (uint64 i = 0; i < count && !clinical_restore; i++)
		record_command(command, SPI_getvalue(objects->vals[i], objects->tupdesc, 1));
	*any = *any || count > 0;
	SPI_finish();
}

/* Is the extension itself among what was dropped? */
static bool
drops_extension(void)
{
	static ClinicalPlan plan = {
		"SELECT true FROM pg_catalog.pg_event_trigger_dropped_objects() d"
		" WHERE d.object_type OPERATOR(pg_catalog.=) 'extension' AND d.object_name OPERATOR(pg_catalog.=) 'clinical'"
	};
	Datum		found;

	return get_extension_oid("clinical", true) == InvalidOid || clinical_fetch(&plan, NULL, NULL, true, &found);
}

/* Event trigger: commands about what is ours are recorded, or refused. */
Datum
clinical_audit_ddl(PG_FUNCTION_ARGS)
{
	/* (what is not in a schema itself; our names need no quotes) */
	static ClinicalPlan touched = {
		"SELECT DISTINCT d.object_identity FROM pg_catalog.pg_event_trigger_ddl_commands() d"
		" WHERE d.schema_name OPERATOR(pg_catalog.=) 'clinical'"
		"    OR d.object_type OPERATOR(pg_catalog.=) 'extension' AND d.object_identity OPERATOR(pg_catalog.=) 'clinical'"
		"    OR d.object_identity OPERATOR(pg_catalog.~) ' on clinical\\.[^ .\"]+$' ORDER BY 1"
	};
	static ClinicalPlan dropped = {
		"SELECT DISTINCT d.object_identity FROM pg_catalog.pg_event_trigger_dropped_objects() d"
		" WHERE NOT d.is_temporary AND (d.schema_name OPERATOR(pg_catalog.=) 'clinical'"
		"    OR d.object_identity OPERATOR(pg_catalog.~) ' on clinical\\.[^ .\"]+$') ORDER BY 1"
	};
	EventTriggerData *event;
	const char *command;
	bool		is_drop;
	bool		any = false;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function was not called by event trigger manager")));
	event = (EventTriggerData *) fcinfo->context;
	is_drop = strcmp(event->event, "sql_drop") == 0;
	if (in_own_script() || (is_drop && drops_extension()))
		return PointerGetDatum(NULL);
	command = GetCommandTagName(event->tag);
	record_objects(command, is_drop ? &dropped : &touched, &any);
	if (!is_drop && !clinical_restore && grants_ours(event->parsetree))
	{
		record_command(command, "privileges in schema clinical");
		any = true;
	}
	if (any)
		require_guards();
	if (any && clinical_restore)
		clinical_audit_note_restore();
	else if (any)
		record_columns();
	return PointerGetDatum(NULL);
}
