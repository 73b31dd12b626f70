/*-------------------------------------------------------------------------
 *
 * instrument_validate.c
 *		The validator: from a report to the observations it would make, its
 *		scores, and what is wrong with it.
 *
 * The report is read once; answers point into it.  What is wrong is said by
 * path, reason and check, never by value.  The validator recurses no deeper
 * than the definition is nested, which clinical_instrument_compile bounds:
 * what does not belong where it stands is not looked into.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "instrument_answer.h"

/* More findings than this help nobody */
#define MAX_FINDINGS 1000

/* So many places for answers are made, some 70 bytes each: {} is a repeat of a group of any size */
#define MAX_PLACES 1000000

/* A name from outside is shown if it is no longer than this, and looks like a code */
#define MAX_KEY_SHOWN 64

static const ClinicalFault too_many_findings = {"too_large", "findings"};
static const ClinicalFault too_many_repeats = {"too_large", "repeats"};
static const ClinicalFault missing = {"missing_item", "required"};
static const ClinicalFault not_shown = {"not_enabled", "enable_when"};
static const ClinicalFault too_often = {"wrong_type", "repeats"};
static const ClinicalFault too_seldom = {"missing_item", "min_repeats"};
static const ClinicalFault more_than_allowed = {"out_of_range", "max_repeats"};

static void judge_instance(Reading *reading, Instance *instance);

/* Make one repeat of a scope; NULL, which is found wrong once, if there are too many. */
Instance *
clinical_new_instance(Reading *reading, int scope, Instance *outer, int number)
{
	const ClinicalScope *shape = &reading->instrument->scopes[scope];
	Instance   *instance;

	if (outer != NULL && reading->nplaces + shape->nslots + 1 > MAX_PLACES)
	{
		if (!reading->full)
			clinical_finding(reading, true, &too_many_repeats, NULL, NULL, NULL, 0, NULL, 0);
		reading->full = true;
		return NULL;
	}
	reading->nplaces += shape->nslots + 1;
	instance = palloc0(MAXALIGN(sizeof(Instance)) + shape->nslots * sizeof(Slot));
	instance->scope = shape;
	instance->outer = outer;
	instance->number = number;
	instance->slots = (Slot *) ((char *) instance + MAXALIGN(sizeof(Instance)));
	return instance;
}

/* Make one more repeat of a group; NULL as above. */
Instance *
clinical_group_repeat(Reading *reading, const ClinicalItem *item, Instance *instance)
{
	Slot	   *slot = &instance->slots[item->slot];
	Instance   *repeat = clinical_new_instance(reading, item->own_scope, instance, slot->nrepeats + 1);

	if (repeat == NULL)
		return NULL;
	slot->nrepeats++;
	if (slot->first_repeat == NULL)
		slot->first_repeat = repeat;
	else
		slot->last_repeat->next = repeat;
	slot->last_repeat = repeat;
	return repeat;
}

/* Make an answer that belongs to no item yet. */
Answer *
clinical_make_answer(void)
{
	Answer	   *answer = palloc0_object(Answer);

	answer->value.code = -1;
	return answer;
}

/* Add an answer to those of an item. */
void
clinical_add_answer(Slot *slot, Answer *answer)
{
	if (slot->first == NULL)
		slot->first = answer;
	else
		slot->last->next = answer;
	slot->last = answer;
	slot->count++;
}

/*
 * May an item stand directly within another (NULL: the form), in that repeat of
 * a scope?  Groups that do not repeat can be left out in between.
 */
bool
clinical_belongs(const Reading *reading, const ClinicalItem *item, const ClinicalItem *within,
				 const Instance *instance)
{
	const ClinicalInstrument *instrument = reading->instrument;

	if (&instrument->scopes[item->scope] != instance->scope)
		return false;
	if (within == NULL || within->own_scope == item->scope)
		return true;
	for (int parent = item->parent; parent >= 0; parent = instrument->items[parent].parent)
	{
		if (parent == within->index)
			return true;
	}
	return false;
}

/* The number of a repeat, as an element of a path. */
static char *
number_text(int number)
{
	char		digits[12];

	pg_ltoa(number, digits);
	return pstrdup(digits);
}

/* A name from outside that looks like a code, or a sign that it does not. */
static char *
shown_key(const char *key, int length)
{
	bool		plain = length > 0 && length <= MAX_KEY_SHOWN;

	for (int i = 0; plain && i < length; i++)
		plain = (key[i] >= 'a' && key[i] <= 'z') || (key[i] >= 'A' && key[i] <= 'Z') ||
			(key[i] >= '0' && key[i] <= '9') || memchr("-._:/[]{}%", key[i], 10) != NULL;
	return plain ? pnstrdup(key, length) : pstrdup("?");
}

/* The codes and numbers that lead to an item in a repeat of its scope. */
static List *
item_path(const Reading *reading, const ClinicalItem *item, const Instance *instance, bool inside)
{
	const ClinicalInstrument *instrument = reading->instrument;
	List	   *path = NIL;

	for (;;)
	{
		if (inside && item->own_scope >= 0 && instance->scope == &instrument->scopes[item->own_scope])
		{
			path = lcons(number_text(instance->number), path);
			instance = instance->outer;
		}
		path = lcons(pstrdup(item->code), path);
		if (item->parent < 0)
			return path;
		item = &instrument->items[item->parent];
		inside = true;
	}
}

/*
 * Note what is wrong: with an item in that repeat of its scope, with the
 * answer of that number (0: with none alone), or with a key that stands within
 * the item (NULL: the form).
 */
void
clinical_finding(Reading *reading, bool hard, const ClinicalFault *fault, const char *message,
				 const ClinicalItem *item, const Instance *instance, int number,
				 const char *key, int key_length)
{
	ClinicalVerdict *verdict = reading->verdict;
	ClinicalFinding *finding;

	if (hard)
		verdict->valid = false;
	if (verdict->nfindings > MAX_FINDINGS)
	{
		/* the last one stands for all that are not shown */
		verdict->findings[MAX_FINDINGS].hard |= hard;
		return;
	}
	if (verdict->nfindings == MAX_FINDINGS)
	{
		fault = &too_many_findings;
		item = NULL;
		key = NULL;
		message = NULL;
	}
	if (verdict->nfindings == verdict->findings_room)
	{
		verdict->findings_room = Max(8, verdict->findings_room * 2);
		verdict->findings = verdict->findings == NULL ? palloc_array(ClinicalFinding, verdict->findings_room) :
			repalloc(verdict->findings, verdict->findings_room * sizeof(ClinicalFinding));
	}
	finding = &verdict->findings[verdict->nfindings++];
	finding->hard = hard;
	finding->reason = fault->reason;
	finding->check = fault->check;
	finding->message = message;
	finding->item = key == NULL ? item : NULL;
	finding->path = item == NULL ? NIL : item_path(reading, item, instance, key != NULL);
	if (key != NULL)
		finding->path = lappend(finding->path, shown_key(key, key_length));
	else if (number > 0 && item != NULL && item->repeats)
		finding->path = lappend(finding->path, number_text(number));
}

/* The numbers of the repeats that lead to an answer, joined by dots. */
static const char *
repeat_key(const Instance *instance, int number)
{
	int			numbers[CLINICAL_MAX_DEPTH + 1];
	int			count = 0;
	char		key[lengthof(numbers) * 12];
	char	   *end = key;

	if (instance->outer == NULL && number == 0)
		return "";
	if (number > 0)
		numbers[count++] = number;
	for (; instance->outer != NULL; instance = instance->outer)
	{
		Assert(count < (int) lengthof(numbers));
		numbers[count++] = instance->number;
	}
	while (count > 0)
	{
		end += pg_ltoa(numbers[--count], end);
		if (count > 0)
			*end++ = '.';
	}
	*end = '\0';
	return pstrdup(key);
}

/* Note what an answer makes. */
static void
observe(Reading *reading, const ClinicalItem *item, const Instance *instance, const Answer *answer,
		int number, bool flagged)
{
	ClinicalVerdict *verdict = reading->verdict;
	ClinicalObservation *observation;

	if (verdict->nobservations == verdict->observations_room)
	{
		verdict->observations_room = Max(16, verdict->observations_room * 2);
		verdict->observations = verdict->observations == NULL ?
			palloc_array(ClinicalObservation, verdict->observations_room) :
			repalloc_huge(verdict->observations, verdict->observations_room * sizeof(ClinicalObservation));
	}
	observation = &verdict->observations[verdict->nobservations++];
	observation->item = item;
	observation->repeat_key = repeat_key(instance, item->repeats ? number : 0);
	observation->value = answer->absent == NULL ? &answer->value : NULL;
	observation->absent = answer->absent;
	observation->absent_length = answer->absent_length;
	observation->flagged = flagged;
}

/* Judge one answer to an item that is shown. */
static void
judge_answer(Reading *reading, const ClinicalItem *item, Instance *instance, Answer *answer, int number)
{
	bool		flagged = false;
	bool		refused = answer->fault.reason != NULL;

	if (refused)
		clinical_finding(reading, true, &answer->fault, NULL, item, instance, number, NULL, 0);
	for (int i = 0; i < item->nchecks && !refused && answer->absent == NULL; i++)
	{
		const ClinicalCheck *check = &item->checks[i];
		ClinicalFault fault = {"out_of_range", check->id};

		if (clinical_value_satisfies(item, &answer->value, check->comparator, check->values, check->nvalues))
			continue;
		clinical_finding(reading, check->hard, &fault, check->message, item, instance, number, NULL, 0);
		refused = refused || check->hard;
		flagged = true;
	}
	answer->refused = refused;
	if (refused)
		return;
	observe(reading, item, instance, answer, number, flagged);
}

/* Is something asked in a group, in this repeat of the scope or one yet to be? */
static bool
asks_something(const Reading *reading, const ClinicalItem *group, Instance *instance)
{
	for (int i = group->index + 1; i <= group->last; i++)
	{
		const ClinicalItem *item = &reading->instrument->items[i];

		if (item->type != CLINICAL_ITEM_GROUP && item->type != CLINICAL_ITEM_DISPLAY &&
			(item->scope != group->scope || clinical_is_shown(reading, item, instance)))
			return true;
	}
	return false;
}

/* Is an item to be answered: it, and the answer it is asked below, are there? */
static bool
is_wanted(const Reading *reading, const ClinicalItem *item, Instance *instance)
{
	const ClinicalItem *parent;

	if (!item->required || item->hidden || instance->slots[item->slot].answered ||
		(item->type == CLINICAL_ITEM_GROUP && !asks_something(reading, item, instance)))
		return false;
	if (item->parent < 0)
		return true;
	parent = &reading->instrument->items[item->parent];
	/* what is in a group below a question is asked below the question */
	while (parent->type == CLINICAL_ITEM_GROUP && parent->own_scope < 0 && parent->parent >= 0)
		parent = &reading->instrument->items[parent->parent];
	return parent->type == CLINICAL_ITEM_GROUP || parent->own_scope == item->scope ||
		instance->slots[parent->slot].answered;
}

/* Mark that something was said within a group. */
static void
mark_answered(const Reading *reading, const ClinicalItem *item, Instance *instance)
{
	for (;;)
	{
		Slot	   *slot = &instance->slots[item->slot];

		if (slot->answered)
			return;
		slot->answered = true;
		if (item->parent < 0)
			return;
		item = &reading->instrument->items[item->parent];
		instance = clinical_instance_of(reading, item, instance);
		if (item->type != CLINICAL_ITEM_GROUP)
			return;
	}
}

/* How often something was said, against how often it may be. */
static void
judge_count(Reading *reading, const ClinicalItem *item, Instance *instance, int count)
{
	if (count > 1 && !item->repeats)
		clinical_finding(reading, true, &too_often, NULL, item, instance, 0, NULL, 0);
	if (count > 0 && count < item->min_repeats)
		clinical_finding(reading, true, &too_seldom, NULL, item, instance, 0, NULL, 0);
	if (item->max_repeats >= 0 && count > item->max_repeats)
		clinical_finding(reading, true, &more_than_allowed, NULL, item, instance, 0, NULL, 0);
}

/* Judge what is asked below an answer that nothing was said below: something may be missing. */
static void
judge_empty(Reading *reading, const ClinicalItem *item, Instance *instance, Answer *answer, int number)
{
	Instance   *inner = clinical_new_instance(reading, item->own_scope, instance, number);

	if (inner == NULL)
		return;
	answer->inner = inner;
	judge_instance(reading, inner);
	answer->inner = NULL;
	reading->nplaces -= inner->scope->nslots + 1;
	pfree(inner);
}

/* Judge what was said to an item that is shown. */
static void
judge_item(Reading *reading, const ClinicalItem *item, Instance *instance)
{
	Slot	   *slot = &instance->slots[item->slot];
	int			number = 0;

	if (slot->count > 0)
		mark_answered(reading, item, instance);
	judge_count(reading, item, instance, slot->count + slot->nrepeats);
	for (Answer *answer = slot->first; answer != NULL; answer = answer->next)
	{
		CHECK_FOR_INTERRUPTS();
		judge_answer(reading, item, instance, answer, ++number);
		if (answer->inner != NULL)
			judge_instance(reading, answer->inner);
		else if (item->own_scope >= 0)
			judge_empty(reading, item, instance, answer, number);
	}
	for (Instance *repeat = slot->first_repeat; repeat != NULL; repeat = repeat->next)
		judge_instance(reading, repeat);
}

/* Judge all items of a repeat of a scope. */
static void
judge_instance(Reading *reading, Instance *instance)
{
	const ClinicalScope *scope = instance->scope;

	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < scope->nslots; i++)
	{
		const ClinicalItem *item = &reading->instrument->items[scope->items[i]];
		Slot	   *slot = &instance->slots[i];

		if (clinical_is_shown(reading, item, instance))
			judge_item(reading, item, instance);
		else if (slot->count > 0 || slot->nrepeats > 0)
			clinical_finding(reading, false, &not_shown, NULL, item, instance, 0, NULL, 0);
	}
	for (int i = 0; i < scope->nslots; i++)
	{
		const ClinicalItem *item = &reading->instrument->items[scope->items[i]];

		if (is_wanted(reading, item, instance) && clinical_is_shown(reading, item, instance))
			clinical_finding(reading, true, &missing, NULL, item, instance, 0, NULL, 0);
	}
}

/* Validate a report, which must be an object and outlive the verdict. */
void
clinical_validate(const ClinicalInstrument *instrument, Jsonb *report, ClinicalVerdict *verdict)
{
	Reading		reading = {instrument, verdict};
	JsonbValue	root;
	JsonbValue	buffer;

	memset(verdict, 0, sizeof(*verdict));
	verdict->valid = true;
	reading.form = clinical_new_instance(&reading, 0, NULL, 1);
	clinical_json_value(report, &root);
	if (clinical_json_get(&root, "resourceType", &buffer) != NULL)
		clinical_read_response(&reading, &root);
	else
		clinical_read_report(&reading, &root);
	judge_instance(&reading, reading.form);
	verdict->nscored = instrument->nscores;
	verdict->scored = palloc_array(ClinicalScored, instrument->nscores + 1);
	for (int i = 0; i < instrument->nscores; i++)
	{
		verdict->scored[i].score = &instrument->scores[i];
		verdict->scored[i].value = clinical_compute_score(&reading, &instrument->scores[i]);
	}
}
