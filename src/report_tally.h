/*-------------------------------------------------------------------------
 *
 * report_tally.h
 *		Counts of what was observed, made by one pass over all observations.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_REPORT_TALLY_H
#define CLINICAL_REPORT_TALLY_H

#include "common/hashfn.h"
#include "datatype/timestamp.h"
#include "utils/date.h"

#include "compat.h"

/*
 * A process may take so much memory (clinical.report_memory); beyond that, the values
 * of an item are given up, or the patients of its codes
 */
#define tally_max_values(memory)	((memory) / (4 * sizeof(TallyCount)))
#define tally_max_long(memory)		((memory) / 4)
#define tally_max_sets(memory)		(memory)
#define tally_max_marks(memory)		((memory) / (2 * sizeof(TallyMark)))

/* Beyond these the report is refused */
#define TALLY_MAX_CELLS		(128 * 1024)
#define TALLY_MAX_NAMES		(64 * 1024)
#define TALLY_MAX_BYTES		(8 * 1024 * 1024)	/* of names */

/*
 * Which observations count.  It is one piece of memory without pointers, and so
 * the argument of the aggregate that parallel workers get.
 */
typedef struct TallyPatient
{
	uint32		offset;			/* of the id */
	uint32		length;
	uint32		hash;
	uint32		group;
} TallyPatient;

/* An observation that was corrected, and its last version; or a report that was withdrawn */
typedef struct TallyMark
{
	uint64		id[2];			/* the UUID */
	uint32		patient;		/* number + 1; 0: the slot is free */
	uint32		version;
} TallyMark;

/* A hash table of them, and before it bits: a row whose bit is not set is none of them */
typedef struct TallyMarks
{
	uint32		count;
	uint32		nslots;			/* a power of 2 */
	Size		bits;			/* uint64: 16 bits a slot */
	Size		slots;			/* TallyMark */
} TallyMarks;

#define TALLY_MAGIC 0x54414C59

typedef struct TallyScope
{
	int32		vl_len_;
	uint32		magic;			/* TALLY_MAGIC: it was made here */
	uint32		npatients;
	uint32		nslots;			/* a power of 2 */
	DateADT		first_day;
	DateADT		end_day;
	TimestampTz cut_off;
	Size		memory;
	Size		months;			/* where they are: uint32, of each day its month's number */
	Size		patients;		/* TallyPatient */
	Size		slots;			/* uint32: number + 1 */
	TallyMarks	corrected;
	TallyMarks	withdrawn;
	Size		bytes;			/* the ids */
} TallyScope;

#define tally_at(base, offset, type) ((type *) ((char *) (base) + (offset)))

/* Mixes bits so that each depends on all (the finalizer of MurmurHash3). */
static inline uint64
tally_mix(uint64 bits)
{
	bits ^= bits >> 33;
	bits *= UINT64CONST(0xFF51AFD7ED558CCD);
	bits ^= bits >> 33;
	bits *= UINT64CONST(0xC4CEB9FE1A85EC53);
	return bits ^ bits >> 33;
}

/* The hash of a mark. */
static inline uint64
tally_hash_mark(const uint64 *id, uint32 patient)
{
	return tally_mix(id[0] ^ tally_mix(id[1] + patient));
}

/* Strings, each with a number; an owner may have its own */
typedef struct TallyName
{
	uint32		offset;			/* in bytes */
	uint32		length;
	uint32		owner;
	uint32		hash;
} TallyName;

typedef struct TallyNames
{
	uint32		count;
	uint32		room;
	uint32		nslots;
	uint32		nbytes;
	uint32		bytes_room;
	TallyName  *names;
	uint32	   *slots;			/* number + 1 */
	char	   *bytes;
} TallyNames;

/* Rows of an item in a month, of a group of patients */
typedef struct TallyCell
{
	uint32		group;
	uint32		item;
	uint32		unit;			/* number + 1; 0: none */
	uint32		month;
	uint64		rows;
	uint64		numbers;		/* rows that have one */
	uint64		flagged;
	uint64		corrected;
} TallyCell;

/* How often a value is in a cell */
typedef struct TallyCount
{
	uint64		key;			/* the bytes of a short numeric; of a long one,
								 * where they are; a code's number */
	uint64		count;			/* 0: the slot is free */
	uint32		cell;			/* of a code: the group */
	uint32		length;			/* of the numeric, or TALLY_CODE */
} TallyCount;

#define TALLY_SHORT	sizeof(uint64)
#define TALLY_CODE	PG_UINT32_MAX

/* A set of patients: a hash table of numbers + 1, or bits where these are smaller */
typedef struct TallySet
{
	uint32		count;
	uint32		nslots;			/* 0: bits, or nothing yet */
	uint32	   *slots;
	uint64	   *bits;
} TallySet;

typedef struct TallyItem
{
	uint32		next;			/* the item that came after it the last time */
	uint32		last_cell;		/* number + 1 */
	uint32		last_code;		/* number + 1 */
	uint32		nvalues;
	bool		given_up;		/* has too many values: they are not counted */
	bool		codes_given_up; /* nor who has them */
} TallyItem;

/* The state of the aggregate */
typedef struct Tally
{
	MemoryContext context;
	uint32		npatients;
	Size		memory;
	const TallyScope *scope;	/* NULL: what others counted is put together */
	uint64		rows;			/* read */
	uint64		told;			/* of them, to progress */
	uint32		patient;		/* of the last row: number + 1; 0: not in the scope */
	char		patient_id[64];
	uint32		patient_id_length;	/* 0: none */
	uint64		submission[2];	/* of the last row */
	uint32		submission_patient; /* 0: none */
	bool		is_withdrawn;	/* it is */
	TallyNames	items;
	TallyNames	units;
	TallyNames	codes;			/* the owner is the item */
	uint32		last_item;
	uint32		items_room;
	TallyItem  *item_states;	/* by number */
	uint32		sets_room;
	TallySet   *sets;			/* by number of code */
	Size		sets_bytes;
	uint32		ncells;
	uint32		cells_room;
	uint32		ncell_slots;
	TallyCell  *cells;
	uint32	   *cell_slots;		/* number + 1 */
	uint32		ncounts;
	uint32		ncode_counts;	/* of them, of codes */
	uint32		ncount_slots;
	TallyCount *counts;			/* the hash table itself */
	Size		nlong;
	Size		long_room;
	char	   *long_values;
} Tally;

/* The same as one piece of memory: what workers send, and the result */
typedef struct TallyImage
{
	int32		vl_len_;
	uint32		npatients;
	uint64		rows;
	Size		memory;
	uint32		nitems;
	uint32		nunits;
	uint32		ncodes;
	uint32		ncells;
	uint32		ncounts;
	uint32		padding;
	Size		items;			/* TallyName; names' offsets are from bytes on */
	Size		given_up;		/* bool, by item: its values are; its codes are */
	Size		units;
	Size		codes;
	Size		cells;
	Size		counts;			/* of long values, key is the offset from bytes on */
	Size		sets;			/* by code: uint32 count, uint32 words (0: a list), then
								 * the bits' words, or the numbers; each set begins
								 * at a multiple of 8 */
	Size		bytes;
	Size		size;
} TallyImage;

/* report_tally.c */

extern uint32 clinical_tally_find_patient(const TallyScope *scope, const char *id, uint32 length);
extern uint32 clinical_tally_name(Tally *tally, TallyNames *names, uint32 owner, const char *bytes, uint32 length);
extern uint32 clinical_tally_item(Tally *tally, const char *bytes, uint32 length);
extern uint32 clinical_tally_code(Tally *tally, uint32 item, const char *bytes, uint32 length);
extern TallyCell *clinical_tally_cell(Tally *tally, uint32 group, uint32 item, uint32 unit, uint32 month);
extern Tally *clinical_tally_make(MemoryContext context, uint32 npatients, Size memory);

/* report_tally_value.c */

extern void clinical_tally_value(Tally *tally, uint32 item, uint32 cell, const char *bytes, uint32 length, uint64 times);
extern void clinical_tally_code_count(Tally *tally, uint32 code, uint32 group, uint64 times);
extern void clinical_tally_give_up(Tally *tally, uint32 item);

/* report_tally_set.c */

extern void clinical_tally_set_add(Tally *tally, uint32 code, uint32 patient);
extern void clinical_tally_set_give_up(Tally *tally, uint32 item);
extern void clinical_tally_set_merge(Tally *tally, uint32 code, const uint32 *image);
extern Size clinical_tally_set_size(const TallySet *set, uint32 npatients);
extern void clinical_tally_set_write(const TallySet *set, uint32 npatients, uint32 *image);

#endif							/* CLINICAL_REPORT_TALLY_H */
