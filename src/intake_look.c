/*-------------------------------------------------------------------------
 *
 * intake_look.c
 *		What the database knows about reports: whether the id was used, the
 *		patient, the study, the day, the version of the instrument.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "intake.h"
#include "patient.h"

/* So far may a device's clock be ahead */
#define CLOCK_TOLERANCE (15 * USECS_PER_MINUTE)

#define NEVER_ENROLLED DATEVAL_NOEND

/* The tables that are looked into, for all reports of a batch */
typedef struct Look
{
	ClinicalFinder submissions;
	ClinicalFinder aside;
	ClinicalFinder patients;
	ClinicalPatientLook zones;
	ClinicalFinder projects;
	ClinicalFinder instruments;
	ClinicalFinder versions;
} Look;

static const Look beginning = {
	.submissions = {.table = "submission", .nkeys = 2, .types = {TEXTOID, UUIDOID}},
	.aside = {.table = "set_aside", .nkeys = 2, .types = {TEXTOID, UUIDOID}},
	.patients = {.table = "patient", .nkeys = 1, .types = {TEXTOID}},
	.zones = CLINICAL_PATIENT_LOOK,
	.projects = {.table = "project", .nkeys = 1, .types = {INT8OID}},
	.instruments = {.table = "project_instrument", .nkeys = 1, .types = {INT8OID}},
	.versions = {.table = "project_instrument_version", .index = "project_instrument_version_idx", .nkeys = 3,
		.types = {INT8OID, TEXTOID, DATEOID}, .strategies = {0, 0, BTLessEqualStrategyNumber}},
};

/*
 * Was the id used before, by a report that is accepted or in quarantine, and by
 * the same one?  A report that was changed when it was put back from quarantine
 * is still the one that the client has sent.
 */
static void
find_use(ClinicalFinder *submissions, ClinicalFinder *aside, const Datum *keys, Datum digest, ClinicalUse *use)
{
	memset(use, 0, sizeof(*use));
	if (clinical_find_first(submissions, keys))
	{
		use->used = true;
		use->same = clinical_same_bytes(digest, clinical_find_column(submissions, "digest"));
	}
	if (use->same)
		return;
	clinical_find(aside, keys);
	while (clinical_find_next(aside, false))
	{
		bool		same;

		CHECK_FOR_INTERRUPTS();
		if (!clinical_text_is(clinical_find_column(aside, "outcome"), "quarantined"))
			continue;
		same = clinical_same_bytes(digest, clinical_find_column(aside, "digest"));
		if (clinical_find_column(aside, "requeued_at") != 0)
			use->original |= same;
		else
		{
			use->used = true;
			use->same |= same;
		}
	}
	use->same |= use->used && use->original;
}

/* The same for one report alone; the active snapshot must be a new one. */
void
clinical_intake_find_use(Datum patient_id, Datum submission_id, Datum digest, ClinicalUse *use)
{
	Look		look = beginning;
	Datum		keys[2] = {patient_id, submission_id};

	find_use(&look.submissions, &look.aside, keys, digest, use);
	clinical_find_close(&look.submissions);
	clinical_find_close(&look.aside);
}

/* Was the patient on study on a day?  Who leaves it on a day reports on that day. */
static bool
on_study(const ClinicalEvent *events, int nevents, DateADT day)
{
	const ClinicalEvent *last = NULL;

	for (int i = 0; i < nevents; i++)
	{
		const ClinicalEvent *event = &events[i];

		if (event->day > day || (event->day == day && !event->enrolled))
			continue;
		if (last == NULL || event->day >= last->day)
			last = event;
	}
	return last != NULL && last->enrolled;
}

/* The first day on which the patient was enrolled. */
static DateADT
first_day(const ClinicalEvent *events, int nevents)
{
	DateADT		first = NEVER_ENROLLED;

	for (int i = 0; i < nevents; i++)
	{
		if (events[i].enrolled)
			first = Min(first, events[i].day);
	}
	return first;
}

/* The instrument of a report: the one that is named, or the project's default; 0: the project does not use it. */
static Datum
find_instrument(Look *look, int64 project_id, const ClinicalStaged *staged)
{
	Datum		key = Int64GetDatum(project_id);
	bool		named = !staged->nulls[CLINICAL_STAGED_INSTRUMENT];

	clinical_find(&look->instruments, &key);
	while (clinical_find_next(&look->instruments, false))
	{
		Datum		instrument = clinical_find_column(&look->instruments, "instrument");

		CHECK_FOR_INTERRUPTS();
		if (named ? DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, instrument,
														 staged->values[CLINICAL_STAGED_INSTRUMENT])) :
			DatumGetBool(clinical_find_column(&look->instruments, "is_default")))
			return datumCopy(instrument, false, -1);
	}
	return (Datum) 0;
}

/* The version of an instrument that is in force in a project on a day; 0: none. */
static int64
find_version(Look *look, int64 project_id, const ClinicalStaged *staged, DateADT day)
{
	Datum		keys[3] = {Int64GetDatum(project_id), find_instrument(look, project_id, staged), DateADTGetDatum(day)};

	if (keys[1] == 0)
		return 0;
	clinical_find(&look->versions, keys);
	return clinical_find_next(&look->versions, true) ?
		DatumGetInt64(clinical_find_column(&look->versions, "version_id")) : 0;
}

/* A moment that has a day in every time zone; one at the ends of time is not accepted anyway. */
static TimestampTz
with_a_day(TimestampTz moment)
{
	return Max(Min(moment, END_TIMESTAMP - 2 * USECS_PER_DAY), MIN_TIMESTAMP + 2 * USECS_PER_DAY);
}

/* Is the project closed? */
static bool
is_closed(Look *look, int64 project_id)
{
	Datum		key = Int64GetDatum(project_id);

	return !clinical_find_first(&look->projects, &key) || clinical_text_is(clinical_find_column(&look->projects, "status"), "closed");
}

/* Why a report of a patient that is known cannot be accepted; NULL: it may be. */
static const char *
find_reason(Look *look, const ClinicalStaged *staged, const ClinicalEvent *events, int nevents)
{
	DateADT		day = DatumGetDateADT(staged->local_day);
	DateADT		first = first_day(events, nevents);

	if (staged->captured_at > DatumGetTimestampTz(staged->values[CLINICAL_STAGED_RECEIVED_AT]) + CLOCK_TOLERANCE)
		return "captured_in_future";
	if (first != NEVER_ENROLLED && first > day)
		return "captured_before_enrolment";
	if (!on_study(events, nevents, day) || is_closed(look, staged->project_id))
		return "patient_not_on_study";
	return staged->version_id == 0 ? "unknown_instrument" : NULL;
}

/* Look one report up. */
static void
look_up(Look *look, ClinicalStaged *staged)
{
	Datum		keys[2] = {staged->values[CLINICAL_STAGED_PATIENT_ID], staged->values[CLINICAL_STAGED_SUBMISSION_ID]};
	TimestampTz moment = with_a_day(staged->captured_at);
	ClinicalEvent *events;
	int			nevents;
	DateADT		day;

	find_use(&look->submissions, &look->aside, keys, staged->digest, &staged->use);
	staged->known = clinical_find_first(&look->patients, keys);
	staged->reason = staged->known ? NULL : "unknown_patient";
	if (!staged->known)
		return;
	staged->project_id = DatumGetInt64(clinical_find_column(&look->patients, "project_id"));
	nevents = clinical_patient_events(&look->zones, keys[0], &events);
	staged->zone = staged->nulls[CLINICAL_STAGED_TIME_ZONE] ?
		clinical_patient_zone(&look->zones, keys[0], events, nevents, moment) : staged->values[CLINICAL_STAGED_TIME_ZONE];
	if (staged->zone == 0)
		elog(ERROR, "patient has no time zone");
	day = clinical_day_in(staged->zone, moment);
	staged->local_day = DateADTGetDatum(day);
	staged->version_id = find_version(look, staged->project_id, staged, day);
	staged->reason = find_reason(look, staged, events, nevents);
}

/*
 * Look reports up, in order of patients and ids.  With a new snapshot: what the
 * last holders of the lanes have stored must be seen.
 */
void
clinical_intake_look_up(ClinicalStaged **reports, int count)
{
	Look		look = beginning;

	PushActiveSnapshot(GetTransactionSnapshot());
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		look_up(&look, reports[i]);
	}
	clinical_find_close(&look.submissions);
	clinical_find_close(&look.aside);
	clinical_find_close(&look.patients);
	clinical_patient_look_close(&look.zones);
	clinical_find_close(&look.projects);
	clinical_find_close(&look.instruments);
	clinical_find_close(&look.versions);
	PopActiveSnapshot();
}
