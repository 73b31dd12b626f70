/*-------------------------------------------------------------------------
 *
 * worker_main.c
 *		The worker of a database: runs the jobs that are due.
 *
 * It runs as a role without rights of its own, waits with no transaction open,
 * and ends with the first error: the launcher starts it again.  Each transaction
 * begins with a look whether the extension is (still) there, and keeps it from
 * being dropped until the end.
 *
 * A further worker does the same with the shared jobs only, and ends when it has
 * nothing to do for a while.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "core.h"
#include "observe.h"
#include "worker_slot.h"

/* The longest time (ms) between two looks whether the extension is still there,
 * and that time while there is one of another version than ours */
#define LOOK_INTERVAL	60000
#define VERSION_INTERVAL 10000

/* What the last look at the extension found */
typedef enum Finding
{
	NOT_LOOKED,
	FOUND,
	OTHER_VERSION,
	GONE,
	UNSAFE_ROLE
} Finding;

static ClinicalSlot *slot;
static ClinicalWorkerPlace *place;	/* of a further worker; NULL: the first */
static pg_atomic_uint32 *woken; /* the slot's or the place's */
static ClinicalWorkerStart orders;
static ClinicalWorkerState end_state = CLINICAL_WORKER_FAILED;
static Finding finding = NOT_LOOKED;
static bool started_told = false;
static uint32 asks_seen = 0;	/* the slot's, before the last look */
static TimestampTz due[CLINICAL_MAX_JOBS];
static bool wrote = false;		/* has the job that runs changed anything? */
static TimestampTz last_work;
static int	last_sqlerrcode = 0;
static MemoryContext loop_context = NULL;	/* emptied between rounds of jobs */
static emit_log_hook_type previous_log_hook = NULL;

/* Hook: remember the error that ends the worker, for those who ask the slot. */
static void
remember_error(ErrorData *edata)
{
	if (edata->elevel >= ERROR)
		last_sqlerrcode = edata->sqlerrcode;
	if (previous_log_hook)
		previous_log_hook(edata);
}

/* Why the worker ends, for the log; an error is told by its SQLSTATE. */
static const char *
end_reason(int code)
{
	if (code != 0 && last_sqlerrcode == 0)
		return "server_gone";
	if (code != 0)
		return ERRCODE_TO_CATEGORY(last_sqlerrcode) == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION) ?
			"told_to_end" : "error";
	if (end_state == CLINICAL_WORKER_ABSENT)
		return finding == OTHER_VERSION ? "other_version" : "no_extension";
	if (end_state == CLINICAL_WORKER_REFUSED)
		return "unsafe_role";
	if (end_state == CLINICAL_WORKER_STOPPED)
		return place->leaving ? "dismissed" : "idle";
	return "told_to_end";
}

/* Tell of the end, if the beginning was told, or of a worker that could not begin. */
static void
tell_end(int code)
{
	const char *state = code == 0 ? "" : psprintf(" sqlstate=%s", unpack_sql_state(last_sqlerrcode));

	if (started_told || code != 0)
		clinical_event(CLINICAL_EVENT_WORKER_ENDED, "datid=%u kind=%s pid=%d reason=%s%s", orders.database,
					   place == NULL ? "first" : "further", MyProcPid, end_reason(code), state);
}

/* Exit callback: leave the slot or place, if it was taken. */
static void
worker_exit(int code, Datum arg)
{
	tell_end(code);
	if (place != NULL)
		clinical_place_detach(place, orders.generation, end_state, last_sqlerrcode);
	else
		clinical_slot_detach(slot, orders.generation, end_state, last_sqlerrcode, asks_seen);
}

/* Settings that must not come from the configuration, the database or the role. */
static void
set_safe_settings(void)
{
	static const char *const settings[][2] = {
		{"role", "none"},
		{"row_security", "on"},
		{"search_path", ""},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"transaction_timeout", "0"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"max_parallel_workers_per_gather", "0"},
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
	{
		/* not every version has all of them */
		if (GetConfigOption(settings[i][0], true, false) != NULL)
			SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	}
}

/* Take the slot or place that the launcher meant; false if it means it no longer. */
static bool
attach(int index)
{
	bool		meant;

	memcpy(&orders, MyBgworkerEntry->bgw_extra, sizeof(orders));
	slot = &clinical_workers->slots[index];
	if (orders.place >= 0)
		place = &clinical_workers->places[orders.place];
	woken = place == NULL ? &slot->woken : &place->woken;
	if (place != NULL)
		CLINICAL_FAULT("further_start");
	before_shmem_exit(worker_exit, (Datum) 0);
	meant = place == NULL ? clinical_slot_attach(slot, &orders) :
		clinical_place_attach(place, slot, &orders);
	if (place != NULL)
		CLINICAL_FAULT("further_attached");
	clinical_worker_slot = slot;
	clinical_worker_place = place;
	return meant;
}

/*
 * Handle signals, take the slot, connect.  A request to end may come at any
 * moment from the first line on, and the exit callback stands before the slot is
 * taken.
 */
static void
worker_begin(int index)
{
	const char *name = "clinical worker";

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();

	if (!attach(index))
		proc_exit(0);
	previous_log_hook = emit_log_hook;
	emit_log_hook = remember_error;

	BackgroundWorkerInitializeConnectionByOid(orders.database, orders.role,
											  CLINICAL_CONNECTION_FLAGS);
	set_safe_settings();
	if (place != NULL)
		name = "clinical further worker";
	/* for pg_stat_activity, and for the log, which knows the setting alone */
	SetConfigOption("application_name", name, PGC_USERSET, PGC_S_OVERRIDE);
	pgstat_report_activity(STATE_IDLE, NULL);
	/* a reload while signals were blocked was missed */
	ConfigReloadPending = true;
}

/*
 * The Oid of the extension, or InvalidOid, and its version.  From the catalog
 * itself: a cached row may be out of date, since who changed it wakes the worker
 * before it tells caches.
 */
static Oid
find_extension(char **version)
{
	Relation	relation = table_open(ExtensionRelationId, AccessShareLock);
	Oid			extension = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("clinical"));
	scan = systable_beginscan(relation, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		datum = heap_getattr(tuple, Anum_pg_extension_extversion,
										 RelationGetDescr(relation), &isnull);

		extension = ((Form_pg_extension) GETSTRUCT(tuple))->oid;
		*version = isnull ? NULL : TextDatumGetCString(datum);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return extension;
}

/*
 * Look at the extension, in a transaction.  It is locked first: DROP EXTENSION
 * takes the lock before all others, so neither waits for the other in the middle.
 */
static Finding
look(void)
{
	Oid			extension;
	char	   *version = NULL;

	clinical_event_know_database();
	if (has_bypassrls_privilege(GetUserId()))
		return UNSAFE_ROLE;		/* true of superusers, too */
	extension = find_extension(&version);
	if (!OidIsValid(extension))
		return GONE;

	/*
	 * whoever holds the lock may do so for long: hold back no vacuum
	 * meanwhile
	 */
	InvalidateCatalogSnapshot();
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	InvalidateCatalogSnapshot();
	if (find_extension(&version) != extension)
		return GONE;
	return version != NULL && strcmp(version, CLINICAL_VERSION) == 0 ? FOUND : OTHER_VERSION;
}

/*
 * Begin a transaction that has SPI and a snapshot and is seen doing something.
 * False, and no transaction, if the extension is gone or of another version than
 * the library, or the role may do too much: the job has nothing more to do.
 */
bool
clinical_worker_begin(const char *activity)
{
	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, activity);
	StartTransactionCommand();
	finding = look();
	if (finding != FOUND)
	{
		CommitTransactionCommand();
		pgstat_report_activity(STATE_IDLE, NULL);
		return false;
	}
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	CLINICAL_FAULT("worker_begun");
	return true;
}

/* Commit it; the statistics too, or autovacuum would not learn of the changes. */
void
clinical_worker_commit(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CLINICAL_FAULT("worker_commit");
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		wrote = true;
	CommitTransactionCommand();
	clinical_doing_settle(true);
	MemoryContextSwitchTo(loop_context);
	CLINICAL_FAULT("worker_committed");
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* Give it up: nothing was done. */
void
clinical_worker_abort(void)
{
	AbortCurrentTransaction();
	clinical_doing_settle(false);
	MemoryContextSwitchTo(loop_context);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* Has a backend said that the extension may have come or gone since the last look? */
static bool
asked_again(void)
{
	uint32		asks;
	bool		again;

	LWLockAcquire(clinical_workers_lock, LW_SHARED);
	asks = slot->asks;
	LWLockRelease(clinical_workers_lock);
	again = asks != asks_seen;
	asks_seen = asks;
	return again;
}

/* Tell the slot or place that the worker has begun to work; the launcher may start others. */
static void
report_running(void)
{
	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	if (place != NULL)
		place->state = CLINICAL_WORKER_RUNNING;
	else
		slot->state = CLINICAL_WORKER_RUNNING;
	clinical_launcher_wake();
	LWLockRelease(clinical_workers_lock);
}

/* The worker is there: tell it once, but not of one that looks in vain. */
static void
tell_start(void)
{
	started_told = true;
	clinical_event(CLINICAL_EVENT_WORKER_STARTED, "datid=%u kind=%s pid=%d", orders.database,
				   place == NULL ? "first" : "further", MyProcPid);
}

/* End, not to be started again before something changes. */
static void
leave(ClinicalWorkerState state)
{
	end_state = state;
	proc_exit(0);
}

/*
 * Look at the extension if that is due, and end if it is gone, or a further worker
 * is of no use; where it is found anew, all jobs are due.
 */
static void
look_if_due(bool timed_out)
{
	Finding		before = finding;
	const ClinicalWorkerState *state = place == NULL ? &slot->state : &place->state;

	if (asked_again() || timed_out || finding != FOUND)
	{
		if (clinical_worker_begin("looking for the extension"))
			clinical_worker_commit();
	}
	if (finding == GONE)
		leave(CLINICAL_WORKER_ABSENT);
	if (finding == UNSAFE_ROLE)
		leave(CLINICAL_WORKER_REFUSED);
	if (finding == OTHER_VERSION && place != NULL)
		leave(CLINICAL_WORKER_ABSENT);
	if (*state == CLINICAL_WORKER_STARTING)
	{
		tell_start();
		report_running();
	}
	if (finding == FOUND && before != FOUND)
		pg_atomic_write_u32(woken, 1);
}

/* Run a job, and note when it wants to run again. */
static void
run_job(int index)
{
	long		delay;
	TimestampTz now;

	wrote = false;
	clinical_doing_begin(index);
	delay = clinical_jobs[index]->run();
	now = GetCurrentTimestamp();
	due[index] = delay < 0 ? DT_NOEND : TimestampTzPlusMilliseconds(now, delay);
	if (delay == 0 || wrote)
		last_work = now;
	clinical_doing_end(wrote, last_work);
}

/*
 * Run the jobs that are due, all of them if somebody woke the worker.  Those that
 * are not a further worker's never become due there.
 */
static void
run_jobs(void)
{
	bool		all;

	if (finding != FOUND)
		return;
	all = pg_atomic_exchange_u32(woken, 0) != 0;
	for (int i = 0; i < clinical_njobs && finding == FOUND; i++)
	{
		if (place != NULL && !clinical_jobs[i]->shared)
			due[i] = DT_NOEND;
		else if ((all && clinical_jobs[i]->woken) || GetCurrentTimestamp() >= due[i])
			run_job(i);
		CHECK_FOR_INTERRUPTS();
	}
}

/* When a further worker without work ends. */
static TimestampTz
idle_end(void)
{
	return TimestampTzPlusMilliseconds(last_work, clinical_worker_idle_timeout);
}

/* End, if this is a further worker that is to make way, or had nothing to do for long. */
static void
leave_if_due(void)
{
	if (place == NULL)
		return;
	if (place->leaving || (GetCurrentTimestamp() >= idle_end() && clinical_place_give_up(place)))
		leave(CLINICAL_WORKER_STOPPED);
}

/* How long (ms) the worker may wait. */
static long
time_to_wait(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long		timeout = finding == FOUND ? LOOK_INTERVAL : VERSION_INTERVAL;

	for (int i = 0; i < clinical_njobs && finding == FOUND; i++)
	{
		if (due[i] < DT_NOEND)
			timeout = Min(timeout, TimestampDifferenceMilliseconds(now, due[i]));
	}
	if (place != NULL)
		timeout = Min(timeout, TimestampDifferenceMilliseconds(now, idle_end()));
	return timeout;
}

/*
 * Wait until there is something to do; true if nothing came up in all the time.
 * A cancel request has nothing to cancel here, and told to end, the worker does
 * so without a line in the log.
 */
static bool
wait_for_work(void)
{
	static uint32 wait_event = 0;
	int			events;

	if (place != NULL)
		pg_atomic_write_u64(&place->asleep, (uint64) GetCurrentTimestamp());
	events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, time_to_wait(),
					   CLINICAL_WAIT_EVENT(wait_event, "ClinicalWorker"));
	ResetLatch(MyLatch);
	if (place != NULL)
		pg_atomic_write_u64(&place->asleep, 0);
	QueryCancelPending = false;
	if (ProcDiePending)
		proc_exit(0);			/* nobody but the launcher starts workers */
	CHECK_FOR_INTERRUPTS();
	return (events & WL_TIMEOUT) != 0;
}

/* The process. */
void
clinical_worker_main(Datum arg)
{
	bool		timed_out = false;

	worker_begin(DatumGetInt32(arg));
	last_work = GetCurrentTimestamp();
	loop_context = AllocSetContextCreate(TopMemoryContext, "clinical worker", ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextSwitchTo(loop_context);
		look_if_due(timed_out);
		run_jobs();
		clinical_event_tell_left_out();
		MemoryContextReset(loop_context);
		leave_if_due();
		timed_out = wait_for_work();
	}
}
