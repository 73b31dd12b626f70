/*-------------------------------------------------------------------------
 *
 * summary.h
 *		Exact statistics of values: what other modules use of them.
 *
 * The figures are those of the aggregates describe() and quantile_sas()
 * (doc/summary.md): the mean is avg(numeric)'s and the standard deviation
 * stddev_samp(numeric)'s, to the last digit; quartiles are SAS's default
 * (PCTLDEF=5, R's type 2).
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_SUMMARY_H
#define CLINICAL_SUMMARY_H

/* The figures, in the order of the columns of clinical.description */
typedef enum ClinicalFigure
{
	CLINICAL_MEAN, CLINICAL_SD, CLINICAL_MIN, CLINICAL_Q1, CLINICAL_MEDIAN, CLINICAL_Q3, CLINICAL_MAX
} ClinicalFigure;

#define CLINICAL_NFIGURES (CLINICAL_MAX + 1)

typedef struct ClinicalDescription
{
	int64		n;
	int			decimals;		/* of the data: the greatest display scale of the values; 0 if there are none */
	Datum		figures[CLINICAL_NFIGURES];	/* numeric */
	bool		nulls[CLINICAL_NFIGURES];	/* all of them if n = 0, the SD if n = 1 */
} ClinicalDescription;

/*
 * summary_describe.c: describes values (numeric, not null, NaN and infinities last and
 * first as they sort) that occur so many times each (0: not at all; negative: SQLSTATE
 * 22023).  They must be in ascending order; equal ones may follow each other, with
 * different display scales.  nvalues may be 0.  The figures are allocated in the
 * current memory context, and so is what is needed meanwhile (little).
 */
extern void clinical_describe_counts(const Datum *values, const int64 *counts, int64 nvalues,
									 ClinicalDescription *result);

/* The same, and quantiles at so many fractions from 0 to 1 (numeric); none if n = 0. */
extern void clinical_describe_quantiles(const Datum *values, const int64 *counts, int64 nvalues,
										const Datum *fractions, int nfractions,
										ClinicalDescription *result, Datum *quantiles);

#endif							/* CLINICAL_SUMMARY_H */
