/*-------------------------------------------------------------------------
 *
 * monitor_read.c
 *		The readings of a patient, day by day, as rules ask for them.
 *
 * They are read by the primary key of observation, in chunks from the day that
 * is asked for outwards, and kept for all rules of the patient until the next
 * patient is begun.  What their report says, whether they count and their local
 * time, is looked up when it matters.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "monitor.h"

/* A moment's day begins no farther from that in UTC, in any time zone that ever was */
#define MARGIN (16 * USECS_PER_HOUR)
/*
 * So many readings are read at once at least; twice as many each time.  Few, since
 * each lies in another block of the table, and most often the day before decides.
 */
#define CHUNK 4
/* What is asked for so far from what was read begins anew, rather than read all between */
#define FAR (60 * USECS_PER_DAY)

/* A report, as far as its readings need it */
typedef struct ReportKey
{
	pg_uuid_t	id;
	int32		patient;		/* the how manieth of the reader */
} ReportKey;

typedef struct Report
{
	ReportKey	key;
	bool		accepted;
	Datum		zone;			/* of one that is there, as long as the reader is at
								 * the patient */
} Report;

/* The last version of an observation */
typedef struct Observed
{
	TimestampTz at;
	pg_uuid_t	id;
	pg_uuid_t	submission;
	Numeric		value;			/* NULL: none */
	DateADT		local_day;
	bool		looked_up;		/* the following is known */
	bool		counts;
	bool		local_known;
	Timestamp	local;
} Observed;

/* Observations of an item, from the moment where reading began in both directions */
typedef struct Series
{
	char	   *item;
	Datum		key;
	bool		begun;
	TimestampTz from;			/* all from this moment on are here; DT_NOBEGIN:
								 * there are none before */
	TimestampTz to;				/* all before this moment are; DT_NOEND: there are
								 * none after */
	int			nbefore;
	int			before_room;
	Observed   *before;			/* the nearest first */
	int			nafter;
	int			after_room;
	Observed   *after;
} Series;

/* The columns of observation that are read */
enum
{
	READ_CAPTURED_AT, READ_ID, READ_SUBMISSION_ID, READ_LOCAL_DAY, READ_VALUE, READ_ABSENT, READ_NCOLUMNS
};
static const char *const read_names[READ_NCOLUMNS] = {
	"captured_at", "id", "submission_id", "local_day", "value", "absent"
};

struct ClinicalReader
{
	MemoryContext context;		/* of what was read of the patient */
	ClinicalFinder observations;
	ClinicalFinder submissions;
	ClinicalFinder events;
	int			numbers[READ_NCOLUMNS]; /* of the columns; 0: not known yet */
	Datum		patient_id;
	int32		patient;		/* the how manieth */
	List	   *series;
	List	   *baselines;
	HTAB	   *reports;
	bool		enrolment_known;
	DateADT		enrolment;		/* the first day; DATEVAL_NOBEGIN: none */
};

/* What gives the days of a rule */
typedef struct Days
{
	ClinicalReader *reader;
	const ClinicalMonitor *monitor;
	Series	   *series[STREAK_MAX_ITEMS];
} Days;

/*
 * Begin to read, with a snapshot of now, which is the active one until the end:
 * what others have committed counts, and what this transaction has done.
 */
ClinicalReader *
clinical_reader_begin(void)
{
	static const ClinicalReader beginning = {
		.observations = {.table = "observation", .nkeys = 3, .types = {TEXTOID, TEXTOID, TIMESTAMPTZOID}},
		.submissions = {.table = "submission", .nkeys = 2, .types = {TEXTOID, UUIDOID}},
		.events = {.table = "enrollment_event", .nkeys = 1, .types = {TEXTOID}},
	};
	HASHCTL		reports = {.keysize = sizeof(ReportKey), .entrysize = sizeof(Report), .hcxt = CurrentMemoryContext};
	ClinicalReader *reader = palloc_object(ClinicalReader);

	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	*reader = beginning;
	reader->observations.context = reader->submissions.context = reader->events.context = CurrentMemoryContext;
	reader->reports = hash_create("clinical reports", 64, &reports, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	reader->context = AllocSetContextCreate(CurrentMemoryContext, "clinical readings", ALLOCSET_DEFAULT_SIZES);
	return reader;
}

/* The end of it. */
void
clinical_reader_end(ClinicalReader *reader)
{
	clinical_find_close(&reader->observations);
	clinical_find_close(&reader->submissions);
	clinical_find_close(&reader->events);
	PopActiveSnapshot();
	hash_destroy(reader->reports);
	MemoryContextDelete(reader->context);
	pfree(reader);
}

/* Go on to a patient; what was read of the last one is gone. */
void
clinical_reader_patient(ClinicalReader *reader, Datum patient_id)
{
	MemoryContextReset(reader->context);
	reader->patient_id = patient_id;
	reader->patient++;
	reader->series = reader->baselines = NIL;
	reader->enrolment_known = false;
}

/* What was read of an item; it lives in the reader's context. */
static Series *
find_series(ClinicalReader *reader, const char *item)
{
	MemoryContext caller;
	Series	   *series;
	ListCell   *cell;

	foreach(cell, reader->series)
	{
		series = lfirst(cell);
		if (strcmp(series->item, item) == 0)
			return series;
	}
	caller = MemoryContextSwitchTo(reader->context);
	series = palloc0_object(Series);
	series->item = pstrdup(item);
	series->key = CStringGetTextDatum(item);
	reader->series = lappend(reader->series, series);
	MemoryContextSwitchTo(caller);
	return series;
}

/* Begin to look for observations of an item that stand so to a moment. */
static void
find_observations(ClinicalReader *reader, const Series *series, StrategyNumber strategy, TimestampTz moment)
{
	Datum		keys[3] = {reader->patient_id, series->key, TimestampTzGetDatum(moment)};
	ClinicalFinder *finder = &reader->observations;

	finder->strategies[2] = strategy;
	clinical_find(finder, keys);
	for (int i = 0; reader->numbers[READ_NCOLUMNS - 1] == 0 && i < READ_NCOLUMNS; i++)
	{
		reader->numbers[i] = SPI_fnumber(finder->slot->tts_tupleDescriptor, read_names[i]);
		if (reader->numbers[i] <= 0)
			elog(ERROR, "no column \"%s\" in \"observation\"", read_names[i]);
	}
}

/* A column of the row that was found. */
static Datum
read_column(ClinicalReader *reader, int column, bool *isnull)
{
	return slot_getattr(reader->observations.slot, reader->numbers[column], isnull);
}

/* Read the moment and the id of the row that was found. */
static void
read_key(ClinicalReader *reader, Observed *observed)
{
	bool		isnull;

	observed->at = DatumGetTimestampTz(read_column(reader, READ_CAPTURED_AT, &isnull));
	observed->id = *DatumGetUUIDP(read_column(reader, READ_ID, &isnull));
}

/* Read the rest of it. */
static void
read_rest(ClinicalReader *reader, Observed *observed)
{
	bool		isnull;
	bool		present;
	Datum		value;

	observed->submission = *DatumGetUUIDP(read_column(reader, READ_SUBMISSION_ID, &isnull));
	observed->local_day = DatumGetDateADT(read_column(reader, READ_LOCAL_DAY, &isnull));
	observed->looked_up = observed->local_known = false;
	(void) read_column(reader, READ_ABSENT, &present);
	value = read_column(reader, READ_VALUE, &isnull);
	observed->value = NULL;
	if (!isnull && present)
	{
		MemoryContext caller = MemoryContextSwitchTo(reader->context);

		observed->value = DatumGetNumericCopy(value);
		MemoryContextSwitchTo(caller);
	}
}

/* A place for one more in an array that lives in the reader's context. */
static Observed *
make_room(ClinicalReader *reader, Observed **array, int count, int *room)
{
	if (*room == 0)
		*array = MemoryContextAlloc(reader->context, (*room = CHUNK) * sizeof(Observed));
	else if (count == *room)
		*array = repalloc_huge(*array, (Size) (*room *= 2) * sizeof(Observed));
	return &(*array)[count];
}

/* Is it another version of the same? */
static bool
same_observation(const Observed *left, const Observed *right)
{
	return left->at == right->at && memcmp(left->id.data, right->id.data, UUID_LEN) == 0;
}

/* Read a chunk of what stands before what was read. */
static void
read_before(ClinicalReader *reader, Series *series)
{
	int			goal = series->nbefore + Max(CHUNK, series->nbefore);
	Observed	next;

	find_observations(reader, series, BTLessStrategyNumber, series->from);
	series->from = DT_NOBEGIN;
	while (clinical_find_next(&reader->observations, true))
	{
		const Observed *last = series->nbefore == 0 ? NULL : &series->before[series->nbefore - 1];

		CHECK_FOR_INTERRUPTS();
		read_key(reader, &next);
		if (series->nbefore >= goal && next.at != last->at)
		{
			series->from = last->at;
			break;
		}
		/* from behind the last version comes first */
		if (last != NULL && same_observation(last, &next))
			continue;
		read_rest(reader, &next);
		*make_room(reader, &series->before, series->nbefore, &series->before_room) = next;
		series->nbefore++;
	}
}

/* Read a chunk of what stands after what was read. */
static void
read_after(ClinicalReader *reader, Series *series)
{
	int			goal = series->nafter + Max(CHUNK, series->nafter);
	Observed	next;

	find_observations(reader, series, BTGreaterEqualStrategyNumber, series->to);
	series->to = DT_NOEND;
	while (clinical_find_next(&reader->observations, false))
	{
		Observed   *last = series->nafter == 0 ? NULL : &series->after[series->nafter - 1];

		CHECK_FOR_INTERRUPTS();
		read_key(reader, &next);
		if (series->nafter >= goal && next.at != last->at)
		{
			series->to = next.at;
			break;
		}
		read_rest(reader, &next);
		if (last != NULL && same_observation(last, &next))
		{
			*last = next;
			continue;
		}
		*make_room(reader, &series->after, series->nafter, &series->after_room) = next;
		series->nafter++;
	}
}

/* --- from what was read ----------------------------------------------------------------------- */

/* The observation of that number: those before the beginning have numbers below zero. */
static Observed *
observation(Series *series, int number)
{
	return number < 0 ? &series->before[-1 - number] : &series->after[number];
}

/* The number of the first one that was read at a moment or after it. */
static int
first_from(Series *series, TimestampTz moment)
{
	int			low = -series->nbefore;
	int			high = series->nafter;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (observation(series, middle)->at < moment)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Begin anew from a moment that is far from what was read. */
static void
begin_series(Series *series, TimestampTz moment)
{
	if (series->begun && (series->from == DT_NOBEGIN || moment > series->from - FAR) &&
		(series->to == DT_NOEND || moment < series->to + FAR))
		return;
	series->begun = true;
	series->nbefore = series->nafter = 0;
	series->from = series->to = moment;
}

/* See to it that all from one moment on and before another one are read. */
static void
read_between(ClinicalReader *reader, Series *series, TimestampTz from, TimestampTz to)
{
	while (series->to < to)
		read_after(reader, series);
	while (series->from > from)
		read_before(reader, series);
}

/* What is known about the report of an observation. */
static const Report *
find_report(ClinicalReader *reader, const Observed *observed)
{
	ReportKey	key = {observed->submission, reader->patient};
	Datum		keys[2] = {reader->patient_id, UUIDPGetDatum(&observed->submission)};
	MemoryContext caller;
	Report	   *report;
	bool		found;

	report = hash_search(reader->reports, &key, HASH_ENTER, &found);
	if (found)
		return report;
	report->accepted = false;
	if (!clinical_find_first(&reader->submissions, keys))
		return report;
	caller = MemoryContextSwitchTo(reader->context);
	report->accepted = strcmp(TextDatumGetCString(clinical_find_column(&reader->submissions, "status")), "accepted") == 0;
	report->zone = PointerGetDatum(DatumGetTextPCopy(clinical_find_column(&reader->submissions, "time_zone")));
	MemoryContextSwitchTo(caller);
	return report;
}

/* Does an observation count, if its moment does? */
static bool
counts(ClinicalReader *reader, Observed *observed)
{
	if (observed->value == NULL)
		return false;
	if (!observed->looked_up)
		observed->counts = find_report(reader, observed)->accepted;
	observed->looked_up = true;
	return observed->counts;
}

/* The time on the patient's clock of an observation that counts. */
static Timestamp
local_time(ClinicalReader *reader, Observed *observed)
{
	if (!observed->local_known)
		observed->local = DatumGetTimestamp(DirectFunctionCall2(timestamptz_zone, find_report(reader, observed)->zone,
																TimestampTzGetDatum(observed->at)));
	observed->local_known = true;
	return observed->local;
}

/* --- days --------------------------------------------------------------------------------------- */

/* The day of an observation, in the calendar of the rule. */
static int
day_of(const Days *days, Observed *observed)
{
	Timestamp	local;
	int64		day;

	/* of one that does not count, any will do */
	if (days->monitor->day_start == 0 || !counts(days->reader, observed))
		return observed->local_day;
	local = local_time(days->reader, observed) - days->monitor->day_start * USECS_PER_MINUTE;
	day = local / USECS_PER_DAY;
	return (int) (local < day * USECS_PER_DAY ? day - 1 : day);
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

	begin_series(series, limit);
	read_between(days->reader, series, limit, limit);
	for (number = first_from(series, limit) - 1;; number--)
	{
		Observed   *observed;
		int			its;

		while (number < -series->nbefore && series->from != DT_NOBEGIN)
			read_before(days->reader, series);
		if (number < -series->nbefore)
			return any;
		observed = observation(series, number);
		if (observed->at < days->monitor->counts_from || (any && observed->at < day_begins(days, *found) - MARGIN))
			return any;
		its = day_of(days, observed);
		if (its < day && (!any || its > *found) && counts(days->reader, observed))
		{
			*found = its;
			any = true;
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

	begin_series(series, limit);
	read_between(days->reader, series, limit, limit);
	for (number = first_from(series, limit);; number++)
	{
		Observed   *observed;
		int			its;

		while (number >= series->nafter && series->to != DT_NOEND)
			read_after(days->reader, series);
		if (number >= series->nafter)
			return any;
		observed = observation(series, number);
		if (any && observed->at >= day_begins(days, (int64) *found + 1) + MARGIN)
			return any;
		its = day_of(days, observed);
		if (its > day && (!any || its < *found) && counts(days->reader, observed))
		{
			*found = its;
			any = true;
		}
	}
}

/* Its value as the rule sees it; NULL: it has none. */
static Numeric
value_of(Days *days, int item, Numeric value)
{
	if (days->monitor->kind != CLINICAL_MONITOR_BASELINE)
		return value;
	return clinical_monitor_change(days->monitor, value, clinical_reader_baseline(days->reader, days->monitor, item)->value);
}

/* Add the readings of an item on a day. */
static void
add_readings(Days *days, int item, int day, StreakReading **readings, int *count, int *room)
{
	Series	   *series = days->series[item];
	TimestampTz from = day_begins(days, day) - MARGIN;
	TimestampTz to = day_begins(days, (int64) day + 1) + MARGIN;

	begin_series(series, from);
	read_between(days->reader, series, from, to);
	for (int number = first_from(series, Max(from, days->monitor->counts_from)); number < series->nafter; number++)
	{
		Observed   *observed = observation(series, number);
		StreakReading *reading;
		Numeric		value;

		if (observed->at >= to)
			break;
		if (day_of(days, observed) != day || !counts(days->reader, observed) ||
			(value = value_of(days, item, observed->value)) == NULL)
			continue;
		if (*count == *room)
			*readings = repalloc_array(*readings, StreakReading, *room *= 2);
		reading = &(*readings)[(*count)++];
		reading->item = item;
		reading->at = observed->at;
		memcpy(reading->tie, observed->submission.data, UUID_LEN);
		reading->value = value;
		/* what was read may move */
		reading->tag = memcpy(palloc(UUID_LEN), observed->id.data, UUID_LEN);
	}
}

/* StreakSource: the readings of the nearest day before or after one. */
static bool
next_day(void *arg, int day, bool after, int *found, StreakReading **readings, int *count)
{
	Days	   *days = arg;
	int			nitems = days->monitor->rule.nitems;
	int			room = 8;

	*readings = NULL;
	*count = 0;
	do
	{
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
		if (*readings == NULL)
			*readings = palloc_array(StreakReading, room);
		for (int i = 0; i < nitems; i++)
			add_readings(days, i, *found, readings, count, &room);
		day = *found;
		/* without baseline, a value is none */
	} while (*count == 0);
	return true;
}

/* What gives the days of a rule, of the patient that the reader is at; as long as it is there. */
void
clinical_reader_source(ClinicalReader *reader, const ClinicalMonitor *monitor, StreakSource *source)
{
	Days	   *days;

	if (monitor->kind == CLINICAL_MONITOR_MISSING)
	{
		clinical_missing_source(reader->patient_id, monitor, reader->context, source);
		return;
	}
	days = MemoryContextAllocZero(reader->context, sizeof(Days));
	days->reader = reader;
	days->monitor = monitor;
	for (int i = 0; i < monitor->rule.nitems; i++)
		days->series[i] = find_series(reader, monitor->items[i]);
	source->arg = days;
	source->next = next_day;
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
	begin_series(series, MIN_TIMESTAMP);
	for (int number = -series->nbefore;; number++)
	{
		while (number >= series->nafter && series->to != DT_NOEND)
			read_after(days->reader, series);
		if (number >= series->nafter)
			return false;
		if (!counts(days->reader, observation(series, number)))
			continue;
		*first = *observation(series, number);
		return true;
	}
}

/* The last one up to a day that counts; false: none. */
static bool
last_that_counts(Days *days, Series *series, DateADT day, Observed *last)
{
	TimestampTz limit = day_begins(days, (int64) day + 1) + MARGIN;

	begin_series(series, limit);
	read_between(days->reader, series, limit, limit);
	for (int number = first_from(series, limit) - 1;; number--)
	{
		while (number < -series->nbefore && series->from != DT_NOBEGIN)
			read_before(days->reader, series);
		if (number < -series->nbefore)
			return false;
		if (day_of(days, observation(series, number)) > day || !counts(days->reader, observation(series, number)))
			continue;
		*last = *observation(series, number);
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
