/*-------------------------------------------------------------------------
 *
 * intake_drain.c
 *		Processing staged reports: in the background worker, and in the
 *		foreground by process_reports.
 *
 * One transaction takes up to a batch of rows out of staging, decides what
 * becomes of each, and stores that by one statement a table.  One at a time does
 * so in a database.  A batch that fails is tried again by halves, until the
 * report that fails is alone: it goes into quarantine.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "intake.h"
#include "observation.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(clinical_process_reports);

/* What is passed to the statement that stores reports, a row each */
enum
{
	STORE_TID, STORE_OUTCOME, STORE_REASON, STORE_DETAIL, STORE_PROJECT_ID, STORE_VERSION_ID, STORE_LOCAL_DAY,
	STORE_ZONE, STORE_OBSERVATIONS, STORE_ARRIVAL, STORE_NCOLUMNS,
};
static const Oid store_types[STORE_NCOLUMNS] = {
	TIDOID, TEXTOID, TEXTOID, JSONBOID, INT8OID, INT8OID, DATEOID, TEXTOID, INT4OID, UUIDOID
};

/* The columns of what is read of a staged report */
enum
{
	READ_TID = 1, READ_PATIENT_ID, READ_SUBMISSION_ID, READ_CAPTURED_AT, READ_ACTOR, READ_DATA, READ_REPEATS, READ_SAME,
	READ_PROJECT_ID, READ_ZONE, READ_LOCAL_DAY, READ_REASON, READ_VERSION_ID,
};

/* Only one at a time processes reports of this database. */
static void
lock_drain(void)
{
	Oid			relid = get_relname_relid("staged_report", get_namespace_oid("clinical", false));

	LockDatabaseObject(RelationRelationId, relid, 2, ExclusiveLock);
}

/* Find up to so many staged reports, in the order in which they stand. */
static int
find_staged(int limit, Datum **tids)
{
	static ClinicalPlan plan = {
		"SELECT s.ctid FROM clinical.staged_report s LIMIT $1", 1, {INT8OID}
	};
	Datum		argument = Int64GetDatum(limit);
	int			count;

	clinical_owner_execute(&plan, &argument, NULL, false);
	count = (int) SPI_processed;
	*tids = palloc_array(Datum, count + 1);
	for (int i = 0; i < count; i++)
	{
		bool		isnull;

		(*tids)[i] = datumCopy(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull),
							   false, sizeof(ItemPointerData));
	}
	SPI_freetuptable(SPI_tuptable);
	return count;
}

/* Read staged reports with all that the database knows about them. */
static void
read_staged(Datum tids)
{
	/* so far may a device's clock be ahead: 15 minutes */
	static ClinicalPlan plan = {
		"SELECT s.ctid, s.patient_id, s.submission_id, s.captured_at, s.actor, s.report_data,"
		"       o.digest IS NOT NULL OR s.arrival OPERATOR(pg_catalog.>) 1,"
		"       COALESCE(o.digest, s.first_digest) OPERATOR(pg_catalog.=) s.digest,"
		"       p.project_id, z.zone, z.day,"
		"       CASE WHEN p.id IS NULL THEN 'unknown_patient'"
		"            WHEN s.captured_at OPERATOR(pg_catalog.>) (s.received_at OPERATOR(pg_catalog.+) '15 minutes'::pg_catalog.interval)"
		"            THEN 'captured_in_future'"
		"            WHEN e.first_day OPERATOR(pg_catalog.>) z.day THEN 'captured_before_enrolment'"
		"            WHEN (l.status OPERATOR(pg_catalog.=) 'enrolled') IS NOT TRUE OR j.status OPERATOR(pg_catalog.=) 'closed' THEN 'patient_not_on_study'"
		"            WHEN v.version_id IS NULL THEN 'unknown_instrument' END,"
		"       v.version_id"
		"  FROM (SELECT r.ctid, r.*, pg_catalog.row_number() OVER w AS arrival, pg_catalog.first_value(r.digest) OVER w AS first_digest"
		"          FROM clinical.staged_report r WHERE r.ctid OPERATOR(pg_catalog.=) ANY ($1)"
		"        WINDOW w AS (PARTITION BY r.patient_id, r.submission_id ORDER BY r.received_at, r.ctid)) s"
		"  LEFT JOIN LATERAL ("
		"       SELECT a.digest FROM clinical.submission a"
		"        WHERE a.patient_id OPERATOR(pg_catalog.=) s.patient_id AND a.id OPERATOR(pg_catalog.=) s.submission_id"
		"       UNION ALL"
		"       SELECT q.digest FROM clinical.set_aside q"
		"        WHERE q.patient_id OPERATOR(pg_catalog.=) s.patient_id AND q.submission_id OPERATOR(pg_catalog.=) s.submission_id"
		"          AND q.outcome OPERATOR(pg_catalog.=) 'quarantined' AND q.requeued_at IS NULL LIMIT 1) o ON true"
		"  LEFT JOIN clinical.patient p ON p.id OPERATOR(pg_catalog.=) s.patient_id"
		"  LEFT JOIN clinical.project j ON j.id OPERATOR(pg_catalog.=) p.project_id"
		"  LEFT JOIN LATERAL ("
		"       SELECT t.zone, pg_catalog.timezone(t.zone, s.captured_at)::pg_catalog.date AS day"
		"         FROM (SELECT CASE WHEN p.id IS NULL THEN NULL"
		"                     ELSE COALESCE(s.time_zone, clinical.time_zone_at(p.id, s.captured_at)) END AS zone) t) z ON true"
		"  LEFT JOIN LATERAL ("
		"       SELECT pg_catalog.min(n.effective_on) AS first_day FROM clinical.enrollment_event n"
		"        WHERE n.patient_id OPERATOR(pg_catalog.=) p.id AND n.status OPERATOR(pg_catalog.=) 'enrolled') e ON true"
		/* who leaves the study on a day reports on that day */
		"  LEFT JOIN LATERAL ("
		"       SELECT n.status FROM clinical.enrollment_event n"
		"        WHERE n.patient_id OPERATOR(pg_catalog.=) p.id"
		"          AND (n.effective_on OPERATOR(pg_catalog.<) z.day"
		"               OR (n.effective_on OPERATOR(pg_catalog.=) z.day AND n.status OPERATOR(pg_catalog.=) 'enrolled'))"
		"        ORDER BY n.effective_on DESC, n.event_no DESC LIMIT 1) l ON true"
		"  LEFT JOIN LATERAL ("
		"       SELECT u.version_id FROM clinical.project_instrument i"
		"         JOIN clinical.project_instrument_version u"
		"           ON u.project_id OPERATOR(pg_catalog.=) i.project_id AND u.instrument OPERATOR(pg_catalog.=) i.instrument"
		"        WHERE i.project_id OPERATOR(pg_catalog.=) p.project_id"
		"          AND CASE WHEN s.instrument IS NULL THEN i.is_default ELSE i.instrument OPERATOR(pg_catalog.=) s.instrument END"
		"          AND u.effective_from OPERATOR(pg_catalog.<=) z.day"
		"        ORDER BY u.effective_from DESC, u.id DESC LIMIT 1) v ON true"
		" ORDER BY s.patient_id, s.captured_at",
		1, {TIDARRAYOID}
	};

	clinical_execute(&plan, &tids, NULL, false);
}

/* A column of a row that was read; 0 if it is NULL. */
static Datum
column(SPITupleTable *table, uint64 row, int number)
{
	bool		isnull;
	Datum		value = SPI_getbinval(table->vals[row], table->tupdesc, number, &isnull);

	return isnull ? (Datum) 0 : value;
}

/* Take a row that was read. */
static void
take_staged(SPITupleTable *table, uint64 row, ClinicalStaged *staged)
{
	Datum		reason = column(table, row, READ_REASON);
	Datum		zone = column(table, row, READ_ZONE);

	memset(staged, 0, sizeof(*staged));
	staged->tid = column(table, row, READ_TID);
	staged->patient_id = column(table, row, READ_PATIENT_ID);
	staged->submission_id = column(table, row, READ_SUBMISSION_ID);
	staged->captured_at = column(table, row, READ_CAPTURED_AT);
	staged->actor = column(table, row, READ_ACTOR);
	staged->data = DatumGetJsonbP(column(table, row, READ_DATA));
	staged->repeats = DatumGetBool(column(table, row, READ_REPEATS));
	staged->same = DatumGetBool(column(table, row, READ_SAME));
	staged->project_id = DatumGetInt64(column(table, row, READ_PROJECT_ID));
	staged->zone = zone == 0 ? NULL : TextDatumGetCString(zone);
	staged->known = zone != 0;
	staged->local_day = column(table, row, READ_LOCAL_DAY);
	staged->reason = reason == 0 ? NULL : TextDatumGetCString(reason);
	staged->version_id = DatumGetInt64(column(table, row, READ_VERSION_ID));
}

/* Add what becomes of a report to what will be stored. */
static void
add_judged(ClinicalRows *reports, ClinicalRows *observations, const ClinicalStaged *staged)
{
	ClinicalReportKey key = {staged->patient_id, staged->submission_id, staged->captured_at, staged->local_day, staged->actor};

	clinical_rows_add(reports);
	clinical_rows_set(reports, STORE_TID, staged->tid);
	clinical_rows_set(reports, STORE_OUTCOME, CStringGetTextDatum(staged->outcome));
	clinical_rows_set(reports, STORE_ARRIVAL, clinical_uuid7());
	if (strcmp(staged->outcome, "quarantined") == 0)
		clinical_rows_set(reports, STORE_REASON, CStringGetTextDatum(staged->reason));
	if (staged->detail != NULL)
		clinical_rows_set(reports, STORE_DETAIL, JsonbPGetDatum(staged->detail));
	if (!staged->known)
		return;
	clinical_rows_set(reports, STORE_PROJECT_ID, Int64GetDatum(staged->project_id));
	clinical_rows_set(reports, STORE_ZONE, CStringGetTextDatum(staged->zone));
	clinical_rows_set(reports, STORE_LOCAL_DAY, staged->local_day);
	clinical_rows_set(reports, STORE_VERSION_ID, Int64GetDatum(staged->version_id));
	if (strcmp(staged->outcome, "accepted") == 0)
		clinical_rows_set(reports, STORE_OBSERVATIONS,
						  Int32GetDatum(clinical_observations_add(observations, &key, &staged->verdict)));
}

/* Take rows out of staging and put them where they belong; how many there were. */
static uint64
store_reports(const ClinicalRows *reports)
{
	static ClinicalPlan plan = {
		"WITH judged AS ("
		"  SELECT u.* FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
		"                pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8),"
		"                pg_catalog.unnest($9), pg_catalog.unnest($10))"
		"    AS u (tid, outcome, reason_code, detail, project_id, version_id, local_day, zone, observations, arrival)),"
		" gone AS ("
		"  DELETE FROM clinical.staged_report s USING judged j"
		"   WHERE s.ctid OPERATOR(pg_catalog.=) ANY ($1) AND s.ctid OPERATOR(pg_catalog.=) j.tid"
		"  RETURNING s.*, j.outcome, j.reason_code, j.detail, j.project_id, j.version_id, j.local_day, j.zone, j.observations, j.arrival),"
		" stored AS ("
		"  INSERT INTO clinical.submission (patient_id, id, project_id, version_id, status, captured_at, local_day, time_zone,"
		"         received_at, processed_at, originator, device_id, login, actor, trace_parent, digest, observations, report_data)"
		"  SELECT g.patient_id, g.submission_id, g.project_id, g.version_id, 'accepted', g.captured_at, g.local_day, g.zone,"
		"         g.received_at, pg_catalog.clock_timestamp(), g.originator, g.device_id, g.login, g.actor, g.trace_parent,"
		"         g.digest, g.observations, g.report_data"
		"    FROM gone g WHERE g.outcome OPERATOR(pg_catalog.=) 'accepted'),"
		" kept AS ("
		"  INSERT INTO clinical.set_aside (patient_id, submission_id, arrival, outcome, project_id, reason_code, detail,"
		"         captured_at, received_at, processed_at, instrument, time_zone, originator, device_id, login, actor,"
		"         trace_parent, digest, report_data)"
		"  SELECT g.patient_id, g.submission_id, g.arrival, g.outcome, g.project_id, g.reason_code, g.detail,"
		"         g.captured_at, g.received_at, pg_catalog.clock_timestamp(), g.instrument, g.time_zone, g.originator, g.device_id,"
		"         g.login, g.actor, g.trace_parent, g.digest,"
		"         CASE WHEN g.outcome OPERATOR(pg_catalog.<>) 'duplicate' THEN g.report_data END"
		"    FROM gone g WHERE g.outcome OPERATOR(pg_catalog.<>) 'accepted')"
		" SELECT pg_catalog.count(*) FROM gone",
		STORE_NCOLUMNS,
		{TIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, JSONBARRAYOID, INT8ARRAYOID, INT8ARRAYOID, DATEARRAYOID, TEXTARRAYOID, INT4ARRAYOID, UUIDARRAYOID}
	};
	Datum		arrays[STORE_NCOLUMNS];

	clinical_rows_arrays(reports, arrays);
	clinical_server_execute(&plan, arrays, NULL);
	return DatumGetInt64(column(SPI_tuptable, 0, 1));
}

/* Judge the rows that were read. */
static void
judge_all(ClinicalRows *reports, ClinicalRows *observations)
{
	SPITupleTable *table = SPI_tuptable;
	uint64		count = SPI_processed;
	ClinicalStaged *all = palloc_array(ClinicalStaged, count + 1);

	for (uint64 i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		take_staged(table, i, &all[i]);
		clinical_intake_judge(&all[i]);
		add_judged(reports, observations, &all[i]);
	}
}

/* Process these rows. */
static void
process(Datum *tids, int count)
{
	ClinicalRows reports;
	ClinicalRows observations;
	ClinicalUser saved;

	clinical_rows_begin(&reports, store_types, STORE_NCOLUMNS);
	clinical_observations_begin(&observations);
	clinical_owner_begin(&saved);
	read_staged(PointerGetDatum(construct_array(tids, count, TIDOID, sizeof(ItemPointerData), false, TYPALIGN_SHORT)));
	judge_all(&reports, &observations);
	clinical_owner_end(&saved);
	CLINICAL_FAULT("drain_judged");
	if (store_reports(&reports) != (uint64) count)
		elog(ERROR, "staged reports are gone");
	CLINICAL_FAULT("drain_stored");
	clinical_observations_store(&observations);
	CLINICAL_FAULT("drain_observed");
}

/* Put a report that cannot be processed into quarantine. */
static void
process_failed(Datum tid, int sqlerrcode)
{
	ClinicalRows reports;
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	clinical_json_put_text(&state, "sqlstate", unpack_sql_state(sqlerrcode));
	clinical_rows_begin(&reports, store_types, STORE_NCOLUMNS);
	clinical_rows_add(&reports);
	clinical_rows_set(&reports, STORE_TID, tid);
	clinical_rows_set(&reports, STORE_OUTCOME, CStringGetTextDatum("quarantined"));
	clinical_rows_set(&reports, STORE_REASON, CStringGetTextDatum("failed"));
	clinical_rows_set(&reports, STORE_DETAIL, JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL))));
	clinical_rows_set(&reports, STORE_ARRIVAL, clinical_uuid7());
	(void) store_reports(&reports);
}

/* Is it no fault of the report, so that it may go well another time? */
static bool
is_transient(int sqlerrcode)
{
	int			category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return category == ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_SYSTEM_ERROR);
}

/* Process rows in a savepoint: 0, or the SQLSTATE of what went wrong. */
static int
try_process(Datum *tids, int count)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext batch = AllocSetContextCreate(caller, "clinical batch", ALLOCSET_DEFAULT_SIZES);
	ResourceOwner owner = CurrentResourceOwner;
	volatile int sqlerrcode = 0;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(batch);
	PG_TRY();
	{
		SPI_connect();
		MemoryContextSwitchTo(batch);
		process(tids, count);
		SPI_finish();
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		sqlerrcode = error->sqlerrcode;
		if (is_transient(sqlerrcode))
			ReThrowError(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	MemoryContextDelete(batch);
	return sqlerrcode;
}

/* Process rows, by halves where they fail together. */
static void
process_by_halves(Datum *tids, int count)
{
	int			sqlerrcode = try_process(tids, count);
	int			half = count / 2;

	if (sqlerrcode == 0)
		return;
	if (count > 1)
	{
		process_by_halves(tids, half);
		process_by_halves(tids + half, count - half);
		return;
	}
	SPI_connect();
	process_failed(tids[0], sqlerrcode);
	SPI_finish();
}

/* Process a batch, in a transaction: how many reports there were. */
static int
drain_batch(int limit)
{
	Datum	   *tids;
	int			count;

	clinical_intake_require_count();
	SPI_connect();
	count = find_staged(limit, &tids);
	if (count > 0)
		process_by_halves(tids, count);
	SPI_finish();
	if (count > 0)
		clinical_intake_drained(count);
	return count;
}

/* Job: one batch; at once again where it was a full one. */
static long
drain_job(void)
{
	int			count;

	if (!clinical_worker_begin("processing reports"))
		return -1;
	lock_drain();
	count = drain_batch(clinical_batch_size);
	clinical_worker_commit();
	return count < clinical_batch_size ? -1 : 0;
}

/* Give the worker its job. */
void
clinical_intake_drain_init(void)
{
	static const ClinicalJob job = {"intake", drain_job};

	clinical_register_job(&job);
}

/* SQL: process staged reports in the foreground. */
Datum
clinical_process_reports(PG_FUNCTION_ARGS)
{
	int64		limit = PG_ARGISNULL(0) ? PG_INT64_MAX : PG_GETARG_INT32(0);
	int64		done = 0;

	clinical_require_arg(limit > 0, "max_reports must be positive");
	PreventCommandIfReadOnly("process_reports()");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("reports can only be processed in a READ COMMITTED transaction")));
	lock_drain();
	for (;;)
	{
		int			wanted = (int) Min(limit - done, clinical_batch_size);
		int			count = drain_batch(wanted);

		done += count;
		if (count < wanted || done == limit)
			break;
		CHECK_FOR_INTERRUPTS();
	}
	PG_RETURN_INT64(done);
}
