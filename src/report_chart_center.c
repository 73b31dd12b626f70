/*-------------------------------------------------------------------------
 *
 * report_chart_center.c
 *		Charts by center: compliance, key risk indicators.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "report_render.h"

/* More centers than that are not drawn: those are that need attention most */
#define MAX_CENTERS 40

/* Nor more instruments */
#define MAX_INSTRUMENTS 12

#define WIDTH 760
#define LEFT 110
#define RIGHT 560
#define ROW 20

#define PANEL_WIDTH 280
#define PANEL_LEFT 74
#define PANEL_RIGHT (PANEL_WIDTH - 14)
#define PANEL_ROW 15
#define MAX_SCORE 6
#define MAX_INDICATORS 32

/* A center's row of a table */
typedef struct Bar
{
	char	   *center;			/* NULL: all */
	char	   *instrument;		/* NULL: all */
	double		percent;
	char	   *text;
	int			number;			/* of the row */
} Bar;

typedef struct Bars
{
	Bar		   *bars;
	int			count;
	int			room;
} Bars;

/* A center's scores, by indicator */
typedef struct Center
{
	char	   *name;
	double		scores[MAX_INDICATORS];
	bool		flagged[MAX_INDICATORS];
	double		worst;
	int			number;			/* in the order of the table */
} Center;

typedef struct Centers
{
	Center	  **centers;
	int			count;
	int			room;
	char	   *indicators[MAX_INDICATORS];
	int			nindicators;
} Centers;

/* Are two texts, of which each may be missing, the same? */
static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* What stands beside a center's bar: its percentage and what it is made of. */
static char *
bar_text(const ClinicalShownRow *row, int percent)
{
	int			of = row->table->columns[percent].of;
	int			completed = clinical_shown_column(row->table, "completed");
	char	   *words = clinical_figure_text(row, percent);

	if (of < 0 || completed < 0 || row->suppressed || row->cells[percent].type == jbvNull)
		return words;
	return psprintf("%s %% (%s/%s)", words, clinical_figure_text(row, completed), clinical_figure_text(row, of));
}

/* Read the rows of centers; a row's other keys must be null, but for the instrument. */
static void
read_bars(Bars *bars, const ClinicalShownTable *table, int center, int instrument, int percent)
{
	ClinicalShownRow row;

	clinical_shown_begin(table, &row);
	while (clinical_shown_next(&row))
	{
		Bar		   *bar;

		if (!row.is_whole)
			continue;
		if (bars->count == bars->room)
		{
			bars->room = Max(bars->room * 2, 64);
			bars->bars = bars->bars == NULL ? palloc_array(Bar, bars->room) :
				repalloc_huge(bars->bars, sizeof(Bar) * bars->room);
		}
		bar = &bars->bars[bars->count++];
		bar->center = clinical_scalar_text(&row.cells[center]);
		bar->instrument = instrument < 0 ? NULL : clinical_scalar_text(&row.cells[instrument]);
		bar->percent = clinical_chart_number(&row, percent);
		bar->text = bar_text(&row, percent);
		bar->number = row.number;
	}
}

/* Order by compliance, the lowest first; those without come last. */
static int
compare_percent(const void *a, const void *b)
{
	const Bar  *left = (const Bar *) a;
	const Bar  *right = (const Bar *) b;

	if (isnan(left->percent) != isnan(right->percent))
		return isnan(left->percent) ? 1 : -1;
	if (!isnan(left->percent) && left->percent != right->percent)
		return left->percent < right->percent ? -1 : 1;
	return left->number - right->number;
}

/* Order as in the table, all centers together first. */
static int
compare_number(const void *a, const void *b)
{
	const Bar  *left = (const Bar *) a;
	const Bar  *right = (const Bar *) b;

	if ((left->center == NULL) != (right->center == NULL))
		return left->center == NULL ? -1 : 1;
	return left->number - right->number;
}

/* Draw a center's bar. */
static void
draw_bar(ClinicalChart *chart, const Bar *bar, const ClinicalScale *scale, double y)
{
	double		percent = Min(Max(bar->percent, 0), 100);
	const char *class = bar->center == NULL ? "bar" : bar->percent < 80 ? "bar low" : "bar pale";

	clinical_chart_label(chart, bar->center == NULL ? "end strong" : "end", LEFT - 8, y + 13,
						 bar->center == NULL ? "All centers" : clinical_chart_clip(bar->center, 16));
	if (!isnan(bar->percent))
		appendStringInfo(chart->out, "<rect class=\"%s\" x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\"/>\n",
						 class, LEFT, y + 3, clinical_scale_at(scale, percent) - LEFT, ROW - 6);
	clinical_chart_label(chart, bar->center == NULL ? "start strong" : "start", RIGHT + 14, y + 13, bar->text);
}

/* The compliance of an instrument in words. */
static char *
tell_bars(const Bar *bars, int count, const char *title)
{
	StringInfoData words;

	initStringInfo(&words);
	appendStringInfo(&words, "%s:", title);
	for (int i = 0; i < count; i++)
		appendStringInfo(&words, "%s %s %s", i > 0 ? ";" : "",
						 bars[i].center == NULL ? "all centers" : bars[i].center, bars[i].text);
	appendStringInfoChar(&words, '.');
	return words.data;
}

/* Draw the centers of an instrument. */
static void
draw_bars(ClinicalChart *chart, const Bar *bars, int count, const char *instrument)
{
	ClinicalScale scale = {.low = 0, .high = 100, .step = 20, .from = LEFT, .to = RIGHT};
	const char *title = instrument == NULL ? "Compliance by center" : psprintf("Compliance by center, %s", instrument);
	double		bottom = 22 + count * ROW;
	double		limit = clinical_scale_at(&scale, 80);

	if (instrument != NULL)
	{
		appendStringInfoString(chart->out, "<p class=\"what\">");
		clinical_html_string(chart->out, instrument);
		appendStringInfoString(chart->out, "</p>\n");
	}
	clinical_chart_picture(chart, WIDTH, (int) bottom + 22, title, tell_bars(bars, count, title));
	for (int percent = 0; percent <= 100; percent += 20)
	{
		double		x = clinical_scale_at(&scale, percent);

		clinical_chart_line(chart, percent == 0 ? "axis" : "grid", x, 20, x, bottom + 2);
		clinical_chart_label(chart, "middle", x, bottom + 16, psprintf("%d %%", percent));
	}
	for (int i = 0; i < count; i++)
		draw_bar(chart, &bars[i], &scale, 22 + i * ROW);
	clinical_chart_line(chart, "limit", limit, 16, limit, bottom + 2);
	clinical_chart_label(chart, "middle strong", limit, 12, "80 %");
	clinical_chart_picture_end(chart);
}

/* Draw an instrument's centers, or those with the lowest compliance; is that not all? */
static bool
choose_bars(ClinicalChart *chart, const Bars *bars, const char *instrument)
{
	Bar		   *chosen = palloc_array(Bar, bars->count);
	Bar			all;
	bool		has_all = false;
	int			count = 0;
	int			shown;

	for (int i = 0; i < bars->count; i++)
	{
		if (!same_text(bars->bars[i].instrument, instrument))
			continue;
		if (bars->bars[i].center != NULL)
			chosen[count++] = bars->bars[i];
		else
		{
			all = bars->bars[i];
			has_all = true;
		}
	}
	shown = Min(count, MAX_CENTERS);
	if (count > MAX_CENTERS)
		qsort(chosen, count, sizeof(Bar), compare_percent);
	if (has_all)
	{
		if (shown == count)
			chosen = repalloc_huge(chosen, sizeof(Bar) * (count + 1));
		chosen[shown++] = all;
	}
	qsort(chosen, shown, sizeof(Bar), compare_number);
	if (shown > 0)
		draw_bars(chart, chosen, shown, instrument);
	pfree(chosen);
	return count > MAX_CENTERS;
}

/* Is there a row of all instruments? */
static bool
has_all_instruments(const Bars *bars)
{
	for (int i = 0; i < bars->count; i++)
	{
		if (bars->bars[i].center != NULL && bars->bars[i].instrument == NULL)
			return true;
	}
	return false;
}

/* Was the instrument of a row in one before it? */
static bool
is_repeated(const Bars *bars, int number)
{
	for (int i = 0; i < number; i++)
	{
		if (same_text(bars->bars[i].instrument, bars->bars[number].instrument))
			return true;
	}
	return false;
}

/* Draw each instrument, or the first ones; is that not all? */
static bool
draw_instruments(ClinicalChart *chart, const Bars *bars)
{
	bool		more = false;
	int			count = 0;

	for (int i = 0; i < bars->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (is_repeated(bars, i))
			continue;
		if (count++ == MAX_INSTRUMENTS)
			return true;
		more = choose_bars(chart, bars, bars->bars[i].instrument) || more;
	}
	return more;
}

/* Compliance by center. */
void
clinical_chart_compliance(ClinicalChart *chart, const ClinicalShownTable *table)
{
	int			center = clinical_shown_column(table, "center");
	int			percent = clinical_shown_column(table, "percent");
	Bars		bars = {NULL};
	bool		more = false;

	clinical_chart_begin(chart, "Compliance by center: completed of expected entries");
	if (center >= 0 && percent >= 0)
		read_bars(&bars, table, center, clinical_shown_column(table, "instrument"), percent);
	if (bars.count == 0)
		clinical_chart_empty(chart, "No entries were expected in the period.");
	else if (has_all_instruments(&bars))
		more = choose_bars(chart, &bars, NULL);
	else
		more = draw_instruments(chart, &bars);
	clinical_chart_end(chart, bars.count == 0 ? NULL :
					   psprintf("Dashed: 80 %%. Centers below it are drawn darker.%s", more ?
								psprintf(" Shown are at most %d questionnaires, and the %d centers with the lowest compliance; the table has all.",
										 MAX_INSTRUMENTS, MAX_CENTERS) : ""));
}

/* The number of an indicator; -1: there are too many. */
static int
find_indicator(Centers *centers, char *name)
{
	for (int i = 0; i < centers->nindicators; i++)
	{
		if (strcmp(centers->indicators[i], name) == 0)
			return i;
	}
	if (centers->nindicators == MAX_INDICATORS)
		return -1;
	centers->indicators[centers->nindicators] = name;
	return centers->nindicators++;
}

/* The center of that name; looked for from the one after the last found on. */
static Center *
find_center(Centers *centers, char *name, int *last)
{
	Center	   *center;

	for (int i = 0; i < centers->count; i++)
	{
		int			at = (*last + 1 + i) % centers->count;

		if (strcmp(centers->centers[at]->name, name) != 0)
			continue;
		*last = at;
		return centers->centers[at];
	}
	if (centers->count == centers->room)
	{
		centers->room = Max(centers->room * 2, 64);
		centers->centers = centers->centers == NULL ? palloc_array(Center *, centers->room) :
			repalloc_huge(centers->centers, sizeof(Center *) * centers->room);
	}
	center = palloc0_object(Center);
	center->name = name;
	center->number = centers->count;
	for (int i = 0; i < MAX_INDICATORS; i++)
		center->scores[i] = (double) NAN;
	*last = centers->count;
	centers->centers[centers->count++] = center;
	return center;
}

/* Read the scores. */
static void
read_centers(Centers *centers, const ClinicalShownTable *table)
{
	int			indicator_column = clinical_shown_column(table, "indicator");
	int			center_column = clinical_shown_column(table, "center");
	int			score_column = clinical_shown_column(table, "score");
	int			flag_column = clinical_shown_column(table, "flag");
	int			last = -1;
	ClinicalShownRow row;

	if (indicator_column < 0 || center_column < 0 || score_column < 0 || flag_column < 0)
		return;
	clinical_shown_begin(table, &row);
	while (clinical_shown_next(&row))
	{
		char	   *name = clinical_scalar_text(&row.cells[center_column]);
		char	   *indicator_name = clinical_scalar_text(&row.cells[indicator_column]);
		double		score = clinical_chart_number(&row, score_column);
		int			indicator;
		Center	   *center;

		if (name == NULL || indicator_name == NULL || !row.is_whole)
			continue;
		indicator = find_indicator(centers, indicator_name);
		if (indicator < 0)
			continue;
		center = find_center(centers, name, &last);
		center->scores[indicator] = score;
		center->flagged[indicator] = fabs(clinical_chart_number(&row, flag_column)) >= 1;
		if (!isnan(score))
			center->worst = Max(center->worst, fabs(score));
	}
}

/* Order by the worst score, the highest first. */
static int
compare_worst(const void *a, const void *b)
{
	const Center *left = *(Center *const *) a;
	const Center *right = *(Center *const *) b;

	if (left->worst != right->worst)
		return left->worst > right->worst ? -1 : 1;
	return left->number - right->number;
}

/* Order as in the table. */
static int
compare_center(const void *a, const void *b)
{
	return (*(Center *const *) a)->number - (*(Center *const *) b)->number;
}

/* Draw the score of a center: a dot, or a diamond with its value if it is flagged. */
static void
draw_score(ClinicalChart *chart, double score, bool flagged, const ClinicalScale *scale, double y)
{
	double		x = clinical_scale_at(scale, Min(Max(score, scale->low), scale->high));

	if (isnan(score))
		return;
	if (!flagged)
	{
		appendStringInfo(chart->out, "<circle class=\"open\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.4\"/>\n", x, y);
		return;
	}
	appendStringInfo(chart->out, "<path class=\"flag\" d=\"M%.1f %.1fl5 5l-5 5l-5 -5Z\"/>\n", x, y - 5);
	clinical_chart_label(chart, score > 0 ? "end strong" : "start strong", score > 0 ? x - 8 : x + 8, y + 4,
						 psprintf("%+.1f", score));
}

/* How many centers have a score? */
static int
count_scores(const Centers *centers, int indicator)
{
	int			count = 0;

	for (int i = 0; i < centers->count; i++)
		count += isnan(centers->centers[i]->scores[indicator]) ? 0 : 1;
	return count;
}

/* An indicator in words. */
static char *
tell_indicator(const Centers *centers, int indicator)
{
	StringInfoData words;

	initStringInfo(&words);
	for (int i = 0; i < centers->count; i++)
	{
		const Center *center = centers->centers[i];

		if (center->flagged[indicator])
			appendStringInfo(&words, "; center %s %+.2f", center->name, center->scores[indicator]);
	}
	return psprintf("%d centers have a score%s.", count_scores(centers, indicator),
					words.len > 0 ? words.data : "; none is flagged");
}

/* Draw the scale of scores, with the lines at which they are flagged. */
static void
draw_lines(ClinicalChart *chart, const ClinicalScale *scale, double bottom)
{
	static const int lines[] = {-3, -2, 0, 2, 3};

	for (int i = 0; i < (int) lengthof(lines); i++)
	{
		double		x = clinical_scale_at(scale, lines[i]);

		clinical_chart_line(chart, lines[i] == 0 ? "axis" : abs(lines[i]) == 2 ? "limit" : "limit outer",
							x, 4, x, bottom);
		clinical_chart_label(chart, "middle", x, bottom + 14, psprintf("%d", lines[i]));
	}
}

/* Draw an indicator, a line for each center. */
static void
draw_picture(ClinicalChart *chart, const Centers *centers, int indicator, double most)
{
	ClinicalScale scale = {.low = -most, .high = most, .step = 1, .from = PANEL_LEFT, .to = PANEL_RIGHT};
	double		bottom = 10 + centers->count * PANEL_ROW;

	clinical_chart_picture(chart, PANEL_WIDTH, (int) bottom + 22, centers->indicators[indicator],
						   tell_indicator(centers, indicator));
	draw_lines(chart, &scale, bottom);
	for (int i = 0; i < centers->count; i++)
	{
		const Center *center = centers->centers[i];
		double		y = 10 + (i + 0.5) * PANEL_ROW;

		CHECK_FOR_INTERRUPTS();
		clinical_chart_line(chart, "grid", PANEL_LEFT, y, PANEL_RIGHT, y);
		clinical_chart_label(chart, "end", PANEL_LEFT - 6, y + 4, clinical_chart_clip(center->name, 10));
		draw_score(chart, center->scores[indicator], center->flagged[indicator], &scale, y);
	}
	clinical_chart_picture_end(chart);
}

/* Draw an indicator, if there is something to see. */
static void
draw_indicator(ClinicalChart *chart, const Centers *centers, int indicator, double most)
{
	appendStringInfoString(chart->out, "<div class=\"panel\">\n<p class=\"what\">");
	clinical_html_string(chart->out, centers->indicators[indicator]);
	appendStringInfoString(chart->out, "</p>\n");
	if (count_scores(centers, indicator) == 0)
		clinical_chart_empty(chart, "No center has a score.");
	else
		draw_picture(chart, centers, indicator, most);
	appendStringInfoString(chart->out, "</div>\n");
}

/* Leave the centers with the worst scores, if there are many; is that not all? */
static bool
choose_centers(Centers *centers)
{
	bool		more = centers->count > MAX_CENTERS;

	if (more)
	{
		qsort(centers->centers, centers->count, sizeof(Center *), compare_worst);
		centers->count = MAX_CENTERS;
		qsort(centers->centers, centers->count, sizeof(Center *), compare_center);
	}
	return more;
}

/* Key risk indicators by center. */
void
clinical_chart_indicators(ClinicalChart *chart, const ClinicalShownTable *table)
{
	Centers    *centers = palloc0_object(Centers);
	double		most = 4;
	bool		more;

	clinical_chart_begin(chart, "Key risk indicators: score by center");
	read_centers(centers, table);
	if (centers->count == 0)
	{
		clinical_chart_empty(chart, "No center has an indicator in the period.");
		clinical_chart_end(chart, NULL);
		return;
	}
	more = choose_centers(centers);
	for (int i = 0; i < centers->count; i++)
		most = Max(most, Min(ceil(centers->centers[i]->worst), MAX_SCORE));
	appendStringInfoString(chart->out, "<div class=\"panels\">\n");
	for (int i = 0; i < centers->nindicators; i++)
		draw_indicator(chart, centers, i, most);
	appendStringInfoString(chart->out, "</div>\n");
	clinical_chart_end(chart, psprintf("Diamonds with a value: flagged, at 2 and more or below -2 (dashed lines: 2 and 3 in either direction). "
									   "No mark: no score.%s", more ? psprintf(" Only the %d centers with the greatest scores are shown; the table has all.", MAX_CENTERS) : ""));
}
