/*-------------------------------------------------------------------------
 *
 * report_entry.h
 *		What the rooms of the compliance tables share: what became of the entries
 *		of patients, many at once.
 *
 * It is what entry_compliance says of one patient.  A query reads the reports once
 * and gathers those of each patient; the entries are then made of the schedules
 * without a further look into any table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_REPORT_ENTRY_H
#define CLINICAL_REPORT_ENTRY_H

#include "datatype/timestamp.h"
#include "utils/date.h"
#include "utils/jsonb.h"

#include "compat.h"

/* --- report_entry.c: the reports of a patient, gathered ------------------------------------------ */

/* A report that was accepted */
typedef struct ClinicalEntryReport
{
	TimestampTz captured_at;
	int64		rest;			/* the lag and the number of the version, see below */
} ClinicalEntryReport;

/* The low bits of rest are an index among the versions, the others the lag in seconds */
#define CLINICAL_ENTRY_VERSION_BITS 16
#define CLINICAL_ENTRY_MAX_VERSIONS (1 << CLINICAL_ENTRY_VERSION_BITS)
#define CLINICAL_ENTRY_NO_LAG (PG_INT64_MIN >> CLINICAL_ENTRY_VERSION_BITS)	/* not of the period */

typedef struct ClinicalEntryReports
{
	int64		accepted;		/* received in the period */
	int64		withdrawn;
	int			nversions;
	int			versions_room;
	int64	   *versions;		/* of instruments, as they occur */
	int			nreports;
	int			reports_room;
	ClinicalEntryReport *reports;
} ClinicalEntryReports;

extern void clinical_entry_reports_read(const bytea *image, ClinicalEntryReports *reports);

/* The index of a report's version */
static inline int
clinical_entry_version(const ClinicalEntryReport *report)
{
	return (int) (report->rest & (CLINICAL_ENTRY_MAX_VERSIONS - 1));
}

/* The seconds that a report took to come */
static inline int64
clinical_entry_lag(const ClinicalEntryReport *report)
{
	return report->rest >> CLINICAL_ENTRY_VERSION_BITS;
}

/* --- report_entry_plan.c: what a project expects, and the windows that follow ---------------------- */

typedef enum ClinicalEntryKind
{
	CLINICAL_ENTRY_NONE,		/* no entries any more */
	CLINICAL_ENTRY_DAILY,
	CLINICAL_ENTRY_WEEKLY,
	CLINICAL_ENTRY_VISITS
} ClinicalEntryKind;

typedef struct ClinicalEntryVisit
{
	Datum		code;			/* text */
	int			day;			/* from 1, the day of enrolment */
	int			before;
	int			after;
} ClinicalEntryVisit;

typedef struct ClinicalEntrySchedule
{
	DateADT		effective_from;
	ClinicalEntryKind kind;
	int			every;
	int			weekdays;		/* bits, 0 is Monday */
	int			nvisits;
	ClinicalEntryVisit *visits;
	int			before;			/* the most of its visits */
	int			after;
	int64		from;			/* microseconds after midnight */
	int64		to;
	int64		grace;			/* microseconds */
	int			number;			/* among all of the project */
} ClinicalEntrySchedule;

/* From a day on the project uses the instrument, or not */
typedef struct ClinicalEntryUse
{
	DateADT		effective_from;
	bool		used;
} ClinicalEntryUse;

/* An entry of the patient at hand */
typedef struct ClinicalEntry
{
	TimestampTz begins;
	TimestampTz ends;
	TimestampTz closes_at;
	TimestampTz all_closed_at;	/* this one and those that begin before it */
	DateADT		day;
	Datum		visit;			/* text; 0: none */
	bool		excused;
	bool		in_time;		/* a report counts for it, made in the window */
	bool		late;			/* or after it */
} ClinicalEntry;

typedef struct ClinicalEntryInstrument
{
	Datum		code;			/* text */
	int			nschedules;
	ClinicalEntrySchedule *schedules;	/* by effective_from, those told later last */
	int			nuses;
	ClinicalEntryUse *uses;		/* likewise */
	int			nentries;
	int			room;
	ClinicalEntry *entries;
} ClinicalEntryInstrument;

/* When windows begin and end by the days they are of, as far as it was asked (else DT_NOBEGIN) */
typedef struct ClinicalEntryWindows
{
	TimestampTz *begins;
	TimestampTz *ends;
} ClinicalEntryWindows;

typedef struct ClinicalEntryZone
{
	Datum		name;			/* text */
	ClinicalEntryWindows *windows;	/* by the number of the schedule */
} ClinicalEntryZone;

/* Which instrument a version is of */
typedef struct ClinicalEntryVersion
{
	int64		id;
	int			instrument;
} ClinicalEntryVersion;

typedef struct ClinicalEntryPlan
{
	MemoryContext context;		/* of all that follows */
	MemoryContext patient;		/* what is kept for one patient */
	Jsonb	   *document;		/* that it was read from */
	DateADT		first_day;		/* the period */
	DateADT		end_day;
	int			behind;			/* days after it whose entries may be on in it */
	int			ninstruments;
	ClinicalEntryInstrument *instruments;
	int			nschedules;
	int			nversions;
	ClinicalEntryVersion *versions; /* by id */
	int			nzones;
	int			zones_room;
	ClinicalEntryZone *zones;
} ClinicalEntryPlan;

extern ClinicalEntryPlan *clinical_entry_plan(FunctionCallInfo fcinfo, Jsonb *document, DateADT first_day, DateADT end_day);
extern int	clinical_entry_plan_instrument(const ClinicalEntryPlan *plan, int64 version_id);
extern int	clinical_entry_zone(ClinicalEntryPlan *plan, Datum name);
extern TimestampTz clinical_entry_begins(ClinicalEntryPlan *plan, int zone, const ClinicalEntrySchedule *schedule, DateADT day);
extern TimestampTz clinical_entry_ends(ClinicalEntryPlan *plan, int zone, const ClinicalEntrySchedule *schedule, DateADT day);

/* --- report_entry_expand.c: the entries of a patient ------------------------------------------------- */

/* The patient was at a center from a day on */
typedef struct ClinicalEntryStay
{
	int			number;
	DateADT		day;
	int			zone;
} ClinicalEntryStay;

/* The patient was told to live in a zone from a moment on */
typedef struct ClinicalEntryTold
{
	int			number;
	TimestampTz from;
	int			zone;
} ClinicalEntryTold;

/* [from, to), or with included also to */
typedef struct ClinicalEntryExcuse
{
	TimestampTz from;
	TimestampTz to;
	bool		included;
} ClinicalEntryExcuse;

typedef struct ClinicalEntryPatient
{
	bool		enrolled;
	DateADT		enrolled_on;
	DateADT		ended_on;		/* DATEVAL_NOEND: not at all */
	int			nstays;
	ClinicalEntryStay *stays;	/* by number */
	int			ntold;
	ClinicalEntryTold *told;	/* by number */
	int			nexcuses;
	ClinicalEntryExcuse *excuses;
	int			nzones;
	int		   *zones;			/* in which entries may be */
} ClinicalEntryPatient;

extern void clinical_entry_expand(ClinicalEntryPlan *plan, ClinicalEntryPatient *patient);

/* --- report_entry_lag.c: how long reports took to come ---------------------------------------------------- */

extern bytea *clinical_report_lags_image(bool counts, int64 numbers);
extern void clinical_report_lags_put(bytea *image, int64 place, int64 number);

#endif							/* CLINICAL_REPORT_ENTRY_H */
