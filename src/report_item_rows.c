/*-------------------------------------------------------------------------
 *
 * report_item_rows.c
 *		Table "items": the statistics of numbers, by item, unit and month.
 *
 * Each cell of the tally belongs to up to four rows: of its month and of the whole
 * period, of its group of patients and of all.  The values of a row are brought
 * into order, and described together.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "report_item.h"

/* A row of the table; by: 0 of all patients, else the group + 1; month: 0 of the whole period */
typedef struct ItemRow
{
	uint32		by;
	uint32		item;
	const char *name;
	const char *unit;			/* NULL: none */
	uint32		month;
	uint64		rows;
	uint64		numbers;
	uint32		first_value;	/* its values, among all */
	uint32		nvalues;
	const LargeItem *large;		/* the item has too many values, and was described
								 * otherwise; NULL: no */
} ItemRow;

/* Which rows a cell belongs to */
#define NTARGETS 4

typedef struct Target
{
	ItemRow		row;			/* its keys */
	uint32		cell;
	int			number;			/* of the cell's targets */
} Target;

/* A value of a row */
typedef struct RowValue
{
	uint32		row;
	Numeric		value;
	uint64		count;
} RowValue;

/* All that the table is made of */
typedef struct ItemTable
{
	const ItemPass *pass;
	const TallyImage *image;
	bool		is_split;
	char	  **items;			/* by number */
	char	  **units;			/* by number; NULL first */
	char	  **home_units;		/* by item: that of rows without a number */
	bool	   *numeric;		/* by item: it is in the table */
	uint32		ntargets;
	Target	   *targets;
	uint32		nrows;
	ItemRow    *rows;
	uint32	  (*cell_rows)[NTARGETS];	/* by cell: numbers + 1 of rows; 0: none */
	uint32		nvalues;
	RowValue   *values;
} ItemTable;

/* Compare strings of which there may be none. */
static int
compare_strings(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return (a != NULL) - (b != NULL);
	return strcmp(a, b);
}

/* In the order of the table. */
static int
compare_rows(const ItemRow *a, const ItemRow *b)
{
	int			order;

	if (a->by != b->by)
		return a->by < b->by ? -1 : 1;
	order = a->item == b->item ? 0 : strcmp(a->name, b->name);
	if (order == 0)
		order = compare_strings(a->unit, b->unit);
	if (order != 0)
		return order;
	return a->month == b->month ? 0 : a->month < b->month ? -1 : 1;
}

/* qsort: targets by their rows. */
static int
by_row(const void *left, const void *right)
{
	CHECK_FOR_INTERRUPTS();
	return compare_rows(&((const Target *) left)->row, &((const Target *) right)->row);
}

/* qsort: values by their rows, and size. */
static int
by_value(const void *left, const void *right)
{
	const RowValue *a = left;
	const RowValue *b = right;

	CHECK_FOR_INTERRUPTS();
	if (a->row != b->row)
		return a->row < b->row ? -1 : 1;
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a->value), NumericGetDatum(b->value)));
}

/* Give the names of items and units their strings. */
static void
read_names(ItemTable *table)
{
	const TallyImage *image = table->image;

	table->items = palloc_array(char *, image->nitems + 1);
	table->units = palloc0_array(char *, image->nunits + 1);
	for (uint32 i = 0; i < image->nitems; i++)
		table->items[i] = clinical_item_string(image, image->items, i);
	for (uint32 i = 0; i < image->nunits; i++)
		table->units[i + 1] = clinical_item_string(image, image->units, i);
}

/* What the units of an item's numbers are */
typedef struct ItemUnits
{
	bool		any_without;	/* some numbers have none */
	bool		any_own;		/* some are in the item's unit of now */
	char	   *first;			/* of the others; NULL: there are none */
} ItemUnits;

/* Look at the units of all numbers. */
static ItemUnits *
look_at_units(ItemTable *table)
{
	const TallyCell *cells = tally_at(table->image, table->image->cells, const TallyCell);
	ItemUnits  *result = palloc0_array(ItemUnits, table->image->nitems + 1);

	for (uint32 i = 0; i < table->image->ncells; i++)
	{
		ItemUnits  *units = &result[cells[i].item];
		char	   *unit = table->units[cells[i].unit];

		CHECK_FOR_INTERRUPTS();
		if (cells[i].numbers == 0)
			continue;
		table->numeric[cells[i].item] = true;
		if (unit == NULL)
			units->any_without = true;
		else if (table->home_units[cells[i].item] != NULL && strcmp(unit, table->home_units[cells[i].item]) == 0)
			units->any_own = true;
		else if (units->first == NULL || strcmp(unit, units->first) < 0)
			units->first = unit;
	}
	return result;
}

/*
 * Find out which items are numbers, and in which row of an item those without a number and a unit
 * are counted: that of numbers without a unit, if there are any, else of the item's unit of now, if
 * there are any in it or in no other, else of the first unit.
 */
static void
find_units(ItemTable *table)
{
	ItemUnits  *units;

	table->home_units = palloc0_array(char *, table->image->nitems + 1);
	table->numeric = palloc0_array(bool, table->image->nitems + 1);
	for (uint32 i = 0; i < table->image->nitems; i++)
	{
		const ItemLabel *label = clinical_item_label(&table->pass->labels, table->items[i], NULL);

		table->home_units[i] = label == NULL ? NULL : label->unit;
		table->numeric[i] = label != NULL && label->numeric;
	}
	units = look_at_units(table);
	for (uint32 i = 0; i < table->image->nitems; i++)
	{
		if (units[i].any_without)
			table->home_units[i] = NULL;
		else if (!units[i].any_own && units[i].first != NULL)
			table->home_units[i] = units[i].first;
	}
}

/* Say which rows each cell belongs to. */
static void
make_targets(ItemTable *table)
{
	const TallyCell *cells = tally_at(table->image, table->image->cells, const TallyCell);

	table->targets = palloc_extended(sizeof(Target) * NTARGETS * (Size) (table->image->ncells + 1), MCXT_ALLOC_HUGE);
	for (uint32 i = 0; i < table->image->ncells; i++)
	{
		const TallyCell *cell = &cells[i];

		CHECK_FOR_INTERRUPTS();
		for (int j = 0; table->numeric[cell->item] && j < (table->is_split ? NTARGETS : NTARGETS / 2); j++)
		{
			Target	   *target = &table->targets[table->ntargets++];

			*target = (Target) {.cell = i,.number = j};
			target->row.by = j < NTARGETS / 2 ? 0 : cell->group + 1;
			target->row.item = cell->item;
			target->row.name = table->items[cell->item];
			target->row.unit = cell->unit != 0 ? table->units[cell->unit] : table->home_units[cell->item];
			target->row.month = j % 2 == 0 ? 0 : cell->month;
		}
	}
	qsort(table->targets, table->ntargets, sizeof(Target), by_row);
}

/* Make the rows of what belongs to the same. */
static void
make_rows(ItemTable *table)
{
	const TallyCell *cells = tally_at(table->image, table->image->cells, const TallyCell);

	table->rows = palloc_extended(sizeof(ItemRow) * (Size) (table->ntargets + 1), MCXT_ALLOC_HUGE);
	table->cell_rows = palloc_extended(sizeof(*table->cell_rows) * (Size) (table->image->ncells + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 i = 0; i < table->ntargets; i++)
	{
		const Target *target = &table->targets[i];
		ItemRow    *row;

		CHECK_FOR_INTERRUPTS();
		if (i == 0 || by_row(&table->targets[i - 1], target) != 0)
			table->rows[table->nrows++] = target->row;
		row = &table->rows[table->nrows - 1];
		row->rows += cells[target->cell].rows;
		row->numbers += cells[target->cell].numbers;
		table->cell_rows[target->cell][target->number] = table->nrows;
	}
	pfree(table->targets);
}

/* The number that a count is of. */
static Numeric
make_number(const TallyImage *image, const TallyCount *count)
{
	struct varlena *number = palloc(VARHDRSZ + count->length);

	SET_VARSIZE(number, VARHDRSZ + count->length);
	memcpy(VARDATA(number), count->length > TALLY_SHORT ? tally_at(image, image->bytes + count->key, char) : (const char *) &count->key,
		   count->length);
	return (Numeric) number;
}

/* Collect the values of all rows, and bring them into order. */
static void
make_values(ItemTable *table)
{
	const TallyCount *counts = tally_at(table->image, table->image->counts, const TallyCount);

	table->values = palloc_extended(sizeof(RowValue) * (table->is_split ? NTARGETS : NTARGETS / 2) * (Size) (table->image->ncounts + 1),
									MCXT_ALLOC_HUGE);
	for (uint32 i = 0; i < table->image->ncounts; i++)
	{
		Numeric		value;

		CHECK_FOR_INTERRUPTS();
		if (counts[i].length == TALLY_CODE)
			continue;
		value = make_number(table->image, &counts[i]);
		for (int j = 0; j < NTARGETS; j++)
		{
			uint32		row = table->cell_rows[counts[i].cell][j];

			if (row != 0)
				table->values[table->nvalues++] = (RowValue) {.row = row - 1,.value = value,.count = counts[i].count};
		}
	}
	qsort(table->values, table->nvalues, sizeof(RowValue), by_value);
	for (uint32 i = 0; i < table->nvalues; i++)
	{
		ItemRow    *row = &table->rows[table->values[i].row];

		if (row->nvalues++ == 0)
			row->first_value = i;
	}
}

/* Describe the numbers of a row. */
static void
describe(const ItemTable *table, const ItemRow *row, ClinicalDescription *description)
{
	Datum	   *values = palloc_extended(sizeof(Datum) * (Size) (row->nvalues + 1), MCXT_ALLOC_HUGE);
	int64	   *counts = palloc_extended(sizeof(int64) * (Size) (row->nvalues + 1), MCXT_ALLOC_HUGE);

	for (uint32 i = 0; i < row->nvalues; i++)
	{
		values[i] = NumericGetDatum(table->values[row->first_value + i].value);
		counts[i] = (int64) table->values[row->first_value + i].count;
	}
	clinical_describe_counts(values, counts, row->nvalues, description);
}

/* Find the rows of items that were described otherwise: in the table's order, too. */
static void
find_large(ItemTable *table, const LargeItem *large, int nlarge)
{
	for (int i = 0; i < nlarge; i++)
	{
		ItemRow		wanted = {.by = large[i].by,.item = PG_UINT32_MAX,.name = large[i].item,.unit = large[i].unit,.month = large[i].month};
		uint32		low = 0;
		uint32		high = table->nrows;

		CHECK_FOR_INTERRUPTS();
		while (low < high)
		{
			uint32		middle = low + (high - low) / 2;

			if (compare_rows(&table->rows[middle], &wanted) < 0)
				low = middle + 1;
			else
				high = middle;
		}
		if (low < table->nrows && compare_rows(&table->rows[low], &wanted) == 0)
			table->rows[low].large = &large[i];
	}
}

/* Put a month. */
static void
put_month(JsonbParseState **state, uint32 month)
{
	clinical_item_put_string(state, "month", month == 0 ? NULL : psprintf("%04u-%02u", month / 12, month % 12 + 1));
}

/* Put a row. */
static void
put_row(JsonbParseState **state, const ItemTable *table, const ItemRow *row)
{
	ClinicalDescription description;

	if (row->large != NULL)
		description = row->large->description;
	else
		describe(table, row, &description);
	Assert(description.n == (int64) row->numbers);
	clinical_item_put_row(state, &table->pass->scope, row->by, row->name,
						  clinical_item_label(&table->pass->labels, row->name, NULL));
	clinical_item_put_string(state, "unit", row->unit);
	put_month(state, row->month);
	clinical_item_put_figures(state, row->rows, &description);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* ClinicalReportTable: the rows of "items". */
Jsonb *
clinical_item_rows(const ClinicalReportScope *scope)
{
	ItemTable	table = {.pass = clinical_item_pass(scope)};
	JsonbParseState *state = NULL;
	LargeItem  *large;
	int			nlarge = clinical_item_large(scope, table.pass, &large);

	table.image = table.pass->image;
	table.is_split = table.pass->scope.is_split;
	read_names(&table);
	find_units(&table);
	make_targets(&table);
	make_rows(&table);
	make_values(&table);
	find_large(&table, large, nlarge);
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (uint32 i = 0; i < table.nrows; i++)
		put_row(&state, &table, &table.rows[i]);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}
