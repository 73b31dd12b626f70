/*-------------------------------------------------------------------------
 *
 * jwks.c
 *		The keys of tokens: one, from a file of its own, or those of a JWK Set
 *		(RFC 7517), of which a token names its key (kid).
 *
 * A set has keys for other uses and algorithms, too, as a service publishes
 * all that it has: these are left out.  What is for our algorithm must be in
 * order, or the file is not taken at all.
 *
 *-------------------------------------------------------------------------
 */
#include <jansson.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway.h"

#define MAX_FILE_BYTES 262144
#define MAX_KEYS 64
/* A shorter secret can be found by trying (RFC 7518, 3.2); a longer one is none */
#define MIN_SECRET_BYTES 32
#define MAX_SECRET_BYTES 4096
#define MIN_RSA_BITS 2048
#define MAX_RSA_BYTES 1024
#define EC_BYTES 32				/* of a coordinate on P-256 */
#define MAX_HEADER_BYTES 4096	/* of a token's header */

/* A key for our algorithm */
typedef struct Key
{
	char	   *kid;			/* or NULL */
	char	   *data;			/* PEM, or the secret */
	size_t		length;
} Key;

/* Keys, and whether they are of a set */
typedef struct Keys
{
	Key			keys[MAX_KEYS];
	int			nkeys;
	bool		is_set;
} Keys;

static Keys *current;

/* Forget keys. */
static void
free_keys(Keys *keys)
{
	for (int i = 0; keys != NULL && i < keys->nkeys; i++)
	{
		free(keys->keys[i].kid);
		OPENSSL_cleanse(keys->keys[i].data, keys->keys[i].length);
		free(keys->keys[i].data);
	}
	free(keys);
}

/* What a character of base64url stands for; -1: nothing. */
static int
digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* Decode base64url, which has one form only (no padding, no bits left over); its length, -1: it is none, or too long. */
static int
decode(const char *text, size_t length, unsigned char *bytes, size_t size)
{
	unsigned int bits = 0;
	int			nbits = 0;
	size_t		n = 0;

	if (length % 4 == 1 || length / 4 * 3 + length % 4 * 3 / 4 > size)
		return -1;
	for (size_t i = 0; i < length; i++)
	{
		int			value = digit(text[i]);

		if (value < 0)
			return -1;
		bits = (bits << 6 | (unsigned int) value) & 0xffff;
		nbits += 6;
		if (nbits >= 8)
		{
			nbits -= 8;
			bytes[n++] = (unsigned char) (bits >> nbits);
		}
	}
	return (bits & ((1U << nbits) - 1)) == 0 ? (int) n : -1;
}

/* Decode a member of a key; its length, -1: it is missing, malformed or too long. */
static int
decode_member(const json_t *jwk, const char *name, unsigned char *bytes, size_t size)
{
	const json_t *member = json_object_get(jwk, name);

	return json_is_string(member) ? decode(json_string_value(member), json_string_length(member), bytes, size) : -1;
}

/* Has an object this string? */
static bool
has_string(const json_t *object, const char *name, const char *wanted)
{
	const json_t *member = json_object_get(object, name);

	return json_is_string(member) && json_string_length(member) == strlen(wanted) && strcmp(json_string_value(member), wanted) == 0;
}

/* Is a key of the set for tokens of our algorithm?  What it does not say about its use allows any. */
static bool
is_for_us(const json_t *jwk)
{
	const json_t *operations = json_object_get(jwk, "key_ops");
	bool		verifies = operations == NULL;

	for (size_t i = 0; i < json_array_size(operations); i++)
	{
		const char *operation = json_string_value(json_array_get(operations, i));

		verifies |= operation != NULL && strcmp(operation, "verify") == 0;
	}
	if (!verifies || (json_object_get(jwk, "use") != NULL && !has_string(jwk, "use", "sig")) ||
		(json_object_get(jwk, "alg") != NULL && !has_string(jwk, "alg", config.jwt_algorithm)))
		return false;
	if (config.jwt_algorithm[0] == 'H')
		return has_string(jwk, "kty", "oct");
	if (config.jwt_algorithm[0] == 'R')
		return has_string(jwk, "kty", "RSA");
	return has_string(jwk, "kty", "EC") && has_string(jwk, "crv", "P-256");
}

/* Put what the parameters describe into a key, as PEM, if it is a good public key.  NULL, or what is wrong. */
static const char *
make_pem(const char *type, OSSL_PARAM *parameters, Key *key)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY_CTX *checker = NULL;
	EVP_PKEY   *pkey = NULL;
	BIO		   *out = BIO_new(BIO_s_mem());
	const char *wrong = "a key is no good public key";
	char	   *text;
	long		length;

	if (parameters != NULL && context != NULL && out != NULL && EVP_PKEY_fromdata_init(context) == 1 &&
		EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_PUBLIC_KEY, parameters) == 1 &&
		(checker = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL)) != NULL && EVP_PKEY_public_check(checker) == 1)
	{
		if (strcmp(type, "RSA") == 0 && EVP_PKEY_get_bits(pkey) < MIN_RSA_BITS)
			wrong = "an RSA key must have 2048 bits at least";
		else if (PEM_write_bio_PUBKEY(out, pkey) == 1 && (length = BIO_get_mem_data(out, &text)) > 0 &&
				 (key->data = malloc((size_t) length)) != NULL)
		{
			memcpy(key->data, text, (size_t) length);
			key->length = (size_t) length;
			wrong = NULL;
		}
	}
	EVP_PKEY_CTX_free(checker);
	EVP_PKEY_CTX_free(context);
	EVP_PKEY_free(pkey);
	BIO_free(out);
	OSSL_PARAM_free(parameters);
	return wrong;
}

/* Read a key of RSA. */
static const char *
read_rsa(const json_t *jwk, Key *key)
{
	unsigned char n_bytes[MAX_RSA_BYTES];
	unsigned char e_bytes[8];
	int			n_length = decode_member(jwk, "n", n_bytes, sizeof(n_bytes));
	int			e_length = decode_member(jwk, "e", e_bytes, sizeof(e_bytes));
	OSSL_PARAM_BLD *builder;
	OSSL_PARAM *parameters = NULL;
	BIGNUM	   *n;
	BIGNUM	   *e;

	if (n_length <= 0 || e_length <= 0)
		return "n or e of an RSA key is missing, too long or no base64url";
	builder = OSSL_PARAM_BLD_new();
	n = BN_bin2bn(n_bytes, n_length, NULL);
	e = BN_bin2bn(e_bytes, e_length, NULL);
	if (builder != NULL && n != NULL && e != NULL && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
		OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) == 1)
		parameters = OSSL_PARAM_BLD_to_param(builder);
	OSSL_PARAM_BLD_free(builder);
	BN_free(n);
	BN_free(e);
	return make_pem("RSA", parameters, key);
}

/* Read a key of P-256. */
static const char *
read_ec(const json_t *jwk, Key *key)
{
	unsigned char point[1 + 2 * EC_BYTES] = {POINT_CONVERSION_UNCOMPRESSED};
	OSSL_PARAM_BLD *builder;
	OSSL_PARAM *parameters = NULL;

	if (decode_member(jwk, "x", point + 1, EC_BYTES) != EC_BYTES || decode_member(jwk, "y", point + 1 + EC_BYTES, EC_BYTES) != EC_BYTES)
		return "x or y of an EC key is missing, or not 32 bytes in base64url";
	builder = OSSL_PARAM_BLD_new();
	if (builder != NULL && OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) == 1 &&
		OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)) == 1)
		parameters = OSSL_PARAM_BLD_to_param(builder);
	OSSL_PARAM_BLD_free(builder);
	return make_pem("EC", parameters, key);
}

/* Read a secret. */
static const char *
read_secret(const json_t *jwk, Key *key)
{
	unsigned char bytes[MAX_SECRET_BYTES];
	int			length = decode_member(jwk, "k", bytes, sizeof(bytes));

	if (length < 0)
		return "k of a secret is missing, too long or no base64url";
	if (length < MIN_SECRET_BYTES)
		return "a secret must have 32 bytes at least";
	key->data = malloc((size_t) length);
	if (key->data == NULL)
		return "out of memory";
	memcpy(key->data, bytes, (size_t) length);
	key->length = (size_t) length;
	OPENSSL_cleanse(bytes, sizeof(bytes));
	return NULL;
}

/* Read a key of the set. */
static const char *
read_jwk(const json_t *jwk, Keys *keys)
{
	const json_t *kid = json_object_get(jwk, "kid");
	Key		   *key = &keys->keys[keys->nkeys];
	const char *wrong;

	if (keys->nkeys == MAX_KEYS)
		return "there are more than 64 keys";
	if (kid != NULL && !json_is_string(kid))
		return "a kid must be a string";
	for (int i = 0; i < keys->nkeys; i++)
	{
		if (kid != NULL && keys->keys[i].kid != NULL && strcmp(keys->keys[i].kid, json_string_value(kid)) == 0)
			return "two keys have the same kid";
	}
	if (config.jwt_algorithm[0] == 'H')
		wrong = read_secret(jwk, key);
	else
		wrong = config.jwt_algorithm[0] == 'R' ? read_rsa(jwk, key) : read_ec(jwk, key);
	if (wrong != NULL)
		return wrong;
	keys->nkeys++;
	if (kid != NULL && (key->kid = strdup(json_string_value(kid))) == NULL)
		return "out of memory";
	return NULL;
}

/* Read a JWK Set. */
static const char *
read_set(const char *text, size_t length, Keys *keys)
{
	/* a null character in a string is an error, too, as it is not allowed for */
	json_t	   *set = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
	const json_t *list = json_object_get(set, "keys");
	const char *wrong = NULL;

	keys->is_set = true;
	if (!json_is_array(list))
		wrong = "is no JWK Set: a JSON object with an array, keys";
	for (size_t i = 0; wrong == NULL && i < json_array_size(list); i++)
	{
		const json_t *jwk = json_array_get(list, i);

		if (!json_is_string(json_object_get(jwk, "kty")))
			wrong = "a key is no object with a string, kty";
		else if (is_for_us(jwk))
			wrong = read_jwk(jwk, keys);
	}
	if (wrong == NULL && keys->nkeys == 0)
		wrong = "has no key for jwt_algorithm";
	json_decref(set);
	return wrong;
}

/* Take the only key, all of a file. */
static const char *
read_one(const char *text, size_t length, Keys *keys)
{
	bool		secret = config.jwt_algorithm[0] == 'H';

	/* a line break at its end is an editor's */
	if (secret && text[length - 1] == '\n')
		length--;
	if (secret && length < MIN_SECRET_BYTES)
		return "the secret must have 32 bytes at least";
	if (!secret && memmem(text, length, "-----BEGIN PUBLIC KEY-----", 26) == NULL)
		return "must have a public key in PEM";
	keys->keys[0].data = malloc(length);
	if (keys->keys[0].data == NULL)
		return "out of memory";
	memcpy(keys->keys[0].data, text, length);
	keys->keys[0].length = length;
	keys->nkeys = 1;
	return NULL;
}

/* Read the file of the settings; keys stay what they are if it is not in order.  NULL, or what is wrong. */
static const char *
read_keys(void)
{
	bool		is_set = *config.jwt_jwks_file != '\0';
	size_t		length;
	char	   *text = config_read_file(is_set ? config.jwt_jwks_file : config.jwt_key_file, MAX_FILE_BYTES, &length);
	Keys	   *keys = calloc(1, sizeof(Keys));
	const char *wrong = "cannot be read, is empty or too large";

	if (text != NULL && keys != NULL)
		wrong = is_set ? read_set(text, length, keys) : read_one(text, length, keys);
	if (text != NULL)
		OPENSSL_cleanse(text, length);
	free(text);
	if (wrong != NULL)
	{
		free_keys(keys);
		return wrong;
	}
	free_keys(current);
	current = keys;
	return NULL;
}

/* The setting that names the file. */
static const char *
file_setting(void)
{
	return *config.jwt_jwks_file != '\0' ? "jwt_jwks_file" : "jwt_key_file";
}

/* End the program, as it cannot start. */
static void
cannot_start(const char *what, const char *why)
{
	log_event("error", "start", "%s %s", what, why);
	exit(1);
}

/* Read the keys, if there are to be any. */
void
keys_init(void)
{
	const char *wrong;

	if (*config.jwt_key_file == '\0' && *config.jwt_jwks_file == '\0')
		return;
	if (*config.jwt_key_file != '\0' && *config.jwt_jwks_file != '\0')
		cannot_start("jwt_key_file", "and jwt_jwks_file are both set: which is meant?");
	if (strcmp(config.jwt_algorithm, "HS256") != 0 && strcmp(config.jwt_algorithm, "RS256") != 0 && strcmp(config.jwt_algorithm, "ES256") != 0)
		cannot_start("jwt_algorithm", "must be HS256, RS256 or ES256");
	if (*config.jwt_audience == '\0')
		cannot_start("jwt_audience", "is not set: tokens for others would be taken");
	wrong = read_keys();
	if (wrong != NULL)
		cannot_start(file_setting(), wrong);
}

/* Read them again, as they may be others by now. */
void
keys_reload(void)
{
	const char *wrong;

	if (!keys_known())
		return;
	wrong = read_keys();
	if (wrong != NULL)
		log_event("error", "keys", "%s %s; the keys stay those that they were", file_setting(), wrong);
	else
		log_event("info", "keys", "%s was read again: %d keys", file_setting(), current->nkeys);
}

/* Are there keys, so that there can be tokens? */
bool
keys_known(void)
{
	return current != NULL;
}

/* The header of a token, or NULL: it has none, or is not of our algorithm, or has what must be understood, and is not. */
static json_t *
token_header(const char *token)
{
	unsigned char bytes[MAX_HEADER_BYTES];
	int			length = decode(token, strcspn(token, "."), bytes, sizeof(bytes));
	json_t	   *header = length > 0 ? json_loadb((const char *) bytes, (size_t) length, JSON_REJECT_DUPLICATES, NULL) : NULL;

	if (has_string(header, "alg", config.jwt_algorithm) && json_object_get(header, "crit") == NULL)
		return header;
	json_decref(header);
	return NULL;
}

/* Choose the key of a token, which is one for our algorithm.  False: there is none. */
bool
keys_choose(const char *token, Slice *key)
{
	json_t	   *header = token_header(token);
	const json_t *kid = json_object_get(header, "kid");
	const Key  *found = NULL;

	if (header == NULL)
		return false;
	if (current->nkeys == 1 && (!current->is_set || kid == NULL))
		found = &current->keys[0];
	for (int i = 0; current->is_set && json_is_string(kid) && i < current->nkeys; i++)
	{
		if (current->keys[i].kid != NULL && has_string(header, "kid", current->keys[i].kid))
			found = &current->keys[i];
	}
	json_decref(header);
	if (found == NULL)
		return false;
	key->data = found->data;
	key->length = found->length;
	return true;
}
