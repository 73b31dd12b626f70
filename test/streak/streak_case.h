/*-------------------------------------------------------------------------
 *
 * streak_case.h
 *		Histories of readings for the engine of monitoring rules, and what an
 *		independent reading of the definition says of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef STREAK_CASE_H
#define STREAK_CASE_H

#include "streak.h"

#define CASE_DAYS 64
#define CASE_READINGS 12		/* of a day */
#define CASE_ITEMS 3
#define CASE_GRADES 3
#define CASE_ALERTS 128

/* A range of whole numbers, which may be infinite and exclude its bounds */
typedef struct Range
{
	bool		has_low,
				has_high,
				with_low,
				with_high;
	int64_t		low,
				high;
} Range;

/* Numbers: chance, or a fuzzer's bytes */
typedef struct Draw
{
	int			(*below) (struct Draw *draw, int n);	/* one in [0, n) */
	uint64_t	state;
	const uint8_t *data;
	size_t		size;
} Draw;

/* A rule, one patient's readings, and the alerts raised */
typedef struct Case
{
	Draw	   *draw;
	StreakRule	rule;
	Range		ranges[CASE_ITEMS][CASE_GRADES];
	Range		clear_ranges[CASE_ITEMS];
	int			ndays;
	int			counts[CASE_DAYS];
	StreakReading readings[CASE_DAYS][CASE_READINGS];
	int64_t		values[CASE_DAYS][CASE_READINGS];
	int			clock;			/* of ties */
	StreakAlert alerts[CASE_ALERTS];	/* live ones */
	int			nalerts;
	int			next_age;
	int			left_out;		/* of so many streaks one gets no alert; 0: each gets one */
	bool		pass_all;		/* alerts that need not be looked at are, too */
	int			calls;			/* of the source */
	int			actions[STREAK_FLAG + 1];	/* by verb */
	const char *problem;		/* NULL: none so far */
	bool		verbose;
} Case;

extern const StreakOps case_ops;

extern void case_reset_memory(void);
extern void case_begin(Case *c, Draw *draw);
extern bool case_add(Case *c, int day, int item, int64_t at, int64_t value);
extern void case_remove(Case *c, int day, int number);
extern void case_evaluate(Case *c, const int *touched, int ntouched);
extern void case_compare(Case *c);
extern bool case_run(Case *c, Draw *draw);

/* streak_oracle.c */
extern int	oracle_streaks(const Case *c, Streak *streaks);

#endif							/* STREAK_CASE_H */
