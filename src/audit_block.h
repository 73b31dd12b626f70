/*-------------------------------------------------------------------------
 *
 * audit_block.h
 *		What sealing and verifying share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_AUDIT_BLOCK_H
#define CLINICAL_AUDIT_BLOCK_H

#include "nodes/execnodes.h"
#include "utils/hsearch.h"

#include "audit.h"

/* Neither a leaf nor a node of a tree */
#define BLOCK_PREFIX 0x02

typedef struct AuditBlock
{
	int64		block_no;
	int32		generation;
	uint64		from_xid;
	uint64		to_xid;			/* not included */
	int64		records;
	Sha256		root;
	Sha256		previous;
	TimestampTz sealed_at;
	Sha256		hash;
} AuditBlock;

extern void clinical_audit_block_hash(pg_cryptohash_ctx *ctx, StringInfo bytes,
									  const AuditBlock *block, uint8 *hash);
extern bool clinical_audit_seal(Datum *row, bool wait);
extern void clinical_audit_parse_digest(const char *digest, int64 *block_no, char *hex);

/* audit_sum.c: whether rows are what the trail says, in one pass over both */

#define AUDIT_LANES 2

/* A sum of hashes, in which the order has no part */
typedef struct AuditSum
{
	uint64		lanes[AUDIT_LANES];
} AuditSum;

typedef struct AuditKeys
{
	uint64		lanes[AUDIT_LANES];
} AuditKeys;

extern void clinical_sum_begin(AuditKeys *keys);
extern void clinical_sum_changes(const AuditKeys *keys, StringInfo bytes, AuditSum *sum, int sign,
								 const char *table_name, const char *row_key, Jsonb *changes);
extern bool clinical_sum_is_zero(const AuditSum *sum);

/* audit_verify.c and audit_compare.c: faults, as rows of a result */

typedef struct Verification
{
	ReturnSetInfo *result;
	pg_cryptohash_ctx *ctx;
	StringInfoData bytes;
	AuditKeys	keys;
	HTAB	   *sums;			/* by table: what the trail says */
	HTAB	   *redactions;		/* by record */
	MemoryContext batch;		/* reset after each batch of rows */
} Verification;

typedef struct TableSum
{
	NameData	table_name;		/* key */
	NameData	version;		/* its column; rows whose version is 1 are not
								 * in the trail by themselves; empty: none */
	AuditSum	sum;
} TableSum;

extern void clinical_fault(Verification *v, const char *fault, char *place, const char *detail);
extern TableSum *clinical_table_sum(Verification *v, const char *table_name);
extern void clinical_audit_version_column(const char *table_name, NameData *column);
extern void clinical_compare_tables(Verification *v);
extern void clinical_check_guards(Verification *v);

#endif							/* CLINICAL_AUDIT_BLOCK_H */
