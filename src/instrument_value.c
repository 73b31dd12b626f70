/*-------------------------------------------------------------------------
 *
 * instrument_value.c
 *		Values of answers: reading them by the type of their item, and
 *		comparing them.
 *
 * Nothing raises an error here: what does not fit is a fault, named by reason
 * and check.  Numbers stay numeric, and point into the report unless they had
 * to be converted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "instrument.h"

/* So many digits after the point, and bytes of a unit, are taken */
#define MAX_SCALE 30
#define MAX_UNIT_BYTES 64

/* Note a fault. */
static bool
fail(ClinicalFault *fault, const char *reason, const char *check)
{
	fault->reason = reason;
	fault->check = check;
	return false;
}

/* Compare two numbers. */
static int
compare_numbers(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

/* The digits after the point, without zeros at the end. */
static int
decimals_of(Numeric number)
{
	if (DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(number))) == 0)
		return 0;
	return DatumGetInt32(DirectFunctionCall1(numeric_min_scale, NumericGetDatum(number)));
}

/* A number as it was given: of a size that we take, and as exact as the item may be. */
static bool
read_number(const ClinicalInstrument *instrument, const ClinicalItem *item, Numeric number,
			ClinicalValue *value, ClinicalFault *fault)
{
	int			decimals;

	if (compare_numbers(number, instrument->largest) > 0 || compare_numbers(number, instrument->smallest) < 0)
		return fail(fault, "out_of_range", "magnitude");
	decimals = decimals_of(number);
	if (decimals > MAX_SCALE)
		return fail(fault, "out_of_range", "magnitude");
	if (item->type == CLINICAL_ITEM_INTEGER && decimals > 0)
		return fail(fault, "wrong_type", "type");
	if (item->decimals >= 0 && decimals > item->decimals)
		return fail(fault, "out_of_range", "decimals");
	if (DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(number))) > (item->type == CLINICAL_ITEM_INTEGER ? 0 : MAX_SCALE))
		number = DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale, NumericGetDatum(number)));
	value->number = number;
	return true;
}

/* A text: not too long. */
static bool
read_text(const ClinicalItem *item, const char *string, int length, ClinicalValue *value, ClinicalFault *fault)
{
	if (item->max_length >= 0 && length > item->max_length &&
		pg_mbstrlen_with_len(string, length) > item->max_length)
		return fail(fault, "out_of_range", "max_length");
	value->text = string;
	value->length = length;
	return true;
}

/* Order of a code against those of a list. */
static int
compare_code(const char *code, int length, const char *other)
{
	int			other_length = strlen(other);
	int			order = memcmp(code, other, Min(length, other_length));

	return order != 0 ? order : length - other_length;
}

/* Look a code up in the item's list; a system counts where both sides name one. */
bool
clinical_value_code(const ClinicalItem *item, const char *code, int length,
					const char *system, int system_length, ClinicalValue *value)
{
	int			low = 0;
	int			high = item->ncodes - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		const ClinicalCode *entry = &item->codes[item->code_order[middle]];
		int			order = compare_code(code, length, entry->code);

		if (order == 0)
		{
			value->code = item->code_order[middle];
			return system == NULL || entry->system == NULL ||
				compare_code(system, system_length, entry->system) == 0;
		}
		if (order < 0)
			high = middle - 1;
		else
			low = middle + 1;
	}
	return false;
}

/* Another text than those of the list, where the item is open. */
bool
clinical_value_open(const ClinicalItem *item, const char *string, int length,
					ClinicalValue *value, ClinicalFault *fault)
{
	value->code = -1;
	if (!item->open || length == 0)
		return fail(fault, "not_in_code_list", "code_list");
	return read_text(item, string, length, value, fault);
}

/* A coded answer: a string, or a number that is written as a code of the list. */
static bool
read_coded(const ClinicalInstrument *instrument, const ClinicalItem *item, const JsonbValue *json,
		   ClinicalValue *value, ClinicalFault *fault)
{
	const char *string;
	int			length;

	if (json->type == jbvNumeric)
	{
		/* 1e131071 takes a few bytes here and 131072 as text */
		if (compare_numbers(json->val.numeric, instrument->largest) > 0 ||
			compare_numbers(json->val.numeric, instrument->smallest) < 0 ||
			DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(json->val.numeric))) > 64)
			return fail(fault, "not_in_code_list", "code_list");
		string = numeric_normalize(json->val.numeric);
		length = strlen(string);
	}
	else if (json->type == jbvString)
	{
		string = json->val.string.val;
		length = json->val.string.len;
	}
	else
		return fail(fault, "wrong_type", "type");
	if (clinical_value_code(item, string, length, NULL, 0, value))
		return true;
	if (json->type == jbvNumeric)
		return fail(fault, "not_in_code_list", "code_list");
	return clinical_value_open(item, string, length, value, fault);
}

/* A date, dateTime or time: kept as written, with its bounds. */
static bool
read_date(const ClinicalItem *item, const JsonbValue *json, ClinicalValue *value, ClinicalFault *fault)
{
	const char *string = json->val.string.val;
	int			length = json->val.string.len;
	bool		good;

	if (json->type != jbvString || length > MAX_UNIT_BYTES)
		return fail(fault, "wrong_type", "type");
	if (item->type == CLINICAL_ITEM_DATE)
		good = clinical_parse_date(string, length, item->partial, &value->low, &value->high);
	else if (item->type == CLINICAL_ITEM_DATETIME)
		good = clinical_parse_date_time(string, length, item->partial, &value->low, &value->high);
	else
	{
		good = clinical_parse_time(string, length, &value->low);
		value->high = value->low;
	}
	if (!good)
		return fail(fault, "wrong_type", "type");
	value->text = string;
	value->length = length;
	return true;
}

/* Read a scalar by the type of its item, in the item's own unit. */
bool
clinical_value_read(const ClinicalInstrument *instrument, const ClinicalItem *item,
					const JsonbValue *json, ClinicalValue *value, ClinicalFault *fault)
{
	memset(value, 0, sizeof(*value));
	value->code = -1;
	switch (item->type)
	{
		case CLINICAL_ITEM_BOOLEAN:
			if (json->type != jbvBool)
				return fail(fault, "wrong_type", "type");
			value->low = value->high = json->val.boolean ? 1 : 0;
			return true;
		case CLINICAL_ITEM_INTEGER:
		case CLINICAL_ITEM_DECIMAL:
		case CLINICAL_ITEM_QUANTITY:
			if (json->type != jbvNumeric)
				return fail(fault, "wrong_type", "type");
			return read_number(instrument, item, json->val.numeric, value, fault);
		case CLINICAL_ITEM_TEXT:
		case CLINICAL_ITEM_URI:
			if (json->type != jbvString || json->val.string.len == 0)
				return fail(fault, "wrong_type", "type");
			return read_text(item, json->val.string.val, json->val.string.len, value, fault);
		case CLINICAL_ITEM_DATE:
		case CLINICAL_ITEM_DATETIME:
		case CLINICAL_ITEM_TIME:
			return read_date(item, json, value, fault);
		case CLINICAL_ITEM_CODED:
			return read_coded(instrument, item, json, value, fault);
		case CLINICAL_ITEM_GROUP:
		case CLINICAL_ITEM_DISPLAY:
			break;
	}
	return fail(fault, "wrong_type", "type");
}

/* Could that be the code of a unit, or of why there is no value? */
bool
clinical_looks_like_code(const char *code, int length)
{
	if (length == 0 || length > MAX_UNIT_BYTES)
		return false;
	for (int i = 0; i < length; i++)
	{
		if (code[i] <= ' ' || code[i] > '~')
			return false;
	}
	return true;
}

/* Convert a value that was given in a unit to the item's own. */
static void
convert(const ClinicalUnit *unit, ClinicalValue *value)
{
	Datum		number = NumericGetDatum(value->number);

	number = DirectFunctionCall2(numeric_mul, number, NumericGetDatum(unit->factor));
	number = DirectFunctionCall2(numeric_add, number, NumericGetDatum(unit->offset));
	number = DirectFunctionCall2(numeric_div, number, NumericGetDatum(unit->divisor));
	value->number = DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale, number));
}

/*
 * A number was given in that unit (NULL: in none): it must be one that the item
 * takes.  An item of type quantity without units takes any.
 */
bool
clinical_value_unit(const ClinicalItem *item, const char *unit, int length,
					ClinicalValue *value, ClinicalFault *fault)
{
	if (unit == NULL)
	{
		if (item->type == CLINICAL_ITEM_QUANTITY)
			return fail(fault, "bad_unit", "unit");
		return true;
	}
	for (int i = 0; i < item->nunits; i++)
	{
		if (compare_code(unit, length, item->units[i].code) != 0)
			continue;
		if (item->units[i].factor != NULL)
			convert(&item->units[i], value);
		if (item->type == CLINICAL_ITEM_INTEGER && decimals_of(value->number) > 0)
			return fail(fault, "wrong_type", "type");
		return true;
	}
	if (item->type != CLINICAL_ITEM_QUANTITY || item->nunits > 0 || !clinical_looks_like_code(unit, length))
		return fail(fault, "bad_unit", "unit");
	value->unit = unit;
	value->unit_length = length;
	return true;
}

/* Are two texts the same? */
static bool
same_text(const ClinicalValue *a, const ClinicalValue *b)
{
	return a->length == b->length && memcmp(a->text, b->text, a->length) == 0;
}

/* Are two values of an item that has no order the same? */
static bool
same_value(const ClinicalItem *item, const ClinicalValue *a, const ClinicalValue *b)
{
	if (item->type != CLINICAL_ITEM_CODED)
		return same_text(a, b);
	return a->code == b->code && (a->code >= 0 || same_text(a, b));
}

/*
 * How far two values of an ordered item are from each other: negative if a is
 * surely before b, positive if surely after, 0 if it is the same or may be
 * (dates without a day).
 */
static int
compare_values(const ClinicalItem *item, const ClinicalValue *a, const ClinicalValue *b)
{
	if (a->number != NULL)
		return compare_numbers(a->number, b->number);
	return a->high < b->low ? -1 : a->low > b->high ? 1 : 0;
}

/* Has a type an order? */
static bool
is_ordered(ClinicalItemType type)
{
	return type != CLINICAL_ITEM_TEXT && type != CLINICAL_ITEM_URI && type != CLINICAL_ITEM_CODED;
}

/* May the value be the other one? */
static bool
may_equal(const ClinicalItem *item, const ClinicalValue *value, const ClinicalValue *other)
{
	return is_ordered(item->type) ? compare_values(item, value, other) == 0 : same_value(item, value, other);
}

/* Is it surely the other one? */
static bool
surely_equal(const ClinicalItem *item, const ClinicalValue *value, const ClinicalValue *other)
{
	return may_equal(item, value, other) && value->low == value->high;
}

/*
 * Does a value stand in that relation to the others?  A date without a day
 * does if one of its days does.
 */
bool
clinical_value_satisfies(const ClinicalItem *item, const ClinicalValue *value,
						 ClinicalComparator comparator, const ClinicalValue *others, int nothers)
{
	switch (comparator)
	{
		case CLINICAL_LT:
			return value->number != NULL ? compare_values(item, value, others) < 0 : value->low < others->high;
		case CLINICAL_LE:
			return compare_values(item, value, others) <= 0;
		case CLINICAL_GT:
			return value->number != NULL ? compare_values(item, value, others) > 0 : value->high > others->low;
		case CLINICAL_GE:
			return compare_values(item, value, others) >= 0;
		case CLINICAL_EQ:
		case CLINICAL_IN:
			for (int i = 0; i < nothers; i++)
			{
				if (may_equal(item, value, &others[i]))
					return true;
			}
			return false;
		case CLINICAL_NE:
		case CLINICAL_NOTIN:
			for (int i = 0; i < nothers; i++)
			{
				if (surely_equal(item, value, &others[i]))
					return false;
			}
			return true;
		case CLINICAL_EXISTS:
			break;
	}
	return false;
}

/* What a value is in the columns of a table. */
void
clinical_value_columns(const ClinicalItem *item, const ClinicalValue *value, ClinicalValueColumns *columns)
{
	memset(columns, 0, sizeof(*columns));
	columns->number = value->number;
	if (item->type == CLINICAL_ITEM_BOOLEAN)
		columns->number = int64_to_numeric(value->low);
	if (item->type == CLINICAL_ITEM_CODED && value->code >= 0)
	{
		columns->number = item->codes[value->code].score;
		columns->code = item->codes[value->code].code;
	}
	columns->text = value->text;
	columns->length = value->length;
	columns->unit = value->unit;
	columns->unit_length = value->unit_length;
	if (value->unit == NULL && item->nunits > 0)
	{
		columns->unit = item->units[0].code;
		columns->unit_length = (int) strlen(columns->unit);
	}
}
