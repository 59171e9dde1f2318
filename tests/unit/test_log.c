// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "userspace/lib/log.h"

/* Standard error for the time of a test: a pipe, whose other end is read without waiting. */
struct pipe_log {
	int saved;
	int read_fd;
};

static struct pipe_log begin(void)
{
	struct pipe_log p;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_true(fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0);
	fflush(stderr);
	p.saved = dup(STDERR_FILENO);
	p.read_fd = fds[0];
	assert_true(dup2(fds[1], STDERR_FILENO) == STDERR_FILENO);
	close(fds[1]);
	unsetenv("JOURNAL_STREAM");
	log_set_level(LOG_LEVEL_INFO);
	return p;
}

static void end(const struct pipe_log *p)
{
	dup2(p->saved, STDERR_FILENO);
	close(p->saved);
	close(p->read_fd);
}

/* All that is there, NUL-terminated. */
static size_t take(const struct pipe_log *p, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len < size - 1 && (n = read(p->read_fd, buf + len, size - 1 - len)) > 0)
		len += (size_t)n;
	buf[len] = '\0';
	return len;
}

static void a_message_is_one_line_with_its_level(void **state)
{
	struct pipe_log p = begin();
	char buf[512];

	(void)state;
	errno = EBADF;
	log_warn("two\nlines, %d, \033[31mred\007\177, grün", 7);
	log_debug("not shown");
	assert_int_equal(errno, EBADF);
	take(&p, buf, sizeof(buf));
	end(&p);
	assert_non_null(strstr(buf, "warning two lines, 7, ?[31mred??, grün\n"));
	assert_null(strstr(buf, "not shown"));
	assert_ptr_equal(strchr(buf, '\n'), buf + strlen(buf) - 1);
}

/* As systemd says which stream is the journal's: standard error, or another by so many inodes. */
static void set_stream(unsigned long long off)
{
	struct stat st;
	char text[64];

	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(text, sizeof(text), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino + off);
	setenv("JOURNAL_STREAM", text, 1);
}

static void the_journal_gets_priorities(void **state)
{
	struct pipe_log p = begin();
	char buf[512];

	(void)state;
	set_stream(0);
	log_error("x");
	unsetenv("JOURNAL_STREAM");
	take(&p, buf, sizeof(buf));
	end(&p);
	assert_string_equal(buf, "<3>x\n");
}

static void a_stream_that_is_not_the_journals_gets_the_time(void **state)
{
	struct pipe_log p = begin();
	char buf[512];

	(void)state;
	set_stream(1);
	log_error("x");
	setenv("JOURNAL_STREAM", "", 1);
	log_error("y");
	unsetenv("JOURNAL_STREAM");
	take(&p, buf, sizeof(buf));
	end(&p);
	assert_null(strchr(buf, '<'));
	assert_non_null(strstr(buf, " error   x\n"));
	assert_non_null(strstr(buf, " error   y\n"));
}

static void a_long_message_is_cut(void **state)
{
	struct pipe_log p = begin();
	char text[5000], buf[8192];
	size_t len;

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_info("%s", text);
	len = take(&p, buf, sizeof(buf));
	end(&p);
	assert_in_range(len, 2000, 2048);
	assert_int_equal(buf[len - 1], '\n');
}

/* Would hang, if a line waited for its reader. */
static void a_stuck_reader_loses_lines_and_is_told(void **state)
{
	static char buf[1 << 20];
	struct pipe_log p = begin();
	unsigned long lost = 0;
	char *told;
	int n = 0;

	(void)state;
	for (int i = 0; i < 20000; i++)
		log_info("line %d", i);
	take(&p, buf, sizeof(buf));
	for (char *s = buf; (s = strchr(s, '\n')); s++)
		n++;
	assert_in_range(n, 100, 19999);
	log_info("again");
	take(&p, buf, sizeof(buf));
	end(&p);
	told = strstr(buf, "warning ");
	assert_non_null(told);
	assert_int_equal(sscanf(told, "warning lines lost because the log took none: %lu", &lost),
			 1);
	assert_int_equal(lost, 20000 - n);
	assert_non_null(strstr(buf, "again\n"));
}

static void a_full_disk_is_no_error(void **state)
{
	struct pipe_log p = begin();
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	char buf[512];
	int log_fd = dup(STDERR_FILENO);

	(void)state;
	assert_true(fd >= 0);
	dup2(fd, STDERR_FILENO);
	log_info("lost");
	dup2(log_fd, STDERR_FILENO);
	log_info("written");
	take(&p, buf, sizeof(buf));
	end(&p);
	close(fd);
	close(log_fd);
	assert_non_null(strstr(buf, "took none: 1\n"));
	assert_non_null(strstr(buf, "written\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_is_one_line_with_its_level),
		cmocka_unit_test(the_journal_gets_priorities),
		cmocka_unit_test(a_stream_that_is_not_the_journals_gets_the_time),
		cmocka_unit_test(a_long_message_is_cut),
		cmocka_unit_test(a_stuck_reader_loses_lines_and_is_told),
		cmocka_unit_test(a_full_disk_is_no_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
