/*-------------------------------------------------------------------------
 *
 * patient_record.c
 *		Merging a patch into a record (RFC 7396), and what differs between
 *		two records.
 *
 * Both walk nested objects with the server's jsonb functions, check the depth
 * of the stack, and never look into arrays, which a merge patch replaces whole.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/jsonb.h"

#include "compat.h"
#include "patient.h"

PG_FUNCTION_INFO_V1(clinical_merge_patch);
PG_FUNCTION_INFO_V1(clinical_record_changes);

/* The keys that lead to the value at hand, innermost first */
typedef struct Path
{
	const JsonbValue *key;
	const struct Path *parent;
} Path;

static JsonbValue *merge_objects(JsonbParseState **state, JsonbContainer *target,
								 JsonbContainer *patch);
static void compare_objects(JsonbParseState **state, const Path *path,
							JsonbContainer *old_object, JsonbContainer *new_object);

/* The container of a value that is an object, else NULL. */
static JsonbContainer *
value_object(const JsonbValue *value)
{
	if (value == NULL || value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		return NULL;
	return value->val.binary.data;
}

/* The container of a document that is an object, else NULL. */
static JsonbContainer *
document_object(Jsonb *document)
{
	return JB_ROOT_IS_OBJECT(document) ? &document->root : NULL;
}

/* The value of a key in an object, or NULL. */
static JsonbValue *
member(JsonbContainer *object, const JsonbValue *key, JsonbValue *buffer)
{
	if (object == NULL)
		return NULL;
	return getKeyJsonValueFromContainer(object, key->val.string.val, key->val.string.len, buffer);
}

/* Step to the next member of an object, nested values left whole. */
static bool
next_member(JsonbIterator **iterator, JsonbValue *key, JsonbValue *value)
{
	JsonbIteratorToken token = JsonbIteratorNext(iterator, key, true);

	if (token == WJB_BEGIN_OBJECT)
		token = JsonbIteratorNext(iterator, key, true);
	if (token != WJB_KEY)
		return false;
	(void) JsonbIteratorNext(iterator, value, true);
	return true;
}

/* Put out what a patch makes of one member; null removes it. */
static void
merge_member(JsonbParseState **state, JsonbValue *key, JsonbValue *target, JsonbValue *patch)
{
	if (patch->type == jbvNull)
		return;
	pushJsonbValue(state, WJB_KEY, key);
	if (value_object(patch) != NULL)
		(void) merge_objects(state, value_object(target), value_object(patch));
	else
		pushJsonbValue(state, WJB_VALUE, patch);
}

/* Put out what a patch makes of an object; NULL stands for an empty one. */
static JsonbValue *
merge_objects(JsonbParseState **state, JsonbContainer *target, JsonbContainer *patch)
{
	JsonbIterator *iterator;
	JsonbValue	key;
	JsonbValue	value;
	JsonbValue	buffer;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	iterator = target == NULL ? NULL : JsonbIteratorInit(target);
	while (iterator != NULL && next_member(&iterator, &key, &value))
	{
		JsonbValue *change = member(patch, &key, &buffer);

		if (change != NULL)
			merge_member(state, &key, &value, change);
		else
		{
			pushJsonbValue(state, WJB_KEY, &key);
			pushJsonbValue(state, WJB_VALUE, &value);
		}
	}
	iterator = JsonbIteratorInit(patch);
	while (next_member(&iterator, &key, &value))
	{
		if (member(target, &key, &buffer) == NULL)
			merge_member(state, &key, NULL, &value);
	}
	return pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* The document that a merge patch makes of another. */
Jsonb *
clinical_merge(Jsonb *target, Jsonb *patch)
{
	JsonbParseState *state = NULL;

	if (document_object(patch) == NULL)
		return patch;
	return JsonbValueToJsonb(merge_objects(&state, document_object(target), document_object(patch)));
}

/* Are two values the same, to the last digit? */
static bool
same_value(const JsonbValue *a, const JsonbValue *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type)
	{
		case jbvNull:
			return true;
		case jbvBool:
			return a->val.boolean == b->val.boolean;
		case jbvString:
			return a->val.string.len == b->val.string.len &&
				memcmp(a->val.string.val, b->val.string.val, a->val.string.len) == 0;
		case jbvNumeric:
			return VARSIZE_ANY(a->val.numeric) == VARSIZE_ANY(b->val.numeric) &&
				memcmp(a->val.numeric, b->val.numeric, VARSIZE_ANY(a->val.numeric)) == 0;
		case jbvBinary:
			return a->val.binary.len == b->val.binary.len &&
				memcmp(a->val.binary.data, b->val.binary.data, a->val.binary.len) == 0;
		case jbvArray:
		case jbvObject:
		case jbvDatetime:
			break;				/* never handed out for stored values */
	}
	elog(ERROR, "unexpected jsonb value of type %d", (int) a->type);
}

/* Put out a key of an object. */
static void
push_key(JsonbParseState **state, const char *name)
{
	JsonbValue	key;

	key.type = jbvString;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	pushJsonbValue(state, WJB_KEY, &key);
}

/* Put out one named value of a change, or nothing for NULL. */
static void
push_named(JsonbParseState **state, const char *name, JsonbValue *value)
{
	if (value == NULL)
		return;
	push_key(state, name);
	pushJsonbValue(state, WJB_VALUE, value);
}

/* Put out the keys of a path, outermost first. */
static void
push_path(JsonbParseState **state, const Path *path)
{
	JsonbValue	key;

	if (path == NULL)
		return;
	check_stack_depth();
	push_path(state, path->parent);
	key = *path->key;
	pushJsonbValue(state, WJB_ELEM, &key);
}

/* Put out one change; NULL: absent. */
static void
push_change(JsonbParseState **state, const Path *path, JsonbValue *old_value, JsonbValue *new_value)
{
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_key(state, "path");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	push_path(state, path);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
	push_named(state, "old", old_value);
	push_named(state, "new", new_value);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* Put out what differs between two members of the same key. */
static void
compare_members(JsonbParseState **state, const Path *path, JsonbValue *old_value, JsonbValue *new_value)
{
	JsonbContainer *old_object = value_object(old_value);
	JsonbContainer *new_object = value_object(new_value);

	if (same_value(old_value, new_value))
		return;
	if (old_object != NULL && new_object != NULL)
		compare_objects(state, path, old_object, new_object);
	else
		push_change(state, path, old_value, new_value);
}

/* Put out what differs between two objects. */
static void
compare_objects(JsonbParseState **state, const Path *path,
				JsonbContainer *old_object, JsonbContainer *new_object)
{
	JsonbIterator *iterator = JsonbIteratorInit(old_object);
	JsonbValue	key;
	JsonbValue	value;
	JsonbValue	buffer;
	Path		here = {&key, path};

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	while (next_member(&iterator, &key, &value))
	{
		JsonbValue *now = member(new_object, &key, &buffer);

		if (now == NULL)
			push_change(state, &here, &value, NULL);
		else
			compare_members(state, &here, &value, now);
	}
	iterator = JsonbIteratorInit(new_object);
	while (next_member(&iterator, &key, &value))
	{
		if (member(old_object, &key, &buffer) == NULL)
			push_change(state, &here, NULL, &value);
	}
}

/* A whole document as a value to be put out. */
static void
document_value(Jsonb *document, JsonbValue *value)
{
	if (JB_ROOT_IS_SCALAR(document))
		(void) JsonbExtractScalar(&document->root, value);
	else
	{
		value->type = jbvBinary;
		value->val.binary.data = &document->root;
		value->val.binary.len = VARSIZE(document) - VARHDRSZ;
	}
}

/* What differs between two documents, as an array. */
Jsonb *
clinical_changes(Jsonb *old_record, Jsonb *new_record)
{
	JsonbParseState *state = NULL;
	JsonbValue	old_value;
	JsonbValue	new_value;

	document_value(old_record, &old_value);
	document_value(new_record, &new_value);
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	compare_members(&state, NULL, &old_value, &new_value);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/* SQL: RFC 7396. */
Datum
clinical_merge_patch(PG_FUNCTION_ARGS)
{
	PG_RETURN_JSONB_P(clinical_merge(PG_GETARG_JSONB_P(0), PG_GETARG_JSONB_P(1)));
}

/* SQL: what differs. */
Datum
clinical_record_changes(PG_FUNCTION_ARGS)
{
	PG_RETURN_JSONB_P(clinical_changes(PG_GETARG_JSONB_P(0), PG_GETARG_JSONB_P(1)));
}
