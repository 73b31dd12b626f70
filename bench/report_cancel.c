/*-------------------------------------------------------------------------
 *
 * report_cancel.c
 *		How long it takes from the request to cancel a report until the process
 *		that makes it is idle, or gone.
 *
 *	report_cancel CONNINFO COUNT QUERY REQUEST
 *
 * QUERY makes a report in a session, REQUEST asks for one and gives its id.  They are cancelled
 * in turns by pg_cancel_backend, by statement_timeout, by cancel_report, and by the
 * death of the client, after a random part of the time that one takes.  Prints the
 * way and the milliseconds of each; ends with 1 if one ends otherwise.
 *
 *-------------------------------------------------------------------------
 */
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LATENCY_UNPREPARED
#include "latency.h"

static const char *conninfo;
static const char *query;
static const char *request;
static PGconn *control;
static double duration;			/* ms that a report takes */

/* The first column of the first row of a query, or an empty string. */
static char *
value_of(const char *sql)
{
	static char value[256];
	PGresult   *result = PQexec(control, sql);

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail(control, sql);
	snprintf(value, sizeof(value), "%s", PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
	PQclear(result);
	return value;
}

/* The same with a value for %s. */
static char *
value_with(const char *format, const char *value)
{
	char		sql[1024];

	snprintf(sql, sizeof(sql), format, value);
	return value_of(sql);
}

/* Wait until a query gives that value; the time. */
static double
wait_for(const char *format, const char *value, const char *expected)
{
	double		began = now_ms();

	while (strcmp(value_with(format, value), expected) != 0)
	{
		if (now_ms() > began + 60000)
		{
			fprintf(stderr, "still not %s after 60 s: %s\n", expected, format);
			exit(1);
		}
		usleep(500);
	}
	return now_ms();
}

/* A part of the time that a report takes. */
static double
some_time(void)
{
	return duration * 0.95 * ((double) random() / (double) RAND_MAX);
}

/* Sleep so many milliseconds. */
static void
sleep_ms(double ms)
{
	usleep((useconds_t) (ms * 1000));
}

/* Wait for the end of a query that was sent: true if it was cancelled, false if it had ended before. */
static int
was_cancelled(PGconn *conn)
{
	PGresult   *result;
	int			cancelled = 0;

	while ((result = PQgetResult(conn)) != NULL)
	{
		const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

		if (PQresultStatus(result) != PGRES_TUPLES_OK && (state == NULL || strcmp(state, "57014") != 0))
			fail(conn, "a report ended otherwise");
		cancelled = cancelled || state != NULL;
		PQclear(result);
	}
	return cancelled;
}

/* Tell how long it took. */
static void
tell(const char *way, double began, int cancelled)
{
	if (cancelled)
		printf("%s %.3f\n", way, now_ms() - began);
}

/* By pg_cancel_backend. */
static void
by_function(PGconn *victim)
{
	char		pid[16];
	double		began;

	snprintf(pid, sizeof(pid), "%d", PQbackendPID(victim));
	if (!PQsendQuery(victim, query))
		fail(victim, "send");
	sleep_ms(some_time());
	began = now_ms();
	value_with("SELECT pg_cancel_backend(%s)", pid);
	tell("pg_cancel_backend", began, was_cancelled(victim));
}

/* By a limit of time. */
static void
by_timeout(PGconn *victim)
{
	char		sql[64];
	long		limit = 1 + (long) some_time();
	double		began;

	snprintf(sql, sizeof(sql), "SET statement_timeout = %ld", limit);
	finish_result(victim, PQexec(victim, sql));
	began = now_ms() + (double) limit;
	if (!PQsendQuery(victim, query))
		fail(victim, "send");
	tell("statement_timeout", began, was_cancelled(victim));
	finish_result(victim, PQexec(victim, "RESET statement_timeout"));
}

/* By cancel_report: until neither its worker nor a process that helps it works on it. */
static void
by_cancel(void)
{
	char		id[64];
	char		pid[16];
	double		began;

	snprintf(id, sizeof(id), "%s", value_of(request));
	wait_for("SELECT status FROM clinical.report_job WHERE id = '%s'", id, "running");
	sleep_ms(some_time());
	snprintf(pid, sizeof(pid), "%s", value_with("SELECT worker FROM clinical.report_job WHERE id = '%s' AND status = 'running'", id));
	if (*pid == '\0')
		return;
	began = now_ms();
	if (strcmp(value_with("SELECT clinical.cancel_report('%s')", id), "cancelled") != 0)
		return;
	wait_for("SELECT count(*) FROM pg_stat_activity WHERE %s IN (pid, leader_pid) AND state = 'active'", pid, "0");
	tell("cancel_report", began, 1);
}

/* By the death of the client. */
static void
by_death(void)
{
	char		pid[16];
	pid_t		child = fork();
	double		began;

	if (child == 0)
	{
		PGconn	   *conn = connect_to(conninfo);

		finish_result(conn, PQexec(conn, "SET application_name = 'mortal'"));
		PQclear(PQexec(conn, "SET client_connection_check_interval = '100ms'"));
		PQclear(PQexec(conn, query));
		pause();
	}
	wait_for("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mortal' AND state = 'active' AND backend_type = 'client backend' AND query ~ '%s'", "report", "1");
	snprintf(pid, sizeof(pid), "%s", value_of("SELECT pid FROM pg_stat_activity WHERE application_name = 'mortal' AND backend_type = 'client backend'"));
	sleep_ms(some_time());
	if (strcmp(value_with("SELECT state FROM pg_stat_activity WHERE pid = %s", pid), "active") == 0)
	{
		began = now_ms();
		kill(child, SIGKILL);
		wait_for("SELECT count(*) FROM pg_stat_activity WHERE %s IN (pid, leader_pid)", pid, "0");
		tell("killed_client", began, 1);
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	wait_for("SELECT count(*) FROM pg_stat_activity WHERE %s IN (pid, leader_pid)", pid, "0");
}

int
main(int argc, char **argv)
{
	PGconn	   *victim;
	double		began;

	if (argc != 5)
		return 2;
	conninfo = argv[1];
	query = argv[3];
	request = argv[4];
	srandom(1);
	setvbuf(stdout, NULL, _IOLBF, 0);
	control = connect_to(conninfo);
	victim = connect_to(conninfo);
	finish_result(victim, PQexec(victim, query));	/* into memory */
	began = now_ms();
	finish_result(victim, PQexec(victim, query));
	duration = now_ms() - began;
	fprintf(stderr, "a report takes %.0f ms\n", duration);
	for (long i = 0; i < atol(argv[2]); i++)
	{
		switch (i % 4)
		{
			case 0:
				by_function(victim);
				break;
			case 1:
				by_timeout(victim);
				break;
			case 2:
				by_cancel();
				break;
			default:
				by_death();
		}
	}
	return 0;
}
