/*-------------------------------------------------------------------------
 *
 * worker_hook.c
 *		What backends do for workers, and about them: commands that need a
 *		database without sessions, and what happens at the end of a transaction.
 *
 * A command that drops, renames, moves or copies a database finds it without our
 * worker, which is held off until the transaction ends, however it ends.  Who
 * may not do it disturbs nobody.  At commit, and not before, the worker is woken
 * and the launcher hears of what it cannot see by itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "compat.h"
#include "worker_slot.h"

/* How long (ms) a command waits for a worker; then PostgreSQL says what it thinks */
#define HOLD_TIMEOUT	10000
/* ALTER DATABASE ... RENAME may stand several times in a transaction */
#define MAX_HOLDS		8

static ProcessUtility_hook_type previous_utility_hook = NULL;

/* For the end of the transaction */
static bool wake_wanted = false;	/* there is work for this database's
									 * worker */
static bool extension_touched = false;	/* the extension may have come or gone */
static bool databases_touched = false;	/* databases or roles have changed */
static Oid	held[MAX_HOLDS];	/* databases whose workers are held off */
static int	nheld = 0;
static Oid	dropped = InvalidOid;	/* one of these */

/* Tell this database's worker, from any transaction, that it leaves work behind. */
void
clinical_wake_worker(void)
{
	wake_wanted = clinical_workers != NULL;
}

/* May the user create databases? */
static bool
may_create_databases(void)
{
	HeapTuple	tuple;
	bool		may;

	if (superuser())
		return true;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	may = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return may;
}

/* Is this database one that whoever creates databases may copy? */
static bool
is_template(Oid database)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool		is = HeapTupleIsValid(tuple) && ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return is;
}

/* The database of this name, if the user owns it and is not connected to it. */
static Oid
own_database(const char *name)
{
	Oid			database = get_database_oid(name, true);

	if (!OidIsValid(database) || database == MyDatabaseId ||
		!clinical_owns_database(database, GetUserId()))
		return InvalidOid;
	return database;
}

/* The value of an option of CREATE or ALTER DATABASE, or NULL. */
static char *
database_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/* The database that CREATE DATABASE copies, if the user may do that. */
static Oid
copied_database(const CreatedbStmt *statement)
{
	const char *name = database_option(statement->options, "template");
	Oid			database = get_database_oid(name == NULL ? "template1" : name, true);

	if (!OidIsValid(database) || !may_create_databases())
		return InvalidOid;
	if (!is_template(database) && !clinical_owns_database(database, GetUserId()))
		return InvalidOid;
	return database;
}

/* The database that a statement needs without sessions and may have so, if any. */
static Oid
needed_database(Node *statement)
{
	if (IsA(statement, DropdbStmt))
		return own_database(((DropdbStmt *) statement)->dbname);
	if (IsA(statement, CreatedbStmt))
		return copied_database((CreatedbStmt *) statement);
	if (IsA(statement, AlterDatabaseStmt))
	{
		AlterDatabaseStmt *alter = (AlterDatabaseStmt *) statement;

		return database_option(alter->options, "tablespace") == NULL ?
			InvalidOid : own_database(alter->dbname);
	}
	if (IsA(statement, RenameStmt) && ((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
		return may_create_databases() ? own_database(((RenameStmt *) statement)->subname) : InvalidOid;
	return InvalidOid;
}

/* Hold a database's worker off until the transaction ends, and wait until it is gone. */
static void
hold(Oid database)
{
	ClinicalSlot *slot;

	if (nheld == MAX_HOLDS)
		return;					/* PostgreSQL will say that it has sessions */
	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	slot = clinical_slot_make(database);
	if (slot != NULL)
	{
		held[nheld++] = database;
		slot->holds++;
		clinical_slot_end_process(slot);
	}
	LWLockRelease(clinical_workers_lock);
	if (slot != NULL)
		(void) clinical_wait_ended(database, HOLD_TIMEOUT);
}

/*
 * Does the statement create, update or drop the extension, or could it?  Where
 * there is none, nothing that drops need be told.
 */
static bool
touches_extension(Node *statement)
{
	ObjectType	dropping = IsA(statement, DropStmt) ? ((DropStmt *) statement)->removeType : OBJECT_TABLE;

	if (dropping == OBJECT_EXTENSION || dropping == OBJECT_SCHEMA || IsA(statement, DropOwnedStmt))
		return clinical_database_may_have_extension();
	return IsA(statement, CreateExtensionStmt) || IsA(statement, AlterExtensionStmt);
}

/* Does it change databases, or roles? */
static bool
touches_databases(Node *statement)
{
	return IsA(statement, CreatedbStmt) || IsA(statement, AlterDatabaseStmt) ||
		IsA(statement, CreateRoleStmt) || IsA(statement, AlterRoleStmt) ||
		IsA(statement, DropRoleStmt) ||
		(IsA(statement, RenameStmt) && ((RenameStmt *) statement)->renameType == OBJECT_ROLE);
}

/*
 * Note what the end of the transaction has to tell, should it commit.  Before the
 * statement, since its tree may be gone after it.
 */
static void
note_effects(Node *statement, Oid database)
{
	if (touches_extension(statement))
		extension_touched = true;
	if (touches_databases(statement))
		databases_touched = true;
	if (IsA(statement, DropdbStmt))
		dropped = database;
}

/*
 * A prepared transaction was committed.  No callback ran for what it did, so it
 * may have left work, or created or dropped the extension: where it was absent,
 * look.
 */
static void
note_commit_prepared(void)
{
	AcceptInvalidationMessages();
	if (!clinical_database_may_have_extension() &&
		!OidIsValid(get_extension_oid("clinical", true)))
		return;
	extension_touched = true;
	wake_wanted = true;
}

/* Hook: around each utility statement. */
static void
worker_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
			   ProcessUtilityContext context, ParamListInfo params,
			   QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	ProcessUtility_hook_type next = previous_utility_hook ? previous_utility_hook : standard_ProcessUtility;
	bool		commits_prepared = IsA(pstmt->utilityStmt, TransactionStmt) &&
	((TransactionStmt *) pstmt->utilityStmt)->kind == TRANS_STMT_COMMIT_PREPARED;

	if (clinical_workers != NULL && !RecoveryInProgress())
	{
		Oid			database = needed_database(pstmt->utilityStmt);

		note_effects(pstmt->utilityStmt, database);
		if (OidIsValid(database))
			hold(database);
	}
	next(pstmt, query, read_only_tree, context, params, environment, dest, completion);
	if (clinical_workers != NULL && commits_prepared)
		note_commit_prepared();
}

/* Let the worker of a held database run again, or give up its slot.  Under the lock. */
static void
release(Oid database, bool gone)
{
	ClinicalSlot *slot = clinical_slot_find(database);

	if (slot == NULL || --slot->holds > 0)
		return;
	if (gone && clinical_slot_is_empty(slot))
		clinical_slot_free(slot);
	else
		slot->next_start = 0;
}

/* Let all run again that the transaction held off. */
static void
release_all(bool committed)
{
	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	for (int i = 0; i < nheld; i++)
		release(held[i], committed && held[i] == dropped);
	clinical_launcher_wake();
	LWLockRelease(clinical_workers_lock);
	nheld = 0;
}

/* Wake the worker of this database, unless work waits for it already. */
static void
wake_now(void)
{
	ClinicalSlot *slot;

	LWLockAcquire(clinical_workers_lock, LW_SHARED);
	slot = clinical_slot_find(MyDatabaseId);
	if (slot != NULL && slot->proc != NULL && pg_atomic_exchange_u32(&slot->woken, 1) == 0)
		SetLatch(&slot->proc->procLatch);
	LWLockRelease(clinical_workers_lock);
}

/* The extension may have come or gone: no answer about that counts any more. */
static void
ask_again(void)
{
	ClinicalSlot *slot;

	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	slot = clinical_slot_find(MyDatabaseId);
	if (slot != NULL)
	{
		slot->asks++;
		if (slot->state == CLINICAL_WORKER_ABSENT)
			slot->state = CLINICAL_WORKER_UNKNOWN;
		if (slot->proc != NULL)
			SetLatch(&slot->proc->procLatch);
		clinical_further_alert(slot);
	}
	if (slot == NULL || slot->proc == NULL)
		clinical_launcher_wake();
	LWLockRelease(clinical_workers_lock);
}

/*
 * May this session's database have the extension?  False only if a worker looked
 * and found none.  For callers that can do nothing but read, such as a hook of
 * the log: no lock, no memory, no error.  The slot of the database that a process
 * is connected to never becomes another's.
 */
bool
clinical_database_may_have_extension(void)
{
	volatile ClinicalSlot *slots;

	if (clinical_workers == NULL || !OidIsValid(MyDatabaseId) || extension_touched)
		return true;
	slots = clinical_workers->slots;
	for (int i = 0; i < clinical_workers->nslots; i++)
	{
		if (slots[i].database == MyDatabaseId)
		{
			pg_read_barrier();
			return slots[i].state != CLINICAL_WORKER_ABSENT;
		}
	}
	return true;
}

/*
 * Before the commit that others see: from now on nobody takes the extension for
 * absent.  It is asked for again after the commit.
 */
static void
doubt_absence(void)
{
	ClinicalSlot *slot;

	LWLockAcquire(clinical_workers_lock, LW_EXCLUSIVE);
	slot = clinical_slot_find(MyDatabaseId);
	if (slot != NULL && slot->state == CLINICAL_WORKER_ABSENT)
		slot->state = CLINICAL_WORKER_UNKNOWN;
	LWLockRelease(clinical_workers_lock);
}

/* Let the launcher look at what there is now. */
static void
tell_launcher(void)
{
	LWLockAcquire(clinical_workers_lock, LW_SHARED);
	clinical_launcher_wake();
	LWLockRelease(clinical_workers_lock);
}

/* Tell what a committed transaction has to tell. */
static void
tell_commit(void)
{
	if (extension_touched)
		ask_again();
	if (databases_touched)
		tell_launcher();
	if (wake_wanted)
		wake_now();
}

/*
 * Callback: the transaction ends.  It is too late to fail: nothing here can.
 */
static void
transaction_ends(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT && extension_touched)
		doubt_absence();
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT)
		tell_commit();
	if (nheld > 0)
		release_all(event == XACT_EVENT_COMMIT);
	wake_wanted = false;
	extension_touched = false;
	databases_touched = false;
	dropped = InvalidOid;
}

/* Install hook and callback, once a server. */
void
clinical_worker_hook_init(void)
{
	previous_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = worker_utility;
	RegisterXactCallback(transaction_ends, NULL);
}
