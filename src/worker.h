/*-------------------------------------------------------------------------
 *
 * worker.h
 *		Background workers: one in each database that has the extension, and
 *		further ones while there is work for them.
 *
 * A module that has something to do in the background registers a job when the
 * library is loaded, and wakes the worker from the transactions that leave it
 * work.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_WORKER_H
#define CLINICAL_WORKER_H

#include "datatype/timestamp.h"
#include "port/atomics.h"

/*
 * A kind of work.  run() is called with no transaction open, when the worker
 * starts, if it is such a job whenever it is woken, and when the time is up that run() gave: the
 * milliseconds until it wants to run again at the latest (-1: only when woken).
 * An error in it ends the worker, which is started again after a while; all jobs
 * run again then.  What takes long checks for interrupts, and leaves at most one
 * batch of work to a transaction.
 *
 * A shared job is run by the database's further workers, too, so several processes
 * may run it at a time.  There run() that returned 0, or wrote something, had work;
 * a worker without any for clinical.worker_idle_timeout ends, whatever time run()
 * gave.
 *
 *	static long
 *	run(void)
 *	{
 *		if (!clinical_worker_begin("sealing the audit trail"))
 *			return -1;
 *		... SPI, as the role clinical_worker ...
 *		clinical_worker_commit();
 *		return 60000;
 *	}
 */
typedef struct ClinicalJob
{
	const char *name;
	long		(*run) (void);
	bool		shared;			/* further workers run it, too */
	bool		woken;			/* it runs when somebody wakes the worker, not
								 * only when its time is up */
} ClinicalJob;

#define CLINICAL_MAX_JOBS 12

extern void clinical_worker_init(void);
extern void clinical_register_job(const ClinicalJob *job);

/* In run(): a transaction with SPI and a snapshot; false: return, there is none */
extern bool clinical_worker_begin(const char *activity);
extern void clinical_worker_commit(void);
extern void clinical_worker_abort(void);

/*
 * In a worker, at any time: this database has work for so many further workers
 * now.  So many that wait are woken, and what is missing is started as far as
 * clinical.max_workers allows.  A wish that cannot be fulfilled within a second
 * is forgotten: whoever still has the work says so again.
 */
extern void clinical_want_workers(int further);

/*
 * In a further worker: what it does now takes long, so it is not there for anything
 * else; others are started in its stead, as far as clinical.max_workers allows.
 */
extern void clinical_worker_occupied(bool occupied);

/*
 * In a worker: it has so many reports of these lanes (a bit each) in hand, until its
 * transaction ends; and a batch, or something else that it was to do, failed, and it
 * goes on.  For stat_worker; elsewhere nothing comes of it.
 */
extern void clinical_worker_works_on(uint64 lanes, uint32 reports);
extern void clinical_worker_failed(void);

/* For health(): does no worker run here?  On purpose: it was said that none is to run. */
extern bool clinical_worker_missing(bool *on_purpose, const char **why, const char **remedy);

/* The processes that work in this database, first and further */
extern int	clinical_workers_running(void);
extern bool clinical_in_worker(void);
extern bool clinical_is_further_worker(void);
extern int	clinical_max_workers;
extern int	clinical_max_databases;

/*
 * What is kept of a database in shared memory: how many reports wait, hints where
 * they stand, when an alert is due, and whether project reports are asked for.  It lies in the database's slot, whose owner knows
 * its size and nothing else about it.
 */
#define CLINICAL_LANES 64
#define CLINICAL_STAGES 5
#define CLINICAL_MAX_QUOTAS 32

/* Since when the queue, or a project's share of it, has no place, as long as that is so */
typedef struct ClinicalFull
{
	pg_atomic_uint32 state;		/* whose owner alone writes the rest */
	TimestampTz since;
	int64		limit;			/* of a share */
	char		project[96];	/* whose share it is, as the log has it */
} ClinicalFull;

/* Of these, the one that is about the whole queue */
#define CLINICAL_WHOLE_QUEUE CLINICAL_MAX_QUOTAS

typedef struct ClinicalBacklog
{
	pg_atomic_uint64 count;		/* places taken: in flight and committed */
	pg_atomic_uint32 counted;	/* the table that was counted; 0: none yet */
	pg_atomic_uint64 counted_at;	/* when */
	pg_atomic_uint32 recount;	/* rows have come another way */
	pg_atomic_uint32 current;	/* the segment that takes reports in */
	pg_atomic_uint32 turn[CLINICAL_STAGES]; /* as the how manieth it did so */
	pg_atomic_uint32 careful;	/* so many reports are still to be processed
								 * one by one, since the server crashed */
	pg_atomic_uint64 retry_due; /* when the first report that was put off is
								 * due; DT_NOEND: never */
	pg_atomic_uint64 escalate_due;	/* when the first alert is to be escalated;
									 * DT_NOEND: none that is known */
	pg_atomic_uint32 waiting[CLINICAL_LANES];	/* committed, by lane */
	pg_atomic_uint64 oldest[CLINICAL_LANES];	/* no report of the lane waits for
												 * longer, if one does */
	pg_atomic_uint32 rows[CLINICAL_STAGES]; /* in flight and committed, by
											 * table */
	pg_atomic_uint32 last_xid[CLINICAL_STAGES]; /* the last to delete there */
	pg_atomic_uint32 low[CLINICAL_STAGES][CLINICAL_LANES];	/* before this block
															 * nothing waits */
	pg_atomic_uint64 quota_project[CLINICAL_MAX_QUOTAS];	/* that have a share; 0:
															 * none */
	pg_atomic_uint32 quota_count[CLINICAL_MAX_QUOTAS];	/* places they have taken */
	ClinicalFull full[CLINICAL_MAX_QUOTAS + 1]; /* their shares, and the queue */
	pg_atomic_uint32 jobs_asked;	/* goes up when a project report is asked for */
	pg_atomic_uint32 jobs_queued;	/* is there perhaps one that nobody makes yet? */
	pg_atomic_uint64 jobs_stuck;	/* since when none is made though there are
									 * some; 0: all is well */
} ClinicalBacklog;

/* Anywhere */
extern ClinicalBacklog *clinical_backlog(void);
extern bool clinical_lower_moment(pg_atomic_uint64 *moment, TimestampTz value);
extern void clinical_wake_worker(void);
extern bool clinical_database_may_have_extension(void);
extern bool clinical_server_crashed(void);

#endif							/* CLINICAL_WORKER_H */
