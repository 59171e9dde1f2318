/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/probe_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_LEN 2048
#define HOST_MAX_LEN 255
#define USER_AGENT   "User-Agent: sluiced"

/* A request target goes into the request line as it is. */
static bool path_valid(const char *path)
{
	const char *p;

	if (!path || path[0] != '/')
		return false;
	for (p = path; *p; p++)
		if (*p <= 0x20 || *p >= 0x7f || *p == '#')
			return false;
	return p - path <= PATH_MAX_LEN;
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
	return p > host && p - host <= HOST_MAX_LEN;
}

static bool ms_valid(int64_t ms)
{
	return ms > 0 && ms <= INT32_MAX;
}

bool probe_spec_valid(const struct probe_spec *s)
{
	if (!address_is_set(&s->target.addr) || !s->target.port)
		return false;
	if (!ms_valid(s->interval_ms) || !ms_valid(s->connect_timeout_ms) ||
	    !ms_valid(s->timeout_ms))
		return false;
	if (!(s->jitter_ratio >= 0.0 && s->jitter_ratio <= 0.5))
		return false;
	if (s->http.scheme < CONFIG_SCHEME_TCP || s->http.scheme > CONFIG_SCHEME_HTTPS)
		return false;
	if (s->http.scheme == CONFIG_SCHEME_TCP)
		return true;
	if (s->n_expect_status > CONFIG_STATUS_MAX)
		return false;
	if (s->body < PROBE_BODY_DISCARD || s->body > PROBE_BODY_STREAM)
		return false;
	if (!s->http.cert_file != !s->http.key_file)
		return false;
	return path_valid(s->path) && host_valid(s->http.host);
}

static bool string_equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool probe_same_request(const struct probe_spec *a, const struct probe_spec *b)
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

bool probe_status_expected(const struct probe_spec *spec, long status)
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
	int64_t connect_ms = node->check->connect_timeout_ms;

	*ret_spec = (struct probe_spec){
		.target = {.addr = node->address, .port = page->port ?: node->port},
		.http = page->http,
		.path = page->path,
		.interval_ms = l->interval_ms,
		.jitter_ratio = node->check->jitter_ratio,
		.connect_timeout_ms = l->timeout_ms < connect_ms ? l->timeout_ms : connect_ms,
		.timeout_ms = l->timeout_ms,
		.body = PROBE_BODY_STREAM,
		.body_max = PROBE_BODY_MAX_LOAD,
	};
}

/* --- made ready ---------------------------------------------------------------------------- */

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

/* Copy the spec, its strings in one block. */
static int copy_spec(const struct probe_spec *spec, struct probe_prepared *pr)
{
	const struct config_http *h = &spec->http;
	char *at;

	pr->strings = malloc(1 + string_size(spec->path) + string_size(h->host) +
			     string_size(h->ca_file) + string_size(h->cert_file) +
			     string_size(h->key_file) + string_size(h->bearer_file));
	if (!pr->strings)
		return -ENOMEM;
	at = pr->strings;
	pr->spec = *spec;
	pr->spec.path = string_copy(&at, spec->path);
	pr->spec.http.host = string_copy(&at, h->host);
	pr->spec.http.ca_file = string_copy(&at, h->ca_file);
	pr->spec.http.cert_file = string_copy(&at, h->cert_file);
	pr->spec.http.key_file = string_copy(&at, h->key_file);
	pr->spec.http.bearer_file = string_copy(&at, h->bearer_file);
	return 0;
}

static enum probe_way way_of(const struct probe_engine *engine, const struct probe_spec *spec)
{
	if (spec->http.scheme == CONFIG_SCHEME_TCP)
		return PROBE_WAY_CONNECT;
	if (spec->http.scheme == CONFIG_SCHEME_HTTP && spec->http.version != PRESET_HTTP_2 &&
	    !engine->curl_only)
		return PROBE_WAY_HTTP1;
	return PROBE_WAY_CURL;
}

static int prepare_request(struct probe_prepared *pr)
{
	const struct probe_spec *s = &pr->spec;
	char at[ENDPOINT_TEXT_MAX];
	int n;

	endpoint_format(&s->target, at);
	n = asprintf(&pr->request,
		     "GET %s HTTP/1.1\r\nHost: %s\r\n" USER_AGENT "\r\nAccept: */*\r\n", s->path,
		     s->http.host ?: at);
	if (n < 0) {
		pr->request = NULL;
		return -ENOMEM;
	}
	pr->request_len = (size_t)n;
	return 0;
}

/* With TLS the URL has the host's name, for the certificate; where to connect is said apart. */
static int prepare_url(struct probe_prepared *pr)
{
	const struct probe_spec *s = &pr->spec;
	bool tls = s->http.scheme == CONFIG_SCHEME_HTTPS;
	char at[ENDPOINT_TEXT_MAX], to[ENDPOINT_TEXT_MAX + HOST_MAX_LEN + 16];

	endpoint_format(&s->target, at);
	snprintf(to, sizeof(to), "%s", at);
	if (tls && s->http.host) {
		snprintf(to, sizeof(to), "%s:%u:%s", s->http.host, s->target.port, at);
		pr->connect_to = curl_slist_append(NULL, to);
		if (!pr->connect_to)
			return -ENOMEM;
		snprintf(to, sizeof(to), "%s:%u", s->http.host, s->target.port);
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

static int prepare_headers(struct probe_prepared *pr)
{
	char line[HOST_MAX_LEN + 16];

	pr->headers = curl_slist_append(NULL, USER_AGENT);
	if (!pr->headers)
		return -ENOMEM;
	if (!pr->spec.http.host)
		return 0;
	snprintf(line, sizeof(line), "Host: %s", pr->spec.http.host);
	return curl_slist_append(pr->headers, line) ? 0 : -ENOMEM;
}

int probe_prepare(struct probe_engine *engine, const struct probe_spec *spec,
		  struct probe_prepared *ret)
{
	int r;

	*ret = (struct probe_prepared){0};
	if (!probe_spec_valid(spec))
		return -EINVAL;
	r = copy_spec(spec, ret);
	if (r < 0)
		return r;
	ret->way = way_of(engine, spec);
	if (ret->way == PROBE_WAY_HTTP1)
		r = prepare_request(ret);
	if (ret->way == PROBE_WAY_CURL) {
		r = prepare_url(ret);
		if (r == 0)
			r = prepare_headers(ret);
	}
	if (r < 0 || ret->way == PROBE_WAY_CONNECT || !spec->http.bearer_file)
		return r;
	return bearer_open(engine->bearers, spec->http.bearer_file, &ret->bearer);
}

void probe_prepared_free(struct probe_prepared *pr)
{
	free(pr->strings);
	free(pr->request);
	free(pr->url);
	curl_url_cleanup(pr->parsed);
	curl_slist_free_all(pr->headers);
	curl_slist_free_all(pr->connect_to);
	bearer_close(&pr->bearer);
	*pr = (struct probe_prepared){0};
}
