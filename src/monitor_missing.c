/*-------------------------------------------------------------------------
 *
 * monitor_missing.c
 *		Entries that were expected and not made.
 *
 * For a rule of missing entries a day is out of range if the window of an entry
 * has closed with its grace, and no report of the instrument was captured in them.  Nothing comes
 * in when a window closes, so a worker looks at each patient then; when that is
 * next, is a row of entry_watch.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "intake.h"
#include "monitor.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(clinical_monitor_excused);

/* So many patients are looked at in one transaction; so often (ms) it is looked for new ones */
#define PATIENTS 32
#define LOOK_INTERVAL 60000
#define RETRY_DELAY 1000
/* So long (ms) a patient is left alone whose alert somebody has locked, and one that failed */
#define LOCKED_DELAY INT64CONST(60000)
#define FAILED_DELAY INT64CONST(86400000)

/* So many patients may be looked at together: fewer after something went wrong */
static int	together = PATIENTS;

/* Windows of a patient: the reading of a day is 1 if an entry was made, else 0 */
typedef struct Windows
{
	int			count;
	StreakReading *readings;	/* in order of days */
	int		   *days;
} Windows;

/* --- the windows of a patient ------------------------------------------------------------------- */

/* Find the windows in which an entry was made, and those that are closed without; excused ones do not count. */
static void
find_windows(Datum patient_id, const ClinicalMonitor *monitor)
{
	static ClinicalPlan plan = {
		"SELECT e.day, e.status OPERATOR(pg_catalog.<>) 'missed'"
		"  FROM clinical.entry_compliance($1, pg_catalog.daterange(($3 OPERATOR(pg_catalog.-) '3600 days'::pg_catalog.interval)::pg_catalog.date,"
		"                                                         ($3 OPERATOR(pg_catalog.+) '2 days'::pg_catalog.interval)::pg_catalog.date), $3) e"
		" WHERE e.instrument OPERATOR(pg_catalog.=) $2 AND e.status OPERATOR(pg_catalog.<>) 'excused'"
		"   AND e.status OPERATOR(pg_catalog.<>) 'pending' AND pg_catalog.lower(e.entry_window) OPERATOR(pg_catalog.>=) $4"
		" ORDER BY e.day, pg_catalog.lower(e.entry_window)",
		4, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	Datum		values[4] = {
		patient_id, CStringGetTextDatum(monitor->instrument), TimestampTzGetDatum(GetCurrentTimestamp()),
		TimestampTzGetDatum(monitor->counts_from)
	};

	clinical_owner_execute(&plan, values, NULL, true);
}

/* A column of a window that was found. */
static Datum
window_column(int number, int column)
{
	bool		isnull;

	return SPI_getbinval(SPI_tuptable->vals[number], SPI_tuptable->tupdesc, column, &isnull);
}

/* Read the windows that were found into the memory context. */
static Windows *
read_windows(MemoryContext context)
{
	MemoryContext caller = MemoryContextSwitchTo(context);
	Windows    *windows = palloc0_object(Windows);

	windows->count = (int) SPI_processed;
	windows->readings = palloc0_array(StreakReading, Max(windows->count, 1));
	windows->days = palloc_array(int, Max(windows->count, 1));
	for (int i = 0; i < windows->count; i++)
	{
		bool		made = DatumGetBool(window_column(i, 2));

		windows->days[i] = DatumGetDateADT(window_column(i, 1));
		windows->readings[i].at = i;
		windows->readings[i].value = int64_to_numeric(made);
	}
	MemoryContextSwitchTo(caller);
	return windows;
}

/* StreakSource: the nearest day before or after one. */
static bool
next_window(void *arg, int day, bool after, int *found, StreakReading **readings, int *count)
{
	const Windows *windows = arg;
	int			from = after ? 0 : windows->count - 1;

	CHECK_FOR_INTERRUPTS();
	while (from >= 0 && from < windows->count && (after ? windows->days[from] <= day : windows->days[from] >= day))
		from += after ? 1 : -1;
	if (from < 0 || from >= windows->count)
		return false;
	*found = windows->days[from];
	while (from > 0 && windows->days[from - 1] == *found)
		from--;
	*readings = &windows->readings[from];
	for (*count = 0; from + *count < windows->count && windows->days[from + *count] == *found;)
		(*count)++;
	return true;
}

/* What gives the days of a rule of missing entries, in the memory context; inside SPI. */
void
clinical_missing_source(Datum patient_id, const ClinicalMonitor *monitor, MemoryContext context, StreakSource *source)
{
	SPI_connect();
	find_windows(patient_id, monitor);
	source->arg = read_windows(context);
	source->next = next_window;
	SPI_finish();
}

/* --- evaluation ------------------------------------------------------------------------------------ */

/* Evaluate all rules of missing entries of a patient: those in force, and those that alerts are of. */
static void
evaluate_entries(ClinicalEvaluation *evaluation, List *monitors)
{
	List	   *all = NIL;
	ListCell   *cell;

	foreach(cell, evaluation->alerts)
	{
		const ClinicalAlert *alert = lfirst(cell);
		ClinicalMonitor *monitor = clinical_monitor_version(alert->rule_id, alert->version);

		if (!monitor->in_force)
			all = list_append_unique_ptr(all, monitor);
	}
	all = list_concat(all, monitors);
	foreach(cell, all)
	{
		const ClinicalMonitor *monitor = lfirst(cell);

		if (monitor->kind == CLINICAL_MONITOR_MISSING)
			clinical_monitor_evaluate(evaluation, monitor, NULL, CLINICAL_ALL_DAYS);
	}
}

/* Evaluate patients whose lanes are locked. */
static void
evaluate_patients(const Datum *patients, int count, const char *cause)
{
	MemoryContext outer = AllocSetContextCreate(CurrentMemoryContext, "clinical entries", ALLOCSET_DEFAULT_SIZES);
	MemoryContext context = AllocSetContextCreate(outer, "clinical evaluation", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(outer);
	ClinicalEvaluation evaluation;

	clinical_evaluation_begin(&evaluation);
	evaluation.cause.kind = cause;
	for (int i = 0; i < count; i++)
	{
		int64		project_id;

		MemoryContextSwitchTo(context);
		project_id = clinical_project_of(patients[i]);
		clinical_evaluation_patient(&evaluation, patients[i], project_id, DATEVAL_NOBEGIN);
		evaluate_entries(&evaluation, clinical_monitors_in_force(project_id));
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(outer);
	clinical_evaluation_end(&evaluation);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(outer);
}

/* Trigger, at commit: entries of a patient are excused, or no longer. */
Datum
clinical_monitor_excused(PG_FUNCTION_ARGS)
{
	ClinicalRow row;
	Datum		patient_id;
	bool		isnull;

	clinical_load_row(fcinfo, &row, "entry_excuse", CLINICAL_AFTER_ROW);
	if (clinical_as_is())
		return PointerGetDatum(NULL);
	patient_id = clinical_column(&row, row.new_tuple != NULL ? row.new_tuple : row.old_tuple, "patient_id", &isnull);
	clinical_note_evaluating();
	(void) clinical_stage_lock(CLINICAL_LOCK_LANE + clinical_patient_lane(patient_id), false);
	SPI_connect();
	evaluate_patients(&patient_id, 1, "excuse");
	SPI_finish();
	return PointerGetDatum(NULL);
}

/* --- the job ----------------------------------------------------------------------------------------- */

/* Watch patients who are not watched, of projects that have such a rule; false: there is no such rule. */
static bool
watch_patients(void)
{
	static ClinicalPlan any = {
		"SELECT true FROM clinical.monitor_rule_version v WHERE v.kind OPERATOR(pg_catalog.=) 'missing_entries' LIMIT 1"
	};
	static ClinicalPlan watch = {
		"INSERT INTO clinical.entry_watch (patient_id, due_at)"
		" SELECT p.id, '-infinity' FROM clinical.patient p"
		"  WHERE NOT EXISTS (SELECT FROM clinical.entry_watch w WHERE w.patient_id OPERATOR(pg_catalog.=) p.id)"
		"    AND EXISTS (SELECT FROM clinical.monitor_rule r"
		"                  JOIN clinical.monitor_rule_version v ON v.rule_id OPERATOR(pg_catalog.=) r.id"
		"                 WHERE r.status OPERATOR(pg_catalog.=) 'active' AND v.kind OPERATOR(pg_catalog.=) 'missing_entries'"
		"                   AND COALESCE(r.project_id, p.project_id) OPERATOR(pg_catalog.=) p.project_id)"
		" ON CONFLICT DO NOTHING"
	};
	Datum		ignored;

	if (!clinical_owner_fetch(&any, NULL, NULL, true, &ignored))
		return false;
	clinical_server_execute(&watch, NULL, NULL);
	CommandCounterIncrement();
	return true;
}

/* The patients that are due; how many. */
static int
find_due(Datum *patients)
{
	static ClinicalPlan plan = {
		"SELECT w.patient_id FROM clinical.entry_watch w WHERE w.due_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()"
		" ORDER BY w.due_at, w.patient_id LIMIT $1",
		1, {INT8OID}
	};
	Datum		limit = Int64GetDatum(together);
	int			count;

	clinical_owner_execute(&plan, &limit, NULL, false);
	count = (int) SPI_processed;
	for (int i = 0; i < count; i++)
	{
		bool		isnull;

		patients[i] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
	}
	return count;
}

/* Look at a patient again when the next window closes, and once a day: schedules change. */
static void
watch_on(Datum patient_id)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.entry_watch AS w SET due_at = COALESCE("
		"       (SELECT pg_catalog.min(e.closes_at)"
		"          FROM clinical.expected_entries($1, pg_catalog.daterange(($2 OPERATOR(pg_catalog.-) '366 days'::pg_catalog.interval)::pg_catalog.date,"
		"                                                                  ($2 OPERATOR(pg_catalog.+) '3 days'::pg_catalog.interval)::pg_catalog.date)) e"
		"         WHERE e.closes_at OPERATOR(pg_catalog.>) $2"
		"           AND e.closes_at OPERATOR(pg_catalog.<) ($2 OPERATOR(pg_catalog.+) '1 day'::pg_catalog.interval)),"
		"       $2 OPERATOR(pg_catalog.+) '1 day'::pg_catalog.interval)"
		" WHERE w.patient_id OPERATOR(pg_catalog.=) $1",
		2, {TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {patient_id, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp())};

	clinical_server_execute(&plan, values, NULL);
}

/* How long (ms) until the next patient is due. */
static long
time_to_next(void)
{
	static ClinicalPlan plan = {"SELECT pg_catalog.min(w.due_at) FROM clinical.entry_watch w"};
	Datum		due;

	if (!clinical_owner_fetch(&plan, NULL, NULL, false, &due))
		return LOOK_INTERVAL;
	return Min(LOOK_INTERVAL, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), DatumGetTimestampTz(due)) + 1);
}

/* Look at the patients that are due; the time to the next. */
static void
work(void *arg)
{
	long	   *delay = arg;
	Datum		patients[PATIENTS];
	int			count;

	*delay = LOOK_INTERVAL;
	if (!watch_patients())
		return;
	count = find_due(patients);
	if (count > 0)
		count = clinical_lock_lanes(patients, count);
	evaluate_patients(patients, count, "window");
	for (int i = 0; i < count; i++)
		watch_on(patients[i]);
	*delay = time_to_next();
}

/* The first patient that is due cannot be looked at: let the others have their turn, and try again then. */
static void
put_off_first(void *arg)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.entry_watch AS w SET due_at = $1"
		"  FROM (SELECT f.patient_id FROM clinical.entry_watch f ORDER BY f.due_at, f.patient_id LIMIT 1) f"
		" WHERE w.patient_id OPERATOR(pg_catalog.=) f.patient_id",
		1, {TIMESTAMPTZOID}
	};
	Datum		due = TimestampTzGetDatum(TimestampTzPlusMilliseconds(GetCurrentTimestamp(), *(const int64 *) arg));

	clinical_server_execute(&plan, &due, NULL);
}

/* The same, in a transaction of its own, by so many milliseconds; when to go on. */
static long
put_off(int64 delay)
{
	if (clinical_worker_begin("looking for missing entries") && clinical_job_try(put_off_first, &delay) == 0)
		return 0;
	return RETRY_DELAY;
}

/* It went wrong: when to try again. */
static long
failed(int sqlerrcode)
{
	bool		locked = sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;

	if (!locked && clinical_job_may_succeed(sqlerrcode))
		return RETRY_DELAY;
	if (together > 1)
	{
		together = 1;
		return 0;
	}
	/* somebody handles an alert of the patient, perhaps for long */
	if (locked)
		return put_off(LOCKED_DELAY);
	ereport(LOG,
			(errmsg("looking for missing entries of a patient failed"),
			 errdetail("SQLSTATE %s.", unpack_sql_state(sqlerrcode))));
	(void) put_off(FAILED_DELAY);
	return RETRY_DELAY;
}

/* Job: patients whose windows have closed. */
static long
entries_job(void)
{
	long		delay;
	int			sqlerrcode;

	if (!clinical_worker_begin("looking for missing entries"))
		return -1;
	sqlerrcode = clinical_job_try(work, &delay);
	if (sqlerrcode != 0)
		return failed(sqlerrcode);
	together = Min(2 * together, PATIENTS);
	return delay;
}

/* Give the worker the job. */
void
clinical_missing_init(void)
{
	static const ClinicalJob job = {"missing entries", entries_job, false, false};

	clinical_register_job(&job);
}
