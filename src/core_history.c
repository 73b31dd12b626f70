/*-------------------------------------------------------------------------
 *
 * core_history.c
 *		Rows that only the server writes.
 *
 * The histories of centers, projects and patients are written by triggers and
 * by nobody else, superusers included: a history that its subject can write is
 * none.  A restore, which puts back what was once written, says so with
 * clinical.restore.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "core.h"

PG_FUNCTION_INFO_V1(clinical_history_guard);

/*
 * The depth of triggers at which what one of ours writes is seen; 0: none
 * writes.  What a trigger of somebody else's does meanwhile is one deeper, and
 * so not taken for ours.
 */
static int	server_depth = 0;

/* How many triggers are running, one inside the other. */
static int
trigger_depth(void)
{
	return DatumGetInt32(OidFunctionCall0(F_PG_TRIGGER_DEPTH));
}

/* Run a plan, inside SPI in a trigger, whose writes are the server's own. */
void
clinical_server_execute(ClinicalPlan *plan, Datum *values, const char *nulls)
{
	int			outer_depth = server_depth;

	server_depth = trigger_depth() + 1;
	PG_TRY();
	{
		clinical_execute(plan, values, nulls, false);
	}
	PG_FINALLY();
	{
		server_depth = outer_depth;
	}
	PG_END_TRY();
}

/* Is the row that a trigger sees written by a trigger of ours? */
bool
clinical_server_writes(void)
{
	return server_depth > 0 && trigger_depth() == server_depth;
}

/* Trigger: nobody else adds to a history, and nobody changes it. */
Datum
clinical_history_guard(PG_FUNCTION_ARGS)
{
	ClinicalRow row;
	const char *table;

	clinical_load_row(fcinfo, &row, NULL, 0);
	if (clinical_restore || (row.old_tuple == NULL && row.new_tuple != NULL &&
							 clinical_server_writes()))
		PG_RETURN_POINTER(row.new_tuple != NULL ? row.new_tuple : row.old_tuple);

	table = RelationGetRelationName(row.trigger->tg_relation);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 TRIGGER_FIRED_BY_INSERT(row.trigger->tg_event) ?
			 errmsg("rows of \"%s\" are written by the server alone", table) :
			 errmsg("rows of \"%s\" are never changed", table),
			 errhint(CLINICAL_RESTORE_HINT)));
}
