/*-------------------------------------------------------------------------
 *
 * streak_case.c
 *		Histories of readings, evaluated by the engine batch by batch.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "streak_case.h"

/* --- memory of the engine --- */

typedef struct Block
{
	struct Block *next;
	size_t		used;
	size_t		size;
	max_align_t data[];
} Block;

static Block *blocks;

/* Memory for the engine. */
void *
streak_alloc(size_t size)
{
	Block	   *block = blocks;
	void	   *result;

	size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
	if (block == NULL || block->size - block->used < size)
	{
		size_t		want = size > (1 << 16) ? size : (1 << 16);

		block = malloc(sizeof(Block) + want);
		if (block == NULL)
			abort();
		block->size = want;
		block->used = 0;
		block->next = blocks;
		blocks = block;
	}
	result = (char *) block->data + block->used;
	block->used += size;
	/* what the engine does not set is not zero */
	memset(result, 0x7f, size);
	return result;
}

/* Everything got is thrown away; one block is kept. */
void
case_reset_memory(void)
{
	while (blocks != NULL && blocks->next != NULL)
	{
		Block	   *next = blocks->next;

		free(blocks);
		blocks = next;
	}
	if (blocks != NULL)
		blocks->used = 0;
}

/* --- values, ranges and days --- */

/* The order of two values. */
static int
compare_values(const void *left, const void *right)
{
	int64_t		a = *(const int64_t *) left,
				b = *(const int64_t *) right;

	return (a > b) - (a < b);
}

/* Is the mean of values inside a range? */
static bool
inside_range(const void *const *values, int count, const void *range)
{
	const Range *r = range;
	int64_t		sum = 0;

	for (int i = 0; i < count; i++)
		sum += *(const int64_t *) values[i];
	if (r->has_low && (r->with_low ? sum < r->low * count : sum <= r->low * count))
		return false;
	if (r->has_high && (r->with_high ? sum > r->high * count : sum >= r->high * count))
		return false;
	return true;
}

const StreakOps case_ops = {compare_values, inside_range};

/* The days with readings; what is given is a copy, for the engine may spoil it. */
static bool
next_day(void *arg, int day, bool after, int *found, StreakReading **readings, int *count)
{
	Case	   *c = arg;
	int			step = after ? 1 : -1;

	c->calls++;
	if (after && day < -1)
		day = -1;
	if (!after && day > c->ndays)
		day = c->ndays;
	for (day += step; day >= 0 && day < c->ndays; day += step)
	{
		if (c->counts[day] == 0)
			continue;
		*found = day;
		*count = c->counts[day];
		*readings = streak_alloc(sizeof(StreakReading) * (size_t) *count);
		memcpy(*readings, c->readings[day], sizeof(StreakReading) * (size_t) *count);
		return true;
	}
	return false;
}

/* --- alerts --- */

/* Notes what is wrong, the first time. */
static void
complain(Case *c, const char *problem)
{
	if (c->problem == NULL)
		c->problem = problem;
}

/* Prints a streak. */
static void
show_streak(const char *what, const Streak *s)
{
	printf("  %s %d..%d trigger %d, %d days, grade %d, cleared %d, watch %d\n", what, s->onset, s->last_day,
		   s->trigger_day, s->out_days, s->grade, s->cleared ? s->cleared_day : -1, s->watch_until);
}

/* Are two streaks the same, but for what is derived? */
static bool
same_streak(const Streak *a, const Streak *b, bool clearing)
{
	if (a->onset != b->onset || a->trigger_day != b->trigger_day || a->last_day != b->last_day ||
		a->out_days != b->out_days || a->grade != b->grade)
		return false;
	return !clearing || (a->cleared == b->cleared && (!a->cleared || a->cleared_day == b->cleared_day));
}

/* Is a streak one of a list? */
static bool
is_among(const Streak *streak, const Streak *list, int n, bool clearing)
{
	for (int i = 0; i < n; i++)
	{
		if (same_streak(streak, &list[i], clearing))
			return true;
	}
	return false;
}

/* A new alert, but not for each streak if some are left out. */
static void
open_alert(Case *c, const Streak *streak)
{
	StreakAlert *alert = &c->alerts[c->nalerts];

	if (c->left_out > 0 && c->draw->below(c->draw, c->left_out) == 0)
		return;
	if (c->nalerts == CASE_ALERTS)
	{
		complain(c, "too many alerts");
		return;
	}
	c->nalerts++;
	memset(alert, 0, sizeof(*alert));
	alert->basis = *streak;
	alert->supported = true;
	alert->age = c->next_age++;
}

/* What an action does to the table of alerts; those that are gone are marked by age -1. */
static void
apply_action(Case *c, const StreakAction *action, StreakAlert *alert)
{
	static const char *const names[] = {"open", "move", "merge", "retract", "flag"};

	if (c->verbose)
		show_streak(names[action->verb], &action->streak);
	c->actions[action->verb]++;
	switch (action->verb)
	{
		case STREAK_OPEN:
			open_alert(c, &action->streak);
			break;
		case STREAK_MOVE:
			alert->basis = action->streak;
			alert->supported = true;
			break;
		case STREAK_MERGE:
			if (alert->closed || action->into == NULL || action->into->age > alert->age)
				complain(c, "a merge that may not be");
			alert->age = -1;
			break;
		case STREAK_RETRACT:
			if (alert->handled)
				complain(c, "a handled alert is retracted");
			alert->age = -1;
			break;
		case STREAK_FLAG:
			if (!alert->handled || action->streak.watch_until != STREAK_NEVER)
				complain(c, "a flag that may not be");
			alert->supported = false;
			alert->basis.watch_until = STREAK_NEVER;
			break;
	}
}

/* What the actions of an evaluation do; given[i] is the place of the i-th alert of passed. */
static void
apply_actions(Case *c, const StreakAction *actions, int n, const StreakAlert *passed, const int *given)
{
	int			kept = 0;

	for (int i = 0; i < n; i++)
	{
		StreakAlert *alert = actions[i].alert == NULL ? NULL : &c->alerts[given[actions[i].alert - passed]];

		apply_action(c, &actions[i], alert);
	}
	for (int i = 0; i < c->nalerts; i++)
	{
		if (c->alerts[i].age >= 0)
			c->alerts[kept++] = c->alerts[i];
	}
	c->nalerts = kept;
}

/* The alerts that are looked up for touched days, in some order; their number. */
static int
pass_alerts(const Case *c, const int *touched, int ntouched, StreakAlert *passed, int *given)
{
	int			first = INT32_MAX;
	int			n = 0;

	for (int i = 0; i < ntouched; i++)
	{
		if (touched[i] < first)
			first = touched[i];
	}
	for (int i = c->nalerts - 1; i >= 0; i--)
	{
		if (c->alerts[i].basis.watch_until < first && !c->pass_all)
			continue;
		given[n] = i;
		passed[n++] = c->alerts[i];
	}
	return n;
}

/* The engine looks at touched days; gives the number of actions. */
static int
evaluate(Case *c, const int *touched, int ntouched, Streak **streaks, int *nstreaks)
{
	StreakAlert passed[CASE_ALERTS];
	int			given[CASE_ALERTS];
	StreakSource source = {.arg = c,.next = next_day};
	StreakAction *actions;
	int			nalerts = pass_alerts(c, touched, ntouched, passed, given);
	int			from,
				to,
				n;

	*nstreaks = streak_find(&c->rule, &case_ops, &source, touched, ntouched, passed, nalerts, streaks, &from, &to);
	n = streak_match(*streaks, *nstreaks, passed, nalerts, from, to, &actions);
	if (c->verbose)
	{
		printf(" evaluated %d touched days from %d, %d alerts: window %d..%d\n", ntouched, touched[0], nalerts, from, to);
		for (int i = 0; i < *nstreaks; i++)
			show_streak("found", &(*streaks)[i]);
	}
	apply_actions(c, actions, n, passed, given);
	return n;
}

/* The engine looks at touched days. */
void
case_evaluate(Case *c, const int *touched, int ntouched)
{
	Streak	   *streaks;
	int			n;

	evaluate(c, touched, ntouched, &streaks, &n);
}

/* Each alert that has a streak has one that there is, and another than the others. */
static void
check_alerts(Case *c, const Streak *truth, int n)
{
	bool		used[CASE_DAYS] = {false};
	int			nsupported = 0;

	for (int i = 0; i < c->nalerts; i++)
	{
		const Streak *basis = &c->alerts[i].basis;

		if (!c->alerts[i].supported)
			continue;
		nsupported++;
		if (!is_among(basis, truth, n, true))
			complain(c, "an alert without streak");
		else if (used[basis->onset])
			complain(c, "two alerts for one streak");
		else
			used[basis->onset] = true;
		if (c->verbose)
			show_streak("alert", basis);
	}
	if (c->left_out == 0 && nsupported != n)
		complain(c, "a streak without alert");
}

/* Compares the alerts with what the definition says. */
void
case_compare(Case *c)
{
	Streak		truth[CASE_DAYS];
	int			n = oracle_streaks(c, truth);

	if (c->verbose)
	{
		for (int i = 0; i < n; i++)
			show_streak("truth", &truth[i]);
	}
	check_alerts(c, truth, n);
}

/* Evaluates, and compares what is found, not only the alerts, with what the definition says. */
static void
evaluate_closely(Case *c, const int *touched, int ntouched, Streak *before, int *nbefore)
{
	Streak		truth[CASE_DAYS];
	int			n = oracle_streaks(c, truth);
	Streak	   *streaks;
	int			nstreaks;

	evaluate(c, touched, ntouched, &streaks, &nstreaks);
	for (int i = 0; i < nstreaks; i++)
	{
		if (!is_among(&streaks[i], truth, n, true))
			complain(c, "found what is no streak");
		if (i > 0 && streaks[i].onset <= streaks[i - 1].last_day)
			complain(c, "found streaks out of order");
	}
	for (int i = 0; i < n; i++)
	{
		if (!is_among(&truth[i], before, *nbefore, false) && !is_among(&truth[i], streaks, nstreaks, true))
			complain(c, "a new streak is not found");
	}
	memcpy(before, truth, sizeof(Streak) * (size_t) n);
	*nbefore = n;
	case_compare(c);
	/* what has been done needs not be done again */
	if (c->left_out == 0 && evaluate(c, touched, ntouched, &streaks, &nstreaks) != 0)
		complain(c, "not settled");
}

/* --- histories --- */

/* A number in [0, n). */
static int
below(Case *c, int n)
{
	return c->draw->below(c->draw, n);
}

/* Adds a reading; false: the day is full. */
bool
case_add(Case *c, int day, int item, int64_t at, int64_t value)
{
	int			n = c->counts[day];
	StreakReading *reading = &c->readings[day][n];

	if (n == CASE_READINGS)
		return false;
	memset(reading, 0, sizeof(*reading));
	reading->item = item;
	reading->at = at;
	c->clock++;
	/* ties are not in order of coming */
	reading->tie[0] = (unsigned char) (c->clock * 77);
	reading->tie[15] = (unsigned char) c->clock;
	reading->tie[14] = (unsigned char) (c->clock >> 8);
	c->values[day][n] = value;
	reading->value = &c->values[day][n];
	c->counts[day]++;
	return true;
}

/* Takes a reading away. */
void
case_remove(Case *c, int day, int number)
{
	int			last = --c->counts[day];

	c->readings[day][number] = c->readings[day][last];
	c->values[day][number] = c->values[day][last];
	c->readings[day][number].value = &c->values[day][number];
}

/* A range around the middle of the values, [0, 20]. */
static void
draw_range(Case *c, Range *range, int narrower)
{
	range->has_low = below(c, 4) > 0;
	range->has_high = below(c, 4) > 0;
	range->with_low = below(c, 2) == 0;
	range->with_high = below(c, 2) == 0;
	range->low = 2 + below(c, 7) + narrower;
	range->high = 18 - below(c, 7) - narrower;
}

/* The ranges of the rule's items. */
static void
draw_ranges(Case *c)
{
	for (int item = 0; item < c->rule.nitems; item++)
	{
		for (int grade = 0; grade < c->rule.ngrades; grade++)
		{
			/* mostly the worse grades have the wider ranges */
			draw_range(c, &c->ranges[item][grade], below(c, 8) == 0 ? 2 : -2 * grade);
			c->rule.ranges[item][grade] = &c->ranges[item][grade];
		}
		draw_range(c, &c->clear_ranges[item], 1);
		c->rule.clear_ranges[item] = below(c, 4) == 0 ? NULL : &c->clear_ranges[item];
	}
}

/* A rule. */
static void
draw_rule(Case *c)
{
	StreakRule *rule = &c->rule;

	rule->pattern = below(c, 3) == 0 ? STREAK_K_OF_W : STREAK_RUN;
	rule->aggregate = (StreakAggregate) (below(c, 3) == 0 ? below(c, 7) : 0);
	rule->days = 1 + below(c, 4);
	rule->window = rule->days + below(c, 5);
	rule->gap = below(c, 2) == 0 ? 0 : below(c, 4);
	rule->min_readings = below(c, 5) == 0 ? 2 : below(c, 2);
	rule->nitems = below(c, 2) == 0 ? 1 : 1 + below(c, CASE_ITEMS);
	rule->ngrades = below(c, 3) == 0 ? 1 + below(c, CASE_GRADES) : 1;
	rule->clear_days = below(c, 2) == 0 ? 0 : 1 + below(c, 3);
	draw_ranges(c);
	if (c->verbose)
		printf("%s, days %d, window %d, gap %d, aggregate %d, min_readings %d, items %d, grades %d, clear %d\n",
			   rule->pattern == STREAK_RUN ? "run" : "k of w", rule->days, rule->window, rule->gap, rule->aggregate,
			   rule->min_readings, rule->nitems, rule->ngrades, rule->clear_days);
}

/* A value that is more often far out, or in the middle, as the case has it. */
static int64_t
draw_value(Case *c, int outs)
{
	int			chance = below(c, 8);

	if (chance < outs)
		return below(c, 2) == 0 ? below(c, 4) : 17 + below(c, 4);
	return chance == 7 ? below(c, 21) : 9 + below(c, 3);
}

/* How a history comes */
typedef struct Style
{
	bool		in_order;
	int			order_day;
	bool		one_by_one;		/* several readings a day, each evaluated as it comes */
	int			outs;			/* of 8 values */
	int			changes;		/* of 8 operations: corrections and withdrawals */
} Style;

/* One operation; adds the days that it touches. */
static int
draw_operation(Case *c, Style *style, int *touched)
{
	int			day = below(c, c->ndays);
	int			n = 0;

	if (below(c, 8) < style->changes && c->counts[day] > 0)
	{
		int			number = below(c, c->counts[day]);
		int			what = below(c, 4);

		touched[n++] = day;
		if (c->verbose)
			printf(" %s a reading of day %d\n", what == 0 ? "withdrawn" : what == 1 ? "moved" : "corrected", day);
		if (what >= 2)
			c->values[day][number] = draw_value(c, style->outs);
		else
		{
			StreakReading reading = c->readings[day][number];
			int64_t		value = c->values[day][number];

			case_remove(c, day, number);
			day = below(c, c->ndays);
			if (what == 1 && case_add(c, day, reading.item, reading.at, value))
				touched[n++] = day;
		}
		return n;
	}
	if (style->in_order)
	{
		style->order_day += below(c, 8) == 0 ? below(c, 4) : below(c, 5) > (style->one_by_one ? 2 : 0);
		day = style->order_day % c->ndays;
	}
	if (case_add(c, day, below(c, c->rule.nitems), below(c, 3), draw_value(c, style->outs)))
		touched[n++] = day;
	if (c->verbose && n > 0)
		printf(" day %d: item %d is %d\n", day, c->readings[day][c->counts[day] - 1].item,
			   (int) c->values[day][c->counts[day] - 1]);
	return n;
}

/* Somebody acknowledges or closes alerts. */
static void
draw_handling(Case *c)
{
	StreakAlert *alert;

	if (c->nalerts == 0 || below(c, 4) > 0)
		return;
	alert = &c->alerts[below(c, c->nalerts)];
	alert->handled = true;
	if (below(c, 2) == 0)
		alert->closed = true;
}

/* The days touched come in any order, some twice, some for nothing. */
static int
draw_touched(Case *c, int *touched, int n)
{
	for (int extra = below(c, 6) == 0 ? 2 : 0; extra > 0; extra--)
	{
		touched[n] = below(c, 2) == 0 ? below(c, c->ndays) : touched[below(c, n)];
		n++;
	}
	for (int i = n - 1; i > 0; i--)
	{
		int			other = below(c, i + 1);
		int			day = touched[i];

		touched[i] = touched[other];
		touched[other] = day;
	}
	return n;
}

/* A case without rule and readings. */
void
case_begin(Case *c, Draw *draw)
{
	bool		verbose = c->verbose;

	case_reset_memory();
	memset(c->counts, 0, sizeof(c->counts));
	memset(&c->rule, 0, sizeof(c->rule));
	memset(c->actions, 0, sizeof(c->actions));
	c->draw = draw;
	c->ndays = CASE_DAYS;
	c->clock = c->nalerts = c->next_age = c->left_out = c->calls = 0;
	c->pass_all = false;
	c->problem = NULL;
	c->verbose = verbose;
}

/* One history; is everything as the definition says? */
bool
case_run(Case *c, Draw *draw)
{
	Streak		before[CASE_DAYS];
	int			nbefore = 0;
	Style		style;
	int			nbatches,
				batch_size,
				first;			/* before this batch there was no rule */
	bool		closely;

	case_begin(c, draw);
	c->ndays = below(c, 8) == 0 ? 40 : 4 + below(c, 20);
	c->left_out = below(c, 6) == 0 ? 1 + below(c, 3) : 0;
	c->pass_all = below(c, 4) == 0;
	closely = c->left_out > 0 || below(c, 4) > 0;
	style.in_order = below(c, 3) == 0;
	style.order_day = 0;
	style.outs = 2 + below(c, 6);
	style.changes = below(c, 2) == 0 ? 1 : below(c, 6);
	nbatches = 2 + below(c, 14);
	batch_size = 1 + below(c, 5);
	style.one_by_one = style.in_order && below(c, 2) == 0;
	if (style.one_by_one)
	{
		nbatches += below(c, 30);
		batch_size = 1;
	}
	first = below(c, 6) == 0 ? below(c, nbatches) : 0;
	draw_rule(c);
	for (int batch = 0; batch < nbatches && c->problem == NULL; batch++)
	{
		int			touched[CASE_DAYS + 32];
		int			n = 0;

		for (int i = below(c, batch_size); i >= 0; i--)
			n += draw_operation(c, &style, touched + n);
		if (batch == first && first > 0)
		{
			for (n = 0; n < c->ndays; n++)
				touched[n] = n;
		}
		if (n == 0 || batch < first)
			continue;
		n = draw_touched(c, touched, n);
		case_reset_memory();
		if (closely)
			evaluate_closely(c, touched, n, before, &nbefore);
		else
			case_evaluate(c, touched, n);
		draw_handling(c);
	}
	if (c->problem == NULL)
		case_compare(c);
	return c->problem == NULL;
}
