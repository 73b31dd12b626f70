/*-------------------------------------------------------------------------
 *
 * report_work.c
 *		The workers' job: reports that were asked for.
 *
 * Further workers make them, at most clinical.max_report_workers in a database; the
 * first one, which has other things to do, only looks what there is, and asks for
 * further workers.  A worker claims a job in a transaction of its own, so that it is
 * seen to run, makes the report in another, which also stores it, and then it is done.
 * A job that is seen to run though nobody runs it was lost with its process: it is run
 * again, at most so many times.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "intake.h"
#include "monitor.h"
#include "observe.h"
#include "report.h"
#include "worker.h"

/* A job is run so many times at most */
#define MAX_ATTEMPTS 3
/* So often (ms) the first worker looks: while jobs are queued, are run, or in any case */
#define QUEUED_INTERVAL 500
#define RUNNING_INTERVAL 2000
#define LOOK_INTERVAL 60000
/* After so long (ms) in which none of those that are queued is made, something is the matter */
#define STUCK_AFTER 10000

/* A job that was claimed */
typedef struct Job
{
	bool		claimed;
	pg_uuid_t	id;
	int			attempts;
	Oid			role;
	char	   *role_name;
	Datum		period;
	Jsonb	   *options;
	TimestampTz requested_at;
	text	   *trace_parent;	/* empty: none */
	ClinicalReportScope scope;
} Job;

/* What the first worker sees */
typedef struct Look
{
	int64		queued;
	int64		running;
} Look;

/* --- the first worker --- */

/* A job is seen to run, and nobody runs it: it is queued again, or has failed. */
static void
settle_lost(const pg_uuid_t *id, int attempts)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.report_job AS j"
		"   SET status = CASE WHEN j.attempts OPERATOR(pg_catalog.>=) $3 THEN 'failed' ELSE 'queued' END,"
		"       detail = CASE WHEN j.attempts OPERATOR(pg_catalog.>=) $3 THEN '57P02' END,"
		"       ended_at = CASE WHEN j.attempts OPERATOR(pg_catalog.>=) $3 THEN pg_catalog.clock_timestamp() END, worker = NULL"
		"  FROM (SELECT r.id FROM clinical.report_job r"
		"         WHERE r.id OPERATOR(pg_catalog.=) $1 AND r.attempts OPERATOR(pg_catalog.=) $2"
		"           AND r.status OPERATOR(pg_catalog.=) 'running' FOR NO KEY UPDATE SKIP LOCKED) l"
		" WHERE j.id OPERATOR(pg_catalog.=) l.id"
		" RETURNING j.status OPERATOR(pg_catalog.=) 'failed', j.project_id,"
		" (SELECT p.code FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) j.project_id)",
		3, {UUIDOID, INT4OID, INT4OID}
	};
	Datum		values[3] = {UUIDPGetDatum(id), Int32GetDatum(attempts), Int32GetDatum(MAX_ATTEMPTS)};

	clinical_server_execute(&plan, values, NULL);
	if (SPI_processed == 0)
		return;
	ereport(LOG,
			(errmsg("a report's worker was lost"),
			 errdetail("Report %s: attempt %d of %d.", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id))),
					   attempts, MAX_ATTEMPTS)));
	if (DatumGetBool(clinical_result(0, 1)))
		clinical_report_job_lost(DatumGetInt64(clinical_result(0, 2)), TextDatumGetCString(clinical_result(0, 3)), id);
}

/*
 * Look at those that are seen to run.  Who runs one is asked after the snapshot was
 * taken, so a job that has ended meanwhile is found to have by its row, once it is locked.
 */
static void
find_lost(Look *look)
{
	static ClinicalPlan plan = {
		"SELECT j.id, j.attempts FROM clinical.report_job j WHERE j.status OPERATOR(pg_catalog.=) 'running'"
	};
	pg_uuid_t  *ids;
	int		   *attempts;

	clinical_owner_execute(&plan, NULL, NULL, true);
	look->running = (int64) SPI_processed;
	ids = palloc_array(pg_uuid_t, look->running + 1);
	attempts = palloc_array(int, look->running + 1);
	for (int64 i = 0; i < look->running; i++)
	{
		ids[i] = *DatumGetUUIDP(clinical_result((uint64) i, 1));
		attempts[i] = DatumGetInt32(clinical_result((uint64) i, 2));
	}
	for (int64 i = 0; i < look->running; i++)
	{
		if (!clinical_report_is_run(&ids[i]))
			settle_lost(&ids[i], attempts[i]);
	}
}

/* Look what there is, in a transaction. */
static void
look_at_jobs(void *arg)
{
	static ClinicalPlan plan = {
		"SELECT pg_catalog.count(*) FROM clinical.report_job j WHERE j.status OPERATOR(pg_catalog.=) 'queued'"
	};
	Look	   *look = arg;
	Datum		count;

	find_lost(look);
	if (clinical_owner_fetch(&plan, NULL, NULL, false, &count))
		look->queued = DatumGetInt64(count);
}

/* What was seen: wish for further workers, and tell since when there are too few. */
static void
act_on(ClinicalBacklog *backlog, const Look *look)
{
	int			taken = clinical_report_slots_taken();
	int			wanted = (int) Min(look->queued, clinical_max_report_workers - taken);

	pg_atomic_write_u32(&backlog->jobs_queued, look->queued > 0 ? 1 : 0);
	clinical_want_workers(wanted);
	if (look->queued == 0 || taken > 0)
		pg_atomic_write_u64(&backlog->jobs_stuck, 0);
	else if (pg_atomic_read_u64(&backlog->jobs_stuck) == 0)
		pg_atomic_write_u64(&backlog->jobs_stuck, (uint64) GetCurrentTimestamp());
}

/* The first worker's part. */
static long
look_after_jobs(ClinicalBacklog *backlog)
{
	static TimestampTz look_at = 0;
	static uint32 asked_seen = 0;
	uint32		asked_now = pg_atomic_read_u32(&backlog->jobs_asked);
	TimestampTz now = GetCurrentTimestamp();
	Look		look = {0, 0};
	long		delay;
	int			sqlerrcode;

	if (asked_now == asked_seen && now < look_at)
		return TimestampDifferenceMilliseconds(now, look_at) + 1;
	asked_seen = asked_now;
	if (!clinical_worker_begin("looking for reports to be made"))
		return -1;
	sqlerrcode = clinical_job_try(look_at_jobs, &look);
	if (sqlerrcode != 0 && !clinical_job_may_succeed(sqlerrcode))
		ereport(LOG,
				(errmsg("looking for reports to be made failed"),
				 errdetail("SQLSTATE %s.", unpack_sql_state(sqlerrcode))));
	if (sqlerrcode == 0)
		act_on(backlog, &look);
	delay = look.queued > 0 || sqlerrcode != 0 ? QUEUED_INTERVAL : look.running > 0 ? RUNNING_INTERVAL : LOOK_INTERVAL;
	look_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), delay);
	return delay;
}

/* For health(): do jobs wait that nobody makes? */
static bool
jobs_are_stuck(const char **problem, const char **remedy)
{
	ClinicalBacklog *backlog = clinical_backlog();
	TimestampTz since = backlog == NULL ? 0 : (TimestampTz) pg_atomic_read_u64(&backlog->jobs_stuck);

	if (since == 0 || !TimestampDifferenceExceeds(since, GetCurrentTimestamp(), STUCK_AFTER))
		return false;
	*problem = "reports are asked for and no background worker makes them";
	*remedy = psprintf("Raise clinical.max_workers, now %d, of which each database has one that makes none, or"
					   " clinical.max_report_workers, now %d; max_worker_processes must allow them.",
					   clinical_max_workers, clinical_max_report_workers);
	return true;
}

/* --- further workers --- */

/* From now on it has an end that is told. */
static void
begin_report(const Job *job)
{
	ClinicalReportOrder order = {
		.id = &job->id, .role = job->role_name, .trace_parent = job->trace_parent,
		.attempt = job->attempts, .asked_at = job->requested_at
	};

	clinical_report_begin(&job->scope, &order);
}

/* Claim the job that was asked for first, in a transaction; false if there is none. */
static bool
claim(Job *job)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.report_job AS j"
		"   SET status = 'running', attempts = j.attempts OPERATOR(pg_catalog.+) 1, started_at = pg_catalog.clock_timestamp(), worker = $1"
		"  FROM (SELECT r.id FROM clinical.report_job r WHERE r.status OPERATOR(pg_catalog.=) 'queued'"
		"         ORDER BY r.requested_at, r.id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) l"
		" WHERE j.id OPERATOR(pg_catalog.=) l.id"
		" RETURNING j.id, j.attempts, j.role::pg_catalog.oid, j.role_name, j.project_id, j.period, j.options, j.requested_at,"
		"       COALESCE(j.trace_parent, ''), (SELECT p.code FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) j.project_id)",
		1, {INT4OID}
	};
	Datum		pid = Int32GetDatum(MyProcPid);
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext spi;
	bool		found;

	if (!clinical_worker_begin("claiming a report"))
		return false;
	clinical_server_execute(&plan, &pid, NULL);
	found = SPI_processed > 0;
	if (found)
	{
		spi = MemoryContextSwitchTo(caller);
		job->id = *DatumGetUUIDP(clinical_result(0, 1));
		job->attempts = DatumGetInt32(clinical_result(0, 2));
		job->role = DatumGetObjectId(clinical_result(0, 3));
		job->role_name = pstrdup(NameStr(*DatumGetName(clinical_result(0, 4))));
		job->scope.project_id = DatumGetInt64(clinical_result(0, 5));
		job->period = datumCopy(clinical_result(0, 6), false, -1);
		job->options = DatumGetJsonbP(datumCopy(clinical_result(0, 7), false, -1));
		job->requested_at = DatumGetTimestampTz(clinical_result(0, 8));
		job->trace_parent = DatumGetTextPP(datumCopy(clinical_result(0, 9), false, -1));
		job->scope.project_code = TextDatumGetCString(clinical_result(0, 10));
		job->scope.role = job->role;
		MemoryContextSwitchTo(spi);
		clinical_report_slot_name(&job->id);
	}
	clinical_worker_commit();
	job->claimed = found;
	if (found)
		begin_report(job);
	CLINICAL_FAULT("report_claimed");
	return found;
}

/* May the one who asked for it have a report now?  An error if not. */
static void
require_rights(const Job *job)
{
	static ClinicalPlan plan = {
		"SELECT pg_catalog.has_function_privilege($1,"
		" 'clinical.generate_report(pg_catalog.text, pg_catalog.daterange, pg_catalog.jsonb)', 'EXECUTE')",
		1, {OIDOID}
	};
	Datum		role = ObjectIdGetDatum(job->role);
	const char *name = GetUserNameFromId(job->role, true);
	Datum		may;

	if (name == NULL || strcmp(name, job->role_name) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" does not exist any more", job->role_name)));
	if (!clinical_owner_fetch(&plan, &role, NULL, true, &may) || !DatumGetBool(may))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to make a report")));
}

/* What the report is about: what was asked for, of what the one who asked may see now. */
static void
read_job(Job *job)
{
	require_rights(job);
	clinical_report_read_period(job->period, &job->scope);
	clinical_report_read_options(job->options, &job->scope);
	if (!clinical_report_find_scope(&job->scope))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("project not found")));
}

/*
 * The job is done, unless it was cancelled meanwhile, and its report is stored.  Somebody who is
 * about to cancel it has the row locked, and is waited for.
 */
static bool
store(const Job *job, Jsonb *document)
{
	static ClinicalPlan done = {
		"UPDATE clinical.report_job AS j SET status = 'done', ended_at = pg_catalog.clock_timestamp(), worker = NULL"
		" WHERE j.id OPERATOR(pg_catalog.=) $1 AND j.status OPERATOR(pg_catalog.=) 'running' AND j.attempts OPERATOR(pg_catalog.=) $2",
		2, {UUIDOID, INT4OID}
	};
	static ClinicalPlan insert = {
		"INSERT INTO clinical.report (id, project_id, centers, document, generated_at)"
		" VALUES ($1, $2, $3, $4, pg_catalog.clock_timestamp())",
		4, {UUIDOID, INT8OID, INT8ARRAYOID, JSONBOID}
	};
	Datum		key[2] = {UUIDPGetDatum(&job->id), Int32GetDatum(job->attempts)};
	Datum		values[4] = {
		UUIDPGetDatum(&job->id), Int64GetDatum(job->scope.project_id), job->scope.centers, JsonbPGetDatum(document)
	};

	clinical_server_execute(&done, key, NULL);
	if (SPI_processed == 0)
		return false;
	clinical_server_execute(&insert, values, NULL);
	return true;
}

/* Tell who listens that a job has ended. */
static void
announce(const Job *job)
{
	Async_Notify("clinical_report", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&job->id))));
}

/* Make the report, in a transaction. */
static void
make(Job *job)
{
	char		workers[16];
	Jsonb	   *document;
	bool		stored;

	if (!clinical_worker_begin("making a report"))
	{
		clinical_report_forget();
		return;
	}
	snprintf(workers, sizeof(workers), "%d", clinical_report_parallel_workers);
	(void) set_config_option("max_parallel_workers_per_gather", workers, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	read_job(job);
	document = clinical_report_run(&job->scope);
	CLINICAL_FAULT("report_computed");
	clinical_step_report_phase("storing");
	stored = store(job, document);
	if (stored)
		announce(job);
	clinical_worker_commit();
	if (stored)
		clinical_report_done();
	else
		clinical_report_unwanted();
}

/* Claim a job, and do it: 0, or the SQLSTATE of what went wrong. */
static int
try_job(Job *job)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile int sqlerrcode = 0;

	PG_TRY();
	{
		if (claim(job))
			make(job);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		clinical_report_caught(caller);
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		sqlerrcode = error->sqlerrcode;
		FreeErrorData(error);
		clinical_worker_abort();
	}
	PG_END_TRY();
	return sqlerrcode;
}

/*
 * It went wrong.  One that was cancelled by cancel_report says so already; else the
 * request came from the server's own functions.
 */
static void
note_failure(const Job *job, int sqlerrcode)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.report_job AS j SET status = $3, detail = $4, ended_at = n.now, worker = NULL,"
		"       cancelled_at = CASE $3 WHEN 'cancelled' THEN n.now END"
		"  FROM (SELECT pg_catalog.clock_timestamp() AS now) n"
		" WHERE j.id OPERATOR(pg_catalog.=) $1 AND j.status OPERATOR(pg_catalog.=) 'running' AND j.attempts OPERATOR(pg_catalog.=) $2",
		4, {UUIDOID, INT4OID, TEXTOID, TEXTOID}
	};
	Datum		values[4] = {
		UUIDPGetDatum(&job->id), Int32GetDatum(job->attempts),
		CStringGetTextDatum(sqlerrcode == ERRCODE_QUERY_CANCELED ? "cancelled" : "failed"),
		CStringGetTextDatum(unpack_sql_state(sqlerrcode))
	};

	if (!clinical_worker_begin("ending a report"))
		return;
	clinical_server_execute(&plan, values, NULL);
	if (SPI_processed > 0)
		announce(job);
	clinical_worker_commit();
}

/* A further worker's part: one job, if there is one and it may run it. */
static long
do_job(ClinicalBacklog *backlog)
{
	Job			job = {0};
	int			sqlerrcode;

	if (pg_atomic_read_u32(&backlog->jobs_queued) == 0 || !clinical_report_slot_take())
		return -1;
	clinical_worker_occupied(true);
	sqlerrcode = try_job(&job);
	clinical_report_slot_end();
	if (job.claimed && sqlerrcode != 0)
		note_failure(&job, sqlerrcode);
	clinical_report_slot_free();
	clinical_worker_occupied(false);
	return job.claimed ? 0 : -1;
}

/* Job: reports that were asked for. */
static long
report_job(void)
{
	ClinicalBacklog *backlog = clinical_backlog();

	if (backlog == NULL)
		return -1;
	return clinical_is_further_worker() ? do_job(backlog) : look_after_jobs(backlog);
}

/* Give the workers the job. */
void
clinical_report_work_init(void)
{
	static const ClinicalJob job = {.name = "reports", .run = report_job, .shared = true, .woken = true};

	clinical_register_job(&job);
	clinical_register_problem(jobs_are_stuck);
}
