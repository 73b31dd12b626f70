/*-------------------------------------------------------------------------
 *
 * monitor_life.c
 *		What people do about alerts: acknowledge and close them.
 *
 * The row is locked before its status is looked at, so what the server does to
 * the alert at the same moment comes before or after, and both see it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "monitor.h"

PG_FUNCTION_INFO_V1(clinical_acknowledge_alert);
PG_FUNCTION_INFO_V1(clinical_close_alert);

static const ClinicalWay ways[] = {
	{NULL, "open"},
	{"open", "acknowledged"},
	{"open", "closed"},
	{"acknowledged", "closed"},
};

/* The error of who asks for what is not there, or is not for him to see. */
CLINICAL_NORETURN static void
not_found(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("alert not found")));
}

/* The error of who says to have looked at what has changed, and cannot have seen it all. */
CLINICAL_NORETURN static void
changed_meanwhile(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("alert was changed meanwhile"),
			 errhint("Look at it again.")));
}

/*
 * An alert must be one that the caller may see, which is decided by the caller's own
 * rights.  How many events had it when the statement began?
 */
static int
see_alert(Datum *key)
{
	static ClinicalPlan plan = {
		"SELECT a.events FROM clinical.alert a"
		" WHERE a.patient_id OPERATOR(pg_catalog.=) $1 AND a.id OPERATOR(pg_catalog.=) $2",
		2, {TEXTOID, UUIDOID}
	};
	Datum		events;

	if (!clinical_fetch(&plan, key, NULL, true, &events))
		not_found();
	return DatumGetInt32(events);
}

/* Lock an alert; its status, whether what has changed is still to be looked at, and its number of events. */
static char *
lock_alert(Datum *key, bool *basis_changed, int *events, int64 *project_id)
{
	static ClinicalPlan plan = {
		"SELECT a.status, a.basis_changed, a.events, a.project_id FROM clinical.alert a"
		" WHERE a.patient_id OPERATOR(pg_catalog.=) $1 AND a.id OPERATOR(pg_catalog.=) $2 FOR NO KEY UPDATE",
		2, {TEXTOID, UUIDOID}
	};
	bool		isnull;

	clinical_owner_execute(&plan, key, NULL, false);
	if (SPI_processed != 1)
		not_found();
	*basis_changed = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	*events = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull));
	*project_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4, &isnull));
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

/* Store the status that a locked alert has now, and whether it is still to be looked at; the row, good until the end of SPI. */
static Datum
store_status(Datum *key, const char *status, bool basis_changed, text *reason)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.alert AS a SET status = $3, basis_changed = $6, escalate_at = NULL,"
		"       acknowledged_at = COALESCE(a.acknowledged_at, $4), acknowledged_by = COALESCE(a.acknowledged_by, SESSION_USER),"
		"       closed_at = CASE WHEN $3 OPERATOR(pg_catalog.=) 'closed' THEN COALESCE(a.closed_at, $4) END,"
		"       closed_by = CASE WHEN $3 OPERATOR(pg_catalog.=) 'closed' THEN COALESCE(a.closed_by, SESSION_USER) END,"
		"       close_reason = CASE WHEN $3 OPERATOR(pg_catalog.=) 'closed' THEN COALESCE(a.close_reason, $5) END,"
		"       events = a.events OPERATOR(pg_catalog.+) 1"
		" WHERE a.patient_id OPERATOR(pg_catalog.=) $1 AND a.id OPERATOR(pg_catalog.=) $2"
		" RETURNING (a.*)::clinical.alert",
		6, {TEXTOID, UUIDOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, BOOLOID}
	};
	Datum		values[6] = {key[0], key[1], CStringGetTextDatum(status), TimestampTzGetDatum(GetCurrentTimestamp()),
	PointerGetDatum(reason), BoolGetDatum(basis_changed)};
	bool		isnull;

	clinical_server_execute(&plan, values, reason == NULL ? "    n " : NULL);
	if (SPI_processed != 1)
		elog(ERROR, "an alert that was locked is gone");
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
}

/*
 * Somebody acknowledges an alert, or closes it.  What has changed while that waited
 * for the row nobody can have looked at.
 */
static Datum
handle(FunctionCallInfo fcinfo, const char *status, text *reason)
{
	ClinicalAlertEvent event = {.kind = status, .cause = "user", .reason = PointerGetDatum(reason)};
	MemoryContext caller = CurrentMemoryContext;
	Datum		key[2] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	int			events_seen = see_alert(key);
	int			events;
	bool		basis_changed;
	bool		seen;
	Datum		row;
	int			nest_level;

	SPI_connect();
	event.status_from = lock_alert(key, &basis_changed, &events, &event.project_id);
	seen = events == events_seen;
	/* that somebody has looked at what has changed leaves it as it is */
	if (basis_changed && strcmp(status, "acknowledged") == 0 && strcmp(event.status_from, "open") != 0)
	{
		if (!seen)
			changed_meanwhile();
		status = event.status_from;
	}
	else
		clinical_check_way(ways, lengthof(ways), "alert", event.status_from, status);
	nest_level = clinical_reason_push(reason);
	row = store_status(key, status, basis_changed && !seen, reason);
	MemoryContextSwitchTo(caller);
	row = SPI_datumTransfer(row, false, -1);
	clinical_alert_tell(key[0], key[1], &event);
	clinical_reason_pop(nest_level);
	SPI_finish();
	return row;
}

/* The alert that the first arguments name must be named. */
static void
require_key(FunctionCallInfo fcinfo)
{
	(void) clinical_text_arg(fcinfo, 0, "patient id is required");
	clinical_require_arg(!PG_ARGISNULL(1), "alert id is required");
}

/* SQL: somebody has seen it, and cares for it; or for what has changed since. */
Datum
clinical_acknowledge_alert(PG_FUNCTION_ARGS)
{
	require_key(fcinfo);
	return handle(fcinfo, "acknowledged", clinical_optional_arg(fcinfo, 2));
}

/* SQL: nothing is left to be done about it. */
Datum
clinical_close_alert(PG_FUNCTION_ARGS)
{
	require_key(fcinfo);
	return handle(fcinfo, "closed", clinical_reason_arg(fcinfo, 2));
}
