/*-------------------------------------------------------------------------
 *
 * observe_entry.h
 *		What the rooms of the module observe share: the numbers of each
 *		database, in shared memory.
 *
 * The numbers of projects and of times, and what sets any number back, are
 * changed and read under one LWLock: shared by those who count and read,
 * exclusive to set back.  The numbers of a database are also counted without it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_OBSERVE_ENTRY_H
#define CLINICAL_OBSERVE_ENTRY_H

#include "port/atomics.h"
#include "storage/lwlock.h"

#include "observe.h"

/* So many projects of a database are counted each for itself, the first ones since a reset */
#define CLINICAL_COUNTED_PROJECTS 128

/* Before them there are two more slots */
#define CLINICAL_SLOT_UNKNOWN 0 /* no project: the patient is not known */
#define CLINICAL_SLOT_OTHER 1	/* all further projects */
#define CLINICAL_FIRST_SLOT 2
#define CLINICAL_NPROJECT_SLOTS (CLINICAL_FIRST_SLOT + CLINICAL_COUNTED_PROJECTS)
#define CLINICAL_NPROJECT_COUNTERS (CLINICAL_NCOUNTERS - CLINICAL_FIRST_OF_PROJECT)

/* Times, as ClinicalTimes */
typedef struct ClinicalTimeNumbers
{
	pg_atomic_uint64 sum;
	pg_atomic_uint64 max;
	pg_atomic_uint64 buckets[CLINICAL_NBUCKETS];
} ClinicalTimeNumbers;

/* What is counted of a database: nothing but numbers, which are kept over a restart as an array */
typedef struct ClinicalNumbers
{
	pg_atomic_uint64 reset_at;
	pg_atomic_uint64 staging;	/* the table in which the reports wait that
								 * are counted here */
	pg_atomic_uint64 backlog_at_reset;	/* int64 */
	pg_atomic_uint64 total[CLINICAL_NCOUNTERS];
	pg_atomic_uint64 project_id[CLINICAL_NPROJECT_SLOTS];	/* 0: the slot is free */
	pg_atomic_uint64 of_project[CLINICAL_NPROJECT_SLOTS][CLINICAL_NPROJECT_COUNTERS];
	ClinicalTimeNumbers times[CLINICAL_NHISTOGRAMS];
} ClinicalNumbers;

#define CLINICAL_NNUMBERS ((int) (sizeof(ClinicalNumbers) / sizeof(pg_atomic_uint64)))

typedef struct ClinicalEntry
{
	Oid			database;		/* InvalidOid: the entry is free */
	ClinicalNumbers numbers;
} ClinicalEntry;

typedef struct ClinicalEntries
{
	int			nentries;
	ClinicalEntry entries[FLEXIBLE_ARRAY_MEMBER];
} ClinicalEntries;

/* observe.c */
extern LWLock *clinical_entries_lock;
extern ClinicalEntry *clinical_entry(void);
extern ClinicalEntry *clinical_require_entry(void);

/* observe_counter.c */

/* Times that are counted when the transaction commits */
extern void clinical_count_times(ClinicalHistogram histogram, int bucket, uint64 number, uint64 us);

/* observe_histogram.c */
extern int	clinical_bucket(uint64 us);
extern void clinical_time_add(ClinicalTimeNumbers *times, int bucket, uint64 number, uint64 sum, uint64 max);

/* observe_file.c */
extern void clinical_entries_load(ClinicalEntries *shared);
extern void clinical_entries_save(const ClinicalEntries *shared);

#endif							/* CLINICAL_OBSERVE_ENTRY_H */
