/*-------------------------------------------------------------------------
 *
 * project_create.c
 *		Creating a project with its centers, all or nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "compat.h"
#include "core.h"

PG_FUNCTION_INFO_V1(clinical_create_project_with_centers);

/* So many codes that the server would give may be somebody's own */
#define MAX_CODES_TRIED 10000

/* An error that names at most so many ids */
#define MAX_IDS_NAMED 20

/* Order of ids for qsort. */
static int
compare_ids(const void *a, const void *b)
{
	int64		left = DatumGetInt64(*(const Datum *) a);
	int64		right = DatumGetInt64(*(const Datum *) b);

	return (left > right) - (left < right);
}

/*
 * The ids of the centers in ascending order, as Datums.  All sessions lock
 * centers in this order, so none waits for another in a circle.
 */
static Datum *
sorted_ids(FunctionCallInfo fcinfo, int argno, int *count)
{
	ArrayType  *array;
	Datum	   *ids;

	clinical_require_arg(!PG_ARGISNULL(argno), "center ids are required");
	array = PG_GETARG_ARRAYTYPE_P(argno);
	clinical_require_arg(ARR_NDIM(array) > 0, "center ids are required");
	clinical_require_arg(ARR_NDIM(array) == 1, "center ids must be a one-dimensional array");
	clinical_require_arg(!array_contains_nulls(array), "center ids must not be null");

	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &ids, NULL, count);
	qsort(ids, *count, sizeof(Datum), compare_ids);
	for (int i = 1; i < *count; i++)
	{
		if (DatumGetInt64(ids[i]) == DatumGetInt64(ids[i - 1]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("center %lld is listed more than once",
							(long long) DatumGetInt64(ids[i]))));
	}
	return ids;
}

/* Raise the error that names the ids for which no center was found. */
static void
report_missing(const Datum *ids, int count, const SPITupleTable *found, uint64 nfound)
{
	StringInfoData list;
	uint64		next = 0;
	int			missing = 0;

	initStringInfo(&list);
	for (int i = 0; i < count; i++)
	{
		bool		isnull;

		if (next < nfound && DatumGetInt64(SPI_getbinval(found->vals[next], found->tupdesc, 1, &isnull)) ==
			DatumGetInt64(ids[i]))
		{
			next++;
			continue;
		}
		if (missing++ < MAX_IDS_NAMED)
			appendStringInfo(&list, "%s%lld", missing > 1 ? ", " : "", (long long) DatumGetInt64(ids[i]));
	}
	if (missing > MAX_IDS_NAMED)
		appendStringInfo(&list, " and %d more", missing - MAX_IDS_NAMED);
	ereport(ERROR,
			(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
			 errmsg("some centers not found"),
			 errdetail("There are no centers with these ids: %s.", list.data)));
}

/*
 * Raise an error unless all centers exist, and keep them from being deleted
 * until the end of the transaction.  A deletion that is under way is waited
 * for; if it commits, the center is missing.
 */
static void
lock_centers(const Datum *ids, int count, Datum array)
{
	static ClinicalPlan plan = {
		"SELECT c.id FROM clinical.center c WHERE c.id OPERATOR(pg_catalog.=) ANY ($1)"
		" ORDER BY c.id FOR KEY SHARE",
		1, {INT8ARRAYOID}
	};

	SPI_connect();
	clinical_execute(&plan, &array, NULL, false);
	if (SPI_processed != (uint64) count)
		report_missing(ids, count, SPI_tuptable, SPI_processed);
	SPI_finish();
}

/*
 * Insert the project, unless one with its code exists; its id, or 0.  A code
 * made by the server may be somebody's own already, so try the next number.
 */
static Datum
insert_project(FunctionCallInfo fcinfo)
{
	static ClinicalPlan plan = {
		"INSERT INTO clinical.project AS p (code, name, time_zone, status)"
		" VALUES ($1, $2, COALESCE($3, 'UTC'), $4)"
		" ON CONFLICT (code) DO NOTHING RETURNING p.id",
		4, {TEXTOID, TEXTOID, TEXTOID, TEXTOID}
	};
	static const int args[] = {2, 0, 3, 4};
	Datum		values[4];
	char		nulls[4];
	Datum		id;
	int			tried = 0;

	for (int i = 0; i < 4; i++)
	{
		nulls[i] = PG_ARGISNULL(args[i]) ? 'n' : ' ';
		values[i] = PG_ARGISNULL(args[i]) ? (Datum) 0 : PG_GETARG_DATUM(args[i]);
	}
	while (!clinical_fetch(&plan, values, nulls, false, &id))
	{
		if (!PG_ARGISNULL(2))
			return Int64GetDatum(0);
		CHECK_FOR_INTERRUPTS();
		if (++tried == MAX_CODES_TRIED)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("could not give the project a code"),
					 errhint("Pass a code.")));
	}
	return id;
}

/* The project that exists with the code, if its content is the same. */
static Datum
existing_project(FunctionCallInfo fcinfo, Datum array)
{
	static ClinicalPlan plan = {
		"SELECT (p.*)::clinical.project FROM clinical.project p"
		" WHERE p.code OPERATOR(pg_catalog.=) $1 AND p.name OPERATOR(pg_catalog.=) $2"
		"   AND p.time_zone OPERATOR(pg_catalog.=) COALESCE($3, 'UTC')"
		"   AND $4 OPERATOR(pg_catalog.=) ARRAY(SELECT pc.center_id FROM clinical.project_center pc"
		"                                       WHERE pc.project_id OPERATOR(pg_catalog.=) p.id"
		"                                       ORDER BY pc.center_id)",
		4, {TEXTOID, TEXTOID, TEXTOID, INT8ARRAYOID}
	};
	Datum		values[4] = {PG_GETARG_DATUM(2), PG_GETARG_DATUM(0), (Datum) 0, array};
	char		nulls[4] = {' ', ' ', PG_ARGISNULL(3) ? 'n' : ' ', ' '};
	Datum		project;

	if (!PG_ARGISNULL(3))
		values[2] = PG_GETARG_DATUM(3);
	if (!clinical_fetch(&plan, values, nulls, false, &project))
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("project already exists with different content"),
				 errdetail("The code is \"%s\".", text_to_cstring(PG_GETARG_TEXT_PP(2)))));
	return project;
}

/* Link the new project to its centers and return its row. */
static Datum
link_centers(Datum project_id, Datum array)
{
	static ClinicalPlan insert = {
		"INSERT INTO clinical.project_center (project_id, center_id)"
		" SELECT $1, u.id FROM pg_catalog.unnest($2) AS u (id)",
		2, {INT8OID, INT8ARRAYOID}
	};
	static ClinicalPlan select = {
		"SELECT (p.*)::clinical.project FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	Datum		values[2] = {project_id, array};
	Datum		project;

	(void) clinical_fetch(&insert, values, NULL, false, &project);
	if (!clinical_fetch(&select, &project_id, NULL, false, &project))
		elog(ERROR, "new project is not visible");
	return project;
}

/* SQL: create a project with its centers, or return the one created so before. */
Datum
clinical_create_project_with_centers(PG_FUNCTION_ARGS)
{
	Datum	   *ids;
	int			count;
	Datum		array;
	Datum		project_id;

	(void) clinical_text_arg(fcinfo, 0, "project name is required");
	if (!PG_ARGISNULL(2))
		(void) clinical_text_arg(fcinfo, 2, "project code is empty");
	ids = sorted_ids(fcinfo, 1, &count);
	array = PointerGetDatum(construct_array(ids, count, INT8OID, sizeof(int64),
											FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	lock_centers(ids, count, array);
	project_id = insert_project(fcinfo);
	CLINICAL_FAULT("project_created");
	if (DatumGetInt64(project_id) == 0)
		return existing_project(fcinfo, array);
	return link_centers(project_id, array);
}
