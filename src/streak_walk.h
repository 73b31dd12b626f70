/*-------------------------------------------------------------------------
 *
 * streak_walk.h
 *		What the parts of streak_find share: a walk over days.
 *
 *-------------------------------------------------------------------------
 */
#ifndef STREAK_WALK_H
#define STREAK_WALK_H

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

#pragma GCC visibility push(hidden)

/* streak_step.c */
extern void streak_add_day(DayList *list, const StreakDay *day);
extern void streak_add_streak(StreakList *list, const Streak *streak);
extern bool streak_fetch(Walk *walk, int day, bool after, int limit, StreakDay *found);
extern bool streak_is_next(const Walk *walk, int day, int before);
extern void streak_finish(Walk *walk);
extern void streak_feed(Walk *walk, const StreakDay *day);

/* streak_back.c */
extern void streak_go_back(Walk *walk, int touched);

#pragma GCC visibility pop

#endif							/* STREAK_WALK_H */
