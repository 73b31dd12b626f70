/*-------------------------------------------------------------------------
 *
 * summary_alloc.c
 *		What the code that counts and sums values needs of the server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "summary_kernel.h"

/* Memory of a context. */
void *
summary_alloc(void *memory, size_t size)
{
	return MemoryContextAllocHuge(memory, size);
}

/* Gives memory back. */
void
summary_free(void *pointer)
{
	pfree(pointer);
}

/* A place where a query may be cancelled. */
void
summary_interrupt(void)
{
	CHECK_FOR_INTERRUPTS();
}
