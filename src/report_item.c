/*-------------------------------------------------------------------------
 *
 * report_item.c
 *		Statistics of items, by one pass over all observations.
 *
 * The tables here are made of the counts of one pass, which is made for the first
 * of them and kept as long as the report is made.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/memutils.h"

#include "report_item.h"

/* The pass of the report that is being made */
static const ClinicalReportScope *pass_scope = NULL;
static const ItemPass *pass = NULL;

#define SHOW_ITEM {"item", "Item", CLINICAL_REPORT_LABEL}, {"label", "Label", CLINICAL_REPORT_TEXT}

static const ClinicalReportColumn item_columns[] = {
	SHOW_ITEM, {"unit", "Unit", CLINICAL_REPORT_LABEL}, {"month", "Month", CLINICAL_REPORT_MONTH},
	{"n", "n", CLINICAL_REPORT_COUNT}, {"missing", "Missing", CLINICAL_REPORT_COUNT},
	{"mean", "Mean", CLINICAL_REPORT_MEAN}, {"sd", "SD", CLINICAL_REPORT_SD}, {"median", "Median", CLINICAL_REPORT_MEAN},
	{"q1", "Q1", CLINICAL_REPORT_MEAN}, {"q3", "Q3", CLINICAL_REPORT_MEAN},
	{"min", "Min", CLINICAL_REPORT_VALUE}, {"max", "Max", CLINICAL_REPORT_VALUE},
};

static const ClinicalReportColumn code_columns[] = {
	SHOW_ITEM, {"code", "Code", CLINICAL_REPORT_LABEL}, {"code_label", "Value", CLINICAL_REPORT_TEXT},
	{"patients", "Patients", CLINICAL_REPORT_COUNT}, {"percent", "%", CLINICAL_REPORT_PERCENT, "answered"},
	{"occurrences", "Occurrences", CLINICAL_REPORT_COUNT}, {"answered", "Patients with the item", CLINICAL_REPORT_COUNT},
	{"enrolled", "Patients enrolled", CLINICAL_REPORT_COUNT}, {"percent_enrolled", "% of enrolled", CLINICAL_REPORT_PERCENT, "enrolled"},
};

static const ClinicalReportColumn correction_columns[] = {
	SHOW_ITEM, {"values", "Values", CLINICAL_REPORT_COUNT}, {"corrected", "Corrected", CLINICAL_REPORT_COUNT},
	{"per_100", "Per 100 values", CLINICAL_REPORT_RATE}, {"flagged", "Flagged", CLINICAL_REPORT_COUNT},
};

const ClinicalReportTable clinical_report_item_tables[] = {
	{
		.section = "items",.name = "items",.title = "Items, by month",
		.note = "Values that hold: the last version of each, without reports that were withdrawn. Missing: asked and not answered.",
		.rows = clinical_item_rows,.columns = item_columns,.ncolumns = lengthof(item_columns)
	},
	{
		.section = "items",.name = "codes",.title = "Coded items",
		.note = "Patients with the code at least once; % of the patients with the item.",
		.rows = clinical_item_code_rows,.columns = code_columns,.ncolumns = lengthof(code_columns)
	},
	{
		.section = "quality",.name = "corrections",.title = "Corrections",
		.note = "Corrected: values that were corrected at least once. Flagged: those with which a soft check found fault.",
		.rows = clinical_item_correction_rows,.columns = correction_columns,.ncolumns = lengthof(correction_columns)
	},
};
const int	clinical_report_nitem_tables = lengthof(clinical_report_item_tables);

/* Callback: the report is made, or it failed. */
static void
forget(void *arg)
{
	pass_scope = NULL;
	pass = NULL;
}

/* The query of the pass, for the rows that may count. */
static char *
make_query(const ItemScope *scope)
{
	return psprintf("SELECT clinical.report_tally($7, o.ctid, o.patient_id, o.item, o.version, o.local_day, o.value, o.value_code, o.unit,"
					"       o.absent, o.flagged, o.recorded_at)"
					"  FROM clinical.observation o%s%s",
					scope->whole_table ? "" :
					"  JOIN clinical.patient p ON p.id OPERATOR(pg_catalog.=) o.patient_id AND p.project_id OPERATOR(pg_catalog.=) $1"
					"       AND p.center_id OPERATOR(pg_catalog.=) ANY ($2)",
					scope->anti_join ? CLINICAL_ITEM_HOLDS : "");
}

/* Count all observations. */
static const TallyImage *
run_pass(const ClinicalReportScope *scope, const ItemScope *items)
{
	const TallyImage *image;

	SPI_connect();
	clinical_item_query(make_query(items), clinical_item_params(scope, items->tally), NULL);
	image = (const TallyImage *) DatumGetPointer(SPI_datumTransfer(clinical_result(0, 1), false, -1));
	SPI_finish();
	return image;
}

/* What the pass of this report gave; made the first time, in the report's memory context. */
const ItemPass *
clinical_item_pass(const ClinicalReportScope *scope)
{
	MemoryContextCallback *callback;
	ItemPass   *made;

	if (pass_scope == scope)
		return pass;
	made = palloc0_object(ItemPass);
	callback = palloc0_object(MemoryContextCallback);
	callback->func = forget;
	clinical_item_scope(scope, &made->scope);
	clinical_item_labels(scope, &made->labels);
	made->image = run_pass(scope, &made->scope);
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	pass_scope = scope;
	pass = made;
	return pass;
}
