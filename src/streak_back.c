/*-------------------------------------------------------------------------
 *
 * streak_back.c
 *		Backwards from a touched day, to where the state of things is known.
 *
 * Only alerts that are there are relied on, never that there is none: those of an
 * older version of the rule may stand for a streak.
 *
 *-------------------------------------------------------------------------
 */
#include "streak_walk.h"

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

/*
 * The alert whose streak holds the touched day, and fires before it, and of which it is
 * known how many days OUT come before: where the touched day is the last one of them, or
 * no day in between may be missing.  So it is with every further reading of a day.
 */
static Standing *
holds(Walk *walk, int touched)
{
	const bool	dense = walk->rule->pattern == STREAK_RUN && walk->rule->gap == 0 && walk->rule->clear_days == 0;

	for (int i = 0; i < walk->nstanding; i++)
	{
		Standing   *standing = &walk->standing[i];
		const Streak *streak = &standing->streak;

		if (standing->good && streak->trigger_day < touched &&
			(streak->last_day == touched || (dense && streak->last_day > touched)))
			return standing;
	}
	return NULL;
}

/*
 * Resumes such a streak as it is on one of its days; so many days OUT come between
 * that and the touched one.  Its grade must be that of days up to that one.
 */
static void
resume_at(Walk *walk, Standing *standing, int day, int nbetween, int touched)
{
	const int	later = standing->streak.last_day - touched;

	resume(walk, standing, touched);
	walk->current.last_day = day;
	walk->current.out_days -= later + 1 + nbetween;
}

/* Runs: to the day before the run that reaches the touched day. */
static void
go_back_run(Walk *walk, int touched)
{
	Standing   *holder = holds(walk, touched);
	StreakDay	day;
	int			at = touched,
				last = touched;

	while (streak_fetch(walk, at, false, last - 1 - walk->rule->gap, &day) && day.state != STREAK_IN)
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
			if (holder != NULL && at >= holder->streak.trigger_day && day.grade >= holder->streak.grade)
			{
				resume_at(walk, holder, at, walk->back.n, touched);
				return;
			}
			streak_add_day(&walk->back, &day);
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

	while (streak_fetch(walk, at, false, touched - walk->rule->window + 1, &day))
	{
		at = day.day;
		if (day.state == STREAK_OUT)
			streak_add_day(&walk->back, &day);
	}
	while (walk->back.n > 0)
		streak_add_day(&walk->outs, &walk->back.days[--walk->back.n]);
	resume(walk, standing, touched);
}

/*
 * k of w: goes back no farther than to a day that fires of a streak that holds the touched
 * day; outs are the days OUT since then, and those that make it fire.
 */
static bool
stop_at_window(Walk *walk, const DayList *outs, int touched)
{
	const int	nbetween = outs->n - walk->rule->days;
	const int	fires = outs->days[nbetween].day;
	Standing   *holder = holds(walk, touched);
	int			grade = 0;

	for (int i = nbetween; i < outs->n; i++)
		grade = outs->days[i].grade > grade ? outs->days[i].grade : grade;
	if (holder == NULL || fires < holder->streak.trigger_day || grade < holder->streak.grade)
		return false;
	while (walk->back.n > 0 && walk->back.days[walk->back.n - 1].day <= fires)
		walk->back.n--;
	for (int i = outs->n - 1; i >= nbetween; i--)
		streak_add_day(&walk->outs, &outs->days[i]);
	resume_at(walk, holder, fires, nbetween, touched);
	return true;
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
	while (streak_fetch(walk, at, false, first - 2 * w + 2, &day))
	{
		at = day.day;
		streak_add_day(&walk->back, &day);
		if (day.state != STREAK_OUT)
			continue;
		streak_add_day(&outs, &day);
		if (outs.n >= k && outs.days[outs.n - k].day > first - w &&
			outs.days[outs.n - k].day - day.day < w)
		{
			if (first == touched && stop_at_window(walk, &outs, touched))
				return;
			first = outs.days[outs.n - k].day;
		}
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
		   streak_fetch(walk, at, false, last - 1 - walk->rule->gap, &day) &&
		   day.day > standing->streak.last_day && (day.clear || day.state == STREAK_MISSING))
	{
		at = day.day;
		if (day.state != STREAK_MISSING)
		{
			streak_add_day(&walk->back, &day);
			last = at;
		}
	}
	resume(walk, standing, touched);
}

/* Hysteresis, in an alert's streak: to the last day OUT before the touched one, if its grade says all. */
static bool
go_back_held(Walk *walk, Standing *holder, int touched)
{
	StreakDay	day;
	int			at = touched,
				nbetween = 0;

	while (streak_fetch(walk, at, false, holder->streak.trigger_day, &day))
	{
		at = day.day;
		if (day.state == STREAK_OUT && day.grade >= holder->streak.grade)
		{
			resume_at(walk, holder, at, nbetween, touched);
			return true;
		}
		nbetween += day.state == STREAK_OUT;
		if (day.state != STREAK_MISSING)
			streak_add_day(&walk->back, &day);
	}
	walk->back.n = 0;
	return false;
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

	while (streak_fetch(walk, at, false, limit, &day))
	{
		at = day.day;
		if (ended && at <= end + 1 - span)
			return;
		if (day.state == STREAK_MISSING)
			continue;
		streak_add_day(&walk->back, &day);
		if (day.state == STREAK_OUT)
			ended = false;
		if (!day.clear)
			row = 0;
		else
		{
			row = row > 0 && streak_is_next(walk, last, at) ? row + 1 : 1;
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
	Standing   *holder = holds(walk, touched);
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
	if (holder != NULL && go_back_held(walk, holder, touched))
		return;
	go_back_calm(walk, touched, limit);
}

/*
 * Goes back from a touched day, and from there to it again.  Streaks that end on the
 * way, which only hysteresis has, are not touched: they are no part of the stretch.
 */
void
streak_go_back(Walk *walk, int touched)
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
		streak_feed(walk, &walk->back.days[--walk->back.n]);
	if (walk->found.n > nfound)
		walk->start = walk->found.streaks[walk->found.n - 1].cleared_day + 1;
	walk->found.n = walk->open = nfound;
}
