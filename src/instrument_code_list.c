/*-------------------------------------------------------------------------
 *
 * instrument_code_list.c
 *		From the answer options and value sets of a FHIR Questionnaire to code
 *		lists.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "instrument_import.h"

enum
{
	OPTION_CODING, OPTION_STRING, OPTION_INTEGER, OPTION_DATE, OPTION_TIME, OPTION_EXTENSION, OPTION_COUNT,
};
static const char *const option_names[] = {"valueCoding", "valueString", "valueInteger", "valueDate", "valueTime", "extension"};
static const char *const option_types[] = {"coding", "string", "integer", "date", "time"};

/* The codes for a score have had several names */
static const char *const ordinal_extensions[] = {FHIR_ORDINAL, FHIR_EXTENSION("questionnaire-ordinalValue"),
FHIR_EXTENSION("valueset-ordinalValue"), FHIR_EXTENSION("codesystem-ordinalValue"), FHIR_EXTENSION("itemWeight")};

enum
{
	CODING_CODE, CODING_SYSTEM, CODING_DISPLAY, CODING_EXTENSION, CODING_COUNT,
};
static const char *const coding_names[] = {"code", "system", "display", "extension"};

/* Does an extension give a score? */
bool
clinical_fhir_is_ordinal(const JsonbValue *url)
{
	return clinical_fhir_find(url, ordinal_extensions, lengthof(ordinal_extensions)) >= 0;
}

/* The contained resource with that id; an error if it is not a value set. */
static JsonbValue
find_value_set(const Import *import, const JsonbValue *reference)
{
	JsonbValue	buffer;
	JsonbValue *contained = clinical_json_get(&import->questionnaire, "contained", &buffer);
	JsonbValue *resources;
	int			count = contained == NULL ? 0 : clinical_shape_elements(contained, &resources);
	char	   *id = clinical_shape_text(clinical_fhir_string(import, "answerValueSet", reference));

	for (int i = 0; i < count && id[0] == '#'; i++)
	{
		JsonbValue	member;

		if (clinical_json_is(clinical_json_get(&resources[i], "id", &member), id + 1) &&
			clinical_json_is(clinical_json_get(&resources[i], "resourceType", &member), "ValueSet"))
			return resources[i];
	}
	clinical_shape_error(&import->place, "Value set \"%s\" is not contained in the questionnaire.", id);
}

/* Put out a score from whichever extension has one. */
static void
put_score(Import *import, const Element *element)
{
	for (int i = 0; i < (int) lengthof(ordinal_extensions); i++)
	{
		if (element->extensions[i].type == jbvNull)
			continue;
		if (element->extensions[i].type != jbvNumeric)
			clinical_shape_error(&import->place, "Extension \"%s\" must have a number.", ordinal_extensions[i]);
		clinical_json_put(&import->state, "score", &element->extensions[i]);
		return;
	}
}

/* Put out one entry of a code list from a Coding; system: where the Coding has none. */
static void
put_coding(Import *import, const JsonbValue *coding, const JsonbValue *system, const Element *option)
{
	Element		element;

	clinical_fhir_sort_members(import, coding, coding_names, CODING_COUNT, CLINICAL_FHIR_CODING, &element);
	clinical_fhir_sort_extensions(import, &element.values[CODING_EXTENSION], ordinal_extensions, lengthof(ordinal_extensions), &element);
	if (element.values[CODING_CODE].type != jbvString || element.values[CODING_CODE].val.string.len == 0)
		clinical_shape_error(&import->place, "An answer option has no code, so that answers could not be told apart.");
	pushJsonbValue(&import->state, WJB_BEGIN_OBJECT, NULL);
	clinical_fhir_put(import, "code", &element.values[CODING_CODE]);
	clinical_fhir_put(import, "label", &element.values[CODING_DISPLAY]);
	clinical_fhir_put(import, "system", element.values[CODING_SYSTEM].type == jbvNull && system != NULL ? system :
					  &element.values[CODING_SYSTEM]);

	/*
	 * the score may stand at the option or at its code; of two, that at the
	 * code counts
	 */
	if (option != NULL)
		put_score(import, option);
	put_score(import, &element);
	if (element.kept != NIL || element.kept_extensions != NIL || (option != NULL && (option->kept != NIL || option->kept_extensions != NIL)))
	{
		clinical_json_key(&import->state, "fhir");
		pushJsonbValue(&import->state, WJB_BEGIN_OBJECT, NULL);
		clinical_fhir_put_kept(import, "coding", &element);
		if (option != NULL)
			clinical_fhir_put_kept(import, "option", option);
		pushJsonbValue(&import->state, WJB_END_OBJECT, NULL);
	}
	pushJsonbValue(&import->state, WJB_END_OBJECT, NULL);
}

/* Put out one entry of a code list from an answer option that is no Coding. */
static void
put_plain_option(Import *import, const JsonbValue *value, const Element *option)
{
	JsonbValue	code = *value;

	if (value->type == jbvNumeric)
	{
		code.type = jbvString;
		code.val.string.val = numeric_normalize(value->val.numeric);
		code.val.string.len = strlen(code.val.string.val);
	}
	pushJsonbValue(&import->state, WJB_BEGIN_OBJECT, NULL);
	clinical_json_put(&import->state, "code", clinical_fhir_string(import, "answerOption", &code));
	put_score(import, option);
	if (option->kept != NIL || option->kept_extensions != NIL)
	{
		clinical_json_key(&import->state, "fhir");
		pushJsonbValue(&import->state, WJB_BEGIN_OBJECT, NULL);
		clinical_fhir_put_kept(import, "option", option);
		pushJsonbValue(&import->state, WJB_END_OBJECT, NULL);
	}
	pushJsonbValue(&import->state, WJB_END_OBJECT, NULL);
}

/* Put out a code list from answer options, which are all of one kind. */
void
clinical_fhir_put_options(Import *import, const JsonbValue *array)
{
	JsonbValue *options;
	int			count = clinical_shape_elements(array, &options);
	int			kind = -1;

	clinical_json_key(&import->state, "code_list");
	pushJsonbValue(&import->state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < count; i++)
	{
		Element		option;
		int			this_kind = 0;

		clinical_fhir_sort_members(import, &options[i], option_names, OPTION_COUNT, CLINICAL_FHIR_OPTION, &option);
		clinical_fhir_sort_extensions(import, &option.values[OPTION_EXTENSION], ordinal_extensions, lengthof(ordinal_extensions), &option);
		while (this_kind < OPTION_EXTENSION && option.values[this_kind].type == jbvNull)
			this_kind++;
		if (this_kind == OPTION_EXTENSION)
			clinical_shape_error(&import->place, "An answer option has no value.");
		for (int other = this_kind + 1; other < OPTION_EXTENSION; other++)
		{
			if (option.values[other].type != jbvNull)
				clinical_shape_error(&import->place, "An answer option has two values.");
		}
		if (kind >= 0 && kind != this_kind)
			clinical_shape_error(&import->place, "Answer options of different types cannot be represented.");
		kind = this_kind;
		if (kind == OPTION_CODING)
			put_coding(import, &option.values[OPTION_CODING], NULL, &option);
		else
			put_plain_option(import, &option.values[kind], &option);
	}
	pushJsonbValue(&import->state, WJB_END_ARRAY, NULL);
	if (kind > OPTION_CODING)
		clinical_json_put_text(&import->state, "code_type", option_types[kind]);
}

/* Put out the codes of an array of a value set: of an expansion, or of an included code system. */
static void
put_concepts(Import *import, const JsonbValue *array, const JsonbValue *system)
{
	JsonbValue *concepts;
	int			count = clinical_shape_elements(array, &concepts);

	for (int i = 0; i < count; i++)
		put_coding(import, &concepts[i], system, NULL);
}

/* Put out the codes of an expansion, which must be all of them. */
static void
put_expansion(Import *import, const JsonbValue *expansion)
{
	JsonbValue	buffer;
	JsonbValue	total_buffer;
	JsonbValue *contains = clinical_json_get(expansion, "contains", &buffer);
	JsonbValue *total = clinical_json_get(expansion, "total", &total_buffer);
	JsonbValue *concepts;
	int			count = contains == NULL ? 0 : clinical_shape_elements(contains, &concepts);

	if (total != NULL && total->type == jbvNumeric &&
		DatumGetBool(DirectFunctionCall2(numeric_gt, NumericGetDatum(total->val.numeric), NumericGetDatum(int64_to_numeric(count)))))
		clinical_shape_error(&import->place, "A part of an expansion cannot be represented.");
	if (contains != NULL)
		put_concepts(import, contains, NULL);
}

/* Put out a code list from a value set that is contained in the questionnaire. */
void
clinical_fhir_put_value_set(Import *import, const JsonbValue *reference)
{
	JsonbValue	set = find_value_set(import, reference);
	JsonbValue	buffer;
	JsonbValue	inner;
	JsonbValue *part = clinical_json_get(&set, "expansion", &buffer);
	JsonbValue *includes;
	int			count;

	clinical_json_key(&import->state, "code_list");
	pushJsonbValue(&import->state, WJB_BEGIN_ARRAY, NULL);
	if (part != NULL)
		put_expansion(import, part);
	else
	{
		part = clinical_json_get(&set, "compose", &buffer);
		if (part != NULL && clinical_json_get(part, "exclude", &inner) != NULL)
			clinical_shape_error(&import->place, "A value set that excludes codes cannot be represented.");
		part = part == NULL ? NULL : clinical_json_get(part, "include", &inner);
		count = part == NULL ? 0 : clinical_shape_elements(part, &includes);
		for (int i = 0; i < count; i++)
		{
			JsonbValue	system_buffer;
			JsonbValue	concept_buffer;
			JsonbValue *concepts = clinical_json_get(&includes[i], "concept", &concept_buffer);

			if (concepts == NULL || clinical_json_get(&includes[i], "valueSet", &system_buffer) != NULL)
				clinical_shape_error(&import->place, "A value set that does not list its codes cannot be represented.");
			put_concepts(import, concepts, clinical_json_get(&includes[i], "system", &system_buffer));
		}
	}
	pushJsonbValue(&import->state, WJB_END_ARRAY, NULL);
}
