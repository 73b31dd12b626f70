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

extern void clinical_observations_begin(ClinicalRows *rows);
extern int	clinical_observations_add(ClinicalRows *rows, const ClinicalReportKey *key, const ClinicalVerdict *verdict);
extern void clinical_observations_store(const ClinicalRows *rows);

#endif							/* CLINICAL_OBSERVATION_H */
