/*-------------------------------------------------------------------------
 *
 * intake_store.c
 *		Storing what became of reports: one statement a table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "intake.h"
#include "observation.h"
#include "observe.h"

/* The rows of set_aside; the columns that are those of the staged report come first */
enum
{
	ASIDE_PATIENT_ID, ASIDE_SUBMISSION_ID, ASIDE_RECEIVED_AT, ASIDE_INSTRUMENT, ASIDE_TIME_ZONE, ASIDE_ORIGINATOR,
	ASIDE_DEVICE_ID, ASIDE_LOGIN, ASIDE_ACTOR, ASIDE_TRACE_PARENT, ASIDE_ARRIVAL, ASIDE_OUTCOME, ASIDE_PROJECT_ID,
	ASIDE_REASON, ASIDE_DETAIL, ASIDE_CAPTURED_AT, ASIDE_DIGEST, ASIDE_REPORT_DATA, ASIDE_NCOLUMNS,
};
static const Oid aside_types[ASIDE_NCOLUMNS] = {
	TEXTOID, UUIDOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID,
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, UUIDOID, TEXTOID, INT8OID,
	TEXTOID, JSONBOID, TIMESTAMPTZOID, BYTEAOID, JSONBOID
};
static const int aside_from[ASIDE_ARRIVAL] = {
	CLINICAL_STAGED_PATIENT_ID, CLINICAL_STAGED_SUBMISSION_ID, CLINICAL_STAGED_RECEIVED_AT, CLINICAL_STAGED_INSTRUMENT,
	CLINICAL_STAGED_TIME_ZONE, CLINICAL_STAGED_ORIGINATOR, CLINICAL_STAGED_DEVICE_ID, CLINICAL_STAGED_LOGIN,
	CLINICAL_STAGED_ACTOR, CLINICAL_STAGED_TRACE_PARENT
};

/* The rows of submission, in the same way */
enum
{
	STORE_PATIENT_ID, STORE_SUBMISSION_ID, STORE_RECEIVED_AT, STORE_ORIGINATOR, STORE_DEVICE_ID, STORE_LOGIN,
	STORE_ACTOR, STORE_TRACE_PARENT, STORE_PROJECT_ID, STORE_VERSION_ID, STORE_CAPTURED_AT, STORE_LOCAL_DAY,
	STORE_ZONE, STORE_DIGEST, STORE_OBSERVATIONS, STORE_OBSERVATIONS_DIGEST, STORE_REPORT_DATA, STORE_STATUS, STORE_PROCESSED_AT,
	STORE_NCOLUMNS,
};
static const Oid store_types[STORE_NCOLUMNS] = {
	TEXTOID, UUIDOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID,
	TEXTOID, TEXTOID, INT8OID, INT8OID, TIMESTAMPTZOID, DATEOID,
	TEXTOID, BYTEAOID, INT4OID, BYTEAOID, JSONBOID, TEXTOID, TIMESTAMPTZOID
};
static const char *const store_columns[STORE_NCOLUMNS] = {
	"patient_id", "id", "received_at", "originator", "device_id", "login",
	"actor", "trace_parent", "project_id", "version_id", "captured_at", "local_day",
	"time_zone", "digest", "observations", "observations_digest", "report_data", "status", "processed_at"
};
static const int store_from[STORE_PROJECT_ID] = {
	CLINICAL_STAGED_PATIENT_ID, CLINICAL_STAGED_SUBMISSION_ID, CLINICAL_STAGED_RECEIVED_AT, CLINICAL_STAGED_ORIGINATOR,
	CLINICAL_STAGED_DEVICE_ID, CLINICAL_STAGED_LOGIN, CLINICAL_STAGED_ACTOR, CLINICAL_STAGED_TRACE_PARENT
};

/* Begin a row with columns of the staged report. */
static void
begin_row(ClinicalRows *rows, const ClinicalStaged *staged, const int *from, int count)
{
	clinical_rows_add(rows);
	for (int i = 0; i < count; i++)
	{
		if (!staged->nulls[from[i]])
			clinical_rows_set(rows, i, staged->values[from[i]]);
	}
}

/* Add a report that was accepted, and what was observed in it. */
static void
add_accepted(ClinicalRows *rows, ClinicalRows *observations, const ClinicalStaged *staged)
{
	ClinicalReportKey key = {
		.patient_id = staged->values[CLINICAL_STAGED_PATIENT_ID],
		.submission_id = staged->values[CLINICAL_STAGED_SUBMISSION_ID],
		.captured_at = TimestampTzGetDatum(staged->captured_at),
		.local_day = staged->local_day,
		.actor = staged->nulls[CLINICAL_STAGED_ACTOR] ? (Datum) 0 : staged->values[CLINICAL_STAGED_ACTOR],
	};
	int			count;

	begin_row(rows, staged, store_from, lengthof(store_from));
	clinical_rows_set(rows, STORE_PROJECT_ID, Int64GetDatum(staged->project_id));
	clinical_rows_set(rows, STORE_VERSION_ID, Int64GetDatum(staged->version_id));
	clinical_rows_set(rows, STORE_CAPTURED_AT, TimestampTzGetDatum(staged->captured_at));
	clinical_rows_set(rows, STORE_LOCAL_DAY, staged->local_day);
	clinical_rows_set(rows, STORE_ZONE, staged->zone);
	clinical_rows_set(rows, STORE_DIGEST, staged->digest);
	count = clinical_observations_add(observations, &key, &staged->verdict);
	clinical_rows_set(rows, STORE_OBSERVATIONS, Int32GetDatum(count));
	clinical_rows_set(rows, STORE_OBSERVATIONS_DIGEST, clinical_observations_digest(observations, count));
	clinical_rows_set(rows, STORE_REPORT_DATA, JsonbPGetDatum(staged->data));
	clinical_rows_set(rows, STORE_STATUS, CStringGetTextDatum(staged->outcome));
	clinical_rows_set(rows, STORE_PROCESSED_AT, TimestampTzGetDatum(GetCurrentTimestamp()));
}

/* Add a report that was not. */
static void
add_aside(ClinicalRows *rows, const ClinicalStaged *staged)
{
	begin_row(rows, staged, aside_from, lengthof(aside_from));
	clinical_rows_set(rows, ASIDE_ARRIVAL, clinical_uuid7());
	clinical_rows_set(rows, ASIDE_OUTCOME, CStringGetTextDatum(staged->outcome));
	if (staged->known)
		clinical_rows_set(rows, ASIDE_PROJECT_ID, Int64GetDatum(staged->project_id));
	if (strcmp(staged->outcome, "quarantined") == 0)
	{
		clinical_rows_set(rows, ASIDE_REASON, CStringGetTextDatum(staged->reason));
		clinical_intake_tell_quarantined(staged);
	}
	if (staged->detail != NULL)
		clinical_rows_set(rows, ASIDE_DETAIL, JsonbPGetDatum(staged->detail));
	clinical_rows_set(rows, ASIDE_CAPTURED_AT, TimestampTzGetDatum(staged->captured_at));
	clinical_rows_set(rows, ASIDE_DIGEST, staged->digest);
	/* that of a duplicate is there already */
	if (strcmp(staged->outcome, "duplicate") != 0)
		clinical_rows_set(rows, ASIDE_REPORT_DATA, JsonbPGetDatum(staged->data));
}

/* Store the accepted ones. */
static void
store_accepted(const ClinicalRows *rows)
{
	static ClinicalPlan plan = {
		"INSERT INTO clinical.submission (patient_id, id, received_at, originator, device_id, login, actor, trace_parent,"
		"       project_id, version_id, captured_at, local_day, time_zone, digest, observations, observations_digest, report_data,"
		"       status, processed_at)"
		" SELECT u.*"
		"   FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
		"                   pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8),"
		"                   pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12),"
		"                   pg_catalog.unnest($13), pg_catalog.unnest($14), pg_catalog.unnest($15), pg_catalog.unnest($16),"
		"                   pg_catalog.unnest($17), pg_catalog.unnest($18), pg_catalog.unnest($19)) AS u",
		STORE_NCOLUMNS,
		{TEXTARRAYOID, UUIDARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
			TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, DATEARRAYOID,
		TEXTARRAYOID, BYTEAARRAYOID, INT4ARRAYOID, BYTEAARRAYOID, JSONBARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID}
	};
	static const char *const triggers[] = {"submission_check", "audit", "audit_truncate", "monitor_changed", "monitor_withdrawn", NULL};
	static const ClinicalTarget target = {
		.table = "submission", .nattributes = 20, .audited = true, .triggers = triggers,.without = "submission_withdrawn_idx",
		.ncolumns = STORE_NCOLUMNS, .columns = store_columns
	};
	Datum		arrays[STORE_NCOLUMNS];

	if (rows->nrows == 0 || clinical_insert_below(&target, rows))
		return;
	clinical_rows_arrays(rows, arrays);
	clinical_server_execute(&plan, arrays, NULL);
}

/* Store the others. */
static void
store_aside(const ClinicalRows *rows)
{
	static ClinicalPlan plan = {
		"INSERT INTO clinical.set_aside (patient_id, submission_id, received_at, instrument, time_zone, originator, device_id,"
		"       login, actor, trace_parent, arrival, outcome, project_id, reason_code, detail, captured_at, digest, report_data,"
		"       processed_at)"
		" SELECT u.*, pg_catalog.clock_timestamp()"
		"   FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
		"                   pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8),"
		"                   pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12),"
		"                   pg_catalog.unnest($13), pg_catalog.unnest($14), pg_catalog.unnest($15), pg_catalog.unnest($16),"
		"                   pg_catalog.unnest($17), pg_catalog.unnest($18)) AS u",
		ASIDE_NCOLUMNS,
		{TEXTARRAYOID, UUIDARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
			TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, UUIDARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TEXTARRAYOID, JSONBARRAYOID,
		TIMESTAMPTZARRAYOID, BYTEAARRAYOID, JSONBARRAYOID}
	};
	Datum		arrays[ASIDE_NCOLUMNS];

	if (rows->nrows == 0)
		return;
	clinical_rows_arrays(rows, arrays);
	clinical_server_execute(&plan, arrays, NULL);
}

/* Tell of what was stored. */
static void
tell_stored(const ClinicalRows *submissions, const ClinicalRows *observations)
{
	ClinicalStored stored = {
		.submissions = submissions,
		.patient_id = STORE_PATIENT_ID,
		.submission_id = STORE_SUBMISSION_ID,
		.project_id = STORE_PROJECT_ID,
		.version_id = STORE_VERSION_ID,
		.captured_at = STORE_CAPTURED_AT,
		.local_day = STORE_LOCAL_DAY,
		.time_zone = STORE_ZONE,
		.actor = STORE_ACTOR,
		.trace_parent = STORE_TRACE_PARENT,
		.observations = observations,
	};

	clinical_observations_stored(&stored);
}

/* Keep spans of what becomes of a report, if it belongs to a trace. */
static void
tell_trace(const ClinicalStaged *staged)
{
	if (staged->nulls[CLINICAL_STAGED_TRACE_PARENT])
		return;
	clinical_step_processed(DatumGetTextPP(staged->values[CLINICAL_STAGED_TRACE_PARENT]),
							DatumGetUUIDP(staged->values[CLINICAL_STAGED_SUBMISSION_ID]),
							staged->known ? staged->project_id : 0,
							DatumGetTimestampTz(staged->values[CLINICAL_STAGED_RECEIVED_AT]), staged->outcome,
							strcmp(staged->outcome, "quarantined") == 0 ? staged->reason : NULL);
}

/* Decide what becomes of reports, which are out of their tables, and store it; inside SPI. */
void
clinical_intake_process(ClinicalStaged **reports, int count)
{
	ClinicalRows accepted;
	ClinicalRows aside;
	ClinicalRows observations;
	ClinicalUser saved;

	clinical_rows_begin(&accepted, store_types, STORE_NCOLUMNS);
	clinical_rows_begin(&aside, aside_types, ASIDE_NCOLUMNS);
	clinical_observations_begin(&observations);
	clinical_intake_order(reports, count);
	clinical_owner_begin(&saved);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		clinical_intake_judge(reports[i]);
		if (strcmp(reports[i]->outcome, "accepted") == 0)
			add_accepted(&accepted, &observations, reports[i]);
		else
			add_aside(&aside, reports[i]);
		tell_trace(reports[i]);
	}
	clinical_owner_end(&saved);
	CLINICAL_FAULT("drain_judged");
	store_accepted(&accepted);
	store_aside(&aside);
	CLINICAL_FAULT("drain_stored");
	clinical_observations_store(&observations);
	CLINICAL_FAULT("drain_observed");
	tell_stored(&accepted, &observations);
	CLINICAL_FAULT("drain_monitored");
}

/* Count what became of a report, and how long it waited; false: nothing yet. */
bool
clinical_intake_count_outcome(const ClinicalStaged *staged)
{
	static const struct
	{
		const char *outcome;
		ClinicalCounter counter;
	}			counters[] = {
		{"accepted", CLINICAL_COUNT_ACCEPTED},
		{"duplicate", CLINICAL_COUNT_DUPLICATE},
		{"conflict", CLINICAL_COUNT_CONFLICT},
		{"quarantined", CLINICAL_COUNT_QUARANTINED},
	};
	int64		project_id = staged->known ? staged->project_id : 0;
	int64		waited = staged->taken_at - DatumGetTimestampTz(staged->values[CLINICAL_STAGED_RECEIVED_AT]);

	if (staged->outcome == NULL)
		return false;
	for (int i = 0; i < (int) lengthof(counters); i++)
	{
		if (strcmp(staged->outcome, counters[i].outcome) == 0)
			clinical_count(counters[i].counter, project_id, 1);
	}
	/* one that was put back from quarantine has waited for people */
	if (staged->nulls[CLINICAL_STAGED_DIGEST])
		clinical_measure(CLINICAL_TIME_WAITING, (uint64) Max(waited, 0), 1);
	return true;
}

/* Store one report that is in quarantine because it could not be processed. */
void
clinical_intake_store_aside(ClinicalStaged *staged)
{
	ClinicalRows aside;

	SPI_connect();
	clinical_rows_begin(&aside, aside_types, ASIDE_NCOLUMNS);
	add_aside(&aside, staged);
	tell_trace(staged);
	store_aside(&aside);
	SPI_finish();
}
