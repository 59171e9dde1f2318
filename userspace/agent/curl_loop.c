/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/curl_loop.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "userspace/agent/config.h"
#include "userspace/agent/curl_loop_internal.h"
#include "userspace/lib/cleanup.h"

#define POOL_MAX             512    /* easy handles kept for later; more are freed after use */
#define CONNECTIONS_KEPT_MAX 65536L /* of one shard; idle ones end by libcurl's maximum age */
#define CA_CACHE_S           60L    /* the system's authorities, which take 15 ms to read, in a shard */
#define CA_FILE_CACHE_S      2L     /* a ca_file, mostly of one or two: when replaced it counts soon */
#define NEVER                UINT64_MAX

/* --- time ---------------------------------------------------------------------------------- */

static uint64_t now_us(const struct curl_loop *loop)
{
	uint64_t us = 0;

	(void)sd_event_now(loop->event, CLOCK_MONOTONIC, &us);
	return us;
}

/* It may fire early, which only costs a look at the shards; so it is not moved back. */
static void timer_arm(struct curl_loop *loop, uint64_t due_us)
{
	if (due_us >= loop->armed_us)
		return;
	loop->armed_us = due_us;
	(void)sd_event_source_set_time(loop->timer, due_us);
	(void)sd_event_source_set_enabled(loop->timer, SD_EVENT_ONESHOT);
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *userdata)
{
	struct shard *shard = userdata;

	(void)multi;
	if (timeout_ms < 0)
		shard->due_us = NEVER;
	else
		shard->due_us = now_us(shard->loop) + (uint64_t)timeout_ms * 1000;
	timer_arm(shard->loop, shard->due_us);
	return 0;
}

/* --- requests ------------------------------------------------------------------------------ */

static void active_add(struct curl_request *req)
{
	struct curl_loop *loop = req->loop;

	req->prev = NULL;
	req->next = loop->active;
	if (loop->active)
		loop->active->prev = req;
	loop->active = req;
	loop->stats.active++;
}

static void active_remove(struct curl_request *req)
{
	struct curl_loop *loop = req->loop;

	if (req->prev)
		req->prev->next = req->next;
	else
		loop->active = req->next;
	if (req->next)
		req->next->prev = req->prev;
	req->prev = NULL;
	req->next = NULL;
	loop->stats.active--;
}

static void request_destroy(struct curl_request *req)
{
	curl_easy_cleanup(req->easy);
	free(req);
}

/* libcurl 7.88 never clears an easy handle's errno: one that saw an error would report it again. */
static bool request_is_clean(const struct curl_request *req)
{
	long os_errno = 0;

	(void)curl_easy_getinfo(req->easy, CURLINFO_OS_ERRNO, &os_errno);
	return os_errno == 0 && req->open_errno == 0;
}

static void request_recycle(struct curl_request *req)
{
	struct curl_loop *loop = req->loop;

	if (!request_is_clean(req) || loop->stats.pooled >= POOL_MAX) {
		request_destroy(req);
		return;
	}
	req->next = loop->pool;
	loop->pool = req;
	loop->stats.pooled++;
}

static void request_detach(struct curl_request *req)
{
	if (!req->added)
		return;
	(void)curl_multi_remove_handle(req->shard->multi, req->easy);
	req->added = false;
	active_remove(req);
	if (req->fd >= 0)
		curl_slot_lend(&req->loop->slots[req->fd], req->fd, NULL);
}

void curl_request_cancel(struct curl_request **reqp)
{
	struct curl_request *req = reqp ? *reqp : NULL;
	struct curl_loop *loop;

	if (!req)
		return;
	*reqp = NULL;
	loop = req->loop;
	if (req->keeper)
		curl_keeper_forget(req->keeper);
	req->keeper = NULL;
	if (!req->added) {
		request_recycle(req);
	} else if (loop->in_curl) {
		/* libcurl takes no request away from within its callbacks. */
		req->dead = true;
		req->next_dead = loop->dead;
		loop->dead = req;
	} else {
		request_detach(req);
		request_destroy(req);
	}
}

static void reap(struct curl_loop *loop)
{
	while (loop->dead) {
		struct curl_request *req = loop->dead;

		loop->dead = req->next_dead;
		request_detach(req);
		request_destroy(req);
	}
}

static void request_done(struct curl_request *req, CURLcode code)
{
	struct curl_outcome outcome = {.code = code, .error = req->error};
	long os_errno = 0;

	if (code == CURLE_OK && req->fd >= 0)
		req->loop->slots[req->fd].proven = true;
	request_detach(req);
	outcome.local = req->open_errno != 0;
	outcome.silent = req->silent;
	(void)curl_easy_getinfo(req->easy, CURLINFO_OS_ERRNO, &os_errno);
	if (code != CURLE_OK)
		outcome.os_errno = req->open_errno ? req->open_errno : (int)os_errno;
	if (req->ops->on_done)
		req->ops->on_done(req->userdata, &outcome);
	request_recycle(req);
}

static void shard_collect(struct shard *shard)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(shard->multi, &left))) {
		struct curl_request *req = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&req);
		request_done(req, msg->data.result);
	}
}

void curl_shard_run(struct shard *shard, curl_socket_t fd, int what)
{
	struct curl_loop *loop = shard->loop;
	int running;

	loop->in_curl++;
	(void)curl_multi_socket_action(shard->multi, fd, what, &running);
	loop->in_curl--;
	if (!loop->in_curl)
		reap(loop);
	shard_collect(shard);
}

/* --- what libcurl calls for a request ------------------------------------------------------ */

static size_t on_curl_header(char *buf, size_t size, size_t n, void *userdata)
{
	struct curl_request *req = userdata;

	if (req->dead)
		return 0;
	if (req->ops->on_header && req->ops->on_header(req->userdata, buf, size * n) < 0)
		return 0;
	return req->dead ? 0 : size * n;
}

/* A return that is not n ends the transfer; with n 0 nothing can. */
static size_t on_curl_body(char *buf, size_t size, size_t n, void *userdata)
{
	struct curl_request *req = userdata;

	if (req->dead)
		return 0;
	if (req->ops->on_body && req->ops->on_body(req->userdata, buf, size * n) < 0)
		return 0;
	return req->dead ? 0 : size * n;
}

static int request_alloc(struct curl_loop *loop, struct curl_request **ret)
{
	struct curl_request *req = loop->pool;

	if (req) {
		loop->pool = req->next;
		loop->stats.pooled--;
		curl_easy_reset(req->easy);
		*ret = req;
		return 0;
	}
	req = calloc(1, sizeof(*req));
	if (!req)
		return -ENOMEM;
	req->easy = curl_easy_init();
	if (!req->easy) {
		free(req);
		return -ENOMEM;
	}
	*ret = req;
	return 0;
}

static void request_set_defaults(struct curl_request *req)
{
	CURL *easy = req->easy;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, req);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, req->error);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_curl_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, req);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_curl_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, req);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, curl_slot_on_open);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, req);
	/* A connection outlives its request: its end is told to the loop. */
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, curl_slot_on_close);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, req->loop);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	/* Addresses only: nothing worth a cache, which libcurl would walk over each time. */
	curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, 0L);
	curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_S);
}

static uint32_t target_hash(const struct endpoint *target)
{
	uint32_t h = 2166136261u;
	size_t i;

	for (i = 0; i < sizeof(target->addr.bytes); i++)
		h = (h ^ target->addr.bytes[i]) * 16777619u;
	h = (h ^ (target->port & 0xff)) * 16777619u;
	h = (h ^ (target->port >> 8)) * 16777619u;
	return h ^ h >> 16;
}

static int shard_open(struct curl_loop *loop, struct shard *shard)
{
	CURLM *multi;

	if (shard->multi)
		return 0;
	multi = curl_multi_init();
	if (!multi)
		return -ENOMEM;
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, curl_slot_on_socket);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, loop);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	curl_multi_setopt(multi, CURLMOPT_TIMERDATA, shard);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_KEPT_MAX);
	shard->multi = multi;
	return 0;
}

int curl_request_new(struct curl_loop *loop, const struct endpoint *target,
		     struct curl_request **ret)
{
	struct curl_request *req;
	struct shard *shard;
	int r;

	assert(loop);
	assert(target);
	assert(ret);

	shard = &loop->shards[target_hash(target) % CURL_LOOP_SHARDS];
	r = shard_open(loop, shard);
	if (r < 0)
		return r;
	r = request_alloc(loop, &req);
	if (r < 0)
		return r;
	req->loop = loop;
	req->shard = shard;
	req->next = NULL;
	req->fd = -1;
	req->silent = false;
	req->error[0] = '\0';
	request_set_defaults(req);
	*ret = req;
	return 0;
}

CURL *curl_request_easy(struct curl_request *req)
{
	return req->easy;
}

int curl_request_set_basics(struct curl_request *req, const struct curl_basics *b)
{
	CURL *easy = req->easy;

	assert(b->connect_ms > 0 && b->connect_ms <= INT32_MAX);
	assert(b->total_ms > 0 && b->total_ms <= INT32_MAX);
	assert(b->buffer_size >= 1024 && b->buffer_size <= 65536);

	req->user_timeout_ms = (unsigned int)b->connect_ms;
	if (curl_easy_setopt(easy, CURLOPT_URL, b->url) != CURLE_OK)
		return -ENOMEM;
	curl_easy_setopt(easy, CURLOPT_CURLU, b->parsed);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, b->headers);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)b->connect_ms);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)b->total_ms);
	curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)b->body_max);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)b->buffer_size);
	return 0;
}

/* Where nothing is said of it, 1.1. */
static void set_version(CURL *easy, const struct config_http *http)
{
	if (http->version == PRESET_HTTP_1_1)
		return;
	if (http->scheme == CONFIG_SCHEME_HTTPS) {
		/* or 1.1, as the server says */
		curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	} else if (http->version == PRESET_HTTP_2) {
		curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
				 (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
		/* 7.88 cannot use such a connection twice: curl's pull request 10643, in 8.0. */
		if (curl_version_info(CURLVERSION_NOW)->version_num < 0x080000)
			curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	}
}

void curl_request_set_http(struct curl_request *req, const struct config_http *http)
{
	CURL *easy = req->easy;

	set_version(easy, http);
	if (http->scheme != CONFIG_SCHEME_HTTPS)
		return;
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, http->verify ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, http->verify ? 2L : 0L);
	if (http->ca_file) {
		curl_easy_setopt(easy, CURLOPT_CAINFO, http->ca_file);
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
		curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, CA_FILE_CACHE_S);
	}
	if (http->cert_file) {
		curl_easy_setopt(easy, CURLOPT_SSLCERT, http->cert_file);
		curl_easy_setopt(easy, CURLOPT_SSLKEY, http->key_file);
	}
}

int curl_request_set_bearer(struct curl_request *req, const char *token)
{
	curl_easy_setopt(req->easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
	return curl_easy_setopt(req->easy, CURLOPT_XOAUTH2_BEARER, token) == CURLE_OK ? 0 : -ENOMEM;
}

int curl_request_start(struct curl_request *req, const struct curl_request_ops *ops, void *userdata,
		       struct curl_keeper *keeper)
{
	CURLMcode code;

	assert(req);
	assert(ops);
	assert(!req->added);

	req->ops = ops;
	req->userdata = userdata;
	req->keeper = keeper;
	code = curl_multi_add_handle(req->shard->multi, req->easy);
	if (code == CURLM_OUT_OF_MEMORY)
		return -ENOMEM;
	if (code != CURLM_OK)
		return -EIO;
	req->added = true;
	active_add(req);
	return 0;
}

/* --- the loop ------------------------------------------------------------------------------ */

/* Runs what is due. */
static void run_due(struct curl_loop *loop)
{
	uint64_t now = now_us(loop), next = NEVER;
	struct shard *shard;

	for (shard = loop->shards; shard < loop->shards + CURL_LOOP_SHARDS; shard++) {
		if (shard->due_us <= now) {
			shard->due_us = NEVER;
			curl_shard_run(shard, CURL_SOCKET_TIMEOUT, 0);
		}
		if (shard->due_us < next)
			next = shard->due_us;
	}
	loop->armed_us = NEVER;
	timer_arm(loop, next);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	run_due(userdata);
	return 0;
}

void curl_loop_flush(struct curl_loop *loop)
{
	assert(loop);
	assert(!loop->in_curl);

	run_due(loop);
}

int curl_loop_new(sd_event *event, struct poll_set *set, struct curl_loop **ret)
{
	_cleanup_(curl_loop_free) struct curl_loop *loop = NULL;
	int i, r;

	assert(event && set && ret);

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return -ENOMEM;
	loop = calloc(1, sizeof(*loop));
	if (!loop) {
		curl_global_cleanup();
		return -ENOMEM;
	}
	loop->event = sd_event_ref(event);
	loop->set = set;
	loop->armed_us = NEVER;
	for (i = 0; i < CURL_LOOP_SHARDS; i++)
		loop->shards[i] = (struct shard){.loop = loop, .due_us = NEVER};
	/* Accuracy 1: to the microsecond; 0 would be a quarter of a second. */
	r = sd_event_add_time(event, &loop->timer, CLOCK_MONOTONIC, NEVER, 1, on_timer, loop);
	if (r < 0)
		return r;
	r = sd_event_source_set_enabled(loop->timer, SD_EVENT_OFF);
	if (r < 0)
		return r;
	(void)sd_event_source_set_description(loop->timer, "http-timer");
	*ret = TAKE_PTR(loop);
	return 0;
}

void curl_loop_free(struct curl_loop **loopp)
{
	struct curl_loop *loop = loopp ? *loopp : NULL;
	int i;

	if (!loop)
		return;
	*loopp = NULL;
	assert(!loop->in_curl);
	while (loop->active) {
		struct curl_request *req = loop->active;

		curl_request_cancel(&req);
	}
	for (i = 0; i < CURL_LOOP_SHARDS; i++)
		if (loop->shards[i].multi)
			curl_multi_cleanup(loop->shards[i].multi);
	while (loop->pool) {
		struct curl_request *req = loop->pool;

		loop->pool = req->next;
		request_destroy(req);
	}
	sd_event_source_disable_unref(loop->timer);
	sd_event_unref(loop->event);
	free(loop->slots);
	free(loop);
	curl_global_cleanup();
}

void curl_loop_stats(const struct curl_loop *loop, struct curl_loop_stats *ret_stats)
{
	*ret_stats = loop->stats;
}
