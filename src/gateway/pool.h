/*-------------------------------------------------------------------------
 *
 * pool.h
 *		Connections to the server: what pool.c and call.c know of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICAL_GATEWAY_POOL_H
#define CLINICAL_GATEWAY_POOL_H

#include "gateway.h"

#define MAX_ROUTES 32
#define MAX_STEPS 6

typedef enum ConnectionState
{
	IS_DOWN,
	IS_CONNECTING,
	IS_IDLE,
	IS_BUSY
} ConnectionState;

/* The steps of a call, in the order in which they were sent */
typedef enum Step
{
	STEP_PREPARE_SETUP,
	STEP_SETUP,
	STEP_PREPARE_CALL,
	STEP_CALL,
	STEP_SYNC
} Step;

struct Connection
{
	Source		source;
	int			number;
	ConnectionState state;
	PGconn	   *pg;
	int			fd;
	uint32_t	events;			/* that are waited for */
	double		since;			/* connecting since, or down until */
	int			failures;		/* in a row */
	bool		was_up;			/* it was made before */
	char		role[ROLE_LENGTH];	/* of the last call */
	bool		setup_prepared[2];	/* for writing, for reading */
	bool		prepared[MAX_ROUTES];
	/* the call */
	Request    *request;		/* NULL: nobody waits for it any more */
	const Route *route;
	Step		steps[MAX_STEPS];
	int			nsteps;
	int			step;
	bool		broken;			/* it can neither send nor receive */
	bool		failed;
	bool		failed_in_setup;
	char		sqlstate[6];
	PGresult   *result;
	bool		finished;		/* it is over, and only a cancel request is on its way */
	bool		cancelling;		/* one is on its way */
	double		cancel_again;	/* when the next one is due; 0: never */
};

/* What is told of the pool: connections by their state, and what was counted since the start */
typedef struct PoolFigures
{
	int			connections[IS_BUSY + 1];
	int			waiting;
	int			slow_waiting;
	uint64_t	no_connection;
	uint64_t	queue_full;
	uint64_t	reconnects;
	uint64_t	cancelled;
} PoolFigures;

extern void pool_figures(PoolFigures *figures);
extern bool pool_set_events(Connection *connection, uint32_t events);

#endif
