/*-------------------------------------------------------------------------
 *
 * patient_zone.c
 *		In which time zone a patient lives at a moment: the one that was told, or
 *		else that of the center where the patient was.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "patient.h"

/* The day of a moment in a time zone. */
DateADT
clinical_day_in(Datum zone, TimestampTz moment)
{
	Datum		there = DirectFunctionCall2(timestamptz_zone, zone, TimestampTzGetDatum(moment));

	return DatumGetDateADT(DirectFunctionCall1(timestamp_date, there));
}

/* Read the events of a patient, by their numbers; how many there are. */
int
clinical_patient_events(ClinicalPatientLook *look, Datum patient_id, ClinicalEvent **events)
{
	int			count = 0;
	int			room = 8;

	*events = palloc_array(ClinicalEvent, room);
	clinical_find(&look->events, &patient_id);
	while (clinical_find_next(&look->events, false))
	{
		ClinicalEvent *event;

		CHECK_FOR_INTERRUPTS();
		if (count == room)
			*events = repalloc_array(*events, ClinicalEvent, room *= 2);
		event = &(*events)[count++];
		event->number = DatumGetInt32(clinical_find_column(&look->events, "event_no"));
		event->enrolled = clinical_text_is(clinical_find_column(&look->events, "status"), "enrolled");
		event->day = DatumGetDateADT(clinical_find_column(&look->events, "effective_on"));
		event->center_id = DatumGetInt64(clinical_find_column(&look->events, "center_id"));
	}
	return count;
}

/* The time zone that a patient was told to live in at a moment; 0: none. */
static Datum
told_zone(ClinicalPatientLook *look, Datum patient_id, TimestampTz moment)
{
	TimestampTz latest = DT_NOBEGIN;
	Datum		zone = (Datum) 0;

	clinical_find(&look->told, &patient_id);
	while (clinical_find_next(&look->told, false))
	{
		TimestampTz from = DatumGetTimestampTz(clinical_find_column(&look->told, "effective_from"));

		CHECK_FOR_INTERRUPTS();
		/* of two from one moment on, the one told last */
		if (from > moment || from < latest)
			continue;
		latest = from;
		zone = datumCopy(clinical_find_column(&look->told, "time_zone"), false, -1);
	}
	return zone;
}

/* The time zone of a center. */
static Datum
center_zone(ClinicalPatientLook *look, int64 center_id)
{
	Datum		key = Int64GetDatum(center_id);

	if (!clinical_find_first(&look->centers, &key))
		elog(ERROR, "center " INT64_FORMAT " of an event does not exist", center_id);
	return datumCopy(clinical_find_column(&look->centers, "time_zone"), false, -1);
}

/* The time zone of a patient, whose events these are, at a moment; 0: none. */
Datum
clinical_patient_zone(ClinicalPatientLook *look, Datum patient_id, const ClinicalEvent *events, int nevents, TimestampTz moment)
{
	Datum		zone = told_zone(look, patient_id, moment);

	for (int i = nevents - 1; i >= 0 && zone == 0; i--)
	{
		Datum		there = center_zone(look, events[i].center_id);

		if (events[i].number == 1 || events[i].day <= clinical_day_in(there, moment))
			zone = there;
	}
	return zone;
}

/* Close what was opened; an error closes it by itself. */
void
clinical_patient_look_close(ClinicalPatientLook *look)
{
	clinical_find_close(&look->told);
	clinical_find_close(&look->events);
	clinical_find_close(&look->centers);
}
