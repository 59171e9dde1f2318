/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Scope-bound cleanup: a variable marked _cleanup_x_ is released when it leaves scope;
 * TAKE_x hands it on and disarms the cleanup. After systemd's and bpfilter's macros.
 */
#ifndef SLUICE_LIB_CLEANUP_H
#define SLUICE_LIB_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_close_p(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void cleanup_free_p(void *p)
{
	free(*(void **)p);
	*(void **)p = NULL;
}

static inline void cleanup_fclose_p(FILE **f)
{
	if (*f)
		fclose(*f);
	*f = NULL;
}

#define _cleanup_(fn)	 __attribute__((cleanup(fn)))
#define _cleanup_close_	 _cleanup_(cleanup_close_p)
#define _cleanup_free_	 _cleanup_(cleanup_free_p)
#define _cleanup_fclose_ _cleanup_(cleanup_fclose_p)

#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int *take_fd_p = &(fd);                                                            \
		int take_fd_v = *take_fd_p;                                                        \
		*take_fd_p = -1;                                                                   \
		take_fd_v;                                                                         \
	})

#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		__typeof__(p) *take_ptr_p = &(p);                                                  \
		__typeof__(p) take_ptr_v = *take_ptr_p;                                            \
		*take_ptr_p = NULL;                                                                \
		take_ptr_v;                                                                        \
	})

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
