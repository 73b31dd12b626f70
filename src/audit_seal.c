/*-------------------------------------------------------------------------
 *
 * audit_seal.c
 *		Sealing the audit trail.
 *
 * A block takes the records of all transactions that are over, in the order of
 * the trail: those before the oldest one that still runs, so that no record can
 * come to stand among them later.  Writers neither wait nor know.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "audit_block.h"
#include "compat.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(clinical_seal_audit);
PG_FUNCTION_INFO_V1(clinical_audit_digest);
PG_FUNCTION_INFO_V1(clinical_audit_head);

/* How long records wait for their seal at most, in milliseconds */
static int	seal_interval = 10000;

/* Records that wait for so long (ms), and so many times that, wait too long */
#define LONG_WAIT 300000
#define SEAL_INTERVALS 10

#define DIGEST_FORMAT "clinical-1:" INT64_FORMAT ":%s"

/* Copy the hash in a column of the first row that SPI found. */
static void
found_hash(int column, uint8 *hash)
{
	if (!clinical_hash_value(clinical_result(0, column), false, hash))
		elog(ERROR, "hash in column %d has another length", column);
}

/* The last block; number 0 and a hash of zeros if there is none. */
static void
last_block(AuditBlock *block)
{
	static ClinicalPlan plan = {
		"SELECT b.block_no, b.generation, b.to_xid, b.hash FROM clinical.audit_block b"
		" ORDER BY b.block_no DESC LIMIT 1"
	};

	memset(block, 0, sizeof(AuditBlock));
	SPI_connect();
	clinical_owner_execute(&plan, NULL, NULL, false);
	if (SPI_processed > 0)
	{
		block->block_no = DatumGetInt64(clinical_result(0, 1));
		block->generation = DatumGetInt32(clinical_result(0, 2));
		block->to_xid = DatumGetUInt64(clinical_result(0, 3));
		found_hash(4, block->hash);
	}
	SPI_finish();
}

/* What a block's hash is of. */
void
clinical_audit_block_hash(pg_cryptohash_ctx *ctx, StringInfo bytes, const AuditBlock *block, uint8 *hash)
{
	resetStringInfo(bytes);
	appendStringInfoChar(bytes, BLOCK_PREFIX);
	clinical_field_number(bytes, block->block_no);
	clinical_field_number(bytes, block->generation);
	clinical_field_xid(bytes, block->from_xid);
	clinical_field_xid(bytes, block->to_xid);
	clinical_field_number(bytes, block->records);
	clinical_field(bytes, (const char *) block->root, HASH_BYTES);
	clinical_field(bytes, (const char *) block->previous, HASH_BYTES);
	clinical_field_moment(bytes, block->sealed_at);
	clinical_hash(ctx, bytes->data, bytes->len, hash);
}

/*
 * The first generation with records that no block has, from the last block's
 * on, and up to where its transactions are over; false if there is none.  Of
 * all generations but the newest that is the end, since no other place writes
 * them any more.
 */
static bool
next_range(const AuditBlock *last, AuditBlock *next)
{
	static ClinicalPlan plan = {
		"SELECT r.generation,"
		"       CASE WHEN r.generation OPERATOR(pg_catalog.=)"
		"                 (SELECT pg_catalog.max(g.generation) FROM clinical.audit_generation g)"
		"            THEN pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())"
		"            ELSE '18446744073709551615'::pg_catalog.xid8 END"
		"  FROM clinical.audit_record r"
		" WHERE ROW (r.generation, r.xid) OPERATOR(pg_catalog.>=) ROW ($1, $2)"
		" ORDER BY r.generation, r.xid LIMIT 1",
		2, {INT4OID, XID8OID}
	};
	Datum		values[2] = {Int32GetDatum(last->generation), UInt64GetDatum(last->to_xid)};
	bool		found;

	SPI_connect();
	clinical_owner_execute(&plan, values, NULL, false);
	found = SPI_processed > 0;
	if (found)
	{
		next->generation = DatumGetInt32(clinical_result(0, 1));
		next->to_xid = DatumGetUInt64(clinical_result(0, 2));
		next->from_xid = next->generation == last->generation ? last->to_xid : 0;
	}
	SPI_finish();
	return found;
}

/* Build the tree over the leaves in a block's range. */
static void
collect_leaves(pg_cryptohash_ctx *ctx, const AuditBlock *block, MerkleTree *tree)
{
	Oid			argtypes[3] = {INT4OID, XID8OID, XID8OID};
	Datum		values[3] = {Int32GetDatum(block->generation), UInt64GetDatum(block->from_xid),
	UInt64GetDatum(block->to_xid)};
	Portal		portal;

	SPI_connect();
	portal = SPI_cursor_open_with_args(NULL,
									   "SELECT r.leaf FROM clinical.audit_record r"
									   " WHERE r.generation OPERATOR(pg_catalog.=) $1"
									   "   AND r.xid OPERATOR(pg_catalog.>=) $2 AND r.xid OPERATOR(pg_catalog.<) $3"
									   " ORDER BY r.generation, r.xid, r.id",
									   3, argtypes, values, NULL, false, CURSOR_OPT_NO_SCROLL);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, 1000);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			bool		isnull;
			bytea	   *leaf = DatumGetByteaPP(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));

			if (isnull || VARSIZE_ANY_EXHDR(leaf) != HASH_BYTES)
				elog(ERROR, "leaf of an audit record has another length");
			clinical_merkle_add(ctx, tree, (const uint8 *) VARDATA_ANY(leaf));
		}
		SPI_freetuptable(SPI_tuptable);
		CHECK_FOR_INTERRUPTS();
	}
	SPI_cursor_close(portal);
	SPI_finish();
}

/* Store a block and return its row. */
static Datum
store_block(const AuditBlock *block)
{
	static ClinicalPlan plan = {
		"INSERT INTO clinical.audit_block AS b"
		" (block_no, generation, from_xid, to_xid, records, root, previous, sealed_at, hash)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING (b.*)::clinical.audit_block",
		9, {INT8OID, INT4OID, XID8OID, XID8OID, INT8OID, BYTEAOID, BYTEAOID, TIMESTAMPTZOID, BYTEAOID}
	};
	Datum		values[9];
	Datum		row;

	values[0] = Int64GetDatum(block->block_no);
	values[1] = Int32GetDatum(block->generation);
	values[2] = UInt64GetDatum(block->from_xid);
	values[3] = UInt64GetDatum(block->to_xid);
	values[4] = Int64GetDatum(block->records);
	values[5] = clinical_bytes_datum(block->root, HASH_BYTES);
	values[6] = clinical_bytes_datum(block->previous, HASH_BYTES);
	values[7] = TimestampTzGetDatum(block->sealed_at);
	values[8] = clinical_bytes_datum(block->hash, HASH_BYTES);
	SPI_connect();
	clinical_server_execute(&plan, values, NULL);
	row = SPI_datumTransfer(clinical_result(0, 1), false, -1);
	SPI_finish();
	return row;
}

/* Seal what follows the last block, if there is any; its row. */
static bool
seal_next(AuditBlock *last, Datum *row)
{
	AuditBlock	block = {0};
	MerkleTree	tree = {0};
	pg_cryptohash_ctx *ctx;
	StringInfoData bytes;
	ClinicalUser saved;

	if (!next_range(last, &block))
		return false;
	ctx = clinical_hash_begin();
	clinical_owner_begin(&saved);
	collect_leaves(ctx, &block, &tree);
	clinical_owner_end(&saved);
	if (tree.leaves > 0)
	{
		initStringInfo(&bytes);
		block.block_no = last->block_no + 1;
		block.records = tree.leaves;
		block.sealed_at = GetCurrentTimestamp();
		memcpy(block.previous, last->hash, HASH_BYTES);
		clinical_merkle_root(ctx, &tree, block.root);
		clinical_audit_block_hash(ctx, &bytes, &block, block.hash);
		CLINICAL_FAULT("seal_block");
		*row = store_block(&block);
		CLINICAL_FAULT("seal_stored");
		*last = block;
	}
	clinical_hash_end(ctx);
	return tree.leaves > 0;
}

/*
 * Seal all that can be sealed, where the trail is written; the last block made,
 * if any.  The lock keeps two from sealing the same records.
 */
bool
clinical_audit_seal(Datum *row, bool wait)
{
	Oid			blocks = get_relname_relid("audit_block", get_namespace_oid("clinical", false));
	AuditBlock	last;
	AuditBlock	next = {0};
	bool		any = false;

	if (!clinical_audit_is_ours())
		return false;
	clinical_audit_adopt_restores();
	last_block(&last);
	if (!next_range(&last, &next))
		return false;
	if (wait)
		LockRelationOid(blocks, ShareRowExclusiveLock);
	else if (!ConditionalLockRelationOid(blocks, ShareRowExclusiveLock))
		return false;
	last_block(&last);
	while (seal_next(&last, row))
		any = true;
	return any;
}

/* The worker's job. */
static long
seal_job(void)
{
	Datum		row;

	if (!clinical_worker_begin("sealing the audit trail"))
		return -1;
	/* who seals by a call may take his time over the end of his transaction */
	(void) clinical_audit_seal(&row, false);
	CLINICAL_FAULT("seal_done");
	clinical_worker_commit();
	return seal_interval;
}

/* For health(): do records wait for their seal for long, and is it for an open transaction? */
static bool
seal_is_behind(const char **problem, const char **remedy)
{
	static ClinicalPlan plan = {
		"SELECT r.recorded_at, g.generation OPERATOR(pg_catalog.=) r.generation"
		"       AND r.xid OPERATOR(pg_catalog.>=) pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())"
		"  FROM clinical.audit_record r, (SELECT n.generation, n.system_identifier, n.database FROM clinical.audit_generation n"
		"                                  ORDER BY n.generation DESC LIMIT 1) g"
		" WHERE g.system_identifier OPERATOR(pg_catalog.=) $1 AND g.database OPERATOR(pg_catalog.=) $2"
		"   AND ROW (r.generation, r.xid) OPERATOR(pg_catalog.>=)"
		"       ROW (COALESCE((SELECT b.generation FROM clinical.audit_block b ORDER BY b.block_no DESC LIMIT 1), 0),"
		"            COALESCE((SELECT b.to_xid FROM clinical.audit_block b ORDER BY b.block_no DESC LIMIT 1), '0'))"
		" ORDER BY r.generation, r.xid LIMIT 1",
		2, {INT8OID, OIDOID}
	};
	Datum		here[2] = {Int64GetDatum((int64) GetSystemIdentifier()), ObjectIdGetDatum(MyDatabaseId)};
	long		waited = 0;
	bool		held = false;

	if (RecoveryInProgress())
		return false;
	SPI_connect();
	clinical_owner_execute(&plan, here, NULL, true);
	if (SPI_processed > 0)
	{
		waited = TimestampDifferenceMilliseconds(DatumGetTimestampTz(clinical_result(0, 1)), GetCurrentTimestamp());
		held = DatumGetBool(clinical_result(0, 2));
	}
	SPI_finish();
	if (waited < LONG_WAIT || waited / SEAL_INTERVALS < seal_interval)
		return false;
	*problem = psprintf("records of the audit trail have waited for their seal for %ld minutes%s", waited / 60000,
						held ? ", since a transaction is open" : "");
	*remedy = held ? "End the oldest transaction that has a backend_xid in pg_stat_activity, or stands in pg_prepared_xacts." :
		"See in stat_worker whether the first worker runs and what it does, or call clinical.seal_audit().";
	return true;
}

/* Give the worker its job, and define how often it does it. */
void
clinical_seal_init(void)
{
	static const ClinicalJob job = {"seal", seal_job};

	DefineCustomIntVariable("clinical.audit_seal_interval",
							"How long records of the audit trail wait for their seal at most.",
							NULL,
							&seal_interval, 10000, 100, 24 * 60 * 60 * 1000, PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	clinical_register_job(&job);
	clinical_register_problem(seal_is_behind);
}

/* SQL: seal now; NULL if there is nothing to seal. */
Datum
clinical_seal_audit(PG_FUNCTION_ARGS)
{
	Datum		row = (Datum) 0;

	PreventCommandDuringRecovery("seal_audit()");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("the audit trail can only be sealed in a READ COMMITTED transaction")));
	if (!clinical_audit_seal(&row, true))
		PG_RETURN_NULL();
	return row;
}

/* SQL: the head of the chain of blocks, to be kept elsewhere. */
Datum
clinical_audit_digest(PG_FUNCTION_ARGS)
{
	AuditBlock	block;

	last_block(&block);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf(DIGEST_FORMAT, block.block_no,
											  clinical_hex(block.hash, HASH_BYTES))));
}

/* SQL: the same for the server itself, NULL if nothing is sealed. */
Datum
clinical_audit_head(PG_FUNCTION_ARGS)
{
	AuditBlock	block;

	last_block(&block);
	if (block.block_no == 0)
		PG_RETURN_NULL();
	return clinical_audit_digest(fcinfo);
}

/* Take a digest apart; an error if it is none. */
void
clinical_audit_parse_digest(const char *digest, int64 *block_no, char *hex)
{
	long long	number = -1;
	char		digits[2 * HASH_BYTES + 2] = {0};

	if (sscanf(digest, "clinical-1:%18lld:%65[0-9a-f]", &number, digits) != 2 || number < 0 ||
		strlen(digits) != 2 * HASH_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("malformed audit digest"),
				 errhint("Give what audit_digest() returned.")));
	*block_no = number;
	strlcpy(hex, digits, 2 * HASH_BYTES + 1);
}
