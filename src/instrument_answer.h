/*-------------------------------------------------------------------------
 *
 * instrument_answer.h
 *		Answers as they were read from a report: what reading them, in
 *		either form, and judging them share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_INSTRUMENT_ANSWER_H
#define CLINICAL_INSTRUMENT_ANSWER_H

#include "instrument.h"

struct Instance;

typedef struct Answer
{
	struct Answer *next;
	ClinicalValue value;
	const char *absent;			/* why there is no value; not terminated */
	int			absent_length;
	ClinicalFault fault;		/* reason NULL: none */
	bool		refused;		/* by a hard check: it counts in no score */
	struct Instance *inner;		/* what is below this answer; NULL: nothing */
} Answer;

typedef enum Shown
{
	SHOWN_UNKNOWN,
	SHOWN,
	NOT_SHOWN,
} Shown;

/* What was said to one item */
typedef struct Slot
{
	Answer	   *first;
	Answer	   *last;
	int			count;
	int			nrepeats;		/* of a group */
	struct Instance *first_repeat;
	struct Instance *last_repeat;
	bool		given;			/* was there, perhaps without an answer */
	bool		answered;		/* with a value or a reason for its absence */
	Shown		shown;
} Slot;

/* One repeat of a scope */
typedef struct Instance
{
	const ClinicalScope *scope;
	struct Instance *outer;		/* NULL: the form */
	struct Instance *next;
	int			number;			/* among its repeats, from 1 */
	Slot	   *slots;
} Instance;

/* A report while it is validated */
typedef struct Reading
{
	const ClinicalInstrument *instrument;
	ClinicalVerdict *verdict;
	Instance   *form;
	int			nplaces;		/* in all repeats */
	bool		full;			/* there were too many */
} Reading;

extern Instance *clinical_new_instance(Reading *reading, int scope, Instance *outer, int number);
extern Answer *clinical_make_answer(void);
extern void clinical_add_answer(Slot *slot, Answer *answer);
extern void clinical_finding(Reading *reading, bool hard, const ClinicalFault *fault, const char *message,
							 const ClinicalItem *item, const Instance *instance, int number,
							 const char *key, int key_length);
extern bool clinical_belongs(const Reading *reading, const ClinicalItem *item, const ClinicalItem *within,
							 const Instance *instance);
extern Instance *clinical_group_repeat(Reading *reading, const ClinicalItem *item, Instance *instance);

/* instrument_condition.c */
extern Instance *clinical_instance_of(const Reading *reading, const ClinicalItem *item, Instance *instance);
extern bool clinical_is_shown(const Reading *reading, const ClinicalItem *item, Instance *instance);

/* instrument_score.c */
extern Numeric clinical_compute_score(Reading *reading, const ClinicalScore *score);

/* instrument_report.c, instrument_response.c */
extern void clinical_read_report(Reading *reading, const JsonbValue *report);
extern void clinical_read_response(Reading *reading, const JsonbValue *response);

#endif							/* CLINICAL_INSTRUMENT_ANSWER_H */
