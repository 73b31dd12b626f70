/*-------------------------------------------------------------------------
 *
 * monitor_baseline.c
 *		What a change from the baseline is, and when the baseline was.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "monitor.h"

/* The first day on which a patient was enrolled, by a finder of enrollment_event; DATEVAL_NOBEGIN: never. */
DateADT
clinical_first_enrolment(ClinicalFinder *events, Datum patient_id)
{
	DateADT		first = DATEVAL_NOBEGIN;

	clinical_find(events, &patient_id);
	while (clinical_find_next(events, false))
	{
		char	   *status = TextDatumGetCString(clinical_find_column(events, "status"));
		DateADT		day = DatumGetDateADT(clinical_find_column(events, "effective_on"));

		if (strcmp(status, "enrolled") == 0 && (first == DATEVAL_NOBEGIN || day < first))
			first = day;
	}
	return first;
}

/* Is it what a rule compares readings of an item with? */
bool
clinical_compares_with(const ClinicalMonitor *monitor, int item, const ClinicalCompared *compared)
{
	return compared->baseline == monitor->baseline && compared->day_start == monitor->day_start &&
		strcmp(compared->item, monitor->items[item]) == 0;
}

/* May a change of readings of a moment, on that day, be one of a rule's baseline? */
bool
clinical_reader_may_be_baseline(ClinicalReader *reader, const ClinicalMonitor *monitor, TimestampTz at, int day)
{
	if (monitor->kind != CLINICAL_MONITOR_BASELINE)
		return false;
	if (monitor->baseline == CLINICAL_BASELINE_LAST)
		return day <= clinical_reader_enrolment(reader);
	for (int i = 0; i < monitor->rule.nitems; i++)
	{
		const ClinicalCompared *first = clinical_reader_baseline(reader, monitor, i);

		if (first->value == NULL || at <= first->at)
			return true;
	}
	return false;
}

/* How a value has changed since the baseline; NULL: that cannot be said. */
Numeric
clinical_monitor_change(const ClinicalMonitor *monitor, Numeric value, Numeric baseline)
{
	Numeric		change;

	if (baseline == NULL)
		return NULL;
	change = DatumGetNumeric(DirectFunctionCall2(numeric_sub, NumericGetDatum(value), NumericGetDatum(baseline)));
	if (!monitor->percent)
		return change;
	if (DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(baseline), NumericGetDatum(int64_to_numeric(0)))))
		return NULL;
	change = DatumGetNumeric(DirectFunctionCall2(numeric_mul, NumericGetDatum(change),
												 NumericGetDatum(int64_to_numeric(100))));
	return DatumGetNumeric(DirectFunctionCall2(numeric_div, NumericGetDatum(change), NumericGetDatum(baseline)));
}
