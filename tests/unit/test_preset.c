// SPDX-License-Identifier: BSD-2-Clause
/* Presets: the table, and what overrides make of a row. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "userspace/agent/preset.h"
#include "userspace/lib/cleanup.h"

#define Q LOAD_HAS(LOAD_QUEUE)
#define R LOAD_HAS(LOAD_RUNNING)
#define K LOAD_HAS(LOAD_KV)
#define G LOAD_HAS(LOAD_GPU_MEM)
#define P LOAD_HAS(LOAD_PROGRESS)
#define A LOAD_HAS(LOAD_ABORTS)
#define S LOAD_HAS(LOAD_SLOTS)

static struct preset_spec *apply(const char *preset, const struct preset_overrides *o)
{
	struct preset_spec *spec = NULL;
	struct preset_error error;

	if (preset_apply(preset_find(preset), o, &spec, &error) < 0)
		fail_msg("%s: %s at %zu: %s", preset, error.key, error.pos, error.text);
	return spec;
}

static const char *expr_of(const struct preset_spec *spec, size_t source, enum load_field f)
{
	const struct metric_expr *e = metric_set_expr(spec->sources[source].set, f);

	return e ? metric_expr_text(e) : NULL;
}

/* The table as an operator knows it. */
static const struct {
	const char *name;
	const char *health_path;
	const char *metrics_path;
	uint16_t metrics_port;
	uint32_t provides;
	enum preset_progress progress;
} rows[] = {
	{"json", "/health", "/health", 0, Q | R | K | G | P | A | S, PRESET_PROGRESS_STEP},
	{"vllm", "/health", "/metrics", 0, Q | R | K | P | A, PRESET_PROGRESS_STEP},
	{"sglang", "/health", "/metrics", 0, Q | R | K | P | A, PRESET_PROGRESS_REQUEST},
	{"tgi", "/health", "/metrics", 0, Q | R | P, PRESET_PROGRESS_STEP},
	{"triton", "/v2/health/ready", "/metrics", 8002, Q | G | P, PRESET_PROGRESS_REQUEST},
	{"triton-trtllm", "/v2/health/ready", "/metrics", 8002, Q | R | K | G | P | S,
	 PRESET_PROGRESS_STEP},
	{"trtllm", "/health", "/prometheus/metrics", 0, Q | R | K | P | S, PRESET_PROGRESS_REQUEST},
	{"nim", "/v1/health/ready", "/v1/metrics", 0, Q | R | K | P | S, PRESET_PROGRESS_STEP},
	{"llamacpp", "/health", "/metrics", 0, Q | R | K | P, PRESET_PROGRESS_STEP},
	{"lmdeploy", "/health", "/metrics", 0, Q | R | K | P, PRESET_PROGRESS_STEP},
	{"ray-serve", "/-/healthz", "/metrics", 8080, Q | R | K, PRESET_PROGRESS_NONE},
	{"ollama", "/", NULL, 0, 0, PRESET_PROGRESS_NONE},
	{"tcp", NULL, NULL, 0, 0, PRESET_PROGRESS_NONE},
};

static void test_rows(void **state)
{
	const struct preset_overrides none = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct preset_spec *spec = apply(rows[i].name, &none);

		assert_string_equal(spec->name, rows[i].name);
		assert_int_equal(spec->health_port, 0);
		if (rows[i].health_path)
			assert_string_equal(spec->health_path, rows[i].health_path);
		else
			assert_int_equal(spec->check, PRESET_CHECK_TCP);
		assert_int_equal(spec->n_sources, rows[i].metrics_path ? 1 : 0);
		if (rows[i].metrics_path) {
			assert_string_equal(spec->sources[0].path, rows[i].metrics_path);
			assert_int_equal(spec->sources[0].port, rows[i].metrics_port);
			assert_string_equal(spec->sources[0].name, rows[i].name);
		}
		assert_int_equal(spec->provides, rows[i].provides);
		assert_int_equal(spec->progress, rows[i].progress);
		assert_int_equal(spec->http, PRESET_HTTP_AUTO);
		preset_spec_free(&spec);
		assert_null(spec);
		preset_spec_free(&spec);
	}
	assert_string_equal(preset_names(), "json, vllm, sglang, tgi, triton, triton-trtllm, "
					    "trtllm, nim, llamacpp, lmdeploy, ray-serve, ollama, "
					    "tcp");
	assert_string_equal(preset_addon_names(), "dcgm");
	assert_null(preset_find("VLLM"));
	assert_null(preset_find(""));
	assert_ptr_equal(preset_at(0), preset_find("json"));
	assert_null(preset_at(ARRAY_SIZE(rows) + 1));
}

static void test_json_is_its_own_health_page(void **state)
{
	struct preset_overrides o = {0};
	struct preset_spec *spec = apply("json", &o);

	(void)state;
	assert_true(spec->sources[0].is_health);
	assert_int_equal(spec->sources[0].format, METRIC_FORMAT_JSON);
	assert_string_equal(spec->sources[0].accept, "application/json");
	preset_spec_free(&spec);

	o.metrics_port = 9000;
	spec = apply("json", &o);
	assert_false(spec->sources[0].is_health);
	preset_spec_free(&spec);

	o = (struct preset_overrides){.health_path = "/load", .metrics_path = "/load"};
	spec = apply("json", &o);
	assert_true(spec->sources[0].is_health);
	preset_spec_free(&spec);

	o = (struct preset_overrides){.check = PRESET_CHECK_TCP};
	spec = apply("json", &o);
	assert_false(spec->sources[0].is_health);
	preset_spec_free(&spec);
}

static void test_every_field_can_be_overridden(void **state)
{
	char health_path[] = "/ready";
	char metrics_path[] = "/stats?all=1";
	char queue[] = "sum(my:queue{kind=\"chat\"})";
	struct preset_overrides o = {
		.health_path = health_path,
		.health_port = 81,
		.metrics_path = metrics_path,
		.metrics_port = 82,
		.http = PRESET_HTTP_2,
		.progress = PRESET_PROGRESS_REQUEST,
		.expr = {[LOAD_QUEUE] = queue,
			 [LOAD_RUNNING] = "run",
			 [LOAD_KV] = "kv / 100",
			 [LOAD_GPU_MEM] = "mem",
			 [LOAD_PROGRESS] = "steps",
			 [LOAD_ABORTS] = "none",
			 [LOAD_SLOTS] = "slots"},
	};
	struct preset_spec *spec = apply("vllm", &o);

	(void)state;
	/* The spec keeps copies. */
	memset(health_path, 'x', sizeof(health_path) - 1);
	memset(metrics_path, 'x', sizeof(metrics_path) - 1);
	memset(queue, 'x', sizeof(queue) - 1);
	assert_string_equal(spec->health_path, "/ready");
	assert_int_equal(spec->health_port, 81);
	assert_string_equal(spec->sources[0].path, "/stats?all=1");
	assert_int_equal(spec->sources[0].port, 82);
	assert_int_equal(spec->http, PRESET_HTTP_2);
	assert_int_equal(spec->progress, PRESET_PROGRESS_REQUEST);
	assert_string_equal(expr_of(spec, 0, LOAD_QUEUE), "sum(my:queue{kind=\"chat\"})");
	assert_string_equal(expr_of(spec, 0, LOAD_RUNNING), "run");
	assert_string_equal(expr_of(spec, 0, LOAD_KV), "kv / 100");
	assert_string_equal(expr_of(spec, 0, LOAD_GPU_MEM), "mem");
	assert_string_equal(expr_of(spec, 0, LOAD_PROGRESS), "steps");
	assert_null(expr_of(spec, 0, LOAD_ABORTS));
	assert_string_equal(expr_of(spec, 0, LOAD_SLOTS), "slots");
	assert_int_equal(spec->provides, Q | R | K | G | P | S);
	preset_spec_free(&spec);
}

static void test_one_override_keeps_the_rest(void **state)
{
	struct preset_overrides o = {.expr = {[LOAD_PROGRESS] = "sum(steps)"}};
	struct preset_spec *spec = apply("sglang", &o);

	(void)state;
	assert_string_equal(expr_of(spec, 0, LOAD_KV), "max(sglang:token_usage)");
	assert_int_equal(spec->provides, Q | R | K | P | A);
	/* An own counter is taken at its word. */
	assert_int_equal(spec->progress, PRESET_PROGRESS_STEP);
	preset_spec_free(&spec);

	o = (struct preset_overrides){.expr = {[LOAD_PROGRESS] = "none"}};
	spec = apply("sglang", &o);
	assert_int_equal(spec->progress, PRESET_PROGRESS_NONE);
	assert_int_equal(spec->provides, Q | R | K | A);
	preset_spec_free(&spec);
}

static void test_another_format_drops_the_presets_expressions(void **state)
{
	struct preset_overrides o = {.format = METRIC_FORMAT_JSON,
				     .metrics_path = "/metrics",
				     .expr = {[LOAD_QUEUE] = "[-1].numQueuedRequests"}};
	struct preset_spec *spec = apply("trtllm", &o);

	(void)state;
	assert_int_equal(spec->provides, Q);
	assert_string_equal(spec->sources[0].accept, "application/json");
	assert_string_equal(spec->sources[0].path, "/metrics");
	preset_spec_free(&spec);
}

static void test_scraping_off_and_on(void **state)
{
	struct preset_overrides o = {.format = METRIC_FORMAT_NONE};
	struct preset_spec *spec = apply("vllm", &o);

	(void)state;
	assert_int_equal(spec->n_sources, 0);
	assert_int_equal(spec->provides, 0);
	assert_int_equal(spec->progress, PRESET_PROGRESS_NONE);
	preset_spec_free(&spec);

	o = (struct preset_overrides){.format = METRIC_FORMAT_PROM, .expr = {[LOAD_QUEUE] = "q"}};
	spec = apply("ollama", &o);
	assert_int_equal(spec->n_sources, 1);
	assert_string_equal(spec->sources[0].path, "/metrics");
	assert_int_equal(spec->provides, Q);
	preset_spec_free(&spec);
}

static void test_addon(void **state)
{
	static const char *const addons[] = {"dcgm"};
	struct preset_overrides o = {.addons = addons, .n_addons = 1};
	struct preset_spec *spec = apply("vllm", &o);

	(void)state;
	assert_int_equal(spec->n_sources, 2);
	assert_string_equal(spec->sources[1].name, "dcgm");
	assert_string_equal(spec->sources[1].path, "/metrics");
	assert_int_equal(spec->sources[1].port, 9400);
	assert_false(spec->sources[1].is_health);
	assert_null(expr_of(spec, 1, LOAD_QUEUE));
	assert_non_null(expr_of(spec, 1, LOAD_GPU_MEM));
	assert_int_equal(spec->provides, Q | R | K | G | P | A);
	preset_spec_free(&spec);

	o.addon_port = 19400;
	o.format = METRIC_FORMAT_NONE;
	spec = apply("vllm", &o);
	assert_int_equal(spec->n_sources, 1);
	assert_int_equal(spec->sources[0].port, 19400);
	assert_int_equal(spec->provides, G);
	preset_spec_free(&spec);
}

static void test_health_overrides(void **state)
{
	char words[] = "ready";
	struct preset_overrides o = {.health_expect = words};
	struct preset_spec *spec = apply("vllm", &o);

	(void)state;
	words[0] = 'x';
	assert_int_equal(spec->rules.body, HEALTH_BODY_CONTAINS);
	assert_string_equal(spec->rules.expect, "ready");
	/* What the preset knows of statuses stays. */
	assert_int_equal(spec->rules.status[0].status, 503);
	preset_spec_free(&spec);

	o = (struct preset_overrides){.health_status_field = "state"};
	spec = apply("vllm", &o);
	assert_int_equal(spec->rules.body, HEALTH_BODY_JSON);
	assert_string_equal(spec->rules.status_field, "state");
	preset_spec_free(&spec);

	/* A path turns connecting into asking. */
	o = (struct preset_overrides){.health_path = "/up"};
	spec = apply("tcp", &o);
	assert_int_equal(spec->check, PRESET_CHECK_HTTP);
	assert_string_equal(spec->health_path, "/up");
	preset_spec_free(&spec);

	o = (struct preset_overrides){.check = PRESET_CHECK_TCP, .health_port = 22};
	spec = apply("vllm", &o);
	assert_int_equal(spec->check, PRESET_CHECK_TCP);
	assert_null(spec->health_path);
	assert_int_equal(spec->health_port, 22);
	assert_int_equal(spec->n_sources, 1);
	preset_spec_free(&spec);
}

static const char *const twice[] = {"dcgm", "dcgm"};
static const char *const vllm[] = {"vllm"};
static const char *const unknown[] = {"nvml"};

static const struct {
	const char *preset;
	struct preset_overrides o;
	const char *key;
	size_t pos;
	const char *text;
} errors[] = {
	{"dcgm",
	 {0},
	 "preset",
	 0,
	 "'dcgm' is only an addition to another preset; expected one of json, vllm, sglang, tgi, "
	 "triton, triton-trtllm, trtllm, nim, llamacpp, lmdeploy, ray-serve, ollama, tcp"},
	{"vllm",
	 {.health_path = "health"},
	 "health_path",
	 0,
	 "expected a path that starts with '/', found 'health'"},
	{"vllm",
	 {.health_path = ""},
	 "health_path",
	 0,
	 "expected a path that starts with '/', found ''"},
	{"vllm",
	 {.metrics_path = "/a b"},
	 "metrics_path",
	 0,
	 "byte 2 of the path is not allowed there; write it as %XX"},
	{"vllm",
	 {.health_path = "/a\r\nHost: x"},
	 "health_path",
	 0,
	 "byte 2 of the path is not allowed there; write it as %XX"},
	{"vllm",
	 {.metrics_path = "/a#b"},
	 "metrics_path",
	 0,
	 "byte 2 of the path is not allowed there; write it as %XX"},
	{"vllm",
	 {.expr = {[LOAD_QUEUE] = "sum(vllm:num_requests_waiting"}},
	 "expr.queue",
	 29,
	 "expected ')' or an operator, found the end"},
	{"vllm",
	 {.expr = {[LOAD_GPU_MEM] = "a.b"}},
	 "expr.gpu_memory",
	 1,
	 "a metric name has no '.'; write it in '\"' if it does"},
	{"vllm",
	 {.format = METRIC_FORMAT_JSON},
	 "format",
	 0,
	 "the page has no expression: name at least one field, or format: none"},
	{"tgi",
	 {.expr = {[LOAD_QUEUE] = "none", [LOAD_RUNNING] = "none", [LOAD_PROGRESS] = "none"}},
	 "format",
	 0,
	 "the page has no expression: name at least one field, or format: none"},
	{"ollama",
	 {.expr = {[LOAD_QUEUE] = "q"}},
	 "format",
	 0,
	 "preset 'ollama' scrapes no page: set the format to prometheus or json"},
	{"tcp",
	 {.metrics_port = 9100},
	 "format",
	 0,
	 "preset 'tcp' scrapes no page: set the format to prometheus or json"},
	{"vllm", {.addons = twice, .n_addons = 2}, "addons", 0, "'dcgm' is given twice"},
	{"tgi",
	 {.addons = vllm, .n_addons = 1},
	 "addons",
	 0,
	 "'vllm' is not an add-on; known: dcgm"},
	{"tgi",
	 {.addons = unknown, .n_addons = 1},
	 "addons",
	 0,
	 "'nvml' is not an add-on; known: dcgm"},
	{"tcp", {.check = PRESET_CHECK_HTTP}, "health_path", 0, "an http check needs a path"},
	{"tcp",
	 {.check = PRESET_CHECK_TCP, .health_path = "/"},
	 "health_path",
	 0,
	 "a tcp check has no path"},
	{"tcp", {.health_expect = "x"}, "health_expect", 0, "a tcp check reads no answer"},
	{"tcp",
	 {.health_status_field = "x"},
	 "health_status_field",
	 0,
	 "a tcp check reads no answer"},
	{"vllm",
	 {.health_expect = "x", .health_status_field = "y"},
	 "health_expect",
	 0,
	 "give either health_expect or health_status_field"},
};

static void test_errors(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		struct preset_error error = {.pos = 99};
		struct preset_spec *spec = NULL;

		assert_int_equal(
			preset_apply(preset_find(errors[i].preset), &errors[i].o, &spec, &error),
			-EINVAL);
		assert_null(spec);
		if (strcmp(error.key, errors[i].key) != 0 || error.pos != errors[i].pos ||
		    strcmp(error.text, errors[i].text) != 0)
			fail_msg("row %zu:\n got %s %zu: %s\nwant %s %zu: %s", i, error.key,
				 error.pos, error.text, errors[i].key, errors[i].pos,
				 errors[i].text);
	}
}

static void test_path_length(void **state)
{
	char path[1100];
	struct preset_overrides o = {.health_path = path};
	struct preset_spec *spec = NULL;
	struct preset_error error;

	(void)state;
	memset(path, '/', sizeof(path));
	path[1025] = '\0';
	assert_int_equal(preset_apply(preset_find("vllm"), &o, &spec, &error), -EINVAL);
	assert_string_equal(error.text, "the path is longer than 1024 bytes");
	path[1024] = '\0';
	assert_int_equal(preset_apply(preset_find("vllm"), &o, &spec, &error), 0);
	preset_spec_free(&spec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_json_is_its_own_health_page),
		cmocka_unit_test(test_every_field_can_be_overridden),
		cmocka_unit_test(test_one_override_keeps_the_rest),
		cmocka_unit_test(test_another_format_drops_the_presets_expressions),
		cmocka_unit_test(test_scraping_off_and_on),
		cmocka_unit_test(test_addon),
		cmocka_unit_test(test_health_overrides),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_path_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
