/*-------------------------------------------------------------------------
 *
 * worker_slot.c
 *		The workers' slots in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/transam.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "storage/block.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "worker_slot.h"

/* A worker that ran for so long (ms) had no trouble in starting */
#define RAN_WELL			60000
/* The longest wait (ms) between two starts, and the one after a first failure */
#define MAX_RESTART_DELAY	300000
#define FIRST_RESTART_DELAY 1000

ClinicalWorkers *clinical_workers = NULL;
LWLock	   *clinical_workers_lock = NULL;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

/* Where this process last found its database's slot */
static int	last_found = 0;

/* The size of what is shared. */
static Size
shared_size(void)
{
	return add_size(offsetof(ClinicalWorkers, slots),
					mul_size(clinical_max_databases, sizeof(ClinicalSlot)));
}

/* Hook: ask for shared memory. */
static void
request_shared(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(MAXALIGN(shared_size()));
	RequestNamedLWLockTranche("clinical_worker", 1);
}

/* Begin with a backlog that nobody has counted. */
static void
initialize_backlog(ClinicalBacklog *backlog)
{
	pg_atomic_init_u64(&backlog->count, 0);
	pg_atomic_init_u32(&backlog->counted, 0);
	pg_atomic_init_u64(&backlog->counted_at, 0);
	pg_atomic_init_u32(&backlog->recount, 0);
	pg_atomic_init_u32(&backlog->current, 0);
	pg_atomic_init_u32(&backlog->careful, 0);
	pg_atomic_init_u64(&backlog->retry_due, 0);
	pg_atomic_init_u64(&backlog->escalate_due, 0);
	for (int i = 0; i < CLINICAL_LANES; i++)
	{
		pg_atomic_init_u32(&backlog->waiting[i], 0);
		pg_atomic_init_u64(&backlog->oldest[i], 0);
	}
	for (int i = 0; i < CLINICAL_STAGES; i++)
	{
		pg_atomic_init_u32(&backlog->turn[i], 0);
		pg_atomic_init_u32(&backlog->rows[i], 0);
		pg_atomic_init_u32(&backlog->last_xid[i], InvalidTransactionId);
		for (int j = 0; j < CLINICAL_LANES; j++)
			pg_atomic_init_u32(&backlog->low[i][j], InvalidBlockNumber);
	}
	for (int i = 0; i < CLINICAL_MAX_QUOTAS; i++)
	{
		pg_atomic_init_u64(&backlog->quota_project[i], 0);
		pg_atomic_init_u32(&backlog->quota_count[i], 0);
	}
	for (int i = 0; i < (int) lengthof(backlog->full); i++)
		pg_atomic_init_u32(&backlog->full[i].state, 0);
	pg_atomic_init_u32(&backlog->jobs_asked, 0);
	pg_atomic_init_u32(&backlog->jobs_queued, 0);
	pg_atomic_init_u64(&backlog->jobs_stuck, 0);
}

/* Did the server crash, this time or before it was started? */
static bool
was_not_shut_down(void)
{
	bool		intact;
	ControlFileData *control = get_controlfile(DataDir, &intact);

	return control->state != DB_SHUTDOWNED && control->state != DB_SHUTDOWNED_IN_RECOVERY;
}

/* Begin with no launcher and no slot in use. */
static void
initialize_shared(ClinicalWorkers *shared)
{
	memset(shared, 0, shared_size());
	ConditionVariableInit(&shared->ended);
	shared->nslots = clinical_max_databases;
	shared->crashed = was_not_shut_down();
	clinical_places_initialize(shared);
	for (int i = 0; i < shared->nslots; i++)
	{
		pg_atomic_init_u32(&shared->slots[i].woken, 0);
		clinical_doing_initialize(&shared->slots[i].doing);
		initialize_backlog(&shared->slots[i].backlog);
	}
}

/* Hook: find it, or make it; again after a crash, when it begins anew. */
static void
startup_shared(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	clinical_workers = NULL;
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	clinical_workers_lock = &GetNamedLWLockTranche("clinical_worker")[0].lock;
	clinical_workers = ShmemInitStruct("clinical workers", shared_size(), &found);
	if (!found)
		initialize_shared(clinical_workers);
	LWLockRelease(AddinShmemInitLock);
}

/* Did the server crash before shared memory was made? */
bool
clinical_server_crashed(void)
{
	return clinical_workers != NULL && clinical_workers->crashed;
}

/* Install the hooks, when the library is loaded at server start. */
void
clinical_slots_init(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shared;
}

/* The slot of a database, or NULL.  Under the lock. */
ClinicalSlot *
clinical_slot_find(Oid database)
{
	ClinicalSlot *slots = clinical_workers->slots;

	Assert(LWLockHeldByMe(clinical_workers_lock));
	if (slots[last_found].database == database)
		return &slots[last_found];
	for (int i = 0; i < clinical_workers->nslots; i++)
	{
		if (slots[i].database == database)
		{
			last_found = i;
			return &slots[i];
		}
	}
	return NULL;
}

/*
 * The slot of a database, made if there is none yet, or NULL if all are taken.
 * Under the lock.  Who reads without it sees the database last.
 */
ClinicalSlot *
clinical_slot_make(Oid database)
{
	ClinicalSlot *slot = clinical_slot_find(database);

	if (slot != NULL)
		return slot;
	slot = clinical_slot_find(InvalidOid);
	if (slot == NULL)
		return NULL;

	slot->state = CLINICAL_WORKER_UNKNOWN;
	slot->generation = ++clinical_workers->generation;
	slot->stopped = false;
	slot->holds = 0;
	slot->dismissed = CLINICAL_WORKER_UNKNOWN;
	slot->started_at = 0;
	slot->next_start = 0;
	slot->failures = 0;
	slot->sqlerrcode = 0;
	slot->starts = 0;
	clinical_further_initialize(&slot->further);
	pg_atomic_write_u32(&slot->backlog.counted, 0);
	pg_write_barrier();
	slot->database = database;
	return slot;
}

/* What is counted for this database; NULL if there is no slot for it. */
ClinicalBacklog *
clinical_backlog(void)
{
	static ClinicalBacklog *backlog = NULL;
	ClinicalSlot *slot;

	if (backlog != NULL || clinical_workers == NULL)
		return backlog;
	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	slot = clinical_slot_make(MyDatabaseId);
	LWLockRelease(clinical_workers_lock);
	/* a database that somebody is in keeps its slot */
	if (slot != NULL)
		backlog = &slot->backlog;
	return backlog;
}

/* Is there no process of a database, be it its first worker or a further one?  Under the lock. */
bool
clinical_slot_is_empty(const ClinicalSlot *slot)
{
	return slot->pid == 0 && clinical_further_pids(slot, NULL) == 0;
}

/*
 * Give up the slot of a database that is no more.  Further workers that are still
 * to come find that they are not meant.  Under the lock.
 */
void
clinical_slot_free(ClinicalSlot *slot)
{
	Assert(LWLockHeldByMeInMode(clinical_workers_lock, LW_EXCLUSIVE));
	Assert(clinical_slot_is_empty(slot) && slot->holds == 0);
	clinical_further_end(slot);
	slot->database = InvalidOid;
	slot->generation = ++clinical_workers->generation;
	clinical_workers->dropped++;
}

/* How long (ms) to wait after so many failures in a row. */
static int
restart_delay(int failures)
{
	int			delay = clinical_worker_restart_delay;

	if (failures <= 1)
		return Min(delay, FIRST_RESTART_DELAY);
	for (int i = 2; i < failures && delay < MAX_RESTART_DELAY; i++)
		delay *= 2;
	return Min(delay, MAX_RESTART_DELAY);
}

/* Count a failure of a worker (that ran since then, or 0); how long (ms) to wait now. */
int
clinical_failed_again(int *failures, TimestampTz running_since, TimestampTz now)
{
	if (running_since != 0 && TimestampDifferenceExceeds(running_since, now, RAN_WELL))
		*failures = 0;
	return restart_delay(++*failures);
}

/* The worker ended by itself, or never began: when to try again.  Under the lock. */
void
clinical_slot_failed(ClinicalSlot *slot)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz running_since = slot->state == CLINICAL_WORKER_RUNNING ? slot->started_at : 0;

	Assert(LWLockHeldByMeInMode(clinical_workers_lock, LW_EXCLUSIVE));
	slot->next_start = TimestampTzPlusMilliseconds(now, clinical_failed_again(&slot->failures, running_since, now));
	slot->state = CLINICAL_WORKER_FAILED;
}

/*
 * Let no process be in a slot: tell the one that is there to end (it is alive,
 * since it leaves the slot before it ends), and one that is still to come that
 * it is not meant.  The same for the database's further workers.  Under the lock.
 */
void
clinical_slot_end_process(ClinicalSlot *slot)
{
	Assert(LWLockHeldByMeInMode(clinical_workers_lock, LW_EXCLUSIVE));
	if (slot->pid != 0)
		kill(slot->pid, SIGTERM);
	else if (slot->state == CLINICAL_WORKER_STARTING)
	{
		slot->generation = ++clinical_workers->generation;
		slot->state = CLINICAL_WORKER_STOPPED;
	}
	clinical_further_end(slot);
}

/* A worker takes its slot, unless it is not, or no longer, meant to run. */
bool
clinical_slot_attach(ClinicalSlot *slot, const ClinicalWorkerStart *start)
{
	bool		meant;

	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	meant = slot->database == start->database && slot->generation == start->generation &&
		slot->state == CLINICAL_WORKER_STARTING && slot->pid == 0;
	if (meant)
	{
		slot->pid = MyProcPid;
		slot->proc = MyProc;
		slot->role = start->role;
		slot->started_at = GetCurrentTimestamp();
		slot->starts++;
		clinical_doing_reset(&slot->doing);
		pg_atomic_fetch_add_u32(&slot->further.processes, 1);
	}
	LWLockRelease(clinical_workers_lock);
	return meant;
}

/* The state that a slot is left in by a process that ends in this one. */
static void
set_end_state(ClinicalSlot *slot, ClinicalWorkerState end, uint32 asks)
{
	if (end == CLINICAL_WORKER_ABSENT)
	{
		slot->failures = 0;
		/* an answer to an older question is none */
		slot->state = asks == slot->asks ? CLINICAL_WORKER_ABSENT : CLINICAL_WORKER_UNKNOWN;
	}
	else if (slot->dismissed != CLINICAL_WORKER_UNKNOWN)
		slot->state = slot->dismissed;
	else if (slot->stopped || slot->holds > 0)
		slot->state = CLINICAL_WORKER_STOPPED;
	else
	{
		clinical_slot_failed(slot);
		if (end == CLINICAL_WORKER_REFUSED)
			slot->state = end;
	}
}

/*
 * A worker leaves its slot, when it ends for whatever reason: the locks that an
 * error left it may include ours.
 */
void
clinical_slot_detach(ClinicalSlot *slot, uint32 generation,
					 ClinicalWorkerState end, int sqlerrcode, uint32 asks)
{
	bool		mine;

	LWLockReleaseAll();
	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	mine = slot->generation == generation && slot->pid == MyProcPid;
	if (mine)
	{
		slot->pid = 0;
		slot->proc = NULL;
		pg_atomic_fetch_sub_u32(&slot->further.processes, 1);
		set_end_state(slot, end, asks);
		if (slot->state == CLINICAL_WORKER_FAILED)
			slot->sqlerrcode = sqlerrcode;
		clinical_launcher_wake();
	}
	LWLockRelease(clinical_workers_lock);
	if (mine)
		ConditionVariableBroadcast(&clinical_workers->ended);
}

/* Let the launcher look at all databases now.  Under the lock, shared or not. */
void
clinical_launcher_wake(void)
{
	Assert(LWLockHeldByMe(clinical_workers_lock));
	if (clinical_workers->launcher != NULL)
		SetLatch(&clinical_workers->launcher->procLatch);
}

/* The pids of the database's workers, first and further, and how many there are. */
static int
worker_pids(Oid database, pid_t *pids)
{
	ClinicalSlot *slot;
	int			count = 0;

	LWLockAcquire(clinical_workers_lock, LW_SHARED);
	slot = clinical_slot_find(database);
	if (slot != NULL && slot->pid != 0)
		pids[count++] = slot->pid;
	if (slot != NULL)
		count += clinical_further_pids(slot, pids + count);
	LWLockRelease(clinical_workers_lock);
	return count;
}

/* Is one of these processes still there? */
static bool
any_alive(const pid_t *pids, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (BackendPidGetProc(pids[i]) != NULL)
			return true;
	}
	return false;
}

/*
 * Wait until the database's workers, told to end, are gone; for so many
 * milliseconds at most.  Gone is more than out of slot or place: PostgreSQL must
 * not count them among the database's sessions any more.
 */
bool
clinical_wait_ended(Oid database, int timeout)
{
	static uint32 wait_event = 0;
	pid_t		pids[CLINICAL_MAX_WORKERS + 1];
	pid_t		left[CLINICAL_MAX_WORKERS + 1];
	int			count = worker_pids(database, pids);
	TimestampTz start = GetCurrentTimestamp();

	ConditionVariablePrepareToSleep(&clinical_workers->ended);
	while (count > 0 && (worker_pids(database, left) > 0 || any_alive(pids, count)))
	{
		if (TimestampDifferenceExceeds(start, GetCurrentTimestamp(), timeout))
			break;
		(void) ConditionVariableTimedSleep(&clinical_workers->ended, 10,
										   CLINICAL_WAIT_EVENT(wait_event, "ClinicalWorkerStop"));
	}
	ConditionVariableCancelSleep();
	return worker_pids(database, left) == 0;
}
