/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connections: opened, watched by one epoll, fed through reader and check, ended with one cause.
 * Time comes in. Not thread-safe.
 */
#ifndef SLUICE_LOADGEN_CLIENT_H
#define SLUICE_LOADGEN_CLIENT_H

#include "tools/loadgen/http.h"
#include "tools/loadgen/options.h"
#include "tools/loadgen/output.h"
#include "tools/loadgen/stats.h"

#define CLIENT_RECEIVE_MAX 65536

struct client_link {
	struct client_link *next;
	struct client_link *prev;
};

struct client {
	const struct options *options;
	struct stats *stats;
	struct output *output;
	int epoll_fd;
	uint64_t n_opened; /* for taking targets and sources in turn */
	struct output_time now;
	/* Each list is in the order of its deadlines, as they are all equally long. */
	struct client_link connecting;
	struct client_link waiting;
	struct client_link closing;
	char received[CLIENT_RECEIVE_MAX];
};

/* Returns 0 or -errno. options, stats and output stay the caller's and must outlive it. */
int client_init(struct client *c, const struct options *o, struct stats *s, struct output *out);

/* Close what is open; active connections count as unfinished. */
void client_fini(struct client *c);

/* Open one more connection; a failure at once is counted like any other. */
void client_open(struct client *c, struct output_time now);

/* Wait for events and handle them; clock() gives the time after the wait. */
void client_wait(struct client *c, int timeout_ms, struct output_time (*clock)(void));

/* End what timed out. Returns the next deadline in microseconds, UINT64_MAX for none. */
uint64_t client_expire(struct client *c, struct output_time now);

#endif
