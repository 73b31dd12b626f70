/*-------------------------------------------------------------------------
 *
 * report_tally_set.c
 *		Which patients have a code at least once.
 *
 * By their numbers in the scope: a hash table while they are few, else bits.
 * Where that takes too much memory the codes of the item are given up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "report_tally.h"

#define FIRST_SLOTS 16

/* How many words the bits of all patients are. */
static inline uint32
words_of(uint32 npatients)
{
	return (npatients + 63) / 64;
}

/* Put a number into a table with room; false if it is there. */
static bool
put(uint32 *slots, uint32 nslots, uint32 patient)
{
	uint32		slot = murmurhash32(patient) & (nslots - 1);

	while (slots[slot] != 0)
	{
		if (slots[slot] == patient + 1)
			return false;
		slot = (slot + 1) & (nslots - 1);
	}
	slots[slot] = patient + 1;
	return true;
}

/* Forget the patients of all codes of an item. */
void
clinical_tally_set_give_up(Tally *tally, uint32 item)
{
	tally->item_states[item].codes_given_up = true;
	for (uint32 i = 0; i < tally->codes.count; i++)
	{
		TallySet   *set = &tally->sets[i];

		if (tally->codes.names[i].owner != item)
			continue;
		tally->sets_bytes -= sizeof(uint32) * set->nslots + (set->bits == NULL ? 0 : sizeof(uint64) * words_of(tally->npatients));
		if (set->slots != NULL)
			pfree(set->slots);
		if (set->bits != NULL)
			pfree(set->bits);
		*set = (TallySet) {0};
	}
}

/* Memory of a set; NULL: it would be too much. */
static void *
allocate(Tally *tally, Size size)
{
	if (tally->sets_bytes + size > tally_max_sets(tally->memory))
		return NULL;
	tally->sets_bytes += size;
	return MemoryContextAllocZero(tally->context, size);
}

/* Make bits of a table; false if there is no room for them. */
static bool
make_bits(Tally *tally, TallySet *set)
{
	set->bits = allocate(tally, sizeof(uint64) * words_of(tally->npatients));
	if (set->bits == NULL)
		return false;
	for (uint32 i = 0; i < set->nslots; i++)
	{
		if (set->slots[i] != 0)
			set->bits[(set->slots[i] - 1) / 64] |= UINT64CONST(1) << (set->slots[i] - 1) % 64;
	}
	return true;
}

/* Put the numbers into a table of so many slots; NULL if there is no room for it. */
static uint32 *
make_table(Tally *tally, const TallySet *set, uint32 nslots)
{
	uint32	   *slots = allocate(tally, sizeof(uint32) * nslots);

	for (uint32 i = 0; slots != NULL && i < set->nslots; i++)
	{
		if (set->slots[i] != 0)
			put(slots, nslots, set->slots[i] - 1);
	}
	return slots;
}

/* Make room for more: twice the table, or bits if they are smaller; false if there is none. */
static bool
grow(Tally *tally, TallySet *set)
{
	uint32		nslots = set->nslots == 0 ? FIRST_SLOTS : set->nslots * 2;
	uint32	   *slots = NULL;

	if (sizeof(uint32) * nslots < sizeof(uint64) * words_of(tally->npatients))
	{
		slots = make_table(tally, set, nslots);
		if (slots == NULL)
			return false;
	}
	else if (!make_bits(tally, set))
		return false;
	if (set->slots != NULL)
	{
		tally->sets_bytes -= sizeof(uint32) * set->nslots;
		pfree(set->slots);
	}
	set->slots = slots;
	set->nslots = slots == NULL ? 0 : nslots;
	return true;
}

/* The patient has the code. */
void
clinical_tally_set_add(Tally *tally, uint32 code, uint32 patient)
{
	TallySet   *set = &tally->sets[code];

	if (tally->item_states[tally->codes.names[code].owner].codes_given_up)
		return;
	if (set->bits == NULL && set->count >= set->nslots / 2 && !grow(tally, set))
		clinical_tally_set_give_up(tally, tally->codes.names[code].owner);
	else if (set->bits != NULL)
	{
		uint64		bit = UINT64CONST(1) << patient % 64;

		set->count += (set->bits[patient / 64] & bit) == 0;
		set->bits[patient / 64] |= bit;
	}
	else
		set->count += put(set->slots, set->nslots, patient);
}

/* So many bytes tally_set_write takes. */
Size
clinical_tally_set_size(const TallySet *set, uint32 npatients)
{
	return MAXALIGN(2 * sizeof(uint32) +
					(set->bits != NULL ? sizeof(uint64) * words_of(npatients) : sizeof(uint32) * set->count));
}

/* Write a set: its count, its words (0: a list), and them. */
void
clinical_tally_set_write(const TallySet *set, uint32 npatients, uint32 *image)
{
	uint32		n = 2;

	image[0] = set->count;
	image[1] = set->bits != NULL ? words_of(npatients) : 0;
	if (set->bits != NULL)
		memcpy(image + 2, set->bits, sizeof(uint64) * words_of(npatients));
	for (uint32 i = 0; i < set->nslots; i++)
	{
		if (set->slots[i] != 0)
			image[n++] = set->slots[i] - 1;
	}
}

/* Add a set that was written to that of a code. */
void
clinical_tally_set_merge(Tally *tally, uint32 code, const uint32 *image)
{
	const uint64 *words = (const uint64 *) (image + 2);

	for (uint32 i = 0; image[1] == 0 && i < image[0]; i++)
		clinical_tally_set_add(tally, code, image[2 + i]);
	for (uint32 i = 0; i < image[1]; i++)
	{
		CHECK_FOR_INTERRUPTS();
		for (uint64 word = words[i]; word != 0; word &= word - 1)
			clinical_tally_set_add(tally, code, i * 64 + (uint32) pg_rightmost_one_pos64(word));
	}
}
