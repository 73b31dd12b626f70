/*-------------------------------------------------------------------------
 *
 * core_shape.c
 *		Reading jsonb documents that must have a given shape: definitions,
 *		options, schedules.
 *
 * A key that is not known is an error: what a document asks for and nobody
 * obeys would be found too late.  Errors name the place and the key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "core.h"

#define MAX_COUNT 1000000

/* So much of a name from outside is shown in an error */
#define MAX_NAME_SHOWN 100

/* Raise the error of a document, saying where in it. */
void
clinical_shape_error(const ClinicalPlace *place, const char *format,...)
{
	StringInfoData detail;
	int			needed;

	initStringInfo(&detail);
	for (;;)
	{
		va_list		args;

		va_start(args, format);
		needed = appendStringInfoVA(&detail, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&detail, needed);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", place->message),
			 place->where == NULL ? errdetail("%s", detail.data) :
			 errdetail("%s: %s", place->where, detail.data)));
}

/* Which key a member has; -1: none of them. */
static int
find_key(const JsonbValue *name, const ClinicalKey *keys, int nkeys)
{
	for (int i = 0; i < nkeys; i++)
	{
		if (clinical_json_is(name, keys[i].name))
			return i;
	}
	return -1;
}

/* A number written without fraction (readers of it cast it to integer) that is not too large to be a count. */
static bool
is_count(const JsonbValue *value)
{
	Numeric		number;

	if (value->type != jbvNumeric)
		return false;
	number = value->val.numeric;
	return DatumGetBool(DirectFunctionCall2(numeric_ge, NumericGetDatum(number),
											NumericGetDatum(int64_to_numeric(0)))) &&
		DatumGetBool(DirectFunctionCall2(numeric_le, NumericGetDatum(number),
										 NumericGetDatum(int64_to_numeric(MAX_COUNT)))) &&
		DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(number))) == 0;
}

/* What a value should be, if it is not of the type; else NULL. */
static const char *
type_missed(const JsonbValue *value, ClinicalShapeType type)
{
	bool		container = value->type == jbvBinary;

	switch (type)
	{
		case CLINICAL_SHAPE_TEXT:
			return value->type == jbvString && value->val.string.len > 0 ? NULL : "a string that is not empty";
		case CLINICAL_SHAPE_BOOLEAN:
			return value->type == jbvBool ? NULL : "true or false";
		case CLINICAL_SHAPE_COUNT:
			return is_count(value) ? NULL : "a whole number from 0 to 1000000";
		case CLINICAL_SHAPE_NUMBER:
			return value->type == jbvNumeric ? NULL : "a number";
		case CLINICAL_SHAPE_OBJECT:
			return container && JsonContainerIsObject(value->val.binary.data) ? NULL : "an object";
		case CLINICAL_SHAPE_ARRAY:
			return container && JsonContainerIsArray(value->val.binary.data) ? NULL : "an array";
		case CLINICAL_SHAPE_SCALAR:
			return container ? "a string, a number, true or false" : NULL;
		case CLINICAL_SHAPE_ANY:
			return NULL;
	}
	return NULL;
}

/*
 * Read an object that may have these keys and no others; values are given in
 * the order of the keys, those that are absent or null as jbvNull.
 */
void
clinical_shape_read(const ClinicalPlace *place, const JsonbValue *object,
					const ClinicalKey *keys, int nkeys, JsonbValue *values)
{
	JsonbIterator *iterator;
	JsonbValue	key;
	JsonbValue	value;

	if (clinical_json_object(object) == NULL)
		clinical_shape_error(place, "Must be an object.");
	for (int i = 0; i < nkeys; i++)
		values[i].type = jbvNull;
	iterator = JsonbIteratorInit(clinical_json_object(object));
	while (clinical_json_next(&iterator, &key, &value))
	{
		int			i = find_key(&key, keys, nkeys);
		const char *missed;

		if (i < 0)
			clinical_shape_error(place, "Unknown key \"%.*s\".",
								 pg_mbcliplen(key.val.string.val, key.val.string.len, MAX_NAME_SHOWN),
								 key.val.string.val);
		missed = value.type == jbvNull ? NULL : type_missed(&value, keys[i].type);
		if (missed != NULL)
			clinical_shape_error(place, "Key \"%s\" must be %s.", keys[i].name, missed);
		values[i] = value;
	}
	for (int i = 0; i < nkeys; i++)
	{
		if (keys[i].required && values[i].type == jbvNull)
			clinical_shape_error(place, "Key \"%s\" is required.", keys[i].name);
	}
}

/* The elements of an array; none if it is absent. */
int
clinical_shape_elements(const JsonbValue *array, JsonbValue **elements)
{
	JsonbIterator *iterator;
	JsonbValue	ignored;
	int			count = 0;

	*elements = NULL;
	if (array->type != jbvBinary || !JsonContainerIsArray(array->val.binary.data))
		return 0;
	*elements = palloc_array(JsonbValue, Max(JsonContainerSize(array->val.binary.data), 1));
	iterator = JsonbIteratorInit(array->val.binary.data);
	(void) JsonbIteratorNext(&iterator, &ignored, true);
	while (JsonbIteratorNext(&iterator, &(*elements)[count], true) == WJB_ELEM)
	{
		if (++count == (int) JsonContainerSize(array->val.binary.data))
			break;
	}
	return count;
}

/* A string value as a C string; NULL if it is absent. */
char *
clinical_shape_text(const JsonbValue *value)
{
	return value->type == jbvString ? pnstrdup(value->val.string.val, value->val.string.len) : NULL;
}

/* A count that was read, or what it is if absent. */
int
clinical_shape_count(const JsonbValue *value, int absent)
{
	if (value->type == jbvNull)
		return absent;
	return DatumGetInt32(DirectFunctionCall1(numeric_int4, NumericGetDatum(value->val.numeric)));
}

/* Which of the choices a string is; an error if none. */
int
clinical_shape_choice(const ClinicalPlace *place, const char *key, const JsonbValue *value,
					  const char *const *choices, int nchoices)
{
	StringInfoData list;

	for (int i = 0; i < nchoices; i++)
	{
		if (clinical_json_is(value, choices[i]))
			return i;
	}
	initStringInfo(&list);
	for (int i = 0; i < nchoices; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", choices[i]);
	clinical_shape_error(place, "Key \"%s\" must be one of: %s.", key, list.data);
}
