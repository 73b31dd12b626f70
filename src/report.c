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

#include "observe.h"
#include "report.h"

PG_FUNCTION_INFO_V1(clinical_generate_report);

/* SQL: make a report. */
Datum
clinical_generate_report(PG_FUNCTION_ARGS)
{
	ClinicalReportScope scope;
	Jsonb	   *volatile document;

	clinical_report_read_args(fcinfo, &scope);
	clinical_step_report_begins(clinical_trace_parent_in_force(), scope.project_id, NULL, 0, 0);
	clinical_report_progress_begin(&scope, NULL);
	PG_TRY();
	{
		document = clinical_report_run(&scope);
	}
	PG_CATCH();
	{
		clinical_report_progress_end();
		clinical_step_report_ends(geterrcode());
		PG_RE_THROW();
	}
	PG_END_TRY();
	clinical_report_progress_end();
	clinical_step_report_ends(0);
	PG_RETURN_JSONB_P(document);
}
