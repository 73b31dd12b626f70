/*-------------------------------------------------------------------------
 *
 * streak_alloc.c
 *		Memory of the engine of monitoring rules, in the server: of the current
 *		context, that whoever evaluates resets.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "streak.h"

/* Memory for the engine. */
void *
streak_alloc(size_t size)
{
	return palloc(size);
}
