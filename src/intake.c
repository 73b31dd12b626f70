/*-------------------------------------------------------------------------
 *
 * intake.c
 *		Taking in reports of patients: settings, and who may write the tables.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "funcapi.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "intake.h"
#include "observe.h"

PG_FUNCTION_INFO_V1(clinical_intake_check);
PG_FUNCTION_INFO_V1(clinical_intake_counts);
PG_FUNCTION_INFO_V1(clinical_staged_check);

int			clinical_queue_capacity = 1048576;
int			clinical_max_report_size = 1024 * 1024;
int			clinical_batch_size = 1000;
int			clinical_batch_time = 50;
int			clinical_report_timeout = 10000;
int			clinical_max_attempts = 5;
int			clinical_retry_delay_max = 300000;

/* What clinical.check() tests of the intake */
const ClinicalInvariant clinical_intake_invariants[] = {
	{"report is accepted or in quarantine, not both",
		"SELECT a.submission_id::pg_catalog.text, 'it is accepted, and in quarantine'"
		"  FROM clinical.set_aside a"
		"  JOIN clinical.submission s ON s.patient_id OPERATOR(pg_catalog.=) a.patient_id AND s.id OPERATOR(pg_catalog.=) a.submission_id"
	" WHERE a.outcome OPERATOR(pg_catalog.=) 'quarantined' AND a.requeued_at IS NULL"},
	{"report is in quarantine for a reason",
		"SELECT a.submission_id::pg_catalog.text, 'it has none'"
		"  FROM clinical.set_aside a"
	" WHERE (a.outcome OPERATOR(pg_catalog.=) 'quarantined') OPERATOR(pg_catalog.<>) (a.reason_code IS NOT NULL)"},
	{"every repeat of a report has an original",
		"SELECT a.submission_id::pg_catalog.text, 'it is a ' OPERATOR(pg_catalog.||) a.outcome OPERATOR(pg_catalog.||) ' of nothing'"
		"  FROM clinical.set_aside a"
		" WHERE a.outcome OPERATOR(pg_catalog.<>) 'quarantined'"
		"   AND NOT EXISTS (SELECT FROM clinical.submission s WHERE s.patient_id OPERATOR(pg_catalog.=) a.patient_id"
		"                      AND s.id OPERATOR(pg_catalog.=) a.submission_id)"
		"   AND NOT EXISTS (SELECT FROM clinical.set_aside o WHERE o.patient_id OPERATOR(pg_catalog.=) a.patient_id"
		"                      AND o.submission_id OPERATOR(pg_catalog.=) a.submission_id"
	"                      AND o.outcome OPERATOR(pg_catalog.=) 'quarantined')"},
};
const int	clinical_intake_ninvariants = lengthof(clinical_intake_invariants);

/* Trigger: nobody but the server writes the table. */
Datum
clinical_intake_check(PG_FUNCTION_ARGS)
{
	ClinicalRow row;

	clinical_load_row(fcinfo, &row, NULL, 0);
	if (!clinical_as_is() && (!clinical_server_writes() || row.new_tuple == NULL))
		clinical_refuse_write("set_aside");
	PG_RETURN_POINTER(row.new_tuple != NULL ? row.new_tuple : row.old_tuple);
}

/*
 * Trigger: reports are put in and taken out below the executor, so whatever comes
 * through it is a restore, or nobody's business.
 */
Datum
clinical_staged_check(PG_FUNCTION_ARGS)
{
	ClinicalRow row;

	clinical_load_row(fcinfo, &row, NULL, 0);
	if (!clinical_as_is())
		clinical_refuse_write("staged_report");
	clinical_intake_rows_changed();
	return PointerGetDatum(NULL);
}

/* For how long the first report waits; false: none does. */
static bool
oldest_age(ClinicalBacklog *backlog, Datum *age)
{
	TimestampTz oldest = clinical_intake_oldest(backlog);
	Interval   *interval = palloc0_object(Interval);

	interval->time = Max(GetCurrentTimestamp() - oldest, 0);
	*age = IntervalPGetDatum(interval);
	return oldest != DT_NOEND;
}

/* SQL: what is counted in shared memory. */
Datum
clinical_intake_counts(PG_FUNCTION_ARGS)
{
	static const ClinicalCounter order[] = {
		CLINICAL_COUNT_QUEUED, CLINICAL_COUNT_KEPT, CLINICAL_COUNT_ACCEPTED, CLINICAL_COUNT_DUPLICATE, CLINICAL_COUNT_CONFLICT,
		CLINICAL_COUNT_QUARANTINED, CLINICAL_COUNT_REQUEUED, CLINICAL_COUNT_WITHDRAWN, CLINICAL_COUNT_BYTES, CLINICAL_COUNT_BUSY,
		CLINICAL_COUNT_ALREADY_RECEIVED, CLINICAL_COUNT_PROCESSED, CLINICAL_COUNT_RETRIED, CLINICAL_COUNT_BATCHES,
		CLINICAL_COUNT_BATCHES_FAILED, CLINICAL_COUNT_CLAIM_US, CLINICAL_COUNT_BATCH_US, CLINICAL_COUNT_EMPTIED
	};
	ClinicalBacklog *backlog;
	ClinicalCounts counts = {0};
	Datum		values[9 + lengthof(order)];
	bool		nulls[9 + lengthof(order)] = {false};
	TupleDesc	desc;

	/* a standby has no intake */
	if (RecoveryInProgress())
		PG_RETURN_NULL();
	backlog = clinical_intake_backlog();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	nulls[0] = nulls[1] = !clinical_counts_read(&counts);
	values[0] = TimestampTzGetDatum(counts.reset_at);
	values[1] = Int64GetDatum(counts.backlog_at_reset);
	values[2] = Int64GetDatum(clinical_queue_capacity);
	values[3] = Int64GetDatum((int64) pg_atomic_read_u64(&backlog->count));
	values[4] = Int64GetDatum(clinical_intake_waiting(backlog));
	values[5] = Int64GetDatum(pg_atomic_read_u32(&backlog->rows[CLINICAL_RETRIED]));
	values[6] = Int64GetDatum(pg_atomic_read_u32(&backlog->careful));
	nulls[7] = !oldest_age(backlog, &values[7]);
	values[8] = Int64GetDatum(clinical_segments_bytes());
	for (int i = 0; i < (int) lengthof(order); i++)
		values[9 + i] = Int64GetDatum((int64) counts.numbers[order[i]]);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* The error of who asks for a report that is not there, or is not for him to see. */
void
clinical_submission_not_found(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("submission not found")));
}

/* Define the settings, and what else is done once a session. */
void
clinical_intake_init(void)
{
	DefineCustomIntVariable("clinical.queue_capacity",
							"How many reports may wait in a database.",
							"Further ones are answered \"busy\". 0 refuses all.",
							&clinical_queue_capacity, 1048576, 0, INT_MAX,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("clinical.max_report_size",
							"The largest report data that submit_report takes.",
							NULL,
							&clinical_max_report_size, 1024 * 1024, 1024, 256 * 1024 * 1024,
							PGC_SIGHUP, GUC_UNIT_BYTE, NULL, NULL, NULL);
	DefineCustomIntVariable("clinical.batch_size",
							"How many reports are processed in one transaction at most.",
							NULL,
							&clinical_batch_size, 1000, 1, 100000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("clinical.batch_time",
							"How long reports that are processed in one transaction take at most.",
							"By what the last ones took; a few are processed together in any case.",
							&clinical_batch_time, 50, 1, 60000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("clinical.report_timeout",
							"How long processing a report may take before it is put into quarantine.",
							"0 turns this off.",
							&clinical_report_timeout, 10000, 0, 3600000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("clinical.max_attempts",
							"How many times processing a report may fail for reasons that may pass.",
							"Then it is put into quarantine.",
							&clinical_max_attempts, 5, 1, 100,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("clinical.retry_delay_max",
							"The longest time to wait before a report that failed is tried again.",
							"It is a second after the first failure, and doubles with each further one.",
							&clinical_retry_delay_max, 300000, 1, 86400000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	clinical_intake_count_init();
	clinical_quota_init();
	clinical_intake_drain_init();
	clinical_intake_health_init();
}
