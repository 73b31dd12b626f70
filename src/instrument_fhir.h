/*-------------------------------------------------------------------------
 *
 * instrument_fhir.h
 *		What reading and writing FHIR Questionnaires share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_INSTRUMENT_FHIR_H
#define CLINICAL_INSTRUMENT_FHIR_H

#include "instrument.h"

/* What FHIR has no element for, as the text of a JSON object in an extension */
#define CLINICAL_FHIR_INSTRUMENT	"urn:clinical:instrument"
#define CLINICAL_FHIR_ITEM			"urn:clinical:item"

#define FHIR_EXTENSION(name)		"http://hl7.org/fhir/StructureDefinition/" name
#define FHIR_MIN_VALUE				FHIR_EXTENSION("minValue")
#define FHIR_MAX_VALUE				FHIR_EXTENSION("maxValue")
#define FHIR_MAX_DECIMALS			FHIR_EXTENSION("maxDecimalPlaces")
#define FHIR_UNIT					FHIR_EXTENSION("questionnaire-unit")
#define FHIR_UNIT_OPTION			FHIR_EXTENSION("questionnaire-unitOption")
#define FHIR_HIDDEN					FHIR_EXTENSION("questionnaire-hidden")
#define FHIR_MIN_OCCURS				FHIR_EXTENSION("questionnaire-minOccurs")
#define FHIR_MAX_OCCURS				FHIR_EXTENSION("questionnaire-maxOccurs")
#define FHIR_ORDINAL				FHIR_EXTENSION("ordinalValue")
#define FHIR_UCUM					"http://unitsofmeasure.org"

#define CLINICAL_FHIR_REFUSED		"questionnaire cannot be imported"

/* The elements of a questionnaire that are read */
typedef enum ClinicalFhirKind
{
	CLINICAL_FHIR_QUESTIONNAIRE,
	CLINICAL_FHIR_QUESTION,
	CLINICAL_FHIR_CONDITION,
	CLINICAL_FHIR_OPTION,
	CLINICAL_FHIR_CODING,
} ClinicalFhirKind;

/* instrument_kept.c: what is kept as it is */
extern bool clinical_fhir_keeps(ClinicalFhirKind kind, const JsonbValue *name);
extern bool clinical_fhir_is_harmless(const JsonbValue *url);
extern bool clinical_fhir_is_ordinal(const JsonbValue *url);
extern bool clinical_fhir_names_unit(const JsonbValue *extension);
extern bool clinical_fhir_are_codings(const JsonbValue *array);
extern void clinical_fhir_check_kept(const ClinicalPlace *place, ClinicalFhirKind kind,
									 const JsonbValue *fhir, bool display, bool has_unit);
extern void clinical_fhir_check_contained(const ClinicalPlace *place, const JsonbValue *contained,
										  const JsonbValue *reference);

/* instrument_import.c, instrument_export.c */
extern Jsonb *clinical_fhir_definition(Jsonb *questionnaire, const char *code, const char *version);
extern Jsonb *clinical_fhir_questionnaire(Jsonb *definition, bool r5);

#endif							/* CLINICAL_INSTRUMENT_FHIR_H */
