/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A request to a VIP with nothing left -> the answer: a cached good one, or "come back soon".
 *
 * Cached: GET or HEAD of a configured path, exactly as the client wrote it with its query, if a
 * node's answer to it is not older than its max_age. Otherwise the degraded answer: the site's
 * status (503) with retry-after-ms, jittered so that clients do not come back all at once,
 * retry-after (whole seconds, rounded up), x-should-retry, and the site's body or an OpenAI-style
 * JSON error. Clients' SDKs retry it (openai-node, openai-python: src/client, _base_client).
 * Every answer closes its connection, so that the next request is balanced anew.
 *
 * Pure: no clock, no I/O, no random numbers of its own.
 */
#ifndef SLUICE_AGENT_FALLBACK_ANSWER_H
#define SLUICE_AGENT_FALLBACK_ANSWER_H

#include "userspace/agent/fallback_site.h"

struct fallback_answer {
	uint16_t status;
	bool cached;
	const char *type;	    /* Content-Type; of the site, or static */
	struct fallback_blob *body; /* of the site; NULL: text */
	const char *text;	    /* static */
	int64_t age_s;		    /* cached: since the node answered */
	int64_t retry_ms;	    /* degraded */
};

/*
 * site: NULL for a VIP that is gone: the default answer. random: any 64 bits.
 * What ret points to lives as long as the site.
 */
void fallback_answer(const struct fallback_site *site, const char *method, const char *target,
		     int64_t now_ms, uint64_t random, struct fallback_answer *ret);

/* Whole seconds, rounded up, at least 1. */
int64_t fallback_retry_after_s(int64_t retry_ms);

#endif
