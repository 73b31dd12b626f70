/*-------------------------------------------------------------------------
 *
 * worker_fault.c
 *		A shared job for tests of further workers.
 *
 * Compiled in with "make FAULTS=1" only.  What it does is said by functions that
 * a test creates in a database: test.pool_wish(further) returns for how many further
 * workers there is work, test.pool_run(further) does some of it and returns what
 * run() returns.  Where there are none it does nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core.h"
#include "worker.h"

#ifdef CLINICAL_FAULTS

#include "catalog/pg_type.h"
#include "executor/spi.h"

/* A number that a query gives; -1 if it is NULL. */
static int
ask(const char *query, bool further)
{
	Oid			argtype = BOOLOID;
	Datum		value = BoolGetDatum(further);
	bool		isnull = true;
	int			answer = -1;

	if (SPI_execute_with_args(query, 1, &argtype, &value, NULL, false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "test job has no answer");
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
		answer = DatumGetInt32(value);
	return answer;
}

/* The job: says what it wants inside its transaction and, the same again, outside. */
static long
test_job(void)
{
	bool		further = clinical_is_further_worker();
	int			wanted = -1;
	int			delay = -1;

	if (!clinical_in_worker() || clinical_workers_running() < 1)
		elog(ERROR, "test job does not run in a worker");
	if (!clinical_worker_begin("testing further workers"))
		return -1;
	if (ask("SELECT (pg_catalog.to_regprocedure('test.pool_run(boolean)') IS NOT NULL)::pg_catalog.int4", further) == 1)
	{
		wanted = ask("SELECT test.pool_wish($1)", further);
		clinical_want_workers(wanted);
		delay = ask("SELECT test.pool_run($1)", further);
	}
	clinical_worker_commit();
	clinical_want_workers(wanted);
	return delay;
}

/* Register it. */
void
clinical_inject_job_init(void)
{
	static const ClinicalJob job = {"test", test_job, true, true};

	clinical_register_job(&job);
}

#endif
