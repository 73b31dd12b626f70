/*-------------------------------------------------------------------------
 *
 * monitor.h
 *		What the rooms of the module monitor share: rules over the readings of
 *		patients, and the alerts that they raise.
 *
 * Nothing is kept of a patient between evaluations but the alerts: what a rule has
 * to know of the days before is read from the observations, by their index.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_MONITOR_H
#define CLINICAL_MONITOR_H

#include "nodes/pg_list.h"
#include "utils/date.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "core.h"
#include "streak.h"

#define CLINICAL_MAX_ESCALATIONS 10

typedef enum ClinicalMonitorKind
{
	CLINICAL_MONITOR_STREAK,	/* threshold: with one day */
	CLINICAL_MONITOR_K_OF_W,
	CLINICAL_MONITOR_BASELINE,	/* the change of values since the baseline */
	CLINICAL_MONITOR_MISSING,	/* entries that were expected */
	CLINICAL_MONITOR_GRADED
} ClinicalMonitorKind;

typedef enum ClinicalBaseline
{
	CLINICAL_BASELINE_LAST,		/* the last reading up to the day of enrolment */
	CLINICAL_BASELINE_FIRST		/* the first reading */
} ClinicalBaseline;

/* A range that is not empty, its bounds ready to be compared with */
typedef struct ClinicalRange
{
	Numeric		lower;			/* NULL: none */
	Numeric		upper;			/* NULL: none */
	bool		lower_inclusive;
	bool		upper_inclusive;
} ClinicalRange;

/* A version of a rule, compiled */
typedef struct ClinicalMonitor
{
	MemoryContext context;		/* of all that follows */
	int64		version_id;
	int64		rule_id;
	int			version;
	int64		project_id;		/* 0: all projects */
	bool		in_force;		/* the last version of a rule that is active: it
								 * opens alerts */
	TimestampTz counts_from;	/* readings captured earlier do not count */
	ClinicalMonitorKind kind;
	const char *kind_name;		/* static */
	char	   *code;
	char	   *severity;
	StreakRule	rule;			/* its ranges are ClinicalRange * */
	char	   *items[STREAK_MAX_ITEMS];	/* of CLINICAL_MONITOR_MISSING one, "",
											 * for the windows: its readings are
											 * 1 (an entry was made) or 0 */
	int			day_start;		/* minutes after midnight */
	bool		percent;		/* CLINICAL_MONITOR_BASELINE: relative change */
	ClinicalBaseline baseline;
	char	   *instrument;		/* CLINICAL_MONITOR_MISSING; rule.days is the number
								 * of entries */
	int			nescalations;
	int64		escalate_after[CLINICAL_MAX_ESCALATIONS];	/* microseconds since it
															 * was opened, rising */
	int			cooldown_days;
} ClinicalMonitor;

/* monitor_range.c: numbers and ranges */
extern bool clinical_range_read(const char *string, ClinicalRange *range);
extern bool clinical_range_contains(const ClinicalRange *range, Numeric value);
extern bool clinical_range_within(const ClinicalRange *inner, const ClinicalRange *outer);
extern const StreakOps clinical_monitor_ops;	/* values are Numeric, ranges ClinicalRange * */

/*
 * monitor_define.c: definitions.  What they do not say (version_id, rule_id, version,
 * project_id, in_force) is 0; counts_from is -infinity.
 */
extern ClinicalMonitor *clinical_monitor_compile(Jsonb *definition, MemoryContext parent);

/*
 * monitor_cache.c: rules, compiled and kept for the session.  Both are read by a
 * snapshot of now, whoever the caller is; what they give is good until the end of the
 * transaction, also if rules change meanwhile.
 */
extern void clinical_monitor_cache_init(void);
extern List *clinical_monitors_in_force(int64 project_id);	/* of ClinicalMonitor *, those for all projects too */
extern ClinicalMonitor *clinical_monitor_version(int64 rule_id, int version);
extern void clinical_monitor_wait_told(int64 rule_id);

/* monitor_rule.c: rules are made, changed and retired */
extern const ClinicalInvariant clinical_rule_invariants[];
extern const int clinical_rule_ninvariants;
extern char *clinical_rule_member(Jsonb *definition, const char *name);

/* monitor_read.c: the readings of one patient; the tag of one is its id (pg_uuid_t *) */
typedef struct ClinicalReader ClinicalReader;

extern int	clinical_monitor_day(const ClinicalMonitor *monitor, Timestamp local);
extern ClinicalReader *clinical_reader_begin(void);
extern void clinical_reader_patient(ClinicalReader *reader, Datum patient_id);
extern void clinical_reader_knows(ClinicalReader *reader, Datum submission_id, Datum zone);
extern void clinical_reader_source(ClinicalReader *reader, const ClinicalMonitor *monitor, StreakSource *source);
extern DateADT clinical_reader_enrolment(ClinicalReader *reader);

/* The reading that rules compare those of an item with */
typedef struct ClinicalCompared
{
	const char *item;
	ClinicalBaseline baseline;
	int			day_start;
	TimestampTz at;
	Numeric		value;			/* NULL: there is none */
} ClinicalCompared;

extern const ClinicalCompared *clinical_reader_baseline(ClinicalReader *reader, const ClinicalMonitor *monitor, int item);
extern void clinical_reader_end(ClinicalReader *reader);

/* monitor_baseline.c */
extern bool clinical_compares_with(const ClinicalMonitor *monitor, int item, const ClinicalCompared *compared);
extern bool clinical_reader_may_be_baseline(ClinicalReader *reader, const ClinicalMonitor *monitor, TimestampTz at, int day);
extern DateADT clinical_first_enrolment(ClinicalFinder *events, Datum patient_id);
extern Numeric clinical_monitor_change(const ClinicalMonitor *monitor, Numeric value, Numeric baseline);

/* monitor_alert.c: alerts as they stand, and what is told of them */

/* An alert of a patient; its basis.* is that of the row */
typedef struct ClinicalAlert
{
	Datum		id;				/* uuid */
	int64		rule_id;
	int			version;
	const char *status;
	StreakAlert alert;			/* tag: this */
} ClinicalAlert;

/* What is told with every event of an evaluation */
typedef struct ClinicalCause
{
	const char *kind;			/* report, correction, withdrawal, rule, window */
	Datum		submission_id;	/* 0: none */
	Datum		trace_parent;	/* 0: none */
	Datum		actor;			/* 0: none */
} ClinicalCause;

/* Looks alerts up for all patients of a batch.  The snapshot that is active when it begins must be until it ends. */
typedef struct ClinicalAlertReader ClinicalAlertReader;

extern ClinicalAlertReader *clinical_alerts_begin(void);

/* The live ones that a day from this one on may touch, the oldest first; one look-up, whatever the number of rules */
extern List *clinical_alerts_of(ClinicalAlertReader *reader, Datum patient_id, DateADT from);
extern void clinical_alerts_end(ClinicalAlertReader *reader);

/* What happened to an alert whose row says already how it is now */
typedef struct ClinicalAlertEvent
{
	int64		project_id;
	const char *kind;
	const char *status_from;	/* NULL: it is new */
	const char *cause;
	int			later;			/* so many events of the same change are told
								 * after this one */
	Datum		other;			/* these may be 0: none */
	Datum		evidence;
	Datum		submission_id;
	Datum		reason;
	Datum		trace_parent;
	Datum		actor;
} ClinicalAlertEvent;

extern void clinical_alert_count_opened(int64 project_id, const char *severity);
extern void clinical_alert_tell(Datum patient_id, Datum alert_id, const ClinicalAlertEvent *event);

extern const ClinicalInvariant clinical_monitor_invariants[];
extern const int clinical_monitor_ninvariants;

/* monitor_apply.c: what becomes of the alerts of a patient and a rule */
extern void clinical_alerts_apply(Datum patient_id, int64 project_id, const ClinicalMonitor *monitor,
								  const StreakAction *actions, int nactions, const ClinicalCause *cause,
								  const StreakSource *source);

/* monitor.c: evaluation */

/* A patient that is evaluated; the reader is at it */
typedef struct ClinicalEvaluation
{
	ClinicalReader *reader;
	ClinicalAlertReader *alert_reader;
	Datum		patient_id;
	int64		project_id;
	DateADT		from;			/* days that may be touched */
	List	   *alerts;			/* the live ones that they may touch; they are kept
								 * up to date */
	ClinicalCause cause;
} ClinicalEvaluation;

/* Instead of a number of days: all that there are */
#define CLINICAL_ALL_DAYS (-1)

extern int64 clinical_project_of(Datum patient_id);
extern void clinical_evaluation_begin(ClinicalEvaluation *evaluation);
extern void clinical_evaluation_patient(ClinicalEvaluation *evaluation, Datum patient_id, int64 project_id, DateADT from);
extern bool clinical_evaluation_is_held_back(const ClinicalEvaluation *evaluation, const ClinicalMonitor *monitor);
extern void clinical_evaluation_end(ClinicalEvaluation *evaluation);
extern void clinical_monitor_evaluate(ClinicalEvaluation *evaluation, const ClinicalMonitor *monitor,
									  const int *touched, int ntouched);
extern void clinical_evaluation_merge_versions(ClinicalEvaluation *evaluation);

/* monitor_change.c: readings that have changed */
extern void clinical_monitor_init(void);

/* monitor_queue.c: changes of this transaction that wait to be evaluated */

/* A reading that has changed */
typedef struct ClinicalChange
{
	const char *item;			/* NULL: any; not terminated */
	int			length;
	TimestampTz at;
	DateADT		local_day;
	Numeric		value;			/* of one that is new; NULL: whatever it was, it
								 * matters */
	int			report;			/* of one that is new: its row in what was stored */
	const char *kind;			/* else, as in ClinicalCause; static */
	Datum		submission_id;
} ClinicalChange;

typedef struct ClinicalPending
{
	Datum		patient_id;
	int			lane;
	ClinicalChange change;
} ClinicalPending;

extern void clinical_pending_add(Datum patient_id, const ClinicalChange *change);
extern List *clinical_pending_of(Datum patient_id);
extern void clinical_pending_done(List *pending);
extern void clinical_note_evaluating(void);
extern void clinical_monitor_queue_init(void);

/* monitor_escalate.c: the worker's job; the time after which it wants to run is given by the alerts */
extern void clinical_escalate_init(void);
extern TimestampTz clinical_escalation_due(const ClinicalMonitor *monitor, TimestampTz opened_at, int level);
extern void clinical_escalation_will_be_due(TimestampTz due);

/* monitor_job.c: evaluation of a rule over what is there already */
extern void clinical_monitor_job_init(void);
extern bool clinical_job_may_succeed(int sqlerrcode);
extern int	clinical_job_try(void (*work) (void *arg), void *arg);
extern int	clinical_lock_lanes(const Datum *patients, int count);

/* monitor_missing.c: entries that were expected */
extern void clinical_missing_init(void);
extern void clinical_missing_source(Datum patient_id, const ClinicalMonitor *monitor, MemoryContext context,
									StreakSource *source);

#endif							/* CLINICAL_MONITOR_H */
