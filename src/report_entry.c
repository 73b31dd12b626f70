/*-------------------------------------------------------------------------
 *
 * report_entry.c
 *		The reports of a patient, gathered by an aggregate: when each was captured,
 *		of which version of an instrument, and how long it took to come.
 *
 * 16 bytes a report are kept, of one patient at a time or, where the server hashes,
 * of as many as work_mem allows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core.h"
#include "report.h"
#include "report_entry.h"

PG_FUNCTION_INFO_V1(clinical_report_entries_add);
PG_FUNCTION_INFO_V1(clinical_report_entries_combine);
PG_FUNCTION_INFO_V1(clinical_report_entries_image);
PG_FUNCTION_INFO_V1(clinical_report_entries_state);

/* Arguments of clinical_report_entries_add */
enum
{
	ADD_STATE, ADD_VERSION, ADD_CAPTURED, ADD_RECEIVED, ADD_LOCAL_DAY, ADD_STATUS, ADD_FIRST_DAY, ADD_END_DAY, ADD_NARGS
};

/* What an image begins with; the versions and the reports follow */
typedef struct ImageHead
{
	int32		nversions;
	int32		nreports;
	int64		accepted;
	int64		withdrawn;
} ImageHead;

/* So many rows are counted at once */
#define COUNT_BATCH 1024

/* Rows that were read and not yet counted */
static int	uncounted = 0;

/* --- the state ----------------------------------------------------------------------------------------- */

/* The index of a version among those that occurred. */
static int
version_index(ClinicalEntryReports *state, int64 version_id)
{
	for (int i = 0; i < state->nversions; i++)
	{
		if (state->versions[i] == version_id)
			return i;
	}
	if (state->nversions == CLINICAL_ENTRY_MAX_VERSIONS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a patient answered more than %d versions of instruments", CLINICAL_ENTRY_MAX_VERSIONS)));
	if (state->nversions == state->versions_room)
	{
		state->versions_room *= 2;
		state->versions = repalloc_array(state->versions, int64, state->versions_room);
	}
	state->versions[state->nversions] = version_id;
	return state->nversions++;
}

/* Begin with no reports, in a memory context. */
static ClinicalEntryReports *
begin_reports(MemoryContext context, int room)
{
	MemoryContext caller = MemoryContextSwitchTo(context);
	ClinicalEntryReports *state = palloc0_object(ClinicalEntryReports);

	state->versions_room = 2;
	state->versions = palloc_array(int64, state->versions_room);
	state->reports_room = Max(room, 8);
	state->reports = palloc_array(ClinicalEntryReport, state->reports_room);
	MemoryContextSwitchTo(caller);
	return state;
}

/* Make room for so many reports more. */
static void
make_room(ClinicalEntryReports *state, int more)
{
	int64		needed = (int64) state->nreports + more;

	if (needed <= state->reports_room)
		return;
	if (needed > (int64) (MaxAllocSize / 2 / sizeof(ClinicalEntryReport)))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a patient has too many reports for one table")));
	state->reports_room = (int) Max(needed, 2 * (int64) state->reports_room);
	state->reports = repalloc_array(state->reports, ClinicalEntryReport, state->reports_room);
}

/* Seconds between two moments, half of one away from zero. */
static int64
lag_seconds(TimestampTz captured_at, TimestampTz received_at)
{
	int64		lag = received_at - captured_at;
	int64		half = USECS_PER_SEC / 2;

	return (lag >= 0 ? lag + half : lag - half) / USECS_PER_SEC;
}

/* Add the row of a call to the state. */
static void
add_report(FunctionCallInfo fcinfo, ClinicalEntryReports *state)
{
	TimestampTz received_at = PG_GETARG_TIMESTAMPTZ(ADD_RECEIVED);
	DateADT		first_day = PG_GETARG_DATEADT(ADD_FIRST_DAY);
	DateADT		end_day = PG_GETARG_DATEADT(ADD_END_DAY);
	DateADT		local_day = PG_GETARG_DATEADT(ADD_LOCAL_DAY);
	bool		received = received_at >= first_day * USECS_PER_DAY && received_at < end_day * USECS_PER_DAY;
	ClinicalEntryReport *report;
	int64		lag = CLINICAL_ENTRY_NO_LAG;

	if (!clinical_text_is(PG_GETARG_DATUM(ADD_STATUS), "accepted"))
	{
		state->withdrawn += received;
		return;
	}
	state->accepted += received;
	make_room(state, 1);
	report = &state->reports[state->nreports++];
	report->captured_at = PG_GETARG_TIMESTAMPTZ(ADD_CAPTURED);
	if (local_day >= first_day && local_day < end_day)
		lag = lag_seconds(report->captured_at, received_at);
	report->rest = (int64) ((uint64) lag << CLINICAL_ENTRY_VERSION_BITS) |
		version_index(state, PG_GETARG_INT64(ADD_VERSION));
}

/* SQL: the reports of an aggregate, one by one. */
Datum
clinical_report_entries_add(PG_FUNCTION_ARGS)
{
	ClinicalEntryReports *state = PG_ARGISNULL(ADD_STATE) ? NULL : (ClinicalEntryReports *) PG_GETARG_POINTER(ADD_STATE);
	MemoryContext group;

	if (!AggCheckCallContext(fcinfo, &group))
		elog(ERROR, "report_entries_add called in non-aggregate context");
	for (int i = ADD_VERSION; i < ADD_NARGS; i++)
		clinical_require_arg(!PG_ARGISNULL(i), "column is required");
	if (state == NULL)
		state = begin_reports(group, 0);
	add_report(fcinfo, state);
	if (++uncounted == COUNT_BATCH)
	{
		clinical_report_count(uncounted);
		uncounted = 0;
	}
	PG_RETURN_POINTER(state);
}

/* SQL: two states are one. */
Datum
clinical_report_entries_combine(PG_FUNCTION_ARGS)
{
	ClinicalEntryReports *state = PG_ARGISNULL(0) ? NULL : (ClinicalEntryReports *) PG_GETARG_POINTER(0);
	const ClinicalEntryReports *other = PG_ARGISNULL(1) ? NULL : (ClinicalEntryReports *) PG_GETARG_POINTER(1);
	MemoryContext group;

	if (!AggCheckCallContext(fcinfo, &group))
		elog(ERROR, "report_entries_combine called in non-aggregate context");
	if (other == NULL)
	{
		if (state == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(state);
	}
	if (state == NULL)
		state = begin_reports(group, other->nreports);
	state->accepted += other->accepted;
	state->withdrawn += other->withdrawn;
	make_room(state, other->nreports);
	for (int i = 0; i < other->nreports; i++)
	{
		int64		version_id = other->versions[clinical_entry_version(&other->reports[i])];
		ClinicalEntryReport *report = &state->reports[state->nreports++];

		*report = other->reports[i];
		report->rest = (report->rest & ~(int64) (CLINICAL_ENTRY_MAX_VERSIONS - 1)) | version_index(state, version_id);
	}
	PG_RETURN_POINTER(state);
}

/* --- its image, which is also the result ------------------------------------------------------------------ */

/* SQL: the image of a state. */
Datum
clinical_report_entries_image(PG_FUNCTION_ARGS)
{
	const ClinicalEntryReports *state;
	ImageHead	head;
	Size		versions;
	Size		reports;
	bytea	   *image;
	char	   *at;

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "report_entries_image called in non-aggregate context");
	if (uncounted > 0)
	{
		clinical_report_count(uncounted);
		uncounted = 0;
	}
	state = (ClinicalEntryReports *) PG_GETARG_POINTER(0);
	head = (ImageHead) {state->nversions, state->nreports, state->accepted, state->withdrawn};
	versions = state->nversions * sizeof(int64);
	reports = state->nreports * sizeof(ClinicalEntryReport);
	image = palloc(VARHDRSZ + sizeof(head) + versions + reports);
	SET_VARSIZE(image, VARHDRSZ + sizeof(head) + versions + reports);
	at = VARDATA(image);
	memcpy(at, &head, sizeof(head));
	memcpy(at + sizeof(head), state->versions, versions);
	memcpy(at + sizeof(head) + versions, state->reports, reports);
	PG_RETURN_BYTEA_P(image);
}

/* Read an image into memory of the current context. */
void
clinical_entry_reports_read(const bytea *image, ClinicalEntryReports *reports)
{
	Size		size = VARSIZE_ANY_EXHDR(image);
	const char *at = VARDATA_ANY(image);
	ImageHead	head = {0};
	bool		sound = size >= sizeof(head);

	if (sound)
		memcpy(&head, at, sizeof(head));
	if (!sound || head.nversions < 0 || head.nversions > CLINICAL_ENTRY_MAX_VERSIONS || head.nreports < 0 ||
		size != sizeof(head) + head.nversions * sizeof(int64) + head.nreports * sizeof(ClinicalEntryReport))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("not an image of reports")));
	at += sizeof(head);
	*reports = (ClinicalEntryReports)
	{
		.accepted = head.accepted, .withdrawn = head.withdrawn,
		.nversions = head.nversions, .versions_room = head.nversions,
		.nreports = head.nreports, .reports_room = head.nreports
	};
	/* an image need not be aligned */
	reports->versions = palloc_array(int64, Max(head.nversions, 1));
	reports->reports = palloc_array(ClinicalEntryReport, Max(head.nreports, 1));
	memcpy(reports->versions, at, head.nversions * sizeof(int64));
	memcpy(reports->reports, at + head.nversions * sizeof(int64), head.nreports * sizeof(ClinicalEntryReport));
	for (int i = 0; i < head.nreports; i++)
	{
		if (clinical_entry_version(&reports->reports[i]) >= head.nversions)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
					 errmsg("not an image of reports")));
	}
}

/* SQL: the state that an image is of. */
Datum
clinical_report_entries_state(PG_FUNCTION_ARGS)
{
	ClinicalEntryReports *state;

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "report_entries_state called in non-aggregate context");
	state = palloc_object(ClinicalEntryReports);
	clinical_entry_reports_read(PG_GETARG_BYTEA_PP(0), state);
	PG_RETURN_POINTER(state);
}
