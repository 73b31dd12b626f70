/*-------------------------------------------------------------------------
 *
 * monitor_alert.c
 *		Alerts as they stand, what is told of them, and what always holds of them.
 *
 * They are looked up below the executor, since that is done for each patient of
 * each batch, and written by statements, since that is rare.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/json.h"
#include "utils/uuid.h"

#include "monitor.h"
#include "observe.h"

PG_FUNCTION_INFO_V1(clinical_alert_check);

struct ClinicalAlertReader
{
	ClinicalFinder alerts;
};

/* An alert that was found, and what orders it among those of its patient */
typedef struct Found
{
	ClinicalAlert alert;
	TimestampTz opened_at;
} Found;

/* What clinical.check() tests of alerts */
const ClinicalInvariant clinical_monitor_invariants[] = {
	{"alert has its events",
		"SELECT a.id::pg_catalog.text, 'events are missing, or the last one tells of another status'"
		"  FROM clinical.alert a"
		"  LEFT JOIN (SELECT e.patient_id, e.alert_id, pg_catalog.count(*) AS present, pg_catalog.max(e.event_no) AS last"
		"               FROM clinical.alert_event e GROUP BY e.patient_id, e.alert_id) p"
		"    ON p.patient_id OPERATOR(pg_catalog.=) a.patient_id AND p.alert_id OPERATOR(pg_catalog.=) a.id"
		"  LEFT JOIN clinical.alert_event l ON l.patient_id OPERATOR(pg_catalog.=) a.patient_id"
		"   AND l.alert_id OPERATOR(pg_catalog.=) a.id AND l.event_no OPERATOR(pg_catalog.=) a.events"
		" WHERE COALESCE(p.present, 0) OPERATOR(pg_catalog.<>) a.events OR COALESCE(p.last, 0) OPERATOR(pg_catalog.<>) a.events"
	"    OR COALESCE(l.status_to, '') OPERATOR(pg_catalog.<>) a.status"},
	{"alert is of a version of its rule",
		"SELECT a.id::pg_catalog.text, 'there is no such version'"
		"  FROM clinical.alert a"
		" WHERE NOT EXISTS (SELECT FROM clinical.monitor_rule_version v WHERE v.rule_id OPERATOR(pg_catalog.=) a.rule_id"
	"                      AND v.version OPERATOR(pg_catalog.=) a.rule_version)"},
	{"alert is part of the one that it was merged into",
		"SELECT a.id::pg_catalog.text, 'there is no such alert, or it was not merged'"
		"  FROM clinical.alert a"
		"  LEFT JOIN clinical.alert i ON i.patient_id OPERATOR(pg_catalog.=) a.patient_id"
		"   AND i.id OPERATOR(pg_catalog.=) a.merged_into AND i.rule_id OPERATOR(pg_catalog.=) a.rule_id"
	" WHERE (a.status OPERATOR(pg_catalog.=) 'merged') OPERATOR(pg_catalog.<>) (i.id IS NOT NULL)"},
	{"alert's days are in order",
		"SELECT a.id::pg_catalog.text, 'onset, trigger day and last day are not'"
		"  FROM clinical.alert a"
		" WHERE a.onset OPERATOR(pg_catalog.>) a.trigger_day OR a.trigger_day OPERATOR(pg_catalog.>) a.last_day"
	"    OR a.out_days OPERATOR(pg_catalog.<) 1"},
	{"alert is open or somebody has handled it",
		"SELECT a.id::pg_catalog.text, 'its columns say otherwise than its status'"
		"  FROM clinical.alert a"
		" WHERE (a.status OPERATOR(pg_catalog.=) 'open' AND (NOT a.supported OR a.basis_changed OR a.acknowledged_at IS NOT NULL))"
		"    OR (a.status OPERATOR(pg_catalog.<>) 'open' AND a.escalate_at IS NOT NULL)"
		"    OR (a.status OPERATOR(pg_catalog.=) 'acknowledged' AND a.acknowledged_at IS NULL)"
		"    OR (a.status OPERATOR(pg_catalog.=) 'closed') OPERATOR(pg_catalog.<>) (a.closed_at IS NOT NULL)"
		"    OR (a.status OPERATOR(pg_catalog.=) ANY (ARRAY['retracted', 'merged'])"
	"        AND (a.supported OR a.basis_changed OR a.watch_until OPERATOR(pg_catalog.<>) '-infinity'))"},
	{"a streak has one alert",
		"SELECT a.id::pg_catalog.text, pg_catalog.concat('its days are also those of alert ', b.id)"
		"  FROM clinical.alert a"
		"  JOIN clinical.alert b ON b.patient_id OPERATOR(pg_catalog.=) a.patient_id AND b.rule_id OPERATOR(pg_catalog.=) a.rule_id"
		"   AND b.rule_version OPERATOR(pg_catalog.=) a.rule_version AND b.id OPERATOR(pg_catalog.>) a.id"
		"   AND b.onset OPERATOR(pg_catalog.<=) a.last_day AND b.last_day OPERATOR(pg_catalog.>=) a.onset"
		" WHERE a.supported AND b.supported"},
};
const int	clinical_monitor_ninvariants = lengthof(clinical_monitor_invariants);

/* Begin to look alerts up, with the active snapshot. */
ClinicalAlertReader *
clinical_alerts_begin(void)
{
	static const ClinicalFinder alerts = {
		.table = "alert", .index = "alert_watch_idx", .nkeys = 2, .types = {TEXTOID, DATEOID},
		.strategies = {0, BTGreaterEqualStrategyNumber}
	};
	ClinicalAlertReader *reader = palloc0_object(ClinicalAlertReader);

	reader->alerts = alerts;
	reader->alerts.context = CurrentMemoryContext;
	return reader;
}

/* The end of it; an error is one by itself. */
void
clinical_alerts_end(ClinicalAlertReader *reader)
{
	clinical_find_close(&reader->alerts);
	pfree(reader);
}

/* A day of the alert that was found; DATEVAL_NOEND if it has none. */
static DateADT
day_column(ClinicalFinder *alerts, const char *name, bool *present)
{
	int			number = SPI_fnumber(alerts->slot->tts_tupleDescriptor, name);
	bool		isnull;
	Datum		value = slot_getattr(alerts->slot, number, &isnull);

	*present = !isnull;
	return isnull ? DATEVAL_NOEND : DatumGetDateADT(value);
}

/* The streak that an alert is of, as its row says. */
static void
read_basis(ClinicalFinder *alerts, Streak *basis)
{
	basis->onset = DatumGetDateADT(clinical_find_column(alerts, "onset"));
	basis->trigger_day = DatumGetDateADT(clinical_find_column(alerts, "trigger_day"));
	basis->last_day = DatumGetDateADT(clinical_find_column(alerts, "last_day"));
	basis->out_days = DatumGetInt32(clinical_find_column(alerts, "out_days"));
	basis->grade = DatumGetInt32(clinical_find_column(alerts, "grade"));
	basis->watch_until = DatumGetDateADT(clinical_find_column(alerts, "watch_until"));
	basis->cleared_day = day_column(alerts, "cleared_day", &basis->cleared);
}

/* The alert that was found, if it is live, else NULL. */
static Found *
read_alert(ClinicalFinder *alerts)
{
	char	   *status = TextDatumGetCString(clinical_find_column(alerts, "status"));
	Found	   *found;

	if (strcmp(status, "retracted") == 0 || strcmp(status, "merged") == 0)
		return NULL;
	found = palloc0_object(Found);
	found->alert.id = datumCopy(clinical_find_column(alerts, "id"), false, UUID_LEN);
	found->alert.rule_id = DatumGetInt64(clinical_find_column(alerts, "rule_id"));
	found->alert.version = DatumGetInt32(clinical_find_column(alerts, "rule_version"));
	found->alert.status = status;
	found->opened_at = DatumGetTimestampTz(clinical_find_column(alerts, "opened_at"));
	found->alert.alert.supported = DatumGetBool(clinical_find_column(alerts, "supported"));
	found->alert.alert.handled = strcmp(status, "open") != 0;
	found->alert.alert.closed = strcmp(status, "closed") == 0;
	found->alert.alert.tag = &found->alert;
	read_basis(alerts, &found->alert.alert.basis);
	return found;
}

/* The older first; of those opened at one moment, the one whose id was made first. */
static int
by_age(const ListCell *a, const ListCell *b)
{
	const Found *left = lfirst(a);
	const Found *right = lfirst(b);

	if (left->opened_at != right->opened_at)
		return left->opened_at < right->opened_at ? -1 : 1;
	return memcmp(DatumGetUUIDP(left->alert.id)->data, DatumGetUUIDP(right->alert.id)->data, UUID_LEN);
}

/* The live alerts of a patient that a reading of that day or a later one may touch: ClinicalAlert *. */
List *
clinical_alerts_of(ClinicalAlertReader *reader, Datum patient_id, DateADT from)
{
	Datum		keys[2] = {patient_id, DateADTGetDatum(from)};
	List	   *alerts = NIL;
	ListCell   *cell;

	clinical_find(&reader->alerts, keys);
	while (clinical_find_next(&reader->alerts, false))
	{
		Found	   *found = read_alert(&reader->alerts);

		CHECK_FOR_INTERRUPTS();
		if (found != NULL)
			alerts = lappend(alerts, found);
	}
	list_sort(alerts, by_age);
	foreach(cell, alerts)
		((Found *) lfirst(cell))->alert.alert.age = foreach_current_index(cell);
	return alerts;
}

/* Pass an argument that may be 0 for NULL. */
static void
pass(Datum *values, char *nulls, int argno, Datum value)
{
	values[argno] = value;
	nulls[argno] = value == 0 ? 'n' : ' ';
}

/* Count an alert that was opened. */
void
clinical_alert_count_opened(int64 project_id, const char *severity)
{
	static const char *const severities[] = {"info", "warning", "serious", "critical"};

	for (int i = 0; i < (int) lengthof(severities); i++)
	{
		if (strcmp(severity, severities[i]) == 0)
			clinical_count(CLINICAL_COUNT_ALERT_INFO + i, project_id, 1);
	}
}

/* Count what else happened to one. */
static void
count_event(const ClinicalAlertEvent *event)
{
	static const char *const kinds[] = {"acknowledged", "closed", "retracted", "escalated"};

	for (int i = 0; i < (int) lengthof(kinds); i++)
	{
		if (strcmp(event->kind, kinds[i]) == 0)
			clinical_count(CLINICAL_COUNT_ALERT_ACKNOWLEDGED + i, event->project_id, 1);
	}
}

/* Let listeners know, once the transaction is committed; nothing in it is of the patient. */
static void
announce(Datum alert_id, const char *rule, const char *severity, const char *kind)
{
	StringInfoData payload;

	initStringInfo(&payload);
	appendStringInfo(&payload, "{\"alert\": \"%s\", \"rule\": ",
					 DatumGetCString(DirectFunctionCall1(uuid_out, alert_id)));
	escape_json(&payload, rule);
	appendStringInfoString(&payload, ", \"severity\": ");
	escape_json(&payload, severity);
	appendStringInfo(&payload, ", \"event\": \"%s\"}", kind);
	Async_Notify("clinical_alert", payload.data);
	pfree(payload.data);
}

/* Write down what happened to an alert, inside SPI, and tell it. */
void
clinical_alert_tell(Datum patient_id, Datum alert_id, const ClinicalAlertEvent *event)
{
	static ClinicalPlan plan = {
		"INSERT INTO clinical.alert_event (patient_id, alert_id, event_no, kind, status_from, status_to, rule_version, onset,"
		"       trigger_day, last_day, out_days, grade, level, other, evidence, cause, submission_id, reason, trace_parent,"
		"       recorded_at, recorded_by, actor)"
		" SELECT a.patient_id, a.id, a.events OPERATOR(pg_catalog.-) $3, $4, $5, a.status, a.rule_version, a.onset,"
		"        a.trigger_day, a.last_day, a.out_days, a.grade,"
		"        CASE WHEN $4 OPERATOR(pg_catalog.=) 'escalated' THEN a.escalation_level END, $12, $6, $7, $8, $9, $10,"
		"        pg_catalog.clock_timestamp(), SESSION_USER, $11"
		"   FROM clinical.alert a WHERE a.patient_id OPERATOR(pg_catalog.=) $1 AND a.id OPERATOR(pg_catalog.=) $2"
		" RETURNING (SELECT r.code FROM clinical.alert a JOIN clinical.monitor_rule r ON r.id OPERATOR(pg_catalog.=) a.rule_id"
		"             WHERE a.patient_id OPERATOR(pg_catalog.=) $1 AND a.id OPERATOR(pg_catalog.=) $2),"
		"           (SELECT a.severity FROM clinical.alert a"
		"             WHERE a.patient_id OPERATOR(pg_catalog.=) $1 AND a.id OPERATOR(pg_catalog.=) $2)",
		12, {TEXTOID, UUIDOID, INT4OID, TEXTOID, TEXTOID, UUIDARRAYOID, TEXTOID, UUIDOID, TEXTOID, TEXTOID, TEXTOID, UUIDOID}
	};
	Datum		values[12] = {patient_id, alert_id, Int32GetDatum(event->later), CStringGetTextDatum(event->kind)};
	char		nulls[12];

	memset(nulls, ' ', sizeof(nulls));
	pass(values, nulls, 4, event->status_from == NULL ? (Datum) 0 : CStringGetTextDatum(event->status_from));
	pass(values, nulls, 5, event->evidence);
	values[6] = CStringGetTextDatum(event->cause);
	pass(values, nulls, 7, event->submission_id);
	pass(values, nulls, 8, event->reason);
	pass(values, nulls, 9, event->trace_parent);
	pass(values, nulls, 10, event->actor != 0 ? event->actor : PointerGetDatum(clinical_actor_in_force()));
	pass(values, nulls, 11, event->other);
	clinical_server_execute(&plan, values, nulls);
	if (SPI_processed != 1)
		elog(ERROR, "an event is of no alert");
	announce(alert_id, TextDatumGetCString(clinical_result(0, 1)), TextDatumGetCString(clinical_result(0, 2)), event->kind);
	count_event(event);
}

/* Trigger: nobody but the server writes alerts, and nothing is deleted. */
Datum
clinical_alert_check(PG_FUNCTION_ARGS)
{
	ClinicalRow row;

	clinical_load_row(fcinfo, &row, NULL, 0);
	if (!clinical_as_is() && (!clinical_server_writes() || row.new_tuple == NULL))
		clinical_refuse_write("alert");
	PG_RETURN_POINTER(row.new_tuple != NULL ? row.new_tuple : row.old_tuple);
}
