/*-------------------------------------------------------------------------
 *
 * fuzz.c
 *		A libFuzzer target of the validator and of definitions, inside a server
 *		process: what runs is the extension itself, on real jsonb and real numbers.
 *
 * The first byte of an input says what the others are: the text of a report, a
 * report that they steer the making of, edits of a sound definition, edits of
 * a FHIR questionnaire, or edits of a monitoring rule.  An error that is the caller's is an answer; anything
 * else ends the process, and libFuzzer writes the input to a file.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "../../src/instrument_fhir.h"
#include "../../src/monitor.h"

PG_FUNCTION_INFO_V1(clinical_fuzz);

extern int	LLVMFuzzerRunDriver(int *argc, char ***argv, int (*run) (const uint8_t *, size_t));

#define MAX_DEFINITIONS 32
#define MAX_DEPTH 12

/* What is left of an input */
typedef struct Input
{
	const uint8_t *at;
	const uint8_t *end;
} Input;

static bool sound = false;		/* nothing may be refused now */
static int	ndefinitions = 0;
static Jsonb *definitions[MAX_DEFINITIONS];
static ClinicalInstrument *instruments[MAX_DEFINITIONS];

/* What keys and strings are made of, beside the codes of the instruments */
static const char *const words[] = {
	"value", "unit", "absent", "items", "text", "resourceType", "QuestionnaireResponse", "status", "completed", "item", "linkId", "answer",
	"valueInteger", "valueDecimal", "valueString", "valueBoolean", "valueDate", "valueDateTime", "valueTime", "valueUri", "valueCoding",
	"valueQuantity", "_valueInteger", "valueAttachment", "code", "system", "display", "extension", "url", "valueCode", "modifierExtension",
	"http://hl7.org/fhir/StructureDefinition/data-absent-reason", "unknown", "comparator", "questionnaire", "http://unitsofmeasure.org", "kPa", "mm[Hg]", "g",
	"[degF]", "2012-02-29", "2012-02", "2013-02-29", "9999-12-31", "2025-03-30T02:30:00.123456+02:00", "2025-03-30T02:30:00Z", "12:59:60", "", "a", "x",
	"\xc3\xa4\xc3\xb6", "0", "1", "type", "label", "required", "repeats", "min_repeats", "max_repeats", "hidden", "units", "decimals", "max_length", "partial",
	"code_list", "code_type", "open", "checks", "comparator", "values", "soft_hard", "Soft", "Hard", "LT", "LE", "GT", "GE", "EQ", "NE", "IN", "NOTIN", "id",
	"message", "enable_when", "enable_behavior", "any", "all", "operator", "exists", "=", "!=", ">", "<=", "codes", "fhir", "factor", "offset", "scores",
	"method", "sum", "mean", "prorated", "min_answered", "maxima", "version", "title", "group", "display", "boolean", "integer", "decimal", "quantity", "uri",
	"date", "dateTime", "time", "coded", "string", "choice", "open-choice", "coding", "answerOption", "option", "answerValueSet", "#v", "enableWhen",
	"question", "hasAnswer", "answerInteger", "answerCoding", "answerQuantity", "enableBehavior", "maxLength", "prefix", "initial", "answerConstraint",
	"optionsOrString", "urn:clinical:item", "urn:clinical:instrument", "{\"checks\": null}", FHIR_MIN_VALUE, FHIR_MAX_VALUE, FHIR_UNIT, FHIR_UNIT_OPTION,
	FHIR_ORDINAL, FHIR_HIDDEN, FHIR_MAX_DECIMALS, FHIR_MAX_OCCURS, "contained", "ValueSet", "expansion", "contains", "compose", "include", "concept",
	"kind", "streak", "threshold", "k_of_w", "baseline_change", "missing_entries", "graded", "range", "[0,1]", "(,5)", "[90,140)", "( -1.5 , 2 ]", "[,]", "[5,1]",
	"[99999999999999999999999999999999,)", "grades", "days", "k", "w", "absolute", "percent", "baseline", "first", "instrument", "entries", "aggregate", "median",
	"min", "max", "last", "gap", "day_start", "04:00", "24:00", "min_readings", "clear", "cooldown_days", "escalate_after", "24 hours", "PT1H", "1 mon", "-1 day",
	"99999999999 days", "2147483648 hours", "P1Y2M", "severity", "critical", "project", "evaluate"
};

/* Rules to edit: of each kind one */
static const char *const rule_texts[] = {
	"{\"code\": \"r\", \"kind\": \"streak\", \"severity\": \"info\", \"items\": [{\"item\": \"a\", \"range\": \"[90,140]\"}, {\"item\": \"b\", \"range\": \"(,5)\"}],"
	" \"days\": 3, \"aggregate\": \"mean\", \"gap\": 1, \"day_start\": \"04:00\", \"min_readings\": 2, \"escalate_after\": [\"24 hours\", \"PT48H\"],"
	" \"clear\": {\"items\": [{\"item\": \"a\", \"range\": \"[95,135]\"}], \"days\": 2}, \"cooldown_days\": 7, \"evaluate\": false, \"project\": \"p\"}",
	"{\"code\": \"r\", \"kind\": \"threshold\", \"severity\": \"critical\", \"items\": [{\"item\": \"a\", \"range\": \"[0,1]\"}]}",
	"{\"code\": \"r\", \"kind\": \"k_of_w\", \"severity\": \"info\", \"items\": [{\"item\": \"a\", \"range\": \"[0,1]\"}], \"k\": 2, \"w\": 7}",
	"{\"code\": \"r\", \"kind\": \"baseline_change\", \"severity\": \"info\", \"items\": [{\"item\": \"a\"}], \"percent\": \"[-5,5]\", \"baseline\": \"first\"}",
	"{\"code\": \"r\", \"kind\": \"missing_entries\", \"severity\": \"info\", \"instrument\": \"i\", \"entries\": 3}",
	"{\"code\": \"r\", \"kind\": \"graded\", \"severity\": \"info\", \"items\": [{\"item\": \"a\", \"grades\": [\"[0,1]\", \"[0,2]\"]}, {\"item\": \"b\", \"grades\": [\"(0,1]\", \"[0,1]\"]}]}",
};

static const char *const numbers[] = {"0", "-1", "1", "3", "7", "10.5", "1e29", "1e131071", "1e-16383", "-99999999999999999999.99999999999999999999", "1000000", "0.1"};

/* The next byte, 0 at the end. */
static int
next(Input *input)
{
	return input->at < input->end ? *input->at++ : 0;
}

/* A string of the list, a code of an instrument, or some bytes of the input. */
static void
make_string(Input *input, const ClinicalInstrument *instrument, JsonbValue *value)
{
	int			choice = next(input);
	const char *chosen;

	if (choice < 100 && instrument != NULL)
		chosen = instrument->items[(choice + next(input)) % instrument->nitems].code;
	else if (choice < 240)
		chosen = words[(choice * 3 + next(input)) % lengthof(words)];
	else
	{
		int			length = Min(next(input), (int) (input->end - input->at));
		char	   *copy = pnstrdup((const char *) input->at, length);

		input->at += length;
		chosen = strlen(copy) > 0 && pg_verify_mbstr(PG_UTF8, copy, strlen(copy), true) ? copy : "?";
	}
	value->type = jbvString;
	value->val.string.val = unconstify(char *, chosen);
	value->val.string.len = strlen(chosen);
}

/* Make a value that the input steers. */
static JsonbValue *
make_value(Input *input, const ClinicalInstrument *instrument, JsonbParseState **state, JsonbIteratorToken token, int depth)
{
	JsonbValue	value;
	int			kind = next(input) % 16;
	int			count;

	if (depth > MAX_DEPTH && kind >= 10)
		kind %= 10;
	switch (kind)
	{
		case 0:
			value.type = jbvNull;
			break;
		case 1:
			value.type = jbvBool;
			value.val.boolean = (next(input) & 1) != 0;
			break;
		case 2:
		case 3:
			value.type = jbvNumeric;
			value.val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(numbers[next(input) % lengthof(numbers)]),
																	ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
			break;
		case 4:
		case 5:
			value.type = jbvNumeric;
			value.val.numeric = int64_to_numeric(next(input));
			break;
		case 10:
		case 11:
			count = next(input) % 5;
			pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
			for (int i = 0; i < count; i++)
				make_value(input, instrument, state, WJB_ELEM, depth + 1);
			return pushJsonbValue(state, WJB_END_ARRAY, NULL);
		case 12:
		case 13:
		case 14:
		case 15:
			count = next(input) % 8;
			pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
			for (int i = 0; i < count; i++)
			{
				JsonbValue	key;

				make_string(input, instrument, &key);
				pushJsonbValue(state, WJB_KEY, &key);
				make_value(input, instrument, state, WJB_VALUE, depth + 1);
			}
			return pushJsonbValue(state, WJB_END_OBJECT, NULL);
		default:
			make_string(input, instrument, &value);
			break;
	}
	return pushJsonbValue(state, token, &value);
}

/* Make an object that the input steers. */
static Jsonb *
make_object(Input *input, const ClinicalInstrument *instrument)
{
	JsonbParseState *state = NULL;
	int			count = 1 + next(input) % 12;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < count; i++)
	{
		JsonbValue	key;

		make_string(input, instrument, &key);
		pushJsonbValue(&state, WJB_KEY, &key);
		make_value(input, instrument, &state, WJB_VALUE, 1);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Copy a document; where the input says so, a value is another, is gone, or has one more beside it. */
static JsonbValue *
edit(Input *input, JsonbParseState **state, const JsonbValue *value, JsonbIteratorToken token, const ClinicalInstrument *instrument)
{
	JsonbValue	copy = *value;
	JsonbIterator *iterator;
	JsonbValue	key;
	JsonbValue	member;
	JsonbValue *elements;
	int			count;

	if (token != WJB_DONE && next(input) == 255)
		return make_value(input, instrument, state, token, 1);
	if (value->type != jbvBinary)
		return pushJsonbValue(state, token, &copy);
	if (clinical_json_object(value) == NULL)
	{
		count = clinical_shape_elements(value, &elements);
		pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
		for (int i = 0; i < count; i++)
		{
			if (next(input) != 254)
				edit(input, state, &elements[i], WJB_ELEM, instrument);
		}
		return pushJsonbValue(state, WJB_END_ARRAY, NULL);
	}
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	iterator = JsonbIteratorInit(clinical_json_object(value));
	while (clinical_json_next(&iterator, &key, &member))
	{
		int			choice = next(input);

		if (choice == 253)
		{
			JsonbValue	other;

			make_string(input, instrument, &other);
			pushJsonbValue(state, WJB_KEY, &other);
			make_value(input, instrument, state, WJB_VALUE, 1);
		}
		if (choice == 254)
			continue;
		pushJsonbValue(state, WJB_KEY, &key);
		edit(input, state, &member, WJB_VALUE, instrument);
	}
	return pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* A document with the input's edits. */
static Jsonb *
edited(Input *input, Jsonb *document, const ClinicalInstrument *instrument)
{
	JsonbParseState *state = NULL;
	JsonbValue	root;

	clinical_json_value(document, &root);
	return JsonbValueToJsonb(edit(input, &state, &root, WJB_DONE, instrument));
}

/* End the process unless something holds. */
static void
insist(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "does not hold: %s\n", what);
	abort();
}

/* Are two documents the same? */
static bool
same(Jsonb *a, Jsonb *b)
{
	return VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0;
}

/* What must hold of every verdict. */
static void
check_verdict(const ClinicalInstrument *instrument, const ClinicalVerdict *verdict)
{
	bool		hard = false;

	insist(verdict->nfindings <= 1001, "findings are bounded");
	for (int i = 0; i < verdict->nfindings; i++)
	{
		const ClinicalFinding *finding = &verdict->findings[i];

		hard = hard || finding->hard;
		insist(finding->reason != NULL && finding->check != NULL, "a finding has a reason and a check");
		insist(list_length(finding->path) < 4 * CLINICAL_MAX_DEPTH, "paths are no deeper than definitions");
	}
	insist(verdict->valid == !hard, "valid is without hard findings");
	for (int i = 0; i < verdict->nobservations; i++)
	{
		const ClinicalObservation *observation = &verdict->observations[i];

		insist(observation->item >= instrument->items && observation->item < instrument->items + instrument->nitems, "observations are of items");
		insist((observation->value == NULL) == (observation->absent != NULL), "a value, or a reason for none");
	}
	insist(verdict->nscored == instrument->nscores, "each score has its place");
}

/* Validate a report, twice: what is found is the same. */
static void
validate(const ClinicalInstrument *instrument, Jsonb *report)
{
	ClinicalVerdict first;
	ClinicalVerdict second;

	if (!JB_ROOT_IS_OBJECT(report))
		return;
	clinical_validate(instrument, report, &first);
	check_verdict(instrument, &first);
	clinical_validate(instrument, report, &second);
	insist(first.nobservations == second.nobservations && first.nfindings == second.nfindings && first.valid == second.valid, "verdicts are repeatable");
}

/* A definition that compiles is canonical once, and comes back from FHIR as it was. */
static void
check_definition(Input *input, Jsonb *definition)
{
	ClinicalInstrument *instrument = clinical_instrument_compile(definition, CurrentMemoryContext, CLINICAL_BAD_DEFINITION);
	Jsonb	   *canonical = clinical_instrument_canonical(definition);

	(void) clinical_instrument_compile(canonical, CurrentMemoryContext, CLINICAL_BAD_DEFINITION);
	insist(same(canonical, clinical_instrument_canonical(canonical)), "canonical is canonical");
	sound = true;
	for (int r5 = 0; r5 <= 1; r5++)
	{
		Jsonb	   *questionnaire = clinical_fhir_questionnaire(canonical, r5 == 1);
		Jsonb	   *back = clinical_instrument_canonical(clinical_fhir_definition(questionnaire, NULL, NULL));

		if (!same(canonical, back))
			fprintf(stderr, "%s\n%s\n%s\n", JsonbToCString(NULL, &canonical->root, 0), JsonbToCString(NULL, &questionnaire->root, 0),
					JsonbToCString(NULL, &back->root, 0));
		insist(same(canonical, back), "import of the export is the same definition");
	}
	sound = false;
	validate(instrument, make_object(input, instrument));
}

/* A range has its bounds where they are included. */
static void
check_range(const ClinicalRange *range)
{
	insist(range != NULL && (range->lower != NULL || range->upper != NULL), "a range has a bound");
	insist(clinical_range_within(range, range), "a range lies within itself");
	for (int upper = 0; upper <= 1; upper++)
	{
		Numeric		bound = upper ? range->upper : range->lower;
		const void *bounds[3] = {bound, bound, bound};
		bool		inclusive = upper ? range->upper_inclusive : range->lower_inclusive;

		if (bound == NULL)
			continue;
		insist(clinical_range_contains(range, bound) == inclusive, "an inclusive bound is in the range");
		insist(clinical_monitor_ops.inside(bounds, 3, range) == inclusive, "and so is the mean of three of it");
	}
}

/* A rule that compiles has what the engine needs. */
static void
check_rule(Jsonb *definition)
{
	const ClinicalMonitor *monitor = clinical_monitor_compile(definition, CurrentMemoryContext);
	const StreakRule *rule = &monitor->rule;

	insist(rule->nitems >= 1 && rule->nitems <= STREAK_MAX_ITEMS, "items");
	insist(rule->ngrades >= 1 && rule->ngrades <= STREAK_MAX_GRADES, "grades");
	insist(rule->days >= 1 && rule->gap >= 0 && rule->min_readings >= 1, "counts");
	insist(rule->pattern != STREAK_K_OF_W || rule->days <= rule->window, "k of w");
	insist(monitor->day_start >= 0 && monitor->day_start < 24 * 60, "day start");
	for (int i = 0; i < monitor->nescalations; i++)
		insist(monitor->escalate_after[i] > (i == 0 ? 0 : monitor->escalate_after[i - 1]), "escalations rise");
	for (int i = 0; i < rule->nitems; i++)
	{
		insist(monitor->items[i] != NULL, "items have codes");
		for (int grade = 0; grade < rule->ngrades; grade++)
			check_range(rule->ranges[i][grade]);
		if (rule->clear_days > 0)
		{
			check_range(rule->clear_ranges[i]);
			insist(clinical_range_within(rule->clear_ranges[i], rule->ranges[i][0]), "what clears is normal");
		}
	}
}

/* Do what an input says. */
static void
run(const uint8_t *data, size_t size)
{
	Input		input = {data, data + size};
	int			mode = next(&input);
	int			which = next(&input) % ndefinitions;
	Jsonb	   *document;

	if ((mode & 8) != 0)
	{
		const char *text = rule_texts[mode / 16 % lengthof(rule_texts)];

		document = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
		check_rule(edited(&input, document, instruments[which]));
		return;
	}
	switch (mode % 4)
	{
		case 0:
			document = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(pnstrdup((const char *) input.at, input.end - input.at))));
			validate(instruments[which], document);
			break;
		case 1:
			validate(instruments[which], make_object(&input, instruments[which]));
			break;
		case 2:
			check_definition(&input, edited(&input, definitions[which], instruments[which]));
			break;
		default:
			document = clinical_fhir_questionnaire(definitions[which], (mode & 4) != 0);
			check_definition(&input, clinical_fhir_definition(edited(&input, document, instruments[which]), NULL, NULL));
			break;
	}
}

/* libFuzzer: one input; errors that are the caller's are answers. */
static int
run_input(const uint8_t *data, size_t size)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "fuzz", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(context);

	sound = false;
	PG_TRY();
	{
		run(data, size);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		if (sound || ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INTERNAL_ERROR)
			fprintf(stderr, "%s: %s\n", error->message, error->detail != NULL ? error->detail : "");
		insist(!sound, "what was exported is imported");
		insist(ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_INTERNAL_ERROR, "errors are the caller's");
	}
	PG_END_TRY();
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(context);
	return 0;
}

/* SQL: fuzz with these definitions and arguments of libFuzzer; the process ends. */
Datum
clinical_fuzz(PG_FUNCTION_ARGS)
{
	Datum	   *elements;
	int			count;
	char	  **arguments;

	MemoryContextSwitchTo(TopMemoryContext);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), JSONBOID, -1, false, TYPALIGN_INT, &elements, NULL, &count);
	for (ndefinitions = 0; ndefinitions < Min(count, MAX_DEFINITIONS); ndefinitions++)
	{
		definitions[ndefinitions] = DatumGetJsonbPCopy(elements[ndefinitions]);
		instruments[ndefinitions] = clinical_instrument_compile(definitions[ndefinitions], TopMemoryContext, CLINICAL_BAD_DEFINITION);
	}
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &count);
	arguments = palloc_array(char *, count + 2);
	arguments[0] = pstrdup("fuzz");
	for (int i = 0; i < count; i++)
		arguments[i + 1] = TextDatumGetCString(elements[i]);
	arguments[count + 1] = NULL;
	count++;
	(void) LLVMFuzzerRunDriver(&count, &arguments, run_input);
	PG_RETURN_VOID();
}
