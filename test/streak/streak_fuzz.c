/*-------------------------------------------------------------------------
 *
 * streak_fuzz.c
 *		A libFuzzer target of the engine of monitoring rules: the bytes of an input
 *		are what else chance decides, a rule and a history.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>

#include "streak_case.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A number in [0, n): the next byte; an input that is used up says 0. */
static int
input_below(Draw *draw, int n)
{
	if (draw->size == 0)
		return 0;
	draw->size--;
	return *draw->data++ % n;
}

/* One input. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static Case c;
	Draw		draw = {input_below, 0, data, size};

	c.verbose = getenv("STREAK_TELL") != NULL;
	if (!case_run(&c, &draw))
	{
		fprintf(stderr, "wrong: %s\n", c.problem);
		abort();
	}
	return 0;
}
