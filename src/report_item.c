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

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "report_item.h"

int			clinical_report_memory;

/* The pass of the report that is being made */
static const ClinicalReportScope *pass_scope = NULL;
static const ItemPass *pass = NULL;

#define SHOW_ITEM {"item", "Item", CLINICAL_REPORT_LABEL}, {"label", "Label", CLINICAL_REPORT_TEXT}
#define SHOW_CODE {"code", "Code", CLINICAL_REPORT_LABEL}, {"code_label", "Value", CLINICAL_REPORT_TEXT}
#define SHOW_FIGURES \
	{"n", "n", CLINICAL_REPORT_COUNT}, {"missing", "Missing", CLINICAL_REPORT_COUNT}, \
	{"mean", "Mean", CLINICAL_REPORT_MEAN}, {"sd", "SD", CLINICAL_REPORT_SD}, {"median", "Median", CLINICAL_REPORT_MEAN}, \
	{"q1", "Q1", CLINICAL_REPORT_MEAN}, {"q3", "Q3", CLINICAL_REPORT_MEAN}, \
	{"min", "Min", CLINICAL_REPORT_VALUE}, {"max", "Max", CLINICAL_REPORT_VALUE}
#define SHOW_PATIENTS \
	{"patients", "Patients", CLINICAL_REPORT_COUNT}, {"percent", "%", CLINICAL_REPORT_PERCENT, "answered"}, \
	{"occurrences", "Occurrences", CLINICAL_REPORT_COUNT}, {"answered", "Patients with the item", CLINICAL_REPORT_COUNT}, \
	{"enrolled", "Patients enrolled", CLINICAL_REPORT_COUNT}, {"percent_enrolled", "% of enrolled", CLINICAL_REPORT_PERCENT, "enrolled"}

static const ClinicalReportColumn item_columns[] = {
	SHOW_ITEM, {"unit", "Unit", CLINICAL_REPORT_LABEL}, {"month", "Month", CLINICAL_REPORT_MONTH},
	SHOW_FIGURES
};

static const ClinicalReportColumn by_columns[] = {
	SHOW_ITEM, {"unit", "Unit", CLINICAL_REPORT_LABEL}, SHOW_CODE, SHOW_FIGURES
};

static const ClinicalReportColumn code_columns[] = {
	SHOW_ITEM, SHOW_CODE, SHOW_PATIENTS
};

static const ClinicalReportColumn within_columns[] = {
	{"item_above", "Item above", CLINICAL_REPORT_LABEL}, {"code_above", "Code above", CLINICAL_REPORT_LABEL},
	{"code_above_label", "Value above", CLINICAL_REPORT_TEXT}, SHOW_ITEM, SHOW_CODE, SHOW_PATIENTS
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
		.section = "items",.name = "items_by",.title = "Items, by the code of another one",
		.note = "Of the same report; over the whole period.",
		.rows = clinical_item_by_rows,.columns = by_columns,.ncolumns = lengthof(by_columns)
	},
	{
		.section = "items",.name = "codes",.title = "Coded items",
		.note = "Patients with the code at least once; % of the patients with the item.",
		.rows = clinical_item_code_rows,.columns = code_columns,.ncolumns = lengthof(code_columns)
	},
	{
		.section = "items",.name = "codes_within",.title = "Coded items, within another one",
		.note = "In the same report and repeat; % of the patients with both items.",
		.rows = clinical_item_within_rows,.columns = within_columns,.ncolumns = lengthof(within_columns)
	},
	{
		.section = "quality",.name = "corrections",.title = "Corrections",
		.note = "Corrected: values that were corrected at least once. Flagged: those with which a soft check found fault.",
		.rows = clinical_item_correction_rows,.columns = correction_columns,.ncolumns = lengthof(correction_columns)
	},
};
const int	clinical_report_nitem_tables = lengthof(clinical_report_item_tables);

/* Define the setting, when the library is loaded. */
void
clinical_report_item_init(void)
{
	DefineCustomIntVariable("clinical.report_memory",
							"Memory that a process of a report takes at most for what it counts.",
							"An item with more values than that is enough for takes longer, and temporary files.",
							&clinical_report_memory, 16 * 1024, 4, 1024 * 1024,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
}

/* Callback: the report is made, or it failed. */
static void
forget(void *arg)
{
	pass_scope = NULL;
	pass = NULL;
}

#define TALLY \
	"SELECT clinical.report_tally($7, o.patient_id, o.item, o.id, o.version, o.submission_id, o.local_day, o.value, o.value_code," \
	"       o.unit, o.absent, o.flagged, o.recorded_at)" \
	"  FROM clinical.report_observation($8, $5) o"

/* Count all observations. */
static const TallyImage *
run_pass(const ClinicalReportScope *scope, const ItemScope *items)
{
	const TallyImage *image;

	SPI_connect();
	clinical_item_query(items->whole_table ? TALLY : TALLY
						"  JOIN clinical.patient p ON p.id OPERATOR(pg_catalog.=) o.patient_id AND p.project_id OPERATOR(pg_catalog.=) $1"
						"       AND p.center_id OPERATOR(pg_catalog.=) ANY ($2)",
						clinical_item_params(scope, items, TEXTOID, 0), NULL);
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
