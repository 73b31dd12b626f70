/*-------------------------------------------------------------------------
 *
 * summary_test.c
 *		What counts, sorts and sums values, against what anybody would write.
 *
 *	summary_test CASES SEED
 *
 * Needs no server.  Prints a line for each property, as TAP has it.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "summary_kernel.h"

#define MOST 3000

static uint64_t seed;
static long interrupts;
static int	failures;

/* What the server gives the kernel. */
void *
summary_alloc(void *memory, size_t size)
{
	void	   *pointer = malloc(size + 1);

	(void) memory;
	if (pointer == NULL)
		abort();
	/* what nobody wrote must not be read */
	memset(pointer, 0x7F, size + 1);
	return pointer;
}

/* The same. */
void
summary_free(void *pointer)
{
	free(pointer);
}

/* The same. */
void
summary_interrupt(void)
{
	interrupts++;
}

/* A number from 0 to below a limit. */
static uint64_t
draw(uint64_t limit)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % limit;
}

/* Tells of a property. */
static void
tell(const char *name, long cases, long wrong)
{
	printf("%sok - %s: %ld cases%s\n", wrong == 0 ? "" : "not ", name, cases, wrong == 0 ? "" : ", some wrong");
	failures += wrong != 0;
}

/* A random decimal number: digits of base 10000 without zeros at the ends. */
static SummaryDecimal *
random_decimal(int most_digits, int highest)
{
	int			ndigits = (int) draw((uint64_t) most_digits + 1);
	SummaryDecimal *decimal = summary_alloc(NULL, summary_decimal_size(ndigits));

	decimal->ndigits = ndigits;
	decimal->negative = ndigits > 0 && draw(2) == 0;
	decimal->weight = ndigits == 0 ? 0 : highest - (int) draw(12);
	for (int i = 0; i < ndigits; i++)
		decimal->digits[i] = (int16_t) (draw(3) == 0 ? draw(3) * 4999 : draw(10000));
	if (ndigits > 0 && decimal->digits[0] == 0)
		decimal->digits[0] = 1;
	if (ndigits > 0 && decimal->digits[ndigits - 1] == 0)
		decimal->digits[ndigits - 1] = 170;
	return decimal;
}

/* The digit of a decimal number at a place, 0 where there is none. */
static int
digit_at(const SummaryDecimal *decimal, int place)
{
	int			i = decimal->weight - place;

	return i >= 0 && i < decimal->ndigits ? decimal->digits[i] : 0;
}

/* The order of two decimal numbers, digit by digit from far above to far below. */
static int
plain_order(const SummaryDecimal *left, const SummaryDecimal *right)
{
	for (int place = 40; place > -60; place--)
	{
		int			l = (left->negative ? -1 : 1) * digit_at(left, place);
		int			r = (right->negative ? -1 : 1) * digit_at(right, place);

		/* of two with one sign the first digit that differs decides; of two with other signs any that is not 0 */
		if (l != r)
			return l < r ? -1 : 1;
	}
	return 0;
}

/* A decimal number as an entry. */
static SummaryEntry
decimal_entry(const SummaryDecimal *decimal)
{
	SummaryEntry entry = {0, 1, NULL};

	if (!summary_decimal_key(decimal->negative, decimal->weight, decimal->ndigits, decimal->digits, &entry.key))
		entry.tail = decimal;
	return entry;
}

/* Keys are in the order of the numbers, and give them back. */
static void
test_keys(long cases)
{
	long		wrong = 0;

	for (long i = 0; i < cases; i++)
	{
		SummaryDecimal *a = random_decimal(1 + (int) draw(12), (int) draw(8));
		SummaryDecimal *b = random_decimal(1 + (int) draw(12), (int) draw(8));
		SummaryEntry left;
		SummaryEntry right;
		int16_t		digits[16];
		int			weight;

		if (draw(4) == 0)
		{
			/* neighbours */
			free(b);
			b = summary_decimal_make(NULL, a->negative, a->weight, a->ndigits, a->digits);
			if (b->ndigits > 0 && b->digits[b->ndigits - 1] > 1)
				b->digits[b->ndigits - 1] -= (int16_t) draw(2);
		}
		left = decimal_entry(a);
		right = decimal_entry(b);
		wrong += summary_compare(&left, &right) != plain_order(a, b);
		if (left.tail == NULL)
			wrong += summary_key_digits(left.key, digits, &weight) != a->ndigits || weight != a->weight ||
				(left.key < 0) != a->negative || memcmp(digits, a->digits, sizeof(int16_t) * (size_t) a->ndigits) != 0;
		free(a);
		free(b);
	}
	tell("keys of decimal numbers are in their order, and exact", cases, wrong);
}

/* A random double that is a number, of any size. */
static double
random_double(void)
{
	uint64_t	bits;
	double		value;

	do
	{
		bits = draw(4) == 0 ? draw(1000) : draw(UINT64_MAX) ^ (draw(2) << 63);
		memcpy(&value, &bits, sizeof(value));
	} while (!isfinite(value));
	return value;
}

/* The same of doubles. */
static void
test_doubles(long cases)
{
	long		wrong = 0;

	for (long i = 0; i < cases; i++)
	{
		double		a = random_double();
		double		b = draw(4) == 0 ? nextafter(a, 0) : random_double();
		SummaryKey	left = summary_double_key(a);
		SummaryKey	right = summary_double_key(b);

		wrong += (left > right) - (left < right) != (a > b) - (a < b);
		wrong += summary_key_double(left) != a;
	}
	tell("keys of doubles are in their order, and exact", cases, wrong);
}

/* Ranks: floor(n * p / 10 ^ k), and whether nothing is left over. */
static void
test_ranks(long cases)
{
	long		wrong = 0;

	for (long i = 0; i < cases; i++)
	{
		int			decimals = 1 + (int) draw(16);
		uint64_t	scale = 1;
		uint64_t	p;
		int64_t		n = (int64_t) (draw(2) == 0 ? 1 + draw(1000) : 1 + draw(INT64_MAX));
		int16_t		digits[4];
		int			ndigits = 4;
		int			weight = -1;
		int			first = 0;
		bool		exact;
		int64_t		rank;
		SummaryWide product;

		for (int j = 0; j < decimals; j++)
			scale *= 10;
		p = 1 + draw(scale - 1);
		product = (SummaryWide) n * p;
		for (uint64_t rest = p * (10000000000000000 / scale); ndigits > 0; rest /= 10000)
			digits[--ndigits] = (int16_t) (rest % 10000);
		ndigits = 4;
		for (; digits[first] == 0; first++)
		{
			weight--;
			ndigits--;
		}
		for (; digits[first + ndigits - 1] == 0;)
			ndigits--;
		rank = summary_rank(n, weight, ndigits, digits + first, &exact);
		wrong += rank != (int64_t) (product / scale) || exact != (product % scale == 0);
	}
	tell("ranks are those of exact products", cases, wrong);
}

/* What a run is written to, and read from in pieces */
typedef struct Bytes
{
	unsigned char *bytes;
	size_t		size;
	size_t		next;
	size_t		piece;
} Bytes;

/* Writes. */
static void
write_bytes(void *arg, const void *bytes, size_t size)
{
	Bytes	   *to = arg;

	to->bytes = realloc(to->bytes, to->size + size);
	memcpy(to->bytes + to->size, bytes, size);
	to->size += size;
}

/* Reads a piece. */
static const unsigned char *
read_bytes(void *arg, size_t *size)
{
	Bytes	   *from = arg;
	const unsigned char *piece = from->bytes + from->next;

	*size = from->size - from->next < from->piece ? from->size - from->next : from->piece;
	if (*size == 0)
		abort();
	from->next += *size;
	return piece;
}

/* The order of entries, for qsort. */
static int
order_entries(const void *left, const void *right)
{
	return summary_compare(left, right);
}

/* Values of one case, and how they are drawn */
typedef struct Values
{
	SummaryDecimal *decimals[MOST];
	SummaryEntry entries[MOST];
	int			count;
	int			scale;			/* of the data */
	bool		tails;
} Values;

/* Draws values: few or many different ones, whole multiples of the last decimal or any. */
static void
draw_values(Values *values)
{
	int			kind = (int) draw(4);
	SummaryKey	unit = 1;

	values->count = (int) draw(draw(3) == 0 ? MOST : 60);
	values->scale = kind == 3 ? SUMMARY_KEY_DECIMALS : (int) draw(SUMMARY_KEY_DECIMALS + 1);
	values->tails = kind == 3;
	for (int i = values->scale; i < SUMMARY_KEY_DECIMALS; i++)
		unit *= 10;
	for (int i = 0; i < values->count; i++)
	{
		SummaryEntry *entry = &values->entries[i];

		values->decimals[i] = NULL;
		entry->tail = NULL;
		entry->count = draw(5) == 0 ? (int64_t) draw((uint64_t) 1 << 40) + 1 : 1;
		if (kind == 3)
		{
			values->decimals[i] = random_decimal(8, (int) draw(7));
			entry->key = decimal_entry(values->decimals[i]).key;
			entry->tail = decimal_entry(values->decimals[i]).tail;
		}
		else
			entry->key = ((SummaryKey) draw(kind == 0 ? 20 : kind == 1 ? 100000 : (uint64_t) INT64_MAX / 100) - (draw(2) ? 10 : 0)) *
				(unit > SUMMARY_KEY_ONE / 100000 || kind < 2 ? unit : 1) % SUMMARY_BOUND;
		if (kind == 2 && entry->key % unit != 0)
			entry->key -= entry->key % unit;
	}
}

/* Writes what a table and a list have as a run, and empties them. */
static void
write_run(SummaryTable *table, SummaryList *list, const Values *values, Bytes *bytes, SummaryRun *run)
{
	SummaryWriter *writer = summary_alloc(NULL, sizeof(SummaryWriter));
	SummaryReader in_table;
	SummaryReader in_list;
	SummaryReader *readers[2] = {&in_table, &in_list};
	SummaryMerge merge;
	SummaryEntry entry;

	summary_table_sort(table);
	summary_list_sort(list);
	summary_reader_begin_entries(&in_table, table->slots, table->nentries);
	summary_reader_begin_keys(&in_list, list->keys, list->nkeys);
	summary_writer_begin(writer, values->scale, table->tail_bytes > 0, write_bytes, bytes);
	summary_merge_begin(&merge, NULL, readers, 2);
	while (summary_merge_next(&merge, &entry))
		summary_writer_put(writer, &entry);
	summary_writer_end(writer);
	*run = writer->run;
	if ((size_t) run->bytes != bytes->size)
		abort();
	if (merge.tail != NULL)
		free(merge.tail);
	free(writer);
	summary_table_clear(table);
	list->nkeys = 0;
}

/* Counts values by table, list, runs and merge. */
static long
count_values(Values *values, SummaryEntry *expected, int nexpected)
{
	SummaryTable table;
	SummaryList list;
	static Bytes bytes[MOST];
	static SummaryRun runs[MOST];
	static SummaryReader readers[MOST + 1];
	static SummaryReader *order[MOST + 1];
	SummaryMerge merge;
	SummaryEntry entry;
	SummaryEntry *sorted;
	int			nruns = 0;
	int			found = 0;
	long		wrong = 0;

	summary_table_begin(&table, NULL, 600 + draw(50000), draw(UINT64_MAX));
	summary_list_begin(&list, NULL, 1 + draw(1500));
	memset(bytes, 0, sizeof(bytes));
	for (int i = 0; i < values->count; i++)
	{
		const SummaryEntry *value = &values->entries[i];
		bool		listed = value->tail == NULL && value->count == 1 && draw(2) == 0;

		while (listed ? !summary_list_add(&list, value->key) : !summary_table_add(&table, value))
		{
			write_run(&table, &list, values, &bytes[nruns], &runs[nruns]);
			nruns++;
		}
	}
	sorted = summary_table_sorted(&table, NULL);
	summary_list_sort(&list);
	for (int i = 0; i < nruns; i++)
	{
		bytes[i].piece = 1 + draw(100);
		summary_reader_begin(&readers[i], NULL, &runs[i], read_bytes, &bytes[i]);
		order[i] = &readers[i];
	}
	summary_reader_begin_entries(&readers[nruns], sorted, table.nentries);
	order[nruns] = &readers[nruns];
	summary_reader_begin_keys(&readers[nruns + 1], list.keys, list.nkeys);
	order[nruns + 1] = &readers[nruns + 1];
	summary_merge_begin(&merge, NULL, order, nruns + 2);
	while (summary_merge_next(&merge, &entry))
	{
		wrong += found >= nexpected || summary_compare(&entry, &expected[found]) != 0 || entry.count != expected[found].count;
		found++;
	}
	wrong += found != nexpected;
	for (int i = 0; i < nruns; i++)
	{
		free(bytes[i].bytes);
		free(readers[i].tail);
	}
	free(merge.tail);
	free(sorted);
	summary_table_sort(&table);
	summary_table_clear(&table);
	summary_table_end(&table);
	summary_list_end(&list);
	return wrong;
}

/* Values are counted as by sorting them all. */
static void
test_counts(long cases)
{
	static Values values;
	static SummaryEntry expected[MOST];
	long		wrong = 0;

	for (long i = 0; i < cases; i++)
	{
		int			n = 0;

		draw_values(&values);
		memcpy(expected, values.entries, sizeof(SummaryEntry) * (size_t) values.count);
		qsort(expected, (size_t) values.count, sizeof(SummaryEntry), order_entries);
		for (int j = 0; j < values.count; j++)
		{
			if (n > 0 && summary_compare(&expected[n - 1], &expected[j]) == 0)
				expected[n - 1].count += expected[j].count;
			else
				expected[n++] = expected[j];
		}
		wrong += count_values(&values, expected, n);
		for (int j = 0; j < values.count; j++)
			free(values.decimals[j]);
	}
	tell("values are counted as by sorting them all, through runs in pieces", cases, wrong);
}

/* True if a sum is a whole number times 10 ^ -20 (or, of squares, 10 ^ -40). */
static bool
is_number(const SummaryDecimal *sum, __int128 number, int last)
{
	SummaryWide rest = number < 0 ? -(SummaryWide) number : (SummaryWide) number;

	if (sum->negative != (number < 0) && number != 0)
		return false;
	for (int place = last; place < last + 12; place++)
	{
		if (digit_at(sum, place) != (int) (rest % 10000))
			return false;
		rest /= 10000;
	}
	return sum->ndigits == 0 || (sum->weight < last + 12 && sum->weight - sum->ndigits + 1 >= last);
}

/* Exact sums, of keys and of numbers with tails, against sums in 128 bits. */
static void
test_decimal_sums(long cases)
{
	long		wrong = 0;

	for (long i = 0; i < cases; i++)
	{
		SummarySums sums;
		SummaryDecimal *total;
		SummaryDecimal *squares;
		__int128	sum = 0;
		__int128	square = 0;
		int			n = 1 + (int) draw(100);

		summary_sums_begin(&sums, NULL, false);
		for (int j = 0; j < n; j++)
		{
			/* up to 10 ^ 14, so that squares times counts and the number of values stay below 2 ^ 127 */
			int64_t		number = (int64_t) draw(draw(2) ? 100000000000000 : 1000) - (draw(2) ? 500 : 50000000000000);
			int64_t		count = 1 + (int64_t) draw(draw(3) ? 1 : 10000);
			SummaryEntry entry = {number, count, NULL};
			int16_t		digits[16];
			int			weight;

			if (number != 0 && draw(2) == 0)
			{
				int			ndigits = summary_key_digits(number, digits, &weight);

				/* the sums of tails are another piece of code, that does not ask why they are tails */
				entry.tail = summary_decimal_make(NULL, number < 0, weight, ndigits, digits);
			}
			sum += (__int128) number * count;
			square += (__int128) number * number * count;
			summary_sums_add(&sums, &entry);
			free((void *) (uintptr_t) entry.tail);
		}
		total = summary_sums_total(&sums);
		squares = summary_sums_squares(&sums);
		wrong += !is_number(total, sum, -SUMMARY_KEY_FRACTION) || !is_number(squares, square, -2 * SUMMARY_KEY_FRACTION);
		free(total);
		free(squares);
		free(sums.tail_sum.digits);
		free(sums.tail_squares.digits);
	}
	tell("sums of decimal numbers and squares are exact", cases, wrong);
}

/* The double nearest to the square root. */
static double
quad_sqrt(__float128 square)
{
	__float128	root = (__float128) sqrt((double) square);

	if (square == 0)
		return 0;
	for (int i = 0; i < 4; i++)
		root = (root + square / root) / 2;
	return (double) root;
}

/* Means and deviations of doubles, against 113 bits, where those are enough. */
static void
test_double_sums(long cases)
{
	long		wrong = 0;

	for (long i = 0; i < cases; i++)
	{
		SummarySums sums;
		__int128	sum = 0;
		__int128	square = 0;
		int64_t		n = 0;
		int			different = 1 + (int) draw(50);
		int			exponent = (int) draw(1700) - 1000;
		__float128	mean;
		__float128	variance;
		double		scale;

		summary_sums_begin(&sums, NULL, true);
		for (int j = 0; j < different; j++)
		{
			int64_t		number = (int64_t) draw(draw(2) ? (uint64_t) 1 << 44 : 100) - (draw(2) ? 50 : (int64_t) 1 << 43);
			int64_t		count = 1 + (int64_t) draw(draw(3) ? 1 : 1000);
			SummaryEntry entry = {0, count, NULL};

			entry.key = summary_double_key(ldexp((double) number, exponent));
			summary_sums_add(&sums, &entry);
			sum += (__int128) number * count;
			square += (__int128) number * number * count;
			n += count;
		}
		/* far from where doubles end, scaling by a power of two changes no digit */
		scale = ldexp(1, exponent);
		mean = (__float128) sum / n;
		wrong += summary_binary_mean(sums.binary_sum, n) != (double) mean * scale;
		if (n > 1 && (square < ((__int128) 1 << 126) / n))
		{
			variance = ((__float128) (square * n - sum * sum)) / ((__float128) n * (n - 1));
			if (sum < ((__int128) 1 << 62) && sum > -((__int128) 1 << 62))
				wrong += summary_binary_sd(sums.binary_sum, sums.binary_squares, n) != quad_sqrt(variance) * scale;
		}
		free(sums.binary_sum);
		free(sums.binary_squares);
	}
	tell("means and deviations of doubles are the exact ones, rounded once", cases, wrong);
}

/* The mean of doubles of any size is that of a value if all are one, and halves are exact. */
static void
test_double_ends(long cases)
{
	long		wrong = 0;

	for (long i = 0; i < cases; i++)
	{
		SummarySums sums;
		double		value = random_double();
		SummaryEntry entry = {summary_double_key(value), 1 + (int64_t) draw((uint64_t) 1 << draw(60)), NULL};

		summary_sums_begin(&sums, NULL, true);
		summary_sums_add(&sums, &entry);
		wrong += summary_binary_mean(sums.binary_sum, entry.count) != value;
		if (entry.count > 1)
			wrong += summary_binary_sd(sums.binary_sum, sums.binary_squares, entry.count) != 0;
		wrong += summary_middle(value, value) != value || summary_middle(value, -value) != 0;
		free(sums.binary_sum);
		free(sums.binary_squares);
	}
	tell("doubles of any size, any number of times", cases, wrong);
}

/* Big sorts look at interrupts. */
static void
test_interrupts(void)
{
	SummaryList list;
	SummaryTable table;
	long		wrong = 0;

	summary_list_begin(&list, NULL, 3000000);
	summary_table_begin(&table, NULL, SIZE_MAX, 1);
	for (int i = 0; i < 3000000; i++)
	{
		SummaryEntry entry = {(SummaryKey) draw(UINT64_MAX) * 77, 1, NULL};

		summary_list_add(&list, entry.key);
		if (i < 1000000)
			summary_table_add(&table, &entry);
	}
	interrupts = 0;
	summary_list_sort(&list);
	wrong += interrupts < 100;
	for (int i = 1; i < 3000000; i++)
		wrong += list.keys[i - 1] > list.keys[i];
	interrupts = 0;
	summary_table_sort(&table);
	wrong += interrupts < 100;
	for (size_t i = 1; i < table.nentries; i++)
		wrong += summary_compare(&table.slots[i - 1], &table.slots[i]) >= 0;
	summary_table_clear(&table);
	summary_table_end(&table);
	summary_list_end(&list);
	tell("large sorts can be interrupted", 2, wrong);
}

/* All properties. */
int
main(int argc, char **argv)
{
	long		cases = argc > 1 ? atol(argv[1]) : 100000;

	seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	seed = seed * 2654435761u + 88172645463325252u;
	test_keys(cases);
	test_doubles(cases);
	test_ranks(cases);
	test_counts(cases / 50 + 1);
	test_decimal_sums(cases / 10 + 1);
	test_double_sums(cases / 10 + 1);
	test_double_ends(cases / 10 + 1);
	test_interrupts();
	return failures > 0;
}
