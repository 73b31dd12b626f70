/*-------------------------------------------------------------------------
 *
 * observation_digest.c
 *		What stands in a report's own row for the observations that it made.
 *
 * Observations are only ever added, so the audit record of their report covers
 * them, by a digest: SHA-256 over the rows of version 1 in the order of their
 * ids.  It is computed from the values in memory when the report is stored, and
 * by an aggregate from the stored rows when the trail is verified.  Both make
 * the same bytes, by the code below: of each row the fields in the order of
 * ObservedColumn, written as audit_hash.c writes fields.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "audit.h"
#include "observation.h"

PG_FUNCTION_INFO_V1(clinical_observation_digest_add);
PG_FUNCTION_INFO_V1(clinical_observation_digest_result);

/* The columns, in the order of ObservedColumn */
const Oid	clinical_observed_types[OBSERVED_NCOLUMNS] = {
	TEXTOID, TEXTOID, TIMESTAMPTZOID, UUIDOID, UUIDOID, TEXTOID,
	DATEOID, NUMERICOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	BOOLOID, BOOLOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, TEXTOID
};
const char *const clinical_observed_names[OBSERVED_NCOLUMNS] = {
	"patient_id", "item", "captured_at", "id", "submission_id", "repeat_key",
	"local_day", "value", "value_text", "value_code", "unit", "absent",
	"is_score", "flagged", "actor", "recorded_at", "recorded_by", "reason"
};

/* The bytes of a row among those of all */
typedef struct Part
{
	pg_uuid_t	id;
	int			start;
	int			length;
} Part;

/* What a digest will be of */
typedef struct Parts
{
	StringInfoData bytes;
	Part	   *parts;
	int			count;
	int			room;
} Parts;

/* The rows of the table as an aggregate sees them: their type, and where the columns are */
typedef struct RowLayout
{
	Oid			type;
	int32		typmod;
	TupleDesc	desc;
	int			numbers[OBSERVED_NCOLUMNS];
} RowLayout;

/* Add a field of a type that the table has. */
static void
add_field(StringInfo bytes, Oid type, Datum value)
{
	text	   *string;

	switch (type)
	{
		case TEXTOID:
			string = DatumGetTextPP(value);
			clinical_field(bytes, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
			break;
		case NUMERICOID:
			clinical_field_string(bytes, DatumGetCString(DirectFunctionCall1(numeric_out, value)));
			break;
		case UUIDOID:
			clinical_field(bytes, (const char *) DatumGetUUIDP(value)->data, UUID_LEN);
			break;
		case TIMESTAMPTZOID:
			clinical_field_number(bytes, DatumGetTimestampTz(value));
			break;
		case DATEOID:
			clinical_field_number(bytes, DatumGetDateADT(value));
			break;
		case BOOLOID:
			clinical_field(bytes, DatumGetBool(value) ? "t" : "f", 1);
			break;
		default:
			elog(ERROR, "unexpected column of type %u", type);
	}
}

/* Begin with no rows, in the current memory context. */
static void
parts_begin(Parts *parts)
{
	initStringInfo(&parts->bytes);
	parts->count = 0;
	parts->room = 16;
	parts->parts = palloc_array(Part, parts->room);
}

/* Add a row. */
static void
parts_add(Parts *parts, const Datum *values, const bool *nulls)
{
	Part	   *part;

	if (parts->count == parts->room)
	{
		parts->room *= 2;
		parts->parts = repalloc_array(parts->parts, Part, parts->room);
	}
	part = &parts->parts[parts->count++];
	part->id = *DatumGetUUIDP(values[OBSERVED_ID]);
	part->start = parts->bytes.len;
	for (int i = 0; i < OBSERVED_NCOLUMNS; i++)
	{
		if (nulls[i])
			clinical_field_string(&parts->bytes, NULL);
		else
			add_field(&parts->bytes, clinical_observed_types[i], values[i]);
	}
	part->length = parts->bytes.len - part->start;
}

/* The order of two rows; of those with one id, which only tampering makes, that of their bytes. */
static int
compare_parts(const void *a, const void *b, void *bytes)
{
	const Part *left = a;
	const Part *right = b;
	int			order = memcmp(&left->id, &right->id, UUID_LEN);

	if (order == 0)
		order = memcmp((char *) bytes + left->start, (char *) bytes + right->start, Min(left->length, right->length));
	return order;
}

/* The digest of the rows; ids of one moment may have come in another order. */
static Datum
parts_digest(Parts *parts)
{
	pg_cryptohash_ctx *ctx = clinical_hash_begin();
	Sha256		hash;
	bool		failed;

	qsort_arg(parts->parts, parts->count, sizeof(Part), compare_parts, parts->bytes.data);
	failed = pg_cryptohash_init(ctx) < 0;
	for (int i = 0; i < parts->count && !failed; i++)
		failed = pg_cryptohash_update(ctx, (const uint8 *) parts->bytes.data + parts->parts[i].start,
									  parts->parts[i].length) < 0;
	if (failed || pg_cryptohash_final(ctx, hash, HASH_BYTES) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(ctx));
	clinical_hash_end(ctx);
	return clinical_bytes_datum(hash, HASH_BYTES);
}

/* The digest of the last so many rows, those of a report. */
Datum
clinical_observations_digest(const ClinicalRows *rows, int count)
{
	Parts		parts;
	Datum		digest;

	parts_begin(&parts);
	for (int row = rows->nrows - count; row < rows->nrows; row++)
	{
		Datum		values[OBSERVED_NCOLUMNS];
		bool		nulls[OBSERVED_NCOLUMNS];

		for (int i = 0; i < OBSERVED_NCOLUMNS; i++)
		{
			nulls[i] = i >= rows->ncolumns || rows->nulls[i][row];
			values[i] = nulls[i] ? (Datum) 0 : rows->values[i][row];
		}
		parts_add(&parts, values, nulls);
	}
	digest = parts_digest(&parts);
	pfree(parts.bytes.data);
	pfree(parts.parts);
	return digest;
}

/* Where the columns are in rows of this type, looked up once a query. */
static RowLayout *
row_layout(FunctionCallInfo fcinfo, HeapTupleHeader row)
{
	RowLayout  *layout = fcinfo->flinfo->fn_extra;
	MemoryContext caller;

	if (layout != NULL && layout->type == HeapTupleHeaderGetTypeId(row) && layout->typmod == HeapTupleHeaderGetTypMod(row))
		return layout;
	caller = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	layout = palloc_object(RowLayout);
	layout->type = HeapTupleHeaderGetTypeId(row);
	layout->typmod = HeapTupleHeaderGetTypMod(row);
	layout->desc = lookup_rowtype_tupdesc_copy(layout->type, layout->typmod);
	MemoryContextSwitchTo(caller);
	for (int i = 0; i < OBSERVED_NCOLUMNS; i++)
	{
		layout->numbers[i] = SPI_fnumber(layout->desc, clinical_observed_names[i]);
		if (layout->numbers[i] <= 0 || SPI_gettypeid(layout->desc, layout->numbers[i]) != clinical_observed_types[i])
			elog(ERROR, "column \"%s\" of \"observation\" is not what it was", clinical_observed_names[i]);
	}
	fcinfo->flinfo->fn_extra = layout;
	return layout;
}

/* SQL: the rows of an aggregate, one by one. */
Datum
clinical_observation_digest_add(PG_FUNCTION_ARGS)
{
	Parts	   *parts = PG_ARGISNULL(0) ? NULL : (Parts *) PG_GETARG_POINTER(0);
	Datum		all_values[MaxHeapAttributeNumber];
	bool		all_nulls[MaxHeapAttributeNumber];
	Datum		values[OBSERVED_NCOLUMNS];
	bool		nulls[OBSERVED_NCOLUMNS];
	MemoryContext group;
	MemoryContext caller;
	HeapTupleHeader row;
	HeapTupleData tuple;
	RowLayout  *layout;

	if (!AggCheckCallContext(fcinfo, &group))
		elog(ERROR, "observation_digest_add called in non-aggregate context");
	clinical_require_arg(!PG_ARGISNULL(1), "row is required");
	row = PG_GETARG_HEAPTUPLEHEADER(1);
	layout = row_layout(fcinfo, row);
	clinical_composite_tuple(row, &tuple);
	heap_deform_tuple(&tuple, layout->desc, all_values, all_nulls);
	for (int i = 0; i < OBSERVED_NCOLUMNS; i++)
	{
		values[i] = all_values[layout->numbers[i] - 1];
		nulls[i] = all_nulls[layout->numbers[i] - 1];
	}
	clinical_require_arg(!nulls[OBSERVED_ID], "row is required");
	caller = MemoryContextSwitchTo(group);
	if (parts == NULL)
	{
		parts = palloc_object(Parts);
		parts_begin(parts);
	}
	MemoryContextSwitchTo(caller);
	parts_add(parts, values, nulls);
	PG_RETURN_POINTER(parts);
}

/* SQL: the digest of the rows of an aggregate. */
Datum
clinical_observation_digest_result(PG_FUNCTION_ARGS)
{
	Parts		none;

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "observation_digest_result called in non-aggregate context");
	if (PG_ARGISNULL(0))
	{
		parts_begin(&none);
		PG_RETURN_DATUM(parts_digest(&none));
	}
	PG_RETURN_DATUM(parts_digest((Parts *) PG_GETARG_POINTER(0)));
}
