/*-------------------------------------------------------------------------
 *
 * instrument_cache.c
 *		Compiled definitions, kept for the session.
 *
 * A version never changes, so it is compiled once.  Should a restore change or
 * somebody delete one after all, the trigger on the table tells every session,
 * and all is compiled again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "instrument.h"

PG_FUNCTION_INFO_V1(clinical_instrument_version_changed);

/* More than a session is likely to need; then it begins anew */
#define MAX_CACHED 1000

typedef struct CachedInstrument
{
	int64		version_id;		/* key */
	ClinicalInstrument *instrument;
} CachedInstrument;

static HTAB *cache = NULL;
static bool stale = false;
static Oid	table_oid = InvalidOid;

/* Versions were changed or deleted, or the table may have been made anew. */
static void
version_inval(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == table_oid)
		stale = true;
}

/* Listen to what makes the cache stale. */
void
clinical_instrument_cache_init(void)
{
	CacheRegisterRelcacheCallback(version_inval, (Datum) 0);
}

/* Throw away what is kept; nobody is using it, since this is called before anybody does. */
static void
empty_cache(void)
{
	HASH_SEQ_STATUS status;
	CachedInstrument *entry;

	hash_seq_init(&status, cache);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		MemoryContextDelete(entry->instrument->context);
		(void) hash_search(cache, &entry->version_id, HASH_REMOVE, NULL);
	}
}

/* A cache that is not stale. */
static void
prepare_cache(void)
{
	HASHCTL		info = {.keysize = sizeof(int64), .entrysize = sizeof(CachedInstrument)};

	if (cache == NULL)
		cache = hash_create("clinical instruments", 32, &info, HASH_ELEM | HASH_BLOBS);
	if (!stale && hash_get_num_entries(cache) < MAX_CACHED)
		return;
	empty_cache();
	stale = false;
}

/* Read and compile a version, with the rights of the caller. */
static ClinicalInstrument *
load(int64 version_id)
{
	static ClinicalPlan plan = {
		"SELECT v.definition FROM clinical.instrument_version v WHERE v.id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	Datum		id = Int64GetDatum(version_id);
	Datum		definition;

	table_oid = get_relname_relid("instrument_version", get_namespace_oid("clinical", false));
	if (!clinical_fetch(&plan, &id, NULL, true, &definition))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("instrument not found")));
	return clinical_instrument_compile(DatumGetJsonbP(definition), TopMemoryContext, CLINICAL_BAD_DEFINITION);
}

/* The compiled definition of a version; good until the next call of this function. */
const ClinicalInstrument *
clinical_instrument_cached(int64 version_id)
{
	CachedInstrument *entry;
	ClinicalInstrument *instrument;

	prepare_cache();
	entry = hash_search(cache, &version_id, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->instrument;
	instrument = load(version_id);
	ereport(DEBUG1,
			(errmsg_internal("compiled instrument \"%s\", version \"%s\"", instrument->code, instrument->version)));
	CLINICAL_FAULT("instrument_compiled");
	entry = hash_search(cache, &version_id, HASH_ENTER, NULL);
	entry->instrument = instrument;
	return instrument;
}

/* Trigger: versions that were changed or deleted are compiled again everywhere. */
Datum
clinical_instrument_version_changed(PG_FUNCTION_ARGS)
{
	ClinicalRow row;

	clinical_load_row(fcinfo, &row, "instrument_version", CLINICAL_AFTER_STATEMENT);
	CacheInvalidateRelcache(row.trigger->tg_relation);
	return PointerGetDatum(NULL);
}
