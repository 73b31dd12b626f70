/*-------------------------------------------------------------------------
 *
 * stream.c
 *		Streams of alerts: server-sent events.
 *
 * What they have to send is found by looks (look.c), and waits here until
 * libmicrohttpd can send it.  In between it leaves the client's socket
 * alone, which is therefore watched here.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "stream.h"

/* Seconds in which a client takes the end of its stream */
#define END_WAIT 1.0
/* Milliseconds after which a client is to come back, at least and at most */
#define RETRY_FROM 1000
#define RETRY_TO 3000
#define BLOCK_SIZE 16384

Group	   *stream_groups;
static int	nstreams;

/* --- what is to be sent ----------------------------------------------------------------------- */

/* A text to be sent, with room; NULL: out of memory. */
Message *
message_new(size_t size)
{
	Message    *message = malloc(sizeof(Message) + size);

	if (message == NULL)
		return NULL;
	message->references = 1;
	message->length = 0;
	return message;
}

/* Add to a text that has room for it. */
void
message_add(Message *message, const char *text, size_t length)
{
	memcpy(message->text + message->length, text, length);
	message->length += length;
}

/* It is not needed here any more. */
void
message_release(Message *message)
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
	message_release(piece->message);
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
void
stream_give_all(Group *group, Message *message)
{
	for (Stream *stream = group->streams; stream != NULL; stream = stream->next)
		give(stream, message);
}

/* End all of a group, but those that are not answered yet, and will be told why. */
void
stream_end_all(Group *group, const char *why)
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
	group->next = stream_groups;
	if (stream_groups != NULL)
		stream_groups->previous = group;
	stream_groups = group;
	return group;
}

/* Forget a group without streams. */
static void
free_group(Group *group)
{
	look_leave(group);
	if (group->previous != NULL)
		group->previous->next = group->next;
	else
		stream_groups = group->next;
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
	Group	   *group = stream_groups;

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
		look_ask(request->stream);
	else
		look_make(now());
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
	Message    *message = message_new(request->content_length + 32);
	char		retry[32];

	if (message == NULL || !watch(client_fd(stream), EPOLLRDHUP, &stream->source))
	{
		free(message);
		return false;
	}
	/* not all at the same moment, after the gateway was stopped */
	(void) snprintf(retry, sizeof(retry), "retry: %ld\n\n", RETRY_FROM + random() % (RETRY_TO - RETRY_FROM));
	message_add(message, retry, strlen(retry));
	message_add(message, request->content, request->content_length);
	stream->begun = true;
	if (stopping())
		end(stream, "stop");
	if (request->ended == NULL)
		put(stream, message, true);
	stream->most += message->length;
	message_release(message);
	return true;
}

/* The response that is a stream, if the answer of a request is one, or NULL. */
struct MHD_Response *
stream_response(Request *request)
{
	Stream	   *stream = request->stream;

	if (request->route == NULL || request->route->kind != ROUTE_STREAM)
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
	Message    *message = message_new(sizeof(comment) + MAX_CURSOR + 8);

	if (message == NULL)
		return;
	message_add(message, comment, strlen(comment));
	look_add_cursor(group, message);
	stream_give_all(group, message);
	message_release(message);
}

/* Do what is due. */
void
stream_tick(double at)
{
	for (Group *group = stream_groups; group != NULL; group = group->next)
	{
		for (Stream *stream = group->streams; stream != NULL; stream = stream->next)
			tick(stream, at);
		if (stopping())
			stream_end_all(group, "stop");
		look_tick(group, at);
		/* what listeners are not told of, and rights that are lost, are seen as well */
		if (at >= group->sign_at)
		{
			group->sign_at = at + config.stream_keepalive;
			group->due = true;
			sign(group);
		}
	}
	if (stream_groups != NULL && !stopping())
	{
		listen_tick(at);
		look_make(at);
	}
}

/* End all streams: the gateway is stopped. */
void
stream_stop(void)
{
	for (Group *group = stream_groups; group != NULL; group = group->next)
		stream_end_all(group, "stop");
	listen_stop();
}
