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
#include "utils/timestamp.h"

#include "audit.h"
#include "intake.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(clinical_submit_report);

#define MAX_TEXT_BYTES 255

/* The arguments of submit_report */
enum
{
	ARG_PATIENT_ID, ARG_REPORT_DATA, ARG_SUBMISSION_ID, ARG_CAPTURED_AT, ARG_INSTRUMENT, ARG_TIME_ZONE,
	ARG_ORIGINATOR, ARG_DEVICE_ID, ARG_ACTOR, ARG_TRACE_PARENT,
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

/* Is it hexadecimal digits in small letters, not all of them zero? */
static bool
is_hex(const char *digits, int length)
{
	return (int) strspn(digits, "0123456789abcdef") >= length && (int) strspn(digits, "0") < length;
}

/* An error unless it is a traceparent: https://www.w3.org/TR/trace-context/#traceparent-header. */
static void
require_trace_parent(const text *value)
{
	char	   *parent = text_to_cstring(value);

	if (strlen(parent) != 55 || strncmp(parent, "00-", 3) != 0 || parent[35] != '-' || parent[52] != '-' ||
		!is_hex(parent + 3, 32) || !is_hex(parent + 36, 16) || strspn(parent + 53, "0123456789abcdef") != 2)
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
	clinical_require_arg(!TIMESTAMP_NOT_FINITE(submission->captured_at), "captured_at must be finite");
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
	submission->id = PG_ARGISNULL(ARG_SUBMISSION_ID) ? clinical_uuid7() : PG_GETARG_DATUM(ARG_SUBMISSION_ID);
	submission->has_captured_at = !PG_ARGISNULL(ARG_CAPTURED_AT);
	submission->captured_at = submission->has_captured_at ? PG_GETARG_TIMESTAMPTZ(ARG_CAPTURED_AT) : GetCurrentTimestamp();
	submission->instrument = clinical_optional_arg(fcinfo, ARG_INSTRUMENT);
	submission->time_zone = clinical_optional_arg(fcinfo, ARG_TIME_ZONE);
	submission->originator = clinical_optional_arg(fcinfo, ARG_ORIGINATOR);
	submission->device_id = clinical_optional_arg(fcinfo, ARG_DEVICE_ID);
	submission->actor = clinical_optional_arg(fcinfo, ARG_ACTOR);
	if (submission->actor == NULL)
		submission->actor = clinical_actor_in_force();
	submission->trace_parent = clinical_optional_arg(fcinfo, ARG_TRACE_PARENT);
	clinical_submission_require(submission);
}

/* The columns of a staged report as arguments of a statement. */
static void
pass_submission(const ClinicalSubmission *submission, Datum digest, Datum *values, char *nulls)
{
	const text *texts[] = {submission->instrument, submission->time_zone, submission->originator,
	submission->device_id, submission->actor, submission->trace_parent};

	values[0] = PointerGetDatum(submission->patient_id);
	values[1] = submission->id;
	values[2] = TimestampTzGetDatum(submission->captured_at);
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

/* Put a report among the staged ones. */
static void
stage(Datum *values, const char *nulls)
{
	static ClinicalPlan plan = {
		"INSERT INTO clinical.staged_report (patient_id, submission_id, captured_at, received_at, digest, report_data,"
		"        instrument, time_zone, originator, device_id, login, actor, trace_parent)"
		" VALUES ($1, $2, $3, pg_catalog.clock_timestamp(), $4, $5, $6, $7, $8, $9, SESSION_USER, $10, $11)",
		SUBMISSION_NARGS, {SUBMISSION_TYPES}
	};

	clinical_owner_execute(&plan, values, nulls, false);
}

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
		"                       AND a.submission_id OPERATOR(pg_catalog.=) $2 AND a.digest OPERATOR(pg_catalog.=) $4)",
		SUBMISSION_NARGS + 1, {SUBMISSION_TYPES, UUIDOID}
	};
	Datum		more[SUBMISSION_NARGS + 1];
	char		more_nulls[SUBMISSION_NARGS + 1];

	memcpy(more, values, SUBMISSION_NARGS * sizeof(Datum));
	memcpy(more_nulls, nulls, SUBMISSION_NARGS);
	more[SUBMISSION_NARGS] = clinical_uuid7();
	more_nulls[SUBMISSION_NARGS] = ' ';
	clinical_server_execute(&plan, more, more_nulls);
}

/* Is the id in use?  Then the answer says whether for the same report. */
static bool
id_is_used(Datum *values, Answer *answer)
{
	static ClinicalPlan plan = {
		"SELECT u.digest OPERATOR(pg_catalog.=) $4 FROM ("
		"  SELECT s.digest FROM clinical.submission s"
		"   WHERE s.patient_id OPERATOR(pg_catalog.=) $1 AND s.id OPERATOR(pg_catalog.=) $2"
		"  UNION ALL"
		"  SELECT a.digest FROM clinical.set_aside a"
		"   WHERE a.patient_id OPERATOR(pg_catalog.=) $1 AND a.submission_id OPERATOR(pg_catalog.=) $2"
		"     AND a.outcome OPERATOR(pg_catalog.=) 'quarantined' AND a.requeued_at IS NULL) u LIMIT 1",
		4, {TEXTOID, UUIDOID, TIMESTAMPTZOID, BYTEAOID}
	};
	Datum		same;

	if (!clinical_owner_fetch(&plan, values, NULL, false, &same))
		return false;
	*answer = DatumGetBool(same) ? ALREADY_RECEIVED : CONFLICT;
	return true;
}

/* The answer as a row. */
static Datum
response(FunctionCallInfo fcinfo, Answer answer, Datum id)
{
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = BoolGetDatum(answers[answer].success);
	values[1] = CStringGetTextDatum(answers[answer].message);
	values[2] = id;
	nulls[2] = answer == BUSY;
	values[3] = CStringGetTextDatum(answers[answer].outcome);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* SQL: take in a report. */
Datum
clinical_submit_report(PG_FUNCTION_ARGS)
{
	ClinicalSubmission submission;
	Datum		values[SUBMISSION_NARGS];
	char		nulls[SUBMISSION_NARGS];
	Answer		answer = QUEUED;

	PreventCommandIfReadOnly("submit_report()");
	take_arguments(fcinfo, &submission);
	clinical_intake_require_count();
	if (!clinical_intake_reserve(clinical_queue_capacity))
		return response(fcinfo, BUSY, (Datum) 0);
	/* an acknowledgement is durable, whatever the session has set */
	ForceSyncCommit();
	pass_submission(&submission, clinical_submission_digest(&submission), values, nulls);
	SPI_connect();
	if (!PG_ARGISNULL(ARG_SUBMISSION_ID) && id_is_used(values, &answer))
	{
		clinical_intake_unreserve();
		if (answer == CONFLICT)
			keep_conflict(values, nulls);
	}
	else
		stage(values, nulls);
	SPI_finish();
	clinical_wake_worker();
	return response(fcinfo, answer, submission.id);
}
