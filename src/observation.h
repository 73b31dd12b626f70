/*-------------------------------------------------------------------------
 *
 * observation.h
 *		Storing what was observed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_OBSERVATION_H
#define CLINICAL_OBSERVATION_H

#include "core.h"
#include "instrument.h"

extern const ClinicalInvariant clinical_observation_invariants[];
extern const int clinical_observation_ninvariants;
extern ClinicalPlan clinical_observation_comparison;

/* observation_store.c */

/* What all observations of a report have */
typedef struct ClinicalReportKey
{
	Datum		patient_id;
	Datum		submission_id;
	Datum		captured_at;
	Datum		local_day;
	Datum		actor;			/* 0: none */
} ClinicalReportKey;

/* The columns of a row of version 1; the last is not stored, but NULL */
typedef enum ObservedColumn
{
	OBSERVED_PATIENT_ID, OBSERVED_ITEM, OBSERVED_CAPTURED_AT, OBSERVED_ID, OBSERVED_SUBMISSION_ID, OBSERVED_REPEAT_KEY,
	OBSERVED_LOCAL_DAY, OBSERVED_VALUE, OBSERVED_VALUE_TEXT, OBSERVED_VALUE_CODE, OBSERVED_UNIT, OBSERVED_ABSENT,
	OBSERVED_IS_SCORE, OBSERVED_FLAGGED, OBSERVED_ACTOR, OBSERVED_RECORDED_AT, OBSERVED_RECORDED_BY, OBSERVED_REASON,
	OBSERVED_NCOLUMNS,
	OBSERVED_NSTORED = OBSERVED_REASON,
} ObservedColumn;

extern void clinical_observations_begin(ClinicalRows *rows);
extern int	clinical_observations_add(ClinicalRows *rows, const ClinicalReportKey *key, const ClinicalVerdict *verdict);
extern void clinical_observations_store(const ClinicalRows *rows);

/*
 * What a batch has stored, in its own transaction: who has to do something about
 * it is told.  Rows of a patient stand together, in both, and the patients in one
 * order.
 */
typedef struct ClinicalStored
{
	const ClinicalRows *submissions;
	int			patient_id;		/* the numbers of their columns */
	int			submission_id;
	int			project_id;
	int			version_id;
	int			captured_at;
	int			local_day;
	int			time_zone;
	int			actor;
	int			trace_parent;
	const ClinicalRows *observations;	/* by ObservedColumn */
} ClinicalStored;

typedef void (*ClinicalAfterStore) (const ClinicalStored *stored);

extern void clinical_register_after_store(ClinicalAfterStore callback);
extern void clinical_observations_stored(const ClinicalStored *stored);

/* observation_insert.c */

/* A table, and the columns of rows for it; the others are NULL */
typedef struct ClinicalTarget
{
	const char *table;
	int			nattributes;	/* as the table was made */
	bool		audited;		/* each row has a record of its own */
	const char *const *triggers;	/* ours, ended by NULL */
	const char *without;		/* a partial index of ours that has none of its
								 * rows */
	int			ncolumns;
	const char *const *columns;
	const char *constant;		/* a column that is the same in all rows, or
								 * NULL */
	Datum		value;			/* of it */
} ClinicalTarget;

extern bool clinical_insert_below(const ClinicalTarget *target, const ClinicalRows *rows);

/* observation_digest.c: what the audit record of a report covers them by */

extern const Oid clinical_observed_types[OBSERVED_NCOLUMNS];
extern const char *const clinical_observed_names[OBSERVED_NCOLUMNS];

extern Datum clinical_observations_digest(const ClinicalRows *rows, int count);

/* observation_redact.c */

extern Datum clinical_observation_redact(const char *table_name, Datum row_key, Datum path);

#endif							/* CLINICAL_OBSERVATION_H */
