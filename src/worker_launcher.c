/*-------------------------------------------------------------------------
 *
 * worker_launcher.c
 *		The launcher: keeps one worker running in each database that has the
 *		extension, and further ones where they are wanted (worker_grant.c).
 *
 * It is connected to no database and reads two shared catalogs.  Whether a
 * database has the extension it cannot see: a worker that it starts there looks,
 * and ends if not; the answer stays in the slot until a backend says that it may
 * have changed.  All its decisions are taken in judge(), slot by slot.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "core.h"
#include "worker_slot.h"

/* The longest time (ms) between two looks at the databases */
#define NAPTIME				60000
/* A worker that was asked for and did not begin within this time (ms) failed */
#define START_TIMEOUT		30000
/* So many workers may be about to start at a time, so that many databases do
 * not fight for few slots of PostgreSQL's; one that is stuck for so long (ms)
 * does not count */
#define MAX_STARTING		3
#define STUCK				5000
/* The server's lack of slots for workers is told once in this time (ms) */
#define COMPLAIN_EVERY		300000

/* How long (ms) to wait for the slot of PostgreSQL's that a further worker leaves */
#define ROOM_DELAY			1000

static ClinicalStart *starts;	/* for each slot */
static TimestampTz no_start_before = 0; /* PostgreSQL had no slot for a worker */
static TimestampTz complained_at = 0;
static bool refusal_told = false;

/* Exit callback: there is no launcher. */
static void
launcher_exit(int code, Datum arg)
{
	LWLockReleaseAll();
	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	if (clinical_workers->launcher == MyProc)
		clinical_workers->launcher = NULL;
	LWLockRelease(clinical_workers_lock);
}

/*
 * Handle signals, join shared memory.  A cancel request has nothing to cancel
 * here.  The exit callback stands before what it undoes is done.
 */
static void
launcher_begin(void)
{
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, SIG_IGN);
	BackgroundWorkerUnblockSignals();
	before_shmem_exit(launcher_exit, (Datum) 0);

	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	clinical_workers->launcher = MyProc;
	LWLockRelease(clinical_workers_lock);

	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("clinical launcher");
	starts = MemoryContextAllocZero(TopMemoryContext,
									clinical_workers->nslots * sizeof(ClinicalStart));
	/* a reload while signals were blocked was missed */
	ConfigReloadPending = true;
}

/* Say once that the workers' role has too many rights. */
static void
tell_refusal(const ClinicalCensus *census)
{
	if (census->role_unsafe && !refusal_told)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("clinical starts no workers while role \"%s\" is a superuser or bypasses row level security",
						CLINICAL_WORKER_ROLE),
				 errhint("Run ALTER ROLE %s NOSUPERUSER NOBYPASSRLS.", CLINICAL_WORKER_ROLE)));
	refusal_told = census->role_unsafe;
}

/*
 * Did a worker, asked for at that time, die before it came, or will it never come?
 * Whoever comes after all is told to end.
 */
bool
clinical_start_failed(const ClinicalStart *start, TimestampTz since, TimestampTz now)
{
	pid_t		pid;

	if (GetBackgroundWorkerPid(start->handle, &pid) == BGWH_STOPPED)
		return true;
	if (!TimestampDifferenceExceeds(since, now, START_TIMEOUT))
		return false;
	TerminateBackgroundWorker(start->handle);
	return true;
}

/*
 * A slot whose worker is to come: did it die before it came, or will it never?
 * Whoever still comes after a failure finds another generation.  Under the lock.
 */
static void
check_start(ClinicalSlot *slot, const ClinicalStart *start, TimestampTz now)
{
	if (start->handle == NULL || start->generation != slot->generation)
	{
		/* asked for by a launcher that died: ask again */
		slot->generation = ++clinical_workers->generation;
		slot->state = CLINICAL_WORKER_UNKNOWN;
		return;
	}
	if (clinical_start_failed(start, slot->started_at, now))
	{
		slot->generation = ++clinical_workers->generation;
		slot->sqlerrcode = 0;
		clinical_slot_failed(slot);
	}
}

/* May a worker be in this slot?  If not: the state that stands for the reason. */
bool
clinical_may_run(const ClinicalSlot *slot, const ClinicalCensus *census, ClinicalWorkerState *otherwise)
{
	*otherwise = CLINICAL_WORKER_STOPPED;
	if (!clinical_workers_on || !OidIsValid(census->role))
		return false;
	if (!list_member_oid(census->served, slot->database))
		return false;
	*otherwise = CLINICAL_WORKER_REFUSED;
	return !census->role_unsafe &&
		(slot->pid == 0 || slot->role == census->role);
}

/* Let no worker be in a slot, for a reason of the launcher's.  Under the lock. */
static void
dismiss(ClinicalSlot *slot, ClinicalWorkerState state)
{
	if (slot->pid != 0 && slot->dismissed != CLINICAL_WORKER_UNKNOWN)
		return;					/* it was told */
	slot->dismissed = state;
	clinical_slot_end_process(slot);
	if (slot->pid == 0 && slot->state != CLINICAL_WORKER_ABSENT)
		slot->state = state;
}

/*
 * What to do about a slot: true if a worker is to be started in it now.  *next
 * becomes the time of the next look, if that is to be earlier.  Under the lock.
 */
static bool
judge(ClinicalSlot *slot, ClinicalStart *start, const ClinicalCensus *census, int nstarting, TimestampTz *next)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz earliest;
	ClinicalWorkerState otherwise;

	if (slot->state == CLINICAL_WORKER_STARTING && slot->pid == 0)
		check_start(slot, start, now);
	if (!clinical_may_run(slot, census, &otherwise))
	{
		dismiss(slot, otherwise);
		return false;
	}
	if (slot->pid != 0 || slot->state == CLINICAL_WORKER_STARTING ||
		slot->state == CLINICAL_WORKER_ABSENT || slot->stopped || slot->holds > 0)
		return false;

	earliest = Max(slot->next_start, no_start_before);
	if (now < earliest)
	{
		*next = Min(*next, earliest);
		return false;
	}
	return nstarting < MAX_STARTING;
}

/* How many slots wait for a worker that may still need its time? */
static int
count_starting(TimestampTz *next)
{
	TimestampTz now = GetCurrentTimestamp();
	int			count = 0;

	LWLockAcquire(clinical_workers_lock, LW_SHARED);
	for (int i = 0; i < clinical_workers->nslots; i++)
	{
		ClinicalSlot *slot = &clinical_workers->slots[i];

		if (OidIsValid(slot->database) && slot->state == CLINICAL_WORKER_STARTING &&
			!TimestampDifferenceExceeds(slot->started_at, now, STUCK))
			count++;
	}
	count += clinical_further_starting(now, STUCK);
	LWLockRelease(clinical_workers_lock);
	if (count > 0)
		*next = Min(*next, TimestampTzPlusMilliseconds(now, STUCK));
	return count;
}

/* Mark a slot as one whose worker is to come.  Under the lock. */
static void
mark_starting(ClinicalSlot *slot, Oid role, ClinicalWorkerStart *meant)
{
	slot->state = CLINICAL_WORKER_STARTING;
	slot->generation = ++clinical_workers->generation;
	slot->dismissed = CLINICAL_WORKER_UNKNOWN;
	slot->started_at = GetCurrentTimestamp();
	meant->database = slot->database;
	meant->role = role;
	meant->generation = slot->generation;
	meant->place = -1;
}

/* Have the server start a worker; false if it has no slot left for one. */
bool
clinical_start_worker(ClinicalStart *start, int slot, const ClinicalWorkerStart *meant)
{
	BackgroundWorker worker;
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	const char *type = meant->place < 0 ? "clinical worker" : "clinical further worker";
	bool		registered;

	memset(&worker, 0, sizeof(worker));
	snprintf(worker.bgw_name, BGW_MAXLEN, "%s for database %u", type, meant->database);
	strlcpy(worker.bgw_type, type, BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "clinical", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "clinical_worker_main", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = Int32GetDatum(slot);
	worker.bgw_notify_pid = MyProcPid;
	StaticAssertStmt(sizeof(*meant) <= BGW_EXTRALEN, "a worker's orders must fit");
	memcpy(worker.bgw_extra, meant, sizeof(*meant));

	if (start->handle != NULL)
		pfree(start->handle);
	start->handle = NULL;
	start->generation = meant->generation;
	registered = RegisterDynamicBackgroundWorker(&worker, &start->handle);
	clinical_workers->lacks_slot = !registered;
	if (!registered)
		start->handle = NULL;
	MemoryContextSwitchTo(old);
	return registered;
}

/* Say now and then that the server has no slot for a worker. */
void
clinical_tell_no_slot(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (complained_at != 0 && !TimestampDifferenceExceeds(complained_at, now, COMPLAIN_EVERY))
		return;
	complained_at = now;
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("the server has no slot left for a background worker of clinical"),
			 errhint("Raise max_worker_processes: clinical takes one, one more for each database that has the extension,"
					 " and further ones while all workers together are fewer than clinical.max_workers, now %d.",
					 clinical_max_workers)));
}

/*
 * The server has no slot for a worker: try again later.  A database without any
 * worker goes before one with several.
 */
static void
out_of_workers(ClinicalSlot *slot, uint32 generation, TimestampTz *next)
{
	TimestampTz now = GetCurrentTimestamp();
	int			delay = clinical_worker_restart_delay;

	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	if (slot->generation == generation)
		slot->state = CLINICAL_WORKER_UNKNOWN;
	if (clinical_make_room())
		delay = Min(delay, ROOM_DELAY);
	no_start_before = TimestampTzPlusMilliseconds(now, delay);
	clinical_workers->no_further_before = TimestampTzPlusMilliseconds(no_start_before, ROOM_DELAY);
	LWLockRelease(clinical_workers_lock);

	*next = Min(*next, no_start_before);
	clinical_tell_no_slot();
}

/* Start, stop or leave what is in a slot. */
static void
serve_slot(int index, const ClinicalCensus *census, int *nstarting, TimestampTz *next)
{
	ClinicalSlot *slot = &clinical_workers->slots[index];
	ClinicalWorkerStart meant;
	bool		start;

	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	start = OidIsValid(slot->database) &&
		judge(slot, &starts[index], census, *nstarting, next);
	if (start)
		mark_starting(slot, census->role, &meant);
	LWLockRelease(clinical_workers_lock);

	if (!start)
		return;
	(*nstarting)++;
	if (!clinical_start_worker(&starts[index], index, &meant))
		out_of_workers(slot, meant.generation, next);
}

/* Read the configuration anew, and try at once what failed: it may be mended. */
static void
reload(void)
{
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	no_start_before = 0;

	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	for (int i = 0; i < clinical_workers->nslots; i++)
	{
		clinical_workers->slots[i].next_start = 0;
		clinical_workers->slots[i].further.next_start = 0;
	}
	clinical_workers->no_further_before = 0;
	LWLockRelease(clinical_workers_lock);
}

/* Look once at all databases; the time (ms) until the next look. */
static long
pass(void)
{
	TimestampTz next = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), NAPTIME);
	ClinicalCensus census;
	int			nstarting;

	do
	{
		CHECK_FOR_INTERRUPTS();
		clinical_take_census(&census);
	} while (!clinical_align_slots(&census));

	tell_refusal(&census);
	nstarting = count_starting(&next);
	for (int i = 0; i < clinical_workers->nslots; i++)
		serve_slot(i, &census, &nstarting, &next);
	/* one start is left to a database that may come */
	clinical_serve_further(&census, MAX_STARTING - 1 - nstarting);
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next);
}

/* Say once what would bring patient data into the log, if it were not kept out. */
static void
warn_of_settings(void)
{
	char	   *settings = clinical_telling_settings();

	if (settings != NULL)
		ereport(WARNING,
				(errmsg("the server logs statements or parameters, which may carry patient data"),
				 errdetail("These settings make it do so: %s.", settings),
				 errhint("In databases with \"clinical\" they are kept out while clinical.log_values is off; elsewhere they are not.")));
}

/* The process: exits 1 when told to end, so that the server starts it again. */
void
clinical_launcher_main(Datum arg)
{
	static uint32 wait_event = 0;
	MemoryContext context;

	launcher_begin();
	warn_of_settings();
	context = AllocSetContextCreate(TopMemoryContext, "clinical launcher", ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		long		timeout;

		if (ConfigReloadPending)
			reload();
		MemoryContextSwitchTo(context);
		timeout = pass();
		MemoryContextReset(context);

		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout,
						 CLINICAL_WAIT_EVENT(wait_event, "ClinicalLauncher"));
		ResetLatch(MyLatch);
		if (ProcDiePending)
			proc_exit(1);		/* without a line in the log at each shutdown */
		CHECK_FOR_INTERRUPTS();
	}
}
