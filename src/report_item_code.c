/*-------------------------------------------------------------------------
 *
 * report_item_code.c
 *		Table "codes": how many patients have a code at least once, and how often
 *		it is there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "report_item.h"

/* Codes, to be put into order */
typedef struct CodeRow
{
	uint32		code;			/* its number */
	uint32		item;
	char	   *name;
	char	   *code_name;
	uint64	   *patients;		/* by group + 1; 0: of all */
	uint64	   *occurrences;
	uint64	   *answered;		/* patients with the item, the same for all of its codes */
} CodeRow;

/* qsort: by item and code. */
static int
by_code(const void *left, const void *right)
{
	const CodeRow *a = left;
	const CodeRow *b = right;
	int			order = strcmp(a->name, b->name);

	CHECK_FOR_INTERRUPTS();
	return order != 0 ? order : strcmp(a->code_name, b->code_name);
}

/* Mark the members of a set that was written, and count those that were not marked, by group. */
static void
mark_members(const TallyScope *scope, const uint32 *image, uint64 *marks, uint64 *counts)
{
	const TallyPatient *patients = tally_at(scope, scope->patients, const TallyPatient);
	const uint64 *words = (const uint64 *) (image + 2);
	uint32		members = image[1] == 0 ? image[0] : image[1] * 64;

	for (uint32 i = 0; i < members; i++)
	{
		uint32		patient = image[1] == 0 ? image[2 + i] : i;

		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if ((image[1] != 0 && (words[i / 64] >> i % 64 & 1) == 0) || (marks[patient / 64] >> patient % 64 & 1) != 0)
			continue;
		marks[patient / 64] |= UINT64CONST(1) << patient % 64;
		counts[0]++;
		counts[1 + patients[patient].group]++;
	}
}

/* Memory for the marks of all patients. */
static uint64 *
make_marks(const TallyScope *scope)
{
	return palloc0_array(uint64, scope->npatients / 64 + 1);
}

/* Count the patients of each code, and of each item. */
static void
count_patients(const ItemPass *pass, CodeRow *rows, uint64 **answered)
{
	const TallyImage *image = pass->image;
	uint64	  **marks = palloc0_array(uint64 *, image->nitems + 1);
	Size		at = image->sets;

	for (uint32 i = 0; i < image->ncodes; i++)
	{
		const uint32 *set = tally_at(image, at, const uint32);
		uint32		item = rows[i].item;
		uint64	   *own = make_marks(pass->scope.tally);

		if (marks[item] == NULL)
		{
			marks[item] = make_marks(pass->scope.tally);
			answered[item] = palloc0_array(uint64, pass->scope.ngroups + 1);
		}
		mark_members(pass->scope.tally, set, own, rows[i].patients);
		mark_members(pass->scope.tally, set, marks[item], answered[item]);
		rows[i].answered = answered[item];
		pfree(own);
		at += MAXALIGN(2 * sizeof(uint32) + (set[1] != 0 ? sizeof(uint64) * set[1] : sizeof(uint32) * set[0]));
	}
}

/* Count the occurrences of each code. */
static void
count_occurrences(const TallyImage *image, CodeRow *rows)
{
	const TallyCount *counts = tally_at(image, image->counts, const TallyCount);

	for (uint32 i = 0; i < image->ncounts; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (counts[i].length != TALLY_CODE)
			continue;
		rows[counts[i].key].occurrences[0] += counts[i].count;
		rows[counts[i].key].occurrences[1 + counts[i].cell] += counts[i].count;
	}
}

/* Compare a code with what was counted otherwise: any code of an item (NULL) is before all. */
static int
compare_large(const CodeRow *row, const LargeCode *large)
{
	int			order = strcmp(row->name, large->item);

	return order != 0 || large->code == NULL ? order : strcmp(row->code_name, large->code);
}

/* Take the patients that were counted otherwise; rows are in order. */
static void
take_large(CodeRow *rows, uint32 nrows, const LargeCode *large, int nlarge)
{
	for (int i = 0; i < nlarge; i++)
	{
		uint32		low = 0;
		uint32		high = nrows;

		CHECK_FOR_INTERRUPTS();
		while (low < high)
		{
			uint32		middle = low + (high - low) / 2;

			if (compare_large(&rows[middle], &large[i]) < 0)
				low = middle + 1;
			else
				high = middle;
		}
		if (low == nrows || compare_large(&rows[low], &large[i]) != 0)
			continue;
		if (large[i].code != NULL)
			rows[low].patients[large[i].by] = large[i].patients;
		else
			rows[low].answered[large[i].by] = large[i].patients;	/* of all codes of the item */
	}
}

/* The codes, in order. */
static CodeRow *
make_rows(const ClinicalReportScope *scope, const ItemPass *pass)
{
	const TallyImage *image = pass->image;
	CodeRow    *rows = palloc0_array(CodeRow, image->ncodes + 1);
	uint64	  **answered = palloc0_array(uint64 *, image->nitems + 1);
	LargeCode  *large;
	int			nlarge;

	for (uint32 i = 0; i < image->ncodes; i++)
	{
		rows[i].code = i;
		rows[i].item = tally_at(image, image->codes, const TallyName)[i].owner;
		rows[i].name = clinical_item_string(image, image->items, rows[i].item);
		rows[i].code_name = clinical_item_string(image, image->codes, i);
		rows[i].patients = palloc0_array(uint64, pass->scope.ngroups + 1);
		rows[i].occurrences = palloc0_array(uint64, pass->scope.ngroups + 1);
	}
	count_patients(pass, rows, answered);
	count_occurrences(image, rows);
	qsort(rows, image->ncodes, sizeof(CodeRow), by_code);
	nlarge = clinical_item_large_codes(scope, pass, &large);
	take_large(rows, image->ncodes, large, nlarge);
	return rows;
}

/* Put a row. */
static void
put_row(JsonbParseState **state, const ItemPass *pass, const CodeRow *row, uint32 by)
{
	const ItemLabel *label = clinical_item_label(&pass->labels, row->name, row->code_name);

	clinical_item_put_row(state, &pass->scope, by, row->name, clinical_item_label(&pass->labels, row->name, NULL));
	clinical_item_put_string(state, "code", row->code_name);
	clinical_item_put_string(state, "code_label", label == NULL ? NULL : label->label);
	clinical_item_put_patients(state, &pass->scope, by, row->patients[by], row->answered[by], row->occurrences[by]);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* ClinicalReportTable: the rows of "codes". */
Jsonb *
clinical_item_code_rows(const ClinicalReportScope *scope)
{
	const ItemPass *pass = clinical_item_pass(scope);
	CodeRow    *rows = make_rows(scope, pass);
	uint32		ngroups = pass->scope.is_split ? pass->scope.ngroups : 0;
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (uint32 by = 0; by <= ngroups; by++)
	{
		for (uint32 i = 0; i < pass->image->ncodes; i++)
		{
			CHECK_FOR_INTERRUPTS();
			if (rows[i].occurrences[by] > 0)
				put_row(&state, pass, &rows[i], by);
		}
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}
