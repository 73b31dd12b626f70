/*-------------------------------------------------------------------------
 *
 * log.c
 *		The log: JSON, one object a line, on the standard output.  It has routes
 *		and not paths, in which ids of patients are, and no tokens.
 *
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gateway.h"

/* Print the time, as the first key. */
static void
put_time(void)
{
	struct timespec at;
	struct tm	utc;

	(void) clock_gettime(CLOCK_REALTIME, &at);
	(void) gmtime_r(&at.tv_sec, &utc);
	(void) printf("{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ\"", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
				  utc.tm_hour, utc.tm_min, utc.tm_sec, at.tv_nsec / 1000000);
}

/* Print a key with a string. */
static void
put_string(const char *key, const char *value)
{
	(void) printf(",\"%s\":\"", key);
	for (; *value != '\0'; value++)
	{
		if (*value == '"' || *value == '\\')
			(void) printf("\\%c", *value);
		else if (*value == '\n' && value[1] == '\0')
			break;				/* libpq's messages end so */
		else if ((unsigned char) *value < 0x20)
			(void) printf("\\u%04x", (unsigned) (unsigned char) *value);
		else
			(void) putchar(*value);
	}
	(void) putchar('"');
}

/* Log something about the gateway itself. */
void
log_event(const char *level, const char *event, const char *format,...)
{
	char		message[1024];
	va_list		args;

	va_start(args, format);
	(void) vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	put_time();
	put_string("level", level);
	put_string("event", event);
	put_string("message", message);
	(void) printf("}\n");
	(void) fflush(stdout);
}

const char *const log_methods[NMETHODS] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"};

/* The number of a request's method, if it is a known one: clients could send anything. */
size_t
log_method(const Request *request)
{
	size_t		i = 0;

	while (i < NMETHODS - 1 && (request->method == NULL || strcmp(request->method, log_methods[i]) != 0))
		i++;
	return i;
}

/* The status of a request that is over; 499: its client had gone. */
unsigned int
log_status(const Request *request)
{
	return request->state == REQUEST_GONE && !request->late ? 499 : request->status;
}

/* Log a request that is over. */
void
log_request(const Request *request)
{
	if (!config.access_log)
		return;
	put_time();
	put_string("event", "request");
	put_string("method", log_methods[log_method(request)]);
	put_string("route", request->route ? request->route->path : "none");
	(void) printf(",\"status\":%u,\"ms\":%.3f,\"received\":%zu,\"sent\":%zu", log_status(request),
				  (now() - request->begun) * 1000, request->length, request->sent);
	if (request->ended != NULL)
		put_string("ended", request->ended);
	if (request->role[0] != '\0')
		put_string("role", request->role);
	if (request->trace[0] != '\0')
		put_string("trace", request->trace);
	(void) printf("}\n");
}

/* Have written what was logged. */
void
log_flush(void)
{
	(void) fflush(stdout);
}
