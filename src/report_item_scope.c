/*-------------------------------------------------------------------------
 *
 * report_item_scope.c
 *		Whose observations of when count, as the one piece of memory that the
 *		pass over all observations takes.
 *
 * Corrections and withdrawn reports are few.  They are found by small indexes
 * before, so that no row has to be compared with others.
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
#include "port/pg_bitutils.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "report_item.h"


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

/* Receives corrections, or withdrawn reports */
typedef struct Marks
{
	DestReceiver receiver;
	MemoryContext context;
	const TallyScope *scope;
	uint32		count;
	uint32		room;
	TallyMark  *marks;
	bool		too_many;
} Marks;

/*
 * The arguments of all queries: the scope as it was asked for, how rows are looked at ($7 and $8; NULL: they
 * are not), and what is the query's own ($9; TEXTOID: nothing).  $7 may be large, so it is not made part of the
 * plan as a constant, but handed to parallel workers as it is.
 */
ParamListInfo
clinical_item_params(const ClinicalReportScope *scope, const ItemScope *items, Oid type, Datum value)
{
	const Oid	types[] = {INT8OID, INT8ARRAYOID, DATEOID, DATEOID, TIMESTAMPTZOID, TEXTARRAYOID, BYTEAOID, BOOLOID, type};
	const Datum values[] = {
		Int64GetDatum(scope->project_id), scope->centers, DateADTGetDatum(scope->first_day), DateADTGetDatum(scope->end_day),
		TimestampTzGetDatum(scope->cut_off), scope->split, items == NULL ? 0 : PointerGetDatum(items->tally),
		BoolGetDatum(items != NULL && items->many), value
	};
	ParamListInfo params = makeParamList(lengthof(types));

	for (int i = 0; i < (int) lengthof(types); i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = types[i] == TEXTOID || (types[i] == BYTEAOID && items == NULL);
		params->params[i].pflags = types[i] == BYTEAOID ? 0 : PARAM_FLAG_CONST;
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
	uint32		group = clinical_tally_name(patients->labels, &patients->labels->units, 0, (char *) by, VARSIZE(by));

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

/* DestReceiver: a correction, or a report that was withdrawn; of a patient in the scope. */
static bool
receive_mark(TupleTableSlot *slot, DestReceiver *self)
{
	Marks	   *marks = (Marks *) self;
	TallyMark  *mark;
	text	   *patient_id;
	uint32		patient;

	slot_getallattrs(slot);
	patient_id = DatumGetTextPP(slot->tts_values[0]);
	patient = clinical_tally_find_patient(marks->scope, VARDATA_ANY(patient_id), (uint32) VARSIZE_ANY_EXHDR(patient_id));
	if (patient == 0)
		return true;
	if (marks->count >= tally_max_marks(marks->scope->memory))
	{
		marks->too_many = true;
		return false;
	}
	marks->marks = grow(marks->context, marks->marks, marks->count, &marks->room, 1024, sizeof(TallyMark));
	mark = &marks->marks[marks->count++];
	memcpy(mark->id, DatumGetUUIDP(slot->tts_values[1])->data, UUID_LEN);
	mark->patient = patient;
	mark->version = (uint32) DatumGetInt32(slot->tts_values[2]);
	return true;
}

/* Read the patients. */
static void
read_patients(const ClinicalReportScope *scope, Patients *patients)
{
	patients->labels = clinical_tally_make(patients->context, 0, 0);
	clinical_item_query("SELECT r.patient_id, r.\"by\", r.enrolled FROM clinical.report_item_patient($1, $2, $4, $5, $6) r",
						clinical_item_params(scope, NULL, TEXTOID, 0), &patients->receiver);
}

/* Read which observations of the period were corrected, by what was known by the cut-off. */
static void
read_corrected(const ClinicalReportScope *scope, Marks *corrected)
{
	clinical_item_query("SELECT n.patient_id, n.id, n.version FROM clinical.observation n"
						" WHERE n.version OPERATOR(pg_catalog.>) 1 AND n.recorded_at OPERATOR(pg_catalog.<=) $5"
						"   AND n.local_day OPERATOR(pg_catalog.>=) $3 AND n.local_day OPERATOR(pg_catalog.<) $4",
						clinical_item_params(scope, NULL, TEXTOID, 0), &corrected->receiver);
}

/* Read which reports were withdrawn. */
static void
read_withdrawn(const ClinicalReportScope *scope, Marks *withdrawn)
{
	clinical_item_query("SELECT s.patient_id, s.id, -1 FROM clinical.submission s"
						" WHERE s.project_id OPERATOR(pg_catalog.=) $1 AND s.status OPERATOR(pg_catalog.<>) 'accepted'",
						clinical_item_params(scope, NULL, TEXTOID, 0), &withdrawn->receiver);
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

/* The months and patients, in the current memory context; marks are added behind. */
static TallyScope *
write_scope(const ClinicalReportScope *scope, const Patients *patients)
{
	TallyScope	layout = {
		.magic = TALLY_MAGIC,.npatients = patients->count,.nslots = pg_nextpower2_32(Max(patients->count, 1) * 2),
		.first_day = scope->first_day,.end_day = scope->end_day,.cut_off = scope->cut_off,
		.memory = (Size) clinical_report_memory * 1024
	};
	Size		size = MAXALIGN(sizeof(TallyScope));
	TallyScope *written;

	layout.months = size;
	size += MAXALIGN(sizeof(uint32) * (Size) (scope->end_day - scope->first_day));
	layout.patients = size;
	size += MAXALIGN(sizeof(TallyPatient) * patients->count);
	layout.slots = size;
	size += MAXALIGN(sizeof(uint32) * layout.nslots);
	layout.bytes = size;
	size += MAXALIGN(patients->nbytes);
	written = palloc0(size);
	*written = layout;
	SET_VARSIZE(written, size);
	write_months(written);
	write_bytes(written, layout.patients, patients->patients, sizeof(TallyPatient) * patients->count);
	write_bytes(written, layout.bytes, patients->bytes, patients->nbytes);
	write_slots(written);
	return written;
}

/* Put a mark into the table; of two with the same id it is the later version. */
static void
write_mark(TallyScope *scope, TallyMarks *marks, const TallyMark *mark)
{
	uint64	   *bits = tally_at(scope, marks->bits, uint64);
	TallyMark  *slots = tally_at(scope, marks->slots, TallyMark);
	uint64		hash = tally_hash_mark(mark->id, mark->patient);
	uint32		bit = (uint32) (hash >> 32) & (marks->nslots * 16 - 1);
	uint32		slot = (uint32) hash & (marks->nslots - 1);

	bits[bit / 64] |= UINT64CONST(1) << bit % 64;
	while (slots[slot].patient != 0 &&
		   (slots[slot].patient != mark->patient || slots[slot].id[0] != mark->id[0] || slots[slot].id[1] != mark->id[1]))
		slot = (slot + 1) & (marks->nslots - 1);
	if (slots[slot].patient == 0 || slots[slot].version < mark->version)
		slots[slot] = *mark;
}

/* Add marks behind what is there. */
static TallyScope *
add_marks(TallyScope *scope, Size which, const Marks *marks)
{
	Size		size = VARSIZE(scope);
	uint32		nslots = pg_nextpower2_32(Max(marks->count, 8) * 2);
	Size		added = sizeof(uint64) * nslots / 4 + sizeof(TallyMark) * nslots;
	TallyMarks *written;

	scope = repalloc(scope, size + added);
	memset((char *) scope + size, 0, added);
	SET_VARSIZE(scope, size + added);
	written = tally_at(scope, which, TallyMarks);
	written->count = marks->count;
	written->nslots = nslots;
	written->bits = size;
	written->slots = size + sizeof(uint64) * nslots / 4;
	for (uint32 i = 0; i < marks->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		write_mark(scope, written, &marks->marks[i]);
	}
	return scope;
}

/* Whose observations of when count; in the current memory context. */
void
clinical_item_scope(const ClinicalReportScope *scope, ItemScope *result)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "clinical report scope", ALLOCSET_DEFAULT_SIZES);
	Patients	patients = {.receiver = {receive_patient, start_up, shut_down, shut_down, DestTuplestore},.context = context};
	Marks		corrected = {.receiver = {receive_mark, start_up, shut_down, shut_down, DestTuplestore},.context = context};
	Marks		withdrawn = corrected;
	ArrayType  *split = DatumGetArrayTypeP(scope->split);

	SPI_connect();
	read_patients(scope, &patients);
	MemoryContextSwitchTo(caller);
	order_groups(&patients, result);
	result->tally = write_scope(scope, &patients);
	corrected.scope = withdrawn.scope = result->tally;
	read_corrected(scope, &corrected);
	read_withdrawn(scope, &withdrawn);
	result->many = corrected.too_many || withdrawn.too_many;
	if (result->many)
		corrected.count = withdrawn.count = 0;
	result->tally = add_marks(result->tally, offsetof(TallyScope, corrected), &corrected);
	result->tally = add_marks(result->tally, offsetof(TallyScope, withdrawn), &withdrawn);
	result->whole_table = is_most(patients.count);
	result->is_split = ArrayGetNItems(ARR_NDIM(split), ARR_DIMS(split)) > 0;
	SPI_finish();
	MemoryContextDelete(context);
}
