/*-------------------------------------------------------------------------
 *
 * summary_number.c
 *		Numerics as entries, and entries as numerics.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "libpq/pqformat.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "compat.h"
#include "summary_state.h"

/*
 * The server keeps to itself how a numeric lies on disk, which cannot change: a
 * header of 16 bits, in the long form the weight in 16 more, and then digits of
 * base 10000.
 */
#define FORM_MASK 0xC000		/* of the header */
#define FORM_NEGATIVE 0x4000	/* long form; else it is positive */
#define FORM_SHORT 0x8000
#define FORM_SPECIAL 0xC000
#define SPECIAL_MASK 0xF000
#define SPECIAL_NAN 0xC000
#define SPECIAL_INFINITY 0xD000
#define SPECIAL_MINUS_INFINITY 0xF000
#define LONG_SCALE 0x3FFF
#define SHORT_NEGATIVE 0x2000
#define SHORT_SCALE(header) (((header) & 0x1F80) >> 7)
#define SHORT_WEIGHT_SIGN 0x0040
#define SHORT_WEIGHT_MASK 0x003F

/* What the functions that send and receive numerics call the sign */
#define SIGN_POSITIVE 0x0000
#define SIGN_NEGATIVE 0x4000

/* What a numeric is made of; the digits lie anywhere */
typedef struct Parts
{
	bool		negative;
	int			weight;
	int			ndigits;
	int32		decimals;
	const char *digits;
} Parts;

/* Two bytes, wherever they lie. */
static inline int16
word_at(const char *bytes)
{
	int16		word;

	memcpy(&word, bytes, sizeof(word));
	return word;
}

/* Takes a numeric apart, whose header may be short. */
static inline SummarySpecial
take_apart(struct varlena *numeric, Parts *parts)
{
	const char *bytes = VARDATA_ANY(numeric);
	int			size = (int) VARSIZE_ANY_EXHDR(numeric);
	uint16		header = (uint16) word_at(bytes);

	bytes += sizeof(header);
	size -= sizeof(header);
	if ((header & FORM_MASK) == FORM_SHORT)
	{
		parts->negative = (header & SHORT_NEGATIVE) != 0;
		parts->decimals = SHORT_SCALE(header);
		parts->weight = header & SHORT_WEIGHT_MASK;
		if (header & SHORT_WEIGHT_SIGN)
			parts->weight -= SHORT_WEIGHT_MASK + 1;
	}
	else if ((header & FORM_MASK) == FORM_SPECIAL)
	{
		switch (header & SPECIAL_MASK)
		{
			case SPECIAL_INFINITY:
				return SUMMARY_INFINITY;
			case SPECIAL_MINUS_INFINITY:
				return SUMMARY_MINUS_INFINITY;
			default:
				return SUMMARY_NAN;
		}
	}
	else
	{
		parts->negative = (header & FORM_MASK) == FORM_NEGATIVE;
		parts->decimals = header & LONG_SCALE;
		parts->weight = word_at(bytes);
		bytes += sizeof(int16);
		size -= sizeof(int16);
	}
	/* equal numbers must have the same digits */
	parts->ndigits = size / (int) sizeof(int16);
	for (; parts->ndigits > 0 && word_at(bytes) == 0; bytes += sizeof(int16), parts->weight--)
		parts->ndigits--;
	while (parts->ndigits > 0 && word_at(bytes + sizeof(int16) * (parts->ndigits - 1)) == 0)
		parts->ndigits--;
	parts->digits = bytes;
	return SUMMARY_NUMBER;
}

/* The key and the tail of a numeric; a tail is in the current memory context.  decimals grow. */
SummarySpecial
summary_numeric_entry(Datum value, SummaryEntry *entry, int32 *decimals)
{
	struct varlena *numeric = PG_DETOAST_DATUM_PACKED(value);
	Parts		parts;
	SummarySpecial special = take_apart(numeric, &parts);

	if (special != SUMMARY_NUMBER)
		return special;
	if (parts.decimals > *decimals)
		*decimals = parts.decimals;
	entry->tail = NULL;
	if (!summary_decimal_key(parts.negative, parts.weight, parts.ndigits, parts.digits, &entry->key))
		entry->tail = summary_decimal_make(CurrentMemoryContext, parts.negative, parts.weight, parts.ndigits, parts.digits);
	return SUMMARY_NUMBER;
}

/* The key of a whole number. */
SummarySpecial
summary_integer_entry(int64 value, SummaryEntry *entry)
{
	int32		decimals = 0;

	entry->key = summary_integer_key(value);
	entry->tail = NULL;
	if (entry->key != SUMMARY_BOUND && entry->key != -SUMMARY_BOUND)
		return SUMMARY_NUMBER;
	return summary_numeric_entry(NumericGetDatum(int64_to_numeric(value)), entry, &decimals);
}

/* A numeric, as it comes through the binary protocol. */
static Datum
receive_numeric(uint16 sign, int weight, int ndigits, const int16 *digits, int32 decimals)
{
	StringInfoData buffer;
	Datum		result;

	initStringInfo(&buffer);
	pq_sendint16(&buffer, (uint16) ndigits);
	pq_sendint16(&buffer, (uint16) weight);
	pq_sendint16(&buffer, sign);
	pq_sendint16(&buffer, (uint16) decimals);
	for (int i = 0; i < ndigits; i++)
		pq_sendint16(&buffer, (uint16) digits[i]);
	result = DirectFunctionCall3(numeric_recv, PointerGetDatum(&buffer), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	pfree(buffer.data);
	return result;
}

/* A decimal number as a numeric with so many decimals. */
Datum
summary_decimal_numeric(const SummaryDecimal *decimal, int32 decimals)
{
	return receive_numeric(decimal->negative ? SIGN_NEGATIVE : SIGN_POSITIVE,
						   decimal->weight, decimal->ndigits, decimal->digits, decimals);
}

/* An entry as a numeric with so many decimals. */
Datum
summary_entry_numeric(SummarySpecial special, const SummaryEntry *entry, int32 decimals)
{
	int16		digits[16];
	int			ndigits;
	int			weight;

	if (special == SUMMARY_NAN)
		return receive_numeric(SPECIAL_NAN, 0, 0, NULL, 0);
	if (special == SUMMARY_INFINITY)
		return receive_numeric(SPECIAL_INFINITY, 0, 0, NULL, 0);
	if (special == SUMMARY_MINUS_INFINITY)
		return receive_numeric(SPECIAL_MINUS_INFINITY, 0, 0, NULL, 0);
	if (entry->tail != NULL)
		return summary_decimal_numeric(entry->tail, decimals);
	ndigits = summary_key_digits(entry->key, digits, &weight);
	return receive_numeric(entry->key < 0 ? SIGN_NEGATIVE : SIGN_POSITIVE, weight, ndigits, digits, decimals);
}

/* Writes a sum as numeric_serialize() does. */
static void
send_sum(StringInfo buffer, const SummaryDecimal *sum, int32 decimals)
{
	pq_sendint32(buffer, (uint32) sum->ndigits);
	pq_sendint32(buffer, (uint32) sum->weight);
	pq_sendint32(buffer, sum->negative ? SIGN_NEGATIVE : SIGN_POSITIVE);
	pq_sendint32(buffer, (uint32) decimals);
	for (int i = 0; i < sum->ndigits; i++)
		pq_sendint16(buffer, (uint16) sum->digits[i]);
}

/*
 * The state of the server's own aggregates over numeric, with these sums: so that
 * its avg() and stddev_samp() give our figures, to the digit.  It takes the state
 * as parallel workers send it, from an aggregate.
 */
static Datum
server_state(const SummaryCounts *counts, SummarySums *sums)
{
	LOCAL_FCINFO(fcinfo, 1);
	WindowAggState *aggregate = makeNode(WindowAggState);
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendint64(&buffer, (uint64) sums->n);
	send_sum(&buffer, summary_sums_total(sums), counts->decimals);
	send_sum(&buffer, summary_sums_squares(sums), 2 * counts->decimals);
	pq_sendint32(&buffer, (uint32) counts->decimals);
	pq_sendint64(&buffer, 1);	/* values with so many decimals, of which only moving aggregates ask */
	pq_sendint64(&buffer, (uint64) counts->specials[SUMMARY_NAN]);
	pq_sendint64(&buffer, (uint64) counts->specials[SUMMARY_INFINITY]);
	pq_sendint64(&buffer, (uint64) counts->specials[SUMMARY_MINUS_INFINITY]);

	aggregate->curaggcontext = CurrentMemoryContext;
	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, (Node *) aggregate, NULL);
	fcinfo->args[0].value = PointerGetDatum(pq_endtypsend(&buffer));
	fcinfo->args[0].isnull = false;
	return numeric_deserialize(fcinfo);
}

/* The mean and the standard deviation; false if there is no such. */
bool
summary_numeric_moments(const SummaryCounts *counts, SummarySums *sums, Datum *mean, Datum *sd)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum		state = server_state(counts, sums);

	*mean = DirectFunctionCall1(numeric_avg, state);
	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = state;
	fcinfo->args[0].isnull = false;
	*sd = numeric_stddev_samp(fcinfo);
	return !fcinfo->isnull;
}

/* The mean of two numerics with so many decimals, with one more if it needs it. */
Datum
summary_numeric_middle(Datum left, Datum right, int32 decimals)
{
	Datum		half = receive_numeric(SIGN_POSITIVE, -1, 1, (const int16[]) {5000}, 1);
	Datum		middle = DirectFunctionCall2(numeric_mul, DirectFunctionCall2(numeric_add, left, right), half);
	Datum		rounded = DirectFunctionCall2(numeric_round, middle, Int32GetDatum(decimals));

	return DatumGetBool(DirectFunctionCall2(numeric_eq, middle, rounded)) ? rounded : middle;
}
