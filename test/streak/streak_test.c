/*-------------------------------------------------------------------------
 *
 * streak_test.c
 *		The engine of monitoring rules against its definition.
 *
 *		streak_test [-n CASES] [SEED]	fixed cases, then so many histories
 *		streak_test SEED CASE			one history, told
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "streak_case.h"

static int	nfailed;

/* --- chance --- */

/* splitmix64 */
static uint64_t
next_random(uint64_t *state)
{
	uint64_t	z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* A number in [0, n). */
static int
random_below(Draw *draw, int n)
{
	return (int) (((next_random(&draw->state) >> 32) * (uint64_t) n) >> 32);
}

/* The chance of one case of a run. */
static Draw
draw_of(uint64_t seed, uint64_t number)
{
	Draw		draw = {random_below, seed, NULL, 0};

	next_random(&draw.state);
	draw.state ^= number * UINT64_C(0xd1342543de82ef95);
	next_random(&draw.state);
	return draw;
}

/* --- fixed cases --- */

/* A rule of [90, 140] (second item: [50, 90]) for three days in a row. */
static void
begin_fixed(Case *c, StreakAggregate aggregate, int gap)
{
	static Draw draw = {random_below, 1, NULL, 0};
	const Range normal = {true, true, true, true, 90, 140};
	const Range diastolic = {true, true, true, true, 50, 90};

	case_begin(c, &draw);
	c->ranges[0][0] = normal;
	c->ranges[1][0] = diastolic;
	c->rule.ranges[0][0] = &c->ranges[0][0];
	c->rule.ranges[1][0] = &c->ranges[1][0];
	c->rule.pattern = STREAK_RUN;
	c->rule.aggregate = aggregate;
	c->rule.days = 3;
	c->rule.window = 7;
	c->rule.gap = gap;
	c->rule.min_readings = 1;
	c->rule.nitems = c->rule.ngrades = 1;
}

/* Adds a reading and evaluates its day. */
static void
arrive(Case *c, int day, int value)
{
	case_add(c, day, 0, 8, value);
	case_evaluate(c, &day, 1);
}

/* Adds one reading a day: o is 150, i 130, c 110 (clear), any other none. */
static void
arrive_days(Case *c, int day, const char *days)
{
	for (; *days != '\0'; days++, day++)
	{
		if (*days == 'o' || *days == 'i' || *days == 'c')
			arrive(c, day, *days == 'o' ? 150 : *days == 'i' ? 130 : 110);
	}
}

/* Says how a fixed case has ended; problems of its own come as a text. */
static void
report(Case *c, const char *name, bool good)
{
	if (c->problem == NULL)
		case_compare(c);
	if (!good || c->problem != NULL)
	{
		nfailed++;
		printf("not ok - %s%s%s\n", name, c->problem == NULL ? "" : ": ", c->problem == NULL ? "" : c->problem);
	}
	else
		printf("ok - %s\n", name);
}

/* Compares the alerts ("onset-trigger(days)") and ends a fixed case. */
static void
expect(Case *c, const char *name, const char *alerts)
{
	char		got[1000] = "";
	size_t		length = 0;

	for (int i = 0; i < c->nalerts; i++)
	{
		const Streak *basis = &c->alerts[i].basis;

		length += (size_t) snprintf(got + length, sizeof(got) - length, "%s%d-%d(%d)%s", i == 0 ? "" : " ", basis->onset,
									basis->trigger_day, basis->out_days, c->alerts[i].supported ? "" : "?");
	}
	if (strcmp(got, alerts) != 0)
		printf("# %s: expected %s, got %s\n", name, alerts, got);
	report(c, name, strcmp(got, alerts) == 0);
}

/* The cases of the definition that are not of calendars. */
static void
test_definition(Case *c)
{
	static const struct
	{
		StreakAggregate aggregate;
		const char *name,
				   *alerts;
	}			v4[] = {{STREAK_ANY, "V4 any", "1-3(3)"}, {STREAK_ALL, "V4 all", ""}, {STREAK_MEAN, "V4 mean", ""},
	{STREAK_MEDIAN, "V4 median", ""}, {STREAK_MIN, "V4 min", ""}, {STREAK_MAX, "V4 max", "1-3(3)"}, {STREAK_LAST, "V4 last", ""}};

	begin_fixed(c, STREAK_ANY, 0);
	arrive_days(c, 1, "ooo");
	expect(c, "V1 three days", "1-3(3)");
	begin_fixed(c, STREAK_ANY, 0);
	arrive_days(c, 1, "ooiooo");
	expect(c, "V2 a day IN breaks it", "4-6(3)");
	begin_fixed(c, STREAK_ANY, 0);
	arrive_days(c, 1, "oo-o");
	expect(c, "V3 a missing day breaks it", "");
	begin_fixed(c, STREAK_ANY, 1);
	arrive_days(c, 1, "oo-o");
	expect(c, "V3 a missing day skipped", "1-4(3)");
	for (size_t i = 0; i < sizeof(v4) / sizeof(v4[0]); i++)
	{
		begin_fixed(c, v4[i].aggregate, 0);
		arrive_days(c, 1, "ooo");
		case_add(c, 2, 0, 20, 130);
		case_evaluate(c, (int[]) {2}, 1);
		expect(c, v4[i].name, v4[i].alerts);
	}
	begin_fixed(c, STREAK_ANY, 0);
	arrive(c, 1, 150);
	arrive(c, 3, 150);
	arrive(c, 2, 150);
	expect(c, "V6 the middle comes last", "1-3(3)");
	c->values[2][0] = 135;
	case_evaluate(c, (int[]) {2}, 1);
	expect(c, "V7 corrected away", "");
	begin_fixed(c, STREAK_ANY, 0);
	arrive_days(c, 1, "ooooooo");
	expect(c, "V8 one alert however long", "1-3(7)");
	case_evaluate(c, (int[]) {3, 1, 3, 60}, 4);
	expect(c, "V11 the same again", "1-3(7)");
	begin_fixed(c, STREAK_ANY, 0);
	c->rule.nitems = 2;
	arrive(c, 1, 150);
	case_add(c, 1, 1, 8, 80);
	case_add(c, 2, 0, 8, 120);
	case_add(c, 2, 1, 8, 95);
	case_add(c, 3, 1, 8, 99);
	case_evaluate(c, (int[]) {3, 2, 1}, 3);
	expect(c, "V14 either of two items", "1-3(3)");
}

/* Which alert keeps what. */
static void
test_alerts(Case *c)
{
	begin_fixed(c, STREAK_ANY, 0);
	arrive_days(c, 2, "ooo");
	arrive(c, 1, 150);
	expect(c, "an earlier onset", "1-3(4)");
	begin_fixed(c, STREAK_ANY, 0);
	arrive_days(c, 1, "ooo-ooo");
	expect(c, "two streaks", "1-3(3) 5-7(3)");
	arrive(c, 4, 150);
	expect(c, "joined: the older one stays", "1-3(7)");
	report(c, "  by a merge", c->actions[STREAK_MERGE] == 1 && c->alerts[0].age == 0);
	c->values[4][0] = 130;
	case_evaluate(c, (int[]) {4}, 1);
	expect(c, "split again", "1-3(3) 5-7(3)");
	begin_fixed(c, STREAK_ANY, 0);
	arrive_days(c, 5, "ooo");
	arrive_days(c, 1, "ooo");
	c->alerts[1].handled = c->alerts[1].closed = true;
	arrive(c, 4, 150);
	expect(c, "a closed one is not merged", "1-3(7) 1-3(3)?");
	begin_fixed(c, STREAK_ANY, 0);
	arrive_days(c, 1, "oooooo");
	c->values[2][0] = 130;
	case_evaluate(c, (int[]) {2}, 1);
	expect(c, "the part with the trigger day keeps it", "3-5(4)");
	report(c, "  by a move", c->actions[STREAK_MOVE] == 4 && c->alerts[0].age == 0);
	begin_fixed(c, STREAK_ANY, 0);
	arrive_days(c, 3, "ooo");
	c->values[4][0] = 130;
	case_add(c, 1, 0, 8, 150);
	case_add(c, 2, 0, 8, 150);
	case_add(c, 6, 0, 8, 150);
	case_add(c, 7, 0, 8, 150);
	case_evaluate(c, (int[]) {4, 1, 2, 6, 7}, 5);
	expect(c, "of two parts the one with the trigger day keeps it", "5-7(3) 1-3(3)");
	begin_fixed(c, STREAK_ANY, 0);
	arrive_days(c, 1, "ooo");
	c->alerts[0].handled = true;
	case_remove(c, 2, 0);
	case_evaluate(c, (int[]) {2}, 1);
	expect(c, "a handled one is flagged", "1-3(3)?");
	arrive(c, 2, 150);
	expect(c, "and supported again", "1-3(3)");
}

/* The other patterns, and what clears. */
static void
test_patterns(Case *c)
{
	begin_fixed(c, STREAK_ANY, 0);
	c->rule.pattern = STREAK_K_OF_W;
	arrive_days(c, 1, "oi-o-io---o");
	expect(c, "three of seven days", "1-7(3)");
	arrive_days(c, 12, "o");
	expect(c, "and on", "1-7(5)");
	begin_fixed(c, STREAK_ANY, 0);
	c->clear_ranges[0] = (Range) {true, true, true, true, 100, 120};
	c->rule.clear_ranges[0] = &c->clear_ranges[0];
	c->rule.clear_days = 2;
	arrive_days(c, 1, "oooicioo-ocio");
	expect(c, "not cleared: the same streak", "1-3(7)");
	report(c, "  not cleared", !c->alerts[0].basis.cleared && c->alerts[0].basis.watch_until == STREAK_NEVER);
	arrive_days(c, 14, "ccooo");
	expect(c, "cleared: another one", "1-3(7) 16-18(3)");
	report(c, "  cleared on the second clear day", c->alerts[0].basis.cleared_day == 15);
	begin_fixed(c, STREAK_ANY, 0);
	arrive_days(c, 1, "ooo--i");
	report(c, "the first day IN clears", c->alerts[0].basis.cleared_day == 6 && c->alerts[0].basis.watch_until == 6);
	begin_fixed(c, STREAK_ANY, 0);
	c->ranges[0][1] = (Range) {true, true, true, true, 80, 160};
	c->rule.ranges[0][1] = &c->ranges[0][1];
	c->rule.ngrades = 2;
	arrive_days(c, 1, "ooo");
	report(c, "the mildest grade", c->alerts[0].basis.grade == 1);
	arrive(c, 4, 170);
	report(c, "a worse grade", c->alerts[0].basis.grade == 2);
}

/* --- what it costs --- */

/* A patient for years: his states as letters, as in arrive_days */
typedef struct Years
{
	const char *states;
	int			ndays;
	int			calls;
} Years;

/* The source of years. */
static bool
next_of_years(void *arg, int day, bool after, int *found, StreakReading **readings, int *count)
{
	static const int64_t out = 150,
				in = 130,
				clear = 110;
	Years	   *years = arg;

	years->calls++;
	do
		day += after ? 1 : -1;
	while (day >= 0 && day < years->ndays && years->states[day] == '-');
	if (day < 0 || day >= years->ndays)
		return false;
	*found = day;
	*count = 1;
	*readings = streak_alloc(sizeof(StreakReading));
	memset(*readings, 0, sizeof(StreakReading));
	(*readings)->value = years->states[day] == 'o' ? &out : years->states[day] == 'i' ? &in : &clear;
	return true;
}

/* The alerts of a history; those that a touched day may reach. */
static int
alerts_of_years(Case *c, StreakSource *source, int ndays, int touched, StreakAlert *alerts)
{
	int		   *all = malloc(sizeof(int) * (size_t) ndays);
	Streak	   *streaks;
	int			from,
				to,
				n,
				nalerts = 0;

	for (int day = 0; day < ndays; day++)
		all[day] = day;
	n = streak_find(&c->rule, &case_ops, source, all, ndays, NULL, 0, &streaks, &from, &to);
	for (int i = 0; i < n; i++)
	{
		if (streaks[i].watch_until < touched)
			continue;
		memset(&alerts[nalerts], 0, sizeof(StreakAlert));
		alerts[nalerts].basis = streaks[i];
		alerts[nalerts].supported = true;
		alerts[nalerts].age = nalerts;
		nalerts++;
	}
	free(all);
	return nalerts;
}

/*
 * How often the engine asks for a day when a reading of the touched day comes into a
 * history that repeats a pattern.  The alerts are there, or none is.  Again: the day had
 * a reading before, that the alerts know.
 */
static int
cost(Case *c, const char *pattern, int ndays, int touched, bool with_alerts, bool again)
{
	char	   *states = malloc((size_t) ndays);
	Years		years = {states, ndays, 0};
	StreakSource source = {.arg = &years,.next = next_of_years};
	StreakAlert *alerts = malloc(sizeof(StreakAlert) * (size_t) ndays);
	Streak	   *streaks;
	int			from,
				to,
				nalerts;
	char		letter;

	case_reset_memory();
	for (int day = 0; day < ndays; day++)
		states[day] = pattern[(size_t) day % strlen(pattern)];
	letter = states[touched];
	if (!again)
		states[touched] = '-';
	nalerts = with_alerts ? alerts_of_years(c, &source, ndays, touched, alerts) : 0;
	states[touched] = letter;
	years.calls = 0;
	streak_find(&c->rule, &case_ops, &source, &touched, 1, alerts, nalerts, &streaks, &from, &to);
	free(states);
	free(alerts);
	return years.calls;
}

/* What one kind of rule costs with one kind of history. */
static void
test_cost_of(Case *c, int kind, const char *pattern, bool ends)
{
	int			few = cost(c, pattern, 60 + 1, 60, true, false);
	int			many = cost(c, pattern, 9960 + 1, 9960, true, false);
	char		name[100];

	snprintf(name, sizeof(name), "cost of kind %d, days %s: asked %d times in order, %d after many", kind, pattern, few, many);
	report(c, name, few == many && few <= 24);
	few = cost(c, pattern, 60 + 1, 60, true, true);
	many = cost(c, pattern, 9960 + 1, 9960, true, true);
	snprintf(name, sizeof(name), "  another reading of the day: %d times, %d after many", few, many);
	report(c, name, few == many && few <= 24);
	if (!ends)
		return;
	many = cost(c, pattern, 9960 + 1, 4980, true, false);
	snprintf(name, sizeof(name), "  late: %d times", many);
	report(c, name, many <= 40);
}

/*
 * In order: as much after 10,000 days as after 60; late: the run.  Counts, no clock.
 * The kinds are runs and k of w, without and with hysteresis.
 */
static void
test_cost(Case *c)
{
	/* per kind: those without an end of their own, whose late readings cost their length */
	static const char *const endless[] = {"o o- oo-", "o o- oo- oi oooi occo", "o", "o o- oo-"};
	/* the others */
	static const char *const ending[] = {"i c oi oooi occo iiiio", "i c iiiio", "c ccooo cccci", "c ccccccoooo"};

	for (int kind = 0; kind < 4; kind++)
	{
		char		patterns[100];

		begin_fixed(c, STREAK_ANY, 0);
		c->rule.pattern = kind % 2 == 0 ? STREAK_RUN : STREAK_K_OF_W;
		c->rule.days = kind % 2 == 0 ? 3 : 4;
		c->clear_ranges[0] = (Range) {true, true, true, true, 100, 120};
		c->rule.clear_ranges[0] = &c->clear_ranges[0];
		c->rule.clear_days = kind < 2 ? 0 : 2;
		snprintf(patterns, sizeof(patterns), "%s", endless[kind]);
		for (char *pattern = strtok(patterns, " "); pattern != NULL; pattern = strtok(NULL, " "))
			test_cost_of(c, kind, pattern, false);
		snprintf(patterns, sizeof(patterns), "%s", ending[kind]);
		for (char *pattern = strtok(patterns, " "); pattern != NULL; pattern = strtok(NULL, " "))
			test_cost_of(c, kind, pattern, true);
	}
	begin_fixed(c, STREAK_ANY, 3);
	test_cost_of(c, 0, "o-", false);
	begin_fixed(c, STREAK_ANY, 0);
	report(c, "a run without alert costs its length", cost(c, "o", 1001, 1000, false, false) > 1000);
}

/* --- runs --- */

/* One case, told. */
static int
tell(uint64_t seed, uint64_t number)
{
	static Case c;
	Draw		draw = draw_of(seed, number);

	c.verbose = true;
	if (case_run(&c, &draw))
	{
		printf("as it should be\n");
		return 0;
	}
	printf("WRONG: %s\n", c.problem);
	return 1;
}

/* So many histories. */
static void
test_histories(Case *c, uint64_t seed, uint64_t ncases)
{
	clock_t		start = clock();
	uint64_t	actions[STREAK_FLAG + 1] = {0};
	uint64_t	nwrong = 0;
	double		seconds;

	for (uint64_t number = 0; number < ncases && nwrong < 5; number++)
	{
		Draw		draw = draw_of(seed, number);

		if (!case_run(c, &draw))
		{
			printf("not ok - history: %s; streak_test %llu %llu tells it\n", c->problem,
				   (unsigned long long) seed, (unsigned long long) number);
			nwrong++;
		}
		for (int verb = 0; verb <= STREAK_FLAG; verb++)
			actions[verb] += (uint64_t) c->actions[verb];
		if ((number + 1) % 1000000 == 0)
		{
			printf("# %llu histories\n", (unsigned long long) number + 1);
			fflush(stdout);
		}
	}
	seconds = (double) (clock() - start) / CLOCKS_PER_SEC;
	nfailed += nwrong > 0;
	printf("%s - %llu histories, seed %llu\n", nwrong > 0 ? "not ok" : "ok", (unsigned long long) ncases, (unsigned long long) seed);
	printf("# %.0f histories a second; opened %llu, moved %llu, merged %llu, retracted %llu, flagged %llu\n",
		   seconds > 0 ? (double) ncases / seconds : 0.0, (unsigned long long) actions[STREAK_OPEN], (unsigned long long) actions[STREAK_MOVE],
		   (unsigned long long) actions[STREAK_MERGE], (unsigned long long) actions[STREAK_RETRACT], (unsigned long long) actions[STREAK_FLAG]);
}

/* See the top. */
int
main(int argc, char **argv)
{
	static Case c;
	uint64_t	ncases = 20000;
	uint64_t	seed = (uint64_t) time(NULL);

	if (argc >= 3 && strcmp(argv[1], "-n") == 0)
	{
		ncases = strtoull(argv[2], NULL, 10);
		argc -= 2;
		argv += 2;
	}
	if (argc == 3)
		return tell(strtoull(argv[1], NULL, 10), strtoull(argv[2], NULL, 10));
	if (argc == 2)
		seed = strtoull(argv[1], NULL, 10);
	test_definition(&c);
	test_alerts(&c);
	test_patterns(&c);
	test_cost(&c);
	test_histories(&c, seed, ncases);
	printf(nfailed == 0 ? "all as it should be\n" : "%d failed\n", nfailed);
	return nfailed != 0;
}
