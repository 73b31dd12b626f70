/*-------------------------------------------------------------------------
 *
 * intake_submit.c
 *		submit_report: what a report needs to be taken in, and the answers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/sha2.h"
#include "common/cryptohash.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/tuplestore.h"
#include "utils/timestamp.h"

#include "audit.h"
#include "intake.h"
#include "observe.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(clinical_submit_report);
PG_FUNCTION_INFO_V1(clinical_submit_reports);

#define MAX_TEXT_BYTES 255

/* The arguments of submit_report */
enum
{
	ARG_PATIENT_ID, ARG_REPORT_DATA, ARG_SUBMISSION_ID, ARG_CAPTURED_AT, ARG_INSTRUMENT, ARG_TIME_ZONE,
	ARG_ORIGINATOR, ARG_DEVICE_ID, ARG_ACTOR, ARG_TRACE_PARENT,
};

static const char *const argument_names[] = {
	"patient_id", "report_data", "submission_id", "captured_at", "instrument", "time_zone",
	"originator", "device_id", "actor", "trace_parent"
};
static const char *const originators[] = {"subject", "site", "device", "import"};

/* What submit_report answers */
typedef enum Answer
{
	QUEUED, ALREADY_RECEIVED, CONFLICT, BUSY,
} Answer;

static const struct
{
	bool		success;
	const char *outcome;
	const char *message;
}			answers[] = {
	[QUEUED] = {true, "queued", "Report received and queued for processing."},
	[ALREADY_RECEIVED] = {true, "already_received", "Report already received."},
	[CONFLICT] = {false, "conflict", "Submission id was used for a different report."},
	[BUSY] = {false, "busy", "System busy, please try again later."},
};

/* An error unless a text, if it is given, is of a reasonable length. */
static void
require_short(const text *value, const char *name)
{
	if (value == NULL)
		return;
	if (VARSIZE_ANY_EXHDR(value) == 0 || VARSIZE_ANY_EXHDR(value) > MAX_TEXT_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must have from 1 to %d bytes", name, MAX_TEXT_BYTES)));
}

/* An error unless it is a traceparent. */
static void
require_trace_parent(const text *value)
{
	if (!clinical_trace_parent_is_valid(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("trace_parent must be a traceparent of W3C Trace Context, version 00")));
}

/* An error unless it is one of the originators. */
static void
require_originator(const text *value)
{
	char	   *originator;

	clinical_require_arg(value != NULL, "originator is required");
	originator = text_to_cstring(value);
	for (int i = 0; i < (int) lengthof(originators); i++)
	{
		if (strcmp(originator, originators[i]) == 0)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("originator must be subject, site, device or import")));
}

/* An error unless a report can be taken in. */
void
clinical_submission_require(const ClinicalSubmission *submission)
{
	clinical_require_arg(JB_ROOT_IS_OBJECT(submission->data), "report data must be an object");
	if (VARSIZE(submission->data) > (Size) clinical_max_report_size)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("report data is too large"),
				 errdetail("It may have %d bytes.", clinical_max_report_size)));
	require_short(submission->patient_id, "patient_id");
	require_short(submission->instrument, "instrument");
	require_short(submission->device_id, "device_id");
	require_short(submission->actor, "actor");
	require_originator(submission->originator);
	if (submission->time_zone != NULL)
		clinical_check_time_zone(text_to_cstring(submission->time_zone));
	if (submission->trace_parent != NULL)
		require_trace_parent(submission->trace_parent);
	clinical_require_arg(!submission->has_captured_at || !TIMESTAMP_NOT_FINITE(submission->captured_at),
						 "captured_at must be finite");
}

/* Add a text, or that there is none, to a hash. */
static void
hash_text(pg_cryptohash_ctx *ctx, const text *value)
{
	int32		length = value == NULL ? -1 : (int32) VARSIZE_ANY_EXHDR(value);

	if (pg_cryptohash_update(ctx, (const uint8 *) &length, sizeof(length)) < 0 ||
		(value != NULL && pg_cryptohash_update(ctx, (const uint8 *) VARDATA_ANY(value), (size_t) length) < 0))
		elog(ERROR, "could not compute a hash");
}

/*
 * The digest by which two reports with one id are the same: of what the client
 * says about the patient, not of how it came.  jsonb has one form for a value,
 * whatever the white space and the order of keys were.
 */
Datum
clinical_submission_digest(const ClinicalSubmission *submission)
{
	pg_cryptohash_ctx *ctx = clinical_hash_begin();
	uint8		hash[PG_SHA256_DIGEST_LENGTH];
	TimestampTz captured_at = submission->has_captured_at ? submission->captured_at : 0;

	if (pg_cryptohash_init(ctx) < 0 ||
		pg_cryptohash_update(ctx, (const uint8 *) &captured_at, sizeof(captured_at)) < 0)
		elog(ERROR, "could not compute a hash");
	hash_text(ctx, submission->instrument);
	hash_text(ctx, submission->time_zone);
	hash_text(ctx, (const text *) submission->data);
	if (pg_cryptohash_final(ctx, hash, sizeof(hash)) < 0)
		elog(ERROR, "could not compute a hash");
	clinical_hash_end(ctx);
	return clinical_bytes_datum(hash, sizeof(hash));
}

/* Take the arguments. */
static void
take_arguments(FunctionCallInfo fcinfo, ClinicalSubmission *submission)
{
	submission->patient_id = clinical_text_arg(fcinfo, ARG_PATIENT_ID, "patient id is required");
	clinical_require_arg(!PG_ARGISNULL(ARG_REPORT_DATA), "report data is required");
	submission->data = PG_GETARG_JSONB_P(ARG_REPORT_DATA);
	submission->has_id = !PG_ARGISNULL(ARG_SUBMISSION_ID);
	submission->id = submission->has_id ? PG_GETARG_DATUM(ARG_SUBMISSION_ID) : (Datum) 0;
	submission->has_captured_at = !PG_ARGISNULL(ARG_CAPTURED_AT);
	submission->captured_at = submission->has_captured_at ? PG_GETARG_TIMESTAMPTZ(ARG_CAPTURED_AT) : 0;
	submission->instrument = clinical_optional_arg(fcinfo, ARG_INSTRUMENT);
	submission->time_zone = clinical_optional_arg(fcinfo, ARG_TIME_ZONE);
	submission->originator = clinical_optional_arg(fcinfo, ARG_ORIGINATOR);
	submission->device_id = clinical_optional_arg(fcinfo, ARG_DEVICE_ID);
	submission->actor = clinical_optional_arg(fcinfo, ARG_ACTOR);
	submission->trace_parent = clinical_optional_arg(fcinfo, ARG_TRACE_PARENT);
}

/* Set a column that may be NULL. */
static void
set_text(Datum *values, bool *nulls, ClinicalStagedColumn column, text *value)
{
	values[column] = PointerGetDatum(value);
	nulls[column] = value == NULL;
}

/* Put a report among the staged ones; false if there is no place. */
static bool
stage(ClinicalBacklog *backlog, ClinicalSubmission *submission)
{
	Datum		values[CLINICAL_STAGED_NCOLUMNS] = {0};
	bool		nulls[CLINICAL_STAGED_NCOLUMNS] = {false};
	int64		project_id;
	int64		quota = 0;

	values[CLINICAL_STAGED_PATIENT_ID] = PointerGetDatum(submission->patient_id);
	values[CLINICAL_STAGED_SUBMISSION_ID] = submission->id;
	values[CLINICAL_STAGED_CAPTURED_AT] = TimestampTzGetDatum(submission->captured_at);
	nulls[CLINICAL_STAGED_CAPTURED_AT] = !submission->has_captured_at;
	submission->received_at = GetCurrentTimestamp();
	values[CLINICAL_STAGED_RECEIVED_AT] = TimestampTzGetDatum(submission->received_at);
	set_text(values, nulls, CLINICAL_STAGED_INSTRUMENT, submission->instrument);
	set_text(values, nulls, CLINICAL_STAGED_TIME_ZONE, submission->time_zone);
	set_text(values, nulls, CLINICAL_STAGED_ORIGINATOR, submission->originator);
	set_text(values, nulls, CLINICAL_STAGED_DEVICE_ID, submission->device_id);
	values[CLINICAL_STAGED_LOGIN] = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false));
	set_text(values, nulls, CLINICAL_STAGED_ACTOR, submission->actor);
	set_text(values, nulls, CLINICAL_STAGED_TRACE_PARENT, submission->trace_parent);
	/* whoever processes the report has more time for it */
	nulls[CLINICAL_STAGED_DIGEST] = true;
	values[CLINICAL_STAGED_REPORT_DATA] = JsonbPGetDatum(submission->data);
	nulls[CLINICAL_STAGED_ATTEMPTS] = nulls[CLINICAL_STAGED_CRASHES] = nulls[CLINICAL_STAGED_NOT_BEFORE] = true;
	project_id = clinical_quota_of(submission->patient_id, &quota);
	values[CLINICAL_STAGED_QUOTA_PROJECT] = Int64GetDatum(project_id);
	nulls[CLINICAL_STAGED_QUOTA_PROJECT] = project_id == 0;
	return clinical_stage_put(backlog, clinical_queue_capacity, quota, values, nulls, true);
}

/* The columns of a report as arguments of a statement. */
static void
pass_submission(const ClinicalSubmission *submission, Datum digest, Datum *values, char *nulls)
{
	const text *texts[] = {submission->instrument, submission->time_zone, submission->originator,
	submission->device_id, submission->actor, submission->trace_parent};

	values[0] = PointerGetDatum(submission->patient_id);
	values[1] = submission->id;
	values[2] = TimestampTzGetDatum(submission->has_captured_at ? submission->captured_at : GetCurrentTimestamp());
	values[3] = digest;
	values[4] = JsonbPGetDatum(submission->data);
	memset(nulls, ' ', 5);
	for (int i = 0; i < (int) lengthof(texts); i++)
	{
		values[5 + i] = PointerGetDatum(texts[i]);
		nulls[5 + i] = texts[i] == NULL ? 'n' : ' ';
	}
}

#define SUBMISSION_NARGS 11
#define SUBMISSION_TYPES \
	TEXTOID, UUIDOID, TIMESTAMPTZOID, BYTEAOID, JSONBOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID

/* Keep a report under an id that was used for another one, unless it is kept already. */
static void
keep_conflict(Datum *values, char *nulls)
{
	static ClinicalPlan plan = {
		"INSERT INTO clinical.set_aside (patient_id, submission_id, arrival, outcome, project_id, captured_at, received_at,"
		"        processed_at, digest, report_data, instrument, time_zone, originator, device_id, login, actor, trace_parent)"
		" SELECT $1, $2, $12, 'conflict',"
		"        (SELECT p.project_id FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) $1),"
		"        $3, pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp(), $4, $5, $6, $7, $8, $9, SESSION_USER, $10, $11"
		"  WHERE NOT EXISTS (SELECT FROM clinical.set_aside a WHERE a.patient_id OPERATOR(pg_catalog.=) $1"
		"                       AND a.submission_id OPERATOR(pg_catalog.=) $2 AND a.digest OPERATOR(pg_catalog.=) $4)"
		" RETURNING COALESCE(set_aside.project_id, 0)",
		SUBMISSION_NARGS + 1, {SUBMISSION_TYPES, UUIDOID}
	};
	Datum		more[SUBMISSION_NARGS + 1];
	char		more_nulls[SUBMISSION_NARGS + 1];

	memcpy(more, values, SUBMISSION_NARGS * sizeof(Datum));
	memcpy(more_nulls, nulls, SUBMISSION_NARGS);
	more[SUBMISSION_NARGS] = clinical_uuid7();
	more_nulls[SUBMISSION_NARGS] = ' ';
	clinical_server_execute(&plan, more, more_nulls);
	if (SPI_processed == 0)
		return;
	clinical_count(CLINICAL_COUNT_KEPT, 0, 1);
	clinical_count(CLINICAL_COUNT_CONFLICT, DatumGetInt64(clinical_result(0, 1)), 1);
	clinical_count(CLINICAL_COUNT_BYTES, 0, VARSIZE_ANY_EXHDR(DatumGetPointer(values[4])));
}

/* Is the id in use?  Then the answer says whether for the same report; another one is kept. */
static bool
id_is_used(const ClinicalSubmission *submission, Answer *answer)
{
	Datum		values[SUBMISSION_NARGS];
	char		nulls[SUBMISSION_NARGS];
	Datum		digest = clinical_submission_digest(submission);
	ClinicalUse use;

	/* this transaction, or another session, may have stored it just now */
	PushActiveSnapshot(GetLatestSnapshot());
	clinical_intake_find_use(PointerGetDatum(submission->patient_id), submission->id, digest, &use);
	PopActiveSnapshot();
	if (!use.used)
		return false;
	*answer = use.same ? ALREADY_RECEIVED : CONFLICT;
	if (*answer == CONFLICT)
	{
		pass_submission(submission, digest, values, nulls);
		SPI_connect();
		keep_conflict(values, nulls);
		SPI_finish();
	}
	return true;
}

/* Take in a report that was found to be well-formed. */
static Answer
take_in(ClinicalBacklog *backlog, ClinicalSubmission *submission)
{
	Answer		answer;

	if (clinical_intake_is_full(backlog, clinical_queue_capacity))
	{
		clinical_intake_tell_full(backlog, CLINICAL_WHOLE_QUEUE, 0, clinical_queue_capacity);
		return BUSY;
	}
	if (!submission->has_id)
		submission->id = clinical_uuid7();
	else if (id_is_used(submission, &answer))
		return answer;
	return stage(backlog, submission) ? QUEUED : BUSY;
}

/* Take in a report, if it is well-formed. */
static Answer
submit(ClinicalBacklog *backlog, ClinicalSubmission *submission)
{
	Answer		answer;
	TimestampTz began_at;

	if (submission->actor == NULL)
		submission->actor = clinical_actor_in_force();
	clinical_submission_require(submission);
	if (submission->trace_parent == NULL)
		submission->trace_parent = clinical_trace_parent_in_force();
	if (submission->trace_parent == NULL)
		return take_in(backlog, submission);
	began_at = GetCurrentTimestamp();
	answer = take_in(backlog, submission);
	clinical_step_submitted(submission->trace_parent, submission->id == 0 ? NULL : DatumGetUUIDP(submission->id),
							answers[answer].outcome, began_at, submission->received_at);
	return answer;
}

/* Count answers, at once; the reports that are put in or kept are counted when they are committed. */
static void
count_answer(Answer answer, int number)
{
	if (answer == BUSY)
		clinical_count_now(CLINICAL_COUNT_BUSY, 0, number);
	if (answer == ALREADY_RECEIVED)
		clinical_count_now(CLINICAL_COUNT_ALREADY_RECEIVED, 0, number);
}

/* The answer as the columns of a row. */
static void
put_answer(Answer answer, Datum id, Datum *values, bool *nulls)
{
	values[0] = BoolGetDatum(answers[answer].success);
	values[1] = CStringGetTextDatum(answers[answer].message);
	values[2] = id;
	values[3] = CStringGetTextDatum(answers[answer].outcome);
	memset(nulls, false, 4 * sizeof(bool));
	nulls[2] = answer == BUSY;
}

/* The row type of the answers, looked up once for a call site. */
static TupleDesc
answer_desc(FunctionCallInfo fcinfo)
{
	if (fcinfo->flinfo->fn_extra == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
		TupleDesc	desc;

		if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		fcinfo->flinfo->fn_extra = BlessTupleDesc(CreateTupleDescCopy(desc));
		MemoryContextSwitchTo(old);
	}
	return fcinfo->flinfo->fn_extra;
}

/* SQL: take in a report. */
Datum
clinical_submit_report(PG_FUNCTION_ARGS)
{
	ClinicalSubmission submission = {0};
	ClinicalBacklog *backlog;
	Datum		values[4];
	bool		nulls[4];
	Answer		answer;

	PreventCommandIfReadOnly("submit_report()");
	PreventCommandIfParallelMode("submit_report()");
	take_arguments(fcinfo, &submission);
	backlog = clinical_intake_backlog();
	answer = submit(backlog, &submission);
	count_answer(answer, 1);
	if (answer == QUEUED || answer == CONFLICT)
	{
		/* an acknowledgement is durable, whatever the session has set */
		ForceSyncCommit();
		clinical_wake_worker();
	}
	put_answer(answer, submission.id, values, nulls);
	return HeapTupleGetDatum(heap_form_tuple(answer_desc(fcinfo), values, nulls));
}

/* A member of a report in an array: NULL and null are the same. */
static bool
element_member(const JsonbValue *element, int arg, JsonbValue *value)
{
	return clinical_json_get(element, argument_names[arg], value) != NULL && value->type != jbvNull;
}

/* The same as a text, or NULL. */
static text *
element_text(const JsonbValue *element, int arg)
{
	JsonbValue	value;

	if (!element_member(element, arg, &value))
		return NULL;
	if (value.type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a text", argument_names[arg])));
	return cstring_to_text_with_len(value.val.string.val, value.val.string.len);
}

/* Keys that submit_report has no argument for are mistakes. */
static void
require_keys(const JsonbValue *element)
{
	JsonbContainer *object = clinical_json_object(element);
	JsonbIterator *iterator;
	JsonbValue	key;
	JsonbValue	value;

	clinical_require_arg(object != NULL, "each of the reports must be an object");
	iterator = JsonbIteratorInit(object);
	while (clinical_json_next(&iterator, &key, &value))
	{
		bool		known = false;

		for (int i = 0; i < (int) lengthof(argument_names); i++)
			known |= clinical_json_is(&key, argument_names[i]);
		clinical_require_arg(known, "the keys of a report must be names of arguments of submit_report");
	}
}

/* Take a report out of an array. */
static void
take_element(const JsonbValue *element, ClinicalSubmission *submission)
{
	JsonbValue	data;
	text	   *value;

	memset(submission, 0, sizeof(*submission));
	require_keys(element);
	submission->patient_id = element_text(element, ARG_PATIENT_ID);
	clinical_require_arg(submission->patient_id != NULL && VARSIZE_ANY_EXHDR(submission->patient_id) > 0, "patient id is required");
	clinical_require_arg(element_member(element, ARG_REPORT_DATA, &data), "report data is required");
	submission->data = JsonbValueToJsonb(&data);
	value = element_text(element, ARG_SUBMISSION_ID);
	submission->has_id = value != NULL;
	if (submission->has_id)
		submission->id = DirectFunctionCall1(uuid_in, CStringGetDatum(text_to_cstring(value)));
	value = element_text(element, ARG_CAPTURED_AT);
	submission->has_captured_at = value != NULL;
	if (submission->has_captured_at)
		submission->captured_at = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text_to_cstring(value)),
																		  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	submission->instrument = element_text(element, ARG_INSTRUMENT);
	submission->time_zone = element_text(element, ARG_TIME_ZONE);
	submission->originator = element_text(element, ARG_ORIGINATOR);
	if (submission->originator == NULL)
		submission->originator = cstring_to_text(originators[0]);
	submission->device_id = element_text(element, ARG_DEVICE_ID);
	submission->actor = element_text(element, ARG_ACTOR);
	submission->trace_parent = element_text(element, ARG_TRACE_PARENT);
}

/* What submit_reports works on, and what it has answered so far */
typedef struct Series
{
	ClinicalBacklog *backlog;
	JsonbContainer *array;
	ReturnSetInfo *result;
	MemoryContext context;		/* emptied for each report */
	int			answers[lengthof(answers)]; /* in the present savepoint */
	bool		any_kept;
} Series;

/* Take in one report of the array, and answer. */
static void
submit_element(Series *series, int i)
{
	MemoryContext caller = MemoryContextSwitchTo(series->context);
	ClinicalSubmission submission;
	Datum		values[4];
	bool		nulls[4];
	Answer		answer;

	CHECK_FOR_INTERRUPTS();
	take_element(getIthJsonbValueFromContainer(series->array, i), &submission);
	answer = submit(series->backlog, &submission);
	series->answers[answer]++;
	put_answer(answer, submission.id, values, nulls);
	tuplestore_putvalues(series->result->setResult, series->result->setDesc, values, nulls);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(series->context);
}

/* Count the answers that hold. */
static void
count_answers(Series *series)
{
	for (int i = 0; i < (int) lengthof(answers); i++)
		count_answer((Answer) i, series->answers[i]);
	series->any_kept |= series->answers[QUEUED] > 0 || series->answers[CONFLICT] > 0;
}

/* A report of the array cannot be taken in: say why, in the words of the error that submit_report raises. */
static void
answer_invalid(Series *series, const ErrorData *error)
{
	Datum		values[4] = {BoolGetDatum(false), CStringGetTextDatum(error->message), (Datum) 0, CStringGetTextDatum("invalid")};
	bool		nulls[4] = {false, false, true, false};

	tuplestore_putvalues(series->result->setResult, series->result->setDesc, values, nulls);
}

/* Is an error about what the client has sent? */
static bool
is_of_the_client(int sqlerrcode)
{
	int			category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return category == ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_PROGRAM_LIMIT_EXCEEDED);
}

/* Take in these reports in a savepoint; NULL, or the error that is the client's. */
static ErrorData *
submit_elements(Series *series, int from, int to)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	memset(series->answers, 0, sizeof(series->answers));
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		for (int i = from; i < to; i++)
			submit_element(series, i);
		ReleaseCurrentSubTransaction();
		count_answers(series);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (!is_of_the_client(error->sqlerrcode))
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return error;
}

/* Take in all reports: together, or where one of them is malformed each for itself. */
static void
submit_all(Series *series)
{
	int			count = (int) JsonContainerSize(series->array);

	if (count == 0 || submit_elements(series, 0, count) == NULL)
		return;
	tuplestore_clear(series->result->setResult);
	for (int i = 0; i < count; i++)
	{
		ErrorData  *error = submit_elements(series, i, i + 1);

		if (error != NULL)
			answer_invalid(series, error);
	}
}

/* SQL: take in many reports, and answer for each. */
Datum
clinical_submit_reports(PG_FUNCTION_ARGS)
{
	Series		series = {0};
	Jsonb	   *reports;

	PreventCommandIfReadOnly("submit_reports()");
	PreventCommandIfParallelMode("submit_reports()");
	clinical_require_arg(!PG_ARGISNULL(0), "reports are required");
	reports = PG_GETARG_JSONB_P(0);
	clinical_require_arg(JB_ROOT_IS_ARRAY(reports) && !JB_ROOT_IS_SCALAR(reports), "reports must be an array");
	InitMaterializedSRF(fcinfo, 0);
	series.backlog = clinical_intake_backlog();
	series.array = &reports->root;
	series.result = (ReturnSetInfo *) fcinfo->resultinfo;
	series.context = AllocSetContextCreate(CurrentMemoryContext, "clinical reports", ALLOCSET_DEFAULT_SIZES);
	submit_all(&series);
	if (series.any_kept)
	{
		ForceSyncCommit();
		clinical_wake_worker();
	}
	return (Datum) 0;
}
