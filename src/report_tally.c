/*-------------------------------------------------------------------------
 *
 * report_tally.c
 *		One pass over all observations: what it looks at in each row.
 *
 * Each process of a parallel scan has a tally of its own (the state of the
 * aggregate report_tally).  It is made for rows as they lie in the table: those
 * of a report follow each other, in the order of the form, and days follow days.
 * So most of what a row needs was found for the row before, or for the last row
 * of its item, and no function of the server is called for its columns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "report.h"
#include "report_tally.h"

PG_FUNCTION_INFO_V1(clinical_report_tally_add);
PG_FUNCTION_INFO_V1(clinical_report_tally_group);

/* The arguments of the aggregate */
enum
{
	ARG_STATE, ARG_SCOPE, ARG_PATIENT_ID, ARG_ITEM, ARG_ID, ARG_VERSION, ARG_SUBMISSION_ID, ARG_LOCAL_DAY, ARG_VALUE, ARG_VALUE_CODE,
	ARG_UNIT, ARG_ABSENT, ARG_FLAGGED, ARG_RECORDED_AT
};

/* So many rows are told to progress at once */
#define ROWS_TOLD 1024

/* Give a table of slots that is half full at most room for the next one; where it puts numbers is the caller's. */
static uint32 *
make_slots(MemoryContext context, uint32 *slots, uint32 nslots)
{
	if (slots != NULL)
		pfree(slots);
	return MemoryContextAllocZero(context, sizeof(uint32) * nslots);
}

/* Put all names into a table of twice the slots. */
static void
grow_names(Tally *tally, TallyNames *names)
{
	names->nslots = names->nslots == 0 ? 64 : names->nslots * 2;
	names->slots = make_slots(tally->context, names->slots, names->nslots);
	for (uint32 i = 0; i < names->count; i++)
	{
		uint32		slot = names->names[i].hash & (names->nslots - 1);

		while (names->slots[slot] != 0)
			slot = (slot + 1) & (names->nslots - 1);
		names->slots[slot] = i + 1;
	}
}

/* Add a name behind the others. */
static uint32
add_name(Tally *tally, TallyNames *names, uint32 owner, const char *bytes, uint32 length, uint32 hash)
{
	TallyName  *name;

	if (names->count >= TALLY_MAX_NAMES || length > TALLY_MAX_BYTES - names->nbytes)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("report has too many items or codes")));
	if (names->count == names->room)
	{
		names->room = names->room == 0 ? 32 : names->room * 2;
		names->names = names->names == NULL ? MemoryContextAlloc(tally->context, sizeof(TallyName) * names->room) :
			repalloc(names->names, sizeof(TallyName) * names->room);
	}
	while (names->bytes_room - names->nbytes < length || names->bytes == NULL)
	{
		names->bytes_room = names->bytes_room == 0 ? 1024 : names->bytes_room * 2;
		names->bytes = names->bytes == NULL ? MemoryContextAlloc(tally->context, names->bytes_room) :
			repalloc(names->bytes, names->bytes_room);
	}
	name = &names->names[names->count];
	name->offset = names->nbytes;
	name->length = length;
	name->owner = owner;
	name->hash = hash;
	memcpy(names->bytes + names->nbytes, bytes, length);
	names->nbytes += length;
	return names->count++;
}

/* Is it that name? */
static inline bool
name_is(const TallyNames *names, uint32 number, uint32 owner, const char *bytes, uint32 length)
{
	const TallyName *name = &names->names[number];

	return name->length == length && name->owner == owner && memcmp(names->bytes + name->offset, bytes, length) == 0;
}

/* The number of a name, which is added if it is new. */
uint32
clinical_tally_name(Tally *tally, TallyNames *names, uint32 owner, const char *bytes, uint32 length)
{
	uint32		hash = hash_combine(hash_bytes((const unsigned char *) bytes, (int) length), owner);
	uint32		slot;

	if (names->count >= names->nslots / 2)
		grow_names(tally, names);
	slot = hash & (names->nslots - 1);
	while (names->slots[slot] != 0)
	{
		uint32		number = names->slots[slot] - 1;

		if (names->names[number].hash == hash && name_is(names, number, owner, bytes, length))
			return number;
		slot = (slot + 1) & (names->nslots - 1);
	}
	names->slots[slot] = names->count + 1;
	return add_name(tally, names, owner, bytes, length, hash);
}

/* The number of an item. */
uint32
clinical_tally_item(Tally *tally, const char *bytes, uint32 length)
{
	uint32		item = clinical_tally_name(tally, &tally->items, 0, bytes, length);

	if (item >= tally->items_room)
	{
		uint32		room = Max(32, tally->items_room * 2);

		tally->item_states = tally->item_states == NULL ? MemoryContextAlloc(tally->context, sizeof(TallyItem) * room) :
			repalloc(tally->item_states, sizeof(TallyItem) * room);
		memset(tally->item_states + tally->items_room, 0, sizeof(TallyItem) * (room - tally->items_room));
		tally->items_room = room;
	}
	return item;
}

/* The number of an item, most likely the one that came after the last item before. */
static inline uint32
next_item(Tally *tally, const char *bytes, uint32 length)
{
	uint32		item;

	if (tally->items.count > 0)
	{
		item = tally->item_states[tally->last_item].next;
		if (name_is(&tally->items, item, 0, bytes, length))
			return tally->last_item = item;
	}
	item = clinical_tally_item(tally, bytes, length);
	tally->item_states[tally->last_item].next = item;
	return tally->last_item = item;
}

/* The number of a code of an item. */
uint32
clinical_tally_code(Tally *tally, uint32 item, const char *bytes, uint32 length)
{
	uint32		code = clinical_tally_name(tally, &tally->codes, item, bytes, length);

	if (code >= tally->sets_room)
	{
		uint32		room = Max(64, tally->sets_room * 2);

		tally->sets = tally->sets == NULL ? MemoryContextAlloc(tally->context, sizeof(TallySet) * room) :
			repalloc(tally->sets, sizeof(TallySet) * room);
		memset(tally->sets + tally->sets_room, 0, sizeof(TallySet) * (room - tally->sets_room));
		tally->sets_room = room;
	}
	return code;
}

/* The hash of a cell. */
static inline uint32
hash_cell(const TallyCell *cell)
{
	return hash_combine(hash_combine(murmurhash32(cell->group), murmurhash32(cell->item)),
						hash_combine(murmurhash32(cell->unit), murmurhash32(cell->month)));
}

/* Put all cells into a table of twice the slots. */
static void
grow_cells(Tally *tally)
{
	tally->ncell_slots = tally->ncell_slots == 0 ? 256 : tally->ncell_slots * 2;
	tally->cell_slots = make_slots(tally->context, tally->cell_slots, tally->ncell_slots);
	tally->cells_room = tally->ncell_slots / 2;
	tally->cells = tally->cells == NULL ? MemoryContextAlloc(tally->context, sizeof(TallyCell) * tally->cells_room) :
		repalloc(tally->cells, sizeof(TallyCell) * tally->cells_room);
	for (uint32 i = 0; i < tally->ncells; i++)
	{
		uint32		slot = hash_cell(&tally->cells[i]) & (tally->ncell_slots - 1);

		while (tally->cell_slots[slot] != 0)
			slot = (slot + 1) & (tally->ncell_slots - 1);
		tally->cell_slots[slot] = i + 1;
	}
}

/* Are they of the same cell? */
static inline bool
same_cell(const TallyCell *a, const TallyCell *b)
{
	return a->group == b->group && a->item == b->item && a->unit == b->unit && a->month == b->month;
}

/* The cell, which is added if it is new. */
TallyCell *
clinical_tally_cell(Tally *tally, uint32 group, uint32 item, uint32 unit, uint32 month)
{
	TallyCell	wanted = {.group = group,.item = item,.unit = unit,.month = month};
	uint32		slot;

	if (tally->ncells >= tally->cells_room)
	{
		if (tally->ncells >= TALLY_MAX_CELLS)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("report has too many figures"),
					 errhint("Ask for a shorter period, or split it by a key with fewer values.")));
		grow_cells(tally);
	}
	slot = hash_cell(&wanted) & (tally->ncell_slots - 1);
	for (; tally->cell_slots[slot] != 0; slot = (slot + 1) & (tally->ncell_slots - 1))
	{
		TallyCell  *cell = &tally->cells[tally->cell_slots[slot] - 1];

		if (same_cell(cell, &wanted))
			return cell;
	}
	tally->cells[tally->ncells] = wanted;
	tally->cell_slots[slot] = tally->ncells + 1;
	return &tally->cells[tally->ncells++];
}

/* An empty tally; of a scope, or for what others have counted. */
Tally *
clinical_tally_make(MemoryContext context, uint32 npatients, Size memory)
{
	Tally	   *tally = MemoryContextAllocZero(context, sizeof(Tally));

	tally->context = context;
	tally->npatients = npatients;
	tally->memory = memory;
	return tally;
}

/* Somebody calls what is for reports alone. */
CLINICAL_NORETURN static void
not_of_report(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("report_tally is called by reports alone")));
}

/* Is it a row of observation, with all that is never null there? */
static inline bool
is_row(FunctionCallInfo fcinfo)
{
	return !(PG_ARGISNULL(ARG_PATIENT_ID) || PG_ARGISNULL(ARG_ITEM) || PG_ARGISNULL(ARG_ID) || PG_ARGISNULL(ARG_VERSION) ||
			 PG_ARGISNULL(ARG_SUBMISSION_ID) || PG_ARGISNULL(ARG_LOCAL_DAY) || PG_ARGISNULL(ARG_FLAGGED) || PG_ARGISNULL(ARG_RECORDED_AT));
}

/* Begin with a scope, in a memory context. */
static Tally *
begin(Datum argument, MemoryContext context)
{
	const TallyScope *scope = (const TallyScope *) DatumGetPointer(argument);
	Tally	   *tally;

	if (!VARATT_IS_4B_U(scope) || VARSIZE(scope) < sizeof(TallyScope) || scope->magic != TALLY_MAGIC)
		not_of_report();
	tally = clinical_tally_make(context, scope->npatients, scope->memory);
	tally->scope = scope;
	return tally;
}

/* The state of the aggregate, which begins with the first row. */
static inline Tally *
state_of(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!PG_ARGISNULL(ARG_STATE))
		return (Tally *) PG_GETARG_POINTER(ARG_STATE);
	if (!AggCheckCallContext(fcinfo, &context) || PG_ARGISNULL(ARG_SCOPE))
		not_of_report();
	return begin(PG_GETARG_DATUM(ARG_SCOPE), context);
}

/* The last version of what was corrected, PG_UINT32_MAX of what was withdrawn; 0: it is not among the marks. */
static uint32
find_mark(const TallyScope *scope, const TallyMarks *marks, const uint64 *id, uint32 patient)
{
	const uint64 *bits = tally_at(scope, marks->bits, const uint64);
	const TallyMark *slots = tally_at(scope, marks->slots, const TallyMark);
	uint64		hash = tally_hash_mark(id, patient);
	uint32		bit = (uint32) (hash >> 32) & (marks->nslots * 16 - 1);
	uint32		slot = (uint32) hash & (marks->nslots - 1);

	if ((bits[bit / 64] >> bit % 64 & 1) == 0)
		return 0;
	for (; slots[slot].patient != 0; slot = (slot + 1) & (marks->nslots - 1))
	{
		if (slots[slot].patient == patient && slots[slot].id[0] == id[0] && slots[slot].id[1] == id[1])
			return slots[slot].version;
	}
	return 0;
}

/* The patient's number + 1; 0: not in the scope. */
uint32
clinical_tally_find_patient(const TallyScope *scope, const char *id, uint32 length)
{
	const uint32 *slots = tally_at(scope, scope->slots, const uint32);
	const TallyPatient *patients = tally_at(scope, scope->patients, const TallyPatient);
	uint32		hash = hash_bytes((const unsigned char *) id, (int) length);
	uint32		slot = hash & (scope->nslots - 1);

	for (; slots[slot] != 0; slot = (slot + 1) & (scope->nslots - 1))
	{
		const TallyPatient *patient = &patients[slots[slot] - 1];

		if (patient->hash == hash && patient->length == length &&
			memcmp(tally_at(scope, scope->bytes + patient->offset, char), id, length) == 0)
			return slots[slot];
	}
	return 0;
}

/* Whose row it is: most likely the same patient's as before. */
static inline bool
in_scope(Tally *tally, const text *id)
{
	const char *bytes = VARDATA_ANY(id);
	uint32		length = (uint32) VARSIZE_ANY_EXHDR(id);

	if (tally->patient_id_length != length || length == 0 || memcmp(tally->patient_id, bytes, length) != 0)
	{
		tally->patient = clinical_tally_find_patient(tally->scope, bytes, length);
		tally->patient_id_length = length <= sizeof(tally->patient_id) ? length : 0;
		memcpy(tally->patient_id, bytes, tally->patient_id_length);
	}
	return tally->patient != 0;
}

/* What tells whether a row counts */
typedef struct RowKey
{
	const text *patient_id;
	const void *id;				/* UUIDs, not aligned */
	const void *submission_id;
	int32		version;
	DateADT		day;
	TimestampTz recorded_at;
} RowKey;

/* Does the row hold: is its report not withdrawn, which is most likely that of the row before, and is there no later version? */
static inline bool
holds(Tally *tally, const RowKey *row)
{
	uint64		id[2];

	memcpy(id, row->submission_id, sizeof(id));
	if (id[0] != tally->submission[0] || id[1] != tally->submission[1] || tally->submission_patient != tally->patient)
	{
		tally->is_withdrawn = find_mark(tally->scope, &tally->scope->withdrawn, id, tally->patient) != 0;
		memcpy(tally->submission, id, sizeof(id));
		tally->submission_patient = tally->patient;
	}
	if (tally->is_withdrawn)
		return false;
	memcpy(id, row->id, sizeof(id));
	return find_mark(tally->scope, &tally->scope->corrected, id, tally->patient) <= (uint32) row->version;
}

/* Does the row count? */
static inline bool
counts(Tally *tally, const RowKey *row)
{
	return row->day >= tally->scope->first_day && row->day < tally->scope->end_day && row->recorded_at <= tally->scope->cut_off &&
		in_scope(tally, row->patient_id) && holds(tally, row);
}

/* The group of the patient of the last row. */
static inline uint32
group_of(const Tally *tally)
{
	return tally_at(tally->scope, tally->scope->patients, const TallyPatient)[tally->patient - 1].group;
}

/* The number of the row's unit + 1; 0: none. */
static inline uint32
unit_of(Tally *tally, FunctionCallInfo fcinfo)
{
	const text *unit;
	uint32		length;

	if (PG_ARGISNULL(ARG_UNIT))
		return 0;
	unit = PG_GETARG_TEXT_PP(ARG_UNIT);
	length = (uint32) VARSIZE_ANY_EXHDR(unit);
	return 1 + clinical_tally_name(tally, &tally->units, 0, VARDATA_ANY(unit), length);
}

/* The cell of a row: most likely that of the last row of the item. */
static TallyCell *
cell_of(Tally *tally, uint32 item, uint32 group, FunctionCallInfo fcinfo)
{
	const uint32 *months = tally_at(tally->scope, tally->scope->months, const uint32);
	TallyItem  *state = &tally->item_states[item];
	TallyCell	wanted = {.group = group,.item = item};
	TallyCell  *cell;

	wanted.unit = unit_of(tally, fcinfo);
	wanted.month = months[PG_GETARG_DATEADT(ARG_LOCAL_DAY) - tally->scope->first_day];
	if (state->last_cell != 0 && same_cell(&tally->cells[state->last_cell - 1], &wanted))
		return &tally->cells[state->last_cell - 1];
	cell = clinical_tally_cell(tally, wanted.group, item, wanted.unit, wanted.month);
	state->last_cell = (uint32) (cell - tally->cells) + 1;
	return cell;
}

/* Count the code of a row. */
static void
add_code(Tally *tally, uint32 item, uint32 group, const text *code)
{
	TallyItem  *state = &tally->item_states[item];
	const char *bytes = VARDATA_ANY(code);
	uint32		length = (uint32) VARSIZE_ANY_EXHDR(code);

	if (state->last_code == 0 || !name_is(&tally->codes, state->last_code - 1, item, bytes, length))
		state->last_code = clinical_tally_code(tally, item, bytes, length) + 1;
	clinical_tally_code_count(tally, state->last_code - 1, group, 1);
	clinical_tally_set_add(tally, state->last_code - 1, tally->patient - 1);
}

/* Count a row. */
static void
add_row(Tally *tally, FunctionCallInfo fcinfo)
{
	const text *name = PG_GETARG_TEXT_PP(ARG_ITEM);
	uint32		length = (uint32) VARSIZE_ANY_EXHDR(name);
	uint32		item = next_item(tally, VARDATA_ANY(name), length);
	uint32		group = group_of(tally);
	TallyCell  *cell = cell_of(tally, item, group, fcinfo);

	cell->rows++;
	cell->flagged += PG_GETARG_BOOL(ARG_FLAGGED);
	cell->corrected += PG_GETARG_INT32(ARG_VERSION) > 1;
	if (!PG_ARGISNULL(ARG_ABSENT))
		return;
	if (!PG_ARGISNULL(ARG_VALUE))
	{
		const struct varlena *value = PG_GETARG_VARLENA_PP(ARG_VALUE);
		uint32		size = (uint32) VARSIZE_ANY_EXHDR(value);

		cell->numbers++;
		clinical_tally_value(tally, item, (uint32) (cell - tally->cells), VARDATA_ANY(value), size, 1);
	}
	if (!PG_ARGISNULL(ARG_VALUE_CODE))
		add_code(tally, item, group, PG_GETARG_TEXT_PP(ARG_VALUE_CODE));
}

/* SQL: a row of observation. */
Datum
clinical_report_tally_add(PG_FUNCTION_ARGS)
{
	Tally	   *tally = state_of(fcinfo);
	RowKey		row;

	if (++tally->rows - tally->told >= ROWS_TOLD)
	{
		CHECK_FOR_INTERRUPTS();
		clinical_report_count(tally->rows - tally->told);
		tally->told = tally->rows;
	}
	if (!is_row(fcinfo))
		not_of_report();
	row.patient_id = PG_GETARG_TEXT_PP(ARG_PATIENT_ID);
	row.id = PG_GETARG_POINTER(ARG_ID);
	row.submission_id = PG_GETARG_POINTER(ARG_SUBMISSION_ID);
	row.version = PG_GETARG_INT32(ARG_VERSION);
	row.day = PG_GETARG_DATEADT(ARG_LOCAL_DAY);
	row.recorded_at = PG_GETARG_INT64(ARG_RECORDED_AT);
	if (counts(tally, &row))
		add_row(tally, fcinfo);
	PG_RETURN_POINTER(tally);
}

/* SQL: the group of a row of observation; null: it does not count. */
Datum
clinical_report_tally_group(PG_FUNCTION_ARGS)
{
	Tally	   *tally = fcinfo->flinfo->fn_extra;
	RowKey		row = {
		.patient_id = PG_GETARG_TEXT_PP(1),.id = PG_GETARG_POINTER(2),.version = PG_GETARG_INT32(3),
		.submission_id = PG_GETARG_POINTER(4),.day = PG_GETARG_DATEADT(5),.recorded_at = PG_GETARG_INT64(6)
	};

	if (tally == NULL || tally->scope != (const TallyScope *) PG_GETARG_POINTER(0))
		fcinfo->flinfo->fn_extra = tally = begin(PG_GETARG_DATUM(0), fcinfo->flinfo->fn_mcxt);
	if (!counts(tally, &row))
		PG_RETURN_NULL();
	PG_RETURN_INT32((int32) group_of(tally));
}
