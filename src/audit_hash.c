/*-------------------------------------------------------------------------
 *
 * audit_hash.c
 *		Hashes of the audit trail, and the bytes that they are of.
 *
 * What is hashed is a row of fields, each as "LENGTH:BYTES," or, if it is NULL,
 * as "-,": so no two different rows have the same bytes.  All hashes are
 * SHA-256; trees are built as in RFC 6962, whose prefixes keep a leaf from being
 * taken for an inner node.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "audit.h"
#include "compat.h"

#define NODE_PREFIX 0x01

/* What hashes of this transaction are made with; NULL: nothing yet */
static pg_cryptohash_ctx *context = NULL;

/* At the end of a transaction: after an abort its resource owner frees it. */
static void
forget_context(XactEvent event, void *arg)
{
	if (context != NULL && (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE))
		pg_cryptohash_free(context);
	context = NULL;
}

/* Listen to ends of transactions. */
void
clinical_hash_init(void)
{
	RegisterXactCallback(forget_context, NULL);
}

/*
 * What hashes are made with, one for the whole transaction, since to make one
 * takes as long as to hash a record.  Each hash begins and ends before the next.
 */
pg_cryptohash_ctx *
clinical_hash_begin(void)
{
	ResourceOwner owner = CurrentResourceOwner;

	if (context != NULL)
		return context;
	CurrentResourceOwner = TopTransactionResourceOwner;
	context = pg_cryptohash_create(PG_SHA256);
	CurrentResourceOwner = owner;
	if (context == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return context;
}

/* The end of clinical_hash_begin: it is kept for the next. */
void
clinical_hash_end(pg_cryptohash_ctx *ctx)
{
	Assert(ctx == context);
}

/* The hash of some bytes. */
void
clinical_hash(pg_cryptohash_ctx *ctx, const void *data, size_t length, uint8 *hash)
{
	if (pg_cryptohash_init(ctx) < 0 || pg_cryptohash_update(ctx, data, length) < 0 ||
		pg_cryptohash_final(ctx, hash, HASH_BYTES) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(ctx));
}

/* Add a field. */
void
clinical_field(StringInfo bytes, const char *value, int length)
{
	char		digits[16];
	int			ndigits = pg_ultoa_n((uint32) length, digits);

	appendBinaryStringInfo(bytes, digits, ndigits);
	appendStringInfoChar(bytes, ':');
	appendBinaryStringInfo(bytes, value, length);
	appendStringInfoChar(bytes, ',');
}

/* Add a field that is a string, or NULL. */
void
clinical_field_string(StringInfo bytes, const char *value)
{
	if (value == NULL)
		appendBinaryStringInfo(bytes, "-,", 2);
	else
		clinical_field(bytes, value, strlen(value));
}

/* Add a field that is a number, in decimal. */
void
clinical_field_number(StringInfo bytes, int64 value)
{
	char		digits[MAXINT8LEN + 1];

	pg_lltoa(value, digits);
	clinical_field_string(bytes, digits);
}

/* Add a field that is a transaction's number, which has no sign. */
void
clinical_field_xid(StringInfo bytes, uint64 value)
{
	char		digits[32];

	clinical_field(bytes, digits, pg_ulltoa_n(value, digits));
}

/* A part of a moment, and what follows it. */
static char *
add_number(char *at, int value, int width, char then)
{
	at = pg_ultostr_zeropad(at, (uint32) value, width);
	*at++ = then;
	return at;
}

/* Add a field that is a moment: 2026-02-01T12:00:00.000000Z. */
void
clinical_field_moment(StringInfo bytes, TimestampTz moment)
{
	struct pg_tm tm;
	fsec_t		fsec;
	char		buffer[64];
	char	   *end = buffer;

	/* nothing is recorded at such a moment, but somebody may have written so */
	if (TIMESTAMP_NOT_FINITE(moment) || timestamp2tm(moment, NULL, &tm, &fsec, NULL, NULL) != 0)
	{
		clinical_field_string(bytes, "infinity");
		return;
	}
	end = add_number(end, tm.tm_year, 4, '-');
	end = add_number(end, tm.tm_mon, 2, '-');
	end = add_number(end, tm.tm_mday, 2, 'T');
	end = add_number(end, tm.tm_hour, 2, ':');
	end = add_number(end, tm.tm_min, 2, ':');
	end = add_number(end, tm.tm_sec, 2, '.');
	end = add_number(end, fsec, 6, 'Z');
	*end = '\0';
	clinical_field_string(bytes, buffer);
}

/* Some bytes as a value. */
Datum
clinical_bytes_datum(const uint8 *data, int length)
{
	bytea	   *value = palloc(VARHDRSZ + length);

	SET_VARSIZE(value, VARHDRSZ + length);
	memcpy(VARDATA(value), data, length);
	return PointerGetDatum(value);
}

/* Some bytes in hexadecimal digits. */
char *
clinical_hex(const uint8 *data, int length)
{
	char	   *digits = palloc(length * 2 + 1);

	hex_encode((const char *) data, length, digits);
	digits[length * 2] = '\0';
	return digits;
}

/* The node above two others. */
static void
merkle_node(pg_cryptohash_ctx *ctx, const uint8 *left, const uint8 *right, uint8 *node)
{
	uint8		bytes[1 + 2 * HASH_BYTES];

	bytes[0] = NODE_PREFIX;
	memcpy(bytes + 1, left, HASH_BYTES);
	memcpy(bytes + 1 + HASH_BYTES, right, HASH_BYTES);
	clinical_hash(ctx, bytes, sizeof(bytes), node);
}

/* Add a leaf; each two peaks of the same height become one. */
void
clinical_merkle_add(pg_cryptohash_ctx *ctx, MerkleTree *tree, const uint8 *leaf)
{
	Sha256		node;

	memcpy(node, leaf, HASH_BYTES);
	for (int64 low = tree->leaves; low & 1; low >>= 1)
		merkle_node(ctx, tree->peaks[--tree->npeaks], node, node);
	memcpy(tree->peaks[tree->npeaks++], node, HASH_BYTES);
	tree->leaves++;
}

/* The root over all leaves, of which there is at least one. */
void
clinical_merkle_root(pg_cryptohash_ctx *ctx, const MerkleTree *tree, uint8 *root)
{
	Assert(tree->npeaks > 0);
	memcpy(root, tree->peaks[tree->npeaks - 1], HASH_BYTES);
	for (int i = tree->npeaks - 2; i >= 0; i--)
		merkle_node(ctx, tree->peaks[i], root, root);
}

/* The hash in a column; false, and zeros, if it is none. */
bool
clinical_hash_value(Datum value, bool isnull, uint8 *hash)
{
	bytea	   *bytes = isnull ? NULL : DatumGetByteaPP(value);

	memset(hash, 0, HASH_BYTES);
	if (bytes == NULL || VARSIZE_ANY_EXHDR(bytes) != HASH_BYTES)
		return false;
	memcpy(hash, VARDATA_ANY(bytes), HASH_BYTES);
	return true;
}
