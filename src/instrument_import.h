/*-------------------------------------------------------------------------
 *
 * instrument_import.h
 *		What the parts of importing a FHIR Questionnaire share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_INSTRUMENT_IMPORT_H
#define CLINICAL_INSTRUMENT_IMPORT_H

#include "instrument_fhir.h"

/* A member that is kept as it is */
typedef struct Kept
{
	JsonbValue	key;
	JsonbValue	value;
} Kept;

/* An element of the questionnaire, sorted */
typedef struct Element
{
	JsonbValue *values;			/* translated members, by the table they were
								 * read with */
	List	   *kept;			/* of Kept */
	JsonbValue *extensions;		/* translated extensions, by the table of
								 * these: their value[x] */
	List	   *kept_extensions;	/* of JsonbValue */
	List	   *more_units;		/* of JsonbValue: further values of unitOption */
} Element;

/* That a condition's quantity is in the unit of its question, or its code of a system that is listed */
typedef struct UnitClaim
{
	char	   *item;
	char	   *unit;			/* NULL: it is about a code */
	char	   *code;
	char	   *system;
	char	   *where;			/* the condition, for errors */
} UnitClaim;

typedef struct Import
{
	ClinicalPlace place;
	JsonbValue	questionnaire;
	JsonbParseState *state;
	List	   *claims;			/* of UnitClaim */
} Import;

/* instrument_element.c */
extern int	clinical_fhir_find(const JsonbValue *name, const char *const *names, int count);
extern char *clinical_fhir_name(const JsonbValue *name);
extern void clinical_fhir_sort_extensions(const Import *import, const JsonbValue *array, const char *const *names, int count, Element *element);
extern void clinical_fhir_sort_members(const Import *import, const JsonbValue *object, const char *const *names, int count,
									   ClinicalFhirKind kind, Element *element);
extern void clinical_fhir_keep(Element *element, const char *name, const JsonbValue *value);
extern void clinical_fhir_put_kept(Import *import, const char *name, const Element *element);
extern const JsonbValue *clinical_fhir_string(const Import *import, const char *name, const JsonbValue *value);
extern void clinical_fhir_put(Import *import, const char *name, const JsonbValue *value);

/* instrument_code_list.c */
extern void clinical_fhir_put_options(Import *import, const JsonbValue *array);
extern void clinical_fhir_put_value_set(Import *import, const JsonbValue *reference);

#endif							/* CLINICAL_INSTRUMENT_IMPORT_H */
