/*-------------------------------------------------------------------------
 *
 * instrument_report.c
 *		Reading a report that is a plain object of item code to answer.
 *
 * An answer is a scalar; an object with value and unit, with text (other than
 * the codes of the list) or with absent (why there is none), and with items,
 * what is asked below it; or an array of these if the item repeats.  The items
 * of a group may stand in an object under the group's code, and must if it
 * repeats.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "instrument_answer.h"

static const ClinicalFault unknown_item = {"unknown_item", "item"};
static const ClinicalFault wrong_type = {"wrong_type", "type"};
static const ClinicalFault repeated = {"wrong_type", "repeats"};

static void read_object(Reading *reading, JsonbContainer *object, const ClinicalItem *within, Instance *instance);

/* A member that must be a string that is not empty. */
static bool
take_string(const JsonbValue *value, const char **string, int *length)
{
	if (value->type != jbvString || value->val.string.len == 0)
		return false;
	*string = value->val.string.val;
	*length = value->val.string.len;
	return true;
}

/* An answer written as an object. */
static void
read_answer_object(Reading *reading, const ClinicalItem *item, Instance *instance, JsonbContainer *object, Answer *answer)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbValue	key;
	JsonbValue	member;
	JsonbValue	value = {.type = jbvNull};
	const char *unit = NULL;
	const char *other = NULL;
	int			unit_length = 0;
	int			other_length = 0;
	bool		good = true;

	while (clinical_json_next(&iterator, &key, &member))
	{
		if (member.type == jbvNull)
			continue;
		if (clinical_json_is(&key, "value"))
			value = member;
		else if (clinical_json_is(&key, "unit"))
			good &= take_string(&member, &unit, &unit_length);
		else if (clinical_json_is(&key, "text"))
			good &= take_string(&member, &other, &other_length) && item->type == CLINICAL_ITEM_CODED;
		else if (clinical_json_is(&key, "absent"))
			good &= take_string(&member, &answer->absent, &answer->absent_length) &&
				clinical_looks_like_code(answer->absent, answer->absent_length);
		else if (clinical_json_is(&key, "items") && clinical_json_object(&member) != NULL)
		{
			Instance   *inner = instance;

			if (item->own_scope >= 0)
				inner = answer->inner = clinical_new_instance(reading, item->own_scope, instance,
															  instance->slots[item->slot].count);
			if (inner != NULL)
				read_object(reading, clinical_json_object(&member), item, inner);
		}
		else
			good = false;
	}
	good &= (value.type != jbvNull) + (other != NULL) + (answer->absent != NULL) == 1;
	if (!good)
		answer->fault = wrong_type;
	else if (other != NULL)
		(void) clinical_value_open(item, other, other_length, &answer->value, &answer->fault);
	else if (value.type != jbvNull &&
			 clinical_value_read(reading->instrument, item, &value, &answer->value, &answer->fault))
		(void) clinical_value_unit(item, unit, unit_length, &answer->value, &answer->fault);
}

/* One answer to an item; null is none. */
static void
read_answer(Reading *reading, const ClinicalItem *item, Instance *instance, const JsonbValue *json)
{
	Answer	   *answer;

	if (json->type == jbvNull)
		return;
	answer = clinical_make_answer();
	clinical_add_answer(&instance->slots[item->slot], answer);
	if (clinical_json_object(json) != NULL)
		read_answer_object(reading, item, instance, clinical_json_object(json), answer);
	else if (clinical_value_read(reading->instrument, item, json, &answer->value, &answer->fault))
		(void) clinical_value_unit(item, NULL, 0, &answer->value, &answer->fault);
}

/* One repeat of a group, or all of a group that does not. */
static void
read_group(Reading *reading, const ClinicalItem *item, Instance *instance, const JsonbValue *json)
{
	if (json->type == jbvNull)
		return;
	if (clinical_json_object(json) == NULL)
		clinical_finding(reading, true, &wrong_type, NULL, item, instance, 0, NULL, 0);
	else
	{
		if (item->own_scope >= 0)
			instance = clinical_group_repeat(reading, item, instance);
		if (instance != NULL)
			read_object(reading, clinical_json_object(json), item, instance);
	}
}

/* What stands under an item's code. */
static void
read_member(Reading *reading, const ClinicalItem *item, Instance *instance, const JsonbValue *json)
{
	void		(*read_one) (Reading *, const ClinicalItem *, Instance *, const JsonbValue *) =
	item->type == CLINICAL_ITEM_GROUP ? read_group : read_answer;
	JsonbIterator *iterator;
	JsonbValue	element;

	if (json->type != jbvBinary || !JsonContainerIsArray(json->val.binary.data))
	{
		read_one(reading, item, instance, json);
		return;
	}
	if (!item->repeats)
	{
		clinical_finding(reading, true, &repeated, NULL, item, instance, 0, NULL, 0);
		return;
	}
	iterator = JsonbIteratorInit(json->val.binary.data);
	(void) JsonbIteratorNext(&iterator, &element, true);
	while (JsonbIteratorNext(&iterator, &element, true) == WJB_ELEM)
	{
		CHECK_FOR_INTERRUPTS();
		read_one(reading, item, instance, &element);
	}
}

/* Read the members of an object: of the form, or of what is within an item. */
static void
read_object(Reading *reading, JsonbContainer *object, const ClinicalItem *within, Instance *instance)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbValue	key;
	JsonbValue	value;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	while (clinical_json_next(&iterator, &key, &value))
	{
		const ClinicalItem *item = clinical_instrument_item(reading->instrument, key.val.string.val, key.val.string.len);

		if (item == NULL || item->type == CLINICAL_ITEM_DISPLAY || !clinical_belongs(reading, item, within, instance))
			clinical_finding(reading, true, &unknown_item, NULL, within, instance, 0,
							 key.val.string.val, key.val.string.len);
		else if (instance->slots[item->slot].given)
			clinical_finding(reading, true, &repeated, NULL, item, instance, 0, NULL, 0);
		else
		{
			/* a group may be there in part, and its items beside it */
			instance->slots[item->slot].given = true;
			read_member(reading, item, instance, &value);
		}
	}
}

/* Read a report from its top. */
void
clinical_read_report(Reading *reading, const JsonbValue *report)
{
	read_object(reading, clinical_json_object(report), NULL, reading->form);
}
