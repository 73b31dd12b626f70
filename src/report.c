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

#include "report.h"

PG_FUNCTION_INFO_V1(clinical_generate_report);

/* SQL: make a report. */
Datum
clinical_generate_report(PG_FUNCTION_ARGS)
{
	ClinicalReportScope scope;
	MemoryContext caller = CurrentMemoryContext;
	Jsonb	   *volatile document;

	clinical_report_read_args(fcinfo, &scope);
	clinical_report_begin(&scope, NULL, GetUserNameFromId(scope.role, false));
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
