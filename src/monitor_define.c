/*-------------------------------------------------------------------------
 *
 * monitor_define.c
 *		From the definition of a rule, a jsonb document, to what evaluates it.
 *		Here is every rule that a definition obeys.
 *
 * doc/monitor.md says what the keys mean.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/memutils.h"

#include "instrument_compile.h"
#include "monitor.h"

#define MAX_DAYS 3650
#define MAX_WINDOW 366
#define MAX_GAP 366
#define MAX_READINGS 1000

/* Entries that are excused do not break a row, however many there are */
#define ANY_GAP 1000000

enum
{
	DEFINITION_CODE, DEFINITION_PROJECT, DEFINITION_KIND, DEFINITION_SEVERITY, DEFINITION_ESCALATE_AFTER,
	DEFINITION_COOLDOWN_DAYS, DEFINITION_EVALUATE, DEFINITION_VERSION, DEFINITION_STATUS,
	/* the keys above are for all kinds */
	DEFINITION_ITEMS, DEFINITION_GRADES, DEFINITION_DAYS, DEFINITION_K, DEFINITION_W, DEFINITION_ABSOLUTE,
	DEFINITION_PERCENT, DEFINITION_BASELINE, DEFINITION_INSTRUMENT, DEFINITION_ENTRIES, DEFINITION_AGGREGATE,
	DEFINITION_GAP, DEFINITION_DAY_START, DEFINITION_MIN_READINGS, DEFINITION_CLEAR,
};
static const ClinicalKey definition_keys[] = {
	{"code", CLINICAL_SHAPE_TEXT, true}, {"project", CLINICAL_SHAPE_TEXT}, {"kind", CLINICAL_SHAPE_TEXT, true},
	{"severity", CLINICAL_SHAPE_TEXT, true}, {"escalate_after", CLINICAL_SHAPE_ARRAY},
	{"cooldown_days", CLINICAL_SHAPE_COUNT}, {"evaluate", CLINICAL_SHAPE_BOOLEAN}, {"version", CLINICAL_SHAPE_COUNT},
	{"status", CLINICAL_SHAPE_TEXT},
	{"items", CLINICAL_SHAPE_ARRAY}, {"grades", CLINICAL_SHAPE_ARRAY}, {"days", CLINICAL_SHAPE_COUNT},
	{"k", CLINICAL_SHAPE_COUNT}, {"w", CLINICAL_SHAPE_COUNT}, {"absolute", CLINICAL_SHAPE_TEXT},
	{"percent", CLINICAL_SHAPE_TEXT}, {"baseline", CLINICAL_SHAPE_TEXT}, {"instrument", CLINICAL_SHAPE_TEXT},
	{"entries", CLINICAL_SHAPE_COUNT}, {"aggregate", CLINICAL_SHAPE_TEXT}, {"gap", CLINICAL_SHAPE_COUNT},
	{"day_start", CLINICAL_SHAPE_TEXT}, {"min_readings", CLINICAL_SHAPE_COUNT}, {"clear", CLINICAL_SHAPE_OBJECT},
};

enum
{
	ITEM_ITEM, ITEM_RANGE, ITEM_GRADES,
};
static const ClinicalKey item_keys[] = {
	{"item", CLINICAL_SHAPE_TEXT, true}, {"range", CLINICAL_SHAPE_TEXT}, {"grades", CLINICAL_SHAPE_ARRAY},
};

enum
{
	CLEAR_ITEMS, CLEAR_DAYS,
};
static const ClinicalKey clear_keys[] = {
	{"items", CLINICAL_SHAPE_ARRAY}, {"days", CLINICAL_SHAPE_COUNT},
};
static const ClinicalKey clear_item_keys[] = {
	{"item", CLINICAL_SHAPE_TEXT, true}, {"range", CLINICAL_SHAPE_TEXT, true},
};

static const char *const severities[] = {"info", "warning", "serious", "critical"};
static const char *const aggregates[] = {"any", "all", "mean", "median", "min", "max", "last"};
static const char *const baselines[] = {"last_before_enrolment", "first"};

#define KEY(name) (UINT32_C(1) << DEFINITION_##name)
#define DAY_KEYS \
	(KEY(ITEMS) | KEY(AGGREGATE) | KEY(DAY_START) | KEY(MIN_READINGS) | KEY(CLEAR))

/* A kind of rule, and which keys it may have and must have beyond those of all kinds */
typedef struct Kind
{
	ClinicalMonitorKind kind;
	uint32		may;
	uint32		must;
} Kind;

static const char *const kind_names[] = {"streak", "threshold", "k_of_w", "baseline_change", "missing_entries", "graded"};
static const Kind kinds[] = {
	{CLINICAL_MONITOR_STREAK, DAY_KEYS | KEY(GAP) | KEY(DAYS), KEY(ITEMS) | KEY(DAYS)},
	{CLINICAL_MONITOR_STREAK, DAY_KEYS | KEY(GAP), KEY(ITEMS)},
	{CLINICAL_MONITOR_K_OF_W, DAY_KEYS | KEY(K) | KEY(W), KEY(ITEMS) | KEY(K) | KEY(W)},
	{CLINICAL_MONITOR_BASELINE, DAY_KEYS | KEY(GAP) | KEY(DAYS) | KEY(ABSOLUTE) | KEY(PERCENT) | KEY(BASELINE), KEY(ITEMS)},
	{CLINICAL_MONITOR_MISSING, KEY(INSTRUMENT) | KEY(ENTRIES), KEY(INSTRUMENT) | KEY(ENTRIES)},
	{CLINICAL_MONITOR_GRADED, DAY_KEYS | KEY(GAP) | KEY(DAYS) | KEY(GRADES), KEY(ITEMS)},
};

/* What is known while a definition is compiled */
typedef struct RuleCompiler
{
	ClinicalMonitor *monitor;
	ClinicalPlace place;
	JsonbValue	values[lengthof(definition_keys)];
} RuleCompiler;

/* A count between two bounds; what it is if absent. */
static int
read_count(const ClinicalPlace *place, const char *key, const JsonbValue *value, int absent, int least, int most)
{
	int			count = clinical_shape_count(value, absent);

	if (count < least || count > most)
		clinical_shape_error(place, "Key \"%s\" must be from %d to %d.", key, least, most);
	return count;
}

/* The same of a key of the definition. */
static int
read_number(const RuleCompiler *compiler, int key, int absent, int least, int most)
{
	return read_count(&compiler->place, definition_keys[key].name, &compiler->values[key], absent, least, most);
}

/* Which of the choices a key of the definition is; the first if absent. */
static int
read_choice(const RuleCompiler *compiler, int key, const char *const *choices, int nchoices)
{
	if (compiler->values[key].type == jbvNull)
		return 0;
	return clinical_shape_choice(&compiler->place, definition_keys[key].name, &compiler->values[key], choices, nchoices);
}

/* A range. */
static ClinicalRange *
read_range(const ClinicalPlace *place, const char *key, const JsonbValue *value)
{
	ClinicalRange *range = palloc_object(ClinicalRange);

	if (value->type != jbvString || !clinical_range_read(clinical_shape_text(value), range))
		clinical_shape_error(place, "Key \"%s\" must be a range of numbers, with a bound and not empty, as \"[90,140]\" or \"(,38)\".",
							 key);
	return range;
}

/* The keys that a kind has. */
static void
check_keys(const RuleCompiler *compiler, int kind)
{
	for (int key = DEFINITION_ITEMS; key < (int) lengthof(definition_keys); key++)
	{
		bool		given = compiler->values[key].type != jbvNull;

		if (given && (kinds[kind].may & (UINT32_C(1) << key)) == 0)
			clinical_shape_error(&compiler->place, "Key \"%s\" is not for kind \"%s\".", definition_keys[key].name, kind_names[kind]);
		if (!given && (kinds[kind].must & (UINT32_C(1) << key)) != 0)
			clinical_shape_error(&compiler->place, "Key \"%s\" is required for kind \"%s\".", definition_keys[key].name, kind_names[kind]);
	}
}

/* The ranges of an item of a graded rule: each is wider than the one before. */
static void
read_grades(RuleCompiler *compiler, int item, const JsonbValue *array)
{
	StreakRule *rule = &compiler->monitor->rule;
	const void **ranges = rule->ranges[item];
	JsonbValue *grades;
	int			count = clinical_shape_elements(array, &grades);

	if (count < 1 || count > STREAK_MAX_GRADES)
		clinical_shape_error(&compiler->place, "Key \"grades\" must have from 1 to %d ranges.", STREAK_MAX_GRADES);
	if (item > 0 && count != rule->ngrades)
		clinical_shape_error(&compiler->place, "Key \"grades\" must have as many ranges as that of the other items.");
	rule->ngrades = count;
	for (int i = 0; i < count; i++)
	{
		ranges[i] = read_range(&compiler->place, "grades", &grades[i]);
		if (i > 0 && (!clinical_range_within(ranges[i - 1], ranges[i]) || clinical_range_within(ranges[i], ranges[i - 1])))
			clinical_shape_error(&compiler->place, "Key \"grades\" must have ranges of which each is wider than the one before.");
	}
}

/* The one range that the items of a change from baseline have. */
static const ClinicalRange *
read_change(RuleCompiler *compiler)
{
	bool		absolute = compiler->values[DEFINITION_ABSOLUTE].type != jbvNull;
	int			key = absolute ? DEFINITION_ABSOLUTE : DEFINITION_PERCENT;

	compiler->monitor->percent = !absolute;
	if (absolute == (compiler->values[DEFINITION_PERCENT].type != jbvNull))
		clinical_shape_error(&compiler->place, "Exactly one of the keys \"absolute\" and \"percent\" is required.");
	return read_range(&compiler->place, definition_keys[key].name, &compiler->values[key]);
}

/* What an item has beside its code depends on the kind. */
static void
read_item_ranges(RuleCompiler *compiler, int item, const JsonbValue *values, const ClinicalRange *change)
{
	const ClinicalPlace *place = &compiler->place;
	StreakRule *rule = &compiler->monitor->rule;
	const JsonbValue *of_rule = &compiler->values[DEFINITION_GRADES];

	if (compiler->monitor->kind != CLINICAL_MONITOR_GRADED && values[ITEM_GRADES].type != jbvNull)
		clinical_shape_error(place, "Key \"grades\" is for kind \"graded\".");
	if ((compiler->monitor->kind == CLINICAL_MONITOR_GRADED || change != NULL) && values[ITEM_RANGE].type != jbvNull)
		clinical_shape_error(place, "Key \"range\" is not for this kind.");
	if (compiler->monitor->kind == CLINICAL_MONITOR_GRADED)
	{
		if ((of_rule->type == jbvNull) == (values[ITEM_GRADES].type == jbvNull))
			clinical_shape_error(place, "Key \"grades\" is required, in the item or, for a rule of one item, in the rule.");
		read_grades(compiler, item, of_rule->type == jbvNull ? &values[ITEM_GRADES] : of_rule);
	}
	else if (change != NULL)
		rule->ranges[item][0] = change;
	else if (values[ITEM_RANGE].type == jbvNull)
		clinical_shape_error(place, "Key \"range\" is required.");
	else
		rule->ranges[item][0] = read_range(place, "range", &values[ITEM_RANGE]);
}

/* The number of the item with a code; -1: none. */
static int
find_item(const ClinicalMonitor *monitor, const char *code)
{
	for (int i = 0; i < monitor->rule.nitems; i++)
	{
		if (strcmp(monitor->items[i], code) == 0)
			return i;
	}
	return -1;
}

/* The items that are watched. */
static void
read_items(RuleCompiler *compiler)
{
	ClinicalMonitor *monitor = compiler->monitor;
	const ClinicalRange *change = monitor->kind == CLINICAL_MONITOR_BASELINE ? read_change(compiler) : NULL;
	JsonbValue *items;
	int			count = clinical_shape_elements(&compiler->values[DEFINITION_ITEMS], &items);

	if (count < 1 || count > STREAK_MAX_ITEMS)
		clinical_shape_error(&compiler->place, "Key \"items\" must have from 1 to %d items.", STREAK_MAX_ITEMS);
	if (count > 1 && compiler->values[DEFINITION_GRADES].type != jbvNull)
		clinical_shape_error(&compiler->place, "Key \"grades\" is for a rule of one item; others have it in each item.");
	for (int i = 0; i < count; i++)
	{
		JsonbValue	values[lengthof(item_keys)];
		const char *code;

		compiler->place.where = psprintf("Item %d", i + 1);
		clinical_shape_read(&compiler->place, &items[i], item_keys, lengthof(item_keys), values);
		code = clinical_read_code(&compiler->place, "item", &values[ITEM_ITEM]);
		if (find_item(monitor, code) >= 0)
			clinical_shape_error(&compiler->place, "The item is there twice.");
		read_item_ranges(compiler, i, values, change);
		monitor->items[i] = pstrdup(code);
		monitor->rule.nitems = i + 1;
	}
	compiler->place.where = NULL;
}

/* When the condition is over: ranges within the normal ones, and days in a row. */
static void
read_clear(RuleCompiler *compiler)
{
	ClinicalMonitor *monitor = compiler->monitor;
	StreakRule *rule = &monitor->rule;
	JsonbValue	values[lengthof(clear_keys)];
	JsonbValue *items;
	int			count;

	if (compiler->values[DEFINITION_CLEAR].type == jbvNull)
		return;
	compiler->place.where = psprintf("Key \"clear\"");
	clinical_shape_read(&compiler->place, &compiler->values[DEFINITION_CLEAR], clear_keys, lengthof(clear_keys), values);
	if (values[CLEAR_ITEMS].type == jbvNull && values[CLEAR_DAYS].type == jbvNull)
		clinical_shape_error(&compiler->place, "Key \"items\" or \"days\" is required.");
	rule->clear_days = read_count(&compiler->place, "days", &values[CLEAR_DAYS], 1, 1, MAX_DAYS);
	count = clinical_shape_elements(&values[CLEAR_ITEMS], &items);
	for (int i = 0; i < count; i++)
	{
		JsonbValue	of_item[lengthof(clear_item_keys)];
		int			item;

		compiler->place.where = psprintf("Item %d of key \"clear\"", i + 1);
		clinical_shape_read(&compiler->place, &items[i], clear_item_keys, lengthof(clear_item_keys), of_item);
		item = find_item(monitor, clinical_read_code(&compiler->place, "item", &of_item[ITEM_ITEM]));
		if (item < 0)
			clinical_shape_error(&compiler->place, "The rule does not watch the item.");
		if (rule->clear_ranges[item] != NULL)
			clinical_shape_error(&compiler->place, "The item is there twice.");
		rule->clear_ranges[item] = read_range(&compiler->place, "range", &of_item[ITEM_RANGE]);
		if (!clinical_range_within(rule->clear_ranges[item], rule->ranges[item][0]))
			clinical_shape_error(&compiler->place, "Key \"range\" must lie within the item's normal range.");
	}
	for (int i = 0; i < rule->nitems; i++)
	{
		if (rule->clear_ranges[i] == NULL)
			rule->clear_ranges[i] = rule->ranges[i][0];
	}
	compiler->place.where = NULL;
}

/* When the patient's day begins: minutes after midnight. */
static void
read_day_start(RuleCompiler *compiler)
{
	const JsonbValue *value = &compiler->values[DEFINITION_DAY_START];
	int64		time = 0;

	if (value->type != jbvNull &&
		(value->val.string.len != 5 || !clinical_parse_time(value->val.string.val, value->val.string.len, &time) ||
		 time >= USECS_PER_DAY))
		clinical_shape_error(&compiler->place, "Key \"day_start\" must be a time of day, as \"04:00\".");
	compiler->monitor->day_start = (int) (time / USECS_PER_MINUTE);
}

/*
 * Read a time that is always as long, in microseconds; false if it is none.  The
 * type's own input would show the text in its errors.
 */
static bool
read_interval(const JsonbValue *value, int64 *time)
{
	char		buffer[MAXDATELEN + MAXDATEFIELDS];
	char	   *fields[MAXDATEFIELDS];
	int			types[MAXDATEFIELDS];
	int			nfields;
	int			type;
	struct pg_itm_in parts;

	char	   *string = clinical_shape_text(value);

	if (string == NULL)
		return false;
	if ((ParseDateTime(string, buffer, sizeof(buffer), fields, types, MAXDATEFIELDS, &nfields) != 0 ||
		 DecodeInterval(fields, types, nfields, INTERVAL_FULL_RANGE, &type, &parts) != 0) &&
		DecodeISO8601Interval(string, &type, &parts) != 0)
		return false;
	if (type != DTK_DELTA || parts.tm_year != 0 || parts.tm_mon != 0 || parts.tm_mday < -MAX_DAYS || parts.tm_mday > MAX_DAYS)
		return false;
	*time = parts.tm_usec;
	if (*time < -MAX_DAYS * USECS_PER_DAY || *time > MAX_DAYS * USECS_PER_DAY)
		return false;
	*time += parts.tm_mday * USECS_PER_DAY;
	return *time > 0 && *time <= MAX_DAYS * USECS_PER_DAY;
}

/* After which times nobody's having acknowledged an alert is told further up. */
static void
read_escalations(RuleCompiler *compiler)
{
	ClinicalMonitor *monitor = compiler->monitor;
	JsonbValue *times;
	int			count = clinical_shape_elements(&compiler->values[DEFINITION_ESCALATE_AFTER], &times);

	if (count > CLINICAL_MAX_ESCALATIONS)
		clinical_shape_error(&compiler->place, "Key \"escalate_after\" must have at most %d times.", CLINICAL_MAX_ESCALATIONS);
	for (int i = 0; i < count; i++)
	{
		if (!read_interval(&times[i], &monitor->escalate_after[i]))
			clinical_shape_error(&compiler->place, "Key \"escalate_after\" must have times of more than 0 and at most %d days, without months, as \"24 hours\".",
								 MAX_DAYS);
		if (i > 0 && monitor->escalate_after[i] <= monitor->escalate_after[i - 1])
			clinical_shape_error(&compiler->place, "Key \"escalate_after\" must have times of which each is longer than the one before.");
	}
	monitor->nescalations = count;
}

/* What makes days of readings. */
static void
read_days(RuleCompiler *compiler)
{
	ClinicalMonitor *monitor = compiler->monitor;
	StreakRule *rule = &monitor->rule;

	read_items(compiler);
	rule->days = read_number(compiler, DEFINITION_DAYS, 1, 1, MAX_DAYS);
	if (monitor->kind == CLINICAL_MONITOR_K_OF_W)
	{
		rule->pattern = STREAK_K_OF_W;
		rule->window = read_number(compiler, DEFINITION_W, 1, 1, MAX_WINDOW);
		rule->days = read_number(compiler, DEFINITION_K, 1, 1, rule->window);
	}
	rule->aggregate = (StreakAggregate) read_choice(compiler, DEFINITION_AGGREGATE, aggregates, lengthof(aggregates));
	rule->gap = read_number(compiler, DEFINITION_GAP, 0, 0, MAX_GAP);
	rule->min_readings = read_number(compiler, DEFINITION_MIN_READINGS, 1, 1, MAX_READINGS);
	monitor->baseline = (ClinicalBaseline) read_choice(compiler, DEFINITION_BASELINE, baselines, lengthof(baselines));
	read_day_start(compiler);
	read_clear(compiler);
}

/* Entries that are missing: a window is a reading, 1 if an entry was made in it, else 0. */
static void
read_entries(RuleCompiler *compiler)
{
	ClinicalMonitor *monitor = compiler->monitor;
	StreakRule *rule = &monitor->rule;
	ClinicalRange *range = palloc_object(ClinicalRange);

	monitor->instrument = pstrdup(clinical_read_code(&compiler->place, "instrument", &compiler->values[DEFINITION_INSTRUMENT]));
	rule->days = read_number(compiler, DEFINITION_ENTRIES, 1, 1, MAX_DAYS);
	rule->gap = ANY_GAP;
	rule->min_readings = 1;
	rule->nitems = 1;
	monitor->items[0] = pstrdup("");
	(void) clinical_range_read("[1,1]", range);
	rule->ranges[0][0] = range;
}

/* Fill in a rule; the current memory is its own. */
static void
compile(RuleCompiler *compiler, Jsonb *definition)
{
	ClinicalMonitor *monitor = compiler->monitor;
	JsonbValue	root;
	int			kind;
	int			severity;

	clinical_json_value(definition, &root);
	clinical_shape_read(&compiler->place, &root, definition_keys, lengthof(definition_keys), compiler->values);
	kind = clinical_shape_choice(&compiler->place, "kind", &compiler->values[DEFINITION_KIND], kind_names, lengthof(kind_names));
	compiler->monitor->kind_name = kind_names[kind];
	check_keys(compiler, kind);
	monitor->code = pstrdup(clinical_read_code(&compiler->place, "code", &compiler->values[DEFINITION_CODE]));
	monitor->kind = kinds[kind].kind;
	severity = clinical_shape_choice(&compiler->place, "severity", &compiler->values[DEFINITION_SEVERITY],
									 severities, lengthof(severities));
	monitor->severity = pstrdup(severities[severity]);
	monitor->counts_from = DT_NOBEGIN;
	monitor->rule.ngrades = 1;
	monitor->cooldown_days = read_number(compiler, DEFINITION_COOLDOWN_DAYS, 0, 0, MAX_DAYS);
	read_escalations(compiler);
	if (monitor->kind == CLINICAL_MONITOR_MISSING)
		read_entries(compiler);
	else
		read_days(compiler);
}

/* Compile a definition into memory of its own; an error if it breaks a rule. */
ClinicalMonitor *
clinical_monitor_compile(Jsonb *definition, MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "clinical monitoring rule", ALLOCSET_SMALL_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(context);
	RuleCompiler compiler = {.place = {"rule is malformed", NULL}};

	compiler.monitor = palloc0_object(ClinicalMonitor);
	compiler.monitor->context = context;
	compile(&compiler, definition);
	MemoryContextSwitchTo(outer);
	/* only what is sound outlives an error */
	MemoryContextSetParent(context, parent);
	return compiler.monitor;
}
