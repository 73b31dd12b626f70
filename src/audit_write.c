/*-------------------------------------------------------------------------
 *
 * audit_write.c
 *		The records of the audit trail: what is in them, and how they are
 *		stored.
 *
 * They are stored below the executor: nobody needs, or has, the right to write
 * there, and the guard of the table refuses whatever comes through it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "audit.h"
#include "compat.h"

/* The columns of audit_record */
enum
{
	COLUMN_GENERATION,
	COLUMN_XID,
	COLUMN_ID,
	COLUMN_RECORDED_AT,
	COLUMN_LOGIN,
	COLUMN_ROLE,
	COLUMN_AUTHENTICATED,
	COLUMN_ACTOR,
	COLUMN_CLIENT,
	COLUMN_TABLE_NAME,
	COLUMN_OPERATION,
	COLUMN_ROW_KEY,
	COLUMN_PATIENT_ID,
	COLUMN_CHANGES,
	COLUMN_REASON,
	COLUMN_SALT,
	COLUMN_CONTENT_HASH,
	COLUMN_LEAF,
	NCOLUMNS
};

/* The generation that this backend writes, 0: to be looked up; and in which table */
static int32 generation = 0;
static Oid	generation_of = InvalidOid;

/* An aborted transaction, or one that is only prepared, may have begun the generation. */
static void
forget_generation(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_PRE_COMMIT)
		generation = 0;
}

/* The same for a savepoint. */
static void
forget_generation_sub(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		generation = 0;
}

/* Listen to aborts. */
void
clinical_audit_init(void)
{
	clinical_hash_init();
	clinical_image_init();
	RegisterXactCallback(forget_generation, NULL);
	RegisterSubXactCallback(forget_generation_sub, NULL);
}

/* The hash of what a redaction may destroy: the changes and the reason. */
void
clinical_audit_content_hash(pg_cryptohash_ctx *ctx, StringInfo bytes,
							const AuditRecord *record, const uint8 *salt, uint8 *hash)
{
	resetStringInfo(bytes);
	clinical_field(bytes, (const char *) salt, SALT_BYTES);
	clinical_field_string(bytes, record->changes);
	clinical_field_string(bytes, record->reason);
	clinical_hash(ctx, bytes->data, bytes->len, hash);
}

/* The hash of a whole record: a leaf of the tree that seals it. */
void
clinical_audit_leaf(pg_cryptohash_ctx *ctx, StringInfo bytes,
					const AuditRecord *record, const uint8 *content_hash, uint8 *leaf)
{
	resetStringInfo(bytes);
	appendStringInfoChar(bytes, '\0');	/* RFC 6962: a leaf */
	clinical_field_number(bytes, record->generation);
	clinical_field_xid(bytes, record->xid);
	clinical_field_number(bytes, record->id);
	clinical_field_moment(bytes, record->recorded_at);
	clinical_field_string(bytes, record->login);
	clinical_field_string(bytes, record->role);
	clinical_field_string(bytes, record->authenticated);
	clinical_field_string(bytes, record->actor);
	clinical_field_string(bytes, record->client);
	clinical_field_string(bytes, record->table_name);
	clinical_field_string(bytes, record->operation);
	clinical_field_string(bytes, record->row_key);
	clinical_field_string(bytes, record->patient_id);
	clinical_field(bytes, (const char *) content_hash, HASH_BYTES);
	clinical_hash(ctx, bytes->data, bytes->len, leaf);
}

/* The address that the client connected from, or NULL. */
static const char *
client_address(void)
{
	static bool known = false;
	static char *address = NULL;

	if (!known)
	{
		LOCAL_FCINFO(fcinfo, 0);
		Datum		inet;

		InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
		inet = inet_client_addr(fcinfo);
		if (!fcinfo->isnull)
			address = MemoryContextStrdup(TopMemoryContext, DatumGetCString(DirectFunctionCall1(inet_out, inet)));
		known = true;
	}
	return address;
}

/* A text column of a record to be stored; NULL if there is none. */
static void
set_text(Datum *values, bool *nulls, int column, const char *value)
{
	nulls[column] = value == NULL;
	if (value != NULL)
		values[column] = CStringGetTextDatum(value);
}

/* The table of records. */
static Oid
record_table(void)
{
	return get_relname_relid("audit_record", get_namespace_oid("clinical", false));
}

/*
 * Open the table.  It is written below the executor, which knows plain indexes
 * and our own columns only: somebody's own are refused here.
 */
static void
open_trail(ClinicalTrail *trail)
{
	CatalogIndexState indexes;

	trail->relation = table_open(record_table(), RowExclusiveLock);
	trail->indexes = indexes = CatalogOpenIndexes(trail->relation);
	if (RelationGetNumberOfAttributes(trail->relation) != NCOLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"audit_record\" cannot have other columns than its own")));
	for (int i = 0; i < indexes->ri_NumIndices; i++)
	{
		if (indexes->ri_IndexRelationInfo[i]->ii_Expressions != NIL ||
			indexes->ri_IndexRelationInfo[i]->ii_Predicate != NIL ||
			indexes->ri_IndexRelationInfo[i]->ii_ExclusionOps != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("\"audit_record\" cannot have indexes of expressions or of a part of its rows"),
					 errhint("Drop the index \"%s\".", RelationGetRelationName(indexes->ri_IndexRelationDescs[i]))));
	}
}

/* The row of a record, with the changes and the key as they are in jsonb. */
static HeapTuple
form_record(const ClinicalTrail *trail, const AuditRecord *record, Jsonb *row_key, Jsonb *changes,
			const uint8 *salt, const uint8 *leaf)
{
	Datum		values[NCOLUMNS] = {0};
	bool		nulls[NCOLUMNS] = {false};

	values[COLUMN_GENERATION] = Int32GetDatum(record->generation);
	values[COLUMN_XID] = UInt64GetDatum(record->xid);
	values[COLUMN_ID] = Int64GetDatum(record->id);
	values[COLUMN_RECORDED_AT] = TimestampTzGetDatum(record->recorded_at);
	set_text(values, nulls, COLUMN_LOGIN, record->login);
	set_text(values, nulls, COLUMN_ROLE, record->role);
	set_text(values, nulls, COLUMN_AUTHENTICATED, record->authenticated);
	set_text(values, nulls, COLUMN_ACTOR, record->actor);
	set_text(values, nulls, COLUMN_CLIENT, record->client);
	set_text(values, nulls, COLUMN_TABLE_NAME, record->table_name);
	set_text(values, nulls, COLUMN_OPERATION, record->operation);
	values[COLUMN_ROW_KEY] = JsonbPGetDatum(row_key);
	set_text(values, nulls, COLUMN_PATIENT_ID, record->patient_id);
	values[COLUMN_CHANGES] = JsonbPGetDatum(changes);
	set_text(values, nulls, COLUMN_REASON, record->reason);
	values[COLUMN_SALT] = clinical_bytes_datum(salt, SALT_BYTES);
	nulls[COLUMN_CONTENT_HASH] = true;
	values[COLUMN_LEAF] = clinical_bytes_datum(leaf, HASH_BYTES);
	return heap_form_tuple(RelationGetDescr(trail->relation), values, nulls);
}

/* The next number of a record. */
static int64
next_id(void)
{
	return nextval_internal(get_relname_relid("audit_record_id_seq", get_namespace_oid("clinical", false)), false);
}

/*
 * Random bytes for a record.  They are drawn for many records at a time: one by
 * one, that is a seventh of what auditing costs.
 */
static void
draw_salt(uint8 *salt)
{
	static uint8 drawn[64][SALT_BYTES];
	static int	left = 0;

	if (left == 0)
	{
		if (!pg_strong_random(drawn, sizeof(drawn)))
			ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate a random salt")));
		left = lengthof(drawn);
	}
	left--;
	memcpy(salt, drawn[left], SALT_BYTES);
	explicit_bzero(drawn[left], SALT_BYTES);
}

/* Make a record, which is still to be stored. */
HeapTuple
clinical_trail_record(const ClinicalTrail *trail, const char *table_name, const char *operation,
					  Jsonb *row_key, const char *patient_id, Jsonb *changes)
{
	text	   *actor = clinical_actor_in_force();
	text	   *reason = clinical_reason_in_force();
	AuditRecord record = {
		.generation = trail->generation,
		.xid = U64FromFullTransactionId(GetTopFullTransactionId()),
		.id = next_id(),
		.recorded_at = GetCurrentTimestamp(),
		.login = GetUserNameFromId(GetSessionUserId(), false),
		.role = GetUserNameFromId(clinical_caller(), false),
		.authenticated = GetUserNameFromId(GetAuthenticatedUserId(), false),
		.actor = actor == NULL ? NULL : text_to_cstring(actor),
		.client = client_address(),
		.table_name = table_name,
		.operation = operation,
		.row_key = JsonbToCString(NULL, &row_key->root, 0),
		.patient_id = patient_id,
		.changes = JsonbToCString(NULL, &changes->root, 0),
		.reason = reason == NULL ? NULL : text_to_cstring(reason),
	};
	pg_cryptohash_ctx *ctx = clinical_hash_begin();
	StringInfoData bytes;
	uint8		salt[SALT_BYTES];
	Sha256		hash;

	draw_salt(salt);
	initStringInfo(&bytes);
	clinical_audit_content_hash(ctx, &bytes, &record, salt, hash);
	clinical_audit_leaf(ctx, &bytes, &record, hash, hash);
	clinical_hash_end(ctx);
	CLINICAL_FAULT("audit_write");
	return form_record(trail, &record, row_key, changes, salt, hash);
}

/* Store records, and close the table. */
void
clinical_trail_store(ClinicalTrail *trail, HeapTuple *records, int count)
{
	clinical_insert_tuples(trail->relation, trail->indexes, records, count);
	CatalogCloseIndexes(trail->indexes);
	table_close(trail->relation, RowExclusiveLock);
	CLINICAL_FAULT("audit_written");
}

/* Write a record of a generation. */
static void
write_record(int32 in_generation, const char *table_name, const char *operation,
			 Jsonb *row_key, const char *patient_id, Jsonb *changes)
{
	ClinicalTrail trail = {.generation = in_generation};
	HeapTuple	record;

	open_trail(&trail);
	record = clinical_trail_record(&trail, table_name, operation, row_key, patient_id, changes);
	clinical_trail_store(&trail, &record, 1);
}

/* What a plan that gives (table, operation, key, changes) says, as records. */
static void
write_records(int32 in_generation, ClinicalPlan *plan, Datum *values)
{
	SPI_connect();
	clinical_server_execute(plan, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		write_record(in_generation, SPI_getvalue(tuple, desc, 1), SPI_getvalue(tuple, desc, 2),
					 DatumGetJsonbP(SPI_getbinval(tuple, desc, 3, &isnull)), NULL,
					 DatumGetJsonbP(SPI_getbinval(tuple, desc, 4, &isnull)));
	}
	SPI_finish();
}

/* Put into the trail what restores have left word of. */
static void
adopt_restores(int32 in_generation)
{
	static ClinicalPlan plan = {
		"DELETE FROM clinical.audit_restore r"
		" RETURNING 'audit_restore', 'RESTORE', pg_catalog.jsonb_build_object('id', r.id),"
		"           pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('column', '*', 'restored',"
		"           pg_catalog.to_jsonb(r.*)))"
	};

	write_records(in_generation, &plan, NULL);
}

/*
 * Begin the next generation: numbers of transactions count anew, since the
 * trail was written by another server or in another database before.
 */
static int32
begin_generation(Datum *here)
{
	static ClinicalPlan insert = {
		"INSERT INTO clinical.audit_generation AS g (generation, system_identifier, database, began_at, digest)"
		" SELECT 1 OPERATOR(pg_catalog.+) COALESCE(pg_catalog.max(o.generation), 0), $1, $2,"
		"        pg_catalog.clock_timestamp(), clinical.audit_head()"
		"   FROM clinical.audit_generation o"
		" RETURNING 'audit_generation', 'BEGIN', pg_catalog.jsonb_build_object('generation', g.generation),"
		"        pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('column', '*', 'began',"
		"        pg_catalog.to_jsonb(g.*)))",
		2, {INT8OID, OIDOID}
	};
	static ClinicalPlan last = {"SELECT pg_catalog.max(g.generation) FROM clinical.audit_generation g"};
	static ClinicalPlan columns = {
		"SELECT c.table_name, 'COLUMNS', '{}'::pg_catalog.jsonb, c.columns FROM clinical.audit_columns() c"
	};
	Datum		before;
	int32		next = 1;

	if (clinical_owner_fetch(&last, NULL, NULL, false, &before))
		next = DatumGetInt32(before) + 1;
	write_records(next, &insert, here);
	CLINICAL_FAULT("audit_generation");
	adopt_restores(next);
	write_records(next, &columns, NULL);
	return next;
}

/* The generation to write, looked up once; the lock lets one backend alone begin it. */
static int32
current_generation(void)
{
	static ClinicalPlan find = {
		"SELECT g.generation FROM clinical.audit_generation g"
		" WHERE g.system_identifier OPERATOR(pg_catalog.=) $1 AND g.database OPERATOR(pg_catalog.=) $2"
		" ORDER BY g.generation DESC LIMIT 1",
		2, {INT8OID, OIDOID}
	};
	static ClinicalPlan lock = {"LOCK TABLE clinical.audit_generation IN EXCLUSIVE MODE"};
	Datum		here[2] = {Int64GetDatum((int64) GetSystemIdentifier()), ObjectIdGetDatum(MyDatabaseId)};
	Datum		found;

	if (generation != 0 && generation_of == record_table())
		return generation;
	if (!clinical_owner_fetch(&find, here, NULL, false, &found))
	{
		(void) clinical_owner_fetch(&lock, NULL, NULL, false, &found);
		if (!clinical_owner_fetch(&find, here, NULL, false, &found))
			found = Int32GetDatum(begin_generation(here));
	}
	generation = DatumGetInt32(found);
	generation_of = record_table();
	return generation;
}

/* Begin to store records of what the caller does. */
void
clinical_trail_open(ClinicalTrail *trail)
{
	trail->generation = current_generation();
	open_trail(trail);
}

/* Write a record of what the caller does; the strings may be NULL where the table says so. */
void
clinical_audit_write(const char *table_name, const char *operation,
					 Jsonb *row_key, const char *patient_id, Jsonb *changes)
{
	write_record(current_generation(), table_name, operation, row_key, patient_id, changes);
}

/*
 * Is the trail written here?  Not where it was restored and nothing was changed
 * since, nor on a subscriber that receives it.
 */
bool
clinical_audit_is_ours(void)
{
	static ClinicalPlan plan = {
		"SELECT g.system_identifier OPERATOR(pg_catalog.=) $1 AND g.database OPERATOR(pg_catalog.=) $2"
		"  FROM clinical.audit_generation g ORDER BY g.generation DESC LIMIT 1",
		2, {INT8OID, OIDOID}
	};
	Datum		here[2] = {Int64GetDatum((int64) GetSystemIdentifier()), ObjectIdGetDatum(MyDatabaseId)};
	Datum		ours;

	return clinical_owner_fetch(&plan, here, NULL, false, &ours) && DatumGetBool(ours);
}

/* Put into the trail what restores have left word of, if there is any. */
void
clinical_audit_adopt_restores(void)
{
	static ClinicalPlan any = {"SELECT true FROM clinical.audit_restore r LIMIT 1"};
	Datum		found;

	if (clinical_owner_fetch(&any, NULL, NULL, false, &found))
		adopt_restores(current_generation());
}
