/*-------------------------------------------------------------------------
 *
 * summary_decimal.c
 *		Exact sums of decimal numbers of any size.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "summary_kernel.h"

#define BASE 10000
/* digits of a count */
#define COUNT_DIGITS 5
/* A digit holds so many products of three digits, and is carried before it has more */
#define MOST_PENDING 1000000

/* Begin with 0. */
void
summary_decimal_begin(SummaryDecimalSum *sum, void *memory)
{
	memset(sum, 0, sizeof(*sum));
	sum->memory = memory;
}

/* Makes each digit less than the base; only the highest may be negative. */
static void
carry(SummaryDecimalSum *sum)
{
	int64_t		over = 0;

	for (int i = 0; i < sum->ndigits; i++)
	{
		int64_t		digit = sum->digits[i] + over;

		over = digit / BASE;
		digit %= BASE;
		if (digit < 0)
		{
			digit += BASE;
			over--;
		}
		sum->digits[i] = digit;
	}
	/* there are always digits to carry into, so this is -1 or 0 */
	if (sum->ndigits > 0)
		sum->digits[sum->ndigits - 1] += over * BASE;
	sum->pending = 0;
}

/* Makes room for digits at places from low to high, and to carry from there. */
static void
make_room(SummaryDecimalSum *sum, int low, int high)
{
	int			old_high = sum->low + sum->ndigits - 1;
	int64_t    *digits;

	high += 8;
	if (sum->ndigits > 0)
	{
		if (low >= sum->low && high <= old_high)
			return;
		low = low < sum->low ? low : sum->low;
		high = high > old_high ? high : old_high;
	}
	digits = summary_alloc(sum->memory, sizeof(int64_t) * (size_t) (high - low + 1));
	memset(digits, 0, sizeof(int64_t) * (size_t) (high - low + 1));
	if (sum->ndigits > 0)
	{
		memcpy(digits + (sum->low - low), sum->digits, sizeof(int64_t) * (size_t) sum->ndigits);
		summary_free(sum->digits);
	}
	sum->digits = digits;
	sum->low = low;
	sum->ndigits = high - low + 1;
}

/* Adds a number, whose digits are from 0 to some products of two, times a count. */
static void
add_digits(SummaryDecimalSum *sum, const int16_t *digits, int ndigits, int weight, int64_t factor, int64_t count)
{
	for (int j = 0; count != 0; j++, count /= BASE)
	{
		int64_t		times = factor * (count % BASE);
		int64_t    *place = &sum->digits[weight + j - sum->low];

		for (int i = 0; i < ndigits; i++)
			place[-i] += times * digits[i];
	}
	sum->pending += COUNT_DIGITS;
	if (sum->pending > MOST_PENDING)
		carry(sum);
}

/* Adds a number, so many times. */
void
summary_decimal_add(SummaryDecimalSum *sum, const SummaryDecimal *value, int64_t count)
{
	make_room(sum, value->weight - value->ndigits + 1, value->weight + COUNT_DIGITS);
	add_digits(sum, value->digits, value->ndigits, value->weight, value->negative ? -1 : 1, count);
}

/* Adds the square of a number, so many times. */
void
summary_decimal_add_square(SummaryDecimalSum *sum, const SummaryDecimal *value, int64_t count)
{
	make_room(sum, 2 * (value->weight - value->ndigits + 1), 2 * value->weight + COUNT_DIGITS);
	for (int i = 0; i < value->ndigits; i++)
	{
		if (i % 64 == 0)
			summary_interrupt();
		add_digits(sum, value->digits, value->ndigits, 2 * value->weight - i, value->digits[i], count);
	}
}

/* Adds a number of words, the lowest first, times 10000 ^ weight. */
void
summary_decimal_add_limbs(SummaryDecimalSum *sum, const uint64_t *limbs, int nlimbs, bool negative, int weight)
{
	uint64_t	rest[8];
	/* a word has 20 decimals */
	int			ndigits = 5 * nlimbs;

	memcpy(rest, limbs, sizeof(uint64_t) * (size_t) nlimbs);
	make_room(sum, weight, weight + ndigits);
	carry(sum);
	for (int i = 0; i < ndigits; i++)
	{
		uint64_t	remainder = 0;

		for (int j = nlimbs; j-- > 0;)
		{
			SummaryWide part = ((SummaryWide) remainder << 64) | rest[j];

			rest[j] = (uint64_t) (part / BASE);
			remainder = (uint64_t) (part % BASE);
		}
		sum->digits[weight + i - sum->low] += negative ? -(int64_t) remainder : (int64_t) remainder;
	}
}

/* The sum; it may go on. */
SummaryDecimal *
summary_decimal_result(SummaryDecimalSum *sum)
{
	SummaryDecimal *result = summary_alloc(sum->memory, summary_decimal_size(sum->ndigits));
	int			high = sum->ndigits - 1;
	int			low = 0;

	carry(sum);
	result->negative = high >= 0 && sum->digits[high] < 0;
	if (result->negative)
	{
		for (int i = 0; i < sum->ndigits; i++)
			sum->digits[i] = -sum->digits[i];
		carry(sum);
	}
	while (high >= 0 && sum->digits[high] == 0)
		high--;
	while (low < high && sum->digits[low] == 0)
		low++;
	result->ndigits = high < 0 ? 0 : high - low + 1;
	result->weight = high < 0 ? 0 : sum->low + high;
	for (int i = 0; i < result->ndigits; i++)
		result->digits[i] = (int16_t) sum->digits[high - i];
	if (result->negative)
	{
		for (int i = 0; i < sum->ndigits; i++)
			sum->digits[i] = -sum->digits[i];
	}
	return result;
}
