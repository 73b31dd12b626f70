/*-------------------------------------------------------------------------
 *
 * stream.c
 *		Streams of alerts: server-sent events.
 *
 * What happens to alerts is asked of the server, by a call of the function
 * that the route is, from the place where the last call has left off; so
 * nothing is lost, whether or not somebody was told of it.  One call is for
 * all streams of the same role and project, as it gives what that role may
 * see.  A notification, or the time, is the cause of such a look.
 *
 * A stream is one of those for whom looks are made before its own first call,
 * which finds what a client has missed, is sent: what happens after that
 * call, one of those looks finds.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "gateway.h"

/* Looks at a time, of all; seconds between two of a group, and after one that failed */
#define MAX_LOOKS 2
#define LOOK_AGAIN 0.1
#define LOOK_RETRY 1.0
/* Seconds in which a client takes the end of its stream */
#define END_WAIT 1.0
/* Milliseconds after which a client is to come back, at least and at most */
#define RETRY_FROM 1000
#define RETRY_TO 3000
#define BLOCK_SIZE 16384
#define MAX_CURSOR 128

static const char resync[] = "event: resync\ndata: {}\n\n";

/* Text for all streams of a group, while one of them has it to send */
typedef struct Message
{
	int			references;
	size_t		length;
	char		text[];
} Message;

typedef struct Piece
{
	Message    *message;
	struct Piece *next;
} Piece;

/* Streams that get the same */
typedef struct Group
{
	Request		look;			/* the call for them; the first member */
	char	   *project;		/* NULL: all */
	Stream	   *streams;
	char		cursor[MAX_CURSOR]; /* where the last look has left off; empty: there was none */
	bool		due;			/* something may have happened */
	bool		looking;
	double		look_at;		/* not before then */
	double		sign_at;		/* of life */
	PGresult   *told;			/* by the last look, and its events by their names, sorted */
	Slice	   *names;
	size_t		nnames;
	struct Group *next;
	struct Group *previous;
} Group;

struct Stream
{
	Source		source;			/* of the client's socket */
	Request    *request;
	Group	   *group;
	bool		asked;			/* its own call is sent */
	bool		begun;			/* and is answered */
	bool		suspended;		/* it has nothing to send */
	double		end_by;
	Piece	   *first;			/* what is to be sent */
	Piece	  **last;
	size_t		offset;			/* so much of the first one is */
	size_t		waiting;		/* bytes */
	size_t		most;
	Stream	   *next;
	Stream	   *previous;
};

static Group *groups;
static int	nstreams;
static int	nlooks;

/* --- what is to be sent ----------------------------------------------------------------------- */

/* A text to be sent, with room; NULL: out of memory. */
static Message *
new_message(size_t size)
{
	Message    *message = malloc(sizeof(Message) + size);

	if (message == NULL)
		return NULL;
	message->references = 1;
	message->length = 0;
	return message;
}

/* Add to a text that has room for it. */
static void
add(Message *message, const char *text, size_t length)
{
	memcpy(message->text + message->length, text, length);
	message->length += length;
}

/* It is not needed here any more. */
static void
release(Message *message)
{
	if (--message->references == 0)
		free(message);
}

/* Forget the first piece of a stream. */
static void
drop_piece(Stream *stream)
{
	Piece	   *piece = stream->first;

	stream->waiting -= piece->message->length;
	stream->first = piece->next;
	if (stream->first == NULL)
		stream->last = &stream->first;
	stream->offset = 0;
	release(piece->message);
	free(piece);
}

/* The socket of a stream's client. */
static int
client_fd(const Stream *stream)
{
	return MHD_get_connection_info(stream->request->mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

/* Have libmicrohttpd ask for what is to be sent. */
static void
wake(Stream *stream)
{
	if (!stream->suspended)
		return;
	stream->suspended = false;
	MHD_resume_connection(stream->request->mhd);
}

/* End a stream at once, whatever was to be sent. */
static void
end(Stream *stream, const char *why)
{
	if (stream->request->ended != NULL)
		return;
	stream->request->ended = why;
	stream->end_by = now() + END_WAIT;
	while (stream->first != NULL)
		drop_piece(stream);
	wake(stream);
}

/* Put something at the end of what is to be sent, or before all of it. */
static void
put(Stream *stream, Message *message, bool before)
{
	Piece	   *piece = malloc(sizeof(Piece));

	if (piece == NULL)
	{
		end(stream, "memory");
		return;
	}
	piece->message = message;
	message->references++;
	stream->waiting += message->length;
	piece->next = NULL;
	if (before)
	{
		piece->next = stream->first;
		if (stream->first == NULL)
			stream->last = &piece->next;
		stream->first = piece;
	}
	else
	{
		*stream->last = piece;
		stream->last = &piece->next;
	}
	wake(stream);
}

/* Give a stream what all of its group get, unless it is too far behind: its client does not read. */
static void
give(Stream *stream, Message *message)
{
	if (!stream->asked || stream->request->ended != NULL)
		return;
	if (stream->waiting <= stream->most)
		put(stream, message, false);
	else
	{
		end(stream, "slow");
		if (stream->begun)
			(void) shutdown(client_fd(stream), SHUT_RDWR);
	}
}

/* Give it to all of a group. */
static void
give_all(Group *group, Message *message)
{
	for (Stream *stream = group->streams; stream != NULL; stream = stream->next)
		give(stream, message);
}

/* End all of a group, but those that are not answered yet, and will be told why. */
static void
end_all(Group *group, const char *why)
{
	for (Stream *stream = group->streams; stream != NULL; stream = stream->next)
	{
		if (stream->begun)
			end(stream, why);
	}
}

/* Callback: libmicrohttpd can send something. */
static ssize_t
read_stream(void *arg, uint64_t position, char *buffer, size_t size)
{
	Stream	   *stream = arg;
	size_t		length = 0;

	(void) position;
	while (stream->first != NULL && length < size)
	{
		const Message *message = stream->first->message;
		size_t		piece = message->length - stream->offset;

		if (piece > size - length)
			piece = size - length;
		memcpy(buffer + length, message->text + stream->offset, piece);
		length += piece;
		stream->offset += piece;
		if (stream->offset == message->length)
			drop_piece(stream);
	}
	if (length == 0 && stream->request->ended != NULL)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (length == 0)
	{
		stream->suspended = true;
		MHD_suspend_connection(stream->request->mhd);
	}
	stream->request->sent += length;
	return (ssize_t) length;
}

/* Callback: of a call with HEAD nothing is sent. */
static ssize_t
read_nothing(void *arg, uint64_t position, char *buffer, size_t size)
{
	(void) arg;
	(void) position;
	(void) buffer;
	(void) size;
	return MHD_CONTENT_READER_END_OF_STREAM;
}

/* The client of a stream has gone, or sends no more, as one that goes. */
static void
client_gone(Source *source, uint32_t events)
{
	Stream	   *stream = (Stream *) source;

	(void) events;
	unwatch(client_fd(stream));
	end(stream, "client");
}

/* --- looks ------------------------------------------------------------------------------------ */

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
static void
add_cursor(const Group *group, Message *message)
{
	if (group->cursor[0] == '\0')
		return;
	add(message, "id: ", 4);
	add(message, group->cursor, strlen(group->cursor));
	add(message, "\n\n", 2);
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
				add(message, block.data, block.length);
		}
		else
			add(message, block.data, block.length);
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
	Message    *message = new_message(content.length + sizeof(resync) + MAX_CURSOR + 8);
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
		add(message, resync, strlen(resync));
	if (message->length > 0)
	{
		add_cursor(group, message);
		give_all(group, message);
	}
	release(message);
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
static void
ask(Stream *stream)
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
		end_all(group, "memory");
	else if (request->status == 401 || request->status == 403)
		end_all(group, "rights");
	else if (request->status != 200)
	{
		group->due = true;
		group->look_at = now() + LOOK_RETRY;
	}
	PQclear(request->result);
	request->result = NULL;
	for (Stream *stream = group->streams; stream != NULL; stream = stream->next)
		ask(stream);
}

/* Make a look. */
static void
look(Group *group, double at)
{
	Request    *request = &group->look;

	request->status = 0;
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
static void
make_looks(double at)
{
	while (nlooks < MAX_LOOKS)
	{
		Group	   *next = NULL;

		for (Group *group = groups; group != NULL; group = group->next)
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
	for (Group *group = groups; group != NULL; group = group->next)
		group->due = true;
	make_looks(now());
}

/* --- streams ---------------------------------------------------------------------------------- */

/* The project that a stream is of, in the request's text; data NULL: all. */
static Slice
project_of(const Request *request)
{
	Slice		none = {NULL, 0};

	return request->uri.nparameters > 0 ? request->uri.values[0] : none;
}

/* Is a group that of a request? */
static bool
fits(const Group *group, const Request *request)
{
	Slice		project = project_of(request);

	if (strcmp(group->look.role, request->role) != 0 || (group->project == NULL) != (project.data == NULL))
		return false;
	return project.data == NULL || (strlen(group->project) == project.length && memcmp(group->project, project.data, project.length) == 0);
}

/* Make the group of a request; NULL: out of memory. */
static Group *
make_group(const Request *request)
{
	Group	   *group = calloc(1, sizeof(Group));
	Slice		project = project_of(request);

	if (group == NULL || (project.data != NULL && (group->project = strndup(project.data, project.length)) == NULL))
	{
		free(group);
		return NULL;
	}
	group->look.route = request->route;
	(void) strcpy(group->look.role, request->role);
	group->look.answered = looked;
	if (project.data != NULL)
	{
		group->look.uri.nparameters = 1;
		group->look.uri.names[0] = request->uri.names[0];
		group->look.uri.names[0].data = "project";
		group->look.uri.values[0].data = group->project;
		group->look.uri.values[0].length = project.length;
	}
	group->due = true;
	group->sign_at = now() + config.stream_keepalive;
	group->next = groups;
	if (groups != NULL)
		groups->previous = group;
	groups = group;
	return group;
}

/* Forget a group without streams. */
static void
free_group(Group *group)
{
	if (group->looking)
	{
		nlooks--;
		pool_leave(&group->look);
	}
	if (group->previous != NULL)
		group->previous->next = group->next;
	else
		groups = group->next;
	if (group->next != NULL)
		group->next->previous = group->previous;
	PQclear(group->told);
	free(group->names);
	free(group->project);
	free(group);
}

/* Make a stream of a request; NULL: out of memory. */
static Stream *
make_stream(Request *request)
{
	Stream	   *stream = calloc(1, sizeof(Stream));
	Group	   *group = groups;

	if (stream == NULL)
		return NULL;
	while (group != NULL && !fits(group, request))
		group = group->next;
	if (group == NULL && (group = make_group(request)) == NULL)
	{
		free(stream);
		return NULL;
	}
	stream->source.ready = client_gone;
	stream->request = request;
	stream->group = group;
	stream->last = &stream->first;
	stream->most = (size_t) config.stream_buffer;
	stream->next = group->streams;
	if (group->streams != NULL)
		group->streams->previous = stream;
	group->streams = stream;
	nstreams++;
	return stream;
}

/* A request wants a stream: have it answered. */
void
stream_join(Request *request)
{
	if (strcmp(request->method, "HEAD") == 0)
	{
		pool_take(request);
		return;
	}
	if (stopping())
		answer_busy(request, "the gateway is being stopped");
	else if (nstreams >= config.max_streams)
		answer_busy(request, "there are too many streams");
	else if ((request->stream = make_stream(request)) == NULL)
		answer_busy(request, "out of memory");
	if (request->status != 0)
	{
		request->state = REQUEST_ANSWERED;
		return;
	}
	request->state = REQUEST_WAITING;
	/* looks have to have begun */
	if (request->stream->group->cursor[0] != '\0')
		ask(request->stream);
	else
		make_looks(now());
}

/* A request is over, or will not become a stream. */
void
stream_leave(Request *request)
{
	Stream	   *stream = request->stream;

	if (stream == NULL)
		return;
	request->stream = NULL;
	if (stream->begun)
		unwatch(client_fd(stream));
	while (stream->first != NULL)
		drop_piece(stream);
	if (stream->previous != NULL)
		stream->previous->next = stream->next;
	else
		stream->group->streams = stream->next;
	if (stream->next != NULL)
		stream->next->previous = stream->previous;
	nstreams--;
	if (stream->group->streams == NULL)
		free_group(stream->group);
	free(stream);
}

/* Begin with what the call of a stream itself gives.  False: out of memory. */
static bool
begin(Stream *stream)
{
	Request    *request = stream->request;
	Message    *message = new_message(request->content_length + 32);
	char		retry[32];

	if (message == NULL || !watch(client_fd(stream), EPOLLRDHUP, &stream->source))
	{
		free(message);
		return false;
	}
	/* not all at the same moment, after the gateway was stopped */
	(void) snprintf(retry, sizeof(retry), "retry: %ld\n\n", RETRY_FROM + random() % (RETRY_TO - RETRY_FROM));
	add(message, retry, strlen(retry));
	add(message, request->content, request->content_length);
	stream->begun = true;
	if (stopping())
		end(stream, "stop");
	if (request->ended == NULL)
		put(stream, message, true);
	stream->most += message->length;
	release(message);
	return true;
}

/* The response that is a stream, if the answer of a request is one, or NULL. */
struct MHD_Response *
stream_response(Request *request)
{
	Stream	   *stream = request->stream;

	if (request->route == NULL || !request->route->stream)
		return NULL;
	if (request->status != 200)
	{
		stream_leave(request);
		return NULL;
	}
	if (stream == NULL)
		return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_SIZE, read_nothing, NULL, NULL);
	if (!begin(stream))
	{
		answer_busy(request, "out of memory");
		stream_leave(request);
		return NULL;
	}
	(void) MHD_set_connection_option(request->mhd, MHD_CONNECTION_OPTION_TIMEOUT, 0U);
	return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_SIZE, read_stream, stream, NULL);
}

/* --- time ------------------------------------------------------------------------------------- */

/* Do what is due for a stream. */
static void
tick(Stream *stream, double at)
{
	const Request *request = stream->request;

	if (!stream->begun)
		return;
	if (request->expires != 0 && at >= request->expires)
		end(stream, "token");
	if (request->ended != NULL && at >= stream->end_by)
	{
		(void) shutdown(client_fd(stream), SHUT_RDWR);
		stream->end_by = at + END_WAIT;
	}
}

/* Send a sign of life to all streams of a group. */
static void
sign(Group *group)
{
	static const char comment[] = ": keep-alive\n\n";
	Message    *message = new_message(sizeof(comment) + MAX_CURSOR + 8);

	if (message == NULL)
		return;
	add(message, comment, strlen(comment));
	add_cursor(group, message);
	give_all(group, message);
	release(message);
}

/* Do what is due. */
void
stream_tick(double at)
{
	for (Group *group = groups; group != NULL; group = group->next)
	{
		for (Stream *stream = group->streams; stream != NULL; stream = stream->next)
			tick(stream, at);
		if (stopping())
			end_all(group, "stop");
		if (group->looking && at >= group->look.deadline)
		{
			pool_leave(&group->look);
			group->look.status = 504;
			looked(&group->look);
		}
		/* what listeners are not told of, and rights that are lost, are seen as well */
		if (at >= group->sign_at)
		{
			group->sign_at = at + config.stream_keepalive;
			group->due = true;
			sign(group);
		}
	}
	if (groups != NULL && !stopping())
	{
		listen_tick(at);
		make_looks(at);
	}
}

/* End all streams: the gateway is stopped. */
void
stream_stop(void)
{
	for (Group *group = groups; group != NULL; group = group->next)
		end_all(group, "stop");
	listen_stop();
}
