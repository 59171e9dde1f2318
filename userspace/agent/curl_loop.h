/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libcurl's multi interface driven by an sd-event loop: HTTP requests -> callbacks.
 *
 * Made for thousands of small requests a second over kept connections to thousands of targets:
 * - Its sockets live in a struct poll_set, stay in it while their connections are kept, and so cost
 *   no epoll_ctl() per request.
 * - Targets are spread over CURL_LOOP_SHARDS multi handles, since libcurl (7.88) walks over all
 *   connections of a multi handle whenever a transfer leaves it.
 * - Easy handles are borrowed from a pool for as long as a request takes.
 *
 * Every request starts out safe: http and https only, no redirects, proxy, netrc, signals, cookies,
 * content encodings, nor anything from the environment. Sockets get TCP_USER_TIMEOUT, so that a
 * host that went away is noticed on a kept connection as soon as on a new one.
 *
 * For the loop's thread only. Everything but curl_loop_free() may be called from its callbacks.
 */
#ifndef SLUICE_AGENT_CURL_LOOP_H
#define SLUICE_AGENT_CURL_LOOP_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "userspace/agent/poll_set.h"
#include "userspace/lib/address.h"

struct config_http;

#define CURL_LOOP_SHARDS 128

struct curl_loop;
struct curl_request;

/*
 * Whoever wants to know when the connection of its last request is closed by the peer while
 * nobody uses it. Embedded by the caller, who sets on_closed and calls curl_keeper_forget() before
 * the memory goes. Start from {0}.
 */
struct curl_keeper {
	void (*on_closed)(struct curl_keeper *keeper);
	bool plain; /* HTTP/1 without TLS: anything that comes unasked ends the connection */
	struct curl_loop *loop; /* private from here on; NULL: no connection */
	int fd;
};

/* How a request ended. */
struct curl_outcome {
	CURLcode code;
	int os_errno;      /* of the kernel, if it was what failed; else 0 */
	bool local;        /* no socket could be had on this host; os_errno says why */
	bool silent;       /* the peer acknowledged nothing: neither SYN nor data sent last */
	const char *error; /* libcurl's words, "" if it has none; valid during the callback */
};

/*
 * Any may be NULL. Negative returns end the request with CURLE_WRITE_ERROR. No callback follows
 * on_done or curl_request_cancel().
 */
struct curl_request_ops {
	/* One line of a header, with its CRLF; status lines and those of 1xx answers too. */
	int (*on_header)(void *userdata, const char *line, size_t len);
	int (*on_body)(void *userdata, const char *buf, size_t len);
	/* The easy handle still answers curl_easy_getinfo(); it is taken back after the call. */
	void (*on_done)(void *userdata, const struct curl_outcome *outcome);
};

struct curl_loop_stats {
	uint64_t connections; /* opened */
	uint32_t open;        /* sockets, kept ones included */
	uint32_t active;      /* requests under way */
	uint32_t pooled;      /* easy handles waiting for use */
};

/* set must outlive it; event is referenced. Initialises libcurl. Returns 0; -ENOMEM; -errno. */
int curl_loop_new(sd_event *event, struct poll_set *set, struct curl_loop **ret);

/* Ends all requests without a callback, closes all connections. Accepts NULL, clears. */
void curl_loop_free(struct curl_loop **loop);

void curl_loop_stats(const struct curl_loop *loop, struct curl_loop_stats *ret_stats);

/*
 * A request to that target, to be given its basics, then started or cancelled.
 * The URL must lead to the target given here. Returns 0 or -ENOMEM.
 */
int curl_request_new(struct curl_loop *loop, const struct endpoint *target,
		     struct curl_request **ret);

/* For curl_easy_setopt() and curl_easy_getinfo(); not for the options this module sets itself:
 * PRIVATE, WRITE, HEADER, ERRORBUFFER, OPENSOCKET and CLOSESOCKET functions and data. */
CURL *curl_request_easy(struct curl_request *req);

struct curl_basics {
	const char *url;
	CURLU *parsed;              /* the same URL, which saves parsing it each time; or NULL */
	struct curl_slist *headers; /* or NULL */
	int64_t connect_ms; /* until connected, TLS included; also how long a peer may leave what
			       was sent unacknowledged */
	int64_t total_ms;   /* all of the request */
	size_t body_max;    /* bytes, if the answer gives its length */
	size_t buffer_size; /* bytes read at once, 1024..65536 */
};

/* url is copied; parsed and headers must live as long as the request. Returns 0 or -ENOMEM. */
int curl_request_set_basics(struct curl_request *req, const struct curl_basics *basics);

/* Version; with https whom to believe and who to be, as configured. Texts are copied. */
void curl_request_set_http(struct curl_request *req, const struct config_http *http);

/* token is copied. Returns 0 or -ENOMEM. */
int curl_request_set_bearer(struct curl_request *req, const char *token);

/*
 * ops and *keeper (may be NULL) must live as long as the request. Sends nothing yet: that happens
 * in the loop's next round, or in curl_loop_flush(). Returns 0; -ENOMEM or -EIO, and the request
 * is then still the caller's.
 */
int curl_request_start(struct curl_request *req, const struct curl_request_ops *ops, void *userdata,
		       struct curl_keeper *keeper);

/* Send what was started and run what is due, after a batch of starts. Not from a callback of
 * struct curl_request_ops but on_done. Without it that happens in the loop's next round. */
void curl_loop_flush(struct curl_loop *loop);

/* Ends a request without a callback, started or not; from its own callbacks too. Its connection is
 * closed if it was under way. Accepts NULL, clears. */
void curl_request_cancel(struct curl_request **req);

void curl_keeper_forget(struct curl_keeper *keeper);

#endif
