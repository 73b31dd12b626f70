/*-------------------------------------------------------------------------
 *
 * monitor_read.h
 *		What monitor_read.c and monitor_series.c share: observations of a patient, as
 *		they have been read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_MONITOR_READ_H
#define CLINICAL_MONITOR_READ_H

#include "utils/hsearch.h"
#include "utils/uuid.h"

#include "monitor.h"

/* The last version of an observation */
typedef struct Observed
{
	TimestampTz at;
	pg_uuid_t	id;
	pg_uuid_t	submission;
	Numeric		value;			/* NULL: none */
	DateADT		local_day;
	bool		looked_up;		/* the following is known */
	bool		counts;
	bool		local_known;
	Timestamp	local;
} Observed;

/* Observations of an item, from the moment where reading began in both directions */
typedef struct Series
{
	char	   *item;
	Datum		key;
	bool		begun;
	bool		sparse;			/* it is no use to look near by first */
	TimestampTz from;			/* all from this moment on are here; DT_NOBEGIN:
								 * there are none before */
	TimestampTz to;				/* all before this moment are; DT_NOEND: there are
								 * none after */
	int			nbefore;
	int			before_room;
	Observed   *before;			/* the nearest first */
	int			nafter;
	int			after_room;
	Observed   *after;
} Series;

/* The columns of observation that are read */
enum
{
	READ_CAPTURED_AT, READ_ID, READ_SUBMISSION_ID, READ_LOCAL_DAY, READ_VALUE, READ_ABSENT, READ_NCOLUMNS
};

struct ClinicalReader
{
	MemoryContext context;		/* of what was read of the patient */
	ClinicalFinder observations;
	ClinicalFinder near;		/* the same, not before a moment */
	ClinicalFinder *found;		/* that of the two by which the last was found */
	ClinicalFinder submissions;
	ClinicalFinder events;
	int			numbers[READ_NCOLUMNS]; /* of the columns; 0: not known yet */
	Datum		patient_id;
	int32		patient;		/* the how manieth */
	List	   *series;
	List	   *baselines;
	HTAB	   *reports;
	Datum		zone;			/* of the report that was looked up last; 0: none */
	bool		enrolment_known;
	DateADT		enrolment;		/* the first day; DATEVAL_NOBEGIN: none */
};

/* monitor_series.c; the series of one item is read in chunks, outwards */
extern Series *clinical_series_find(ClinicalReader *reader, const char *item);
extern void clinical_series_begin(Series *series, TimestampTz moment);
extern void clinical_series_before(ClinicalReader *reader, Series *series);
extern void clinical_series_after(ClinicalReader *reader, Series *series);
extern void clinical_series_read(ClinicalReader *reader, Series *series, TimestampTz from, TimestampTz to);
extern int	clinical_series_first(Series *series, TimestampTz moment);
extern bool clinical_observed_counts(ClinicalReader *reader, Observed *observed);
extern Timestamp clinical_observed_local(ClinicalReader *reader, Observed *observed);

/* The observation of that number: those before the beginning have numbers below zero. */
static inline Observed *
clinical_series_observed(Series *series, int number)
{
	return number < 0 ? &series->before[-1 - number] : &series->after[number];
}

#endif							/* CLINICAL_MONITOR_READ_H */
