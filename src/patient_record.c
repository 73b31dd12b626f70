/*-------------------------------------------------------------------------
 *
 * patient_record.c
 *		Merging a patch into a record (RFC 7396).
 *
 * It walks nested objects with the server's jsonb functions, checks the depth
 * of the stack, and never looks into arrays, which a merge patch replaces whole.
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

static JsonbValue *merge_objects(JsonbParseState **state, JsonbContainer *target,
								 JsonbContainer *patch);
/* The container of a document that is an object, else NULL. */
static JsonbContainer *
document_object(Jsonb *document)
{
	return JB_ROOT_IS_OBJECT(document) ? &document->root : NULL;
}

/* Put out what a patch makes of one member; null removes it. */
static void
merge_member(JsonbParseState **state, JsonbValue *key, JsonbValue *target, JsonbValue *patch)
{
	if (patch->type == jbvNull)
		return;
	pushJsonbValue(state, WJB_KEY, key);
	if (clinical_json_object(patch) != NULL)
		(void) merge_objects(state, clinical_json_object(target), clinical_json_object(patch));
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
	while (iterator != NULL && clinical_json_next(&iterator, &key, &value))
	{
		JsonbValue *change = clinical_json_member(patch, &key, &buffer);

		if (change != NULL)
			merge_member(state, &key, &value, change);
		else
		{
			pushJsonbValue(state, WJB_KEY, &key);
			pushJsonbValue(state, WJB_VALUE, &value);
		}
	}
	iterator = JsonbIteratorInit(patch);
	while (clinical_json_next(&iterator, &key, &value))
	{
		if (clinical_json_member(target, &key, &buffer) == NULL)
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
