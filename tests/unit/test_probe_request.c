/* SPDX-License-Identifier: BSD-2-Clause */
/* Probes: what is sent, what of a body is kept, what a configuration makes of both. */
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/probe_bed.h"

/* --- bodies ----------------------------------------------------------------------------------- */

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
	run_until_outcome(bed, PROBE_PASS);
	assert_non_null(
		strstr(bed->server.conns[0]->request, "\r\nAuthorization: Bearer first-token\r\n"));
	write_file(path, "  second \r\n");
	for (unsigned int i = 0; i < 1000 && strstr(bed->server.conns[0]->request, "first"); i++)
		run_until(bed, bed->n + 1);
	assert_non_null(
		strstr(bed->server.conns[0]->request, "\r\nAuthorization: Bearer second\r\n"));
	write_file(path, "\n");
	run_until_outcome(bed, PROBE_LOCAL);
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

/* --- specs from the configuration ------------------------------------------------------------- */

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_BOTH(stream_gets_every_byte_once),
		TEST_BOTH(stream_gets_no_error_page),
		TEST_BOTH(stream_refused_is_bad_body),
		TEST_BOTH(body_limit_is_exact),
		TEST_BOTH(request_is_plain),
		TEST_BOTH(host_header_is_configured),
		TEST_BOTH(bearer_token_follows_its_file),
		TEST_BOTH(token_stays_with_its_probe),
		TEST(spec_of_a_node),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
