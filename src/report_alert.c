/*-------------------------------------------------------------------------
 *
 * report_alert.c
 *		Tables of the report (none yet).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "report.h"

const ClinicalReportTable clinical_report_alert_tables[] = {{NULL}};
const int	clinical_report_nalert_tables = 0;
