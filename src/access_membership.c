/*-------------------------------------------------------------------------
 *
 * access_membership.c
 *		The rows of membership: triggers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "access.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(clinical_membership_check);
PG_FUNCTION_INFO_V1(clinical_membership_changed);

/* A restored row is of the role that it was granted to, or of none. */
static void
restore_membership(ClinicalRow *row)
{
	bool		isnull;
	Oid			role = DatumGetObjectId(clinical_column(row, row->new_tuple, "role", &isnull));
	Name		granted_to = DatumGetName(clinical_column(row, row->new_tuple, "role_name", &isnull));
	char	   *name = GetUserNameFromId(role, true);

	if (name == NULL || isnull || strcmp(name, NameStr(*granted_to)) != 0)
		clinical_set_column(row, "role", ObjectIdGetDatum(InvalidOid), false);
}

/* Trigger: a membership is of a role that exists, and is never changed. */
Datum
clinical_membership_check(PG_FUNCTION_ARGS)
{
	ClinicalRow row;
	bool		isnull;
	Datum		role;
	char	   *name;
	NameData	role_name;

	clinical_load_row(fcinfo, &row, "membership", CLINICAL_BEFORE_ROW);
	if (clinical_restore)
	{
		restore_membership(&row);
		PG_RETURN_POINTER(row.new_tuple);
	}
	if (row.old_tuple != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("membership is granted and revoked, never changed")));
	role = clinical_column(&row, row.new_tuple, "role", &isnull);
	clinical_require_arg(!isnull, "role is required");
	name = GetUserNameFromId(DatumGetObjectId(role), true);
	clinical_require_arg(name != NULL, "there is no such role");
	namestrcpy(&role_name, name);
	clinical_set_column(&row, "role_name", NameGetDatum(&role_name), false);
	clinical_stamp_row(&row);
	PG_RETURN_POINTER(row.new_tuple);
}

/* Trigger: all sessions look their centers up again. */
Datum
clinical_membership_changed(PG_FUNCTION_ARGS)
{
	ClinicalRow row;

	clinical_load_row(fcinfo, &row, "membership", CLINICAL_AFTER_STATEMENT);
	CacheInvalidateRelcache(row.trigger->tg_relation);
	return PointerGetDatum(NULL);
}
