/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mock inference server over real connections on loopback: it runs in a child process, which
 * must end with status 0 (and without a leak, in a sanitized build) after each group of requests.
 */
#ifndef SLUICE_TESTS_MOCKBACKEND_BED_H
#define SLUICE_TESTS_MOCKBACKEND_BED_H

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
#include "tools/mockbackend/reply.c"
#include "tools/mockbackend/completion.c"
#include "tools/mockbackend/request.c"
#include "tools/mockbackend/server.c"
#include "tools/loadgen/http.c"

#define TIMEOUT_MS 30000
#define BODY_SIZE  65536

struct node {
	pid_t pid;
	uint16_t port;
	uint16_t port6;
};

/* ---- the server in a child ---- */

static inline void serve(const struct server_options *o, int report_fd)
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

static inline void options_for(struct server_options *o, uint32_t slots, uint32_t queue_max,
			       double rate)
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

static inline void start_node(struct node *n, uint32_t slots, uint32_t queue_max, double rate)
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

static inline void stop_node(struct node *n)
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
static inline int dial_to(const struct node *n, int family)
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

static inline int dial(const struct node *n)
{
	int fd = dial_to(n, AF_INET);

	assert_true(fd >= 0);
	return fd;
}

static inline void send_request(int fd, const char *method, const char *path, const char *body)
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
static inline bool take(struct reply *r, const char *data, size_t len)
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

static inline void read_reply(int fd, int timeout_ms, struct reply *r)
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
static inline const struct reply *ask(const struct node *n, const char *method, const char *path,
				      const char *body)
{
	int fd = dial(n);

	send_request(fd, method, path, body);
	read_reply(fd, TIMEOUT_MS, &reply);
	close(fd);
	return &reply;
}

static inline void control(const struct node *n, const char *json)
{
	const struct reply *r = ask(n, "POST", "/control", json);

	assert_int_equal(r->ending, END_ANSWER);
	if (r->http.status != 200)
		fail_msg("control %s: %d %s", json, r->http.status, r->body);
}

/* A number out of the JSON of /control, by its path of one or two keys. */
static inline double looked_up(const struct node *n, const char *key, const char *key2)
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
static inline void wait_for(const struct node *n, const char *key, const char *key2, double want)
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

#endif
