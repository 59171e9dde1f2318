/* SPDX-License-Identifier: BSD-2-Clause */
/* What fallback_server.c, fallback_conns.c and fallback_http.c know of each other. */
#ifndef SLUICE_AGENT_FALLBACK_PRIV_H
#define SLUICE_AGENT_FALLBACK_PRIV_H

#include <pthread.h>

#include "userspace/agent/fallback_server.h"

struct MHD_Daemon;

enum fallback_phase {
	FALLBACK_READING,
	FALLBACK_ANSWERING,
	FALLBACK_SENDING, /* nothing is read any more */
};

/* An open connection; in the order in which they began. */
struct fallback_conn {
	struct fallback_conn *prev, *next;
	struct endpoint local; /* the VIP */
	int64_t began_ms;
	int64_t look_ms; /* not silent for long enough before that */
	int fd;
	bool expired;
	enum fallback_phase phase; /* changed atomically */
};

struct fallback_gate {
	struct fallback_gate *next;
	struct MHD_Daemon *daemon;
	char *certificate; /* NULL: plain */
	char *key;
	uint32_t n_listeners;
};

struct fallback_listener {
	struct endpoint ep;
	uint64_t id; /* in epoll events; never used twice */
	int fd;
	struct fallback_gate *gate; /* NULL: connections are reset */
};

struct fallback_server {
	struct fallback_server_settings settings;
	uint64_t random; /* changed atomically */

	pthread_mutex_t lock; /* gates and listeners; held by the acceptor for one batch */
	struct fallback_gate *gates;
	struct fallback_listener *listeners;
	uint32_t n_listeners;
	uint64_t next_id;

	pthread_mutex_t conns_lock; /* the list, and their descriptors' being open */
	struct fallback_conn *first, *last;
	uint32_t n_conns;

	struct fallback_server_stats stats; /* changed atomically; open is n_conns */
	pthread_t acceptor;
	bool acceptor_runs;
	bool stop;
	int epoll_fd;
	int wake_fd;
};

/* --- fallback_http.c --- */

/* Returns 0; -EKEYREJECTED; -EIO; -ENOMEM. */
int fallback_gate_new(struct fallback_server *server, const struct fallback_tls *tls,
		      struct fallback_gate **ret_gate);
void fallback_gate_free(struct fallback_gate **gate); /* accepts NULL inside; clears */

/* Takes fd over, whatever happens. */
void fallback_gate_enter(struct fallback_server *server, struct fallback_gate *gate, int fd,
			 const struct endpoint *peer);

uint32_t fallback_gate_connections(const struct fallback_gate *gate);

/* --- fallback_conns.c --- */

/* A connection opened; NULL: out of memory. */
struct fallback_conn *fallback_conn_open(struct fallback_server *server, int fd);

/* From its own thread; it begins with FALLBACK_READING. */
void fallback_conn_set_phase(struct fallback_conn *conn, enum fallback_phase phase);

/* Before its descriptor is closed. */
void fallback_conn_close(struct fallback_server *server, struct fallback_conn *conn);

/*
 * Whoever is silent, or open, for too long is cut off; its thread then sees the end and closes it.
 * A client whose words lie unread is not: whatever that takes is this host's doing.
 */
void fallback_conns_expire(struct fallback_server *server, int64_t now_ms);

uint32_t fallback_conns_open(struct fallback_server *server);

/* --- fallback_server.c --- */

/* Lower the calling thread's priority, once. */
void fallback_be_nice(void);

#endif
