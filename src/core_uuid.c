/*-------------------------------------------------------------------------
 *
 * core_uuid.c
 *		Identifiers that sort by the time at which they were made.
 *
 * UUID version 7 (RFC 9562, section 5.7): 48 bits of Unix time in milliseconds,
 * 12 bits of the microseconds within them (method 3 of section 6.2), 62 random
 * bits.  Those of one process are in the order in which they were made.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/time.h>

#include "utils/uuid.h"

#include "core.h"

/* So many are drawn for at a time: one by one, that is a twentieth of what storing a report costs */
#define DRAWN 64

/* Set the random bits, the last eight bytes. */
static void
set_random(pg_uuid_t *uuid)
{
	static unsigned char drawn[DRAWN][UUID_LEN - 8];
	static int	left = 0;

	if (left == 0)
	{
		if (!pg_strong_random(drawn, sizeof(drawn)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		left = DRAWN;
	}
	memcpy(&uuid->data[8], drawn[--left], UUID_LEN - 8);
	uuid->data[8] = (unsigned char) (0x80 | (uuid->data[8] & 0x3f));
}

/*
 * The time, in parts of 1/4096 of a millisecond: later each time, or those that a
 * process makes within a microsecond would be in no order.
 */
static uint64
next_moment(void)
{
	static uint64 last = 0;
	struct timeval now;
	uint64		moment;

	gettimeofday(&now, NULL);
	moment = ((uint64) now.tv_sec * 1000 + (uint64) now.tv_usec / 1000) * 4096 + (uint64) now.tv_usec % 1000 * 4096 / 1000;
	last = Max(moment, last + 1);
	return last;
}

/* Make one, in the current memory context. */
Datum
clinical_uuid7(void)
{
	pg_uuid_t  *uuid = palloc_object(pg_uuid_t);
	uint64		moment = next_moment();
	uint64		milliseconds = moment / 4096;
	uint64		fraction = moment % 4096;

	set_random(uuid);
	for (int i = 0; i < 6; i++)
		uuid->data[i] = (unsigned char) (milliseconds >> (8 * (5 - i)));
	uuid->data[6] = (unsigned char) (0x70 | (fraction >> 8));
	uuid->data[7] = (unsigned char) fraction;
	return UUIDPGetDatum(uuid);
}
