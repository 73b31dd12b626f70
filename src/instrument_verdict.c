/*-------------------------------------------------------------------------
 *
 * instrument_verdict.c
 *		The validator's verdict in SQL.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "instrument.h"

PG_FUNCTION_INFO_V1(clinical_validate_report);
PG_FUNCTION_INFO_V1(clinical_report_is_valid);

/* The columns of validate_report */
enum
{
	COLUMN_KIND, COLUMN_ITEM, COLUMN_REPEAT_KEY, COLUMN_VALUE, COLUMN_VALUE_TEXT, COLUMN_VALUE_CODE, COLUMN_UNIT,
	COLUMN_ABSENT, COLUMN_SOFT_HARD, COLUMN_REASON_CODE, COLUMN_CHECK_ID, COLUMN_PATH, COLUMN_MESSAGE, NCOLUMNS,
};

/*
 * What a call site keeps: the version it last looked up, and who saw what then.
 * A call site in PL/pgSQL lives as long as the transaction, in which versions
 * may be made and others committed.
 */
typedef struct Lookup
{
	text	   *instrument;
	text	   *version;
	int64		version_id;
	Oid			user;
	TransactionId xmax;
	uint32		running;
	CommandId	command;
} Lookup;

/* Are two texts, or NULLs, the same? */
static bool
same(const text *a, const text *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/* A copy of a text that lasts as long as the call site. */
static text *
keep(FunctionCallInfo fcinfo, text *value)
{
	text	   *copy;

	if (value == NULL)
		return NULL;
	copy = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, VARSIZE_ANY(value));
	memcpy(copy, value, VARSIZE_ANY(value));
	return copy;
}

/* Free what a lookup points to. */
static void
forget(Lookup *lookup)
{
	if (lookup->instrument != NULL)
		pfree(lookup->instrument);
	if (lookup->version != NULL)
		pfree(lookup->version);
	lookup->instrument = lookup->version = NULL;
}

/* Is all as it was when the lookup was made? */
static bool
holds(const Lookup *lookup, const text *code, const text *version)
{
	Snapshot	snapshot = GetActiveSnapshot();

	return lookup->user == GetUserId() && lookup->command == snapshot->curcid && lookup->xmax == snapshot->xmax &&
		lookup->running == snapshot->xcnt + snapshot->subxcnt &&
		same(lookup->instrument, code) && same(lookup->version, version);
}

/* The version that a call is about; looked up once while the arguments stay. */
static const ClinicalInstrument *
find_instrument(FunctionCallInfo fcinfo)
{
	text	   *code = clinical_text_arg(fcinfo, 0, "instrument is required");
	text	   *version = clinical_optional_arg(fcinfo, 2);
	Lookup	   *lookup = fcinfo->flinfo->fn_extra;

	if (lookup == NULL || !holds(lookup, code, version))
	{
		int64		id = clinical_instrument_version_id(code, version, true);
		Snapshot	snapshot = GetActiveSnapshot();

		if (lookup == NULL)
			lookup = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Lookup));
		else
			forget(lookup);
		fcinfo->flinfo->fn_extra = lookup;
		lookup->instrument = keep(fcinfo, code);
		lookup->version = keep(fcinfo, version);
		lookup->version_id = id;
		lookup->user = GetUserId();
		lookup->xmax = snapshot->xmax;
		lookup->running = snapshot->xcnt + snapshot->subxcnt;
		lookup->command = snapshot->curcid;
	}
	return clinical_instrument_cached(lookup->version_id);
}

/* Validate the report of a call. */
static void
validate_args(FunctionCallInfo fcinfo, ClinicalVerdict *verdict)
{
	const ClinicalInstrument *instrument = find_instrument(fcinfo);
	Jsonb	   *report;

	clinical_require_arg(!PG_ARGISNULL(1), "report data is required");
	report = PG_GETARG_JSONB_P(1);
	clinical_require_arg(JB_ROOT_IS_OBJECT(report), "report data must be an object");
	clinical_validate(instrument, report, verdict);
}

/* A text of that many bytes. */
static Datum
text_datum(const char *value, int length)
{
	return PointerGetDatum(cstring_to_text_with_len(value, length));
}

/* One row of the result, empty but for its kind. */
static void
begin_row(const char *kind, Datum *values, bool *nulls)
{
	memset(nulls, true, NCOLUMNS * sizeof(bool));
	values[COLUMN_KIND] = CStringGetTextDatum(kind);
	nulls[COLUMN_KIND] = false;
}

/* Set a text of a row, unless it is NULL. */
static void
set_text(Datum *values, bool *nulls, int column, const char *value)
{
	if (value == NULL)
		return;
	values[column] = CStringGetTextDatum(value);
	nulls[column] = false;
}

/* What an observation's value is in SQL. */
static void
set_value(Datum *values, bool *nulls, const ClinicalItem *item, const ClinicalValue *value)
{
	ClinicalValueColumns columns;

	clinical_value_columns(item, value, &columns);
	nulls[COLUMN_VALUE] = columns.number == NULL;
	values[COLUMN_VALUE] = NumericGetDatum(columns.number);
	nulls[COLUMN_VALUE_TEXT] = columns.text == NULL;
	if (columns.text != NULL)
		values[COLUMN_VALUE_TEXT] = text_datum(columns.text, columns.length);
	set_text(values, nulls, COLUMN_VALUE_CODE, columns.code);
	nulls[COLUMN_UNIT] = columns.unit == NULL;
	if (columns.unit != NULL)
		values[COLUMN_UNIT] = text_datum(columns.unit, columns.unit_length);
}

/* The row of an observation. */
static void
put_observation(ReturnSetInfo *result, const ClinicalObservation *observation)
{
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS];

	begin_row("observation", values, nulls);
	set_text(values, nulls, COLUMN_ITEM, observation->item->code);
	set_text(values, nulls, COLUMN_REPEAT_KEY, observation->repeat_key);
	if (observation->value != NULL)
		set_value(values, nulls, observation->item, observation->value);
	else
	{
		values[COLUMN_ABSENT] = text_datum(observation->absent, observation->absent_length);
		nulls[COLUMN_ABSENT] = false;
	}
	set_text(values, nulls, COLUMN_SOFT_HARD, observation->flagged ? "Soft" : NULL);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* The row of a score. */
static void
put_score(ReturnSetInfo *result, const ClinicalScored *scored)
{
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS];

	begin_row("score", values, nulls);
	set_text(values, nulls, COLUMN_ITEM, scored->score->code);
	set_text(values, nulls, COLUMN_UNIT, scored->score->unit);
	nulls[COLUMN_VALUE] = scored->value == NULL;
	values[COLUMN_VALUE] = NumericGetDatum(scored->value);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* A path as an array of texts. */
static Datum
path_array(List *path)
{
	Datum	   *elements = palloc_array(Datum, list_length(path) + 1);
	int			count = 0;
	ListCell   *lc;

	foreach(lc, path)
		elements[count++] = CStringGetTextDatum((char *) lfirst(lc));
	return PointerGetDatum(construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/* The row of a finding. */
static void
put_finding(ReturnSetInfo *result, const ClinicalFinding *finding)
{
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS];

	begin_row("finding", values, nulls);
	set_text(values, nulls, COLUMN_ITEM, finding->item == NULL ? NULL : finding->item->code);
	set_text(values, nulls, COLUMN_SOFT_HARD, finding->hard ? "Hard" : "Soft");
	set_text(values, nulls, COLUMN_REASON_CODE, finding->reason);
	set_text(values, nulls, COLUMN_CHECK_ID, finding->check);
	set_text(values, nulls, COLUMN_MESSAGE, finding->message);
	values[COLUMN_PATH] = path_array(finding->path);
	nulls[COLUMN_PATH] = false;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* SQL: the observations that a report would make, its scores, and what is wrong with it. */
Datum
clinical_validate_report(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "clinical validation", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer;
	ClinicalVerdict verdict;

	InitMaterializedSRF(fcinfo, 0);
	outer = MemoryContextSwitchTo(context);
	validate_args(fcinfo, &verdict);
	for (int i = 0; i < verdict.nobservations; i++)
		put_observation(result, &verdict.observations[i]);
	for (int i = 0; i < verdict.nscored; i++)
		put_score(result, &verdict.scored[i]);
	for (int i = 0; i < verdict.nfindings; i++)
		put_finding(result, &verdict.findings[i]);
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(context);
	return (Datum) 0;
}

/* SQL: has a report no hard finding? */
Datum
clinical_report_is_valid(PG_FUNCTION_ARGS)
{
	ClinicalVerdict verdict;

	validate_args(fcinfo, &verdict);
	PG_RETURN_BOOL(verdict.valid);
}
