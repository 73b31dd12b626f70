/*-------------------------------------------------------------------------
 *
 * summary_kernel.h
 *		Values and how often each occurs: counted, put in order, summed exactly.
 *
 * Pure C: no header of the server, so that it runs in any process, and millions
 * of cases a minute can be tried.  Memory and the answer to interrupts are the
 * caller's.
 *
 * A value is a key, a fixed-point number of 128 bits with 20 decimals, of which
 * most of the values that people measure are whole multiples.  A decimal number
 * that is not one, or too large, has as key the next lower multiple, or the
 * bound, and itself as tail.  Of a double the key is its bits, in an order that
 * is that of the numbers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SUMMARY_KERNEL_H
#define SUMMARY_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* what palloc gives is aligned to 8 */
typedef __int128 SummaryKey __attribute__((aligned(8)));
typedef unsigned __int128 SummaryWide __attribute__((aligned(8)));

#define SUMMARY_KEY_DECIMALS 20
/* The same in digits of base 10000 */
#define SUMMARY_KEY_FRACTION 5
#define SUMMARY_KEY_ONE ((SummaryKey) 100000000 * 1000000000000)

/* Keys are from -SUMMARY_BOUND to SUMMARY_BOUND, and numbers from there on have these */
#define SUMMARY_BOUND_INTEGER INT64_C(1700000000000000000)
#define SUMMARY_BOUND (SUMMARY_BOUND_INTEGER * SUMMARY_KEY_ONE)

/* A decimal number: digits of base 10000, without zeros at either end; 0 has none */
typedef struct SummaryDecimal
{
	int32_t		weight;			/* the first digit counts 10000 ^ weight */
	int32_t		ndigits;
	bool		negative;
	int16_t		digits[];
} SummaryDecimal;

typedef struct SummaryEntry
{
	SummaryKey	key;
	int64_t		count;
	const SummaryDecimal *tail; /* NULL: none */
} SummaryEntry;

/* Values with their counts, in no order: a hash table with open addressing */
typedef struct SummaryTable
{
	void	   *memory;			/* for summary_alloc */
	SummaryEntry *slots;		/* count = 0: free */
	size_t		nslots;			/* a power of 2 */
	size_t		nentries;
	size_t		tail_bytes;		/* of all tails */
	size_t		limit;			/* of bytes */
	uint64_t	seed;			/* of the hash, so that tables are not in one order */
} SummaryTable;

/* Keys without tails, of values that occur once each, as they came */
typedef struct SummaryList
{
	SummaryKey *keys;			/* NULL: not in use */
	SummaryKey *spare;			/* to sort them */
	size_t		nkeys;
	size_t		room;
} SummaryList;

/*
 * A run: entries in ascending order, packed.  Keys are stored as differences in
 * units of the last decimal that any of the values has.
 */
typedef struct SummaryRun
{
	int64_t		nentries;
	int64_t		bytes;
	int32_t		decimals;		/* 0 to SUMMARY_KEY_DECIMALS; doubles: the latter */
	bool		tails;			/* some entry has one */
} SummaryRun;

typedef struct SummaryWriter
{
	SummaryRun	run;
	SummaryKey	last;
	SummaryWide inverse;		/* of the odd part of the unit, modulo 2 ^ 128 */
	int			shift;			/* the even part */
	void		(*write) (void *arg, const void *bytes, size_t size);
	void	   *arg;
	size_t		used;
	unsigned char buffer[8192];
} SummaryWriter;

/* Reads a run, or entries or keys in memory */
typedef struct SummaryReader
{
	SummaryEntry entry;			/* the current one */
	const SummaryEntry *entries;	/* in memory: the next one */
	const SummaryKey *keys;		/* or this */
	int64_t		left;			/* entries to come */
	SummaryWide unit;
	bool		tails;
	const unsigned char *next;	/* bytes of a run */
	const unsigned char *end;
	/* gives further bytes, at least one, until the next call */
	const unsigned char *(*refill) (void *arg, size_t *size);
	void	   *arg;
	void	   *memory;
	SummaryDecimal *tail;		/* the entry's */
	size_t		tail_room;
} SummaryReader;

/* Readers merged into one; their entries of one value become one */
typedef struct SummaryMerge
{
	SummaryReader **heap;
	int			nreaders;
	unsigned	calls;
	void	   *memory;
	SummaryDecimal *tail;		/* the last entry's */
	size_t		tail_room;
} SummaryMerge;

/* An exact sum of decimal numbers: base 10000, digits not carried yet */
typedef struct SummaryDecimalSum
{
	void	   *memory;
	int64_t    *digits;
	int			low;			/* digits[0] counts 10000 ^ low */
	int			ndigits;
	int64_t		pending;		/* products added to a digit since it was carried */
} SummaryDecimalSum;

/* An exact sum of doubles, or of their squares: base 2 ^ 32, digits not carried yet */
#define SUMMARY_BINARY_DIGITS 140
typedef struct SummaryBinarySum
{
	int64_t		digits[SUMMARY_BINARY_DIGITS];
	int64_t		pending;
} SummaryBinarySum;

/* The sums of values and of their squares, each as often as it occurs */
typedef struct SummarySums
{
	bool		binary;			/* of doubles */
	int64_t		n;
	/* keys without tails: two's complement, and positive */
	uint64_t	sum[3];
	uint64_t	squares[5];
	/* numbers that have tails */
	SummaryDecimalSum tail_sum;
	SummaryDecimalSum tail_squares;
	SummaryBinarySum *binary_sum;	/* each with units of the smallest double, or its square */
	SummaryBinarySum *binary_squares;
} SummarySums;

/* The value of a rank, from 1 */
typedef struct SummaryPick
{
	int64_t		rank;
	SummaryEntry entry;
} SummaryPick;

/* the library does not export them */
#pragma GCC visibility push(hidden)

/* by the caller: memory (does not fail), and a place to stop at, from where nobody may return */
extern void *summary_alloc(void *memory, size_t size);
extern void summary_free(void *pointer);
extern void summary_interrupt(void);

/* summary_key.c: numbers as keys */
extern bool summary_decimal_key(bool negative, int weight, int ndigits, const void *digits, SummaryKey *key);
extern SummaryKey summary_double_key(double value);
extern double summary_key_double(SummaryKey key);
extern SummaryKey summary_integer_key(int64_t value);
extern int	summary_key_digits(SummaryKey key, int16_t *digits, int *weight);
extern SummaryDecimal *summary_decimal_make(void *memory, bool negative, int weight, int ndigits, const void *digits);
extern int	summary_compare_decimals(const SummaryDecimal *left, const SummaryDecimal *right);
extern int64_t summary_rank(int64_t n, int weight, int ndigits, const int16_t *digits, bool *exact);

/* summary_table.c: values and how often each occurs */
extern void summary_table_begin(SummaryTable *table, void *memory, size_t limit, uint64_t seed);
extern bool summary_table_add(SummaryTable *table, const SummaryEntry *entry);
extern SummaryEntry *summary_table_sorted(const SummaryTable *table, void *memory);
extern void summary_table_sort(SummaryTable *table);
extern void summary_table_clear(SummaryTable *table);
extern void summary_table_end(SummaryTable *table);
extern void summary_sort(SummaryEntry *entries, size_t count, uint64_t seed);

/* summary_list.c: keys */
extern void summary_list_begin(SummaryList *list, void *memory, size_t room);
extern void summary_list_end(SummaryList *list);
extern void summary_list_sort(SummaryList *list);

/* summary_run.c: runs, written, read and merged */
extern void summary_writer_begin(SummaryWriter *writer, int decimals, bool tails,
								 void (*write) (void *arg, const void *bytes, size_t size), void *arg);
extern void summary_writer_put(SummaryWriter *writer, const SummaryEntry *entry);
extern void summary_writer_end(SummaryWriter *writer);
extern void summary_reader_begin(SummaryReader *reader, void *memory, const SummaryRun *run,
								 const unsigned char *(*refill) (void *arg, size_t *size), void *arg);
extern void summary_reader_begin_entries(SummaryReader *reader, const SummaryEntry *entries, size_t count);
extern void summary_reader_begin_keys(SummaryReader *reader, const SummaryKey *keys, size_t count);
extern bool summary_reader_next(SummaryReader *reader);
extern void summary_merge_begin(SummaryMerge *merge, void *memory, SummaryReader **readers, int nreaders);
extern bool summary_merge_next(SummaryMerge *merge, SummaryEntry *entry);

/* summary_decimal.c: exact sums of decimal numbers */
extern void summary_decimal_begin(SummaryDecimalSum *sum, void *memory);
extern void summary_decimal_add(SummaryDecimalSum *sum, const SummaryDecimal *value, int64_t count);
extern void summary_decimal_add_square(SummaryDecimalSum *sum, const SummaryDecimal *value, int64_t count);
extern void summary_decimal_add_limbs(SummaryDecimalSum *sum, const uint64_t *limbs, int nlimbs, bool negative, int weight);
extern SummaryDecimal *summary_decimal_result(SummaryDecimalSum *sum);

/* summary_binary.c: exact sums of doubles, and what is rounded of them */
extern void summary_binary_add(SummaryBinarySum *sum, double value, int64_t count);
extern void summary_binary_add_square(SummaryBinarySum *sum, double value, int64_t count);
extern double summary_binary_mean(SummaryBinarySum *sum, int64_t n);
extern double summary_binary_sd(SummaryBinarySum *sum, SummaryBinarySum *squares, int64_t n);
extern double summary_middle(double left, double right);

/* summary_walk.c: the sums and the values of some ranks, in one pass */
extern void summary_sums_begin(SummarySums *sums, void *memory, bool binary);
extern void summary_sums_add(SummarySums *sums, const SummaryEntry *entry);
extern SummaryDecimal *summary_sums_total(SummarySums *sums);
extern SummaryDecimal *summary_sums_squares(SummarySums *sums);
extern void summary_walk(SummaryMerge *merge, SummarySums *sums, SummaryPick **picks, size_t npicks);

#pragma GCC visibility pop

/* The order of two values. */
static inline int
summary_compare(const SummaryEntry *left, const SummaryEntry *right)
{
	if (left->key != right->key)
		return left->key < right->key ? -1 : 1;
	if (left->tail == NULL || right->tail == NULL)
		return (left->tail != NULL) - (right->tail != NULL);
	return summary_compare_decimals(left->tail, right->tail);
}

/* Adds a key; false if there is no room for it. */
static inline bool
summary_list_add(SummaryList *list, SummaryKey key)
{
	if (list->nkeys == list->room)
		return false;
	list->keys[list->nkeys++] = key;
	return true;
}

/* The bytes of a decimal number. */
static inline size_t
summary_decimal_size(int ndigits)
{
	return offsetof(SummaryDecimal, digits) + sizeof(int16_t) * (size_t) ndigits;
}

#endif							/* SUMMARY_KERNEL_H */
