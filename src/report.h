/*-------------------------------------------------------------------------
 *
 * report.h
 *		Quarterly reports: tables of figures, and the document made of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_REPORT_H
#define CLINICAL_REPORT_H

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/date.h"
#include "nodes/params.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

#include "core.h"

/* What a column holds, and so how it is printed (doc/report.md) */
typedef enum ClinicalReportKind
{
	CLINICAL_REPORT_LABEL,		/* one of the row's keys; null: all of it */
	CLINICAL_REPORT_TEXT,
	CLINICAL_REPORT_DATE,
	CLINICAL_REPORT_MONTH,		/* 2026-07 */
	CLINICAL_REPORT_TIME,
	CLINICAL_REPORT_COUNT,
	CLINICAL_REPORT_PERCENT,	/* 0 to 100; "of" is the denominator's column */
	CLINICAL_REPORT_VALUE,		/* decimals as the data */
	CLINICAL_REPORT_MEAN,		/* one more: means, medians, quartiles */
	CLINICAL_REPORT_SD,			/* two more */
	CLINICAL_REPORT_RATE,		/* two decimals */
	CLINICAL_REPORT_SCORE,		/* two decimals */
	CLINICAL_REPORT_SECONDS,	/* a duration */
	CLINICAL_REPORT_FLAG
} ClinicalReportKind;

typedef struct ClinicalReportColumn
{
	const char *name;			/* of the column of the function, and the key in the row */
	const char *label;
	ClinicalReportKind kind;
	const char *of;				/* of a percentage: the denominator's column */
} ClinicalReportColumn;

/* The sections, in order */
typedef struct ClinicalReportSection
{
	const char *name;
	const char *title;
} ClinicalReportSection;

#define CLINICAL_REPORT_NSECTIONS 9
extern const ClinicalReportSection clinical_report_sections[CLINICAL_REPORT_NSECTIONS];

/* Whose data, of when */
typedef struct ClinicalReportScope
{
	int64		project_id;
	const char *project_code;
	Datum		centers;		/* bigint[]: those that the requester sees */
	DateADT		first_day;		/* the period, [first_day, end_day) */
	DateADT		end_day;
	TimestampTz cut_off;
	char	   *time_zone;		/* the project's */
	Datum		split;			/* text[]: options.by */
	Jsonb	   *above;			/* options.above: {item: the one above it}; NULL: none */
	Jsonb	   *item_by;		/* options.item_by: {"item": ...}; NULL: none */
	/* what follows is for the engine */
	Oid			role;			/* for whom it is made */
	int			ncenters;
	bool		all_centers;	/* these are all that the project has */
	bool		cut_off_given;
	uint32		sections;		/* bits */
	int			suppress_below; /* 0: nothing */
	bool		share_job;
} ClinicalReportScope;

/*
 * A table of the report, or facts that several tables are made of.  Its rows are
 * those of an SQL function
 *
 *	clinical.report_x(project_id bigint, centers bigint[], first_day date, end_day date,
 *		cut_off timestamptz, time_zone text, split text[], facts jsonb)
 *
 * whose columns have the names of the keys, "by" first, or of a callback.
 */
typedef struct ClinicalReportTable
{
	const char *section;		/* NULL: facts, not printed */
	const char *name;
	const char *title;
	const char *note;			/* NULL: none */
	const char *function;		/* clinical.report_x; NULL: rows */
	const char *base;			/* the facts that it is made of; NULL: none */
	Jsonb	   *(*rows) (const ClinicalReportScope *scope);	/* NULL: there is no such table */
	const ClinicalReportColumn *columns;
	int			ncolumns;
} ClinicalReportTable;

/* report_status.c, report_alert.c, report_compliance.c, report_item.c: the tables, by maker */
extern const ClinicalReportTable clinical_report_status_tables[];
extern const int clinical_report_nstatus_tables;
extern const ClinicalReportTable clinical_report_alert_tables[];
extern const int clinical_report_nalert_tables;
extern const ClinicalReportTable clinical_report_compliance_tables[];
extern const int clinical_report_ncompliance_tables;
extern const ClinicalReportTable clinical_report_item_tables[];
extern const int clinical_report_nitem_tables;

extern void clinical_report_item_init(void);

/* report_scope.c: what a report is asked for with */
extern void clinical_report_read_args(FunctionCallInfo fcinfo, ClinicalReportScope *scope);
extern void clinical_report_read_period(Datum period, ClinicalReportScope *scope);
extern void clinical_report_read_options(Jsonb *options, ClinicalReportScope *scope);
extern Jsonb *clinical_report_write_options(const ClinicalReportScope *scope);
extern bool clinical_report_find_scope(ClinicalReportScope *scope);

/* report_run.c: the engine; in SPI, with the snapshot that everything is read with */
extern Jsonb *clinical_report_run(ClinicalReportScope *scope);
extern const ClinicalReportTable *clinical_report_table(int number);

/* report_estimate.c: does the planner know how much there is? */
extern bool clinical_report_underestimated(ParamListInfo params, Jsonb *size);

/* report_slot.c: which jobs are run, and by whom */
extern int	clinical_max_report_workers;
extern int	clinical_report_parallel_workers;

extern void clinical_report_slot_init(void);
extern bool clinical_report_slot_take(void);
extern void clinical_report_slot_name(const pg_uuid_t *id);
extern void clinical_report_slot_end(void);
extern void clinical_report_slot_free(void);
extern int	clinical_report_slots_taken(void);
extern bool clinical_report_is_run(const pg_uuid_t *id);
extern void clinical_report_stop(const pg_uuid_t *id);
extern void clinical_report_asked(void);

/* report_end.c: how they end */

typedef struct ClinicalReportOrder
{
	const char *role;			/* for whom it is made */
	const text *trace_parent;	/* NULL or empty: none */
	const pg_uuid_t *id;		/* of the job; NULL: a session makes it */
	int			attempt;		/* of a job */
	TimestampTz asked_at;		/* as well */
} ClinicalReportOrder;

extern void clinical_report_begin(const ClinicalReportScope *scope, const ClinicalReportOrder *order);
extern void clinical_report_done(void);
extern void clinical_report_unwanted(void);
extern void clinical_report_forget(void);
extern void clinical_report_caught(MemoryContext context);
extern void clinical_report_job_cancelled(int64 project_id, const char *project, const pg_uuid_t *id);
extern void clinical_report_job_lost(int64 project_id, const char *project, const pg_uuid_t *id);

/* report_job.c: reports that are asked for */
extern const ClinicalInvariant clinical_report_invariants[];
extern const int clinical_report_ninvariants;

/* report_work.c: and made by further workers */
extern void clinical_report_work_init(void);

/* report_suppress.c: no figures of few persons */
extern Jsonb *clinical_report_suppress(const ClinicalReportTable *table, Jsonb *rows, int limit, Jsonb *few);

/* report_progress.c: how far it is */
extern void clinical_report_progress_begin(const ClinicalReportScope *scope, const pg_uuid_t *id);
extern void clinical_report_progress_plan(List *tables, Jsonb *size);
extern void clinical_report_progress_phase(const ClinicalReportTable *table);
extern const char *clinical_report_progress_now(double *percent);
extern void clinical_report_progress_end(void);

/* report_progress.c: so many rows more were read, here or in a parallel worker */
extern void clinical_report_count(uint64 rows);

#endif							/* CLINICAL_REPORT_H */
