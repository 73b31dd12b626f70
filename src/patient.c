/*-------------------------------------------------------------------------
 *
 * patient.c
 *		Patients: the functions that enter, read and change them.
 *
 * The rules of the rows are in patient_rule.c and patient_event.c, where they
 * hold for INSERT and COPY too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "patient.h"
#include "project.h"

PG_FUNCTION_INFO_V1(clinical_enroll_patient);
PG_FUNCTION_INFO_V1(clinical_get_patient);
PG_FUNCTION_INFO_V1(clinical_amend_record);
PG_FUNCTION_INFO_V1(clinical_set_patient_status);
PG_FUNCTION_INFO_V1(clinical_transfer_patient);
PG_FUNCTION_INFO_V1(clinical_set_patient_time_zone);
PG_FUNCTION_INFO_V1(clinical_time_zone_at);

/* What clinical.check() tests of patients */
const ClinicalInvariant clinical_patient_invariants[] = {
	{"patient follows its last event",
		"SELECT p.id, 'status or center differ from the last row of enrollment_event'"
		"  FROM clinical.patient p"
		"  LEFT JOIN (SELECT DISTINCT ON (e.patient_id) e.patient_id, e.status, e.center_id"
		"               FROM clinical.enrollment_event e ORDER BY e.patient_id, e.event_no DESC) l"
		"    ON l.patient_id OPERATOR(pg_catalog.=) p.id"
		" WHERE (p.status OPERATOR(pg_catalog.=) l.status"
	"        AND p.center_id OPERATOR(pg_catalog.=) l.center_id) IS NOT TRUE"},
	{"patient's status has its day",
		"SELECT p.id, 'status_on differs from the day of the event that brought the status'"
		"  FROM clinical.patient p"
		" WHERE (p.status_on OPERATOR(pg_catalog.=)"
		"       (SELECT e.effective_on FROM clinical.enrollment_event e"
		"         WHERE e.patient_id OPERATOR(pg_catalog.=) p.id AND e.status OPERATOR(pg_catalog.=) p.status"
	"         ORDER BY e.event_no LIMIT 1)) IS NOT TRUE"},
	{"patient's record is its last version",
		"SELECT p.id, 'record or record_version differ from the last row of record_version'"
		"  FROM clinical.patient p"
		"  LEFT JOIN (SELECT DISTINCT ON (v.patient_id) v.patient_id, v.version, v.record"
		"               FROM clinical.record_version v ORDER BY v.patient_id, v.version DESC) l"
		"    ON l.patient_id OPERATOR(pg_catalog.=) p.id"
		" WHERE (p.record_version OPERATOR(pg_catalog.=) l.version AND p.record::pg_catalog.text"
	"        OPERATOR(pg_catalog.=) l.record::pg_catalog.text) IS NOT TRUE"},
	{"patient's time zone is the newest",
		"SELECT p.id, 'time_zone differs from the newest row of patient_time_zone'"
		"  FROM clinical.patient p"
		"  LEFT JOIN (SELECT DISTINCT ON (z.patient_id) z.patient_id, z.time_zone"
		"               FROM clinical.patient_time_zone z"
		"              ORDER BY z.patient_id, z.effective_from DESC, z.event_no DESC) l"
		"    ON l.patient_id OPERATOR(pg_catalog.=) p.id"
		" WHERE NOT COALESCE(p.time_zone OPERATOR(pg_catalog.=) l.time_zone,"
	"                     p.time_zone IS NULL AND l.time_zone IS NULL)"},
	{"versions say what changed",
		"SELECT v.patient_id, 'changes of a version are not the difference from the one before'"
		"  FROM clinical.record_version v JOIN clinical.record_version b"
		"    ON b.patient_id OPERATOR(pg_catalog.=) v.patient_id AND b.version OPERATOR(pg_catalog.+) 1 OPERATOR(pg_catalog.=) v.version"
	" WHERE clinical.record_changes(b.record, v.record)::pg_catalog.text OPERATOR(pg_catalog.<>) v.changes::pg_catalog.text"},
	{"histories have no holes",
		"SELECT c.patient_id, pg_catalog.concat('numbers of its rows in ', c.history, ' do not count from 1')"
		"  FROM (SELECT e.patient_id, 'enrollment_event' AS history, pg_catalog.min(e.event_no) AS first,"
		"               pg_catalog.max(e.event_no) AS last,"
		"               pg_catalog.count(*) AS rows FROM clinical.enrollment_event e GROUP BY 1"
		"        UNION ALL"
		"        SELECT v.patient_id, 'record_version', pg_catalog.min(v.version), pg_catalog.max(v.version),"
		"               pg_catalog.count(*) FROM clinical.record_version v GROUP BY 1"
		"        UNION ALL"
		"        SELECT z.patient_id, 'patient_time_zone', pg_catalog.min(z.event_no), pg_catalog.max(z.event_no),"
		"               pg_catalog.count(*) FROM clinical.patient_time_zone z GROUP BY 1) c"
	" WHERE c.last OPERATOR(pg_catalog.<>) c.rows"},
};
const int	clinical_patient_ninvariants = lengthof(clinical_patient_invariants);

/* The answer for every id that the caller can see no patient with. */
void
clinical_patient_not_found(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("patient not found")));
}

/* The patient id in an argument. */
static Datum
patient_arg(FunctionCallInfo fcinfo, int argno)
{
	return PointerGetDatum(clinical_text_arg(fcinfo, argno, "patient id is required"));
}

/* The row of one patient. */
static Datum
patient_row(Datum id, bool read_only)
{
	static ClinicalPlan plan = {
		"SELECT (p.*)::clinical.patient FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	Datum		row;

	if (!clinical_fetch(&plan, &id, NULL, read_only, &row))
		clinical_patient_not_found();
	return row;
}

/* SQL: enter a patient. */
Datum
clinical_enroll_patient(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"INSERT INTO clinical.patient AS p (id, name, birth_date, project_id, center_id, record, sex,"
		"       time_zone, status, status_on, birth_year, race, ethnicity, age)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9,"
		"         COALESCE($10, (SELECT (pg_catalog.now() AT TIME ZONE c.time_zone)::pg_catalog.date"
		"                          FROM clinical.center c WHERE c.id OPERATOR(pg_catalog.=) $5)),"
		"         $11, $12, $13, $14)"
		" ON CONFLICT (id) DO NOTHING RETURNING (p.*)::clinical.patient",
		14, {TEXTOID, TEXTOID, DATEOID, INT8OID, INT8OID, JSONBOID, TEXTOID,
		TEXTOID, TEXTOID, DATEOID, INT4OID, TEXTOID, TEXTOID, INT4OID}
	};
	Datum		values[14];
	char		nulls[14];
	Datum		row;

	(void) patient_arg(fcinfo, 0);
	for (int i = 0; i < plan.nargs; i++)
	{
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
		values[i] = PG_ARGISNULL(i) ? (Datum) 0 : PG_GETARG_DATUM(i);
	}
	values[3] = Int64GetDatum(clinical_project_id(fcinfo, 3, false));
	clinical_require_arg(!PG_ARGISNULL(4), "center id is required");
	clinical_require_active_center(DatumGetInt64(values[3]), PG_GETARG_INT64(4), false);
	if (!clinical_fetch(&plan, values, nulls, false, &row))
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("patient already exists")));
	return row;
}

/* SQL: one patient, by the exact id. */
Datum
clinical_get_patient(PG_FUNCTION_ARGS)
{
	return patient_row(patient_arg(fcinfo, 0), true);
}

/* Lock a patient's row and give its record and version. */
static Jsonb *
lock_record(Datum id, Datum *version)
{
	static ClinicalPlan plan = {
		"SELECT p.record, p.record_version FROM clinical.patient p"
		" WHERE p.id OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
		1, {TEXTOID}
	};
	bool		isnull;
	Datum		record;

	SPI_connect();
	clinical_execute(&plan, &id, NULL, false);
	if (SPI_processed != 1)
		clinical_patient_not_found();
	record = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	record = SPI_datumTransfer(record, false, -1);
	*version = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull);
	SPI_finish();
	return DatumGetJsonbP(record);
}

/*
 * SQL: amend a record.  The row is locked before it is read, so that two
 * patches that meet are applied one after the other.
 */
Datum
clinical_amend_record(PG_FUNCTION_ARGS)
{
	static ClinicalPlan update = {
		"UPDATE clinical.patient AS p SET record = $2 WHERE p.id OPERATOR(pg_catalog.=) $1"
		" RETURNING p.record_version",
		2, {TEXTOID, JSONBOID}
	};
	Datum		values[2];
	Datum		version;
	Jsonb	   *patch;
	Jsonb	   *record;
	int			nest_level;

	values[0] = patient_arg(fcinfo, 0);
	clinical_require_arg(!PG_ARGISNULL(1), "patch is required");
	patch = PG_GETARG_JSONB_P(1);
	clinical_require_arg(JB_ROOT_IS_OBJECT(patch), "patch must be a JSON object");

	nest_level = clinical_reason_push(clinical_optional_arg(fcinfo, 2));
	clinical_require_reason();
	record = lock_record(values[0], &version);
	if (!PG_ARGISNULL(3) && PG_GETARG_INT32(3) != DatumGetInt32(version))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("record was changed meanwhile"),
				 errdetail("The version expected is %d, the current one %d.",
						   PG_GETARG_INT32(3), DatumGetInt32(version))));
	values[1] = JsonbPGetDatum(clinical_merge(record, patch));
	if (!clinical_fetch(&update, values, NULL, false, &version))
		clinical_patient_not_found();
	clinical_reason_pop(nest_level);
	return version;
}

/* Add an event (id, status, day, center) with the reason in force, and return the patient. */
static Datum
add_event(const Datum *values, const char *nulls)
{
	static ClinicalPlan plan = {
		"INSERT INTO clinical.enrollment_event (patient_id, status, effective_on, center_id)"
		" VALUES ($1, $2, $3, $4)",
		4, {TEXTOID, TEXTOID, DATEOID, INT8OID}
	};
	Datum		nothing;

	(void) clinical_fetch(&plan, unconstify(Datum *, values), nulls, false, &nothing);
	return patient_row(values[0], false);
}

/* SQL: another status from a day on. */
Datum
clinical_set_patient_status(PG_FUNCTION_ARGS)
{
	Datum		values[4] = {0};
	Datum		row;
	int			nest_level;

	values[0] = patient_arg(fcinfo, 0);
	values[1] = PointerGetDatum(clinical_text_arg(fcinfo, 1, "patient status is required"));
	clinical_require_arg(!PG_ARGISNULL(2), "day of the event is required");
	values[2] = PG_GETARG_DATUM(2);
	nest_level = clinical_reason_push(clinical_optional_arg(fcinfo, 3));
	row = add_event(values, "   n");
	clinical_reason_pop(nest_level);
	return row;
}

/* SQL: another center from a day on. */
Datum
clinical_transfer_patient(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"SELECT p.status FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) $1"
		" FOR NO KEY UPDATE",
		1, {TEXTOID}
	};
	Datum		values[4];
	Datum		row;
	int			nest_level;

	values[0] = patient_arg(fcinfo, 0);
	clinical_require_arg(!PG_ARGISNULL(1), "center id is required");
	clinical_require_arg(!PG_ARGISNULL(2), "day of the event is required");
	values[2] = PG_GETARG_DATUM(2);
	values[3] = PG_GETARG_DATUM(1);
	nest_level = clinical_reason_push(clinical_optional_arg(fcinfo, 3));
	clinical_require_reason();
	if (!clinical_fetch(&plan, values, NULL, false, &values[1]))
		clinical_patient_not_found();
	row = add_event(values, NULL);
	clinical_reason_pop(nest_level);
	return row;
}

/* SQL: another time zone from a moment on. */
Datum
clinical_set_patient_time_zone(PG_FUNCTION_ARGS)
{
	static ClinicalPlan plan = {
		"INSERT INTO clinical.patient_time_zone (patient_id, time_zone, effective_from)"
		" VALUES ($1, $2, $3)",
		3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		id = patient_arg(fcinfo, 0);
	Datum		nothing;

	(void) clinical_text_arg(fcinfo, 1, "time zone is required");
	clinical_require_arg(!PG_ARGISNULL(2), "effective_from is required");
	(void) clinical_fetch_args(&plan, fcinfo, false, &nothing);
	return patient_row(id, false);
}

/*
 * SQL: the time zone in force at a moment.  Who sees the patient is told also
 * where it was at a center that he does not see.
 */
Datum
clinical_time_zone_at(PG_FUNCTION_ARGS)
{
	static ClinicalPlan look = {
		"SELECT true FROM clinical.patient p WHERE p.id OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	ClinicalPatientLook zones = CLINICAL_PATIENT_LOOK;
	Datum		id = patient_arg(fcinfo, 0);
	ClinicalEvent *events;
	int			nevents;
	Datum		zone;

	clinical_require_arg(!PG_ARGISNULL(1), "moment is required");
	if (!clinical_fetch(&look, &id, NULL, true, &zone))
		clinical_patient_not_found();
	nevents = clinical_patient_events(&zones, id, &events);
	zone = clinical_patient_zone(&zones, id, events, nevents, DatumGetTimestampTz(PG_GETARG_DATUM(1)));
	clinical_patient_look_close(&zones);
	if (zone == 0)
		elog(ERROR, "patient has no time zone");
	return zone;
}
