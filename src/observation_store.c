/*-------------------------------------------------------------------------
 *
 * observation_store.c
 *		Storing the observations of many reports by one statement.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "observation.h"

static ClinicalAfterStore after_store = NULL;

/* Say who is told of what was stored, when the library is loaded. */
void
clinical_register_after_store(ClinicalAfterStore callback)
{
	after_store = callback;
}

/* Tell of what was stored. */
void
clinical_observations_stored(const ClinicalStored *stored)
{
	if (after_store != NULL && stored->submissions->nrows > 0)
		after_store(stored);
}

/* Begin with no observations, in the current memory context. */
void
clinical_observations_begin(ClinicalRows *rows)
{
	clinical_rows_begin(rows, clinical_observed_types, OBSERVED_NSTORED);
}

/* Begin a row of a report. */
static void
add_row(ClinicalRows *rows, const ClinicalReportKey *key, const char *item, bool is_score, bool flagged)
{
	clinical_rows_add(rows);
	clinical_rows_set(rows, OBSERVED_PATIENT_ID, key->patient_id);
	clinical_rows_set(rows, OBSERVED_ITEM, CStringGetTextDatum(item));
	clinical_rows_set(rows, OBSERVED_CAPTURED_AT, key->captured_at);
	clinical_rows_set(rows, OBSERVED_ID, clinical_uuid7());
	clinical_rows_set(rows, OBSERVED_SUBMISSION_ID, key->submission_id);
	clinical_rows_set(rows, OBSERVED_LOCAL_DAY, key->local_day);
	clinical_rows_set(rows, OBSERVED_IS_SCORE, BoolGetDatum(is_score));
	clinical_rows_set(rows, OBSERVED_FLAGGED, BoolGetDatum(flagged));
	if (key->actor != 0)
		clinical_rows_set(rows, OBSERVED_ACTOR, key->actor);
}

/* Set a text of that length, unless there is none. */
static void
set_text(ClinicalRows *rows, int column, const char *string, int length)
{
	if (string != NULL)
		clinical_rows_set(rows, column, PointerGetDatum(cstring_to_text_with_len(string, length)));
}

/* Set a text that is terminated, unless there is none. */
static void
set_string(ClinicalRows *rows, int column, const char *string)
{
	if (string != NULL)
		clinical_rows_set(rows, column, CStringGetTextDatum(string));
}

/* Add the row of an answer. */
static void
add_observation(ClinicalRows *rows, const ClinicalReportKey *key, const ClinicalObservation *observation)
{
	add_row(rows, key, observation->item->code, false, observation->flagged);
	if (observation->repeat_key != NULL && observation->repeat_key[0] != '\0')
		set_string(rows, OBSERVED_REPEAT_KEY, observation->repeat_key);
	if (observation->value == NULL)
		set_text(rows, OBSERVED_ABSENT, observation->absent, observation->absent_length);
	else
	{
		ClinicalValueColumns columns;

		clinical_value_columns(observation->item, observation->value, &columns);
		if (columns.number != NULL)
			clinical_rows_set(rows, OBSERVED_VALUE, NumericGetDatum(columns.number));
		set_text(rows, OBSERVED_VALUE_TEXT, columns.text, columns.length);
		set_string(rows, OBSERVED_VALUE_CODE, columns.code);
		set_text(rows, OBSERVED_UNIT, columns.unit, columns.unit_length);
	}
}

/* Add the row of a score, if it could be computed; false if not. */
static bool
add_score(ClinicalRows *rows, const ClinicalReportKey *key, const ClinicalScored *scored)
{
	if (scored->value == NULL)
		return false;
	add_row(rows, key, scored->score->code, true, false);
	clinical_rows_set(rows, OBSERVED_VALUE, NumericGetDatum(scored->value));
	set_string(rows, OBSERVED_UNIT, scored->score->unit);
	return true;
}

/* Say of the last so many rows when, and by whom, they are recorded: the digest is of that too. */
static void
stamp_rows(ClinicalRows *rows, int count)
{
	Datum		recorded_at = TimestampTzGetDatum(GetCurrentTimestamp());
	Datum		recorded_by = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false));

	for (int row = rows->nrows - count; row < rows->nrows; row++)
	{
		rows->values[OBSERVED_RECORDED_AT][row] = recorded_at;
		rows->values[OBSERVED_RECORDED_BY][row] = recorded_by;
		rows->nulls[OBSERVED_RECORDED_AT][row] = rows->nulls[OBSERVED_RECORDED_BY][row] = false;
	}
}

/*
 * Add the observations of a report, and say how many.  The key and the verdict
 * must live as long as the rows.
 */
int
clinical_observations_add(ClinicalRows *rows, const ClinicalReportKey *key, const ClinicalVerdict *verdict)
{
	int			count = verdict->nobservations;

	for (int i = 0; i < verdict->nobservations; i++)
		add_observation(rows, key, &verdict->observations[i]);
	for (int i = 0; i < verdict->nscored; i++)
		count += add_score(rows, key, &verdict->scored[i]);
	stamp_rows(rows, count);
	return count;
}

/* Store them, inside SPI. */
void
clinical_observations_store(const ClinicalRows *rows)
{
	static ClinicalPlan plan = {
		"INSERT INTO clinical.observation (patient_id, item, captured_at, id, version, submission_id, repeat_key, local_day,"
		"        value, value_text, value_code, unit, absent, is_score, flagged, recorded_at, recorded_by, actor)"
		" SELECT u.patient_id, u.item, u.captured_at, u.id, 1, u.submission_id, u.repeat_key, u.local_day,"
		"        u.value, u.value_text, u.value_code, u.unit, u.absent, u.is_score, u.flagged,"
		"        u.recorded_at, u.recorded_by, u.actor"
		"   FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
		"                   pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8),"
		"                   pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12),"
		"                   pg_catalog.unnest($13), pg_catalog.unnest($14), pg_catalog.unnest($15), pg_catalog.unnest($16),"
		"                   pg_catalog.unnest($17))"
		"     AS u (patient_id, item, captured_at, id, submission_id, repeat_key, local_day,"
		"           value, value_text, value_code, unit, absent, is_score, flagged, actor, recorded_at, recorded_by)",
		OBSERVED_NSTORED,
		{TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, UUIDARRAYOID, UUIDARRAYOID, TEXTARRAYOID,
			DATEARRAYOID, NUMERICARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
		BOOLARRAYOID, BOOLARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID}
	};
	static const char *const triggers[] = {"history_rows", "audit", "audit_added", "audit_truncate", "monitor_added", "monitor_changed",
	"monitor_corrected", "monitor_redacted", NULL};
	static const ClinicalTarget target = {
		.table = "observation", .nattributes = 19, .triggers = triggers,.without = "observation_corrected_idx",
		.ncolumns = OBSERVED_NSTORED, .columns = clinical_observed_names,
		.constant = "version", .value = (Datum) 1
	};
	Datum		arrays[OBSERVED_NSTORED];

	if (rows->nrows == 0 || clinical_insert_below(&target, rows))
		return;
	clinical_rows_arrays(rows, arrays);
	clinical_server_execute(&plan, arrays, NULL);
}
