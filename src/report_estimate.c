/*-------------------------------------------------------------------------
 *
 * report_estimate.c
 *		Does the planner know how much there is to read?
 *
 * Where nothing was analyzed yet, or nothing since a project came, the planner takes its
 * patients for one or two, and loops over all the others for each of them: a report
 * on 400 patients that were enrolled a moment ago was not ready after ten minutes.
 * So what it expects is compared with what was counted, and where it is far off, the
 * report does without nested loops: then it reads as if there were many.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/plannodes.h"
#include "parser/analyze.h"
#include "tcop/tcopprot.h"

#include "report.h"

/* So many times as many rows as were expected are too many */
#define FAR_OFF 3

/* What a report reads, and what the planner is asked; the parameters are those of a table's function */
static const struct
{
	const char *name;			/* of the number in report_size */
	const char *sql;
}			reads[] = {
	{"patients", "SELECT FROM clinical.patient p WHERE p.project_id OPERATOR(pg_catalog.=) $1 AND p.center_id OPERATOR(pg_catalog.=) ANY ($2)"},
	{"submissions", "SELECT FROM clinical.submission s WHERE s.project_id OPERATOR(pg_catalog.=) $1"},
	{"observations", "SELECT FROM clinical.observation o"},
};

/* The rows that the planner expects of a query. */
static double
expected_rows(const char *sql, ParamListInfo params)
{
	const Oid	types[] = {INT8OID, INT8ARRAYOID};
	RawStmt    *statement = linitial_node(RawStmt, pg_parse_query(sql));
	Query	   *query = linitial_node(Query, pg_analyze_and_rewrite_fixedparams(statement, sql, types, lengthof(types), NULL));

	return pg_plan_query(query, sql, 0, params)->planTree->plan_rows;
}

/* Does the planner expect far less than there is? */
bool
clinical_report_underestimated(ParamListInfo params, Jsonb *size)
{
	for (int i = 0; i < (int) lengthof(reads); i++)
	{
		if (clinical_json_number(size, reads[i].name) > FAR_OFF * expected_rows(reads[i].sql, params))
			return true;
	}
	return false;
}
