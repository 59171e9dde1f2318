// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/files.h"

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

uint32_t files_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0 || lim.rlim_cur > UINT32_MAX)
		return UINT32_MAX;
	return (uint32_t)lim.rlim_cur;
}

int files_admit(int fd)
{
	if (fd < 0 || (uint64_t)fd + FILES_KEPT < files_limit())
		return fd;
	close(fd);
	errno = EMFILE;
	return -1;
}
