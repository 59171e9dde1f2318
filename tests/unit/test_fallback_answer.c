/* SPDX-License-Identifier: BSD-2-Clause */
#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "userspace/agent/fallback_answer.h"

#define NOW 1000000

static const struct config_fallback settings = {
	.enabled = true,
	.status = 503,
	.body_type = "text/plain",
	.retry_min_ms = 500,
	.retry_max_ms = 3000,
};

static struct endpoint endpoint(const char *text)
{
	struct endpoint ep;

	assert_int_equal(endpoint_parse(text, &ep), 0);
	return ep;
}

static struct fallback_site *site_with(const struct config_fallback *cfg, const char *ep_text,
				       struct fallback_blob *body,
				       const struct fallback_cached *cached, uint32_t n)
{
	struct endpoint ep = endpoint(ep_text);
	struct fallback_counters *counters = fallback_counters_new();
	struct fallback_site *site;

	assert_int_equal(fallback_site_new(&ep, cfg, body, counters, cached, n, &site), 0);
	fallback_counters_unref(&counters);
	return site;
}

static struct fallback_site *plain_site(void)
{
	return site_with(&settings, "10.0.0.1:80", NULL, NULL, 0);
}

/* --- degraded --------------------------------------------------------------------------------- */

static void test_the_body_is_an_error_in_openai_s_form(void **state)
{
	struct fallback_site *site = plain_site();
	struct fallback_answer a;
	json_t *json, *error;

	(void)state;
	fallback_answer(site, "POST", "/v1/chat/completions", NOW, 0, &a);
	assert_int_equal(a.status, 503);
	assert_false(a.cached);
	assert_null(a.body);
	assert_string_equal(a.type, "application/json");
	json = json_loads(a.text, 0, NULL);
	error = json_object_get(json, "error");
	assert_true(strlen(json_string_value(json_object_get(error, "message"))) > 0);
	assert_string_equal(json_string_value(json_object_get(error, "type")), "server_error");
	assert_true(json_is_null(json_object_get(error, "param")));
	assert_true(json_is_string(json_object_get(error, "code")));
	json_decref(json);
	fallback_site_unref(&site);
}

static void test_the_type_of_the_error_goes_with_the_status(void **state)
{
	struct config_fallback cfg = settings;
	struct fallback_site *site;
	struct fallback_answer a;

	(void)state;
	cfg.status = 429;
	site = site_with(&cfg, "10.0.0.1:80", NULL, NULL, 0);
	fallback_answer(site, "GET", "/", NOW, 0, &a);
	assert_int_equal(a.status, 429);
	assert_non_null(strstr(a.text, "\"rate_limit_error\""));
	fallback_site_unref(&site);
}

static void test_a_configured_body_is_given_with_its_type(void **state)
{
	struct fallback_blob *body = fallback_blob_new("sorry", 5);
	struct fallback_site *site = site_with(&settings, "10.0.0.1:80", body, NULL, 0);
	struct fallback_answer a;

	(void)state;
	fallback_answer(site, "GET", "/", NOW, 0, &a);
	assert_ptr_equal(a.body, body);
	assert_string_equal(a.type, "text/plain");
	fallback_blob_unref(&body);
	fallback_site_unref(&site);
}

static void test_waits_cover_the_whole_range_evenly_and_no_more(void **state)
{
	struct fallback_site *site = plain_site();
	uint32_t thirds[3] = {};
	struct fallback_answer a;
	bool low = false, high = false;

	(void)state;
	for (uint64_t i = 0; i < 250100; i++) {
		fallback_answer(site, "GET", "/", NOW, i * 0x9e3779b97f4a7c15, &a);
		assert_in_range(a.retry_ms, 500, 3000);
		low = low || a.retry_ms == 500;
		high = high || a.retry_ms == 3000;
		thirds[(a.retry_ms - 500) * 3 / 2501]++;
	}
	assert_true(low && high);
	for (int i = 0; i < 3; i++)
		assert_in_range(thirds[i], 81000, 86000);
	fallback_site_unref(&site);
}

static void test_a_range_of_one_value_is_that_value(void **state)
{
	struct config_fallback cfg = settings;
	struct fallback_site *site;
	struct fallback_answer a;

	(void)state;
	cfg.retry_min_ms = cfg.retry_max_ms = 700;
	site = site_with(&cfg, "10.0.0.1:80", NULL, NULL, 0);
	fallback_answer(site, "GET", "/", NOW, UINT64_MAX, &a);
	assert_int_equal(a.retry_ms, 700);
	fallback_site_unref(&site);
}

static void test_retry_after_is_never_shorter_than_retry_after_ms(void **state)
{
	(void)state;
	assert_int_equal(fallback_retry_after_s(1), 1);
	assert_int_equal(fallback_retry_after_s(1000), 1);
	assert_int_equal(fallback_retry_after_s(1001), 2);
	assert_int_equal(fallback_retry_after_s(1500), 2);
	assert_int_equal(fallback_retry_after_s(3000), 3);
}

static void test_a_vip_that_is_gone_has_the_default_answer(void **state)
{
	struct fallback_answer a;

	(void)state;
	fallback_answer(NULL, "GET", "/v1/models", NOW, 7, &a);
	assert_int_equal(a.status, 503);
	assert_in_range(a.retry_ms, 500, 3000);
	assert_non_null(a.text);
}

/* --- cached ----------------------------------------------------------------------------------- */

static struct fallback_site *caching_site(void)
{
	struct fallback_blob *models = fallback_blob_new("{}", 2);
	struct fallback_cached cached[] = {
		{.path = "/v1/models", .body = models, .type = "application/json",
		 .fetched_ms = NOW, .max_age_ms = 10000},
		{.path = "/info?full=1", .body = models, .type = "text/x", .fetched_ms = NOW - 5000,
		 .max_age_ms = 10000},
		{.path = "/never", .body = NULL, .fetched_ms = -1, .max_age_ms = 10000},
	};
	struct fallback_site *site = site_with(&settings, "10.0.0.1:80", NULL, cached, 3);

	fallback_blob_unref(&models);
	return site;
}

static void test_a_kept_answer_is_given_until_its_maximum_age(void **state)
{
	struct fallback_site *site = caching_site();
	struct fallback_answer a;

	(void)state;
	fallback_answer(site, "GET", "/v1/models", NOW + 9999, 0, &a);
	assert_true(a.cached);
	assert_int_equal(a.status, 200);
	assert_int_equal(a.age_s, 9);
	assert_memory_equal(a.body->data, "{}", 2);
	fallback_answer(site, "HEAD", "/v1/models", NOW + 10000, 0, &a);
	assert_true(a.cached);
	fallback_answer(site, "GET", "/v1/models", NOW + 10001, 0, &a);
	assert_false(a.cached);
	assert_int_equal(a.status, 503);
	fallback_site_unref(&site);
}

static void test_only_the_very_path_with_its_query_is_answered(void **state)
{
	static const char *const others[] = {"/v1/models/", "/v1/models?x", "/v1/model", "",
					     "/info", "/info?full=2", "/never"};
	struct fallback_site *site = caching_site();
	struct fallback_answer a;

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		fallback_answer(site, "GET", others[i], NOW, 0, &a);
		assert_false(a.cached);
	}
	fallback_answer(site, "GET", "/info?full=1", NOW, 0, &a);
	assert_true(a.cached);
	assert_string_equal(a.type, "text/x");
	assert_int_equal(a.age_s, 5);
	fallback_answer(site, "POST", "/v1/models", NOW, 0, &a);
	assert_false(a.cached);
	fallback_site_unref(&site);
}

/* --- the board -------------------------------------------------------------------------------- */

static void test_a_site_is_found_by_address_and_port(void **state)
{
	struct fallback_board *board = fallback_board_new();
	struct fallback_site *sites[] = {
		site_with(&settings, "10.0.0.2:80", NULL, NULL, 0),
		site_with(&settings, "[2001:db8::1]:80", NULL, NULL, 0),
		site_with(&settings, "10.0.0.1:81", NULL, NULL, 0),
		site_with(&settings, "10.0.0.1:80", NULL, NULL, 0),
	};
	struct endpoint other = endpoint("10.0.0.1:82");
	struct fallback_site *found;

	(void)state;
	assert_null(fallback_board_find(board, &other));
	assert_int_equal(fallback_board_set(board, sites, 4), 0);
	for (int i = 0; i < 4; i++) {
		found = fallback_board_find(board, &sites[i]->endpoint);
		assert_ptr_equal(found, sites[i]);
		fallback_site_unref(&found);
	}
	assert_null(fallback_board_find(board, &other));
	for (int i = 0; i < 4; i++)
		fallback_site_unref(&sites[i]);
	fallback_board_free(&board);
}

static void test_a_site_that_was_taken_stays_whole_when_the_board_changes(void **state)
{
	struct fallback_board *board = fallback_board_new();
	struct fallback_site *old = caching_site(), *now = plain_site(), *taken;
	struct fallback_answer a;

	(void)state;
	assert_int_equal(fallback_board_set(board, &old, 1), 0);
	taken = fallback_board_find(board, &old->endpoint);
	fallback_site_unref(&old);
	assert_int_equal(fallback_board_set(board, &now, 1), 0);
	fallback_answer(taken, "GET", "/v1/models", NOW, 0, &a);
	assert_true(a.cached);
	assert_memory_equal(a.body->data, "{}", 2);
	fallback_site_unref(&taken);
	taken = fallback_board_find(board, &now->endpoint);
	assert_ptr_equal(taken, now);
	fallback_site_unref(&taken);
	fallback_site_unref(&now);
	fallback_board_free(&board);
}

struct race {
	struct fallback_board *board;
	bool stop;
	uint64_t n;
};

static void *read_all_the_time(void *arg)
{
	struct endpoint ep = endpoint("10.0.0.1:80");
	struct race *race = arg;

	while (!__atomic_load_n(&race->stop, __ATOMIC_ACQUIRE)) {
		struct fallback_site *site = fallback_board_find(race->board, &ep);
		struct fallback_answer a;

		fallback_answer(site, "GET", "/v1/models", NOW, race->n++, &a);
		if (!a.cached || strcmp(a.body->data, "{}"))
			abort();
		fallback_site_unref(&site);
	}
	return NULL;
}

static void test_threads_read_while_the_board_changes(void **state)
{
	struct race races[2] = {};
	struct fallback_board *board = fallback_board_new();
	struct fallback_site *site = caching_site();
	pthread_t threads[2];

	(void)state;
	assert_int_equal(fallback_board_set(board, &site, 1), 0);
	for (int i = 0; i < 2; i++) {
		races[i].board = board;
		assert_int_equal(pthread_create(&threads[i], NULL, read_all_the_time, &races[i]), 0);
	}
	for (int i = 0; i < 3000; i++) {
		fallback_site_unref(&site);
		site = caching_site();
		assert_int_equal(fallback_board_set(board, &site, 1), 0);
	}
	for (int i = 0; i < 2; i++) {
		__atomic_store_n(&races[i].stop, true, __ATOMIC_RELEASE);
		pthread_join(threads[i], NULL);
	}
	fallback_site_unref(&site);
	fallback_board_free(&board);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_body_is_an_error_in_openai_s_form),
		cmocka_unit_test(test_the_type_of_the_error_goes_with_the_status),
		cmocka_unit_test(test_a_configured_body_is_given_with_its_type),
		cmocka_unit_test(test_waits_cover_the_whole_range_evenly_and_no_more),
		cmocka_unit_test(test_a_range_of_one_value_is_that_value),
		cmocka_unit_test(test_retry_after_is_never_shorter_than_retry_after_ms),
		cmocka_unit_test(test_a_vip_that_is_gone_has_the_default_answer),
		cmocka_unit_test(test_a_kept_answer_is_given_until_its_maximum_age),
		cmocka_unit_test(test_only_the_very_path_with_its_query_is_answered),
		cmocka_unit_test(test_a_site_is_found_by_address_and_port),
		cmocka_unit_test(test_a_site_that_was_taken_stays_whole_when_the_board_changes),
		cmocka_unit_test(test_threads_read_while_the_board_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
