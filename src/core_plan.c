/*-------------------------------------------------------------------------
 *
 * core_plan.c
 *		Statements that are prepared once a session and kept.
 *
 * They run through SPI as the caller, so that the server's own checks of
 * rights and row level security apply.  The plan cache looks after their
 * validity: it plans again when a table, the search path or, under row level
 * security, the role has changed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/spi.h"
#include "utils/inval.h"

#include "core.h"

/* Prepare and keep the plan unless that was done before. */
static void
plan_prepare(ClinicalPlan *plan)
{
	SPIPlanPtr	prepared;

	if (plan->plan != NULL)
		return;
	prepared = SPI_prepare(plan->sql, plan->nargs, plan->argtypes);
	if (prepared == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	if (SPI_keepplan(prepared) != 0)
		elog(ERROR, "SPI_keepplan failed");
	plan->plan = prepared;
}

/*
 * Run a plan inside SPI_connect and SPI_finish; the rows are in SPI_tuptable.
 * Rights that were revoked meanwhile are gone: in an open transaction the server
 * itself would look at them only when it next locks a table for the first time.
 */
void
clinical_execute(ClinicalPlan *plan, Datum *values, const char *nulls, bool read_only)
{
	int			result;

	AcceptInvalidationMessages();
	plan_prepare(plan);
	result = SPI_execute_plan(plan->plan, values, nulls, read_only, 0);
	if (result < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(result));
}

/*
 * The first column of the first row that SPI found, copied into the memory of who
 * called SPI_connect; false if there is no row or the value is NULL.
 */
bool
clinical_first(Datum *result)
{
	TupleDesc	desc;
	Form_pg_attribute column;
	bool		isnull;
	Datum		value;

	if (SPI_tuptable == NULL || SPI_processed == 0)
		return false;
	desc = SPI_tuptable->tupdesc;
	column = TupleDescAttr(desc, 0);
	value = SPI_getbinval(SPI_tuptable->vals[0], desc, 1, &isnull);
	if (!isnull)
		*result = SPI_datumTransfer(value, column->attbyval, column->attlen);
	return !isnull;
}

/* Run a plan and give that of what it finds. */
bool
clinical_fetch(ClinicalPlan *plan, Datum *values, const char *nulls,
			   bool read_only, Datum *result)
{
	bool		found;

	SPI_connect();
	clinical_execute(plan, values, nulls, read_only);
	found = clinical_first(result);
	SPI_finish();
	return found;
}

/* The same with the function's own arguments as the plan's, in order. */
bool
clinical_fetch_args(ClinicalPlan *plan, FunctionCallInfo fcinfo,
					bool read_only, Datum *result)
{
	Datum		values[CLINICAL_MAX_ARGS];
	char		nulls[CLINICAL_MAX_ARGS];

	for (int i = 0; i < plan->nargs; i++)
	{
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
		values[i] = PG_ARGISNULL(i) ? (Datum) 0 : PG_GETARG_DATUM(i);
	}
	return clinical_fetch(plan, values, nulls, read_only, result);
}

/* A column of a row that SPI found, which is never NULL; good until the next statement. */
Datum
clinical_result(uint64 row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);

	if (isnull)
		elog(ERROR, "unexpected null in column %d", column);
	return value;
}

/* A composite value as a tuple that points to it. */
void
clinical_composite_tuple(HeapTupleHeader row, HeapTuple tuple)
{
	tuple->t_len = HeapTupleHeaderGetDatumLength(row);
	ItemPointerSetInvalid(&tuple->t_self);
	tuple->t_tableOid = InvalidOid;
	tuple->t_data = row;
}
