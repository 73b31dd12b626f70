/*-------------------------------------------------------------------------
 *
 * core_fault.c
 *		Faults that a test asks for, at points where they have consequences.
 *
 * Compiled in with "make FAULTS=1" only.  The setting clinical.fault names a
 * point and what happens when it is reached: "point:action", or
 * "point:action:n" for the n-th time in this process.
 *
 *	error	raises an error
 *	wait	waits until it is interrupted
 *	hold	goes on when nobody holds the advisory lock 1
 *	exit	ends the process as if it were told to
 *	crash	aborts it, so that the server begins anew
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core.h"

#ifdef CLINICAL_FAULTS

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

/* What is asked for: empty, if nothing is */
static char *asked = NULL;
static int	reached = 0;

/* Another fault is counted from its own beginning. */
static void
assign_fault(const char *value, void *extra)
{
	reached = 0;
}

/* Define the setting. */
void
clinical_inject_init(void)
{
	DefineCustomStringVariable("clinical.fault",
							   "A point of the code and what is to happen there, for tests.",
							   NULL,
							   &asked, "", PGC_SUSET, GUC_NOT_IN_SAMPLE,
							   NULL, assign_fault, NULL);
}

/* Wait until something interrupts. */
static void
wait_for_interrupt(void)
{
	for (;;)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Wait for who holds an advisory lock. */
static void
wait_for_lock(void)
{
	DirectFunctionCall1(pg_advisory_lock_shared_int8, Int64GetDatum(1));
	DirectFunctionCall1(pg_advisory_unlock_shared_int8, Int64GetDatum(1));
}

/* Do what is asked for at this point, if anything is. */
void
clinical_inject(const char *point)
{
	size_t		length = strlen(point);
	const char *action;
	const char *count;

	if (asked == NULL || strncmp(asked, point, length) != 0 || asked[length] != ':')
		return;
	action = asked + length + 1;
	count = strchr(action, ':');
	if (++reached != (count == NULL ? 1 : atoi(count + 1)))
		return;
	if (strncmp(action, "error", 5) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("fault at \"%s\"", point)));
	if (strncmp(action, "wait", 4) == 0)
		wait_for_interrupt();
	if (strncmp(action, "hold", 4) == 0)
		wait_for_lock();
	if (strncmp(action, "exit", 4) == 0)
		proc_exit(1);
	if (strncmp(action, "crash", 5) == 0)
		abort();
}

#endif
