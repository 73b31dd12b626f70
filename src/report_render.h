/*-------------------------------------------------------------------------
 *
 * report_render.h
 *		The document of a report as its renderers read it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_REPORT_RENDER_H
#define CLINICAL_REPORT_RENDER_H

#include "lib/stringinfo.h"

#include "report.h"

/* report_render.c: reading a document, which may come from anywhere */

#define CLINICAL_REPORT_SECTIONS 9

typedef struct ClinicalShownColumn
{
	char	   *name;
	char	   *label;
	ClinicalReportKind kind;
	bool		is_key;			/* says what a row is about */
	bool		is_number;
	int			of;				/* the denominator's column; -1: none */
} ClinicalShownColumn;

typedef struct ClinicalShownTable
{
	const char *section;
	char	   *name;
	char	   *title;
	char	   *note;			/* NULL: none */
	int			ncolumns;
	ClinicalShownColumn *columns;
	int			nhead;			/* columns up to the last key */
	int			n_column;		/* with the number of values; -1: none */
	int			nrows;
	JsonbValue	rows;
} ClinicalShownTable;

typedef struct ClinicalShownSection
{
	const char *name;
	char	   *title;
	int			ntables;
	ClinicalShownTable *tables;
} ClinicalShownSection;

typedef struct ClinicalShownDocument
{
	JsonbValue	header;
	char	   *sha256;
	int			nsections;
	ClinicalShownSection sections[CLINICAL_REPORT_SECTIONS];
} ClinicalShownDocument;

/* The row at hand of a table that is read from its first to its last */
typedef struct ClinicalShownRow
{
	const ClinicalShownTable *table;
	JsonbIterator *iterator;
	int			number;			/* from 1 */
	JsonbValue	by;
	bool		is_whole;		/* not of a part by which the report is split */
	bool		is_total;		/* and of all keys */
	bool		suppressed;
	int			decimals;		/* of its data */
	JsonbValue *cells;			/* in the order of the columns */
} ClinicalShownRow;

extern void clinical_shown_read(Jsonb *document, ClinicalShownDocument *shown);
extern void clinical_shown_begin(const ClinicalShownTable *table, ClinicalShownRow *row);
extern bool clinical_shown_next(ClinicalShownRow *row);
extern int	clinical_shown_column(const ClinicalShownTable *table, const char *name);
extern const ClinicalShownTable *clinical_shown_table(const ClinicalShownSection *section, const char *name);
extern Jsonb *clinical_shown_stored(Datum report_id);

/* report_format.c: figures as they are printed */

extern int	clinical_figure_decimals(const ClinicalShownRow *row, int column);
extern bool clinical_figure_withheld(const ClinicalShownRow *row, int column);
extern char *clinical_figure_text(const ClinicalShownRow *row, int column);
extern char *clinical_scalar_text(const JsonbValue *value);
extern char *clinical_time_text(char *moment);
extern const char *clinical_figure_none(void);

/* report_html.c, report_html_table.c: the page */

extern void clinical_html_text(StringInfo out, const char *words, int length);
extern void clinical_html_string(StringInfo out, const char *string);
extern void clinical_html_table(StringInfo out, const ClinicalShownTable *table, int section, int number);

/* report_style.c */

extern const char clinical_report_style[];

/* report_chart.c: what the charts have in common */

typedef struct ClinicalChart
{
	StringInfo	out;
	int			figures;		/* so far */
	int			pictures;		/* of which a figure may have several */
} ClinicalChart;

/* Values along pixels, with ticks at round numbers */
typedef struct ClinicalScale
{
	double		low;
	double		high;
	double		step;
	double		from;			/* the pixel of low */
	double		to;
} ClinicalScale;

/* Months from the first to the last, in bands of pixels */
typedef struct ClinicalMonths
{
	int			first;			/* year * 12 + month - 1 */
	int			count;
	double		from;
	double		band;
} ClinicalMonths;

extern void clinical_chart_sections(ClinicalChart *chart, const ClinicalShownSection *section);
extern void clinical_chart_begin(ClinicalChart *chart, const char *title);
extern void clinical_chart_end(ClinicalChart *chart, const char *remark);
extern void clinical_chart_empty(ClinicalChart *chart, const char *words);
extern void clinical_chart_picture(ClinicalChart *chart, int width, int height, const char *title, const char *description);
extern void clinical_chart_picture_end(ClinicalChart *chart);
extern void clinical_chart_line(ClinicalChart *chart, const char *class, double x1, double y1, double x2, double y2);
extern void clinical_chart_label(ClinicalChart *chart, const char *class, double x, double y, const char *words);
extern char *clinical_chart_clip(const char *words, int length);
extern double clinical_chart_number(const ClinicalShownRow *row, int column);
extern int	clinical_chart_month(const ClinicalShownRow *row, int column);
extern void clinical_scale_choose(ClinicalScale *scale, double low, double high, double least, int ticks);
extern double clinical_scale_at(const ClinicalScale *scale, double value);
extern char *clinical_scale_label(const ClinicalScale *scale, double value);
extern void clinical_chart_levels(ClinicalChart *chart, const ClinicalScale *scale, double left, double right);
extern double clinical_month_at(const ClinicalMonths *months, int month);
extern void clinical_chart_months(ClinicalChart *chart, const ClinicalMonths *months, double y);
extern char *clinical_month_name(int month);
extern double clinical_chart_key(ClinicalChart *chart, const char *class, bool is_line, double x, double y,
								 const char *words);

/* report_chart_time.c, report_chart_item.c, report_chart_center.c */

extern void clinical_chart_enrolment(ClinicalChart *chart, const ClinicalShownTable *table);
extern void clinical_chart_alerts(ClinicalChart *chart, const ClinicalShownTable *table);
extern void clinical_chart_items(ClinicalChart *chart, const ClinicalShownTable *table);
extern void clinical_chart_compliance(ClinicalChart *chart, const ClinicalShownTable *table);
extern void clinical_chart_indicators(ClinicalChart *chart, const ClinicalShownTable *table);

#endif							/* CLINICAL_REPORT_RENDER_H */
