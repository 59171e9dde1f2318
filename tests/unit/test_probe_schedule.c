/* SPDX-License-Identifier: BSD-2-Clause */
/* Probes: when they start, and what may be done to them while they are under way. */
#include <malloc.h>

#include "tests/unit/probe_bed.h"

/* --- schedule --------------------------------------------------------------------------------- */

static void interval_and_jitter_hold(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;
	int64_t least = INT64_MAX, most = 0, due_ms = 0;
	unsigned int i, n;

	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	spec.interval_ms = 40;
	spec.jitter_ratio = 0.25;
	probe_it(bed, &spec);
	for (i = n = 0; n < 40; i++) {
		const struct seen *s = &bed->seen[i];
		int64_t gap;

		run_until(bed, i + 1);
		assert_true(s->started_ms >= due_ms); /* and as late as a busy machine likes */
		due_ms = bed->probe->due.at_ms;
		gap = due_ms - s->started_ms;
		if (bed->n_in_flight || s->now_ms - s->started_ms > 20) {
			due_ms = 0; /* the next is under way, or is put off by this one's end */
			continue;
		}
		assert_in_range(gap, 30, 50);
		least = gap < least ? gap : least;
		most = gap > most ? gap : most;
		n++;
	}
	/* Both sides are used; by chance one is not once in 10^10 times. */
	assert_true(least < 39 && most > 41);
}

static void one_connection_is_kept(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;
	unsigned int i;

	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	spec.interval_ms = 10;
	probe_it(bed, &spec);
	run_until(bed, 20);
	assert_int_equal(atomic_load(&bed->server.n_conns), 1);
	assert_false(bed->seen[0].reused);
	assert_true(bed->seen[0].connect_us > 0);
	for (i = 1; i < 20; i++) {
		assert_true(bed->seen[i].reused);
		assert_int_equal(bed->seen[i].connect_us, 0);
		assert_true(bed->seen[i].rtt_us > 0);
	}
}

/* Longer than the interval: the next waits for it, and does not pile up. */
static void one_probe_is_in_flight(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_silence, NULL);
	spec = spec_of(bed);
	spec.interval_ms = 20;
	be_hasty(&spec);
	spec.timeout_ms = 100;
	probe_it(bed, &spec);
	run_until(bed, 5);
	assert_int_equal(bed->max_in_flight, 1);
	assert_int_equal(bed->n_starts, 5);
	assert_true(bed->seen[4].started_ms - bed->seen[0].started_ms >= 4 * 100);
}

static void again_comes_sooner(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	spec.interval_ms = 60000;
	probe_it(bed, &spec);
	run_until(bed, 1);
	probe_again(bed->probe, 30);
	run_until(bed, 2);
	assert_in_range(bed->seen[1].started_ms - bed->seen[0].now_ms, 29, LIMIT_MS);
	probe_again(bed->probe, 0);
	run_until(bed, 3);
	assert_in_range(bed->seen[2].started_ms - bed->seen[1].now_ms, 0, LIMIT_MS);
	run_ms(bed, 100);
	assert_int_equal(bed->n, 3); /* once, and then by the interval again */
}

static void act_again(struct bed *bed)
{
	if (bed->n < 4)
		probe_again(bed->probe, 5);
}

static void again_within_the_result(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec = spec_of(bed);

	spec.target.port = dead_port();
	spec.interval_ms = 60000;
	bed->act = act_again;
	probe_it(bed, &spec);
	run_until(bed, 4);
	assert_true(bed->seen[3].started_ms - bed->seen[0].started_ms >= 15);
	run_ms(bed, 50);
	assert_int_equal(bed->n, 4);
}

static void again_while_in_flight_waits_for_its_end(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_silence, NULL);
	spec = spec_of(bed);
	spec.interval_ms = 60000;
	be_hasty(&spec);
	spec.timeout_ms = 100;
	bed->wants_held_up = true;
	probe_it(bed, &spec);
	run_until_started(bed, 1);
	probe_again(bed->probe, 0);
	run_until(bed, 2);
	assert_int_equal(bed->max_in_flight, 1);
	assert_in_range(bed->seen[1].started_ms - bed->seen[0].now_ms, 0, LIMIT_MS);
}

static void pause_drops_and_resume_starts(void **state)
{
	struct bed *bed = *state;
	struct probe_stats stats;
	struct probe_spec spec;

	serve(bed, serve_silence, NULL);
	spec = spec_of(bed);
	be_hasty(&spec);
	probe_it(bed, &spec);
	run_until_started(bed, 1);
	probe_pause(bed->probe);
	probe_pause(bed->probe);
	probe_engine_stats(bed->engine, &stats);
	assert_int_equal(stats.in_flight, 0);
	run_ms(bed, 1300);
	assert_int_equal(bed->n, 0);
	assert_int_equal(bed->n_starts, 1);
	probe_again(bed->probe, 0);
	run_ms(bed, 30);
	assert_int_equal(bed->n_starts, 1);
	probe_resume(bed->probe);
	probe_resume(bed->probe);
	run_until_started(bed, 2);
}

enum { MANY = 3200, SPAN_MS = 1600 };

/* Probes of as many targets, at once: in an eighth of their interval. Returns when that began. */
static int64_t make_many(struct bed *bed, struct probe *probes[MANY])
{
	struct probe_spec spec = spec_of(bed);

	spec.target.port = dead_port();
	spec.interval_ms = SPAN_MS;
	for (;;) {
		int64_t begin = mono_ms();

		for (unsigned int i = 0; i < MANY; i++) {
			spec.target.addr.v4.s_addr = htonl(0x7f000001 + i * 256);
			assert_int_equal(probe_new(bed->engine, &spec, &ops, bed, &probes[i]), 0);
		}
		if (mono_ms() - begin <= SPAN_MS / 8)
			return begin;
		for (unsigned int i = 0; i < MANY; i++)
			probe_free(&probes[i]);
	}
}

static void first_starts_are_spread(void **state)
{
	struct bed *bed = *state;
	struct probe *probes[MANY];
	unsigned int quarter[4] = {0}, i;
	int64_t begin = make_many(bed, probes);

	for (i = 0; i < MANY; i++) {
		int64_t at = probes[i]->due.at_ms - begin;

		if (at >= 0 && at < SPAN_MS)
			quarter[at * 4 / SPAN_MS]++;
	}
	run_until(bed, MANY);
	for (i = 0; i < MANY; i++)
		probe_free(&probes[i]);
	for (i = 0; i < 4; i++)
		assert_in_range(quarter[i], MANY / 16, MANY / 2);
}

/* Milliseconds that this loop itself lost must not count against a node. */
static void a_stalled_loop_blames_nobody(void **state)
{
	struct bed *bed = *state;
	struct timespec stall = {.tv_sec = 2};
	struct probe_spec spec;

	serve(bed, serve_silence, NULL);
	spec = spec_of(bed);
	be_hasty(&spec);
	bed->wants_held_up = true;
	probe_it(bed, &spec);
	run_until_started(bed, 1);
	nanosleep(&stall, NULL);
	run_until(bed, 1);
	bed->wants_held_up = false;
	run_until(bed, 2);
	assert_int_equal(bed->seen[0].outcome, PROBE_LOCAL);
	assert_non_null(strstr(bed->seen[0].cause, "held up"));
	assert_int_equal(bed->seen[1].outcome, PROBE_TIMEOUT);
}

/* Seconds pass between the making of probes and the loop's first round; they say nothing about it. */
static void nothing_is_late_before_the_loop_runs(void **state)
{
	struct bed *bed = *state;
	struct probe_stats stats;
	struct probe_spec spec;

	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	spec.interval_ms = 60000;
	probe_it(bed, &spec);
	usleep(300000);
	run_until(bed, 1);
	probe_engine_stats(bed->engine, &stats);
	assert_int_equal(stats.late_max_ms, 0);
	probe_again(bed->probe, 0);
	usleep(300000);
	run_until(bed, 2);
	probe_engine_stats(bed->engine, &stats);
	assert_in_range(stats.late_max_ms, 299, LIMIT_MS);
}

/* --- lifetimes -------------------------------------------------------------------------------- */

static void free_probe(struct bed *bed)
{
	probe_free(&bed->probe);
}

static int free_probe_body(struct bed *bed)
{
	probe_free(&bed->probe);
	return 0;
}

static void freed_in_its_result(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_script, &hello);
	spec = spec_of(bed);
	bed->act = free_probe;
	probe_it(bed, &spec);
	run_until(bed, 1);
	run_ms(bed, 120);
	assert_int_equal(bed->n, 1);
}

static void freed_in_its_start(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	bed->act_start = free_probe;
	probe_it(bed, &spec);
	run_until_started(bed, 1);
	run_ms(bed, 120);
	assert_int_equal(bed->n_starts, 1);
	assert_int_equal(bed->n, 0);
}

static void freed_in_its_body(void **state)
{
	struct bed *bed = *state;
	struct probe_stats stats;
	struct probe_spec spec;

	serve(bed, serve_script, &hello);
	spec = spec_of(bed);
	spec.body = PROBE_BODY_STREAM;
	bed->act_body = free_probe_body;
	probe_it(bed, &spec);
	run_till(bed, &bed->streamed, 5);
	run_ms(bed, 120);
	assert_int_equal(bed->streamed, 5);
	assert_int_equal(bed->n, 0);
	probe_engine_stats(bed->engine, &stats);
	assert_int_equal(stats.in_flight, 0);
	assert_int_equal(stats.probes, 0);
}

static int pause_probe_body(struct bed *bed)
{
	probe_pause(bed->probe);
	return 0;
}

static void paused_in_its_body(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_script, &hello);
	spec = spec_of(bed);
	spec.body = PROBE_BODY_STREAM;
	bed->act_body = pause_probe_body;
	probe_it(bed, &spec);
	run_till(bed, &bed->streamed, 5);
	run_ms(bed, 120);
	assert_int_equal(bed->n, 0);
	bed->act_body = NULL;
	probe_resume(bed->probe);
	run_until(bed, 2);
	assert_int_equal(bed->seen[0].outcome, PROBE_PASS);
}

static void freed_while_connecting_and_waiting(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec = spec_of(bed);
	int fds[3];

	spec.target.port = full_port(fds);
	probe_it(bed, &spec);
	run_until_started(bed, 1);
	run_ms(bed, 30);
	probe_free(&bed->probe);
	spec.http.scheme = CONFIG_SCHEME_TCP;
	probe_it(bed, &spec);
	run_until_started(bed, 2);
	run_ms(bed, 30);
	probe_free(&bed->probe);
	close_all(fds);
	serve(bed, serve_silence, NULL);
	spec = spec_of(bed);
	probe_it(bed, &spec);
	run_until_started(bed, 3);
	run_ms(bed, 30);
	probe_free(&bed->probe);
	run_ms(bed, 30);
	assert_int_equal(bed->n, 0);
	assert_int_equal(bed->n_starts, 3);
}

static void engine_freed_in_flight(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_silence, NULL);
	spec = spec_of(bed);
	probe_it(bed, &spec);
	run_until_started(bed, 1);
	run_ms(bed, 30);
	probe_engine_free(&bed->engine);
	bed->probe = NULL;
	assert_int_equal(bed->n, 0);
}

static void freed_while_idle_then_closed(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	probe_it(bed, &spec);
	run_until(bed, 1);
	probe_free(&bed->probe);
	stop_serving(bed);
	run_ms(bed, 50);
	assert_int_equal(bed->n, 1);
}

static void update_of_limits_keeps_the_request(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_ok, NULL);
	spec = spec_of(bed);
	spec.interval_ms = 60000;
	probe_it(bed, &spec);
	run_until(bed, 1);
	spec.interval_ms = 30;
	spec.n_expect_status = 1;
	spec.expect_status[0].low = spec.expect_status[0].high = 201;
	assert_int_equal(probe_update(bed->probe, &spec), 0);
	run_until(bed, 3);
	assert_int_equal(bed->seen[1].outcome, PROBE_FAIL_STATUS);
	assert_true(bed->seen[1].reused);
	assert_in_range(bed->seen[2].started_ms - bed->seen[1].started_ms, 29, LIMIT_MS);
	spec.interval_ms = 0;
	assert_int_equal(probe_update(bed->probe, &spec), -EINVAL);
	run_until(bed, 4);
}

static void update_of_the_target_asks_anew(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;

	serve(bed, serve_silence, NULL);
	spec = spec_of(bed);
	probe_it(bed, &spec);
	run_until_started(bed, 1);
	spec.target.port = dead_port();
	assert_int_equal(probe_update(bed->probe, &spec), 0);
	run_until(bed, 1);
	assert_int_equal(bed->seen[0].outcome, PROBE_REFUSED);
	assert_int_equal(bed->n_starts, 2);
	spec.path = "no slash";
	assert_int_equal(probe_update(bed->probe, &spec), -EINVAL);
	run_until(bed, 2);
	spec.http.scheme = CONFIG_SCHEME_TCP;
	assert_int_equal(probe_update(bed->probe, &spec), 0);
	run_until(bed, 3);
	assert_int_equal(bed->seen[2].outcome, PROBE_REFUSED);
}

static void bad_specs_are_refused(void **state)
{
	struct bed *bed = *state;
	struct probe_spec good = spec_of(bed), spec;
	struct probe *p = NULL;
	unsigned int i;

	good.target.port = 80;
	for (i = 0; i < 14; i++) {
		spec = good;
		switch (i) {
		case 0:
			spec.target.port = 0;
			break;
		case 1:
			spec.target.addr.family = 0;
			break;
		case 2:
			spec.interval_ms = 0;
			break;
		case 3:
			spec.connect_timeout_ms = 0;
			break;
		case 4:
			spec.timeout_ms = -1;
			break;
		case 5:
			spec.jitter_ratio = 0.6;
			break;
		case 6:
			spec.jitter_ratio = -0.1;
			break;
		case 7:
			spec.http.scheme = 0;
			break;
		case 8:
			spec.path = NULL;
			break;
		case 9:
			spec.path = "health";
			break;
		case 10:
			spec.path = "/a b";
			break;
		case 11:
			spec.path = "/a\r\nX-Evil: 1";
			break;
		case 12:
			spec.http.host = "evil\r\nX: 1";
			break;
		case 13:
			spec.http.cert_file = "x";
			break;
		}
		if (probe_new(bed->engine, &spec, &ops, bed, &p) != -EINVAL)
			fail_msg("spec %u was taken", i);
		assert_null(p);
	}
}

/* --- many ------------------------------------------------------------------------------------- */

/* What comes of 200 probes that do everything at once, freed and made anew all the time. */
static void churn_of_probes_is_clean(void **state)
{
	enum { N = 200 };
	struct bed *bed = *state;
	struct probe *probes[N] = {NULL};
	struct probe_stats stats;
	struct probe_spec spec;
	unsigned int i, round;
	uint64_t passed;

	serve(bed, serve_script, &hello);
	spec = spec_of(bed);
	spec.interval_ms = 5;
	spec.body = PROBE_BODY_STREAM;
	for (round = 0, passed = 0; round < 30 || (passed < 100 && round < 300); round++) {
		for (i = round % 3; i < N; i += 3) {
			probe_free(&probes[i]);
			spec.target.port = i % 2 ? bed->server.port : 1;
			spec.target.addr.v4.s_addr = htonl(INADDR_LOOPBACK);
			spec.http.scheme = i % 5 ? CONFIG_SCHEME_HTTP : CONFIG_SCHEME_TCP;
			assert_int_equal(probe_new(bed->engine, &spec, &ops, bed, &probes[i]), 0);
		}
		run_about_ms(bed, 7 + round / 2);
		probe_engine_stats(bed->engine, &stats);
		passed = stats.outcomes[PROBE_PASS];
	}
	for (i = 0; i < N; i++)
		probe_free(&probes[i]);
	probe_engine_stats(bed->engine, &stats);
	assert_int_equal(stats.probes, 0);
	assert_int_equal(stats.in_flight, 0);
	assert_true(passed >= 100);
	assert_true(stats.outcomes[PROBE_REFUSED] >= 100);
}

/* Bytes in use, whatever the allocator. */
extern size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));
static size_t allocated(void)
{
	return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes()
						       : mallinfo2().uordblks;
}

static void serve_all_kinds(struct raw_conn *conn)
{
	static const char *const answers[] = {
		OK_EMPTY,
		"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\nabc",
		"HTTP/1.1 503 Busy\r\nX: y\r\nContent-Length: 3\r\n\r\nabc",
		"\r\n\r\n\r\n garbage",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	};
	unsigned int n;

	while (raw_read_request(conn)) {
		n = atomic_load(&conn->server->n_requests) % 5;
		if (!raw_print(conn, answers[n]) || n == 1 || n == 3)
			return;
	}
}

/* Until n results. The server, which keeps a record of every connection, starts anew at times. */
static void run_and_restart(struct bed *bed, unsigned int n, uint16_t port)
{
	raw_server_start_at(&bed->server, serve_all_kinds, NULL, port);
	while (bed->n < n) {
		if (atomic_load(&bed->server.n_conns) > 400) {
			raw_server_stop(&bed->server);
			raw_server_start_at(&bed->server, serve_all_kinds, NULL, port);
		}
		assert_true(sd_event_run(bed->event, 20000) >= 0);
	}
	raw_server_stop(&bed->server);
}

/* No answer is under way and no connection kept: such may be at one moment, and not at another. */
static size_t in_use_after(struct bed *bed, unsigned int n, uint16_t port)
{
	size_t bytes;

	run_and_restart(bed, n, port);
	run_until(bed, bed->n + 3); /* refused */
	probe_pause(bed->probe);
	bytes = allocated();
	probe_resume(bed->probe);
	return bytes;
}

/* Ten minutes of checks at 100 ms are 6000. */
static void memory_does_not_grow(void **state)
{
	struct bed *bed = *state;
	struct probe_spec spec;
	size_t before, after;

	bed->server.port = dead_port();
	spec = spec_of(bed);
	spec.interval_ms = 1;
	spec.body_max = 65536;
	probe_it(bed, &spec);
	before = in_use_after(bed, 300, spec.target.port);
	after = in_use_after(bed, 6300, spec.target.port);
	/* Six bytes a result; tables by descriptor may double once, if a busy server is slow. */
	if (after > before + 6 * 6000)
		fail_msg("%zu bytes in use, then %zu", before, after);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_BOTH(interval_and_jitter_hold),
		TEST_BOTH(one_connection_is_kept),
		TEST_BOTH(one_probe_is_in_flight),
		TEST_BOTH(again_comes_sooner),
		TEST_BOTH(again_within_the_result),
		TEST_BOTH(again_while_in_flight_waits_for_its_end),
		TEST_BOTH(pause_drops_and_resume_starts),
		TEST(first_starts_are_spread),
		TEST_BOTH(a_stalled_loop_blames_nobody),
		TEST_BOTH(nothing_is_late_before_the_loop_runs),
		TEST_BOTH(freed_in_its_result),
		TEST_BOTH(freed_in_its_start),
		TEST_BOTH(freed_in_its_body),
		TEST_BOTH(paused_in_its_body),
		TEST_BOTH(freed_while_connecting_and_waiting),
		TEST_BOTH(engine_freed_in_flight),
		TEST_BOTH(freed_while_idle_then_closed),
		TEST_BOTH(update_of_limits_keeps_the_request),
		TEST_BOTH(update_of_the_target_asks_anew),
		TEST_BOTH(bad_specs_are_refused),
		TEST_BOTH(churn_of_probes_is_clean),
		TEST_BOTH(memory_does_not_grow),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
