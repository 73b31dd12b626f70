/*-------------------------------------------------------------------------
 *
 * summary_key.c
 *		Numbers as keys, and the ranks of quantiles.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "summary_kernel.h"

#define BASE 10000
/* The weight and the first digit from which on numbers may be beyond */
#define BOUND_WEIGHT 4
#define BOUND_DIGIT 170

static const uint64_t powers[] = {1, 10000, 100000000, 1000000000000, 10000000000000000};

/* The digit at a place; digits may lie anywhere. */
static inline int
digit_at(const char *digits, int i)
{
	int16_t		digit;

	memcpy(&digit, digits + (size_t) i * sizeof(digit), sizeof(digit));
	return digit;
}

/* So many digits as a whole number. */
static inline SummaryWide
whole_number(const char *digits, int ndigits)
{
	uint64_t	low = 0;
	SummaryWide number;
	int			i = 0;

	for (; i < ndigits && i < 4; i++)
		low = low * BASE + (uint64_t) digit_at(digits, i);
	number = low;
	for (; i < ndigits; i++)
		number = number * BASE + (SummaryWide) digit_at(digits, i);
	return number;
}

/*
 * The key of a decimal number, whose digits (as SummaryDecimal has them) may lie
 * anywhere.  True: it is the number; false: the number must be its tail.
 */
bool
summary_decimal_key(bool negative, int weight, int ndigits, const void *digits, SummaryKey *key)
{
	int			last = weight - ndigits + 1;
	bool		exact = last >= -SUMMARY_KEY_FRACTION;
	int			used;
	int			zeros;
	SummaryWide number;

	if (ndigits == 0)
	{
		*key = 0;
		return true;
	}
	if (weight > BOUND_WEIGHT || (weight == BOUND_WEIGHT && digit_at(digits, 0) >= BOUND_DIGIT))
	{
		*key = negative ? -SUMMARY_BOUND : SUMMARY_BOUND;
		return false;
	}
	used = exact ? ndigits : weight + SUMMARY_KEY_FRACTION + 1;
	number = used > 0 ? whole_number(digits, used) : 0;
	zeros = exact ? last + SUMMARY_KEY_FRACTION : 0;
	if (zeros >= 5)
	{
		number *= (SummaryWide) powers[4] * powers[1];
		zeros -= 5;
	}
	number *= powers[zeros];
	/* the next lower one, if it is not the number itself */
	*key = negative ? -(SummaryKey) number - !exact : (SummaryKey) number;
	return exact;
}

/* The key of a whole number; the bound, or minus it: the number must be its tail. */
SummaryKey
summary_integer_key(int64_t value)
{
	if (value >= SUMMARY_BOUND_INTEGER)
		return SUMMARY_BOUND;
	if (value <= -SUMMARY_BOUND_INTEGER)
		return -SUMMARY_BOUND;
	return value * SUMMARY_KEY_ONE;
}

/* The key of a double that is a number or infinite; -0 is 0. */
SummaryKey
summary_double_key(double value)
{
	int64_t		bits;

	if (value == 0)
		value = 0;
	memcpy(&bits, &value, sizeof(bits));
	/* of negative numbers the greater has the greater bits */
	return bits < 0 ? -(SummaryKey) (bits & INT64_MAX) : (SummaryKey) bits;
}

/* The double with a key. */
double
summary_key_double(SummaryKey key)
{
	uint64_t	bits = key < 0 ? (uint64_t) -key | ((uint64_t) 1 << 63) : (uint64_t) key;
	double		value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* The digits of a key that has no tail, at most 10, without zeros at either end. */
int
summary_key_digits(SummaryKey key, int16_t *digits, int *weight)
{
	SummaryWide number = key < 0 ? -(SummaryWide) key : (SummaryWide) key;
	int			ndigits = 0;
	int			last = -SUMMARY_KEY_FRACTION;

	*weight = 0;
	if (number == 0)
		return 0;
	for (; number % BASE == 0; number /= BASE)
		last++;
	for (SummaryWide rest = number; rest != 0; rest /= BASE)
		ndigits++;
	for (int i = ndigits; i-- > 0; number /= BASE)
		digits[i] = (int16_t) (number % BASE);
	*weight = last + ndigits - 1;
	return ndigits;
}

/* A decimal number of these digits, which may lie anywhere. */
SummaryDecimal *
summary_decimal_make(void *memory, bool negative, int weight, int ndigits, const void *digits)
{
	SummaryDecimal *decimal = summary_alloc(memory, summary_decimal_size(ndigits));

	decimal->negative = negative;
	decimal->weight = weight;
	decimal->ndigits = ndigits;
	memcpy(decimal->digits, digits, sizeof(int16_t) * (size_t) ndigits);
	return decimal;
}

/* The order of two decimal numbers without their signs; none of them is 0. */
static int
compare_magnitudes(const SummaryDecimal *left, const SummaryDecimal *right)
{
	if (left->weight != right->weight)
		return left->weight < right->weight ? -1 : 1;
	for (int i = 0; i < left->ndigits && i < right->ndigits; i++)
	{
		if (left->digits[i] != right->digits[i])
			return left->digits[i] < right->digits[i] ? -1 : 1;
	}
	return (left->ndigits > right->ndigits) - (left->ndigits < right->ndigits);
}

/* The order of two decimal numbers, none of them 0. */
int
summary_compare_decimals(const SummaryDecimal *left, const SummaryDecimal *right)
{
	if (left->negative != right->negative)
		return left->negative ? -1 : 1;
	return left->negative ? compare_magnitudes(right, left) : compare_magnitudes(left, right);
}

/*
 * The whole part of n times a fraction between 0 and 1, whose digits are those of
 * a SummaryDecimal.  exact: there is nothing after the point.
 */
int64_t
summary_rank(int64_t n, int weight, int ndigits, const int16_t *digits, bool *exact)
{
	SummaryWide product = 0;

	*exact = true;
	for (int i = ndigits; i-- > 0;)
	{
		product += (SummaryWide) n * (SummaryWide) digits[i];
		*exact = *exact && product % BASE == 0;
		product /= BASE;
	}
	for (; weight < -1; weight++)
	{
		*exact = *exact && product % BASE == 0;
		product /= BASE;
	}
	return (int64_t) product;
}
