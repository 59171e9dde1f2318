/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the parts of the probe module know of each other. For probe*.c and their tests only.
 *
 *	probe.c         when a probe starts, and who hears of its end
 *	probe_spec.c    a spec: checked, copied, made ready to be sent
 *	probe_http1.c   the way over a socket: plain HTTP/1, and connect only
 *	probe_curl.c    the way over libcurl: TLS and HTTP/2
 *	probe_outcome.c how it ended, in one word and in one line
 */
#ifndef SLUICE_AGENT_PROBE_INTERNAL_H
#define SLUICE_AGENT_PROBE_INTERNAL_H

#include "userspace/agent/bearer.h"
#include "userspace/agent/curl_loop.h"
#include "userspace/agent/http1.h"
#include "userspace/agent/poll_set.h"
#include "userspace/agent/probe.h"
#include "userspace/agent/probe_outcome.h"
#include "userspace/lib/due_queue.h"

#define PROBE_RECV_SIZE 65536

enum probe_state {
	PROBE_WAITING = 1, /* in the queue, for the next start */
	PROBE_STARTING,    /* in on_start */
	PROBE_CONNECTING,  /* fd; in the queue, for its deadline */
	PROBE_SENDING,     /* fd; in the queue, for its deadline */
	PROBE_READING,     /* fd; in the queue, for its deadline */
	PROBE_CURL,        /* req is under way; deadlines are libcurl's */
	PROBE_PAUSED,
};

/* The way a probe takes. */
enum probe_way { PROBE_WAY_CONNECT = 1, PROBE_WAY_HTTP1, PROBE_WAY_CURL };

/* What a spec becomes. Start from {0}; release with probe_prepared_free(). */
struct probe_prepared {
	struct probe_spec spec; /* its strings are in `strings` */
	enum probe_way way;
	char *strings;
	char *request; /* HTTP1: all lines but the token and the empty one */
	size_t request_len;
	char *url; /* CURL, and the next three */
	CURLU *parsed;
	struct curl_slist *headers;
	struct curl_slist *connect_to;
	struct bearer *bearer;
};

struct probe {
	struct probe_engine *engine;
	struct probe *prev, *next; /* in engine->probes */
	struct probe_prepared pr;
	const struct probe_ops *ops;
	void *userdata;

	enum probe_state state;
	uint32_t in_callback; /* depth; freed when it is left, if dead */
	bool dead;
	bool woken; /* this start was early, for a connection closed by its peer */
	struct due due;
	int64_t again_ms; /* the start asked for meanwhile; -1: none */
	int64_t started_ms;
	int64_t wake_hold_ms; /* no early start before */

	/* over a socket */
	int fd;        /* -1: none; while waiting: a kept connection */
	bool reused;   /* fd was kept from an earlier probe */
	bool answered; /* bytes came for this request */
	int64_t connect_us;
	int64_t began_us; /* connect(), later send() */
	char *unsent;     /* SENDING: unsent_len bytes left at unsent_at */
	size_t unsent_at;
	size_t unsent_len;
	struct http1 http1;

	/* over libcurl */
	struct curl_request *req;
	struct curl_keeper keeper;
	bool framed;
	bool encoded;

	/* the answer so far */
	uint64_t header_bytes;
	uint64_t body_bytes;
	enum probe_outcome stop; /* 0: go on */
	const char *stop_error;
	char *body; /* PROBE_BODY_KEEP: body_len bytes of body_size */
	size_t body_len;
	size_t body_size;
};

struct probe_engine {
	sd_event *event;
	sd_event_source *timer;
	struct poll_set *set;
	struct curl_loop *curl;
	struct bearer_store *bearers;
	struct due_queue queue;
	struct probe *probes;
	struct probe_stats stats;
	uint64_t armed_us;
	uint64_t rng;
	uint32_t burst; /* probes made since the last pause in making them */
	int64_t burst_end_ms;
	int64_t began_ms; /* when the loop first ran; 0: not yet */
	int64_t stall_ms; /* when the loop was last seen to be held up; -1: never */
	bool curl_only;   /* tests: no probe goes the way of HTTP1 */
	char recv[PROBE_RECV_SIZE];
};

/* --- probe.c --- */

int64_t probe_engine_now(const struct probe_engine *engine);

/* Put it into the queue: its next start, or the deadline of what is under way. */
void probe_due(struct probe *p, int64_t at_ms);

/* Keeps p's memory while a callback may free it. The second returns false if p is gone then. */
void probe_hold(struct probe *p);
bool probe_release(struct probe *p);

/* The next piece of the body of an answer with this status. Negative: p->stop says why. */
int probe_take_body(struct probe *p, uint16_t status, bool encoded, const char *buf, size_t len);

/* Tell the result and set the next start. facts: for the outcome and its cause; times and the
 * like are already in *res. p may be gone afterwards. */
void probe_finish(struct probe *p, const struct probe_facts *facts, struct probe_result *res);

/* For want of something on this host (positive errno). p may be gone afterwards. */
void probe_finish_local(struct probe *p, const char *what, int err);

/* The peer closed the connection that was kept for the next probe. */
void probe_wake(struct probe *p);

/* --- probe_spec.c --- */

/* Returns 0; -EINVAL; -ENOMEM. *ret is for probe_prepared_free() in any case. */
int probe_prepare(struct probe_engine *engine, const struct probe_spec *spec,
		  struct probe_prepared *ret);
void probe_prepared_free(struct probe_prepared *pr);

/* Whether the ranges of probe.h hold. */
bool probe_spec_valid(const struct probe_spec *spec);

/* Whether both send the same request to the same place and read its answer in the same way. */
bool probe_same_request(const struct probe_spec *a, const struct probe_spec *b);

bool probe_status_expected(const struct probe_spec *spec, long status);

/* --- probe_http1.c: ways CONNECT and HTTP1 --- */

void probe_http1_start(struct probe *p, int64_t now_ms);
void probe_http1_deadline(struct probe *p);

/* Close the socket, kept or in use, without a word. */
void probe_http1_drop(struct probe *p);

/* --- probe_curl.c --- */

void probe_curl_start(struct probe *p, int64_t now_ms);
void probe_curl_drop(struct probe *p);
void probe_curl_init(struct probe *p);

#endif
