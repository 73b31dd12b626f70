/*-------------------------------------------------------------------------
 *
 * instrument_compile.h
 *		What the parts of compiling a definition share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_INSTRUMENT_COMPILE_H
#define CLINICAL_INSTRUMENT_COMPILE_H

#include "instrument.h"

/* What is known while a definition is compiled */
typedef struct Compiler
{
	ClinicalInstrument *instrument;
	ClinicalPlace place;
	JsonbValue *contained;		/* value sets kept of FHIR; NULL: none */
	JsonbValue **sources;		/* by item: what it was read from, as
								 * item_keys */
} Compiler;

/* instrument_compile.c */
extern const char *clinical_read_code(const ClinicalPlace *place, const char *key, const JsonbValue *value);
extern void clinical_check_codings(const ClinicalPlace *place, const JsonbValue *array);
extern Numeric clinical_read_number(Compiler *compiler, const char *key, const JsonbValue *json);
extern void clinical_read_constant(Compiler *compiler, const ClinicalItem *item, const char *key,
								   const JsonbValue *json, ClinicalValue *value);

/* instrument_condition.c */
extern void clinical_read_conditions(Compiler *compiler, ClinicalItem *item, const JsonbValue *array,
									 const JsonbValue *behavior);
extern void clinical_check_dependencies(Compiler *compiler);

/* instrument_score.c */
extern void clinical_read_scores(Compiler *compiler, const JsonbValue *array);

#endif							/* CLINICAL_INSTRUMENT_COMPILE_H */
