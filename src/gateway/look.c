/*-------------------------------------------------------------------------
 *
 * look.c
 *		Looks at what happens to alerts, for the streams.
 *
 * What happens is asked of the server, by a call of the function that the
 * route of the streams is, from the place where the last call has left off;
 * so nothing is lost, whether or not somebody was told of it.  One call is
 * for all streams of the same role and project, as it gives what that role
 * may see.  A notification, or the time, is the cause of a look.
 *
 * A stream is one of those for whom looks are made before its own first call,
 * which finds what a client has missed, is sent: what happens after that
 * call, one of those looks finds.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "stream.h"

/* Looks at a time, of all; seconds between two of a group, and after one that failed */
#define MAX_LOOKS 2
#define LOOK_AGAIN 0.1
#define LOOK_RETRY 1.0

static const char resync[] = "event: resync\ndata: {}\n\n";

static int	nlooks;

/* Does a text begin like that? */
static bool
begins(Slice text, const char *with)
{
	return text.length >= strlen(with) && memcmp(text.data, with, strlen(with)) == 0;
}

/* Take the next block off what a look gives: all until an empty line, and that. */
static Slice
next_block(Slice *rest)
{
	Slice		block = *rest;
	const char *end_of = memmem(rest->data, rest->length, "\n\n", 2);

	if (end_of != NULL)
		block.length = (size_t) (end_of + 2 - rest->data);
	rest->data += block.length;
	rest->length -= block.length;
	return block;
}

/* Compare names of events. */
static int
compare_names(const void *left, const void *right)
{
	const Slice *a = left;
	const Slice *b = right;
	int			order = memcmp(a->data, b->data, a->length < b->length ? a->length : b->length);

	return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

/* Was an event told by the last look? */
static bool
was_told(const Group *group, Slice name)
{
	return group->nnames > 0 && bsearch(&name, group->names, group->nnames, sizeof(Slice), compare_names) != NULL;
}

/* Note where a look has left off. */
static void
note_cursor(Group *group, Slice block)
{
	size_t		length = strlen("id: ");

	if (block.length < length + 2 || block.length - length - 2 >= MAX_CURSOR)
		return;
	memcpy(group->cursor, block.data + length, block.length - length - 2);
	group->cursor[block.length - length - 2] = '\0';
}

/* Add where a client can go on. */
void
look_add_cursor(const Group *group, Message *message)
{
	if (group->cursor[0] == '\0')
		return;
	message_add(message, "id: ", 4);
	message_add(message, group->cursor, strlen(group->cursor));
	message_add(message, "\n\n", 2);
}

/* Put what is new in a look into a message, and the names of all of its events into names; their number. */
static size_t
sift(Group *group, Slice content, Message *message, Slice *names)
{
	size_t		nnames = 0;

	while (content.length > 0)
	{
		Slice		block = next_block(&content);

		if (begins(block, "id: "))
			note_cursor(group, block);
		else if (begins(block, ": "))
		{
			Slice		name = {block.data, strcspn(block.data, "\n")};

			names[nnames++] = name;
			if (!was_told(group, name))
				message_add(message, block.data, block.length);
		}
		else
			message_add(message, block.data, block.length);
	}
	return nnames;
}

/*
 * A look was made: tell what is new.  An event may be in two looks, one after the
 * other, as the server cannot tell all that it has told from what it has not.
 * Nothing is sent if nothing is new, or a role would learn of what it may not see.
 */
static bool
tell(Group *group)
{
	Request    *look = &group->look;
	Slice		content = {look->content, look->content_length};
	bool		first = group->cursor[0] == '\0';
	/* a name has more than 32 bytes */
	Slice	   *names = calloc(content.length / 32 + 1, sizeof(Slice));
	Message    *message = message_new(content.length + sizeof(resync) + MAX_CURSOR + 8);
	size_t		nnames;

	if (names == NULL || message == NULL)
	{
		free(names);
		free(message);
		return false;
	}
	nnames = sift(group, content, message, names);
	/* who has begun before the first look may have missed something */
	if (first)
		message_add(message, resync, strlen(resync));
	if (message->length > 0)
	{
		look_add_cursor(group, message);
		stream_give_all(group, message);
	}
	message_release(message);
	qsort(names, nnames, sizeof(Slice), compare_names);
	free(group->names);
	PQclear(group->told);
	group->names = names;
	group->nnames = nnames;
	group->told = look->result;
	look->result = NULL;
	return true;
}

/* Send the call of a stream itself: may this role, and what has it missed? */
void
look_ask(Stream *stream)
{
	Request    *request = stream->request;

	if (stream->asked || request->state != REQUEST_WAITING)
		return;
	stream->asked = true;
	pool_take(request);
	if (request->state == REQUEST_ANSWERED && request->suspended)
		http_answered(request);
}

/* A look is over. */
static void
looked(Request *request)
{
	Group	   *group = (Group *) request;

	nlooks--;
	group->looking = false;
	if (request->status == 200 && !tell(group))
		stream_end_all(group, "memory");
	else if (request->status == 401 || request->status == 403)
		stream_end_all(group, "rights");
	else if (request->status != 200)
	{
		group->due = true;
		group->look_at = now() + LOOK_RETRY;
	}
	PQclear(request->result);
	request->result = NULL;
	for (Stream *stream = group->streams; stream != NULL; stream = stream->next)
		look_ask(stream);
}

/* Make a look. */
static void
look(Group *group, double at)
{
	Request    *request = &group->look;

	request->status = 0;
	request->answered = looked;
	request->last_event.data = group->cursor[0] != '\0' ? group->cursor : NULL;
	request->last_event.length = strlen(group->cursor);
	request->begun = at;
	request->deadline = at + config.request_timeout;
	group->due = false;
	group->looking = true;
	group->look_at = at + LOOK_AGAIN;
	nlooks++;
	pool_take(request);
	if (request->state == REQUEST_ANSWERED)
		looked(request);
}

/* Make the looks that are due, those that wait longest first. */
void
look_make(double at)
{
	while (nlooks < MAX_LOOKS)
	{
		Group	   *next = NULL;

		for (Group *group = stream_groups; group != NULL; group = group->next)
		{
			if (group->due && !group->looking && group->look_at <= at && (next == NULL || group->look_at < next->look_at))
				next = group;
		}
		if (next == NULL)
			break;
		look(next, at);
	}
}

/* Something may have happened to alerts. */
void
stream_look(void)
{
	for (Group *group = stream_groups; group != NULL; group = group->next)
		group->due = true;
	look_make(now());
}

/* A look that takes too long has failed. */
void
look_tick(Group *group, double at)
{
	if (!group->looking || at < group->look.deadline)
		return;
	pool_leave(&group->look);
	group->look.status = 504;
	looked(&group->look);
}

/* Nobody waits for a look any more. */
void
look_leave(Group *group)
{
	if (!group->looking)
		return;
	group->looking = false;
	nlooks--;
	pool_leave(&group->look);
}
