/*-------------------------------------------------------------------------
 *
 * worker_pool.c
 *		Further workers of a database: their places in shared memory, and the
 *		wishes for them.
 *
 * A worker says for how many further ones its database has work.  It wakes those
 * that wait; if too few are there, the wish stands in the database's slot, and
 * the launcher starts what clinical.max_workers allows, or another database can
 * spare (worker_grant.c).  A
 * further worker runs the shared jobs only, and ends when it had nothing to do
 * for a while, or with the first error; nobody starts it again but by a wish.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

#include "worker_slot.h"

/* A wish of this age (ms) is forgotten */
#define WISH_LIFE 1000
/* Who waits for so long (ms) is not needed now */
#define IDLE 1000

ClinicalSlot *clinical_worker_slot = NULL;
ClinicalWorkerPlace *clinical_worker_place = NULL;

/* Begin with all places free. */
void
clinical_places_initialize(ClinicalWorkers *shared)
{
	for (int i = 0; i < CLINICAL_MAX_WORKERS; i++)
	{
		pg_atomic_init_u64(&shared->places[i].asleep, 0);
		pg_atomic_init_u32(&shared->places[i].woken, 0);
		clinical_doing_initialize(&shared->places[i].doing);
	}
	for (int i = 0; i < shared->nslots; i++)
	{
		pg_atomic_init_u32(&shared->slots[i].further.processes, 0);
		pg_atomic_init_u32(&shared->slots[i].further.wish, 0);
		pg_atomic_init_u64(&shared->slots[i].further.wished_at, 0);
	}
}

/* A database gets its slot: it has no further workers.  Under the lock. */
void
clinical_further_initialize(ClinicalFurther *further)
{
	pg_atomic_write_u32(&further->processes, 0);
	pg_atomic_write_u32(&further->wish, 0);
	further->next_start = 0;
	further->failures = 0;
	further->sqlerrcode = 0;
}

/* Does a worker of this database have the place, or is to have it, and stay there? */
static bool
serves(const ClinicalWorkerPlace *place, const ClinicalSlot *slot)
{
	return place->slot == slot && !place->leaving;
}

/* Free a place; who was to come there finds that it is not meant.  Under the lock. */
void
clinical_place_free(ClinicalWorkerPlace *place)
{
	Assert(LWLockHeldByMeInMode(clinical_workers_lock, LW_EXCLUSIVE));
	place->slot = NULL;
	place->state = CLINICAL_WORKER_UNKNOWN;
	place->generation = ++clinical_workers->generation;
	place->pid = 0;
	place->proc = NULL;
	place->leaving = false;
	place->occupied = false;
}

/*
 * Let no process be in a place: tell the one that is there to end (it is alive,
 * since it leaves the place before it ends).  Under the lock.
 */
void
clinical_place_end(ClinicalWorkerPlace *place)
{
	Assert(LWLockHeldByMeInMode(clinical_workers_lock, LW_EXCLUSIVE));
	if (place->pid == 0)
	{
		clinical_place_free(place);
		return;
	}
	place->leaving = true;
	kill(place->pid, SIGTERM);
}

/* Let a further worker end when it has done what it is doing.  Under the lock. */
void
clinical_place_dismiss(ClinicalWorkerPlace *place)
{
	Assert(LWLockHeldByMeInMode(clinical_workers_lock, LW_EXCLUSIVE));
	if (place->pid == 0)
	{
		clinical_place_free(place);
		return;
	}
	place->leaving = true;
	SetLatch(&place->proc->procLatch);
}

/* As clinical_place_end, for all further workers of a database; its wish is forgotten. */
void
clinical_further_end(ClinicalSlot *slot)
{
	for (int i = 0; i < CLINICAL_MAX_WORKERS; i++)
	{
		if (clinical_workers->places[i].slot == slot)
			clinical_place_end(&clinical_workers->places[i]);
	}
	pg_atomic_write_u32(&slot->further.wish, 0);
}

/*
 * A further worker ended by itself, or never began (running_since is 0 then): the
 * next one is not started at once.  What fails at the same time for the same
 * reason counts once.  Under the lock.
 */
void
clinical_further_failed(ClinicalSlot *slot, TimestampTz running_since, int sqlerrcode)
{
	ClinicalFurther *further = &slot->further;
	TimestampTz now = GetCurrentTimestamp();

	Assert(LWLockHeldByMeInMode(clinical_workers_lock, LW_EXCLUSIVE));
	if (now >= further->next_start)
		further->next_start =
			TimestampTzPlusMilliseconds(now, clinical_failed_again(&further->failures, running_since, now));
	further->sqlerrcode = sqlerrcode;
	pg_atomic_write_u32(&further->wish, 0);
}

/* The further workers that a database has, those about to start included.  Under the lock. */
int
clinical_further_count(const ClinicalSlot *slot)
{
	int			count = 0;

	Assert(LWLockHeldByMe(clinical_workers_lock));
	for (int i = 0; i < CLINICAL_MAX_WORKERS; i++)
	{
		if (serves(&clinical_workers->places[i], slot))
			count++;
	}
	return count;
}

/* Those of them that something takes long does not occupy.  Under the lock. */
int
clinical_further_free(const ClinicalSlot *slot)
{
	int			count = 0;

	Assert(LWLockHeldByMe(clinical_workers_lock));
	for (int i = 0; i < CLINICAL_MAX_WORKERS; i++)
	{
		if (serves(&clinical_workers->places[i], slot) && !clinical_workers->places[i].occupied)
			count++;
	}
	return count;
}

/* The pids of a database's further workers, those that leave included, unless NULL; how many. */
int
clinical_further_pids(const ClinicalSlot *slot, pid_t *pids)
{
	int			count = 0;

	Assert(LWLockHeldByMe(clinical_workers_lock));
	for (int i = 0; i < CLINICAL_MAX_WORKERS; i++)
	{
		ClinicalWorkerPlace *place = &clinical_workers->places[i];

		if (place->slot != slot || place->pid == 0)
			continue;
		if (pids != NULL)
			pids[count] = place->pid;
		count++;
	}
	return count;
}

/* Let a database's further workers look whether the extension is still there. */
void
clinical_further_alert(const ClinicalSlot *slot)
{
	Assert(LWLockHeldByMe(clinical_workers_lock));
	for (int i = 0; i < CLINICAL_MAX_WORKERS; i++)
	{
		ClinicalWorkerPlace *place = &clinical_workers->places[i];

		if (place->slot == slot && place->proc != NULL)
			SetLatch(&place->proc->procLatch);
	}
}

/*
 * The further worker that is missed least where another database wishes for one:
 * it waits for work, or its database has most, and more than a few.  NULL: none.
 * Under the lock.
 */
ClinicalWorkerPlace *
clinical_place_to_spare(const ClinicalSlot *wisher, int few, TimestampTz now)
{
	ClinicalWorkerPlace *found = NULL;

	for (int i = 0; i < CLINICAL_MAX_WORKERS; i++)
	{
		ClinicalWorkerPlace *place = &clinical_workers->places[i];
		TimestampTz asleep = (TimestampTz) pg_atomic_read_u64(&place->asleep);
		int			count;

		if (place->slot == NULL || place->slot == wisher || place->leaving)
			continue;
		/* it would not make way before it is through */
		if (place->occupied && wisher != NULL)
			continue;
		if (asleep != 0 && TimestampDifferenceExceeds(asleep, now, IDLE))
			return place;
		count = clinical_further_count(place->slot);
		if (count > few)
		{
			few = count;
			found = place;
		}
	}
	return found;
}

/*
 * All workers in all databases, those about to start, or to start again, included;
 * further ones that are to end, too?  Under the lock.
 */
int
clinical_count_workers(bool with_leaving)
{
	int			count = 0;

	Assert(LWLockHeldByMe(clinical_workers_lock));
	for (int i = 0; i < clinical_workers->nslots; i++)
	{
		const ClinicalSlot *slot = &clinical_workers->slots[i];

		if (OidIsValid(slot->database) &&
			(slot->pid != 0 || slot->state == CLINICAL_WORKER_STARTING ||
			 slot->state == CLINICAL_WORKER_FAILED))
			count++;
	}
	for (int i = 0; i < CLINICAL_MAX_WORKERS; i++)
	{
		if (clinical_workers->places[i].slot != NULL &&
			(with_leaving || !clinical_workers->places[i].leaving))
			count++;
	}
	return count;
}

/* Apart from their number: may another further worker start in this database now? */
bool
clinical_further_may_start(const ClinicalSlot *slot, TimestampTz now)
{
	return slot->state == CLINICAL_WORKER_RUNNING && slot->pid != 0 &&
		slot->dismissed == CLINICAL_WORKER_UNKNOWN && !slot->stopped && slot->holds == 0 &&
		now >= slot->further.next_start && now >= clinical_workers->no_further_before;
}

/* Is there a wish that is not out of date? */
bool
clinical_wish_is_fresh(ClinicalSlot *slot, TimestampTz now)
{
	TimestampTz wished_at = (TimestampTz) pg_atomic_read_u64(&slot->further.wished_at);

	return pg_atomic_read_u32(&slot->further.wish) != 0 &&
		!TimestampDifferenceExceeds(wished_at, now, WISH_LIFE);
}

/* Let a further worker run its jobs once more, unless it is to do so already. */
static void
wake_place(ClinicalWorkerPlace *place)
{
	if (pg_atomic_exchange_u32(&place->woken, 1) == 0 && place->proc != NULL)
		SetLatch(&place->proc->procLatch);
}

/*
 * Wake so many further workers of a database: those that wait, and if they are
 * too few, others, since one that is busy may just have found that there is
 * nothing to do.  Under the lock.
 */
static void
wake_further(const ClinicalSlot *slot, int wanted)
{
	bool		woken[CLINICAL_MAX_WORKERS] = {false};

	for (int round = 0; round < 2; round++)
	{
		for (int i = 0; i < CLINICAL_MAX_WORKERS && wanted > 0; i++)
		{
			ClinicalWorkerPlace *place = &clinical_workers->places[i];

			if (!serves(place, slot) || place == clinical_worker_place || woken[i] || place->occupied ||
				(round == 0 && pg_atomic_read_u64(&place->asleep) == 0))
				continue;
			wake_place(place);
			woken[i] = true;
			wanted--;
		}
	}
}

/*
 * Ask the launcher for what is missing; not if it could do nothing about it, nor
 * if it has been asked.  Under the lock.
 */
static void
wish(ClinicalSlot *slot, uint32 wanted)
{
	TimestampTz now = GetCurrentTimestamp();

	if (pg_atomic_read_u32(&slot->further.wish) >= wanted && clinical_wish_is_fresh(slot, now))
		return;
	if (!clinical_further_may_start(slot, now))
		return;
	if (clinical_count_workers(false) >= clinical_max_workers &&
		clinical_place_to_spare(slot, clinical_further_count(slot) + 1, now) == NULL)
		return;
	pg_atomic_write_u64(&slot->further.wished_at, (uint64) now);
	pg_atomic_write_u32(&slot->further.wish, wanted);
	clinical_launcher_wake();
}

/* In a worker: this database has work for so many further ones now. */
void
clinical_want_workers(int further)
{
	ClinicalSlot *slot = clinical_worker_slot;

	if (slot == NULL || further <= 0)
		return;
	LWLockAcquire(clinical_workers_lock, LW_SHARED);
	wake_further(slot, further);
	if (clinical_further_free(slot) < further)
		wish(slot, (uint32) further);
	LWLockRelease(clinical_workers_lock);
}

/* In a further worker: it does something that takes long, or no longer. */
void
clinical_worker_occupied(bool occupied)
{
	if (clinical_worker_place == NULL)
		return;
	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	clinical_worker_place->occupied = occupied;
	LWLockRelease(clinical_workers_lock);
}

/* The processes that work in this database. */
int
clinical_workers_running(void)
{
	static ClinicalSlot *slot = NULL;

	if (slot == NULL && clinical_workers != NULL)
	{
		LWLockAcquire(clinical_workers_lock, LW_SHARED);
		slot = clinical_slot_find(MyDatabaseId);
		LWLockRelease(clinical_workers_lock);
	}
	/* a database that somebody is in keeps its slot */
	return slot == NULL ? 0 : (int) pg_atomic_read_u32(&slot->further.processes);
}

/* Is this process a worker of any kind? */
bool
clinical_in_worker(void)
{
	return clinical_worker_slot != NULL;
}

/* Is it a further worker? */
bool
clinical_is_further_worker(void)
{
	return clinical_worker_place != NULL;
}

/* A further worker takes its place, unless it is not, or no longer, meant to run. */
bool
clinical_place_attach(ClinicalWorkerPlace *place, const ClinicalSlot *slot, const ClinicalWorkerStart *start)
{
	bool		meant;

	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	meant = place->slot == slot && slot->database == start->database &&
		place->generation == start->generation && place->pid == 0;
	if (meant)
	{
		place->pid = MyProcPid;
		place->proc = MyProc;
		place->started_at = GetCurrentTimestamp();
		clinical_doing_reset(&place->doing);
		pg_atomic_fetch_add_u32(&place->slot->further.processes, 1);
	}
	LWLockRelease(clinical_workers_lock);
	return meant;
}

/* Count a failure, or forget those before; an end on request is neither.  Under the lock. */
static void
note_end(const ClinicalWorkerPlace *place, ClinicalWorkerState end, int sqlerrcode)
{
	ClinicalSlot *slot = place->slot;

	if (end == CLINICAL_WORKER_STOPPED)
	{
		slot->further.failures = 0;
		slot->further.sqlerrcode = 0;
	}
	else if (end == CLINICAL_WORKER_FAILED && !place->leaving && !slot->stopped && slot->holds == 0)
		clinical_further_failed(slot, place->state == CLINICAL_WORKER_RUNNING ? place->started_at : 0,
								sqlerrcode);
}

/*
 * A further worker leaves its place, when it ends for whatever reason: the locks
 * that an error left it may include ours.
 */
void
clinical_place_detach(ClinicalWorkerPlace *place, uint32 generation, ClinicalWorkerState end, int sqlerrcode)
{
	bool		mine;

	LWLockReleaseAll();
	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	mine = place->generation == generation && place->pid == MyProcPid;
	if (mine)
	{
		pg_atomic_fetch_sub_u32(&place->slot->further.processes, 1);
		note_end(place, end, sqlerrcode);
		clinical_place_free(place);
		clinical_launcher_wake();
	}
	LWLockRelease(clinical_workers_lock);
	if (mine)
		ConditionVariableBroadcast(&clinical_workers->ended);
}

/*
 * A further worker had nothing to do for long: may it end?  Not if it was woken
 * meanwhile.  Nobody takes it for one that stays from now on.
 */
bool
clinical_place_give_up(ClinicalWorkerPlace *place)
{
	bool		idle;

	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	idle = pg_atomic_read_u32(&place->woken) == 0;
	if (idle)
		place->leaving = true;
	LWLockRelease(clinical_workers_lock);
	return idle;
}
