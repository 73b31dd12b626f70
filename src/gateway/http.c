/*-------------------------------------------------------------------------
 *
 * http.c
 *		The side of the clients: requests as libmicrohttpd hands them over.
 *
 * While a request waits for its answer, libmicrohttpd leaves the client's
 * socket alone; so it is watched here for the client's going away.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway.h"

/* Of a certificate with those that it is signed by, or of a key */
#define MAX_FILE_BYTES 65536
/* Seconds until metrics are given without those of the extension */
#define METRICS_TIMEOUT 5

/* A connection of a client */
typedef struct Client
{
	int			fd;
	double		since;			/* nothing is asked since; 0: something is */
	bool		asked;			/* it has asked before */
	struct Client *next;
	struct Client *previous;
} Client;

static struct MHD_Daemon *server;
static Client *clients;
static Request *requests;
static int	nrequests;
static bool listening;

static void client_gone(Source *source, uint32_t events);

/* The socket of a request's client. */
static int
client_fd(const Request *request)
{
	return MHD_get_connection_info(request->mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

/* What is known of a request's client. */
static Client *
client_of(struct MHD_Connection *mhd)
{
	return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/* Callback: a client has connected, or its connection is closed. */
static void
client_changed(void *arg, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode what)
{
	Client	   *client;

	(void) arg;
	if (what == MHD_CONNECTION_NOTIFY_STARTED)
	{
		client = calloc(1, sizeof(Client));
		if (client == NULL)
			return;
		client->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
		client->since = now();
		client->next = clients;
		if (clients != NULL)
			clients->previous = client;
		clients = client;
		*context = client;
		return;
	}
	client = *context;
	if (client == NULL)
		return;
	if (client->previous != NULL)
		client->previous->next = client->next;
	else
		clients = client->next;
	if (client->next != NULL)
		client->next->previous = client->previous;
	free(client);
	*context = NULL;
}

/* Callback: the first line of a request has come; uri is all of its URI. */
static void *
request_begins(void *arg, const char *uri, struct MHD_Connection *mhd)
{
	Request    *request = calloc(1, sizeof(Request));

	(void) arg;
	if (request == NULL)
		return NULL;
	request->source.ready = client_gone;
	request->mhd = mhd;
	request->begun = now();
	request->text = strdup(uri);
	request->valid = request->text != NULL && uri_parse(request->text, &request->uri);
	request->all_next = requests;
	if (requests != NULL)
		requests->all_previous = request;
	requests = request;
	nrequests++;
	return request;
}

/* Forget a request. */
static void
free_request(Request *request)
{
	if (request->all_previous != NULL)
		request->all_previous->all_next = request->all_next;
	else
		requests = request->all_next;
	if (request->all_next != NULL)
		request->all_next->all_previous = request->all_previous;
	nrequests--;
	PQclear(request->result);
	free(request->body);
	free(request->actor);
	free(request->text);
	free(request);
}

/* Callback: a request is over, for whatever reason. */
static void
request_ends(void *arg, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode why)
{
	Request    *request = *context;
	Client	   *client = client_of(mhd);

	(void) arg;
	if (client != NULL)
	{
		client->since = now();
		client->asked = true;
	}
	if (request == NULL)
		return;
	if (request->state == REQUEST_WAITING || request->state == REQUEST_RUNNING)
		pool_leave(request);
	stream_leave(request);
	if (why != MHD_REQUEST_TERMINATED_COMPLETED_OK && request->state != REQUEST_ANSWERED)
		request->state = REQUEST_GONE;
	log_request(request);
	metrics_count(request);
	free_request(request);
	*context = NULL;
}

/* Note the trace that a header traceparent names; what is none names none (W3C Trace Context, 3.2.2.1). */
static void
note_trace(Request *request)
{
	const char *parent = MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, "traceparent");

	if (parent != NULL && strlen(parent) == 55 && strspn(parent, "0123456789abcdef-") == 55 &&
		parent[2] == '-' && strspn(parent + 3, "0123456789abcdef") == 32)
	{
		memcpy(request->trace, parent + 3, 32);
		request->trace[32] = '\0';
	}
}

/* Are the parameters of a request those of its route, each once? */
static bool
parameters_fit(const Request *request)
{
	for (int i = 0; i < request->uri.nparameters; i++)
	{
		Slice		name = request->uri.names[i];

		if (!route_knows(request->route, name))
			return false;
		for (int j = 0; j < i; j++)
		{
			if (request->uri.names[j].length == name.length && memcmp(request->uri.names[j].data, name.data, name.length) == 0)
				return false;
		}
	}
	return true;
}

/* Find the route of a request.  False: there is none, and the request is answered. */
static bool
find_route(Request *request)
{
	if (!request->valid)
	{
		answer_problem(request, 400, NULL, "the URI is malformed");
		return false;
	}
	request->route = route_find(request, &request->allow);
	if (request->route == NULL && request->allow == NULL)
		answer_problem(request, 404, NULL, "there is no such path");
	else if (request->route == NULL)
		answer_problem(request, 405, NULL, "the path does not have this method");
	else if (!parameters_fit(request))
		answer_problem(request, 400, NULL, "a parameter is unknown, or is there more than once");
	return request->status == 0;
}

/* Does the request say that its body is too large? */
static bool
says_too_large(const Request *request)
{
	const char *length = MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, "Content-Length");

	return length != NULL && strtoull(length, NULL, 10) > (unsigned long long) config.max_body;
}

/*
 * A request is answered by its headers.  An answer that is sent before the body
 * has come ends the connection; where there is none, it need not.
 */
static enum MHD_Result
answer_early(Request *request)
{
	return head_has_body(request) ? answer_send(request) : MHD_YES;
}

/* The headers are there: what they say decides whether the rest is of interest. */
static enum MHD_Result
begin(Request *request, const char *version)
{
	Client	   *client = client_of(request->mhd);
	bool		own;

	if (client != NULL)
		client->since = 0;
	note_trace(request);
	request->state = REQUEST_BODY;
	request->deadline = now() + config.body_timeout;
	if (!head_check(request, version) || !find_route(request))
		return answer_early(request);
	own = request->route->function == NULL;
	if (request->route->kind == ROUTE_METRICS ? !metrics_check(request) : !own && !auth_check(request))
		return answer_early(request);
	if (says_too_large(request))
	{
		answer_problem(request, 413, NULL, "the body is too large");
		return answer_send(request);
	}
	return MHD_YES;
}

/* Take a piece of the body.  Of one that is too large, nothing is kept. */
static enum MHD_Result
take_body(Request *request, const char *data, size_t length)
{
	if (request->too_large || length > (size_t) config.max_body - request->length)
	{
		request->too_large = true;
		return MHD_YES;
	}
	if (length > request->size - request->length)
	{
		size_t		size = request->length + length + request->length / 2 + 1024;
		char	   *body = realloc(request->body, size);

		if (body == NULL)
			return MHD_NO;
		request->body = body;
		request->size = size;
	}
	memcpy(request->body + request->length, data, length);
	request->length += length;
	return MHD_YES;
}

/* Seconds that the server has to answer.  Who reads metrics waits for seconds only. */
static int
answer_timeout(const Route *route)
{
	if (route->kind == ROUTE_METRICS && config.request_timeout > METRICS_TIMEOUT)
		return METRICS_TIMEOUT;
	return route->kind == ROUTE_SLOW ? config.slow_timeout : config.request_timeout;
}

/* Wait for the answer of the server, and for the client's going away. */
static enum MHD_Result
wait_for_answer(Request *request)
{
	if (!watch(client_fd(request), EPOLLRDHUP, &request->source))
	{
		pool_leave(request);
		request->state = REQUEST_ANSWERED;
		answer_busy(request, "out of memory");
		return answer_send(request);
	}
	request->deadline = now() + answer_timeout(request->route);
	request->suspended = true;
	MHD_suspend_connection(request->mhd);
	return MHD_YES;
}

/* All of a request is there: have it answered. */
static enum MHD_Result
serve(Request *request)
{
	request->deadline = 0;
	if (request->status != 0)
		;						/* answered by its headers */
	else if (request->too_large)
		answer_problem(request, 413, NULL, "the body is too large");
	else if (request->route->kind == ROUTE_LIVE)
		answer_text(request, 200, "{\"status\":\"ok\"}");
	else if (request->route->kind == ROUTE_READY)
	{
		if (pool_is_up() && !stopping())
			answer_text(request, 200, "{\"status\":\"ok\"}");
		else
			answer_busy(request, stopping() ? "the gateway is being stopped" : "the server could not be reached");
	}
	else if (request->route->kind == ROUTE_OPENAPI)
		openapi_answer(request);
	else if (request->route->kind == ROUTE_METRICS)
		metrics_serve(request);
	else if (request->route->kind == ROUTE_STREAM)
		stream_join(request);
	else
		pool_take(request);
	if (request->state == REQUEST_WAITING || request->state == REQUEST_RUNNING)
		return wait_for_answer(request);
	request->state = REQUEST_ANSWERED;
	return answer_send(request);
}

/* Callback: a request goes on. */
static enum MHD_Result
request_continues(void *arg, struct MHD_Connection *mhd, const char *url, const char *method, const char *version,
				  const char *data, size_t *length, void **context)
{
	Request    *request = *context;

	(void) arg;
	(void) mhd;
	(void) url;
	if (request == NULL)
		return MHD_NO;			/* out of memory */
	switch (request->state)
	{
		case REQUEST_NEW:
			request->method = method;
			return begin(request, version);
		case REQUEST_BODY:
			if (*length > 0)
			{
				size_t		taken = *length;

				*length = 0;
				return take_body(request, data, taken);
			}
			return serve(request);
		case REQUEST_ANSWERED:
			return answer_send(request);
		case REQUEST_WAITING:
		case REQUEST_RUNNING:
			return MHD_YES;
		case REQUEST_GONE:
			break;
	}
	return MHD_NO;
}

/* Hand a request back to libmicrohttpd. */
static void
resume(Request *request)
{
	if (!request->suspended)
		return;
	unwatch(client_fd(request));
	request->suspended = false;
	MHD_resume_connection(request->mhd);
}

/* The answer to a request that waited for it is there. */
void
http_answered(Request *request)
{
	if (request->route->kind == ROUTE_METRICS)
		metrics_answer(request);
	request->state = REQUEST_ANSWERED;
	request->deadline = 0;
	if (request->answered != NULL)
		request->answered(request);
	else
		resume(request);
}

/* The client of a request that waits has gone, or sends no more: nobody reads the answer. */
static void
client_gone(Source *source, uint32_t events)
{
	Request    *request = (Request *) source;

	(void) events;
	if (request->state != REQUEST_WAITING && request->state != REQUEST_RUNNING)
		return;
	pool_leave(request);
	request->state = REQUEST_GONE;
	resume(request);
}

/*
 * A client is too slow.  Only its socket can be closed, as libmicrohttpd takes no
 * answer before it has all of the request; what it should have said is said before.
 */
static void
close_slow(int fd)
{
	static const char answer[] = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

	if (*config.tls_certificate == '\0')
		(void) send(fd, answer, sizeof(answer) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void) shutdown(fd, SHUT_RDWR);
}

/* Is this client waited for too long? */
static bool
is_too_slow(const Client *client, double at)
{
	return client->since > 0 && at > client->since + (client->asked ? config.idle_timeout : config.header_timeout);
}

/* See who is late. */
void
http_tick(double at)
{
	for (Client *client = clients; client != NULL; client = client->next)
	{
		if (is_too_slow(client, at))
		{
			close_slow(client->fd);
			client->since = 0;
		}
	}
	for (Request *request = requests; request != NULL; request = request->all_next)
	{
		if (request->deadline == 0 || at < request->deadline)
			continue;
		request->deadline = 0;
		request->late = true;
		if (request->state == REQUEST_BODY)
		{
			request->status = 408;
			close_slow(client_fd(request));
		}
		else if (request->state == REQUEST_WAITING || request->state == REQUEST_RUNNING)
		{
			pool_leave(request);
			answer_problem(request, 504, NULL, "the server takes too long");
			http_answered(request);
		}
	}
}

/* How many requests there are. */
int
http_requests(void)
{
	return nrequests;
}

/* How many connections of clients there are. */
int
http_clients(void)
{
	return (int) MHD_get_daemon_info(server, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)->num_connections;
}

/* Let libmicrohttpd do what is to be done. */
void
http_run(void)
{
	(void) MHD_run(server);
}

/* Milliseconds after which it wants to be called; -1: no matter. */
int
http_timeout(void)
{
	MHD_UNSIGNED_LONG_LONG timeout;

	if (MHD_get_timeout(server, &timeout) != MHD_YES)
		return -1;
	return timeout > 1000 ? 1000 : (int) timeout;
}

/* Callback of the loop: libmicrohttpd is run after all sources anyway. */
static void
server_ready(Source *source, uint32_t events)
{
	(void) source;
	(void) events;
}

/* Callback: what libmicrohttpd has to say is about what clients send. */
static void
ignore_message(void *arg, const char *format, va_list args)
{
	(void) arg;
	(void) format;
	(void) args;
}

/* Callback: a text is left as it is, as uri.c decodes it. */
static size_t
leave_encoded(void *arg, struct MHD_Connection *mhd, char *text)
{
	(void) arg;
	(void) mhd;
	return strlen(text);
}

/* Open the socket to listen on; -1: it cannot be.  The port is told. */
static int
open_socket(int *port)
{
	char		host[256];
	const char *colon = strrchr(config.listen, ':');
	struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *addresses;
	struct sockaddr_storage bound;
	socklen_t	size = sizeof(bound);
	char		service[16];
	bool		brackets = config.listen[0] == '[';
	int			on = 1;
	int			fd;

	if (colon == NULL)
		return -1;
	(void) snprintf(host, sizeof(host), "%.*s", (int) (colon - config.listen) - (brackets ? 2 : 0), config.listen + brackets);
	if (getaddrinfo(*host ? host : NULL, colon + 1, &hints, &addresses) != 0)
		return -1;
	fd = socket(addresses->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
		bind(fd, addresses->ai_addr, addresses->ai_addrlen) != 0 || listen(fd, 1024) != 0 ||
		getsockname(fd, (struct sockaddr *) &bound, &size) != 0 ||
		getnameinfo((struct sockaddr *) &bound, size, NULL, 0, service, sizeof(service), NI_NUMERICSERV) != 0)
	{
		if (fd >= 0)
			(void) close(fd);
		fd = -1;
	}
	else
		*port = atoi(service);
	freeaddrinfo(addresses);
	return fd;
}

/* Start to listen; the port, or -1. */
int
http_start(void)
{
	static Source source = {server_ready};
	static char tls_versions[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";
	/* whose texts libmicrohttpd keeps */
	static struct MHD_OptionItem tls[4] = {{MHD_OPTION_END, 0, NULL}};
	unsigned int flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
	int			port = -1;
	int			fd = open_socket(&port);

	if (fd < 0)
		return -1;
	if (*config.tls_certificate != '\0')
	{
		size_t		length;

		flags |= MHD_USE_TLS;
		tls[0] = (struct MHD_OptionItem) {MHD_OPTION_HTTPS_MEM_CERT, 0, config_read_file(config.tls_certificate, MAX_FILE_BYTES, &length)};
		tls[1] = (struct MHD_OptionItem) {MHD_OPTION_HTTPS_MEM_KEY, 0, config_read_file(config.tls_key, MAX_FILE_BYTES, &length)};
		/* GnuTLS itself would take 1.0 */
		tls[2] = (struct MHD_OptionItem) {MHD_OPTION_HTTPS_PRIORITIES, 0, tls_versions};
		tls[3] = (struct MHD_OptionItem) {MHD_OPTION_END, 0, NULL};
		if (tls[0].ptr_value == NULL || tls[1].ptr_value == NULL)
			return -1;
	}
	server = MHD_start_daemon(flags, 0, NULL, NULL, request_continues, NULL,
							  MHD_OPTION_EXTERNAL_LOGGER, ignore_message, NULL,
							  MHD_OPTION_LISTEN_SOCKET, fd,
							  MHD_OPTION_CONNECTION_LIMIT, (unsigned int) config.max_connections,
							  MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int) config.idle_timeout,
							  MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) config.max_header + 4096,
							  MHD_OPTION_UNESCAPE_CALLBACK, leave_encoded, NULL,
							  MHD_OPTION_URI_LOG_CALLBACK, request_begins, NULL,
							  MHD_OPTION_NOTIFY_COMPLETED, request_ends, NULL,
							  MHD_OPTION_NOTIFY_CONNECTION, client_changed, NULL,
							  MHD_OPTION_STRICT_FOR_CLIENT, 1,
							  MHD_OPTION_ARRAY, tls,
							  MHD_OPTION_END);
	if (server == NULL || !watch(MHD_get_daemon_info(server, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd, EPOLLIN, &source))
		return -1;
	listening = true;
	return port;
}

/* Take no more connections. */
void
http_stop_listening(void)
{
	int			fd;

	if (!listening)
		return;
	listening = false;
	fd = MHD_quiesce_daemon(server);
	if (fd >= 0)
		(void) close(fd);
}

/* Stop: what is not answered by now never is. */
void
http_stop(void)
{
	stream_stop();
	for (Request *request = requests; request != NULL; request = request->all_next)
	{
		if (request->state == REQUEST_WAITING || request->state == REQUEST_RUNNING)
		{
			pool_leave(request);
			answer_busy(request, "the gateway is being stopped");
			http_answered(request);
		}
	}
	http_run();
	MHD_stop_daemon(server);
}
