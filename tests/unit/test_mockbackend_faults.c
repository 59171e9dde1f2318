/* SPDX-License-Identifier: BSD-2-Clause */
/* The mock inference server: each fault it can be told to have. */
#include "tests/unit/mockbackend_bed.h"

struct mode_case {
	const char *mode;
	enum ending ending;
	int status;
	size_t least;
	size_t most;
};

static const struct mode_case modes[] = {
	{"ok", END_ANSWER, 200, 1000, 10000},
	{"garbage", END_ANSWER, 200, GARBAGE_BYTES, GARBAGE_BYTES},
	{"huge", END_ANSWER, 200, BODY_SIZE - 1, BODY_SIZE - 1},
	{"truncated", END_EOF, 200, 500, 5000},
	{"empty", END_ANSWER, 200, 0, 0},
	{"status", END_ANSWER, 507, 1, 500},
	{"reset", END_RESET, 0, 0, 0},
	{"close", END_EOF, 0, 0, 0},
	{"ok", END_ANSWER, 200, 1000, 10000},
};

static void each_fault_of_a_page_is_what_it_says(void **state)
{
	struct node n;

	(void)state;
	start_node(&n, 4, UINT32_MAX, 50);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		const struct mode_case *c = &modes[i];
		char json[128];

		snprintf(json, sizeof(json),
			 "{\"metrics\":\"%s\",\"metrics_status\":507,\"huge_mb\":1}", c->mode);
		control(&n, json);
		ask(&n, "GET", "/metrics", "");
		if (reply.ending != c->ending || reply.http.status != c->status ||
		    reply.len < c->least || reply.len > c->most)
			fail_msg("%s: ending %d, status %d, %zu bytes", c->mode, reply.ending,
				 reply.http.status, reply.len);
		assert_int_equal(ask(&n, "GET", "/health", "")->http.status, 200);
	}
	stop_node(&n);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void a_slow_page_drips(void **state)
{
	int64_t start_ms;
	size_t bytes = 0;
	struct node n;
	int fd;

	(void)state;
	start_node(&n, 4, UINT32_MAX, 50);
	control(&n, "{\"health\":\"slow\"}");
	fd = dial(&n);
	start_ms = now_ms();
	send_request(fd, "GET", "/health", "");
	memset(&reply, 0, sizeof(reply));
	http_init(&reply.http);
	while (reply.len < 4) { /* a byte comes each 100 ms */
		char c;

		assert_int_equal(recv(fd, &c, 1, 0), 1);
		assert_true(take(&reply, &c, 1));
		bytes++;
		assert_true((int64_t)reply.len <= (now_ms() - start_ms) / 100 + 1);
	}
	assert_true(bytes > reply.len);
	close(fd);
	stop_node(&n);
}

static void what_hangs_is_answered_when_the_fault_ends(void **state)
{
	struct node n;
	int fds[3];

	(void)state;
	start_node(&n, 4, UINT32_MAX, 500);
	control(&n, "{\"all\":\"hang\"}");
	for (int i = 0; i < 3; i++)
		fds[i] = dial(&n);
	send_request(fds[0], "GET", "/health", "");
	send_request(fds[1], "GET", "/v1/models", "");
	send_request(fds[2], "POST", "/v1/completions", COMPLETION(3, false));
	for (int i = 0; i < 3; i++) {
		read_reply(fds[i], 50, &reply);
		assert_int_equal(reply.ending, END_TIMEOUT);
		assert_int_equal(reply.http.status, 0);
	}
	close(fds[1]); /* one client loses its patience */
	control(&n, "{\"reset\":true}");
	read_reply(fds[0], TIMEOUT_MS, &reply);
	assert_int_equal(reply.http.status, 200);
	read_reply(fds[2], TIMEOUT_MS, &reply);
	assert_int_equal(reply.http.status, 200);
	assert_non_null(strstr(reply.body, "\"text\":\" 0 1 2\""));
	close(fds[0]);
	close(fds[2]);
	stop_node(&n);
}

static void frozen_answers_health_without_progress(void **state)
{
	struct node n;
	double before;
	int fd;

	(void)state;
	start_node(&n, 4, UINT32_MAX, 200);
	fd = dial(&n);
	send_request(fd, "POST", "/v1/completions", COMPLETION(100000, true));
	wait_for(&n, "running", NULL, 1);
	for (int i = 0; i < 500 && looked_up(&n, "counters", "iterations") == 0; i++)
		usleep(10000);
	control(&n, "{\"rate_factor\":0}");
	before = looked_up(&n, "counters", "iterations");
	assert_true(before > 0);
	usleep(200000);
	assert_int_equal(ask(&n, "GET", "/health", "")->http.status, 200);
	assert_true(looked_up(&n, "counters", "iterations") == before);
	assert_int_equal((int)looked_up(&n, "running", NULL), 1);
	close(fd);
	wait_for(&n, "running", NULL, 0);
	stop_node(&n);
}

static void draining_keeps_live_streams_only(void **state)
{
	struct node n;
	int fd;

	(void)state;
	start_node(&n, 4, UINT32_MAX, 100);
	control(&n, "{\"rate_factor\":0}"); /* the stream takes as long as is needed */
	fd = dial(&n);
	send_request(fd, "POST", "/v1/completions", COMPLETION(50, true));
	wait_for(&n, "running", NULL, 1);
	control(&n, "{\"draining\":true}");
	assert_int_equal(ask(&n, "GET", "/health", "")->http.status, 503);
	assert_non_null(strstr(reply.body, "\"draining\""));
	assert_int_equal(ask(&n, "POST", "/v1/completions", COMPLETION(1, false))->http.status,
			 503);
	control(&n, "{\"rate_factor\":1}");
	read_reply(fd, TIMEOUT_MS, &reply);
	assert_int_equal(reply.ending, END_ANSWER);
	assert_non_null(strstr(reply.body, "\"text\":\" 49\""));
	close(fd);
	stop_node(&n);
}

static void loading_ends_by_itself(void **state)
{
	int64_t start_ms;
	struct node n;
	int status = 0;

	(void)state;
	start_node(&n, 4, UINT32_MAX, 100);
	control(&n, "{\"loading_s\":true}");
	assert_int_equal(ask(&n, "GET", "/health", "")->http.status, 503);
	assert_int_equal(ask(&n, "GET", "/v1/models", "")->http.status, 503);
	assert_int_equal(ask(&n, "POST", "/v1/completions", COMPLETION(1, true))->http.status, 503);
	start_ms = now_ms();
	control(&n, "{\"loading_s\":0.5}");
	for (int i = 0; i < 500 && status != 200; i++) {
		usleep(20000);
		status = ask(&n, "GET", "/health", "")->http.status;
	}
	assert_int_equal(status, 200);
	assert_true(now_ms() - start_ms >= 500);
	stop_node(&n);
}

static void memory_and_cache_are_as_told(void **state)
{
	struct node n;

	(void)state;
	start_node(&n, 4, UINT32_MAX, 100);
	control(&n, "{\"gpu_memory\":97,\"kv_usage\":0.96}");
	assert_non_null(strstr(ask(&n, "GET", "/health", "")->body, "\"gpu_memory_usage\":97.0"));
	assert_non_null(strstr(ask(&n, "GET", "/metrics", "")->body,
			       "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"m\"} 0.95999"));
	control(&n, "{\"gpu_memory\":null,\"kv_usage\":null}");
	assert_true(looked_up(&n, "kv_cache_usage", NULL) == 0);
	stop_node(&n);
}

static void live_streams_break_on_demand(void **state)
{
	static const struct {
		const char *json;
		enum ending ending;
	} cases[] = {
		{"{\"break\":\"reset\"}", END_RESET},
		{"{\"break\":\"close\"}", END_EOF},
		{"{\"abrupt_after\":20}", END_RESET},
	};
	struct node n;

	(void)state;
	start_node(&n, 4, UINT32_MAX, 100);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int fd = dial(&n);

		send_request(fd, "POST", "/v1/completions", COMPLETION(100000, true));
		wait_for(&n, "running", NULL, 1);
		usleep(50000);
		control(&n, cases[i].json);
		read_reply(fd, TIMEOUT_MS, &reply);
		assert_int_equal(reply.ending, cases[i].ending);
		close(fd);
		wait_for(&n, "running", NULL, 0);
	}
	assert_int_equal((int)looked_up(&n, "counters", "aborted"), 3);
	stop_node(&n);
}

static void refused_for_a_while_on_the_same_port(void **state)
{
	int64_t start_ms;
	struct node n;
	int fd = -1;

	(void)state;
	start_node(&n, 4, UINT32_MAX, 100);
	do { /* and once more, if this process was away for all that time */
		start_ms = now_ms();
		if (fd >= 0)
			close(fd);
		control(&n, "{\"refuse_s\":0.5}");
		fd = dial_to(&n, AF_INET);
	} while (fd >= 0 && now_ms() - start_ms >= 500);
	assert_int_equal(fd, -ECONNREFUSED);
	for (int i = 0; i < 500 && fd < 0; i++) {
		usleep(20000);
		fd = dial_to(&n, AF_INET);
	}
	assert_true(fd >= 0);
	close(fd);
	stop_node(&n);
}

static void delayed_health_comes_late_and_right(void **state)
{
	struct node n;
	int64_t start_ms;

	(void)state;
	start_node(&n, 4, UINT32_MAX, 100);
	control(&n, "{\"health_delay_ms\":150}");
	start_ms = now_ms();
	assert_int_equal(ask(&n, "GET", "/health", "")->http.status, 200);
	assert_true(now_ms() - start_ms >= 150);
	stop_node(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_fault_of_a_page_is_what_it_says),
		cmocka_unit_test(a_slow_page_drips),
		cmocka_unit_test(what_hangs_is_answered_when_the_fault_ends),
		cmocka_unit_test(frozen_answers_health_without_progress),
		cmocka_unit_test(draining_keeps_live_streams_only),
		cmocka_unit_test(loading_ends_by_itself),
		cmocka_unit_test(memory_and_cache_are_as_told),
		cmocka_unit_test(live_streams_break_on_demand),
		cmocka_unit_test(refused_for_a_while_on_the_same_port),
		cmocka_unit_test(delayed_health_comes_late_and_right),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
