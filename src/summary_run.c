/*-------------------------------------------------------------------------
 *
 * summary_run.c
 *		Runs of entries: written, read and merged.
 *
 * An entry is, in bytes of 7 bits with a sign that more follow: the difference of
 * its key from the one before it, in units; the count; and in a run with tails the
 * number of the tail's digits plus 1, or 0, and then its weight and sign, and the
 * digits.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "summary_kernel.h"

#define MOST_VARINT 19
/* Between two looks at interrupts */
#define MANY 4096

/* The odd part of the unit in which keys with so many decimals are whole: 5 ^ (20 - decimals). */
static SummaryWide
odd_unit(int decimals)
{
	SummaryWide unit = 1;

	for (int i = decimals; i < SUMMARY_KEY_DECIMALS; i++)
		unit *= 5;
	return unit;
}

/* Begin to write a run. */
void
summary_writer_begin(SummaryWriter *writer, int decimals, bool tails,
					 void (*write) (void *arg, const void *bytes, size_t size), void *arg)
{
	SummaryWide odd = odd_unit(decimals);

	writer->run.nentries = 0;
	writer->run.bytes = 0;
	writer->run.decimals = decimals;
	writer->run.tails = tails;
	writer->last = -SUMMARY_BOUND;
	writer->shift = SUMMARY_KEY_DECIMALS - decimals;
	/* each step doubles the bits that are right, of which there are 3 at first */
	writer->inverse = odd;
	for (int bits = 3; bits < 128; bits *= 2)
		writer->inverse *= 2 - odd * writer->inverse;
	writer->write = write;
	writer->arg = arg;
	writer->used = 0;
}

/* Gives the bytes away. */
static void
flush_writer(SummaryWriter *writer)
{
	if (writer->used > 0)
		writer->write(writer->arg, writer->buffer, writer->used);
	writer->run.bytes += (int64_t) writer->used;
	writer->used = 0;
}

/* Writes a number, for which there is room. */
static inline void
put_number(SummaryWriter *writer, SummaryWide number)
{
	unsigned char *bytes = writer->buffer + writer->used;
	uint64_t	low;

	for (; number >> 64 != 0; number >>= 7)
		*bytes++ = (unsigned char) (number & 127) | 128;
	for (low = (uint64_t) number; low > 127; low >>= 7)
		*bytes++ = (unsigned char) (low & 127) | 128;
	*bytes++ = (unsigned char) low;
	writer->used = (size_t) (bytes - writer->buffer);
}

/* Writes a tail. */
static void
put_tail(SummaryWriter *writer, const SummaryDecimal *tail)
{
	put_number(writer, tail == NULL ? 0 : (SummaryWide) tail->ndigits + 1);
	if (tail == NULL)
		return;
	/* weights are from -2 ^ 15 to 2 ^ 15 */
	put_number(writer, (SummaryWide) ((tail->weight + 65536) * 2 + tail->negative));
	for (int i = 0; i < tail->ndigits; i++)
	{
		if (writer->used + MOST_VARINT > sizeof(writer->buffer))
			flush_writer(writer);
		put_number(writer, (SummaryWide) tail->digits[i]);
	}
}

/* Writes an entry, that is not less than the one before it. */
void
summary_writer_put(SummaryWriter *writer, const SummaryEntry *entry)
{
	SummaryWide difference = (SummaryWide) entry->key - (SummaryWide) writer->last;

	if (writer->used + 4 * MOST_VARINT > sizeof(writer->buffer))
		flush_writer(writer);
	/* it is a multiple of the unit, so this is what division gives */
	put_number(writer, (difference >> writer->shift) * writer->inverse);
	put_number(writer, (SummaryWide) entry->count);
	if (writer->run.tails)
		put_tail(writer, entry->tail);
	writer->last = entry->key;
	writer->run.nentries++;
}

/* Ends a run: writer->run tells of it. */
void
summary_writer_end(SummaryWriter *writer)
{
	flush_writer(writer);
}

/* Begin to read a run; the first entry comes with summary_reader_next. */
void
summary_reader_begin(SummaryReader *reader, void *memory, const SummaryRun *run,
					 const unsigned char *(*refill) (void *arg, size_t *size), void *arg)
{
	memset(reader, 0, sizeof(*reader));
	reader->memory = memory;
	reader->left = run->nentries;
	reader->unit = odd_unit(run->decimals) << (SUMMARY_KEY_DECIMALS - run->decimals);
	reader->tails = run->tails;
	reader->refill = refill;
	reader->arg = arg;
	reader->entry.key = -SUMMARY_BOUND;
}

/* Begin to read entries in memory. */
void
summary_reader_begin_entries(SummaryReader *reader, const SummaryEntry *entries, size_t count)
{
	memset(reader, 0, sizeof(*reader));
	reader->entries = entries;
	reader->left = (int64_t) count;
}

/* Begin to read keys in memory, in ascending order. */
void
summary_reader_begin_keys(SummaryReader *reader, const SummaryKey *keys, size_t count)
{
	memset(reader, 0, sizeof(*reader));
	reader->keys = keys;
	reader->left = (int64_t) count;
}

/* The next byte. */
static inline unsigned
get_byte(SummaryReader *reader)
{
	if (reader->next == reader->end)
	{
		size_t		size;

		reader->next = reader->refill(reader->arg, &size);
		reader->end = reader->next + size;
	}
	return *reader->next++;
}

/* The next number. */
static inline SummaryWide
get_number(SummaryReader *reader)
{
	unsigned	byte = get_byte(reader);
	uint64_t	low = byte & 127;
	SummaryWide number;
	int			shift = 7;

	for (; byte > 127 && shift < 63; shift += 7)
	{
		byte = get_byte(reader);
		low |= (uint64_t) (byte & 127) << shift;
	}
	number = low;
	for (; byte > 127; shift += 7)
	{
		byte = get_byte(reader);
		number |= (SummaryWide) (byte & 127) << shift;
	}
	return number;
}

/* A place for a decimal number of so many digits. */
static SummaryDecimal *
decimal_room(void *memory, SummaryDecimal *old, size_t *room, int ndigits)
{
	size_t		size = summary_decimal_size(ndigits);

	if (size <= *room)
		return old;
	if (old != NULL)
		summary_free(old);
	*room = 2 * size;
	return summary_alloc(memory, *room);
}

/* Reads a tail. */
static const SummaryDecimal *
get_tail(SummaryReader *reader)
{
	int			ndigits = (int) get_number(reader) - 1;
	int			weight_and_sign;

	if (ndigits < 0)
		return NULL;
	weight_and_sign = (int) get_number(reader);
	reader->tail = decimal_room(reader->memory, reader->tail, &reader->tail_room, ndigits);
	reader->tail->ndigits = ndigits;
	reader->tail->weight = weight_and_sign / 2 - 65536;
	reader->tail->negative = weight_and_sign % 2 != 0;
	for (int i = 0; i < ndigits; i++)
		reader->tail->digits[i] = (int16_t) get_number(reader);
	return reader->tail;
}

/* The next key, as often as it occurs. */
static inline void
next_key(SummaryReader *reader)
{
	reader->entry.key = *reader->keys++;
	reader->entry.count = 1;
	for (; reader->left > 0 && *reader->keys == reader->entry.key; reader->left--)
	{
		reader->keys++;
		reader->entry.count++;
	}
}

/* Reads an entry into reader->entry; it is good until the next call.  False: there is none. */
bool
summary_reader_next(SummaryReader *reader)
{
	if (reader->left == 0)
		return false;
	reader->left--;
	if (reader->keys != NULL)
	{
		next_key(reader);
		return true;
	}
	if (reader->entries != NULL)
	{
		reader->entry = *reader->entries++;
		return true;
	}
	reader->entry.key = (SummaryKey) ((SummaryWide) reader->entry.key + get_number(reader) * reader->unit);
	reader->entry.count = (int64_t) get_number(reader);
	if (reader->tails)
		reader->entry.tail = get_tail(reader);
	return true;
}

/* Moves the first reader down to its place among those from there on. */
static void
sift_down(SummaryMerge *merge, int place)
{
	SummaryReader **heap = merge->heap;
	SummaryReader *moved = heap[place];

	for (int child; (child = 2 * place + 1) < merge->nreaders; place = child)
	{
		if (child + 1 < merge->nreaders && summary_compare(&heap[child + 1]->entry, &heap[child]->entry) < 0)
			child++;
		if (summary_compare(&moved->entry, &heap[child]->entry) <= 0)
			break;
		heap[place] = heap[child];
	}
	heap[place] = moved;
}

/* Begin to merge readers, of which nothing was read yet; their order is changed. */
void
summary_merge_begin(SummaryMerge *merge, void *memory, SummaryReader **readers, int nreaders)
{
	memset(merge, 0, sizeof(*merge));
	merge->memory = memory;
	merge->heap = readers;
	for (int i = 0; i < nreaders; i++)
	{
		if (summary_reader_next(readers[i]))
			merge->heap[merge->nreaders++] = readers[i];
	}
	for (int i = merge->nreaders / 2; i-- > 0;)
		sift_down(merge, i);
}

/* Keeps a tail when its reader goes on. */
static const SummaryDecimal *
keep_tail(SummaryMerge *merge, const SummaryDecimal *tail)
{
	merge->tail = decimal_room(merge->memory, merge->tail, &merge->tail_room, tail->ndigits);
	memcpy(merge->tail, tail, summary_decimal_size(tail->ndigits));
	return merge->tail;
}

/* The next value, with the counts that all readers have of it; good until the next call. */
bool
summary_merge_next(SummaryMerge *merge, SummaryEntry *entry)
{
	if (++merge->calls % MANY == 0)
		summary_interrupt();
	if (merge->nreaders == 0)
		return false;
	*entry = merge->heap[0]->entry;
	if (entry->tail != NULL)
		entry->tail = keep_tail(merge, entry->tail);
	for (int64_t more = 0;; more = merge->heap[0]->entry.count)
	{
		entry->count += more;
		if (!summary_reader_next(merge->heap[0]))
			merge->heap[0] = merge->heap[--merge->nreaders];
		if (merge->nreaders > 1)
			sift_down(merge, 0);
		if (merge->nreaders == 0 || summary_compare(&merge->heap[0]->entry, entry) != 0)
			return true;
	}
}
