/*-------------------------------------------------------------------------
 *
 * observation_redact.c
 *		What a redaction of an observation has to destroy elsewhere.
 *
 * The value goes from all versions of the observation, and from what the
 * records of corrections say stood there before.  The report's digest of its
 * observations is computed anew, and with it the hash that the trail has of the
 * report; the record of the redaction names the records that say so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "audit.h"
#include "observation.h"

/* Add records to those that were changed before. */
static void
append(Datum *records, Datum more)
{
	static ClinicalPlan plan = {
		"SELECT $1 OPERATOR(pg_catalog.||) $2", 2, {JSONBOID, JSONBOID}
	};
	Datum		both[2] = {*records, more};

	if (!clinical_owner_fetch(&plan, both, NULL, true, records))
		elog(ERROR, "could not add up redacted records");
}

/* Raise an error unless the observations of its report are what the trail says: they are about to be told anew. */
static void
require_known(Datum row_key)
{
	static ClinicalPlan plan = {
		"SELECT s.observations_digest OPERATOR(pg_catalog.=) clinical.observation_digest(n.*)"
		"   AND s.observations OPERATOR(pg_catalog.=) pg_catalog.count(*)"
		"   AND clinical.audit_knows('submission', pg_catalog.jsonb_build_object('patient_id', s.patient_id, 'id', s.id), s.patient_id)"
		"  FROM clinical.submission s"
		"  JOIN clinical.observation n ON n.patient_id OPERATOR(pg_catalog.=) s.patient_id"
		"   AND n.submission_id OPERATOR(pg_catalog.=) s.id AND n.version OPERATOR(pg_catalog.=) 1"
		" WHERE (s.patient_id, s.id) OPERATOR(pg_catalog.=) (SELECT o.patient_id, o.submission_id FROM clinical.observation o"
		"         WHERE o.patient_id OPERATOR(pg_catalog.=) ($1 OPERATOR(pg_catalog.->>) 'patient_id')"
		"           AND o.id OPERATOR(pg_catalog.=) ($1 OPERATOR(pg_catalog.->>) 'id')::pg_catalog.uuid"
		"           AND o.version OPERATOR(pg_catalog.=) 1)"
		" GROUP BY s.patient_id, s.id",
		1, {JSONBOID}
	};
	Datum		known;

	if (!clinical_owner_fetch(&plan, &row_key, NULL, false, &known) || !DatumGetBool(known))
		clinical_redact_refuse();
}

/* Destroy the value in all versions. */
static void
redact_versions(Datum row_key, Datum path, Datum *records)
{
	static ClinicalPlan plan = {
		"SELECT $1 OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('version', o.version), o.patient_id"
		"  FROM clinical.observation o"
		" WHERE o.patient_id OPERATOR(pg_catalog.=) ($1 OPERATOR(pg_catalog.->>) 'patient_id')"
		"   AND o.id OPERATOR(pg_catalog.=) ($1 OPERATOR(pg_catalog.->>) 'id')::pg_catalog.uuid"
		" ORDER BY o.version",
		1, {JSONBOID}
	};
	SPITupleTable *versions;
	uint64		count;

	clinical_owner_execute(&plan, &row_key, NULL, false);
	versions = SPI_tuptable;
	count = SPI_processed;
	for (uint64 i = 0; i < count; i++)
	{
		bool		isnull;
		Datum		key = SPI_getbinval(versions->vals[i], versions->tupdesc, 1, &isnull);

		append(records, clinical_redact_row("observation", key, path, SPI_getvalue(versions->vals[i], versions->tupdesc, 2)));
	}
}

/* The report's digest of its observations, and the hashes of the report in the trail, as they are now. */
static void
retell_report(Datum row_key, Datum *records)
{
	static ClinicalPlan digest = {
		"UPDATE clinical.submission AS s SET observations_digest ="
		"       (SELECT clinical.observation_digest(n.*) FROM clinical.observation n"
		"         WHERE n.patient_id OPERATOR(pg_catalog.=) s.patient_id AND n.submission_id OPERATOR(pg_catalog.=) s.id"
		"           AND n.version OPERATOR(pg_catalog.=) 1)"
		"  FROM clinical.observation o"
		" WHERE o.patient_id OPERATOR(pg_catalog.=) ($1 OPERATOR(pg_catalog.->>) 'patient_id')"
		"   AND o.id OPERATOR(pg_catalog.=) ($1 OPERATOR(pg_catalog.->>) 'id')::pg_catalog.uuid"
		"   AND o.version OPERATOR(pg_catalog.=) 1"
		"   AND s.patient_id OPERATOR(pg_catalog.=) o.patient_id AND s.id OPERATOR(pg_catalog.=) o.submission_id"
		" RETURNING pg_catalog.jsonb_build_object('patient_id', s.patient_id, 'id', s.id), s.patient_id",
		1, {JSONBOID}
	};
	static ClinicalPlan retell = {
		"SELECT clinical.audit_retell('submission', $1, NULL, NULL, $2)", 2, {JSONBOID, TEXTOID}
	};
	Datum		values[2];
	bool		isnull;

	clinical_server_execute(&digest, &row_key, NULL);
	values[0] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	values[1] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull);
	clinical_server_execute(&retell, values, NULL);
	append(records, SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* What goes with a value of an observation: the records that were changed. */
Datum
clinical_observation_redact(const char *table_name, Datum row_key, Datum path)
{
	Datum		records = DirectFunctionCall1(jsonb_in, CStringGetDatum("[]"));

	if (strcmp(table_name, "observation") != 0)
		return records;
	SPI_connect();
	require_known(row_key);
	redact_versions(row_key, path, &records);
	retell_report(row_key, &records);
	records = SPI_datumTransfer(records, false, -1);
	SPI_finish();
	return records;
}
