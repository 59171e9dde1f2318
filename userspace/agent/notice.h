/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happens to the nodes of a pool, or to removed ones -> log lines, each of the first ones of a second, and the
 * others summed up in one when it is over. A rack that goes dark is then a few lines to read and
 * not a thousand; the API and the metrics have every node and every cause. At level debug every
 * line is there.
 */
#ifndef SLUICE_AGENT_NOTICE_H
#define SLUICE_AGENT_NOTICE_H

#include <stdbool.h>
#include <stdint.h>

#include "maps/backend.h"
#include "userspace/lib/log.h"

#define NOTICE_LINES  20 /* of one kind in one second */
#define NOTICE_SPAN_MS 1000
#define NOTICE_STATES (LB_STATE_MAINTENANCE + 1)

enum notice_kind {
	NOTICE_STATE = 1, /* changes of state: notice_change() */
	NOTICE_NO_LOAD,	  /* a page of metrics fails */
	NOTICE_LOAD,	  /* and is there again */
	NOTICE_UNMATCHED, /* an expression never matched */
	NOTICE_NOT_ASKED, /* this host could not make a check */
	NOTICE_NO_ROUTE,
	NOTICE_ADDED,
	NOTICE_REMOVED,
	NOTICE_NAMED, /* by discovery, again */
	NOTICE_UNNAMED,
	NOTICE_UNFIT, /* discovery names what the pool cannot have */
	NOTICE_CUT,   /* their remaining flows are reset */
	NOTICE_GONE,  /* nothing is left of them */
	NOTICE_N,
};

/* Of one pool, or of all nodes that were removed; start from {0}. */
struct notices {
	int64_t begin_ms[NOTICE_N]; /* of the second that is counted */
	uint32_t lines[NOTICE_N];
	uint32_t more[NOTICE_N]; /* not written */
	uint32_t changes[NOTICE_STATES][NOTICE_STATES]; /* those of NOTICE_STATE, from and to */
};

/* A line about a node; written, or counted. Not for NOTICE_STATE. */
void notice(struct notices *n, enum notice_kind kind, int64_t now_ms, enum log_level level,
	    const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* A change of state in these words. */
void notice_change(struct notices *n, enum lb_state from, enum lb_state to, int64_t now_ms,
		   enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 6, 7)));

/* Writes the sums of seconds that are over; pool: whose, NULL: of no pool. */
void notice_step(struct notices *n, const char *pool, int64_t now_ms);

#endif
