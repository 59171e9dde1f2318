// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "userspace/agent/discovery_file.h"

static struct endpoint at(const char *text)
{
	struct endpoint ep;

	assert_int_equal(endpoint_parse_optional_port(text, &ep), 0);
	return ep;
}

static const struct discovery_target *find(const struct discovery_answer *answer, const char *text)
{
	struct endpoint ep = at(text);

	return discovery_answer_find(answer, &ep);
}

static int parse(const char *text, uint32_t max, struct discovery_answer *ret,
		 char error[DISCOVERY_ERROR_MAX])
{
	/* in memory of exactly this size, so that reading behind it is seen */
	size_t len = strlen(text);
	char *copy = malloc(len ? len : 1);
	int r;

	memcpy(copy, text, len);
	error[0] = '\0';
	r = discovery_file_parse(copy, len, max, ret, error);
	free(copy);
	return r;
}

static void groups_of_prometheus_become_targets_with_their_labels(void **state)
{
	static const char text[] =
		"[{\"targets\": [\"10.0.1.11:8000\", \"10.0.1.12\"],\n"
		"  \"labels\": {\"weight\": \"2\", \"tier\": \"1\", \"job\": \"llm\", \"x\": null}},\n"
		" {\"targets\": [\"[2001:db8::1]:8000\", \"2001:db8::2\"]},\n"
		" {\"targets\": [], \"labels\": {}},\n"
		" {\"labels\": {\"weight\": 0, \"slots\": 64}, \"targets\": [\"10.0.1.9:1\"]}]\n";
	struct discovery_answer a = {0};
	const struct discovery_target *t;
	char error[DISCOVERY_ERROR_MAX];

	(void)state;
	assert_int_equal(parse(text, 100, &a, error), 0);
	assert_int_equal(a.n, 5);
	t = find(&a, "10.0.1.11:8000");
	assert_true(t && t->has_weight && t->weight == 2 && t->has_tier && t->tier == 1);
	assert_false(t->has_slots);
	t = find(&a, "10.0.1.12");
	assert_true(t && t->endpoint.port == 0 && t->weight == 2);
	t = find(&a, "[2001:db8::1]:8000");
	assert_true(t && !t->has_weight && !t->has_tier);
	t = find(&a, "10.0.1.9:1");
	assert_true(t && t->has_weight && t->weight == 0 && t->has_slots && t->slots == 64);
	assert_non_null(find(&a, "2001:db8::2"));
	assert_null(find(&a, "10.0.1.12:8000"));
	discovery_answer_free(&a);
}

static void a_bad_file_is_refused_whole_with_one_line_that_says_why(void **state)
{
	static const struct {
		const char *text;
		int r;
		const char *said;
	} bad[] = {
		{"", -ENODATA, "it is empty"},
		{" \n", -EINVAL, "line 2"},
		{"[{\"targets\": [\"10.0.0.1\"]}", -EINVAL, "line 1, column "},
		{"nodes:\n- 10.0.0.1\n", -EINVAL, "line 1"},
		{"{\"targets\": [\"10.0.0.1\"]}", -EINVAL, "expected a list"},
		{"[[]]", -EINVAL, "[0]: expected an object"},
		{"[{}]", -EINVAL, "[0].targets: expected a list"},
		{"[{\"targets\": \"10.0.0.1\"}]", -EINVAL, "[0].targets: expected a list"},
		{"[]", -ENODATA, "names no target"},
		{"[{\"targets\": []}]", -ENODATA, "names no target"},
		{"[{\"targets\": [\"10.0.0.1\", \"gpu1:8000\"]}]", -EINVAL,
		 "[0].targets[1]: expected an address with or without a port, such as "
		 "10.0.1.11:8000 (names are not looked up), found 'gpu1:8000'"},
		{"[{\"targets\": [7]}]", -EINVAL, "[0].targets[0]: expected an address"},
		{"[{\"targets\": [\"10.0.0.1:0\"]}]", -EINVAL, "found '10.0.0.1:0'"},
		{"[{\"targets\": [\"10.0.0.1\\n\"]}]", -EINVAL, "found '10.0.0.1?'"},
		{"[{\"targets\": [\"10.0.0.1\\u0000\"]}]", -EINVAL, "u0000"},
		{"[{\"targets\": [\"10.0.0.1\"], \"labels\": []}]", -EINVAL, "[0].labels: expected"},
		{"[{\"targets\": [\"10.0.0.1\"], \"labels\": {\"weight\": \"heavy\"}}]", -EINVAL,
		 "[0].labels.weight: expected a whole number, 0 to 1000, found 'heavy'"},
		{"[{\"targets\": [\"10.0.0.1\"], \"labels\": {\"weight\": -1}}]", -EINVAL, "weight"},
		{"[{\"targets\": [\"10.0.0.1\"], \"labels\": {\"weight\": 1.0}}]", -EINVAL, "weight"},
		{"[{\"targets\": [\"10.0.0.1\"], \"labels\": {\"tier\": \"8\"}}]", -EINVAL, "0 to 7"},
		{"[{\"targets\": [\"10.0.0.1:1\"]}, {\"targets\": [\"10.0.0.1:1\"]}]", -EINVAL,
		 "10.0.0.1:1 is listed twice"},
		{"[{\"targets\": [\"10.0.0.1\"], \"targets\": [\"10.0.0.2\"]}]", -EINVAL, "line 1"},
		{"[{\"targets\": [\"10.0.0.1\", \"10.0.0.2\", \"10.0.0.3\"]}]", -E2BIG,
		 "more than 2 targets"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct discovery_answer a = {.n = 77};
		char error[DISCOVERY_ERROR_MAX];

		assert_int_equal(parse(bad[i].text, 2, &a, error), bad[i].r);
		if (!strstr(error, bad[i].said))
			fail_msg("%s: '%s' does not have '%s'", bad[i].text, error, bad[i].said);
		assert_null(strchr(error, '\n'));
		assert_int_equal(a.n, 77); /* untouched */
	}
}

static void files_are_read_whole_and_others_than_files_are_refused(void **state)
{
	char path[] = "/tmp/test-discovery-XXXXXX", error[DISCOVERY_ERROR_MAX];
	struct discovery_answer a = {0};
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "[{\"targets\":[\"10.0.0.1:80\"]}]", 29), 29);
	assert_int_equal(discovery_file_read(path, 1, &a, error), 0);
	assert_int_equal(a.n, 1);
	discovery_answer_free(&a);
	assert_int_equal(ftruncate(fd, DISCOVERY_FILE_SIZE_MAX + 1), 0);
	assert_int_equal(discovery_file_read(path, 1, &a, error), -EFBIG);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(discovery_file_read(path, 1, &a, error), -ENODATA);
	close(fd);
	unlink(path);
	assert_int_equal(discovery_file_read(path, 1, &a, error), -ENOENT);
	assert_string_equal(error, "cannot be read: No such file or directory");
	assert_int_equal(discovery_file_read("/", 1, &a, error), -EISDIR);
	assert_string_equal(error, "cannot be read: Is a directory");
	assert_int_equal(discovery_file_read("/dev/zero", 1, &a, error), -EINVAL);
	assert_string_equal(error, "cannot be read: not a regular file");
}

static void answers_are_sorted_and_found_by_endpoint(void **state)
{
	struct discovery_answer a = {0};
	struct discovery_target t = {0};

	(void)state;
	for (int i = 0; i < 1000; i++) {
		t.endpoint = at("10.0.0.1:1");
		t.endpoint.port = (uint16_t)(1 + i * 7919 % 1000);
		t.weight = (uint32_t)i;
		assert_int_equal(discovery_answer_add(&a, &t), 0);
	}
	assert_null(discovery_answer_finish(&a));
	assert_int_equal(a.n, 1000);
	for (uint32_t i = 0; i < a.n; i++) {
		assert_int_equal(a.targets[i].endpoint.port, i + 1);
		assert_ptr_equal(discovery_answer_find(&a, &a.targets[i].endpoint), &a.targets[i]);
	}
	t.endpoint.port = 500;
	assert_int_equal(discovery_answer_add(&a, &t), 0);
	assert_int_equal(discovery_answer_finish(&a)->port, 500);
	assert_int_equal(a.n, 1000);
	discovery_answer_free(&a);
	assert_null(discovery_answer_find(&a, &t.endpoint));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(groups_of_prometheus_become_targets_with_their_labels),
		cmocka_unit_test(a_bad_file_is_refused_whole_with_one_line_that_says_why),
		cmocka_unit_test(files_are_read_whole_and_others_than_files_are_refused),
		cmocka_unit_test(answers_are_sorted_and_found_by_endpoint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
