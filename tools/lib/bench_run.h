/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program of the packet path, measured inside the kernel: tests/lib/bench_loop.bpf.c around it,
 * repeated by BPF_PROG_TEST_RUN.
 */
#ifndef SLUICE_TOOLS_LIB_BENCH_RUN_H
#define SLUICE_TOOLS_LIB_BENCH_RUN_H

#include <stdint.h>

#include "tests/lib/bench_loop.h"
#include "tools/lib/bench_frame.h"

#define BENCH_OUT_MAX 256 /* bytes of a frame that comes out */

struct bench_run;

/* Frame number i, as the loop restores it each time. */
typedef void (*bench_frame_fn)(const void *userdata, uint32_t i,
			       uint8_t ret_frame[BENCH_FRAME_LEN]);

/*
 * A loop around the program prog_fd with n_frames frames (a power of two) in turn. share: another
 * loop whose frames are the same, so that memory is not doubled; NULL: none.
 * Returns 0, -errno. Freed by bench_run_close(), which accepts NULL.
 */
int bench_run_open(int prog_fd, bench_frame_fn frame_of, const void *userdata, uint32_t n_frames,
		   const struct bench_run *share, struct bench_run **ret_run);
void bench_run_close(struct bench_run *run);

/* From now on no two packets have the same TCP sequence number; only for frames of IPv4. */
void bench_run_renew(struct bench_run *run);

/*
 * `repeat` packets, from frame 0 on: the last one's action, and the frame that came out.
 * Returns 0, -errno.
 */
int bench_run_once(struct bench_run *run, uint32_t repeat, uint32_t *ret_action,
		   uint8_t ret_frame[BENCH_OUT_MAX], uint32_t *ret_len);

/* chunks * BENCH_CHUNK packets; ret_ns[chunks]: nanoseconds a packet of each, by the loop's clock.
 */
int bench_run_chunks(struct bench_run *run, uint32_t chunks, double *ret_ns);

#endif
