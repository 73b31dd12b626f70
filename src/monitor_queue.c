/*-------------------------------------------------------------------------
 *
 * monitor_queue.c
 *		What this transaction has changed of patients and nobody has evaluated yet.
 *
 * An evaluation relies on alerts being right but for the days that were touched, and
 * it reads what the whole transaction has done.  So all that a transaction has changed
 * of a patient is evaluated at once: it waits here until then.  A change of a savepoint
 * that is rolled back is none; an evaluation that is rolled back has to be done again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/ilist.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "intake.h"
#include "monitor.h"

/* A change, in memory of the transaction */
typedef struct Waiting
{
	ClinicalPending pending;	/* first, as what others have of it */
	dlist_node	node;
	int			level;			/* of the transaction or savepoint that made it:
								 * those that were made later have none lower */
	int			done;			/* of the one that has evaluated it; 0: nobody has */
} Waiting;

static dlist_head queue = DLIST_STATIC_INIT(queue);

/* The deepest level by which one that is still here was evaluated; 0: none was */
static int	deepest_done = 0;

/* The level that holds lanes for an evaluation; 0: none does */
static int	evaluating = 0;

/* Forget one. */
static void
drop(Waiting *waiting)
{
	dlist_delete(&waiting->node);
	pfree(DatumGetPointer(waiting->pending.patient_id));
	pfree(waiting);
}

/* Let a change wait; all of it is copied. */
void
clinical_pending_add(Datum patient_id, const ClinicalChange *change)
{
	MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
	Waiting    *waiting = palloc0(sizeof(Waiting) + change->length + UUID_LEN);
	char	   *item = (char *) (waiting + 1);
	pg_uuid_t  *submission_id = (pg_uuid_t *) (item + change->length);

	waiting->pending.patient_id = PointerGetDatum(DatumGetTextPCopy(patient_id));
	waiting->pending.lane = clinical_patient_lane(patient_id);
	waiting->pending.change = *change;
	if (change->item != NULL)
		waiting->pending.change.item = memcpy(item, change->item, change->length);
	memcpy(submission_id, DatumGetUUIDP(change->submission_id), UUID_LEN);
	waiting->pending.change.submission_id = UUIDPGetDatum(submission_id);
	waiting->level = GetCurrentTransactionNestLevel();
	dlist_push_tail(&queue, &waiting->node);
	MemoryContextSwitchTo(caller);
}

/* The order of two ids of patients, any; 0: they are the same. */
static int
compare_patients(Datum left, Datum right)
{
	text	   *a = DatumGetTextPP(left);
	text	   *b = DatumGetTextPP(right);
	int			length = (int) VARSIZE_ANY_EXHDR(a);

	if (left == right)
		return 0;
	if (length != (int) VARSIZE_ANY_EXHDR(b))
		return length < (int) VARSIZE_ANY_EXHDR(b) ? -1 : 1;
	return memcmp(VARDATA_ANY(a), VARDATA_ANY(b), length);
}

/* By lane, in which order they are locked, then by patient; what of one is in the order in which it was made. */
static int
by_patient(const ListCell *a, const ListCell *b)
{
	const ClinicalPending *left = lfirst(a);
	const ClinicalPending *right = lfirst(b);

	if (left->lane != right->lane)
		return left->lane < right->lane ? -1 : 1;
	return compare_patients(left->patient_id, right->patient_id);
}

/* What waits of a patient, or of all (0), ordered by patients: ClinicalPending *. */
List *
clinical_pending_of(Datum patient_id)
{
	List	   *found = NIL;
	dlist_iter	iter;

	dlist_foreach(iter, &queue)
	{
		Waiting    *waiting = dlist_container(Waiting, node, iter.cur);

		if (waiting->done == 0 &&
			(patient_id == 0 || clinical_same_bytes(waiting->pending.patient_id, patient_id)))
			found = lappend(found, &waiting->pending);
	}
	if (patient_id == 0)
		list_sort(found, by_patient);
	return found;
}

/* They are evaluated; nobody looks at them any more. */
void
clinical_pending_done(List *pending)
{
	int			level = GetCurrentTransactionNestLevel();
	ListCell   *cell;

	foreach(cell, pending)
	{
		Waiting    *waiting = lfirst(cell);

		/* what made it and what evaluated it come to the same end */
		if (waiting->level == level)
			drop(waiting);
		else
			waiting->done = deepest_done = level;
	}
}

/* A lane is locked for an evaluation until the transaction ends. */
void
clinical_note_evaluating(void)
{
	if (evaluating == 0)
		evaluating = GetCurrentTransactionNestLevel();
}

/* Evaluations of a level are now those of the one above, or were not done. */
static void
end_evaluations(int level, bool commits)
{
	dlist_mutable_iter iter;

	if (deepest_done < level)
		return;
	deepest_done = commits ? level - 1 : 0;
	dlist_foreach_modify(iter, &queue)
	{
		Waiting    *waiting = dlist_container(Waiting, node, iter.cur);

		if (waiting->done == level)
			waiting->done = commits ? level - 1 : 0;
		if (waiting->done != 0 && waiting->done == waiting->level)
			drop(waiting);
		else
			deepest_done = Max(deepest_done, waiting->done);
	}
}

/* Changes of a level are now those of the one above, or were not made: they are the last ones. */
static void
end_changes(int level, bool commits)
{
	dlist_iter	iter;

	if (commits)
	{
		dlist_reverse_foreach(iter, &queue)
		{
			Waiting    *waiting = dlist_container(Waiting, node, iter.cur);

			if (waiting->level < level)
				break;
			waiting->level = level - 1;
		}
		return;
	}
	while (!dlist_is_empty(&queue) && dlist_tail_element(Waiting, node, &queue)->level >= level)
		drop(dlist_tail_element(Waiting, node, &queue));
}

/* Callback: a savepoint ends. */
static void
savepoint_ends(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();
	bool		commits = event == SUBXACT_EVENT_COMMIT_SUB;

	if (!commits && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	if (evaluating >= level)
		evaluating = commits ? level - 1 : 0;
	end_changes(level, commits);
	end_evaluations(level, commits);
}

/* Callback: the transaction ends, and with it its memory; who holds lanes holds up the intake until then. */
static void
transaction_ends(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_PREPARE && evaluating > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot prepare a transaction that has evaluated monitoring rules")));
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	dlist_init(&queue);
	deepest_done = evaluating = 0;
}

/* Register the callbacks, once a session. */
void
clinical_monitor_queue_init(void)
{
	RegisterXactCallback(transaction_ends, NULL);
	RegisterSubXactCallback(savepoint_ends, NULL);
}
