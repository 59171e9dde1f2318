// SPDX-License-Identifier: BSD-2-Clause
/*
 * The mock inference server over real connections on loopback: it runs in a child process, which
 * must end with status 0 (and without a leak, in a sanitized build) after each group of requests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tools/mockbackend/engine.c"
#include "tools/mockbackend/fault.c"
#include "tools/mockbackend/openai.c"
#include "tools/mockbackend/page.c"
#include "tools/mockbackend/listen.c"
#include "tools/mockbackend/request.c"
#include "tools/mockbackend/server.c"
#include "tools/loadgen/http.c"

#define TIMEOUT_MS 5000
#define BODY_SIZE  65536

struct node {
	pid_t pid;
	uint16_t port;
	uint16_t port6;
};

/* ---- the server in a child ---- */

static void serve(const struct server_options *o, int report_fd)
{
	static struct server s;
	uint16_t ports[2];
	int r;

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nothing behind */
	r = server_open(&s, o);
	if (r < 0)
		_exit(3);
	ports[0] = listen_port(&s.listeners[0]);
	ports[1] = listen_port(&s.listeners[1]);
	if (write(report_fd, ports, sizeof(ports)) != sizeof(ports))
		_exit(4);
	close(report_fd);
	r = server_run(&s);
	server_close(&s);
	exit(r < 0 ? 1 : 0);
}

static void options_for(struct server_options *o, uint32_t slots, uint32_t queue_max, double rate)
{
	memset(o, 0, sizeof(*o));
	fault_defaults(&o->settings);
	o->settings.slots = slots;
	o->settings.queue_max = queue_max;
	o->settings.tokens_per_s = rate;
	o->name = "n1";
	o->model = "m";
	o->engine.slots = slots;
	o->engine.queue_max = queue_max;
	o->engine.tokens_per_s = rate;
	o->engine.kv_tokens = 4096;
	assert_int_equal(listen_parse("127.0.0.1", 0, &o->listeners[0]), 0);
	assert_int_equal(listen_parse("::1", 0, &o->listeners[1]), 0);
	o->n_listeners = 2;
}

static void start_node(struct node *n, uint32_t slots, uint32_t queue_max, double rate)
{
	struct server_options o;
	uint16_t ports[2];
	int fds[2];

	options_for(&o, slots, queue_max, rate);
	assert_int_equal(pipe(fds), 0);
	n->pid = fork();
	assert_true(n->pid >= 0);
	if (!n->pid) {
		close(fds[0]);
		serve(&o, fds[1]);
	}
	close(fds[1]);
	assert_int_equal(read(fds[0], ports, sizeof(ports)), sizeof(ports));
	close(fds[0]);
	n->port = ports[0];
	n->port6 = ports[1];
}

static void stop_node(struct node *n)
{
	int status;

	assert_int_equal(kill(n->pid, SIGTERM), 0);
	assert_int_equal(waitpid(n->pid, &status, 0), n->pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- a client ---- */

enum ending {
	END_ANSWER = 1, /* the answer is whole */
	END_EOF,
	END_RESET,
	END_TIMEOUT,
	END_REFUSED,
};

struct reply {
	enum ending ending;
	struct http_reader http;
	size_t len;
	char body[BODY_SIZE];
};

/* Returns a connected socket or -errno. */
static int dial_to(const struct node *n, int family)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(n->port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(n->port6)};
	const struct sockaddr *addr = (struct sockaddr *)&in;
	socklen_t len = sizeof(in);
	int fd = socket(family, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	in6.sin6_addr = in6addr_loopback;
	if (family == AF_INET6) {
		addr = (struct sockaddr *)&in6;
		len = sizeof(in6);
	}
	if (connect(fd, addr, len) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

static int dial(const struct node *n)
{
	int fd = dial_to(n, AF_INET);

	assert_true(fd >= 0);
	return fd;
}

static void send_request(int fd, const char *method, const char *path, const char *body)
{
	char text[2048];
	int len;

	len = snprintf(text, sizeof(text),
		       "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", method, path,
		       strlen(body), body);
	assert_in_range(len, 1, sizeof(text) - 1);
	assert_int_equal(send(fd, text, (size_t)len, MSG_NOSIGNAL), len);
}

/* Returns true while more may come. */
static bool take(struct reply *r, const char *data, size_t len)
{
	for (;;) {
		const char *part = NULL;
		size_t part_len = 0;
		size_t used = 0;
		int res = http_read(&r->http, data, len, &used, &part, &part_len);

		assert_true(res > 0);
		data += used;
		len -= used;
		if (res == HTTP_BODY) {
			size_t room = sizeof(r->body) - 1 - r->len;

			memcpy(r->body + r->len, part, part_len < room ? part_len : room);
			r->len += part_len < room ? part_len : room;
			r->body[r->len] = '\0';
		}
		if (res == HTTP_END)
			r->ending = END_ANSWER;
		if (res == HTTP_END || res == HTTP_MORE)
			return res == HTTP_MORE;
	}
}

static void read_reply(int fd, int timeout_ms, struct reply *r)
{
	static char buf[65536];
	bool more = true;

	memset(r, 0, sizeof(*r));
	http_init(&r->http);
	while (more) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (poll(&p, 1, timeout_ms) != 1) {
			r->ending = END_TIMEOUT;
			return;
		}
		n = recv(fd, buf, sizeof(buf), 0);
		if (n < 0)
			assert_int_equal(errno, ECONNRESET);
		if (n <= 0) {
			r->ending = n < 0 ? END_RESET : END_EOF;
			return;
		}
		more = take(r, buf, (size_t)n);
	}
}

static struct reply reply;

/* One request on a connection of its own. */
static const struct reply *ask(const struct node *n, const char *method, const char *path,
			       const char *body)
{
	int fd = dial(n);

	send_request(fd, method, path, body);
	read_reply(fd, TIMEOUT_MS, &reply);
	close(fd);
	return &reply;
}

static void control(const struct node *n, const char *json)
{
	const struct reply *r = ask(n, "POST", "/control", json);

	assert_int_equal(r->ending, END_ANSWER);
	if (r->http.status != 200)
		fail_msg("control %s: %d %s", json, r->http.status, r->body);
}

/* A number out of the JSON of /control, by its path of one or two keys. */
static double looked_up(const struct node *n, const char *key, const char *key2)
{
	const struct reply *r = ask(n, "GET", "/control", "");
	json_t *root = json_loads(r->body, 0, NULL);
	json_t *v = json_object_get(root, key);
	double x;

	if (key2)
		v = json_object_get(v, key2);
	assert_true(json_is_number(v));
	x = json_number_value(v);
	json_decref(root);
	return x;
}

/* Wait until a number of /control is as expected: for what happens in the server by itself. */
static void wait_for(const struct node *n, const char *key, const char *key2, double want)
{
	for (int i = 0; i < 500; i++) {
		if (looked_up(n, key, key2) == want)
			return;
		usleep(10000);
	}
	fail_msg("%s %s did not become %g", key, key2 ? key2 : "", want);
}

#define COMPLETION(tokens, stream)                                                                 \
	"{\"prompt\":\"hello\",\"max_tokens\":" #tokens ",\"stream\":" #stream "}"

/* ---- tests ---- */

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
	usleep(100000);
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
	fd = dial(&n);
	send_request(fd, "POST", "/v1/completions", COMPLETION(50, true));
	wait_for(&n, "running", NULL, 1);
	control(&n, "{\"draining\":true}");
	assert_int_equal(ask(&n, "GET", "/health", "")->http.status, 503);
	assert_non_null(strstr(reply.body, "\"draining\""));
	assert_int_equal(ask(&n, "POST", "/v1/completions", COMPLETION(1, false))->http.status,
			 503);
	read_reply(fd, TIMEOUT_MS, &reply);
	assert_int_equal(reply.ending, END_ANSWER);
	assert_non_null(strstr(reply.body, "\"text\":\" 49\""));
	close(fd);
	stop_node(&n);
}

static void loading_ends_by_itself(void **state)
{
	struct node n;
	int status = 0;

	(void)state;
	start_node(&n, 4, UINT32_MAX, 100);
	control(&n, "{\"loading_s\":1}");
	assert_int_equal(ask(&n, "GET", "/health", "")->http.status, 503);
	assert_int_equal(ask(&n, "GET", "/v1/models", "")->http.status, 503);
	assert_int_equal(ask(&n, "POST", "/v1/completions", COMPLETION(1, true))->http.status, 503);
	for (int i = 0; i < 100 && status != 200; i++) {
		usleep(20000);
		status = ask(&n, "GET", "/health", "")->http.status;
	}
	assert_int_equal(status, 200);
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
	struct node n;
	int fd = -1;

	(void)state;
	start_node(&n, 4, UINT32_MAX, 100);
	control(&n, "{\"refuse_s\":0.5}");
	assert_int_equal(dial_to(&n, AF_INET), -ECONNREFUSED);
	for (int i = 0; i < 100 && fd < 0; i++) {
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
		cmocka_unit_test(bad_requests_get_an_answer_and_change_nothing),
		cmocka_unit_test(a_query_sets_as_json_does),
		cmocka_unit_test(one_connection_serves_many_requests),
		cmocka_unit_test(a_body_that_is_too_large_is_refused),
		cmocka_unit_test(many_streams_at_once_are_all_whole),
		cmocka_unit_test(it_stops_cleanly_whatever_is_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
