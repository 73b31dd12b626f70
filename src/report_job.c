/*-------------------------------------------------------------------------
 *
 * report_job.c
 *		Reports that are asked for, to be made in the background.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "access.h"
#include "observe.h"
#include "report.h"

PG_FUNCTION_INFO_V1(clinical_request_report);
PG_FUNCTION_INFO_V1(clinical_cancel_report);
PG_FUNCTION_INFO_V1(clinical_purge_reports);
PG_FUNCTION_INFO_V1(clinical_report_lost);
PG_FUNCTION_INFO_V1(clinical_report_job_check);
PG_FUNCTION_INFO_V1(clinical_report_check);

/* What clinical.check() tests of reports */
const ClinicalInvariant clinical_report_invariants[] = {
	{"report that is done is there, and no other",
		"SELECT COALESCE(j.id, r.id)::pg_catalog.text,"
		"       CASE WHEN r.id IS NULL THEN 'its document is missing' ELSE 'it has a document and is not done' END"
		"  FROM clinical.report_job j FULL JOIN clinical.report r ON r.id OPERATOR(pg_catalog.=) j.id"
	" WHERE COALESCE(j.status OPERATOR(pg_catalog.=) 'done', false) OPERATOR(pg_catalog.<>) (r.id IS NOT NULL)"},
	{"report's job says what became of it",
		"SELECT j.id::pg_catalog.text, pg_catalog.concat('it is ', j.status, ', which other columns deny')"
		"  FROM clinical.report_job j"
		" WHERE (j.ended_at IS NOT NULL) OPERATOR(pg_catalog.<>) (j.status OPERATOR(pg_catalog.=) ANY (ARRAY['done', 'failed', 'cancelled']))"
		"    OR (j.cancelled_at IS NOT NULL) OPERATOR(pg_catalog.<>) (j.status OPERATOR(pg_catalog.=) 'cancelled')"
		"    OR (j.worker IS NOT NULL) OPERATOR(pg_catalog.<>) (j.status OPERATOR(pg_catalog.=) 'running')"
		"    OR (j.detail IS NULL AND j.status OPERATOR(pg_catalog.=) 'failed')"
	"    OR j.attempts OPERATOR(pg_catalog.<) 0 OR j.attempts OPERATOR(pg_catalog.>) 3"},
	{"report that is seen to be made has a worker",
		"SELECT j.id::pg_catalog.text, 'nobody makes it'"
		"  FROM clinical.report_job j"
	" WHERE j.status OPERATOR(pg_catalog.=) 'running' AND clinical.report_lost(j.id, j.attempts)"},
};
const int	clinical_report_ninvariants = lengthof(clinical_report_invariants);

/* A job as it stands */
typedef struct Job
{
	char	   *status;
	Oid			role;
} Job;

/* The error of who asks for a report that is not there, or is not for him to see. */
CLINICAL_NORETURN static void
report_not_found(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("report not found")));
}

/* The table of jobs, which a lock is named after. */
static Oid
job_table(void)
{
	return get_relname_relid("report_job", get_namespace_oid("clinical", false));
}

/*
 * A job that is queued or running, for the same report of the same centers; false:
 * none.  Who asks for one at the same time waits until this transaction ends, or
 * would see none, and make a second one.
 */
static bool
find_shared(const ClinicalReportScope *scope, Datum period, Datum options, Datum *id)
{
	static ClinicalPlan plan = {
		"SELECT j.id FROM clinical.report_job j"
		" WHERE j.project_id OPERATOR(pg_catalog.=) $1 AND j.period OPERATOR(pg_catalog.=) $2 AND j.options OPERATOR(pg_catalog.=) $3"
		"   AND j.centers OPERATOR(pg_catalog.=) $4"
		"   AND (j.status OPERATOR(pg_catalog.=) 'queued' OR j.status OPERATOR(pg_catalog.=) 'running')"
		" ORDER BY j.requested_at, j.id LIMIT 1",
		4, {INT8OID, DATERANGEOID, JSONBOID, INT8ARRAYOID}
	};
	Datum		values[4] = {Int64GetDatum(scope->project_id), period, options, scope->centers};

	LockDatabaseObject(RelationRelationId, job_table(), (uint16) scope->project_id, ExclusiveLock);
	return clinical_owner_fetch(&plan, values, NULL, false, id);
}

/* Put a job into the queue. */
static void
insert_job(const ClinicalReportScope *scope, Datum id, Datum period, Datum options)
{
	static ClinicalPlan plan = {
		"INSERT INTO clinical.report_job (id, project_id, period, options, centers, status, role, role_name, requested_at, requested_by, actor, attempts,"
		"       trace_parent)"
		" VALUES ($1, $2, $3, $4, $5, 'queued', $6::pg_catalog.regrole, $7, pg_catalog.clock_timestamp(), SESSION_USER, $8, 0, $9)",
		9, {UUIDOID, INT8OID, DATERANGEOID, JSONBOID, INT8ARRAYOID, OIDOID, NAMEOID, TEXTOID, TEXTOID}
	};
	text	   *actor = clinical_actor_in_force();
	text	   *trace_parent = clinical_trace_parent_in_force();
	Datum		values[9] = {
		id, Int64GetDatum(scope->project_id), period, options, scope->centers, ObjectIdGetDatum(scope->role),
		DirectFunctionCall1(namein, CStringGetDatum(GetUserNameFromId(scope->role, false))), PointerGetDatum(actor),
		PointerGetDatum(trace_parent)
	};
	char		nulls[9] = {' ', ' ', ' ', ' ', ' ', ' ', ' ', actor == NULL ? 'n' : ' ', trace_parent == NULL ? 'n' : ' '};

	SPI_connect();
	clinical_server_execute(&plan, values, nulls);
	SPI_finish();
	clinical_report_asked();
}

/* SQL: ask for a report. */
Datum
clinical_request_report(PG_FUNCTION_ARGS)
{
	ClinicalReportScope scope;
	Datum		options;
	Datum		id;

	clinical_require_preload();
	PreventCommandDuringRecovery("clinical.request_report()");
	clinical_report_read_args(fcinfo, &scope);
	options = JsonbPGetDatum(clinical_report_write_options(&scope));
	if (scope.share_job && find_shared(&scope, PG_GETARG_DATUM(1), options, &id))
		PG_RETURN_DATUM(id);
	id = clinical_uuid7();
	insert_job(&scope, id, PG_GETARG_DATUM(1), options);
	PG_RETURN_DATUM(id);
}

/* Who asked for the job, which must be one that the caller may see. */
static Oid
visible_role(Datum id)
{
	static ClinicalPlan plan = {
		"SELECT j.role::pg_catalog.oid FROM clinical.report_job j WHERE j.id OPERATOR(pg_catalog.=) $1",
		1, {UUIDOID}
	};
	Datum		role;

	if (!clinical_fetch(&plan, &id, NULL, false, &role))
		report_not_found();
	return DatumGetObjectId(role);
}

/* Lock a job; its status. */
static char *
lock_job(Datum id)
{
	static ClinicalPlan plan = {
		"SELECT j.status FROM clinical.report_job j WHERE j.id OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
		1, {UUIDOID}
	};
	Datum		status;

	if (!clinical_owner_fetch(&plan, &id, NULL, false, &status))
		report_not_found();
	return TextDatumGetCString(status);
}

/* A job that is locked is cancelled.  If nobody makes it, that is all that becomes of it; else who makes it tells. */
static void
cancel_job(Datum id)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.report_job AS j"
		"   SET status = 'cancelled', ended_at = n.now, cancelled_at = n.now, cancelled_by = SESSION_USER, worker = NULL"
		"  FROM (SELECT pg_catalog.clock_timestamp() AS now) n"
		" WHERE j.id OPERATOR(pg_catalog.=) $1"
		" RETURNING j.project_id, (SELECT p.code FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) j.project_id)",
		1, {UUIDOID}
	};

	SPI_connect();
	clinical_server_execute(&plan, &id, NULL);
	if (!clinical_report_is_run(DatumGetUUIDP(id)))
		clinical_report_job_cancelled(DatumGetInt64(clinical_result(0, 1)), TextDatumGetCString(clinical_result(0, 2)), DatumGetUUIDP(id));
	SPI_finish();
}

/* SQL: a report is not wanted any more. */
Datum
clinical_cancel_report(PG_FUNCTION_ARGS)
{
	Oid			role;
	char	   *status;

	clinical_require_preload();
	PreventCommandDuringRecovery("clinical.cancel_report()");
	clinical_require_arg(!PG_ARGISNULL(0), "report id is required");
	role = visible_role(PG_GETARG_DATUM(0));
	if (!has_privs_of_role(GetUserId(), role) && !clinical_has_rights_of(GetUserId(), "clinical_admin"))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to cancel the report"),
				 errdetail("Only who asked for it, and admins, may cancel it.")));
	status = lock_job(PG_GETARG_DATUM(0));
	if (strcmp(status, "queued") != 0 && strcmp(status, "running") != 0)
		PG_RETURN_TEXT_P(cstring_to_text(status));
	cancel_job(PG_GETARG_DATUM(0));
	clinical_report_stop(DatumGetUUIDP(PG_GETARG_DATUM(0)));
	PG_RETURN_TEXT_P(cstring_to_text("cancelled"));
}

/* SQL: reports that are older than wanted. */
Datum
clinical_purge_reports(PG_FUNCTION_ARGS)
{
	/* in one statement, whose snapshot has a job with its report or neither */
	static ClinicalPlan plan = {
		"WITH jobs AS (DELETE FROM clinical.report_job j WHERE j.ended_at OPERATOR(pg_catalog.<) $1 RETURNING j.id),"
		" reports AS (DELETE FROM clinical.report r USING jobs j WHERE r.id OPERATOR(pg_catalog.=) j.id)"
		" SELECT pg_catalog.count(*) FROM jobs j",
		1, {TIMESTAMPTZOID}
	};
	Datum		before;
	int64		count;

	clinical_require_arg(!PG_ARGISNULL(0), "interval is required");
	before = DirectFunctionCall2(timestamptz_mi_interval, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()), PG_GETARG_DATUM(0));
	clinical_require_arg(DatumGetTimestampTz(before) <= GetCurrentTransactionStartTimestamp(), "interval must not be negative");
	SPI_connect();
	clinical_server_execute(&plan, &before, NULL);
	count = DatumGetInt64(clinical_result(0, 1));
	SPI_finish();
	PG_RETURN_INT64(count);
}

/* SQL: a job that is seen to run in that attempt: is it in truth, by what is committed now, and nobody runs it? */
Datum
clinical_report_lost(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"SELECT true FROM clinical.report_job j"
		" WHERE j.id OPERATOR(pg_catalog.=) $1 AND j.attempts OPERATOR(pg_catalog.=) $2 AND j.status OPERATOR(pg_catalog.=) 'running'",
		2, {UUIDOID, INT4OID}
	};
	Datum		values[2] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	Datum		ignored;
	bool		running;

	if (RecoveryInProgress() || clinical_report_is_run(DatumGetUUIDP(values[0])))
		PG_RETURN_BOOL(false);
	PushActiveSnapshot(GetLatestSnapshot());
	running = clinical_owner_fetch(&plan, values, NULL, true, &ignored);
	PopActiveSnapshot();
	PG_RETURN_BOOL(running);
}

/* Trigger: nobody but the server asks for reports and makes them, and what was asked for does not change. */
Datum
clinical_report_job_check(PG_FUNCTION_ARGS)
{
	static const char *const columns[] = {
		"id", "project_id", "period", "options", "centers", "role", "role_name", "requested_at", "requested_by", "actor",
		"trace_parent"
	};
	static const ClinicalWay ways[] = {
		{NULL, "queued"}, {"queued", "running"}, {"running", "queued"}, {"running", "done"}, {"running", "failed"},
		{"running", "cancelled"}, {"queued", "cancelled"},
	};
	ClinicalRow row;

	clinical_load_row(fcinfo, &row, NULL, 0);
	if (clinical_as_is())
		PG_RETURN_POINTER(row.new_tuple != NULL ? row.new_tuple : row.old_tuple);
	if (!clinical_server_writes())
		clinical_refuse_write("report_job");
	if (row.new_tuple == NULL)
		PG_RETURN_POINTER(row.old_tuple);
	clinical_check_constant(&row, columns, lengthof(columns));
	clinical_check_way(ways, lengthof(ways), "report", row.old_tuple == NULL ? NULL : clinical_text_column(&row, row.old_tuple, "status"),
					   clinical_text_column(&row, row.new_tuple, "status"));
	PG_RETURN_POINTER(row.new_tuple);
}

/* Trigger: nobody but the server stores reports and deletes them, and nobody changes one. */
Datum
clinical_report_check(PG_FUNCTION_ARGS)
{
	ClinicalRow row;

	clinical_load_row(fcinfo, &row, NULL, 0);
	if (!clinical_as_is() && (!clinical_server_writes() || (row.old_tuple != NULL && row.new_tuple != NULL)))
		clinical_refuse_write("report");
	PG_RETURN_POINTER(row.new_tuple != NULL ? row.new_tuple : row.old_tuple);
}
