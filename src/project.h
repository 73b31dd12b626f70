/*-------------------------------------------------------------------------
 *
 * project.h
 *		What others ask about projects and centers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_PROJECT_H
#define CLINICAL_PROJECT_H

#include "core.h"

extern const ClinicalInvariant clinical_project_invariants[];
extern const int clinical_project_ninvariants;

CLINICAL_NORETURN extern void clinical_project_not_found(text *code);
extern int64 clinical_project_by_code(text *code, bool read_only);
extern int64 clinical_project_id(FunctionCallInfo fcinfo, int argno, bool read_only);
extern void clinical_check_project_way(const char *what, const char *from, const char *to);
extern void clinical_require_center(int64 center_id);
extern void clinical_require_active_center(int64 project_id, int64 center_id, bool lock);

#endif							/* CLINICAL_PROJECT_H */
