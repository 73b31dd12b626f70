/*-------------------------------------------------------------------------
 *
 * core_json.c
 *		Walking jsonb documents, making them, and what differs between two.
 *
 * Objects are compared key by key, all other values whole and to the last
 * digit.  The walk uses the server's jsonb functions and checks the depth of
 * the stack.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "compat.h"
#include "core.h"

/* The keys that lead to the value at hand, innermost first */
typedef struct Path
{
	const JsonbValue *key;
	const struct Path *parent;
	const char *column;			/* said of each change; NULL: nothing is */
} Path;

static void compare_objects(JsonbParseState **state, const Path *path,
							JsonbContainer *old_object, JsonbContainer *new_object);

/* The container of a value that is an object, else NULL. */
JsonbContainer *
clinical_json_object(const JsonbValue *value)
{
	if (value == NULL || value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		return NULL;
	return value->val.binary.data;
}

/* The value of a key in an object, or NULL. */
JsonbValue *
clinical_json_member(JsonbContainer *object, const JsonbValue *key, JsonbValue *buffer)
{
	if (object == NULL)
		return NULL;
	return getKeyJsonValueFromContainer(object, key->val.string.val, key->val.string.len, buffer);
}

/* The member of an object by its name; NULL: it has none, or is no object. */
JsonbValue *
clinical_json_get(const JsonbValue *object, const char *name, JsonbValue *buffer)
{
	JsonbContainer *container = clinical_json_object(object);

	if (container == NULL)
		return NULL;
	return getKeyJsonValueFromContainer(container, name, strlen(name), buffer);
}

/* Is a value that string? */
bool
clinical_json_is(const JsonbValue *value, const char *string)
{
	return value != NULL && value->type == jbvString &&
		(size_t) value->val.string.len == strlen(string) &&
		memcmp(value->val.string.val, string, value->val.string.len) == 0;
}

/* Step to the next member of an object, nested values left whole. */
bool
clinical_json_next(JsonbIterator **iterator, JsonbValue *key, JsonbValue *value)
{
	JsonbIteratorToken token = JsonbIteratorNext(iterator, key, true);

	if (token == WJB_BEGIN_OBJECT)
		token = JsonbIteratorNext(iterator, key, true);
	if (token != WJB_KEY)
		return false;
	(void) JsonbIteratorNext(iterator, value, true);
	return true;
}

/* Are two values the same, to the last digit? */
bool
clinical_json_same(const JsonbValue *a, const JsonbValue *b)
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
void
clinical_json_key(JsonbParseState **state, const char *name)
{
	JsonbValue	key;

	key.type = jbvString;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	pushJsonbValue(state, WJB_KEY, &key);
}

/* Put out a member of an object, or nothing for NULL. */
void
clinical_json_put(JsonbParseState **state, const char *name, const JsonbValue *value)
{
	JsonbValue	copy;

	if (value == NULL)
		return;
	copy = *value;
	clinical_json_key(state, name);
	pushJsonbValue(state, WJB_VALUE, &copy);
}

/* The same for a string, or nothing for NULL. */
void
clinical_json_put_text(JsonbParseState **state, const char *name, const char *value)
{
	JsonbValue	string;

	if (value == NULL)
		return;
	string.type = jbvString;
	string.val.string.val = unconstify(char *, value);
	string.val.string.len = strlen(value);
	clinical_json_put(state, name, &string);
}

/* The same for true and false. */
void
clinical_json_put_bool(JsonbParseState **state, const char *name, bool value)
{
	JsonbValue	boolean;

	boolean.type = jbvBool;
	boolean.val.boolean = value;
	clinical_json_put(state, name, &boolean);
}

/* Put out the keys of a path, outermost first. */
static void
push_path(JsonbParseState **state, const Path *path)
{
	JsonbValue	key;

	if (path->key == NULL)
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
	clinical_json_put_text(state, "column", path->column);
	clinical_json_key(state, "path");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	push_path(state, path);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
	clinical_json_put(state, "old", old_value);
	clinical_json_put(state, "new", new_value);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* Put out what differs between two members of the same key. */
static void
compare_members(JsonbParseState **state, const Path *path, JsonbValue *old_value, JsonbValue *new_value)
{
	JsonbContainer *old_object = clinical_json_object(old_value);
	JsonbContainer *new_object = clinical_json_object(new_value);

	if (clinical_json_same(old_value, new_value))
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
	Path		here = {&key, path, path->column};

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	while (clinical_json_next(&iterator, &key, &value))
	{
		JsonbValue *now = clinical_json_member(new_object, &key, &buffer);

		if (now == NULL)
			push_change(state, &here, &value, NULL);
		else
			compare_members(state, &here, &value, now);
	}
	iterator = JsonbIteratorInit(new_object);
	while (clinical_json_next(&iterator, &key, &value))
	{
		if (clinical_json_member(old_object, &key, &buffer) == NULL)
			push_change(state, &here, NULL, &value);
	}
}

/* A whole document as a value to be put out. */
void
clinical_json_value(Jsonb *document, JsonbValue *value)
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

/*
 * Put out what differs between two documents (NULL: absent), as objects in an
 * array that has been begun; of the column, if it is named.
 */
void
clinical_push_changes(JsonbParseState **state, const char *column, Jsonb *old_document, Jsonb *new_document)
{
	Path		root = {NULL, NULL, column};
	JsonbValue	old_value;
	JsonbValue	new_value;

	if (old_document != NULL)
		clinical_json_value(old_document, &old_value);
	if (new_document != NULL)
		clinical_json_value(new_document, &new_value);
	if (old_document == NULL || new_document == NULL)
		push_change(state, &root, old_document == NULL ? NULL : &old_value,
					new_document == NULL ? NULL : &new_value);
	else
		compare_members(state, &root, &old_value, &new_value);
}

/* What differs between two documents, as an array. */
Jsonb *
clinical_changes(Jsonb *old_document, Jsonb *new_document)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	clinical_push_changes(&state, NULL, old_document, new_document);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/* A member of an object that is a number; 0 if there is none. */
double
clinical_json_number(Jsonb *document, const char *name)
{
	JsonbValue	object;
	JsonbValue	buffer;
	const JsonbValue *value;

	clinical_json_value(document, &object);
	value = clinical_json_get(&object, name, &buffer);
	return value == NULL || value->type != jbvNumeric ? 0 :
		DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(value->val.numeric)));
}
