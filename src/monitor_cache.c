/*-------------------------------------------------------------------------
 *
 * monitor_cache.c
 *		Rules, compiled and kept for the session.
 *
 * Which rules are in force is asked for each patient of each batch, so the answer is
 * kept by project.  Whoever changes rules tells every session by a trigger; then all
 * is thrown away and read again when it is next asked for: rules are few, and change
 * seldom.  What was given out before stays until the end of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "monitor.h"

PG_FUNCTION_INFO_V1(clinical_monitor_rule_changed);

/* More than a session is likely to need; then it begins anew */
#define MAX_CACHED 10000
/* So many locks say that sessions are told of a rule */
#define TOLD_LOCKS 256

typedef struct VersionKey
{
	int64		rule_id;
	int64		version;
} VersionKey;

typedef struct CachedVersion
{
	VersionKey	key;
	ClinicalMonitor *monitor;
} CachedVersion;

typedef struct CachedProject
{
	int64		project_id;		/* key */
	List	   *monitors;
} CachedProject;

/* All that is kept; NULL: nothing */
static MemoryContext cache = NULL;
static HTAB *versions;
static HTAB *projects;
static bool stale = false;
static Oid	rule_oid = InvalidOid;
static Oid	version_oid = InvalidOid;

/* A row of monitor_rule, and the last version */
typedef struct Rule
{
	int64		id;
	int64		project_id;		/* 0: all */
	bool		active;
} Rule;

/* Rules were changed, or the tables may have been made anew. */
static void
rule_inval(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == rule_oid || relid == version_oid)
		stale = true;
}

/* Listen to what makes the cache stale. */
void
clinical_monitor_cache_init(void)
{
	CacheRegisterRelcacheCallback(rule_inval, (Datum) 0);
}

/* Keep nothing any more; a caller of this transaction may still use what there was. */
static void
empty_cache(void)
{
	MemoryContextSetParent(cache, TopTransactionContext);
	cache = NULL;
}

/* A cache that is not stale: who asks under the lock of a lane knows all rules that were there before it was his. */
static void
prepare_cache(void)
{
	HASHCTL		of_versions = {.keysize = sizeof(VersionKey), .entrysize = sizeof(CachedVersion)};
	HASHCTL		of_projects = {.keysize = sizeof(int64), .entrysize = sizeof(CachedProject)};
	MemoryContext context;
	Oid			schema;

	AcceptInvalidationMessages();
	if (cache != NULL && stale)
		empty_cache();
	if (cache != NULL)
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "clinical monitoring rules", ALLOCSET_DEFAULT_SIZES);
	of_versions.hcxt = of_projects.hcxt = context;
	versions = hash_create("clinical versions of rules", 32, &of_versions, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	projects = hash_create("clinical rules of projects", 32, &of_projects, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	schema = get_namespace_oid("clinical", false);
	rule_oid = get_relname_relid("monitor_rule", schema);
	version_oid = get_relname_relid("monitor_rule_version", schema);
	MemoryContextSetParent(context, CacheMemoryContext);
	cache = context;
	/* what comes from here on may concern what is read from here on */
	stale = false;
}

/* Before something is added: begin anew if there is too much. */
static void
bound_cache(void)
{
	if (hash_get_num_entries(versions) < MAX_CACHED && hash_get_num_entries(projects) < MAX_CACHED)
		return;
	empty_cache();
	prepare_cache();
}

/* A column of the row that a finder is at. */
static Datum
column(ClinicalFinder *finder, const char *name, bool *isnull)
{
	return slot_getattr(finder->slot, SPI_fnumber(finder->slot->tts_tupleDescriptor, name), isnull);
}

/* The rule that a finder is at. */
static void
read_rule(ClinicalFinder *finder, Rule *rule)
{
	bool		isnull;
	Datum		project_id = column(finder, "project_id", &isnull);
	char	   *status;

	rule->project_id = isnull ? 0 : DatumGetInt64(project_id);
	rule->id = DatumGetInt64(column(finder, "id", &isnull));
	status = TextDatumGetCString(column(finder, "status", &isnull));
	rule->active = strcmp(status, "active") == 0;
	pfree(status);
}

/* The version that a finder is at, compiled; from the cache if it is there. */
static ClinicalMonitor *
cached_version(ClinicalFinder *finder, const Rule *rule, bool is_last)
{
	bool		isnull;
	VersionKey	key = {rule->id, DatumGetInt32(column(finder, "version", &isnull))};
	CachedVersion *entry = hash_search(versions, &key, HASH_FIND, NULL);
	ClinicalMonitor *monitor;
	Datum		counts_from;

	if (entry != NULL)
		return entry->monitor;
	monitor = clinical_monitor_compile(DatumGetJsonbP(column(finder, "definition", &isnull)), cache);
	monitor->version_id = DatumGetInt64(column(finder, "id", &isnull));
	monitor->rule_id = rule->id;
	monitor->version = (int) key.version;
	monitor->project_id = rule->project_id;
	monitor->in_force = rule->active && is_last;
	counts_from = column(finder, "counts_from", &isnull);
	if (!isnull)
		monitor->counts_from = DatumGetTimestampTz(counts_from);
	ereport(DEBUG1,
			(errmsg_internal("compiled rule \"%s\", version %d", monitor->code, monitor->version)));
	CLINICAL_FAULT("rule_compiled");
	entry = hash_search(versions, &key, HASH_ENTER, NULL);
	entry->monitor = monitor;
	return monitor;
}

/* Begin to read the versions of a rule, the last one first. */
static void
find_versions(ClinicalFinder *finder, int64 rule_id)
{
	Datum		key = Int64GetDatum(rule_id);

	clinical_find(finder, &key);
}

/* Read and compile the rules in force of a project. */
static List *
load_project(int64 project_id)
{
	ClinicalFinder rules = {.table = "monitor_rule"};
	ClinicalFinder finder = {.table = "monitor_rule_version", .index = "monitor_rule_version_rule_id_version_key",
	.nkeys = 1, .types = {INT8OID}};
	List	   *monitors = NIL;
	MemoryContext outer;

	clinical_find(&rules, NULL);
	while (clinical_find_next(&rules, false))
	{
		Rule		rule;

		CHECK_FOR_INTERRUPTS();
		read_rule(&rules, &rule);
		if (!rule.active || (rule.project_id != 0 && rule.project_id != project_id))
			continue;
		find_versions(&finder, rule.id);
		if (clinical_find_next(&finder, true))
			monitors = lappend(monitors, cached_version(&finder, &rule, true));
	}
	clinical_find_close(&finder);
	clinical_find_close(&rules);
	outer = MemoryContextSwitchTo(cache);
	monitors = list_copy(monitors);
	MemoryContextSwitchTo(outer);
	return monitors;
}

/* The compiled rules in force of a project, and those for all projects; not the caller's to change. */
List *
clinical_monitors_in_force(int64 project_id)
{
	CachedProject *entry;
	List	   *monitors;

	prepare_cache();
	entry = hash_search(projects, &project_id, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->monitors;
	bound_cache();
	PushActiveSnapshot(GetLatestSnapshot());
	monitors = load_project(project_id);
	PopActiveSnapshot();
	entry = hash_search(projects, &project_id, HASH_ENTER, NULL);
	entry->monitors = monitors;
	return monitors;
}

/* Read and compile a version of a rule; NULL: there is none. */
static ClinicalMonitor *
load_version(int64 rule_id, int version)
{
	ClinicalFinder rules = {.table = "monitor_rule", .nkeys = 1, .types = {INT8OID}};
	ClinicalFinder finder = {.table = "monitor_rule_version", .index = "monitor_rule_version_rule_id_version_key",
	.nkeys = 1, .types = {INT8OID}};
	ClinicalMonitor *monitor = NULL;
	Datum		key = Int64GetDatum(rule_id);
	bool		is_last = true;
	bool		isnull;
	Rule		rule;

	if (clinical_find_first(&rules, &key))
	{
		read_rule(&rules, &rule);
		find_versions(&finder, rule_id);
		while (monitor == NULL && clinical_find_next(&finder, true))
		{
			if (DatumGetInt32(column(&finder, "version", &isnull)) == version)
				monitor = cached_version(&finder, &rule, is_last);
			is_last = false;
		}
	}
	clinical_find_close(&finder);
	clinical_find_close(&rules);
	return monitor;
}

/* A compiled version of a rule, in force or not. */
ClinicalMonitor *
clinical_monitor_version(int64 rule_id, int version)
{
	VersionKey	key = {rule_id, version};
	CachedVersion *entry;
	ClinicalMonitor *monitor;

	prepare_cache();
	entry = hash_search(versions, &key, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->monitor;
	bound_cache();
	PushActiveSnapshot(GetLatestSnapshot());
	monitor = load_version(rule_id, version);
	PopActiveSnapshot();
	if (monitor == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("rule not found")));
	return monitor;
}

/*
 * Lock that sessions are told of a rule.  By number, so that one transaction may make
 * as many rules as it likes.
 */
static void
lock_told(int64 rule_id, LOCKMODE mode)
{
	LockDatabaseObject(get_relname_relid("monitor_rule", get_namespace_oid("clinical", false)),
					   (Oid) (rule_id % TOLD_LOCKS), 0, mode);
}

/*
 * A change of a rule is seen; wait until all sessions have been told of it, too.  Who
 * changed it sends that after others can see it, and lets go of locks after that.  Not
 * to be called with a lane locked: he may wait for it.
 */
void
clinical_monitor_wait_told(int64 rule_id)
{
	lock_told(rule_id, ExclusiveLock);
	UnlockDatabaseObject(get_relname_relid("monitor_rule", get_namespace_oid("clinical", false)),
						 (Oid) (rule_id % TOLD_LOCKS), 0, ExclusiveLock);
}

/* Trigger: all sessions read the rules anew. */
Datum
clinical_monitor_rule_changed(PG_FUNCTION_ARGS)
{
	ClinicalRow row;
	bool		is_rule;
	bool		isnull;

	clinical_load_row(fcinfo, &row, NULL, 0);
	is_rule = strcmp(RelationGetRelationName(row.trigger->tg_relation), "monitor_rule") == 0;
	lock_told(DatumGetInt64(clinical_column(&row, row.new_tuple != NULL ? row.new_tuple : row.old_tuple,
											is_rule ? "id" : "rule_id", &isnull)), ShareLock);
	CacheInvalidateRelcache(row.trigger->tg_relation);
	return PointerGetDatum(NULL);
}
