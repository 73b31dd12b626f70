/*-------------------------------------------------------------------------
 *
 * intake_drain.c
 *		Processing staged reports: in background workers, and in the
 *		foreground by process_reports.
 *
 * One transaction locks the lanes of some reports, takes the reports out of
 * staging, decides what becomes of each, and stores that.  Several workers work
 * side by side, on different lanes.
 *
 * After a crash of the server one of the reports that were being processed may
 * be the cause.  The first ones are then processed one by one, each after it was
 * marked: a report that is found with too many marks was being processed alone
 * each time that the server crashed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "intake.h"
#include "observe.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(clinical_process_reports);
PG_FUNCTION_INFO_V1(clinical_wait_until_drained);

/* The server may crash so many times while a report is processed alone */
#define MAX_CRASHES 2
/* A worker that had nothing to do for so long (ms) tidies up; a busy one does after so many batches */
#define FIRST_TIDY 1000
#define TIDY_BATCHES 64
/* An idle worker looks so often (ms) whether reports came another way, as by a restore */
#define RECOUNT_INTERVAL 60000
#define RECOUNT_AGAIN 1000
/* More of what waits than takes so long (microseconds) is worth another worker */
#define WORTH_A_WORKER_US 20000
/* After a batch of fewer, that began within so long (ms) of the one before, for so long more are gathered */
#define FEW 100
#define GATHER_WITHIN 4
#define GATHER_US 5000
/* So many reports are processed together at least, however long they take */
#define MIN_BATCH 16

/* So many reports are to be processed one by one, since together they took too long */
static int	singly = 0;
/* The number of reports of the last batch */
static int	last_count = 0;
/* What a report of a batch took lately, in microseconds; 0: not known */
static double us_per_report = 0;

/* The number of reports that may be what crashed the server. */
uint32
clinical_intake_suspects(void)
{
	return (uint32) clinical_batch_size * clinical_max_workers;
}

/* The time that has passed, in microseconds. */
static uint64
elapsed_us(instr_time start)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, start);
	return INSTR_TIME_GET_MICROSEC(now);
}

/* Note when a batch began. */
static void
note_beginning(const ClinicalBatch *batch, TimestampTz began)
{
	for (int i = 0; i < batch->count; i++)
		batch->reports[i]->taken_at = began;
}

/* Count what became of a batch's reports, when it commits, and what each of them took. */
static void
count_outcomes(const ClinicalBatch *batch, uint64 us)
{
	uint32		count = 0;

	for (int i = 0; i < batch->count; i++)
	{
		/* those that were put off are gone from the list, or have no outcome */
		if (batch->reports[i] != NULL && clinical_intake_count_outcome(batch->reports[i]))
			count++;
	}
	if (count > 0)
		clinical_measure(CLINICAL_TIME_PROCESSING, us / count, count);
}

/*
 * Process a batch, in a transaction: how many reports there were; -1 if they
 * take too long together, and the transaction is to be given up.
 */
static int
drain_batch(ClinicalBacklog *backlog, int limit, bool in_worker, bool marked_only)
{
	TimestampTz began = GetCurrentTimestamp();
	ClinicalBatch *batch;
	instr_time	start;
	uint64		us;
	int			found;

	INSTR_TIME_SET_CURRENT(start);
	batch = clinical_batch_find(backlog, limit, !in_worker, marked_only);
	if (batch->count == 0)
		return 0;
	found = batch->count;
	note_beginning(batch, began);
	batch->count = clinical_stage_take(backlog, batch->reports, batch->count);
	clinical_step_batch(batch->count);
	clinical_intake_wait_turn(backlog, batch);
	clinical_worker_works_on(batch->lanes, (uint32) batch->count);
	clinical_count_now(CLINICAL_COUNT_CLAIM_US, 0, elapsed_us(start));
	CLINICAL_FAULT("drain_taken");
	if (clinical_intake_try(backlog, batch->reports, batch->count, in_worker) == CLINICAL_TIMED_OUT)
	{
		singly = batch->count;
		return -1;
	}
	us = elapsed_us(start);
	clinical_count_now(CLINICAL_COUNT_BATCHES, 0, 1);
	clinical_count_now(CLINICAL_COUNT_BATCH_US, 0, us);
	count_outcomes(batch, us);
	if (found >= MIN_BATCH)
		us_per_report = us_per_report * 0.75 + (double) us / found * 0.25;
	return found;
}

/*
 * Mark a report, in a transaction of its own; false if there is none.  One with
 * too many marks goes into quarantine.
 */
static bool
mark_one(ClinicalBacklog *backlog)
{
	ClinicalBatch *batch;
	ClinicalStaged *staged;
	int			crashes;

	batch = clinical_batch_find(backlog, 1, false, false);
	if (batch->count == 0)
		return false;
	staged = batch->reports[0];
	crashes = clinical_staged_number(staged, CLINICAL_STAGED_CRASHES);
	/* marked since the crash: nothing has happened to it yet */
	if (crashes > 0 && DatumGetTimestampTz(staged->values[CLINICAL_STAGED_NOT_BEFORE]) >= (TimestampTz) pg_atomic_read_u64(&backlog->counted_at))
	{
		/* it is still due: who looked for it took the moment away */
		clinical_intake_put_off_until(backlog, DT_NOBEGIN);
		return true;
	}
	if (clinical_stage_take(backlog, batch->reports, 1) == 0)
		return true;
	if (crashes >= MAX_CRASHES)
	{
		clinical_step_batch(1);
		clinical_intake_prepare(staged);
		clinical_intake_set_aside(staged, "crashed", NULL, NULL);
		clinical_intake_store_aside(staged);
		staged->taken_at = GetCurrentTimestamp();
		(void) clinical_intake_count_outcome(staged);
		return true;
	}
	staged->values[CLINICAL_STAGED_CRASHES] = Int32GetDatum(crashes + 1);
	staged->nulls[CLINICAL_STAGED_CRASHES] = false;
	staged->values[CLINICAL_STAGED_NOT_BEFORE] = TimestampTzGetDatum(GetCurrentTimestamp());
	staged->nulls[CLINICAL_STAGED_NOT_BEFORE] = false;
	clinical_stage_put_off(backlog, staged->values, staged->nulls);
	return true;
}

/* One report fewer may be what crashed the server. */
static void
count_down(pg_atomic_uint32 *careful)
{
	uint32		left = pg_atomic_read_u32(careful);

	while (left > 0 && !pg_atomic_compare_exchange_u32(careful, &left, left - 1))
		;
}

/* After a crash: mark a report, and process it; false if there is none. */
static bool
process_carefully(ClinicalBacklog *backlog)
{
	bool		found;

	if (!clinical_worker_begin("processing a report alone"))
		return false;
	found = mark_one(backlog);
	/* the mark must be on disk before the report is processed */
	ForceSyncCommit();
	clinical_worker_commit();
	if (!found)
		return false;
	if (!clinical_worker_begin("processing a report alone"))
		return false;
	CLINICAL_FAULT("drain_marked");
	(void) drain_batch(backlog, 1, true, true);
	clinical_worker_commit();
	count_down(&backlog->careful);
	return true;
}

/*
 * Empty what can be emptied, and turn to another segment where that is due; true
 * if nothing is left to be emptied.
 */
static bool
tidy(ClinicalBacklog *backlog, bool idle)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *segments = NIL;
	ListCell   *lc;
	bool		all;

	if (!clinical_worker_begin("looking for segments to empty"))
		return true;
	(void) clinical_intake_backlog();
	all = clinical_segments_turn(backlog, idle, context, &segments);
	clinical_worker_commit();
	MemoryContextSwitchTo(context);
	foreach(lc, segments)
	{
		pgstat_report_activity(STATE_RUNNING, "emptying a segment");
		clinical_segment_empty(lfirst_oid(lc));
		clinical_count_now(CLINICAL_COUNT_EMPTIED, 0, 1);
		pgstat_report_stat(true);
		pgstat_report_activity(STATE_IDLE, NULL);
	}
	return all;
}

/* Count again what waits, in a transaction; false if that has to wait. */
static bool
recount(ClinicalBacklog *backlog)
{
	bool		done;

	if (!clinical_worker_begin("counting reports"))
		return false;
	pg_atomic_write_u32(&backlog->recount, 0);
	done = clinical_intake_recount();
	clinical_worker_commit();
	if (!done)
		pg_atomic_write_u32(&backlog->recount, 1);
	return done;
}

/*
 * So many reports are processed together: as many as can be in clinical.batch_time,
 * by what the last ones took.
 */
static int
batch_limit(void)
{
	double		fit = us_per_report == 0 ? clinical_batch_size : clinical_batch_time * 1000.0 / us_per_report;

	if (singly > 0)
		return 1;
	return (int) Max(Min(fit, clinical_batch_size), Min(MIN_BATCH, clinical_batch_size));
}

/*
 * Let the transaction's commit not wait for the disk.  Should a crash lose it,
 * the reports are still where they were acknowledged, and are processed again;
 * what goes out of the database because they were stored would have to wait.
 */
static void
commit_soon(void)
{
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * How many further workers what waits is worth: as many as have it processed in
 * so long, by what reports took lately.
 */
static int
further_workers(int64 waiting)
{
	double		us = us_per_report == 0 ? 100 : us_per_report;

	return (int) Min((double) waiting * us / WORTH_A_WORKER_US, CLINICAL_LANES - 1);
}

/* Process one batch; false if nothing was found. */
static bool
work_once(ClinicalBacklog *backlog)
{
	int			limit = batch_limit();
	int			further = singly > 0 ? 0 : further_workers(clinical_intake_waiting(backlog));
	int			count;

	if (further > 0)
		clinical_want_workers(further);
	if (!clinical_worker_begin("processing reports"))
		return false;
	commit_soon();
	count = drain_batch(backlog, limit, true, false);
	if (count < 0)
	{
		clinical_worker_abort();
		return true;
	}
	clinical_worker_commit();
	singly = Max(singly - 1, 0);
	last_count = singly > 0 ? FEW : count;
	return count > 0;
}

/* How long (ms) nothing has to be done: until a report is due that was put off, or so long. */
static long
time_to_next(ClinicalBacklog *backlog, long longest)
{
	TimestampTz due = (TimestampTz) pg_atomic_read_u64(&backlog->retry_due);

	if (due == DT_NOEND)
		return longest;
	return Min(longest, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), due) + 1);
}

/*
 * Nothing was found though something waits: somebody else has the lanes, for how
 * long nobody knows; or, should that go on, the count is wrong.
 */
static long
wait_for_lanes(ClinicalBacklog *backlog, bool first)
{
	static int	times = 0;
	static int64 processed = -1;
	int64		now = (int64) clinical_counted(CLINICAL_COUNT_PROCESSED);

	if (now != processed)
		times = 0;
	processed = now;
	if (!first)
		return -1;
	if (++times % 8 == 0)
		(void) recount(backlog);
	return time_to_next(backlog, Min(10L << Min(times, 7), 1000));
}

/* Nothing waits: tidy up after a while, and see now and then whether that is true. */
static long
rest(ClinicalBacklog *backlog, bool worked)
{
	static TimestampTz tidy_at = 0;
	static TimestampTz recount_at = 0;
	static long interval = FIRST_TIDY;
	TimestampTz now = GetCurrentTimestamp();

	if (worked)
	{
		interval = FIRST_TIDY;
		tidy_at = TimestampTzPlusMilliseconds(now, interval);
	}
	if (now >= recount_at || pg_atomic_read_u32(&backlog->recount) != 0)
	{
		recount_at = TimestampTzPlusMilliseconds(now, recount(backlog) ? RECOUNT_INTERVAL : RECOUNT_AGAIN);
		if (clinical_intake_waiting(backlog) > 0)
			return 0;
	}
	if (now >= tidy_at)
	{
		interval = tidy(backlog, true) ? RECOUNT_INTERVAL : Min(interval * 5, RECOUNT_INTERVAL);
		tidy_at = TimestampTzPlusMilliseconds(now, interval);
	}
	return time_to_next(backlog, Max(TimestampDifferenceMilliseconds(now, Min(tidy_at, recount_at)), 1));
}

/* This database's counts, made if they are not there, in a transaction; NULL: the extension is gone. */
static ClinicalBacklog *
counted_backlog(void)
{
	ClinicalBacklog *backlog = clinical_backlog();

	if (backlog == NULL || pg_atomic_read_u32(&backlog->counted) != 0)
		return backlog;
	if (!clinical_worker_begin("counting reports"))
		return NULL;
	backlog = clinical_intake_backlog();
	clinical_worker_commit();
	return backlog;
}

/*
 * Reports come one after the other, faster than a batch of one is worth it: let
 * some come together.  Not at rest, when each is waited for; and not where many
 * wait.  With 8 clients on two cores a fifth more reports are taken and stored.
 */
static void
gather(void)
{
	static TimestampTz ended_at = 0;
	static uint32 wait_event = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (last_count < FEW && !TimestampDifferenceExceeds(ended_at, now, GATHER_WITHIN))
	{
		pgstat_report_wait_start(CLINICAL_WAIT_EVENT(wait_event, "ClinicalGather"));
		pg_usleep(GATHER_US);
		pgstat_report_wait_end();
	}
	ended_at = GetCurrentTimestamp();
}

/* Process a batch of what waits; the time to the next. */
static long
work(ClinicalBacklog *backlog, bool first)
{
	static int	batches = 0;
	static TimestampTz recounted_at = 0;
	bool		found;

	if (first && pg_atomic_read_u32(&backlog->recount) != 0 &&
		TimestampDifferenceExceeds(recounted_at, GetCurrentTimestamp(), RECOUNT_AGAIN))
	{
		recounted_at = GetCurrentTimestamp();
		(void) recount(backlog);
	}
	if (pg_atomic_read_u32(&backlog->careful) == 0)
		found = work_once(backlog);
	else
		found = first && process_carefully(backlog);
	if (found && first && ++batches % TIDY_BATCHES == 0)
		(void) tidy(backlog, false);
	if (!found)
		return wait_for_lanes(backlog, first);
	gather();
	return 0;
}

/* Job: reports that wait; further workers help, except after a crash. */
static long
drain_job(void)
{
	static bool worked = true;
	bool		first = !clinical_is_further_worker();
	ClinicalBacklog *backlog = counted_backlog();
	long		delay;

	if (backlog == NULL)
		return -1;
	if (clinical_intake_waiting(backlog) > 0 || clinical_batch_is_due(backlog))
	{
		worked = true;
		return work(backlog, first);
	}
	if (!first)
		return -1;
	/* what was under way when the server crashed is through */
	if (pg_atomic_read_u32(&backlog->rows[CLINICAL_RETRIED]) == 0)
		pg_atomic_write_u32(&backlog->careful, 0);
	delay = rest(backlog, worked);
	worked = false;
	return delay;
}

/* Give the workers their job. */
void
clinical_intake_drain_init(void)
{
	static const ClinicalJob job = {"intake", drain_job, true, true};

	clinical_register_job(&job);
	clinical_batch_init();
}

/*
 * In the foreground: are reports left to the workers?  After a crash of the server
 * they process them one by one, so that the one that crashes it is found.
 */
static bool
is_left_to_workers(ClinicalBacklog *backlog)
{
	if (pg_atomic_read_u32(&backlog->careful) == 0 || clinical_workers_running() == 0)
		return false;
	ereport(NOTICE,
			(errmsg("reports are left to the background workers"),
			 errdetail("After a crash of the server they process reports one by one, to find one that may be the cause.")));
	return true;
}

/* SQL: process staged reports in the foreground. */
Datum
clinical_process_reports(PG_FUNCTION_ARGS)
{
	int64		limit = PG_ARGISNULL(0) ? 1 : PG_GETARG_INT32(0);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "clinical drain", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	ClinicalBacklog *backlog;
	int64		done = 0;
	int			count;

	clinical_require_arg(limit > 0, "max_reports must be positive");
	PreventCommandIfReadOnly("process_reports()");
	PreventCommandIfParallelMode("process_reports()");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("reports can only be processed in a READ COMMITTED transaction")));
	backlog = clinical_intake_backlog();
	/* what the same statement has put in is there; what comes while this goes on is not waited for */
	CommandCounterIncrement();
	if (PG_ARGISNULL(0))
		limit = clinical_intake_waiting(backlog) + clinical_intake_own() + pg_atomic_read_u32(&backlog->rows[CLINICAL_RETRIED]);
	if (is_left_to_workers(backlog))
		limit = 0;
	while (done < limit)
	{
		CHECK_FOR_INTERRUPTS();
		count = drain_batch(backlog, (int) Min(limit - done, clinical_batch_size), false, false);
		MemoryContextReset(context);
		if (count == 0)
			break;
		done += count;
	}
	if (clinical_workers_running() == 0)
		clinical_segments_turn_large(backlog);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	PG_RETURN_INT64(done);
}

/* SQL: wait until no committed report waits any more. */
Datum
clinical_wait_until_drained(PG_FUNCTION_ARGS)
{
	static uint32 wait_event = 0;
	ClinicalBacklog *backlog;
	TimestampTz until = DT_NOEND;

	PreventCommandDuringRecovery("clinical.wait_until_drained()");
	backlog = clinical_intake_backlog();
	if (!PG_ARGISNULL(0))
		until = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
														TimestampTzGetDatum(GetCurrentTimestamp()), PG_GETARG_DATUM(0)));
	while (clinical_intake_waiting(backlog) > 0 ||
		   (int) pg_atomic_read_u32(&backlog->rows[CLINICAL_RETRIED]) > clinical_intake_own_put_off())
	{
		if (GetCurrentTimestamp() >= until)
			PG_RETURN_BOOL(false);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 5,
						 CLINICAL_WAIT_EVENT(wait_event, "ClinicalDrain"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	PG_RETURN_BOOL(true);
}
