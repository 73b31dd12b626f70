/*-------------------------------------------------------------------------
 *
 * monitor_series.c
 *		The observations of a patient, as they are read and kept.
 *
 * They are read by the primary key of observation, in chunks from the moment that
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
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "monitor_read.h"

/*
 * So many readings are read at once at least; twice as many each time.  Few, since
 * each lies in another block of the table, and most often the day before decides.
 */
#define CHUNK 4
/* What is asked for so far from what was read begins anew, rather than read all between */
#define FAR (60 * USECS_PER_DAY)
/*
 * Reading begins so long before what is asked for first, the end of a day: mostly the
 * day and the one before it are all that is needed, and nothing stands after it.  So
 * it is one look-up, forwards.
 */
#define LEAD (60 * USECS_PER_HOUR)
/*
 * Backwards it looks so far first: an index scan without such an end compares with all
 * entries of the page that stand before, however few are then asked for.
 */
#define NEAR (8 * USECS_PER_DAY)

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

static const char *const read_names[READ_NCOLUMNS] = {
	"captured_at", "id", "submission_id", "local_day", "value", "absent"
};

/*
 * Begin to read, with a snapshot of now, which is the active one until the end:
 * what others have committed counts, and what this transaction has done.
 */
ClinicalReader *
clinical_reader_begin(void)
{
	static const ClinicalReader beginning = {
		.observations = {.table = "observation", .nkeys = 3, .types = {TEXTOID, TEXTOID, TIMESTAMPTZOID}},
		.near = {
			.table = "observation", .nkeys = 4, .types = {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID},
			.columns = {1, 2, 3, 3}, .strategies = {0, 0, BTLessStrategyNumber, BTGreaterEqualStrategyNumber}
		},
		.submissions = {.table = "submission", .nkeys = 2, .types = {TEXTOID, UUIDOID}},
		.events = {.table = "enrollment_event", .nkeys = 1, .types = {TEXTOID}},
	};
	HASHCTL		reports = {.keysize = sizeof(ReportKey), .entrysize = sizeof(Report), .hcxt = CurrentMemoryContext};
	ClinicalReader *reader = palloc_object(ClinicalReader);

	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	*reader = beginning;
	reader->observations.context = reader->near.context = CurrentMemoryContext;
	reader->submissions.context = reader->events.context = CurrentMemoryContext;
	reader->reports = hash_create("clinical reports", 64, &reports, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	reader->context = AllocSetContextCreate(CurrentMemoryContext, "clinical readings", ALLOCSET_DEFAULT_SIZES);
	return reader;
}

/* The end of it. */
void
clinical_reader_end(ClinicalReader *reader)
{
	clinical_find_close(&reader->observations);
	clinical_find_close(&reader->near);
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
	reader->zone = (Datum) 0;
	reader->enrolment_known = false;
}

/* What was read of an item; it lives in the reader's context. */
Series *
clinical_series_find(ClinicalReader *reader, const char *item)
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

/* Begin to look for observations of an item that stand so to a moment, and not before another one. */
static void
find_observations(ClinicalReader *reader, const Series *series, StrategyNumber strategy, TimestampTz moment,
				  TimestampTz not_before)
{
	Datum		keys[4] = {reader->patient_id, series->key, TimestampTzGetDatum(moment), TimestampTzGetDatum(not_before)};
	ClinicalFinder *finder = not_before == DT_NOBEGIN ? &reader->observations : &reader->near;

	finder->strategies[2] = strategy;
	clinical_find(finder, keys);
	reader->found = finder;
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
	return slot_getattr(reader->found->slot, reader->numbers[column], isnull);
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
void
clinical_series_before(ClinicalReader *reader, Series *series)
{
	int			goal = series->nbefore + Max(CHUNK, series->nbefore);
	TimestampTz not_before = series->sparse ? DT_NOBEGIN : series->from - NEAR;
	Observed	next;

	find_observations(reader, series, BTLessStrategyNumber, series->from, not_before);
	series->from = not_before;
	while (clinical_find_next(reader->found, true))
	{
		const Observed *last = series->nbefore == 0 ? NULL : &series->before[series->nbefore - 1];

		CHECK_FOR_INTERRUPTS();
		read_key(reader, &next);
		if (series->nbefore >= goal && next.at != last->at)
		{
			series->from = last->at;
			return;
		}
		/* from behind the last version comes first */
		if (last != NULL && same_observation(last, &next))
			continue;
		read_rest(reader, &next);
		*make_room(reader, &series->before, series->nbefore, &series->before_room) = next;
		series->nbefore++;
	}
	series->sparse = true;
}

/* Read a chunk of what stands after what was read. */
void
clinical_series_after(ClinicalReader *reader, Series *series)
{
	int			goal = series->nafter + Max(CHUNK, series->nafter);
	Observed	next;

	find_observations(reader, series, BTGreaterEqualStrategyNumber, series->to, DT_NOBEGIN);
	series->to = DT_NOEND;
	while (clinical_find_next(reader->found, false))
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

/* The number of the first one that was read at a moment or after it. */
int
clinical_series_first(Series *series, TimestampTz moment)
{
	int			low = -series->nbefore;
	int			high = series->nafter;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (clinical_series_observed(series, middle)->at < moment)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Begin anew if a moment is far from what was read. */
void
clinical_series_begin(Series *series, TimestampTz moment)
{
	if (series->begun && (series->from == DT_NOBEGIN || moment > series->from - FAR) &&
		(series->to == DT_NOEND || moment < series->to + FAR))
		return;
	series->begun = true;
	series->sparse = false;
	series->nbefore = series->nafter = 0;
	series->from = series->to = moment - LEAD;
}

/* See to it that all from one moment on and before another one are read. */
void
clinical_series_read(ClinicalReader *reader, Series *series, TimestampTz from, TimestampTz to)
{
	while (series->to < to)
		clinical_series_after(reader, series);
	while (series->from > from)
		clinical_series_before(reader, series);
}

/* A time zone, which is mostly that of the report before. */
static Datum
keep_zone(ClinicalReader *reader, Datum zone)
{
	MemoryContext caller;

	if (reader->zone != (Datum) 0 && clinical_same_bytes(reader->zone, zone))
		return reader->zone;
	caller = MemoryContextSwitchTo(reader->context);
	reader->zone = PointerGetDatum(DatumGetTextPCopy(zone));
	MemoryContextSwitchTo(caller);
	return reader->zone;
}

/*
 * A report of the patient was accepted by this transaction, so it need not be looked up.
 * Its time zone must be there as long as the reader is at the patient.
 */
void
clinical_reader_knows(ClinicalReader *reader, Datum submission_id, Datum zone)
{
	ReportKey	key = {*DatumGetUUIDP(submission_id), reader->patient};
	Report	   *report = hash_search(reader->reports, &key, HASH_ENTER, NULL);

	report->accepted = true;
	report->zone = zone;
}

/* What is known about the report of an observation. */
static const Report *
find_report(ClinicalReader *reader, const Observed *observed)
{
	ReportKey	key = {observed->submission, reader->patient};
	Datum		keys[2] = {reader->patient_id, UUIDPGetDatum(&observed->submission)};
	Report	   *report;
	bool		found;

	report = hash_search(reader->reports, &key, HASH_ENTER, &found);
	if (found)
		return report;
	report->accepted = false;
	if (!clinical_find_first(&reader->submissions, keys))
		return report;
	report->accepted = clinical_text_is(clinical_find_column(&reader->submissions, "status"), "accepted");
	report->zone = keep_zone(reader, clinical_find_column(&reader->submissions, "time_zone"));
	return report;
}

/* Does an observation count, if its moment does? */
bool
clinical_observed_counts(ClinicalReader *reader, Observed *observed)
{
	if (observed->value == NULL)
		return false;
	if (!observed->looked_up)
		observed->counts = find_report(reader, observed)->accepted;
	observed->looked_up = true;
	return observed->counts;
}

/* The time on the patient's clock of an observation that counts. */
Timestamp
clinical_observed_local(ClinicalReader *reader, Observed *observed)
{
	if (!observed->local_known)
		observed->local = DatumGetTimestamp(DirectFunctionCall2(timestamptz_zone, find_report(reader, observed)->zone,
																TimestampTzGetDatum(observed->at)));
	observed->local_known = true;
	return observed->local;
}
