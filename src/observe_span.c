/*-------------------------------------------------------------------------
 *
 * observe_span.c
 *		Where spans are kept until somebody takes them.
 *
 * A ring in shared memory, of the whole server: a new span takes the place of the
 * oldest.  So nothing waits, and nothing grows, if nobody takes them.  What a
 * transaction has to tell goes there when it commits.  Who takes spans has them
 * when his transaction commits; if it does not, they are there again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core.h"
#include "observe.h"

PG_FUNCTION_INFO_V1(clinical_span_counts);

/* The lock is held for so many spans at a time */
#define AT_ONCE 32

/* A place of the ring */
typedef struct Place
{
	Oid			database;
	bool		taken;			/* by somebody whose transaction goes on, or has committed */
	ClinicalSpan span;
} Place;

/* The span of a number is in place number % span_buffer, unless a later one is */
typedef struct Ring
{
	uint64		next;			/* number of the next span: so many were put here */
	uint64		surplus;		/* so many were not, since their transaction had more than
								 * there are places */
	uint64		lost;			/* of those put here: nobody took them */
	Place		places[FLEXIBLE_ARRAY_MEMBER];
} Ring;

/* A span of this transaction, in a subtransaction of this level */
typedef struct Pending
{
	int			level;
	ClinicalSpan span;
} Pending;

/* Spans that this transaction takes, by number, in a subtransaction of this level */
typedef struct Taking
{
	struct Taking *next;
	int			level;
	int			count;
	uint64		numbers[FLEXIBLE_ARRAY_MEMBER];
} Taking;

static int	span_buffer = 4096;
static Ring *ring = NULL;
static LWLock *lock = NULL;
static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

/* In TopTransactionContext; those of inner subtransactions stand behind those of outer ones */
static Pending *pending = NULL;
static int	npending = 0;
static int	room = 0;
static uint64 nsurplus = 0;
static Taking *takings = NULL;

/* The size of the ring. */
static Size
ring_size(void)
{
	return add_size(offsetof(Ring, places), mul_size(span_buffer, sizeof(Place)));
}

/* Hook: ask for shared memory. */
static void
request_shared(void)
{
	if (previous_request_hook)
		previous_request_hook();
	if (span_buffer == 0)
		return;
	RequestAddinShmemSpace(ring_size());
	RequestNamedLWLockTranche("clinical_span", 1);
}

/* Hook: find it, or make it. */
static void
startup_shared(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	if (span_buffer == 0)
		return;
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	lock = &GetNamedLWLockTranche("clinical_span")[0].lock;
	ring = ShmemInitStruct("clinical spans", ring_size(), &found);
	if (!found)
		memset(ring, 0, ring_size());
	LWLockRelease(AddinShmemInitLock);
}

/* Are spans kept at all? */
bool
clinical_spans_are_kept(void)
{
	return ring != NULL;
}

/* Put a span into the ring, under the lock. */
static void
put(const ClinicalSpan *span)
{
	Place	   *place = &ring->places[ring->next % (uint64) span_buffer];

	if (ring->next >= (uint64) span_buffer && !place->taken)
		ring->lost++;
	place->database = MyDatabaseId;
	place->taken = false;
	place->span = *span;
	ring->next++;
}

/* Keep a span at once, whatever becomes of the transaction. */
void
clinical_span_now(const ClinicalSpan *span)
{
	if (ring == NULL)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	put(span);
	LWLockRelease(lock);
}

/* Keep a span when the transaction, if there is one, commits.  More than the ring has places for are counted only. */
void
clinical_span_at_commit(const ClinicalSpan *span)
{
	if (ring == NULL || !IsTransactionState())
	{
		clinical_span_now(span);
		return;
	}
	if (npending == span_buffer)
	{
		nsurplus++;
		return;
	}
	if (npending == room)
	{
		int			more = Min(Max(2 * room, 8), span_buffer);

		if (pending == NULL)
			pending = MemoryContextAllocHuge(TopTransactionContext, more * sizeof(Pending));
		else
			pending = repalloc_huge(pending, more * sizeof(Pending));
		room = more;
	}
	pending[npending].level = GetCurrentTransactionNestLevel();
	pending[npending++].span = *span;
}

/* The transaction has committed: its spans are kept. */
static void
put_pending(void)
{
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < npending;)
	{
		int			end = Min(i + AT_ONCE, npending);

		LWLockAcquire(lock, LW_EXCLUSIVE);
		for (; i < end; i++)
		{
			if (pending[i].span.ended_at == 0)
				pending[i].span.ended_at = Max(now, pending[i].span.began_at);
			put(&pending[i].span);
		}
		if (i == npending)
			ring->surplus += nsurplus;
		LWLockRelease(lock);
	}
}

/* Spans that were taken are there again, but for those whose places are others'. */
static void
give_back(const Taking *taking)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < taking->count; i++)
	{
		if (taking->numbers[i] + (uint64) span_buffer >= ring->next)
			ring->places[taking->numbers[i] % (uint64) span_buffer].taken = false;
		else
			ring->lost++;
	}
	LWLockRelease(lock);
}

/* Callback: the transaction ends. */
static void
transaction_ends(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT && npending > 0)
		put_pending();
	for (; event == XACT_EVENT_ABORT && takings != NULL; takings = takings->next)
		give_back(takings);
	/* what they are in goes with the transaction */
	pending = NULL;
	npending = room = 0;
	nsurplus = 0;
	takings = NULL;
}

/* Callback: a subtransaction ends; what it has is its parent's, or nobody's. */
static void
subtransaction_ends(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (npending > 0 && pending[npending - 1].level >= level)
			npending--;
		for (; takings != NULL && takings->level >= level; takings = takings->next)
			give_back(takings);
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (int i = npending; i > 0 && pending[i - 1].level >= level; i--)
			pending[i - 1].level = level - 1;
		for (Taking *taking = takings; taking != NULL && taking->level >= level; taking = taking->next)
			taking->level = level - 1;
	}
}

/* The number of the oldest span that is in the ring, under the lock. */
static uint64
oldest(void)
{
	return ring->next > (uint64) span_buffer ? ring->next - (uint64) span_buffer : 0;
}

/* Look at some places from that number on, and take what is of this database; the number to go on with. */
static uint64
take_some(uint64 number, Taking *taking, ClinicalSpan *spans, int limit)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	number = Max(number, oldest());
	for (int i = 0; i < AT_ONCE && number < ring->next && taking->count < limit; i++, number++)
	{
		Place	   *place = &ring->places[number % (uint64) span_buffer];

		if (place->taken || place->database != MyDatabaseId)
			continue;
		place->taken = true;
		spans[taking->count] = place->span;
		taking->numbers[taking->count++] = number;
	}
	LWLockRelease(lock);
	return number;
}

/* Take up to so many spans of this database, the oldest first; how many. */
int
clinical_spans_take(ClinicalSpan *spans, int limit)
{
	Taking	   *taking;
	uint64		end;
	uint64		number = 0;

	if (ring == NULL)
		return 0;
	taking = MemoryContextAlloc(TopTransactionContext, offsetof(Taking, numbers) + limit * sizeof(uint64));
	taking->level = GetCurrentTransactionNestLevel();
	taking->count = 0;
	taking->next = takings;
	takings = taking;
	LWLockAcquire(lock, LW_SHARED);
	end = ring->next;
	LWLockRelease(lock);
	while (number < end && taking->count < limit)
	{
		CHECK_FOR_INTERRUPTS();
		number = take_some(number, taking, spans, limit);
	}
	return taking->count;
}

/* How many spans were kept since the server started, in all databases, and how many of them nobody could take. */
void
clinical_spans_count(uint64 *recorded, uint64 *lost)
{
	*recorded = *lost = 0;
	if (ring == NULL)
		return;
	LWLockAcquire(lock, LW_SHARED);
	*recorded = ring->next + ring->surplus;
	*lost = ring->lost + ring->surplus;
	LWLockRelease(lock);
}

/* How many spans of this database are there to be taken. */
static int64
count_waiting(void)
{
	int64		count = 0;

	for (int i = 0; ring != NULL && i < span_buffer; i += AT_ONCE)
	{
		CHECK_FOR_INTERRUPTS();
		LWLockAcquire(lock, LW_SHARED);
		for (int j = i; j < Min(i + AT_ONCE, span_buffer) && (uint64) j < ring->next; j++)
			count += !ring->places[j].taken && ring->places[j].database == MyDatabaseId;
		LWLockRelease(lock);
	}
	return count;
}

/* SQL: how it is with the spans. */
Datum
clinical_span_counts(PG_FUNCTION_ARGS)
{
	Datum		values[4];
	bool		nulls[4] = {false};
	uint64		recorded;
	uint64		lost;
	TupleDesc	desc;

	clinical_require_preload();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	clinical_spans_count(&recorded, &lost);
	values[0] = Int32GetDatum(ring == NULL ? 0 : span_buffer);
	values[1] = Int64GetDatum(count_waiting());
	values[2] = Int64GetDatum((int64) recorded);
	values[3] = Int64GetDatum((int64) lost);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* When the library is loaded; only at server start can there be a ring. */
void
clinical_span_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	DefineCustomIntVariable("clinical.span_buffer",
							"How many spans are kept until somebody takes them, in all databases together.",
							"0: none.",
							&span_buffer, 4096, 0, 262144,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	if (IsBinaryUpgrade)
		return;
	RegisterXactCallback(transaction_ends, NULL);
	RegisterSubXactCallback(subtransaction_ends, NULL);
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shared;
}
