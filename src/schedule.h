/*-------------------------------------------------------------------------
 *
 * schedule.h
 *		Reports and retention at their times, started by pg_cron.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_SCHEDULE_H
#define CLINICAL_SCHEDULE_H

#include "core.h"

extern const ClinicalInvariant clinical_schedule_invariants[];
extern const int clinical_schedule_ninvariants;

/* schedule.c: jobs */
extern void clinical_schedule_init(void);
extern int64 clinical_schedule_know(int64 job_id, Jsonb *document);
extern void clinical_schedule_end(int64 job_id, const char *reason);

/* schedule_cron.c: what pg_cron is told, with the caller's own rights */
extern bool clinical_cron_is_elsewhere(void);
extern void clinical_cron_add(int64 job_id);
extern void clinical_cron_remove(int64 job_id, Oid role);

#endif							/* CLINICAL_SCHEDULE_H */
