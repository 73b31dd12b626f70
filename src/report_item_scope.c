/*-------------------------------------------------------------------------
 *
 * report_item_scope.c
 *		Whose observations of when count, as the one piece of memory that the
 *		pass over all observations takes.
 *
 * Corrections and withdrawn reports are few: the rows that do not hold for them
 * are found by small indexes before, and left out by where they lie.  That is no
 * longer than this snapshot: nobody moves a row that it sees as long as the table
 * is locked, as it is by then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/itemptr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/memutils.h"

#include "report_item.h"

/* If more rows do not hold, the query looks for them itself */
#define MAX_EXCLUDED (512 * 1024)

/* Receives patients */
typedef struct Patients
{
	DestReceiver receiver;
	MemoryContext context;
	uint32		count;
	uint32		room;
	TallyPatient *patients;
	Size		nbytes;
	Size		room_bytes;
	char	   *bytes;
	Tally	   *labels;			/* its units are the labels of groups, as they come */
	uint64	   *enrolled;		/* by them */
	uint32		enrolled_room;
} Patients;

/* Receives the rows that do not hold */
typedef struct Excluded
{
	DestReceiver receiver;
	MemoryContext context;
	uint32		count;
	uint32		room;
	uint64	   *rows;
	bool		too_many;
} Excluded;

/* The arguments of all queries about a scope. */
ParamListInfo
clinical_item_params(const ClinicalReportScope *scope, const TallyScope *tally)
{
	const Oid	types[] = {INT8OID, INT8ARRAYOID, DATEOID, DATEOID, TIMESTAMPTZOID, TEXTARRAYOID, BYTEAOID};
	const Datum values[] = {
		Int64GetDatum(scope->project_id), scope->centers, DateADTGetDatum(scope->first_day), DateADTGetDatum(scope->end_day),
		TimestampTzGetDatum(scope->cut_off), scope->split, PointerGetDatum(tally)
	};
	ParamListInfo params = makeParamList(lengthof(types));

	for (int i = 0; i < (int) lengthof(types); i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = values[i] == 0 && types[i] == BYTEAOID;
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = types[i];
	}
	return params;
}

/* Run a query inside SPI, in parallel where the server allows it; without a receiver the rows are SPI's. */
void
clinical_item_query(const char *sql, ParamListInfo params, DestReceiver *receiver)
{
	SPIExecuteOptions options = {.params = params,.read_only = true,.dest = receiver};
	int			result = SPI_execute_extended(sql, &options);

	if (result != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_extended failed: %s", SPI_result_code_string(result));
}

/* DestReceiver: nothing to begin. */
static void
start_up(DestReceiver *self, int operation, TupleDesc desc)
{
}

/* DestReceiver: nothing to end. */
static void
shut_down(DestReceiver *self)
{
}

/* Twice the memory, if it is all used. */
static void *
grow(MemoryContext context, void *memory, Size used, uint32 *room, uint32 first, Size width)
{
	if (memory != NULL && used < *room)
		return memory;
	*room = memory == NULL ? first : *room * 2;
	return memory == NULL ? MemoryContextAlloc(context, width * first) : repalloc_huge(memory, width * *room);
}

/* The group of a patient, by its labels as they came first. */
static uint32
group_of(Patients *patients, Jsonb *by, bool enrolled)
{
	uint32		known = patients->labels->units.count;
	uint32		group = tally_name(patients->labels, &patients->labels->units, 0, (char *) by, VARSIZE(by));

	patients->enrolled = grow(patients->context, patients->enrolled, group, &patients->enrolled_room, 64, sizeof(uint64));
	if (group == known)
		patients->enrolled[group] = 0;
	patients->enrolled[group] += enrolled;
	return group;
}

/* DestReceiver: a patient. */
static bool
receive_patient(TupleTableSlot *slot, DestReceiver *self)
{
	Patients   *patients = (Patients *) self;
	TallyPatient *patient;
	text	   *id;
	uint32		length;

	slot_getallattrs(slot);
	id = DatumGetTextPP(slot->tts_values[0]);
	length = (uint32) VARSIZE_ANY_EXHDR(id);
	patients->patients = grow(patients->context, patients->patients, patients->count, &patients->room, 1024, sizeof(TallyPatient));
	while (patients->room_bytes - patients->nbytes < length)
	{
		patients->room_bytes = patients->room_bytes == 0 ? 16384 : patients->room_bytes * 2;
		patients->bytes = patients->bytes == NULL ? MemoryContextAlloc(patients->context, patients->room_bytes) :
			repalloc_huge(patients->bytes, patients->room_bytes);
	}
	patient = &patients->patients[patients->count++];
	patient->offset = (uint32) patients->nbytes;
	patient->length = length;
	patient->hash = hash_bytes((unsigned char *) VARDATA_ANY(id), (int) length);
	patient->group = group_of(patients, DatumGetJsonbP(slot->tts_values[1]), DatumGetBool(slot->tts_values[2]));
	memcpy(patients->bytes + patients->nbytes, VARDATA_ANY(id), length);
	patients->nbytes += length;
	return true;
}

/* DestReceiver: a row that does not hold. */
static bool
receive_excluded(TupleTableSlot *slot, DestReceiver *self)
{
	Excluded   *excluded = (Excluded *) self;
	ItemPointer tid;

	if (excluded->count >= MAX_EXCLUDED)
	{
		excluded->too_many = true;
		return false;
	}
	slot_getallattrs(slot);
	tid = (ItemPointer) DatumGetPointer(slot->tts_values[0]);
	excluded->rows = grow(excluded->context, excluded->rows, excluded->count, &excluded->room, 1024, sizeof(uint64));
	excluded->rows[excluded->count++] = (uint64) ItemPointerGetBlockNumber(tid) << 16 | ItemPointerGetOffsetNumber(tid);
	return true;
}

/* Read the patients. */
static void
read_patients(const ClinicalReportScope *scope, Patients *patients)
{
	patients->labels = tally_make(patients->context, 0);
	clinical_item_query("SELECT p.patient_id, p.\"by\", EXISTS (SELECT FROM clinical.enrollment_event e"
						"         WHERE e.patient_id OPERATOR(pg_catalog.=) p.patient_id AND e.status OPERATOR(pg_catalog.=) 'enrolled'"
						"           AND e.effective_on OPERATOR(pg_catalog.<) $4 AND e.recorded_at OPERATOR(pg_catalog.<=) $5)"
						"  FROM clinical.report_patient($1, $2, $6) p",
						clinical_item_params(scope, NULL), &patients->receiver);
}

/* By where they lie. */
static int
by_place(const void *left, const void *right)
{
	uint64		a = *(const uint64 *) left;
	uint64		b = *(const uint64 *) right;

	CHECK_FOR_INTERRUPTS();
	return a < b ? -1 : a > b;
}

/*
 * Find the rows of the period that do not hold: a later version was known by the cut-off, or the
 * report was withdrawn.  What a report made has its captured_at.
 */
static void
read_excluded(const ClinicalReportScope *scope, Excluded *excluded)
{
	clinical_item_query("SELECT o.ctid FROM clinical.observation n"
						"  JOIN clinical.patient p ON p.id OPERATOR(pg_catalog.=) n.patient_id"
						"  JOIN clinical.observation o ON o.patient_id OPERATOR(pg_catalog.=) n.patient_id AND o.item OPERATOR(pg_catalog.=) n.item"
						"       AND o.captured_at OPERATOR(pg_catalog.=) n.captured_at AND o.id OPERATOR(pg_catalog.=) n.id"
						"       AND o.version OPERATOR(pg_catalog.<) n.version"
						" WHERE n.version OPERATOR(pg_catalog.>) 1 AND n.recorded_at OPERATOR(pg_catalog.<=) $5"
						"   AND p.project_id OPERATOR(pg_catalog.=) $1"
						"   AND o.local_day OPERATOR(pg_catalog.>=) $3 AND o.local_day OPERATOR(pg_catalog.<) $4"
						" UNION ALL "
						"SELECT o.ctid FROM clinical.submission s"
						"  JOIN clinical.observation o ON o.patient_id OPERATOR(pg_catalog.=) s.patient_id"
						"       AND o.captured_at OPERATOR(pg_catalog.=) s.captured_at AND o.submission_id OPERATOR(pg_catalog.=) s.id"
						" WHERE s.project_id OPERATOR(pg_catalog.=) $1 AND s.status OPERATOR(pg_catalog.<>) 'accepted'"
						"   AND o.local_day OPERATOR(pg_catalog.>=) $3 AND o.local_day OPERATOR(pg_catalog.<) $4",
						clinical_item_params(scope, NULL), &excluded->receiver);
	if (excluded->too_many)
		excluded->count = 0;
	qsort(excluded->rows, excluded->count, sizeof(uint64), by_place);
}

/* Do most patients that there are belong to it?  Then all observations are read in their order, without a join. */
static bool
is_most(uint32 npatients)
{
	clinical_item_query("SELECT c.reltuples FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) 'clinical.patient'::pg_catalog.regclass",
						NULL, NULL);
	return npatients >= 0.5 * (double) DatumGetFloat4(clinical_result(0, 1));
}

/* Groups, to be put into order */
typedef struct LabelledGroup
{
	uint32		number;			/* as they came */
	Jsonb	   *by;
} LabelledGroup;

/* By their labels. */
static int
by_labels(const void *left, const void *right)
{
	CHECK_FOR_INTERRUPTS();
	return compareJsonbContainers(&((const LabelledGroup *) left)->by->root, &((const LabelledGroup *) right)->by->root);
}

/* Number the groups by their labels. */
static void
order_groups(const Patients *patients, ItemScope *scope)
{
	const TallyNames *names = &patients->labels->units;
	LabelledGroup	   *groups = palloc_array(LabelledGroup, names->count);
	uint32	   *numbers = palloc_array(uint32, names->count);

	for (uint32 i = 0; i < names->count; i++)
	{
		groups[i].number = i;
		groups[i].by = palloc(names->names[i].length);
		memcpy(groups[i].by, names->bytes + names->names[i].offset, names->names[i].length);
	}
	qsort(groups, names->count, sizeof(LabelledGroup), by_labels);
	scope->ngroups = names->count;
	scope->groups = palloc_array(Jsonb *, names->count);
	scope->enrolled = palloc_array(uint64, names->count);
	for (uint32 i = 0; i < names->count; i++)
	{
		numbers[groups[i].number] = i;
		scope->groups[i] = groups[i].by;
		scope->enrolled[i] = patients->enrolled[groups[i].number];
	}
	for (uint32 i = 0; i < patients->count; i++)
		patients->patients[i].group = numbers[patients->patients[i].group];
}

/* The number of each day's month, as months since year 0. */
static void
write_months(TallyScope *scope)
{
	uint32	   *month_of = tally_at(scope, scope->months, uint32);

	for (DateADT day = scope->first_day; day < scope->end_day; day++)
	{
		int			year;
		int			month;
		int			day_of_month;

		j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &day_of_month);
		month_of[day - scope->first_day] = (uint32) (year * 12 + month - 1);
	}
}

/* Write the hash table of patients. */
static void
write_slots(TallyScope *scope)
{
	const TallyPatient *patients = tally_at(scope, scope->patients, const TallyPatient);
	uint32	   *slots = tally_at(scope, scope->slots, uint32);

	for (uint32 i = 0; i < scope->npatients; i++)
	{
		uint32		slot = patients[i].hash & (scope->nslots - 1);

		while (slots[slot] != 0)
			slot = (slot + 1) & (scope->nslots - 1);
		slots[slot] = i + 1;
	}
}

/* Copy memory, of which there may be none. */
static void
write_bytes(TallyScope *scope, Size at, const void *bytes, Size size)
{
	if (size > 0)
		memcpy(tally_at(scope, at, char), bytes, size);
}

/* Put it all into one piece. */
static TallyScope *
write_scope(const ClinicalReportScope *scope, const Patients *patients, const Excluded *excluded)
{
	TallyScope	layout = {
		.npatients = patients->count,.nslots = pg_nextpower2_32(Max(patients->count, 1) * 2),.nexcluded = excluded->count,
		.first_day = scope->first_day,.end_day = scope->end_day,.cut_off = scope->cut_off
	};
	Size		size = MAXALIGN(sizeof(TallyScope));
	TallyScope *written;

	layout.months = size;
	size += MAXALIGN(sizeof(uint32) * (Size) (scope->end_day - scope->first_day));
	layout.patients = size;
	size += MAXALIGN(sizeof(TallyPatient) * patients->count);
	layout.slots = size;
	size += MAXALIGN(sizeof(uint32) * layout.nslots);
	layout.excluded = size;
	size += MAXALIGN(sizeof(uint64) * excluded->count);
	layout.bytes = size;
	size += MAXALIGN(patients->nbytes);
	written = palloc0(size);
	*written = layout;
	SET_VARSIZE(written, size);
	write_months(written);
	write_bytes(written, layout.patients, patients->patients, sizeof(TallyPatient) * patients->count);
	write_bytes(written, layout.excluded, excluded->rows, sizeof(uint64) * excluded->count);
	write_bytes(written, layout.bytes, patients->bytes, patients->nbytes);
	write_slots(written);
	return written;
}

/* Whose observations of when count; in the current memory context. */
void
clinical_item_scope(const ClinicalReportScope *scope, ItemScope *result)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "clinical report scope", ALLOCSET_DEFAULT_SIZES);
	Patients	patients = {.receiver = {receive_patient, start_up, shut_down, shut_down, DestTuplestore},.context = context};
	Excluded	excluded = {.receiver = {receive_excluded, start_up, shut_down, shut_down, DestTuplestore},.context = context};

	SPI_connect();
	read_patients(scope, &patients);
	read_excluded(scope, &excluded);
	result->whole_table = is_most(patients.count);
	SPI_finish();
	result->anti_join = excluded.too_many;
	result->is_split = ArrayGetNItems(ARR_NDIM(DatumGetArrayTypeP(scope->split)), ARR_DIMS(DatumGetArrayTypeP(scope->split))) > 0;
	order_groups(&patients, result);
	result->tally = write_scope(scope, &patients, &excluded);
	MemoryContextDelete(context);
}
