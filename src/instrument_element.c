/*-------------------------------------------------------------------------
 *
 * instrument_element.c
 *		The elements of a FHIR Questionnaire, sorted: what is translated, what
 *		is kept as it is, and what cannot be represented.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "instrument_import.h"

/* Is a name in a list?  Its place, or -1. */
int
clinical_fhir_find(const JsonbValue *name, const char *const *names, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (clinical_json_is(name, names[i]))
			return i;
	}
	return -1;
}

/* A name for an error, cut. */
char *
clinical_fhir_name(const JsonbValue *name)
{
	return pnstrdup(name->val.string.val, pg_mbcliplen(name->val.string.val, name->val.string.len, 200));
}

/* The value[x] of an extension that is translated, which has nothing else. */
static JsonbValue
extension_value(const Import *import, const JsonbValue *extension)
{
	JsonbIterator *iterator = JsonbIteratorInit(clinical_json_object(extension));
	JsonbValue	key;
	JsonbValue	value;
	JsonbValue	found = {.type = jbvNull};

	while (clinical_json_next(&iterator, &key, &value))
	{
		if (clinical_json_is(&key, "url"))
			continue;
		if (key.val.string.len <= 5 || memcmp(key.val.string.val, "value", 5) != 0 || found.type != jbvNull)
			clinical_shape_error(&import->place, "Element \"%s\" of an extension cannot be represented.", clinical_fhir_name(&key));
		found = value;
	}
	if (found.type == jbvNull)
		clinical_shape_error(&import->place, "An extension that means something has no value.");
	return found;
}

/* Sort extensions: translated by a table, kept, or a reason to refuse the questionnaire. */
void
clinical_fhir_sort_extensions(const Import *import, const JsonbValue *array, const char *const *names, int count, Element *element)
{
	JsonbValue *extensions;
	int			nextensions = clinical_shape_elements(array, &extensions);

	element->kept_extensions = NIL;
	element->more_units = NIL;
	element->extensions = palloc_array(JsonbValue, count + 1);
	for (int i = 0; i < count; i++)
		element->extensions[i].type = jbvNull;
	for (int i = 0; i < nextensions; i++)
	{
		JsonbValue	buffer;
		JsonbValue *url = clinical_json_get(&extensions[i], "url", &buffer);
		int			place = url == NULL || url->type != jbvString ? -2 : clinical_fhir_find(url, names, count);

		if (place == -2)
			clinical_shape_error(&import->place, "An extension has no url.");
		/* the name of a unit has no other place */
		if (clinical_fhir_names_unit(&extensions[i]))
			element->kept_extensions = lappend(element->kept_extensions, &extensions[i]);
		if (place >= 0 && element->extensions[place].type == jbvNull)
			element->extensions[place] = extension_value(import, &extensions[i]);
		else if (place < 0 && clinical_fhir_is_harmless(url))
			element->kept_extensions = lappend(element->kept_extensions, &extensions[i]);
		else if (place >= 0 && clinical_json_is(url, FHIR_UNIT_OPTION))
		{
			JsonbValue *unit = palloc_object(JsonbValue);

			*unit = extension_value(import, &extensions[i]);
			element->more_units = lappend(element->more_units, unit);
		}
		else
			clinical_shape_error(&import->place, "Extension \"%s\" cannot be represented%s.", clinical_fhir_name(url),
								 place >= 0 ? " twice" : "");
	}
}

/* Elements that may be there more than once are arrays, of which one element alone would be dropped. */
static void
require_array(const Import *import, const JsonbValue *name, const JsonbValue *value)
{
	static const char *const arrays[] = {"item", "enableWhen", "answerOption", "option", "extension", "contained"};

	if (value->type != jbvNull && clinical_fhir_find(name, arrays, lengthof(arrays)) >= 0 &&
		(value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data)))
		clinical_shape_error(&import->place, "Element \"%s\" must be an array.", clinical_fhir_name(name));
}

/* Sort the members of an element in the same way. */
void
clinical_fhir_sort_members(const Import *import, const JsonbValue *object, const char *const *names, int count,
						   ClinicalFhirKind kind, Element *element)
{
	JsonbIterator *iterator;
	JsonbValue	key;
	JsonbValue	value;

	if (clinical_json_object(object) == NULL)
		clinical_shape_error(&import->place, "Must be an object.");
	element->kept = NIL;
	element->values = palloc_array(JsonbValue, count);
	for (int i = 0; i < count; i++)
		element->values[i].type = jbvNull;
	iterator = JsonbIteratorInit(clinical_json_object(object));
	while (clinical_json_next(&iterator, &key, &value))
	{
		int			place = clinical_fhir_find(&key, names, count);

		if (place >= 0)
		{
			require_array(import, &key, &value);
			element->values[place] = value;
		}
		else if (clinical_fhir_keeps(kind, &key))
		{
			Kept	   *member = palloc_object(Kept);

			member->key = key;
			member->value = value;
			element->kept = lappend(element->kept, member);
		}
		else
			clinical_shape_error(&import->place, "Element \"%s\" cannot be represented.", clinical_fhir_name(&key));
	}
}

/* Keep a member as it is, after all. */
void
clinical_fhir_keep(Element *element, const char *name, const JsonbValue *value)
{
	Kept	   *member;

	if (value->type == jbvNull)
		return;
	member = palloc_object(Kept);
	member->key.type = jbvString;
	member->key.val.string.val = pstrdup(name);
	member->key.val.string.len = strlen(name);
	member->value = *value;
	element->kept = lappend(element->kept, member);
}

/* Put out what is kept of an element as a member of that name, if there is any. */
void
clinical_fhir_put_kept(Import *import, const char *name, const Element *element)
{
	ListCell   *lc;

	if (element->kept == NIL && element->kept_extensions == NIL)
		return;
	clinical_json_key(&import->state, name);
	pushJsonbValue(&import->state, WJB_BEGIN_OBJECT, NULL);
	foreach(lc, element->kept)
	{
		Kept	   *member = lfirst(lc);

		pushJsonbValue(&import->state, WJB_KEY, &member->key);
		pushJsonbValue(&import->state, WJB_VALUE, &member->value);
	}
	if (element->kept_extensions != NIL)
	{
		clinical_json_key(&import->state, "extension");
		pushJsonbValue(&import->state, WJB_BEGIN_ARRAY, NULL);
		foreach(lc, element->kept_extensions)
			pushJsonbValue(&import->state, WJB_ELEM, lfirst(lc));
		pushJsonbValue(&import->state, WJB_END_ARRAY, NULL);
	}
	pushJsonbValue(&import->state, WJB_END_OBJECT, NULL);
}

/* A value that must be a string that is not empty. */
const JsonbValue *
clinical_fhir_string(const Import *import, const char *name, const JsonbValue *value)
{
	if (value == NULL || value->type != jbvString || value->val.string.len == 0)
		clinical_shape_error(&import->place, "Element \"%s\" must be a string that is not empty.", name);
	return value;
}

/* Put out a value, unless it is absent. */
void
clinical_fhir_put(Import *import, const char *name, const JsonbValue *value)
{
	if (value->type != jbvNull)
		clinical_json_put(&import->state, name, value);
}
