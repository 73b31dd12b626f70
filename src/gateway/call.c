/*-------------------------------------------------------------------------
 *
 * call.c
 *		The call that a request is: sent at once as a pipeline, which is one
 *		transaction, and read as its results come.
 *
 * There is no BEGIN: all between two Syncs is a transaction, which is over
 * with the Sync whatever becomes of it.  So nothing is to be rolled back
 * after an error, and an error of the commit is told before the Sync is.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "pool.h"

#define TEXT_TYPE 25			/* pg_type.h */

static const Oid text_types[MAX_ARGUMENTS] = {TEXT_TYPE, TEXT_TYPE, TEXT_TYPE, TEXT_TYPE, TEXT_TYPE, TEXT_TYPE};

/* A text in the binary format is its bytes, of any number, a null character included. */
static const int formats[MAX_ARGUMENTS] = {1, 1, 1, 1, 1, 1};

/* What sets a transaction up: whose it is, for whom, and that it only reads, if so. */
static const char *const setups[2] = {
	"SELECT pg_catalog.set_config('clinical.actor', $2, true), pg_catalog.set_config('role', $1, true)",
	"SELECT pg_catalog.set_config('clinical.actor', $2, true), pg_catalog.set_config('transaction_read_only', 'on', true),"
	" pg_catalog.set_config('role', $1, true)"
};

/* Put a step into the queue, if it was sent. */
static bool
add_step(Connection *connection, Step step, int sent)
{
	connection->steps[connection->nsteps++] = step;
	return sent == 1;
}

/* Send a statement with its arguments, prepared before if statements are to be. */
static bool
send_statement(Connection *connection, bool *prepared, Step prepare, Step execute, const char *name, const char *text, int nargs, const Slice *arguments)
{
	const char *values[MAX_ARGUMENTS];
	int			lengths[MAX_ARGUMENTS];

	for (int i = 0; i < nargs; i++)
	{
		values[i] = arguments[i].data;
		lengths[i] = (int) arguments[i].length;
	}
	if (!config.prepare)
		return add_step(connection, execute, PQsendQueryParams(connection->pg, text, nargs, text_types, values, lengths, formats, 0));
	if (!*prepared && !add_step(connection, prepare, PQsendPrepare(connection->pg, name, text, nargs, text_types)))
		return false;
	return add_step(connection, execute, PQsendQueryPrepared(connection->pg, name, nargs, values, lengths, formats, 0));
}

/* Is a route's transaction read-only? */
static bool
only_reads(const Route *route)
{
	return route->kind == ROUTE_READ || route->kind == ROUTE_STREAM;
}

/* Send what sets the transaction up. */
static bool
send_setup(Connection *connection, const Request *request)
{
	bool		reads = only_reads(request->route);
	Slice		arguments[2] = {{request->role, strlen(request->role)}, {request->actor ? request->actor : "", 0}};

	arguments[1].length = strlen(arguments[1].data);
	return send_statement(connection, &connection->setup_prepared[reads], STEP_PREPARE_SETUP, STEP_SETUP,
						  reads ? "read" : "write", setups[reads], 2, arguments);
}

/* Send the call itself. */
static bool
send_call(Connection *connection, Request *request)
{
	Slice		arguments[MAX_ARGUMENTS];
	int			nargs = route_arguments(request, arguments);

	return send_statement(connection, &connection->prepared[request->route - routes], STEP_PREPARE_CALL, STEP_CALL,
						  request->route->function, route_statement(request->route), nargs, arguments);
}

/* Send what is still in libpq's buffer, or wait until it can be sent. */
static bool
flush(Connection *connection)
{
	int			left = PQflush(connection->pg);

	return left >= 0 && pool_set_events(connection, left > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* Send the call of a connection's request.  That it cannot is told when the connection is next ready. */
void
call_begin(Connection *connection)
{
	Request    *request = connection->request;

	connection->route = request->route;
	connection->nsteps = 0;
	connection->step = 0;
	connection->broken = false;
	connection->failed = false;
	connection->failed_in_setup = false;
	connection->sqlstate[0] = '\0';
	connection->finished = false;
	connection->cancel_again = 0;
	(void) strcpy(connection->role, request->role);
	if (!send_setup(connection, request) || !send_call(connection, request) ||
		!add_step(connection, STEP_SYNC, PQpipelineSync(connection->pg)) || !flush(connection))
	{
		connection->broken = true;
		(void) pool_set_events(connection, EPOLLIN | EPOLLOUT);
	}
}

/* Note the first error. */
static void
note_error(Connection *connection, const PGresult *result)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	Step		step = connection->steps[connection->step];

	if (connection->failed)
		return;
	connection->failed = true;
	connection->failed_in_setup = step == STEP_PREPARE_SETUP || step == STEP_SETUP;
	(void) snprintf(connection->sqlstate, sizeof(connection->sqlstate), "%s", sqlstate ? sqlstate : "08006");
}

/* Note that a statement is prepared. */
static void
note_success(Connection *connection)
{
	switch (connection->steps[connection->step])
	{
		case STEP_PREPARE_SETUP:
			connection->setup_prepared[only_reads(connection->route)] = true;
			break;
		case STEP_PREPARE_CALL:
			connection->prepared[connection->route - routes] = true;
			break;
		case STEP_SETUP:
		case STEP_CALL:
		case STEP_SYNC:
			break;
	}
}

/* Take one result in.  True: it was the last one. */
static bool
take_result(Connection *connection, PGresult *result)
{
	Step		step = connection->steps[connection->step];

	switch (PQresultStatus(result))
	{
		case PGRES_PIPELINE_SYNC:
			PQclear(result);
			return true;
		case PGRES_TUPLES_OK:
			if (step == STEP_CALL && connection->result == NULL)
			{
				connection->result = result;
				return false;
			}
			break;
		case PGRES_COMMAND_OK:
			note_success(connection);
			break;
		case PGRES_PIPELINE_ABORTED:
			break;
		default:
			note_error(connection, result);
			break;
	}
	PQclear(result);
	return false;
}

/* Go on with a call, as its connection is ready.  True: it is over, or the connection is broken. */
bool
call_continue(Connection *connection)
{
	int			ends = 0;

	if (connection->broken || !flush(connection) || !PQconsumeInput(connection->pg))
	{
		connection->broken = true;
		return true;
	}
	while (!PQisBusy(connection->pg) && ends < 3)
	{
		PGresult   *result = PQgetResult(connection->pg);

		ends = result == NULL ? ends + 1 : 0;
		if (PQstatus(connection->pg) != CONNECTION_OK)
		{
			PQclear(result);
			connection->broken = true;
			return true;
		}
		/* NULL is the end of what a statement gives */
		if (result == NULL && connection->step < connection->nsteps - 1)
			connection->step++;
		else if (result != NULL && take_result(connection, result))
			return true;
	}
	connection->broken = ends == 3;
	return connection->broken;
}
