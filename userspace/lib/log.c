// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/lib/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048 /* under PIPE_BUF: a pipe with room takes it whole, without waiting */

static enum log_level max_level = LOG_LEVEL_INFO; /* changed atomically: a reload may */
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;
static unsigned long n_lost; /* lines, since the last that could be written */

void log_set_level(enum log_level level)
{
	__atomic_store_n(&max_level, level, __ATOMIC_RELAXED);
}

enum log_level log_get_level(void)
{
	return __atomic_load_n(&max_level, __ATOMIC_RELAXED);
}

static const char *level_word(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "error";
	case LOG_LEVEL_WARN:
		return "warning";
	case LOG_LEVEL_INFO:
		return "info";
	case LOG_LEVEL_DEBUG:
		return "debug";
	}
	return "?";
}

/*
 * Whether lines go to the journal itself (systemd.exec(5)): what a service starts inherits the variable,
 * shells in terminals that are services, too, and may write elsewhere.
 */
static bool goes_to_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

/* Returns the length of the prefix written to buf. */
static size_t prefix(char *buf, size_t size, enum log_level level)
{
	struct timespec ts;
	struct tm tm;
	char clock[32];
	int n;

	if (goes_to_journal()) {
		n = snprintf(buf, size, "<%d>", level);
		return (size_t)n;
	}
	clock_gettime(CLOCK_REALTIME, &ts);
	localtime_r(&ts.tv_sec, &tm);
	strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	n = snprintf(buf, size, "%s.%03ld %-7s ", clock, ts.tv_nsec / 1000000, level_word(level));
	return (size_t)n;
}

static bool has_room(void)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};

	return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT);
}

/* With `writing` held, so that no other thread takes the room. Returns whether it is written. */
static bool put(const char *line, size_t len)
{
	return has_room() && write(STDERR_FILENO, line, len) == (ssize_t)len;
}

static void put_lost(void)
{
	char line[128];
	size_t len = prefix(line, sizeof(line), LOG_LEVEL_WARN);

	len += (size_t)snprintf(line + len, sizeof(line) - len,
				"lines lost because the log took none: %lu\n", n_lost);
	if (put(line, len))
		n_lost = 0;
}

/* What others wrote (names, answers) makes no second line, and tells no terminal what to do. */
static void make_harmless(char *line, size_t len)
{
	for (char *p = line; p < line + len; p++) {
		if (*p == '\n' || *p == '\r' || *p == '\t')
			*p = ' ';
		else if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	}
}

void log_writev(enum log_level level, const char *fmt, va_list ap)
{
	int saved = errno;
	char line[LINE_MAX_BYTES];
	size_t len;
	int n;

	if (level > log_get_level())
		return;
	len = prefix(line, sizeof(line), level);
	n = vsnprintf(line + len, sizeof(line) - len - 1, fmt, ap);
	if (n < 0)
		n = 0;
	len += (size_t)n;
	if (len > sizeof(line) - 2)
		len = sizeof(line) - 2;
	make_harmless(line, len);
	line[len++] = '\n';
	pthread_mutex_lock(&writing);
	if (n_lost)
		put_lost();
	if (!put(line, len))
		n_lost++;
	pthread_mutex_unlock(&writing);
	errno = saved;
}

void log_write(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_writev(level, fmt, ap);
	va_end(ap);
}
