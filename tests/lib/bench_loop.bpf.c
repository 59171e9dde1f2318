// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The loop around a measured program: puts the frame back as it was, reads the clock once in
 * BENCH_CHUNK packets, and tail-calls the program. BPF_PROG_TEST_RUN repeats it; it does not itself
 * undo what a program did to the frame. The same work is done for a program that leaves the frame
 * alone (the head then moves by 0), so that subtracting an empty program subtracts all of it.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "tests/lib/bench_loop.h"

struct bench_config cfg;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct bench_frame);
} frames SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

static __always_inline void stamp(void)
{
	__u32 i = cfg.n_stamps;

	if (i < BENCH_STAMPS_MAX) {
		cfg.stamps[i] = bpf_ktime_get_ns();
		cfg.n_stamps = i + 1;
	}
}

static __always_inline int restore(struct xdp_md *ctx, const struct bench_frame *f)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (data + BENCH_HEAD_BYTES > end)
		return -1;
	*(__u64 *)data = f->macs;
	*(__u32 *)(data + 8) = f->macs2;
	*(__u16 *)(data + 12) = f->ethertype;
#pragma unroll
	for (int i = 0; i < 6; i++)
		*(__u64 *)(data + 14 + 8 * i) = f->w[i] + (i == BENCH_SEQ_WORD ? cfg.seq : 0);
	return 0;
}

static __always_inline const struct bench_frame *next_frame(void)
{
	__u32 n = cfg.n++, index = n & cfg.frame_mask;

	cfg.seq += cfg.seq_step;
	if (!(n & (BENCH_CHUNK - 1)))
		stamp();
	return bpf_map_lookup_elem(&frames, &index);
}

SEC("xdp")
int bench_loop(struct xdp_md *ctx)
{
	const struct bench_frame *f = next_frame();
	long len = (long)ctx->data_end - (long)ctx->data;
	int grown;

	/* The pointers are subtracted first: the verifier allows no other order. */
	asm volatile("" : "+r"(len));
	grown = len - cfg.frame_len;
	if (!f || bpf_xdp_adjust_head(ctx, grown) || restore(ctx, f))
		return XDP_ABORTED;
	bpf_tail_call(ctx, &target, 0);
	return XDP_ABORTED;
}

char _license[] SEC("license") = "GPL";
