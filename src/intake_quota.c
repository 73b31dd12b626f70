/*-------------------------------------------------------------------------
 *
 * intake_quota.c
 *		Projects that may take only a share of the queue.
 *
 * Only while some project has a share is the project of a report's patient
 * looked up when the report is submitted.  The reports of such projects are
 * counted in shared memory, and carry the project with them until they leave the
 * queue.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "intake.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(clinical_queue_share_changed);

typedef struct Share
{
	int64		project_id;
	double		share;
} Share;

/* The projects that have a share, as this session knows them */
static Share shares[CLINICAL_MAX_QUOTAS];
static int	nshares = 0;
static bool known = false;
static bool changed = false;	/* while they are being read */
static Oid	project_table = InvalidOid;

/* Callback: what is known of a table may be out of date. */
static void
forget_shares(Datum arg, Oid relid)
{
	if (relid == project_table || !OidIsValid(relid))
	{
		known = false;
		changed = true;
	}
}

/* Listen to changes of projects, once a session. */
void
clinical_quota_init(void)
{
	CacheRegisterRelcacheCallback(forget_shares, (Datum) 0);
}

/* Read which projects have a share. */
static void
read_shares(void)
{
	static ClinicalPlan plan = {
		"SELECT p.id, p.queue_share::pg_catalog.float8 FROM clinical.project p WHERE p.queue_share IS NOT NULL ORDER BY p.id"
	};

	project_table = get_relname_relid("project", get_namespace_oid("clinical", false));
	changed = false;
	SPI_connect();
	clinical_owner_execute(&plan, NULL, NULL, false);
	nshares = (int) Min(SPI_processed, CLINICAL_MAX_QUOTAS);
	for (int i = 0; i < nshares; i++)
	{
		bool		isnull;

		shares[i].project_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		shares[i].share = DatumGetFloat8(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
	}
	SPI_finish();
	/* what changed meanwhile, or is seen by an old snapshot, is read again */
	known = !changed && !IsolationUsesXactSnapshot();
}

/*
 * The project of a patient, if it has a share of the queue, and how many reports
 * of it may wait; 0: it has none.
 */
int64
clinical_quota_of(text *patient_id, int64 *limit)
{
	static ClinicalPlan plan = {
		"SELECT p.project_id FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
	};
	Datum		id = PointerGetDatum(patient_id);
	Datum		project_id;

	/* an open transaction that has locked its tables would not hear of changes */
	AcceptInvalidationMessages();
	if (!known)
		read_shares();
	if (nshares == 0 || !clinical_owner_fetch(&plan, &id, NULL, false, &project_id))
		return 0;
	for (int i = 0; i < nshares; i++)
	{
		if (shares[i].project_id != DatumGetInt64(project_id))
			continue;
		*limit = (int64) Max(ceil(shares[i].share * clinical_queue_capacity), 1);
		return shares[i].project_id;
	}
	return 0;
}

/* Where a project is counted; a place that counts nothing may become another's. -1: all are in use. */
int
clinical_quota_slot(ClinicalBacklog *backlog, int64 project_id)
{
	for (int i = 0; i < CLINICAL_MAX_QUOTAS; i++)
	{
		if (pg_atomic_read_u64(&backlog->quota_project[i]) == (uint64) project_id)
			return i;
	}
	for (int i = 0; i < CLINICAL_MAX_QUOTAS; i++)
	{
		uint64		none = 0;

		if (pg_atomic_compare_exchange_u64(&backlog->quota_project[i], &none, (uint64) project_id) ||
			none == (uint64) project_id)
			return i;
	}
	for (int i = 0; i < CLINICAL_MAX_QUOTAS; i++)
	{
		uint64		other = pg_atomic_read_u64(&backlog->quota_project[i]);

		if (pg_atomic_read_u32(&backlog->quota_count[i]) == 0 &&
			pg_atomic_compare_exchange_u64(&backlog->quota_project[i], &other, (uint64) project_id))
			return i;
		if (other == (uint64) project_id)
			return i;
	}
	return -1;
}

/* Trigger: whoever has read the shares reads them again; there is room for so many. */
Datum
clinical_queue_share_changed(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"SELECT pg_catalog.count(p.queue_share) FROM clinical.project p"
	};
	ClinicalRow row;
	Datum		count;

	clinical_load_row(fcinfo, &row, "project", CLINICAL_AFTER_STATEMENT);
	CacheInvalidateRelcache(row.trigger->tg_relation);
	if (clinical_owner_fetch(&plan, NULL, NULL, false, &count) && DatumGetInt64(count) > CLINICAL_MAX_QUOTAS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("at most %d projects can have a share of the queue", CLINICAL_MAX_QUOTAS)));
	return PointerGetDatum(NULL);
}
