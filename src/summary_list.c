/*-------------------------------------------------------------------------
 *
 * summary_list.c
 *		Keys as they come, and their order: for values most of which occur once.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "summary_kernel.h"

/* Fewer keys are sorted by insertion */
#define FEW 16
/* Keys are parted into 2 ^ 9 at most, and so that there are 8 in a part on average */
#define MOST_BITS 9
#define PART_BITS 3
/* Between two looks at interrupts */
#define MANY 65536

/* Begin without keys, with room for so many. */
void
summary_list_begin(SummaryList *list, void *memory, size_t room)
{
	list->keys = summary_alloc(memory, room * sizeof(SummaryKey));
	list->spare = summary_alloc(memory, room * sizeof(SummaryKey));
	list->nkeys = 0;
	list->room = room;
}

/* Gives its memory back. */
void
summary_list_end(SummaryList *list)
{
	summary_free(list->keys);
	summary_free(list->spare);
	memset(list, 0, sizeof(*list));
}

/* Sorts a few keys. */
static void
insertion_sort(SummaryKey *keys, size_t count)
{
	for (size_t i = 1; i < count; i++)
	{
		SummaryKey	key = keys[i];
		size_t		j = i;

		for (; j > 0 && keys[j - 1] > key; j--)
			keys[j] = keys[j - 1];
		keys[j] = key;
	}
}

/* The bits of a number. */
static int
count_bits(SummaryWide number)
{
	uint64_t	high = (uint64_t) (number >> 64);
	uint64_t	low = (uint64_t) number;

	if (high != 0)
		return 128 - __builtin_clzll(high);
	return low == 0 ? 0 : 64 - __builtin_clzll(low);
}

/* The lowest key, and how far the highest is from it. */
static SummaryWide
find_range(const SummaryKey *keys, size_t count, SummaryKey *lowest)
{
	SummaryKey	low = keys[0];
	SummaryKey	high = keys[0];

	for (size_t i = 1; i < count; i++)
	{
		if (i % MANY == 0)
			summary_interrupt();
		low = keys[i] < low ? keys[i] : low;
		high = keys[i] > high ? keys[i] : high;
	}
	*lowest = low;
	return (SummaryWide) high - (SummaryWide) low;
}

/* The part of a key. */
static inline size_t
part_of(SummaryKey key, SummaryKey lowest, int shift)
{
	return (size_t) (((SummaryWide) key - (SummaryWide) lowest) >> shift);
}

/* Moves keys into parts by their highest bits that differ, and says where each part ends. */
static void
move_to_parts(SummaryKey *keys, SummaryKey *spare, size_t count, SummaryKey lowest, int shift, size_t *ends, size_t nparts)
{
	size_t		start = 0;

	memset(ends, 0, nparts * sizeof(size_t));
	for (size_t i = 0; i < count; i++)
	{
		if (i % MANY == 0)
			summary_interrupt();
		ends[part_of(keys[i], lowest, shift)]++;
	}
	for (size_t i = 0; i < nparts; i++)
	{
		size_t		size = ends[i];

		ends[i] = start;
		start += size;
	}
	for (size_t i = 0; i < count; i++)
	{
		if (i % MANY == 0)
			summary_interrupt();
		spare[ends[part_of(keys[i], lowest, shift)]++] = keys[i];
	}
	for (size_t i = 0; i < count; i += MANY)
	{
		summary_interrupt();
		memcpy(keys + i, spare + i, (count - i < MANY ? count - i : MANY) * sizeof(SummaryKey));
	}
}

/*
 * Sorts keys by their highest bits that differ, and then each part of them: at most
 * 128 / 3 times over, whatever the keys are.
 */
static void
sort_keys(SummaryKey *keys, SummaryKey *spare, size_t count)
{
	size_t		ends[1 << MOST_BITS];
	SummaryKey	lowest;
	SummaryWide range;
	int			bits = count_bits(count) - PART_BITS;
	int			shift;
	size_t		start = 0;
	size_t		nparts;

	if (count <= FEW)
	{
		insertion_sort(keys, count);
		return;
	}
	range = find_range(keys, count, &lowest);
	if (range == 0)
		return;
	bits = bits < MOST_BITS ? bits : MOST_BITS;
	shift = count_bits(range) > bits ? count_bits(range) - bits : 0;
	nparts = (size_t) (range >> shift) + 1;
	move_to_parts(keys, spare, count, lowest, shift, ends, nparts);
	for (size_t i = 0; shift > 0 && i < nparts; i++)
	{
		if (ends[i] - start > 1)
			sort_keys(keys + start, spare, ends[i] - start);
		start = ends[i];
	}
}

/* Puts the keys in ascending order. */
void
summary_list_sort(SummaryList *list)
{
	sort_keys(list->keys, list->spare, list->nkeys);
}
