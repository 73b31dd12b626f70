/*-------------------------------------------------------------------------
 *
 * report_chart_item.c
 *		Chart of items: median and quartiles by month, a picture for each.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "report_render.h"

#define WIDTH 280
#define HEIGHT 170
#define LEFT 44
#define RIGHT (WIDTH - 8)
#define TOP 10
#define BOTTOM (HEIGHT - 24)

#define MAX_MONTHS 600
#define MAX_ITEMS 24

/* The columns that are drawn; -1: the table has none such */
typedef struct Columns
{
	int			item;
	int			label;
	int			unit;
	int			month;
	int			median;
	int			q1;
	int			q3;
} Columns;

typedef struct Trend
{
	char	   *item;
	char	   *title;
	double	   *median;			/* by month */
	double	   *q1;
	double	   *q3;
} Trend;

/* All trends; more than are drawn are counted only */
typedef struct Trends
{
	Columns		columns;
	ClinicalMonths months;
	int			count;
	Trend		trends[MAX_ITEMS];
} Trends;

/* Read which months there are; false if there are none to draw. */
static bool
find_months(Trends *trends, const ClinicalShownTable *table)
{
	ClinicalShownRow row;
	int			last = -1;

	trends->months.first = INT_MAX;
	clinical_shown_begin(table, &row);
	while (clinical_shown_next(&row))
	{
		int			month = clinical_chart_month(&row, trends->columns.month);

		if (month < 0)
			continue;
		trends->months.first = Min(trends->months.first, month);
		last = Max(last, month);
	}
	trends->months.count = last - trends->months.first + 1;
	trends->months.from = LEFT;
	trends->months.band = (double) (RIGHT - LEFT) / Max(trends->months.count, 1);
	return last >= 0 && trends->months.count <= MAX_MONTHS;
}

/* Figures by month, none of which is known. */
static double *
unknown(int count)
{
	double	   *values = palloc_array(double, count);

	for (int i = 0; i < count; i++)
		values[i] = (double) NAN;
	return values;
}

/* The text in a column, "" if there is none. */
static char *
text_of(const ClinicalShownRow *row, int column)
{
	char	   *words = column < 0 ? NULL : clinical_scalar_text(&row->cells[column]);

	return words == NULL ? pstrdup("") : words;
}

/* Begin the trend of a row's item. */
static void
begin_trend(Trends *trends, const ClinicalShownRow *row, char *item)
{
	Trend	   *trend = &trends->trends[trends->count - 1];
	char	   *label = text_of(row, trends->columns.label);
	char	   *unit = text_of(row, trends->columns.unit);

	trend->item = item;
	trend->title = label[0] != '\0' ? label : item;
	if (unit[0] != '\0')
		trend->title = psprintf("%s, %s", trend->title, unit);
	trend->median = unknown(trends->months.count);
	trend->q1 = unknown(trends->months.count);
	trend->q3 = unknown(trends->months.count);
}

/* Read the figures; an item's rows follow one another. */
static void
read_trends(Trends *trends, const ClinicalShownTable *table)
{
	char	   *last = NULL;
	ClinicalShownRow row;

	clinical_shown_begin(table, &row);
	while (clinical_shown_next(&row))
	{
		int			month = clinical_chart_month(&row, trends->columns.month);
		char	   *item;
		Trend	   *trend;

		if (month < 0 || !row.is_whole)
			continue;
		item = text_of(&row, trends->columns.item);
		if (last == NULL || strcmp(last, item) != 0)
		{
			last = item;
			if (++trends->count <= MAX_ITEMS)
				begin_trend(trends, &row, item);
		}
		if (trends->count > MAX_ITEMS)
			continue;
		trend = &trends->trends[trends->count - 1];
		month -= trends->months.first;
		trend->median[month] = clinical_chart_number(&row, trends->columns.median);
		trend->q1[month] = clinical_chart_number(&row, trends->columns.q1);
		trend->q3[month] = clinical_chart_number(&row, trends->columns.q3);
	}
}

/* Are all figures of a month known? */
static bool
is_known(const Trend *trend, int month)
{
	return !isnan(trend->median[month]) && !isnan(trend->q1[month]) && !isnan(trend->q3[month]);
}

/* Choose the scale of a trend; false if no month is known. */
static bool
choose_scale(const Trends *trends, const Trend *trend, ClinicalScale *scale)
{
	double		low = (double) INFINITY;
	double		high = -(double) INFINITY;

	for (int i = 0; i < trends->months.count; i++)
	{
		if (!is_known(trend, i))
			continue;
		low = Min(low, Min(trend->q1[i], trend->median[i]));
		high = Max(high, Max(trend->q3[i], trend->median[i]));
	}
	if (low > high)
		return false;
	clinical_scale_choose(scale, low, high, 0, 4);
	return true;
}

/* Draw the band between the quartiles of months that follow one another. */
static void
draw_band(ClinicalChart *chart, const Trends *trends, const Trend *trend, const ClinicalScale *scale, int from, int to)
{
	double		half = Min(trends->months.band * 0.3, 8);

	if (to - from == 1)
	{
		double		x = clinical_month_at(&trends->months, trends->months.first + from);
		double		y = clinical_scale_at(scale, trend->q3[from]);

		appendStringInfo(chart->out, "<rect class=\"band\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
						 x - half, y, half * 2, clinical_scale_at(scale, trend->q1[from]) - y);
		return;
	}
	appendStringInfoString(chart->out, "<path class=\"band\" d=\"");
	for (int i = from; i < to; i++)
		appendStringInfo(chart->out, "%s%.1f %.1f", i == from ? "M" : "L",
						 clinical_month_at(&trends->months, trends->months.first + i),
						 clinical_scale_at(scale, trend->q3[i]));
	for (int i = to - 1; i >= from; i--)
		appendStringInfo(chart->out, "L%.1f %.1f", clinical_month_at(&trends->months, trends->months.first + i),
						 clinical_scale_at(scale, trend->q1[i]));
	appendStringInfoString(chart->out, "Z\"/>\n<path class=\"line\" d=\"");
	for (int i = from; i < to; i++)
		appendStringInfo(chart->out, "%s%.1f %.1f", i == from ? "M" : "L",
						 clinical_month_at(&trends->months, trends->months.first + i),
						 clinical_scale_at(scale, trend->median[i]));
	appendStringInfoString(chart->out, "\"/>\n");
}

/* Draw bands, lines and dots. */
static void
draw_months(ClinicalChart *chart, const Trends *trends, const Trend *trend, const ClinicalScale *scale)
{
	int			from = 0;

	while (from < trends->months.count)
	{
		int			to = from;

		CHECK_FOR_INTERRUPTS();
		while (to < trends->months.count && is_known(trend, to))
			to++;
		if (to > from)
			draw_band(chart, trends, trend, scale, from, to);
		from = Max(to, from + 1);
	}
	for (int i = 0; i < trends->months.count; i++)
	{
		if (is_known(trend, i))
			appendStringInfo(chart->out, "<circle class=\"dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.6\"/>\n",
							 clinical_month_at(&trends->months, trends->months.first + i),
							 clinical_scale_at(scale, trend->median[i]));
	}
}

/* A trend in words. */
static char *
tell_trend(const Trends *trends, const Trend *trend)
{
	StringInfoData words;

	initStringInfo(&words);
	for (int i = 0; i < trends->months.count; i++)
	{
		if (!is_known(trend, i))
			continue;
		appendStringInfo(&words, "%s%s median %g (%g to %g)", words.len > 0 ? "; " : "",
						 clinical_month_name(trends->months.first + i), trend->median[i], trend->q1[i], trend->q3[i]);
	}
	appendStringInfoString(&words, words.len > 0 ? "." : "No values.");
	return words.data;
}

/* Draw the trend of one item. */
static void
draw_trend(ClinicalChart *chart, const Trends *trends, const Trend *trend)
{
	ClinicalScale scale = {.from = BOTTOM, .to = TOP};

	appendStringInfoString(chart->out, "<div class=\"panel\">\n<p class=\"what\">");
	clinical_html_string(chart->out, trend->title);
	appendStringInfoString(chart->out, "</p>\n");
	if (!choose_scale(trends, trend, &scale))
		clinical_chart_empty(chart, "No values in the period.");
	else
	{
		clinical_chart_picture(chart, WIDTH, HEIGHT, trend->title, tell_trend(trends, trend));
		clinical_chart_levels(chart, &scale, LEFT, RIGHT);
		clinical_chart_months(chart, &trends->months, BOTTOM + 16);
		draw_months(chart, trends, trend, &scale);
		clinical_chart_picture_end(chart);
	}
	appendStringInfoString(chart->out, "</div>\n");
}

/* Item trends. */
void
clinical_chart_items(ClinicalChart *chart, const ClinicalShownTable *table)
{
	Trends	   *trends = palloc0_object(Trends);
	Columns		columns = {
		.item = clinical_shown_column(table, "item"), .label = clinical_shown_column(table, "label"),
		.unit = clinical_shown_column(table, "unit"), .month = clinical_shown_column(table, "month"),
		.median = clinical_shown_column(table, "median"),
		.q1 = clinical_shown_column(table, "q1"), .q3 = clinical_shown_column(table, "q3")
	};

	trends->columns = columns;
	clinical_chart_begin(chart, "Items by month: median, with the band between the quartiles");
	if (columns.item >= 0 && columns.month >= 0 && find_months(trends, table))
		read_trends(trends, table);
	if (trends->count == 0)
		clinical_chart_empty(chart, "No values in the period.");
	else
	{
		appendStringInfoString(chart->out, "<div class=\"panels\">\n");
		for (int i = 0; i < Min(trends->count, MAX_ITEMS); i++)
			draw_trend(chart, trends, &trends->trends[i]);
		appendStringInfoString(chart->out, "</div>\n");
	}
	clinical_chart_end(chart, trends->count <= MAX_ITEMS ? NULL :
					   psprintf("The first %d of %d items; the table has all.", MAX_ITEMS, trends->count));
}
