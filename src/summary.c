/*-------------------------------------------------------------------------
 *
 * summary.c
 *		Aggregates that give exact statistics: describe() and quantile_sas().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "nodes/primnodes.h"
#include "utils/array.h"
#include "utils/datum.h"

#include "core.h"
#include "compat.h"
#include "summary_state.h"

PG_FUNCTION_INFO_V1(clinical_describe_add);
PG_FUNCTION_INFO_V1(clinical_describe_add_counted);
PG_FUNCTION_INFO_V1(clinical_quantile_add);
PG_FUNCTION_INFO_V1(clinical_quantile_add_counted);
PG_FUNCTION_INFO_V1(clinical_summary_combine);
PG_FUNCTION_INFO_V1(clinical_summary_pack);
PG_FUNCTION_INFO_V1(clinical_summary_unpack);

/* The state of an aggregate's transition function; the type of its values is looked up once. */
static inline SummaryState *
state_arg(FunctionCallInfo fcinfo)
{
	if (likely(!PG_ARGISNULL(0)))
		return (SummaryState *) PG_GETARG_POINTER(0);
	return summary_state_new(fcinfo, get_fn_expr_argtype(fcinfo->flinfo, 1));
}

/* Adds the value of a row, so many times. */
static inline void
add_value(SummaryState *state, FunctionCallInfo fcinfo, int64 count)
{
	if (!PG_ARGISNULL(1))
		summary_state_add(state, fcinfo, PG_GETARG_DATUM(1), count);
	else if (pg_add_s64_overflow(state->counts.missing, count, &state->counts.missing))
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("bigint out of range")));
}

/* How often the value of a row occurs. */
static int64
frequency_arg(FunctionCallInfo fcinfo)
{
	clinical_require_arg(!PG_ARGISNULL(2), "frequency is required");
	if (PG_GETARG_INT64(2) < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("frequency must not be negative")));
	return PG_GETARG_INT64(2);
}

/* True if the expression of an argument is a constant. */
static bool
is_constant(FunctionCallInfo fcinfo, int argno)
{
	Aggref	   *aggregate = AggGetAggref(fcinfo);

	return aggregate != NULL && IsA(list_nth_node(TargetEntry, aggregate->args, argno - 1)->expr, Const);
}

/* Keeps fractions in a state. */
static void
keep_fractions(SummaryState *state, Oid type, Datum value)
{
	MemoryContext caller = MemoryContextSwitchTo(state->memory);
	bool		byval = type == FLOAT8OID;

	state->fractions.type = type;
	state->fractions.value = byval ? value : PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	MemoryContextSwitchTo(caller);
}

/* True if these are the fractions that are kept. */
static bool
same_fractions(const SummaryFractions *fractions, Datum value)
{
	if (fractions->type == FLOAT8OID)
		return fractions->value == value;
	return datum_image_eq(fractions->value, value, false, -1);
}

/* Takes the fractions of the first row, and sees that other rows have the same. */
static inline void
take_fractions(SummaryState *state, FunctionCallInfo fcinfo, int argno)
{
	SummaryFractions *fractions = &state->fractions;
	Datum		value = PG_GETARG_DATUM(argno);

	if (likely(fractions->constant))
		return;
	if (!OidIsValid(fractions->type))
	{
		Oid			type = get_fn_expr_argtype(fcinfo->flinfo, argno);

		summary_fractions_check(type, value, PG_ARGISNULL(argno));
		keep_fractions(state, type, value);
		fractions->constant = is_constant(fcinfo, argno);
		return;
	}
	clinical_require_arg(!PG_ARGISNULL(argno) && same_fractions(fractions, value), "fraction must be the same for all rows");
}

/* SQL: adds the value of a row for describe(). */
Datum
clinical_describe_add(PG_FUNCTION_ARGS)
{
	SummaryState *state = state_arg(fcinfo);

	add_value(state, fcinfo, 1);
	PG_RETURN_POINTER(state);
}

/* SQL: the same, of a value that occurs so many times. */
Datum
clinical_describe_add_counted(PG_FUNCTION_ARGS)
{
	SummaryState *state = state_arg(fcinfo);

	add_value(state, fcinfo, frequency_arg(fcinfo));
	PG_RETURN_POINTER(state);
}

/* SQL: adds the value of a row for quantile_sas(). */
Datum
clinical_quantile_add(PG_FUNCTION_ARGS)
{
	SummaryState *state = state_arg(fcinfo);

	take_fractions(state, fcinfo, 2);
	add_value(state, fcinfo, 1);
	PG_RETURN_POINTER(state);
}

/* SQL: the same, of a value that occurs so many times. */
Datum
clinical_quantile_add_counted(PG_FUNCTION_ARGS)
{
	SummaryState *state = state_arg(fcinfo);

	take_fractions(state, fcinfo, 3);
	add_value(state, fcinfo, frequency_arg(fcinfo));
	PG_RETURN_POINTER(state);
}

/* Takes the fractions of another state. */
static void
combine_fractions(SummaryState *state, const SummaryState *other)
{
	SummaryFractions *fractions = &state->fractions;
	if (OidIsValid(fractions->type))
		clinical_require_arg(same_fractions(fractions, other->fractions.value), "fraction must be the same for all rows");
	else
		keep_fractions(state, other->fractions.type, other->fractions.value);
}

/* SQL: adds one state to another. */
Datum
clinical_summary_combine(PG_FUNCTION_ARGS)
{
	SummaryState *other = PG_ARGISNULL(1) ? NULL : (SummaryState *) PG_GETARG_POINTER(1);
	SummaryState *state = PG_ARGISNULL(0) ? NULL : (SummaryState *) PG_GETARG_POINTER(0);

	if (other == NULL)
	{
		if (state == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(state);
	}
	if (state == NULL)
		state = summary_state_new(fcinfo, other->type);
	if (OidIsValid(other->fractions.type))
		combine_fractions(state, other);
	summary_state_absorb(state, fcinfo, other);
	PG_RETURN_POINTER(state);
}

/* SQL: a state as bytes, for another process. */
Datum
clinical_summary_pack(PG_FUNCTION_ARGS)
{
	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "summary_pack called in non-aggregate context");
	PG_RETURN_BYTEA_P(summary_state_pack((SummaryState *) PG_GETARG_POINTER(0)));
}

/* SQL: a state of such bytes. */
Datum
clinical_summary_unpack(PG_FUNCTION_ARGS)
{
	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "summary_unpack called in non-aggregate context");
	PG_RETURN_POINTER(summary_state_unpack(PG_GETARG_BYTEA_P(0)));
}
