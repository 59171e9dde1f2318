// SPDX-License-Identifier: BSD-2-Clause
/* sluicectl drill: options and plans, good and bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "tools/sluicectl/drill_plan.c"

static int read_args(struct drill_plan *plan, char *err, ...)
{
	char *argv[16];
	int argc = 0;
	va_list ap;

	va_start(ap, err);
	while ((argv[argc] = va_arg(ap, char *)))
		argc++;
	va_end(ap);
	*plan = (struct drill_plan){0};
	err[0] = '\0';
	return drill_plan_read(argc, argv, plan, err);
}

static void options_alone_are_a_plan(void **state)
{
	struct drill_plan p;
	char err[DRILL_ERROR_MAX];

	(void)state;
	assert_int_equal(read_args(&p, err, "--nodes", "a,pool/b", "--url", "http://10.0.0.1/",
				   "--url", "https://x/", "--min-capacity", "60%", "--allow", "2",
				   NULL),
			 0);
	assert_int_equal(p.n_nodes, 2);
	assert_string_equal(p.nodes[1], "pool/b");
	assert_int_equal(p.n_urls, 2);
	assert_string_equal(p.urls[1], "https://x/");
	assert_float_equal(p.min_capacity, 0.6, 1e-9);
	assert_int_equal(p.allow, 2);
	assert_int_equal(p.deadline_ms, 300000);
	assert_null(p.body);
	assert_false(p.dry_run);
	drill_plan_free(&p);
	drill_plan_free(&p);
}

static const char *plan_file(const char *text)
{
	static char path[] = "build/tests/drill-plan.json";
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	return path;
}

static void a_file_is_a_plan_and_options_count_more(void **state)
{
	const char *path = plan_file("{\"nodes\": [\"a\"], \"urls\": [\"http://x/\"],"
				     " \"min_capacity\": 0.25, \"deadline\": \"90s\", \"allow\": 3,"
				     " \"body\": {\"model\": \"m\"}, \"pause\": \"0s\"}");
	struct drill_plan p;
	char err[DRILL_ERROR_MAX];

	(void)state;
	assert_int_equal(read_args(&p, err, path, NULL), 0);
	assert_string_equal(p.nodes[0], "a");
	assert_string_equal(p.body, "{\"model\":\"m\"}");
	assert_float_equal(p.min_capacity, 0.25, 1e-9);
	assert_int_equal(p.deadline_ms, 90000);
	assert_int_equal(p.pause_ms, 0);
	assert_int_equal(p.allow, 3);
	drill_plan_free(&p);
	assert_int_equal(read_args(&p, err, "--pool", "q", path, "--deadline", "1m", NULL), 0);
	assert_int_equal(p.n_nodes, 0);
	assert_string_equal(p.pool, "q");
	assert_int_equal(p.deadline_ms, 60000);
	drill_plan_free(&p);
	unlink(path);
}

static void what_is_wrong_is_named(void **state)
{
	static const struct {
		const char *args[6];
		const char *part;
	} cases[] = {
		{{"--url", "http://x/"}, "which nodes"},
		{{"--nodes", "a"}, "--no-probe"},
		{{"--nodes", "a", "--pool", "p", "--no-probe"}, "one of them"},
		{{"--nodes", "a,a", "--no-probe"}, "a is there twice"},
		{{"--nodes", "a,,b", "--no-probe"}, "empty"},
		{{"--nodes", "a", "--url", "ftp://x/"}, "http://"},
		{{"--nodes"}, "--nodes needs a value"},
		{{"--nodse", "a"}, "no option --nodse"},
		{{"one.json", "two.json"}, "two plans"},
		{{"build/tests/none.json"}, "none.json"},
		{{"--nodes", "a", "--no-probe", "--min-capacity", "120%"}, "min_capacity"},
		{{"--nodes", "a", "--no-probe", "--min-capacity", "%"}, "min_capacity"},
		{{"--nodes", "a", "--no-probe", "--min-capacity", "nan"}, "min_capacity"},
		{{"--nodes", "a", "--no-probe", "--deadline", "5"}, "deadline"},
		{{"--nodes", "a", "--no-probe", "--interval", "0s"}, "interval"},
		{{"--nodes", "a", "--no-probe", "--allow", "-1"}, "allow"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *const *a = cases[i].args;
		char err[DRILL_ERROR_MAX];
		struct drill_plan p;

		assert_true(read_args(&p, err, a[0], a[1], a[2], a[3], a[4], a[5], NULL) < 0);
		if (!strstr(err, cases[i].part))
			fail_msg("'%s' is not in '%s'", cases[i].part, err);
		assert_null(p.json);
	}
}

static void what_is_wrong_in_a_file_is_named(void **state)
{
	static const struct {
		const char *text;
		const char *part;
	} cases[] = {
		{"[]", "object"},
		{"{\"nodes\": [\"a\"], \"probe\": false, \"nodes\": []}", "line 1"},
		{"{\"nodes\": \"a\", \"probe\": false}", "nodes: a list"},
		{"{\"nodes\": [1], \"probe\": false}", "nodes: an entry"},
		{"{\"nodes\": [\"a\"], \"probe\": false, \"node\": 1}", "no key node"},
		{"{\"nodes\": [\"a\"], \"probe\": false, \"deadline\": 5}", "deadline"},
		{"{\"nodes\": [\"a\"], \"probe\": false, \"allow\": 1.5}", "allow"},
		{"{\"pool\": 7, \"probe\": false}", "pool: text"},
		{"{", "line 1"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *path = plan_file(cases[i].text);
		char err[DRILL_ERROR_MAX];
		struct drill_plan p;

		assert_true(read_args(&p, err, path, NULL) < 0);
		if (!strstr(err, cases[i].part))
			fail_msg("'%s' is not in '%s'", cases[i].part, err);
		unlink(path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_alone_are_a_plan),
		cmocka_unit_test(a_file_is_a_plan_and_options_count_more),
		cmocka_unit_test(what_is_wrong_is_named),
		cmocka_unit_test(what_is_wrong_in_a_file_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
