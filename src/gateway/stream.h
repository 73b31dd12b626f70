/*-------------------------------------------------------------------------
 *
 * stream.h
 *		Streams of alerts, and the looks that are made for them: what stream.c
 *		and look.c know of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_GATEWAY_STREAM_H
#define CLINICAL_GATEWAY_STREAM_H

#include "gateway.h"

#define MAX_CURSOR 128

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

extern Group *stream_groups;

/* stream.c */
extern Message *message_new(size_t size);
extern void message_add(Message *message, const char *text, size_t length);
extern void message_release(Message *message);
extern void stream_give_all(Group *group, Message *message);
extern void stream_end_all(Group *group, const char *why);

/* look.c */
extern void look_ask(Stream *stream);
extern void look_add_cursor(const Group *group, Message *message);
extern void look_tick(Group *group, double at);
extern void look_make(double at);
extern void look_leave(Group *group);

#endif
