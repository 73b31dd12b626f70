/*-------------------------------------------------------------------------
 *
 * uri.c
 *		A URI in its parts.  Segments are decoded after they are separated, so
 *		that an encoded slash is one of the segment's.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>
#include <strings.h>

#include "gateway.h"

/* The value of a hexadecimal digit, or -1. */
static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/*
 * Decode text in place.  False if it is malformed, or has a null character,
 * which no text of PostgreSQL has.
 */
static bool
decode(char *text, char *end, bool plus_is_space, Slice *decoded)
{
	char	   *out = text;

	decoded->data = text;
	for (char *in = text; in < end; in++)
	{
		if (*in == '%')
		{
			int			high = end - in > 2 ? hex_value(in[1]) : -1;
			int			low = end - in > 2 ? hex_value(in[2]) : -1;

			if (high < 0 || low < 0 || (high == 0 && low == 0))
				return false;
			*out++ = (char) (high * 16 + low);
			in += 2;
		}
		else
			*out++ = *in == '+' && plus_is_space ? ' ' : *in;
	}
	decoded->length = (size_t) (out - text);
	return true;
}

/* Take the path apart, which begins with a slash. */
static bool
parse_path(char *text, char *end, Uri *uri)
{
	if (text == end || *text != '/')
		return false;
	while (text < end)
	{
		char	   *begin = text + 1;
		char	   *slash = memchr(begin, '/', (size_t) (end - begin));

		text = slash ? slash : end;
		if (uri->nsegments == MAX_SEGMENTS || !decode(begin, text, false, &uri->segments[uri->nsegments++]))
			return false;
	}
	return true;
}

/* Take the query apart, as forms are encoded. */
static bool
parse_query(char *text, char *end, Uri *uri)
{
	while (text < end)
	{
		char	   *and = memchr(text, '&', (size_t) (end - text));
		char	   *stop = and ? and : end;
		char	   *equal = memchr(text, '=', (size_t) (stop - text));
		int			i = uri->nparameters;

		if (stop > text)
		{
			if (i == MAX_PARAMETERS ||
				!decode(text, equal ? equal : stop, true, &uri->names[i]) ||
				!decode(equal ? equal + 1 : stop, stop, true, &uri->values[i]))
				return false;
			uri->nparameters++;
		}
		text = and ? and + 1 : end;
	}
	return true;
}

/* Step over the scheme and the authority that a client may put before the path (RFC 9112, 3.2.2). */
static char *
skip_authority(char *text)
{
	size_t		scheme = strncasecmp(text, "http://", 7) == 0 ? 7 : strncasecmp(text, "https://", 8) == 0 ? 8 : 0;

	return scheme > 0 ? text + scheme + strcspn(text + scheme, "/?") : text;
}

/* The parts of a URI; they point into text, which is changed.  False: it is none. */
bool
uri_parse(char *text, Uri *uri)
{
	char	   *end = text + strlen(text);
	char	   *question = strchr(text, '?');

	memset(uri, 0, sizeof(*uri));
	text = skip_authority(text);
	return parse_path(text, question ? question : end, uri) &&
		(question == NULL || parse_query(question + 1, end, uri));
}
