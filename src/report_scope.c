/*-------------------------------------------------------------------------
 *
 * report_scope.c
 *		What a report is about: project, period, options, and the centers that
 *		the one for whom it is made may see.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/rangetypes.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "project.h"
#include "report.h"

/* A report has at most so many days: by month, twenty years */
#define MAX_DAYS 7306
/* It is split by so many keys at most, of so many bytes */
#define MAX_SPLIT 4
#define MAX_KEY 256
#define MAX_SUPPRESSED 1000
#define MAX_ABOVE 16

const ClinicalReportSection clinical_report_sections[CLINICAL_REPORT_NSECTIONS] = {
	{"status", "Status"},
	{"enrolment", "Enrolment"},
	{"demographics", "Demographics"},
	{"items", "Item statistics"},
	{"compliance", "ePRO compliance"},
	{"quality", "Data quality"},
	{"alerts", "Alerts"},
	{"indicators", "Key risk indicators"},
	{"listings", "Listings"},
};

enum
{
	OPTION_ABOVE, OPTION_BY, OPTION_CUTOFF, OPTION_ITEM_BY, OPTION_SECTIONS, OPTION_SHARE_JOB, OPTION_SUPPRESS_BELOW,
};
static const ClinicalKey option_keys[] = {
	{"above", CLINICAL_SHAPE_OBJECT}, {"by", CLINICAL_SHAPE_ARRAY}, {"cutoff", CLINICAL_SHAPE_TEXT}, {"item_by", CLINICAL_SHAPE_OBJECT},
	{"sections", CLINICAL_SHAPE_ARRAY},
	{"share_job", CLINICAL_SHAPE_BOOLEAN}, {"suppress_below", CLINICAL_SHAPE_COUNT},
};
static const ClinicalPlace options_place = {"report options are not valid"};

/* Take the period: whole days, of which there is a first one and an end. */
void
clinical_report_read_period(Datum period, ClinicalReportScope *scope)
{
	RangeType  *range = DatumGetRangeTypeP(period);
	TypeCacheEntry *type = lookup_type_cache(RangeTypeGetOid(range), TYPECACHE_RANGE_INFO);
	RangeBound	lower;
	RangeBound	upper;
	bool		empty;

	range_deserialize(type, range, &lower, &upper, &empty);
	clinical_require_arg(!empty, "period is empty");
	clinical_require_arg(!lower.infinite && !upper.infinite &&
						 !DATE_NOT_FINITE(DatumGetDateADT(lower.val)) && !DATE_NOT_FINITE(DatumGetDateADT(upper.val)),
						 "period must have a beginning and an end");
	scope->first_day = DatumGetDateADT(lower.val);
	scope->end_day = DatumGetDateADT(upper.val);
	clinical_require_arg(scope->end_day - scope->first_day <= MAX_DAYS, "period is longer than twenty years");
}

/* Take the keys that the tables are split by. */
static void
read_split(const JsonbValue *value, ClinicalReportScope *scope)
{
	JsonbValue *elements;
	int			count = clinical_shape_elements(value, &elements);
	Datum		keys[MAX_SPLIT];

	if (count > MAX_SPLIT)
		clinical_shape_error(&options_place, "Key \"by\" has more than %d elements.", MAX_SPLIT);
	for (int i = 0; i < count; i++)
	{
		if (elements[i].type != jbvString || elements[i].val.string.len == 0 || elements[i].val.string.len > MAX_KEY)
			clinical_shape_error(&options_place, "Elements of \"by\" must be strings of 1 to %d bytes.", MAX_KEY);
		for (int j = 0; j < i; j++)
		{
			if (clinical_json_same(&elements[i], &elements[j]))
				clinical_shape_error(&options_place, "Elements of \"by\" must differ.");
		}
		keys[i] = PointerGetDatum(cstring_to_text_with_len(elements[i].val.string.val, elements[i].val.string.len));
	}
	scope->split = PointerGetDatum(construct_array(keys, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/* Take the sections that are wanted; absent: all. */
static void
read_sections(const JsonbValue *value, ClinicalReportScope *scope)
{
	const char *names[CLINICAL_REPORT_NSECTIONS];
	JsonbValue *elements;
	int			count = clinical_shape_elements(value, &elements);

	scope->sections = 0;
	for (int i = 0; i < CLINICAL_REPORT_NSECTIONS; i++)
	{
		names[i] = clinical_report_sections[i].name;
		if (value->type == jbvNull)
			scope->sections |= UINT32_C(1) << i;
	}
	for (int i = 0; i < count; i++)
		scope->sections |= UINT32_C(1) << clinical_shape_choice(&options_place, "sections", &elements[i], names, CLINICAL_REPORT_NSECTIONS);
	if (scope->sections == 0)
		clinical_shape_error(&options_place, "Key \"sections\" names none.");
}

/*
 * Take the data cut-off; absent: now.  What would be expected after now is not
 * missing yet, so it cannot be later.
 */
static void
read_cut_off(const JsonbValue *value, ClinicalReportScope *scope)
{
	char	   *string = clinical_shape_text(value);

	scope->cut_off = GetCurrentTransactionStartTimestamp();
	scope->cut_off_given = string != NULL;
	if (string == NULL)
		return;
	scope->cut_off = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(string),
															 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	if (TIMESTAMP_NOT_FINITE(scope->cut_off))
		clinical_shape_error(&options_place, "Key \"cutoff\" must be a moment.");
	if (scope->cut_off > GetCurrentTimestamp())
		clinical_shape_error(&options_place, "Key \"cutoff\" must not be in the future.");
}

/* Take the items that have another one above them; NULL: none. */
static Jsonb *
read_above(const JsonbValue *value)
{
	JsonbIterator *iterator;
	JsonbValue	key;
	JsonbValue	above;
	int			count = 0;

	if (value->type == jbvNull)
		return NULL;
	iterator = JsonbIteratorInit(clinical_json_object(value));
	while (clinical_json_next(&iterator, &key, &above))
	{
		if (above.type != jbvString || above.val.string.len == 0 || key.val.string.len == 0)
			clinical_shape_error(&options_place, "Members of \"above\" must be strings.");
		if (++count > MAX_ABOVE)
			clinical_shape_error(&options_place, "Key \"above\" has more than %d members.", MAX_ABOVE);
	}
	return count == 0 ? NULL : JsonbValueToJsonb(unconstify(JsonbValue *, value));
}

/* Take the item by whose codes others are described; NULL: none. */
static Jsonb *
read_item_by(const JsonbValue *value)
{
	static const ClinicalKey keys[] = {{"item", CLINICAL_SHAPE_TEXT, true}};
	static char where[] = "item_by";
	static const ClinicalPlace place = {"report options are not valid", where};
	JsonbValue	item;

	if (value->type == jbvNull)
		return NULL;
	clinical_shape_read(&place, value, keys, lengthof(keys), &item);
	return JsonbValueToJsonb(unconstify(JsonbValue *, value));
}

/* Take the options; NULL: none. */
void
clinical_report_read_options(Jsonb *options, ClinicalReportScope *scope)
{
	JsonbValue	values[lengthof(option_keys)];
	JsonbValue	document;

	for (int i = 0; i < (int) lengthof(option_keys); i++)
		values[i].type = jbvNull;
	if (options != NULL)
	{
		clinical_json_value(options, &document);
		clinical_shape_read(&options_place, &document, option_keys, lengthof(option_keys), values);
	}
	scope->above = read_above(&values[OPTION_ABOVE]);
	scope->item_by = read_item_by(&values[OPTION_ITEM_BY]);
	read_split(&values[OPTION_BY], scope);
	read_sections(&values[OPTION_SECTIONS], scope);
	read_cut_off(&values[OPTION_CUTOFF], scope);
	scope->share_job = values[OPTION_SHARE_JOB].type == jbvBool && values[OPTION_SHARE_JOB].val.boolean;
	scope->suppress_below = clinical_shape_count(&values[OPTION_SUPPRESS_BELOW], 0);
	if (scope->suppress_below > MAX_SUPPRESSED)
		clinical_shape_error(&options_place, "Key \"suppress_below\" must be at most %d.", MAX_SUPPRESSED);
}

/* The options in one form, for what has the same meaning: all keys, times in UTC. */
Jsonb *
clinical_report_write_options(const ClinicalReportScope *scope)
{
	static ClinicalPlan plan = {
		"SELECT pg_catalog.jsonb_build_object('by', $1, 'cutoff', (pg_catalog.to_jsonb(pg_catalog.timezone('UTC', $2)) OPERATOR(pg_catalog.#>>) '{}')"
		" OPERATOR(pg_catalog.||) '+00:00', 'sections', $3, 'suppress_below', $4)"
		" OPERATOR(pg_catalog.||) CASE WHEN $5 IS NULL THEN '{}' ELSE pg_catalog.jsonb_build_object('above', $5) END"
		" OPERATOR(pg_catalog.||) CASE WHEN $6 IS NULL THEN '{}' ELSE pg_catalog.jsonb_build_object('item_by', $6) END",
		6, {TEXTARRAYOID, TIMESTAMPTZOID, TEXTARRAYOID, INT4OID, JSONBOID, JSONBOID}
	};
	Datum		sections[CLINICAL_REPORT_NSECTIONS];
	int			count = 0;
	Datum		values[6];
	char		nulls[6] = {
		' ', scope->cut_off_given ? ' ' : 'n', ' ', scope->suppress_below > 0 ? ' ' : 'n',
		scope->above != NULL ? ' ' : 'n', scope->item_by != NULL ? ' ' : 'n'
	};
	Datum		result;

	for (int i = 0; i < CLINICAL_REPORT_NSECTIONS; i++)
	{
		if ((scope->sections & (UINT32_C(1) << i)) != 0)
			sections[count++] = CStringGetTextDatum(clinical_report_sections[i].name);
	}
	values[0] = scope->split;
	values[1] = TimestampTzGetDatum(scope->cut_off);
	values[2] = PointerGetDatum(construct_array(sections, count, TEXTOID, -1, false, TYPALIGN_INT));
	values[3] = Int32GetDatum(scope->suppress_below);
	values[4] = JsonbPGetDatum(scope->above);
	values[5] = JsonbPGetDatum(scope->item_by);
	(void) clinical_fetch(&plan, values, nulls, true, &result);
	return DatumGetJsonbP(result);
}

/*
 * Look up the project's code and time zone, and which of its centers the role may see;
 * false if it sees none of several, or the project is gone.
 */
bool
clinical_report_find_scope(ClinicalReportScope *scope)
{
	static ClinicalPlan plan = {
		"SELECT p.time_zone, p.code,"
		"       COALESCE(pg_catalog.array_agg(c.center_id ORDER BY c.center_id) FILTER (WHERE c.seen), ARRAY[]::pg_catalog.int8[]),"
		"       pg_catalog.count(*) FILTER (WHERE c.seen), pg_catalog.count(c.center_id)"
		"  FROM clinical.project p"
		"  LEFT JOIN (SELECT j.project_id, j.center_id, clinical.role_sees($2, j.project_id, j.center_id) AS seen"
		"               FROM clinical.project_center j) c ON c.project_id OPERATOR(pg_catalog.=) p.id"
		" WHERE p.id OPERATOR(pg_catalog.=) $1 GROUP BY p.id",
		2, {INT8OID, OIDOID}
	};
	Datum		values[2] = {Int64GetDatum(scope->project_id), ObjectIdGetDatum(scope->role)};
	MemoryContext caller = CurrentMemoryContext;
	int64		all = 0;
	bool		found;

	SPI_connect();
	clinical_owner_execute(&plan, values, NULL, true);
	found = SPI_processed > 0;
	if (found)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);

		scope->time_zone = TextDatumGetCString(clinical_result(0, 1));
		scope->project_code = TextDatumGetCString(clinical_result(0, 2));
		scope->centers = datumCopy(clinical_result(0, 3), false, -1);
		scope->ncenters = (int) DatumGetInt64(clinical_result(0, 4));
		all = DatumGetInt64(clinical_result(0, 5));
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	scope->all_centers = scope->ncenters == all;
	return found && (scope->ncenters > 0 || all == 0);
}

/* The arguments of generate_report and request_report: whom it is about must be visible to the caller. */
void
clinical_report_read_args(FunctionCallInfo fcinfo, ClinicalReportScope *scope)
{
	memset(scope, 0, sizeof(*scope));
	scope->role = clinical_caller();
	scope->project_id = clinical_project_id(fcinfo, 0, true);
	clinical_require_arg(!PG_ARGISNULL(1), "period is required");
	clinical_report_read_period(PG_GETARG_DATUM(1), scope);
	clinical_report_read_options(PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2), scope);
	if (!clinical_report_find_scope(scope))
		clinical_project_not_found(PG_GETARG_TEXT_PP(0));
}
