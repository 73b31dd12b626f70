/*-------------------------------------------------------------------------
 *
 * report_entry_count.c
 *		How many entries of a patient were made, by instrument, and how long the
 *		reports took to come: the SQL function report_entry_count.
 *
 * Reports are brought to entries as entry_compliance does it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rangetypes.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "core.h"
#include "report_entry.h"

PG_FUNCTION_INFO_V1(clinical_report_entry_count);

/* A run of missed entries is listed from so many on */
#define LISTED_RUN 3

/* A report that took longer came late */
#define DELAYED_SECONDS (24 * 60 * 60)

/* Days of patients are not further than ten thousand years from 2000 */
#define MAX_DAY 3652500

/* The arguments */
enum
{
	ARG_PLAN, ARG_FIRST_DAY, ARG_END_DAY, ARG_CUT_OFF, ARG_ENROLLED_ON, ARG_ENDED_ON, ARG_EVENT_NOS, ARG_EVENT_DAYS,
	ARG_EVENT_ZONES, ARG_TOLD_NOS, ARG_TOLD_FROM, ARG_TOLD_ZONES, ARG_EXCUSES, ARG_REPORTS
};

/* The columns of the result */
enum
{
	OUT_INSTRUMENT, OUT_EXPECTED, OUT_COMPLETED, OUT_LATE, OUT_MISSED, OUT_EXCUSED, OUT_LONGEST_MISSED, OUT_RUN_FIRST,
	OUT_RUN_LAST, OUT_RUN_ENTRIES, OUT_ACCEPTED, OUT_WITHDRAWN, OUT_REPORTS, OUT_DELAYED, OUT_LAGS, OUT_NCOLUMNS
};

/* Entries in a row that were missed */
typedef struct Run
{
	DateADT		first;
	DateADT		last;
	int			entries;
} Run;

typedef struct Counts
{
	int			completed;
	int			late;
	int			missed;
	int			excused;
	int			longest_missed;
	int			nruns;			/* that are listed */
	int			room;
	Run		   *runs;
} Counts;

/* --- arguments --------------------------------------------------------------------------------------------- */

/* The elements of an array; how many. */
static int
array_arg(FunctionCallInfo fcinfo, int argno, Oid type, Datum **values)
{
	int			length = type == TEXTOID || type == TSTZRANGEOID ? -1 : type == TIMESTAMPTZOID ? 8 : 4;
	char		align = type == TIMESTAMPTZOID || type == TSTZRANGEOID ? TYPALIGN_DOUBLE : TYPALIGN_INT;
	ArrayType  *array;
	bool	   *nulls;
	int			count;

	*values = NULL;
	if (PG_ARGISNULL(argno))
		return 0;
	array = PG_GETARG_ARRAYTYPE_P(argno);
	if (ARR_ELEMTYPE(array) != type)
		elog(ERROR, "argument %d is an array of another type", argno + 1);
	deconstruct_array(array, type, length, length == 4 || (length == 8 && FLOAT8PASSBYVAL), align, values, &nulls, &count);
	for (int i = 0; i < count; i++)
		clinical_require_arg(!nulls[i], "element is required");
	return count;
}

/* Arrays must go together. */
static void
require_same(int a, int b)
{
	clinical_require_arg(a == b, "arrays must have the same number of elements");
}

/* Stays by their numbers, and what was told likewise: a number is the first member of both. */
static int
compare_numbers(const void *left, const void *right)
{
	return *(const int *) left - *(const int *) right;
}

/* Where the patient was. */
static void
read_stays(FunctionCallInfo fcinfo, ClinicalEntryPlan *plan, ClinicalEntryPatient *patient)
{
	Datum	   *numbers;
	Datum	   *days;
	Datum	   *zones;

	patient->nstays = array_arg(fcinfo, ARG_EVENT_NOS, INT4OID, &numbers);
	require_same(patient->nstays, array_arg(fcinfo, ARG_EVENT_DAYS, DATEOID, &days));
	require_same(patient->nstays, array_arg(fcinfo, ARG_EVENT_ZONES, TEXTOID, &zones));
	patient->stays = palloc_array(ClinicalEntryStay, Max(patient->nstays, 1));
	for (int i = 0; i < patient->nstays; i++)
	{
		ClinicalEntryStay *stay = &patient->stays[i];

		stay->number = DatumGetInt32(numbers[i]);
		stay->day = DatumGetDateADT(days[i]);
		stay->zone = clinical_entry_zone(plan, zones[i]);
		clinical_require_arg(stay->day >= -MAX_DAY && stay->day <= MAX_DAY, "day of an event is out of range");
	}
	qsort(patient->stays, patient->nstays, sizeof(ClinicalEntryStay), compare_numbers);
}

/* Where the patient was told to live. */
static void
read_told(FunctionCallInfo fcinfo, ClinicalEntryPlan *plan, ClinicalEntryPatient *patient)
{
	Datum	   *numbers;
	Datum	   *from;
	Datum	   *zones;

	patient->ntold = array_arg(fcinfo, ARG_TOLD_NOS, INT4OID, &numbers);
	require_same(patient->ntold, array_arg(fcinfo, ARG_TOLD_FROM, TIMESTAMPTZOID, &from));
	require_same(patient->ntold, array_arg(fcinfo, ARG_TOLD_ZONES, TEXTOID, &zones));
	patient->told = palloc_array(ClinicalEntryTold, Max(patient->ntold, 1));
	for (int i = 0; i < patient->ntold; i++)
	{
		patient->told[i].number = DatumGetInt32(numbers[i]);
		patient->told[i].from = DatumGetTimestampTz(from[i]);
		patient->told[i].zone = clinical_entry_zone(plan, zones[i]);
	}
	qsort(patient->told, patient->ntold, sizeof(ClinicalEntryTold), compare_numbers);
}

/* When the patient is excused. */
static void
read_excuses(FunctionCallInfo fcinfo, ClinicalEntryPatient *patient)
{
	Datum	   *ranges;
	int			count = array_arg(fcinfo, ARG_EXCUSES, TSTZRANGEOID, &ranges);
	TypeCacheEntry *type;

	patient->excuses = palloc_array(ClinicalEntryExcuse, Max(count, 1));
	if (count == 0)
		return;
	type = lookup_type_cache(TSTZRANGEOID, TYPECACHE_RANGE_INFO);
	for (int i = 0; i < count; i++)
	{
		ClinicalEntryExcuse *excuse = &patient->excuses[patient->nexcuses];
		RangeBound	lower;
		RangeBound	upper;
		bool		empty;

		range_deserialize(type, DatumGetRangeTypeP(ranges[i]), &lower, &upper, &empty);
		if (empty)
			continue;
		excuse->from = lower.infinite ? DT_NOBEGIN : DatumGetTimestampTz(lower.val);
		excuse->to = upper.infinite ? DT_NOEND : DatumGetTimestampTz(upper.val);
		excuse->included = upper.inclusive;
		patient->nexcuses++;
	}
}

/* What is known about the patient. */
static void
read_patient(FunctionCallInfo fcinfo, ClinicalEntryPlan *plan, ClinicalEntryPatient *patient)
{
	memset(patient, 0, sizeof(*patient));
	patient->enrolled = !PG_ARGISNULL(ARG_ENROLLED_ON);
	patient->enrolled_on = patient->enrolled ? PG_GETARG_DATEADT(ARG_ENROLLED_ON) : 0;
	patient->ended_on = PG_ARGISNULL(ARG_ENDED_ON) ? DATEVAL_NOEND : PG_GETARG_DATEADT(ARG_ENDED_ON);
	clinical_require_arg(patient->enrolled_on >= -MAX_DAY && patient->enrolled_on <= MAX_DAY, "day of enrolment is out of range");
	read_stays(fcinfo, plan, patient);
	read_told(fcinfo, plan, patient);
	read_excuses(fcinfo, patient);
}

/* --- which entries were made ----------------------------------------------------------------------------------- */

/*
 * The entry that a report counts for, or NULL: of those in whose window it was
 * captured, else of those in whose grace, the last.
 */
static ClinicalEntry *
find_entry(const ClinicalEntryInstrument *instrument, TimestampTz captured_at)
{
	ClinicalEntry *in_grace = NULL;
	int			low = 0;
	int			high = instrument->nentries;

	/* find the first one that begins later */
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (instrument->entries[middle].begins <= captured_at)
			low = middle + 1;
		else
			high = middle;
	}
	for (int i = low - 1; i >= 0; i--)
	{
		ClinicalEntry *entry = &instrument->entries[i];

		if (captured_at < entry->ends)
			return entry;
		if (in_grace == NULL && captured_at < entry->closes_at)
			in_grace = entry;
		if (captured_at >= entry->all_closed_at)
			break;
	}
	return in_grace;
}

/* Bring the reports to their entries. */
static void
match_reports(const ClinicalEntryPlan *plan, const ClinicalEntryReports *reports)
{
	int		   *instruments = palloc_array(int, Max(reports->nversions, 1));

	for (int i = 0; i < reports->nversions; i++)
		instruments[i] = clinical_entry_plan_instrument(plan, reports->versions[i]);
	for (int i = 0; i < reports->nreports; i++)
	{
		int			instrument = instruments[clinical_entry_version(&reports->reports[i])];
		TimestampTz captured_at = reports->reports[i].captured_at;
		ClinicalEntry *entry;

		CHECK_FOR_INTERRUPTS();
		entry = instrument < 0 ? NULL : find_entry(&plan->instruments[instrument], captured_at);
		if (entry == NULL)
			continue;
		if (captured_at < entry->ends)
			entry->in_time = true;
		else
			entry->late = true;
	}
}

/* A run of missed entries is over. */
static void
end_run(Counts *counts, Run *run)
{
	counts->longest_missed = Max(counts->longest_missed, run->entries);
	if (run->entries >= LISTED_RUN)
	{
		if (counts->nruns == counts->room)
		{
			counts->room = Max(2 * counts->room, 8);
			counts->runs = counts->runs == NULL ? palloc_array(Run, counts->room) :
				repalloc_array(counts->runs, Run, counts->room);
		}
		counts->runs[counts->nruns++] = *run;
	}
	run->entries = 0;
}

/* Count the entries of the period that are closed. */
static void
count_entries(const ClinicalEntryPlan *plan, const ClinicalEntryInstrument *instrument, TimestampTz cut_off, Counts *counts)
{
	Run			run = {0};

	memset(counts, 0, sizeof(*counts));
	for (int i = 0; i < instrument->nentries; i++)
	{
		const ClinicalEntry *entry = &instrument->entries[i];

		if (entry->day < plan->first_day || entry->day >= plan->end_day || entry->closes_at > cut_off)
			continue;
		if (entry->excused)
		{
			counts->excused++;
			continue;
		}
		if (entry->in_time || entry->late)
		{
			counts->completed += entry->in_time;
			counts->late += !entry->in_time;
			end_run(counts, &run);
			continue;
		}
		counts->missed++;
		/* visits need not be in the order of their days */
		run.first = run.entries == 0 ? entry->day : Min(run.first, entry->day);
		run.last = run.entries == 0 ? entry->day : Max(run.last, entry->day);
		run.entries++;
	}
	end_run(counts, &run);
}

/* --- the result ---------------------------------------------------------------------------------------------------- */

/* What is counted, as columns. */
static void
put_counts(const Counts *counts, Datum *values, bool *nulls)
{
	memset(nulls, true, OUT_NCOLUMNS * sizeof(bool));
	memset(&nulls[OUT_EXPECTED], false, OUT_LONGEST_MISSED - OUT_EXPECTED + 1);
	values[OUT_EXPECTED] = Int32GetDatum(counts->completed + counts->late + counts->missed);
	values[OUT_COMPLETED] = Int32GetDatum(counts->completed);
	values[OUT_LATE] = Int32GetDatum(counts->late);
	values[OUT_MISSED] = Int32GetDatum(counts->missed);
	values[OUT_EXCUSED] = Int32GetDatum(counts->excused);
	values[OUT_LONGEST_MISSED] = Int32GetDatum(counts->longest_missed);
}

/* The runs that are listed, as arrays of days and lengths. */
static void
put_runs(const Counts *counts, Datum *values, bool *nulls)
{
	Datum	   *elements = palloc_array(Datum, Max(counts->nruns, 1));

	if (counts->nruns == 0)
		return;
	for (int column = OUT_RUN_FIRST; column <= OUT_RUN_ENTRIES; column++)
	{
		for (int i = 0; i < counts->nruns; i++)
			elements[i] = Int32GetDatum(column == OUT_RUN_FIRST ? counts->runs[i].first :
										column == OUT_RUN_LAST ? counts->runs[i].last : counts->runs[i].entries);
		values[column] = PointerGetDatum(construct_array(elements, counts->nruns,
														 column == OUT_RUN_ENTRIES ? INT4OID : DATEOID,
														 4, true, TYPALIGN_INT));
		nulls[column] = false;
	}
}

/* The lags of the reports of the period, for report_lags, and how many there are. */
static void
put_reports(const ClinicalEntryReports *reports, Datum *values, bool *nulls)
{
	bytea	   *lags = clinical_report_lags_image(false, reports->nreports);
	int64		count = 0;
	int64		delayed = 0;

	for (int i = 0; i < reports->nreports; i++)
	{
		int64		lag = clinical_entry_lag(&reports->reports[i]);

		if (lag == CLINICAL_ENTRY_NO_LAG)
			continue;
		clinical_report_lags_put(lags, count++, lag);
		delayed += lag > DELAYED_SECONDS;
	}
	SET_VARSIZE(lags, VARHDRSZ + 1 + count * sizeof(int64));
	memset(&nulls[OUT_ACCEPTED], false, OUT_LAGS - OUT_ACCEPTED + 1);
	values[OUT_ACCEPTED] = Int64GetDatum(reports->accepted);
	values[OUT_WITHDRAWN] = Int64GetDatum(reports->withdrawn);
	values[OUT_REPORTS] = Int64GetDatum(count);
	values[OUT_DELAYED] = Int64GetDatum(delayed);
	values[OUT_LAGS] = PointerGetDatum(lags);
}

/* Add what is counted of one instrument to what is counted of all. */
static void
add_counts(Counts *all, const Counts *counts)
{
	all->completed += counts->completed;
	all->late += counts->late;
	all->missed += counts->missed;
	all->excused += counts->excused;
	all->longest_missed = Max(all->longest_missed, counts->longest_missed);
}

/* Give a row for each instrument of which there are entries, and one for all. */
static void
give_rows(FunctionCallInfo fcinfo, const ClinicalEntryPlan *plan, const ClinicalEntryReports *reports)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Counts		all = {0};
	Datum		values[OUT_NCOLUMNS] = {0};
	bool		nulls[OUT_NCOLUMNS];

	for (int i = 0; i < plan->ninstruments; i++)
	{
		Counts		counts;

		count_entries(plan, &plan->instruments[i], PG_GETARG_TIMESTAMPTZ(ARG_CUT_OFF), &counts);
		if (counts.completed + counts.late + counts.missed + counts.excused == 0)
			continue;
		add_counts(&all, &counts);
		put_counts(&counts, values, nulls);
		put_runs(&counts, values, nulls);
		values[OUT_INSTRUMENT] = plan->instruments[i].code;
		nulls[OUT_INSTRUMENT] = false;
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	put_counts(&all, values, nulls);
	put_reports(reports, values, nulls);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* SQL: what became of the entries of a patient, counted. */
Datum
clinical_report_entry_count(PG_FUNCTION_ARGS)
{
	ClinicalEntryReports reports = {0};
	ClinicalEntryPatient patient;
	ClinicalEntryPlan *plan;
	MemoryContext caller;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = ARG_PLAN; i <= ARG_CUT_OFF; i++)
		clinical_require_arg(!PG_ARGISNULL(i), "plan, period and cut-off are required");
	plan = clinical_entry_plan(fcinfo, PG_GETARG_JSONB_P(ARG_PLAN), PG_GETARG_DATEADT(ARG_FIRST_DAY),
							   PG_GETARG_DATEADT(ARG_END_DAY));
	MemoryContextReset(plan->patient);
	caller = MemoryContextSwitchTo(plan->patient);
	if (!PG_ARGISNULL(ARG_REPORTS))
		clinical_entry_reports_read(PG_GETARG_BYTEA_PP(ARG_REPORTS), &reports);
	read_patient(fcinfo, plan, &patient);
	clinical_entry_expand(plan, &patient);
	match_reports(plan, &reports);
	give_rows(fcinfo, plan, &reports);
	MemoryContextSwitchTo(caller);
	return (Datum) 0;
}
