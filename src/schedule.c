/*-------------------------------------------------------------------------
 *
 * schedule.c
 *		Jobs: what is to be done at its times, and as whom.
 *
 * pg_cron knows GMT alone, and runs what it has as the role that gave it.  So
 * it calls run_schedule each hour (schedule_run.c), which decides.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "access.h"
#include "project.h"
#include "report.h"
#include "schedule.h"

PG_FUNCTION_INFO_V1(clinical_report_schedule_check);
PG_FUNCTION_INFO_V1(clinical_schedule_report);
PG_FUNCTION_INFO_V1(clinical_schedule_retention);
PG_FUNCTION_INFO_V1(clinical_unschedule_report);

/* What clinical.check() tests of jobs */
const ClinicalInvariant clinical_schedule_invariants[] = {
	{"job is of the role that scheduled it",
		"SELECT s.id::pg_catalog.text, pg_catalog.concat('role ', s.role_name,"
		"       ' was dropped, renamed or not restored: unschedule this, and schedule it as whom it belongs to')"
		"  FROM clinical.report_schedule s"
		" WHERE s.status OPERATOR(pg_catalog.=) 'active'"
	"   AND pg_catalog.pg_get_userbyid(s.role) OPERATOR(pg_catalog.<>) s.role_name"},
};
const int	clinical_schedule_ninvariants = lengthof(clinical_schedule_invariants);

static const ClinicalPlace options_place = {"report options are not valid"};

static const ClinicalWay ways[] = {
	{NULL, "active"}, {"active", "active"}, {"active", "ended"},
};

/* What is to be scheduled */
typedef struct Job
{
	int64		id;				/* 0: the next one */
	int64		project_id;		/* 0: retention */
	text	   *schedule;
	const char *unit;
	Jsonb	   *options;
	Interval   *keep;			/* NULL: a report */
	int			earlier_hours;	/* what became due so long ago is not done yet */
} Job;

enum
{
	JOB_PROJECT, JOB_SCHEDULE, JOB_OPTIONS, JOB_KEEP,
};
static const ClinicalKey job_keys[] = {
	{"project", CLINICAL_SHAPE_TEXT}, {"schedule", CLINICAL_SHAPE_TEXT, true}, {"options", CLINICAL_SHAPE_OBJECT},
	{"keep", CLINICAL_SHAPE_TEXT},
};

/* A role that is gone keeps pg_cron 1.4 from running anything: its launcher fails at the name, and starts again, and fails. */
static bool
role_is_gone(const char **problem, const char **remedy)
{
	static ClinicalPlan plan = {
		"SELECT pg_catalog.string_agg(s.id::pg_catalog.text, ', ' ORDER BY s.id) FROM clinical.report_schedule s"
		" WHERE s.status OPERATOR(pg_catalog.=) 'active'"
		"   AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) s.role_name)",
		0
	};
	Datum		jobs;

	if (!clinical_owner_fetch(&plan, NULL, NULL, true, &jobs))
		return false;
	*problem = psprintf("jobs are scheduled of roles that were dropped or renamed: %s; pg_cron may run no jobs of anybody", TextDatumGetCString(jobs));
	*remedy = "End them by unschedule_report as a superuser, and schedule them as other roles.";
	return true;
}

/* When the library is loaded. */
void
clinical_schedule_init(void)
{
	clinical_register_problem(role_is_gone);
}

/* A restored job is of the role that scheduled it, or of none. */
static void
restore_job(ClinicalRow *row)
{
	bool		isnull;
	Oid			role = DatumGetObjectId(clinical_column(row, row->new_tuple, "role", &isnull));
	Name		scheduled_by = DatumGetName(clinical_column(row, row->new_tuple, "role_name", &isnull));
	char	   *name = GetUserNameFromId(role, true);

	if (name == NULL || isnull || strcmp(name, NameStr(*scheduled_by)) != 0)
		clinical_set_column(row, "role", ObjectIdGetDatum(InvalidOid), false);
}

/* Trigger: nobody but the server writes jobs, and what they are does not change. */
Datum
clinical_report_schedule_check(PG_FUNCTION_ARGS)
{
	static const char *const columns[] = {"id", "kind", "project_id", "schedule", "unit", "options", "keep", "role",
	"role_name", "recorded_at", "recorded_by", "actor"};
	ClinicalRow row;

	/* also called by DELETE */
	clinical_load_row(fcinfo, &row, NULL, 0);
	if (clinical_restore && row.old_tuple == NULL)
		restore_job(&row);
	if (clinical_as_is())
		PG_RETURN_POINTER(row.new_tuple != NULL ? row.new_tuple : row.old_tuple);
	if (!clinical_server_writes() || row.new_tuple == NULL)
		clinical_refuse_write("report_schedule");
	clinical_check_constant(&row, columns, lengthof(columns));
	clinical_check_way(ways, lengthof(ways), "job", row.old_tuple == NULL ? NULL : clinical_text_column(&row, row.old_tuple, "status"),
					   clinical_text_column(&row, row.new_tuple, "status"));
	if (row.old_tuple == NULL)
		clinical_stamp_row(&row);
	PG_RETURN_POINTER(row.new_tuple);
}

/* Is it one of these words? */
static bool
is_word(text *value, const char *word)
{
	return clinical_text_is(PointerGetDatum(value), word);
}

/* Five fields: what is in them is for pg_cron to judge. */
static bool
looks_like_cron(const char *schedule)
{
	int			fields = 0;

	while (*schedule != '\0')
	{
		size_t		length = strcspn(schedule, " ");

		if (length > 0)
			fields++;
		schedule += length + strspn(schedule + length, " ");
	}
	return fields == 5;
}

/* What a schedule says of the period that its report is about. */
static void
read_schedule(Job *job, const JsonbValue *period)
{
	static const char *const units[] = {"quarter", "month"};
	bool		quarterly = is_word(job->schedule, "quarterly");
	bool		monthly = is_word(job->schedule, "monthly");

	if (!quarterly && !monthly && !looks_like_cron(text_to_cstring(job->schedule)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("schedule is malformed"),
				 errhint("It can be \"quarterly\", \"monthly\", or a cron expression of five fields, in GMT, such as \"0 5 10 1,4,7,10 *\".")));
	job->unit = units[monthly];
	if (period->type == jbvNull)
		return;
	if (quarterly || monthly)
		clinical_shape_error(&options_place, "Key \"period\" is for cron expressions.");
	job->unit = units[clinical_shape_choice(&options_place, "period", period, units, lengthof(units))];
}

/* The options of a report that is made again and again: those of one, but for the cut-off, and the period. */
static void
read_options(Job *job)
{
	ClinicalReportScope scope = {0};
	JsonbValue	root;
	JsonbValue	period = {.type = jbvNull};
	JsonbValue	cutoff;

	clinical_json_value(job->options, &root);
	if (clinical_json_object(&root) == NULL)
		clinical_shape_error(&options_place, "Must be an object.");
	if (clinical_json_get(&root, "cutoff", &cutoff) != NULL && cutoff.type != jbvNull)
		clinical_shape_error(&options_place, "Key \"cutoff\" is for one report: a scheduled one has what is there when it is made.");
	if (clinical_json_get(&root, "period", &period) == NULL)
		period.type = jbvNull;
	clinical_report_read_options(DatumGetJsonbP(DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(job->options), CStringGetTextDatum("period"))),
								 &scope);
	read_schedule(job, &period);
}

/* Old reports are removed again and again. */
static void
read_keep(Job *job)
{
	JsonbValue	none = {.type = jbvNull};
	Interval	nothing = {0};

	clinical_require_arg(DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(job->keep), IntervalPGetDatum(&nothing))),
						 "keep must be a time of more than nothing");
	read_schedule(job, &none);
}

/* pg_cron runs jobs in sessions of the role. */
static void
require_login(void)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	bool		may_log_in = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (!may_log_in)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role \"%s\" may not log in", GetUserNameFromId(GetUserId(), false)),
				 errhint("Jobs run in sessions of the role that schedules them: schedule it as a role with LOGIN.")));
}

/* Nothing more is to be expected of a closed project. */
static void
require_open_project(int64 project_id)
{
	static ClinicalPlan plan = {
		"SELECT true FROM clinical.project p WHERE p.id OPERATOR(pg_catalog.=) $1"
		"   AND p.status OPERATOR(pg_catalog.<>) 'closed'",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(project_id);
	Datum		open;

	if (!clinical_fetch(&plan, &value, NULL, false, &open))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("project is closed")));
}

/* The number of the job of the current role, which is there already or is added now. */
static int64
add_job(const Job *job, bool *added)
{
	static ClinicalPlan insert = {
		"INSERT INTO clinical.report_schedule AS s (id, kind, project_id, schedule, unit, options, keep, role, role_name, status, done_until)"
		" OVERRIDING SYSTEM VALUE"
		" SELECT COALESCE($1, pg_catalog.nextval('clinical.report_schedule_id_seq')),"
		"        CASE WHEN $6 IS NULL THEN 'report' ELSE 'retention' END, $2, $3, $4, $5, $6, $7, pg_catalog.pg_get_userbyid($7), 'active',"
		"        CASE WHEN $3 OPERATOR(pg_catalog.=) ANY (ARRAY['quarterly', 'monthly']) THEN d.end_day END"
		"   FROM (SELECT 1) one"
		"   LEFT JOIN clinical.project p ON p.id OPERATOR(pg_catalog.=) $2"
		"  CROSS JOIN LATERAL clinical.schedule_due($4, COALESCE(p.time_zone, 'UTC'),"
		"        pg_catalog.now() OPERATOR(pg_catalog.-) pg_catalog.make_interval(0, 0, 0, 0, $8)) d"
		" ON CONFLICT DO NOTHING RETURNING s.id",
		8, {INT8OID, INT8OID, TEXTOID, TEXTOID, JSONBOID, INTERVALOID, REGROLEOID, INT4OID}
	};
	static ClinicalPlan select = {
		"SELECT s.id FROM clinical.report_schedule s"
		" WHERE s.status OPERATOR(pg_catalog.=) 'active' AND s.role OPERATOR(pg_catalog.=) $7"
		"   AND COALESCE(s.project_id OPERATOR(pg_catalog.=) $2, s.project_id IS NULL AND $2 IS NULL)"
		"   AND COALESCE(s.keep OPERATOR(pg_catalog.=) $6, s.keep IS NULL AND $6 IS NULL)"
		"   AND s.schedule OPERATOR(pg_catalog.=) $3 AND s.options OPERATOR(pg_catalog.=) $5",
		7, {INT8OID, INT8OID, TEXTOID, TEXTOID, JSONBOID, INTERVALOID, REGROLEOID}
	};
	Datum		values[8];
	char		nulls[8];
	Datum		id;

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int64GetDatum(job->id);
	nulls[0] = job->id == 0 ? 'n' : ' ';
	values[1] = Int64GetDatum(job->project_id);
	nulls[1] = job->project_id == 0 ? 'n' : ' ';
	values[2] = PointerGetDatum(job->schedule);
	values[3] = CStringGetTextDatum(job->unit);
	values[4] = JsonbPGetDatum(job->options);
	values[5] = IntervalPGetDatum(job->keep);
	nulls[5] = job->keep == NULL ? 'n' : ' ';
	values[6] = ObjectIdGetDatum(GetUserId());
	values[7] = Int32GetDatum(job->earlier_hours);
	*added = false;
	if (clinical_owner_fetch(&select, values, nulls, false, &id))
		return DatumGetInt64(id);
	*added = clinical_server_fetch(&insert, values, nulls, &id);
	/* somebody else was faster */
	if (!*added && !clinical_owner_fetch(&select, values, nulls, false, &id))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("jobs were changed meanwhile")));
	return DatumGetInt64(id);
}

/* Add a job, and tell pg_cron; one that is there needs nothing of a pg_cron in another database. */
static int64
schedule(const Job *job)
{
	bool		added;
	int64		id;

	require_login();
	id = add_job(job, &added);
	if (added || !clinical_cron_is_elsewhere())
		clinical_cron_add(id);
	return id;
}

/* SQL: a report at its times. */
Datum
clinical_schedule_report(PG_FUNCTION_ARGS)
{
	Job			job = {0};

	job.project_id = clinical_project_id(fcinfo, 0, false);
	job.schedule = clinical_text_arg(fcinfo, 1, "schedule is required");
	clinical_require_arg(!PG_ARGISNULL(2), "options are required");
	job.options = PG_GETARG_JSONB_P(2);
	read_options(&job);
	require_open_project(job.project_id);
	PG_RETURN_INT64(schedule(&job));
}

/* No options. */
static Jsonb *
empty_object(void)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
}

/* SQL: old reports removed at their times. */
Datum
clinical_schedule_retention(PG_FUNCTION_ARGS)
{
	Job			job = {0};

	job.schedule = clinical_text_arg(fcinfo, 0, "schedule is required");
	clinical_require_arg(!PG_ARGISNULL(1), "keep is required");
	job.keep = PG_GETARG_INTERVAL_P(1);
	job.options = empty_object();
	read_keep(&job);
	PG_RETURN_INT64(schedule(&job));
}

/* Was the number of a job given out, to be used in another database? */
static bool
was_given_out(int64 job_id)
{
	static ClinicalPlan plan = {
		"SELECT true FROM clinical.report_schedule_id_seq s WHERE s.is_called AND $1 OPERATOR(pg_catalog.>) 0"
		"   AND $1 OPERATOR(pg_catalog.<=) s.last_value",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(job_id);
	Datum		given_out;

	return clinical_owner_fetch(&plan, &value, NULL, false, &given_out);
}

/* Is there such a job, whoever's? */
static bool
job_exists(int64 job_id)
{
	static ClinicalPlan plan = {
		"SELECT true FROM clinical.report_schedule s WHERE s.id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(job_id);
	Datum		exists;

	return clinical_owner_fetch(&plan, &value, NULL, false, &exists);
}

/*
 * Add a job that a pg_cron in another database has, unless it is there: the hint
 * was all that was left of it.  Since then an hour may have gone.
 */
int64
clinical_schedule_know(int64 job_id, Jsonb *document)
{
	ClinicalPlace place = {"job is malformed", NULL};
	Job			job = {.id = job_id, .earlier_hours = 1};
	JsonbValue	root;
	JsonbValue	values[lengthof(job_keys)];
	bool		added;

	if (job_exists(job_id))
		return job_id;
	clinical_require_arg(was_given_out(job_id), "no job has been given this number");
	clinical_json_value(document, &root);
	clinical_shape_read(&place, &root, job_keys, lengthof(job_keys), values);
	if ((values[JOB_PROJECT].type == jbvNull) == (values[JOB_KEEP].type == jbvNull))
		clinical_shape_error(&place, "It must have one of the keys \"project\" and \"keep\".");
	job.schedule = cstring_to_text(clinical_shape_text(&values[JOB_SCHEDULE]));
	job.options = values[JOB_OPTIONS].type == jbvNull ? empty_object() : JsonbValueToJsonb(&values[JOB_OPTIONS]);
	if (values[JOB_KEEP].type == jbvNull)
	{
		job.project_id = clinical_project_by_code(cstring_to_text(clinical_shape_text(&values[JOB_PROJECT])), false);
		read_options(&job);
	}
	else
	{
		job.keep = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(clinical_shape_text(&values[JOB_KEEP])),
														 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
		read_keep(&job);
	}
	return add_job(&job, &added);
}

/* A job ends. */
void
clinical_schedule_end(int64 job_id, const char *reason)
{
	static ClinicalPlan update = {
		"UPDATE clinical.report_schedule AS s SET status = 'ended', ended_at = pg_catalog.clock_timestamp(),"
		"       ended_by = SESSION_USER, end_reason = $2"
		" WHERE s.id OPERATOR(pg_catalog.=) $1 AND s.status OPERATOR(pg_catalog.=) 'active' RETURNING s.id",
		2, {INT8OID, TEXTOID}
	};
	Datum		values[2] = {Int64GetDatum(job_id), CStringGetTextDatum(reason)};
	Datum		id;

	if (!clinical_server_fetch(&update, values, NULL, &id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job has ended already")));
}

/* SQL: a job ends. */
Datum
clinical_unschedule_report(PG_FUNCTION_ARGS)
{
	static ClinicalPlan select = {
		"SELECT s.role FROM clinical.report_schedule s WHERE s.id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	Datum		role;

	clinical_require_arg(!PG_ARGISNULL(0), "job id is required");
	/* as the caller, to whom others' jobs do not exist */
	if (!clinical_fetch_args(&select, fcinfo, false, &role))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("job not found"),
				 errdetail("There is no job with the number %lld.", (long long) PG_GETARG_INT64(0))));
	if (!has_privs_of_role(GetUserId(), DatumGetObjectId(role)) &&
		!clinical_has_rights_of(GetUserId(), "clinical_admin"))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must have the rights of the role that scheduled the job, or be an administrator")));
	clinical_schedule_end(PG_GETARG_INT64(0), "unscheduled");
	clinical_cron_remove(PG_GETARG_INT64(0), DatumGetObjectId(role));
	PG_RETURN_INT64(PG_GETARG_INT64(0));
}
