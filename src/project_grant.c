/*-------------------------------------------------------------------------
 *
 * project_grant.c
 *		Granting centers to roles, and what the caller may see.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "access.h"
#include "compat.h"
#include "project.h"

PG_FUNCTION_INFO_V1(clinical_grant_center);
PG_FUNCTION_INFO_V1(clinical_revoke_center);
PG_FUNCTION_INFO_V1(clinical_grant_all_centers);
PG_FUNCTION_INFO_V1(clinical_revoke_all_centers);
PG_FUNCTION_INFO_V1(clinical_whoami);

/* A role, a center (NULL: every) and a project (NULL: every) */
typedef struct GrantArgs
{
	Datum		values[3];
	char		nulls[3];
} GrantArgs;

#define SAME_GRANT \
	" WHERE m.role OPERATOR(pg_catalog.=) $1" \
	"   AND COALESCE(m.center_id OPERATOR(pg_catalog.=) $2, m.center_id IS NULL AND $2 IS NULL)" \
	"   AND COALESCE(m.project_id OPERATOR(pg_catalog.=) $3, m.project_id IS NULL AND $3 IS NULL)"

/* The role named in an argument. */
static Oid
role_arg(FunctionCallInfo fcinfo, int argno)
{
	Oid			role;

	clinical_require_arg(!PG_ARGISNULL(argno), "role is required");
	role = get_role_oid(NameStr(*PG_GETARG_NAME(argno)), true);
	if (!OidIsValid(role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" does not exist", NameStr(*PG_GETARG_NAME(argno)))));
	return role;
}

/* Read the arguments; -1 for the center: every. */
static void
read_args(FunctionCallInfo fcinfo, int center_argno, int project_argno, GrantArgs *args)
{
	args->values[0] = ObjectIdGetDatum(role_arg(fcinfo, 0));
	args->values[1] = (Datum) 0;
	args->values[2] = (Datum) 0;
	if (center_argno >= 0)
	{
		clinical_require_arg(!PG_ARGISNULL(center_argno), "center id is required");
		args->values[1] = PG_GETARG_DATUM(center_argno);
		clinical_require_center(DatumGetInt64(args->values[1]));
	}
	if (!PG_ARGISNULL(project_argno))
		args->values[2] = Int64GetDatum(clinical_project_id(fcinfo, project_argno, false));
	args->nulls[0] = ' ';
	args->nulls[1] = center_argno >= 0 ? ' ' : 'n';
	args->nulls[2] = PG_ARGISNULL(project_argno) ? 'n' : ' ';
}

/* Add the membership, unless it is there, and return it. */
static Datum
add_membership(GrantArgs *args)
{
	static ClinicalPlan insert = {
		"INSERT INTO clinical.membership AS m (role, center_id, project_id) VALUES ($1, $2, $3)"
		" ON CONFLICT (role, center_id, project_id) DO NOTHING RETURNING (m.*)::clinical.membership",
		3, {REGROLEOID, INT8OID, INT8OID}
	};
	static ClinicalPlan select = {
		"SELECT (m.*)::clinical.membership FROM clinical.membership m" SAME_GRANT,
		3, {REGROLEOID, INT8OID, INT8OID}
	};
	Datum		row;

	if (!clinical_fetch(&insert, args->values, args->nulls, false, &row) &&
		!clinical_fetch(&select, args->values, args->nulls, false, &row))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("membership was changed meanwhile")));
	return row;
}

/* Remove the membership and return it as it was. */
static Datum
remove_membership(GrantArgs *args)
{
	static ClinicalPlan delete = {
		"DELETE FROM clinical.membership m" SAME_GRANT " RETURNING (m.*)::clinical.membership",
		3, {REGROLEOID, INT8OID, INT8OID}
	};
	Datum		row;

	if (!clinical_fetch(&delete, args->values, args->nulls, false, &row))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("membership not found")));
	return row;
}

/* SQL: a role may see a center. */
Datum
clinical_grant_center(PG_FUNCTION_ARGS)
{
	GrantArgs	args;

	read_args(fcinfo, 1, 2, &args);
	return add_membership(&args);
}

/* SQL: and no longer. */
Datum
clinical_revoke_center(PG_FUNCTION_ARGS)
{
	GrantArgs	args;

	read_args(fcinfo, 1, 2, &args);
	return remove_membership(&args);
}

/* SQL: a role may see every center, there is or will be. */
Datum
clinical_grant_all_centers(PG_FUNCTION_ARGS)
{
	GrantArgs	args;

	read_args(fcinfo, -1, 1, &args);
	return add_membership(&args);
}

/* SQL: and no longer; centers granted one by one stay. */
Datum
clinical_revoke_all_centers(PG_FUNCTION_ARGS)
{
	GrantArgs	args;

	read_args(fcinfo, -1, 1, &args);
	return remove_membership(&args);
}

/* Why the caller sees nothing; NULL: he may see something. */
static const char *
why_nothing(bool any_role, bool any_center)
{
	static const char *const readers[] = {"clinical_investigator", "clinical_monitor",
	"clinical_data_manager", "clinical_statistician"};
	bool		reads = false;

	if (has_bypassrls_privilege(GetUserId()) || clinical_has_rights_of(GetUserId(), "clinical_auditor"))
		return NULL;
	if (!any_role)
		return "The role has the rights of none of the roles of clinical: grant it one, or SET ROLE to one that it does not inherit.";
	for (int i = 0; i < (int) lengthof(readers); i++)
		reads = reads || clinical_has_rights_of(GetUserId(), readers[i]);
	if (!reads)
		return "Its roles read no patients: that takes clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician or clinical_auditor.";
	if (!any_center)
		return "No center is granted to the role: see grant_center.";
	return NULL;
}

/* SQL: who calls, what he may see, and why nothing if so. */
Datum
clinical_whoami(PG_FUNCTION_ARGS)
{
	static ClinicalPlan roles = {
		"SELECT pg_catalog.array_agg(r.rolname ORDER BY r.rolname) FROM pg_catalog.pg_roles r"
		" WHERE r.rolname OPERATOR(pg_catalog.=) ANY (ARRAY['clinical_admin', 'clinical_intake',"
		"       'clinical_investigator', 'clinical_monitor', 'clinical_data_manager',"
		"       'clinical_statistician', 'clinical_auditor'])"
		"   AND pg_catalog.pg_has_role($1, r.oid, 'USAGE')",
		1, {OIDOID}
	};
	static ClinicalPlan centers = {
		"SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('center', m.center_id, 'siteID', c.site_id,"
		"       'project', p.code, 'through', m.role) ORDER BY m.center_id, p.code, m.role::pg_catalog.text)"
		"  FROM clinical.membership m"
		"  LEFT JOIN clinical.center c ON c.id OPERATOR(pg_catalog.=) m.center_id"
		"  LEFT JOIN clinical.project p ON p.id OPERATOR(pg_catalog.=) m.project_id"
		" WHERE pg_catalog.pg_has_role($1, m.role, 'USAGE')",
		1, {OIDOID}
	};
	Datum		caller = ObjectIdGetDatum(GetUserId());
	TupleDesc	desc;
	Datum		values[6] = {0};
	bool		nulls[6] = {false};
	text	   *actor = clinical_actor_in_force();
	const char *problem;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = DirectFunctionCall1(namein, CStringGetDatum(GetUserNameFromId(GetSessionUserId(), false)));
	values[1] = DirectFunctionCall1(namein, CStringGetDatum(GetUserNameFromId(GetUserId(), false)));
	values[2] = PointerGetDatum(actor);
	nulls[2] = actor == NULL;
	nulls[3] = !clinical_owner_fetch(&roles, &caller, NULL, true, &values[3]);
	nulls[4] = !clinical_owner_fetch(&centers, &caller, NULL, true, &values[4]);
	problem = why_nothing(!nulls[3], !nulls[4]);
	nulls[5] = problem == NULL;
	if (problem != NULL)
		values[5] = CStringGetTextDatum(problem);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}
