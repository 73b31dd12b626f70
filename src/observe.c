/*-------------------------------------------------------------------------
 *
 * observe.c
 *		What is counted of each database: where in shared memory, and from when
 *		on.
 *
 * There is an entry for each database in which somebody has counted or asked,
 * up to clinical.max_databases.  A session looks its entry up once: a database
 * that somebody is in keeps it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/inval.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "core.h"
#include "observe_entry.h"

PG_FUNCTION_INFO_V1(clinical_stat_reset);

LWLock	   *clinical_entries_lock = NULL;

static ClinicalEntries *shared = NULL;
static const int *max_entries;
static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

/* The size of what is shared. */
static Size
shared_size(void)
{
	return add_size(offsetof(ClinicalEntries, entries), mul_size(*max_entries, sizeof(ClinicalEntry)));
}

/* Hook: ask for shared memory. */
static void
request_shared(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(MAXALIGN(shared_size()));
	RequestNamedLWLockTranche("clinical_observe", 1);
}

/* Begin with no entry in use. */
static void
initialize_shared(void)
{
	memset(shared, 0, shared_size());
	shared->nentries = *max_entries;
	for (int i = 0; i < shared->nentries; i++)
	{
		pg_atomic_uint64 *numbers = (pg_atomic_uint64 *) &shared->entries[i].numbers;

		for (int j = 0; j < CLINICAL_NNUMBERS; j++)
			pg_atomic_init_u64(&numbers[j], 0);
	}
}

/* Callback: the server ends; if in order, the numbers are kept. */
static void
server_ends(int code, Datum arg)
{
	if (code == 0 && shared != NULL)
		clinical_entries_save(shared);
}

/* Hook: find it, or make it; again after a crash, when it begins anew. */
static void
startup_shared(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	shared = NULL;
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	clinical_entries_lock = &GetNamedLWLockTranche("clinical_observe")[0].lock;
	shared = ShmemInitStruct("clinical counters", shared_size(), &found);
	if (!found)
		initialize_shared();
	LWLockRelease(AddinShmemInitLock);
	if (!IsUnderPostmaster)
		on_shmem_exit(server_ends, (Datum) 0);
	if (!found)
		clinical_entries_load(shared);
}

/* Install the hooks, when the library is loaded at server start. */
void
clinical_observe_init(const int *max_databases)
{
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	max_entries = max_databases;
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shared;
}

/*
 * Set all numbers to zero but what they are of.  QUEUED is counted without the
 * lock: what it was is given back.  Under the lock, exclusive.
 */
static uint64
set_to_zero(ClinicalNumbers *numbers)
{
	uint64		staging = pg_atomic_read_u64(&numbers->staging);
	uint64		queued = pg_atomic_exchange_u64(&numbers->total[CLINICAL_COUNT_QUEUED], 0);
	pg_atomic_uint64 *all = (pg_atomic_uint64 *) numbers;

	Assert(LWLockHeldByMeInMode(clinical_entries_lock, LW_EXCLUSIVE));
	for (int i = 0; i < CLINICAL_NNUMBERS; i++)
	{
		if (&all[i] != &numbers->total[CLINICAL_COUNT_QUEUED])
			pg_atomic_write_u64(&all[i], 0);
	}
	pg_atomic_write_u64(&numbers->staging, staging);
	pg_atomic_write_u64(&numbers->reset_at, (uint64) GetCurrentTimestamp());
	return queued;
}

/* How many of the reports that were put into staging are out of it, by what became of them. */
static int64
decided(ClinicalNumbers *numbers)
{
	return (int64) (pg_atomic_read_u64(&numbers->total[CLINICAL_COUNT_ACCEPTED]) +
					pg_atomic_read_u64(&numbers->total[CLINICAL_COUNT_DUPLICATE]) +
					pg_atomic_read_u64(&numbers->total[CLINICAL_COUNT_CONFLICT]) +
					pg_atomic_read_u64(&numbers->total[CLINICAL_COUNT_QUARANTINED]) -
					pg_atomic_read_u64(&numbers->total[CLINICAL_COUNT_KEPT]));
}

/* What was put back from quarantine, less what is out of staging again. */
static int64
put_back(ClinicalNumbers *numbers)
{
	return (int64) pg_atomic_read_u64(&numbers->total[CLINICAL_COUNT_REQUEUED]) - decided(numbers);
}

/*
 * Set the numbers of a database back.  What waits in staging then follows from
 * them, so that they add up afterwards, too.  Under the lock, exclusive.
 */
static void
reset(ClinicalNumbers *numbers)
{
	int64		backlog = (int64) pg_atomic_read_u64(&numbers->backlog_at_reset) + put_back(numbers);

	backlog += (int64) set_to_zero(numbers);
	/* called by the install script: whatever was here is gone */
	if (creating_extension)
	{
		pg_atomic_write_u64(&numbers->staging, 0);
		backlog = 0;
	}
	pg_atomic_write_u64(&numbers->backlog_at_reset, (uint64) backlog);
}

/* The entry of a database; InvalidOid: one that is free.  Under the lock. */
static ClinicalEntry *
find_entry(Oid database)
{
	for (int i = 0; i < shared->nentries; i++)
	{
		if (shared->entries[i].database == database)
			return &shared->entries[i];
	}
	return NULL;
}

/* Let a free entry, or one of a database that is no more, be of this one.  Under the lock, exclusive. */
static void
take_entry(ClinicalEntry *entry)
{
	pg_atomic_write_u64(&entry->numbers.staging, 0);
	(void) set_to_zero(&entry->numbers);
	entry->database = MyDatabaseId;
}

/* Is a database gone? */
static bool
is_gone(Oid database)
{
	return !SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database));
}

/* All entries are taken: find one of a database that is gone; NULL: there is none.  In a transaction. */
static ClinicalEntry *
take_over(void)
{
	ClinicalEntry *taken = NULL;

	AcceptInvalidationMessages();
	for (int i = 0; i < shared->nentries && taken == NULL; i++)
	{
		ClinicalEntry *entry = &shared->entries[i];
		Oid			database = entry->database;

		if (!is_gone(database))
			continue;
		LWLockAcquire(clinical_entries_lock, LW_EXCLUSIVE);
		taken = find_entry(MyDatabaseId);
		if (taken == NULL && entry->database == database)
		{
			take_entry(entry);
			taken = entry;
		}
		LWLockRelease(clinical_entries_lock);
	}
	return taken;
}

/*
 * This database's entry; NULL: there is none, and nothing is counted.  Where there
 * is none a statement looks for one once: not for each number, nor again where it
 * fails, when catalogs are not to be read any more.
 */
ClinicalEntry *
clinical_entry(void)
{
	static ClinicalEntry *entry = NULL;
	static TimestampTz in_vain = 0;

	if (likely(entry != NULL) || shared == NULL || !OidIsValid(MyDatabaseId))
		return entry;
	if (in_vain == GetCurrentStatementStartTimestamp())
		return NULL;
	LWLockAcquire(clinical_entries_lock, LW_EXCLUSIVE);
	entry = find_entry(MyDatabaseId);
	if (entry == NULL)
	{
		entry = find_entry(InvalidOid);
		if (entry != NULL)
			take_entry(entry);
	}
	LWLockRelease(clinical_entries_lock);
	if (entry == NULL && IsTransactionState())
	{
		entry = take_over();
		in_vain = GetCurrentStatementStartTimestamp();
	}
	return entry;
}

/* The same for who wants to read it: an error if there is none. */
ClinicalEntry *
clinical_require_entry(void)
{
	ClinicalEntry *entry = clinical_entry();

	clinical_require_preload();
	if (entry == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("there are more databases than clinical.max_databases"),
				 errhint("Raise clinical.max_databases and restart the server.")));
	return entry;
}

/*
 * Reports wait in this table, so many of them, and nobody puts any in or takes
 * any out at the moment.  If it is another table than before, so is all that was
 * counted.
 */
void
clinical_counts_of(Oid staging, int64 backlog)
{
	ClinicalEntry *entry = clinical_entry();
	ClinicalNumbers *numbers;
	uint64		before;

	if (entry == NULL)
		return;
	numbers = &entry->numbers;
	LWLockAcquire(clinical_entries_lock, LW_EXCLUSIVE);
	before = pg_atomic_read_u64(&numbers->staging);
	pg_atomic_write_u64(&numbers->staging, staging);
	if (before != 0 && before != staging)
		(void) set_to_zero(numbers);
	backlog -= (int64) pg_atomic_read_u64(&numbers->total[CLINICAL_COUNT_QUEUED]) + put_back(numbers);
	pg_atomic_write_u64(&numbers->backlog_at_reset, (uint64) backlog);
	LWLockRelease(clinical_entries_lock);
}

/* SQL: begin to count anew. */
Datum
clinical_stat_reset(PG_FUNCTION_ARGS)
{
	ClinicalEntry *entry = clinical_require_entry();

	LWLockAcquire(clinical_entries_lock, LW_EXCLUSIVE);
	reset(&entry->numbers);
	LWLockRelease(clinical_entries_lock);
	PG_RETURN_VOID();
}
