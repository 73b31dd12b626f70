/*-------------------------------------------------------------------------
 *
 * instrument_compile.c
 *		From the definition of an instrument, a jsonb document, to what the
 *		validator works with.  Here is every rule that a definition obeys.
 *
 * doc/instrument.schema.json describes the document; its keys are read here by
 * the tables below.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "instrument_compile.h"
#include "instrument_fhir.h"

#define MAX_CODE_BYTES 255

/* More than anybody needs of one item */
#define MAX_CHECKS 1000
#define MAX_UNITS 100

const char *const clinical_item_types[] = {"group", "display", "boolean", "integer", "decimal",
"quantity", "text", "uri", "date", "dateTime", "time", "coded"};
const int	clinical_item_ntypes = lengthof(clinical_item_types);

static const char *const comparators[] = {"LT", "LE", "GT", "GE", "EQ", "NE", "IN", "NOTIN"};
static const char *const strengths[] = {"Soft", "Hard"};
static const char *const code_types[] = {"coding", "string", "integer", "date", "time"};

enum
{
	DEFINITION_CODE, DEFINITION_VERSION, DEFINITION_TITLE, DEFINITION_URL, DEFINITION_CODES,
	DEFINITION_ITEMS, DEFINITION_SCORES, DEFINITION_FHIR,
};
static const ClinicalKey definition_keys[] = {
	{"code", CLINICAL_SHAPE_TEXT, true}, {"version", CLINICAL_SHAPE_TEXT, true},
	{"title", CLINICAL_SHAPE_TEXT}, {"url", CLINICAL_SHAPE_TEXT}, {"codes", CLINICAL_SHAPE_ARRAY},
	{"items", CLINICAL_SHAPE_ARRAY, true}, {"scores", CLINICAL_SHAPE_ARRAY}, {"fhir", CLINICAL_SHAPE_OBJECT},
};

enum
{
	ITEM_CODE, ITEM_LABEL, ITEM_TYPE, ITEM_REQUIRED, ITEM_REPEATS, ITEM_MIN_REPEATS, ITEM_MAX_REPEATS,
	ITEM_HIDDEN, ITEM_UNIT, ITEM_UNITS, ITEM_DECIMALS, ITEM_MAX_LENGTH, ITEM_PARTIAL, ITEM_MULTILINE,
	ITEM_CODE_LIST, ITEM_CODE_TYPE, ITEM_OPEN, ITEM_CHECKS, ITEM_ENABLE_WHEN, ITEM_ENABLE_BEHAVIOR,
	ITEM_CODES, ITEM_ITEMS, ITEM_FHIR, ITEM_NKEYS,
};
static const ClinicalKey item_keys[] = {
	{"code", CLINICAL_SHAPE_TEXT, true}, {"label", CLINICAL_SHAPE_TEXT}, {"type", CLINICAL_SHAPE_TEXT, true},
	{"required", CLINICAL_SHAPE_BOOLEAN}, {"repeats", CLINICAL_SHAPE_BOOLEAN},
	{"min_repeats", CLINICAL_SHAPE_COUNT}, {"max_repeats", CLINICAL_SHAPE_COUNT},
	{"hidden", CLINICAL_SHAPE_BOOLEAN}, {"unit", CLINICAL_SHAPE_TEXT}, {"units", CLINICAL_SHAPE_ARRAY},
	{"decimals", CLINICAL_SHAPE_COUNT}, {"max_length", CLINICAL_SHAPE_COUNT}, {"partial", CLINICAL_SHAPE_BOOLEAN},
	{"multiline", CLINICAL_SHAPE_BOOLEAN}, {"code_list", CLINICAL_SHAPE_ARRAY}, {"code_type", CLINICAL_SHAPE_TEXT},
	{"open", CLINICAL_SHAPE_BOOLEAN}, {"checks", CLINICAL_SHAPE_ARRAY}, {"enable_when", CLINICAL_SHAPE_ARRAY},
	{"enable_behavior", CLINICAL_SHAPE_TEXT}, {"codes", CLINICAL_SHAPE_ARRAY}, {"items", CLINICAL_SHAPE_ARRAY},
	{"fhir", CLINICAL_SHAPE_OBJECT},
};

enum
{
	CHECK_ID, CHECK_COMPARATOR, CHECK_VALUES, CHECK_SOFT_HARD, CHECK_MESSAGE,
};
static const ClinicalKey check_keys[] = {
	{"id", CLINICAL_SHAPE_TEXT}, {"comparator", CLINICAL_SHAPE_TEXT, true}, {"values", CLINICAL_SHAPE_ARRAY, true},
	{"soft_hard", CLINICAL_SHAPE_TEXT, true}, {"message", CLINICAL_SHAPE_TEXT},
};

enum
{
	CODE_CODE, CODE_LABEL, CODE_SYSTEM, CODE_SCORE, CODE_FHIR,
};
static const ClinicalKey code_list_keys[] = {
	{"code", CLINICAL_SHAPE_TEXT, true}, {"label", CLINICAL_SHAPE_TEXT}, {"system", CLINICAL_SHAPE_TEXT},
	{"score", CLINICAL_SHAPE_NUMBER}, {"fhir", CLINICAL_SHAPE_OBJECT},
};

static const ClinicalKey coding_keys[] = {
	{"code", CLINICAL_SHAPE_TEXT, true}, {"system", CLINICAL_SHAPE_TEXT}, {"display", CLINICAL_SHAPE_TEXT},
	{"version", CLINICAL_SHAPE_TEXT},
};

enum
{
	UNIT_UNIT, UNIT_FACTOR, UNIT_OFFSET,
};
static const ClinicalKey unit_keys[] = {
	{"unit", CLINICAL_SHAPE_TEXT, true}, {"factor", CLINICAL_SHAPE_NUMBER, true}, {"offset", CLINICAL_SHAPE_NUMBER},
};

/* Is a value true? */
static bool
is_true(const JsonbValue *value)
{
	return value->type == jbvBool && value->val.boolean;
}

/* A code is short, and has nothing in it that could not be seen. */
const char *
clinical_read_code(const ClinicalPlace *place, const char *key, const JsonbValue *value)
{
	char	   *code = clinical_shape_text(value);
	int			length = strlen(code);

	if (length > MAX_CODE_BYTES)
		clinical_shape_error(place, "Key \"%s\" must have at most %d bytes.", key, MAX_CODE_BYTES);
	for (int i = 0; i < length; i++)
	{
		if ((unsigned char) code[i] < ' ' || code[i] == 0x7f)
			clinical_shape_error(place, "Key \"%s\" must not have control characters.", key);
	}
	if (code[0] == ' ' || code[length - 1] == ' ')
		clinical_shape_error(place, "Key \"%s\" must not begin or end with a space.", key);
	return code;
}

/* The item of that code, or NULL. */
const ClinicalItem *
clinical_instrument_item(const ClinicalInstrument *instrument, const char *code, int length)
{
	uint32		i = hash_bytes((const unsigned char *) code, length) & instrument->mask;

	for (; instrument->table[i] >= 0; i = (i + 1) & instrument->mask)
	{
		const ClinicalItem *item = &instrument->items[instrument->table[i]];

		if (item->code_length == length && memcmp(item->code, code, length) == 0)
			return item;
	}
	return NULL;
}

/* Enter an item into the table of codes, which is never more than half full. */
static void
enter_item(Compiler *compiler, const ClinicalItem *item)
{
	ClinicalInstrument *instrument = compiler->instrument;
	uint32		i = hash_bytes((const unsigned char *) item->code, item->code_length) & instrument->mask;

	if (clinical_instrument_item(instrument, item->code, item->code_length) != NULL)
		clinical_shape_error(&compiler->place, "There are two items with this code.");
	while (instrument->table[i] >= 0)
		i = (i + 1) & instrument->mask;
	instrument->table[i] = item->index;
}

/* Is a key of use for items of that type? */
static bool
key_applies(int key, ClinicalItemType type)
{
	bool		number = type == CLINICAL_ITEM_INTEGER || type == CLINICAL_ITEM_DECIMAL || type == CLINICAL_ITEM_QUANTITY;
	bool		written = type == CLINICAL_ITEM_TEXT || type == CLINICAL_ITEM_URI || type == CLINICAL_ITEM_CODED;

	switch (key)
	{
		case ITEM_REQUIRED:
		case ITEM_REPEATS:
		case ITEM_MIN_REPEATS:
		case ITEM_MAX_REPEATS:
		case ITEM_ITEMS:
			return type != CLINICAL_ITEM_DISPLAY;
		case ITEM_UNIT:
		case ITEM_UNITS:
			return number;
		case ITEM_DECIMALS:
			return number && type != CLINICAL_ITEM_INTEGER;
		case ITEM_MAX_LENGTH:
			return written;
		case ITEM_MULTILINE:
			return type == CLINICAL_ITEM_TEXT;
		case ITEM_PARTIAL:
			return type == CLINICAL_ITEM_DATE || type == CLINICAL_ITEM_DATETIME;
		case ITEM_CODE_LIST:
		case ITEM_CODE_TYPE:
		case ITEM_OPEN:
			return type == CLINICAL_ITEM_CODED;
		case ITEM_CHECKS:
			return type != CLINICAL_ITEM_GROUP && type != CLINICAL_ITEM_DISPLAY;
		default:
			return true;
	}
}

/* Read codes of a terminology; they are for others, so only their shape counts. */
void
clinical_check_codings(const ClinicalPlace *place, const JsonbValue *array)
{
	JsonbValue *elements;
	int			count = clinical_shape_elements(array, &elements);

	for (int i = 0; i < count; i++)
	{
		JsonbValue	values[lengthof(coding_keys)];

		clinical_shape_read(place, &elements[i], coding_keys, lengthof(coding_keys), values);
	}
}

/* Read a number to compute with: no larger and no more exact than an answer, so that nothing can overflow. */
Numeric
clinical_read_number(Compiler *compiler, const char *key, const JsonbValue *json)
{
	ClinicalItem decimal = {.type = CLINICAL_ITEM_DECIMAL, .decimals = -1};
	ClinicalValue value;
	ClinicalFault fault;

	if (!clinical_value_read(compiler->instrument, &decimal, json, &value, &fault))
		clinical_shape_error(&compiler->place, "Key \"%s\" must have at most 30 digits before and after the point.", key);
	return DatumGetNumericCopy(NumericGetDatum(value.number));
}

/* Order of indexes of codes, by code. */
static int
compare_codes(const void *a, const void *b, void *codes)
{
	const ClinicalCode *list = codes;

	return strcmp(list[*(const int *) a].code, list[*(const int *) b].code);
}

/* What an entry of a code list keeps of FHIR: members of the option, and of its Coding. */
static void
check_kept_of_code(const ClinicalPlace *place, const JsonbValue *fhir)
{
	static const ClinicalKey keys[] = {{"coding", CLINICAL_SHAPE_OBJECT}, {"option", CLINICAL_SHAPE_OBJECT}};
	JsonbValue	values[lengthof(keys)];

	if (fhir->type == jbvNull)
		return;
	clinical_shape_read(place, fhir, keys, lengthof(keys), values);
	clinical_fhir_check_kept(place, CLINICAL_FHIR_CODING, &values[0], false, false);
	clinical_fhir_check_kept(place, CLINICAL_FHIR_OPTION, &values[1], false, false);
}

/* Read an item's code list. */
static void
read_code_list(Compiler *compiler, ClinicalItem *item, const JsonbValue *array)
{
	JsonbValue *elements;

	item->ncodes = clinical_shape_elements(array, &elements);
	if (item->ncodes == 0 && item->type == CLINICAL_ITEM_CODED && !item->open)
		clinical_shape_error(&compiler->place, "Key \"code_list\" is required.");
	item->codes = palloc0_array(ClinicalCode, item->ncodes + 1);
	item->code_order = palloc_array(int, item->ncodes + 1);
	for (int i = 0; i < item->ncodes; i++)
	{
		JsonbValue	values[lengthof(code_list_keys)];

		clinical_shape_read(&compiler->place, &elements[i], code_list_keys, lengthof(code_list_keys), values);
		item->codes[i].code = clinical_read_code(&compiler->place, "code", &values[CODE_CODE]);
		item->codes[i].system = clinical_shape_text(&values[CODE_SYSTEM]);
		if (values[CODE_SCORE].type == jbvNumeric)
			item->codes[i].score = clinical_read_number(compiler, "score", &values[CODE_SCORE]);
		item->code_order[i] = i;
		check_kept_of_code(&compiler->place, &values[CODE_FHIR]);
	}
	qsort_arg(item->code_order, item->ncodes, sizeof(int), compare_codes, item->codes);
	for (int i = 1; i < item->ncodes; i++)
	{
		if (strcmp(item->codes[item->code_order[i]].code, item->codes[item->code_order[i - 1]].code) == 0)
			clinical_shape_error(&compiler->place, "Code \"%s\" is twice in the code list.",
								 item->codes[item->code_order[i]].code);
	}
}

/* Is a code what FHIR writes as a value of that type, in the one way that gives the code again? */
static bool
code_is_of_type(const char *code, const char *type)
{
	int64		ignored;
	bool		negative = *code == '-';
	const char *number = negative ? code + 1 : code;
	size_t		digits = strspn(number, "0123456789");

	if (strcmp(type, "date") == 0)
		return clinical_parse_date(code, strlen(code), true, &ignored, &ignored);
	if (strcmp(type, "time") == 0)
		return clinical_parse_time(code, strlen(code), &ignored);
	if (strcmp(type, "integer") != 0)
		return true;
	return digits > 0 && digits < 19 && number[digits] == '\0' &&
		(number[0] != '0' || (digits == 1 && !negative));
}

/* What answer options of another type than Coding cannot say. */
static void
check_code_type(const ClinicalPlace *place, const JsonbValue *type, const JsonbValue *list)
{
	JsonbValue *entries;
	int			count = clinical_shape_elements(list, &entries);
	const char *name;

	if (type->type == jbvNull)
		return;
	if (count == 0)
		clinical_shape_error(place, "Key \"code_type\" needs \"code_list\".");
	name = code_types[clinical_shape_choice(place, "code_type", type, code_types, lengthof(code_types))];
	for (int i = 0; i < count && strcmp(name, "coding") != 0; i++)
	{
		JsonbValue	values[lengthof(code_list_keys)];
		JsonbValue	coding;

		clinical_shape_read(place, &entries[i], code_list_keys, lengthof(code_list_keys), values);
		if (!code_is_of_type(clinical_shape_text(&values[CODE_CODE]), name))
			clinical_shape_error(place, "Code \"%s\" is not of the code type \"%s\".", clinical_shape_text(&values[CODE_CODE]), name);
		if (values[CODE_LABEL].type != jbvNull || values[CODE_SYSTEM].type != jbvNull ||
			clinical_json_get(&values[CODE_FHIR], "coding", &coding) != NULL)
			clinical_shape_error(place, "Keys \"label\" and \"system\" of a code are for code type \"coding\".");
	}
}

/* Read one of an item's further units: known to convert, or with its factor. */
static void
read_unit(Compiler *compiler, ClinicalItem *item, const JsonbValue *json, ClinicalUnit *unit)
{
	const char *own = item->units[0].code;
	JsonbValue	values[lengthof(unit_keys)];

	if (json->type == jbvString && json->val.string.len > 0)
	{
		unit->code = clinical_read_code(&compiler->place, "units", json);
		if (!clinical_unit_conversion(unit->code, own, unit))
			clinical_shape_error(&compiler->place, "It is not known how to convert from unit \"%s\" to \"%s\": give a factor.",
								 unit->code, own);
		return;
	}
	clinical_shape_read(&compiler->place, json, unit_keys, lengthof(unit_keys), values);
	unit->code = clinical_read_code(&compiler->place, "unit", &values[UNIT_UNIT]);
	unit->factor = clinical_read_number(compiler, "factor", &values[UNIT_FACTOR]);
	unit->offset = values[UNIT_OFFSET].type == jbvNull ? int64_to_numeric(0) :
		clinical_read_number(compiler, "offset", &values[UNIT_OFFSET]);
	unit->divisor = int64_to_numeric(1);
	if (DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(unit->factor),
										  NumericGetDatum(int64_to_numeric(0)))) <= 0)
		clinical_shape_error(&compiler->place, "Key \"factor\" must be more than 0.");
}

/* Read the units that an item is given in. */
static void
read_units(Compiler *compiler, ClinicalItem *item, const JsonbValue *own, const JsonbValue *array)
{
	JsonbValue *elements;
	int			count = clinical_shape_elements(array, &elements);

	if (own->type == jbvNull)
	{
		if (count > 0)
			clinical_shape_error(&compiler->place, "Key \"units\" needs \"unit\".");
		return;
	}
	if (count > MAX_UNITS)
		clinical_shape_error(&compiler->place, "There are more than %d units.", MAX_UNITS);
	item->units = palloc0_array(ClinicalUnit, count + 1);
	item->units[0].code = clinical_read_code(&compiler->place, "unit", own);
	item->nunits = count + 1;
	for (int i = 0; i < count; i++)
	{
		read_unit(compiler, item, &elements[i], &item->units[i + 1]);
		for (int j = 0; j <= i; j++)
		{
			if (strcmp(item->units[j].code, item->units[i + 1].code) == 0)
				clinical_shape_error(&compiler->place, "Unit \"%s\" is there twice.", item->units[j].code);
		}
	}
}

/* Begin a scope: a place for answers that can be given once in it. */
static int
add_scope(Compiler *compiler, int owner)
{
	ClinicalInstrument *instrument = compiler->instrument;

	instrument->scopes[instrument->nscopes].owner = owner;
	return instrument->nscopes++;
}

/* Count the items of a definition, and how deep they are; for the room they need. */
static int
count_items(const ClinicalPlace *place, const JsonbValue *array, int depth)
{
	JsonbValue *elements;
	int			count = clinical_shape_elements(array, &elements);
	int			total = count;

	if (depth > CLINICAL_MAX_DEPTH)
		clinical_shape_error(place, "Items are nested more than %d levels deep.", CLINICAL_MAX_DEPTH);
	for (int i = 0; i < count; i++)
	{
		JsonbValue	buffer;
		JsonbValue *items = clinical_json_get(&elements[i], "items", &buffer);

		if (items != NULL)
			total += count_items(place, items, depth + 1);
		if (total > CLINICAL_MAX_ITEMS)
			clinical_shape_error(place, "There are more than %d items.", CLINICAL_MAX_ITEMS);
	}
	return total;
}

/* What an item says of itself alone. */
static void
read_item_values(Compiler *compiler, ClinicalItem *item, const JsonbValue *values)
{
	const ClinicalPlace *place = &compiler->place;
	JsonbValue	buffer;
	JsonbValue *set;

	for (int key = 0; key < ITEM_NKEYS; key++)
	{
		if (values[key].type != jbvNull && !key_applies(key, item->type))
			clinical_shape_error(place, "Key \"%s\" is not for items of type \"%s\".",
								 item_keys[key].name, clinical_item_types[item->type]);
	}
	item->required = is_true(&values[ITEM_REQUIRED]);
	item->repeats = is_true(&values[ITEM_REPEATS]);
	item->hidden = is_true(&values[ITEM_HIDDEN]);
	item->open = is_true(&values[ITEM_OPEN]);
	item->plain_codes = values[ITEM_CODE_TYPE].type == jbvString && !clinical_json_is(&values[ITEM_CODE_TYPE], "coding");
	item->integer_codes = values[ITEM_CODE_TYPE].type == jbvString && clinical_json_is(&values[ITEM_CODE_TYPE], "integer");
	item->partial = is_true(&values[ITEM_PARTIAL]);
	item->decimals = clinical_shape_count(&values[ITEM_DECIMALS], -1);
	item->max_length = clinical_shape_count(&values[ITEM_MAX_LENGTH], -1);
	item->min_repeats = clinical_shape_count(&values[ITEM_MIN_REPEATS], -1);
	item->max_repeats = clinical_shape_count(&values[ITEM_MAX_REPEATS], -1);
	if (!item->repeats && (item->min_repeats >= 0 || item->max_repeats >= 0))
		clinical_shape_error(place, "Keys \"min_repeats\" and \"max_repeats\" need \"repeats\".");
	if (item->max_repeats >= 0 && (item->max_repeats == 0 || item->max_repeats < item->min_repeats))
		clinical_shape_error(place, "Key \"max_repeats\" must be at least 1 and \"min_repeats\".");
	read_units(compiler, item, &values[ITEM_UNIT], &values[ITEM_UNITS]);
	read_code_list(compiler, item, &values[ITEM_CODE_LIST]);
	check_code_type(place, &values[ITEM_CODE_TYPE], &values[ITEM_CODE_LIST]);
	clinical_check_codings(place, &values[ITEM_CODES]);
	clinical_fhir_check_kept(place, CLINICAL_FHIR_QUESTION, &values[ITEM_FHIR], item->type == CLINICAL_ITEM_DISPLAY, item->nunits > 0);
	set = clinical_json_get(&values[ITEM_FHIR], "answerValueSet", &buffer);
	if (set != NULL && set->type != jbvNull)
	{
		clinical_fhir_check_contained(place, compiler->contained, set);
		if (item->ncodes == 0)
			clinical_shape_error(place, "Key \"fhir\" has a value set where there is no code list.");
	}
}

/* Read the items of an array and all below them. */
static void
read_items(Compiler *compiler, const JsonbValue *array, int parent, int scope)
{
	ClinicalInstrument *instrument = compiler->instrument;
	JsonbValue *elements;
	int			count = clinical_shape_elements(array, &elements);

	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < count; i++)
	{
		ClinicalItem *item = &instrument->items[instrument->nitems];
		JsonbValue *values = palloc_array(JsonbValue, ITEM_NKEYS);
		int			inner = scope;

		compiler->place.where = psprintf("Item %d%s%s", i + 1, parent >= 0 ? " of " : "",
										 parent >= 0 ? instrument->items[parent].code : "");
		clinical_shape_read(&compiler->place, &elements[i], item_keys, ITEM_NKEYS, values);
		item->code = clinical_read_code(&compiler->place, "code", &values[ITEM_CODE]);
		item->code_length = strlen(item->code);
		compiler->place.where = psprintf("Item \"%s\"", item->code);
		if (strcmp(item->code, "resourceType") == 0)
			clinical_shape_error(&compiler->place, "This code tells reports in FHIR from others.");
		item->type = clinical_shape_choice(&compiler->place, "type", &values[ITEM_TYPE],
										   clinical_item_types, clinical_item_ntypes);
		item->index = instrument->nitems;
		item->parent = parent;
		item->scope = scope;
		item->own_scope = -1;
		enter_item(compiler, item);
		compiler->sources[instrument->nitems++] = values;
		read_item_values(compiler, item, values);
		if (item->type == CLINICAL_ITEM_GROUP && values[ITEM_ITEMS].type == jbvNull)
			clinical_shape_error(&compiler->place, "Key \"items\" is required.");
		if (item->repeats && values[ITEM_ITEMS].type != jbvNull)
			inner = item->own_scope = add_scope(compiler, item->index);
		read_items(compiler, &values[ITEM_ITEMS], item->index, inner);
		item->last = instrument->nitems - 1;
	}
}

/* Give each item its place among the answers of its scope. */
static void
number_slots(ClinicalInstrument *instrument)
{
	for (int i = 0; i < instrument->nitems; i++)
		instrument->items[i].slot = instrument->scopes[instrument->items[i].scope].nslots++;
	for (int i = 0; i < instrument->nscopes; i++)
		instrument->scopes[i].items = palloc_array(int, instrument->scopes[i].nslots + 1);
	for (int i = 0; i < instrument->nitems; i++)
		instrument->scopes[instrument->items[i].scope].items[instrument->items[i].slot] = i;
}

/* Keep what a value that is compared with points to. */
static void
keep_value(ClinicalValue *value)
{
	if (value->number != NULL)
		value->number = DatumGetNumericCopy(NumericGetDatum(value->number));
	if (value->text != NULL)
		value->text = pnstrdup(value->text, value->length);
}

/* Read a constant that answers of an item are compared with. */
void
clinical_read_constant(Compiler *compiler, const ClinicalItem *item, const char *key, const JsonbValue *json,
					   ClinicalValue *value)
{
	ClinicalFault fault;
	ClinicalItem exact = *item;

	/* what an answer may not be, a bound may */
	exact.decimals = exact.max_length = -1;
	exact.partial = false;
	/* a report may write any code as a number, a definition only what FHIR does */
	if ((item->type == CLINICAL_ITEM_CODED && json->type != jbvString && !(item->integer_codes && json->type == jbvNumeric)) ||
		!clinical_value_read(compiler->instrument, &exact, json, value, &fault))
		clinical_shape_error(&compiler->place, "Key \"%s\" has a value that no answer to \"%s\" can be.", key, item->code);
	keep_value(value);
}

/* Read one range check. */
static void
read_check(Compiler *compiler, const ClinicalItem *item, const JsonbValue *json, int number, ClinicalCheck *check)
{
	const ClinicalPlace *place = &compiler->place;
	JsonbValue	values[lengthof(check_keys)];
	JsonbValue *constants;
	bool		unordered = item->type == CLINICAL_ITEM_TEXT || item->type == CLINICAL_ITEM_URI || item->type == CLINICAL_ITEM_CODED;

	clinical_shape_read(place, json, check_keys, lengthof(check_keys), values);
	check->id = values[CHECK_ID].type == jbvNull ? psprintf("check-%d", number) :
		clinical_read_code(place, "id", &values[CHECK_ID]);
	check->comparator = (ClinicalComparator) clinical_shape_choice(place, "comparator", &values[CHECK_COMPARATOR],
																   comparators, lengthof(comparators));
	check->hard = clinical_shape_choice(place, "soft_hard", &values[CHECK_SOFT_HARD], strengths, lengthof(strengths)) == 1;
	check->message = clinical_shape_text(&values[CHECK_MESSAGE]);
	check->nvalues = clinical_shape_elements(&values[CHECK_VALUES], &constants);
	if (check->nvalues == 0 || (check->nvalues > 1 && check->comparator != CLINICAL_IN && check->comparator != CLINICAL_NOTIN))
		clinical_shape_error(place, "Key \"values\" must have one value, or with IN and NOTIN at least one.");
	if (unordered && check->comparator <= CLINICAL_GE)
		clinical_shape_error(place, "Items of type \"%s\" have no order: comparators are EQ, NE, IN, NOTIN.",
							 clinical_item_types[item->type]);
	if (item->type == CLINICAL_ITEM_QUANTITY && item->nunits == 0)
		clinical_shape_error(place, "Checks of an item of type \"quantity\" need its unit.");
	check->values = palloc0_array(ClinicalValue, check->nvalues);
	for (int i = 0; i < check->nvalues; i++)
		clinical_read_constant(compiler, item, "values", &constants[i], &check->values[i]);
}

/* Read an item's range checks. */
static void
read_checks(Compiler *compiler, ClinicalItem *item, const JsonbValue *array)
{
	JsonbValue *elements;

	item->nchecks = clinical_shape_elements(array, &elements);
	if (item->nchecks > MAX_CHECKS)
		clinical_shape_error(&compiler->place, "There are more than %d checks.", MAX_CHECKS);
	item->checks = palloc0_array(ClinicalCheck, item->nchecks + 1);
	for (int i = 0; i < item->nchecks; i++)
	{
		read_check(compiler, item, &elements[i], i + 1, &item->checks[i]);
		for (int j = 0; j < i; j++)
		{
			if (strcmp(item->checks[i].id, item->checks[j].id) == 0)
				clinical_shape_error(&compiler->place, "Check \"%s\" is there twice.", item->checks[i].id);
		}
	}
}

/* Make room for the items of a definition. */
static void
prepare(Compiler *compiler, const JsonbValue *items)
{
	ClinicalInstrument *instrument = compiler->instrument;
	int			count = count_items(&compiler->place, items, 1);
	uint32		size = 2;

	if (count == 0)
		clinical_shape_error(&compiler->place, "Key \"items\" must not be empty.");
	while (size < (uint32) count * 2)
		size *= 2;
	instrument->mask = size - 1;
	instrument->table = palloc_array(int, size);
	memset(instrument->table, -1, size * sizeof(int));
	instrument->items = palloc0_array(ClinicalItem, count);
	instrument->scopes = palloc0_array(ClinicalScope, count + 1);
	compiler->sources = palloc0_array(JsonbValue *, count);
	(void) add_scope(compiler, -1);
}

/* Fill in an instrument; the current memory is its own. */
static void
compile(Compiler *compiler, Jsonb *definition)
{
	ClinicalInstrument *instrument = compiler->instrument;
	JsonbValue	root;
	JsonbValue	values[lengthof(definition_keys)];
	JsonbValue	contained;

	clinical_json_value(definition, &root);
	clinical_shape_read(&compiler->place, &root, definition_keys, lengthof(definition_keys), values);
	instrument->code = clinical_read_code(&compiler->place, "code", &values[DEFINITION_CODE]);
	instrument->version = clinical_read_code(&compiler->place, "version", &values[DEFINITION_VERSION]);
	instrument->url = clinical_shape_text(&values[DEFINITION_URL]);
	instrument->largest = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum("1e30"),
															  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	instrument->smallest = DatumGetNumeric(DirectFunctionCall1(numeric_uminus, NumericGetDatum(instrument->largest)));
	clinical_check_codings(&compiler->place, &values[DEFINITION_CODES]);
	clinical_fhir_check_kept(&compiler->place, CLINICAL_FHIR_QUESTIONNAIRE, &values[DEFINITION_FHIR], false, false);
	compiler->contained = clinical_json_get(&values[DEFINITION_FHIR], "contained", &contained);
	if (compiler->contained != NULL && compiler->contained->type == jbvNull)
		compiler->contained = NULL;
	clinical_fhir_check_contained(&compiler->place, compiler->contained, NULL);
	prepare(compiler, &values[DEFINITION_ITEMS]);
	read_items(compiler, &values[DEFINITION_ITEMS], -1, 0);
	number_slots(instrument);
	for (int i = 0; i < instrument->nitems; i++)
	{
		compiler->place.where = psprintf("Item \"%s\"", instrument->items[i].code);
		read_checks(compiler, &instrument->items[i], &compiler->sources[i][ITEM_CHECKS]);
		clinical_read_conditions(compiler, &instrument->items[i], &compiler->sources[i][ITEM_ENABLE_WHEN],
								 &compiler->sources[i][ITEM_ENABLE_BEHAVIOR]);
	}
	clinical_check_dependencies(compiler);
	compiler->place.where = NULL;
	clinical_read_scores(compiler, &values[DEFINITION_SCORES]);
}

/* Compile a definition into memory of its own; an error, of that message, if it breaks a rule. */
ClinicalInstrument *
clinical_instrument_compile(Jsonb *definition, MemoryContext parent, const char *message)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "clinical instrument", ALLOCSET_SMALL_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(context);
	Compiler	compiler = {.place = {message, NULL}};

	compiler.instrument = palloc0_object(ClinicalInstrument);
	compiler.instrument->context = context;
	compile(&compiler, definition);
	MemoryContextSwitchTo(outer);
	/* only what is sound outlives an error */
	MemoryContextSetParent(context, parent);
	return compiler.instrument;
}
