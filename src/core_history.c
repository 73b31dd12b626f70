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

#include "miscadmin.h"
#include "utils/acl.h"
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

/* The user for whom the server writes at the moment */
static Oid	server_caller = InvalidOid;

/*
 * Become the owner of our tables until clinical_owner_end; an error ends it by
 * itself.  Nothing but SQL of ours may run meanwhile.  Row level security does
 * not apply, not even where the session, like that of pg_restore, has set
 * row_security to off, and so would rather fail than see less.
 */
void
clinical_owner_begin(ClinicalUser *saved)
{
	GetUserIdAndSecContext(&saved->id, &saved->context);
	SetUserIdAndSecContext(get_role_oid("clinical_owner", false),
						   saved->context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
}

/* The end of clinical_owner_begin. */
void
clinical_owner_end(const ClinicalUser *saved)
{
	SetUserIdAndSecContext(saved->id, saved->context);
}

/* Whoever wants something: the current user, or for whom the server writes. */
Oid
clinical_caller(void)
{
	return OidIsValid(server_caller) ? server_caller : GetUserId();
}

/*
 * Run a plan, inside SPI, that reads and locks with the rights of the owner,
 * to whom all rows are visible: who calls this has seen to it that the caller
 * may have the answer.
 */
void
clinical_owner_execute(ClinicalPlan *plan, Datum *values, const char *nulls, bool read_only)
{
	ClinicalUser saved;

	clinical_owner_begin(&saved);
	CLINICAL_FAULT("owner_acts");
	clinical_execute(plan, values, nulls, read_only);
	clinical_owner_end(&saved);
}

/* The same for the first column of the first row, as clinical_fetch gives it. */
bool
clinical_owner_fetch(ClinicalPlan *plan, Datum *values, const char *nulls, bool read_only, Datum *result)
{
	ClinicalUser saved;
	bool		found;

	clinical_owner_begin(&saved);
	found = clinical_fetch(plan, values, nulls, read_only, result);
	clinical_owner_end(&saved);
	return found;
}

/*
 * Run a plan, inside SPI, whose writes are the server's own: with the rights of
 * the owner, and known to our triggers for what they are.
 */
void
clinical_server_execute(ClinicalPlan *plan, Datum *values, const char *nulls)
{
	int			outer_depth = server_depth;
	Oid			outer_caller = server_caller;

	server_caller = clinical_caller();
	server_depth = trigger_depth() + 1;
	PG_TRY();
	{
		clinical_owner_execute(plan, values, nulls, false);
	}
	PG_FINALLY();
	{
		server_depth = outer_depth;
		server_caller = outer_caller;
	}
	PG_END_TRY();
}

/* The same for the first column of the first row, as clinical_fetch gives it. */
bool
clinical_server_fetch(ClinicalPlan *plan, Datum *values, const char *nulls, Datum *result)
{
	bool		found;

	SPI_connect();
	clinical_server_execute(plan, values, nulls);
	found = clinical_first(result);
	SPI_finish();
	return found;
}

/* Is the row that a trigger sees written by a trigger of ours? */
bool
clinical_server_writes(void)
{
	return server_depth > 0 && trigger_depth() == server_depth;
}

/* The error of who writes what only the server writes. */
void
clinical_refuse_write(const char *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("rows of \"%s\" are written by the server alone", table),
			 errhint(CLINICAL_RESTORE_HINT)));
}

/* Trigger: nobody else adds to a history, and nobody changes it. */
Datum
clinical_history_guard(PG_FUNCTION_ARGS)
{
	ClinicalRow row;
	const char *table;

	clinical_load_row(fcinfo, &row, NULL, 0);
	if (clinical_as_is() || (row.old_tuple == NULL && row.new_tuple != NULL &&
							 clinical_server_writes()))
		PG_RETURN_POINTER(row.new_tuple != NULL ? row.new_tuple : row.old_tuple);

	table = RelationGetRelationName(row.trigger->tg_relation);
	if (TRIGGER_FIRED_BY_INSERT(row.trigger->tg_event))
		clinical_refuse_write(table);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("rows of \"%s\" are never changed", table),
			 errhint(CLINICAL_RESTORE_HINT)));
}
