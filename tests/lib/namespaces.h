/* SPDX-License-Identifier: BSD-2-Clause */
/* A network, mounts and BPF file system of the test's own; they go away with its process. */
#ifndef SLUICE_TESTS_LIB_NAMESPACES_H
#define SLUICE_TESTS_LIB_NAMESPACES_H

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>

static inline void own_namespaces(void)
{
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL) < 0) {
		perror("namespaces");
		exit(1);
	}
}

#endif
