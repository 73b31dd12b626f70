/*-------------------------------------------------------------------------
 *
 * worker_slot.h
 *		What the rooms of the module worker share: a slot in shared memory for
 *		each database, and a place for each further worker.
 *
 * One LWLock guards all slots and places.  While it is held nothing is done that can raise
 * an error, wait or allocate.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_WORKER_SLOT_H
#define CLINICAL_WORKER_SLOT_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/wait_event.h"

#include "worker.h"

#define CLINICAL_WORKER_ROLE "clinical_worker"

typedef enum ClinicalWorkerState
{
	CLINICAL_WORKER_UNKNOWN,	/* nobody has looked into the database yet */
	CLINICAL_WORKER_STARTING,
	CLINICAL_WORKER_RUNNING,
	CLINICAL_WORKER_ABSENT,		/* the database does not have the extension */
	CLINICAL_WORKER_REFUSED,	/* the workers' role has rights that it must
								 * not have */
	CLINICAL_WORKER_STOPPED,	/* on request, or by a setting */
	CLINICAL_WORKER_FAILED		/* ended by itself; started again at
								 * next_start */
} ClinicalWorkerState;

/* Of a database's further workers, what outlives each of them */
typedef struct ClinicalFurther
{
	pg_atomic_uint32 processes; /* of the first worker and the further ones */
	pg_atomic_uint32 wish;		/* how many the launcher is asked for */
	pg_atomic_uint64 wished_at;
	TimestampTz next_start;		/* not before */
	int			failures;		/* in a row */
	int			sqlerrcode;		/* of the last one, 0 if it is not known */
} ClinicalFurther;

/* What a process does and has done, which it alone writes */
typedef struct ClinicalDoing
{
	pg_atomic_uint32 job;		/* its number, from 1; 0: it waits for work */
	pg_atomic_uint32 batch;		/* reports that it has in hand */
	pg_atomic_uint64 lanes;		/* theirs, a bit each */
	pg_atomic_uint64 since;		/* when it began that, or had nothing more to do */
	pg_atomic_uint64 done;		/* runs of jobs that changed something */
	pg_atomic_uint64 reports;	/* of batches that were committed */
	pg_atomic_uint64 failed;	/* batches and the like */
} ClinicalDoing;

typedef struct ClinicalSlot
{
	Oid			database;		/* InvalidOid: the slot is free */
	ClinicalWorkerState state;
	uint32		generation;		/* of the last start; a late starter of an
								 * earlier one sees that it is not meant */
	Oid			role;			/* that the process runs as */
	pid_t		pid;			/* 0: there is no process in this slot */
	PGPROC	   *proc;			/* of that process */
	bool		stopped;		/* by stop_workers() */
	int			holds;			/* commands under way that need the database
								 * without workers */
	ClinicalWorkerState dismissed;	/* the state to end in, if the launcher
									 * told the process to end; else UNKNOWN */
	uint32		asks;			/* times that the extension may have come or
								 * gone */
	ClinicalBacklog backlog;	/* left alone by this module but for its
								 * beginning */
	pg_atomic_uint32 woken;		/* is there work that the process has not
								 * seen? */
	ClinicalDoing doing;
	TimestampTz started_at;
	int			starts;			/* so many processes were here */
	TimestampTz next_start;		/* not before */
	int			failures;		/* in a row */
	int			sqlerrcode;		/* of the last one, 0 if it is not known */
	ClinicalFurther further;
} ClinicalSlot;

/* The most that clinical.max_workers can be */
#define CLINICAL_MAX_WORKERS 64

/*
 * A place for a further worker, of whichever database.  While it is taken, its
 * database keeps its slot.
 */
typedef struct ClinicalWorkerPlace
{
	ClinicalSlot *slot;			/* of its database; NULL: the place is free */
	ClinicalWorkerState state;	/* starting or running */
	uint32		generation;		/* as in a slot */
	Oid			role;			/* as in a slot */
	pid_t		pid;			/* as in a slot */
	PGPROC	   *proc;			/* as in a slot */
	bool		leaving;		/* told to end, or about to by itself */
	bool		occupied;		/* by something that takes long */
	pg_atomic_uint64 asleep;	/* since when it waits for work; 0: it does not */
	pg_atomic_uint32 woken;		/* as in a slot */
	ClinicalDoing doing;
	TimestampTz started_at;
} ClinicalWorkerPlace;

typedef struct ClinicalWorkers
{
	PGPROC	   *launcher;		/* NULL: it does not run */
	uint32		generation;		/* the last one given out */
	uint32		dropped;		/* databases whose slots were given up */
	bool		crashed;		/* the server has not been shut down before it
								 * was started */
	ConditionVariable ended;	/* a worker has ended */
	TimestampTz no_further_before;	/* PostgreSQL had no slot for one */
	bool		lacks_slot;		/* nor for the last one that was asked for; the
								 * launcher's */
	ClinicalWorkerPlace places[CLINICAL_MAX_WORKERS];
	int			nslots;
	ClinicalSlot slots[FLEXIBLE_ARRAY_MEMBER];
} ClinicalWorkers;

/* What the launcher tells a worker when it starts it (bgw_extra) */
typedef struct ClinicalWorkerStart
{
	Oid			database;
	Oid			role;
	uint32		generation;
	int			place;			/* -1: the database's first worker */
} ClinicalWorkerStart;

/* What the launcher knows of the worker that it last started in a slot or place */
typedef struct ClinicalStart
{
	BackgroundWorkerHandle *handle;
	uint32		generation;
} ClinicalStart;

/* What the catalogs say of databases and of the workers' role */
typedef struct ClinicalCensus
{
	uint32		generation;		/* slots made later are not judged by it */
	uint32		dropped;
	Oid			role;			/* InvalidOid: there is none */
	bool		role_unsafe;
	List	   *known;			/* Oids of all databases */
	List	   *served;			/* of those that may have a worker */
} ClinicalCensus;

/* worker.c */
extern bool clinical_workers_on;
extern int	clinical_worker_restart_delay;
extern int	clinical_worker_idle_timeout;
extern const ClinicalJob *clinical_jobs[CLINICAL_MAX_JOBS];
extern int	clinical_njobs;

/* worker_slot.c */
extern ClinicalWorkers *clinical_workers;	/* NULL: not preloaded */
extern LWLock *clinical_workers_lock;

extern void clinical_slots_init(void);
extern ClinicalSlot *clinical_slot_find(Oid database);
extern ClinicalSlot *clinical_slot_make(Oid database);
extern void clinical_slot_free(ClinicalSlot *slot);
extern bool clinical_slot_is_empty(const ClinicalSlot *slot);
extern int	clinical_failed_again(int *failures, TimestampTz running_since, TimestampTz now);
extern void clinical_slot_failed(ClinicalSlot *slot);
extern void clinical_slot_end_process(ClinicalSlot *slot);
extern bool clinical_slot_attach(ClinicalSlot *slot, const ClinicalWorkerStart *start);
extern void clinical_slot_detach(ClinicalSlot *slot, uint32 generation,
								 ClinicalWorkerState end, int sqlerrcode, uint32 asks);
extern void clinical_launcher_wake(void);
extern bool clinical_wait_ended(Oid database, int timeout);

/* worker_pool.c */
extern ClinicalSlot *clinical_worker_slot;	/* of a worker; NULL elsewhere */
extern ClinicalWorkerPlace *clinical_worker_place;	/* of a further worker */

extern void clinical_places_initialize(ClinicalWorkers *shared);
extern void clinical_further_initialize(ClinicalFurther *further);
extern void clinical_place_free(ClinicalWorkerPlace *place);
extern void clinical_place_end(ClinicalWorkerPlace *place);
extern void clinical_place_dismiss(ClinicalWorkerPlace *place);
extern ClinicalWorkerPlace *clinical_place_to_spare(const ClinicalSlot *wisher, int few, TimestampTz now);
extern void clinical_further_end(ClinicalSlot *slot);
extern void clinical_further_failed(ClinicalSlot *slot, TimestampTz running_since, int sqlerrcode);
extern int	clinical_further_count(const ClinicalSlot *slot);
extern int	clinical_further_free(const ClinicalSlot *slot);
extern int	clinical_further_pids(const ClinicalSlot *slot, pid_t *pids);
extern void clinical_further_alert(const ClinicalSlot *slot);
extern int	clinical_count_workers(bool with_leaving);
extern bool clinical_further_may_start(const ClinicalSlot *slot, TimestampTz now);
extern bool clinical_wish_is_fresh(ClinicalSlot *slot, TimestampTz now);
extern bool clinical_place_attach(ClinicalWorkerPlace *place, const ClinicalSlot *slot,
								  const ClinicalWorkerStart *start);
extern void clinical_place_detach(ClinicalWorkerPlace *place, uint32 generation,
								  ClinicalWorkerState end, int sqlerrcode);
extern bool clinical_place_give_up(ClinicalWorkerPlace *place);

/* worker_doing.c */
extern void clinical_doing_initialize(ClinicalDoing *doing);
extern void clinical_doing_reset(ClinicalDoing *doing);
extern void clinical_doing_begin(int job);
extern void clinical_doing_end(bool changed, TimestampTz idle_since);
extern void clinical_doing_settle(bool committed);

/* worker_census.c */
extern void clinical_take_census(ClinicalCensus *census);
extern bool clinical_align_slots(const ClinicalCensus *census);

/* worker_hook.c */
extern void clinical_worker_hook_init(void);

/* worker_launcher.c */
extern bool clinical_may_run(const ClinicalSlot *slot, const ClinicalCensus *census,
							 ClinicalWorkerState *otherwise);
extern bool clinical_start_worker(ClinicalStart *start, int slot, const ClinicalWorkerStart *meant);
extern bool clinical_start_failed(const ClinicalStart *start, TimestampTz since, TimestampTz now);
extern void clinical_tell_no_slot(void);

/* worker_grant.c */
extern void clinical_serve_further(const ClinicalCensus *census, int may_start);
extern int	clinical_further_starting(TimestampTz now, int stuck);
extern bool clinical_make_room(void);

/* worker_launcher.c, worker_main.c: where the processes begin */
extern PGDLLEXPORT void clinical_launcher_main(Datum arg);
extern PGDLLEXPORT void clinical_worker_main(Datum arg);

#endif							/* CLINICAL_WORKER_SLOT_H */
