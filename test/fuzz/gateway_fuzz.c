/*-------------------------------------------------------------------------
 *
 * gateway_fuzz.c
 *		A libFuzzer target of what clinical-gateway reads itself: URIs, tokens
 *		and their claims, the map of roles, its file of settings, and headers
 *		of an answer.  The first byte of an input says which; what comes of it
 *		must be what a slow and literal reading says.
 *
 *-------------------------------------------------------------------------
 */
#include <openssl/hmac.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* the functions in question are static; the header is ours, and an error of a setting no end */
static const char *authorization;
static jmp_buf refused;
#define MHD_lookup_connection_value(mhd, kind, name) (authorization)
#include "../../src/gateway/auth.c"
#undef MHD_lookup_connection_value
#include "../../src/gateway/answer.c"
#define exit(status) longjmp(refused, 1)
#include "../../src/gateway/config.c"
#undef exit

#define MUST(condition) do { if (!(condition)) { fprintf(stderr, "does not hold: %s, line %d\n", #condition, __LINE__); abort(); } } while (0)

static const char secret[] = "a secret of the fuzzer that has more than 32 bytes";

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is logged is not looked at. */
void
log_event(const char *level, const char *event, const char *format,...)
{
	(void) level;
	(void) event;
	(void) format;
}

/* The gateway is not being stopped. */
bool
stopping(void)
{
	return false;
}

/* Of parts that are not here: a clock, and streams, which no answer is. */
double
now(void)
{
	return 1;
}

struct MHD_Response *
stream_response(Request *request)
{
	(void) request;
	return NULL;
}

/* --- URIs --- */

/* The value of a hexadecimal digit; -1: it is none. */
static int
digit_of(int c)
{
	const char *digits = "0123456789abcdef0123456789ABCDEF";
	const char *found = c ? strchr(digits, c) : NULL;

	return found ? (int) ((found - digits) % 16) : -1;
}

/* Is a part what these bytes stand for? */
static bool
decodes_to(const char *from, size_t length, bool plus_is_space, Slice part)
{
	size_t		n = 0;

	for (size_t i = 0; i < length; i++, n++)
	{
		int			c = (unsigned char) from[i];

		if (c == '%')
		{
			c = digit_of(from[i + 1]) * 16 + digit_of(from[i + 2]);
			i += 2;
		}
		else if (c == '+' && plus_is_space)
			c = ' ';
		if (n >= part.length || (unsigned char) part.data[n] != c || c == 0)
			return false;
	}
	return n == part.length;
}

/* The path and the query of a good URI are what its parts are. */
static void
check_parts(const char *text, const Uri *uri)
{
	const char *path = text;
	const char *query = strchr(text, '?');
	int			n = 0;

	if (*text != '/')
	{
		path = strstr(text, "//") + 2;
		path += strcspn(path, "/");
		query = strchr(path, '?');
	}
	MUST(*path == '/');
	while (*path == '/')
	{
		size_t		length = strcspn(++path, query ? "/?" : "/");

		MUST(n < uri->nsegments && decodes_to(path, length, false, uri->segments[n]));
		n++;
		path += length;
	}
	MUST(n == uri->nsegments && (query ? path == query : *path == '\0'));
	n = 0;
	while (query != NULL && *query != '\0')
	{
		size_t		length = strcspn(++query, "&");
		const char *equal = memchr(query, '=', length);
		size_t		name = equal ? (size_t) (equal - query) : length;

		if (length > 0)
		{
			MUST(n < uri->nparameters && decodes_to(query, name, true, uri->names[n]));
			MUST(decodes_to(equal ? equal + 1 : query, equal ? length - name - 1 : 0, true, uri->values[n]));
			n++;
		}
		query += length;
	}
	MUST(n == uri->nparameters);
}

/* Add a part, with each of its bytes encoded. */
static char *
encode_part(char *out, char before, Slice part)
{
	*out++ = before;
	for (size_t i = 0; i < part.length; i++)
		out += sprintf(out, i % 2 ? "%%%02x" : "%%%02X", (unsigned char) part.data[i]);
	return out;
}

/* Encoded again, a URI has the same parts. */
static void
check_again(const Uri *uri, size_t size)
{
	char	   *text = malloc(size * 3 + MAX_PARAMETERS * 2 + MAX_SEGMENTS + 2);
	char	   *out = text;
	Uri			again;

	for (int i = 0; i < uri->nsegments; i++)
		out = encode_part(out, '/', uri->segments[i]);
	for (int i = 0; i < uri->nparameters; i++)
	{
		out = encode_part(out, i == 0 ? '?' : '&', uri->names[i]);
		out = encode_part(out, '=', uri->values[i]);
	}
	*out = '\0';
	MUST(uri_parse(text, &again));
	MUST(again.nsegments == uri->nsegments && again.nparameters == uri->nparameters);
	for (int i = 0; i < uri->nsegments; i++)
		MUST(again.segments[i].length == uri->segments[i].length && memcmp(again.segments[i].data, uri->segments[i].data, uri->segments[i].length) == 0);
	for (int i = 0; i < uri->nparameters; i++)
	{
		MUST(again.names[i].length == uri->names[i].length && memcmp(again.names[i].data, uri->names[i].data, uri->names[i].length) == 0);
		MUST(again.values[i].length == uri->values[i].length && memcmp(again.values[i].data, uri->values[i].data, uri->values[i].length) == 0);
	}
	free(text);
}

/* A request line's target. */
static void
try_uri(const char *text, size_t size)
{
	static const char *const methods[] = {"GET", "POST", "DELETE", "HEAD", "PUT"};
	char	   *copy = strdup(text);
	Request		request = {0};

	if (uri_parse(copy, &request.uri))
	{
		check_parts(text, &request.uri);
		check_again(&request.uri, size);
		for (size_t i = 0; i < lengthof(methods); i++)
		{
			const char *allow = NULL;

			request.method = methods[i];
			MUST(route_find(&request, &allow) == NULL || allow == NULL);
		}
	}
	free(copy);
}

/* --- tokens --- */

/* Add bytes in base64url. */
static char *
encode_base64url(char *out, const unsigned char *data, size_t size)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

	for (size_t i = 0; i < size; i += 3)
	{
		unsigned int bits = (unsigned int) data[i] << 16 | (i + 1 < size ? data[i + 1] << 8 : 0) | (i + 2 < size ? data[i + 2] : 0);

		for (size_t j = 0; j < (size - i < 3 ? size - i : 3) + 1; j++)
			*out++ = digits[bits >> (18 - 6 * j) & 63];
	}
	*out = '\0';
	return out;
}

/* Add what signs a text. */
static void
sign(const char *text, size_t size, char *out)
{
	unsigned char bytes[EVP_MAX_MD_SIZE];
	unsigned int length;

	HMAC(EVP_sha256(), secret, (int) sizeof(secret) - 1, (const unsigned char *) text, size, bytes, &length);
	encode_base64url(out, bytes, length);
}

/* Is a role one that a token with these claims may have? */
static bool
is_role_of(const char *role, const json_t *claims)
{
	const json_t *audience = json_object_get(claims, "aud");
	const json_t *end = json_object_get(claims, "exp");
	const char *name = json_string_value(json_object_get(claims, "role"));
	bool		ours = json_is_string(audience) && strcmp(json_string_value(audience), "study") == 0;

	for (size_t i = 0; i < json_array_size(audience); i++)
		ours |= json_is_string(json_array_get(audience, i)) && strcmp(json_string_value(json_array_get(audience, i)), "study") == 0;
	return ours && json_is_number(end) && json_number_value(end) > (double) time(NULL) - 31 &&
		name != NULL && *name != '\0' && strcmp(name, "none") != 0 && strlen(name) < ROLE_LENGTH && strcmp(name, role) == 0;
}

/* The header Authorization; claims: those that were signed, or NULL. */
static void
try_header(const char *header, const json_t *claims)
{
	Request		request = {0};

	authorization = header;
	if (auth_check(&request))
	{
		const char *dot = strrchr(header, '.');
		const char *begin = header + 7 + strspn(header + 7, " ");
		char		signature[100];

		MUST(dot != NULL && dot > begin);
		sign(begin, (size_t) (dot - begin), signature);
		MUST(strcmp(signature, dot + 1) == 0);
		MUST(request.status == 0 && request.role[0] != '\0' && memchr(request.role, 0, ROLE_LENGTH) != NULL);
		MUST(claims == NULL || is_role_of(request.role, claims));
	}
	else
		MUST(request.status == 401 || request.status == 403);
	free(request.actor);
}

/* Claims, which are signed as they should be; a first line is the token's header. */
static void
try_claims(const char *text, size_t size)
{
	const char *line = memchr(text, '\n', size);
	const char *head = line ? text : "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
	size_t		head_size = line ? (size_t) (line - text) : strlen(head);
	const char *body = line ? line + 1 : text;
	size_t		body_size = size - (size_t) (body - text);
	char	   *header = malloc((head_size + body_size) * 2 + 200);
	char	   *out = header + sprintf(header, "Bearer ");
	json_t	   *claims = json_loadb(body, body_size, JSON_ALLOW_NUL, NULL);

	out = encode_base64url(out, (const unsigned char *) head, head_size);
	*out++ = '.';
	out = encode_base64url(out, (const unsigned char *) body, body_size);
	sign(header + 7, (size_t) (out - header) - 7, out + 1);
	*out = '.';
	try_header(header, claims);
	json_decref(claims);
	free(header);
}

/* --- the rest --- */

/* A value of the role claim, a line break, and the map. */
static void
try_map(char *text)
{
	char	   *map = strchr(text, '\n');
	char	   *before = config.role_map;
	char		role[ROLE_LENGTH + 1] = "";
	char		wanted[ROLE_LENGTH] = "";
	bool		found;

	if (map == NULL)
		return;
	*map++ = '\0';
	config.role_map = map;
	role[ROLE_LENGTH] = 'x';
	found = map_role(text, role);
	MUST(role[ROLE_LENGTH] == 'x');
	config.role_map = before;
	if (*map == '\0')
	{
		MUST(!found || strcmp(role, text) == 0);
		return;
	}
	while (map != NULL && wanted[0] == '\0')
	{
		char	   *item = strsep(&map, ",");

		if (strncmp(item, text, strlen(text)) == 0 && item[strlen(text)] == '=' && strlen(item + strlen(text) + 1) < ROLE_LENGTH)
			strcpy(wanted, item + strlen(text) + 1);
	}
	MUST(found == (wanted[0] != '\0') && (!found || strcmp(role, wanted) == 0));
}

/* A file of settings. */
static void
try_settings(const char *text)
{
	Config		before = config;
	char	   *copy = strdup(text);
	char	   *rest = copy;
	char	   *line;

	/* texts are not those of before, which stay */
	for (size_t i = 0; i < lengthof(settings); i++)
	{
		if (settings[i].text != NULL)
			*(char **) settings[i].value = NULL;
		settings[i].source = 0;
	}
	if (setjmp(refused) == 0)
	{
		while ((line = strsep(&rest, "\n")) != NULL)
			set_line("file", line);
	}
	for (size_t i = 0; i < lengthof(settings); i++)
	{
		const int  *number = settings[i].value;

		if (settings[i].text != NULL)
			free(*(char **) settings[i].value);
		else
			MUST(*number == settings[i].number || (*number >= settings[i].least && *number <= settings[i].most));
	}
	config = before;
	free(copy);
}

/* Callback: a header of an answer. */
static enum MHD_Result
look_at_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	(void) kind;
	MUST(strpbrk(name, "\r\n\t ") == NULL && *name != '\0');
	MUST(strpbrk(value, "\r\n") == NULL);
	++*(int *) arg;
	return MHD_YES;
}

/* Headers of an answer, as lines. */
static void
try_lines(const char *text)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
	int			lines = 1;
	int			headers = 0;

	add_lines(response, text);
	for (const char *c = text; *c != '\0'; c++)
		lines += *c == '\n';
	MHD_get_response_headers(response, look_at_header, &headers);
	MUST(headers <= lines);
	MHD_destroy_response(response);
}

/* Settings, and a file with the secret, as the gateway has them. */
static void
begin_once(void)
{
	static bool begun;
	char		path[] = "/tmp/gateway_fuzz_XXXXXX";
	static char *arguments[] = {"gateway_fuzz", "--jwt_algorithm=HS256", "--jwt_audience=study"};
	int			fd;

	if (begun)
		return;
	begun = true;
	fd = mkstemp(path);
	MUST(fd >= 0 && write(fd, secret, sizeof(secret) - 1) == (ssize_t) sizeof(secret) - 1);
	close(fd);
	config_read(lengthof(arguments), arguments);
	free(config.jwt_key_file);
	config.jwt_key_file = strdup(path);
	auth_init();
	unlink(path);
}

/* One input. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text;

	begin_once();
	if (size == 0)
		return 0;
	/* a text of its own, so that what is read beyond its end is found */
	text = malloc(size);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	switch (data[0] % 6)
	{
		case 0:
			try_uri(text, size);
			break;
		case 1:
			try_header(text, NULL);
			break;
		case 2:
			try_claims(text, size - 1);
			break;
		case 3:
			try_map(text);
			break;
		case 4:
			try_settings(text);
			break;
		case 5:
			try_lines(text);
			break;
	}
	free(text);
	return 0;
}
