/*-------------------------------------------------------------------------
 *
 * config.c
 *		Settings: from the command line, or else the environment, or else a file.
 *
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway.h"

Config		config;

typedef struct Setting
{
	const char *name;
	void	   *value;
	const char *text;			/* the default of a text, or NULL: it is a number */
	int			number;			/* the default of a number */
	int			least;
	int			most;
	const char *description;
	int			source;			/* where it came from: 0 default, 1 file, 2 environment, 3 command line */
} Setting;

#define TEXT(name, otherwise, description) {#name, &config.name, otherwise, 0, 0, 0, description, 0}
#define NUMBER(name, otherwise, least, most, description) {#name, &config.name, NULL, otherwise, least, most, description, 0}

static Setting settings[] = {
	TEXT(listen, "127.0.0.1:8080", "address and port; [::]:8080 for all of IPv6 and IPv4"),
	TEXT(database, "", "libpq connection string, of a role that is NOINHERIT"),
	TEXT(listen_database, "", "the same, for LISTEN, past a pgbouncer in transaction mode; empty: database"),
	TEXT(tls_certificate, "", "file with the certificate (PEM); empty: no TLS"),
	TEXT(tls_key, "", "file with its key"),
	TEXT(jwt_algorithm, "RS256", "HS256, RS256 or ES256; tokens of other algorithms are refused"),
	TEXT(jwt_key_file, "", "file with the public key (PEM), or the secret of HS256; empty: no tokens are taken"),
	TEXT(jwt_jwks_file, "", "file with the keys in a JWK Set, instead; SIGHUP has it read again"),
	TEXT(jwt_audience, "", "what the claim aud must have"),
	TEXT(jwt_issuer, "", "what the claim iss must be; empty: anything"),
	TEXT(role_claim, "role", "the claim that gives the role; dots lead into objects"),
	TEXT(role_map, "", "value=role,value=role: roles of the claim's values; empty: the value is the role"),
	TEXT(actor_claim, "sub", "the claim that becomes clinical.actor"),
	TEXT(anonymous_role, "", "the role of requests without a token; empty: they are refused"),
	TEXT(metrics, "loopback", "who may read /metrics: loopback (clients of this machine), all, or off"),
	TEXT(metrics_role, "", "the role that reads the metrics of the extension; empty: those of the gateway only"),
	NUMBER(jwt_leeway, 30, 0, 600, "seconds that clocks may differ"),
	NUMBER(pool_size, 16, 1, 1000, "connections to the server"),
	NUMBER(slow_size, 0, 0, 1000, "how many of them reports that are made at once may have; 0: half"),
	NUMBER(prepare, 1, 0, 1, "prepared statements; 0 for a pgbouncer that does not know them"),
	NUMBER(max_waiting, 1000, 0, 100000, "requests that wait for a connection; further ones are answered 503"),
	NUMBER(max_connections, 4096, 1, 100000, "connections of clients"),
	NUMBER(max_body, 4194304, 0, 1073741823, "bytes of a body"),
	NUMBER(max_header, 16384, 1024, 1048576, "bytes of a request line with its headers, roughly"),
	NUMBER(header_timeout, 10, 1, 3600, "seconds in which the first headers of a connection must be there"),
	NUMBER(body_timeout, 30, 1, 3600, "seconds in which a body must be there"),
	NUMBER(idle_timeout, 60, 1, 3600, "seconds after which an idle connection of a client is closed"),
	NUMBER(request_timeout, 30, 1, 86400, "seconds in which the server must have answered"),
	NUMBER(slow_timeout, 600, 1, 86400, "the same for reports that are made at once"),
	NUMBER(stop_timeout, 30, 0, 3600, "seconds that requests have to end when the gateway is stopped"),
	NUMBER(max_streams, 1000, 0, 100000, "streams of alerts; further ones are answered 503"),
	NUMBER(stream_keepalive, 15, 1, 3600, "seconds between two signs of life of a stream"),
	NUMBER(stream_buffer, 262144, 1024, 1073741823, "bytes that a stream may be behind before it is ended"),
	NUMBER(access_log, 1, 0, 1, "a line of the log for each request")
};

/* Say what is wrong, and end the program. */
static void
refuse(const char *name, const char *why)
{
	(void) fprintf(stderr, "clinical-gateway: %s: %s\n", name, why);
	exit(2);
}

/* Set a setting, unless it was set by what comes first. */
static void
set(Setting *setting, const char *value, int source)
{
	char	   *end;
	long		number;

	if (setting->source > source)
		return;
	setting->source = source;
	if (setting->text != NULL)
	{
		char	   *copy = strdup(value);

		if (copy == NULL)
			refuse(setting->name, "out of memory");
		free(*(char **) setting->value);
		*(char **) setting->value = copy;
		return;
	}
	errno = 0;
	number = strtol(value, &end, 10);
	if (errno != 0 || *value == '\0' || *end != '\0' || number < setting->least || number > setting->most)
	{
		char		why[100];

		(void) snprintf(why, sizeof(why), "must be a number from %d to %d", setting->least, setting->most);
		refuse(setting->name, why);
	}
	*(int *) setting->value = (int) number;
}

/* The setting of a name, with - for _ if need be. */
static Setting *
find(const char *name, size_t length)
{
	for (size_t i = 0; i < lengthof(settings); i++)
	{
		const char *wanted = settings[i].name;
		size_t		j = 0;

		while (j < length && (wanted[j] == name[j] || (wanted[j] == '_' && name[j] == '-')))
			j++;
		if (j == length && wanted[j] == '\0')
			return &settings[i];
	}
	return NULL;
}

/* Take "name=value"; where says of whom an error is. */
static void
set_pair(const char *where, const char *pair, int source)
{
	const char *equal = strchr(pair, '=');
	Setting    *setting = equal ? find(pair, (size_t) (equal - pair)) : NULL;

	if (setting == NULL)
		refuse(where, "must be the name of a setting, =, and its value");
	else
		set(setting, equal + 1, source);
}

/* Take a line of the file: "name = value", a comment, or nothing. */
static void
set_line(const char *path, char *line)
{
	char		pair[4096];
	char	   *end = line + strlen(line);
	char	   *equal = strchr(line, '=');
	char	   *name_end;

	while (end > line && isspace((unsigned char) end[-1]))
		*--end = '\0';
	line += strspn(line, " \t");
	if (*line == '\0' || *line == '#')
		return;
	if (equal == NULL)
	{
		refuse(path, "a line must have the name of a setting, =, and its value");
		return;
	}
	for (name_end = equal; name_end > line && isspace((unsigned char) name_end[-1]); name_end--)
		;
	equal++;
	equal += strspn(equal, " \t");
	(void) snprintf(pair, sizeof(pair), "%.*s=%s", (int) (name_end - line), line, equal);
	set_pair(path, pair, 1);
}

/* Read the file of settings. */
static void
read_file(const char *path)
{
	FILE	   *file = fopen(path, "r");
	char		line[4096];

	if (file == NULL)
	{
		refuse(path, strerror(errno));
		return;
	}
	while (fgets(line, sizeof(line), file) != NULL)
	{
		if (strchr(line, '\n') == NULL && !feof(file))
			refuse(path, "a line is too long");
		set_line(path, line);
	}
	(void) fclose(file);
}

/* All of a file that a setting names, with a null character after it; NULL: it cannot be read, is empty, or has most bytes. */
char *
config_read_file(const char *path, size_t most, size_t *length)
{
	FILE	   *file = fopen(path, "rb");
	char	   *text = calloc(1, most + 1);

	*length = file != NULL && text != NULL ? fread(text, 1, most, file) : 0;
	if (*length == 0 || *length == most || ferror(file))
	{
		free(text);
		text = NULL;
	}
	if (file != NULL)
		(void) fclose(file);
	return text;
}

/* Take what the environment has: CLINICAL_GATEWAY_ and a name in capitals. */
static void
read_environment(void)
{
	for (size_t i = 0; i < lengthof(settings); i++)
	{
		char		name[64] = "CLINICAL_GATEWAY_";
		size_t		length = strlen(name);
		const char *value;

		for (size_t j = 0; settings[i].name[j] != '\0' && length < sizeof(name) - 1; j++)
			name[length++] = (char) toupper((unsigned char) settings[i].name[j]);
		name[length] = '\0';
		value = getenv(name);
		if (value != NULL)
			set(&settings[i], value, 2);
	}
}

/* Say how the program is called. */
static void
print_help(void)
{
	(void) printf("clinical-gateway %s: the HTTP face of the PostgreSQL extension clinical\n\n"
				  "  clinical-gateway [--config=FILE] [--SETTING=VALUE ...]\n\n"
				  "A setting is taken from the command line, or the environment (CLINICAL_GATEWAY_SETTING), or the\n"
				  "file (lines of SETTING = VALUE).\n\n", CLINICAL_VERSION);
	for (size_t i = 0; i < lengthof(settings); i++)
	{
		const Setting *setting = &settings[i];

		(void) printf("  %-16s %s", setting->name, setting->description);
		if (setting->text == NULL)
			(void) printf(" (%d)\n", setting->number);
		else
			(void) printf(*setting->text ? " (%s)\n" : "\n", setting->text);
	}
}

/* Check what belongs together. */
static void
check(void)
{
	if (config.slow_size == 0)
		config.slow_size = (config.pool_size + 1) / 2;
	if ((*config.tls_certificate == '\0') != (*config.tls_key == '\0'))
		refuse("tls_certificate", "goes with tls_key");
	if (strlen(config.anonymous_role) >= ROLE_LENGTH)
		refuse("anonymous_role", "is too long for a role");
	if (strlen(config.metrics_role) >= ROLE_LENGTH)
		refuse("metrics_role", "is too long for a role");
	if (strcmp(config.metrics, "loopback") != 0 && strcmp(config.metrics, "all") != 0 && strcmp(config.metrics, "off") != 0)
		refuse("metrics", "must be loopback, all or off");
}

/* Read all settings. */
void
config_read(int argc, char **argv)
{
	const char *path = getenv("CLINICAL_GATEWAY_CONFIG");

	for (size_t i = 0; i < lengthof(settings); i++)
	{
		char		number[16];

		(void) snprintf(number, sizeof(number), "%d", settings[i].number);
		set(&settings[i], settings[i].text ? settings[i].text : number, 0);
	}
	for (int i = 1; i < argc; i++)
	{
		if (strcmp(argv[i], "--help") == 0)
		{
			print_help();
			exit(0);
		}
		if (strcmp(argv[i], "--version") == 0)
		{
			(void) printf("clinical-gateway %s\n", CLINICAL_VERSION);
			exit(0);
		}
		if (strncmp(argv[i], "--config=", 9) == 0)
			path = argv[i] + 9;
		else if (strncmp(argv[i], "--", 2) == 0)
			set_pair(argv[i], argv[i] + 2, 3);
		else
			refuse(argv[i], "is no option");
	}
	if (path != NULL)
		read_file(path);
	read_environment();
	check();
}
