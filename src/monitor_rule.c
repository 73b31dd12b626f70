/*-------------------------------------------------------------------------
 *
 * monitor_rule.c
 *		Making, changing and retiring rules.
 *
 * Rules and their versions are written by the functions here alone.  What a version
 * says never changes; who changes a rule adds the next one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "monitor.h"
#include "project.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(clinical_monitor_rule_check);
PG_FUNCTION_INFO_V1(clinical_rule_evaluation_check);
PG_FUNCTION_INFO_V1(clinical_create_rule);
PG_FUNCTION_INFO_V1(clinical_change_rule);
PG_FUNCTION_INFO_V1(clinical_retire_rule);
PG_FUNCTION_INFO_V1(clinical_rule_json);
PG_FUNCTION_INFO_V1(clinical_cancel_rule_evaluation);

/* What clinical.check() tests of rules */
const ClinicalInvariant clinical_rule_invariants[] = {
	{"rule's versions have no gap",
		"SELECT r.code, 'versions are missing'"
		"  FROM clinical.monitor_rule r"
		"  LEFT JOIN clinical.monitor_rule_version v ON v.rule_id OPERATOR(pg_catalog.=) r.id"
		" GROUP BY r.code"
		" HAVING COALESCE(pg_catalog.max(v.version), 0) OPERATOR(pg_catalog.<>) pg_catalog.count(v.id)"
	"     OR pg_catalog.count(v.id) OPERATOR(pg_catalog.=) 0"},
	{"rule's versions are of the rule",
		"SELECT r.code, pg_catalog.concat('version ', v.version, ' differs from its definition')"
		"  FROM clinical.monitor_rule r"
		"  JOIN clinical.monitor_rule_version v ON v.rule_id OPERATOR(pg_catalog.=) r.id"
		" WHERE (v.definition OPERATOR(pg_catalog.@>)"
	"        pg_catalog.jsonb_build_object('code', r.code, 'kind', v.kind, 'severity', v.severity)) IS NOT TRUE"},
};
const int	clinical_rule_ninvariants = lengthof(clinical_rule_invariants);

static const ClinicalWay rule_ways[] = {
	{NULL, "active"}, {"active", "retired"},
};

static const ClinicalWay evaluation_ways[] = {
	{NULL, "queued"}, {"queued", "running"}, {"running", "running"}, {"running", "queued"}, {"running", "done"},
	{"running", "failed"}, {"running", "cancelled"}, {"queued", "cancelled"}, {"queued", "failed"},
};

/* A rule as it stands, locked */
typedef struct Rule
{
	Datum		id;
	Datum		version;
	char	   *project;		/* its code; NULL: all */
	char	   *status;
} Rule;

/* A row that only the server writes, and that goes certain ways. */
static Datum
check_row(FunctionCallInfo fcinfo, const char *table, const char *what, const ClinicalWay *ways, int nways,
		  const char *const *columns, int ncolumns)
{
	ClinicalRow row;

	clinical_load_row(fcinfo, &row, NULL, 0);
	if (clinical_as_is())
		PG_RETURN_POINTER(row.new_tuple != NULL ? row.new_tuple : row.old_tuple);
	if (!clinical_server_writes() || row.new_tuple == NULL)
		clinical_refuse_write(table);
	clinical_check_constant(&row, columns, ncolumns);
	clinical_check_way(ways, nways, what, row.old_tuple == NULL ? NULL : clinical_text_column(&row, row.old_tuple, "status"),
					   clinical_text_column(&row, row.new_tuple, "status"));
	PG_RETURN_POINTER(row.new_tuple);
}

/* Trigger: nobody but the server makes rules and retires them. */
Datum
clinical_monitor_rule_check(PG_FUNCTION_ARGS)
{
	static const char *const columns[] = {"id", "code", "project_id", "recorded_at", "recorded_by", "actor"};

	return check_row(fcinfo, "monitor_rule", "rule", rule_ways, lengthof(rule_ways), columns, lengthof(columns));
}

/* Trigger: nobody but the server asks for evaluations and does them. */
Datum
clinical_rule_evaluation_check(PG_FUNCTION_ARGS)
{
	static const char *const columns[] = {"id", "rule_id", "version", "requested_at", "requested_by"};

	return check_row(fcinfo, "rule_evaluation", "evaluation", evaluation_ways, lengthof(evaluation_ways), columns, lengthof(columns));
}

/* The error of who asks for a rule that is not there, or is not for him to see. */
CLINICAL_NORETURN static void
rule_not_found(text *code)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("rule not found"),
			 errdetail("There is no rule with the code \"%s\".", text_to_cstring(code))));
}

/*
 * A rule for all projects alerts about patients whom a caller that is limited to some
 * centers does not see: it is for those who are not.
 */
static void
require_everywhere(void)
{
	static ClinicalPlan plan = {
		"SELECT true WHERE pg_catalog.pg_has_role('clinical_admin'::pg_catalog.name, 'USAGE')"
		"    OR EXISTS (SELECT FROM clinical.membership m WHERE m.center_id IS NULL AND m.project_id IS NULL"
		"                  AND pg_catalog.pg_has_role(m.role, 'USAGE'))"
	};
	Datum		ignored;

	if (!clinical_fetch(&plan, NULL, NULL, true, &ignored))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for rules of all projects"),
				 errhint("Only administrators, and those who may see every center, make and change them.")));
}

/* A member of a definition as a C string; NULL if it is absent or null. */
char *
clinical_rule_member(Jsonb *definition, const char *name)
{
	JsonbValue	root;
	JsonbValue	buffer;
	JsonbValue *value;

	clinical_json_value(definition, &root);
	value = clinical_json_object(&root) == NULL ? NULL : clinical_json_get(&root, name, &buffer);
	return value == NULL ? NULL : clinical_shape_text(value);
}

/* Members that are put anew; then those that are said of a version, and not kept with what the rule says */
static const char *const members_of_rule[] = {"code", "project"};
static const char *const members_of_version[] = {"evaluate", "version", "status"};

/* Is a key one of those? */
static bool
is_one_of(const JsonbValue *key, const char *const *names, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (clinical_json_is(key, names[i]))
			return true;
	}
	return false;
}

/* A definition with that code and project; as it is kept, or else with all that it has. */
static Jsonb *
complete_definition(Jsonb *definition, const char *code, const char *project, bool as_kept)
{
	JsonbParseState *state = NULL;
	JsonbValue	root;
	JsonbIterator *iterator;
	JsonbValue	key;
	JsonbValue	value;
	JsonbValue	none = {.type = jbvNull};

	clinical_json_value(definition, &root);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	clinical_json_put_text(&state, "code", code);
	if (project == NULL)
		clinical_json_put(&state, "project", &none);
	else
		clinical_json_put_text(&state, "project", project);
	iterator = JsonbIteratorInit(clinical_json_object(&root));
	while (clinical_json_next(&iterator, &key, &value))
	{
		if (value.type != jbvNull && !is_one_of(&key, members_of_rule, lengthof(members_of_rule)) &&
			!(as_kept && is_one_of(&key, members_of_version, lengthof(members_of_version))))
			clinical_json_put(&state, pnstrdup(key.val.string.val, key.val.string.len), &value);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Is the version to be evaluated over what is there? */
static bool
wants_evaluation(Jsonb *definition)
{
	JsonbValue	root;
	JsonbValue	buffer;
	JsonbValue *value;

	clinical_json_value(definition, &root);
	value = clinical_json_get(&root, "evaluate", &buffer);
	return value == NULL || value->type != jbvBool || value->val.boolean;
}

/* Evaluations of a rule that nobody needs any more. */
static void
cancel_evaluations(Datum rule_id)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.rule_evaluation AS e SET status = 'cancelled', ended_at = pg_catalog.clock_timestamp()"
		" WHERE e.rule_id OPERATOR(pg_catalog.=) $1"
		"   AND (e.status OPERATOR(pg_catalog.=) 'queued' OR e.status OPERATOR(pg_catalog.=) 'running')",
		1, {INT8OID}
	};
	Datum		ignored;

	(void) clinical_server_fetch(&plan, &rule_id, NULL, &ignored);
}

/* Add a version of a rule, and ask for its evaluation; returns its row. */
static Datum
add_version(Datum rule_id, int version, Jsonb *definition, const char *code, const char *project)
{
	static ClinicalPlan insert = {
		"INSERT INTO clinical.monitor_rule_version AS v (rule_id, version, kind, severity, definition, counts_from, reason,"
		"        recorded_at, recorded_by, actor)"
		" VALUES ($1, $2, $3, $4, $5, CASE WHEN $6 THEN NULL ELSE pg_catalog.now() END, $7,"
		"         pg_catalog.clock_timestamp(), SESSION_USER, $8)"
		" ON CONFLICT (rule_id, version) DO NOTHING RETURNING (v.*)::clinical.monitor_rule_version",
		8, {INT8OID, INT4OID, TEXTOID, TEXTOID, JSONBOID, BOOLOID, TEXTOID, TEXTOID}
	};
	static ClinicalPlan evaluate = {
		"INSERT INTO clinical.rule_evaluation (rule_id, version, status, requested_at, requested_by)"
		" VALUES ($1, $2, 'queued', pg_catalog.clock_timestamp(), SESSION_USER)",
		2, {INT8OID, INT4OID}
	};
	text	   *actor = clinical_actor_in_force();
	text	   *reason = clinical_reason_in_force();
	bool		wanted = wants_evaluation(definition);
	Datum		values[8] = {
		rule_id, Int32GetDatum(version), CStringGetTextDatum(clinical_rule_member(definition, "kind")),
		CStringGetTextDatum(clinical_rule_member(definition, "severity")),
		JsonbPGetDatum(complete_definition(definition, code, project, true)), BoolGetDatum(wanted),
		PointerGetDatum(reason), PointerGetDatum(actor)
	};
	char		nulls[8] = {' ', ' ', ' ', ' ', ' ', ' ', reason == NULL ? 'n' : ' ', actor == NULL ? 'n' : ' '};
	Datum		row;
	Datum		ignored;

	if (!clinical_server_fetch(&insert, values, nulls, &row))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("rule was changed meanwhile")));
	CLINICAL_FAULT("rule_version_added");
	if (wanted)
	{
		(void) clinical_server_fetch(&evaluate, values, NULL, &ignored);
		clinical_wake_worker();
	}
	return row;
}

/* The id of a new rule; an error if the code is taken. */
static Datum
insert_rule(const char *code, Datum project_id, bool all)
{
	static ClinicalPlan plan = {
		"INSERT INTO clinical.monitor_rule AS r (code, project_id, status, recorded_at, recorded_by, actor)"
		" VALUES ($1, $2, 'active', pg_catalog.clock_timestamp(), SESSION_USER, $3)"
		" ON CONFLICT (code) DO NOTHING RETURNING r.id",
		3, {TEXTOID, INT8OID, TEXTOID}
	};
	text	   *actor = clinical_actor_in_force();
	Datum		values[3] = {CStringGetTextDatum(code), project_id, PointerGetDatum(actor)};
	char		nulls[3] = {' ', all ? 'n' : ' ', actor == NULL ? 'n' : ' '};
	Datum		id;

	if (!clinical_server_fetch(&plan, values, nulls, &id))
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("rule already exists"),
				 errdetail("The code is \"%s\".", code),
				 errhint("Use change_rule to add a version.")));
	return id;
}

/* SQL: make a rule. */
Datum
clinical_create_rule(PG_FUNCTION_ARGS)
{
	Jsonb	   *definition;
	ClinicalMonitor *monitor;
	char	   *project;
	Datum		project_id = (Datum) 0;
	Datum		rule_id;

	clinical_require_arg(!PG_ARGISNULL(0), "definition is required");
	definition = PG_GETARG_JSONB_P(0);
	monitor = clinical_monitor_compile(definition, CurrentMemoryContext);
	project = clinical_rule_member(definition, "project");
	if (project == NULL)
		require_everywhere();
	else
		project_id = Int64GetDatum(clinical_project_by_code(cstring_to_text(project), false));
	rule_id = insert_rule(monitor->code, project_id, project == NULL);
	return add_version(rule_id, 1, definition, monitor->code, project);
}

/*
 * Lock the rule with a code that the caller may see, and read what it is; others who
 * would change it wait until we are done.
 */
static void
lock_rule(text *code, Rule *rule)
{
	static ClinicalPlan look = {
		"SELECT r.id FROM clinical.monitor_rule r WHERE r.code OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	static ClinicalPlan lock = {
		"SELECT true FROM clinical.monitor_rule r WHERE r.id OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
		1, {INT8OID}
	};
	static ClinicalPlan read = {
		"SELECT pg_catalog.max(v.version), r.status, p.code"
		"  FROM clinical.monitor_rule r"
		"  JOIN clinical.monitor_rule_version v ON v.rule_id OPERATOR(pg_catalog.=) r.id"
		"  LEFT JOIN clinical.project p ON p.id OPERATOR(pg_catalog.=) r.project_id"
		" WHERE r.id OPERATOR(pg_catalog.=) $1 GROUP BY r.status, p.code",
		1, {INT8OID}
	};
	MemoryContext caller = CurrentMemoryContext;
	Datum		value = PointerGetDatum(code);
	Datum		ignored;
	bool		isnull;

	if (!clinical_fetch(&look, &value, NULL, false, &rule->id) ||
		!clinical_owner_fetch(&lock, &rule->id, NULL, false, &ignored))
		rule_not_found(code);
	SPI_connect();
	/* by a snapshot of its own: another session may have been waited for */
	clinical_owner_execute(&read, &rule->id, NULL, false);
	if (SPI_processed != 1)
		rule_not_found(code);
	rule->version = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	rule->status = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	rule->project = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3);
	rule->status = MemoryContextStrdup(caller, rule->status);
	if (rule->project != NULL)
		rule->project = MemoryContextStrdup(caller, rule->project);
	SPI_finish();
	if (rule->project == NULL)
		require_everywhere();
}

/* The version that a changed definition was read as, if it says one, must be the last. */
static void
check_version(Jsonb *definition, const Rule *rule)
{
	JsonbValue	root;
	JsonbValue	buffer;
	JsonbValue *value;

	clinical_json_value(definition, &root);
	value = clinical_json_get(&root, "version", &buffer);
	if (value != NULL && value->type == jbvNumeric && clinical_shape_count(value, 0) != DatumGetInt32(rule->version))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("rule was changed meanwhile"),
				 errdetail("The version in force is %d.", DatumGetInt32(rule->version))));
}

/* Is a name that a definition may leave out the one that the rule has? */
static void
check_name(Jsonb *definition, const char *key, const char *name)
{
	ClinicalPlace place = {"rule is malformed", NULL};
	JsonbValue	root;
	JsonbValue	buffer;
	JsonbValue *value;

	clinical_json_value(definition, &root);
	if (clinical_json_object(&root) == NULL)
		clinical_shape_error(&place, "Must be an object.");
	value = clinical_json_get(&root, key, &buffer);
	if (value != NULL && !(value->type == jbvNull && name == NULL) && (name == NULL || !clinical_json_is(value, name)))
		clinical_shape_error(&place, "Key \"%s\" is never changed.", key);
}

/* A reason given or in force, for this and for the audit trail; ended by clinical_reason_pop. */
static int
push_reason(FunctionCallInfo fcinfo, int argno)
{
	int			nest_level = clinical_reason_push(clinical_optional_arg(fcinfo, argno));

	clinical_require_reason();
	return nest_level;
}

/* SQL: the next version of a rule. */
Datum
clinical_change_rule(PG_FUNCTION_ARGS)
{
	text	   *code = clinical_text_arg(fcinfo, 0, "rule code is required");
	char	   *name = text_to_cstring(code);
	Jsonb	   *definition;
	Rule		rule;
	int			nest_level;
	Datum		row;

	clinical_require_arg(!PG_ARGISNULL(1), "definition is required");
	definition = PG_GETARG_JSONB_P(1);
	nest_level = push_reason(fcinfo, 2);
	lock_rule(code, &rule);
	if (strcmp(rule.status, "active") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rule is \"%s\"", rule.status)));
	check_name(definition, "code", name);
	check_name(definition, "project", rule.project);
	(void) clinical_monitor_compile(complete_definition(definition, name, rule.project, false), CurrentMemoryContext);
	check_version(definition, &rule);
	cancel_evaluations(rule.id);
	row = add_version(rule.id, DatumGetInt32(rule.version) + 1, definition, name, rule.project);
	clinical_reason_pop(nest_level);
	return row;
}

/* SQL: a rule raises no alerts any more. */
Datum
clinical_retire_rule(PG_FUNCTION_ARGS)
{
	static ClinicalPlan retire = {
		"UPDATE clinical.monitor_rule AS r SET status = 'retired' WHERE r.id OPERATOR(pg_catalog.=) $1 RETURNING true",
		1, {INT8OID}
	};
	static ClinicalPlan select = {
		"SELECT (v.*)::clinical.monitor_rule_version FROM clinical.monitor_rule_version v"
		" WHERE v.rule_id OPERATOR(pg_catalog.=) $1 AND v.version OPERATOR(pg_catalog.=) $2",
		2, {INT8OID, INT4OID}
	};
	text	   *code = clinical_text_arg(fcinfo, 0, "rule code is required");
	int			nest_level = push_reason(fcinfo, 1);
	Datum		values[2];
	Datum		row;
	Rule		rule;

	lock_rule(code, &rule);
	clinical_check_way(rule_ways, lengthof(rule_ways), "rule", rule.status, "retired");
	values[0] = rule.id;
	values[1] = rule.version;
	cancel_evaluations(rule.id);
	(void) clinical_server_fetch(&retire, values, NULL, &row);
	if (!clinical_owner_fetch(&select, values, NULL, false, &row))
		elog(ERROR, "version of a rule is not visible");
	clinical_reason_pop(nest_level);
	return row;
}

/* SQL: what a rule says; the code of its project may have changed since. */
Datum
clinical_rule_json(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"SELECT v.definition OPERATOR(pg_catalog.||)"
		"       pg_catalog.jsonb_build_object('project', p.code, 'version', v.version, 'status', r.status)"
		"  FROM clinical.monitor_rule r"
		"  JOIN clinical.monitor_rule_version v ON v.rule_id OPERATOR(pg_catalog.=) r.id"
		"  LEFT JOIN clinical.project p ON p.id OPERATOR(pg_catalog.=) r.project_id"
		" WHERE r.code OPERATOR(pg_catalog.=) $1 ORDER BY v.version DESC LIMIT 1",
		1, {TEXTOID}
	};
	text	   *code = clinical_text_arg(fcinfo, 0, "rule code is required");
	Datum		value = PointerGetDatum(code);
	Datum		document;

	if (!clinical_fetch(&plan, &value, NULL, true, &document))
		rule_not_found(code);
	return document;
}

/* SQL: the evaluation of a rule over what is there goes no further. */
Datum
clinical_cancel_rule_evaluation(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.rule_evaluation AS e SET status = 'cancelled', ended_at = pg_catalog.clock_timestamp()"
		" WHERE e.rule_id OPERATOR(pg_catalog.=) $1 AND e.version OPERATOR(pg_catalog.=) $2"
		"   AND (e.status OPERATOR(pg_catalog.=) 'queued' OR e.status OPERATOR(pg_catalog.=) 'running')"
		" RETURNING (e.*)::clinical.rule_evaluation",
		2, {INT8OID, INT4OID}
	};
	text	   *code = clinical_text_arg(fcinfo, 0, "rule code is required");
	Datum		values[2];
	Datum		row;
	Rule		rule;

	lock_rule(code, &rule);
	values[0] = rule.id;
	values[1] = rule.version;
	if (!clinical_server_fetch(&plan, values, NULL, &row))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rule has no evaluation to cancel")));
	return row;
}
