/*-------------------------------------------------------------------------
 *
 * answer.c
 *		Answers: what the extension gives, and the few that the gateway itself
 *		has, which never have anything of the inside.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway.h"

static const char problem_type[] = "Content-Type: application/problem+json";

/* What HTTP calls a status. */
static const char *
status_title(unsigned int status)
{
	switch (status)
	{
		case 400:
			return "Bad Request";
		case 401:
			return "Unauthorized";
		case 403:
			return "Forbidden";
		case 404:
			return "Not Found";
		case 405:
			return "Method Not Allowed";
		case 408:
			return "Request Timeout";
		case 413:
			return "Content Too Large";
		case 501:
			return "Not Implemented";
		case 503:
			return "Service Unavailable";
		case 504:
			return "Gateway Timeout";
		default:
			return "Internal Server Error";
	}
}

/* Answer with a problem (RFC 9457).  detail is text of the gateway's own, which is JSON as it is. */
void
answer_problem(Request *request, unsigned int status, const char *code, const char *detail)
{
	int			length = snprintf(request->content_buffer, sizeof(request->content_buffer),
								  "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,\"detail\":\"%s\"%s%s%s}",
								  status_title(status), status, detail, code ? ",\"code\":\"" : "", code ? code : "", code ? "\"" : "");

	request->status = status;
	request->headers = problem_type;
	request->content = request->content_buffer;
	request->content_length = (size_t) length;
}

/* Answer that it cannot be done now. */
void
answer_busy(Request *request, const char *detail)
{
	answer_problem(request, 503, NULL, detail);
	request->retry_after = "1";
}

/* Answer with JSON of the gateway's own. */
void
answer_text(Request *request, unsigned int status, const char *content)
{
	request->status = status;
	request->content = content;
	request->content_length = strlen(content);
}

/* Is it of that class? */
static bool
is_class(const char *sqlstate, const char *class)
{
	return strncmp(sqlstate, class, strlen(class)) == 0;
}

/*
 * Answer to an error.  Those that are the caller's are answers of the extension;
 * these here are what it lets through, and what PostgreSQL finds before it is
 * called: arguments that are no text, a role that may not call it.
 */
void
answer_error(Request *request, const char *sqlstate, bool in_setup)
{
	if (strcmp(sqlstate, "42501") == 0 || (in_setup && (strcmp(sqlstate, "22023") == 0 || strcmp(sqlstate, "42704") == 0)))
		answer_problem(request, 403, "42501", "not allowed");
	else if (strcmp(sqlstate, "22021") == 0)
		answer_problem(request, 400, sqlstate, "the request is no text in UTF-8");
	else if (strcmp(sqlstate, "57014") == 0)
		answer_busy(request, "the request was cancelled");
	else if (is_class(sqlstate, "40") || strcmp(sqlstate, "55P03") == 0)
		answer_busy(request, "another transaction was in the way");
	else if (is_class(sqlstate, "53") || is_class(sqlstate, "57") || is_class(sqlstate, "08") || strcmp(sqlstate, "25006") == 0 ||
			 strcmp(sqlstate, "55000") == 0 || strcmp(sqlstate, "26000") == 0 || strcmp(sqlstate, "42P05") == 0)
		answer_busy(request, "the server cannot do it now");
	else
		answer_problem(request, 500, NULL, "internal server error");
}

/* Answer with what the extension gives, which is the request's from now on. */
void
answer_result(Request *request, PGresult *result)
{
	int			status = 0;

	if (result != NULL && PQntuples(result) == 1 && PQnfields(result) == 3 && !PQgetisnull(result, 0, 0))
		status = atoi(PQgetvalue(result, 0, 0));
	if (status < 200 || status > 599)
	{
		PQclear(result);
		answer_problem(request, 500, NULL, "internal server error");
		return;
	}
	request->result = result;
	request->status = (unsigned int) status;
	request->headers = PQgetisnull(result, 0, 1) ? NULL : PQgetvalue(result, 0, 1);
	request->content = PQgetvalue(result, 0, 2);
	request->content_length = (size_t) PQgetlength(result, 0, 2);
}

/* Callback: a result was sent. */
static void
free_result(void *result)
{
	PQclear(result);
}

/* Add the headers that are lines of a text.  libmicrohttpd takes no line breaks in them. */
static void
add_lines(struct MHD_Response *response, const char *lines)
{
	while (*lines != '\0')
	{
		size_t		length = strcspn(lines, "\n");
		char		line[8192];
		char	   *value;

		if (length < sizeof(line))
		{
			memcpy(line, lines, length);
			line[length] = '\0';
			value = strstr(line, ": ");
			if (value != NULL)
			{
				*value = '\0';
				(void) MHD_add_response_header(response, line, value + 2);
			}
		}
		lines += length + (lines[length] != '\0');
	}
}

/* Add the headers of an answer. */
static void
add_headers(struct MHD_Response *response, const Request *request)
{
	(void) MHD_add_response_header(response, "Cache-Control", "no-store");
	(void) MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	if (request->headers != NULL)
		add_lines(response, request->headers);
	if (MHD_get_response_header(response, "Content-Type") == NULL)
		(void) MHD_add_response_header(response, "Content-Type", "application/json");
	if (request->challenge != NULL)
		(void) MHD_add_response_header(response, "WWW-Authenticate", request->challenge);
	if (request->retry_after != NULL)
		(void) MHD_add_response_header(response, "Retry-After", request->retry_after);
	if (request->allow != NULL)
		(void) MHD_add_response_header(response, "Allow", request->allow);
	if (stopping() || request->ends)
		(void) MHD_add_response_header(response, "Connection", "close");
}

/* Have the answer sent. */
enum MHD_Result
answer_send(Request *request)
{
	struct MHD_Response *response = stream_response(request);
	bool		streams = response != NULL;
	enum MHD_Result done;

	if (!streams && request->result != NULL)
		response = MHD_create_response_from_buffer_with_free_callback_cls(request->content_length, (void *) (uintptr_t) request->content,
																		  free_result, request->result);
	else if (!streams)
		response = MHD_create_response_from_buffer(request->content_length, (void *) (uintptr_t) request->content, MHD_RESPMEM_MUST_COPY);
	if (response == NULL)
		return MHD_NO;
	add_headers(response, request);
	if (!streams)
	{
		request->sent = request->content_length;
		request->result = NULL;
	}
	done = MHD_queue_response(request->mhd, request->status, response);
	MHD_destroy_response(response);
	return done;
}
