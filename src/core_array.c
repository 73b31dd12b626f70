/*-------------------------------------------------------------------------
 *
 * core_array.c
 *		Rows gathered in memory, and passed to one statement as an array for
 *		each column.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/array.h"
#include "utils/lsyscache.h"

#include "core.h"

/* Begin with no rows, in the current memory context. */
void
clinical_rows_begin(ClinicalRows *rows, const Oid *types, int ncolumns)
{
	Assert(ncolumns <= CLINICAL_MAX_ARGS);
	rows->ncolumns = ncolumns;
	rows->nrows = 0;
	rows->room = 64;
	for (int i = 0; i < ncolumns; i++)
	{
		rows->types[i] = types[i];
		rows->values[i] = palloc_array(Datum, rows->room);
		rows->nulls[i] = palloc_array(bool, rows->room);
	}
}

/* Add a row of NULLs. */
void
clinical_rows_add(ClinicalRows *rows)
{
	if (rows->nrows == rows->room)
	{
		rows->room *= 2;
		for (int i = 0; i < rows->ncolumns; i++)
		{
			rows->values[i] = repalloc_array(rows->values[i], Datum, rows->room);
			rows->nulls[i] = repalloc_array(rows->nulls[i], bool, rows->room);
		}
	}
	for (int i = 0; i < rows->ncolumns; i++)
	{
		rows->values[i][rows->nrows] = (Datum) 0;
		rows->nulls[i][rows->nrows] = true;
	}
	rows->nrows++;
}

/* Set a value of the last row; it must live as long as the rows. */
void
clinical_rows_set(ClinicalRows *rows, int column, Datum value)
{
	rows->values[column][rows->nrows - 1] = value;
	rows->nulls[column][rows->nrows - 1] = false;
}

/* The columns as arrays. */
void
clinical_rows_arrays(const ClinicalRows *rows, Datum *arrays)
{
	for (int i = 0; i < rows->ncolumns; i++)
	{
		int16		length;
		bool		by_value;
		char		align;
		int			low = 1;
		int			count = rows->nrows;

		get_typlenbyvalalign(rows->types[i], &length, &by_value, &align);
		arrays[i] = PointerGetDatum(construct_md_array(rows->values[i], rows->nulls[i], 1, &count, &low,
													   rows->types[i], length, by_value, align));
	}
}
