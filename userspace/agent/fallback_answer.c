// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/fallback_answer.h"

#include <string.h>

#define DEFAULT_STATUS	     503
#define DEFAULT_RETRY_MIN_MS 500
#define DEFAULT_RETRY_MAX_MS 3000

#define ERROR_BODY(type)                                                                           \
	"{\"error\":{\"message\":\"The engine is currently overloaded, please try again later\","  \
	"\"type\":\"" type "\",\"param\":null,\"code\":\"server_overloaded\"}}"

/* As OpenAI's API words them: by status. */
static const char *error_body(uint16_t status)
{
	if (status == 429)
		return ERROR_BODY("rate_limit_error");
	if (status < 500)
		return ERROR_BODY("invalid_request_error");
	return ERROR_BODY("server_error");
}

int64_t fallback_retry_after_s(int64_t retry_ms)
{
	return retry_ms <= 1000 ? 1 : (retry_ms + 999) / 1000;
}

/* min..max, both included. */
static int64_t jitter(int64_t min_ms, int64_t max_ms, uint64_t random)
{
	if (max_ms <= min_ms)
		return min_ms;
	return min_ms + (int64_t)(random % (uint64_t)(max_ms - min_ms + 1));
}

static const struct fallback_cached *find_cached(const struct fallback_site *site,
						 const char *target, int64_t now_ms)
{
	for (uint32_t i = 0; i < site->n_cached; i++) {
		const struct fallback_cached *c = &site->cached[i];

		if (c->body && !strcmp(c->path, target) && now_ms - c->fetched_ms <= c->max_age_ms)
			return c;
	}
	return NULL;
}

static void answer_degraded(const struct fallback_site *site, uint64_t random,
			    struct fallback_answer *ret)
{
	*ret = (struct fallback_answer){.type = "application/json"};
	ret->status = site ? site->status : DEFAULT_STATUS;
	ret->retry_ms = jitter(site ? site->retry_min_ms : DEFAULT_RETRY_MIN_MS,
			       site ? site->retry_max_ms : DEFAULT_RETRY_MAX_MS, random);
	if (site && site->body) {
		ret->type = site->body_type;
		ret->body = site->body;
	} else {
		ret->text = error_body(ret->status);
	}
}

void fallback_answer(const struct fallback_site *site, const char *method, const char *target,
		     int64_t now_ms, uint64_t random, struct fallback_answer *ret)
{
	const struct fallback_cached *c = NULL;

	if (site && (!strcmp(method, "GET") || !strcmp(method, "HEAD")))
		c = find_cached(site, target, now_ms);
	if (!c) {
		answer_degraded(site, random, ret);
		return;
	}
	*ret = (struct fallback_answer){
		.status = 200,
		.cached = true,
		.type = c->type,
		.body = c->body,
		.age_s = now_ms > c->fetched_ms ? (now_ms - c->fetched_ms) / 1000 : 0,
	};
}
