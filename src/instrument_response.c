/*-------------------------------------------------------------------------
 *
 * instrument_response.c
 *		Reading a report that is a FHIR QuestionnaireResponse (STU3, R4, R5).
 *
 * https://hl7.org/fhir/questionnaireresponse.html.  Elements that say nothing
 * about the answers (text, author, extensions other than data-absent-reason)
 * are not looked at; a modifierExtension may change the meaning of all that it
 * stands in, so a response with one is refused.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "instrument_answer.h"

#define ABSENT_REASON	"http://hl7.org/fhir/StructureDefinition/data-absent-reason"
#define UCUM			"http://unitsofmeasure.org"

static const ClinicalFault unknown_item = {"unknown_item", "item"};
static const ClinicalFault wrong_type = {"wrong_type", "type"};
static const ClinicalFault repeated = {"wrong_type", "repeats"};
static const ClinicalFault bad_resource = {"wrong_type", "resourceType"};
static const ClinicalFault bad_status = {"disagrees", "status"};
static const ClinicalFault bad_questionnaire = {"disagrees", "questionnaire"};
static const ClinicalFault modified = {"wrong_type", "modifierExtension"};

/* A form of value[x], and the types of items that it can answer */
typedef struct ValueForm
{
	const char *name;
	uint32		types;			/* bits by ClinicalItemType */
} ValueForm;

#define BIT(type) (1u << (type))

static const ValueForm value_forms[] = {
	{"valueBoolean", BIT(CLINICAL_ITEM_BOOLEAN)},
	{"valueDecimal", BIT(CLINICAL_ITEM_DECIMAL)},
	{"valueInteger", BIT(CLINICAL_ITEM_INTEGER) | BIT(CLINICAL_ITEM_DECIMAL) | BIT(CLINICAL_ITEM_CODED)},
	{"valueDate", BIT(CLINICAL_ITEM_DATE) | BIT(CLINICAL_ITEM_CODED)},
	{"valueDateTime", BIT(CLINICAL_ITEM_DATETIME)},
	{"valueTime", BIT(CLINICAL_ITEM_TIME) | BIT(CLINICAL_ITEM_CODED)},
	{"valueString", BIT(CLINICAL_ITEM_TEXT) | BIT(CLINICAL_ITEM_CODED)},
	{"valueUri", BIT(CLINICAL_ITEM_URI)},
	{"valueCoding", BIT(CLINICAL_ITEM_CODED)},
	{"valueQuantity", BIT(CLINICAL_ITEM_INTEGER) | BIT(CLINICAL_ITEM_DECIMAL) | BIT(CLINICAL_ITEM_QUANTITY)},
	{"valueAttachment", 0},
	{"valueReference", 0},
};

static void read_items(Reading *reading, const JsonbValue *array, const ClinicalItem *within, Instance *instance);

/* Note a fault of the response itself. */
static void
refuse(Reading *reading, const ClinicalFault *fault)
{
	clinical_finding(reading, true, fault, NULL, NULL, NULL, 0, NULL, 0);
}

/* Note a fault of an item. */
static void
refuse_item(Reading *reading, const ClinicalFault *fault, const ClinicalItem *item, const Instance *instance)
{
	clinical_finding(reading, true, fault, NULL, item, instance, 0, NULL, 0);
}

/* The data-absent-reason in an element's extensions, if there is one. */
static bool
find_absent(const JsonbValue *element, Answer *answer)
{
	JsonbValue	buffer;
	JsonbValue *array = clinical_json_get(element, "extension", &buffer);
	JsonbValue *extensions;
	int			count = array == NULL ? 0 : clinical_shape_elements(array, &extensions);

	for (int i = 0; i < count; i++)
	{
		JsonbValue	url_buffer;
		JsonbValue	code_buffer;
		JsonbValue *code;

		if (!clinical_json_is(clinical_json_get(&extensions[i], "url", &url_buffer), ABSENT_REASON))
			continue;
		code = clinical_json_get(&extensions[i], "valueCode", &code_buffer);
		if (code == NULL || code->type != jbvString ||
			!clinical_looks_like_code(code->val.string.val, code->val.string.len))
			continue;
		answer->absent = code->val.string.val;
		answer->absent_length = code->val.string.len;
		return true;
	}
	return false;
}

/* A member that is a string, and its length; NULL if it is absent. */
static bool
get_string(const JsonbValue *object, const char *name, const char **string, int *length)
{
	JsonbValue	buffer;
	JsonbValue *value = clinical_json_get(object, name, &buffer);

	*string = NULL;
	*length = 0;
	if (value == NULL || value->type == jbvNull)
		return true;
	if (value->type != jbvString)
		return false;
	*string = value->val.string.val;
	*length = value->val.string.len;
	return true;
}

/* A Coding: of the item's list, by code and system. */
static void
read_coding(const ClinicalItem *item, const JsonbValue *coding, Answer *answer)
{
	const char *code;
	const char *system;
	int			code_length;
	int			system_length;

	if (!get_string(coding, "code", &code, &code_length) ||
		!get_string(coding, "system", &system, &system_length) || code == NULL)
		answer->fault = wrong_type;
	else if (!clinical_value_code(item, code, code_length, system, system_length, &answer->value))
	{
		answer->fault.reason = "not_in_code_list";
		answer->fault.check = "code_list";
	}
}

/* A Quantity: a number in a unit that the item takes, and no bound. */
static void
read_quantity(const ClinicalInstrument *instrument, const ClinicalItem *item, const JsonbValue *quantity, Answer *answer)
{
	JsonbValue	buffer;
	JsonbValue *value = clinical_json_get(quantity, "value", &buffer);
	JsonbValue	comparator_buffer;
	const char *unit;
	const char *system;
	int			unit_length;
	int			system_length;
	bool		good = get_string(quantity, "code", &unit, &unit_length);

	good = good && get_string(quantity, "system", &system, &system_length);
	if (good && unit == NULL)
		good = get_string(quantity, "unit", &unit, &unit_length);
	else if (good && system != NULL &&
			 (system_length != (int) strlen(UCUM) || memcmp(system, UCUM, system_length) != 0))
	{
		answer->fault.reason = "bad_unit";
		answer->fault.check = "unit";
		return;
	}
	if (!good || value == NULL || clinical_json_get(quantity, "comparator", &comparator_buffer) != NULL)
		answer->fault = wrong_type;
	else if (clinical_value_read(instrument, item, value, &answer->value, &answer->fault))
		(void) clinical_value_unit(item, unit, unit_length, &answer->value, &answer->fault);
}

/* Does a Coding or Quantity say why it has no code or number, and have none? */
static bool
is_absent(const ClinicalItem *item, const ValueForm *form, const JsonbValue *json, Answer *answer)
{
	const char *name = strcmp(form->name, "valueQuantity") == 0 ? "value" :
		strcmp(form->name, "valueCoding") == 0 ? "code" : NULL;
	JsonbValue	buffer;

	return name != NULL && (form->types & BIT(item->type)) != 0 && find_absent(json, answer) &&
		clinical_json_get(json, name, &buffer) == NULL;
}

/* The value of an answer, in the form that it has. */
static void
read_value(Reading *reading, const ClinicalItem *item, const ValueForm *form, const JsonbValue *json, Answer *answer)
{
	if (form->types == 0 || (form->types & BIT(item->type)) == 0)
		answer->fault = wrong_type;
	else if (strcmp(form->name, "valueCoding") == 0)
		read_coding(item, json, answer);
	else if (strcmp(form->name, "valueQuantity") == 0)
		read_quantity(reading->instrument, item, json, answer);
	else if (item->open && !item->plain_codes && json->type == jbvString && strcmp(form->name, "valueString") == 0)
		(void) clinical_value_open(item, json->val.string.val, json->val.string.len, &answer->value, &answer->fault);
	else if (clinical_value_read(reading->instrument, item, json, &answer->value, &answer->fault))
		(void) clinical_value_unit(item, NULL, 0, &answer->value, &answer->fault);
}

/* Which form of value[x] a member is; with an underscore, what is said about it. */
static const ValueForm *
value_form(const JsonbValue *key, bool about)
{
	for (int i = 0; i < (int) lengthof(value_forms); i++)
	{
		const char *name = value_forms[i].name;
		int			skip = about ? 1 : 0;

		if ((size_t) key->val.string.len == strlen(name) + skip &&
			(!about || key->val.string.val[0] == '_') &&
			memcmp(key->val.string.val + skip, name, strlen(name)) == 0)
			return &value_forms[i];
	}
	return NULL;
}

/* Does a member of an answer begin like a value? */
static bool
is_value(const JsonbValue *key)
{
	return key->val.string.len > 5 && memcmp(key->val.string.val, "value", 5) == 0;
}

/* One element of answer: a value or why there is none, and what is asked below it. */
static void
read_answer(Reading *reading, const ClinicalItem *item, Instance *instance, const JsonbValue *json)
{
	Answer	   *answer = clinical_make_answer();
	JsonbIterator *iterator;
	JsonbValue	key;
	JsonbValue	member;
	JsonbValue	items = {.type = jbvNull};
	int			values = 0;
	bool		empty;

	if (clinical_json_object(json) == NULL)
	{
		answer->fault = wrong_type;
		clinical_add_answer(&instance->slots[item->slot], answer);
		return;
	}
	(void) find_absent(json, answer);
	iterator = JsonbIteratorInit(clinical_json_object(json));
	while (clinical_json_next(&iterator, &key, &member))
	{
		const ValueForm *form = value_form(&key, false);

		if (form != NULL && member.type != jbvNull)
		{
			if (is_absent(item, form, &member, answer))
				continue;
			read_value(reading, item, form, &member, answer);
			values++;
		}
		else if (value_form(&key, true) != NULL)
			(void) find_absent(&member, answer);
		else if (form == NULL && is_value(&key))
			answer->fault = wrong_type;
		else if (clinical_json_is(&key, "item"))
			items = member;
		else if (clinical_json_is(&key, "modifierExtension"))
			answer->fault = modified;
	}
	values += answer->absent != NULL;
	/* what is asked below may be all that was answered */
	empty = values == 0 && items.type != jbvNull && item->own_scope < 0;
	if (answer->fault.reason == NULL && values != 1 && !empty)
		answer->fault = wrong_type;
	if (answer->fault.reason != NULL || !empty)
		clinical_add_answer(&instance->slots[item->slot], answer);
	if (items.type == jbvNull)
		return;
	if (item->own_scope >= 0)
		instance = answer->inner = clinical_new_instance(reading, item->own_scope, instance, instance->slots[item->slot].count);
	if (instance != NULL)
		read_items(reading, &items, item, instance);
}

/* The answers of a question. */
static void
read_answers(Reading *reading, const ClinicalItem *item, Instance *instance, const JsonbValue *json, const JsonbValue *element)
{
	JsonbValue *answers;
	int			count = json == NULL ? 0 : clinical_shape_elements(json, &answers);
	Answer		none = {.absent = NULL};

	if (json != NULL && json->type != jbvNull && (json->type != jbvBinary || !JsonContainerIsArray(json->val.binary.data)))
		refuse_item(reading, &wrong_type, item, instance);
	for (int i = 0; i < count; i++)
		read_answer(reading, item, instance, &answers[i]);
	/* the reason may stand at the item instead of at an answer */
	if (count == 0 && find_absent(element, &none))
	{
		Answer	   *answer = clinical_make_answer();

		clinical_add_answer(&instance->slots[item->slot], answer);
		answer->absent = none.absent;
		answer->absent_length = none.absent_length;
	}
}

/* Is there a value beside the answers?  It would be lost. */
static bool
has_value(const JsonbValue *element)
{
	JsonbIterator *iterator = JsonbIteratorInit(clinical_json_object(element));
	JsonbValue	key;
	JsonbValue	member;

	while (clinical_json_next(&iterator, &key, &member))
	{
		if (is_value(&key))
			return true;
	}
	return false;
}

/* What stands at one item of the response. */
static void
read_item(Reading *reading, const ClinicalItem *item, Instance *instance, const JsonbValue *element)
{
	JsonbValue	answer_buffer;
	JsonbValue	item_buffer;
	JsonbValue	modifier_buffer;
	JsonbValue *answers = clinical_json_get(element, "answer", &answer_buffer);
	JsonbValue *items = clinical_json_get(element, "item", &item_buffer);

	if (clinical_json_get(element, "modifierExtension", &modifier_buffer) != NULL)
		refuse_item(reading, &modified, item, instance);
	if (has_value(element))
		refuse_item(reading, &wrong_type, item, instance);
	if (instance->slots[item->slot].given && !(item->type == CLINICAL_ITEM_GROUP && item->repeats))
	{
		refuse_item(reading, &repeated, item, instance);
		return;
	}
	instance->slots[item->slot].given = true;
	if (item->type == CLINICAL_ITEM_GROUP || item->type == CLINICAL_ITEM_DISPLAY)
	{
		if (answers != NULL)
			refuse_item(reading, &wrong_type, item, instance);
		if (item->own_scope >= 0)
			instance = clinical_group_repeat(reading, item, instance);
	}
	else
		read_answers(reading, item, instance, answers, element);
	if (items == NULL || instance == NULL)
		return;
	/* below a question that repeats, what is asked belongs to an answer */
	if (item->type != CLINICAL_ITEM_GROUP && item->own_scope >= 0)
		refuse_item(reading, &wrong_type, item, instance);
	else
		read_items(reading, items, item, instance);
}

/* The items of an array, of the form or within an item. */
static void
read_items(Reading *reading, const JsonbValue *array, const ClinicalItem *within, Instance *instance)
{
	JsonbIterator *iterator;
	JsonbValue	element;

	check_stack_depth();
	if (array->type != jbvBinary || !JsonContainerIsArray(array->val.binary.data))
	{
		clinical_finding(reading, true, &wrong_type, NULL, within, instance, 0, "item", 4);
		return;
	}
	iterator = JsonbIteratorInit(array->val.binary.data);
	(void) JsonbIteratorNext(&iterator, &element, true);
	while (JsonbIteratorNext(&iterator, &element, true) == WJB_ELEM)
	{
		const char *code;
		int			length;
		const ClinicalItem *item = NULL;

		CHECK_FOR_INTERRUPTS();
		if (!get_string(&element, "linkId", &code, &length) || code == NULL)
		{
			clinical_finding(reading, true, &wrong_type, NULL, within, instance, 0, "linkId", 6);
			continue;
		}
		item = clinical_instrument_item(reading->instrument, code, length);
		if (item == NULL || !clinical_belongs(reading, item, within, instance))
			clinical_finding(reading, true, &unknown_item, NULL, within, instance, 0, code, length);
		else
			read_item(reading, item, instance, &element);
	}
}

/* Does a text end with a slash and the other one, or is it that one? */
static bool
names(const char *string, int length, const char *name)
{
	int			name_length = strlen(name);

	if (length < name_length || memcmp(string + length - name_length, name, name_length) != 0)
		return false;
	return length == name_length || string[length - name_length - 1] == '/';
}

/*
 * Is the response one to this instrument?  Its canonical may have a version; of
 * an instrument that has no url the code is asked for, as in
 * "Questionnaire/code".
 */
static bool
answers_instrument(const ClinicalInstrument *instrument, const char *canonical, int length)
{
	const char *bar = memchr(canonical, '|', length);
	int			url_length = bar == NULL ? length : (int) (bar - canonical);
	int			version_length = length - url_length - 1;

	if (bar != NULL &&
		(version_length != (int) strlen(instrument->version) || memcmp(bar + 1, instrument->version, version_length) != 0))
		return false;
	if (instrument->url == NULL)
		return names(canonical, url_length, instrument->code);
	return url_length == (int) strlen(instrument->url) && memcmp(canonical, instrument->url, url_length) == 0;
}

/* Check what the response says of itself. */
static void
read_header(Reading *reading, const JsonbValue *response)
{
	JsonbValue	buffer;
	JsonbValue *value = clinical_json_get(response, "status", &buffer);
	const char *canonical;
	int			length;

	/* what is not finished, or was entered in error, is no report */
	if (!clinical_json_is(value, "completed") && !clinical_json_is(value, "amended"))
		refuse(reading, &bad_status);
	if (clinical_json_get(response, "modifierExtension", &buffer) != NULL ||
		clinical_json_get(response, "implicitRules", &buffer) != NULL)
		refuse(reading, &modified);
	value = clinical_json_get(response, "questionnaire", &buffer);
	if (value == NULL || value->type == jbvNull)
		return;
	/* STU3 has a Reference here */
	if (value->type == jbvString ? !get_string(response, "questionnaire", &canonical, &length) :
		(!get_string(value, "reference", &canonical, &length) || canonical == NULL))
		refuse(reading, &bad_questionnaire);
	else if (!answers_instrument(reading->instrument, canonical, length))
		refuse(reading, &bad_questionnaire);
}

/* Read a response from its top. */
void
clinical_read_response(Reading *reading, const JsonbValue *response)
{
	JsonbValue	buffer;
	JsonbValue *items;

	if (!clinical_json_is(clinical_json_get(response, "resourceType", &buffer), "QuestionnaireResponse"))
	{
		refuse(reading, &bad_resource);
		return;
	}
	read_header(reading, response);
	items = clinical_json_get(response, "item", &buffer);
	if (items != NULL)
		read_items(reading, items, NULL, reading->form);
}
