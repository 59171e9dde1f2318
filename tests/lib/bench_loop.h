/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What tools/bench_packet and its loop inside the kernel share. */
#ifndef TESTS_LIB_BENCH_LOOP_H
#define TESTS_LIB_BENCH_LOOP_H

#include <linux/types.h>

/*
 * The first 62 bytes of a frame, cut so that every field a program reads lies within one store of
 * the loop: a load that spans two stores still under way would wait for both.
 */
struct bench_frame {
	__u64 macs; /* bytes 0 … 7 */
	__u32 macs2;
	__u16 ethertype;
	__u16 pad;
	__u64 w[6]; /* bytes 14 … 61 */
};
_Static_assert(sizeof(struct bench_frame) == 64, "one cache line a frame");

#define BENCH_HEAD_BYTES 62
#define BENCH_SEQ_WORD	 3 /* of w: begins with the TCP sequence number, if the frame is IPv4 */
#define BENCH_CHUNK	 4096 /* packets between two readings of the clock; a power of two */
#define BENCH_STAMPS_MAX 1024

struct bench_config {
	__u32 frame_len;  /* of a frame before it went through the program */
	__u32 frame_mask; /* number of frames - 1; they are taken in turn */
	__u32 n;	  /* packets so far */
	__u32 seq;	  /* added to each frame's TCP sequence number, if it is IPv4 … */
	__u32 seq_step;	  /* … and rises by so much: 1, and each SYN begins another connection */
	__u32 n_stamps;
	__u64 stamps[BENCH_STAMPS_MAX]; /* ns, one every BENCH_CHUNK packets */
};

#endif
