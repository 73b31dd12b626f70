/*-------------------------------------------------------------------------
 *
 * report_render.c
 *		Reading the document of a report, for those who render it.
 *
 * A document may come from anywhere, so all that is relied upon is looked at
 * (doc/report_render.md).  Rows are read one at a time and point into it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "report_render.h"

#define MAX_DECIMALS 1000

/* In the order of a report, which is not that of the keys of jsonb */
static const char *const section_names[CLINICAL_REPORT_SECTIONS] = {
	"status", "enrolment", "demographics", "items", "compliance", "quality", "alerts", "indicators", "listings"
};

/* As in ClinicalReportKind */
static const char *const kind_names[] = {
	"label", "text", "date", "month", "time", "count", "percent", "value", "mean", "sd", "rate", "score",
	"seconds", "flag"
};

enum
{
	DOCUMENT_HEADER, DOCUMENT_BODY, DOCUMENT_SHA256, DOCUMENT_NKEYS
};

static const ClinicalKey document_keys[DOCUMENT_NKEYS] = {
	{"header", CLINICAL_SHAPE_OBJECT, true},
	{"body", CLINICAL_SHAPE_OBJECT, true},
	{"sha256", CLINICAL_SHAPE_TEXT, false}
};

enum
{
	SECTION_TITLE, SECTION_TABLES, SECTION_NKEYS
};

static const ClinicalKey section_keys[SECTION_NKEYS] = {
	{"title", CLINICAL_SHAPE_TEXT, true},
	{"tables", CLINICAL_SHAPE_ARRAY, true}
};

enum
{
	TABLE_NAME, TABLE_TITLE, TABLE_NOTE, TABLE_COLUMNS, TABLE_ROWS, TABLE_NKEYS
};

static const ClinicalKey table_keys[TABLE_NKEYS] = {
	{"name", CLINICAL_SHAPE_TEXT, true},
	{"title", CLINICAL_SHAPE_TEXT, true},
	{"note", CLINICAL_SHAPE_TEXT, false},
	{"columns", CLINICAL_SHAPE_ARRAY, true},
	{"rows", CLINICAL_SHAPE_ARRAY, true}
};

enum
{
	COLUMN_NAME, COLUMN_LABEL, COLUMN_KIND, COLUMN_OF, COLUMN_NKEYS
};

static const ClinicalKey column_keys[COLUMN_NKEYS] = {
	{"name", CLINICAL_SHAPE_TEXT, true},
	{"label", CLINICAL_SHAPE_TEXT, true},
	{"kind", CLINICAL_SHAPE_TEXT, true},
	{"of", CLINICAL_SHAPE_TEXT, false}
};

/* A place in the document, for errors. */
static ClinicalPlace
place_at(char *where)
{
	ClinicalPlace place = {"report document is malformed", where};

	return place;
}

/* Are the kind's values numbers? */
static bool
is_number_kind(ClinicalReportKind kind)
{
	return kind >= CLINICAL_REPORT_COUNT && kind <= CLINICAL_REPORT_SECONDS;
}

/* Which column has that name; -1: none. */
int
clinical_shown_column(const ClinicalShownTable *table, const char *name)
{
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (strcmp(table->columns[i].name, name) == 0)
			return i;
	}
	return -1;
}

/* The table of a section that has that name, or NULL. */
const ClinicalShownTable *
clinical_shown_table(const ClinicalShownSection *section, const char *name)
{
	for (int i = 0; i < section->ntables; i++)
	{
		if (strcmp(section->tables[i].name, name) == 0)
			return &section->tables[i];
	}
	return NULL;
}

/* Read a column, but for its denominator. */
static void
read_column(ClinicalShownTable *table, const ClinicalPlace *place, const JsonbValue *value, JsonbValue *of)
{
	ClinicalShownColumn *column = &table->columns[table->ncolumns];
	JsonbValue	values[COLUMN_NKEYS];

	clinical_shape_read(place, value, column_keys, COLUMN_NKEYS, values);
	column->name = clinical_shape_text(&values[COLUMN_NAME]);
	column->label = clinical_shape_text(&values[COLUMN_LABEL]);
	column->kind = (ClinicalReportKind) clinical_shape_choice(place, "kind", &values[COLUMN_KIND],
															  kind_names, lengthof(kind_names));
	column->is_key = column->kind == CLINICAL_REPORT_LABEL || column->kind == CLINICAL_REPORT_MONTH;
	column->is_number = is_number_kind(column->kind);
	column->of = -1;
	*of = values[COLUMN_OF];
	if (strcmp(column->name, "by") == 0 || strcmp(column->name, "decimals") == 0 ||
		strcmp(column->name, "suppressed") == 0 || clinical_shown_column(table, column->name) >= 0)
		clinical_shape_error(place, "The name of a column is taken.");
	table->ncolumns++;
	if (column->is_key)
		table->nhead = table->ncolumns;
}

/* Read the columns of a table. */
static void
read_columns(ClinicalShownTable *table, const ClinicalPlace *place, const JsonbValue *array)
{
	JsonbValue *elements;
	int			count = clinical_shape_elements(array, &elements);
	JsonbValue *of = palloc_array(JsonbValue, Max(count, 1));

	if (count == 0 || count > MaxTupleAttributeNumber)
		clinical_shape_error(place, "Key \"columns\" must have from 1 to %d elements.", MaxTupleAttributeNumber);
	table->columns = palloc0_array(ClinicalShownColumn, count);
	for (int i = 0; i < count; i++)
		read_column(table, place, &elements[i], &of[i]);
	for (int i = 0; i < count; i++)
	{
		char	   *name = clinical_shape_text(&of[i]);

		if (name == NULL)
			continue;
		table->columns[i].of = clinical_shown_column(table, name);
		if (table->columns[i].of < 0 || !table->columns[table->columns[i].of].is_number)
			clinical_shape_error(place, "Key \"of\" must name a column of numbers.");
	}
	table->n_column = clinical_shown_column(table, "n");
}

/* Read a table, but for its rows. */
static void
read_table(ClinicalShownTable *table, const char *section, int number, const JsonbValue *value)
{
	ClinicalPlace place = place_at(psprintf("section \"%s\", table %d", section, number));
	JsonbValue	values[TABLE_NKEYS];

	CHECK_FOR_INTERRUPTS();
	clinical_shape_read(&place, value, table_keys, TABLE_NKEYS, values);
	table->section = section;
	table->name = clinical_shape_text(&values[TABLE_NAME]);
	table->title = clinical_shape_text(&values[TABLE_TITLE]);
	table->note = clinical_shape_text(&values[TABLE_NOTE]);
	table->rows = values[TABLE_ROWS];
	table->nrows = (int) JsonContainerSize(table->rows.val.binary.data);
	read_columns(table, &place, &values[TABLE_COLUMNS]);
}

/* Read a section. */
static void
read_section(ClinicalShownSection *section, const char *name, const JsonbValue *value)
{
	ClinicalPlace place = place_at(psprintf("section \"%s\"", name));
	JsonbValue	values[SECTION_NKEYS];
	JsonbValue *elements;

	clinical_shape_read(&place, value, section_keys, SECTION_NKEYS, values);
	section->name = name;
	section->title = clinical_shape_text(&values[SECTION_TITLE]);
	section->ntables = clinical_shape_elements(&values[SECTION_TABLES], &elements);
	section->tables = palloc0_array(ClinicalShownTable, Max(section->ntables, 1));
	for (int i = 0; i < section->ntables; i++)
		read_table(&section->tables[i], name, i + 1, &elements[i]);
}

/* Read a document, but for the rows of its tables. */
void
clinical_shown_read(Jsonb *document, ClinicalShownDocument *shown)
{
	ClinicalPlace place = place_at(NULL);
	ClinicalPlace body = place_at(pstrdup("body"));
	ClinicalKey sections[CLINICAL_REPORT_SECTIONS];
	JsonbValue	found[CLINICAL_REPORT_SECTIONS];
	JsonbValue	values[DOCUMENT_NKEYS];
	JsonbValue	root;

	clinical_json_value(document, &root);
	clinical_shape_read(&place, &root, document_keys, DOCUMENT_NKEYS, values);
	shown->header = values[DOCUMENT_HEADER];
	shown->sha256 = clinical_shape_text(&values[DOCUMENT_SHA256]);
	shown->nsections = 0;
	for (int i = 0; i < CLINICAL_REPORT_SECTIONS; i++)
	{
		sections[i].name = section_names[i];
		sections[i].type = CLINICAL_SHAPE_OBJECT;
		sections[i].required = false;
	}
	clinical_shape_read(&body, &values[DOCUMENT_BODY], sections, CLINICAL_REPORT_SECTIONS, found);
	for (int i = 0; i < CLINICAL_REPORT_SECTIONS; i++)
	{
		if (found[i].type != jbvNull)
			read_section(&shown->sections[shown->nsections++], section_names[i], &found[i]);
	}
}

/* Begin to read a table's rows. */
void
clinical_shown_begin(const ClinicalShownTable *table, ClinicalShownRow *row)
{
	JsonbValue	ignored;

	memset(row, 0, sizeof(ClinicalShownRow));
	row->table = table;
	row->cells = palloc0_array(JsonbValue, table->ncolumns);
	row->iterator = JsonbIteratorInit(table->rows.val.binary.data);
	(void) JsonbIteratorNext(&row->iterator, &ignored, true);
}

/* Raise the error of a row. */
CLINICAL_NORETURN static void
row_error(const ClinicalShownRow *row, const char *name, const char *missed)
{
	ClinicalPlace place = place_at(psprintf("section \"%s\", table \"%s\", row %d",
											row->table->section, row->table->name, row->number));

	clinical_shape_error(&place, "Key \"%s\" must be %s.", name, missed);
}

/* The decimals of a row's data. */
static int
read_decimals(const ClinicalShownRow *row, const JsonbValue *value)
{
	bool		failed = value->type != jbvNumeric;
	int			decimals = 0;

	if (!failed)
		decimals = numeric_int4_opt_error(value->val.numeric, &failed);
	if (failed || decimals < 0 || decimals > MAX_DECIMALS)
		row_error(row, "decimals", psprintf("a whole number from 0 to %d", MAX_DECIMALS));
	return decimals;
}

/* Read what a row says beside its figures; how many keys are that? */
static int
read_marks(ClinicalShownRow *row, JsonbContainer *object)
{
	JsonbValue	buffer;
	JsonbValue *found = getKeyJsonValueFromContainer(object, "by", 2, &row->by);
	int			count = 1;

	if (clinical_json_object(found) == NULL)
		row_error(row, "by", "an object");
	row->is_whole = JsonContainerSize(row->by.val.binary.data) == 0;
	row->decimals = 0;
	row->suppressed = false;
	found = getKeyJsonValueFromContainer(object, "decimals", 8, &buffer);
	if (found != NULL)
	{
		count++;
		if (found->type != jbvNull)
			row->decimals = read_decimals(row, found);
	}
	found = getKeyJsonValueFromContainer(object, "suppressed", 10, &buffer);
	if (found != NULL)
	{
		count++;
		if (found->type != jbvBool)
			row_error(row, "suppressed", "true or false");
		row->suppressed = found->val.boolean;
	}
	return count;
}

/* What a value of the kind should be, if it is not; else NULL. */
static const char *
kind_missed(ClinicalReportKind kind, const JsonbValue *value)
{
	if (value->type == jbvNull)
		return NULL;
	if (is_number_kind(kind))
		return value->type == jbvNumeric ? NULL : "a number";
	if (kind == CLINICAL_REPORT_DATE || kind == CLINICAL_REPORT_MONTH || kind == CLINICAL_REPORT_TIME)
		return value->type == jbvString ? NULL : "a string";
	return value->type == jbvBinary ? "a string, a number, true or false" : NULL;
}

/* Read the values of a row's columns; absent is null. */
static void
read_cells(ClinicalShownRow *row, JsonbContainer *object)
{
	const ClinicalShownTable *table = row->table;
	int			count = read_marks(row, object);

	row->is_total = row->is_whole;
	for (int i = 0; i < table->ncolumns; i++)
	{
		const ClinicalShownColumn *column = &table->columns[i];
		JsonbValue *found = getKeyJsonValueFromContainer(object, column->name, strlen(column->name), &row->cells[i]);
		const char *missed;

		if (found == NULL)
		{
			row->cells[i].type = jbvNull;
			count--;
		}
		missed = kind_missed(column->kind, &row->cells[i]);
		if (missed != NULL)
			row_error(row, column->name, missed);
		if (column->is_key && row->cells[i].type != jbvNull)
			row->is_total = false;
	}
	if (count + table->ncolumns != (int) JsonContainerSize(object))
	{
		ClinicalPlace place = place_at(psprintf("section \"%s\", table \"%s\", row %d",
												table->section, table->name, row->number));

		clinical_shape_error(&place, "A key is not the name of a column.");
	}
}

/* Read the next row; false: that was the last one. */
bool
clinical_shown_next(ClinicalShownRow *row)
{
	JsonbValue	value;

	CHECK_FOR_INTERRUPTS();
	if (row->number >= row->table->nrows)
		return false;
	(void) JsonbIteratorNext(&row->iterator, &value, true);
	row->number++;
	if (clinical_json_object(&value) == NULL)
	{
		ClinicalPlace place = place_at(psprintf("section \"%s\", table \"%s\", row %d",
												row->table->section, row->table->name, row->number));

		clinical_shape_error(&place, "Must be an object.");
	}
	read_cells(row, clinical_json_object(&value));
	return true;
}

/* The document of a report that the caller may read. */
Jsonb *
clinical_shown_stored(Datum report_id)
{
	static ClinicalPlan plan = {
		.sql = "SELECT r.document FROM clinical.report r WHERE r.id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {UUIDOID},
	};
	Datum		document;

	if (!clinical_fetch(&plan, &report_id, NULL, true, &document))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("report not found")));
	return DatumGetJsonbP(document);
}
