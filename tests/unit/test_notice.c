/* SPDX-License-Identifier: BSD-2-Clause */
/* Few happenings are a line each; many are some lines and a sum, and none is uncounted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "userspace/agent/notice.h"

/* What was logged while a test ran, in a file. */
struct capture {
	FILE *file;
	int saved;
	char text[65536];
};

static struct capture *begin(void)
{
	struct capture *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	c->file = tmpfile();
	assert_non_null(c->file);
	fflush(stderr);
	c->saved = dup(STDERR_FILENO);
	assert_true(dup2(fileno(c->file), STDERR_FILENO) == STDERR_FILENO);
	unsetenv("JOURNAL_STREAM");
	log_set_level(LOG_LEVEL_INFO);
	return c;
}

static void end(struct capture *c)
{
	size_t n;

	dup2(c->saved, STDERR_FILENO);
	close(c->saved);
	rewind(c->file);
	n = fread(c->text, 1, sizeof(c->text) - 1, c->file);
	c->text[n] = '\0';
	fclose(c->file);
}

static uint32_t count(const struct capture *c, const char *part)
{
	uint32_t n = 0;

	for (const char *p = c->text; (p = strstr(p, part)); p += strlen(part))
		n++;
	return n;
}

static void die(struct notices *n, uint32_t first, uint32_t nodes, int64_t now_ms)
{
	for (uint32_t i = first; i < first + nodes; i++)
		notice_change(n, LB_STATE_HEALTHY, LB_STATE_UNHEALTHY, now_ms, LOG_LEVEL_WARN,
			      "node pool/n%u: healthy -> unhealthy: refused", i);
}

static void a_few_changes_are_a_line_each(void **state)
{
	struct capture *c = begin();
	struct notices n = {0};

	(void)state;
	for (int second = 0; second < 10; second++) {
		die(&n, 0, NOTICE_LINES, 5000 + second * NOTICE_SPAN_MS);
		notice_step(&n, "pool", 5100 + second * NOTICE_SPAN_MS);
	}
	end(c);
	assert_int_equal(count(c, "healthy -> unhealthy: refused"), 10 * NOTICE_LINES);
	assert_int_equal(count(c, "more"), 0);
	free(c);
}

static void many_are_some_lines_and_a_sum(void **state)
{
	struct capture *c = begin();
	struct notices n = {0};

	(void)state;
	die(&n, 0, 300, 5000);
	notice_step(&n, "east", 5100); /* the second is not over */
	die(&n, 300, 200, 5900);
	notice_change(&n, LB_STATE_UNHEALTHY, LB_STATE_WARMING, 5950, LOG_LEVEL_INFO, "not shown");
	notice_step(&n, "east", 6000);
	notice_step(&n, "east", 7000); /* told already */
	die(&n, 0, 1, 7100);
	end(c);
	assert_int_equal(count(c, "node pool/n"), NOTICE_LINES + 1);
	assert_int_equal(count(c, "not shown"), 0);
	assert_int_equal(count(c, "pool east: and 481 more changes of state: 480 healthy -> "
				  "unhealthy, 1 unhealthy -> warming"), 1);
	assert_int_equal(count(c, "more"), 1);
	assert_int_equal(count(c, "warning pool east: and"), 1); /* some went down */
	free(c);
}

static void good_news_is_no_warning(void **state)
{
	struct capture *c = begin();
	struct notices n = {0};

	(void)state;
	for (int i = 0; i < 50; i++)
		notice_change(&n, LB_STATE_UNKNOWN, LB_STATE_HEALTHY, 5000, LOG_LEVEL_INFO, "up");
	notice_step(&n, "pool", 6000);
	end(c);
	assert_int_equal(count(c, "info    pool pool: and 30 more changes of state: 30 unknown -> "
				  "healthy"), 1);
	free(c);
}

static void kinds_do_not_crowd_each_other_out(void **state)
{
	struct capture *c = begin();
	struct notices n = {0};

	(void)state;
	for (int i = 0; i < 100; i++)
		notice(&n, NOTICE_NO_LOAD, 5000, LOG_LEVEL_INFO, "no load");
	die(&n, 7, 1, 5000);
	notice_step(&n, "pool", 6000);
	end(c);
	assert_int_equal(count(c, "no load\n"), NOTICE_LINES);
	assert_int_equal(count(c, "node pool/n7: healthy -> unhealthy"), 1);
	assert_int_equal(count(c, "and 80 more pages of metrics that fail"), 1);
	free(c);
}

static void nodes_without_a_pool_are_summed_up_too(void **state)
{
	struct capture *c = begin();
	struct notices n = {0};

	(void)state;
	for (int i = 0; i < 500; i++)
		notice(&n, NOTICE_GONE, 5000, LOG_LEVEL_INFO, "nothing is left of it");
	notice_step(&n, NULL, 6000);
	end(c);
	assert_int_equal(count(c, "left of it\n"), NOTICE_LINES);
	assert_int_equal(count(c, "info    and 480 more removed nodes of which nothing is left\n"), 1);
	free(c);
}

static void at_level_debug_every_line_is_there(void **state)
{
	struct capture *c = begin();
	struct notices n = {0};

	(void)state;
	log_set_level(LOG_LEVEL_DEBUG);
	die(&n, 0, 300, 5000);
	end(c);
	assert_int_equal(count(c, "healthy -> unhealthy: refused"), 300);
	free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_few_changes_are_a_line_each),
		cmocka_unit_test(many_are_some_lines_and_a_sum),
		cmocka_unit_test(good_news_is_no_warning),
		cmocka_unit_test(nodes_without_a_pool_are_summed_up_too),
		cmocka_unit_test(kinds_do_not_crowd_each_other_out),
		cmocka_unit_test(at_level_debug_every_line_is_there),
	};

	return cmocka_run_group_tests_name("notice", tests, NULL, NULL);
}
