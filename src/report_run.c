/*-------------------------------------------------------------------------
 *
 * report_run.c
 *		The engine: runs the queries of the tables and puts the document together.
 *
 * All is read with one snapshot, as the owner of the tables, so that no policy is
 * evaluated row by row: which centers may be seen was decided before.  Every table is a
 * query of its own, which the server may run in parallel, and which is compiled by no
 * JIT, since that cannot be interrupted.  Nothing is written, so a standby can do it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/params.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "audit.h"
#include "observe.h"
#include "report.h"

/* The tables are those of all makers, in their order */
static const struct
{
	const ClinicalReportTable *tables;
	const int  *count;
}			lists[] = {
	{clinical_report_status_tables, &clinical_report_nstatus_tables},
	{clinical_report_item_tables, &clinical_report_nitem_tables},
	{clinical_report_compliance_tables, &clinical_report_ncompliance_tables},
	{clinical_report_alert_tables, &clinical_report_nalert_tables},
};

/* The arguments of every function of a table */
#define NARGS 8

/* Patients are split into so many groups at most: tables have a row of each for each of their keys, in memory */
#define MAX_GROUPS 1000

/* Facts that were computed */
typedef struct Facts
{
	const ClinicalReportTable *table;
	Jsonb	   *rows;
} Facts;

/* What a report knows while it is made */
typedef struct Run
{
	const ClinicalReportScope *scope;
	List	   *facts;
	Jsonb	   *few;			/* groups of fewer patients than suppress_below */
} Run;

static const char *const kind_names[] = {
	[CLINICAL_REPORT_LABEL] = "label", [CLINICAL_REPORT_TEXT] = "text", [CLINICAL_REPORT_DATE] = "date",
	[CLINICAL_REPORT_MONTH] = "month", [CLINICAL_REPORT_TIME] = "time", [CLINICAL_REPORT_COUNT] = "count",
	[CLINICAL_REPORT_PERCENT] = "percent", [CLINICAL_REPORT_VALUE] = "value", [CLINICAL_REPORT_MEAN] = "mean",
	[CLINICAL_REPORT_SD] = "sd", [CLINICAL_REPORT_RATE] = "rate", [CLINICAL_REPORT_SCORE] = "score",
	[CLINICAL_REPORT_SECONDS] = "seconds", [CLINICAL_REPORT_FLAG] = "flag",
};

/* Pin a setting. */
static void
pin_setting(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Settings by which the same question gives the same answer, whoever asks; until
 * AtEOXact_GUC, or an error.
 */
static int
pin_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"jit", "off"},
		{"TimeZone", "UTC"},
		{"DateStyle", "ISO, YMD"},
		{"IntervalStyle", "postgres"},
		{"extra_float_digits", "1"},
		{"bytea_output", "hex"},
		{"standard_conforming_strings", "on"},
		{"transform_null_equals", "off"},
	};
	int			nest_level = NewGUCNestLevel();

	for (int i = 0; i < (int) lengthof(settings); i++)
		pin_setting(settings[i][0], settings[i][1]);
	return nest_level;
}

/* A table by its number, from 0; NULL: there is none. */
const ClinicalReportTable *
clinical_report_table(int number)
{
	for (int i = 0; i < (int) lengthof(lists); i++)
	{
		if (number < *lists[i].count)
			return &lists[i].tables[number];
		number -= *lists[i].count;
	}
	return NULL;
}

/* The arguments of a table's function, as constants that the planner knows. */
static ParamListInfo
make_params(const ClinicalReportScope *scope, Jsonb *facts)
{
	const Oid	types[NARGS] = {INT8OID, INT8ARRAYOID, DATEOID, DATEOID, TIMESTAMPTZOID, TEXTOID, TEXTARRAYOID, JSONBOID};
	const Datum values[NARGS] = {
		Int64GetDatum(scope->project_id), scope->centers, DateADTGetDatum(scope->first_day), DateADTGetDatum(scope->end_day),
		TimestampTzGetDatum(scope->cut_off), CStringGetTextDatum(scope->time_zone), scope->split,
		facts == NULL ? (Datum) 0 : JsonbPGetDatum(facts)
	};
	ParamListInfo params = makeParamList(NARGS);

	for (int i = 0; i < NARGS; i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = i == NARGS - 1 && facts == NULL;
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = types[i];
	}
	return params;
}

/*
 * The first column of the first row of a query about the scope, a jsonb, in the caller's memory.  The
 * query is planned for these arguments, and may use parallel workers.
 */
static Jsonb *
query(const ClinicalReportScope *scope, const char *sql, Jsonb *facts)
{
	SPIExecuteOptions options = {.read_only = true};
	int			result;
	Datum		value;

	SPI_connect();
	options.params = make_params(scope, facts);
	result = SPI_execute_extended(sql, &options);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_extended failed: %s", SPI_result_code_string(result));
	value = SPI_datumTransfer(clinical_result(0, 1), false, -1);
	SPI_finish();
	return DatumGetJsonbP(value);
}

/* A table by its name; an error if there is none. */
static const ClinicalReportTable *
find_facts(const char *name)
{
	const ClinicalReportTable *table;

	for (int i = 0; (table = clinical_report_table(i)) != NULL; i++)
	{
		if (table->section == NULL && strcmp(table->name, name) == 0)
			return table;
	}
	elog(ERROR, "there are no facts \"%s\" of a report", name);
}

static Jsonb *table_rows(Run *run, const ClinicalReportTable *table);

/* The facts that a table is made of, computed once; NULL: none. */
static Jsonb *
base_of(Run *run, const ClinicalReportTable *table)
{
	ListCell   *cell;
	Facts	   *facts;

	if (table->base == NULL)
		return NULL;
	foreach(cell, run->facts)
	{
		facts = lfirst(cell);
		if (strcmp(facts->table->name, table->base) == 0)
			return facts->rows;
	}
	facts = palloc_object(Facts);
	facts->table = find_facts(table->base);
	facts->rows = table_rows(run, facts->table);
	run->facts = lappend(run->facts, facts);
	return facts->rows;
}

/* The rows of a table, or facts: an array of objects. */
static Jsonb *
table_rows(Run *run, const ClinicalReportTable *table)
{
	Jsonb	   *base = base_of(run, table);

	CHECK_FOR_INTERRUPTS();
	clinical_report_progress_phase(table);
	clinical_step_report_phase(table->name);
	if (table->rows != NULL)
		return table->rows(run->scope);
	return query(run->scope, psprintf("SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(r)), '[]'::pg_catalog.jsonb)"
									  " FROM %s($1, $2, $3, $4, $5, $6, $7, $8) r", table->function), base);
}

/* Put a document into another one. */
static void
put_document(JsonbParseState **state, const char *name, Jsonb *document)
{
	JsonbValue	value;

	clinical_json_value(document, &value);
	clinical_json_put(state, name, &value);
}

/* Put the columns of a table. */
static void
put_columns(JsonbParseState **state, const ClinicalReportTable *table)
{
	clinical_json_key(state, "columns");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < table->ncolumns; i++)
	{
		const ClinicalReportColumn *column = &table->columns[i];

		pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
		clinical_json_put_text(state, "name", column->name);
		clinical_json_put_text(state, "label", column->label);
		clinical_json_put_text(state, "kind", kind_names[column->kind]);
		if (column->of != NULL)
			clinical_json_put_text(state, "of", column->of);
		pushJsonbValue(state, WJB_END_OBJECT, NULL);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/* Put a table. */
static void
put_table(Run *run, JsonbParseState **state, const ClinicalReportTable *table)
{
	Jsonb	   *rows = table_rows(run, table);

	if (rows == NULL)
		return;
	if (run->scope->suppress_below > 0)
		rows = clinical_report_suppress(table, rows, run->scope->suppress_below, run->few);
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	clinical_json_put_text(state, "name", table->name);
	clinical_json_put_text(state, "title", table->title);
	if (table->note != NULL)
		clinical_json_put_text(state, "note", table->note);
	put_columns(state, table);
	put_document(state, "rows", rows);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* Does a table belong to a section? */
static bool
is_of(const ClinicalReportTable *table, const ClinicalReportSection *section)
{
	return table->section != NULL && strcmp(table->section, section->name) == 0;
}

/* Put a section: its tables, in the order of their makers. */
static void
put_section(Run *run, JsonbParseState **state, const ClinicalReportSection *section)
{
	const ClinicalReportTable *table;

	clinical_json_key(state, section->name);
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	clinical_json_put_text(state, "title", section->title);
	clinical_json_key(state, "tables");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; (table = clinical_report_table(i)) != NULL; i++)
	{
		if (is_of(table, section))
			put_table(run, state, table);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* Add a table to those that are computed, after the facts that it is made of. */
static List *
plan_table(List *tables, const ClinicalReportTable *table)
{
	check_stack_depth();
	if (table->base != NULL)
		tables = plan_table(tables, find_facts(table->base));
	return list_append_unique_ptr(tables, unconstify(ClinicalReportTable *, table));
}

/* The tables that are computed, facts first where they are needed first. */
static List *
plan_tables(const ClinicalReportScope *scope)
{
	const ClinicalReportTable *table;
	List	   *tables = NIL;

	for (int i = 0; i < CLINICAL_REPORT_NSECTIONS; i++)
	{
		for (int j = 0; (table = clinical_report_table(j)) != NULL; j++)
		{
			if ((scope->sections & (UINT32_C(1) << i)) != 0 && is_of(table, &clinical_report_sections[i]))
				tables = plan_table(tables, table);
		}
	}
	return tables;
}

/* The body: the sections that are wanted. */
static Jsonb *
make_body(Run *run)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < CLINICAL_REPORT_NSECTIONS; i++)
	{
		if ((run->scope->sections & (UINT32_C(1) << i)) != 0)
			put_section(run, &state, &clinical_report_sections[i]);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* SHA-256 of a document's text in UTF-8, as hexadecimal digits. */
static char *
hash_document(Jsonb *document)
{
	pg_cryptohash_ctx *ctx = clinical_hash_begin();
	char	   *string = JsonbToCString(NULL, &document->root, VARSIZE(document));
	char	   *utf8 = pg_server_to_any(string, (int) strlen(string), PG_UTF8);
	uint8		hash[PG_SHA256_DIGEST_LENGTH];
	char	   *digits = palloc0(2 * sizeof(hash) + 1);

	if (pg_cryptohash_init(ctx) < 0 || pg_cryptohash_update(ctx, (const uint8 *) utf8, strlen(utf8)) < 0 ||
		pg_cryptohash_final(ctx, hash, sizeof(hash)) < 0)
		elog(ERROR, "could not compute a hash");
	clinical_hash_end(ctx);
	(void) hex_encode((const char *) hash, sizeof(hash), digits);
	return digits;
}

/* What the header says beside what the tables have it from: by whom, and how. */
static Jsonb *
header_facts(const ClinicalReportScope *scope, Jsonb *size)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	clinical_json_put_text(&state, "generated_by", GetUserNameFromId(scope->role, false));
	clinical_json_put_bool(&state, "all_centers", scope->all_centers);
	clinical_json_put_text(&state, "version", CLINICAL_VERSION);
	put_document(&state, "options", clinical_report_write_options(scope));
	put_document(&state, "rows", size);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Are there too many groups of patients? */
static void
check_groups(const ClinicalReportScope *scope)
{
	ArrayType  *split = DatumGetArrayTypeP(scope->split);
	Jsonb	   *count;

	if (ArrayGetNItems(ARR_NDIM(split), ARR_DIMS(split)) == 0)
		return;
	count = query(scope, "SELECT pg_catalog.to_jsonb(pg_catalog.count(DISTINCT p.\"by\")) FROM clinical.report_patient($1, $2, $7) p", NULL);
	if (DatumGetInt32(DirectFunctionCall1(jsonb_int4, JsonbPGetDatum(count))) > MAX_GROUPS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("report is split into more than %d groups of patients", MAX_GROUPS),
				 errhint("Split it by keys with fewer values.")));
}

/* The groups of patients, by their labels, that are smaller than suppress_below. */
static Jsonb *
few_groups(const ClinicalReportScope *scope)
{
	char	   *sql = psprintf("SELECT COALESCE(pg_catalog.jsonb_agg(g.\"by\"), '[]') FROM (SELECT p.\"by\" FROM clinical.report_patient($1, $2, $7) p"
							   " GROUP BY p.\"by\" HAVING pg_catalog.count(*) OPERATOR(pg_catalog.<) %d) g",
							   scope->suppress_below);

	return query(scope, sql, NULL);
}

/* The document. */
static Jsonb *
make_document(Run *run)
{
	JsonbParseState *state = NULL;
	Jsonb	   *size;
	Jsonb	   *header;
	Jsonb	   *body;

	clinical_step_report_phase("counting");
	size = query(run->scope, "SELECT pg_catalog.to_jsonb(r) FROM clinical.report_size($1, $2) r", NULL);
	clinical_report_progress_plan(plan_tables(run->scope), size);
	if (clinical_report_underestimated(make_params(run->scope, NULL), size))
		pin_setting("enable_nestloop", "off");
	check_groups(run->scope);
	if (run->scope->suppress_below > 0)
		run->few = few_groups(run->scope);
	header = query(run->scope, "SELECT clinical.report_header($1, $2, $3, $4, $5, $8)", header_facts(run->scope, size));
	body = make_body(run);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	put_document(&state, "header", header);
	put_document(&state, "body", body);
	clinical_json_put_text(&state, "sha256", hash_document(body));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Make the report, in SPI; the document is in the caller's memory. */
Jsonb *
clinical_report_run(ClinicalReportScope *scope)
{
	Run			run = {.scope = scope};
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "clinical report", ALLOCSET_DEFAULT_SIZES);
	ClinicalUser user;
	Jsonb	   *document;
	int			nest_level;

	MemoryContextSwitchTo(context);
	nest_level = pin_settings();
	clinical_owner_begin(&user);
	document = make_document(&run);
	clinical_owner_end(&user);
	AtEOXact_GUC(true, nest_level);
	MemoryContextSwitchTo(caller);
	document = (Jsonb *) DatumGetPointer(datumCopy(JsonbPGetDatum(document), false, -1));
	MemoryContextDelete(context);
	return document;
}
