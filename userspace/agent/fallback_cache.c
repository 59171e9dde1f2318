// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/fallback_cache.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/bearer.h"
#include "userspace/agent/curl_loop.h"
#include "userspace/lib/log.h"

#define BUFFER_SIZE 16384
#define URL_MAX	    2304

struct entry {
	struct entry *next;
	struct fallback_cache *cache;
	char vip[LB_NAME_MAX];
	char pool[LB_NAME_MAX];
	char *path;
	int64_t refresh_ms;
	int64_t max_age_ms;
	int64_t next_ms;
	uint32_t turn;
	bool wanted; /* while a configuration is taken over */

	struct fallback_blob *body; /* the last good answer; NULL: none yet */
	char type[FALLBACK_TYPE_MAX];
	int64_t fetched_ms;
	uint64_t n_ok;
	uint64_t n_failed;
	char cause[FALLBACK_CACHE_CAUSE];

	struct curl_request *req; /* under way; NULL: none */
	struct curl_slist *connect_to;
	int64_t asked_ms;
	char *answer;
	size_t answer_len;
};

struct fallback_cache {
	sd_event *event;
	const struct fallback_cache_ops *ops;
	void *userdata;
	struct entry *entries;
	struct poll_set *set; /* these three: once there is something to ask */
	struct curl_loop *curl;
	struct bearer_store *bearers;
};

/* --- one request ------------------------------------------------------------------------------ */

static void drop_answer(struct entry *e)
{
	free(e->answer);
	e->answer = NULL;
	e->answer_len = 0;
}

static int64_t retry_ms(const struct entry *e)
{
	return e->refresh_ms < FALLBACK_CACHE_RETRY_MS ? e->refresh_ms : FALLBACK_CACHE_RETRY_MS;
}

static void failed(struct entry *e, const char *cause)
{
	bool new_cause = strcmp(e->cause, cause) != 0;

	e->n_failed++;
	e->next_ms = e->asked_ms + retry_ms(e);
	snprintf(e->cause, sizeof(e->cause), "%s", cause);
	if (new_cause)
		log_warn("vip %s: no answer to keep for %s: %s%s", e->vip, e->path, cause,
			 e->body ? "; the last good one stays" : "");
}

static void take_answer(struct entry *e, const char *type)
{
	struct fallback_blob *body = fallback_blob_new(e->answer, e->answer_len);

	if (!body) {
		failed(e, "out of memory");
		return;
	}
	if (!e->body || e->cause[0])
		log_info("vip %s: an answer is kept for %s, %zu bytes", e->vip, e->path,
			 e->answer_len);
	fallback_blob_unref(&e->body);
	e->body = body;
	snprintf(e->type, sizeof(e->type), "%s", type ? type : "application/json");
	e->fetched_ms = e->asked_ms;
	e->next_ms = e->asked_ms + e->refresh_ms;
	e->cause[0] = '\0';
	e->n_ok++;
	e->cache->ops->changed(e->cache->userdata, e->vip);
}

static int on_body(void *userdata, const char *buf, size_t len)
{
	struct entry *e = userdata;
	char *answer;

	if (len > FALLBACK_BODY_MAX - e->answer_len)
		return -1;
	answer = realloc(e->answer, e->answer_len + len + 1);
	if (!answer)
		return -1;
	e->answer = answer;
	memcpy(answer + e->answer_len, buf, len);
	e->answer_len += len;
	return 0;
}

static void on_done(void *userdata, const struct curl_outcome *outcome)
{
	struct entry *e = userdata;
	CURL *easy = curl_request_easy(e->req);
	char cause[FALLBACK_CACHE_CAUSE];
	const char *type = NULL;
	long status = 0;

	(void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	(void)curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &type);
	e->req = NULL; /* goes back to the loop after this */
	if (outcome->code == CURLE_OK && status == 200) {
		take_answer(e, type);
	} else {
		if (outcome->code == CURLE_OK)
			snprintf(cause, sizeof(cause), "status %ld", status);
		else if (outcome->code == CURLE_WRITE_ERROR)
			snprintf(cause, sizeof(cause), "over %u bytes", FALLBACK_BODY_MAX);
		else
			snprintf(cause, sizeof(cause), "%s",
				 *outcome->error ? outcome->error
						 : curl_easy_strerror(outcome->code));
		failed(e, cause);
	}
	drop_answer(e);
	curl_slist_free_all(e->connect_to);
	e->connect_to = NULL;
}

static const struct curl_request_ops ops = {.on_body = on_body, .on_done = on_done};

/* With TLS the URL has the host's name, for the certificate; where to connect is said apart. */
static int set_url(struct entry *e, const struct fallback_source *src, char *url, size_t size)
{
	bool tls = src->http.scheme == CONFIG_SCHEME_HTTPS;
	char at[ENDPOINT_TEXT_MAX], name[512], to[1024];
	int n;

	endpoint_format(&src->target, at);
	snprintf(name, sizeof(name), "%s", at);
	if (src->http.host) {
		snprintf(name, sizeof(name), "%s:%u", src->http.host, src->target.port);
		n = snprintf(to, sizeof(to), "%s:%s", name, at);
		if (n >= (int)sizeof(to))
			return -ENAMETOOLONG;
		e->connect_to = curl_slist_append(NULL, to);
		if (!e->connect_to)
			return -ENOMEM;
	}
	n = snprintf(url, size, "%s://%s%s", tls ? "https" : "http", name, e->path);
	return n >= (int)size ? -ENAMETOOLONG : 0;
}

static int set_token(struct entry *e, const char *file, int64_t now_ms)
{
	struct bearer *bearer = NULL;
	const char *token;
	int r;

	r = bearer_open(e->cache->bearers, file, &bearer);
	if (r == 0)
		r = bearer_token(bearer, now_ms, &token);
	if (r == 0)
		r = curl_request_set_bearer(e->req, token);
	bearer_close(&bearer);
	return r;
}

static int set_options(struct entry *e, const struct fallback_source *src, int64_t now_ms)
{
	char url[URL_MAX];
	struct curl_basics basics = {
		.url = url,
		.connect_ms = src->connect_timeout_ms,
		.total_ms = src->timeout_ms,
		.body_max = FALLBACK_BODY_MAX,
		.buffer_size = BUFFER_SIZE,
	};
	int r;

	r = set_url(e, src, url, sizeof(url));
	if (r == 0)
		r = curl_request_set_basics(e->req, &basics);
	if (r < 0)
		return r;
	if (e->connect_to)
		curl_easy_setopt(curl_request_easy(e->req), CURLOPT_CONNECT_TO, e->connect_to);
	curl_request_set_http(e->req, &src->http);
	return src->http.bearer_file ? set_token(e, src->http.bearer_file, now_ms) : 0;
}

static void stop(struct entry *e)
{
	curl_request_cancel(&e->req);
	curl_slist_free_all(e->connect_to);
	e->connect_to = NULL;
	drop_answer(e);
}

static int start_curl(struct fallback_cache *cache)
{
	int r = 0;

	if (!cache->set)
		r = poll_set_new(cache->event, &cache->set);
	if (r == 0 && !cache->curl)
		r = curl_loop_new(cache->event, cache->set, &cache->curl);
	if (r == 0 && !cache->bearers)
		r = bearer_store_new(&cache->bearers);
	return r;
}

static void ask(struct entry *e, int64_t now_ms)
{
	struct fallback_cache *cache = e->cache;
	struct fallback_source src;
	int r;

	if (!cache->ops->pick(cache->userdata, e->vip, e->turn, &src))
		return;
	e->turn++;
	e->asked_ms = now_ms;
	r = start_curl(cache);
	if (r == 0)
		r = curl_request_new(cache->curl, &src.target, &e->req);
	if (r == 0)
		r = set_options(e, &src, now_ms);
	if (r == 0)
		r = curl_request_start(e->req, &ops, e, NULL);
	if (r == 0)
		return;
	stop(e);
	failed(e, strerror(-r));
}

/* --- the list --------------------------------------------------------------------------------- */

static void free_entry(struct entry *e)
{
	stop(e);
	fallback_blob_unref(&e->body);
	free(e->path);
	free(e);
}

static struct entry *find(struct fallback_cache *cache, const char *vip, const char *path)
{
	for (struct entry *e = cache->entries; e; e = e->next)
		if (!strcmp(e->vip, vip) && !strcmp(e->path, path))
			return e;
	return NULL;
}

static struct entry *add(struct fallback_cache *cache, const char *vip, const char *path)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->path = strdup(path);
	if (!e->path) {
		free(e);
		return NULL;
	}
	snprintf(e->vip, sizeof(e->vip), "%s", vip);
	e->cache = cache;
	e->fetched_ms = -1;
	e->next = cache->entries;
	cache->entries = e;
	return e;
}

static void sweep(struct fallback_cache *cache, const char *vip)
{
	struct entry **at = &cache->entries;

	while (*at) {
		struct entry *e = *at;

		if (e->wanted || strcmp(e->vip, vip)) {
			at = &e->next;
			continue;
		}
		*at = e->next;
		free_entry(e);
	}
}

static void want(struct entry *e, const char *pool, const struct config_cache *cfg)
{
	if (strcmp(e->pool, pool)) {
		stop(e);
		fallback_blob_unref(&e->body);
		e->fetched_ms = -1;
		e->next_ms = 0;
		snprintf(e->pool, sizeof(e->pool), "%s", pool);
	}
	if (e->body && e->next_ms > e->fetched_ms + cfg->refresh_ms)
		e->next_ms = e->fetched_ms + cfg->refresh_ms;
	e->refresh_ms = cfg->refresh_ms;
	e->max_age_ms = cfg->max_age_ms;
	e->wanted = true;
}

int fallback_cache_set(struct fallback_cache *cache, const char *vip, const char *pool,
		       const struct config_fallback *cfg)
{
	uint32_t n = cfg->enabled ? cfg->n_cache : 0;
	int r = 0;

	for (struct entry *e = cache->entries; e; e = e->next)
		e->wanted = false;
	for (uint32_t i = 0; i < n; i++) {
		struct entry *e = find(cache, vip, cfg->cache[i].path);

		if (!e)
			e = add(cache, vip, cfg->cache[i].path);
		if (e)
			want(e, pool, &cfg->cache[i]);
		else
			r = -ENOMEM;
	}
	sweep(cache, vip);
	return r;
}

void fallback_cache_forget(struct fallback_cache *cache, const char *vip)
{
	for (struct entry *e = cache->entries; e; e = e->next)
		e->wanted = false;
	sweep(cache, vip);
}

void fallback_cache_tick(struct fallback_cache *cache, int64_t now_ms)
{
	for (struct entry *e = cache->entries; e; e = e->next)
		if (!e->req && now_ms >= e->next_ms)
			ask(e, now_ms);
}

uint32_t fallback_cache_list(const struct fallback_cache *cache, const char *vip,
			     struct fallback_cached ret[CONFIG_CACHE_MAX])
{
	uint32_t n = 0;

	for (const struct entry *e = cache->entries; e && n < CONFIG_CACHE_MAX; e = e->next) {
		if (!e->body || strcmp(e->vip, vip))
			continue;
		ret[n] = (struct fallback_cached){
			.path = e->path,
			.body = e->body,
			.fetched_ms = e->fetched_ms,
			.max_age_ms = e->max_age_ms,
		};
		memcpy(ret[n++].type, e->type, sizeof(e->type));
	}
	return n;
}

uint32_t fallback_cache_report(const struct fallback_cache *cache, const char *vip,
			       struct fallback_cache_report ret[CONFIG_CACHE_MAX])
{
	uint32_t n = 0;

	for (const struct entry *e = cache->entries; e && n < CONFIG_CACHE_MAX; e = e->next)
		if (!strcmp(e->vip, vip))
			ret[n++] = (struct fallback_cache_report){
				.path = e->path,
				.fetched_ms = e->fetched_ms,
				.max_age_ms = e->max_age_ms,
				.n_ok = e->n_ok,
				.n_failed = e->n_failed,
				.error = e->cause,
			};
	return n;
}

int fallback_cache_new(sd_event *event, const struct fallback_cache_ops *cache_ops, void *userdata,
		       struct fallback_cache **ret)
{
	struct fallback_cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return -ENOMEM;
	cache->event = sd_event_ref(event);
	cache->ops = cache_ops;
	cache->userdata = userdata;
	*ret = cache;
	return 0;
}

void fallback_cache_free(struct fallback_cache **cache)
{
	struct fallback_cache *c = *cache;

	if (!c)
		return;
	while (c->entries) {
		struct entry *e = c->entries;

		c->entries = e->next;
		free_entry(e);
	}
	curl_loop_free(&c->curl);
	poll_set_free(&c->set);
	bearer_store_free(&c->bearers);
	sd_event_unref(c->event);
	free(c);
	*cache = NULL;
}
