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

/* patient_zone.c: where a patient lives; with all rights, for who may have the answer */

/* What is looked into, for as many questions as one snapshot is good for */
typedef struct ClinicalPatientLook
{
	ClinicalFinder told;
	ClinicalFinder events;
	ClinicalFinder centers;
} ClinicalPatientLook;

#define CLINICAL_PATIENT_LOOK { \
	.told = {.table = "patient_time_zone", .nkeys = 1, .types = {TEXTOID}}, \
	.events = {.table = "enrollment_event", .nkeys = 1, .types = {TEXTOID}}, \
	.centers = {.table = "center", .nkeys = 1, .types = {INT8OID}}, \
}

/* An event of a patient */
typedef struct ClinicalEvent
{
	int			number;
	bool		enrolled;
	DateADT		day;
	int64		center_id;
} ClinicalEvent;

extern DateADT clinical_day_in(Datum zone, TimestampTz moment);
extern int	clinical_patient_events(ClinicalPatientLook *look, Datum patient_id, ClinicalEvent **events);
extern Datum clinical_patient_zone(ClinicalPatientLook *look, Datum patient_id, const ClinicalEvent *events, int nevents,
								   TimestampTz moment);
extern void clinical_patient_look_close(ClinicalPatientLook *look);

#endif							/* CLINICAL_PATIENT_H */
