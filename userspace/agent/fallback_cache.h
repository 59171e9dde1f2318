/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Configured GET paths of VIPs -> good answers of their nodes, kept for the worst case.
 *
 * Each (VIP, path) is asked of a healthy node every refresh_ms, of another one each time; what
 * counts is a whole 200 of at most FALLBACK_BODY_MAX bytes. A failure is tried again with the next
 * node after FALLBACK_CACHE_RETRY_MS (or refresh_ms, if that is less), and the last good answer
 * stays until it is older than its max_age. The request carries the bearer token of the node's
 * health check, if it has one: an answer to it is then given to clients without a token, which is
 * what naming the path in the configuration asks for.
 *
 * For the loop's thread only.
 */
#ifndef SLUICE_AGENT_FALLBACK_CACHE_H
#define SLUICE_AGENT_FALLBACK_CACHE_H

#include <systemd/sd-event.h>

#include "userspace/agent/fallback_site.h"

#define FALLBACK_CACHE_RETRY_MS 1000
#define FALLBACK_CACHE_CAUSE	160

struct fallback_cache;

/* Whom to ask, and how; what it points to is used during the call only. */
struct fallback_source {
	struct endpoint target;
	struct config_http http; /* scheme http or https */
	int64_t connect_timeout_ms;
	int64_t timeout_ms;
};

struct fallback_cache_ops {
	/* A node of the VIP that is well, another one with each turn. False: there is none. */
	bool (*pick)(void *userdata, const char *vip, uint32_t turn, struct fallback_source *ret);
	/* A new answer is there. */
	void (*changed)(void *userdata, const char *vip);
};

struct fallback_cache_report {
	const char *path;
	int64_t fetched_ms; /* -1: never */
	int64_t max_age_ms;
	uint64_t n_ok;
	uint64_t n_failed;
	const char *error; /* of the last try; "" if it worked */
};

/* ops must outlive it; event is referenced. Returns 0 or -ENOMEM. */
int fallback_cache_new(sd_event *event, const struct fallback_cache_ops *ops, void *userdata,
		       struct fallback_cache **ret);
void fallback_cache_free(struct fallback_cache **cache); /* accepts NULL inside; clears */

/*
 * What is kept of this VIP from now on; answers to paths that stay are kept, unless pool is
 * another one than before. Returns 0 or -ENOMEM (what could not be added is not kept).
 */
int fallback_cache_set(struct fallback_cache *cache, const char *vip, const char *pool,
		       const struct config_fallback *cfg);
void fallback_cache_forget(struct fallback_cache *cache, const char *vip);

/* Ask where it is time. */
void fallback_cache_tick(struct fallback_cache *cache, int64_t now_ms);

/* The answers of a VIP; the bodies are borrowed. Returns their number. */
uint32_t fallback_cache_list(const struct fallback_cache *cache, const char *vip,
			     struct fallback_cached ret[CONFIG_CACHE_MAX]);

uint32_t fallback_cache_report(const struct fallback_cache *cache, const char *vip,
			       struct fallback_cache_report ret[CONFIG_CACHE_MAX]);

#endif
