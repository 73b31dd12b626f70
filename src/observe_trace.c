/*-------------------------------------------------------------------------
 *
 * observe_trace.c
 *		The trace that a call belongs to, by W3C Trace Context.
 *
 * A call says so by an argument, where it has one; else by the setting
 * clinical.trace_parent; else by a comment at the end of the client's statement,
 * as sqlcommenter writes it.  Whether spans of a trace are kept follows from the
 * trace alone, so that every process decides alike, and a trace is kept whole or
 * not at all.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "compat.h"
#include "observe.h"

/* 00-<32 digits of the trace>-<16 digits of the client's span>-<2 digits of flags> */
#define PARENT_LENGTH 55
#define TRACE_AT 3
#define SPAN_AT 36
#define FLAGS_AT 53
/* So many last digits of a trace's id are random: https://www.w3.org/TR/trace-context-2/#random-trace-id-flag */
#define RANDOM_DIGITS 14
/* Of a longer statement the end is looked for once, not by each call in it */
#define SHORT_STATEMENT 2048
/* A comment is not looked for farther back */
#define MAX_COMMENT 4096

#define BLANKS " \t\r\n\f\v"

static char *trace_parent_setting = NULL;
static double sample_rate = 1;

/* The value of a hexadecimal digit in small letters; -1: it is none. */
static int
digit_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* Is it hexadecimal digits in small letters?  any: not all of them zero? */
static bool
is_hex(const char *digits, int length, bool *any)
{
	*any = false;
	for (int i = 0; i < length; i++)
	{
		if (digit_value(digits[i]) < 0)
			return false;
		*any |= digits[i] != '0';
	}
	return true;
}

/* Is it a traceparent of version 00: https://www.w3.org/TR/trace-context/#traceparent-header? */
bool
clinical_trace_parent_is_valid(const char *parent, size_t length)
{
	bool		trace;
	bool		span;
	bool		flags;

	return length == PARENT_LENGTH && memcmp(parent, "00-", TRACE_AT) == 0 && parent[SPAN_AT - 1] == '-' &&
		parent[FLAGS_AT - 1] == '-' && is_hex(parent + TRACE_AT, 32, &trace) && trace &&
		is_hex(parent + SPAN_AT, 16, &span) && span && is_hex(parent + FLAGS_AT, 2, &flags);
}

/* Check hook: a traceparent, or nothing. */
static bool
check_trace_parent(char **value, void **extra, GucSource source)
{
	if (*value == NULL || **value == '\0' || clinical_trace_parent_is_valid(*value, strlen(*value)))
		return true;
	GUC_check_errdetail("It must be a traceparent of W3C Trace Context, version 00, or empty.");
	return false;
}

/* Is it white space? */
static bool
is_blank(char c)
{
	return c != '\0' && strchr(BLANKS, c) != NULL;
}

/* The next byte of a value in a comment, where it is encoded as in a URL; -1: it is malformed. */
static int
decoded_byte(const char **at, const char *end)
{
	int			value = 0;

	if (**at == '\\')
		(*at)++;
	if (*at == end)
		return -1;
	if (**at != '%')
		return (unsigned char) *(*at)++;
	(*at)++;
	for (int i = 0; i < 2; i++)
	{
		int			digit = *at == end ? -1 : digit_value(pg_ascii_tolower((unsigned char) **at));

		if (digit < 0)
			return -1;
		value = value * 16 + digit;
		(*at)++;
	}
	return value;
}

/* Decode a value into a buffer of that size, with a 0 at its end; false if it is malformed, or too long. */
static bool
decode_value(const char *at, const char *end, char *buffer, int size)
{
	int			length = 0;

	while (at < end)
	{
		int			byte = decoded_byte(&at, end);

		if (byte <= 0 || length == size - 1)
			return false;
		buffer[length++] = (char) byte;
	}
	buffer[length] = '\0';
	return true;
}

/* The end of a value that begins here, at a quote that no backslash stands before; NULL: there is none. */
static const char *
value_end(const char *at, const char *end)
{
	while (at < end && *at != '\'')
		at += *at == '\\' ? 2 : 1;
	return at < end ? at : NULL;
}

/*
 * Find the trace in what a comment says, key='value',key='value': false if it says
 * none, or is no such list from the first byte to the last.
 */
static bool
read_comment(const char *at, const char *end, char *parent)
{
	static const char name[] = "traceparent";
	bool		found = false;

	for (;;)
	{
		const char *key;
		const char *value;
		const char *quote;

		while (at < end && is_blank(*at))
			at++;
		for (key = at; at < end && *at != '=' && *at != '\'' && *at != ','; at++)
			;
		if (end - at < 2 || at[0] != '=' || at[1] != '\'')
			return false;
		value = at + 2;
		quote = value_end(value, end);
		if (quote == NULL)
			return false;
		if (!found && at - key == (int) strlen(name) && memcmp(key, name, strlen(name)) == 0)
			found = decode_value(value, quote, parent, PARENT_LENGTH + 1) &&
				clinical_trace_parent_is_valid(parent, strlen(parent));
		for (at = quote + 1; at < end && is_blank(*at); at++)
			;
		if (at == end)
			return found;
		if (*at++ != ',')
			return false;
	}
}

/*
 * The trace that a comment at the end of a statement names; false: none does.  Without
 * a comment it is the last characters that say so.  In a comment there is none, so that
 * what looks like one inside a literal, or in a comment within another, is not taken for it.
 */
static bool
read_statement(const char *statement, size_t length, char *parent)
{
	const char *end;

	while (length > 0 && (statement[length - 1] == ';' || is_blank(statement[length - 1])))
		length--;
	if (length < 4 || statement[length - 1] != '/' || statement[length - 2] != '*')
		return false;
	end = statement + length - 2;
	for (const char *at = end - 2; at >= statement && end - at <= MAX_COMMENT; at--)
	{
		if (at[0] == '*' && at[1] == '/')
			return false;
		if (at[0] == '/' && at[1] == '*')
			return read_comment(at + 2, end, parent);
	}
	return false;
}

/* The trace that the client's statement names; false: none. */
static bool
read_client_statement(char *parent)
{
	/* a long one that was looked at, when it began, and what it says */
	static const char *statement = NULL;
	static TimestampTz began_at = 0;
	static bool found = false;
	static char named[PARENT_LENGTH + 1];
	size_t		length;

	if (debug_query_string == NULL)
		return false;
	length = strnlen(debug_query_string, SHORT_STATEMENT);
	if (length < SHORT_STATEMENT)
		return read_statement(debug_query_string, length, parent);
	if (statement != debug_query_string || began_at != GetCurrentStatementStartTimestamp())
	{
		statement = debug_query_string;
		began_at = GetCurrentStatementStartTimestamp();
		found = read_statement(statement, strlen(statement), named);
	}
	if (found)
		strcpy(parent, named);
	return found;
}

/* The trace of a call that has no argument for it, or NULL. */
text *
clinical_trace_parent_in_force(void)
{
	char		parent[PARENT_LENGTH + 1];

	if (trace_parent_setting != NULL && *trace_parent_setting != '\0')
		return cstring_to_text(trace_parent_setting);
	return read_client_statement(parent) ? cstring_to_text_with_len(parent, PARENT_LENGTH) : NULL;
}

/* The number that digits stand for. */
static uint64
hex_number(const char *digits, int length)
{
	uint64		number = 0;

	for (int i = 0; i < length; i++)
		number = number * 16 + (uint64) digit_value(digits[i]);
	return number;
}

/* Bytes of a number that digits stand for. */
static void
hex_bytes(const char *digits, uint8 *bytes, int length)
{
	for (int i = 0; i < length; i++)
		bytes[i] = (uint8) hex_number(digits + 2 * i, 2);
}

/*
 * Is a trace one of which spans are kept?  Then its numbers.  By its flag, and by the
 * bytes of its id that are random, as other samplers of OpenTelemetry decide too.
 */
bool
clinical_trace_read(const text *trace_parent, ClinicalTrace *trace)
{
	const char *parent;

	if (trace_parent == NULL || !clinical_spans_are_kept())
		return false;
	parent = VARDATA_ANY(trace_parent);
	if (!clinical_trace_parent_is_valid(parent, VARSIZE_ANY_EXHDR(trace_parent)) ||
		(hex_number(parent + FLAGS_AT, 2) & 1) == 0 ||
		hex_number(parent + SPAN_AT - 1 - RANDOM_DIGITS, RANDOM_DIGITS) <
		(uint64) ((1 - sample_rate) * (double) (UINT64CONST(1) << (4 * RANDOM_DIGITS))))
		return false;
	hex_bytes(parent + TRACE_AT, trace->trace_id, sizeof(trace->trace_id));
	hex_bytes(parent + SPAN_AT, trace->parent_id, sizeof(trace->parent_id));
	return true;
}

/* Define the settings. */
void
clinical_trace_init(void)
{
	DefineCustomStringVariable("clinical.trace_parent",
							   "The trace that calls belong to which are given none of their own.",
							   "A traceparent of W3C Trace Context; for SET LOCAL.",
							   &trace_parent_setting, "", PGC_USERSET, GUC_NOT_IN_SAMPLE,
							   check_trace_parent, NULL, NULL);
	DefineCustomRealVariable("clinical.trace_sample_rate",
							 "The part of the traces of which spans are kept.",
							 "Of those that have the flag \"sampled\". Each is kept whole, or not at all.",
							 &sample_rate, 1, 0, 1,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	clinical_span_init();
	clinical_step_init();
}
