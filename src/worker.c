/*-------------------------------------------------------------------------
 *
 * worker.c
 *		Background workers: settings, jobs, and what SQL asks about them.
 *
 * A launcher, which is connected to no database, keeps one worker running in
 * each database that has the extension (worker_launcher.c).  The worker runs
 * the jobs that modules registered (worker_main.c).  Both meet in shared memory
 * (worker_slot.c).  Commands that need a database without sessions send its
 * worker away for their time (worker_hook.c).  Where there is more work, further
 * workers come (worker_pool.c, worker_grant.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "postmaster/bgworker.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "core.h"
#include "worker_slot.h"

PG_FUNCTION_INFO_V1(clinical_stop_workers);
PG_FUNCTION_INFO_V1(clinical_start_workers);
PG_FUNCTION_INFO_V1(clinical_worker_states);

/* How long (ms) stop_workers() waits */
#define STOP_TIMEOUT 30000
/* How long (ms) after the start of the server its launcher may not be there yet */
#define LAUNCHER_DELAY 10000

bool		clinical_workers_on = true;
int			clinical_max_databases = 64;
int			clinical_worker_restart_delay = 5000;
int			clinical_max_workers = 4;
int			clinical_worker_idle_timeout = 60000;
const ClinicalJob *clinical_jobs[CLINICAL_MAX_JOBS];
int			clinical_njobs = 0;

static const char *const state_names[] = {
	[CLINICAL_WORKER_UNKNOWN] = "unknown",
	[CLINICAL_WORKER_STARTING] = "starting",
	[CLINICAL_WORKER_RUNNING] = "running",
	[CLINICAL_WORKER_ABSENT] = "absent",
	[CLINICAL_WORKER_REFUSED] = "refused",
	[CLINICAL_WORKER_STOPPED] = "stopped",
	[CLINICAL_WORKER_FAILED] = "failed"
};

/* Define the settings. */
static void
define_settings(void)
{
	DefineCustomBoolVariable("clinical.workers_enabled",
							 "Runs background workers.",
							 NULL,
							 &clinical_workers_on, true, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("clinical.worker_restart_delay",
							"The time to wait before a worker that failed is started again.",
							"It doubles with each failure in a row; the first one waits for a second at most.",
							&clinical_worker_restart_delay, 5000, 10, 300000,
							PGC_SIGHUP, GUC_UNIT_MS | GUC_NOT_IN_SAMPLE,
							NULL, NULL, NULL);
	DefineCustomIntVariable("clinical.max_workers",
							"How many background workers may run in all databases together.",
							"Each database with the extension has one in any case; further ones are started while there are fewer than this.",
							&clinical_max_workers, 4, 1, CLINICAL_MAX_WORKERS,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("clinical.worker_idle_timeout",
							"The time without work after which a further worker ends.",
							"The first worker of a database does not end.",
							&clinical_worker_idle_timeout, 60000, 10, 24 * 60 * 60 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	/* of no use, and not allowed, in a server that runs already */
	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("clinical.max_databases",
								"The number of databases that background workers look after.",
								"Those without the extension count, too.",
								&clinical_max_databases, 64, 1, 1024,
								PGC_POSTMASTER, 0,
								NULL, NULL, NULL);
}

/* Have the server start the launcher, once it accepts writes, and whenever it ended. */
static void
register_launcher(void)
{
	BackgroundWorker launcher;

	memset(&launcher, 0, sizeof(launcher));
	strlcpy(launcher.bgw_name, "clinical launcher", BGW_MAXLEN);
	strlcpy(launcher.bgw_type, "clinical launcher", BGW_MAXLEN);
	strlcpy(launcher.bgw_library_name, "clinical", BGW_MAXLEN);
	strlcpy(launcher.bgw_function_name, "clinical_launcher_main", BGW_MAXLEN);
	launcher.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	launcher.bgw_start_time = BgWorkerStart_RecoveryFinished;
	launcher.bgw_restart_time = 2;
	RegisterBackgroundWorker(&launcher);
}

/* For health(): is max_worker_processes too small? */
static bool
lacks_slots(const char **problem, const char **remedy)
{
	bool		no_launcher = clinical_workers != NULL && clinical_workers->launcher == NULL && !RecoveryInProgress() &&
		TimestampDifferenceExceeds(PgStartTime, GetCurrentTimestamp(), LAUNCHER_DELAY);

	if (clinical_workers == NULL || (!no_launcher && !clinical_workers->lacks_slot))
		return false;
	*problem = no_launcher ? "the launcher of background workers does not run" :
		"the server had no slot left for a background worker";
	*remedy = psprintf("Raise max_worker_processes, now %d, and restart the server: clinical takes one, one more for each"
					   " database that has the extension, and further ones while all workers together are fewer than"
					   " clinical.max_workers, now %d.",
					   max_worker_processes, clinical_max_workers);
	return true;
}

/* Why no worker is in this slot, as far as that does not pass by itself.  Under the lock. */
static bool
slot_is_vacant(const ClinicalSlot *slot, bool *on_purpose, const char **why, const char **remedy)
{
	if (slot->pid != 0 || slot->holds > 0)
		return false;
	if (slot->stopped)
	{
		*on_purpose = true;
		*why = "clinical.stop_workers() was called";
		*remedy = "Call clinical.start_workers().";
	}
	else if (slot->state == CLINICAL_WORKER_REFUSED)
	{
		*why = "role \"" CLINICAL_WORKER_ROLE "\" is a superuser or bypasses row level security";
		*remedy = "Run ALTER ROLE " CLINICAL_WORKER_ROLE " NOSUPERUSER NOBYPASSRLS.";
	}
	else if (slot->state == CLINICAL_WORKER_STOPPED)
	{
		*why = "role \"" CLINICAL_WORKER_ROLE "\" is not there, or the database allows no connections";
		*remedy = "Run CREATE ROLE " CLINICAL_WORKER_ROLE " LOGIN CONNECTION LIMIT 0, or ALTER DATABASE ... ALLOW_CONNECTIONS true.";
	}
	/* a first failure is over in a second */
	else if (slot->state == CLINICAL_WORKER_FAILED && slot->failures > 1)
	{
		*why = "the last one failed";
		*remedy = "Mend what the server's log tells; the next one is started at the latest after 5 minutes, or by clinical.start_workers().";
	}
	return *why != NULL;
}

/*
 * For health(): does no worker run in this database, and why?  Where none was
 * started yet that passes, or lacks_slots knows the cause.
 */
bool
clinical_worker_missing(bool *on_purpose, const char **why, const char **remedy)
{
	ClinicalSlot *slot;
	int			sqlerrcode = 0;
	bool		missing;

	*on_purpose = false;
	*why = NULL;
	if (clinical_workers == NULL || RecoveryInProgress())
		return false;
	if (!clinical_workers_on)
	{
		*on_purpose = true;
		*why = "clinical.workers_enabled is off";
		*remedy = "Set clinical.workers_enabled to on and reload the server, or call clinical.process_reports() at intervals.";
		return true;
	}
	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	slot = clinical_slot_make(MyDatabaseId);
	missing = slot != NULL && slot_is_vacant(slot, on_purpose, why, remedy);
	if (missing && slot->state == CLINICAL_WORKER_FAILED)
		sqlerrcode = slot->sqlerrcode;
	LWLockRelease(clinical_workers_lock);
	if (sqlerrcode != 0)
		*why = psprintf("the last one failed with SQLSTATE %s", unpack_sql_state(sqlerrcode));
	if (slot == NULL)
	{
		*why = "all slots for databases are taken";
		*remedy = psprintf("Raise clinical.max_databases, now %d, and restart the server.", clinical_max_databases);
	}
	return missing || slot == NULL;
}

/* When the library is loaded; only at server start can there be workers. */
void
clinical_worker_init(void)
{
	define_settings();
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	clinical_slots_init();
	clinical_worker_hook_init();
	clinical_register_problem(lacks_slots);
	register_launcher();
}

/* Add a kind of work, when the library is loaded. */
void
clinical_register_job(const ClinicalJob *job)
{
	if (clinical_njobs == CLINICAL_MAX_JOBS)
		elog(ERROR, "too many kinds of jobs");
	clinical_jobs[clinical_njobs++] = job;
}

/* Raise an error where no worker can run. */
static void
require_workers(const char *function)
{
	clinical_require_preload();
	PreventCommandDuringRecovery(function);
	if (clinical_workers == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there are no background workers during an upgrade of the server")));
}

/* Let this database's workers end, and none be started; had they been allowed? */
static bool
forbid_worker(void)
{
	ClinicalSlot *slot;
	bool		had;

	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	slot = clinical_slot_make(MyDatabaseId);
	had = slot != NULL && !slot->stopped;
	if (slot != NULL)
	{
		slot->stopped = true;
		clinical_slot_end_process(slot);
		if (slot->pid == 0 && slot->state != CLINICAL_WORKER_ABSENT)
			slot->state = CLINICAL_WORKER_STOPPED;
	}
	LWLockRelease(clinical_workers_lock);

	if (slot == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("background workers do not look after this database"),
				 errhint("Raise clinical.max_databases and restart the server.")));
	return had;
}

/* SQL: stop this database's workers, and wait until they are gone. */
Datum
clinical_stop_workers(PG_FUNCTION_ARGS)
{
	bool		had;

	require_workers("clinical.stop_workers()");
	had = forbid_worker();
	if (!clinical_wait_ended(MyDatabaseId, STOP_TIMEOUT))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("workers of this database did not stop within %d seconds", STOP_TIMEOUT / 1000),
				 errhint("They were told to stop; call the function again to go on waiting.")));
	PG_RETURN_BOOL(had);
}

/* SQL: let this database's workers run, at once. */
Datum
clinical_start_workers(PG_FUNCTION_ARGS)
{
	ClinicalSlot *slot;
	bool		idle;

	require_workers("clinical.start_workers()");
	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	slot = clinical_slot_find(MyDatabaseId);
	idle = slot != NULL && (slot->stopped || slot->state == CLINICAL_WORKER_FAILED ||
							slot->further.failures > 0);
	if (idle)
	{
		slot->stopped = false;
		slot->next_start = 0;
		slot->failures = 0;
		slot->sqlerrcode = 0;
		slot->further.next_start = 0;
		slot->further.failures = 0;
		slot->further.sqlerrcode = 0;
		clinical_launcher_wake();
	}
	LWLockRelease(clinical_workers_lock);
	PG_RETURN_BOOL(idle);
}

/* A row about a worker, or about where one could be */
typedef struct Row
{
	ClinicalWorkerState state;
	bool		first;
	pid_t		pid;			/* 0: nobody is there */
	TimestampTz started_at;
	int			failures;
	int			sqlerrcode;
	int			starts;			/* of the first one */
	ClinicalDoing *doing;		/* of the one that is there */
} Row;

/* Put what the one that is there does, and has done, into columns that are NULL so far. */
static void
set_doing(Datum *values, bool *nulls, ClinicalDoing *doing)
{
	uint32		job = pg_atomic_read_u32(&doing->job);
	uint64		lanes = pg_atomic_read_u64(&doing->lanes);
	int			nlanes = pg_popcount64(lanes);

	memset(nulls, false, 8 * sizeof(bool));
	nulls[0] = job == 0;
	nulls[2] = nlanes != 1;
	values[0] = job == 0 ? (Datum) 0 : CStringGetTextDatum(clinical_jobs[job - 1]->name);
	values[1] = TimestampTzGetDatum((TimestampTz) pg_atomic_read_u64(&doing->since));
	values[2] = Int32GetDatum(nlanes != 1 ? 0 : pg_rightmost_one_pos64(lanes));
	values[3] = Int32GetDatum(nlanes);
	values[4] = Int32GetDatum((int32) pg_atomic_read_u32(&doing->batch));
	values[5] = Int64GetDatum((int64) pg_atomic_read_u64(&doing->done));
	values[6] = Int64GetDatum((int64) pg_atomic_read_u64(&doing->reports));
	values[7] = Int64GetDatum((int64) pg_atomic_read_u64(&doing->failed));
}

/* Put a row into the result. */
static void
put_row(ReturnSetInfo *result, const Row *row)
{
	Datum		values[16] = {0};
	bool		nulls[16];

	memset(nulls, true, sizeof(nulls));
	nulls[0] = nulls[1] = nulls[2] = nulls[5] = false;
	nulls[3] = nulls[4] = row->pid == 0;
	nulls[6] = row->sqlerrcode == 0;
	nulls[15] = !row->first;
	values[0] = DirectFunctionCall1(namein, CStringGetDatum(get_database_name(MyDatabaseId)));
	values[1] = CStringGetTextDatum(state_names[row->state]);
	values[2] = CStringGetTextDatum(row->first ? "first" : "further");
	values[3] = Int32GetDatum(row->pid);
	values[4] = TimestampTzGetDatum(row->started_at);
	values[5] = Int32GetDatum(row->failures);
	values[6] = nulls[6] ? (Datum) 0 : CStringGetTextDatum(unpack_sql_state(row->sqlerrcode));
	if (row->pid != 0)
		set_doing(values + 7, nulls + 7, row->doing);
	values[15] = Int32GetDatum(Max(row->starts - 1, 0));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* The row of the first worker. */
static void
put_first(ReturnSetInfo *result, ClinicalSlot *slot)
{
	Row			row = {
		.state = slot->state, .first = true, .pid = slot->pid, .started_at = slot->started_at,
		.failures = slot->failures, .sqlerrcode = slot->sqlerrcode, .starts = slot->starts, .doing = &slot->doing
	};

	put_row(result, &row);
}

/* The row of a further one. */
static void
put_further(ReturnSetInfo *result, ClinicalWorkerPlace *place)
{
	Row			row = {.state = place->state, .pid = place->pid, .started_at = place->started_at, .doing = &place->doing};

	put_row(result, &row);
}

/* The row of further ones that failed. */
static void
put_failed(ReturnSetInfo *result, const ClinicalFurther *further)
{
	Row			row = {.state = CLINICAL_WORKER_FAILED, .failures = further->failures, .sqlerrcode = further->sqlerrcode};

	put_row(result, &row);
}

/* Copies of this database's slot, and of the places of its further workers; how many, or -1. */
static int
copy_states(ClinicalSlot *copy, ClinicalWorkerPlace *places)
{
	ClinicalSlot *slot;
	int			count = 0;

	LWLockAcquire(clinical_workers_lock, LW_SHARED);
	slot = clinical_slot_find(MyDatabaseId);
	if (slot != NULL)
		*copy = *slot;
	for (int i = 0; i < CLINICAL_MAX_WORKERS && slot != NULL; i++)
	{
		if (clinical_workers->places[i].slot == slot)
			places[count++] = clinical_workers->places[i];
	}
	LWLockRelease(clinical_workers_lock);
	return slot == NULL ? -1 : count;
}

/* SQL: how it is with this database's workers. */
Datum
clinical_worker_states(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ClinicalWorkerPlace places[CLINICAL_MAX_WORKERS];
	ClinicalSlot slot;
	int			count;

	clinical_require_preload();
	InitMaterializedSRF(fcinfo, 0);
	if (clinical_workers == NULL)
		return (Datum) 0;
	count = copy_states(&slot, places);
	if (count < 0)
		return (Datum) 0;

	put_first(result, &slot);
	for (int i = 0; i < count; i++)
		put_further(result, &places[i]);
	/* those that failed are gone, and known together */
	if (slot.further.failures > 0)
		put_failed(result, &slot.further);
	return (Datum) 0;
}

/* Lower a moment that others may lower too, unless it is that early already; true if it was not. */
bool
clinical_lower_moment(pg_atomic_uint64 *moment, TimestampTz value)
{
	uint64		present = pg_atomic_read_u64(moment);

	while ((TimestampTz) present > value)
	{
		if (pg_atomic_compare_exchange_u64(moment, &present, (uint64) value))
			return true;
	}
	return false;
}
