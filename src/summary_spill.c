/*-------------------------------------------------------------------------
 *
 * summary_spill.c
 *		Values that are too many for memory: runs in temporary files.
 *
 * Runs of a level are merged into one of the next when there are so many that
 * reading them together would take too much memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "summary_state.h"

#define READ_SIZE 16384
/* Values that occur less often on average are counted once they are in order, others as they come */
#define FEW_TIMES 2
#define MANY_TIMES 4

/* A run that is being read from a file */
typedef struct Source
{
	BufFile    *file;
	int			fileno;
	off_t		offset;
	int64		left;
	unsigned char bytes[READ_SIZE];
} Source;


/* Closes the files of a state, at the end of its aggregate. */
static void
close_files(Datum arg)
{
	SummaryState *state = (SummaryState *) DatumGetPointer(arg);

	for (int i = 0; i < SUMMARY_LEVELS; i++)
	{
		if (state->levels[i] != NULL && state->levels[i]->file != NULL)
			BufFileClose(state->levels[i]->file);
		state->levels[i] = NULL;
	}
}

/* A level, with its file. */
static SummaryLevel *
open_level(SummaryState *state, FunctionCallInfo fcinfo, int number)
{
	MemoryContext caller = MemoryContextSwitchTo(state->memory);
	SummaryLevel *level = state->levels[number];

	if (level == NULL)
	{
		level = palloc0_object(SummaryLevel);
		/* the lowest level comes first; an error needs no callback */
		if (number == 0)
			AggRegisterCallback(fcinfo, close_files, PointerGetDatum(state));
		state->levels[number] = level;
	}
	if (level->file == NULL)
	{
		level->file = BufFileCreateTemp(false);
		level->fileno = 0;
		level->offset = 0;
	}
	MemoryContextSwitchTo(caller);
	return level;
}

/* Goes to a place in a file. */
static void
seek(BufFile *file, int fileno, off_t offset)
{
	if (BufFileSeek(file, fileno, offset, SEEK_SET) != 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not seek in temporary file: %m")));
}

/* Begin to write a run, at the end of its file. */
static void
begin_run(SummaryLevel *level)
{
	seek(level->file, level->fileno, level->offset);
}

/* Writes bytes of a run. */
static void
write_bytes(void *arg, const void *bytes, size_t size)
{
	BufFileWrite(((SummaryLevel *) arg)->file, (void *) (uintptr_t) bytes, size);
}

/* A run is written. */
static void
end_run(SummaryLevel *level, const SummaryRun *run)
{
	SummaryStoredRun *stored = &level->runs[level->nruns++];

	stored->run = *run;
	stored->fileno = level->fileno;
	stored->offset = level->offset;
	BufFileTell(level->file, &level->fileno, &level->offset);
}

/* Reads bytes of a run. */
static const unsigned char *
read_bytes(void *arg, size_t *size)
{
	Source	   *source = arg;

	*size = (size_t) Min(source->left, READ_SIZE);
	seek(source->file, source->fileno, source->offset);
	if (*size == 0 || BufFileRead(source->file, source->bytes, *size) != *size)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not read from temporary file: %m")));
	BufFileTell(source->file, &source->fileno, &source->offset);
	source->left -= *size;
	return source->bytes;
}

/* Readers of all runs of a level, in the current memory context. */
static void
level_readers(SummaryLevel *level, SummaryReader **readers)
{
	for (int i = 0; i < level->nruns; i++)
	{
		Source	   *source = palloc_object(Source);

		source->file = level->file;
		source->fileno = level->runs[i].fileno;
		source->offset = level->runs[i].offset;
		source->left = level->runs[i].run.bytes;
		readers[i] = palloc_object(SummaryReader);
		summary_reader_begin(readers[i], CurrentMemoryContext, &level->runs[i].run, read_bytes, source);
	}
}

/* A level with all its runs merges them into one of the next. */
static void
merge_level(SummaryState *state, FunctionCallInfo fcinfo, int number)
{
	SummaryLevel *level = state->levels[number];
	SummaryLevel *next = open_level(state, fcinfo, number + 1);
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "summary merge", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(memory);
	SummaryReader *readers[SUMMARY_FAN_IN];
	SummaryWriter *writer = palloc_object(SummaryWriter);
	SummaryMerge merge;
	SummaryEntry entry;
	SummaryRun	all = {0};

	for (int i = 0; i < level->nruns; i++)
	{
		all.tails = all.tails || level->runs[i].run.tails;
		all.decimals = Max(all.decimals, level->runs[i].run.decimals);
	}
	level_readers(level, readers);
	begin_run(next);
	summary_writer_begin(writer, all.decimals, all.tails, write_bytes, next);
	summary_merge_begin(&merge, memory, readers, level->nruns);
	while (summary_merge_next(&merge, &entry))
		summary_writer_put(writer, &entry);
	summary_writer_end(writer);
	end_run(next, &writer->run);
	BufFileClose(level->file);
	level->file = NULL;
	level->nruns = 0;
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(memory);
}

/* Merges where a level has all its runs. */
static void
merge_full_levels(SummaryState *state, FunctionCallInfo fcinfo)
{
	for (int i = 0; state->levels[i]->nruns == SUMMARY_FAN_IN; i++)
	{
		/* more than there are bytes on any disk */
		if (i + 1 == SUMMARY_LEVELS)
			elog(ERROR, "too many runs");
		merge_level(state, fcinfo, i);
	}
}

/* Counts further values as those were that were counted: so many of so many different ones. */
static void
choose_way(SummaryState *state, int64 nvalues, int64 nentries)
{
	if (state->list.keys == NULL && nvalues / nentries < FEW_TIMES)
	{
		summary_table_end(&state->table);
		/* two arrays: twice the table's limit, which it does without meanwhile */
		summary_list_begin(&state->list, state->memory, state->table.limit / sizeof(SummaryKey));
	}
	else if (state->list.keys != NULL && nvalues / nentries >= MANY_TIMES)
		summary_list_end(&state->list);
}

/* Moves all values from memory to a run. */
void
summary_spill_memory(SummaryState *state, FunctionCallInfo fcinfo)
{
	SummaryTable *table = &state->table;
	SummaryLevel *level = open_level(state, fcinfo, 0);
	SummaryWriter *writer = palloc_object(SummaryWriter);
	SummaryReader in_table;
	SummaryReader in_list;
	SummaryReader *readers[2] = {&in_table, &in_list};
	SummaryMerge merge;
	SummaryEntry entry;
	int64		nvalues = 0;

	begin_run(level);
	summary_table_sort(table);
	summary_list_sort(&state->list);
	summary_reader_begin_entries(&in_table, table->slots, table->nentries);
	summary_reader_begin_keys(&in_list, state->list.keys, state->list.nkeys);
	summary_writer_begin(writer, Min(state->counts.decimals, SUMMARY_KEY_DECIMALS), table->tail_bytes > 0, write_bytes, level);
	summary_merge_begin(&merge, CurrentMemoryContext, readers, lengthof(readers));
	while (summary_merge_next(&merge, &entry))
	{
		nvalues += entry.count;
		summary_writer_put(writer, &entry);
	}
	summary_writer_end(writer);
	end_run(level, &writer->run);
	summary_table_clear(table);
	state->list.nkeys = 0;
	choose_way(state, nvalues, writer->run.nentries);
	pfree(writer);
	merge_full_levels(state, fcinfo);
}

/* Copies a run that is in memory. */
void
summary_spill_run(SummaryState *state, FunctionCallInfo fcinfo, const SummaryRun *run, const unsigned char *bytes)
{
	SummaryLevel *level = open_level(state, fcinfo, 0);

	begin_run(level);
	for (int64 done = 0; done < run->bytes; done += READ_SIZE)
	{
		CHECK_FOR_INTERRUPTS();
		write_bytes(level, bytes + done, (size_t) Min(run->bytes - done, READ_SIZE));
	}
	end_run(level, run);
	merge_full_levels(state, fcinfo);
}

/* How many runs there are. */
int
summary_spill_count(const SummaryState *state)
{
	int			count = 0;

	for (int i = 0; i < SUMMARY_LEVELS; i++)
		count += state->levels[i] == NULL ? 0 : state->levels[i]->nruns;
	return count;
}

/* Readers of all runs, in the current memory context. */
void
summary_spill_readers(SummaryState *state, SummaryReader **readers)
{
	for (int i = 0; i < SUMMARY_LEVELS; i++)
	{
		if (state->levels[i] == NULL)
			continue;
		level_readers(state->levels[i], readers);
		readers += state->levels[i]->nruns;
	}
}
