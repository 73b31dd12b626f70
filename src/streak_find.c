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
 * Only alerts that are there are relied on, never that there is none: those of an
 * older version of the rule may stand for a streak.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "streak.h"

typedef struct DayList
{
	StreakDay  *days;
	int			n;
	int			allocated;
} DayList;

typedef struct StreakList
{
	Streak	   *streaks;
	int			n;
	int			allocated;
} StreakList;

/* An alert, while stretches are gone through */
typedef struct Standing
{
	Streak		streak;			/* its basis; the clearing is kept up to date */
	bool		good;			/* it has a streak, that no stretch has gone over */
} Standing;

typedef struct Walk
{
	const StreakRule *rule;
	const StreakOps *ops;
	const StreakSource *source;
	Standing   *standing;
	int			nstanding;
	StreakList	found;
	/* the automaton */
	Streak		current;		/* out_days = 0: none */
	bool		fired;			/* current is long enough */
	DayList		outs;			/* k of w: the days OUT that make days fire */
	int			row;			/* so many clear days in a row */
	int			row_day;		/* the last of them */
	int			open;			/* streaks found from here on are not cleared yet */
	/* the stretch */
	DayList		back;			/* the days before the first touched one, backwards */
	int			start;			/* its first day */
	int			touched;		/* the last touched day so far */
	int			reach;			/* the last day so far that is touched or OUT */
	bool		seen_in;		/* since the last touched day: an IN */
	int			quiet;			/* since then, clear days in a row */
	int			quiet_day;
	bool		settled;		/* clear_days of them, and no OUT since */
	int			first_in;		/* the first IN since the first touched day */
	bool		waiting;		/* earlier streaks wait for that */
} Walk;

/* --- lists and days --- */

/* Adds a day to a list. */
static void
add_day(DayList *list, const StreakDay *day)
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
static void
add_streak(StreakList *list, const Streak *streak)
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
static bool
fetch(Walk *walk, int day, bool after, int limit, StreakDay *found)
{
	StreakReading *readings;
	int			count;

	if (!walk->source->next(walk->source->arg, day, after, &found->day, &readings, &count))
		return false;
	if (!after && found->day < limit)
		return false;
	streak_day(walk->rule, walk->ops, readings, count, found);
	return true;
}

/* Is a day within the gap that is tolerated after another? */
static bool
is_next(const Walk *walk, int day, int before)
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
static void
finish(Walk *walk)
{
	if (walk->fired)
	{
		add_streak(&walk->found, &walk->current);
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
	if (walk->current.out_days > 0 && !is_next(walk, day->day, walk->current.last_day))
		finish(walk);
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

	add_day(outs, day);
	if (outs->n < k || day->day - outs->days[outs->n - k].day >= walk->rule->window)
		return;
	if (walk->fired && day->day - walk->current.last_day >= walk->rule->window)
		finish(walk);
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
		finish(walk);
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
			finish(walk);
		return;
	}
	if (!day->clear)
	{
		walk->row = 0;
		return;
	}
	walk->row = walk->row > 0 && is_next(walk, day->day, walk->row_day) ? walk->row + 1 : 1;
	walk->row_day = day->day;
	if (walk->row < walk->rule->clear_days)
		return;
	walk->current.cleared = true;
	walk->current.cleared_day = day->day;
	finish(walk);
	/* its days make no other day fire */
	walk->outs.n = 0;
}

/* The automaton's next day. */
static void
feed(Walk *walk, const StreakDay *day)
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

/* --- backwards from a touched day, to where the state is known --- */

/* The current streak is an alert's, that no touched day has changed up to here. */
static void
resume(Walk *walk, Standing *standing, int touched)
{
	walk->current = standing->streak;
	walk->fired = true;
	if (walk->current.grade == 0)
		walk->current.grade = 1;
	if (walk->current.cleared && walk->current.cleared_day >= touched)
		walk->current.cleared = false;
	walk->start = standing->streak.onset;
}

/* The alert whose last day OUT lies in [from, to], if there is one. */
static Standing *
ends_between(Walk *walk, int from, int to)
{
	for (int i = 0; i < walk->nstanding; i++)
	{
		Standing   *standing = &walk->standing[i];

		if (standing->good && standing->streak.last_day >= from && standing->streak.last_day <= to)
			return standing;
	}
	return NULL;
}

/* Runs: to the day before the run that reaches the touched day. */
static void
go_back_run(Walk *walk, int touched)
{
	StreakDay	day;
	int			at = touched,
				last = touched;

	while (fetch(walk, at, false, last - 1 - walk->rule->gap, &day) && day.state != STREAK_IN)
	{
		at = day.day;
		if (day.state == STREAK_OUT)
		{
			Standing   *standing = ends_between(walk, at, at);

			if (standing != NULL)
			{
				resume(walk, standing, touched);
				return;
			}
			add_day(&walk->back, &day);
			last = at;
		}
	}
}

/* k of w, after an alert: the days OUT that later windows may hold. */
static void
go_back_after(Walk *walk, Standing *standing, int touched)
{
	StreakDay	day;
	int			at = touched;

	while (fetch(walk, at, false, touched - walk->rule->window + 1, &day))
	{
		at = day.day;
		if (day.state == STREAK_OUT)
			add_day(&walk->back, &day);
	}
	while (walk->back.n > 0)
		add_day(&walk->outs, &walk->back.days[--walk->back.n]);
	resume(walk, standing, touched);
}

/*
 * k of w: to the first day that fires of the streak that reaches the touched day, and
 * as far again as to know that no day before it does.
 */
static void
go_back_window(Walk *walk, int touched)
{
	const int	w = walk->rule->window,
				k = walk->rule->days;
	int			first = touched;	/* the first day that fires; for now none does */
	int			at = touched;
	DayList		outs = {NULL, 0, 0};
	StreakDay	day;
	Standing   *standing = ends_between(walk, touched - w + 1, touched - 1);

	if (standing != NULL)
	{
		go_back_after(walk, standing, touched);
		return;
	}
	while (fetch(walk, at, false, first - 2 * w + 2, &day))
	{
		at = day.day;
		add_day(&walk->back, &day);
		if (day.state != STREAK_OUT)
			continue;
		add_day(&outs, &day);
		if (outs.n >= k && outs.days[outs.n - k].day > first - w &&
			outs.days[outs.n - k].day - day.day < w)
			first = outs.days[outs.n - k].day;
	}
	/* earlier days are another streak's, or nobody's */
	while (walk->back.n > 0 && walk->back.days[walk->back.n - 1].day <= first - w)
		walk->back.n--;
}

/* Hysteresis, after an alert that is not cleared: the clear days in a row so far. */
static void
go_back_row(Walk *walk, Standing *standing, int touched)
{
	StreakDay	day;
	int			at = touched,
				last = touched;

	while (walk->back.n < walk->rule->clear_days - 1 &&
		   fetch(walk, at, false, last - 1 - walk->rule->gap, &day) &&
		   day.day > standing->streak.last_day && (day.clear || day.state == STREAK_MISSING))
	{
		at = day.day;
		if (day.state != STREAK_MISSING)
		{
			add_day(&walk->back, &day);
			last = at;
		}
	}
	resume(walk, standing, touched);
}

/*
 * Hysteresis, without such an alert: to clear days in a row, which end whatever there
 * was; for k of w, those before which no day OUT is near enough to make one fire
 * after them (nobody knows if it is a streak's).
 */
static void
go_back_calm(Walk *walk, int touched, int limit)
{
	const int	span = walk->rule->pattern == STREAK_RUN ? 1 : walk->rule->window;
	int			row = 0,
				row_end = 0,
				end = 0;
	bool		ended = false;
	int			at = touched,
				last = touched;
	StreakDay	day;

	while (fetch(walk, at, false, limit, &day))
	{
		at = day.day;
		if (ended && at <= end + 1 - span)
			return;
		if (day.state == STREAK_MISSING)
			continue;
		add_day(&walk->back, &day);
		if (day.state == STREAK_OUT)
			ended = false;
		if (!day.clear)
			row = 0;
		else
		{
			row = row > 0 && is_next(walk, last, at) ? row + 1 : 1;
			if (row == 1)
				row_end = at;
			if (!ended && row >= walk->rule->clear_days)
			{
				ended = true;
				end = row_end;
			}
		}
		if (ended && at <= end + 2 - span)
			return;
		last = at;
	}
}

/* Hysteresis: to the beginning of what is not cleared yet, or of nothing. */
static void
go_back_hysteresis(Walk *walk, int touched)
{
	int			limit = INT32_MIN;

	for (int i = 0; i < walk->nstanding; i++)
	{
		Standing   *standing = &walk->standing[i];
		const Streak *streak = &standing->streak;

		if (!standing->good || streak->trigger_day >= touched ||
			(streak->cleared && streak->cleared_day < touched))
			continue;
		if (streak->last_day < touched)
		{
			go_back_row(walk, standing, touched);
			return;
		}
		/* all its days are needed; before them there was nothing */
		limit = streak->onset;
	}
	go_back_calm(walk, touched, limit);
}

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
	walk->quiet = walk->quiet > 0 && is_next(walk, day->day, walk->quiet_day) ? walk->quiet + 1 : 1;
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

	while ((more = fetch(walk, at, true, 0, &day)))
	{
		at = day.day;
		for (; n < ntouched && touched[n] <= at; n++)
			take_touched(walk, touched[n]);
		if (is_over(walk, at))
			break;
		if (day.state == STREAK_MISSING)
			continue;
		feed(walk, &day);
		note_day(walk, &day);
		if (day.state == STREAK_IN && walk->first_in == STREAK_NEVER)
			walk->first_in = at;
	}
	finish(walk);
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

/*
 * Goes back from a touched day, and from there to it again.  Streaks that end on the
 * way, which only hysteresis has, are not touched: they are no part of the stretch.
 */
static void
go_back(Walk *walk, int touched)
{
	const int	nfound = walk->found.n;

	if (walk->rule->clear_days > 0)
		go_back_hysteresis(walk, touched);
	else if (walk->rule->pattern == STREAK_RUN)
		go_back_run(walk, touched);
	else
		go_back_window(walk, touched);
	if (walk->back.n > 0 && walk->back.days[walk->back.n - 1].day < walk->start)
		walk->start = walk->back.days[walk->back.n - 1].day;
	while (walk->back.n > 0)
		feed(walk, &walk->back.days[--walk->back.n]);
	if (walk->found.n > nfound)
		walk->start = walk->found.streaks[walk->found.n - 1].cleared_day + 1;
	walk->found.n = walk->open = nfound;
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
	go_back(walk, touched[0]);
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
			add_streak(&walk.found, streak);
	}
	sort_streaks(walk.found.streaks, walk.found.n);
	*streaks = walk.found.streaks;
	return walk.found.n;
}
