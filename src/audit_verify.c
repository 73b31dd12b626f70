/*-------------------------------------------------------------------------
 *
 * audit_verify.c
 *		Verifying the audit trail.
 *
 * One pass in the order of the trail reads each record and each block: a
 * record's hash must be that of its content, a block's root that of its
 * records, and each block must know the one before it.  What the trail says of
 * the tables is summed up on the way; audit_compare.c sees whether it is true.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "audit_block.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(clinical_verify_audit);

#define BATCH 1000

/* A record whose content was destroyed, or that a redaction names; the key comes first */
typedef struct Redaction
{
	uint64		xid;
	int64		id;
	int32		generation;
	bool		destroyed;
	bool		named;
	Sha256		present;		/* of its content */
	char		told[2 * HASH_BYTES + 1];	/* what the last redaction says of it */
} Redaction;

/* The block whose records are being read */
typedef struct BlockReader
{
	Portal		portal;
	AuditBlock	block;
	bool		present;		/* is there one? */
	AuditBlock	previous;
	MerkleTree	tree;
} BlockReader;

/* Report a fault. */
void
clinical_fault(Verification *v, const char *fault, char *place, const char *detail)
{
	Datum		values[3];
	bool		nulls[3] = {false, false, detail == NULL};

	values[0] = CStringGetTextDatum(fault);
	values[1] = CStringGetTextDatum(place);
	values[2] = detail == NULL ? (Datum) 0 : CStringGetTextDatum(detail);
	tuplestore_putvalues(v->result->setResult, v->result->setDesc, values, nulls);
}

/* The sum for a table; a name that is longer than one is no table's. */
TableSum *
clinical_table_sum(Verification *v, const char *table_name)
{
	NameData	key;
	bool		found;
	TableSum   *sum;

	namestrcpy(&key, table_name);
	sum = hash_search(v->sums, &key, HASH_ENTER, &found);
	if (!found)
	{
		memset(&sum->sum, 0, sizeof(AuditSum));
		clinical_audit_version_column(table_name, &sum->version);
	}
	return sum;
}

/* Where a record stands. */
static char *
record_place(int32 generation, uint64 xid, int64 id)
{
	return psprintf("record (%d, " UINT64_FORMAT ", " INT64_FORMAT ")", generation, xid, id);
}

/* Where a block stands. */
static char *
block_place(int64 block_no)
{
	return psprintf("block " INT64_FORMAT, block_no);
}

/* Read the next block, and see whether it is whole and follows the one before. */
static void
next_block(Verification *v, BlockReader *reader)
{
	AuditBlock *block = &reader->block;
	Datum		values[9];
	bool		nulls[9];
	Sha256		hash;

	reader->previous = *block;
	memset(&reader->tree, 0, sizeof(MerkleTree));
	SPI_cursor_fetch(reader->portal, true, 1);
	reader->present = SPI_processed > 0;
	if (!reader->present)
		return;
	heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, values, nulls);
	block->block_no = DatumGetInt64(values[0]);
	block->generation = DatumGetInt32(values[1]);
	block->from_xid = DatumGetUInt64(values[2]);
	block->to_xid = DatumGetUInt64(values[3]);
	block->records = DatumGetInt64(values[4]);
	(void) clinical_hash_value(values[5], nulls[5], block->root);
	(void) clinical_hash_value(values[6], nulls[6], block->previous);
	block->sealed_at = DatumGetTimestampTz(values[7]);
	(void) clinical_hash_value(values[8], nulls[8], block->hash);
	SPI_freetuptable(SPI_tuptable);

	clinical_audit_block_hash(v->ctx, &v->bytes, block, hash);
	if (memcmp(hash, block->hash, HASH_BYTES) != 0)
		clinical_fault(v, "block was altered", block_place(block->block_no), "its hash is not that of its content");
	if (block->block_no != reader->previous.block_no + 1)
		clinical_fault(v, "block is missing",
					   block_place(reader->previous.block_no + 1), NULL);
	else if (memcmp(block->previous, reader->previous.hash, HASH_BYTES) != 0)
		clinical_fault(v, "chain is broken", block_place(block->block_no), "it does not follow the block before it");
	if (block->from_xid != (block->generation == reader->previous.generation ? reader->previous.to_xid : 0))
		clinical_fault(v, "chain is broken", block_place(block->block_no),
					   "its records do not begin where those of the block before it end");
}

/* All records of a block were read. */
static void
finish_block(Verification *v, BlockReader *reader)
{
	Sha256		root = {0};

	if (reader->tree.leaves > 0)
		clinical_merkle_root(v->ctx, &reader->tree, root);
	if (reader->tree.leaves != reader->block.records)
		clinical_fault(v, reader->tree.leaves < reader->block.records ? "records are missing" : "records were inserted",
					   block_place(reader->block.block_no),
					   psprintf("it sealed " INT64_FORMAT ", there are " INT64_FORMAT " from transaction " UINT64_FORMAT " to before " UINT64_FORMAT " of generation %d",
								reader->block.records, reader->tree.leaves,
								reader->block.from_xid, reader->block.to_xid, reader->block.generation));
	else if (memcmp(root, reader->block.root, HASH_BYTES) != 0)
		clinical_fault(v, "records are not those that were sealed", block_place(reader->block.block_no),
					   psprintf("altered, exchanged or put in another order, from transaction " UINT64_FORMAT " to before " UINT64_FORMAT " of generation %d",
								reader->block.from_xid, reader->block.to_xid, reader->block.generation));
}

/* Does a record come after all of a block's? */
static bool
after_block(const AuditBlock *block, const AuditRecord *record)
{
	return record->generation > block->generation ||
		(record->generation == block->generation && record->xid >= block->to_xid);
}

/* Count a record with its block. */
static void
place_record(Verification *v, BlockReader *reader, const AuditRecord *record, const uint8 *leaf)
{
	while (reader->present && after_block(&reader->block, record))
	{
		finish_block(v, reader);
		next_block(v, reader);
	}
	if (!reader->present)
		return;					/* not sealed yet */
	if (record->generation == reader->block.generation && record->xid >= reader->block.from_xid)
		clinical_merkle_add(v->ctx, &reader->tree, leaf);
	else
		clinical_fault(v, "record was inserted", record_place(record->generation, record->xid, record->id), "it stands where all is sealed, in no block");
}

/* Is the record's hash that of its content? */
static void
check_record(Verification *v, const AuditRecord *record, bytea *salt, bool redacted, const uint8 *content_hash,
			 const uint8 *leaf)
{
	Sha256		content;
	Sha256		hash;

	if (redacted)
		memcpy(content, content_hash, HASH_BYTES);
	else if (salt != NULL && VARSIZE_ANY_EXHDR(salt) == SALT_BYTES)
		clinical_audit_content_hash(v->ctx, &v->bytes, record, (const uint8 *) VARDATA_ANY(salt), content);
	else
	{
		clinical_fault(v, "record was altered", record_place(record->generation, record->xid, record->id), "it has no salt and was not redacted");
		return;
	}
	clinical_audit_leaf(v->ctx, &v->bytes, record, content, hash);
	if (memcmp(hash, leaf, HASH_BYTES) != 0)
		clinical_fault(v, "record was altered", record_place(record->generation, record->xid, record->id), "its hash is not that of its content");
}

/* The columns of a record, in the order of read_trail's query */
enum
{
	GENERATION, XID, ID, RECORDED_AT, LOGIN, ROLE, AUTHENTICATED, ACTOR, CLIENT, TABLE_NAME,
	OPERATION, ROW_KEY, PATIENT_ID, CHANGES, REASON, SALT, CONTENT_HASH, LEAF, NCOLUMNS
};

/* A text column of the record at hand, or NULL. */
static char *
text_value(const Datum *values, const bool *nulls, int column)
{
	return nulls[column] ? NULL : TextDatumGetCString(values[column]);
}

/* The fields of a record that its hash is of. */
static void
read_fields(const Datum *values, const bool *nulls, AuditRecord *record)
{
	Jsonb	   *key = DatumGetJsonbP(values[ROW_KEY]);
	Jsonb	   *changes = DatumGetJsonbP(values[CHANGES]);

	record->generation = DatumGetInt32(values[GENERATION]);
	record->xid = DatumGetUInt64(values[XID]);
	record->id = DatumGetInt64(values[ID]);
	record->recorded_at = DatumGetTimestampTz(values[RECORDED_AT]);
	record->login = text_value(values, nulls, LOGIN);
	record->role = text_value(values, nulls, ROLE);
	record->authenticated = text_value(values, nulls, AUTHENTICATED);
	record->actor = text_value(values, nulls, ACTOR);
	record->client = text_value(values, nulls, CLIENT);
	record->table_name = text_value(values, nulls, TABLE_NAME);
	record->operation = text_value(values, nulls, OPERATION);
	record->row_key = JsonbToCString(NULL, &key->root, VARSIZE(key));
	record->patient_id = text_value(values, nulls, PATIENT_ID);
	record->changes = JsonbToCString(NULL, &changes->root, VARSIZE(changes));
	record->reason = text_value(values, nulls, REASON);
}

/* Does a record tell what became of a row? */
static bool
tells_of_row(const AuditRecord *record)
{
	return strcmp(record->operation, "INSERT") == 0 || strcmp(record->operation, "UPDATE") == 0 ||
		strcmp(record->operation, "DELETE") == 0;
}

/* A record of the trail whose content was destroyed, or that a redaction names. */
static Redaction *
find_redaction(Verification *v, int32 generation, uint64 xid, int64 id)
{
	Redaction	key;
	Redaction  *redaction;
	bool		found;

	memset(&key, 0, sizeof(key));
	key.generation = generation;
	key.xid = xid;
	key.id = id;
	redaction = hash_search(v->redactions, &key, HASH_ENTER, &found);
	if (!found)
	{
		redaction->destroyed = redaction->named = false;
		redaction->told[0] = '\0';
	}
	return redaction;
}

/* A number in an array, or 0. */
static int64
array_number(JsonbContainer *array, int i)
{
	JsonbValue *value = getIthJsonbValueFromContainer(array, i);

	if (value == NULL || value->type != jbvNumeric)
		return 0;
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric)));
}

/* The number of a transaction, which is a string, in an array, or 0. */
static uint64
array_xid(JsonbContainer *array, int i)
{
	JsonbValue *value = getIthJsonbValueFromContainer(array, i);

	if (value == NULL || value->type != jbvString)
		return 0;
	return strtoull(pnstrdup(value->val.string.val, value->val.string.len), NULL, 10);
}

/* Take down one record that a redaction names: generation, xid, id, hash. */
static void
name_redaction(Verification *v, JsonbContainer *record)
{
	Redaction  *redaction = find_redaction(v, (int32) array_number(record, 0), array_xid(record, 1),
										   array_number(record, 2));
	JsonbValue *hash = getIthJsonbValueFromContainer(record, 3);

	redaction->named = true;
	redaction->told[0] = '\0';
	if (hash != NULL && hash->type == jbvString && hash->val.string.len == 2 * HASH_BYTES)
	{
		memcpy(redaction->told, hash->val.string.val, 2 * HASH_BYTES);
		redaction->told[2 * HASH_BYTES] = '\0';
	}
}

/* Take down a record whose content was destroyed, with the hash of what it says now. */
static void
note_destroyed(Verification *v, const AuditRecord *record)
{
	static const uint8 no_salt[SALT_BYTES] = {0};
	Redaction  *redaction = find_redaction(v, record->generation, record->xid, record->id);

	redaction->destroyed = true;
	clinical_audit_content_hash(v->ctx, &v->bytes, record, no_salt, redaction->present);
}

/* Take down the records that a redaction names. */
static void
read_redaction(Verification *v, Jsonb *changes)
{
	JsonbValue	buffer;
	JsonbContainer *change;
	JsonbValue *records;

	if (!JB_ROOT_IS_ARRAY(changes) || JB_ROOT_COUNT(changes) == 0 ||
		(change = clinical_json_object(getIthJsonbValueFromContainer(&changes->root, 0))) == NULL)
		return;
	records = getKeyJsonValueFromContainer(change, "records", strlen("records"), &buffer);
	if (records == NULL || records->type != jbvBinary || !JsonContainerIsArray(records->val.binary.data))
		return;
	for (int i = 0; i < (int) JsonContainerSize(records->val.binary.data); i++)
	{
		JsonbValue *record = getIthJsonbValueFromContainer(records->val.binary.data, i);

		if (record->type == jbvBinary && JsonContainerIsArray(record->val.binary.data))
			name_redaction(v, record->val.binary.data);
	}
}

/* Add what a record tells of a row to the sum of its table, unless the row is not in the trail by itself. */
static void
sum_record(Verification *v, const AuditRecord *record, Jsonb *row_key, Jsonb *changes)
{
	TableSum   *sum = clinical_table_sum(v, record->table_name);
	const char *column = NameStr(sum->version);
	JsonbValue	buffer;
	JsonbValue *version = column[0] == '\0' || !JB_ROOT_IS_OBJECT(row_key) ? NULL :
		getKeyJsonValueFromContainer(&row_key->root, column, strlen(column), &buffer);

	if (version != NULL && version->type == jbvNumeric &&
		DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(version->val.numeric),
										 NumericGetDatum(int64_to_numeric(1)))))
		return;
	clinical_sum_changes(&v->keys, &v->bytes, &sum->sum, 1, record->table_name, record->row_key, changes);
}

/* Read one record. */
static void
read_record(Verification *v, BlockReader *reader, HeapTuple tuple, TupleDesc desc)
{
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS];
	AuditRecord record;
	Sha256		content_hash;
	Sha256		leaf;
	bool		redacted;

	heap_deform_tuple(tuple, desc, values, nulls);
	read_fields(values, nulls, &record);
	redacted = clinical_hash_value(values[CONTENT_HASH], nulls[CONTENT_HASH], content_hash);
	(void) clinical_hash_value(values[LEAF], nulls[LEAF], leaf);
	check_record(v, &record, nulls[SALT] ? NULL : DatumGetByteaPP(values[SALT]), redacted, content_hash, leaf);
	place_record(v, reader, &record, leaf);
	if (redacted || nulls[SALT])
		note_destroyed(v, &record);
	if (strcmp(record.operation, "REDACT") == 0)
		read_redaction(v, DatumGetJsonbP(values[CHANGES]));
	if (tells_of_row(&record))
		sum_record(v, &record, DatumGetJsonbP(values[ROW_KEY]), DatumGetJsonbP(values[CHANGES]));
}

/*
 * Read all records, and the blocks beside them.  The casts do nothing, unless
 * somebody has given a column another type.
 */
static void
read_trail(Verification *v)
{
	BlockReader reader = {0};
	Portal		records;

	reader.portal = SPI_cursor_open_with_args(NULL,
											  "SELECT b.block_no::pg_catalog.int8, b.generation::pg_catalog.int4,"
											  "       b.from_xid::pg_catalog.xid8, b.to_xid::pg_catalog.xid8,"
											  "       b.records::pg_catalog.int8, b.root::pg_catalog.bytea,"
											  "       b.previous::pg_catalog.bytea, b.sealed_at::pg_catalog.timestamptz,"
											  "       b.hash::pg_catalog.bytea"
											  "  FROM clinical.audit_block b ORDER BY b.block_no",
											  0, NULL, NULL, NULL, true, CURSOR_OPT_NO_SCROLL);
	records = SPI_cursor_open_with_args(NULL,
										"SELECT r.generation::pg_catalog.int4, r.xid::pg_catalog.xid8, r.id::pg_catalog.int8,"
										"       r.recorded_at::pg_catalog.timestamptz, r.login::pg_catalog.text,"
										"       r.role::pg_catalog.text, r.authenticated::pg_catalog.text,"
										"       r.actor::pg_catalog.text, r.client::pg_catalog.text,"
										"       r.table_name::pg_catalog.text, r.operation::pg_catalog.text,"
										"       r.row_key::pg_catalog.jsonb, r.patient_id::pg_catalog.text,"
										"       r.changes::pg_catalog.jsonb, r.reason::pg_catalog.text,"
										"       r.salt::pg_catalog.bytea, r.content_hash::pg_catalog.bytea,"
										"       r.leaf::pg_catalog.bytea"
										"  FROM clinical.audit_record r ORDER BY r.generation, r.xid, r.id",
										0, NULL, NULL, NULL, true, CURSOR_OPT_NO_SCROLL);
	next_block(v, &reader);
	for (;;)
	{
		MemoryContext caller;
		SPITupleTable *rows;

		SPI_cursor_fetch(records, true, BATCH);
		rows = SPI_tuptable;
		if (SPI_processed == 0)
			break;
		caller = MemoryContextSwitchTo(v->batch);
		for (uint64 i = 0, count = SPI_processed; i < count; i++)
			read_record(v, &reader, rows->vals[i], rows->tupdesc);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(v->batch);
		SPI_freetuptable(rows);
		CHECK_FOR_INTERRUPTS();
	}
	while (reader.present)
	{
		finish_block(v, &reader);
		next_block(v, &reader);
	}
	SPI_cursor_close(records);
	SPI_cursor_close(reader.portal);
}

/* Is the digest that was kept elsewhere that of a block here? */
static void
check_digest(Verification *v, const char *digest)
{
	static ClinicalPlan plan = {
		"SELECT b.hash FROM clinical.audit_block b WHERE b.block_no OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	int64		block_no;
	char		hex[2 * HASH_BYTES + 1];
	Datum		value;
	Datum		value_found;
	Sha256		hash;

	clinical_audit_parse_digest(digest, &block_no, hex);
	value = Int64GetDatum(block_no);
	if (block_no == 0)
		return;					/* of an empty trail */
	if (!clinical_fetch(&plan, &value, NULL, true, &value_found))
		clinical_fault(v, "trail is cut off", block_place(block_no),
					   "the digest is of a block that is not here");
	else if (!clinical_hash_value(value_found, false, hash) ||
			 strcmp(clinical_hex(hash, HASH_BYTES), hex) != 0)
		clinical_fault(v, "trail is not the one of the digest", block_place(block_no),
					   "the block has another hash: it, or one before it, was made anew");
}

/* Each record whose content was destroyed must be named by a redaction. */
static void
check_redactions(Verification *v)
{
	HASH_SEQ_STATUS status;
	Redaction  *redaction;

	hash_seq_init(&status, v->redactions);
	while ((redaction = hash_seq_search(&status)) != NULL)
	{
		bool		as_told = strcmp(clinical_hex(redaction->present, HASH_BYTES), redaction->told) == 0;

		if (redaction->destroyed && !(redaction->named && as_told))
			clinical_fault(v, "record was altered",
						   record_place(redaction->generation, redaction->xid, redaction->id),
						   redaction->named ? "it is not what its redaction left of it" :
						   "values are destroyed, and no redaction says so");
	}
}

/* What is collected on the way: the sums by table, and redactions. */
static HTAB *
create_table(const char *name, size_t key_size, size_t entry_size)
{
	HASHCTL		control = {.keysize = key_size, .entrysize = entry_size, .hcxt = CurrentMemoryContext};

	return hash_create(name, 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* SQL: what is wrong with the trail, or differs from it. */
Datum
clinical_verify_audit(PG_FUNCTION_ARGS)
{
	Verification v = {0};
	ClinicalUser saved;

	InitMaterializedSRF(fcinfo, 0);
	v.result = (ReturnSetInfo *) fcinfo->resultinfo;
	SPI_connect();
	clinical_owner_begin(&saved);
	v.ctx = clinical_hash_begin();
	clinical_sum_begin(&v.keys);
	v.sums = create_table("clinical sums by table", sizeof(NameData), sizeof(TableSum));
	v.redactions = create_table("clinical redactions", offsetof(Redaction, destroyed), sizeof(Redaction));
	v.batch = AllocSetContextCreate(CurrentMemoryContext, "clinical verification", ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&v.bytes);
	read_trail(&v);
	check_redactions(&v);
	if (!PG_ARGISNULL(0))
		check_digest(&v, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	clinical_compare_tables(&v);
	clinical_check_guards(&v);
	clinical_hash_end(v.ctx);
	clinical_owner_end(&saved);
	SPI_finish();
	return (Datum) 0;
}
