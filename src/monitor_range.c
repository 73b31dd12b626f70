/*-------------------------------------------------------------------------
 *
 * monitor_range.c
 *		Ranges of numbers, and what the engine of rules asks about them.
 *
 * A rule's ranges are written as numrange is, and kept with their bounds ready to
 * be compared with: one is looked at for each reading that comes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "monitor.h"

/* No reading is larger, and no sum of readings times their number overflows */
#define MAX_DIGITS 30

/* White space and what follows it. */
static const char *
skip_space(const char *string)
{
	return string + strspn(string, " \t\r\n");
}

/*
 * Read a bound that ends at one of these characters; *bound is NULL if nothing is there.
 * The type's own input is not asked: its errors would show the text and not name the key.
 */
static const char *
read_bound(const char *string, const char *ends, Numeric *bound)
{
	const char *begin = skip_space(string);
	const char *at = begin;
	size_t		whole;
	size_t		fraction = 0;

	*bound = NULL;
	if (*at != '\0' && strchr(ends, *at) != NULL)
		return at;
	if (*at == '-' || *at == '+')
		at++;
	whole = strspn(at, "0123456789");
	at += whole;
	if (*at == '.')
	{
		fraction = strspn(at + 1, "0123456789");
		at += 1 + fraction;
	}
	if (whole + fraction == 0 || whole > MAX_DIGITS || fraction > MAX_DIGITS)
		return NULL;
	*bound = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(pnstrdup(begin, at - begin)),
												 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	at = skip_space(at);
	return *at != '\0' && strchr(ends, *at) != NULL ? at : NULL;
}

/* Order of two numbers. */
static int
compare_numbers(const void *left, const void *right)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, PointerGetDatum(left), PointerGetDatum(right)));
}

/* Read a range as numrange is written; false if it is none, or is empty or without bounds. */
bool
clinical_range_read(const char *string, ClinicalRange *range)
{
	const char *at = skip_space(string);
	int			order;

	if (*at != '[' && *at != '(')
		return false;
	range->lower_inclusive = *at == '[';
	at = read_bound(at + 1, ",", &range->lower);
	if (at == NULL)
		return false;
	at = read_bound(at + 1, "])", &range->upper);
	if (at == NULL || *skip_space(at + 1) != '\0')
		return false;
	range->upper_inclusive = *at == ']';
	if (range->lower == NULL || range->upper == NULL)
		return range->lower != range->upper;
	order = compare_numbers(range->lower, range->upper);
	return order < 0 || (order == 0 && range->lower_inclusive && range->upper_inclusive);
}

/* Is a number in the range? */
bool
clinical_range_contains(const ClinicalRange *range, Numeric value)
{
	int			order;

	if (range->lower != NULL)
	{
		order = compare_numbers(range->lower, value);
		if (order > 0 || (order == 0 && !range->lower_inclusive))
			return false;
	}
	if (range->upper != NULL)
	{
		order = compare_numbers(range->upper, value);
		if (order < 0 || (order == 0 && !range->upper_inclusive))
			return false;
	}
	return true;
}

/* Is all of a range in the other? */
bool
clinical_range_within(const ClinicalRange *inner, const ClinicalRange *outer)
{
	int			order;

	if (outer->lower != NULL)
	{
		order = inner->lower == NULL ? 1 : compare_numbers(outer->lower, inner->lower);
		if (order > 0 || (order == 0 && inner->lower_inclusive && !outer->lower_inclusive))
			return false;
	}
	if (outer->upper != NULL)
	{
		order = inner->upper == NULL ? -1 : compare_numbers(outer->upper, inner->upper);
		if (order < 0 || (order == 0 && inner->upper_inclusive && !outer->upper_inclusive))
			return false;
	}
	return true;
}

/* A bound as many times; NULL if there is none. */
static Numeric
times(Numeric bound, Numeric count)
{
	return bound == NULL ? NULL :
		DatumGetNumeric(DirectFunctionCall2(numeric_mul, NumericGetDatum(bound), NumericGetDatum(count)));
}

/*
 * Is the mean of so many numbers in the range?  A quotient may have no end, so the
 * sum is compared with as many times the bounds.
 */
static bool
mean_is_inside(const void *const *values, int count, const void *range)
{
	ClinicalRange scaled = *(const ClinicalRange *) range;
	Datum		sum = PointerGetDatum(values[0]);
	Numeric		number;

	if (count == 1)
		return clinical_range_contains(&scaled, DatumGetNumeric(sum));
	for (int i = 1; i < count; i++)
		sum = DirectFunctionCall2(numeric_add, sum, PointerGetDatum(values[i]));
	number = int64_to_numeric(count);
	scaled.lower = times(scaled.lower, number);
	scaled.upper = times(scaled.upper, number);
	return clinical_range_contains(&scaled, DatumGetNumeric(sum));
}

const StreakOps clinical_monitor_ops = {compare_numbers, mean_is_inside};
