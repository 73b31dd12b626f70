/*-------------------------------------------------------------------------
 *
 * metrics.c
 *		GET /metrics: what the gateway counts, and after it what the extension
 *		does, as Prometheus reads it.
 *
 * Labels are methods, routes and statuses from lists of ours, so that there
 * are never more series than these have; an id is in none of them.
 *
 *-------------------------------------------------------------------------
 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pool.h"

/* The last one is for all others */
static const unsigned int statuses[] = {200, 201, 202, 207, 400, 401, 403, 404, 405, 408, 409, 410, 413, 422, 499, 500, 501, 503, 504, 0};

/* Upper bounds of the histogram, in seconds */
static const double bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300};

/* How long requests of a route took */
typedef struct Histogram
{
	uint64_t	counts[lengthof(bounds) + 1];	/* each of one bucket alone */
	double		sum;
} Histogram;

/* The last route is that of requests that have none */
static uint64_t requests[MAX_ROUTES + 1][NMETHODS][lengthof(statuses)];
static Histogram histograms[MAX_ROUTES];
static time_t started;
static bool extension_failed;

/* Note when the gateway was started. */
void
metrics_start(void)
{
	started = time(NULL);
}

/* Count a request that is over. */
void
metrics_count(const Request *request)
{
	int			route = request->route ? (int) (request->route - routes) : nroutes;
	unsigned int status = log_status(request);
	size_t		place = 0;
	double		seconds = now() - request->begun;
	size_t		bucket = 0;

	while (place < lengthof(statuses) - 1 && statuses[place] != status)
		place++;
	requests[route][log_method(request)][place]++;
	if (route == nroutes)
		return;
	while (bucket < lengthof(bounds) && seconds > bounds[bucket])
		bucket++;
	histograms[route].counts[bucket]++;
	histograms[route].sum += seconds;
}

/* Begin a family of series. */
static void
put_family(FILE *out, const char *name, const char *type, const char *help)
{
	(void) fprintf(out, "# HELP clinical_gateway_%s %s\n# TYPE clinical_gateway_%s %s\n", name, help, name, type);
}

/* Put a family that has one series without labels. */
static void
put_value(FILE *out, const char *name, const char *type, const char *help, double value)
{
	put_family(out, name, type, help);
	(void) fprintf(out, "clinical_gateway_%s %.15g\n", name, value);
}

/* Put a series with a label. */
static void
put_labelled(FILE *out, const char *name, const char *label, const char *word, uint64_t value)
{
	(void) fprintf(out, "clinical_gateway_%s{%s=\"%s\"} %llu\n", name, label, word, (unsigned long long) value);
}

/* Put the requests by method, route and status, those that there were. */
static void
put_requests(FILE *out)
{
	put_family(out, "requests_total", "counter", "Requests that are over, by method, route and status (499: the client had gone).");
	for (int i = 0; i <= nroutes; i++)
	{
		for (size_t j = 0; j < NMETHODS; j++)
		{
			for (size_t k = 0; k < lengthof(statuses); k++)
			{
				char		status[16] = "other";

				if (requests[i][j][k] == 0)
					continue;
				if (statuses[k] != 0)
					(void) snprintf(status, sizeof(status), "%u", statuses[k]);
				(void) fprintf(out, "clinical_gateway_requests_total{method=\"%s\",route=\"%s\",status=\"%s\"} %llu\n", log_methods[j],
							   i < nroutes ? routes[i].path : "none", status, (unsigned long long) requests[i][j][k]);
			}
		}
	}
}

/* Put the histogram of each route.  HEAD is with GET there. */
static void
put_histograms(FILE *out)
{
	static const char series[] = "clinical_gateway_request_duration_seconds";

	put_family(out, "request_duration_seconds", "histogram", "Time from the first line of a request until its answer was sent, by route.");
	for (int i = 0; i < nroutes; i++)
	{
		char		labels[128];
		uint64_t	count = 0;

		(void) snprintf(labels, sizeof(labels), "method=\"%s\",route=\"%s\"", routes[i].method, routes[i].path);
		for (size_t j = 0; j <= lengthof(bounds); j++)
		{
			char		bound[16] = "+Inf";

			count += histograms[i].counts[j];
			if (j < lengthof(bounds))
				(void) snprintf(bound, sizeof(bound), "%g", bounds[j]);
			(void) fprintf(out, "%s_bucket{%s,le=\"%s\"} %llu\n", series, labels, bound, (unsigned long long) count);
		}
		(void) fprintf(out, "%s_sum{%s} %.9f\n%s_count{%s} %llu\n", series, labels, histograms[i].sum, series, labels, (unsigned long long) count);
	}
}

/* Put what the pool does. */
static void
put_pool(FILE *out)
{
	PoolFigures figures;

	pool_figures(&figures);
	put_family(out, "pool_connections", "gauge", "Connections to the server, by state: busy is the one, too, that reads the metrics of the extension.");
	put_labelled(out, "pool_connections", "state", "down", (uint64_t) figures.connections[IS_DOWN]);
	put_labelled(out, "pool_connections", "state", "connecting", (uint64_t) figures.connections[IS_CONNECTING]);
	put_labelled(out, "pool_connections", "state", "idle", (uint64_t) figures.connections[IS_IDLE]);
	put_labelled(out, "pool_connections", "state", "busy", (uint64_t) figures.connections[IS_BUSY]);
	put_family(out, "pool_waiting_requests", "gauge", "Requests that wait for a connection; slow: reports that are made at once.");
	put_labelled(out, "pool_waiting_requests", "queue", "normal", (uint64_t) figures.waiting);
	put_labelled(out, "pool_waiting_requests", "queue", "slow", (uint64_t) figures.slow_waiting);
	put_family(out, "pool_rejected_total", "counter", "Requests answered 503, as there was no connection or too many waited for one.");
	put_labelled(out, "pool_rejected_total", "reason", "no_connection", figures.no_connection);
	put_labelled(out, "pool_rejected_total", "reason", "queue_full", figures.queue_full);
	put_value(out, "pool_reconnects_total", "counter", "Connections that were made again.", (double) figures.reconnects);
	put_value(out, "pool_cancelled_calls_total", "counter", "Calls cancelled, as the client had gone or the time was over.", (double) figures.cancelled);
}

/* Put what the gateway itself is and counts. */
static void
put_gateway(FILE *out)
{
	put_family(out, "build_info", "gauge", "Always 1; the labels are versions.");
	(void) fprintf(out, "clinical_gateway_build_info{version=\"%s\",libmicrohttpd=\"%s\",libpq=\"%d\"} 1\n", CLINICAL_VERSION, MHD_get_version(), PQlibVersion());
	put_value(out, "start_time_seconds", "gauge", "When the gateway was started, in seconds of Unix.", (double) started);
	put_value(out, "client_connections", "gauge", "Open connections of clients.", http_clients());
	put_value(out, "requests_in_progress", "gauge", "Requests that are not over, this one included.", http_requests());
	put_requests(out);
	put_histograms(out);
	put_pool(out);
	if (*config.metrics_role != '\0')
		put_value(out, "extension_metrics_success", "gauge", "Whether what follows has the metrics of the extension.", extension_failed ? 0 : 1);
}

/* Note whether the extension gave its metrics, and log it when that changes. */
static bool
take_extension(const Request *request)
{
	bool		failed = request->result == NULL || request->status != 200;

	if (*config.metrics_role == '\0')
		return false;
	if (failed && !extension_failed)
		log_event("error", "metrics", "the extension gives no metrics: status %u", request->status);
	else if (!failed && extension_failed)
		log_event("info", "metrics", "the extension gives its metrics again");
	extension_failed = failed;
	return !failed;
}

/* Answer with the metrics.  The request has what the extension gave, or the problem that there was. */
void
metrics_answer(Request *request)
{
	bool		extension = take_extension(request);
	char	   *text = NULL;
	size_t		length = 0;
	FILE	   *out = open_memstream(&text, &length);
	bool		complete = out != NULL;

	if (out != NULL)
	{
		put_gateway(out);
		if (extension)
			(void) fwrite(request->content, 1, request->content_length, out);
		complete = ferror(out) == 0;
		complete = fclose(out) == 0 && complete;
	}
	PQclear(request->result);
	request->result = NULL;
	/* what the request is freed with: a body, if one was sent, is of no interest */
	free(request->body);
	request->body = text;
	request->retry_after = NULL;
	request->status = 200;
	request->headers = "Content-Type: text/plain; version=0.0.4; charset=utf-8";
	request->content = text;
	request->content_length = length;
	if (!complete)
		answer_busy(request, "out of memory");
}

/* Serve a request for metrics: have the extension asked for its own, if that can be. */
void
metrics_serve(Request *request)
{
	if (*config.metrics_role != '\0')
		pool_take(request);
	if (request->state != REQUEST_WAITING && request->state != REQUEST_RUNNING)
		metrics_answer(request);
}

/* Is the client on this machine?  What a proxy there passes on is from elsewhere, if the proxy says so. */
static bool
is_local(const Request *request)
{
	static const char *const proxies[] = {"Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"};
	const struct sockaddr *address = MHD_get_connection_info(request->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;

	for (size_t i = 0; i < lengthof(proxies); i++)
	{
		if (MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, proxies[i]) != NULL)
			return false;
	}
	if (address->sa_family == AF_INET)
		return (ntohl(((const struct sockaddr_in *) (const void *) address)->sin_addr.s_addr) >> 24) == IN_LOOPBACKNET;
	if (address->sa_family == AF_INET6)
	{
		const struct in6_addr *ip = &((const struct sockaddr_in6 *) (const void *) address)->sin6_addr;

		return IN6_IS_ADDR_LOOPBACK(ip) || (IN6_IS_ADDR_V4MAPPED(ip) && ip->s6_addr[12] == IN_LOOPBACKNET);
	}
	return false;
}

/* May the client read metrics?  False: the request is answered.  The role is not the client's. */
bool
metrics_check(Request *request)
{
	if (strcmp(config.metrics, "off") == 0)
		answer_problem(request, 404, NULL, "there is no such path");
	else if (strcmp(config.metrics, "all") != 0 && !is_local(request))
		answer_problem(request, 403, NULL, "metrics are for clients on the gateway's machine");
	else
		(void) strcpy(request->role, config.metrics_role);
	return request->status == 0;
}
