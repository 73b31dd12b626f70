/*-------------------------------------------------------------------------
 *
 * report_end.c
 *		How reports end: done, failed, or cancelled by whom.
 *
 * Each end is counted at once, since the transaction may be about to abort, and all
 * but the good ones are told in the log.  An error is seen by who makes the report.
 * What ends the session passes him by: then the exit callback finds the note that a
 * report is under way.  Whoever comes first takes the note away.
 *
 * Of a report that nobody makes, as one that waits, an end is told when the
 * transaction commits that says so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "observe.h"
#include "report.h"
#include "worker.h"

/* A project's code has so many bytes at most */
#define MAX_CODE 255
/* What is told of a trace, " trace_id=" and 32 digits, has fewer */
#define TRACE_LENGTH 64

/* Why a report is not finished */
typedef enum Cause
{
	CANCEL_REQUEST,
	TIME_LIMIT,
	CLIENT_GONE,
	ENDED
} Cause;

static const struct
{
	const char *name;
	ClinicalCounter counter;
	int			sqlerrcode;		/* -1: the session ends */
}			causes[] = {
	[CANCEL_REQUEST] = {"cancel_request", CLINICAL_COUNT_REPORT_CANCEL_REQUEST, ERRCODE_QUERY_CANCELED},
	[TIME_LIMIT] = {"time_limit", CLINICAL_COUNT_REPORT_TIME_LIMIT, ERRCODE_QUERY_CANCELED},
	[CLIENT_GONE] = {"client_gone", CLINICAL_COUNT_REPORT_CLIENT_GONE, -1},
	[ENDED] = {"ended", CLINICAL_COUNT_REPORT_ENDED, -1},
};

/* The report that this process makes: all that is told of it, since nothing can be looked up when it ends */
typedef struct Note
{
	bool		under_way;
	bool		is_job;
	pg_uuid_t	id;				/* of the job */
	int64		project_id;
	char		project[MAX_CODE + 1];
	char		role[NAMEDATALEN];
	char		trace[TRACE_LENGTH];
	TimestampTz began_at;
} Note;

static Note note;

/* What is told of every report: of which project, made how, which job, with whose rights. */
static void
put_identity(StringInfo facts, const char *project, const pg_uuid_t *id, const char *role)
{
	appendStringInfo(facts, "project=%s way=%s", clinical_event_value(project), id == NULL ? "direct" : "job");
	if (id != NULL)
		appendStringInfo(facts, " report_id=%s", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id))));
	if (role != NULL)
		appendStringInfo(facts, " role=%s", clinical_event_value(role));
}

/* How far it came. */
static void
put_progress(StringInfo facts)
{
	double		percent;
	const char *phase = clinical_report_progress_now(&percent);

	appendStringInfo(facts, " seconds=%.3f", (double) (GetCurrentTimestamp() - note.began_at) / USECS_PER_SEC);
	if (phase != NULL)
		appendStringInfo(facts, " phase=%s", phase);
	if (phase != NULL && percent >= 0)
		appendStringInfo(facts, " percent=%.1f", percent);
	appendStringInfoString(facts, note.trace);
}

/*
 * The report that is under way ends: counted and, unless it is done, told.  Nothing
 * that comes up meanwhile takes the place of the error that it ends with.
 */
static void
end_report(int sqlerrcode, ClinicalCounter counter, ClinicalLogEvent event, const char *key, const char *value)
{
	StringInfoData facts;

	note.under_way = false;
	HOLD_INTERRUPTS();
	clinical_count_now(counter, note.project_id, 1);
	initStringInfo(&facts);
	put_identity(&facts, note.project, note.is_job ? &note.id : NULL, note.role);
	put_progress(&facts);
	clinical_event(event, "%s=%s %s", key, value, facts.data);
	pfree(facts.data);
	clinical_step_report_ends(sqlerrcode);
	clinical_report_progress_end();
	RESUME_INTERRUPTS();
}

/* It is cancelled, for that reason. */
static void
end_cancelled(Cause cause)
{
	end_report(causes[cause].sqlerrcode, causes[cause].counter, CLINICAL_EVENT_REPORT_CANCELLED, "cause", causes[cause].name);
}

/* What ends this session?  The message is gone by the time that somebody can ask. */
static Cause
cause_of_exit(void)
{
	if (pgStatSessionEndCause == DISCONNECT_KILLED)
		return ENDED;
	if (ClientConnectionLost)
		return CLIENT_GONE;
	return CLINICAL_TRANSACTION_TIMED_OUT() ? TIME_LIMIT : ENDED;
}

/* Exit callback: the session ends, and with it what it was at. */
static void
session_ends(int code, Datum arg)
{
	if (!note.under_way)
		return;
	LWLockReleaseAll();
	end_cancelled(cause_of_exit());
}

/* A report begins. */
void
clinical_report_begin(const ClinicalReportScope *scope, const ClinicalReportOrder *order)
{
	static bool registered = false;

	if (!registered)
		before_shmem_exit(session_ends, (Datum) 0);
	registered = true;
	clinical_report_progress_begin(scope, order->id);
	clinical_step_report_begins(order->trace_parent, scope->project_id, order->id, order->attempt, order->asked_at);
	note.is_job = order->id != NULL;
	if (order->id != NULL)
		note.id = *order->id;
	note.project_id = scope->project_id;
	strlcpy(note.project, scope->project_code, sizeof(note.project));
	strlcpy(note.role, order->role, sizeof(note.role));
	strlcpy(note.trace, clinical_event_trace(PointerGetDatum(order->trace_parent)), sizeof(note.trace));
	/* where its end will be counted, and the name of the database, are found now */
	(void) clinical_counted(CLINICAL_COUNT_REPORT_DONE);
	clinical_event_know_database();
	note.began_at = GetCurrentTimestamp();
	note.under_way = true;
}

/* It is done. */
void
clinical_report_done(void)
{
	uint64		us = (uint64) Max(GetCurrentTimestamp() - note.began_at, 0);

	note.under_way = false;
	clinical_count_now(CLINICAL_COUNT_REPORT_DONE, note.project_id, 1);
	clinical_count_now(CLINICAL_COUNT_REPORT_MS, note.project_id, us / 1000);
	clinical_step_report_ends(0);
	clinical_report_progress_end();
}

/* It was made, and is not wanted: somebody had cancelled it meanwhile. */
void
clinical_report_unwanted(void)
{
	end_cancelled(CANCEL_REQUEST);
}

/* Nothing becomes of it, nor was it begun: the extension is gone. */
void
clinical_report_forget(void)
{
	note.under_way = false;
	clinical_report_progress_end();
}

/*
 * In PG_CATCH: is it a time limit that has cancelled the statement?  The message of a
 * parallel worker's error has no id, but time limits are not its business.
 */
static bool
is_time_limit(void)
{
	ErrorData  *error = CopyErrorData();
	bool		is = error->message_id != NULL && strcmp(error->message_id, "canceling statement due to statement timeout") == 0;

	FreeErrorData(error);
	return is;
}

/*
 * An error with that SQLSTATE ends the report.  Who ends all processes may have met
 * a parallel worker first, whose error this is.
 */
static void
end_by_error(int sqlerrcode)
{
	if (sqlerrcode == ERRCODE_QUERY_CANCELED)
		end_cancelled(is_time_limit() ? TIME_LIMIT : CANCEL_REQUEST);
	else if (sqlerrcode == ERRCODE_ADMIN_SHUTDOWN && ProcDiePending)
		end_cancelled(ENDED);
	else
	{
		if (note.is_job)
			clinical_worker_failed();
		end_report(sqlerrcode, CLINICAL_COUNT_REPORT_FAILED, CLINICAL_EVENT_REPORT_FAILED, "sqlstate", unpack_sql_state(sqlerrcode));
	}
}

/* In PG_CATCH, before the error is thrown again or thrown away: if a report is under way, this was its end. */
void
clinical_report_caught(MemoryContext context)
{
	MemoryContext error_context = MemoryContextSwitchTo(context);

	if (note.under_way)
		end_by_error(geterrcode());
	MemoryContextSwitchTo(error_context);
}

/* This transaction says of a job that nobody runs it, and nobody will. */
static void
end_job(ClinicalCounter counter, ClinicalLogEvent event, const char *how, int64 project_id, const char *project, const pg_uuid_t *id)
{
	StringInfoData facts;

	initStringInfo(&facts);
	put_identity(&facts, project, id, NULL);
	clinical_count(counter, project_id, 1);
	clinical_event_at_commit(event, "%s %s", how, facts.data);
	pfree(facts.data);
}

/* It is cancelled while it waits. */
void
clinical_report_job_cancelled(int64 project_id, const char *project, const pg_uuid_t *id)
{
	end_job(CLINICAL_COUNT_REPORT_CANCEL_REQUEST, CLINICAL_EVENT_REPORT_CANCELLED, "cause=cancel_request", project_id, project, id);
}

/* Its worker was lost each time. */
void
clinical_report_job_lost(int64 project_id, const char *project, const pg_uuid_t *id)
{
	end_job(CLINICAL_COUNT_REPORT_FAILED, CLINICAL_EVENT_REPORT_FAILED, "sqlstate=57P02", project_id, project, id);
}
