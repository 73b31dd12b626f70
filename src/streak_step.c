/*-------------------------------------------------------------------------
 *
 * streak_step.c
 *		The automaton that makes streaks of days, one after the other.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "streak_walk.h"

/* --- lists and days --- */

/* Adds a day to a list. */
void
streak_add_day(DayList *list, const StreakDay *day)
{
	if (list->n == list->allocated)
	{
		StreakDay  *days;

		list->allocated = list->allocated == 0 ? 32 : list->allocated * 2;
		days = streak_alloc(sizeof(StreakDay) * (size_t) list->allocated);
		if (list->n > 0)
			memcpy(days, list->days, sizeof(StreakDay) * (size_t) list->n);
		list->days = days;
	}
	list->days[list->n++] = *day;
}

/* Adds a streak to a list. */
void
streak_add_streak(StreakList *list, const Streak *streak)
{
	if (list->n == list->allocated)
	{
		Streak	   *streaks;

		list->allocated = list->allocated == 0 ? 8 : list->allocated * 2;
		streaks = streak_alloc(sizeof(Streak) * (size_t) list->allocated);
		if (list->n > 0)
			memcpy(streaks, list->streaks, sizeof(Streak) * (size_t) list->n);
		list->streaks = streaks;
	}
	list->streaks[list->n++] = *streak;
}

/* The nearest day with readings before (after) a day, but not before limit; it may be MISSING. */
bool
streak_fetch(Walk *walk, int day, bool after, int limit, StreakDay *found)
{
	const StreakSource *source = walk->source;
	StreakReading *readings;
	int			count;

	if (!(source->enough != NULL ? source->enough : source->next) (source->arg, day, after, &found->day, &readings, &count))
		return false;
	if (!after && found->day < limit)
		return false;
	streak_day(walk->rule, walk->ops, readings, count, found);
	return true;
}

/* Is a day within the gap that is tolerated after another? */
bool
streak_is_next(const Walk *walk, int day, int before)
{
	return day - before <= 1 + walk->rule->gap;
}

/* --- the automaton --- */

/* The current streak takes a day OUT. */
static void
extend(Walk *walk, const StreakDay *day)
{
	Streak	   *current = &walk->current;

	if (current->out_days++ == 0)
	{
		current->onset = day->day;
		current->grade = 0;
	}
	current->last_day = day->day;
	if (day->grade > current->grade)
		current->grade = day->grade;
	current->cleared = false;
}

/* The current streak has reached its length. */
static void
fire(Walk *walk, int day)
{
	if (!walk->fired)
		walk->current.trigger_day = day;
	walk->fired = true;
}

/* The current streak is over; it is kept if it is long enough. */
void
streak_finish(Walk *walk)
{
	if (walk->fired)
	{
		streak_add_streak(&walk->found, &walk->current);
		/* none that is cleared comes after one that is not */
		if (walk->current.cleared && walk->open == walk->found.n - 1)
			walk->open = walk->found.n;
	}
	memset(&walk->current, 0, sizeof(walk->current));
	walk->fired = false;
	walk->row = 0;
}

/* A day OUT, of rules of runs. */
static void
feed_run(Walk *walk, const StreakDay *day)
{
	if (walk->current.out_days > 0 && !streak_is_next(walk, day->day, walk->current.last_day))
		streak_finish(walk);
	extend(walk, day);
	if (walk->current.out_days >= walk->rule->days)
		fire(walk, day->day);
}

/* A day OUT, of rules of k of w: it counts when a day that fires has it in its window. */
static void
feed_window(Walk *walk, const StreakDay *day)
{
	DayList    *outs = &walk->outs;
	int			k = walk->rule->days;
	int			first;

	streak_add_day(outs, day);
	if (outs->n < k || day->day - outs->days[outs->n - k].day >= walk->rule->window)
		return;
	if (walk->fired && day->day - walk->current.last_day >= walk->rule->window)
		streak_finish(walk);
	first = outs->n - 1;
	while (first > 0 && day->day - outs->days[first - 1].day < walk->rule->window &&
		   !(walk->fired && outs->days[first - 1].day <= walk->current.last_day))
		first--;
	for (int i = first; i < outs->n; i++)
		extend(walk, &outs->days[i]);
	fire(walk, day->day);
}

/* A day IN, without hysteresis: it ends a run, and clears all that is not cleared. */
static void
feed_in(Walk *walk, int day)
{
	if (walk->rule->pattern == STREAK_RUN)
		streak_finish(walk);
	else if (walk->fired && !walk->current.cleared)
	{
		walk->current.cleared = true;
		walk->current.cleared_day = day;
	}
	for (; walk->open < walk->found.n; walk->open++)
	{
		walk->found.streaks[walk->open].cleared = true;
		walk->found.streaks[walk->open].cleared_day = day;
	}
}

/* A day IN, with hysteresis: enough clear ones in a row end the streak. */
static void
feed_calm(Walk *walk, const StreakDay *day)
{
	if (!walk->fired)
	{
		if (walk->rule->pattern == STREAK_RUN)
			streak_finish(walk);
		return;
	}
	if (!day->clear)
	{
		walk->row = 0;
		return;
	}
	walk->row = walk->row > 0 && streak_is_next(walk, day->day, walk->row_day) ? walk->row + 1 : 1;
	walk->row_day = day->day;
	if (walk->row < walk->rule->clear_days)
		return;
	walk->current.cleared = true;
	walk->current.cleared_day = day->day;
	streak_finish(walk);
	/* its days make no other day fire */
	walk->outs.n = 0;
}

/* The automaton's next day. */
void
streak_feed(Walk *walk, const StreakDay *day)
{
	bool		hysteresis = walk->rule->clear_days > 0;

	if (day->state == STREAK_OUT)
	{
		walk->row = 0;
		if (hysteresis && walk->fired)
			extend(walk, day);
		else if (walk->rule->pattern == STREAK_RUN)
			feed_run(walk, day);
		else
			feed_window(walk, day);
	}
	else if (day->state == STREAK_IN)
	{
		if (hysteresis)
			feed_calm(walk, day);
		else
			feed_in(walk, day->day);
	}
}
