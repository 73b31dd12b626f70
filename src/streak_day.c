/*-------------------------------------------------------------------------
 *
 * streak_day.c
 *		The state of a day, from its readings.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "streak.h"

/* Of a day with fewer readings nothing is allocated */
#define FEW 64

/* What of an item's readings is held against its ranges */
typedef struct Measure
{
	const void **values;
	int			count;
	StreakAggregate how;		/* ANY, ALL: each value; else the mean of them all */
} Measure;

/* Merges two sorted halves of values, by way of spare. */
static void
merge_values(const StreakOps *ops, const void **values, int half, int count, const void **spare)
{
	int			left = 0,
				right = half;

	for (int i = 0; i < count; i++)
	{
		bool		take_left = right >= count ||
			(left < half && ops->compare(values[left], values[right]) <= 0);

		spare[i] = take_left ? values[left++] : values[right++];
	}
	memcpy(values, spare, sizeof(void *) * (size_t) count);
}

/* Sorts values; the libraries' sorts would need the operations in a variable of the process. */
static void
sort_values(const StreakOps *ops, const void **values, int count, const void **spare)
{
	int			half = count / 2;

	if (count < 2)
		return;
	sort_values(ops, values, half, spare);
	sort_values(ops, values + half, count - half, spare);
	merge_values(ops, values, half, count, spare);
}

/* Leaves the middle value, or the middle two, whose mean is the median. */
static void
keep_middle(const StreakOps *ops, Measure *measure)
{
	const void **spare = streak_alloc(sizeof(void *) * (size_t) measure->count);

	sort_values(ops, measure->values, measure->count, spare);
	measure->values += (measure->count - 1) / 2;
	measure->count = measure->count % 2 == 1 ? 1 : 2;
}

/* Leaves the least (sign -1) or the greatest (1) value. */
static void
keep_extreme(const StreakOps *ops, Measure *measure, int sign)
{
	for (int i = 1; i < measure->count; i++)
	{
		int			order = ops->compare(measure->values[i], measure->values[0]);

		if (sign > 0 ? order > 0 : order < 0)
			measure->values[0] = measure->values[i];
	}
	measure->count = 1;
}

/* Is a reading later than another? */
static bool
is_later(const StreakReading *reading, const StreakReading *other)
{
	if (reading->at != other->at)
		return reading->at > other->at;
	return memcmp(reading->tie, other->tie, sizeof(reading->tie)) > 0;
}

/* The readings of an item, as its measure; their number. */
static int
measure_item(const StreakRule *rule, const StreakOps *ops, int item,
			 const StreakReading *readings, int count, Measure *measure)
{
	const StreakReading *last = NULL;
	int			n = 0;

	for (int i = 0; i < count; i++)
	{
		if (readings[i].item != item)
			continue;
		measure->values[n++] = readings[i].value;
		if (last == NULL || is_later(&readings[i], last))
			last = &readings[i];
	}
	measure->count = n;
	if (last == NULL || rule->aggregate == STREAK_ANY || rule->aggregate == STREAK_ALL)
		return n;
	if (rule->aggregate == STREAK_MEDIAN)
		keep_middle(ops, measure);
	else if (rule->aggregate == STREAK_MIN)
		keep_extreme(ops, measure, -1);
	else if (rule->aggregate == STREAK_MAX)
		keep_extreme(ops, measure, 1);
	else if (rule->aggregate == STREAK_LAST)
	{
		measure->values[0] = last->value;
		measure->count = 1;
	}
	return n;
}

/* Is a measure out of a range? */
static bool
is_outside(const StreakOps *ops, const Measure *measure, const void *range)
{
	bool		any = measure->how == STREAK_ANY;

	if (!any && measure->how != STREAK_ALL)
		return !ops->inside(measure->values, measure->count, range);
	/* one that is out decides for any, one that is inside for all */
	for (int i = 0; i < measure->count; i++)
	{
		if (ops->inside(&measure->values[i], 1, range) != any)
			return any;
	}
	return !any;
}

/* Adds what an item says to the state of its day. */
static void
judge_item(const StreakRule *rule, const StreakOps *ops, int item, const Measure *measure, StreakDay *day)
{
	int			grade = rule->ngrades;

	while (grade > 0 && !is_outside(ops, measure, rule->ranges[item][grade - 1]))
		grade--;
	if (grade > 0)
		day->state = STREAK_OUT;
	else if (day->state == STREAK_MISSING)
		day->state = STREAK_IN;
	if (grade > day->grade)
		day->grade = grade;
	if (rule->clear_days > 0 && rule->clear_ranges[item] != NULL &&
		is_outside(ops, measure, rule->clear_ranges[item]))
		day->clear = false;
}

/*
 * The state of a day from its readings, of any items and in any order.  Fills day
 * but for its number.  An item without a range to clear by is clear when it is IN.
 */
StreakState
streak_day(const StreakRule *rule, const StreakOps *ops,
		   StreakReading *readings, int count, StreakDay *day)
{
	const void *few[FEW];
	const void **values = count <= FEW ? few : streak_alloc(sizeof(void *) * (size_t) count);

	day->state = STREAK_MISSING;
	day->clear = true;
	day->grade = 0;
	for (int item = 0; item < rule->nitems; item++)
	{
		Measure		measure = {values, 0, rule->aggregate};
		int			n = measure_item(rule, ops, item, readings, count, &measure);

		if (n > 0 && n >= rule->min_readings)
			judge_item(rule, ops, item, &measure, day);
	}
	if (day->state != STREAK_IN)
		day->clear = false;
	return day->state;
}
