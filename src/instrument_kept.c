/*-------------------------------------------------------------------------
 *
 * instrument_kept.c
 *		What a definition keeps of a FHIR Questionnaire as it is, under its keys
 *		"fhir".
 *
 * The same lists say what the import keeps and what a definition may have
 * there: else it would come back from FHIR as another one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "instrument_fhir.h"

static const char *const top_kept[] = {"id", "meta", "language", "text", "identifier", "name", "derivedFrom",
	"experimental", "subjectType", "date", "publisher", "contact", "description", "useContext", "jurisdiction", "purpose",
	"copyright", "copyrightLabel", "approvalDate", "lastReviewDate", "effectivePeriod", "versionAlgorithmString",
"versionAlgorithmCoding", "contained", "_title", "_name", "_description", "_purpose", "_copyright", "_publisher"};
static const char *const item_kept[] = {"id", "definition", "prefix", "readOnly", "disabledDisplay", "initial", "_text",
	"_prefix", "initialBoolean", "initialDecimal", "initialInteger", "initialDate", "initialDateTime", "initialTime",
"initialString", "initialUri", "initialCoding", "initialQuantity", "answerValueSet"};
static const char *const option_kept[] = {"id", "initialSelected", "_valueString"};
static const char *const coding_kept[] = {"id", "version", "userSelected", "designation", "_display", "inactive"};

/* The names of an element's members that are kept */
typedef struct KeptNames
{
	const char *const *names;
	int			count;
} KeptNames;

static const KeptNames kept_names[] = {
	[CLINICAL_FHIR_QUESTIONNAIRE] = {top_kept, lengthof(top_kept)},
	[CLINICAL_FHIR_QUESTION] = {item_kept, lengthof(item_kept)},
	[CLINICAL_FHIR_CONDITION] = {NULL, 0},
	[CLINICAL_FHIR_OPTION] = {option_kept, lengthof(option_kept)},
	[CLINICAL_FHIR_CODING] = {coding_kept, lengthof(coding_kept)},
};

/* What is said to those who show the form or fill it in; the validity of an answer does not depend on it */
static const char *const harmless_extensions[] = {
	FHIR_EXTENSION("questionnaire-itemControl"), FHIR_EXTENSION("questionnaire-choiceOrientation"),
	FHIR_EXTENSION("questionnaire-displayCategory"), FHIR_EXTENSION("questionnaire-supportLink"),
	FHIR_EXTENSION("designNote"), FHIR_EXTENSION("entryFormat"), FHIR_EXTENSION("rendering-style"),
	FHIR_EXTENSION("rendering-xhtml"), FHIR_EXTENSION("rendering-markdown"), FHIR_EXTENSION("rendering-styleSensitive"),
	FHIR_EXTENSION("translation"), FHIR_EXTENSION("valueset-conceptOrder"), FHIR_EXTENSION("valueset-label"),
	FHIR_EXTENSION("questionnaire-optionPrefix"), FHIR_EXTENSION("variable"),
	FHIR_EXTENSION("questionnaire-ordinalValue"),
	"http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-observationLinkPeriod",
	"http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-observationExtract",
	"http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-calculatedExpression",
	"http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-initialExpression",
	"http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-launchContext",
	"http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-preferredTerminologyServer",
	"http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-shortText",
	"http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-itemMedia",
	"http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-width",
	"http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-openLabel",
	"http://hl7.org/fhir/uv/sdc/StructureDefinition/questionnaire-answerKey",
	"http://fhir.org/guides/argonaut/questionnaire/StructureDefinition/extension-itemOrder",
	"http://fhir.org/guides/argonaut/questionnaire/StructureDefinition/extension-timeLimit",
	"http://fhir.org/guides/argonaut/questionnaire/StructureDefinition/extension-responsePeriod",
};

/* Is a string one of the list? */
static bool
is_one_of(const JsonbValue *string, const char *const *list, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (clinical_json_is(string, list[i]))
			return true;
	}
	return false;
}

/* Is a member of an element kept as it is? */
bool
clinical_fhir_keeps(ClinicalFhirKind kind, const JsonbValue *name)
{
	return is_one_of(name, kept_names[kind].names, kept_names[kind].count);
}

/* Is an extension kept as it is, where it is not translated? */
bool
clinical_fhir_is_harmless(const JsonbValue *url)
{
	return is_one_of(url, harmless_extensions, lengthof(harmless_extensions));
}

/* Codes of a terminology that have a code; FHIR allows some without, which are kept. */
bool
clinical_fhir_are_codings(const JsonbValue *array)
{
	static const char *const known[] = {"code", "system", "display", "version"};
	JsonbValue *codings;
	int			count = clinical_shape_elements(array, &codings);

	for (int i = 0; i < count; i++)
	{
		JsonbValue	key;
		JsonbValue	value;
		JsonbIterator *iterator;

		if (clinical_json_object(&codings[i]) == NULL || clinical_json_get(&codings[i], "code", &value) == NULL)
			return false;
		iterator = JsonbIteratorInit(clinical_json_object(&codings[i]));
		while (clinical_json_next(&iterator, &key, &value))
		{
			if (!is_one_of(&key, known, lengthof(known)))
				return false;
		}
	}
	return true;
}

/* Does an extension name a unit beside its code? */
bool
clinical_fhir_names_unit(const JsonbValue *extension)
{
	JsonbValue	buffer;
	JsonbValue	display;
	JsonbValue *value = clinical_json_get(extension, "url", &buffer);

	if (!clinical_json_is(value, FHIR_UNIT) && !clinical_json_is(value, FHIR_UNIT_OPTION))
		return false;
	value = clinical_json_get(extension, "valueCoding", &buffer);
	return value != NULL && clinical_json_get(value, "display", &display) != NULL;
}

/* The extensions that are kept: known to be harmless, and not what is translated there. */
static void
check_extensions(const ClinicalPlace *place, ClinicalFhirKind kind, const JsonbValue *array, bool has_unit)
{
	bool		of_code = kind == CLINICAL_FHIR_OPTION || kind == CLINICAL_FHIR_CODING;
	JsonbValue *extensions;
	int			count = clinical_shape_elements(array, &extensions);
	int			units = 0;

	if (count == 0)
		clinical_shape_error(place, "Key \"extension\" of \"fhir\" must be an array that is not empty.");
	for (int i = 0; i < count; i++)
	{
		JsonbValue	buffer;
		JsonbValue *url = clinical_json_get(&extensions[i], "url", &buffer);

		if (kind == CLINICAL_FHIR_QUESTION && has_unit && clinical_fhir_names_unit(&extensions[i]) &&
			(!clinical_json_is(url, FHIR_UNIT) || ++units == 1))
			continue;
		if (url == NULL || !clinical_fhir_is_harmless(url) || (of_code && clinical_fhir_is_ordinal(url)))
			clinical_shape_error(place, "Key \"fhir\" has an extension that is not known to be without effect.");
	}
}

/* May a member stand there beside those that are always kept? */
static bool
kept_here(ClinicalFhirKind kind, const JsonbValue *name, const JsonbValue *value, bool display)
{
	bool		has_codes = kind == CLINICAL_FHIR_QUESTIONNAIRE || kind == CLINICAL_FHIR_QUESTION;

	if (clinical_json_is(name, "code"))
		return has_codes && value->type != jbvNull && !clinical_fhir_are_codings(value);
	if (clinical_json_is(name, "status"))
		return kind == CLINICAL_FHIR_QUESTIONNAIRE && value->type != jbvNull && !clinical_json_is(value, "active");
	if (clinical_json_is(name, "required") || clinical_json_is(name, "repeats"))
		return display && value->type != jbvNull;
	return false;
}

/* Is there a contained value set of which a reference has the id? */
static bool
has_value_set(const JsonbValue *contained, const JsonbValue *reference)
{
	JsonbValue *resources;
	int			count = clinical_shape_elements(contained, &resources);
	char	   *id = clinical_shape_text(reference);

	for (int i = 0; i < count && id != NULL && id[0] == '#'; i++)
	{
		JsonbValue	buffer;

		if (clinical_json_is(clinical_json_get(&resources[i], "id", &buffer), id + 1))
			return true;
	}
	return false;
}

/* Contained resources are value sets, and what refers to them finds them. */
void
clinical_fhir_check_contained(const ClinicalPlace *place, const JsonbValue *contained, const JsonbValue *reference)
{
	JsonbValue *resources;
	int			count;

	if (reference != NULL)
	{
		if (contained == NULL || !has_value_set(contained, reference))
			clinical_shape_error(place, "Key \"fhir\" has a value set that is not contained in that of the definition.");
		return;
	}
	count = contained == NULL ? 0 : clinical_shape_elements(contained, &resources);
	if (contained != NULL && count == 0)
		clinical_shape_error(place, "Key \"contained\" of \"fhir\" must be an array that is not empty.");
	for (int i = 0; i < count; i++)
	{
		JsonbValue	buffer;

		if (!clinical_json_is(clinical_json_get(&resources[i], "resourceType", &buffer), "ValueSet"))
			clinical_shape_error(place, "Key \"fhir\" contains another resource than a ValueSet.");
	}
}

/* Raise an error unless a definition's "fhir" (NULL or null: it has none) is what an import would have kept. */
void
clinical_fhir_check_kept(const ClinicalPlace *place, ClinicalFhirKind kind, const JsonbValue *fhir, bool display, bool has_unit)
{
	JsonbIterator *iterator;
	JsonbValue	key;
	JsonbValue	value;

	if (fhir == NULL || fhir->type == jbvNull)
		return;
	if (clinical_json_object(fhir) == NULL)
		clinical_shape_error(place, "Key \"fhir\" must have objects.");
	iterator = JsonbIteratorInit(clinical_json_object(fhir));
	while (clinical_json_next(&iterator, &key, &value))
	{
		if (clinical_json_is(&key, "extension"))
			check_extensions(place, kind, &value, has_unit);
		else if (!clinical_fhir_keeps(kind, &key) && !kept_here(kind, &key, &value, display))
			clinical_shape_error(place, "Key \"fhir\" has a member that means something, or is not known.");
	}
}
