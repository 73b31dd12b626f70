/*-------------------------------------------------------------------------
 *
 * audit_image.c
 *		Rows as the audit trail has them: each column by name, as JSON.
 *
 * Numbers and booleans are those of JSON, jsonb stays what it is, dates and
 * moments are ISO 8601 in UTC, all else is the text that its type prints under
 * fixed settings; so nothing depends on the session, and nothing is lost: 1.50
 * does not become 1.5.  NULL is null; of a jsonb column, whose own null is
 * something else, changes have a path, and NULL is the absence of a value.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"

#include "audit.h"
#include "compat.h"

static HTAB *layouts = NULL;

/* A table was changed, or perhaps all were. */
static void
layout_inval(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	ImageLayout *layout;

	if (layouts == NULL)
		return;
	hash_seq_init(&status, layouts);
	while ((layout = hash_seq_search(&status)) != NULL)
	{
		if (relid == InvalidOid || relid == layout->relid)
			layout->valid = false;
	}
}

/* Listen to changes of tables. */
void
clinical_image_init(void)
{
	CacheRegisterRelcacheCallback(layout_inval, (Datum) 0);
}

/* How values of a type are written down. */
static ValueKind
kind_of_type(Oid type)
{
	switch (type)
	{
		case BOOLOID:
			return VALUE_BOOLEAN;
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
			return VALUE_NUMBER;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return VALUE_TIME;
		case JSONBOID:
			return VALUE_DOCUMENT;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case NAMEOID:
		case UUIDOID:
			return VALUE_TEXT;
		case BYTEAOID:
			return VALUE_BYTES;
		case REGROLEOID:
			return VALUE_NONE;	/* its text changes with the role's name */
		default:
			return VALUE_TEXT_BY_SETTINGS;
	}
}

/* Describe one column. */
static void
describe_column(ImageColumn *column, Form_pg_attribute attribute, Bitmapset *key)
{
	bool		is_varlena;

	column->name = pstrdup(NameStr(attribute->attname));
	column->type = attribute->atttypid;
	column->length = attribute->attlen;
	column->by_value = attribute->attbyval;
	column->in_key = bms_is_member(attribute->attnum - FirstLowInvalidHeapAttributeNumber, key);
	column->kind = VALUE_NONE;
	if (attribute->attisdropped || CLINICAL_VIRTUAL_COLUMN(attribute))
		return;
	column->kind = kind_of_type(getBaseType(attribute->atttypid));
	getTypeOutputInfo(attribute->atttypid, &column->output, &is_varlena);
}

/* Describe a table anew. */
static void
build_layout(ImageLayout *layout, Relation relation)
{
	TupleDesc	desc = RelationGetDescr(relation);
	MemoryContext context = AllocSetContextCreate(CacheMemoryContext, "clinical layout of a table",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Bitmapset  *key = RelationGetIndexAttrBitmap(relation, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	ImageColumn *columns = palloc0(desc->natts * sizeof(ImageColumn));

	for (int i = 0; i < desc->natts; i++)
		describe_column(&columns[i], TupleDescAttr(desc, i), key);
	MemoryContextSwitchTo(caller);
	if (layout->context != NULL)
		MemoryContextDelete(layout->context);
	layout->context = context;
	layout->ncolumns = desc->natts;
	layout->columns = columns;
	layout->valid = true;
}

/* How a table's rows are written down; good until the table changes. */
const ImageLayout *
clinical_image_layout(Relation relation)
{
	Oid			relid = RelationGetRelid(relation);
	ImageLayout *layout;
	bool		found;

	if (layouts == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(ImageLayout), .hcxt = CacheMemoryContext};

		layouts = hash_create("clinical layouts of tables", 32, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	layout = hash_search(layouts, &relid, HASH_ENTER, &found);
	if (!found)
	{
		layout->valid = false;
		layout->context = NULL;
	}
	if (!layout->valid)
		build_layout(layout, relation);
	return layout;
}

/* The text of a value whose type looks at settings, under fixed ones. */
static char *
text_by_settings(const ImageColumn *column, Datum value)
{
	static const char *const settings[][2] = {
		{"DateStyle", "ISO, YMD"}, {"TimeZone", "UTC"}, {"IntervalStyle", "iso_8601"},
		{"extra_float_digits", "1"}, {"bytea_output", "hex"}, {"search_path", "pg_catalog"},
	};
	int			nest_level = NewGUCNestLevel();
	char	   *printed;

	for (int i = 0; i < (int) lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	printed = OidOutputFunctionCall(column->output, value);
	AtEOXact_GUC(true, nest_level);
	return printed;
}

/* The text of a bytea, which depends on a setting too, but is one of the digests that most rows have. */
static char *
text_of_bytes(Datum value)
{
	bytea	   *bytes = DatumGetByteaPP(value);

	return psprintf("\\x%s", clinical_hex((const uint8 *) VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes)));
}

/* A number of any of the types. */
static Numeric
as_numeric(const ImageColumn *column, Datum value)
{
	switch (getBaseType(column->type))
	{
		case INT2OID:
			return int64_to_numeric(DatumGetInt16(value));
		case INT4OID:
			return int64_to_numeric(DatumGetInt32(value));
		case INT8OID:
			return int64_to_numeric(DatumGetInt64(value));
		default:
			return DatumGetNumeric(value);
	}
}

/* The text of a value. */
static char *
value_text(const ImageColumn *column, Datum value)
{
	int			utc = 0;
	char		buffer[MAXDATELEN + 1];

	switch (column->kind)
	{
		case VALUE_BOOLEAN:
			return pstrdup(DatumGetBool(value) ? "true" : "false");
		case VALUE_NUMBER:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(as_numeric(column, value))));
		case VALUE_TIME:
			return pstrdup(JsonEncodeDateTime(buffer, value, getBaseType(column->type), &utc));
		case VALUE_DOCUMENT:
			return JsonbToCString(NULL, &DatumGetJsonbP(value)->root, 0);
		case VALUE_TEXT:
			return OidOutputFunctionCall(column->output, value);
		case VALUE_BYTES:
			return text_of_bytes(value);
		case VALUE_TEXT_BY_SETTINGS:
			return text_by_settings(column, value);
		case VALUE_NONE:
			break;
	}
	elog(ERROR, "column \"%s\" is not in the trail", column->name);
}

/* A value that is not jsonb as JSON. */
static void
value_json(const ImageColumn *column, Datum value, bool isnull, JsonbValue *json)
{
	if (isnull)
		json->type = jbvNull;
	else if (column->kind == VALUE_BOOLEAN)
	{
		json->type = jbvBool;
		json->val.boolean = DatumGetBool(value);
	}
	else if (column->kind == VALUE_NUMBER &&
			 !numeric_is_nan(as_numeric(column, value)) && !numeric_is_inf(as_numeric(column, value)))
	{
		json->type = jbvNumeric;
		json->val.numeric = as_numeric(column, value);
	}
	else
	{
		json->type = jbvString;
		json->val.string.val = value_text(column, value);
		json->val.string.len = strlen(json->val.string.val);
	}
}

/* Put out a named value that is not jsonb. */
static void
push_value(JsonbParseState **state, const char *name, const ImageColumn *column, Datum value, bool isnull)
{
	JsonbValue	json;

	clinical_json_key(state, name);
	value_json(column, value, isnull, &json);
	pushJsonbValue(state, WJB_VALUE, &json);
}

/* Put out a named string. */
static void
push_string(JsonbParseState **state, const char *name, const char *string)
{
	JsonbValue	json;

	clinical_json_key(state, name);
	json.type = jbvString;
	json.val.string.val = unconstify(char *, string);
	json.val.string.len = strlen(string);
	pushJsonbValue(state, WJB_VALUE, &json);
}

/* The primary key of a row, by column. */
Jsonb *
clinical_image_key(const ImageLayout *layout, TupleDesc desc, HeapTuple tuple)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < layout->ncolumns; i++)
	{
		bool		isnull;

		if (layout->columns[i].in_key)
		{
			Datum		value = heap_getattr(tuple, i + 1, desc, &isnull);

			push_value(&state, layout->columns[i].name, &layout->columns[i], value, isnull);
		}
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * Are two values the same, byte for byte?  Of large ones that were not changed
 * the pointers are the same already.
 */
static bool
same_value(const ImageColumn *column, Datum old_value, Datum new_value)
{
	if (column->length == -1 && VARSIZE_ANY(DatumGetPointer(old_value)) == VARSIZE_ANY(DatumGetPointer(new_value)) &&
		memcmp(DatumGetPointer(old_value), DatumGetPointer(new_value), VARSIZE_ANY(DatumGetPointer(old_value))) == 0)
		return true;
	return datum_image_eq(old_value, new_value, column->by_value, column->length);
}

/* Put out what became of one column; a row that is not there has NULLs. */
static void
push_column(JsonbParseState **state, const ImageColumn *column, bool has_old, Datum old_value, bool old_null,
			bool has_new, Datum new_value, bool new_null)
{
	if (old_null && new_null)
		return;
	if (!old_null && !new_null && same_value(column, old_value, new_value))
		return;
	if (column->kind == VALUE_DOCUMENT)
	{
		clinical_push_changes(state, column->name, old_null ? NULL : DatumGetJsonbP(old_value),
							  new_null ? NULL : DatumGetJsonbP(new_value));
		return;
	}
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_string(state, "column", column->name);
	if (has_old)
		push_value(state, "old", column, old_value, old_null);
	if (has_new)
		push_value(state, "new", column, new_value, new_null);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/*
 * What differs between a row before and after (NULL: there is none), as an
 * array of objects with column, for jsonb path, old and new; NULL if nothing.
 */
Jsonb *
clinical_image_changes(const ImageLayout *layout, TupleDesc desc, HeapTuple old_tuple, HeapTuple new_tuple)
{
	JsonbParseState *state = NULL;
	JsonbValue *array;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < layout->ncolumns; i++)
	{
		bool		old_null = true;
		bool		new_null = true;
		Datum		old_value = (Datum) 0;
		Datum		new_value = (Datum) 0;

		if (layout->columns[i].kind == VALUE_NONE)
			continue;
		if (old_tuple != NULL)
			old_value = heap_getattr(old_tuple, i + 1, desc, &old_null);
		if (new_tuple != NULL)
			new_value = heap_getattr(new_tuple, i + 1, desc, &new_null);
		push_column(&state, &layout->columns[i], old_tuple != NULL, old_value, old_null,
					new_tuple != NULL, new_value, new_null);
	}
	array = pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return array->val.array.nElems == 0 ? NULL : JsonbValueToJsonb(array);
}

/*
 * A row that is the next version of another: all its values, as of a row that
 * is new, and beside those that differ what stood there before.
 */
Jsonb *
clinical_image_version(const ImageLayout *layout, TupleDesc desc, HeapTuple before_tuple, HeapTuple new_tuple)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < layout->ncolumns; i++)
	{
		const ImageColumn *column = &layout->columns[i];
		bool		before_null = true;
		bool		new_null;
		Datum		before = before_tuple == NULL ? (Datum) 0 : heap_getattr(before_tuple, i + 1, desc, &before_null);
		Datum		value = heap_getattr(new_tuple, i + 1, desc, &new_null);

		if (column->kind == VALUE_NONE || (before_null && new_null))
			continue;
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		push_string(&state, "column", column->name);
		if (before_tuple != NULL && (before_null || new_null || !same_value(column, before, value)))
			push_value(&state, "before", column, before, before_null);
		push_value(&state, "new", column, value, new_null);
		pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/* The hash of all values of a row, by column; NULLs have no part in it. */
static char *
row_digest(const ImageLayout *layout, TupleDesc desc, HeapTuple tuple)
{
	pg_cryptohash_ctx *ctx = clinical_hash_begin();
	StringInfoData bytes;
	Sha256		hash;

	initStringInfo(&bytes);
	for (int i = 0; i < layout->ncolumns; i++)
	{
		bool		isnull;
		Datum		value;

		if (layout->columns[i].kind == VALUE_NONE)
			continue;
		value = heap_getattr(tuple, i + 1, desc, &isnull);
		if (isnull)
			continue;
		clinical_field_string(&bytes, layout->columns[i].name);
		clinical_field_string(&bytes, value_text(&layout->columns[i], value));
	}
	clinical_hash(ctx, bytes.data, bytes.len, hash);
	clinical_hash_end(ctx);
	return clinical_hex(hash, HASH_BYTES);
}

/*
 * The same for tables whose rows are only added, and so are their own record:
 * instead of the values there is the hash of the row.
 */
Jsonb *
clinical_image_digest(const ImageLayout *layout, TupleDesc desc, HeapTuple old_tuple, HeapTuple new_tuple)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_string(&state, "column", "*");
	if (old_tuple != NULL)
		push_string(&state, "old", row_digest(layout, desc, old_tuple));
	if (new_tuple != NULL)
		push_string(&state, "new", row_digest(layout, desc, new_tuple));
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/* The columns of a table and their types, in order. */
Jsonb *
clinical_image_columns(const ImageLayout *layout)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < layout->ncolumns; i++)
	{
		if (layout->columns[i].kind != VALUE_NONE)
			push_string(&state, layout->columns[i].name, format_type_be_qualified(layout->columns[i].type));
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
