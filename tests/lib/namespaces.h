/* SPDX-License-Identifier: BSD-2-Clause */
/* A network, mounts and BPF file system of the test's own; they go away with its process. */
#ifndef SLUICE_TESTS_LIB_NAMESPACES_H
#define SLUICE_TESTS_LIB_NAMESPACES_H

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

static inline void own_namespaces(void)
{
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL) < 0) {
		perror("namespaces");
		exit(1);
	}
}

/*
 * For the main() of a kernel test: without root it ends the process with 77, skipped. argv[1], if
 * there is one, is a pattern (* and ?) of the tests that are to run.
 */
static inline void begin_in_namespaces(int argc, char **argv)
{
	if (geteuid() != 0) {
		printf("skip: needs root\n");
		exit(77);
	}
	own_namespaces();
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
}

#endif
