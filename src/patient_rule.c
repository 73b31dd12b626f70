/*-------------------------------------------------------------------------
 *
 * patient_rule.c
 *		The rules of a patient's row: triggers, so that they hold for COPY
 *		too.
 *
 * The record is changed in the row, and record_version follows.  What is dated
 * (status and center, time zone) is told the other way round: see
 * patient_event.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "patient.h"
#include "project.h"

PG_FUNCTION_INFO_V1(clinical_patient_check);
PG_FUNCTION_INFO_V1(clinical_patient_created);
PG_FUNCTION_INFO_V1(clinical_record_changed);

#define MAX_ID_BYTES 255
#define MAX_TEXT_BYTES 1000
#define MAX_AGE 150

/* What stands in the columns that only events change must be what stood there. */
static void
check_kept(const ClinicalRow *row)
{
	static const char *const fixed[] = {"id", "project_id"};
	static const char *const dated[] = {"status", "status_on", "center_id", "time_zone"};

	for (int i = 0; i < (int) lengthof(fixed); i++)
	{
		if (clinical_column_changed(row, fixed[i]))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("%s of a patient cannot change", fixed[i])));
	}
	if (clinical_server_writes())
		return;
	for (int i = 0; i < (int) lengthof(dated); i++)
	{
		if (clinical_column_changed(row, dated[i]))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("%s of a patient cannot be changed directly", dated[i]),
					 errhint("Add a row to clinical.%s, or call the function for it.",
							 strcmp(dated[i], "time_zone") == 0 ? "patient_time_zone" : "enrollment_event")));
	}
}

/* A text that may be missing, but not be empty or endless. */
static void
check_text(const ClinicalRow *row, const char *column, size_t max_bytes)
{
	char	   *value = clinical_text_column(row, row->new_tuple, column);

	if (value != NULL && (*value == '\0' || strlen(value) > max_bytes))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must have 1 to %zu bytes", column, max_bytes)));
}

/* CDISC C66731. */
static void
check_sex(const ClinicalRow *row)
{
	static const char *const sexes[] = {"F", "M", "U", "INTERSEX"};
	char	   *sex = clinical_text_column(row, row->new_tuple, "sex");
	bool		known = sex == NULL;

	for (int i = 0; !known && i < (int) lengthof(sexes); i++)
		known = strcmp(sex, sexes[i]) == 0;
	clinical_require_arg(known, "sex must be F, M, U or INTERSEX");
}

/* The day on which a patient entered. */
static DateADT
day_of_entry(const ClinicalRow *row)
{
	static ClinicalPlan plan = {
		"SELECT e.effective_on FROM clinical.enrollment_event e"
		" WHERE e.patient_id OPERATOR(pg_catalog.=) $1 AND e.event_no OPERATOR(pg_catalog.=) 1",
		1, {TEXTOID}
	};
	bool		isnull;
	Datum		id = clinical_column(row, row->old_tuple, "id", &isnull);
	Datum		day;

	if (!clinical_owner_fetch(&plan, &id, NULL, false, &day))
		elog(ERROR, "patient has no first event");
	return DatumGetDateADT(day);
}

/* The day, year or age of birth: at most one, and none after entering. */
static void
check_birth(const ClinicalRow *row, DateADT entered_on)
{
	bool		no_date;
	bool		no_year;
	bool		no_age;
	DateADT		date = DatumGetDateADT(clinical_column(row, row->new_tuple, "birth_date", &no_date));
	int32		year = DatumGetInt32(clinical_column(row, row->new_tuple, "birth_year", &no_year));
	int32		age = DatumGetInt32(clinical_column(row, row->new_tuple, "age", &no_age));
	int			entry_year;
	int			month;
	int			day;

	j2date(entered_on + POSTGRES_EPOCH_JDATE, &entry_year, &month, &day);
	clinical_require_arg(no_date + no_year + no_age >= 2,
						 "at most one of birth_date, birth_year and age can be given");
	clinical_require_arg(no_date || !DATE_NOT_FINITE(date), "birth_date must be finite");
	clinical_require_arg(no_date || (date <= entered_on &&
									 date >= date2j(entry_year - MAX_AGE, month, 1) - POSTGRES_EPOCH_JDATE),
						 "birth_date must lie within 150 years before the patient entered");
	clinical_require_arg(no_year || (year <= entry_year && year >= entry_year - MAX_AGE),
						 "birth_year must lie within 150 years before the patient entered");
	clinical_require_arg(no_age || (age >= 0 && age <= MAX_AGE), "age must be 0 to 150 years");
}

/* The columns that the table says may not be NULL, said without the row. */
static void
check_required(const ClinicalRow *row)
{
	static const char *const columns[] = {"project_id", "center_id", "record", "created_at"};

	for (int i = 0; i < (int) lengthof(columns); i++)
	{
		bool		isnull;

		(void) clinical_column(row, row->new_tuple, columns[i], &isnull);
		if (isnull)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s of a patient is required", columns[i])));
	}
}

/* A column of a new patient that was not given. */
static void
fill_column(ClinicalRow *row, const char *column, Datum value)
{
	bool		isnull;

	(void) clinical_column(row, row->new_tuple, column, &isnull);
	if (isnull)
		clinical_set_column(row, column, value, false);
}

/* A new patient's id. */
static void
check_id(const ClinicalRow *row)
{
	char	   *id = clinical_text_column(row, row->new_tuple, "id");

	clinical_require_arg(id != NULL && *id != '\0', "patient id is required");
	clinical_require_arg(strlen(id) <= MAX_ID_BYTES, "patient id is longer than 255 bytes");
}

/* The record must be an object; its version counts its changes. */
static void
check_record(ClinicalRow *row)
{
	bool		isnull;
	int32		version = 0;

	if (row->old_tuple != NULL && !clinical_column_changed(row, "record"))
	{
		if (clinical_column_changed(row, "record_version"))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("record_version of a patient cannot be changed directly")));
		return;
	}
	clinical_require_arg(JB_ROOT_IS_OBJECT(DatumGetJsonbP(clinical_column(row, row->new_tuple, "record", &isnull))),
						 "record must be a JSON object");
	if (row->old_tuple != NULL)
	{
		clinical_require_reason();
		version = DatumGetInt32(clinical_column(row, row->old_tuple, "record_version", &isnull));
	}
	clinical_set_column(row, "record_version", Int32GetDatum(version + 1), false);
}

/* What only a new row must satisfy, and what it has if nothing is said. */
static void
check_new_patient(ClinicalRow *row)
{
	char	   *zone = clinical_text_column(row, row->new_tuple, "time_zone");

	fill_column(row, "record", DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
	fill_column(row, "created_at", TimestampTzGetDatum(GetCurrentTimestamp()));
	check_id(row);
	clinical_check_patient_way(NULL, clinical_text_column(row, row->new_tuple, "status"));
	if (zone != NULL)
		clinical_check_time_zone(zone);
}

/* Trigger: the rules of a patient's row. */
Datum
clinical_patient_check(PG_FUNCTION_ARGS)
{
	ClinicalRow row;
	bool		isnull;
	Datum		day;

	clinical_load_row(fcinfo, &row, "patient", CLINICAL_BEFORE_ROW);
	if (clinical_as_is())
		PG_RETURN_POINTER(row.new_tuple);
	if (row.old_tuple == NULL)
		check_new_patient(&row);
	else
		check_kept(&row);
	check_required(&row);
	day = clinical_column(&row, row.new_tuple, "status_on", &isnull);
	if (row.old_tuple == NULL)
		check_birth(&row, clinical_check_day(day, isnull, "day of the status"));
	else if (clinical_column_changed(&row, "birth_date") ||
			 clinical_column_changed(&row, "birth_year") || clinical_column_changed(&row, "age"))
		check_birth(&row, day_of_entry(&row));
	check_sex(&row);
	check_text(&row, "name", MAX_TEXT_BYTES);
	check_text(&row, "race", MAX_TEXT_BYTES);
	check_text(&row, "ethnicity", MAX_TEXT_BYTES);
	check_record(&row);
	PG_RETURN_POINTER(row.new_tuple);
}

/* The projects and centers of new patients must be active. */
static void
check_new_centers(void)
{
	static ClinicalPlan plan = {
		"SELECT DISTINCT r.project_id, r.center_id FROM created_rows r ORDER BY 1, 2"
	};
	SPITupleTable *pairs;
	uint64		count;

	clinical_execute(&plan, NULL, NULL, true);
	pairs = SPI_tuptable;
	count = SPI_processed;
	for (uint64 i = 0; i < count; i++)
	{
		bool		isnull;
		int64		project_id = DatumGetInt64(SPI_getbinval(pairs->vals[i], pairs->tupdesc, 1, &isnull));
		int64		center_id = DatumGetInt64(SPI_getbinval(pairs->vals[i], pairs->tupdesc, 2, &isnull));

		clinical_require_active_center(project_id, center_id, true);
	}
}

/* Trigger: new patients begin at active centers, and their histories begin. */
Datum
clinical_patient_created(PG_FUNCTION_ARGS)
{
	static ClinicalPlan events = {
		"INSERT INTO clinical.enrollment_event (patient_id, event_no, status, effective_on, center_id, reason)"
		" SELECT r.id, 1, r.status, r.status_on, r.center_id, $1 FROM created_rows r",
		1, {TEXTOID}
	};
	static ClinicalPlan versions = {
		"INSERT INTO clinical.record_version (patient_id, version, record, changes, reason)"
		" SELECT r.id, r.record_version, r.record, '[]', $1 FROM created_rows r",
		1, {TEXTOID}
	};
	static ClinicalPlan zones = {
		"INSERT INTO clinical.patient_time_zone (patient_id, event_no, effective_from, time_zone)"
		" SELECT r.id, 1, '-infinity', r.time_zone FROM created_rows r WHERE r.time_zone IS NOT NULL"
	};
	ClinicalRow row;
	text	   *reason = clinical_reason_in_force();
	Datum		value = PointerGetDatum(reason);
	const char *nulls = reason == NULL ? "n" : NULL;

	clinical_load_row(fcinfo, &row, "patient", CLINICAL_AFTER_STATEMENT);
	if (clinical_as_is())
		return PointerGetDatum(NULL);
	SPI_connect();
	SPI_register_trigger_data(row.trigger);
	check_new_centers();
	clinical_server_execute(&events, &value, nulls);
	CLINICAL_FAULT("patient_created");
	clinical_server_execute(&versions, &value, nulls);
	clinical_server_execute(&zones, NULL, NULL);
	SPI_finish();
	return PointerGetDatum(NULL);
}

/* Trigger: each version of a record is kept, with what changed and why. */
Datum
clinical_record_changed(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"INSERT INTO clinical.record_version (patient_id, version, record, changes, reason)"
		" VALUES ($1, $2, $3, $4, $5)",
		5, {TEXTOID, INT4OID, JSONBOID, JSONBOID, TEXTOID}
	};
	ClinicalRow row;
	Datum		values[5];
	Datum		before;
	bool		isnull;

	clinical_load_row(fcinfo, &row, "patient", CLINICAL_AFTER_ROW);
	if (clinical_as_is())
		return PointerGetDatum(NULL);
	/* RETURNING may have cleared it since the row was checked */
	clinical_require_reason();
	before = clinical_column(&row, row.old_tuple, "record", &isnull);
	values[0] = clinical_column(&row, row.new_tuple, "id", &isnull);
	values[1] = clinical_column(&row, row.new_tuple, "record_version", &isnull);
	values[2] = clinical_column(&row, row.new_tuple, "record", &isnull);
	values[3] = JsonbPGetDatum(clinical_changes(DatumGetJsonbP(before), DatumGetJsonbP(values[2])));
	values[4] = PointerGetDatum(clinical_reason_in_force());
	SPI_connect();
	clinical_server_execute(&plan, values, NULL);
	SPI_finish();
	return PointerGetDatum(NULL);
}
