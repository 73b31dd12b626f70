/*-------------------------------------------------------------------------
 *
 * streak_find.c
 *		The streaks that a change of some days may have touched.
 *
 * Days are put into an automaton in order.  What has been touched is gone through
 * in stretches: one begins where the automaton's state is known whatever the touched
 * days were and are (what came before cannot reach, or an alert says how things stand)
 * and ends where its state is the same again for all that they may have been.  Outside
 * of the stretches nothing has changed but, without hysteresis, the day that clears
 * a streak, which is the next one that is IN however far away.
 *
 * How far days reach:
 *   a run		to the next day that is IN, or over more than gap missing days;
 *   k of w		w - 1 days from one firing day to the next, and to the days that
 *				make it fire;
 *   hysteresis	to the end of the next clear_days days in a row that are clear.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "streak_walk.h"

/* --- forwards --- */

/* Touched days up to this one belong to the stretch. */
static void
take_touched(Walk *walk, int day)
{
	walk->touched = day;
	if (day > walk->reach)
		walk->reach = day;
	walk->seen_in = false;
	walk->quiet = 0;
	walk->settled = false;
}

/* Keeps what is known since the last touched day. */
static void
note_day(Walk *walk, const StreakDay *day)
{
	if (day->state == STREAK_OUT)
		walk->reach = day->day;
	if (!day->clear)
		walk->quiet = 0;
	if (day->state == STREAK_OUT)
		walk->settled = false;
	if (day->day <= walk->touched)
		return;
	if (day->state == STREAK_IN)
		walk->seen_in = true;
	if (!day->clear)
		return;
	walk->quiet = walk->quiet > 0 && streak_is_next(walk, day->day, walk->quiet_day) ? walk->quiet + 1 : 1;
	walk->quiet_day = day->day;
	if (walk->quiet >= walk->rule->clear_days)
		walk->settled = true;
}

/*
 * Whatever the touched days were: is the automaton's state before this day the same,
 * and that of all streaks so far known?
 */
static bool
is_over(const Walk *walk, int day)
{
	const StreakRule *rule = walk->rule;
	int			distance = day - walk->reach;

	if (rule->clear_days > 0)
		return walk->settled && (rule->pattern == STREAK_RUN || distance >= rule->window);
	/* what is not cleared waits for a day IN */
	if ((walk->fired && !walk->current.cleared) || walk->open < walk->found.n)
		return false;
	if (walk->waiting && walk->first_in == STREAK_NEVER)
		return false;
	if (rule->pattern == STREAK_RUN)
		return walk->seen_in || distance > 1 + rule->gap;
	return day - walk->touched >= 2 * rule->window - 1 &&
		(!walk->fired || day - walk->current.last_day >= rule->window);
}

/* Goes on from a touched day; gives the last day of the stretch, and how many touched days it holds. */
static int
go_forward(Walk *walk, const int *touched, int ntouched, int *ntaken)
{
	StreakDay	day;
	int			at = touched[0] - 1;
	int			n = 1;
	bool		more;

	while ((more = streak_fetch(walk, at, true, 0, &day)))
	{
		at = day.day;
		for (; n < ntouched && touched[n] <= at; n++)
			take_touched(walk, touched[n]);
		if (is_over(walk, at))
			break;
		if (day.state == STREAK_MISSING)
			continue;
		streak_feed(walk, &day);
		note_day(walk, &day);
		if (day.state == STREAK_IN && walk->first_in == STREAK_NEVER)
			walk->first_in = at;
	}
	streak_finish(walk);
	*ntaken = more ? n : ntouched;
	return more ? at - 1 : STREAK_NEVER;
}

/* --- stretches --- */

/* The day after which no reading touches a streak. */
static int
watch_until(const StreakRule *rule, const Streak *streak)
{
	int			until;

	if (!streak->cleared)
		return STREAK_NEVER;
	until = streak->cleared_day;
	if (rule->pattern == STREAK_K_OF_W && rule->clear_days == 0 &&
		until < streak->last_day + rule->window - 1)
		until = streak->last_day + rule->window - 1;
	return until;
}

/* Sets what is kept of a stretch to its beginning. */
static void
begin_stretch(Walk *walk, int touched)
{
	memset(&walk->current, 0, sizeof(walk->current));
	walk->fired = false;
	walk->outs.n = 0;
	walk->row = 0;
	walk->open = walk->found.n;
	walk->back.n = 0;
	walk->start = touched;
	walk->reach = touched;
	walk->first_in = STREAK_NEVER;
	walk->waiting = false;
	take_touched(walk, touched);
}

/* Does an alert's streak, which is over before the stretch, wait to be cleared? */
static bool
is_waiting(const Walk *walk, const Standing *standing, int touched)
{
	const Streak *streak = &standing->streak;

	return walk->rule->clear_days == 0 && standing->good && streak->trigger_day < walk->start &&
		(!streak->cleared || streak->cleared_day >= touched);
}

/* One stretch; gives its last day, and how many touched days it holds. */
static int
walk_stretch(Walk *walk, const int *touched, int ntouched, int *from, int *ntaken)
{
	int			end;

	begin_stretch(walk, touched[0]);
	streak_go_back(walk, touched[0]);
	for (int i = 0; i < walk->nstanding; i++)
		walk->waiting |= is_waiting(walk, &walk->standing[i], touched[0]);
	end = go_forward(walk, touched, ntouched, ntaken);
	if (walk->start < *from)
		*from = walk->start;
	for (int i = 0; i < walk->nstanding; i++)
	{
		Standing   *standing = &walk->standing[i];
		Streak	   *streak = &standing->streak;

		if (is_waiting(walk, standing, touched[0]))
		{
			streak->cleared = walk->first_in != STREAK_NEVER;
			streak->cleared_day = walk->first_in;
			streak->watch_until = watch_until(walk->rule, streak);
			if (streak->onset < *from)
				*from = streak->onset;
		}
		else if (streak->trigger_day >= walk->start && streak->trigger_day <= end)
			standing->good = false;
	}
	return end;
}

/* The touched days in order, each once; their number. */
static int
sort_touched(const int *touched, int ntouched, int *sorted)
{
	int			n = 0;

	for (int i = 0; i < ntouched; i++)
	{
		int			at = n;

		/* they come nearly in order */
		while (at > 0 && sorted[at - 1] > touched[i])
			at--;
		if (at > 0 && sorted[at - 1] == touched[i])
			continue;
		memmove(&sorted[at + 1], &sorted[at], sizeof(int) * (size_t) (n - at));
		sorted[at] = touched[i];
		n++;
	}
	return n;
}

/* Streaks in order of their days; they come nearly in order. */
static void
sort_streaks(Streak *streaks, int n)
{
	for (int i = 1; i < n; i++)
	{
		Streak		streak = streaks[i];
		int			at = i;

		for (; at > 0 && streaks[at - 1].onset > streak.onset; at--)
			streaks[at] = streaks[at - 1];
		streaks[at] = streak;
	}
}

/* Takes the alerts as they stand. */
static void
begin_walk(Walk *walk, const StreakAlert *alerts, int nalerts)
{
	walk->standing = streak_alloc(sizeof(Standing) * (size_t) (nalerts + 1));
	walk->nstanding = nalerts;
	for (int i = 0; i < nalerts; i++)
	{
		walk->standing[i].streak = alerts[i].basis;
		walk->standing[i].good = alerts[i].supported;
	}
}

/*
 * The streaks that a change of the touched days may have changed, and of those
 * between from and to that have an alert also the others; in order; their number.
 * Touched days may come in any order and more than once, and need no readings.
 * The alerts are the live ones of the rule, as they were before the change; those may be
 * left out whose watch_until is before the first touched day.
 */
int
streak_find(const StreakRule *rule, const StreakOps *ops, const StreakSource *source,
			const int *touched, int ntouched, const StreakAlert *alerts, int nalerts,
			Streak **streaks, int *from, int *to)
{
	Walk		walk = {.rule = rule,.ops = ops,.source = source};
	int		   *sorted = streak_alloc(sizeof(int) * (size_t) (ntouched + 1));
	int			n = sort_touched(touched, ntouched, sorted);

	begin_walk(&walk, alerts, nalerts);
	*from = STREAK_NEVER;
	*to = INT32_MIN;
	for (int done = 0, taken; done < n; done += taken)
		*to = walk_stretch(&walk, sorted + done, n - done, from, &taken);
	for (int i = 0; i < walk.found.n; i++)
		walk.found.streaks[i].watch_until = watch_until(rule, &walk.found.streaks[i]);
	for (int i = 0; i < nalerts; i++)
	{
		const Streak *streak = &walk.standing[i].streak;

		if (walk.standing[i].good && streak->onset <= *to && streak->last_day >= *from)
			streak_add_streak(&walk.found, streak);
	}
	sort_streaks(walk.found.streaks, walk.found.n);
	*streaks = walk.found.streaks;
	return walk.found.n;
}
