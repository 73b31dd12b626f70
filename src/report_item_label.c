/*-------------------------------------------------------------------------
 *
 * report_item_label.c
 *		What items and codes are called: by the newest of the versions of
 *		instruments that the project has used.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "report_item.h"

/* Take the rows of the query. */
static void
take_labels(ItemLabels *result)
{
	result->count = (int) SPI_processed;
	result->labels = palloc_array(ItemLabel, result->count);
	for (int i = 0; i < result->count; i++)
	{
		ItemLabel  *label = &result->labels[i];
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		label->item = clinical_item_get_string((uint64) i, 1);
		label->code = clinical_item_get_string((uint64) i, 2);
		label->label = clinical_item_get_string((uint64) i, 3);
		label->unit = clinical_item_get_string((uint64) i, 4);
		label->numeric = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 5, &isnull));
	}
}

/* Read all labels, into the current memory context. */
void
clinical_item_labels(const ClinicalReportScope *scope, ItemLabels *result)
{
	MemoryContext caller = CurrentMemoryContext;

	SPI_connect();
	clinical_item_query("SELECT r.item, r.code, r.label, r.unit, r.is_number FROM clinical.report_item_label($1) r",
						clinical_item_params(scope, NULL, TEXTOID, 0), NULL);
	MemoryContextSwitchTo(caller);
	take_labels(result);
	SPI_finish();
}

/* Compare with what is sought. */
static int
compare(const ItemLabel *label, const char *item, const char *code)
{
	int			order = strcmp(label->item, item);

	if (order != 0 || (label->code == NULL && code == NULL))
		return order;
	if (label->code == NULL || code == NULL)
		return label->code == NULL ? -1 : 1;
	return strcmp(label->code, code);
}

/* The label of an item, or of one of its codes; NULL: the project has none. */
const ItemLabel *
clinical_item_label(const ItemLabels *labels, const char *item, const char *code)
{
	int			low = 0;
	int			high = labels->count;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		int			order = compare(&labels->labels[middle], item, code);

		if (order == 0)
			return &labels->labels[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}
