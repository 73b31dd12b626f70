/*-------------------------------------------------------------------------
 *
 * report_chart_time.c
 *		Charts over months: enrolment against plan, alerts by severity.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "report_render.h"

#define WIDTH 760
#define HEIGHT 300
#define LEFT 48
#define TOP 34
#define BOTTOM (HEIGHT - 26)

/* More months than that are not drawn */
#define MAX_MONTHS 600

/* From the worst on, as the bars are stacked from below */
static const char *const severities[] = {"critical", "serious", "warning", "info"};

#define NSEVERITIES 4

/* Figures by month, one line of them for each series */
typedef struct Series
{
	ClinicalMonths months;
	int			count;
	double	   *values[NSEVERITIES];
} Series;

/* The first and last month of a table; false if there is none to draw. */
static bool
find_months(const ClinicalShownTable *table, int column, ClinicalMonths *months)
{
	ClinicalShownRow row;
	int			last = -1;

	months->first = INT_MAX;
	if (column < 0)
		return false;
	clinical_shown_begin(table, &row);
	while (clinical_shown_next(&row))
	{
		int			month = clinical_chart_month(&row, column);

		if (month < 0)
			continue;
		months->first = Min(months->first, month);
		last = Max(last, month);
	}
	months->count = last - months->first + 1;
	return last >= 0 && months->count <= MAX_MONTHS;
}

/* Begin series of so many figures, none of which is known. */
static void
begin_series(Series *series, int count, double right)
{
	series->count = count;
	series->months.from = LEFT;
	series->months.band = (right - LEFT) / series->months.count;
	for (int i = 0; i < count; i++)
	{
		series->values[i] = palloc_array(double, series->months.count);
		for (int j = 0; j < series->months.count; j++)
			series->values[i][j] = (double) NAN;
	}
}

/* Is a row of all, but for the keys in two columns? */
static bool
is_of(const ClinicalShownRow *row, int a, int b)
{
	if (!row->is_whole)
		return false;
	for (int i = 0; i < row->table->ncolumns; i++)
	{
		if (i != a && i != b && row->table->columns[i].is_key && row->cells[i].type != jbvNull)
			return false;
	}
	return true;
}

/* The last month of which a series has a figure; -1: none. */
static int
last_known(const Series *series, int line)
{
	for (int i = series->months.count - 1; i >= 0; i--)
	{
		if (!isnan(series->values[line][i]))
			return i;
	}
	return -1;
}

/* The greatest figure of all series. */
static double
greatest(const Series *series)
{
	double		most = 0;

	for (int i = 0; i < series->count; i++)
	{
		for (int j = 0; j < series->months.count; j++)
			most = isnan(series->values[i][j]) ? most : Max(most, series->values[i][j]);
	}
	return most;
}

/* Draw bars from the axis to the figures. */
static void
draw_bars(ClinicalChart *chart, const Series *series, int line, const ClinicalScale *scale)
{
	double		width = Min(series->months.band * 0.5, 40);

	for (int i = 0; i < series->months.count; i++)
	{
		double		value = series->values[line][i];
		double		x = clinical_month_at(&series->months, series->months.first + i);
		double		y = clinical_scale_at(scale, value);

		CHECK_FOR_INTERRUPTS();
		if (value > 0)
			appendStringInfo(chart->out, "<rect class=\"bar pale\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
							 x - width / 2, y, width, scale->from - y);
	}
}

/* Draw a line through the figures, broken where there is none. */
static void
draw_line(ClinicalChart *chart, const Series *series, int line, const ClinicalScale *scale, const char *class)
{
	bool		begun = false;

	appendStringInfo(chart->out, "<path class=\"%s\" d=\"", class);
	for (int i = 0; i < series->months.count; i++)
	{
		double		value = series->values[line][i];

		CHECK_FOR_INTERRUPTS();
		if (!isnan(value))
			appendStringInfo(chart->out, "%s%.1f %.1f", begun ? "L" : "M",
							 clinical_month_at(&series->months, series->months.first + i),
							 clinical_scale_at(scale, value));
		begun = !isnan(value);
	}
	appendStringInfoString(chart->out, "\"/>\n");
}

/* Draw a dot at each figure. */
static void
draw_dots(ClinicalChart *chart, const Series *series, int line, const ClinicalScale *scale)
{
	for (int i = 0; i < series->months.count; i++)
	{
		if (isnan(series->values[line][i]))
			continue;
		appendStringInfo(chart->out, "<circle class=\"dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.2\"/>\n",
						 clinical_month_at(&series->months, series->months.first + i),
						 clinical_scale_at(scale, series->values[line][i]));
	}
}

/* The figures of enrolment: cumulative, target, and by month. */
static void
read_enrolment(Series *series, const ClinicalShownTable *table, int month_column)
{
	int			columns[] = {clinical_shown_column(table, "cumulative"), clinical_shown_column(table, "target"),
	clinical_shown_column(table, "enrolled")};
	ClinicalShownRow row;

	clinical_shown_begin(table, &row);
	while (clinical_shown_next(&row))
	{
		int			month = clinical_chart_month(&row, month_column);

		if (month < 0 || !is_of(&row, month_column, -1))
			continue;
		for (int i = 0; i < series->count; i++)
			series->values[i][month - series->months.first] = clinical_chart_number(&row, columns[i]);
	}
}

/* Enrolment in words. */
static char *
tell_enrolment(const Series *series)
{
	int			last = last_known(series, 0);
	int			planned = last_known(series, 1);
	StringInfoData words;

	initStringInfo(&words);
	if (last >= 0)
		appendStringInfo(&words, "%.0f patients were enrolled by the end of %s", series->values[0][last],
						 clinical_month_name(series->months.first + last));
	if (last >= 0 && planned >= 0)
		appendStringInfo(&words, "; %.0f were planned by the end of %s", series->values[1][planned],
						 clinical_month_name(series->months.first + planned));
	appendStringInfoString(&words, ".");
	return words.data;
}

/* Write what a line ends at, beside its end; other: a label not to be written over. */
static double
label_end(ClinicalChart *chart, const Series *series, int line, const ClinicalScale *scale, double other,
		  const char *what)
{
	int			last = last_known(series, line);
	double		y;

	if (last < 0)
		return -100;
	y = clinical_scale_at(scale, series->values[line][last]) + 4;
	if (fabs(y - other) < 14)
		y = y < other ? other - 14 : other + 14;
	clinical_chart_label(chart, "start strong", clinical_month_at(&series->months, series->months.first + last) + 8, y,
						 psprintf("%.0f %s", series->values[line][last], what));
	return y;
}

/* Enrolment by month against plan. */
void
clinical_chart_enrolment(ClinicalChart *chart, const ClinicalShownTable *table)
{
	int			month = clinical_shown_column(table, "month");
	ClinicalScale scale = {.from = BOTTOM, .to = TOP};
	Series		series;
	double		y;

	clinical_chart_begin(chart, "Enrolment by month against plan");
	if (!find_months(table, month, &series.months))
	{
		clinical_chart_empty(chart, "No months to show.");
		clinical_chart_end(chart, NULL);
		return;
	}
	begin_series(&series, 3, WIDTH - 60);
	read_enrolment(&series, table, month);
	clinical_scale_choose(&scale, 0, Max(greatest(&series), 1), 1, 5);
	clinical_chart_picture(chart, WIDTH, HEIGHT, "Enrolment by month against plan", tell_enrolment(&series));
	y = clinical_chart_key(chart, "line", true, LEFT, 14, "Enrolled, cumulative");
	y = clinical_chart_key(chart, "plan", true, y, 14, "Planned, cumulative");
	(void) clinical_chart_key(chart, "bar pale", false, y, 14, "Enrolled in the month");
	clinical_chart_levels(chart, &scale, LEFT, WIDTH - 60);
	clinical_chart_months(chart, &series.months, BOTTOM + 18);
	draw_bars(chart, &series, 2, &scale);
	draw_line(chart, &series, 1, &scale, "plan");
	draw_line(chart, &series, 0, &scale, "line");
	draw_dots(chart, &series, 0, &scale);
	y = label_end(chart, &series, 0, &scale, -100, "enrolled");
	(void) label_end(chart, &series, 1, &scale, y, "planned");
	clinical_chart_picture_end(chart);
	clinical_chart_end(chart, NULL);
}

/* The figures of alerts, by severity; false if there was none. */
static bool
read_alerts(Series *series, const ClinicalShownTable *table, int month_column)
{
	int			severity = clinical_shown_column(table, "severity");
	int			opened = clinical_shown_column(table, "opened");
	ClinicalShownRow row;
	bool		found = false;

	clinical_shown_begin(table, &row);
	while (severity >= 0 && clinical_shown_next(&row))
	{
		int			month = clinical_chart_month(&row, month_column);
		double		value = clinical_chart_number(&row, opened);

		if (month < 0 || !is_of(&row, month_column, severity))
			continue;
		for (int i = 0; i < NSEVERITIES; i++)
		{
			if (clinical_json_is(&row.cells[severity], severities[i]))
				series->values[i][month - series->months.first] = value;
		}
		found = found || value > 0;
	}
	return found;
}

/* The alerts of a month, by severity, one on the other; of how many months and how high is given. */
static void
draw_stack(ClinicalChart *chart, const Series *series, int month, const ClinicalScale *scale)
{
	double		width = Min(series->months.band * 0.6, 48);
	double		x = clinical_month_at(&series->months, series->months.first + month);
	double		sum = 0;

	for (int i = 0; i < series->count; i++)
	{
		double		value = series->values[i][month];
		double		y = clinical_scale_at(scale, sum + value);

		if (!(value > 0))
			continue;
		appendStringInfo(chart->out, "<rect class=\"bar %s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
						 severities[i], x - width / 2, y, width, clinical_scale_at(scale, sum) - y);
		sum += value;
	}
	if (series->months.band >= 24)
		clinical_chart_label(chart, "middle strong", x, clinical_scale_at(scale, sum) - 5, psprintf("%.0f", sum));
}

/* The greatest sum of a month; adds the sums of each severity up. */
static double
add_alerts(const Series *series, double *sums)
{
	double		most = 0;

	memset(sums, 0, sizeof(double) * NSEVERITIES);
	for (int i = 0; i < series->months.count; i++)
	{
		double		sum = 0;

		for (int j = 0; j < series->count; j++)
		{
			double		value = isnan(series->values[j][i]) ? 0 : series->values[j][i];

			sum += value;
			sums[j] += value;
		}
		most = Max(most, sum);
	}
	return most;
}

/* Alerts by month and severity. */
void
clinical_chart_alerts(ClinicalChart *chart, const ClinicalShownTable *table)
{
	int			month = clinical_shown_column(table, "month");
	ClinicalScale scale = {.from = BOTTOM, .to = TOP + 6};
	Series		series = {.count = 0};
	double		sums[NSEVERITIES];
	double		x = LEFT;
	bool		found = find_months(table, month, &series.months);

	clinical_chart_begin(chart, "Alerts opened by month and severity");
	if (found)
	{
		begin_series(&series, NSEVERITIES, WIDTH - 10);
		found = read_alerts(&series, table, month);
	}
	if (!found)
	{
		clinical_chart_empty(chart, "No alerts in the period.");
		clinical_chart_end(chart, NULL);
		return;
	}
	clinical_scale_choose(&scale, 0, add_alerts(&series, sums), 1, 5);
	clinical_chart_picture(chart, WIDTH, HEIGHT, "Alerts opened by month and severity",
						   psprintf("Opened in all months: %.0f critical, %.0f serious, %.0f warning, %.0f info.",
									sums[0], sums[1], sums[2], sums[3]));
	for (int i = 0; i < NSEVERITIES; i++)
		x = clinical_chart_key(chart, psprintf("bar %s", severities[i]), false, x, 14, severities[i]);
	clinical_chart_levels(chart, &scale, LEFT, WIDTH - 10);
	clinical_chart_months(chart, &series.months, BOTTOM + 18);
	for (int i = 0; i < series.months.count; i++)
		draw_stack(chart, &series, i, &scale);
	clinical_chart_picture_end(chart);
	clinical_chart_end(chart, NULL);
}
