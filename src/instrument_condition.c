/*-------------------------------------------------------------------------
 *
 * instrument_condition.c
 *		Conditions under which items are shown (FHIR enableWhen): reading them,
 *		and whether they hold.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "instrument_answer.h"
#include "instrument_compile.h"

/* So deep what is shown may depend on other answers */
#define MAX_DEPENDENCIES 100

static const char *const operators[] = {"<", "<=", ">", ">=", "=", "!=", "exists"};
static const ClinicalComparator operator_meanings[] = {CLINICAL_LT, CLINICAL_LE, CLINICAL_GT,
CLINICAL_GE, CLINICAL_EQ, CLINICAL_NE, CLINICAL_EXISTS};
static const char *const behaviors[] = {"all", "any"};

enum
{
	CONDITION_ITEM, CONDITION_OPERATOR, CONDITION_ANSWER,
};
static const ClinicalKey condition_keys[] = {
	{"item", CLINICAL_SHAPE_TEXT, true}, {"operator", CLINICAL_SHAPE_TEXT, true},
	{"answer", CLINICAL_SHAPE_SCALAR, true},
};

/* Is a scope the other one, or around it? */
static bool
scope_surrounds(const ClinicalInstrument *instrument, int outer, int inner)
{
	while (inner != outer && instrument->scopes[inner].owner >= 0)
		inner = instrument->items[instrument->scopes[inner].owner].scope;
	return inner == outer;
}

/* Read one condition of being shown. */
static void
read_condition(Compiler *compiler, const ClinicalItem *item, const JsonbValue *json, ClinicalCondition *condition)
{
	const ClinicalPlace *place = &compiler->place;
	JsonbValue	values[lengthof(condition_keys)];
	const ClinicalItem *other;

	clinical_shape_read(place, json, condition_keys, lengthof(condition_keys), values);
	other = clinical_instrument_item(compiler->instrument, values[CONDITION_ITEM].val.string.val,
									 values[CONDITION_ITEM].val.string.len);
	if (other == NULL || other->type == CLINICAL_ITEM_GROUP || other->type == CLINICAL_ITEM_DISPLAY)
		clinical_shape_error(place, "The condition's \"item\" is none that can be answered.");
	if (!scope_surrounds(compiler->instrument, other->scope, item->scope))
		clinical_shape_error(place, "The condition's \"item\" \"%s\" repeats independently of this one.", other->code);
	condition->item = other->index;
	condition->comparator = operator_meanings[clinical_shape_choice(place, "operator", &values[CONDITION_OPERATOR],
																	operators, lengthof(operators))];
	if (condition->comparator == CLINICAL_EXISTS)
	{
		if (values[CONDITION_ANSWER].type != jbvBool)
			clinical_shape_error(place, "Key \"answer\" of \"exists\" must be true or false.");
		condition->value.low = values[CONDITION_ANSWER].val.boolean;
		return;
	}
	if (condition->comparator <= CLINICAL_GE &&
		(other->type == CLINICAL_ITEM_TEXT || other->type == CLINICAL_ITEM_URI || other->type == CLINICAL_ITEM_CODED))
		clinical_shape_error(place, "Items of type \"%s\" have no order: operators are =, != and exists.",
							 clinical_item_types[other->type]);
	if (other->type == CLINICAL_ITEM_QUANTITY && other->nunits == 0)
		clinical_shape_error(place, "Conditions on an item of type \"quantity\" need its unit.");
	clinical_read_constant(compiler, other, "answer", &values[CONDITION_ANSWER], &condition->value);
}

/* Read an item's conditions of being shown. */
void
clinical_read_conditions(Compiler *compiler, ClinicalItem *item, const JsonbValue *array, const JsonbValue *behavior)
{
	JsonbValue *elements;

	item->nconditions = clinical_shape_elements(array, &elements);
	item->conditions = palloc0_array(ClinicalCondition, item->nconditions + 1);
	if (item->nconditions > 0)
		compiler->instrument->conditional = true;
	if (behavior->type != jbvNull)
		item->any_condition = clinical_shape_choice(&compiler->place, "enable_behavior", behavior,
													behaviors, lengthof(behaviors)) == 1;
	if (item->any_condition && item->nconditions == 0)
		clinical_shape_error(&compiler->place, "Key \"enable_behavior\" needs \"enable_when\".");
	for (int i = 0; i < item->nconditions; i++)
		read_condition(compiler, item, &elements[i], &item->conditions[i]);
}

/*
 * Whether an item is shown must not depend on itself, by conditions and by
 * parents; depths: 0 not looked at, -1 being looked at, else how many items
 * come one after the other.
 */
static int
dependency_depth(Compiler *compiler, int index, int *depths)
{
	const ClinicalItem *item = &compiler->instrument->items[index];
	int			depth = 0;

	if (depths[index] > 0)
		return depths[index];
	if (depths[index] < 0)
	{
		compiler->place.where = psprintf("Item \"%s\"", item->code);
		clinical_shape_error(&compiler->place, "Whether this item is shown depends on itself.");
	}
	check_stack_depth();
	depths[index] = -1;
	if (item->parent >= 0)
		depth = dependency_depth(compiler, item->parent, depths);
	for (int i = 0; i < item->nconditions; i++)
		depth = Max(depth, dependency_depth(compiler, item->conditions[i].item, depths));
	depths[index] = depth + 1;
	if (depth >= MAX_DEPENDENCIES)
	{
		compiler->place.where = psprintf("Item \"%s\"", item->code);
		clinical_shape_error(&compiler->place, "Whether this item is shown depends on more than %d others, one after the other.",
							 MAX_DEPENDENCIES);
	}
	return depths[index];
}

/* Raise an error where what is shown depends on itself, or on too many others. */
void
clinical_check_dependencies(Compiler *compiler)
{
	int		   *depths = palloc0_array(int, compiler->instrument->nitems);

	for (int i = 0; i < compiler->instrument->nitems; i++)
		(void) dependency_depth(compiler, i, depths);
}

/* The repeat, this one or one around it, that has an item's answers. */
Instance *
clinical_instance_of(const Reading *reading, const ClinicalItem *item, Instance *instance)
{
	while (&reading->instrument->scopes[item->scope] != instance->scope)
		instance = instance->outer;
	return instance;
}

/* Does a condition hold?  Items that are not shown have no answers. */
static bool
condition_holds(const Reading *reading, const ClinicalCondition *condition, Instance *instance)
{
	const ClinicalItem *item = &reading->instrument->items[condition->item];
	bool		negative = condition->comparator == CLINICAL_NE;
	Answer	   *answer;
	Instance   *below = NULL;
	bool		exists = false;

	/* of the question that it is asked below, only that answer counts */
	if (item->own_scope >= 0)
	{
		for (below = instance; below != NULL; below = below->outer)
		{
			if (below->scope == &reading->instrument->scopes[item->own_scope])
				break;
		}
	}
	instance = clinical_instance_of(reading, item, instance);
	answer = clinical_is_shown(reading, item, instance) ? instance->slots[item->slot].first : NULL;
	for (; answer != NULL; answer = answer->next)
	{
		if (below != NULL && answer->inner != below)
			continue;
		if (answer->absent != NULL || answer->fault.reason != NULL)
			continue;
		exists = true;
		if (condition->comparator != CLINICAL_EXISTS &&
			clinical_value_satisfies(item, &answer->value, negative ? CLINICAL_EQ : condition->comparator, &condition->value, 1))
			return !negative;
	}
	if (condition->comparator == CLINICAL_EXISTS)
		return exists == (condition->value.low != 0);
	return negative;
}

/* Is an item shown, by its conditions alone? */
static bool
conditions_hold(const Reading *reading, const ClinicalItem *item, Instance *instance)
{
	if (item->nconditions == 0)
		return true;
	for (int i = 0; i < item->nconditions; i++)
	{
		if (condition_holds(reading, &item->conditions[i], instance) == item->any_condition)
			return item->any_condition;
	}
	return !item->any_condition;
}

/* Is an item shown?  What it depends on is no circle; compiling saw to that. */
bool
clinical_is_shown(const Reading *reading, const ClinicalItem *item, Instance *instance)
{
	Slot	   *slot = &instance->slots[item->slot];
	bool		shown = true;

	if (!reading->instrument->conditional)
		return true;
	if (slot->shown != SHOWN_UNKNOWN)
		return slot->shown == SHOWN;
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (item->parent >= 0)
	{
		const ClinicalItem *parent = &reading->instrument->items[item->parent];

		shown = clinical_is_shown(reading, parent, clinical_instance_of(reading, parent, instance));
	}
	shown = shown && conditions_hold(reading, item, instance);
	slot->shown = shown ? SHOWN : NOT_SHOWN;
	return shown;
}
