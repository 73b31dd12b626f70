/*-------------------------------------------------------------------------
 *
 * worker_grant.c
 *		What the launcher does about further workers: it starts those that are
 *		wished for, shared out between the databases, and ends surplus ones.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "worker_slot.h"

static ClinicalStart starts[CLINICAL_MAX_WORKERS];	/* for each place */
static int	turn = 0;			/* the slot that may wish first */

/*
 * A place whose worker is to come: did it die before it came, or will it never?
 * What a launcher asked for that died is not known to this one: others may come.
 * Under the lock.
 */
static void
check_place(ClinicalWorkerPlace *place, const ClinicalStart *start, TimestampTz now)
{
	bool		ours = start->handle != NULL && start->generation == place->generation;

	if (ours && !clinical_start_failed(start, place->started_at, now))
		return;
	if (ours)
		clinical_further_failed(place->slot, 0, 0);
	clinical_place_free(place);
}

/* Free the places of those who never came, and end who may not be there.  Under the lock. */
static void
check_places(const ClinicalCensus *census)
{
	TimestampTz now = GetCurrentTimestamp();
	ClinicalWorkerState otherwise;

	for (int i = 0; i < CLINICAL_MAX_WORKERS; i++)
	{
		ClinicalWorkerPlace *place = &clinical_workers->places[i];

		if (place->slot != NULL && place->pid == 0)
			check_place(place, &starts[i], now);
		if (place->slot != NULL && !place->leaving &&
			(place->role != census->role || !clinical_may_run(place->slot, census, &otherwise)))
			clinical_place_end(place);
	}
}

/* How many further workers are about to start and may still need their time?  Under the lock. */
int
clinical_further_starting(TimestampTz now, int stuck)
{
	int			count = 0;

	for (int i = 0; i < CLINICAL_MAX_WORKERS; i++)
	{
		const ClinicalWorkerPlace *place = &clinical_workers->places[i];

		if (place->slot != NULL && place->state == CLINICAL_WORKER_STARTING &&
			!TimestampDifferenceExceeds(place->started_at, now, stuck))
			count++;
	}
	return count;
}

/* Workers that work: first ones, and further ones that are to stay.  Under the lock. */
static int
count_working(void)
{
	int			count = 0;

	for (int i = 0; i < clinical_workers->nslots; i++)
	{
		const ClinicalSlot *slot = &clinical_workers->slots[i];

		if (OidIsValid(slot->database) && slot->state == CLINICAL_WORKER_RUNNING)
			count++;
	}
	for (int i = 0; i < CLINICAL_MAX_WORKERS; i++)
	{
		if (clinical_workers->places[i].slot != NULL && !clinical_workers->places[i].leaving)
			count++;
	}
	return count;
}

/* End what is more than clinical.max_workers.  Under the lock. */
static void
end_surplus(void)
{
	for (int surplus = count_working() - clinical_max_workers; surplus > 0; surplus--)
	{
		ClinicalWorkerPlace *place = clinical_place_to_spare(NULL, 0, GetCurrentTimestamp());

		if (place == NULL)
			break;
		clinical_place_dismiss(place);
	}
}

/*
 * A first worker finds no slot of PostgreSQL's: let a further one make room.  Is
 * any about to end now?  Under the lock.
 */
bool
clinical_make_room(void)
{
	ClinicalWorkerPlace *place;

	for (int i = 0; i < CLINICAL_MAX_WORKERS; i++)
	{
		if (clinical_workers->places[i].slot != NULL && clinical_workers->places[i].leaving)
			return true;
	}
	place = clinical_place_to_spare(NULL, 0, GetCurrentTimestamp());
	if (place != NULL)
		clinical_place_dismiss(place);
	return place != NULL;
}

/* Is a database's wish for more further workers to be fulfilled?  If not, it is forgotten. */
static bool
wants_more(ClinicalSlot *slot, const ClinicalCensus *census, TimestampTz now)
{
	ClinicalWorkerState otherwise;

	if (!OidIsValid(slot->database) || pg_atomic_read_u32(&slot->further.wish) == 0)
		return false;
	if (clinical_wish_is_fresh(slot, now) && clinical_further_may_start(slot, now) &&
		clinical_may_run(slot, census, &otherwise) &&
		clinical_further_free(slot) < (int) pg_atomic_read_u32(&slot->further.wish))
		return true;
	pg_atomic_write_u32(&slot->further.wish, 0);
	return false;
}

/*
 * The slot whose wish is to be fulfilled next, or -1: of the databases that have
 * fewest further workers, the next in turn.  Under the lock.
 */
static int
next_wish(const ClinicalCensus *census, TimestampTz now)
{
	int			found = -1;
	int			fewest = CLINICAL_MAX_WORKERS;

	for (int i = 0; i < clinical_workers->nslots; i++)
	{
		int			index = (turn + i) % clinical_workers->nslots;
		ClinicalSlot *slot = &clinical_workers->slots[index];

		if (wants_more(slot, census, now) && clinical_further_count(slot) < fewest)
		{
			found = index;
			fewest = clinical_further_count(slot);
		}
	}
	if (found >= 0)
		turn = (found + 1) % clinical_workers->nslots;
	return found;
}

/*
 * There are as many workers as there may be: if another database can spare one
 * for that slot, let it end.  The wish waits for it.  Under the lock.
 */
static void
make_way(int index, TimestampTz now)
{
	const ClinicalSlot *slot = &clinical_workers->slots[index];
	ClinicalWorkerPlace *place = clinical_place_to_spare(slot, clinical_further_count(slot) + 1, now);

	if (place != NULL)
		clinical_place_dismiss(place);
}

/* Mark a free place as one whose worker is to come; false if none is free.  Under the lock. */
static bool
take_place(ClinicalSlot *slot, Oid role, ClinicalWorkerStart *meant)
{
	int			index = 0;
	ClinicalWorkerPlace *place = clinical_workers->places;

	while (index < CLINICAL_MAX_WORKERS && place[index].slot != NULL)
		index++;
	if (index == CLINICAL_MAX_WORKERS)
		return false;
	place += index;
	place->slot = slot;
	place->state = CLINICAL_WORKER_STARTING;
	place->generation = ++clinical_workers->generation;
	place->role = role;
	place->started_at = GetCurrentTimestamp();
	pg_atomic_write_u64(&place->asleep, 0);
	pg_atomic_write_u32(&place->woken, 0);
	meant->database = slot->database;
	meant->role = role;
	meant->generation = place->generation;
	meant->place = index;
	return true;
}

/* The slot whose database gets one further worker now, and its orders; -1 if none does. */
static int
grant(const ClinicalCensus *census, ClinicalWorkerStart *meant)
{
	TimestampTz now = GetCurrentTimestamp();
	int			index;

	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	index = next_wish(census, now);
	if (index >= 0 && clinical_count_workers(true) >= clinical_max_workers)
	{
		/* unless one is about to end already */
		if (clinical_count_workers(false) >= clinical_max_workers)
			make_way(index, now);
		index = -1;
	}
	if (index >= 0 && !take_place(&clinical_workers->slots[index], census->role, meant))
		index = -1;
	LWLockRelease(clinical_workers_lock);
	return index;
}

/*
 * The server has no slot for a further worker, and none is asked for again for a
 * while.
 */
static void
out_of_further(const ClinicalWorkerStart *meant)
{
	ClinicalWorkerPlace *place = &clinical_workers->places[meant->place];
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	if (place->generation == meant->generation)
		clinical_place_free(place);
	clinical_workers->no_further_before =
		TimestampTzPlusMilliseconds(now, Max(clinical_worker_restart_delay, 1000));
	LWLockRelease(clinical_workers_lock);
	clinical_tell_no_slot();
}

/* Look once at all places, and start so many further workers at most. */
void
clinical_serve_further(const ClinicalCensus *census, int may_start)
{
	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	check_places(census);
	end_surplus();
	LWLockRelease(clinical_workers_lock);

	for (; may_start > 0; may_start--)
	{
		ClinicalWorkerStart meant;
		int			slot = grant(census, &meant);

		if (slot < 0)
			break;
		if (!clinical_start_worker(&starts[meant.place], slot, &meant))
		{
			out_of_further(&meant);
			break;
		}
	}
}
