/*-------------------------------------------------------------------------
 *
 * project.c
 *		Projects, centers and which takes part in which: the functions.
 *
 * The rules of the rows themselves are in project_rule.c, where they hold for
 * INSERT and COPY too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "compat.h"
#include "core.h"
#include "project.h"

PG_FUNCTION_INFO_V1(clinical_create_center);
PG_FUNCTION_INFO_V1(clinical_add_center);
PG_FUNCTION_INFO_V1(clinical_remove_center);
PG_FUNCTION_INFO_V1(clinical_plan_enrolment);
PG_FUNCTION_INFO_V1(clinical_set_center_status);
PG_FUNCTION_INFO_V1(clinical_set_project_status);
PG_FUNCTION_INFO_V1(clinical_project_json);
PG_FUNCTION_INFO_V1(clinical_projects_json);

/* What clinical.check() tests of projects and centers */
const ClinicalInvariant clinical_project_invariants[] = {
	{"center follows its last event",
		"SELECT c.id::pg_catalog.text, 'status differs from the last row of center_event'"
		"  FROM clinical.center c"
		"  LEFT JOIN (SELECT DISTINCT ON (e.center_id) e.center_id, e.status"
		"               FROM clinical.center_event e ORDER BY e.center_id, e.id DESC) l"
		"    ON l.center_id OPERATOR(pg_catalog.=) c.id"
	" WHERE (c.status OPERATOR(pg_catalog.=) l.status) IS NOT TRUE"},
	{"project follows its last event",
		"SELECT p.code, 'status differs from the last row of project_event'"
		"  FROM clinical.project p"
		"  LEFT JOIN (SELECT DISTINCT ON (e.project_id) e.project_id, e.status FROM clinical.project_event e"
		"              WHERE e.event OPERATOR(pg_catalog.=) 'status' ORDER BY e.project_id, e.id DESC) l"
		"    ON l.project_id OPERATOR(pg_catalog.=) p.id"
	" WHERE (p.status OPERATOR(pg_catalog.=) l.status) IS NOT TRUE"},
	{"project has the centers that joined it",
		"SELECT pg_catalog.concat(COALESCE(pc.project_id, l.project_id), ' ', COALESCE(pc.center_id, l.center_id)),"
		"       'project_center differs from the last row of project_event for the two'"
		"  FROM clinical.project_center pc"
		"  FULL JOIN (SELECT DISTINCT ON (e.project_id, e.center_id) e.project_id, e.center_id, e.event"
		"               FROM clinical.project_event e WHERE e.center_id IS NOT NULL"
		"              ORDER BY e.project_id, e.center_id, e.id DESC) l"
		"    ON l.project_id OPERATOR(pg_catalog.=) pc.project_id AND l.center_id OPERATOR(pg_catalog.=) pc.center_id"
		" WHERE (pc.project_id IS NOT NULL) OPERATOR(pg_catalog.<>)"
	"       COALESCE(l.event OPERATOR(pg_catalog.=) 'center_added', false)"},
	{"histories of projects and centers have known events",
		"SELECT e.id::pg_catalog.text, 'status in center_event is none'"
		"  FROM clinical.center_event e"
	" WHERE e.status OPERATOR(pg_catalog.<>) ALL (ARRAY['planned', 'active', 'suspended', 'closed'])"},
};
const int	clinical_project_ninvariants = lengthof(clinical_project_invariants);

/* The project does not exist, as far as the caller knows. */
void
clinical_project_not_found(text *code)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("project not found"),
			 errdetail("There is no project with the code \"%s\".", text_to_cstring(code))));
}

/*
 * The id of the project with a code; an error if there is none.  Functions that
 * write are not read_only: they see what the statement that calls them has done
 * so far.
 */
int64
clinical_project_by_code(text *code, bool read_only)
{
	static ClinicalPlan plan = {
		"SELECT p.id FROM clinical.project p WHERE p.code OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	Datum		value = PointerGetDatum(code);
	Datum		id;

	if (!clinical_fetch(&plan, &value, NULL, read_only, &id))
		clinical_project_not_found(code);
	return DatumGetInt64(id);
}

/* The same with the code in an argument, which must be given. */
int64
clinical_project_id(FunctionCallInfo fcinfo, int argno, bool read_only)
{
	return clinical_project_by_code(clinical_text_arg(fcinfo, argno, "project code is required"), read_only);
}

/* What clinical_require_center and the status function say. */
CLINICAL_NORETURN static void
center_not_found(int64 center_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("center not found"),
			 errdetail("There is no center with the id %lld.", (long long) center_id)));
}

/* The same for a project in which a center does not take part. */
CLINICAL_NORETURN static void
center_not_in_project(int sqlstate, int64 center_id)
{
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("center does not take part in the project"),
			 errdetail("The center has the id %lld.", (long long) center_id)));
}

/* Raise an error unless there is such a center. */
void
clinical_require_center(int64 center_id)
{
	static ClinicalPlan plan = {
		"SELECT true FROM clinical.center c WHERE c.id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(center_id);
	Datum		found;

	if (!clinical_fetch(&plan, &value, NULL, true, &found))
		center_not_found(center_id);
}

#define IDLE_PART \
	"SELECT CASE WHEN p.status OPERATOR(pg_catalog.<>) 'active' THEN 'project'" \
	"            WHEN c.status OPERATOR(pg_catalog.<>) 'active' THEN 'center'" \
	"            ELSE '' END" \
	"  FROM clinical.project_center pc" \
	"  JOIN clinical.project p ON p.id OPERATOR(pg_catalog.=) pc.project_id" \
	"  JOIN clinical.center c ON c.id OPERATOR(pg_catalog.=) pc.center_id" \
	" WHERE pc.project_id OPERATOR(pg_catalog.=) $1" \
	"   AND pc.center_id OPERATOR(pg_catalog.=) $2"

/*
 * Raise an error unless the center takes part in the project and both are
 * active.  With lock they stay so until the end of the transaction: that takes
 * rights on their rows, which callers need not have; that they may see the
 * center is asked first.
 */
void
clinical_require_active_center(int64 project_id, int64 center_id, bool lock)
{
	static ClinicalPlan look = {IDLE_PART, 2, {INT8OID, INT8OID}};
	static ClinicalPlan hold = {IDLE_PART " FOR SHARE OF p, c", 2, {INT8OID, INT8OID}};
	Datum		values[2] = {Int64GetDatum(project_id), Int64GetDatum(center_id)};
	Datum		result;
	char	   *idle;

	if (!clinical_fetch(&look, values, NULL, false, &result) ||
		(lock && !clinical_owner_fetch(&hold, values, NULL, false, &result)))
		center_not_in_project(ERRCODE_FOREIGN_KEY_VIOLATION, center_id);
	idle = TextDatumGetCString(result);
	if (*idle != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s is not active", idle),
				 errdetail("Only active centers of active projects enroll; this is about the project with the id %lld and the center with the id %lld.",
						   (long long) project_id, (long long) center_id)));
}

/* SQL: create a center, or return the one that was created so before. */
Datum
clinical_create_center(PG_FUNCTION_ARGS)
{
	static ClinicalPlan insert = {
		"INSERT INTO clinical.center AS c (name, site_id, time_zone, country, status)"
		" VALUES ($1, $2, COALESCE($3, 'UTC'), $4, $5)"
		" ON CONFLICT (site_id) DO NOTHING RETURNING (c.*)::clinical.center",
		5, {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID}
	};
	static ClinicalPlan same = {
		"SELECT (c.*)::clinical.center FROM clinical.center c"
		" WHERE c.site_id OPERATOR(pg_catalog.=) $2 AND c.name OPERATOR(pg_catalog.=) $1"
		"   AND c.time_zone OPERATOR(pg_catalog.=) COALESCE($3, 'UTC')"
		"   AND COALESCE(c.country OPERATOR(pg_catalog.=) $4, c.country IS NULL AND $4 IS NULL)",
		4, {TEXTOID, TEXTOID, TEXTOID, TEXTOID}
	};
	Datum		center;

	(void) clinical_text_arg(fcinfo, 0, "center name is required");
	if (!PG_ARGISNULL(1))
		(void) clinical_text_arg(fcinfo, 1, "site id is empty");
	if (!clinical_fetch_args(&insert, fcinfo, false, &center) &&
		!clinical_fetch_args(&same, fcinfo, false, &center))
	{
		if (PG_ARGISNULL(1))
			elog(ERROR, "center was not stored");
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("center already exists with different content"),
				 errdetail("The site id is \"%s\".", text_to_cstring(PG_GETARG_TEXT_PP(1)))));
	}
	return center;
}

/* The center id in an argument. */
static int64
center_arg(FunctionCallInfo fcinfo, int argno)
{
	clinical_require_arg(!PG_ARGISNULL(argno), "center id is required");
	return PG_GETARG_INT64(argno);
}

/* SQL: add a center to a project, unless it takes part already. */
Datum
clinical_add_center(PG_FUNCTION_ARGS)
{
	static ClinicalPlan lock = {
		"SELECT true FROM clinical.center c WHERE c.id OPERATOR(pg_catalog.=) $1 FOR KEY SHARE",
		1, {INT8OID}
	};
	static ClinicalPlan insert = {
		"INSERT INTO clinical.project_center (project_id, center_id) VALUES ($1, $2)"
		" ON CONFLICT (project_id, center_id) DO NOTHING RETURNING true",
		2, {INT8OID, INT8OID}
	};
	static ClinicalPlan select = {
		"SELECT (pc.*)::clinical.project_center FROM clinical.project_center pc"
		" WHERE pc.project_id OPERATOR(pg_catalog.=) $1 AND pc.center_id OPERATOR(pg_catalog.=) $2",
		2, {INT8OID, INT8OID}
	};
	Datum		values[2];
	Datum		row;

	values[0] = Int64GetDatum(clinical_project_id(fcinfo, 0, false));
	values[1] = Int64GetDatum(center_arg(fcinfo, 1));
	if (!clinical_fetch(&lock, &values[1], NULL, false, &row))
		center_not_found(PG_GETARG_INT64(1));
	(void) clinical_fetch(&insert, values, NULL, false, &row);
	if (!clinical_fetch(&select, values, NULL, false, &row))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("list of centers was changed meanwhile")));
	return row;
}

/* SQL: remove a center from a project. */
Datum
clinical_remove_center(PG_FUNCTION_ARGS)
{
	static ClinicalPlan delete = {
		"DELETE FROM clinical.project_center pc"
		" WHERE pc.project_id OPERATOR(pg_catalog.=) $1 AND pc.center_id OPERATOR(pg_catalog.=) $2"
		" RETURNING (pc.*)::clinical.project_center",
		2, {INT8OID, INT8OID}
	};
	Datum		values[2];
	Datum		row;
	int			nest_level;

	values[0] = Int64GetDatum(clinical_project_id(fcinfo, 0, false));
	values[1] = Int64GetDatum(center_arg(fcinfo, 1));
	nest_level = clinical_reason_push(clinical_optional_arg(fcinfo, 2));
	clinical_require_reason();
	if (!clinical_fetch(&delete, values, NULL, false, &row))
		center_not_in_project(ERRCODE_NO_DATA_FOUND, PG_GETARG_INT64(1));
	clinical_reason_pop(nest_level);
	return row;
}

/* SQL: how many patients a center is to enroll, and when. */
Datum
clinical_plan_enrolment(PG_FUNCTION_ARGS)
{
	static ClinicalPlan update = {
		"UPDATE clinical.project_center AS pc"
		"   SET planned_enrolment = $3, enrolment_from = $4, enrolment_to = $5"
		" WHERE pc.project_id OPERATOR(pg_catalog.=) $1 AND pc.center_id OPERATOR(pg_catalog.=) $2"
		" RETURNING (pc.*)::clinical.project_center",
		5, {INT8OID, INT8OID, INT4OID, DATEOID, DATEOID}
	};
	Datum		values[5];
	Datum		row;

	values[0] = Int64GetDatum(clinical_project_id(fcinfo, 0, false));
	values[1] = Int64GetDatum(center_arg(fcinfo, 1));
	clinical_require_arg(!PG_ARGISNULL(2), "planned enrolment is required");
	clinical_require_arg(!PG_ARGISNULL(3) && !PG_ARGISNULL(4), "days of enrolment are required");
	for (int i = 2; i < 5; i++)
		values[i] = PG_GETARG_DATUM(i);
	if (!clinical_fetch(&update, values, NULL, false, &row))
		center_not_in_project(ERRCODE_NO_DATA_FOUND, PG_GETARG_INT64(1));
	return row;
}

/*
 * Move a center or project (id, status) to another status, by plans that lock
 * it and give its status, and that update it.  That there is a way is checked
 * here too, since a trigger cannot tell a status that is set anew.
 */
static bool
set_status(const char *what, ClinicalPlan *lock, ClinicalPlan *update, Datum *values,
		   const text *reason, Datum *row)
{
	int			nest_level = clinical_reason_push(reason);
	Datum		status;
	bool		found = clinical_fetch(lock, values, NULL, false, &status);

	if (found)
	{
		clinical_check_project_way(what, TextDatumGetCString(status), TextDatumGetCString(values[1]));
		found = clinical_fetch(update, values, NULL, false, row);
	}
	clinical_reason_pop(nest_level);
	return found;
}

/* SQL: move a center to another status. */
Datum
clinical_set_center_status(PG_FUNCTION_ARGS)
{
	static ClinicalPlan lock = {
		"SELECT c.status FROM clinical.center c WHERE c.id OPERATOR(pg_catalog.=) $1"
		" FOR NO KEY UPDATE",
		1, {INT8OID}
	};
	static ClinicalPlan update = {
		"UPDATE clinical.center AS c SET status = $2"
		" WHERE c.id OPERATOR(pg_catalog.=) $1 RETURNING (c.*)::clinical.center",
		2, {INT8OID, TEXTOID}
	};
	int64		center_id = center_arg(fcinfo, 0);
	Datum		values[2] = {Int64GetDatum(center_id), (Datum) 0};
	Datum		row;

	values[1] = PointerGetDatum(clinical_text_arg(fcinfo, 1, "center status is required"));
	if (!set_status("center", &lock, &update, values, clinical_optional_arg(fcinfo, 2), &row))
		center_not_found(center_id);
	return row;
}

/* SQL: move a project to another status. */
Datum
clinical_set_project_status(PG_FUNCTION_ARGS)
{
	static ClinicalPlan lock = {
		"SELECT p.status FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) $1"
		" FOR NO KEY UPDATE",
		1, {INT8OID}
	};
	static ClinicalPlan update = {
		"UPDATE clinical.project AS p SET status = $2"
		" WHERE p.id OPERATOR(pg_catalog.=) $1 RETURNING (p.*)::clinical.project",
		2, {INT8OID, TEXTOID}
	};
	Datum		values[2];
	Datum		row;

	values[0] = Int64GetDatum(clinical_project_id(fcinfo, 0, false));
	values[1] = PointerGetDatum(clinical_text_arg(fcinfo, 1, "project status is required"));
	if (!set_status("project", &lock, &update, values, clinical_optional_arg(fcinfo, 2), &row))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND), errmsg("project not found")));
	return row;
}

#define PROJECT_DOCUMENT \
	"pg_catalog.jsonb_build_object(" \
	" 'id', p.id, 'code', p.code, 'name', p.name, 'timeZone', p.time_zone, 'status', p.status," \
	" 'centers', COALESCE((" \
	"  SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(" \
	"         'id', c.id, 'siteID', c.site_id, 'name', c.name, 'country', c.country," \
	"         'timeZone', c.time_zone, 'status', c.status, 'plannedEnrolment', pc.planned_enrolment," \
	"         'enrolmentFrom', pc.enrolment_from, 'enrolmentTo', pc.enrolment_to) ORDER BY c.id)" \
	"    FROM clinical.project_center pc" \
	"    JOIN clinical.center c ON c.id OPERATOR(pg_catalog.=) pc.center_id" \
	"   WHERE pc.project_id OPERATOR(pg_catalog.=) p.id), '[]'))"

/* SQL: a project with its centers as one document. */
Datum
clinical_project_json(PG_FUNCTION_ARGS)
{
	static ClinicalPlan select = {
		"SELECT " PROJECT_DOCUMENT " FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	Datum		id = Int64GetDatum(clinical_project_id(fcinfo, 0, true));
	Datum		document;

	if (!clinical_fetch(&select, &id, NULL, true, &document))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND), errmsg("project not found")));
	return document;
}

/* SQL: all of them. */
Datum
clinical_projects_json(PG_FUNCTION_ARGS)
{
	static ClinicalPlan select = {
		"SELECT COALESCE(pg_catalog.jsonb_agg(" PROJECT_DOCUMENT " ORDER BY p.code), '[]')"
		"  FROM clinical.project p"
	};
	Datum		document = (Datum) 0;

	if (!clinical_fetch(&select, NULL, NULL, true, &document))
		elog(ERROR, "no list of projects");
	return document;
}
