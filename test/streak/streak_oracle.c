/*-------------------------------------------------------------------------
 *
 * streak_oracle.c
 *		The definition of a streak, read literally: all days, every time.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "streak_case.h"

typedef struct Calendar
{
	StreakState state[CASE_DAYS];
	bool		clear[CASE_DAYS];
	int			grade[CASE_DAYS];
} Calendar;

/* Does the range contain sum / count? */
static bool
contains(const Range *range, int64_t sum, int64_t count)
{
	if (range->has_low)
	{
		if (sum < range->low * count)
			return false;
		if (sum == range->low * count && !range->with_low)
			return false;
	}
	if (range->has_high)
	{
		if (sum > range->high * count)
			return false;
		if (sum == range->high * count && !range->with_high)
			return false;
	}
	return true;
}

/* Is an item OUT on a day by this range?  values are in order of time. */
static bool
item_is_out(const StreakRule *rule, const int64_t *values, int n, const Range *range)
{
	int64_t		sorted[CASE_READINGS];
	int64_t		sum = 0;
	int			nout = 0;

	for (int i = 0; i < n; i++)
	{
		int			at = 0;

		while (at < i && sorted[at] <= values[i])
			at++;
		memmove(&sorted[at + 1], &sorted[at], sizeof(int64_t) * (size_t) (i - at));
		sorted[at] = values[i];
		sum += values[i];
		nout += !contains(range, values[i], 1);
	}
	switch (rule->aggregate)
	{
		case STREAK_ANY:
			return nout > 0;
		case STREAK_ALL:
			return nout == n;
		case STREAK_MEAN:
			return !contains(range, sum, n);
		case STREAK_MEDIAN:
			return !contains(range, sorted[(n + 1) / 2 - 1] + sorted[(n + 2) / 2 - 1], 2);
		case STREAK_MIN:
			return !contains(range, sorted[0], 1);
		case STREAK_MAX:
			return !contains(range, sorted[n - 1], 1);
		case STREAK_LAST:
			return !contains(range, values[n - 1], 1);
	}
	return false;
}

/* The readings of an item on a day, in order of time. */
static int
item_values(const Case *c, int day, int item, int64_t *values)
{
	const StreakReading *chosen[CASE_READINGS];
	int			n = 0;

	for (int i = 0; i < c->counts[day]; i++)
	{
		const StreakReading *r = &c->readings[day][i];
		int			at = n;

		if (r->item != item)
			continue;
		while (at > 0 && (chosen[at - 1]->at > r->at ||
						  (chosen[at - 1]->at == r->at && memcmp(chosen[at - 1]->tie, r->tie, 16) > 0)))
		{
			chosen[at] = chosen[at - 1];
			at--;
		}
		chosen[at] = r;
		n++;
	}
	for (int i = 0; i < n; i++)
		values[i] = *(const int64_t *) chosen[i]->value;
	return n;
}

/* The states of all days. */
static void
fill_calendar(const Case *c, Calendar *calendar)
{
	const StreakRule *rule = &c->rule;

	memset(calendar, 0, sizeof(*calendar));
	for (int day = 0; day < c->ndays; day++)
	{
		bool		all_clear = true;

		for (int item = 0; item < rule->nitems; item++)
		{
			int64_t		values[CASE_READINGS];
			int			n = item_values(c, day, item, values);

			if (n == 0 || n < rule->min_readings)
				continue;
			if (calendar->state[day] == STREAK_MISSING)
				calendar->state[day] = STREAK_IN;
			for (int grade = 1; grade <= rule->ngrades; grade++)
			{
				if (!item_is_out(rule, values, n, rule->ranges[item][grade - 1]))
					continue;
				calendar->state[day] = STREAK_OUT;
				if (grade > calendar->grade[day])
					calendar->grade[day] = grade;
			}
			if (rule->clear_days > 0 && rule->clear_ranges[item] != NULL &&
				item_is_out(rule, values, n, rule->clear_ranges[item]))
				all_clear = false;
		}
		calendar->clear[day] = calendar->state[day] == STREAK_IN && all_clear;
	}
}

/* Are two days OUT of one run: nothing IN between, and never more than gap days missing? */
static bool
same_run(const StreakRule *rule, const Calendar *calendar, int a, int b)
{
	int			missing = 0;

	for (int day = a; day <= b; day++)
	{
		if (calendar->state[day] == STREAK_IN)
			return false;
		missing = calendar->state[day] == STREAK_MISSING ? missing + 1 : 0;
		if (missing > rule->gap)
			return false;
	}
	return true;
}

/*
 * The first trigger day after a day, of what lies after that day; and the first OUT day
 * of what fires.  -1: there is none.
 */
static int
first_trigger(const Case *c, const Calendar *calendar, int after, int *onset)
{
	const StreakRule *rule = &c->rule;

	for (int day = after + 1; day < c->ndays; day++)
	{
		int			nout = 0;

		if (rule->pattern == STREAK_RUN && calendar->state[day] != STREAK_OUT)
			continue;
		for (int other = day; other > after; other--)
		{
			if (rule->pattern == STREAK_RUN ? !same_run(rule, calendar, other, day) && calendar->state[other] != STREAK_MISSING
				: other <= day - rule->window)
				break;
			if (calendar->state[other] != STREAK_OUT)
				continue;
			nout++;
			*onset = other;
		}
		if (nout >= rule->days)
			return day;
	}
	return -1;
}

/* The day that clears what fired on the trigger day, with hysteresis; or -1. */
static int
clearing_day(const Case *c, const Calendar *calendar, int trigger)
{
	for (int end = trigger + 1; end < c->ndays; end++)
	{
		int			row = 0,
					missing = 0;

		for (int day = end; day > trigger; day--)
		{
			if (calendar->state[day] == STREAK_MISSING)
			{
				if (day == end || ++missing > c->rule.gap)
					break;
				continue;
			}
			missing = 0;
			if (!calendar->clear[day])
				break;
			if (++row == c->rule.clear_days)
				return end;
		}
	}
	return -1;
}

/* The OUT days of [onset, end] are a streak. */
static void
make_streak(const Case *c, const Calendar *calendar, int onset, int trigger, int end, Streak *streak)
{
	memset(streak, 0, sizeof(*streak));
	streak->onset = onset;
	streak->trigger_day = trigger;
	for (int day = onset; day <= end && day < c->ndays; day++)
	{
		if (calendar->state[day] != STREAK_OUT)
			continue;
		streak->last_day = day;
		streak->out_days++;
		if (calendar->grade[day] > streak->grade)
			streak->grade = calendar->grade[day];
	}
}

/* With hysteresis: what fires lasts until it is cleared, and only then may something else fire. */
static int
hysteresis_streaks(const Case *c, const Calendar *calendar, Streak *streaks)
{
	int			n = 0,
				after = -1,
				onset = 0,
				trigger;

	while ((trigger = first_trigger(c, calendar, after, &onset)) >= 0)
	{
		int			end = clearing_day(c, calendar, trigger);

		make_streak(c, calendar, onset, trigger, end < 0 ? c->ndays - 1 : end, &streaks[n]);
		streaks[n].cleared = end >= 0;
		streaks[n++].cleared_day = end;
		if (end < 0)
			break;
		after = end;
	}
	return n;
}

/* The first day IN after the last day clears. */
static void
clear_by_next_in(const Case *c, const Calendar *calendar, Streak *streak)
{
	for (int day = streak->last_day + 1; day < c->ndays && !streak->cleared; day++)
	{
		streak->cleared = calendar->state[day] == STREAK_IN;
		streak->cleared_day = day;
	}
}

/* Runs: a streak begins at each day OUT that is not of one run with an earlier one. */
static int
run_streaks(const Case *c, const Calendar *calendar, Streak *streaks)
{
	int			n = 0;

	for (int onset = 0; onset < c->ndays; onset++)
	{
		int			last = onset,
					count = 0,
					trigger = -1;
		bool		begins = calendar->state[onset] == STREAK_OUT;

		for (int day = 0; day < onset && begins; day++)
			begins = calendar->state[day] != STREAK_OUT || !same_run(&c->rule, calendar, day, onset);
		if (!begins)
			continue;
		for (int day = onset; day < c->ndays; day++)
		{
			if (calendar->state[day] != STREAK_OUT || !same_run(&c->rule, calendar, onset, day))
				continue;
			last = day;
			if (++count == c->rule.days)
				trigger = day;
		}
		if (trigger < 0)
			continue;
		make_streak(c, calendar, onset, trigger, last, &streaks[n]);
		clear_by_next_in(c, calendar, &streaks[n++]);
	}
	return n;
}

/* k of w: the windows of firing days that share a day OUT are one streak. */
static int
window_streaks(const Case *c, const Calendar *calendar, Streak *streaks)
{
	const int	w = c->rule.window;
	int			group[CASE_DAYS];	/* of a day OUT in a firing window: its streak's name */
	int			trigger[CASE_DAYS];
	int			n = 0;

	for (int day = 0; day < c->ndays; day++)
		group[day] = trigger[day] = -1;
	for (int day = 0; day < c->ndays; day++)
	{
		int			nout = 0;

		for (int other = day - w + 1; other <= day; other++)
			nout += other >= 0 && calendar->state[other] == STREAK_OUT;
		if (nout < c->rule.days)
			continue;
		/* all groups in the window become one, named by this day */
		for (int other = day - w + 1; other <= day; other++)
		{
			int			name = other >= 0 ? group[other] : -1;

			if (other < 0 || calendar->state[other] != STREAK_OUT)
				continue;
			for (int member = 0; name >= 0 && member < c->ndays; member++)
			{
				if (group[member] == name)
					group[member] = day;
			}
			if (name >= 0 && trigger[name] >= 0 && (trigger[day] < 0 || trigger[name] < trigger[day]))
				trigger[day] = trigger[name];
			group[other] = day;
		}
		if (trigger[day] < 0)
			trigger[day] = day;
	}
	for (int onset = 0; onset < c->ndays; onset++)
	{
		int			last = onset;
		bool		begins = group[onset] >= 0;

		for (int day = 0; day < onset && begins; day++)
			begins = group[day] != group[onset];
		if (!begins)
			continue;
		for (int day = onset; day < c->ndays; day++)
		{
			if (group[day] == group[onset])
				last = day;
		}
		make_streak(c, calendar, onset, trigger[group[onset]], last, &streaks[n]);
		clear_by_next_in(c, calendar, &streaks[n++]);
	}
	return n;
}

/* All streaks of a case, in order; their number. */
int
oracle_streaks(const Case *c, Streak *streaks)
{
	Calendar	calendar;

	fill_calendar(c, &calendar);
	if (c->rule.clear_days > 0)
		return hysteresis_streaks(c, &calendar, streaks);
	if (c->rule.pattern == STREAK_RUN)
		return run_streaks(c, &calendar, streaks);
	return window_streaks(c, &calendar, streaks);
}
