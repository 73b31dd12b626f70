/*-------------------------------------------------------------------------
 *
 * report_tally_value.c
 *		How often each value is there.
 *
 * A numeric of up to 8 bytes is its own key.  Two that are equal may have
 * different bytes (3 and 3.0): they are put together when the figures are made of
 * them, so that the decimals of the data are known.  An item with more values
 * than there is room for is given up; the report then computes it otherwise.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "report_tally.h"

#define FIRST_SLOTS 1024

/* The hash of a value or code. */
static inline uint64
hash_count(const Tally *tally, uint64 key, uint32 cell, uint32 length)
{
	if (length > TALLY_SHORT && length != TALLY_CODE)
		key = hash_bytes_extended((const unsigned char *) tally->long_values + key, (int) length, 0);
	return tally_mix(key ^ ((uint64) cell << 32 | length) * UINT64CONST(0x9E3779B97F4A7C15));
}

/* A slot that is free, for what is not there yet. */
static TallyCount *
free_slot(Tally *tally, uint64 hash)
{
	uint32		slot = (uint32) hash & (tally->ncount_slots - 1);

	while (tally->counts[slot].count != 0)
		slot = (slot + 1) & (tally->ncount_slots - 1);
	return &tally->counts[slot];
}

/* Put all values into a table of so many slots, but those of items that were given up. */
static void
rebuild(Tally *tally, uint32 nslots)
{
	TallyCount *before = tally->counts;
	uint32		nbefore = tally->ncount_slots;

	tally->ncount_slots = nslots;
	tally->counts = MemoryContextAllocZero(tally->context, sizeof(TallyCount) * nslots);
	tally->ncounts = 0;
	for (uint32 i = 0; i < nbefore; i++)
	{
		const TallyCount *entry = &before[i];

		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if (entry->count == 0 ||
			(entry->length != TALLY_CODE && tally->item_states[tally->cells[entry->cell].item].given_up))
			continue;
		*free_slot(tally, hash_count(tally, entry->key, entry->cell, entry->length)) = *entry;
		tally->ncounts++;
	}
	if (before != NULL)
		pfree(before);
}

/* Keep the long values that are still counted, and no others. */
static void
compact_long(Tally *tally)
{
	char	   *before = tally->long_values;

	if (tally->nlong == 0)
		return;
	tally->long_values = MemoryContextAlloc(tally->context, tally->long_room);
	tally->nlong = 0;
	for (uint32 i = 0; i < tally->ncount_slots; i++)
	{
		TallyCount *entry = &tally->counts[i];

		if (entry->count == 0 || entry->length <= TALLY_SHORT || entry->length == TALLY_CODE)
			continue;
		memcpy(tally->long_values + tally->nlong, before + entry->key, entry->length);
		entry->key = tally->nlong;
		tally->nlong += entry->length;
	}
	pfree(before);
}

/* The values of an item are not counted. */
void
clinical_tally_give_up(Tally *tally, uint32 item)
{
	TallyItem  *state = &tally->item_states[item];

	if (state->given_up)
		return;
	state->given_up = true;
	state->nvalues = 0;
	rebuild(tally, tally->ncount_slots == 0 ? FIRST_SLOTS : tally->ncount_slots);
	compact_long(tally);
}

/* Give up the item that has most values. */
static void
give_up_one(Tally *tally)
{
	uint32		most = 0;

	for (uint32 i = 1; i < tally->items.count; i++)
	{
		if (tally->item_states[i].nvalues > tally->item_states[most].nvalues)
			most = i;
	}
	clinical_tally_give_up(tally, most);
}

/* See that there is room for one more. */
static inline void
make_room(Tally *tally)
{
	if (tally->ncounts - tally->ncode_counts >= tally_max_values(tally->memory))
		give_up_one(tally);
	if (tally->ncounts >= tally->ncount_slots / 2)
		rebuild(tally, tally->ncount_slots == 0 ? FIRST_SLOTS : tally->ncount_slots * 2);
}

/* Keep the bytes of a long value, and say where. */
static uint64
keep_long(Tally *tally, const char *bytes, uint32 length)
{
	uint64		at = tally->nlong;

	while (tally->long_room - tally->nlong < length)
	{
		tally->long_room = tally->long_room == 0 ? 4096 : tally->long_room * 2;
		tally->long_values = tally->long_values == NULL ? MemoryContextAlloc(tally->context, tally->long_room) :
			repalloc(tally->long_values, tally->long_room);
	}
	memcpy(tally->long_values + at, bytes, length);
	tally->nlong += length;
	return at;
}

/* Count a value that is longer than its key. */
static void
add_long(Tally *tally, uint32 item, uint32 cell, const char *bytes, uint32 length, uint64 times)
{
	uint64		at;
	uint32		slot;

	if (tally->nlong + length > tally_max_long(tally->memory))
		give_up_one(tally);
	if (tally->nlong + length > tally_max_long(tally->memory))
		clinical_tally_give_up(tally, item);
	if (tally->item_states[item].given_up)
		return;
	at = keep_long(tally, bytes, length);
	slot = (uint32) hash_count(tally, at, cell, length) & (tally->ncount_slots - 1);
	for (;; slot = (slot + 1) & (tally->ncount_slots - 1))
	{
		TallyCount *entry = &tally->counts[slot];

		if (entry->count == 0)
		{
			*entry = (TallyCount) {.key = at,.count = times,.cell = cell,.length = length};
			tally->ncounts++;
			tally->item_states[item].nvalues++;
			return;
		}
		if (entry->cell == cell && entry->length == length && memcmp(tally->long_values + entry->key, bytes, length) == 0)
		{
			entry->count += times;
			tally->nlong = at;
			return;
		}
	}
}

/* Count what is its own key; true if it is new. */
static inline bool
add_short(Tally *tally, uint64 key, uint32 cell, uint32 length, uint64 times)
{
	uint32		slot = (uint32) hash_count(tally, key, cell, length) & (tally->ncount_slots - 1);

	for (;; slot = (slot + 1) & (tally->ncount_slots - 1))
	{
		TallyCount *entry = &tally->counts[slot];

		if (entry->key == key && entry->cell == cell && entry->length == length && entry->count != 0)
		{
			entry->count += times;
			return false;
		}
		if (entry->count == 0)
		{
			*entry = (TallyCount) {.key = key,.count = times,.cell = cell,.length = length};
			tally->ncounts++;
			return true;
		}
	}
}

/* Count a number, by its bytes. */
void
clinical_tally_value(Tally *tally, uint32 item, uint32 cell, const char *bytes, uint32 length, uint64 times)
{
	uint64		key = 0;

	make_room(tally);
	if (tally->item_states[item].given_up)
		return;
	if (length > TALLY_SHORT)
	{
		add_long(tally, item, cell, bytes, length, times);
		return;
	}
	memcpy(&key, bytes, length);
	if (add_short(tally, key, cell, length, times))
		tally->item_states[item].nvalues++;
}

/* Count a code. */
void
clinical_tally_code_count(Tally *tally, uint32 code, uint32 group, uint64 times)
{
	make_room(tally);
	if (!add_short(tally, code, group, TALLY_CODE, times))
		return;
	if (++tally->ncode_counts > TALLY_MAX_CELLS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("report has too many codes")));
}
