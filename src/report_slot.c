/*-------------------------------------------------------------------------
 *
 * report_slot.c
 *		Which jobs are run by which processes, in shared memory; and how one is
 *		stopped.
 *
 * Who cancels a job writes so into its row, and when that is committed, sends the
 * process that runs it a cancel request: under the lock, and only while the process says
 * that it runs this job.  The process says so before the job can be seen to run, and takes
 * it back, under the lock, before it does anything else, so the request never meets
 * another job or another statement.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "report.h"
#include "worker.h"

/* So many jobs are run at a time in all databases: as many as there may be workers */
#define MAX_RUNS 64

/* A process that runs a job, or is about to look for one */
typedef struct Run
{
	int			pid;			/* 0: none */
	Oid			database;
	bool		named;			/* it has a job */
	bool		ending;			/* which is over, but for what its row says */
	pg_uuid_t	id;
} Run;

/* A job that this transaction cancels, in a subtransaction of this level */
typedef struct Stop
{
	pg_uuid_t	id;
	int			level;
	struct Stop *next;
} Stop;

int			clinical_max_report_workers = 2;
int			clinical_report_parallel_workers = 2;

static Run *runs = NULL;
static LWLock *lock = NULL;
static Run *mine = NULL;
static Stop *stops = NULL;		/* in TopTransactionContext */
static bool asked = false;
static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

/* Hook: ask for shared memory. */
static void
request_shared(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(MAX_RUNS * sizeof(Run));
	RequestNamedLWLockTranche("clinical_report", 1);
}

/* Hook: find it, or make it. */
static void
startup_shared(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	lock = &GetNamedLWLockTranche("clinical_report")[0].lock;
	runs = ShmemInitStruct("clinical reports", MAX_RUNS * sizeof(Run), &found);
	if (!found)
		memset(runs, 0, MAX_RUNS * sizeof(Run));
	LWLockRelease(AddinShmemInitLock);
}

/* How many processes of this database run jobs; under the lock. */
static int
count_runs(void)
{
	int			count = 0;

	for (int i = 0; i < MAX_RUNS; i++)
	{
		if (runs[i].pid != 0 && runs[i].database == MyDatabaseId)
			count++;
	}
	return count;
}

/* The same, for everybody. */
int
clinical_report_slots_taken(void)
{
	int			count;

	LWLockAcquire(lock, LW_SHARED);
	count = count_runs();
	LWLockRelease(lock);
	return count;
}

/* Exit callback: whoever runs a job no longer does. */
static void
leave(int code, Datum arg)
{
	LWLockReleaseAll();
	if (mine == NULL)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	mine->pid = 0;
	LWLockRelease(lock);
	mine = NULL;
}

/* This process wants to run a job: is it one of those that may?  Then it gives that up by clinical_report_slot_free. */
bool
clinical_report_slot_take(void)
{
	static bool registered = false;

	if (!registered)
		before_shmem_exit(leave, (Datum) 0);
	registered = true;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_RUNS && mine == NULL && count_runs() < clinical_max_report_workers; i++)
	{
		if (runs[i].pid == 0)
			mine = &runs[i];
	}
	if (mine != NULL)
	{
		mine->pid = MyProcPid;
		mine->database = MyDatabaseId;
		mine->named = false;
		mine->ending = false;
	}
	LWLockRelease(lock);
	return mine != NULL;
}

/* It is about to run this one. */
void
clinical_report_slot_name(const pg_uuid_t *id)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	mine->id = *id;
	mine->named = true;
	LWLockRelease(lock);
}

/*
 * The job is over, but for what its row says.  Nobody sends a request after that, and
 * one that was sent is delivered at the latest when a system call returns; what it was
 * to cancel is over.
 */
void
clinical_report_slot_end(void)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	mine->ending = true;
	LWLockRelease(lock);
	(void) kill(MyProcPid, 0);
	QueryCancelPending = false;
}

/* This process runs none any more. */
void
clinical_report_slot_free(void)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	mine->pid = 0;
	LWLockRelease(lock);
	mine = NULL;
}

/* Who runs a job of this database; under the lock.  NULL: nobody. */
static Run *
find_run(const pg_uuid_t *id)
{
	for (int i = 0; i < MAX_RUNS; i++)
	{
		if (runs[i].pid != 0 && runs[i].database == MyDatabaseId && runs[i].named &&
			memcmp(&runs[i].id, id, sizeof(*id)) == 0)
			return &runs[i];
	}
	return NULL;
}

/* Does anybody run this job?  Where the library was not preloaded, nobody does. */
bool
clinical_report_is_run(const pg_uuid_t *id)
{
	bool		is;

	if (runs == NULL)
		return false;
	LWLockAcquire(lock, LW_SHARED);
	is = find_run(id) != NULL;
	LWLockRelease(lock);
	return is;
}

/* This transaction cancels a job that is run: when it commits, whoever runs it is told. */
void
clinical_report_stop(const pg_uuid_t *id)
{
	Stop	   *stop = MemoryContextAlloc(TopTransactionContext, sizeof(Stop));

	stop->id = *id;
	stop->level = GetCurrentTransactionNestLevel();
	stop->next = stops;
	stops = stop;
}

/* This transaction asks for a report: when it commits, the worker is told. */
void
clinical_report_asked(void)
{
	asked = true;
}

/* Tell those who run what this transaction has cancelled. */
static void
send_stops(void)
{
	if (stops == NULL || runs == NULL)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (Stop *stop = stops; stop != NULL; stop = stop->next)
	{
		const Run  *run = find_run(&stop->id);

		if (run != NULL && !run->ending)
			(void) kill(run->pid, SIGINT);
	}
	LWLockRelease(lock);
}

/* Callback: the transaction ends.  It is called before the one that wakes the worker. */
static void
transaction_ends(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT)
		send_stops();
	if (event == XACT_EVENT_COMMIT && asked && clinical_backlog() != NULL)
	{
		pg_atomic_write_u32(&clinical_backlog()->jobs_queued, 1);
		pg_atomic_fetch_add_u32(&clinical_backlog()->jobs_asked, 1);
		clinical_wake_worker();
	}
	stops = NULL;
	asked = false;
}

/* Callback: a subtransaction ends; what it cancelled is its parent's, or nobody's. */
static void
subtransaction_ends(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (event == SUBXACT_EVENT_ABORT_SUB && stops != NULL && stops->level >= level)
		stops = stops->next;
	for (Stop *stop = stops; stop != NULL && stop->level >= level; stop = stop->next)
		stop->level = level - 1;
}

/* Define the settings, and listen to the ends of transactions. */
void
clinical_report_slot_init(void)
{
	DefineCustomIntVariable("clinical.max_report_workers",
							"How many jobs that make reports are run at a time in a database.",
							"By further workers, of which clinical.max_workers allows so many. 0: they wait.",
							&clinical_max_report_workers, 2, 0, MAX_RUNS,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("clinical.report_parallel_workers",
							"How many parallel workers a query of such a job may have.",
							"As max_parallel_workers_per_gather, which holds for reports that are made in a session.",
							&clinical_report_parallel_workers, 2, 0, 64,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	RegisterXactCallback(transaction_ends, NULL);
	RegisterSubXactCallback(subtransaction_ends, NULL);
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shared;
}
