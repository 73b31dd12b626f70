/*-------------------------------------------------------------------------
 *
 * cancel.c
 *		Cancel requests, sent by threads of their own: PQcancel connects, and
 *		waits until the server has passed the request on.  There are some, as
 *		many clients may go at once, such as those of a proxy.
 *
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "gateway.h"

#define NTHREADS 8
/* Milliseconds that requests have to be sent at the end; between two looks whether they are */
#define STOP_WAIT 1000
#define STOP_LOOK 5

/* A request to be sent, or that was sent */
typedef struct Cancel
{
	PGcancel   *cancel;
	int			number;			/* of the connection */
	struct Cancel *next;
} Cancel;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t added = PTHREAD_COND_INITIALIZER;
static Cancel *to_send;
static Cancel *sent;
static int	unsent;				/* to be sent, or being sent */
static int	sent_event;

/* Take what is first, or wait for it. */
static Cancel *
next_to_send(void)
{
	Cancel	   *one;

	(void) pthread_mutex_lock(&lock);
	while (to_send == NULL)
		(void) pthread_cond_wait(&added, &lock);
	one = to_send;
	to_send = one->next;
	(void) pthread_mutex_unlock(&lock);
	return one;
}

/* A thread: send one after the other. */
static void *
send_all(void *arg)
{
	static const uint64_t one_more = 1;

	(void) arg;
	for (;;)
	{
		Cancel	   *one = next_to_send();
		char		message[256];

		(void) PQcancel(one->cancel, message, sizeof(message));
		PQfreeCancel(one->cancel);
		(void) pthread_mutex_lock(&lock);
		one->next = sent;
		sent = one;
		unsent--;
		(void) pthread_mutex_unlock(&lock);
		if (write(sent_event, &one_more, sizeof(one_more)) != sizeof(one_more))
			break;
	}
	return NULL;
}

/* Some were sent: tell the pool. */
static void
tell_pool(Source *source, uint32_t events)
{
	uint64_t	count;
	Cancel	   *list;

	(void) source;
	(void) events;
	if (read(sent_event, &count, sizeof(count)) != sizeof(count))
		return;
	(void) pthread_mutex_lock(&lock);
	list = sent;
	sent = NULL;
	(void) pthread_mutex_unlock(&lock);
	while (list != NULL)
	{
		Cancel	   *next = list->next;

		pool_cancelled(list->number);
		free(list);
		list = next;
	}
}

/* Have what a connection does cancelled; the pool is told when that has arrived.  False: out of memory. */
bool
cancel_send(PGconn *pg, int number)
{
	Cancel	   *one = malloc(sizeof(Cancel));

	if (one == NULL || (one->cancel = PQgetCancel(pg)) == NULL)
	{
		free(one);
		return false;
	}
	one->number = number;
	(void) pthread_mutex_lock(&lock);
	one->next = to_send;
	to_send = one;
	unsent++;
	(void) pthread_cond_signal(&added);
	(void) pthread_mutex_unlock(&lock);
	return true;
}

/* Wait until all are sent, but not for long: a call that nobody waits for would go on without the gateway. */
void
cancel_stop(void)
{
	bool		waits = true;

	for (int i = 0; i < STOP_WAIT / STOP_LOOK && waits; i++)
	{
		(void) pthread_mutex_lock(&lock);
		waits = unsent > 0;
		(void) pthread_mutex_unlock(&lock);
		if (waits)
			(void) usleep(STOP_LOOK * 1000);
	}
}

/* Start the threads, which take no signals. */
void
cancel_start(void)
{
	static Source source = {tell_pool};
	sigset_t	all;
	sigset_t	before;
	pthread_t	thread;
	bool		started;

	sent_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	(void) sigfillset(&all);
	(void) pthread_sigmask(SIG_BLOCK, &all, &before);
	started = sent_event >= 0 && watch(sent_event, EPOLLIN, &source);
	for (int i = 0; i < NTHREADS && started; i++)
		started = pthread_create(&thread, NULL, send_all, NULL) == 0 && pthread_detach(thread) == 0;
	if (!started)
	{
		log_event("error", "start", "the threads for cancel requests cannot be started");
		exit(1);
	}
	(void) pthread_sigmask(SIG_SETMASK, &before, NULL);
}
