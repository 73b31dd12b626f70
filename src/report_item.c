/*-------------------------------------------------------------------------
 *
 * report_item.c
 *		Tables of the report (none yet).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "report.h"

const ClinicalReportTable clinical_report_item_tables[] = {{NULL}};
const int	clinical_report_nitem_tables = 0;
