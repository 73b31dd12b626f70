/*-------------------------------------------------------------------------
 *
 * report_progress.c
 *		How far a report is.
 *
 * Two things are told.  The rows of submission and observation that were read, by this
 * session and its parallel workers, of those that are to be read; and the part of the work
 * that is done, in which a phase weighs what it takes by experience, and within a phase
 * the rows read tell how far it is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "access.h"
#include "report.h"

PG_FUNCTION_INFO_V1(clinical_report_activity);

/* What is told */
enum
{
	NUMBER_DONE,				/* rows read */
	NUMBER_TOTAL,				/* rows to be read; 0: not known yet */
	NUMBER_WORK_BEFORE,			/* of the phases that are over */
	NUMBER_WORK_PHASE,			/* of the present one */
	NUMBER_WORK_TOTAL,
	NUMBER_PHASE_BEGAN,			/* rows read before it */
	NUMBER_PHASE_ROWS,			/* rows that it reads */
	NUMBER_PROJECT,
	NUMBER_ROLE,
	NUMBER_ID_HIGH,				/* of the job; 0: there is none */
	NUMBER_ID_LOW
};

/* Phases: 0 counts the rows, the others are the tables by number, from 1 */
#define PHASE_COUNTING 0

/*
 * Two passes take most of the time: one over all observations and one over all submissions.
 * What they find is kept, so the first table that needs it makes it, and the others
 * take no more than any.
 */
typedef enum Pass
{
	PASS_NONE,
	PASS_OBSERVATIONS,
	PASS_SUBMISSIONS,
	NPASSES
} Pass;

static const struct
{
	const char *table;
	Pass		pass;
}			readers[] = {
	{"items", PASS_OBSERVATIONS}, {"codes", PASS_OBSERVATIONS}, {"corrections", PASS_OBSERVATIONS},
	{"patient_compliance", PASS_SUBMISSIONS},
};

/*
 * What a row of a pass takes, in units that are about a nanosecond; and of counting them.
 * bench/report tells how far off the estimates are.  With all in memory counting takes less
 * of the time, and where all has to be fetched, more: this is between.
 */
static const double row_work[NPASSES] = {[PASS_OBSERVATIONS] = 390, [PASS_SUBMISSIONS] = 2000};
#define WORK_COUNTING 1350
/* Each table takes so much beside that for each patient, and in any case */
#define WORK_PATIENT 2000
#define WORK_TABLE 1000000

/* Those about patients go over their histories and records, and the rates over what was stored again */
static const struct
{
	const char *table;
	double		patient;
	double		submission;
}			further_work[] = {
	{"patients", 8000, 0}, {"enrolment", 8000, 0}, {"ages", 8000, 0}, {"sexes", 8000, 0}, {"races", 8000, 0}, {"ethnicities", 8000, 0},
	{"indicators", 0, 350},
};

/* What the report that this session makes reads */
static double patients;
static double pass_rows[NPASSES];
static const ClinicalReportTable *first_reader[NPASSES];

/* What a table needs. */
static Pass
needs(const ClinicalReportTable *table)
{
	for (int i = 0; i < (int) lengthof(readers); i++)
	{
		if (strcmp(readers[i].table, table->name) == 0)
			return readers[i].pass;
	}
	return PASS_NONE;
}

/* What is read when it is its turn: nothing that was read for another. */
static Pass
pass_of(const ClinicalReportTable *table)
{
	Pass		pass = needs(table);

	return first_reader[pass] == table ? pass : PASS_NONE;
}

/* How much work it is. */
static double
work_of(const ClinicalReportTable *table)
{
	Pass		pass = pass_of(table);
	double		work = WORK_TABLE + WORK_PATIENT * patients + row_work[pass] * pass_rows[pass];

	for (int i = 0; i < (int) lengthof(further_work); i++)
	{
		if (strcmp(further_work[i].table, table->name) == 0)
			work += further_work[i].patient * patients + further_work[i].submission * pass_rows[PASS_SUBMISSIONS];
	}
	return work;
}

/* A report begins, of a job or (NULL) of a session. */
void
clinical_report_progress_begin(const ClinicalReportScope *scope, const pg_uuid_t *id)
{
	uint64		halves[2] = {0, 0};

	if (id != NULL)
		memcpy(halves, id->data, sizeof(halves));
	clinical_progress_begin(CLINICAL_REPORT);
	clinical_progress_set(NUMBER_PROJECT, (uint64) scope->project_id);
	clinical_progress_set(NUMBER_ROLE, scope->role);
	clinical_progress_set(NUMBER_ID_HIGH, halves[0]);
	clinical_progress_set(NUMBER_ID_LOW, halves[1]);
}

/* The rows are counted; what is to be done is this. */
void
clinical_report_progress_plan(List *tables, Jsonb *size)
{
	double		rows = 0;
	double		work;
	ListCell   *cell;

	patients = clinical_json_number(size, "patients");
	pass_rows[PASS_SUBMISSIONS] = clinical_json_number(size, "submissions");
	pass_rows[PASS_OBSERVATIONS] = clinical_json_number(size, "observations");
	memset(first_reader, 0, sizeof(first_reader));
	work = WORK_COUNTING * pass_rows[PASS_SUBMISSIONS];
	clinical_progress_set(NUMBER_WORK_BEFORE, (uint64) work);
	foreach(cell, tables)
	{
		Pass		pass = needs(lfirst(cell));

		if (pass != PASS_NONE && first_reader[pass] == NULL)
		{
			first_reader[pass] = lfirst(cell);
			rows += pass_rows[pass];
		}
		work += work_of(lfirst(cell));
	}
	clinical_progress_set(NUMBER_TOTAL, (uint64) rows);
	clinical_progress_set(NUMBER_WORK_TOTAL, (uint64) work);
}

/* A table's turn. */
void
clinical_report_progress_phase(const ClinicalReportTable *table)
{
	int			number = 0;

	while (clinical_report_table(number) != table)
		number++;
	clinical_progress_set(NUMBER_WORK_BEFORE, clinical_progress_get(NUMBER_WORK_BEFORE) + clinical_progress_get(NUMBER_WORK_PHASE));
	clinical_progress_set(NUMBER_PHASE_BEGAN, clinical_progress_get(NUMBER_DONE));
	clinical_progress_set(NUMBER_PHASE_ROWS, (uint64) pass_rows[pass_of(table)]);
	clinical_progress_set(NUMBER_WORK_PHASE, (uint64) work_of(table));
	clinical_progress_phase(number + 1);
}

/* So many rows more were read. */
void
clinical_report_count(uint64 rows)
{
	clinical_progress_add(CLINICAL_REPORT, NUMBER_DONE, rows);
}

/* The part of the work that is done, from 0 to 1; less than 0: it is not known yet. */
static double
part_done(const ClinicalProgress *progress)
{
	const uint64 *numbers = progress->numbers;
	double		phase = 0;

	if (numbers[NUMBER_WORK_TOTAL] == 0)
		return -1;
	if (numbers[NUMBER_PHASE_ROWS] > 0)
		phase = (double) (numbers[NUMBER_DONE] - numbers[NUMBER_PHASE_BEGAN]) / (double) numbers[NUMBER_PHASE_ROWS];
	return Min((numbers[NUMBER_WORK_BEFORE] + Min(phase, 1) * numbers[NUMBER_WORK_PHASE]) / numbers[NUMBER_WORK_TOTAL], 1);
}

/* The name of a phase. */
static const char *
phase_name(int phase)
{
	const ClinicalReportTable *table = phase == PHASE_COUNTING ? NULL : clinical_report_table(phase - 1);

	return table == NULL ? "counting" : table->name;
}

/*
 * The phase of the report that this session makes, NULL: nothing is told of it; and
 * how much of the work is done, in percent, less than 0: that is not known yet.
 */
const char *
clinical_report_progress_now(double *percent)
{
	ClinicalProgress progress;

	if (!clinical_progress_own(CLINICAL_REPORT, &progress))
		return NULL;
	*percent = part_done(&progress) * 100;
	return phase_name(progress.phase);
}

/* It ends, well or not. */
void
clinical_report_progress_end(void)
{
	clinical_progress_end();
}

/* Does the user see the job? */
static bool
sees_job(const pg_uuid_t *id)
{
	static ClinicalPlan plan = {
		"SELECT true FROM clinical.report_job j WHERE j.id OPERATOR(pg_catalog.=) $1",
		1, {UUIDOID}
	};
	Datum		value = UUIDPGetDatum(id);
	Datum		ignored;

	return clinical_fetch(&plan, &value, NULL, true, &ignored);
}

/* The job that makes a report; NULL: a session does. */
static const pg_uuid_t *
job_of(const ClinicalProgress *progress, pg_uuid_t *buffer)
{
	memcpy(buffer->data, &progress->numbers[NUMBER_ID_HIGH], sizeof(uint64));
	memcpy(buffer->data + sizeof(uint64), &progress->numbers[NUMBER_ID_LOW], sizeof(uint64));
	return progress->numbers[NUMBER_ID_HIGH] == 0 ? NULL : buffer;
}

/* May the user know of a report?  Of a job that it sees; of what a session makes whose rights it has; admins and auditors of all. */
static bool
may_know(const ClinicalProgress *progress)
{
	static const char *const names[] = {"clinical_admin", "clinical_auditor"};
	pg_uuid_t	buffer;
	const pg_uuid_t *job = job_of(progress, &buffer);

	if (job != NULL)
		return sees_job(job);
	for (int i = 0; i < (int) lengthof(names); i++)
	{
		if (clinical_has_rights_of(GetUserId(), names[i]))
			return true;
	}
	return has_privs_of_role(GetUserId(), (Oid) progress->numbers[NUMBER_ROLE]);
}

/* Put the row of a report that is being made. */
static void
put_row(ReturnSetInfo *result, const ClinicalProgress *progress)
{
	const uint64 *numbers = progress->numbers;
	pg_uuid_t	buffer;
	const pg_uuid_t *id = job_of(progress, &buffer);
	double		part = part_done(progress);
	Datum		values[10];
	bool		nulls[10] = {false};

	nulls[1] = id == NULL;
	nulls[6] = numbers[NUMBER_WORK_TOTAL] == 0;
	nulls[7] = part < 0;
	nulls[9] = part <= 0;
	values[0] = Int32GetDatum(progress->pid);
	values[1] = UUIDPGetDatum(&buffer);
	values[2] = Int64GetDatum((int64) numbers[NUMBER_PROJECT]);
	values[3] = ObjectIdGetDatum((Oid) numbers[NUMBER_ROLE]);
	values[4] = CStringGetTextDatum(phase_name(progress->phase));
	values[5] = Int64GetDatum((int64) numbers[NUMBER_DONE]);
	values[6] = Int64GetDatum((int64) numbers[NUMBER_TOTAL]);
	values[7] = DirectFunctionCall2(numeric_round, DirectFunctionCall1(float8_numeric, Float8GetDatum(Max(part, 0) * 100)), Int32GetDatum(1));
	values[8] = TimestampTzGetDatum(progress->started_at);
	values[9] = TimestampTzGetDatum(progress->started_at +
									(part <= 0 ? 0 : (TimestampTz) ((double) (GetCurrentTimestamp() - progress->started_at) / part)));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* SQL: the reports that are being made in this database, as far as the user may know. */
Datum
clinical_report_activity(PG_FUNCTION_ARGS)
{
	ClinicalProgress progress;
	int			number = 0;

	InitMaterializedSRF(fcinfo, 0);
	while (clinical_progress_next(&number, CLINICAL_REPORT, &progress))
	{
		if (may_know(&progress))
			put_row((ReturnSetInfo *) fcinfo->resultinfo, &progress);
	}
	return (Datum) 0;
}
