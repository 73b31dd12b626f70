/*-------------------------------------------------------------------------
 *
 * intake_health.c
 *		What health() asks about reports that wait.
 *
 * Shared memory is asked first, and a table only if it says that there is something,
 * or cannot say; quarantine has an index for this.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "intake.h"
#include "worker.h"

/* The queue is nearly full when so much of it (percent) is taken */
#define NEARLY_FULL 80
/* A report that waits for so long (ms) waits too long */
#define LONG_WAIT 300000

/* The counts of this database; NULL: nobody has counted yet. */
static ClinicalBacklog *
known_backlog(void)
{
	ClinicalBacklog *backlog = clinical_backlog();

	return backlog == NULL || pg_atomic_read_u32(&backlog->counted) == 0 ? NULL : backlog;
}

/* Is the queue full, or nearly? */
static bool
queue_is_full(const char **problem, const char **remedy)
{
	ClinicalBacklog *backlog = known_backlog();
	uint64		taken = backlog == NULL ? 0 : pg_atomic_read_u64(&backlog->count);
	uint64		capacity = (uint64) clinical_queue_capacity;

	if (backlog == NULL || taken * 100 < capacity * NEARLY_FULL)
		return false;
	*problem = psprintf("the queue of reports is %s: " UINT64_FORMAT " of " UINT64_FORMAT " places are taken",
						taken >= capacity ? "full, and further ones are answered \"busy\"" : "nearly full", taken, capacity);
	*remedy = psprintf("If stat_intake.processed grows, raise clinical.max_workers, now %d, or clinical.queue_capacity for a burst;"
					   " if it stands still, see in stat_worker and pg_stat_activity what workers wait for.",
					   clinical_max_workers);
	return true;
}

/* Does any report wait? */
static bool
any_waits(void)
{
	static ClinicalPlan plan = {"SELECT true FROM clinical.staged_report s LIMIT 1"};
	ClinicalBacklog *backlog = known_backlog();
	Datum		found;

	if (backlog == NULL)
		return clinical_owner_fetch(&plan, NULL, NULL, true, &found);
	return clinical_intake_waiting(backlog) > 0 || pg_atomic_read_u32(&backlog->rows[CLINICAL_RETRIED]) > 0;
}

/* Does no worker run, though one is to run or reports wait? */
static bool
no_worker_runs(const char **problem, const char **remedy)
{
	bool		on_purpose;
	const char *why;

	if (!clinical_worker_missing(&on_purpose, &why, remedy))
		return false;
	if (any_waits())
		*problem = psprintf("reports wait, and no background worker runs: %s", why);
	else
		*problem = psprintf("no background worker runs: %s", why);
	return !on_purpose || any_waits();
}

/* How long (minutes) somebody has waited since then; 0: not too long. */
static long
minutes_since(TimestampTz moment)
{
	long		waited = TimestampDifferenceMilliseconds(moment, GetCurrentTimestamp());

	return waited < LONG_WAIT ? 0 : waited / 60000;
}

/* Does a report wait for long, though there are workers? */
static bool
report_waits_long(const char **problem, const char **remedy)
{
	ClinicalBacklog *backlog = known_backlog();
	long		minutes;

	if (backlog == NULL || clinical_workers_running() == 0)
		return false;
	minutes = minutes_since(clinical_intake_oldest(backlog));
	*problem = psprintf("a report has waited for %ld minutes, though background workers run", minutes);
	*remedy = "See in stat_worker and pg_stat_activity what the workers do or wait for, and end what blocks them: pg_blocking_pids tells.";
	return minutes > 0;
}

/* Are reports put off again and again? */
static bool
report_is_put_off(const char **problem, const char **remedy)
{
	static ClinicalPlan plan = {"SELECT pg_catalog.min(r.received_at) FROM clinical.staged_report_retry r"};
	ClinicalBacklog *backlog = known_backlog();
	Datum		received_at;
	long		minutes;

	if (backlog == NULL || clinical_workers_running() == 0 || pg_atomic_read_u32(&backlog->rows[CLINICAL_RETRIED]) == 0 ||
		!clinical_owner_fetch(&plan, NULL, NULL, true, &received_at))
		return false;
	minutes = minutes_since(DatumGetTimestampTz(received_at));
	*problem = psprintf("reports are put off for %ld minutes, since processing them fails", minutes);
	*remedy = "Find the SQLSTATE by CLINICAL-I05 in the server's log, and mend its cause: a full disk, a missing object or right, a lock.";
	return minutes > 0;
}

/* Did reports go into quarantine lately by what is no fault of theirs? */
static bool
processing_failed(const char **problem, const char **remedy)
{
	static ClinicalPlan plan = {
		"SELECT pg_catalog.string_agg(pg_catalog.concat(q.reason_code, ' ', q.reports), ', ' ORDER BY q.reason_code)"
		"  FROM (SELECT a.reason_code, pg_catalog.count(*) AS reports FROM clinical.set_aside a"
		"         WHERE a.outcome OPERATOR(pg_catalog.=) 'quarantined' AND a.requeued_at IS NULL"
		"           AND a.reason_code OPERATOR(pg_catalog.=) ANY (ARRAY['crashed', 'failed', 'timed_out'])"
		"           AND a.received_at OPERATOR(pg_catalog.>) $1"
		"         GROUP BY a.reason_code) q",
		1, {TIMESTAMPTZOID}
	};
	Datum		since = TimestampTzGetDatum(GetCurrentTimestamp() - USECS_PER_DAY);
	Datum		reasons;

	if (!clinical_owner_fetch(&plan, &since, NULL, true, &reasons))
		return false;
	*problem = psprintf("reports of the last 24 hours are in quarantine since processing them went wrong: %s", TextDatumGetCString(reasons));
	*remedy = "Find the SQLSTATE in set_aside.detail, or by CLINICAL-I02 in the server's log, mend its cause and requeue them.";
	return true;
}

/* When the library is loaded. */
void
clinical_intake_health_init(void)
{
	clinical_register_problem(queue_is_full);
	clinical_register_problem(no_worker_runs);
	clinical_register_problem(report_waits_long);
	clinical_register_problem(report_is_put_off);
	clinical_register_problem(processing_failed);
}
