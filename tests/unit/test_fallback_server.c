/* SPDX-License-Identifier: BSD-2-Clause */
/* The fallback responder over real connections on loopback. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "userspace/agent/fallback_server.h"
#include "userspace/lib/cleanup.h"

#define ANSWER_MAX 65536

struct fixture {
	struct fallback_board *board;
	struct fallback_server *server;
	struct fallback_counters *counters;
	struct endpoint ep;
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void set_site(struct fixture *f, uint16_t status, const char *body)
{
	struct config_fallback cfg = {.enabled = true, .status = status, .body_type = "text/plain",
				      .retry_min_ms = 500, .retry_max_ms = 3000};
	struct fallback_blob *blob = body ? fallback_blob_new(body, strlen(body)) : NULL;
	struct fallback_blob *kept = fallback_blob_new("kept", 4);
	struct fallback_cached cached = {.path = "/v1/models?a=%41", .body = kept, .type = "text/x",
					 .fetched_ms = now_ms() - 3500, .max_age_ms = 3600000};
	struct fallback_site *site;

	assert_int_equal(fallback_site_new(&f->ep, &cfg, blob, f->counters, &cached, 1, &site), 0);
	assert_int_equal(fallback_board_set(f->board, &site, 1), 0);
	fallback_site_unref(&site);
	fallback_blob_unref(&blob);
	fallback_blob_unref(&kept);
}

/* A port of loopback that nobody listens on. */
static uint16_t free_port(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(sa);

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	return ntohs(sa.sin_port);
}

static void start_with(struct fixture *f, struct fallback_server_settings settings)
{
	f->board = settings.board = fallback_board_new();
	f->counters = fallback_counters_new();
	assert_int_equal(endpoint_parse("127.0.0.1:1", &f->ep), 0);
	f->ep.port = free_port();
	set_site(f, 503, NULL);
	assert_int_equal(fallback_server_new(&settings, &f->server), 0);
	assert_int_equal(fallback_server_listen(f->server, &f->ep, NULL), 0);
}

static void start(struct fixture *f, uint32_t connections, int64_t lifetime_ms)
{
	start_with(f, (struct fallback_server_settings){
			      .connections = connections, .lifetime_ms = lifetime_ms,
			      .now_ms = now_ms});
}

static void end(struct fixture *f)
{
	fallback_server_free(&f->server);
	fallback_board_free(&f->board);
	fallback_counters_unref(&f->counters);
}

static void connect_fd(int fd, const struct endpoint *ep)
{
	struct sockaddr_storage sa;
	socklen_t len = endpoint_to_sockaddr(ep, &sa);

	assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
}

static int connect_to(const struct endpoint *ep)
{
	int fd = socket(ep->addr.family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval limit = {.tv_sec = 20};

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	connect_fd(fd, ep);
	return fd;
}

static void put(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Everything until the end of the connection; closes fd. Returns 0, or -errno of a reset. */
static int take(int fd, char ret[ANSWER_MAX])
{
	size_t len = 0;
	ssize_t n;

	/* With a time limit it ends when this process is stopped and goes on, too. */
	while ((n = recv(fd, ret + len, ANSWER_MAX - 1 - len, 0)) > 0 || (n < 0 && errno == EINTR))
		len += n > 0 ? (size_t)n : 0;
	n = n < 0 ? -errno : 0;
	ret[len] = '\0';
	close(fd);
	return (int)n;
}

static void ask(const struct fixture *f, const char *request, char ret[ANSWER_MAX])
{
	int fd = connect_to(&f->ep);

	put(fd, request);
	assert_int_equal(take(fd, ret), 0);
}

static void wait_open(struct fixture *f, uint32_t n)
{
	struct fallback_server_stats s = {.open = UINT32_MAX};

	for (int i = 0; i < 2000 && s.open != n; i++) {
		usleep(5000);
		fallback_server_stats(f->server, &s);
	}
	assert_int_equal(s.open, n);
}

static void test_a_request_is_answered_and_its_connection_closed(void **state)
{
	char answer[ANSWER_MAX];
	struct fixture f;

	(void)state;
	start(&f, 100, 0);
	ask(&f, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer);
	assert_memory_equal(answer, "HTTP/1.1 503 ", 13);
	assert_non_null(strcasestr(answer, "\r\nconnection: close\r\n"));
	assert_non_null(strcasestr(answer, "\r\nretry-after-ms: "));
	assert_non_null(strcasestr(answer, "\r\nretry-after: "));
	assert_non_null(strcasestr(answer, "\r\nx-should-retry: true\r\n"));
	assert_non_null(strstr(answer, "{\"error\":{"));
	assert_int_equal(f.counters->degraded, 1);
	end(&f);
}

static void test_the_target_is_compared_as_the_client_wrote_it(void **state)
{
	char answer[ANSWER_MAX];
	struct fixture f;

	(void)state;
	start(&f, 100, 0);
	ask(&f, "GET /v1/models?a=%41 HTTP/1.1\r\nHost: x\r\n\r\n", answer);
	assert_memory_equal(answer, "HTTP/1.1 200 ", 13);
	assert_non_null(strcasestr(answer, "\r\nage: 3\r\n"));
	assert_non_null(strcasestr(answer, "\r\ncontent-type: text/x\r\n"));
	assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\nkept");
	ask(&f, "HEAD /v1/models?a=%41 HTTP/1.1\r\nHost: x\r\n\r\n", answer);
	assert_memory_equal(answer, "HTTP/1.1 200 ", 13);
	assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
	ask(&f, "GET /v1/models?a=A HTTP/1.1\r\nHost: x\r\n\r\n", answer);
	assert_memory_equal(answer, "HTTP/1.1 503 ", 13);
	assert_int_equal(f.counters->cached, 2);
	end(&f);
}

/* A client that writes everything before it reads. */
static void post(const struct fixture *f, size_t size, char ret[ANSWER_MAX])
{
	_cleanup_free_ char *body = calloc(1, size);
	int fd = connect_to(&f->ep);
	char head[128];
	size_t sent = 0;

	snprintf(head, sizeof(head), "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n",
		 size);
	put(fd, head);
	while (sent < size) {
		ssize_t n = send(fd, body + sent, size - sent, MSG_NOSIGNAL);

		assert_true(n > 0);
		sent += (size_t)n;
	}
	assert_int_equal(take(fd, ret), 0);
}

static void test_a_long_body_is_read_so_that_the_answer_is_not_a_reset(void **state)
{
	char answer[ANSWER_MAX];
	struct fixture f;

	(void)state;
	start(&f, 100, 0);
	post(&f, 20 << 20, answer);
	assert_memory_equal(answer, "HTTP/1.1 503 ", 13);
	end(&f);
}

static void test_a_body_in_chunks_is_read_too(void **state)
{
	char answer[ANSWER_MAX];
	struct fixture f;

	(void)state;
	start(&f, 100, 0);
	ask(&f, "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
		"5\r\nhello\r\n0\r\n\r\n", answer);
	assert_memory_equal(answer, "HTTP/1.1 503 ", 13);
	end(&f);
}

static void test_a_client_that_asks_first_need_not_send_its_body(void **state)
{
	char answer[ANSWER_MAX];
	struct fixture f;

	(void)state;
	start(&f, 100, 0);
	ask(&f, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n"
		"Expect: 100-continue\r\n\r\n", answer);
	assert_memory_equal(answer, "HTTP/1.1 503 ", 13);
	ask(&f, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", answer);
	assert_memory_equal(answer, "HTTP/1.1 503 ", 13);
	end(&f);
}

static void test_what_is_not_http_ends_without_harm(void **state)
{
	static const char *const texts[] = {"\r\n\r\n", "GET\r\n\r\n", "\x16\x03\x01\x02\r\n\r\n",
					    "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"};
	char answer[ANSWER_MAX];
	struct fixture f;

	(void)state;
	start(&f, 100, 2000);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		int fd = connect_to(&f.ep);

		put(fd, texts[i]);
		(void)take(fd, answer);
		assert_null(strstr(answer, " 200 "));
	}
	ask(&f, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer);
	assert_memory_equal(answer, "HTTP/1.1 503 ", 13);
	end(&f);
}

static void test_a_header_that_does_not_end_is_refused(void **state)
{
	char answer[ANSWER_MAX], line[1024];
	struct fixture f;
	int fd;

	(void)state;
	start(&f, 100, 5000);
	fd = connect_to(&f.ep);
	put(fd, "GET / HTTP/1.1\r\n");
	memset(line, 'x', sizeof(line));
	memcpy(line + sizeof(line) - 3, "\r\n", 3);
	line[5] = ':';
	for (int i = 0; i < 64; i++)
		if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0)
			break;
	(void)take(fd, answer);
	assert_null(strstr(answer, " 503 "));
	wait_open(&f, 0);
	end(&f);
}

static void test_a_client_that_drips_is_cut_off(void **state)
{
	struct fallback_server_stats s;
	int64_t began = now_ms();
	struct fixture f;
	char answer[ANSWER_MAX];
	int fd;

	(void)state;
	start(&f, 100, 1000);
	fd = connect_to(&f.ep);
	put(fd, "GET / HTTP/1.1\r\n");
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN | POLLRDHUP};

		if (poll(&p, 1, 50) || now_ms() - began > 15000)
			break;
		(void)!send(fd, "x", 1, MSG_NOSIGNAL);
	}
	assert_in_range(now_ms() - began, 900, 14000);
	(void)take(fd, answer);
	fallback_server_stats(f.server, &s);
	assert_int_equal(s.expired, 1);
	wait_open(&f, 0);
	end(&f);
}

static void test_more_connections_than_allowed_are_closed_at_once(void **state)
{
	char answer[ANSWER_MAX];
	struct fallback_server_stats s;
	struct fixture f;
	int fds[8], fd;

	(void)state;
	start(&f, 8, 0);
	for (int i = 0; i < 8; i++) {
		fds[i] = connect_to(&f.ep);
		put(fds[i], "GET /");
		wait_open(&f, (uint32_t)i + 1);
	}
	fd = connect_to(&f.ep);
	(void)take(fd, answer);
	assert_string_equal(answer, "");
	fallback_server_stats(f.server, &s);
	assert_int_equal(s.refused, 1);
	for (int i = 0; i < 8; i++) {
		put(fds[i], " HTTP/1.1\r\nHost: x\r\n\r\n");
		assert_int_equal(take(fds[i], answer), 0);
		assert_memory_equal(answer, "HTTP/1.1 503 ", 13);
	}
	wait_open(&f, 0);
	ask(&f, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer);
	assert_memory_equal(answer, "HTTP/1.1 503 ", 13);
	end(&f);
}

static void test_new_answers_hold_at_once_and_old_listeners_leave_no_one_behind(void **state)
{
	char answer[ANSWER_MAX];
	struct fixture f;
	int slow;

	(void)state;
	start(&f, 100, 0);
	slow = connect_to(&f.ep);
	put(slow, "GET / HTTP/1.1\r\n");
	wait_open(&f, 1);
	set_site(&f, 529, "new");
	ask(&f, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer);
	assert_memory_equal(answer, "HTTP/1.1 529 ", 13);
	fallback_server_unlisten(f.server, &f.ep);
	assert_false(fallback_server_listens(f.server, &f.ep));
	fallback_server_sweep(f.server); /* the slow client is still in */
	put(slow, "Host: x\r\n\r\n");
	assert_int_equal(take(slow, answer), 0);
	assert_memory_equal(answer, "HTTP/1.1 529 ", 13);
	assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\nnew");
	wait_open(&f, 0);
	fallback_server_sweep(f.server);
	assert_int_equal(fallback_server_listen(f.server, &f.ep, NULL), 0);
	ask(&f, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer);
	assert_memory_equal(answer, "HTTP/1.1 529 ", 13);
	end(&f);
}

static void test_refusing_resets_every_connection(void **state)
{
	char answer[ANSWER_MAX];
	struct fixture f;

	(void)state;
	start(&f, 100, 0);
	assert_int_equal(fallback_server_refuse(f.server, &f.ep), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(take(connect_to(&f.ep), answer), -ECONNRESET);
		assert_string_equal(answer, "");
	}
	assert_int_equal(fallback_server_listen(f.server, &f.ep, NULL), 0);
	ask(&f, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer);
	assert_memory_equal(answer, "HTTP/1.1 503 ", 13);
	end(&f);
}

static void test_an_address_in_use_is_an_error_and_nothing_more(void **state)
{
	struct fixture f;
	struct fallback_server *other;
	struct fallback_server_settings settings = {.connections = 10, .now_ms = now_ms};

	(void)state;
	start(&f, 100, 0);
	settings.board = f.board;
	assert_int_equal(fallback_server_new(&settings, &other), 0);
	assert_int_equal(fallback_server_listen(other, &f.ep, NULL), -EADDRINUSE);
	assert_false(fallback_server_listens(other, &f.ep));
	fallback_server_free(&other);
	end(&f);
}

static void test_a_bad_certificate_is_refused_and_what_was_stays(void **state)
{
	struct fallback_tls tls = {.certificate = "no", .key = "no"};
	char answer[ANSWER_MAX];
	struct fixture f;

	(void)state;
	start(&f, 100, 0);
	assert_int_equal(fallback_server_listen(f.server, &f.ep, &tls), -EKEYREJECTED);
	ask(&f, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer);
	assert_memory_equal(answer, "HTTP/1.1 503 ", 13);
	end(&f);
}

static void test_the_end_of_the_server_ends_its_connections(void **state)
{
	char answer[ANSWER_MAX];
	struct fixture f;
	int fd;

	(void)state;
	start(&f, 100, 0);
	fd = connect_to(&f.ep);
	put(fd, "GET /");
	wait_open(&f, 1);
	end(&f);
	(void)take(fd, answer);
	assert_string_equal(answer, "");
}

/* --- a host whose threads get no processor ----------------------------------------------------- */

/* While set, threads that are about to answer wait; how many do. */
static bool starved;
static uint32_t n_waiting;

/* The clock, which an answer asks for as soon as its request is read. */
static int64_t now_ms_of_the_starved(void)
{
	char name[16] = "";

	(void)prctl(PR_GET_NAME, name);
	if (gettid() != getpid() && strcmp(name, "fallback")) {
		__atomic_fetch_add(&n_waiting, 1, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(&starved, __ATOMIC_SEQ_CST))
			usleep(1000);
		__atomic_fetch_sub(&n_waiting, 1, __ATOMIC_SEQ_CST);
	}
	return now_ms();
}

static void wait_for_threads(uint32_t n)
{
	for (int i = 0; i < 2000 && __atomic_load_n(&n_waiting, __ATOMIC_SEQ_CST) < n; i++)
		usleep(5000);
	assert_int_equal(__atomic_load_n(&n_waiting, __ATOMIC_SEQ_CST), n);
}

static void test_a_request_that_lies_unread_is_no_silence(void **state)
{
	struct fallback_server_settings limits = {
		.connections = 100, .lifetime_ms = 1500, .silence_ms = 1000,
		.now_ms = now_ms_of_the_starved};
	char answer[ANSWER_MAX];
	struct fixture f;
	int fds[40];

	(void)state;
	start_with(&f, limits);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = connect_to(&f.ep);
	wait_open(&f, ARRAY_SIZE(fds));
	__atomic_store_n(&starved, true, __ATOMIC_SEQ_CST);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		put(fds[i], "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
		if (i == ARRAY_SIZE(fds) / 2)
			wait_for_threads(FALLBACK_THREADS);
	}
	usleep(3000000); /* longer than silence and lifetime */
	__atomic_store_n(&starved, false, __ATOMIC_SEQ_CST);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		assert_int_equal(take(fds[i], answer), 0);
		assert_memory_equal(answer, "HTTP/1.1 503 ", 13);
	}
	wait_open(&f, 0);
	end(&f);
}

static void test_a_silent_client_is_cut_off(void **state)
{
	struct fallback_server_settings limits = {
		.connections = 100, .silence_ms = 1000, .now_ms = now_ms};
	struct fallback_server_stats s;
	char answer[ANSWER_MAX];
	struct fixture f;
	int64_t began;
	int fds[3];

	(void)state;
	start_with(&f, limits);
	began = now_ms();
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = connect_to(&f.ep);
	put(fds[1], "GET / HT");
	put(fds[2], "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhel");
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		(void)take(fds[i], answer);
		assert_string_equal(answer, "");
	}
	assert_in_range(now_ms() - began, 900, 15000);
	fallback_server_stats(f.server, &s);
	assert_int_equal(s.expired, 3);
	wait_open(&f, 0);
	end(&f);
}

/* What it says after its request keeps lying there, unread. */
static void test_a_client_that_takes_no_answer_is_cut_off(void **state)
{
	const size_t len = 16 << 20; /* more than the kernel keeps for it */
	_cleanup_free_ char *body = calloc(1, len + 1);
	struct fallback_server_stats s = {0};
	struct fixture f;
	int fd, size = 4096;

	(void)state;
	start(&f, 100, 2000);
	memset(body, 'x', len);
	set_site(&f, 503, body);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	connect_fd(fd, &f.ep);
	put(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	usleep(300000);
	put(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	for (int i = 0; i < 1000 && !s.expired; i++) {
		usleep(10000);
		fallback_server_stats(f.server, &s);
	}
	assert_int_equal(s.expired, 1);
	wait_open(&f, 0);
	close(fd);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_request_is_answered_and_its_connection_closed),
		cmocka_unit_test(test_the_target_is_compared_as_the_client_wrote_it),
		cmocka_unit_test(test_a_long_body_is_read_so_that_the_answer_is_not_a_reset),
		cmocka_unit_test(test_a_body_in_chunks_is_read_too),
		cmocka_unit_test(test_a_client_that_asks_first_need_not_send_its_body),
		cmocka_unit_test(test_what_is_not_http_ends_without_harm),
		cmocka_unit_test(test_a_header_that_does_not_end_is_refused),
		cmocka_unit_test(test_a_client_that_drips_is_cut_off),
		cmocka_unit_test(test_a_request_that_lies_unread_is_no_silence),
		cmocka_unit_test(test_a_silent_client_is_cut_off),
		cmocka_unit_test(test_a_client_that_takes_no_answer_is_cut_off),
		cmocka_unit_test(test_more_connections_than_allowed_are_closed_at_once),
		cmocka_unit_test(test_new_answers_hold_at_once_and_old_listeners_leave_no_one_behind),
		cmocka_unit_test(test_refusing_resets_every_connection),
		cmocka_unit_test(test_an_address_in_use_is_an_error_and_nothing_more),
		cmocka_unit_test(test_a_bad_certificate_is_refused_and_what_was_stays),
		cmocka_unit_test(test_the_end_of_the_server_ends_its_connections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
