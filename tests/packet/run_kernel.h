/* SPDX-License-Identifier: BSD-2-Clause */
/* What tests of several CPUs need besides runner_kernel's calls. */
#ifndef TESTS_PACKET_RUN_KERNEL_H
#define TESTS_PACKET_RUN_KERNEL_H

#include "tests/packet/runner.h"

struct balancer_bpf;

/* The loaded object, from runner_kernel.open() to its close(). */
struct balancer_bpf *kernel_balancer(void);

#endif
