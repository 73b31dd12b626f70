/*-------------------------------------------------------------------------
 *
 * audit.h
 *		What the rooms of the module and others know about the audit trail.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_AUDIT_H
#define CLINICAL_AUDIT_H

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "lib/stringinfo.h"
#include "utils/relcache.h"

#include "core.h"

#define HASH_BYTES PG_SHA256_DIGEST_LENGTH
#define SALT_BYTES 16

typedef uint8 Sha256[HASH_BYTES];

/* audit_hash.c: hashes, and the bytes that they are of */

/* The peaks of a Merkle tree that grows to the right, as in RFC 6962 */
typedef struct MerkleTree
{
	int64		leaves;
	int			npeaks;
	Sha256		peaks[64];
} MerkleTree;

extern void clinical_hash_init(void);
extern pg_cryptohash_ctx *clinical_hash_begin(void);
extern void clinical_hash_end(pg_cryptohash_ctx *ctx);
extern void clinical_hash(pg_cryptohash_ctx *ctx, const void *data, size_t length, uint8 *hash);
extern void clinical_field(StringInfo bytes, const char *value, int length);
extern void clinical_field_string(StringInfo bytes, const char *value);
extern void clinical_field_number(StringInfo bytes, int64 value);
extern void clinical_field_xid(StringInfo bytes, uint64 value);
extern void clinical_field_moment(StringInfo bytes, TimestampTz moment);
extern Datum clinical_bytes_datum(const uint8 *data, int length);
extern bool clinical_hash_value(Datum value, bool isnull, uint8 *hash);
extern char *clinical_hex(const uint8 *data, int length);
extern void clinical_merkle_add(pg_cryptohash_ctx *ctx, MerkleTree *tree, const uint8 *leaf);
extern void clinical_merkle_root(pg_cryptohash_ctx *ctx, const MerkleTree *tree, uint8 *root);

/* audit_image.c: rows as the trail has them */

typedef enum ValueKind
{
	VALUE_NONE,					/* not in the trail */
	VALUE_BOOLEAN,
	VALUE_NUMBER,				/* of any integer type, or numeric */
	VALUE_TIME,					/* a date or a moment */
	VALUE_DOCUMENT,				/* jsonb */
	VALUE_TEXT,					/* as its type prints it */
	VALUE_BYTES,				/* bytea, in hexadecimal digits */
	VALUE_TEXT_BY_SETTINGS		/* where that depends on settings */
} ValueKind;

typedef struct ImageColumn
{
	const char *name;
	Oid			type;
	Oid			output;
	int16		length;
	bool		by_value;
	bool		in_key;
	ValueKind	kind;
} ImageColumn;

/* How a table's rows are written down */
typedef struct ImageLayout
{
	Oid			relid;			/* key of the cache */
	bool		valid;
	int			ncolumns;
	ImageColumn *columns;
	MemoryContext context;
} ImageLayout;

extern void clinical_image_init(void);
extern const ImageLayout *clinical_image_layout(Relation relation);
extern Jsonb *clinical_image_key(const ImageLayout *layout, TupleDesc desc, HeapTuple tuple);
extern Jsonb *clinical_image_changes(const ImageLayout *layout, TupleDesc desc,
									 HeapTuple old_tuple, HeapTuple new_tuple);
extern Jsonb *clinical_image_version(const ImageLayout *layout, TupleDesc desc,
									 HeapTuple before_tuple, HeapTuple new_tuple);
extern Jsonb *clinical_image_digest(const ImageLayout *layout, TupleDesc desc,
									HeapTuple old_tuple, HeapTuple new_tuple);
extern Jsonb *clinical_image_columns(const ImageLayout *layout);

/* audit_write.c: the records themselves */

typedef struct AuditRecord
{
	int32		generation;
	uint64		xid;
	int64		id;
	TimestampTz recorded_at;
	const char *login;
	const char *role;
	const char *authenticated;
	const char *actor;
	const char *client;
	const char *table_name;
	const char *operation;
	const char *row_key;		/* as text, like the changes */
	const char *patient_id;
	const char *changes;
	const char *reason;
} AuditRecord;

extern void clinical_audit_init(void);
extern void clinical_seal_init(void);
extern void clinical_audit_content_hash(pg_cryptohash_ctx *ctx, StringInfo bytes,
										const AuditRecord *record, const uint8 *salt, uint8 *hash);
extern void clinical_audit_leaf(pg_cryptohash_ctx *ctx, StringInfo bytes,
								const AuditRecord *record, const uint8 *content_hash, uint8 *leaf);
/* The table of records, open for as many as are stored together */
typedef struct ClinicalTrail
{
	int32		generation;
	Relation	relation;
	CatalogIndexState indexes;
} ClinicalTrail;

extern void clinical_audit_write(const char *table_name, const char *operation,
								 Jsonb *row_key, const char *patient_id, Jsonb *changes);
extern void clinical_trail_open(ClinicalTrail *trail);
extern HeapTuple clinical_trail_record(const ClinicalTrail *trail, const char *table_name, const char *operation,
									   Jsonb *row_key, const char *patient_id, Jsonb *changes);
extern void clinical_trail_store(ClinicalTrail *trail, HeapTuple *records, int count);
extern bool clinical_audit_is_ours(void);
extern void clinical_audit_adopt_restores(void);

/* audit.c */

extern void clinical_audit_note_restore(void);
extern void clinical_audit_inserted(Relation relation, HeapTuple *tuples, int count);

/* audit_compare.c */

/* What a module's tables must agree in besides: rows of fault, place and detail */
extern ClinicalPlan *clinical_audit_comparison;

extern const char *clinical_audit_argument(Relation relation, int argno);

/* audit_redact.c: destroying values, also those that hang on others */

extern Datum (*clinical_redact_related) (const char *table_name, Datum row_key, Datum path);
extern Datum clinical_redact_row(const char *table_name, Datum row_key, Datum path,
								 const char *patient_id);
CLINICAL_NORETURN extern void clinical_redact_refuse(void);

#endif							/* CLINICAL_AUDIT_H */
