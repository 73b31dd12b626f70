/*-------------------------------------------------------------------------
 *
 * connect.c
 *		How connections to the server are made, and made again: what the pool
 *		and the connection that listens have in common.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "gateway.h"

/* Seconds: the first and the longest wait after a failure */
#define FIRST_WAIT 0.1
#define LONGEST_WAIT 5.0

/* Begin to connect; NULL: it has failed. */
PGconn *
connect_start(const char *database)
{
	static const char *const keywords[] = {"fallback_application_name", "dbname", "client_encoding", NULL};
	const char *values[] = {"clinical-gateway", database, "UTF8", NULL};

	return PQconnectStartParams(keywords, values, 1);
}

/* Wait for other events of a connection's socket, fd, for which events are waited for.  It may be another one by now. */
bool
connect_watch(PGconn *pg, int *fd, uint32_t *events, uint32_t wanted, Source *source)
{
	int			socket = PQsocket(pg);

	if (socket == *fd && wanted == *events)
		return true;
	if (socket != *fd || *events == 0)
	{
		if (socket < 0 || !watch(socket, wanted, source))
			return false;
	}
	else if (!rewatch(socket, wanted, source))
		return false;
	*fd = socket;
	*events = wanted;
	return true;
}

/* A role that could do anything is not one to be lent to whoever has a token. */
bool
connect_is_superuser(const PGconn *pg)
{
	const char *superuser = PQparameterStatus(pg, "is_superuser");

	return superuser != NULL && strcmp(superuser, "on") == 0;
}

/* Is a failure told?  Not each one, of many in a row. */
bool
connect_tells(int failures)
{
	return failures < 3 || failures % 100 == 0;
}

/* When to connect again, after so many failures in a row before this one. */
double
connect_again_at(int failures)
{
	double		wait = FIRST_WAIT;

	for (int i = 0; i < failures && wait < LONGEST_WAIT; i++)
		wait *= 2;
	return now() + (wait > LONGEST_WAIT ? LONGEST_WAIT : wait) * (0.5 + 0.5 * (double) (random() % 1000) / 1000);
}
