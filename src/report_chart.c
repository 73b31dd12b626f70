/*-------------------------------------------------------------------------
 *
 * report_chart.c
 *		What the charts of a report have in common: pictures in SVG, scales with
 *		round ticks, months.
 *
 * A chart is drawn from the rows of a table, which it stands beside.  Numbers
 * of pixels are double precision: the figures themselves are never drawn from
 * a chart.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "report_render.h"

/* A month takes so many pixels if it is named */
#define MONTH_WIDTH 52

/* Which table has which chart */
typedef struct Drawing
{
	const char *section;
	const char *table;
	void		(*draw) (ClinicalChart *chart, const ClinicalShownTable *table);
} Drawing;

static const Drawing drawings[] = {
	{"enrolment", "enrolment", clinical_chart_enrolment},
	{"items", "items", clinical_chart_items},
	{"compliance", "compliance", clinical_chart_compliance},
	{"alerts", "alerts_by_month", clinical_chart_alerts},
	{"indicators", "indicators", clinical_chart_indicators}
};

/* Put out the charts of a section. */
void
clinical_chart_sections(ClinicalChart *chart, const ClinicalShownSection *section)
{
	for (int i = 0; i < (int) lengthof(drawings); i++)
	{
		const ClinicalShownTable *table;

		if (strcmp(drawings[i].section, section->name) != 0)
			continue;
		table = clinical_shown_table(section, drawings[i].table);
		if (table != NULL)
			drawings[i].draw(chart, table);
	}
}

/* Begin a figure. */
void
clinical_chart_begin(ClinicalChart *chart, const char *title)
{
	appendStringInfo(chart->out, "<figure class=\"chart\">\n<figcaption><span class=\"no\">Figure %d</span> ",
					 ++chart->figures);
	clinical_html_string(chart->out, title);
	appendStringInfoString(chart->out, "</figcaption>\n");
}

/* End it; remark: NULL is none. */
void
clinical_chart_end(ClinicalChart *chart, const char *remark)
{
	if (remark != NULL)
	{
		appendStringInfoString(chart->out, "<p class=\"note\">");
		clinical_html_string(chart->out, remark);
		appendStringInfoString(chart->out, "</p>\n");
	}
	appendStringInfoString(chart->out, "</figure>\n");
}

/* Say in place of a picture that there is nothing to see. */
void
clinical_chart_empty(ClinicalChart *chart, const char *words)
{
	appendStringInfoString(chart->out, "<p class=\"empty\">");
	clinical_html_string(chart->out, words);
	appendStringInfoString(chart->out, "</p>\n");
}

/* Begin a picture, which says in words what it shows. */
void
clinical_chart_picture(ClinicalChart *chart, int width, int height, const char *title, const char *description)
{
	int			id = ++chart->pictures;

	appendStringInfo(chart->out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-labelledby=\"p%dt p%dd\">\n"
					 "<title id=\"p%dt\">", width, height, id, id, id);
	clinical_html_string(chart->out, title);
	appendStringInfo(chart->out, "</title>\n<desc id=\"p%dd\">", id);
	clinical_html_string(chart->out, description);
	appendStringInfoString(chart->out, "</desc>\n");
}

/* End it. */
void
clinical_chart_picture_end(ClinicalChart *chart)
{
	appendStringInfoString(chart->out, "</svg>\n");
}

/* Draw a line. */
void
clinical_chart_line(ClinicalChart *chart, const char *class, double x1, double y1, double x2, double y2)
{
	appendStringInfo(chart->out, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
					 class, x1, y1, x2, y2);
}

/* Write at a place; the class says which end of the text is there. */
void
clinical_chart_label(ClinicalChart *chart, const char *class, double x, double y, const char *words)
{
	appendStringInfo(chart->out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", class, x, y);
	clinical_html_string(chart->out, words);
	appendStringInfoString(chart->out, "</text>\n");
}

/* So many characters of a text at most. */
char *
clinical_chart_clip(const char *words, int length)
{
	int			bytes = (int) strlen(words);

	if (pg_mbstrlen_with_len(words, bytes) <= length)
		return pstrdup(words);
	return psprintf("%.*s...", pg_mbcharcliplen(words, bytes, length - 2), words);
}

/* A figure to draw; not a number if there is none. */
double
clinical_chart_number(const ClinicalShownRow *row, int column)
{
	double		number;

	if (column < 0 || row->cells[column].type != jbvNumeric || clinical_figure_withheld(row, column))
		return (double) NAN;
	number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
												NumericGetDatum(row->cells[column].val.numeric)));
	return isfinite(number) && fabs(number) < 1e100 ? number : (double) NAN;
}

/* A month to draw; -1 if it is none. */
int
clinical_chart_month(const ClinicalShownRow *row, int column)
{
	char	   *words = clinical_scalar_text(&row->cells[column]);
	int			year;
	int			month;

	if (words == NULL || strlen(words) != 7 || strspn(words, "0123456789") != 4 || words[4] != '-' ||
		strspn(words + 5, "0123456789") != 2)
		return -1;
	year = atoi(words);
	month = atoi(words + 5);
	return month < 1 || month > 12 ? -1 : year * 12 + month - 1;
}

/* A month as it is written. */
char *
clinical_month_name(int month)
{
	return psprintf("%04d-%02d", month / 12, month % 12 + 1);
}

/* Choose bounds and ticks, about so many, for what lies between low and high. */
void
clinical_scale_choose(ClinicalScale *scale, double low, double high, double least, int ticks)
{
	double		raw;
	double		magnitude;

	if (!(high > low))
	{
		low -= Max(least, fabs(low) * 0.01);
		high += Max(least, fabs(high) * 0.01);
	}
	raw = Max((high - low) / ticks, 1e-100);
	magnitude = pow(10, floor(log10(raw)));
	raw /= magnitude;
	scale->step = Max(magnitude * (raw <= 1 ? 1 : raw <= 2 ? 2 : raw <= 5 ? 5 : 10), least);
	scale->low = floor(low / scale->step) * scale->step;
	scale->high = ceil(high / scale->step) * scale->step;
	if (!(scale->high > scale->low))
		scale->high = scale->low + scale->step;
}

/* The pixel of a value. */
double
clinical_scale_at(const ClinicalScale *scale, double value)
{
	return scale->from + (value - scale->low) / (scale->high - scale->low) * (scale->to - scale->from);
}

/* A tick's value, with the decimals of the steps. */
char *
clinical_scale_label(const ClinicalScale *scale, double value)
{
	int			decimals = (int) ceil(-log10(scale->step) - 1e-9);

	if (fabs(value) < scale->step / 2)
		return pstrdup("0");
	if (fabs(value) >= 1e7 || decimals > 6)
		return psprintf("%.4g", value);
	return psprintf("%.*f", Max(decimals, 0), value);
}

/* Draw the levels of a vertical scale, with their values at the left. */
void
clinical_chart_levels(ClinicalChart *chart, const ClinicalScale *scale, double left, double right)
{
	int			count = (int) rint((scale->high - scale->low) / scale->step);

	for (int i = 0; i <= count && i < 100; i++)
	{
		double		value = scale->low + i * scale->step;
		double		y = clinical_scale_at(scale, value);

		clinical_chart_line(chart, i == 0 ? "axis" : "grid", left, y, right, y);
		clinical_chart_label(chart, "end", left - 6, y + 4, clinical_scale_label(scale, value));
	}
}

/* The pixel of the middle of a month. */
double
clinical_month_at(const ClinicalMonths *months, int month)
{
	return months->from + (month - months->first + 0.5) * months->band;
}

/* Write the months below a picture, as many as there is room for. */
void
clinical_chart_months(ClinicalChart *chart, const ClinicalMonths *months, double y)
{
	int			every = (int) ceil(MONTH_WIDTH / months->band);

	for (int i = 0; i < months->count; i += every)
	{
		CHECK_FOR_INTERRUPTS();
		clinical_chart_label(chart, "middle", clinical_month_at(months, months->first + i), y,
							 clinical_month_name(months->first + i));
	}
}

/* Explain a mark of the picture above it; gives the place of the next one. */
double
clinical_chart_key(ClinicalChart *chart, const char *class, bool is_line, double x, double y, const char *words)
{
	if (is_line)
		clinical_chart_line(chart, class, x, y - 4, x + 22, y - 4);
	else
		appendStringInfo(chart->out, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"10\"/>\n",
						 class, x + 5, y - 9);
	clinical_chart_label(chart, "start", x + (is_line ? 28 : 22), y, words);
	return x + 50 + strlen(words) * 6.2;
}
