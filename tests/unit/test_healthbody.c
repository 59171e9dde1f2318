// SPDX-License-Identifier: BSD-2-Clause
/*
 * Health answers -> verdicts. The first table judges every answer in tests/fixtures/servers/health
 * and .../errors with the rules of its server's preset; a file without a row fails.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "userspace/agent/healthbody.h"
#include "userspace/agent/preset.h"
#include "userspace/lib/cleanup.h"

#define DIRECTORY "tests/fixtures/servers/"

/* Reads an .http file: status line, headers, empty line, body. Returns its content. */
static char *read_answer(const char *name, unsigned int *ret_status, char **ret_body,
			 size_t *ret_len)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[512];
	char *data;
	char *body;
	size_t len;

	snprintf(path, sizeof(path), DIRECTORY "%s", name);
	f = fopen(path, "r");
	if (!f)
		fail_msg("cannot open %s", path);
	data = calloc(1, 8192);
	assert_non_null(data);
	len = fread(data, 1, 8191, f);
	assert_int_equal(sscanf(data, "HTTP/1.1 %u ", ret_status), 1);
	body = strstr(data, "\r\n\r\n");
	if (body)
		body += 4;
	else
		body = strstr(data, "\n\n") + 2;
	assert_true(body > data + 2);
	*ret_body = body;
	*ret_len = len - (size_t)(body - data);
	/* The captures end with a newline that the server did not send. */
	while (*ret_len && (body[*ret_len - 1] == '\n' || body[*ret_len - 1] == '\r'))
		(*ret_len)--;
	return data;
}

static const struct {
	const char *file;
	const char *preset;
	enum health_verdict never_ready; /* verdict while the node never passed */
	enum health_verdict was_ready;   /* and after it did */
	const char *cause;
} answers[] = {
	{"health/llamacpp_loading_503.http", "llamacpp", HEALTH_VERDICT_LOADING,
	 HEALTH_VERDICT_LOADING, "503 Loading model"},
	{"health/llamacpp_no_slot_503.http", "llamacpp", HEALTH_VERDICT_BUSY, HEALTH_VERDICT_BUSY,
	 "503 no slot available"},
	{"health/llamacpp_ready_200.http", "llamacpp", HEALTH_VERDICT_PASS, HEALTH_VERDICT_PASS,
	 "200"},
	{"health/llamacpp_ready_200.http", "json", HEALTH_VERDICT_PASS, HEALTH_VERDICT_PASS,
	 "200, status: ok"},
	{"health/ollama_root_200.http", "ollama", HEALTH_VERDICT_PASS, HEALTH_VERDICT_PASS, "200"},
	{"health/ray_serve_healthz_200.http", "ray-serve", HEALTH_VERDICT_PASS, HEALTH_VERDICT_PASS,
	 "200"},
	{"health/ray_serve_healthz_503_draining.http", "ray-serve", HEALTH_VERDICT_DRAINING,
	 HEALTH_VERDICT_DRAINING, "503 This node is being drained."},
	/* The same answer from start and shutdown: only the past tells which. */
	{"health/sglang_health_503_starting_or_draining.http", "sglang", HEALTH_VERDICT_LOADING,
	 HEALTH_VERDICT_DRAINING, "503 starting, draining or unable to generate"},
	{"health/tgi_health_503.http", "tgi", HEALTH_VERDICT_FAIL, HEALTH_VERDICT_FAIL,
	 "503 unhealthy"},
	{"health/triton_ready_400_not_ready.http", "triton", HEALTH_VERDICT_LOADING,
	 HEALTH_VERDICT_DRAINING, "400 not ready"},
	{"health/triton_ready_400_not_ready.http", "triton-trtllm", HEALTH_VERDICT_LOADING,
	 HEALTH_VERDICT_DRAINING, "400 not ready"},
	{"health/vllm_health_200_empty.http", "vllm", HEALTH_VERDICT_PASS, HEALTH_VERDICT_PASS,
	 "200"},
	/* The same empty 200 is no answer of a server that should have sent JSON. */
	{"health/vllm_health_200_empty.http", "json", HEALTH_VERDICT_FAIL, HEALTH_VERDICT_FAIL,
	 "200, but the body is empty"},
	{"health/vllm_health_503_engine_dead.http", "vllm", HEALTH_VERDICT_FAIL,
	 HEALTH_VERDICT_FAIL, "503 the engine is dead"},
	{"errors/llamacpp_503_loading.http", "json", HEALTH_VERDICT_LOADING, HEALTH_VERDICT_LOADING,
	 "503 Loading model"},
	{"errors/llamacpp_stream_ok.http", "llamacpp", HEALTH_VERDICT_PASS, HEALTH_VERDICT_PASS,
	 "200"},
	{"errors/ollama_503_busy_native.http", "ollama", HEALTH_VERDICT_BUSY, HEALTH_VERDICT_BUSY,
	 "503 server busy, please try again.  maximum pending requests exceeded"},
	{"errors/openai_429_overloaded.http", "vllm", HEALTH_VERDICT_BUSY, HEALTH_VERDICT_BUSY,
	 "429 The engine is currently overloaded, please try again later"},
	{"errors/openai_503_overloaded.http", "vllm", HEALTH_VERDICT_BUSY, HEALTH_VERDICT_BUSY,
	 "503 The engine is currently overloaded, please try again later"},
	{"errors/sglang_stream_error_inside_200.http", "json", HEALTH_VERDICT_FAIL,
	 HEALTH_VERDICT_FAIL, "200, but the body is not a JSON object"},
	{"errors/tgi_429_overloaded.http", "tgi", HEALTH_VERDICT_BUSY, HEALTH_VERDICT_BUSY,
	 "429 Model is overloaded"},
};

static void check(const char *what, const struct health_rules *rules, unsigned int status,
		  const char *body, size_t len, enum health_history history,
		  enum health_verdict want, const char *want_cause)
{
	enum health_verdict v;
	char cause[256];

	v = health_body_judge(rules, status, body, len, history, cause, sizeof(cause));
	if (v != want || strcmp(cause, want_cause) != 0)
		fail_msg("%s:\n got %s: %s\nwant %s: %s", what, health_verdict_name(v), cause,
			 health_verdict_name(want), want_cause);
}

static void test_every_fixture(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		const struct health_rules *rules = &preset_find(answers[i].preset)->rules;
		_cleanup_free_ char *data = NULL;
		unsigned int status = 0;
		char *body;
		size_t len;

		data = read_answer(answers[i].file, &status, &body, &len);
		check(answers[i].file, rules, status, body, len, HEALTH_NEVER_READY,
		      answers[i].never_ready, answers[i].cause);
		check(answers[i].file, rules, status, body, len, HEALTH_WAS_READY,
		      answers[i].was_ready, answers[i].cause);
	}
}

static void rows_for(const char *sub)
{
	char path[512];
	struct dirent *entry;
	size_t n = 0;
	DIR *d;

	snprintf(path, sizeof(path), DIRECTORY "%s", sub);
	d = opendir(path);
	assert_non_null(d);
	while ((entry = readdir(d))) {
		bool found = entry->d_name[0] == '.';

		snprintf(path, sizeof(path), "%s/%s", sub, entry->d_name);
		for (size_t i = 0; i < ARRAY_SIZE(answers) && !found; i++)
			found = strcmp(answers[i].file, path) == 0;
		if (!found)
			fail_msg("no row for %s", path);
		n++;
	}
	closedir(d);
	assert_true(n > 6);
}

static void test_every_fixture_has_a_row(void **state)
{
	(void)state;
	rows_for("health");
	rows_for("errors");
}

static const struct health_rules any = {.body = HEALTH_BODY_ANY};
static const struct health_rules json = {.body = HEALTH_BODY_JSON, .status_field = "status"};
static const struct health_rules contains = {.body = HEALTH_BODY_CONTAINS, .expect = "all well"};
static const struct health_rules custom = {
	.body = HEALTH_BODY_JSON,
	.status_field = "state",
	.status = {{204, HEALTH_VERDICT_FAIL, "never used: 2xx is judged by its body"},
		   {418, HEALTH_VERDICT_BUSY, "short and stout"},
		   {503, HEALTH_VERDICT_LOADING, "not yet"}},
};

static const struct {
	const char *name;
	const struct health_rules *rules;
	unsigned int status;
	const char *body;
	enum health_verdict want;
	const char *cause;
} cases[] = {
	{"any 2xx passes", &any, 204, "", HEALTH_VERDICT_PASS, "204"},
	{"whatever its body", &any, 200, "{\"status\":\"error\"}", HEALTH_VERDICT_PASS, "200"},
	{"a redirect fails", &any, 307, "", HEALTH_VERDICT_FAIL,
	 "307 is a redirect; health checks follow none"},
	{"a refused token is named", &any, 401, "", HEALTH_VERDICT_FAIL,
	 "401 the server wants credentials"},
	{"a wrong path is named", &any, 404, "<html>Not Found</html>", HEALTH_VERDICT_FAIL,
	 "404 no such path on this server"},
	{"the server's own words come first", &any, 404, "{\"detail\":\"Not Found\"}",
	 HEALTH_VERDICT_FAIL, "404 Not Found"},
	{"an error without words is its number", &any, 500, "", HEALTH_VERDICT_FAIL, "500"},
	{"plain text: its first line", &any, 500, "\r\n  out of memory  \r\ntrace\r\n",
	 HEALTH_VERDICT_FAIL, "500 out of memory"},
	{"markup is nobody's words", &any, 502, "<h1>overloaded</h1>", HEALTH_VERDICT_FAIL, "502"},
	{"bytes that do not print are hidden", &any, 500,
	 "a\x1b[31m\xff"
	 "b",
	 HEALTH_VERDICT_FAIL, "500 a?[31m?b"},
	{"too many requests is busy", &any, 429, "", HEALTH_VERDICT_BUSY, "429 too many requests"},
	{"words in any case", &any, 503, "LOADING MODEL", HEALTH_VERDICT_LOADING,
	 "503 LOADING MODEL"},
	{"Ray before its first routes", &any, 503, "Route table is not populated yet.",
	 HEALTH_VERDICT_LOADING, "503 Route table is not populated yet."},
	{"Ray before its first replica", &any, 503, "No replicas are available yet.",
	 HEALTH_VERDICT_LOADING, "503 No replicas are available yet."},
	{"a message under a plain key", &any, 503, "{\"message\":\"server is shutting down\"}",
	 HEALTH_VERDICT_DRAINING, "503 server is shutting down"},
	{"an error that is an object without message", &any, 503, "{\"error\":{\"code\":503}}",
	 HEALTH_VERDICT_FAIL, "503"},

	{"the expected words", &contains, 200, "<p>all well</p>", HEALTH_VERDICT_PASS, "200"},
	{"other words", &contains, 200, "welcome to nginx", HEALTH_VERDICT_FAIL,
	 "200, but the body does not contain 'all well'"},
	{"no words", &contains, 200, "", HEALTH_VERDICT_FAIL,
	 "200, but the body does not contain 'all well'"},
	{"words cut short", &contains, 200, "all wel", HEALTH_VERDICT_FAIL,
	 "200, but the body does not contain 'all well'"},

	{"ok", &json, 200, "{\"status\":\"ok\",\"queue_depth\":1}", HEALTH_VERDICT_PASS,
	 "200, status: ok"},
	{"healthy, in other letters", &json, 200, "{\"status\":\"Healthy\"}", HEALTH_VERDICT_PASS,
	 "200, status: Healthy"},
	{"no status field: the number counts", &json, 200, "{\"queue_depth\":1}",
	 HEALTH_VERDICT_PASS, "200"},
	{"null is no status field", &json, 200, "{\"status\":null}", HEALTH_VERDICT_PASS, "200"},
	{"loading", &json, 200, "{\"status\":\"loading\"}", HEALTH_VERDICT_LOADING,
	 "200, status: loading"},
	{"llama.cpp of old", &json, 503, "{\"status\":\"loading model\"}", HEALTH_VERDICT_LOADING,
	 "503, status: loading model"},
	{"draining", &json, 200, "{\"status\":\"shutting-down\"}", HEALTH_VERDICT_DRAINING,
	 "200, status: shutting-down"},
	{"busy", &json, 200, "{\"status\":\"no slot available\"}", HEALTH_VERDICT_BUSY,
	 "200, status: no slot available"},
	{"degraded says its own load", &json, 200, "{\"status\":\"degraded\"}", HEALTH_VERDICT_PASS,
	 "200, status: degraded"},
	{"unhealthy beside a 200", &json, 200, "{\"status\":\"unhealthy\"}", HEALTH_VERDICT_FAIL,
	 "200, status: unhealthy"},
	{"ok beside a 503 is no pass", &json, 503, "{\"status\":\"ok\"}", HEALTH_VERDICT_FAIL,
	 "503"},
	{"a word of another world", &json, 200, "{\"status\":\"frobnicating\"}",
	 HEALTH_VERDICT_FAIL, "200, but status is 'frobnicating', which means nothing here"},
	{"true and false", &json, 200, "{\"status\":true}", HEALTH_VERDICT_PASS,
	 "200, status: true"},
	{"false", &json, 200, "{\"status\":false}", HEALTH_VERDICT_FAIL, "200, status: false"},
	{"a number is no word", &json, 200, "{\"status\":1}", HEALTH_VERDICT_FAIL,
	 "200, but status is not a word"},
	{"an empty word", &json, 200, "{\"status\":\"\"}", HEALTH_VERDICT_FAIL,
	 "200, but status is '', which means nothing here"},
	{"cut short", &json, 200, "{\"status\":\"ok\"", HEALTH_VERDICT_FAIL,
	 "200, but the body is not a JSON object"},
	{"a list", &json, 200, "[\"ok\"]", HEALTH_VERDICT_FAIL,
	 "200, but the body is not a JSON object"},
	{"a page of markup", &json, 200, "<html>ok</html>", HEALTH_VERDICT_FAIL,
	 "200, but the body is not a JSON object"},

	{"another field", &custom, 200, "{\"status\":\"error\",\"state\":\"ready\"}",
	 HEALTH_VERDICT_PASS, "200, state: ready"},
	{"a rule for a number", &custom, 418, "", HEALTH_VERDICT_BUSY, "418 short and stout"},
	{"a rule, with the server's words", &custom, 503, "{\"error\":\"warming caches\"}",
	 HEALTH_VERDICT_LOADING, "503 warming caches"},
	{"a field before a rule", &custom, 503, "{\"state\":\"draining\"}", HEALTH_VERDICT_DRAINING,
	 "503, state: draining"},
};

static void test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		check(cases[i].name, cases[i].rules, cases[i].status, cases[i].body,
		      strlen(cases[i].body), HEALTH_NEVER_READY, cases[i].want, cases[i].cause);
	check("no body at all", &any, 503, NULL, 0, HEALTH_NEVER_READY, HEALTH_VERDICT_FAIL, "503");
	check("not ready after it was", &json, 503, "{\"status\":\"not_ready\"}", 22,
	      HEALTH_WAS_READY, HEALTH_VERDICT_DRAINING, "503, status: not_ready");
	check("not ready before it was", &json, 503, "{\"status\":\"not_ready\"}", 22,
	      HEALTH_NEVER_READY, HEALTH_VERDICT_LOADING, "503, status: not_ready");
	check("a rule after it was ready", &custom, 503, "", 0, HEALTH_WAS_READY,
	      HEALTH_VERDICT_DRAINING, "503 not yet");
}

/* A body without end is cut, and so is a cause that does not fit. */
static void test_bounds(void **state)
{
	size_t len = 4 * HEALTH_BODY_MAX_BYTES;
	_cleanup_free_ char *body = malloc(len);
	char cause[256];
	char small[4];

	(void)state;
	assert_non_null(body);
	memset(body, 'x', len);
	assert_int_equal(
		health_body_judge(&any, 500, body, len, HEALTH_NEVER_READY, cause, sizeof(cause)),
		HEALTH_VERDICT_FAIL);
	assert_int_equal(strlen(cause), 4 + 160);
	assert_int_equal(
		health_body_judge(&any, 500, body, len, HEALTH_NEVER_READY, small, sizeof(small)),
		HEALTH_VERDICT_FAIL);
	assert_string_equal(small, "500");
	/* Words behind the cut are not seen. */
	memcpy(body + HEALTH_BODY_MAX_BYTES, "all well", 8);
	assert_int_equal(health_body_judge(&contains, 200, body, len, HEALTH_NEVER_READY, cause,
					   sizeof(cause)),
			 HEALTH_VERDICT_FAIL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_fixture),
		cmocka_unit_test(test_every_fixture_has_a_row),
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
