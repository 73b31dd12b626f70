/*-------------------------------------------------------------------------
 *
 * report_item_by.c
 *		Table "items_by": the statistics of items by the code of another item of
 *		the same report, such as the visit; for the one that options.item_by
 *		names.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "report_item.h"

/* The columns of the query */
enum
{
	COLUMN_SETS = 1, COLUMN_GROUP, COLUMN_ITEM, COLUMN_UNIT, COLUMN_CODE, COLUMN_ROWS, COLUMN_N, COLUMN_DECIMALS, COLUMN_FIGURES
};

static const char query[] =
"SELECT r.sets, r.group_no, r.item, r.unit, r.code, r.readings, (r.d).n, r.decimals,"
"       (r.d).mean, (r.d).sd, (r.d).min, (r.d).q1, (r.d).median, (r.d).q3, (r.d).max"
"  FROM clinical.report_item_by($7, $8, $5, $9) r";

/* The argument of the query. */
static Jsonb *
make_argument(const ClinicalReportScope *scope, const ItemLabels *labels)
{
	JsonbParseState *state = NULL;
	JsonbValue	object;
	JsonbValue	buffer;

	clinical_json_value(scope->item_by, &object);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	clinical_json_put(&state, "item", clinical_json_get(&object, "item", &buffer));
	clinical_json_key(&state, "units");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < labels->count; i++)
	{
		if (labels->labels[i].code == NULL && labels->labels[i].numeric)
			clinical_item_put_string(&state, labels->labels[i].item, labels->labels[i].unit);
	}
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Put a row of the query. */
static void
put_row(JsonbParseState **state, const ClinicalReportScope *scope, const ItemPass *pass, uint64 row)
{
	char	   *item = clinical_item_get_string(row, COLUMN_ITEM);
	char	   *code = clinical_item_get_string(row, COLUMN_CODE);
	uint32		by = clinical_item_get_group(row, COLUMN_GROUP, clinical_item_get_number(row, COLUMN_SETS) != 0);
	JsonbValue	object;
	JsonbValue	buffer;
	const JsonbValue *visit;
	const ItemLabel *label;
	ClinicalDescription description;

	if (by != 0 && !pass->scope.is_split)
		return;
	clinical_json_value(scope->item_by, &object);
	visit = clinical_json_get(&object, "item", &buffer);
	label = clinical_item_label(&pass->labels, pnstrdup(visit->val.string.val, visit->val.string.len), code);
	clinical_item_get_figures(row, COLUMN_FIGURES, &description);
	description.n = clinical_item_get_number(row, COLUMN_N);
	description.decimals = (int) clinical_item_get_number(row, COLUMN_DECIMALS);
	clinical_item_put_row(state, &pass->scope, by, item, clinical_item_label(&pass->labels, item, NULL));
	clinical_item_put_string(state, "unit", clinical_item_get_string(row, COLUMN_UNIT));
	clinical_item_put_string(state, "code", code);
	clinical_item_put_string(state, "code_label", label == NULL ? NULL : label->label);
	clinical_item_put_figures(state, (uint64) clinical_item_get_number(row, COLUMN_ROWS), &description);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* ClinicalReportTable: the rows of "items_by"; NULL: nobody asked for them. */
Jsonb *
clinical_item_by_rows(const ClinicalReportScope *scope)
{
	const ItemPass *pass;
	JsonbParseState *state = NULL;
	MemoryContext caller = CurrentMemoryContext;
	Jsonb	   *argument;

	if (scope->item_by == NULL)
		return NULL;
	pass = clinical_item_pass(scope);
	argument = make_argument(scope, &pass->labels);
	SPI_connect();
	clinical_item_query(query, clinical_item_params(scope, &pass->scope, JSONBOID, JsonbPGetDatum(argument)), NULL);
	MemoryContextSwitchTo(caller);
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		CHECK_FOR_INTERRUPTS();
		put_row(&state, scope, pass, i);
	}
	SPI_finish();
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}
