/*
 * What counting adds to a submit, in nanoseconds: the product's own functions,
 * called as the end of a transaction calls them, on numbers in shared memory.
 *
 *	observe_counter PROCESSES ROUNDS
 *
 * Prints "what ns" for each thing that is counted: the mean of ROUNDS calls, in
 * the slowest of so many processes that count at the same time.
 */
#include "postgres.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "access/xact.h"
#include "observe_entry.h"

/* without the server's library */
#undef printf

/* What the functions need of the server and of other files; nothing of it does anything here */
LWLock	   *clinical_entries_lock = NULL;
MemoryContext TopTransactionContext = NULL;
static ClinicalEntry *shared_entry;

ClinicalEntry *
clinical_entry(void)
{
	static ClinicalEntry *entry = NULL;

	if (unlikely(entry == NULL))
		entry = shared_entry;
	return entry;
}

bool
LWLockAcquire(LWLock *lock, LWLockMode mode)
{
	return true;
}

void
LWLockRelease(LWLock *lock)
{
}

int
GetCurrentTransactionNestLevel(void)
{
	return 1;
}

void *
MemoryContextAlloc(MemoryContext context, Size size)
{
	return malloc(size);
}

void *
repalloc(void *pointer, Size size)
{
	return realloc(pointer, size);
}

/* Newer minor versions have repalloc_array call this. */
extern void *repalloc_mul(void *pointer, Size size, Size number);

void *
repalloc_mul(void *pointer, Size size, Size number)
{
	return realloc(pointer, size * number);
}

void
RegisterXactCallback(XactCallback callback, void *arg)
{
}

void
RegisterSubXactCallback(SubXactCallback callback, void *arg)
{
}

void
clinical_time_add(ClinicalTimeNumbers *times, int bucket, uint64 number, uint64 sum, uint64 max)
{
}

/* The time, in nanoseconds */
static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

/* A report was put in: as count_reports() of intake_count.c */
static void
submitted(void)
{
	clinical_count_now(CLINICAL_COUNT_QUEUED, 0, 1);
	clinical_count_now(CLINICAL_COUNT_BYTES, 0, 200);
}

/* It was answered busy */
static void
busy(void)
{
	clinical_count_now(CLINICAL_COUNT_BUSY, 0, 1);
}

/* A time that is counted: so long each call takes */
static double
measure(void (*call) (void), long rounds)
{
	double		start = now();

	for (long i = 0; i < rounds; i++)
		call();
	return (now() - start) / rounds;
}

/* The slowest of so many processes */
static double
together(void (*call) (void), int processes, long rounds, double *results)
{
	double		slowest = 0;

	for (int i = 0; i < processes; i++)
	{
		if (fork() == 0)
		{
			results[i] = measure(call, rounds);
			_exit(0);
		}
	}
	for (int i = 0; i < processes; i++)
		wait(NULL);
	for (int i = 0; i < processes; i++)
		slowest = Max(slowest, results[i]);
	return slowest;
}

int
main(int argc, char **argv)
{
	int			processes = argc > 1 ? atoi(argv[1]) : 1;
	long		rounds = argc > 2 ? atol(argv[2]) : 10000000;
	double	   *results;

	shared_entry = mmap(NULL, sizeof(ClinicalEntry), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	results = mmap(NULL, processes * sizeof(double), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	printf("submit %.1f\n", together(submitted, processes, rounds, results));
	printf("busy %.1f\n", together(busy, processes, rounds, results));
	return 0;
}
