/*-------------------------------------------------------------------------
 *
 * access_membership.c
 *		The rows of membership: triggers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "access.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(clinical_membership_check);
PG_FUNCTION_INFO_V1(clinical_membership_changed);

/* Trigger: a membership is of a role that exists, and is never changed. */
Datum
clinical_membership_check(PG_FUNCTION_ARGS)
{
	ClinicalRow row;
	bool		isnull;
	Datum		role;

	clinical_load_row(fcinfo, &row, "membership", CLINICAL_BEFORE_ROW);
	if (clinical_restore)
		PG_RETURN_POINTER(row.new_tuple);
	if (row.old_tuple != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("membership is granted and revoked, never changed")));
	role = clinical_column(&row, row.new_tuple, "role", &isnull);
	clinical_require_arg(!isnull, "role is required");
	clinical_require_arg(GetUserNameFromId(DatumGetObjectId(role), true) != NULL,
						 "there is no such role");
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
