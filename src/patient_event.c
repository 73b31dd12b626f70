/*-------------------------------------------------------------------------
 *
 * patient_event.c
 *		The dated facts of a patient: status, center and time zone.
 *
 * They are told by adding a row to enrollment_event or patient_time_zone, by a
 * function or by COPY; the patient's row follows.
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

PG_FUNCTION_INFO_V1(clinical_enrollment_event_check);
PG_FUNCTION_INFO_V1(clinical_enrollment_event_apply);
PG_FUNCTION_INFO_V1(clinical_patient_time_zone_check);
PG_FUNCTION_INFO_V1(clinical_patient_time_zone_apply);

/* The first hour of a day on earth comes so long before that of UTC */
#define EARLIEST_DAY_OFFSET (14 * USECS_PER_HOUR)

/* Nothing that is told here happened before; a year such as 0026 is a slip */
#define FIRST_YEAR 1900

static const ClinicalWay ways[] = {
	{NULL, "screened"},
	{NULL, "enrolled"},
	{"screened", "screen_failed"},
	{"screened", "enrolled"},
	{"enrolled", "completed"},
	{"enrolled", "withdrawn"},
	{"enrolled", "lost_to_follow_up"},
	{"enrolled", "died"},
};

/* What a new event follows */
typedef struct LastEvent
{
	int32		event_no;
	char	   *status;
	DateADT		effective_on;
	int64		center_id;
	int64		project_id;
} LastEvent;

/* Raise an error unless a patient may go from one status (NULL: new) to another. */
void
clinical_check_patient_way(const char *from, const char *to)
{
	clinical_check_way(ways, lengthof(ways), "patient", from, to);
}

/*
 * A day on which something happened to a patient: it must be given, and have
 * begun somewhere on earth (the centers' zones are not asked, for speed).
 */
DateADT
clinical_check_day(Datum value, bool isnull, const char *what)
{
	DateADT		day = isnull ? 0 : DatumGetDateADT(value);
	TimestampTz latest = GetCurrentTimestamp() + EARLIEST_DAY_OFFSET;

	if (isnull || DATE_NOT_FINITE(day) || day > latest / USECS_PER_DAY ||
		day < date2j(FIRST_YEAR, 1, 1) - POSTGRES_EPOCH_JDATE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 isnull ? errmsg("%s is required", what) :
				 DATE_NOT_FINITE(day) ? errmsg("%s must be finite", what) :
				 day > 0 ? errmsg("%s lies in the future", what) :
				 errmsg("%s lies before %d", what, FIRST_YEAR)));
	return day;
}

/* Number an event, and stamp it. */
static void
stamp_event(ClinicalRow *row, int32 event_no)
{
	clinical_set_column(row, "event_no", Int32GetDatum(event_no), false);
	clinical_stamp_row(row);
}

/* The id of the patient that an event is about. */
static Datum
event_patient(const ClinicalRow *row)
{
	char	   *id = clinical_text_column(row, row->new_tuple, "patient_id");

	clinical_require_arg(id != NULL && *id != '\0', "patient id is required");
	return CStringGetTextDatum(id);
}

/*
 * Lock the patient that an event is about; others' events wait until we are
 * done.  Who may not see the patient learns nothing: to him there is none, and
 * he does not wait either.  It may have been moved away while we waited for the
 * lock, so look again.
 */
static int64
lock_patient(Datum id)
{
	static ClinicalPlan look = {
		"SELECT true FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	static ClinicalPlan lock = {
		"SELECT p.project_id FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) $1"
		" FOR NO KEY UPDATE",
		1, {TEXTOID}
	};
	Datum		project_id;
	Datum		seen;

	if (!clinical_fetch(&look, &id, NULL, false, &seen) ||
		!clinical_owner_fetch(&lock, &id, NULL, false, &project_id) ||
		!clinical_fetch(&look, &id, NULL, false, &seen))
		clinical_patient_not_found();
	return DatumGetInt64(project_id);
}

/*
 * The patient's last event.  It is read after the lock is held, with a
 * snapshot of its own, since it may be another session's that was waited for;
 * and not from the patient's row, which follows only after all rows of a COPY.
 */
static void
load_last_event(Datum id, LastEvent *last)
{
	static ClinicalPlan plan = {
		"SELECT e.event_no, e.status, e.effective_on, e.center_id"
		"  FROM clinical.enrollment_event e WHERE e.patient_id OPERATOR(pg_catalog.=) $1"
		" ORDER BY e.event_no DESC LIMIT 1",
		1, {TEXTOID}
	};
	MemoryContext caller = CurrentMemoryContext;
	HeapTuple	tuple;
	TupleDesc	desc;
	bool		isnull;

	last->project_id = lock_patient(id);
	SPI_connect();
	clinical_owner_execute(&plan, &id, NULL, false);
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("patient has no events yet"),
				 errhint("A statement that enters a patient cannot add further events; let another do that.")));
	tuple = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	last->event_no = DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull));
	last->status = MemoryContextStrdup(caller, TextDatumGetCString(SPI_getbinval(tuple, desc, 2, &isnull)));
	last->effective_on = DatumGetDateADT(SPI_getbinval(tuple, desc, 3, &isnull));
	last->center_id = DatumGetInt64(SPI_getbinval(tuple, desc, 4, &isnull));
	SPI_finish();
}

/* A transfer: another center, the same status. */
static void
check_transfer(const LastEvent *last, int64 center_id)
{
	if (strcmp(last->status, "screened") != 0 && strcmp(last->status, "enrolled") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("patient cannot be transferred when \"%s\"", last->status)));
	clinical_require_reason();
	clinical_require_active_center(last->project_id, center_id, true);
}

/* Another status, at the same center. */
static void
check_status_change(const LastEvent *last, const char *status)
{
	clinical_check_patient_way(last->status, status);
	if (strcmp(status, "withdrawn") == 0)
		clinical_require_reason();
	if (strcmp(status, "enrolled") == 0)
		clinical_require_active_center(last->project_id, last->center_id, true);
}

/* Check an event against the last one, and fill in what it leaves open. */
static void
check_event(ClinicalRow *row, const LastEvent *last)
{
	bool		no_day;
	bool		no_center;
	Datum		day = clinical_column(row, row->new_tuple, "effective_on", &no_day);
	Datum		center = clinical_column(row, row->new_tuple, "center_id", &no_center);
	char	   *status = clinical_text_column(row, row->new_tuple, "status");
	bool		is_transfer = !no_center && DatumGetInt64(center) != last->center_id;
	bool		same_status;

	clinical_require_arg(status != NULL, "patient status is required");
	same_status = strcmp(status, last->status) == 0;
	clinical_require_arg(clinical_check_day(day, no_day, "day of the event") >= last->effective_on,
						 "day of the event lies before the patient's last event");
	if (same_status && !no_center && !is_transfer)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("patient is at the center already")));
	if (same_status && is_transfer)
		check_transfer(last, DatumGetInt64(center));
	else
	{
		clinical_require_arg(!is_transfer, "a change of status and a transfer are two events");
		check_status_change(last, status);
	}
	if (no_center)
		clinical_set_column(row, "center_id", Int64GetDatum(last->center_id), false);
}

/* Trigger: whether an event may follow the patient's last one. */
Datum
clinical_enrollment_event_check(PG_FUNCTION_ARGS)
{
	ClinicalRow row;
	LastEvent	last;
	char	   *own_reason;
	text	   *reason;
	int			nest_level;

	clinical_load_row(fcinfo, &row, "enrollment_event", CLINICAL_BEFORE_ROW);
	if (clinical_as_is() || clinical_server_writes())
		PG_RETURN_POINTER(row.new_tuple);
	load_last_event(event_patient(&row), &last);

	own_reason = clinical_text_column(&row, row.new_tuple, "reason");
	nest_level = clinical_reason_push(own_reason == NULL ? NULL : cstring_to_text(own_reason));
	check_event(&row, &last);
	reason = clinical_reason_in_force();
	clinical_set_column(&row, "reason", PointerGetDatum(reason), reason == NULL);
	clinical_reason_pop(nest_level);
	stamp_event(&row, last.event_no + 1);
	PG_RETURN_POINTER(row.new_tuple);
}

/* Trigger: the patient's row follows its events. */
Datum
clinical_enrollment_event_apply(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.patient AS p SET status = $2, center_id = $4, status_on ="
		"       CASE WHEN p.status OPERATOR(pg_catalog.<>) $2 THEN $3 ELSE p.status_on END"
		" WHERE p.id OPERATOR(pg_catalog.=) $1",
		4, {TEXTOID, TEXTOID, DATEOID, INT8OID}
	};
	ClinicalRow row;
	Datum		values[4];
	bool		isnull;

	clinical_load_row(fcinfo, &row, "enrollment_event", CLINICAL_AFTER_ROW);
	if (clinical_as_is())
		return PointerGetDatum(NULL);
	values[0] = clinical_column(&row, row.new_tuple, "patient_id", &isnull);
	values[1] = clinical_column(&row, row.new_tuple, "status", &isnull);
	values[2] = clinical_column(&row, row.new_tuple, "effective_on", &isnull);
	values[3] = clinical_column(&row, row.new_tuple, "center_id", &isnull);
	SPI_connect();
	CLINICAL_FAULT("event_apply");
	clinical_server_execute(&plan, values, NULL);
	SPI_finish();
	return PointerGetDatum(NULL);
}

/* Trigger: the rules of a dated time zone. */
Datum
clinical_patient_time_zone_check(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"SELECT COALESCE(pg_catalog.max(z.event_no), 0) FROM clinical.patient_time_zone z"
		" WHERE z.patient_id OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	ClinicalRow row;
	bool		isnull;
	Datum		id;
	Datum		from;
	Datum		last = (Datum) 0;
	char	   *zone;

	clinical_load_row(fcinfo, &row, "patient_time_zone", CLINICAL_BEFORE_ROW);
	if (clinical_as_is() || clinical_server_writes())
		PG_RETURN_POINTER(row.new_tuple);
	id = event_patient(&row);
	from = clinical_column(&row, row.new_tuple, "effective_from", &isnull);
	clinical_require_arg(!isnull, "effective_from is required");
	clinical_require_arg(!TIMESTAMP_IS_NOEND(DatumGetTimestampTz(from)), "effective_from must not be infinity");
	zone = clinical_text_column(&row, row.new_tuple, "time_zone");
	clinical_require_arg(zone != NULL, "time zone is required");
	clinical_check_time_zone(zone);

	(void) lock_patient(id);
	(void) clinical_owner_fetch(&plan, &id, NULL, false, &last);
	stamp_event(&row, DatumGetInt32(last) + 1);
	PG_RETURN_POINTER(row.new_tuple);
}

/* Trigger: the patient's row shows the newest time zone. */
Datum
clinical_patient_time_zone_apply(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.patient AS p SET time_zone = ("
		"       SELECT z.time_zone FROM clinical.patient_time_zone z"
		"        WHERE z.patient_id OPERATOR(pg_catalog.=) $1"
		"        ORDER BY z.effective_from DESC, z.event_no DESC LIMIT 1)"
		" WHERE p.id OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	ClinicalRow row;
	bool		isnull;
	Datum		id;

	clinical_load_row(fcinfo, &row, "patient_time_zone", CLINICAL_AFTER_ROW);
	if (clinical_as_is() || clinical_server_writes())
		return PointerGetDatum(NULL);
	id = clinical_column(&row, row.new_tuple, "patient_id", &isnull);
	SPI_connect();
	clinical_server_execute(&plan, &id, NULL);
	SPI_finish();
	return PointerGetDatum(NULL);
}
