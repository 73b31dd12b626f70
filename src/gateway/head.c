/*-------------------------------------------------------------------------
 *
 * head.c
 *		What the headers of a request say of it must be one thing.  Where two
 *		programs could read a request in two ways, one of them a proxy, what
 *		is the body to one is the next request to the other.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>
#include <strings.h>

#include "gateway.h"

/* Headers that a request has once */
enum
{
	HOST,
	CONTENT_LENGTH,
	TRANSFER_ENCODING,
	AUTHORIZATION,
	IDEMPOTENCY_KEY,
	NSINGLE
};
static const char *const single[NSINGLE] = {"Host", "Content-Length", "Transfer-Encoding", "Authorization", "Idempotency-Key"};

/*
 * Callback: count a header, or, behind them, one that is malformed: with a space
 * before its colon, or on two lines, of which libmicrohttpd 0.9.75 makes a name
 * that has the second one at its end.  Elsewhere either may be one of ours.
 */
static enum MHD_Result
count_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	int		   *counts = arg;

	(void) kind;
	(void) value;
	counts[NSINGLE] += strpbrk(name, " \t") != NULL;
	for (int i = 0; i < NSINGLE; i++)
	{
		if (strcasecmp(name, single[i]) == 0)
			counts[i]++;
		else if (i != HOST && i != AUTHORIZATION && strncasecmp(name, single[i], strlen(single[i])) == 0)
			counts[NSINGLE]++;
	}
	return MHD_YES;
}

/* Does a request say that it has a body? */
bool
head_has_body(const Request *request)
{
	return MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, single[CONTENT_LENGTH]) != NULL ||
		MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, single[TRANSFER_ENCODING]) != NULL;
}

/* Do the headers say one thing?  False: no, and the request is answered. */
bool
head_check(Request *request, const char *version)
{
	const char *encoding = MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, single[TRANSFER_ENCODING]);
	int			counts[NSINGLE + 1] = {0};

	(void) MHD_get_connection_values(request->mhd, MHD_HEADER_KIND, count_header, counts);
	for (int i = 0; i < NSINGLE; i++)
	{
		if (counts[i] > 1)
			answer_problem(request, 400, NULL, "a header is there more than once");
	}
	if (counts[NSINGLE] > 0)
		answer_problem(request, 400, NULL, "a header is malformed");
	if (encoding != NULL && (counts[CONTENT_LENGTH] > 0 || strcmp(version, "HTTP/1.1") != 0))
		answer_problem(request, 400, NULL, "the length of the body is not clear");
	else if (encoding != NULL && strcasecmp(encoding, "chunked") != 0)
		answer_problem(request, 501, NULL, "the transfer encoding is not known");
	request->ends = request->status != 0;
	return request->status == 0;
}
