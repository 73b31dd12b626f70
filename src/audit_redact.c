/*-------------------------------------------------------------------------
 *
 * audit_redact.c
 *		Destroying a value that should never have been entered.
 *
 * The value goes from its row and from all records of the row in the trail,
 * which keep the hash of what they said; so the chain still verifies, and the
 * salt, without which the hash says nothing, is destroyed too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "audit.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(clinical_redact);
PG_FUNCTION_INFO_V1(clinical_audit_content_hash_sql);

/* What else a module destroys with a value of one of its rows; the records that had it */
Datum		(*clinical_redact_related) (const char *table_name, Datum row_key, Datum path) = NULL;

/* The name of the table in an argument, and the patient that the key speaks of, or NULL. */
static char *
table_arg(FunctionCallInfo fcinfo, Jsonb *row_key, char **patient_id)
{
	Relation	relation;
	const char *column;
	char	   *name;
	JsonbValue	buffer;
	JsonbValue *value = NULL;

	clinical_require_arg(!PG_ARGISNULL(0), "table is required");
	clinical_require_arg(get_rel_namespace(PG_GETARG_OID(0)) == get_namespace_oid("clinical", false) &&
						 get_rel_relkind(PG_GETARG_OID(0)) == RELKIND_RELATION, "not an audited table");
	relation = table_open(PG_GETARG_OID(0), AccessShareLock);
	name = pstrdup(RelationGetRelationName(relation));
	/* of a record of the trail itself the reason can be destroyed */
	clinical_require_arg(clinical_audit_argument(relation, 0) != NULL || strcmp(name, "audit_record") == 0,
						 "not an audited table");
	column = clinical_audit_argument(relation, 1);
	if (column != NULL)
		value = getKeyJsonValueFromContainer(&row_key->root, column, strlen(column), &buffer);
	*patient_id = value == NULL || value->type != jbvString ? NULL :
		pnstrdup(value->val.string.val, value->val.string.len);
	table_close(relation, AccessShareLock);
	return name;
}

/*
 * Raise an error unless the caller is a data manager or, for rows that are
 * about no patient and so not one site's, an administrator.
 */
static void
require_office(const char *table_name, const char *patient_id)
{
	bool		of_site = patient_id != NULL || strcmp(table_name, "audit_record") == 0;
	Oid			office = get_role_oid(of_site ? "clinical_data_manager" : "clinical_admin", false);

	if (!has_privs_of_role(GetUserId(), office))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, table_name);
}

/* Raise an error unless the caller can see the row. */
static void
require_row(char *table_name, Datum row_key)
{
	static ClinicalPlan condition = {
		"SELECT clinical.audit_key_condition($1, $2)",
		2, {TEXTOID, JSONBOID}
	};
	Datum		values[2] = {CStringGetTextDatum(table_name), row_key};
	Datum		where;

	if (!clinical_owner_fetch(&condition, values, NULL, true, &where))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key must give each column of the primary key of \"%s\", and no other", table_name),
				 errhint("Numbers are given as numbers, all else as strings.")));
	SPI_connect();
	if (SPI_execute(psprintf("SELECT FROM clinical.%s t WHERE %s", quote_identifier(table_name),
							 TextDatumGetCString(where)), false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look the row up");
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("row not found")));
	SPI_finish();
}

/* Destroy a value of a row; the records of the trail that had it, as jsonb. */
Datum
clinical_redact_row(const char *table_name, Datum row_key, Datum path, const char *patient_id)
{
	static ClinicalPlan plan = {
		"SELECT clinical.audit_redact_row($1, $2, $3, $4)",
		4, {TEXTOID, JSONBOID, TEXTARRAYOID, TEXTOID}
	};
	Datum		values[4] = {CStringGetTextDatum(table_name), row_key, path, (Datum) 0};
	bool		isnull;
	Datum		records;

	if (patient_id != NULL)
		values[3] = CStringGetTextDatum(patient_id);
	SPI_connect();
	clinical_server_execute(&plan, values, patient_id == NULL ? "   n" : NULL);
	records = SPI_datumTransfer(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull), false, -1);
	SPI_finish();
	return records;
}

/*
 * Of a row whose hash alone is in the trail the records will say what it is
 * now: so it must be what they said, or a redaction would cover up a change.
 */
static void
require_known(Oid relid, char *table_name, Datum row_key, const char *patient_id)
{
	static ClinicalPlan plan = {
		"SELECT clinical.audit_knows($1, $2, $3)",
		3, {TEXTOID, JSONBOID, TEXTOID}
	};
	Datum		values[3] = {CStringGetTextDatum(table_name), row_key, (Datum) 0};
	Relation	relation = table_open(relid, AccessShareLock);
	const char *way = clinical_audit_argument(relation, 0);
	bool		is_digest = way != NULL && strcmp(way, "digest") == 0;
	Datum		known;

	table_close(relation, AccessShareLock);
	if (!is_digest)
		return;
	if (patient_id != NULL)
		values[2] = CStringGetTextDatum(patient_id);
	if (!clinical_owner_fetch(&plan, values, patient_id == NULL ? "  n" : NULL, false, &known) || !DatumGetBool(known))
		clinical_redact_refuse();
}

/* The error of a row that is not what the trail says. */
void
clinical_redact_refuse(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("row differs from the trail"),
			 errhint("clinical.verify_audit() tells of it; a redaction would cover it up.")));
}

/* Destroy it, with what hangs on it. */
static void
destroy(const char *table_name, Datum row_key, Datum path, const char *patient_id, Datum *records, Datum *related)
{
	clinical_redacting = true;
	PG_TRY();
	{
		/* what hangs on it first, while the value is still there to compare */
		*related = clinical_redact_related == NULL ? (Datum) 0 :
			clinical_redact_related(table_name, row_key, path);
		*records = clinical_redact_row(table_name, row_key, path, patient_id);
	}
	PG_FINALLY();
	{
		clinical_redacting = false;
	}
	PG_END_TRY();
}

/* The record of the redaction that this transaction wrote last. */
static Datum
written_record(void)
{
	static ClinicalPlan plan = {
		"SELECT (r.*)::clinical.audit_record FROM clinical.audit_record r"
		" WHERE r.generation OPERATOR(pg_catalog.=) (SELECT pg_catalog.max(g.generation) FROM clinical.audit_generation g)"
		"   AND r.xid OPERATOR(pg_catalog.=) pg_catalog.pg_current_xact_id()"
		"   AND r.operation OPERATOR(pg_catalog.=) 'REDACT' ORDER BY r.id DESC LIMIT 1"
	};
	Datum		row;

	if (!clinical_owner_fetch(&plan, NULL, NULL, false, &row))
		elog(ERROR, "redaction was not recorded");
	return row;
}

/*
 * SQL: destroy a value; the record of that.  It names the records that had the
 * value with the hash of what they say now, so that nobody can put something
 * else there: what they said before can no longer be told from its own.
 */
Datum
clinical_redact(PG_FUNCTION_ARGS)
{
	static ClinicalPlan summary = {
		"SELECT pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('column', $1[1], 'path', $1[2:],"
		"       'records', (SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array("
		"           r.generation, r.xid::pg_catalog.text, r.id, pg_catalog.encode(clinical.audit_content_hash("
		"           '\\x00000000000000000000000000000000', r.changes, r.reason), 'hex'))"
		"           ORDER BY r.generation, r.xid, r.id), '[]')"
		"          FROM (SELECT DISTINCT e.value FROM pg_catalog.jsonb_array_elements("
		"                $2 OPERATOR(pg_catalog.||) COALESCE($3, '[]')) e) d"
		"          JOIN clinical.audit_record r"
		"            ON r.generation OPERATOR(pg_catalog.=) (d.value OPERATOR(pg_catalog.->>) 0)::pg_catalog.int4"
		"           AND r.xid OPERATOR(pg_catalog.=) (d.value OPERATOR(pg_catalog.->>) 1)::pg_catalog.xid8"
		"           AND r.id OPERATOR(pg_catalog.=) (d.value OPERATOR(pg_catalog.->>) 2)::pg_catalog.int8)))",
		3, {TEXTARRAYOID, JSONBOID, JSONBOID}
	};
	char	   *table_name;
	char	   *patient_id;
	Datum		values[3];
	Datum		changes;
	int			nest_level;

	clinical_require_arg(!PG_ARGISNULL(1) && JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(1)), "key is required");
	clinical_require_arg(!PG_ARGISNULL(2) && ARR_NDIM(PG_GETARG_ARRAYTYPE_P(2)) == 1 &&
						 !array_contains_nulls(PG_GETARG_ARRAYTYPE_P(2)), "path is required");
	table_name = table_arg(fcinfo, PG_GETARG_JSONB_P(1), &patient_id);
	require_office(table_name, patient_id);
	nest_level = clinical_reason_push(clinical_optional_arg(fcinfo, 3));
	clinical_require_reason();
	require_row(table_name, PG_GETARG_DATUM(1));
	require_known(PG_GETARG_OID(0), table_name, PG_GETARG_DATUM(1), patient_id);

	values[0] = PG_GETARG_DATUM(2);
	destroy(table_name, PG_GETARG_DATUM(1), values[0], patient_id, &values[1], &values[2]);
	CLINICAL_FAULT("redact_destroyed");
	if (!clinical_owner_fetch(&summary, values, values[2] == (Datum) 0 ? "  n" : NULL, false, &changes))
		elog(ERROR, "nothing is known of the redaction");
	clinical_audit_write(table_name, "REDACT", PG_GETARG_JSONB_P(1), patient_id, DatumGetJsonbP(changes));
	clinical_reason_pop(nest_level);
	return written_record();
}

/* SQL: what is kept of the content of a record whose content is destroyed. */
Datum
clinical_audit_content_hash_sql(PG_FUNCTION_ARGS)
{
	pg_cryptohash_ctx *ctx;
	bytea	   *salt;
	Jsonb	   *changes;
	AuditRecord record = {0};
	bytea	   *hash = palloc(VARHDRSZ + HASH_BYTES);
	StringInfoData bytes;

	clinical_require_arg(!PG_ARGISNULL(0) && VARSIZE_ANY_EXHDR(PG_GETARG_BYTEA_PP(0)) == SALT_BYTES,
						 "salt of 16 bytes is required");
	clinical_require_arg(!PG_ARGISNULL(1), "changes are required");
	salt = PG_GETARG_BYTEA_PP(0);
	changes = PG_GETARG_JSONB_P(1);
	record.changes = JsonbToCString(NULL, &changes->root, VARSIZE(changes));
	if (!PG_ARGISNULL(2))
		record.reason = text_to_cstring(PG_GETARG_TEXT_PP(2));
	ctx = clinical_hash_begin();
	initStringInfo(&bytes);
	SET_VARSIZE(hash, VARHDRSZ + HASH_BYTES);
	clinical_audit_content_hash(ctx, &bytes, &record, (const uint8 *) VARDATA_ANY(salt), (uint8 *) VARDATA(hash));
	clinical_hash_end(ctx);
	PG_RETURN_BYTEA_P(hash);
}
