/*-------------------------------------------------------------------------
 *
 * clinical.c
 *		Wires the modules together when the library is loaded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "access.h"
#include "audit.h"
#include "compat.h"
#include "core.h"
#include "instrument.h"
#include "intake.h"
#include "monitor.h"
#include "observation.h"
#include "observe.h"
#include "patient.h"
#include "project.h"
#include "report.h"
#include "schedule.h"
#include "worker.h"

CLINICAL_MODULE_MAGIC;

/* What hangs on a value that is destroyed, in the module whose table it is of. */
static Datum
redact_related(const char *table_name, Datum row_key, Datum path)
{
	return strcmp(table_name, "observation") == 0 ? clinical_observation_redact(table_name, row_key, path) :
		clinical_patient_redact(table_name, row_key, path);
}

/* The only place that knows all modules. */
void
_PG_init(void)
{
	clinical_core_init();
	clinical_progress_init();
	clinical_observe_init(&clinical_max_databases);
#ifdef CLINICAL_FAULTS
	clinical_inject_init();
#endif
	clinical_log_init();
	clinical_log_applies = clinical_database_may_have_extension;
	clinical_event_init();
	clinical_access_init();
	clinical_audit_init();
	clinical_redact_related = redact_related;
	clinical_register_invariants(clinical_access_invariants, clinical_access_ninvariants);
	clinical_worker_init();
	clinical_register_invariants(clinical_project_invariants, clinical_project_ninvariants);
	clinical_register_invariants(clinical_patient_invariants, clinical_patient_ninvariants);
	clinical_instrument_cache_init();
	clinical_register_invariants(clinical_instrument_invariants, clinical_instrument_ninvariants);
	clinical_audit_comparison = &clinical_observation_comparison;
	clinical_register_invariants(clinical_observation_invariants, clinical_observation_ninvariants);
	clinical_intake_init();
	clinical_counter_init();
	/* after the intake, so that spans are there before what waits is counted less */
	clinical_trace_init();
	/* after the intake, so that reports do not wait for it */
	clinical_seal_init();
	clinical_register_invariants(clinical_intake_invariants, clinical_intake_ninvariants);
	clinical_monitor_cache_init();
	clinical_register_invariants(clinical_rule_invariants, clinical_rule_ninvariants);
	clinical_monitor_init();
	clinical_monitor_job_init();
	clinical_missing_init();
	clinical_escalate_init();
	clinical_register_invariants(clinical_monitor_invariants, clinical_monitor_ninvariants);
	clinical_report_slot_init();
	clinical_report_item_init();
	clinical_report_work_init();
	clinical_register_invariants(clinical_report_invariants, clinical_report_ninvariants);
	clinical_register_invariants(clinical_schedule_invariants, clinical_schedule_ninvariants);
	clinical_schedule_init();
#ifdef CLINICAL_FAULTS
	clinical_inject_job_init();
#endif

	/*
	 * after all settings, or it would throw away what the configuration says
	 * of them
	 */
	MarkGUCPrefixReserved("clinical");
}
