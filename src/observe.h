/*-------------------------------------------------------------------------
 *
 * observe.h
 *		What others tell those who run the server: counters, lines in the log
 *		and spans.
 *
 * All of it may be said anywhere; where the library was not preloaded, nothing
 * comes of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_OBSERVE_H
#define CLINICAL_OBSERVE_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* observe.c */
extern void clinical_observe_init(const int *max_databases);

/* observe_counter.c: what is counted of a database, and of its projects */

typedef enum ClinicalCounter
{
	/* of the database; project 0 */
	CLINICAL_COUNT_QUEUED,		/* reports put into staging by submit_report */
	CLINICAL_COUNT_KEPT,		/* conflicts that were kept at once; they are
								 * among CONFLICT, too */
	CLINICAL_COUNT_BYTES,		/* of the data of both */
	CLINICAL_COUNT_BUSY,		/* answers */
	CLINICAL_COUNT_ALREADY_RECEIVED,	/* answers */
	CLINICAL_COUNT_PROCESSED,	/* reports that left staging */
	CLINICAL_COUNT_BATCHES,
	CLINICAL_COUNT_BATCHES_FAILED,
	CLINICAL_COUNT_CLAIM_US,	/* time spent finding and locking reports */
	CLINICAL_COUNT_BATCH_US,	/* time spent on whole batches */
	CLINICAL_COUNT_RETRIED,		/* reports that failed and were put off */
	CLINICAL_COUNT_EMPTIED,		/* segments that were emptied */
	/* of a project, or of reports of unknown patients (0) */
	CLINICAL_COUNT_ACCEPTED,
	CLINICAL_COUNT_DUPLICATE,
	CLINICAL_COUNT_CONFLICT,
	CLINICAL_COUNT_QUARANTINED,
	CLINICAL_COUNT_REQUEUED,
	CLINICAL_COUNT_WITHDRAWN,
	CLINICAL_COUNT_ALERT_INFO,	/* alerts opened, by severity */
	CLINICAL_COUNT_ALERT_WARNING,
	CLINICAL_COUNT_ALERT_SERIOUS,
	CLINICAL_COUNT_ALERT_CRITICAL,
	CLINICAL_COUNT_ALERT_ACKNOWLEDGED,
	CLINICAL_COUNT_ALERT_CLOSED,
	CLINICAL_COUNT_ALERT_RETRACTED,
	CLINICAL_COUNT_ALERT_ESCALATED,
	CLINICAL_COUNT_REPORT_DONE, /* project reports made, directly or by a job */
	CLINICAL_COUNT_REPORT_FAILED,
	CLINICAL_COUNT_REPORT_CANCEL_REQUEST,	/* pg_cancel_backend,
											 * cancel_report() */
	CLINICAL_COUNT_REPORT_TIME_LIMIT,
	CLINICAL_COUNT_REPORT_CLIENT_GONE,
	CLINICAL_COUNT_REPORT_ENDED,	/* the session or the server was ended */
	CLINICAL_COUNT_REPORT_MS,	/* time spent on those that were done */
	CLINICAL_NCOUNTERS
} ClinicalCounter;

/* From here on they are of a project */
#define CLINICAL_FIRST_OF_PROJECT CLINICAL_COUNT_ACCEPTED

/* What was counted of this database */
typedef struct ClinicalCounts
{
	TimestampTz reset_at;
	int64		backlog_at_reset;	/* reports that waited then */
	uint64		numbers[CLINICAL_NCOUNTERS];	/* of all projects */
} ClinicalCounts;

/* Anywhere, in a transaction: when it commits */
extern void clinical_count(ClinicalCounter counter, int64 project_id, uint64 number);

/* Anywhere: at once */
extern void clinical_count_now(ClinicalCounter counter, int64 project_id, uint64 number);
extern uint64 clinical_counted(ClinicalCounter counter);
extern bool clinical_counts_read(ClinicalCounts *counts);
extern void clinical_counts_of(Oid staging, int64 backlog);
extern void clinical_counter_init(void);

/* observe_histogram.c: how long things take */

typedef enum ClinicalHistogram
{
	CLINICAL_TIME_WAITING,		/* of a report, until its batch began */
	CLINICAL_TIME_PROCESSING,	/* its part of the batch */
	CLINICAL_NHISTOGRAMS
} ClinicalHistogram;

/* A bucket is a sixteenth of its octave, from a microsecond to 50 days */
#define CLINICAL_NBUCKETS 624

typedef struct ClinicalTimes
{
	uint64		count;
	uint64		sum;			/* microseconds */
	uint64		max;
	uint64		buckets[CLINICAL_NBUCKETS];
} ClinicalTimes;

/* In a transaction: so many reports took so long, when it commits */
extern void clinical_measure(ClinicalHistogram histogram, uint64 us, uint32 number);
extern bool clinical_times_read(ClinicalHistogram histogram, ClinicalTimes *times);
extern uint64 clinical_bucket_begin(int bucket);	/* microseconds; it ends where
													 * the next one begins */

/*
 * observe_log.c: lines in the log that begin with a code
 *
 * What stands in them are keys, codes and numbers as key=value pairs with a blank in
 * between, never what a patient is called, has or has said, nor the words of an
 * error: core_log.c lets them through as they are.  A text of people goes through
 * clinical_event_value().
 */

typedef enum ClinicalLogEvent
{
	CLINICAL_EVENT_WORKER_STARTED,
	CLINICAL_EVENT_WORKER_ENDED,
	CLINICAL_EVENT_BATCH_FAILED,
	CLINICAL_EVENT_QUARANTINED,
	CLINICAL_EVENT_QUEUE_FULL,
	CLINICAL_EVENT_QUEUE_ROOM,
	CLINICAL_EVENT_PUT_OFF,
	CLINICAL_EVENT_REPORT_CANCELLED,
	CLINICAL_EVENT_REPORT_FAILED,
	CLINICAL_EVENT_ALERT_OPENED,
	CLINICAL_EVENT_ALERT_ESCALATED,
	CLINICAL_EVENT_LEFT_OUT,	/* not for others: lines of another code that there
								 * were too many of */
	CLINICAL_NEVENTS
} ClinicalLogEvent;

extern void clinical_event_init(void);

/* At once, whatever becomes of the transaction; also where there is none */
extern void clinical_event(ClinicalLogEvent event, const char *format,...) pg_attribute_printf(2, 3);

/*
 * Once the transaction, and each savepoint on the way, is committed.  Where there
 * may be many in one transaction, ask before the facts are gathered whether one
 * more is wanted: if not, it was counted.
 */
extern bool clinical_event_wanted(ClinicalLogEvent event);
extern void clinical_event_at_commit(ClinicalLogEvent event, const char *format,...) pg_attribute_printf(2, 3);

/* Pieces of the facts: a value, quoted if need be; "project=CODE " or ""; " trace_id=ID" or "" */
extern const char *clinical_event_value(const char *value);
extern const char *clinical_event_project(int64 project_id);
extern const char *clinical_event_trace(Datum trace_parent);	/* text; 0: none */

/* In a process that waits: what lines were left out, if any were, and are not told yet */
extern void clinical_event_tell_left_out(void);

/* In a transaction: lines that this process writes outside of one name its database, too */
extern void clinical_event_know_database(void);

/* observe_trace.c: the trace that a call belongs to, by W3C Trace Context */

typedef struct ClinicalTrace
{
	uint8		trace_id[16];
	uint8		parent_id[8];	/* the client's span */
} ClinicalTrace;

extern void clinical_trace_init(void);
extern bool clinical_trace_parent_is_valid(const char *parent, size_t length);
extern text *clinical_trace_parent_in_force(void);
extern bool clinical_trace_read(const text *trace_parent, ClinicalTrace *trace);

/*
 * observe_step.c: the steps of which spans are kept, if their trace is sampled.
 * They are kept when the transaction commits; those of a project report that was
 * not made, at once.
 */
extern void clinical_step_init(void);
extern void clinical_step_submitted(const text *trace_parent, const pg_uuid_t *submission_id, const char *outcome,
									TimestampTz began_at, TimestampTz received_at);
extern void clinical_step_batch(int count);
extern void clinical_step_processed(const text *trace_parent, const pg_uuid_t *submission_id, int64 project_id,
									TimestampTz received_at, const char *outcome, const char *reason);
extern void clinical_step_alert(const text *trace_parent, const pg_uuid_t *submission_id, int64 project_id,
								const pg_uuid_t *alert_id, const char *event, const char *rule, const char *severity,
								TimestampTz began_at);
extern void clinical_step_report_begins(const text *trace_parent, int64 project_id, const pg_uuid_t *report_id,
										int attempt, TimestampTz asked_at);
extern void clinical_step_report_phase(const char *phase);
extern void clinical_step_report_ends(int sqlerrcode);

/* observe_span.c: where spans are kept until somebody takes them */

typedef enum ClinicalSpanKind
{
	CLINICAL_SPAN_SUBMIT,
	CLINICAL_SPAN_WAIT,			/* in the queue */
	CLINICAL_SPAN_PROCESS,
	CLINICAL_SPAN_ALERT,
	CLINICAL_SPAN_REPORT,
	CLINICAL_SPAN_REPORT_WAIT,	/* of a job */
	CLINICAL_SPAN_REPORT_PHASE
} ClinicalSpanKind;

/* Numbers that are 0, and texts that are empty, are left out when it is given out */
typedef struct ClinicalSpan
{
	ClinicalSpanKind kind;
	uint8		trace_id[16];
	uint8		id[8];
	uint8		parent_id[8];
	TimestampTz began_at;
	TimestampTz ended_at;		/* 0: when the transaction commits */
	bool		failed;
	int			number;			/* reports of a batch, or the attempt of a job */
	int64		project_id;
	pg_uuid_t	about;			/* the submission, or the report that was asked for */
	pg_uuid_t	alert_id;
	char		outcome[20];
	char		code[64];		/* reason of quarantine, code of the rule, phase, SQLSTATE */
	char		severity[12];
} ClinicalSpan;

extern void clinical_span_init(void);
extern bool clinical_spans_are_kept(void);
extern void clinical_span_at_commit(const ClinicalSpan *span);
extern void clinical_span_now(const ClinicalSpan *span);
extern int	clinical_spans_take(ClinicalSpan *spans, int limit);
extern void clinical_spans_count(uint64 *recorded, uint64 *lost);

#endif							/* CLINICAL_OBSERVE_H */
