/*-------------------------------------------------------------------------
 *
 * patient.h
 *		What the rooms of the module and others ask about patients.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_PATIENT_H
#define CLINICAL_PATIENT_H

#include "utils/date.h"
#include "utils/jsonb.h"

#include "compat.h"
#include "core.h"

extern const ClinicalInvariant clinical_patient_invariants[];
extern const int clinical_patient_ninvariants;

CLINICAL_NORETURN extern void clinical_patient_not_found(void);

extern void clinical_check_patient_way(const char *from, const char *to);
extern DateADT clinical_check_day(Datum value, bool isnull, const char *what);

extern Datum clinical_patient_redact(const char *table_name, Datum row_key, Datum path);

extern Jsonb *clinical_merge(Jsonb *target, Jsonb *patch);

#endif							/* CLINICAL_PATIENT_H */
