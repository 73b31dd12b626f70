/*-------------------------------------------------------------------------
 *
 * report_item_within.c
 *		Table "codes_within": codes of items within those of an item above them,
 *		in the same report and the same repeat; such as terms of adverse events
 *		by body system.  For pairs that options.above names.
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
	COLUMN_SETS = 1, COLUMN_GROUP, COLUMN_ABOVE, COLUMN_CODE_ABOVE, COLUMN_ITEM, COLUMN_CODE, COLUMN_PATIENTS, COLUMN_OCCURRENCES
};

static const char query[] = "SELECT r.* FROM clinical.report_item_within($7, $8, $5, $9) r";

/* Put the label of an item or code. */
static void
put_label(JsonbParseState **state, const ItemPass *pass, const char *name, const char *item, const char *code)
{
	const ItemLabel *label = clinical_item_label(&pass->labels, item, code);

	clinical_item_put_string(state, name, label == NULL ? NULL : label->label);
}

/* Put a row of the query; answered: patients with both items. */
static void
put_row(JsonbParseState **state, const ItemPass *pass, uint64 row, uint32 by, uint64 answered)
{
	char	   *above = clinical_item_get_string(row, COLUMN_ABOVE);
	char	   *code_above = clinical_item_get_string(row, COLUMN_CODE_ABOVE);
	char	   *item = clinical_item_get_string(row, COLUMN_ITEM);
	char	   *code = clinical_item_get_string(row, COLUMN_CODE);
	uint64		patients = (uint64) clinical_item_get_number(row, COLUMN_PATIENTS);

	clinical_item_put_row(state, &pass->scope, by, item, clinical_item_label(&pass->labels, item, NULL));
	clinical_item_put_string(state, "item_above", above);
	clinical_item_put_string(state, "code_above", code_above);
	put_label(state, pass, "code_above_label", above, code_above == NULL ? "" : code_above);
	clinical_item_put_string(state, "code", code);
	put_label(state, pass, "code_label", item, code == NULL ? "" : code);
	clinical_item_put_patients(state, &pass->scope, by, patients, answered, (uint64) clinical_item_get_number(row, COLUMN_OCCURRENCES));
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* ClinicalReportTable: the rows of "codes_within"; NULL: nobody asked for them. */
Jsonb *
clinical_item_within_rows(const ClinicalReportScope *scope)
{
	const ItemPass *pass;
	JsonbParseState *state = NULL;
	uint64		answered = 0;
	MemoryContext caller = CurrentMemoryContext;

	if (scope->above == NULL)
		return NULL;
	pass = clinical_item_pass(scope);
	SPI_connect();
	clinical_item_query(query, clinical_item_params(scope, &pass->scope, JSONBOID, JsonbPGetDatum(scope->above)), NULL);
	MemoryContextSwitchTo(caller);
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		uint32		by;

		CHECK_FOR_INTERRUPTS();
		if (clinical_item_get_string(i, COLUMN_CODE_ABOVE) == NULL)
			answered = (uint64) clinical_item_get_number(i, COLUMN_PATIENTS);	/* first of the rows of a pair */
		by = clinical_item_get_group(i, COLUMN_GROUP, clinical_item_get_number(i, COLUMN_SETS) != 0);
		if (by == 0 || pass->scope.is_split)
			put_row(&state, pass, i, by, answered);
	}
	SPI_finish();
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}
