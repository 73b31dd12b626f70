/*-------------------------------------------------------------------------
 *
 * report_item_correction.c
 *		Table "corrections": how many values were corrected, and flagged.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "report_item.h"

/* Rows of an item; by group + 1, 0: of all */
typedef struct Corrections
{
	char	   *item;			/* NULL: all items */
	uint64	   *rows;
	uint64	   *corrected;
	uint64	   *flagged;
} Corrections;

/* qsort: by item, all items first. */
static int
by_item(const void *left, const void *right)
{
	const Corrections *a = left;
	const Corrections *b = right;

	CHECK_FOR_INTERRUPTS();
	if (a->item == NULL || b->item == NULL)
		return (a->item != NULL) - (b->item != NULL);
	return strcmp(a->item, b->item);
}

/* Add a cell to what is of an item, or of all. */
static void
add_cell(Corrections *corrections, const TallyCell *cell)
{
	uint32		places[2] = {0, cell->group + 1};

	for (int i = 0; i < 2; i++)
	{
		corrections->rows[places[i]] += cell->rows;
		corrections->corrected[places[i]] += cell->corrected;
		corrections->flagged[places[i]] += cell->flagged;
	}
}

/* The items, and all of them, in order. */
static Corrections *
make_rows(const ItemPass *pass)
{
	const TallyImage *image = pass->image;
	const TallyCell *cells = tally_at(image, image->cells, const TallyCell);
	Corrections *rows = palloc0_array(Corrections, image->nitems + 1);

	for (uint32 i = 0; i <= image->nitems; i++)
	{
		rows[i].item = i == image->nitems ? NULL : clinical_item_string(image, image->items, i);
		rows[i].rows = palloc0_array(uint64, pass->scope.ngroups + 1);
		rows[i].corrected = palloc0_array(uint64, pass->scope.ngroups + 1);
		rows[i].flagged = palloc0_array(uint64, pass->scope.ngroups + 1);
	}
	for (uint32 i = 0; i < image->ncells; i++)
	{
		CHECK_FOR_INTERRUPTS();
		add_cell(&rows[cells[i].item], &cells[i]);
		add_cell(&rows[image->nitems], &cells[i]);
	}
	qsort(rows, image->nitems + 1, sizeof(Corrections), by_item);
	return rows;
}

/* Put a row. */
static void
put_row(JsonbParseState **state, const ItemPass *pass, const Corrections *row, uint32 by)
{
	clinical_item_put_row(state, &pass->scope, by, row->item,
						  row->item == NULL ? NULL : clinical_item_label(&pass->labels, row->item, NULL));
	clinical_item_put_count(state, "values", row->rows[by]);
	clinical_item_put_count(state, "corrected", row->corrected[by]);
	clinical_item_put_ratio(state, "per_100", row->corrected[by], row->rows[by]);
	clinical_item_put_count(state, "flagged", row->flagged[by]);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* ClinicalReportTable: the rows of "corrections". */
Jsonb *
clinical_item_correction_rows(const ClinicalReportScope *scope)
{
	const ItemPass *pass = clinical_item_pass(scope);
	Corrections *rows = make_rows(pass);
	uint32		ngroups = pass->scope.is_split ? pass->scope.ngroups : 0;
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (uint32 by = 0; by <= ngroups; by++)
	{
		for (uint32 i = 0; i <= pass->image->nitems; i++)
		{
			CHECK_FOR_INTERRUPTS();
			if (rows[i].rows[by] > 0 || (by == 0 && rows[i].item == NULL))
				put_row(&state, pass, &rows[i], by);
		}
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}
