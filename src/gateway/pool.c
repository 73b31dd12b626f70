/*-------------------------------------------------------------------------
 *
 * pool.c
 *		The connections to the server, and the requests that wait for one.
 *
 * A connection that is lost is made again, later each time that this fails.
 * A call that nobody waits for any more is cancelled; its connection is not
 * used again before the cancel request is known to have arrived, or it could
 * hit the next call.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "pool.h"

/* Seconds until a cancel request is sent again */
#define CANCEL_AGAIN 0.1

typedef struct Queue
{
	Request    *first;
	Request   **last;
} Queue;

static Connection *connections;
static int	up;					/* so many can be used, or are */
static int	slow_running;
static int	waiting;
/* For a connection, in order: those whose route is slow have a queue of their own */
static Queue queue;
static Queue slow_queue;
/* What is counted: the rest of the figures is as it is */
static PoolFigures counted;

static void connection_ready(Source *source, uint32_t events);

/* Is it a request that may take long? */
static bool
is_slow(const Request *request)
{
	return request->route->kind == ROUTE_SLOW;
}

/* Put a request at the end of a queue. */
static void
push(Queue *to, Request *request)
{
	request->next = NULL;
	*to->last = request;
	to->last = &request->next;
	waiting++;
}

/* Take the first request of a queue that has one. */
static Request *
pop(Queue *from)
{
	Request    *request = from->first;

	from->first = request->next;
	if (from->first == NULL)
		from->last = &from->first;
	waiting--;
	return request;
}

/* Take a request out of a queue that it may be in. */
static void
take_out(Queue *from, const Request *request)
{
	for (Request **link = &from->first; *link != NULL; link = &(*link)->next)
	{
		if (*link != request)
			continue;
		*link = request->next;
		if (from->last == &request->next)
			from->last = link;
		waiting--;
		return;
	}
}

/* Wait for other events of a connection's socket. */
bool
pool_set_events(Connection *connection, uint32_t events)
{
	return connect_watch(connection->pg, &connection->fd, &connection->events, events, &connection->source);
}

/* Close a connection, and wait before it is made again. */
static void
bring_down(Connection *connection)
{
	if (connection->state == IS_IDLE || connection->state == IS_BUSY)
		up--;
	if (connection->fd >= 0)
		unwatch(connection->fd);
	PQclear(connection->result);
	PQfinish(connection->pg);
	connection->since = connect_again_at(connection->failures++);
	connection->state = IS_DOWN;
	connection->pg = NULL;
	connection->result = NULL;
	connection->fd = -1;
	connection->events = 0;
	memset(connection->setup_prepared, 0, sizeof(connection->setup_prepared));
	memset(connection->prepared, 0, sizeof(connection->prepared));
}

/* Ignore what the server says besides. */
static void
ignore_notice(void *arg, const PGresult *result)
{
	(void) arg;
	(void) result;
}

/* Begin to connect. */
static void
connect_begin(Connection *connection)
{
	connection->state = IS_CONNECTING;
	connection->since = now();
	connection->pg = connect_start(config.database);
	if (connection->pg == NULL || PQstatus(connection->pg) == CONNECTION_BAD || !pool_set_events(connection, EPOLLOUT))
		bring_down(connection);
}

/* Say why there is no connection, but not each time that it is tried. */
static void
log_failure(const Connection *connection, const char *why)
{
	if (connect_tells(connection->failures))
		log_event("error", "connection", "%s", why);
}

/* Give an idle connection the next request, if one waits. */
static void
serve_next(Connection *connection)
{
	Request    *request = NULL;

	if (slow_queue.first != NULL && slow_running < config.slow_size &&
		(queue.first == NULL || slow_queue.first->begun < queue.first->begun))
		request = pop(&slow_queue);
	else if (queue.first != NULL)
		request = pop(&queue);
	if (request == NULL)
		return;
	slow_running += is_slow(request);
	request->state = REQUEST_RUNNING;
	request->connection = connection;
	connection->request = request;
	connection->state = IS_BUSY;
	call_begin(connection);
}

/* A connection is made. */
static void
connected(Connection *connection)
{
	if (connect_is_superuser(connection->pg))
	{
		log_failure(connection, "the role of the gateway must not be a superuser");
		bring_down(connection);
		return;
	}
	(void) PQsetNoticeReceiver(connection->pg, ignore_notice, NULL);
	if (PQsetnonblocking(connection->pg, 1) != 0 || PQenterPipelineMode(connection->pg) != 1 || !pool_set_events(connection, EPOLLIN))
	{
		bring_down(connection);
		return;
	}
	if (connection->failures > 0)
		log_event("info", "connection", "connected");
	counted.reconnects += connection->was_up;
	connection->was_up = true;
	connection->failures = 0;
	connection->state = IS_IDLE;
	connection->finished = false;
	connection->cancel_again = 0;
	up++;
	serve_next(connection);
}

/* Go on connecting. */
static void
connect_continue(Connection *connection)
{
	switch (PQconnectPoll(connection->pg))
	{
		case PGRES_POLLING_READING:
			if (!pool_set_events(connection, EPOLLIN))
				bring_down(connection);
			break;
		case PGRES_POLLING_WRITING:
			if (!pool_set_events(connection, EPOLLOUT))
				bring_down(connection);
			break;
		case PGRES_POLLING_OK:
			connected(connection);
			break;
		default:
			log_failure(connection, PQerrorMessage(connection->pg));
			bring_down(connection);
			break;
	}
}

/* Answer that a request is not served, and count why.  Metrics are given all the same. */
static void
refuse(Request *request, const char *why, uint64_t *counter)
{
	answer_busy(request, why);
	if (request->route->kind != ROUTE_METRICS)
		(*counter)++;
}

/* There is no connection any more: answer those that wait for one, as those that come. */
static void
refuse_waiting(Queue *from)
{
	while (from->first != NULL)
	{
		Request    *request = pop(from);

		refuse(request, "the server could not be reached", &counted.no_connection);
		http_answered(request);
	}
}

/* A connection is lost, with what it was doing. */
static void
lost(Connection *connection)
{
	Request    *request = connection->request;

	log_failure(connection, "a connection to the server was lost");
	if (connection->state == IS_BUSY && !connection->finished)
		slow_running -= connection->route->kind == ROUTE_SLOW;
	bring_down(connection);
	connection->request = NULL;
	if (request != NULL)
	{
		request->connection = NULL;
		answer_busy(request, "the server could not be reached");
		http_answered(request);
	}
	if (up == 0)
	{
		refuse_waiting(&queue);
		refuse_waiting(&slow_queue);
	}
}

/* Answer the request whose call is over. */
static void
answer_call(Connection *connection)
{
	Request    *request = connection->request;

	if (request == NULL)
		return;
	connection->request = NULL;
	request->connection = NULL;
	if (connection->failed)
		answer_error(request, connection->sqlstate, connection->failed_in_setup);
	else
	{
		answer_result(request, connection->result);
		connection->result = NULL;
	}
	http_answered(request);
}

/* A connection has nothing more to do, and no cancel request is on its way to it. */
static void
becomes_idle(Connection *connection)
{
	/* the statement is not what it was: begin anew */
	bool		stale = strcmp(connection->sqlstate, "26000") == 0 || strcmp(connection->sqlstate, "42P05") == 0 ||
		strcmp(connection->sqlstate, "0A000") == 0;

	connection->finished = false;
	connection->cancel_again = 0;
	connection->state = IS_IDLE;
	if (stale)
	{
		bring_down(connection);
		connection->since = 0;
		connection->failures = 0;
		return;
	}
	serve_next(connection);
}

/* Forget what is notified: through a pgbouncer that lends its connections, LISTEN may have been sent on any of them. */
static void
drop_notifications(Connection *connection)
{
	PGnotify   *notification;

	while ((notification = PQnotifies(connection->pg)) != NULL)
		PQfreemem(notification);
}

/* A call is over. */
static void
finish(Connection *connection)
{
	slow_running -= connection->route->kind == ROUTE_SLOW;
	answer_call(connection);
	drop_notifications(connection);
	PQclear(connection->result);
	connection->result = NULL;
	connection->finished = true;
	if (!connection->cancelling)
		becomes_idle(connection);
}

/* An idle connection has something to say: mostly, that it is lost. */
static void
read_idle(Connection *connection)
{
	if (!PQconsumeInput(connection->pg) || PQstatus(connection->pg) != CONNECTION_OK)
		lost(connection);
	else
		drop_notifications(connection);
}

/* Something of a connection is ready. */
static void
connection_ready(Source *source, uint32_t events)
{
	Connection *connection = (Connection *) source;

	(void) events;
	switch (connection->state)
	{
		case IS_CONNECTING:
			connect_continue(connection);
			break;
		case IS_IDLE:
			read_idle(connection);
			break;
		case IS_BUSY:
			if (connection->finished)
				read_idle(connection);
			else if (!call_continue(connection))
				break;
			else if (connection->broken)
				lost(connection);
			else
				finish(connection);
			break;
		case IS_DOWN:
			break;
	}
}

/* An idle connection: rather one that served the same role last, whose plans are those of this role. */
static Connection *
find_idle(const Request *request)
{
	Connection *found = NULL;

	for (int i = 0; i < config.pool_size; i++)
	{
		if (connections[i].state != IS_IDLE)
			continue;
		if (strcmp(connections[i].role, request->role) == 0)
			return &connections[i];
		if (found == NULL)
			found = &connections[i];
	}
	return found;
}

/* Have a request served: at once, or when a connection is free; or answer that this cannot be. */
void
pool_take(Request *request)
{
	Connection *idle;

	if (up == 0)
		refuse(request, "the server could not be reached", &counted.no_connection);
	else if (waiting >= config.max_waiting)
		refuse(request, "too many requests are waiting", &counted.queue_full);
	if (request->status != 0)
	{
		request->state = REQUEST_ANSWERED;
		return;
	}
	request->state = REQUEST_WAITING;
	push(is_slow(request) ? &slow_queue : &queue, request);
	idle = find_idle(request);
	if (idle != NULL)
		serve_next(idle);
}

/* Send a cancel request for what a connection does. */
static void
cancel(Connection *connection)
{
	connection->cancel_again = 0;
	connection->cancelling = cancel_send(connection->pg, connection->number);
	if (!connection->cancelling)
		connection->cancel_again = now() + CANCEL_AGAIN;
}

/* Nobody waits for a request any more. */
void
pool_leave(Request *request)
{
	Connection *connection = request->connection;

	if (connection == NULL)
	{
		take_out(&queue, request);
		take_out(&slow_queue, request);
		return;
	}
	connection->request = NULL;
	request->connection = NULL;
	counted.cancelled++;
	if (!connection->cancelling)
		cancel(connection);
}

/*
 * A cancel request has arrived.  It does nothing to a call that has not begun,
 * so it is sent again while the call goes on.
 */
void
pool_cancelled(int number)
{
	Connection *connection = &connections[number];

	connection->cancelling = false;
	if (connection->state != IS_BUSY)
		return;
	if (connection->finished)
		becomes_idle(connection);
	else
		connection->cancel_again = now() + CANCEL_AGAIN;
}

/* Do what is due. */
void
pool_tick(double at)
{
	for (int i = 0; i < config.pool_size; i++)
	{
		Connection *connection = &connections[i];

		if (connection->state == IS_DOWN && at >= connection->since && !connection->cancelling)
			connect_begin(connection);
		else if (connection->state == IS_CONNECTING && at >= connection->since + CONNECT_TIMEOUT)
		{
			log_failure(connection, "connecting to the server takes too long");
			bring_down(connection);
		}
		else if (connection->state == IS_BUSY && connection->cancel_again != 0 && at >= connection->cancel_again)
			cancel(connection);
	}
}

/* What the pool is doing, and what was counted. */
void
pool_figures(PoolFigures *figures)
{
	*figures = counted;
	for (int i = 0; i < config.pool_size; i++)
		figures->connections[connections[i].state]++;
	for (const Request *request = slow_queue.first; request != NULL; request = request->next)
		figures->slow_waiting++;
	figures->waiting = waiting - figures->slow_waiting;
}

/* Can requests be served? */
bool
pool_is_up(void)
{
	return up > 0;
}

/* Make room for the connections, and begin to connect. */
void
pool_start(void)
{
	queue.last = &queue.first;
	slow_queue.last = &slow_queue.first;
	connections = calloc((size_t) config.pool_size, sizeof(Connection));
	if (connections == NULL)
	{
		log_event("error", "start", "out of memory");
		exit(1);
	}
	for (int i = 0; i < config.pool_size; i++)
	{
		connections[i].source.ready = connection_ready;
		connections[i].number = i;
		connections[i].fd = -1;
	}
	pool_tick(now());
}

/* Close all connections, when what they do is cancelled. */
void
pool_stop(void)
{
	cancel_stop();
	for (int i = 0; i < config.pool_size; i++)
		PQfinish(connections[i].pg);
	free(connections);
}
