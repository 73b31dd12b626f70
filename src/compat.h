/*-------------------------------------------------------------------------
 *
 * compat.h
 *		What differs between PostgreSQL 15 and 18.  No other file of ours
 *		looks at PG_VERSION_NUM.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_COMPAT_H
#define CLINICAL_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "clinical needs PostgreSQL 15 or later"
#endif

/* the declaration came to fmgr.h with 16 */
#if PG_VERSION_NUM < 160000
extern PGDLLEXPORT void _PG_init(void);
#endif

/* the VAR... macros moved out of postgres.h with 16 */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 18 has another word for functions that do not return */
#if PG_VERSION_NUM >= 180000
#define CLINICAL_NORETURN pg_noreturn
#else
#define CLINICAL_NORETURN pg_attribute_noreturn()
#endif

/* 18 lets a module say its name and version */
#if PG_VERSION_NUM >= 180000
#define CLINICAL_MODULE_MAGIC \
	PG_MODULE_MAGIC_EXT(.name = "clinical", .version = CLINICAL_VERSION)
#else
#define CLINICAL_MODULE_MAGIC PG_MODULE_MAGIC
#endif

/* 18 has generated columns that are not stored */
#if PG_VERSION_NUM >= 180000
#define CLINICAL_VIRTUAL_COLUMN(attribute) ((attribute)->attgenerated == 'v')
#else
#define CLINICAL_VIRTUAL_COLUMN(attribute) false
#endif

/* 16 has one function for the owners of all kinds of objects */
#if PG_VERSION_NUM >= 160000
#define clinical_owns_database(database, role) \
	object_ownercheck(DatabaseRelationId, database, role)
#else
#define clinical_owns_database(database, role) pg_database_ownercheck(database, role)
#endif

/* 17 lets a background worker run as a role that may not log in */
#if PG_VERSION_NUM >= 170000
#define CLINICAL_CONNECTION_FLAGS BGWORKER_BYPASS_ROLELOGINCHECK
#else
#define CLINICAL_CONNECTION_FLAGS 0
#endif

/* 17 lets an extension name what it waits for; *cache* is a static uint32, first 0 */
#if PG_VERSION_NUM >= 170000
#define CLINICAL_WAIT_EVENT(cache, name) \
	((cache) != 0 ? (cache) : ((cache) = WaitEventExtensionNew(name)))
#else
#define CLINICAL_WAIT_EVENT(cache, name) ((cache) != 0 ? (cache) : ((cache) = PG_WAIT_EXTENSION))
#endif

/* 17 limits the time of transactions, too: was this one the end of the session? */
#if PG_VERSION_NUM >= 170000
#define CLINICAL_TRANSACTION_TIMED_OUT() get_timeout_indicator(TRANSACTION_TIMEOUT, false)
#else
#define CLINICAL_TRANSACTION_TIMED_OUT() false
#endif

/* 18 counts for EXPLAIN in index scans, and asks about deferrable primary keys */
#if PG_VERSION_NUM >= 180000
#define clinical_index_beginscan(table, index, snapshot, nkeys) \
	index_beginscan(table, index, snapshot, NULL, nkeys, 0)
#define clinical_primary_key(table) RelationGetPrimaryKeyIndex(table, false)
#else
#define clinical_index_beginscan(table, index, snapshot, nkeys) \
	index_beginscan(table, index, snapshot, nkeys, 0)
#define clinical_primary_key(table) RelationGetPrimaryKeyIndex(table)
#endif

/* 16 takes a memory context for VACUUM, and can leave out the table itself */
#if PG_VERSION_NUM >= 160000
#define CLINICAL_VACUUM_OPTIONS \
	(VACOPT_VACUUM | VACOPT_PROCESS_MAIN | VACOPT_PROCESS_TOAST | VACOPT_SKIP_LOCKED)
#define clinical_vacuum(relations, params, context) vacuum(relations, params, NULL, context, true)
#else
#define CLINICAL_VACUUM_OPTIONS (VACOPT_VACUUM | VACOPT_PROCESS_TOAST | VACOPT_SKIP_LOCKED)
#define clinical_vacuum(relations, params, context) vacuum(relations, params, NULL, true)
#endif

#endif							/* CLINICAL_COMPAT_H */
