/* SPDX-License-Identifier: BSD-2-Clause */
/* The way of a probe over libcurl: TLS and HTTP/2. */
#include "userspace/agent/probe_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#define BUFFER_SMALL 1024 /* a small enough piece for malloc()'s cache; answers are small */
#define BUFFER_PAGE  16384

static long http_status(struct probe *p)
{
	long status = 0;

	(void)curl_easy_getinfo(curl_request_easy(p->req), CURLINFO_RESPONSE_CODE, &status);
	return status;
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
	if (p->header_bytes > PROBE_HEADER_MAX) {
		p->stop = PROBE_BAD_RESPONSE;
		p->stop_error = "header too long";
		return -1;
	}
	switch (line[0] | 0x20) {
	case 'h':
		if (len >= 6 && memcmp(line, "HTTP/", 5) == 0) {
			p->framed = line[5] >= '2';
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

static int on_body(void *userdata, const char *buf, size_t len)
{
	struct probe *p = userdata;

	return probe_take_body(p, (uint16_t)http_status(p), p->encoded, buf, len);
}

static void facts_of(struct probe *p, CURL *easy, const struct curl_outcome *o,
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
		.http_status = status >= 100 && status <= 999 ? (uint16_t)status : 0,
		.error = o->error,
	};
	/* It looks at its clock before its sockets, where the answer may lie. */
	ret->stalled = total_us / 1000 > p->pr.spec.timeout_ms + PROBE_STALL_MS;
}

static void times_of(CURL *easy, const struct curl_outcome *o, struct probe_result *res)
{
	curl_off_t total_us = 0, sent_us = 0, connect_us = 0;
	long connects = 0;

	(void)curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &connects);
	(void)curl_easy_getinfo(easy, CURLINFO_CONNECT_TIME_T, &connect_us);
	(void)curl_easy_getinfo(easy, CURLINFO_TOTAL_TIME_T, &total_us);
	(void)curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &sent_us);
	/* It counts connections that came about. */
	res->reused = connects == 0 && !o->silent && !o->local && o->code != CURLE_COULDNT_CONNECT;
	res->connect_us = res->reused ? 0 : connect_us;
	res->rtt_us = total_us - sent_us;
}

static void on_done(void *userdata, const struct curl_outcome *outcome)
{
	struct probe *p = userdata;
	CURL *easy = curl_request_easy(p->req);
	struct probe_result res = {.framed = p->framed};
	struct probe_facts facts;

	p->req = NULL; /* goes back to the loop after this */
	facts_of(p, easy, outcome, &facts);
	times_of(easy, outcome, &res);
	if (facts.http_status == 204 || facts.http_status == 304)
		res.framed = true;
	probe_finish(p, &facts, &res);
}

static const struct curl_request_ops ops = {
	.on_header = on_header,
	.on_body = on_body,
	.on_done = on_done,
};

/* Returns 0 or -ENOMEM. */
static int set_options(struct probe *p, const char *token)
{
	const struct config_http *h = &p->pr.spec.http;
	struct curl_basics basics = {
		.url = p->pr.url,
		.parsed = p->pr.parsed,
		.headers = p->pr.headers,
		.connect_ms = p->pr.spec.connect_timeout_ms,
		.total_ms = p->pr.spec.timeout_ms,
		.body_max = p->pr.spec.body_max,
		.buffer_size = p->pr.spec.body == PROBE_BODY_STREAM ? BUFFER_PAGE : BUFFER_SMALL,
	};
	CURL *easy;
	int r;

	r = curl_request_set_basics(p->req, &basics);
	if (r < 0)
		return r;
	easy = curl_request_easy(p->req);
	if (p->pr.connect_to)
		curl_easy_setopt(easy, CURLOPT_CONNECT_TO, p->pr.connect_to);
	curl_request_set_http(p->req, h);
	return token ? curl_request_set_bearer(p->req, token) : 0;
}

void probe_curl_start(struct probe *p, int64_t now_ms)
{
	const char *token = NULL;
	int r;

	p->state = PROBE_CURL;
	p->framed = false;
	p->encoded = false;
	if (p->pr.bearer) {
		r = bearer_token(p->pr.bearer, now_ms, &token);
		if (r < 0) {
			probe_finish_local(p, "bearer token", -r);
			return;
		}
	}
	r = curl_request_new(p->engine->curl, &p->pr.spec.target, &p->req);
	if (r == 0)
		r = set_options(p, token);
	if (r == 0)
		r = curl_request_start(p->req, &ops, p, &p->keeper);
	if (r < 0) {
		curl_request_cancel(&p->req);
		probe_finish_local(p, "request", -r);
	}
}

void probe_curl_drop(struct probe *p)
{
	curl_request_cancel(&p->req);
	curl_keeper_forget(&p->keeper);
}

static void on_kept_closed(struct curl_keeper *keeper)
{
	probe_wake((struct probe *)((char *)keeper - offsetof(struct probe, keeper)));
}

void probe_curl_init(struct probe *p)
{
	p->keeper = (struct curl_keeper){
		.on_closed = on_kept_closed,
		/* In HTTP/2 and TLS something may come on an idle connection. */
		.plain = p->pr.spec.http.scheme == CONFIG_SCHEME_HTTP &&
			 p->pr.spec.http.version != PRESET_HTTP_2,
		.fd = -1,
	};
}
