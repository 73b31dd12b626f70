/*
 * intake_latency.c: from sending a report to its being visible, one at a time, for bench/intake.
 *
 *	intake_latency CONNINFO CALLS PATIENTS REPORT
 *
 * Ours is clinical.submit_report, stored by the background worker.  The other side is a function
 * that inserts into a queue and notifies, with a listener in a process of its own, that stores and
 * deletes in one statement.  Blocks of 20 calls take turns.  A second connection asks for the row
 * in a tight loop, on both sides in the same way.  Prints a line for each call: the side, and the
 * milliseconds to the answer and to the row.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "latency.h"

#define BLOCK 20
#define PAUSE_US 10000

/* The listener: whatever wakes it, it takes all that is there. */
static void
listen_for_ever(const char *conninfo)
{
	PGconn	   *conn = connect_to(conninfo);

	prepare(conn, "drain", "SELECT bench.drain_listen()");
	finish_result(conn, PQexec(conn, "LISTEN bench"));
	for (;;)
	{
		struct pollfd fd = {PQsocket(conn), POLLIN, 0};
		PGnotify   *notify;
		int			notified = 0;

		if (poll(&fd, 1, -1) < 0 && errno != EINTR)
			exit(1);
		if (!PQconsumeInput(conn))
			fail(conn, "listen");
		while ((notify = PQnotifies(conn)) != NULL)
		{
			PQfreemem(notify);
			notified = 1;
		}
		if (notified)
			finish_result(conn, PQexecPrepared(conn, "drain", 0, NULL, NULL, NULL, 0));
	}
}

/* Submit a report and wait until it is stored. */
static void
measure(PGconn *sender, PGconn *watcher, int is_ours, const char *values[3])
{
	const char *seen[2] = {values[0], values[2]};
	const char *look = is_ours ? "ours" : "listen";
	double		begin = now_ms();
	double		answered;

	finish_result(sender, PQexecPrepared(sender, look, 3, values, NULL, NULL, 0));
	answered = now_ms();
	while (finish_result(watcher, PQexecPrepared(watcher, look, 2, seen, NULL, NULL, 0)) == 0)
	{
		if (now_ms() - begin > 10000)
		{
			fprintf(stderr, "%s: not stored after 10 s\n", look);
			exit(1);
		}
	}
	printf("%s %.4f %.4f\n", look, answered - begin, now_ms() - begin);
}

/* Draw a patient and an id. */
static void
draw(long patients, char *patient, char *id)
{
	sprintf(patient, "%ld", 10000001 + random() % patients);
	sprintf(id, "%08lx-0000-4000-8000-%06lx%06lx", random() & 0xffffffff, random() & 0xffffff, random() & 0xffffff);
}

int
main(int argc, char **argv)
{
	PGconn	   *sender;
	PGconn	   *watcher;
	long		calls;
	pid_t		listener;

	if (argc != 5)
		return 2;
	calls = atol(argv[2]);
	srandom((unsigned) time(NULL));
	listener = fork();
	if (listener == 0)
	{
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		listen_for_ever(argv[1]);
	}
	sender = connect_to(argv[1]);
	watcher = connect_to(argv[1]);
	prepare(sender, "ours", "SELECT clinical.submit_report($1, $2, $3)");
	prepare(sender, "listen", "SELECT bench.submit_listen($1, $2, $3)");
	prepare(watcher, "ours", "SELECT 1 FROM clinical.submission WHERE patient_id = $1 AND id = $2");
	prepare(watcher, "listen", "SELECT 1 FROM bench.submission WHERE patient_id = $1 AND id = $2");
	sleep(1);					/* the listener listens */
	/* the first block of each side warms up, and is not printed */
	for (long i = -2 * BLOCK; i < 2 * calls; i++)
	{
		char		patient[32];
		char		id[64];
		const char *values[3] = {patient, argv[4], id};

		draw(atol(argv[3]), patient, id);
		if (i == 0)
			printf("begin\n");
		measure(sender, watcher, (i + 2 * BLOCK) / BLOCK % 2 == 0, values);
		usleep(PAUSE_US + random() % PAUSE_US);
	}
	kill(listener, SIGTERM);
	return 0;
}
