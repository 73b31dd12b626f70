/*-------------------------------------------------------------------------
 *
 * instrument.c
 *		Instruments, their versions, and which projects use them: the
 *		functions and the rules of the rows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/memutils.h"

#include "instrument.h"
#include "project.h"

PG_FUNCTION_INFO_V1(clinical_instrument_version_check);
PG_FUNCTION_INFO_V1(clinical_project_instrument_check);
PG_FUNCTION_INFO_V1(clinical_create_instrument);
PG_FUNCTION_INFO_V1(clinical_instrument_json);
PG_FUNCTION_INFO_V1(clinical_use_instrument);
PG_FUNCTION_INFO_V1(clinical_drop_instrument);
PG_FUNCTION_INFO_V1(clinical_instrument_in_force);

/* What clinical.check() tests of instruments */
const ClinicalInvariant clinical_instrument_invariants[] = {
	{"instrument version is of the definition's code and version",
		"SELECT v.id::pg_catalog.text, 'code or version differ from the definition'"
		"  FROM clinical.instrument_version v"
		" WHERE (v.instrument OPERATOR(pg_catalog.=) (v.definition OPERATOR(pg_catalog.->>) 'code')"
	"   AND v.version OPERATOR(pg_catalog.=) (v.definition OPERATOR(pg_catalog.->>) 'version')) IS NOT TRUE"},
	{"project uses versions of its own instruments",
		"SELECT u.id::pg_catalog.text, 'version is of another instrument'"
		"  FROM clinical.project_instrument_version u"
		"  JOIN clinical.instrument_version v ON v.id OPERATOR(pg_catalog.=) u.version_id"
	" WHERE v.instrument OPERATOR(pg_catalog.<>) u.instrument"},
};
const int	clinical_instrument_ninvariants = lengthof(clinical_instrument_invariants);

/* Raise the error of an instrument, or a version of it, that is not there. */
CLINICAL_NORETURN static void
instrument_not_found(text *code, text *version)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("instrument not found"),
			 version == NULL ?
			 errdetail("There is no instrument with the code \"%s\".", text_to_cstring(code)) :
			 errdetail("There is no version \"%s\" of an instrument with the code \"%s\".",
					   text_to_cstring(version), text_to_cstring(code))));
}

/* The same for an instrument that a project does not use (NULL: no default). */
void
clinical_instrument_not_used(text *code)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 code == NULL ? errmsg("project has no default instrument") :
			 errmsg("project does not use the instrument"),
			 code == NULL ? 0 : errdetail("The instrument is \"%s\".", text_to_cstring(code))));
}

/* The id of a version (NULL: the one that was made last) of an instrument; an error if there is none. */
int64
clinical_instrument_version_id(text *code, text *version, bool read_only)
{
	static ClinicalPlan plan = {
		"SELECT v.id FROM clinical.instrument_version v"
		" WHERE v.instrument OPERATOR(pg_catalog.=) $1 AND ($2 IS NULL OR v.version OPERATOR(pg_catalog.=) $2)"
		" ORDER BY v.id DESC LIMIT 1",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {PointerGetDatum(code), PointerGetDatum(version)};
	char		nulls[2] = {' ', version == NULL ? 'n' : ' '};
	Datum		id;

	if (!clinical_fetch(&plan, values, nulls, read_only, &id))
		instrument_not_found(code, version);
	return DatumGetInt64(id);
}

/* Trigger: a version is sound, is of its instrument, says who made it when, and never changes. */
Datum
clinical_instrument_version_check(PG_FUNCTION_ARGS)
{
	ClinicalRow row;
	bool		isnull;
	Datum		definition;
	ClinicalInstrument *instrument;
	char	   *code;
	char	   *version;

	clinical_load_row(fcinfo, &row, "instrument_version", CLINICAL_BEFORE_ROW);
	if (clinical_as_is())
		PG_RETURN_POINTER(row.new_tuple);
	if (row.old_tuple != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("versions of an instrument never change"),
				 errhint("Create a version with another name.")));
	definition = clinical_column(&row, row.new_tuple, "definition", &isnull);
	clinical_require_arg(!isnull, "instrument definition is required");
	instrument = clinical_instrument_compile(DatumGetJsonbP(definition), CurrentMemoryContext, CLINICAL_BAD_DEFINITION);
	code = clinical_text_column(&row, row.new_tuple, "instrument");
	version = clinical_text_column(&row, row.new_tuple, "version");
	clinical_require_arg(code != NULL && strcmp(code, instrument->code) == 0 &&
						 version != NULL && strcmp(version, instrument->version) == 0,
						 "instrument and version must be those of the definition");
	clinical_set_column(&row, "definition",
						PointerGetDatum(clinical_instrument_canonical(DatumGetJsonbP(definition))), false);
	clinical_stamp_row(&row);
	MemoryContextDelete(instrument->context);
	PG_RETURN_POINTER(row.new_tuple);
}

/* Trigger: from when a project uses a version is told once, and by whom is for the server to say. */
Datum
clinical_project_instrument_check(PG_FUNCTION_ARGS)
{
	ClinicalRow row;

	clinical_load_row(fcinfo, &row, "project_instrument_version", CLINICAL_BEFORE_ROW);
	if (!clinical_as_is())
		clinical_stamp_row(&row);
	PG_RETURN_POINTER(row.new_tuple);
}

/* Insert the instrument and its version, unless they are there; false if the version is. */
static bool
insert_version(Datum *values, Datum *result)
{
	static ClinicalPlan instrument = {
		"INSERT INTO clinical.instrument (code) VALUES ($1) ON CONFLICT (code) DO NOTHING RETURNING true",
		1, {TEXTOID}
	};
	static ClinicalPlan version = {
		"INSERT INTO clinical.instrument_version AS v (instrument, version, definition) VALUES ($1, $2, $3)"
		" ON CONFLICT (instrument, version) DO NOTHING RETURNING (v.*)::clinical.instrument_version",
		3, {TEXTOID, TEXTOID, JSONBOID}
	};
	Datum		ignored;

	(void) clinical_fetch(&instrument, values, NULL, false, &ignored);
	CLINICAL_FAULT("instrument_created");
	return clinical_fetch(&version, values, NULL, false, result);
}

/* Create a version of an instrument, or find the one that was created so before; its row. */
Datum
clinical_instrument_create(Jsonb *definition, const char *message)
{
	static ClinicalPlan same = {
		"SELECT (v.*)::clinical.instrument_version FROM clinical.instrument_version v"
		" WHERE v.instrument OPERATOR(pg_catalog.=) $1 AND v.version OPERATOR(pg_catalog.=) $2"
		"   AND v.definition OPERATOR(pg_catalog.=) $3",
		3, {TEXTOID, TEXTOID, JSONBOID}
	};
	ClinicalInstrument *instrument = clinical_instrument_compile(definition, CurrentMemoryContext, message);
	Datum		values[3];
	Datum		row;

	values[0] = CStringGetTextDatum(instrument->code);
	values[1] = CStringGetTextDatum(instrument->version);
	values[2] = PointerGetDatum(clinical_instrument_canonical(definition));
	MemoryContextDelete(instrument->context);
	if (!insert_version(values, &row) && !clinical_fetch(&same, values, NULL, false, &row))
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("instrument version already exists with different content"),
				 errdetail("The instrument is \"%s\", the version \"%s\".",
						   TextDatumGetCString(values[0]), TextDatumGetCString(values[1]))));
	return row;
}

/* SQL: create a version of an instrument, or return the one that was created so before. */
Datum
clinical_create_instrument(PG_FUNCTION_ARGS)
{
	clinical_require_arg(!PG_ARGISNULL(0), "instrument definition is required");
	return clinical_instrument_create(PG_GETARG_JSONB_P(0), CLINICAL_BAD_DEFINITION);
}

/* SQL: the definition of a version of an instrument. */
Datum
clinical_instrument_json(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"SELECT v.definition FROM clinical.instrument_version v WHERE v.id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	text	   *code = clinical_text_arg(fcinfo, 0, "instrument is required");
	text	   *version = clinical_optional_arg(fcinfo, 1);
	Datum		id = Int64GetDatum(clinical_instrument_version_id(code, version, true));
	Datum		definition;

	if (!clinical_fetch(&plan, &id, NULL, true, &definition))
		instrument_not_found(code, version);
	return definition;
}

/*
 * Say which version of an instrument a project uses from a day on.  NULL for
 * the day: from now on, by the project's calendar; of the first version: ever
 * since.
 */
static void
tell_version(Datum project_id, Datum code, Datum version_id, FunctionCallInfo fcinfo, int day_argno)
{
	static ClinicalPlan plan = {
		"INSERT INTO clinical.project_instrument_version (project_id, instrument, effective_from, version_id)"
		" SELECT p.id, $2, COALESCE($4,"
		"        CASE WHEN EXISTS (SELECT FROM clinical.project_instrument_version o"
		"                           WHERE o.project_id OPERATOR(pg_catalog.=) p.id"
		"                             AND o.instrument OPERATOR(pg_catalog.=) $2)"
		"             THEN pg_catalog.timezone(p.time_zone, pg_catalog.now())::pg_catalog.date"
		"             ELSE '-infinity'::pg_catalog.date END), $3"
		"  FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) $1 RETURNING true",
		4, {INT8OID, TEXTOID, INT8OID, DATEOID}
	};
	bool		has_day = !PG_ARGISNULL(day_argno);
	Datum		values[4] = {project_id, code, version_id, has_day ? PG_GETARG_DATUM(day_argno) : (Datum) 0};
	char		nulls[4] = {' ', ' ', ' ', has_day ? ' ' : 'n'};
	Datum		ignored;

	clinical_require_arg(!has_day || !DATE_NOT_FINITE(DatumGetDateADT(values[3])), "effective day must be finite");
	(void) clinical_fetch(&plan, values, nulls, false, &ignored);
}

/* Which instrument is the default, and since when which version is used, is changed by one at a time. */
static void
lock_project(Datum project_id)
{
	static ClinicalPlan plan = {
		"SELECT p.id FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
		1, {INT8OID}
	};
	Datum		ignored;

	(void) clinical_owner_fetch(&plan, &project_id, NULL, false, &ignored);
}

/*
 * Observations are known by the code of their item, as an ItemOID is one in a study.
 * Warn of an item that is another one in another instrument of the project: reports
 * and rules would take both for one.
 */
static void
warn_of_homonym(const Datum *values, Datum version_id)
{
	static ClinicalPlan plan = {
		"SELECT ARRAY[i.item, o.instrument] FROM clinical.instrument_item i JOIN clinical.instrument_item o ON o.item OPERATOR(pg_catalog.=) i.item"
		" WHERE i.version_id OPERATOR(pg_catalog.=) $3 AND o.version_id OPERATOR(pg_catalog.=) ANY (ARRAY("
		"        SELECT v.version_id FROM clinical.project_instrument_version v"
		"         WHERE v.project_id OPERATOR(pg_catalog.=) $1 AND v.instrument OPERATOR(pg_catalog.<>) $2))"
		"   AND pg_catalog.jsonb_build_array(i.label, i.type, i.unit)"
		"       OPERATOR(pg_catalog.<>) pg_catalog.jsonb_build_array(o.label, o.type, o.unit)"
		"   AND i.type OPERATOR(pg_catalog.<>) ALL (ARRAY['group', 'display']) AND o.type OPERATOR(pg_catalog.<>) ALL (ARRAY['group', 'display'])"
		" ORDER BY i.position, o.instrument LIMIT 1",
		3, {INT8OID, TEXTOID, INT8OID}
	};
	Datum		arguments[3] = {values[0], values[1], version_id};
	Datum		found;
	Datum	   *names;
	int			count;

	if (!clinical_owner_fetch(&plan, arguments, NULL, false, &found))
		return;
	deconstruct_array(DatumGetArrayTypeP(found), TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &count);
	ereport(WARNING,
			(errmsg("item \"%s\" is another one in instrument \"%s\"", TextDatumGetCString(names[0]), TextDatumGetCString(names[1])),
			 errdetail("Its label, type or unit differ; reports and rules of the project take both for one item."),
			 errhint("Give items that are not the same codes of their own.")));
}

/* SQL: a project uses a version of an instrument from a day on. */
Datum
clinical_use_instrument(PG_FUNCTION_ARGS)
{
	static ClinicalPlan yield = {
		"UPDATE clinical.project_instrument u SET is_default = false"
		" WHERE u.project_id OPERATOR(pg_catalog.=) $1 AND u.instrument OPERATOR(pg_catalog.<>) $2 AND u.is_default",
		2, {INT8OID, TEXTOID}
	};
	static ClinicalPlan put = {
		"INSERT INTO clinical.project_instrument AS u (project_id, instrument, is_default) VALUES ($1, $2, COALESCE($3, false))"
		" ON CONFLICT (project_id, instrument) DO UPDATE SET is_default = COALESCE($3, u.is_default)"
		" RETURNING (u.*)::clinical.project_instrument",
		3, {INT8OID, TEXTOID, BOOLOID}
	};
	int64		project_id = clinical_project_id(fcinfo, 0, false);
	text	   *code = clinical_text_arg(fcinfo, 1, "instrument is required");
	Datum		version_id;
	Datum		values[3];
	Datum		row;

	version_id = Int64GetDatum(clinical_instrument_version_id(code, clinical_optional_arg(fcinfo, 3), false));
	values[0] = Int64GetDatum(project_id);
	values[1] = PointerGetDatum(code);
	values[2] = PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2);
	lock_project(values[0]);
	if (!PG_ARGISNULL(2) && PG_GETARG_BOOL(2))
		(void) clinical_fetch(&yield, values, NULL, false, &row);
	CLINICAL_FAULT("instrument_default");
	if (!clinical_fetch(&put, values, PG_ARGISNULL(2) ? "  n" : NULL, false, &row))
		elog(ERROR, "project_instrument was not stored");
	tell_version(values[0], values[1], version_id, fcinfo, 4);
	warn_of_homonym(values, version_id);
	return row;
}

/*
 * SQL: a project uses an instrument no longer from a day on, whatever was
 * planned for later days.
 */
Datum
clinical_drop_instrument(PG_FUNCTION_ARGS)
{
	/* of a day on which nothing is in force the row is NULL, or there is none */
	static ClinicalPlan plan = {
		"WITH day AS (SELECT COALESCE($3, pg_catalog.timezone(p.time_zone, pg_catalog.now())::pg_catalog.date) AS dropped"
		"               FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) $1),"
		" ended AS (SELECT d.effective_from FROM day,"
		"   LATERAL (SELECT day.dropped UNION SELECT v.effective_from FROM clinical.project_instrument_version v"
		"             WHERE v.project_id OPERATOR(pg_catalog.=) $1 AND v.instrument OPERATOR(pg_catalog.=) $2"
		"               AND v.effective_from OPERATOR(pg_catalog.>) day.dropped) d (effective_from)"
		"  WHERE (SELECT v.version_id FROM clinical.project_instrument_version v"
		"          WHERE v.project_id OPERATOR(pg_catalog.=) $1 AND v.instrument OPERATOR(pg_catalog.=) $2"
		"            AND v.effective_from OPERATOR(pg_catalog.<=) d.effective_from"
		"          ORDER BY v.effective_from DESC, v.id DESC LIMIT 1) IS NOT NULL),"
		" told AS (INSERT INTO clinical.project_instrument_version (project_id, instrument, effective_from, version_id)"
		"          SELECT $1, $2, e.effective_from, NULL FROM ended e ORDER BY e.effective_from RETURNING id)"
		" SELECT (u.*)::clinical.project_instrument FROM clinical.project_instrument u"
		"  WHERE u.project_id OPERATOR(pg_catalog.=) $1 AND u.instrument OPERATOR(pg_catalog.=) $2"
		"    AND EXISTS (SELECT FROM told)",
		3, {INT8OID, TEXTOID, DATEOID}
	};
	int64		project_id = clinical_project_id(fcinfo, 0, false);
	text	   *code = clinical_text_arg(fcinfo, 1, "instrument is required");
	Datum		values[3] = {Int64GetDatum(project_id), PointerGetDatum(code), PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2)};
	Datum		row;

	clinical_require_arg(PG_ARGISNULL(2) || !DATE_NOT_FINITE(DatumGetDateADT(values[2])), "effective day must be finite");
	lock_project(values[0]);
	if (!clinical_fetch(&plan, values, PG_ARGISNULL(2) ? "  n" : NULL, false, &row))
		clinical_instrument_not_used(code);
	return row;
}

/*
 * The id of the version of an instrument (NULL: of the default one) that a
 * project uses on a day; false if it uses none.
 */
bool
clinical_instrument_in_force_id(int64 project_id, text *code, DateADT day, int64 *version_id)
{
	static ClinicalPlan plan = {
		"SELECT u.version_id FROM clinical.project_instrument i"
		"  JOIN clinical.project_instrument_version u"
		"    ON u.project_id OPERATOR(pg_catalog.=) i.project_id AND u.instrument OPERATOR(pg_catalog.=) i.instrument"
		" WHERE i.project_id OPERATOR(pg_catalog.=) $1"
		"   AND CASE WHEN $2 IS NULL THEN i.is_default ELSE i.instrument OPERATOR(pg_catalog.=) $2 END"
		"   AND u.effective_from OPERATOR(pg_catalog.<=) $3"
		" ORDER BY u.effective_from DESC, u.id DESC LIMIT 1",
		3, {INT8OID, TEXTOID, DATEOID}
	};
	Datum		values[3] = {Int64GetDatum(project_id), PointerGetDatum(code), DateADTGetDatum(day)};
	char		nulls[3] = {' ', code == NULL ? 'n' : ' ', ' '};
	Datum		id;

	if (!clinical_fetch(&plan, values, nulls, true, &id))
		return false;
	*version_id = DatumGetInt64(id);
	return true;
}

/* SQL: the version of an instrument that a project uses on a day. */
Datum
clinical_instrument_in_force(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"SELECT (v.*)::clinical.instrument_version FROM clinical.instrument_version v"
		" WHERE v.id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	static ClinicalPlan today = {
		"SELECT pg_catalog.timezone(p.time_zone, pg_catalog.now())::pg_catalog.date FROM clinical.project p"
		" WHERE p.id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	int64		project_id = clinical_project_id(fcinfo, 0, true);
	text	   *code = clinical_optional_arg(fcinfo, 1);
	Datum		value = Int64GetDatum(project_id);
	Datum		day = PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2);
	int64		version_id;
	Datum		row;

	if (PG_ARGISNULL(2) && !clinical_fetch(&today, &value, NULL, true, &day))
		elog(ERROR, "project is not visible");
	if (!clinical_instrument_in_force_id(project_id, code, DatumGetDateADT(day), &version_id))
		clinical_instrument_not_used(code);
	value = Int64GetDatum(version_id);
	if (!clinical_fetch(&plan, &value, NULL, true, &row))
		elog(ERROR, "instrument version is not visible");
	return row;
}
