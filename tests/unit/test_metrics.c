// SPDX-License-Identifier: BSD-2-Clause
/*
 * Pages -> load samples. The first table reads every page in tests/fixtures/servers/metrics with
 * the preset of its server and states what a careful person reads from it; a file without a row
 * fails.
 */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "userspace/agent/metrics.h"
#include "userspace/agent/preset.h"
#include "userspace/lib/cleanup.h"

#define DIRECTORY "tests/fixtures/servers/metrics/"
#define NONE      NAN /* the page does not give this field */

static char *read_file(const char *name, size_t *ret_len)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[512];
	char *data;
	long len;

	snprintf(path, sizeof(path), DIRECTORY "%s", name);
	f = fopen(path, "r");
	if (!f)
		fail_msg("cannot open %s", path);
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	len = ftell(f);
	assert_true(len >= 0);
	rewind(f);
	data = malloc((size_t)len + 1);
	assert_non_null(data);
	assert_int_equal(fread(data, 1, (size_t)len, f), len);
	*ret_len = (size_t)len;
	return data;
}

static struct preset_spec *apply(const char *preset, const struct preset_overrides *o)
{
	struct preset_spec *spec = NULL;
	struct preset_error error;

	if (preset_apply(preset_find(preset), o, &spec, &error) < 0)
		fail_msg("%s: %s at %zu: %s", preset, error.key, error.pos, error.text);
	return spec;
}

/* Feeds a page in pieces and ends it. */
static int read_page(struct metrics_reader *r, const char *page, size_t len, size_t piece,
		     enum metrics_end end, struct load_sample *ret)
{
	int e = 0;

	metrics_reader_begin(r);
	for (size_t at = 0; at < len && e == 0; at += piece)
		e = metrics_reader_feed(r, page + at, len - at < piece ? len - at : piece);
	return e < 0 ? e : metrics_reader_end(r, end, ret);
}

static void expect(const char *what, const struct metrics_reader *r, const struct load_sample *s,
		   const double *want)
{
	char why[512];

	for (unsigned int f = 0; f < LOAD_FIELD_N; f++) {
		bool has = s->has & LOAD_HAS(f);

		if (!has && !isnan(want[f]))
			fail_msg("%s: no %s (%s)", what, load_field_name(f),
				 metrics_reader_explain(r, f, why, sizeof(why)));
		if (has && isnan(want[f]))
			fail_msg("%s: %s = %g, but the page does not say", what, load_field_name(f),
				 s->value[f]);
		if (has && fabs(s->value[f] - want[f]) > 1e-12 * fabs(want[f]))
			fail_msg("%s: %s = %.17g, not %.17g", what, load_field_name(f), s->value[f],
				 want[f]);
	}
	assert_int_equal(s->has >> LOAD_FIELD_N, 0);
}

#define TRTLLM_JSON                                                                                \
	{                                                                                          \
		.format = METRIC_FORMAT_JSON, .metrics_path = "/metrics", .expr = {                \
			[LOAD_QUEUE] = "[-1].numQueuedRequests",                                   \
			[LOAD_RUNNING] = "[-1].numActiveRequests",                                 \
			[LOAD_KV] = "[-1].kvCacheStats.usedNumBlocks / "                           \
				    "[-1].kvCacheStats.maxNumBlocks",                              \
			[LOAD_PROGRESS] = "[-1].iter",                                             \
			[LOAD_SLOTS] = "[-1].maxNumActiveRequests",                                \
		}                                                                                  \
	}

static const char *const dcgm[] = {"dcgm"};

#define DCGM                                                                                       \
	{                                                                                          \
		.addons = dcgm, .n_addons = 1                                                      \
	}

static const struct {
	const char *file;
	const char *preset;
	/* queue, running, kv, gpu_mem, progress, aborts, slots */
	double want[LOAD_FIELD_N];
	struct preset_overrides overrides;
} pages[] = {
	/* Both GPUs are about as full; the second decides: 74891 of 74891 + 6101 MiB. */
	{"dcgm_exporter.prom",
	 "tcp",
	 {NONE, NONE, NONE, 74891.0 / 80992.0, NONE, NONE, NONE},
	 DCGM},
	{"dcgm_exporter_pre_2026_05_Hostname.prom",
	 "tcp",
	 {NONE, NONE, NONE, 74891.0 / 80992.0, NONE, NONE, NONE},
	 DCGM},
	/* While the exporter reloads: known to be nothing, not zero. */
	{"empty_200_body_dcgm_reload.prom",
	 "tcp",
	 {NONE, NONE, NONE, NONE, NONE, NONE, NONE},
	 DCGM},
	/* Waiting: 3 + 4 + 5, not the by_reason or decoy lines. KV: NaN and +Inf say nothing. */
	{"edge_cases.prom", "vllm", {12, 10, 0.5, NONE, 7557572, NONE, NONE}, {0}},
	{"edge_crlf.prom", "sglang", {3, 2, NONE, NONE, NONE, NONE, NONE}, {0}},
	{"edge_truncated_no_final_newline.prom", "vllm", {1, 4, NONE, NONE, NONE, NONE, NONE}, {0}},
	{"llamacpp_b4747_busy.prom", "llamacpp", {3, 2, 0.0219727, NONE, 42, NONE, NONE}, {0}},
	{"llamacpp_b4747_idle.prom", "llamacpp", {0, 0, 0, NONE, 0, NONE, NONE}, {0}},
	/* Waiting for a handle and waiting in the engine: 5 + 8. */
	{"lmdeploy.prom", "lmdeploy", {13, 120, 0.81, NONE, NONE, NONE, NONE}, {0}},
	{"nim_legacy_unprefixed.prom", "nim", {2, 8, 0.37, NONE, 20234, NONE, NONE}, {0}},
	{"nim_new_mixed.prom", "nim", {1, 3, 0.02, NONE, NONE, NONE, 1024}, {0}},
	{"sglang_dp2.prom", "sglang", {9, 35, 0.97, NONE, 7557572, NONE, NONE}, {0}},
	{"sglang_old_nolabels.prom", "sglang", {4, 8, 0.28, NONE, NONE, NONE, NONE}, {0}},
	{"tgi.prom", "tgi", {17, 42, NONE, NONE, NONE, NONE, NONE}, {0}},
	{"triton.prom",
	 "triton",
	 {97, NONE, NONE, 78109474816.0 / 85520809984.0, NONE, NONE, NONE},
	 {0}},
	{"triton_tensorrtllm.prom", "triton-trtllm", {1, 1, 0.4875, NONE, 0, NONE, 512}, {0}},
	{"trtllm_serve_metrics_is_json.json",
	 "trtllm",
	 {3, 20, 0.62, NONE, 1201, NONE, 256},
	 TRTLLM_JSON},
	{"trtllm_serve_prometheus.prom", "trtllm", {3, 20, 0.62, NONE, 1234, NONE, 256}, {0}},
	{"vllm_ray.prom", "ray-serve", {2, 5, 0.41, NONE, NONE, NONE, NONE}, {0}},
	/* Ray's names are not vLLM's. */
	{"vllm_ray.prom", "vllm", {NONE, NONE, NONE, NONE, NONE, NONE, NONE}, {0}},
	{"vllm_v0.prom", "vllm", {3, 16, 0.6217, NONE, NONE, NONE, NONE}, {0}},
	{"vllm_v1_0.9_both_kv_names.prom", "vllm", {0, 3, 0.125, NONE, NONE, NONE, NONE}, {0}},
	{"vllm_v1_dp2.prom", "vllm", {7, 53, 0.9130434782608695, NONE, 90210, 17, NONE}, {0}},
	/* A page read with a foreign preset gives nothing, rather than zeros. */
	{"vllm_v1_dp2.prom", "sglang", {NONE, NONE, NONE, NONE, NONE, NONE, NONE}, {0}},
	{"trtllm_serve_prometheus.prom", "tgi", {NONE, NONE, NONE, NONE, NONE, NONE, NONE}, {0}},
};

static void test_every_fixture(void **state)
{
	static const size_t pieces[] = {SIZE_MAX / 2, 1, 7, 1000};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		struct preset_spec *spec = apply(pages[i].preset, &pages[i].overrides);
		struct metrics_reader *r = NULL;
		_cleanup_free_ char *page = NULL;
		struct load_sample s;
		size_t len;

		page = read_file(pages[i].file, &len);
		assert_int_equal(spec->n_sources, 1);
		assert_int_equal(metrics_reader_new(spec->sources[0].set, 0, &r), 0);
		preset_spec_free(&spec); /* the reader keeps what it needs */
		for (size_t k = 0; k < ARRAY_SIZE(pieces); k++) {
			assert_int_equal(read_page(r, page, len, pieces[k], METRICS_END_FRAMED, &s),
					 0);
			expect(pages[i].file, r, &s, pages[i].want);
		}
		metrics_reader_free(&r);
	}
}

/* What the samples of the servers do not show, read as a careful person would. */
static const struct {
	const char *name;
	const char *preset;
	const char *page;
	double want[LOAD_FIELD_N];
} small_pages[] = {
	{"two models of one vLLM wait and run together, and the fuller cache counts",
	 "vllm",
	 "vllm:num_requests_waiting{engine=\"0\",model_name=\"a\"} 3.0\n"
	 "vllm:num_requests_waiting{engine=\"0\",model_name=\"b\"} 4.0\n"
	 "vllm:num_requests_running{engine=\"0\",model_name=\"a\"} 10.0\n"
	 "vllm:num_requests_running{engine=\"0\",model_name=\"b\"} 20.0\n"
	 "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"a\"} 0.2\n"
	 "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"b\"} 0.96\n",
	 {7, 30, 0.96, NONE, NONE, NONE, NONE}},
	{"of both names of vLLM's cache the newer one counts, unless it says nothing",
	 "vllm",
	 "vllm:gpu_cache_usage_perc 0.4\nvllm:kv_cache_usage_perc NaN\n",
	 {NONE, NONE, 0.4, NONE, NONE, NONE, NONE}},
	{"version 0 with swapped requests, beside version 1's counters",
	 "vllm",
	 "vllm:num_requests_waiting 2\nvllm:num_requests_swapped 5\n"
	 "vllm:iteration_tokens_total_count 9\nvllm:generation_tokens_total 900\n",
	 {7, NONE, NONE, NONE, 9, NONE, NONE}},
	{"ranks of tensor and pipeline repeat rank 0; those of data do not",
	 "sglang",
	 "sglang:num_queue_reqs{dp_rank=\"0\",tp_rank=\"0\",pp_rank=\"0\"} 6\n"
	 "sglang:num_queue_reqs{dp_rank=\"0\",tp_rank=\"1\",pp_rank=\"0\"} 6\n"
	 "sglang:num_queue_reqs{dp_rank=\"0\",tp_rank=\"0\",pp_rank=\"1\"} 6\n"
	 "sglang:num_queue_reqs{dp_rank=\"1\",tp_rank=\"0\",pp_rank=\"0\"} 1\n"
	 "sglang:num_queue_reqs{dp_rank=\"1\",tp_rank=\"1\",pp_rank=\"0\"} 1\n"
	 "sglang:num_running_reqs{dp_rank=\"0\",tp_rank=\"0\"} 8\n"
	 "sglang:num_running_reqs{dp_rank=\"0\",tp_rank=\"7\"} 8\n"
	 "sglang:token_usage{tp_rank=\"0\"} 0.5\nsglang:token_usage{tp_rank=\"1\"} 0.6\n",
	 {7, 8, 0.6, NONE, NONE, NONE, NONE}},
	/* No server writes it; who joins the pages of two servers does. */
	{"a series that comes twice counts twice",
	 "tgi",
	 "tgi_queue_size 4\ntgi_queue_size 9\ntgi_batch_current_size 2\n"
	 "tgi_batch_current_size 2\n",
	 {13, 4, NONE, NONE, NONE, NONE, NONE}},
	{"a line cut short spoils its own sum and nothing else",
	 "tgi",
	 "tgi_queue_size 4\ntgi_queue_size \ntgi_batch_current_size 2\n",
	 {NONE, 2, NONE, NONE, NONE, NONE, NONE}},
	{"a GPU cut into instances reports no memory and drops out",
	 "triton",
	 "nv_gpu_memory_used_bytes{gpu_uuid=\"a\"} 0\n"
	 "nv_gpu_memory_total_bytes{gpu_uuid=\"a\"} 0\n"
	 "nv_gpu_memory_used_bytes{gpu_uuid=\"b\"} 30\n"
	 "nv_gpu_memory_total_bytes{gpu_uuid=\"b\"} 40\n",
	 {NONE, NONE, NONE, 0.75, NONE, NONE, NONE}},
	{"used without total is no fraction",
	 "triton",
	 "nv_gpu_memory_used_bytes{gpu_uuid=\"a\"} 30\n"
	 "nv_gpu_memory_total_bytes{gpu_uuid=\"b\"} 40\n",
	 {NONE, NONE, NONE, NONE, NONE, NONE, NONE}},
	{"requests of all models of Triton, running or not known",
	 "triton-trtllm",
	 "nv_trt_llm_request_metrics{model=\"a\",request_type=\"waiting\"} 2\n"
	 "nv_trt_llm_request_metrics{model=\"b\",request_type=\"waiting\"} 3\n"
	 "nv_trt_llm_request_metrics{model=\"a\",request_type=\"active\"} 50\n"
	 "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"fraction\",model=\"a\"} 0.1\n"
	 "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"fraction\",model=\"b\"} 0.8\n",
	 {5, NONE, 0.8, NONE, NONE, NONE, NONE}},
};

static void test_small_pages(void **state)
{
	const struct preset_overrides none = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(small_pages); i++) {
		struct preset_spec *spec = apply(small_pages[i].preset, &none);
		const char *page = small_pages[i].page;
		struct metrics_reader *r = NULL;
		struct load_sample s;

		assert_int_equal(metrics_reader_new(spec->sources[0].set, 0, &r), 0);
		preset_spec_free(&spec);
		assert_int_equal(read_page(r, page, strlen(page), 11, METRICS_END_FRAMED, &s), 0);
		expect(small_pages[i].name, r, &s, small_pages[i].want);
		metrics_reader_free(&r);
	}
}

static void test_every_fixture_has_a_row(void **state)
{
	DIR *d = opendir(DIRECTORY);
	struct dirent *entry;
	size_t n = 0;

	(void)state;
	assert_non_null(d);
	while ((entry = readdir(d))) {
		bool found = entry->d_name[0] == '.';

		for (size_t i = 0; i < ARRAY_SIZE(pages) && !found; i++)
			found = strcmp(pages[i].file, entry->d_name) == 0;
		if (!found)
			fail_msg("no row for %s", entry->d_name);
		n++;
	}
	closedir(d);
	assert_true(n > 20);
}

/* --- readers of small pages ------------------------------------------------------------------ */

/* A reader with one expression for each field given, for Prometheus text or JSON. */
static struct metrics_reader *reader_of(const char *const *expr, enum metric_format format,
					size_t max_bytes)
{
	struct metrics_reader *r = NULL;
	struct metric_set *set = NULL;

	assert_int_equal(metric_set_new(format, &set), 0);
	for (unsigned int f = 0; f < LOAD_FIELD_N; f++) {
		struct metric_expr *e = NULL;

		if (!expr[f])
			continue;
		assert_int_equal(metric_expr_compile(expr[f], format, load_field_agg(f), &e, NULL),
				 0);
		assert_int_equal(metric_set_add(set, f, &e), 0);
	}
	assert_int_equal(metrics_reader_new(set, max_bytes, &r), 0);
	metric_set_unref(&set);
	return r;
}

static struct metrics_reader *json_reader(void)
{
	struct preset_overrides o = {0};
	struct preset_spec *spec = apply("json", &o);
	struct metrics_reader *r = NULL;

	assert_int_equal(metrics_reader_new(spec->sources[0].set, 0, &r), 0);
	preset_spec_free(&spec);
	return r;
}

static const struct {
	const char *name;
	const char *page;
	double want[LOAD_FIELD_N];
} json_pages[] = {
	{"the seed form",
	 "{\"status\":\"ok\",\"queue_depth\":3,\"running\":2,\"gpu_memory_usage\":97.5}",
	 {3, 2, NONE, 0.975, NONE, NONE, NONE}},
	{"all that may be there",
	 "{\"queue_depth\":0,\"running\":0,\"gpu_memory_usage\":0,\"kv_cache_usage\":50,"
	 "\"progress\":7,\"aborts\":1,\"slots\":64}",
	 {0, 0, 0.5, 0, 7, 1, 64}},
	{"null is absent, and so is what is not there",
	 "{\"queue_depth\":null,\"running\":1}",
	 {NONE, 1, NONE, NONE, NONE, NONE, NONE}},
	{"numbers as strings, booleans, lists and objects are refused",
	 "{\"queue_depth\":\"3\",\"running\":true,\"gpu_memory_usage\":[1],\"slots\":{}}",
	 {NONE, NONE, NONE, NONE, NONE, NONE, NONE}},
	{"integers beyond 64 bits are only large",
	 "{\"queue_depth\":1,\"progress\":98765432109876543210,"
	 "\"aborts\":99999999999999999}",
	 {1, NONE, NONE, NONE, NONE, 1e17, NONE}},
	{"negative, absurd and over-full are refused",
	 "{\"queue_depth\":-1,\"running\":1e12,\"gpu_memory_usage\":106,\"slots\":0}",
	 {NONE, NONE, NONE, NONE, NONE, NONE, NONE}},
	{"full, within rounding, is full",
	 "{\"gpu_memory_usage\":104.9,\"kv_cache_usage\":100}",
	 {NONE, NONE, 1, 1, NONE, NONE, NONE}},
	{"blanks and CRLF around it",
	 " \r\n{ \"queue_depth\" : 4 }\r\n ",
	 {4, NONE, NONE, NONE, NONE, NONE, NONE}},
	{"an empty page gives nothing", "", {NONE, NONE, NONE, NONE, NONE, NONE, NONE}},
	{"another kind of document gives nothing",
	 "[1,2]",
	 {NONE, NONE, NONE, NONE, NONE, NONE, NONE}},
	{"a NUL in a string is no end",
	 "{\"x\":\"\\u0000\",\"queue_depth\":5}",
	 {5, NONE, NONE, NONE, NONE, NONE, NONE}},
};

static void test_json_pages(void **state)
{
	struct metrics_reader *r = json_reader();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(json_pages); i++)
		for (size_t piece = 1; piece < 64; piece += 31) {
			struct load_sample s;
			int e;

			e = read_page(r, json_pages[i].page, strlen(json_pages[i].page), piece,
				      METRICS_END_CLOSED, &s);
			if (e < 0)
				fail_msg("%s: %s", json_pages[i].name, metrics_reader_error(r));
			expect(json_pages[i].name, r, &s, json_pages[i].want);
		}
	metrics_reader_free(&r);
}

static void test_json_garbage(void **state)
{
	static const char *const garbage[] = {
		"<html>502 Bad Gateway</html>",
		"{\"queue_depth\":3",
		"{\"queue_depth\":3}}",
		"{\"queue_depth\":3,}",
		"\xff\xfe",
		"{'queue_depth':3}",
		"queue_depth 3\n",
		"{\"queue_depth\":NaN}",
		" ",
	};
	struct metrics_reader *r = json_reader();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(garbage); i++) {
		struct load_sample s = {.has = 0x55};

		if (read_page(r, garbage[i], strlen(garbage[i]), 5, METRICS_END_FRAMED, &s) !=
		    -EBADMSG)
			fail_msg("'%s' is taken for a page", garbage[i]);
		assert_int_equal(s.has, 0x55);
		assert_memory_equal(metrics_reader_error(r), "the page is not JSON: ", 22);
	}
	metrics_reader_free(&r);
}

/* Nesting as deep as the page is long neither recurses without bound nor passes. */
static void test_json_deep_nesting(void **state)
{
	struct metrics_reader *r = json_reader();
	static char page[200000];
	struct load_sample s;

	(void)state;
	memset(page, '[', sizeof(page));
	assert_int_equal(read_page(r, page, sizeof(page), 4096, METRICS_END_FRAMED, &s), -EBADMSG);
	assert_int_equal(read_page(r, "{\"running\":1}", 13, 4096, METRICS_END_FRAMED, &s), 0);
	assert_int_equal(s.has, LOAD_HAS(LOAD_RUNNING));
	metrics_reader_free(&r);
}

static void test_page_limit(void **state)
{
	static const char *const expr[LOAD_FIELD_N] = {[LOAD_QUEUE] = "q"};
	static const char *const json[LOAD_FIELD_N] = {[LOAD_QUEUE] = "q"};
	struct metrics_reader *readers[] = {reader_of(expr, METRIC_FORMAT_PROM, 10),
					    reader_of(json, METRIC_FORMAT_JSON, 10)};
	static const char *const fits[] = {"q 3\n# abcd", "{\"q\":3   }"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
		struct metrics_reader *r = readers[i];
		struct load_sample s = {0};

		for (size_t piece = 1; piece <= 11; piece += 2) {
			assert_int_equal(read_page(r, fits[i], 10, piece, METRICS_END_FRAMED, &s),
					 0);
			assert_true(s.has == LOAD_HAS(LOAD_QUEUE) && s.queue == 3);
			assert_int_equal(
				read_page(r, "q 3\n# abcde", 11, piece, METRICS_END_FRAMED, &s),
				-EFBIG);
			assert_int_equal(metrics_reader_feed(r, "x", 1), -EFBIG);
			assert_int_equal(metrics_reader_end(r, METRICS_END_FRAMED, &s), -EFBIG);
			assert_string_equal(metrics_reader_error(r),
					    "the page is larger than 10 bytes");
		}
		metrics_reader_free(&r);
	}
}

/* A last line without newline counts only where the transfer says that it is whole. */
static void test_open_last_line(void **state)
{
	static const char *const expr[LOAD_FIELD_N] = {[LOAD_QUEUE] = "q"};
	struct metrics_reader *r = reader_of(expr, METRIC_FORMAT_PROM, 0);
	struct load_sample s = {.has = 0x55};

	(void)state;
	assert_int_equal(read_page(r, "q 17", 4, 99, METRICS_END_CLOSED, &s), -EBADMSG);
	assert_int_equal(s.has, 0x55);
	assert_string_equal(metrics_reader_error(r), "the page ends inside a line and the server "
						     "did not say how long it is");
	assert_int_equal(read_page(r, "q 17", 4, 99, METRICS_END_FRAMED, &s), 0);
	assert_true(s.queue == 17);
	assert_string_equal(metrics_reader_error(r), "");
	assert_int_equal(read_page(r, "q 18\n", 5, 99, METRICS_END_CLOSED, &s), 0);
	assert_true(s.queue == 18);
	metrics_reader_free(&r);
}

/* A page that is abandoned half-way leaves nothing behind for the next. */
static void test_abandoned_page(void **state)
{
	static const char *const expr[LOAD_FIELD_N] = {[LOAD_QUEUE] = "sum(q)"};
	struct metrics_reader *r = reader_of(expr, METRIC_FORMAT_PROM, 0);
	struct load_sample s;

	(void)state;
	metrics_reader_begin(r);
	assert_int_equal(metrics_reader_feed(r, "q{a=\"1\"} 5\nq{a=\"2", 17), 0);
	assert_int_equal(read_page(r, "q 1\n", 4, 99, METRICS_END_FRAMED, &s), 0);
	assert_true(s.has == LOAD_HAS(LOAD_QUEUE) && s.queue == 1);
	metrics_reader_free(&r);
}

/* Series that two metrics of a page share are looked for in that page alone. */
static void test_series_of_an_earlier_page_are_gone(void **state)
{
	static const char *const expr[LOAD_FIELD_N] = {[LOAD_GPU_MEM] = "max(used / total)"};
	static const char *const pages_of_one[] = {
		"used{gpu=\"0\"} 9\ntotal{gpu=\"0\"} 10\n",
		"used{gpu=\"1\"} 1\ntotal{gpu=\"1\"} 10\n",
		"used{gpu=\"0\"} 9\ntotal{gpu=\"1\"} 10\n",
	};
	static const double want[] = {0.9, 0.1, NONE};
	struct metrics_reader *r = reader_of(expr, METRIC_FORMAT_PROM, 0);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pages_of_one); i++) {
		double fields[LOAD_FIELD_N] = {NONE, NONE, NONE, want[i], NONE, NONE, NONE};
		struct load_sample s;

		assert_int_equal(read_page(r, pages_of_one[i], strlen(pages_of_one[i]), 99,
					   METRICS_END_FRAMED, &s), 0);
		expect(pages_of_one[i], r, &s, fields);
	}
	metrics_reader_free(&r);
}

static void test_explanations(void **state)
{
	static const char *const expr[LOAD_FIELD_N] = {
		[LOAD_QUEUE] = "sum(q) + sum(r{a=\"b\"})",
		[LOAD_RUNNING] = "run",
		[LOAD_KV] = "kv",
		[LOAD_GPU_MEM] = "used / total",
		[LOAD_PROGRESS] = "bad",
		[LOAD_ABORTS] = "sum(a / b)",
	};
	struct metrics_reader *r = reader_of(expr, METRIC_FORMAT_PROM, 0);
	static const char page[] = "q 1\nrun -3\nkv 62\nused 1\ntotal 0\nbad x\n"
				   "a{i=\"1\"} 1\nb{i=\"2\"} 1\n";
	static const struct {
		enum metric_status status;
		const char *text;
	} want[LOAD_FIELD_N] = {
		[LOAD_QUEUE] = {METRIC_ABSENT,
				"queue has no value: nothing in the page matches 'r{a=\"b\"}' "
				"(expression 'sum(q) + sum(r{a=\"b\"})')"},
		[LOAD_RUNNING] = {METRIC_OUT_OF_RANGE,
				  "running = -3 from 'run' is out of its range"},
		[LOAD_KV] = {METRIC_OUT_OF_RANGE, "kv = 62 from 'kv' is out of its range, 0 to 1 "
						  "(a percentage? divide by 100)"},
		[LOAD_GPU_MEM] = {METRIC_DIV_ZERO, "gpu_memory has no value: it divides by zero, see "
						   "'used / total' (expression 'used / total')"},
		[LOAD_PROGRESS] = {METRIC_UNREADABLE, "progress has no value: not readable as a "
						      "number is 'bad' (expression 'bad')"},
		[LOAD_ABORTS] = {METRIC_ABSENT, "aborts has no value: no two samples of "
						"'sum(a / b)' have the same labels"},
		[LOAD_SLOTS] = {METRIC_UNUSED, "slots is not asked for"},
	};
	struct load_sample s;
	char text[256];

	(void)state;
	assert_int_equal(read_page(r, page, sizeof(page) - 1, 99, METRICS_END_FRAMED, &s), 0);
	assert_int_equal(s.has, 0);
	for (unsigned int f = 0; f < LOAD_FIELD_N; f++) {
		assert_int_equal(metrics_reader_status(r, f), want[f].status);
		assert_string_equal(metrics_reader_explain(r, f, text, sizeof(text)), want[f].text);
	}
	assert_string_equal(metrics_reader_explain(r, LOAD_KV, text, 6), "kv = ");
	metrics_reader_free(&r);
}

static void test_stats(void **state)
{
	static const char *const expr[LOAD_FIELD_N] = {[LOAD_QUEUE] = "q"};
	struct metrics_reader *r = reader_of(expr, METRIC_FORMAT_PROM, 0);
	static const char page[] = "# x\nq 1\nq x\nother 1\n";
	struct metrics_page_stats stats;
	struct load_sample s;

	(void)state;
	assert_int_equal(read_page(r, page, sizeof(page) - 1, 3, METRICS_END_FRAMED, &s), 0);
	metrics_reader_stats(r, &stats);
	assert_int_equal(stats.bytes, sizeof(page) - 1);
	assert_int_equal(stats.lines, 3);
	assert_int_equal(stats.samples, 1);
	assert_int_equal(stats.bad_lines, 1);
	assert_int_equal(stats.long_lines, 0);
	metrics_reader_free(&r);
}

/* An expression that never matched is reported once; optional ones and those that matched before
 * are not. */
static void test_watch(void **state)
{
	static const char *const expr[LOAD_FIELD_N] = {
		[LOAD_QUEUE] = "sum(typo)",
		[LOAD_RUNNING] = "sum(run)",
		[LOAD_KV] = "max(kv)?",
		[LOAD_GPU_MEM] = "max(mem)",
	};
	struct metrics_reader *r = reader_of(expr, METRIC_FORMAT_PROM, 0);
	struct metrics_watch watch = {0};
	struct load_sample s;

	(void)state;
	for (int page = 1; page <= 3 * METRICS_UNMATCHED_PAGES; page++) {
		/* Present in the first page only, and unusable: it matched all the same. */
		const char *text = page == 1 ? "run 1\nmem NaN\n" : "\n";
		uint32_t report;

		assert_int_equal(read_page(r, text, strlen(text), 99, METRICS_END_FRAMED, &s), 0);
		report = metrics_watch_update(&watch, r);
		assert_int_equal(report,
				 page == METRICS_UNMATCHED_PAGES ? LOAD_HAS(LOAD_QUEUE) : 0);
	}
	metrics_reader_free(&r);
}

static void test_merge(void **state)
{
	struct load_sample own = {
		.has = LOAD_HAS(LOAD_QUEUE) | LOAD_HAS(LOAD_GPU_MEM), .queue = 3, .gpu_mem = 0.5};
	struct load_sample addon = {.has = LOAD_HAS(LOAD_GPU_MEM), .queue = 9, .gpu_mem = 0.9};

	(void)state;
	load_sample_merge(&own, &addon);
	assert_int_equal(own.has, LOAD_HAS(LOAD_QUEUE) | LOAD_HAS(LOAD_GPU_MEM));
	assert_true(own.queue == 3 && own.gpu_mem == 0.9);
}

static void test_field_names(void **state)
{
	enum load_field f;

	(void)state;
	for (unsigned int i = 0; i < LOAD_FIELD_N; i++) {
		const char *name = load_field_name(i);

		assert_int_equal(load_field_find(name, strlen(name), &f), 0);
		assert_int_equal(f, i);
	}
	assert_int_equal(load_field_find("queue_depth", 11, &f), -ENOENT);
	assert_int_equal(load_field_find("", 0, &f), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_fixture),
		cmocka_unit_test(test_every_fixture_has_a_row),
		cmocka_unit_test(test_small_pages),
		cmocka_unit_test(test_json_pages),
		cmocka_unit_test(test_json_garbage),
		cmocka_unit_test(test_json_deep_nesting),
		cmocka_unit_test(test_page_limit),
		cmocka_unit_test(test_open_last_line),
		cmocka_unit_test(test_abandoned_page),
		cmocka_unit_test(test_series_of_an_earlier_page_are_gone),
		cmocka_unit_test(test_explanations),
		cmocka_unit_test(test_stats),
		cmocka_unit_test(test_watch),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_field_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
