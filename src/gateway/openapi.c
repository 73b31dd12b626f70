/*-------------------------------------------------------------------------
 *
 * openapi.c
 *		GET /openapi.json: the file doc/openapi.json, as it was when the program
 *		was built (see the Makefile).
 *
 *-------------------------------------------------------------------------
 */
#include "gateway.h"

static const unsigned char document[] = {
#include "openapi.inc"
};

/* Answer with the document, which everybody may have. */
void
openapi_answer(Request *request)
{
	request->status = 200;
	request->content = (const char *) document;
	request->content_length = sizeof(document);
}
