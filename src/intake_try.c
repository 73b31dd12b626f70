/*-------------------------------------------------------------------------
 *
 * intake_try.c
 *		Processing reports so that one that fails harms no other.
 *
 * Reports that fail together are tried again by halves, until the one that fails
 * is alone.  It goes into quarantine, or, where it may go well another time, is
 * put off; what is no fault of the report (no memory, a full disk, a row that
 * somebody has locked) uses up no attempt.  If it was cancelled, or the server shuts down, that is passed on:
 * nothing was done then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "commands/trigger.h"
#include "storage/proc.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "intake.h"
#include "observe.h"
#include "worker.h"

/* The wait (ms) after the first failure; it doubles with each further one */
#define FIRST_DELAY 1000

/* Of clinical.report_timeout, which all of a batch must not exceed together */
static volatile sig_atomic_t timed_out = false;
static TimeoutId timeout_id = MAX_TIMEOUTS;

/*
 * The time is up: interrupt what is running, unless it waits for a lock, which is
 * nobody's fault here.  Then it has as much time again.
 */
static void
time_is_up(void)
{
	if (MyProc->waitLock != NULL)
		return;
	timed_out = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

/* Let what follows take no longer than a report may. */
static void
begin_timeout(void)
{
	if (timeout_id == MAX_TIMEOUTS)
		timeout_id = RegisterTimeout(USER_TIMEOUT, time_is_up);
	timed_out = false;
	if (clinical_report_timeout > 0)
		enable_timeout_every(timeout_id, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), clinical_report_timeout),
							 clinical_report_timeout);
}

/* The end of it; a time that was up too late interrupts nothing any more. */
static void
end_timeout(void)
{
	if (clinical_report_timeout > 0)
		disable_timeout(timeout_id, false);
	if (timed_out)
		QueryCancelPending = false;
}

/* Does somebody want it to end? */
static bool
is_intervention(int sqlerrcode)
{
	return ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION);
}

/*
 * Is it no fault of the report, so that it is tried again as long as it takes?  A
 * table, column, function or right that is missing is missing for all, and a row that
 * somebody has locked is free again some time.
 */
static bool
is_of_the_server(int sqlerrcode)
{
	int			category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_SYSTEM_ERROR) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION);
}

/* May it go well another time? */
static bool
is_transient(int sqlerrcode)
{
	int			category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return category == ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE);
}

/*
 * In a worker: let triggers that somebody has deferred fire now, where the report
 * that they do not like can still be told from the others.
 */
static void
fire_deferred(void)
{
	ConstraintsSetStmt statement = {.type = T_ConstraintsSetStmt};

	if (clinical_in_worker())
		AfterTriggerSetState(&statement);
}

/* Process reports in a savepoint: 0, or the SQLSTATE of what went wrong. */
static int
try_process(ClinicalStaged **reports, int count)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext batch = AllocSetContextCreate(caller, "clinical batch", ALLOCSET_DEFAULT_SIZES);
	ResourceOwner owner = CurrentResourceOwner;
	volatile int sqlerrcode = 0;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(batch);
	begin_timeout();
	PG_TRY();
	{
		SPI_connect();
		MemoryContextSwitchTo(batch);
		clinical_intake_process(reports, count);
		SPI_finish();
		fire_deferred();
		end_timeout();
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		end_timeout();
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		sqlerrcode = error->sqlerrcode;
		timed_out = timed_out && sqlerrcode == ERRCODE_QUERY_CANCELED;
		if (!timed_out && is_intervention(sqlerrcode))
			ReThrowError(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	MemoryContextDelete(batch);
	return sqlerrcode;
}

/* So long (ms) from now, but for clinical.retry_delay_max, and not all at once. */
static TimestampTz
moment_after(double delay)
{
	delay = Min(delay, (double) clinical_retry_delay_max) * (0.5 + pg_prng_double(&pg_global_prng_state) / 2);
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) delay);
}

/*
 * When a report that failed is to be tried again: later with each attempt.  What
 * is of the server is no attempt: then later the longer the report waits.
 */
static TimestampTz
next_attempt(const ClinicalStaged *staged, int failures, bool of_the_server)
{
	TimestampTz received_at = DatumGetTimestampTz(staged->values[CLINICAL_STAGED_RECEIVED_AT]);
	long		age = TimestampDifferenceMilliseconds(received_at, GetCurrentTimestamp());

	return moment_after(of_the_server ? Max(age / 2, FIRST_DELAY) : FIRST_DELAY * pow(2, failures - 1));
}

/* Put a report off to a moment. */
void
clinical_intake_put_off(ClinicalBacklog *backlog, ClinicalStaged *staged, TimestampTz moment)
{
	staged->values[CLINICAL_STAGED_NOT_BEFORE] = TimestampTzGetDatum(moment);
	staged->nulls[CLINICAL_STAGED_NOT_BEFORE] = false;
	/* whatever it does, it does not crash the server */
	staged->nulls[CLINICAL_STAGED_CRASHES] = true;
	clinical_stage_put_off(backlog, staged->values, staged->nulls);
}

/* Put a report off that failed. */
static void
put_off_failed(ClinicalBacklog *backlog, ClinicalStaged *staged, int sqlerrcode)
{
	bool		of_the_server = is_of_the_server(sqlerrcode);
	int			failures = clinical_staged_number(staged, CLINICAL_STAGED_ATTEMPTS) + !of_the_server;

	staged->values[CLINICAL_STAGED_ATTEMPTS] = Int32GetDatum(failures);
	staged->nulls[CLINICAL_STAGED_ATTEMPTS] = false;
	clinical_intake_put_off(backlog, staged, next_attempt(staged, failures, of_the_server));
	clinical_count_now(CLINICAL_COUNT_RETRIED, 0, 1);
	clinical_intake_tell_put_off(staged, sqlerrcode);
}

/* Put a report that failed alone where it belongs; it is out of its table already.  Was it put off? */
static bool
report_failed(ClinicalBacklog *backlog, ClinicalStaged *staged, int sqlerrcode)
{
	int			attempts = clinical_staged_number(staged, CLINICAL_STAGED_ATTEMPTS);

	/* what was made ready before went with the savepoint */
	clinical_intake_prepare(staged);
	staged->sqlerrcode = sqlerrcode;
	if (timed_out)
		clinical_intake_set_aside(staged, "timed_out", NULL, NULL);
	else if (is_of_the_server(sqlerrcode) || (is_transient(sqlerrcode) && attempts + 1 < clinical_max_attempts))
	{
		/* if that fails too, as on a full disk, nothing was done */
		put_off_failed(backlog, staged, sqlerrcode);
		return true;
	}
	else
		clinical_intake_set_aside(staged, "failed", "sqlstate", unpack_sql_state(sqlerrcode));
	clinical_intake_store_aside(staged);
	return false;
}

/*
 * Process reports, by halves where they fail together.  Behind them in the batch
 * there are so many more: those of the same id wait for one that is put off.
 */
static void
process_by_halves(ClinicalBacklog *backlog, ClinicalStaged **reports, int count, int behind)
{
	int			left = clinical_intake_leave_waiting(backlog, reports, count);
	int			half = left / 2;
	int			sqlerrcode = left == 0 ? 0 : try_process(reports, left);

	if (sqlerrcode == 0)
		return;
	if (left == 1)
	{
		if (report_failed(backlog, reports[0], sqlerrcode))
			clinical_intake_put_off_behind(reports + 1, count - 1 + behind, reports[0]);
		return;
	}
	process_by_halves(backlog, reports, half, count - half + behind);
	process_by_halves(backlog, reports + half, left - half, count - left + behind);
}

/*
 * Process reports that were taken out of their tables.  If they take too long
 * together, and the caller can give up the transaction, that is for the caller
 * to do: tried one by one in transactions of their own, none waits for another.
 */
ClinicalTried
clinical_intake_try(ClinicalBacklog *backlog, ClinicalStaged **reports, int count, bool can_give_up)
{
	int			sqlerrcode = count == 0 ? 0 : try_process(reports, count);
	int			part;

	if (sqlerrcode == 0)
		return CLINICAL_TRIED;
	clinical_count_now(CLINICAL_COUNT_BATCHES_FAILED, 0, 1);
	clinical_worker_failed();
	if (count == 1)
	{
		bool		put_off = report_failed(backlog, reports[0], sqlerrcode);

		clinical_intake_tell_failed(1, sqlerrcode, put_off ? "put_off" : "quarantine");
		return CLINICAL_TRIED;
	}
	clinical_intake_tell_failed(count, sqlerrcode, timed_out ? "one_by_one" : "split");
	if (timed_out && can_give_up)
		return CLINICAL_TIMED_OUT;
	part = timed_out ? 1 : (count + 1) / 2;
	for (int i = 0; i < count; i += part)
		process_by_halves(backlog, reports + i, Min(part, count - i), Max(count - i - part, 0));
	return CLINICAL_TRIED;
}
