/*-------------------------------------------------------------------------
 *
 * observe_counter.c
 *		Counting: at once, or what a transaction did when it commits.
 *
 * What a transaction counts is kept by its levels until it commits: what a
 * savepoint counted is its parent's when it is released, and forgotten when it
 * is rolled back.  Publishing it needs no memory and raises no error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "core.h"
#include "observe_entry.h"

/* What is counted: a counter, or a bucket of a histogram */
typedef struct Kept
{
	int			nest_level;
	int			what;			/* a counter; from CLINICAL_NCOUNTERS on buckets */
	int64		project_id;
	uint64		number;
	uint64		sum;			/* of times */
	uint64		max;
} Kept;

#define FIRST_ROOM 16

/* In order of nest_level, the deepest last */
static Kept *kept = NULL;
static int	nkept = 0;
static int	room = 0;

/* Make room for one more. */
static void
make_room(void)
{
	if (kept == NULL)
	{
		kept = MemoryContextAlloc(TopTransactionContext, FIRST_ROOM * sizeof(Kept));
		room = FIRST_ROOM;
	}
	else if (nkept == room)
	{
		kept = repalloc_array(kept, Kept, 2 * room);
		room *= 2;
	}
}

/* What the level has kept of this, from a place on downwards; NULL: nothing. */
static Kept *
find_kept(int from, int nest_level, int what, int64 project_id)
{
	for (int i = from; i >= 0 && kept[i].nest_level == nest_level; i--)
	{
		if (kept[i].what == what && kept[i].project_id == project_id)
			return &kept[i];
	}
	return NULL;
}

/* Add to what was kept. */
static void
add_to(Kept *into, uint64 number, uint64 sum, uint64 max)
{
	into->number += number;
	into->sum += sum;
	into->max = Max(into->max, max);
}

/* Keep something for the commit. */
static void
keep(int what, int64 project_id, uint64 number, uint64 sum, uint64 max)
{
	int			nest_level = GetCurrentTransactionNestLevel();
	Kept	   *found = find_kept(nkept - 1, nest_level, what, project_id);

	Assert(IsTransactionState());
	if (found == NULL)
	{
		make_room();
		found = &kept[nkept++];
		memset(found, 0, sizeof(Kept));
		found->nest_level = nest_level;
		found->what = what;
		found->project_id = project_id;
	}
	add_to(found, number, sum, max);
}

/* So many more, when the transaction commits. */
void
clinical_count(ClinicalCounter counter, int64 project_id, uint64 number)
{
	/* it is looked up here, where it may take something */
	if (number != 0 && clinical_entry() != NULL)
		keep(counter, project_id, number, 0, 0);
}

/* So many times within a bucket, which took so long together with none longer than their mean. */
void
clinical_count_times(ClinicalHistogram histogram, int bucket, uint64 number, uint64 us)
{
	if (number != 0 && clinical_entry() != NULL)
		keep(CLINICAL_NCOUNTERS + (int) histogram * CLINICAL_NBUCKETS + bucket, 0, number, number * us, us);
}

/* The slot of a project, taken if it has none yet.  Under the lock, shared. */
static int
project_slot(ClinicalNumbers *numbers, int64 project_id)
{
	if (project_id == 0)
		return CLINICAL_SLOT_UNKNOWN;
	for (uint64 i = 0; i < CLINICAL_COUNTED_PROJECTS; i++)
	{
		int			slot = CLINICAL_FIRST_SLOT + (int) (((uint64) project_id + i) % CLINICAL_COUNTED_PROJECTS);
		uint64		present = pg_atomic_read_u64(&numbers->project_id[slot]);

		if (present == (uint64) project_id ||
			(present == 0 &&
			 (pg_atomic_compare_exchange_u64(&numbers->project_id[slot], &present, (uint64) project_id) ||
			  present == (uint64) project_id)))
			return slot;
	}
	return CLINICAL_SLOT_OTHER;
}

/* Count for all.  Under the lock, shared, if it is of a project. */
static void
publish(ClinicalNumbers *numbers, ClinicalCounter counter, int64 project_id, uint64 number)
{
	pg_atomic_fetch_add_u64(&numbers->total[counter], (int64) number);
	if (counter >= CLINICAL_FIRST_OF_PROJECT)
		pg_atomic_fetch_add_u64(&numbers->of_project[project_slot(numbers, project_id)][counter - CLINICAL_FIRST_OF_PROJECT],
								(int64) number);
}

/* So many more, at once. */
void
clinical_count_now(ClinicalCounter counter, int64 project_id, uint64 number)
{
	ClinicalEntry *entry = clinical_entry();

	if (entry == NULL || number == 0)
		return;
	if (counter < CLINICAL_FIRST_OF_PROJECT)
	{
		publish(&entry->numbers, counter, 0, number);
		return;
	}
	LWLockAcquire(clinical_entries_lock, LW_SHARED);
	publish(&entry->numbers, counter, project_id, number);
	LWLockRelease(clinical_entries_lock);
}

/* Count all that was kept. */
static void
publish_kept(ClinicalNumbers *numbers)
{
	LWLockAcquire(clinical_entries_lock, LW_SHARED);
	for (int i = 0; i < nkept; i++)
	{
		int			time = kept[i].what - CLINICAL_NCOUNTERS;

		if (time < 0)
			publish(numbers, (ClinicalCounter) kept[i].what, kept[i].project_id, kept[i].number);
		else
			clinical_time_add(&numbers->times[time / CLINICAL_NBUCKETS], time % CLINICAL_NBUCKETS,
							  kept[i].number, kept[i].sum, kept[i].max);
	}
	LWLockRelease(clinical_entries_lock);
}

/*
 * Callback: the transaction ends.  One that is prepared counts as if it were
 * committed: nothing is called here when it is.
 */
static void
transaction_ends(XactEvent event, void *arg)
{
	bool		commits = event == XACT_EVENT_COMMIT || event == XACT_EVENT_PARALLEL_COMMIT || event == XACT_EVENT_PREPARE;

	if (!commits && event != XACT_EVENT_ABORT && event != XACT_EVENT_PARALLEL_ABORT)
		return;
	if (commits && nkept > 0)
		publish_kept(&clinical_entry()->numbers);
	kept = NULL;
	nkept = room = 0;
}

/* What the last level has counted is its parent's. */
static void
release_level(int nest_level)
{
	int			first = nkept;
	int			end = nkept;

	while (first > 0 && kept[first - 1].nest_level >= nest_level)
		first--;
	nkept = first;
	for (int i = first; i < end; i++)
	{
		Kept		entry = kept[i];
		Kept	   *found = find_kept(nkept - 1, nest_level - 1, entry.what, entry.project_id);

		if (found == NULL)
		{
			found = &kept[nkept++];
			*found = entry;
			found->nest_level = nest_level - 1;
		}
		else
			add_to(found, entry.number, entry.sum, entry.max);
	}
}

/* Callback: a savepoint ends. */
static void
savepoint_ends(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int			nest_level = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_COMMIT_SUB)
		release_level(nest_level);
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (nkept > 0 && kept[nkept - 1].nest_level >= nest_level)
			nkept--;
	}
}

/*
 * Listen to the ends of transactions, once a session.  After the intake does: who
 * registers last is called first, and whoever sees that a report does not wait any
 * more is to see what was counted of it.
 */
void
clinical_counter_init(void)
{
	RegisterXactCallback(transaction_ends, NULL);
	RegisterSubXactCallback(savepoint_ends, NULL);
}

/* What was counted of this database, of all projects. */
uint64
clinical_counted(ClinicalCounter counter)
{
	ClinicalEntry *entry = clinical_entry();

	return entry == NULL ? 0 : pg_atomic_read_u64(&entry->numbers.total[counter]);
}

/* All of it; false if nothing is counted. */
bool
clinical_counts_read(ClinicalCounts *counts)
{
	ClinicalEntry *entry = clinical_entry();

	if (entry == NULL)
		return false;
	LWLockAcquire(clinical_entries_lock, LW_SHARED);
	counts->reset_at = (TimestampTz) pg_atomic_read_u64(&entry->numbers.reset_at);
	counts->backlog_at_reset = (int64) pg_atomic_read_u64(&entry->numbers.backlog_at_reset);
	for (int i = 0; i < CLINICAL_NCOUNTERS; i++)
		counts->numbers[i] = pg_atomic_read_u64(&entry->numbers.total[i]);
	LWLockRelease(clinical_entries_lock);
	return true;
}
