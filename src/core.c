/*-------------------------------------------------------------------------
 *
 * core.c
 *		Settings, and what can be asked about the installation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/xlog.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "compat.h"
#include "core.h"

PG_FUNCTION_INFO_V1(clinical_check);
PG_FUNCTION_INFO_V1(clinical_health);
PG_FUNCTION_INFO_V1(clinical_require_preload_sql);

bool		clinical_restore = false;
bool		clinical_redacting = false;

static char *clinical_reason = NULL;
static char *clinical_actor = NULL;
static bool preloaded = false;

/* What the modules say must always hold; they say so when the library is loaded */
static const ClinicalInvariant *invariant_lists[16];
static int	invariant_counts[16];
static int	invariant_nlists = 0;

/* What else health() asks for */
static ClinicalProblem problems[16];
static int	nproblems = 0;

/* Define the settings, and remember how the library was loaded. */
void
clinical_core_init(void)
{
	preloaded = process_shared_preload_libraries_in_progress;

	DefineCustomStringVariable("clinical.reason",
							   "Why the transaction changes data.",
							   "Kept with each change whose function is not given a reason of its own.",
							   &clinical_reason, "", PGC_USERSET, 0,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("clinical.actor",
							   "The application's user behind a shared login.",
							   "Kept with each change beside the session's user.",
							   &clinical_actor, "", PGC_USERSET, 0,
							   NULL, NULL, NULL);
	DefineCustomBoolVariable("clinical.restore",
							 "Lets rows through as they are, to restore a dump.",
							 "The tables' rules were applied when the rows were first stored, and their histories are in the dump.",
							 &clinical_restore, false, PGC_SUSET, GUC_NOT_IN_SAMPLE,
							 NULL, NULL, NULL);
}

/* Are rows let through as they are? */
bool
clinical_as_is(void)
{
	return clinical_restore || clinical_redacting;
}

/* Is there anything but white space? */
static bool
says_something(const char *string)
{
	return string != NULL && string[strspn(string, " \t\r\n")] != '\0';
}

/* The reason that the transaction gives for its changes, or NULL. */
text *
clinical_reason_in_force(void)
{
	return says_something(clinical_reason) ? cstring_to_text(clinical_reason) : NULL;
}

/* The application's user, or NULL. */
text *
clinical_actor_in_force(void)
{
	return clinical_actor != NULL && *clinical_actor != '\0' ? cstring_to_text(clinical_actor) : NULL;
}

/* Raise an error unless the transaction gives a reason. */
void
clinical_require_reason(void)
{
	if (!says_something(clinical_reason))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reason is required"),
				 errhint("Give the function's reason argument, or set clinical.reason in the transaction.")));
}

/*
 * Let a reason, unless it is NULL or says nothing, stand for clinical.reason
 * until clinical_reason_pop, so that triggers find it; an error puts the old
 * one back by itself.
 */
int
clinical_reason_push(const text *reason)
{
	int			nest_level = NewGUCNestLevel();
	char	   *string = reason == NULL ? NULL : text_to_cstring(reason);

	if (says_something(string))
		(void) set_config_option("clinical.reason", string, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return nest_level;
}

/* The end of clinical_reason_push. */
void
clinical_reason_pop(int nest_level)
{
	AtEOXact_GUC(true, nest_level);
}

/* Raise an error unless the library was loaded at server start. */
void
clinical_require_preload(void)
{
	if (!preloaded)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("clinical must be loaded via shared_preload_libraries"),
				 errhint("Add \"clinical\" to shared_preload_libraries and restart the server.")));
}

/* SQL: the same, for functions in SQL. */
Datum
clinical_require_preload_sql(PG_FUNCTION_ARGS)
{
	clinical_require_preload();
	PG_RETURN_VOID();
}

/* Add invariants to those that check() tests. */
void
clinical_register_invariants(const ClinicalInvariant *invariants, int count)
{
	if (invariant_nlists == lengthof(invariant_lists))
		elog(ERROR, "too many lists of invariants");
	invariant_lists[invariant_nlists] = invariants;
	invariant_counts[invariant_nlists++] = count;
}

/* Add to what health() asks for. */
void
clinical_register_problem(ClinicalProblem find)
{
	if (nproblems == lengthof(problems))
		elog(ERROR, "too many kinds of problems");
	problems[nproblems++] = find;
}

/* Put what breaks one invariant into the result. */
static void
check_invariant(const ClinicalInvariant *invariant, ReturnSetInfo *result)
{
	if (SPI_execute(invariant->sql, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "invariant \"%s\" is not a query", invariant->name);

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		values[0] = CStringGetTextDatum(invariant->name);
		values[1] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &nulls[1]);
		values[2] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &nulls[2]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* SQL: what breaks the invariants of the stored data. */
Datum
clinical_check(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	for (int list = 0; list < invariant_nlists; list++)
	{
		for (int i = 0; i < invariant_counts[list]; i++)
			check_invariant(&invariant_lists[list][i], (ReturnSetInfo *) fcinfo->resultinfo);
	}
	SPI_finish();
	return (Datum) 0;
}

/* One row of health(). */
static void
health_row(ReturnSetInfo *result, const char *problem, const char *remedy)
{
	Datum		values[3] = {BoolGetDatum(problem == NULL), (Datum) 0, (Datum) 0};
	bool		nulls[3] = {false, problem == NULL, remedy == NULL};

	if (problem != NULL)
		values[1] = CStringGetTextDatum(problem);
	if (remedy != NULL)
		values[2] = CStringGetTextDatum(remedy);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* Ask the modules; true if none has found anything. */
static bool
modules_are_well(ReturnSetInfo *result)
{
	bool		well = true;

	for (int i = 0; i < nproblems; i++)
	{
		const char *problem;
		const char *remedy;

		if (!problems[i] (&problem, &remedy))
			continue;
		well = false;
		health_row(result, problem, remedy);
	}
	return well;
}

/* The version of the extension's SQL objects in this database. */
static char *
installed_version(void)
{
	static ClinicalPlan plan = {
		"SELECT e.extversion FROM pg_catalog.pg_extension e"
		" WHERE e.extname OPERATOR(pg_catalog.=) 'clinical'"
	};
	Datum		version;

	if (!clinical_fetch(&plan, NULL, NULL, true, &version))
		return NULL;
	return TextDatumGetCString(version);
}

/* SQL: what wants attention. */
Datum
clinical_health(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *version = installed_version();
	bool		sound = preloaded && enableFsync && !clinical_logs_values();

	InitMaterializedSRF(fcinfo, 0);
	if (!preloaded)
		health_row(result, "clinical is not in shared_preload_libraries: there are no background workers",
				   "Add \"clinical\" to shared_preload_libraries and restart the server.");
	if (!enableFsync)
		health_row(result, "fsync is off: a crash can lose or spoil stored data",
				   "Set fsync to on and reload the server.");
	if (clinical_logs_values())
		health_row(result, "clinical.log_values is on: messages may carry patient data into the server log",
				   "Set it to off as soon as what you look for is found.");
	if (version != NULL && strcmp(version, CLINICAL_VERSION) != 0)
	{
		sound = false;
		health_row(result, psprintf("the extension has version %s, the library %s", version, CLINICAL_VERSION),
				   "Run ALTER EXTENSION clinical UPDATE; if the library is the older one, install it anew and restart the server.");
	}
	/* what modules look at may not be there in another version */
	else if (!modules_are_well(result))
		sound = false;
	if (sound)
		health_row(result, NULL, NULL);
	return (Datum) 0;
}
