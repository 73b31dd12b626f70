/*-------------------------------------------------------------------------
 *
 * main.c
 *		clinical-gateway: the loop, its start and its end.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "gateway.h"

#define MAX_EVENTS 256
/* Seconds between two looks at who is late */
#define TICK 0.05

static int	loop;
static int	signals;
static double stop_at;			/* 0: not to be stopped */

/* The time, in seconds since whenever. */
double
now(void)
{
	struct timespec at;

	(void) clock_gettime(CLOCK_MONOTONIC, &at);
	return (double) at.tv_sec + (double) at.tv_nsec / 1e9;
}

/* Wait for events of a socket. */
bool
watch(int fd, uint32_t events, Source *source)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	return epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* Wait for other events of it. */
bool
rewatch(int fd, uint32_t events, Source *source)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	return epoll_ctl(loop, EPOLL_CTL_MOD, fd, &event) == 0;
}

/* Do not wait for it any more.  One that is closed is not there. */
void
unwatch(int fd)
{
	(void) epoll_ctl(loop, EPOLL_CTL_DEL, fd, NULL);
}

/* Is the gateway to be stopped? */
bool
stopping(void)
{
	return stop_at != 0;
}

/*
 * A signal has come.  SIGHUP: read the keys again.  All others: stop, when the
 * requests that are there are answered; at the second one, at once.
 */
static void
take_signal(Source *source, uint32_t events)
{
	struct signalfd_siginfo info;

	(void) source;
	(void) events;
	if (read(signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP)
	{
		keys_reload();
		return;
	}
	if (stopping())
	{
		stop_at = now();
		return;
	}
	log_event("info", "stop", "%d requests are to be answered", http_requests());
	stop_at = now() + config.stop_timeout;
	http_stop_listening();
}

/* Take SIGTERM, SIGINT and SIGHUP by the loop, and no SIGPIPE. */
static bool
watch_signals(void)
{
	static Source source = {take_signal};
	sigset_t	set;

	(void) signal(SIGPIPE, SIG_IGN);
	(void) sigemptyset(&set);
	(void) sigaddset(&set, SIGTERM);
	(void) sigaddset(&set, SIGINT);
	(void) sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return false;
	signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return signals >= 0 && watch(signals, EPOLLIN, &source);
}

/* Let the process have as many sockets as it needs, if it may. */
static void
raise_limit(void)
{
	rlim_t		wanted = (rlim_t) (config.max_connections + 2 * config.pool_size + 64);
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted)
		log_event("warning", "start", "the process may have too few open files for max_connections");
}

/* The loop: serve until told to stop. */
static void
serve(void)
{
	struct epoll_event events[MAX_EVENTS];
	double		next_tick = 0;

	while (!stopping() || (now() < stop_at && http_requests() > 0))
	{
		int			timeout = http_timeout();
		int			count = epoll_wait(loop, events, MAX_EVENTS, timeout < 0 || timeout > TICK * 1000 ? (int) (TICK * 1000) : timeout);
		double		at;

		/* what a source does frees none of the others: requests end in http_run */
		for (int i = 0; i < count; i++)
		{
			Source	   *source = events[i].data.ptr;

			source->ready(source, events[i].events);
		}
		at = now();
		if (at >= next_tick)
		{
			pool_tick(at);
			http_tick(at);
			stream_tick(at);
			next_tick = at + TICK;
		}
		http_run();
		log_flush();
	}
}

/* Start all parts, serve, and stop them. */
int
main(int argc, char **argv)
{
	int			port;

	config_read(argc, argv);
	srandom((unsigned int) getpid() ^ (unsigned int) time(NULL));
	auth_init();
	route_init();
	metrics_start();
	raise_limit();
	loop = epoll_create1(EPOLL_CLOEXEC);
	if (loop < 0 || !watch_signals())
	{
		log_event("error", "start", "the system gives no epoll or signalfd");
		return 1;
	}
	cancel_start();
	port = http_start();
	if (port < 0)
	{
		log_event("error", "start", "cannot listen on %s, or read the certificate", config.listen);
		return 1;
	}
	pool_start();
	log_event("info", "start", "listening on port %d", port);
	serve();
	http_stop();
	pool_stop();
	log_event("info", "stop", "stopped");
	return 0;
}
