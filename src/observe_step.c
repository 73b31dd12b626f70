/*-------------------------------------------------------------------------
 *
 * observe_step.c
 *		The steps of a patient's report, and of a project report, as spans.
 *
 *	the client's span
 *		submit			from the call to its commit
 *			wait		from there on until its batch is processed
 *			process		the batch, to its commit
 *				alert	one that is opened or raised
 *		report			from the call to its end, or to that of its job
 *			wait		of a job, until it is claimed
 *			...			the phases
 *
 * Who processes a report has nothing of its submission but what is stored with it,
 * so the ids of spans are not random, but follow from that.  Nothing of the patient
 * goes into a span.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "observe.h"

/* So many phases of a project report are kept; there are fewer */
#define MAX_PHASES 64

/* The batch that is being processed */
static TimestampTz batch_began_at = 0;
static int	batch_count = 0;

/* The project report that is being made, if spans of it are kept */
static struct
{
	bool		active;
	int			level;			/* of the subtransaction that it began in */
	ClinicalTrace trace;
	int64		project_id;
	pg_uuid_t	id;				/* of the job; 0: there is none */
	int			attempt;
	TimestampTz asked_at;
	TimestampTz began_at;
	int			nphases;
	struct
	{
		const char *name;
		TimestampTz began_at;
	}			phases[MAX_PHASES];
}			report;

/* What the id of a span follows from */
typedef struct Origin
{
	ClinicalTrace trace;
	pg_uuid_t	about;
	int64		moment;
	int32		kind;
	int32		number;
} Origin;

/* Set an id. */
static void
set_id(uint8 *id, const ClinicalTrace *trace, const pg_uuid_t *about, ClinicalSpanKind kind, int64 moment, int number)
{
	Origin		origin;
	uint64		hash;

	memset(&origin, 0, sizeof(origin));
	origin.trace = *trace;
	origin.about = *about;
	origin.moment = moment;
	origin.kind = kind;
	origin.number = number;
	hash = hash_bytes_extended((const unsigned char *) &origin, sizeof(origin), 0);
	/* none is zero */
	hash = Max(hash, 1);
	memcpy(id, &hash, sizeof(hash));
}

/* Set a text; what is too long is cut off. */
static void
set_text(char *field, int size, const char *value)
{
	int			length;

	if (value == NULL)
		return;
	length = pg_mbcliplen(value, (int) strlen(value), size - 1);
	memcpy(field, value, length);
	field[length] = '\0';
}

/* Begin a span of a trace. */
static void
begin_span(ClinicalSpan *span, ClinicalSpanKind kind, const ClinicalTrace *trace, const pg_uuid_t *about,
		   TimestampTz began_at, TimestampTz ended_at)
{
	memset(span, 0, sizeof(*span));
	span->kind = kind;
	memcpy(span->trace_id, trace->trace_id, sizeof(span->trace_id));
	span->about = *about;
	span->began_at = began_at;
	/* the clock may have been set back */
	span->ended_at = ended_at == 0 ? 0 : Max(began_at, ended_at);
}

/* A report was submitted, and answered (submission_id NULL: it has none); received_at: as it is stored, if it is. */
void
clinical_step_submitted(const text *trace_parent, const pg_uuid_t *submission_id, const char *outcome, TimestampTz began_at,
						TimestampTz received_at)
{
	static const pg_uuid_t none = {{0}};
	const pg_uuid_t *about = submission_id == NULL ? &none : submission_id;
	ClinicalTrace trace;
	ClinicalSpan span;

	if (!clinical_trace_read(trace_parent, &trace))
		return;
	begin_span(&span, CLINICAL_SPAN_SUBMIT, &trace, about, began_at, 0);
	set_id(span.id, &trace, about, CLINICAL_SPAN_SUBMIT, received_at != 0 ? received_at : began_at, 0);
	memcpy(span.parent_id, trace.parent_id, sizeof(span.parent_id));
	set_text(span.outcome, sizeof(span.outcome), outcome);
	clinical_span_at_commit(&span);
}

/* A batch of so many reports is processed from now on. */
void
clinical_step_batch(int count)
{
	batch_began_at = GetCurrentTimestamp();
	batch_count = count;
}

/*
 * The id of the span of what becomes of a report.  An alert knows less of its report,
 * which was accepted; of those that were not there may be several of one id in a batch.
 */
static void
set_process_id(uint8 *id, const ClinicalTrace *trace, const pg_uuid_t *submission_id, TimestampTz received_at, bool accepted)
{
	set_id(id, trace, submission_id, CLINICAL_SPAN_PROCESS, accepted ? batch_began_at : batch_began_at ^ received_at, accepted);
}

/* A report of the batch was processed. */
void
clinical_step_processed(const text *trace_parent, const pg_uuid_t *submission_id, int64 project_id, TimestampTz received_at,
						const char *outcome, const char *reason)
{
	ClinicalTrace trace;
	ClinicalSpan span;
	uint8		submit[sizeof(span.id)];

	if (!clinical_trace_read(trace_parent, &trace))
		return;
	set_id(submit, &trace, submission_id, CLINICAL_SPAN_SUBMIT, received_at, 0);

	begin_span(&span, CLINICAL_SPAN_WAIT, &trace, submission_id, received_at, batch_began_at);
	set_id(span.id, &trace, submission_id, CLINICAL_SPAN_WAIT, batch_began_at ^ received_at, 0);
	memcpy(span.parent_id, submit, sizeof(submit));
	clinical_span_at_commit(&span);

	begin_span(&span, CLINICAL_SPAN_PROCESS, &trace, submission_id, batch_began_at, 0);
	set_process_id(span.id, &trace, submission_id, received_at, strcmp(outcome, "accepted") == 0);
	memcpy(span.parent_id, submit, sizeof(submit));
	span.number = batch_count;
	span.project_id = project_id;
	set_text(span.outcome, sizeof(span.outcome), outcome);
	set_text(span.code, sizeof(span.code), reason);
	clinical_span_at_commit(&span);
}

/* A report of the batch, which was accepted, has an alert opened, or raised. */
void
clinical_step_alert(const text *trace_parent, const pg_uuid_t *submission_id, int64 project_id, const pg_uuid_t *alert_id,
					const char *event, const char *rule, const char *severity, TimestampTz began_at)
{
	ClinicalTrace trace;
	ClinicalSpan span;

	if (!clinical_trace_read(trace_parent, &trace))
		return;
	begin_span(&span, CLINICAL_SPAN_ALERT, &trace, submission_id, began_at, GetCurrentTimestamp());
	set_id(span.id, &trace, alert_id, CLINICAL_SPAN_ALERT, began_at, 0);
	set_process_id(span.parent_id, &trace, submission_id, 0, true);
	span.alert_id = *alert_id;
	span.project_id = project_id;
	set_text(span.outcome, sizeof(span.outcome), event);
	set_text(span.code, sizeof(span.code), rule);
	set_text(span.severity, sizeof(span.severity), severity);
	clinical_span_at_commit(&span);
}

/* A project report begins to be made: of a job, or (report_id NULL) in a session. */
void
clinical_step_report_begins(const text *trace_parent, int64 project_id, const pg_uuid_t *report_id, int attempt,
							TimestampTz asked_at)
{
	report.active = clinical_trace_read(trace_parent, &report.trace);
	if (!report.active)
		return;
	report.level = GetCurrentTransactionNestLevel();
	report.project_id = project_id;
	memset(&report.id, 0, sizeof(report.id));
	if (report_id != NULL)
		report.id = *report_id;
	report.attempt = attempt;
	report.began_at = GetCurrentTimestamp();
	report.asked_at = report_id == NULL ? report.began_at : asked_at;
	report.nphases = 0;
}

/* It comes to its next phase, whose name is static. */
void
clinical_step_report_phase(const char *phase)
{
	if (!report.active || report.nphases == MAX_PHASES)
		return;
	report.phases[report.nphases].name = phase;
	report.phases[report.nphases++].began_at = GetCurrentTimestamp();
}

/* Keep a span of the report that is part of it. */
static void
keep_part(void (*keep) (const ClinicalSpan *span), const uint8 *parent_id, ClinicalSpanKind kind, int number,
		  const char *name, TimestampTz began_at, TimestampTz ended_at)
{
	ClinicalSpan span;

	begin_span(&span, kind, &report.trace, &report.id, began_at, ended_at);
	set_id(span.id, &report.trace, &report.id, kind, report.began_at, number);
	memcpy(span.parent_id, parent_id, sizeof(span.parent_id));
	set_text(span.code, sizeof(span.code), name);
	keep(&span);
}

/* It ends: 0, or the SQLSTATE of why it was not made; -1: the session ends. */
void
clinical_step_report_ends(int sqlerrcode)
{
	void		(*keep) (const ClinicalSpan *span) = sqlerrcode == 0 ? clinical_span_at_commit : clinical_span_now;
	TimestampTz now = GetCurrentTimestamp();
	ClinicalSpan span;

	if (!report.active)
		return;
	report.active = false;
	begin_span(&span, CLINICAL_SPAN_REPORT, &report.trace, &report.id, report.asked_at, now);
	set_id(span.id, &report.trace, &report.id, CLINICAL_SPAN_REPORT, report.began_at, 0);
	memcpy(span.parent_id, report.trace.parent_id, sizeof(span.parent_id));
	span.project_id = report.project_id;
	span.number = report.attempt;
	span.failed = sqlerrcode != 0;
	set_text(span.outcome, sizeof(span.outcome),
			 sqlerrcode == 0 ? "done" : sqlerrcode == ERRCODE_QUERY_CANCELED ? "cancelled" : sqlerrcode == -1 ? "ended" : "failed");
	if (sqlerrcode > 0)
		set_text(span.code, sizeof(span.code), unpack_sql_state(sqlerrcode));
	keep(&span);
	if (report.attempt > 0)
		keep_part(keep, span.id, CLINICAL_SPAN_REPORT_WAIT, 0, NULL, report.asked_at, report.began_at);
	for (int i = 0; i < report.nphases; i++)
		keep_part(keep, span.id, CLINICAL_SPAN_REPORT_PHASE, i, report.phases[i].name, report.phases[i].began_at,
				  i + 1 < report.nphases ? report.phases[i + 1].began_at : now);
}

/* Callback: the transaction ends.  A report that nobody has ended then ends with its session. */
static void
transaction_ends(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		clinical_step_report_ends(-1);
}

/* Callback: the same for a subtransaction. */
static void
subtransaction_ends(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && report.active && report.level >= GetCurrentTransactionNestLevel())
		clinical_step_report_ends(-1);
}

/* Listen to the ends of transactions. */
void
clinical_step_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	RegisterXactCallback(transaction_ends, NULL);
	RegisterSubXactCallback(subtransaction_ends, NULL);
}
