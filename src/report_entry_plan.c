/*-------------------------------------------------------------------------
 *
 * report_entry_plan.c
 *		What a project expects of its patients, read once a query, and the windows
 *		that follow.
 *
 * A window depends on the schedule, the day and the zone, and on nothing else that
 * is the patient's: so each is computed once, and not once a patient.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core.h"
#include "instrument.h"
#include "report_entry.h"

/* As expected_entries has it */
#define MAX_DAYS 3660

/* --- reading the document of report_entry_plan ----------------------------------------------------------- */

/* The document is not one that report_entry_plan makes. */
CLINICAL_NORETURN static void
malformed(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("plan of entries is malformed")));
}

/* A whole number in an object, or what it is if absent. */
static int64
read_number(const JsonbValue *object, const char *key, int64 absent)
{
	JsonbValue	buffer;
	JsonbValue *value = clinical_json_get(object, key, &buffer);

	if (value == NULL || value->type == jbvNull)
		return absent;
	if (value->type != jbvNumeric)
		malformed();
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric)));
}

/* A number of days, minutes and the like. */
static int
read_count(const JsonbValue *object, const char *key, int absent)
{
	int64		count = read_number(object, key, absent);

	if (count < 0 || count > 1000000)
		malformed();
	return (int) count;
}

/* A text in an object. */
static Datum
read_text(const JsonbValue *object, const char *key)
{
	JsonbValue	buffer;
	JsonbValue *value = clinical_json_get(object, key, &buffer);

	if (value == NULL || value->type != jbvString)
		malformed();
	return PointerGetDatum(cstring_to_text_with_len(value->val.string.val, value->val.string.len));
}

/* The day from which something is in force. */
static DateADT
read_day(const JsonbValue *object)
{
	return DatumGetDateADT(DirectFunctionCall1(date_in, CStringGetDatum(text_to_cstring(DatumGetTextPP(read_text(object, "from"))))));
}

/* A time of day, as a schedule has it. */
static int64
read_time(const JsonbValue *object, const char *key, int64 absent)
{
	JsonbValue	buffer;
	JsonbValue *value = clinical_json_get(object, key, &buffer);
	int64		time;

	if (value == NULL || value->type == jbvNull)
		return absent;
	if (value->type != jbvString)
		malformed();
	if (clinical_json_is(value, "24:00"))
		return USECS_PER_DAY;
	if (!clinical_parse_time(value->val.string.val, value->val.string.len, &time))
		malformed();
	return time;
}

/* The elements of an array in an object; how many. */
static int
read_array(const JsonbValue *object, const char *key, JsonbValue **elements)
{
	JsonbValue	buffer;
	JsonbValue *value = clinical_json_get(object, key, &buffer);

	*elements = NULL;
	return value == NULL ? 0 : clinical_shape_elements(value, elements);
}

/* The days of a weekly schedule, as bits. */
static int
read_weekdays(const JsonbValue *object)
{
	static const char *const names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
	JsonbValue *days;
	int			count = read_array(object, "days", &days);
	int			bits = 0;

	for (int i = 0; i < count; i++)
	{
		for (int day = 0; day < (int) lengthof(names); day++)
		{
			if (clinical_json_is(&days[i], names[day]))
				bits |= 1 << day;
		}
	}
	return bits;
}

/* The visits of a schedule. */
static void
read_visits(const JsonbValue *object, ClinicalEntrySchedule *schedule)
{
	JsonbValue *visits;

	schedule->nvisits = read_array(object, "visits", &visits);
	schedule->visits = palloc_array(ClinicalEntryVisit, Max(schedule->nvisits, 1));
	for (int i = 0; i < schedule->nvisits; i++)
	{
		ClinicalEntryVisit *visit = &schedule->visits[i];

		visit->code = read_text(&visits[i], "code");
		visit->day = read_count(&visits[i], "day", 1);
		visit->before = read_count(&visits[i], "before", 0);
		visit->after = read_count(&visits[i], "after", 0);
		schedule->before = Max(schedule->before, visit->before);
		schedule->after = Max(schedule->after, visit->after);
	}
}

/* A schedule and from when on it is in force. */
static void
read_schedule(const JsonbValue *element, ClinicalEntrySchedule *schedule)
{
	JsonbValue	buffer;
	JsonbValue	kind_buffer;
	JsonbValue *object = clinical_json_get(element, "schedule", &buffer);
	JsonbValue *kind;

	memset(schedule, 0, sizeof(*schedule));
	schedule->effective_from = read_day(element);
	if (object == NULL || object->type == jbvNull)
		return;					/* CLINICAL_ENTRY_NONE */
	kind = clinical_json_get(object, "kind", &kind_buffer);
	if (kind == NULL)
		malformed();
	schedule->kind = clinical_json_is(kind, "daily") ? CLINICAL_ENTRY_DAILY :
		clinical_json_is(kind, "weekly") ? CLINICAL_ENTRY_WEEKLY : CLINICAL_ENTRY_VISITS;
	schedule->every = Max(read_count(object, "every", 1), 1);
	schedule->weekdays = read_weekdays(object);
	read_visits(object, schedule);
	schedule->from = read_time(object, "from", 0);
	schedule->to = read_time(object, "to", USECS_PER_DAY);
	schedule->grace = read_count(object, "grace_minutes", 0) * USECS_PER_MINUTE;
}

/* An instrument: its schedules, and when the project uses it. */
static void
read_instrument(ClinicalEntryPlan *plan, const JsonbValue *element, ClinicalEntryInstrument *instrument)
{
	JsonbValue *elements;
	JsonbValue	buffer;

	memset(instrument, 0, sizeof(*instrument));
	instrument->code = read_text(element, "instrument");
	instrument->nschedules = read_array(element, "schedules", &elements);
	instrument->schedules = palloc_array(ClinicalEntrySchedule, Max(instrument->nschedules, 1));
	for (int i = 0; i < instrument->nschedules; i++)
	{
		read_schedule(&elements[i], &instrument->schedules[i]);
		instrument->schedules[i].number = plan->nschedules++;
	}
	instrument->nuses = read_array(element, "uses", &elements);
	instrument->uses = palloc_array(ClinicalEntryUse, Max(instrument->nuses, 1));
	for (int i = 0; i < instrument->nuses; i++)
	{
		JsonbValue *used = clinical_json_get(&elements[i], "used", &buffer);

		instrument->uses[i].effective_from = read_day(&elements[i]);
		instrument->uses[i].used = used != NULL && used->type == jbvBool && used->val.boolean;
	}
}

/* Versions in order of their ids. */
static int
compare_versions(const void *left, const void *right)
{
	int64		a = ((const ClinicalEntryVersion *) left)->id;
	int64		b = ((const ClinicalEntryVersion *) right)->id;

	return (a > b) - (a < b);
}

/* Which versions are of which instruments. */
static void
read_versions(ClinicalEntryPlan *plan, const JsonbValue *instruments)
{
	int			room = 16;

	plan->versions = palloc_array(ClinicalEntryVersion, room);
	for (int i = 0; i < plan->ninstruments; i++)
	{
		JsonbValue *ids;
		int			count = read_array(&instruments[i], "versions", &ids);

		for (int j = 0; j < count; j++)
		{
			if (ids[j].type != jbvNumeric)
				malformed();
			if (plan->nversions == room)
				plan->versions = repalloc_array(plan->versions, ClinicalEntryVersion, room *= 2);
			plan->versions[plan->nversions].instrument = i;
			plan->versions[plan->nversions++].id =
				DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(ids[j].val.numeric)));
		}
	}
	qsort(plan->versions, plan->nversions, sizeof(ClinicalEntryVersion), compare_versions);
}

/* Days must be moments too; the visits' windows reach so far around them. */
static void
check_days(const ClinicalEntryPlan *plan)
{
	if (DATE_NOT_FINITE(plan->first_day) || DATE_NOT_FINITE(plan->end_day))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("period must have a first and a last day")));
	if (plan->first_day < -MAX_DAYS * 100 || plan->end_day > MAX_DAYS * 1000 || plan->end_day < plan->first_day)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("period is out of range")));
}

/* Read the document into a memory context of its own. */
static ClinicalEntryPlan *
read_plan(MemoryContext parent, const Jsonb *document, DateADT first_day, DateADT end_day)
{
	MemoryContext context = AllocSetContextCreate(parent, "clinical entries", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	ClinicalEntryPlan *plan = palloc0_object(ClinicalEntryPlan);
	JsonbValue	root;
	JsonbValue *instruments;

	plan->context = context;
	plan->patient = AllocSetContextCreate(context, "clinical entries of a patient", ALLOCSET_DEFAULT_SIZES);
	plan->first_day = first_day;
	plan->end_day = end_day;
	check_days(plan);
	plan->document = palloc(VARSIZE(document));
	memcpy(plan->document, document, VARSIZE(document));
	clinical_json_value(plan->document, &root);
	plan->behind = read_count(&root, "behind", 0);
	plan->ninstruments = read_array(&root, "instruments", &instruments);
	plan->instruments = palloc_array(ClinicalEntryInstrument, Max(plan->ninstruments, 1));
	for (int i = 0; i < plan->ninstruments; i++)
		read_instrument(plan, &instruments[i], &plan->instruments[i]);
	read_versions(plan, instruments);
	plan->zones_room = 8;
	plan->zones = palloc_array(ClinicalEntryZone, plan->zones_room);
	MemoryContextSwitchTo(caller);
	return plan;
}

/* The plan of a call, read by the first one of a query. */
ClinicalEntryPlan *
clinical_entry_plan(FunctionCallInfo fcinfo, Jsonb *document, DateADT first_day, DateADT end_day)
{
	ClinicalEntryPlan *plan = fcinfo->flinfo->fn_extra;

	if (plan != NULL && plan->first_day == first_day && plan->end_day == end_day &&
		VARSIZE(plan->document) == VARSIZE(document) &&
		memcmp(plan->document, document, VARSIZE(document)) == 0)
		return plan;
	fcinfo->flinfo->fn_extra = NULL;
	if (plan != NULL)
		MemoryContextDelete(plan->context);
	plan = read_plan(fcinfo->flinfo->fn_mcxt, document, first_day, end_day);
	fcinfo->flinfo->fn_extra = plan;
	return plan;
}

/* Which instrument a version is of; -1: none of the plan. */
int
clinical_entry_plan_instrument(const ClinicalEntryPlan *plan, int64 version_id)
{
	ClinicalEntryVersion key = {version_id};
	const ClinicalEntryVersion *found = bsearch(&key, plan->versions, plan->nversions, sizeof(key), compare_versions);

	return found == NULL ? -1 : found->instrument;
}

/* --- windows ------------------------------------------------------------------------------------------------- */

/* The number of a zone, by its name. */
int
clinical_entry_zone(ClinicalEntryPlan *plan, Datum name)
{
	MemoryContext caller;

	for (int i = 0; i < plan->nzones; i++)
	{
		if (clinical_same_bytes(plan->zones[i].name, name))
			return i;
	}
	caller = MemoryContextSwitchTo(plan->context);
	if (plan->nzones == plan->zones_room)
		plan->zones = repalloc_array(plan->zones, ClinicalEntryZone, plan->zones_room *= 2);
	plan->zones[plan->nzones].name = PointerGetDatum(DatumGetTextPCopy(name));
	plan->zones[plan->nzones].windows = palloc0_array(ClinicalEntryWindows, Max(plan->nschedules, 1));
	MemoryContextSwitchTo(caller);
	return plan->nzones++;
}

/* Where the moments of a day are kept: from the first day that a window may begin to the last on which one may end. */
static TimestampTz *
window_place(const ClinicalEntryPlan *plan, TimestampTz **moments, const ClinicalEntrySchedule *schedule, DateADT day)
{
	int			first = plan->first_day - schedule->before;
	int			count = plan->end_day + plan->behind + schedule->after + 1 - first;

	Assert(day >= first && day < first + count);
	if (*moments == NULL)
	{
		*moments = MemoryContextAlloc(plan->context, count * sizeof(TimestampTz));
		for (int i = 0; i < count; i++)
			(*moments)[i] = DT_NOBEGIN;
	}
	return &(*moments)[day - first];
}

/* What the clock in a zone shows at a moment. */
static Timestamp
clock_at(Datum zone, TimestampTz moment)
{
	return DatumGetTimestamp(DirectFunctionCall2(timestamptz_zone, zone, TimestampTzGetDatum(moment)));
}

/* When the clock in a zone shows something. */
static TimestampTz
moment_of(Datum zone, Timestamp clock)
{
	return DatumGetTimestampTz(DirectFunctionCall2(timestamp_zone, zone, TimestampGetDatum(clock)));
}

/* When a window that is of a day begins: at the first of two such moments, where the clock is put back. */
TimestampTz
clinical_entry_begins(ClinicalEntryPlan *plan, int zone, const ClinicalEntrySchedule *schedule, DateADT day)
{
	static const int64 put_back[] = {USECS_PER_HOUR, USECS_PER_HOUR / 2};
	Datum		name = plan->zones[zone].name;
	TimestampTz *place = window_place(plan, &plan->zones[zone].windows[schedule->number].begins, schedule, day);

	if (*place == DT_NOBEGIN)
	{
		Timestamp	clock = day * USECS_PER_DAY + schedule->from;
		TimestampTz last = moment_of(name, clock);
		TimestampTz first = last;

		for (int i = 0; i < (int) lengthof(put_back); i++)
		{
			if (clock_at(name, last - put_back[i]) == clock)
				first = Min(first, last - put_back[i]);
		}
		*place = first;
	}
	return *place;
}

/* When a window ends whose last day that is: on the next one, if by the clock it ends before it begins. */
TimestampTz
clinical_entry_ends(ClinicalEntryPlan *plan, int zone, const ClinicalEntrySchedule *schedule, DateADT day)
{
	TimestampTz *place = window_place(plan, &plan->zones[zone].windows[schedule->number].ends, schedule, day);

	if (*place == DT_NOBEGIN)
		*place = moment_of(plan->zones[zone].name,
						   day * USECS_PER_DAY + schedule->to + (schedule->to <= schedule->from ? USECS_PER_DAY : 0));
	return *place;
}
