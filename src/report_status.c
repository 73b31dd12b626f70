/*-------------------------------------------------------------------------
 *
 * report_status.c
 *		Tables of the report (none yet).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "report.h"

const ClinicalReportTable clinical_report_status_tables[] = {{NULL}};
const int	clinical_report_nstatus_tables = 0;
