/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Targets to ask again and again -> results in the loop's thread.
 *
 * A probe is one target and one request: the health check of a node, or one of its pages of
 * metrics. An engine runs any number of them (thousands) from one sd-event loop: each starts every
 * interval +- jitter, never twice at once, over a connection of its own that is kept, within its
 * time and size limits. Plain HTTP/1 goes over http1.h, TLS and HTTP/2 over libcurl.
 * It judges what came back on the wire and no more; what a failure means for a node is health.h's.
 *
 * Nothing here trusts the other side: no redirects, no proxy, no cookies, no name resolution, no
 * content encoding; headers and bodies are capped; the total time is capped however slowly bytes
 * drip. What fails for want of something on this host (descriptors, memory, local ports, an
 * unreadable token or certificate) is PROBE_LOCAL and says nothing about the node.
 *
 * A kept connection that its peer closes between two probes starts the next probe at once, so a
 * process that ends is noticed without waiting for the interval.
 *
 * Time is the loop's (sd_event_now, CLOCK_MONOTONIC) in milliseconds. All functions must be called
 * from the loop's thread. All but the *_free() of an engine may be called from any callback here,
 * probe_free() of the very probe included. Not for use after fork().
 */
#ifndef SLUICE_AGENT_PROBE_H
#define SLUICE_AGENT_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "userspace/agent/config.h"
#include "userspace/lib/address.h"

#define PROBE_HEADER_MAX      (64u << 10) /* bytes of an answer's header, all 1xx included */
#define PROBE_BODY_MAX_HEALTH (64u << 10)
#define PROBE_BODY_MAX_LOAD   (8u << 20)
#define PROBE_CAUSE_MAX       160 /* with its NUL */

enum probe_outcome {
	PROBE_PASS = 1,        /* whole answer, status expected; tcp: connected */
	PROBE_FAIL_STATUS,     /* whole answer, status not expected */
	PROBE_REFUSED,         /* nobody listens there */
	PROBE_UNREACHABLE,     /* no route, no neighbour, prohibited */
	PROBE_CONNECT_TIMEOUT, /* nothing acknowledged: neither SYN nor, later, the request */
	PROBE_TIMEOUT,         /* connected, but no whole answer in time: busy */
	PROBE_RESET,           /* connected, then closed or reset without a byte of an answer */
	PROBE_TRUNCATED,       /* an answer began, and the connection ended within it */
	PROBE_TOO_BIG,         /* body over body_max */
	PROBE_BAD_RESPONSE,    /* not HTTP, header too long, content encoding nobody asked for */
	PROBE_BAD_BODY,        /* on_body said no */
	PROBE_TLS,             /* handshake or certificate */
	PROBE_LOCAL,           /* this host could not make the request; ignore for the node */
	PROBE_OUTCOME_N,
};

/* "pass", "refused", "connect timeout" …; "?" out of range. */
const char *probe_outcome_name(enum probe_outcome outcome);

enum probe_body {
	PROBE_BODY_DISCARD = 1, /* read (the connection is kept), counted, thrown away */
	PROBE_BODY_KEEP,        /* in probe_result.body, whatever the status */
	PROBE_BODY_STREAM,      /* to on_body piece by piece, if the status is an expected one */
};

struct probe_spec {
	struct endpoint target;     /* port set */
	struct config_http http;    /* scheme tcp: connect only; http and path are not used */
	const char *path;           /* "/health", with its query if it has one */
	int64_t interval_ms;        /* from start to start, > 0 */
	double jitter_ratio;        /* 0..0.5: each interval is interval_ms * (1 +- this) */
	int64_t connect_timeout_ms; /* > 0; TLS included; also the time to acknowledge a request */
	int64_t timeout_ms;         /* whole probe, > 0 */
	struct config_status_range expect_status[CONFIG_STATUS_MAX];
	uint32_t n_expect_status; /* 0: 200..299 */
	enum probe_body body;
	size_t body_max; /* bytes */
};

struct probe_result {
	enum probe_outcome outcome;
	uint16_t http_status; /* 0: no answer, or tcp */
	bool reused;          /* over a kept connection; connect_us is 0 then */
	bool framed;          /* the body's end was marked: by length, chunks or HTTP/2; if not, it
				 was the connection's end, and a body cut off looks whole */
	int64_t started_ms;
	int64_t now_ms;
	int64_t connect_us; /* until connected, 0 if it was not; without TLS */
	int64_t rtt_us;     /* from the request's sending (connected, TLS done) to its last byte;
			       tcp: connect_us; else 0 unless PASS or FAIL_STATUS */
	const char *body;   /* PROBE_BODY_KEEP: NUL-terminated, also if not whole; else NULL */
	size_t body_len;    /* of body; else the bytes that came */
	const char *cause;  /* one line for people, printable ASCII, "" on PASS */
			    /* body and cause are valid during the callback only. */
};

struct probe;
struct probe_engine;

/* Any may be NULL but on_result, and on_body with PROBE_BODY_STREAM. */
struct probe_ops {
	/* A probe is about to be sent: read now what the answer is to be compared with. */
	void (*on_start)(struct probe *p, void *userdata, int64_t now_ms);
	/* The next len bytes of the body. Negative ends the probe as PROBE_BAD_BODY. */
	int (*on_body)(struct probe *p, void *userdata, const char *buf, size_t len);
	/* Once per on_start, unless the probe was freed, changed or paused between. */
	void (*on_result)(struct probe *p, void *userdata, const struct probe_result *res);
};

struct probe_stats {
	uint64_t outcomes[PROBE_OUTCOME_N]; /* results, by outcome */
	uint64_t started;
	uint64_t connections; /* opened */
	uint64_t woken;       /* started early: a kept connection was closed by its peer */
	int64_t late_max_ms;  /* latest start behind its time, or behind the loop's first round, since
				 probe_engine_stats_reset() */
	uint32_t probes;
	uint32_t in_flight;
};

/* Returns 0; -ENOMEM; -errno of the kernel. event is referenced. */
int probe_engine_new(sd_event *event, struct probe_engine **ret);

/* Frees its probes too, without a callback. Not from a callback. Accepts NULL, clears. */
void probe_engine_free(struct probe_engine **engine);

void probe_engine_stats(const struct probe_engine *engine, struct probe_stats *ret_stats);
void probe_engine_stats_reset(struct probe_engine *engine); /* late_max_ms only */

/*
 * A probe that starts by itself: soon, but spread over the interval when there are many.
 * spec, strings included, is copied; ops must outlive the probe.
 * Returns 0; -ENOMEM; -EINVAL for a spec outside the ranges above.
 */
int probe_new(struct probe_engine *engine, const struct probe_spec *spec,
	      const struct probe_ops *ops, void *userdata, struct probe **ret);

/* No callback follows. Accepts NULL, clears. */
void probe_free(struct probe **p);

/*
 * Replace what is asked. A change of interval, jitter, timeouts or expected status leaves the
 * schedule (the shorter interval applies from the last start) and a request under way alone, which
 * ends by the old limits; any other change drops it and asks anew at once.
 * Returns as probe_new(); p is unchanged on failure.
 */
int probe_update(struct probe *p, const struct probe_spec *spec);

/* Start once in_ms from now (0: now), then again every interval. Under way: after its end. */
void probe_again(struct probe *p, int64_t in_ms);

/* Drop what is under way and start no more until probe_resume(), which starts at once. */
void probe_pause(struct probe *p);
void probe_resume(struct probe *p);

/* The spec of a node's health check, and of one page of its metrics. They borrow all strings. */
void probe_spec_health(const struct config_node *node, struct probe_spec *ret_spec);
void probe_spec_page(const struct config_node *node, const struct config_page *page,
		     struct probe_spec *ret_spec);

#endif
