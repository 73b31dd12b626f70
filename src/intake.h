/*-------------------------------------------------------------------------
 *
 * intake.h
 *		What the rooms of the module intake share: taking in reports of
 *		patients, and processing them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_INTAKE_H
#define CLINICAL_INTAKE_H

#include "executor/tuptable.h"
#include "nodes/pg_list.h"
#include "storage/block.h"
#include "storage/itemptr.h"

#include "core.h"
#include "instrument.h"
#include "worker.h"

/* intake.c */
extern int	clinical_queue_capacity;
extern int	clinical_max_report_size;
extern int	clinical_batch_size;
extern int	clinical_batch_time;
extern int	clinical_report_timeout;
extern int	clinical_max_attempts;
extern int	clinical_retry_delay_max;
extern const ClinicalInvariant clinical_intake_invariants[];
extern const int clinical_intake_ninvariants;

extern void clinical_intake_init(void);
CLINICAL_NORETURN extern void clinical_submission_not_found(void);

/* intake_stage.c */

/* The tables in which reports wait: a ring of segments, and those that are tried again */
#define CLINICAL_SEGMENTS (CLINICAL_STAGES - 1)
#define CLINICAL_RETRIED CLINICAL_SEGMENTS

/* Their columns */
typedef enum ClinicalStagedColumn
{
	CLINICAL_STAGED_PATIENT_ID,
	CLINICAL_STAGED_SUBMISSION_ID,
	CLINICAL_STAGED_CAPTURED_AT,	/* NULL: not given */
	CLINICAL_STAGED_RECEIVED_AT,
	CLINICAL_STAGED_INSTRUMENT,
	CLINICAL_STAGED_TIME_ZONE,
	CLINICAL_STAGED_ORIGINATOR,
	CLINICAL_STAGED_DEVICE_ID,
	CLINICAL_STAGED_LOGIN,
	CLINICAL_STAGED_ACTOR,
	CLINICAL_STAGED_TRACE_PARENT,
	CLINICAL_STAGED_DIGEST,		/* NULL: to be computed */
	CLINICAL_STAGED_REPORT_DATA,
	CLINICAL_STAGED_ATTEMPTS,	/* NULL: none */
	CLINICAL_STAGED_CRASHES,	/* NULL: none */
	CLINICAL_STAGED_NOT_BEFORE,
	CLINICAL_STAGED_QUOTA_PROJECT,	/* NULL: none that has a share */
	CLINICAL_STAGED_NCOLUMNS
} ClinicalStagedColumn;

/* What is locked, of the table above them all */
#define CLINICAL_LOCK_COUNT 1
#define CLINICAL_LOCK_TURN 2
#define CLINICAL_LOCK_LANE 8

/* A scan that has found something looks at no more rows than so many times its limit */
#define CLINICAL_MAX_VISITED 32
/* So many bytes of data make a batch, however few reports they are */
#define CLINICAL_BATCH_BYTES (UINT64CONST(16) * 1024 * 1024)
/* A report whose lane is busy is tried again after so many milliseconds */
#define CLINICAL_RETRY_BUSY 100

/* What is known about the id of a report */
typedef struct ClinicalUse
{
	bool		used;
	bool		same;			/* by the same report */
	bool		original;		/* that one was put back from quarantine */
} ClinicalUse;

/* A staged report, what is known about it, and what becomes of it */
typedef struct ClinicalStaged
{
	int			table;
	int			lane;
	ItemPointerData tid;
	Datum		values[CLINICAL_STAGED_NCOLUMNS];
	bool		nulls[CLINICAL_STAGED_NCOLUMNS];
	TimestampTz waits_until;	/* for one of the same id that came first and
								 * is put off; 0: for none */
	TimestampTz taken_at;		/* when its batch began */
	Jsonb	   *data;
	TimestampTz captured_at;
	Datum		digest;
	ClinicalUse use;			/* before, or earlier in the batch */
	bool		known;			/* the patient */
	int64		project_id;
	Datum		zone;			/* 0: unknown patient */
	Datum		local_day;
	const char *reason;			/* of quarantine, as far as the database knows;
								 * NULL: none */
	int			sqlerrcode;		/* of what went wrong with it alone; 0: nothing */
	int64		version_id;		/* 0: no instrument */
	/* the verdict */
	const char *outcome;		/* NULL: none yet */
	Jsonb	   *detail;
	ClinicalVerdict verdict;
} ClinicalStaged;

/* Reports that are processed together */
typedef struct ClinicalBatch
{
	uint64		lanes;			/* whose locks are held */
	uint64		bytes;			/* of the reports' data, in memory */
	int			limit;			/* reports; a few more, to the end of a block */
	int			room;
	int			lane_limit;		/* reports of a lane */
	bool		marked_only;
	int			count;
	int			taken[CLINICAL_LANES];	/* by lane */
	BlockNumber nblocks[CLINICAL_STAGES];
	ClinicalStaged **reports;
} ClinicalBatch;

extern Oid	clinical_stage_parent(void);
extern Oid	clinical_stage_table(int table);
extern int	clinical_patient_lane(Datum patient_id);
extern int	clinical_stage_lane(TupleTableSlot *slot);
extern int64 clinical_stage_quota_project(TupleTableSlot *slot);
extern TimestampTz clinical_stage_since(TupleTableSlot *slot);
extern bool clinical_stage_lock(uint16 what, bool at_once);
extern void clinical_stage_unlock(uint16 what);
extern bool clinical_stage_put(ClinicalBacklog *backlog, int64 capacity, int64 quota, Datum *values, bool *nulls,
							   bool submitted);
extern void clinical_stage_put_off(ClinicalBacklog *backlog, Datum *values, bool *nulls);
extern int	clinical_stage_take(ClinicalBacklog *backlog, ClinicalStaged **reports, int count);
extern void clinical_stage_find(ClinicalBacklog *backlog, ClinicalBatch *batch, int table);
extern void clinical_stage_find_due(ClinicalBacklog *backlog, ClinicalBatch *batch);

/* intake_count.c */
extern void clinical_intake_count_init(void);
extern bool clinical_intake_any_pending(void);
extern void clinical_intake_rows_changed(void);
extern bool clinical_intake_is_full(const ClinicalBacklog *backlog, int64 capacity);
extern bool clinical_intake_reserve(ClinicalBacklog *backlog, int64 capacity);
extern bool clinical_intake_reserve_quota(ClinicalBacklog *backlog, int64 project_id, int64 quota);
extern void clinical_intake_leave_quota(ClinicalBacklog *backlog, int64 project_id, int change);
extern void clinical_intake_unreserve(ClinicalBacklog *backlog);
extern void clinical_intake_puts(ClinicalBacklog *backlog, int table);
extern void clinical_intake_has_put(int table, int lane, BlockNumber block, TimestampTz since, bool submitted, int64 bytes);
extern void clinical_intake_has_put_off(TimestampTz due);
extern void clinical_intake_took(int table, int lane, TimestampTz since);
extern BlockNumber clinical_intake_begin_lane(ClinicalBacklog *backlog, int table, int lane);
extern void clinical_intake_leave_lane(int table, int lane, BlockNumber block);
extern void clinical_intake_begin_due(ClinicalBacklog *backlog);
extern void clinical_intake_put_off_until(ClinicalBacklog *backlog, TimestampTz due);
extern uint64 clinical_intake_waiting_lanes(ClinicalBacklog *backlog);
extern int64 clinical_intake_own(void);
extern int	clinical_intake_own_put_off(void);
extern int64 clinical_intake_waiting(ClinicalBacklog *backlog);
extern TimestampTz clinical_intake_oldest(ClinicalBacklog *backlog);

/* intake_quota.c */
extern void clinical_quota_init(void);
extern int64 clinical_quota_of(text *patient_id, int64 *limit);
extern int	clinical_quota_slot(ClinicalBacklog *backlog, int64 project_id);

/* intake_tell.c */
extern void clinical_intake_tell_failed(int count, int sqlerrcode, const char *action);
extern void clinical_intake_tell_quarantined(const ClinicalStaged *staged);
extern void clinical_intake_tell_put_off(const ClinicalStaged *staged, int sqlerrcode);
extern void clinical_intake_begin_full(ClinicalBacklog *backlog);
extern void clinical_intake_tell_full(ClinicalBacklog *backlog, int quota, int64 project_id, int64 limit);
extern void clinical_intake_tell_room(ClinicalBacklog *backlog, int quota);

/* intake_census.c */
extern ClinicalBacklog *clinical_intake_backlog(void);
extern bool clinical_intake_recount(void);

/* intake_empty.c */
extern void clinical_segments_turn_large(ClinicalBacklog *backlog);
extern bool clinical_segments_turn(ClinicalBacklog *backlog, bool idle, MemoryContext context, List **result);
extern void clinical_segments_order(ClinicalBacklog *backlog, int *order);
extern void clinical_segment_empty(Oid relid);
extern int64 clinical_segments_bytes(void);

/* intake_health.c */
extern void clinical_intake_health_init(void);

/* intake_submit.c */

/* A report as it is submitted; NULL and 0: not given */
typedef struct ClinicalSubmission
{
	text	   *patient_id;
	Datum		id;
	bool		has_id;			/* else one is made */
	TimestampTz captured_at;
	bool		has_captured_at;
	text	   *instrument;
	text	   *time_zone;
	text	   *originator;
	text	   *device_id;
	text	   *actor;
	text	   *trace_parent;
	Jsonb	   *data;
	TimestampTz received_at;	/* set when it is staged */
} ClinicalSubmission;

extern void clinical_submission_require(const ClinicalSubmission *submission);
extern Datum clinical_submission_digest(const ClinicalSubmission *submission);

/* intake_judge.c */
extern int	clinical_staged_number(const ClinicalStaged *staged, ClinicalStagedColumn column);
extern int	clinical_compare_ids(const ClinicalStaged *a, const ClinicalStaged *b);
extern int	clinical_staged_order(const void *left, const void *right);
extern int	clinical_staged_received(const void *left, const void *right);
extern void clinical_intake_prepare(ClinicalStaged *staged);
extern void clinical_intake_order(ClinicalStaged **reports, int count);
extern void clinical_intake_judge(ClinicalStaged *staged);
extern void clinical_intake_set_aside(ClinicalStaged *staged, const char *reason, const char *key, const char *value);

/* intake_look.c */
extern void clinical_intake_find_use(Datum patient_id, Datum submission_id, Datum digest, ClinicalUse *use);
extern void clinical_intake_look_up(ClinicalStaged **reports, int count);

/* intake_store.c */
extern void clinical_intake_process(ClinicalStaged **reports, int count);
extern void clinical_intake_store_aside(ClinicalStaged *staged);
extern bool clinical_intake_count_outcome(const ClinicalStaged *staged);

/* intake_batch.c */
extern void clinical_batch_init(void);
extern bool clinical_batch_is_due(ClinicalBacklog *backlog);
extern ClinicalBatch *clinical_batch_find(ClinicalBacklog *backlog, int limit, bool wait, bool marked_only);

/* intake_turn.c */
extern void clinical_intake_put_off_behind(ClinicalStaged **reports, int count, const ClinicalStaged *staged);
extern int	clinical_intake_leave_waiting(ClinicalBacklog *backlog, ClinicalStaged **reports, int count);
extern void clinical_intake_wait_turn(ClinicalBacklog *backlog, ClinicalBatch *batch);

/* intake_try.c */
typedef enum ClinicalTried
{
	CLINICAL_TRIED,				/* all reports are where they belong */
	CLINICAL_TIMED_OUT			/* nothing was done */
} ClinicalTried;

extern void clinical_intake_put_off(ClinicalBacklog *backlog, ClinicalStaged *staged, TimestampTz moment);
extern ClinicalTried clinical_intake_try(ClinicalBacklog *backlog, ClinicalStaged **reports, int count, bool can_give_up);

/* intake_drain.c */
extern void clinical_intake_drain_init(void);
extern uint32 clinical_intake_suspects(void);

#endif							/* CLINICAL_INTAKE_H */
