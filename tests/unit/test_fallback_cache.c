/* SPDX-License-Identifier: BSD-2-Clause */
/* Answers of nodes are fetched, kept, and given up in time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/raw_http2.h"
#include "userspace/agent/fallback_cache.h"

#define OK_JSON                                                                                    \
	"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

struct fixture {
	sd_event *event;
	struct fallback_cache *cache;
	struct raw_server servers[2];
	uint32_t n_servers; /* healthy */
	struct config_http http;
	uint32_t changes;
	uint32_t picks;
	int64_t now_ms;
};

/* What the servers say: set before a request is made. */
static _Atomic(const char *) answers[2];

static void serve(struct raw_conn *conn)
{
	const _Atomic(const char *) *answer = conn->server->arg;

	while (raw_read_request(conn)) {
		const char *text = atomic_load(answer);

		if (!text || !raw_print(conn, text))
			return;
		if (strstr(text, "Connection: close"))
			return;
	}
}

static bool pick(void *userdata, const char *vip, uint32_t turn, struct fallback_source *ret)
{
	struct fixture *f = userdata;

	assert_string_equal(vip, "chat");
	f->picks++;
	if (!f->n_servers)
		return false;
	*ret = (struct fallback_source){.http = f->http, .connect_timeout_ms = 5000,
					.timeout_ms = 10000};
	assert_int_equal(address_parse("127.0.0.1", &ret->target.addr), 0);
	ret->target.port = f->servers[turn % f->n_servers].port;
	return true;
}

static void changed(void *userdata, const char *vip)
{
	struct fixture *f = userdata;

	assert_string_equal(vip, "chat");
	f->changes++;
}

static const struct fallback_cache_ops ops = {.pick = pick, .changed = changed};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_true(sd_event_new(&f->event) >= 0);
	assert_true(sd_event_run(f->event, 0) >= 0);
	f->now_ms = 1000000;
	f->n_servers = 2;
	f->http = (struct config_http){.scheme = CONFIG_SCHEME_HTTP};
	for (int i = 0; i < 2; i++) {
		atomic_store(&answers[i], OK_JSON);
		raw_server_start(&f->servers[i], serve, &answers[i]);
	}
	assert_int_equal(fallback_cache_new(f->event, &ops, f, &f->cache), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	fallback_cache_free(&f->cache);
	sd_event_unref(f->event);
	for (int i = 0; i < 2; i++)
		raw_server_stop(&f->servers[i]);
	free(f);
	return 0;
}

static void keep(struct fixture *f, const char *pool, const char *path, int64_t refresh_ms)
{
	struct config_fallback cfg = {.enabled = true, .n_cache = path ? 1 : 0};

	cfg.cache[0] = (struct config_cache){.path = path, .refresh_ms = refresh_ms,
					     .max_age_ms = 60000};
	assert_int_equal(fallback_cache_set(f->cache, "chat", pool, &cfg), 0);
}

static struct fallback_cache_report report(const struct fixture *f)
{
	struct fallback_cache_report r[CONFIG_CACHE_MAX];

	assert_int_equal(fallback_cache_report(f->cache, "chat", r), 1);
	return r[0];
}

/* Ask what is due at f->now_ms and wait for the end of it. */
static void round_of(struct fixture *f)
{
	uint64_t before = report(f).n_ok + report(f).n_failed;

	fallback_cache_tick(f->cache, f->now_ms);
	for (int i = 0; i < 500 && report(f).n_ok + report(f).n_failed == before; i++)
		assert_true(sd_event_run(f->event, 20000) >= 0);
	assert_int_equal(report(f).n_ok + report(f).n_failed, before + 1);
}

/* Nothing is due. */
static void no_round(struct fixture *f)
{
	uint32_t before = f->picks;

	fallback_cache_tick(f->cache, f->now_ms);
	assert_int_equal(f->picks, before);
}

static uint32_t list(const struct fixture *f, struct fallback_cached ret[CONFIG_CACHE_MAX])
{
	return fallback_cache_list(f->cache, "chat", ret);
}

static void test_an_answer_is_kept_with_its_type_and_time(void **state)
{
	struct fallback_cached kept[CONFIG_CACHE_MAX];
	struct fixture *f = *state;

	keep(f, "pool", "/v1/models", 30000);
	assert_int_equal(list(f, kept), 0);
	assert_int_equal(report(f).fetched_ms, -1);
	round_of(f);
	assert_int_equal(list(f, kept), 1);
	assert_string_equal(kept[0].path, "/v1/models");
	assert_string_equal(kept[0].type, "application/json");
	assert_int_equal(kept[0].body->len, 2);
	assert_int_equal(kept[0].fetched_ms, f->now_ms);
	assert_int_equal(kept[0].max_age_ms, 60000);
	assert_int_equal(f->changes, 1);
}

static void test_it_is_asked_again_when_it_is_time_of_another_node(void **state)
{
	struct fixture *f = *state;

	keep(f, "pool", "/v1/models", 30000);
	round_of(f);
	f->now_ms += 29999;
	no_round(f);
	f->now_ms += 1;
	round_of(f);
	assert_int_equal(report(f).n_ok, 2);
	for (int i = 0; i < 2; i++)
		assert_int_equal(atomic_load(&f->servers[i].n_requests), 1);
}

static void test_a_failure_keeps_the_last_good_answer_and_asks_the_next_node_soon(void **state)
{
	struct fallback_cached kept[CONFIG_CACHE_MAX];
	struct fixture *f = *state;

	atomic_store(&answers[1], "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno");
	keep(f, "pool", "/v1/models", 30000);
	round_of(f);
	f->now_ms += 30000;
	round_of(f);
	assert_int_equal(report(f).n_failed, 1);
	assert_string_equal(report(f).error, "status 404");
	assert_int_equal(list(f, kept), 1);
	assert_int_equal(kept[0].fetched_ms, f->now_ms - 30000);
	f->now_ms += FALLBACK_CACHE_RETRY_MS - 1;
	no_round(f);
	f->now_ms += 1;
	round_of(f);
	assert_int_equal(report(f).n_ok, 2);
	assert_string_equal(report(f).error, "");
}

static void test_answers_that_are_not_whole_or_too_long_are_not_kept(void **state)
{
	static const char *const bad[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nshort",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
		"nonsense\r\n\r\n",
	};
	struct fallback_cached kept[CONFIG_CACHE_MAX];
	struct fixture *f = *state;

	f->n_servers = 1;
	keep(f, "pool", "/v1/models", 30000);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		atomic_store(&answers[0], bad[i]);
		round_of(f);
		assert_int_equal(report(f).n_failed, i + 1);
		assert_true(report(f).error[0]);
		f->now_ms += FALLBACK_CACHE_RETRY_MS;
	}
	assert_int_equal(list(f, kept), 0);
	assert_int_equal(f->changes, 0);
}

static void test_a_body_without_a_length_is_capped(void **state)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
	char *text = malloc(sizeof(head) + FALLBACK_BODY_MAX + 1);
	struct fixture *f = *state;

	memcpy(text, head, sizeof(head) - 1);
	memset(text + sizeof(head) - 1, 'x', FALLBACK_BODY_MAX + 1);
	text[sizeof(head) - 1 + FALLBACK_BODY_MAX + 1] = '\0';
	atomic_store(&answers[0], text);
	f->n_servers = 1;
	keep(f, "pool", "/v1/models", 30000);
	round_of(f);
	assert_int_equal(report(f).n_failed, 1);
	text[sizeof(head) - 1 + FALLBACK_BODY_MAX] = '\0';
	f->now_ms += FALLBACK_CACHE_RETRY_MS;
	round_of(f);
	assert_int_equal(report(f).n_ok, 1);
	atomic_store(&answers[0], NULL);
	free(text);
}

static void test_without_a_healthy_node_nobody_is_asked(void **state)
{
	struct fixture *f = *state;

	f->n_servers = 0;
	keep(f, "pool", "/v1/models", 30000);
	fallback_cache_tick(f->cache, f->now_ms);
	assert_int_equal(f->picks, 1);
	assert_int_equal(report(f).n_failed, 0);
	f->n_servers = 1;
	round_of(f);
	assert_int_equal(report(f).n_ok, 1);
}

static void test_a_reload_keeps_what_stays_and_drops_what_goes(void **state)
{
	struct fallback_cached kept[CONFIG_CACHE_MAX];
	struct fallback_cache_report r[CONFIG_CACHE_MAX];
	struct fixture *f = *state;

	keep(f, "pool", "/v1/models", 30000);
	round_of(f);
	keep(f, "pool", "/v1/models", 10000);
	assert_int_equal(list(f, kept), 1);
	f->now_ms += 10000; /* the shorter time holds from the last answer on */
	round_of(f);
	keep(f, "other", "/v1/models", 10000);
	assert_int_equal(list(f, kept), 0); /* other nodes may serve other models */
	round_of(f);
	keep(f, "other", "/v1/info", 10000);
	assert_int_equal(list(f, kept), 0);
	keep(f, "other", NULL, 0);
	assert_int_equal(fallback_cache_report(f->cache, "chat", r), 0);
}

static void test_what_is_forgotten_while_it_is_asked_does_no_harm(void **state)
{
	struct fallback_cache_report r[CONFIG_CACHE_MAX];
	struct fixture *f = *state;

	keep(f, "pool", "/v1/models", 30000);
	fallback_cache_tick(f->cache, f->now_ms);
	fallback_cache_forget(f->cache, "chat");
	for (int i = 0; i < 20; i++)
		assert_true(sd_event_run(f->event, 5000) >= 0);
	assert_int_equal(fallback_cache_report(f->cache, "chat", r), 0);
	assert_int_equal(f->changes, 0);
}

static void test_host_and_token_of_the_check_are_used(void **state)
{
	char path[] = "/tmp/sluice-test-token-XXXXXX";
	struct fixture *f = *state;
	int fd = mkstemp(path);

	assert_int_equal(write(fd, "secret\n", 7), 7);
	close(fd);
	f->n_servers = 1;
	f->http.host = "models.test";
	f->http.bearer_file = path;
	keep(f, "pool", "/v1/models?all=1", 30000);
	round_of(f);
	assert_int_equal(report(f).n_ok, 1);
	assert_non_null(strstr(f->servers[0].conns[0]->request, "GET /v1/models?all=1 HTTP/1.1\r\n"));
	assert_non_null(strstr(f->servers[0].conns[0]->request, "Host: models.test"));
	assert_non_null(strstr(f->servers[0].conns[0]->request, "Authorization: Bearer secret\r\n"));
	unlink(path);
	f->now_ms += 30000;
	round_of(f); /* never without the token */
	assert_int_equal(report(f).n_failed, 1);
	assert_int_equal(atomic_load(&f->servers[0].n_requests), 1);
}

static void test_a_reload_that_asks_more_often_counts_from_the_last_answer(void **state)
{
	struct fixture *f = *state;

	keep(f, "pool", "/v1/models", 30000);
	round_of(f);
	f->now_ms += 2000;
	keep(f, "pool", "/v1/models", 5000);
	no_round(f);
	f->now_ms += 2999;
	no_round(f);
	f->now_ms += 1;
	round_of(f);
	assert_int_equal(report(f).n_ok, 2);
}

static void test_servers_of_http2_alone_are_asked_in_it(void **state)
{
	struct fixture *f = *state;

	raw_server_stop(&f->servers[0]);
	raw_server_start(&f->servers[0], raw_serve_http2, NULL);
	f->n_servers = 1;
	f->http.version = PRESET_HTTP_2;
	keep(f, "pool", "/v1/models", 30000);
	round_of(f);
	assert_string_equal(report(f).error, "");
	assert_int_equal(report(f).n_ok, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_an_answer_is_kept_with_its_type_and_time),
		T(test_it_is_asked_again_when_it_is_time_of_another_node),
		T(test_a_failure_keeps_the_last_good_answer_and_asks_the_next_node_soon),
		T(test_answers_that_are_not_whole_or_too_long_are_not_kept),
		T(test_a_body_without_a_length_is_capped),
		T(test_without_a_healthy_node_nobody_is_asked),
		T(test_a_reload_keeps_what_stays_and_drops_what_goes),
		T(test_what_is_forgotten_while_it_is_asked_does_no_harm),
		T(test_host_and_token_of_the_check_are_used),
		T(test_a_reload_that_asks_more_often_counts_from_the_last_answer),
		T(test_servers_of_http2_alone_are_asked_in_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
