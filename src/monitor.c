/*-------------------------------------------------------------------------
 *
 * monitor.c
 *		Evaluation of rules for a patient, when readings of some days have changed.
 *
 * Which alerts there are is a function of the readings that count.  The engine
 * says which streaks a change of some days has touched, and what has to become of
 * the alerts that were raised for them; it is done in the transaction of the
 * change.  Nobody else evaluates the patient meanwhile: who does holds the
 * patient's lane until commit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"

#include "monitor.h"

/* The project of a patient; 0: there is no such patient.  By the active snapshot, whoever asks. */
int64
clinical_project_of(Datum patient_id)
{
	ClinicalFinder patients = {.table = "patient", .nkeys = 1, .types = {TEXTOID}};
	int64		project_id = 0;

	if (clinical_find_first(&patients, &patient_id))
		project_id = DatumGetInt64(clinical_find_column(&patients, "project_id"));
	clinical_find_close(&patients);
	return project_id;
}

/* Begin to evaluate patients, with a snapshot of now until the end. */
void
clinical_evaluation_begin(ClinicalEvaluation *evaluation)
{
	memset(evaluation, 0, sizeof(*evaluation));
	evaluation->reader = clinical_reader_begin();
	evaluation->alert_reader = clinical_alerts_begin();
}

/* Go on to a patient, with the alerts that days from one on may touch. */
void
clinical_evaluation_patient(ClinicalEvaluation *evaluation, Datum patient_id, int64 project_id, DateADT from)
{
	evaluation->patient_id = patient_id;
	evaluation->project_id = project_id;
	clinical_reader_patient(evaluation->reader, patient_id);
	evaluation->from = from;
	evaluation->alerts = clinical_alerts_of(evaluation->alert_reader, patient_id, from);
}

/* The end of it. */
void
clinical_evaluation_end(ClinicalEvaluation *evaluation)
{
	clinical_alerts_end(evaluation->alert_reader);
	clinical_reader_end(evaluation->reader);
}

/* Add a day to a list that grows. */
static void
add_day(int **days, int *count, int *room, int day)
{
	if (*count == *room)
		*days = *room == 0 ? palloc_array(int, *room = 64) : repalloc_array(*days, int, *room *= 2);
	(*days)[(*count)++] = day;
}

/* All days of a rule, and those of the alerts, which may have lost theirs; how many. */
static int
all_days(const StreakSource *source, const StreakAlert *alerts, int nalerts, int **days)
{
	StreakReading *readings;
	int			day = PG_INT32_MIN;
	int			count = 0;
	int			room = 0;
	int			nreadings;

	*days = NULL;
	while (source->next(source->arg, day, true, &day, &readings, &nreadings))
		add_day(days, &count, &room, day);
	for (int i = 0; i < nalerts; i++)
	{
		for (day = alerts[i].basis.onset; day <= alerts[i].basis.last_day; day++)
			add_day(days, &count, &room, day);
	}
	return count;
}

/* The alerts of a version, for the engine; how many. */
static int
alerts_of_version(const ClinicalEvaluation *evaluation, const ClinicalMonitor *monitor, StreakAlert **alerts)
{
	int			count = 0;
	ListCell   *cell;

	*alerts = palloc_array(StreakAlert, Max(list_length(evaluation->alerts), 1));
	foreach(cell, evaluation->alerts)
	{
		ClinicalAlert *alert = lfirst(cell);

		if (alert->rule_id != monitor->rule_id || alert->version != monitor->version)
			continue;
		(*alerts)[count++] = alert->alert;
	}
	return count;
}

/* Have two streaks a day in common? */
static bool
overlap(const Streak *a, const Streak *b)
{
	return a->onset <= b->last_day && b->onset <= a->last_day;
}

/* Does a list have an alert of another version of the rule, for a day of the streak (NULL: for any)? */
static bool
has_other_alert(List *alerts, const ClinicalMonitor *monitor, const Streak *streak)
{
	ListCell   *cell;

	foreach(cell, alerts)
	{
		const ClinicalAlert *alert = lfirst(cell);

		if (alert->rule_id == monitor->rule_id && alert->version != monitor->version && alert->alert.supported &&
			(streak == NULL || overlap(&alert->alert.basis, streak)))
			return true;
	}
	return false;
}

/*
 * The other live alerts, whose watch did not end before a day: the days that were
 * touched are later.  Those of the evaluation are left out, since what it has done to
 * them is not seen here.
 */
static List *
past_alerts(const ClinicalEvaluation *evaluation, int from)
{
	List	   *alerts;
	ListCell   *cell;

	if (from >= evaluation->from)
		return NIL;
	alerts = clinical_alerts_of(evaluation->alert_reader, evaluation->patient_id, from);
	foreach(cell, alerts)
	{
		if (((const ClinicalAlert *) lfirst(cell))->alert.basis.watch_until >= evaluation->from)
			alerts = foreach_delete_current(alerts, cell);
	}
	return alerts;
}

/*
 * May streaks of a version have no alert, since another version has one for days of
 * theirs?  Where that is so, a streak that is cut in two may have to be told of.
 */
bool
clinical_evaluation_is_held_back(const ClinicalEvaluation *evaluation, const ClinicalMonitor *monitor)
{
	return monitor->in_force && monitor->version > 1 &&
		(has_other_alert(evaluation->alerts, monitor, NULL) ||
		 has_other_alert(past_alerts(evaluation, DATEVAL_NOBEGIN), monitor, NULL));
}

/*
 * May an alert be opened for a streak?  Only by the version in force, and not
 * where another version has one: nobody is told twice.
 */
static bool
may_open(const ClinicalEvaluation *evaluation, const ClinicalMonitor *monitor, const Streak *streak)
{
	if (!monitor->in_force)
		return false;
	if (monitor->version == 1)
		return true;
	return !has_other_alert(evaluation->alerts, monitor, streak) &&
		!has_other_alert(past_alerts(evaluation, streak->onset), monitor, streak);
}

/* Leave out what may not be done; how many actions remain. */
static int
keep_allowed(const ClinicalEvaluation *evaluation, const ClinicalMonitor *monitor, StreakAction *actions, int nactions)
{
	int			count = 0;

	for (int i = 0; i < nactions; i++)
	{
		if (actions[i].verb != STREAK_OPEN || may_open(evaluation, monitor, &actions[i].streak))
			actions[count++] = actions[i];
	}
	return count;
}

/* Keep the alerts of the evaluation up to date. */
static void
note_action(ClinicalEvaluation *evaluation, const StreakAction *action)
{
	ClinicalAlert *alert;

	if (action->verb == STREAK_OPEN)
		return;
	alert = unconstify(void *, action->alert->tag);
	if (action->verb == STREAK_MERGE || action->verb == STREAK_RETRACT)
		evaluation->alerts = list_delete_ptr(evaluation->alerts, alert);
	else
	{
		alert->alert.supported = action->verb == STREAK_MOVE;
		if (action->verb == STREAK_MOVE)
			alert->alert.basis = action->streak;
	}
}

/* An alert may move to where another is until that moves, too, also where somebody made all constraints immediate. */
static void
defer_onsets(void)
{
	ConstraintsSetStmt *statement = makeNode(ConstraintsSetStmt);

	statement->constraints = list_make1(makeRangeVar(pstrdup("clinical"), pstrdup("alert_onset"), -1));
	statement->deferred = true;
	AfterTriggerSetState(statement);
}

/*
 * Evaluate a version of a rule: days that were touched, by the rule's calendar.
 * Inside SPI, with the patient's lane locked.
 */
void
clinical_monitor_evaluate(ClinicalEvaluation *evaluation, const ClinicalMonitor *monitor, const int *touched, int ntouched)
{
	StreakSource source;
	StreakAlert *alerts;
	StreakAction *actions;
	Streak	   *streaks;
	int		   *days;
	int			nalerts = alerts_of_version(evaluation, monitor, &alerts);
	int			nactions;
	int			count;
	int			from;
	int			to;

	CHECK_FOR_INTERRUPTS();
	clinical_reader_source(evaluation->reader, monitor, &source);
	if (ntouched == CLINICAL_ALL_DAYS)
	{
		ntouched = all_days(&source, alerts, nalerts, &days);
		touched = days;
	}
	if (ntouched == 0)
		return;
	count = streak_find(&monitor->rule, &clinical_monitor_ops, &source, touched, ntouched, alerts, nalerts,
						&streaks, &from, &to);
	nactions = streak_match(streaks, count, alerts, nalerts, from, to, &actions);
	nactions = keep_allowed(evaluation, monitor, actions, nactions);
	if (nactions == 0)
		return;
	if (nactions > 1)
		defer_onsets();
	clinical_alerts_apply(evaluation->patient_id, evaluation->project_id, monitor, actions, nactions,
						  &evaluation->cause, &source);
	for (int i = 0; i < nactions; i++)
		note_action(evaluation, &actions[i]);
}

/* Does a live alert stand for days that are another version's, too, which is younger and not closed? */
static bool
takes_in(const ClinicalAlert *older, const ClinicalAlert *younger)
{
	return older->rule_id == younger->rule_id && older->version != younger->version && older->alert.supported &&
		younger->alert.supported && !younger->alert.closed && overlap(&older->alert.basis, &younger->alert.basis);
}

/*
 * Of alerts of several versions of a rule whose streaks have become one, the older
 * survives, as of those of one version: nobody is told twice.  The list is in the
 * order of age.
 */
void
clinical_evaluation_merge_versions(ClinicalEvaluation *evaluation)
{
	for (int i = 0; i < list_length(evaluation->alerts); i++)
	{
		ClinicalAlert *older = list_nth(evaluation->alerts, i);

		for (int j = list_length(evaluation->alerts) - 1; j > i; j--)
		{
			ClinicalAlert *younger = list_nth(evaluation->alerts, j);
			StreakAction action = {.verb = STREAK_MERGE, .alert = &younger->alert, .into = &older->alert};

			if (!takes_in(older, younger))
				continue;
			clinical_alerts_apply(evaluation->patient_id, evaluation->project_id,
								  clinical_monitor_version(younger->rule_id, younger->version), &action, 1,
								  &evaluation->cause, NULL);
			note_action(evaluation, &action);
		}
	}
}
