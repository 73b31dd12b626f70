/*-------------------------------------------------------------------------
 *
 * summary_binary.c
 *		Exact sums of doubles, and what is rounded of them.
 *
 * A sum of doubles is a whole number of units of 2 ^ -1074, a sum of their
 * squares one of 2 ^ -2148.  Nothing is rounded until the end, and then once: to
 * the nearest double, of two the even one.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <string.h>

#include "summary_kernel.h"

#define UNIT (-1074)
/* Each addition changes a digit by less than 2 ^ 32 */
#define MOST_PENDING ((int64_t) 1 << 30)
/* The digits of a quotient beyond those of the dividend: at least 126 + 2 * 55 bits */
#define FRACTION_DIGITS 8
#define MOST_DIGITS (SUMMARY_BINARY_DIGITS * 2 + FRACTION_DIGITS)

/* A number without sign: base 2 ^ 32, the lowest digit first */
typedef struct Magnitude
{
	int			ndigits;
	uint32_t	digits[MOST_DIGITS];
} Magnitude;

/* Takes a double apart: value = mantissa * 2 ^ (UNIT + exponent), without its sign. */
static uint64_t
take_apart(double value, int *exponent)
{
	uint64_t	bits;
	uint64_t	mantissa;

	memcpy(&bits, &value, sizeof(bits));
	mantissa = bits & (((uint64_t) 1 << 52) - 1);
	*exponent = (int) (bits >> 52 & 2047);
	if (*exponent == 0)
		return mantissa;
	*exponent -= 1;
	return mantissa | (uint64_t) 1 << 52;
}

/* Makes each digit less than the base; only the highest may be negative. */
static void
carry(SummaryBinarySum *sum)
{
	int64_t		over = 0;

	for (int i = 0; i < SUMMARY_BINARY_DIGITS - 1; i++)
	{
		int64_t		digit = sum->digits[i] + over;

		over = digit >> 32;
		sum->digits[i] = digit & 0xFFFFFFFF;
	}
	sum->digits[SUMMARY_BINARY_DIGITS - 1] += over;
	sum->pending = 0;
}

/* Adds a number of two words, times a count, times 2 ^ exponent. */
static void
add_product(SummaryBinarySum *sum, SummaryWide number, uint64_t count, int exponent, bool negative)
{
	int64_t    *place = &sum->digits[exponent / 32];
	SummaryWide low = (SummaryWide) (uint64_t) number * count;
	SummaryWide high = (number >> 64) * count + (low >> 64);
	/* 192 bits, shifted by up to 31 more */
	uint64_t	words[4];

	words[0] = (uint64_t) low;
	words[1] = (uint64_t) high;
	words[2] = (uint64_t) (high >> 64);
	words[3] = 0;
	exponent %= 32;
	if (exponent > 0)
	{
		for (int i = 3; i > 0; i--)
			words[i] = words[i] << exponent | words[i - 1] >> (64 - exponent);
		words[0] <<= exponent;
	}
	for (int i = 0; i < 4; i++)
	{
		int64_t		first = (int64_t) (words[i] & 0xFFFFFFFF);
		int64_t		second = (int64_t) (words[i] >> 32);

		if (words[i] == 0)
			continue;
		place[2 * i] += negative ? -first : first;
		place[2 * i + 1] += negative ? -second : second;
	}
	if (++sum->pending >= MOST_PENDING)
		carry(sum);
}

/* Adds a double, so many times. */
void
summary_binary_add(SummaryBinarySum *sum, double value, int64_t count)
{
	int			exponent;
	uint64_t	mantissa = take_apart(value, &exponent);

	add_product(sum, mantissa, (uint64_t) count, exponent, value < 0);
}

/* Adds the square of a double, so many times. */
void
summary_binary_add_square(SummaryBinarySum *sum, double value, int64_t count)
{
	int			exponent;
	uint64_t	mantissa = take_apart(value, &exponent);

	add_product(sum, (SummaryWide) mantissa * mantissa, (uint64_t) count, 2 * exponent, false);
}

/* The sum without its sign, which is returned. */
static bool
take_magnitude(SummaryBinarySum *sum, Magnitude *magnitude)
{
	bool		negative;

	carry(sum);
	negative = sum->digits[SUMMARY_BINARY_DIGITS - 1] < 0;
	if (negative)
	{
		for (int i = 0; i < SUMMARY_BINARY_DIGITS; i++)
			sum->digits[i] = -sum->digits[i];
		carry(sum);
	}
	magnitude->ndigits = SUMMARY_BINARY_DIGITS;
	for (int i = 0; i < SUMMARY_BINARY_DIGITS; i++)
		magnitude->digits[i] = (uint32_t) sum->digits[i];
	if (negative)
	{
		for (int i = 0; i < SUMMARY_BINARY_DIGITS; i++)
			sum->digits[i] = -sum->digits[i];
	}
	while (magnitude->ndigits > 0 && magnitude->digits[magnitude->ndigits - 1] == 0)
		magnitude->ndigits--;
	return negative;
}

/* Drops the zeros at the high end. */
static void
trim(Magnitude *number)
{
	while (number->ndigits > 0 && number->digits[number->ndigits - 1] == 0)
		number->ndigits--;
}

/* Multiplies by a word. */
static void
multiply(Magnitude *number, uint64_t factor)
{
	SummaryWide over = 0;

	for (int i = 0; i < number->ndigits || over != 0; i++)
	{
		if (i == number->ndigits)
			number->digits[number->ndigits++] = 0;
		over += (SummaryWide) number->digits[i] * factor;
		number->digits[i] = (uint32_t) over;
		over >>= 32;
	}
}

/* Divides by a word; true if there is a remainder. */
static bool
divide(Magnitude *number, uint64_t divisor)
{
	SummaryWide remainder = 0;

	for (int i = number->ndigits; i-- > 0;)
	{
		remainder = remainder << 32 | number->digits[i];
		number->digits[i] = (uint32_t) (remainder / divisor);
		remainder %= divisor;
	}
	trim(number);
	return remainder != 0;
}

/* Multiplies by the base, so many times. */
static void
shift_up(Magnitude *number, int ndigits)
{
	memmove(number->digits + ndigits, number->digits, sizeof(uint32_t) * (size_t) number->ndigits);
	memset(number->digits, 0, sizeof(uint32_t) * (size_t) ndigits);
	number->ndigits += number->ndigits == 0 ? 0 : ndigits;
}

/* Subtracts the square of a number; false if it is as much or more. */
static bool
subtract_square(Magnitude *number, const Magnitude *root)
{
	int64_t		over = 0;
	Magnitude	square = {2 * root->ndigits, {0}};

	for (int i = 0; i < root->ndigits; i++)
	{
		uint64_t	up = 0;

		for (int j = 0; j < root->ndigits; j++)
		{
			up += (uint64_t) root->digits[i] * root->digits[j] + square.digits[i + j];
			square.digits[i + j] = (uint32_t) up;
			up >>= 32;
		}
		square.digits[i + root->ndigits] = (uint32_t) up;
	}
	trim(&square);
	if (square.ndigits > number->ndigits)
		return false;
	for (int i = 0; i < number->ndigits; i++)
	{
		over += (int64_t) number->digits[i] - (i < square.ndigits ? square.digits[i] : 0);
		number->digits[i] = (uint32_t) over;
		over >>= 32;
	}
	trim(number);
	return over == 0 && number->ndigits > 0;
}

/* The bits of a number. */
static int
count_bits(const Magnitude *number)
{
	if (number->ndigits == 0)
		return 0;
	return 32 * number->ndigits - __builtin_clz(number->digits[number->ndigits - 1]);
}

/* The number without its lowest bits, if 128 remain at most; *rest: one of those was 1. */
static SummaryWide
highest_bits(const Magnitude *number, int drop, bool *rest)
{
	SummaryWide bits = 0;

	for (int i = number->ndigits; i-- > 0;)
	{
		int			place = 32 * i - drop;

		if (place >= 0)
			bits |= (SummaryWide) number->digits[i] << place;
		else if (place > -32)
		{
			bits |= number->digits[i] >> -place;
			*rest = *rest || number->digits[i] << (32 + place) != 0;
		}
		else
			*rest = *rest || number->digits[i] != 0;
	}
	return bits;
}

/* The double nearest to number * 2 ^ exponent, if a rest (less than 1) is added to the number. */
static double
round_to_double(SummaryWide number, int exponent, bool rest)
{
	int			drop = 0;
	SummaryWide half;

	/* 53 bits, and none below the smallest double's */
	while (number >> drop >> 53 != 0)
		drop++;
	if (exponent + drop < UNIT)
		drop = UNIT - exponent;
	if (drop == 0)
		return ldexp((double) (uint64_t) number, exponent);
	if (drop > 127)
		return 0;
	half = (SummaryWide) 1 << (drop - 1);
	rest = rest || (number & (half - 1)) != 0;
	if ((number & half) != 0 && (rest || (number >> drop & 1) != 0))
		number += half;
	return ldexp((double) (uint64_t) (number >> drop), exponent + drop);
}

/* The mean of n doubles. */
double
summary_binary_mean(SummaryBinarySum *sum, int64_t n)
{
	Magnitude	number;
	bool		negative = take_magnitude(sum, &number);
	bool		rest;
	int			drop;
	double		mean;

	shift_up(&number, FRACTION_DIGITS);
	rest = divide(&number, (uint64_t) n);
	drop = count_bits(&number) - 64;
	if (drop < 0)
		drop = 0;
	mean = round_to_double(highest_bits(&number, drop, &rest), UNIT - 32 * FRACTION_DIGITS + drop, rest);
	return negative ? -mean : mean;
}

/* The whole part of the square root. */
static uint64_t
square_root(SummaryWide square)
{
	uint64_t	root = 0;

	for (uint64_t bit = (uint64_t) 1 << 63; bit != 0; bit >>= 1)
	{
		if ((SummaryWide) (root | bit) * (root | bit) <= square)
			root |= bit;
	}
	return root;
}

/* The standard deviation of n doubles (n - 1), of which there are two at least. */
double
summary_binary_sd(SummaryBinarySum *sum, SummaryBinarySum *squares, int64_t n)
{
	Magnitude	variance;
	Magnitude	total;
	bool		rest;
	int			drop;
	SummaryWide square;
	uint64_t	root;

	/* (n * sum of squares - square of sum) / n / (n - 1), of which the square root */
	take_magnitude(squares, &variance);
	take_magnitude(sum, &total);
	multiply(&variance, (uint64_t) n);
	if (!subtract_square(&variance, &total))
		return 0;
	shift_up(&variance, FRACTION_DIGITS);
	rest = divide(&variance, (uint64_t) n);
	rest = divide(&variance, (uint64_t) n - 1) || rest;
	/* 125 or 126 bits of it: the exponent must be even, and the unit's and that of the fraction are */
	drop = count_bits(&variance) - 125;
	drop += drop & 1;
	square = highest_bits(&variance, drop, &rest);
	root = square_root(square);
	rest = rest || (SummaryWide) root * root != square;
	return round_to_double(root, UNIT + (drop - 32 * FRACTION_DIGITS) / 2, rest);
}

/* The mean of two doubles. */
double
summary_middle(double left, double right)
{
	double		sum = left + right;

	/* halving is exact where the sum was not; too large, the halves are exact */
	return isinf(sum) && !isinf(left) && !isinf(right) ? left / 2 + right / 2 : sum / 2;
}
