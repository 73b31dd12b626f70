/*-------------------------------------------------------------------------
 *
 * streak_match.c
 *		Which alert is whose: what has to become of alerts after their streaks
 *		have changed.
 *
 *-------------------------------------------------------------------------
 */
#include "streak.h"

/* Does an alert lie, at least partly, between two days? */
static bool
is_between(const StreakAlert *alert, int from, int to)
{
	return alert->basis.onset <= to && alert->basis.last_day >= from;
}

/* The alerts between two days, the oldest first; their number. */
static int
sort_alerts(const StreakAlert *alerts, int nalerts, int from, int to, const StreakAlert **sorted)
{
	int			n = 0;

	for (int i = 0; i < nalerts; i++)
	{
		int			at = n;

		if (!is_between(&alerts[i], from, to))
			continue;
		for (; at > 0 && sorted[at - 1]->age > alerts[i].age; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = &alerts[i];
		n++;
	}
	return n;
}

/*
 * The number of the streak that an alert belongs to, or -1: the one that its trigger
 * day is of, else the earliest one that it overlaps.
 */
static int
streak_of(const StreakAlert *alert, const Streak *streaks, int nstreaks)
{
	const Streak *basis = &alert->basis;
	int			earliest = -1;

	for (int i = 0; i < nstreaks; i++)
	{
		if (streaks[i].onset > basis->last_day || streaks[i].last_day < basis->onset)
			continue;
		if (streaks[i].onset <= basis->trigger_day && basis->trigger_day <= streaks[i].last_day)
			return i;
		if (earliest < 0 || streaks[i].onset < streaks[earliest].onset)
			earliest = i;
	}
	return earliest;
}

/* Is a streak another than an alert stands for?  A basis without grade is of a rule without. */
static bool
has_changed(const StreakAlert *alert, const Streak *streak)
{
	const Streak *basis = &alert->basis;

	return !alert->supported ||
		basis->onset != streak->onset || basis->trigger_day != streak->trigger_day ||
		basis->last_day != streak->last_day || basis->out_days != streak->out_days ||
		(basis->grade != 0 && basis->grade != streak->grade) ||
		basis->watch_until != streak->watch_until || basis->cleared != streak->cleared ||
		(streak->cleared && basis->cleared_day != streak->cleared_day);
}

/* Adds what becomes of an alert that has no streak of its own. */
static int
leave_alert(const StreakAlert *alert, StreakAction *action)
{
	if (!alert->supported && alert->handled)
		return 0;				/* it is flagged already */
	action->verb = alert->handled || alert->closed ? STREAK_FLAG : STREAK_RETRACT;
	action->alert = alert;
	action->into = NULL;
	action->streak = alert->basis;
	/* any reading may give it a streak again */
	action->streak.watch_until = STREAK_NEVER;
	return 1;
}

/* Adds what becomes of an alert whose streak is an older one's. */
static int
merge_alert(const StreakAlert *alert, const StreakAlert *into, StreakAction *action)
{
	if (alert->closed)
		return leave_alert(alert, action);
	action->verb = STREAK_MERGE;
	action->alert = alert;
	action->into = into;
	action->streak = alert->basis;
	return 1;
}

/* Adds that a streak is an alert's (NULL: a new one's). */
static int
give_streak(const StreakAlert *alert, const Streak *streak, StreakAction *action)
{
	if (alert != NULL && !has_changed(alert, streak))
		return 0;
	action->verb = alert == NULL ? STREAK_OPEN : STREAK_MOVE;
	action->alert = alert;
	action->into = NULL;
	action->streak = *streak;
	return 1;
}

/*
 * What has to become of the alerts between from and to, whose streaks streak_find has
 * found; the number of actions.  Alerts elsewhere are left as they are.
 */
int
streak_match(const Streak *streaks, int nstreaks, const StreakAlert *alerts, int nalerts,
			 int from, int to, StreakAction **actions)
{
	const StreakAlert **sorted = streak_alloc(sizeof(*sorted) * (size_t) (nalerts + 1));
	const StreakAlert **owners = streak_alloc(sizeof(*owners) * (size_t) (nstreaks + 1));
	StreakAction *list = streak_alloc(sizeof(*list) * (size_t) (nalerts + nstreaks + 1));
	int			nsorted = sort_alerts(alerts, nalerts, from, to, sorted);
	int			n = 0;

	for (int i = 0; i < nstreaks; i++)
		owners[i] = NULL;
	for (int i = 0; i < nsorted; i++)
	{
		const StreakAlert *alert = sorted[i];
		int			number = streak_of(alert, streaks, nstreaks);

		if (number < 0)
			n += leave_alert(alert, &list[n]);
		else if (owners[number] != NULL)
			n += merge_alert(alert, owners[number], &list[n]);
		else
		{
			owners[number] = alert;
			n += give_streak(alert, &streaks[number], &list[n]);
		}
	}
	for (int i = 0; i < nstreaks; i++)
	{
		if (owners[i] == NULL)
			n += give_streak(NULL, &streaks[i], &list[n]);
	}
	*actions = list;
	return n;
}
