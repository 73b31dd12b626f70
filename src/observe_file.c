/*-------------------------------------------------------------------------
 *
 * observe_file.c
 *		What was counted, kept over a restart in a file.
 *
 * The file is written when the server is shut down, and read and removed when it
 * is started.  It names the shutdown checkpoint: if the server was started in
 * between without us, or crashed, or the file came from elsewhere, it does not
 * fit, and counting begins anew.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"

#include "observe_entry.h"

#define FILE_NAME PGSTAT_STAT_PERMANENT_DIRECTORY "/clinical.stat"
#define NEW_FILE_NAME FILE_NAME ".tmp"

/* Another one whenever the numbers mean something else */
#define FILE_MAGIC UINT64CONST(0x636c696e00000001)

typedef struct Header
{
	uint64		magic;
	uint64		system_identifier;
	uint64		checkpoint;
	uint64		nnumbers;		/* of an entry */
	uint64		nentries;
} Header;

/* An entry, with what it is of before its numbers */
typedef struct Row
{
	uint64		database;
	uint64		numbers[sizeof(ClinicalNumbers) / sizeof(pg_atomic_uint64)];
} Row;

/* Begin a header; false if the server is not shut down. */
static bool
begin_header(Header *header)
{
	bool		intact;
	ControlFileData *control = get_controlfile(DataDir, &intact);

	memset(header, 0, sizeof(*header));
	header->magic = FILE_MAGIC;
	header->system_identifier = control->system_identifier;
	header->checkpoint = control->checkPoint;
	header->nnumbers = CLINICAL_NNUMBERS;
	intact = intact && (control->state == DB_SHUTDOWNED || control->state == DB_SHUTDOWNED_IN_RECOVERY);
	pfree(control);
	return intact;
}

/* Write something, and add it to the checksum. */
static bool
put(FILE *file, const void *data, size_t size, pg_crc32c *crc)
{
	COMP_CRC32C(*crc, data, size);
	return fwrite(data, size, 1, file) == 1;
}

/* Write an entry. */
static bool
put_entry(FILE *file, const ClinicalEntry *entry, pg_crc32c *crc)
{
	static Row	row;
	pg_atomic_uint64 *numbers = (pg_atomic_uint64 *) unconstify(ClinicalNumbers *, &entry->numbers);

	row.database = entry->database;
	for (int i = 0; i < CLINICAL_NNUMBERS; i++)
		row.numbers[i] = pg_atomic_read_u64(&numbers[i]);
	return put(file, &row, sizeof(row), crc);
}

/* Write the whole file. */
static bool
put_all(FILE *file, Header *header, const ClinicalEntries *shared)
{
	pg_crc32c	crc;
	bool		well;

	INIT_CRC32C(crc);
	for (int i = 0; i < shared->nentries; i++)
		header->nentries += OidIsValid(shared->entries[i].database);
	well = put(file, header, sizeof(*header), &crc);
	for (int i = 0; i < shared->nentries && well; i++)
	{
		if (OidIsValid(shared->entries[i].database))
			well = put_entry(file, &shared->entries[i], &crc);
	}
	FIN_CRC32C(crc);
	return well && fwrite(&crc, sizeof(crc), 1, file) == 1;
}

/* Tell that something went wrong with a file. */
static void
complain(const char *name)
{
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("could not write file \"%s\": %m", name),
			 errdetail("What was counted by clinical is lost.")));
	unlink(name);
}

/* Keep what was counted, when the server has been shut down; nobody counts any more. */
void
clinical_entries_save(const ClinicalEntries *shared)
{
	Header		header;
	FILE	   *file;
	bool		well;

	if (!begin_header(&header))
		return;
	file = AllocateFile(NEW_FILE_NAME, PG_BINARY_W);
	well = file != NULL && put_all(file, &header, shared);
	if (file != NULL && FreeFile(file) != 0)
		well = false;
	if (!well)
		complain(NEW_FILE_NAME);
	else
		(void) durable_rename(NEW_FILE_NAME, FILE_NAME, LOG);
}

/* Read something, and add it to the checksum. */
static bool
get(FILE *file, void *data, size_t size, pg_crc32c *crc)
{
	if (fread(data, size, 1, file) != 1)
		return false;
	COMP_CRC32C(*crc, data, size);
	return true;
}

/* Read an entry. */
static bool
get_entry(FILE *file, ClinicalEntry *entry, pg_crc32c *crc)
{
	static Row	row;
	pg_atomic_uint64 *numbers = (pg_atomic_uint64 *) &entry->numbers;

	if (!get(file, &row, sizeof(row), crc))
		return false;
	entry->database = (Oid) row.database;
	for (int i = 0; i < CLINICAL_NNUMBERS; i++)
		pg_atomic_write_u64(&numbers[i], row.numbers[i]);
	return true;
}

/* Read what fits of a file, and check it to its end; false if something is wrong with it. */
static bool
get_all(FILE *file, ClinicalEntries *shared)
{
	static ClinicalEntry surplus;	/* of a larger clinical.max_databases */
	Header		expected;
	Header		header;
	pg_crc32c	crc;
	pg_crc32c	stored;

	INIT_CRC32C(crc);
	if (!begin_header(&expected) || !get(file, &header, sizeof(header), &crc))
		return false;
	expected.nentries = header.nentries;
	if (memcmp(&header, &expected, sizeof(header)) != 0)
		return false;
	for (uint64 i = 0; i < header.nentries; i++)
	{
		if (!get_entry(file, i < (uint64) shared->nentries ? &shared->entries[i] : &surplus, &crc))
			return false;
	}
	FIN_CRC32C(crc);
	return fread(&stored, sizeof(stored), 1, file) == 1 && EQ_CRC32C(crc, stored) && getc(file) == EOF;
}

/* Nothing was counted. */
static void
forget(ClinicalEntries *shared)
{
	for (int i = 0; i < shared->nentries; i++)
	{
		pg_atomic_uint64 *numbers = (pg_atomic_uint64 *) &shared->entries[i].numbers;

		shared->entries[i].database = InvalidOid;
		for (int j = 0; j < CLINICAL_NNUMBERS; j++)
			pg_atomic_write_u64(&numbers[j], 0);
	}
}

/* Take over what was kept, when the server is started; nobody counts yet. */
void
clinical_entries_load(ClinicalEntries *shared)
{
	FILE	   *file = AllocateFile(FILE_NAME, PG_BINARY_R);

	if (file == NULL)
	{
		if (errno != ENOENT)
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not read file \"%s\": %m", FILE_NAME)));
		return;
	}
	if (!get_all(file, shared))
	{
		forget(shared);
		ereport(LOG,
				(errmsg("file \"%s\" does not fit and is ignored", FILE_NAME),
				 errdetail("clinical begins to count anew.")));
	}
	FreeFile(file);
	unlink(FILE_NAME);
}
