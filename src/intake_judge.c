/*-------------------------------------------------------------------------
 *
 * intake_judge.c
 *		What becomes of a report: accepted, duplicate, conflict or quarantined.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "intake.h"

/* So many findings are kept with a report in quarantine */
#define MAX_DETAILS 100

/* Put out a text, unless there is none. */
static void
put_text(JsonbParseState **state, const char *key, const char *value)
{
	if (value != NULL)
		clinical_json_put_text(state, key, value);
}

/* Put out a finding: where and why, no value. */
static void
put_finding(JsonbParseState **state, const ClinicalFinding *finding)
{
	ListCell   *lc;

	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	put_text(state, "item", finding->item == NULL ? NULL : finding->item->code);
	put_text(state, "reason_code", finding->reason);
	put_text(state, "check_id", finding->check);
	put_text(state, "soft_hard", finding->hard ? "Hard" : "Soft");
	clinical_json_key(state, "path");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	foreach(lc, finding->path)
	{
		JsonbValue	step;

		step.type = jbvString;
		step.val.string.val = lfirst(lc);
		step.val.string.len = (int) strlen(step.val.string.val);
		pushJsonbValue(state, WJB_ELEM, &step);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* The findings of a report: {"findings": [...]}. */
static Jsonb *
findings_detail(const ClinicalVerdict *verdict)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	clinical_json_key(&state, "findings");
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < verdict->nfindings && i < MAX_DETAILS; i++)
		put_finding(&state, &verdict->findings[i]);
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Put a report into quarantine, with one more thing to say about the reason, unless key is NULL. */
void
clinical_intake_set_aside(ClinicalStaged *staged, const char *reason, const char *key, const char *value)
{
	JsonbParseState *state = NULL;

	staged->outcome = "quarantined";
	staged->reason = reason;
	staged->detail = NULL;
	if (key == NULL)
		return;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	clinical_json_put_text(&state, key, value);
	staged->detail = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Does a reference such as "Patient/P001" name the patient of the report? */
static bool
names_patient(const ClinicalStaged *staged, const JsonbValue *reference)
{
	text	   *id = DatumGetTextPP(staged->values[CLINICAL_STAGED_PATIENT_ID]);
	int			length = (int) VARSIZE_ANY_EXHDR(id);
	const char *string = reference->val.string.val;
	int			start = reference->val.string.len - length;

	return start >= 0 && memcmp(string + start, VARDATA_ANY(id), length) == 0 &&
		(start == 0 || string[start - 1] == '/');
}

/*
 * What a FHIR response says of its patient and its time must be what the call
 * said: a wrong patient is the worst that can happen.  NULL: nothing disagrees.
 */
static const char *
disagreement(const ClinicalStaged *staged)
{
	JsonbValue	response;
	JsonbValue	subject;
	JsonbValue	value;
	int64		low;
	int64		high;

	clinical_json_value(staged->data, &response);
	if (clinical_json_get(&response, "resourceType", &value) == NULL)
		return NULL;
	if (clinical_json_get(&response, "subject", &subject) != NULL &&
		clinical_json_get(&subject, "reference", &value) != NULL &&
		(value.type != jbvString || !names_patient(staged, &value)))
		return "subject";
	if (clinical_json_get(&response, "authored", &value) != NULL &&
		(value.type != jbvString ||
		 !clinical_parse_date_time(value.val.string.val, value.val.string.len, true, &low, &high) ||
		 staged->captured_at < low - USECS_PER_DAY || staged->captured_at > high + USECS_PER_DAY))
		return "authored";
	return NULL;
}

/* Check the answers against the questionnaire. */
static void
judge_answers(ClinicalStaged *staged)
{
	const char *element = disagreement(staged);

	if (element != NULL)
	{
		clinical_intake_set_aside(staged, "disagrees", "check_id", element);
		return;
	}
	clinical_validate(clinical_instrument_cached(staged->version_id), staged->data, &staged->verdict);
	staged->outcome = "accepted";
	if (staged->verdict.valid)
		return;
	staged->outcome = "quarantined";
	for (int i = staged->verdict.nfindings - 1; i >= 0; i--)
	{
		if (staged->verdict.findings[i].hard)
			staged->reason = staged->verdict.findings[i].reason;
	}
	staged->detail = findings_detail(&staged->verdict);
}

/* Compare by patient and id; 0: they have one id. */
int
clinical_compare_ids(const ClinicalStaged *a, const ClinicalStaged *b)
{
	text	   *patient_a = DatumGetTextPP(a->values[CLINICAL_STAGED_PATIENT_ID]);
	text	   *patient_b = DatumGetTextPP(b->values[CLINICAL_STAGED_PATIENT_ID]);
	int			length_a = (int) VARSIZE_ANY_EXHDR(patient_a);
	int			length_b = (int) VARSIZE_ANY_EXHDR(patient_b);
	int			order = memcmp(VARDATA_ANY(patient_a), VARDATA_ANY(patient_b), Min(length_a, length_b));

	if (order == 0)
		order = length_a - length_b;
	if (order == 0)
		order = memcmp(DatumGetUUIDP(a->values[CLINICAL_STAGED_SUBMISSION_ID]),
					   DatumGetUUIDP(b->values[CLINICAL_STAGED_SUBMISSION_ID]), UUID_LEN);
	return order;
}

/* Which of two reports was received first?  For sorting. */
int
clinical_staged_received(const void *left, const void *right)
{
	const ClinicalStaged *a = *(ClinicalStaged *const *) left;
	const ClinicalStaged *b = *(ClinicalStaged *const *) right;
	TimestampTz received_a = DatumGetTimestampTz(a->values[CLINICAL_STAGED_RECEIVED_AT]);
	TimestampTz received_b = DatumGetTimestampTz(b->values[CLINICAL_STAGED_RECEIVED_AT]);

	return (received_a > received_b) - (received_a < received_b);
}

/* Compare by patient, id, and who came first.  For sorting. */
int
clinical_staged_order(const void *left, const void *right)
{
	int			order = clinical_compare_ids(*(ClinicalStaged *const *) left, *(ClinicalStaged *const *) right);

	return order != 0 ? order : clinical_staged_received(left, right);
}

/* A column that may be NULL as a text, or NULL. */
static text *
staged_text(const ClinicalStaged *staged, ClinicalStagedColumn column)
{
	return staged->nulls[column] ? NULL : DatumGetTextPP(staged->values[column]);
}

/* A number of a staged report; 0 if it is not set. */
int
clinical_staged_number(const ClinicalStaged *staged, ClinicalStagedColumn column)
{
	return staged->nulls[column] ? 0 : DatumGetInt32(staged->values[column]);
}

/* Make ready what follows from the row itself, in the current memory context. */
void
clinical_intake_prepare(ClinicalStaged *staged)
{
	ClinicalSubmission submission = {0};

	staged->data = DatumGetJsonbP(staged->values[CLINICAL_STAGED_REPORT_DATA]);
	submission.has_captured_at = !staged->nulls[CLINICAL_STAGED_CAPTURED_AT];
	submission.captured_at = submission.has_captured_at ?
		DatumGetTimestampTz(staged->values[CLINICAL_STAGED_CAPTURED_AT]) :
		DatumGetTimestampTz(staged->values[CLINICAL_STAGED_RECEIVED_AT]);
	staged->captured_at = submission.captured_at;
	memset(&staged->use, 0, sizeof(staged->use));
	staged->version_id = 0;
	staged->outcome = NULL;
	staged->detail = NULL;
	staged->reason = NULL;
	staged->sqlerrcode = 0;
	memset(&staged->verdict, 0, sizeof(staged->verdict));
	if (!staged->nulls[CLINICAL_STAGED_DIGEST])
	{
		staged->digest = staged->values[CLINICAL_STAGED_DIGEST];
		return;
	}
	submission.instrument = staged_text(staged, CLINICAL_STAGED_INSTRUMENT);
	submission.time_zone = staged_text(staged, CLINICAL_STAGED_TIME_ZONE);
	submission.data = staged->data;
	staged->digest = clinical_submission_digest(&submission);
}

/* Put reports in order, by patient and id, and find out what is known about them. */
void
clinical_intake_order(ClinicalStaged **reports, int count)
{
	qsort(reports, count, sizeof(ClinicalStaged *), clinical_staged_order);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		clinical_intake_prepare(reports[i]);
	}
	clinical_intake_look_up(reports, count);
	/* who came first in the batch decides for those after it, unless somebody did before */
	for (int i = 1, first = 0; i < count; i++)
	{
		if (clinical_compare_ids(reports[first], reports[i]) != 0)
			first = i;
		else if (!reports[i]->use.used)
		{
			reports[i]->use.used = true;
			reports[i]->use.same = reports[i]->use.original || clinical_same_bytes(reports[i]->digest, reports[first]->digest);
		}
	}
}

/* Decide what becomes of a report; memory lives in the current context. */
void
clinical_intake_judge(ClinicalStaged *staged)
{
	if (staged->use.used)
		staged->outcome = staged->use.same ? "duplicate" : "conflict";
	else if (staged->reason != NULL)
		clinical_intake_set_aside(staged, staged->reason, NULL, NULL);
	else
		judge_answers(staged);
}
