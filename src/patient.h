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

/* SQL, for the owner: the time zone of a patient at a moment; NULL: there is no such patient */
#define CLINICAL_ZONE_AT(patient_id, moment) \
	"COALESCE(" \
	"(SELECT z.time_zone FROM clinical.patient_time_zone z" \
	"  WHERE z.patient_id OPERATOR(pg_catalog.=) " patient_id \
	"    AND z.effective_from OPERATOR(pg_catalog.<=) " moment \
	"  ORDER BY z.effective_from DESC, z.event_no DESC LIMIT 1)," \
	"(SELECT c.time_zone FROM clinical.enrollment_event e" \
	"   JOIN clinical.center c ON c.id OPERATOR(pg_catalog.=) e.center_id" \
	"  WHERE e.patient_id OPERATOR(pg_catalog.=) " patient_id \
	"    AND (e.event_no OPERATOR(pg_catalog.=) 1 OR e.effective_on OPERATOR(pg_catalog.<=)" \
	"         (" moment " AT TIME ZONE c.time_zone)::pg_catalog.date)" \
	"  ORDER BY e.event_no DESC LIMIT 1))"

extern const ClinicalInvariant clinical_patient_invariants[];
extern const int clinical_patient_ninvariants;

CLINICAL_NORETURN extern void clinical_patient_not_found(void);

extern void clinical_check_patient_way(const char *from, const char *to);
extern DateADT clinical_check_day(Datum value, bool isnull, const char *what);

extern Datum clinical_patient_redact(const char *table_name, Datum row_key, Datum path);

extern Jsonb *clinical_merge(Jsonb *target, Jsonb *patch);

#endif							/* CLINICAL_PATIENT_H */
