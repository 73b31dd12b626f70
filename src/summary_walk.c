/*-------------------------------------------------------------------------
 *
 * summary_walk.c
 *		One pass over values in order: their sums, and the values of some ranks.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "summary_kernel.h"

/* Begin without values. */
void
summary_sums_begin(SummarySums *sums, void *memory, bool binary)
{
	memset(sums, 0, sizeof(*sums));
	sums->binary = binary;
	summary_decimal_begin(&sums->tail_sum, memory);
	summary_decimal_begin(&sums->tail_squares, memory);
	if (binary)
	{
		sums->binary_sum = summary_alloc(memory, sizeof(SummaryBinarySum));
		sums->binary_squares = summary_alloc(memory, sizeof(SummaryBinarySum));
		memset(sums->binary_sum, 0, sizeof(SummaryBinarySum));
		memset(sums->binary_squares, 0, sizeof(SummaryBinarySum));
	}
}

/* Adds words to words, or subtracts them. */
static inline void
add_words(uint64_t *to, const uint64_t *words, int nwords, bool negative)
{
	unsigned	over = 0;

	for (int i = 0; i < nwords; i++)
	{
		if (negative)
		{
			SummaryWide difference = (SummaryWide) to[i] - words[i] - over;

			to[i] = (uint64_t) difference;
			over = (unsigned) (difference >> 64) & 1;
		}
		else
		{
			SummaryWide total = (SummaryWide) to[i] + words[i] + over;

			to[i] = (uint64_t) total;
			over = (unsigned) (total >> 64);
		}
	}
}

/* Multiplies words by a word, into one word more. */
static inline void
multiply_words(uint64_t *words, int nwords, uint64_t factor)
{
	uint64_t	over = 0;

	for (int i = 0; i < nwords; i++)
	{
		SummaryWide product = (SummaryWide) words[i] * factor + over;

		words[i] = (uint64_t) product;
		over = (uint64_t) (product >> 64);
	}
	words[nwords] = over;
}

/* Adds a key without tail, so many times. */
static inline void
add_key(SummarySums *sums, SummaryKey key, uint64_t count)
{
	SummaryWide number = key < 0 ? -(SummaryWide) key : (SummaryWide) key;
	uint64_t	low = (uint64_t) number;
	uint64_t	high = (uint64_t) (number >> 64);
	SummaryWide middle = (SummaryWide) low * high;
	SummaryWide square = (SummaryWide) low * low;
	SummaryWide upper = (SummaryWide) high * high + (middle >> 63);
	uint64_t	words[5] = {low, high, 0};

	multiply_words(words, 2, count);
	add_words(sums->sum, words, 3, key < 0);
	words[0] = (uint64_t) square;
	square = (square >> 64) + (uint64_t) (middle << 1);
	words[1] = (uint64_t) square;
	upper += (uint64_t) (square >> 64);
	words[2] = (uint64_t) upper;
	words[3] = (uint64_t) (upper >> 64);
	words[4] = 0;
	if (count > 1)
		multiply_words(words, 4, count);
	add_words(sums->squares, words, 5, false);
}

/* Adds a value, as often as it occurs. */
void
summary_sums_add(SummarySums *sums, const SummaryEntry *entry)
{
	sums->n += entry->count;
	if (sums->binary)
	{
		double		value = summary_key_double(entry->key);

		summary_binary_add(sums->binary_sum, value, entry->count);
		summary_binary_add_square(sums->binary_squares, value, entry->count);
	}
	else if (entry->tail == NULL)
		add_key(sums, entry->key, (uint64_t) entry->count);
	else
	{
		summary_decimal_add(&sums->tail_sum, entry->tail, entry->count);
		summary_decimal_add_square(&sums->tail_squares, entry->tail, entry->count);
	}
}

/* The sum of decimal numbers; to be asked for once. */
SummaryDecimal *
summary_sums_total(SummarySums *sums)
{
	uint64_t	words[3] = {0};
	bool		negative = sums->sum[2] >> 63 != 0;

	add_words(words, sums->sum, 3, negative);
	summary_decimal_add_limbs(&sums->tail_sum, words, 3, negative, -SUMMARY_KEY_FRACTION);
	return summary_decimal_result(&sums->tail_sum);
}

/* The sum of their squares; to be asked for once. */
SummaryDecimal *
summary_sums_squares(SummarySums *sums)
{
	summary_decimal_add_limbs(&sums->tail_squares, sums->squares, 5, false, -2 * SUMMARY_KEY_FRACTION);
	return summary_decimal_result(&sums->tail_squares);
}

/*
 * Adds all values to the sums, and finds those of the ranks, which are in ascending
 * order and all among them.  Without sums (NULL) it ends with the last rank.
 */
void
summary_walk(SummaryMerge *merge, SummarySums *sums, SummaryPick **picks, size_t npicks)
{
	SummaryEntry entry;
	int64_t		seen = 0;
	size_t		done = 0;

	while ((sums != NULL || done < npicks) && summary_merge_next(merge, &entry))
	{
		const SummaryDecimal *tail = NULL;

		if (sums != NULL)
			summary_sums_add(sums, &entry);
		seen += entry.count;
		if (done == npicks || picks[done]->rank > seen)
			continue;
		if (entry.tail != NULL)
			tail = summary_decimal_make(merge->memory, entry.tail->negative, entry.tail->weight,
										entry.tail->ndigits, entry.tail->digits);
		for (; done < npicks && picks[done]->rank <= seen; done++)
		{
			picks[done]->entry = entry;
			picks[done]->entry.tail = tail;
		}
	}
}
