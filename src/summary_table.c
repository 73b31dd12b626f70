/*-------------------------------------------------------------------------
 *
 * summary_table.c
 *		Values and how often each occurs, and their order.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "summary_kernel.h"

#define FEWEST_SLOTS 16
/* Fewer entries are sorted by insertion */
#define FEW 12
/* Between two looks at interrupts */
#define MANY 65536

/* Begin without values.  Table and tails take so many bytes at most, as long as there are two. */
void
summary_table_begin(SummaryTable *table, void *memory, size_t limit, uint64_t seed)
{
	memset(table, 0, sizeof(*table));
	table->memory = memory;
	table->limit = limit;
	table->seed = seed;
}

/* Mixes two words into one. */
static inline uint64_t
mix(uint64_t a, uint64_t b)
{
	SummaryWide product = (SummaryWide) a * b;

	return (uint64_t) product ^ (uint64_t) (product >> 64);
}

/* The hash of a value. */
static inline uint64_t
hash_entry(const SummaryTable *table, const SummaryEntry *entry)
{
	uint64_t	hash = mix((uint64_t) entry->key ^ table->seed,
						   (uint64_t) ((SummaryWide) entry->key >> 64) ^ 0x9E3779B97F4A7C15);

	if (entry->tail != NULL)
	{
		hash = mix(hash ^ (uint64_t) entry->tail->weight, 0xA0761D6478BD642F);
		for (int i = 0; i < entry->tail->ndigits; i++)
			hash = mix(hash ^ (uint64_t) entry->tail->digits[i], 0xE7037ED1A0B428DB);
	}
	return hash;
}

/* True if two values are one. */
static inline bool
same_value(const SummaryEntry *left, const SummaryEntry *right)
{
	if (left->key != right->key)
		return false;
	if (left->tail == NULL && right->tail == NULL)
		return true;
	return summary_compare(left, right) == 0;
}

/* The slot of a value, or the free one for it. */
static inline SummaryEntry *
find_slot(const SummaryTable *table, const SummaryEntry *entry)
{
	size_t		mask = table->nslots - 1;
	size_t		i = (size_t) hash_entry(table, entry) & mask;

	while (table->slots[i].count != 0 && !same_value(&table->slots[i], entry))
		i = (i + 1) & mask;
	return &table->slots[i];
}

/* Twice as many slots. */
static void
grow(SummaryTable *table)
{
	SummaryEntry *old = table->slots;
	size_t		nold = table->nslots;

	table->nslots = nold == 0 ? FEWEST_SLOTS : 2 * nold;
	table->slots = summary_alloc(table->memory, table->nslots * sizeof(SummaryEntry));
	memset(table->slots, 0, table->nslots * sizeof(SummaryEntry));
	for (size_t i = 0; i < nold; i++)
	{
		if (i % MANY == 0)
			summary_interrupt();
		if (old[i].count != 0)
			*find_slot(table, &old[i]) = old[i];
	}
	if (old != NULL)
		summary_free(old);
}

/* Makes room for one more value with so many bytes; false if that is too much. */
static bool
make_room(SummaryTable *table, size_t bytes)
{
	bool		full = table->nentries + table->nentries / 3 >= table->nslots;
	size_t		slots = full && table->nslots > 0 ? 2 * table->nslots : table->nslots;

	if (table->nentries >= FEWEST_SLOTS / 2 && slots * sizeof(SummaryEntry) + table->tail_bytes + bytes > table->limit)
		return false;
	if (full)
		grow(table);
	return true;
}

/* Adds a value, so many times; false if there is no room for one more.  Tails are copied. */
bool
summary_table_add(SummaryTable *table, const SummaryEntry *entry)
{
	SummaryEntry *slot = table->nslots == 0 ? NULL : find_slot(table, entry);
	const SummaryDecimal *tail = entry->tail;
	size_t		bytes = tail == NULL ? 0 : summary_decimal_size(tail->ndigits);

	if (slot != NULL && slot->count != 0)
	{
		slot->count += entry->count;
		return true;
	}
	if (entry->count == 0)
		return true;
	if (slot == NULL || bytes > 0 || table->nentries + table->nentries / 3 >= table->nslots)
	{
		if (!make_room(table, bytes))
			return false;
		slot = find_slot(table, entry);
	}
	*slot = *entry;
	if (tail != NULL)
	{
		slot->tail = summary_decimal_make(table->memory, tail->negative, tail->weight, tail->ndigits, tail->digits);
		table->tail_bytes += bytes;
	}
	table->nentries++;
	return true;
}

/* Copies what is not free. */
static void
gather(const SummaryTable *table, SummaryEntry *into)
{
	for (size_t i = 0; i < table->nslots; i++)
	{
		if (i % MANY == 0)
			summary_interrupt();
		if (table->slots[i].count != 0)
			*into++ = table->slots[i];
	}
}

/* The entries in ascending order, as a copy, except for the tails. */
SummaryEntry *
summary_table_sorted(const SummaryTable *table, void *memory)
{
	SummaryEntry *entries = summary_alloc(memory, (table->nentries + 1) * sizeof(SummaryEntry));

	gather(table, entries);
	summary_sort(entries, table->nentries, table->seed);
	return entries;
}

/* Puts the entries first in the slots, in ascending order; the table must be cleared then. */
void
summary_table_sort(SummaryTable *table)
{
	gather(table, table->slots);
	summary_sort(table->slots, table->nentries, table->seed);
}

/* Removes all values of a sorted table, and keeps the slots. */
void
summary_table_clear(SummaryTable *table)
{
	if (table->tail_bytes > 0)
	{
		for (size_t i = 0; i < table->nentries; i++)
		{
			if (table->slots[i].tail != NULL)
				summary_free((void *) (uintptr_t) table->slots[i].tail);
		}
	}
	if (table->nslots > 0)
		memset(table->slots, 0, table->nslots * sizeof(SummaryEntry));
	table->nentries = 0;
	table->tail_bytes = 0;
}

/* Gives the slots back; there are no values. */
void
summary_table_end(SummaryTable *table)
{
	if (table->slots != NULL)
		summary_free(table->slots);
	table->slots = NULL;
	table->nslots = 0;
}

/* Sorts a few entries. */
static void
insertion_sort(SummaryEntry *entries, size_t count)
{
	for (size_t i = 1; i < count; i++)
	{
		SummaryEntry entry = entries[i];
		size_t		j = i;

		for (; j > 0 && summary_compare(&entry, &entries[j - 1]) < 0; j--)
			entries[j] = entries[j - 1];
		entries[j] = entry;
	}
}

/* Parts entries at the last one's value; returns its place. */
static size_t
partition(SummaryEntry *entries, size_t count)
{
	SummaryEntry pivot = entries[count - 1];
	size_t		low = 0;

	/* no branch depends on the order: it moves one place for each that is less */
	for (size_t i = 0; i < count - 1; i++)
	{
		SummaryEntry entry = entries[i];
		size_t		less = summary_compare(&entry, &pivot) < 0;

		if (i % MANY == MANY - 1)
			summary_interrupt();
		entries[i] = entries[low];
		entries[low] = entry;
		low += less;
	}
	entries[count - 1] = entries[low];
	entries[low] = pivot;
	return low;
}

/*
 * Sorts entries, no two of one value: quicksort, since the library's cannot be
 * interrupted.  Pivots are drawn, so that no order of the entries is a bad one.
 */
void
summary_sort(SummaryEntry *entries, size_t count, uint64_t seed)
{
	while (count > FEW)
	{
		size_t		middle;
		size_t		draw;
		SummaryEntry pivot;

		summary_interrupt();
		seed = seed * 6364136223846793005 + 1442695040888963407;
		draw = (size_t) (seed >> 33) % count;
		pivot = entries[draw];
		entries[draw] = entries[count - 1];
		entries[count - 1] = pivot;
		middle = partition(entries, count);
		/* the smaller part first: so the stack has a logarithm of the count at most */
		if (middle < count - middle)
		{
			summary_sort(entries, middle, seed);
			entries += middle + 1;
			count -= middle + 1;
		}
		else
		{
			summary_sort(entries + middle + 1, count - middle - 1, seed);
			count = middle;
		}
	}
	insertion_sort(entries, count);
}
