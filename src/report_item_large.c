/*-------------------------------------------------------------------------
 *
 * report_item_large.c
 *		Items with more values, or patients, than the pass had memory for.
 *
 * They are read again, sorted, and described group by group: that takes
 * temporary files instead of memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/guc.h"

#include "report_item.h"

/* The rows of a query in SPI, which sorts and does not hash: many groups of many values are too much for memory. */
static void
query_sorted(const char *sql, ParamListInfo params)
{
	int			nest_level = NewGUCNestLevel();

	(void) set_config_option("enable_hashagg", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	clinical_item_query(sql, params, NULL);
	AtEOXact_GUC(true, nest_level);
}

/* Those items of the image for which a flag is set; NULL: none. */
static ArrayType *
given_up(const TallyImage *image, int which)
{
	const bool *flags = tally_at(image, image->given_up, const bool);
	Datum	   *items = palloc_array(Datum, image->nitems + 1);
	int			count = 0;

	for (uint32 i = 0; i < image->nitems; i++)
	{
		if (flags[2 * i + which])
			items[count++] = CStringGetTextDatum(clinical_item_string(image, image->items, i));
	}
	return count == 0 ? NULL : construct_array(items, count, TEXTOID, -1, false, TYPALIGN_INT);
}

/* The month of a day, as the tally numbers it. */
static uint32
month_of(DateADT day)
{
	int			year;
	int			month;
	int			day_of_month;

	j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &day_of_month);
	return (uint32) (year * 12 + month - 1);
}

/* Take a row of the query below. */
static void
take_description(uint64 row, LargeItem *result)
{
	int64		sets = clinical_item_get_number(row, 1);
	bool		isnull;

	result->by = clinical_item_get_group(row, 2, (sets & 2) != 0);
	result->item = clinical_item_get_string(row, 3);
	result->unit = clinical_item_get_string(row, 4);
	result->month = (sets & 1) != 0 ? 0 : month_of(DatumGetDateADT(clinical_item_get_value(row, 5, true, &isnull)));
	result->description.n = clinical_item_get_number(row, 6);
	result->description.decimals = (int) clinical_item_get_number(row, 7);
	clinical_item_get_figures(row, 8, &result->description);
}

/* The descriptions of items whose values were too many; how many there are. */
int
clinical_item_large(const ClinicalReportScope *scope, const ItemPass *pass, LargeItem **result)
{
	MemoryContext caller = CurrentMemoryContext;
	ArrayType  *items = given_up(pass->image, 0);
	int			count;

	*result = NULL;
	if (items == NULL)
		return 0;
	SPI_connect();
	query_sorted("SELECT r.sets, r.group_no, r.item, r.unit, r.month, (r.d).n, r.decimals,"
				 "       (r.d).mean, (r.d).sd, (r.d).min, (r.d).q1, (r.d).median, (r.d).q3, (r.d).max"
				 "  FROM clinical.report_item_large($7, $8, $5, $9) r",
				 clinical_item_params(scope, &pass->scope, TEXTARRAYOID, PointerGetDatum(items)));
	count = (int) SPI_processed;
	MemoryContextSwitchTo(caller);
	*result = palloc0_array(LargeItem, count);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		take_description((uint64) i, &(*result)[i]);
	}
	SPI_finish();
	return count;
}

/* The patients of items whose codes were too many; how many rows there are. */
int
clinical_item_large_codes(const ClinicalReportScope *scope, const ItemPass *pass, LargeCode **result)
{
	MemoryContext caller = CurrentMemoryContext;
	ArrayType  *items = given_up(pass->image, 1);
	int			count;

	*result = NULL;
	if (items == NULL)
		return 0;
	SPI_connect();
	query_sorted("SELECT r.* FROM clinical.report_item_large_code($7, $8, $5, $9) r",
				 clinical_item_params(scope, &pass->scope, TEXTARRAYOID, PointerGetDatum(items)));
	count = (int) SPI_processed;
	MemoryContextSwitchTo(caller);
	*result = palloc0_array(LargeCode, count);
	for (int i = 0; i < count; i++)
	{
		int64		sets = clinical_item_get_number((uint64) i, 1);

		CHECK_FOR_INTERRUPTS();
		(*result)[i].by = clinical_item_get_group((uint64) i, 2, (sets & 2) != 0);
		(*result)[i].item = clinical_item_get_string((uint64) i, 3);
		(*result)[i].code = (sets & 1) != 0 ? NULL : clinical_item_get_string((uint64) i, 4);
		(*result)[i].patients = (uint64) clinical_item_get_number((uint64) i, 5);
	}
	SPI_finish();
	return count;
}
