/*-------------------------------------------------------------------------
 *
 * observation.c
 *		Reports that were accepted and what was observed: who may change what.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/uuid.h"

#include "observation.h"
#include "observe.h"

PG_FUNCTION_INFO_V1(clinical_submission_check);
PG_FUNCTION_INFO_V1(clinical_withdraw_submission);
PG_FUNCTION_INFO_V1(clinical_correct_observation);

/* What clinical.check() tests of reports and observations */
const ClinicalInvariant clinical_observation_invariants[] = {
	{"report has its observations",
		"SELECT s.id::pg_catalog.text, 'there are more or fewer observations than were stored'"
		"  FROM clinical.submission s"
		"  LEFT JOIN (SELECT o.patient_id, o.submission_id, pg_catalog.count(*) AS present FROM clinical.observation o"
		"              WHERE o.version OPERATOR(pg_catalog.=) 1 GROUP BY o.patient_id, o.submission_id) p"
		"    ON p.patient_id OPERATOR(pg_catalog.=) s.patient_id AND p.submission_id OPERATOR(pg_catalog.=) s.id"
	" WHERE s.observations OPERATOR(pg_catalog.<>) COALESCE(p.present, 0)"},
	{"observation has its report",
		"SELECT o.id::pg_catalog.text, 'there is no such report of the patient'"
		"  FROM clinical.observation o"
		" WHERE NOT EXISTS (SELECT FROM clinical.submission s"
	"                    WHERE s.patient_id OPERATOR(pg_catalog.=) o.patient_id AND s.id OPERATOR(pg_catalog.=) o.submission_id)"},
	{"observation is of its report's day",
		"SELECT o.id::pg_catalog.text, 'captured_at or local_day differ from those of the report'"
		"  FROM clinical.observation o"
		"  JOIN clinical.submission s ON s.patient_id OPERATOR(pg_catalog.=) o.patient_id AND s.id OPERATOR(pg_catalog.=) o.submission_id"
		" WHERE o.captured_at OPERATOR(pg_catalog.<>) s.captured_at OR o.local_day OPERATOR(pg_catalog.<>) s.local_day"
		"    OR s.local_day OPERATOR(pg_catalog.<>)"
	"       pg_catalog.timezone(s.time_zone, s.captured_at)::pg_catalog.date"},
	{"observation's versions have no gap",
		"SELECT o.id::pg_catalog.text, 'versions are missing'"
		"  FROM clinical.observation o GROUP BY o.patient_id, o.item, o.captured_at, o.id"
	" HAVING pg_catalog.max(o.version) OPERATOR(pg_catalog.<>) pg_catalog.count(*)"},
};
const int	clinical_observation_ninvariants = lengthof(clinical_observation_invariants);

/*
 * What verify_audit compares besides the tables one by one: the observations of
 * version 1 with the digests that the reports, and so the trail, have of them.
 */
ClinicalPlan clinical_observation_comparison = {
	"SELECT 'row differs from the trail',"
	"       pg_catalog.concat('submission ', pg_catalog.jsonb_build_object('patient_id', COALESCE(s.patient_id, o.patient_id),"
	"                                        'id', COALESCE(s.id, o.submission_id))::pg_catalog.text),"
	"       CASE WHEN s.id IS NULL THEN 'there are observations of it, and the trail knows no such report'"
	"            WHEN COALESCE(o.present, 0) OPERATOR(pg_catalog.>) s.observations THEN 'it has observations that the trail does not know'"
	"            WHEN COALESCE(o.present, 0) OPERATOR(pg_catalog.<) s.observations THEN 'observations of it are gone, which the trail does not know'"
	"            ELSE 'its observations are not those that the trail knows' END"
	"  FROM clinical.submission s"
	"  FULL JOIN (SELECT n.patient_id, n.submission_id, pg_catalog.count(*) AS present, clinical.observation_digest(n.*) AS digest"
	"               FROM clinical.observation n WHERE n.version OPERATOR(pg_catalog.=) 1 GROUP BY n.patient_id, n.submission_id) o"
	"    ON o.patient_id OPERATOR(pg_catalog.=) s.patient_id AND o.submission_id OPERATOR(pg_catalog.=) s.id"
	" WHERE s.id IS NULL OR COALESCE(o.present, 0) OPERATOR(pg_catalog.<>) s.observations"
	"    OR COALESCE(o.digest, pg_catalog.sha256('')) OPERATOR(pg_catalog.<>) s.observations_digest"
	" ORDER BY COALESCE(s.patient_id, o.patient_id), COALESCE(s.id, o.submission_id) LIMIT 100"
};

/* The columns of a report that may change once it is accepted */
static const char *const constant_columns[] = {
	"patient_id", "id", "project_id", "version_id", "captured_at", "local_day", "time_zone", "received_at", "processed_at",
	"originator", "device_id", "login", "actor", "trace_parent", "digest", "observations", "observations_digest",
	"report_data"
};

/* Has anything changed that never does? */
static bool
changes_content(const ClinicalRow *row)
{
	for (int i = 0; i < (int) lengthof(constant_columns); i++)
	{
		if (clinical_column_changed(row, constant_columns[i]))
			return true;
	}
	return false;
}

/* Trigger: nobody but the server adds reports or withdraws them. */
Datum
clinical_submission_check(PG_FUNCTION_ARGS)
{
	ClinicalRow row;

	clinical_load_row(fcinfo, &row, NULL, 0);
	if (!clinical_as_is() &&
		(!clinical_server_writes() || row.new_tuple == NULL || (row.old_tuple != NULL && changes_content(&row))))
		clinical_refuse_write("submission");
	PG_RETURN_POINTER(row.new_tuple != NULL ? row.new_tuple : row.old_tuple);
}

/* The error of who asks for what is not there, or is not for him to see. */
CLINICAL_NORETURN static void
not_found(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("%s not found", what)));
}

/* The error of a report that was withdrawn. */
CLINICAL_NORETURN static void
is_withdrawn(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("submission was withdrawn")));
}

/* May the caller see that report?  Decided by the caller's own rights. */
static void
require_visible(Datum *key)
{
	static ClinicalPlan plan = {
		"SELECT true FROM clinical.submission s"
		" WHERE s.patient_id OPERATOR(pg_catalog.=) $1 AND s.id OPERATOR(pg_catalog.=) $2",
		2, {TEXTOID, UUIDOID}
	};
	Datum		ignored;

	if (!clinical_fetch(&plan, key, NULL, true, &ignored))
		not_found("submission");
}

/* SQL: an accepted report no longer holds. */
Datum
clinical_withdraw_submission(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"UPDATE clinical.submission AS s SET status = 'withdrawn', reason = $3"
		" WHERE s.patient_id OPERATOR(pg_catalog.=) $1 AND s.id OPERATOR(pg_catalog.=) $2"
		"   AND s.status OPERATOR(pg_catalog.=) 'accepted'"
		" RETURNING (s.*)::clinical.submission, s.project_id",
		3, {TEXTOID, UUIDOID, TEXTOID}
	};
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[3];
	Datum		row = (Datum) 0;
	bool		isnull;

	values[0] = PointerGetDatum(clinical_text_arg(fcinfo, 0, "patient id is required"));
	clinical_require_arg(!PG_ARGISNULL(1), "submission id is required");
	values[1] = PG_GETARG_DATUM(1);
	values[2] = PointerGetDatum(clinical_reason_arg(fcinfo, 2));
	require_visible(values);
	SPI_connect();
	clinical_server_execute(&plan, values, NULL);
	if (SPI_processed == 0)
		is_withdrawn();
	row = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	clinical_count(CLINICAL_COUNT_WITHDRAWN, DatumGetInt64(clinical_result(0, 2)), 1);
	MemoryContextSwitchTo(caller);
	row = SPI_datumTransfer(row, false, -1);
	SPI_finish();
	return row;
}

/* What is to be corrected */
typedef struct Target
{
	int64		version_id;
	bool		accepted;
	bool		is_score;
	char	   *item;
} Target;

/* Find the last version of an observation that the caller may see; locks its report. */
static void
find_target(Datum *key, Target *target)
{
	static ClinicalPlan find = {
		"SELECT o.submission_id FROM clinical.observation o"
		" WHERE o.patient_id OPERATOR(pg_catalog.=) $1 AND o.id OPERATOR(pg_catalog.=) $2 LIMIT 1",
		2, {TEXTOID, UUIDOID}
	};
	static ClinicalPlan lock = {
		"SELECT s.version_id, s.status OPERATOR(pg_catalog.=) 'accepted', o.is_score, o.item"
		"  FROM clinical.submission s"
		"  JOIN clinical.observation o ON o.patient_id OPERATOR(pg_catalog.=) s.patient_id"
		"   AND o.submission_id OPERATOR(pg_catalog.=) s.id"
		" WHERE o.patient_id OPERATOR(pg_catalog.=) $1 AND o.id OPERATOR(pg_catalog.=) $2"
		"   AND o.version OPERATOR(pg_catalog.=) 1 FOR NO KEY UPDATE OF s",
		2, {TEXTOID, UUIDOID}
	};
	Datum		ignored;
	bool		isnull;

	if (!clinical_fetch(&find, key, NULL, true, &ignored))
		not_found("observation");
	clinical_owner_execute(&lock, key, NULL, false);
	if (SPI_processed != 1)
		not_found("observation");
	target->version_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	target->accepted = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	target->is_score = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull));
	target->item = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4);
}

/* Read a number as JSON writes it; the server's own message would show the value. */
static bool
read_number(const char *string, JsonbValue *json)
{
	size_t		length = strlen(string);

	if (length > 100 || strspn(string, "0123456789.-") != length || strspn(string + 1, "0123456789.") + 1 != length ||
		strspn(string + (string[0] == '-'), "0123456789") == 0 || string[length - 1] == '.' ||
		strchr(string, '.') != strrchr(string, '.'))
		return false;
	json->type = jbvNumeric;
	json->val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(string),
															ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	return true;
}

/* The corrected value as JSON: a number or a boolean where the item has them, else a text. */
static void
read_literal(ClinicalItemType type, text *literal, JsonbValue *json)
{
	char	   *string = text_to_cstring(literal);

	json->type = jbvString;
	json->val.string.val = string;
	json->val.string.len = (int) strlen(string);
	if (type == CLINICAL_ITEM_INTEGER || type == CLINICAL_ITEM_DECIMAL || type == CLINICAL_ITEM_QUANTITY)
		(void) read_number(string, json);
	if (type == CLINICAL_ITEM_BOOLEAN && (strcmp(string, "true") == 0 || strcmp(string, "false") == 0))
	{
		json->type = jbvBool;
		json->val.boolean = string[0] == 't';
	}
}

/* Check a corrected value; an error without it if the item cannot have it. */
static void
read_correction(const Target *target, text *literal, ClinicalValueColumns *columns)
{
	const ClinicalInstrument *instrument = clinical_instrument_cached(target->version_id);
	const ClinicalItem *item = clinical_instrument_item(instrument, target->item, (int) strlen(target->item));
	ClinicalValue value;
	ClinicalFault fault = {"wrong_type", "type"};
	JsonbValue	json;

	memset(columns, 0, sizeof(*columns));
	if (target->is_score && read_number(text_to_cstring(literal), &json))
	{
		columns->number = json.val.numeric;
		return;
	}
	if (item != NULL)
		read_literal(item->type, literal, &json);
	if (item == NULL || !clinical_value_read(instrument, item, &json, &value, &fault))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the item cannot have that value"),
				 errdetail("The reason is \"%s\".", fault.reason)));
	for (int i = 0; i < item->nchecks; i++)
	{
		const ClinicalCheck *check = &item->checks[i];

		if (check->hard && !clinical_value_satisfies(item, &value, check->comparator, check->values, check->nvalues))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the item cannot have that value"),
					 errdetail("The hard check \"%s\" finds fault with it.", check->id)));
	}
	clinical_value_columns(item, &value, columns);
}

/* Pass a text of that length as an argument, or NULL. */
static void
pass_text(Datum *values, char *nulls, int argno, const char *string, int length)
{
	nulls[argno] = string == NULL ? 'n' : ' ';
	values[argno] = string == NULL ? (Datum) 0 : PointerGetDatum(cstring_to_text_with_len(string, length));
}

/* Add the next version, unless somebody did whom the snapshot does not see. */
static void
add_version(ClinicalPlan *plan, Datum *values, const char *nulls)
{
	MemoryContext caller = CurrentMemoryContext;

	PG_TRY();
	{
		clinical_server_execute(plan, values, nulls);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		if (error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION && IsolationUsesXactSnapshot())
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to concurrent update")));
		ReThrowError(error);
	}
	PG_END_TRY();
}

/* SQL: the next version of an observation. */
Datum
clinical_correct_observation(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"INSERT INTO clinical.observation AS n (patient_id, item, captured_at, id, version, submission_id, repeat_key, local_day,"
		"        value, value_text, value_code, unit, is_score, flagged, reason, recorded_at, recorded_by, actor)"
		" SELECT o.patient_id, o.item, o.captured_at, o.id, o.version OPERATOR(pg_catalog.+) 1, o.submission_id, o.repeat_key,"
		"        o.local_day, $3, $4, $5, COALESCE(o.unit, $6), o.is_score, false, $7, pg_catalog.clock_timestamp(), SESSION_USER,"
		"        $8"
		"   FROM clinical.observation o"
		"  WHERE o.patient_id OPERATOR(pg_catalog.=) $1 AND o.id OPERATOR(pg_catalog.=) $2"
		"  ORDER BY o.version DESC LIMIT 1"
		" RETURNING (n.*)::clinical.observation",
		8, {TEXTOID, UUIDOID, NUMERICOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID}
	};
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[8];
	char		nulls[8];
	ClinicalValueColumns columns;
	Target		target;
	text	   *literal;
	Datum		row;
	bool		isnull;

	values[0] = PointerGetDatum(clinical_text_arg(fcinfo, 0, "patient id is required"));
	clinical_require_arg(!PG_ARGISNULL(1), "observation id is required");
	values[1] = PG_GETARG_DATUM(1);
	literal = clinical_text_arg(fcinfo, 2, "value is required");
	memset(nulls, ' ', sizeof(nulls));
	values[6] = PointerGetDatum(clinical_reason_arg(fcinfo, 3));
	values[7] = PointerGetDatum(clinical_actor_in_force());
	nulls[7] = values[7] == 0 ? 'n' : ' ';
	SPI_connect();
	find_target(values, &target);
	if (!target.accepted)
		is_withdrawn();
	read_correction(&target, literal, &columns);
	nulls[2] = columns.number == NULL ? 'n' : ' ';
	values[2] = NumericGetDatum(columns.number);
	pass_text(values, nulls, 3, columns.text, columns.length);
	pass_text(values, nulls, 4, columns.code, columns.code == NULL ? 0 : (int) strlen(columns.code));
	pass_text(values, nulls, 5, columns.unit, columns.unit_length);
	add_version(&plan, values, nulls);
	row = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	MemoryContextSwitchTo(caller);
	row = SPI_datumTransfer(row, false, -1);
	SPI_finish();
	return row;
}
