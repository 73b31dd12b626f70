/*-------------------------------------------------------------------------
 *
 * summary_state.h
 *		What the parts of summary share in the server.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_SUMMARY_STATE_H
#define CLINICAL_SUMMARY_STATE_H

#include "fmgr.h"
#include "storage/buffile.h"
#include "utils/numeric.h"

#include "summary.h"
#include "summary_kernel.h"

/* What is no number, in its order; numbers are between the first two */
typedef enum SummarySpecial
{
	SUMMARY_MINUS_INFINITY, SUMMARY_INFINITY, SUMMARY_NAN, SUMMARY_NUMBER
} SummarySpecial;

#define SUMMARY_NSPECIALS SUMMARY_NUMBER

/* How many values there are, of which kind */
typedef struct SummaryCounts
{
	bool		binary;			/* double precision, else numeric */
	int64		n;				/* with the special ones, without the missing */
	int64		missing;
	int64		specials[SUMMARY_NSPECIALS];
	int32		decimals;		/* the greatest display scale; binary: that of all keys */
} SummaryCounts;

/* Fractions: a numeric, a double precision or an array of these */
typedef struct SummaryFractions
{
	Oid			type;			/* InvalidOid: there are none */
	Datum		value;
	bool		constant;		/* they cannot change between two rows */
} SummaryFractions;

/* Runs in a temporary file */
#define SUMMARY_FAN_IN 64
typedef struct SummaryStoredRun
{
	SummaryRun	run;
	int			fileno;
	off_t		offset;
} SummaryStoredRun;

/* Runs of one level, each made of so many of the level below */
typedef struct SummaryLevel
{
	BufFile    *file;
	int			fileno;			/* where its end is */
	off_t		offset;
	int			nruns;
	SummaryStoredRun runs[SUMMARY_FAN_IN];
} SummaryLevel;

#define SUMMARY_LEVELS 8

/* The state of an aggregate */
typedef struct SummaryState
{
	MemoryContext memory;
	Oid			type;			/* of the values */
	bool		may_spill;
	SummaryCounts counts;
	SummaryFractions fractions;
	SummaryTable table;
	SummaryList list;			/* in use while most values occur once */
	SummaryLevel *levels[SUMMARY_LEVELS];
	SummaryRun	packed;			/* as it came from a worker: the only values */
	const unsigned char *packed_bytes;
} SummaryState;

/* What is asked for: the value of a rank, or the mean of those of two */
typedef struct SummaryQuantile
{
	int64		ranks[2];		/* from 1; the second 0: none */
} SummaryQuantile;

#pragma GCC visibility push(hidden)

/* summary_state.c */
extern SummaryState *summary_state_new(FunctionCallInfo fcinfo, Oid type);
extern void summary_state_add(SummaryState *state, FunctionCallInfo fcinfo, Datum value, int64 count);
extern void summary_state_absorb(SummaryState *state, FunctionCallInfo fcinfo, SummaryState *other);
extern void summary_state_merge(SummaryState *state, SummaryMerge *merge);
extern bytea *summary_state_pack(SummaryState *state);
extern SummaryState *summary_state_unpack(bytea *packed);

/* summary_spill.c */
extern void summary_spill_memory(SummaryState *state, FunctionCallInfo fcinfo);
extern void summary_spill_run(SummaryState *state, FunctionCallInfo fcinfo, const SummaryRun *run, const unsigned char *bytes);
extern int	summary_spill_count(const SummaryState *state);
extern void summary_spill_readers(SummaryState *state, SummaryReader **readers);

/* summary_number.c */
extern SummarySpecial summary_numeric_entry(Datum value, SummaryEntry *entry, int32 *decimals);
extern SummarySpecial summary_integer_entry(int64 value, SummaryEntry *entry);
extern Datum summary_entry_numeric(SummarySpecial special, const SummaryEntry *entry, int32 decimals);
extern Datum summary_decimal_numeric(const SummaryDecimal *decimal, int32 decimals);
extern bool summary_numeric_moments(const SummaryCounts *counts, SummarySums *sums, Datum *mean, Datum *sd);
extern Datum summary_numeric_middle(Datum left, Datum right, int32 decimals);

/* summary_fraction.c */
extern void summary_fractions_check(Oid type, Datum value, bool isnull);
extern int	summary_fractions_count(const SummaryFractions *fractions);
extern void summary_fractions_ranks(const SummaryFractions *fractions, int64 n, SummaryQuantile *quantiles);
extern SummaryQuantile summary_fraction_rank(Datum fraction, int64 n);

/* summary_describe.c */
extern void summary_figures(const SummaryCounts *counts, SummaryMerge *merge, const SummaryQuantile *quantiles,
							int nquantiles, Datum *values, Datum *moments, bool *no_sd);

#pragma GCC visibility pop

#endif							/* CLINICAL_SUMMARY_STATE_H */
