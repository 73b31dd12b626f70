/*-------------------------------------------------------------------------
 *
 * intake_tell.c
 *		What the intake tells those who run the server, in lines of the log:
 *		reports that failed, and when the queue is full and has room again.
 *
 * Of a queue, or of a project's share of it, that is full the first answer "busy"
 * is told, and then nothing until the end of a transaction finds that there is room
 * again: at less than nine tenths, or one report more or less would be told each
 * time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "intake.h"
#include "observe.h"
#include "worker.h"

/* The facts about the queue are numbers; they are put together without memory */
#define MAX_FACTS 128

/* The states of what may be full */
enum
{
	HAS_ROOM,
	BEING_TOLD,					/* who does that will leave another state */
	FULL,
};

/* --- reports ----------------------------------------------------------------------------------- */

/* Which report a line is about: its id and its trace, not whose it is. */
static const char *
report_facts(const ClinicalStaged *staged)
{
	Datum		id = staged->values[CLINICAL_STAGED_SUBMISSION_ID];
	bool		traced = !staged->nulls[CLINICAL_STAGED_TRACE_PARENT];

	return psprintf("submission_id=%s%s", DatumGetCString(DirectFunctionCall1(uuid_out, id)),
					clinical_event_trace(traced ? staged->values[CLINICAL_STAGED_TRACE_PARENT] : (Datum) 0));
}

/* Reports failed together, or one alone, and what is done about it. */
void
clinical_intake_tell_failed(int count, int sqlerrcode, const char *action)
{
	clinical_event(CLINICAL_EVENT_BATCH_FAILED, "reports=%d sqlstate=%s action=%s", count, unpack_sql_state(sqlerrcode),
				   action);
}

/* A report goes into quarantine. */
void
clinical_intake_tell_quarantined(const ClinicalStaged *staged)
{
	const char *state = "";

	if (!clinical_event_wanted(CLINICAL_EVENT_QUARANTINED))
		return;
	if (staged->sqlerrcode != 0)
		state = psprintf("sqlstate=%s ", unpack_sql_state(staged->sqlerrcode));
	clinical_event_at_commit(CLINICAL_EVENT_QUARANTINED, "%sreason=%s %s%s",
							 clinical_event_project(staged->known ? staged->project_id : 0),
							 clinical_event_value(staged->reason), state, report_facts(staged));
}

/* A report that failed is put off. */
void
clinical_intake_tell_put_off(const ClinicalStaged *staged, int sqlerrcode)
{
	if (clinical_event_wanted(CLINICAL_EVENT_PUT_OFF))
		clinical_event_at_commit(CLINICAL_EVENT_PUT_OFF, "sqlstate=%s attempts=%d %s", unpack_sql_state(sqlerrcode),
								 clinical_staged_number(staged, CLINICAL_STAGED_ATTEMPTS), report_facts(staged));
}

/* --- the queue --------------------------------------------------------------------------------- */

/* Nothing is full: the database is counted for the first time. */
void
clinical_intake_begin_full(ClinicalBacklog *backlog)
{
	for (int i = 0; i < (int) lengthof(backlog->full); i++)
		pg_atomic_write_u32(&backlog->full[i].state, HAS_ROOM);
}

/* So many places are taken, of the queue or of a share of it. */
static uint64
places_taken(ClinicalBacklog *backlog, int quota)
{
	if (quota == CLINICAL_WHOLE_QUEUE)
		return pg_atomic_read_u64(&backlog->count);
	return (uint64) Max((int32) pg_atomic_read_u32(&backlog->quota_count[quota]), 0);
}

/* Is there room again? */
static bool
has_room(ClinicalBacklog *backlog, int quota)
{
	int64		limit = quota == CLINICAL_WHOLE_QUEUE ? clinical_queue_capacity : backlog->full[quota].limit;

	return places_taken(backlog, quota) * 10 < (uint64) limit * 9;
}

/* Leave the state that it has from now on. */
static void
leave_state(ClinicalFull *full, uint32 state)
{
	pg_write_barrier();
	pg_atomic_write_u32(&full->state, state);
}

/*
 * Tell what is the matter, and leave the state that it has then, also if that fails:
 * after a commit that is no error.
 */
static pg_noinline void
tell_and_leave(ClinicalFull *full, uint32 state, ClinicalLogEvent event, const char *facts)
{
	MemoryContext context = CurrentMemoryContext;
	uint32		holdoff = InterruptHoldoffCount;

	PG_TRY();
	{
		clinical_event(event, "%s%s", full->project, facts);
	}
	PG_CATCH();
	{
		if (IsTransactionState())
			leave_state(full, state);
		clinical_log_failed(context, holdoff);
	}
	PG_END_TRY();
	leave_state(full, state);
}

/*
 * Once a transaction, or a savepoint, has given places back: if there was none and
 * is now, tell that.
 */
void
clinical_intake_tell_room(ClinicalBacklog *backlog, int quota)
{
	ClinicalFull *full = &backlog->full[quota];
	uint32		state = FULL;
	char		facts[MAX_FACTS];

	if (likely(pg_atomic_read_u32(&full->state) != FULL))
		return;
	pg_read_barrier();
	if (!has_room(backlog, quota) || !pg_atomic_compare_exchange_u32(&full->state, &state, BEING_TOLD))
		return;
	snprintf(facts, sizeof(facts), "waiting=" UINT64_FORMAT " full_ms=%ld", places_taken(backlog, quota),
			 TimestampDifferenceMilliseconds(full->since, GetCurrentTimestamp()));
	tell_and_leave(full, HAS_ROOM, CLINICAL_EVENT_QUEUE_ROOM, facts);
}

/*
 * A report is answered "busy": tell that the queue is full, or a project's share of
 * it, unless it is known.
 */
void
clinical_intake_tell_full(ClinicalBacklog *backlog, int quota, int64 project_id, int64 limit)
{
	ClinicalFull *full = &backlog->full[quota];
	uint32		state = HAS_ROOM;
	const char *project;
	char		facts[MAX_FACTS];

	if (pg_atomic_read_u32(&full->state) != HAS_ROOM)
		return;
	project = clinical_event_project(project_id);
	if (strlen(project) >= sizeof(full->project))
		project = psprintf("project_id=" INT64_FORMAT " ", project_id);
	if (!pg_atomic_compare_exchange_u32(&full->state, &state, BEING_TOLD))
		return;
	strlcpy(full->project, project, sizeof(full->project));
	full->limit = limit;
	full->since = GetCurrentTimestamp();
	snprintf(facts, sizeof(facts), "capacity=" INT64_FORMAT " waiting=" UINT64_FORMAT, limit, places_taken(backlog, quota));
	tell_and_leave(full, FULL, CLINICAL_EVENT_QUEUE_FULL, facts);
	/* places that were given back meanwhile were given back unseen */
	pg_memory_barrier();
	clinical_intake_tell_room(backlog, quota);
}
