/*-------------------------------------------------------------------------
 *
 * report.c
 *		The report of a project in a period, in the caller's session.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "observe.h"
#include "report.h"

PG_FUNCTION_INFO_V1(clinical_generate_report);

/* SQL: make a report. */
Datum
clinical_generate_report(PG_FUNCTION_ARGS)
{
	ClinicalReportScope scope;
	ClinicalReportOrder order = {0};
	MemoryContext caller = CurrentMemoryContext;
	Jsonb	   *volatile document;

	clinical_report_read_args(fcinfo, &scope);
	order.role = GetUserNameFromId(scope.role, false);
	order.trace_parent = clinical_trace_parent_in_force();
	clinical_report_begin(&scope, &order);
	PG_TRY();
	{
		document = clinical_report_run(&scope);
	}
	PG_CATCH();
	{
		clinical_report_caught(caller);
		PG_RE_THROW();
	}
	PG_END_TRY();
	clinical_report_done();
	PG_RETURN_JSONB_P(document);
}
