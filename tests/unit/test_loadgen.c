// SPDX-License-Identifier: BSD-2-Clause
/*
 * loadgen as a whole against a server that plays a script: each way a connection can end badly must
 * be seen, named and counted, and the exit status must follow.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tools/loadgen/check.c"
#include "tools/loadgen/http.c"
#include "tools/loadgen/stats.c"
#include "tools/lib/option_value.c"
#include "tools/loadgen/options.c"
#include "tools/loadgen/output.c"
#define event client_event
#define body  client_body
#include "tools/loadgen/client.c"
#undef event
#undef body
#define main loadgen_main
#include "tools/loadgen/main.c"
#undef main

enum then {
	THEN_CLOSE = 1,
	THEN_RESET,
	THEN_HOLD, /* say nothing more */
	THEN_INTERRUPT, /* the same, and SIGINT to loadgen */
	THEN_ENOUGH, /* close, and SIGUSR1 to loadgen */
};

/* What the server plays on one connection. */
struct act {
	const char *text;
	enum then then;
};

#define HEAD(backend, type)                                                                        \
	"HTTP/1.1 200 OK\r\nx-backend: " backend "\r\nContent-Type: " type                         \
	"\r\nConnection: close\r\n"
#define PAGE(backend) HEAD(backend, "application/json") "\r\n{\"backend\":\"" backend "\"}"
#define STREAM_HEAD   HEAD("a", "text/event-stream") "Transfer-Encoding: chunked\r\n\r\n"
#define TOKEN_A(n)    "2b\r\ndata: {\"backend\":\"a\",\"text\":\" " #n "\"        }\n\n\r\n"
#define TOKEN_B(n)    "2b\r\ndata: {\"backend\":\"b\",\"text\":\" " #n "\"        }\n\n\r\n"
#define STREAM_END    "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"

/* ---- the server in a child: connection k gets act k modulo n ---- */

static void read_request(int fd)
{
	char buf[4096];
	size_t len = 0;

	while (len < sizeof(buf) - 1) {
		ssize_t n = recv(fd, buf + len, sizeof(buf) - 1 - len, 0);

		if (n <= 0)
			return;
		len += (size_t)n;
		buf[len] = '\0';
		if (strstr(buf, "\r\n\r\n") && (buf[0] == 'G' || buf[len - 1] == '}'))
			return;
	}
}

static void play(int fd, const struct act *act)
{
	struct linger abort_it = {.l_onoff = 1, .l_linger = 0};

	read_request(fd);
	if (send(fd, act->text, strlen(act->text), MSG_NOSIGNAL) < 0)
		_exit(5);
	if (act->then == THEN_INTERRUPT)
		kill(getppid(), SIGINT);
	if (act->then == THEN_ENOUGH)
		kill(getppid(), SIGUSR1);
	if (act->then == THEN_HOLD || act->then == THEN_INTERRUPT)
		return; /* open until this process ends */
	if (act->then == THEN_RESET) {
		usleep(20000); /* what was sent must be read before the reset discards it */
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort_it, sizeof(abort_it));
	}
	close(fd);
}

static pid_t start_script(const struct act *acts, size_t n_acts, uint16_t *ret_port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	pid_t pid;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 512), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	*ret_port = ntohs(addr.sin_port);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (size_t k = 0;; k++)
			play(accept(fd, NULL, NULL), &acts[k % n_acts]);
	}
	close(fd);
	return pid;
}

static void stop_script(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* ---- loadgen in this process ---- */

static char dir[] = "/tmp/sluice-loadgen-XXXXXX";

static const char *in_dir(const char *name)
{
	static char paths[4][64];
	static unsigned int turn;
	char *path = paths[turn++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

/* words: the command line, by spaces. Returns the exit status. */
static int loadgen(const char *words)
{
	char *argv[32] = {"loadgen"};
	char *copy = strdup(words);
	char *save = NULL;
	int argc = 1;
	int status;

	for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save))
		argv[argc++] = p;
	optind = 0;
	interrupted = 0;
	no_more = 0;
	status = loadgen_main(argc, argv);
	free(copy);
	return status;
}

static json_t *report_json(void)
{
	json_t *root = json_load_file(in_dir("report.json"), 0, NULL);

	assert_non_null(root);
	return root;
}

static int number(const json_t *root, const char *key)
{
	return (int)json_integer_value(json_object_get(root, key));
}

/* Run against a script; the report is the caller's. */
static json_t *run_script(const struct act *acts, size_t n_acts, const char *mode,
			  const char *options, int *ret_status)
{
	char words[512];
	uint16_t port;
	pid_t pid = start_script(acts, n_acts, &port);

	snprintf(words, sizeof(words),
		 "%s http://127.0.0.1:%u %s --quiet --json %s --events %s --series %s", mode, port,
		 options, in_dir("report.json"), in_dir("events"), in_dir("series"));
	*ret_status = loadgen(words);
	stop_script(pid);
	return report_json();
}

static size_t count_lines(const char *path)
{
	FILE *f = fopen(path, "re");
	size_t n = 0;
	int c;

	assert_non_null(f);
	while ((c = fgetc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

/* ---- tests ---- */

static void right_answers_are_counted_by_backend(void **state)
{
	static const struct act acts[] = {
		{PAGE("a"), THEN_CLOSE},
		{PAGE("a"), THEN_CLOSE},
		{PAGE("b"), THEN_CLOSE},
	};
	json_t *report, *backends;
	int status;

	(void)state;
	report = run_script(acts, 3, "spread", "--count 300 --concurrency 20", &status);
	backends = json_object_get(report, "by_backend");
	assert_int_equal(status, 0);
	assert_int_equal(number(report, "started"), 300);
	assert_int_equal(number(report, "completed"), 300);
	assert_int_equal(number(report, "failed") + number(report, "broken"), 0);
	assert_in_range(number(report, "active_max"), 1, 20);
	assert_int_equal(number(json_object_get(backends, "a"), "completed"), 200);
	assert_int_equal(number(json_object_get(backends, "b"), "started"), 100);
	assert_int_equal(count_lines(in_dir("series")), 300);
	assert_int_equal(count_lines(in_dir("events")), 0);
	json_decref(report);
}

struct end_case {
	const char *name;
	const char *mode;
	struct act act;
	const char *cause;
	const char *stage;
	bool broken; /* or failed */
};

static const struct end_case ends[] = {
	{"a reset before the head", "spread", {"", THEN_RESET}, "reset", "head", false},
	{"an end before the head",
	 "spread",
	 {"HTTP/1.1 200", THEN_CLOSE},
	 "eof_early",
	 "head",
	 false},
	{"silence before the head", "spread", {"", THEN_HOLD}, "silence", "head", false},
	{"another status",
	 "spread",
	 {"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", THEN_CLOSE},
	 "status",
	 "head",
	 false},
	{"not HTTP", "spread", {"220 smtp.example.org\r\n", THEN_HOLD}, "bad_http", "head", false},
	{"a body that is not JSON",
	 "spread",
	 {HEAD("a", "x") "\r\nhello", THEN_CLOSE},
	 "wrong_body",
	 "body",
	 true},
	{"a body cut off",
	 "spread",
	 {HEAD("a", "x") "Content-Length: 90\r\n\r\n{", THEN_CLOSE},
	 "eof_early",
	 "body",
	 true},
	{"a name that differs",
	 "spread",
	 {HEAD("a", "x") "\r\n{\"backend\":\"b\"}", THEN_CLOSE},
	 "wrong_body",
	 "body",
	 true},
	{"a stream reset in the middle",
	 "stream --tokens 3",
	 {STREAM_HEAD TOKEN_A(0) TOKEN_A(1), THEN_RESET},
	 "reset",
	 "body",
	 true},
	{"a stream cut off in the middle",
	 "stream --tokens 3",
	 {STREAM_HEAD TOKEN_A(0) TOKEN_A(1), THEN_CLOSE},
	 "eof_early",
	 "body",
	 true},
	{"a stream that falls silent",
	 "stream --tokens 3",
	 {STREAM_HEAD TOKEN_A(0) TOKEN_A(1), THEN_HOLD},
	 "silence",
	 "body",
	 true},
	{"a stream that lost a token",
	 "stream --tokens 3",
	 {STREAM_HEAD TOKEN_A(0) TOKEN_A(2) STREAM_END, THEN_CLOSE},
	 "gap",
	 "body",
	 true},
	{"a stream that ends too soon",
	 "stream --tokens 3",
	 {STREAM_HEAD TOKEN_A(0) TOKEN_A(1) STREAM_END, THEN_CLOSE},
	 "gap",
	 "body",
	 true},
	{"a stream that changes its backend",
	 "stream --tokens 3",
	 {STREAM_HEAD TOKEN_A(0) TOKEN_B(1), THEN_HOLD},
	 "backend_changed",
	 "body",
	 true},
	{"a stream whose last chunk is missing",
	 "stream --tokens 1",
	 {STREAM_HEAD TOKEN_A(0) "e\r\ndata: [DONE]\n\n\r\n", THEN_CLOSE},
	 "eof_early",
	 "body",
	 true},
};

static void check_event(const struct end_case *c)
{
	json_t *line = json_load_file(in_dir("events"), 0, NULL);
	const char *local, *cause, *stage;

	assert_int_equal(json_unpack(line, "{s:s,s:s,s:s}", "local", &local, "cause", &cause,
				     "stage", &stage),
			 0);
	if (strcmp(cause, c->cause) || strcmp(stage, c->stage))
		fail_msg("%s: %s in %s", c->name, cause, stage);
	assert_int_equal(strncmp(local, "127.0.0.1:", 10), 0);
	if (c->broken)
		assert_string_equal(json_string_value(json_object_get(line, "backend")), "a");
	else
		assert_true(json_is_null(json_object_get(line, "backend")));
	json_decref(line);
}

static void each_bad_end_has_its_cause(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		const struct end_case *c = &ends[i];
		json_t *report;
		int status;

		report = run_script(&c->act, 1, c->mode,
				    c->act.then == THEN_HOLD ? "--count 1 --silence 0.1"
							     : "--count 1 --silence 5",
				    &status);
		if (status != 1 || number(report, "broken") != c->broken ||
		    number(report, "failed") != !c->broken || number(report, "completed"))
			fail_msg("%s: status %d, %d broken, %d failed", c->name, status,
				 number(report, "broken"), number(report, "failed"));
		assert_int_equal(number(json_object_get(report, "causes"), c->cause), 1);
		check_event(c);
		json_decref(report);
	}
}

static void whole_streams_are_right_and_replaced_when_they_end(void **state)
{
	static const struct act acts[] = {
		{STREAM_HEAD TOKEN_A(0) TOKEN_A(1) STREAM_END, THEN_CLOSE},
	};
	json_t *report;
	int status;

	(void)state;
	report = run_script(acts, 1, "stream",
			    "--tokens 2 --concurrency 3 --duration 0.3 --rate 200", &status);
	assert_int_equal(status, 0);
	assert_true(number(report, "completed") > 3);
	assert_int_equal(number(report, "completed"), number(report, "started"));
	assert_int_equal(number(report, "tokens"), 2 * number(report, "completed"));
	assert_in_range(number(report, "active_max"), 1, 3);
	json_decref(report);
}

static void steady_keeps_its_rate(void **state)
{
	static const struct act acts[] = {{PAGE("a"), THEN_CLOSE}};
	json_t *report;
	int status;

	(void)state;
	report = run_script(acts, 1, "steady", "--rate 100 --duration 0.5", &status);
	assert_int_equal(status, 0);
	/* What a busy machine made us miss is told. */
	assert_in_range(number(report, "started") + number(report, "behind"), 45, 55);
	json_decref(report);
}

static void a_limit_on_concurrency_shows_as_behind(void **state)
{
	static const struct act acts[] = {{"", THEN_HOLD}};
	json_t *report;
	int status;

	(void)state;
	report = run_script(acts, 1, "steady",
			    "--rate 100 --duration 2 --concurrency 5 --grace 0", &status);
	assert_int_equal(status, 0);
	assert_int_equal(number(report, "started"), 5);
	assert_int_equal(number(report, "unfinished"), 5);
	assert_int_equal(number(report, "behind"), 195);
	json_decref(report);
}

static void allowed_failures_are_a_success(void **state)
{
	static const struct act acts[] = {{PAGE("a"), THEN_CLOSE}, {"", THEN_CLOSE}};
	json_t *report;
	int status;

	(void)state;
	report = run_script(acts, 2, "spread", "--count 10 --allow 5", &status);
	assert_int_equal(status, 0);
	assert_int_equal(number(report, "failed"), 5);
	json_decref(report);
	report = run_script(acts, 2, "spread", "--count 10 --allow 4", &status);
	assert_int_equal(status, 1);
	json_decref(report);
}

static void a_closed_port_is_refused(void **state)
{
	static const struct act acts[] = {{"", THEN_CLOSE}};
	char words[256];
	uint16_t port;
	json_t *report;

	(void)state;
	stop_script(start_script(acts, 1, &port));
	snprintf(words, sizeof(words), "spread http://127.0.0.1:%u --count 3 --quiet --json %s",
		 port, in_dir("report.json"));
	assert_int_equal(loadgen(words), 1);
	report = report_json();
	assert_int_equal(number(json_object_get(report, "causes"), "connect_refused"), 3);
	json_decref(report);
}

static void an_interrupt_reports_what_was_done(void **state)
{
	static const struct act acts[] = {{PAGE("a"), THEN_CLOSE}, {"", THEN_INTERRUPT}};
	json_t *report;
	int status;

	(void)state;
	report = run_script(acts, 2, "spread", "--count 2 --concurrency 1", &status);
	assert_int_equal(status, 0);
	assert_true(json_is_true(json_object_get(report, "interrupted")));
	assert_int_equal(number(report, "completed"), 1);
	assert_int_equal(number(report, "unfinished"), 1);
	json_decref(report);
}

static void usr1_lets_open_connections_finish(void **state)
{
	static const struct act acts[] = {
		{PAGE("a"), THEN_CLOSE}, {PAGE("a"), THEN_CLOSE}, {PAGE("a"), THEN_ENOUGH}};
	json_t *report;
	int status;

	(void)state;
	report = run_script(acts, 3, "steady", "--rate 50 --duration 60", &status);
	assert_int_equal(status, 0);
	assert_true(json_is_false(json_object_get(report, "interrupted")));
	assert_in_range(number(report, "completed"), 3, 2000);
	assert_true(json_real_value(json_object_get(report, "seconds")) < 40);
	json_decref(report);
}

static void wrong_usage_is_status_2(void **state)
{
	static const char *const lines[] = {
		"",
		"flood http://127.0.0.1/",
		"spread",
		"spread ftp://127.0.0.1/",
		"spread http:///",
		"spread http://[::1/",
		"spread http://127.0.0.1:x/",
		"spread http://127.0.0.1:70000/",
		"spread http://127.0.0.1 --count 0",
		"spread http://127.0.0.1 --count 1e3",
		"spread http://127.0.0.1 --rate nan",
		"spread http://127.0.0.1 --source 127.0.0.300",
		"spread http://127.0.0.1 --source ::1",
		"spread http://127.0.0.1 --frequency 3",
		"spread http://127.0.0.1 --count",
		"stream http://127.0.0.1 --tokens 0",
	};
	int saved = dup(STDERR_FILENO);
	int null = open("/dev/null", O_WRONLY);

	(void)state;
	dup2(null, STDERR_FILENO);
	close(null);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		int status = loadgen(lines[i]);

		if (status != 2)
			fail_msg("\"%s\": status %d", lines[i], status);
	}
	dup2(saved, STDERR_FILENO);
	close(saved);
}

static void percentiles_are_within_their_bucket(void **state)
{
	static struct stats_latency l;

	(void)state;
	for (uint64_t us = 1; us <= 1000000; us++)
		stats_latency_add(&l, us);
	for (double p = 1; p < 100; p++) {
		double exact = p * 10.0; /* ms */
		double got = stats_latency_ms(&l, p);

		assert_true(got >= exact * 0.999 && got <= exact * 1.13);
	}
	assert_true(stats_latency_ms(&l, 100) == 1000.0);
	for (uint32_t i = 1; i < 200; i++)
		assert_int_equal(bucket(bucket_end(i) - 1), i);
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	static const char *const names[] = {"report.json", "events", "series"};

	(void)state;
	for (size_t i = 0; i < 3; i++)
		(void)unlink(in_dir(names[i]));
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(right_answers_are_counted_by_backend),
		cmocka_unit_test(each_bad_end_has_its_cause),
		cmocka_unit_test(whole_streams_are_right_and_replaced_when_they_end),
		cmocka_unit_test(steady_keeps_its_rate),
		cmocka_unit_test(a_limit_on_concurrency_shows_as_behind),
		cmocka_unit_test(allowed_failures_are_a_success),
		cmocka_unit_test(a_closed_port_is_refused),
		cmocka_unit_test(an_interrupt_reports_what_was_done),
		cmocka_unit_test(usr1_lets_open_connections_finish),
		cmocka_unit_test(wrong_usage_is_status_2),
		cmocka_unit_test(percentiles_are_within_their_bucket),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
