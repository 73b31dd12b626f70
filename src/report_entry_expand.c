/*-------------------------------------------------------------------------
 *
 * report_entry_expand.c
 *		The entries that a patient is to make: what expected_entries gives, from
 *		what is known about the patient already.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/varlena.h"

#include "patient.h"
#include "report_entry.h"

#define MAX_DAYS 3660

/* The zone of a center may be that of the patient at these times around the day of an event, says expected_entries */
#define SAMPLE_STEP (6 * USECS_PER_HOUR)
#define FIRST_SAMPLE (-4)
#define LAST_SAMPLE 8

/* --- the zones of a patient -------------------------------------------------------------------------------- */

/* In which zone a patient is at a moment: see time_zone_at. */
static int
zone_at(const ClinicalEntryPlan *plan, const ClinicalEntryPatient *patient, TimestampTz moment)
{
	TimestampTz latest = DT_NOBEGIN;
	int			zone = -1;

	for (int i = 0; i < patient->ntold; i++)
	{
		if (patient->told[i].from > moment || patient->told[i].from < latest)
			continue;
		latest = patient->told[i].from;
		zone = patient->told[i].zone;
	}
	for (int i = patient->nstays - 1; i >= 0 && zone < 0; i--)
	{
		const ClinicalEntryStay *stay = &patient->stays[i];

		if (stay->number == 1 || stay->day <= clinical_day_in(plan->zones[stay->zone].name, moment))
			zone = stay->zone;
	}
	return zone;
}

/* Add a zone to those of the patient. */
static void
add_zone(ClinicalEntryPatient *patient, int zone)
{
	for (int i = 0; i < patient->nzones; i++)
	{
		if (patient->zones[i] == zone)
			return;
	}
	if (zone >= 0)
		patient->zones[patient->nzones++] = zone;
}

/* Find the zones in which entries may be. */
static void
find_zones(const ClinicalEntryPlan *plan, ClinicalEntryPatient *patient)
{
	patient->zones = palloc_array(int, patient->ntold + patient->nstays + 1);
	for (int i = 0; i < patient->ntold; i++)
		add_zone(patient, patient->told[i].zone);
	for (int i = 0; i < patient->nstays; i++)
	{
		CHECK_FOR_INTERRUPTS();
		for (int sample = FIRST_SAMPLE; sample <= LAST_SAMPLE; sample++)
			add_zone(patient, zone_at(plan, patient, patient->stays[i].day * USECS_PER_DAY + sample * SAMPLE_STEP));
	}
}

/* --- entries -------------------------------------------------------------------------------------------------- */

/* Is the patient excused from an entry? */
static bool
is_excused(const ClinicalEntryPatient *patient, TimestampTz begins, TimestampTz ends)
{
	for (int i = 0; i < patient->nexcuses; i++)
	{
		const ClinicalEntryExcuse *excuse = &patient->excuses[i];

		if (excuse->from < ends && (excuse->to > begins || (excuse->included && excuse->to == begins)))
			return true;
	}
	return false;
}

/* A further entry of an instrument. */
static ClinicalEntry *
new_entry(const ClinicalEntryPlan *plan, ClinicalEntryInstrument *instrument)
{
	ClinicalEntry *entry;

	if (instrument->nentries == instrument->room)
	{
		instrument->room = Max(2 * instrument->room, 128);
		instrument->entries = instrument->entries == NULL ?
			MemoryContextAllocHuge(plan->context, instrument->room * sizeof(ClinicalEntry)) :
			repalloc_huge(instrument->entries, instrument->room * sizeof(ClinicalEntry));
	}
	entry = &instrument->entries[instrument->nentries++];
	memset(entry, 0, sizeof(*entry));
	return entry;
}

/*
 * Add the entry of a day, whose window reaches from one day to another: of the
 * zones in which the patient was when it began, by that where it began first.
 */
static void
add_entry(ClinicalEntryPlan *plan, ClinicalEntryInstrument *instrument, const ClinicalEntryPatient *patient,
		  const ClinicalEntrySchedule *schedule, DateADT day, const ClinicalEntryVisit *visit)
{
	DateADT		first_day = visit == NULL ? day : day - visit->before;
	DateADT		last_day = visit == NULL ? day : day + visit->after;
	TimestampTz chosen_begins = DT_NOEND;
	TimestampTz chosen_ends = DT_NOEND;
	ClinicalEntry *entry;

	for (int i = 0; i < patient->nzones; i++)
	{
		int			zone = patient->zones[i];
		TimestampTz begins = clinical_entry_begins(plan, zone, schedule, first_day);
		TimestampTz ends = clinical_entry_ends(plan, zone, schedule, last_day);

		/* not so if the clock was put forward over the window */
		if (begins >= ends || begins >= chosen_begins ||
			(patient->nzones > 1 && zone_at(plan, patient, begins) != zone))
			continue;
		chosen_begins = begins;
		chosen_ends = ends;
	}
	if (chosen_begins == DT_NOEND)
		return;
	entry = new_entry(plan, instrument);
	entry->day = day;
	entry->visit = visit == NULL ? (Datum) 0 : visit->code;
	entry->begins = chosen_begins;
	entry->ends = chosen_ends;
	entry->closes_at = chosen_ends + schedule->grace;
	entry->excused = is_excused(patient, chosen_begins, chosen_ends);
}

/* The Monday of a day's week; 2000-01-03 was one. */
static DateADT
monday(DateADT day)
{
	int			weekday = (day - 2) % 7;

	return day - (weekday < 0 ? weekday + 7 : weekday);
}

/* Add the entries of a day, by the schedule in force. */
static void
add_entries_of(ClinicalEntryPlan *plan, ClinicalEntryInstrument *instrument, const ClinicalEntryPatient *patient,
			   const ClinicalEntrySchedule *schedule, DateADT day)
{
	switch (schedule->kind)
	{
		case CLINICAL_ENTRY_NONE:
			break;
		case CLINICAL_ENTRY_DAILY:
			if ((day - patient->enrolled_on) % schedule->every == 0)
				add_entry(plan, instrument, patient, schedule, day, NULL);
			break;
		case CLINICAL_ENTRY_WEEKLY:
			if ((schedule->weekdays & (1 << (day - monday(day)))) != 0 &&
				(monday(day) - monday(patient->enrolled_on)) / 7 % schedule->every == 0)
				add_entry(plan, instrument, patient, schedule, day, NULL);
			break;
		case CLINICAL_ENTRY_VISITS:
			for (int i = 0; i < schedule->nvisits; i++)
			{
				if (day == patient->enrolled_on + schedule->visits[i].day - 1)
					add_entry(plan, instrument, patient, schedule, day, &schedule->visits[i]);
			}
			break;
	}
}

/* In order of their windows, those without visit last; the last of them gets a report that all could have. */
static int
compare_entries(const void *left, const void *right)
{
	const ClinicalEntry *a = left;
	const ClinicalEntry *b = right;

	if (a->begins != b->begins)
		return a->begins < b->begins ? -1 : 1;
	if (a->visit != 0 && b->visit != 0)
	{
		text	   *visit_a = DatumGetTextPP(a->visit);
		text	   *visit_b = DatumGetTextPP(b->visit);
		int			order = varstr_cmp(VARDATA_ANY(visit_a), (int) VARSIZE_ANY_EXHDR(visit_a),
									   VARDATA_ANY(visit_b), (int) VARSIZE_ANY_EXHDR(visit_b), DEFAULT_COLLATION_OID);

		if (order != 0)
			return order;
	}
	else if (a->visit != b->visit)
		return a->visit == 0 ? 1 : -1;
	return a->day - b->day;
}

/* Bring the entries of an instrument into order. */
static void
order_entries(ClinicalEntryInstrument *instrument)
{
	ClinicalEntry *entries = instrument->entries;
	bool		in_order = true;

	for (int i = 1; i < instrument->nentries && in_order; i++)
		in_order = entries[i - 1].begins < entries[i].begins;
	if (!in_order)
		qsort(entries, instrument->nentries, sizeof(ClinicalEntry), compare_entries);
	for (int i = 0; i < instrument->nentries; i++)
		entries[i].all_closed_at = i == 0 ? entries[i].closes_at : Max(entries[i - 1].all_closed_at, entries[i].closes_at);
}

/* The entries of an instrument on the days of a patient. */
static void
expand_instrument(ClinicalEntryPlan *plan, ClinicalEntryInstrument *instrument, const ClinicalEntryPatient *patient,
				  DateADT from_day, DateADT to_day)
{
	int			schedule = -1;
	int			use = -1;

	for (DateADT day = from_day; day <= to_day; day++)
	{
		CHECK_FOR_INTERRUPTS();
		while (schedule + 1 < instrument->nschedules && instrument->schedules[schedule + 1].effective_from <= day)
			schedule++;
		while (use + 1 < instrument->nuses && instrument->uses[use + 1].effective_from <= day)
			use++;
		if (schedule >= 0 && use >= 0 && instrument->uses[use].used)
			add_entries_of(plan, instrument, patient, &instrument->schedules[schedule], day);
	}
	order_entries(instrument);
}

/*
 * Make the entries of a patient, those behind the period too: as far as
 * entry_compliance looks at them.
 */
void
clinical_entry_expand(ClinicalEntryPlan *plan, ClinicalEntryPatient *patient)
{
	DateADT		end_day = Max(plan->end_day, Min(plan->end_day + plan->behind, plan->first_day + MAX_DAYS));
	DateADT		from_day = Max(plan->first_day, patient->enrolled_on);
	DateADT		to_day = Min(end_day, patient->ended_on) - 1;

	for (int i = 0; i < plan->ninstruments; i++)
		plan->instruments[i].nentries = 0;
	if (!patient->enrolled || plan->first_day >= plan->end_day || to_day < from_day)
		return;
	if (to_day - from_day > MAX_DAYS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("period must not be longer than ten years")));
	find_zones(plan, patient);
	for (int i = 0; i < plan->ninstruments; i++)
		expand_instrument(plan, &plan->instruments[i], patient, from_day, to_day);
}
