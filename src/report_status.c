/*-------------------------------------------------------------------------
 *
 * report_status.c
 *		Tables of a report: centers and patients, enrolment, demographics.
 *
 * What each figure is stands with the functions (sql/report_status.sql).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "report.h"

#define OF_NOW "Patients are counted at the center that they are at now."

static const ClinicalReportColumn center_columns[] = {
	{"status", "Status", CLINICAL_REPORT_LABEL},
	{"centers", "Centers", CLINICAL_REPORT_COUNT},
};

static const ClinicalReportColumn patient_columns[] = {
	{"status", "Status", CLINICAL_REPORT_LABEL},
	{"reason", "Reason", CLINICAL_REPORT_LABEL},
	{"patients", "Patients", CLINICAL_REPORT_COUNT},
	{"percent", "%", CLINICAL_REPORT_PERCENT, "total"},
	{"total", "Of", CLINICAL_REPORT_COUNT},
};

static const ClinicalReportColumn enrolment_columns[] = {
	{"center", "Center", CLINICAL_REPORT_LABEL},
	{"month", "Month", CLINICAL_REPORT_MONTH},
	{"enrolled", "Enrolled", CLINICAL_REPORT_COUNT},
	{"cumulative", "Cumulative", CLINICAL_REPORT_COUNT},
	{"target", "Target, cumulative", CLINICAL_REPORT_RATE},
	{"active_days", "Active days", CLINICAL_REPORT_COUNT},
	{"rate", "Enrolled per active month", CLINICAL_REPORT_RATE},
};

static const ClinicalReportColumn age_columns[] = {
	{"center", "Center", CLINICAL_REPORT_LABEL},
	{"n", "n", CLINICAL_REPORT_COUNT},
	{"missing", "Missing", CLINICAL_REPORT_COUNT},
	{"mean", "Mean", CLINICAL_REPORT_MEAN},
	{"sd", "SD", CLINICAL_REPORT_SD},
	{"median", "Median", CLINICAL_REPORT_MEAN},
	{"q1", "Q1", CLINICAL_REPORT_MEAN},
	{"q3", "Q3", CLINICAL_REPORT_MEAN},
	{"min", "Min", CLINICAL_REPORT_VALUE},
	{"max", "Max", CLINICAL_REPORT_VALUE},
};

/* Of what is said of patients: how many have each value */
#define CHARACTERISTIC_COLUMNS(name, label) \
	{ \
		{"center", "Center", CLINICAL_REPORT_LABEL}, \
		{name, label, CLINICAL_REPORT_LABEL}, \
		{"patients", "Patients", CLINICAL_REPORT_COUNT}, \
		{"percent", "%", CLINICAL_REPORT_PERCENT, "total"}, \
		{"total", "Of", CLINICAL_REPORT_COUNT}, \
	}

static const ClinicalReportColumn sex_columns[] = CHARACTERISTIC_COLUMNS("sex", "Sex");
static const ClinicalReportColumn race_columns[] = CHARACTERISTIC_COLUMNS("race", "Race");
static const ClinicalReportColumn ethnicity_columns[] = CHARACTERISTIC_COLUMNS("ethnicity", "Ethnicity");

const ClinicalReportTable clinical_report_status_tables[] = {
	{
		.section = "status", .name = "centers", .title = "Centers at the end of the period",
		.note = "By what was recorded by the cut-off; a center that was not known then is planned.",
		.function = "clinical.report_centers", .columns = center_columns, .ncolumns = lengthof(center_columns)
	},
	{
		.section = "status", .name = "patients", .title = "Patients at the end of the period",
		.note = "By what was recorded by the cut-off. Screened are all who entered. Percentages of screened, screen_failed,"
		" in_screening and enrolled are of these, the others of the enrolled. " OF_NOW,
		.function = "clinical.report_patients", .columns = patient_columns, .ncolumns = lengthof(patient_columns)
	},
	{
		.section = "enrolment", .name = "enrolment", .title = "Enrolment by center and month",
		.note = "Cumulative counts begin with the project. The target is each center's plan, spread evenly over the days of its"
		" enrolment. An active month is 30.4375 days on which the center was active. " OF_NOW,
		.function = "clinical.report_enrolment", .columns = enrolment_columns, .ncolumns = lengthof(enrolment_columns)
	},
	{
		.section = "demographics", .name = "ages", .title = "Age at enrolment, years",
		.note = "Of the patients who were enrolled by the end of the period and the cut-off. " OF_NOW,
		.function = "clinical.report_ages", .columns = age_columns, .ncolumns = lengthof(age_columns)
	},
	{
		.section = "demographics", .name = "sexes", .title = "Sex",
		.note = "Of the patients who were enrolled by the end of the period and the cut-off; percentages are of all of them, missing"
		" ones included. " OF_NOW,
		.function = "clinical.report_sexes", .columns = sex_columns, .ncolumns = lengthof(sex_columns)
	},
	{
		.section = "demographics", .name = "races", .title = "Race", .note = "Of the same patients, in the same way.",
		.function = "clinical.report_races", .columns = race_columns, .ncolumns = lengthof(race_columns)
	},
	{
		.section = "demographics", .name = "ethnicities", .title = "Ethnicity", .note = "Of the same patients, in the same way.",
		.function = "clinical.report_ethnicities", .columns = ethnicity_columns, .ncolumns = lengthof(ethnicity_columns)
	},
};
const int	clinical_report_nstatus_tables = lengthof(clinical_report_status_tables);
