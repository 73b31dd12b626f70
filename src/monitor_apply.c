/*-------------------------------------------------------------------------
 *
 * monitor_apply.c
 *		What becomes of the alerts of a patient and a rule.
 *
 * The lane of the patient is locked, so nobody else changes what an alert is
 * based on.  People change its status meanwhile, and what becomes of it depends
 * on that, so each statement decides by the row as it finds it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/uuid.h"

#include "monitor.h"
#include "observe.h"
#include "worker.h"

/*
 * A worker waits so long (ms) for somebody who handles an alert; the report is put off
 * then.  The reports of others in the batch wait as well, and again with each half that
 * it is tried by.
 */
#define WAIT_FOR_PEOPLE "10"
/* So many readings are named as evidence, the last ones, and so many days are looked through for them */
#define MAX_EVIDENCE 100
#define MAX_EVIDENCE_DAYS 400

/* What is the same for all actions */
typedef struct Applying
{
	Datum		patient_id;
	int64		project_id;
	const ClinicalMonitor *monitor;
	const ClinicalCause *cause;
	const StreakSource *source;
} Applying;

/* Let a worker hardly wait for people; the level of settings to go back to. */
static int
begin_waiting(void)
{
	int			nest_level = NewGUCNestLevel();

	if (clinical_in_worker())
		(void) set_config_option("lock_timeout", WAIT_FOR_PEOPLE, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
	return nest_level;
}

/* Run a plan that changes one alert, which an old snapshot may not see. */
static void
change_alert(ClinicalPlan *plan, Datum *values, const char *nulls)
{
	clinical_server_execute(plan, values, nulls);
	if (SPI_processed == 1)
		return;
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update")));
	elog(ERROR, "an alert that was found is gone");
}

/* The readings of the days of a streak that are out of range, the last ones: an array of ids; 0: there are none. */
static Datum
find_evidence(const Applying *applying, const Streak *streak)
{
	Datum		ids[MAX_EVIDENCE];
	int			first = MAX_EVIDENCE;
	int			day = streak->last_day + 1;
	StreakReading *readings;
	int			count;

	/* of entries that are missing there is nothing to show */
	if (applying->monitor->kind == CLINICAL_MONITOR_MISSING)
		return (Datum) 0;
	for (int i = 0; i < MAX_EVIDENCE_DAYS && first > 0; i++)
	{
		StreakDay	state;

		CHECK_FOR_INTERRUPTS();
		if (!applying->source->next(applying->source->arg, day, false, &day, &readings, &count) || day < streak->onset)
			break;
		if (streak_day(&applying->monitor->rule, &clinical_monitor_ops, readings, count, &state) != STREAK_OUT)
			continue;
		while (count > 0 && first > 0)
		{
			pg_uuid_t  *id = palloc_object(pg_uuid_t);

			memcpy(id, readings[--count].tag, sizeof(pg_uuid_t));
			ids[--first] = UUIDPGetDatum(id);
		}
	}
	if (first == MAX_EVIDENCE)
		return (Datum) 0;
	return PointerGetDatum(construct_array(&ids[first], MAX_EVIDENCE - first, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
}

/* Tell of a change of an alert that has to do with another; 0: it has not. */
static void
tell_of_other(const Applying *applying, Datum id, const char *kind, const char *status_from, int later, Datum evidence,
			  Datum other)
{
	ClinicalAlertEvent event = {
		.project_id = applying->project_id, .kind = kind, .status_from = status_from, .cause = applying->cause->kind,
		.later = later, .other = other,
		.evidence = evidence, .submission_id = applying->cause->submission_id,
		.trace_parent = applying->cause->trace_parent, .actor = applying->cause->actor
	};

	clinical_alert_tell(applying->patient_id, id, &event);
}

/* Tell of a change of an alert. */
static void
tell(const Applying *applying, Datum id, const char *kind, const char *status_from, int later, Datum evidence)
{
	tell_of_other(applying, id, kind, status_from, later, evidence, (Datum) 0);
}

/* An earlier alert that a new one follows: one retracted, of the same onset, or one closed within the cooldown; 0: none. */
static Datum
find_followed(const Applying *applying, int onset)
{
	static ClinicalPlan plan = {
		"SELECT a.id FROM clinical.alert a"
		" WHERE a.patient_id OPERATOR(pg_catalog.=) $1 AND a.rule_id OPERATOR(pg_catalog.=) $2"
		"   AND ((a.status OPERATOR(pg_catalog.=) 'retracted' AND a.onset OPERATOR(pg_catalog.=) $3)"
		"        OR (a.status OPERATOR(pg_catalog.=) 'closed' AND $4 OPERATOR(pg_catalog.>) 0"
		"            AND $3 OPERATOR(pg_catalog.-) pg_catalog.timezone(COALESCE(clinical.time_zone_at(a.patient_id, a.closed_at), 'UTC'),"
		"                a.closed_at)::pg_catalog.date OPERATOR(pg_catalog.>=) 0"
		"            AND $3 OPERATOR(pg_catalog.-) pg_catalog.timezone(COALESCE(clinical.time_zone_at(a.patient_id, a.closed_at), 'UTC'),"
		"                a.closed_at)::pg_catalog.date OPERATOR(pg_catalog.<=) $4))"
		" ORDER BY a.status DESC, COALESCE(a.closed_at, a.opened_at) DESC, a.id DESC LIMIT 1",
		4, {TEXTOID, INT8OID, DATEOID, INT4OID}
	};
	Datum		values[4] = {applying->patient_id, Int64GetDatum(applying->monitor->rule_id), DateADTGetDatum(onset),
	Int32GetDatum(applying->monitor->cooldown_days)};
	Datum		id;

	return clinical_owner_fetch(&plan, values, NULL, false, &id) ? id : (Datum) 0;
}

/* Store a new alert, with so many events to be told. */
static void
store_alert(const Applying *applying, Datum id, const Streak *streak, int events)
{
	static ClinicalPlan plan = {
		"INSERT INTO clinical.alert (patient_id, id, project_id, rule_id, rule_version, status, severity, grade, onset, trigger_day,"
		"       last_day, out_days, watch_until, supported, basis_changed, cleared_day, condition_cleared_at, opened_at,"
		"       escalation_level, escalate_at, follows, events)"
		" VALUES ($1, $2, $3, $4, $5, 'open', $6, $7, $8, $9, $10, $11, $12, true, false, $13,"
		"         CASE WHEN $13 IS NULL THEN NULL ELSE $14 END, $14, 0, $15, $16, $17)",
		17, {TEXTOID, UUIDOID, INT8OID, INT8OID, INT4OID, TEXTOID, INT4OID, DATEOID, DATEOID, DATEOID, INT4OID, DATEOID,
		DATEOID, TIMESTAMPTZOID, TIMESTAMPTZOID, UUIDOID, INT4OID}
	};
	const ClinicalMonitor *monitor = applying->monitor;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz due = clinical_escalation_due(monitor, now, 0);
	Datum		followed = find_followed(applying, streak->onset);
	Datum		values[17] = {
		applying->patient_id, id, Int64GetDatum(applying->project_id), Int64GetDatum(monitor->rule_id),
		Int32GetDatum(monitor->version), CStringGetTextDatum(monitor->severity), Int32GetDatum(streak->grade),
		DateADTGetDatum(streak->onset), DateADTGetDatum(streak->trigger_day), DateADTGetDatum(streak->last_day),
		Int32GetDatum(streak->out_days), DateADTGetDatum(streak->watch_until), DateADTGetDatum(streak->cleared_day),
		TimestampTzGetDatum(now), TimestampTzGetDatum(due), followed, Int32GetDatum(events)
	};
	char		nulls[17];

	memset(nulls, ' ', sizeof(nulls));
	nulls[6] = monitor->kind == CLINICAL_MONITOR_GRADED ? ' ' : 'n';
	nulls[12] = streak->cleared ? ' ' : 'n';
	nulls[14] = due == DT_NOEND ? 'n' : ' ';
	nulls[15] = followed == 0 ? 'n' : ' ';
	clinical_server_execute(&plan, values, nulls);
	clinical_escalation_will_be_due(due);
}

/* Let those who run the server know, once the transaction is committed; nothing in it is of the patient. */
static void
log_opened(const Applying *applying, Datum id)
{
	const ClinicalMonitor *monitor = applying->monitor;

	if (clinical_event_wanted(CLINICAL_EVENT_ALERT_OPENED))
		clinical_event_at_commit(CLINICAL_EVENT_ALERT_OPENED, "%srule=%s kind=%s severity=%s alert_id=%s%s",
								 clinical_event_project(applying->project_id), clinical_event_value(monitor->code),
								 monitor->kind_name, monitor->severity,
								 DatumGetCString(DirectFunctionCall1(uuid_out, id)),
								 clinical_event_trace(applying->cause->trace_parent));
}

/* Keep a span of what happened to an alert since then, if its cause is a report that belongs to a trace. */
static void
tell_trace(const Applying *applying, Datum id, const char *event, const char *severity, TimestampTz began_at)
{
	const ClinicalCause *cause = applying->cause;

	if (cause->trace_parent != 0 && cause->submission_id != 0)
		clinical_step_alert(DatumGetTextPP(cause->trace_parent), DatumGetUUIDP(cause->submission_id), applying->project_id,
							DatumGetUUIDP(id), event, applying->monitor->code, severity, began_at);
}

/* A streak without alert: raise one. */
static void
open_alert(const Applying *applying, const Streak *streak)
{
	TimestampTz began_at = GetCurrentTimestamp();
	Datum		id = clinical_uuid7();

	store_alert(applying, id, streak, streak->cleared ? 2 : 1);
	tell(applying, id, "opened", NULL, streak->cleared, find_evidence(applying, streak));
	if (streak->cleared)
		tell(applying, id, "cleared", "open", 0, (Datum) 0);
	clinical_alert_count_opened(applying->project_id, applying->monitor->severity);
	log_opened(applying, id);
	tell_trace(applying, id, "opened", applying->monitor->severity, began_at);
}

/* How a streak differs from what its alert has */
typedef struct Differences
{
	bool		moved;			/* otherwise than by growing */
	bool		back;			/* there is a streak again */
	bool		raised;
	bool		cleared;
	bool		recurred;
	bool		matters;		/* to who has handled the alert */
	int			events;
} Differences;

/* Compare a streak with what its alert has. */
static void
compare(const Applying *applying, const StreakAlert *alert, const Streak *streak, Differences *differences)
{
	const Streak *basis = &alert->basis;
	bool		graded = applying->monitor->kind == CLINICAL_MONITOR_GRADED;
	bool		other_basis = streak->onset != basis->onset || streak->trigger_day != basis->trigger_day;

	differences->back = !alert->supported;
	differences->raised = graded && streak->grade > basis->grade;
	differences->moved = !differences->back &&
		(other_basis || streak->last_day < basis->last_day || streak->out_days < basis->out_days ||
		 (graded && streak->grade < basis->grade));
	differences->cleared = streak->cleared && !basis->cleared;
	differences->recurred = !streak->cleared && basis->cleared;
	differences->matters = differences->back || other_basis || differences->raised || differences->recurred;
	differences->events = differences->back + differences->moved + differences->raised + differences->cleared +
		differences->recurred;
}

/* Tell in which ways an alert's streak has changed. */
static void
tell_differences(const Applying *applying, Datum id, const char *status, const Streak *streak, const Differences *differences)
{
	const struct
	{
		bool		happened;
		const char *kind;
		bool		shows;		/* its evidence */
	}			events[] = {
		{differences->back, "basis_changed", true},
		{differences->moved, "moved", true},
		{differences->recurred, "recurred", true},
		{differences->raised, "raised", true},
		{differences->cleared, "cleared", false},
	};
	Datum		evidence = (Datum) 0;
	int			later = differences->events;

	for (int i = 0; i < (int) lengthof(events); i++)
	{
		if (!events[i].happened)
			continue;
		if (events[i].shows && evidence == 0)
			evidence = find_evidence(applying, streak);
		tell(applying, id, events[i].kind, status, --later, events[i].shows ? evidence : (Datum) 0);
	}
}

/* The alert's streak has changed.  If it has only grown, there is nothing to tell. */
static void
move_alert(const Applying *applying, const StreakAlert *alert, const Streak *streak)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.alert AS a SET onset = $3, trigger_day = $4, last_day = $5, out_days = $6, watch_until = $7, grade = $8,"
		"       cleared_day = $9, condition_cleared_at = CASE WHEN $9 IS NULL THEN NULL"
		"           ELSE COALESCE(a.condition_cleared_at, pg_catalog.clock_timestamp()) END,"
		"       supported = true, basis_changed = a.basis_changed OR ($10 AND a.status OPERATOR(pg_catalog.<>) 'open'),"
		"       events = a.events OPERATOR(pg_catalog.+) $11"
		" WHERE a.patient_id OPERATOR(pg_catalog.=) $1 AND a.id OPERATOR(pg_catalog.=) $2 RETURNING a.status, a.severity",
		11, {TEXTOID, UUIDOID, DATEOID, DATEOID, DATEOID, INT4OID, DATEOID, INT4OID, DATEOID, BOOLOID, INT4OID}
	};
	TimestampTz began_at = GetCurrentTimestamp();
	Datum		id = ((const ClinicalAlert *) alert->tag)->id;
	Differences differences;
	Datum		values[11];
	char		nulls[11];
	char	   *status;
	char	   *severity;

	compare(applying, alert, streak, &differences);
	memset(nulls, ' ', sizeof(nulls));
	values[0] = applying->patient_id;
	values[1] = id;
	values[2] = DateADTGetDatum(streak->onset);
	values[3] = DateADTGetDatum(streak->trigger_day);
	values[4] = DateADTGetDatum(streak->last_day);
	values[5] = Int32GetDatum(streak->out_days);
	values[6] = DateADTGetDatum(streak->watch_until);
	values[7] = Int32GetDatum(streak->grade);
	nulls[7] = applying->monitor->kind == CLINICAL_MONITOR_GRADED ? ' ' : 'n';
	values[8] = DateADTGetDatum(streak->cleared_day);
	nulls[8] = streak->cleared ? ' ' : 'n';
	values[9] = BoolGetDatum(differences.matters);
	values[10] = Int32GetDatum(differences.events);
	change_alert(&plan, values, nulls);
	status = TextDatumGetCString(clinical_result(0, 1));
	severity = TextDatumGetCString(clinical_result(0, 2));
	tell_differences(applying, id, status, streak, &differences);
	if (differences.raised)
		tell_trace(applying, id, "raised", severity, began_at);
}

/* The alert has no streak any more: one that somebody has handled waits for people, an open one is withdrawn. */
static void
withdraw_alert(const Applying *applying, const StreakAlert *alert)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.alert AS a SET supported = false, basis_changed = a.status OPERATOR(pg_catalog.<>) 'open', escalate_at = NULL,"
		"       watch_until = CASE WHEN a.status OPERATOR(pg_catalog.=) 'open' THEN '-infinity' ELSE 'infinity' END::pg_catalog.date,"
		"       status = CASE WHEN a.status OPERATOR(pg_catalog.=) 'open' THEN 'retracted' ELSE a.status END,"
		"       events = a.events OPERATOR(pg_catalog.+) 1"
		" WHERE a.patient_id OPERATOR(pg_catalog.=) $1 AND a.id OPERATOR(pg_catalog.=) $2 RETURNING a.status",
		2, {TEXTOID, UUIDOID}
	};
	Datum		values[2] = {applying->patient_id, ((const ClinicalAlert *) alert->tag)->id};
	char	   *status;

	/* this was told before */
	if (!alert->supported)
		return;
	change_alert(&plan, values, NULL);
	status = TextDatumGetCString(clinical_result(0, 1));
	if (strcmp(status, "retracted") == 0)
		tell(applying, values[1], "retracted", "open", 0, (Datum) 0);
	else
		tell(applying, values[1], "basis_changed", status, 0, (Datum) 0);
}

/* Who has handled an alert is to look at it again, since it stands for another, too, from now on. */
static void
flag_survivor(const Applying *applying, const StreakAlert *into, Datum other)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.alert AS a SET basis_changed = true, events = a.events OPERATOR(pg_catalog.+) 1"
		" WHERE a.patient_id OPERATOR(pg_catalog.=) $1 AND a.id OPERATOR(pg_catalog.=) $2"
		"   AND a.status OPERATOR(pg_catalog.<>) 'open'"
		" RETURNING a.status",
		2, {TEXTOID, UUIDOID}
	};
	Datum		values[2] = {applying->patient_id, ((const ClinicalAlert *) into->tag)->id};

	clinical_server_execute(&plan, values, NULL);
	if (SPI_processed == 1)
		tell_of_other(applying, values[1], "basis_changed", TextDatumGetCString(clinical_result(0, 1)), 0, (Datum) 0, other);
}

/* The alert's streak is another's now.  One that somebody closes meanwhile stays, and waits for people. */
static void
merge_alert(const Applying *applying, const StreakAlert *alert, const StreakAlert *into)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.alert AS a SET supported = false, basis_changed = a.status OPERATOR(pg_catalog.=) 'closed', escalate_at = NULL,"
		"       watch_until = CASE WHEN a.status OPERATOR(pg_catalog.=) 'closed' THEN 'infinity' ELSE '-infinity' END::pg_catalog.date,"
		"       merged_into = CASE WHEN a.status OPERATOR(pg_catalog.=) 'closed' THEN NULL ELSE $3 END,"
		"       status = CASE WHEN a.status OPERATOR(pg_catalog.=) 'closed' THEN a.status ELSE 'merged' END,"
		"       events = a.events OPERATOR(pg_catalog.+) 1"
		" WHERE a.patient_id OPERATOR(pg_catalog.=) $1 AND a.id OPERATOR(pg_catalog.=) $2"
		" RETURNING a.status, a.acknowledged_at IS NOT NULL",
		3, {TEXTOID, UUIDOID, UUIDOID}
	};
	Datum		values[3] = {applying->patient_id, ((const ClinicalAlert *) alert->tag)->id,
	((const ClinicalAlert *) into->tag)->id};
	char	   *status;
	bool		acknowledged;

	change_alert(&plan, values, NULL);
	status = TextDatumGetCString(clinical_result(0, 1));
	acknowledged = DatumGetBool(clinical_result(0, 2));
	if (strcmp(status, "merged") == 0)
	{
		tell_of_other(applying, values[1], "merged", acknowledged ? "acknowledged" : "open", 0, (Datum) 0, values[2]);
		flag_survivor(applying, into, values[1]);
	}
	else
		tell(applying, values[1], "basis_changed", status, 0, (Datum) 0);
}

/* Carry one action out. */
static void
apply(const Applying *applying, const StreakAction *action)
{
	switch (action->verb)
	{
		case STREAK_OPEN:
			open_alert(applying, &action->streak);
			break;
		case STREAK_MOVE:
			move_alert(applying, action->alert, &action->streak);
			break;
		case STREAK_MERGE:
			merge_alert(applying, action->alert, action->into);
			break;
		case STREAK_RETRACT:
		case STREAK_FLAG:
			withdraw_alert(applying, action->alert);
			break;
	}
}

/*
 * Carry out what becomes of the alerts of a patient by a version of a rule.  Who
 * is told of it must not hear of what a crash then undoes, so the commit waits
 * for the disk.
 */
void
clinical_alerts_apply(Datum patient_id, int64 project_id, const ClinicalMonitor *monitor, const StreakAction *actions,
					  int nactions, const ClinicalCause *cause, const StreakSource *source)
{
	Applying	applying = {patient_id, project_id, monitor, cause, source};
	int			nest_level;

	if (nactions == 0)
		return;
	nest_level = begin_waiting();
	SPI_connect();
	for (int i = 0; i < nactions; i++)
	{
		CHECK_FOR_INTERRUPTS();
		apply(&applying, &actions[i]);
	}
	SPI_finish();
	AtEOXact_GUC(true, nest_level);
	ForceSyncCommit();
}
