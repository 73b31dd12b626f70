/*
 * latency.h: what the programs that measure latencies have in common; each includes it once.
 */
#ifndef LATENCY_H
#define LATENCY_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <libpq-fe.h>

/* Print why, and end. */
static void
fail(PGconn *conn, const char *what)
{
	fprintf(stderr, "%s: %s", what, PQerrorMessage(conn));
	exit(1);
}

/* Connect. */
static PGconn *
connect_to(const char *conninfo)
{
	PGconn	   *conn = PQconnectdb(conninfo);

	if (PQstatus(conn) != CONNECTION_OK)
		fail(conn, "connect");
	return conn;
}

/* Check and drop a result: how many rows it had. */
static int
finish_result(PGconn *conn, PGresult *result)
{
	int			rows = PQntuples(result);

	if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
		fail(conn, "query");
	PQclear(result);
	return rows;
}

#ifndef LATENCY_UNPREPARED
/* Prepare a statement. */
static void
prepare(PGconn *conn, const char *name, const char *sql)
{
	finish_result(conn, PQprepare(conn, name, sql, 0, NULL));
}
#endif

/* Milliseconds of a clock that does not jump. */
static double
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e3 + ts.tv_nsec / 1e6;
}

#endif
