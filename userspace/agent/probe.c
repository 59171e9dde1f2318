/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/probe.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

#include "userspace/agent/bearer.h"
#include "userspace/agent/curl_loop.h"
#include "userspace/agent/probe_outcome.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/due_queue.h"

#define TICK_US         2000 /* starts are gathered for so long, to be sent in one go */
#define STARTS_PER_TICK 256
#define FIRST_STEP_MS   1    /* between the first starts of probes that are made at once */
#define BODY_BUFFER_MIN 1024 /* kept between probes */
#define WAKE_HOLD       10   /* intervals without an early start after one that was in vain */
#define URL_MAX         4096
#define BUFFER_SMALL    1024 /* a small enough piece for malloc()'s cache; answers are small */
#define BUFFER_PAGE     16384

enum probe_state {
	STATE_WAITING = 1, /* in the queue, for the next start */
	STATE_STARTING,    /* in on_start */
	STATE_HTTP,        /* req is under way */
	STATE_TCP,         /* tcp_fd is connecting; in the queue, for its deadline */
	STATE_PAUSED,
};

struct probe {
	struct probe_engine *engine;
	struct probe *prev, *next; /* in engine->probes */
	struct probe_spec spec;    /* strings are in `strings` */
	const struct probe_ops *ops;
	void *userdata;

	/* made from the spec */
	char *strings;
	char *url; /* NULL with scheme tcp */
	struct curl_slist *headers;
	struct curl_slist *connect_to;
	CURLU *parsed; /* of url */
	struct bearer *bearer;

	enum probe_state state;
	uint32_t in_callback; /* depth; freed when it is left, if dead */
	bool dead;
	bool woken; /* this start was early, for a connection closed by its peer */
	struct due due;
	int64_t again_ms; /* the start asked for meanwhile; -1: none */
	int64_t started_ms;
	int64_t wake_hold_ms; /* no early start before */

	/* under way */
	struct curl_request *req;
	struct curl_keeper keeper;
	sd_event_source *tcp_io;
	int tcp_fd;
	uint64_t tcp_start_us;

	/* the answer so far */
	uint64_t header_bytes;
	uint64_t body_bytes;
	bool framed;
	bool encoded;
	enum probe_outcome stop; /* 0: go on */
	const char *stop_error;
	char *body; /* PROBE_BODY_KEEP: body_len bytes of body_size */
	size_t body_len;
	size_t body_size;
};

struct probe_engine {
	sd_event *event;
	sd_event_source *timer;
	struct curl_loop *curl;
	struct bearer_store *bearers;
	struct due_queue queue;
	struct probe *probes;
	struct probe_stats stats;
	uint64_t armed_us;
	uint64_t rng;
	int64_t first_ms; /* the latest first start given out */
	int64_t stall_ms; /* when the loop was last seen to be held up; -1: never */
};

static void probe_start(struct probe *p, int64_t now_ms);

/* --- time ---------------------------------------------------------------------------------- */

static uint64_t engine_now_us(const struct probe_engine *engine)
{
	uint64_t us = 0;

	(void)sd_event_now(engine->event, CLOCK_MONOTONIC, &us);
	return us;
}

static int64_t engine_now(const struct probe_engine *engine)
{
	return (int64_t)(engine_now_us(engine) / 1000);
}

static void engine_arm(struct probe_engine *engine, uint64_t at_us)
{
	if (at_us == engine->armed_us)
		return;
	engine->armed_us = at_us;
	(void)sd_event_source_set_time(engine->timer, at_us);
	(void)sd_event_source_set_enabled(engine->timer, SD_EVENT_ONESHOT);
}

static void probe_due(struct probe *p, int64_t at_ms)
{
	struct probe_engine *engine = p->engine;
	uint64_t at_us = at_ms < 0 ? 0 : (uint64_t)at_ms * 1000;

	due_queue_set(&engine->queue, &p->due, at_ms);
	if (at_us < engine->armed_us)
		engine_arm(engine, at_us);
}

/* In [-1, 1). Source: xorshift64*, Vigna 2016; spreading starts needs no more. */
static double engine_random(struct probe_engine *engine)
{
	uint64_t x = engine->rng;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	engine->rng = x;
	return (double)((x * 0x2545f4914f6cdd1dULL) >> 11) / (double)(1ULL << 52) - 1.0;
}

static int64_t interval_jittered(struct probe *p)
{
	double ms = (double)p->spec.interval_ms *
		    (1.0 + p->spec.jitter_ratio * engine_random(p->engine));

	return ms < 1.0 ? 1 : (int64_t)ms;
}

/* Probes made at once start one after the other, and evenly over the interval if many. */
static int64_t first_start(struct probe *p, int64_t now_ms)
{
	struct probe_engine *engine = p->engine;

	engine->first_ms += FIRST_STEP_MS;
	if (engine->first_ms < now_ms)
		engine->first_ms = now_ms;
	return now_ms + (engine->first_ms - now_ms) % p->spec.interval_ms;
}

/* Never back to back, however long the last one took. */
static int64_t next_start(struct probe *p, int64_t now_ms)
{
	int64_t next = p->started_ms + interval_jittered(p);
	int64_t gap = p->spec.interval_ms / 10 + 1;

	return next < now_ms + gap ? now_ms + gap : next;
}

/*
 * Whether this loop was held up (stopped, starved) since a probe began: answers may wait in the
 * socket while libcurl, which looks at its clock first, already calls it timed out.
 */
static bool engine_stalled(struct probe_engine *engine, int64_t since_ms, int64_t now_ms)
{
	const struct due *first = due_queue_first(&engine->queue);

	if (first && first->at_ms + PROBE_STALL_MS < now_ms)
		engine->stall_ms = now_ms;
	return engine->stall_ms >= since_ms;
}

/* --- spec ---------------------------------------------------------------------------------- */

static bool is_http(const struct probe_spec *spec)
{
	return spec->http.scheme != CONFIG_SCHEME_TCP;
}

/* A request target goes into the request line as it is. */
static bool path_valid(const char *path)
{
	const char *p;

	if (!path || path[0] != '/')
		return false;
	for (p = path; *p; p++)
		if (*p <= 0x20 || *p >= 0x7f)
			return false;
	return p - path < URL_MAX / 2;
}

static bool host_valid(const char *host)
{
	const char *p;

	if (!host)
		return true;
	for (p = host; *p; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
		      (*p >= '0' && *p <= '9') || *p == '-' || *p == '.' || *p == '_'))
			return false;
	return p > host && p - host < 256;
}

static bool spec_valid(const struct probe_spec *s)
{
	if (!address_is_set(&s->target.addr) || !s->target.port)
		return false;
	if (s->interval_ms <= 0 || s->interval_ms > INT32_MAX)
		return false;
	if (s->connect_timeout_ms <= 0 || s->connect_timeout_ms > INT32_MAX)
		return false;
	if (s->timeout_ms <= 0 || s->timeout_ms > INT32_MAX)
		return false;
	if (!(s->jitter_ratio >= 0.0 && s->jitter_ratio <= 0.5))
		return false;
	if (s->http.scheme < CONFIG_SCHEME_TCP || s->http.scheme > CONFIG_SCHEME_HTTPS)
		return false;
	if (!is_http(s))
		return true;
	if (s->n_expect_status > CONFIG_STATUS_MAX)
		return false;
	if (s->body < PROBE_BODY_DISCARD || s->body > PROBE_BODY_STREAM)
		return false;
	if (!s->http.cert_file != !s->http.key_file)
		return false;
	return path_valid(s->path) && host_valid(s->http.host);
}

static size_t string_size(const char *s)
{
	return s ? strlen(s) + 1 : 0;
}

static const char *string_copy(char **at, const char *s)
{
	char *copy = *at;

	if (!s)
		return NULL;
	*at = stpcpy(copy, s) + 1;
	return copy;
}

/* Copy a spec's strings into one block, and point the copy at them. */
static int spec_copy(const struct probe_spec *spec, struct probe_spec *ret_spec, char **ret_strings)
{
	const struct config_http *h = &spec->http;
	char *strings, *at;

	strings = malloc(1 + string_size(spec->path) + string_size(h->host) +
			 string_size(h->ca_file) + string_size(h->cert_file) +
			 string_size(h->key_file) + string_size(h->bearer_file));
	if (!strings)
		return -ENOMEM;
	at = strings;
	*ret_spec = *spec;
	ret_spec->path = string_copy(&at, spec->path);
	ret_spec->http.host = string_copy(&at, h->host);
	ret_spec->http.ca_file = string_copy(&at, h->ca_file);
	ret_spec->http.cert_file = string_copy(&at, h->cert_file);
	ret_spec->http.key_file = string_copy(&at, h->key_file);
	ret_spec->http.bearer_file = string_copy(&at, h->bearer_file);
	*ret_strings = strings;
	return 0;
}

static bool string_equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* Whether both send the same request to the same place and read its answer in the same way. */
static bool same_request(const struct probe_spec *a, const struct probe_spec *b)
{
	return endpoint_equal(&a->target, &b->target) && a->http.scheme == b->http.scheme &&
	       a->http.version == b->http.version && a->http.verify == b->http.verify &&
	       a->body == b->body && a->body_max == b->body_max && string_equal(a->path, b->path) &&
	       string_equal(a->http.host, b->http.host) &&
	       string_equal(a->http.ca_file, b->http.ca_file) &&
	       string_equal(a->http.cert_file, b->http.cert_file) &&
	       string_equal(a->http.key_file, b->http.key_file) &&
	       string_equal(a->http.bearer_file, b->http.bearer_file);
}

static bool status_expected(const struct probe_spec *spec, long status)
{
	uint32_t i;

	if (!spec->n_expect_status)
		return status >= 200 && status <= 299;
	for (i = 0; i < spec->n_expect_status; i++)
		if (status >= spec->expect_status[i].low && status <= spec->expect_status[i].high)
			return true;
	return false;
}

void probe_spec_health(const struct config_node *node, struct probe_spec *ret_spec)
{
	const struct config_check *c = node->check;

	*ret_spec = (struct probe_spec){
		.target = {.addr = node->address, .port = c->port ?: node->port},
		.http = c->http,
		.path = c->path,
		.interval_ms = c->interval_ms,
		.jitter_ratio = c->jitter_ratio,
		.connect_timeout_ms = c->connect_timeout_ms,
		.timeout_ms = c->timeout_ms,
		.n_expect_status = c->n_expect_status,
		.body = PROBE_BODY_KEEP,
		.body_max = PROBE_BODY_MAX_HEALTH,
	};
	memcpy(ret_spec->expect_status, c->expect_status, sizeof(ret_spec->expect_status));
}

void probe_spec_page(const struct config_node *node, const struct config_page *page,
		     struct probe_spec *ret_spec)
{
	const struct config_load *l = node->load;

	*ret_spec = (struct probe_spec){
		.target = {.addr = node->address, .port = page->port ?: node->port},
		.http = page->http,
		.path = page->path,
		.interval_ms = l->interval_ms,
		.jitter_ratio = node->check->jitter_ratio,
		.connect_timeout_ms = l->timeout_ms < node->check->connect_timeout_ms
					      ? l->timeout_ms
					      : node->check->connect_timeout_ms,
		.timeout_ms = l->timeout_ms,
		.body = PROBE_BODY_STREAM,
		.body_max = PROBE_BODY_MAX_LOAD,
	};
}

/* --- what a spec becomes ------------------------------------------------------------------- */

struct prepared {
	struct probe_spec spec;
	char *strings;
	char *url;
	struct curl_slist *headers;
	struct curl_slist *connect_to;
	CURLU *parsed;
	struct bearer *bearer;
};

static void prepared_free(struct prepared *pr)
{
	free(pr->strings);
	free(pr->url);
	curl_slist_free_all(pr->headers);
	curl_slist_free_all(pr->connect_to);
	curl_url_cleanup(pr->parsed);
	bearer_close(&pr->bearer);
	*pr = (struct prepared){0};
}

/* With TLS the URL has the host's name, for the certificate; where to connect is said apart. */
static int prepare_url(struct prepared *pr)
{
	const struct probe_spec *s = &pr->spec;
	bool tls = s->http.scheme == CONFIG_SCHEME_HTTPS;
	char at[ENDPOINT_TEXT_MAX], to[ENDPOINT_TEXT_MAX + 300];

	endpoint_format(&s->target, at);
	if (tls && s->http.host) {
		snprintf(to, sizeof(to), "%s:%u:%s", s->http.host, s->target.port, at);
		pr->connect_to = curl_slist_append(NULL, to);
		if (!pr->connect_to)
			return -ENOMEM;
		snprintf(to, sizeof(to), "%s:%u", s->http.host, s->target.port);
	} else {
		snprintf(to, sizeof(to), "%s", at);
	}
	if (asprintf(&pr->url, "%s://%s%s", tls ? "https" : "http", to, s->path) < 0) {
		pr->url = NULL;
		return -ENOMEM;
	}
	pr->parsed = curl_url();
	if (!pr->parsed)
		return -ENOMEM;
	switch (curl_url_set(pr->parsed, CURLUPART_URL, pr->url, CURLU_PATH_AS_IS)) {
	case CURLUE_OK:
		return 0;
	case CURLUE_OUT_OF_MEMORY:
		return -ENOMEM;
	default:
		return -EINVAL;
	}
}

static int prepare_headers(struct prepared *pr)
{
	const char *host = pr->spec.http.host;
	struct curl_slist *list;
	char line[300];

	pr->headers = curl_slist_append(NULL, "User-Agent: sluiced");
	if (!pr->headers)
		return -ENOMEM;
	if (!host)
		return 0;
	snprintf(line, sizeof(line), "Host: %s", host);
	list = curl_slist_append(pr->headers, line);
	return list ? 0 : -ENOMEM;
}

/* *ret is for prepared_free(), on failure too. */
static int prepare(struct probe_engine *engine, const struct probe_spec *spec, struct prepared *ret)
{
	int r;

	*ret = (struct prepared){0};
	if (!spec_valid(spec))
		return -EINVAL;
	r = spec_copy(spec, &ret->spec, &ret->strings);
	if (r < 0 || !is_http(spec))
		return r;
	r = prepare_url(ret);
	if (r < 0)
		return r;
	r = prepare_headers(ret);
	if (r < 0 || !spec->http.bearer_file)
		return r;
	return bearer_open(engine->bearers, spec->http.bearer_file, &ret->bearer);
}

/* Exchange what a probe was prepared with; the old is then in *pr. */
static void prepared_swap(struct probe *p, struct prepared *pr)
{
	struct prepared old = {
		.spec = p->spec,
		.strings = p->strings,
		.url = p->url,
		.headers = p->headers,
		.connect_to = p->connect_to,
		.parsed = p->parsed,
		.bearer = p->bearer,
	};

	p->spec = pr->spec;
	p->strings = pr->strings;
	p->url = pr->url;
	p->headers = pr->headers;
	p->connect_to = pr->connect_to;
	p->parsed = pr->parsed;
	p->bearer = pr->bearer;
	/* In HTTP/2 and TLS something may come on an idle connection. */
	p->keeper.plain =
		p->spec.http.scheme == CONFIG_SCHEME_HTTP && p->spec.http.version != PRESET_HTTP_2;
	*pr = old;
}

/* --- end of a probe ------------------------------------------------------------------------ */

static void probe_destroy(struct probe *p)
{
	struct prepared pr = {0};

	prepared_swap(p, &pr);
	prepared_free(&pr);
	free(p->body);
	free(p);
}

static void callback_enter(struct probe *p)
{
	p->in_callback++;
}

/* Returns false if the callback freed the probe, which is gone then. */
static bool callback_leave(struct probe *p)
{
	if (--p->in_callback || !p->dead)
		return true;
	probe_destroy(p);
	return false;
}

/* Stop what is under way, without a result. */
static void probe_drop(struct probe *p)
{
	if (p->state == STATE_HTTP || p->state == STATE_TCP || p->state == STATE_STARTING)
		p->engine->stats.in_flight--;
	curl_request_cancel(&p->req);
	curl_keeper_forget(&p->keeper);
	p->tcp_io = sd_event_source_disable_unref(p->tcp_io);
	if (p->tcp_fd >= 0)
		close(p->tcp_fd);
	p->tcp_fd = -1;
	due_queue_remove(&p->engine->queue, &p->due);
	p->state = STATE_PAUSED;
}

static void body_release(struct probe *p)
{
	p->body_len = 0;
	if (p->body_size <= BODY_BUFFER_MIN)
		return;
	free(p->body);
	p->body = NULL;
	p->body_size = 0;
}

/* The next start is set before the callback, which may change it. */
static void probe_finish(struct probe *p, struct probe_result *res)
{
	struct probe_engine *engine = p->engine;
	int64_t next = next_start(p, res->now_ms);

	if (p->again_ms >= 0)
		next = p->again_ms;
	if (p->woken && res->outcome == PROBE_PASS)
		p->wake_hold_ms = res->now_ms + WAKE_HOLD * p->spec.interval_ms;
	p->again_ms = -1;
	p->woken = false;
	p->state = STATE_WAITING;
	engine->stats.in_flight--;
	engine->stats.outcomes[res->outcome]++;
	probe_due(p, next);

	res->started_ms = p->started_ms;
	callback_enter(p);
	p->ops->on_result(p, p->userdata, res);
	if (callback_leave(p))
		body_release(p);
}

/* --- connect only -------------------------------------------------------------------------- */

static void tcp_finish(struct probe *p, int err)
{
	uint64_t now_us = engine_now_us(p->engine);
	struct probe_facts facts = {
		.os_errno = err,
		.connect_timeout_ms = p->spec.connect_timeout_ms,
		.timeout_ms = p->spec.timeout_ms,
	};
	struct probe_result res = {.now_ms = (int64_t)(now_us / 1000)};
	char cause[PROBE_CAUSE_MAX];

	p->tcp_io = sd_event_source_disable_unref(p->tcp_io);
	if (p->tcp_fd >= 0)
		close(p->tcp_fd);
	p->tcp_fd = -1;
	due_queue_remove(&p->engine->queue, &p->due);

	res.outcome = probe_outcome_connect(err);
	facts.stalled = engine_stalled(p->engine, p->started_ms, res.now_ms);
	if (res.outcome == PROBE_CONNECT_TIMEOUT && facts.stalled)
		res.outcome = PROBE_LOCAL;
	if (res.outcome == PROBE_PASS) {
		res.connect_us = (int64_t)(now_us - p->tcp_start_us);
		res.rtt_us = res.connect_us;
	}
	probe_outcome_explain(res.outcome, &facts, cause);
	res.cause = cause;
	probe_finish(p, &res);
}

static int on_tcp_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	socklen_t len = sizeof(int);
	int err = 0;

	(void)source;
	(void)revents;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	tcp_finish(userdata, err);
	return 0;
}

/* Returns 0 or a positive errno. */
static int tcp_connect(struct probe *p)
{
	/* Closed with a reset: no TIME_WAIT here, and the server sees nothing half open. */
	struct linger linger = {.l_onoff = 1, .l_linger = 0};
	struct sockaddr_storage sa;
	socklen_t len = endpoint_to_sockaddr(&p->spec.target, &sa);
	int r;

	p->tcp_fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->tcp_fd < 0)
		return errno;
	(void)setsockopt(p->tcp_fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	if (connect(p->tcp_fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS)
		return errno;
	r = sd_event_add_io(p->engine->event, &p->tcp_io, p->tcp_fd, EPOLLOUT, on_tcp_io, p);
	return r < 0 ? -r : 0;
}

static void tcp_start(struct probe *p, int64_t now_ms)
{
	int64_t limit_ms = p->spec.connect_timeout_ms < p->spec.timeout_ms
				   ? p->spec.connect_timeout_ms
				   : p->spec.timeout_ms;
	int err;

	p->state = STATE_TCP;
	p->tcp_start_us = engine_now_us(p->engine);
	err = tcp_connect(p);
	if (err)
		tcp_finish(p, err);
	else
		probe_due(p, now_ms + limit_ms);
}

/* --- HTTP ---------------------------------------------------------------------------------- */

static long http_status(struct probe *p)
{
	long status = 0;

	(void)curl_easy_getinfo(curl_request_easy(p->req), CURLINFO_RESPONSE_CODE, &status);
	return status;
}

static int stop(struct probe *p, enum probe_outcome outcome, const char *error)
{
	p->stop = outcome;
	p->stop_error = error;
	return -1;
}

/* Whether line starts with name (lower case, with its colon); then where its value starts. */
static bool header_is(const char *line, size_t len, const char *name, const char **ret_value)
{
	size_t n = strlen(name);

	if (len <= n || strncasecmp(line, name, n) != 0)
		return false;
	for (line += n; *line == ' ' || *line == '\t'; line++)
		;
	*ret_value = line;
	return true;
}

/* libcurl ends each line it hands over, so that value may be read up to its CR or LF. */
static int on_header(void *userdata, const char *line, size_t len)
{
	struct probe *p = userdata;
	const char *value;

	p->header_bytes += len;
	if (p->header_bytes > PROBE_HEADER_MAX)
		return stop(p, PROBE_BAD_RESPONSE, "header too long");
	switch (line[0] | 0x20) {
	case 'h':
		if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) {
			p->framed = len >= 6 && line[5] >= '2';
			p->encoded = false;
		}
		break;
	case 'c':
		if (header_is(line, len, "content-length:", &value))
			p->framed = true;
		else if (header_is(line, len, "content-encoding:", &value))
			p->encoded = strncasecmp(value, "identity", 8) != 0;
		break;
	case 't':
		if (header_is(line, len, "transfer-encoding:", &value))
			p->framed = true;
		break;
	default:
		break;
	}
	return 0;
}

/* With room for a final NUL. */
static int body_keep(struct probe *p, const char *buf, size_t len)
{
	size_t size = p->body_size ?: BODY_BUFFER_MIN;
	char *body;

	while (size < p->body_len + len + 1)
		size *= 2;
	if (size != p->body_size) {
		body = realloc(p->body, size);
		if (!body)
			return stop(p, PROBE_LOCAL, "out of memory");
		p->body = body;
		p->body_size = size;
	}
	memcpy(p->body + p->body_len, buf, len);
	p->body_len += len;
	p->body[p->body_len] = '\0';
	return 0;
}

static int on_body(void *userdata, const char *buf, size_t len)
{
	struct probe *p = userdata;
	bool expected;
	int r;

	p->body_bytes += len;
	if (p->body_bytes > p->spec.body_max)
		return stop(p, PROBE_TOO_BIG, NULL);
	if (p->spec.body == PROBE_BODY_DISCARD)
		return 0;
	expected = status_expected(&p->spec, http_status(p));
	if (p->encoded)
		return expected ? stop(p, PROBE_BAD_RESPONSE, "encoded content not asked for") : 0;
	if (p->spec.body == PROBE_BODY_KEEP)
		return body_keep(p, buf, len);
	if (!expected)
		return 0;
	callback_enter(p);
	r = p->ops->on_body(p, p->userdata, buf, len);
	if (!callback_leave(p))
		return -1;
	return r < 0 ? stop(p, PROBE_BAD_BODY, NULL) : 0;
}

static void http_facts(struct probe *p, CURL *easy, const struct curl_outcome *o, int64_t now_ms,
		       struct probe_facts *ret)
{
	curl_off_t total_us = 0, connect_us = 0;
	long status = 0, connects = 0;

	(void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	(void)curl_easy_getinfo(easy, CURLINFO_TOTAL_TIME_T, &total_us);
	(void)curl_easy_getinfo(easy, CURLINFO_CONNECT_TIME_T, &connect_us);
	(void)curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &connects);
	*ret = (struct probe_facts){
		.code = o->code,
		.os_errno = o->os_errno,
		.local = o->local,
		.silent = o->silent,
		.connected = connects == 0 || connect_us > 0,
		.status_expected = status_expected(&p->spec, status),
		.http_status = status >= 100 && status <= 999 ? (uint16_t)status : 0,
		.stop = p->stop,
		.header_bytes = p->header_bytes,
		.body_bytes = p->body_bytes,
		.body_max = p->spec.body_max,
		.connect_timeout_ms = p->spec.connect_timeout_ms,
		.timeout_ms = p->spec.timeout_ms,
		.error = p->stop_error ?: o->error,
	};
	ret->stalled = engine_stalled(p->engine, p->started_ms, now_ms) ||
		       total_us / 1000 > p->spec.timeout_ms + PROBE_STALL_MS;
}

static void http_times(CURL *easy, struct probe_result *res)
{
	curl_off_t total_us = 0, sent_us = 0, connect_us = 0;
	long connects = 0;

	(void)curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &connects);
	(void)curl_easy_getinfo(easy, CURLINFO_CONNECT_TIME_T, &connect_us);
	res->reused = connects == 0;
	if (!res->reused)
		res->connect_us = connect_us;
	if (res->outcome != PROBE_PASS && res->outcome != PROBE_FAIL_STATUS)
		return;
	(void)curl_easy_getinfo(easy, CURLINFO_TOTAL_TIME_T, &total_us);
	(void)curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &sent_us);
	res->rtt_us = total_us - sent_us;
}

static void on_done(void *userdata, const struct curl_outcome *outcome)
{
	struct probe *p = userdata;
	CURL *easy = curl_request_easy(p->req);
	struct probe_result res = {.now_ms = engine_now(p->engine)};
	struct probe_facts facts;
	char cause[PROBE_CAUSE_MAX];

	p->req = NULL; /* goes back to the loop after this */
	http_facts(p, easy, outcome, res.now_ms, &facts);
	res.outcome = probe_outcome_http(&facts);
	res.http_status = facts.http_status;
	res.framed = p->framed || facts.http_status == 204 || facts.http_status == 304;
	http_times(easy, &res);
	probe_outcome_explain(res.outcome, &facts, cause);
	res.cause = cause;
	if (p->spec.body == PROBE_BODY_KEEP) {
		res.body = p->body_len ? p->body : "";
		res.body_len = p->body_len;
	} else {
		res.body_len = p->body_bytes;
	}
	probe_finish(p, &res);
}

static const struct curl_request_ops http_ops = {
	.on_header = on_header,
	.on_body = on_body,
	.on_done = on_done,
};

static void http_options_tls(CURL *easy, const struct config_http *h)
{
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, h->verify ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, h->verify ? 2L : 0L);
	if (h->ca_file) {
		curl_easy_setopt(easy, CURLOPT_CAINFO, h->ca_file);
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}
	if (h->cert_file) {
		curl_easy_setopt(easy, CURLOPT_SSLCERT, h->cert_file);
		curl_easy_setopt(easy, CURLOPT_SSLKEY, h->key_file);
	}
}

static long http_version(const struct config_http *h)
{
	if (h->version == PRESET_HTTP_1_1)
		return CURL_HTTP_VERSION_1_1;
	if (h->scheme == CONFIG_SCHEME_HTTPS)
		return CURL_HTTP_VERSION_2TLS; /* or 1.1, as the server says */
	return h->version == PRESET_HTTP_2 ? CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE
					   : CURL_HTTP_VERSION_1_1;
}

static bool curl_before_8(void)
{
	return curl_version_info(CURLVERSION_NOW)->version_num < 0x080000;
}

/* Returns 0 or -ENOMEM. */
static int http_options(struct probe *p, const char *token)
{
	const struct config_http *h = &p->spec.http;
	struct curl_basics basics = {
		.url = p->url,
		.parsed = p->parsed,
		.headers = p->headers,
		.connect_ms = p->spec.connect_timeout_ms,
		.total_ms = p->spec.timeout_ms,
		.body_max = p->spec.body_max,
		.buffer_size = p->spec.body == PROBE_BODY_STREAM ? BUFFER_PAGE : BUFFER_SMALL,
	};
	CURL *easy;
	int r;

	r = curl_request_set_basics(p->req, &basics);
	if (r < 0)
		return r;
	if (h->scheme == CONFIG_SCHEME_HTTP && http_version(h) == CURL_HTTP_VERSION_1_1 && !token)
		return 0;
	easy = curl_request_easy_options(p->req);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, http_version(h));
	/* 7.88 cannot use such a connection twice: curl's pull request 10643, in 8.0.0. */
	if (http_version(h) == CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE && curl_before_8())
		curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	if (p->connect_to)
		curl_easy_setopt(easy, CURLOPT_CONNECT_TO, p->connect_to);
	if (h->scheme == CONFIG_SCHEME_HTTPS)
		http_options_tls(easy, h);
	if (!token)
		return 0;
	curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
	return curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, token) == CURLE_OK ? 0 : -ENOMEM;
}

static void finish_local(struct probe *p, int64_t now_ms, const char *what, int err)
{
	struct probe_result res = {.outcome = PROBE_LOCAL, .now_ms = now_ms};
	char cause[PROBE_CAUSE_MAX];

	snprintf(cause, sizeof(cause), "on this host: %s: %s", what,
		 strerrordesc_np(err) ?: "unknown error");
	res.cause = cause;
	probe_finish(p, &res);
}

static void http_start(struct probe *p, int64_t now_ms)
{
	const char *token = NULL;
	int r;

	p->state = STATE_HTTP;
	p->header_bytes = 0;
	p->body_bytes = 0;
	p->framed = false;
	p->encoded = false;
	p->stop = 0;
	p->stop_error = NULL;
	if (p->bearer) {
		r = bearer_token(p->bearer, now_ms, &token);
		if (r < 0) {
			finish_local(p, now_ms, "bearer token", -r);
			return;
		}
	}
	r = curl_request_new(p->engine->curl, &p->spec.target, &p->req);
	if (r == 0)
		r = http_options(p, token);
	if (r == 0)
		r = curl_request_start(p->req, &http_ops, p, &p->keeper);
	if (r < 0) {
		curl_request_cancel(&p->req);
		finish_local(p, now_ms, "request", -r);
	}
}

/* --- starts -------------------------------------------------------------------------------- */

static void probe_start(struct probe *p, int64_t now_ms)
{
	struct probe_engine *engine = p->engine;

	due_queue_remove(&engine->queue, &p->due);
	p->state = STATE_STARTING;
	p->started_ms = now_ms;
	p->again_ms = -1;
	engine->stats.started++;
	engine->stats.in_flight++;
	if (p->ops->on_start) {
		callback_enter(p);
		p->ops->on_start(p, p->userdata, now_ms);
		if (!callback_leave(p))
			return;
	}
	if (p->state != STATE_STARTING)
		return; /* paused or changed by on_start */
	if (is_http(&p->spec))
		http_start(p, now_ms);
	else
		tcp_start(p, now_ms);
}

/* The peer closed the connection that was kept for the next probe. */
static void on_kept_closed(struct curl_keeper *keeper)
{
	struct probe *p = (struct probe *)((char *)keeper - offsetof(struct probe, keeper));
	int64_t now_ms = engine_now(p->engine);

	if (p->state != STATE_WAITING || now_ms < p->wake_hold_ms || p->due.at_ms <= now_ms)
		return;
	p->woken = true;
	p->engine->stats.woken++;
	probe_due(p, now_ms);
}

static struct probe *probe_of_due(struct due *due)
{
	return (struct probe *)((char *)due - offsetof(struct probe, due));
}

static int on_engine_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct probe_engine *engine = userdata;
	int64_t now_ms = engine_now(engine);
	uint64_t next_us;
	struct due *due;
	int i;

	(void)source;
	(void)usec;
	engine->armed_us = 0; /* nobody else arms it meanwhile */
	for (i = 0; i < STARTS_PER_TICK; i++) {
		struct probe *p;

		due = due_queue_first(&engine->queue);
		if (!due || due->at_ms > now_ms)
			break;
		p = probe_of_due(due);
		if (now_ms - due->at_ms > engine->stats.late_max_ms)
			engine->stats.late_max_ms = now_ms - due->at_ms;
		(void)engine_stalled(engine, 0, now_ms);
		if (p->state == STATE_TCP)
			tcp_finish(p, ETIMEDOUT);
		else
			probe_start(p, now_ms);
	}
	curl_loop_flush(engine->curl);

	due = due_queue_first(&engine->queue);
	next_us = engine_now_us(engine) + (i == STARTS_PER_TICK ? 0 : TICK_US);
	if (!due)
		engine->armed_us = UINT64_MAX;
	else if (due->at_ms > 0 && (uint64_t)due->at_ms * 1000 > next_us)
		engine_arm(engine, (uint64_t)due->at_ms * 1000);
	else
		engine_arm(engine, next_us);
	return 0;
}

/* --- probes -------------------------------------------------------------------------------- */

int probe_new(struct probe_engine *engine, const struct probe_spec *spec,
	      const struct probe_ops *ops, void *userdata, struct probe **ret)
{
	_cleanup_(prepared_free) struct prepared pr = {0};
	int64_t now_ms;
	struct probe *p;
	int r;

	assert(engine && spec && ops && ret);
	assert(ops->on_result);
	assert(ops->on_body || spec->body != PROBE_BODY_STREAM);

	r = prepare(engine, spec, &pr);
	if (r < 0)
		return r;
	r = due_queue_reserve(&engine->queue, engine->stats.probes + 1);
	if (r < 0)
		return r;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	now_ms = engine_now(engine);
	p->engine = engine;
	p->ops = ops;
	p->userdata = userdata;
	p->tcp_fd = -1;
	p->again_ms = -1;
	p->started_ms = now_ms;
	p->keeper = (struct curl_keeper){.on_closed = on_kept_closed, .fd = -1};
	prepared_swap(p, &pr);

	p->next = engine->probes;
	if (p->next)
		p->next->prev = p;
	engine->probes = p;
	engine->stats.probes++;
	p->state = STATE_WAITING;
	probe_due(p, first_start(p, now_ms));
	*ret = p;
	return 0;
}

void probe_free(struct probe **pp)
{
	struct probe *p = pp ? *pp : NULL;

	if (!p)
		return;
	*pp = NULL;
	if (p->dead)
		return;
	probe_drop(p);
	if (p->prev)
		p->prev->next = p->next;
	else
		p->engine->probes = p->next;
	if (p->next)
		p->next->prev = p->prev;
	p->engine->stats.probes--;
	p->dead = true;
	if (!p->in_callback)
		probe_destroy(p);
}

int probe_update(struct probe *p, const struct probe_spec *spec)
{
	_cleanup_(prepared_free) struct prepared pr = {0};
	struct probe_engine *engine = p->engine;
	int64_t now_ms = engine_now(engine);
	bool paused = p->state == STATE_PAUSED;
	bool same = same_request(&p->spec, spec);
	int r;

	assert(p->ops->on_body || spec->body != PROBE_BODY_STREAM);

	if (same) {
		int64_t next_ms = p->started_ms + spec->interval_ms;

		if (!spec_valid(spec))
			return -EINVAL;
		p->spec.interval_ms = spec->interval_ms;
		p->spec.jitter_ratio = spec->jitter_ratio;
		p->spec.connect_timeout_ms = spec->connect_timeout_ms;
		p->spec.timeout_ms = spec->timeout_ms;
		p->spec.n_expect_status = spec->n_expect_status;
		memcpy(p->spec.expect_status, spec->expect_status, sizeof(spec->expect_status));
		if (p->state == STATE_WAITING && p->due.at_ms > next_ms)
			probe_due(p, next_ms > now_ms ? next_ms : now_ms);
		return 0;
	}
	r = prepare(engine, spec, &pr);
	if (r < 0)
		return r;
	probe_drop(p);
	prepared_swap(p, &pr);
	if (paused)
		return 0;
	p->state = STATE_WAITING;
	p->again_ms = -1;
	p->woken = false;
	p->wake_hold_ms = 0;
	probe_due(p, first_start(p, now_ms));
	return 0;
}

void probe_again(struct probe *p, int64_t in_ms)
{
	int64_t at_ms = engine_now(p->engine) + (in_ms > 0 ? in_ms : 0);

	assert(!p->dead);
	if (p->state == STATE_WAITING)
		probe_due(p, at_ms);
	else if (p->state != STATE_PAUSED)
		p->again_ms = at_ms;
}

void probe_pause(struct probe *p)
{
	assert(!p->dead);
	probe_drop(p);
}

void probe_resume(struct probe *p)
{
	assert(!p->dead);
	if (p->state != STATE_PAUSED)
		return;
	p->state = STATE_WAITING;
	p->again_ms = -1;
	probe_due(p, engine_now(p->engine));
}

/* --- the engine ---------------------------------------------------------------------------- */

static uint64_t random_seed(void)
{
	uint64_t seed = 0;

	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed))
		seed = (uint64_t)getpid();
	return seed ?: 1;
}

int probe_engine_new(sd_event *event, struct probe_engine **ret)
{
	_cleanup_(probe_engine_free) struct probe_engine *engine = NULL;
	int r;

	assert(event);
	assert(ret);

	engine = calloc(1, sizeof(*engine));
	if (!engine)
		return -ENOMEM;
	engine->event = sd_event_ref(event);
	engine->armed_us = UINT64_MAX;
	engine->rng = random_seed();
	engine->stall_ms = -1;
	r = bearer_store_new(&engine->bearers);
	if (r < 0)
		return r;
	r = curl_loop_new(event, &engine->curl);
	if (r < 0)
		return r;
	r = sd_event_add_time(event, &engine->timer, CLOCK_MONOTONIC, UINT64_MAX, 1,
			      on_engine_timer, engine);
	if (r < 0)
		return r;
	(void)sd_event_source_set_description(engine->timer, "probes");
	*ret = TAKE_PTR(engine);
	return 0;
}

void probe_engine_free(struct probe_engine **enginep)
{
	struct probe_engine *engine = enginep ? *enginep : NULL;

	if (!engine)
		return;
	*enginep = NULL;
	while (engine->probes) {
		struct probe *p = engine->probes;

		probe_free(&p);
	}
	curl_loop_free(&engine->curl);
	bearer_store_free(&engine->bearers);
	sd_event_source_disable_unref(engine->timer);
	sd_event_unref(engine->event);
	due_queue_free(&engine->queue);
	free(engine);
}

void probe_engine_stats(const struct probe_engine *engine, struct probe_stats *ret_stats)
{
	struct curl_loop_stats curl;

	curl_loop_stats(engine->curl, &curl);
	*ret_stats = engine->stats;
	ret_stats->connections = curl.connections;
}

void probe_engine_stats_reset(struct probe_engine *engine)
{
	engine->stats.late_max_ms = 0;
}
