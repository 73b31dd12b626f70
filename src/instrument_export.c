/*-------------------------------------------------------------------------
 *
 * instrument_export.c
 *		From the definition of an instrument to a FHIR Questionnaire (R4, R5).
 *
 * What FHIR has an element or a published extension for is written so; the
 * rest (scores, soft checks, conversions of units) goes as it is into an
 * extension of ours, so that importing the questionnaire gives the same
 * definition.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "instrument_fhir.h"

PG_FUNCTION_INFO_V1(clinical_questionnaire_fhir);

typedef struct Export
{
	const ClinicalInstrument *instrument;
	bool		r5;
	JsonbParseState *state;
} Export;

static void put_items(Export *export, const JsonbValue *array);

/* A member of a definition; absent is null. */
static JsonbValue
member(const JsonbValue *object, const char *name)
{
	JsonbValue	buffer = {.type = jbvNull};
	JsonbValue *found = clinical_json_get(object, name, &buffer);
	JsonbValue	none = {.type = jbvNull};

	return found == NULL ? none : *found;
}

/* Put out a member under a name of FHIR, unless it is absent. */
static void
put_as(Export *export, const char *name, const JsonbValue *object, const char *key)
{
	JsonbValue	value = member(object, key);

	if (value.type != jbvNull)
		clinical_json_put(&export->state, name, &value);
}

/* Put out the members that were kept as they are, but their extensions. */
static void
put_kept(Export *export, const JsonbValue *kept)
{
	JsonbIterator *iterator;
	JsonbValue	key;
	JsonbValue	value;

	if (kept->type == jbvNull)
		return;
	iterator = JsonbIteratorInit(clinical_json_object(kept));
	while (clinical_json_next(&iterator, &key, &value))
	{
		if (clinical_json_is(&key, "extension"))
			continue;
		pushJsonbValue(&export->state, WJB_KEY, &key);
		pushJsonbValue(&export->state, WJB_VALUE, &value);
	}
}

/* Put out the extensions that were kept, into an array that has been begun. */
static void
put_kept_extensions(Export *export, const JsonbValue *kept)
{
	JsonbValue	array = member(kept, "extension");
	JsonbValue *extensions;
	int			count = clinical_shape_elements(&array, &extensions);

	for (int i = 0; i < count; i++)
		pushJsonbValue(&export->state, WJB_ELEM, &extensions[i]);
}

/* Begin an array of extensions, which is put out only if it gets some. */
static JsonbParseState *
begin_extensions(Export *export)
{
	JsonbParseState *outer = export->state;

	export->state = NULL;
	pushJsonbValue(&export->state, WJB_BEGIN_ARRAY, NULL);
	return outer;
}

/* The end of begin_extensions, which gave the state to go on with. */
static void
end_extensions(Export *export, JsonbParseState *outer)
{
	Jsonb	   *array = JsonbValueToJsonb(pushJsonbValue(&export->state, WJB_END_ARRAY, NULL));
	JsonbValue	value;

	export->state = outer;
	clinical_json_value(array, &value);
	if (JB_ROOT_COUNT(array) > 0)
		clinical_json_put(&export->state, "extension", &value);
}

/* Put out an extension with a value, unless it is absent. */
static void
put_extension(Export *export, const char *url, const char *value_name, const JsonbValue *value)
{
	if (value->type == jbvNull)
		return;
	pushJsonbValue(&export->state, WJB_BEGIN_OBJECT, NULL);
	clinical_json_put_text(&export->state, "url", url);
	clinical_json_put(&export->state, value_name, value);
	pushJsonbValue(&export->state, WJB_END_OBJECT, NULL);
}

/* Put out an extension whose value is a Coding of a unit. */
static void
put_unit_extension(Export *export, const char *url, const JsonbValue *unit)
{
	if (unit->type != jbvString)
		return;
	pushJsonbValue(&export->state, WJB_BEGIN_OBJECT, NULL);
	clinical_json_put_text(&export->state, "url", url);
	clinical_json_key(&export->state, "valueCoding");
	pushJsonbValue(&export->state, WJB_BEGIN_OBJECT, NULL);
	clinical_json_put_text(&export->state, "system", FHIR_UCUM);
	clinical_json_put(&export->state, "code", unit);
	pushJsonbValue(&export->state, WJB_END_OBJECT, NULL);
	pushJsonbValue(&export->state, WJB_END_OBJECT, NULL);
}

/* Put out an extension with a JSON object as text, unless the object is empty. */
static void
put_own_extension(Export *export, const char *url, JsonbParseState **own)
{
	Jsonb	   *document = JsonbValueToJsonb(pushJsonbValue(own, WJB_END_OBJECT, NULL));
	JsonbValue	value = {.type = jbvString};

	if (JB_ROOT_COUNT(document) == 0)
		return;
	value.val.string.val = JsonbToCString(NULL, &document->root, VARSIZE(document));
	value.val.string.len = strlen(value.val.string.val);
	put_extension(export, url, "valueString", &value);
}

/* The value of a hard check with that comparator, or NULL. */
static JsonbValue *
as_bound(const JsonbValue *check, const char *comparator)
{
	JsonbValue	values = member(check, "values");
	JsonbValue	strength = member(check, "soft_hard");
	JsonbValue	relation = member(check, "comparator");
	JsonbValue *elements;

	if (!clinical_json_is(&relation, comparator) || !clinical_json_is(&strength, "Hard") ||
		clinical_shape_elements(&values, &elements) != 1)
		return NULL;
	return elements;
}

/* Is all that a check says its bound? */
static bool
is_bound_alone(const JsonbValue *check, const char *id)
{
	JsonbValue	own_id = member(check, "id");
	JsonbValue	words = member(check, "message");

	return clinical_json_is(&own_id, id) && words.type == jbvNull;
}

/* The name of value[x] or answer[x] for the values of an item. */
static const char *
value_name(const ClinicalItem *item, bool is_bound)
{
	switch (item->type)
	{
		case CLINICAL_ITEM_BOOLEAN:
			return "Boolean";
		case CLINICAL_ITEM_INTEGER:
			return "Integer";
		case CLINICAL_ITEM_DECIMAL:
			return "Decimal";
		case CLINICAL_ITEM_QUANTITY:
			return is_bound ? "Decimal" : "Quantity";
		case CLINICAL_ITEM_DATE:
			return "Date";
		case CLINICAL_ITEM_DATETIME:
			return "DateTime";
		case CLINICAL_ITEM_TIME:
			return "Time";
		case CLINICAL_ITEM_CODED:
		case CLINICAL_ITEM_TEXT:
		case CLINICAL_ITEM_URI:
		case CLINICAL_ITEM_GROUP:
		case CLINICAL_ITEM_DISPLAY:
			break;
	}
	return "String";
}

/*
 * Put out the bounds of an item; true if these are all its checks, in the order
 * in which they are read again.
 */
static bool
put_bounds(Export *export, const ClinicalItem *item, const JsonbValue *json)
{
	JsonbValue	array = member(json, "checks");
	JsonbValue *checks;
	int			count = clinical_shape_elements(&array, &checks);
	char	   *name = psprintf("value%s", value_name(item, true));
	JsonbValue *low = NULL;
	JsonbValue *high = NULL;
	int			alone = 0;

	for (int i = 0; i < count; i++)
	{
		if (low == NULL && high == NULL && (low = as_bound(&checks[i], "GE")) != NULL)
		{
			put_extension(export, FHIR_MIN_VALUE, name, low);
			alone += is_bound_alone(&checks[i], "minValue");
		}
		else if (high == NULL && (high = as_bound(&checks[i], "LE")) != NULL)
		{
			put_extension(export, FHIR_MAX_VALUE, name, high);
			alone += is_bound_alone(&checks[i], "maxValue");
		}
	}
	return alone == count;
}

/* Is a unit of the list said by its code alone? */
static bool
units_are_plain(const JsonbValue *units)
{
	JsonbValue *elements;
	int			count = clinical_shape_elements(units, &elements);

	for (int i = 0; i < count; i++)
	{
		if (elements[i].type != jbvString)
			return false;
	}
	return true;
}

/* Are the units of an item among the extensions that were kept, with their names? */
static bool
units_are_kept(const JsonbValue *json)
{
	JsonbValue	kept = member(json, "fhir");
	JsonbValue	array = member(&kept, "extension");
	JsonbValue *extensions;
	int			count = clinical_shape_elements(&array, &extensions);

	for (int i = 0; i < count; i++)
	{
		if (clinical_fhir_names_unit(&extensions[i]))
			return true;
	}
	return false;
}

/* Put out the units of an item; true if all is said by that. */
static bool
put_units(Export *export, const ClinicalItem *item, const JsonbValue *json)
{
	JsonbValue	unit = member(json, "unit");
	JsonbValue	units = member(json, "units");
	JsonbValue *elements;
	int			count = clinical_shape_elements(&units, &elements);

	if (units_are_kept(json))
		return false;
	put_unit_extension(export, item->type == CLINICAL_ITEM_QUANTITY ? FHIR_UNIT_OPTION : FHIR_UNIT, &unit);
	if (count == 0)
		return true;
	if (!units_are_plain(&units) || item->type != CLINICAL_ITEM_QUANTITY)
		return false;
	for (int i = 0; i < count; i++)
		put_unit_extension(export, FHIR_UNIT_OPTION, &elements[i]);
	return true;
}

/* Put out a member into our own extension, unless it is absent. */
static void
put_own(JsonbParseState **own, const JsonbValue *json, const char *name)
{
	JsonbValue	value = member(json, name);

	if (value.type != jbvNull)
		clinical_json_put(own, name, &value);
}

/* Put out the extensions of an item. */
static void
put_item_extensions(Export *export, const ClinicalItem *item, const JsonbValue *json)
{
	JsonbParseState *own = NULL;
	JsonbValue	kept = member(json, "fhir");
	JsonbValue	value = member(json, "hidden");
	JsonbParseState *outer = begin_extensions(export);

	pushJsonbValue(&own, WJB_BEGIN_OBJECT, NULL);
	put_kept_extensions(export, &kept);
	put_extension(export, FHIR_HIDDEN, "valueBoolean", &value);
	value = member(json, "min_repeats");
	put_extension(export, FHIR_MIN_OCCURS, "valueInteger", &value);
	value = member(json, "max_repeats");
	put_extension(export, FHIR_MAX_OCCURS, "valueInteger", &value);
	value = member(json, "decimals");
	put_extension(export, FHIR_MAX_DECIMALS, "valueInteger", &value);
	if (!put_units(export, item, json))
	{
		if (units_are_kept(json))
			put_own(&own, json, "unit");
		put_own(&own, json, "units");
	}
	/* a value set that was kept stands for the list, which may say more */
	value = member(&kept, "answerValueSet");
	if (value.type != jbvNull)
	{
		put_own(&own, json, "code_list");
	}
	if (!put_bounds(export, item, json))
		put_own(&own, json, "checks");
	if (!item->partial && (item->type == CLINICAL_ITEM_DATE || item->type == CLINICAL_ITEM_DATETIME))
		clinical_json_put_bool(&own, "partial", false);
	put_own_extension(export, CLINICAL_FHIR_ITEM, &own);
	end_extensions(export, outer);
}

/* Put out a score as an extension, and what was kept beside it, if there is any. */
static void
put_score(Export *export, const JsonbValue *score, const JsonbValue *kept)
{
	JsonbParseState *outer = begin_extensions(export);

	put_extension(export, FHIR_ORDINAL, "valueDecimal", score);
	put_kept_extensions(export, kept);
	end_extensions(export, outer);
}

/* Put out one answer option. */
static void
put_option(Export *export, const JsonbValue *entry, const char *code_type)
{
	JsonbValue	fhir = member(entry, "fhir");
	JsonbValue	option = member(&fhir, "option");
	JsonbValue	coding = member(&fhir, "coding");
	JsonbValue	score = member(entry, "score");
	JsonbValue	code = member(entry, "code");
	JsonbValue	none = {.type = jbvNull};

	pushJsonbValue(&export->state, WJB_BEGIN_OBJECT, NULL);
	put_kept(export, &option);
	if (code_type == NULL)
	{
		put_score(export, &none, &option);
		clinical_json_key(&export->state, "valueCoding");
		pushJsonbValue(&export->state, WJB_BEGIN_OBJECT, NULL);
		put_kept(export, &coding);
		put_as(export, "system", entry, "system");
		put_as(export, "code", entry, "code");
		put_as(export, "display", entry, "label");
		put_score(export, &score, &coding);
		pushJsonbValue(&export->state, WJB_END_OBJECT, NULL);
	}
	else if (strcmp(code_type, "integer") == 0)
	{
		JsonbValue	number = {.type = jbvNumeric};

		number.val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(clinical_shape_text(&code)),
																 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
		clinical_json_put(&export->state, "valueInteger", &number);
		put_score(export, &score, &option);
	}
	else
	{
		clinical_json_put(&export->state, strcmp(code_type, "date") == 0 ? "valueDate" :
						  strcmp(code_type, "time") == 0 ? "valueTime" : "valueString", &code);
		put_score(export, &score, &option);
	}
	pushJsonbValue(&export->state, WJB_END_OBJECT, NULL);
}

/* Put out the answer options of a coded item. */
static void
put_options(Export *export, const JsonbValue *json)
{
	JsonbValue	list = member(json, "code_list");
	JsonbValue	code_type = member(json, "code_type");
	JsonbValue *entries;
	int			count = clinical_shape_elements(&list, &entries);
	JsonbValue	kept = member(json, "fhir");
	JsonbValue	set = member(&kept, "answerValueSet");

	if (count == 0 || set.type != jbvNull)
		return;
	clinical_json_key(&export->state, "answerOption");
	pushJsonbValue(&export->state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < count; i++)
		put_option(export, &entries[i], clinical_shape_text(&code_type));
	pushJsonbValue(&export->state, WJB_END_ARRAY, NULL);
}

/* Put out the answer of a condition, by the type of its question. */
static void
put_condition_answer(Export *export, const ClinicalItem *question, const ClinicalCondition *condition, const JsonbValue *answer)
{
	if (condition->comparator == CLINICAL_EXISTS)
		clinical_json_put(&export->state, "answerBoolean", answer);
	else if (question->integer_codes && answer->type == jbvNumeric)
		clinical_json_put(&export->state, "answerInteger", answer);
	else if (question->type == CLINICAL_ITEM_CODED && condition->value.code >= 0)
	{
		clinical_json_key(&export->state, "answerCoding");
		pushJsonbValue(&export->state, WJB_BEGIN_OBJECT, NULL);
		clinical_json_put_text(&export->state, "system", question->codes[condition->value.code].system);
		clinical_json_put_text(&export->state, "code", question->codes[condition->value.code].code);
		pushJsonbValue(&export->state, WJB_END_OBJECT, NULL);
	}
	else if (question->type == CLINICAL_ITEM_QUANTITY)
	{
		clinical_json_key(&export->state, "answerQuantity");
		pushJsonbValue(&export->state, WJB_BEGIN_OBJECT, NULL);
		clinical_json_put(&export->state, "value", answer);
		clinical_json_put_text(&export->state, "system", FHIR_UCUM);
		clinical_json_put_text(&export->state, "code", question->units[0].code);
		pushJsonbValue(&export->state, WJB_END_OBJECT, NULL);
	}
	else
		clinical_json_put(&export->state, psprintf("answer%s", value_name(question, false)), answer);
}

/* Put out the conditions of an item. */
static void
put_conditions(Export *export, const ClinicalItem *item, const JsonbValue *json)
{
	JsonbValue	array = member(json, "enable_when");
	JsonbValue *conditions;
	int			count = clinical_shape_elements(&array, &conditions);

	if (count == 0)
		return;
	clinical_json_key(&export->state, "enableWhen");
	pushJsonbValue(&export->state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < count; i++)
	{
		const ClinicalCondition *condition = &item->conditions[i];
		JsonbValue	answer = member(&conditions[i], "answer");

		pushJsonbValue(&export->state, WJB_BEGIN_OBJECT, NULL);
		put_as(export, "question", &conditions[i], "item");
		put_as(export, "operator", &conditions[i], "operator");
		put_condition_answer(export, &export->instrument->items[condition->item], condition, &answer);
		pushJsonbValue(&export->state, WJB_END_OBJECT, NULL);
	}
	pushJsonbValue(&export->state, WJB_END_ARRAY, NULL);
	if (count > 1 || item->any_condition)
		clinical_json_put_text(&export->state, "enableBehavior", item->any_condition ? "any" : "all");
}

/* The type of an item in FHIR. */
static const char *
fhir_type(const Export *export, const ClinicalItem *item, const JsonbValue *json)
{
	JsonbValue	value;

	if (item->type == CLINICAL_ITEM_TEXT)
	{
		value = member(json, "multiline");
		return value.type == jbvNull ? "string" : "text";
	}
	if (item->type == CLINICAL_ITEM_URI)
		return "url";
	if (item->type != CLINICAL_ITEM_CODED)
		return clinical_item_types[item->type];
	if (!export->r5)
		return item->open ? "open-choice" : "choice";
	value = member(json, "code_type");
	return value.type == jbvNull ? "coding" : clinical_shape_text(&value);
}

/* Put out one item. */
static void
put_item(Export *export, const JsonbValue *json)
{
	JsonbValue	code = member(json, "code");
	JsonbValue	kept = member(json, "fhir");
	JsonbValue	items = member(json, "items");
	const ClinicalItem *item = clinical_instrument_item(export->instrument, code.val.string.val, code.val.string.len);

	pushJsonbValue(&export->state, WJB_BEGIN_OBJECT, NULL);
	put_kept(export, &kept);
	clinical_json_put(&export->state, "linkId", &code);
	put_as(export, "text", json, "label");
	clinical_json_put_text(&export->state, "type", fhir_type(export, item, json));
	put_as(export, "code", json, "codes");
	if (item->required)
		clinical_json_put_bool(&export->state, "required", true);
	if (item->repeats)
		clinical_json_put_bool(&export->state, "repeats", true);
	put_as(export, "maxLength", json, "max_length");
	put_item_extensions(export, item, json);
	put_conditions(export, item, json);
	if (item->type == CLINICAL_ITEM_CODED)
	{
		put_options(export, json);
		if (export->r5 && item->open)
			clinical_json_put_text(&export->state, "answerConstraint", "optionsOrString");
	}
	if (items.type != jbvNull)
	{
		clinical_json_key(&export->state, "item");
		put_items(export, &items);
	}
	pushJsonbValue(&export->state, WJB_END_OBJECT, NULL);
}

/* Put out an array of items. */
static void
put_items(Export *export, const JsonbValue *array)
{
	JsonbValue *items;
	int			count = clinical_shape_elements(array, &items);

	check_stack_depth();
	pushJsonbValue(&export->state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < count; i++)
		put_item(export, &items[i]);
	pushJsonbValue(&export->state, WJB_END_ARRAY, NULL);
}

/* Put out the extensions of the questionnaire: its code and scores are ours alone. */
static void
put_top_extensions(Export *export, const JsonbValue *root)
{
	JsonbParseState *own = NULL;
	JsonbValue	kept = member(root, "fhir");
	JsonbValue	code = member(root, "code");
	JsonbValue	scores = member(root, "scores");
	JsonbParseState *outer = begin_extensions(export);

	put_kept_extensions(export, &kept);
	pushJsonbValue(&own, WJB_BEGIN_OBJECT, NULL);
	clinical_json_put(&own, "code", &code);
	if (scores.type != jbvNull)
		clinical_json_put(&own, "scores", &scores);
	put_own_extension(export, CLINICAL_FHIR_INSTRUMENT, &own);
	end_extensions(export, outer);
}

/* The questionnaire of a definition. */
static Jsonb *
make_questionnaire(Export *export, Jsonb *definition)
{
	JsonbValue	root;
	JsonbValue	kept;
	JsonbValue	items;
	JsonbValue	status;

	clinical_json_value(definition, &root);
	kept = member(&root, "fhir");
	items = member(&root, "items");
	status = member(&kept, "status");
	pushJsonbValue(&export->state, WJB_BEGIN_OBJECT, NULL);
	clinical_json_put_text(&export->state, "resourceType", "Questionnaire");
	/* required by FHIR; a version is what reports are checked against */
	if (status.type == jbvNull)
		clinical_json_put_text(&export->state, "status", "active");
	put_kept(export, &kept);
	put_as(export, "url", &root, "url");
	put_as(export, "version", &root, "version");
	put_as(export, "title", &root, "title");
	put_as(export, "code", &root, "codes");
	put_top_extensions(export, &root);
	clinical_json_key(&export->state, "item");
	put_items(export, &items);
	return JsonbValueToJsonb(pushJsonbValue(&export->state, WJB_END_OBJECT, NULL));
}

/* A definition as a questionnaire of R4, or of R5. */
Jsonb *
clinical_fhir_questionnaire(Jsonb *definition, bool r5)
{
	Export		export = {NULL, r5};

	export.instrument = clinical_instrument_compile(definition, CurrentMemoryContext, CLINICAL_BAD_DEFINITION);
	return make_questionnaire(&export, definition);
}

/* SQL: a version of an instrument as a FHIR Questionnaire. */
Datum
clinical_questionnaire_fhir(PG_FUNCTION_ARGS)
{
	char	   *release = text_to_cstring(clinical_text_arg(fcinfo, 2, "release is required"));
	Datum		definition = clinical_instrument_json(fcinfo);

	if (strcmp(release, "R4") != 0 && strcmp(release, "R5") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown release of FHIR"),
				 errhint("There are: R4, R5.")));
	return JsonbPGetDatum(clinical_fhir_questionnaire(DatumGetJsonbP(definition), strcmp(release, "R5") == 0));
}
