/*-------------------------------------------------------------------------
 *
 * patient_find.c
 *		The search for patients, page by page.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"

#include "compat.h"
#include "core.h"
#include "project.h"

PG_FUNCTION_INFO_V1(clinical_find_patients);

#define DEFAULT_PAGE_SIZE 100
#define MAX_PAGE_SIZE 1000

/* The conditions that a search may have, and so the plans that there are */
#define IN_PROJECT		1
#define IN_CENTER		2
#define CONTAINING		4
#define AFTER_ID		8
#define NPLANS			16

/* How many pages of patients a search by the record walks through before it uses the index */
#define WALK_PAGES		10

#define WHOLE_ROW "(p.*)::clinical.patient"

/* Put the conditions that are asked for, but for the record, on a relation named p. */
static void
append_conditions(StringInfo sql, int conditions)
{
	if (conditions & IN_PROJECT)
		appendStringInfoString(sql, " AND p.project_id OPERATOR(pg_catalog.=) $1");
	if (conditions & IN_CENTER)
		appendStringInfoString(sql, " AND p.center_id OPERATOR(pg_catalog.=) $2");
	if (conditions & AFTER_ID)
		appendStringInfoString(sql, " AND p.id OPERATOR(pg_catalog.>) $4");
	appendStringInfoString(sql, " AND clinical.role_sees($6, p.project_id, p.center_id)");
}

/*
 * The text of a search that gives whole rows.  Its conditions stand in it only
 * if asked for, so that a plan that is kept uses their indexes.
 */
static char *
search_sql(int conditions, bool walk)
{
	StringInfoData sql;

	initStringInfo(&sql);
	if (walk)
		appendStringInfoString(&sql, "SELECT w.whole FROM (SELECT " WHOLE_ROW " AS whole, p.id, p.record"
							   "  FROM clinical.patient p WHERE true");
	else if (conditions & CONTAINING)
		appendStringInfoString(&sql, "SELECT " WHOLE_ROW " FROM (SELECT p.id FROM"
							   " (SELECT f.id, f.project_id, f.center_id FROM clinical.patient f"
							   "   WHERE f.record OPERATOR(pg_catalog.@>) $3 OFFSET 0) p WHERE true");
	else
		appendStringInfoString(&sql, "SELECT " WHOLE_ROW " FROM clinical.patient p WHERE true");

	append_conditions(&sql, conditions);

	if (walk)
		appendStringInfo(&sql, " ORDER BY p.id LIMIT %d OPERATOR(pg_catalog.*) $5) w"
						 " WHERE w.record OPERATOR(pg_catalog.@>) $3 ORDER BY w.id LIMIT $5",
						 WALK_PAGES);
	else if (conditions & CONTAINING)
		appendStringInfoString(&sql, " ORDER BY p.id LIMIT $5) f"
							   " JOIN clinical.patient p ON p.id OPERATOR(pg_catalog.=) f.id"
							   " ORDER BY p.id");
	else
		appendStringInfoString(&sql, " ORDER BY p.id LIMIT $5");
	return sql.data;
}

/* The kept plan of a search. */
static ClinicalPlan *
search_plan(int conditions, bool walk)
{
	static const Oid argtypes[6] = {INT8OID, INT8OID, JSONBOID, TEXTOID, INT4OID, OIDOID};
	static ClinicalPlan plans[2][NPLANS];
	ClinicalPlan *plan = &plans[walk ? 1 : 0][conditions];

	if (plan->sql == NULL)
	{
		plan->nargs = lengthof(argtypes);
		memcpy(plan->argtypes, argtypes, sizeof(argtypes));
		plan->sql = MemoryContextStrdup(TopMemoryContext, search_sql(conditions, walk));
	}
	return plan;
}

/* The size of page that is asked for. */
static int
page_size(FunctionCallInfo fcinfo, int argno)
{
	int			size = PG_ARGISNULL(argno) ? DEFAULT_PAGE_SIZE : PG_GETARG_INT32(argno);

	if (size < 1 || size > MAX_PAGE_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("page size must be between 1 and %d", MAX_PAGE_SIZE)));
	return size;
}

/* Read the arguments: the values of the conditions, and which there are. */
static int
search_conditions(FunctionCallInfo fcinfo, Datum *values)
{
	int			conditions = 0;

	if (!PG_ARGISNULL(0))
	{
		conditions |= IN_PROJECT;
		values[0] = Int64GetDatum(clinical_project_id(fcinfo, 0, true));
	}
	if (!PG_ARGISNULL(1))
	{
		conditions |= IN_CENTER;
		values[1] = PG_GETARG_DATUM(1);
		clinical_require_center(PG_GETARG_INT64(1));
	}
	/* all records contain the empty object, so it is no condition */
	if (!PG_ARGISNULL(2) && !(JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(2)) &&
							  JB_ROOT_COUNT(PG_GETARG_JSONB_P(2)) == 0))
	{
		conditions |= CONTAINING;
		values[2] = PG_GETARG_DATUM(2);
	}
	if (!PG_ARGISNULL(3))
	{
		conditions |= AFTER_ID;
		values[3] = PG_GETARG_DATUM(3);
	}
	values[4] = Int32GetDatum(page_size(fcinfo, 4));
	values[5] = ObjectIdGetDatum(GetUserId());
	return conditions;
}

/*
 * Find a page of patients; the rows are in SPI_tuptable.
 *
 * The search runs with the rights of the owner and asks for each row whether
 * the caller may see it: under the caller's policy the index over records could
 * not be used, since containment is not leakproof.
 *
 * For a search by the record there are two ways, and the planner, which knows
 * little of what jsonb values contain, cannot choose.  What most patients have
 * is soon met by walking along the ids: with 1,000,000 patients of whom half
 * match, a page takes 1 ms, but 343 ms by the index over records, which
 * gives all matches at once.  What few have is found by the index: with 0.1 %
 * matching, 3 ms instead of 48.  So walk a little, and if that does not fill
 * the page, use the index; OFFSET 0 is a fence that keeps the planner from
 * walking on, or from reading half of the primary key beside it (49 ms).
 */
static void
find_page(int conditions, Datum *values)
{
	if (conditions & CONTAINING)
	{
		clinical_owner_execute(search_plan(conditions, true), values, NULL, true);
		if (SPI_processed == (uint64) DatumGetInt32(values[4]))
			return;
		SPI_freetuptable(SPI_tuptable);
	}
	clinical_owner_execute(search_plan(conditions, false), values, NULL, true);
}

/*
 * Raise an error unless the caller could read whole rows of patients himself:
 * without the right, or where he has said that no row may be left out.
 */
static void
require_select(void)
{
	Oid			patient;

	AcceptInvalidationMessages();
	patient = get_relname_relid("patient", get_namespace_oid("clinical", false));
	if (pg_class_aclcheck(patient, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, "patient");
	(void) check_enable_rls(patient, InvalidOid, false);
}

/* Put a whole row, a composite value in the first column, into the result. */
static void
put_row(ReturnSetInfo *result, HeapTuple found, TupleDesc desc)
{
	bool		isnull;
	HeapTupleData tuple;

	clinical_composite_tuple(DatumGetHeapTupleHeader(SPI_getbinval(found, desc, 1, &isnull)), &tuple);
	tuplestore_puttuple(result->setResult, &tuple);
}

/* SQL: a page of patients. */
Datum
clinical_find_patients(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[6] = {0};
	int			conditions = search_conditions(fcinfo, values);

	require_select();
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	find_page(conditions, values);
	for (uint64 i = 0; i < SPI_processed; i++)
		put_row(result, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	SPI_finish();
	return (Datum) 0;
}
