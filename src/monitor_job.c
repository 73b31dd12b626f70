/*-------------------------------------------------------------------------
 *
 * monitor_job.c
 *		The worker's job: new versions of rules over what was observed before.
 *
 * A transaction evaluates some patients, in order of their ids, whose lanes it locks
 * one after the other: what batches stored by the rules of before is seen, since they hold the
 * lanes until they commit, and those that come later know the version.  How far it
 * is, is written down now and then; from there it goes on after a restart.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "intake.h"
#include "monitor.h"
#include "worker.h"

/* So many patients are looked up at once, and so long (ms) evaluated in one transaction */
#define PATIENTS 64
#define TIME_AT_ONCE 20
/* So often (ms) it is written down how far it is, and looked whether there is something to do */
#define TELL_INTERVAL 500
#define LOOK_INTERVAL 50
/* So long (ms) a lock is waited for; and until the next try, of at most so many */
#define LOCK_TIMEOUT "200"
#define RETRY_DELAY 1000
#define MAX_FAILURES 10

/* The evaluation that is done */
typedef struct Evaluation
{
	int64		id;				/* 0: none */
	int64		rule_id;
	int			version;
	int64		project_id;		/* 0: all */
	bool		queued;
	char		last_patient[1024]; /* empty: none yet */
	int64		done;
	int			sqlerrcode;		/* why it failed; 0: it did not */
	bool		ended;
} Evaluation;

/* What the worker knows of an evaluation that it has begun to do */
typedef struct Known
{
	Evaluation	reached;		/* what was committed; id 0: this is free */
	TimestampTz rests_until;	/* it could not go on: let others have their turn */
	int			failures;
} Known;

/* Of more it knows what is written down */
#define MAX_KNOWN 16
static Known known[MAX_KNOWN];
static int64 told_id = 0;
static TimestampTz told_at = 0;

/* What is known of an evaluation; NULL: nothing. */
static Known *
find_known(int64 id)
{
	for (int i = 0; i < MAX_KNOWN; i++)
	{
		if (known[i].reached.id == id)
			return &known[i];
	}
	return NULL;
}

/* The same; if nothing is known, a place for it: a free one, or that of the one that needs it least. */
static Known *
know(const Evaluation *evaluation)
{
	Known	   *place = find_known(evaluation->id);

	if (place != NULL)
		return place;
	place = &known[0];
	for (int i = 1; i < MAX_KNOWN; i++)
	{
		if (place->reached.id != 0 && (known[i].reached.id == 0 || known[i].rests_until < place->rests_until))
			place = &known[i];
	}
	memset(place, 0, sizeof(*place));
	place->reached.id = evaluation->id;
	return place;
}

/* Those that rest: an array of ids. */
static Datum
find_resting(TimestampTz now)
{
	Datum		ids[MAX_KNOWN];
	int			count = 0;

	for (int i = 0; i < MAX_KNOWN; i++)
	{
		if (known[i].reached.id != 0 && known[i].rests_until > now)
			ids[count++] = Int64GetDatum(known[i].reached.id);
	}
	return PointerGetDatum(construct_array(ids, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* So long (ms) until the first of them may go on; -1: there is none. */
static long
rest_of_all(TimestampTz now)
{
	TimestampTz first = DT_NOEND;

	for (int i = 0; i < MAX_KNOWN; i++)
	{
		if (known[i].reached.id != 0 && known[i].rests_until > now)
			first = Min(first, known[i].rests_until);
	}
	return first == DT_NOEND ? -1 : TimestampDifferenceMilliseconds(now, first) + 1;
}

/* May it go well another time? */
bool
clinical_job_may_succeed(int sqlerrcode)
{
	int			category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return category == ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES);
}

/*
 * Do a job's work in a transaction that is begun, and commit it: 0, or the SQLSTATE
 * of what went wrong, and then nothing was done.  The worker has other jobs, which an
 * error would end, and which wait as long as this one waits for a lock.
 */
int
clinical_job_try(void (*work) (void *arg), void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile int sqlerrcode = 0;

	PG_TRY();
	{
		(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
		work(arg);
		clinical_worker_commit();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		sqlerrcode = error->sqlerrcode;
		if (ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION))
			ReThrowError(error);
		FreeErrorData(error);
		clinical_worker_abort();
	}
	PG_END_TRY();
	return sqlerrcode;
}

/* A column of the first row of the last statement; 0: NULL. */
static Datum
result_column(int number)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number, &isnull);

	return isnull ? (Datum) 0 : value;
}

/* Find what has to be done first, but for those that rest; false if nothing. */
static bool
find_evaluation(Evaluation *evaluation)
{
	static ClinicalPlan plan = {
		"SELECT e.id, e.rule_id, e.version, COALESCE(r.project_id, 0), e.status OPERATOR(pg_catalog.=) 'queued', e.last_patient,"
		"       e.patients_done"
		"  FROM clinical.rule_evaluation e JOIN clinical.monitor_rule r ON r.id OPERATOR(pg_catalog.=) e.rule_id"
		" WHERE (e.status OPERATOR(pg_catalog.=) 'queued' OR e.status OPERATOR(pg_catalog.=) 'running')"
		"   AND e.id OPERATOR(pg_catalog.<>) ALL ($1) ORDER BY e.id LIMIT 1",
		1, {INT8ARRAYOID}
	};
	Datum		resting = find_resting(GetCurrentTimestamp());
	const Known *before;

	clinical_owner_execute(&plan, &resting, NULL, true);
	if (SPI_processed == 0)
		return false;
	evaluation->id = DatumGetInt64(result_column(1));
	evaluation->rule_id = DatumGetInt64(result_column(2));
	evaluation->version = DatumGetInt32(result_column(3));
	evaluation->project_id = DatumGetInt64(result_column(4));
	evaluation->queued = DatumGetBool(result_column(5));
	if (result_column(6) != 0)
		text_to_cstring_buffer(DatumGetTextPP(result_column(6)), evaluation->last_patient, sizeof(evaluation->last_patient));
	evaluation->done = DatumGetInt64(result_column(7));
	/* it may be farther than was written down */
	before = find_known(evaluation->id);
	if (before != NULL && !evaluation->queued && before->reached.done > evaluation->done)
		*evaluation = before->reached;
	return true;
}

/*
 * An evaluation was changed; if not, somebody who is about to cancel it or to change the
 * rule has it locked, who may take as long as he likes.
 */
static void
require_changed(void)
{
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not obtain lock on the evaluation of a rule")));
}

/*
 * Begin it: count the patients.  Batches that still go by the rules of before are over
 * when we get their patients' lanes; that none is begun later, all sessions must have
 * been told of the version.
 */
static void
begin_evaluation(Evaluation *evaluation)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.rule_evaluation AS e SET status = 'running', started_at = pg_catalog.clock_timestamp(),"
		"       patients = (SELECT pg_catalog.count(*) FROM clinical.patient p"
		"                    WHERE $2 OPERATOR(pg_catalog.=) 0 OR p.project_id OPERATOR(pg_catalog.=) $2)"
		"  FROM (SELECT r.id FROM clinical.rule_evaluation r"
		"         WHERE r.id OPERATOR(pg_catalog.=) $1 AND r.status OPERATOR(pg_catalog.=) 'queued' FOR NO KEY UPDATE SKIP LOCKED) l"
		" WHERE e.id OPERATOR(pg_catalog.=) l.id",
		2, {INT8OID, INT8OID}
	};
	Datum		values[2] = {Int64GetDatum(evaluation->id), Int64GetDatum(evaluation->project_id)};

	clinical_monitor_wait_told(evaluation->rule_id);
	clinical_server_execute(&plan, values, NULL);
	require_changed();
	evaluation->queued = false;
}

/* Write down how far it is; unless somebody is about to cancel it, who is not waited for. */
static void
tell_progress(const Evaluation *evaluation)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.rule_evaluation AS e SET patients_done = $2, last_patient = $3"
		"  FROM (SELECT r.id FROM clinical.rule_evaluation r"
		"         WHERE r.id OPERATOR(pg_catalog.=) $1 AND r.status OPERATOR(pg_catalog.=) 'running' FOR NO KEY UPDATE SKIP LOCKED) l"
		" WHERE e.id OPERATOR(pg_catalog.=) l.id",
		3, {INT8OID, INT8OID, TEXTOID}
	};
	Datum		values[3] = {
		Int64GetDatum(evaluation->id), Int64GetDatum(evaluation->done), CStringGetTextDatum(evaluation->last_patient)
	};

	clinical_server_execute(&plan, values, NULL);
}

/* It is at its end. */
static void
end_evaluation(Evaluation *evaluation, const char *status)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.rule_evaluation AS e SET status = $2, detail = $3, patients_done = $4, ended_at = pg_catalog.clock_timestamp()"
		"  FROM (SELECT r.id FROM clinical.rule_evaluation r"
		"         WHERE r.id OPERATOR(pg_catalog.=) $1"
		"           AND (r.status OPERATOR(pg_catalog.=) 'queued' OR r.status OPERATOR(pg_catalog.=) 'running')"
		"           FOR NO KEY UPDATE SKIP LOCKED) l"
		" WHERE e.id OPERATOR(pg_catalog.=) l.id",
		4, {INT8OID, TEXTOID, TEXTOID, INT8OID}
	};
	Datum		values[4] = {Int64GetDatum(evaluation->id), CStringGetTextDatum(status), (Datum) 0, Int64GetDatum(evaluation->done)};
	char		nulls[4] = {' ', ' ', evaluation->sqlerrcode == 0 ? 'n' : ' ', ' '};

	if (evaluation->sqlerrcode != 0)
		values[2] = CStringGetTextDatum(unpack_sql_state(evaluation->sqlerrcode));
	clinical_server_execute(&plan, values, nulls);
	require_changed();
	evaluation->ended = true;
}

/* The next patients; how many. */
static int
find_patients(const Evaluation *evaluation, Datum *patients, int64 *projects)
{
	static ClinicalPlan plan = {
		"SELECT p.id, p.project_id FROM clinical.patient p"
		" WHERE p.id OPERATOR(pg_catalog.>) $1 AND ($2 OPERATOR(pg_catalog.=) 0 OR p.project_id OPERATOR(pg_catalog.=) $2)"
		" ORDER BY p.id LIMIT $3",
		3, {TEXTOID, INT8OID, INT8OID}
	};
	Datum		values[3] = {
		CStringGetTextDatum(evaluation->last_patient), Int64GetDatum(evaluation->project_id), Int64GetDatum(PATIENTS)
	};
	int			count;

	clinical_owner_execute(&plan, values, NULL, true);
	count = (int) SPI_processed;
	for (int i = 0; i < count; i++)
	{
		bool		isnull;

		patients[i] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		projects[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
	}
	return count;
}

/*
 * Lock a patient's lane.  Only for the first one is waited, holding no other: nobody
 * can wait for us meanwhile.  If not at once, is it ours?
 */
static bool
lock_lane(Datum patient_id, bool first)
{
	return clinical_stage_lock(CLINICAL_LOCK_LANE + clinical_patient_lane(patient_id), !first);
}

/* Lock the lanes of the first patients; of how many. */
int
clinical_lock_lanes(const Datum *patients, int count)
{
	int			i = 0;

	while (i < count && lock_lane(patients[i], i == 0))
		i++;
	return i;
}

/* Evaluate a patient whose lane is locked, by what was committed before that. */
static void
evaluate_patient(const ClinicalMonitor *monitor, Datum patient_id, int64 project_id)
{
	ClinicalEvaluation patient;

	clinical_evaluation_begin(&patient);
	patient.cause.kind = "rule";
	clinical_evaluation_patient(&patient, patient_id, project_id, DATEVAL_NOBEGIN);
	clinical_monitor_evaluate(&patient, monitor, NULL, CLINICAL_ALL_DAYS);
	clinical_evaluation_end(&patient);
}

/*
 * Evaluate patients until the time is up, or somebody else is at the next one.  Who
 * waits for one of them waits for those that follow, so none is locked before its turn.
 */
static void
evaluate_patients(Evaluation *evaluation, const Datum *patients, const int64 *projects, int count)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "clinical evaluation", ALLOCSET_DEFAULT_SIZES);
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), TIME_AT_ONCE);

	for (int i = 0; i < count && (i == 0 || GetCurrentTimestamp() < end) && lock_lane(patients[i], i == 0); i++)
	{
		const ClinicalMonitor *monitor = clinical_monitor_version(evaluation->rule_id, evaluation->version);
		MemoryContext caller = MemoryContextSwitchTo(context);

		if (monitor->in_force)
			evaluate_patient(monitor, patients[i], projects[i]);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(context);
		if (!monitor->in_force)
			break;
		text_to_cstring_buffer(DatumGetTextPP(patients[i]), evaluation->last_patient, sizeof(evaluation->last_patient));
		evaluation->done++;
		CLINICAL_FAULT("rule_evaluated");
	}
	MemoryContextDelete(context);
}

/* Go on with it, in a transaction. */
static void
go_on(Evaluation *evaluation)
{
	Datum		patients[PATIENTS];
	int64		projects[PATIENTS];
	int			count = find_patients(evaluation, patients, projects);

	if (!clinical_monitor_version(evaluation->rule_id, evaluation->version)->in_force)
	{
		end_evaluation(evaluation, "cancelled");
		return;
	}
	if (count == 0)
	{
		end_evaluation(evaluation, "done");
		return;
	}
	evaluate_patients(evaluation, patients, projects, count);
	if (told_id != evaluation->id || TimestampDifferenceExceeds(told_at, GetCurrentTimestamp(), TELL_INTERVAL))
	{
		told_id = evaluation->id;
		told_at = GetCurrentTimestamp();
		tell_progress(evaluation);
	}
}

/* It has failed, for good. */
static void
give_up(void *arg)
{
	end_evaluation(arg, "failed");
}

/* It has come so far, and that is committed. */
static void
note_reached(const Evaluation *evaluation)
{
	Known	   *place = know(evaluation);

	memset(place, 0, sizeof(*place));
	if (!evaluation->ended)
		place->reached = *evaluation;
}

/*
 * It went wrong, and the transaction was given up: it rests for a while, and others
 * have their turn.  What may go well another time is tried as long as it takes if
 * somebody has locked what it needs, else so many times.
 */
static void
note_failure(Evaluation *evaluation, int sqlerrcode)
{
	Known	   *place = know(evaluation);
	bool		locked = sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;

	place->rests_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_DELAY);
	if (locked || (clinical_job_may_succeed(sqlerrcode) && ++place->failures < MAX_FAILURES))
		return;
	place->failures = 0;
	ereport(LOG,
			(errmsg("evaluation of a rule failed"),
			 errdetail("Rule " INT64_FORMAT ", version %d: SQLSTATE %s.", evaluation->rule_id, evaluation->version,
					   unpack_sql_state(sqlerrcode))));
	evaluation->sqlerrcode = sqlerrcode;
	if (clinical_worker_begin("evaluating rules") && clinical_job_try(give_up, evaluation) == 0)
		note_reached(evaluation);
}

/* Do some of what has to be done. */
static void
work(void *arg)
{
	Evaluation *evaluation = arg;

	if (!find_evaluation(evaluation))
		return;
	if (evaluation->queued)
		begin_evaluation(evaluation);
	else
		go_on(evaluation);
}

/* Job: evaluations that are queued or running. */
static long
evaluation_job(void)
{
	static TimestampTz look_at = 0;
	Evaluation	evaluation = {0};
	TimestampTz now = GetCurrentTimestamp();
	int			sqlerrcode;

	if (now < look_at)
		return TimestampDifferenceMilliseconds(now, look_at) + 1;
	if (!clinical_worker_begin("evaluating rules"))
		return -1;
	sqlerrcode = clinical_job_try(work, &evaluation);
	if (evaluation.id == 0)
	{
		if (sqlerrcode != 0 && !clinical_job_may_succeed(sqlerrcode))
			ereport(LOG,
					(errmsg("looking for evaluations of rules failed"),
					 errdetail("SQLSTATE %s.", unpack_sql_state(sqlerrcode))));
		look_at = TimestampTzPlusMilliseconds(now, LOOK_INTERVAL);
		return sqlerrcode != 0 ? RETRY_DELAY : rest_of_all(now);
	}
	if (sqlerrcode != 0)
		note_failure(&evaluation, sqlerrcode);
	else
		note_reached(&evaluation);
	return 0;
}

/* Give the worker the job. */
void
clinical_monitor_job_init(void)
{
	static const ClinicalJob job = {"rule evaluation", evaluation_job, false, true};

	clinical_register_job(&job);
}
