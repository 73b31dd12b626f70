/*-------------------------------------------------------------------------
 *
 * route.c
 *		The routes, and the call that each of them is.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"

const Route routes[] = {
	{"GET", "/api/v1/patient/{id}", ROUTE_READ, "http_get_patient", {"/0"}},
	{"GET", "/api/v1/patients", ROUTE_READ, "http_find_patients", {"?project", "?center", "?contains", "?after", "?limit"}},
	{"POST", "/api/v1/projects", ROUTE_WRITE, "http_create_project", {"body"}},
	{"GET", "/api/v1/projects/{code}", ROUTE_READ, "http_get_project", {"/0"}},
	{"POST", "/api/epro/submit", ROUTE_WRITE, "http_submit", {"body", "Idempotency-Key", "traceparent"}},
	{"GET", "/api/epro/patients/{patient}/submissions/{id}", ROUTE_READ, "http_get_submission", {"/0", "/1"}},
	{"POST", "/api/v1/projects/{code}/reports", ROUTE_WRITE, "http_request_report", {"/0", "body"}},
	{"GET", "/api/v1/projects/{code}/report", ROUTE_SLOW, "http_make_report", {"/0", "?from", "?to", "?options", "Accept"}},
	{"GET", "/api/v1/reports/{id}", ROUTE_READ, "http_get_report", {"/0", "Accept"}},
	{"DELETE", "/api/v1/reports/{id}", ROUTE_WRITE, "http_cancel_report", {"/0"}},
	{"GET", "/api/v1/alerts", ROUTE_READ, "http_list_alerts", {"?project", "?limit"}},
	{"GET", "/api/v1/alerts/stream", ROUTE_STREAM, "http_stream_alerts", {"?project", "Last-Event-ID"}},
	{"POST", "/api/v1/patients/{patient}/alerts/{id}/acknowledge", ROUTE_WRITE, "http_acknowledge_alert", {"/0", "/1", "body"}},
	{"GET", "/healthz", ROUTE_LIVE, NULL, {NULL}},
	{"GET", "/readyz", ROUTE_READY, NULL, {NULL}},
	{"GET", "/metrics", ROUTE_METRICS, "http_metrics", {NULL}},
	{"GET", "/openapi.json", ROUTE_OPENAPI, NULL, {NULL}}
};
const int	nroutes = lengthof(routes);

_Static_assert(lengthof(routes) <= MAX_ROUTES, "there is room for all routes");

static char *statements[lengthof(routes)];

/* The statement that calls a route's function; names come from the table above alone. */
static char *
make_statement(const Route *route)
{
	static const char *const begin = "SELECT r.status,"
		" (SELECT pg_catalog.string_agg(pg_catalog.translate(pg_catalog.concat(h.key, ': ', h.value), E'\\r\\n', ''), E'\\n') FROM pg_catalog.jsonb_each_text(r.headers) h),"
		" COALESCE(r.content, r.body::pg_catalog.text) FROM clinical.";
	char	   *text = malloc(1024);
	int			length;

	if (text == NULL)
		return NULL;
	length = snprintf(text, 1024, "%s%s(", begin, route->function);
	for (int i = 0; i < MAX_ARGUMENTS && route->arguments[i] != NULL; i++)
		length += snprintf(text + length, 1024 - (size_t) length, "%s$%d", i > 0 ? ", " : "", i + 1);
	(void) snprintf(text + length, 1024 - (size_t) length, ") r");
	return text;
}

/* Make the statements. */
void
route_init(void)
{
	for (int i = 0; i < nroutes; i++)
	{
		if (routes[i].function != NULL && (statements[i] = make_statement(&routes[i])) == NULL)
		{
			log_event("error", "start", "out of memory");
			exit(1);
		}
	}
}

/* The statement of a route. */
const char *
route_statement(const Route *route)
{
	return statements[route - routes];
}

/* Is the path of the request that of the route?  Its variable segments are noted. */
static bool
matches(const Route *route, Request *request)
{
	const char *pattern = route->path;
	int			variables = 0;

	for (int i = 0; i < request->uri.nsegments; i++)
	{
		const Slice *segment = &request->uri.segments[i];
		size_t		length;

		if (*pattern++ != '/')
			return false;
		length = strcspn(pattern, "/");
		if (*pattern == '{')
			request->variables[variables++] = *segment;
		else if (segment->length != length || memcmp(segment->data, pattern, length) != 0)
			return false;
		pattern += length;
	}
	return *pattern == '\0';
}

/* The methods that a path has, for the header Allow. */
static const char *
allowed(bool get, bool post, bool delete)
{
	static const char *const lists[] = {NULL, "GET, HEAD", "POST", "GET, HEAD, POST", "DELETE", "GET, HEAD, DELETE",
	"POST, DELETE", "GET, HEAD, POST, DELETE"};

	return lists[(get ? 1 : 0) + (post ? 2 : 0) + (delete ? 4 : 0)];
}

/*
 * The route of a request, or NULL: then allow has the methods that the path has,
 * or is NULL, too, and there is no such path.
 */
const Route *
route_find(Request *request, const char **allow)
{
	const char *method = strcmp(request->method, "HEAD") == 0 ? "GET" : request->method;
	bool		get = false;
	bool		post = false;
	bool		delete = false;

	for (int i = 0; i < nroutes; i++)
	{
		if (!matches(&routes[i], request))
			continue;
		if (strcmp(routes[i].method, method) == 0)
			return &routes[i];
		get |= routes[i].method[0] == 'G';
		post |= routes[i].method[0] == 'P';
		delete |= routes[i].method[0] == 'D';
	}
	*allow = allowed(get, post, delete);
	return NULL;
}

/* Is a text of that name? */
static bool
is_named(Slice text, const char *name)
{
	return text.length == strlen(name) && memcmp(text.data, name, text.length) == 0;
}

/* Does the route have a parameter of that name? */
bool
route_knows(const Route *route, Slice parameter)
{
	for (int i = 0; i < MAX_ARGUMENTS && route->arguments[i] != NULL; i++)
	{
		if (route->arguments[i][0] == '?' && is_named(parameter, route->arguments[i] + 1))
			return true;
	}
	return false;
}

/* The value of a parameter. */
static Slice
parameter(const Request *request, const char *name)
{
	Slice		none = {NULL, 0};

	for (int i = 0; i < request->uri.nparameters; i++)
	{
		if (is_named(request->uri.names[i], name))
			return request->uri.values[i];
	}
	return none;
}

/* The value of a header. */
static Slice
header(const Request *request, const char *name)
{
	Slice		value = request->last_event;

	if (request->mhd == NULL)
		return value;
	value.data = MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, name);
	if (value.data != NULL)
		value.length = strlen(value.data);
	return value;
}

/* The arguments of the call that a request is; how many. */
int
route_arguments(Request *request, Slice *arguments)
{
	const Route *route = request->route;
	int			i;

	for (i = 0; i < MAX_ARGUMENTS && route->arguments[i] != NULL; i++)
	{
		const char *name = route->arguments[i];

		if (*name == '/')
			arguments[i] = request->variables[name[1] - '0'];
		else if (*name == '?')
			arguments[i] = parameter(request, name + 1);
		else if (strcmp(name, "body") == 0)
		{
			arguments[i].data = request->body ? request->body : "";
			arguments[i].length = request->length;
		}
		else if (strcmp(name, "traceparent") == 0 && request->trace[0] == '\0')
			arguments[i].data = NULL;
		else
			arguments[i] = header(request, name);
	}
	return i;
}
