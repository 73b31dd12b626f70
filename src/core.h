/*-------------------------------------------------------------------------
 *
 * core.h
 *		Settings, kept plans, rules of rows and errors: what every module
 *		stands on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_CORE_H
#define CLINICAL_CORE_H

#include "access/genam.h"
#include "access/htup.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/tupdesc.h"
#include "catalog/indexing.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/jsonb.h"

#include "compat.h"

/* core.c: settings, and what is asked about the installation */

extern bool clinical_restore;
extern bool clinical_redacting; /* a value is being destroyed */

/* For errors that a restore meets if it forgets the setting */
#define CLINICAL_RESTORE_HINT \
	"To restore a dump, set clinical.restore to on as a superuser, " \
	"for example by PGOPTIONS='-c clinical.restore=on'."

extern void clinical_core_init(void);
extern bool clinical_as_is(void);
extern text *clinical_reason_in_force(void);
extern void clinical_require_reason(void);
extern text *clinical_actor_in_force(void);
extern int	clinical_reason_push(const text *reason);
extern void clinical_reason_pop(int nest_level);
extern void clinical_require_preload(void);

/* A query that gives (object text, detail text) for what breaks the invariant */
typedef struct ClinicalInvariant
{
	const char *name;
	const char *sql;
} ClinicalInvariant;

extern void clinical_register_invariants(const ClinicalInvariant *invariants, int count);

/* What health() asks a module: is something the matter, and what can be done about it? */
typedef bool (*ClinicalProblem) (const char **problem, const char **remedy);

extern void clinical_register_problem(ClinicalProblem find);

/*
 * core_fault.c: what a test wants to happen at a point; nothing at all in a
 * build without FAULTS
 */
#ifdef CLINICAL_FAULTS
extern void clinical_inject_init(void);
extern void clinical_inject(const char *point);
extern void clinical_inject_job_init(void);

#define CLINICAL_FAULT(point) clinical_inject(point)
#else
#define CLINICAL_FAULT(point) ((void) 0)
#endif

/* core_log.c: what goes to the server log */

extern bool (*clinical_log_applies) (void);

extern void clinical_log_init(void);
extern bool clinical_logs_values(void);
extern char *clinical_telling_settings(void);
extern void clinical_log_facts(const char *message, const char *facts);
extern void clinical_log_failed(MemoryContext context, uint32 holdoff);

/* core_plan.c: statements that are prepared once a session */

#define CLINICAL_MAX_ARGS 20

typedef struct ClinicalPlan
{
	const char *sql;
	int			nargs;
	Oid			argtypes[CLINICAL_MAX_ARGS];
	SPIPlanPtr	plan;
} ClinicalPlan;

extern void clinical_execute(ClinicalPlan *plan, Datum *values, const char *nulls,
							 bool read_only);
extern bool clinical_fetch(ClinicalPlan *plan, Datum *values, const char *nulls,
						   bool read_only, Datum *result);
extern bool clinical_first(Datum *result);
extern Datum clinical_result(uint64 row, int column);
extern void clinical_composite_tuple(HeapTupleHeader row, HeapTuple tuple);
extern bool clinical_fetch_args(ClinicalPlan *plan, FunctionCallInfo fcinfo,
								bool read_only, Datum *result);

/* core_find.c: rows by an index, below the executor */

#define CLINICAL_MAX_KEYS 4
#define CLINICAL_MAX_KNOWN 8

/* Made with the first members alone; the rest begins as zero */
typedef struct ClinicalFinder
{
	const char *table;
	const char *index;			/* NULL: the primary key's */
	int			nkeys;
	Oid			types[CLINICAL_MAX_KEYS];
	StrategyNumber strategies[CLINICAL_MAX_KEYS];	/* of btree; 0: equal */
	AttrNumber	columns[CLINICAL_MAX_KEYS]; /* of the index; 0: the key's number, from 1 */
	MemoryContext context;		/* where it is open; NULL: that of the first
								 * look-up */
	Relation	relation;		/* NULL: not open */
	Relation	opened;			/* the index */
	IndexScanDesc scan;
	TupleTableSlot *slot;
	ScanKeyData keys[CLINICAL_MAX_KEYS];
	struct
	{
		const char *name;		/* of a column that was asked for; NULL: none */
		int			number;
	}			known[CLINICAL_MAX_KNOWN];
} ClinicalFinder;

extern void clinical_find(ClinicalFinder *finder, const Datum *values);
extern bool clinical_find_next(ClinicalFinder *finder, bool backward);
extern bool clinical_find_first(ClinicalFinder *finder, const Datum *values);
extern Datum clinical_find_column(ClinicalFinder *finder, const char *name);
extern bool clinical_text_is(Datum value, const char *string);
extern bool clinical_same_bytes(Datum left, Datum right);
extern void clinical_find_close(ClinicalFinder *finder);

/* core_progress.c: how far a call is that takes long; what phases and numbers mean is the caller's */

#define CLINICAL_PROGRESS_NUMBERS 12

typedef enum ClinicalActivity
{
	CLINICAL_BACKTEST = 1,
	CLINICAL_REPORT
} ClinicalActivity;

typedef struct ClinicalProgress
{
	int			pid;
	int			phase;
	TimestampTz started_at;
	uint64		numbers[CLINICAL_PROGRESS_NUMBERS];
} ClinicalProgress;

extern void clinical_progress_init(void);
extern void clinical_progress_begin(ClinicalActivity activity);
extern void clinical_progress_phase(int phase);
extern void clinical_progress_set(int number, uint64 value);
extern void clinical_progress_add(ClinicalActivity activity, int number, uint64 value);
extern uint64 clinical_progress_get(int number);
extern bool clinical_progress_own(ClinicalActivity activity, ClinicalProgress *found);
extern bool clinical_progress_next(int *number, ClinicalActivity activity, ClinicalProgress *found);
extern void clinical_progress_end(void);

/* core_insert.c */

extern void clinical_insert_tuples(Relation relation, CatalogIndexState indexes, HeapTuple *tuples, int count);

/* core_array.c: rows as an array for each column */

typedef struct ClinicalRows
{
	int			ncolumns;
	int			nrows;
	int			room;
	Oid			types[CLINICAL_MAX_ARGS];
	Datum	   *values[CLINICAL_MAX_ARGS];
	bool	   *nulls[CLINICAL_MAX_ARGS];
} ClinicalRows;

extern void clinical_rows_begin(ClinicalRows *rows, const Oid *types, int ncolumns);
extern void clinical_rows_add(ClinicalRows *rows);
extern void clinical_rows_set(ClinicalRows *rows, int column, Datum value);
extern void clinical_rows_arrays(const ClinicalRows *rows, Datum *arrays);

/* core_uuid.c */

extern Datum clinical_uuid7(void);

/* core_history.c: what the server does itself, with rights that callers have not */

typedef struct ClinicalUser
{
	Oid			id;
	int			context;
} ClinicalUser;

extern Oid	clinical_caller(void);
extern void clinical_owner_begin(ClinicalUser *saved);
extern void clinical_owner_end(const ClinicalUser *saved);
extern void clinical_owner_execute(ClinicalPlan *plan, Datum *values, const char *nulls,
								   bool read_only);
extern bool clinical_owner_fetch(ClinicalPlan *plan, Datum *values, const char *nulls,
								 bool read_only, Datum *result);
extern void clinical_server_execute(ClinicalPlan *plan, Datum *values, const char *nulls);
extern bool clinical_server_fetch(ClinicalPlan *plan, Datum *values, const char *nulls, Datum *result);
extern bool clinical_server_writes(void);
CLINICAL_NORETURN extern void clinical_refuse_write(const char *table);

/* core_rule.c: arguments, and the rows that triggers see */

typedef struct ClinicalRow
{
	TriggerData *trigger;
	TupleDesc	desc;
	HeapTuple	old_tuple;		/* NULL on INSERT */
	HeapTuple	new_tuple;		/* NULL on DELETE */
} ClinicalRow;

/* When a trigger function is called: for each row or statement, before or after it */
#define CLINICAL_BEFORE_ROW			(TRIGGER_EVENT_BEFORE | TRIGGER_EVENT_ROW)
#define CLINICAL_AFTER_ROW			TRIGGER_EVENT_ROW
#define CLINICAL_AFTER_STATEMENT	((TriggerEvent) 0)

/* A way between two states; from NULL: a state to begin in */
typedef struct ClinicalWay
{
	const char *from;
	const char *to;
} ClinicalWay;

extern void clinical_require_arg(bool given, const char *message);
extern text *clinical_optional_arg(FunctionCallInfo fcinfo, int argno);
extern text *clinical_text_arg(FunctionCallInfo fcinfo, int argno, const char *message);
extern text *clinical_reason_arg(FunctionCallInfo fcinfo, int argno);
extern void clinical_load_row(FunctionCallInfo fcinfo, ClinicalRow *row,
							  const char *table, TriggerEvent when);
extern Datum clinical_column(const ClinicalRow *row, HeapTuple tuple,
							 const char *name, bool *isnull);
extern char *clinical_text_column(const ClinicalRow *row, HeapTuple tuple, const char *name);
extern bool clinical_column_changed(const ClinicalRow *row, const char *name);
extern void clinical_check_constant(const ClinicalRow *row, const char *const *columns, int ncolumns);
extern void clinical_set_column(ClinicalRow *row, const char *name, Datum value, bool isnull);
extern void clinical_stamp_row(ClinicalRow *row);
extern void clinical_check_way(const ClinicalWay *ways, int nways, const char *what,
							   const char *from, const char *to);
extern void clinical_check_time_zone(const char *name);

/* core_json.c: jsonb documents, and what differs between two */

extern JsonbContainer *clinical_json_object(const JsonbValue *value);
extern JsonbValue *clinical_json_member(JsonbContainer *object, const JsonbValue *key,
										JsonbValue *buffer);
extern bool clinical_json_next(JsonbIterator **iterator, JsonbValue *key, JsonbValue *value);
extern bool clinical_json_same(const JsonbValue *a, const JsonbValue *b);
extern void clinical_json_value(Jsonb *document, JsonbValue *value);
extern JsonbValue *clinical_json_get(const JsonbValue *object, const char *name, JsonbValue *buffer);
extern double clinical_json_number(Jsonb *document, const char *name);
extern bool clinical_json_is(const JsonbValue *value, const char *string);
extern void clinical_json_key(JsonbParseState **state, const char *name);
extern void clinical_json_put(JsonbParseState **state, const char *name, const JsonbValue *value);
extern void clinical_json_put_text(JsonbParseState **state, const char *name, const char *value);
extern void clinical_json_put_bool(JsonbParseState **state, const char *name, bool value);
extern void clinical_push_changes(JsonbParseState **state, const char *column,
								  Jsonb *old_document, Jsonb *new_document);
extern Jsonb *clinical_changes(Jsonb *old_document, Jsonb *new_document);

/* core_shape.c: jsonb documents that must have a given shape */

typedef enum ClinicalShapeType
{
	CLINICAL_SHAPE_TEXT,		/* not empty */
	CLINICAL_SHAPE_BOOLEAN,
	CLINICAL_SHAPE_COUNT,		/* a whole number from 0 to 1,000,000 */
	CLINICAL_SHAPE_NUMBER,
	CLINICAL_SHAPE_OBJECT,
	CLINICAL_SHAPE_ARRAY,
	CLINICAL_SHAPE_SCALAR,
	CLINICAL_SHAPE_ANY,
} ClinicalShapeType;

typedef struct ClinicalKey
{
	const char *name;
	ClinicalShapeType type;
	bool		required;
} ClinicalKey;

/* Where in which document we are, for errors */
typedef struct ClinicalPlace
{
	const char *message;		/* what is wrong with the whole document */
	char	   *where;			/* NULL: at its top */
} ClinicalPlace;

CLINICAL_NORETURN extern void clinical_shape_error(const ClinicalPlace *place, const char *format,...)
			pg_attribute_printf(2, 3);
extern void clinical_shape_read(const ClinicalPlace *place, const JsonbValue *object,
								const ClinicalKey *keys, int nkeys, JsonbValue *values);
extern int	clinical_shape_elements(const JsonbValue *array, JsonbValue **elements);
extern char *clinical_shape_text(const JsonbValue *value);
extern int	clinical_shape_count(const JsonbValue *value, int absent);
extern int	clinical_shape_choice(const ClinicalPlace *place, const char *key, const JsonbValue *value,
								  const char *const *choices, int nchoices);

#endif							/* CLINICAL_CORE_H */
