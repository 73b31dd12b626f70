/*-------------------------------------------------------------------------
 *
 * instrument_import.c
 *		From a FHIR Questionnaire (R4, R5, and STU3 where it differs little)
 *		to the definition of an instrument.
 *
 * https://hl7.org/fhir/questionnaire.html.  Each element and extension is one
 * of three: it means something to us and is translated; it is for those who
 * show or fill in the form, and is kept as it is, under the key "fhir"; or the
 * questionnaire is refused, naming it.  Nothing is dropped.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "instrument_import.h"

PG_FUNCTION_INFO_V1(clinical_import_questionnaire);

enum
{
	TOP_RESOURCE_TYPE, TOP_URL, TOP_VERSION, TOP_TITLE, TOP_CODE, TOP_ITEM, TOP_CONTAINED, TOP_EXTENSION, TOP_STATUS, TOP_COUNT,
};
static const char *const top_names[] = {"resourceType", "url", "version", "title", "code", "item", "contained", "extension", "status"};

enum
{
	ITEM_LINK_ID, ITEM_TEXT, ITEM_TYPE, ITEM_REQUIRED, ITEM_REPEATS, ITEM_ITEM, ITEM_ENABLE_WHEN, ITEM_ENABLE_BEHAVIOR,
	ITEM_ANSWER_OPTION, ITEM_OPTION, ITEM_ANSWER_VALUE_SET, ITEM_OPTIONS, ITEM_ANSWER_CONSTRAINT, ITEM_MAX_LENGTH,
	ITEM_CODE, ITEM_EXTENSION, ITEM_COUNT,
};
static const char *const item_names[] = {"linkId", "text", "type", "required", "repeats", "item", "enableWhen",
	"enableBehavior", "answerOption", "option", "answerValueSet", "options", "answerConstraint", "maxLength",
"code", "extension"};

enum
{
	EXT_MIN_VALUE, EXT_MAX_VALUE, EXT_MAX_DECIMALS, EXT_UNIT, EXT_UNIT_OPTION, EXT_HIDDEN, EXT_MIN_OCCURS, EXT_MAX_OCCURS,
	EXT_ITEM, EXT_COUNT,
};
static const char *const item_extensions[] = {FHIR_MIN_VALUE, FHIR_MAX_VALUE, FHIR_MAX_DECIMALS, FHIR_UNIT, FHIR_UNIT_OPTION,
FHIR_HIDDEN, FHIR_MIN_OCCURS, FHIR_MAX_OCCURS, CLINICAL_FHIR_ITEM};

static const char *const top_extensions[] = {CLINICAL_FHIR_INSTRUMENT};

enum
{
	WHEN_QUESTION, WHEN_OPERATOR, WHEN_HAS_ANSWER, WHEN_FIRST_ANSWER, WHEN_CODING = WHEN_FIRST_ANSWER + 7, WHEN_QUANTITY, WHEN_COUNT,
};
static const char *const when_names[] = {"question", "operator", "hasAnswer", "answerBoolean", "answerDecimal",
"answerInteger", "answerDate", "answerDateTime", "answerTime", "answerString", "answerCoding", "answerQuantity"};

/* A type of item in FHIR, and ours */
typedef struct FhirType
{
	const char *name;
	const char *ours;
} FhirType;

static const FhirType types[] = {
	{"group", "group"}, {"display", "display"}, {"boolean", "boolean"}, {"decimal", "decimal"}, {"integer", "integer"},
	{"date", "date"}, {"dateTime", "dateTime"}, {"time", "time"}, {"string", "text"}, {"text", "text"}, {"url", "uri"},
	{"quantity", "quantity"}, {"choice", "coded"}, {"open-choice", "coded"}, {"coding", "coded"},
};

static void put_items(Import *import, const JsonbValue *array, int depth);

/* A number of a bound, or of a condition, that may be a Quantity in the item's own unit. */
static JsonbValue
plain_value(const Import *import, const JsonbValue *value, const JsonbValue *unit)
{
	JsonbValue	number_buffer;
	JsonbValue	code_buffer;
	JsonbValue *number;
	JsonbValue *code;

	if (value->type != jbvBinary)
		return *value;
	number = clinical_json_get(value, "value", &number_buffer);
	code = clinical_json_get(value, "code", &code_buffer);
	if (code == NULL)
		code = clinical_json_get(value, "unit", &code_buffer);
	if (number == NULL || (code != NULL && (unit == NULL || !clinical_json_same(code, unit))))
		clinical_shape_error(&import->place, "A quantity in another unit than the item's cannot be represented.");
	return *number;
}

/* Put out a range check from an extension. */
static void
put_bound(Import *import, const char *id, const char *comparator, const JsonbValue *value, const JsonbValue *unit)
{
	JsonbValue	plain;

	if (value->type == jbvNull)
		return;
	plain = plain_value(import, value, unit);
	pushJsonbValue(&import->state, WJB_BEGIN_OBJECT, NULL);
	clinical_json_put_text(&import->state, "id", id);
	clinical_json_put_text(&import->state, "comparator", comparator);
	clinical_json_put_text(&import->state, "soft_hard", "Hard");
	clinical_json_key(&import->state, "values");
	pushJsonbValue(&import->state, WJB_BEGIN_ARRAY, NULL);
	pushJsonbValue(&import->state, WJB_ELEM, &plain);
	pushJsonbValue(&import->state, WJB_END_ARRAY, NULL);
	pushJsonbValue(&import->state, WJB_END_OBJECT, NULL);
}

/* The operator of a condition; STU3 has hasAnswer and equality. */
static void
put_operator(Import *import, const Element *when)
{
	if (when->values[WHEN_HAS_ANSWER].type != jbvNull)
	{
		clinical_json_put_text(&import->state, "operator", "exists");
		clinical_json_put(&import->state, "answer", &when->values[WHEN_HAS_ANSWER]);
	}
	else if (when->values[WHEN_OPERATOR].type == jbvNull)
		clinical_json_put_text(&import->state, "operator", "=");
	else
		clinical_json_put(&import->state, "operator", &when->values[WHEN_OPERATOR]);
}

/* The code of a unit extension's Coding, which is of UCUM. */
static const JsonbValue *
unit_code(const Import *import, const JsonbValue *coding, JsonbValue *buffer)
{
	static const char *const names[] = {"code", "display", "system"};
	Element		element;

	if (coding->type == jbvNull)
		return NULL;
	clinical_fhir_sort_members(import, coding, names, lengthof(names), CLINICAL_FHIR_CONDITION, &element);
	if (element.values[2].type != jbvNull && !clinical_json_is(&element.values[2], FHIR_UCUM))
		clinical_shape_error(&import->place, "A unit of another system than UCUM cannot be represented.");
	*buffer = element.values[0];
	return clinical_fhir_string(import, "questionnaire-unit", buffer);
}

/* The unit of an item: the one that is fixed, else the first that it may have. */
static const JsonbValue *
item_unit(const Import *import, const Element *item, JsonbValue *buffer)
{
	if (item->extensions[EXT_UNIT].type != jbvNull)
		return unit_code(import, &item->extensions[EXT_UNIT], buffer);
	return unit_code(import, &item->extensions[EXT_UNIT_OPTION], buffer);
}

/*
 * Put out the number of a condition on a quantity.  It must be in the unit of
 * its question, which may come later: that is claimed, and looked at in the end.
 */
static void
put_quantity_condition(Import *import, const Element *when)
{
	JsonbValue	buffer;
	JsonbValue	number;
	JsonbValue *code = clinical_json_get(&when->values[WHEN_QUANTITY], "code", &buffer);
	JsonbValue	plain;

	if (code == NULL)
		code = clinical_json_get(&when->values[WHEN_QUANTITY], "unit", &buffer);
	plain = plain_value(import, &when->values[WHEN_QUANTITY], code);
	if (clinical_json_get(&when->values[WHEN_QUANTITY], "comparator", &number) != NULL)
		clinical_shape_error(&import->place, "A quantity with a comparator cannot be represented.");
	if (code != NULL)
	{
		UnitClaim  *claim = palloc0_object(UnitClaim);

		claim->item = clinical_shape_text(&when->values[WHEN_QUESTION]);
		claim->unit = clinical_shape_text(clinical_fhir_string(import, "answerQuantity.code", code));
		claim->where = import->place.where;
		import->claims = lappend(import->claims, claim);
	}
	clinical_json_put(&import->state, "answer", &plain);
}

/*
 * Put out the code of a condition on a choice.  Its system is not kept: that
 * the question has the code of that system is claimed, and looked at in the end.
 */
static void
put_coding_condition(Import *import, const Element *when)
{
	JsonbValue	buffer;
	JsonbValue	system_buffer;
	const JsonbValue *code = clinical_fhir_string(import, "answerCoding.code",
												  clinical_json_get(&when->values[WHEN_CODING], "code", &buffer));
	JsonbValue *system = clinical_json_get(&when->values[WHEN_CODING], "system", &system_buffer);

	if (system != NULL && system->type != jbvNull)
	{
		UnitClaim  *claim = palloc0_object(UnitClaim);

		claim->item = clinical_shape_text(&when->values[WHEN_QUESTION]);
		claim->code = clinical_shape_text(code);
		claim->system = clinical_shape_text(clinical_fhir_string(import, "answerCoding.system", system));
		claim->where = import->place.where;
		import->claims = lappend(import->claims, claim);
	}
	clinical_json_put(&import->state, "answer", code);
}

/* Put out one condition of being shown. */
static void
put_condition(Import *import, const JsonbValue *json)
{
	Element		when;
	int			answers = 0;

	clinical_fhir_sort_members(import, json, when_names, WHEN_COUNT, CLINICAL_FHIR_CONDITION, &when);
	for (int i = WHEN_HAS_ANSWER; i < WHEN_COUNT; i++)
		answers += when.values[i].type != jbvNull;
	if (answers != 1)
		clinical_shape_error(&import->place, "A condition must have one answer.");
	pushJsonbValue(&import->state, WJB_BEGIN_OBJECT, NULL);
	clinical_json_put(&import->state, "item", clinical_fhir_string(import, "question", &when.values[WHEN_QUESTION]));
	put_operator(import, &when);
	for (int i = WHEN_FIRST_ANSWER; i < WHEN_CODING; i++)
		clinical_fhir_put(import, "answer", &when.values[i]);
	if (when.values[WHEN_CODING].type != jbvNull)
		put_coding_condition(import, &when);
	if (when.values[WHEN_QUANTITY].type != jbvNull)
		put_quantity_condition(import, &when);
	pushJsonbValue(&import->state, WJB_END_OBJECT, NULL);
}

/* Put out the conditions of an item. */
static void
put_conditions(Import *import, const Element *item)
{
	JsonbValue *conditions;
	int			count = clinical_shape_elements(&item->values[ITEM_ENABLE_WHEN], &conditions);
	JsonbValue	buffer;
	bool		old;

	if (count == 0)
		return;
	old = clinical_json_get(&conditions[0], "operator", &buffer) == NULL;
	clinical_json_key(&import->state, "enable_when");
	pushJsonbValue(&import->state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < count; i++)
		put_condition(import, &conditions[i]);
	pushJsonbValue(&import->state, WJB_END_ARRAY, NULL);
	if (item->values[ITEM_ENABLE_BEHAVIOR].type != jbvNull)
		clinical_json_put(&import->state, "enable_behavior", &item->values[ITEM_ENABLE_BEHAVIOR]);
	else if (count > 1 && !old)
		clinical_shape_error(&import->place, "Element \"enableBehavior\" is required with more than one condition.");
	else if (count > 1)
		clinical_json_put_text(&import->state, "enable_behavior", "any");
}

/* Put out the unit of an item, and others that its answers may have. */
static void
put_units(Import *import, const Element *item, const JsonbValue *unit)
{
	bool		first_is_other = item->extensions[EXT_UNIT].type != jbvNull && item->extensions[EXT_UNIT_OPTION].type != jbvNull;
	JsonbValue	buffer;
	ListCell   *lc;

	if (unit != NULL)
		clinical_json_put(&import->state, "unit", unit);
	if (!first_is_other && item->more_units == NIL)
		return;
	clinical_json_key(&import->state, "units");
	pushJsonbValue(&import->state, WJB_BEGIN_ARRAY, NULL);
	if (first_is_other && !clinical_json_same(unit, unit_code(import, &item->extensions[EXT_UNIT_OPTION], &buffer)))
		pushJsonbValue(&import->state, WJB_ELEM, &buffer);
	foreach(lc, item->more_units)
	{
		const JsonbValue *other = unit_code(import, lfirst(lc), &buffer);

		if (other != NULL && !clinical_json_same(unit, other))
			pushJsonbValue(&import->state, WJB_ELEM, &buffer);
	}
	pushJsonbValue(&import->state, WJB_END_ARRAY, NULL);
}

/* Put out what the item's extensions say. */
static void
put_item_extensions(Import *import, const Element *item, const JsonbValue *unit)
{
	const JsonbValue *extensions = item->extensions;

	put_units(import, item, unit);
	clinical_fhir_put(import, "decimals", &extensions[EXT_MAX_DECIMALS]);
	clinical_fhir_put(import, "hidden", &extensions[EXT_HIDDEN]);
	if (item->values[ITEM_REPEATS].type == jbvBool && item->values[ITEM_REPEATS].val.boolean)
	{
		clinical_fhir_put(import, "min_repeats", &extensions[EXT_MIN_OCCURS]);
		clinical_fhir_put(import, "max_repeats", &extensions[EXT_MAX_OCCURS]);
	}
	else if (extensions[EXT_MIN_OCCURS].type != jbvNull || extensions[EXT_MAX_OCCURS].type != jbvNull)
		clinical_shape_error(&import->place, "Extensions minOccurs and maxOccurs need \"repeats\".");
	if (extensions[EXT_MIN_VALUE].type == jbvNull && extensions[EXT_MAX_VALUE].type == jbvNull)
		return;
	clinical_json_key(&import->state, "checks");
	pushJsonbValue(&import->state, WJB_BEGIN_ARRAY, NULL);
	put_bound(import, "minValue", "GE", &extensions[EXT_MIN_VALUE], unit);
	put_bound(import, "maxValue", "LE", &extensions[EXT_MAX_VALUE], unit);
	pushJsonbValue(&import->state, WJB_END_ARRAY, NULL);
}

/* The codes of a value set, whose reference (STU3 has an object for it) is kept; unless our extension has them. */
static void
put_value_set(Import *import, Element *item, Jsonb *own)
{
	JsonbValue	buffer;
	JsonbValue	list;
	JsonbValue *reference = &item->values[ITEM_ANSWER_VALUE_SET];

	if (reference->type == jbvNull)
		reference = clinical_json_get(&item->values[ITEM_OPTIONS], "reference", &buffer);
	if (getKeyJsonValueFromContainer(&own->root, "code_list", strlen("code_list"), &list) == NULL)
		clinical_fhir_put_value_set(import, reference);
	clinical_fhir_keep(item, "answerValueSet", reference);
}

/* What is said below the type: codes of a choice, partial dates, several lines. */
static void
put_type_details(Import *import, Element *item, const char *fhir_type, const char *ours, Jsonb *own)
{
	bool		options = item->values[ITEM_ANSWER_OPTION].type != jbvNull || item->values[ITEM_OPTION].type != jbvNull;
	bool		set = item->values[ITEM_ANSWER_VALUE_SET].type != jbvNull || item->values[ITEM_OPTIONS].type != jbvNull;

	if (strcmp(ours, "date") == 0 || strcmp(ours, "dateTime") == 0)
		clinical_json_put_bool(&import->state, "partial", true);
	if (strcmp(fhir_type, "text") == 0 && strcmp(ours, "text") == 0)
		clinical_json_put_bool(&import->state, "multiline", true);
	if (strcmp(ours, "coded") != 0)
	{
		if (set || item->values[ITEM_ANSWER_CONSTRAINT].type != jbvNull)
			clinical_shape_error(&import->place, "Element \"%s\" of an item of type \"%s\" cannot be represented.",
								 item->values[ITEM_ANSWER_VALUE_SET].type != jbvNull ? "answerValueSet" : set ? "options" : "answerConstraint",
								 fhir_type);
		return;
	}
	if (strcmp(fhir_type, "open-choice") == 0 || clinical_json_is(&item->values[ITEM_ANSWER_CONSTRAINT], "optionsOrString"))
		clinical_json_put_bool(&import->state, "open", true);
	else if (item->values[ITEM_ANSWER_CONSTRAINT].type != jbvNull && !clinical_json_is(&item->values[ITEM_ANSWER_CONSTRAINT], "optionsOnly"))
		clinical_shape_error(&import->place, "Element \"answerConstraint\" can be represented as optionsOnly and optionsOrString.");
	if (options && set)
		clinical_shape_error(&import->place, "Answer options beside a value set cannot be represented.");
	if (options)
		clinical_fhir_put_options(import, item->values[ITEM_ANSWER_OPTION].type != jbvNull ? &item->values[ITEM_ANSWER_OPTION] : &item->values[ITEM_OPTION]);
	else if (set)
		put_value_set(import, item, own);
}

/* Our type for an item; with options, other types than choice are coded too (R5). */
static const char *
our_type(const Import *import, const Element *item)
{
	const JsonbValue *type = clinical_fhir_string(import, "type", &item->values[ITEM_TYPE]);

	for (int i = 0; i < (int) lengthof(types); i++)
	{
		if (!clinical_json_is(type, types[i].name))
			continue;
		if (item->values[ITEM_ANSWER_OPTION].type != jbvNull || item->values[ITEM_OPTION].type != jbvNull)
			return "coded";
		return types[i].ours;
	}
	clinical_shape_error(&import->place, "Type \"%s\" cannot be represented.", clinical_fhir_name(type));
}

/* Put out the codes of an element; those that are none are kept as they are. */
static void
put_codings(Import *import, const JsonbValue *array, Element *element)
{
	if (array->type == jbvNull)
		return;
	if (clinical_fhir_are_codings(array))
	{
		clinical_json_put(&import->state, "codes", array);
		return;
	}
	clinical_fhir_keep(element, "code", array);
}

/* The document in the extension that has what FHIR has no element for; an empty one if it is not there. */
static Jsonb *
read_own(Import *import, const JsonbValue *source)
{
	Jsonb	   *document;
	const char *source_text = source->type == jbvNull ? "{}" :
	clinical_shape_text(clinical_fhir_string(import, "valueString", source));

	document = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(source_text)));
	if (!JB_ROOT_IS_OBJECT(document))
		clinical_shape_error(&import->place, "Extension \"%s\" must have a JSON object.", CLINICAL_FHIR_ITEM);
	return document;
}

/* Put out its members: they take the place of what was translated, since of two equal keys the last one stays. */
static void
put_own(Import *import, Jsonb *document)
{
	JsonbIterator *iterator = JsonbIteratorInit(&document->root);
	JsonbValue	key;
	JsonbValue	value;

	while (clinical_json_next(&iterator, &key, &value))
	{
		pushJsonbValue(&import->state, WJB_KEY, &key);
		pushJsonbValue(&import->state, WJB_VALUE, &value);
	}
}

/* Put out one item. */
static void
put_item(Import *import, const JsonbValue *json, int depth)
{
	Element		item;
	JsonbValue	buffer;
	const char *ours;
	Jsonb	   *own;

	clinical_fhir_sort_members(import, json, item_names, ITEM_COUNT, CLINICAL_FHIR_QUESTION, &item);
	import->place.where = psprintf("Item \"%s\"", clinical_fhir_name(clinical_fhir_string(import, "linkId", &item.values[ITEM_LINK_ID])));
	clinical_fhir_sort_extensions(import, &item.values[ITEM_EXTENSION], item_extensions, EXT_COUNT, &item);
	own = read_own(import, &item.extensions[EXT_ITEM]);
	ours = our_type(import, &item);
	pushJsonbValue(&import->state, WJB_BEGIN_OBJECT, NULL);
	clinical_json_put(&import->state, "code", &item.values[ITEM_LINK_ID]);
	clinical_json_put_text(&import->state, "type", ours);
	clinical_fhir_put(import, "label", &item.values[ITEM_TEXT]);
	if (strcmp(ours, "display") == 0)
	{
		/* of a text that is only shown this means nothing */
		clinical_fhir_keep(&item, "required", &item.values[ITEM_REQUIRED]);
		clinical_fhir_keep(&item, "repeats", &item.values[ITEM_REPEATS]);
	}
	else
	{
		clinical_fhir_put(import, "required", &item.values[ITEM_REQUIRED]);
		clinical_fhir_put(import, "repeats", &item.values[ITEM_REPEATS]);
	}
	clinical_fhir_put(import, "max_length", &item.values[ITEM_MAX_LENGTH]);
	put_type_details(import, &item, clinical_shape_text(&item.values[ITEM_TYPE]), ours, own);
	put_item_extensions(import, &item, item_unit(import, &item, &buffer));
	put_conditions(import, &item);
	put_codings(import, &item.values[ITEM_CODE], &item);
	clinical_fhir_put_kept(import, "fhir", &item);
	if (item.values[ITEM_ITEM].type != jbvNull)
		put_items(import, &item.values[ITEM_ITEM], depth + 1);
	put_own(import, own);
	pushJsonbValue(&import->state, WJB_END_OBJECT, NULL);
}

/* Put out the items of an array and all below them. */
static void
put_items(Import *import, const JsonbValue *array, int depth)
{
	JsonbValue *items;
	int			count = clinical_shape_elements(array, &items);

	CHECK_FOR_INTERRUPTS();
	if (depth > CLINICAL_MAX_DEPTH)
		clinical_shape_error(&import->place, "Items are nested more than %d levels deep.", CLINICAL_MAX_DEPTH);
	clinical_json_key(&import->state, "items");
	pushJsonbValue(&import->state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < count; i++)
	{
		char	   *where = import->place.where;

		import->place.where = psprintf("Item %d%s%s", i + 1, where == NULL ? "" : " of ", where == NULL ? "" : where);
		put_item(import, &items[i], depth);
		import->place.where = where;
	}
	pushJsonbValue(&import->state, WJB_END_ARRAY, NULL);
}

/* The code of the instrument: the id, else the end of the url, else the name. */
static char *
questionnaire_code(const Import *import, const Element *top)
{
	JsonbValue	buffer;
	JsonbValue *id = clinical_json_get(&import->questionnaire, "id", &buffer);
	char	   *url = clinical_shape_text(&top->values[TOP_URL]);

	if (id != NULL && id->type == jbvString)
		return clinical_shape_text(id);
	if (url != NULL && strrchr(url, '/') != NULL && strrchr(url, '/')[1] != '\0')
		return strrchr(url, '/') + 1;
	id = clinical_json_get(&import->questionnaire, "name", &buffer);
	if (id == NULL || id->type != jbvString)
		clinical_shape_error(&import->place, "The questionnaire has no id, url or name to be called by.");
	return clinical_shape_text(id);
}

/* Contained resources are value sets, whose codes go into the items; anything else would be dropped. */
static void
check_contained(const Import *import, const JsonbValue *array)
{
	JsonbValue *resources;
	int			count = clinical_shape_elements(array, &resources);

	for (int i = 0; i < count; i++)
	{
		JsonbValue	buffer;

		if (!clinical_json_is(clinical_json_get(&resources[i], "resourceType", &buffer), "ValueSet"))
			clinical_shape_error(&import->place, "A contained resource other than a ValueSet cannot be represented.");
	}
}

/* Translate a questionnaire from its top. */
static Jsonb *
make_definition(Import *import, const char *code, const char *version)
{
	Element		top;

	clinical_fhir_sort_members(import, &import->questionnaire, top_names, TOP_COUNT, CLINICAL_FHIR_QUESTIONNAIRE, &top);
	if (!clinical_json_is(&top.values[TOP_RESOURCE_TYPE], "Questionnaire"))
		clinical_shape_error(&import->place, "Element \"resourceType\" must be \"Questionnaire\".");
	/* what is active is in use, as all instruments are; the export says so */
	if (clinical_json_is(&top.values[TOP_STATUS], "active"))
		top.values[TOP_STATUS].type = jbvNull;
	clinical_fhir_keep(&top, "status", &top.values[TOP_STATUS]);
	clinical_fhir_sort_extensions(import, &top.values[TOP_EXTENSION], top_extensions, lengthof(top_extensions), &top);
	check_contained(import, &top.values[TOP_CONTAINED]);
	clinical_fhir_keep(&top, "contained", &top.values[TOP_CONTAINED]);
	pushJsonbValue(&import->state, WJB_BEGIN_OBJECT, NULL);
	if (code == NULL && top.extensions[0].type == jbvNull)
		code = questionnaire_code(import, &top);
	clinical_json_put_text(&import->state, "version", "1");
	clinical_fhir_put(import, "version", &top.values[TOP_VERSION]);
	clinical_fhir_put(import, "title", &top.values[TOP_TITLE]);
	clinical_fhir_put(import, "url", &top.values[TOP_URL]);
	put_codings(import, &top.values[TOP_CODE], &top);
	clinical_fhir_put_kept(import, "fhir", &top);
	put_items(import, &top.values[TOP_ITEM], 1);
	put_own(import, read_own(import, &top.extensions[0]));
	clinical_json_put_text(&import->state, "code", code);
	clinical_json_put_text(&import->state, "version", version);
	return JsonbValueToJsonb(pushJsonbValue(&import->state, WJB_END_OBJECT, NULL));
}

/* Are conditions on quantities in the units of their questions, and on codes of a system that is listed? */
static void
check_claims(Import *import, const ClinicalInstrument *instrument)
{
	ListCell   *lc;

	foreach(lc, import->claims)
	{
		UnitClaim  *claim = lfirst(lc);
		const ClinicalItem *item = clinical_instrument_item(instrument, claim->item, strlen(claim->item));

		ClinicalValue ignored;

		import->place.where = claim->where;
		if (claim->unit == NULL)
		{
			if (item == NULL || !clinical_value_code(item, claim->code, strlen(claim->code),
													 claim->system, strlen(claim->system), &ignored))
				clinical_shape_error(&import->place, "A condition on a code that its question does not have cannot be represented.");
		}
		else if (item == NULL || item->nunits == 0 || strcmp(item->units[0].code, claim->unit) != 0)
			clinical_shape_error(&import->place, "A quantity in another unit than the item's cannot be represented.");
	}
}

/* The definition that a questionnaire amounts to; code and version (NULL: its own) may be given. */
Jsonb *
clinical_fhir_definition(Jsonb *questionnaire, const char *code, const char *version)
{
	Import		import = {.place = {CLINICAL_FHIR_REFUSED, NULL}};

	Jsonb	   *definition;

	clinical_json_value(questionnaire, &import.questionnaire);
	definition = make_definition(&import, code, version);
	if (import.claims != NIL)
		check_claims(&import, clinical_instrument_compile(definition, CurrentMemoryContext, import.place.message));
	return definition;
}

/* SQL: create a version of an instrument from a FHIR Questionnaire. */
Datum
clinical_import_questionnaire(PG_FUNCTION_ARGS)
{
	text	   *code = clinical_optional_arg(fcinfo, 1);
	text	   *version = clinical_optional_arg(fcinfo, 2);

	clinical_require_arg(!PG_ARGISNULL(0), "questionnaire is required");
	return clinical_instrument_create(clinical_fhir_definition(PG_GETARG_JSONB_P(0),
															   code == NULL ? NULL : text_to_cstring(code),
															   version == NULL ? NULL : text_to_cstring(version)),
									  CLINICAL_FHIR_REFUSED);
}
