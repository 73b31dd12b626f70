/*-------------------------------------------------------------------------
 *
 * instrument_schedule.c
 *		When patients are to answer an instrument, and when they are excused.
 *
 * The entries that follow from it are computed by expected_entries, in SQL.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/rangetypes.h"
#include "utils/typcache.h"

#include "instrument.h"
#include "patient.h"
#include "project.h"

PG_FUNCTION_INFO_V1(clinical_entry_schedule_check);
PG_FUNCTION_INFO_V1(clinical_entry_excuse_check);
PG_FUNCTION_INFO_V1(clinical_schedule_entries);
PG_FUNCTION_INFO_V1(clinical_excuse_entries);

#define MAX_EVERY 1000
#define MAX_VISITS 1000
#define MAX_VISIT_DAY 36525
#define MAX_GRACE_MINUTES 44640 /* a month */

static const char *const kinds[] = {"daily", "weekly", "visits"};
static const char *const weekdays[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

enum
{
	KIND_DAILY, KIND_WEEKLY, KIND_VISITS,
};

enum
{
	SCHEDULE_KIND, SCHEDULE_EVERY, SCHEDULE_DAYS, SCHEDULE_VISITS, SCHEDULE_FROM, SCHEDULE_TO, SCHEDULE_GRACE,
};
static const ClinicalKey schedule_keys[] = {
	{"kind", CLINICAL_SHAPE_TEXT, true}, {"every", CLINICAL_SHAPE_COUNT}, {"days", CLINICAL_SHAPE_ARRAY},
	{"visits", CLINICAL_SHAPE_ARRAY}, {"from", CLINICAL_SHAPE_TEXT}, {"to", CLINICAL_SHAPE_TEXT},
	{"grace_minutes", CLINICAL_SHAPE_COUNT},
};

enum
{
	VISIT_CODE, VISIT_DAY, VISIT_BEFORE, VISIT_AFTER,
};
static const ClinicalKey visit_keys[] = {
	{"code", CLINICAL_SHAPE_TEXT, true}, {"day", CLINICAL_SHAPE_COUNT, true},
	{"before", CLINICAL_SHAPE_COUNT}, {"after", CLINICAL_SHAPE_COUNT},
};

/* A time of day; the end of one may be 24:00. */
static void
check_time(const ClinicalPlace *place, const char *key, const JsonbValue *value, bool is_end)
{
	int64		time;

	if (value->type == jbvNull || (is_end && clinical_json_is(value, "24:00")))
		return;
	if (value->val.string.len != 5 ||
		!clinical_parse_time(value->val.string.val, value->val.string.len, &time))
		clinical_shape_error(place, "Key \"%s\" must be a time of day, as \"18:00\".", key);
}

/* The days of a weekly schedule: at least one, none twice. */
static void
check_weekdays(const ClinicalPlace *place, const JsonbValue *array)
{
	JsonbValue *days;
	int			count = clinical_shape_elements(array, &days);
	int			seen = 0;

	if (count == 0)
		clinical_shape_error(place, "Key \"days\" must have at least one day.");
	for (int i = 0; i < count; i++)
	{
		int			day = clinical_shape_choice(place, "days", &days[i], weekdays, lengthof(weekdays));

		if (seen & (1 << day))
			clinical_shape_error(place, "Key \"days\" has a day twice.");
		seen |= 1 << day;
	}
}

/* The visits of a schedule by visit day, counted from 1 on the day of enrolment. */
static void
check_visits(ClinicalPlace *place, const JsonbValue *array)
{
	JsonbValue *visits;
	int			count = clinical_shape_elements(array, &visits);

	if (count == 0)
		clinical_shape_error(place, "Key \"visits\" must have at least one visit.");
	if (count > MAX_VISITS)
		clinical_shape_error(place, "There are more than %d visits.", MAX_VISITS);
	for (int i = 0; i < count; i++)
	{
		JsonbValue	values[lengthof(visit_keys)];
		int			day;

		place->where = psprintf("Visit %d", i + 1);
		clinical_shape_read(place, &visits[i], visit_keys, lengthof(visit_keys), values);
		day = clinical_shape_count(&values[VISIT_DAY], 0);
		if (day < 1 || day > MAX_VISIT_DAY)
			clinical_shape_error(place, "Key \"day\" must be from 1, the day of enrolment, to %d.", MAX_VISIT_DAY);
		if (clinical_shape_count(&values[VISIT_BEFORE], 0) > MAX_EVERY ||
			clinical_shape_count(&values[VISIT_AFTER], 0) > MAX_EVERY)
			clinical_shape_error(place, "Keys \"before\" and \"after\" must be at most %d days.", MAX_EVERY);
		for (int j = 0; j < i; j++)
		{
			JsonbValue	mine;
			JsonbValue	other;

			if (clinical_json_same(clinical_json_get(&visits[i], "code", &mine), clinical_json_get(&visits[j], "code", &other)))
				clinical_shape_error(place, "There are two visits with this code.");
		}
	}
	place->where = NULL;
}

/* Raise an error unless a schedule is sound. */
static void
check_schedule(Jsonb *schedule)
{
	ClinicalPlace place = {"schedule is malformed", NULL};
	JsonbValue	root;
	JsonbValue	values[lengthof(schedule_keys)];
	int			kind;
	int			every;

	clinical_json_value(schedule, &root);
	clinical_shape_read(&place, &root, schedule_keys, lengthof(schedule_keys), values);
	kind = clinical_shape_choice(&place, "kind", &values[SCHEDULE_KIND], kinds, lengthof(kinds));
	every = clinical_shape_count(&values[SCHEDULE_EVERY], 1);
	if (every < 1 || every > MAX_EVERY)
		clinical_shape_error(&place, "Key \"every\" must be from 1 to %d.", MAX_EVERY);
	if (clinical_shape_count(&values[SCHEDULE_GRACE], 0) > MAX_GRACE_MINUTES)
		clinical_shape_error(&place, "Key \"grace_minutes\" must be at most %d.", MAX_GRACE_MINUTES);
	check_time(&place, "from", &values[SCHEDULE_FROM], false);
	check_time(&place, "to", &values[SCHEDULE_TO], true);
	if (kind == KIND_WEEKLY)
		check_weekdays(&place, &values[SCHEDULE_DAYS]);
	else if (values[SCHEDULE_DAYS].type != jbvNull)
		clinical_shape_error(&place, "Key \"days\" is for kind \"weekly\".");
	if (kind == KIND_VISITS)
		check_visits(&place, &values[SCHEDULE_VISITS]);
	else if (values[SCHEDULE_VISITS].type != jbvNull)
		clinical_shape_error(&place, "Key \"visits\" is for kind \"visits\".");
	if (kind == KIND_VISITS && values[SCHEDULE_EVERY].type != jbvNull)
		clinical_shape_error(&place, "Key \"every\" is not for kind \"visits\".");
}

/* Trigger: a schedule is sound, and says who made it when. */
Datum
clinical_entry_schedule_check(PG_FUNCTION_ARGS)
{
	ClinicalRow row;
	bool		isnull;
	Datum		schedule;

	clinical_load_row(fcinfo, &row, "entry_schedule", CLINICAL_BEFORE_ROW);
	if (clinical_as_is())
		PG_RETURN_POINTER(row.new_tuple);
	schedule = clinical_column(&row, row.new_tuple, "schedule", &isnull);
	if (!isnull)
		check_schedule(DatumGetJsonbP(schedule));
	clinical_stamp_row(&row);
	PG_RETURN_POINTER(row.new_tuple);
}

/* Trigger: a period of excuse is one, has a reason, and says who gave it when. */
Datum
clinical_entry_excuse_check(PG_FUNCTION_ARGS)
{
	ClinicalRow row;
	bool		isnull;
	Datum		period;
	char	   *reason;

	clinical_load_row(fcinfo, &row, "entry_excuse", CLINICAL_BEFORE_ROW);
	if (clinical_as_is())
		PG_RETURN_POINTER(row.new_tuple);
	period = clinical_column(&row, row.new_tuple, "period", &isnull);
	clinical_require_arg(!isnull && !RangeIsEmpty(DatumGetRangeTypeP(period)), "period is required");
	reason = clinical_text_column(&row, row.new_tuple, "reason");
	if (reason == NULL || *reason == '\0')
	{
		clinical_require_reason();
		clinical_set_column(&row, "reason", PointerGetDatum(clinical_reason_in_force()), false);
	}
	clinical_stamp_row(&row);
	PG_RETURN_POINTER(row.new_tuple);
}

/* SQL: when the patients of a project are to answer an instrument, from a day on. */
Datum
clinical_schedule_entries(PG_FUNCTION_ARGS)
{
	static ClinicalPlan uses = {
		"SELECT true FROM clinical.project_instrument u"
		" WHERE u.project_id OPERATOR(pg_catalog.=) $1 AND u.instrument OPERATOR(pg_catalog.=) $2",
		2, {INT8OID, TEXTOID}
	};
	static ClinicalPlan plan = {
		"INSERT INTO clinical.entry_schedule AS s (project_id, instrument, effective_from, schedule)"
		" SELECT p.id, $2, COALESCE($4,"
		"        CASE WHEN EXISTS (SELECT FROM clinical.entry_schedule o"
		"                           WHERE o.project_id OPERATOR(pg_catalog.=) p.id"
		"                             AND o.instrument OPERATOR(pg_catalog.=) $2)"
		"             THEN pg_catalog.timezone(p.time_zone, pg_catalog.now())::pg_catalog.date"
		"             ELSE '-infinity'::pg_catalog.date END), $3"
		"  FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) $1"
		" RETURNING (s.*)::clinical.entry_schedule",
		4, {INT8OID, TEXTOID, JSONBOID, DATEOID}
	};
	Datum		values[4] = {Int64GetDatum(clinical_project_id(fcinfo, 0, false))};
	char		nulls[4] = {' ', ' ', PG_ARGISNULL(2) ? 'n' : ' ', PG_ARGISNULL(3) ? 'n' : ' '};
	text	   *code = clinical_text_arg(fcinfo, 1, "instrument is required");
	Datum		row;

	values[1] = PointerGetDatum(code);
	values[2] = PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2);
	values[3] = PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3);
	clinical_require_arg(PG_ARGISNULL(3) || !DATE_NOT_FINITE(DatumGetDateADT(values[3])), "effective day must be finite");
	if (!clinical_fetch(&uses, values, NULL, false, &row))
		clinical_instrument_not_used(code);
	if (!clinical_fetch(&plan, values, nulls, false, &row))
		elog(ERROR, "schedule was not stored");
	return row;
}

/* SQL: a patient is excused from the entries of a period. */
Datum
clinical_excuse_entries(PG_FUNCTION_ARGS)
{
	static ClinicalPlan look = {
		"SELECT true FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	static ClinicalPlan insert = {
		"INSERT INTO clinical.entry_excuse AS e (patient_id, period, reason) VALUES ($1, $2, $3)"
		" ON CONFLICT (patient_id, period) DO NOTHING RETURNING (e.*)::clinical.entry_excuse",
		3, {TEXTOID, TSTZRANGEOID, TEXTOID}
	};
	static ClinicalPlan select = {
		"SELECT (e.*)::clinical.entry_excuse FROM clinical.entry_excuse e"
		" WHERE e.patient_id OPERATOR(pg_catalog.=) $1 AND e.period OPERATOR(pg_catalog.=) $2",
		2, {TEXTOID, TSTZRANGEOID}
	};
	Datum		patient = PointerGetDatum(clinical_text_arg(fcinfo, 0, "patient id is required"));
	Datum		row;

	clinical_require_arg(!PG_ARGISNULL(1), "period is required");
	if (!clinical_fetch(&look, &patient, NULL, false, &row))
		clinical_patient_not_found();
	if (!clinical_fetch_args(&insert, fcinfo, false, &row) &&
		!clinical_fetch_args(&select, fcinfo, false, &row))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("excuse was changed meanwhile")));
	return row;
}
