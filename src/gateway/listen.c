/*-------------------------------------------------------------------------
 *
 * listen.c
 *		The connection that listens for alerts.  What it is told is only the
 *		cause of a look at what has happened (stream.c): so it does not matter
 *		that nothing is heard while there is none.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "gateway.h"

typedef enum ListenerState
{
	IS_DOWN,
	IS_CONNECTING,
	IS_ASKING,					/* LISTEN is sent */
	IS_LISTENING
} ListenerState;

static void listener_ready(Source *source, uint32_t events);

static Source source = {listener_ready};
static ListenerState state;
static PGconn *pg;
static int	fd = -1;
static uint32_t waits_for;
static double since;			/* connecting since, or down until */
static int	failures;			/* in a row */

/* Wait for other events of the socket. */
static bool
set_events(uint32_t events)
{
	return connect_watch(pg, &fd, &waits_for, events, &source);
}

/* Close the connection, say why, but not each time, and wait before it is made again. */
static void
bring_down(const char *why)
{
	if (connect_tells(failures))
		log_event("error", "listen", "%s", why);
	if (fd >= 0)
		unwatch(fd);
	PQfinish(pg);
	since = connect_again_at(failures++);
	state = IS_DOWN;
	pg = NULL;
	fd = -1;
	waits_for = 0;
}

/* Begin to connect. */
static void
connect_begin(void)
{
	state = IS_CONNECTING;
	since = now();
	pg = connect_start(*config.listen_database != '\0' ? config.listen_database : config.database);
	if (pg == NULL || PQstatus(pg) == CONNECTION_BAD || !set_events(EPOLLOUT))
		bring_down("the connection to listen on cannot be made");
}

/* It is connected: listen. */
static void
connected(void)
{
	if (connect_is_superuser(pg))
		bring_down("the role of the gateway must not be a superuser");
	else if (PQsetnonblocking(pg, 1) != 0 || PQsendQuery(pg, "LISTEN clinical_alert") != 1 || PQflush(pg) < 0 || !set_events(EPOLLIN))
		bring_down("the connection to listen on was lost");
	else
		state = IS_ASKING;
}

/* Go on connecting. */
static void
connect_continue(void)
{
	PostgresPollingStatusType status = PQconnectPoll(pg);

	if (status == PGRES_POLLING_OK)
		connected();
	else if (status != PGRES_POLLING_READING && status != PGRES_POLLING_WRITING)
		bring_down(PQerrorMessage(pg));
	else if (!set_events(status == PGRES_POLLING_READING ? EPOLLIN : EPOLLOUT))
		bring_down("the connection to listen on cannot be made");
}

/* LISTEN is answered, or not yet. */
static void
take_answer(void)
{
	PGresult   *result;
	bool		listens;

	if (PQisBusy(pg))
		return;
	result = PQgetResult(pg);
	listens = PQresultStatus(result) == PGRES_COMMAND_OK;
	PQclear(result);
	if (!listens)
	{
		bring_down(PQerrorMessage(pg));
		return;
	}
	if (failures > 0)
		log_event("info", "listen", "listening");
	failures = 0;
	state = IS_LISTENING;
	/* something may have happened before */
	stream_look();
}

/* Take what is heard.  True: there was something. */
static bool
take_notifications(void)
{
	PGnotify   *notification;
	bool		heard = false;

	while ((notification = PQnotifies(pg)) != NULL)
	{
		heard = true;
		PQfreemem(notification);
	}
	return heard;
}

/* Callback: the connection is ready for something. */
static void
listener_ready(Source *ready, uint32_t events)
{
	(void) ready;
	(void) events;
	if (state == IS_CONNECTING)
	{
		connect_continue();
		return;
	}
	if (state == IS_DOWN)
		return;
	if (!PQconsumeInput(pg) || PQstatus(pg) != CONNECTION_OK)
	{
		bring_down("the connection to listen on was lost");
		return;
	}
	if (state == IS_ASKING)
		take_answer();
	else
	{
		/* there is nothing to be read but what ends the answer to LISTEN */
		while (!PQisBusy(pg))
		{
			PGresult   *result = PQgetResult(pg);

			if (result == NULL)
				break;
			PQclear(result);
		}
		if (take_notifications())
			stream_look();
	}
}

/* Do what is due.  It is there from the first stream on. */
void
listen_tick(double at)
{
	if (state == IS_DOWN && at >= since)
		connect_begin();
	else if ((state == IS_CONNECTING || state == IS_ASKING) && at >= since + CONNECT_TIMEOUT)
		bring_down("connecting to listen takes too long");
}

/* Close it. */
void
listen_stop(void)
{
	if (fd >= 0)
		unwatch(fd);
	PQfinish(pg);
	pg = NULL;
	fd = -1;
	state = IS_DOWN;
}
