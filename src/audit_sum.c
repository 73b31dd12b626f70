/*-------------------------------------------------------------------------
 *
 * audit_sum.c
 *		Whether rows are what the trail says.
 *
 * Each value of a row, at its place, has a hash.  What the trail says was put
 * there is added, what it says was taken away is subtracted, and so is what
 * stands there now: if the sum is not zero, something came or went without the
 * trail.  That needs one pass over both in any order, and no memory; to replay
 * the trail row by row needs all of it sorted (with 510,000 records another 4.6
 * seconds, where verification takes 2).  Of jsonb each member of an object
 * counts by itself, since changes are recorded by path.
 *
 * The hash is the server's own, quick one, with keys that are drawn for each
 * verification: who altered a row could not know under which keys its sum would
 * have to come out right.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "audit_block.h"
#include "compat.h"

/* What is added to, and how; bytes hold the place of the value at hand */
typedef struct Adder
{
	const AuditKeys *keys;
	StringInfo	bytes;
	AuditSum   *sum;
	int			sign;
} Adder;

static void add_value(Adder *adder, JsonbValue *value, bool in_document);

/* Add the hash of the place and a value, which is cut off again. */
static void
add_hash(Adder *adder, char kind, const char *value, int length)
{
	int			place = adder->bytes->len;

	appendStringInfoChar(adder->bytes, kind);
	clinical_field(adder->bytes, value, length);
	for (int i = 0; i < AUDIT_LANES; i++)
	{
		uint64		hash = hash_bytes_extended((const unsigned char *) adder->bytes->data,
											   adder->bytes->len, adder->keys->lanes[i]);

		adder->sum->lanes[i] += adder->sign > 0 ? hash : -hash;
	}
	adder->bytes->len = place;
	adder->bytes->data[place] = '\0';
}

/* Add an object: that it is one, and each of its members. */
static void
add_object(Adder *adder, JsonbContainer *object)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbValue	key;
	JsonbValue	value;
	int			place = adder->bytes->len;

	check_stack_depth();
	add_hash(adder, 'o', "", 0);
	while (clinical_json_next(&iterator, &key, &value))
	{
		clinical_field(adder->bytes, key.val.string.val, key.val.string.len);
		add_value(adder, &value, true);
		adder->bytes->len = place;
	}
}

/* Add a value; a null that is not in a document is none. */
static void
add_value(Adder *adder, JsonbValue *value, bool in_document)
{
	char	   *printed;

	switch (value->type)
	{
		case jbvNull:
			if (in_document)
				add_hash(adder, 'z', "", 0);
			break;
		case jbvBool:
			add_hash(adder, 'b', value->val.boolean ? "t" : "f", 1);
			break;
		case jbvString:
			add_hash(adder, 's', value->val.string.val, value->val.string.len);
			break;
		case jbvNumeric:
			printed = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
			add_hash(adder, 'n', printed, strlen(printed));
			break;
		case jbvBinary:
			if (clinical_json_object(value) != NULL)
				add_object(adder, clinical_json_object(value));
			else
			{
				printed = JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
				add_hash(adder, 'a', printed, strlen(printed));
			}
			break;
		case jbvArray:
		case jbvObject:
		case jbvDatetime:
			elog(ERROR, "unexpected jsonb value of type %d", (int) value->type);
	}
}

/* A member of an object by name, or NULL. */
static JsonbValue *
named_member(JsonbContainer *object, const char *name, JsonbValue *buffer)
{
	return getKeyJsonValueFromContainer(object, name, strlen(name), buffer);
}

/* Add the keys of a path to the place. */
static void
add_path(Adder *adder, JsonbContainer *path)
{
	for (int i = 0; i < (int) JsonContainerSize(path); i++)
	{
		JsonbValue *key = getIthJsonbValueFromContainer(path, i);

		/* of a mutilated record; its hash has told of it */
		if (key == NULL || key->type != jbvString)
			continue;
		clinical_field(adder->bytes, key->val.string.val, key->val.string.len);
	}
}

/* Add one change: what is new, less what is old. */
static void
add_change(Adder *adder, JsonbContainer *change)
{
	JsonbValue	buffer;
	JsonbValue *column = named_member(change, "column", &buffer);
	JsonbValue *value;
	bool		in_document;
	int			sign = adder->sign;

	if (column == NULL || column->type != jbvString)
		return;
	clinical_field(adder->bytes, column->val.string.val, column->val.string.len);
	value = named_member(change, "path", &buffer);
	in_document = value != NULL && value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
	if (in_document)
		add_path(adder, value->val.binary.data);
	if ((value = named_member(change, "new", &buffer)) != NULL)
		add_value(adder, value, in_document);
	adder->sign = -sign;
	if ((value = named_member(change, "old", &buffer)) != NULL)
		add_value(adder, value, in_document);
	adder->sign = sign;
}

/* Draw the keys of a verification. */
void
clinical_sum_begin(AuditKeys *keys)
{
	if (!pg_strong_random(keys, sizeof(AuditKeys)))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random keys")));
}

/*
 * Add the changes of one record, or, with the sign -1, subtract what a row has
 * now, given as the changes of its creation.
 */
void
clinical_sum_changes(const AuditKeys *keys, StringInfo bytes, AuditSum *sum, int sign,
					 const char *table_name, const char *row_key, Jsonb *changes)
{
	AuditKeys	row_keys;
	Adder		adder = {&row_keys, bytes, sum, sign};

	if (!JB_ROOT_IS_ARRAY(changes))
		return;
	/* the row goes into the keys, so that it is hashed once for all its values */
	resetStringInfo(bytes);
	clinical_field_string(bytes, table_name);
	clinical_field_string(bytes, row_key);
	for (int i = 0; i < AUDIT_LANES; i++)
		row_keys.lanes[i] = hash_bytes_extended((const unsigned char *) bytes->data, bytes->len, keys->lanes[i]);
	for (int i = 0; i < (int) JB_ROOT_COUNT(changes); i++)
	{
		JsonbValue *change = getIthJsonbValueFromContainer(&changes->root, i);
		JsonbContainer *object = clinical_json_object(change);

		if (object != NULL)
		{
			resetStringInfo(bytes);
			add_change(&adder, object);
		}
		pfree(change);
	}
}

/* Has all that came also gone? */
bool
clinical_sum_is_zero(const AuditSum *sum)
{
	for (int i = 0; i < AUDIT_LANES; i++)
	{
		if (sum->lanes[i] != 0)
			return false;
	}
	return true;
}
