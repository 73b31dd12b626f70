/*-------------------------------------------------------------------------
 *
 * observe_log.c
 *		Lines in the server log that tell of an event: a stable code, what it
 *		is in plain words, and facts as key=value pairs in the detail.
 *
 * There are so many lines of a code in a minute of the clock, in the whole cluster;
 * others are counted, and how many they were stands in the next line of that code, or
 * a worker tells when the minute is over.  Both are kept in shared memory, by atomics:
 * nobody waits.  Where the library was not preloaded nothing is told.
 *
 * What hangs on a transaction is told when that is committed, and not before: a
 * transaction can fail up to then.  So a crash in between may lose a line, and one
 * that loses a transaction whose commit did not wait for the disk may leave a line
 * of what is done once more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core.h"
#include "observe.h"

/* So many lines of a code are written in a minute, and kept for a commit in a savepoint */
#define MAX_LINES 10
/* Where in a traceparent the id of the trace stands */
#define TRACE_ID_FROM 3
#define TRACE_ID_LENGTH 32

/* The codes never change; doc/observe.md tells what to do about each */
static const struct
{
	const char *code;
	const char *words;
}			events[CLINICAL_NEVENTS] = {
	[CLINICAL_EVENT_WORKER_STARTED] = {"W01", "worker started"},
	[CLINICAL_EVENT_WORKER_ENDED] = {"W02", "worker ended"},
	[CLINICAL_EVENT_BATCH_FAILED] = {"I01", "batch failed"},
	[CLINICAL_EVENT_QUARANTINED] = {"I02", "report quarantined"},
	[CLINICAL_EVENT_QUEUE_FULL] = {"I03", "queue full"},
	[CLINICAL_EVENT_QUEUE_ROOM] = {"I04", "queue has room again"},
	[CLINICAL_EVENT_PUT_OFF] = {"I05", "report put off"},
	[CLINICAL_EVENT_REPORT_CANCELLED] = {"R01", "report cancelled"},
	[CLINICAL_EVENT_REPORT_FAILED] = {"R02", "report failed"},
	[CLINICAL_EVENT_ALERT_OPENED] = {"A01", "alert opened"},
	[CLINICAL_EVENT_ALERT_ESCALATED] = {"A02", "alert escalated"},
	[CLINICAL_EVENT_LEFT_OUT] = {"L01", "lines left out"},
};

/* Of a code, in shared memory */
typedef struct Rate
{
	pg_atomic_uint64 lines;		/* the minute in the upper half, and the lines in it */
	pg_atomic_uint64 left_out;	/* and not told yet */
} Rate;

/* A line that waits for the commit; memory is the transaction's */
typedef struct Line
{
	ClinicalLogEvent event;
	char	   *facts;
} Line;

/* What a level of the transaction has to tell */
typedef struct Level
{
	int			nest_level;
	List	   *lines;			/* of Line * */
	int			nlines[CLINICAL_NEVENTS];
	uint64		left_out[CLINICAL_NEVENTS];
	struct Level *below;
} Level;

static bool log_events = true;
static Rate *rates = NULL;
static Level *levels = NULL;
static char database[NAMEDATALEN] = "";
static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static char *make_facts(const char *format, va_list args) pg_attribute_printf(1, 0);

/* --- how many lines ----------------------------------------------------------------------------- */

/* Hook: ask for shared memory. */
static void
request_shared(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(CLINICAL_NEVENTS * sizeof(Rate));
}

/* Hook: find it, or make it. */
static void
startup_shared(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	rates = ShmemInitStruct("clinical events", CLINICAL_NEVENTS * sizeof(Rate), &found);
	for (int i = 0; !found && i < CLINICAL_NEVENTS; i++)
	{
		pg_atomic_init_u64(&rates[i].lines, 0);
		pg_atomic_init_u64(&rates[i].left_out, 0);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* Is anything told at all? */
static bool
is_on(void)
{
	return log_events && rates != NULL;
}

/* The minute that the clock shows. */
static uint32
this_minute(void)
{
	return (uint32) (GetCurrentTimestamp() / USECS_PER_MINUTE);
}

/* The lines of a code in a minute; who has read the clock a moment later may have begun the next one, which it then is. */
static uint32
lines_in(uint64 lines, uint32 *minute)
{
	uint32		counted = (uint32) (lines >> 32);

	if (counted == *minute + 1)
		*minute = counted;
	return counted == *minute ? (uint32) lines : 0;
}

/* May a line of that code be written now?  Then it counts. */
static bool
take_place(ClinicalLogEvent event)
{
	uint64		present = pg_atomic_read_u64(&rates[event].lines);
	uint32		minute = this_minute();
	uint32		lines;

	do
	{
		lines = lines_in(present, &minute);
		if (lines >= MAX_LINES)
			return false;
	} while (!pg_atomic_compare_exchange_u64(&rates[event].lines, &present, ((uint64) minute << 32) | (lines + 1)));
	return true;
}

/* Are there lines enough of that code in this minute? */
static bool
is_full(ClinicalLogEvent event)
{
	uint32		minute = this_minute();

	return lines_in(pg_atomic_read_u64(&rates[event].lines), &minute) >= MAX_LINES;
}

/* Count lines that were left out. */
static void
leave_out(ClinicalLogEvent event, uint64 number)
{
	if (number > 0)
		pg_atomic_fetch_add_u64(&rates[event].left_out, (int64) number);
}

/* --- what they say ------------------------------------------------------------------------------ */

/* Lines of this process are to name its database, which keeps its name while somebody is in it. */
void
clinical_event_know_database(void)
{
	char	   *name;

	if (database[0] != '\0' || !OidIsValid(MyDatabaseId))
		return;
	name = get_database_name(MyDatabaseId);
	if (name != NULL)
		strlcpy(database, name, sizeof(database));
}

/* A value as it stands in the facts: quoted if it could be taken for something else. */
const char *
clinical_event_value(const char *value)
{
	StringInfoData quoted;
	bool		plain = value[0] != '\0';

	initStringInfo(&quoted);
	appendStringInfoString(&quoted, "\"");
	for (const char *at = value; *at != '\0'; at++)
	{
		unsigned char c = (unsigned char) *at;

		if (c <= ' ' || c == 0x7f || strchr("\"=\\", c) != NULL)
			plain = false;
		if (strchr("\"\\", c) != NULL)
			appendStringInfoString(&quoted, "\\");
		if (c < ' ' || c == 0x7f)
			appendStringInfo(&quoted, "\\u%04x", c);
		else
			appendStringInfoChar(&quoted, *at);
	}
	appendStringInfoString(&quoted, "\"");
	return plain ? value : quoted.data;
}

/* The project that a line is about, by its code; nothing if there is none. */
const char *
clinical_event_project(int64 project_id)
{
	static ClinicalPlan plan = {
		"SELECT p.code FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) $1", 1, {INT8OID}
	};
	Datum		id = Int64GetDatum(project_id);
	Datum		code;

	if (project_id == 0 || !is_on() || !clinical_owner_fetch(&plan, &id, NULL, false, &code))
		return "";
	return psprintf("project=%s ", clinical_event_value(TextDatumGetCString(code)));
}

/* The trace that a line is part of; nothing if there is none. */
const char *
clinical_event_trace(Datum trace_parent)
{
	char	   *parent;

	if (trace_parent == (Datum) 0)
		return "";
	parent = TextDatumGetCString(trace_parent);
	if (strlen(parent) < TRACE_ID_FROM + TRACE_ID_LENGTH)
		return "";
	return psprintf(" trace_id=%.*s", TRACE_ID_LENGTH, parent + TRACE_ID_FROM);
}

/* Put the facts together. */
static char *
make_facts(const char *format, va_list args)
{
	StringInfoData facts;

	if (IsTransactionState())
		clinical_event_know_database();
	initStringInfo(&facts);
	if (database[0] != '\0')
		appendStringInfo(&facts, "database=%s ", clinical_event_value(database));
	for (;;)
	{
		va_list		copy;
		int			needed;

		va_copy(copy, args);
		needed = appendStringInfoVA(&facts, format, copy);
		va_end(copy);
		if (needed == 0)
			return facts.data;
		enlargeStringInfo(&facts, needed);
	}
}

/* Write a line that has its place, with the number of those that were left out before it. */
static void
write_line(ClinicalLogEvent event, const char *facts)
{
	uint64		left_out = pg_atomic_exchange_u64(&rates[event].left_out, 0);

	CLINICAL_FAULT("event_written");
	if (left_out > 0)
		facts = psprintf("%s left_out=" UINT64_FORMAT, facts, left_out);
	clinical_log_facts(psprintf("CLINICAL-%s %s", events[event].code, events[event].words), facts);
}

/* Tell of an event. */
void
clinical_event(ClinicalLogEvent event, const char *format,...)
{
	va_list		args;

	if (!is_on())
		return;
	if (!take_place(event))
	{
		leave_out(event, 1);
		return;
	}
	va_start(args, format);
	write_line(event, make_facts(format, args));
	va_end(args);
}

/* Tell what lines were left out in a minute that is over. */
void
clinical_event_tell_left_out(void)
{
	for (int event = 0; is_on() && event < CLINICAL_NEVENTS; event++)
	{
		uint64		left_out;

		if (pg_atomic_read_u64(&rates[event].left_out) == 0 ||
			(uint32) (pg_atomic_read_u64(&rates[event].lines) >> 32) == this_minute())
			continue;
		if (!take_place(CLINICAL_EVENT_LEFT_OUT))
			return;
		left_out = pg_atomic_exchange_u64(&rates[event].left_out, 0);
		if (left_out > 0)
			write_line(CLINICAL_EVENT_LEFT_OUT, psprintf("code=%s left_out=" UINT64_FORMAT, events[event].code, left_out));
	}
}

/* --- lines that wait for a commit --------------------------------------------------------------- */

/* The entry of the current level. */
static Level *
level_here(void)
{
	int			nest_level = GetCurrentTransactionNestLevel();
	Level	   *level = levels;

	if (level != NULL && level->nest_level == nest_level)
		return level;
	level = MemoryContextAllocZero(TopTransactionContext, sizeof(Level));
	level->nest_level = nest_level;
	level->below = levels;
	levels = level;
	return level;
}

/* Keep a line for the commit, or count it. */
static void
keep_line(Level *level, ClinicalLogEvent event, const char *facts)
{
	MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
	Line	   *line;

	if (level->nlines[event] >= MAX_LINES)
		level->left_out[event]++;
	else
	{
		line = palloc_object(Line);
		line->event = event;
		line->facts = pstrdup(facts);
		level->lines = lappend(level->lines, line);
		level->nlines[event]++;
	}
	MemoryContextSwitchTo(caller);
}

/* Shall one more line wait for the commit?  If not, it is counted. */
bool
clinical_event_wanted(ClinicalLogEvent event)
{
	Level	   *level;

	if (!is_on())
		return false;
	level = level_here();
	if (level->nlines[event] < MAX_LINES && !is_full(event))
		return true;
	level->left_out[event]++;
	return false;
}

/* Tell of an event when the transaction is committed. */
void
clinical_event_at_commit(ClinicalLogEvent event, const char *format,...)
{
	va_list		args;

	if (!is_on())
		return;
	va_start(args, format);
	keep_line(level_here(), event, make_facts(format, args));
	va_end(args);
}

/* Make what a savepoint has to tell part of what its parent has. */
static void
merge_into(Level *into, const Level *level)
{
	ListCell   *cell;

	foreach(cell, level->lines)
	{
		const Line *line = lfirst(cell);

		keep_line(into, line->event, line->facts);
	}
	for (int event = 0; event < CLINICAL_NEVENTS; event++)
		into->left_out[event] += level->left_out[event];
}

/* Forget a level: there may be many savepoints in a transaction. */
static void
free_level(Level *level)
{
	ListCell   *cell;

	foreach(cell, level->lines)
		pfree(((Line *) lfirst(cell))->facts);
	list_free_deep(level->lines);
	pfree(level);
}

/* Callback: what a savepoint has to tell becomes its parent's, or is forgotten. */
static void
savepoint_ends(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int			nest_level = GetCurrentTransactionNestLevel();
	Level	   *level = levels;

	if ((event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB) ||
		level == NULL || level->nest_level < nest_level)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB &&
		(level->below == NULL || level->below->nest_level < nest_level - 1))
	{
		level->nest_level = nest_level - 1;
		return;
	}
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		merge_into(level->below, level);
	levels = level->below;
	free_level(level);
}

/* Tell the lines that waited. */
static void
tell_lines(const Level *level)
{
	ListCell   *cell;

	foreach(cell, level->lines)
	{
		const Line *line = lfirst(cell);

		if (take_place(line->event))
			write_line(line->event, line->facts);
		else
			leave_out(line->event, 1);
	}
}

/* Tell all that waited.  After the commit an error would be the end of the server: what cannot be told is lost. */
static void
tell_all(const Level *level)
{
	MemoryContext context = CurrentMemoryContext;
	uint32		holdoff = InterruptHoldoffCount;

	PG_TRY();
	{
		tell_lines(level);
	}
	PG_CATCH();
	{
		clinical_log_failed(context, holdoff);
	}
	PG_END_TRY();
	for (int event = 0; event < CLINICAL_NEVENTS; event++)
		leave_out((ClinicalLogEvent) event, level->left_out[event]);
}

/* Callback: the transaction is committed, and nothing is to fail any more, or has come to nothing. */
static void
transaction_ends(XactEvent event, void *arg)
{
	const Level *level = levels;

	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PARALLEL_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		return;
	levels = NULL;
	if (level != NULL && (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE) && is_on())
		tell_all(level);
}

/* Define the setting, and install the hooks when the library is loaded at server start. */
void
clinical_event_init(void)
{
	DefineCustomBoolVariable("clinical.log_events",
							 "Writes lines with a code about events of note to the server log.",
							 NULL,
							 &log_events, true, PGC_SUSET, 0,
							 NULL, NULL, NULL);
	if (!process_shared_preload_libraries_in_progress)
		return;
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shared;
	RegisterXactCallback(transaction_ends, NULL);
	RegisterSubXactCallback(savepoint_ends, NULL);
}
