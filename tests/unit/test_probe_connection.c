/* SPDX-License-Identifier: BSD-2-Clause */
/* Probes: connections that fail or end, HTTP/2, IPv6, TLS. */
#include <fcntl.h>
#include <linux/sockios.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/lib/raw_http2.h"
#include "tests/unit/probe_bed.h"

extern char **environ;

/* --- connections that fail -------------------------------------------------------------------- */

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

	be_hasty(&spec);
	spec.http.scheme = scheme;
	spec.target.port = full_port(fds);
	probe_it(bed, &spec);
	run_until(bed, 1);
	close_all(fds);
	assert_int_equal(bed->seen[0].outcome, PROBE_CONNECT_TIMEOUT);
	assert_string_equal(bed->seen[0].cause, "nothing acknowledged within 300 ms");
	took_ms = bed->seen[0].now_ms - bed->seen[0].started_ms;
	assert_in_range(took_ms, 290, LIMIT_MS);
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
	usleep((PROBE_STALL_MS + 200) * 1000); /* a loop that is late is not the cause */
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
	assert_null(strstr(bed->seen[0].cause, "held up"));
	assert_int_equal(bed->seen[1].outcome, PROBE_LOCAL);
	assert_non_null(strstr(bed->seen[1].cause, "Too many open files"));
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
	assert_in_range(bed->seen[1].now_ms - stopped_ms, 0, spec.interval_ms / 4);
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
	spec.interval_ms = 1000;
	probe_it(bed, &spec);
	run_until(bed, 3);
	probe_engine_stats(bed->engine, &stats);
	assert_int_equal(stats.woken, 1);
	assert_true(bed->seen[2].started_ms - bed->seen[1].started_ms >= 999);
	for (i = 0; i < bed->n; i++)
		assert_int_equal(bed->seen[i].outcome, PROBE_PASS);
}

static void serve_two_answers(struct raw_conn *conn)
{
	while (raw_read_request(conn))
		if (!raw_print(conn, OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"))
			return;
}

static void answer_sent_twice(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;
	unsigned int i;

	serve(bed, serve_two_answers, NULL);
	spec = spec_of(bed);
	spec.interval_ms = 60;
	probe_it(bed, &spec);
	run_until(bed, 5);
	for (i = 0; i < 5; i++) {
		assert_int_equal(bed->seen[i].outcome, PROBE_PASS);
		assert_string_equal(bed->seen[i].body, "");
	}
}

/* Into the connection that the bed's server has got last; it has arrived on return. */
static void forge_answer(struct bed *bed)
{
	struct raw_conn *conn = bed->server.conns[atomic_load(&bed->server.n_conns) - 1];
	int unread = 1;

	raw_print(conn, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged");
	for (int i = 0; i < 1000 && unread; i++) {
		if (ioctl(conn->fd, SIOCOUTQ, &unread) < 0)
			unread = 0;
		if (unread)
			usleep(1000);
	}
}

/* Between two probes: the loop sees it when it comes, or only when the next is due. */
static void answer_nobody_asked_for(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;
	unsigned int i;

	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	spec.interval_ms = 60000;
	probe_it(bed, &spec);
	for (i = 0; i < 6; i++) {
		run_until(bed, i + 1);
		assert_int_equal(bed->seen[i].outcome, PROBE_PASS);
		assert_string_equal(bed->seen[i].body, "");
		forge_answer(bed);
		if (i % 2)
			run_ms(bed, 30);
		probe_again(bed->probe, 0);
	}
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

/* --- HTTP/2, IPv6 ----------------------------------------------------------------------------- */

static void http2_by_prior_knowledge(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, raw_serve_http2, NULL);
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
	run_until_started(bed, 1);
	conn = accept(fd, NULL, NULL);
	assert_true(conn >= 0);
	for (int i = 0; i < 1000 && !request[0]; i++) {
		run_ms(bed, 10);
		(void)!recv(conn, request, sizeof(request) - 1, MSG_DONTWAIT);
	}
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

static void copy_to(const char *from, const char *to)
{
	char buf[8192], tmp[64];
	FILE *f = fopen(from, "re");
	size_t n;

	assert_non_null(f);
	n = fread(buf, 1, sizeof(buf), f);
	fclose(f);
	snprintf(tmp, sizeof(tmp), "%s.new", to);
	f = fopen(tmp, "we");
	assert_non_null(f);
	assert_int_equal(fwrite(buf, 1, n, f), n);
	fclose(f);
	assert_int_equal(rename(tmp, to), 0);
}

/* The server closes after each answer, so every probe is a new connection. */
static void tls_ca_file_that_is_replaced_counts(void **state)
{
	char path[] = "/tmp/test_probe_ca.XXXXXX";
	struct bed *bed = *state;
	struct tls_server server;
	struct probe_spec spec;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);
	if (!tls_start(&server, (const char *const[]){NULL})) {
		unlink(path);
		skip(); /* no openssl */
	}
	copy_to(TLS_DIR "client.pem", path); /* no authority of the node's */
	spec = spec_of(bed);
	spec.target.port = server.port;
	spec.http = (struct config_http){.ca_file = path, .verify = true,
					 .scheme = CONFIG_SCHEME_HTTPS};
	spec.body_max = 65536;
	probe_it(bed, &spec);
	run_until(bed, 2);
	assert_int_equal(bed->seen[1].outcome, PROBE_TLS);
	copy_to(TLS_DIR "ca.pem", path);
	run_until_outcome(bed, PROBE_PASS);
	tls_stop(&server);
	unlink(path);
}

static void tls_to_a_server_without(void **state)
{
	static const struct script no_tls = {"HTTP/1.1 400 Bad Request\r\n\r\n", AFTER_CLOSE};
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_endless, &no_tls);
	spec = spec_of(bed);
	spec.http.scheme = CONFIG_SCHEME_HTTPS;
	be_hasty(&spec);
	probe_it(bed, &spec);
	run_until(bed, 1);
	/* It waits for the end of a request that never comes. */
	assert_int_equal(bed->seen[0].outcome, PROBE_TIMEOUT);
	stop_serving(bed);
	serve(bed, serve_before_request, NULL);
	spec = spec_of(bed);
	spec.http.scheme = CONFIG_SCHEME_HTTPS;
	assert_int_equal(probe_update(bed->probe, &spec), 0);
	run_until(bed, 2);
	assert_int_equal(bed->seen[1].outcome, PROBE_TLS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_BOTH(refused_http),
		TEST(refused_tcp),
		TEST_BOTH(connect_timeout_http),
		TEST(connect_timeout_tcp),
		TEST_BOTH(unreachable_http),
		TEST(unreachable_tcp),
		TEST(tcp_passes),
		TEST_BOTH(no_descriptors_is_local),
		TEST_BOTH(end_of_a_kept_connection_is_noticed_at_once),
		TEST_BOTH(idle_close_by_habit_is_not_chased),
		TEST_BOTH(answer_sent_twice),
		TEST_BOTH(answer_nobody_asked_for),
		TEST_BOTH(connection_close_is_obeyed),
		TEST_BOTH(restart_of_the_server_is_no_failure),
		TEST(http2_by_prior_knowledge),
		TEST(http2_to_a_server_of_http1),
		TEST_BOTH(ipv6_is_asked_by_its_address),
		TEST(tls_to_a_server_without),
		cmocka_unit_test(tls_is_judged),
		TEST(tls_ca_file_that_is_replaced_counts),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
