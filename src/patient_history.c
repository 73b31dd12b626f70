/*-------------------------------------------------------------------------
 *
 * patient_history.c
 *		Everything that happened to a patient, and what a redaction of the
 *		record has to destroy elsewhere.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "audit.h"
#include "patient.h"

PG_FUNCTION_INFO_V1(clinical_patient_history);

/* Put what SPI found into the result, column by column. */
static void
put_found(ReturnSetInfo *result)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		values[16];
		bool		nulls[16];

		for (int column = 0; column < SPI_tuptable->tupdesc->natts; column++)
			values[column] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, column + 1, &nulls[column]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* SQL: one row for each value that was ever entered, changed or removed. */
Datum
clinical_patient_history(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"SELECT r.recorded_at, r.login, r.role, r.actor, r.table_name, r.operation, r.row_key,"
		"       pg_catalog.concat_ws('.', c.value OPERATOR(pg_catalog.->>) 'column',"
		"           (SELECT pg_catalog.string_agg(k.value, '.' ORDER BY k.ordinality)"
		"              FROM pg_catalog.jsonb_array_elements_text(c.value OPERATOR(pg_catalog.->) 'path')"
		"                   WITH ORDINALITY k)),"
		"       COALESCE(c.value OPERATOR(pg_catalog.->>) 'old', c.value OPERATOR(pg_catalog.->>) 'before'), c.value OPERATOR(pg_catalog.->>) 'new', r.reason, r.xid, r.id"
		"  FROM clinical.audit_record r, LATERAL pg_catalog.jsonb_array_elements(r.changes) WITH ORDINALITY c"
		" WHERE r.patient_id OPERATOR(pg_catalog.=) $1"
		/* what a version has in it was told of the patient's row */
		"   AND r.table_name OPERATOR(pg_catalog.<>) 'record_version'"
		" ORDER BY r.generation, r.xid, r.id, c.ordinality",
		1, {TEXTOID}
	};
	static ClinicalPlan look = {
		"SELECT true FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	Datum		id = PointerGetDatum(clinical_text_arg(fcinfo, 0, "patient id is required"));
	Datum		found;

	if (!clinical_fetch(&look, &id, NULL, true, &found))
		clinical_patient_not_found();
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	clinical_execute(&plan, &id, NULL, true);
	put_found((ReturnSetInfo *) fcinfo->resultinfo);
	SPI_finish();
	return (Datum) 0;
}

/* The keys of a patient's versions. */
static uint64
find_versions(Datum row_key)
{
	static ClinicalPlan plan = {
		"SELECT pg_catalog.jsonb_build_object('patient_id', v.patient_id, 'version', v.version), v.patient_id"
		"  FROM clinical.record_version v WHERE v.patient_id OPERATOR(pg_catalog.=) ($1 OPERATOR(pg_catalog.->>) 'id')"
		" ORDER BY v.version",
		1, {JSONBOID}
	};

	clinical_owner_execute(&plan, &row_key, NULL, false);
	return SPI_processed;
}

/*
 * What was redacted from a patient's record goes from the versions too, and
 * what changed between them is told anew.
 */
Datum
clinical_patient_redact(const char *table_name, Datum row_key, Datum path)
{
	static ClinicalPlan append = {
		"SELECT $1 OPERATOR(pg_catalog.||) $2", 2, {JSONBOID, JSONBOID}
	};
	static ClinicalPlan retell = {
		"UPDATE clinical.record_version AS v SET changes = clinical.record_changes(b.record, v.record)"
		"  FROM clinical.record_version b"
		" WHERE v.patient_id OPERATOR(pg_catalog.=) ($1 OPERATOR(pg_catalog.->>) 'id')"
		"   AND b.patient_id OPERATOR(pg_catalog.=) v.patient_id"
		"   AND b.version OPERATOR(pg_catalog.=) (v.version OPERATOR(pg_catalog.-) 1)",
		1, {JSONBOID}
	};
	Datum		records[2] = {DirectFunctionCall1(jsonb_in, CStringGetDatum("[]")), (Datum) 0};
	SPITupleTable *versions;
	uint64		count;

	if (strcmp(table_name, "patient") != 0 || ArrayGetNItems(1, ARR_DIMS(DatumGetArrayTypeP(path))) < 2)
		return records[0];
	SPI_connect();
	count = find_versions(row_key);
	versions = SPI_tuptable;
	for (int round = 0; round < 2; round++)
	{
		/* first the records, then, with what is told of them, the hashes */
		for (uint64 i = 0; i < count; i++)
		{
			bool		isnull;
			Datum		key = SPI_getbinval(versions->vals[i], versions->tupdesc, 1, &isnull);

			records[1] = clinical_redact_row("record_version", key, path,
											 SPI_getvalue(versions->vals[i], versions->tupdesc, 2));
			if (!clinical_owner_fetch(&append, records, NULL, true, &records[0]))
				elog(ERROR, "could not add up redacted records");
		}
		if (round == 0)
			clinical_server_execute(&retell, &row_key, NULL);
	}
	records[0] = SPI_datumTransfer(records[0], false, -1);
	SPI_finish();
	return records[0];
}
