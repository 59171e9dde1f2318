/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/bearer.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "userspace/lib/cleanup.h"

struct bearer {
	struct bearer_store *store;
	struct bearer *next;
	uint32_t refs;
	int error; /* of the last read, negative; 0: token is good */
	int64_t checked_ms;
	bool checked;
	struct stat seen; /* the file as it was read */
	char token[BEARER_TOKEN_MAX + 1];
	char path[];
};

struct bearer_store {
	struct bearer *first;
};

int bearer_store_new(struct bearer_store **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

void bearer_store_free(struct bearer_store **store)
{
	if (!store || !*store)
		return;
	assert(!(*store)->first);
	free(*store);
	*store = NULL;
}

int bearer_open(struct bearer_store *store, const char *path, struct bearer **ret)
{
	size_t len = strlen(path);
	struct bearer *b;

	for (b = store->first; b; b = b->next)
		if (strcmp(b->path, path) == 0)
			break;
	if (!b) {
		b = calloc(1, sizeof(*b) + len + 1);
		if (!b)
			return -ENOMEM;
		memcpy(b->path, path, len);
		b->store = store;
		b->next = store->first;
		store->first = b;
	}
	b->refs++;
	*ret = b;
	return 0;
}

void bearer_close(struct bearer **bearer)
{
	struct bearer *b = bearer ? *bearer : NULL;
	struct bearer **link;

	if (!b)
		return;
	*bearer = NULL;
	if (--b->refs)
		return;
	for (link = &b->store->first; *link != b; link = &(*link)->next)
		;
	*link = b->next;
	explicit_bzero(b->token, sizeof(b->token));
	free(b);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* buf: len bytes and a NUL -> its first line without blanks around it, in place. */
static int first_line(char *buf, size_t len, char **ret_line)
{
	char *end = memchr(buf, '\n', len), *p;

	if (!end)
		end = buf + len;
	while (buf < end && (*buf == ' ' || *buf == '\t'))
		buf++;
	while (end > buf && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
		end--;
	if (buf == end || end - buf > BEARER_TOKEN_MAX)
		return -EINVAL;
	for (p = buf; p < end; p++)
		if (*p <= 0x20 || *p >= 0x7f)
			return -EINVAL;
	*end = '\0';
	*ret_line = buf;
	return 0;
}

static int read_token(struct bearer *b)
{
	_cleanup_close_ int fd = -1;
	char buf[BEARER_TOKEN_MAX + 512];
	size_t len = 0;
	char *line;
	int r;

	fd = open(b->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &b->seen) < 0)
		return -errno;
	if (!S_ISREG(b->seen.st_mode))
		return -EINVAL;
	while (len < sizeof(buf) - 1) {
		ssize_t n = read(fd, buf + len, sizeof(buf) - 1 - len);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	buf[len] = '\0';
	r = first_line(buf, len, &line);
	if (r == 0)
		memcpy(b->token, line, strlen(line) + 1);
	explicit_bzero(buf, sizeof(buf));
	return r;
}

int bearer_token(struct bearer *b, int64_t now_ms, const char **ret_token)
{
	struct stat st;

	assert(b);
	assert(ret_token);

	if (!b->checked || now_ms - b->checked_ms >= BEARER_CHECK_MS) {
		if (!b->checked || b->error || stat(b->path, &st) < 0 || !same_file(&st, &b->seen))
			b->error = read_token(b);
		b->checked = true;
		b->checked_ms = now_ms;
	}
	if (b->error)
		return b->error;
	*ret_token = b->token;
	return 0;
}
