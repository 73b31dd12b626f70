/*-------------------------------------------------------------------------
 *
 * auth.c
 *		Who is calling: a bearer token becomes the name of a role.  What the
 *		role may do, and whether the gateway may become it, the server decides.
 *
 *-------------------------------------------------------------------------
 */
#include <jansson.h>
#include <jwt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "gateway.h"

static const char bad_token[] = "Bearer error=\"invalid_token\"";

/* Prepare to check tokens, if there are to be any. */
void
auth_init(void)
{
	keys_init();
	if (!keys_known() && *config.anonymous_role == '\0')
	{
		log_event("error", "start", "neither jwt_key_file, jwt_jwks_file nor anonymous_role is set: nobody could do anything");
		exit(1);
	}
}

/* A claim that is a time, or otherwise if it is missing.  False: it is something else. */
static bool
time_claim(const json_t *claims, const char *name, double otherwise, double *value)
{
	const json_t *claim = json_object_get(claims, name);

	*value = claim ? json_number_value(claim) : otherwise;
	return claim == NULL || json_is_number(claim);
}

/* Is the token valid now?  One that has no end is not. */
static bool
is_in_time(const json_t *claims)
{
	double		at = (double) time(NULL);
	double		begin;
	double		end;

	return time_claim(claims, "exp", 0, &end) && time_claim(claims, "nbf", 0, &begin) &&
		at < end + config.jwt_leeway && at >= begin - config.jwt_leeway;
}

/* Is a claim this string, of all its bytes? */
static bool
is_string(const json_t *claim, const char *wanted)
{
	return json_is_string(claim) && json_string_length(claim) == strlen(wanted) && strcmp(json_string_value(claim), wanted) == 0;
}

/* Is the token for this service? */
static bool
is_for_us(const json_t *claims)
{
	const json_t *audience = json_object_get(claims, "aud");

	if (*config.jwt_issuer != '\0' && !is_string(json_object_get(claims, "iss"), config.jwt_issuer))
		return false;
	for (size_t i = 0; json_is_array(audience) && i < json_array_size(audience); i++)
	{
		if (is_string(json_array_get(audience, i), config.jwt_audience))
			return true;
	}
	return is_string(audience, config.jwt_audience);
}

/* The string that a claim has; its name may have dots, and lead into objects.  NULL: none. */
static const char *
string_claim(const json_t *claims, const char *name)
{
	const json_t *claim = claims;
	char		part[64];

	while (*name != '\0')
	{
		size_t		length = strcspn(name, ".");

		if (length >= sizeof(part))
			return NULL;
		memcpy(part, name, length);
		part[length] = '\0';
		claim = json_object_get(claim, part);
		name += length + (name[length] != '\0');
	}
	/* a null character would cut it off */
	if (!json_is_string(claim) || json_string_length(claim) != strlen(json_string_value(claim)))
		return NULL;
	return json_string_value(claim);
}

/*
 * The role that a value of the role claim stands for, put into role: by
 * role_map ("value=role,value=role"), or else it is the role.  False: none.
 */
static bool
map_role(const char *value, char *role)
{
	size_t		length = strlen(value);
	const char *from = config.role_map;

	if (*from == '\0')
	{
		if (length == 0 || length >= ROLE_LENGTH || strcmp(value, "none") == 0)
			return false;
		(void) strcpy(role, value);
		return true;
	}
	while (*from != '\0')
	{
		size_t		end = strcspn(from, ",");
		size_t		rest = end - length - 1;

		if (end > length + 1 && from[length] == '=' && memcmp(from, value, length) == 0 && rest < ROLE_LENGTH)
		{
			memcpy(role, from + length + 1, rest);
			role[rest] = '\0';
			return true;
		}
		from += end + (from[end] != '\0');
	}
	return false;
}

/* Take role and actor from the claims of a token that is ours.  False: the request is answered. */
static bool
take_claims(Request *request, const json_t *claims)
{
	const char *role = string_claim(claims, config.role_claim);
	const char *actor = string_claim(claims, config.actor_claim);

	if (!is_in_time(claims) || !is_for_us(claims))
	{
		request->challenge = bad_token;
		answer_problem(request, 401, NULL, "the token is expired, or not for this service");
		return false;
	}
	if (role == NULL || !map_role(role, request->role))
	{
		answer_problem(request, 403, NULL, "the token names no role");
		return false;
	}
	request->expires = now() + json_number_value(json_object_get(claims, "exp")) + config.jwt_leeway - (double) time(NULL);
	if (actor != NULL && (request->actor = strdup(actor)) == NULL)
	{
		answer_busy(request, "out of memory");
		return false;
	}
	return true;
}

/*
 * The claims of a token whose signature is right, or NULL.  The library goes by
 * the algorithm that the token names: only ours will do, or a public key
 * would be taken for a secret.
 */
static json_t *
verified_claims(const char *token)
{
	jwt_t	   *jwt = NULL;
	json_t	   *claims = NULL;
	Slice		key;

	if (!keys_choose(token, &key))
		return NULL;
	if (jwt_decode(&jwt, token, (const unsigned char *) key.data, (int) key.length) == 0 && jwt_get_alg(jwt) == jwt_str_alg(config.jwt_algorithm))
	{
		char	   *text = jwt_get_grants_json(jwt, NULL);

		claims = text ? json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL) : NULL;
		free(text);
	}
	jwt_free(jwt);
	return claims;
}

/* There is no token: the role is that of everybody. */
static bool
take_anonymous(Request *request)
{
	if (*config.anonymous_role == '\0')
	{
		request->challenge = "Bearer";
		answer_problem(request, 401, NULL, "a token is required");
		return false;
	}
	(void) snprintf(request->role, sizeof(request->role), "%s", config.anonymous_role);
	return true;
}

/* Find out who is calling.  False: nobody who may, and the request is answered. */
bool
auth_check(Request *request)
{
	const char *header = MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, "Authorization");
	json_t	   *claims = NULL;
	bool		taken;

	if (header == NULL)
		return take_anonymous(request);
	if (keys_known() && strncasecmp(header, "Bearer ", 7) == 0)
		claims = verified_claims(header + 7 + strspn(header + 7, " "));
	if (claims == NULL)
	{
		request->challenge = bad_token;
		answer_problem(request, 401, NULL, "the token is not valid");
		return false;
	}
	taken = take_claims(request, claims);
	json_decref(claims);
	return taken;
}
