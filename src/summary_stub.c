#include "postgres.h"
#include "summary.h"
void clinical_describe_counts(const Datum *values, const int64 *counts, int64 nvalues, ClinicalDescription *result)
{
	memset(result, 0, sizeof(*result));
	for (int i = 0; i < CLINICAL_NFIGURES; i++) result->nulls[i] = true;
	if (nvalues > 0) { result->nulls[CLINICAL_MIN] = false; result->figures[CLINICAL_MIN] = values[0]; result->nulls[CLINICAL_MAX] = false; result->figures[CLINICAL_MAX] = values[nvalues-1]; }
}
