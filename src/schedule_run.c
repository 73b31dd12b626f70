/*-------------------------------------------------------------------------
 *
 * schedule_run.c
 *		What pg_cron calls: is something due, and was it not done yet?
 *
 * The job's row is locked until the end of the transaction, in which the report
 * is asked for and the row says so: of two calls at once the second finds that
 * there is nothing to do, and after a crash either both or neither is there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "schedule.h"

PG_FUNCTION_INFO_V1(clinical_run_schedule);
PG_FUNCTION_INFO_V1(clinical_run_schedule_elsewhere);

/* How it is with a job at a moment */
typedef struct Run
{
	Datum		id;
	Datum		at;
	bool		active;
	bool		periodic;		/* quarterly or monthly */
	bool		closed;			/* its project */
	bool		due;
	Datum		first_day;
	Datum		end_day;
	Datum		options;
	Datum		project;		/* code; 0: retention */
	Datum		keep;			/* 0: a report */
	char	   *failure;		/* of the last run, or NULL */
} Run;

/* Keep others from running a job of the caller's at the same time. */
static void
lock_job(int64 job_id)
{
	static ClinicalPlan plan = {
		"SELECT true FROM clinical.report_schedule s"
		" WHERE s.id OPERATOR(pg_catalog.=) $1 AND s.role OPERATOR(pg_catalog.=) $2 FOR UPDATE",
		2, {INT8OID, REGROLEOID}
	};
	Datum		values[2] = {Int64GetDatum(job_id), ObjectIdGetDatum(GetUserId())};
	Datum		found;

	if (!clinical_owner_fetch(&plan, values, NULL, false, &found))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("job not found"),
				 errdetail("There is no job with the number %lld of role \"%s\".", (long long) job_id,
						   GetUserNameFromId(GetUserId(), false))));
}

/* A column of the row that was found, copied to the caller's memory; 0: NULL. */
static Datum
copy_column(int column, bool byval, int length)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? (Datum) 0 : SPI_datumTransfer(value, byval, length);
}

/* How it is with a job that is locked. */
static void
read_run(int64 job_id, TimestampTz at, Run *run)
{
	static ClinicalPlan plan = {
		"SELECT s.status OPERATOR(pg_catalog.=) 'active', s.done_until IS NOT NULL, COALESCE(p.status OPERATOR(pg_catalog.=) 'closed', false),"
		"       CASE WHEN s.done_until IS NOT NULL THEN d.end_day OPERATOR(pg_catalog.>) s.done_until"
		"            ELSE COALESCE(pg_catalog.date_trunc('minute', $2) OPERATOR(pg_catalog.>) pg_catalog.date_trunc('minute', s.last_run_at), true) END,"
		"       d.first_day, d.end_day, s.options OPERATOR(pg_catalog.-) 'period'::pg_catalog.text, p.code, s.keep, s.failure"
		"  FROM clinical.report_schedule s"
		"  LEFT JOIN clinical.project p ON p.id OPERATOR(pg_catalog.=) s.project_id"
		" CROSS JOIN LATERAL clinical.schedule_due(s.unit, COALESCE(p.time_zone, 'UTC'), $2) d"
		" WHERE s.id OPERATOR(pg_catalog.=) $1",
		2, {INT8OID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {Int64GetDatum(job_id), TimestampTzGetDatum(at)};
	Datum		failure;

	SPI_connect();
	clinical_owner_execute(&plan, values, NULL, false);
	if (SPI_processed != 1)
		elog(ERROR, "no job %lld", (long long) job_id);
	run->id = values[0];
	run->at = values[1];
	run->active = DatumGetBool(clinical_result(0, 1));
	run->periodic = DatumGetBool(clinical_result(0, 2));
	run->closed = DatumGetBool(clinical_result(0, 3));
	run->due = DatumGetBool(clinical_result(0, 4));
	run->first_day = clinical_result(0, 5);
	run->end_day = clinical_result(0, 6);
	run->options = copy_column(7, false, -1);
	run->project = copy_column(8, false, -1);
	run->keep = copy_column(9, false, sizeof(Interval));
	failure = copy_column(10, false, -1);
	run->failure = failure == (Datum) 0 ? NULL : TextDatumGetCString(failure);
	SPI_finish();
}

/* Do what is due, as the caller: the report that was asked for, or 0. */
static Datum
act(const Run *run)
{
	static ClinicalPlan request = {
		"SELECT clinical.request_report($1, pg_catalog.daterange($2, $3), $4)",
		4, {TEXTOID, DATEOID, DATEOID, JSONBOID}
	};
	static ClinicalPlan purge = {
		"SELECT clinical.purge_reports($1)",
		1, {INTERVALOID}
	};
	Datum		values[4] = {run->project, run->first_day, run->end_day, run->options};
	Datum		result;

	if (run->keep != (Datum) 0)
	{
		values[0] = run->keep;
		(void) clinical_fetch(&purge, values, NULL, false, &result);
		return (Datum) 0;
	}
	return clinical_fetch(&request, values, NULL, false, &result) ? result : (Datum) 0;
}

/*
 * Do it in a savepoint: 0, or the SQLSTATE of what went wrong.  If somebody
 * wants it to end, it ends; nothing was done then, and the next call does it.
 */
static int
try_act(const Run *run, Datum *report_id)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile int sqlerrcode = 0;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		*report_id = act(run);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		sqlerrcode = error->sqlerrcode;
		if (ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION))
			ReThrowError(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return sqlerrcode;
}

/* It went well: note what was done. */
static void
note_success(const Run *run, Datum report_id)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.report_schedule AS s"
		"   SET last_run_at = $2, last_period = CASE WHEN s.project_id IS NOT NULL THEN pg_catalog.daterange($3, $4) END,"
		"       done_until = CASE WHEN s.done_until IS NOT NULL THEN $4 END,"
		"       report_id = $5, failure = NULL, failed_at = NULL"
		" WHERE s.id OPERATOR(pg_catalog.=) $1",
		5, {INT8OID, TIMESTAMPTZOID, DATEOID, DATEOID, UUIDOID}
	};
	Datum		values[5] = {run->id, run->at, run->first_day, run->end_day, report_id};

	SPI_connect();
	clinical_server_execute(&plan, values, report_id == (Datum) 0 ? "    n" : NULL);
	SPI_finish();
}

/*
 * It failed: note why, and since when.  What is tried again each hour, and fails
 * for the same reason, is not noted each hour.
 */
static void
note_failure(const Run *run, const char *sqlstate)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.report_schedule AS s"
		"   SET last_run_at = $2, failure = $3,"
		"       failed_at = CASE WHEN s.failure OPERATOR(pg_catalog.=) $3 THEN s.failed_at ELSE $2 END"
		" WHERE s.id OPERATOR(pg_catalog.=) $1",
		3, {INT8OID, TIMESTAMPTZOID, TEXTOID}
	};
	Datum		values[3] = {run->id, run->at, CStringGetTextDatum(sqlstate)};
	bool		same = run->failure != NULL && strcmp(run->failure, sqlstate) == 0;

	if (same && run->periodic)
		return;
	SPI_connect();
	clinical_server_execute(&plan, values, NULL);
	SPI_finish();
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("scheduled job %lld failed with %s", (long long) DatumGetInt64(run->id), sqlstate)));
}

/* Do what is due of a job, and say what became of it. */
static Datum
run_job(int64 job_id, TimestampTz at)
{
	Run			run;
	Datum		report_id = (Datum) 0;
	int			sqlerrcode;

	lock_job(job_id);
	read_run(job_id, at, &run);
	if (run.active && run.closed)
		clinical_schedule_end(job_id, "project closed");
	if (!run.active || run.closed)
	{
		clinical_cron_remove(job_id, GetUserId());
		return CStringGetTextDatum("ended");
	}
	if (!run.due)
		return CStringGetTextDatum("not due");
	sqlerrcode = try_act(&run, &report_id);
	if (sqlerrcode != 0)
	{
		char	   *sqlstate = pstrdup(unpack_sql_state(sqlerrcode));

		note_failure(&run, sqlstate);
		return CStringGetTextDatum(psprintf("failed: %s", sqlstate));
	}
	note_success(&run, report_id);
	return CStringGetTextDatum("done");
}

/* The moment for which to run, which is not for everybody to say. */
static TimestampTz
moment_arg(FunctionCallInfo fcinfo, int argno)
{
	if (PG_ARGISNULL(argno))
		return GetCurrentTransactionStartTimestamp();
	if (!superuser_arg(GetSessionUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to run a job as at another moment")));
	return PG_GETARG_TIMESTAMPTZ(argno);
}

/* SQL: do what is due of a job. */
Datum
clinical_run_schedule(PG_FUNCTION_ARGS)
{
	clinical_require_arg(!PG_ARGISNULL(0), "job id is required");
	PG_RETURN_DATUM(run_job(PG_GETARG_INT64(0), moment_arg(fcinfo, 1)));
}

/* SQL: the same of a job that was told to a pg_cron in another database. */
Datum
clinical_run_schedule_elsewhere(PG_FUNCTION_ARGS)
{
	clinical_require_arg(!PG_ARGISNULL(0), "job id is required");
	clinical_require_arg(!PG_ARGISNULL(1), "job is required");
	PG_RETURN_DATUM(run_job(clinical_schedule_know(PG_GETARG_INT64(0), PG_GETARG_JSONB_P(1)),
							GetCurrentTransactionStartTimestamp()));
}
