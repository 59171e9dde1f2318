/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connections to VIPs with nothing left -> answers of a board (fallback_site.h), over HTTP and
 * HTTPS, in threads of their own.
 *
 *	fallback_server.c  listening sockets, one thread that accepts
 *	fallback_conns.c   what is open, and allowed to stay so
 *	fallback_http.c    libmicrohttpd: requests read, answers sent, by a pool of epoll threads
 *
 * Listening sockets come and go (at reloads) without touching connections in progress: those
 * belong to a gate (one libmicrohttpd daemon without TLS, one for each certificate), and a gate
 * that no socket leads to any more lives until its last connection ends.
 *
 * Crowds and slow clients: at most `connections` at once, more are closed at once; a client may be
 * silent for FALLBACK_SILENCE_MS, and its connection open for FALLBACK_LIFETIME_MS in all, however
 * slowly bytes drip. Both are asked of the kernel (TCP_INFO, bytes that lie unread): a request that
 * these threads have not come to on a starved host is no silence, and waits for as long as it
 * takes. A header may have FALLBACK_MEMORY bytes. Request bodies are read and dropped up to
 * FALLBACK_DROP_MAX, so that a client which writes first gets the answer and not a reset. The
 * threads run at a lower priority than the agent's loop.
 */
#ifndef SLUICE_AGENT_FALLBACK_SERVER_H
#define SLUICE_AGENT_FALLBACK_SERVER_H

#include "userspace/agent/fallback_site.h"

#define FALLBACK_LIFETIME_MS 60000
#define FALLBACK_SILENCE_MS  15000
#define FALLBACK_MEMORY	     16384	  /* of a connection */
#define FALLBACK_DROP_MAX    (64u << 20) /* bytes of a request's body */
#define FALLBACK_THREADS     2		  /* of a gate */
#define FALLBACK_NICE	     10

struct fallback_server;

struct fallback_server_settings {
	struct fallback_board *board; /* must outlive the server */
	uint32_t connections;
	int64_t lifetime_ms; /* 0: FALLBACK_LIFETIME_MS */
	int64_t silence_ms;  /* 0: FALLBACK_SILENCE_MS */
	int64_t (*now_ms)(void); /* CLOCK_MONOTONIC; called from any thread */
};

struct fallback_server_stats {
	uint32_t open;
	uint64_t accepted;
	uint64_t refused; /* closed at once: too many, or no descriptor for it */
	uint64_t expired; /* silent or open for too long */
};

/* PEM text, NUL-terminated. */
struct fallback_tls {
	const char *certificate;
	const char *key;
};

/* Returns 0; -ENOMEM; -EIO if libmicrohttpd does not start; -errno. */
int fallback_server_new(const struct fallback_server_settings *settings,
			struct fallback_server **ret);

/* Closes all connections. Accepts NULL inside; clears. */
void fallback_server_free(struct fallback_server **server);

/*
 * Listen there, whether or not this host has the address; tls: NULL for plain HTTP, and copied.
 * Of an endpoint that is listened on already the TLS settings change, for new connections.
 * Returns 0; -EKEYREJECTED for a certificate or key that does not fit; -ENOMEM; -errno of bind().
 */
int fallback_server_listen(struct fallback_server *server, const struct endpoint *ep,
			   const struct fallback_tls *tls);

/*
 * Listen there, and reset every connection at once (the kernel by itself sends no reset from an
 * IPv4 address that is not this host's). Returns 0; -ENOMEM; -errno of bind().
 */
int fallback_server_refuse(struct fallback_server *server, const struct endpoint *ep);

/* Take no more connections there. Those that wait to be accepted are accepted first. */
void fallback_server_unlisten(struct fallback_server *server, const struct endpoint *ep);

bool fallback_server_listens(struct fallback_server *server, const struct endpoint *ep);

/* Stop gates that nothing leads to and nobody is in any more. Once in a while, from the loop. */
void fallback_server_sweep(struct fallback_server *server);

void fallback_server_stats(struct fallback_server *server, struct fallback_server_stats *ret_stats);

#endif
