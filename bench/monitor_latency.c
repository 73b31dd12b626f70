/*-------------------------------------------------------------------------
 *
 * monitor_latency.c
 *		How long it takes from the commit of a report until its alert wakes who
 *		listens, at rest.
 *
 *	monitor_latency CONNINFO CALLS REPORT
 *
 * Each report raises an alert of another patient.  Prints for each the
 * milliseconds until the notification was read, and ends with 1 if an alert is
 * not visible then.
 *
 *-------------------------------------------------------------------------
 */
#include <poll.h>
#include <unistd.h>

#include "latency.h"

/* Wait for a notification. */
static void
wait_for_notification(PGconn *listener)
{
	PGnotify   *notify;

	while ((notify = PQnotifies(listener)) == NULL)
	{
		struct pollfd fd = {PQsocket(listener), POLLIN, 0};

		if (poll(&fd, 1, 10000) <= 0)
		{
			fprintf(stderr, "no alert after 10 s\n");
			exit(1);
		}
		if (!PQconsumeInput(listener))
			fail(listener, "listen");
	}
	PQfreemem(notify);
}

int
main(int argc, char **argv)
{
	PGconn	   *sender;
	PGconn	   *listener;
	long		calls;

	if (argc != 4)
		return 2;
	calls = atol(argv[2]);
	sender = connect_to(argv[1]);
	listener = connect_to(argv[1]);
	finish_result(listener, PQexec(listener, "LISTEN clinical_alert"));
	prepare(sender, "submit", "SELECT clinical.submit_report($1, $2)");
	prepare(listener, "look", "SELECT 1 FROM clinical.alert WHERE patient_id = $1");
	for (long i = 0; i < calls; i++)
	{
		char		patient[32];
		const char *values[2] = {patient, argv[3]};
		double		committed;
		double		woken;

		sprintf(patient, "%ld", 10000001 + i);
		finish_result(sender, PQexecPrepared(sender, "submit", 2, values, NULL, NULL, 0));
		committed = now_ms();
		wait_for_notification(listener);
		woken = now_ms();
		if (finish_result(listener, PQexecPrepared(listener, "look", 1, values, NULL, NULL, 0)) != 1)
		{
			fprintf(stderr, "an alert is not visible\n");
			return 1;
		}
		printf("%.4f\n", woken - committed);
		usleep(10000 + random() % 10000);
	}
	return 0;
}
