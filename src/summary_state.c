/*-------------------------------------------------------------------------
 *
 * summary_state.c
 *		The state of an aggregate: values, and how often each occurs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/int.h"
#include "common/pg_prng.h"
#include "executor/nodeHash.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "summary_state.h"

/* What workers send is at most so long: there may be several, and it is in memory twice */
#define MOST_PACKED ((size_t) 256 * 1024 * 1024)

/* What comes before the bytes of a run and those of fractions in a packed state */
typedef struct PackedHeader
{
	Oid			type;
	SummaryCounts counts;
	SummaryRun	run;
	Oid			fraction_type;
	size_t		fraction_size;
} PackedHeader;

/* A new state, of values of a type, for the group that is being aggregated. */
SummaryState *
summary_state_new(FunctionCallInfo fcinfo, Oid type)
{
	MemoryContext memory;
	int			context = AggCheckCallContext(fcinfo, &memory);
	SummaryState *state;

	if (context == 0)
		elog(ERROR, "function of an aggregate called in non-aggregate context");
	state = MemoryContextAllocZero(memory, sizeof(SummaryState));
	state->memory = memory;
	state->type = type;
	state->counts.binary = type == FLOAT8OID;
	if (state->counts.binary)
		state->counts.decimals = SUMMARY_KEY_DECIMALS;
	/* no file of a window function's would be closed */
	state->may_spill = context == AGG_CONTEXT_AGGREGATE;
	/* while it grows, and when it is sorted, it takes up to twice as much */
	summary_table_begin(&state->table, memory, get_hash_memory_limit() / 2, pg_prng_uint64(&pg_global_prng_state));
	return state;
}

/* Makes room for more values in memory. */
static void
make_room(SummaryState *state, FunctionCallInfo fcinfo)
{
	if (!state->may_spill)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("too many distinct values for a window function"),
						errhint("Increase work_mem, or use the aggregate without OVER.")));
	summary_spill_memory(state, fcinfo);
}

/* Adds an entry. */
static inline void
add_entry(SummaryState *state, FunctionCallInfo fcinfo, const SummaryEntry *entry)
{
	while (state->list.keys != NULL && entry->count == 1 && entry->tail == NULL ?
		   !summary_list_add(&state->list, entry->key) : !summary_table_add(&state->table, entry))
		make_room(state, fcinfo);
}

/* The key of a value, and its tail, which is in the current memory context. */
static inline SummarySpecial
value_entry(SummaryState *state, Datum value, SummaryEntry *entry)
{
	double		number;

	switch (state->type)
	{
		case NUMERICOID:
			return summary_numeric_entry(value, entry, &state->counts.decimals);
		case FLOAT8OID:
			number = DatumGetFloat8(value);
			if (unlikely(isnan(number)))
				return SUMMARY_NAN;
			if (unlikely(isinf(number)))
				return number < 0 ? SUMMARY_MINUS_INFINITY : SUMMARY_INFINITY;
			entry->key = summary_double_key(number);
			entry->tail = NULL;
			return SUMMARY_NUMBER;
		case INT2OID:
			return summary_integer_entry(DatumGetInt16(value), entry);
		case INT4OID:
			return summary_integer_entry(DatumGetInt32(value), entry);
		case INT8OID:
			return summary_integer_entry(DatumGetInt64(value), entry);
		default:
			elog(ERROR, "unexpected type %u", state->type);
			return SUMMARY_NAN;
	}
}

/* Adds to a count, which must not go over. */
static void
add_count(int64 *count, int64 more)
{
	if (pg_add_s64_overflow(*count, more, count))
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("bigint out of range")));
}

/* Adds a value, so many times. */
void
summary_state_add(SummaryState *state, FunctionCallInfo fcinfo, Datum value, int64 count)
{
	SummaryEntry entry;
	SummarySpecial special;

	if (count == 0)
		return;
	special = value_entry(state, value, &entry);
	add_count(&state->counts.n, count);
	if (unlikely(special != SUMMARY_NUMBER))
	{
		state->counts.specials[special] += count;
		return;
	}
	entry.count = count;
	add_entry(state, fcinfo, &entry);
}

/* The bytes of a run in memory, once. */
static const unsigned char *
read_packed(void *arg, size_t *size)
{
	SummaryState *state = arg;

	*size = (size_t) state->packed.bytes;
	return state->packed_bytes;
}

/* Begin to read all values in order, with memory of the current context. */
void
summary_state_merge(SummaryState *state, SummaryMerge *merge)
{
	int			nreaders = summary_spill_count(state);
	SummaryReader **readers = palloc_array(SummaryReader *, nreaders + 2);
	SummaryReader *in_memory = palloc_array(SummaryReader, 2);

	summary_spill_readers(state, readers);
	if (state->packed_bytes != NULL)
		summary_reader_begin(&in_memory[0], CurrentMemoryContext, &state->packed, read_packed, state);
	else
		summary_reader_begin_entries(&in_memory[0], summary_table_sorted(&state->table, CurrentMemoryContext), state->table.nentries);
	summary_list_sort(&state->list);
	summary_reader_begin_keys(&in_memory[1], state->list.keys, state->list.nkeys);
	readers[nreaders++] = &in_memory[0];
	readers[nreaders++] = &in_memory[1];
	summary_merge_begin(merge, CurrentMemoryContext, readers, nreaders);
}

/* Adds all that another state has. */
void
summary_state_absorb(SummaryState *state, FunctionCallInfo fcinfo, SummaryState *other)
{
	SummaryMerge merge;
	SummaryEntry entry;

	Assert(state->type == other->type);
	add_count(&state->counts.n, other->counts.n);
	add_count(&state->counts.missing, other->counts.missing);
	for (int i = 0; i < SUMMARY_NSPECIALS; i++)
		state->counts.specials[i] += other->counts.specials[i];
	state->counts.decimals = Max(state->counts.decimals, other->counts.decimals);
	/* what would not fit into memory goes to a file as it is */
	if (other->packed_bytes != NULL && state->may_spill &&
		other->packed.nentries * 2 * sizeof(SummaryEntry) > state->table.limit)
	{
		summary_spill_run(state, fcinfo, &other->packed, other->packed_bytes);
		return;
	}
	summary_state_merge(other, &merge);
	while (summary_merge_next(&merge, &entry))
		add_entry(state, fcinfo, &entry);
}

/* The bytes that fractions take when they are packed. */
static size_t
fraction_size(const SummaryFractions *fractions)
{
	if (!OidIsValid(fractions->type))
		return 0;
	return fractions->type == FLOAT8OID ? sizeof(Datum) : VARSIZE(DatumGetPointer(fractions->value));
}

/* Adds bytes to a packed state. */
static void
pack_bytes(void *arg, const void *bytes, size_t size)
{
	StringInfo	buffer = arg;

	if (buffer->len + size > MOST_PACKED)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("too many distinct values for a parallel query"),
						errhint("Set max_parallel_workers_per_gather to 0 for this query.")));
	appendBinaryStringInfo(buffer, bytes, (int) size);
}

/* The state as bytes that go to another process of the server. */
bytea *
summary_state_pack(SummaryState *state)
{
	PackedHeader header = {0};
	SummaryWriter *writer = palloc_object(SummaryWriter);
	SummaryMerge merge;
	SummaryEntry entry;
	StringInfoData buffer;
	bool		tails = state->table.tail_bytes > 0;

	for (int i = 0; i < SUMMARY_LEVELS; i++)
	{
		for (int j = 0; state->levels[i] != NULL && j < state->levels[i]->nruns; j++)
			tails = tails || state->levels[i]->runs[j].run.tails;
	}
	header.type = state->type;
	header.counts = state->counts;
	header.fraction_type = state->fractions.type;
	header.fraction_size = fraction_size(&state->fractions);
	initStringInfo(&buffer);
	appendStringInfoSpaces(&buffer, VARHDRSZ);
	pack_bytes(&buffer, &header, sizeof(header));
	if (header.fraction_type == FLOAT8OID)
		pack_bytes(&buffer, &state->fractions.value, header.fraction_size);
	else if (OidIsValid(header.fraction_type))
		pack_bytes(&buffer, DatumGetPointer(state->fractions.value), header.fraction_size);
	summary_state_merge(state, &merge);
	summary_writer_begin(writer, Min(state->counts.decimals, SUMMARY_KEY_DECIMALS), tails, pack_bytes, &buffer);
	while (summary_merge_next(&merge, &entry))
		summary_writer_put(writer, &entry);
	summary_writer_end(writer);
	header.run = writer->run;
	memcpy(buffer.data + VARHDRSZ, &header, sizeof(header));
	SET_VARSIZE(buffer.data, buffer.len);
	return (bytea *) buffer.data;
}

/* A state of these bytes, of which it keeps the values as they are; in the current memory context. */
SummaryState *
summary_state_unpack(bytea *packed)
{
	SummaryState *state = palloc0_object(SummaryState);
	PackedHeader header;
	const char *bytes = VARDATA_ANY(packed);

	memcpy(&header, bytes, sizeof(header));
	bytes += sizeof(header);
	state->memory = CurrentMemoryContext;
	state->type = header.type;
	state->counts = header.counts;
	state->fractions.type = header.fraction_type;
	if (header.fraction_type == FLOAT8OID)
		memcpy(&state->fractions.value, bytes, sizeof(Datum));
	else if (OidIsValid(header.fraction_type))
	{
		char	   *value = palloc(header.fraction_size);

		memcpy(value, bytes, header.fraction_size);
		state->fractions.value = PointerGetDatum(value);
	}
	state->packed = header.run;
	state->packed_bytes = (const unsigned char *) bytes + header.fraction_size;
	return state;
}
