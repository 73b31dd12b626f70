/*-------------------------------------------------------------------------
 *
 * core_progress.c
 *		How far a call is that takes long, for others to see.
 *
 * Each session has a place in shared memory of its own, that it and its parallel
 * workers alone write.  It holds numbers only.  Where the library was not preloaded nothing is told.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "core.h"

PG_FUNCTION_INFO_V1(clinical_progress);

/* What a session does; what is of one call is read again if it changes meanwhile */
typedef struct Place
{
	pg_atomic_uint32 changes;	/* odd: it is being changed */
	int			pid;			/* 0: nothing */
	Oid			database;
	ClinicalActivity activity;
	int			phase;
	TimestampTz started_at;
	pg_atomic_uint64 numbers[CLINICAL_PROGRESS_NUMBERS];
} Place;

/* So many numbers has the SQL function */
#define SHOWN_NUMBERS 3

static Place *places = NULL;
static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

/* The size of all places. */
static Size
places_size(void)
{
	return mul_size(MaxBackends, sizeof(Place));
}

/* Hook: ask for shared memory. */
static void
request_shared(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(places_size());
}

/* Hook: find it, or make it. */
static void
startup_shared(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	places = ShmemInitStruct("clinical progress", places_size(), &found);
	if (!found)
		memset(places, 0, places_size());
	for (int i = 0; !found && i < MaxBackends; i++)
	{
		pg_atomic_init_u32(&places[i].changes, 0);
		for (int j = 0; j < CLINICAL_PROGRESS_NUMBERS; j++)
			pg_atomic_init_u64(&places[i].numbers[j], 0);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* Install the hooks, when the library is loaded at server start. */
void
clinical_progress_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shared;
}

/* The place of a session; NULL: none. */
static Place *
place_of(const PGPROC *proc)
{
	ptrdiff_t	number = proc - ProcGlobal->allProcs;

	return places != NULL && number < MaxBackends ? &places[number] : NULL;
}

/* The place of this session; NULL: none. */
static Place *
own_place(void)
{
	return place_of(MyProc);
}

/* Begin to change the place, or end. */
static void
change(Place *place)
{
	pg_write_barrier();
	pg_atomic_fetch_add_u32(&place->changes, 1);
	pg_write_barrier();
}

/* A call begins that takes long. */
void
clinical_progress_begin(ClinicalActivity activity)
{
	Place	   *place = own_place();

	if (place == NULL)
		return;
	change(place);
	place->pid = MyProcPid;
	place->database = MyDatabaseId;
	place->activity = activity;
	place->phase = 0;
	place->started_at = GetCurrentTimestamp();
	for (int i = 0; i < CLINICAL_PROGRESS_NUMBERS; i++)
		pg_atomic_write_u64(&place->numbers[i], 0);
	change(place);
}

/* It is in its next phase. */
void
clinical_progress_phase(int phase)
{
	Place	   *place = own_place();

	if (place != NULL)
		place->phase = phase;
}

/* One of its numbers is now that. */
void
clinical_progress_set(int number, uint64 value)
{
	Place	   *place = own_place();

	if (place != NULL)
		pg_atomic_write_u64(&place->numbers[number], value);
}

/*
 * One of its numbers becomes so much larger; what a parallel worker does counts
 * for the session that it works for.
 */
void
clinical_progress_add(ClinicalActivity activity, int number, uint64 value)
{
	PGPROC	   *leader = MyProc->lockGroupLeader;
	Place	   *place = place_of(leader == NULL ? MyProc : leader);

	if (place != NULL && place->pid != 0 && place->activity == activity && place->database == MyDatabaseId)
		pg_atomic_fetch_add_u64(&place->numbers[number], (int64) value);
}

/* One of its numbers, as this session left it. */
uint64
clinical_progress_get(int number)
{
	Place	   *place = own_place();

	return place == NULL ? 0 : pg_atomic_read_u64(&place->numbers[number]);
}

/* It ends, well or not. */
void
clinical_progress_end(void)
{
	Place	   *place = own_place();

	if (place == NULL)
		return;
	change(place);
	place->pid = 0;
	change(place);
}

/* Read a place; false if nothing is going on there. */
static bool
read_place(Place *place, Place *copy)
{
	uint32		before;

	do
	{
		CHECK_FOR_INTERRUPTS();
		before = pg_atomic_read_u32(&place->changes);
		pg_read_barrier();
		*copy = *place;
		pg_read_barrier();
	} while (before % 2 != 0 || before != pg_atomic_read_u32(&place->changes));
	/* a process that was killed ends nothing */
	return copy->pid != 0 && copy->database == MyDatabaseId && BackendPidGetProc(copy->pid) != NULL;
}

/* What a place says, for others. */
static void
give_out(Place *place, ClinicalProgress *found)
{
	found->pid = place->pid;
	found->phase = place->phase;
	found->started_at = place->started_at;
	for (int i = 0; i < CLINICAL_PROGRESS_NUMBERS; i++)
		found->numbers[i] = pg_atomic_read_u64(&place->numbers[i]);
}

/* The next session, from a number on, that does such a thing in this database; false: no more. */
bool
clinical_progress_next(int *number, ClinicalActivity activity, ClinicalProgress *found)
{
	while (places != NULL && *number < MaxBackends)
	{
		Place		place;

		if (!read_place(&places[(*number)++], &place) || place.activity != activity)
			continue;
		give_out(&place, found);
		return true;
	}
	return false;
}

/* What this session itself does, if it is such a thing. */
bool
clinical_progress_own(ClinicalActivity activity, ClinicalProgress *found)
{
	Place	   *place = own_place();

	if (place == NULL || place->pid == 0 || place->activity != activity)
		return false;
	give_out(place, found);
	return true;
}

/* SQL: what sessions in this database do that takes long, but for reports, which have a function of their own. */
Datum
clinical_progress(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ClinicalProgress progress;
	int			number = 0;

	InitMaterializedSRF(fcinfo, 0);
	while (clinical_progress_next(&number, CLINICAL_BACKTEST, &progress))
	{
		Datum		values[4 + SHOWN_NUMBERS];
		bool		nulls[4 + SHOWN_NUMBERS] = {false};

		values[0] = Int32GetDatum(progress.pid);
		values[1] = Int32GetDatum(CLINICAL_BACKTEST);
		values[2] = Int32GetDatum(progress.phase);
		values[3] = TimestampTzGetDatum(progress.started_at);
		for (int j = 0; j < SHOWN_NUMBERS; j++)
			values[4 + j] = Int64GetDatum((int64) progress.numbers[j]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
