/*-------------------------------------------------------------------------
 *
 * report_item.h
 *		The section of item statistics.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_REPORT_ITEM_H
#define CLINICAL_REPORT_ITEM_H

#include "nodes/params.h"
#include "tcop/dest.h"

#include "report.h"
#include "report_tally.h"
#include "summary.h"

/* Which rows count, and how patients are split */
typedef struct ItemScope
{
	TallyScope *tally;			/* the aggregate's argument */
	bool		many;			/* too many rows do not hold: the query looks for
								 * them */
	bool		whole_table;	/* most patients that there are belong to it */
	bool		is_split;
	uint32		ngroups;
	Jsonb	  **groups;			/* the labels of each, in order */
	uint64	   *enrolled;		/* patients in each who were enrolled */
} ItemScope;

/* What an item is called */
typedef struct ItemLabel
{
	char	   *item;
	char	   *code;			/* NULL: the item itself */
	char	   *label;			/* NULL: none */
	char	   *unit;			/* of the item */
	bool		numeric;		/* the item is a number */
} ItemLabel;

typedef struct ItemLabels
{
	int			count;
	ItemLabel  *labels;			/* by item and code; NULL first */
} ItemLabels;

/* All that one pass gives */
typedef struct ItemPass
{
	ItemScope	scope;
	ItemLabels	labels;
	const TallyImage *image;
} ItemPass;

/* report_item_scope.c */

extern ParamListInfo clinical_item_params(const ClinicalReportScope *scope, const ItemScope *items, Oid type,
										  Datum value);
extern void clinical_item_query(const char *sql, ParamListInfo params, DestReceiver *receiver);
extern void clinical_item_scope(const ClinicalReportScope *scope, ItemScope *result);

/* report_item_label.c */

extern void clinical_item_labels(const ClinicalReportScope *scope, ItemLabels *result);
extern const ItemLabel *clinical_item_label(const ItemLabels *labels, const char *item, const char *code);

/* report_item.c */

extern int	clinical_report_memory; /* kB */

extern const ItemPass *clinical_item_pass(const ClinicalReportScope *scope);

/* report_item_json.c: what queries give in SPI, and rows of tables */

extern char *clinical_item_string(const TallyImage *image, Size names, uint32 number);
extern Datum clinical_item_get_value(uint64 row, int column, bool by_value, bool *isnull);
extern char *clinical_item_get_string(uint64 row, int column);
extern int64 clinical_item_get_number(uint64 row, int column);
extern uint32 clinical_item_get_group(uint64 row, int column, bool all);
extern void clinical_item_get_figures(uint64 row, int column, ClinicalDescription *description);
extern void clinical_item_put_row(JsonbParseState **state, const ItemScope *scope, uint32 by, const char *item,
								  const ItemLabel *label);
extern void clinical_item_put_count(JsonbParseState **state, const char *name, uint64 count);
extern void clinical_item_put_ratio(JsonbParseState **state, const char *name, uint64 part, uint64 whole);
extern void clinical_item_put_string(JsonbParseState **state, const char *name, const char *string);
extern void clinical_item_put_figures(JsonbParseState **state, uint64 rows, const ClinicalDescription *description);
extern void clinical_item_put_patients(JsonbParseState **state, const ItemScope *scope, uint32 by, uint64 patients,
									   uint64 answered, uint64 occurrences);

/* report_item_rows.c */

extern Jsonb *clinical_item_rows(const ClinicalReportScope *scope);

/* report_item_large.c: what the pass had no memory for */

typedef struct LargeItem
{
	uint32		by;				/* group + 1; 0: all */
	char	   *item;
	char	   *unit;
	uint32		month;			/* 0: the whole period */
	ClinicalDescription description;
} LargeItem;

typedef struct LargeCode
{
	uint32		by;
	char	   *item;
	char	   *code;			/* NULL: any */
	uint64		patients;
} LargeCode;

extern int	clinical_item_large(const ClinicalReportScope *scope, const ItemPass *pass, LargeItem **result);
extern int	clinical_item_large_codes(const ClinicalReportScope *scope, const ItemPass *pass, LargeCode **result);

/* report_item_code.c */

extern Jsonb *clinical_item_code_rows(const ClinicalReportScope *scope);

/* report_item_within.c */

extern Jsonb *clinical_item_within_rows(const ClinicalReportScope *scope);

/* report_item_by.c */

extern Jsonb *clinical_item_by_rows(const ClinicalReportScope *scope);

/* report_item_correction.c */

extern Jsonb *clinical_item_correction_rows(const ClinicalReportScope *scope);

#endif							/* CLINICAL_REPORT_ITEM_H */
