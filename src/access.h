/*-------------------------------------------------------------------------
 *
 * access.h
 *		Who may see which center.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_ACCESS_H
#define CLINICAL_ACCESS_H

#include "core.h"

extern const ClinicalInvariant clinical_access_invariants[];
extern const int clinical_access_ninvariants;

extern void clinical_access_init(void);
extern bool clinical_has_rights_of(Oid role, const char *name);

#endif							/* CLINICAL_ACCESS_H */
