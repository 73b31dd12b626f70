/*-------------------------------------------------------------------------
 *
 * observe_otlp.c
 *		Giving out spans, in the JSON of OTLP, the protocol of OpenTelemetry:
 *		https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "core.h"
#include "observe.h"

PG_FUNCTION_INFO_V1(clinical_take_spans);

/* So many are given at a time, whatever is asked for */
#define MAX_SPANS 10000

/* SpanKind of OTLP, and a code of Status */
#define KIND_INTERNAL 1
#define KIND_SERVER 2
#define KIND_CONSUMER 5
#define CODE_ERROR 2

static const struct
{
	const char *name;
	int			kind;
	const char *about;			/* key of what it is about */
	const char *code;
	const char *number;
}			forms[] = {
	[CLINICAL_SPAN_SUBMIT] = {"clinical.submit", KIND_SERVER, "clinical.submission_id", NULL, NULL},
	[CLINICAL_SPAN_WAIT] = {"clinical.wait", KIND_INTERNAL, "clinical.submission_id", NULL, NULL},
	[CLINICAL_SPAN_PROCESS] = {"clinical.process", KIND_CONSUMER, "clinical.submission_id", "clinical.reason", "clinical.batch_size"},
	[CLINICAL_SPAN_ALERT] = {"clinical.alert", KIND_INTERNAL, "clinical.submission_id", "clinical.rule", NULL},
	[CLINICAL_SPAN_REPORT] = {"clinical.report", KIND_SERVER, "clinical.report_id", "error.type", "clinical.attempt"},
	[CLINICAL_SPAN_REPORT_WAIT] = {"clinical.report.wait", KIND_INTERNAL, "clinical.report_id", NULL, NULL},
	[CLINICAL_SPAN_REPORT_PHASE] = {"clinical.report.phase", KIND_INTERNAL, "clinical.report_id", "clinical.phase", NULL},
};

/* The code of a project, looked up once a call */
typedef struct Project
{
	int64		id;
	const char *code;
} Project;

/* What is put together; it takes no copies of texts */
typedef struct Output
{
	JsonbParseState *state;
	List	   *projects;
} Output;

/* Begin a member that is an array. */
static void
begin_array(Output *output, const char *name)
{
	clinical_json_key(&output->state, name);
	pushJsonbValue(&output->state, WJB_BEGIN_ARRAY, NULL);
}

/* Begin an object in an array. */
static void
begin_object(Output *output)
{
	pushJsonbValue(&output->state, WJB_BEGIN_OBJECT, NULL);
}

/* Begin a member that is an object. */
static void
begin_member(Output *output, const char *name)
{
	clinical_json_key(&output->state, name);
	begin_object(output);
}

/* End an object. */
static void
end_object(Output *output)
{
	pushJsonbValue(&output->state, WJB_END_OBJECT, NULL);
}

/* End an array. */
static void
end_array(Output *output)
{
	pushJsonbValue(&output->state, WJB_END_ARRAY, NULL);
}

/* Put a member that is a number: what has 32 bits; what has 64 is a text in JSON. */
static void
put_number(Output *output, const char *name, int number)
{
	JsonbValue	value;

	value.type = jbvNumeric;
	value.val.numeric = int64_to_numeric(number);
	clinical_json_put(&output->state, name, &value);
}

/* Put an id in hexadecimal digits. */
static void
put_id(Output *output, const char *name, const uint8 *id, int length)
{
	char	   *digits = palloc0(2 * length + 1);

	(void) hex_encode((const char *) id, length, digits);
	clinical_json_put_text(&output->state, name, digits);
}

/* Put a moment: nanoseconds since 1970. */
static void
put_moment(Output *output, const char *name, TimestampTz moment)
{
	int64		us = moment + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;

	clinical_json_put_text(&output->state, name, psprintf(INT64_FORMAT, us * 1000));
}

/* Put an attribute that is a text, unless it is empty. */
static void
put_attribute(Output *output, const char *key, const char *string)
{
	if (*string == '\0')
		return;
	begin_object(output);
	clinical_json_put_text(&output->state, "key", key);
	begin_member(output, "value");
	clinical_json_put_text(&output->state, "stringValue", string);
	end_object(output);
	end_object(output);
}

/* Put an attribute that is a UUID, unless it is all zero. */
static void
put_uuid(Output *output, const char *key, const pg_uuid_t *id)
{
	static const pg_uuid_t none = {{0}};

	if (memcmp(id, &none, sizeof(none)) != 0)
		put_attribute(output, key, DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id))));
}

/* Put an attribute that is a number, unless it is zero. */
static void
put_count(Output *output, const char *key, int number)
{
	if (number == 0)
		return;
	begin_object(output);
	clinical_json_put_text(&output->state, "key", key);
	begin_member(output, "value");
	clinical_json_put_text(&output->state, "intValue", psprintf("%d", number));
	end_object(output);
	end_object(output);
}

/* The code of a project; empty: there is none. */
static const char *
project_code(Output *output, int64 id)
{
	static ClinicalPlan plan = {
		"SELECT p.code FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	ListCell   *cell;
	Project    *project;
	Datum		value = Int64GetDatum(id);
	Datum		code;

	if (id == 0)
		return "";
	foreach(cell, output->projects)
	{
		project = lfirst(cell);
		if (project->id == id)
			return project->code;
	}
	project = palloc_object(Project);
	project->id = id;
	project->code = clinical_owner_fetch(&plan, &value, NULL, true, &code) ? TextDatumGetCString(code) : "";
	output->projects = lappend(output->projects, project);
	return project->code;
}

/* Put what is known of a span. */
static void
put_attributes(Output *output, const ClinicalSpan *span)
{
	begin_array(output, "attributes");
	put_attribute(output, "clinical.outcome", span->outcome);
	if (forms[span->kind].code != NULL)
		put_attribute(output, forms[span->kind].code, span->code);
	if (forms[span->kind].number != NULL)
		put_count(output, forms[span->kind].number, span->number);
	put_attribute(output, "clinical.project", project_code(output, span->project_id));
	put_uuid(output, forms[span->kind].about, &span->about);
	put_uuid(output, "clinical.alert_id", &span->alert_id);
	put_attribute(output, "clinical.severity", span->severity);
	end_array(output);
}

/* Put a span. */
static void
put_span(Output *output, const ClinicalSpan *span)
{
	begin_object(output);
	put_id(output, "traceId", span->trace_id, sizeof(span->trace_id));
	put_id(output, "spanId", span->id, sizeof(span->id));
	put_id(output, "parentSpanId", span->parent_id, sizeof(span->parent_id));
	/* it is sampled */
	put_number(output, "flags", 1);
	clinical_json_put_text(&output->state, "name", span->kind == CLINICAL_SPAN_REPORT_PHASE ?
						   psprintf("clinical.report.%s", span->code) : forms[span->kind].name);
	put_number(output, "kind", forms[span->kind].kind);
	put_moment(output, "startTimeUnixNano", span->began_at);
	put_moment(output, "endTimeUnixNano", span->ended_at);
	put_attributes(output, span);
	begin_member(output, "status");
	if (span->failed)
	{
		put_number(output, "code", CODE_ERROR);
		clinical_json_put_text(&output->state, "message", span->outcome);
	}
	end_object(output);
	end_object(output);
}

/* Put whose spans these are. */
static void
put_resource(Output *output)
{
	begin_member(output, "resource");
	begin_array(output, "attributes");
	put_attribute(output, "service.name", "clinical");
	put_attribute(output, "service.version", CLINICAL_VERSION);
	put_attribute(output, "db.system.name", "postgresql");
	put_attribute(output, "db.namespace", get_database_name(MyDatabaseId));
	end_array(output);
	end_object(output);
}

/* Put the spans, as those of one resource and one scope. */
static void
put_spans(Output *output, const ClinicalSpan *spans, int count)
{
	begin_object(output);
	put_resource(output);
	begin_array(output, "scopeSpans");
	begin_object(output);
	begin_member(output, "scope");
	clinical_json_put_text(&output->state, "name", "clinical");
	clinical_json_put_text(&output->state, "version", CLINICAL_VERSION);
	end_object(output);
	begin_array(output, "spans");
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		put_span(output, &spans[i]);
	}
	end_array(output);
	end_object(output);
	end_array(output);
	end_object(output);
}

/* SQL: take spans of this database. */
Datum
clinical_take_spans(PG_FUNCTION_ARGS)
{
	int			limit = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
	Output		output = {NULL, NIL};
	ClinicalSpan *spans;
	int			count;

	clinical_require_preload();
	clinical_require_arg(limit > 0, "max_spans must be positive");
	limit = Min(limit, MAX_SPANS);
	spans = palloc_array(ClinicalSpan, limit);
	count = clinical_spans_take(spans, limit);
	begin_object(&output);
	begin_array(&output, "resourceSpans");
	if (count > 0)
		put_spans(&output, spans, count);
	end_array(&output);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&output.state, WJB_END_OBJECT, NULL)));
}
