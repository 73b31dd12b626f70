/*-------------------------------------------------------------------------
 *
 * report_compliance.c
 *		Tables of the report (none yet).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "report.h"

const ClinicalReportTable clinical_report_compliance_tables[] = {{NULL}};
const int	clinical_report_ncompliance_tables = 0;
