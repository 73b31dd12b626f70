/*-------------------------------------------------------------------------
 *
 * monitor_backtest.c
 *		What a version of a rule would have raised.
 *
 * One query, run as the caller, gives all readings that the caller may see, by
 * patient; each patient is evaluated by the same engine as for alerts, and
 * forgotten.  The executor hands row by row on, so nothing is kept of the others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/params.h"
#include "tcop/dest.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rangetypes.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "monitor.h"
#include "project.h"

PG_FUNCTION_INFO_V1(clinical_rule_backtest);

/* The columns of the query, by their number */
enum
{
	COLUMN_PATIENT_ID, COLUMN_ITEM, COLUMN_CAPTURED_AT, COLUMN_ID, COLUMN_VERSION, COLUMN_LOCAL_DAY, COLUMN_VALUE,
	COLUMN_SUBMISSION_ID, COLUMN_TIME_ZONE, COLUMN_ENROLMENT
};

/* A version of a reading */
typedef struct Row
{
	int			item;
	int			version;
	int			day;
	TimestampTz at;
	pg_uuid_t	id;
	pg_uuid_t	submission;
	Numeric		value;			/* NULL: none */
} Row;

/* Receives the rows */
typedef struct Backtest
{
	DestReceiver receiver;
	const ClinicalMonitor *monitor;
	DateADT		from;			/* the period of trigger days: not before this
								 * one */
	DateADT		until;			/* and before this one */
	ReturnSetInfo *result;
	MemoryContext context;		/* of a patient */
	text	   *patient_id;		/* NULL: none yet */
	DateADT		enrolment;
	int			count;
	int			room;
	Row		   *rows;
	int64		patients_done;
	int64		readings;
} Backtest;

/* What progress tells */
enum
{
	PROGRESS_PATIENTS, PROGRESS_PATIENTS_DONE, PROGRESS_READINGS
};
#define PHASE_EVALUATING 1

/* The days of a patient */
typedef struct Days
{
	int			ndays;
	int		   *days;
	int		   *begins;			/* the number of each day's first reading; and of
								 * the end */
	StreakReading *readings;
} Days;

/* StreakSource: the nearest day before or after one. */
static bool
next_day(void *arg, int day, bool after, int *found, StreakReading **readings, int *count)
{
	Days	   *days = arg;
	int			low = 0;
	int			high = days->ndays;

	CHECK_FOR_INTERRUPTS();
	while (low < high)			/* the first one after the day, or not before it */
	{
		int			middle = low + (high - low) / 2;

		if (days->days[middle] < day || (after && days->days[middle] == day))
			low = middle + 1;
		else
			high = middle;
	}
	if (!after)
		low--;
	if (low < 0 || low >= days->ndays)
		return false;
	*found = days->days[low];
	*readings = &days->readings[days->begins[low]];
	*count = days->begins[low + 1] - days->begins[low];
	return true;
}

/*
 * Versions of a reading stand together, the last one first.  Sorting is most of the work, so
 * it is here that it can be cancelled; as in any comparison of the server's sorts.
 */
static int
by_reading(const void *left, const void *right)
{
	const Row  *a = left;
	const Row  *b = right;
	int			ids;

	CHECK_FOR_INTERRUPTS();
	if (a->item != b->item)
		return a->item - b->item;
	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	ids = memcmp(a->id.data, b->id.data, UUID_LEN);
	return ids != 0 ? ids : b->version - a->version;
}

/* By days. */
static int
by_day(const void *left, const void *right)
{
	const Row  *a = left;
	const Row  *b = right;

	CHECK_FOR_INTERRUPTS();
	return a->day != b->day ? (a->day < b->day ? -1 : 1) : by_reading(left, right);
}

/* Leave the last versions, of those that have a value; how many. */
static int
last_versions(Row *rows, int count)
{
	int			kept = 0;
	const Row  *last = NULL;
	Row			before;

	qsort(rows, count, sizeof(Row), by_reading);
	for (int i = 0; i < count; i++)
	{
		bool		older = last != NULL && last->item == rows[i].item && last->at == rows[i].at &&
		memcmp(last->id.data, rows[i].id.data, UUID_LEN) == 0;

		CHECK_FOR_INTERRUPTS();
		before = rows[i];
		last = &before;
		if (!older && rows[i].value != NULL)
			rows[kept++] = rows[i];
	}
	return kept;
}

/* The reading of an item that the others are compared with; NULL: none.  Rows are by item and moment. */
static Numeric
find_baseline(const Backtest *backtest, int item, int count)
{
	Numeric		baseline = NULL;

	for (int i = 0; i < count; i++)
	{
		const Row  *row = &backtest->rows[i];

		CHECK_FOR_INTERRUPTS();
		if (row->item != item)
			continue;
		if (backtest->monitor->baseline == CLINICAL_BASELINE_FIRST)
			return row->value;
		if (row->day <= backtest->enrolment)
			baseline = row->value;
	}
	return baseline;
}

/* Put changes in the place of values; how many there are. */
static int
compare_with_baseline(Backtest *backtest, int count)
{
	Numeric		baselines[STREAK_MAX_ITEMS];
	int			kept = 0;

	for (int i = 0; i < backtest->monitor->rule.nitems; i++)
		baselines[i] = find_baseline(backtest, i, count);
	for (int i = 0; i < count; i++)
	{
		Row		   *row = &backtest->rows[i];

		CHECK_FOR_INTERRUPTS();
		row->value = clinical_monitor_change(backtest->monitor, row->value, baselines[row->item]);
		if (row->value != NULL)
			backtest->rows[kept++] = *row;
	}
	return kept;
}

/* Put readings in order by their days. */
static void
order_days(Row *rows, int count, Days *days)
{
	qsort(rows, count, sizeof(Row), by_day);
	days->ndays = 0;
	days->days = palloc_extended(sizeof(int) * count, MCXT_ALLOC_HUGE);
	days->begins = palloc_extended(sizeof(int) * (count + 1), MCXT_ALLOC_HUGE);
	days->readings = palloc_extended(sizeof(StreakReading) * count, MCXT_ALLOC_HUGE);
	for (int i = 0; i < count; i++)
	{
		StreakReading *reading = &days->readings[i];

		CHECK_FOR_INTERRUPTS();
		if (i == 0 || rows[i].day != rows[i - 1].day)
		{
			days->begins[days->ndays] = i;
			days->days[days->ndays++] = rows[i].day;
		}
		reading->item = rows[i].item;
		reading->at = rows[i].at;
		memcpy(reading->tie, rows[i].submission.data, UUID_LEN);
		reading->value = rows[i].value;
		reading->tag = &rows[i].id;
	}
	days->begins[days->ndays] = count;
}

/* Give a streak out. */
static void
give(Backtest *backtest, const Streak *streak)
{
	Datum		values[6] = {
		PointerGetDatum(backtest->patient_id), DateADTGetDatum(streak->onset), DateADTGetDatum(streak->trigger_day),
		DateADTGetDatum(streak->last_day), Int32GetDatum(streak->out_days), Int32GetDatum(streak->grade)
	};
	bool		nulls[6] = {false, false, false, false, false, backtest->monitor->kind != CLINICAL_MONITOR_GRADED};

	tuplestore_putvalues(backtest->result->setResult, backtest->result->setDesc, values, nulls);
}

/* Evaluate the rule for the patient that the rows are of. */
static void
evaluate_patient(Backtest *backtest)
{
	int			count = last_versions(backtest->rows, backtest->count);
	Days		days;
	StreakSource source = {.arg = &days,.next = next_day};
	Streak	   *streaks;
	int			nstreaks;
	int			from;
	int			to;

	if (backtest->monitor->kind == CLINICAL_MONITOR_BASELINE)
		count = compare_with_baseline(backtest, count);
	if (count == 0)
		return;
	order_days(backtest->rows, count, &days);
	nstreaks = streak_find(&backtest->monitor->rule, &clinical_monitor_ops, &source, days.days, days.ndays, NULL, 0,
						   &streaks, &from, &to);
	for (int i = 0; i < nstreaks; i++)
	{
		if (streaks[i].trigger_day >= backtest->from && streaks[i].trigger_day < backtest->until)
			give(backtest, &streaks[i]);
	}
}

/* Evaluate a patient whose rows are all there, and forget them. */
static void
end_patient(Backtest *backtest)
{
	MemoryContext caller;

	if (backtest->patient_id == NULL)
		return;
	caller = MemoryContextSwitchTo(backtest->context);
	evaluate_patient(backtest);
	backtest->readings += backtest->count;
	clinical_progress_set(PROGRESS_PATIENTS_DONE, (uint64) ++backtest->patients_done);
	clinical_progress_set(PROGRESS_READINGS, (uint64) backtest->readings);
	MemoryContextReset(backtest->context);
	MemoryContextSwitchTo(caller);
	backtest->patient_id = NULL;
	backtest->count = backtest->room = 0;
	backtest->rows = NULL;
}

/* Begin with a patient, unless it is the same as before. */
static void
begin_patient(Backtest *backtest, TupleTableSlot *slot)
{
	text	   *patient_id = DatumGetTextPP(slot->tts_values[COLUMN_PATIENT_ID]);

	if (backtest->patient_id != NULL && clinical_same_bytes(PointerGetDatum(backtest->patient_id), PointerGetDatum(patient_id)))
		return;
	if (backtest->patient_id == NULL)
		clinical_progress_phase(PHASE_EVALUATING);
	end_patient(backtest);
	backtest->patient_id = (text *) MemoryContextAlloc(backtest->context, VARSIZE_ANY(patient_id));
	memcpy(backtest->patient_id, patient_id, VARSIZE_ANY(patient_id));
	backtest->enrolment = slot->tts_isnull[COLUMN_ENROLMENT] ? DATEVAL_NOBEGIN :
		DatumGetDateADT(slot->tts_values[COLUMN_ENROLMENT]);
}

/* The number of an item in the rule. */
static int
item_number(const ClinicalMonitor *monitor, Datum value)
{
	for (int i = 0; i < monitor->rule.nitems; i++)
	{
		if (clinical_text_is(value, monitor->items[i]))
			return i;
	}
	elog(ERROR, "unexpected item");
}

/* The day of a reading, in the calendar of the rule. */
static int
day_of(const ClinicalMonitor *monitor, TupleTableSlot *slot)
{
	Datum		local;

	if (monitor->day_start == 0)
		return DatumGetDateADT(slot->tts_values[COLUMN_LOCAL_DAY]);
	local = DirectFunctionCall2(timestamptz_zone, slot->tts_values[COLUMN_TIME_ZONE], slot->tts_values[COLUMN_CAPTURED_AT]);
	return clinical_monitor_day(monitor, DatumGetTimestamp(local));
}

/* A place for one more row. */
static Row *
add_row(Backtest *backtest)
{
	if (backtest->room == 0)
		backtest->rows = MemoryContextAlloc(backtest->context, sizeof(Row) * (backtest->room = 64));
	else if (backtest->count == backtest->room)
		backtest->rows = repalloc_huge(backtest->rows, sizeof(Row) * (Size) (backtest->room *= 2));
	return &backtest->rows[backtest->count++];
}

/* DestReceiver: a row of the query. */
static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	Backtest   *backtest = (Backtest *) self;
	Row		   *row;

	slot_getallattrs(slot);
	begin_patient(backtest, slot);
	row = add_row(backtest);
	row->item = item_number(backtest->monitor, slot->tts_values[COLUMN_ITEM]);
	row->at = DatumGetTimestampTz(slot->tts_values[COLUMN_CAPTURED_AT]);
	row->id = *DatumGetUUIDP(slot->tts_values[COLUMN_ID]);
	row->version = DatumGetInt32(slot->tts_values[COLUMN_VERSION]);
	row->day = day_of(backtest->monitor, slot);
	row->value = NULL;
	if (!slot->tts_isnull[COLUMN_VALUE])
	{
		MemoryContext caller = MemoryContextSwitchTo(backtest->context);

		row->value = DatumGetNumericCopy(slot->tts_values[COLUMN_VALUE]);
		MemoryContextSwitchTo(caller);
	}
	if (!slot->tts_isnull[COLUMN_SUBMISSION_ID])
		row->submission = *DatumGetUUIDP(slot->tts_values[COLUMN_SUBMISSION_ID]);
	else
		memset(&row->submission, 0, sizeof(pg_uuid_t));
	return true;
}

/* DestReceiver: nothing to begin. */
static void
start_up(DestReceiver *self, int operation, TupleDesc desc)
{
}

/* DestReceiver: nothing to end. */
static void
shut_down(DestReceiver *self)
{
}

/* The query that a rule needs: no column more, since all rows may have to be sorted. */
static char *
make_query(const ClinicalMonitor *monitor, bool of_project)
{
	bool		zones = monitor->day_start != 0;
	bool		ties = monitor->rule.aggregate == STREAK_LAST;
	bool		enrolment = monitor->kind == CLINICAL_MONITOR_BASELINE && monitor->baseline == CLINICAL_BASELINE_LAST;

	return psprintf("SELECT o.patient_id, o.item, o.captured_at, o.id, o.version, o.local_day,"
					"       CASE WHEN o.absent IS NULL THEN o.value END, %s, %s, %s"
					"  FROM clinical.observation o %s"
					" WHERE o.item OPERATOR(pg_catalog.=) ANY ($1) %s %s"
					" ORDER BY o.patient_id",
					ties ? "o.submission_id" : "NULL::pg_catalog.uuid",
					zones ? "s.time_zone" : "NULL::pg_catalog.text",
					enrolment ? "(SELECT pg_catalog.min(e.effective_on) FROM clinical.enrollment_event e"
					"              WHERE e.patient_id OPERATOR(pg_catalog.=) o.patient_id AND e.status OPERATOR(pg_catalog.=) 'enrolled')"
					: "NULL::pg_catalog.date",
					zones ? "JOIN clinical.submission s ON s.patient_id OPERATOR(pg_catalog.=) o.patient_id"
					"         AND s.id OPERATOR(pg_catalog.=) o.submission_id AND s.status OPERATOR(pg_catalog.=) 'accepted'" : "",
					zones ? "" : "AND NOT EXISTS (SELECT FROM clinical.submission s"
					"                              WHERE s.patient_id OPERATOR(pg_catalog.=) o.patient_id"
					"                                AND s.id OPERATOR(pg_catalog.=) o.submission_id"
					"                                AND s.status OPERATOR(pg_catalog.<>) 'accepted')",
					of_project ? "AND EXISTS (SELECT FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) o.patient_id"
					"              AND p.project_id OPERATOR(pg_catalog.=) $2)" : "");
}

/* The project that a definition names, which the caller must see; 0: none. */
static int64
project_of(Jsonb *definition)
{
	char	   *project = clinical_rule_member(definition, "project");

	return project == NULL ? 0 : clinical_project_by_code(cstring_to_text(project), true);
}

/* The arguments of the query: the rule's items, and the project. */
static ParamListInfo
make_params(const ClinicalMonitor *monitor, int64 project_id)
{
	ParamListInfo params = makeParamList(2);
	Datum		items[STREAK_MAX_ITEMS];

	for (int i = 0; i < monitor->rule.nitems; i++)
		items[i] = CStringGetTextDatum(monitor->items[i]);
	params->params[0].value = PointerGetDatum(construct_array(items, monitor->rule.nitems, TEXTOID, -1, false, TYPALIGN_INT));
	params->params[0].isnull = false;
	params->params[0].pflags = PARAM_FLAG_CONST;
	params->params[0].ptype = TEXTARRAYOID;
	params->params[1].value = Int64GetDatum(project_id);
	params->params[1].isnull = false;
	params->params[1].pflags = PARAM_FLAG_CONST;
	params->params[1].ptype = INT8OID;
	return params;
}

/* The period in which a trigger day counts. */
static void
read_period(FunctionCallInfo fcinfo, int argno, Backtest *backtest)
{
	RangeType  *range = PG_GETARG_RANGE_P(argno);
	TypeCacheEntry *type = range_get_typcache(fcinfo, RangeTypeGetOid(range));
	RangeBound	lower;
	RangeBound	upper;
	bool		empty;

	range_deserialize(type, range, &lower, &upper, &empty);
	backtest->from = empty || lower.infinite ? DATEVAL_NOBEGIN : DatumGetDateADT(lower.val);
	backtest->until = upper.infinite ? DATEVAL_NOEND : DatumGetDateADT(upper.val);
	if (empty)
		backtest->until = DATEVAL_NOBEGIN;
}

/* How many patients the caller sees, of a project (0: of all). */
static uint64
count_patients(int64 project_id)
{
	static ClinicalPlan plan = {
		"SELECT pg_catalog.count(*) FROM clinical.patient p"
		" WHERE $1 OPERATOR(pg_catalog.=) 0 OR p.project_id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(project_id);
	Datum		count;

	return clinical_fetch(&plan, &value, NULL, true, &count) ? (uint64) DatumGetInt64(count) : 0;
}

/* Read all that the rule needs, and evaluate it patient by patient. */
static void
run(Backtest *backtest, int64 project_id)
{
	SPIExecuteOptions options = {.read_only = true};
	int			result;

	options.params = make_params(backtest->monitor, project_id);
	options.dest = &backtest->receiver;
	result = SPI_execute_extended(make_query(backtest->monitor, project_id != 0), &options);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_extended failed: %s", SPI_result_code_string(result));
	end_patient(backtest);
}

/* SQL: what a version of a rule would have raised. */
Datum
clinical_rule_backtest(PG_FUNCTION_ARGS)
{
	Backtest	backtest = {.receiver = {receive, start_up, shut_down, shut_down, DestTuplestore}};
	int64		project_id;

	clinical_require_arg(!PG_ARGISNULL(0), "rule definition is required");
	clinical_require_arg(!PG_ARGISNULL(1), "period is required");
	backtest.monitor = clinical_monitor_compile(PG_GETARG_JSONB_P(0), CurrentMemoryContext);
	if (backtest.monitor->kind == CLINICAL_MONITOR_MISSING)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("rules of missing entries cannot be tested in the past")));
	read_period(fcinfo, 1, &backtest);
	InitMaterializedSRF(fcinfo, 0);
	backtest.result = (ReturnSetInfo *) fcinfo->resultinfo;
	backtest.context = AllocSetContextCreate(CurrentMemoryContext, "clinical backtest", ALLOCSET_DEFAULT_SIZES);
	SPI_connect();
	project_id = project_of(PG_GETARG_JSONB_P(0));
	clinical_progress_begin(CLINICAL_BACKTEST);
	PG_TRY();
	{
		clinical_progress_set(PROGRESS_PATIENTS, count_patients(project_id));
		run(&backtest, project_id);
	}
	PG_FINALLY();
	{
		clinical_progress_end();
	}
	PG_END_TRY();
	SPI_finish();
	return (Datum) 0;
}
