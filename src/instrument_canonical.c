/*-------------------------------------------------------------------------
 *
 * instrument_canonical.c
 *		The form of a definition in which two that mean the same are equal.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "instrument.h"

/* Does a member of a definition say no more than its absence would? */
static bool
says_nothing(const JsonbValue *key, const JsonbValue *value)
{
	static const char *const flags[] = {"required", "repeats", "hidden", "open", "partial", "multiline"};
	static const char *const lists[] = {"codes", "units", "code_list", "checks", "enable_when", "scores"};

	if (value->type == jbvNull)
		return true;
	if (value->type == jbvBool && !value->val.boolean)
	{
		for (int i = 0; i < (int) lengthof(flags); i++)
		{
			if (clinical_json_is(key, flags[i]))
				return true;
		}
	}
	if (value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data) &&
		JsonContainerSize(value->val.binary.data) == 0)
	{
		for (int i = 0; i < (int) lengthof(lists); i++)
		{
			if (clinical_json_is(key, lists[i]))
				return true;
		}
	}
	return (clinical_json_is(key, "enable_behavior") && clinical_json_is(value, "all")) ||
		(clinical_json_is(key, "code_type") && clinical_json_is(value, "coding")) ||
		(value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data) &&
		 JsonContainerSize(value->val.binary.data) == 0);
}

/* Does a member of what is kept of FHIR say anything?  FHIR itself has no null and nothing empty. */
static bool
is_kept(const JsonbValue *value)
{
	return value->type != jbvNull &&
		(value->type != jbvBinary || JsonContainerSize(value->val.binary.data) > 0);
}

/* Put out what is kept of FHIR, as it is; nothing if it is empty. */
static void
put_kept(JsonbParseState **state, const JsonbValue *fhir)
{
	JsonbIterator *iterator = JsonbIteratorInit(clinical_json_object(fhir));
	JsonbValue	key;
	JsonbValue	member;
	bool		begun = false;

	while (clinical_json_next(&iterator, &key, &member))
	{
		if (!is_kept(&member))
			continue;
		if (!begun)
		{
			clinical_json_key(state, "fhir");
			pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
			begun = true;
		}
		pushJsonbValue(state, WJB_KEY, &key);
		pushJsonbValue(state, WJB_VALUE, &member);
	}
	if (begun)
		pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

static void put_canonical(JsonbParseState **state, JsonbIteratorToken token, const JsonbValue *value);

/* Put out the members of an object that say something; what is FHIR's stays as it is. */
static JsonbValue *
put_members(JsonbParseState **state, JsonbContainer *object)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbValue	key;
	JsonbValue	member;

	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	while (clinical_json_next(&iterator, &key, &member))
	{
		JsonbValue	name = key;

		if (says_nothing(&key, &member))
			continue;
		if (clinical_json_is(&key, "fhir"))
		{
			put_kept(state, &member);
			continue;
		}
		pushJsonbValue(state, WJB_KEY, &name);
		put_canonical(state, WJB_VALUE, &member);
	}
	return pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* Put out a value of a definition without what says nothing. */
static void
put_canonical(JsonbParseState **state, JsonbIteratorToken token, const JsonbValue *value)
{
	JsonbValue	copy = *value;
	JsonbValue *elements;
	int			count;

	check_stack_depth();
	if (clinical_json_object(value) != NULL)
		(void) put_members(state, clinical_json_object(value));
	else if (value->type == jbvBinary)
	{
		count = clinical_shape_elements(value, &elements);
		pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
		for (int i = 0; i < count; i++)
			put_canonical(state, WJB_ELEM, &elements[i]);
		pushJsonbValue(state, WJB_END_ARRAY, NULL);
	}
	else
		pushJsonbValue(state, token, &copy);
}

/* A sound definition in the form in which two that mean the same are equal. */
Jsonb *
clinical_instrument_canonical(Jsonb *definition)
{
	JsonbParseState *state = NULL;

	return JsonbValueToJsonb(put_members(&state, &definition->root));
}
