/*-------------------------------------------------------------------------
 *
 * report_tally_image.c
 *		What one process has counted, for another one; and all of it, for the
 *		report.
 *
 * An image is one piece of memory of a few megabytes at most.  The leader reads
 * those of its workers as they lie, and adds them to its own tally.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "report.h"
#include "report_tally.h"

PG_FUNCTION_INFO_V1(clinical_report_tally_combine);
PG_FUNCTION_INFO_V1(clinical_report_tally_image);
PG_FUNCTION_INFO_V1(clinical_report_tally_read);

/* So many steps are done between two looks for interrupts */
#define STEPS 1024

/* Take a place for so many bytes. */
static Size
take(TallyImage *layout, Size bytes)
{
	Size		at = layout->size;

	layout->size += MAXALIGN(bytes);
	return at;
}

/* Where everything will be. */
static void
lay_out(const Tally *tally, TallyImage *layout)
{
	Size		sets = 0;

	for (uint32 i = 0; i < tally->codes.count; i++)
		sets += clinical_tally_set_size(&tally->sets[i], tally->npatients);
	layout->npatients = tally->npatients;
	layout->rows = tally->rows;
	layout->memory = tally->memory;
	layout->nitems = tally->items.count;
	layout->nunits = tally->units.count;
	layout->ncodes = tally->codes.count;
	layout->ncells = tally->ncells;
	layout->ncounts = tally->ncounts;
	layout->size = MAXALIGN(sizeof(TallyImage));
	layout->items = take(layout, sizeof(TallyName) * layout->nitems);
	layout->given_up = take(layout, 2 * (Size) layout->nitems);
	layout->units = take(layout, sizeof(TallyName) * layout->nunits);
	layout->codes = take(layout, sizeof(TallyName) * layout->ncodes);
	layout->cells = take(layout, sizeof(TallyCell) * layout->ncells);
	layout->counts = take(layout, sizeof(TallyCount) * layout->ncounts);
	layout->sets = take(layout, sets);
	layout->bytes = take(layout, tally->items.nbytes + tally->units.nbytes + tally->codes.nbytes + tally->nlong);
}

/* Write names, and their bytes where those of other names end. */
static void
write_names(TallyImage *image, Size at, const TallyNames *names, Size *bytes)
{
	TallyName  *written = tally_at(image, at, TallyName);

	for (uint32 i = 0; i < names->count; i++)
	{
		written[i] = names->names[i];
		written[i].offset += (uint32) *bytes;
	}
	if (names->nbytes > 0)
		memcpy(tally_at(image, image->bytes + *bytes, char), names->bytes, names->nbytes);
	*bytes += names->nbytes;
}

/* Write the counts; long values are behind all names. */
static void
write_counts(TallyImage *image, const Tally *tally, Size bytes)
{
	TallyCount *written = tally_at(image, image->counts, TallyCount);

	for (uint32 i = 0; i < tally->ncount_slots; i++)
	{
		if (i % STEPS == 0)
			CHECK_FOR_INTERRUPTS();
		if (tally->counts[i].count == 0)
			continue;
		*written = tally->counts[i];
		if (written->length > TALLY_SHORT && written->length != TALLY_CODE)
			written->key += bytes;
		written++;
	}
	if (tally->nlong > 0)
		memcpy(tally_at(image, image->bytes + bytes, char), tally->long_values, tally->nlong);
}

/* Write the sets. */
static void
write_sets(TallyImage *image, const Tally *tally)
{
	Size		at = image->sets;

	for (uint32 i = 0; i < tally->codes.count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		clinical_tally_set_write(&tally->sets[i], tally->npatients, tally_at(image, at, uint32));
		at += clinical_tally_set_size(&tally->sets[i], tally->npatients);
	}
}

/* SQL: the state as an image; for the leader, or of all. */
Datum
clinical_report_tally_image(PG_FUNCTION_ARGS)
{
	Tally	   *tally = PG_ARGISNULL(0) ? clinical_tally_make(CurrentMemoryContext, 0, 0) : (Tally *) PG_GETARG_POINTER(0);
	TallyImage	layout = {0};
	TallyImage *image;
	bool	   *given_up;
	Size		bytes = 0;

	clinical_report_count(tally->scope == NULL ? 0 : tally->rows - tally->told);
	tally->told = tally->rows;
	lay_out(tally, &layout);
	image = palloc0(layout.size);
	*image = layout;
	SET_VARSIZE(image, layout.size);
	given_up = tally_at(image, image->given_up, bool);
	for (uint32 i = 0; i < image->nitems; i++)
	{
		given_up[2 * i] = tally->item_states[i].given_up;
		given_up[2 * i + 1] = tally->item_states[i].codes_given_up;
	}
	write_names(image, image->items, &tally->items, &bytes);
	write_names(image, image->units, &tally->units, &bytes);
	write_names(image, image->codes, &tally->codes, &bytes);
	if (image->ncells > 0)
		memcpy(tally_at(image, image->cells, TallyCell), tally->cells, sizeof(TallyCell) * image->ncells);
	write_counts(image, tally, bytes);
	write_sets(image, tally);
	PG_RETURN_POINTER(image);
}

/* SQL: a worker's image; combine reads it as it is. */
Datum
clinical_report_tally_read(PG_FUNCTION_ARGS)
{
	const bytea *sent = PG_GETARG_BYTEA_PP(0);
	Size		size = VARSIZE_ANY_EXHDR(sent);
	TallyImage *image;

	if (!AggCheckCallContext(fcinfo, NULL) || size < sizeof(TallyImage) - VARHDRSZ)
		elog(ERROR, "report_tally is called by reports alone");
	/* aligned, and with a header that is not short */
	image = palloc(size + VARHDRSZ);
	memcpy((char *) image + VARHDRSZ, VARDATA_ANY(sent), size);
	SET_VARSIZE(image, size + VARHDRSZ);
	PG_RETURN_POINTER(image);
}

/* The numbers that the names of an image have in the tally. */
static void
add_items(Tally *tally, const TallyImage *image, uint32 *items)
{
	const TallyName *names = tally_at(image, image->items, const TallyName);
	const bool *given_up = tally_at(image, image->given_up, const bool);

	for (uint32 i = 0; i < image->nitems; i++)
	{
		items[i] = clinical_tally_item(tally, tally_at(image, image->bytes + names[i].offset, char), names[i].length);
		if (given_up[2 * i])
			clinical_tally_give_up(tally, items[i]);
		if (given_up[2 * i + 1])
			clinical_tally_set_give_up(tally, items[i]);
	}
}

/* Likewise, of units: numbers + 1, of 0 it is 0. */
static void
add_units(Tally *tally, const TallyImage *image, uint32 *units)
{
	const TallyName *names = tally_at(image, image->units, const TallyName);

	units[0] = 0;
	for (uint32 i = 0; i < image->nunits; i++)
		units[i + 1] = 1 + clinical_tally_name(tally, &tally->units, 0, tally_at(image, image->bytes + names[i].offset, char), names[i].length);
}

/* Likewise, of codes; and who has them. */
static void
add_codes(Tally *tally, const TallyImage *image, const uint32 *items, uint32 *codes)
{
	const TallyName *names = tally_at(image, image->codes, const TallyName);
	Size		at = image->sets;

	for (uint32 i = 0; i < image->ncodes; i++)
	{
		const uint32 *set = tally_at(image, at, const uint32);

		codes[i] = clinical_tally_code(tally, items[names[i].owner], tally_at(image, image->bytes + names[i].offset, char), names[i].length);
		clinical_tally_set_merge(tally, codes[i], set);
		at += MAXALIGN(2 * sizeof(uint32) + (set[1] != 0 ? sizeof(uint64) * set[1] : sizeof(uint32) * set[0]));
	}
}

/* Likewise, of cells; and their sums. */
static void
add_cells(Tally *tally, const TallyImage *image, const uint32 *items, const uint32 *units, uint32 *cells)
{
	const TallyCell *added = tally_at(image, image->cells, const TallyCell);

	for (uint32 i = 0; i < image->ncells; i++)
	{
		TallyCell  *cell = clinical_tally_cell(tally, added[i].group, items[added[i].item], units[added[i].unit], added[i].month);

		if (i % STEPS == 0)
			CHECK_FOR_INTERRUPTS();
		cells[i] = (uint32) (cell - tally->cells);
		cell->rows += added[i].rows;
		cell->numbers += added[i].numbers;
		cell->flagged += added[i].flagged;
		cell->corrected += added[i].corrected;
	}
}

/* Add the counts. */
static void
add_counts(Tally *tally, const TallyImage *image, const uint32 *codes, const uint32 *cells)
{
	const TallyCount *added = tally_at(image, image->counts, const TallyCount);

	for (uint32 i = 0; i < image->ncounts; i++)
	{
		const TallyCount *count = &added[i];

		if (i % STEPS == 0)
			CHECK_FOR_INTERRUPTS();
		if (count->length == TALLY_CODE)
			clinical_tally_code_count(tally, codes[count->key], count->cell, count->count);
		else
		{
			uint32		cell = cells[count->cell];
			const char *bytes = count->length > TALLY_SHORT ? tally_at(image, image->bytes + count->key, char) : (const char *) &count->key;

			clinical_tally_value(tally, tally->cells[cell].item, cell, bytes, count->length, count->count);
		}
	}
}

/* Add what another process has counted. */
static void
add_image(Tally *tally, const TallyImage *image)
{
	uint32	   *items = palloc(sizeof(uint32) * (image->nitems + 1));
	uint32	   *units = palloc(sizeof(uint32) * (image->nunits + 1));
	uint32	   *codes = palloc(sizeof(uint32) * (image->ncodes + 1));
	uint32	   *cells = palloc(sizeof(uint32) * (image->ncells + 1));

	tally->rows += image->rows;
	add_items(tally, image, items);
	add_units(tally, image, units);
	add_codes(tally, image, items, codes);
	add_cells(tally, image, items, units, cells);
	add_counts(tally, image, codes, cells);
}

/* SQL: put together what two processes have counted; the second is as it was sent. */
Datum
clinical_report_tally_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	const TallyImage *image;
	Tally	   *tally;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "report_tally is called by reports alone");
	image = PG_ARGISNULL(1) ? NULL : (const TallyImage *) PG_GETARG_POINTER(1);
	/* a process that has read no row knows neither how many patients there are nor what memory it may take */
	if (image == NULL || image->rows == 0)
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_POINTER(PG_GETARG_POINTER(0));
	}
	tally = PG_ARGISNULL(0) ? clinical_tally_make(context, image->npatients, image->memory) : (Tally *) PG_GETARG_POINTER(0);
	add_image(tally, image);
	PG_RETURN_POINTER(tally);
}
