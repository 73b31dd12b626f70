/*-------------------------------------------------------------------------
 *
 * gateway.h
 *		clinical-gateway: what its files have in common.
 *
 * One thread waits for sockets: of clients, by way of libmicrohttpd, and of
 * the connections to the server.  A request is one call of one function of
 * the extension, in one transaction; nothing is kept between requests.
 * Other threads send cancel requests, as libpq waits for these.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_GATEWAY_H
#define CLINICAL_GATEWAY_H

#include <libpq-fe.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define lengthof(array) (sizeof(array) / sizeof((array)[0]))

/* What a URI may have at most of segments, and of parameters */
#define MAX_SEGMENTS 16
#define MAX_PARAMETERS 16
/* Arguments of a route's function, and variable segments of its path */
#define MAX_ARGUMENTS 6
/* Longest name of a role that PostgreSQL has, with its end */
#define ROLE_LENGTH 64

/* Settings: see config.c */
typedef struct Config
{
	char	   *listen;
	char	   *database;
	char	   *listen_database;
	char	   *tls_certificate;
	char	   *tls_key;
	char	   *jwt_algorithm;
	char	   *jwt_key_file;
	char	   *jwt_jwks_file;
	char	   *jwt_audience;
	char	   *jwt_issuer;
	char	   *role_claim;
	char	   *role_map;
	char	   *actor_claim;
	char	   *anonymous_role;
	char	   *metrics;
	char	   *metrics_role;
	int			jwt_leeway;
	int			pool_size;
	int			slow_size;
	int			prepare;
	int			max_waiting;
	int			max_connections;
	int			max_body;
	int			max_header;
	int			header_timeout;
	int			body_timeout;
	int			idle_timeout;
	int			request_timeout;
	int			slow_timeout;
	int			stop_timeout;
	int			max_streams;
	int			stream_keepalive;
	int			stream_buffer;
	int			access_log;
} Config;

extern Config config;

/* Something whose readiness the loop waits for; the first member of what has it */
typedef struct Source
{
	void		(*ready) (struct Source *source, uint32_t events);
} Source;

/* A piece of text in somebody else's memory; data NULL: none */
typedef struct Slice
{
	const char *data;
	size_t		length;
} Slice;

/* A URI in its parts, decoded */
typedef struct Uri
{
	int			nsegments;
	Slice		segments[MAX_SEGMENTS];
	int			nparameters;
	Slice		names[MAX_PARAMETERS];
	Slice		values[MAX_PARAMETERS];
} Uri;

/* What a route is besides its call */
typedef enum RouteKind
{
	ROUTE_READ,					/* its transaction is read-only */
	ROUTE_STREAM,				/* the same, and its answer goes on: see stream.c */
	ROUTE_WRITE,
	ROUTE_SLOW,					/* may take long: it has some of the pool's connections only */
	ROUTE_LIVE,					/* of the gateway itself */
	ROUTE_READY,
	ROUTE_METRICS,				/* what the gateway counts, and the extension */
	ROUTE_OPENAPI
} RouteKind;

/*
 * A route.  Arguments of its function: "/N" is the Nth variable segment,
 * "?name" a parameter, "body" the body, everything else a header.
 */
typedef struct Route
{
	const char *method;
	const char *path;
	RouteKind	kind;
	const char *function;
	const char *arguments[MAX_ARGUMENTS];
} Route;

typedef struct Request Request;
typedef struct Connection Connection;
typedef struct Stream Stream;

/* How far a request is */
typedef enum RequestState
{
	REQUEST_NEW,
	REQUEST_BODY,				/* the body is coming */
	REQUEST_WAITING,			/* for a connection of the pool */
	REQUEST_RUNNING,
	REQUEST_ANSWERED,			/* the answer is there to be sent */
	REQUEST_GONE				/* the client is */
} RequestState;

struct Request
{
	Source		source;			/* of the client's socket, while the request waits or runs */
	struct MHD_Connection *mhd;
	RequestState state;
	char	   *text;			/* that uri points to */
	bool		valid;			/* text is a URI */
	Uri			uri;
	const Route *route;
	Slice		variables[MAX_ARGUMENTS];
	const char *method;
	char		role[ROLE_LENGTH];
	char	   *actor;
	char		trace[33];		/* id of the trace, or empty */
	char	   *body;
	size_t		length;
	size_t		size;
	bool		too_large;
	bool		ends;			/* what comes after it may be its body: the connection ends with it */
	double		begun;
	double		expires;		/* the token does; 0: never */
	double		deadline;		/* 0: none */
	bool		late;			/* it was past */
	bool		suspended;
	Connection *connection;
	Request    *next;			/* of those that wait, or of all */
	Request    *all_next;
	Request    *all_previous;
	Stream	   *stream;			/* what it has become, or is to become */
	void		(*answered) (Request *request); /* of one that is no client's */
	Slice		last_event;		/* the same: in place of a header */
	/* the answer */
	unsigned int status;
	PGresult   *result;			/* that content is in, or NULL */
	const char *headers;		/* lines, or NULL */
	const char *challenge;		/* of WWW-Authenticate, or NULL */
	const char *retry_after;
	const char *allow;
	char		content_buffer[512];
	const char *content;
	size_t		content_length;
	size_t		sent;
	const char *ended;			/* why its stream ended */
};

/* connect.c */

/* Seconds in which a connection has to be made */
#define CONNECT_TIMEOUT 10.0

extern PGconn *connect_start(const char *database);
extern bool connect_watch(PGconn *pg, int *fd, uint32_t *events, uint32_t wanted, Source *source);
extern bool connect_is_superuser(const PGconn *pg);
extern bool connect_tells(int failures);
extern double connect_again_at(int failures);

/* main.c */
extern double now(void);
extern bool watch(int fd, uint32_t events, Source *source);
extern bool rewatch(int fd, uint32_t events, Source *source);
extern void unwatch(int fd);
extern bool stopping(void);

/* config.c */
extern void config_read(int argc, char **argv);
extern char *config_read_file(const char *path, size_t most, size_t *length);

/* log.c */

/* Methods that are known, and the name of all others, by number */
#define NMETHODS 8
extern const char *const log_methods[NMETHODS];

extern void log_event(const char *level, const char *event, const char *format,...) __attribute__((format(printf, 3, 4)));
extern size_t log_method(const Request *request);
extern unsigned int log_status(const Request *request);
extern void log_request(const Request *request);
extern void log_flush(void);

/* uri.c */
extern bool uri_parse(char *text, Uri *uri);

/* head.c */
extern bool head_check(Request *request, const char *version);
extern bool head_has_body(const Request *request);

/* route.c */
extern const Route routes[];
extern const int nroutes;
extern void route_init(void);
extern const Route *route_find(Request *request, const char **allow);
extern const char *route_statement(const Route *route);
extern int	route_arguments(Request *request, Slice *arguments);
extern bool route_knows(const Route *route, Slice parameter);

/* auth.c */
extern void auth_init(void);
extern bool auth_check(Request *request);

/* jwks.c */
extern void keys_init(void);
extern void keys_reload(void);
extern bool keys_known(void);
extern bool keys_choose(const char *token, Slice *key);

/* metrics.c */
extern void metrics_start(void);
extern bool metrics_check(Request *request);
extern void metrics_serve(Request *request);
extern void metrics_answer(Request *request);
extern void metrics_count(const Request *request);

/* openapi.c */
extern void openapi_answer(Request *request);

/* answer.c */
extern void answer_problem(Request *request, unsigned int status, const char *code, const char *detail);
extern void answer_busy(Request *request, const char *detail);
extern void answer_text(Request *request, unsigned int status, const char *content);
extern void answer_error(Request *request, const char *sqlstate, bool in_setup);
extern void answer_result(Request *request, PGresult *result);
extern enum MHD_Result answer_send(Request *request);

/* http.c */
extern int	http_start(void);
extern void http_run(void);
extern int	http_timeout(void);
extern void http_tick(double at);
extern void http_stop_listening(void);
extern void http_stop(void);
extern void http_answered(Request *request);
extern int	http_requests(void);
extern int	http_clients(void);

/* pool.c */
extern void pool_start(void);
extern bool pool_is_up(void);
extern void pool_take(Request *request);
extern void pool_leave(Request *request);
extern void pool_tick(double at);
extern void pool_cancelled(int number);
extern void pool_stop(void);

/* stream.c */
extern void stream_join(Request *request);
extern void stream_leave(Request *request);
extern struct MHD_Response *stream_response(Request *request);
extern void stream_tick(double at);
extern void stream_stop(void);

/* look.c */
extern void stream_look(void);

/* listen.c */
extern void listen_tick(double at);
extern void listen_stop(void);

/* call.c */
extern void call_begin(Connection *connection);
extern bool call_continue(Connection *connection);

/* cancel.c */
extern void cancel_start(void);
extern bool cancel_send(PGconn *pg, int number);
extern void cancel_stop(void);

#endif
