/* SPDX-License-Identifier: BSD-2-Clause */
#include <fcntl.h>
#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <cmocka.h>

#include "tests/lib/raw_server.h"
#include "userspace/agent/probe_internal.h"
#include "userspace/lib/cleanup.h"

#define RESULTS_MAX 4096
#define OK_EMPTY    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define LIMIT_MS    5000 /* of any test's waiting */

extern char **environ;

/* One kept result. */
struct seen {
	enum probe_outcome outcome;
	uint16_t status;
	bool reused;
	bool framed;
	int64_t started_ms;
	int64_t now_ms;
	int64_t rtt_us;
	int64_t connect_us;
	size_t body_len;
	char body[512];
	char cause[PROBE_CAUSE_MAX];
};

struct bed {
	sd_event *event;
	struct probe_engine *engine;
	struct raw_server server;
	bool serving;
	struct probe *probe;
	struct seen seen[RESULTS_MAX];
	unsigned int n; /* results */
	unsigned int n_starts;
	unsigned int n_in_flight; /* by callbacks */
	unsigned int max_in_flight;
	size_t streamed;
	char stream[512];
	void (*act)(struct bed *bed); /* within on_result */
	void (*act_start)(struct bed *bed);
	int (*act_body)(struct bed *bed);
};

static int64_t mono_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void on_start(struct probe *p, void *userdata, int64_t now_ms)
{
	struct bed *bed = userdata;

	(void)p;
	(void)now_ms;
	bed->n_starts++;
	if (++bed->n_in_flight > bed->max_in_flight)
		bed->max_in_flight = bed->n_in_flight;
	if (bed->act_start)
		bed->act_start(bed);
}

static int on_body(struct probe *p, void *userdata, const char *buf, size_t len)
{
	struct bed *bed = userdata;
	size_t room = sizeof(bed->stream) - 1;

	(void)p;
	if (bed->streamed < room)
		memcpy(bed->stream + bed->streamed, buf,
		       len < room - bed->streamed ? len : room - bed->streamed);
	bed->streamed += len;
	return bed->act_body ? bed->act_body(bed) : 0;
}

static void on_result(struct probe *p, void *userdata, const struct probe_result *res)
{
	struct bed *bed = userdata;
	struct seen *s = &bed->seen[bed->n % RESULTS_MAX];

	(void)p;
	bed->n_in_flight--;
	*s = (struct seen){
		.outcome = res->outcome,
		.status = res->http_status,
		.reused = res->reused,
		.framed = res->framed,
		.started_ms = res->started_ms,
		.now_ms = res->now_ms,
		.rtt_us = res->rtt_us,
		.connect_us = res->connect_us,
		.body_len = res->body_len,
	};
	snprintf(s->cause, sizeof(s->cause), "%s", res->cause);
	if (res->body) {
		assert_int_equal(strlen(res->body), res->body_len);
		snprintf(s->body, sizeof(s->body), "%s", res->body);
	}
	bed->n++;
	if (bed->act)
		bed->act(bed);
}

static const struct probe_ops ops = {
	.on_start = on_start,
	.on_body = on_body,
	.on_result = on_result,
};

static int set_up(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));

	assert_non_null(bed);
	assert_true(sd_event_new(&bed->event) >= 0);
	assert_int_equal(probe_engine_new(bed->event, &bed->engine), 0);
	*state = bed;
	return 0;
}

static int tear_down(void **state)
{
	struct bed *bed = *state;

	probe_free(&bed->probe);
	probe_engine_free(&bed->engine);
	sd_event_unref(bed->event);
	if (bed->serving)
		raw_server_stop(&bed->server);
	free(bed);
	return 0;
}

static void serve(struct bed *bed, void (*fn)(struct raw_conn *), const void *arg)
{
	raw_server_start(&bed->server, fn, arg);
	bed->serving = true;
}

static void stop_serving(struct bed *bed)
{
	raw_server_stop(&bed->server);
	bed->serving = false;
}

/* A health check of the bed's server. */
static struct probe_spec spec_of(const struct bed *bed)
{
	return (struct probe_spec){
		.target = {.addr = {.family = AF_INET, .v4.s_addr = htonl(INADDR_LOOPBACK)},
			   .port = bed->server.port},
		.http = {.scheme = CONFIG_SCHEME_HTTP, .version = PRESET_HTTP_AUTO},
		.path = "/health",
		.interval_ms = 50,
		.connect_timeout_ms = 300,
		.timeout_ms = 500,
		.body = PROBE_BODY_KEEP,
		.body_max = 4096,
	};
}

static void probe_it(struct bed *bed, const struct probe_spec *spec)
{
	assert_int_equal(probe_new(bed->engine, spec, &ops, bed, &bed->probe), 0);
}

static void run_ms(struct bed *bed, int64_t ms)
{
	int64_t end = mono_ms() + ms, now;

	while ((now = mono_ms()) < end)
		assert_true(sd_event_run(bed->event, (uint64_t)(end - now) * 1000) >= 0);
}

static void run_until(struct bed *bed, unsigned int n_results)
{
	int64_t end = mono_ms() + LIMIT_MS;

	while (bed->n < n_results) {
		if (mono_ms() >= end)
			fail_msg("%u of %u results within %d ms", bed->n, n_results, LIMIT_MS);
		assert_true(sd_event_run(bed->event, 20000) >= 0);
	}
}

/* --- one request, one answer ------------------------------------------------------------------ */

enum after { AFTER_CLOSE = 1, AFTER_WAIT, AFTER_RESET };

struct script {
	const char *answer; /* after the request */
	enum after after;
};

static void serve_script(struct raw_conn *conn)
{
	const struct script *script = conn->server->arg;

	while (raw_read_request(conn)) {
		if (!raw_print(conn, script->answer))
			return;
		if (script->after == AFTER_CLOSE)
			return;
		if (script->after == AFTER_RESET) {
			raw_sleep(conn, 20);
			raw_reset(conn);
			return;
		}
	}
}

static void serve_close(struct raw_conn *conn)
{
	(void)conn;
}

static void serve_reset(struct raw_conn *conn)
{
	raw_reset(conn);
}

static void serve_reset_after_request(struct raw_conn *conn)
{
	if (raw_read_request(conn))
		raw_reset(conn);
}

static void serve_close_after_request(struct raw_conn *conn)
{
	(void)raw_read_request(conn);
}

static void serve_silence(struct raw_conn *conn)
{
	raw_wait_closed(conn);
}

/* conn->server->arg again and again. */
static void serve_endless(struct raw_conn *conn)
{
	const struct script *script = conn->server->arg;

	if (!raw_read_request(conn) || !raw_print(conn, script->answer))
		return;
	while (raw_print(conn,
			 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"))
		;
}

static void serve_endless_continue(struct raw_conn *conn)
{
	if (!raw_read_request(conn))
		return;
	while (raw_print(conn, "HTTP/1.1 100 Continue\r\nX-Pad: 1234567890\r\n\r\n"))
		;
}

static void serve_endless_headers(struct raw_conn *conn)
{
	if (!raw_read_request(conn) || !raw_print(conn, "HTTP/1.1 200 OK\r\n"))
		return;
	while (raw_print(conn, "X-Header: abcdefghijklmnopqrstuvwxyz\r\n"))
		;
}

static void serve_endless_trailers(struct raw_conn *conn)
{
	if (!raw_read_request(conn) ||
	    !raw_print(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"))
		return;
	while (raw_print(conn, "X-Trailer: abcdefghijklmnopqrstuvwxyz\r\n"))
		;
}

static void serve_endless_chunks(struct raw_conn *conn)
{
	if (!raw_read_request(conn) ||
	    !raw_print(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
		return;
	while (raw_print(conn, "10\r\naaaaaaaaaaaaaaaa\r\n"))
		;
}

static void serve_drip(struct raw_conn *conn)
{
	const struct script *script = conn->server->arg;
	const char *p;

	if (!raw_read_request(conn))
		return;
	for (p = script->answer; *p; p++)
		if (!raw_write(conn, p, 1) || !raw_sleep(conn, 20))
			return;
	raw_wait_closed(conn);
}

static void serve_before_request(struct raw_conn *conn)
{
	if (raw_print(conn, OK_EMPTY))
		raw_wait_closed(conn);
}

#define SCRIPT(text, how)                                                                          \
	&(const struct script)                                                                     \
	{                                                                                          \
		text, how                                                                          \
	}

struct once_case {
	const char *name;
	void (*serve)(struct raw_conn *conn); /* NULL: serve_script */
	const struct script *script;
	enum probe_body body;   /* 0: KEEP */
	uint16_t expect_status; /* 0: 2xx */
	enum probe_outcome want;
	enum probe_outcome want_curl; /* 0: the same */
	uint16_t want_status;
	const char *want_body;  /* NULL: not looked at */
	const char *want_cause; /* part of it */
	bool unframed;
};

static const struct once_case once_cases[] = {
	{
		.name = "an empty 200 passes",
		.script = SCRIPT(OK_EMPTY, AFTER_WAIT),
		.want = PROBE_PASS,
		.want_status = 200,
		.want_body = "",
		.want_cause = "",
	},
	{
		.name = "a body by length is whole without a close",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", AFTER_WAIT),
		.want = PROBE_PASS,
		.want_status = 200,
		.want_body = "hello",
	},
	{
		.name = "a body in chunks is whole without a close",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
				 "3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
				 AFTER_WAIT),
		.want = PROBE_PASS,
		.want_status = 200,
		.want_body = "hello",
	},
	{
		.name = "a body that the close ends is not framed",
		.script = SCRIPT("HTTP/1.1 200 OK\r\n\r\nhello", AFTER_CLOSE),
		.want = PROBE_PASS,
		.want_status = 200,
		.want_body = "hello",
		.unframed = true,
	},
	{
		.name = "HTTP/1.0 is an answer too",
		.script = SCRIPT("HTTP/1.0 200 OK\r\n\r\nold", AFTER_CLOSE),
		.want = PROBE_PASS,
		.want_status = 200,
		.want_body = "old",
		.unframed = true,
	},
	{
		.name = "204 has no body to wait for",
		.script = SCRIPT("HTTP/1.1 204 No Content\r\n\r\n", AFTER_WAIT),
		.want = PROBE_PASS,
		.want_status = 204,
	},
	{
		.name = "103 and 100 are not the answer",
		.script = SCRIPT("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
				 "HTTP/1.1 100 Continue\r\n\r\n" OK_EMPTY,
				 AFTER_WAIT),
		.want = PROBE_PASS,
		.want_status = 200,
	},
	{
		.name = "an answer that came before the request is one",
		.serve = serve_before_request,
		.want = PROBE_PASS,
		.want_status = 200,
	},
	{
		.name = "503 is not expected, and its body is kept",
		.script = SCRIPT(
			"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 7\r\n\r\nloading",
			AFTER_WAIT),
		.want = PROBE_FAIL_STATUS,
		.want_status = 503,
		.want_body = "loading",
		.want_cause = "status 503",
	},
	{
		.name = "an expected 404 passes",
		.script = SCRIPT("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", AFTER_WAIT),
		.expect_status = 404,
		.want = PROBE_PASS,
		.want_status = 404,
	},
	{
		.name = "200 fails where only 404 is expected",
		.script = SCRIPT(OK_EMPTY, AFTER_WAIT),
		.expect_status = 404,
		.want = PROBE_FAIL_STATUS,
		.want_status = 200,
	},
	{
		.name = "a redirect is not followed",
		.script = SCRIPT("HTTP/1.1 302 Found\r\nLocation: /health2\r\n"
				 "Content-Length: 0\r\n\r\n",
				 AFTER_WAIT),
		.want = PROBE_FAIL_STATUS,
		.want_status = 302,
	},
	{
		.name = "bytes that are no HTTP",
		.script = SCRIPT("\x01\x02\x03garbage\r\n\r\n", AFTER_CLOSE),
		.want = PROBE_BAD_RESPONSE,
	},
	{
		.name = "another protocol's banner",
		.script = SCRIPT("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", AFTER_WAIT),
		.want = PROBE_BAD_RESPONSE,
	},
	{
		.name = "a status that is no number",
		.script = SCRIPT("HTTP/1.1 abc OK\r\n\r\n", AFTER_CLOSE),
		.want = PROBE_BAD_RESPONSE,
	},
	{
		.name = "a negative length",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", AFTER_WAIT),
		.want = PROBE_BAD_RESPONSE,
	},
	{
		.name = "two lengths that differ",
		.script =
			SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\n",
			       AFTER_WAIT),
		.want = PROBE_BAD_RESPONSE,
		.want_curl = PROBE_PASS,
		.want_status = 200,
	},
	{
		.name = "a chunk size that is no number",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
				 AFTER_WAIT),
		.want = PROBE_BAD_RESPONSE,
		.want_status = 200,
	},
	{
		.name = "a chunk size beyond 64 bits",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
				 "fffffffffffffffffffff\r\n",
				 AFTER_WAIT),
		.want = PROBE_BAD_RESPONSE,
		.want_status = 200,
	},
	{
		.name = "endless headers",
		.serve = serve_endless_headers,
		.want = PROBE_BAD_RESPONSE,
		.want_cause = "header too long",
	},
	{
		.name = "one endless header line",
		.serve = serve_endless,
		.script = SCRIPT("HTTP/1.1 200 OK\r\nX: ", AFTER_WAIT),
		.want = PROBE_BAD_RESPONSE,
	},
	{
		.name = "an endless status line",
		.serve = serve_endless,
		.script = SCRIPT("HTTP/1.1 200 ", AFTER_WAIT),
		.want = PROBE_BAD_RESPONSE,
	},
	{
		.name = "endless bytes that are no HTTP",
		.serve = serve_endless,
		.script = SCRIPT("", AFTER_WAIT),
		.want = PROBE_BAD_RESPONSE,
	},
	{
		.name = "endless 100 Continue",
		.serve = serve_endless_continue,
		.want = PROBE_BAD_RESPONSE,
		.want_cause = "header too long",
	},
	{
		.name = "endless trailers",
		.serve = serve_endless_trailers,
		.want = PROBE_BAD_RESPONSE,
		.want_status = 200,
	},
	{
		.name = "an encoding nobody asked for",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
				 "Content-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
				 AFTER_WAIT),
		.want = PROBE_BAD_RESPONSE,
		.want_status = 200,
		.want_cause = "encoded",
	},
	{
		.name = "the status of an encoded error counts, its body does not",
		.script = SCRIPT("HTTP/1.1 503 Busy\r\ncontent-encoding:gzip\r\n"
				 "Content-Length: 4\r\n\r\n\x1f\x8b\x08\x01",
				 AFTER_WAIT),
		.want = PROBE_FAIL_STATUS,
		.want_status = 503,
		.want_body = "",
	},
	{
		.name = "identity is no encoding",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\n"
				 "Content-Length: 2\r\n\r\nok",
				 AFTER_WAIT),
		.want = PROBE_PASS,
		.want_status = 200,
		.want_body = "ok",
	},
	{
		.name = "an encoded body that is thrown away does no harm",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
				 "Content-Length: 4\r\n\r\n\x1f\x8b\x08\x01",
				 AFTER_WAIT),
		.body = PROBE_BODY_DISCARD,
		.want = PROBE_PASS,
		.want_status = 200,
	},
	{
		.name = "a length over the limit is refused at once",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n",
				 AFTER_WAIT),
		.want = PROBE_TOO_BIG,
		.want_cause = "over 4096 bytes",
	},
	{
		.name = "endless chunks are cut at the limit",
		.serve = serve_endless_chunks,
		.want = PROBE_TOO_BIG,
		.want_status = 200,
	},
	{
		.name = "an endless body is cut at the limit",
		.serve = serve_endless,
		.script = SCRIPT("HTTP/1.1 200 OK\r\n\r\n", AFTER_WAIT),
		.want = PROBE_TOO_BIG,
		.want_status = 200,
	},
	{
		.name = "an endless body is cut at the limit also if it is thrown away",
		.serve = serve_endless,
		.script = SCRIPT("HTTP/1.1 200 OK\r\n\r\n", AFTER_WAIT),
		.body = PROBE_BODY_DISCARD,
		.want = PROBE_TOO_BIG,
		.want_status = 200,
	},
	{
		.name = "a body cut off by a close",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", AFTER_CLOSE),
		.want = PROBE_TRUNCATED,
		.want_status = 200,
		.want_body = "hello",
		.want_cause = "cut off",
	},
	{
		.name = "chunks cut off by a close",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
				 AFTER_CLOSE),
		.want = PROBE_TRUNCATED,
		.want_status = 200,
	},
	{
		.name = "a body cut off by a reset",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", AFTER_RESET),
		.want = PROBE_TRUNCATED,
		.want_status = 200,
	},
	{
		.name = "a close at once",
		.serve = serve_close,
		.want = PROBE_RESET,
		.want_cause = "closed without an answer",
	},
	{
		.name = "a reset at once",
		.serve = serve_reset,
		.want = PROBE_RESET,
	},
	{
		.name = "a close after the request",
		.serve = serve_close_after_request,
		.want = PROBE_RESET,
	},
	{
		.name = "a reset after the request",
		.serve = serve_reset_after_request,
		.want = PROBE_RESET,
	},
	{
		.name = "no answer at all is a time-out, not a failure to connect",
		.serve = serve_silence,
		.want = PROBE_TIMEOUT,
		.want_cause = "no whole answer within 500 ms (0 bytes came)",
	},
	{
		.name = "a slow header is a time-out",
		.serve = serve_drip,
		.script = SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", AFTER_WAIT),
		.want = PROBE_TIMEOUT,
	},
	{
		.name = "a body that drips is a time-out, however often bytes come",
		.serve = serve_drip,
		.script =
			SCRIPT("HTTP/1.1 200\r\n\r\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
			       AFTER_WAIT),
		.want = PROBE_TIMEOUT,
		.want_status = 200,
	},
};

static void check_once(const struct once_case *c, const struct seen *s, bool curl)
{
	enum probe_outcome want = curl && c->want_curl ? c->want_curl : c->want;
	const char *way = curl ? "libcurl" : "socket";

	if (s->outcome != want)
		fail_msg("%s: %s: %s (%s), not %s", way, c->name, probe_outcome_name(s->outcome),
			 s->cause, probe_outcome_name(want));
	if (c->want_status && s->status != c->want_status)
		fail_msg("%s: %s: status %u, not %u", way, c->name, s->status, c->want_status);
	if (c->want_body && strcmp(s->body, c->want_body) != 0)
		fail_msg("%s: %s: body \"%s\"", way, c->name, s->body);
	if (c->want_cause && !(c->want_cause[0] ? !!strstr(s->cause, c->want_cause) : !s->cause[0]))
		fail_msg("%s: %s: cause \"%s\"", way, c->name, s->cause);
	if (s->outcome == PROBE_PASS && s->framed == c->unframed)
		fail_msg("%s: %s: framed %d", way, c->name, s->framed);
	if (s->outcome != PROBE_PASS && !s->cause[0])
		fail_msg("%s: %s: no cause", way, c->name);
}

static void judge_answers(bool curl)
{
	const struct once_case *c;

	for (c = once_cases; c < once_cases + ARRAY_SIZE(once_cases); c++) {
		struct probe_spec spec;
		struct bed *bed;
		void *own;

		set_up(&own);
		bed = own;
		bed->engine->curl_only = curl;
		serve(bed, c->serve ?: serve_script, c->script);
		spec = spec_of(bed);
		spec.interval_ms = 10000;
		spec.body = c->body ?: PROBE_BODY_KEEP;
		if (c->expect_status) {
			spec.n_expect_status = 1;
			spec.expect_status[0].low = spec.expect_status[0].high = c->expect_status;
		}
		probe_it(bed, &spec);
		run_until(bed, 1);
		check_once(c, &bed->seen[0], curl);
		tear_down(&own);
	}
}

static void answer_is_judged(void **state)
{
	(void)state;
	judge_answers(false);
}

static void answer_is_judged_by_libcurl(void **state)
{
	(void)state;
	judge_answers(true);
}

/* --- connections that fail -------------------------------------------------------------------- */

/* A port of loopback where nobody listens. */
static uint16_t dead_port(void)
{
	struct raw_server server;

	raw_server_start(&server, serve_close, NULL);
	raw_server_stop(&server);
	return server.port;
}

/* A listener that answers no SYN: its queue of one is taken. Fills fds[3]. */
static uint16_t full_port(int fds[3])
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int i;

	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fds[0], (struct sockaddr *)&sa, len), 0);
	assert_int_equal(listen(fds[0], 0), 0);
	assert_int_equal(getsockname(fds[0], (struct sockaddr *)&sa, &len), 0);
	for (i = 1; i < 3; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		(void)connect(fds[i], (struct sockaddr *)&sa, len);
	}
	return ntohs(sa.sin_port);
}

static void close_all(int fds[3])
{
	int i;

	for (i = 0; i < 3; i++)
		close(fds[i]);
}

static void refused_http(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec = spec_of(bed);

	spec.target.port = dead_port();
	probe_it(bed, &spec);
	run_until(bed, 2);
	assert_int_equal(bed->seen[0].outcome, PROBE_REFUSED);
	assert_int_equal(bed->seen[1].outcome, PROBE_REFUSED);
	assert_string_equal(bed->seen[0].cause, "connection refused");
	assert_int_equal(bed->seen[0].status, 0);
}

static void refused_tcp(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec = spec_of(bed);

	spec.http.scheme = CONFIG_SCHEME_TCP;
	spec.path = NULL;
	spec.target.port = dead_port();
	probe_it(bed, &spec);
	run_until(bed, 2);
	assert_int_equal(bed->seen[1].outcome, PROBE_REFUSED);
}

static void connect_timeout(void **state, enum config_scheme scheme)
{
	struct bed *bed = *state;
	struct probe_spec spec = spec_of(bed);
	int64_t took_ms;
	int fds[3];

	spec.http.scheme = scheme;
	spec.target.port = full_port(fds);
	probe_it(bed, &spec);
	run_until(bed, 1);
	close_all(fds);
	assert_int_equal(bed->seen[0].outcome, PROBE_CONNECT_TIMEOUT);
	assert_string_equal(bed->seen[0].cause, "nothing acknowledged within 300 ms");
	took_ms = bed->seen[0].now_ms - bed->seen[0].started_ms;
	assert_in_range(took_ms, 290, 1500);
}

static void connect_timeout_http(void **state)
{
	connect_timeout(state, CONFIG_SCHEME_HTTP);
}

static void connect_timeout_tcp(void **state)
{
	connect_timeout(state, CONFIG_SCHEME_TCP);
}

/* TCP to a multicast address has no route. */
static void unreachable(void **state, enum config_scheme scheme)
{
	struct bed *bed = *state;
	struct probe_spec spec = spec_of(bed);

	spec.http.scheme = scheme;
	spec.target.port = 80;
	spec.target.addr.v4.s_addr = htonl(0xe0000001);
	probe_it(bed, &spec);
	run_until(bed, 1);
	assert_int_equal(bed->seen[0].outcome, PROBE_UNREACHABLE);
	assert_string_equal(bed->seen[0].cause, "unreachable: Network is unreachable");
}

static void unreachable_http(void **state)
{
	unreachable(state, CONFIG_SCHEME_HTTP);
}

static void unreachable_tcp(void **state)
{
	unreachable(state, CONFIG_SCHEME_TCP);
}

static void tcp_passes(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_silence, NULL);
	spec = spec_of(bed);
	spec.http.scheme = CONFIG_SCHEME_TCP;
	spec.path = NULL;
	probe_it(bed, &spec);
	run_until(bed, 3);
	assert_int_equal(bed->seen[0].outcome, PROBE_PASS);
	assert_int_equal(bed->seen[2].outcome, PROBE_PASS);
	assert_string_equal(bed->seen[2].cause, "");
	assert_true(bed->seen[0].connect_us >= 0);
	assert_int_equal(atomic_load(&bed->server.n_requests), 0);
}

/* Want of descriptors is this host's trouble, never the node's. */
static void no_descriptors_is_local(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;
	int fds[1024], i, n = 0;
	struct rlimit old, low;

	serve(bed, serve_silence, NULL);
	spec = spec_of(bed);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = 128;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	while (n < 1024 && (fds[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		n++;
	probe_it(bed, &spec);
	run_until(bed, 1);
	probe_free(&bed->probe);
	spec.http.scheme = CONFIG_SCHEME_TCP;
	probe_it(bed, &spec);
	run_until(bed, 2);
	for (i = 0; i < n; i++)
		close(fds[i]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(bed->seen[0].outcome, PROBE_LOCAL);
	assert_non_null(strstr(bed->seen[0].cause, "on this host"));
	assert_int_equal(bed->seen[1].outcome, PROBE_LOCAL);
	assert_non_null(strstr(bed->seen[1].cause, "Too many open files"));
}

/* --- schedule --------------------------------------------------------------------------------- */

static void serve_ok(struct raw_conn *conn)
{
	while (raw_read_request(conn))
		if (!raw_print(conn, OK_EMPTY))
			return;
}

static void interval_and_jitter_hold(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;
	int64_t least = INT64_MAX, most = 0;
	unsigned int i;

	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	spec.interval_ms = 40;
	spec.jitter_ratio = 0.25;
	probe_it(bed, &spec);
	run_until(bed, 40);
	for (i = 1; i < 40; i++) {
		int64_t gap = bed->seen[i].started_ms - bed->seen[i - 1].started_ms;

		least = gap < least ? gap : least;
		most = gap > most ? gap : most;
	}
	/* 30..50, and a little for a busy machine; both sides are used. */
	assert_in_range(least, 29, 39);
	assert_in_range(most, 41, 1000);
	assert_in_range(bed->seen[39].started_ms - bed->seen[0].started_ms, 39 * 34, 39 * 160);
}

static void one_connection_is_kept(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;
	unsigned int i;

	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	spec.interval_ms = 10;
	probe_it(bed, &spec);
	run_until(bed, 20);
	assert_int_equal(atomic_load(&bed->server.n_conns), 1);
	assert_false(bed->seen[0].reused);
	assert_true(bed->seen[0].connect_us > 0);
	for (i = 1; i < 20; i++) {
		assert_true(bed->seen[i].reused);
		assert_int_equal(bed->seen[i].connect_us, 0);
		assert_true(bed->seen[i].rtt_us > 0);
	}
}

/* Longer than the interval: the next waits for it, and does not pile up. */
static void one_probe_is_in_flight(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_silence, NULL);
	spec = spec_of(bed);
	spec.interval_ms = 20;
	spec.timeout_ms = 100;
	probe_it(bed, &spec);
	run_until(bed, 5);
	assert_int_equal(bed->max_in_flight, 1);
	assert_int_equal(bed->n_starts, 5);
	assert_true(bed->seen[4].started_ms - bed->seen[0].started_ms >= 4 * 100);
}

static void again_comes_sooner(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	spec.interval_ms = 60000;
	probe_it(bed, &spec);
	run_until(bed, 1);
	probe_again(bed->probe, 30);
	run_until(bed, 2);
	assert_in_range(bed->seen[1].started_ms - bed->seen[0].now_ms, 29, 1000);
	probe_again(bed->probe, 0);
	run_until(bed, 3);
	assert_in_range(bed->seen[2].started_ms - bed->seen[1].now_ms, 0, 1000);
	run_ms(bed, 100);
	assert_int_equal(bed->n, 3); /* once, and then by the interval again */
}

static void act_again(struct bed *bed)
{
	if (bed->n < 4)
		probe_again(bed->probe, 5);
}

static void again_within_the_result(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec = spec_of(bed);

	spec.target.port = dead_port();
	spec.interval_ms = 60000;
	bed->act = act_again;
	probe_it(bed, &spec);
	run_until(bed, 4);
	assert_true(bed->seen[3].started_ms - bed->seen[0].started_ms >= 15);
	run_ms(bed, 50);
	assert_int_equal(bed->n, 4);
}

static void again_while_in_flight_waits_for_its_end(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_silence, NULL);
	spec = spec_of(bed);
	spec.interval_ms = 60000;
	spec.timeout_ms = 100;
	probe_it(bed, &spec);
	run_ms(bed, 30);
	assert_int_equal(bed->n_starts, 1);
	probe_again(bed->probe, 0);
	run_until(bed, 2);
	assert_int_equal(bed->max_in_flight, 1);
	assert_in_range(bed->seen[1].started_ms - bed->seen[0].now_ms, 0, 1000);
}

static void pause_drops_and_resume_starts(void **state)
{
	struct bed *bed = *state;
	struct probe_stats stats;
	struct probe_spec spec;

	serve(bed, serve_silence, NULL);
	spec = spec_of(bed);
	probe_it(bed, &spec);
	run_ms(bed, 30);
	assert_int_equal(bed->n_starts, 1);
	probe_pause(bed->probe);
	probe_pause(bed->probe);
	probe_engine_stats(bed->engine, &stats);
	assert_int_equal(stats.in_flight, 0);
	run_ms(bed, 700);
	assert_int_equal(bed->n, 0);
	assert_int_equal(bed->n_starts, 1);
	probe_again(bed->probe, 0);
	run_ms(bed, 30);
	assert_int_equal(bed->n_starts, 1);
	probe_resume(bed->probe);
	probe_resume(bed->probe);
	run_ms(bed, 30);
	assert_int_equal(bed->n_starts, 2);
}

static void first_starts_are_spread(void **state)
{
	enum { N = 1600, SPAN_MS = 800 };
	struct bed *bed = *state;
	struct probe *probes[N];
	unsigned int quarter[4] = {0}, i;
	struct probe_spec spec = spec_of(bed);
	int64_t begin;

	spec.target.port = dead_port();
	spec.interval_ms = SPAN_MS;
	begin = mono_ms();
	for (i = 0; i < N; i++) {
		spec.target.addr.v4.s_addr = htonl(0x7f000001 + i * 256);
		assert_int_equal(probe_new(bed->engine, &spec, &ops, bed, &probes[i]), 0);
	}
	run_ms(bed, SPAN_MS - 5);
	for (i = 0; i < bed->n; i++) {
		int64_t at = bed->seen[i].started_ms - begin;

		if (at >= 0 && at < SPAN_MS)
			quarter[at * 4 / SPAN_MS]++;
	}
	for (i = 0; i < N; i++)
		probe_free(&probes[i]);
	for (i = 0; i < 4; i++)
		assert_in_range(quarter[i], N / 16, N / 2);
}

/* Milliseconds that this loop itself lost must not count against a node. */
static void a_stalled_loop_blames_nobody(void **state)
{
	struct bed *bed = *state;
	struct timespec stall = {.tv_sec = 1};
	struct probe_spec spec;

	serve(bed, serve_silence, NULL);
	spec = spec_of(bed);
	probe_it(bed, &spec);
	run_ms(bed, 30);
	assert_int_equal(bed->n_starts, 1);
	nanosleep(&stall, NULL);
	run_until(bed, 2);
	assert_int_equal(bed->seen[0].outcome, PROBE_LOCAL);
	assert_non_null(strstr(bed->seen[0].cause, "held up"));
	assert_int_equal(bed->seen[1].outcome, PROBE_TIMEOUT);
}

/* --- kept connections that end ---------------------------------------------------------------- */

static void end_of_a_kept_connection_is_noticed_at_once(void **state)
{
	struct bed *bed = *state;
	struct probe_stats stats;
	struct probe_spec spec;
	int64_t stopped_ms;

	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	spec.interval_ms = 60000;
	probe_it(bed, &spec);
	run_until(bed, 1);
	assert_int_equal(bed->seen[0].outcome, PROBE_PASS);
	stop_serving(bed);
	stopped_ms = mono_ms();
	run_until(bed, 2);
	assert_int_equal(bed->seen[1].outcome, PROBE_REFUSED);
	assert_in_range(bed->seen[1].now_ms - stopped_ms, 0, 2000);
	probe_engine_stats(bed->engine, &stats);
	assert_int_equal(stats.woken, 1);
}

static void serve_one_then_close(struct raw_conn *conn)
{
	if (raw_read_request(conn) && raw_print(conn, OK_EMPTY))
		raw_sleep(conn, 20);
}

/* A server that closes what is idle is probed early once, and not all the time. */
static void idle_close_by_habit_is_not_chased(void **state)
{
	struct bed *bed = *state;
	struct probe_stats stats;
	struct probe_spec spec;
	unsigned int i;

	serve(bed, serve_one_then_close, NULL);
	spec = spec_of(bed);
	spec.interval_ms = 100;
	probe_it(bed, &spec);
	run_ms(bed, 850);
	probe_engine_stats(bed->engine, &stats);
	assert_int_equal(stats.woken, 1);
	assert_in_range(bed->n, 3, 11);
	for (i = 0; i < bed->n; i++)
		assert_int_equal(bed->seen[i].outcome, PROBE_PASS);
}

static void serve_two_answers(struct raw_conn *conn)
{
	while (raw_read_request(conn))
		if (!raw_print(conn, OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"))
			return;
}

static void serve_late_answer(struct raw_conn *conn)
{
	while (raw_read_request(conn)) {
		if (!raw_print(conn, OK_EMPTY) || !raw_sleep(conn, 20) ||
		    !raw_print(conn, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"))
			return;
	}
}

static void second_answer_is_nobodys(void **state, void (*fn)(struct raw_conn *))
{
	struct bed *bed = *state;
	struct probe_spec spec;
	unsigned int i;

	serve(bed, fn, NULL);
	spec = spec_of(bed);
	spec.interval_ms = 60;
	probe_it(bed, &spec);
	run_until(bed, 5);
	for (i = 0; i < 5; i++) {
		assert_int_equal(bed->seen[i].outcome, PROBE_PASS);
		assert_string_equal(bed->seen[i].body, "");
	}
}

static void answer_sent_twice(void **state)
{
	second_answer_is_nobodys(state, serve_two_answers);
}

static void answer_nobody_asked_for(void **state)
{
	second_answer_is_nobodys(state, serve_late_answer);
}

static void serve_close_header(struct raw_conn *conn)
{
	if (raw_read_request(conn))
		raw_print(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n"
				"Content-Length: 0\r\n\r\n");
}

static void connection_close_is_obeyed(void **state)
{
	struct bed *bed = *state;
	struct probe_stats stats;
	struct probe_spec spec;

	serve(bed, serve_close_header, NULL);
	spec = spec_of(bed);
	spec.interval_ms = 20;
	probe_it(bed, &spec);
	run_until(bed, 5);
	assert_int_equal(bed->seen[4].outcome, PROBE_PASS);
	assert_false(bed->seen[4].reused);
	probe_engine_stats(bed->engine, &stats);
	assert_int_equal(stats.woken, 0);
	assert_int_equal(stats.connections, 5);
}

/* The old process closes, the new one listens: no failure in between. */
static void restart_of_the_server_is_no_failure(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;
	uint16_t port;

	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	port = bed->server.port;
	spec.interval_ms = 200;
	probe_it(bed, &spec);
	run_until(bed, 1);
	stop_serving(bed);
	raw_server_start_at(&bed->server, serve_ok, NULL, port);
	bed->serving = true;
	run_until(bed, 3);
	assert_int_equal(bed->seen[1].outcome, PROBE_PASS);
	assert_false(bed->seen[1].reused);
	assert_int_equal(bed->seen[2].outcome, PROBE_PASS);
}

/* --- bodies ----------------------------------------------------------------------------------- */

static const struct script hello = {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
				    AFTER_WAIT};

static void stream_gets_every_byte_once(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_script, &hello);
	spec = spec_of(bed);
	spec.body = PROBE_BODY_STREAM;
	probe_it(bed, &spec);
	run_until(bed, 3);
	assert_int_equal(bed->streamed, 15);
	assert_string_equal(bed->stream, "hellohellohello");
	assert_int_equal(bed->seen[2].body_len, 5);
	assert_true(bed->seen[2].framed);
}

static void stream_gets_no_error_page(void **state)
{
	static const struct script page = {"HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nerror",
					   AFTER_WAIT};
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_script, &page);
	spec = spec_of(bed);
	spec.body = PROBE_BODY_STREAM;
	probe_it(bed, &spec);
	run_until(bed, 2);
	assert_int_equal(bed->streamed, 0);
	assert_int_equal(bed->seen[1].outcome, PROBE_FAIL_STATUS);
	assert_true(bed->seen[1].reused);
}

static int refuse_body(struct bed *bed)
{
	(void)bed;
	return -EBADMSG;
}

static void stream_refused_is_bad_body(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_script, &hello);
	spec = spec_of(bed);
	spec.body = PROBE_BODY_STREAM;
	bed->act_body = refuse_body;
	probe_it(bed, &spec);
	run_until(bed, 2);
	assert_int_equal(bed->seen[0].outcome, PROBE_BAD_BODY);
	assert_int_equal(bed->seen[0].status, 200);
	assert_int_equal(bed->seen[1].outcome, PROBE_BAD_BODY);
}

/* 1 MiB in one go; the limit is exact. */
static void serve_mebibyte(struct raw_conn *conn)
{
	static char block[65536];
	int i;

	memset(block, 'x', sizeof(block));
	while (raw_read_request(conn)) {
		if (!raw_print(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
			return;
		for (i = 0; i < 16; i++)
			if (!raw_print(conn, "10000\r\n") ||
			    !raw_write(conn, block, sizeof(block)) || !raw_print(conn, "\r\n"))
				return;
		if (!raw_print(conn, "0\r\n\r\n"))
			return;
	}
}

static void body_limit_is_exact(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_mebibyte, NULL);
	spec = spec_of(bed);
	spec.timeout_ms = 3000;
	spec.body = PROBE_BODY_STREAM;
	spec.body_max = 1 << 20;
	probe_it(bed, &spec);
	run_until(bed, 1);
	assert_int_equal(bed->seen[0].outcome, PROBE_PASS);
	assert_int_equal(bed->streamed, 1 << 20);
	spec.body_max--;
	assert_int_equal(probe_update(bed->probe, &spec), 0);
	run_until(bed, 2);
	assert_int_equal(bed->seen[1].outcome, PROBE_TOO_BIG);
	assert_in_range(bed->streamed, 1 << 20, (2 << 20) - 1);
	spec.body = PROBE_BODY_KEEP;
	spec.body_max++;
	assert_int_equal(probe_update(bed->probe, &spec), 0);
	run_until(bed, 3);
	assert_int_equal(bed->seen[2].outcome, PROBE_PASS);
	assert_int_equal(bed->seen[2].body_len, 1 << 20);
}

/* --- what is sent ----------------------------------------------------------------------------- */

static void request_is_plain(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;
	char host[64], *request;

	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	spec.path = "/a/../b//c?x=%2e&y";
	probe_it(bed, &spec);
	run_until(bed, 1);
	unsetenv("http_proxy");
	unsetenv("ALL_PROXY");
	assert_int_equal(bed->seen[0].outcome, PROBE_PASS);
	request = bed->server.conns[0]->request;
	snprintf(host, sizeof(host), "\r\nHost: 127.0.0.1:%u\r\n", bed->server.port);
	assert_ptr_equal(strstr(request, "GET /a/../b//c?x=%2e&y HTTP/1.1\r\n"), request);
	assert_non_null(strstr(request, host));
	assert_non_null(strstr(request, "\r\nUser-Agent: sluiced\r\n"));
	assert_null(strcasestr(request, "accept-encoding"));
	assert_null(strcasestr(request, "authorization"));
	assert_null(strcasestr(request, "cookie"));
	assert_null(strcasestr(request, "upgrade"));
}

static void host_header_is_configured(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	spec.http.host = "model.example";
	probe_it(bed, &spec);
	run_until(bed, 1);
	assert_non_null(strstr(bed->server.conns[0]->request, "\r\nHost: model.example\r\n"));
}

static void write_file(const char *path, const char *text)
{
	char tmp[256];
	FILE *f;

	snprintf(tmp, sizeof(tmp), "%s.new", path);
	f = fopen(tmp, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(rename(tmp, path), 0);
}

static void bearer_token_follows_its_file(void **state)
{
	struct bed *bed = *state;
	char dir[] = "/tmp/test_probe.XXXXXX", path[64];
	struct probe_spec spec;
	unsigned int n;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/token", dir);
	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	spec.http.bearer_file = path;
	probe_it(bed, &spec);
	run_until(bed, 1);
	assert_int_equal(bed->seen[0].outcome, PROBE_LOCAL);
	assert_non_null(strstr(bed->seen[0].cause, "bearer token: No such file"));
	assert_int_equal(atomic_load(&bed->server.n_conns), 0);

	write_file(path, "first-token\nnot this\n");
	run_ms(bed, 1200);
	n = bed->n;
	assert_int_equal(bed->seen[n - 1].outcome, PROBE_PASS);
	assert_non_null(
		strstr(bed->server.conns[0]->request, "\r\nAuthorization: Bearer first-token\r\n"));
	write_file(path, "  second \r\n");
	run_ms(bed, 1200);
	assert_non_null(
		strstr(bed->server.conns[0]->request, "\r\nAuthorization: Bearer second\r\n"));
	write_file(path, "\n");
	run_ms(bed, 1200);
	assert_int_equal(bed->seen[bed->n - 1].outcome, PROBE_LOCAL);
	unlink(path);
	rmdir(dir);
}

/* A pooled handle must not carry one probe's secrets to the next. */
static void token_stays_with_its_probe(void **state)
{
	struct bed *bed = *state;
	char dir[] = "/tmp/test_probe.XXXXXX", path[64];
	struct probe_spec spec;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/token", dir);
	write_file(path, "secret");
	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	spec.http.bearer_file = path;
	probe_it(bed, &spec);
	run_until(bed, 1);
	assert_non_null(strstr(bed->server.conns[0]->request, "secret"));
	probe_free(&bed->probe);
	spec.http.bearer_file = NULL;
	probe_it(bed, &spec);
	run_until(bed, 2);
	assert_null(strstr(bed->server.conns[atomic_load(&bed->server.n_conns) - 1]->request,
			   "secret"));
	unlink(path);
	rmdir(dir);
}

/* --- lifetimes -------------------------------------------------------------------------------- */

static void free_probe(struct bed *bed)
{
	probe_free(&bed->probe);
}

static int free_probe_body(struct bed *bed)
{
	probe_free(&bed->probe);
	return 0;
}

static void freed_in_its_result(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_script, &hello);
	spec = spec_of(bed);
	bed->act = free_probe;
	probe_it(bed, &spec);
	run_until(bed, 1);
	run_ms(bed, 120);
	assert_int_equal(bed->n, 1);
}

static void freed_in_its_start(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	bed->act_start = free_probe;
	probe_it(bed, &spec);
	run_ms(bed, 120);
	assert_int_equal(bed->n_starts, 1);
	assert_int_equal(bed->n, 0);
}

static void freed_in_its_body(void **state)
{
	struct bed *bed = *state;
	struct probe_stats stats;
	struct probe_spec spec;

	serve(bed, serve_script, &hello);
	spec = spec_of(bed);
	spec.body = PROBE_BODY_STREAM;
	bed->act_body = free_probe_body;
	probe_it(bed, &spec);
	run_ms(bed, 120);
	assert_int_equal(bed->streamed, 5);
	assert_int_equal(bed->n, 0);
	probe_engine_stats(bed->engine, &stats);
	assert_int_equal(stats.in_flight, 0);
	assert_int_equal(stats.probes, 0);
}

static int pause_probe_body(struct bed *bed)
{
	probe_pause(bed->probe);
	return 0;
}

static void paused_in_its_body(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_script, &hello);
	spec = spec_of(bed);
	spec.body = PROBE_BODY_STREAM;
	bed->act_body = pause_probe_body;
	probe_it(bed, &spec);
	run_ms(bed, 120);
	assert_int_equal(bed->n, 0);
	bed->act_body = NULL;
	probe_resume(bed->probe);
	run_until(bed, 2);
	assert_int_equal(bed->seen[0].outcome, PROBE_PASS);
}

static void freed_while_connecting_and_waiting(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec = spec_of(bed);
	int fds[3];

	spec.target.port = full_port(fds);
	probe_it(bed, &spec);
	run_ms(bed, 30);
	probe_free(&bed->probe);
	spec.http.scheme = CONFIG_SCHEME_TCP;
	probe_it(bed, &spec);
	run_ms(bed, 30);
	probe_free(&bed->probe);
	close_all(fds);
	serve(bed, serve_silence, NULL);
	spec = spec_of(bed);
	probe_it(bed, &spec);
	run_ms(bed, 30);
	probe_free(&bed->probe);
	run_ms(bed, 30);
	assert_int_equal(bed->n, 0);
	assert_int_equal(bed->n_starts, 3);
}

static void engine_freed_in_flight(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_silence, NULL);
	spec = spec_of(bed);
	probe_it(bed, &spec);
	run_ms(bed, 30);
	probe_engine_free(&bed->engine);
	bed->probe = NULL;
	assert_int_equal(bed->n, 0);
}

static void freed_while_idle_then_closed(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	probe_it(bed, &spec);
	run_until(bed, 1);
	probe_free(&bed->probe);
	stop_serving(bed);
	run_ms(bed, 50);
	assert_int_equal(bed->n, 1);
}

static void update_of_limits_keeps_the_request(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	spec.interval_ms = 60000;
	probe_it(bed, &spec);
	run_until(bed, 1);
	spec.interval_ms = 30;
	spec.n_expect_status = 1;
	spec.expect_status[0].low = spec.expect_status[0].high = 201;
	assert_int_equal(probe_update(bed->probe, &spec), 0);
	run_until(bed, 3);
	assert_int_equal(bed->seen[1].outcome, PROBE_FAIL_STATUS);
	assert_true(bed->seen[1].reused);
	assert_in_range(bed->seen[2].started_ms - bed->seen[1].started_ms, 29, 1000);
	spec.interval_ms = 0;
	assert_int_equal(probe_update(bed->probe, &spec), -EINVAL);
	run_until(bed, 4);
}

static void update_of_the_target_asks_anew(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_silence, NULL);
	spec = spec_of(bed);
	probe_it(bed, &spec);
	run_ms(bed, 30);
	assert_int_equal(bed->n_starts, 1);
	spec.target.port = dead_port();
	assert_int_equal(probe_update(bed->probe, &spec), 0);
	run_until(bed, 1);
	assert_int_equal(bed->seen[0].outcome, PROBE_REFUSED);
	assert_int_equal(bed->n_starts, 2);
	spec.path = "no slash";
	assert_int_equal(probe_update(bed->probe, &spec), -EINVAL);
	run_until(bed, 2);
	spec.http.scheme = CONFIG_SCHEME_TCP;
	assert_int_equal(probe_update(bed->probe, &spec), 0);
	run_until(bed, 3);
	assert_int_equal(bed->seen[2].outcome, PROBE_REFUSED);
}

static void bad_specs_are_refused(void **state)
{
	struct bed *bed = *state;
	struct probe_spec good = spec_of(bed), spec;
	struct probe *p = NULL;
	unsigned int i;

	good.target.port = 80;
	for (i = 0; i < 14; i++) {
		spec = good;
		switch (i) {
		case 0:
			spec.target.port = 0;
			break;
		case 1:
			spec.target.addr.family = 0;
			break;
		case 2:
			spec.interval_ms = 0;
			break;
		case 3:
			spec.connect_timeout_ms = 0;
			break;
		case 4:
			spec.timeout_ms = -1;
			break;
		case 5:
			spec.jitter_ratio = 0.6;
			break;
		case 6:
			spec.jitter_ratio = -0.1;
			break;
		case 7:
			spec.http.scheme = 0;
			break;
		case 8:
			spec.path = NULL;
			break;
		case 9:
			spec.path = "health";
			break;
		case 10:
			spec.path = "/a b";
			break;
		case 11:
			spec.path = "/a\r\nX-Evil: 1";
			break;
		case 12:
			spec.http.host = "evil\r\nX: 1";
			break;
		case 13:
			spec.http.cert_file = "x";
			break;
		}
		if (probe_new(bed->engine, &spec, &ops, bed, &p) != -EINVAL)
			fail_msg("spec %u was taken", i);
		assert_null(p);
	}
}

/* --- many ------------------------------------------------------------------------------------- */

/* What comes of 200 probes that do everything at once, freed and made anew all the time. */
static void churn_of_probes_is_clean(void **state)
{
	enum { N = 200 };
	struct bed *bed = *state;
	struct probe *probes[N] = {NULL};
	struct probe_stats stats;
	struct probe_spec spec;
	unsigned int i, round;
	uint64_t passed;

	serve(bed, serve_script, &hello);
	spec = spec_of(bed);
	spec.interval_ms = 5;
	spec.body = PROBE_BODY_STREAM;
	for (round = 0, passed = 0; round < 30 || (passed < 100 && round < 300); round++) {
		for (i = round % 3; i < N; i += 3) {
			probe_free(&probes[i]);
			spec.target.port = i % 2 ? bed->server.port : 1;
			spec.target.addr.v4.s_addr = htonl(INADDR_LOOPBACK);
			spec.http.scheme = i % 5 ? CONFIG_SCHEME_HTTP : CONFIG_SCHEME_TCP;
			assert_int_equal(probe_new(bed->engine, &spec, &ops, bed, &probes[i]), 0);
		}
		run_ms(bed, 7 + round / 2);
		probe_engine_stats(bed->engine, &stats);
		passed = stats.outcomes[PROBE_PASS];
	}
	for (i = 0; i < N; i++)
		probe_free(&probes[i]);
	probe_engine_stats(bed->engine, &stats);
	assert_int_equal(stats.probes, 0);
	assert_int_equal(stats.in_flight, 0);
	assert_true(passed >= 100);
	assert_true(stats.outcomes[PROBE_REFUSED] >= 100);
}

/* Bytes in use, whatever the allocator. */
extern size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));
static size_t allocated(void)
{
	return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes()
						       : mallinfo2().uordblks;
}

static void serve_all_kinds(struct raw_conn *conn)
{
	static const char *const answers[] = {
		OK_EMPTY,
		"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\nabc",
		"HTTP/1.1 503 Busy\r\nX: y\r\nContent-Length: 3\r\n\r\nabc",
		"\r\n\r\n\r\n garbage",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	};
	unsigned int n;

	while (raw_read_request(conn)) {
		n = atomic_load(&conn->server->n_requests) % 5;
		if (!raw_print(conn, answers[n]) || n == 1 || n == 3)
			return;
	}
}

/* Until n results. The server, which keeps a record of every connection, starts anew at times. */
static void run_and_restart(struct bed *bed, unsigned int n, uint16_t port)
{
	raw_server_start_at(&bed->server, serve_all_kinds, NULL, port);
	while (bed->n < n) {
		if (atomic_load(&bed->server.n_conns) > 400) {
			raw_server_stop(&bed->server);
			raw_server_start_at(&bed->server, serve_all_kinds, NULL, port);
		}
		assert_true(sd_event_run(bed->event, 20000) >= 0);
	}
	raw_server_stop(&bed->server);
}

/* Ten minutes of checks at 100 ms are 6000. */
static void memory_does_not_grow(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;
	size_t before, after;

	bed->server.port = dead_port();
	spec = spec_of(bed);
	spec.interval_ms = 1;
	spec.body_max = 65536;
	probe_it(bed, &spec);
	run_and_restart(bed, 300, spec.target.port);
	before = allocated();
	run_and_restart(bed, 6300, spec.target.port);
	after = allocated();
	if (after > before + 8192)
		fail_msg("%zu bytes in use, then %zu", before, after);
}

/* --- HTTP/2, IPv6 ----------------------------------------------------------------------------- */

/* Just enough of RFC 9113: our SETTINGS, an ACK of theirs, and ":status: 200" for each HEADERS. */
static void serve_http2(struct raw_conn *conn)
{
	static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
	static const uint8_t ack[] = {0, 0, 0, 4, 1, 0, 0, 0, 0};
	uint8_t head[9], preface[24], payload[16384];
	uint8_t answer[] = {0, 0, 1, 1, 5, 0, 0, 0, 0, 0x88};

	if (recv(conn->fd, preface, sizeof(preface), MSG_WAITALL) != sizeof(preface) ||
	    !raw_write(conn, settings, sizeof(settings)))
		return;
	while (recv(conn->fd, head, sizeof(head), MSG_WAITALL) == sizeof(head)) {
		size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];

		if (len > sizeof(payload) ||
		    (len && recv(conn->fd, payload, len, MSG_WAITALL) != (ssize_t)len))
			return;
		if (head[3] == 4 && !(head[4] & 1) && !raw_write(conn, ack, sizeof(ack)))
			return;
		if (head[3] != 1)
			continue;
		atomic_fetch_add(&conn->server->n_requests, 1);
		memcpy(answer + 5, head + 5, 4);
		if (!raw_write(conn, answer, sizeof(answer)))
			return;
	}
}

static void http2_by_prior_knowledge(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_http2, NULL);
	spec = spec_of(bed);
	spec.http.version = PRESET_HTTP_2;
	probe_it(bed, &spec);
	run_until(bed, 4);
	assert_string_equal(bed->seen[0].cause, "");
	assert_string_equal(bed->seen[1].cause, "");
	assert_int_equal(bed->seen[3].outcome, PROBE_PASS);
	assert_int_equal(bed->seen[3].status, 200);
	assert_true(bed->seen[3].framed);
	assert_int_equal(atomic_load(&bed->server.n_requests), 4);
}

static void http2_to_a_server_of_http1(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	spec.http.version = PRESET_HTTP_2;
	probe_it(bed, &spec);
	run_until(bed, 2);
	assert_true(bed->seen[0].outcome == PROBE_BAD_RESPONSE ||
		    bed->seen[0].outcome == PROBE_RESET);
}

static void ipv6_is_asked_by_its_address(void **state)
{
	struct bed *bed = *state;
	struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	socklen_t len = sizeof(sa);
	struct probe_spec spec = spec_of(bed);
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), conn;
	char request[1024] = "";

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, len) < 0) {
		if (fd >= 0)
			close(fd);
		skip(); /* no IPv6 on this host */
	}
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	spec.target.addr = (struct address){.family = AF_INET6, .v6 = IN6ADDR_LOOPBACK_INIT};
	spec.target.port = ntohs(sa.sin6_port);
	probe_it(bed, &spec);
	run_ms(bed, 30);
	conn = accept(fd, NULL, NULL);
	assert_true(conn >= 0);
	run_ms(bed, 30);
	assert_true(recv(conn, request, sizeof(request) - 1, MSG_DONTWAIT) > 0);
	assert_non_null(strstr(request, "\r\nHost: [::1]:"));
	assert_int_equal(send(conn, OK_EMPTY, sizeof(OK_EMPTY) - 1, MSG_NOSIGNAL),
			 sizeof(OK_EMPTY) - 1);
	run_until(bed, 1);
	assert_int_equal(bed->seen[0].outcome, PROBE_PASS);
	close(conn);
	close(fd);
}

/* --- TLS -------------------------------------------------------------------------------------- */

#define TLS_DIR "tests/fixtures/tls/"

struct tls_server {
	pid_t pid;
	uint16_t port;
};

/* "openssl s_server -www" answers every GET with a page and a close. False if there is none. */
static bool tls_start(struct tls_server *server, const char *const extra[])
{
	char accept_at[32], buf[256] = "";
	const char *argv[24] = {
		"openssl", "s_server",         "-www",    "-cert",  TLS_DIR "node.pem",
		"-key",    TLS_DIR "node.key", "-accept", accept_at};
	posix_spawn_file_actions_t fa;
	int out[2], argc = 9, err;
	ssize_t n;

	server->port = dead_port();
	snprintf(accept_at, sizeof(accept_at), "127.0.0.1:%u", server->port);
	while (*extra)
		argv[argc++] = *extra++;
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, out[1], 1);
	posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
	err = posix_spawnp(&server->pid, "openssl", &fa, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	close(out[1]);
	while (!err && !strstr(buf, "ACCEPT") && strlen(buf) < sizeof(buf) - 1) {
		n = read(out[0], buf + strlen(buf), sizeof(buf) - 1 - strlen(buf));
		if (n <= 0)
			break;
	}
	close(out[0]);
	return !err && strstr(buf, "ACCEPT");
}

static void tls_stop(struct tls_server *server)
{
	kill(server->pid, SIGKILL);
	waitpid(server->pid, NULL, 0);
}

struct tls_case {
	const char *name;
	const char *extra[6]; /* arguments of the server */
	struct config_http http;
	enum probe_outcome want;
	const char *want_cause;
};

#define TLS_CA .ca_file = TLS_DIR "ca.pem"

static const struct tls_case tls_cases[] = {
	{
		.name = "the address is in the certificate",
		.http = {TLS_CA, .verify = true},
		.want = PROBE_PASS,
	},
	{
		.name = "the host's name is in the certificate",
		.http = {TLS_CA, .verify = true, .host = "node.test"},
		.want = PROBE_PASS,
	},
	{
		.name = "another name is not",
		.http = {TLS_CA, .verify = true, .host = "other.test"},
		.want = PROBE_TLS,
		.want_cause = "other.test",
	},
	{
		.name = "the system's authorities do not know it",
		.http = {.verify = true},
		.want = PROBE_TLS,
		.want_cause = "certificate",
	},
	{
		.name = "nothing is checked without verify",
		.http = {.verify = false, .host = "other.test"},
		.want = PROBE_PASS,
	},
	{
		.name = "a CA file that is not there is our own fault",
		.http = {.ca_file = TLS_DIR "missing.pem", .verify = true},
		.want = PROBE_LOCAL,
		.want_cause = "missing.pem",
	},
	{
		.name = "a client certificate is asked for and given",
		.extra = {"-CAfile", TLS_DIR "ca.pem", "-Verify", "1", "-verify_return_error"},
		.http = {TLS_CA, .verify = true, .cert_file = TLS_DIR "client.pem",
			 .key_file = TLS_DIR "client.key"},
		.want = PROBE_PASS,
	},
	{
		.name = "a client certificate that cannot be read is our own fault",
		.http = {TLS_CA, .verify = true, .cert_file = TLS_DIR "missing.pem",
			 .key_file = TLS_DIR "client.key"},
		.want = PROBE_LOCAL,
	},
	{
		.name = "a client certificate is asked for in TLS 1.2 and not given",
		.extra = {"-CAfile", TLS_DIR "ca.pem", "-Verify", "1", "-tls1_2"},
		.http = {TLS_CA, .verify = true},
		.want = PROBE_TLS,
	},
};

static void tls_is_judged(void **state)
{
	const struct tls_case *c;

	(void)state;
	for (c = tls_cases; c < tls_cases + ARRAY_SIZE(tls_cases); c++) {
		struct tls_server server;
		struct probe_spec spec;
		struct bed *bed;
		void *own;

		if (!tls_start(&server, c->extra))
			skip(); /* no openssl */
		set_up(&own);
		bed = own;
		spec = spec_of(bed);
		spec.target.port = server.port;
		spec.connect_timeout_ms = 2000;
		spec.timeout_ms = 3000;
		spec.http = c->http;
		spec.http.scheme = CONFIG_SCHEME_HTTPS;
		spec.http.version = PRESET_HTTP_AUTO;
		spec.body_max = 65536;
		probe_it(bed, &spec);
		run_until(bed, 2);
		tls_stop(&server);
		if (bed->seen[1].outcome != c->want)
			fail_msg("%s: %s (%s)", c->name, probe_outcome_name(bed->seen[1].outcome),
				 bed->seen[1].cause);
		if (c->want_cause && !strstr(bed->seen[1].cause, c->want_cause))
			fail_msg("%s: cause \"%s\"", c->name, bed->seen[1].cause);
		tear_down(&own);
	}
}

static void tls_to_a_server_without(void **state)
{
	static const struct script no_tls = {"HTTP/1.1 400 Bad Request\r\n\r\n", AFTER_CLOSE};
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_endless, &no_tls);
	spec = spec_of(bed);
	spec.http.scheme = CONFIG_SCHEME_HTTPS;
	probe_it(bed, &spec);
	run_until(bed, 1);
	/* It waits for the end of a request that never comes. */
	assert_int_equal(bed->seen[0].outcome, PROBE_TIMEOUT);
	stop_serving(bed);
	serve(bed, serve_before_request, NULL);
	spec.target.port = bed->server.port;
	assert_int_equal(probe_update(bed->probe, &spec), 0);
	run_until(bed, 2);
	assert_int_equal(bed->seen[1].outcome, PROBE_TLS);
}

/* --- specs from the configuration --------------------------------------------------------------
 */

static void spec_of_a_node(void **state)
{
	const struct config_check check = {
		.http = {.scheme = CONFIG_SCHEME_HTTP},
		.path = "/health",
		.port = 9,
		.interval_ms = 1000,
		.jitter_ratio = 0.1,
		.connect_timeout_ms = 500,
		.timeout_ms = 5000,
		.expect_status = {{200, 204}},
		.n_expect_status = 1,
	};
	const struct config_page page = {.http = {.scheme = CONFIG_SCHEME_HTTPS},
					 .path = "/metrics"};
	const struct config_load load = {.interval_ms = 400, .timeout_ms = 300};
	const struct config_node node = {
		.address = {.family = AF_INET, .v4.s_addr = htonl(0x0a000001)},
		.port = 8000,
		.check = &check,
		.load = &load,
	};
	struct probe_spec spec;

	(void)state;
	probe_spec_health(&node, &spec);
	assert_int_equal(spec.target.port, 9);
	assert_true(address_equal(&spec.target.addr, &node.address));
	assert_string_equal(spec.path, "/health");
	assert_int_equal(spec.interval_ms, 1000);
	assert_int_equal(spec.expect_status[0].high, 204);
	assert_int_equal(spec.body, PROBE_BODY_KEEP);
	probe_spec_page(&node, &page, &spec);
	assert_int_equal(spec.target.port, 8000);
	assert_int_equal(spec.http.scheme, CONFIG_SCHEME_HTTPS);
	assert_int_equal(spec.interval_ms, 400);
	assert_int_equal(spec.connect_timeout_ms, 300);
	assert_int_equal(spec.timeout_ms, 300);
	assert_int_equal(spec.n_expect_status, 0);
	assert_int_equal(spec.body, PROBE_BODY_STREAM);
}

static int set_up_curl(void **state)
{
	set_up(state);
	((struct bed *)*state)->engine->curl_only = true;
	return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
/* What must hold over libcurl as well. */
#define TEST_BOTH(f)                                                                               \
	TEST(f),                                                                                   \
	{                                                                                          \
#f ": libcurl", f, set_up_curl, tear_down, NULL                                    \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answer_is_judged),
		cmocka_unit_test(answer_is_judged_by_libcurl),
		TEST_BOTH(refused_http),
		TEST(refused_tcp),
		TEST_BOTH(connect_timeout_http),
		TEST(connect_timeout_tcp),
		TEST_BOTH(unreachable_http),
		TEST(unreachable_tcp),
		TEST(tcp_passes),
		TEST_BOTH(no_descriptors_is_local),
		TEST_BOTH(interval_and_jitter_hold),
		TEST_BOTH(one_connection_is_kept),
		TEST_BOTH(one_probe_is_in_flight),
		TEST_BOTH(again_comes_sooner),
		TEST_BOTH(again_within_the_result),
		TEST_BOTH(again_while_in_flight_waits_for_its_end),
		TEST_BOTH(pause_drops_and_resume_starts),
		TEST(first_starts_are_spread),
		TEST_BOTH(a_stalled_loop_blames_nobody),
		TEST_BOTH(end_of_a_kept_connection_is_noticed_at_once),
		TEST_BOTH(idle_close_by_habit_is_not_chased),
		TEST_BOTH(answer_sent_twice),
		TEST_BOTH(answer_nobody_asked_for),
		TEST_BOTH(connection_close_is_obeyed),
		TEST_BOTH(restart_of_the_server_is_no_failure),
		TEST_BOTH(stream_gets_every_byte_once),
		TEST_BOTH(stream_gets_no_error_page),
		TEST_BOTH(stream_refused_is_bad_body),
		TEST_BOTH(body_limit_is_exact),
		TEST_BOTH(request_is_plain),
		TEST_BOTH(host_header_is_configured),
		TEST_BOTH(bearer_token_follows_its_file),
		TEST_BOTH(token_stays_with_its_probe),
		TEST_BOTH(freed_in_its_result),
		TEST_BOTH(freed_in_its_start),
		TEST_BOTH(freed_in_its_body),
		TEST_BOTH(paused_in_its_body),
		TEST_BOTH(freed_while_connecting_and_waiting),
		TEST_BOTH(engine_freed_in_flight),
		TEST_BOTH(freed_while_idle_then_closed),
		TEST_BOTH(update_of_limits_keeps_the_request),
		TEST_BOTH(update_of_the_target_asks_anew),
		TEST_BOTH(bad_specs_are_refused),
		TEST_BOTH(churn_of_probes_is_clean),
		TEST_BOTH(memory_does_not_grow),
		TEST(http2_by_prior_knowledge),
		TEST(http2_to_a_server_of_http1),
		TEST_BOTH(ipv6_is_asked_by_its_address),
		TEST(tls_to_a_server_without),
		TEST(spec_of_a_node),
		cmocka_unit_test(tls_is_judged),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
