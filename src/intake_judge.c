/*-------------------------------------------------------------------------
 *
 * intake_judge.c
 *		What becomes of a report: accepted, duplicate, conflict or quarantined.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

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

/* Set a report aside, for a reason that has to do with one element of the response. */
static void
quarantine(ClinicalStaged *staged, const char *reason, const char *check)
{
	JsonbParseState *state = NULL;

	staged->outcome = "quarantined";
	staged->reason = reason;
	if (check == NULL)
		return;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	clinical_json_put_text(&state, "check_id", check);
	staged->detail = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Does a reference such as "Patient/P001" name the patient of the report? */
static bool
names_patient(const ClinicalStaged *staged, const JsonbValue *reference)
{
	text	   *id = DatumGetTextPP(staged->patient_id);
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
		 DatumGetTimestampTz(staged->captured_at) < low - USECS_PER_DAY ||
		 DatumGetTimestampTz(staged->captured_at) > high + USECS_PER_DAY))
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
		quarantine(staged, "disagrees", element);
		return;
	}
	clinical_validate(clinical_instrument_cached(staged->version_id), staged->data, &staged->verdict);
	staged->outcome = "accepted";
	if (staged->verdict.valid)
		return;
	quarantine(staged, "failed", NULL);
	for (int i = staged->verdict.nfindings - 1; i >= 0; i--)
	{
		if (staged->verdict.findings[i].hard)
			staged->reason = staged->verdict.findings[i].reason;
	}
	staged->detail = findings_detail(&staged->verdict);
}

/* Decide what becomes of a report; memory lives in the current context. */
void
clinical_intake_judge(ClinicalStaged *staged)
{
	if (staged->repeats)
		staged->outcome = staged->same ? "duplicate" : "conflict";
	else if (staged->reason != NULL)
		quarantine(staged, staged->reason, NULL);
	else
		judge_answers(staged);
}
