/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What checking and scraping thousands of nodes costs the agent's thread -> build/bench/probe.json.
 *
 * Nodes are mocks behind 127.0.0.0/8 in a thread of their own; each is checked every second and
 * scraped every two, its page parsed with the expressions of preset vllm. Over loopback the sender
 * also does what the receiving host's kernel would: the figures are an upper bound.
 * With --serve it is only the nodes, on all addresses of its host: for tools/scale.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tools/bench_probe/nodes.h"
#include "tools/lib/figures.h"
#include "userspace/agent/metrics.h"
#include "userspace/agent/preset.h"
#include "userspace/agent/probe.h"
#include "userspace/lib/cleanup.h"

#define PAGE         "tests/fixtures/servers/metrics/vllm_v1_dp2.prom"
#define OUT          "build/bench/probe.json"
#define WARM_UP_S    3
#define BUDGET_CORES 0.25
#define NODES_MAX    8000

struct bench {
	sd_event *event;
	struct probe_engine *engine;
	struct metric_set *set;
	struct nodes *nodes;
	uint64_t samples; /* pages parsed, all fields there */
	uint64_t bad;     /* results that are no pass, and pages that were not understood */
	int64_t rtt_us;   /* sum */
	uint64_t n_rtt;
	/* when the measurement began */
	struct probe_stats stats;
	double cpu_s;
	double user_s;
	double clock_s;
};

struct page {
	struct bench *bench;
	struct metrics_reader *reader;
};

static double clock_s(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double user_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_THREAD, &u);
	return (double)u.ru_utime.tv_sec + (double)u.ru_utime.tv_usec / 1e6;
}

static void on_health(struct probe *p, void *userdata, const struct probe_result *res)
{
	struct bench *b = userdata;

	(void)p;
	if (res->outcome != PROBE_PASS) {
		b->bad++;
		return;
	}
	b->rtt_us += res->rtt_us;
	b->n_rtt++;
}

static void on_page_start(struct probe *p, void *userdata, int64_t now_ms)
{
	struct page *page = userdata;

	(void)p;
	(void)now_ms;
	metrics_reader_begin(page->reader);
}

static int on_page_body(struct probe *p, void *userdata, const char *buf, size_t len)
{
	struct page *page = userdata;

	(void)p;
	return metrics_reader_feed(page->reader, buf, len);
}

static void on_page(struct probe *p, void *userdata, const struct probe_result *res)
{
	const uint32_t want = LOAD_HAS(LOAD_QUEUE) | LOAD_HAS(LOAD_RUNNING) | LOAD_HAS(LOAD_KV);
	struct page *page = userdata;
	struct load_sample sample;

	(void)p;
	if (res->outcome == PROBE_PASS &&
	    metrics_reader_end(page->reader, METRICS_END_FRAMED, &sample) == 0 &&
	    (sample.has & want) == want)
		page->bench->samples++;
	else
		page->bench->bad++;
}

static const struct probe_ops health_ops = {.on_result = on_health};
static const struct probe_ops page_ops = {
	.on_start = on_page_start,
	.on_body = on_page_body,
	.on_result = on_page,
};

static int make_set(struct metric_set **ret)
{
	const struct preset *preset = preset_find("vllm");
	unsigned int f;
	int r;

	r = metric_set_new(METRIC_FORMAT_PROM, ret);
	for (f = 0; r == 0 && f < LOAD_FIELD_N; f++) {
		struct metric_expr *expr = NULL;

		if (!preset->expr[f])
			continue;
		r = metric_expr_compile(preset->expr[f], METRIC_FORMAT_PROM, load_field_agg(f),
					&expr, NULL);
		if (r == 0)
			r = metric_set_add(*ret, f, &expr);
	}
	return r;
}

static int add_node(struct bench *b, uint32_t i)
{
	struct probe_spec spec = {
		.target = {.addr = {.family = AF_INET, .v4.s_addr = htonl(nodes_address(i))},
			   .port = nodes_port(b->nodes)},
		.http = {.scheme = CONFIG_SCHEME_HTTP, .version = PRESET_HTTP_AUTO},
		.path = "/health",
		.interval_ms = 1000,
		.jitter_ratio = 0.1,
		.connect_timeout_ms = 500,
		.timeout_ms = 5000,
		.body = PROBE_BODY_KEEP,
		.body_max = PROBE_BODY_MAX_HEALTH,
	};
	struct page *page = calloc(1, sizeof(*page));
	struct probe *p;
	int r;

	if (!page)
		return -ENOMEM;
	page->bench = b;
	r = metrics_reader_new(b->set, 0, &page->reader);
	if (r == 0)
		r = probe_new(b->engine, &spec, &health_ops, b, &p);
	spec.path = "/metrics";
	spec.interval_ms = 2000;
	spec.timeout_ms = 1000;
	spec.body = PROBE_BODY_STREAM;
	spec.body_max = PROBE_BODY_MAX_LOAD;
	if (r == 0)
		r = probe_new(b->engine, &spec, &page_ops, page, &p);
	return r;
}

static uint64_t n_results(const struct probe_stats *s)
{
	uint64_t n = 0;
	int i;

	for (i = 0; i < PROBE_OUTCOME_N; i++)
		n += s->outcomes[i];
	return n;
}

static int on_begin(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct bench *b = userdata;

	(void)source;
	(void)usec;
	probe_engine_stats_reset(b->engine);
	probe_engine_stats(b->engine, &b->stats);
	b->cpu_s = clock_s(CLOCK_THREAD_CPUTIME_ID);
	b->user_s = user_s();
	b->clock_s = clock_s(CLOCK_MONOTONIC);
	b->samples = b->bad = b->n_rtt = 0;
	b->rtt_us = 0;
	return 0;
}

static int on_end(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	return sd_event_exit(((struct bench *)userdata)->event, 0);
}

static long resident_kb(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss;
}

/* Returns whether the budget was kept and nothing failed. */
static bool report(const struct bench *b, uint32_t n_nodes)
{
	double span = clock_s(CLOCK_MONOTONIC) - b->clock_s;
	double cpu = clock_s(CLOCK_THREAD_CPUTIME_ID) - b->cpu_s;
	struct probe_stats s;
	double n;
	FILE *f;

	probe_engine_stats(b->engine, &s);
	n = (double)(n_results(&s) - n_results(&b->stats));
	printf("%u nodes: %.0f probes a second, %.1f %% of a core (budget %.0f %%), %.1f us a "
	       "probe, starts late by %lld ms at most, %ld MB with the nodes, %llu failed\n",
	       n_nodes, n / span, 100 * cpu / span, 100 * BUDGET_CORES, 1e6 * cpu / n,
	       (long long)s.late_max_ms, resident_kb() / 1024, (unsigned long long)b->bad);
	(void)figures_make_directory();
	f = fopen(OUT, "w");
	if (!f) {
		fprintf(stderr, "%s: %s\n", OUT, strerror(errno));
		return false;
	}
	fprintf(f,
		"{\n  \"nodes\": %u,\n  \"seconds\": %.1f,\n  \"probes_per_second\": %.0f,\n"
		"  \"cores\": %.4f,\n  \"cores_user\": %.4f,\n  \"cores_budget\": %.2f,\n"
		"  \"us_per_probe\": %.2f,\n  \"pages_parsed\": %llu,\n  \"failed\": %llu,\n"
		"  \"late_max_ms\": %lld,\n  \"rtt_us_mean\": %lld,\n  \"connections\": %llu,\n"
		"  \"resident_kb\": %ld\n}\n",
		n_nodes, span, n / span, cpu / span, (user_s() - b->user_s) / span, BUDGET_CORES,
		1e6 * cpu / n, (unsigned long long)b->samples, (unsigned long long)b->bad,
		(long long)s.late_max_ms, (long long)(b->n_rtt ? b->rtt_us / (int64_t)b->n_rtt : 0),
		(unsigned long long)s.connections, resident_kb());
	if (fclose(f) != 0)
		return false;
	return cpu / span <= BUDGET_CORES && b->bad == 0;
}

static int run(struct bench *b, uint32_t n_nodes, uint32_t seconds)
{
	const uint64_t begin_us = WARM_UP_S * 1000000ull;
	uint32_t i;
	int r;

	r = sd_event_new(&b->event);
	if (r >= 0)
		r = probe_engine_new(b->event, &b->engine);
	if (r == 0)
		r = make_set(&b->set);
	for (i = 0; r == 0 && i < n_nodes; i++)
		r = add_node(b, i);
	if (r == 0)
		r = sd_event_add_time_relative(b->event, NULL, CLOCK_MONOTONIC, begin_us, 1,
					       on_begin, b);
	if (r >= 0)
		r = sd_event_add_time_relative(b->event, NULL, CLOCK_MONOTONIC,
					       begin_us + seconds * 1000000ull, 1, on_end, b);
	return r < 0 ? r : sd_event_loop(b->event);
}

static int read_page(const char *path, char **ret_page, size_t *ret_len)
{
	_cleanup_fclose_ FILE *f = fopen(path, "r");
	struct stat st;

	if (!f || fstat(fileno(f), &st) < 0)
		return -errno;
	*ret_len = (size_t)st.st_size;
	*ret_page = malloc(*ret_len + 1);
	if (!*ret_page)
		return -ENOMEM;
	return fread(*ret_page, 1, *ret_len, f) == *ret_len ? 0 : -EIO;
}

/* Two descriptors for each connection: both ends are here. */
static void raise_descriptors(uint32_t n_nodes)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < 4 * n_nodes + 100)
		fprintf(stderr, "only %llu descriptors for %u nodes\n",
			(unsigned long long)limit.rlim_cur, n_nodes);
}

static uint32_t number(const char *text, uint32_t max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || end == text || n < 1 || n > max) {
		fprintf(stderr, "%s: not a number from 1 to %u\n", text, max);
		exit(2);
	}
	return (uint32_t)n;
}

/* Only the nodes, for an agent elsewhere, until the process is ended. */
__attribute__((noreturn)) static void serve(uint16_t port)
{
	printf("ready %u\n", port);
	fflush(stdout);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"nodes", required_argument, NULL, 'n'},
		{"seconds", required_argument, NULL, 's'},
		{"page", required_argument, NULL, 'p'},
		{"serve", required_argument, NULL, 'S'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	uint32_t n_nodes = 4000, seconds = 10;
	uint16_t port = 0;
	const char *path = PAGE;
	struct bench b = {0};
	_cleanup_free_ char *page = NULL;
	size_t len = 0;
	int c, r;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'n') {
			n_nodes = number(optarg, NODES_MAX);
		} else if (c == 's') {
			seconds = number(optarg, 3600);
		} else if (c == 'p') {
			path = optarg;
		} else if (c == 'S') {
			port = (uint16_t)number(optarg, UINT16_MAX);
		} else {
			printf("usage: bench_probe [--nodes N] [--seconds N] [--page FILE]\n"
			       "       bench_probe --serve PORT [--page FILE]\n");
			return c == 'h' ? 0 : 2;
		}
	}
	raise_descriptors(n_nodes);
	r = read_page(path, &page, &len);
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(-r));
		return 1;
	}
	r = nodes_start(port, page, len, &b.nodes);
	if (r == 0 && port)
		serve(port);
	if (r == 0)
		r = run(&b, n_nodes, seconds);
	if (r < 0) {
		fprintf(stderr, "bench_probe: %s\n", strerror(-r));
		return 1;
	}
	c = report(&b, n_nodes) ? 0 : 1;
	nodes_stop(&b.nodes);
	return c;
}
