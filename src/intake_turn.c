/*-------------------------------------------------------------------------
 *
 * intake_turn.c
 *		Of reports with one id the one that was received first is decided upon
 *		first, also if it was put off: those after it are put off with it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "intake.h"
#include "worker.h"

/* A row of those that were put off, as far as it is asked about. */
static void
read_row(TupleTableSlot *slot, ClinicalStaged *row)
{
	static const ClinicalStagedColumn columns[] = {
		CLINICAL_STAGED_PATIENT_ID, CLINICAL_STAGED_SUBMISSION_ID, CLINICAL_STAGED_RECEIVED_AT, CLINICAL_STAGED_NOT_BEFORE
	};

	for (int i = 0; i < (int) lengthof(columns); i++)
		row->values[columns[i]] = slot_getattr(slot, columns[i] + 1, &row->nulls[columns[i]]);
}

/* The first of reports, in order, that does not stand before one that was put off, by patient and id. */
static int
first_of_id(ClinicalStaged **reports, int count, const ClinicalStaged *row)
{
	int			low = 0;
	int			high = count;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (clinical_compare_ids(reports[middle], row) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Let reports of the same id that came later wait for one that was put off, until it is due. */
static void
note_later(ClinicalStaged **reports, int count, ClinicalStaged *row)
{
	TimestampTz due = row->nulls[CLINICAL_STAGED_NOT_BEFORE] ? GetCurrentTimestamp() :
		DatumGetTimestampTz(row->values[CLINICAL_STAGED_NOT_BEFORE]);

	for (int i = first_of_id(reports, count, row); i < count && clinical_compare_ids(reports[i], row) == 0; i++)
	{
		if (clinical_staged_received(&row, &reports[i]) < 0)
			reports[i]->waits_until = Max(reports[i]->waits_until, due);
	}
}

/* The same in a batch in which that one was put off just now: for those behind it, some of which may be gone. */
void
clinical_intake_put_off_behind(ClinicalStaged **reports, int count, const ClinicalStaged *staged)
{
	for (int i = 0; i < count; i++)
	{
		if (reports[i] == NULL)
			continue;
		if (clinical_compare_ids(reports[i], staged) != 0)
			break;
		reports[i]->waits_until = DatumGetTimestampTz(staged->values[CLINICAL_STAGED_NOT_BEFORE]);
	}
}

/* Of reports that were taken out, put off those that wait for another one; how many are left.  Behind them all is NULL. */
int
clinical_intake_leave_waiting(ClinicalBacklog *backlog, ClinicalStaged **reports, int count)
{
	int			left = 0;

	for (int i = 0; i < count; i++)
	{
		if (reports[i]->waits_until == 0)
			reports[left++] = reports[i];
		else
			clinical_intake_put_off(backlog, reports[i], reports[i]->waits_until);
	}
	for (int i = left; i < count; i++)
		reports[i] = NULL;
	return left;
}

/* Look through those that were put off, of the lanes that are ours. */
static void
look_through(ClinicalBatch *batch)
{
	Relation	relation = table_open(clinical_stage_table(CLINICAL_RETRIED), AccessShareLock);
	TableScanDesc scan;
	TupleTableSlot *slot = table_slot_create(relation, NULL);

	/* what this transaction has taken out is not there any more */
	PushActiveSnapshot(GetTransactionSnapshot());
	scan = table_beginscan_strat(relation, GetActiveSnapshot(), 0, NULL, true, false);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		ClinicalStaged row;

		CHECK_FOR_INTERRUPTS();
		if ((batch->lanes & (UINT64CONST(1) << clinical_stage_lane(slot))) == 0)
			continue;
		read_row(slot, &row);
		note_later(batch->reports, batch->count, &row);
	}
	table_endscan(scan);
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(slot);
	table_close(relation, NoLock);
}

/*
 * Of reports that were taken out, put off those whose turn it is not yet.  Whose
 * turn it is cannot change meanwhile: the lanes are ours.
 */
void
clinical_intake_wait_turn(ClinicalBacklog *backlog, ClinicalBatch *batch)
{
	if (batch->count == 0 || pg_atomic_read_u32(&backlog->rows[CLINICAL_RETRIED]) == 0)
		return;
	qsort(batch->reports, batch->count, sizeof(ClinicalStaged *), clinical_staged_order);
	look_through(batch);
	batch->count = clinical_intake_leave_waiting(backlog, batch->reports, batch->count);
}
