/*-------------------------------------------------------------------------
 *
 * report.c
 *		The report of a project in a period, in the caller's session.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "report.h"

PG_FUNCTION_INFO_V1(clinical_generate_report);

/* SQL: make a report. */
Datum
clinical_generate_report(PG_FUNCTION_ARGS)
{
	ClinicalReportScope scope;
	Jsonb	   *volatile document;

	clinical_report_read_args(fcinfo, &scope);
	clinical_report_progress_begin(&scope, NULL);
	PG_TRY();
	{
		document = clinical_report_run(&scope);
	}
	PG_FINALLY();
	{
		clinical_report_progress_end();
	}
	PG_END_TRY();
	PG_RETURN_JSONB_P(document);
}
