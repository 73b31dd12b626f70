/*-------------------------------------------------------------------------
 *
 * instrument_score.c
 *		Scores that are derived from answers: reading what they are made of,
 *		and computing them, exactly.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "instrument_answer.h"
#include "instrument_compile.h"

/* More than anybody needs */
#define MAX_SCORES 100

static const char *const methods[] = {"sum", "mean", "prorated"};

enum
{
	SCORE_CODE, SCORE_LABEL, SCORE_METHOD, SCORE_ITEMS, SCORE_MIN_ANSWERED, SCORE_DECIMALS, SCORE_UNIT, SCORE_CODES,
	SCORE_MAXIMA,
};
static const ClinicalKey score_keys[] = {
	{"code", CLINICAL_SHAPE_TEXT, true}, {"label", CLINICAL_SHAPE_TEXT}, {"method", CLINICAL_SHAPE_TEXT, true},
	{"items", CLINICAL_SHAPE_ARRAY, true}, {"min_answered", CLINICAL_SHAPE_COUNT}, {"decimals", CLINICAL_SHAPE_COUNT},
	{"unit", CLINICAL_SHAPE_TEXT}, {"codes", CLINICAL_SHAPE_ARRAY}, {"maxima", CLINICAL_SHAPE_ARRAY},
};

/* Has an item a number, or a code with one, to add up? */
static bool
can_be_scored(const ClinicalItem *item)
{
	if (item->type == CLINICAL_ITEM_QUANTITY)
		return item->nunits > 0;
	if (item->type != CLINICAL_ITEM_CODED)
		return item->type == CLINICAL_ITEM_INTEGER || item->type == CLINICAL_ITEM_DECIMAL || item->type == CLINICAL_ITEM_BOOLEAN;
	for (int i = 0; i < item->ncodes; i++)
	{
		if (item->codes[i].score != NULL)
			return true;
	}
	return false;
}

/* Read the items of a score. */
static void
read_score_items(Compiler *compiler, ClinicalScore *score, const JsonbValue *array)
{
	JsonbValue *elements;

	score->nitems = clinical_shape_elements(array, &elements);
	score->items = palloc_array(int, score->nitems + 1);
	if (score->nitems == 0)
		clinical_shape_error(&compiler->place, "Key \"items\" must not be empty.");
	for (int i = 0; i < score->nitems; i++)
	{
		const ClinicalItem *item = elements[i].type != jbvString ? NULL :
		clinical_instrument_item(compiler->instrument, elements[i].val.string.val, elements[i].val.string.len);

		if (item == NULL)
			clinical_shape_error(&compiler->place, "Key \"items\" must have codes of items.");
		if (item->scope != 0 || item->repeats)
			clinical_shape_error(&compiler->place, "Item \"%s\" repeats, so it has no one value.", item->code);
		if (!can_be_scored(item))
			clinical_shape_error(&compiler->place, "Item \"%s\" has neither numbers nor codes with a score.", item->code);
		for (int j = 0; j < i; j++)
		{
			if (score->items[j] == item->index)
				clinical_shape_error(&compiler->place, "Item \"%s\" is there twice.", item->code);
		}
		score->items[i] = item->index;
	}
}

/* Read what each item of a prorated score can add at most. */
static void
read_maxima(Compiler *compiler, ClinicalScore *score, const JsonbValue *array)
{
	JsonbValue *elements;
	int			count = clinical_shape_elements(array, &elements);

	if (array->type == jbvNull)
		return;
	if (score->method != CLINICAL_PRORATED || count != score->nitems)
		clinical_shape_error(&compiler->place, "Key \"maxima\" is for method \"prorated\", and must have a number for each item.");
	score->maxima = palloc_array(Numeric, count);
	for (int i = 0; i < count; i++)
	{
		if (elements[i].type != jbvNumeric ||
			DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(elements[i].val.numeric),
											  NumericGetDatum(int64_to_numeric(0)))) <= 0)
			clinical_shape_error(&compiler->place, "Key \"maxima\" must have numbers above 0.");
		score->maxima[i] = clinical_read_number(compiler, "maxima", &elements[i]);
	}
}

/* Read the derived scores. */
void
clinical_read_scores(Compiler *compiler, const JsonbValue *array)
{
	ClinicalInstrument *instrument = compiler->instrument;
	JsonbValue *elements;

	instrument->nscores = clinical_shape_elements(array, &elements);
	if (instrument->nscores > MAX_SCORES)
		clinical_shape_error(&compiler->place, "There are more than %d scores.", MAX_SCORES);
	instrument->scores = palloc0_array(ClinicalScore, instrument->nscores + 1);
	for (int i = 0; i < instrument->nscores; i++)
	{
		ClinicalScore *score = &instrument->scores[i];
		JsonbValue	values[lengthof(score_keys)];

		compiler->place.where = psprintf("Score %d", i + 1);
		clinical_shape_read(&compiler->place, &elements[i], score_keys, lengthof(score_keys), values);
		score->code = clinical_read_code(&compiler->place, "code", &values[SCORE_CODE]);
		compiler->place.where = psprintf("Score \"%s\"", score->code);
		if (clinical_instrument_item(instrument, score->code, strlen(score->code)) != NULL)
			clinical_shape_error(&compiler->place, "There is an item with this code.");
		for (int j = 0; j < i; j++)
		{
			if (strcmp(instrument->scores[j].code, score->code) == 0)
				clinical_shape_error(&compiler->place, "There are two scores with this code.");
		}
		score->method = (ClinicalScoreMethod) clinical_shape_choice(&compiler->place, "method", &values[SCORE_METHOD],
																	methods, lengthof(methods));
		score->min_answered = clinical_shape_count(&values[SCORE_MIN_ANSWERED], -1);
		score->decimals = clinical_shape_count(&values[SCORE_DECIMALS], -1);
		if (score->decimals > 30)
			clinical_shape_error(&compiler->place, "Key \"decimals\" must be at most 30.");
		score->unit = clinical_shape_text(&values[SCORE_UNIT]);
		clinical_check_codings(&compiler->place, &values[SCORE_CODES]);
		read_score_items(compiler, score, &values[SCORE_ITEMS]);
		read_maxima(compiler, score, &values[SCORE_MAXIMA]);
		if (score->min_answered == 0 || score->min_answered > score->nitems)
			clinical_shape_error(&compiler->place, "Key \"min_answered\" must be from 1 to the number of items.");
	}
}

/* What an item of a score adds to it; NULL: it has no value. */
static Numeric
score_part(const ClinicalItem *item, const Slot *slot)
{
	const Answer *answer = slot->first;

	if (answer == NULL || answer->absent != NULL || answer->fault.reason != NULL || answer->refused)
		return NULL;
	if (item->type == CLINICAL_ITEM_CODED)
		return answer->value.code >= 0 ? item->codes[answer->value.code].score : NULL;
	if (item->type == CLINICAL_ITEM_BOOLEAN)
		return int64_to_numeric(answer->value.low);
	return answer->value.number;
}

/* What a score is made of so far */
typedef struct Parts
{
	Datum		sum;
	Datum		answered;		/* items, or what they can add at most */
	Datum		shown;
	int			nanswered;
	int			nshown;
} Parts;

/* The sum of two numbers. */
static Datum
plus(Datum a, Datum b)
{
	return DirectFunctionCall2(numeric_add, a, b);
}

/* Add one item of a score to its parts, if it is shown. */
static void
add_part(Reading *reading, const ClinicalScore *score, int number, Parts *parts)
{
	const ClinicalItem *item = &reading->instrument->items[score->items[number]];
	Datum		weight = NumericGetDatum(score->maxima == NULL ? int64_to_numeric(1) : score->maxima[number]);
	Numeric		value;

	if (!clinical_is_shown(reading, item, reading->form))
		return;
	parts->nshown++;
	parts->shown = plus(parts->shown, weight);
	value = score_part(item, &reading->form->slots[item->slot]);
	if (value == NULL)
		return;
	parts->nanswered++;
	parts->answered = plus(parts->answered, weight);
	parts->sum = plus(parts->sum, NumericGetDatum(value));
}

/* Compute a score; items that are not shown are neither answered nor missing. */
Numeric
clinical_compute_score(Reading *reading, const ClinicalScore *score)
{
	Datum		zero = NumericGetDatum(int64_to_numeric(0));
	Parts		parts = {zero, zero, zero, 0, 0};
	Datum		result;

	for (int i = 0; i < score->nitems; i++)
		add_part(reading, score, i, &parts);
	if (parts.nanswered == 0 ||
		parts.nanswered < (score->min_answered < 0 ? parts.nshown : Min(score->min_answered, parts.nshown)))
		return NULL;
	result = parts.sum;
	if (score->method == CLINICAL_PRORATED)
		result = DirectFunctionCall2(numeric_mul, result, parts.shown);
	if (score->method != CLINICAL_SUM)
		result = DirectFunctionCall2(numeric_div, result, parts.answered);
	if (score->decimals >= 0)
		result = DirectFunctionCall2(numeric_round, result, Int32GetDatum(score->decimals));
	return DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale, result));
}
