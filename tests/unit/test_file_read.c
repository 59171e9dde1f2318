/* SPDX-License-Identifier: BSD-2-Clause */
/* A small file as it is; what is too large or no file is refused and touches nothing. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "userspace/lib/file_read.h"

static char dir[32], path[64];

static int set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/test_file_read.XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/file", dir);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path);
	rmdir(dir);
	return 0;
}

static void write_file(const char *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
}

static void expect_refused(const char *name, size_t max, int error)
{
	char untouched, *bytes = &untouched;
	size_t len = 77;

	assert_int_equal(file_read(name, max, &bytes, &len), error);
	assert_ptr_equal(bytes, &untouched);
	assert_int_equal(len, 77);
}

static void bytes_come_as_they_are_with_a_nul_behind(void **state)
{
	char *bytes;
	size_t len;

	(void)state;
	write_file("a\0b\n", 4);
	assert_int_equal(file_read(path, 100, &bytes, &len), 0);
	assert_int_equal(len, 4);
	assert_memory_equal(bytes, "a\0b\n", 5);
	free(bytes);
}

static void an_empty_file_is_an_empty_text(void **state)
{
	char *bytes;
	size_t len;

	(void)state;
	write_file("", 0);
	assert_int_equal(file_read(path, 0, &bytes, &len), 0);
	assert_int_equal(len, 0);
	assert_string_equal(bytes, "");
	free(bytes);
}

static void the_limit_is_exact(void **state)
{
	char *bytes;
	size_t len;

	(void)state;
	write_file("12345", 5);
	assert_int_equal(file_read(path, 5, &bytes, &len), 0);
	assert_int_equal(len, 5);
	free(bytes);
	expect_refused(path, 4, -EFBIG);
}

/* It has a size of 0 and thousands of bytes. */
static void a_file_that_is_larger_than_it_says_is_held_to_the_limit(void **state)
{
	char *bytes;
	size_t len;

	(void)state;
	expect_refused("/proc/self/status", 100, -EFBIG);
	assert_int_equal(file_read("/proc/self/status", 1u << 20, &bytes, &len), 0);
	assert_true(len > 100);
	assert_memory_equal(bytes, "Name:", 5);
	free(bytes);
}

static void what_is_no_regular_file_is_refused_and_not_waited_for(void **state)
{
	(void)state;
	expect_refused(path, 100, -ENOENT);
	expect_refused(dir, 100, -EISDIR);
	expect_refused("/dev/zero", 100, -EINVAL);
	assert_int_equal(mkfifo(path, 0600), 0);
	expect_refused(path, 100, -EINVAL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bytes_come_as_they_are_with_a_nul_behind),
		TEST(an_empty_file_is_an_empty_text),
		TEST(the_limit_is_exact),
		TEST(a_file_that_is_larger_than_it_says_is_held_to_the_limit),
		TEST(what_is_no_regular_file_is_refused_and_not_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
