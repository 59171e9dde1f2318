/* SPDX-License-Identifier: BSD-2-Clause */
/* The program of a GPU node (bpf/decap.bpf.c) compiled into this one, under the sanitizers. */
#ifndef TESTS_PACKET_DECAP_NATIVE_H
#define TESTS_PACKET_DECAP_NATIVE_H

#include "tests/packet/runner.h"

/* Frame in -> verdict and frame out; the reason is not told. */
void decap_native(const struct frame *in, struct outcome *ret_outcome);

#endif
