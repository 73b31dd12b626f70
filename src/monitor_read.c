/*-------------------------------------------------------------------------
 *
 * monitor_read.c
 *		The readings of a patient, day by day, as rules ask for them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "monitor_read.h"

/* A moment's day begins no farther from that in UTC, in any time zone that ever was */
#define MARGIN (16 * USECS_PER_HOUR)

/* What gives the days of a rule */
typedef struct Days
{
	ClinicalReader *reader;
	const ClinicalMonitor *monitor;
	Series	   *series[STREAK_MAX_ITEMS];
	/* of the day that was given last */
	MemoryContext context;		/* of values that were computed */
	int			count;
	int			room;
	StreakReading *readings;
	pg_uuid_t  *tags;			/* what was read may move */
} Days;

/* The day of a time on the patient's clock, in the calendar of the rule. */
int
clinical_monitor_day(const ClinicalMonitor *monitor, Timestamp local)
{
	int64		day;

	local -= monitor->day_start * USECS_PER_MINUTE;
	day = local / USECS_PER_DAY;
	return (int) (local < day * USECS_PER_DAY ? day - 1 : day);
}

/* The day of an observation, in the calendar of the rule. */
static int
day_of(const Days *days, Observed *observed)
{
	/* of one that does not count, any will do */
	if (days->monitor->day_start == 0 || !clinical_observed_counts(days->reader, observed))
		return observed->local_day;
	return clinical_monitor_day(days->monitor, clinical_observed_local(days->reader, observed));
}

/* When a day of the rule begins in UTC. */
static TimestampTz
day_begins(const Days *days, int64 day)
{
	int64		lowest = MIN_TIMESTAMP / USECS_PER_DAY + 2;
	int64		highest = END_TIMESTAMP / USECS_PER_DAY - 2;

	return Max(lowest, Min(highest, day)) * USECS_PER_DAY + days->monitor->day_start * USECS_PER_MINUTE;
}

/* The nearest day of an item before that one; false if there is none. */
static bool
day_before(Days *days, Series *series, int day, int *found)
{
	TimestampTz limit = day_begins(days, day) + MARGIN;
	bool		any = false;
	int			number;

	clinical_series_begin(series, limit);
	clinical_series_read(days->reader, series, limit, limit);
	for (number = clinical_series_first(series, limit) - 1;; number--)
	{
		Observed   *observed;
		int			its;

		while (number < -series->nbefore && series->from != DT_NOBEGIN)
			clinical_series_before(days->reader, series);
		if (number < -series->nbefore)
			return any;
		observed = clinical_series_observed(series, number);
		if (observed->at < days->monitor->counts_from || (any && observed->at < day_begins(days, *found) - MARGIN))
			return any;
		its = day_of(days, observed);
		if (its < day && (!any || its > *found) && clinical_observed_counts(days->reader, observed))
		{
			*found = its;
			any = true;
			if (its == day - 1)
				return true;
		}
	}
}

/* The nearest day of an item after that one; false if there is none. */
static bool
day_after(Days *days, Series *series, int day, int *found)
{
	TimestampTz limit = Max(day_begins(days, (int64) day + 1) - MARGIN, days->monitor->counts_from);
	bool		any = false;
	int			number;

	clinical_series_begin(series, limit);
	clinical_series_read(days->reader, series, limit, limit);
	for (number = clinical_series_first(series, limit);; number++)
	{
		Observed   *observed;
		int			its;

		while (number >= series->nafter && series->to != DT_NOEND)
			clinical_series_after(days->reader, series);
		if (number >= series->nafter)
			return any;
		observed = clinical_series_observed(series, number);
		if (any && observed->at >= day_begins(days, (int64) *found + 1) + MARGIN)
			return any;
		its = day_of(days, observed);
		if (its > day && (!any || its < *found) && clinical_observed_counts(days->reader, observed))
		{
			*found = its;
			any = true;
			if (its == day + 1)
				return true;
		}
	}
}

/* Its value as the rule sees it; NULL: it has none. */
static Numeric
value_of(Days *days, int item, Numeric value)
{
	MemoryContext caller;

	if (days->monitor->kind != CLINICAL_MONITOR_BASELINE || value == NULL)
		return value;
	caller = MemoryContextSwitchTo(days->context);
	value = clinical_monitor_change(days->monitor, value, clinical_reader_baseline(days->reader, days->monitor, item)->value);
	MemoryContextSwitchTo(caller);
	return value;
}

/* A place for one more reading of the day. */
static StreakReading *
add_reading(Days *days)
{
	if (days->count == days->room)
	{
		days->room = days->room == 0 ? 8 : days->room * 2;
		if (days->count == 0)
		{
			days->readings = MemoryContextAlloc(days->reader->context, days->room * sizeof(StreakReading));
			days->tags = MemoryContextAlloc(days->reader->context, days->room * sizeof(pg_uuid_t));
		}
		else
		{
			days->readings = repalloc_huge(days->readings, (Size) days->room * sizeof(StreakReading));
			days->tags = repalloc_huge(days->tags, (Size) days->room * sizeof(pg_uuid_t));
		}
	}
	return &days->readings[days->count++];
}

/*
 * What a reading says of its day, if any reading that is out of range decides: does
 * it say more than those did that are there already?
 */
static bool
says_more(const Days *days, int item, Numeric value, StreakDay *said)
{
	StreakReading reading = {.item = item,.value = value};
	StreakDay	its;

	(void) streak_day(&days->monitor->rule, &clinical_monitor_ops, &reading, 1, &its);
	if (its.state <= said->state && its.grade <= said->grade && (its.clear || !said->clear))
		return false;
	its.clear = its.clear && said->clear;
	its.state = Max(its.state, said->state);
	its.grade = Max(its.grade, said->grade);
	*said = its;
	return true;
}

/* Add the readings of an item on a day; said: only those that say more of the day. */
static void
add_readings(Days *days, int item, int day, StreakDay *said)
{
	Series	   *series = days->series[item];
	TimestampTz from = Max(day_begins(days, day) - MARGIN, days->monitor->counts_from);
	TimestampTz to = day_begins(days, (int64) day + 1) + MARGIN;

	clinical_series_begin(series, from);
	clinical_series_read(days->reader, series, from, to);
	for (int number = clinical_series_first(series, from); number < series->nafter; number++)
	{
		Observed   *observed = clinical_series_observed(series, number);
		StreakReading *reading;
		StreakDay	before;
		Numeric		value;

		if (observed->at >= to || (said != NULL && said->grade == days->monitor->rule.ngrades))
			break;
		if (days->monitor->day_start == 0 && day_of(days, observed) != day)
			continue;
		value = value_of(days, item, observed->value);
		if (value == NULL)
			continue;
		if (said != NULL)
			before = *said;
		if (said != NULL && !says_more(days, item, value, said))
			continue;
		/* most expensive is to look up the report */
		if (!clinical_observed_counts(days->reader, observed) || day_of(days, observed) != day)
		{
			if (said != NULL)
				*said = before;
			continue;
		}
		reading = add_reading(days);
		reading->item = item;
		reading->at = observed->at;
		memcpy(reading->tie, observed->submission.data, UUID_LEN);
		reading->value = value;
		days->tags[days->count - 1] = observed->id;
	}
}

/* The readings of the nearest day before or after one: all, or enough to know its state. */
static bool
find_day(Days *days, int day, bool after, bool all, int *found)
{
	int			nitems = days->monitor->rule.nitems;

	do
	{
		StreakDay	said = {.state = STREAK_MISSING,.clear = true};
		bool		any = false;
		int			nearest;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < nitems; i++)
		{
			if (!(after ? day_after(days, days->series[i], day, &nearest) : day_before(days, days->series[i], day, &nearest)))
				continue;
			if (!any || (after ? nearest < *found : nearest > *found))
				*found = nearest;
			any = true;
		}
		if (!any)
			return false;
		days->count = 0;
		if (days->context != NULL)
			MemoryContextReset(days->context);
		for (int i = 0; i < nitems; i++)
			add_readings(days, i, *found, all ? NULL : &said);
		day = *found;
		/* without baseline, a value is none */
	} while (days->count == 0);
	for (int i = 0; i < days->count; i++)
		days->readings[i].tag = &days->tags[i];
	return true;
}

/* StreakSource: the readings of the nearest day before or after one. */
static bool
next_day(void *arg, int day, bool after, int *found, StreakReading **readings, int *count)
{
	Days	   *days = arg;
	bool		any = find_day(days, day, after, true, found);

	*readings = days->readings;
	*count = any ? days->count : 0;
	return any;
}

/* StreakSource: as many of them as are needed, where any that is out of range decides. */
static bool
enough_of_day(void *arg, int day, bool after, int *found, StreakReading **readings, int *count)
{
	Days	   *days = arg;
	bool		any = find_day(days, day, after, false, found);

	*readings = days->readings;
	*count = any ? days->count : 0;
	return any;
}

/* What gives the days of a rule, of the patient that the reader is at; as long as it is there. */
void
clinical_reader_source(ClinicalReader *reader, const ClinicalMonitor *monitor, StreakSource *source)
{
	Days	   *days;

	source->enough = NULL;
	if (monitor->kind == CLINICAL_MONITOR_MISSING)
	{
		clinical_missing_source(reader->patient_id, monitor, reader->context, source);
		return;
	}
	days = MemoryContextAllocZero(reader->context, sizeof(Days));
	days->reader = reader;
	days->monitor = monitor;
	for (int i = 0; i < monitor->rule.nitems; i++)
		days->series[i] = clinical_series_find(reader, monitor->items[i]);
	source->arg = days;
	source->next = next_day;
	if (monitor->kind == CLINICAL_MONITOR_BASELINE)
		days->context = AllocSetContextCreate(reader->context, "clinical changes", ALLOCSET_SMALL_SIZES);
	if (monitor->rule.aggregate == STREAK_ANY && monitor->rule.min_readings <= 1)
		source->enough = enough_of_day;
}

/* The first day of the patient's enrolment; DATEVAL_NOBEGIN: never. */
DateADT
clinical_reader_enrolment(ClinicalReader *reader)
{
	if (!reader->enrolment_known)
		reader->enrolment = clinical_first_enrolment(&reader->events, reader->patient_id);
	reader->enrolment_known = true;
	return reader->enrolment;
}

/* The first one that counts; false: none. */
static bool
first_that_counts(Days *days, Series *series, Observed *first)
{
	clinical_series_begin(series, MIN_TIMESTAMP);
	for (int number = -series->nbefore;; number++)
	{
		while (number >= series->nafter && series->to != DT_NOEND)
			clinical_series_after(days->reader, series);
		if (number >= series->nafter)
			return false;
		if (!clinical_observed_counts(days->reader, clinical_series_observed(series, number)))
			continue;
		*first = *clinical_series_observed(series, number);
		return true;
	}
}

/* The last one up to a day that counts; false: none. */
static bool
last_that_counts(Days *days, Series *series, DateADT day, Observed *last)
{
	TimestampTz limit = day_begins(days, (int64) day + 1) + MARGIN;

	clinical_series_begin(series, limit);
	clinical_series_read(days->reader, series, limit, limit);
	for (int number = clinical_series_first(series, limit) - 1;; number--)
	{
		while (number < -series->nbefore && series->from != DT_NOBEGIN)
			clinical_series_before(days->reader, series);
		if (number < -series->nbefore)
			return false;
		if (day_of(days, clinical_series_observed(series, number)) > day || !clinical_observed_counts(days->reader, clinical_series_observed(series, number)))
			continue;
		*last = *clinical_series_observed(series, number);
		return true;
	}
}

/* The reading that a rule compares those of an item with; false: none. */
static bool
find_baseline(ClinicalReader *reader, const ClinicalMonitor *monitor, int item, Observed *baseline)
{
	Days		days = {.reader = reader, .monitor = monitor};
	/* far from what the rule reads otherwise, so in a series of its own */
	Series		series = {.item = monitor->items[item]};

	series.key = CStringGetTextDatum(series.item);
	if (monitor->baseline == CLINICAL_BASELINE_FIRST)
		return first_that_counts(&days, &series, baseline);
	return clinical_reader_enrolment(reader) != DATEVAL_NOBEGIN &&
		last_that_counts(&days, &series, clinical_reader_enrolment(reader), baseline);
}

/* The same, looked for once for all rules; as long as the reader is at the patient. */
const ClinicalCompared *
clinical_reader_baseline(ClinicalReader *reader, const ClinicalMonitor *monitor, int item)
{
	MemoryContext caller;
	Observed	baseline;
	ClinicalCompared *compared;
	ListCell   *cell;

	foreach(cell, reader->baselines)
	{
		compared = lfirst(cell);
		if (clinical_compares_with(monitor, item, compared))
			return compared;
	}
	caller = MemoryContextSwitchTo(reader->context);
	compared = palloc0_object(ClinicalCompared);
	compared->item = monitor->items[item];
	compared->baseline = monitor->baseline;
	compared->day_start = monitor->day_start;
	if (find_baseline(reader, monitor, item, &baseline))
	{
		compared->at = baseline.at;
		compared->value = baseline.value;
	}
	reader->baselines = lappend(reader->baselines, compared);
	MemoryContextSwitchTo(caller);
	return compared;
}
