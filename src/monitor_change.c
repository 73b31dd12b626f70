/*-------------------------------------------------------------------------
 *
 * monitor_change.c
 *		Readings that have changed, and the rules for which that matters.
 *
 * Reports are looked at when a batch has stored them, by its own transaction, so
 * that nobody sees a reading without its alert.  Most change nothing: a value in
 * range makes no day worse, and only where an alert stands can it make one better.
 * Corrections and withdrawals are looked at when their transaction commits, all of
 * them at once: what one day was is not to be told from what the others are now.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "intake.h"
#include "monitor.h"
#include "observation.h"

PG_FUNCTION_INFO_V1(clinical_monitor_changed);
PG_FUNCTION_INFO_V1(clinical_monitor_corrected);
PG_FUNCTION_INFO_V1(clinical_monitor_withdrawn);

/* What has changed of a patient */
typedef struct Changes
{
	int			count;
	ClinicalChange *changes;
	const ClinicalStored *stored;	/* NULL: nothing is new */
	int			last_report;
	List	   *pending;		/* ClinicalPending * that are among them */
} Changes;

/* Days that lost an alert of an older version, and may get one of the version in force */
typedef struct Lost
{
	int64		rule_id;
	int			from;
	int			to;
} Lost;

/* Days that were touched of a rule */
typedef struct Touched
{
	bool		matters;
	bool		all;			/* days */
	int			count;
	int			room;
	int		   *days;
	const ClinicalChange *last; /* that matters, or of all if none does */
} Touched;

/* --- which days ------------------------------------------------------------------------------- */

/* Add a day. */
static void
touch(Touched *touched, int day)
{
	if (touched->count > 0 && touched->days[touched->count - 1] == day)
		return;
	if (touched->count == touched->room)
	{
		touched->room = Max(16, 2 * touched->room);
		touched->days = touched->days == NULL ? palloc_array(int, touched->room) :
			repalloc_array(touched->days, int, touched->room);
	}
	touched->days[touched->count++] = day;
}

/* The number of a rule's item that has changed; -1: none of its own. */
static int
changed_item(const ClinicalMonitor *monitor, const ClinicalChange *change)
{
	for (int i = 0; i < monitor->rule.nitems; i++)
	{
		if (change->item == NULL || (strncmp(monitor->items[i], change->item, change->length) == 0 &&
									 monitor->items[i][change->length] == '\0'))
			return i;
	}
	return -1;
}

/*
 * Can a new value of an item make a day worse?  One in range cannot: what mean or
 * median of a day it becomes part of comes nearer to the range.  But where a day
 * needs several readings, it may be the one that was missing.
 */
static bool
may_make_worse(ClinicalEvaluation *evaluation, const ClinicalMonitor *monitor, int item, const ClinicalChange *change)
{
	const void *value = change->value;

	if (value == NULL || monitor->rule.min_readings > 1)
		return true;
	if (monitor->kind == CLINICAL_MONITOR_BASELINE)
	{
		value = clinical_monitor_change(monitor, change->value,
										clinical_reader_baseline(evaluation->reader, monitor, item)->value);
		if (value == NULL)
			return false;
	}
	return !clinical_monitor_ops.inside(&value, 1, monitor->rule.ranges[item][0]);
}

/* Find the days of a rule that changes touch, and whether they may matter without an alert. */
static void
find_touched(ClinicalEvaluation *evaluation, const ClinicalMonitor *monitor, const Changes *changes, Touched *touched)
{
	memset(touched, 0, sizeof(*touched));
	for (int i = 0; i < changes->count; i++)
	{
		const ClinicalChange *change = &changes->changes[i];
		int			item = changed_item(monitor, change);
		bool		worse;

		if (item < 0)
			continue;
		/* what rules compare with may be older than what they look at */
		if (!touched->all && clinical_reader_may_be_baseline(evaluation->reader, monitor, change->at, change->local_day - 1))
		{
			touched->all = true;
			touched->last = change;
		}
		if (change->at < monitor->counts_from)
			continue;
		worse = may_make_worse(evaluation, monitor, item, change);
		if (worse || !touched->matters)
			touched->last = change;
		touched->matters |= worse;
		/* where days begin later, early readings are of the day before */
		if (monitor->day_start > 0)
			touch(touched, change->local_day - 1);
		touch(touched, change->local_day);
	}
}

/* The days that lost alerts of the rule are touched, too. */
static void
touch_lost(const ClinicalMonitor *monitor, List *lost, Touched *touched)
{
	ListCell   *cell;

	foreach(cell, lost)
	{
		const Lost *days = lfirst(cell);

		if (days->rule_id != monitor->rule_id)
			continue;
		touched->matters = true;
		for (int day = days->from; day <= days->to; day++)
			touch(touched, day);
	}
}

/* --- evaluation ------------------------------------------------------------------------------- */

/* Does the evaluation have an alert of this version?  One that lost its streak gets none back by readings in range. */
static bool
has_own_alert(const ClinicalEvaluation *evaluation, const ClinicalMonitor *monitor)
{
	ListCell   *cell;

	foreach(cell, evaluation->alerts)
	{
		const ClinicalAlert *alert = lfirst(cell);

		if (alert->rule_id == monitor->rule_id && alert->version == monitor->version && alert->alert.supported)
			return true;
	}
	return false;
}

/* Say what is the cause; NULL: the last report, or else the last change. */
static void
set_cause(ClinicalEvaluation *evaluation, const Changes *changes, const ClinicalChange *change)
{
	const ClinicalStored *stored = changes->stored;
	ClinicalCause *cause = &evaluation->cause;
	int			report = change == NULL ? changes->last_report : change->report;

	if (stored == NULL && change == NULL)
		change = &changes->changes[changes->count - 1];
	if (change != NULL && change->kind != NULL)
	{
		cause->kind = change->kind;
		cause->submission_id = change->submission_id;
		cause->trace_parent = (Datum) 0;
		cause->actor = PointerGetDatum(clinical_actor_in_force());
		return;
	}
	cause->kind = "report";
	cause->submission_id = stored->submissions->values[stored->submission_id][report];
	cause->trace_parent = stored->submissions->values[stored->trace_parent][report];
	cause->actor = stored->submissions->values[stored->actor][report];
}

/* May readings in range matter?  They shorten streaks that have an alert, or cut them in two. */
static bool
may_make_better(const ClinicalEvaluation *evaluation, const ClinicalMonitor *monitor)
{
	return has_own_alert(evaluation, monitor) || clinical_evaluation_is_held_back(evaluation, monitor);
}

/* Evaluate a version of a rule where it matters. */
static void
evaluate_version(ClinicalEvaluation *evaluation, const ClinicalMonitor *monitor, const Changes *changes, List *lost)
{
	Touched		touched;

	if (monitor->kind == CLINICAL_MONITOR_MISSING)
	{
		/* an entry that came late makes nothing worse, one that was withdrawn does */
		if (changes->pending != NIL || may_make_better(evaluation, monitor))
		{
			set_cause(evaluation, changes, NULL);
			clinical_monitor_evaluate(evaluation, monitor, NULL, CLINICAL_ALL_DAYS);
		}
		return;
	}
	find_touched(evaluation, monitor, changes, &touched);
	touch_lost(monitor, lost, &touched);
	if (!touched.all && (touched.count == 0 || (!touched.matters && !may_make_better(evaluation, monitor))))
		return;
	set_cause(evaluation, changes, touched.last);
	clinical_monitor_evaluate(evaluation, monitor, touched.days, touched.all ? CLINICAL_ALL_DAYS : touched.count);
}

/* The days of alerts of a version that are not as they were. */
static List *
find_lost(const ClinicalEvaluation *evaluation, List *alerts, const Streak *before, List *lost)
{
	ListCell   *cell;
	int			i = 0;

	foreach(cell, alerts)
	{
		ClinicalAlert *alert = lfirst(cell);
		const Streak *basis = &before[i++];
		Lost	   *days;

		if (list_member_ptr(evaluation->alerts, alert) && alert->alert.supported &&
			alert->alert.basis.onset <= basis->onset && alert->alert.basis.last_day >= basis->last_day)
			continue;
		days = palloc_object(Lost);
		days->rule_id = alert->rule_id;
		days->from = basis->onset;
		days->to = basis->last_day;
		lost = lappend(lost, days);
	}
	return lost;
}

/* Keep up to date the alerts of versions that are not in force; what they lost is for those that are. */
static List *
evaluate_former(ClinicalEvaluation *evaluation, const Changes *changes)
{
	List	   *alerts = list_copy(evaluation->alerts);
	Streak	   *before = palloc_array(Streak, Max(list_length(alerts), 1));
	List	   *done = NIL;
	List	   *changed = NIL;
	ListCell   *cell;

	foreach(cell, alerts)
	{
		const ClinicalAlert *alert = lfirst(cell);
		ClinicalMonitor *monitor = clinical_monitor_version(alert->rule_id, alert->version);

		if (monitor->in_force)
			continue;
		before[list_length(changed)] = alert->alert.basis;
		changed = lappend(changed, unconstify(ClinicalAlert *, alert));
		if (!list_member_ptr(done, monitor))
			done = lappend(done, monitor);
	}
	foreach(cell, done)
		evaluate_version(evaluation, lfirst(cell), changes, NIL);
	return find_lost(evaluation, changed, before, NIL);
}

/* From which day on alerts have to be known: rules of missing entries are evaluated over all days. */
static DateADT
alerts_from(List *monitors, DateADT earliest)
{
	ListCell   *cell;

	foreach(cell, monitors)
	{
		if (((const ClinicalMonitor *) lfirst(cell))->kind == CLINICAL_MONITOR_MISSING)
			return DATEVAL_NOBEGIN;
	}
	return earliest - 1;
}

/* Evaluate all rules for what has changed of a patient. */
static void
evaluate_changes(ClinicalEvaluation *evaluation, List *monitors, const Changes *changes)
{
	List	   *lost = NIL;
	ListCell   *cell;

	set_cause(evaluation, changes, NULL);
	if (evaluation->alerts != NIL)
		lost = evaluate_former(evaluation, changes);
	foreach(cell, monitors)
		evaluate_version(evaluation, lfirst(cell), changes, lost);
	clinical_evaluation_merge_versions(evaluation);
}

/* --- reports that were stored --------------------------------------------------------------------- */

/* Are there alerts at all? */
static bool
any_alert(void)
{
	Relation	relation = table_open(get_relname_relid("alert", get_namespace_oid("clinical", false)), AccessShareLock);
	bool		any = RelationGetNumberOfBlocks(relation) > 0;

	table_close(relation, NoLock);
	return any;
}

/* A patient of a batch: rows of submissions, and of observations */
typedef struct PatientRows
{
	int			from;
	int			to;
	int			observations_from;
	int			observations_to;
} PatientRows;

/* Go on to the next patient; false if there is none. */
static bool
next_group(const ClinicalStored *stored, PatientRows *group)
{
	const ClinicalRows *submissions = stored->submissions;
	const ClinicalRows *observations = stored->observations;
	Datum		patient_id;

	group->from = group->to;
	group->observations_from = group->observations_to;
	if (group->from == submissions->nrows)
		return false;
	patient_id = submissions->values[stored->patient_id][group->from];
	while (group->to < submissions->nrows &&
		   clinical_same_bytes(submissions->values[stored->patient_id][group->to], patient_id))
		group->to++;
	while (group->observations_to < observations->nrows &&
		   clinical_same_bytes(observations->values[OBSERVED_PATIENT_ID][group->observations_to], patient_id))
		group->observations_to++;
	return true;
}

/* The row of the report of an observation, from one on: both stand in the same order. */
static int
report_of(const ClinicalStored *stored, int report, int observation)
{
	const pg_uuid_t *id = DatumGetUUIDP(stored->observations->values[OBSERVED_SUBMISSION_ID][observation]);

	while (report < stored->submissions->nrows - 1 &&
		   memcmp(DatumGetUUIDP(stored->submissions->values[stored->submission_id][report])->data, id->data, UUID_LEN) != 0)
		report++;
	return report;
}

/* Begin to gather changes: what waits of the patient, and so many more; the earliest day. */
static DateADT
begin_changes(Changes *changes, List *pending, int more)
{
	DateADT		earliest = DATEVAL_NOEND;
	ListCell   *cell;

	memset(changes, 0, sizeof(*changes));
	changes->pending = pending;
	changes->changes = palloc_array(ClinicalChange, Max(list_length(pending) + more, 1));
	foreach(cell, pending)
	{
		const ClinicalChange *change = &((const ClinicalPending *) lfirst(cell))->change;

		changes->changes[changes->count++] = *change;
		earliest = Min(earliest, change->local_day);
	}
	return earliest;
}

/* What the reports of a patient have brought: numbers; and the earliest day. */
static DateADT
gather(const ClinicalStored *stored, const PatientRows *group, Changes *changes)
{
	const ClinicalRows *rows = stored->observations;
	List	   *pending = clinical_pending_of(stored->submissions->values[stored->patient_id][group->from]);
	DateADT		earliest = begin_changes(changes, pending, group->observations_to - group->observations_from);
	int			report = group->from;

	changes->stored = stored;
	changes->last_report = group->to - 1;
	for (int row = group->from; row < group->to; row++)
		earliest = Min(earliest, DatumGetDateADT(stored->submissions->values[stored->local_day][row]));
	for (int row = group->observations_from; row < group->observations_to; row++)
	{
		ClinicalChange *change = &changes->changes[changes->count];
		text	   *item;

		report = report_of(stored, report, row);
		if (rows->nulls[OBSERVED_VALUE][row])
			continue;
		item = DatumGetTextPP(rows->values[OBSERVED_ITEM][row]);
		change->item = VARDATA_ANY(item);
		change->length = (int) VARSIZE_ANY_EXHDR(item);
		change->at = DatumGetTimestampTz(rows->values[OBSERVED_CAPTURED_AT][row]);
		change->local_day = DatumGetDateADT(rows->values[OBSERVED_LOCAL_DAY][row]);
		change->value = DatumGetNumeric(rows->values[OBSERVED_VALUE][row]);
		change->report = report;
		change->kind = NULL;
		changes->count++;
	}
	return earliest;
}

/* A batch that is looked at */
typedef struct Batch
{
	const ClinicalStored *stored;
	MemoryContext context;		/* of a patient */
	bool		any_alert;
	bool		begun;
	ClinicalEvaluation evaluation;
} Batch;

/* Evaluate the rules for a patient of a batch. */
static void
evaluate_group(Batch *batch, const PatientRows *group)
{
	const ClinicalRows *rows = batch->stored->submissions;
	int64		project_id = DatumGetInt64(rows->values[batch->stored->project_id][group->from]);
	List	   *monitors = clinical_monitors_in_force(project_id);
	Changes		changes;
	DateADT		earliest;

	if (monitors == NIL && !batch->any_alert)
		return;
	earliest = gather(batch->stored, group, &changes);
	if (changes.count == 0 && !batch->any_alert)
		return;
	if (!batch->begun)
	{
		MemoryContext caller = MemoryContextSwitchTo(MemoryContextGetParent(batch->context));

		clinical_evaluation_begin(&batch->evaluation);
		batch->begun = true;
		MemoryContextSwitchTo(caller);
	}
	clinical_evaluation_patient(&batch->evaluation, rows->values[batch->stored->patient_id][group->from], project_id,
								alerts_from(monitors, earliest));
	for (int row = group->from; row < group->to; row++)
		clinical_reader_knows(batch->evaluation.reader, rows->values[batch->stored->submission_id][row],
							  rows->values[batch->stored->time_zone][row]);
	evaluate_changes(&batch->evaluation, monitors, &changes);
	clinical_pending_done(changes.pending);
}

/* Callback: a batch has stored reports. */
static void
after_store(const ClinicalStored *stored)
{
	MemoryContext outer = AllocSetContextCreate(CurrentMemoryContext, "clinical monitoring", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(outer);
	Batch		batch = {.stored = stored};
	PatientRows group = {0};

	batch.any_alert = any_alert();
	batch.context = AllocSetContextCreate(outer, "clinical evaluation", ALLOCSET_DEFAULT_SIZES);
	while (next_group(stored, &group))
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(batch.context);
		evaluate_group(&batch, &group);
		MemoryContextReset(batch.context);
	}
	if (batch.begun)
		clinical_evaluation_end(&batch.evaluation);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(outer);
}

/* --- corrections and withdrawals --------------------------------------------------------------- */

/* A column of the row that a trigger sees, which is not NULL. */
static Datum
new_column(const ClinicalRow *row, const char *name)
{
	bool		isnull;
	Datum		value = clinical_column(row, row->new_tuple, name, &isnull);

	if (isnull)
		elog(ERROR, "column \"%s\" is NULL", name);
	return value;
}

/* Lock the lanes of all that waits, in their order. */
static void
lock_lanes(List *pending)
{
	int			locked = -1;
	ListCell   *cell;

	clinical_note_evaluating();
	foreach(cell, pending)
	{
		int			lane = ((const ClinicalPending *) lfirst(cell))->lane;

		if (lane != locked)
			(void) clinical_stage_lock(CLINICAL_LOCK_LANE + lane, false);
		locked = lane;
	}
}

/* Evaluate all that waits of a patient. */
static void
evaluate_pending(ClinicalEvaluation *evaluation, List *pending)
{
	Datum		patient_id = ((const ClinicalPending *) linitial(pending))->patient_id;
	int64		project_id = clinical_project_of(patient_id);
	List	   *monitors = clinical_monitors_in_force(project_id);
	Changes		changes;
	DateADT		earliest = begin_changes(&changes, pending, 0);

	clinical_evaluation_patient(evaluation, patient_id, project_id, alerts_from(monitors, earliest));
	evaluate_changes(evaluation, monitors, &changes);
	clinical_pending_done(pending);
}

/* Those at the beginning of a list that are of one patient, taken off it. */
static List *
take_patient(List **pending)
{
	Datum		patient_id = ((const ClinicalPending *) linitial(*pending))->patient_id;
	List	   *taken = NIL;
	ListCell   *cell;

	foreach(cell, *pending)
	{
		ClinicalPending *next = lfirst(cell);

		if (!clinical_same_bytes(next->patient_id, patient_id))
			break;
		taken = lappend(taken, next);
	}
	*pending = list_copy_tail(*pending, list_length(taken));
	return taken;
}

/* Evaluate all that waits, if it was not done yet. */
static void
evaluate_all_pending(void)
{
	MemoryContext outer = AllocSetContextCreate(CurrentMemoryContext, "clinical monitoring", ALLOCSET_DEFAULT_SIZES);
	MemoryContext context = AllocSetContextCreate(outer, "clinical evaluation", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(outer);
	List	   *pending = clinical_pending_of((Datum) 0);

	if (pending != NIL)
	{
		ClinicalEvaluation evaluation;

		lock_lanes(pending);
		SPI_connect();
		MemoryContextSwitchTo(outer);
		clinical_evaluation_begin(&evaluation);
		while (pending != NIL)
		{
			List	   *next = take_patient(&pending);

			CHECK_FOR_INTERRUPTS();
			MemoryContextSwitchTo(context);
			evaluate_pending(&evaluation, next);
			MemoryContextReset(context);
			MemoryContextSwitchTo(outer);
		}
		clinical_evaluation_end(&evaluation);
		SPI_finish();
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(outer);
}

/*
 * Trigger, before the change: it waits until it is evaluated.  Not after it, for
 * where constraints are immediate the first row of a statement is evaluated before
 * such a trigger has seen the second.
 */
Datum
clinical_monitor_changed(PG_FUNCTION_ARGS)
{
	ClinicalRow row;
	ClinicalChange change = {.kind = "withdrawal"};
	bool		observation;

	clinical_load_row(fcinfo, &row, NULL, CLINICAL_BEFORE_ROW);
	if (clinical_as_is() || row.new_tuple == NULL)
		return PointerGetDatum(row.new_tuple != NULL ? row.new_tuple : row.old_tuple);
	observation = strcmp(RelationGetRelationName(row.trigger->tg_relation), "observation") == 0;
	change.submission_id = new_column(&row, observation ? "submission_id" : "id");
	change.at = DatumGetTimestampTz(new_column(&row, "captured_at"));
	change.local_day = DatumGetDateADT(new_column(&row, "local_day"));
	if (observation)
	{
		text	   *item = DatumGetTextPP(new_column(&row, "item"));

		change.kind = "correction";
		change.item = VARDATA_ANY(item);
		change.length = (int) VARSIZE_ANY_EXHDR(item);
	}
	clinical_pending_add(new_column(&row, "patient_id"), &change);
	return PointerGetDatum(row.new_tuple);
}

/* What a trigger of that table does at commit. */
static Datum
evaluate_at_commit(FunctionCallInfo fcinfo, const char *table)
{
	ClinicalRow row;

	clinical_load_row(fcinfo, &row, table, CLINICAL_AFTER_ROW);
	if (!clinical_as_is())
		evaluate_all_pending();
	return PointerGetDatum(NULL);
}

/* Trigger, at commit: an observation has another version, or its value was destroyed. */
Datum
clinical_monitor_corrected(PG_FUNCTION_ARGS)
{
	return evaluate_at_commit(fcinfo, "observation");
}

/* Trigger, at commit: a report was withdrawn. */
Datum
clinical_monitor_withdrawn(PG_FUNCTION_ARGS)
{
	return evaluate_at_commit(fcinfo, "submission");
}

/* Listen to what is stored. */
void
clinical_monitor_init(void)
{
	clinical_register_after_store(after_store);
	clinical_monitor_queue_init();
}
