/*-------------------------------------------------------------------------
 *
 * report_item_by.c
 *		Table "items_by": the statistics of items by the code of another item of
 *		the same report, such as the visit; for the one that options.item_by
 *		names.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "report_item.h"

/* The columns of the query */
enum
{
	COLUMN_SETS = 1, COLUMN_BY, COLUMN_ITEM, COLUMN_UNIT, COLUMN_CODE, COLUMN_ROWS, COLUMN_N, COLUMN_DECIMALS, COLUMN_FIGURES
};

/*
 * $7: {"item": whose codes, "units": {item: its unit, of those that are numbers}}.  Values are counted in
 * parallel; what describes them reads what came out.  Rows without a number and a unit are counted
 * with those of the unit that report_item_rows.c says.
 */
static const char query[] =
"WITH asked AS (SELECT $7 OPERATOR(pg_catalog.->>) 'item' AS item, $7 OPERATOR(pg_catalog.->) 'units' AS units),"
" visit AS MATERIALIZED ("
"    SELECT o.patient_id, o.submission_id, o.repeat_key, o.value_code AS code"
"      FROM clinical.observation o"
"      JOIN clinical.report_patient($1, $2, $6) p ON p.patient_id OPERATOR(pg_catalog.=) o.patient_id"
"     WHERE o.item OPERATOR(pg_catalog.=) (SELECT a.item FROM asked a) AND o.value_code IS NOT NULL AND o.absent IS NULL"
"       AND " CLINICAL_ITEM_HOLDS "),"
" counted AS MATERIALIZED ("
"    SELECT p.\"by\", o.item, o.unit, v.code, CASE WHEN o.absent IS NULL THEN o.value END AS value, pg_catalog.count(*) AS count"
"      FROM clinical.observation o"
"      JOIN visit v ON v.patient_id OPERATOR(pg_catalog.=) o.patient_id AND v.submission_id OPERATOR(pg_catalog.=) o.submission_id"
"           AND (v.repeat_key IS NULL OR v.repeat_key OPERATOR(pg_catalog.=) o.repeat_key)"
"      JOIN clinical.report_patient($1, $2, $6) p ON p.patient_id OPERATOR(pg_catalog.=) o.patient_id"
"     WHERE o.item OPERATOR(pg_catalog.<>) (SELECT a.item FROM asked a) AND " CLINICAL_ITEM_HOLDS
/* 3 and 3.0 are equal: the decimals must not depend on which of them comes first */
"     GROUP BY 1, 2, 3, 4, 5, pg_catalog.scale(CASE WHEN o.absent IS NULL THEN o.value END)),"
" home AS ("
"    SELECT c.item, CASE WHEN pg_catalog.bool_or(c.value IS NOT NULL AND c.unit IS NULL) THEN NULL"
"                        WHEN pg_catalog.bool_or(c.value IS NOT NULL AND c.unit OPERATOR(pg_catalog.=) (a.units OPERATOR(pg_catalog.->>) c.item))"
"                             OR NOT pg_catalog.bool_or(c.value IS NOT NULL) THEN a.units OPERATOR(pg_catalog.->>) c.item"
"                        ELSE pg_catalog.min(c.unit COLLATE \"C\") FILTER (WHERE c.value IS NOT NULL) END AS unit"
"      FROM counted c CROSS JOIN asked a"
"     GROUP BY c.item, a.units"
"    HAVING pg_catalog.bool_or(c.value IS NOT NULL) OR a.units OPERATOR(pg_catalog.?) c.item),"
" placed AS ("
"    SELECT c.\"by\", c.item, COALESCE(c.unit, h.unit) AS unit, c.code, c.value, c.count"
"      FROM counted c JOIN home h ON h.item OPERATOR(pg_catalog.=) c.item)"
" SELECT d.sets, d.\"by\", d.item, d.unit, d.code, d.n, (d.d).n, d.decimals, (d.d).mean, (d.d).sd, (d.d).min, (d.d).q1, (d.d).median, (d.d).q3, (d.d).max"
"   FROM (SELECT GROUPING(p.\"by\") AS sets, p.\"by\", p.item, p.unit, p.code, pg_catalog.sum(p.count)::pg_catalog.int8 AS n,"
"                clinical.describe(p.value, p.count) AS d, COALESCE(pg_catalog.max(pg_catalog.scale(p.value)), 0) AS decimals"
"           FROM placed p"
"          GROUP BY GROUPING SETS ((p.item, p.unit, p.code), (p.\"by\", p.item, p.unit, p.code))) d"
"  ORDER BY d.sets DESC, d.\"by\", d.item COLLATE \"C\", d.unit COLLATE \"C\" NULLS FIRST, d.code COLLATE \"C\"";

/* The argument of the query. */
static Jsonb *
make_argument(const ClinicalReportScope *scope, const ItemLabels *labels)
{
	JsonbParseState *state = NULL;
	JsonbValue	object;
	JsonbValue	buffer;

	clinical_json_value(scope->item_by, &object);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	clinical_json_put(&state, "item", clinical_json_get(&object, "item", &buffer));
	clinical_json_key(&state, "units");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < labels->count; i++)
	{
		if (labels->labels[i].code == NULL && labels->labels[i].numeric)
			clinical_item_put_string(&state, labels->labels[i].item, labels->labels[i].unit);
	}
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Put a row of the query. */
static void
put_row(JsonbParseState **state, const ClinicalReportScope *scope, const ItemPass *pass, uint64 row)
{
	char	   *item = clinical_item_get_string(row, COLUMN_ITEM);
	char	   *code = clinical_item_get_string(row, COLUMN_CODE);
	uint32		by = clinical_item_get_group(&pass->scope, row, COLUMN_BY, clinical_item_get_number(row, COLUMN_SETS) != 0);
	JsonbValue	object;
	JsonbValue	buffer;
	const JsonbValue *visit;
	const ItemLabel *label;
	ClinicalDescription description;

	if (by != 0 && !pass->scope.is_split)
		return;
	clinical_json_value(scope->item_by, &object);
	visit = clinical_json_get(&object, "item", &buffer);
	label = clinical_item_label(&pass->labels, pnstrdup(visit->val.string.val, visit->val.string.len), code);
	clinical_item_get_figures(row, COLUMN_FIGURES, &description);
	description.n = clinical_item_get_number(row, COLUMN_N);
	description.decimals = (int) clinical_item_get_number(row, COLUMN_DECIMALS);
	clinical_item_put_row(state, &pass->scope, by, item, clinical_item_label(&pass->labels, item, NULL));
	clinical_item_put_string(state, "unit", clinical_item_get_string(row, COLUMN_UNIT));
	clinical_item_put_string(state, "code", code);
	clinical_item_put_string(state, "code_label", label == NULL ? NULL : label->label);
	clinical_item_put_figures(state, (uint64) clinical_item_get_number(row, COLUMN_ROWS), &description);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* ClinicalReportTable: the rows of "items_by"; NULL: nobody asked for them. */
Jsonb *
clinical_item_by_rows(const ClinicalReportScope *scope)
{
	const ItemPass *pass;
	JsonbParseState *state = NULL;
	MemoryContext caller = CurrentMemoryContext;
	Jsonb	   *argument;

	if (scope->item_by == NULL)
		return NULL;
	pass = clinical_item_pass(scope);
	argument = make_argument(scope, &pass->labels);
	SPI_connect();
	clinical_item_query(query, clinical_item_params(scope, JSONBOID, JsonbPGetDatum(argument)), NULL);
	MemoryContextSwitchTo(caller);
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		CHECK_FOR_INTERRUPTS();
		put_row(&state, scope, pass, i);
	}
	SPI_finish();
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}
