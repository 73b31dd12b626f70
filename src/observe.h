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

/* observe_log.c: lines in the log that begin with a code */

typedef enum ClinicalLogEvent
{
	CLINICAL_EVENT_WORKER_STARTED,
	CLINICAL_EVENT_WORKER_ENDED,
	CLINICAL_EVENT_BATCH_FAILED,
	CLINICAL_EVENT_QUARANTINED,
	CLINICAL_EVENT_QUEUE_FULL,
	CLINICAL_EVENT_QUEUE_ROOM,
	CLINICAL_EVENT_REPORT_CANCELLED,
	CLINICAL_EVENT_REPORT_FAILED,
	CLINICAL_EVENT_ALERT_OPENED,
	CLINICAL_NEVENTS
} ClinicalLogEvent;

extern void clinical_event(ClinicalLogEvent event, const char *format,...) pg_attribute_printf(2, 3);
extern void clinical_event_at_commit(ClinicalLogEvent event, const char *format,...) pg_attribute_printf(2, 3);

#endif							/* CLINICAL_OBSERVE_H */
