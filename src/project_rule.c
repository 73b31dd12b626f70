/*-------------------------------------------------------------------------
 *
 * project_rule.c
 *		The rules of the rows of center, project and project_center, and
 *		their histories: triggers, so that they hold for COPY too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "core.h"
#include "project.h"

PG_FUNCTION_INFO_V1(clinical_center_check);
PG_FUNCTION_INFO_V1(clinical_project_check);
PG_FUNCTION_INFO_V1(clinical_project_center_check);
PG_FUNCTION_INFO_V1(clinical_center_history);
PG_FUNCTION_INFO_V1(clinical_project_history);
PG_FUNCTION_INFO_V1(clinical_project_center_history);

#define MAX_CODE_BYTES 255

/* The ways of centers and of projects */
static const ClinicalWay ways[] = {
	{NULL, "planned"},
	{NULL, "active"},
	{"planned", "active"},
	{"active", "suspended"},
	{"suspended", "active"},
	{"suspended", "closed"},
};

/* Raise an error unless a center or project may go from one status to another. */
void
clinical_check_project_way(const char *what, const char *from, const char *to)
{
	clinical_check_way(ways, lengthof(ways), what, from, to);
}

/* Raise the message unless a column has something in it. */
static void
require_text(const ClinicalRow *row, const char *column, const char *message)
{
	char	   *value = clinical_text_column(row, row->new_tuple, column);

	clinical_require_arg(value != NULL && *value != '\0', message);
}

/* A code that has an index must not be endless. */
static void
check_code(const ClinicalRow *row, const char *column, const char *message)
{
	char	   *code = clinical_text_column(row, row->new_tuple, column);

	clinical_require_arg(code == NULL || (*code != '\0' && strlen(code) <= MAX_CODE_BYTES), message);
}

/* The row's time zone must be one, where it is new. */
static void
check_time_zone(const ClinicalRow *row)
{
	char	   *zone = clinical_text_column(row, row->new_tuple, "time_zone");

	clinical_require_arg(zone != NULL, "time zone is required");
	if (row->old_tuple == NULL || clinical_column_changed(row, "time_zone"))
		clinical_check_time_zone(zone);
}

/* The row's status must be one that it may come to. */
static void
check_status(const ClinicalRow *row, const char *what)
{
	char	   *from = row->old_tuple == NULL ? NULL :
	clinical_text_column(row, row->old_tuple, "status");
	char	   *to = clinical_text_column(row, row->new_tuple, "status");

	if (row->old_tuple == NULL || clinical_column_changed(row, "status"))
		clinical_check_project_way(what, from, to);
}

/* The id of a center or project stands in other rows and in histories. */
static void
check_id_kept(const ClinicalRow *row, const char *message)
{
	if (row->old_tuple != NULL && clinical_column_changed(row, "id"))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s", message)));
}

/* ISO 3166-1: two or three capital letters. */
static void
check_country(const ClinicalRow *row)
{
	char	   *country = clinical_text_column(row, row->new_tuple, "country");
	size_t		letters;

	if (country == NULL)
		return;
	letters = strspn(country, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
	clinical_require_arg(country[letters] == '\0' && (letters == 2 || letters == 3),
						 "country must be two or three capital letters of ISO 3166-1");
}

/* Trigger: the rules of a center. */
Datum
clinical_center_check(PG_FUNCTION_ARGS)
{
	ClinicalRow row;
	bool		never_active;
	char	   *status;

	clinical_load_row(fcinfo, &row, "center", CLINICAL_BEFORE_ROW);
	if (clinical_as_is())
		PG_RETURN_POINTER(row.new_tuple);
	check_id_kept(&row, "id of a center cannot change");
	require_text(&row, "name", "center name is required");
	check_time_zone(&row);
	check_code(&row, "site_id", "site id must have 1 to 255 bytes");
	check_country(&row);
	check_status(&row, "center");

	(void) clinical_column(&row, row.new_tuple, "activated_at", &never_active);
	status = clinical_text_column(&row, row.new_tuple, "status");
	if (never_active && strcmp(status, "active") == 0)
		clinical_set_column(&row, "activated_at", TimestampTzGetDatum(GetCurrentTimestamp()), false);
	PG_RETURN_POINTER(row.new_tuple);
}

/* Trigger: the rules of a project; one without a code is called by its id. */
Datum
clinical_project_check(PG_FUNCTION_ARGS)
{
	ClinicalRow row;

	clinical_load_row(fcinfo, &row, "project", CLINICAL_BEFORE_ROW);
	if (clinical_as_is())
		PG_RETURN_POINTER(row.new_tuple);
	check_id_kept(&row, "id of a project cannot change");
	if (row.old_tuple == NULL && clinical_text_column(&row, row.new_tuple, "code") == NULL)
	{
		bool		isnull;
		int64		id = DatumGetInt64(clinical_column(&row, row.new_tuple, "id", &isnull));

		clinical_set_column(&row, "code",
							CStringGetTextDatum(psprintf("PJ-%lld", (long long) id)), false);
	}
	check_code(&row, "code", "project code must have 1 to 255 bytes");
	require_text(&row, "name", "project name is required");
	check_time_zone(&row);
	check_status(&row, "project");
	PG_RETURN_POINTER(row.new_tuple);
}

/* A day of a plan, which may be missing but not be infinite. */
static bool
day_is_finite(const ClinicalRow *row, const char *column, DateADT *day)
{
	bool		isnull;

	*day = DatumGetDateADT(clinical_column(row, row->new_tuple, column, &isnull));
	clinical_require_arg(isnull || !DATE_NOT_FINITE(*day), "days of enrolment must be finite");
	return !isnull;
}

/* Trigger: the rules of a link between project and center. */
Datum
clinical_project_center_check(PG_FUNCTION_ARGS)
{
	ClinicalRow row;
	DateADT		from_day;
	DateADT		to_day;
	bool		has_from;
	bool		has_to;
	bool		isnull;
	int32		planned;

	clinical_load_row(fcinfo, &row, "project_center", CLINICAL_BEFORE_ROW);
	if (clinical_as_is())
		PG_RETURN_POINTER(row.new_tuple);
	if (row.old_tuple != NULL &&
		(clinical_column_changed(&row, "project_id") || clinical_column_changed(&row, "center_id")))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("project and center of a link cannot change"),
				 errhint("Add the one and remove the other.")));

	planned = DatumGetInt32(clinical_column(&row, row.new_tuple, "planned_enrolment", &isnull));
	clinical_require_arg(isnull || planned >= 0, "planned enrolment must not be negative");
	has_from = day_is_finite(&row, "enrolment_from", &from_day);
	has_to = day_is_finite(&row, "enrolment_to", &to_day);
	clinical_require_arg(!has_from || !has_to || from_day <= to_day,
						 "enrolment must not end before it begins");
	PG_RETURN_POINTER(row.new_tuple);
}

/* Write one row (id, status, reason) of a history of states. */
static void
write_status(const ClinicalRow *row, ClinicalPlan *plan)
{
	text	   *reason = clinical_reason_in_force();
	bool		isnull;
	Datum		values[3];
	char		nulls[3] = {' ', ' ', reason == NULL ? 'n' : ' '};

	values[0] = clinical_column(row, row->new_tuple, "id", &isnull);
	values[1] = clinical_column(row, row->new_tuple, "status", &isnull);
	values[2] = PointerGetDatum(reason);
	SPI_connect();
	clinical_server_execute(plan, values, nulls);
	SPI_finish();
}

/* Trigger: each status of a center is kept. */
Datum
clinical_center_history(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"INSERT INTO clinical.center_event (center_id, status, reason) VALUES ($1, $2, $3)",
		3, {INT8OID, TEXTOID, TEXTOID}
	};
	ClinicalRow row;

	clinical_load_row(fcinfo, &row, "center", CLINICAL_AFTER_ROW);
	if (!clinical_as_is())
		write_status(&row, &plan);
	return PointerGetDatum(NULL);
}

/* Trigger: each status of a project is kept. */
Datum
clinical_project_history(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"INSERT INTO clinical.project_event (project_id, event, status, reason) VALUES ($1, 'status', $2, $3)",
		3, {INT8OID, TEXTOID, TEXTOID}
	};
	ClinicalRow row;

	clinical_load_row(fcinfo, &row, "project", CLINICAL_AFTER_ROW);
	if (!clinical_as_is())
		write_status(&row, &plan);
	return PointerGetDatum(NULL);
}

/* Trigger: centers that were added to projects, or removed from them with a reason. */
Datum
clinical_project_center_history(PG_FUNCTION_ARGS)
{
	static ClinicalPlan added = {
		"INSERT INTO clinical.project_event (project_id, event, center_id, reason)"
		" SELECT r.project_id, 'center_added', r.center_id, $1 FROM changed_rows r",
		1, {TEXTOID}
	};
	static ClinicalPlan removed = {
		"INSERT INTO clinical.project_event (project_id, event, center_id, reason)"
		" SELECT r.project_id, 'center_removed', r.center_id, $1 FROM changed_rows r",
		1, {TEXTOID}
	};
	ClinicalRow row;
	text	   *reason = clinical_reason_in_force();
	Datum		value = PointerGetDatum(reason);
	bool		is_removal;

	clinical_load_row(fcinfo, &row, "project_center", CLINICAL_AFTER_STATEMENT);
	if (clinical_as_is())
		return PointerGetDatum(NULL);
	is_removal = TRIGGER_FIRED_BY_DELETE(row.trigger->tg_event);
	if (is_removal)
		clinical_require_reason();
	SPI_connect();
	SPI_register_trigger_data(row.trigger);
	clinical_server_execute(is_removal ? &removed : &added, &value, reason == NULL ? "n" : NULL);
	SPI_finish();
	return PointerGetDatum(NULL);
}
