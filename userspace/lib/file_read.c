/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/lib/file_read.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "userspace/lib/cleanup.h"

/* Up to `room` bytes, fewer only at the end of the file. */
static ssize_t read_whole(int fd, char *buf, size_t room)
{
	size_t len = 0;

	while (len < room) {
		ssize_t n = read(fd, buf + len, room - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

int file_read(const char *path, size_t max, char **ret_bytes, size_t *ret_len)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *buf = NULL;
	struct stat st;
	ssize_t len;

	assert(path);
	assert(ret_bytes);
	assert(ret_len);

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if (st.st_size > (off_t)max)
		return -EFBIG;
	buf = malloc(max + 1);
	if (!buf)
		return -ENOMEM;
	len = read_whole(fd, buf, max + 1);
	if (len < 0)
		return (int)len;
	if ((size_t)len > max)
		return -EFBIG;
	buf[len] = '\0';
	*ret_bytes = TAKE_PTR(buf);
	*ret_len = (size_t)len;
	return 0;
}
