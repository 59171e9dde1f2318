/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of probe.c share: an engine, a server that plays a script, and every result kept.
 *
 * The event loop is the test's own: run_ms() and run_until() turn it. Times in milliseconds.
 */
#ifndef SLUICE_TESTS_PROBE_BED_H
#define SLUICE_TESTS_PROBE_BED_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

#include "tests/lib/raw_server.h"
#include "userspace/agent/probe_internal.h"
#include "userspace/lib/cleanup.h"

#define RESULTS_MAX 4096
#define OK_EMPTY    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define LIMIT_MS    30000 /* of any waiting: only a busy machine needs that long */

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
	unsigned int streamed;
	char stream[512];
	bool wants_held_up; /* what is no verdict counts as a result, too */
	void (*act)(struct bed *bed); /* within on_result */
	void (*act_start)(struct bed *bed);
	int (*act_body)(struct bed *bed);
};

static inline int64_t mono_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static inline void on_start(struct probe *p, void *userdata, int64_t now_ms)
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

static inline int on_body(struct probe *p, void *userdata, const char *buf, size_t len)
{
	struct bed *bed = userdata;
	unsigned int room = sizeof(bed->stream) - 1;

	(void)p;
	if (bed->streamed < room)
		memcpy(bed->stream + bed->streamed, buf,
		       len < room - bed->streamed ? len : room - bed->streamed);
	bed->streamed += (unsigned int)len;
	return bed->act_body ? bed->act_body(bed) : 0;
}

static inline void on_result(struct probe *p, void *userdata, const struct probe_result *res)
{
	struct bed *bed = userdata;
	struct seen *s = &bed->seen[bed->n % RESULTS_MAX];

	bed->n_in_flight--;
	/* This process got no processor, and the probe says so: it is made again. */
	if (!bed->wants_held_up && res->outcome == PROBE_LOCAL && strstr(res->cause, "held up")) {
		bed->n_starts--;
		probe_again(p, 0);
		return;
	}
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

static inline int set_up(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));

	assert_non_null(bed);
	assert_true(sd_event_new(&bed->event) >= 0);
	assert_int_equal(probe_engine_new(bed->event, &bed->engine), 0);
	*state = bed;
	return 0;
}

static inline int tear_down(void **state)
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

static inline void serve(struct bed *bed, void (*fn)(struct raw_conn *), const void *arg)
{
	raw_server_start(&bed->server, fn, arg);
	bed->serving = true;
}

static inline void stop_serving(struct bed *bed)
{
	raw_server_stop(&bed->server);
	bed->serving = false;
}

/*
 * A health check of the bed's server. It waits so long for its answer that a busy machine does not
 * make a timeout of it; be_hasty() is for tests of timeouts.
 */
static inline struct probe_spec spec_of(const struct bed *bed)
{
	return (struct probe_spec){
		.target = {.addr = {.family = AF_INET, .v4.s_addr = htonl(INADDR_LOOPBACK)},
			   .port = bed->server.port},
		.http = {.scheme = CONFIG_SCHEME_HTTP, .version = PRESET_HTTP_AUTO},
		.path = "/health",
		.interval_ms = 50,
		.connect_timeout_ms = LIMIT_MS / 2,
		.timeout_ms = LIMIT_MS / 2,
		.body = PROBE_BODY_KEEP,
		.body_max = 4096,
	};
}

static inline void be_hasty(struct probe_spec *spec)
{
	spec->connect_timeout_ms = 300;
	spec->timeout_ms = 1000;
}

static inline void probe_it(struct bed *bed, const struct probe_spec *spec)
{
	assert_int_equal(probe_new(bed->engine, spec, &ops, bed, &bed->probe), 0);
}

/* For about so long. */
static inline void run_about_ms(struct bed *bed, int64_t ms)
{
	int64_t end = mono_ms() + ms, now;

	while ((now = mono_ms()) < end)
		assert_true(sd_event_run(bed->event, (uint64_t)(end - now) * 1000) >= 0);
}

/* For so long, and what is due by then has happened, however late it is. */
static inline void run_ms(struct bed *bed, int64_t ms)
{
	run_about_ms(bed, ms);
	for (int i = 0; i < 1000 && sd_event_run(bed->event, 0) > 0; i++)
		;
}

/* Until a count of the bed has come so far. */
static inline void run_till(struct bed *bed, const unsigned int *what, unsigned int least)
{
	int64_t end = mono_ms() + LIMIT_MS;

	while (*what < least) {
		if (mono_ms() >= end)
			fail_msg("%u of %u within %d ms", *what, least, LIMIT_MS);
		assert_true(sd_event_run(bed->event, 20000) >= 0);
	}
}

static inline void run_until(struct bed *bed, unsigned int n_results)
{
	run_till(bed, &bed->n, n_results);
}

static inline void run_until_started(struct bed *bed, unsigned int n_starts)
{
	run_till(bed, &bed->n_starts, n_starts);
}

/* Until the newest result is this one. */
static inline void run_until_outcome(struct bed *bed, enum probe_outcome want)
{
	int64_t end = mono_ms() + LIMIT_MS;

	while (!bed->n || bed->seen[(bed->n - 1) % RESULTS_MAX].outcome != want) {
		if (mono_ms() >= end)
			fail_msg("no %s within %d ms", probe_outcome_name(want), LIMIT_MS);
		assert_true(sd_event_run(bed->event, 20000) >= 0);
	}
}

enum after { AFTER_CLOSE = 1, AFTER_WAIT, AFTER_RESET };

struct script {
	const char *answer; /* after the request */
	enum after after;
};

static const struct script hello = {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
				    AFTER_WAIT};

static inline void serve_script(struct raw_conn *conn)
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

static inline void serve_close(struct raw_conn *conn)
{
	(void)conn;
}

static inline void serve_silence(struct raw_conn *conn)
{
	raw_wait_closed(conn);
}

/* conn->server->arg again and again. */
static inline void serve_endless(struct raw_conn *conn)
{
	const struct script *script = conn->server->arg;

	if (!raw_read_request(conn) || !raw_print(conn, script->answer))
		return;
	while (raw_print(conn,
			 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"))
		;
}

static inline void serve_before_request(struct raw_conn *conn)
{
	if (raw_print(conn, OK_EMPTY))
		raw_wait_closed(conn);
}

static inline void serve_ok(struct raw_conn *conn)
{
	while (raw_read_request(conn))
		if (!raw_print(conn, OK_EMPTY))
			return;
}

/* A port of loopback where nobody listens. */
static inline uint16_t dead_port(void)
{
	struct raw_server server;

	raw_server_start(&server, serve_close, NULL);
	raw_server_stop(&server);
	return server.port;
}

/* A listener that answers no SYN: its queue of one is taken. Fills fds[3]. */
static inline uint16_t full_port(int fds[3])
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

static inline void close_all(int fds[3])
{
	int i;

	for (i = 0; i < 3; i++)
		close(fds[i]);
}

static inline int set_up_curl(void **state)
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

#endif
