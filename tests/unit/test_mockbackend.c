/* SPDX-License-Identifier: BSD-2-Clause */
/* The mock inference server: its answers, streams, figures and limits. */
#include "tests/unit/mockbackend_bed.h"

static void every_answer_names_node_and_peer(void **state)
{
	static const char *const paths[] = {"/",          "/health",  "/metrics",
					    "/v1/models", "/control", "/nothing-here"};
	struct node n;

	(void)state;
	start_node(&n, 4, UINT32_MAX, 50);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct sockaddr_in local;
		socklen_t len = sizeof(local);
		int fd = dial(&n);

		assert_int_equal(getsockname(fd, (struct sockaddr *)&local, &len), 0);
		send_request(fd, "GET", paths[i], "");
		read_reply(fd, TIMEOUT_MS, &reply);
		assert_int_equal(reply.ending, END_ANSWER);
		assert_string_equal(reply.http.backend, "n1");
		assert_string_equal(reply.http.peer, "127.0.0.1");
		assert_int_equal(reply.http.peer_port, ntohs(local.sin_port));
		close(fd);
	}
	stop_node(&n);
}

static void health_has_the_seed_form(void **state)
{
	const char *status;
	json_int_t queue, running;
	double memory;
	json_t *root;
	struct node n;

	(void)state;
	start_node(&n, 4, UINT32_MAX, 50);
	root = json_loads(ask(&n, "GET", "/health", "")->body, 0, NULL);
	assert_int_equal(json_unpack(root, "{s:s,s:I,s:I,s:F}", "status", &status, "queue_depth",
				     &queue, "running", &running, "gpu_memory_usage", &memory),
			 0);
	assert_string_equal(status, "ok");
	assert_int_equal(queue, 0);
	assert_int_equal(running, 0);
	assert_true(memory > 0 && memory < 100);
	json_decref(root);
	stop_node(&n);
}

static void the_other_family_is_served_and_seen(void **state)
{
	struct node n;
	int fd;

	(void)state;
	start_node(&n, 4, UINT32_MAX, 50);
	fd = dial_to(&n, AF_INET6);
	if (fd == -EADDRNOTAVAIL) {
		stop_node(&n);
		skip(); /* no IPv6 loopback here */
	}
	assert_true(fd >= 0);
	send_request(fd, "GET", "/", "");
	read_reply(fd, TIMEOUT_MS, &reply);
	assert_string_equal(reply.http.peer, "::1");
	close(fd);
	stop_node(&n);
}

static void a_completion_has_all_its_tokens(void **state)
{
	struct node n;

	(void)state;
	start_node(&n, 4, UINT32_MAX, 500);
	ask(&n, "POST", "/v1/completions", COMPLETION(5, false));
	assert_int_equal(reply.http.status, 200);
	assert_non_null(strstr(reply.body, "\"text\":\" 0 1 2 3 4\""));
	assert_non_null(strstr(reply.body, "\"completion_tokens\":5"));
	ask(&n, "POST", "/v1/chat/completions",
	    "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":2}");
	assert_non_null(strstr(reply.body, "\"content\":\" 0 1\""));
	assert_int_equal((int)looked_up(&n, "counters", "finished"), 2);
	stop_node(&n);
}

static void a_stream_has_all_its_events_in_order(void **state)
{
	struct node n;
	char *p;

	(void)state;
	start_node(&n, 4, UINT32_MAX, 500);
	ask(&n, "POST", "/v1/completions",
	    "{\"prompt\":[1,2,3],\"max_tokens\":100,\"stream\":true,"
	    "\"stream_options\":{\"include_usage\":true}}");
	assert_int_equal(reply.ending, END_ANSWER);
	p = reply.body;
	for (int i = 0; i < 100; i++) {
		char text[32];

		snprintf(text, sizeof(text), "\"text\":\" %d\"", i);
		p = strstr(p, text);
		assert_non_null(p);
		p++;
	}
	p = strstr(p, "\"completion_tokens\":100");
	assert_non_null(p);
	assert_string_equal(strstr(p, "\n\n"), "\n\ndata: [DONE]\n\n");
	stop_node(&n);
}

static void load_is_what_runs_and_waits(void **state)
{
	struct node n;
	int fds[4];

	(void)state;
	start_node(&n, 2, 1, 1);
	for (int i = 0; i < 3; i++) {
		fds[i] = dial(&n);
		send_request(fds[i], "POST", "/v1/completions",
			     i ? COMPLETION(1000, true) : COMPLETION(1000, false));
	}
	wait_for(&n, "queue_depth", NULL, 1);
	assert_int_equal((int)looked_up(&n, "running", NULL), 2);
	ask(&n, "GET", "/metrics", "");
	assert_non_null(strstr(reply.body, "vllm:num_requests_running{engine=\"0\","
					   "model_name=\"m\"} 2.0\n"));
	assert_non_null(strstr(reply.body, "vllm:num_requests_waiting{engine=\"0\","
					   "model_name=\"m\"} 1.0\n"));
	ask(&n, "POST", "/v1/completions", COMPLETION(5, true));
	assert_int_equal(reply.http.status, 503);
	assert_non_null(strstr(reply.body, "server_overloaded"));
	control(&n, "{\"queue_status\":429}");
	ask(&n, "POST", "/v1/completions", COMPLETION(5, true));
	assert_int_equal(reply.http.status, 429);
	/* Whoever leaves frees the place: a waiting stream, then running ones of both kinds. */
	close(fds[2]);
	wait_for(&n, "queue_depth", NULL, 0);
	close(fds[0]);
	wait_for(&n, "running", NULL, 1);
	close(fds[1]);
	wait_for(&n, "running", NULL, 0);
	assert_int_equal((int)looked_up(&n, "counters", "aborted"), 3);
	assert_int_equal((int)looked_up(&n, "counters", "rejected"), 2);
	stop_node(&n);
}

struct bad_request {
	const char *method;
	const char *path;
	const char *body;
	int status;
	const char *says;
};

static const struct bad_request bad_requests[] = {
	{"GET", "/nothing", "", 404, "no such path"},
	{"GET", "/v1/completions", "", 405, "method"},
	{"POST", "/health", "", 405, "method"},
	{"POST", "/v1/completions", "", 400, "not a JSON object"},
	{"POST", "/v1/completions", "[1]", 400, "not a JSON object"},
	{"POST", "/v1/completions", "{}", 400, "prompt"},
	{"POST", "/v1/chat/completions", "{\"messages\":[]}", 400, "messages"},
	{"POST", "/v1/completions", "{\"prompt\":\"\",\"max_tokens\":0}", 400, "max_tokens"},
	{"POST", "/v1/completions", "{\"prompt\":\"\",\"max_tokens\":\"9\"}", 400, "max_tokens"},
	{"POST", "/v1/completions", "{\"prompt\":\"\",\"max_tokens\":1e9}", 400, "max_tokens"},
	{"POST", "/control", "{\"slots\":0}", 400, "slots"},
	{"POST", "/control", "{\"slots\":8,\"healt\":\"ok\"}", 400, "unknown key"},
	{"POST", "/control", "{\"health\":\"sick\"}", 400, "garbage"},
	{"POST", "/control", "{\"break\":\"slow\"}", 400, "reset or close"},
	{"POST", "/control", "nonsense", 400, "JSON object"},
	{"POST", "/control?rate_factor=-1", "", 400, "rate_factor"},
};

static void bad_requests_get_an_answer_and_change_nothing(void **state)
{
	struct node n;

	(void)state;
	start_node(&n, 4, UINT32_MAX, 100);
	for (size_t i = 0; i < sizeof(bad_requests) / sizeof(bad_requests[0]); i++) {
		const struct bad_request *c = &bad_requests[i];

		ask(&n, c->method, c->path, c->body);
		if (reply.http.status != c->status || !strstr(reply.body, c->says))
			fail_msg("%s %s %s: %d %s", c->method, c->path, c->body, reply.http.status,
				 reply.body);
	}
	assert_int_equal((int)looked_up(&n, "settings", "slots"), 4);
	assert_int_equal((int)looked_up(&n, "counters", "submitted"), 0);
	stop_node(&n);
}

static void a_query_sets_as_json_does(void **state)
{
	struct node n;

	(void)state;
	start_node(&n, 4, UINT32_MAX, 100);
	ask(&n, "POST", "/control?slots=9&gpu_memory=98.5&health=ok&draining=false", "");
	assert_int_equal(reply.http.status, 200);
	assert_int_equal((int)looked_up(&n, "settings", "slots"), 9);
	assert_true(looked_up(&n, "gpu_memory_usage", NULL) == 98.5);
	stop_node(&n);
}

static void one_connection_serves_many_requests(void **state)
{
	struct node n;
	int fd;

	(void)state;
	start_node(&n, 4, UINT32_MAX, 500);
	fd = dial(&n);
	for (int i = 0; i < 5; i++) {
		send_request(fd, "GET", "/health", "");
		read_reply(fd, TIMEOUT_MS, &reply);
		assert_int_equal(reply.http.status, 200);
		send_request(fd, "POST", "/v1/completions", COMPLETION(2, true));
		read_reply(fd, TIMEOUT_MS, &reply);
		assert_int_equal(reply.ending, END_ANSWER);
		assert_non_null(strstr(reply.body, "[DONE]"));
	}
	close(fd);
	stop_node(&n);
}

static void a_body_that_is_too_large_is_refused(void **state)
{
	size_t size = SERVER_BODY_MAX + 10;
	char *body = malloc(size);
	char head[128];
	struct node n;
	int fd;

	(void)state;
	assert_non_null(body);
	memset(body, 'x', size);
	start_node(&n, 4, UINT32_MAX, 500);
	fd = dial(&n);
	snprintf(head, sizeof(head),
		 "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", size);
	assert_true(send(fd, head, strlen(head), MSG_NOSIGNAL) > 0);
	for (size_t at = 0; at < size;) {
		ssize_t sent = send(fd, body + at, size - at, MSG_NOSIGNAL);

		assert_true(sent > 0);
		at += (size_t)sent;
	}
	read_reply(fd, TIMEOUT_MS, &reply);
	assert_int_equal(reply.http.status, 413);
	close(fd);
	free(body);
	stop_node(&n);
}

static void many_streams_at_once_are_all_whole(void **state)
{
	enum { N = 300 };
	struct node n;
	int fds[N];

	(void)state;
	start_node(&n, N, UINT32_MAX, 50);
	for (int i = 0; i < N; i++) {
		fds[i] = dial(&n);
		send_request(fds[i], "POST", "/v1/completions", COMPLETION(20, true));
	}
	for (int i = 0; i < N; i++) {
		read_reply(fds[i], TIMEOUT_MS, &reply);
		assert_int_equal(reply.ending, END_ANSWER);
		assert_non_null(strstr(reply.body, "\"text\":\" 19\""));
		close(fds[i]);
	}
	assert_int_equal((int)looked_up(&n, "counters", "finished"), N);
	stop_node(&n);
}

static void it_stops_cleanly_whatever_is_open(void **state)
{
	struct node n;
	int fds[5];

	(void)state;
	start_node(&n, 1, UINT32_MAX, 10);
	control(&n, "{\"health\":\"hang\",\"metrics\":\"slow\",\"health_delay_ms\":60000}");
	for (int i = 0; i < 5; i++)
		fds[i] = dial(&n);
	send_request(fds[0], "POST", "/v1/completions", COMPLETION(100000, true));
	send_request(fds[1], "POST", "/v1/completions", COMPLETION(100000, false));
	send_request(fds[2], "GET", "/health", "");
	send_request(fds[3], "GET", "/metrics", "");
	wait_for(&n, "queue_depth", NULL, 1);
	stop_node(&n);
	for (int i = 0; i < 5; i++)
		close(fds[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_answer_names_node_and_peer),
		cmocka_unit_test(health_has_the_seed_form),
		cmocka_unit_test(the_other_family_is_served_and_seen),
		cmocka_unit_test(a_completion_has_all_its_tokens),
		cmocka_unit_test(a_stream_has_all_its_events_in_order),
		cmocka_unit_test(load_is_what_runs_and_waits),
		cmocka_unit_test(bad_requests_get_an_answer_and_change_nothing),
		cmocka_unit_test(a_query_sets_as_json_does),
		cmocka_unit_test(one_connection_serves_many_requests),
		cmocka_unit_test(a_body_that_is_too_large_is_refused),
		cmocka_unit_test(many_streams_at_once_are_all_whole),
		cmocka_unit_test(it_stops_cleanly_whatever_is_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
