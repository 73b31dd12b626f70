/*-------------------------------------------------------------------------
 *
 * monitor_escalate.c
 *		Escalation: an alert that nobody acknowledges in time reaches the next
 *		level.
 *
 * When that is stands in the alert's row, so no restart loses it.  When the first
 * one is due is also kept in shared memory, where a transaction that opens an
 * alert lowers it at its commit: so the worker sleeps until then, and does not
 * look at the table in between.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "monitor.h"
#include "observe.h"
#include "worker.h"

/* So many alerts are escalated in one transaction */
#define BATCH 100
/* After so long (ms) the table is looked at in any case: rows come by restores and prepared transactions, too */
#define LOOK_INTERVAL 60000
/* One that is due and that somebody has locked is tried again after so long (ms) */
#define TRY_AGAIN 1000

/* An alert that is due */
typedef struct Due
{
	Datum		patient_id;
	Datum		id;
	int64		project_id;
	int64		rule_id;
	int			version;
	int			level;
	TimestampTz opened_at;
	char	   *severity;
} Due;

/* The earliest one that this transaction leaves to be escalated */
static TimestampTz pending = DT_NOEND;

/* When an alert of that level is escalated next; DT_NOEND: never. */
TimestampTz
clinical_escalation_due(const ClinicalMonitor *monitor, TimestampTz opened_at, int level)
{
	return level < monitor->nescalations ? opened_at + monitor->escalate_after[level] : DT_NOEND;
}

/* This transaction leaves an alert to be escalated then. */
void
clinical_escalation_will_be_due(TimestampTz due)
{
	pending = Min(pending, due);
}

/* Callback: the transaction ends.  It is called before the one that wakes the worker. */
static void
transaction_ends(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	CLINICAL_FAULT("alerts_end");
	if (event == XACT_EVENT_COMMIT && pending != DT_NOEND && clinical_backlog() != NULL &&
		clinical_lower_moment(&clinical_backlog()->escalate_due, pending))
		clinical_wake_worker();
	pending = DT_NOEND;
}

/* Lock alerts that are due, but not those that somebody has locked; how many there are. */
static int
lock_due(TimestampTz now, Due *found)
{
	static ClinicalPlan plan = {
		"SELECT a.patient_id, a.id, a.rule_id, a.rule_version, a.escalation_level, a.opened_at, a.severity,"
		"       a.project_id"
		"  FROM clinical.alert a WHERE a.escalate_at OPERATOR(pg_catalog.<=) $1"
		" ORDER BY a.escalate_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED",
		2, {TIMESTAMPTZOID, INT8OID}
	};
	Datum		values[2] = {TimestampTzGetDatum(now), Int64GetDatum(BATCH)};

	clinical_owner_execute(&plan, values, NULL, false);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		found[i].patient_id = datumCopy(clinical_result(i, 1), false, -1);
		found[i].id = datumCopy(clinical_result(i, 2), false, UUID_LEN);
		found[i].rule_id = DatumGetInt64(clinical_result(i, 3));
		found[i].version = DatumGetInt32(clinical_result(i, 4));
		found[i].level = DatumGetInt32(clinical_result(i, 5));
		found[i].opened_at = DatumGetTimestampTz(clinical_result(i, 6));
		found[i].severity = TextDatumGetCString(clinical_result(i, 7));
		found[i].project_id = DatumGetInt64(clinical_result(i, 8));
	}
	return (int) SPI_processed;
}

/* Escalate an alert that is locked. */
static void
escalate(const Due *due)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.alert AS a SET escalation_level = $3, escalate_at = $4, events = a.events OPERATOR(pg_catalog.+) 1"
		" WHERE a.patient_id OPERATOR(pg_catalog.=) $1 AND a.id OPERATOR(pg_catalog.=) $2",
		4, {TEXTOID, UUIDOID, INT4OID, TIMESTAMPTZOID}
	};
	const ClinicalAlertEvent event = {
		.project_id = due->project_id, .kind = "escalated", .status_from = "open", .cause = "time"
	};
	const ClinicalMonitor *monitor = clinical_monitor_version(due->rule_id, due->version);
	TimestampTz next = clinical_escalation_due(monitor, due->opened_at, due->level + 1);
	Datum		values[4] = {due->patient_id, due->id, Int32GetDatum(due->level + 1), TimestampTzGetDatum(next)};

	clinical_server_execute(&plan, values, next == DT_NOEND ? "   n" : NULL);
	clinical_alert_tell(due->patient_id, due->id, &event);
	if (clinical_event_wanted(CLINICAL_EVENT_ALERT_ESCALATED))
		clinical_event_at_commit(CLINICAL_EVENT_ALERT_ESCALATED, "%srule=%s kind=%s severity=%s level=%d alert_id=%s",
								 clinical_event_project(due->project_id), clinical_event_value(monitor->code),
								 monitor->kind_name, due->severity, due->level + 1,
								 DatumGetCString(DirectFunctionCall1(uuid_out, due->id)));
}

/* When the first of all alerts is due; DT_NOEND: none ever is. */
static TimestampTz
first_due(void)
{
	static ClinicalPlan plan = {
		"SELECT a.escalate_at FROM clinical.alert a WHERE a.escalate_at IS NOT NULL ORDER BY a.escalate_at LIMIT 1"
	};
	Datum		due;

	return clinical_owner_fetch(&plan, NULL, NULL, false, &due) ? DatumGetTimestampTz(due) : DT_NOEND;
}

/* Escalate some alerts that are due; how many there were, and when the next one is. */
static int
escalate_batch(ClinicalBacklog *backlog, TimestampTz now, TimestampTz *next)
{
	Due			due[BATCH];
	int			count;

	/* what is written from now on, or was committed since it was last looked at, is seen or makes it earlier again */
	pg_atomic_write_u64(&backlog->escalate_due, (uint64) DT_NOEND);
	count = lock_due(now, due);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		escalate(&due[i]);
	}
	*next = first_due();
	return count;
}

/* How long (ms) from one moment to another, which may be infinitely far. */
static long
time_until(TimestampTz now, TimestampTz moment)
{
	return moment >= TimestampTzPlusMilliseconds(now, LOOK_INTERVAL) ? LOOK_INTERVAL :
		TimestampDifferenceMilliseconds(now, moment) + 1;
}

/* The worker's job. */
static long
escalate_job(void)
{
	static TimestampTz look_at = 0;
	ClinicalBacklog *backlog = clinical_backlog();
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz due = Min((TimestampTz) pg_atomic_read_u64(&backlog->escalate_due), look_at);
	int			count;

	if (now < due)
		return time_until(now, due);
	if (!clinical_worker_begin("escalating alerts"))
		return -1;
	count = escalate_batch(backlog, now, &due);
	clinical_worker_commit();
	look_at = TimestampTzPlusMilliseconds(now, LOOK_INTERVAL);
	if (count == BATCH)
	{
		look_at = now;
		return 0;
	}
	/* those that are still due are locked */
	due = due <= now ? TimestampTzPlusMilliseconds(now, TRY_AGAIN) : due;
	(void) clinical_lower_moment(&backlog->escalate_due, due);
	return time_until(now, Min(due, look_at));
}

/* Give the worker its job, and listen to the ends of transactions. */
void
clinical_escalate_init(void)
{
	static const ClinicalJob job = {.name = "escalation", .run = escalate_job, .woken = true};

	clinical_register_job(&job);
	RegisterXactCallback(transaction_ends, NULL);
}
