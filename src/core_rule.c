/*-------------------------------------------------------------------------
 *
 * core_rule.c
 *		Checks of arguments, and of the rows that triggers see.
 *
 * Errors name columns, keys and states, never other values of a row: they
 * reach server logs and clients that must not see patient data.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "core.h"

/* Raise the message unless what a caller must give is given. */
void
clinical_require_arg(bool given, const char *message)
{
	if (!given)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s", message)));
}

/* A text argument that may be NULL. */
text *
clinical_optional_arg(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ? NULL : PG_GETARG_TEXT_PP(argno);
}

/* A text argument that must be given and not be empty. */
text *
clinical_text_arg(FunctionCallInfo fcinfo, int argno, const char *message)
{
	text	   *value = clinical_optional_arg(fcinfo, argno);

	clinical_require_arg(value != NULL && VARSIZE_ANY_EXHDR(value) > 0, message);
	return value;
}

/* An argument that is a reason, or (NULL) the reason of the transaction. */
text *
clinical_reason_arg(FunctionCallInfo fcinfo, int argno)
{
	text	   *reason = clinical_optional_arg(fcinfo, argno);

	if (reason == NULL)
		reason = clinical_reason_in_force();
	clinical_require_arg(reason != NULL && VARSIZE_ANY_EXHDR(reason) > 0, "reason is required");
	return reason;
}

/* Is the trigger on that table (NULL: any) of the function's own schema? */
static bool
trigger_is_ours(FunctionCallInfo fcinfo, Relation relation, const char *table)
{
	return RelationGetNamespace(relation) == get_func_namespace(fcinfo->flinfo->fn_oid) &&
		(table == NULL || strcmp(RelationGetRelationName(relation), table) == 0);
}

/*
 * What a trigger was called for: the row before and after, if it is a row
 * trigger.  Anybody may attach a function that he can execute to a table of his
 * own, so the function insists on the table and the moment it was written for.
 */
void
clinical_load_row(FunctionCallInfo fcinfo, ClinicalRow *row, const char *table, TriggerEvent when)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function was not called by trigger manager")));
	if (!trigger_is_ours(fcinfo, trigger->tg_relation, table) ||
		(table != NULL && (trigger->tg_event & (TRIGGER_EVENT_TIMINGMASK | TRIGGER_EVENT_ROW)) != when))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function was not called by the trigger that it is for")));

	row->trigger = trigger;
	row->desc = RelationGetDescr(trigger->tg_relation);
	row->old_tuple = NULL;
	row->new_tuple = NULL;
	if (!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		return;
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		row->new_tuple = trigger->tg_trigtuple;
	else
		row->old_tuple = trigger->tg_trigtuple;
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		row->new_tuple = trigger->tg_newtuple;
	if (row->new_tuple == NULL && table != NULL)
		elog(ERROR, "trigger on \"%s\" has no new row", table);
}

/* The number of a column that a rule speaks of. */
static int
column_number(const ClinicalRow *row, const char *name)
{
	int			number = SPI_fnumber(row->desc, name);

	if (number <= 0)
		elog(ERROR, "no column \"%s\" in \"%s\"", name,
			 RelationGetRelationName(row->trigger->tg_relation));
	return number;
}

/* The value of a column in the row before or after. */
Datum
clinical_column(const ClinicalRow *row, HeapTuple tuple, const char *name, bool *isnull)
{
	return heap_getattr(tuple, column_number(row, name), row->desc, isnull);
}

/* The same of a text column as a C string, or NULL. */
char *
clinical_text_column(const ClinicalRow *row, HeapTuple tuple, const char *name)
{
	bool		isnull;
	Datum		value = clinical_column(row, tuple, name, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/*
 * Do the bytes of a column differ between the row before and after?  Equality
 * of the type would not see 1.0 become 1.00.
 */
bool
clinical_column_changed(const ClinicalRow *row, const char *name)
{
	int			number = column_number(row, name);
	Form_pg_attribute column = TupleDescAttr(row->desc, number - 1);
	bool		old_null;
	bool		new_null;
	Datum		old_value = heap_getattr(row->old_tuple, number, row->desc, &old_null);
	Datum		new_value = heap_getattr(row->new_tuple, number, row->desc, &new_null);

	if (old_null || new_null)
		return old_null != new_null;
	return !datum_image_eq(old_value, new_value, column->attbyval, column->attlen);
}

/* Raise an error if a column has changed that never does. */
void
clinical_check_constant(const ClinicalRow *row, const char *const *columns, int ncolumns)
{
	for (int i = 0; row->old_tuple != NULL && i < ncolumns; i++)
	{
		if (clinical_column_changed(row, columns[i]))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("column \"%s\" is never changed", columns[i])));
	}
}

/* Give a column of the row to be stored another value. */
void
clinical_set_column(ClinicalRow *row, const char *name, Datum value, bool isnull)
{
	int			number = column_number(row, name);

	row->new_tuple = heap_modify_tuple_by_cols(row->new_tuple, row->desc, 1,
											   &number, &value, &isnull);
}

/* Who told the server of a row, and when, is not for the teller to say. */
void
clinical_stamp_row(ClinicalRow *row)
{
	text	   *actor = clinical_actor_in_force();
	NameData	user;

	namestrcpy(&user, GetUserNameFromId(GetSessionUserId(), false));
	clinical_set_column(row, "recorded_at", TimestampTzGetDatum(GetCurrentTimestamp()), false);
	clinical_set_column(row, "recorded_by", NameGetDatum(&user), false);
	clinical_set_column(row, "actor", PointerGetDatum(actor), actor == NULL);
}

/* Does a way before number n lead to this state? */
static bool
leads_to(const ClinicalWay *ways, int n, const char *state)
{
	for (int i = 0; i < n; i++)
	{
		if (strcmp(ways[i].to, state) == 0)
			return true;
	}
	return false;
}

/* The states that there are, or those to begin in, for people. */
static char *
list_states(const ClinicalWay *ways, int nways, bool beginnings)
{
	StringInfoData states;

	initStringInfo(&states);
	for (int i = 0; i < nways; i++)
	{
		if (beginnings ? ways[i].from == NULL : !leads_to(ways, i, ways[i].to))
			appendStringInfo(&states, "%s%s", states.len > 0 ? ", " : "", ways[i].to);
	}
	return states.data;
}

/* Is there a way from one state (NULL: none yet) to another? */
static bool
way_exists(const ClinicalWay *ways, int nways, const char *from, const char *to)
{
	for (int i = 0; i < nways; i++)
	{
		if (strcmp(ways[i].to, to) == 0 &&
			(ways[i].from == NULL ? from == NULL :
			 from != NULL && strcmp(ways[i].from, from) == 0))
			return true;
	}
	return false;
}

/*
 * Raise an error unless something may go from one state (NULL: it is new) to
 * another; "what" says of what kind it is.
 */
void
clinical_check_way(const ClinicalWay *ways, int nways, const char *what,
				   const char *from, const char *to)
{
	if (to == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s status is required", what)));
	/* an unknown state may be anything, so it is not shown */
	if (!leads_to(ways, nways, to))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown %s status", what),
				 errhint("There are: %s.", list_states(ways, nways, false))));
	if (way_exists(ways, nways, from, to))
		return;
	if (from == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s cannot begin as \"%s\"", what, to),
				 errhint("It can begin as: %s.  " CLINICAL_RESTORE_HINT,
						 list_states(ways, nways, true))));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%s cannot go from \"%s\" to \"%s\"", what, from, to)));
}

/*
 * Is this a name of a place in the world, or UTC?  Names without a slash are
 * abbreviations, or what this machine happens to call its zone; those below
 * posix and right are copies.  Digits are in POSIX rules such as "Foo/Bar5",
 * which pg_tzset takes too, and in the fixed offsets below Etc.
 */
static bool
names_a_place(const char *name)
{
	if (strchr(name, '/') == NULL)
		return strcmp(name, "UTC") == 0;
	if (strncmp(name, "posix/", 6) == 0 || strncmp(name, "right/", 6) == 0)
		return false;
	return strpbrk(name, "0123456789<") == NULL || strncmp(name, "Etc/GMT", 7) == 0;
}

/*
 * Raise an error, which does not show the name, unless it is one of the IANA
 * time zones, as the server spells it.
 */
void
clinical_check_time_zone(const char *name)
{
	pg_tz	   *zone = strlen(name) <= TZ_STRLEN_MAX ? pg_tzset(name) : NULL;

	if (zone == NULL || !pg_tz_acceptable(zone) ||
		strcmp(pg_get_timezone_name(zone), name) != 0 || !names_a_place(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown time zone"),
				 errhint("Use a name of pg_timezone_names that has a place in it, "
						 "such as \"Europe/Amsterdam\", or \"UTC\".")));
}
