/*-------------------------------------------------------------------------
 *
 * access.c
 *		Who may see which center: what the policies of all tables ask.
 *
 * A role's centers are read once and kept until membership or roles change.
 * They are looked up when a statement begins to run and stay so until it ends;
 * what was granted or revoked meanwhile counts from the next statement on, in
 * a transaction that reads an old snapshot too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "access.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(clinical_sees);
PG_FUNCTION_INFO_V1(clinical_role_sees);

/* The columns of membership that are read */
#define MEMBERSHIP_ROLE		2
#define MEMBERSHIP_CENTER	4
#define MEMBERSHIP_PROJECT	5

/* Stands for every center, or every project, in a grant */
#define EVERY PG_INT64_MIN

typedef struct Grant
{
	int64		center_id;
	int64		project_id;
} Grant;

/* What one role may see; the grants in order */
typedef struct Scope
{
	Oid			role;			/* key of the cache */
	bool		valid;
	bool		everything;
	bool		every_center;	/* of some project */
	int			ngrants;
	Grant	   *grants;
} Scope;

/* What a policy keeps while a statement runs: a scope, and its last answer */
typedef struct Answer
{
	Scope		scope;
	int64		project_id;
	int64		center_id;
	bool		known;
	bool		sees;
} Answer;

static HTAB *scopes = NULL;
static Oid	membership_oid = InvalidOid;

/* What clinical.check() tests of access */
const ClinicalInvariant clinical_access_invariants[] = {
	{"membership is of the role that it was granted to",
		"SELECT m.id::pg_catalog.text, pg_catalog.concat('role ', m.role_name,"
		"       ' was dropped, renamed or not restored: revoke this, and grant it to whom it belongs')"
		"  FROM clinical.membership m"
	" WHERE pg_catalog.pg_get_userbyid(m.role) OPERATOR(pg_catalog.<>) m.role_name"},
};
const int	clinical_access_ninvariants = lengthof(clinical_access_invariants);

/* All scopes are to be looked up again. */
static void
forget_scopes(void)
{
	HASH_SEQ_STATUS status;
	Scope	   *scope;

	if (scopes == NULL)
		return;
	hash_seq_init(&status, scopes);
	while ((scope = hash_seq_search(&status)) != NULL)
		scope->valid = false;
}

/* Membership has changed, or perhaps been created anew. */
static void
membership_inval(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == membership_oid)
	{
		membership_oid = InvalidOid;
		forget_scopes();
	}
}

/* Roles, or who is a member of which, have changed. */
static void
role_inval(Datum arg, int cacheid, uint32 hashvalue)
{
	forget_scopes();
}

/* Listen to what makes the cache stale. */
void
clinical_access_init(void)
{
	CacheRegisterRelcacheCallback(membership_inval, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, role_inval, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, role_inval, (Datum) 0);
}

/* By center, then project. */
static int
compare_grants(const void *a, const void *b)
{
	const Grant *left = a;
	const Grant *right = b;

	if (left->center_id != right->center_id)
		return left->center_id < right->center_id ? -1 : 1;
	if (left->project_id != right->project_id)
		return left->project_id < right->project_id ? -1 : 1;
	return 0;
}

/* The number in a column of membership; NULL: every. */
static int64
grant_column(HeapTuple tuple, TupleDesc desc, int number)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, number, desc, &isnull);

	return isnull ? EVERY : DatumGetInt64(value);
}

/* Does a role have the rights of that named one, if there is such a one? */
bool
clinical_has_rights_of(Oid role, const char *name)
{
	Oid			other = get_role_oid(name, true);

	return OidIsValid(other) && has_privs_of_role(role, other);
}

/* Add one row of membership to a scope. */
static void
add_grant(Scope *scope, int *room, HeapTuple tuple, TupleDesc desc)
{
	Grant	   *grant;

	if (scope->ngrants == *room)
	{
		*room = *room == 0 ? 8 : *room * 2;
		scope->grants = scope->grants == NULL ?
			MemoryContextAlloc(TopMemoryContext, *room * sizeof(Grant)) :
			repalloc_huge(scope->grants, *room * sizeof(Grant));
	}
	grant = &scope->grants[scope->ngrants++];
	grant->center_id = grant_column(tuple, desc, MEMBERSHIP_CENTER);
	grant->project_id = grant_column(tuple, desc, MEMBERSHIP_PROJECT);
	if (grant->center_id == EVERY)
		scope->every_center = true;
	if (grant->center_id == EVERY && grant->project_id == EVERY)
		scope->everything = true;
}

/*
 * Read a role's rows of membership: those of the roles whose rights it has.
 * This goes below the executor, since no policy may stand in between, and with
 * a snapshot of now, since what was revoked is revoked for old snapshots too.
 */
static void
read_grants(Scope *scope)
{
	Relation	membership;
	SysScanDesc scan;
	HeapTuple	tuple;
	int			room = 0;

	if (!OidIsValid(membership_oid))
		membership_oid = get_relname_relid("membership", get_namespace_oid("clinical", false));
	membership = table_open(membership_oid, AccessShareLock);
	scan = systable_beginscan(membership, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		role = heap_getattr(tuple, MEMBERSHIP_ROLE, RelationGetDescr(membership), &isnull);

		CHECK_FOR_INTERRUPTS();
		if (has_privs_of_role(scope->role, DatumGetObjectId(role)))
			add_grant(scope, &room, tuple, RelationGetDescr(membership));
	}
	systable_endscan(scan);
	table_close(membership, AccessShareLock);
	if (scope->ngrants > 1)
		qsort(scope->grants, scope->ngrants, sizeof(Grant), compare_grants);
}

/* Look up what a role may see; stale answers that come meanwhile are noticed. */
static void
load_scope(Scope *scope)
{
	if (scope->grants != NULL)
		pfree(scope->grants);
	scope->grants = NULL;
	scope->ngrants = 0;
	scope->every_center = false;
	scope->valid = true;
	scope->everything = has_bypassrls_privilege(scope->role) || clinical_has_rights_of(scope->role, "clinical_auditor");
	if (scope->everything)
		return;
	PG_TRY();
	{
		read_grants(scope);
	}
	PG_CATCH();
	{
		scope->valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* What a role may see, as of now. */
static Scope *
find_scope(Oid role)
{
	Scope	   *scope;
	bool		found;

	AcceptInvalidationMessages();
	if (scopes == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(Scope), .hcxt = TopMemoryContext};

		scopes = hash_create("clinical scopes of roles", 8, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	scope = hash_search(scopes, &role, HASH_ENTER, &found);
	if (!found)
	{
		scope->valid = false;
		scope->grants = NULL;
	}
	/* again, if it was changed while it was read */
	for (int tries = 0; !scope->valid && tries < 10; tries++)
		load_scope(scope);
	return scope;
}

/* Is there such a grant? */
static bool
granted(const Scope *scope, int64 center_id, int64 project_id)
{
	Grant		grant = {center_id, project_id};

	return scope->ngrants > 0 &&
		bsearch(&grant, scope->grants, scope->ngrants, sizeof(Grant), compare_grants) != NULL;
}

/* May one who has that scope see what belongs to a center in a project? */
static bool
scope_sees(const Scope *scope, int64 project_id, int64 center_id)
{
	if (scope->everything)
		return true;
	return granted(scope, center_id, EVERY) || granted(scope, center_id, project_id) ||
		(scope->every_center && granted(scope, EVERY, project_id));
}

/* The same where one of the two is not said. */
static bool
scope_sees_some(const Scope *scope, bool any_project, int64 project_id, bool any_center, int64 center_id)
{
	if (scope->everything)
		return true;
	for (int i = 0; i < scope->ngrants; i++)
	{
		if ((any_project || scope->grants[i].project_id == project_id) &&
			(any_center || scope->grants[i].center_id == center_id))
			return true;
	}
	return false;
}

/* What the statement that calls may see: looked up at its first call. */
static Answer *
statement_answer(FunctionCallInfo fcinfo, Oid role)
{
	Answer	   *answer = fcinfo->flinfo->fn_extra;
	Scope	   *scope;

	if (answer != NULL && answer->scope.role == role)
		return answer;
	scope = find_scope(role);
	answer = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Answer));
	answer->scope = *scope;
	if (scope->ngrants > 0)
	{
		answer->scope.grants = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, scope->ngrants * sizeof(Grant));
		memcpy(answer->scope.grants, scope->grants, scope->ngrants * sizeof(Grant));
	}
	fcinfo->flinfo->fn_extra = answer;
	return answer;
}

/* May the role see it?  Most rows that a statement reads are of one center. */
static bool
answer_for(FunctionCallInfo fcinfo, Oid role, int argno)
{
	Answer	   *answer = statement_answer(fcinfo, role);
	int64		project_id;
	int64		center_id;

	if (PG_ARGISNULL(argno) || PG_ARGISNULL(argno + 1))
		return scope_sees_some(&answer->scope,
							   PG_ARGISNULL(argno), PG_ARGISNULL(argno) ? 0 : PG_GETARG_INT64(argno),
							   PG_ARGISNULL(argno + 1), PG_ARGISNULL(argno + 1) ? 0 : PG_GETARG_INT64(argno + 1));
	project_id = PG_GETARG_INT64(argno);
	center_id = PG_GETARG_INT64(argno + 1);
	if (!answer->known || answer->project_id != project_id || answer->center_id != center_id)
	{
		answer->sees = scope_sees(&answer->scope, project_id, center_id);
		answer->project_id = project_id;
		answer->center_id = center_id;
		answer->known = true;
	}
	return answer->sees;
}

/* SQL: for policies. */
Datum
clinical_sees(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(answer_for(fcinfo, GetUserId(), 0));
}

/* SQL: the same for a role. */
Datum
clinical_role_sees(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!PG_ARGISNULL(0) && answer_for(fcinfo, PG_GETARG_OID(0), 1));
}
