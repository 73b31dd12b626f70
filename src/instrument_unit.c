/*-------------------------------------------------------------------------
 *
 * instrument_unit.c
 *		Units that measure the same, and how to get from one to the other.
 *
 * Codes and values are those of UCUM 2.1.  A unit stands here by what makes
 * its base unit of it: (value * factor + offset) / divisor, all whole or
 * decimal numbers, so that a conversion rounds once, in its only division.
 * Amounts of substance against masses (mmol/L and mg/dL of glucose) depend on
 * the substance: definitions give their factor themselves.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

#include "instrument.h"

typedef struct KnownUnit
{
	const char *code;
	const char *measures;
	const char *factor;
	const char *offset;
	const char *divisor;
} KnownUnit;

static const KnownUnit known_units[] = {
	{"kg", "mass", "1", "0", "1"},
	{"g", "mass", "1", "0", "1000"},
	{"mg", "mass", "1", "0", "1000000"},
	{"ug", "mass", "1", "0", "1000000000"},
	{"[lb_av]", "mass", "0.45359237", "0", "1"},
	{"[oz_av]", "mass", "0.45359237", "0", "16"},
	{"[stone_av]", "mass", "6.35029318", "0", "1"},
	{"m", "length", "1", "0", "1"},
	{"cm", "length", "1", "0", "100"},
	{"mm", "length", "1", "0", "1000"},
	{"km", "length", "1000", "0", "1"},
	{"[in_i]", "length", "0.0254", "0", "1"},
	{"[ft_i]", "length", "0.3048", "0", "1"},
	{"Pa", "pressure", "1", "0", "1"},
	{"kPa", "pressure", "1000", "0", "1"},
	{"mbar", "pressure", "100", "0", "1"},
	{"mm[Hg]", "pressure", "133.322", "0", "1"},
	{"cm[H2O]", "pressure", "98.0665", "0", "1"},
	{"Cel", "temperature", "1", "0", "1"},
	{"K", "temperature", "1", "-273.15", "1"},
	{"[degF]", "temperature", "5", "-160", "9"},
	{"s", "time", "1", "0", "1"},
	{"ms", "time", "1", "0", "1000"},
	{"min", "time", "60", "0", "1"},
	{"h", "time", "3600", "0", "1"},
	{"d", "time", "86400", "0", "1"},
	{"wk", "time", "604800", "0", "1"},
	{"/min", "frequency", "1", "0", "1"},
	{"{beats}/min", "frequency", "1", "0", "1"},
	{"{breaths}/min", "frequency", "1", "0", "1"},
	{"/s", "frequency", "60", "0", "1"},
	{"/h", "frequency", "1", "0", "60"},
	{"Hz", "frequency", "60", "0", "1"},
	{"L", "volume", "1", "0", "1"},
	{"dL", "volume", "1", "0", "10"},
	{"cL", "volume", "1", "0", "100"},
	{"mL", "volume", "1", "0", "1000"},
	{"1", "ratio", "1", "0", "1"},
	{"%", "ratio", "1", "0", "100"},
	{"kcal", "energy", "4184", "0", "1"},
	{"kJ", "energy", "1000", "0", "1"},
	{"J", "energy", "1", "0", "1"},
	{"g/L", "concentration of mass", "1", "0", "1"},
	{"g/dL", "concentration of mass", "10", "0", "1"},
	{"mg/dL", "concentration of mass", "1", "0", "100"},
	{"mg/L", "concentration of mass", "1", "0", "1000"},
	{"ug/mL", "concentration of mass", "1", "0", "1000"},
	{"ng/mL", "concentration of mass", "1", "0", "1000000"},
	{"mol/L", "concentration of substance", "1", "0", "1"},
	{"mmol/L", "concentration of substance", "1", "0", "1000"},
	{"umol/L", "concentration of substance", "1", "0", "1000000"},
	{"nmol/L", "concentration of substance", "1", "0", "1000000000"},
	{"m/s", "speed", "1", "0", "1"},
	{"km/h", "speed", "10", "0", "36"},
};

/* The unit of that code, or NULL. */
static const KnownUnit *
find_unit(const char *code)
{
	for (int i = 0; i < (int) lengthof(known_units); i++)
	{
		if (strcmp(known_units[i].code, code) == 0)
			return &known_units[i];
	}
	return NULL;
}

/* Do we know what that unit measures? */
bool
clinical_unit_known(const char *code)
{
	return find_unit(code) != NULL;
}

/* A number of the table. */
static Datum
number(const char *digits)
{
	return DirectFunctionCall3(numeric_in, CStringGetDatum(digits), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

/* The product of two numbers. */
static Datum
times(Datum a, Datum b)
{
	return DirectFunctionCall2(numeric_mul, a, b);
}

/*
 * How a value in one unit becomes one in another; false if nobody knows.
 *
 * With base = (a * fa + oa) / da = (b * fb + ob) / db:
 * b = (a * fa * db + oa * db - ob * da) / (da * fb).
 */
bool
clinical_unit_conversion(const char *from, const char *to, ClinicalUnit *unit)
{
	const KnownUnit *a = find_unit(from);
	const KnownUnit *b = find_unit(to);

	if (a == NULL || b == NULL || strcmp(a->measures, b->measures) != 0)
		return false;
	unit->factor = DatumGetNumeric(times(number(a->factor), number(b->divisor)));
	unit->offset = DatumGetNumeric(DirectFunctionCall2(numeric_sub,
													   times(number(a->offset), number(b->divisor)),
													   times(number(b->offset), number(a->divisor))));
	unit->divisor = DatumGetNumeric(times(number(a->divisor), number(b->factor)));
	return true;
}
