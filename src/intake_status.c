/*-------------------------------------------------------------------------
 *
 * intake_status.c
 *		What has become of a report, and putting one in quarantine back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "intake.h"
#include "observe.h"
#include "patient.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(clinical_submission_status);
PG_FUNCTION_INFO_V1(clinical_requeue);

/* SQL: what has become of a report. */
Datum
clinical_submission_status(PG_FUNCTION_ARGS)
{
	/* staged reports last: looking through them takes longer than all the rest */
	static ClinicalPlan plan = {
		"SELECT ROW(u.status, u.reason_code, u.detail, u.received_at, u.processed_at) FROM ("
		"  SELECT s.patient_id, s.login, s.status, NULL::pg_catalog.text AS reason_code, NULL::pg_catalog.jsonb AS detail,"
		"         s.received_at, s.processed_at"
		"    FROM clinical.submission s WHERE s.patient_id OPERATOR(pg_catalog.=) $1 AND s.id OPERATOR(pg_catalog.=) $2"
		"  UNION ALL"
		"  SELECT a.patient_id, a.login, a.outcome, a.reason_code, a.detail, a.received_at, a.processed_at"
		"    FROM clinical.set_aside a WHERE a.patient_id OPERATOR(pg_catalog.=) $1 AND a.submission_id OPERATOR(pg_catalog.=) $2"
		"     AND a.outcome OPERATOR(pg_catalog.=) 'quarantined' AND a.requeued_at IS NULL"
		"  UNION ALL"
		"  (SELECT r.patient_id, r.login, 'queued', NULL, NULL, r.received_at, NULL"
		"    FROM clinical.staged_report r WHERE r.patient_id OPERATOR(pg_catalog.=) $1 AND r.submission_id OPERATOR(pg_catalog.=) $2"
		"   ORDER BY r.received_at LIMIT 1)) u"
		" WHERE u.login OPERATOR(pg_catalog.=) SESSION_USER OR clinical.role_sees($3, NULL, NULL) AND"
		"       COALESCE((SELECT clinical.role_sees($3, p.project_id, p.center_id) FROM clinical.patient p"
		"                  WHERE p.id OPERATOR(pg_catalog.=) $1), pg_catalog.pg_has_role($3, 'clinical_auditor', 'USAGE'))"
		" LIMIT 1",
		3, {TEXTOID, UUIDOID, OIDOID}
	};
	Datum		values[3];
	Datum		row;

	values[0] = PointerGetDatum(clinical_text_arg(fcinfo, 0, "patient id is required"));
	clinical_require_arg(!PG_ARGISNULL(1), "submission id is required");
	values[1] = PG_GETARG_DATUM(1);
	values[2] = ObjectIdGetDatum(clinical_caller());
	if (!clinical_owner_fetch(&plan, values, NULL, true, &row))
		clinical_submission_not_found();
	return row;
}

/* A key of a patch that is a text; false if the patch does not have it. */
static bool
patched_text(const JsonbValue *patch, const char *key, text **value)
{
	JsonbValue	found;

	if (clinical_json_get(patch, key, &found) == NULL)
		return false;
	if (found.type != jbvString && found.type != jbvNull)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key \"%s\" of the patch must be a text", key)));
	*value = found.type == jbvNull ? NULL : cstring_to_text_with_len(found.val.string.val, found.val.string.len);
	return true;
}

/* A moment in a patch. */
static void
patch_moment(const JsonbValue *patch, ClinicalSubmission *copy)
{
	text	   *value;
	int64		low;
	int64		high;

	if (!patched_text(patch, "captured_at", &value))
		return;
	if (value == NULL ||
		!clinical_parse_date_time(VARDATA_ANY(value), (int) VARSIZE_ANY_EXHDR(value), false, &low, &high))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key \"captured_at\" of the patch must be a moment with its offset, as in ISO 8601")));
	copy->captured_at = low;
	copy->has_captured_at = true;
}

/* Refuse a patch that has keys of no use. */
static void
require_patch_keys(Jsonb *patch)
{
	static const char *const keys[] = {"patient_id", "captured_at", "instrument", "time_zone", "report_data"};
	JsonbIterator *iterator = NULL;
	JsonbValue	key;
	JsonbValue	value;

	clinical_require_arg(JB_ROOT_IS_OBJECT(patch), "patch must be an object");
	iterator = JsonbIteratorInit(&patch->root);
	while (clinical_json_next(&iterator, &key, &value))
	{
		bool		known = false;

		for (int i = 0; i < (int) lengthof(keys); i++)
			known |= clinical_json_is(&key, keys[i]);
		clinical_require_arg(known, "patch may have the keys patient_id, captured_at, instrument, time_zone and report_data");
	}
}

/* Who gives a report to another patient sees that one, too. */
static void
require_patient(const ClinicalSubmission *copy)
{
	static ClinicalPlan plan = {
		"SELECT true FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
	};
	Datum		id = PointerGetDatum(copy->patient_id);
	Datum		ignored;

	clinical_require_arg(copy->patient_id != NULL, "patient id is required");
	if (!clinical_fetch(&plan, &id, NULL, true, &ignored))
		clinical_patient_not_found();
}

/* Change a copy of a report as a patch says. */
static void
apply_patch(ClinicalSubmission *copy, Jsonb *document)
{
	JsonbValue	patch;
	JsonbValue	data;

	require_patch_keys(document);
	clinical_json_value(document, &patch);
	if (patched_text(&patch, "patient_id", &copy->patient_id))
		require_patient(copy);
	(void) patched_text(&patch, "instrument", &copy->instrument);
	(void) patched_text(&patch, "time_zone", &copy->time_zone);
	patch_moment(&patch, copy);
	if (clinical_json_get(&patch, "report_data", &data) != NULL)
		copy->data = clinical_merge(copy->data, JsonbValueToJsonb(&data));
	clinical_submission_require(copy);
}

/* A column of a report in quarantine. */
static Datum
quarantined_column(int number)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number, &isnull);

	return isnull ? (Datum) 0 : value;
}

/* Find a report in quarantine that the caller may see, and lock it. */
static Datum
find_quarantined(Datum *key, ClinicalSubmission *copy)
{
	static ClinicalPlan visible = {
		"SELECT a.arrival FROM clinical.set_aside a"
		" WHERE a.patient_id OPERATOR(pg_catalog.=) $1 AND a.submission_id OPERATOR(pg_catalog.=) $2 LIMIT 1",
		2, {TEXTOID, UUIDOID}
	};
	static ClinicalPlan plan = {
		"SELECT a.arrival, a.captured_at, a.instrument, a.time_zone, a.originator, a.report_data"
		"  FROM clinical.set_aside a"
		" WHERE a.patient_id OPERATOR(pg_catalog.=) $1 AND a.submission_id OPERATOR(pg_catalog.=) $2"
		"   AND a.outcome OPERATOR(pg_catalog.=) 'quarantined' AND a.requeued_at IS NULL FOR UPDATE",
		2, {TEXTOID, UUIDOID}
	};
	Datum		ignored;

	if (!clinical_fetch(&visible, key, NULL, true, &ignored))
		clinical_submission_not_found();
	clinical_owner_execute(&plan, key, NULL, false);
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("submission is not in quarantine")));
	copy->patient_id = DatumGetTextPP(key[0]);
	copy->captured_at = DatumGetTimestampTz(quarantined_column(2));
	copy->has_captured_at = true;
	copy->instrument = (text *) DatumGetPointer(quarantined_column(3));
	copy->time_zone = (text *) DatumGetPointer(quarantined_column(4));
	copy->originator = (text *) DatumGetPointer(quarantined_column(5));
	copy->data = DatumGetJsonbP(quarantined_column(6));
	return quarantined_column(1);
}

/* What the original of a copy says of how it came */
enum
{
	ORIGINAL_RECEIVED_AT = 1, ORIGINAL_DIGEST, ORIGINAL_DEVICE_ID, ORIGINAL_LOGIN, ORIGINAL_ACTOR, ORIGINAL_TRACE_PARENT,
	ORIGINAL_PROJECT_ID,
};

/* Set a column of a staged report; 0: NULL. */
static void
set_column(Datum *values, bool *nulls, ClinicalStagedColumn column, Datum value)
{
	values[column] = value;
	nulls[column] = value == (Datum) 0;
}

/* Put a copy of a report, whose original was marked just now, among the staged ones. */
static void
stage_copy(ClinicalBacklog *backlog, const ClinicalSubmission *copy, Datum digest)
{
	Datum		values[CLINICAL_STAGED_NCOLUMNS] = {0};
	bool		nulls[CLINICAL_STAGED_NCOLUMNS] = {false};

	set_column(values, nulls, CLINICAL_STAGED_PATIENT_ID, PointerGetDatum(copy->patient_id));
	set_column(values, nulls, CLINICAL_STAGED_SUBMISSION_ID, copy->id);
	values[CLINICAL_STAGED_CAPTURED_AT] = TimestampTzGetDatum(copy->captured_at);
	values[CLINICAL_STAGED_RECEIVED_AT] = quarantined_column(ORIGINAL_RECEIVED_AT);
	set_column(values, nulls, CLINICAL_STAGED_INSTRUMENT, PointerGetDatum(copy->instrument));
	set_column(values, nulls, CLINICAL_STAGED_TIME_ZONE, PointerGetDatum(copy->time_zone));
	set_column(values, nulls, CLINICAL_STAGED_ORIGINATOR, PointerGetDatum(copy->originator));
	set_column(values, nulls, CLINICAL_STAGED_DEVICE_ID, quarantined_column(ORIGINAL_DEVICE_ID));
	set_column(values, nulls, CLINICAL_STAGED_LOGIN, quarantined_column(ORIGINAL_LOGIN));
	set_column(values, nulls, CLINICAL_STAGED_ACTOR, quarantined_column(ORIGINAL_ACTOR));
	set_column(values, nulls, CLINICAL_STAGED_TRACE_PARENT, quarantined_column(ORIGINAL_TRACE_PARENT));
	set_column(values, nulls, CLINICAL_STAGED_DIGEST, digest != 0 ? digest : quarantined_column(ORIGINAL_DIGEST));
	set_column(values, nulls, CLINICAL_STAGED_REPORT_DATA, JsonbPGetDatum(copy->data));
	nulls[CLINICAL_STAGED_ATTEMPTS] = nulls[CLINICAL_STAGED_CRASHES] = nulls[CLINICAL_STAGED_NOT_BEFORE] = true;
	nulls[CLINICAL_STAGED_QUOTA_PROJECT] = true;
	/* it was accepted before: it has a place also in a full queue */
	(void) clinical_stage_put(backlog, PG_INT64_MAX, 0, values, nulls, false);
}

/* SQL: put a report in quarantine back among the staged ones. */
Datum
clinical_requeue(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.set_aside AS a SET requeued_at = pg_catalog.clock_timestamp(), requeued_by = SESSION_USER,"
		"       requeue_actor = $6, requeue_reason = $4, patch = $5"
		" WHERE a.patient_id OPERATOR(pg_catalog.=) $1 AND a.submission_id OPERATOR(pg_catalog.=) $2 AND a.arrival OPERATOR(pg_catalog.=) $3"
		" RETURNING a.received_at, a.digest, a.device_id, a.login, a.actor, a.trace_parent, COALESCE(a.project_id, 0)",
		6, {TEXTOID, UUIDOID, UUIDOID, TEXTOID, JSONBOID, TEXTOID}
	};
	ClinicalBacklog *backlog;
	ClinicalSubmission copy = {0};
	Datum		values[6] = {0};
	char		nulls[6];
	Datum		digest = (Datum) 0;
	text	   *reason = clinical_optional_arg(fcinfo, 2);

	PreventCommandDuringRecovery("clinical.requeue()");
	PreventCommandIfParallelMode("clinical.requeue()");
	values[0] = PointerGetDatum(clinical_text_arg(fcinfo, 0, "patient id is required"));
	clinical_require_arg(!PG_ARGISNULL(1), "submission id is required");
	values[1] = PG_GETARG_DATUM(1);
	if (reason == NULL)
		reason = clinical_reason_in_force();
	clinical_require_arg(reason != NULL && VARSIZE_ANY_EXHDR(reason) > 0, "reason is required");
	values[3] = PointerGetDatum(reason);
	values[5] = PointerGetDatum(clinical_actor_in_force());
	backlog = clinical_intake_backlog();
	SPI_connect();
	copy.id = values[1];
	values[2] = find_quarantined(values, &copy);
	if (!PG_ARGISNULL(3))
	{
		values[4] = PG_GETARG_DATUM(3);
		apply_patch(&copy, PG_GETARG_JSONB_P(3));
		digest = clinical_submission_digest(&copy);
	}
	for (int i = 0; i < 6; i++)
		nulls[i] = values[i] == 0 ? 'n' : ' ';
	clinical_server_execute(&plan, values, nulls);
	stage_copy(backlog, &copy, digest);
	clinical_count(CLINICAL_COUNT_REQUEUED, DatumGetInt64(quarantined_column(ORIGINAL_PROJECT_ID)), 1);
	SPI_finish();
	clinical_wake_worker();
	PG_RETURN_TEXT_P(cstring_to_text("queued"));
}
