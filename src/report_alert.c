/*-------------------------------------------------------------------------
 *
 * report_alert.c
 *		Tables of a report: alerts, indicators that compare the centers,
 *		and listings.
 *
 * What each figure is stands with the functions (sql/report_alert.sql).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "report.h"

#define LISTING "At most 10,000 rows; the last one says how many there are."

static const ClinicalReportColumn alert_columns[] = {
	{"rule", "Rule", CLINICAL_REPORT_LABEL},
	{"severity", "Severity", CLINICAL_REPORT_LABEL},
	{"center", "Center", CLINICAL_REPORT_LABEL},
	{"opened", "Opened", CLINICAL_REPORT_COUNT},
	{"acknowledged", "Acknowledged", CLINICAL_REPORT_COUNT},
	{"closed", "Closed", CLINICAL_REPORT_COUNT},
	{"retracted", "Retracted", CLINICAL_REPORT_COUNT},
	{"merged", "Merged", CLINICAL_REPORT_COUNT},
	{"open_at_end", "Open at the end", CLINICAL_REPORT_COUNT},
	{"unacknowledged", "of these unacknowledged", CLINICAL_REPORT_COUNT},
};

static const ClinicalReportColumn time_columns[] = {
	{"rule", "Rule", CLINICAL_REPORT_LABEL},
	{"severity", "Severity", CLINICAL_REPORT_LABEL},
	{"measure", "Time", CLINICAL_REPORT_LABEL},
	{"alerts", "Alerts", CLINICAL_REPORT_COUNT},
	{"n", "n", CLINICAL_REPORT_COUNT},
	{"median", "Median", CLINICAL_REPORT_SECONDS},
	{"p90", "P90", CLINICAL_REPORT_SECONDS},
	{"max", "Max", CLINICAL_REPORT_SECONDS},
	{"censored", "Censored", CLINICAL_REPORT_COUNT},
};

static const ClinicalReportColumn month_columns[] = {
	{"month", "Month", CLINICAL_REPORT_MONTH},
	{"severity", "Severity", CLINICAL_REPORT_LABEL},
	{"opened", "Opened", CLINICAL_REPORT_COUNT},
};

static const ClinicalReportColumn indicator_columns[] = {
	{"indicator", "Indicator", CLINICAL_REPORT_LABEL},
	{"center", "Center", CLINICAL_REPORT_LABEL},
	{"numerator", "Numerator", CLINICAL_REPORT_COUNT},
	{"denominator", "Denominator", CLINICAL_REPORT_RATE},
	{"value", "Per 100", CLINICAL_REPORT_RATE},
	{"mean", "All, per 100", CLINICAL_REPORT_RATE},
	{"score", "Score", CLINICAL_REPORT_SCORE},
	{"flag", "Flag", CLINICAL_REPORT_FLAG},
};

static const ClinicalReportColumn withdrawal_columns[] = {
	{"subject", "Subject", CLINICAL_REPORT_LABEL},
	{"center", "Center", CLINICAL_REPORT_TEXT},
	{"day", "Day", CLINICAL_REPORT_DATE},
	{"reason", "Reason", CLINICAL_REPORT_TEXT},
	{"total", "Rows", CLINICAL_REPORT_COUNT},
};

static const ClinicalReportColumn open_columns[] = {
	{"subject", "Subject", CLINICAL_REPORT_LABEL},
	{"alert", "Alert", CLINICAL_REPORT_LABEL},
	{"center", "Center", CLINICAL_REPORT_TEXT},
	{"rule", "Rule", CLINICAL_REPORT_TEXT},
	{"severity", "Severity", CLINICAL_REPORT_TEXT},
	{"onset", "Onset", CLINICAL_REPORT_DATE},
	{"opened", "Opened", CLINICAL_REPORT_TIME},
	{"acknowledged", "Acknowledged", CLINICAL_REPORT_TIME},
	{"total", "Rows", CLINICAL_REPORT_COUNT},
};

static const ClinicalReportColumn run_columns[] = {
	{"subject", "Subject", CLINICAL_REPORT_LABEL},
	{"instrument", "Instrument", CLINICAL_REPORT_LABEL},
	{"from_day", "From", CLINICAL_REPORT_DATE},
	{"to_day", "To", CLINICAL_REPORT_DATE},
	{"center", "Center", CLINICAL_REPORT_TEXT},
	{"missed", "Missed", CLINICAL_REPORT_COUNT},
	{"total", "Rows", CLINICAL_REPORT_COUNT},
};

static const ClinicalReportColumn quarantine_columns[] = {
	{"subject", "Subject", CLINICAL_REPORT_LABEL},
	{"submission", "Report", CLINICAL_REPORT_LABEL},
	{"center", "Center", CLINICAL_REPORT_TEXT},
	{"reason", "Reason", CLINICAL_REPORT_TEXT},
	{"instrument", "Instrument", CLINICAL_REPORT_TEXT},
	{"received", "Received", CLINICAL_REPORT_TIME},
	{"total", "Rows", CLINICAL_REPORT_COUNT},
};

const ClinicalReportTable clinical_report_alert_tables[] = {
	{
		.section = "alerts", .name = "alerts", .title = "Alerts by rule, severity and center",
		.note = "Open at the end: neither closed, retracted nor merged, whenever opened. Alerts are counted at the center that the"
		" patient is at now.",
		.function = "clinical.report_alerts", .columns = alert_columns, .ncolumns = lengthof(alert_columns)
	},
	{
		.section = "alerts", .name = "alert_times", .title = "Times of alerts that were opened in the period",
		.note = "Detection: from the receipt of the report until the alert was opened; of alerts that a report caused. Acknowledging and"
		" closing: from the opening. Censored: neither done nor retracted or merged by the end.",
		.function = "clinical.report_alert_times", .columns = time_columns, .ncolumns = lengthof(time_columns)
	},
	{
		.section = "alerts", .name = "alerts_by_month", .title = "Alerts opened, by month",
		.function = "clinical.report_alerts_by_month", .columns = month_columns, .ncolumns = lengthof(month_columns)
	},
	{
		.section = "indicators", .name = "indicators", .title = "Key risk indicators by center",
		.note = "Rates per 100: alerts and withdrawals of patient-days, corrections of values, enrolled of those planned to date."
		" Proportions in percent: missed of expected entries, late of those made, quarantined of received reports, acknowledged"
		" within 72 hours of alerts opened. Scores are normal approximations, adjusted for overdispersion; flagged from 2 and 3 on, and"
		" below -2 and -3. No score below a denominator of 10.",
		.function = "clinical.report_indicators", .base = "patient_compliance",
		.columns = indicator_columns, .ncolumns = lengthof(indicator_columns)
	},
	{
		.section = "listings", .name = "withdrawals", .title = "Withdrawals in the period", .note = LISTING,
		.function = "clinical.report_withdrawals", .columns = withdrawal_columns, .ncolumns = lengthof(withdrawal_columns)
	},
	{
		.section = "listings", .name = "open_alerts", .title = "Alerts open at the end of the period", .note = LISTING,
		.function = "clinical.report_open_alerts", .columns = open_columns, .ncolumns = lengthof(open_columns)
	},
	{
		.section = "listings", .name = "missed_runs", .title = "Three and more entries missed in a row", .note = LISTING,
		.function = "clinical.report_missed_runs", .base = "patient_compliance",
		.columns = run_columns, .ncolumns = lengthof(run_columns)
	},
	{
		.section = "listings", .name = "quarantined", .title = "Reports in quarantine at the end of the period", .note = LISTING,
		.function = "clinical.report_quarantined", .columns = quarantine_columns, .ncolumns = lengthof(quarantine_columns)
	},
};
const int	clinical_report_nalert_tables = lengthof(clinical_report_alert_tables);
