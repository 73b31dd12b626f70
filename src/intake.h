/*-------------------------------------------------------------------------
 *
 * intake.h
 *		What the rooms of the module intake share: taking in reports of
 *		patients, and processing them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_INTAKE_H
#define CLINICAL_INTAKE_H

#include "core.h"
#include "instrument.h"

/* intake.c */
extern int	clinical_batch_size;
extern const ClinicalInvariant clinical_intake_invariants[];
extern const int clinical_intake_ninvariants;

extern void clinical_intake_init(void);
CLINICAL_NORETURN extern void clinical_submission_not_found(void);

/* intake_submit.c */

/* A report as it is submitted; NULL and 0: not given */
typedef struct ClinicalSubmission
{
	text	   *patient_id;
	Datum		id;
	TimestampTz captured_at;
	bool		has_captured_at;
	text	   *instrument;
	text	   *time_zone;
	text	   *originator;
	text	   *device_id;
	text	   *actor;
	text	   *trace_parent;
	Jsonb	   *data;
} ClinicalSubmission;

extern int	clinical_queue_capacity;
extern int	clinical_max_report_size;

extern void clinical_submission_require(const ClinicalSubmission *submission);
extern Datum clinical_submission_digest(const ClinicalSubmission *submission);

/* intake_count.c */
extern void clinical_intake_count_init(void);
extern void clinical_intake_require_count(void);
extern bool clinical_intake_reserve(int64 capacity);
extern void clinical_intake_reserve_anyway(void);
extern void clinical_intake_unreserve(void);
extern void clinical_intake_drained(int64 reports);

/* intake_judge.c */

/* A staged report, what is known about it, and what becomes of it */
typedef struct ClinicalStaged
{
	Datum		tid;
	Datum		patient_id;
	Datum		submission_id;
	Datum		captured_at;
	Datum		received_at;
	Datum		actor;			/* 0: none */
	Jsonb	   *data;
	bool		repeats;		/* the id was used before, or earlier in the
								 * batch */
	bool		same;			/* by the same report */
	bool		known;			/* the patient */
	int64		project_id;
	char	   *zone;			/* NULL: unknown patient */
	Datum		local_day;		/* 0: the same */
	const char *reason;			/* of quarantine, as far as the database knows;
								 * NULL: none */
	int64		version_id;		/* 0: no instrument */
	/* the verdict */
	const char *outcome;
	Jsonb	   *detail;
	ClinicalVerdict verdict;
} ClinicalStaged;

extern void clinical_intake_judge(ClinicalStaged *staged);

/* intake_drain.c */
extern void clinical_intake_drain_init(void);

#endif							/* CLINICAL_INTAKE_H */
