/*-------------------------------------------------------------------------
 *
 * instrument_date.c
 *		Dates and times as FHIR and ISO 8601 write them.
 *
 * Strict, since a report comes from a program: what PostgreSQL's own input
 * takes for a date ("yesterday", "3/4/5") is a fault here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/datetime.h"

#include "instrument.h"

/* What is left of a text */
typedef struct Rest
{
	const char *at;
	const char *end;
} Rest;

/* Take that many digits. */
static bool
take_digits(Rest *rest, int count, int *number)
{
	if (rest->end - rest->at < count)
		return false;
	*number = 0;
	for (int i = 0; i < count; i++, rest->at++)
	{
		if (*rest->at < '0' || *rest->at > '9')
			return false;
		*number = *number * 10 + (*rest->at - '0');
	}
	return true;
}

/* Take that character, if it is next. */
static bool
take(Rest *rest, char c)
{
	if (rest->at == rest->end || *rest->at != c)
		return false;
	rest->at++;
	return true;
}

/* Take a year, month and day, as far as given; months and days count from 0 if not. */
static bool
take_date(Rest *rest, int *year, int *month, int *day)
{
	*month = *day = 0;
	if (!take_digits(rest, 4, year) || *year == 0)
		return false;
	if (!take(rest, '-'))
		return true;
	if (!take_digits(rest, 2, month) || *month < 1 || *month > 12)
		return false;
	if (!take(rest, '-'))
		return true;
	return take_digits(rest, 2, day) && *day >= 1 &&
		*day <= day_tab[isleap(*year)][*month - 1];
}

/* The first and last day that a date may be. */
static void
span_date(int year, int month, int day, int64 *low, int64 *high)
{
	int			last_month = month > 0 ? month : 12;

	*low = date2j(year, month > 0 ? month : 1, day > 0 ? day : 1) - POSTGRES_EPOCH_JDATE;
	*high = date2j(year, last_month, day > 0 ? day : day_tab[isleap(year)][last_month - 1]) - POSTGRES_EPOCH_JDATE;
}

/* A date: YYYY-MM-DD, or with partial YYYY-MM and YYYY; days from 2000-01-01. */
bool
clinical_parse_date(const char *string, int length, bool partial, int64 *low, int64 *high)
{
	Rest		rest = {string, string + length};
	int			year;
	int			month;
	int			day;

	if (!take_date(&rest, &year, &month, &day) || rest.at != rest.end || (day == 0 && !partial))
		return false;
	span_date(year, month, day, low, high);
	return true;
}

/* Take hours and minutes, and seconds with a fraction of them if given. */
static bool
take_time(Rest *rest, int64 *time)
{
	int			hour;
	int			minute;
	int			second = 0;
	int64		fraction = 0;

	if (!take_digits(rest, 2, &hour) || hour > 23 || !take(rest, ':') ||
		!take_digits(rest, 2, &minute) || minute > 59)
		return false;
	if (take(rest, ':'))
	{
		/* a leap second is written so */
		if (!take_digits(rest, 2, &second) || second > 60)
			return false;
		if (take(rest, '.'))
		{
			int			digit;
			int64		unit = USECS_PER_SEC / 10;

			if (!take_digits(rest, 1, &digit))
				return false;
			do
			{
				fraction += digit * unit;
				unit /= 10;
			} while (take_digits(rest, 1, &digit));
		}
	}
	*time = ((hour * INT64CONST(60) + minute) * 60 + second) * USECS_PER_SEC + fraction;
	return true;
}

/* A time of day: hh:mm, hh:mm:ss or with a fraction; microseconds. */
bool
clinical_parse_time(const char *string, int length, int64 *time)
{
	Rest		rest = {string, string + length};

	return take_time(&rest, time) && rest.at == rest.end;
}

/* Take the distance from UTC. */
static bool
take_offset(Rest *rest, int64 *offset)
{
	int			sign;
	int			hour;
	int			minute;

	*offset = 0;
	if (take(rest, 'Z'))
		return true;
	if (take(rest, '+'))
		sign = 1;
	else if (take(rest, '-'))
		sign = -1;
	else
		return false;
	if (!take_digits(rest, 2, &hour) || !take(rest, ':') || !take_digits(rest, 2, &minute) ||
		minute > 59 || hour * 60 + minute > 14 * 60)
		return false;
	*offset = sign * (hour * INT64CONST(60) + minute) * 60 * USECS_PER_SEC;
	return true;
}

/*
 * A moment: date, "T", time and distance from UTC, or with partial a date
 * alone; microseconds from 2000-01-01 in UTC.  A date alone may be anywhere, so
 * its bounds are those of UTC.
 */
bool
clinical_parse_date_time(const char *string, int length, bool partial, int64 *low, int64 *high)
{
	Rest		rest = {string, string + length};
	int			year;
	int			month;
	int			day;
	int64		time;
	int64		offset;

	if (!take_date(&rest, &year, &month, &day))
		return false;
	span_date(year, month, day, low, high);
	*low *= USECS_PER_DAY;
	*high = *high * USECS_PER_DAY + USECS_PER_DAY - 1;
	if (rest.at == rest.end)
		return partial;
	if (day == 0 || !take(&rest, 'T') || !take_time(&rest, &time) ||
		!take_offset(&rest, &offset) || rest.at != rest.end)
		return false;
	*low = *high = *low + time - offset;
	return true;
}
