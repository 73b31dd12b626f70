/*-------------------------------------------------------------------------
 *
 * worker_slot.h
 *		What the rooms of the module worker share: a slot in shared memory for
 *		each database.
 *
 * One LWLock guards all slots.  While it is held nothing is done that can raise
 * an error, wait or allocate.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_WORKER_SLOT_H
#define CLINICAL_WORKER_SLOT_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "port/atomics.h"
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
	TimestampTz started_at;
	TimestampTz next_start;		/* not before */
	int			failures;		/* in a row */
	int			sqlerrcode;		/* of the last one, 0 if it is not known */
} ClinicalSlot;

typedef struct ClinicalWorkers
{
	PGPROC	   *launcher;		/* NULL: it does not run */
	uint32		generation;		/* the last one given out */
	uint32		dropped;		/* databases whose slots were given up */
	ConditionVariable ended;	/* a worker has ended */
	int			nslots;
	ClinicalSlot slots[FLEXIBLE_ARRAY_MEMBER];
} ClinicalWorkers;

/* What the launcher tells a worker when it starts it (bgw_extra) */
typedef struct ClinicalWorkerStart
{
	Oid			database;
	Oid			role;
	uint32		generation;
} ClinicalWorkerStart;

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
extern int	clinical_max_databases;
extern int	clinical_worker_restart_delay;
extern const ClinicalJob *clinical_jobs[CLINICAL_MAX_JOBS];
extern int	clinical_njobs;

/* worker_slot.c */
extern ClinicalWorkers *clinical_workers;	/* NULL: not preloaded */
extern LWLock *clinical_workers_lock;

extern void clinical_slots_init(void);
extern ClinicalSlot *clinical_slot_find(Oid database);
extern ClinicalSlot *clinical_slot_make(Oid database);
extern void clinical_slot_free(ClinicalSlot *slot);
extern void clinical_slot_failed(ClinicalSlot *slot);
extern void clinical_slot_end_process(ClinicalSlot *slot);
extern bool clinical_slot_attach(ClinicalSlot *slot, const ClinicalWorkerStart *start);
extern void clinical_slot_detach(ClinicalSlot *slot, uint32 generation,
								 ClinicalWorkerState end, int sqlerrcode, uint32 asks);
extern void clinical_launcher_wake(void);
extern bool clinical_wait_ended(Oid database, int timeout);

/* worker_census.c */
extern void clinical_take_census(ClinicalCensus *census);
extern bool clinical_align_slots(const ClinicalCensus *census);

/* worker_hook.c */
extern void clinical_worker_hook_init(void);

/* worker_launcher.c, worker_main.c: where the processes begin */
extern PGDLLEXPORT void clinical_launcher_main(Datum arg);
extern PGDLLEXPORT void clinical_worker_main(Datum arg);

#endif							/* CLINICAL_WORKER_SLOT_H */
