/*-------------------------------------------------------------------------
 *
 * schedule_cron.c
 *		Telling pg_cron.
 *
 * Everything here is done with the caller's own rights: pg_cron takes whoever
 * calls it for the one as whom to run.  It may not be there at all, and then
 * somebody else's schema of that name may: what we call belongs to the
 * extension.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "schedule.h"

/* Where pg_cron is */
typedef enum CronPlace
{
	CRON_HERE, CRON_NOT_CREATED, CRON_ELSEWHERE, CRON_NOT_LOADED
} CronPlace;

/* What pg_cron is told of a job (schedule_entry) */
typedef struct Entry
{
	Datum		name;
	Datum		expression;
	Datum		command;
	char	   *statement;
	char	   *end_statement;
	char	   *forget_statement;
	Datum		role_name;
} Entry;

/* Is pg_cron in this database?  It says itself which one it serves. */
static CronPlace
cron_place(void)
{
	const char *database;

	if (OidIsValid(get_extension_oid("pg_cron", true)))
		return CRON_HERE;
	database = GetConfigOption("cron.database_name", true, false);
	/* where a transaction has set it and is rolled back, PostgreSQL 17 leaves it empty */
	if (database == NULL || *database == '\0')
		return CRON_NOT_LOADED;
	return strcmp(database, get_database_name(MyDatabaseId)) == 0 ? CRON_NOT_CREATED : CRON_ELSEWHERE;
}

/* Is it in another one? */
bool
clinical_cron_is_elsewhere(void)
{
	return cron_place() == CRON_ELSEWHERE;
}

/* Read what pg_cron is told of a job, into the caller's memory. */
static void
read_entry(int64 job_id, Entry *entry)
{
	static ClinicalPlan plan = {
		"SELECT e.name, e.expression, e.command, e.statement, e.end_statement, e.forget_statement, e.role_name FROM clinical.schedule_entry($1) e",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(job_id);
	Datum		values[7];

	SPI_connect();
	clinical_owner_execute(&plan, &value, NULL, false);
	if (SPI_processed != 1)
		elog(ERROR, "no job %lld", (long long) job_id);
	for (int i = 0; i < (int) lengthof(values); i++)
		values[i] = SPI_datumTransfer(clinical_result(0, i + 1), false, -1);
	SPI_finish();
	entry->name = values[0];
	entry->expression = values[1];
	entry->command = values[2];
	entry->statement = TextDatumGetCString(values[3]);
	entry->end_statement = TextDatumGetCString(values[4]);
	entry->forget_statement = TextDatumGetCString(values[5]);
	entry->role_name = values[6];
}

/* The error of who schedules where pg_cron is not. */
CLINICAL_NORETURN static void
cron_missing(CronPlace place, const Entry *entry)
{
	if (place == CRON_ELSEWHERE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_cron is in database \"%s\"", GetConfigOption("cron.database_name", true, false)),
				 errhint("Run there, as a superuser: %s; the job is known here from its first run.", entry->statement)));
	if (place == CRON_NOT_CREATED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_cron is not in this database"),
				 errhint("Run, as a superuser: CREATE EXTENSION pg_cron.")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("pg_cron is not loaded"),
			 errhint("Install it, add pg_cron to shared_preload_libraries, set cron.database_name to %s, restart the server, and run CREATE EXTENSION pg_cron.",
					 quote_literal_cstr(get_database_name(MyDatabaseId)))));
}

/* Is the schema that of the extension, and may the caller use it? */
static bool
cron_usable(void)
{
	static ClinicalPlan ours = {
		"SELECT true FROM pg_catalog.pg_extension e"
		"  JOIN pg_catalog.pg_depend d ON d.refobjid OPERATOR(pg_catalog.=) e.oid"
		"   AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass"
		"   AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass"
		"   AND d.deptype OPERATOR(pg_catalog.=) 'e'"
		"  JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) d.objid"
		" WHERE e.extname OPERATOR(pg_catalog.=) 'pg_cron' AND n.nspname OPERATOR(pg_catalog.=) 'cron'"
		"   AND pg_catalog.has_schema_privilege($1, n.oid, 'USAGE')",
		1, {OIDOID}
	};
	Datum		caller = ObjectIdGetDatum(GetUserId());
	Datum		yes;

	return clinical_owner_fetch(&ours, &caller, NULL, false, &yes);
}

/* Tell pg_cron of a job of the caller's, or tell it anew. */
void
clinical_cron_add(int64 job_id)
{
	static ClinicalPlan plan = {
		"SELECT cron.schedule($1, $2, $3)",
		3, {TEXTOID, TEXTOID, TEXTOID}
	};
	CronPlace	place = cron_place();
	Entry		entry;
	Datum		values[3];
	Datum		cron_id;

	read_entry(job_id, &entry);
	if (place != CRON_HERE)
		cron_missing(place, &entry);
	if (!cron_usable())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for schema cron"),
				 errhint("Run, as a superuser: GRANT USAGE ON SCHEMA cron TO %s.",
						 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
	values[0] = entry.name;
	values[1] = entry.expression;
	values[2] = entry.command;
	(void) clinical_fetch(&plan, values, NULL, false, &cron_id);
}

/* Remove what pg_cron has of a job, if the caller sees it there. */
static bool
remove_entry(const Entry *entry)
{
	static ClinicalPlan plan = {
		"SELECT cron.unschedule(j.jobid) FROM cron.job j"
		" WHERE j.jobname OPERATOR(pg_catalog.=) $1::pg_catalog.name AND j.username OPERATOR(pg_catalog.=) $2",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {entry->name, entry->role_name};
	Datum		removed;

	return clinical_fetch(&plan, values, NULL, false, &removed);
}

/* A job has ended: remove what pg_cron has of it, or say how that is done. */
void
clinical_cron_remove(int64 job_id, Oid role)
{
	CronPlace	place = cron_place();
	Entry		entry;

	read_entry(job_id, &entry);
	if (place == CRON_HERE && cron_usable() && remove_entry(&entry))
		return;
	if (place == CRON_ELSEWHERE)
		ereport(NOTICE,
				(errmsg("pg_cron is in database \"%s\", and calls the job on without effect",
						GetConfigOption("cron.database_name", true, false)),
				 errhint("Run there, as a superuser: %s.", entry.end_statement)));
	else if (place == CRON_HERE && GetUserNameFromId(role, true) == NULL)
		ereport(NOTICE,
				(errmsg("pg_cron still has the job, of a role that is gone, and may run no jobs of anybody"),
				 errhint("Run, as a superuser: %s.", entry.forget_statement)));
	else if (place == CRON_HERE && role != GetUserId())
		ereport(NOTICE,
				(errmsg("pg_cron forgets the job when it next calls it")));
}
