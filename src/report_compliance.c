/*-------------------------------------------------------------------------
 *
 * report_compliance.c
 *		The tables of the sections compliance and quality.
 *
 * What the figures are is in sql/report_compliance.sql.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "report.h"

/* Facts of the patients, read once for several tables and sections */
#define FACTS "patient_compliance"

/* What is expected of them */
#define PLAN "entry_plan"

static const ClinicalReportColumn compliance_columns[] = {
	{"center", "Center", CLINICAL_REPORT_LABEL},
	{"instrument", "Instrument", CLINICAL_REPORT_LABEL},
	{"patients", "Patients", CLINICAL_REPORT_COUNT},
	{"expected", "Expected", CLINICAL_REPORT_COUNT},
	{"completed", "Completed", CLINICAL_REPORT_COUNT},
	{"late", "Late", CLINICAL_REPORT_COUNT},
	{"missed", "Missed", CLINICAL_REPORT_COUNT},
	{"excused", "Excused", CLINICAL_REPORT_COUNT},
	{"percent", "Completed, %", CLINICAL_REPORT_PERCENT, "expected"},
	{"mean_percent", "Mean over patients, %", CLINICAL_REPORT_PERCENT, "patients"},
	{"patients_80", "Patients at 80 % and above", CLINICAL_REPORT_COUNT},
	{"percent_80", "% of patients", CLINICAL_REPORT_PERCENT, "patients"},
	{"longest_missed", "Longest run missed", CLINICAL_REPORT_COUNT},
};

static const ClinicalReportColumn transfer_columns[] = {
	{"center", "Center", CLINICAL_REPORT_LABEL},
	{"n", "Reports", CLINICAL_REPORT_COUNT},
	{"median", "Median", CLINICAL_REPORT_SECONDS},
	{"p95", "95th percentile", CLINICAL_REPORT_SECONDS},
};

static const ClinicalReportColumn balance_columns[] = {
	{"center", "Center", CLINICAL_REPORT_LABEL},
	{"received", "Received", CLINICAL_REPORT_COUNT},
	{"accepted", "Accepted", CLINICAL_REPORT_COUNT},
	{"duplicate", "Duplicate", CLINICAL_REPORT_COUNT},
	{"conflict", "Conflict", CLINICAL_REPORT_COUNT},
	{"quarantined", "Quarantined", CLINICAL_REPORT_COUNT},
	{"withdrawn", "Withdrawn", CLINICAL_REPORT_COUNT},
};

static const ClinicalReportColumn checks_columns[] = {
	{"reason", "Reason", CLINICAL_REPORT_LABEL},
	{"item", "Item", CLINICAL_REPORT_LABEL},
	{"check", "Check", CLINICAL_REPORT_LABEL},
	{"reports", "Reports", CLINICAL_REPORT_COUNT},
};

static const ClinicalReportColumn requeued_columns[] = {
	{"reason", "Reason", CLINICAL_REPORT_LABEL},
	{"reports", "Put into quarantine", CLINICAL_REPORT_COUNT},
	{"requeued", "Requeued", CLINICAL_REPORT_COUNT},
	{"percent", "Requeued, %", CLINICAL_REPORT_PERCENT, "reports"},
};

static const ClinicalReportColumn late_columns[] = {
	{"center", "Center", CLINICAL_REPORT_LABEL},
	{"made", "Entries made", CLINICAL_REPORT_COUNT},
	{"late", "Late", CLINICAL_REPORT_COUNT},
	{"percent", "Late, %", CLINICAL_REPORT_PERCENT, "made"},
	{"reports", "Reports", CLINICAL_REPORT_COUNT},
	{"delayed", "Received after more than 24 hours", CLINICAL_REPORT_COUNT},
	{"percent_delayed", "% of reports", CLINICAL_REPORT_PERCENT, "reports"},
};

const ClinicalReportTable clinical_report_compliance_tables[] = {
	{
		.name = PLAN, .function = "clinical.report_entry_plan"
	},
	{
		.name = FACTS, .function = "clinical.report_patient_compliance", .base = PLAN
	},
	{
		.section = "compliance", .name = "compliance", .title = "Entries expected and made",
		.note = "Entries whose window and grace had closed by the cut-off. Completed: in the window; late: in the grace after it. "
		"Percent: of the expected entries, which are those of which the patient is not excused.",
		.function = "clinical.report_compliance", .base = FACTS,
		.columns = compliance_columns, .ncolumns = lengthof(compliance_columns)
	},
	{
		.section = "compliance", .name = "transfer", .title = "From capture to receipt",
		.note = "Accepted reports of the days of the period, in whole seconds.",
		.function = "clinical.report_transfer", .base = FACTS,
		.columns = transfer_columns, .ncolumns = lengthof(transfer_columns)
	},
	{
		.section = "quality", .name = "balance", .title = "What became of the reports",
		.note = "Reports received on the days of the period, by UTC; each is one of accepted, duplicate, conflict, quarantined and withdrawn.",
		.function = "clinical.report_balance", .base = FACTS,
		.columns = balance_columns, .ncolumns = lengthof(balance_columns)
	},
	{
		.section = "quality", .name = "checks", .title = "Failures by check",
		.note = "Reports that were put into quarantine, by reason, and by the items and checks that were found; a report counts once a row.",
		.function = "clinical.report_checks",
		.columns = checks_columns, .ncolumns = lengthof(checks_columns)
	},
	{
		.section = "quality", .name = "requeued", .title = "Reports put back from quarantine",
		.function = "clinical.report_requeued",
		.columns = requeued_columns, .ncolumns = lengthof(requeued_columns)
	},
	{
		.section = "quality", .name = "late", .title = "Late entries and reports",
		.note = "Late: made in the grace after the window. Received late: more than 24 hours after it was captured.",
		.function = "clinical.report_late", .base = FACTS,
		.columns = late_columns, .ncolumns = lengthof(late_columns)
	},
};
const int	clinical_report_ncompliance_tables = lengthof(clinical_report_compliance_tables);
