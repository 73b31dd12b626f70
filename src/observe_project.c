/*-------------------------------------------------------------------------
 *
 * observe_project.c
 *		What was counted of projects, shown to who may see it.
 *
 * A project's numbers are for who sees the project, by row level security.  Those
 * of no project, or of projects that are not counted each for itself, are for who
 * sees all; they and pg_monitor see all projects.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "core.h"
#include "observe_entry.h"

PG_FUNCTION_INFO_V1(clinical_stat_projects);

/* The numbers of a slot, or of what is not shown by project */
typedef struct Numbers
{
	int64		project_id;
	uint64		numbers[CLINICAL_NPROJECT_COUNTERS];
} Numbers;

/* Kind and code of the project come before the numbers, and reset_at behind them */
#define COLUMN_KIND 0
#define COLUMN_PROJECT 1
#define FIRST_NUMBER 2
#define NCOLUMNS (FIRST_NUMBER + CLINICAL_NPROJECT_COUNTERS + 1)

/* Copy all slots. */
static void
copy_slots(const ClinicalEntry *entry, Numbers *slots)
{
	ClinicalNumbers *numbers = unconstify(ClinicalNumbers *, &entry->numbers);

	LWLockAcquire(clinical_entries_lock, LW_SHARED);
	for (int i = 0; i < CLINICAL_NPROJECT_SLOTS; i++)
	{
		slots[i].project_id = (int64) pg_atomic_read_u64(&numbers->project_id[i]);
		for (int j = 0; j < CLINICAL_NPROJECT_COUNTERS; j++)
			slots[i].numbers[j] = pg_atomic_read_u64(&numbers->of_project[i][j]);
	}
	LWLockRelease(clinical_entries_lock);
}

/* Has the caller the rights of a role? */
static bool
has_rights_of(const char *role)
{
	return has_privs_of_role(GetUserId(), get_role_oid(role, false));
}

/* May the caller see what is counted of all projects, though not the projects? */
static bool
watches(void)
{
	return has_rights_of("pg_monitor");
}

/* May the caller see all projects? */
static bool
sees_all(void)
{
	static ClinicalPlan plan = {
		"SELECT true FROM clinical.membership m WHERE m.center_id IS NULL AND m.project_id IS NULL"
		"   AND pg_catalog.pg_has_role(m.role, 'USAGE') LIMIT 1"
	};
	Datum		ignored;

	return watches() || has_bypassrls_privilege(GetUserId()) || has_rights_of("clinical_owner") || has_rights_of("clinical_admin") ||
		has_rights_of("clinical_auditor") || clinical_fetch(&plan, NULL, NULL, true, &ignored);
}

/* Put a row into the result, unless nothing was counted.  code is NULL where kind is not "project". */
static void
put_row(ReturnSetInfo *result, const char *kind, const char *code, const Numbers *numbers, TimestampTz reset_at)
{
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS] = {false};
	uint64		any = 0;

	values[COLUMN_KIND] = CStringGetTextDatum(kind);
	values[COLUMN_PROJECT] = code == NULL ? (Datum) 0 : CStringGetTextDatum(code);
	nulls[COLUMN_PROJECT] = code == NULL;
	for (int i = 0; i < CLINICAL_NPROJECT_COUNTERS; i++)
	{
		values[FIRST_NUMBER + i] = Int64GetDatum((int64) numbers->numbers[i]);
		any |= numbers->numbers[i];
	}
	values[NCOLUMNS - 1] = TimestampTzGetDatum(reset_at);
	if (any != 0)
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* The slot of a project; NULL: it has none. */
static Numbers *
slot_of(Numbers *slots, int64 project_id)
{
	for (int i = CLINICAL_FIRST_SLOT; i < CLINICAL_NPROJECT_SLOTS; i++)
	{
		if (slots[i].project_id == project_id)
			return &slots[i];
	}
	return NULL;
}

/* Rows for the projects that the caller may see; their slots are then of no project. */
static void
put_projects(ReturnSetInfo *result, Numbers *slots, TimestampTz reset_at)
{
	static ClinicalPlan plan = {"SELECT p.id, p.code FROM clinical.project p ORDER BY p.code"};
	MemoryContext context = CurrentMemoryContext;

	SPI_connect();
	if (watches())
		clinical_owner_execute(&plan, NULL, NULL, true);
	else
		clinical_execute(&plan, NULL, NULL, true);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Numbers    *slot = slot_of(slots, DatumGetInt64(clinical_result(i, 1)));
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (slot == NULL)
			continue;
		old = MemoryContextSwitchTo(context);
		put_row(result, "project", TextDatumGetCString(clinical_result(i, 2)), slot, reset_at);
		MemoryContextSwitchTo(old);
		slot->project_id = 0;
		memset(slot->numbers, 0, sizeof(slot->numbers));
	}
	SPI_finish();
}

/* A row for what is left: of projects that were not counted each for itself, or are no more. */
static void
put_others(ReturnSetInfo *result, Numbers *slots, TimestampTz reset_at)
{
	Numbers    *other = &slots[CLINICAL_SLOT_OTHER];

	for (int i = CLINICAL_FIRST_SLOT; i < CLINICAL_NPROJECT_SLOTS; i++)
	{
		for (int j = 0; j < CLINICAL_NPROJECT_COUNTERS; j++)
			other->numbers[j] += slots[i].numbers[j];
	}
	put_row(result, "other", NULL, other, reset_at);
}

/* SQL: what was counted of the projects that the caller may see. */
Datum
clinical_stat_projects(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ClinicalEntry *entry = clinical_require_entry();
	Numbers    *slots = palloc_array(Numbers, CLINICAL_NPROJECT_SLOTS);
	ClinicalCounts counts;

	InitMaterializedSRF(fcinfo, 0);
	(void) clinical_counts_read(&counts);
	copy_slots(entry, slots);
	put_projects(result, slots, counts.reset_at);
	if (sees_all())
	{
		put_row(result, "unknown", NULL, &slots[CLINICAL_SLOT_UNKNOWN], counts.reset_at);
		put_others(result, slots, counts.reset_at);
	}
	return (Datum) 0;
}
