/*-------------------------------------------------------------------------
 *
 * streak.h
 *		The engine of monitoring rules: days, streaks, and which alert is whose.
 *
 * Pure C: no header of the server, so that it runs in any process, and millions
 * of cases a minute can be tried.  It reads no clock and keeps nothing: what it
 * finds is a function of the readings that it is given.
 *
 * Days are numbers.  Memory is got from the caller by streak_alloc and is never
 * given back; the caller throws away what it got between evaluations.
 *
 *-------------------------------------------------------------------------
 */
#ifndef STREAK_H
#define STREAK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STREAK_MAX_ITEMS 16
#define STREAK_MAX_GRADES 8

typedef enum StreakAggregate
{
	STREAK_ANY, STREAK_ALL, STREAK_MEAN, STREAK_MEDIAN, STREAK_MIN, STREAK_MAX, STREAK_LAST
} StreakAggregate;

/* How days make an alert: so many in a row, or k of w */
typedef enum StreakPattern
{
	STREAK_RUN, STREAK_K_OF_W
} StreakPattern;

typedef enum StreakState
{
	STREAK_MISSING, STREAK_IN, STREAK_OUT
} StreakState;

/*
 * What the caller knows about values and ranges, and the engine does not.  inside()
 * says whether the mean of so many values (1: the value itself) lies in a range,
 * exactly.
 */
typedef struct StreakOps
{
	int			(*compare) (const void *left, const void *right);
	bool		(*inside) (const void *const *values, int count, const void *range);
} StreakOps;

typedef struct StreakRule
{
	StreakPattern pattern;
	StreakAggregate aggregate;
	int			days;			/* N, or k */
	int			window;			/* w */
	int			gap;			/* missing days that a run tolerates between two days */
	int			min_readings;	/* of an item; fewer are as none */
	int			nitems;
	/* the normal range of each item; graded rules have one for each grade, from the
	 * mildest (grade 1) to the worst */
	int			ngrades;		/* at least 1 */
	const void *ranges[STREAK_MAX_ITEMS][STREAK_MAX_GRADES];
	/* hysteresis: the condition is cleared by so many days in a row inside these
	 * narrower ranges; 0: by the first day that is IN */
	int			clear_days;
	const void *clear_ranges[STREAK_MAX_ITEMS]; /* NULL: clear when it is IN */
} StreakRule;

typedef struct StreakReading
{
	int			item;			/* by its number in the rule */
	int64_t		at;
	unsigned char tie[16];		/* decides, after at, which one is the last */
	const void *value;
	const void *tag;			/* the caller's */
} StreakReading;

/* A day that is not missing */
typedef struct StreakDay
{
	int			day;
	StreakState state;			/* IN or OUT */
	bool		clear;			/* inside the ranges that clear the condition */
	int			grade;			/* OUT: the worst range that it is out of */
} StreakDay;

/*
 * Where the days come from.  next() gives the readings of the nearest day before
 * (or after) a day that has any of the rule's items, or false if there is none; they
 * are good until the source is asked again.  The engine asks for no more days than it
 * needs.  enough(), unless it is NULL, does the same, but may leave readings out
 * without which streak_day() says the same of their day.
 */
typedef struct StreakSource
{
	void	   *arg;
	bool		(*next) (void *arg, int day, bool after, int *found, StreakReading **readings, int *count);
	bool		(*enough) (void *arg, int day, bool after, int *found, StreakReading **readings, int *count);
} StreakSource;

/* A streak that is long enough */
typedef struct Streak
{
	int			onset;
	int			trigger_day;
	int			last_day;		/* the last day that is OUT */
	int			out_days;
	int			grade;			/* the worst of its days */
	int			watch_until;	/* a reading after this day does not touch it;
								 * STREAK_NEVER: any may, as long as it is not
								 * cleared */
	bool		cleared;
	int			cleared_day;	/* the day that cleared the condition, if it was */
} Streak;

#define STREAK_NEVER INT32_MAX

/* A live alert of the rule and the patient, as it stands */
typedef struct StreakAlert
{
	Streak		basis;			/* as far as the caller keeps it */
	bool		supported;		/* it has a streak */
	bool		handled;		/* acknowledged or closed: it is flagged, not
								 * withdrawn */
	bool		closed;			/* it is flagged, not merged */
	int			age;			/* the older has the lower */
	const void *tag;			/* the caller's */
} StreakAlert;

typedef enum StreakVerb
{
	STREAK_OPEN,				/* a streak without alert: raise one */
	STREAK_MOVE,				/* the alert's streak has changed */
	STREAK_MERGE,				/* the alert's streak is another's now: into */
	STREAK_RETRACT,				/* not handled yet, and without a streak */
	STREAK_FLAG					/* handled, and without a streak */
} StreakVerb;

typedef struct StreakAction
{
	StreakVerb	verb;
	const StreakAlert *alert;	/* NULL: STREAK_OPEN */
	const StreakAlert *into;	/* STREAK_MERGE */
	Streak		streak;			/* STREAK_OPEN and STREAK_MOVE: as it is now; else
								 * the alert's, STREAK_FLAG's to be watched for ever:
								 * readings may come that support it again */
} StreakAction;

/* the library does not export them */
#pragma GCC visibility push(hidden)

extern void *streak_alloc(size_t size);	/* by the caller; does not fail */

/* streak_day.c: the state of a day */
extern StreakState streak_day(const StreakRule *rule, const StreakOps *ops,
							  StreakReading *readings, int count, StreakDay *day);

/* streak_find.c: the streaks that a change of some days may have touched */
extern int	streak_find(const StreakRule *rule, const StreakOps *ops, const StreakSource *source,
						const int *touched, int ntouched, const StreakAlert *alerts, int nalerts,
						Streak **streaks, int *from, int *to);

/* streak_match.c: what has to become of the alerts between from and to */
extern int	streak_match(const Streak *streaks, int nstreaks, const StreakAlert *alerts, int nalerts,
						 int from, int to, StreakAction **actions);

#pragma GCC visibility pop

#endif							/* STREAK_H */
