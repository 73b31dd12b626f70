/*-------------------------------------------------------------------------
 *
 * instrument.h
 *		Questionnaires: what the rooms of the module and others ask of
 *		their definitions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_INSTRUMENT_H
#define CLINICAL_INSTRUMENT_H

#include "utils/date.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "compat.h"
#include "core.h"

typedef enum ClinicalItemType
{
	CLINICAL_ITEM_GROUP,
	CLINICAL_ITEM_DISPLAY,
	CLINICAL_ITEM_BOOLEAN,
	CLINICAL_ITEM_INTEGER,
	CLINICAL_ITEM_DECIMAL,
	CLINICAL_ITEM_QUANTITY,		/* each answer says its unit */
	CLINICAL_ITEM_TEXT,
	CLINICAL_ITEM_URI,
	CLINICAL_ITEM_DATE,
	CLINICAL_ITEM_DATETIME,
	CLINICAL_ITEM_TIME,
	CLINICAL_ITEM_CODED,
} ClinicalItemType;

/* A typed value: of an answer, or to compare answers with */
typedef struct ClinicalValue
{
	Numeric		number;			/* integer, decimal, quantity, in the item's
								 * unit */
	const char *text;			/* text, uri, date, dateTime, time, open
								 * answers; not terminated */
	int			length;
	int			code;			/* index in the code list, -1: none */
	int64		low;			/* boolean; dates: first and last day or
								 * microsecond */
	int64		high;
	const char *unit;			/* NULL: none; not terminated */
	int			unit_length;
} ClinicalValue;

typedef enum ClinicalComparator
{
	CLINICAL_LT,
	CLINICAL_LE,
	CLINICAL_GT,
	CLINICAL_GE,
	CLINICAL_EQ,
	CLINICAL_NE,
	CLINICAL_IN,
	CLINICAL_NOTIN,
	CLINICAL_EXISTS,			/* of conditions only */
} ClinicalComparator;

/* A range check (ODM RangeCheck) */
typedef struct ClinicalCheck
{
	const char *id;
	const char *message;		/* NULL: none */
	ClinicalComparator comparator;
	bool		hard;
	int			nvalues;
	ClinicalValue *values;
} ClinicalCheck;

/* A condition of being shown (FHIR enableWhen) */
typedef struct ClinicalCondition
{
	int			item;
	ClinicalComparator comparator;
	ClinicalValue value;		/* of EXISTS: low is true or false */
} ClinicalCondition;

typedef struct ClinicalCode
{
	const char *code;
	const char *system;			/* NULL: none */
	Numeric		score;			/* NULL: none */
} ClinicalCode;

/* A unit in which answers are taken: (value * factor + offset) / divisor is in the item's own */
typedef struct ClinicalUnit
{
	const char *code;
	Numeric		factor;			/* NULL: the item's own unit */
	Numeric		offset;
	Numeric		divisor;
} ClinicalUnit;

typedef struct ClinicalItem
{
	const char *code;
	int			code_length;
	ClinicalItemType type;
	int			index;
	int			parent;			/* -1: none */
	int			last;			/* the last item below it; itself if there is
								 * none */
	int			scope;			/* where its answers are kept */
	int			slot;			/* and its place there */
	int			own_scope;		/* that of its repeats; -1: none */
	bool		required;
	bool		repeats;
	bool		hidden;
	bool		open;			/* coded, other texts too */
	bool		plain_codes;	/* in FHIR the codes are no Codings, but strings, integers, dates or times */
	bool		integer_codes;	/* of these, integers */
	bool		partial;		/* dates without day, or month */
	int			decimals;		/* at most; -1: any */
	int			max_length;		/* characters; -1: any */
	int			min_repeats;	/* -1: any */
	int			max_repeats;
	int			nunits;
	ClinicalUnit *units;		/* the first is the item's own */
	int			ncodes;
	ClinicalCode *codes;
	int		   *code_order;		/* by code */
	int			nchecks;
	ClinicalCheck *checks;
	int			nconditions;
	ClinicalCondition *conditions;
	bool		any_condition;	/* one of them is enough */
} ClinicalItem;

/* What can be answered together: the whole form, or one repeat of an item */
typedef struct ClinicalScope
{
	int			owner;			/* the item that repeats; -1: the form */
	int			nslots;
	int		   *items;			/* by slot, parents first */
} ClinicalScope;

typedef enum ClinicalScoreMethod
{
	CLINICAL_SUM,
	CLINICAL_MEAN,
	CLINICAL_PRORATED,
} ClinicalScoreMethod;

typedef struct ClinicalScore
{
	const char *code;
	const char *unit;			/* NULL: none */
	ClinicalScoreMethod method;
	int			min_answered;	/* -1: all that are shown */
	int			decimals;		/* -1: as it comes out */
	int			nitems;
	int		   *items;
	Numeric    *maxima;			/* what each can add at most; NULL: all the
								 * same */
} ClinicalScore;

/* A compiled definition */
typedef struct ClinicalInstrument
{
	MemoryContext context;
	const char *code;
	const char *version;
	const char *url;			/* NULL: none */
	int			nitems;
	ClinicalItem *items;		/* parents before children */
	int			nscopes;
	ClinicalScope *scopes;
	int			nscores;
	ClinicalScore *scores;
	bool		conditional;	/* some item has conditions */
	uint32		mask;			/* of the table of codes */
	int		   *table;
	Numeric		largest;		/* what numbers may not exceed */
	Numeric		smallest;
} ClinicalInstrument;

/* instrument_compile.c */
#define CLINICAL_MAX_ITEMS 10000
#define CLINICAL_MAX_DEPTH 20
#define CLINICAL_BAD_DEFINITION "instrument definition is malformed"

extern ClinicalInstrument *clinical_instrument_compile(Jsonb *definition, MemoryContext parent,
													   const char *message);
extern const ClinicalItem *clinical_instrument_item(const ClinicalInstrument *instrument,
													const char *code, int length);
extern Jsonb *clinical_instrument_canonical(Jsonb *definition);
extern const char *const clinical_item_types[];
extern const int clinical_item_ntypes;

/* instrument_value.c */

/* Why an answer cannot be taken: reason code of quarantine, and the check that found it */
typedef struct ClinicalFault
{
	const char *reason;
	const char *check;
} ClinicalFault;

/* A value as the columns of a table have it */
typedef struct ClinicalValueColumns
{
	Numeric		number;			/* NULL: none, as for the rest */
	const char *text;			/* not terminated */
	int			length;
	const char *code;
	const char *unit;			/* not terminated */
	int			unit_length;
} ClinicalValueColumns;

extern void clinical_value_columns(const ClinicalItem *item, const ClinicalValue *value, ClinicalValueColumns *columns);
extern bool clinical_value_read(const ClinicalInstrument *instrument, const ClinicalItem *item,
								const JsonbValue *json, ClinicalValue *value, ClinicalFault *fault);
extern bool clinical_value_code(const ClinicalItem *item, const char *code, int length,
								const char *system, int system_length, ClinicalValue *value);
extern bool clinical_value_open(const ClinicalItem *item, const char *text, int length,
								ClinicalValue *value, ClinicalFault *fault);
extern bool clinical_looks_like_code(const char *code, int length);
extern bool clinical_value_unit(const ClinicalItem *item, const char *unit, int length,
								ClinicalValue *value, ClinicalFault *fault);
extern bool clinical_value_satisfies(const ClinicalItem *item, const ClinicalValue *value,
									 ClinicalComparator comparator,
									 const ClinicalValue *others, int nothers);

/* instrument_date.c */
extern bool clinical_parse_date(const char *text, int length, bool partial, int64 *low, int64 *high);
extern bool clinical_parse_date_time(const char *text, int length, bool partial, int64 *low, int64 *high);
extern bool clinical_parse_time(const char *text, int length, int64 *time);

/* instrument_unit.c */
extern bool clinical_unit_known(const char *code);
extern bool clinical_unit_conversion(const char *from, const char *to, ClinicalUnit *unit);

/* instrument_cache.c */
extern void clinical_instrument_cache_init(void);
extern const ClinicalInstrument *clinical_instrument_cached(int64 version_id);

/* instrument_validate.c */

typedef struct ClinicalObservation
{
	const ClinicalItem *item;
	const char *repeat_key;		/* numbers of the repeats that lead to it,
								 * joined by dots */
	const ClinicalValue *value; /* NULL: absent */
	const char *absent;			/* the reason for it; not terminated */
	int			absent_length;
	bool		flagged;		/* by a soft check */
} ClinicalObservation;

typedef struct ClinicalScored
{
	const ClinicalScore *score;
	Numeric		value;			/* NULL: too much is missing */
} ClinicalScored;

typedef struct ClinicalFinding
{
	bool		hard;
	const char *reason;
	const char *check;
	const char *message;		/* of the check; NULL: none */
	const ClinicalItem *item;	/* NULL: none that is known */
	List	   *path;			/* C strings */
} ClinicalFinding;

typedef struct ClinicalVerdict
{
	int			nobservations;
	int			observations_room;
	ClinicalObservation *observations;
	int			nscored;
	ClinicalScored *scored;
	int			nfindings;
	int			findings_room;
	ClinicalFinding *findings;
	bool		valid;			/* no hard finding */
} ClinicalVerdict;

extern void clinical_validate(const ClinicalInstrument *instrument, Jsonb *report,
							  ClinicalVerdict *verdict);

/* instrument.c */
extern const ClinicalInvariant clinical_instrument_invariants[];
extern const int clinical_instrument_ninvariants;

extern PGDLLEXPORT Datum clinical_instrument_json(PG_FUNCTION_ARGS);
extern Datum clinical_instrument_create(Jsonb *definition, const char *message);
CLINICAL_NORETURN extern void clinical_instrument_not_used(text *code);
extern int64 clinical_instrument_version_id(text *code, text *version, bool read_only);
extern bool clinical_instrument_in_force_id(int64 project_id, text *code, DateADT day, int64 *version_id);

#endif							/* CLINICAL_INSTRUMENT_H */
