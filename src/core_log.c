/*-------------------------------------------------------------------------
 *
 * core_log.c
 *		Keeping patient data out of the server log.
 *
 * A message may quote what it is about: a value that is malformed, the row that
 * breaks a constraint, the statement with its parameters.  The client, who sent
 * it, gets all of that; of the log others are the readers.  What a message can
 * carry is known from its format: one without parameters carries nothing, those
 * below carry names of objects, those of this library carry keys and states.
 * Any other is kept out of the log, and a line with its SQLSTATE and the objects
 * concerned takes its place.  Statements, contexts and details never go there, but
 * for the facts of events (observe_log.c), which are put together for the log.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <dlfcn.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "compat.h"
#include "core.h"

/* Whether a database may hold patient data; NULL: each may */
bool		(*clinical_log_applies) (void) = NULL;

static bool log_values = false;
static bool in_hook = false;
static emit_log_hook_type previous_hook = NULL;

/* Formats of the server's whose parameters are names of objects, or numbers of processes */
static const char *const formats_of_names[] = {
	"duplicate key value violates unique constraint \"%s\"",
	"null value in column \"%s\" of relation \"%s\" violates not-null constraint",
	"new row for relation \"%s\" violates check constraint \"%s\"",
	"insert or update on table \"%s\" violates foreign key constraint \"%s\"",
	"update or delete on table \"%s\" violates foreign key constraint \"%s\" on table \"%s\"",
	"new row violates row-level security policy for table \"%s\"",
	"new row violates row-level security policy \"%s\" for table \"%s\"",
	"query would be affected by row-level security policy for table \"%s\"",
	"permission denied for table %s",
	"permission denied for function %s",
	"permission denied for schema %s",
	"permission denied for view %s",
	"permission denied for sequence %s",
	"permission denied for database \"%s\"",
	"database \"%s\" does not exist",
	"database \"%s\" is not currently accepting connections",
	"too many connections for database \"%s\"",
	"too many connections for role \"%s\"",
	"role \"%s\" is not permitted to log in",
	"could not obtain lock on row in relation \"%s\"",
	"could not obtain lock on relation \"%s\"",
	"cannot execute %s in a read-only transaction",
	"cannot execute %s during recovery",
	"process %d still waiting for %s on %s after %ld.%03d ms",
	"process %d acquired %s on %s after %ld.%03d ms",
	"process %d avoided deadlock for %s on %s by rearranging queue order after %ld.%03d ms",
	"process %d detected deadlock while waiting for %s on %s after %ld.%03d ms",
	"temporary file: path \"%s\", size %lu",
	"connection received: host=%s port=%s",
	"connection authenticated: identity=\"%s\" method=%s (%s:%d)",
	"disconnection: session time: %d:%02d:%02d.%03d user=%s database=%s host=%s%s%s",
	"could not receive data from client: %m",
	"could not send data to client: %m",
	"parameter \"%s\" changed to \"%s\"",
	"logical replication apply worker for subscription \"%s\" has started",
	"logical replication table synchronization worker for subscription \"%s\", table \"%s\" has started",
	"logical replication table synchronization worker for subscription \"%s\", table \"%s\" has finished",
};

/* Settings that make the server log statements or values, and when they do */
static const struct
{
	const char *name;
	const char *off;
}			telling_settings[] =
{
	{"log_statement", "none"},
	{"log_min_duration_statement", "-1"},
	{"log_min_duration_sample", "-1"},
	{"log_transaction_sample_rate", "0"},
	{"log_parameter_max_length_on_error", "0"},
	{"debug_print_parse", "off"},
	{"debug_print_rewritten", "off"},
	{"debug_print_plan", "off"},
	{"auto_explain.log_min_duration", "-1"},
};

/* Does a format leave no room for anything? */
static bool
is_constant(const char *format)
{
	for (const char *at = strchr(format, '%'); at != NULL; at = strchr(at + 2, '%'))
	{
		if (at[1] != '%')
			return false;
	}
	return true;
}

/* Does a format stand in this library? */
static bool
is_own(const char *format)
{
	Dl_info		of_format;
	Dl_info		of_library;

	return dladdr(format, &of_format) != 0 && dladdr((const void *) formats_of_names, &of_library) != 0 &&
		of_format.dli_fbase == of_library.dli_fbase;
}

/* Can a message of that format say nothing of a patient? */
static bool
is_harmless(const char *format)
{
	if (format == NULL)
		return false;
	for (int i = 0; i < (int) lengthof(formats_of_names); i++)
	{
		if (strcmp(format, formats_of_names[i]) == 0)
			return true;
	}
	return is_constant(format) || is_own(format);
}

/* Is it a process that works on what users send, in a database that matters? */
static bool
serves_users(void)
{
	return OidIsValid(MyDatabaseId) &&
		(MyBackendType == B_BACKEND || MyBackendType == B_BG_WORKER ||
		 MyBackendType == B_AUTOVAC_WORKER || MyBackendType == B_WAL_SENDER) &&
		(clinical_log_applies == NULL || clinical_log_applies());
}

/* The name of a level, as the log has it. */
static const char *
level_name(int level)
{
	return level >= PANIC ? "PANIC" : level >= FATAL ? "FATAL" : level >= ERROR ? "ERROR" :
		level >= WARNING ? "WARNING" : level == LOG || level == LOG_SERVER_ONLY ? "LOG" : "NOTICE";
}

/* How long a statement took, if that is what the message begins with. */
static int
duration_length(const ErrorData *edata)
{
	const char *end;

	if (edata->message_id == NULL || strncmp(edata->message_id, "duration: ", 10) != 0 ||
		edata->message == NULL || (end = strstr(edata->message, " ms")) == NULL)
		return 0;
	return end + 3 - edata->message;
}

/* An object's name in a line of the log, if there is one. */
static const char *
named(const char *kind, const char *name)
{
	return name == NULL ? "" : psprintf(", %s \"%s\"", kind, name);
}

/*
 * In PG_CATCH: a line could not be written.  Outside of a transaction, as after a
 * commit, that is no error; what was before it is restored.
 */
void
clinical_log_failed(MemoryContext context, uint32 holdoff)
{
	if (IsTransactionState())
		PG_RE_THROW();
	MemoryContextSwitchTo(context);
	FlushErrorState();
	/* the error has let go of all that held interrupts off */
	InterruptHoldoffCount = holdoff;
}

/*
 * Write a line that goes through as it is.  Nothing else may get in between: no
 * callback that adds what its function works on, no cancel request, whose own line
 * would go through as well.
 */
static void
log_as_is(int sqlerrcode, const char *message, const char *detail)
{
	ErrorContextCallback *contexts = error_context_stack;
	MemoryContext context = CurrentMemoryContext;
	uint32		holdoff = InterruptHoldoffCount;

	HOLD_INTERRUPTS();
	error_context_stack = NULL;
	in_hook = true;
	PG_TRY();
	{
		ereport(LOG_SERVER_ONLY,
				(errcode(sqlerrcode), errmsg_internal("%s", message), detail == NULL ? 0 : errdetail_log("%s", detail),
				 errhidestmt(true), errhidecontext(true)));
		RESUME_INTERRUPTS();
	}
	PG_CATCH();
	{
		in_hook = false;
		error_context_stack = contexts;
		clinical_log_failed(context, holdoff);
	}
	PG_END_TRY();
	in_hook = false;
	error_context_stack = contexts;
}

/* Write a line in the place of a message. */
static void
log_substitute(const ErrorData *edata, bool keep_message)
{
	int			duration = duration_length(edata);
	const char *level = level_name(edata->elevel);
	const char *state = unpack_sql_state(edata->sqlerrcode);

	if (keep_message)
		log_as_is(edata->sqlerrcode, psprintf("%s %s: %s", level, state, edata->message), NULL);
	else if (duration > 0)
		log_as_is(0, psprintf("%.*s", duration, edata->message), NULL);
	else
		log_as_is(edata->sqlerrcode,
				  psprintf("%s %s: message kept out of the log%s%s%s%s%s", level, state,
						   named("schema", edata->schema_name), named("table", edata->table_name),
						   named("column", edata->column_name), named("data type", edata->datatype_name),
						   named("constraint", edata->constraint_name)),
				  NULL);
}

/* Write a line with facts in which there is nothing of a patient. */
void
clinical_log_facts(const char *message, const char *facts)
{
	log_as_is(0, message, facts);
}

/* Leave of a message what may go to the log. */
static void
clean(ErrorData *edata)
{
	bool		keep_message = edata->elevel >= PANIC || is_harmless(edata->message_id);

	edata->hide_stmt = true;
	edata->hide_ctx = true;
	if (edata->detail != NULL || edata->detail_log != NULL)
		edata->detail_log = pstrdup("Kept out of the log.");
	/* the query of a function has no such switch */
	if (keep_message && edata->internalquery == NULL)
		return;
	log_substitute(edata, keep_message);
	edata->output_to_server = false;
}

/* Look at what is about to be logged. */
static void
log_hook(ErrorData *edata)
{
	if (!in_hook && !log_values && edata->output_to_server)
	{
		if (serves_users())
			clean(edata);
		/* the postmaster tells what a process that failed was running */
		else if (!IsUnderPostmaster && edata->detail != NULL && edata->message_id != NULL &&
				 strstr(edata->message_id, "PID %d") != NULL)
			edata->detail_log = pstrdup("Kept out of the log.");
	}
	if (previous_hook != NULL)
		previous_hook(edata);
}

/* Say which settings make the server log statements; what they write is kept out. */
char *
clinical_telling_settings(void)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < (int) lengthof(telling_settings); i++)
	{
		const char *value = GetConfigOption(telling_settings[i].name, true, false);

		if (value != NULL && strcmp(value, telling_settings[i].off) != 0)
			appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "", telling_settings[i].name);
	}
	return list.len > 0 ? list.data : NULL;
}

/* Are values let into the log at the moment? */
bool
clinical_logs_values(void)
{
	return log_values;
}

/* Begin to look at what is logged. */
void
clinical_log_init(void)
{
	DefineCustomBoolVariable("clinical.log_values",
							 "Lets messages that may carry patient data into the server log.",
							 "For a while, to find what is wrong.",
							 &log_values, false, PGC_SUSET, 0,
							 NULL, NULL, NULL);
	previous_hook = emit_log_hook;
	emit_log_hook = log_hook;
}
